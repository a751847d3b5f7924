//! The recovery key: a key pair whose secret half lies in a file that the operator keeps offline. Each data key is also
//! wrapped for its public half, which any rotation can do without the file.
//!
//! ```text
//! # comment
//! r1b2c4d6e8f0a1b3:<32 bytes in base64url>
//! ```
//!
//! A wrap for it is `ephemeral X25519 public key (32), wrapped key`. The latter is wrapped as for a keyring, with a key
//! derived from the shared secret and both public keys.

use std::fmt;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

use super::data_key::Unwrapped;
use super::keyring::{KeyBytes, KeyringError};
use super::seal::length_prefixed;
use super::{data_key, private_file};
use crate::domain::entropy::Entropy;
use crate::domain::keyring::KeyScope;

/// The whole key pair, as the operator's file holds it.
pub struct RecoveryKey(KeyBytes);

/// The public half. Whoever could replace it would read every data key from then on.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryPublicKey([u8; 32]);

impl RecoveryKey {
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(KeyBytes::random(entropy))
    }

    #[must_use]
    pub fn public(&self) -> RecoveryPublicKey {
        RecoveryPublicKey(PublicKey::from(&self.secret()).to_bytes())
    }

    /// Writes a new file with mode 0600, durably. Never overwrites.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyringError> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(
            "# The recovery key. With it and the database, `postpeer keyring recover FILE` makes a new keyring file when the\n\
             # old one is lost. The broker never needs it: keep it offline, apart from the database and its backups.\n",
        );
        text.push_str(&self.public().id());
        text.push(':');
        self.0.write(&mut text);
        text.push('\n');
        private_file::write_new(path, &text)
    }

    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let text = private_file::read(path, KeyringError::RecoveryKeyMissing { path: path.to_owned() })?;
        let malformed = |line, why| KeyringError::Malformed { path: path.to_owned(), line, why };
        let text = std::str::from_utf8(&text).map_err(|_| malformed(1, "the file is not text"))?;
        let mut lines = (1..).zip(text.lines().map(str::trim));
        let (line, (id, value)) = lines
            .find(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .and_then(|(number, line)| Some((number, line.split_once(':')?)))
            .ok_or(malformed(1, "there is no line `id:key`"))?;
        let key = KeyBytes::parse(value).map(Self).ok_or(malformed(line, "the key is not 32 bytes in base64url"))?;
        if key.public().id() != id {
            return Err(if key.0.id() == id {
                KeyringError::NotARecoveryKey { path: path.to_owned() }
            } else {
                malformed(line, "the key and its id do not belong together: one of them was changed")
            });
        }
        Ok(key)
    }

    fn secret(&self) -> StaticSecret {
        StaticSecret::from(*self.0.bytes())
    }

    /// `None` when the wrap is for another recovery key, database or data key.
    pub(super) fn unwrap(&self, db: Uuid, dek_id: u32, blob: &[u8]) -> Option<Unwrapped> {
        let (ephemeral, wrapped) = blob.split_first_chunk::<32>()?;
        let public = self.public();
        let shared = self.secret().diffie_hellman(&PublicKey::from(*ephemeral));
        data_key::unwrap(&wrapping_key(&shared, ephemeral, &public)?, &public.id(), db, dek_id, wrapped)
    }
}

impl RecoveryPublicKey {
    #[must_use]
    pub fn id(&self) -> String {
        format!("r1{:.14}", hex::encode(Sha256::digest(length_prefixed(&[b"recovery-id", &self.0]))))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// `None` for a public key that no secret key has.
    pub(super) fn wrap(
        &self,
        db: Uuid,
        dek_id: u32,
        key: (&[u8; 32], KeyScope),
        entropy: &dyn Entropy,
    ) -> Option<Vec<u8>> {
        let ephemeral = StaticSecret::from(*KeyBytes::random(entropy).bytes());
        let public = PublicKey::from(&ephemeral).to_bytes();
        let by = wrapping_key(&ephemeral.diffie_hellman(&PublicKey::from(self.0)), &public, self)?;
        Some([public.as_slice(), &data_key::wrap(&by, &self.id(), db, dek_id, key, entropy)].concat())
    }
}

/// `None` when the shared secret is known to everybody.
fn wrapping_key(shared: &SharedSecret, ephemeral: &[u8; 32], recovery: &RecoveryPublicKey) -> Option<KeyBytes> {
    let label = [b"recovery/v1".as_slice(), ephemeral, &recovery.0].concat();
    shared.was_contributory().then(|| KeyBytes::of(data_key::derive(shared.as_bytes(), &label)))
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryKey({})", self.public().id())
    }
}

impl fmt::Debug for RecoveryPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryPublicKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::entropy::SeededEntropy;

    const DB: Uuid = Uuid::from_u128(1);

    #[test]
    fn a_wrap_opens_with_its_recovery_key_in_its_place_only() {
        let entropy = SeededEntropy::new(1);
        let [key, other] = [0; 2].map(|_| RecoveryKey::generate(&entropy));
        let blob = key.public().wrap(DB, 3, (&[7; 32], KeyScope::Bound), &entropy).unwrap();
        let (bytes, scope) = key.unwrap(DB, 3, &blob).unwrap();
        assert_eq!((*bytes, scope), ([7; 32], KeyScope::Bound));
        assert!(other.unwrap(DB, 3, &blob).is_none());
        assert!(key.unwrap(Uuid::from_u128(2), 3, &blob).is_none());
        assert!(key.unwrap(DB, 4, &blob).is_none());
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 1;
            assert!(key.unwrap(DB, 3, &changed).is_none(), "byte {at}");
            assert!(key.unwrap(DB, 3, &blob[..at]).is_none(), "{at} bytes");
        }
        assert_ne!(key.public().wrap(DB, 3, (&[7; 32], KeyScope::Bound), &entropy).unwrap(), blob);
    }

    #[test]
    fn a_public_key_of_small_order_is_refused() {
        assert!(RecoveryPublicKey([0; 32]).wrap(DB, 1, (&[7; 32], KeyScope::Bound), &SeededEntropy::new(1)).is_none());
    }

    #[test]
    fn a_written_file_is_private_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recovery");
        let key = RecoveryKey::generate(&SeededEntropy::new(1));
        key.write_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(RecoveryKey::load(&path).unwrap().public(), key.public());
        assert!(matches!(key.write_new(&path), Err(KeyringError::AlreadyExists { .. })));

        let text = fs::read_to_string(&path).unwrap();
        let line = text.lines().last().unwrap();
        let (id, value) = line.split_once(':').unwrap();
        for bad in [String::new(), "# x\n".to_owned(), value.to_owned(), format!("k1{id}:{value}"), format!("{line}AA")]
        {
            fs::write(&path, &bad).unwrap();
            let error = RecoveryKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyringError::Malformed { .. }), "{bad}: {error:?}");
            assert!(!error.to_string().contains(value));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(RecoveryKey::load(&path), Err(KeyringError::Exposed { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(RecoveryKey::load(&path), Err(KeyringError::RecoveryKeyMissing { .. })));
    }
}
