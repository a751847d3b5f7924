//! The last step of a command that makes a keyring file for a database that is there.
//!
//! The file lies beside its place, and the database needs it. Both were done while the write lock of the database was
//! held, and so is this step: of two commands at once, the one whose key the database needs puts its file in place.

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use crate::store::{self, Store, keyring};
use crate::vault::{KeyringError, KeyringFile};

/// Why a new keyring is not, or may not be, in its place, although the database was changed for it.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyringError {
    #[error(
        "another command made a keyring for this database at the same time, so the one of this command was not kept. If \
         there is none at {} when that command has ended, run this one again",
        path.display()
    )]
    Overtaken { path: PathBuf },
    #[error("the database was changed for a new keyring: unless that is in its place now, run the same command again")]
    Keyring(#[source] KeyringError),
    #[error("the database was changed for a new keyring: unless that is in its place now, run the same command again")]
    Store(#[from] store::Error),
}

/// Puts the file that lies beside the keyring's place there, if it holds the key `id` and opens the database.
pub(super) fn publish(runtime: &Runtime, store: &Store, path: &Path, id: &str) -> Result<(), NewKeyringError> {
    let (path, id) = (path.to_owned(), id.to_owned());
    runtime.block_on(store.write(move |tx| {
        let keys = keyring::list(tx)?;
        let is_ours = KeyringFile::load_unpublished(&path)
            .is_ok_and(|file| file.active_id() == id && keys.iter().all(|key| file.has(&key.wrapped_by)));
        if !is_ours {
            return Err(NewKeyringError::Overtaken { path });
        }
        KeyringFile::publish(&path).map_err(NewKeyringError::Keyring)
    }))
}
