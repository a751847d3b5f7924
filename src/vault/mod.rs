//! Sealing and opening of secrets: the only room that turns plaintext into ciphertext and back.
//!
//! **Two levels of keys.** The keys in the keyring file only wrap data keys. The data keys are stored wrapped in the
//! database, and only they seal values. So replacing a leaked keyring key means re-wrapping a few rows, and a new data
//! key can be introduced while old values still open with the old one.
//!
//! **Binding.** A sealed value is bound to its [`Place`]: database, table, column, row and generation are
//! authenticated with it, and so are version and key id. Someone who can write to the database file can neither move a
//! value to another row nor bring an older value back. See [`seal`] for the layout.
//!
//! Invariant: a value is opened with the key that it names. Keys are never tried in turn, because XChaCha20-Poly1305
//! does not commit to its key.

mod consents;
mod data_key;
pub mod keyring;
mod place;
mod seal;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::entropy::Entropy;
use crate::domain::grant::TokenSet;
use crate::domain::keyring::{KeyState, WrappedKey};
use crate::domain::secret::Sealed;
use crate::domain::selection::Consent;
use data_key::DataKey;
pub use keyring::{KeyringError, KeyringFile};
pub use place::Place;

/// Seals values and opens them in the place that they were sealed for. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    db: Uuid,
    entropy: Arc<dyn Entropy>,
    /// Id of the key that seals; always in `keys`.
    active: u32,
    keys: BTreeMap<u32, DataKey>,
}

impl Vault {
    /// Creates the first data key of a new database.
    pub fn initialise(keyring: &KeyringFile, db: Uuid, entropy: Arc<dyn Entropy>) -> Result<(Self, WrappedKey), Error> {
        const FIRST: u32 = 1;
        let (wrapped_by, kek) = keyring.active();
        let mut bytes = Zeroizing::new([0_u8; 32]);
        entropy.fill(bytes.as_mut());
        let key = DataKey::derive(&bytes);
        let wrapped = WrappedKey {
            dek_id: FIRST,
            wrapped_by: wrapped_by.to_owned(),
            blob: data_key::wrap(kek, wrapped_by, db, FIRST, &bytes, entropy.as_ref()),
            check_value: key.check_value().to_vec(),
            state: KeyState::Active,
        };
        let keys = BTreeMap::from([(FIRST, key)]);
        Ok((Self(Arc::new(Inner { db, entropy, active: FIRST, keys })), wrapped))
    }

    /// Unwraps all data keys of a database.
    ///
    /// # Errors
    ///
    /// [`Error::WrongKeyring`] when the keyring lacks a wrapping key, or has another key under its id.
    pub fn unlock(
        keyring: &KeyringFile,
        db: Uuid,
        wrapped: &[WrappedKey],
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        let mut keys = BTreeMap::new();
        for wrapped in wrapped {
            let key = keyring
                .get(&wrapped.wrapped_by)
                .and_then(|kek| data_key::unwrap(kek, &wrapped.wrapped_by, db, wrapped.dek_id, &wrapped.blob))
                .map(|bytes| DataKey::derive(&bytes))
                .filter(|key| key.matches(&wrapped.check_value))
                .ok_or_else(|| Error::WrongKeyring {
                    expected: wrapped.wrapped_by.clone(),
                    found: keyring.ids().collect::<Vec<_>>().join(", "),
                })?;
            keys.insert(wrapped.dek_id, key);
        }
        let active =
            wrapped.iter().find(|key| key.state == KeyState::Active).map(|key| key.dek_id).ok_or(Error::NoActiveKey)?;
        Ok(Self(Arc::new(Inner { db, entropy, active, keys })))
    }

    /// Id of the data key that seals new values.
    #[must_use]
    pub fn active_key(&self) -> u32 {
        self.0.active
    }

    #[expect(clippy::disallowed_methods, reason = "sealing needs the plaintext")]
    pub fn seal_text(&self, place: &Place, secret: &SecretString) -> Result<Sealed, Error> {
        self.seal(place, seal::buffer(secret.expose_secret().as_bytes()))
    }

    pub fn open_text(&self, place: &Place, sealed: &Sealed) -> Result<SecretString, Error> {
        let plain = self.open(place, sealed)?;
        std::str::from_utf8(&plain).map(SecretString::from).map_err(|_| Error::unreadable(place))
    }

    /// Seals a token set as one value.
    pub fn seal_tokens(&self, place: &Place, tokens: &TokenSet) -> Result<Sealed, Error> {
        let plain =
            tokens::write(tokens).map_err(|_| Error::Unsealable { table: place.table, column: place.column })?;
        self.seal(place, plain)
    }

    pub fn open_tokens(&self, place: &Place, sealed: &Sealed) -> Result<TokenSet, Error> {
        let plain = self.open(place, sealed)?;
        tokens::read(&plain).ok_or_else(|| Error::unreadable(place))
    }

    /// Seals a platform's answer, unparsed.
    pub fn seal_answer(&self, place: &Place, answer: &[u8]) -> Result<Sealed, Error> {
        self.seal(place, seal::buffer(answer))
    }

    pub fn open_answer(&self, place: &Place, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.open(place, sealed)
    }

    /// Seals a consent with the tokens of its accounts, as one value.
    pub fn seal_consent(&self, place: &Place, consent: &Consent) -> Result<Sealed, Error> {
        let plain = consents::write(consent, seal::TAG)
            .map_err(|_| Error::Unsealable { table: place.table, column: place.column })?;
        self.seal(place, plain)
    }

    pub fn open_consent(&self, place: &Place, sealed: &Sealed) -> Result<Consent, Error> {
        let plain = self.open(place, sealed)?;
        consents::read(&plain).ok_or_else(|| Error::unreadable(place))
    }

    fn seal(&self, place: &Place, plain: Zeroizing<Vec<u8>>) -> Result<Sealed, Error> {
        let inner = &self.0;
        let key = inner.keys.get(&inner.active).ok_or(Error::NoActiveKey)?;
        seal::seal(key, inner.active, inner.db, place, plain, inner.entropy.as_ref())
    }

    fn open(&self, place: &Place, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Error> {
        seal::open(|dek_id| self.0.keys.get(&dek_id), self.0.db, place, sealed)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// Why a value was not sealed or not opened. Messages name places, never content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the database has no active data key: it is damaged, restore a backup")]
    NoActiveKey,
    #[error(
        "the sealed value in {table}.{column} was rejected: it was changed or truncated, or belongs to another row, \
         generation or database"
    )]
    Rejected { table: &'static str, column: &'static str },
    #[error("the sealed value in {table}.{column} names data key {dek_id}, which this database does not have")]
    UnknownKey { table: &'static str, column: &'static str, dek_id: u32 },
    #[error(
        "the sealed value in {table}.{column} has version {version}, which this version of postpeer does not know: \
         was it written by a newer one?"
    )]
    UnknownVersion { table: &'static str, column: &'static str, version: u8 },
    #[error("the sealed value in {table}.{column} opened, but its content is not valid")]
    Unreadable { table: &'static str, column: &'static str },
    #[error("a value for {table}.{column} could not be sealed: it is too large")]
    Unsealable { table: &'static str, column: &'static str },
    #[error(
        "the keyring does not belong to the database: the database needs key {expected}, the keyring file has {found}. \
         Restore the keyring file that was created together with this database (keyring.path). Nothing was changed"
    )]
    WrongKeyring { expected: String, found: String },
}

impl Error {
    fn unreadable(place: &Place) -> Self {
        Self::Unreadable { table: place.table, column: place.column }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests compare opened values with what was sealed")]
mod tests;
