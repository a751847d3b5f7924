//! Forget the connections that nobody finished, give back the tokens of choices that nobody made, and erase what was kept
//! long enough.

use std::time::Duration;

use super::{Broker, Error};
use crate::domain::error_chain::chain;
use crate::store::{flows, refreshes, selections, token_reads};

/// Rows of one transaction, so that no request waits for long.
const BATCH: u32 = 500;

/// The same for selections, which can be large: each holds a list of accounts.
const SELECTION_BATCH: u32 = 20;

/// For how long the tokens of a grant are kept that needs its person: a mistake about it can be mended that long.
const KEEP_TOKENS: Duration = Duration::from_hours(30 * 24);

/// For how long it is kept which key read which token.
const KEEP_READS: Duration = Duration::from_hours(90 * 24);

impl Broker {
    /// Deletes every flow that has expired, with its selection, in small transactions. Returns how many flows there were.
    pub async fn purge_expired(&self) -> Result<usize, Error> {
        self.purge_selections().await?;
        let now = self.clock.now();
        let mut purged = 0;
        loop {
            let batch = self.store.write(move |tx| flows::purge_expired(tx, now, BATCH)).await?;
            purged += batch;
            if batch < BATCH as usize {
                return Ok(purged);
            }
        }
    }

    /// Erases the tokens of those that ended a while ago, and forgets who read which token long ago. Returns how many grants
    /// there were.
    pub async fn purge_ended(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let (ended_before, read_before) = (now.minus(KEEP_TOKENS), now.minus(KEEP_READS));
        let mut erased = 0;
        loop {
            let batch = self.store.write(move |tx| refreshes::erase_ended(tx, ended_before, BATCH)).await?;
            erased += batch;
            let forgotten = self.store.write(move |tx| token_reads::forget_old(tx, read_before, BATCH)).await?;
            if batch.max(forgotten) < BATCH as usize {
                break;
            }
        }
        if erased > 0
            && let Err(error) = self.store.checkpoint().await
        {
            tracing::warn!(error = %chain(&error), "what was erased stays in the database's log until that is overwritten");
        }
        Ok(erased)
    }

    /// What a selection held is erased first, and then given back: when the platform does not answer, or we are stopped,
    /// it is the revocation that is lost.
    async fn purge_selections(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let mut erased = false;
        loop {
            let taken = self
                .store
                .write(move |tx| {
                    let mut taken = Vec::new();
                    for selection in selections::take_expired(tx, now, SELECTION_BATCH)? {
                        let flow = flows::find(tx, selection.project_id, selection.flow_id)?;
                        taken.push((selection, flow));
                    }
                    Ok::<_, Error>(taken)
                })
                .await?;
            let more = taken.len() == SELECTION_BATCH as usize;
            for (selection, flow) in taken {
                let (Some(flow), None) = (flow, &selection.spent) else { continue };
                erased = true;
                tracing::info!(flow.id = %flow.id, selection.id = %selection.id, "nobody chose in time");
                match self.open_consent(&selection) {
                    Ok(consent) => {
                        let broker = self.clone();
                        self.tasks.run(async move { broker.give_back_consent(&flow, &consent).await }).await?;
                    }
                    Err(error) => tracing::error!(
                        selection.id = %selection.id, error = %chain(&error),
                        "a choice that nobody made does not open: its tokens are not given back"
                    ),
                }
            }
            if !more {
                break;
            }
        }
        if erased && let Err(error) = self.store.checkpoint().await {
            tracing::warn!(error = %chain(&error), "what was erased stays in the database's log until that is overwritten");
        }
        Ok(())
    }
}
