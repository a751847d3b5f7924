//! Data keys and their wrapped form.
//!
//! A data key is 32 random bytes that are never used directly: HKDF-SHA256 derives the key that seals, the one that
//! authenticates rows, and a check value that recognises it. The wrapped form is `version, nonce (24), ciphertext and
//! tag (48)`, encrypted with a key derived from the keyring's key, and bound to the database and to both key ids.
//!
//! The version is authenticated too, and says what the key is good for: 0x03 opens values of the present version only;
//! 0x02, from a database of an earlier release, also lets flows and links be taken that were never authenticated; 0x01
//! opens values of version 0x01 as well, and lets access keys be taken that were never authenticated. So who can only
//! write to the database cannot bring such values back, as long as they have no copy of the key's old wrapped form.
//! `postpeer keyring rewrap --new-key`, and the end of the old key, makes such a copy useless.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keyring::KeyBytes;
use super::locked::Locked;
use super::seal::length_prefixed;
use crate::domain::entropy::Entropy;
use crate::domain::keyring::KeyScope;

/// An unwrapped data key. Wiped when dropped.
pub(super) struct DataKey {
    keys: Locked<Derived>,
    check_value: [u8; 32],
    scope: KeyScope,
}

struct Derived {
    cipher: XChaCha20Poly1305,
    mac: Zeroizing<[u8; 32]>,
}

impl DataKey {
    pub(super) fn derive(bytes: &[u8; 32], scope: KeyScope) -> Self {
        let cipher = XChaCha20Poly1305::new((&*derive(bytes, b"seal/v1")).into());
        let keys = Locked::new(Derived { cipher, mac: derive(bytes, b"mac/v1") });
        Self { keys, check_value: *derive(bytes, b"check/v1"), scope }
    }

    /// True while stored values may have the version that is bound to no owner.
    pub(super) fn opens_first_version(&self) -> bool {
        self.scope == KeyScope::WithFirstVersion
    }

    pub(super) fn scope(&self) -> KeyScope {
        self.scope
    }

    /// The authentication code of `message`: HKDF-Expand, which is HMAC-SHA256 of it.
    pub(super) fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut code = [0_u8; 32];
        Hkdf::<Sha256>::from_prk(self.keys.mac.as_ref())
            .expect("the key has the length of a hash")
            .expand(message, &mut code)
            .expect("HKDF-SHA256 can give 32 bytes");
        code
    }

    pub(super) fn cipher(&self) -> &XChaCha20Poly1305 {
        &self.keys.cipher
    }

    pub(super) fn check_value(&self) -> &[u8; 32] {
        &self.check_value
    }

    pub(super) fn matches(&self, check_value: &[u8]) -> bool {
        self.check_value.as_slice().ct_eq(check_value).into()
    }
}

/// Derives 32 bytes for `label` by HKDF-SHA256 without salt.
pub(super) fn derive(bytes: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0_u8; 32]);
    Hkdf::<Sha256>::new(None, bytes).expand(label, derived.as_mut()).expect("HKDF-SHA256 can give 32 bytes");
    derived
}

pub(super) fn wrap(
    kek: &KeyBytes,
    kek_id: &str,
    db: Uuid,
    dek_id: u32,
    (bytes, scope): (&[u8; 32], KeyScope),
    entropy: &dyn Entropy,
) -> Vec<u8> {
    let mut nonce = [0_u8; 24];
    entropy.fill(&mut nonce);
    let mut buffer = Vec::with_capacity(bytes.len() + 16);
    buffer.extend_from_slice(bytes);
    wrapping_cipher(kek)
        .encrypt_in_place(&XNonce::from(nonce), &context(scope, kek_id, db, dek_id), &mut buffer)
        .expect("the cipher can encrypt 32 bytes");
    [&[scope.version()], nonce.as_slice(), &buffer].concat()
}

/// A data key's bytes, and what it is good for.
pub(super) type Unwrapped = (Zeroizing<[u8; 32]>, KeyScope);

/// `None` when the key is wrong, or the blob is bound to another database or key id.
pub(super) fn unwrap(kek: &KeyBytes, kek_id: &str, db: Uuid, dek_id: u32, blob: &[u8]) -> Option<Unwrapped> {
    let (&version, rest) = blob.split_first()?;
    let scope = KeyScope::of_version(version)?;
    let (nonce, ciphertext) = rest.split_first_chunk::<24>()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    wrapping_cipher(kek)
        .decrypt_in_place(&XNonce::from(*nonce), &context(scope, kek_id, db, dek_id), &mut *buffer)
        .ok()?;
    let mut bytes = Zeroizing::new([0_u8; 32]);
    if buffer.len() != bytes.len() {
        return None;
    }
    bytes.copy_from_slice(&buffer);
    Some((bytes, scope))
}

fn wrapping_cipher(kek: &KeyBytes) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*derive(kek.bytes(), b"wrap/v1")).into())
}

fn context(scope: KeyScope, kek_id: &str, db: Uuid, dek_id: u32) -> Vec<u8> {
    length_prefixed(&[b"broker-wrap", &[scope.version()], &dek_id.to_be_bytes(), db.as_bytes(), kek_id.as_bytes()])
}
