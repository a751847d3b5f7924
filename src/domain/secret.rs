//! Secrets in memory, and the forms in which they may be stored.
//!
//! Plaintext lives in [`SecretString`] (zeroed on drop, hidden in `Debug`), ciphertext in [`Sealed`]. Only `vault`
//! turns one into the other. Secrets that are only compared are stored as a [`Digest256`].

use std::fmt;
use std::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::entropy::Entropy;

/// Ciphertext as `vault` wrote it: version, key id, nonce, ciphertext and tag. Other rooms read the key id at most.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Id of the data key that it is sealed with; `None` when the bytes are too short for a sealed value.
    #[must_use]
    pub fn dek_id(&self) -> Option<u32> {
        let (_version, rest) = self.0.split_first()?;
        rest.first_chunk().copied().map(u32::from_be_bytes)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// Authentication code of a row, with the data key that made it. It proves that the broker wrote the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMac {
    pub dek_id: u32,
    pub code: [u8; 32],
}

/// SHA-256 of a high-entropy secret. It recognises the secret, and is useless to someone who steals the database.
#[derive(Clone, Copy)]
pub struct Digest256([u8; 32]);

impl Digest256 {
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        // It holds the end of the secret, and is wiped when it is dropped: so it must not move.
        let mut hasher = Sha256::new();
        hasher.update(secret);
        Self(hasher.finalize_reset().into())
    }

    /// A digest that begins with `time` in place of its first 48 bits, so that digests sort by it. 208 bits recognise
    /// the secret as well.
    #[must_use]
    pub fn timed(time: [u8; 6], secret: &[u8]) -> Self {
        let mut digest = Self::of(secret);
        digest.0.iter_mut().zip(time).for_each(|(to, from)| *to = from);
        digest
    }

    /// `None` unless there are 32 bytes.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In constant time.
impl PartialEq for Digest256 {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest256 {}

impl Hash for Digest256 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Digest256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest256")
    }
}

/// 256 random bits in base64url (43 characters): a PKCE verifier, the token of a selection, a link or a session.
#[must_use]
pub fn random_token(entropy: &dyn Entropy) -> SecretString {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    entropy.fill(bytes.as_mut());
    SecretString::from(URL_SAFE_NO_PAD.encode(bytes.as_ref()))
}
