//! An operator's own platform: any OAuth 2.0 or OpenID Connect server, described in TOML.

use std::fmt;

use http::{HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::{
    Accounts, ApiCall, ClientAuth, Identity, IdentityMethod, Pkce, Platform, ReadAccount, Refresh, Revocation,
    RevocationAuth, RevocationReach, RevokedToken, Rotation, ScopeSeparator, Subject, Text, TokenBody, TokenPlace,
    Unidentified, text,
};
use crate::domain::account::Account;

/// The operator's section `[platforms.NAME]`.
#[derive(Debug, Clone, Default)]
pub struct CustomPlatform {
    pub name: String,
    pub label: Option<String>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub revoke_url: Option<String>,
    pub identity_url: Option<String>,
    pub identity_method: IdentityMethod,
    pub identity_headers: Vec<(String, String)>,
    pub scopes: Option<Vec<String>>,
    pub optional_scopes: Vec<String>,
    pub scope_separator: ScopeSeparator,
    pub client_auth: Option<ClientAuth>,
    pub pkce: Option<Pkce>,
    pub authorize_params: Vec<(String, String)>,
    /// Of the code exchange.
    pub token_params: Vec<(String, String)>,
    pub token_body: TokenBody,
    /// Where the tokens are in their answer, when they are nested.
    pub token_pointer: Option<String>,
    pub refresh_params: Vec<(String, String)>,
    pub scope_on_refresh: bool,
    pub identity: IdentityPointers,
    /// Seconds that an access token lives where the answer does not say.
    pub token_lifetime: Option<u32>,
}

/// JSON pointers (RFC 6901) to the account's facts in the identity answer.
#[derive(Debug, Clone, Default)]
pub struct IdentityPointers {
    pub id: String,
    pub username: Option<String>,
    pub name: Option<String>,
    pub image: Option<String>,
}

/// Parameters of the authorize URL that the broker sets.
const AUTHORIZE_OWN: &[&str] =
    &["client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method"];

/// Parameters of a token request that the broker sets.
const TOKEN_OWN: &[&str] = &[
    "grant_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
];

/// Why the parameters of that key cannot be set: one of them is the broker's own.
#[must_use]
pub fn sets_brokers_own(key: &str, parameters: &[(String, String)]) -> Option<String> {
    let own = if key == "authorize_params" { AUTHORIZE_OWN } else { TOKEN_OWN };
    let is_own = parameters.iter().any(|(name, _)| own.contains(&name.as_str()));
    is_own.then(|| format!("must not set a parameter that the broker sets itself ({})", own.join(", ")))
}

/// Headers of an identity call that the broker sets.
const HEADERS_OWN: &[&str] = &["accept", "accept-encoding", "authorization", "content-length", "host"];

/// A mistake in the description of a platform, with the key at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomError {
    pub key: &'static str,
    pub why: String,
}

impl fmt::Display for CustomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for CustomError {}

impl CustomPlatform {
    /// All mistakes in the description.
    #[must_use]
    pub fn mistakes(&self) -> Vec<CustomError> {
        let mut mistakes = Vec::new();
        let mut mistake = |key, why: &str| mistakes.push(CustomError { key, why: why.to_owned() });
        for (key, url) in self.urls() {
            if !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
                mistake(key, "must be an absolute http(s) URL, such as https://id.acme.example/token");
            }
        }
        let parameters = [
            ("authorize_params", &self.authorize_params),
            ("token_params", &self.token_params),
            ("refresh_params", &self.refresh_params),
        ];
        for (key, parameters) in parameters {
            if let Some(why) = sets_brokers_own(key, parameters) {
                mistake(key, &why);
            }
        }
        if self.scope_on_refresh && self.refresh_params.iter().any(|(name, _)| name == "scope") {
            mistake("scope_on_refresh", "sends the granted scopes: remove it, or scope from refresh_params");
        }
        for (name, value) in &self.identity_headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
                mistake("identity_headers", "must be names and values of HTTP headers");
            } else if HEADERS_OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                let own = HEADERS_OWN.join(", ");
                mistake("identity_headers", &format!("must not set a header that the broker sets itself ({own})"));
            }
        }
        if self.client_auth == Some(ClientAuth::None) && self.pkce == Some(Pkce::None) {
            mistake(
                "pkce",
                "must be \"s256\" for a public client (client_auth = \"none\"): PKCE is all that proves who sends the code",
            );
        }
        let pointers = [
            ("token_pointer", self.token_pointer.as_ref()),
            ("identity.id", Some(&self.identity.id)),
            ("identity.username", self.identity.username.as_ref()),
            ("identity.name", self.identity.name.as_ref()),
            ("identity.image", self.identity.image.as_ref()),
        ];
        for (key, pointer) in pointers {
            if pointer.is_some_and(|pointer| !pointer.starts_with('/')) {
                mistake(key, "must be a JSON pointer that begins with a slash, such as /sub or /data/id");
            }
        }
        mistakes
    }

    /// The URLs that are set, by their key.
    pub fn urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let urls = [
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("identity_url", &self.identity_url),
            ("revoke_url", &self.revoke_url),
        ];
        urls.into_iter().filter_map(|(key, url)| Some((key, url.as_deref()?)))
    }

    #[must_use]
    pub fn into_platform(self) -> Platform {
        let label = self.label.unwrap_or_else(|| self.name.clone());
        let owned = |pairs: Vec<(String, String)>| pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let identity = Identity {
            call: ApiCall {
                method: self.identity_method,
                path: self.identity_url.unwrap_or_default().into(),
                absolute: true,
                query: &[],
                token: TokenPlace::Bearer,
                headers: self.identity_headers,
            },
            read: ReadAccount::Pointers(self.identity),
            fallback: None,
            enrich: None,
            accounts: Accounts::Itself,
        };
        Platform {
            authority: format!("custom:{}", self.name).into(),
            name: self.name.into(),
            label: label.into(),
            authorize_url: self.authorize_url.unwrap_or_default().into(),
            token_url: self.token_url.unwrap_or_default().into(),
            revocation: self.revoke_url.map_or(Revocation::Unsupported, |url| Revocation::Endpoint {
                url: url.into(),
                client_auth: RevocationAuth::AsToken,
                token: RevokedToken::Refresh,
            }),
            // RFC 7009, section 2.1 leaves it to the server what ends with a token: assume the widest reach.
            revocation_reach: RevocationReach::Consent,
            subject: Subject::Person,
            scopes: self.scopes.unwrap_or_default().into_iter().map(Text::from).collect(),
            optional_scopes: self.optional_scopes.into_iter().map(Text::from).collect(),
            scope_separator: self.scope_separator,
            authorize_params: owned(self.authorize_params),
            exchange_params: owned(self.token_params),
            body: self.token_body,
            token_pointer: self.token_pointer.map(Text::from),
            refresh_params: owned(self.refresh_params),
            refreshes_with_scope: self.scope_on_refresh,
            client_auth: self.client_auth.unwrap_or(ClientAuth::Basic),
            pkce: self.pkce.unwrap_or(Pkce::S256),
            refresh: Refresh::RefreshToken { rotation: Rotation::SingleUse },
            default_expires_in: self.token_lifetime.map(u64::from),
            ..Platform::standard(identity)
        }
    }
}

impl IdentityPointers {
    /// # Errors
    ///
    /// When the answer has no id at the operator's pointer.
    pub fn read(&self, answer: &Value) -> Result<Account, Unidentified> {
        let at = |pointer: &Option<String>| pointer.as_deref().and_then(|pointer| text(answer, pointer));
        Ok(Account {
            platform_user_id: text(answer, &self.id).ok_or(Unidentified::Unreadable)?,
            username: at(&self.username),
            display_name: at(&self.name),
            image_url: at(&self.image),
            ..Account::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_is_read_where_the_operator_points() {
        let pointers = IdentityPointers {
            id: "/data/0/id".into(),
            username: Some("/data/0/login".into()),
            name: Some("/missing".into()),
            image: None,
        };
        let account = pointers.read(&json!({"data": [{"id": 17_841_405_793_187_218_u64, "login": "ada"}]})).unwrap();
        assert_eq!(account.platform_user_id, "17841405793187218");
        assert_eq!(account.username.as_deref(), Some("ada"));
        assert_eq!(account.display_name, None);
        assert_eq!(pointers.read(&json!({"data": []})), Err(Unidentified::Unreadable));
    }
}
