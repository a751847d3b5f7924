//! The way on when the keyring is lost and no recovery key is left: everything that was sealed is erased, and the rest
//! begins with a new keyring file.
//!
//! The database is copied first. As for a recovery, the file is written beside its place, the database is changed in
//! one commit, and only then the file is put there. Repeated after it was cut off in between, only the last step is
//! left: nothing more is copied or erased.
//!
//! Every access key is revoked. Their rows were authenticated with the keys that are gone, so nobody can tell those
//! that the broker made from those that somebody put into the file.

use std::path::PathBuf;
use std::sync::Arc;

use super::new_keyring::{self, NewKeyringError};
use super::{Error, Ports, check_exists, opens, runtime_here, unlock_with};
use crate::config::Config;
use crate::domain::audit::{Action, By, Entry};
use crate::domain::oauth_app::OauthAppChange;
use crate::failpoint;
use crate::store::backup::{self, BackupError};
use crate::store::{self, DatabaseLock, Inspection, Store, access_keys, audit, forget as erasure, keyring, oauth_apps};
use crate::store::{recovery, sealed};
use crate::vault::{self, KeyringError, KeyringFile, Owner, Place, Vault};

/// Why nothing was forgotten. Nothing was changed, but for [`New`](ForgetError::New).
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error("the database could not be copied before the change")]
    Copy(#[from] BackupError),
    #[error(transparent)]
    New(#[from] NewKeyringError),
    #[error("the keyring file {} opens the database: there is nothing to forget", path.display())]
    NotLost { path: PathBuf },
    #[error("the keyring file {} is in the way: it does not open the database. Move it away", path.display())]
    OtherKeyring { path: PathBuf },
    #[error(
        "the recovery key {id} opens the database: `postpeer keyring recover FILE` loses nothing. If that key is lost as well, \
         add --recovery-key-lost"
    )]
    Recoverable { id: String },
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the database failed")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Vault(#[from] vault::Error),
}

/// The outcome.
#[derive(Debug)]
pub enum Forgotten {
    Now(Erased),
    /// A command that was cut off had made a keyring for the database. It was put in place, and nothing else was done.
    Before,
}

/// The things that a command erased, and where the database from before is kept.
#[derive(Debug)]
pub struct Erased {
    /// The database as it was.
    pub copy: PathBuf,
    /// Connections that were active. Their owners must reconnect.
    pub ended: u64,
    /// Apps whose secrets must be entered again.
    pub apps: Vec<String>,
    /// Access keys that were revoked.
    pub access_keys: usize,
}

/// Erases what is sealed, and makes a new keyring file. Must not be called from a runtime.
///
/// # Errors
///
/// A broker runs; there is a keyring file, or a recovery key that `recovery_key_lost` does not give up; or a file
/// cannot be read or written.
pub fn forget(config: &Config, ports: &Ports, recovery_key_lost: bool) -> Result<Forgotten, Error> {
    let inspection = check(config, ports)?;
    let _lock = DatabaseLock::take(&config.database)?;
    let (now, path) = (ports.clock.now(), config.keyring.clone());
    let store = Store::open(&config.database)?;
    let runtime = runtime_here()?;
    if let Ok(file) = KeyringFile::load_unpublished(&path)
        && unlock_with(&file, &inspection, ports).is_ok()
    {
        new_keyring::publish(&runtime, &store, &path, file.active_id()).map_err(ForgetError::from)?;
        return Ok(Forgotten::Before);
    }
    let wraps = runtime.block_on(store.read(recovery::list_wraps))?;
    if let Some(wrap) = wraps.into_iter().next_back().filter(|_| !recovery_key_lost) {
        return Err(ForgetError::Recoverable { id: wrap.recovery_key }.into());
    }
    let kept = backup::free_name(&config.database, ".before-forget-", now);
    let unfinished = kept.with_added_extension("new");
    let copy = backup::copy(&config.database, unfinished, now, &|| false).map_err(ForgetError::from)?;
    copy.publish(&kept).map_err(ForgetError::from)?;
    failpoint::reach("forget_copied");
    let entropy = Arc::clone(&ports.entropy);
    let db_id = inspection.db_id;
    let (id, erased) = runtime.block_on(store.write(move |tx| {
        let newest = keyring::list(tx)?.iter().map(|key| key.dek_id).max().unwrap_or(0);
        let file = KeyringFile::generate(&*entropy);
        let (vault, key) = Vault::begin(&file, db_id, newest.saturating_add(1), entropy)?;
        file.write_unpublished(&path)?;
        let ended = erasure::erase(tx, now)?;
        keyring::insert(tx, &key, now)?;
        let apps = erasure::list_apps(tx)?;
        for app in &apps {
            let owner = Owner { project_id: app.project_id, platform: &app.platform, client_id: &app.client_id };
            // No platform takes an empty secret, and the next one mends the app.
            let secret = vault.seal_text(&Place::app_secret(app.id, app.generation + 1, owner), &"".into())?;
            let change = OauthAppChange { client_secret: Some(secret), ..OauthAppChange::default() };
            oauth_apps::update(tx, app.project_id, app.id, &change, now)?;
        }
        let keys = access_keys::list_unrevoked(tx)?;
        for found in &keys {
            access_keys::revoke(tx, found.key.id, now)?;
            let entry = Entry::new(By::COMMAND_LINE, Action::AccessKeyRevoked, found.key.id);
            audit::record(tx, Some(found.key.project_id), &entry, now)?;
        }
        sealed::record_resealed(tx, key.dek_id, now)?;
        audit::record(tx, None, &Entry::new(By::COMMAND_LINE, Action::KeyringForgotten, file.active_id()), now)?;
        let apps = apps.iter().map(|app| app.id.to_string()).collect();
        let erased = Erased { copy: kept, ended, apps, access_keys: keys.len() };
        Ok::<_, ForgetError>((file.active_id().to_owned(), erased))
    }))?;
    failpoint::reach("forget_stored");
    new_keyring::publish(&runtime, &store, &config.keyring, &id).map_err(ForgetError::from)?;
    Ok(Forgotten::Now(erased))
}

/// Checks that the keyring is lost.
fn check(config: &Config, ports: &Ports) -> Result<Inspection, Error> {
    check_exists(&config.database)?;
    let inspection = store::inspect(&config.database)?;
    if config.keyring.symlink_metadata().is_ok() {
        let (opens, path) = (opens(&config.keyring, &inspection, ports), config.keyring.clone());
        return Err(if opens { ForgetError::NotLost { path } } else { ForgetError::OtherKeyring { path } }.into());
    }
    Ok(inspection)
}
