//! The claims of a session's tokens. The protocol calls their contents unstable, so only conveniences depend on them:
//! an expiry, whether the session comes from an app password, and whether two refresh tokens belong to one session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::bounds;
use crate::domain::time::Timestamp;
use crate::outbound::read_json;

/// Claims of a time from here on are a mistake and ignored: 2^40 seconds.
const LATEST: f64 = 1_099_511_627_776.0;

/// The claims of a JSON Web Token, unverified: only its server can verify it. Empty when it is no JWT.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) scope: Option<String>,
    pub(super) id: Option<String>,
    /// In seconds since the Unix epoch, by the server's clock.
    pub(super) issued_at: Option<Timestamp>,
    /// As [`Claims::issued_at`].
    pub(super) expires_at: Option<Timestamp>,
}

impl Claims {
    #[expect(clippy::disallowed_methods, reason = "the claims are inside the token")]
    pub(super) fn of(token: &SecretString) -> Self {
        let read = |token: &str| -> Option<Self> {
            let payload = token.split('.').nth(1)?;
            let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
            let claims = read_json(&payload)?;
            let time = |name: &str| {
                // RFC 7519 allows fractions, and some servers quote numbers.
                let claim = claims.get(name)?;
                let seconds = claim.as_f64().or_else(|| claim.as_str()?.trim().parse().ok())?;
                (0.0..LATEST)
                    .contains(&seconds)
                    .then(|| Timestamp::from_millis(0).plus(Duration::from_secs_f64(seconds)))
            };
            Some(Self {
                scope: claims
                    .get("scope")
                    .and_then(Value::as_str)
                    .filter(|scope| bounds::is_scope(scope))
                    .map(str::to_owned),
                id: claims.get("jti").and_then(Value::as_str).map(str::to_owned),
                issued_at: time("iat"),
                expires_at: time("exp"),
            })
        };
        read(token.expose_secret()).unwrap_or_default()
    }

    /// The expiry, by the broker's clock, of a token that was requested at `sent_at`. Only its lifetime counts, because
    /// the server's clock may be off. `None` when the token names none, or one of no length.
    pub(super) fn expires_after(&self, sent_at: Timestamp) -> Option<Timestamp> {
        let expires_at = self.expires_at?;
        let life = self.issued_at.unwrap_or(sent_at).until(expires_at);
        (!life.is_zero()).then(|| sent_at.plus(life))
    }
}

/// True when two refresh tokens are one at the server. A server that is asked twice for a token's successor signs it
/// anew each time, with the same id.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "comparing two secrets needs both")]
pub fn is_same_refresh_token(one: &SecretString, other: &SecretString) -> bool {
    let ids = (Claims::of(one).id, Claims::of(other).id);
    one.expose_secret() == other.expose_secret() || matches!(ids, (Some(one), Some(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(payload: &str) -> Claims {
        Claims::of(&SecretString::from(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload))))
    }

    #[test]
    fn a_refresh_token_is_recognized_by_its_id() {
        let token = |payload: &str| SecretString::from(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload)));
        let same = |one: &str, other: &str| is_same_refresh_token(&token(one), &token(other));
        assert!(same(r#"{"jti":"a","exp":1}"#, r#"{"jti":"a","exp":2}"#));
        assert!(!same(r#"{"jti":"a","exp":1}"#, r#"{"jti":"b","exp":1}"#));
        assert!(same("{}", "{}") && !same(r#"{"exp":1}"#, r#"{"exp":2}"#), "without an id, letter by letter");
    }

    #[test]
    fn a_lifetime_does_not_depend_on_the_servers_clock() {
        let sent_at = Timestamp::from_millis(1_777_797_216_000);
        let life = |payload: &str| claims(payload).expires_after(sent_at).map(|at| sent_at.until(at).as_secs());
        assert_eq!(life(r#"{"iat":1777797216,"exp":1777804416}"#), Some(7200));
        assert_eq!(life(r#"{"iat":1777790000,"exp":1777797200}"#), Some(7200), "its clock is late by hours");
        assert_eq!(life(r#"{"exp":1777804416}"#), Some(7200), "it does not say when it was issued");
        assert_eq!(life(r#"{"iat":1777797216,"exp":1777797219}"#), Some(3));
        assert_eq!(life(r#"{"iat":1777797216,"exp":1777797516.5}"#), Some(300));
        assert_eq!(life(r#"{"iat":"1777797216","exp":"1777797516"}"#), Some(300));
        assert_eq!(life(r#"{"exp":1777790000}"#), None);
        assert_eq!(life(r#"{"iat":1777797216,"exp":1777797216}"#), None);
        assert_eq!(life("{}"), None);
    }

    #[test]
    fn claims_are_read_where_there_are_any() {
        let read = claims(r#"{"scope":"com.atproto.appPass","exp":1777797216,"sub":"did:plc:x"}"#);
        assert_eq!(read.scope.as_deref(), Some("com.atproto.appPass"));
        assert_eq!(read.expires_at, Some(Timestamp::from_millis(1_777_797_216_000)));
        for nothing in ["", "{}", "[]", "nonsense", r#"{"scope":7,"exp":"soon"}"#, r#"{"exp":-1}"#, r#"{"exp":1e300}"#]
        {
            assert_eq!(claims(nothing), Claims::default(), "{nothing}");
        }
        for opaque in ["", "opaque", "a.b.c", "..", "e30"] {
            assert_eq!(Claims::of(&SecretString::from(opaque)), Claims::default(), "{opaque}");
        }
    }
}
