//! Limits the refreshes that each OAuth app has in flight, for callers and scheduler alike: waits for a free place, and
//! learns from how a call went. The rules are in [`domain::throttle`](crate::domain::throttle).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::failure::Failure;
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::platform_error::PlatformError;
use crate::domain::throttle::{Entry, Epoch, NewPause, Owned, Pause, Room, Throttles};
use crate::domain::time::{Clock, Timestamp};
use crate::store::refreshes::AppKey;

/// Where the calls of every app wait for their turn.
pub(super) struct Throttle {
    throttles: Mutex<Throttles<AppKey>>,
    /// Notified when a call may be made that could not be made before.
    changed: Notify,
    is_stopping: AtomicBool,
    clock: Arc<dyn Clock>,
}

/// A place among an app's calls in flight, until it is dropped.
pub(super) struct Permit {
    throttle: Arc<Throttle>,
    app: AppKey,
    epoch: Epoch,
}

/// Why no call may be made.
pub(super) enum NotNow {
    Paused(Pause),
    /// The broker is shutting down.
    Stopping,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.throttle.lock().leave(&self.app);
        self.throttle.changed.notify_waiters();
    }
}

impl Permit {
    pub(super) fn app(&self) -> &AppKey {
        &self.app
    }

    /// True when the credentials or settings that the call was made with may have changed since.
    pub(super) fn is_outdated(&self) -> bool {
        self.throttle.lock().is_outdated(&self.app, self.epoch)
    }

    /// Learns from a call that was made for a grant. Returns who is to wait for it, if anybody.
    pub(super) fn learn(&self, grant: Owned, error: Option<&PlatformError>) -> Option<NewPause> {
        // A page in the place of tokens is an outage, whatever its status.
        let kind = |error: &PlatformError| match error.failure {
            Failure::PlatformAnswerUnreadable if error.is_page => Failure::PlatformUnavailable,
            failure => failure,
        };
        let failure = error.map(|error| (kind(error), error.retry_after));
        let now = self.throttle.clock.now();
        let paused = self.throttle.lock().learn(&self.app, self.epoch, grant, failure, now);
        self.throttle.changed.notify_waiters();
        paused
    }
}

impl Throttle {
    /// `most`: calls of one app in flight, at most.
    pub(super) fn new(clock: Arc<dyn Clock>, most: u32) -> Self {
        let throttles = Mutex::new(Throttles::new(most));
        Self { throttles, changed: Notify::new(), is_stopping: AtomicBool::new(false), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Throttles<AppKey>> {
        self.throttles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets in no call any more.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits until a call of this app may be made for a grant of the project.
    pub(super) async fn enter(self: &Arc<Self>, app: &AppKey, project: ProjectId) -> Result<Permit, NotNow> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the state is read, so that no change in between is missed.
            changed.as_mut().enable();
            if self.is_stopping.load(Ordering::SeqCst) {
                return Err(NotNow::Stopping);
            }
            let entry = self.lock().enter(app.clone(), project, self.clock.now());
            match entry {
                Entry::Go(epoch) => return Ok(Permit { throttle: self.clone(), app: app.clone(), epoch }),
                Entry::Paused(pause) => return Err(NotNow::Paused(pause)),
                Entry::Wait => changed.await,
            }
        }
    }

    /// How many calls of an app [`enter`](Self::enter) lets in, for projects that do not wait alone.
    pub(super) fn room(&self, app: &AppKey) -> Room {
        self.lock().room(app, self.clock.now())
    }

    pub(super) fn has_succeeded_since(&self, app: &AppKey, since: Timestamp) -> bool {
        self.lock().has_succeeded_since(app, since, self.clock.now())
    }

    /// Starts over with every app, because the credentials of each may have changed. Calls in flight stay counted.
    pub(super) fn restart(&self, most: u32) {
        self.lock().restart(most);
        self.changed.notify_waiters();
    }

    /// Starts over with an app whose credentials were changed.
    pub(super) fn forget(&self, app: OauthAppId) {
        self.lock().forget(|of| of.app.is_some_and(|(_, id)| id == app));
        self.changed.notify_waiters();
    }
}
