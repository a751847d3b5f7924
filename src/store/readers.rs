//! The connections that read.
//!
//! **Short reads stay on their thread.** Going to another thread and back costs several times what a look-up costs, so
//!   a point read or a short list runs where it was asked for, on one of a few connections that no thread ever waits
//!   for. Each thread prefers a connection of its own, whose cached pages and statements nobody else displaces. When
//!   all are in use, the read goes to a blocking thread.
//!
//! **What bounds the wait.** A reader waits for no writer (WAL) and, here, for no lock: when the snapshot cannot be
//!   taken at once, because another process holds the whole file, the read goes to a blocking thread and waits there.
//!   What is left is the disk. A point read touches about a dozen pages and a list of 100 a few hundred, each read from
//!   a cold disk at most once, and the pages of the indices' upper levels are warm after the first reads. Whatever
//!   looks at more rows than it returns (a search, a deep offset, an export) is a long read.
//!
//! Invariants: a connection is used by one thread at a time, never writes, and is out of its snapshot when it is given
//! back, even after a panic.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::access_keys::{FoundKey, KnownKeys};
use super::{Error, on_blocking_thread};
use crate::domain::secret::Digest256;

/// Number of the next thread that reads.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The connection that this thread tries first, modulo their number.
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
}

/// Connections of both kinds of reads.
pub(super) struct Readers {
    short: Box<[Mutex<Short>]>,
    /// Idle connections of long reads.
    long: Mutex<Vec<Connection>>,
    /// A permit for each idle connection of long reads.
    idle: Arc<Semaphore>,
}

impl Readers {
    /// Connections for short reads: one for each thread that serves requests, and for those of the work that outlives
    /// them.
    pub(super) const SHORT: usize = 6;
    /// Concurrent long reads.
    pub(super) const LONG: usize = 3;

    pub(super) fn new(short: Vec<Connection>, long: Vec<Connection>) -> Self {
        Self {
            short: short.into_iter().map(Short::new).map(Mutex::new).collect(),
            idle: Arc::new(Semaphore::new(long.len())),
            long: Mutex::new(long),
        }
    }

    /// A snapshot for a short read on this thread. `None` when no connection can take one at once.
    pub(super) fn begin(&self) -> Option<Snapshot<Lent<'_>>> {
        // An error is reported by the long read that follows.
        Snapshot::begin(self.lend()?).ok()
    }

    /// Finds an access key on this thread. [`Error::Overloaded`] when all connections are in use.
    pub(super) fn find_access_key(&self, digest: &Digest256) -> Result<Option<Arc<FoundKey>>, Error> {
        let mut lent = self.lend().ok_or(Error::Overloaded)?;
        let Short { connection, keys } = &mut *lent.0;
        keys.find(connection, digest)
    }

    fn lend(&self) -> Option<Lent<'_>> {
        let count = self.short.len();
        let first = THREAD.with(|thread| thread % count.max(1));
        (first..count).chain(0..first).find_map(|at| match self.short.get(at)?.try_lock() {
            Ok(short) => Some(Lent(short)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Lent(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        })
    }

    /// Runs `work` on a blocking thread, in one snapshot. Waits while all connections are in use.
    pub(super) async fn run_long<T, E>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let permit = self.idle.clone().acquire_owned().await.map_err(|_| Error::Stopped)?;
        on_blocking_thread(move || {
            // Dropped in reverse order: the connection is back before its permit is free.
            let _permit = permit;
            let borrowed = Borrowed::take(&self).ok_or(Error::Stopped)?;
            let snapshot = Snapshot::begin(borrowed.connection()?).map_err(Error::from)?;
            work(&snapshot)
        })
        .await?
    }
}

/// A connection of short reads, with the access keys that it has found.
struct Short {
    connection: Connection,
    keys: KnownKeys,
}

impl Short {
    fn new(connection: Connection) -> Self {
        Self { connection, keys: KnownKeys::default() }
    }
}

/// A connection of short reads in use.
pub(super) struct Lent<'r>(MutexGuard<'r, Short>);

impl Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.connection
    }
}

/// A connection of long reads, returned on drop.
struct Borrowed<'r> {
    connection: Option<Connection>,
    readers: &'r Readers,
}

impl<'r> Borrowed<'r> {
    fn take(readers: &'r Readers) -> Option<Self> {
        let connection = readers.long.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Self { connection: Some(connection), readers })
    }

    fn connection(&self) -> Result<&Connection, Error> {
        self.connection.as_ref().ok_or(Error::Stopped)
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.readers.long.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

/// A connection in a snapshot, which ends on drop. Its statements are kept, because SQLite's parser takes longer than
/// most of them run.
pub(super) struct Snapshot<C: Deref<Target = Connection>>(C);

impl<C: Deref<Target = Connection>> Snapshot<C> {
    /// Takes the snapshot now, so that no later statement waits for a lock: `BEGIN` alone leaves that to the first one.
    fn begin(connection: C) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        let snapshot = Self(connection);
        snapshot.0.prepare_cached("PRAGMA data_version")?.query_row([], |_| Ok(()))?;
        Ok(snapshot)
    }
}

impl<C: Deref<Target = Connection>> Deref for Snapshot<C> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl<C: Deref<Target = Connection>> Drop for Snapshot<C> {
    fn drop(&mut self) {
        let ended = self.0.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(error) = ended {
            // Nothing was written, so nothing is lost. The next snapshot would fail if this one did not end.
            tracing::warn!(error = &error as &dyn std::error::Error, "a read did not end as it should");
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}
