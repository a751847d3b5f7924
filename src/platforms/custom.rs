//! An operator's own platform: any OAuth 2.0 or OpenID Connect server, or many of one kind, described in TOML.

use std::fmt;

use http::{HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::endpoint::{NO_ENDPOINT, is_endpoint, parameters_of, sets_brokers_own, without_removed};
use super::{
    Accounts, ApiCall, Blame, ClientAuth, Guide, IdTokens, Identity, IdentityFrom, IdentityMethod, Metadata, Pkce,
    Platform, ReadAccount, Refresh, Revocation, RevocationAuth, RevocationReach, RevokedToken, Rotation,
    ScopeSeparator, ServerFromUser, Subject, Text, TokenBody, TokenPlace, Unidentified, graph, presets, server, text,
};
use crate::domain::account::Account;

/// The operator's section `[platforms.NAME]`.
#[derive(Debug, Clone, Default)]
pub struct CustomPlatform {
    pub name: String,
    /// Texts of the preset that filled in the section; empty without one.
    pub guide: Guide,
    pub label: Option<String>,
    /// Set where each person names their server. All URLs are paths there.
    pub server_from_user: Option<ServerFromUser>,
    /// The server, whose metadata says what is not set here.
    pub issuer: Option<String>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub revoke_url: Option<String>,
    pub revoke_token: RevokedToken,
    /// Where authorization requests are pushed to, and whether they are. Absent: where the server requires it.
    pub par_url: Option<String>,
    pub par: Option<bool>,
    pub jwks_url: Option<String>,
    pub identity_from: Option<IdentityFrom>,
    pub identity_url: Option<String>,
    pub identity_method: IdentityMethod,
    pub identity_headers: Vec<(String, String)>,
    pub scopes: Option<Vec<String>>,
    pub optional_scopes: Vec<String>,
    pub scope_separator: ScopeSeparator,
    pub client_auth: Option<ClientAuth>,
    pub pkce: Option<Pkce>,
    pub authorize_params: Vec<(String, String)>,
    /// Further parameters of the code exchange.
    pub token_params: Vec<(String, String)>,
    pub token_body: TokenBody,
    /// Where the tokens are in their answer, when they are nested.
    pub token_pointer: Option<String>,
    pub refresh_params: Vec<(String, String)>,
    /// Meanings of codes.
    pub errors: Vec<(String, Blame)>,
    pub scope_on_refresh: bool,
    pub identity: IdentityPointers,
    /// Meaning of the id at `identity.id`. Absent: see [`CustomPlatform::subject`].
    pub subject: Option<Subject>,
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
    /// The account's page.
    pub url: Option<String>,
}

/// Scope that asks for an id_token.
const OPENID: &str = "openid";

/// Scope that asks for a refresh token.
const OFFLINE_ACCESS: &str = "offline_access";

/// The scopes that a discovered server is asked for.
const OPENID_SCOPES: &[&str] = &[OPENID, "profile", OFFLINE_ACCESS];

/// JSON pointer to the claim that identifies a person (OpenID Connect Core 1.0, section 2).
const OPENID_SUBJECT: &str = "/sub";

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
        if let Some(why) = self.issuer.as_deref().and_then(issuer_mistake) {
            mistake("issuer", why);
        }
        for (key, url) in self.urls().filter(|(key, _)| *key != "issuer") {
            if self.server_from_user.is_some() {
                if !server::is_path(url) {
                    mistake(key, "must be a path at each server, such as /oauth/token: server_from_user is true");
                }
            } else if !Url::parse(url).is_ok_and(|url| is_endpoint(&url)) {
                mistake(key, NO_ENDPOINT);
            }
        }
        let in_query = self.authorize_url.as_deref().map(parameters_of).unwrap_or_default();
        let parameters = [
            ("authorize_url", &in_query),
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
                mistake("identity_headers", &format!("must be names and values of HTTP headers: {name} is none"));
            } else if HEADERS_OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                mistake("identity_headers", &format!("must not set a header that the broker sets itself: {name}"));
            }
        }
        if self.server_from_user.is_some() {
            let others = [
                ("issuer", self.issuer.is_some()),
                ("jwks_url", self.jwks_url.is_some()),
                ("par_url", self.par_url.is_some()),
                ("identity_from", self.identity_from.is_some()),
            ];
            for (key, _) in others.into_iter().filter(|(_, is_set)| *is_set) {
                mistake(key, "cannot be set together with server_from_user");
            }
            if matches!(self.client_auth, Some(ClientAuth::None | ClientAuth::PrivateKeyJwt)) {
                mistake("client_auth", "must be \"body\" or \"basic\": each server gives the broker a secret");
            }
        } else if self.issuer.is_none() {
            if self.identity_from == Some(IdentityFrom::IdToken) {
                mistake("identity_from", "needs issuer: an id_token proves nothing unless its issuer is known");
            }
            if self.jwks_url.is_some() {
                mistake("jwks_url", "needs issuer: the keys verify the id_tokens of the issuer");
            }
            if self.par == Some(true) && self.par_url.is_none() {
                mistake("par", "needs par_url or issuer: no endpoint is known to push requests to");
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
            ("identity.url", self.identity.url.as_ref()),
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
        let register_path = self.server_from_user.as_ref().map(|servers| ("register_path", &*servers.register_path));
        let urls = [
            ("issuer", &self.issuer),
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("identity_url", &self.identity_url),
            ("jwks_url", &self.jwks_url),
            ("par_url", &self.par_url),
            ("revoke_url", &self.revoke_url),
        ];
        urls.into_iter().filter_map(|(key, url)| Some((key, url.as_deref()?))).chain(register_path)
    }

    /// The platform, as far as the operator describes it and its server has said how it is used. What the operator
    /// set counts.
    #[must_use]
    pub fn platform(&self, found: Option<&Metadata>) -> Platform {
        let label = self.label.as_ref().unwrap_or(&self.name);
        let owned =
            |pairs: &[(String, String)]| pairs.iter().map(|(k, v)| (k.clone().into(), v.clone().into())).collect();
        let url = |set: &Option<String>, of: fn(&Metadata) -> &Option<String>| {
            set.clone().or_else(|| of(found?).clone()).map(Text::from)
        };
        let scopes = self.scopes(found);
        let mut authorize_params: Vec<(Text, Text)> = owned(&self.authorize_params);
        let authorize_url = url(&self.authorize_url, |found| &found.authorization_endpoint).unwrap_or_default();
        let has_prompt = authorize_params.iter().any(|(name, _)| name == "prompt")
            || parameters_of(&authorize_url).iter().any(|(name, _)| name == "prompt");
        let authorize_url = Text::from(without_removed(&authorize_url, &self.authorize_params));
        authorize_params.retain(|(_, value)| !value.is_empty());
        // OpenID Connect Core 1.0, section 11: without the prompt, a server may ignore the scope.
        if found.is_some() && scopes.iter().any(|scope| scope == OFFLINE_ACCESS) && !has_prompt {
            authorize_params.push(("prompt".into(), "consent".into()));
        }
        let identity = Identity {
            call: ApiCall {
                method: self.identity_method,
                path: url(&self.identity_url, |found| &found.userinfo_endpoint).unwrap_or_default(),
                absolute: true,
                query: &[],
                token: TokenPlace::Bearer,
                headers: self.identity_headers.clone(),
            },
            read: ReadAccount::Pointers(self.identity.clone()),
            fallback: None,
            enrich: None,
            accounts: Accounts::Itself,
        };
        let platform = Platform {
            authority: format!("custom:{}", self.name).into(),
            name: self.name.clone().into(),
            label: label.clone().into(),
            guide: self.guide,
            adds_fragment: graph::is_of_meta(&authorize_url),
            authorize_url,
            issuer: found.map(|found| &found.issuer).or(self.issuer.as_ref()).cloned().map(Text::from),
            promises_issuer: found.is_some_and(|found| found.authorization_response_iss_parameter_supported),
            token_url: url(&self.token_url, |found| &found.token_endpoint).unwrap_or_default(),
            par_url: self.par_url(found),
            id_tokens: self.id_tokens(found),
            revocation: url(&self.revoke_url, |found| &found.revocation_endpoint).map_or(
                Revocation::Unsupported,
                |url| Revocation::Endpoint { url, client_auth: RevocationAuth::AsToken, token: self.revoke_token },
            ),
            // RFC 7009, section 2.1 leaves it to the server what ends with a token: assume the widest reach.
            revocation_reach: RevocationReach::Consent,
            subject: self.subject(),
            scopes,
            optional_scopes: self.optional_scopes.iter().cloned().map(Text::from).collect(),
            scope_separator: self.scope_separator,
            authorize_params,
            exchange_params: owned(&self.token_params),
            body: self.token_body,
            token_pointer: self.token_pointer.clone().map(Text::from),
            refresh_params: owned(&self.refresh_params),
            refusals: &[presets::REFUSALS],
            errors: self.errors.clone(),
            refreshes_with_scope: self.scope_on_refresh,
            client_auth: self.client_auth.unwrap_or_else(|| client_auth(found)),
            assertion_algorithms: found
                .and_then(|found| found.token_endpoint_auth_signing_alg_values_supported.clone())
                .map(|names| names.into_iter().map(Text::from).collect())
                .unwrap_or_default(),
            pkce: self.pkce.unwrap_or_else(|| self.default_pkce(found)),
            refresh: Refresh::RefreshToken { rotation: Rotation::Unknown },
            default_expires_in: self.token_lifetime.map(u64::from),
            ..Platform::standard(identity)
        };
        match self.server_from_user.clone() {
            Some(servers) => platform.of_servers(servers),
            None => platform,
        }
    }
}

/// Why a text is no issuer.
fn issuer_mistake(issuer: &str) -> Option<&'static str> {
    if issuer.contains("/.well-known/") {
        return Some("must be the issuer alone: remove /.well-known/ and what follows it");
    }
    let is_plain = Url::parse(issuer).is_ok_and(|url| is_endpoint(&url) && url.query().is_none());
    (!is_plain).then_some("must be an absolute https URL without query or fragment, such as https://id.acme.example")
}

impl CustomPlatform {
    fn par_url(&self, found: Option<&Metadata>) -> Option<Text> {
        let is_required = found.is_some_and(|found| found.require_pushed_authorization_requests);
        let is_wanted = self.par.unwrap_or(is_required || self.par_url.is_some());
        let known = || found?.pushed_authorization_request_endpoint.clone();
        self.par_url.clone().or_else(known).map(Text::from).filter(|_| is_wanted)
    }

    /// How id_tokens are verified, where issuer and keys are known. They name the account where the operator says so,
    /// or where the server has no userinfo endpoint; then also where no key is known, and [`Platform::lacks`] says so.
    fn id_tokens(&self, found: Option<&Metadata>) -> Option<IdTokens> {
        self.issuer.as_ref()?;
        let jwks_url = self.jwks_url.clone().or_else(|| found?.jwks_uri.clone()).map(Text::from);
        let has_userinfo = self.identity_url.is_some() || found.is_some_and(|found| found.userinfo_endpoint.is_some());
        let has_secret = !matches!(self.client_auth, Some(ClientAuth::None | ClientAuth::PrivateKeyJwt));
        let algorithms = found.and_then(|found| found.id_token_signing_alg_values_supported.as_ref());
        let is_hmac = |names: &Vec<String>| names.iter().any(|name| name.starts_with("HS"));
        let may_be_hmac = has_secret && algorithms.is_some_and(is_hmac);
        let are_identity = match self.identity_from {
            Some(from) => from == IdentityFrom::IdToken,
            None => found.is_some() && !has_userinfo && (jwks_url.is_some() || may_be_hmac),
        };
        (are_identity || jwks_url.is_some()).then_some(IdTokens { jwks_url, are_identity, may_be_hmac })
    }

    /// S256, also where the server does not say so: a server that knows no PKCE ignores the parameters. A public client
    /// sends it in any case, because nothing else proves who sends the code.
    fn default_pkce(&self, found: Option<&Metadata>) -> Pkce {
        let is_public = self.client_auth == Some(ClientAuth::None);
        match found.and_then(|found| Metadata::has(found.code_challenge_methods_supported.as_ref(), "S256")) {
            Some(false) if !is_public => Pkce::None,
            _ => Pkce::S256,
        }
    }

    /// The operator's word. Without it, only the subject of OpenID Connect is known to be a person: elsewhere the id
    /// may be a channel's or a workspace's, of which one person has several.
    fn subject(&self) -> Subject {
        let default = if self.identity.id == OPENID_SUBJECT { Subject::Person } else { Subject::Account };
        self.subject.unwrap_or(default)
    }

    /// The operator's scopes. Where none are set, those of OpenID Connect that the server supports.
    fn scopes(&self, found: Option<&Metadata>) -> Vec<Text> {
        match (&self.scopes, found) {
            (Some(scopes), _) => scopes.iter().cloned().map(Text::from).collect(),
            // Without it, a server sends no id_token.
            (None, None) if self.identity_from == Some(IdentityFrom::IdToken) => vec![OPENID.into()],
            (None, None) => Vec::new(),
            (None, Some(found)) => {
                let is_supported = |scope: &&&str| Metadata::has(found.scopes_supported.as_ref(), scope) != Some(false);
                OPENID_SCOPES.iter().filter(is_supported).map(|scope| (*scope).into()).collect()
            }
        }
    }
}

/// Basic, which is the standard's default, unless the server only takes the secret in the body.
fn client_auth(found: Option<&Metadata>) -> ClientAuth {
    let takes = |method| Metadata::has(found?.token_endpoint_auth_methods_supported.as_ref(), method);
    match (takes("client_secret_basic"), takes("client_secret_post")) {
        (Some(false), Some(true)) => ClientAuth::Body,
        _ => ClientAuth::Basic,
    }
}

impl IdentityPointers {
    /// The pointers that the operator set. `set` returns the one of that key.
    #[must_use]
    pub fn of(mut set: impl FnMut(&str) -> Option<String>) -> Self {
        Self {
            id: set("id").unwrap_or_default(),
            username: set("username"),
            name: set("name"),
            image: set("image"),
            url: set("url"),
        }
    }

    /// The claims of OpenID Connect, where nothing else is set.
    #[must_use]
    pub fn or_standard_claims(self) -> Self {
        let or = |set: Option<String>, claim: &str| Some(set.unwrap_or_else(|| claim.to_owned()));
        Self {
            id: if self.id.is_empty() { OPENID_SUBJECT.to_owned() } else { self.id },
            username: or(self.username, "/preferred_username"),
            name: or(self.name, "/name"),
            image: or(self.image, "/picture"),
            url: self.url,
        }
    }

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
            profile_url: at(&self.url),
            ..Account::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_subject_of_openid_connect_is_taken_for_a_person_unless_the_operator_says_so() {
        for (id, subject, expected) in [
            ("/sub", None, Subject::Person),
            ("/id", None, Subject::Account),
            ("/items/0/id", None, Subject::Account),
            ("/data/sub", None, Subject::Account),
            ("/id", Some(Subject::Person), Subject::Person),
            ("/sub", Some(Subject::Account), Subject::Account),
        ] {
            let identity = IdentityPointers { id: id.to_owned(), ..IdentityPointers::default() };
            let acme = CustomPlatform { identity, subject, ..CustomPlatform::default() };
            assert_eq!(acme.platform(None).subject, expected, "{id} {subject:?}");
        }
    }

    #[test]
    fn an_id_token_is_asked_for_where_it_names_the_account() {
        let scopes = |identity_from, scopes: Option<Vec<String>>| {
            CustomPlatform { identity_from, scopes, ..CustomPlatform::default() }.platform(None).scopes
        };
        assert_eq!(scopes(Some(IdentityFrom::IdToken), None), ["openid"]);
        assert_eq!(scopes(Some(IdentityFrom::IdToken), Some(vec!["profile".to_owned()])), ["profile"]);
        assert!(scopes(Some(IdentityFrom::Userinfo), None).is_empty());
        assert!(scopes(None, None).is_empty());
    }

    #[test]
    fn a_platform_at_metas_hosts_adds_a_fragment() {
        for (host, expected) in [
            ("www.facebook.com", true),
            ("business.facebook.com", true),
            ("Facebook.com:443", true),
            ("www.instagram.com", true),
            ("threads.com", true),
            ("www.threads.net", true),
            ("facebook.com.evil.example", false),
            ("notfacebook.com", false),
            ("acme.example", false),
        ] {
            let authorize_url = Some(format!("https://{host}/v25.0/dialog/oauth"));
            let acme = CustomPlatform { authorize_url, ..CustomPlatform::default() };
            assert_eq!(acme.platform(None).adds_fragment, expected, "{host}");
        }
        assert!(!CustomPlatform::default().platform(None).adds_fragment);
    }

    #[test]
    fn the_account_is_read_where_the_operator_points() {
        let pointers = IdentityPointers {
            id: "/data/0/id".into(),
            username: Some("/data/0/login".into()),
            name: Some("/missing".into()),
            image: None,
            url: None,
        };
        let account = pointers.read(&json!({"data": [{"id": 17_841_405_793_187_218_u64, "login": "ada"}]})).unwrap();
        assert_eq!(account.platform_user_id, "17841405793187218");
        assert_eq!(account.username.as_deref(), Some("ada"));
        assert_eq!(account.display_name, None);
        assert_eq!(pointers.read(&json!({"data": []})), Err(Unidentified::Unreadable));
    }
}
