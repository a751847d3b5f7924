//! Completes a connection: its caller confirms that the person who came back is the user for whom it began.
//!
//! # Motivation
//!
//! Whoever opens the URL of a connection finishes it. An attacker can begin one and have somebody else finish it. Only
//! the caller's backend knows who is signed in where the browser lands.
//!
//! # Theory of operation
//!
//! A code lives for a minute or less, so the callback exchanges it at once. What it brings is quarantined: sealed in a
//! [selection](super::selection) whose token nobody has. Nothing lists, refreshes or hands out what is in there, and no
//! account or grant is touched. The caller's completion connects the account as a callback would have, or lets the
//! person choose among several. A consent that nobody completes in time is revoked, and then [purged](super::purge).
//!
//! Invariants: completion and expiry both change the flow's outcome, each in one transaction, so exactly one of them
//! wins, even if the clock is set back. A quarantined consent is revoked before it is erased, so that a broker that
//! dies in between revokes it again.

use super::connection_rows::{change_flow, find_flow};
use super::core::count_failure;
use super::error::What;
use super::exchange::ensure_app_of;
use super::finished::{Ending, Finished};
use super::record::{Chosen, Under};
use super::{Broker, Caller, Error};
use crate::domain::audit::{Action, By};
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, FlowStage, Outcome};
use crate::domain::id::FlowId;
use crate::domain::selection::{COMPLETE_WITHIN, Consent, Selection, completion_digest};
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::store::{Transaction, audit, selections};
use crate::vault::Vault;

impl Broker {
    /// Quarantines a consent that came with the answer of `asked_at`, until the caller completes the flow.
    pub(super) async fn await_completion(
        &self,
        flow: &Flow,
        consent: &Consent,
        asked_at: Timestamp,
        by: By,
    ) -> Result<(), Error> {
        // A broker that was down meanwhile gives the caller no more time.
        let selection = self.new_selection(flow, consent, asked_at.plus(COMPLETE_WITHIN))?;
        let entry = flow.entry(by, Action::ConnectionAwaitsCompletion, flow.id);
        tracing::info!(flow.id = %flow.id, platform.name = %flow.platform, "waiting for the caller to complete the connection");
        let (reconnects, app, accounts) = (flow.reconnects, flow.app_id, consent.identity.accounts.clone());
        let vault = self.vault.clone();
        self.store
            .write_kept(move |tx| {
                let project = selection.project_id;
                ensure_app_of(tx, project, app)?;
                if Chosen::of(reconnects).among(tx, project, &accounts)?.is_empty() {
                    return Err(Error::AccountMismatch);
                }
                selections::insert(tx, &selection)?;
                change_flow(tx, &vault, project, selection.flow_id, |flow| {
                    flow.await_completion(selection.expires_at)
                })?;
                Ok(audit::record(tx, Some(project), &entry, selection.created_at)?)
            })
            .await
    }

    /// Connects the account of a flow that waits for its caller, or offers the choice among several. Repeated within
    /// ten minutes, the call gives the same answer.
    ///
    /// # Errors
    ///
    /// [`Error::FlowPending`] before the browser came back, [`Error::AccountMismatch`] and [`Error::FlowEnded`] for a
    /// connection without an account, [`Error::NotFound`] for every other flow and one that was not completed in time.
    pub async fn complete_connect(&self, caller: &Caller, id: &str) -> Result<Finished, Error> {
        let id: FlowId = id.parse().map_err(|_| Error::NotFound(What::Flow))?;
        let mut flow = self.find_to_complete(caller, id).await?;
        if flow.awaits_completion() {
            let (broker, by) = (self.clone(), caller.by());
            // The wrong account's tokens must be revoked whether or not the caller still waits.
            self.tasks.run(async move { broker.complete(flow, by).await }).await??;
            flow = self.find_to_complete(caller, id).await?;
        }
        let is_being_finished = matches!(flow.stage, FlowStage::Answered { .. } | FlowStage::Consumed { .. });
        let is_awaited = matches!(flow.stage, FlowStage::Pending { .. }) && !flow.is_expired(self.clock.now());
        if is_being_finished || is_awaited {
            return Err(Error::FlowPending);
        }
        let mut finished = self.finished(flow).await?;
        match &mut finished.ending {
            Ending::Connected { integrations, .. } => {
                // Moved to another profile, an account is as good as gone for a key of this one.
                integrations.retain(|integration| caller.sees(integration.profile_id));
                if integrations.is_empty() {
                    return Err(Error::FlowEnded("Its account was disconnected or moved since.".to_owned()));
                }
                Ok(finished)
            }
            Ending::SelectionRequired { .. } => Ok(finished),
            Ending::Failed { failure: Failure::AccountMismatch, .. } if finished.is_account_gone => {
                Err(Error::AccountGone)
            }
            Ending::Failed { failure: Failure::AccountMismatch, .. } => Err(Error::AccountMismatch),
            Ending::CompletionRequired { .. } | Ending::Failed { failure: Failure::FlowExpired, .. } => {
                Err(Error::NotFound(What::Flow))
            }
            Ending::Cancelled { .. } => Err(Error::FlowEnded("The person declined.".to_owned())),
            Ending::Failed { failure, .. } => Err(Error::FlowEnded(failure.what_happened(&finished.label))),
        }
    }

    async fn find_to_complete(&self, caller: &Caller, id: FlowId) -> Result<Flow, Error> {
        let (project, vault) = (caller.project_id, self.vault.clone());
        let flow = self.store.read(move |db| find_flow(db, &vault, project, id)).await?;
        let flow = flow.map(|flow| self.unrecorded.ended(flow));
        flow.filter(|flow| flow.needs_completion && caller.sees(flow.profile_id)).ok_or(Error::NotFound(What::Flow))
    }

    /// Ends the quarantine. Does nothing when another request was faster, or the time is over.
    async fn complete(&self, flow: Flow, by: By) -> Result<(), Error> {
        let (project, id) = (flow.project_id, flow.id);
        let waiting = self.store.read(move |db| selections::find_by_flow(db, project, id)).await?;
        let Some(selection) = waiting.filter(|selection| selection.is_open(self.clock.now())) else { return Ok(()) };
        let consent = self.open_consent(&selection, &flow)?;
        let failure = if self.lacks_app_of(&flow) {
            Failure::AppMissing
        } else {
            match self.connect_waiting(&flow, &selection, &consent, by).await {
                Err(Error::AccountMismatch) => Failure::AccountMismatch,
                Ok(()) => {
                    failpoint::reach("completion_stored");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        };
        if self.end_waiting(&flow, &selection, failure, by).await? {
            self.give_up(&selection, Some(&flow)).await?;
            self.store.write(move |tx| selections::delete(tx, project, selection.id)).await?;
        }
        Ok(())
    }

    /// Stores the account, or offers the choice among several, together with the flow's outcome.
    async fn connect_waiting(
        &self,
        flow: &Flow,
        selection: &Selection,
        consent: &Consent,
        by: By,
    ) -> Result<(), Error> {
        let (broker, flow, consent) = (self.clone(), flow.clone(), consent.clone());
        let (project, selection) = (flow.project_id, selection.id);
        let tokens = consent.issued.tokens.clone();
        let completed = self
            .store
            .write(move |tx| {
                let now = broker.clock.now();
                if !is_waiting(tx, &broker.vault, &flow, now)? {
                    return Ok::<_, Error>(None);
                }
                let mut stored = None;
                let completed = flow.entry(by, Action::ConnectionCompleted, flow.id);
                audit::record(tx, Some(project), &completed, now)?;
                if consent.identity.accounts.len() > 1 && flow.reconnects.is_none() {
                    let until = now.plus(broker.settings.selection_ttl);
                    selections::set_expiry(tx, project, selection, until)?;
                    change_flow(tx, &broker.vault, project, flow.id, |flow| {
                        flow.complete(Outcome::SelectionRequired, until)
                    })?;
                    let offered = flow.entry(by, Action::SelectionOffered, selection);
                    audit::record(tx, Some(project), &offered, now)?;
                } else {
                    let chosen = Chosen::of(flow.reconnects);
                    let under = Under::of(&flow, by);
                    let connection = broker.record_connection(tx, &under, &consent, &chosen, now)?;
                    let connected = connection.connected.clone();
                    stored = Some(connection);
                    let findings = consent.missing().filter(|_| flow.reconnects.is_none());
                    let (outcome, until) = (Outcome::connected(&connected, findings), now.plus(COMPLETE_WITHIN));
                    change_flow(tx, &broker.vault, project, flow.id, |flow| flow.complete(outcome, until))?;
                    selections::spend(tx, project, selection, completion_digest(), connected, now)?;
                }
                failpoint::reach("completion_storing");
                Ok(Some((flow, stored)))
            })
            .await?;
        let Some((flow, stored)) = completed else { return Ok(()) };
        tracing::info!(flow.id = %flow.id, platform.name = %flow.platform, "the caller completed the connection");
        if let Some(stored) = stored {
            self.connected(stored, tokens);
        }
        Ok(())
    }

    /// Ends a flow that waits for its caller without an account, and lets its selection expire, whose tokens are still
    /// to be revoked. False when the flow does not wait any more.
    pub(super) async fn end_waiting(
        &self,
        flow: &Flow,
        selection: &Selection,
        failure: Failure,
        by: By,
    ) -> Result<bool, Error> {
        let (project, id, now) = (flow.project_id, flow.id, self.clock.now());
        let (selection, expired_at) = (selection.id, selection.expires_at.min(now));
        let vault = self.vault.clone();
        let outcome = Outcome::failed(failure);
        let entry = flow.end_entry(by, &outcome);
        let until = now.plus(COMPLETE_WITHIN);
        let ended = self
            .store
            .write(move |tx| {
                let current = find_flow(tx, &vault, project, id)?;
                if !current.is_some_and(|flow| flow.awaits_completion()) {
                    return Ok::<_, Error>(false);
                }
                change_flow(tx, &vault, project, id, |flow| flow.complete(outcome, until))?;
                selections::set_expiry(tx, project, selection, expired_at)?;
                audit::record(tx, Some(project), &entry, now)?;
                Ok(true)
            })
            .await?;
        if ended {
            count_failure(failure, &flow.platform);
        }
        Ok(ended)
    }
}

/// True while the flow can be completed.
fn is_waiting(tx: &Transaction<'_>, vault: &Vault, flow: &Flow, now: Timestamp) -> Result<bool, Error> {
    let current = find_flow(tx, vault, flow.project_id, flow.id)?;
    let waits = current.is_some_and(|flow| flow.awaits_completion());
    let selection = selections::find_by_flow(tx, flow.project_id, flow.id)?;
    Ok(waits && selection.is_some_and(|selection| selection.is_open(now)))
}
