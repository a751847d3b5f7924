//! The length of the write-ahead log: when it is time to move it into the database file, and when the operator learns
//! that something keeps it from shrinking.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

/// Pages by which the log grows before it is moved into the database file: SQLite's own default.
const LONG: i32 = 1_000;

/// Pages of a log that somebody keeps from starting again: 16 MiB.
const KEPT: i32 = 4 * LONG;

/// Pages of a log that somebody should look at: 64 MiB.
const ALARMING: i32 = 16 * 1024;

/// Length after the latest commit, in pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Length(Arc<AtomicI32>);

impl Length {
    fn pages(&self) -> i32 {
        self.0.load(Ordering::Relaxed)
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
        let length = Length::default();
        let seen = length.clone();
        let notice = move |_: &mut Wal, pages| {
            seen.0.store(pages, Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(notice))?;
        Ok(Self { length, moved: 0, alarm: ALARMING })
    }

    pub(super) fn length(&self) -> Length {
        self.length.clone()
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
