//! Lifetimes that the operator sets for tokens whose answer had none, and that count for stored ones as well.

use super::Refresher;
use crate::domain::error_chain::chain;
use crate::store::refreshes;

impl Refresher {
    /// Gives tokens that came without an expiry the lifetime that the operator has set for them since.
    pub async fn apply_set_lifetimes(&self) {
        let (core, ahead) = (self.core(), self.core().settings.refresh_ahead);
        for (platform, life) in core.upstream.set_lifetimes() {
            let name = platform.to_owned();
            match core.store.write(move |tx| refreshes::apply_lifetime(tx, &name, life, ahead)).await {
                Ok(0) => {}
                Ok(grants) => {
                    tracing::info!(platform.name = platform, grants, "token_lifetime_seconds counts for stored tokens");
                }
                Err(error) => {
                    tracing::warn!(platform.name = platform, error = %chain(&error), "tokens without an expiry get none");
                }
            }
        }
    }
}
