//! When the broker starts: take up what a stop or a crash cut off.
//!
//! A connection whose code was exchanged is finished from the answer that was kept; one of which nobody knows is said to be
//! interrupted, which its person sees. Refreshes that were begun are due at once, and an answer to one
//! that nobody understood is read once more where its grant has ended since. Invariant: nothing that a platform
//! delivered is passed over in silence.

use super::exchange::chain;
use super::{Broker, Error};
use crate::domain::flow::{Failure, Flow, Outcome};
use crate::store::{flows, refreshes};

impl Broker {
    /// Before anybody is served, whose work could not be told from what was cut off. Refreshes of which nobody knows how they
    /// ended are in doubt, and due. Connections are taken up: this does not wait for them, but their callbacks do.
    pub async fn recover(&self) -> Result<(), Error> {
        let cut_off = self.store.read(flows::list_cut_off).await;
        let now = self.clock.now();
        let resumed = self.store.write(move |tx| refreshes::resume_all(tx, now)).await;
        // One that fails does not keep the other from being taken up.
        for flow in cut_off? {
            self.start_or_join(flow.id, |broker| async move { broker.finish_cut_off(flow).await });
        }
        for (project, id) in self.store.read(refreshes::list_ended_with_answer).await? {
            let broker = self.clone();
            self.tasks.spawn_on(async move { broker.revive(project, id).await }, &self.work);
        }
        let refreshes = resumed?;
        if refreshes > 0 {
            tracing::warn!(
                refreshes,
                "refreshes were cut off when the broker stopped: their tokens are tried once more, at once"
            );
        }
        Ok(())
    }

    async fn finish_cut_off(&self, flow: Flow) {
        let (id, project, platform) = (flow.id, flow.project_id, flow.platform.clone());
        if self.resume(flow).await {
            tracing::info!(flow.id = %id, platform.name = %platform, "a connection that was cut off was taken up");
            return;
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
}
