//! The background loops: refresh tokens, write how often tokens were read and when keys were used, purge what has
//! expired, watch the clock, check that the broker can do its work, find out how servers are used, follow a change of
//! the data keys, make backups, merge the search indices.
//!
//! Each task can also be called once by hand, so that tests need not wait. A round that fails is logged, and the next
//! one tries again. A loop that panics starts again after a pause, and disturbs no other.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::broker::{BETWEEN_BATCHES, Broker};
use crate::domain::error_chain::chain;

/// Interval between purges, and between checks of the clock.
const PURGE_EVERY: Duration = Duration::from_mins(1);

/// Interval between checks for due grants and for changed data keys. Short, because somebody may set the clock at any
/// time, and then other grants are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Interval between looks at the search indices. What is connected meanwhile makes searches a little slower.
const MERGE_EVERY: Duration = Duration::from_hours(24);

/// Pause after a failure to merge them.
const MERGE_AGAIN_AFTER: Duration = Duration::from_hours(1);

/// Pause after a step of merging them.
const MERGE_PAUSE: Duration = Duration::from_millis(50);

/// Pauses after a round of discovery that left servers without an answer: the first one, and the longest.
const DISCOVER_AGAIN_AFTER: Duration = Duration::from_mins(1);
const DISCOVER_AT_LEAST_EVERY: Duration = Duration::from_hours(1);

/// Interval between writes of counted reads: a crash loses as many.
const WRITE_READS_EVERY: Duration = Duration::from_secs(1);

/// Interval between checks that the broker can do its work, so that the log tells the reason even where nobody asks.
const CHECK_READY_EVERY: Duration = Duration::from_secs(10);

/// Pause after a round that failed, or whose results the database could not store.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Pause after a panic. Short enough that no token expires meanwhile.
const AFTER_PANIC: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(30) };

/// Runs the loops until `stop`. `refreshes`: false when tokens are refreshed only for callers.
pub async fn run(broker: Broker, refreshes: bool, stop: CancellationToken) {
    let (broker, stop) = (&broker, &stop);
    let refreshing = || async move {
        if refreshes {
            keep_refreshed(broker, stop).await;
        }
    };
    tokio::join!(
        keep("readiness", stop, || keep_checked(broker, stop)),
        keep("purge", stop, || keep_purged(broker, stop)),
        keep("reseal", stop, || keep_resealed(broker, stop)),
        keep("backup", stop, || keep_backed_up(broker, stop)),
        keep("discovery", stop, || discover(broker, stop)),
        keep("reads", stop, || keep_reads_written(broker, stop)),
        keep("search_indices", stop, || keep_merged(broker, stop)),
        keep("refresh", stop, refreshing)
    );
}

/// Runs a loop to its end, and again after a panic.
async fn keep<Loop: Future<Output = ()>>(name: &'static str, stop: &CancellationToken, start: impl Fn() -> Loop) {
    while AssertUnwindSafe(start()).catch_unwind().await.is_err() {
        let pause_seconds = AFTER_PANIC.as_secs();
        tracing::error!(
            name,
            pause_seconds,
            "a background loop panicked, which is a bug: it starts again after a pause"
        );
        rest(AFTER_PANIC, stop).await;
        if stop.is_cancelled() {
            return;
        }
    }
}

/// Waits, but not longer than until `stop`.
async fn rest(pause: Duration, stop: &CancellationToken) {
    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
}

/// Looks whether the broker is ready, which logs each change, reserves disk space again and notices when a fault is
/// over.
async fn keep_checked(broker: &Broker, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let _ = broker.check_ready().await;
        rest(CHECK_READY_EVERY, stop).await;
    }
}

/// Asks servers how they are used, until each has answered. A stop does not wait for one.
async fn discover(broker: &Broker, stop: &CancellationToken) {
    let mut pause = DISCOVER_AGAIN_AFTER;
    while stop.run_until_cancelled(broker.discover_all()).await == Some(false) {
        rest(pause, stop).await;
        pause = (pause * 2).min(DISCOVER_AT_LEAST_EVERY);
    }
}

async fn keep_resealed(broker: &Broker, stop: &CancellationToken) {
    let mut unopened = 0;
    while !stop.is_cancelled() {
        let pause = match broker.look_after_keys(unopened, BETWEEN_BATCHES, stop).await {
            Ok(resealed) => {
                unopened = resealed.unopened;
                LOOK_EVERY
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot follow a change of the data keys, or re-seal values");
                LOOK_AGAIN_AFTER
            }
        };
        rest(pause, stop).await;
    }
}

/// Makes the scheduled backups. A stop does not wait for one: what it leaves is removed by the next.
async fn keep_backed_up(broker: &Broker, stop: &CancellationToken) {
    // A folder that hangs must not hold up a stop or a reload.
    stop.run_until_cancelled(broker.tell_last_backup()).await;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            look_again = broker.back_up_if_due(stop) => {
                let Some(pause) = look_again else { return };
                rest(pause, stop).await;
            }
        }
    }
}

/// Purges, and watches the clock. A stop does not wait for the end of either: the next start continues it.
async fn keep_purged(broker: &Broker, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        broker.look_at_clock();
        stop.run_until_cancelled(purge_once(broker)).await;
        stop.run_until_cancelled(broker.refresher().watch_clock()).await;
        rest(PURGE_EVERY, stop).await;
    }
}

async fn keep_merged(broker: &Broker, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let pause = match broker.merge_search_indices(MERGE_PAUSE, stop).await {
            Ok(steps) => {
                tracing::debug!(steps, "looked at the search indices");
                MERGE_EVERY
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot merge the search indices: searches stay slower");
                MERGE_AGAIN_AFTER
            }
        };
        rest(pause, stop).await;
    }
}

async fn keep_refreshed(broker: &Broker, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let pause = refresh_once(broker, stop).await;
        rest(pause, stop).await;
    }
}

async fn keep_reads_written(broker: &Broker, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let pause = write_reads_once(broker).await;
        rest(pause, stop).await;
    }
}

/// Writes the reads of tokens and the uses of access keys that were counted in memory. Returns the pause before the
/// next time.
pub async fn write_reads_once(broker: &Broker) -> Duration {
    if let Err(error) = broker.write_key_uses(false).await {
        tracing::warn!(error = %chain(&error), "cannot write when access keys were used: trying again");
        return LOOK_AGAIN_AFTER;
    }
    match broker.write_token_reads().await {
        Ok(_) => WRITE_READS_EVERY,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "cannot write how often tokens were read: trying again");
            LOOK_AGAIN_AFTER
        }
    }
}

/// Refreshes everything that is due. Returns the pause before the next round.
pub async fn refresh_once(broker: &Broker, stop: &CancellationToken) -> Duration {
    match broker.refresher().refresh_due(stop).await {
        Ok(round) if round.stalled => LOOK_AGAIN_AFTER,
        Ok(round) => {
            if round.tried > 0 {
                tracing::debug!(round.tried, round.refreshed, "tokens refreshed");
            }
            LOOK_EVERY
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "cannot look up due grants");
            LOOK_AGAIN_AFTER
        }
    }
}

/// Purges expired flows and old entries of the audit trail, erases the tokens of grants that ended a month ago, and
/// counts the access keys that are about to expire.
pub async fn purge_once(broker: &Broker) {
    match broker.purge_expired().await {
        Ok(0) => {}
        Ok(purged) => tracing::debug!(purged, "purged expired connections"),
        Err(error) => tracing::warn!(error = %chain(&error), "cannot purge expired connections"),
    }
    match broker.purge_audit().await {
        Ok(0) => {}
        Ok(purged) => tracing::info!(purged, "deleted old entries of the audit trail"),
        Err(error) => tracing::warn!(error = %chain(&error), "cannot purge the audit trail"),
    }
    match broker.purge_ended().await {
        Ok(0) => {}
        Ok(erased) => tracing::info!(erased, "erased the tokens of connections that ended a month ago"),
        Err(error) => tracing::warn!(error = %chain(&error), "cannot erase old tokens"),
    }
    if let Err(error) = broker.list_expiring_keys().await {
        tracing::warn!(
            error = %chain(&error),
            "cannot count the access keys that are about to expire"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_loop_that_panics_starts_again_and_disturbs_no_other() {
        let (stop, started) = (&CancellationToken::new(), &AtomicU32::new(0));
        let panicking = || async move { panic!("for the {}th time", started.fetch_add(1, Ordering::SeqCst)) };
        let other = || async move {
            while started.load(Ordering::SeqCst) < 3 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        tokio::join!(keep("panicking", stop, panicking), keep("other", stop, other));
        let starts = started.load(Ordering::SeqCst);
        assert!((3..=4).contains(&starts), "{starts}: it goes on after a stop");
    }
}
