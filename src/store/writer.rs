//! The one connection that writes, on a thread of its own.
//!
//! Syncing the disk is what a write costs, so writes that wait at the same time share one transaction: each runs inside a
//! savepoint of its own, one commit follows, and only then is any of them answered. A write that comes alone begins at
//! once; nothing waits for company.
//!
//! Invariants: whoever hears `Ok` is in a commit that the disk has confirmed. One write's failure or panic reaches nobody
//! else, unless SQLite takes back the whole transaction, and then everybody in it hears of a failure. After a commit that
//! the disk did not confirm, nothing is written any more: a second sync would succeed and prove nothing.

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

/// How many writes share a transaction at most: the first of them waits for the last.
const BATCH: usize = 128;

enum Order {
    Checkpoint { done: oneshot::Sender<Result<(), Error>>, _permit: OwnedSemaphorePermit },
    Write(Box<dyn Job>),
}

/// The way to the thread that writes. Dropping it waits for the write under way and closes the connection.
pub(super) struct Writer {
    /// `None` once it is being dropped.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
}

/// What the thread and the world know of each other.
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

    /// Stands in line, and waits for the answer.
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

    /// Why nothing is written any more.
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

    /// Why there is no answer.
    fn gone(&self) -> Error {
        self.failure().unwrap_or(Error::Stopped)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.orders.take());
        // A write may hold the last handle to its own store.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            // That it panicked is in its failure.
            let _ = thread.join();
        }
    }
}

impl State {
    fn failure(&self) -> Option<Error> {
        self.failure.get().map(|error| Error::Failed(copy(error)))
    }

    fn fail(&self, error: rusqlite::Error) {
        // The first is the cause of the others.
        let _ = self.failure.set(error);
        self.failed.cancel();
    }
}

/// What the thread works with.
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
            let (mend, ended): (Vec<_>, Vec<_>) =
                self.transaction(&mut waiting).into_iter().partition(|job| is_to_mend(&**job));
            ended.into_iter().for_each(Job::answer);
            for job in mend {
                self.mend(job);
            }
        }
    }

    /// Runs what waits in one transaction, and gives back what has come to its end. When SQLite takes the transaction
    /// back midway, the rest goes on waiting.
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
                // What an error says may rest on what those before it did, so they all hear the same.
                let mut ran = if any_kept { failed(ran, || Error::RolledBack) } else { ran };
                ran.push(job);
                return ran;
            }
            any_kept |= matches!(step, Step::Kept);
            ran.push(job);
        }
        if !any_kept {
            // Rolled back, so that nothing is synced for nothing.
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

    /// Tries a write again that must not fail for want of space, and alone, so that no other takes it along.
    fn mend(&mut self, job: Box<dyn Job>) {
        // Whoever wants to make the reserve again waits until the write has had the room.
        let reserve = self.reserve.clone();
        let reserve = reserve.lock();
        let mut job = Some(job);
        if !job.as_deref().is_some_and(is_full) {
            job = self.alone(job);
        }
        if job.as_deref().is_some_and(is_full) && reserve.give_up() {
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

    /// Nothing is written any more, not even by closing: what the disk holds is for the next start to find out.
    fn give_up(&self, error: rusqlite::Error) {
        tracing::error!(error = &error as &dyn std::error::Error, "the disk did not confirm a write");
        // Where this fails, closing moves only commits that the disk has confirmed.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        self.state.fail(error);
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        // A write's panic is caught; this is one of ours, or of a value that was being dropped.
        if thread::panicking() {
            let internal = ffi::Error::new(ffi::SQLITE_INTERNAL);
            self.state
                .fail(rusqlite::Error::SqliteFailure(internal, Some("the thread that writes panicked".to_owned())));
        }
    }
}

/// What waits already, up to where a checkpoint was asked for.
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
    /// Rolled back as a whole, by SQLite itself (no room, no memory, the disk) or because one write could not be undone.
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

/// One that must be kept and that lacked room, or went down with others.
fn is_to_mend(job: &dyn Job) -> bool {
    matches!(job.failure_to_mend(), Some(Error::Full(_) | Error::RolledBack))
}

fn is_full(job: &dyn Job) -> bool {
    matches!(job.failure_to_mend(), Some(Error::Full(_)))
}

#[cfg(test)]
mod tests;
