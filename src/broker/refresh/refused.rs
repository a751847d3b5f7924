//! What follows from a refresh that brought nothing: whether the grant is over, and when it is tried again.

use std::time::Duration;

use super::upstream::Refusal;
use super::{Unrefreshed, count, storage};
use crate::broker::Broker;
use crate::broker::exchange::chain;
use crate::broker::single_flight::Landing;
use crate::broker::throttle::app_by_client;
use crate::domain::grant::Grant;
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::renewal::{Jitter, Renewal, retry_at};
use crate::domain::throttle::Pause;
use crate::domain::time::Timestamp;
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::platforms::{Refresh, Rotation};
use crate::store;
use crate::store::refreshes::{self, Failed};

/// Before a refresh that panicked is tried again without being asked for.
const PANICKED_AGAIN_AFTER: Duration = Duration::from_mins(1);

impl Broker {
    /// Records how a refresh failed, and what follows from it.
    pub(super) async fn refused(&self, grant: &Grant, refusal: Refusal) -> Landing {
        let now = self.clock.now();
        let kind = self.judge(grant, &refusal, now);
        let trouble = Trouble { kind, status: refusal.status, platform_code: refusal.code.clone(), at: now };
        tracing::warn!(
            grant.id = %grant.id, platform.name = %grant.platform, trouble = kind.code(), error = %refusal.sentence,
            next_step = %kind.next_step(&grant.platform), "refresh failed"
        );
        count(&grant.platform, outcome_of(kind));
        let (project, id, generation) = (grant.project_id, grant.id, grant.generation);
        let due_at = retry_at(kind, grant.failures + 1, refusal.retry_after, now, Jitter::draw(&*self.entropy));
        let recorded = if let Some(reason) = kind.ends_grant() {
            let end = move |tx: &store::Transaction<'_>| refreshes::end(tx, project, id, generation, reason, &trouble);
            self.store.write(end).await
        } else {
            let Refusal { is_unanswered, is_in_answer, .. } = refusal;
            let failed = Failed { trouble, due_at, is_unanswered, is_in_answer };
            self.store.write(move |tx| refreshes::fail(tx, project, id, generation, &failed)).await
        };
        match recorded {
            Ok(()) if kind.ends_grant().is_some() => Err(Unrefreshed::Ended),
            Ok(()) => Err(Unrefreshed::Trouble { kind, retry_after: now.until(due_at) }),
            // Disconnected, or connected anew: there are other tokens, or none.
            Err(store::Error::NotChanged) => Ok(()),
            Err(error) => Err(storage(id, &error.into())),
        }
    }

    /// What a refusal means, with all that is known of the grant and its app.
    fn judge(&self, grant: &Grant, refusal: &Refusal, now: Timestamp) -> TroubleKind {
        let platform = self.platforms.find(&grant.platform).map(|configured| &configured.platform);
        let mut kind = refusal.kind;
        if kind == TroubleKind::AppOrGrantRejected
            && let Some(before) = grant.trouble.as_ref().filter(|before| before.kind == kind)
            && self.has_succeeded_since(&app_by_client(grant), before.at)
        {
            // The app did well with others meanwhile, so it is the grant.
            kind = TroubleKind::RefreshRejected;
        }
        if kind != TroubleKind::RefreshRejected {
            return kind;
        }
        let rotates =
            platform.is_none_or(|platform| platform.refresh != Refresh::RefreshToken { rotation: Rotation::None });
        if rotates && grant.attempt.is_some() && grant.renewal == Renewal::RefreshToken {
            return TroubleKind::RefreshInterrupted;
        }
        let testing_life = platform.and_then(|platform| platform.testing_life);
        if testing_life.is_some_and(|life| is_about(grant.consented_at.until(now), life)) {
            return TroubleKind::TestingConsentExpired;
        }
        kind
    }

    /// Nothing renews it any more: it is not tried, and its status follows from its times.
    pub(super) async fn lapse(&self, grant: &Grant, now: Timestamp) -> Landing {
        let (project, id, generation) = (grant.project_id, grant.id, grant.generation);
        let kind = TroubleKind::ConsentExpired;
        let trouble = Trouble { kind, status: None, platform_code: None, at: now };
        tracing::warn!(grant.id = %id, platform.name = %grant.platform, trouble = kind.code(), "nothing renews this grant any more");
        count(&grant.platform, outcome_of(kind));
        match self.store.write(move |tx| refreshes::lapse(tx, project, id, generation, &trouble)).await {
            Ok(()) => Err(Unrefreshed::Ended),
            Err(store::Error::NotChanged) => Ok(()),
            Err(error) => Err(storage(id, &error.into())),
        }
    }

    /// Puts a refresh off that need not be tried before. [`Unrefreshed::Storage`] when that cannot be written down, so that
    /// it would be tried at once.
    pub(super) async fn postpone(&self, grant: &Grant, until: Timestamp) -> Landing {
        let (project, id, generation) = (grant.project_id, grant.id, grant.generation);
        if grant.due_at.is_none_or(|due| due >= until) {
            return Ok(());
        }
        match self.store.write(move |tx| refreshes::postpone(tx, project, id, generation, until)).await {
            Ok(()) | Err(store::Error::NotChanged) => Ok(()),
            Err(error) => Err(storage(id, &error.into())),
        }
    }

    /// What panicked once will panic again, mostly: the platform is not asked every second for that.
    pub(super) async fn put_off_after_panic(&self, project: ProjectId, id: GrantId, generation: u64) {
        let until = self.clock.now().plus(PANICKED_AGAIN_AFTER);
        let put_off = self.store.write(move |tx| refreshes::postpone(tx, project, id, generation, until)).await;
        if let Err(error) = put_off
            && !matches!(error, store::Error::NotChanged)
        {
            tracing::warn!(grant.id = %id, error = %chain(&error), "a refresh that panicked could not be put off");
        }
    }

    /// The app is paused, and the grant waits for that. What else it has due, the scheduler puts off.
    pub(super) async fn paused(&self, grant: &Grant, pause: Pause) -> Landing {
        self.postpone(grant, pause.until).await?;
        let retry_after = self.clock.now().until(pause.until);
        Err(Unrefreshed::Trouble { kind: pause.kind, retry_after })
    }
}

/// Whether an age is that of a life of so long, give or take: a refresh finds out some time after.
fn is_about(age: Duration, life: Duration) -> bool {
    let slack = Duration::from_hours(12);
    (life.saturating_sub(slack)..=life + slack).contains(&age)
}

fn outcome_of(kind: TroubleKind) -> &'static str {
    match kind {
        TroubleKind::AppMissing | TroubleKind::AppOrGrantRejected | TroubleKind::AppRejected => "app_rejected",
        TroubleKind::Throttled => "throttled",
        kind if kind.ends_grant().is_some() => "grant_ended",
        _ => "transient",
    }
}
