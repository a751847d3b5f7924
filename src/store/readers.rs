//! The connections that read.
//!
//! **Short reads stay on their thread.** Going to another thread and back costs several times what a look-up costs, so
//!   a point read or a short list runs where it was asked for, on one of a few connections that no thread ever waits
//!   for. Each thread prefers a connection of its own, whose cached pages and statements nobody else displaces. When
//!   all are in use, the read goes to a [thread for long reads](long).
//!
//! **Snapshots outlive short reads.** To begin and end one, SQLite locks the file, and all connections of the process
//!   wait in turn for the mutex in front of that lock: with two threads, that took longer than the reads. So a connection
//!   stays in its snapshot for the next read, as long as the snapshot shows every [commit](Commits) of this process, and
//!   for a millisecond at most, because it cannot know what another process commits. A snapshot keeps the log from
//!   being emptied. So the writer [ends](Readers::pause) those that wait whenever it begins, commits or moves the log,
//!   and [sweeps](Readers::sweep) when it has nothing to do. What is known of [callers] outlives its snapshot.
//!
//! **What bounds the wait.** A reader waits for no writer (WAL) and, here, for no lock: when the snapshot cannot be
//!   taken at once, because another process holds the whole file, a thread for long reads waits instead. What is left
//!   is the disk. A point read touches about a dozen pages and a list of 100 a few hundred, each read from a cold disk
//!   at most once, and the pages of the indices' upper levels are warm after the first reads. Whatever looks at more
//!   rows than it returns (a search, a deep offset, an export) is a long read.
//!
//! Invariants: a connection is used by one thread at a time, and never writes. A short read that begins after a write
//! was answered, or after another read saw it, sees it too; what another process has committed, a millisecond later. A
//! panic ends the snapshot.

mod callers;
mod known;
mod long;
mod turns;

use std::hash::Hash;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::{Instant, sleep};

use callers::KnownCallers;
pub(super) use callers::TABLES as TABLES_OF_CALLERS;
use known::KnownAnswers;
use long::LongReaders;
pub(super) use long::{Answer, Reading};

use super::Error;
use super::access_keys::FoundKey;
use crate::domain::error_chain::chain;
use crate::domain::id::ProjectId;
use crate::domain::secret::Digest256;
use crate::domain::weigh::Weigh;

/// Number of the next thread that reads.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The connection that this thread tries first, modulo their number.
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
}

/// Memory for the pages of each connection. Half of SQLite's own choice: the upper levels of all indices fit, and the
/// rest is in the system's cache.
const CACHE_KIB: i32 = 1024;

/// How long a connection of short reads stays in a snapshot.
const LASTS: Duration = Duration::from_millis(1);

/// Waits until every reader, of whatever process, sees what was committed before.
pub(super) async fn until_seen() {
    sleep(2 * LASTS).await;
}

/// Counts the times at which the writer may change what readers see: an odd number meanwhile.
#[derive(Debug, Default)]
struct Commits(AtomicU64);

impl Commits {
    /// Counts one, which is over when the guard is dropped.
    fn count(&self) -> Pause<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Pause(self)
    }

    /// `None` while a commit may be under way: a snapshot may show it, or not.
    fn settled(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|number| number.is_multiple_of(2))
    }
}

/// Connections of both kinds of reads.
pub(super) struct Readers {
    short: Box<[Mutex<Short>]>,
    commits: Commits,
    /// Those that change what is known of callers.
    changes_of_callers: Commits,
    /// True while snapshots may wait that nobody but a sweeper ends: set by the first read that ends after the last sweep,
    /// which asks the writer to sweep, and cleared by the sweep that leaves none.
    needs_sweeps: AtomicBool,
    long: LongReaders,
}

impl Readers {
    /// Connections for short reads: one for each thread that serves requests, and for those of the work that outlives
    /// them.
    pub(super) const SHORT: usize = 6;
    /// Concurrent long reads.
    pub(super) const LONG: usize = 3;

    pub(super) fn start(short: Vec<Connection>, long: Vec<Connection>) -> io::Result<Self> {
        Ok(Self {
            short: short.into_iter().map(Short::new).map(Mutex::new).collect(),
            commits: Commits::default(),
            changes_of_callers: Commits::default(),
            needs_sweeps: AtomicBool::new(false),
            long: LongReaders::start(long)?,
        })
    }

    /// A snapshot for a short read on this thread. `None` when no connection can take one at once.
    pub(super) fn begin(&self) -> Option<Lent<'_>> {
        // An error is reported by the long read that follows.
        self.lend()?.ok()
    }

    /// Finds an access key on this thread. [`Error::Overloaded`] when all connections are in use.
    pub(super) fn find_access_key(&self, digest: &Digest256) -> Result<Option<Arc<FoundKey>>, Error> {
        self.ask_of_callers(|known| known.known_key(digest).map(Some), |known, db| known.find_key(db, digest))
    }

    /// True where there is more than one project. [`Error::Overloaded`] when all connections are in use.
    pub(super) fn are_several_projects(&self) -> Result<bool, Error> {
        self.ask_of_callers(KnownCallers::known_several, KnownCallers::are_several)
    }

    /// Takes what is `known` of callers, or else reads it now.
    fn ask_of_callers<T>(
        &self,
        known: impl FnOnce(&KnownCallers) -> Option<T>,
        read: impl FnOnce(&mut KnownCallers, &Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut lent = self.take().ok_or(Error::Overloaded)?;
        let callers = &lent.short.callers;
        if callers.are_current(&self.changes_of_callers)
            && let Some(known) = known(callers)
        {
            return Ok(known);
        }
        lent.short.enter(self)?;
        let Short { connection, callers, .. } = &mut *lent.short;
        read(callers, connection)
    }

    /// Finds an answer on this thread, as [`Store::read_known`](super::Store::read_known) does. `None` when no
    /// connection can take a snapshot at once.
    pub(super) fn find_known<K, T>(
        &self,
        key: &K,
        holds: impl FnOnce(&T) -> bool,
        read: &mut impl FnMut(&Connection) -> Result<Option<T>, Error>,
    ) -> Option<Result<Option<Arc<T>>, Error>>
    where
        K: Clone + Eq + Hash + Send + 'static,
        T: Weigh + Send + Sync + 'static,
    {
        // An error is reported by the long read that follows.
        let mut lent = self.lend()?.ok()?;
        let Short { connection, answers, .. } = &mut *lent.short;
        Some(answers.find(key, holds, || read(connection)))
    }

    /// A connection in a snapshot.
    fn lend(&self) -> Option<rusqlite::Result<Lent<'_>>> {
        let mut lent = self.take()?;
        Some(lent.short.enter(self).map(|()| lent))
    }

    /// A connection, perhaps in a snapshot of before.
    fn take(&self) -> Option<Lent<'_>> {
        let count = self.short.len();
        let first = THREAD.with(|thread| thread % count.max(1));
        (first..count).chain(0..first).find_map(|at| Lent::of(self.short.get(at)?, &self.commits))
    }

    /// Ends the snapshots that wait for their next read, and has none wait while the guard lives: for the writer, while
    /// it waits for its lock, commits or moves the log.
    pub(super) fn pause(&self) -> Pause<'_> {
        let paused = self.commits.count();
        fence(Ordering::SeqCst);
        for mut short in self.short.iter().filter_map(lock) {
            short.leave();
        }
        paused
    }

    /// Ends what is known of callers, for the writer, while it commits a change of their [tables](TABLES_OF_CALLERS).
    pub(super) fn forget_callers(&self) -> Pause<'_> {
        self.changes_of_callers.count()
    }

    /// After a read: true when nobody has been asked to [sweep](Self::sweep) yet, so that the caller has to ask.
    pub(super) fn claim_sweeps(&self) -> bool {
        !self.needs_sweeps.load(Ordering::Acquire) && !self.needs_sweeps.swap(true, Ordering::AcqRel)
    }

    /// True when a sweep is due once in a while.
    pub(super) fn needs_sweeps(&self) -> bool {
        self.needs_sweeps.load(Ordering::Acquire)
    }

    /// Ends snapshots that are too old to serve another read.
    pub(super) fn sweep(&self) {
        // Taken back if there is more to do. A read that ends meanwhile finds it like this, and asks for a sweeper.
        self.needs_sweeps.store(false, Ordering::Release);
        let now = Instant::now();
        let mut is_clean = true;
        for short in &self.short {
            let Some(mut short) = lock(short) else {
                is_clean = false;
                continue;
            };
            match &short.kept {
                Some(kept) if now < kept.until => is_clean = false,
                _ => short.leave(),
            }
        }
        if !is_clean {
            self.needs_sweeps.store(true, Ordering::Release);
        }
    }

    /// Runs a long read on a thread of its kind, in one snapshot. Waits while all are in use: with a project, in turn
    /// with others.
    pub(super) async fn run_long(&self, project: Option<ProjectId>, reading: Reading) -> Result<Answer, Error> {
        self.long.run(project, reading).await
    }
}

fn lock(short: &Mutex<Short>) -> Option<MutexGuard<'_, Short>> {
    match short.try_lock() {
        Ok(short) => Some(short),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The writer may be changing what readers see while this lives.
pub(super) struct Pause<'r>(&'r Commits);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A connection of short reads.
struct Short {
    connection: Connection,
    /// True from the first read on.
    is_ready: bool,
    /// The snapshot's, where it may serve another read.
    kept: Option<Kept>,
    callers: KnownCallers,
    /// The answers found since the database last changed.
    answers: KnownAnswers,
}

/// Which reads a snapshot may serve. It shows this process's commits up to a number, and those of others up to the time
/// at which it was taken.
struct Kept {
    commits: u64,
    until: Instant,
}

impl Kept {
    /// True while nothing has changed since, as far as is known.
    fn serves(&self, commits: &Commits) -> bool {
        commits.settled() == Some(self.commits) && Instant::now() < self.until
    }
}

impl Short {
    fn new(connection: Connection) -> Self {
        let (callers, answers) = (KnownCallers::default(), KnownAnswers::default());
        Self { connection, is_ready: false, kept: None, callers, answers }
    }

    /// Enters a snapshot, or stays in the present one.
    fn enter(&mut self, readers: &Readers) -> rusqlite::Result<()> {
        // After some errors, SQLite has ended it.
        if self.kept.as_ref().is_some_and(|kept| kept.serves(&readers.commits)) && !self.connection.is_autocommit() {
            return Ok(());
        }
        self.leave();
        make_ready(&self.connection, &mut self.is_ready)?;
        // From before: what is committed from here on may not be seen.
        let until = Instant::now() + LASTS;
        let kept = |commits: &Commits| commits.settled().map(|commits| Kept { commits, until });
        let (kept, kept_callers) = (kept(&readers.commits), kept(&readers.changes_of_callers));
        let version = begin(&self.connection)?;
        self.callers.look(version, kept_callers);
        self.answers.look(version);
        self.kept = kept;
        Ok(())
    }

    fn leave(&mut self) {
        self.kept = None;
        if !self.connection.is_autocommit() {
            end(&self.connection);
        }
    }
}

/// A connection of short reads in use, in a snapshot.
pub(super) struct Lent<'r> {
    // Given back before the other is dropped.
    short: MutexGuard<'r, Short>,
    given_back: GivenBack<'r>,
}

impl<'r> Lent<'r> {
    /// `None` when the connection is in use.
    fn of(mutex: &'r Mutex<Short>, commits: &'r Commits) -> Option<Self> {
        lock(mutex).map(|short| Self { short, given_back: GivenBack { mutex, commits, kept: None } })
    }
}

impl Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.short.connection
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let (settled, kept) = (self.given_back.commits.settled(), self.short.kept.as_ref().map(|kept| kept.commits));
        self.given_back.kept = kept.filter(|kept| settled == Some(*kept) && !thread::panicking());
        if self.given_back.kept.is_none() {
            self.short.leave();
        }
    }
}

/// A connection that has just been given back. The writer may have begun to [pause](Readers::pause) before, and found
/// it in use: then the snapshot that was kept ends here.
struct GivenBack<'r> {
    mutex: &'r Mutex<Short>,
    commits: &'r Commits,
    /// The number of commits that its snapshot shows, where that was kept.
    kept: Option<u64>,
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        let Some(kept) = self.kept else { return };
        // Either the writer finds the connection free, or this finds that it counted.
        fence(Ordering::SeqCst);
        if self.commits.settled() != Some(kept)
            && let Some(mut short) = lock(self.mutex)
        {
            short.leave();
        }
    }
}

/// A connection in a snapshot, which ends on drop.
struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        begin(connection).map(|_| Self(connection))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        end(self.0);
    }
}

/// Limits the cache, for which SQLite parses the schema. That takes as long as all else about opening a connection, and
/// memory: so it comes with the first read, not with the start.
fn make_ready(connection: &Connection, is_ready: &mut bool) -> rusqlite::Result<()> {
    if !*is_ready {
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        *is_ready = true;
    }
    Ok(())
}

/// Takes a snapshot now, so that no later statement waits for a lock: `BEGIN` alone leaves that to the first one.
/// Returns SQLite's number for the state of the database, which is only good for comparisons on this connection.
/// Statements are kept, because SQLite's parser takes longer than most of them run.
fn begin(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
    if version.is_err() {
        end(connection);
    }
    version
}

fn end(connection: &Connection) {
    let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    if let Err(error) = ended {
        // Nothing was written, so nothing is lost. The next snapshot would fail if this one did not end.
        tracing::warn!(error = %chain(&error), "a read did not end as it should");
        let _ = connection.execute_batch("ROLLBACK");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use super::*;
    use crate::store::tests::{count, insert, lend_all, store};
    use crate::store::{Store, projects};

    /// Number of connections that wait in a snapshot.
    fn waiting(store: &Store) -> usize {
        // Waits for the writer, which may be looking at one.
        let short = store.readers.short.iter().map(|short| short.lock().unwrap_or_else(PoisonError::into_inner));
        short.filter(|short| !short.connection.is_autocommit()).count()
    }

    /// Reads once, and has nobody sweep.
    fn read(store: &Store) {
        drop(store.readers.begin().unwrap());
    }

    /// Has every connection wait in a snapshot.
    fn read_everywhere(store: &Store) {
        drop(lend_all(store));
    }

    #[tokio::test]
    async fn a_snapshot_waits_for_the_next_read_until_somebody_commits() {
        let (_directory, store) = store();
        read(&store);
        assert_eq!(waiting(&store), 1);
        let until =
            |store: &Store| store.readers.short.iter().find_map(|short| Some(lock(short)?.kept.as_ref()?.until));
        let first = until(&store).unwrap();
        for _ in 0..3 {
            read(&store);
        }
        let second = until(&store).unwrap();
        assert!(second == first || second >= first + LASTS, "one snapshot for all, unless it was too old");
        sleep(LASTS).await;
        read(&store);
        assert!(until(&store).unwrap() >= second + LASTS, "it lasts a millisecond");

        read_everywhere(&store);
        assert_eq!(waiting(&store), Readers::SHORT);
        insert(&store, 1).await.unwrap();
        assert_eq!(waiting(&store), 0);
        assert_eq!(count(&store).await, 2);
    }

    #[tokio::test]
    async fn the_commit_of_another_process_is_seen_a_moment_later() {
        let (directory, store) = store();
        let other = Connection::open(directory.path().join("postpeer.db")).unwrap();
        for name in ["a", "b", "c"] {
            read_everywhere(&store);
            other.execute("UPDATE projects SET name = ?1", [name]).unwrap();
            until_seen().await;
            assert_eq!(store.read(projects::list).await.unwrap()[0].name, name);
        }
    }

    #[tokio::test]
    async fn a_snapshot_that_waits_keeps_no_log_from_being_emptied() {
        let (directory, store) = store();
        read_everywhere(&store);
        insert(&store, 1).await.unwrap();
        read_everywhere(&store);
        store.checkpoint().await.unwrap();
        assert_eq!(directory.path().join("postpeer.db-wal").metadata().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn no_snapshot_waits_during_a_commit_or_after_a_panic() {
        let (_directory, store) = store();
        read_everywhere(&store);
        let paused = store.readers.pause();
        assert_eq!(waiting(&store), 0);
        read_everywhere(&store);
        assert_eq!(waiting(&store), 0);
        drop(paused);
        let lent = store.readers.begin().unwrap();
        drop(store.readers.pause());
        drop(lent);
        assert_eq!(waiting(&store), 0, "it was begun before the commit");
        let reading = store.clone();
        let panicked = thread::spawn(move || {
            let _lent = reading.readers.begin();
            panic!("in a read");
        });
        assert!(panicked.join().is_err());
        assert_eq!(waiting(&store), 0);
        assert_eq!(count(&store).await, 1);
    }

    #[tokio::test]
    async fn a_snapshot_that_the_writer_found_in_use_ends_when_its_connection_is_given_back() {
        let (_directory, store) = store();
        let Readers { short, commits, .. } = &*store.readers;
        let given_back = |at: usize| GivenBack { mutex: &short[at], commits, kept: commits.settled() };
        read_everywhere(&store);
        drop(given_back(0));
        assert_eq!(waiting(&store), Readers::SHORT);
        let missed = given_back(1);
        let paused = {
            let _in_use = short[1].lock().unwrap_or_else(PoisonError::into_inner);
            store.readers.pause()
        };
        assert_eq!(waiting(&store), 1);
        drop(missed);
        assert_eq!(waiting(&store), 0);
        drop(paused);
    }

    #[tokio::test]
    async fn no_snapshot_waits_in_an_idle_process() {
        let (directory, store) = store();
        let other = Connection::open(directory.path().join("postpeer.db")).unwrap();
        other.busy_timeout(Duration::from_mins(1)).unwrap();
        insert(&store, 1).await.unwrap();
        for _ in 0..3 {
            read_everywhere(&store);
            count(&store).await;
            let is_busy: bool = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
            assert!(!is_busy);
            // Ends when the last sweep has ended them all.
            while store.readers.needs_sweeps() || waiting(&store) > 0 {
                sleep(LASTS).await;
            }
        }
    }

    #[tokio::test]
    async fn a_write_that_waits_for_another_process_keeps_no_snapshot_open() {
        let (directory, store) = store();
        insert(&store, 1).await.unwrap();
        let other = Connection::open(directory.path().join("postpeer.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        read_everywhere(&store);
        let writing = tokio::spawn({
            let store = store.clone();
            async move { insert(&store, 2).await }
        });
        while store.readers.commits.settled().is_some() {
            tokio::task::yield_now().await;
        }
        while waiting(&store) > 0 {
            tokio::task::yield_now().await;
        }
        read_everywhere(&store);
        assert_eq!(waiting(&store), 0, "nor one that began meanwhile");
        assert!(!writing.is_finished());
        other.execute_batch("ROLLBACK").unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(count(&store).await, 3);
    }

    #[test]
    fn what_one_read_has_seen_every_later_read_sees() {
        const WRITES: usize = 300;
        let (_directory, store) = store();
        let (highest, is_done) = (AtomicUsize::new(1), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    while !is_done.load(Ordering::Acquire) {
                        let before = highest.load(Ordering::Acquire);
                        let seen = runtime.block_on(count(&store));
                        assert!(seen >= before, "{seen} rows, after another thread saw {before}");
                        highest.fetch_max(seen, Ordering::AcqRel);
                    }
                });
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            for number in 1..=WRITES {
                runtime.block_on(insert(&store, number as u128)).unwrap();
                let before = highest.fetch_max(number + 1, Ordering::AcqRel);
                assert!(before <= number + 1);
            }
            is_done.store(true, Ordering::Release);
        });
    }
}
