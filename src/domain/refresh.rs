//! A grant's life as a state machine: refresh begun, answered, failed; grant postponed, lapsed, ended, renewed.
//!
//! A refresh is recorded before the platform is asked, and its answer before anyone reads it: a platform that rotates
//! refresh tokens delivers each one once. A refresh whose outcome is unknown leaves the grant *in doubt* until new
//! tokens arrive: the platform may have issued tokens that never reached the broker.
//!
//! Transitions take the grant by value and return its next state, or [`InvalidTransition`]. The store loads the grant,
//! applies one and writes it back in one transaction, under a check of the generation.

use super::InvalidTransition;
use super::failure::Failure;
use super::grant::{AuthStatus, FailureReason, Grant};
use super::past_refreshes::PastRefresh;
use super::refresh_failure::RefreshFailure;
use super::renewal::Renewal;
use super::secret::Sealed;
use super::time::Timestamp;

/// Failures that other credentials of the OAuth app may resolve.
pub const NEW_CREDENTIALS_MAY_RESOLVE: [Failure; 3] =
    [Failure::AppMissing, Failure::AppOrGrantRejected, Failure::CredentialsRejected];

/// Failures that other settings of the platform, or of the way to it, may resolve.
pub const NEW_SETTINGS_MAY_RESOLVE: [Failure; 3] =
    [Failure::PlatformAnswerUnreadable, Failure::PlatformUnavailable, Failure::RequestRefused];

/// Failures of a grant whose consent has expired: usually, and where it was to an app in testing.
pub const LAPSED: [Failure; 2] = [Failure::ConsentExpired, Failure::TestingConsentExpired];

/// True for a failure that other credentials or settings may resolve. `status`: of the answer, if there was one. A
/// platform that answers that it is unavailable was reached, and asks to be left alone for a while.
#[must_use]
pub fn may_be_of_settings(kind: Failure, status: Option<u16>) -> bool {
    let is_outage = kind == Failure::PlatformUnavailable && status.is_some();
    NEW_CREDENTIALS_MAY_RESOLVE.contains(&kind) || (NEW_SETTINGS_MAY_RESOLVE.contains(&kind) && !is_outage)
}

/// How far a grant's refresh got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshState {
    /// No refresh is in flight, and none had an unknown outcome.
    Idle,
    /// A refresh is in flight.
    InFlight { since: Timestamp },
    /// A refresh since the last new tokens had an unknown outcome. The latest began at `since`, and may be in flight.
    InDoubt { since: Timestamp },
    /// The platform answered a request of `asked_at`, and the answer was not understood yet. Sealed as it came, under
    /// the generation that it replaces.
    Answered { asked_at: Timestamp, answer: Sealed },
    /// [`Answered`](Self::Answered), and another refresh since the last new tokens had an unknown outcome.
    AnsweredInDoubt { asked_at: Timestamp, answer: Sealed },
}

impl RefreshState {
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        matches!(self, Self::InDoubt { .. } | Self::AnsweredInDoubt { .. })
    }

    /// When the platform was asked: for the stored answer where there is one, for the latest refresh otherwise.
    /// `None` when idle.
    #[must_use]
    pub const fn asked_at(&self) -> Option<Timestamp> {
        match self {
            Self::Idle => None,
            Self::InFlight { since } | Self::InDoubt { since } => Some(*since),
            Self::Answered { asked_at, .. } | Self::AnsweredInDoubt { asked_at, .. } => Some(*asked_at),
        }
    }

    /// The stored answer.
    #[must_use]
    pub const fn answer(&self) -> Option<&Sealed> {
        match self {
            Self::Answered { answer, .. } | Self::AnsweredInDoubt { answer, .. } => Some(answer),
            Self::Idle | Self::InDoubt { .. } | Self::InFlight { .. } => None,
        }
    }

    /// The time of a stored answer stays, because the lifetimes in that answer count from it.
    fn begun(self, now: Timestamp) -> Self {
        match self {
            Self::Idle => Self::InFlight { since: now },
            Self::InFlight { .. } | Self::InDoubt { .. } => Self::InDoubt { since: now },
            kept @ (Self::Answered { .. } | Self::AnsweredInDoubt { .. }) => kept.doubted(),
        }
    }

    fn doubted(self) -> Self {
        match self {
            Self::InFlight { since } => Self::InDoubt { since },
            Self::Answered { asked_at, answer } => Self::AnsweredInDoubt { asked_at, answer },
            same @ (Self::Idle | Self::InDoubt { .. } | Self::AnsweredInDoubt { .. }) => same,
        }
    }

    fn failed(self, reply: Reply) -> Self {
        match (self, reply) {
            (state, Reply::Unanswered) => state.doubted(),
            (Self::InFlight { .. }, _) | (Self::Answered { .. }, Reply::StoredRejection) => Self::Idle,
            (Self::AnsweredInDoubt { asked_at, .. }, Reply::StoredRejection) => Self::InDoubt { since: asked_at },
            (state, Reply::StoredRejection | Reply::Rejected) => state,
        }
    }
}

/// A failed refresh that leaves the grant active.
#[derive(Debug, Clone)]
pub struct Failed {
    pub trouble: RefreshFailure,
    /// Time of the next retry.
    pub due_at: Timestamp,
    pub reply: Reply,
}

/// Tells whether a failed refresh may have issued tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The stored answer turned out to be a rejection: it is erased.
    StoredRejection,
    /// The platform rejected the request, or was never asked.
    Rejected,
    /// The platform may have issued tokens: no answer came, or none that this program understands.
    Unanswered,
}

/// New tokens for a grant, and what the platform said of them.
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// Sealed under the grant's next generation.
    pub tokens: Sealed,
    pub scopes: Vec<String>,
    pub issued_at: Timestamp,
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    pub renewal: Renewal,
    pub due_at: Option<Timestamp>,
}

impl Grant {
    /// Records that the platform is about to be asked for new tokens.
    ///
    /// # Errors
    ///
    /// The grant has ended.
    pub fn begin_refresh(self, now: Timestamp) -> Result<Self, InvalidTransition> {
        let active = self.active()?;
        Ok(Self { refresh: active.refresh.begun(now), ..active })
    }

    /// Stores the platform's answer to the request of `asked_at`, in place of an older one.
    ///
    /// # Errors
    ///
    /// No refresh was begun.
    pub fn store_answer(self, asked_at: Timestamp, answer: Sealed) -> Result<Self, InvalidTransition> {
        let refresh = match self.refresh {
            RefreshState::Idle => return Err(InvalidTransition),
            RefreshState::InFlight { .. } | RefreshState::Answered { .. } => {
                RefreshState::Answered { asked_at, answer }
            }
            RefreshState::InDoubt { .. } | RefreshState::AnsweredInDoubt { .. } => {
                RefreshState::AnsweredInDoubt { asked_at, answer }
            }
        };
        Ok(Self { refresh, ..self })
    }

    /// Records a failure after which the refresh is tried again. Doubt about an earlier refresh stays, and so does a
    /// kept answer that was not understood.
    ///
    /// # Errors
    ///
    /// The grant has ended.
    pub fn refresh_failed(self, failed: Failed) -> Result<Self, InvalidTransition> {
        let active = self.active()?.with_past(failed.trouble.past());
        Ok(Self {
            due_at: Some(failed.due_at),
            trouble: Some(failed.trouble),
            failures: active.failures.saturating_add(1),
            refresh: active.refresh.failed(failed.reply),
            ..active
        })
    }

    /// Postpones the next refresh until `until`, unless it is due later or never.
    ///
    /// # Errors
    ///
    /// The grant has ended.
    pub fn postponed(self, until: Timestamp) -> Result<Self, InvalidTransition> {
        let active = self.active()?;
        Ok(Self { due_at: active.due_at.map(|due_at| due_at.max(until)), ..active })
    }

    /// Postpones the next refresh until `until`, because the platform renews no younger tokens. Forgets a failure: only a
    /// wrong clock had them refreshed before.
    ///
    /// # Errors
    ///
    /// The grant has ended.
    pub fn too_young(self, until: Timestamp) -> Result<Self, InvalidTransition> {
        Ok(Self { trouble: None, failures: 0, ..self.postponed(until)? })
    }

    /// Records that the grant can no longer be renewed: it is not retried, and stays active until its tokens expire.
    ///
    /// # Errors
    ///
    /// The grant has ended.
    pub fn lapsed(self, trouble: RefreshFailure) -> Result<Self, InvalidTransition> {
        let active = self.active()?;
        let is_known = active.trouble.as_ref().is_some_and(|known| known.kind == trouble.kind);
        let active = if is_known { active } else { active.with_past(trouble.past()) };
        Ok(Self { due_at: None, trouble: Some(trouble), ..active })
    }

    /// Records that the stored tokens do not open, as a caller found before a refresh did. The next refresh stays due
    /// when it was.
    ///
    /// # Errors
    ///
    /// The grant has ended.
    pub fn unreadable(self, trouble: RefreshFailure) -> Result<Self, InvalidTransition> {
        Ok(Self { trouble: Some(trouble), ..self.active()? })
    }

    /// Records that the access token, which renewed itself, has expired by the platform's word. The grant's status
    /// follows from its times.
    ///
    /// # Errors
    ///
    /// The grant has ended.
    pub fn expired(self, trouble: RefreshFailure) -> Result<Self, InvalidTransition> {
        let expired_at = self.access_expires_at.map_or(trouble.at, |at| at.min(trouble.at));
        Self { access_expires_at: Some(expired_at), refresh: RefreshState::Idle, ..self }.lapsed(trouble)
    }

    /// Records that the account's owner must reconnect. The tokens stay for a while, and so does a stored answer: a
    /// later program may understand it.
    ///
    /// # Errors
    ///
    /// The grant has ended already.
    pub fn ended(self, reason: FailureReason, trouble: RefreshFailure) -> Result<Self, InvalidTransition> {
        let active = self.active()?.with_past(trouble.past());
        let now = trouble.at;
        Ok(Self {
            status: AuthStatus::ReconnectRequired(reason),
            ended_at: Some(now),
            due_at: None,
            trouble: Some(trouble),
            failures: active.failures.saturating_add(1),
            refresh: match active.refresh {
                kept @ (RefreshState::Answered { .. } | RefreshState::AnsweredInDoubt { .. }) => kept,
                _ => RefreshState::Idle,
            },
            updated_at: now,
            ..active
        })
    }

    /// Replaces the tokens. The grant is active, whatever it was before, and nothing of an earlier refresh is left but
    /// its place among the past ones.
    #[must_use]
    pub fn renewed(self, new: NewTokens, now: Timestamp) -> Self {
        Self {
            scopes: new.scopes,
            issued_at: new.issued_at,
            access_expires_at: new.access_expires_at,
            refresh_expires_at: new.refresh_expires_at,
            renewal: new.renewal,
            tokens: Some(new.tokens),
            generation: self.generation + 1,
            status: AuthStatus::Active,
            ended_at: None,
            due_at: new.due_at,
            trouble: None,
            failures: 0,
            refresh: RefreshState::Idle,
            updated_at: now,
            ..self.with_past(PastRefresh { at: now, failure: None })
        }
    }

    fn with_past(self, refresh: PastRefresh) -> Self {
        Self { past_refreshes: self.past_refreshes.and(refresh), ..self }
    }

    fn active(self) -> Result<Self, InvalidTransition> {
        if self.status == AuthStatus::Active { Ok(self) } else { Err(InvalidTransition) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::RefreshState::{Answered, AnsweredInDoubt, Idle, InDoubt, InFlight};
    use super::Reply::{Rejected, StoredRejection, Unanswered};
    use super::*;
    use crate::domain::id::Id as _;
    use crate::domain::past_refreshes::PastRefreshes;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445).plus(Duration::from_secs(seconds))
    }

    fn sealed(text: &str) -> Sealed {
        Sealed::from_bytes(text.into())
    }

    fn trouble(kind: Failure) -> RefreshFailure {
        RefreshFailure {
            kind,
            status: None,
            platform_code: None,
            at: at(50),
            backup_taken_at: None,
            refused_alone: None,
        }
    }

    fn grant(refresh: RefreshState) -> Grant {
        Grant {
            id: crate::domain::id::GrantId::from_uuid(Uuid::from_u128(1)),
            project_id: crate::domain::id::ProjectId::from_uuid(Uuid::from_u128(2)),
            platform: "twitter".to_owned(),
            app_id: None,
            client_id: "client".to_owned(),
            subject: "s".to_owned(),
            scopes: vec!["read".to_owned()],
            requested_scopes: Vec::new(),
            consented_at: at(0),
            issued_at: at(0),
            access_expires_at: Some(at(100)),
            refresh_expires_at: None,
            renewal: Renewal::RefreshToken,
            tokens: Some(sealed("tokens")),
            generation: 7,
            status: AuthStatus::Active,
            ended_at: None,
            due_at: Some(at(80)),
            trouble: Some(trouble(Failure::PlatformThrottled)),
            failures: 2,
            refresh,
            past_refreshes: PastRefreshes::default(),
            created_at: at(0),
            updated_at: at(0),
        }
    }

    /// Every state, begun or answered at 10 s, with the answer `old`.
    fn states() -> [RefreshState; 5] {
        let (since, asked_at, answer) = (at(10), at(10), sealed("old"));
        [
            Idle,
            InFlight { since },
            InDoubt { since },
            Answered { asked_at, answer: answer.clone() },
            AnsweredInDoubt { asked_at, answer },
        ]
    }

    fn answered(seconds: u64, answer: &str) -> RefreshState {
        Answered { asked_at: at(seconds), answer: sealed(answer) }
    }

    fn answered_in_doubt(seconds: u64, answer: &str) -> RefreshState {
        AnsweredInDoubt { asked_at: at(seconds), answer: sealed(answer) }
    }

    fn is_unchanged_but_for_refresh(before: &Grant, after: Grant) -> bool {
        format!("{before:?}") == format!("{:?}", Grant { refresh: before.refresh.clone(), ..after })
    }

    #[test]
    fn a_begun_refresh_doubts_an_unresolved_one_and_keeps_its_answer() {
        let in_doubt = InDoubt { since: at(20) };
        let expected = [
            InFlight { since: at(20) },
            in_doubt.clone(),
            in_doubt,
            answered_in_doubt(10, "old"),
            answered_in_doubt(10, "old"),
        ];
        for (before, expected) in states().map(grant).into_iter().zip(expected) {
            let after = before.clone().begin_refresh(at(20)).unwrap();
            assert_eq!(after.refresh, expected, "{:?}", before.refresh);
            assert!(is_unchanged_but_for_refresh(&before, after));
        }
    }

    #[test]
    fn an_answer_is_kept_only_for_a_begun_refresh_and_resolves_no_doubt() {
        let expected = [
            None,
            Some(answered(20, "new")),
            Some(answered_in_doubt(20, "new")),
            Some(answered(20, "new")),
            Some(answered_in_doubt(20, "new")),
        ];
        for (before, expected) in states().map(grant).into_iter().zip(expected) {
            let after = before.clone().store_answer(at(20), sealed("new"));
            assert_eq!(after.as_ref().map(|after| after.refresh.clone()).ok(), expected, "{:?}", before.refresh);
            assert!(after.is_err() || is_unchanged_but_for_refresh(&before, after.unwrap()));
        }
    }

    #[test]
    fn a_failure_leaves_what_it_does_not_resolve() {
        let in_doubt = || InDoubt { since: at(10) };
        let rejected = [Idle, Idle, in_doubt(), answered(10, "old"), answered_in_doubt(10, "old")];
        let unanswered = [Idle, in_doubt(), in_doubt(), answered_in_doubt(10, "old"), answered_in_doubt(10, "old")];
        let stored_rejection = [Idle, Idle, in_doubt(), Idle, in_doubt()];
        for (reply, expected) in [(Rejected, rejected), (Unanswered, unanswered), (StoredRejection, stored_rejection)] {
            for (before, expected) in states().map(grant).into_iter().zip(expected) {
                let failed = Failed { trouble: trouble(Failure::PlatformUnavailable), due_at: at(60), reply };
                let after = before.clone().refresh_failed(failed.clone()).unwrap();
                assert_eq!(after.refresh, expected, "{reply:?} {:?}", before.refresh);
                assert_eq!((after.trouble.as_ref(), after.due_at), (Some(&failed.trouble), Some(at(60))));
                assert_eq!((after.failures, after.status, after.updated_at), (3, AuthStatus::Active, at(0)));
            }
        }
    }

    #[test]
    fn an_ended_grant_keeps_tokens_and_answer_and_no_doubt_without_one() {
        let expected = [Idle, Idle, Idle, answered(10, "old"), answered_in_doubt(10, "old")];
        for (before, expected) in states().map(grant).into_iter().zip(expected) {
            let revoked = trouble(Failure::ConsentRevoked);
            let after = before.clone().ended(FailureReason::AccessRevoked, revoked.clone()).unwrap();
            assert_eq!(after.refresh, expected, "{:?}", before.refresh);
            assert_eq!(after.status, AuthStatus::ReconnectRequired(FailureReason::AccessRevoked));
            assert_eq!((after.ended_at, after.updated_at), (Some(revoked.at), revoked.at));
            assert_eq!((after.due_at, after.trouble, after.failures), (None, Some(revoked), 3));
            assert_eq!((after.tokens, after.generation), (before.tokens, 7));
        }
    }

    #[test]
    fn postponing_never_brings_a_refresh_forward() {
        for (due_at, until, expected) in
            [(Some(80), 90, Some(90)), (Some(80), 70, Some(80)), (Some(80), 80, Some(80)), (None, 90, None)]
        {
            let before = Grant { due_at: due_at.map(at), ..grant(Idle) };
            let after = before.clone().postponed(at(until)).unwrap();
            assert_eq!(after.due_at, expected.map(at), "{due_at:?} {until}");
            assert_eq!((after.trouble, after.failures), (before.trouble.clone(), before.failures));
            let young = before.too_young(at(until)).unwrap();
            assert_eq!((young.due_at, young.trouble, young.failures), (expected.map(at), None, 0));
        }
    }

    #[test]
    fn a_lapsed_grant_is_active_and_not_retried() {
        for before in states().map(grant) {
            let expired = trouble(Failure::ConsentExpired);
            let after = before.clone().lapsed(expired.clone()).unwrap();
            assert_eq!((after.due_at, after.trouble), (None, Some(expired)));
            assert_eq!((after.status, after.failures, after.refresh), (AuthStatus::Active, 2, before.refresh));
        }
    }

    #[test]
    fn new_tokens_end_every_trouble() {
        let ended =
            states().map(|state| grant(state).ended(FailureReason::TokenExpired, trouble(Failure::PlatformThrottled)));
        for before in states().map(grant).into_iter().chain(ended.map(Result::unwrap)) {
            let new = NewTokens {
                tokens: sealed("new"),
                scopes: vec!["write".to_owned()],
                issued_at: at(60),
                access_expires_at: Some(at(160)),
                refresh_expires_at: Some(at(900)),
                renewal: Renewal::AccessToken,
                due_at: Some(at(140)),
            };
            let refreshed = PastRefresh { at: at(61), failure: None };
            let expected = Grant {
                past_refreshes: before.past_refreshes.clone().and(refreshed),
                tokens: Some(sealed("new")),
                scopes: vec!["write".to_owned()],
                issued_at: at(60),
                access_expires_at: Some(at(160)),
                refresh_expires_at: Some(at(900)),
                renewal: Renewal::AccessToken,
                due_at: Some(at(140)),
                generation: 8,
                trouble: None,
                failures: 0,
                updated_at: at(61),
                ..grant(Idle)
            };
            assert_eq!(format!("{:?}", before.renewed(new, at(61))), format!("{expected:?}"));
        }
    }

    #[test]
    fn every_outcome_of_a_refresh_is_kept_and_nothing_else() {
        let kinds = |grant: &Grant| -> Vec<_> {
            grant.past_refreshes.clone().into_vec().into_iter().map(|past| past.failure).collect()
        };
        let down = Failure::PlatformUnavailable;
        let failed = Failed { trouble: trouble(down), due_at: at(60), reply: Rejected };
        let once = grant(Idle).begin_refresh(at(1)).unwrap().refresh_failed(failed).unwrap();
        assert_eq!(kinds(&once), [Some(down)]);
        assert_eq!(once.past_refreshes.clone().into_vec()[0].at, at(50));
        assert_eq!(kinds(&once.clone().postponed(at(90)).unwrap()), [Some(down)]);
        // A lapsed grant is looked at again and again.
        let expired = Failure::ConsentExpired;
        let lapsed = once.lapsed(trouble(expired)).unwrap().lapsed(trouble(expired)).unwrap();
        assert_eq!(kinds(&lapsed), [Some(expired), Some(down)]);
        let ended = lapsed.ended(FailureReason::AccessRevoked, trouble(Failure::ConsentRevoked)).unwrap();
        assert_eq!(kinds(&ended), [Some(Failure::ConsentRevoked), Some(expired), Some(down)]);
    }

    #[test]
    fn an_ended_grant_changes_by_new_tokens_or_a_kept_answer_only() {
        let in_flight = grant(InFlight { since: at(10) });
        let ended = in_flight.ended(FailureReason::RefreshRejected, trouble(Failure::RefreshRejected)).unwrap();
        let trouble = || trouble(Failure::PlatformUnavailable);
        let failed = Failed { trouble: trouble(), due_at: at(60), reply: Rejected };
        for (name, refused) in [
            ("begin_refresh", ended.clone().begin_refresh(at(60))),
            ("store_answer", ended.clone().store_answer(at(60), sealed("new"))),
            ("refresh_failed", ended.clone().refresh_failed(failed)),
            ("postponed", ended.clone().postponed(at(90))),
            ("too_young", ended.clone().too_young(at(90))),
            ("lapsed", ended.clone().lapsed(trouble())),
            ("ended", ended.clone().ended(FailureReason::AccessRevoked, trouble())),
        ] {
            assert!(refused.is_err(), "{name}");
        }
        let kept = Grant { refresh: answered(10, "old"), ..ended };
        assert_eq!(kept.store_answer(at(60), sealed("new")).unwrap().refresh, answered(60, "new"));
    }

    #[test]
    fn a_state_tells_its_time_its_answer_and_its_doubt() {
        let told = states().map(|state| (state.asked_at().is_some(), state.answer().is_some(), state.is_in_doubt()));
        assert_eq!(
            told,
            [(false, false, false), (true, false, false), (true, false, true), (true, true, false), (true, true, true)]
        );
    }
}
