//! A sealed value opens in its own place only.

use proptest::prelude::*;

use super::*;
use crate::domain::entropy::SeededEntropy;
use crate::domain::keyring::RecoveryWrap;

const DB: Uuid = Uuid::from_u128(1);

fn entropy(seed: u64) -> Arc<dyn Entropy> {
    Arc::new(SeededEntropy::new(seed))
}

fn vault() -> Vault {
    Vault::initialise(&KeyringFile::generate(&SeededEntropy::new(1)), DB, entropy(2)).unwrap().0
}

fn place() -> Place {
    Place { owner: owner("proj_1", "twitter", "c"), ..Place::new("grants", "tokens", "grant_1", 3) }
}

fn owner(project: &str, platform: &str, client: &str) -> [String; 3] {
    [project, platform, client].map(str::to_owned)
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn rejected(place: &Place) -> Error {
    Error::Rejected { table: place.table, column: place.column, row: place.row.as_str().into() }
}

#[test]
fn the_layout_is_the_documented_one() {
    let sealed = vault().seal_text(&place(), &secret("hello")).unwrap();
    assert_eq!(sealed.as_bytes().len(), 45 + 5);
    assert_eq!(sealed.as_bytes()[..5], [2, 0, 0, 0, 1]);
    assert_eq!(sealed.dek_id(), Some(1));
}

#[test]
fn the_same_text_is_sealed_differently_each_time() {
    let vault = vault();
    let [first, second] = [0; 2].map(|_| vault.seal_text(&place(), &secret("hello")).unwrap());
    assert_ne!(first, second);
}

#[test]
fn a_value_does_not_open_in_another_place() {
    let keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (vault, wrapped) = Vault::initialise(&keyring, DB, entropy(2)).unwrap();
    let sealed = vault.seal_text(&place(), &secret("hello")).unwrap();
    for elsewhere in [
        Place { table: "oauth_apps", ..place() },
        Place { column: "token", ..place() },
        Place { row: "grant_2".to_owned(), ..place() },
        Place { generation: 2, ..place() },
        Place { generation: 4, ..place() },
        Place { owner: owner("proj_2", "twitter", "c"), ..place() },
        Place { owner: owner("proj_1", "tiktok", "c"), ..place() },
        Place { owner: owner("proj_1", "twitter", "d"), ..place() },
        Place { owner: owner("", "", ""), ..place() },
        // The same bytes, divided differently.
        Place { owner: owner("proj_1t", "witter", "c"), ..place() },
        Place { table: "grant", column: "stokens", ..place() },
    ] {
        assert_eq!(vault.open_text(&elsewhere, &sealed).unwrap_err(), rejected(&elsewhere), "{elsewhere:?}");
    }
    // The wrapped key is bound to its database, so the same data key has to be forced into another one.
    let kek = keyring.get(&wrapped.wrapped_by).unwrap();
    let (bytes, scope) = data_key::unwrap(kek, &wrapped.wrapped_by, DB, 1, &wrapped.blob).unwrap();
    let keys = Keys { active: 1, by_id: BTreeMap::from([(1, Arc::new(DataKey::derive(&bytes, scope)))]) };
    let elsewhere = Vault::over(Uuid::from_u128(2), entropy(3), keys);
    assert_eq!(elsewhere.open_text(&place(), &sealed).unwrap_err(), rejected(&place()));
    assert!(vault.open_text(&place(), &sealed).is_ok());
}

#[test]
fn each_flipped_bit_and_each_truncation_is_refused() {
    let vault = vault();
    let sealed = vault.seal_text(&place(), &secret("hello")).unwrap();
    for at in 0..sealed.as_bytes().len() {
        for bit in 0..8 {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let error = vault.open_text(&place(), &Sealed::from_bytes(bytes)).unwrap_err();
            match at {
                0 => assert!(matches!(error, Error::UnknownVersion { .. }), "{error:?}"),
                1..=4 => assert!(matches!(error, Error::UnknownKey { .. }), "{error:?}"),
                _ => assert_eq!(error, rejected(&place()), "byte {at}"),
            }
        }
        let short = Sealed::from_bytes(sealed.as_bytes()[..at].to_vec());
        assert_eq!(vault.open_text(&place(), &short).unwrap_err(), rejected(&place()), "{at} bytes");
    }
    let long = Sealed::from_bytes([sealed.as_bytes(), &[0]].concat());
    assert_eq!(vault.open_text(&place(), &long).unwrap_err(), rejected(&place()));
}

/// Inputs are taken as a sealed value, as the end of one, and as what was sealed.
#[test]
fn fuzzed_values_open_only_as_they_were_sealed() {
    let vault = vault();
    let genuine = vault.seal_text(&place(), &secret("hello")).unwrap();
    let words =
        ["\u{1}", "\0\0\0\u{1}", "\u{2}", "\"", "{", "}", "[", "]", ":", ",", "null", "-1", "tokens", "\\ud83d", "é"];
    crate::fuzz::run("sealed_values", &words, |bytes| {
        assert!(vault.check(&place(), &Sealed::from_bytes(bytes.to_vec())).is_err());
        let kept = bytes.first().map_or(0, |first| usize::from(*first) % genuine.as_bytes().len());
        let forged = [&genuine.as_bytes()[..kept], bytes].concat();
        assert!(vault.check(&place(), &Sealed::from_bytes(forged)).is_err());

        let sealed = vault.seal_answer(&place(), bytes).unwrap();
        assert_eq!(vault.open_answer(&place(), &sealed).unwrap().as_slice(), bytes);
        assert_eq!(vault.open_text(&place(), &sealed).is_ok(), std::str::from_utf8(bytes).is_ok());
        if let Ok(tokens) = vault.open_tokens(&place(), &sealed) {
            let again = vault.open_tokens(&place(), &vault.seal_tokens(&place(), &tokens).unwrap()).unwrap();
            assert_eq!(again.access_token.expose_secret(), tokens.access_token.expose_secret());
        }
        if let Ok(consent) = vault.open_consent(&place(), &sealed) {
            let again = vault.open_consent(&place(), &vault.seal_consent(&place(), &consent).unwrap()).unwrap();
            assert_eq!(again.identity.accounts.len(), consent.identity.accounts.len());
        }
    });
}

#[test]
fn a_vault_unlocks_with_its_own_keyring_only() {
    let keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (vault, wrapped) = Vault::initialise(&keyring, DB, entropy(2)).unwrap();
    let sealed = vault.seal_text(&place(), &secret("hello")).unwrap();

    let again = Vault::unlock(&keyring, DB, std::slice::from_ref(&wrapped), entropy(3)).unwrap();
    assert_eq!(again.open_text(&place(), &sealed).unwrap().expose_secret(), "hello");
    assert_eq!(again.active_key(), 1);

    let other = KeyringFile::generate(&SeededEntropy::new(9));
    let error = Vault::unlock(&other, DB, std::slice::from_ref(&wrapped), entropy(3)).unwrap_err();
    assert_eq!(
        error,
        Error::WrongKeyring { expected: keyring.active_id().to_owned(), found: other.active_id().to_owned() }
    );

    let damaged = |change: fn(&mut WrappedKey)| {
        let mut wrapped = wrapped.clone();
        change(&mut wrapped);
        Vault::unlock(&keyring, DB, &[wrapped], entropy(3)).map(|_| ())
    };
    assert!(damaged(|_| ()).is_ok());
    for change in [
        (|key| key.blob[30] ^= 1) as fn(&mut WrappedKey),
        |key| key.blob[0] = 1,
        |key| key.blob[0] = 2,
        |key| key.blob[0] = 4,
        |key| key.blob.clear(),
        |key| key.check_value[0] ^= 1,
        |key| key.check_value.clear(),
        |key| key.dek_id = 2,
    ] {
        assert!(matches!(damaged(change), Err(Error::WrongKeyring { .. })));
    }
    assert!(matches!(damaged(|key| key.state = KeyState::Old), Err(Error::NoActiveKey)));
    let moved = Vault::unlock(&keyring, Uuid::from_u128(2), &[wrapped], entropy(3));
    assert!(matches!(moved, Err(Error::WrongKeyring { .. })));
    assert!(matches!(Vault::unlock(&keyring, DB, &[], entropy(3)), Err(Error::NoActiveKey)));
}

#[test]
fn a_retired_key_opens_and_the_active_one_seals() {
    let keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (old, wrapped) = Vault::initialise(&keyring, DB, entropy(2)).unwrap();
    let sealed = old.seal_text(&place(), &secret("hello")).unwrap();
    let (kek_id, kek) = keyring.active();
    let bytes = [7_u8; 32];
    let newer = WrappedKey {
        dek_id: 2,
        wrapped_by: kek_id.to_owned(),
        blob: data_key::wrap(kek, kek_id, DB, 2, (&bytes, KeyScope::Bound), &SeededEntropy::new(5)),
        check_value: DataKey::derive(&bytes, KeyScope::Bound).check_value().to_vec(),
        state: KeyState::Active,
    };
    let older = WrappedKey { state: KeyState::Old, ..wrapped };
    let vault = Vault::unlock(&keyring, DB, &[older, newer], entropy(3)).unwrap();
    assert_eq!(vault.open_text(&place(), &sealed).unwrap().expose_secret(), "hello");
    assert_eq!(vault.seal_text(&place(), &secret("hello")).unwrap().dek_id(), Some(2));
}

#[test]
fn a_vault_takes_a_new_key_and_drops_an_old_one() {
    let keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (vault, first) = Vault::initialise(&keyring, DB, entropy(2)).unwrap();
    let clone = vault.clone();
    let sealed = vault.seal_text(&place(), &secret("hello")).unwrap();
    assert!(vault.has(std::slice::from_ref(&first)));

    let (pending, recovery) = vault.new_key(&keyring, 2, None).unwrap();
    assert!(recovery.is_none());
    assert!(!vault.has(&[first.clone(), pending.clone()]));
    vault.adopt(&keyring, &[first.clone(), pending.clone()]).unwrap();
    assert_eq!(vault.active_key(), 1);

    let (old, active) =
        (WrappedKey { state: KeyState::Old, ..first }, WrappedKey { state: KeyState::Active, ..pending });
    assert!(!vault.has(&[old.clone(), active.clone()]), "another key is active");
    vault.adopt(&keyring, &[old.clone(), active.clone()]).unwrap();
    assert_eq!(clone.active_key(), 2, "clones are one vault");
    let resealed = clone.reseal(&place(), &sealed).unwrap();
    assert_eq!(resealed.dek_id(), Some(2));
    for sealed in [&sealed, &resealed] {
        assert_eq!(vault.open_text(&place(), sealed).unwrap().expose_secret(), "hello");
    }
    let elsewhere = Place { row: "grant_2".to_owned(), ..place() };
    assert_eq!(
        vault.reseal(&elsewhere, &sealed).unwrap_err(),
        rejected(&elsewhere),
        "what does not open is not sealed again"
    );

    let other = KeyringFile::generate(&SeededEntropy::new(9));
    let (foreign, _) = vault.new_key(&other, 3, None).unwrap();
    let failed = vault.adopt(&keyring, &[old, active.clone(), foreign]).unwrap_err();
    assert!(matches!(failed, Error::WrongKeyring { .. }));
    assert!(vault.open_text(&place(), &sealed).is_ok(), "after a failure the keys are those from before");

    vault.adopt(&keyring, &[active]).unwrap();
    let error = vault.open_text(&place(), &sealed).unwrap_err();
    assert_eq!(error, Error::UnknownKey { table: "grants", column: "tokens", row: "grant_1".into(), dek_id: 1 });
}

#[test]
fn rewrapped_keys_open_with_the_new_keyring_key_alone() {
    let mut keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (vault, wrapped) = Vault::initialise(&keyring, DB, entropy(2)).unwrap();
    let sealed = vault.seal_text(&place(), &secret("hello")).unwrap();
    let first = keyring.active_id().to_owned();
    assert!(vault.rewrap(&keyring, std::slice::from_ref(&wrapped)).unwrap().is_empty());

    keyring.add_key(&SeededEntropy::new(5));
    let active = keyring.active_id().to_owned();
    assert!(!keyring.remove_key(&active), "the active key stays");
    let rewrapped = vault.rewrap(&keyring, std::slice::from_ref(&wrapped)).unwrap();
    for keys in [std::slice::from_ref(&wrapped), &rewrapped] {
        assert!(Vault::unlock(&keyring, DB, keys, entropy(3)).is_ok(), "the file opens the database before and after");
    }
    assert!(keyring.remove_key(&first));
    assert!(Vault::unlock(&keyring, DB, &[wrapped], entropy(3)).is_err());
    let again = Vault::unlock(&keyring, DB, &rewrapped, entropy(3)).unwrap();
    assert_eq!(again.open_text(&place(), &sealed).unwrap().expose_secret(), "hello");
}

#[test]
fn a_recovery_key_makes_a_new_keyring_for_its_own_database() {
    let keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (vault, first) = Vault::initialise(&keyring, DB, entropy(2)).unwrap();
    let sealed = vault.seal_text(&place(), &secret("hello")).unwrap();
    let [recovery, other] = [3, 4].map(|seed| RecoveryKey::generate(&SeededEntropy::new(seed)));
    let mut wraps = vault.wrap_for(&recovery.public(), &keyring, std::slice::from_ref(&first)).unwrap();
    let (second, wrap) = vault.new_key(&keyring, 2, Some(&recovery.public())).unwrap();
    wraps.extend(wrap);
    let keys = [first, second];

    let new = KeyringFile::generate(&SeededEntropy::new(6));
    let rewrapped = recover(&recovery, DB, &keys, &wraps, &new, &SeededEntropy::new(7)).unwrap();
    let again = Vault::unlock(&new, DB, &rewrapped, entropy(3)).unwrap();
    assert_eq!(again.open_text(&place(), &sealed).unwrap().expose_secret(), "hello");

    let refused = |key: &RecoveryKey, db, wraps: &[RecoveryWrap]| {
        recover(key, db, &keys, wraps, &new, &SeededEntropy::new(7)).unwrap_err()
    };
    let not_recoverable = |key: &RecoveryKey, dek_id| Error::NotRecoverable { dek_id, found: key.public().id() };
    assert_eq!(refused(&other, DB, &wraps), not_recoverable(&other, 1));
    assert_eq!(refused(&recovery, Uuid::from_u128(2), &wraps), not_recoverable(&recovery, 1));
    assert_eq!(refused(&recovery, DB, &wraps[..1]), not_recoverable(&recovery, 2));

    // Whoever can write to the database cannot put a recovery key of their own in place.
    let place = Place::recovery_key(1);
    let stored = vault.seal_recovery_key(&place, &recovery.public()).unwrap();
    assert_eq!(vault.open_recovery_key(&place, &stored).unwrap(), recovery.public());
    assert!(vault.open_recovery_key(&Place::recovery_key(2), &stored).is_err());
    let shown = format!("{recovery:?} {:?} {:?}", recovery.public(), wraps[0]);
    let id = recovery.public().id();
    assert_eq!(shown, format!("RecoveryKey({id}) RecoveryPublicKey({id}) RecoveryWrap(1 for {id})"));
}

/// A value of the first version: bound to no owner.
fn sealed_at_first(key: &DataKey, text: &str) -> Sealed {
    seal::seal_first_version(key, 1, DB, &place(), text.as_bytes())
}

#[test]
fn values_of_the_first_version_open_until_their_key_is_bound() {
    let keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (kek_id, kek) = keyring.active();
    let unbound = DataKey::derive(&[7; 32], KeyScope::WithFirstVersion);
    let stored = WrappedKey {
        dek_id: 1,
        wrapped_by: kek_id.to_owned(),
        blob: data_key::wrap(kek, kek_id, DB, 1, (&[7; 32], unbound.scope()), &SeededEntropy::new(5)),
        check_value: unbound.check_value().to_vec(),
        state: KeyState::Active,
    };
    let vault = Vault::unlock(&keyring, DB, std::slice::from_ref(&stored), entropy(3)).unwrap();
    assert!(vault.takes_first_version());
    let old = sealed_at_first(&unbound, "hello");
    assert_eq!(old.as_bytes()[0], 1);
    let elsewhere = Place { owner: owner("proj_2", "tiktok", "d"), ..place() };
    for place in [place(), elsewhere.clone()] {
        assert_eq!(vault.open_text(&place, &old).unwrap().expose_secret(), "hello");
    }
    let resealed = vault.reseal(&place(), &old).unwrap();
    assert_eq!(resealed.as_bytes()[0], 2);
    assert!(vault.open_text(&elsewhere, &resealed).is_err(), "now it is bound");

    let recovery = RecoveryKey::generate(&SeededEntropy::new(8));
    let bound = vault.bind(&keyring, std::slice::from_ref(&stored), Some(&recovery.public())).unwrap();
    let [(bound, Some(wrap))] = &bound[..] else { panic!("{bound:?}") };
    assert!(!vault.has(std::slice::from_ref(bound)));
    vault.adopt(&keyring, std::slice::from_ref(bound)).unwrap();
    assert!(!vault.takes_first_version());
    let outdated = Error::Outdated { table: "grants", column: "tokens", row: "grant_1".into() };
    assert_eq!(vault.open_text(&place(), &old).unwrap_err(), outdated);
    assert_eq!(vault.open_text(&place(), &resealed).unwrap().expose_secret(), "hello");
    assert!(vault.bind(&keyring, std::slice::from_ref(bound), None).unwrap().is_empty());

    // A key stays bound when it is wrapped by another one, or recovered.
    let mut other = keyring;
    other.add_key(&SeededEntropy::new(6));
    let rewrapped = vault.rewrap(&other, std::slice::from_ref(bound)).unwrap();
    let recovered =
        recover(&recovery, DB, std::slice::from_ref(bound), std::slice::from_ref(wrap), &other, &SeededEntropy::new(7));
    for keys in [rewrapped, recovered.unwrap()] {
        let again = Vault::unlock(&other, DB, &keys, entropy(3)).unwrap();
        assert_eq!(again.open_text(&place(), &old).unwrap_err(), outdated);
    }
    let forged = WrappedKey { blob: [&[1], &bound.blob[1..]].concat(), ..bound.clone() };
    assert!(Vault::unlock(&other, DB, &[forged], entropy(3)).is_err(), "the version is authenticated");
}

#[test]
fn a_row_is_authentic_as_it_was_written_and_with_its_key() {
    let vault = vault();
    let row = |parts: [&str; 3]| parts.map(|part| part.as_bytes().to_vec());
    let written = row(["access_keys", "key_1", "read"]);
    let mac = vault.mac(&written).unwrap();
    assert_eq!(vault.is_authentic(&written, &mac), Some(true));
    for other in [row(["access_keys", "key_1", "tokens"]), row(["access_keys", "key_1r", "ead"])] {
        assert_eq!(vault.is_authentic(&other, &mac), Some(false));
    }
    let unknown = RowMac { dek_id: 2, ..mac };
    assert_eq!(vault.is_authentic(&written, &unknown), None);
    let elsewhere = Vault::initialise(&KeyringFile::generate(&SeededEntropy::new(1)), Uuid::from_u128(2), entropy(2));
    assert_eq!(elsewhere.unwrap().0.is_authentic(&written, &mac), Some(false));
}

#[test]
fn debug_shows_no_key_and_no_plaintext() {
    let keyring = KeyringFile::generate(&SeededEntropy::new(1));
    let (vault, wrapped) = Vault::initialise(&keyring, DB, entropy(2)).unwrap();
    let sealed = vault.seal_text(&place(), &secret("hello")).unwrap();
    let shown = format!("{keyring:?} {vault:?} {wrapped:?} {sealed:?}");
    let id = keyring.active_id();
    assert_eq!(shown, format!("KeyringFile({id}) Vault WrappedKey(1 by {id}, active) Sealed(50 bytes)"));
}

#[test]
fn content_of_the_wrong_kind_is_unreadable() {
    let vault = vault();
    let unreadable = Error::unreadable(&place());
    for text in ["", "null", "[]", "{}", r#"{"access_token":1,"token_type":"Bearer"}"#, r#"{"token_type":"Bearer"}"#] {
        let sealed = vault.seal_text(&place(), &secret(text)).unwrap();
        assert_eq!(vault.open_tokens(&place(), &sealed).unwrap_err(), unreadable, "{text}");
    }
    let text = r#"{"access_token":"a","token_type":"Bearer","refresh_token":null,"added_later":{"x":[1]}}"#;
    let sealed = vault.seal_text(&place(), &secret(text)).unwrap();
    let tokens = vault.open_tokens(&place(), &sealed).unwrap();
    assert_eq!(tokens.access_token.expose_secret(), "a");
    assert!(tokens.refresh_token.is_none() && tokens.id_token.is_none());
    let binary = vault.seal(&place(), seal::buffer(&[0xff, 0xfe])).unwrap();
    assert_eq!(vault.open_text(&place(), &binary).unwrap_err(), unreadable);
}

proptest! {
    #[test]
    fn text_comes_back(text in any::<String>(), row in any::<String>(), generation in any::<u64>()) {
        let vault = vault();
        let place = Place { row, generation, ..place() };
        let sealed = vault.seal_text(&place, &secret(&text)).unwrap();
        let opened = vault.open_text(&place, &sealed).unwrap();
        prop_assert_eq!(opened.expose_secret(), &text);
        prop_assert_eq!(sealed.as_bytes().len(), 45 + text.len());
    }

    #[test]
    fn tokens_come_back(
        access in any::<String>(), refresh in any::<Option<String>>(), id in any::<Option<String>>(), kind in any::<String>(),
        service in any::<Option<String>>(),
    ) {
        let vault = vault();
        let tokens = TokenSet {
            access_token: secret(&access),
            refresh_token: refresh.as_deref().map(secret),
            id_token: id.as_deref().map(secret),
            token_type: kind.clone(),
            service_url: service.clone(),
        };
        let room = tokens::write(&tokens).unwrap();
        prop_assert!(room.capacity() >= room.len() + 16, "no room for the tag");
        let opened = vault.open_tokens(&place(), &vault.seal_tokens(&place(), &tokens).unwrap()).unwrap();
        prop_assert_eq!(opened.access_token.expose_secret(), &access);
        prop_assert_eq!(opened.refresh_token.as_ref().map(ExposeSecret::expose_secret), refresh.as_deref());
        prop_assert_eq!(opened.id_token.as_ref().map(ExposeSecret::expose_secret), id.as_deref());
        prop_assert_eq!(opened.token_type, kind);
    }

    #[test]
    fn two_lists_never_read_the_same(a in proptest::collection::vec(any::<Vec<u8>>(), 0..4), b in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
        let joined = |list: &[Vec<u8>]| seal::length_prefixed(&list.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(joined(&a) == joined(&b), a == b);
    }
}
