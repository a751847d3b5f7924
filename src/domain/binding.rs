//! Which browser may finish a flow.
//!
//! Whoever begins a connection can send its URL to somebody else, who then connects an account of theirs for the wrong
//! person. State and PKCE do not help, because one browser makes the whole way. A flow that is bound ends only in a
//! browser that has a cookie of the right person.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use secrecy::ExposeSecret as _;

use super::entropy::Entropy;
use super::secret::{Digest256, SecretString, random_token};

/// The cookie that a caller's app sets for the broker, from a sibling domain.
pub const APP_COOKIE: &str = "__Secure-postpeer-binding";

/// Start of the names of the broker's own cookies, after a prefix that says who may set them.
pub const OWN_COOKIE: &str = "postpeer-connect-";

/// The proof that a browser needs to finish a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Binding {
    /// Nothing.
    #[default]
    None,
    /// An [`APP_COOKIE`] with a value of this digest, and none with another value.
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

/// Letters of a cookie's value that are in its name, so that connections do not overwrite each other's.
pub(super) const NAMED: usize = 8;

/// Parts the random half of a [`LinkCookie`] from the link's token.
const PARTS: char = '.';

/// The cookie of a browser in which somebody set out from a connect link's page. It also holds the link's token, which
/// is nowhere else, so that they find back to the page.
pub struct LinkCookie {
    name: String,
    value: SecretString,
}

impl LinkCookie {
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the browser that gets the cookie came with the token")]
    pub fn new(token: &SecretString, entropy: &dyn Entropy) -> Self {
        let random = random_token(entropy);
        let random = random.expose_secret();
        let name = format!("{OWN_COOKIE}{}", random.get(..NAMED).unwrap_or_default());
        Self { name, value: SecretString::from(format!("{random}{PARTS}{}", token.expose_secret())) }
    }

    /// Name (without a prefix) and value.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the value is for the browser")]
    pub fn into_parts(self) -> (String, String) {
        (self.name, self.value.expose_secret().to_owned())
    }

    /// The binding of the connection.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "hashing is how a cookie is stored and compared")]
    pub fn binding(&self) -> Binding {
        Binding::Confirmed(Digest256::of(self.value.expose_secret().as_bytes()))
    }
}

/// The cookies that a browser sent, of those that flows are bound to: digests of their values. There may be several
/// of a name, for other paths and domains.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    pub app: Vec<Digest256>,
    pub confirmed: Vec<Digest256>,
    /// The tokens in [link cookies](LinkCookie).
    links: Vec<SecretString>,
}

impl Browser {
    /// Adds a cookie of the broker's own.
    pub fn add_own(&mut self, value: &str) {
        self.confirmed.push(Digest256::of(value.as_bytes()));
        if let Some((_, token)) = value.split_once(PARTS) {
            self.links.push(SecretString::from(token));
        }
    }

    /// The token of the link with this digest, if somebody set out from its page in this browser.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "tokens are told apart by their digests")]
    pub fn link_token(&self, digest: &Digest256) -> Option<&SecretString> {
        self.links.iter().find(|token| Digest256::of(token.expose_secret().as_bytes()) == *digest)
    }

    /// True when this browser may finish a flow with this binding.
    #[must_use]
    pub fn may_finish(&self, binding: &Binding) -> bool {
        match binding {
            Binding::None => true,
            // Another host of the site may have set one of several.
            Binding::App(digest) => !self.app.is_empty() && self.app.iter().all(|app| app == digest),
            Binding::Confirmed(digest) => self.confirmed.contains(digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entropy::SeededEntropy;

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
    fn a_link_cookie_binds_one_connection_and_leads_back_to_its_link() {
        let entropy = SeededEntropy::new(1);
        let (token, other) = (random_token(&entropy), random_token(&entropy));
        let digest = |token: &SecretString| {
            #[expect(clippy::disallowed_methods, reason = "the test compares it")]
            Digest256::of(token.expose_secret().as_bytes())
        };
        let [one, two] = [0, 1].map(|_| LinkCookie::new(&token, &entropy));
        let (first, second) = (one.binding(), two.binding());
        let (name, value) = one.into_parts();
        assert_eq!((name.len(), value.len()), (OWN_COOKIE.len() + NAMED, 43 + 1 + 43));
        assert!(value.starts_with(&name[OWN_COOKIE.len()..]));
        let mut browser = Browser::default();
        browser.add_own(&value);
        browser.add_own("cookie-of-a-confirmation");
        assert!(browser.may_finish(&first) && !browser.may_finish(&second));
        assert!(browser.link_token(&digest(&token)).is_some() && browser.link_token(&digest(&other)).is_none());
    }

    #[test]
    fn only_a_browser_with_the_cookie_finishes_a_bound_flow() {
        let [one, other] = [b"one", b"two"].map(|value| Digest256::of(value));
        for (cookies, of_app, may) in [
            (&[][..], false, false),
            (&[other], false, false),
            (&[one], true, true),
            (&[one, one], true, true),
            // A contradiction; only the broker itself sets the others.
            (&[other, one], false, true),
        ] {
            let app = Browser { app: cookies.to_vec(), ..Browser::default() };
            let confirmed = Browser { confirmed: cookies.to_vec(), ..Browser::default() };
            assert_eq!(app.may_finish(&Binding::App(one)), of_app, "{cookies:?}");
            assert_eq!(confirmed.may_finish(&Binding::Confirmed(one)), may, "{cookies:?}");
            assert!(!app.may_finish(&Binding::Confirmed(one)) && !confirmed.may_finish(&Binding::App(one)));
            assert!(app.may_finish(&Binding::None));
        }
    }
}
