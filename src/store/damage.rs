//! Damage that was met in an open database, whoever met it.
//!
//! Invariant: from then on, nothing copies the log into the database file. Pages of a damaged log would overwrite sound
//! ones, and a damaged file beside a whole log is easier to repair.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rusqlite::{ErrorCode, ffi};

use super::Error;

/// An access said so. SQLite says the same where the disk failed to read for once.
const SUSPECTED: u8 = 1;

const CERTAIN: u8 = 2;

/// Cheap to clone: all clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Damage(Arc<AtomicU8>);

impl Damage {
    /// Notes damage that is certain.
    pub fn note(&self) {
        self.0.fetch_max(CERTAIN, Ordering::AcqRel);
    }

    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// True when reading the whole database can still tell that it is sound.
    #[must_use]
    pub fn is_suspected(&self) -> bool {
        self.0.load(Ordering::Acquire) == SUSPECTED
    }

    /// Forgets damage that was only suspected.
    pub fn dispel(&self) {
        let _ = self.0.compare_exchange(SUSPECTED, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Suspects damage where the error tells of it.
    pub(super) fn note_if(&self, error: &Error) {
        if let Error::Corrupt(cause) = error
            && let Some(failure) = cause.sqlite_error()
            && (matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ)
        {
            self.0.fetch_max(SUSPECTED, Ordering::AcqRel);
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
