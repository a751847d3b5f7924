//! Sealing and opening of secrets: the only room that turns plaintext into ciphertext and back.
//!
//! **Two levels of keys.** The keys in the keyring file only wrap data keys. The data keys are stored wrapped in the
//!   database, and only they seal values. So replacing a leaked keyring key means re-wrapping a few rows, and a new
//!   data key can be introduced while old values still open with the old one. [`wrapping`] makes and re-wraps data
//!   keys. With a [`RecoveryKey`], each one is also wrapped for a key that is kept offline.
//!
//! **Binding.** A sealed value is bound to its [`Place`]: database, table, column, row, generation and [`Owner`] are
//!   authenticated with it, and so are version and key id. Someone who can write to the database file, and has no key,
//!   can move no value to another row, project, platform or app. Whoever puts a whole row back as it was, its
//!   generation included, does what a restore does: `broker::generations` notices that only while the broker runs. See
//!   [`seal`] for the layout. Rows that hold no secret, and decide who gets one, carry an authentication code: see
//!   [`Vault::mac`].
//!
//! Invariant: a value is opened with the key that it names. Keys are never tried in turn, because XChaCha20-Poly1305
//! does not commit to its key.

mod consents;
mod data_key;
pub mod keyring;
mod locked;
mod place;
mod private_file;
mod recovery;
mod seal;
mod tokens;
mod wrapping;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::entropy::Entropy;
use crate::domain::grant::TokenSet;
use crate::domain::keyring::{KeyScope, KeyState, WrappedKey};
use crate::domain::secret::{RowMac, Sealed};
use crate::domain::selection::Consent;
use data_key::DataKey;
pub use keyring::{KeyringError, KeyringFile};
pub use place::{Owner, Place};
pub use recovery::{RecoveryKey, RecoveryPublicKey};
pub use wrapping::recover;

/// Seals values and opens them in the place that they were sealed for. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    db: Uuid,
    entropy: Arc<dyn Entropy>,
    /// Locked for as long as one value takes, about a microsecond. Changed only when the database's keys are.
    keys: RwLock<Keys>,
}

struct Keys {
    /// Id of the key that seals; always in `by_id`.
    active: u32,
    /// A key is wiped when it is dropped. Shared only with the map that replaces this one.
    by_id: BTreeMap<u32, Arc<DataKey>>,
}

impl Keys {
    /// Unwraps the keys, or takes those that are known already.
    fn unwrap(keyring: &KeyringFile, db: Uuid, wrapped: &[WrappedKey], known: Option<&Self>) -> Result<Self, Error> {
        let mut by_id = BTreeMap::new();
        for wrapped in wrapped {
            let known = known.and_then(|keys| keys.by_id.get(&wrapped.dek_id));
            let is_known =
                |key: &&Arc<DataKey>| key.matches(&wrapped.check_value) && Some(key.scope()) == wrapped.scope();
            let key = if let Some(known) = known.filter(is_known) {
                known.clone()
            } else {
                let (bytes, scope) = wrapping::unwrap(keyring, db, wrapped)?;
                Arc::new(DataKey::derive(&bytes, scope))
            };
            by_id.insert(wrapped.dek_id, key);
        }
        let active =
            wrapped.iter().find(|key| key.state == KeyState::Active).map(|key| key.dek_id).ok_or(Error::NoActiveKey)?;
        Ok(Self { active, by_id })
    }
}

impl Vault {
    /// Creates the first data key of a new database.
    pub fn initialise(keyring: &KeyringFile, db: Uuid, entropy: Arc<dyn Entropy>) -> Result<(Self, WrappedKey), Error> {
        Self::begin(keyring, db, 1, entropy)
    }

    /// Creates the only data key of a database that has no value yet, or none any more. No id is used twice.
    pub fn begin(
        keyring: &KeyringFile,
        db: Uuid,
        dek_id: u32,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(Self, WrappedKey), Error> {
        let (bytes, wrapped) = wrapping::generate(keyring, db, dek_id, KeyState::Active, &*entropy);
        let by_id = BTreeMap::from([(dek_id, Arc::new(DataKey::derive(&bytes, KeyScope::Bound)))]);
        Ok((Self::over(db, entropy, Keys { active: dek_id, by_id }), wrapped))
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
        let keys = Keys::unwrap(keyring, db, wrapped, None)?;
        Ok(Self::over(db, entropy, keys))
    }

    fn over(db: Uuid, entropy: Arc<dyn Entropy>, keys: Keys) -> Self {
        Self(Arc::new(Inner { db, entropy, keys: RwLock::new(keys) }))
    }

    /// True when these are the keys that it has, with the same one active.
    #[must_use]
    pub fn has(&self, wrapped: &[WrappedKey]) -> bool {
        let keys = self.keys();
        let stored = wrapped.iter().map(|key| (key.dek_id, key.scope()));
        stored.eq(keys.by_id.iter().map(|(id, key)| (*id, Some(key.scope()))))
            && wrapped.iter().any(|key| key.dek_id == keys.active && key.state == KeyState::Active)
    }

    /// Takes these keys, all that the database has, in place of those that it has. From then on it seals with the one
    /// that is active now.
    ///
    /// # Errors
    ///
    /// Those of [`unlock`](Self::unlock); the keys stay as they are.
    pub fn adopt(&self, keyring: &KeyringFile, wrapped: &[WrappedKey]) -> Result<(), Error> {
        let adopted = Keys::unwrap(keyring, self.0.db, wrapped, Some(&*self.keys()))?;
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = adopted;
        Ok(())
    }

    /// Id of the data key that seals new values.
    #[must_use]
    pub fn active_key(&self) -> u32 {
        self.keys().active
    }

    /// True while a data key is good for what an earlier release left: values that are bound to no owner, and rows
    /// without an authentication code. [`bind`](Self::bind) ends that.
    #[must_use]
    pub fn takes_first_version(&self) -> bool {
        self.keys().by_id.values().any(|key| key.opens_first_version())
    }

    /// True while a data key is good for flows and links without an authentication code, which an earlier release left.
    #[must_use]
    pub fn takes_old_connections(&self) -> bool {
        self.keys().by_id.values().any(|key| key.scope() != KeyScope::Bound)
    }

    /// The authentication code of a row in this database, with the active key. `parts`: the table and everything that
    /// the row decides by, in a fixed order.
    pub fn mac(&self, parts: &[Vec<u8>]) -> Result<RowMac, Error> {
        let keys = self.keys();
        let key = keys.by_id.get(&keys.active).ok_or(Error::NoActiveKey)?;
        Ok(RowMac { dek_id: keys.active, code: key.mac(&self.message(parts)) })
    }

    /// `None` when the database has no such data key, or this vault does not know it yet.
    #[must_use]
    pub fn is_authentic(&self, parts: &[Vec<u8>], mac: &RowMac) -> Option<bool> {
        let keys = self.keys();
        let expected = keys.by_id.get(&mac.dek_id)?.mac(&self.message(parts));
        Some(expected.ct_eq(&mac.code).into())
    }

    fn message(&self, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut all: Vec<&[u8]> = vec![b"broker-row", self.0.db.as_bytes()];
        all.extend(parts.iter().map(Vec::as_slice));
        seal::length_prefixed(&all)
    }

    /// Seals a value again, with the active key and for the same place.
    pub fn reseal(&self, place: &Place, sealed: &Sealed) -> Result<Sealed, Error> {
        let plain = self.open(place, sealed)?;
        self.seal(place, seal::buffer(&plain))
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
        let plain = tokens::write(tokens).map_err(|_| Error::unsealable(place))?;
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
        let plain = consents::write(consent).map_err(|_| Error::unsealable(place))?;
        self.seal(place, plain)
    }

    pub fn open_consent(&self, place: &Place, sealed: &Sealed) -> Result<Consent, Error> {
        let plain = self.open(place, sealed)?;
        consents::read(&plain).ok_or_else(|| Error::unreadable(place))
    }

    /// Opens a value of whatever kind, and forgets it.
    ///
    /// # Errors
    ///
    /// It does not open.
    pub fn check(&self, place: &Place, sealed: &Sealed) -> Result<(), Error> {
        self.open(place, sealed).map(|_| ())
    }

    fn seal(&self, place: &Place, plain: Zeroizing<Vec<u8>>) -> Result<Sealed, Error> {
        let keys = self.keys();
        let key = keys.by_id.get(&keys.active).ok_or(Error::NoActiveKey)?;
        seal::seal(key, keys.active, self.0.db, place, plain, self.0.entropy.as_ref())
    }

    fn open(&self, place: &Place, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Error> {
        let keys = self.keys();
        seal::open(|dek_id| keys.by_id.get(&dek_id).map(|key| &**key), self.0.db, place, sealed)
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner)
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
        "data key {dek_id} is not wrapped for this recovery key ({found}): only the last one that was made for the database \
         opens it (a backup: the last one before it was taken), and without one it takes the keyring. Nothing was changed"
    )]
    NotRecoverable { dek_id: u32, found: String },
    #[error(
        "the sealed value in {table}.{column} of row {row} has a form that only earlier releases wrote, and this database \
         has none of those left: somebody put an old copy in its place"
    )]
    Outdated { table: &'static str, column: &'static str, row: Box<str> },
    #[error(
        "the sealed value in {table}.{column} was rejected, in row {row}: it was changed or truncated, or belongs to another \
         row, generation, project, platform, app or database"
    )]
    Rejected { table: &'static str, column: &'static str, row: Box<str> },
    #[error(
        "the sealed value in {table}.{column} of row {row} names data key {dek_id}, which this database does not have"
    )]
    UnknownKey { table: &'static str, column: &'static str, row: Box<str>, dek_id: u32 },
    #[error(
        "the sealed value in {table}.{column} of row {row} has version {version}, which this version of postpeer does not \
         know: was it written by a newer one?"
    )]
    UnknownVersion { table: &'static str, column: &'static str, row: Box<str>, version: u8 },
    #[error("the sealed value in {table}.{column} of row {row} opened, but its content is not valid")]
    Unreadable { table: &'static str, column: &'static str, row: Box<str> },
    #[error("a value for {table}.{column} could not be sealed: it is too large")]
    Unsealable { table: &'static str, column: &'static str },
    #[error(
        "the sealed value in {table}.{column} was rejected, in row {row}: it is older than one that this process has used \
         (generation {used}), so somebody put the row back while the broker ran"
    )]
    WentBack { table: &'static str, column: &'static str, row: Box<str>, used: u64 },
    #[error(
        "the keyring does not belong to the database: the database needs key {expected}, the keyring file has {found}. \
         Restore the keyring file that belongs to this database (keyring.path). With its recovery key instead, move this \
         keyring away, and run `postpeer keyring recover FILE`. Nothing was changed"
    )]
    WrongKeyring { expected: String, found: String },
}

impl Error {
    fn unreadable(place: &Place) -> Self {
        Self::Unreadable { table: place.table, column: place.column, row: place.row.as_str().into() }
    }

    fn unsealable(place: &Place) -> Self {
        Self::Unsealable { table: place.table, column: place.column }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests compare opened values with what was sealed")]
mod tests;
