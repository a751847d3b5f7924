//! When the broker starts: take up what a stop or a crash cut off.
//!
//! A connection whose code was exchanged is finished from the answer that was kept; one of which nobody knows is said to be
//! interrupted, which its person sees. Refreshes that were begun are due at once. Invariant: nothing that a platform
//! delivered is passed over in silence.

use super::complete::chain;
use super::{Broker, Error};
use crate::domain::flow::{Failure, Outcome};
use crate::store::{flows, refreshes};

impl Broker {
    /// Marks what was cut off, before anybody is served: refreshes of which nobody knows how they ended are in doubt, and due.
    pub async fn mark_cut_off(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let refreshes = self.store.write(move |tx| refreshes::resume_all(tx, now)).await?;
        if refreshes > 0 {
            tracing::warn!(
                refreshes,
                "refreshes were cut off when the broker stopped: their tokens are tried once more, at once"
            );
        }
        Ok(())
    }

    /// Finishes the connections that were cut off, as far as that goes.
    pub async fn finish_cut_off(&self) -> Result<(), Error> {
        for flow in self.store.read(flows::list_cut_off).await? {
            let (id, project, platform) = (flow.id, flow.project_id, flow.platform.clone());
            let broker = self.clone();
            let resumed = self.tasks.spawn_on(async move { broker.resume(flow).await }, &self.work);
            match resumed.await {
                Ok(true) => {
                    tracing::info!(flow.id = %id, platform.name = %platform, "a connection that was cut off is finished");
                    continue;
                }
                Ok(false) => {}
                Err(_) => tracing::error!(flow.id = %id, "a connection that was cut off cannot be finished"),
            }
            tracing::warn!(
                flow.id = %id, platform.name = %platform,
                "a connection was cut off: tokens that the platform may have issued for it are lost, its person has to start again"
            );
            let outcome = Outcome::failed(Failure::Interrupted);
            if let Err(error) = self.store.write(move |tx| flows::finish(tx, project, id, &outcome)).await {
                tracing::error!(flow.id = %id, error = %chain(&error), "cannot record how the connection ended");
            }
        }
        Ok(())
    }

    /// Resolves when something became due that was not.
    pub async fn something_due(&self) {
        self.due_changed.notified().await;
    }
}
