//! Work that outlives the request that asked for it: neither a vanished client nor a stopping web server cancels it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::store;

/// The work runtime, and what runs on it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    runtime: Handle,
    /// Cancelled when the broker begins to shut down.
    draining: CancellationToken,
}

impl Tasks {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { tracker: TaskTracker::new(), runtime, draining: CancellationToken::new() }
    }

    /// Starts `work`. It logs under the caller's request id.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(work.in_current_span(), &self.runtime);
    }

    /// Starts `work` and waits for its result; dropping this future does not cancel the work. Passes a panic on.
    ///
    /// # Errors
    ///
    /// [`store::Error::Stopped`] when the runtime stopped first.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, store::Error> {
        match self.tracker.spawn_on(work.in_current_span(), &self.runtime).await {
            Ok(result) => Ok(result),
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(store::Error::Stopped),
        }
    }

    /// True once [`drain`](Self::drain) was called: the broker is shutting down.
    pub(super) fn are_draining(&self) -> bool {
        self.tracker.is_closed()
    }

    /// Runs work that need not be finished; `None` when the broker shut down first.
    pub(super) async fn unless_draining<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.draining.run_until_cancelled(work).await
    }

    /// Waits up to `at_most` for everything that was started. True when all of it ended.
    pub(super) async fn drain(&self, at_most: Duration) -> bool {
        self.tracker.close();
        self.draining.cancel();
        tokio::time::timeout(at_most, self.tracker.wait()).await.is_ok()
    }
}
