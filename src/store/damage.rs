//! Damage that was met in an open database, whoever met it.
//!
//! Invariant: from then on, nothing copies the log into the database file. Pages of a damaged log would overwrite sound
//! ones, and a damaged file beside a whole log is easier to repair.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{ErrorCode, ffi};

use super::Error;

/// Cheap to clone: all clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Damage(Arc<AtomicBool>);

impl Damage {
    pub fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Notes the error if it tells of damage. A disk that failed to read for once does not.
    pub(super) fn note_if(&self, error: &Error) {
        if let Error::Corrupt(cause) = error
            && let Some(failure) = cause.sqlite_error()
            && (matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ)
        {
            self.note();
        }
    }

    /// # Errors
    ///
    /// [`Error::Corrupt`] once damage was met.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_seen() { Err(found_earlier()) } else { Ok(()) }
    }
}

/// The error for what an earlier access found.
pub(super) fn found_earlier() -> Error {
    let seen = ffi::Error::new(ffi::SQLITE_CORRUPT);
    Error::Corrupt(rusqlite::Error::SqliteFailure(seen, Some("found by an earlier access".to_owned())))
}
