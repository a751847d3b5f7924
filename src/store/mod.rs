//! The only room with SQL: SQLite, a file per table. Takes and gives domain types and
//! [`Sealed`](crate::domain::secret::Sealed) values, never plaintext; knows only `domain`. Owns rusqlite and refinery.
//!
//! Functions take a `&Connection` to read and a `&Transaction` to write, from [`Store::read`], [`Store::read_known`],
//! [`Store::read_long`] and [`Store::write`].
//! `find` returns an Option, `get` fails when there is no row. `change` loads a row, lets `domain` decide its next
//! state, and writes that back. An update or deletion without effect is [`Error::NotChanged`].
//!
//! Invariants: every statement on a row of a project names the project. One connection writes, in transactions that
//! take the write lock at their start (a later upgrade fails without waiting). A write is on the disk before it is
//! acknowledged (but for [`Store::write_unsynced`]), and after a commit that the disk did not confirm, nothing is
//! written any more. A closure waits for nothing but the database.

pub mod access_keys;
pub mod activity;
pub mod audit;
pub mod backup;
mod columns;
pub mod consents;
pub mod console_sessions;
pub mod counts;
mod damage;
pub mod discovered;
mod disk_reserve;
pub mod due;
mod error;
mod files;
#[cfg(test)]
mod fixture;
pub mod flow_limit;
pub mod flows;
pub mod forget;
pub mod grants;
pub mod integrations;
mod job;
pub mod keyring;
pub mod late_redirects;
pub mod links;
mod listing;
mod lock;
pub mod meta;
pub mod oauth_apps;
mod open;
#[cfg(test)]
mod plans;
pub mod profiles;
pub mod projects;
mod readers;
mod reading;
pub mod recovery;
pub mod refreshes;
pub mod registrations;
pub mod rescheduling;
mod schema;
pub mod sealed;
pub mod search_index;
pub mod selections;
pub mod survey;
pub mod token_reads;
mod writer;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Connections of the closures of [`Store::read`] and [`Store::write`].
pub use rusqlite::{Connection, Transaction};
use tokio::sync::Semaphore;

pub use damage::Damage;
use disk_reserve::DiskReserve;
pub use disk_reserve::SIZE as RESERVE;
pub use error::Error;
use files::Files;
pub use files::{How, Moved};
use job::Work;
pub use lock::{DatabaseLock, DatabaseUse, Holder, find_holder};
pub use open::{
    Inspection, OpenError, check, inspect, inspect_briefly, list_copies, schema_version, warn_of_names, wrapping_keys,
};
use readers::Readers;
use writer::Writer;

/// An open database. Cheap to clone, usable from any tokio runtime. Dropping the last clone ends long reads that nobody
/// waits for, and waits for the write in progress.
#[derive(Clone)]
pub struct Store {
    readers: Arc<Readers>,
    writer: Arc<Writer>,
    /// A permit for each write that is queued or running.
    writes: Arc<Semaphore>,
    reserve: Arc<DiskReserve>,
    files: Arc<Files>,
    /// True once stored values could not be read.
    is_unreadable: Arc<AtomicBool>,
}

impl Store {
    /// Most queued writes. Further ones are refused, because a longer queue only delays their failure.
    const WRITES: usize = 4096;

    fn over(path: &Path, writer: Connection, short: Vec<Connection>, long: Vec<Connection>) -> io::Result<Self> {
        let reserve = Arc::new(DiskReserve::of(path));
        let files = Arc::new(Files::of(path)?);
        let readers = Arc::new(Readers::start(short, long)?);
        Ok(Self {
            writer: Arc::new(Writer::start(writer, readers.clone(), reserve.clone(), files.clone())?),
            readers,
            writes: Arc::new(Semaphore::new(Self::WRITES)),
            reserve,
            files,
            is_unreadable: Arc::default(),
        })
    }

    /// Runs `work` in a transaction, which is committed and on the disk after `Ok`, and rolled back after `Err`. Queued
    /// writes share a commit and see each other's changes in the order of their arrival. None is answered before the
    /// commit is on the disk.
    ///
    /// A write that has begun runs to its end. Before that, a caller that stops waiting cancels it.
    ///
    /// # Errors
    ///
    /// Those of `work` and of the commit; [`Error::RolledBack`] when another write rolled this one back;
    /// [`Error::Overloaded`] when the queue is full; [`Error::Refused`] when the store writes no more.
    ///
    /// # Panics
    ///
    /// When `work` panics; its changes are rolled back and the store goes on.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        self.queue(Work::Once(Some(Box::new(work)))).await
    }

    /// Like [`write`](Self::write), for what may be lost in a power cut and not with the process: it is committed when
    /// this returns, and waits for no disk. A later [`write`](Self::write) takes it to the disk.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    ///
    /// # Panics
    ///
    /// When `work` panics; its changes are rolled back and the store goes on.
    pub async fn write_unsynced<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        self.queue(Work::Unsynced(Some(Box::new(work)))).await
    }

    /// Like [`write`](Self::write), for what must not be lost. On a full disk the reserve is released and the work
    /// retried at once; work that another write rolled back is retried too. Where the queue is full, the caller
    /// waits.
    ///
    /// Work that fails with the store's own error must return it, or have it among its sources, as with `#[from]` (and
    /// not `#[error(transparent)]`). Call [`ensure_reserve`](Self::ensure_reserve) before what must be kept exists.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write), but [`Error::Full`] only when the reserve was gone or too small, and neither
    /// [`Error::RolledBack`] nor [`Error::Overloaded`].
    ///
    /// # Panics
    ///
    /// When `work` panics; its changes are rolled back and the store goes on.
    pub async fn write_kept<T, E>(
        &self,
        work: impl Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        self.queue(Work::Kept { work: Box::new(work), cause: Error::within }).await
    }

    async fn queue<T, E>(&self, work: Work<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        let queue = self.writes.clone();
        let permit = match work {
            Work::Once(_) | Work::Unsynced(_) => queue.try_acquire_owned().map_err(|_| Error::Overloaded)?,
            Work::Kept { .. } => queue.acquire_owned().await.map_err(|_| Error::Stopped)?,
        };
        self.noted(self.writer.write(work, permit).await)
    }

    /// Keeps a reserve beside the database from now on, for [`write_kept`](Self::write_kept) to release. For the one
    /// broker that owns the database, not for a command beside it.
    ///
    /// # Errors
    ///
    /// The reserve cannot be made now. [`ensure_reserve`](Self::ensure_reserve) tries again.
    pub fn hold_reserve(&self) -> Result<(), Error> {
        self.reserve.hold()
    }

    /// Makes the reserve again if it is missing, so that the next write finds room even on a full disk. Call this
    /// before asking a platform for what cannot be asked for twice.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] without space for the reserve, [`Error::Reserve`] when it cannot be made, [`Error::Failed`] when
    /// the store writes no more.
    pub async fn ensure_reserve(&self) -> Result<(), Error> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let reserve = self.reserve.clone();
        on_blocking_thread(move || reserve.ensure()).await?
    }

    /// Looks whether the store can do its work. Writes something only as long as nothing proves that it can: at the
    /// start, and after a write that failed.
    ///
    /// # Errors
    ///
    /// The reason why writes fail, or would fail soon: [`Error::Failed`], [`Error::Moved`], [`Error::ReadOnly`],
    /// [`Error::Full`], [`Error::Reserve`], or what a first write met. Once a value could not be read,
    /// [`Error::Corrupt`]: the next start finds out whether the file is damaged.
    pub async fn check_usable(&self) -> Result<(), Error> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if let Err(moved) = self.files.check() {
            if moved.how == How::LogGone {
                // What only the lost log has is in the database file then. Should that fail, a stop tries again.
                let _ = self.checkpoint().await;
            }
            return Err(moved.into());
        }
        if self.files.check_log(self.writer.log_bytes()).is_err() {
            self.writer.check_log().await?;
        }
        let reserve = self.reserve.clone();
        on_blocking_thread(move || reserve.check_room()).await??;
        if !self.writer.is_proven() {
            self.write(meta::touch).await?;
            self.writer.set_proven();
        }
        if self.is_unreadable.load(Ordering::Acquire) {
            return Err(damage::found_earlier());
        }
        self.read(meta::check_readable).await
    }

    /// The file whose place closing the store now leaves changes beside, and not in the database. A log that was
    /// removed is none: as long as it is open, it can be moved into the database.
    fn moved(&self) -> Option<Moved> {
        self.files.check().err().filter(|moved| moved.how != How::LogGone)
    }

    /// The reason why closing the store now leaves changes out of the database, or leaves out that some were lost.
    pub async fn find_trouble(&self) -> Option<Error> {
        let trouble = self.failure().or_else(|| self.moved().map(Error::from));
        match trouble {
            None => self.writer.check_log().await.err(),
            trouble => trouble,
        }
    }

    /// The damage that was met in this database so far. Once there is some, closing leaves the log beside the database.
    #[must_use]
    pub fn damage(&self) -> &Damage {
        self.writer.damage()
    }

    /// True when the reserve exists, as far as is known without looking, or none is kept.
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.reserve.is_ready()
    }

    /// True when the latest commit found a long log, because a backup, say, still reads from it: what can be written
    /// later should be. False again some commits after that, when the log has been moved into the database file.
    #[must_use]
    pub fn has_kept_log(&self) -> bool {
        self.writer.has_kept_log()
    }

    /// Completes when the store stops writing for good, because the disk did not confirm a commit. Reads go on, but the
    /// process should stop.
    pub fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.writer.failed().cancelled_owned()
    }

    /// Waits until no other clone of this handle is left, at most that long. Then dropping this one closes the file,
    /// which moves the log into it. Blocks.
    pub fn wait_until_last(&self, at_most: Duration) {
        const LOOK_EVERY: Duration = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        while Arc::strong_count(&self.writer) > 1 && waited < at_most {
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }

    /// [`Error::Failed`] once the store writes no more.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.writer.failure()
    }

    /// Moves the log into the database file and empties it. Until this or a later write, erased values stay readable
    /// in the log.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when a reader holds an older snapshot for too long. Everything committed is safe all the
    /// same.
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

thread_local! {
    /// True on the threads that a store waits for when it is dropped.
    static IS_AWAITED: Cell<bool> = const { Cell::new(false) };
}

/// Runs such a thread. Its work may own the last handle of the store, which does not wait then.
fn on_store_thread(run: impl FnOnce()) {
    IS_AWAITED.set(true);
    run();
}

/// Runs `work` where waiting for the disk blocks no task. It runs to its end even if the caller stops waiting.
///
/// # Errors
///
/// [`Error::Stopped`] when the runtime stops first.
///
/// # Panics
///
/// When `work` panics.
#[expect(clippy::disallowed_methods, reason = "the one place where work moves to blocking threads")]
pub async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::Stopped,
    })
}

#[cfg(test)]
mod tests;
