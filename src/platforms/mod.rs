//! Platforms as values: URLs, enums for the quirks that several share, and pure functions for what only one does.
//!
//! Nothing here talks to anybody: `oauth` does what these values say. A new platform is one file with a `definition`
//! and one line in [`BUILT_IN`]; an operator's own platform, described in TOML, becomes the same kind of value
//! ([`custom`]).

pub mod bluesky;
mod custom;
pub(crate) mod facebook;
pub(crate) mod googlebusiness;
mod graph;
mod instagram;
pub(crate) mod linkedin;
mod pinterest;
pub mod registry;
mod threads;
mod tiktok;
mod twitter;
mod youtube;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;
use url::Url;

pub use bluesky::Bluesky;
pub use custom::{CustomError, CustomPlatform, IdentityPointers};
pub use registry::{Availability, ConfiguredPlatform, Credentials, Reached, Registry};

use crate::domain::account::Account;
use crate::domain::failure::Failure;

/// The platforms that the broker knows without being told, in alphabetical order.
pub const BUILT_IN: &[fn() -> Platform] = &[
    facebook::definition,
    googlebusiness::definition,
    instagram::definition,
    linkedin::definition,
    pinterest::definition,
    threads::definition,
    tiktok::definition,
    twitter::definition,
    youtube::definition,
];

/// The ten names of the API's closed set: callers' models know these and no others. A built-in platform beyond them is
/// listed as an operator's own is, when asked for.
pub const CONTRACT_NAMES: [&str; 10] = [
    "bluesky",
    "facebook",
    "googlebusiness",
    "instagram",
    "linkedin",
    "pinterest",
    "threads",
    "tiktok",
    "twitter",
    "youtube",
];

/// The names that an operator's own platform cannot have, in alphabetical order: those of [`BUILT_IN`], and Bluesky's.
#[must_use]
pub fn built_in_names() -> Vec<Text> {
    let mut names: Vec<Text> = BUILT_IN.iter().map(|definition| definition().name).collect();
    names.push(bluesky::NAME.into());
    names.sort();
    names
}

/// Text that is fixed for a built-in platform and comes from the operator otherwise.
pub type Text = Cow<'static, str>;

/// How a platform does OAuth 2.0, and how it says who connected.
#[derive(Debug, Clone)]
pub struct Platform {
    /// As in URLs and configuration: lower-case.
    pub name: Text,
    /// For people.
    pub label: Text,
    /// May hold `{version}`, like `token_url` and the URL of the revocation; [`Registry`] puts `api_version` in its place.
    pub authorize_url: Text,
    /// What the platform sends as `iss` with the callback (RFC 9207), where that is known.
    pub issuer: Option<Text>,
    pub token_url: Text,
    pub revocation: Revocation,
    pub revocation_reach: RevocationReach,
    /// Who honours the tokens. Platforms of one authority share a person's consent to a client, whatever our names for
    /// them.
    pub authority: Text,
    pub subject: Subject,
    /// Base of the platform's API, without a trailing slash; the paths of its calls are appended.
    pub api_url: Text,
    /// Replaces `{version}` in the paths of API calls and goes where else the platform wants it.
    pub api_version: Text,
    /// Asked for unless the operator names others.
    pub scopes: Vec<Text>,
    /// Between scopes in the authorize URL. Answers are read with either.
    pub scope_separator: ScopeSeparator,
    /// Further parameters of the authorize URL.
    pub authorize_params: Vec<(Text, Text)>,
    /// Further parameters of the code exchange.
    pub exchange_params: Vec<(Text, Text)>,
    /// What the platform calls the client id: `client_id`, or TikTok's `client_key`.
    pub client_id_name: &'static str,
    pub client_auth: ClientAuth,
    pub body: TokenBody,
    pub pkce: Pkce,
    /// A second exchange, of the short-lived token for a long-lived one.
    pub long_lived: Option<LongLived>,
    pub refresh: Refresh,
    /// What the JSON of a refused refresh says of the grant, beyond the standard's `invalid_grant`: whether, and why, it is
    /// over. `None`: nothing that is known, so the grant lives on.
    pub refresh_refused: fn(&Value) -> Option<Failure>,
    /// After how long a consent ends while the OAuth app is in testing, where the platform has that.
    pub testing_life: Option<Duration>,
    /// Seconds until the access token expires where the answer does not say; `None`: it does not expire.
    pub default_expires_in: Option<u64>,
    pub granted_scopes: GrantedScopes,
    pub identity: Identity,
}

/// How the client authenticates at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ClientAuth {
    /// `Authorization: Basic`.
    Basic,
    /// Client id and secret in the body.
    Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeSeparator {
    Comma,
    Space,
}

impl ScopeSeparator {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Comma => ",",
            Self::Space => " ",
        }
    }
}

/// How the token endpoint takes its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenBody {
    Form,
    Multipart,
}

/// RFC 7636, and one deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Pkce {
    /// The platform does not take it.
    None,
    /// `code_challenge` is the base64url of SHA-256.
    S256,
    /// `code_challenge` is the hexadecimal SHA-256 (still called `S256`), where the callback is on loopback; none
    /// where it is not.
    S256HexOnLoopback,
}

/// The exchange of a short-lived token for a long-lived one: `GET {api_url}{path}?grant_type=…&client_secret=…&access_token=…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongLived {
    pub path: &'static str,
    pub grant_type: &'static str,
    /// What the short-lived token is called there.
    pub token_name: &'static str,
    /// Whether the client id is sent as well.
    pub names_client: bool,
}

/// How an access token is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The long-lived exchange is made again, with the long-lived token itself ([`Platform::long_lived`] says how).
    ExchangedAgain,
    /// It is not: the person connects again.
    Never,
    /// With a refresh token at the token endpoint, where the platform gave one.
    RefreshToken { rotation: Rotation },
    /// The access token renews itself: `GET {api_url}{path}?grant_type=…&access_token=…`. The platform refuses that to a
    /// token that is younger than `not_before`.
    SelfRenewing { path: &'static str, grant_type: &'static str, not_before: Duration },
}

/// What becomes of a refresh token that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// It stays the one.
    None,
    /// It is dead, and the answer has the next: who loses that answer has lost the grant.
    SingleUse,
}

/// Where the platform says which scopes the person granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantedScopes {
    /// In the token answer; where that is silent, they are the ones asked for (RFC 6749 section 5.1).
    Answer,
    /// In `data.scopes` of `GET {api_url}{path}?input_token=…&access_token=…`.
    DebugToken { path: &'static str },
    /// In `data[]` of `GET {api_url}{path}`, those with `status: granted`.
    Permissions { path: &'static str },
}

/// How a grant is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// `DELETE` with the access token, answered with `{"success": true}`.
    Delete { url: Text },
    /// RFC 7009 with the client's authentication, or what the platform makes of it.
    Endpoint { url: Text, client_auth: RevocationAuth, token: RevokedToken },
    /// The platform has no endpoint for it.
    Unsupported,
}

impl Revocation {
    /// What tells one endpoint from another, however its URL is spelt.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let (Self::Delete { url } | Self::Endpoint { url, .. }) = self else { return None };
        let Ok(parsed) = Url::parse(url) else { return Some(url.to_string()) };
        let host = parsed.host_str().unwrap_or_default();
        Some(format!("{host}:{:?}{}", parsed.port_or_known_default(), parsed.path().trim_end_matches('/')))
    }
}

/// How far a revocation reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReach {
    /// The person's whole consent to the client, with every token of it, whichever project and platform of ours it was
    /// for. Not to be asked for while another account lives on it.
    Consent,
    /// The tokens that one exchange issued, and what they were refreshed to.
    Tokens,
}

/// Whose id the subject of a grant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An account's. The same person may have others, and nothing tells.
    Account,
    /// The person's, at their authority: two grants with different subjects are of different people.
    Person,
}

/// How the client authenticates when it revokes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationAuth {
    /// As at the token endpoint.
    AsToken,
    /// Not at all: the token is enough.
    None,
}

/// Which token is sent to be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokedToken {
    Access,
    /// The refresh token where there is one, else the access token: it takes the whole grant with it.
    Refresh,
}

/// How the platform says who connected.
#[derive(Debug, Clone)]
pub struct Identity {
    pub call: ApiCall,
    pub read: ReadAccount,
    /// What a refusal (the JSON of a 4xx) means, where the platform has more to say than "no".
    pub refused: fn(&Value) -> Option<Unidentified>,
    /// Asked when the platform refuses the first call for a scope that was not granted: fewer fields.
    pub fallback: Option<ApiCall>,
    /// Asked after the first where this scope was granted; a failure costs only what it would have added.
    pub enrich: Option<Enrich>,
    pub accounts: Accounts,
}

/// Which accounts a consent covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// The Facebook Pages that the person works on, each with a token of its own.
    FacebookPages,
    /// The Google Business Profile locations of all accounts that the person manages. The two APIs have hosts of their
    /// own, which an `api_url` of the operator's replaces both.
    GoogleLocations { accounts_url: Text, locations_url: Text },
    /// The one that consented.
    Itself,
    /// The one that consented, and where the scopes allow to ask, the LinkedIn organizations that it posts for.
    LinkedInOrganizations,
}

/// `GET {api_url}{path}` with the access token.
#[derive(Debug, Clone)]
pub struct ApiCall {
    /// Appended to the platform's `api_url`; or, with [`ApiCall::absolute`], a whole URL.
    pub path: Text,
    pub absolute: bool,
    pub query: &'static [(&'static str, &'static str)],
    pub token: TokenPlace,
}

/// Where an API call carries the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPlace {
    Bearer,
    /// The query parameter `access_token`.
    Query,
}

/// Reads an account out of the identity answer (the JSON of a 2xx).
#[derive(Debug, Clone)]
pub enum ReadAccount {
    Function(fn(&Value) -> Result<Account, Unidentified>),
    Pointers(IdentityPointers),
}

impl ReadAccount {
    /// # Errors
    ///
    /// Why the answer names no account.
    pub fn read(&self, answer: &Value) -> Result<Account, Unidentified> {
        match self {
            Self::Function(read) => read(answer),
            Self::Pointers(pointers) => pointers.read(answer),
        }
    }
}

/// A second identity call that adds to the account.
#[derive(Debug, Clone)]
pub struct Enrich {
    pub scope: &'static str,
    pub call: ApiCall,
    pub add: fn(&mut Account, &Value),
}

/// An identity answer that names no account that could be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// The platform has not approved the OAuth app for this API.
    #[error("the platform has not approved the app for this API")]
    AccessNotApproved,
    /// The person has no such account (no channel, no professional account).
    #[error("the person has no account that can be connected")]
    NoAccount,
    /// A permission that the platform needs for this was not granted.
    #[error("the platform refuses to name the account without a permission that was not granted")]
    PermissionMissing,
    /// Not the documented shape.
    #[error("the answer does not have the documented shape")]
    Unreadable,
}

impl From<Unidentified> for Failure {
    fn from(why: Unidentified) -> Self {
        match why {
            Unidentified::AccessNotApproved => Self::AccessNotApproved,
            Unidentified::NoAccount => Self::NoAccount,
            Unidentified::PermissionMissing => Self::PermissionMissing,
            Unidentified::Unreadable => Self::PlatformAnswerUnreadable,
        }
    }
}

/// A member that is a non-empty string, or a number: ids come as either, and some exceed 2^53.
pub(crate) fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Most platforms refuse without telling why.
pub(crate) fn no_reason(_: &Value) -> Option<Unidentified> {
    None
}

/// Most platforms say `invalid_grant`, and that is all.
pub(crate) fn standard_refusal(_: &Value) -> Option<Failure> {
    None
}

/// A handle with its `@`, whether the platform sends one or not.
pub(crate) fn handle(name: &str) -> String {
    format!("@{}", name.trim_start_matches('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_platforms_are_in_order_and_all_of_the_contract_is_there() {
        let names: Vec<Text> = BUILT_IN.iter().map(|definition| definition().name).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        let names = built_in_names();
        for name in CONTRACT_NAMES {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
