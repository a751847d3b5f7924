//! What the broker does without being asked: purges what has expired.
//!
//! Each task is also callable once by hand, so that tests need not wait.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// How often expired flows are purged.
const PURGE_EVERY: Duration = Duration::from_mins(1);

/// Runs the loops until `stop`.
pub async fn run(broker: Broker, stop: CancellationToken) {
    while !stop.is_cancelled() {
        purge_once(&broker).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PURGE_EVERY) => {}
        }
    }
}

/// Purges every flow that has expired. A failure is logged: the next round tries again.
pub async fn purge_once(broker: &Broker) {
    match broker.purge_expired().await {
        Ok(0) => {}
        Ok(purged) => tracing::debug!(purged, "expired connections purged"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "expired connections were not purged"),
    }
}
