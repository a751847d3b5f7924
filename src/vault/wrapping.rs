//! Data keys in their wrapped form: new ones, and old ones wrapped anew.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::data_key::{self, DataKey, Unwrapped};
use super::keyring::KeyringFile;
use super::recovery::{RecoveryKey, RecoveryPublicKey};
use super::{Error, Place, Vault, seal};
use crate::domain::entropy::Entropy;
use crate::domain::keyring::{KeyScope, KeyState, RecoveryWrap, WrappedKey};
use crate::domain::secret::Sealed;

/// A new data key, with its wrapped form.
pub(super) fn generate(
    keyring: &KeyringFile,
    db: Uuid,
    dek_id: u32,
    state: KeyState,
    entropy: &dyn Entropy,
) -> (Zeroizing<[u8; 32]>, WrappedKey) {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    entropy.fill(bytes.as_mut());
    let wrapped = wrap(keyring, db, (dek_id, state), (&bytes, KeyScope::Bound), entropy);
    (bytes, wrapped)
}

/// Wraps a data key with the keyring's active key.
fn wrap(
    keyring: &KeyringFile,
    db: Uuid,
    (dek_id, state): (u32, KeyState),
    (bytes, scope): (&[u8; 32], KeyScope),
    entropy: &dyn Entropy,
) -> WrappedKey {
    let (wrapped_by, kek) = keyring.active();
    WrappedKey {
        dek_id,
        wrapped_by: wrapped_by.to_owned(),
        blob: data_key::wrap(kek, wrapped_by, db, dek_id, (bytes, scope), entropy),
        check_value: DataKey::derive(bytes, scope).check_value().to_vec(),
        state,
    }
}

pub(super) fn unwrap(keyring: &KeyringFile, db: Uuid, wrapped: &WrappedKey) -> Result<Unwrapped, Error> {
    keyring
        .get(&wrapped.wrapped_by)
        .and_then(|kek| data_key::unwrap(kek, &wrapped.wrapped_by, db, wrapped.dek_id, &wrapped.blob))
        .filter(|(bytes, scope)| DataKey::derive(bytes, *scope).matches(&wrapped.check_value))
        .ok_or_else(|| Error::WrongKeyring {
            expected: wrapped.wrapped_by.clone(),
            found: keyring.ids().collect::<Vec<_>>().join(", "),
        })
}

impl Vault {
    /// Makes a data key that is not active yet, and wraps it for the recovery key as well, where there is one. Neither
    /// this nor any method below changes what the vault itself has: see [`adopt`](Self::adopt).
    pub fn new_key(
        &self,
        keyring: &KeyringFile,
        dek_id: u32,
        recovery: Option<&RecoveryPublicKey>,
    ) -> Result<(WrappedKey, Option<RecoveryWrap>), Error> {
        let inner = &self.0;
        let (bytes, wrapped) = generate(keyring, inner.db, dek_id, KeyState::Old, &*inner.entropy);
        let key = (&*bytes, KeyScope::Bound);
        let recovery = recovery.map(|recovery| self.wrap_one_for(recovery, dek_id, key)).transpose()?;
        Ok((wrapped, recovery))
    }

    /// Wraps these data keys with the keyring's active key. Returns those that another one wrapped.
    pub fn rewrap(&self, keyring: &KeyringFile, wrapped: &[WrappedKey]) -> Result<Vec<WrappedKey>, Error> {
        let (db, entropy) = (self.0.db, &*self.0.entropy);
        let others = wrapped.iter().filter(|key| key.wrapped_by != keyring.active_id());
        let again = |key: &WrappedKey| {
            let (bytes, scope) = unwrap(keyring, db, key)?;
            Ok(wrap(keyring, db, (key.dek_id, key.state), (&bytes, scope), entropy))
        };
        others.map(again).collect()
    }

    /// Wraps those of these data keys anew that are still good for what an earlier release left: from then on they are not.
    pub fn bind(
        &self,
        keyring: &KeyringFile,
        wrapped: &[WrappedKey],
        recovery: Option<&RecoveryPublicKey>,
    ) -> Result<Vec<(WrappedKey, Option<RecoveryWrap>)>, Error> {
        let (db, entropy) = (self.0.db, &*self.0.entropy);
        let unbound = wrapped.iter().filter(|key| key.scope() != Some(KeyScope::Bound));
        let bound = |key: &WrappedKey| {
            let (bytes, _) = unwrap(keyring, db, key)?;
            let bound = (&*bytes, KeyScope::Bound);
            let wrap = recovery.map(|recovery| self.wrap_one_for(recovery, key.dek_id, bound)).transpose()?;
            Ok((self::wrap(keyring, db, (key.dek_id, key.state), bound, entropy), wrap))
        };
        unbound.map(bound).collect()
    }

    /// Wraps these data keys for a recovery key.
    pub fn wrap_for(
        &self,
        recovery: &RecoveryPublicKey,
        keyring: &KeyringFile,
        wrapped: &[WrappedKey],
    ) -> Result<Vec<RecoveryWrap>, Error> {
        let one = |key: &WrappedKey| {
            let (bytes, scope) = unwrap(keyring, self.0.db, key)?;
            self.wrap_one_for(recovery, key.dek_id, (&bytes, scope))
        };
        wrapped.iter().map(one).collect()
    }

    fn wrap_one_for(
        &self,
        recovery: &RecoveryPublicKey,
        dek_id: u32,
        key: (&[u8; 32], KeyScope),
    ) -> Result<RecoveryWrap, Error> {
        let blob = recovery
            .wrap(self.0.db, dek_id, key, &*self.0.entropy)
            .ok_or_else(|| Error::unreadable(&Place::recovery_key(0)))?;
        Ok(RecoveryWrap { dek_id, recovery_key: recovery.id(), blob })
    }

    /// Seals the public half of a recovery key, so that nobody who can only write to the database can replace it.
    pub fn seal_recovery_key(&self, place: &Place, key: &RecoveryPublicKey) -> Result<Sealed, Error> {
        self.seal(place, seal::buffer(key.as_bytes()))
    }

    pub fn open_recovery_key(&self, place: &Place, sealed: &Sealed) -> Result<RecoveryPublicKey, Error> {
        let plain = self.open(place, sealed)?;
        RecoveryPublicKey::from_bytes(&plain).ok_or_else(|| Error::unreadable(place))
    }
}

/// Wraps the data keys of a database, whose keyring is lost, for a new keyring.
///
/// # Errors
///
/// [`Error::NotRecoverable`] when a data key is not wrapped for this recovery key.
pub fn recover(
    recovery: &RecoveryKey,
    db: Uuid,
    wrapped: &[WrappedKey],
    wraps: &[RecoveryWrap],
    keyring: &KeyringFile,
    entropy: &dyn Entropy,
) -> Result<Vec<WrappedKey>, Error> {
    let one = |key: &WrappedKey| {
        let (bytes, scope) = wraps
            .iter()
            .find(|wrap| wrap.dek_id == key.dek_id)
            .and_then(|wrap| recovery.unwrap(db, key.dek_id, &wrap.blob))
            .filter(|(bytes, scope)| DataKey::derive(bytes, *scope).matches(&key.check_value))
            .ok_or_else(|| Error::NotRecoverable { dek_id: key.dek_id, found: recovery.public().id() })?;
        Ok(wrap(keyring, db, (key.dek_id, key.state), (&bytes, scope), entropy))
    };
    wrapped.iter().map(one).collect()
}
