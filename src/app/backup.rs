//! `backup` and `restore` for the command line: the steps that take a keyring, a database and its lock.
//!
//! Invariant: nothing gets its final name before all of its sealed values were opened with the configured keyring.

use std::path::{Path, PathBuf};

use super::{Desk, Error, Ports, check_exists, unlock, unlock_with};
use crate::broker::backups::{SealedCheck, check_keyring, open_all};
use crate::config::Config;
use crate::domain::audit::By;
use crate::failpoint;
use crate::store::backup::{self, Candidate, Copy, RestoreError, Restored, check_source, copy, copy_in};
use crate::store::{DatabaseLock, DatabaseUse};
use crate::vault::keyring::{KeyringError, KeyringFile};
use crate::vault::{self, RecoveryKey};

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Backup(#[from] backup::BackupError),
    /// The keyring or the database.
    #[error(transparent)]
    Broker(#[from] Error),
    #[error(
        "there is a keyring at {} already: restore without --recovery-key. If it is not the one of the backup, move it away \
         first",
        keyring.display()
    )]
    KeyringExists { keyring: PathBuf },
    #[error(
        "there is no keyring at {}: put your copy of it there. With its recovery key instead, add --recovery-key FILE, which \
         makes a new keyring for the backup",
        keyring.display()
    )]
    NoKeyring { keyring: PathBuf },
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(
        "the backup is in place, but its new keyring may not be: where it is missing, `postpeer keyring recover FILE` makes \
         another"
    )]
    Unpublished(#[source] KeyringError),
    #[error(
        "{unreadable} of the {values} sealed values in {} do not open, the first in row {row}. Nothing was changed: restore \
         another backup. To restore this one all the same, add --accept-unreadable; the accounts concerned must then be \
         reconnected",
        file.display()
    )]
    Unreadable { file: PathBuf, values: u64, unreadable: u64, row: Box<str>, source: vault::Error },
    #[error(
        "the keyring {} is not the one of the backup {}: the backup needs key {expected}, the keyring file has {found}. Put \
         the right keyring in its place, or set keyring.path. With its recovery key instead, move this keyring away, and add \
         --recovery-key FILE. Nothing was changed",
        keyring.display(), file.display()
    )]
    WrongKeyring { file: PathBuf, keyring: PathBuf, expected: String, found: String },
}

/// Copies the database to the file `at`, whether a broker runs or not, and checks the copy. The caller gives it its
/// name. Waits for no broker, and holds none up.
///
/// # Errors
///
/// The keyring is missing or not this database's, the database is missing or damaged, or there is no room. Sealed
/// values that do not open are no error: the database does not open them either.
pub fn back_up(config: &Config, ports: &Ports, at: PathBuf) -> Result<(Copy, SealedCheck), BackupError> {
    let keyring = KeyringFile::load(&config.keyring).map_err(Error::from)?;
    check_exists(&config.database).map_err(Error::from)?;
    let _use = DatabaseUse::share(&config.database).map_err(Error::from)?;
    check_source(&config.database).map_err(Error::from)?;
    let copy = copy(&config.database, at, ports.clock.now(), &|| false)?;
    let inspection = copy.check(&config.database)?;
    let vault = unlock(config, &keyring, &inspection, ports)?;
    let check = open_all(copy.path(), &vault).map_err(Error::from)?;
    check_keyring(&config.keyring, &inspection)?;
    Ok((copy, check))
}

/// Puts a backup in the database's place. `accepts_unreadable`: even if not all of its sealed values open.
///
/// # Errors
///
/// A broker runs; the file is not a backup that this program can use with this keyring; or it cannot be put in place.
/// The database is as it was.
pub fn restore(
    config: &Config,
    ports: &Ports,
    file: &Path,
    accepts_unreadable: bool,
) -> Result<(Restored, SealedCheck), BackupError> {
    let keyring = KeyringFile::load(&config.keyring).map_err(|error| match error {
        KeyringError::Missing { path } => BackupError::NoKeyring { keyring: path },
        other => Error::from(other).into(),
    })?;
    with_lock(config, |lock| {
        let candidate = copy_in(lock, &config.database, file)?;
        let check = check(config, ports, file, accepts_unreadable, &keyring, &candidate)?;
        Ok((candidate.install(check.outcome(), ports.clock.now())?, check))
    })
}

/// [`restore`] where the keyring is lost as well: the recovery key opens the backup, for which a new keyring is made.
/// A process that dies in between leaves all as it was, or the backup in place without its keyring, which
/// [`recover`](super::recover) makes.
///
/// # Errors
///
/// Those of [`restore`]; and there is a keyring, or the recovery key is not the backup's.
pub fn restore_and_recover(
    config: &Config,
    ports: &Ports,
    file: &Path,
    accepts_unreadable: bool,
    recovery_file: &Path,
) -> Result<(Restored, SealedCheck), BackupError> {
    let recovery_key = RecoveryKey::load(recovery_file).map_err(Error::from)?;
    if config.keyring.symlink_metadata().is_ok() {
        return Err(BackupError::KeyringExists { keyring: config.keyring.clone() });
    }
    let keyring = KeyringFile::generate(&*ports.entropy);
    with_lock(config, |lock| {
        let mut candidate = copy_in(lock, &config.database, file)?;
        candidate.rewrap(keyring.active_id(), ports.clock.now(), |db_id, keys, wraps| {
            vault::recover(&recovery_key, db_id, keys, wraps, &keyring, &*ports.entropy)
                .map_err(|error| BackupError::from(Error::from(error)))
        })?;
        let check = check(config, ports, file, accepts_unreadable, &keyring, &candidate)?;
        keyring.write_unpublished(&config.keyring).map_err(Error::from)?;
        let restored = candidate.install(check.outcome(), ports.clock.now())?;
        failpoint::reach("restore_recovered");
        KeyringFile::publish(&config.keyring).map_err(BackupError::Unpublished)?;
        Ok((restored, check))
    })
}

/// Runs a restore with the database's lock. One that is refused leaves no lock of a database that is not there.
fn with_lock<T>(
    config: &Config,
    restore: impl FnOnce(&DatabaseLock) -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    let lock = DatabaseLock::take(&config.database).map_err(Error::from)?;
    restore(&lock).inspect_err(|_| lock.discard())
}

/// Opens the sealed values of a backup that is not in place yet.
fn check(
    config: &Config,
    ports: &Ports,
    file: &Path,
    accepts_unreadable: bool,
    keyring: &KeyringFile,
    candidate: &Candidate,
) -> Result<SealedCheck, BackupError> {
    let vault = unlock_with(keyring, candidate.inspection(), ports).map_err(|error| match error {
        vault::Error::WrongKeyring { expected, found } => {
            BackupError::WrongKeyring { file: file.to_owned(), keyring: config.keyring.clone(), expected, found }
        }
        other => Error::from(other).into(),
    })?;
    let check = open_all(candidate.path(), &vault).map_err(RestoreError::from)?;
    if let Some((row, source)) = check.first.clone().filter(|_| !accepts_unreadable) {
        let SealedCheck { values, unreadable, .. } = check;
        let (file, row) = (file.to_owned(), row.into());
        return Err(BackupError::Unreadable { file, values, unreadable, row, source });
    }
    Ok(check)
}

/// Notes in the audit trail that a backup was made. Not for a database with another schema, which has no place for it.
///
/// # Errors
///
/// Those of [`Desk::open`]. The backup is as good without.
pub fn record_backup(config: &Config, ports: &Ports, check: &SealedCheck) -> Result<(), Error> {
    let outcome = check.outcome();
    Desk::open(config, ports)?.run(|broker| async move { Ok(broker.record_backup(By::COMMAND_LINE, outcome).await?) })
}
