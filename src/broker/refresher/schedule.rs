//! Refreshes what is due, the tokens that expire first at the head.
//!
//! Work is proportional to what is due: a look-up sees all due grants, so the more are due, the rarer the look-ups.
//! Each app has as many refreshes in flight as its throttle lets in, so no app waits for another's platform; what
//! people's own servers may take is in [`places`](super::places). A round
//! ends when nothing is in flight. What failed is due later by then; a grant whose failure could not be recorded is
//! skipped for a while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::places::{Choice, Look, Places};
use super::{Landing, NotRefreshed, Refresher};
use crate::broker::Error;
use crate::domain::id::GrantId;
use crate::domain::throttle::Room;
use crate::domain::time::Timestamp;
use crate::store::due::{AllDue, Due, list_due};
use crate::store::grants;
use crate::store::refreshes::AppKey;

/// Due grants of one app in each look-up, so that a slow app with many grants does not crowd out the others. They last
/// for some seconds, because a look-up sees every due grant.
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
    /// True where the app is the server that the account's owner chose.
    is_at_server: bool,
}

/// The due grants that wait, the most urgent one at the head.
#[derive(Default)]
struct Waiting {
    queue: VecDeque<Queued>,
    /// How many wait for each app.
    by_app: HashMap<AppKey, usize>,
}

impl Waiting {
    fn push(&mut self, queued: Queued) {
        *self.by_app.entry(queued.app.clone()).or_default() += 1;
        self.queue.push_back(queued);
    }

    fn remove(&mut self, at: usize) -> Option<Queued> {
        let queued = self.queue.remove(at)?;
        if let Some(count) = self.by_app.get_mut(&queued.app) {
            *count -= 1;
            if *count == 0 {
                self.by_app.remove(&queued.app);
            }
        }
        Some(queued)
    }

    fn remove_app(&mut self, app: &AppKey) -> Vec<Due> {
        self.by_app.remove(app);
        let (removed, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|queued| queued.app == *app);
        self.queue = others;
        removed.into_iter().map(|queued| queued.due).collect()
    }
}

/// The refreshes that a round has in flight, and the grants that it skips.
struct InFlight {
    grants: HashSet<GrantId>,
    places: Places,
    /// The servers of due grants, with the generation whose tokens tell it.
    servers: HashMap<(GrantId, u64), AppKey>,
    skipped: Skipped,
    /// Storage failures in a row.
    failed: usize,
    last_failed: Option<Timestamp>,
}

impl InFlight {
    /// `most`: refreshes in flight at once.
    fn new(most: u32, skipped: Skipped) -> Self {
        let (grants, servers) = (HashSet::new(), HashMap::new());
        Self { grants, places: Places::new(most), servers, skipped, failed: 0, last_failed: None }
    }

    fn begin(&mut self, queued: &Queued) {
        self.grants.insert(queued.due.id);
        self.places.take(&queued.app, queued.is_at_server);
    }

    fn end(&mut self, queued: &Queued, landed: Landing, now: Timestamp) {
        let id = queued.due.id;
        self.grants.remove(&id);
        self.places.leave(&queued.app);
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
}

/// False for a time in the future: it was set by a wrong clock.
fn is_recent(since: Timestamp, now: Timestamp) -> bool {
    since <= now && now < since.plus(SKIP_FOR)
}

impl Refresher {
    /// Refreshes what is due, and what becomes due meanwhile, until nothing is left or `stop`.
    pub async fn refresh_due(&self, stop: &CancellationToken) -> Result<Round, Error> {
        let skipped = std::mem::take(&mut *self.0.skipped.lock().unwrap_or_else(PoisonError::into_inner));
        let mut in_flight = InFlight::new(self.core().settings.refresh_concurrency, skipped);
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
                    if waiting.queue.is_empty() {
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
    async fn look_up_due(&self, in_flight: &mut InFlight) -> Result<(Waiting, Instant), Error> {
        let (now, began) = (self.core().clock.now(), Instant::now());
        // Whoever fills a server with due grants hides the others of its platform for one look-up at most.
        let of_each_app = OF_EACH_APP.saturating_add(u32::try_from(in_flight.servers.len()).unwrap_or(u32::MAX));
        let AllDue { first, count, since } =
            self.core().store.read_long(move |db| list_due(db, now, of_each_app)).await?;
        measure_due(count, since.map(|since| since.until(now)));
        let is_passed_over = in_flight.is_passed_over(now);
        let due: Vec<_> = first.into_iter().filter(|due| !is_passed_over(due.id)).collect();
        drop(is_passed_over);
        let mut waiting = Waiting::default();
        let mut servers = HashMap::new();
        for due in due {
            let is_at_server = self.has_own_server(&due.platform);
            let app = if is_at_server {
                let key = (due.id, due.generation);
                let known = in_flight.servers.remove(&key);
                let server = match known {
                    Some(server) => server,
                    None => self.server_of_due(&due).await?,
                };
                servers.insert(key, server.clone());
                server
            } else {
                AppKey::of_due(&due)
            };
            waiting.push(Queued { due, app, is_at_server });
        }
        in_flight.servers = servers;
        let pause = (began.elapsed() * LOOK_SHARE).clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY);
        Ok((waiting, Instant::now() + pause))
    }

    /// The server of a due grant, which only its tokens tell.
    async fn server_of_due(&self, due: &Due) -> Result<AppKey, Error> {
        let (project, id) = (due.project_id, due.id);
        let grant = self.core().store.read(move |db| grants::find(db, project, id)).await?;
        Ok(grant.map_or_else(|| AppKey::of_due(due), |grant| self.app_of_stored(&grant)))
    }

    /// The first grant that may be refreshed now. Postpones those of a paused app.
    async fn next_with_room(&self, waiting: &mut Waiting, in_flight: &InFlight) -> Option<Queued> {
        loop {
            let apps = waiting.queue.iter().map(|queued| &queued.app);
            match in_flight.places.choose(apps, waiting.by_app.len(), self) {
                Choice::Take(at) => return waiting.remove(at),
                Choice::Nothing => return None,
                Choice::Postpone(app, pause) => {
                    let due = waiting.remove_app(&app);
                    self.postpone_due(&app, pause, &due).await;
                }
            }
        }
    }
}

impl Look for Refresher {
    fn is_server(&self, app: &AppKey) -> bool {
        self.has_own_server(&app.platform)
    }

    fn room(&self, app: &AppKey) -> Room {
        self.0.throttle.room(app)
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
            row: 1,
            platform: "twitter".to_owned(),
            client_id: "client".to_owned(),
            app_id: None,
            generation: 1,
        };
        Queued { app: AppKey::of_due(&due), due, is_at_server: false }
    }

    fn land(in_flight: &mut InFlight, number: u128, landed: Landing, seconds: u64) {
        let queued = queued(number);
        in_flight.begin(&queued);
        assert!(in_flight.is_passed_over(at(seconds))(queued.due.id), "it is in flight");
        assert_eq!(in_flight.places.of(&queued.app), 1);
        in_flight.end(&queued, landed, at(seconds));
        assert_eq!(in_flight.places.of(&queued.app), 0);
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
            let mut in_flight = InFlight::new(4, Skipped::new());
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
        let mut in_flight = InFlight::new(4, Skipped::new());
        let steps = [(failed, 0, 1), (failed, 1, 2), (Ok(()), 2, 0), (failed, 3, 1), (failed, 62, 2), (failed, 122, 1)];
        for (landed, seconds, expected) in steps {
            land(&mut in_flight, u128::from(seconds), landed, seconds);
            assert_eq!(in_flight.failed, expected, "{seconds}");
        }
    }
}
