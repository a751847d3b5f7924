//! Moves the log into the database file: when it is long, when somebody asks, and at the end, where SQLite does it.
//!
//! Invariant: a log that was cut short, or that belongs to a damaged database, is left as it is.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{CHECKPOINT_PATIENCE, Scribe};
use crate::domain::error_chain::chain;
use crate::store::Error;
use crate::store::files::Moved;
use crate::store::open::BUSY_TIMEOUT;
use crate::store::readers::Readers;

impl Scribe {
    /// Moves a long log into the database file, as far as no reader needs it. Others need not wait for this.
    pub(super) fn shorten_log(&mut self) {
        if self.state.failure.get().is_some() || self.state.damage.is_seen() || !self.log.is_long() {
            return;
        }
        if let Err(error) = self.check_log().and_then(|()| Ok(move_log(&self.connection, &self.readers, "PASSIVE")?)) {
            tracing::warn!(error = %chain(&error), "the log cannot be moved into the database file");
            self.learn(&error);
        }
    }

    pub(super) fn checkpoint(&mut self) -> Result<(), Error> {
        if let Some(failure) = self.state.failure() {
            return Err(failure);
        }
        self.check_log()?;
        let checkpoint = || {
            self.connection.busy_timeout(CHECKPOINT_PATIENCE)?;
            let is_busy = move_log(&self.connection, &self.readers, "TRUNCATE");
            self.connection.busy_timeout(BUSY_TIMEOUT)?;
            is_busy
        };
        match checkpoint().map_err(Error::from) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::Overloaded),
            Err(error) => {
                self.learn(&error);
                Err(error)
            }
        }
    }

    /// The reason why the log must not be moved.
    pub(super) fn check_log(&self) -> Result<(), Error> {
        self.check_length()?;
        self.state.damage.check()
    }

    /// Fails when the log was cut short. That stays noted: another process may write to it, and hide the gap.
    pub(super) fn check_length(&self) -> Result<(), Moved> {
        self.log.check(&self.connection, &self.files).inspect_err(|_| self.state.damage.note())
    }

    /// Has the end of the connection leave the log where it is. If this fails, only what the disk has confirmed is
    /// moved.
    pub(super) fn leave_log(&self) {
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

/// Copies the log into the database file. True when a reader kept it from being emptied.
fn move_log(db: &Connection, readers: &Readers, mode: &str) -> rusqlite::Result<bool> {
    let _paused = readers.pause();
    #[cfg(test)]
    super::tests::checkpoint_fault()?;
    db.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?.query_row([], |row| row.get(0))
}
