//! Errors of statements. Messages name tables and constraints, never values.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use super::files::Moved;
use crate::domain::InvalidTransition;
use crate::domain::error_chain::sources;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process (a backup tool, a shell) locked the database for longer than a statement waits.
    #[error("the database is locked by another process")]
    Busy(#[source] rusqlite::Error),
    /// A unique constraint: such a row exists already.
    #[error("the constraint {0} is violated")]
    Conflict(String),
    /// SQLite says the same where the disk reports an error for a read.
    #[error("the database file is damaged, or its disk fails to read it: a restart finds out")]
    Corrupt(#[source] rusqlite::Error),
    /// The disk did not confirm this commit. Its contents are unknown, and a second sync would prove nothing.
    #[error(
        "the disk did not confirm a write, so it may have been stored or not, and nothing more is written: check the disk and \
         its file system, restart the broker, and look before you repeat the change"
    )]
    Failed(#[source] rusqlite::Error),
    #[error("the disk is full, or the file may not grow: free some space, no restart is needed")]
    Full(#[source] rusqlite::Error),
    /// The disk failed to read or write, for another reason than a lack of space.
    #[error("the disk reports an error: check it and its file system, for example with `dmesg`")]
    Io(#[source] rusqlite::Error),
    /// A stored value that this program cannot have written.
    #[error("{table}.{column} of row {row} holds an invalid value")]
    Inconsistent { table: &'static str, column: &'static str, row: String },
    /// Nothing was changed, because the changes would be in a file that nobody finds any more.
    #[error(transparent)]
    Moved(#[from] Moved),
    /// The row to be changed is gone, or no longer in the expected state.
    #[error("nothing was changed: the row is gone or was changed meanwhile")]
    NotChanged,
    /// A row that this one belongs to, such as its project, is gone.
    #[error("a row that this one belongs to was deleted meanwhile")]
    Orphan(#[source] rusqlite::Error),
    /// Too many writes are queued already.
    #[error("too many writes are queued for the database")]
    Overloaded,
    /// The file or its file system allows no changes.
    #[error("the database is read-only: check the permissions of its files, and how their file system is mounted")]
    ReadOnly(#[source] rusqlite::Error),
    /// The reserve failed for another reason than a full disk, which is [`Error::Full`].
    #[error(
        "the reserve of disk space beside the database cannot be made: check the disk and the permissions of the directory"
    )]
    Reserve(#[source] std::io::Error),
    /// The disk did not confirm an [earlier commit](Self::Failed), so this write was not begun: nothing was changed.
    #[error(
        "the disk did not confirm an earlier write, so this one was not begun, and nothing more is written: check the disk and \
         its file system, and restart the broker"
    )]
    Refused(#[source] rusqlite::Error),
    /// Another write in the same transaction failed and rolled it back: nothing was changed.
    #[error("another write failed and rolled this one back: try again")]
    RolledBack,
    #[error("the database refused a statement")]
    Sqlite(#[source] rusqlite::Error),
    /// The runtime stopped before the statement began: nothing was changed.
    #[error("the broker is stopping")]
    Stopped,
}

/// The row has changed since the caller looked at it.
impl From<InvalidTransition> for Error {
    fn from(_: InvalidTransition) -> Self {
        Self::NotChanged
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let Some(failure) = error.sqlite_error() else { return Self::Sqlite(error) };
        match failure.code {
            ErrorCode::ConstraintViolation => match failure.extended_code {
                ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE => {
                    let message = error.to_string();
                    Self::Conflict(message.trim_start_matches("UNIQUE constraint failed: ").to_owned())
                }
                ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Self::Orphan(error),
                _ => Self::Sqlite(error),
            },
            ErrorCode::CannotOpen => Self::Io(error),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy(error),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(error),
            _ if is_full(*failure) => Self::Full(error),
            ErrorCode::ReadOnly => Self::ReadOnly(error),
            ErrorCode::SystemIoFailure => match failure.extended_code {
                // After a failed sync the kernel may mark lost pages clean, and the next sync succeeds without them.
                ffi::SQLITE_IOERR_DIR_FSYNC | ffi::SQLITE_IOERR_FSYNC => Self::Failed(error),
                ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => Self::Corrupt(error),
                _ => Self::Io(error),
            },
            _ => Self::Sqlite(error),
        }
    }
}

impl Error {
    /// True when the database takes no changes at the moment, whichever they are.
    #[must_use]
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_) | Self::Moved(_) | Self::ReadOnly(_))
    }

    /// True when the store writes no more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Refused(_))
    }

    /// Finds the store's error in an error or among its sources.
    pub(super) fn within<E: std::error::Error + 'static>(error: &E) -> Option<&Self> {
        let error: &(dyn std::error::Error + 'static) = error;
        error.downcast_ref().or_else(|| sources(error).find_map(|source| source.downcast_ref()))
    }
}

/// True when a file could not grow. A quota or a file size limit fails the write instead of saying "full", and the
/// log's index has a code of its own. Where they have another reason, `DiskReserve::explain` finds it.
pub(super) fn is_full(failure: ffi::Error) -> bool {
    failure.code == ErrorCode::DiskFull
        || matches!(failure.extended_code, ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_WRITE)
}

/// A copy of the error, for each of the writes that it concerns.
pub(super) fn copy(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => rusqlite::Error::SqliteFailure(*failure, message.clone()),
        other => rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), Some(other.to_string())),
    }
}
