//! What the broker does without being asked: keeps tokens alive, purges what has expired, minds the clock.
//!
//! Each task is also callable once by hand, so that tests need not wait. A round that fails is logged: the next one tries
//! again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::domain::time::Timestamp;

/// How often expired flows are purged, and the clock is looked at.
const PURGE_EVERY: Duration = Duration::from_mins(1);

/// How often it is looked what is due: by the clock, however that is set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a round that the database could not take.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Runs the loops until `stop`. `refreshes`: whether tokens are refreshed without being asked for.
pub async fn run(broker: Broker, refreshes: bool, stop: CancellationToken) {
    let refreshing = async {
        if refreshes {
            keep_refreshed(&broker, &stop).await;
        }
    };
    tokio::join!(keep_purged(&broker, &stop), refreshing);
}

async fn keep_purged(broker: &Broker, stop: &CancellationToken) {
    // At first, nobody knows where the clock was.
    let mut seen = Timestamp::from_millis(i64::MAX);
    while !stop.is_cancelled() {
        purge_once(broker).await;
        seen = broker.refresher().watch_clock(seen).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PURGE_EVERY) => {}
        }
    }
}

async fn keep_refreshed(broker: &Broker, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let pause = refresh_once(broker, stop).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Refreshes everything that is due; returns how long to wait before the next round.
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
            tracing::warn!(error = &error as &dyn std::error::Error, "what is due could not be looked up");
            LOOK_AGAIN_AFTER
        }
    }
}

/// Purges every flow that has expired, and erases what was kept long enough.
pub async fn purge_once(broker: &Broker) {
    match broker.purge_expired().await {
        Ok(0) => {}
        Ok(purged) => tracing::debug!(purged, "expired connections purged"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "expired connections were not purged"),
    }
    match broker.purge_ended().await {
        Ok(0) => {}
        Ok(erased) => tracing::info!(erased, "tokens of connections that ended a month ago erased"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "old tokens were not erased"),
    }
}
