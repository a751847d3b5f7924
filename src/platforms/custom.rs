//! An operator's own platform: any OAuth 2.0 or OpenID Connect server, described in TOML.

use std::fmt;

use serde_json::Value;
use url::Url;

use super::{
    Accounts, ApiCall, ClientAuth, Identity, Pkce, Platform, ReadAccount, Refresh, Revocation, RevocationAuth,
    RevocationReach, RevokedToken, Rotation, Subject, Text, TokenPlace, Unidentified, text,
};
use crate::domain::account::Account;

/// The operator's section `[platforms.NAME]`.
#[derive(Debug, Clone)]
pub struct CustomPlatform {
    pub name: String,
    pub label: Option<String>,
    pub authorize_url: String,
    pub token_url: String,
    pub revoke_url: Option<String>,
    pub identity_url: String,
    pub scopes: Vec<String>,
    pub client_auth: ClientAuth,
    pub pkce: Pkce,
    pub authorize_params: Vec<(String, String)>,
    pub identity: IdentityPointers,
}

/// JSON pointers (RFC 6901) to the account's facts in the identity answer.
#[derive(Debug, Clone)]
pub struct IdentityPointers {
    pub id: String,
    pub username: Option<String>,
    pub name: Option<String>,
    pub image: Option<String>,
}

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
        let urls = [
            ("authorize_url", Some(&self.authorize_url)),
            ("token_url", Some(&self.token_url)),
            ("identity_url", Some(&self.identity_url)),
            ("revoke_url", self.revoke_url.as_ref()),
        ];
        for (key, url) in urls {
            if let Some(url) = url
                && !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            {
                mistake(key, "must be an absolute http(s) URL, such as https://id.acme.example/token");
            }
        }
        let reserved =
            ["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"];
        if self.authorize_params.iter().any(|(key, _)| reserved.contains(&key.as_str())) {
            mistake(
                "authorize_params",
                "must not set a parameter that the broker sets itself (client_id, redirect_uri, response_type, scope, state, code_challenge, code_challenge_method)",
            );
        }
        let pointers = [
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

    #[must_use]
    pub fn into_platform(self) -> Platform {
        let label = self.label.unwrap_or_else(|| self.name.clone());
        let identity = Identity {
            call: ApiCall { path: self.identity_url.into(), absolute: true, query: &[], token: TokenPlace::Bearer },
            read: ReadAccount::Pointers(self.identity),
            refused: |_| None,
            fallback: None,
            enrich: None,
            accounts: Accounts::Itself,
        };
        Platform {
            authority: format!("custom:{}", self.name).into(),
            name: self.name.into(),
            label: label.into(),
            authorize_url: self.authorize_url.into(),
            token_url: self.token_url.into(),
            revocation: self.revoke_url.map_or(Revocation::Unsupported, |url| Revocation::Endpoint {
                url: url.into(),
                client_auth: RevocationAuth::AsToken,
                token: RevokedToken::Refresh,
            }),
            // RFC 7009, section 2.1 leaves it to the server what ends with a token: assume the widest reach.
            revocation_reach: RevocationReach::Consent,
            subject: Subject::Person,
            scopes: self.scopes.into_iter().map(Text::from).collect(),
            authorize_params: self.authorize_params.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            client_auth: self.client_auth,
            pkce: self.pkce,
            refresh: Refresh::RefreshToken { rotation: Rotation::SingleUse },
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
