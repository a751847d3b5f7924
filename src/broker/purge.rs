//! Deletes expired flows and selections, revokes the tokens of selections that nobody made, and erases old tokens.

use std::time::Duration;

use futures_util::future::join_all;

use super::begin::BOUNDS;
use super::{BETWEEN_BATCHES, Broker, Error, registration};
use crate::domain::activity::hour_of;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, LATE_MAX, Outcome};
use crate::domain::link;
use crate::domain::selection::{Selection, SelectionStage};
use crate::failpoint;
use crate::store::{
    self, Connection, Transaction, activity, console_sessions, flows, integrations, late_redirects, links, oauth_apps,
    refreshes, registrations, selections, token_reads,
};

/// Rows in one transaction, so that no request waits long.
const BATCH: u32 = 500;

/// The same for selections, each of which holds a list of accounts. Their consents are revoked side by side.
pub(super) const SELECTION_BATCH: u32 = 50;

/// Accounts that one look-up finds. It passes over any number of others.
const LOOK_UP: u32 = 10_000;

/// How long the tokens of an ended grant are kept, so that a wrong verdict can still be corrected.
const KEEP_TOKENS: Duration = Duration::from_hours(30 * 24);

/// How long the counts of an hour are kept. The console shows a day.
const KEEP_ACTIVITY: Duration = Duration::from_hours(48);

/// How long token reads are kept.
const KEEP_READS: Duration = Duration::from_hours(90 * 24);

/// A batch of expired selections.
struct Batch {
    /// True when there may be others.
    more: bool,
    /// True when one of them held tokens.
    erased: bool,
}

impl Broker {
    /// Deletes expired flows with their selections, the redirects that those left behind a day ago, links that ended a
    /// day ago, the secrets that apps had before, sessions of the console and what it shows of a day, in small
    /// transactions. Returns the number of flows.
    pub async fn purge_expired(&self) -> Result<usize, Error> {
        self.purge_selections().await?;
        let now = self.clock.now();
        let mut purged = 0;
        // Secrets and links are kept for long, so only a clock that is right ends them.
        while let Some(now) = self.trusted_now()
            && self.store.write(move |tx| oauth_apps::erase_previous(tx, now, BATCH)).await? == BATCH as usize
        {
            pause().await;
        }
        while let Some(ended) = self.trusted_now().map(|now| now.minus(link::KEEP_ENDED))
            && self.store.write_unsynced(move |tx| links::purge(tx, ended, BATCH)).await? == BATCH as usize
        {
            pause().await;
        }
        // Rows that a power cut brings back expire again.
        let (old, late) = (hour_of(now.minus(KEEP_ACTIVITY)), now.minus(LATE_MAX));
        self.purge_all(move |tx| activity::purge(tx, old, BATCH)).await?;
        self.purge_all(move |tx| console_sessions::purge(tx, now, BATCH)).await?;
        self.purge_all(move |tx| late_redirects::purge(tx, late, BATCH)).await?;
        loop {
            let batch = self.store.write_unsynced(move |tx| flows::purge_expired(tx, now, BATCH)).await?;
            self.purge_all(|tx| late_redirects::shrink(tx, BOUNDS.late_redirects, BATCH)).await?;
            purged += batch;
            if batch < BATCH as usize {
                return Ok(purged);
            }
            pause().await;
        }
    }

    /// Repeats a purge of up to [`BATCH`] rows until it finds fewer.
    async fn purge_all(
        &self,
        purge: impl Fn(&Transaction<'_>) -> Result<usize, store::Error> + Copy + Send + 'static,
    ) -> Result<(), Error> {
        while self.store.write_unsynced(purge).await? == BATCH as usize {
            pause().await;
        }
        Ok(())
    }

    /// Takes erased values out of the write-ahead log as well. A failure is only logged.
    pub(super) async fn empty_write_ahead_log(&self) {
        if let Err(error) = self.store.checkpoint().await {
            tracing::warn!(error = %chain(&error), "erased values stay in the write-ahead log until it is overwritten");
        }
    }

    /// Erases the tokens of grants and accounts that ended long ago, apps at servers that nobody needs, and old records
    /// of token reads. Returns the number of grants and accounts.
    pub async fn purge_ended(&self) -> Result<usize, Error> {
        let mut erased = 0;
        while let Some(now) = self.trusted_now() {
            let unused_since = now.minus(registration::KEEP_UNUSED);
            let (ended_before, read_before) = (now.minus(KEEP_TOKENS), now.minus(KEEP_READS));
            let batch = self.store.write(move |tx| refreshes::erase_ended(tx, ended_before, BATCH)).await?;
            erased += batch;
            let unused = self.store.write(move |tx| registrations::purge(tx, unused_since, BATCH)).await?;
            let forgotten = self.store.write(move |tx| token_reads::forget_old(tx, read_before, BATCH)).await?;
            if batch.max(forgotten).max(unused) < BATCH as usize {
                break;
            }
            pause().await;
        }
        while let Some(ended_before) = self.trusted_now().map(|now| now.minus(KEEP_TOKENS)) {
            let list = move |db: &Connection| integrations::list_ended(db, ended_before, LOOK_UP);
            let ended = self.store.read_long(list).await?;
            for batch in ended.chunks(BATCH as usize) {
                let batch = batch.to_vec();
                let erase = move |tx: &Transaction<'_>| integrations::erase_ended(tx, &batch, ended_before);
                erased += self.store.write(erase).await?;
            }
            if ended.len() < LOOK_UP as usize {
                break;
            }
        }
        if erased > 0 {
            self.empty_write_ahead_log().await;
        }
        Ok(erased)
    }

    /// Ends expired selections. Dropping this future starts no further batch; the one that has begun is finished.
    async fn purge_selections(&self) -> Result<(), Error> {
        let mut erased = false;
        loop {
            let broker = self.clone();
            let batch = self.tasks.run(async move { broker.purge_batch_of_selections().await }).await??;
            erased |= batch.erased;
            if !batch.more {
                break;
            }
            pause().await;
        }
        if erased {
            self.empty_write_ahead_log().await;
        }
        Ok(())
    }

    /// Erases what some expired selections hold, then revokes it. When the platform does not answer, or the process is
    /// killed, the revocation is what is lost. Consents that no caller [completed](super::completion) are revoked
    /// first, so that a broker that stops in between revokes them again.
    async fn purge_batch_of_selections(&self) -> Result<Batch, Error> {
        let _alone = self.purging.lock().await;
        let now = self.clock.now();
        let expired = self
            .store
            .write(move |tx| {
                let mut expired = Vec::new();
                for selection in selections::list_expired(tx, now, SELECTION_BATCH)? {
                    let flow = flows::find(tx, selection.project_id, selection.flow_id)?;
                    if !is_quarantined(&selection, flow.as_ref()) {
                        selections::expire(tx, selection.project_id, selection.id)?;
                    }
                    expired.push((selection, flow));
                }
                Ok::<_, Error>(expired)
            })
            .await?;
        let is_open = |selection: &Selection| matches!(selection.stage, SelectionStage::Open { .. });
        let erased = expired.iter().any(|(selection, _)| is_open(selection));
        // Side by side: a server that hangs holds up no other.
        let ends = expired.iter().map(|(selection, flow)| async move {
            match flow {
                Some(flow) if is_quarantined(selection, Some(flow)) => self.abandon(selection, flow).await,
                flow => {
                    if is_open(selection) {
                        tracing::info!(flow.id = %selection.flow_id, selection.id = %selection.id, "nobody chose in time");
                    }
                    self.give_up(selection, flow.as_ref()).await
                }
            }
        });
        join_all(ends).await.into_iter().collect::<Result<(), Error>>()?;
        Ok(Batch { more: expired.len() == SELECTION_BATCH as usize, erased })
    }

    /// Revokes and erases a consent whose caller did not complete the connection in time.
    async fn abandon(&self, selection: &Selection, flow: &Flow) -> Result<(), Error> {
        let (project, id) = (selection.project_id, selection.id);
        if flow.awaits_completion() {
            let by = flow.person(None);
            if !self.end_waiting(flow, selection, Failure::FlowExpired, by).await? {
                // The clock was set back meanwhile, and the caller completed it.
                return Ok(());
            }
            tracing::warn!(
                flow.id = %flow.id, platform.name = %flow.platform,
                "the caller did not complete the connection in time: perhaps it was finished in somebody else's browser"
            );
        }
        failpoint::reach("completion_abandoned");
        self.give_up(selection, Some(flow)).await?;
        failpoint::reach("completion_revoked");
        Ok(self.store.write(move |tx| selections::delete(tx, project, id)).await?)
    }

    /// Revokes what a selection holds that nobody will choose from.
    pub(super) async fn give_up(&self, selection: &Selection, flow: Option<&Flow>) -> Result<(), Error> {
        let (Some(flow), SelectionStage::Open { .. }) = (flow, &selection.stage) else { return Ok(()) };
        match self.open_consent(selection, flow) {
            Ok(consent) => {
                let (broker, flow) = (self.clone(), flow.clone());
                self.tasks.run(async move { broker.give_back_consent(&flow, &consent).await }).await?;
            }
            Err(error) => tracing::error!(
                selection.id = %selection.id, error = %chain(&error),
                "cannot open a selection that nobody will make, so its tokens are not revoked"
            ),
        }
        Ok(())
    }
}

/// Lets others write between two batches.
pub(super) async fn pause() {
    tokio::time::sleep(BETWEEN_BATCHES).await;
}

/// True when the selection holds a consent whose caller must complete the connection, or has not completed it in time.
fn is_quarantined(selection: &Selection, flow: Option<&Flow>) -> bool {
    let outcome = flow.and_then(|flow| flow.stage.outcome());
    matches!(selection.stage, SelectionStage::Open { .. })
        && matches!(outcome, Some(Outcome::CompletionRequired | Outcome::Failed { .. }))
}
