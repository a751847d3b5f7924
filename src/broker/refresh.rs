//! Refresh a grant's tokens, so that no token is lost that a platform delivered.
//!
//! # Motivation
//!
//! Most platforms take a refresh token once: with their answer the old one is dead. A broker that dies, or cannot write,
//! between that answer and its own commit has lost the account. That window cannot be closed, only made as short as one
//! write, and what falls into it must be seen.
//!
//! # Theory of operation
//!
//! 1. One refresh at a time for each grant ([`flights`](super::flights)), and under that the row is read again: whoever
//!    comes late finds other tokens and asks nobody.
//! 2. The attempt is committed before the platform is asked. When that fails (a full disk), nothing is asked and so nothing
//!    lost. The room for the answer is set aside before, as a file that is given up when the disk is full by then.
//! 3. The platform is asked once. Neither a caller that goes nor a shutdown ends that.
//! 4. Its answer is sealed and committed as it came, before anybody reads it: one that this program does not understand is
//!    there for one that does, and gives way only to one that is understood.
//! 5. The new tokens are swapped in by compare-and-swap on the generation, in the transaction that forgets attempt and
//!    answer. What is no longer wanted (the account was disconnected, or connected anew) is given back.
//!
//! An attempt of which nobody knows how it ended leaves the grant *in doubt*. The old token is then tried again: it works
//! where the platform never saw the request, or forgives; where it is refused, the trouble is `refresh_interrupted`, not
//! "revoked". Only what a platform is known to say of the grant itself ends it ([`TroubleKind::ends_grant`]); its tokens
//! stay, sealed, for thirty days.

mod keep;
mod refused;
mod upstream;

use std::time::Duration;

pub(super) use upstream::Refusal;
use upstream::refusal;

use super::exchange::chain;
use super::single_flight::Landing;
use super::throttle::{NotNow, app_of_grant};
use super::{Broker, Error};
use crate::domain::grant::{AuthStatus, Grant, TokenSet};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::renewal::{Renewal, Timing};
use crate::domain::time::Timestamp;
use crate::domain::trouble::TroubleKind;
use crate::failpoint;
use crate::platforms::Refresh;
use crate::store::refreshes;
use crate::store::{self, grants};
use crate::vault::Place;

/// No wait after a failure is longer, whatever the platform asks for.
pub(super) const LONGEST_WAIT: Duration = Duration::from_hours(7);

/// Why a grant's tokens are what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unrefreshed {
    /// It needs its person.
    Ended,
    /// It is not there any more.
    Gone,
    Panicked,
    /// Tokens are in memory and cannot be stored for now, or the database could not be read: nothing was asked.
    Storage {
        full: bool,
    },
    /// The broker is: nothing was asked.
    Stopping,
    /// The time to wait for it is over; it goes on.
    TooSlow,
    /// The platform renews it from then on.
    TooYoung {
        until: Timestamp,
    },
    /// The grant lives on and is tried again.
    Trouble {
        kind: TroubleKind,
        retry_after: Duration,
    },
}

impl Broker {
    /// Gets other tokens than those of `generation`, sharing a refresh that is under way. `Ok` when there are.
    pub(super) async fn refresh(&self, project: ProjectId, id: GrantId, generation: u64) -> Landing {
        let landing = self.fly(id, |broker| async move { broker.refresh_alone(project, id, generation).await }).await;
        if let Err(Unrefreshed::Panicked) = landing {
            self.put_off_after_panic(project, id, generation).await;
        }
        landing
    }

    /// When and with what the tokens of a platform are renewed.
    pub(super) fn timing(&self, platform: &str, has_refresh_token: bool) -> Timing {
        let with_refresh_token = if has_refresh_token { Renewal::RefreshToken } else { Renewal::Never };
        let (renewal, not_before) = match self.platforms.find(platform).map(|configured| configured.platform.refresh) {
            Some(Refresh::ExchangedAgain) => (Renewal::AccessToken, Duration::ZERO),
            Some(Refresh::Never) => (Renewal::Never, Duration::ZERO),
            Some(Refresh::SelfRenewing { not_before, .. }) => (Renewal::AccessToken, not_before),
            // Bluesky, or a platform that is switched off for now.
            Some(Refresh::RefreshToken { .. }) | None => (with_refresh_token, Duration::ZERO),
        };
        Timing { renewal, ahead: self.settings.refresh_ahead, not_before }
    }

    async fn refresh_alone(&self, project: ProjectId, id: GrantId, generation: u64) -> Landing {
        let found = self.store.read(move |db| Ok::<_, Error>(grants::find(db, project, id)?)).await;
        let grant = match found {
            Ok(Some(grant)) => grant,
            Ok(None) => return Err(Unrefreshed::Gone),
            Err(error) => return Err(storage(id, &error)),
        };
        if grant.generation != generation {
            return Ok(());
        }
        if grant.status != AuthStatus::Active {
            return Err(Unrefreshed::Ended);
        }
        let now = self.clock.now();
        let tokens = match self.open_grant(&grant) {
            Ok(Some(tokens)) => tokens,
            Ok(None) => return Err(Unrefreshed::Ended),
            Err(error) => {
                let sentence = format!("{}: {}", grant.platform, chain(&error));
                return self.refused(&grant, refusal(TroubleKind::TokensUnreadable, sentence)).await;
            }
        };
        if let Some(landing) = self.read_kept_answer(&grant, &tokens).await {
            return landing;
        }
        if grant.lapses_at().is_some_and(|at| at <= now) {
            return self.lapse(&grant, now).await;
        }
        if let Some(waiting) = waiting(&grant, now) {
            return Err(waiting);
        }
        let timing = self.timing(&grant.platform, tokens.refresh_token.is_some());
        let until = grant.issued_at.plus(timing.not_before);
        // One of the future was issued by a clock that was ahead: nobody knows how old it is.
        if now < until && grant.issued_at <= now {
            self.postpone(&grant, until).await?;
            return Err(Unrefreshed::TooYoung { until });
        }
        self.refresh_upstream(grant, tokens).await
    }

    /// Everything from the attempt that is written down to the tokens that are stored.
    async fn refresh_upstream(&self, grant: Grant, tokens: TokenSet) -> Landing {
        let app = app_of_grant(&grant, &tokens);
        let permit = match self.enter(&app).await {
            Ok(permit) => permit,
            Err(NotNow::Paused(pause)) => return self.paused(&grant, pause).await,
            Err(NotNow::Stopping) => return Err(Unrefreshed::Stopping),
        };
        // Not before it is our turn: they may be changed while one waits.
        let credentials = match self.refresh_credentials(&grant).await {
            Ok(credentials) => credentials,
            Err(refusal) => return self.refused(&grant, refusal).await,
        };
        let (project, id, generation) = (grant.project_id, grant.id, grant.generation);
        if let Err(error) = self.store.ensure_reserve().await {
            return Err(storage(id, &error.into()));
        }
        let asked_at = self.clock.now();
        match self.store.write(move |tx| refreshes::begin(tx, project, id, generation, asked_at)).await {
            Ok(()) => {}
            Err(store::Error::NotChanged) => return Ok(()),
            Err(error) => return Err(storage(id, &error.into())),
        }
        failpoint::reach("refresh_begun");
        let asked = {
            let _in_flight = self.in_flight.begin();
            self.ask_for_refresh(&grant, credentials, &tokens).await
        };
        let answer = match asked {
            Ok(answer) => answer,
            Err(refusal) => {
                self.learn(&permit, id, Some(&refusal)).await;
                return self.refused(&grant, refusal).await;
            }
        };
        failpoint::reach("refresh_answered");
        // One that nobody understood yet gives way only to one that is understood.
        let has_older = grant.attempt.as_ref().is_some_and(|attempt| attempt.answer.is_some());
        let mut is_kept = !has_older && self.keep_answer(&grant, &answer, asked_at).await;
        failpoint::reach("refresh_answer_kept");
        let read = self.read_refresh(&grant, &tokens, &answer, asked_at);
        if has_older && read.is_ok() {
            is_kept = self.keep_answer(&grant, &answer, asked_at).await;
        }
        match read {
            Ok(issued) => {
                failpoint::reach("refresh_answer_read");
                self.learn(&permit, id, None).await;
                // Others need not wait until they are stored.
                drop(permit);
                self.keep_tokens(&grant, tokens, issued, is_kept).await
            }
            Err(refusal) => {
                // Where an older answer is kept, it is not this one.
                let refusal = Refusal { is_in_answer: refusal.is_in_answer && !has_older, ..refusal };
                self.learn(&permit, id, Some(&refusal)).await;
                self.refused(&grant, refusal).await
            }
        }
    }
}

/// Whether a refresh failed a moment ago, so that whoever asks now waits with everybody else for the next attempt.
fn waiting(grant: &Grant, now: Timestamp) -> Option<Unrefreshed> {
    let (trouble, due_at) = (grant.trouble.as_ref()?, grant.due_at?);
    // Longer than any wait of ours: the clock was set, and the time means nothing.
    let is_meant = grant.failures > 0 && now < due_at && due_at <= now.plus(LONGEST_WAIT);
    is_meant.then(|| Unrefreshed::Trouble { kind: trouble.kind, retry_after: now.until(due_at) })
}

fn storage(id: GrantId, error: &Error) -> Unrefreshed {
    tracing::error!(grant.id = %id, error = %chain(error), "a refresh was not begun, or its end not recorded");
    Unrefreshed::Storage { full: matches!(error, Error::Store(store::Error::Full(_))) }
}

fn count(platform: &str, outcome: &'static str) {
    metrics::counter!("postpeer_refreshes_total", "platform" => platform.to_owned(), "outcome" => outcome).increment(1);
}

/// Where a platform's answer is sealed: under the generation that it replaces.
pub(super) fn answer_place(grant: &Grant) -> Place {
    Place::new("grants", "answer", grant.id, grant.generation)
}
