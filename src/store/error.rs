//! What can go wrong with a statement. Messages name tables and constraints, never values.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::domain::InvalidTransition;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process kept the database locked for longer than a statement waits (a backup tool, a shell).
    #[error("the database is locked by another process")]
    Busy(#[source] rusqlite::Error),
    /// A unique constraint: something like this is there already.
    #[error("the constraint {0} is violated")]
    Conflict(String),
    #[error("the database file is damaged: stop the broker and restore a backup")]
    Corrupt(#[source] rusqlite::Error),
    /// The disk did not confirm a commit: nobody knows what it holds, and a second try would prove nothing.
    #[error(
        "the database failed while writing, so nothing more is written: check the disk and its file system, then start \
         the broker again"
    )]
    Failed(#[source] rusqlite::Error),
    #[error("the disk is full, or the file may not grow: make room, nothing else is needed")]
    Full(#[source] rusqlite::Error),
    /// A stored value that this program would not have written.
    #[error("{table}.{column} of row {row} does not hold what belongs there")]
    Inconsistent { table: &'static str, column: &'static str, row: String },
    /// The row that was to change is not there, or not as expected any more.
    #[error("nothing was changed: the row is gone or has changed meanwhile")]
    NotChanged,
    /// Too many writes are waiting already.
    #[error("too many writes are waiting for the database")]
    Overloaded,
    /// Not for want of room, which is [`Error::Full`].
    #[error(
        "the reserve of disk space beside the database cannot be made: check the disk, and who may write to the directory"
    )]
    Reserve(#[source] std::io::Error),
    /// A write that shared this one's transaction broke it: nothing was changed.
    #[error("another write failed and took this one along: try again")]
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
                _ => Self::Sqlite(error),
            },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy(error),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(error),
            ErrorCode::DiskFull => Self::Full(error),
            ErrorCode::SystemIoFailure => match failure.extended_code {
                // After a failed sync the kernel may call lost pages clean; the next sync says nothing about them.
                ffi::SQLITE_IOERR_DIR_FSYNC | ffi::SQLITE_IOERR_FSYNC => Self::Failed(error),
                // A quota or a limit on file sizes answers the first instead of "full", the index of the log the other.
                ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_WRITE => Self::Full(error),
                _ => Self::Sqlite(error),
            },
            _ => Self::Sqlite(error),
        }
    }
}

impl Error {
    /// The store's error that another one is, or has among its causes.
    pub(super) fn within<E: std::error::Error + 'static>(error: &E) -> Option<&Self> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// The same failure for each of those that it concerns.
pub(super) fn copy(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => rusqlite::Error::SqliteFailure(*failure, message.clone()),
        other => rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), Some(other.to_string())),
    }
}
