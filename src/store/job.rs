//! A write that waits for its turn: what it does, what came of it, and who wants to know. Invariant: it is answered
//! once, after it is certain whether what it did lasts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rusqlite::Transaction;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Error;

/// What came of a write: its own answer, or the panic that ended it.
pub(super) type Outcome<T, E> = thread::Result<Result<T, E>>;

type Once<T, E> = Box<dyn FnOnce(&Transaction<'_>) -> Result<T, E> + Send>;
type Many<T, E> = Box<dyn Fn(&Transaction<'_>) -> Result<T, E> + Send>;

/// What a write does.
pub(super) enum Work<T, E> {
    /// It is gone once it ran.
    Once(Option<Once<T, E>>),
    /// It can be tried again; `cause` finds the store's error within its own.
    Kept { work: Many<T, E>, cause: fn(&E) -> Option<&Error> },
}

/// A write as the writer sees it, whatever it answers.
pub(super) trait Job: Send {
    /// False when it has not begun and its caller has gone.
    fn is_wanted(&self) -> bool;

    /// True when what it did is to be kept.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;

    /// What it did does not last. A panic stays one.
    fn fail(&mut self, error: Error);

    /// Why it failed, where the store is the cause and it can be tried again.
    fn failure_to_mend(&self) -> Option<&Error>;

    /// Tells its caller.
    fn answer(self: Box<Self>);
}

pub(super) struct Write<T, E> {
    work: Work<T, E>,
    outcome: Option<Outcome<T, E>>,
    reply: oneshot::Sender<Outcome<T, E>>,
    permit: OwnedSemaphorePermit,
}

impl<T, E> Write<T, E> {
    pub(super) fn new(work: Work<T, E>, permit: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<Outcome<T, E>>) {
        let (reply, outcome) = oneshot::channel();
        (Self { work, outcome: None, reply, permit }, outcome)
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

    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let work = &mut self.work;
        // What it leaves half done in the database is rolled back, and of its own values nothing is looked at again.
        let outcome = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Once(once) => once.take().ok_or(Error::Stopped)?(transaction),
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

    fn failure_to_mend(&self) -> Option<&Error> {
        match (&self.work, &self.outcome) {
            (Work::Kept { cause, .. }, Some(Ok(Err(error)))) => cause(error),
            _ => None,
        }
    }

    fn answer(self: Box<Self>) {
        let Self { work, outcome, reply, permit } = *self;
        drop(work);
        // Before its caller knows and comes with the next.
        drop(permit);
        if let Some(outcome) = outcome {
            // A caller that went after it had begun hears nothing.
            let _ = reply.send(outcome);
        }
    }
}
