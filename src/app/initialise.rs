//! The files of a new broker: its database, and its keyring where there is none.

use std::fs;

use super::{Error, Ports};
use crate::config::Config;
use crate::domain::id::IdSource;
use crate::domain::project::{DEFAULT_PROJECT, Project};
use crate::store::{DatabaseLock, Store};
use crate::vault::Vault;
use crate::vault::keyring::{KeyringError, KeyringFile};

/// Creates the database of a new broker, with one project, and its keyring where there is none. Creates all of it or
/// nothing.
///
/// # Errors
///
/// The database exists already, the keyring cannot be used, or one of them cannot be written.
pub fn initialise(config: &Config, ports: &Ports) -> Result<(), Error> {
    // Before the keyring: of two at the same time, one would remove the keyring that the other uses.
    let lock = DatabaseLock::take(&config.database)?;
    make_both(config, ports).inspect_err(|_| lock.discard())
}

fn make_both(config: &Config, ports: &Ports) -> Result<(), Error> {
    match KeyringFile::load(&config.keyring) {
        Err(KeyringError::Missing { .. }) => {}
        loaded => return make_database(config, ports, &loaded?),
    }
    let keyring = KeyringFile::generate(&*ports.entropy);
    keyring.write_new(&config.keyring)?;
    let made = make_database(config, ports, &keyring);
    if made.is_err() {
        // Nothing is sealed with it yet. The database's error is the one to report.
        let _ = fs::remove_file(&config.keyring);
    }
    made
}

fn make_database(config: &Config, ports: &Ports, keyring: &KeyringFile) -> Result<(), Error> {
    let mut random = [0_u8; 16];
    ports.entropy.fill(&mut random);
    let db_id = uuid::Builder::from_random_bytes(random).into_uuid();
    let (_, first_key) = Vault::initialise(keyring, db_id, ports.entropy.clone())?;
    let project = Project {
        id: IdSource::new(ports.clock.clone(), ports.entropy.clone()).next(),
        name: DEFAULT_PROJECT.to_owned(),
        created_at: ports.clock.now(),
    };
    Store::create(&config.database, db_id, &first_key, &project)?;
    Ok(())
}
