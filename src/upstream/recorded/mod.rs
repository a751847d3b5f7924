//! Reads the answers in `answers.txt` as the broker does, and compares each with what the file says of it.

#![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::config::{Environment, from_str};
use crate::domain::account::{Account, Identity};
use crate::domain::bounds;
use crate::domain::failure::Failure;
use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::proxy::Proxies;
use crate::domain::time::{ManualClock, Timestamp};
use crate::outbound::{Dns, Guard, Outbound, Roots, Settings, read_json};
use crate::platforms::googlebusiness::BusinessAccount;
use crate::platforms::{Platform, Unidentified, bluesky, built_in_names, facebook, googlebusiness, linkedin};
use crate::{atproto, oauth};

const ANSWERS: &str = include_str!("answers.txt");

const SENT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

/// Operators' own platforms; all other names are built in.
const CUSTOM: &str = r#"
    [platforms.acme]
    authorize_url = "https://id.acme.example/auth"
    token_url = "https://id.acme.example/token"
    identity_url = "https://id.acme.example/me"
    token_pointer = "/authed_user"
    identity = { id = "/sub", username = "/preferred_username", name = "/name", image = "/picture" }

    [platforms.mastodon]
"#;

/// An answer in the file.
struct Recorded {
    platform: &'static str,
    kind: &'static str,
    status: u16,
    source: &'static str,
    body: Vec<u8>,
    expected: &'static str,
}

fn recorded() -> Vec<Recorded> {
    let mut lines = ANSWERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut answers = Vec::new();
    while let Some(head) = lines.next() {
        let (head, source) = head.split_once(" | ").unwrap();
        let [platform, kind, status] = head.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let body = bytes(lines.next().unwrap());
        let expected = lines.next().and_then(|line| line.strip_prefix("-> ")).expect(source);
        answers.push(Recorded { platform, kind, status: status.parse().unwrap(), source, body, expected });
    }
    answers
}

/// A body, with `<<E9>>` for single bytes.
fn bytes(line: &str) -> Vec<u8> {
    let mut parts = line.split("<<");
    let mut body = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (byte, text) = part.split_once(">>").unwrap();
        body.push(u8::from_str_radix(byte, 16).unwrap());
        body.extend(text.as_bytes());
    }
    body
}

fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("-")
}

fn tokens(issued: &IssuedTokens) -> String {
    let life = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| SENT.until(at).as_secs().to_string());
    let refresh = issued.tokens.refresh_token.as_ref().map(SecretString::expose_secret);
    let scopes = issued.scopes.as_ref().filter(|scopes| !scopes.is_empty()).map(|scopes| scopes.join(","));
    format!(
        "tokens {} {} {} {} {} {}",
        issued.tokens.access_token.expose_secret(),
        or_dash(refresh),
        life(issued.access_expires_at),
        life(issued.refresh_expires_at),
        or_dash(scopes.as_deref()),
        issued.tokens.token_type
    )
}

fn account(account: Account) -> String {
    let account = Identity::single(account).bounded().accounts.remove(0).account;
    format!(
        "account {} | {} | {} | {}",
        account.platform_user_id,
        or_dash(account.username.as_deref()),
        or_dash(account.display_name.as_deref()),
        or_dash(account.image_url.as_deref())
    )
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("list {}", items.into_iter().collect::<Vec<_>>().join("; ")).trim_end().to_owned()
}

fn failure(failure: Failure) -> String {
    format!("failure {}", failure.code())
}

struct Readers {
    platforms: BTreeMap<String, Platform>,
    atproto: atproto::Engine,
}

impl Readers {
    fn new() -> Self {
        let config = from_str("x", CUSTOM, Path::new(""), &Environment::default()).unwrap();
        let platforms = config.platforms.iter_all().map(|of| (of.platform().name.to_string(), of.platform().clone()));
        let settings = Settings {
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            allow_private_networks: false,
            roots: Roots::default(),
            proxies: Proxies::default(),
        };
        let guard = Guard::new(&settings, Dns::system()).unwrap();
        let outbound = Outbound::new(&settings).unwrap();
        let atproto = atproto::Engine::new(outbound, guard, Dns::system(), Arc::new(ManualClock::new(SENT)));
        Self { platforms: platforms.collect(), atproto }
    }

    /// The answer as the file spells it.
    fn read(&self, answer: &Recorded) -> String {
        let platform = self.platforms.get(answer.platform);
        let json = read_json(&answer.body).unwrap_or(Value::Null);
        let listed = match (answer.kind, platform) {
            ("token", Some(platform)) => {
                let sent = TokenSet {
                    access_token: SecretString::default(),
                    refresh_token: None,
                    id_token: None,
                    token_type: "Bearer".to_owned(),
                    service_url: None,
                };
                let read = oauth::read_refresh(platform, &sent, None, &answer.body, SENT);
                return read.map_or_else(|error| failure(error.failure), |issued| tokens(&issued));
            }
            ("token", None) => {
                let server = "https://pds.host".parse().unwrap();
                let read = self.atproto.read_session(DID, &server, &answer.body, SENT);
                return read.map_or_else(|error| failure(error.failure), |session| tokens(&session.issued));
            }
            ("identity", Some(platform)) => {
                let read = platform.identity.read.read(&json);
                let read = read.and_then(|account| {
                    bounds::is_id(&account.platform_user_id).then_some(account).ok_or(Unidentified::Unreadable)
                });
                return read.map_or_else(|why| failure(why.into()), account);
            }
            ("identity", None) => {
                return account(bluesky::account(DID, Some("alice.bsky.social"), "https://pds.host", Some(&json)));
            }
            (kind, _) => lists(kind, &json),
        };
        listed.map_or_else(|why| failure(why.into()), list)
    }
}

/// The items of a list of this kind.
fn lists(kind: &str, json: &Value) -> Result<Vec<String>, Unidentified> {
    let named = |id: &str, name: Option<&str>| format!("{id} {}", or_dash(name));
    Ok(match kind {
        "pages" => facebook::read_pages(json)?
            .iter()
            .map(|page| {
                let token = page.token.as_ref().map(SecretString::expose_secret);
                format!(
                    "{} {}",
                    named(&page.account.platform_user_id, page.account.display_name.as_deref()),
                    or_dash(token)
                )
            })
            .collect(),
        "roles" => linkedin::read_roles(json)?.iter().map(|role| named(&role.organization, Some(&role.role))).collect(),
        "organizations" => {
            linkedin::read_organizations(json)?.iter().map(|(id, of)| named(id, of.name.as_deref())).collect()
        }
        "accounts" => {
            googlebusiness::read_accounts(json)?.iter().map(|of| named(&of.name, Some(of.label.as_str()))).collect()
        }
        "locations" => {
            let parent = BusinessAccount { name: "accounts/1".to_owned(), label: "Ada".to_owned() };
            let locations = googlebusiness::read_locations(&parent, json)?;
            let name = |account: &Account| named(&account.platform_user_id, account.display_name.as_deref());
            locations.iter().map(|location| name(&location.account)).collect()
        }
        other => panic!("no such kind: {other}"),
    })
}

#[test]
fn answers_of_platforms_are_read_as_meant() {
    let readers = Readers::new();
    let mut wrong = Vec::new();
    for answer in recorded() {
        assert_eq!(answer.status, 200, "{}: only successes are read here", answer.source);
        let read = readers.read(&answer);
        if read != answer.expected {
            let Recorded { platform, kind, source, expected, .. } = answer;
            wrong.push(format!("{platform} {kind}, {source}\n  expected {expected}\n  read     {read}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_platform_has_ten_answers() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in recorded() {
        *counts.entry(answer.platform).or_default() += 1;
    }
    for name in built_in_names().iter().map(AsRef::as_ref).chain(["acme", "mastodon"]) {
        let count = counts.get(name).copied().unwrap_or_default();
        assert!(count >= 10, "{name} has {count} of 10 answers in src/upstream/recorded/answers.txt");
    }
}
