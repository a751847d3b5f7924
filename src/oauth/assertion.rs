//! The client's assertion: a signed token in place of a secret (RFC 7523, section 2.2; OpenID Connect Core 1.0, section
//! 9, `private_key_jwt`).

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde_json::json;

use super::OauthClient;
use crate::domain::secret::{SecretString, random_token};
use crate::platforms::{PrivateKey, SigningAlgorithm, is_of_any_tenant};

/// Seconds that an assertion is good for. It is used once, at once; the rest is for clocks that differ.
const LIFE: i64 = 300;

/// Kind of the assertion, for the server.
pub(super) const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl OauthClient<'_> {
    /// A fresh assertion. `None` when the key cannot sign, which the configuration has ruled out.
    #[expect(clippy::disallowed_methods, reason = "the id of an assertion is sent in it")]
    pub(super) fn assertion(&self, key: &PrivateKey) -> Option<SecretString> {
        let engine = self.engine;
        let (algorithm, signer) = match self.algorithm(key) {
            SigningAlgorithm::EdDSA => (Algorithm::EdDSA, EncodingKey::from_ed_der(key.der())),
            SigningAlgorithm::ES256 => (Algorithm::ES256, EncodingKey::from_ec_der(key.der())),
            SigningAlgorithm::ES384 => (Algorithm::ES384, EncodingKey::from_ec_der(key.der())),
            SigningAlgorithm::PS256 => (Algorithm::PS256, EncodingKey::from_rsa_der(key.der())),
            SigningAlgorithm::RS256 => (Algorithm::RS256, EncodingKey::from_rsa_der(key.der())),
        };
        let header = Header { kid: key.id.clone(), ..Header::new(algorithm) };
        let now = engine.clock.now().as_millis() / 1000;
        let client_id = &self.credentials.client_id;
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": self.audience(key),
            "jti": random_token(&*engine.entropy).expose_secret(),
            "iat": now,
            "exp": now + LIFE,
        });
        encode(&header, &claims, &signer).ok().map(SecretString::from)
    }

    /// The operator's choice; else the usual one of the key's kind, or another that the server accepts instead.
    fn algorithm(&self, key: &PrivateKey) -> SigningAlgorithm {
        let accepted = &self.platform.assertion_algorithms;
        let is_accepted = |algorithm: &&SigningAlgorithm| accepted.iter().any(|name| name == <&str>::from(**algorithm));
        let (all, usual) = (key.algorithms(), key.algorithms().first().copied());
        let chosen = key.algorithm.or_else(|| all.iter().find(is_accepted).copied()).or(usual);
        chosen.unwrap_or(SigningAlgorithm::RS256)
    }

    /// The issuer, which alone names the server whatever the endpoint; where none is known, or it stands for that of
    /// any tenant, the token endpoint.
    fn audience<'a>(&'a self, key: &'a PrivateKey) -> &'a str {
        let issuer = self.platform.issuer.as_deref().filter(|issuer| !is_of_any_tenant(issuer));
        key.audience.as_deref().or(issuer).unwrap_or(&self.platform.token_url)
    }
}
