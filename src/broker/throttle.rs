//! The pace of refreshes, shared by the scheduler and by callers: waits for a place, learns from how a call went, and puts
//! off what a paused app has due.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use super::Broker;
use super::exchange::chain;
use super::refresh::Refusal;
use crate::domain::grant::{Grant, TokenSet};
use crate::domain::id::GrantId;
use crate::domain::throttle::{Entry, Epoch, Paces, Pause, Room};
use crate::domain::time::Timestamp;
use crate::domain::trouble::Trouble;
use crate::platforms::bluesky;
use crate::store::refreshes::{self, Due, OfApp};

/// A call that is in flight, for as long as this lives.
pub(super) struct Permit {
    broker: Broker,
    app: OfApp,
    epoch: Epoch,
}

/// Why no call may be made.
pub(super) enum NotNow {
    Paused(Pause),
    /// The broker is: who asks again finds the next one.
    Stopping,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.broker.paces().leave(&self.app);
        self.broker.pace_changed.notify_waiters();
    }
}

/// How many of something there are, for `/metrics`.
#[derive(Debug)]
pub(crate) struct Gauge {
    count: AtomicI64,
    show: fn(f64),
}

/// One of them, for as long as this lives.
pub(super) struct Counted<'a>(&'a Gauge);

impl Gauge {
    pub(super) const fn new(show: fn(f64)) -> Self {
        Self { count: AtomicI64::new(0), show }
    }

    pub(super) fn begin(&self) -> Counted<'_> {
        self.add(1);
        Counted(self)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    #[expect(clippy::cast_precision_loss, reason = "there are never so many")]
    fn add(&self, by: i64) {
        let count = self.count.fetch_add(by, Ordering::SeqCst) + by;
        (self.show)(count as f64);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Whose pace a grant that is due is refreshed at.
pub(super) fn app_of(due: &Due) -> OfApp {
    let app = due.app_id.map(|app| (due.project_id, app));
    OfApp { platform: due.platform.clone(), client_id: due.client_id.clone(), app }
}

/// Whose pace a refresh of this grant goes at: at Bluesky, that of the account's server.
pub(super) fn app_of_grant(grant: &Grant, tokens: &TokenSet) -> OfApp {
    match &tokens.service_url {
        Some(url) if grant.platform == bluesky::NAME => {
            OfApp { platform: grant.platform.clone(), client_id: url.clone(), app: None }
        }
        _ => app_by_client(grant),
    }
}

pub(super) fn app_by_client(grant: &Grant) -> OfApp {
    OfApp {
        platform: grant.platform.clone(),
        client_id: grant.client_id.clone(),
        app: grant.app_id.map(|app| (grant.project_id, app)),
    }
}

impl Broker {
    fn paces(&self) -> MutexGuard<'_, Paces<OfApp>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins no refresh any more: those under way have the time that is left to themselves. For a broker that stops.
    pub fn stop_refreshing(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.pace_changed.notify_waiters();
    }

    /// Waits until a call of this app may be made; `Err` when it is paused, or none is made any more.
    pub(super) async fn enter(&self, app: &OfApp) -> Result<Permit, NotNow> {
        loop {
            let mut changed = std::pin::pin!(self.pace_changed.notified());
            // Before the look, so that no change in between is missed.
            changed.as_mut().enable();
            if self.stopping.load(Ordering::SeqCst) {
                return Err(NotNow::Stopping);
            }
            let entry = self.paces().enter(app.clone(), self.clock.now());
            match entry {
                Entry::Go(epoch) => return Ok(Permit { broker: self.clone(), app: app.clone(), epoch }),
                Entry::Paused(pause) => return Err(NotNow::Paused(pause)),
                Entry::Wait => changed.await,
            }
        }
    }

    /// How many calls of an app [`Broker::enter`] lets in.
    pub(super) fn room_of(&self, app: &OfApp) -> Room {
        self.paces().room(app, self.clock.now())
    }

    /// Learns from a call that was made for a grant. When it brings a pause, all that the app has due waits for that.
    pub(super) async fn learn(&self, permit: &Permit, grant: GrantId, refusal: Option<&Refusal>) {
        let app = &permit.app;
        let trouble = refusal.map(|refusal| (refusal.kind, refusal.retry_after));
        let pause = self.paces().learn(app, permit.epoch, grant, trouble, self.clock.now());
        self.pace_changed.notify_waiters();
        if let Some(pause) = pause {
            tracing::warn!(
                platform.name = %app.platform, app.id = app.app.map(|(_, app)| tracing::field::display(app)),
                trouble = pause.kind.code(), until = %pause.until, next_step = %pause.kind.next_step(&app.platform),
                "refreshes of this app are paused"
            );
            self.postpone_app(app, pause).await;
        }
    }

    /// Accounts of Bluesky are put off one by one: which server is theirs only their tokens tell.
    pub(super) async fn postpone_app(&self, app: &OfApp, pause: Pause) {
        if app.platform == bluesky::NAME {
            return;
        }
        let (app, until, now) = (app.clone(), pause.until, self.clock.now());
        let trouble = Trouble { kind: pause.kind, status: None, platform_code: None, at: now };
        if let Err(error) = self.store.write(move |tx| refreshes::postpone_app(tx, &app, until, &trouble)).await {
            tracing::warn!(error = %chain(&error), "the refreshes of a paused app could not be put off");
        }
    }

    pub(super) fn has_succeeded_since(&self, app: &OfApp, since: Timestamp) -> bool {
        self.paces().has_succeeded_since(app, since, self.clock.now())
    }

    /// An app's credentials were changed: what waited because of them is tried at once.
    pub(super) fn forget_pace(&self, app: crate::domain::id::OauthAppId) {
        self.paces().forget(|of| of.app.is_some_and(|(_, id)| id == app));
        self.pace_changed.notify_waiters();
    }
}
