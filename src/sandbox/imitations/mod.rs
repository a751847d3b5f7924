//! Platforms as values: how each takes authorize requests, which endpoints it has, who has an account there, and how
//! it says no. A new platform is one file and one line in [`IMITATIONS`].
//!
//! Written from the platforms' documentation alone; the broker's own description of them is not consulted.

mod acme;
mod facebook;
mod google;
mod googlebusiness;
mod instagram;
mod linkedin;
mod meta;
mod pinterest;
mod threads;
mod tiktok;
mod twitter;
mod youtube;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::answer::Reply;
use super::authorize::Objection;
use super::call::Call;
use super::desk::Desk;
use super::problem::{Problem, Refusal};
use super::step::Step;
use super::world::World;

/// Every imitation, in alphabetical order.
pub(super) const IMITATIONS: &[&Imitation] = &[
    &acme::IMITATION,
    &facebook::IMITATION,
    &googlebusiness::IMITATION,
    &instagram::IMITATION,
    &linkedin::IMITATION,
    &pinterest::IMITATION,
    &threads::IMITATION,
    &tiktok::IMITATION,
    &twitter::IMITATION,
    &youtube::IMITATION,
];

/// A platform.
#[derive(Debug)]
pub(super) struct Imitation {
    /// As in URLs and configuration.
    pub(super) name: &'static str,
    /// For people.
    pub(super) label: &'static str,
    pub(super) personas: &'static [Persona],
    pub(super) authorize: Authorize,
    pub(super) endpoints: &'static [Endpoint],
    /// Says no in the platform's own shape.
    pub(super) refuse: fn(&Refusal<'_>) -> Reply,
    /// Whether the broker is told about the revocation endpoint.
    pub(super) revocable: bool,
    /// Where people choose on the consent page what an app may see.
    pub(super) choice: Option<Choice>,
    /// The scopes that the operator's app asks for, where those are not the usual ones of the broker.
    pub(super) scopes: Option<&'static [&'static str]>,
    /// For a platform that is not built into the broker: the rest of its configuration, with `{base}` for its URL.
    pub(super) custom: Option<&'static str>,
}

/// A fictional account.
#[derive(Debug)]
pub(super) struct Persona {
    /// As in the consent form.
    pub(super) id: &'static str,
    /// The platform's immutable id of the account.
    pub(super) user_id: &'static str,
    pub(super) name: &'static str,
    /// Without `@`.
    pub(super) handle: &'static str,
    /// What is awkward about it, for the consent page; may be empty.
    pub(super) note: &'static str,
}

/// What people choose on the consent page beyond scopes: which of their pages an app may see.
#[derive(Debug)]
pub(super) struct Choice {
    /// All that a person has.
    pub(super) pages: fn(&Persona) -> Vec<Page>,
    /// What the platform does with a decision; the id is the new grant's.
    pub(super) decided: fn(&mut World, u64),
}

/// Something to tick on the consent page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) id: String,
    pub(super) name: String,
}

/// An endpoint for programs.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    /// Below the platform; `{version}` stands for `v` and a number such as `v23.0`, `{id}` for any segment.
    pub(super) path: &'static str,
    /// At the token endpoint [`Step::Token`], though it serves refreshes as well.
    pub(super) step: Step,
    pub(super) answer: fn(&mut Desk<'_>, &Call) -> Result<Reply, Problem>,
}

impl Endpoint {
    pub(super) fn is_at(&self, path: &str) -> bool {
        is_at(self.path, path)
    }
}

fn is_at(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), given.next()) {
            (None, None) => return true,
            (Some("{version}"), Some(version)) if is_version(version) => {}
            (Some("{id}"), Some(id)) if !id.is_empty() => {}
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
}

fn is_version(segment: &str) -> bool {
    let number = segment.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    number.is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// How a platform takes authorize requests.
#[derive(Debug)]
pub(super) struct Authorize {
    /// As [`Endpoint::path`].
    pub(super) path: &'static str,
    /// What the client id is called.
    pub(super) client_id_name: &'static str,
    /// The characters that separate scopes.
    pub(super) separators: &'static [char],
    pub(super) scopes: Scopes,
    /// Beyond client id, `redirect_uri`, `response_type`, `scope`, `state` and PKCE.
    pub(super) parameters: &'static [Parameter],
    pub(super) pkce: fn(&Url) -> Pkce,
    pub(super) query_of_redirect: QueryOfRedirect,
    /// In characters.
    pub(super) longest_state: Option<usize>,
    pub(super) code: CodeRules,
    /// Names and values that the browser brings back when the person declines.
    pub(super) denial: &'static [(&'static str, &'static str)],
    /// The name and separator of the granted scopes in the callback, where the platform tells.
    pub(super) granted_scope: Option<(&'static str, &'static str)>,
    /// Appended to each redirect.
    pub(super) suffix: &'static str,
    /// The `error` with which the browser is sent back; `None`: the platform shows a page of its own.
    pub(super) sent_back: fn(&Objection) -> Option<&'static str>,
    /// Of the platform's own page.
    pub(super) page_status: u16,
}

impl Authorize {
    pub(super) fn is_at(&self, path: &str) -> bool {
        is_at(self.path, path)
    }
}

#[derive(Debug)]
pub(super) struct Scopes {
    /// Those that the operator's app may ask for.
    pub(super) known: &'static [&'static str],
    /// Further ones that only the second client may ask for.
    pub(super) approved: &'static [&'static str],
    /// Without these the platform refuses the request.
    pub(super) mandatory: &'static [&'static str],
    /// Where people can untick scopes: those that they cannot.
    pub(super) fixed: Option<&'static [&'static str]>,
}

/// A parameter of the authorize request.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// The words that it may be made of; empty: anything.
    pub(super) words: &'static [&'static str],
}

#[derive(Debug)]
pub(super) struct CodeRules {
    /// Seconds.
    pub(super) life: u64,
    /// Before and after the random part.
    pub(super) prefix: &'static str,
    pub(super) suffix: &'static str,
}

/// What a platform makes of a query in the redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryOfRedirect {
    Kept,
    Refused,
    Stripped,
}

/// Whether the authorize request carries a code challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pkce {
    Optional(Challenge),
    Refused,
    Required(Challenge),
}

/// How a challenge is made of a verifier; `code_challenge_method` is `S256` either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// RFC 7636.
    Base64Url,
    /// TikTok's: 64 lower-case hexadecimal digits.
    Hex,
}

impl Challenge {
    fn of(self, verifier: &str) -> String {
        let digest = Sha256::digest(verifier.as_bytes());
        match self {
            Self::Base64Url => URL_SAFE_NO_PAD.encode(digest),
            Self::Hex => hex::encode(digest),
        }
    }

    /// Whether a challenge has the right shape.
    pub(super) fn is_one(self, challenge: &str) -> bool {
        match self {
            Self::Base64Url => URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|digest| digest.len() == 32),
            Self::Hex => {
                challenge.len() == 64 && challenge.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            }
        }
    }

    /// Whether `verifier` is one (43 to 128 unreserved characters) and makes `challenge`.
    pub(super) fn verifies(self, challenge: &str, verifier: &str) -> bool {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved) && self.of(verifier) == challenge
    }
}

/// The JSON members of `all` whose names are among `names`.
fn select(all: &serde_json::Value, names: &[&str]) -> serde_json::Value {
    let members = all.as_object().into_iter().flatten();
    let chosen = members.filter(|(name, _)| names.contains(&name.as_str()));
    serde_json::Value::Object(chosen.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The comma-separated `fields` of a request, each of which must be `known`.
fn field_list<'a>(fields: &'a str, known: &[&str]) -> Result<Vec<&'a str>, Problem> {
    let names: Vec<&str> = fields.split(',').collect();
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(Problem::Parameter(format!("the field '{name}' is not known here"))),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_each_with_accounts_and_a_token_endpoint() {
        let names: Vec<&str> = IMITATIONS.iter().map(|imitation| imitation.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        for imitation in IMITATIONS {
            assert!(imitation.personas.len() >= 2, "{}", imitation.name);
            assert!(imitation.endpoints.iter().any(|endpoint| endpoint.step == Step::Token), "{}", imitation.name);
        }
    }

    #[test]
    fn a_version_stands_for_any_number() {
        let endpoint = Endpoint {
            method: "GET",
            path: "/{version}/me",
            step: Step::Identity,
            answer: |_, _| Err(Problem::ServerError),
        };
        for (path, is) in [
            ("/v23.0/me", true),
            ("/v1.12/me", true),
            ("/v23/me", false),
            ("/23.0/me", false),
            ("/v23.0/me/", false),
            ("/me", false),
        ] {
            assert_eq!(endpoint.is_at(path), is, "{path}");
        }
    }

    #[test]
    fn challenges_are_checked_in_both_spellings() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(Challenge::Base64Url.is_one(challenge));
        assert!(Challenge::Base64Url.verifies(challenge, verifier));
        assert!(!Challenge::Base64Url.verifies(challenge, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXj"));
        let hex = Challenge::Hex.of(verifier);
        assert!(Challenge::Hex.is_one(&hex) && !Challenge::Hex.is_one(challenge));
        assert!(Challenge::Hex.verifies(&hex, verifier));
        assert!(!Challenge::Base64Url.is_one(&hex));
        let short = "short";
        assert!(!Challenge::Hex.verifies(&Challenge::Hex.of(short), short));
    }
}
