//! The end of a broker: what it stops for, and how it closes its database.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{App, Error};
use crate::domain::error_chain::chain;
use crate::store::{self, Damage, OpenError};

/// Time for work that outlives requests when the broker stops.
const DRAIN_AT_MOST: Duration = Duration::from_secs(20);

/// Time in which the server's threads, which have stopped serving, let go of the database.
const LAST_AT_MOST: Duration = Duration::from_secs(2);

impl App {
    /// Completes when the store can write no more, or when its database turns out to be damaged, which is the time to
    /// stop. [`close`](Self::close) returns the reason. Call it once: it reads a large database to find damage.
    pub fn storage_failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let unchecked = (!self.is_checked).then(|| self.config.database.clone());
        let (failed, found, damage) = (self.store.failed(), self.damage.clone(), self.store.damage().clone());
        async move {
            tokio::select! {
                () = failed => {}
                () = find_damage(unchecked, &found, &damage) => {}
            }
        }
    }

    /// Waits for work in flight, then releases the database. Call it after the server has stopped, and not from a
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`store::Error::Failed`] when the disk has failed: everything acknowledged is stored, but the disk needs a
    /// check. [`store::Error::Moved`] when the database was moved away: its latest changes stay in the log beside its
    /// old place; or when the log was cut short. [`OpenError::Damaged`] or [`Error::Damaged`] when the database was
    /// found to be damaged: nothing was moved from the log into it.
    pub fn close(mut self) -> Result<(), Error> {
        let trouble = self.work.block_on(self.drain());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.release(trouble, LAST_AT_MOST)
    }

    /// [`close`](Self::close) for a broker from [`Prepared::open_on`](super::Prepared::open_on).
    ///
    /// # Errors
    ///
    /// Those of [`close`](Self::close).
    pub async fn close_on_runtime(self) -> Result<(), Error> {
        let trouble = self.drain().await;
        self.release(trouble, Duration::ZERO)
    }

    /// Waits for work in flight, and returns what there is to tell of the store then.
    async fn drain(&self) -> Option<store::Error> {
        if !self.broker.drain(DRAIN_AT_MOST).await {
            tracing::warn!(
                seconds = DRAIN_AT_MOST.as_secs(),
                "work in progress was cut off: the next start goes on with it, and names each connection that it cannot continue"
            );
        }
        let trouble = self.store.find_trouble().await;
        let damage = self.store.damage();
        // SQLite calls a read damaged that the disk refused for once.
        if trouble.is_none()
            && damage.is_suspected()
            && is_sound(self.config.database.clone(), &self.damage, damage).await == Some(true)
        {
            damage.dispel();
        }
        trouble
    }

    /// Closes the database before it frees the lock. `patience`: how long threads of the server that are about to end
    /// may still hold it.
    fn release(self, trouble: Option<store::Error>, patience: Duration) -> Result<(), Error> {
        let Self { config, broker, store, lock, damage: found, .. } = self;
        drop(broker);
        let trouble = store.failure().or(trouble);
        let damage = store.damage().clone();
        store.wait_until_last(patience);
        drop(store);
        drop(lock);
        let found = Arc::into_inner(found).and_then(OnceLock::into_inner).map(Error::from);
        let damaged = damage.is_seen().then_some(Error::Damaged { database: config.database });
        found.or(trouble.map(Error::from)).or(damaged).map_or(Ok(()), Err)
    }
}

/// Reads the database, and completes only when it is damaged.
async fn find_damage(unchecked: Option<PathBuf>, told: &OnceLock<OpenError>, damage: &Damage) {
    if let Some(path) = unchecked
        && is_sound(path, told, damage).await == Some(false)
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Reads the whole database. `None` when that is not possible.
async fn is_sound(path: PathBuf, told: &OnceLock<OpenError>, damage: &Damage) -> Option<bool> {
    match store::check(path).await {
        Ok(()) => {
            tracing::info!("the database was read completely, and is undamaged");
            Some(true)
        }
        Err(found @ OpenError::Damaged { .. }) => {
            damage.note();
            let _ = told.set(found);
            Some(false)
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the database could not be checked for damage");
            None
        }
    }
}
