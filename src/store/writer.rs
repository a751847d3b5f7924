//! The one connection that writes, on a thread of its own.
//!
//! The cost of a write is the sync to disk, so queued writes share one transaction: each runs inside its own
//! savepoint, one commit follows, and only then is any of them answered. A write never waits for others to join it.
//!
//! Invariants: a write that was answered `Ok` is in a commit that the disk has confirmed. A failure or panic of one
//! write reaches no other, unless SQLite rolls back the whole transaction: then all writes in it fail. After a commit
//! that the disk did not confirm, nothing is written any more: a second sync would succeed and prove nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior, ffi};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::disk_reserve::DiskReserve;
use super::error::copy;
use super::job::{Job, Outcome, Work, Write};

/// Most writes that share a transaction: the first waits for the last.
const BATCH: usize = 128;

enum Order {
    Checkpoint { done: oneshot::Sender<Result<(), Error>>, _permit: OwnedSemaphorePermit },
    Write(Box<dyn Job>),
}

/// Handle of the writing thread. Dropping it waits for the write in progress and closes the connection.
pub(super) struct Writer {
    /// `None` while the handle is being dropped.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
}

/// State shared by the thread and its handle.
#[derive(Default)]
struct State {
    failure: OnceLock<rusqlite::Error>,
    failed: CancellationToken,
}

impl Writer {
    pub(super) fn start(connection: Connection, reserve: Arc<DiskReserve>) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let state = Arc::new(State::default());
        let scribe = Scribe { connection, reserve, state: state.clone() };
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(move || scribe.serve(&received))?;
        Ok(Self { orders: Some(orders), thread: Some(thread), state })
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

    /// The error after which nothing is written any more.
    pub(super) fn failure(&self) -> Option<Error> {
        self.state.failure()
    }

    /// Cancelled when nothing is written any more.
    pub(super) fn failed(&self) -> CancellationToken {
        self.state.failed.clone()
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
        // A write may own the last handle of its own store.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
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
    connection: Connection,
    reserve: Arc<DiskReserve>,
    state: Arc<State>,
}

impl Scribe {
    fn serve(mut self, orders: &mpsc::Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            let (batch, checkpoint) = match order {
                Order::Write(job) => take_batch(job, orders),
                checkpoint @ Order::Checkpoint { .. } => (VecDeque::new(), Some(checkpoint)),
            };
            self.write(batch);
            if let Some(Order::Checkpoint { done, .. }) = checkpoint {
                let _ = done.send(self.checkpoint());
            }
        }
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
            return failed(waiting.drain(..).collect(), || Error::Failed(copy(failure)));
        }
        let transaction = match self.connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => transaction,
            Err(error) => return failed(waiting.drain(..).collect(), || copy(&error).into()),
        };
        let mut ran = Vec::new();
        let mut any_kept = false;
        while let Some(mut job) = waiting.pop_front() {
            if !job.is_wanted() {
                continue;
            }
            let step = in_savepoint(&transaction, &mut *job);
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
        match commit(transaction) {
            Ok(()) => ran,
            Err(error) => {
                if matches!(Error::from(copy(&error)), Error::Failed(_)) {
                    self.give_up(copy(&error));
                }
                failed(ran, || copy(&error).into())
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

    fn checkpoint(&mut self) -> Result<(), Error> {
        if let Some(failure) = self.state.failure() {
            return Err(failure);
        }
        match self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::Overloaded),
            Err(error) => {
                let told = Error::from(copy(&error));
                if matches!(told, Error::Failed(_)) {
                    self.give_up(error);
                }
                Err(told)
            }
        }
    }

    /// Ends all writing, even that of closing: the next start finds out what the disk holds.
    fn give_up(&self, error: rusqlite::Error) {
        tracing::error!(error = &error as &dyn std::error::Error, "the disk did not confirm a write");
        // If this fails, closing moves only commits that the disk has confirmed.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
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
    }
}

/// The writes queued so far, up to the next checkpoint.
fn take_batch(first: Box<dyn Job>, orders: &mpsc::Receiver<Order>) -> (VecDeque<Box<dyn Job>>, Option<Order>) {
    let mut batch = VecDeque::from([first]);
    while batch.len() < BATCH {
        match orders.try_recv() {
            Ok(Order::Write(job)) => batch.push_back(job),
            Ok(checkpoint @ Order::Checkpoint { .. }) => return (batch, Some(checkpoint)),
            Err(_) => break,
        }
    }
    (batch, None)
}

enum Step {
    Kept,
    Undone,
    /// The whole transaction is rolled back: by SQLite (no space, no memory, a disk error), or because one write
    /// could not be undone.
    TransactionGone,
}

fn in_savepoint(transaction: &Transaction<'_>, job: &mut dyn Job) -> Step {
    if let Err(error) = transaction.execute_batch("SAVEPOINT job") {
        job.fail(error.into());
        return Step::TransactionGone;
    }
    let keep = job.run(transaction);
    if transaction.is_autocommit() {
        if keep {
            job.fail(Error::RolledBack);
        }
        return Step::TransactionGone;
    }
    match transaction.execute_batch(if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" }) {
        Ok(()) if keep => Step::Kept,
        Ok(()) => Step::Undone,
        Err(error) => {
            if keep {
                job.fail(error.into());
            }
            Step::TransactionGone
        }
    }
}

fn commit(transaction: Transaction<'_>) -> rusqlite::Result<()> {
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
