//! Verifies what an OpenID provider signed: id_tokens (OpenID Connect Core 1.0, section 3.1.3.7) and userinfo answers
//! that are signed (section 5.3.2).
//!
//! A token's own header never decides alone: a signature by a published key is checked with the algorithms of that
//! key, one by the client's secret only where the provider announces it, and a token without a signature is refused.
//! Claims are read as leniently as any answer, so a defect in one that nobody needs costs nothing. Those that are
//! checked must be as the standard has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::identity::endpoint;
use super::{OauthClient, jwt};
use crate::domain::echo::harmless;
use crate::domain::failure::Failure;
use crate::domain::grant::IssuedTokens;
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::time::Timestamp;
use crate::outbound::{Request, read_json};
use crate::platforms::{IdTokens, is_issuer};

/// Tolerated difference between two clocks.
const SKEW: Duration = Duration::from_mins(1);

/// Time after which published keys are fetched again, so that a withdrawn key is not trusted for ever.
const KEYS_AT_MOST: Duration = Duration::from_hours(1);

/// Shortest time between fetches because a key was missing or did not verify. One more is allowed within it: a provider may
/// change its keys just after a fetch.
const KEYS_AT_LEAST: Duration = Duration::from_mins(1);

/// Most keys of a provider that are read.
const MAX_KEYS: usize = 100;

/// The published keys of providers, by their URL. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Keys(Arc<Mutex<BTreeMap<String, Fetched>>>);

#[derive(Clone)]
struct Fetched {
    at: Timestamp,
    /// True when this is the further fetch within [`KEYS_AT_LEAST`] of another.
    is_extra: bool,
    keys: Arc<Vec<Jwk>>,
}

/// Why a signed statement is not believed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum NotProven {
    #[error("it is signed with {0}, which is not accepted here")]
    Algorithm(String),
    #[error("it is for another client (aud or azp)")]
    Audience,
    #[error("it has expired, or names no time at which it does")]
    Expired,
    #[error("its issuer (iss) is another one")]
    Issuer,
    #[error("the token answer has none")]
    Missing,
    #[error("one of its times (exp, iat or nbf) is no number")]
    NoTime,
    #[error("its nonce is not this connection's")]
    Nonce,
    #[error("it has no nonce")]
    NoNonce,
    #[error("it is from the future: is this machine's clock right?")]
    NotYet,
    #[error("the provider's keys do not verify its signature")]
    Signature,
    #[error("its subject (sub) is missing, or is not the userinfo's")]
    Subject,
    #[error("the provider publishes no key of the id that it names")]
    UnknownKey,
    #[error("it is not a JSON Web Token that can be read")]
    Unreadable,
}

/// A signed statement, by what it must say.
#[derive(Clone, Copy)]
pub(super) enum Statement<'a> {
    /// `nonce`: the connection's.
    IdToken {
        nonce: &'a str,
        received_at: Timestamp,
    },
    Userinfo,
}

impl OauthClient<'_> {
    /// Returns the claims of the id_token, once it is verified. `None`: there is none, or the platform's are not used.
    pub(super) async fn id_token_claims(
        &self,
        issued: &IssuedTokens,
        nonce: &str,
    ) -> Result<Option<Value>, PlatformError> {
        let Some(id_tokens) = &self.platform.id_tokens else { return Ok(None) };
        let Some(token) = &issued.tokens.id_token else {
            return if id_tokens.are_identity { Err(self.not_proven(NotProven::Missing)) } else { Ok(None) };
        };
        // A broker that died in between reads the answer later, when the token may have expired.
        self.verified(expose(token), Statement::IdToken { nonce, received_at: issued.issued_at }).await.map(Some)
    }

    /// Returns the claims of a signed statement of the platform's, once it is verified.
    pub(super) async fn verified(&self, token: &str, statement: Statement<'_>) -> Result<Value, PlatformError> {
        let not = |why| self.not_proven(why);
        let id_tokens = self.platform.id_tokens.as_ref().ok_or_else(|| not(NotProven::Signature))?;
        let header = read_header(token).map_err(not)?;
        let is_verified = if jwt::is_asymmetric(header.alg) {
            self.is_by_published_key(id_tokens, &header, token).await?
        } else {
            // A server signs with the secret that it takes.
            let client = self.preferred();
            let secret = expose(&client.credentials.client_secret);
            if !id_tokens.may_be_hmac || secret.is_empty() {
                return Err(not(NotProven::Algorithm(format!("{:?}", header.alg))));
            }
            verifies(&DecodingKey::from_secret(secret.as_bytes()), token, header.alg)
        };
        if !is_verified {
            return Err(not(NotProven::Signature));
        }
        let claims = read_claims(token).ok_or_else(|| not(NotProven::Unreadable))?;
        let issuer = self.platform.issuer.as_deref().unwrap_or_default();
        check(&claims, statement, issuer, &self.credentials.client_id, self.engine.clock.now()).map_err(not)?;
        Ok(claims)
    }

    pub(super) fn not_proven(&self, why: NotProven) -> PlatformError {
        PlatformError::new(&self.platform.name, Step::Identity, Failure::IdTokenRejected).caused_by(why)
    }

    /// True when a published key verifies the signature. Fetches the keys again where none of the known ones does: a
    /// provider may replace a key and keep its id.
    async fn is_by_published_key(
        &self,
        id_tokens: &IdTokens,
        header: &Header,
        token: &str,
    ) -> Result<bool, PlatformError> {
        let unknown = || self.not_proven(NotProven::UnknownKey);
        let (url, now, step) = (id_tokens.jwks_url.as_ref().ok_or_else(unknown)?, self.engine.clock.now(), Step::Keys);
        let judge = |fetched: &Fetched| {
            let mut fitting = fetched.keys.iter().filter(|key| fits(key, header)).peekable();
            fitting.peek()?;
            let is_by = |key: &Jwk| DecodingKey::from_jwk(key).is_ok_and(|key| verifies(&key, token, header.alg));
            Some(fitting.any(is_by))
        };
        let mut is_extra = false;
        if let Some(known) = self.engine.keys.get(url) {
            let (age, judged) = (known.at.until(now), judge(&known));
            is_extra = age < KEYS_AT_LEAST;
            if (is_extra && known.is_extra) || (age < KEYS_AT_MOST && judged == Some(true)) {
                return judged.ok_or_else(unknown);
            }
        }
        let parsed = endpoint(&self.platform, step, url)?;
        let keys = self.ask(
            step,
            || Request::get(parsed.clone()),
            |answer| {
                let keys = read_keys(&answer.json()).filter(|_| answer.is_success());
                keys.ok_or_else(|| {
                    let failure = match answer.status {
                        500.. => Failure::PlatformUnavailable,
                        _ => Failure::PlatformAnswerUnreadable,
                    };
                    PlatformError::new(&self.platform.name, step, failure).answered(answer.status, None)
                })
            },
        );
        let fetched = Fetched { at: now, is_extra, keys: Arc::new(keys.await?) };
        self.engine.keys.put(url, fetched.clone());
        judge(&fetched).ok_or_else(unknown)
    }
}

impl Keys {
    fn get(&self, url: &str) -> Option<Fetched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    fn put(&self, url: &str, fetched: Fetched) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(url.to_owned(), fetched);
    }
}

/// True for a text of the shape of a signed token, which JSON never has.
pub(super) fn is_signed(body: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let parts: Vec<&str> = body.trim().split('.').collect();
    parts.len() == 3 && parts.into_iter().all(is_part)
}

/// The members of a header that are needed. The others may be anything.
#[derive(Debug, PartialEq)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
}

fn read_header(token: &str) -> Result<Header, NotProven> {
    let (header, _) = token.trim().split_once('.').ok_or(NotProven::Unreadable)?;
    let header = read_part(header).ok_or(NotProven::Unreadable)?;
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    // RFC 7515, section 4.1.11: nothing that must be understood is.
    if header.get("crit").is_some_and(|crit| !crit.is_null()) {
        return Err(NotProven::Unreadable);
    }
    let alg = text("alg").ok_or(NotProven::Unreadable)?;
    // One that the crate does not know, `none` among them.
    // A header may repeat a secret: so few letters are none.
    let unsupported = |_| NotProven::Algorithm(harmless(alg).chars().take(7).collect());
    Ok(Header { alg: known_as(alg).parse().map_err(unsupported)?, kid: text("kid").map(str::to_owned) })
}

/// Each key by itself: one of an unknown kind does not cost the others.
fn read_keys(answer: &Value) -> Option<Vec<Jwk>> {
    let keys = answer.get("keys")?.as_array()?.iter().take(MAX_KEYS);
    let read = |key: &Value| {
        let mut key = key.clone();
        if let Some(Value::String(alg)) = key.get_mut("alg") {
            *alg = known_as(alg).to_owned();
        }
        serde_json::from_value(key).ok()
    };
    Some(keys.filter_map(read).collect())
}

/// The crate's name of an algorithm. RFC 9864 calls EdDSA by its curve, of which only this one is supported.
fn known_as(alg: &str) -> &str {
    if alg == "Ed25519" { "EdDSA" } else { alg }
}

/// True when a published key may have made the signature.
fn fits(key: &Jwk, header: &Header) -> bool {
    let common = &key.common;
    let is_named = match (&header.kid, &common.key_id) {
        (Some(named), Some(id)) => named == id,
        (Some(_), None) => false,
        (None, _) => true,
    };
    let is_for = |algorithm: KeyAlgorithm| algorithm == header.alg.into();
    is_named
        && common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common.key_algorithm.is_none_or(is_for)
        && DecodingKey::from_jwk(key).is_ok_and(|key| key.family() == header.alg.family())
}

/// True when the key verifies the token's signature.
fn verifies(key: &DecodingKey, token: &str, algorithm: Algorithm) -> bool {
    let Some((message, signature)) = token.trim().rsplit_once('.') else { return false };
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
}

/// True when both id_tokens name a person, and not the same one.
pub(super) fn are_of_two(one: &str, other: &str) -> bool {
    let subject = |token| read_claims(token)?.get("sub")?.as_str().map(str::to_owned);
    subject(one).zip(subject(other)).is_some_and(|(one, other)| one != other)
}

/// The claims of a token, which only a caller that verified it believes.
fn read_claims(token: &str) -> Option<Value> {
    let (message, _) = token.trim().rsplit_once('.')?;
    let (_, claims) = message.split_once('.')?;
    read_part(claims)
}

/// The JSON in a part of a token.
fn read_part(part: &str) -> Option<Value> {
    read_json(&URL_SAFE_NO_PAD.decode(part).ok()?)
}

fn check(
    claims: &Value,
    statement: Statement<'_>,
    issuer: &str,
    client_id: &str,
    now: Timestamp,
) -> Result<(), NotProven> {
    let is_id_token = matches!(statement, Statement::IdToken { .. });
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    match claims.get("iss") {
        // A signed userinfo answer should name issuer and audience, and few do.
        None if !is_id_token => {}
        _ if text("iss").is_some_and(|iss| is_issuer(issuer, iss, |tenant| text("tid") == Some(tenant))) => {}
        _ => return Err(NotProven::Issuer),
    }
    let is_for_us = match claims.get("aud") {
        None => !is_id_token,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience.as_str() == Some(client_id)),
        Some(audience) => audience.as_str() == Some(client_id),
    };
    if !is_for_us || claims.get("azp").is_some_and(|party| party.as_str() != Some(client_id)) {
        return Err(NotProven::Audience);
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds of a clock")]
    let seconds = |at: Timestamp| at.as_millis() as f64 / 1000.0;
    let received_at = match statement {
        Statement::IdToken { received_at, .. } => received_at,
        Statement::Userinfo => now,
    };
    let time = |name: &str| claims.get(name).map(|at| at.as_f64().ok_or(NotProven::NoTime)).transpose();
    match time("exp")? {
        None if !is_id_token => {}
        Some(expires_at) if expires_at > seconds(received_at.minus(SKEW)) => {}
        _ => return Err(NotProven::Expired),
    }
    let latest = seconds(now.plus(SKEW));
    if [time("iat")?, time("nbf")?].into_iter().flatten().any(|at| at > latest) {
        return Err(NotProven::NotYet);
    }
    // U+FFFD stands for something unknown, which could make two people one.
    if text("sub").is_none_or(|sub| sub.is_empty() || sub.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(NotProven::Subject);
    }
    match statement {
        Statement::IdToken { .. } if claims.get("nonce").is_none() => Err(NotProven::NoNonce),
        Statement::IdToken { nonce, .. } if text("nonce") != Some(nonce) => Err(NotProven::Nonce),
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a token is verified in the clear, and a secret verifies one")]
fn expose(secret: &secrecy::SecretString) -> &str {
    secret.expose_secret()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_for_what_is_needed_of_it() {
        let rs256 = |kid: Option<&str>| Ok(Header { alg: Algorithm::RS256, kid: kid.map(str::to_owned) });
        let other = |name: &str| Err(NotProven::Algorithm(name.to_owned()));
        for (header, expected) in [
            (r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#, rs256(Some("k"))),
            (r#"{"alg":"RS256","typ":7,"cty":[],"jku":1}"#, rs256(None)),
            (r#"{"alg":"RS256","kid":"k","x5c":"abc","x5t":{},"jwk":"x"}"#, rs256(Some("k"))),
            (r#"{"alg":"none"}"#, other("none")),
            (r#"{"alg":"RS1","typ":7}"#, other("RS1")),
            (r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, Err(NotProven::Unreadable)),
            (r#"{"alg":7}"#, Err(NotProven::Unreadable)),
            (r#"{"typ":"JWT"}"#, Err(NotProven::Unreadable)),
            ("x", Err(NotProven::Unreadable)),
        ] {
            let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(read_header(&token), expected, "{header}");
        }
    }

    #[test]
    fn a_time_that_is_no_number_is_not_taken_for_one_that_is_over() {
        let now = Timestamp::from_millis(1_000_000_000);
        let told = |member: &str, value: Value| {
            let mut claims = serde_json::json!({"iss": "i", "aud": "us", "sub": "u", "nonce": "n", "exp": 2_000_000});
            claims[member] = value;
            check(&claims, Statement::IdToken { nonce: "n", received_at: now }, "i", "us", now)
        };
        for (member, value, expected) in [
            ("exp", "2000000".into(), Err(NotProven::NoTime)),
            ("iat", "1000000".into(), Err(NotProven::NoTime)),
            ("nbf", Value::Null, Err(NotProven::NoTime)),
            ("nonce", "other".into(), Err(NotProven::Nonce)),
            ("exp", 900_000.into(), Err(NotProven::Expired)),
            ("iat", 1_100_000.into(), Err(NotProven::NotYet)),
            ("iat", 1_000_000.into(), Ok(())),
        ] {
            assert_eq!(told(member, value), expected, "{member}");
        }
        let without = serde_json::json!({"iss": "i", "aud": "us", "sub": "u", "exp": 2_000_000});
        let told = check(&without, Statement::IdToken { nonce: "n", received_at: now }, "i", "us", now);
        assert_eq!(told, Err(NotProven::NoNonce));
    }
}
