//! One write within the transaction that it shares with others.

use rusqlite::{Connection, Transaction};

use crate::store::Error;
use crate::store::job::Job;

/// The fate of a write's changes.
pub(super) enum Step {
    Kept,
    Undone,
    /// The whole transaction is rolled back: by SQLite (no space, no memory, a disk error), or because one write
    /// could not be undone.
    TransactionGone,
}

pub(super) fn step(transaction: &Transaction<'_>, job: &mut dyn Job) -> Step {
    if job.is_synced() { in_savepoint(transaction, job) } else { without_savepoint(transaction, job) }
}

fn in_savepoint(transaction: &Transaction<'_>, job: &mut dyn Job) -> Step {
    if let Err(error) = run(transaction, "SAVEPOINT job") {
        job.fail(error.into());
        return Step::TransactionGone;
    }
    let keep = job.run(transaction);
    if is_gone(transaction, job, keep) {
        return Step::TransactionGone;
    }
    let undone = if keep { Ok(()) } else { run(transaction, "ROLLBACK TO job") };
    match undone.and_then(|()| run(transaction, "RELEASE job")) {
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

/// A savepoint keeps a copy of each page that is changed in it, which takes as long as a small write itself. Without
/// one, a write that fails after it has changed something takes the transaction with it.
fn without_savepoint(transaction: &Transaction<'_>, job: &mut dyn Job) -> Step {
    let before = transaction.total_changes();
    let keep = job.run(transaction);
    if is_gone(transaction, job, keep) {
        Step::TransactionGone
    } else if keep {
        Step::Kept
    } else if transaction.total_changes() == before {
        Step::Undone
    } else {
        Step::TransactionGone
    }
}

/// True when SQLite has rolled the transaction back.
fn is_gone(transaction: &Transaction<'_>, job: &mut dyn Job, keep: bool) -> bool {
    let is_gone = transaction.is_autocommit();
    if is_gone && keep {
        job.fail(Error::RolledBack);
    }
    is_gone
}

fn run(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([]).map(|_| ())
}
