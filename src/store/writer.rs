//! The one connection that writes, on a thread of its own.
//!
//! The cost of a write is the sync to disk, so queued writes share one transaction: each runs inside its own
//! savepoint, one commit follows, and only then is any of them answered. A write never waits for others to join it. A
//! transaction with nothing but [unsynced](Work::Unsynced) writes ends without a sync: the log has it, and the kernel
//! has the log. The next sync of the log covers it, because a sync reaches the whole file.
//!
//! Invariants: a write that was answered `Ok` is in a commit that the disk has confirmed, unless it is an unsynced one.
//! A failure or panic of one write reaches no other, unless SQLite rolls back the whole transaction, or an unsynced
//! write fails after its first change: then the writes before it fail as well. After a commit that the disk did not
//! confirm, nothing is written any more: a second sync would succeed and prove nothing. That is why the log is moved
//! into the file here and not by SQLite, which syncs the log for that and ignores a failure.

mod checkpoint;
mod log;
mod step;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::hooks::Action;
use rusqlite::{Connection, Transaction, TransactionBehavior, ffi};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

use super::damage::Damage;
use super::disk_reserve::DiskReserve;
use super::error::copy;
use super::files::Files;
use super::job::{Job, Outcome, Work, Write};
use super::readers::{Readers, TABLES_OF_CALLERS};
use super::{Error, IS_AWAITED, on_store_thread};
use crate::domain::error_chain::chain;
use log::{Length, Log};
use step::{Step, step};

/// Most writes that share a transaction: the first waits for the last.
const BATCH: usize = 128;

/// How often snapshots of short reads are swept while there are some and nothing is written.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// How long a checkpoint waits for readers. All writes wait with it, and a backup reads for long.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(250);

enum Order {
    /// Find out whether the log was cut short.
    CheckLog {
        done: oneshot::Sender<Result<(), Error>>,
    },
    Checkpoint {
        done: oneshot::Sender<Result<(), Error>>,
        _permit: OwnedSemaphorePermit,
    },
    /// Sweep the readers until there is nothing to sweep.
    Sweep,
    Write(Box<dyn Job>),
}

/// Handle of the writing thread. Dropping it waits for the write in progress and closes the connection.
pub(super) struct Writer {
    /// `None` while the handle is being dropped.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
    log: Length,
}

/// State shared by the thread and its handle.
#[derive(Default)]
struct State {
    failure: OnceLock<rusqlite::Error>,
    failed: CancellationToken,
    /// True when the latest transaction that changed something was committed.
    is_proven: AtomicBool,
    damage: Damage,
}

impl Writer {
    /// `connection` syncs its commits.
    pub(super) fn start(
        mut connection: Connection,
        readers: Arc<Readers>,
        reserve: Arc<DiskReserve>,
        files: Arc<Files>,
    ) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let state = Arc::new(State::default());
        let log = Log::of(&mut connection).map_err(io::Error::other)?;
        let length = log.length();
        let changes_callers = notice_callers(&mut connection).map_err(io::Error::other)?;
        let scribe =
            Scribe { readers, connection, reserve, files, state: state.clone(), syncs: true, changes_callers, log };
        let thread = thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || on_store_thread(|| scribe.serve(&received)))?;
        Ok(Self { orders: Some(orders), thread: Some(thread), state, log: length })
    }

    /// Queues a write and waits for its outcome.
    pub(super) async fn write<T, E>(&self, work: Work<T, E>, permit: OwnedSemaphorePermit) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (job, outcome) = Write::new(work, permit);
        self.order(Order::Write(Box::new(job)))?;
        let outcome: Outcome<T, E> = outcome.await.map_err(|_| self.gone())?;
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(super) async fn checkpoint(&self, permit: OwnedSemaphorePermit) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        self.order(Order::Checkpoint { done, _permit: permit })?;
        outcome.await.map_err(|_| self.gone())?
    }

    /// Fails when the log was cut short. Waits for the writes before it.
    pub(super) async fn check_log(&self) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        self.order(Order::CheckLog { done })?;
        outcome.await.map_err(|_| self.gone())?
    }

    /// Bytes that the log has at least, unless another process has emptied it.
    pub(super) fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    pub(super) fn damage(&self) -> &Damage {
        &self.state.damage
    }

    /// Has the thread sweep the readers while it has nothing to write, until there is nothing to sweep.
    pub(super) fn sweep(&self) {
        // Without the thread, nobody empties the log either.
        let _ = self.order(Order::Sweep);
    }

    /// The error after which nothing is written any more.
    pub(super) fn failure(&self) -> Option<Error> {
        self.state.failure()
    }

    /// Cancelled when nothing is written any more.
    pub(super) fn failed(&self) -> CancellationToken {
        self.state.failed.clone()
    }

    /// False while nothing shows that changes reach the disk.
    pub(super) fn is_proven(&self) -> bool {
        self.state.is_proven.load(Ordering::Acquire)
    }

    /// Remembers that changes reached the disk.
    pub(super) fn set_proven(&self) {
        self.state.is_proven.store(true, Ordering::Release);
    }

    /// True while something keeps the log from shrinking.
    pub(super) fn has_kept_log(&self) -> bool {
        self.log.is_kept()
    }

    fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.as_ref().and_then(|orders| orders.send(order).ok()).ok_or_else(|| self.gone())
    }

    /// The reason why a write got no answer.
    fn gone(&self) -> Error {
        self.failure().unwrap_or(Error::Stopped)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take().filter(|_| !IS_AWAITED.get()) {
            // A panic of the thread is recorded as its failure.
            let _ = thread.join();
        }
    }
}

impl State {
    fn failure(&self) -> Option<Error> {
        self.failure.get().map(|error| Error::Failed(copy(error)))
    }

    fn fail(&self, error: rusqlite::Error) {
        // The first error causes the others.
        let _ = self.failure.set(error);
        self.failed.cancel();
    }
}

/// The writing thread's own state.
struct Scribe {
    // Dropped before the connection, which must be the last to close the file: that moves the log into it.
    readers: Arc<Readers>,
    connection: Connection,
    reserve: Arc<DiskReserve>,
    files: Arc<Files>,
    state: Arc<State>,
    /// True when the next commit is synced.
    syncs: bool,
    /// True when the present transaction may have changed what readers know of callers.
    changes_callers: Arc<AtomicBool>,
    log: Log,
}

impl Scribe {
    fn serve(mut self, orders: &mpsc::Receiver<Order>) {
        while let Some(order) = self.next(orders) {
            let (batch, then) = match order {
                Order::Write(job) => take_batch(job, orders),
                Order::Sweep => continue,
                order => (VecDeque::new(), Some(order)),
            };
            self.write(batch);
            match then {
                Some(Order::CheckLog { done }) => drop(done.send(self.check_length().map_err(Error::from))),
                Some(Order::Checkpoint { done, .. }) => drop(done.send(self.checkpoint())),
                _ => {}
            }
            self.shorten_log();
        }
    }

    /// Waits for an order, and sweeps the readers meanwhile. `None` at the end.
    fn next(&self, orders: &mpsc::Receiver<Order>) -> Option<Order> {
        while self.readers.needs_sweeps() {
            match orders.recv_timeout(SWEEP_EVERY) {
                Err(RecvTimeoutError::Timeout) => self.readers.sweep(),
                order => return order.ok(),
            }
        }
        orders.recv().ok()
    }

    fn write(&mut self, mut waiting: VecDeque<Box<dyn Job>>) {
        while !waiting.is_empty() {
            let (retry, ended): (Vec<_>, Vec<_>) =
                self.transaction(&mut waiting).into_iter().partition(|job| is_to_retry(&**job));
            ended.into_iter().for_each(Job::answer);
            for job in retry {
                self.retry(job);
            }
        }
    }

    /// Runs queued writes in one transaction and returns those that have an outcome. When SQLite rolls the
    /// transaction back midway, the rest stay queued.
    fn transaction(&mut self, waiting: &mut VecDeque<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        if let Some(failure) = self.state.failure.get() {
            return failed(waiting.drain(..).collect(), || Error::Refused(copy(failure)));
        }
        // The index is asked only where it may be that the log was cut short.
        let is_short = self.files.check_log(self.log.length().bytes()).is_err();
        let checked = self.files.check().and_then(|()| if is_short { self.check_length() } else { Ok(()) });
        if let Err(moved) = checked {
            return failed(waiting.drain(..).collect(), || moved.clone().into());
        }
        let syncs = waiting.iter().any(|job| job.is_synced());
        if let Err(error) = set_syncs(&self.connection, &mut self.syncs, syncs) {
            return failed(waiting.drain(..).collect(), || explain(&error, &self.state, &self.reserve));
        }
        // Another process may hold the lock until the last snapshot is gone, as when it empties the log.
        let paused = self.readers.pause();
        let transaction = match self.connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => transaction,
            Err(error) => return failed(waiting.drain(..).collect(), || explain(&error, &self.state, &self.reserve)),
        };
        drop(paused);
        self.changes_callers.store(false, Ordering::Relaxed);
        let before = transaction.total_changes();
        let mut ran = Vec::new();
        let mut any_kept = false;
        while let Some(mut job) = waiting.pop_front() {
            if !job.is_wanted() {
                continue;
            }
            let step = step(&transaction, &mut *job);
            if matches!(step, Step::TransactionGone) {
                // An error may rest on changes of the writes before it, so all of them fail alike.
                let mut ran = if any_kept { failed(ran, || Error::RolledBack) } else { ran };
                ran.push(job);
                return ran;
            }
            any_kept |= matches!(step, Step::Kept);
            ran.push(job);
        }
        if !any_kept {
            // Rolled back, because there is nothing to sync.
            return ran;
        }
        let changed = transaction.total_changes() > before;
        let forgotten = self.changes_callers.load(Ordering::Relaxed).then(|| self.readers.forget_callers());
        let committed = commit(transaction, &self.readers);
        drop(forgotten);
        match committed {
            Ok(()) => {
                if changed {
                    self.state.is_proven.store(true, Ordering::Release);
                }
                ran
            }
            Err(error) => {
                self.learn(&Error::from(copy(&error)));
                failed(ran, || explain(&error, &self.state, &self.reserve))
            }
        }
    }

    /// Retries a write that must not fail on a full disk, in a transaction of its own, so that no other write rolls
    /// it back.
    fn retry(&mut self, job: Box<dyn Job>) {
        // The lock keeps others from making the reserve again before the write has used the room.
        let reserve = self.reserve.clone();
        let reserve = reserve.lock();
        let mut job = Some(job);
        if !job.as_deref().is_some_and(is_full) {
            job = self.alone(job);
        }
        if job.as_deref().is_some_and(is_full) && reserve.release() {
            job = self.alone(job);
        }
        drop(reserve);
        job.into_iter().for_each(Job::answer);
    }

    fn alone(&mut self, job: Option<Box<dyn Job>>) -> Option<Box<dyn Job>> {
        self.transaction(&mut job.into_iter().collect()).pop()
    }

    /// Draws the conclusions from an error: that of a sync ends all writing.
    fn learn(&self, error: &Error) {
        match error {
            Error::Failed(cause) => self.give_up(copy(cause)),
            error => self.state.damage.note_if(error),
        }
    }

    /// Ends all writing, even that of closing: the next start finds out what the disk holds.
    fn give_up(&self, error: rusqlite::Error) {
        tracing::error!(error = %chain(&error), "the disk did not confirm a write");
        self.leave_log();
        self.state.fail(error);
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        // Panics of writes are caught, so this one is the writer's own, or that of a value being dropped.
        if thread::panicking() {
            let internal = ffi::Error::new(ffi::SQLITE_INTERNAL);
            self.state
                .fail(rusqlite::Error::SqliteFailure(internal, Some("the thread that writes panicked".to_owned())));
        }
        if self.check_log().is_err() {
            self.leave_log();
        }
    }
}

/// Returns a flag that is raised with every change of a table that [tells of callers](TABLES_OF_CALLERS).
fn notice_callers(connection: &mut Connection) -> rusqlite::Result<Arc<AtomicBool>> {
    let is_changed = Arc::new(AtomicBool::new(false));
    let raised = is_changed.clone();
    let notice = move |_: Action, _: &str, table: &str, _: i64| {
        if TABLES_OF_CALLERS.contains(&table) {
            raised.store(true, Ordering::Relaxed);
        }
    };
    connection.update_hook(Some(notice))?;
    Ok(is_changed)
}

/// The error of a transaction, in the store's words.
fn explain(error: &rusqlite::Error, state: &State, reserve: &DiskReserve) -> Error {
    let told = Error::from(copy(error));
    state.damage.note_if(&told);
    if !matches!(told, Error::Busy(_)) {
        state.is_proven.store(false, Ordering::Release);
    }
    match told {
        Error::Full(error) => reserve.explain(error),
        told => told,
    }
}

/// The writes queued so far, up to the next order of another kind.
fn take_batch(first: Box<dyn Job>, orders: &mpsc::Receiver<Order>) -> (VecDeque<Box<dyn Job>>, Option<Order>) {
    let mut batch = VecDeque::from([first]);
    while batch.len() < BATCH {
        match orders.try_recv() {
            Ok(Order::Write(job)) => batch.push_back(job),
            Ok(Order::Sweep) => {}
            Ok(order) => return (batch, Some(order)),
            Err(_) => break,
        }
    }
    (batch, None)
}

/// Has the commits from now on synced, or not. A pragma that has no effect inside a transaction.
fn set_syncs(db: &Connection, now: &mut bool, wanted: bool) -> rusqlite::Result<()> {
    if *now != wanted {
        db.execute_batch(if wanted { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
        *now = wanted;
    }
    Ok(())
}

fn commit(transaction: Transaction<'_>, readers: &Readers) -> rusqlite::Result<()> {
    let _paused = readers.pause();
    #[cfg(test)]
    tests::committing(&transaction);
    #[cfg(test)]
    tests::fault()?;
    transaction.commit()
}

fn failed(mut jobs: Vec<Box<dyn Job>>, why: impl Fn() -> Error) -> Vec<Box<dyn Job>> {
    for job in &mut jobs {
        job.fail(why());
    }
    jobs
}

/// True for a write that must be kept and failed on a full disk or with another write.
fn is_to_retry(job: &dyn Job) -> bool {
    matches!(job.retryable_failure(), Some(Error::Full(_) | Error::RolledBack))
}

fn is_full(job: &dyn Job) -> bool {
    matches!(job.retryable_failure(), Some(Error::Full(_)))
}

#[cfg(test)]
mod tests;
