//! A session of the console: a browser in which somebody signed in with an access key.
//!
//! Invariant: a session can do what its key can at this moment, and nothing once the key is revoked or expired. Only
//! the digest of its token is stored.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::entropy::Entropy;
use super::id::{AccessKeyId, ProjectId};
use super::secret::{Digest256, SecretString, random_token};
use super::time::Timestamp;

/// Time from the sign-in to the end of a session.
pub const LIFE: Duration = Duration::from_hours(8);

/// Most sessions of one key. The oldest gives way to a new one.
pub const MOST_OF_KEY: u32 = 20;

/// Length of a token: 256 bits in base64url.
const LENGTH: usize = 43;

/// The token of a session, which the browser keeps in a cookie.
#[derive(Debug, Clone)]
pub struct SessionToken(SecretString);

impl SessionToken {
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(random_token(entropy))
    }

    /// Reads the value of the cookie; `None` for what is no token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_token = text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        is_token.then(|| Self(SecretString::from(text)))
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "hashing is how a session is stored and looked up")]
    pub fn digest(&self) -> Digest256 {
        Digest256::of(self.0.expose_secret().as_bytes())
    }

    /// The value that the console's forms carry. Another site can send a form, and cannot read this in a page.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a digest of the token tells nothing of it")]
    pub fn form_value(&self) -> String {
        let text = Zeroizing::new(format!("form {}", self.0.expose_secret()));
        URL_SAFE_NO_PAD.encode(Digest256::of(text.as_bytes()).as_bytes())
    }

    /// The token in full, for the cookie.
    #[must_use]
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

/// A session as stored.
#[derive(Debug, Clone)]
pub struct ConsoleSession {
    pub digest: Digest256,
    pub project_id: ProjectId,
    pub access_key_id: AccessKeyId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

    use super::*;
    use crate::domain::entropy::SeededEntropy;

    #[test]
    fn a_token_is_read_back_and_its_form_value_is_no_token_of_it() {
        let token = SessionToken::generate(&SeededEntropy::new(1));
        let text = token.clone().into_secret().expose_secret().to_owned();
        let again = SessionToken::parse(&text).unwrap();
        assert_eq!((again.digest(), again.form_value()), (token.digest(), token.form_value()));
        let of_form = SessionToken::parse(&token.form_value()).unwrap();
        assert_ne!(of_form.digest(), token.digest());
        assert!(!format!("{token:?}").contains(&text));
        for wrong in ["", &text[1..], &format!("{text}x"), &text.replacen(|_| true, "=", 1)] {
            assert!(SessionToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}
