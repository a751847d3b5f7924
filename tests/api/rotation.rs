//! Data keys are replaced while the broker serves: at every moment every stored value opens.
//!
//! `ROTATION_KILLS` and `ROTATION_ROWS` make the random kills more and the database larger.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postpeer::app::{Desk, Ports};
use postpeer::broker::keyring::Error;
use postpeer::domain::entropy::{Entropy as _, SeededEntropy, SystemEntropy};
use postpeer::domain::grant::TokenSet;
use postpeer::domain::id::{GrantId, Id as _};
use postpeer::domain::keyring::{KeyReport, KeyState};
use postpeer::domain::secret::{Digest256, Sealed};
use postpeer::sandbox::{self, Answer, Step};
use postpeer::store::sealed::{MACS, SEALED};
use postpeer::store::{self, grants};
use postpeer::vault::{KeyringFile, Owner, Place, RecoveryKey, Vault};
use rusqlite::params;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::process::{ALWAYS, Crashing};
use crate::support::{TestBroker, files};

const BACK: &str = "redirectUri=https://app.example/back";

/// Opens every stored value of a database, as nobody but the broker can. Returns the number of them for each column.
pub(crate) fn open_all(database: &Path, keyring: &Path) -> BTreeMap<String, u64> {
    let inspection = store::inspect(database).unwrap();
    let file = KeyringFile::load(keyring).unwrap();
    let vault = Vault::unlock(&file, inspection.db_id, &inspection.wrapped_keys, Arc::new(SystemEntropy)).unwrap();
    let db = rusqlite::Connection::open(database).unwrap();
    let mut opened = BTreeMap::new();
    for column in SEALED {
        let mut skip = 0;
        loop {
            let values = column.list_all(&db, skip, 5000).unwrap();
            for value in &values {
                let place = Place::stored(column.table, value.sealed_as(), &value.row, value.generation, &value.owner);
                let result = vault.open_answer(&place, &value.sealed);
                assert!(result.is_ok(), "{}.{} of {}: {result:?}", column.table, column.column, value.row);
            }
            skip += u32::try_from(values.len()).unwrap();
            *opened.entry(format!("{}.{}", column.table, column.column)).or_default() += values.len() as u64;
            if values.len() < 5000 {
                break;
            }
        }
    }
    opened
}

impl TestBroker {
    /// One round of the loop that follows the data keys.
    async fn look_after_keys(&self) -> (u64, u64) {
        let done = self.broker().look_after_keys(0, Duration::ZERO, &CancellationToken::new()).await.unwrap();
        (done.done, done.unopened)
    }

    /// Rotates as a command beside the running broker does.
    fn rotate(&self) -> u32 {
        tokio::task::block_in_place(|| {
            let desk = Desk::open(self.config(), &Ports::system()).unwrap();
            desk.run(|broker| async move { broker.rotate_data_key().await }).unwrap()
        })
    }

    async fn keys(&self) -> Vec<(u32, KeyState, u64)> {
        let keys = self.broker().list_data_keys().await.unwrap();
        keys.iter().map(|key: &KeyReport| (key.dek_id, key.state, key.values)).collect()
    }

    fn opened(&self) -> BTreeMap<String, u64> {
        open_all(&self.config().database, &self.config().keyring)
    }

    /// Number of codes of each table that this data key made.
    fn codes_of(&self, key: u32) -> BTreeMap<&'static str, u64> {
        let count = |table| {
            let count = format!("SELECT count(*) FROM {table} WHERE mac_dek_id = ?1");
            (table, u64::from(self.sql().query_row(&count, [key], |row| row.get::<_, u32>(0)).unwrap()))
        };
        MACS.iter().map(|column| count(column.table)).collect()
    }
}

/// A consent without a refresh token keeps the stored one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_over_a_reload_learns_of_new_data_keys() {
    let broker = TestBroker::start().await;
    broker.connect("acme", "").await;
    let url = broker.begin("acme", BACK).await;
    let callback = broker.consent(&url, &Answer::allow().fault("denied_scopes"));
    broker.sandbox().hold(Step::Token);
    let (back, ()) = tokio::join!(broker.browse(&callback), async {
        broker.sandbox().held(Step::Token).await;
        let reloaded = broker.reloaded(|_| ()).await;
        assert_eq!(broker.rotate(), 2);
        reloaded.look_after_keys(0, Duration::ZERO, &CancellationToken::new()).await.unwrap();
        broker.sandbox().release(Step::Token);
    });
    assert!(back.location().contains("status=success"), "{}", back.location());
    let kept = "SELECT renewal || tokens_dek_id FROM grants WHERE generation = 2";
    assert_eq!(broker.sql().query_row(kept, [], |row| row.get::<_, String>(0)).unwrap(), "refresh_token2");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_is_re_sealed_while_the_broker_serves() {
    let broker = TestBroker::start().await;
    let twitter = broker.connect("twitter", "").await;
    let page = broker.connect("facebook", "").await;
    let (client_id, client_secret) = sandbox::own_client("tiktok").unwrap();
    let app = json!({"platform": "tiktok", "name": "Own", "clientId": client_id, "clientSecret": "before"});
    let app = broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
    let replaced = broker.call("PATCH", &format!("/v1/apps/{app}"), Some(json!({"clientSecret": client_secret}))).await;
    assert_eq!(replaced.status, 200, "{}", replaced.text);
    let recovery = RecoveryKey::generate(&SystemEntropy).public();
    broker.broker().set_recovery_key(recovery.clone()).await.unwrap();
    // A connection and a choice that began under the old key, and end under the new one.
    let pending = broker.begin("twitter", BACK).await;
    let choosing = broker.begin("facebook", BACK).await;
    let choosing = broker.browse(&broker.consent(&choosing, &Answer::allow())).await.location();
    // What no sandbox leaves behind: a stored answer, a document, and an app at a server that somebody named.
    let (vault, db) = (vault_of(&broker), broker.sql());
    let grant: GrantId = db
        .query_row("SELECT grant_id FROM integrations WHERE id = ?1", [&twitter], |row| row.get::<_, String>(0))
        .unwrap()
        .parse()
        .unwrap();
    let project = db.query_row("SELECT project_id FROM grants", [], |row| row.get::<_, String>(0)).unwrap();
    let client_id: String =
        db.query_row("SELECT client_id FROM grants WHERE id = ?1", [grant.to_string()], |row| row.get(0)).unwrap();
    let owner = Owner { project_id: project.parse().unwrap(), platform: "twitter", client_id: &client_id };
    let answer = vault.seal_answer(&Place::grant_answer(grant, 1, owner), b"answer").unwrap();
    db.execute(
        "UPDATE grants SET attempt_at = 1, in_doubt = 1, answer = ?2, answer_dek_id = 1 WHERE id = ?1",
        params![grant.to_string(), answer.as_bytes()],
    )
    .unwrap();
    let document = vault.seal_text(&Place::discovered("https://id.example"), &"{}".into()).unwrap();
    db.execute("INSERT INTO discovered VALUES ('https://id.example', ?1, 1, 0)", params![document.as_bytes()]).unwrap();
    let place = Place::registration_secret("mastodon", "https://m.example", "c");
    let secret = vault.seal_text(&place, &"secret".into()).unwrap();
    db.execute(
        "INSERT INTO registrations VALUES ('mastodon', 'https://m.example', 'c', ?1, 1, 'https://b.example', '[]', 0, 0, 0)",
        params![secret.as_bytes()],
    )
    .unwrap();
    let tokens: Vec<u8> =
        db.query_row("SELECT tokens FROM grants WHERE id = ?1", [grant.to_string()], |row| row.get(0)).unwrap();
    let before = broker.opened();
    let without: Vec<_> = before.iter().filter(|(_, values)| **values == 0).map(|(column, _)| column).collect();
    assert_eq!(without, ["flows.answer", "flows.server"], "{before:?}");

    let link = broker.call("POST", "/v1/connect/links", Some(json!({"platforms": ["twitter"]}))).await;
    assert_eq!(link.status, 201, "{}", link.text);
    let codes = broker.codes_of(1);
    assert_eq!(codes, BTreeMap::from([("access_keys", 1), ("flows", 4), ("links", 1)]));

    assert_eq!(broker.rotate(), 2);
    assert_eq!(broker.opened(), before, "the key is active, and nothing is sealed with it yet");
    let total: u64 = before.values().chain(codes.values()).sum();
    assert_eq!(broker.keys().await, [(1, KeyState::Old, total), (2, KeyState::Active, 0)]);
    assert_eq!(broker.token(&page, "").await.status, 200);

    let sealed_briefly = ["flows.pkce_verifier", "selections.payload", "selections.token_text"];
    let brief = sealed_briefly.iter().map(|column| before[*column]).sum::<u64>() + codes["flows"];
    let (done, unopened) = broker.look_after_keys().await;
    assert_eq!((done, unopened), (total - brief, 0), "{before:?}");
    assert_eq!(broker.opened(), before);
    assert_eq!(broker.codes_of(1), BTreeMap::from([("access_keys", 0), ("flows", 4), ("links", 0)]));
    assert_eq!(broker.keys().await[1], (2, KeyState::Active, done));
    assert_eq!(broker.look_after_keys().await, (0, 0), "nothing is sealed twice");
    assert_eq!(broker.broker().find_recovery_key().await.unwrap(), Some(recovery.id()));
    let on_disk = files(broker.dir.path());
    assert!(!on_disk.windows(40).any(|window| window == &tokens[5..45]), "old ciphertext is still on the disk");

    // Refusals, from the broker's rows to its memory.
    let refusal = |refused: Result<(), Error>| refused.unwrap_err().to_string();
    let retire = |id| broker.broker().retire_data_key(id, true);
    assert!(refusal(retire(1).await).contains("flows.pkce_verifier"), "a connection in progress needs it");
    assert!(refusal(retire(2).await).contains("active"));
    assert!(refusal(retire(3).await).contains("no data key 3"));
    let location = broker.browse(&broker.consent(&pending, &Answer::allow())).await.location();
    assert!(location.contains("status=success"), "{location}");
    let location = broker.land("facebook", choosing).await;
    assert!(location.contains("status=success"), "{location}");
    broker.clock.advance(Duration::from_mins(9));
    let refused = refusal(retire(1).await);
    assert!(refused.contains("(2 in flows.mac)") && refused.contains("finishes or purges them"), "{refused}");
    broker.broker().purge_expired().await.unwrap();
    assert!(refusal(retire(1).await).contains("2 in flows.mac"), "their browsers may come back");
    broker.clock.advance(Duration::from_mins(1));
    broker.broker().purge_expired().await.unwrap();
    retire(1).await.unwrap();
    assert_eq!(broker.look_after_keys().await, (0, 0));
    let (left, codes) = (broker.opened(), broker.codes_of(2));
    assert_eq!(broker.keys().await, [(2, KeyState::Active, left.values().chain(codes.values()).sum())]);
    assert_eq!(broker.token(&page, "").await.status, 200);
    let sealed = Sealed::from_bytes(tokens);
    assert!(vault_of(&broker).open_tokens(&Place::grant_tokens(grant, 1, owner), &sealed).is_err(), "the key is gone");
}

fn vault_of(broker: &TestBroker) -> Vault {
    let inspection = store::inspect(&broker.config().database).unwrap();
    let file = KeyringFile::load(&broker.config().keyring).unwrap();
    Vault::unlock(&file, inspection.db_id, &inspection.wrapped_keys, Arc::new(SystemEntropy)).unwrap()
}

/// Without PKCE, nothing of a connection is sealed: only the code of its row needs the data key.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_in_progress_keeps_the_old_key_from_being_retired() {
    let broker = TestBroker::start().await;
    let pending = broker.begin("linkedin", BACK).await;
    broker.rotate();
    broker.look_after_keys().await;
    let retire = || broker.broker().retire_data_key(1, false);
    let refused = retire().await.unwrap_err().to_string();
    assert!(refused.contains("(1 in flows.mac): the broker finishes or purges them"), "{refused}");
    let landed = broker.browse(&broker.consent(&pending, &Answer::allow())).await.location();
    assert!(landed.contains("/connect/selection/") || landed.contains("status=success"), "{landed}");
    assert_eq!(broker.codes_of(1)["flows"], 0, "it came back, and its row has a code of the new key");
    // One whose browser never comes back.
    broker.rotate();
    retire().await.unwrap();
    let pending = broker.begin("linkedin", BACK).await;
    broker.look_after_keys().await;
    assert!(broker.broker().retire_data_key(2, false).await.is_err(), "{pending}");
    broker.clock.advance(Duration::from_mins(11));
    broker.broker().purge_expired().await.unwrap();
    broker.broker().retire_data_key(2, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_broker_that_has_not_seen_a_rotation_keeps_the_old_key_from_being_retired() {
    let broker = TestBroker::start().await;
    broker.look_after_keys().await;
    broker.clock.advance(Duration::from_hours(1));
    broker.rotate();
    let refused = broker.broker().retire_data_key(1, false).await.unwrap_err().to_string();
    assert!(refused.contains("1 in access_keys.mac"), "{refused}");
    // Without that key, nothing is stored that needs it.
    let code: Vec<u8> = broker.sql().query_row("SELECT mac FROM access_keys", [], |row| row.get(0)).unwrap();
    broker.sql().execute("UPDATE access_keys SET mac = NULL, mac_dek_id = NULL", []).unwrap();
    let refused = broker.broker().retire_data_key(1, true).await.unwrap_err().to_string();
    assert!(refused.contains("has not re-sealed everything with data key 2"), "{refused}");
    broker.sql().execute("UPDATE access_keys SET mac = ?1, mac_dek_id = 1", [code]).unwrap();
    // It seals with the old key until it looks.
    let id = broker.connect("twitter", "").await;
    let refused = broker.broker().retire_data_key(1, false).await.unwrap_err().to_string();
    assert!(refused.contains("1 in grants.tokens"), "{refused}");
    assert_eq!(broker.look_after_keys().await, (2, 0));
    broker.clock.advance(Duration::from_hours(1));
    broker.broker().purge_expired().await.unwrap();
    // Without a broker, nobody has anything in memory.
    broker.broker().retire_data_key(1, false).await.unwrap();
    broker.look_after_keys().await;
    assert_eq!(broker.token(&id, "").await.status, 200);
}

/// Values in memory are sealed with the key that was active when they came.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_cannot_be_stored_yet_keep_the_old_key_from_being_retired() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    broker.look_after_keys().await;
    broker.clock.advance(Duration::from_hours(2));
    broker.broker().purge_expired().await.unwrap();
    let no_swap = "CREATE TRIGGER no_swap BEFORE UPDATE ON grants WHEN new.generation > old.generation
        BEGIN SELECT RAISE(FAIL, 'no'); END";
    broker.sql().execute_batch(no_swap).unwrap();
    let (refreshed, ()) = tokio::join!(broker.refresh_due(), async {
        while broker.browse(&format!("{}/readyz", broker.url)).await.status == 200 {
            tokio::task::yield_now().await;
        }
        broker.rotate();
        assert!(broker.look_after_keys().await.0 > 0);
        broker.clock.advance(Duration::from_hours(1));
        let refused = broker.broker().retire_data_key(1, true).await.unwrap_err().to_string();
        assert!(refused.contains("has not re-sealed everything with data key 2"), "{refused}");
        broker.sql().execute_batch("DROP TRIGGER no_swap").unwrap();
    });
    assert_eq!(refreshed, 1);
    assert_eq!(broker.look_after_keys().await, (1, 0), "the tokens that came under the old key");
    broker.clock.advance(Duration::from_mins(20));
    broker.broker().retire_data_key(1, true).await.unwrap();
    broker.look_after_keys().await;
    assert_eq!(broker.token(&id, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_open_hold_up_no_others_and_keep_their_key() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let grant: String = broker.sql().query_row("SELECT id FROM grants", [], |row| row.get(0)).unwrap();
    let bent = Sealed::from_bytes([&[1, 0, 0, 0, 1][..], &[7; 60]].concat());
    // More than a batch.
    let copy =
        "INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, requested_scopes, consented_at,
            issued_at, renewal, tokens, tokens_dek_id, generation, status, created_at, updated_at)
         SELECT ?2, project_id, platform, client_id, ?2, scopes, '[]', 0, 0, 'never', ?3, 1, 1, 'active', 0, 0
         FROM grants WHERE id = ?1";
    for number in 0..450_u128 {
        // Before the real one in the index, or after it.
        broker
            .sql()
            .execute(
                copy,
                params![grant, GrantId::from_uuid(uuid::Uuid::from_u128(number)).to_string(), bent.as_bytes()],
            )
            .unwrap();
    }
    let app = json!({"platform": "acme", "name": "Own", "clientId": "c", "clientSecret": "s"});
    assert_eq!(broker.call("POST", "/v1/apps", Some(app)).await.status, 201);
    broker.rotate();
    assert_eq!(broker.look_after_keys().await, (3, 450), "an account, an app and an access key");
    broker.clock.advance(Duration::from_hours(1));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(broker.keys().await, [(1, KeyState::Old, 450), (2, KeyState::Active, 3)]);
    assert_eq!(broker.token(&id, "").await.status, 200);
    let again = broker.broker().look_after_keys(450, Duration::ZERO, &CancellationToken::new()).await.unwrap();
    assert_eq!((again.done, again.unopened), (0, 450));
    let refused = broker.broker().retire_data_key(1, false).await.unwrap_err().to_string();
    assert!(refused.contains("(450 in grants.tokens)"), "{refused}");
}

/// Adds grants that nobody uses, each with tokens of its own.
pub(crate) fn fill(crashing: &Crashing, rows: u64) {
    let (database, keyring) = (crashing.path("postpeer.db"), crashing.path("postpeer.keyring"));
    let inspection = store::inspect(&database).unwrap();
    let file = KeyringFile::load(&keyring).unwrap();
    let vault = Vault::unlock(&file, inspection.db_id, &inspection.wrapped_keys, Arc::new(SystemEntropy)).unwrap();
    let mut db = rusqlite::Connection::open(&database).unwrap();
    let transaction = db.transaction().unwrap();
    let project: String = transaction.query_row("SELECT min(project_id) FROM grants", [], |row| row.get(0)).unwrap();
    let first =
        transaction.query_row("SELECT id FROM grants WHERE project_id = ?1", [&project], |row| row.get::<_, String>(0));
    let like = grants::find(&transaction, project.parse().unwrap(), first.unwrap().parse().unwrap()).unwrap().unwrap();
    for number in 0..rows {
        let mut grant = like.clone();
        grant.id = GrantId::from_uuid(uuid::Uuid::from_u128(u128::from(number)));
        grant.subject = format!("filler {number}");
        (grant.generation, grant.due_at) = (1, None);
        let tokens = TokenSet {
            access_token: format!("access {number}").into(),
            refresh_token: Some("refresh".into()),
            id_token: None,
            token_type: "Bearer".to_owned(),
            service_url: None,
        };
        grant.tokens = Some(vault.seal_tokens(&Place::grant_tokens(grant.id, 1, &grant), &tokens).unwrap());
        grants::insert(&transaction, &grant).unwrap();
    }
    transaction.commit().unwrap();
}

/// A grant's sealed tokens: generation, data key, digest.
type Seen = BTreeMap<String, (i64, u32, Vec<u8>)>;

/// Asserts that no value went back to an older key, or was sealed twice with the same one. Returns the number of values
/// that are sealed with an older key than the active one.
fn compare(database: &Path, seen: &mut Seen) -> u64 {
    let db = rusqlite::Connection::open(database).unwrap();
    let active: u32 = db.query_row("SELECT dek_id FROM keyring WHERE state = 'active'", [], |row| row.get(0)).unwrap();
    let mut statement = db.prepare("SELECT id, generation, tokens_dek_id, tokens FROM grants").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut older = 0;
    while let Some(row) = rows.next().unwrap() {
        let id: String = row.get(0).unwrap();
        let tokens: Vec<u8> = row.get(3).unwrap();
        let now = (row.get(1).unwrap(), row.get(2).unwrap(), Digest256::of(&tokens).as_bytes().to_vec());
        older += u64::from(now.1 < active);
        if let Some(before) = seen.insert(id.clone(), now.clone())
            && before.0 == now.0
        {
            assert!(before.1 <= now.1, "{id} went back to data key {}", now.1);
            assert!(before.1 != now.1 || before.2 == now.2, "{id} was sealed twice with data key {}", now.1);
        }
    }
    older
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_at_random_goes_on_and_every_value_opens() {
    let crashing = Arc::new(Crashing::new(2));
    let process = crashing.start(None);
    let mut accounts = Vec::new();
    for project in 0..2 {
        for account in ["ada", "basil"] {
            accounts.push((project, crashing.connect(project, "twitter", account).await));
        }
    }
    process.kill();
    fill(&crashing, setting("ROTATION_ROWS", 600));
    let (database, keyring) = (crashing.path("postpeer.db"), crashing.path("postpeer.keyring"));
    let random = SeededEntropy::new(u64::from(std::process::id()));
    let draw = |below: u64| {
        let mut bytes = [0_u8; 4];
        random.fill(&mut bytes);
        Duration::from_millis(u64::from(u32::from_be_bytes(bytes)) % below)
    };
    let mut seen = Seen::new();
    let (mut older, mut cut_off, mut rotations) = (compare(&database, &mut seen), 0, 0);
    for _ in 0..setting("ROTATION_KILLS", 4) {
        let process = crashing.start(None);
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = accounts
            .iter()
            .cloned()
            .map(|(project, id)| {
                let (crashing, stop) = (crashing.clone(), stop.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::SeqCst) {
                        // Fails when the broker is gone.
                        let _ = crashing.token(project, &id, ALWAYS).await;
                    }
                })
            })
            .collect();
        if older == 0 {
            tokio::task::block_in_place(|| crashing.command(&["keyring", "rotate"]).succeeded());
            rotations += 1;
        }
        tokio::time::sleep(Duration::from_millis(5) + draw(395)).await;
        process.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        open_all(&database, &keyring);
        older = compare(&database, &mut seen);
        cut_off += u64::from(older > 0);
    }
    // Whatever is left is finished without another kill.
    let process = crashing.start(None);
    for (project, id) in &accounts {
        crashing.settled(*project, id).await;
    }
    while compare(&database, &mut seen) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(process.stop(), Some(0));
    let opened = open_all(&database, &keyring);
    assert_eq!(opened["grants.tokens"], setting("ROTATION_ROWS", 600) + 4);
    assert!(cut_off > 0, "no kill hit a rotation");
    println!("{rotations} rotations, cut off in {cut_off} rounds");
}

#[expect(clippy::disallowed_methods, reason = "a person may wait for more kills than CI does")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
