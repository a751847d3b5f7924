//! Copies of the whole database: made while a broker writes, checked, and put back in the database's place.
//!
//! Copying the file of a running broker is not a backup: the latest commits are in the log beside it, and pages change
//! while the copy reads them. SQLite copies one snapshot instead, and neither waits for the broker nor holds it up.
//!
//! Invariants: a copy gets its name only when it is complete, checked by the caller and on the disk; it never replaces
//! a file. The broker's own file is opened through SQLite only, because closing any other handle of it would release
//! the locks that SQLite holds in this process. A copy leaves room on its disk for the broker.

mod record;
mod restore;
mod revoked;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use uuid::Uuid;

use super::lock::beside;
use super::meta;
use super::open::create::Unfinished;
use super::open::inspect::{look, peek};
use super::open::{BUSY_TIMEOUT, Inspection, OpenError, database_size, failed, free_space, inspect_copy};
use super::schema::Schema;
use crate::domain::time::Timestamp;
use crate::failpoint;

pub use record::{Restore, find_latest_restore};
pub use restore::{Candidate, Replaced, RestoreError, Restored, copy_in};

/// Pages between two looks at the free space and the signal to stop: 1 MiB.
const STEP: i32 = 256;

/// Pause after each step, so that a copy does not take a slow disk from the broker.
const PAUSE: Duration = Duration::from_millis(1);

/// Space that a copy leaves on its disk.
const ROOM: u64 = 16 * 1024 * 1024;

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists already and was not changed: name another file, or move it away", path.display())]
    AlreadyExists { path: PathBuf },
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error("the backup {} could not be written: check its directory, the permissions and the disk", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the backup was not kept: the keyring lost the key {key}, which it needs, meanwhile. Make it again")]
    KeyRemoved { key: String },
    #[error(
        "there is no room for the backup {}: it takes {} MiB and leaves {} MiB to the broker, and {} MiB are free. Free some \
         space, or write it to another disk",
        path.display(), mebibytes(*needed), mebibytes(ROOM), mebibytes(*free)
    )]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    /// Its permissions let this user write there, and something else keeps this process from it.
    #[error(
        "{} could not be used, although its permissions allow it: a broker opens only folders that were there when it started. \
         If this one was made or mounted since, restart the broker",
        dir.display()
    )]
    ShutOut { dir: PathBuf, source: io::Error },
    #[error("the backup was cut off because the broker is stopping")]
    Stopped,
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

/// A complete copy that has no name yet, and is removed on drop.
#[derive(Debug)]
pub struct Copy {
    unfinished: Unfinished,
}

impl Copy {
    /// Its temporary path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.unfinished.path()
    }

    /// Checks the whole file: its structure, its indexes, its keys.
    ///
    /// # Errors
    ///
    /// The copy is damaged. A copy has the damage of the database that it is made of.
    pub fn check(&self, database: &Path) -> Result<Inspection, BackupError> {
        inspect_copy(self.path()).map_err(|error| match error {
            OpenError::Damaged { why, .. } => {
                let why = format!("{why} (found in a copy, which was not kept)");
                OpenError::Damaged { path: database.to_owned(), why }.into()
            }
            other => other.into(),
        })
    }

    /// Gives the copy its name, on the disk. Never replaces a file.
    pub fn publish(self, path: &Path) -> Result<(), BackupError> {
        failpoint::reach("backup_checked");
        self.unfinished.publish(path).map_err(|error| match error {
            OpenError::AlreadyExists { path } => BackupError::AlreadyExists { path },
            OpenError::Io { path, source } => BackupError::Io { path, source },
            other => other.into(),
        })
    }
}

/// Checks that a database can be copied: it is there, ours, and not newer than this program. Not for the process of
/// the broker that uses it.
pub fn check_source(database: &Path) -> Result<(), OpenError> {
    match peek(database, Schema::embedded().version()) {
        // A copy can be made, and is checked, all the same.
        Err(OpenError::Full { .. }) => Ok(()),
        looked => looked.map(|_| ()),
    }
}

/// Copies the database, as of now, to the file `at`, in place of the leftover of an earlier attempt.
pub fn copy(database: &Path, at: PathBuf, now: Timestamp, is_stopping: &dyn Fn() -> bool) -> Result<Copy, BackupError> {
    let (source, may_change) = match open_source(database, false).map_err(|error| failed(database, error)) {
        // SQLite cannot make the index of the log on a full disk. Without a broker, it does with one in memory.
        Err(full @ OpenError::Full { .. }) => (open_source(database, true).map_err(|_| full)?, true),
        // SQLite makes a log beside what it reads. Where it cannot, and there is none, nobody is writing.
        Err(OpenError::ReadOnly { .. }) => (look(database, Schema::embedded().version())?.0, false),
        source => (source?, true),
    };
    let unfinished = Unfinished::at(at)?;
    copy_pages(&source, unfinished.path(), database, is_stopping)?;
    drop(source);
    if !may_change && beside(database, "-wal").symlink_metadata().is_ok() {
        return Err(OpenError::Busy { path: database.to_owned(), pid: None }.into());
    }
    let signed = open_copy(unfinished.path()).and_then(|copy| {
        record::insert(&copy, now)?;
        copy.close().map_err(|(_, error)| error)
    });
    signed.map_err(|error| written(unfinished.path(), database, error))?;
    Ok(Copy { unfinished })
}

/// A free name beside the database for what a command keeps of it: `<database><kind><time>`, with a number from the
/// second in the same second on.
#[must_use]
pub fn free_name(database: &Path, kind: &str, now: Timestamp) -> PathBuf {
    let name = format!("{kind}{}", now.for_file_name());
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered).map(|ending| beside(database, &ending));
    names.find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| beside(database, &name))
}

/// The id of the database that a file is a copy of; `None` for any other file.
#[must_use]
pub fn find_db_id(copy: &Path) -> Option<Uuid> {
    let (db, _) = look(copy, Schema::embedded().version()).ok()?;
    meta::get_db_id(&db).ok()
}

fn copy_pages(
    source: &Connection,
    at: &Path,
    database: &Path,
    is_stopping: &dyn Fn() -> bool,
) -> Result<(), BackupError> {
    let failed = |error| written(at, database, error);
    // One snapshot. Without it, each write of the broker would make the copy begin anew.
    let snapshot = source.unchecked_transaction().map_err(failed)?;
    check_room(at, database_size(&snapshot).map_err(failed)?)?;
    let mut target = open_copy(at).map_err(failed)?;
    let backup = Backup::new(&snapshot, &mut target).map_err(failed)?;
    while backup.step(STEP).map_err(failed)? != StepResult::Done {
        if is_stopping() {
            return Err(BackupError::Stopped);
        }
        check_room(at, 0)?;
        std::thread::sleep(PAUSE);
    }
    drop(backup);
    target.close().map_err(|(_, error)| failed(error))
}

/// A connection that reads. Unlike the broker's readers, it folds the log of a dead broker in when it is closed.
/// `alone`: no other process may have the database open.
fn open_source(path: &Path, alone: bool) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    if alone {
        db.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |row| row.get::<_, String>(0))?;
    }
    // SQLite opens the log with the first read.
    db.pragma_query_value(None, "user_version", |_| Ok(()))?;
    Ok(db)
}

/// A connection that fills a copy. Nothing is synced before the copy is complete.
fn open_copy(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "trusted_schema", false)?;
    Ok(db)
}

/// Fails when a file of `needed` more bytes would not leave [`ROOM`].
fn check_room(path: &Path, needed: u64) -> Result<(), BackupError> {
    match free_space(path) {
        Some(free) if free < needed.saturating_add(ROOM) => {
            Err(BackupError::NoRoom { path: path.to_owned(), needed, free })
        }
        _ => Ok(()),
    }
}

/// The error of a statement that reads the database and writes the copy.
fn written(copy: &Path, database: &Path, error: rusqlite::Error) -> BackupError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::DatabaseBusy) => {
            failed(database, error).into()
        }
        _ => BackupError::Io { path: copy.to_owned(), source: io::Error::other(error) },
    }
}

#[cfg(test)]
mod tests;
