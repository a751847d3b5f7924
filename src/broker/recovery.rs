//! Continues what a stop or a crash cut off, when the broker starts.
//!
//! A connection whose code was exchanged is finished from the stored answer. One without a stored answer ends as
//! interrupted, which its owner sees. What servers were known to say of themselves is restored before: finishing a
//! connection may take it. Refreshes are the [`Refresher`](super::Refresher)'s to continue. Invariant:
//! nothing that a platform delivered is passed over in silence.

use super::connection_rows::is_own_flow;
use super::{Broker, Error};
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, Outcome};
use crate::store::flows;

impl Broker {
    /// Runs before anybody is served: later, new work could not be told from what was cut off. Connections are
    /// continued in the background; their callbacks wait for that.
    pub async fn recover(&self) -> Result<(), Error> {
        self.restore_discovered().await;
        let cut_off = self.store.read_long(flows::list_cut_off).await;
        let refreshes = self.refresher.recover().await;
        // A failure of one kind does not keep the other from being continued.
        for flow in cut_off?.into_iter().filter(|flow| is_own_flow(&self.vault, flow)) {
            let (id, broker) = (flow.id, self.clone());
            self.exchanges.start(&self.tasks, id, move || async move { broker.finish_cut_off(flow).await });
        }
        refreshes
    }

    async fn finish_cut_off(&self, flow: Flow) {
        let (id, platform) = (flow.id, flow.platform.clone());
        let by = flow.person(None);
        if self.resume(flow.clone()).await {
            tracing::info!(flow.id = %id, platform.name = %platform, "continued a connection that was cut off");
            return;
        }
        tracing::warn!(
            flow.id = %id, platform.name = %platform,
            "a connection was cut off: tokens that the platform may have issued are lost, and the account's owner must start again"
        );
        let outcome = Outcome::failed(Failure::Interrupted);
        if let Err(error) = self.store_end(&flow, outcome, by).await {
            tracing::error!(flow.id = %id, error = %chain(&error), "cannot record how the connection ended");
        }
    }
}
