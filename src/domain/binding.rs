//! Which browser may finish a flow.
//!
//! Whoever begins a connection can send its URL to somebody else, who then connects an account of theirs for the wrong
//! person. State and PKCE do not help, because one browser makes the whole way. A flow that is bound ends only in a
//! browser that has a cookie of the right person.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::Digest256;

/// The cookie that a caller's app sets for the broker, from a sibling domain.
pub const APP_COOKIE: &str = "__Secure-postpeer-binding";

/// What the names of the broker's own cookies begin with, after a prefix that says who may set them.
pub const OWN_COOKIE: &str = "postpeer-connect-";

/// What a browser needs to finish a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Binding {
    /// Nothing.
    #[default]
    None,
    /// An [`APP_COOKIE`] with a value of this digest.
    App(Digest256),
    /// An [`OWN_COOKIE`] with a value of this digest, which whoever [continued](super::confirmation) here has.
    Confirmed(Digest256),
}

impl Binding {
    /// The binding to a cookie of the app, given the digest of its value: SHA-256 in unpadded base64url. `None` when it
    /// is anything else.
    #[must_use]
    pub fn to_app(hash: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(hash).ok()?;
        Digest256::from_stored(&bytes).map(Self::App)
    }

    /// The hash that [`to_app`](Self::to_app) reads, if it was made by that.
    #[must_use]
    pub fn app_hash(&self) -> Option<String> {
        match self {
            Self::App(digest) => Some(URL_SAFE_NO_PAD.encode(digest.as_bytes())),
            Self::Confirmed(_) | Self::None => None,
        }
    }
}

/// The cookies that a browser sent, of those that flows are bound to: digests of their values. There may be several
/// of a name, for other paths and domains.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    pub app: Vec<Digest256>,
    pub confirmed: Vec<Digest256>,
}

impl Browser {
    /// True when this browser may finish a flow with this binding.
    #[must_use]
    pub fn may_finish(&self, binding: &Binding) -> bool {
        match binding {
            Binding::None => true,
            Binding::App(digest) => self.app.contains(digest),
            Binding::Confirmed(digest) => self.confirmed.contains(digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_43_letters_of_base64url() {
        let digest = Digest256::of(b"nonce");
        let hash = URL_SAFE_NO_PAD.encode(digest.as_bytes());
        let binding = Binding::to_app(&hash).unwrap();
        assert_eq!((hash.len(), binding, binding.app_hash()), (43, Binding::App(digest), Some(hash.clone())));
        let padded = format!("{hash}=");
        let standard = "+/".repeat(21) + "+";
        // The last letter has two bits that stand for nothing.
        let loose = format!("{}B", "A".repeat(42));
        let hex = "0".repeat(64);
        for wrong in ["", &hash[1..], &padded, &format!("{hash}A"), &standard, &loose, &hex, &"é".repeat(21)] {
            assert_eq!(Binding::to_app(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_a_browser_with_the_cookie_finishes_a_bound_flow() {
        let [one, other] = [b"one", b"two"].map(|value| Digest256::of(value));
        for (cookies, may) in [(&[][..], false), (&[other], false), (&[one], true), (&[other, one], true)] {
            let app = Browser { app: cookies.to_vec(), ..Browser::default() };
            let confirmed = Browser { confirmed: cookies.to_vec(), ..Browser::default() };
            assert_eq!(app.may_finish(&Binding::App(one)), may, "{cookies:?}");
            assert_eq!(confirmed.may_finish(&Binding::Confirmed(one)), may, "{cookies:?}");
            assert!(!app.may_finish(&Binding::Confirmed(one)) && !confirmed.may_finish(&Binding::App(one)));
            assert!(app.may_finish(&Binding::None));
        }
    }
}
