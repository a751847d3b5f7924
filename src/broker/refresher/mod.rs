//! Keeps tokens fresh, so that no token is lost that a platform delivered.
//!
//! # Motivation
//!
//! Most platforms accept a refresh token once: with their answer the old one is dead. A broker that dies, or cannot
//! write, between that answer and its own commit has lost the account. That window cannot be closed. It is kept as
//! short as one write, and whatever falls into it is made visible.
//!
//! # Theory of operation
//!
//! 1. One refresh at a time for each grant ([`SingleFlight`]). Each run reads the row first: a late caller finds new
//!    tokens and asks nobody.
//! 2. The attempt is committed before the platform is asked ([`attempt`]). When that fails (a full disk), the platform
//!    is not asked, so nothing is lost. Room for the answer is reserved before.
//! 3. The platform is asked once. Neither a vanished caller nor a shutdown cancels that.
//! 4. Its answer is sealed and committed before anybody reads it ([`keep`]). An answer that this program cannot read
//!    stays for one that can, and only a readable answer replaces it.
//! 5. The new tokens are swapped in by compare-and-swap on the generation, in the transaction that forgets attempt and
//!    answer. Tokens that nobody wants any more (the account was disconnected, or connected anew) are revoked.
//!
//! An attempt whose end nobody knows leaves the grant *in doubt*. The old token is then tried again: it works where the
//! platform never saw the request, or forgives; where it is refused, the failure is `refresh_interrupted`, not
//! "revoked", or `refresh_answer_unread` where an answer is stored that may hold the new one. Only what a platform is
//! known to say of the grant itself ends it ([`failed`]). Its sealed tokens stay for thirty days.
//!
//! # Words for a refresh that failed
//!
//! A [`PlatformError`](crate::domain::platform_error::PlatformError) is the answer to one call, and a [`Failure`] what
//! it means. A [`RefreshFailure`](crate::domain::refresh_failure::RefreshFailure) is that with its time, as the grant's
//! row keeps it (`trouble`). [`Failed`](crate::domain::refresh::Failed) is the transition that records it while the
//! grant stays active, and [`Reply`](crate::domain::refresh::Reply) tells whether the platform may have issued tokens.
//! [`NotRefreshed`] is what whoever waits learns of it, and a [`Landing`] how the refresh ended for them.
//!
//! [`throttle`] decides how many calls an app may have in flight; [`schedule`] refreshes what is due.

mod attempt;
mod failed;
mod gauge;
mod keep;
mod lifetimes;
mod places;
mod rescheduling;
mod schedule;
mod throttle;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

pub use schedule::Round;

use self::gauge::Gauge;
use self::schedule::Skipped;
use self::throttle::Throttle;
use super::revocation::Revocation;
use super::single_flight::SingleFlight;
use super::{Core, Error};
use crate::domain::InvalidTransition;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::grant::Grant;
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::time::Timestamp;
use crate::store::rescheduling::Resumable;
use crate::store::{self, Transaction, grants, refreshes};

/// No retry comes later, whatever the platform asks for.
const LONGEST_WAIT: Duration = Duration::from_hours(7);

/// Time that a caller waits for a refresh: longer than a platform is given to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a refresh ended: `Ok` when the grant has other tokens than before.
pub(super) type Landing = Result<(), NotRefreshed>;

/// Why a refresh produced no new tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotRefreshed {
    /// The account's owner must reconnect it.
    Ended,
    /// The platform refused or did not answer, and is asked again.
    Failed {
        kind: Failure,
        retry_after: Duration,
    },
    /// The grant was deleted.
    Gone,
    Panicked,
    /// The database could not be read or written. The platform was not asked, or its tokens wait in memory to be
    /// stored. Where the broker stopped before they were, they are in the stored answer, or were revoked ([`keep`]).
    Storage {
        full: bool,
    },
    /// The broker is shutting down; the platform was not asked.
    Stopping,
    /// It takes longer than a caller waits; it goes on.
    TooSlow,
    /// The platform refreshes the token from then on.
    TooYoung {
        until: Timestamp,
    },
}

/// Refreshes grants. Cheap to clone.
#[derive(Clone)]
pub struct Refresher(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    revocation: Revocation,
    flights: SingleFlight<GrantId, Landing>,
    throttle: Arc<Throttle>,
    /// The refresher of the latest configuration, for all of them; dangling until the first reload.
    latest: Arc<Mutex<Weak<Inner>>>,
    /// Grants that the scheduler skips for a while.
    skipped: Mutex<Skipped>,
    /// Calls for new tokens in flight.
    in_flight: Arc<Gauge>,
    /// Tokens that a platform delivered and that could not be stored yet.
    unsaved: Arc<Gauge>,
    /// The latest time at which a consent turned out to have expired, in milliseconds. At the start, any may have.
    lapsed_at: Arc<AtomicI64>,
}

impl Refresher {
    pub(super) fn new(core: Arc<Core>, revocation: Revocation) -> Self {
        let throttle = Arc::new(Throttle::new(core.clock.clone(), core.settings.refresh_concurrency));
        Self(Arc::new(Inner {
            core,
            revocation,
            flights: SingleFlight::default(),
            throttle,
            latest: Arc::default(),
            skipped: Mutex::default(),
            in_flight: Arc::new(Gauge::new(|count| metrics::gauge!("postpeer_refreshes_in_flight").set(count))),
            unsaved: Arc::new(Gauge::new(|count| metrics::gauge!("postpeer_answers_unsaved").set(count))),
            lapsed_at: Arc::new(AtomicI64::new(i64::MAX)),
        }))
    }

    /// This refresher with other parts, and the same refreshes in flight. See [`Refresher::take_over`].
    pub(super) fn reloaded(&self, core: Arc<Core>, revocation: Revocation) -> Self {
        let Inner { flights, throttle, latest, in_flight, unsaved, lapsed_at, .. } = &*self.0;
        let (flights, in_flight, unsaved) = (flights.clone(), in_flight.clone(), unsaved.clone());
        let (throttle, latest) = (throttle.clone(), latest.clone());
        let (lapsed_at, skipped) = (lapsed_at.clone(), Mutex::default());
        let inner = Inner { core, revocation, flights, throttle, latest, skipped, in_flight, unsaved, lapsed_at };
        Self(Arc::new(inner))
    }

    /// Takes over from the refresher before a reload, once the platforms are complete: refreshes that wait for their
    /// turn go on with this one. Forgets what was learnt about apps, makes due at once what waits because of settings, and
    /// reads the answers of grants that ended: all settings may have changed.
    pub async fn take_over(&self) {
        *self.0.latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&self.0);
        // Whoever is let in from now on finds the latest. A call in flight that fails later finds that the settings
        // have changed.
        self.0.throttle.restart(self.core().settings.refresh_concurrency);
        self.settings_changed().await;
        if let Err(error) = self.read_answers_of_ended().await {
            tracing::warn!(error = %chain(&error), "the stored answers of grants that ended are not read again");
        }
    }

    /// Reads again, in the background, the answers that were stored and not understood of grants that have ended since.
    async fn read_answers_of_ended(&self) -> Result<(), Error> {
        let core = self.core();
        for (project, id) in core.store.read_long(refreshes::list_ended_with_answer).await? {
            let refresher = self.clone();
            // One at a time: tokens that were stored a moment ago must not be taken for others.
            self.0.flights.start(&core.tasks, id, move || async move { refresher.revive(project, id).await });
        }
        Ok(())
    }

    /// True when refreshes begin with the parts of this one.
    #[cfg(test)]
    pub(crate) fn is_latest(&self) -> bool {
        Arc::ptr_eq(&self.latest().0, &self.0)
    }

    /// The refresher of the latest configuration.
    fn latest(&self) -> Self {
        let latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        latest.map_or_else(|| self.clone(), Self)
    }

    fn core(&self) -> &Core {
        &self.0.core
    }

    /// Lets `decide` change the grant, if it still has the tokens that it was read with. False when it has others, or
    /// is gone or has ended.
    async fn change(
        &self,
        grant: &Grant,
        decide: impl FnOnce(Grant) -> Result<Grant, InvalidTransition> + Send + 'static,
    ) -> Result<bool, NotRefreshed> {
        let (project, id, generation) = (grant.project_id, grant.id, grant.generation);
        let change = move |tx: &Transaction<'_>| grants::change(tx, project, id, generation, decide);
        match self.core().store.write(change).await {
            Ok(()) => Ok(true),
            Err(store::Error::NotChanged) => Ok(false),
            Err(error) => Err(storage(id, &error.into())),
        }
    }

    /// Gets other tokens than those of `generation`, joining a refresh in flight.
    pub(super) async fn refresh(&self, project: ProjectId, id: GrantId, generation: u64) -> Landing {
        let refresher = self.clone();
        let flight = self.0.flights.start(&self.core().tasks, id, move || async move {
            Box::pin(refresher.attempt(project, id, generation)).await
        });
        match tokio::time::timeout(PATIENCE, flight.result()).await {
            Ok(Some(landing)) => landing,
            Ok(None) => {
                self.postpone_after_panic(project, id, generation).await;
                Err(NotRefreshed::Panicked)
            }
            Err(_) => Err(NotRefreshed::TooSlow),
        }
    }

    /// True while a refresh of the grant is in flight.
    pub(super) fn is_refreshing(&self, grant: GrantId) -> bool {
        self.0.flights.has(&grant)
    }

    /// True while tokens are in memory alone.
    pub(super) fn has_unsaved_tokens(&self) -> bool {
        !self.0.unsaved.is_zero()
    }

    /// Starts no refresh any more. Those in flight go on.
    pub fn stop(&self) {
        self.0.throttle.stop();
    }

    /// When the broker starts: attempts whose end nobody knows are in doubt, and due. Answers that were stored and not
    /// understood are read again where their grant has ended since, and what no longer needs to wait is made due; this
    /// does not wait for that.
    pub(super) async fn recover(&self) -> Result<(), Error> {
        self.apply_set_lifetimes();
        let (core, now) = (self.core(), self.core().clock.now());
        let resumed = core.store.write(move |tx| refreshes::resume_cut_off(tx, now)).await;
        self.resume_later();
        self.read_answers_of_ended().await?;
        let refreshes = resumed?;
        if refreshes > 0 {
            tracing::warn!(refreshes, "refreshes were cut off when the broker stopped: they are tried again at once");
        }
        Ok(())
    }

    /// Makes due at once what a wrong clock postponed, or took to have lapsed. Asks the database and not an earlier
    /// time, because the clock may have been wrong for a moment only. Lapsed grants may be many, so they are looked at
    /// only where one lapsed later than now, and after a start.
    pub async fn watch_clock(&self) {
        let now = self.core().clock.now();
        let lapsed_at = &self.0.lapsed_at;
        let has_lapsed = lapsed_at.load(Ordering::Relaxed) > now.as_millis();
        let mut all = vec![Resumable::IssuedAhead, Resumable::RetriedAfter(now.plus(LONGEST_WAIT))];
        all.extend(has_lapsed.then_some(Resumable::Lapsed));
        let (mut postponed, mut lapsed) = (0, 0);
        for which in all {
            let grants = if which == Resumable::Lapsed { &mut lapsed } else { &mut postponed };
            match self.resume(which, now).await {
                Ok(Some(resumed)) => *grants += resumed,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "grants that a wrong clock postponed cannot be made due");
                    return;
                }
            }
        }
        if has_lapsed {
            lapsed_at.store(now.as_millis(), Ordering::Relaxed);
        }
        if postponed > 0 {
            tracing::warn!(
                grants = postponed,
                "the clock was ahead, or is behind now: the grants that it would postpone are refreshed at once"
            );
        }
        if lapsed > 0 {
            tracing::warn!(
                grants = lapsed,
                "grants had expired by the clock alone, or by one that was ahead: their platforms are asked at once"
            );
        }
    }
}

fn storage(id: GrantId, error: &Error) -> NotRefreshed {
    tracing::error!(grant.id = %id, error = %chain(error), "cannot start a refresh, or record its end");
    NotRefreshed::Storage { full: matches!(error, Error::Store(store::Error::Full(_))) }
}

fn count(platform: &str, outcome: &'static str) {
    metrics::counter!("postpeer_refreshes_total", "platform" => platform.to_owned(), "outcome" => outcome).increment(1);
}
