//! Refreshes what is due, the tokens that expire first at the head.
//!
//! Work is proportional to what is due: a look-up sorts all due grants, so the more are due, the rarer the look-ups.
//! Each app has as many refreshes in flight as its throttle lets in, so no app waits for another's platform. A round
//! ends when nothing is in flight. What failed is due later by then; a grant whose failure could not be recorded is
//! skipped for a while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Landing, NotRefreshed, Refresher};
use crate::broker::Error;
use crate::domain::id::GrantId;
use crate::domain::throttle::Room;
use crate::domain::time::Timestamp;
use crate::store::refreshes::{self, AppKey, Due};

/// Due grants of one app in each look-up, so that a slow app with many grants does not crowd out the others. They last
/// for some seconds, because a look-up with 100,000 due grants takes a sixth of a second.
const OF_EACH_APP: u32 = 1000;

/// Shortest and longest time between look-ups of due grants while refreshes are in flight and others wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Time between look-ups, in durations of a look-up: they take at most a twentieth of the time.
const LOOK_SHARE: u32 = 20;

/// Storage failures in a row after which the database is left alone for a while. One alone may be a damaged row.
const FAILED_AT_MOST: usize = 3;

/// How long a grant is skipped whose failure is a bug, could not be recorded, or takes too long.
const SKIP_FOR: Duration = Duration::from_mins(1);

/// How a round went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Refreshes that were started or joined.
    pub tried: usize,
    /// Refreshes that brought new tokens.
    pub refreshed: usize,
    /// True when the database cannot take what must be recorded: the next round comes later.
    pub stalled: bool,
}

/// Grants that are skipped, each with the time since when.
pub(super) type Skipped = HashMap<GrantId, Timestamp>;

/// A due grant that waits for a place among its app's refreshes.
struct Queued {
    due: Due,
    app: AppKey,
}

/// The refreshes that a round has in flight, and the grants that it skips.
#[derive(Default)]
struct InFlight {
    grants: HashSet<GrantId>,
    apps: HashMap<AppKey, u32>,
    skipped: Skipped,
    /// Storage failures in a row.
    failed: usize,
    last_failed: Option<Timestamp>,
}

impl InFlight {
    fn begin(&mut self, queued: &Queued) {
        self.grants.insert(queued.due.id);
        *self.apps.entry(queued.app.clone()).or_default() += 1;
    }

    fn end(&mut self, queued: &Queued, landed: Landing, now: Timestamp) {
        let id = queued.due.id;
        self.grants.remove(&id);
        if let Some(count) = self.apps.get_mut(&queued.app) {
            *count -= 1;
            if *count == 0 {
                self.apps.remove(&queued.app);
            }
        }
        match landed {
            Ok(()) => self.failed = 0,
            Err(NotRefreshed::Storage { .. }) => {
                let is_in_a_row = self.last_failed.is_some_and(|before| is_recent(before, now));
                self.failed = if is_in_a_row { self.failed + 1 } else { 1 };
                self.last_failed = Some(now);
                self.skipped.insert(id, now);
            }
            // A slow one goes on, but its place is for others.
            Err(NotRefreshed::Panicked | NotRefreshed::TooSlow) => {
                self.skipped.insert(id, now);
            }
            // All the others are due later.
            Err(_) => {}
        }
    }

    /// Tells the grants that are not to be started now.
    fn is_passed_over(&mut self, now: Timestamp) -> impl Fn(GrantId) -> bool {
        self.skipped.retain(|_, since| is_recent(*since, now));
        |id| self.grants.contains(&id) || self.skipped.contains_key(&id)
    }

    fn of(&self, app: &AppKey) -> u32 {
        self.apps.get(app).copied().unwrap_or_default()
    }
}

/// False for a time in the future: it was set by a wrong clock.
fn is_recent(since: Timestamp, now: Timestamp) -> bool {
    since <= now && now < since.plus(SKIP_FOR)
}

impl Refresher {
    /// Refreshes what is due, and what becomes due meanwhile, until nothing is left or `stop`.
    pub async fn refresh_due(&self, stop: &CancellationToken) -> Result<Round, Error> {
        let skipped = std::mem::take(&mut *self.0.skipped.lock().unwrap_or_else(PoisonError::into_inner));
        let mut in_flight = InFlight { skipped, ..InFlight::default() };
        let round = self.round(stop, &mut in_flight).await;
        *self.0.skipped.lock().unwrap_or_else(PoisonError::into_inner) = in_flight.skipped;
        round
    }

    async fn round(&self, stop: &CancellationToken, in_flight: &mut InFlight) -> Result<Round, Error> {
        let most = usize::try_from(self.core().settings.refresh_concurrency).unwrap_or(usize::MAX);
        let mut round = Round::default();
        let mut flights = FuturesUnordered::new();
        let (mut waiting, mut next_look) = self.look_up_due(in_flight).await?;
        loop {
            while flights.len() < most && !round.stalled {
                let Some(queued) = self.next_with_room(&mut waiting, in_flight).await else { break };
                round.tried += 1;
                in_flight.begin(&queued);
                flights.push(async move {
                    let Due { project_id, id, generation, .. } = queued.due;
                    let landed = self.refresh(project_id, id, generation).await;
                    (queued, landed)
                });
            }
            if flights.is_empty() {
                return Ok(round);
            }
            tokio::select! {
                Some((queued, landed)) = flights.next() => {
                    in_flight.end(&queued, landed, self.core().clock.now());
                    match landed {
                        Ok(()) => round.refreshed += 1,
                        Err(NotRefreshed::Storage { full }) => {
                            round.stalled |= full || in_flight.failed >= FAILED_AT_MOST;
                        }
                        Err(NotRefreshed::Stopping) => return Ok(round),
                        Err(_) => {}
                    }
                    if waiting.is_empty() {
                        (waiting, next_look) = self.look_up_due(in_flight).await?;
                    }
                }
                // Refreshes in flight go on: the broker waits for them when it closes.
                () = stop.cancelled() => return Ok(round),
                // A point in time, so that it comes however often flights land.
                () = tokio::time::sleep_until(next_look) => {
                    (waiting, next_look) = self.look_up_due(in_flight).await?;
                }
            }
        }
    }

    /// The due grants that are neither in flight nor skipped, and when to look again.
    async fn look_up_due(&self, in_flight: &mut InFlight) -> Result<(VecDeque<Queued>, Instant), Error> {
        let (now, began) = (self.core().clock.now(), Instant::now());
        let look =
            move |db: &_| Ok::<_, Error>((refreshes::list_due(db, now, OF_EACH_APP)?, refreshes::count_due(db, now)?));
        let (due, (count, oldest)) = self.core().store.read_long(look).await?;
        measure_due(count, oldest.map(|oldest| oldest.until(now)));
        let is_passed_over = in_flight.is_passed_over(now);
        let due = due.into_iter().filter(|due| !is_passed_over(due.id));
        let waiting = due.map(|due| Queued { app: self.app_of_due(&due), due }).collect();
        let pause = (began.elapsed() * LOOK_SHARE).clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY);
        Ok((waiting, Instant::now() + pause))
    }

    /// The app whose places a refresh takes. Where each account has a server of its own, which only its tokens tell,
    /// all accounts of the platform share their places.
    fn app_of_due(&self, due: &Due) -> AppKey {
        let mut app = AppKey::of_due(due);
        if self.has_own_server(&due.platform) {
            app.client_id.clear();
        }
        app
    }

    /// The first grant whose app has room for another refresh. Postpones all grants of a paused app. Accounts with a
    /// server of their own get half of all places at most, because any of those servers may be slow.
    async fn next_with_room(&self, waiting: &mut VecDeque<Queued>, in_flight: &InFlight) -> Option<Queued> {
        // Skips all grants of an app without room, however many wait.
        let mut full: HashSet<AppKey> = HashSet::new();
        let mut at = 0;
        loop {
            let app = &waiting.get(at)?.app;
            if full.contains(app) {
                at += 1;
                continue;
            }
            let room = if self.has_own_server(&app.platform) {
                Room::Free(self.core().settings.refresh_concurrency.div_ceil(2))
            } else {
                self.0.throttle.room(app)
            };
            match room {
                Room::Free(room) if in_flight.of(app) < room => return waiting.remove(at),
                Room::Free(_) => {
                    full.insert(app.clone());
                }
                Room::Paused(pause) => {
                    let app = app.clone();
                    self.postpone_app(&app, pause).await;
                    waiting.retain(|queued| queued.app != app);
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are never so many")]
fn measure_due(count: u64, overdue: Option<Duration>) {
    metrics::gauge!("postpeer_refreshes_due").set(count as f64);
    metrics::gauge!("postpeer_refresh_oldest_overdue_seconds").set(overdue.unwrap_or_default().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445).plus(Duration::from_secs(seconds))
    }

    fn queued(number: u128) -> Queued {
        let due = Due {
            project_id: Id::from_uuid(Uuid::from_u128(1)),
            id: Id::from_uuid(Uuid::from_u128(number)),
            platform: "twitter".to_owned(),
            client_id: "client".to_owned(),
            app_id: None,
            generation: 1,
        };
        Queued { app: AppKey::of_due(&due), due }
    }

    fn land(in_flight: &mut InFlight, number: u128, landed: Landing, seconds: u64) {
        let queued = queued(number);
        in_flight.begin(&queued);
        assert!(in_flight.is_passed_over(at(seconds))(queued.due.id), "it is in flight");
        assert_eq!(in_flight.of(&queued.app), 1);
        in_flight.end(&queued, landed, at(seconds));
        assert_eq!(in_flight.of(&queued.app), 0);
    }

    #[test]
    fn a_failure_that_cannot_be_recorded_skips_the_grant_for_a_minute() {
        let id = queued(1).due.id;
        for (landed, is_skipped) in [
            (Ok(()), false),
            (Err(NotRefreshed::TooSlow), true),
            (Err(NotRefreshed::Gone), false),
            (Err(NotRefreshed::Panicked), true),
            (Err(NotRefreshed::Storage { full: false }), true),
        ] {
            let mut in_flight = InFlight::default();
            land(&mut in_flight, 1, landed, 100);
            for (seconds, expected) in [(100, is_skipped), (159, is_skipped), (160, false), (100, false)] {
                assert_eq!(in_flight.is_passed_over(at(seconds))(id), expected, "{landed:?} {seconds}");
            }
            land(&mut in_flight, 1, landed, 100);
            assert!(!in_flight.is_passed_over(at(99))(id), "the clock was set back");
        }
    }

    #[test]
    fn storage_failures_add_up_until_a_refresh_succeeds() {
        let failed = Err(NotRefreshed::Storage { full: false });
        let mut in_flight = InFlight::default();
        let steps = [(failed, 0, 1), (failed, 1, 2), (Ok(()), 2, 0), (failed, 3, 1), (failed, 62, 2), (failed, 122, 1)];
        for (landed, seconds, expected) in steps {
            land(&mut in_flight, u128::from(seconds), landed, seconds);
            assert_eq!(in_flight.failed, expected, "{seconds}");
        }
    }
}
