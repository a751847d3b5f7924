//! The pace of refreshes, shared by the scheduler and by callers: waits for a place, learns from how a call went, and puts
//! off what a paused app has due.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use super::Broker;
use super::complete::chain;
use super::refresh::Refusal;
use crate::domain::grant::{Grant, TokenSet};
use crate::domain::pace::{Entry, Paces, Pause};
use crate::domain::time::Timestamp;
use crate::domain::trouble::Trouble;
use crate::platforms::bluesky;
use crate::store::refreshes::{self, Due, OfApp};

/// A call that is in flight, for as long as this lives.
pub(super) struct Permit {
    broker: Broker,
    app: OfApp,
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

    /// Waits until a call of this app may be made; `Err` when it is paused.
    pub(super) async fn enter(&self, app: &OfApp) -> Result<Permit, Pause> {
        loop {
            let mut changed = std::pin::pin!(self.pace_changed.notified());
            // Before the look, so that no change in between is missed.
            changed.as_mut().enable();
            let entry = self.paces().enter(app.clone(), self.clock.now());
            match entry {
                Entry::Go => return Ok(Permit { broker: self.clone(), app: app.clone() }),
                Entry::Paused(pause) => return Err(pause),
                Entry::Wait => changed.await,
            }
        }
    }

    /// What [`Broker::enter`] would do for a grant that is due. Accounts of Bluesky have no app: theirs is another for each
    /// server, which only their tokens tell.
    pub(super) fn peek_pace(&self, due: &Due) -> Entry {
        if due.platform == bluesky::NAME {
            return Entry::Go;
        }
        self.paces().peek(&app_of(due), self.clock.now())
    }

    /// Learns from a call that was made. When it brings a pause, all that the app has due waits for that.
    pub(super) async fn learn(&self, app: &OfApp, refusal: Option<&Refusal>) {
        let trouble = refusal.map(|refusal| (refusal.kind, refusal.retry_after));
        let pause = self.paces().learn(app, trouble, self.clock.now());
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

    pub(super) async fn postpone_app(&self, app: &OfApp, pause: Pause) {
        let (app, until, now) = (app.clone(), pause.until, self.clock.now());
        let trouble = Trouble { kind: pause.kind, status: None, platform_code: None, at: now };
        if let Err(error) = self.store.write(move |tx| refreshes::postpone_app(tx, &app, until, &trouble)).await {
            tracing::warn!(error = %chain(&error), "the refreshes of a paused app could not be put off");
        }
    }

    pub(super) fn has_succeeded_since(&self, app: &OfApp, since: Timestamp) -> bool {
        self.paces().has_succeeded_since(app, since)
    }

    /// An app's credentials were changed: what waited because of them is tried at once.
    pub(super) fn forget_pace(&self, app: crate::domain::id::OauthAppId) {
        self.paces().forget(|of| of.app.is_some_and(|(_, id)| id == app));
        self.pace_changed.notify_waiters();
        self.due_changed.notify_one();
    }
}
