//! The length of the write-ahead log: when it is time to move it into the database file, and when the operator learns
//! that something keeps it from shrinking. Also notices a log that was cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::store::files::{Files, Moved};

/// Pages by which the log grows before it is moved into the database file: SQLite's own default.
const LONG: i32 = 1_000;

/// Pages of a log that somebody keeps from starting again: 16 MiB.
const KEPT: i32 = 4 * LONG;

/// Pages of a log that somebody should look at: 64 MiB.
const ALARMING: i32 = 16 * 1024;

/// Bytes of the file's header, and of the header of each page in it.
const HEADER: u64 = 32;
const PAGE_HEADER: u64 = 24;

/// Length after the latest commit.
#[derive(Debug, Clone)]
pub(super) struct Length {
    pages: Arc<AtomicI32>,
    page_size: u64,
}

impl Length {
    fn pages(&self) -> i32 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Bytes that the file has at least, unless another process has emptied it since.
    pub(super) fn bytes(&self) -> u64 {
        match u64::try_from(self.pages()) {
            Err(_) | Ok(0) => 0,
            Ok(pages) => HEADER + pages * (PAGE_HEADER + self.page_size),
        }
    }

    /// True when it did not shrink when it should have. Only commits show that it does again.
    pub(super) fn is_kept(&self) -> bool {
        self.pages() >= KEPT
    }
}

pub(super) struct Log {
    length: Length,
    /// Its length when it was last moved into the database file. It starts again when nobody reads it any more.
    moved: i32,
    /// Length at which the operator is told next.
    alarm: i32,
}

impl Log {
    /// Takes the place of SQLite's own checkpoints.
    pub(super) fn of(connection: &mut Connection) -> rusqlite::Result<Self> {
        let page_size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let length = Length { pages: Arc::default(), page_size: page_size.into() };
        let seen = length.pages.clone();
        let notice = move |_: &mut Wal, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(notice))?;
        Ok(Self { length, moved: 0, alarm: ALARMING })
    }

    pub(super) fn length(&self) -> Length {
        self.length.clone()
    }

    /// Compares the file with the log's index, in which all processes write down how long it is.
    pub(super) fn check(&self, db: &Connection, files: &Files) -> Result<(), Moved> {
        let Some(before) = self.measure(db) else { return Ok(()) };
        let checked = files.check_log(self.length.bytes());
        // Another process may have emptied it in between.
        if checked.is_err() && self.measure(db) != Some(before) { Ok(()) } else { checked }
    }

    /// Its pages. `None` where the index cannot be read now.
    fn measure(&self, db: &Connection) -> Option<i32> {
        let mut ask = db.prepare_cached("PRAGMA wal_checkpoint(NOOP)").ok()?;
        let pages = ask.query_row([], |row| row.get(1)).ok()?;
        self.length.pages.store(pages, Ordering::Relaxed);
        Some(pages)
    }

    /// True when it has grown enough to be moved, which counts as done then.
    pub(super) fn is_long(&mut self) -> bool {
        let length = self.length.pages();
        if length < self.moved {
            self.moved = 0;
            self.alarm = ALARMING;
        }
        if length >= self.alarm {
            self.alarm = length.saturating_mul(2);
            tracing::warn!(
                mebibytes = length / 256,
                "the log beside the database grows, because a backup or another program has been reading the database for \
                 long: it shrinks when that ends"
            );
        }
        let is_long = length - self.moved >= LONG;
        if is_long {
            self.moved = length;
        }
        is_long
    }
}
