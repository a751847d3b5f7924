//! Platforms as values: how each takes authorize requests, its endpoints, its accounts, and the words of its
//! refusals. A new platform is one file and one line in [`IMITATIONS`]; the tests run it with its own [`Example`].
//!
//! Written from the platforms' documentation alone, never from the broker's description of them.

mod acme;
mod facebook;
mod google;
mod googlebusiness;
mod instagram;
mod linkedin;
mod meta;
mod pinterest;
mod reddit;
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
    &reddit::IMITATION,
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
    /// Name shown to people.
    pub(super) label: &'static str,
    pub(super) personas: &'static [Persona],
    pub(super) authorize: Authorize,
    pub(super) example: Example,
    pub(super) endpoints: &'static [Endpoint],
    /// Renders a refusal in the platform's own shape.
    pub(super) refuse: fn(&Refusal<'_>) -> Reply,
    /// True when the broker is told about the revocation endpoint.
    pub(super) revocable: bool,
    /// Set where people choose on the consent page what an app may see.
    pub(super) choice: Option<Choice>,
    /// Scopes that the operator's app requests, where they differ from the broker's usual ones.
    pub(super) scopes: Option<&'static [&'static str]>,
    /// For a platform that is not built into the broker: the rest of its configuration, with `{base}` for its URL.
    pub(super) custom: Option<&'static str>,
}

impl Imitation {
    /// Nothing special. Name, label, accounts, endpoints and refusals are each platform's own.
    const STANDARD: Self = Self {
        name: "",
        label: "",
        personas: &[],
        authorize: Authorize::STANDARD,
        example: Example::STANDARD,
        endpoints: &[],
        refuse: |_| Reply::empty(500),
        revocable: false,
        choice: None,
        scopes: None,
        custom: None,
    };
}

/// The requests of a broker that makes no mistake, as the platform's documentation has them. The tests run every
/// imitation with its example.
#[derive(Debug)]
pub struct Example {
    /// Scopes of the authorize request, separated as the platform wants.
    pub scope: &'static str,
    /// Further parameters of the authorize request.
    pub authorize: &'static [(&'static str, &'static str)],
    /// True when the client authenticates with HTTP Basic; else with id and secret in the body.
    pub basic: bool,
    /// True when the authorize request carries a challenge and the exchange its verifier.
    pub pkce: bool,
    /// Further parameters of the code exchange.
    pub exchange: &'static [(&'static str, &'static str)],
    /// Path and query of the call that names the account, with the access token as bearer.
    pub identity: &'static str,
    /// Queries that the platform's documentation has for a person who declined, besides the imitation's own.
    pub denials: &'static [&'static str],
    /// Queries with which the platform sends the browser back when it rejects the request itself.
    pub refusals: &'static [&'static str],
}

impl Example {
    const STANDARD: Self = Self {
        scope: "",
        authorize: &[],
        basic: false,
        pkce: false,
        exchange: &[],
        identity: "",
        denials: &[],
        refusals: &[],
    };
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
    /// Why the account is awkward, for the consent page; may be empty.
    pub(super) note: &'static str,
}

impl Persona {
    fn email(&self) -> String {
        format!("{}@example.com", self.id)
    }
}

/// The choice on the consent page beyond scopes: pages that an app may see.
#[derive(Debug)]
pub(super) struct Choice {
    /// All pages of a person.
    pub(super) pages: fn(&Persona) -> Vec<Page>,
    /// The platform's reaction to a decision; the id is the new grant's.
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
    /// [`Step::Token`] at the token endpoint, which also serves refreshes.
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
    /// Name of the client id.
    pub(super) client_id_name: &'static str,
    /// The characters that separate scopes.
    pub(super) separators: &'static [char],
    pub(super) scopes: Scopes,
    /// Parameters beyond client id, `redirect_uri`, `response_type`, `scope`, `state` and PKCE.
    pub(super) parameters: &'static [Parameter],
    pub(super) pkce: fn(&Url) -> Pkce,
    pub(super) query_of_redirect: QueryOfRedirect,
    /// Longest `state`, in characters.
    pub(super) longest_state: Option<usize>,
    pub(super) code: CodeRules,
    /// Parameters that the browser brings back when the person declines.
    pub(super) denial: &'static [(&'static str, &'static str)],
    /// Name and separator of the granted scopes in the callback, where the platform sends them.
    pub(super) granted_scope: Option<(&'static str, &'static str)>,
    /// Appended to each redirect.
    pub(super) suffix: &'static str,
    /// The `error` with which the browser is sent back; `None`: the platform shows a page of its own.
    pub(super) sent_back: fn(&Objection) -> Option<&'static str>,
    /// Status of the platform's own page.
    pub(super) page_status: u16,
}

impl Authorize {
    /// OAuth 2.0 without extras, and a page of the platform's own for every mistake.
    const STANDARD: Self = Self {
        path: "",
        client_id_name: "client_id",
        separators: &[' '],
        scopes: Scopes::STANDARD,
        parameters: &[],
        pkce: |_| Pkce::Refused,
        query_of_redirect: QueryOfRedirect::Kept,
        longest_state: None,
        code: CodeRules { life: 600, prefix: "", suffix: "" },
        denial: &[("error", "access_denied")],
        granted_scope: None,
        suffix: "",
        sent_back: |_| None,
        page_status: 400,
    };

    pub(super) fn is_at(&self, path: &str) -> bool {
        is_at(self.path, path)
    }
}

#[derive(Debug)]
pub(super) struct Scopes {
    /// Scopes that the operator's app may request.
    pub(super) known: &'static [&'static str],
    /// Further scopes, which only the second client may request.
    pub(super) approved: &'static [&'static str],
    /// Without these the platform refuses the request.
    pub(super) mandatory: &'static [&'static str],
    /// Where people can untick scopes: those that they cannot untick.
    pub(super) fixed: Option<&'static [&'static str]>,
}

impl Scopes {
    const STANDARD: Self = Self { known: &[], approved: &[], mandatory: &[], fixed: None };
}

/// A parameter of the authorize request.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// Allowed words in its value; empty: any value.
    pub(super) words: &'static [&'static str],
}

#[derive(Debug)]
pub(super) struct CodeRules {
    /// Life in seconds.
    pub(super) life: u64,
    /// Before and after the random part.
    pub(super) prefix: &'static str,
    pub(super) suffix: &'static str,
}

/// Handling of a query in the redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryOfRedirect {
    Kept,
    Refused,
    Stripped,
}

/// Handling of a code challenge in the authorize request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pkce {
    Optional(Challenge),
    Refused,
    Required(Challenge),
}

/// Form of a challenge; `code_challenge_method` is `S256` either way.
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

    /// True when a challenge has the right shape.
    pub(super) fn is_well_formed(self, challenge: &str) -> bool {
        match self {
            Self::Base64Url => URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|digest| digest.len() == 32),
            Self::Hex => {
                challenge.len() == 64 && challenge.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            }
        }
    }

    /// True when `verifier` has 43 to 128 unreserved characters and yields `challenge`.
    pub(super) fn verifies(self, challenge: &str, verifier: &str) -> bool {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved) && self.of(verifier) == challenge
    }
}

/// The JSON members of `all` that have a value and whose names are among `names`.
fn select(all: &serde_json::Value, names: &[&str]) -> serde_json::Value {
    let members = all.as_object().into_iter().flatten();
    let chosen = members.filter(|(name, value)| !value.is_null() && names.contains(&name.as_str()));
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
    fn imitations_are_in_order_and_have_accounts_an_example_and_a_token_endpoint() {
        let names: Vec<&str> = IMITATIONS.iter().map(|imitation| imitation.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        for imitation in IMITATIONS {
            for id in ["ada", "basil"] {
                let has_id = imitation.personas.iter().any(|persona| persona.id == id);
                assert!(has_id, "{} has no account {id}", imitation.name);
            }
            assert!(
                !imitation.example.scope.is_empty() && imitation.example.identity.starts_with('/'),
                "{}",
                imitation.name
            );
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
        assert!(Challenge::Base64Url.is_well_formed(challenge));
        assert!(Challenge::Base64Url.verifies(challenge, verifier));
        assert!(!Challenge::Base64Url.verifies(challenge, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXj"));
        let hex = Challenge::Hex.of(verifier);
        assert!(Challenge::Hex.is_well_formed(&hex) && !Challenge::Hex.is_well_formed(challenge));
        assert!(Challenge::Hex.verifies(&hex, verifier));
        assert!(!Challenge::Base64Url.is_well_formed(&hex));
        let short = "short";
        assert!(!Challenge::Hex.verifies(&Challenge::Hex.of(short), short));
    }
}
