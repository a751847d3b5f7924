//! The work that all platforms share: authenticate clients, redeem codes, issue tokens and revoke them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::call::{Call, Fields};
use super::configuration::Client;
use super::imitations::Imitation;
use super::problem::{Dead, Problem};
use super::record::{TokenKind, first};
use super::world::{Grant, Token, World};
use crate::domain::time::Timestamp;

/// One platform that handles one request.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) imitation: &'static Imitation,
    pub(super) world: &'a mut World,
}

impl Desk<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.world.now()
    }

    pub(super) fn picture(&self, grant: &Grant) -> String {
        format!("{}/{}/pictures/{}.svg", self.world.base_url, self.imitation.name, grant.persona.id)
    }

    /// The client, by `Authorization: Basic` alone.
    pub(super) fn basic_client(&self, call: &Call) -> Result<Client, Problem> {
        const WANTED: &str = "HTTP Basic, with nothing of it in the body";
        let (id, secret) = call.basic().ok_or(Problem::ClientAuthentication(WANTED))?;
        if call.peek("client_id").or_else(|| call.peek("client_secret")).is_some() {
            return Err(Problem::ClientAuthentication(WANTED));
        }
        self.client(&id, &secret)
    }

    /// The client, by the body's `id_name` and `client_secret` alone.
    pub(super) fn body_client(&self, call: &Call, id_name: &str) -> Result<Client, Problem> {
        self.client_among(call, call.body.fields(), id_name)
    }

    /// The client, by the query's `id_name` and `client_secret` alone.
    pub(super) fn query_client(&self, call: &Call, id_name: &str) -> Result<Client, Problem> {
        self.client_among(call, &call.query, id_name)
    }

    fn client_among(&self, call: &Call, among: &[(String, String)], id_name: &str) -> Result<Client, Problem> {
        const WANTED: &str = "id and secret among the parameters, without an Authorization header";
        if call.header("authorization").is_some() {
            return Err(Problem::ClientAuthentication(WANTED));
        }
        match (first(among, id_name), first(among, "client_secret")) {
            (Some(id), Some(secret)) => self.client(id, secret),
            _ => Err(Problem::ClientAuthentication(WANTED)),
        }
    }

    pub(super) fn client(&self, id: &str, secret: &str) -> Result<Client, Problem> {
        Client::find(self.imitation.name, id).filter(|client| client.secret == secret).ok_or(Problem::Client)
    }

    /// The client of a secret that comes without an id.
    pub(super) fn client_by_secret(&self, secret: &str) -> Result<Client, Problem> {
        Client::all(self.imitation.name).into_iter().find(|client| client.secret == secret).ok_or(Problem::Client)
    }

    /// Checks `redirect_uri` and `code_verifier` and returns the grant of `code`. Any attempt of the code's client
    /// spends it; a second attempt revokes the grant (RFC 6749 section 4.1.2).
    pub(super) fn redeem(&mut self, client: &Client, fields: Fields<'_>) -> Result<Grant, Problem> {
        let now = self.now();
        let value = fields.get("code");
        let code = self.world.codes.get_mut(value).ok_or(Problem::Code(Dead::Unknown))?;
        let grant = self.world.grants.get(&code.grant).ok_or(Problem::Code(Dead::Unknown))?;
        if grant.platform != self.imitation.name || grant.client != *client {
            return Err(Problem::Code(Dead::Unknown));
        }
        let (grant, code, spent) = (grant.clone(), code.clone(), std::mem::replace(&mut code.spent, true));
        if spent {
            self.world.revoke(grant.id);
            return Err(Problem::Code(Dead::Spent));
        }
        if grant.revoked {
            return Err(Problem::Code(Dead::Revoked));
        }
        if now >= code.expires_at {
            return Err(Problem::Code(Dead::Expired));
        }
        if fields.get("redirect_uri") != code.redirect_uri {
            return Err(Problem::RedirectUri);
        }
        match (&code.challenge, fields.find("code_verifier")) {
            (None, None) => Ok(grant),
            (Some((method, challenge)), Some(verifier)) if method.verifies(challenge, verifier) => Ok(grant),
            _ => Err(Problem::Verifier),
        }
    }

    /// Issues a token of `grant` that lives for `seconds`, or does not expire.
    pub(super) fn issue(&mut self, grant: &Grant, kind: TokenKind, prefix: &str, seconds: Option<u64>) -> String {
        let value = format!("{prefix}{}{}", self.world.random(), self.world.random());
        let issued_at = self.now();
        let expires_at = seconds.map(|seconds| issued_at.plus(Duration::from_secs(seconds)));
        self.world
            .tokens
            .insert(value.clone(), Token { grant: grant.id, kind, page: None, issued_at, expires_at, dead: None });
        self.world.issue(self.imitation.name, kind, &value);
        value
    }

    /// Makes an id token with readable claims and a random signature.
    pub(super) fn id_token(&mut self, grant: &Grant, issuer: &str, claims: &Value) -> String {
        let now = self.now().as_millis() / 1000;
        let mut payload = json!({"iss": issuer, "aud": grant.client.id, "iat": now, "exp": now + 3600});
        if let (Some(payload), Some(claims)) = (payload.as_object_mut(), claims.as_object()) {
            payload.extend(claims.clone());
        }
        let header = json!({"alg": "RS256", "kid": "sandbox", "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.{}", part(&header), part(&payload), self.world.random());
        self.world.issue(self.imitation.name, TokenKind::Id, &token);
        token
    }

    /// A live token of this platform with its grant.
    pub(super) fn token(&self, value: &str) -> Result<(Token, Grant), Dead> {
        let token = self.world.tokens.get(value).ok_or(Dead::Unknown)?;
        let grant = self.world.grants.get(&token.grant).ok_or(Dead::Unknown)?;
        if grant.platform != self.imitation.name {
            return Err(Dead::Unknown);
        }
        if grant.revoked {
            return Err(Dead::Revoked);
        }
        if let Some(dead) = token.dead {
            return Err(dead);
        }
        if token.expires_at.is_some_and(|at| at <= self.now()) {
            return Err(Dead::Expired);
        }
        Ok((token.clone(), grant.clone()))
    }

    /// The grant of a live access token that covers `scopes`.
    pub(super) fn access(&self, value: &str, scopes: &[&str]) -> Result<(Token, Grant), Problem> {
        let (token, grant) = self.token(value).map_err(Problem::Token)?;
        if !matches!(token.kind, TokenKind::Access | TokenKind::LongLived) {
            return Err(Problem::Token(Dead::Unknown));
        }
        match scopes.iter().find(|scope| !grant.has(scope)) {
            Some(scope) => Err(Problem::Scope((*scope).to_owned())),
            None => Ok((token, grant)),
        }
    }

    /// The grant of the `Authorization: Bearer` token.
    pub(super) fn bearer(&self, call: &Call, scopes: &[&str]) -> Result<Grant, Problem> {
        let value = call.bearer().ok_or(Problem::Token(Dead::Unknown))?;
        self.access(value, scopes).map(|(_, grant)| grant)
    }

    /// The grant of a live refresh token of this client.
    pub(super) fn refresh_token(&self, client: &Client, value: &str) -> Result<(Token, Grant), Problem> {
        let (token, grant) = self.token(value).map_err(Problem::RefreshToken)?;
        if token.kind != TokenKind::Refresh || grant.client != *client {
            return Err(Problem::RefreshToken(Dead::Unknown));
        }
        Ok((token, grant))
    }

    /// Ends a token, for this reason.
    pub(super) fn kill(&mut self, token: &str, dead: Dead) {
        if let Some(token) = self.world.tokens.get_mut(token) {
            token.dead = Some(dead);
        }
    }

    /// Revokes every grant that this person gave to this client.
    pub(super) fn revoke_person(&mut self, of: &Grant) {
        self.world.revoke_where(|grant| grant.is_of_same_person(of));
    }
}
