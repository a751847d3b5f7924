//! The consequences of a refresh that brought no tokens: whether the grant has ended, and when it is tried again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::throttle::Permit;
use super::{LONGEST_WAIT, Landing, NotRefreshed, Refresher, count, storage};
use crate::broker::core::count_help;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::grant::Grant;
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::platform_error::PlatformError;
use crate::domain::refresh::{Failed, RefreshState, Reply, may_be_of_settings};
use crate::domain::refresh_failure::{RefreshFailure, RefusedAlone};
use crate::domain::renewal::{Jitter, Renewal, retry_at};
use crate::domain::throttle::{NewPause, Owned, Pause};
use crate::domain::time::Timestamp;
use crate::store::backup::{self, Restore};
use crate::store::{self, Transaction, grants};

/// Wait after a panic. What panicked once will mostly panic again.
const AGAIN_AFTER_PANIC: Duration = Duration::from_mins(1);

/// Time after its end by the clock from which a grant that [often](OFTEN) failed is tried as rarely as any, for as long
/// as nobody refuses it: its platform may be gone.
const LONG_LAPSED: Duration = Duration::from_hours(30 * 24);

/// Failures in a row after which an outage is no short one: a few hours of them.
const OFTEN: u32 = 10;

impl Refresher {
    /// Learns from a call that was made for a grant. When that brings a pause, all that the app has due is
    /// [postponed](Self::postpone_app). What a project that waits alone has due postpones itself, without a call.
    pub(super) async fn learn(&self, permit: &Permit, grant: Owned, error: Option<&PlatformError>) {
        let Some(NewPause { project, pause }) = permit.learn(grant, error) else { return };
        let app = permit.app();
        let trouble = RefreshFailure::unasked(pause.kind, self.core().clock.now());
        tracing::warn!(
            platform.name = %app.platform, app.id = app.app.map(|(_, app)| tracing::field::display(app)),
            project.id = project.map(tracing::field::display), failure = pause.kind.code(), who_can_help = pause.kind.who_can_help().code(), until = %pause.until,
            next_step = %trouble.next_step(&app.platform, self.core().console(&app.platform)),
            "refreshes of this app are paused"
        );
        if project.is_none() {
            self.postpone_app(app, pause).await;
        }
    }

    /// Records how a refresh failed, and what follows from it. `permit`: of the call to the platform, if one was made.
    pub(super) async fn failed(&self, grant: &Grant, error: PlatformError, permit: Option<Permit>) -> Landing {
        let now = self.core().clock.now();
        let refused_alone = self.refused_alone(grant, &error, now);
        let kind = self.judge(grant, &error, refused_alone, now);
        let restore = self.restore_behind(grant, kind).await;
        let kind = if restore.is_some() { Failure::RestoredFromBackup } else { kind };
        let who_can_help = count_help(error.who_can_help(kind), &grant.platform);
        let console = self.core().console(&grant.platform);
        let next_step = if kind == error.failure {
            error.next_step(console)
        } else {
            RefreshFailure::unasked(kind, now).next_step(&grant.platform, console)
        };
        tracing::warn!(
            grant.id = %grant.id, platform.name = %grant.platform, failure = kind.code(), who_can_help,
            error = %chain(&error), next_step, "refresh failed"
        );
        count(&grant.platform, outcome_of(kind));
        let is_expired = kind == Failure::ConsentExpired && grant.renewal == Renewal::AccessToken;
        if is_expired {
            self.0.lapsed_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        }
        let (project, id, generation) = (grant.project_id, grant.id, grant.generation);
        let mut due_at =
            retry_at(kind, grant.failures + 1, error.retry_after, now, Jitter::draw(&*self.core().entropy));
        if grant.failures >= OFTEN && grant.lapses_at().is_some_and(|at| at.plus(LONG_LAPSED) <= now) {
            due_at = due_at.max(now.plus(LONGEST_WAIT));
        }
        let PlatformError { status, code: platform_code, may_have_acted, is_in_answer, .. } = error;
        let backup_taken_at = restore.map(|restore| restore.taken_at);
        let platform_code = platform_code.map(String::from);
        let trouble = RefreshFailure { kind, status, platform_code, at: now, backup_taken_at, refused_alone };
        let reply = match (is_in_answer, may_have_acted) {
            (true, _) => Reply::StoredRejection,
            (_, true) => Reply::Unanswered,
            _ => Reply::Rejected,
        };
        let record = move |tx: &Transaction<'_>| {
            // A reload resumes what waits in a transaction after its change: no failure in between is missed.
            let is_outdated = may_be_of_settings(kind, status) && permit.is_some_and(|permit| permit.is_outdated());
            let due_at = if is_outdated { now } else { due_at };
            grants::change(tx, project, id, generation, |grant| match kind.ends_grant() {
                // Accounts with tokens of their own live on.
                Some(_) if is_expired => grant.expired(trouble),
                Some(reason) => grant.ended(reason, trouble),
                None => grant.refresh_failed(Failed { trouble, due_at, reply }),
            })?;
            Ok(due_at)
        };
        let recorded = self.core().store.write(record).await;
        match recorded {
            Ok(_) if kind.ends_grant().is_some() => Err(NotRefreshed::Ended),
            Ok(due_at) => Err(NotRefreshed::Failed { kind, retry_after: now.until(due_at) }),
            // Disconnected, or connected anew: there are other tokens, or none.
            Err(store::Error::NotChanged) => Ok(()),
            Err(error) => Err(storage(id, &error.into())),
        }
    }

    /// The restore after which a rejected refresh token is most likely the old one: it is from the backup, and the
    /// platform accepts each one once.
    async fn restore_behind(&self, grant: &Grant, kind: Failure) -> Option<Restore> {
        let is_used_once =
            grant.renewal == Renewal::RefreshToken && self.core().upstream.rotates_refresh_tokens(&grant.platform);
        if !matches!(kind, Failure::RefreshInterrupted | Failure::RefreshRejected) || !is_used_once {
            return None;
        }
        let restore = self.core().store.read(backup::find_latest_restore).await;
        let restore = restore
            .inspect_err(|error| {
                tracing::warn!(grant.id = %grant.id, error = %chain(error), "cannot tell whether a backup was restored");
            })
            .ok()??;
        (grant.issued_at <= restore.restored_at).then_some(restore)
    }

    /// Counts a definite refusal if the app succeeded with other grants since the one before.
    fn refused_alone(&self, grant: &Grant, error: &PlatformError, now: Timestamp) -> Option<RefusedAlone> {
        let is_definite = error.failure == Failure::RequestRefused && !error.is_page && error.code.is_some();
        let before = grant.trouble.as_ref().filter(|before| is_definite && before.kind == error.failure)?;
        let is_alone = self.0.throttle.has_succeeded_since(&self.app_of_stored(grant), before.at);
        if is_alone { Some(RefusedAlone::and(before.refused_alone, now)) } else { before.refused_alone }
    }

    /// True when a refusal that may have other reasons is about this grant.
    fn is_about_grant(
        &self,
        grant: &Grant,
        error: &PlatformError,
        refused_alone: Option<RefusedAlone>,
        now: Timestamp,
    ) -> bool {
        match error.failure {
            // Refused three times over a quarter of an hour, while the app succeeded with other grants. A proxy's
            // answer may differ between grants for reasons of its own.
            Failure::AppOrGrantRejected if !error.is_page && grant.failures >= 2 => grant
                .trouble
                .as_ref()
                .filter(|before| before.kind == error.failure)
                .is_some_and(|before| self.0.throttle.has_succeeded_since(&self.app_of_stored(grant), before.at)),
            // An access token that still works is worth more than a verdict.
            Failure::RequestRefused => {
                refused_alone.is_some_and(|alone| alone.is_proof(now))
                    && grant.access_expires_at.is_some_and(|expires_at| expires_at <= now)
            }
            _ => false,
        }
    }

    /// The meaning of a failure, given what is known of the grant and its app.
    fn judge(
        &self,
        grant: &Grant,
        error: &PlatformError,
        refused_alone: Option<RefusedAlone>,
        now: Timestamp,
    ) -> Failure {
        let (upstream, mut kind) = (&self.core().upstream, error.failure);
        if self.is_about_grant(grant, error, refused_alone, now) {
            kind = Failure::RefreshRejected;
        }
        if kind != Failure::RefreshRejected {
            return kind;
        }
        let has_attempt = grant.refresh != RefreshState::Idle && grant.renewal == Renewal::RefreshToken;
        if has_attempt && upstream.rotates_refresh_tokens(&grant.platform) {
            let has_tokens = upstream.has_settings_of_answers(&grant.platform) && self.has_unread_tokens(grant);
            return if has_tokens { Failure::RefreshAnswerUnread } else { Failure::RefreshInterrupted };
        }
        // Google announces the seven days of an app in testing.
        let lapsed_at = grant.lapses_at().filter(|at| *at <= now);
        if self.is_end_of_testing(grant, lapsed_at.unwrap_or(now)) {
            return Failure::TestingConsentExpired;
        }
        if lapsed_at.is_some() { Failure::ConsentExpired } else { kind }
    }

    /// True when a whole answer is stored that cannot be read, and may hold tokens.
    fn has_unread_tokens(&self, grant: &Grant) -> bool {
        let tokens = self.core().open_grant(grant).ok().flatten();
        tokens.and_then(|tokens| self.open_stored_answer(grant, &tokens)).is_some_and(|read| {
            read.is_err_and(|error| error.failure == Failure::PlatformAnswerUnreadable && !error.is_page)
        })
    }

    /// True when a consent that ended at `at` has lived as long as those of an app in testing do.
    fn is_end_of_testing(&self, grant: &Grant, at: Timestamp) -> bool {
        let testing_life = self.core().upstream.testing_life(&grant.platform);
        testing_life.is_some_and(|life| is_about(grant.consented_at.until(at), life))
    }

    /// Postpones a refresh until the platform renews tokens of that age. A failure before that was a wrong clock's.
    pub(super) async fn wait_for_age(&self, grant: &Grant, until: Timestamp) -> Landing {
        if grant.trouble.is_none() {
            return self.postpone(grant, until).await;
        }
        self.change(grant, move |grant| grant.too_young(until)).await.map(drop)
    }

    /// Postpones a refresh to `until`. [`NotRefreshed::Storage`] when that cannot be recorded, so that it stays due.
    pub(super) async fn postpone(&self, grant: &Grant, until: Timestamp) -> Landing {
        if grant.due_at.is_none_or(|due| due >= until) {
            return Ok(());
        }
        self.change(grant, move |grant| grant.postponed(until)).await.map(drop)
    }

    /// Postpones a refresh that panicked, so that the platform is not asked every second.
    pub(super) async fn postpone_after_panic(&self, project: ProjectId, id: GrantId, generation: u64) {
        let until = self.core().clock.now().plus(AGAIN_AFTER_PANIC);
        let postpone =
            move |tx: &Transaction<'_>| grants::change(tx, project, id, generation, |grant| grant.postponed(until));
        if let Err(error) = self.core().store.write(postpone).await
            && !matches!(error, store::Error::NotChanged)
        {
            tracing::warn!(grant.id = %id, error = %chain(&error), "cannot postpone a refresh that panicked");
        }
    }

    /// Lets the grant wait until its app's pause ends. The scheduler postpones what else the app has due.
    pub(super) async fn paused(&self, grant: &Grant, pause: Pause) -> Landing {
        self.postpone(grant, pause.until).await?;
        let retry_after = self.core().clock.now().until(pause.until);
        Err(NotRefreshed::Failed { kind: pause.kind, retry_after })
    }
}

/// True when `age` is within 12 h of `life`: a refresh finds out some time after.
fn is_about(age: Duration, life: Duration) -> bool {
    let slack = Duration::from_hours(12);
    (life.saturating_sub(slack)..=life + slack).contains(&age)
}

/// The label of `postpeer_refreshes_total`, coarser than the failure.
fn outcome_of(kind: Failure) -> &'static str {
    match kind {
        Failure::AppMissing | Failure::AppOrGrantRejected | Failure::CredentialsRejected => "app_rejected",
        Failure::PlatformThrottled => "throttled",
        kind if kind.ends_grant().is_some() => "grant_ended",
        _ => "transient",
    }
}
