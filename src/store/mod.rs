//! The only place with SQL: SQLite, a file per table. Speaks domain types and [`Sealed`](crate::domain::secret::Sealed),
//! never plaintext; knows `domain` and nobody else. Owns rusqlite and refinery.
//!
//! Functions take a `&Connection` to read and a `&Transaction` to write; [`Store::read`] and [`Store::write`] give them
//! one. `find` answers with an Option, `get` fails when there is nothing; an update or deletion that changes nothing is
//! [`Error::NotChanged`].
//!
//! Invariants: every statement on a tenant's row names its project. One connection writes, in transactions that take the
//! write lock at once (one that upgrades later fails without waiting); a write is on the disk before it is acknowledged.
//! A closure never waits for anything but the database.

pub mod access_keys;
mod columns;
mod error;
#[cfg(test)]
mod fixture;
pub mod flows;
pub mod grants;
pub mod integrations;
pub mod keyring;
mod lock;
pub mod meta;
pub mod oauth_apps;
mod open;
pub mod profiles;
pub mod projects;
mod schema;
pub mod selections;

use std::fmt;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

/// What a write happens in.
use rusqlite::TransactionBehavior;
pub use rusqlite::{Connection, Transaction};
use tokio::sync::{Mutex, Semaphore};

pub use error::Error;
pub use lock::DatabaseLock;
pub use open::{Inspection, OpenError, inspect, schema_version};

/// An open database. Cheap to clone, usable from any tokio runtime.
#[derive(Clone)]
pub struct Store {
    writer: Arc<Mutex<Connection>>,
    /// A permit for each write that waits or runs.
    writes: Arc<Semaphore>,
    readers: Arc<SyncMutex<Vec<Connection>>>,
    /// A permit for each idle reader.
    idle: Arc<Semaphore>,
}

impl Store {
    /// How many reads run at a time.
    const READERS: usize = 4;
    /// How many writes may wait. Beyond that they are refused: a queue that grows helps nobody.
    const WRITES: usize = 4096;

    fn over(writer: Connection, readers: Vec<Connection>) -> Self {
        Self {
            writer: Arc::new(Mutex::new(writer)),
            writes: Arc::new(Semaphore::new(Self::WRITES)),
            idle: Arc::new(Semaphore::new(readers.len())),
            readers: Arc::new(SyncMutex::new(readers)),
        }
    }

    /// Runs `work` on a connection that can only read, and that sees the database as it is at the first statement.
    ///
    /// # Panics
    ///
    /// When `work` does; the store goes on.
    pub async fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let permit = self.idle.clone().acquire_owned().await.map_err(|_| Error::Stopped)?;
        let readers = self.readers.clone();
        on_blocking_thread(move || {
            // Dropped in reverse: the connection is back before its permit is.
            let _permit = permit;
            let reader = Reader::take(readers).ok_or(Error::Stopped)?;
            let snapshot = reader.connection()?.unchecked_transaction().map_err(Error::from)?;
            work(&snapshot)
        })
        .await?
    }

    /// Runs `work` in a transaction of its own: committed, and on the disk, when it gives `Ok`, rolled back when not.
    ///
    /// Once begun it runs to its end, whether the caller still waits or not. Until then, a caller that goes takes its
    /// write along.
    ///
    /// # Panics
    ///
    /// When `work` does; the transaction is rolled back and the store goes on.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let permit = self.writes.clone().try_acquire_owned().map_err(|_| Error::Overloaded)?;
        let mut writer = self.writer.clone().lock_owned().await;
        on_blocking_thread(move || {
            let _permit = permit;
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
            let done = work(&transaction)?;
            transaction.commit().map_err(Error::from)?;
            Ok(done)
        })
        .await?
    }

    /// Brings what was written into the database file and empties the log beside it. What was erased stays readable in
    /// that log until this (or a later write) overwrites it.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when a reader holds on to an older state for too long: what is committed is safe all the same.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        let writer = self.writer.clone().lock_owned().await;
        on_blocking_thread(move || {
            let busy = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))?;
            if busy { Err(Error::Overloaded) } else { Ok(()) }
        })
        .await?
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// A read connection on loan: it goes back whatever happens.
struct Reader {
    connection: Option<Connection>,
    readers: Arc<SyncMutex<Vec<Connection>>>,
}

impl Reader {
    fn take(readers: Arc<SyncMutex<Vec<Connection>>>) -> Option<Self> {
        let connection = readers.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Self { connection: Some(connection), readers })
    }

    fn connection(&self) -> Result<&Connection, Error> {
        self.connection.as_ref().ok_or(Error::Stopped)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

/// Runs `work` where waiting for the disk holds up no task. It runs to its end even when nobody waits for it any more.
#[expect(clippy::disallowed_methods, reason = "the one place where work moves to blocking threads")]
async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::Stopped,
    })
}

#[cfg(test)]
mod tests;
