//! The token of a confirmation page, and everything that follows from it: the `state` that the platform sees, and the
//! cookie of a browser whose person continued.
//!
//! Both are digests, so they tell nothing of the token: who sees the state, as the platform does, or whoever the
//! platform's URL was sent on to, cannot open the page. Nothing of it is stored but the digests of state and cookie.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::binding::{Binding, NAMED, OWN_COOKIE};
use super::entropy::Entropy;
use super::flow::{TIME_BYTES, TIMED_BYTES, timed_random};
use super::secret::{Digest256, SecretString};
use super::time::Timestamp;

/// A confirmation page's token.
#[derive(Clone)]
pub struct Confirmation(Zeroizing<[u8; TIMED_BYTES]>);

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confirmation")
    }
}

impl Confirmation {
    /// Made like a state: its time goes on into the state, for the index of states.
    #[must_use]
    pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(timed_random(now, entropy))
    }

    /// `None` when the text is not such a token.
    #[must_use]
    pub fn from_token(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        <[u8; TIMED_BYTES]>::try_from(bytes.as_slice()).ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The token, for the page's address.
    #[must_use]
    pub fn token(&self) -> SecretString {
        SecretString::from(URL_SAFE_NO_PAD.encode(*self.0))
    }

    /// The `state` of the connection.
    #[must_use]
    pub fn state(&self) -> SecretString {
        let time = self.0.iter().take(TIME_BYTES).copied();
        let digest = self.digest("state");
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(time.chain(digest.as_bytes().iter().copied()).collect());
        SecretString::from(URL_SAFE_NO_PAD.encode(&*bytes))
    }

    /// Name (without a prefix) and value of the cookie.
    #[must_use]
    pub fn cookie(&self) -> (String, String) {
        let value = URL_SAFE_NO_PAD.encode(self.digest("cookie").as_bytes());
        let named = value.get(..NAMED).unwrap_or_default();
        (format!("{OWN_COOKIE}{named}"), value)
    }

    /// The binding of the connection.
    #[must_use]
    pub fn binding(&self) -> Binding {
        Binding::Confirmed(Digest256::of(self.cookie().1.as_bytes()))
    }

    fn digest(&self, purpose: &str) -> Digest256 {
        Digest256::of(&Zeroizing::new([purpose.as_bytes(), self.0.as_slice()].concat()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::domain::entropy::SeededEntropy;
    use crate::domain::flow::state_digest;

    #[test]
    fn a_token_leads_to_state_and_cookie_and_none_of_them_to_another() {
        let entropy = SeededEntropy::new(1);
        let [one, later] =
            [0, 1].map(|millis| Confirmation::new(Timestamp::from_millis(1_777_797_216_445 + millis), &entropy));
        let token = one.token().expose_secret().to_owned();
        let again = Confirmation::from_token(&token).unwrap();
        assert_eq!(again.state().expose_secret(), one.state().expose_secret());
        assert_eq!((again.cookie(), again.binding()), (one.cookie(), one.binding()));
        assert_ne!(later.cookie().0, one.cookie().0);

        let (state, cookie) = (one.state().expose_secret().to_owned(), one.cookie().1);
        assert_eq!((token.len(), state.len(), cookie.len()), (51, 51, 43));
        assert_eq!(token[..8], state[..8], "the time");
        assert_ne!(token[8..], state[8..]);
        let by_state = Confirmation::from_token(&state).unwrap();
        assert_ne!(by_state.state().expose_secret(), state, "the state opens no page");
        let digests = [&one, &later].map(|of| state_digest(of.state().expose_secret()));
        assert!(digests[0].as_bytes() < digests[1].as_bytes(), "digests sort by time");
        assert_eq!(format!("{one:?}"), "Confirmation");
        for wrong in ["", "x", &token[1..], &cookie, &format!("{token}=")] {
            assert!(Confirmation::from_token(wrong).is_none(), "{wrong}");
        }
    }
}
