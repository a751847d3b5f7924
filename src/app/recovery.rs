//! A new keyring file for a database whose own is lost, with the recovery key.
//!
//! The file is written beside its place, the data keys are wrapped for it in one commit, and only then it is put there
//! ([`new_keyring`]). The wraps for the recovery key stay, so a recovery that was cut off is simply repeated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::new_keyring::{self, NewKeyringError};
use super::{Error, Ports, check_exists, check_schema, opens, runtime_here};
use crate::config::Config;
use crate::domain::audit::{Action, By, Entry};
use crate::failpoint;
use crate::store::{self, DatabaseLock, DatabaseUse, OpenError, Store, audit, keyring, recovery};
use crate::vault::{self, KeyringError, KeyringFile, RecoveryKey};

/// Why no keyring file was made. Nothing was changed, but for [`New`](RecoveryError::New).
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    New(#[from] NewKeyringError),
    #[error(
        "there is no database at {}. With this recovery key, restore a backup: `postpeer restore BACKUP --recovery-key FILE` \
         makes the keyring as well",
        path.display()
    )]
    NoDatabase { path: PathBuf },
    #[error("the keyring file {} opens the database: there is nothing to recover", path.display())]
    NotLost { path: PathBuf },
    #[error("the keyring file {} is in the way: it does not open the database. Move it away", path.display())]
    OtherKeyring { path: PathBuf },
    #[error("the database failed")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Vault(#[from] vault::Error),
}

/// Makes a new keyring file, which opens the database from then on. Works beside a running broker, which has its keys
/// in memory. Must not be called from a runtime.
///
/// # Errors
///
/// There is a keyring file; or the recovery key is not this database's; or a file cannot be read or written.
pub fn recover(config: &Config, ports: &Ports, recovery_file: &Path) -> Result<(), Error> {
    let recovery_key = RecoveryKey::load(recovery_file).map_err(RecoveryError::from)?;
    check_exists(&config.database).map_err(|error| match error {
        OpenError::Missing { path } => RecoveryError::NoDatabase { path }.into(),
        other => Error::from(other),
    })?;
    let _use = DatabaseUse::share(&config.database)?;
    let inspection = store::inspect(&config.database)?;
    let keyring = &config.keyring;
    if keyring.symlink_metadata().is_ok() {
        let (opens, path) = (opens(keyring, &inspection, ports), keyring.clone());
        return Err(if opens { RecoveryError::NotLost { path } } else { RecoveryError::OtherKeyring { path } }.into());
    }
    // Without a broker, an older schema is migrated, as `serve` would.
    let _lock = match DatabaseLock::take(&config.database) {
        Err(OpenError::Busy { .. }) => check_schema(&config.database, &inspection).map(|()| None),
        lock => Ok(Some(lock?)),
    }?;
    let store = Store::open(&config.database)?;
    let runtime = runtime_here()?;
    let (entropy, path, now) = (Arc::clone(&ports.entropy), keyring.clone(), ports.clock.now());
    let id = runtime.block_on(store.write(move |tx| {
        let file = KeyringFile::generate(&*entropy);
        let (keys, wraps) = (keyring::list(tx)?, recovery::list_wraps(tx)?);
        let db_id = store::meta::get_db_id(tx)?;
        let rewrapped = vault::recover(&recovery_key, db_id, &keys, &wraps, &file, &*entropy)?;
        file.write_unpublished(&path)?;
        failpoint::reach("recover_written");
        rewrapped.iter().try_for_each(|key| keyring::rewrap(tx, key))?;
        let entry = Entry::new(By::COMMAND_LINE, Action::KeyringRecovered, file.active_id());
        audit::record(tx, None, &entry, now)?;
        Ok::<_, RecoveryError>(file.active_id().to_owned())
    }))?;
    failpoint::reach("recover_stored");
    new_keyring::publish(&runtime, &store, keyring, &id).map_err(|error| RecoveryError::from(error).into())
}
