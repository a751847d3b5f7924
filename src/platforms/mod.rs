//! Platforms as values: URLs, enums for the quirks that several share ([`quirks`]), and pure functions for what only
//! one does.
//!
//! Nothing here makes a request: `oauth` does what these values say. A new platform is one file here with a
//! `definition`, one line in [`BUILT_IN`], and what `CONTRIBUTING.md` lists elsewhere; its texts in `README.md` and
//! `postpeer.toml.example` are generated from it (`generated_texts`). An operator's own platform, described in TOML,
//! becomes the same kind of value ([`custom`]).

pub mod bluesky;
mod custom;
mod endpoint;
pub(crate) mod facebook;
mod facts;
#[cfg(test)]
mod generated_texts;
pub(crate) mod googlebusiness;
mod graph;
mod instagram;
pub(crate) mod linkedin;
mod metadata;
mod pinterest;
mod presets;
mod private_key;
mod quirks;
mod reach;
mod reddit;
mod refusal;
pub mod registry;
mod remarks;
mod scopes;
mod server;
mod threads;
mod tiktok;
mod twitter;
mod youtube;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

pub use bluesky::Bluesky;
pub use custom::{CustomError, CustomPlatform, IdentityPointers};
pub use endpoint::{NO_ENDPOINT, is_endpoint, parameters_of, sets_brokers_own};
pub use facts::{EndingVersion, Facts, Version};
pub use graph::have_configuration;
pub use metadata::{Metadata, MetadataError, is_issuer, is_of_any_tenant};
pub use private_key::{PrivateKey, SigningAlgorithm};
pub use quirks::{
    Accounts, ClientAuth, GrantedScopes, IdTokens, IdentityFrom, IdentityMethod, LongLived, Pkce, Refresh, RefreshLife,
    Revocation, RevocationAuth, RevocationReach, RevokedToken, Rotation, ScopeSeparator, Subject, TokenBody,
    TokenPlace,
};
pub use reach::Reached;
pub use refusal::{
    Blame, Meaning, OF_CALLBACK_URL, OF_CLIENT, OF_OUTAGE, OF_THROTTLING, Place, Refusal, Said, read_errors,
};
pub use registry::{Availability, ConfiguredPlatform, Credentials, Registry};
pub use remarks::{About, Remark};
pub use server::{NoServer, Server, ServerFromUser, UNKNOWN_CLIENT};

use crate::domain::account::Account;
use crate::domain::bounds;
use crate::domain::failure::Failure;
use crate::domain::secret::SecretString;

/// The platforms built in, in alphabetical order; Bluesky, which has no OAuth here, is beside them.
pub const BUILT_IN: &[fn() -> Platform] = &[
    facebook::definition,
    googlebusiness::definition,
    instagram::definition,
    linkedin::definition,
    pinterest::definition,
    reddit::definition,
    threads::definition,
    tiktok::definition,
    twitter::definition,
    youtube::definition,
];

/// The ten names of the API's closed set: the SDKs' models know these and no others. A built-in platform beyond them
/// is listed like an operator's own, when asked for.
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

/// How a platform does OAuth 2.0, and how it says who connected. A file in this folder states what differs from
/// [`Platform::standard`].
#[derive(Debug, Clone)]
pub struct Platform {
    /// As in URLs and configuration: lower-case.
    pub name: Text,
    /// Name shown to people.
    pub label: Text,
    /// Texts for operators; empty for their own platforms.
    pub guide: Guide,
    /// May hold `{version}`, like `token_url` and the revocation's URL; [`Registry`] replaces it by `api_version`.
    pub authorize_url: Text,
    /// The platform's name for itself, to the letter, where it is known.
    pub issuer: Option<Text>,
    /// True when the platform promises to name itself in the callback (RFC 9207).
    pub promises_issuer: bool,
    /// Set where the platform is many servers, of which each person names one. All URLs are paths then.
    pub server_from_user: Option<ServerFromUser>,
    /// The one of many servers that this is: see [`Platform::at`].
    pub server: Option<Server>,
    pub token_url: Text,
    /// Where authorization requests are pushed to (RFC 9126), at platforms where they are.
    pub par_url: Option<Text>,
    pub id_tokens: Option<IdTokens>,
    pub revocation: Revocation,
    pub revocation_reach: RevocationReach,
    /// Reads a client's project from its id, where people consent to a project, which may have several clients.
    pub project_of: Option<fn(&str) -> Option<&str>>,
    /// Who honours the tokens. Platforms of one authority share a person's consent, whatever the broker calls them.
    pub authority: Text,
    pub subject: Subject,
    /// Base of the platform's API, without a trailing slash; the paths of its calls are appended.
    pub api_url: Text,
    /// Replaces `{version}` in the paths of API calls, and goes where else the platform wants it.
    pub api_version: Text,
    /// Requested unless the operator names others, or the caller some of them.
    pub scopes: Vec<Text>,
    /// Requested where the caller names them.
    pub optional_scopes: Vec<Text>,
    /// Scopes that it takes to read whose account it is, or to keep its tokens alive. Those that are configured are
    /// requested in any case.
    pub needed_scopes: &'static [&'static str],
    /// Between scopes in the authorize URL. Answers are read with either.
    pub scope_separator: ScopeSeparator,
    /// Further parameters of the authorize URL.
    pub authorize_params: Vec<(Text, Text)>,
    /// True when the platform sends the browser back with a fragment (`#_=_`). Browsers carry it along to wherever the
    /// callback redirects, unless that URL has a fragment itself.
    pub adds_fragment: bool,
    /// Further parameters of the code exchange.
    pub exchange_params: Vec<(Text, Text)>,
    /// Further parameters of a refresh.
    pub refresh_params: Vec<(Text, Text)>,
    /// True when a refresh names the granted scopes.
    pub refreshes_with_scope: bool,
    /// The platform's name for the client id: `client_id`, or TikTok's `client_key`.
    pub client_id_name: &'static str,
    pub client_auth: ClientAuth,
    /// Names of the algorithms that the platform accepts for a client's assertions; empty where it does not say.
    pub assertion_algorithms: Vec<Text>,
    pub body: TokenBody,
    /// JSON pointer to the tokens in an answer that nests them.
    pub token_pointer: Option<Text>,
    pub pkce: Pkce,
    /// Second exchange, of the short-lived token for a long-lived one.
    pub long_lived: Option<LongLived>,
    pub refresh: Refresh,
    /// The platform's documented refusals, beyond what the standard's codes say. The first row that fits counts.
    pub refusals: &'static [&'static [Refusal]],
    /// The operator's meanings of codes, which win over `refusals`.
    pub errors: Vec<(String, Blame)>,
    /// Life of a consent while the OAuth app is in testing, where the platform limits it.
    pub testing_life: Option<Duration>,
    /// Seconds until the access token expires where the answer does not say; `None`: it does not expire.
    pub default_expires_in: Option<u64>,
    pub refresh_life: RefreshLife,
    pub granted_scopes: GrantedScopes,
    pub identity: Identity,
}

/// Texts for operators, in Markdown without line breaks: the source of a platform's row in `README.md` and of its
/// section in `postpeer.toml.example`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guide {
    /// What is connected, for people who choose a platform: "Facebook Pages".
    pub connects: &'static str,
    /// What to know before an app is made there.
    pub know: &'static str,
    /// Where the app's id and secret are found.
    pub credentials: &'static str,
    /// The page where the operator manages the app.
    pub console: &'static str,
    pub facts: Option<&'static Facts>,
    /// Further paragraphs of the section.
    pub setup: &'static [&'static str],
    /// Comments on keys of the section, by key.
    pub keys: &'static [(&'static str, &'static str)],
}

impl Platform {
    /// The page where the operator manages the app; `None` for an operator's own platform.
    #[must_use]
    pub fn console(&self) -> Option<&'static str> {
        Some(self.guide.console).filter(|console| !console.is_empty())
    }

    /// OAuth 2.0 as RFC 6749 has it, without extras. Name, authority, URLs, scopes, `client_auth`, `pkce`, `refresh`
    /// and `identity` are each platform's own.
    #[must_use]
    pub fn standard(identity: Identity) -> Self {
        Self {
            name: Text::default(),
            label: Text::default(),
            guide: Guide::default(),
            authorize_url: Text::default(),
            issuer: None,
            promises_issuer: false,
            server_from_user: None,
            server: None,
            token_url: Text::default(),
            par_url: None,
            id_tokens: None,
            revocation: Revocation::Unsupported,
            revocation_reach: RevocationReach::Tokens,
            project_of: None,
            authority: Text::default(),
            subject: Subject::Account,
            api_url: Text::default(),
            api_version: Text::default(),
            scopes: Vec::new(),
            optional_scopes: Vec::new(),
            needed_scopes: &["offline_access", "openid", "profile"],
            scope_separator: ScopeSeparator::Space,
            authorize_params: Vec::new(),
            adds_fragment: false,
            exchange_params: Vec::new(),
            refresh_params: Vec::new(),
            refreshes_with_scope: false,
            client_id_name: "client_id",
            client_auth: ClientAuth::Basic,
            assertion_algorithms: Vec::new(),
            body: TokenBody::Form,
            token_pointer: None,
            pkce: Pkce::None,
            long_lived: None,
            refresh: Refresh::Never,
            refusals: &[],
            errors: Vec::new(),
            testing_life: None,
            default_expires_in: None,
            refresh_life: RefreshLife::Seconds,
            granted_scopes: GrantedScopes::Answer,
            identity,
        }
    }
}

impl Platform {
    /// True when a callback with this `iss` may be the platform's (RFC 9207, section 2.4): the callback of another one
    /// would send a code to the wrong token endpoint. Where no issuer is known, every callback may be.
    #[must_use]
    pub fn may_send(&self, iss: Option<&str>) -> bool {
        if let Some(server) = &self.server {
            return iss.is_none_or(|iss| server.is_issuer(iss));
        }
        match (&self.issuer, iss) {
            (Some(issuer), Some(iss)) => is_issuer(issuer, iss, |_| true),
            (Some(_), None) => !self.promises_issuer,
            (None, _) => true,
        }
    }

    /// The key of the first setting without which nobody can connect: known from the configuration or from the
    /// platform's server.
    #[must_use]
    pub fn lacks(&self) -> Option<&'static str> {
        let call = &self.identity.call;
        let naming = self.id_tokens.as_ref().filter(|id_tokens| id_tokens.are_identity);
        let has_no_key = |id_tokens: &IdTokens| id_tokens.jwks_url.is_none() && !id_tokens.may_be_hmac;
        [
            ("authorize_url", self.authorize_url.is_empty()),
            ("token_url", self.token_url.is_empty()),
            ("identity_url", call.absolute && call.path.is_empty() && naming.is_none()),
            ("jwks_url", naming.is_some_and(has_no_key)),
        ]
        .into_iter()
        .find_map(|(key, is_missing)| is_missing.then_some(key))
    }
}

/// How the platform says who connected.
#[derive(Debug, Clone)]
pub struct Identity {
    pub call: ApiCall,
    pub read: ReadAccount,
    /// Called when the platform refuses the first call for a scope that was not granted: fewer fields.
    pub fallback: Option<ApiCall>,
    /// Called after the first where its scope was granted; a failure costs only what it would have added.
    pub enrich: Option<Enrich>,
    pub accounts: Accounts,
}

impl Identity {
    /// One call, one account, and refusals without a reason.
    #[must_use]
    pub fn new(call: ApiCall, read: fn(&Value) -> Result<Account, Unidentified>) -> Self {
        Self { call, read: ReadAccount::Function(read), fallback: None, enrich: None, accounts: Accounts::Itself }
    }
}

/// A call of `{api_url}{path}` with the access token.
#[derive(Debug, Clone)]
pub struct ApiCall {
    pub method: IdentityMethod,
    /// Appended to the platform's `api_url`; or, with [`ApiCall::absolute`], a whole URL.
    pub path: Text,
    pub absolute: bool,
    pub query: &'static [(&'static str, &'static str)],
    pub token: TokenPlace,
    /// Further headers; `{client_id}` in a value stands for the app's.
    pub headers: Vec<(String, String)>,
}

impl ApiCall {
    /// A call with a bearer token.
    #[must_use]
    pub fn get(path: &'static str, query: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            method: IdentityMethod::Get,
            path: path.into(),
            absolute: false,
            query,
            token: TokenPlace::Bearer,
            headers: Vec::new(),
        }
    }
}

/// Reads an account from the identity answer (the JSON of a 2xx).
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
    /// The person has no such account (no channel, no professional account).
    #[error("the person has no account that can be connected")]
    NoAccount,
    /// The answer does not have the documented shape.
    #[error("the answer does not have the documented shape")]
    Unreadable,
}

impl From<Unidentified> for Failure {
    fn from(why: Unidentified) -> Self {
        match why {
            Unidentified::NoAccount => Self::NoAccount,
            Unidentified::Unreadable => Self::PlatformAnswerUnreadable,
        }
    }
}

/// A member that is a non-empty string, without the white space around it, or a whole number: ids come as either. A
/// number that was written with a fraction or an exponent is taken only where it is exact, because rounding could make
/// two ids one.
pub(crate) fn text(value: &Value, pointer: &str) -> Option<String> {
    /// The largest number below which a float is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) if number.is_f64() => number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() < EXACT)
            .map(|float| format!("{float:.0}")),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A token in bounds.
pub(crate) fn token(value: Option<&Value>) -> Option<SecretString> {
    value.and_then(Value::as_str).filter(|token| bounds::is_token(token)).map(SecretString::from)
}

/// Texts that are built in.
fn list(texts: &[&'static str]) -> Vec<Text> {
    texts.iter().map(|text| (*text).into()).collect()
}

/// Parameters that are built in.
fn pairs(parameters: &[(&'static str, &'static str)]) -> Vec<(Text, Text)> {
    parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// Metadata of an account: the members that have a value.
fn metadata<const N: usize>(members: [(&str, Option<String>); N]) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}

/// Days as seconds.
const fn days(days: u64) -> u64 {
    days * 24 * 3600
}

/// A handle with its `@`, which some platforms send and others do not. `None` when nothing else is in it.
pub(crate) fn handle(name: &str) -> Option<String> {
    let name = bounds::name(name)?;
    let bare = name.trim_start_matches('@').trim();
    (!bare.is_empty()).then(|| format!("@{bare}"))
}

/// The address of a page, with names as segments of its path. `None` when a name cannot be one.
pub(crate) fn page_url(site: &str, segments: &[&str]) -> Option<String> {
    let mut url = Url::parse(site).ok()?;
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().extend(segments);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_has_a_name() {
        assert_eq!(handle("ada"), handle("@ada"));
        assert_eq!(handle("\0@@ada\n").as_deref(), Some("@ada"));
        for nobody in ["", "@", "@@", "\0", "@\0", "\u{202e}@"] {
            assert_eq!(handle(nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn a_name_stays_one_segment_of_a_pages_address() {
        for (name, url) in [
            ("ada", Some("https://x.example/u/ada/")),
            ("a/b?c#d", Some("https://x.example/u/a%2Fb%3Fc%23d/")),
            ("a%zz", Some("https://x.example/u/a%25zz/")),
            ("..", None),
            (".", None),
        ] {
            assert_eq!(page_url("https://x.example/u", &[name, ""]).as_deref(), url, "{name}");
        }
        assert_eq!(page_url("https://x.example/", &["@.."]).as_deref(), Some("https://x.example/@.."));
    }

    #[test]
    fn built_in_platforms_are_in_order_and_all_of_the_contract_is_there() {
        let names: Vec<Text> = BUILT_IN.iter().map(|definition| definition().name).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        let names = built_in_names();
        let mut labels: Vec<Text> = BUILT_IN.iter().map(|definition| definition().label).collect();
        labels.sort();
        assert!(labels.is_sorted_by(|one, next| one < next), "two platforms have one label: {labels:?}");
        for name in CONTRACT_NAMES {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
