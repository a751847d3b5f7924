//! What can go wrong with a statement. Messages name tables and constraints, never values.

use rusqlite::ErrorCode;
use rusqlite::ffi;

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
    #[error("the database refused a statement")]
    Sqlite(#[source] rusqlite::Error),
    /// The runtime stopped before the statement began: nothing was changed.
    #[error("the broker is stopping")]
    Stopped,
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
            // A quota or a limit on file sizes answers this instead of "full".
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_WRITE => Self::Full(error),
            _ => Self::Sqlite(error),
        }
    }
}
