//! A consent that waits for its person's choice as the plaintext of one sealed value: a JSON object with the tokens, the
//! facts that came with them, and the accounts to choose from with the tokens of their own.
//!
//! It lives for minutes, but across an update of the program: members that a later version adds are ignored.

use std::io::{self, Write};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::tokens::{self, Secret};
use crate::domain::account::{Account, AccountKind, FoundAccount, Identity, RouteReport, UnusableAccount};
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
}

#[derive(Serialize)]
struct WrittenAccount<'a> {
    account: &'a Account,
    kind: AccountKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_token: Option<&'a str>,
}

#[derive(Deserialize)]
struct Read {
    tokens: tokens::Read,
    /// Not there in what an earlier program wrote.
    #[serde(default)]
    issued_at: i64,
    access_expires_at: Option<i64>,
    refresh_expires_at: Option<i64>,
    scopes: Option<Vec<String>>,
    subject: String,
    accounts: Vec<ReadAccount>,
    unusable: Vec<UnusableAccount>,
    routes: Vec<RouteReport>,
}

#[derive(Deserialize)]
struct ReadAccount {
    account: Account,
    kind: AccountKind,
    own_token: Option<Secret>,
}

/// The JSON, in a buffer that is wiped when dropped and has room for the tag.
#[expect(clippy::disallowed_methods, reason = "what is written here is sealed next")]
pub(super) fn write(consent: &Consent, tag: usize) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let Consent { issued, identity } = consent;
    let accounts = identity.accounts.iter().map(|found| WrittenAccount {
        account: &found.account,
        kind: found.kind,
        own_token: found.own_token.as_ref().map(SecretString::expose_secret),
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
    };
    // A buffer that grows leaves its old contents behind: written twice, once only to measure.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, &written)?;
    let mut json = Zeroizing::new(Vec::with_capacity(length.0 + tag));
    serde_json::to_writer(&mut *json, &written)?;
    Ok(json)
}

/// `None` when the bytes are no consent.
pub(super) fn read(json: &[u8]) -> Option<Consent> {
    let read: Read = serde_json::from_slice(json).ok()?;
    let accounts = read.accounts.into_iter().map(|found| FoundAccount {
        account: found.account,
        kind: found.kind,
        own_token: found.own_token.map(|secret| secret.0),
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
        },
    })
}

/// Counts what is written to it.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "what was opened is compared with what was sealed")]
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
                    },
                    FoundAccount { account: account("2"), kind: AccountKind::Person, own_token: None },
                ],
                unusable: vec![UnusableAccount {
                    platform_user_id: "3".to_owned(),
                    display_name: None,
                    reason: "you may not post there".to_owned(),
                    remedy: "ask for a task".to_owned(),
                    is_passing: false,
                }],
                routes: vec![RouteReport { route: "your Pages".to_owned(), found: 3, trouble: None }],
            },
        }
    }

    #[test]
    fn a_consent_comes_back_as_it_was() {
        let before = consent();
        let json = write(&before, 16).unwrap();
        assert_eq!(json.capacity(), json.len() + 16, "the buffer grew");
        let after = read(&json).unwrap();
        assert_eq!(format!("{after:?}"), format!("{before:?}"), "but for the secrets, which are silent");
        assert_eq!(after.issued.tokens.access_token.expose_secret(), "user-token");
        assert_eq!(after.issued.tokens.id_token.unwrap().expose_secret(), "id-token");
        assert!(after.issued.tokens.refresh_token.is_none());
        let own: Vec<_> = after.identity.accounts.iter().map(|found| found.own_token.as_ref()).collect();
        assert_eq!(own[0].unwrap().expose_secret(), "page-token");
        assert!(own[1].is_none());
    }

    #[test]
    fn what_is_no_consent_is_not_read() {
        for bad in [&b""[..], b"{}", b"null", br#"{"tokens": {"access_token": "a", "token_type": "b"}}"#] {
            assert!(read(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
