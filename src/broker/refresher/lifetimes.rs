//! Lifetimes that the operator sets for tokens whose answer had none, and that count for stored ones as well.

use std::time::Duration;

use super::Refresher;
use super::rescheduling::Walk;
use crate::domain::error_chain::chain;
use crate::store::{self, refreshes};

impl Refresher {
    /// Gives tokens that came without an expiry the lifetime that the operator has set for them since, in the
    /// background.
    pub fn apply_set_lifetimes(&self) {
        let refresher = self.clone();
        self.core().tasks.spawn(async move {
            for (platform, life) in refresher.core().upstream.set_lifetimes() {
                match refresher.apply_lifetime(platform, life).await {
                    Ok(0) => {}
                    Ok(grants) => tracing::info!(
                        platform.name = platform,
                        grants,
                        "token_lifetime_seconds counts for stored tokens"
                    ),
                    Err(error) => tracing::warn!(
                        platform.name = platform, error = %chain(&error), "tokens without an expiry get none"
                    ),
                }
            }
        });
    }

    /// Returns the number of grants.
    async fn apply_lifetime(&self, platform: &str, life: Duration) -> Result<usize, store::Error> {
        let (core, ahead) = (self.core(), self.core().settings.refresh_ahead);
        let (of, name) = (platform.to_owned(), platform.to_owned());
        let rows = core.store.read_long(move |db| refreshes::list_without_expiry(db, &of)).await?;
        let mut walk =
            Walk::new(rows, move |tx, rows| refreshes::apply_lifetime(tx, rows, &name, life, ahead).map(Some));
        walk.finish(core).await?;
        Ok(walk.changed)
    }
}
