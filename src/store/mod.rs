//! The only place with SQL: SQLite, a file per table. Speaks domain types and [`Sealed`](crate::domain::secret::Sealed),
//! never plaintext; knows `domain` and nobody else. Owns rusqlite and refinery.
//!
//! Functions take a `&Connection` to read and a `&Transaction` to write; [`Store::read`] and [`Store::write`] give them
//! one. `find` answers with an Option, `get` fails when there is nothing; an update or deletion that changes nothing is
//! [`Error::NotChanged`].
//!
//! Invariants: every statement on a tenant's row names its project. One connection writes, in transactions that take the
//! write lock at once (one that upgrades later fails without waiting); a write is on the disk before it is acknowledged,
//! and after one that the disk did not confirm there is no other. A closure never waits for anything but the database.

pub mod access_keys;
mod columns;
pub mod consents;
mod disk_reserve;
mod error;
#[cfg(test)]
mod fixture;
pub mod flows;
pub mod grants;
pub mod integrations;
mod job;
pub mod keyring;
mod lock;
pub mod meta;
pub mod oauth_apps;
mod open;
pub mod profiles;
pub mod projects;
pub mod refreshes;
mod schema;
pub mod selections;
pub mod token_reads;
mod writer;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

/// What a read and a write happen in.
pub use rusqlite::{Connection, Transaction};
use tokio::sync::Semaphore;

use disk_reserve::DiskReserve;
pub use error::Error;
use job::Work;
pub use lock::DatabaseLock;
pub use open::{Inspection, OpenError, inspect, schema_version};
use writer::Writer;

/// An open database. Cheap to clone, usable from any tokio runtime. Dropping the last clone waits for the write under
/// way.
#[derive(Clone)]
pub struct Store {
    // Before the writer: it is the last to close the file, which moves the log into it.
    readers: Arc<SyncMutex<Vec<Connection>>>,
    /// A permit for each idle reader.
    idle: Arc<Semaphore>,
    writer: Arc<Writer>,
    /// A permit for each write that waits or runs.
    writes: Arc<Semaphore>,
    reserve: Arc<DiskReserve>,
}

impl Store {
    /// How many reads run at a time.
    const READERS: usize = 4;
    /// How many writes may wait. Beyond that they are refused: a queue that grows helps nobody.
    const WRITES: usize = 4096;

    fn over(path: &Path, writer: Connection, readers: Vec<Connection>) -> io::Result<Self> {
        let reserve = Arc::new(DiskReserve::of(path));
        Ok(Self {
            idle: Arc::new(Semaphore::new(readers.len())),
            readers: Arc::new(SyncMutex::new(readers)),
            writer: Arc::new(Writer::start(writer, reserve.clone())?),
            writes: Arc::new(Semaphore::new(Self::WRITES)),
            reserve,
        })
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

    /// Runs `work` in a transaction: committed, and on the disk, when it gives `Ok`, rolled back when not. Writes that
    /// wait at the same time share a commit, and see each other's work in the order in which they came; none is
    /// answered before all of it is on the disk.
    ///
    /// Once begun it runs to its end, whether the caller still waits or not. Until then, a caller that goes takes its
    /// write along.
    ///
    /// # Errors
    ///
    /// Those of `work`; those of the commit; [`Error::RolledBack`] when another write took this one along;
    /// [`Error::Overloaded`] when too many wait already; [`Error::Failed`] when the store writes no more.
    ///
    /// # Panics
    ///
    /// When `work` does; what it did is rolled back and the store goes on.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let permit = self.writes.clone().try_acquire_owned().map_err(|_| Error::Overloaded)?;
        self.writer.write(Work::Once(Some(Box::new(work))), permit).await
    }

    /// As [`write`](Self::write), for what must not be lost: on a full disk the reserve is given up and the work tried
    /// again at once, as it is when another write took it along; and where too many wait already it waits as well.
    ///
    /// Work that fails with the store's own error must have it as itself or among its sources, as `#[from]` does (and
    /// `#[error(transparent)]` does not). Ask [`ensure_reserve`](Self::ensure_reserve) before what must be kept exists.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write), but [`Error::Full`] only when the reserve did not help or was gone, and neither
    /// [`Error::RolledBack`] nor [`Error::Overloaded`].
    ///
    /// # Panics
    ///
    /// When `work` does; what it did is rolled back and the store goes on.
    pub async fn write_kept<T, E>(
        &self,
        work: impl Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        let permit = self.writes.clone().acquire_owned().await.map_err(|_| Error::Stopped)?;
        self.writer.write(Work::Kept { work: Box::new(work), cause: Error::within }, permit).await
    }

    /// Keeps a reserve beside the database from now on, for [`write_kept`](Self::write_kept) to give up: for the one
    /// broker that owns the database, not for a command beside it.
    ///
    /// # Errors
    ///
    /// There is no room for it, or it cannot be made. It is wanted all the same, and made as soon as it can be.
    pub fn hold_reserve(&self) -> Result<(), Error> {
        self.reserve.hold()
    }

    /// What is to be stored next will find room, even if the disk is full by then: the reserve is there, or was made
    /// again just now. To be asked before a platform is asked for something that cannot be asked for twice.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] without room for the reserve, [`Error::Reserve`] when it cannot be made, [`Error::Failed`] when
    /// the store writes no more.
    pub async fn ensure_reserve(&self) -> Result<(), Error> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let reserve = self.reserve.clone();
        on_blocking_thread(move || reserve.ensure()).await?
    }

    /// Whether there is room for ordinary writes, beside the reserve; true where none is kept.
    pub async fn has_room(&self) -> bool {
        let reserve = self.reserve.clone();
        on_blocking_thread(move || reserve.has_room()).await.unwrap_or(false)
    }

    /// Whether the reserve is there, as far as is known without looking; true where none is kept.
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.reserve.is_ready()
    }

    /// Ends when the store writes no more, ever: the disk did not confirm a commit. Reads go on; the process should not.
    pub fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.writer.failed().cancelled_owned()
    }

    /// [`Error::Failed`], once the store writes no more.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.writer.failure()
    }

    /// Brings what was written into the database file and empties the log beside it. What was erased stays readable in
    /// that log until this (or a later write) overwrites it.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when a reader holds on to an older state for too long: what is committed is safe all the same.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        let permit = self.writes.clone().acquire_owned().await.map_err(|_| Error::Stopped)?;
        self.writer.checkpoint(permit).await
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
