//! Reading from the store: [`Store::read`] for what is short, [`Store::read_known`] for what many requests ask again,
//! and [`Store::read_long`] for the rest. [`readers`](super::readers) has the connections.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access_keys::{self, FoundKey};
use super::{Connection, Error, Store, projects};
use crate::domain::id::ProjectId;
use crate::domain::secret::Digest256;
use crate::domain::weigh::Weigh;

/// The work of a long read.
type Read<T, E> = Box<dyn FnOnce(&Connection) -> Result<T, E> + Send>;

impl Store {
    /// Runs `work` on a read-only connection, in one snapshot, on this thread: for a point read or a list of at most a
    /// hundred rows. Runs as a [long read](Self::read_long) only when every connection of short reads is in use.
    ///
    /// Sees every write that this process answered. What another process, such as a command beside the broker,
    /// committed within the last millisecond may be missing: [`read_long`](Self::read_long) sees that too.
    ///
    /// # Panics
    ///
    /// When `work` panics; the store goes on.
    pub async fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        if let Some(snapshot) = self.readers.begin() {
            let outcome = self.noted(work(&snapshot));
            drop(snapshot);
            self.ask_for_sweeps();
            return outcome;
        }
        self.run_long(None, Box::new(work)).await
    }

    /// Like [`read`](Self::read), for what many requests ask again: an answer is remembered under its key until the
    /// database changes, or `holds` no longer agrees with it. What is not there is not remembered. The types of key and
    /// answer tell one question from another.
    ///
    /// # Panics
    ///
    /// When `read` or `holds` panics; the store goes on.
    pub async fn read_known<K, T>(
        &self,
        key: K,
        holds: impl FnOnce(&T) -> bool,
        mut read: impl FnMut(&Connection) -> Result<Option<T>, Error> + Send + 'static,
    ) -> Result<Option<Arc<T>>, Error>
    where
        K: Clone + Eq + Hash + Send + 'static,
        T: Weigh + Send + Sync + 'static,
    {
        if let Some(outcome) = self.readers.find_known(&key, holds, &mut read) {
            self.ask_for_sweeps();
            return self.noted(outcome);
        }
        Ok(self.run_long(None, Box::new(read)).await?.map(Arc::new))
    }

    /// The access key of that digest, unless it is revoked. A key that any process revoked is not found any more once
    /// [`until_known`](access_keys::until_known) has returned there.
    pub async fn find_access_key(&self, digest: Digest256) -> Result<Option<Arc<FoundKey>>, Error> {
        let found = self.readers.find_access_key(&digest);
        self.ask_for_sweeps();
        // An error is reported by the long read that follows.
        if let Ok(found) = found {
            return Ok(found);
        }
        self.read_long(move |db| Ok(access_keys::find_by_digest(db, &digest)?.map(Arc::new))).await
    }

    /// True where there is more than one project.
    pub async fn are_several_projects(&self) -> Result<bool, Error> {
        let found = self.readers.are_several_projects();
        self.ask_for_sweeps();
        // An error is reported by the long read that follows.
        if let Ok(found) = found {
            return Ok(found);
        }
        self.read_long(projects::are_several).await
    }

    /// Has the writer end the snapshots that wait for a next read, once they are too old for one.
    fn ask_for_sweeps(&self) {
        if self.readers.claim_sweeps() {
            self.writer.sweep();
        }
    }

    /// Like [`read`](Self::read), on a thread for long reads: for work that looks at more rows than it returns, or at
    /// all of them.
    ///
    /// # Panics
    ///
    /// When `work` panics; the store goes on.
    pub async fn read_long<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        self.run_long(None, Box::new(work)).await
    }

    /// Like [`read_long`](Self::read_long), at a caller's request: those of one project wait for each other, and not
    /// the other projects or the broker's own work for them.
    ///
    /// # Panics
    ///
    /// When `work` panics; the store goes on.
    pub async fn read_long_for<T, E>(
        &self,
        project: ProjectId,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        self.run_long(Some(project), Box::new(work)).await
    }

    async fn run_long<T, E>(&self, project: Option<ProjectId>, work: Read<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::error::Error + From<Error> + Send + 'static,
    {
        let outcome = match self.readers.run_long(project, Box::new(|db| Box::new(work(db)))).await {
            Ok(answer) => *answer.downcast().expect("the work's own type"),
            Err(error) => Err(error.into()),
        };
        self.noted(outcome)
    }

    /// Remembers that stored values could not be read.
    pub(super) fn noted<T, E: std::error::Error + 'static>(&self, outcome: Result<T, E>) -> Result<T, E> {
        if let Some(error @ Error::Corrupt(_)) = outcome.as_ref().err().and_then(Error::within) {
            self.writer.damage().note_if(error);
            self.is_unreadable.store(true, Ordering::Release);
        }
        outcome
    }
}
