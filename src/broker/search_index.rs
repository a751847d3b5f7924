//! Merges the search indices of lists, so that searches stay fast.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Broker, Error};
use crate::store::search_index;

/// Pause while the log cannot shrink, as during a backup: a step now and then, which shows when it can.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Most steps of a round, where accounts are connected so fast that there is always more to do.
const STEPS: u64 = 20_000;

impl Broker {
    /// Merges the search indices that have become slow, in small steps. Other writes happen in the pause after each
    /// step. Returns the number of steps. Stops early when the disk has no room for the reserve.
    pub async fn merge_search_indices(&self, pause: Duration, stop: &CancellationToken) -> Result<u64, Error> {
        let mut steps = 0;
        for table in search_index::TABLES {
            // Not synced: the next round repeats what a power cut undoes.
            let mut has_more = self.store.write_unsynced(move |tx| search_index::begin(tx, table)).await?;
            while has_more && steps < STEPS && self.store.has_reserve() {
                steps += 1;
                let pause = if self.store.has_kept_log() { LONG_PAUSE } else { pause };
                if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return Ok(steps);
                }
                has_more = self.store.write_unsynced(move |tx| search_index::merge(tx, table)).await?;
            }
        }
        Ok(steps)
    }
}
