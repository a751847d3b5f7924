//! Making a new database file, and a copy of one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use uuid::Uuid;

use super::{OpenError, check_directory, check_sqlite, failed, sync_directory};
use crate::domain::keyring::WrappedKey;
use crate::domain::project::Project;
use crate::store::lock::beside;
use crate::store::schema::{MigrationError, Schema};
use crate::store::{Error, Store, keyring, meta, projects};

impl Store {
    /// Creates a database with its id, first key and first project, and opens it. The file exists completely or not
    /// at all, has mode 0600, and never replaces another. Take the [`DatabaseLock`](crate::store::DatabaseLock)
    /// before.
    pub fn create(path: &Path, db_id: Uuid, first_key: &WrappedKey, project: &Project) -> Result<Self, OpenError> {
        check_sqlite(rusqlite::version_number())?;
        check_directory(path)?;
        // SQLite would replay a leftover log into the new database.
        for existing in [path.to_owned(), beside(path, "-wal"), beside(path, "-journal")] {
            if existing.symlink_metadata().is_ok() {
                return Err(OpenError::AlreadyExists { path: existing });
            }
        }
        let unfinished = Unfinished::at(beside(path, ".new"))?;
        fill(&unfinished.path, db_id, first_key, project).map_err(|error| match error.into_sqlite() {
            Ok(error) => failed(path, error),
            Err(other) => OpenError::Io { path: path.to_owned(), source: io::Error::other(other) },
        })?;
        unfinished.publish(path)?;
        Self::open(path)
    }
}

fn fill(path: &Path, db_id: Uuid, first_key: &WrappedKey, project: &Project) -> Result<(), MigrationError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Schema::embedded().migrate(&mut db)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let inserted = meta::insert(&transaction, db_id)
        .and_then(|()| keyring::insert(&transaction, first_key, project.created_at))
        .and_then(|()| projects::insert(&transaction, project));
    match inserted {
        Ok(()) => {}
        Err(
            Error::Busy(error)
            | Error::Corrupt(error)
            | Error::Failed(error)
            | Error::Full(error)
            | Error::Io(error)
            | Error::ReadOnly(error)
            | Error::Refused(error)
            | Error::Sqlite(error),
        ) => {
            return Err(error.into());
        }
        Err(other) => return Err(rusqlite::Error::ToSqlConversionFailure(other.into()).into()),
    }
    transaction.commit()?;
    // WAL from the start: a published database never has a journal that only a writer could roll back.
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    db.close().map_err(|(_, error)| error.into())
}

/// A file that is removed on drop unless it was published. A file that another process puts at its path meanwhile is
/// neither published nor removed.
#[derive(Debug)]
pub(in crate::store) struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    /// Creates an empty file with mode 0600, in place of the leftover of an earlier attempt.
    pub(in crate::store) fn at(path: PathBuf) -> Result<Self, OpenError> {
        let made = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path),
        };
        match made {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }

    /// Durably gives the file its final name, which must be free.
    pub(in crate::store) fn publish(self, path: &Path) -> Result<(), OpenError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => OpenError::AlreadyExists { path: path.to_owned() },
            _ => OpenError::Io { path: path.to_owned(), source },
        };
        self.sync().map_err(io)?;
        // Unlike a rename, a link never replaces a file. Without hard links, the lock alone guards against that.
        match fs::hard_link(&self.path, path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                fs::rename(&self.path, path).map_err(io)?;
            }
            linked => linked.map_err(io)?,
        }
        sync_directory(path).map_err(|error| {
            // Nobody relies on it yet, and it would be in the way of the next attempt.
            let _ = fs::remove_file(path);
            io(error)
        })
    }

    /// Syncs the file. Fails when its path leads to another one.
    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.is_in_place()? { Ok(()) } else { Err(io::Error::other("another process has put a file in its place")) }
    }

    /// True while its path leads to this file.
    fn is_in_place(&self) -> io::Result<bool> {
        let (ours, found) = (self.file.metadata()?, self.path.symlink_metadata()?);
        Ok((ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    }

    /// Durably gives the file its final name, in place of another file.
    pub(super) fn replace(self, path: &Path) -> Result<(), OpenError> {
        self.sync()
            .and_then(|()| fs::rename(&self.path, path))
            .and_then(|()| sync_directory(path))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if matches!(self.is_in_place(), Ok(false)) {
            return;
        }
        for ending in ["", "-journal", "-wal", "-shm"] {
            // Mostly gone already. The next attempt removes the rest, or reports it.
            let _ = fs::remove_file(beside(&self.path, ending));
        }
    }
}
