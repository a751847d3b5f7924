//! Refresh what is due: in the order in which tokens expire, at the pace that each app's platform takes, so many at a time.
//!
//! Work is proportional to what is due. A round ends when nothing is left that may be tried now; what failed has a later
//! time by then, and what could not even be written down is left for the next round.

use std::collections::{HashSet, VecDeque};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::pacing::app_of;
use super::refresh::Unrefreshed;
use super::{Broker, Error};
use crate::domain::id::GrantId;
use crate::domain::pace::Entry;
use crate::store::refreshes::{self, Due};

/// Grants that are looked up at a time.
const BATCH: usize = 1_000;

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
    /// Refreshes everything that is due and may be tried now; stops starting more when told to `stop`.
    pub async fn refresh_due(&self, stop: &CancellationToken) -> Result<Round, Error> {
        let mut round = Round::default();
        let mut waiting: VecDeque<Due> = VecDeque::new();
        let mut seen: HashSet<GrantId> = HashSet::new();
        let mut flying = FuturesUnordered::new();
        let most = usize::try_from(self.settings.refresh_concurrency).unwrap_or(usize::MAX);
        let mut is_all_seen = false;
        loop {
            if waiting.is_empty() && !is_all_seen {
                let (now, limit) = (self.clock.now(), BATCH + flying.len());
                let found = self
                    .store
                    .read(move |db| {
                        let due = refreshes::list_due(db, now, u32::try_from(limit).unwrap_or(u32::MAX))?;
                        Ok::<_, Error>((due, refreshes::count_due(db, now)?))
                    })
                    .await?;
                let (due, (count, oldest)) = found;
                measure_due(count, oldest.map(|oldest| oldest.until(now)));
                waiting.extend(due.into_iter().filter(|due| seen.insert(due.id)));
                is_all_seen = waiting.is_empty();
            }
            while flying.len() < most && !round.stalled && !stop.is_cancelled() {
                let Some(due) = self.next_that_may(&mut waiting).await else { break };
                round.tried += 1;
                flying.push(async move { self.refresh(due.project_id, due.id, due.generation).await });
            }
            let Some(landed) = flying.next().await else {
                if waiting.is_empty() && !is_all_seen && !round.stalled && !stop.is_cancelled() {
                    continue;
                }
                return Ok(round);
            };
            match landed {
                Ok(()) => round.refreshed += 1,
                Err(Unrefreshed::Storage { .. }) => round.stalled = true,
                Err(_) => {}
            }
        }
    }

    /// The first whose app has room. What a paused app has due waits for that, all of it.
    async fn next_that_may(&self, waiting: &mut VecDeque<Due>) -> Option<Due> {
        loop {
            let entries = waiting.iter().map(|due| self.peek_pace(due));
            let (at, entry) = entries.enumerate().find(|(_, entry)| *entry != Entry::Wait)?;
            let Entry::Paused(pause) = entry else { return waiting.remove(at) };
            let app = app_of(waiting.get(at)?);
            self.postpone_app(&app, pause).await;
            waiting.retain(|due| app_of(due) != app);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are never so many")]
fn measure_due(count: u64, overdue: Option<std::time::Duration>) {
    metrics::gauge!("postpeer_refreshes_due").set(count as f64);
    metrics::gauge!("postpeer_refresh_oldest_overdue_seconds").set(overdue.unwrap_or_default().as_secs_f64());
}
