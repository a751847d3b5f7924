//! The plaintext form of a sealed consent that waits for its owner to choose accounts: a JSON object with the tokens,
//! what the platform said about them, and the accounts with their own tokens.
//!
//! It lives for minutes, but may outlive an update of the broker: unknown members are ignored.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal;
use super::tokens::{self, Secret};
use crate::domain::account::{Account, AccountKind, FoundAccount, Identity, RouteReport, UnusableAccount};
use crate::domain::failure::Failure;
use crate::domain::grant::IssuedTokens;
use crate::domain::selection::Consent;
use crate::domain::time::Timestamp;

#[derive(Serialize)]
struct Written<'a> {
    tokens: tokens::Written<'a>,
    issued_at: i64,
    access_expires_at: Option<i64>,
    refresh_expires_at: Option<i64>,
    scopes: Option<&'a [String]>,
    subject: &'a str,
    accounts: Vec<WrittenAccount<'a>>,
    unusable: &'a [UnusableAccount],
    routes: &'a [RouteReport],
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

#[derive(Serialize)]
struct WrittenAccount<'a> {
    account: &'a Account,
    kind: AccountKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_token: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    elsewhere: &'a [Account],
}

#[derive(Deserialize)]
struct Read {
    tokens: tokens::Read,
    /// Absent in values that an earlier version wrote.
    #[serde(default)]
    issued_at: i64,
    access_expires_at: Option<i64>,
    refresh_expires_at: Option<i64>,
    scopes: Option<Vec<String>>,
    subject: String,
    accounts: Vec<ReadAccount>,
    unusable: Vec<UnusableAccount>,
    routes: Vec<RouteReport>,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
struct ReadAccount {
    account: Account,
    kind: AccountKind,
    own_token: Option<Secret>,
    #[serde(default)]
    elsewhere: Vec<Account>,
}

/// Writes the JSON into a buffer that is wiped when dropped and has room for the tag.
#[expect(clippy::disallowed_methods, reason = "the JSON is sealed next")]
pub(super) fn write(consent: &Consent) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let Consent { issued, identity } = consent;
    let accounts = identity.accounts.iter().map(|found| WrittenAccount {
        account: &found.account,
        kind: found.kind,
        own_token: found.own_token.as_ref().map(SecretString::expose_secret),
        elsewhere: &found.elsewhere,
    });
    let written = Written {
        tokens: tokens::Written::of(&issued.tokens),
        issued_at: issued.issued_at.as_millis(),
        access_expires_at: issued.access_expires_at.map(Timestamp::as_millis),
        refresh_expires_at: issued.refresh_expires_at.map(Timestamp::as_millis),
        scopes: issued.scopes.as_deref(),
        subject: &identity.subject,
        accounts: accounts.collect(),
        unusable: &identity.unusable,
        routes: &identity.routes,
        failure: identity.failure,
    };
    seal::json(&written)
}

/// `None` when the bytes are not a consent.
pub(super) fn read(json: &[u8]) -> Option<Consent> {
    let read: Read = serde_json::from_slice(json).ok()?;
    let accounts = read.accounts.into_iter().map(|found| FoundAccount {
        account: found.account,
        kind: found.kind,
        own_token: found.own_token.map(|secret| secret.0),
        elsewhere: found.elsewhere,
    });
    Some(Consent {
        issued: IssuedTokens {
            tokens: read.tokens.into(),
            issued_at: Timestamp::from_millis(read.issued_at),
            access_expires_at: read.access_expires_at.map(Timestamp::from_millis),
            refresh_expires_at: read.refresh_expires_at.map(Timestamp::from_millis),
            scopes: read.scopes,
        },
        identity: Identity {
            subject: read.subject,
            accounts: accounts.collect(),
            unusable: read.unusable,
            routes: read.routes,
            failure: read.failure,
        },
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests compare what was read with what was written")]
mod tests {
    use super::*;
    use crate::domain::grant::TokenSet;

    fn consent() -> Consent {
        let account = |id: &str| Account {
            platform_user_id: id.to_owned(),
            display_name: Some("Caf\u{e9} \"One\"\n".to_owned()),
            metadata: serde_json::from_str(r#"{"category": "Bakery"}"#).unwrap(),
            ..Account::default()
        };
        Consent {
            issued: IssuedTokens {
                issued_at: Timestamp::from_millis(7),
                tokens: TokenSet {
                    access_token: "user-token".into(),
                    refresh_token: None,
                    id_token: Some("id-token".into()),
                    token_type: "Bearer".to_owned(),
                    service_url: None,
                },
                access_expires_at: Some(Timestamp::from_millis(1_777_797_216_445)),
                refresh_expires_at: None,
                scopes: Some(vec!["pages_show_list".to_owned()]),
            },
            identity: Identity {
                subject: "42".to_owned(),
                accounts: vec![
                    FoundAccount {
                        account: account("1"),
                        kind: AccountKind::Page,
                        own_token: Some("page-token".into()),
                        elsewhere: vec![account("4")],
                    },
                    FoundAccount::new(account("2"), AccountKind::Person),
                ],
                unusable: vec![UnusableAccount {
                    platform_user_id: "3".to_owned(),
                    display_name: None,
                    reason: "you may not post there".to_owned(),
                    remedy: "ask for a task".to_owned(),
                    is_passing: false,
                }],
                routes: vec![RouteReport { route: "your Pages".to_owned(), found: 3, trouble: None }],
                failure: Some(Failure::PlatformThrottled),
            },
        }
    }

    #[test]
    fn a_consent_comes_back_as_it_was() {
        let before = consent();
        let json = write(&before).unwrap();
        assert_eq!(json.capacity(), json.len() + 16, "the buffer grew");
        let after = read(&json).unwrap();
        assert_eq!(format!("{after:?}"), format!("{before:?}"), "all but the secrets, which Debug hides");
        assert_eq!(after.issued.tokens.access_token.expose_secret(), "user-token");
        assert_eq!(after.issued.tokens.id_token.unwrap().expose_secret(), "id-token");
        assert!(after.issued.tokens.refresh_token.is_none());
        let own: Vec<_> = after.identity.accounts.iter().map(|found| found.own_token.as_ref()).collect();
        assert_eq!(own[0].unwrap().expose_secret(), "page-token");
        assert!(own[1].is_none());
    }

    #[test]
    fn other_bytes_are_not_read_as_a_consent() {
        for bad in [&b""[..], b"{}", b"null", br#"{"tokens": {"access_token": "a", "token_type": "b"}}"#] {
            assert!(read(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
