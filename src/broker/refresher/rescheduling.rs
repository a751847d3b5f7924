//! Postpones all refreshes of a paused app, and makes due those that wait for a reason that may be gone.
//!
//! There may be hundreds of thousands, and the database has one connection that writes. So they are changed in
//! [batches](rescheduling), with a pause after each: no other write waits for more than one. Whoever needs the result
//! at once waits for the first batch, and the rest is changed in the background. What a shutdown leaves behind is due
//! at its own time, or found by the next start.

use std::sync::Arc;

use super::Refresher;
use super::throttle::Throttle;
use crate::broker::{BETWEEN_BATCHES, Core};
use crate::domain::error_chain::chain;
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::refresh_failure::RefreshFailure;
use crate::domain::throttle::{Pause, Room};
use crate::domain::time::Timestamp;
use crate::store::due::{Due, GrantRow};
use crate::store::refreshes::AppKey;
use crate::store::rescheduling::{self, BATCH, Resumable};
use crate::store::{self, Connection, Transaction};

/// Changes some grants in a transaction. Returns their number; `None` when no more are to be changed.
type Step = dyn Fn(&Transaction<'_>, &[GrantRow]) -> Result<Option<usize>, store::Error> + Send + Sync;

/// A change of many grants.
pub(super) struct Walk {
    rows: std::vec::IntoIter<GrantRow>,
    step: Arc<Step>,
    pub(super) changed: usize,
}

impl Walk {
    pub(super) fn new(
        rows: Vec<GrantRow>,
        step: impl Fn(&Transaction<'_>, &[GrantRow]) -> Result<Option<usize>, store::Error> + Send + Sync + 'static,
    ) -> Self {
        Self { rows: rows.into_iter(), step: Arc::new(step), changed: 0 }
    }

    /// Changes the next batch. True when there is another one.
    async fn next(&mut self, core: &Core) -> Result<bool, store::Error> {
        let batch: Vec<_> = self.rows.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(false);
        }
        let step = self.step.clone();
        let changed = core.store.write(move |tx| step(tx, &batch)).await?;
        self.changed += changed.unwrap_or(0);
        Ok(changed.is_some() && self.rows.len() > 0)
    }

    /// Changes all that is left, unless the broker shuts down first. True when all is changed.
    pub(super) async fn finish(&mut self, core: &Core) -> Result<bool, store::Error> {
        while !core.tasks.are_draining() {
            if !self.next(core).await? {
                return Ok(true);
            }
            tokio::time::sleep(BETWEEN_BATCHES).await;
        }
        Ok(self.rows.len() == 0)
    }
}

impl Refresher {
    /// Postpones all that a paused app has due. Accounts with a server of their own are postponed one by one, because
    /// only their tokens tell the server.
    pub(super) async fn postpone_app(&self, app: &AppKey, pause: Pause) {
        if self.has_own_server(&app.platform) {
            return;
        }
        let of = app.clone();
        let list = move |db: &Connection| rescheduling::list_due_of_app(db, &of, pause.until);
        let begun = async {
            let rows = self.core().store.read_long(list).await?;
            let mut walk = Walk::new(rows, self.postponing(app, pause));
            Ok(walk.next(self.core()).await?.then_some(walk))
        };
        self.finish_later(begun.await, "cannot postpone the refreshes of a paused app");
    }

    /// Postpones due grants of a paused app.
    pub(super) async fn postpone_due(&self, app: &AppKey, pause: Pause, due: &[Due]) {
        let rows = due.iter().map(|due| due.row).collect();
        let mut walk = Walk::new(rows, self.postponing(app, pause));
        if let Err(error) = walk.finish(self.core()).await {
            tracing::warn!(error = %chain(&error), "cannot postpone the refreshes of a paused app");
        }
    }

    /// A step that postpones grants as long as the app has this pause. When the pause ends, other grants may be made
    /// due: none of them may be postponed after that.
    fn postponing(
        &self,
        app: &AppKey,
        pause: Pause,
    ) -> impl Fn(&Transaction<'_>, &[GrantRow]) -> Result<Option<usize>, store::Error> + Send + Sync + 'static {
        let (app, throttle, at) = (app.clone(), self.0.throttle.clone(), self.core().clock.now());
        let trouble = RefreshFailure::unasked(pause.kind, at);
        move |tx, rows| {
            if has_pause(&throttle, &app, pause) {
                rescheduling::postpone(tx, rows, &app, pause.until, &trouble).map(Some)
            } else {
                Ok(None)
            }
        }
    }

    /// Tries at once what failed because of an app whose credentials were changed. Where the broker stops before all is
    /// resumed, the next start [finds](Resumable::Refused) the rest.
    pub(in crate::broker) async fn app_changed(&self, project: ProjectId, app: OauthAppId) {
        self.0.throttle.forget(app);
        self.begin_to_resume(Resumable::RefusedOf(project, app)).await;
    }

    /// Makes due at once what waits because of settings, which may have changed.
    pub(super) async fn settings_changed(&self) {
        self.begin_to_resume(Resumable::Refused).await;
    }

    /// Makes due what no longer needs to wait when the broker starts, in the background.
    pub(super) fn resume_later(&self) {
        let refresher = self.clone();
        self.core().tasks.spawn(async move {
            let now = refresher.core().clock.now();
            for which in [Resumable::Refused, Resumable::InDoubt] {
                if let Err(error) = refresher.resume(which, now).await {
                    tracing::warn!(error = %chain(&error), "refreshes that need not wait are not tried at once");
                }
            }
        });
    }

    /// Makes due a first batch, and the rest in the background.
    async fn begin_to_resume(&self, which: Resumable) {
        let begun = async {
            // Batches of a pause that has ended are written before the list is made.
            self.core().store.write(|_| Ok::<_, store::Error>(())).await?;
            let mut walk = self.resuming(which, self.core().clock.now()).await?;
            Ok(walk.next(self.core()).await?.then_some(walk))
        };
        self.finish_later(begun.await, "refreshes that wait for other settings are not tried at once");
    }

    /// Makes due all that need not wait any more. Returns the number of grants; `None` when the broker shut down first.
    pub(super) async fn resume(&self, which: Resumable, now: Timestamp) -> Result<Option<usize>, store::Error> {
        let mut walk = self.resuming(which, now).await?;
        Ok(walk.finish(self.core()).await?.then_some(walk.changed))
    }

    async fn resuming(&self, which: Resumable, now: Timestamp) -> Result<Walk, store::Error> {
        let rows = self.core().store.read_long(move |db| rescheduling::list_resumable(db, which, now)).await?;
        Ok(Walk::new(rows, move |tx, rows| rescheduling::resume(tx, rows, which, now).map(Some)))
    }

    /// Continues a walk in the background.
    fn finish_later(&self, begun: Result<Option<Walk>, store::Error>, failure: &'static str) {
        let core = self.0.core.clone();
        match begun {
            Ok(None) => {}
            Ok(Some(mut walk)) => core.clone().tasks.spawn(async move {
                tokio::time::sleep(BETWEEN_BATCHES).await;
                if let Err(error) = walk.finish(&core).await {
                    tracing::warn!(error = %chain(&error), failure);
                }
            }),
            Err(error) => tracing::warn!(error = %chain(&error), failure),
        }
    }
}

fn has_pause(throttle: &Throttle, app: &AppKey, pause: Pause) -> bool {
    matches!(throttle.room(app), Room::Paused(running) if running == pause)
}
