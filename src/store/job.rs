//! A queued write: its work, its outcome, and the caller that waits. Invariant: it is answered once, after its commit
//! or rollback.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rusqlite::Transaction;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::Error;

/// The result of a write, or the panic that ended it.
pub(super) type Outcome<T, E> = thread::Result<Result<T, E>>;

type Once<T, E> = Box<dyn FnOnce(&Transaction<'_>) -> Result<T, E> + Send>;
type Many<T, E> = Box<dyn Fn(&Transaction<'_>) -> Result<T, E> + Send>;

/// The work of a write.
pub(super) enum Work<T, E> {
    /// Runs once.
    Once(Option<Once<T, E>>),
    /// Runs once, and may be lost in a power cut.
    Unsynced(Option<Once<T, E>>),
    /// Can be retried. `cause` finds the store's error within the work's own.
    Kept { work: Many<T, E>, cause: fn(&E) -> Option<&Error> },
}

/// A write of any result type, as the writer sees it.
pub(super) trait Job: Send {
    /// False when it has not begun and its caller no longer waits.
    fn is_wanted(&self) -> bool;

    /// True when its commit must be on the disk before it is answered.
    fn is_synced(&self) -> bool;

    /// Runs the work. True when its changes are to be committed.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;

    /// Records that the changes were rolled back. A panic stays a panic.
    fn fail(&mut self, error: Error);

    /// The store's error, where it made the write fail and the write can be retried.
    fn retryable_failure(&self) -> Option<&Error>;

    /// Sends the outcome to the caller.
    fn answer(self: Box<Self>);
}

pub(super) struct Write<T, E> {
    work: Work<T, E>,
    outcome: Option<Outcome<T, E>>,
    reply: oneshot::Sender<Outcome<T, E>>,
    permit: OwnedSemaphorePermit,
    /// The span of the caller, whose request the work's log lines belong to.
    span: Span,
}

impl<T, E> Write<T, E> {
    pub(super) fn new(work: Work<T, E>, permit: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<Outcome<T, E>>) {
        let (reply, outcome) = oneshot::channel();
        (Self { work, outcome: None, reply, permit, span: Span::current() }, outcome)
    }
}

impl<T, E> Job for Write<T, E>
where
    T: Send,
    E: From<Error> + Send,
{
    fn is_wanted(&self) -> bool {
        self.outcome.is_some() || !self.reply.is_closed()
    }

    fn is_synced(&self) -> bool {
        !matches!(self.work, Work::Unsynced(_))
    }

    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let _entered = self.span.enter();
        let work = &mut self.work;
        // Half-done changes are rolled back, and the work's own values are not used again.
        let outcome = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Once(once) | Work::Unsynced(once) => once.take().ok_or(Error::Stopped)?(transaction),
            Work::Kept { work, .. } => work(transaction),
        }));
        let keep = matches!(outcome, Ok(Ok(_)));
        self.outcome = Some(outcome);
        keep
    }

    fn fail(&mut self, error: Error) {
        if !matches!(self.outcome, Some(Err(_))) {
            self.outcome = Some(Ok(Err(error.into())));
        }
    }

    fn retryable_failure(&self) -> Option<&Error> {
        match (&self.work, &self.outcome) {
            (Work::Kept { cause, .. }, Some(Ok(Err(error)))) => cause(error),
            _ => None,
        }
    }

    fn answer(self: Box<Self>) {
        let Self { work, outcome, reply, permit, span: _ } = *self;
        drop(work);
        // Before the answer, because the caller may send its next write at once.
        drop(permit);
        if let Some(outcome) = outcome {
            // A caller that stopped waiting meanwhile gets no answer.
            let _ = reply.send(outcome);
        }
    }
}
