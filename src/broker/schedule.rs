//! Refresh what is due: in the order in which tokens expire, at the pace that each app's platform takes, so many at a time.
//!
//! Work is proportional to what is due, and no app waits for another's platform. A round ends when nothing is under way; what
//! failed has a later time by then, and what could not even be written down is left for the next round.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::pacing::app_of;
use super::refresh::Unrefreshed;
use super::{Broker, Error};
use crate::domain::id::GrantId;
use crate::domain::pace::Entry;
use crate::platforms::bluesky;
use crate::store::refreshes::{self, Due};

/// Grants of one app that are looked up at a time: an app with many that is slow keeps no other waiting.
const OF_EACH_APP: u32 = 500;

/// How often it is looked up what became due while refreshes are under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many refreshes may fail on the database before it is left alone for a while: one may have a row that is damaged.
const FAILED_AT_MOST: usize = 3;

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

impl Broker {
    /// Refreshes everything that is due and may be tried now, and what becomes due meanwhile, until it is told to `stop`.
    pub async fn refresh_due(&self, stop: &CancellationToken) -> Result<Round, Error> {
        let most = usize::try_from(self.settings.refresh_concurrency).unwrap_or(usize::MAX);
        let (mut round, mut failed) = (Round::default(), 0);
        let mut flying = FuturesUnordered::new();
        // Not to be looked up: those in flight, and those that could not even be written down.
        let mut passed_over: HashSet<GrantId> = HashSet::new();
        let mut at_bluesky = 0;
        let mut waiting = self.look_up_due(&passed_over).await?;
        loop {
            while flying.len() < most && !round.stalled {
                let Some(due) = self.next_that_may(&mut waiting, at_bluesky < most.div_ceil(2)).await else { break };
                round.tried += 1;
                at_bluesky += usize::from(due.platform == bluesky::NAME);
                passed_over.insert(due.id);
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
                    at_bluesky -= usize::from(due.platform == bluesky::NAME);
                    match landed {
                        Err(Unrefreshed::Storage { full }) => {
                            failed += 1;
                            round.stalled |= full || failed == FAILED_AT_MOST;
                        }
                        Err(Unrefreshed::Panicked | Unrefreshed::TooSlow) => {}
                        other => {
                            passed_over.remove(&due.id);
                            round.refreshed += usize::from(other.is_ok());
                        }
                    }
                    if waiting.is_empty() {
                        waiting = self.look_up_due(&passed_over).await?;
                    }
                }
                // Those under way are not ended by that: the broker waits for them when it closes.
                () = stop.cancelled() => return Ok(round),
                () = tokio::time::sleep(LOOK_EVERY) => waiting = self.look_up_due(&passed_over).await?,
            }
        }
    }

    /// What is due, but for some.
    async fn look_up_due(&self, passed_over: &HashSet<GrantId>) -> Result<VecDeque<Due>, Error> {
        let now = self.clock.now();
        let (due, (count, oldest)) = self
            .store
            .read(move |db| {
                Ok::<_, Error>((refreshes::list_due(db, now, OF_EACH_APP)?, refreshes::count_due(db, now)?))
            })
            .await?;
        measure_due(count, oldest.map(|oldest| oldest.until(now)));
        Ok(due.into_iter().filter(|due| !passed_over.contains(&due.id)).collect())
    }

    /// The first whose app has room. What a paused app has due waits for that, all of it. Whose pace an account of Bluesky
    /// goes at only its tokens tell, so where a server of theirs is slow they keep half of the places at most.
    async fn next_that_may(&self, waiting: &mut VecDeque<Due>, may_be_bluesky: bool) -> Option<Due> {
        loop {
            let has_room = |due: &Due| may_be_bluesky || due.platform != bluesky::NAME;
            let entries = waiting.iter().map(|due| if has_room(due) { self.peek_pace(due) } else { Entry::Wait });
            let (at, entry) = entries.enumerate().find(|(_, entry)| *entry != Entry::Wait)?;
            let Entry::Paused(pause) = entry else { return waiting.remove(at) };
            let app = app_of(waiting.get(at)?);
            self.postpone_app(&app, pause).await;
            waiting.retain(|due| app_of(due) != app);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are never so many")]
fn measure_due(count: u64, overdue: Option<Duration>) {
    metrics::gauge!("postpeer_refreshes_due").set(count as f64);
    metrics::gauge!("postpeer_refresh_oldest_overdue_seconds").set(overdue.unwrap_or_default().as_secs_f64());
}
