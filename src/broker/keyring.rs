//! The life of the keys, for the operator's command line: a new data key, another keyring key, and the end of old ones.
//! [`reseal`](super::reseal) brings the stored values to a new data key.
//!
//! Each step is one commit or one replaced file, and after each of them every value opens: a command that is killed is
//! run again. The keyring file is changed only while the write lock of the database is held, so two commands never
//! change it at once.

use std::fmt::Display;
use std::path::Path;

use super::Broker;
use super::reseal::SETTLED_AFTER;
use crate::domain::audit::{Action, By, Entry};
use crate::domain::keyring::{KeyReport, KeyState, WrappedKey};
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::store::{self, Transaction, audit, keyring, recovery, sealed};
use crate::vault::{self, KeyringFile, Place, RecoveryPublicKey, Vault};

/// Why a command on keys failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] vault::KeyringError),
    /// Nothing was changed. The sentence (without its full stop) says what to do.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Sealed(#[from] vault::Error),
    #[error("the database failed")]
    Store(#[from] store::Error),
}

/// The state of the keys after data keys were wrapped anew.
#[derive(Debug)]
pub struct Rewrapped {
    /// Id of the keyring key that wraps every data key now.
    pub active: String,
    /// True when that key was added to the keyring file.
    pub is_new: bool,
    /// Number of data keys that another key wrapped before.
    pub data_keys: usize,
    /// Ids of the keys in the keyring file that no data key needs.
    pub unused: Vec<String>,
}

impl Broker {
    /// All data keys, oldest first.
    pub async fn list_data_keys(&self) -> Result<Vec<KeyReport>, Error> {
        self.store
            .read_long(|db| {
                let counted = sealed::count_by_key(db)?;
                let keys = keyring::list(db)?.into_iter().zip(keyring::list_ages(db)?);
                let report = |(key, (_, created_at)): (WrappedKey, _)| KeyReport {
                    dek_id: key.dek_id,
                    state: key.state,
                    values: counted.get(&key.dek_id).copied().unwrap_or(0),
                    wrapped_by: key.wrapped_by,
                    created_at,
                };
                Ok(keys.map(report).collect())
            })
            .await
    }

    /// Makes a new data key the active one, and returns its id. Activates the key of a rotation that was cut off, if
    /// there is one.
    ///
    /// The key is on the disk before it is active: a process that finds it active can always unwrap it.
    pub async fn rotate_data_key(&self) -> Result<u32, Error> {
        let (now, vault, path) = (self.clock.now(), self.vault.clone(), self.settings.keyring.clone());
        let new = self
            .store
            .write(move |tx| {
                let (file, keys) = adopt_latest(tx, &vault, &path)?;
                let active = active(&keys)?;
                let newest = keys.iter().map(|key| key.dek_id).max().unwrap_or(active);
                if newest > active {
                    return Ok(newest);
                }
                let new =
                    newest.checked_add(1).ok_or_else(|| Error::Refused("there are no more key ids".to_owned()))?;
                let (key, wrap) = vault.new_key(&file, new, find_recovery_key(tx, &vault)?.as_ref())?;
                keyring::insert(tx, &key, now)?;
                wrap.iter().try_for_each(|wrap| recovery::insert_wrap(tx, wrap))?;
                Ok::<_, Error>(new)
            })
            .await?;
        failpoint::reach("rotate_stored");
        self.store
            .write(move |tx| match active(&keyring::list(tx)?)? {
                // Another command was faster.
                active if active >= new => Ok(()),
                _ => {
                    keyring::activate(tx, new)?;
                    Ok::<_, Error>(record(tx, Action::KeyringRotated, new, now)?)
                }
            })
            .await?;
        failpoint::reach("rotate_activated");
        Ok(new)
    }

    /// Wraps every data key with the active key of the keyring file. `new_key`: adds a key to the file first and makes
    /// it the active one, unless the file has an active key already that does not wrap every data key yet.
    ///
    /// The file has the new key and the old ones before the database needs the new one.
    pub async fn rewrap_data_keys(&self, new_key: bool) -> Result<Rewrapped, Error> {
        let (vault, entropy, path) = (self.vault.clone(), self.entropy.clone(), self.settings.keyring.clone());
        let now = self.clock.now();
        let rewrapped = self
            .store
            .write(move |tx| {
                let (mut file, keys) = adopt_latest(tx, &vault, &path)?;
                let is_new = new_key && keys.iter().all(|key| key.wrapped_by == file.active_id());
                if is_new {
                    file.add_key(&*entropy);
                    file.replace(&path)?;
                    failpoint::reach("rewrap_file_replaced");
                }
                let changed = vault.rewrap(&file, &keys)?;
                changed.iter().try_for_each(|key| keyring::rewrap(tx, key))?;
                if !changed.is_empty() {
                    record(tx, Action::KeyringRewrapped, file.active_id(), now)?;
                }
                Ok::<_, Error>(Rewrapped {
                    active: file.active_id().to_owned(),
                    is_new,
                    data_keys: changed.len(),
                    unused: file.ids().filter(|id| *id != file.active_id()).map(str::to_owned).collect(),
                })
            })
            .await?;
        failpoint::reach("rewrap_stored");
        Ok(rewrapped)
    }

    /// Wraps every data key, and those to come, for this recovery key, in place of an earlier one.
    pub async fn set_recovery_key(&self, key: RecoveryPublicKey) -> Result<(), Error> {
        let (vault, path, now) = (self.vault.clone(), self.settings.keyring.clone(), self.clock.now());
        self.store
            .write(move |tx| {
                let (file, keys) = adopt_latest(tx, &vault, &path)?;
                let generation = recovery::find(tx)?.map_or(1, |(_, generation)| generation + 1);
                let public = vault.seal_recovery_key(&Place::recovery_key(generation), &key)?;
                let wraps = vault.wrap_for(&key, &file, &keys)?;
                recovery::put(tx, &public, generation, &wraps)?;
                Ok(record(tx, Action::KeyringRecoverySet, key.id(), now)?)
            })
            .await
    }

    /// Id of the recovery key, if there is one.
    pub async fn find_recovery_key(&self) -> Result<Option<String>, Error> {
        let vault = self.vault.clone();
        self.store.read(move |db| Ok(find_recovery_key(db, &vault)?.map(|key| key.id()))).await
    }

    /// Removes an old data key for good. `broker_runs`: another process serves this database, and might hold values in
    /// memory that only this key opens.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] while a stored value needs the key, or a running broker may.
    pub async fn retire_data_key(&self, id: u32, broker_runs: bool) -> Result<(), Error> {
        let now = self.clock.now();
        self.store
            .write(move |tx| {
                let keys = keyring::list(tx)?;
                let active = active(&keys)?;
                let refuse = |why: String| Err(Error::Refused(why));
                if !keys.iter().any(|key| key.dek_id == id) {
                    return refuse(format!("there is no data key {id}: see `postpeer keyring status`"));
                }
                if id == active {
                    return refuse(format!("data key {id} is the active one: run `postpeer keyring rotate` first"));
                }
                if id > active {
                    return refuse(format!(
                        "data key {id} belongs to a rotation that was cut off: `postpeer keyring rotate` continues it"
                    ));
                }
                let needs = sealed::list_needs(tx, id)?;
                if !needs.is_empty() {
                    return refuse(still_needed(id, &needs));
                }
                if broker_runs {
                    let settled = sealed::get_resealed(tx)?.filter(|(key, _)| *key == active);
                    match settled.map(|(_, since)| since.plus(SETTLED_AFTER)) {
                        Some(at) if at <= now => {}
                        Some(at) => {
                            return refuse(format!(
                                "the running broker may still hold values in memory that need data key {id}: \
                                 try again at {at}, or stop the broker"
                            ));
                        }
                        None => {
                            return refuse(format!(
                                "the running broker has not re-sealed everything with data key {active} yet: \
                                 try again later, or stop the broker"
                            ));
                        }
                    }
                }
                keyring::remove(tx, id)?;
                Ok(record(tx, Action::KeyringRetired, id, now)?)
            })
            .await
    }

    /// Removes a key that no data key needs from the keyring file. Backups may need it: the caller looks.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] while a data key needs it, or it is the file's active key.
    pub async fn retire_keyring_key(&self, id: String) -> Result<(), Error> {
        let (path, now) = (self.settings.keyring.clone(), self.clock.now());
        self.store
            .write(move |tx| {
                let mut file = KeyringFile::load(&path)?;
                let refuse = |why: String| Err(Error::Refused(why));
                if !file.ids().any(|known| known == id) {
                    return refuse(format!("the keyring file has no key {id}: it has {}", join(file.ids())));
                }
                let needed: Vec<String> = keyring::list(tx)?
                    .iter()
                    .filter(|key| key.wrapped_by == id)
                    .map(|key| key.dek_id.to_string())
                    .collect();
                if !needed.is_empty() {
                    return refuse(format!(
                        "{id} wraps the data keys {}: run `postpeer keyring rewrap` first",
                        join(needed.iter().map(String::as_str))
                    ));
                }
                if !file.remove_key(&id) {
                    return refuse(format!(
                        "{id} is the active key of the keyring file: run `postpeer keyring rewrap` first"
                    ));
                }
                // First, because a file cannot be rolled back.
                record(tx, Action::KeyringRetired, &id, now)?;
                Ok(file.replace(&path)?)
            })
            .await
    }
}

/// The keyring file and the data keys as they are while the write lock is held. The vault takes the keys: another
/// command may have changed them since it was unlocked.
fn adopt_latest(tx: &Transaction<'_>, vault: &Vault, path: &Path) -> Result<(KeyringFile, Vec<WrappedKey>), Error> {
    let (file, keys) = (KeyringFile::load(path)?, keyring::list(tx)?);
    if !vault.has(&keys) {
        vault.adopt(&file, &keys)?;
    }
    Ok((file, keys))
}

fn record(tx: &Transaction<'_>, action: Action, key: impl Display, now: Timestamp) -> Result<(), store::Error> {
    audit::record(tx, None, &Entry::new(By::COMMAND_LINE, action, key), now)
}

fn active(keys: &[WrappedKey]) -> Result<u32, vault::Error> {
    keys.iter().find(|key| key.state == KeyState::Active).map(|key| key.dek_id).ok_or(vault::Error::NoActiveKey)
}

pub(super) fn find_recovery_key(db: &store::Connection, vault: &Vault) -> Result<Option<RecoveryPublicKey>, Error> {
    let stored = recovery::find(db)?;
    Ok(stored.map(|(key, generation)| vault.open_recovery_key(&Place::recovery_key(generation), &key)).transpose()?)
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn still_needed(id: u32, needs: &[(sealed::SealedColumn, u64)]) -> String {
    let list: Vec<String> =
        needs.iter().map(|(column, values)| format!("{values} in {}.{}", column.table, column.column)).collect();
    let (lasting, brief) = (
        "the broker re-seals them while it runs, all but those that do not open, which `postpeer doctor` lists",
        "the broker finishes or purges them while it runs, when their time is over",
    );
    let hint = if needs.iter().any(|(column, _)| column.is_resealed()) { lasting } else { brief };
    format!("data key {id} is still needed ({}): {hint}", list.join(", "))
}
