//! Refresh what is due: in the order in which tokens expire, at the pace that each app's platform takes, so many at a time.
//!
//! Work is proportional to what is due, and no app waits for another's platform: of each, no more is begun than its platform
//! takes. A round ends when nothing is under way, which may be never. What failed has a later time by then, and what could
//! not even be written down is let alone for a while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::exchange::chain;
use super::refresh::{LONGEST_WAIT, Unrefreshed};
use super::single_flight::Landing;
use super::throttle::app_of;
use super::{Broker, Error};
use crate::domain::id::GrantId;
use crate::domain::throttle::Room;
use crate::domain::time::Timestamp;
use crate::platforms::bluesky;
use crate::store::refreshes::{self, Due, OfApp};

/// Grants of one app that are looked up at a time: an app with many that is slow keeps no other waiting.
const OF_EACH_APP: u32 = 500;

/// How often it is looked up what became due while refreshes are under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many refreshes may fail on the database before it is left alone for a while: one may have a row that is damaged.
const FAILED_AT_MOST: usize = 3;

/// How long a grant is let alone whose failure could not be written down or is a bug, or that is slow.
const LET_ALONE_FOR: Duration = Duration::from_mins(1);

/// How a round went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Refreshes that were tried, or joined.
    pub tried: usize,
    /// Those that brought new tokens.
    pub refreshed: usize,
    /// Whether the database could not take what has to be written down: the next round comes later.
    pub stalled: bool,
}

/// Since when grants are let alone.
pub(crate) type LetAlone = HashMap<GrantId, Timestamp>;

/// What a round has under way, and what it lets alone.
#[derive(Default)]
struct UnderWay {
    grants: HashSet<GrantId>,
    apps: HashMap<OfApp, u32>,
    let_alone: LetAlone,
    /// Refreshes that failed on the database since one did not.
    failed: usize,
    last_failed: Option<Timestamp>,
}

impl UnderWay {
    fn begin(&mut self, due: &Due) {
        self.grants.insert(due.id);
        *self.apps.entry(pace_of(due)).or_default() += 1;
    }

    fn end(&mut self, due: &Due, landed: Landing, now: Timestamp) {
        self.grants.remove(&due.id);
        let app = pace_of(due);
        if let Some(count) = self.apps.get_mut(&app) {
            *count -= 1;
            if *count == 0 {
                self.apps.remove(&app);
            }
        }
        match landed {
            Ok(()) => self.failed = 0,
            Err(Unrefreshed::Storage { .. }) => {
                let goes_on = self.last_failed.is_some_and(|before| is_recent(before, now));
                self.failed = if goes_on { self.failed + 1 } else { 1 };
                self.last_failed = Some(now);
                self.let_alone.insert(due.id, now);
            }
            // One that is slow goes on: it is not to keep a place that another can use.
            Err(Unrefreshed::Panicked | Unrefreshed::TooSlow) => {
                self.let_alone.insert(due.id, now);
            }
            // All the others have a later time.
            Err(_) => {}
        }
    }

    /// Those that are not to be begun now.
    fn passed_over(&mut self, now: Timestamp) -> impl Fn(&Due) -> bool {
        self.let_alone.retain(|_, since| is_recent(*since, now));
        |due| self.grants.contains(&due.id) || self.let_alone.contains_key(&due.id)
    }

    fn of(&self, app: &OfApp) -> u32 {
        self.apps.get(app).copied().unwrap_or_default()
    }
}

fn is_recent(since: Timestamp, now: Timestamp) -> bool {
    since <= now && now < since.plus(LET_ALONE_FOR)
}

/// Whose places a refresh takes. Whose pace an account of Bluesky goes at only its tokens tell, so they are all of one.
fn pace_of(due: &Due) -> OfApp {
    if due.platform == bluesky::NAME {
        return OfApp { platform: due.platform.clone(), client_id: String::new(), app: None };
    }
    app_of(due)
}

impl Broker {
    /// Refreshes everything that is due and may be tried now, and what becomes due meanwhile, until it is told to `stop`.
    pub async fn refresh_due(&self, stop: &CancellationToken) -> Result<Round, Error> {
        let let_alone = std::mem::take(&mut *self.let_alone.lock().unwrap_or_else(PoisonError::into_inner));
        let mut under_way = UnderWay { let_alone, ..UnderWay::default() };
        let round = self.refresh_round(stop, &mut under_way).await;
        *self.let_alone.lock().unwrap_or_else(PoisonError::into_inner) = under_way.let_alone;
        round
    }

    async fn refresh_round(&self, stop: &CancellationToken, under_way: &mut UnderWay) -> Result<Round, Error> {
        let most = usize::try_from(self.settings.refresh_concurrency).unwrap_or(usize::MAX);
        let mut round = Round::default();
        let mut flying = FuturesUnordered::new();
        let mut waiting = self.look_up_due(under_way).await?;
        // Not anew with each turn: where something lands all the time, it is looked up all the same.
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while flying.len() < most && !round.stalled {
                let Some(due) = self.next_that_may(&mut waiting, under_way).await else { break };
                round.tried += 1;
                under_way.begin(&due);
                flying.push(async move {
                    let landed = self.refresh(due.project_id, due.id, due.generation).await;
                    (due, landed)
                });
            }
            if flying.is_empty() {
                return Ok(round);
            }
            tokio::select! {
                Some((due, landed)) = flying.next() => {
                    under_way.end(&due, landed, self.clock.now());
                    match landed {
                        Ok(()) => round.refreshed += 1,
                        Err(Unrefreshed::Storage { full }) => {
                            round.stalled |= full || under_way.failed >= FAILED_AT_MOST;
                        }
                        Err(Unrefreshed::Stopping) => return Ok(round),
                        Err(_) => {}
                    }
                    if waiting.is_empty() {
                        waiting = self.look_up_due(under_way).await?;
                    }
                }
                // Those under way are not ended by that: the broker waits for them when it closes.
                () = stop.cancelled() => return Ok(round),
                _ = looks.tick() => waiting = self.look_up_due(under_way).await?,
            }
        }
    }

    /// Looks at the clock, which was at `seen` when this was last done; what it is now. Where it was set back, what it had put
    /// off while it was ahead is due at once.
    pub async fn watch_clock(&self, seen: Timestamp) -> Timestamp {
        let now = self.clock.now();
        if seen <= now {
            return now;
        }
        let latest_retry = now.plus(LONGEST_WAIT);
        match self.store.write(move |tx| refreshes::resume_misdated(tx, now, latest_retry)).await {
            Ok(0) => now,
            Ok(grants) => {
                tracing::warn!(grants, "the clock was ahead: what it put off is refreshed at once");
                now
            }
            Err(error) => {
                tracing::warn!(error = %chain(&Error::from(error)), "the clock was set back, and what it put off could not be made due");
                seen
            }
        }
    }

    /// What is due, but for what is under way or let alone.
    async fn look_up_due(&self, under_way: &mut UnderWay) -> Result<VecDeque<Due>, Error> {
        let now = self.clock.now();
        let (due, (count, oldest)) = self
            .store
            .read(move |db| {
                Ok::<_, Error>((refreshes::list_due(db, now, OF_EACH_APP)?, refreshes::count_due(db, now)?))
            })
            .await?;
        measure_due(count, oldest.map(|oldest| oldest.until(now)));
        let is_passed_over = under_way.passed_over(now);
        Ok(due.into_iter().filter(|due| !is_passed_over(due)).collect())
    }

    /// The first whose app has room for another. What a paused app has due waits for that, all of it. Where a server of
    /// Bluesky's is slow its accounts keep half of the places at most.
    async fn next_that_may(&self, waiting: &mut VecDeque<Due>, under_way: &UnderWay) -> Option<Due> {
        let room_of = |app: &OfApp| match app.platform.as_str() {
            bluesky::NAME => Room::Free(self.settings.refresh_concurrency.div_ceil(2)),
            _ => self.room_of(app),
        };
        // Of an app without room nothing else is looked at, however many of its grants wait.
        let mut full: HashSet<OfApp> = HashSet::new();
        let mut at = 0;
        loop {
            let app = pace_of(waiting.get(at)?);
            if full.contains(&app) {
                at += 1;
                continue;
            }
            match room_of(&app) {
                Room::Free(room) if under_way.of(&app) < room => return waiting.remove(at),
                Room::Free(_) => {
                    full.insert(app);
                }
                Room::Paused(pause) => {
                    self.postpone_app(&app, pause).await;
                    waiting.retain(|due| pace_of(due) != app);
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

    fn due(number: u128) -> Due {
        Due {
            project_id: Id::from_uuid(Uuid::from_u128(1)),
            id: Id::from_uuid(Uuid::from_u128(number)),
            platform: "twitter".to_owned(),
            client_id: "client".to_owned(),
            app_id: None,
            generation: 1,
        }
    }

    fn land(under_way: &mut UnderWay, number: u128, landed: Landing, seconds: u64) {
        under_way.begin(&due(number));
        assert!(under_way.passed_over(at(seconds))(&due(number)), "it is under way");
        assert_eq!(under_way.of(&pace_of(&due(number))), 1);
        under_way.end(&due(number), landed, at(seconds));
        assert_eq!(under_way.of(&pace_of(&due(number))), 0);
    }

    #[test]
    fn what_is_let_alone_is_so_for_a_minute() {
        for (landed, is_let_alone) in [
            (Ok(()), false),
            (Err(Unrefreshed::TooSlow), true),
            (Err(Unrefreshed::Gone), false),
            (Err(Unrefreshed::Panicked), true),
            (Err(Unrefreshed::Storage { full: false }), true),
        ] {
            let mut under_way = UnderWay::default();
            land(&mut under_way, 1, landed, 100);
            for (seconds, expected) in [(100, is_let_alone), (159, is_let_alone), (160, false), (100, false)] {
                assert_eq!(under_way.passed_over(at(seconds))(&due(1)), expected, "{landed:?} {seconds}");
            }
            land(&mut under_way, 1, landed, 100);
            assert!(!under_way.passed_over(at(99))(&due(1)), "nobody waits for a clock that was set back");
        }
    }

    #[test]
    fn failures_of_the_database_add_up_while_nothing_succeeds() {
        let failed = Err(Unrefreshed::Storage { full: false });
        let mut under_way = UnderWay::default();
        let steps = [(failed, 0, 1), (failed, 1, 2), (Ok(()), 2, 0), (failed, 3, 1), (failed, 62, 2), (failed, 122, 1)];
        for (landed, seconds, expected) in steps {
            land(&mut under_way, u128::from(seconds), landed, seconds);
            assert_eq!(under_way.failed, expected, "{seconds}");
        }
    }
}
