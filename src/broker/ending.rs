//! Ends connections without an account: records the outcome, then gives back the tokens that the platform issued.
//!
//! Invariant: tokens are given back only once no stored answer has them. Recording the end erases the answer; without
//! that, the next start would connect the account with tokens that were revoked. While the store takes no changes, the
//! outcome is told from memory, and recording it is retried. A broker that stops before leaves the answer to the next
//! start, which connects the account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Broker;
use super::connection_rows::change_flow;
use super::core::count_failure;
use crate::domain::audit::By;
use crate::domain::error_chain::chain;
use crate::domain::flow::{Flow, Outcome};
use crate::domain::grant::TokenSet;
use crate::domain::id::FlowId;
use crate::store::{self, Transaction, audit};
use crate::upstream::OauthClient;

/// Backoff between attempts to record an outcome.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(200);
const RECORD_AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// Tokens that came and are not kept.
pub(super) struct Unkept<'a> {
    pub(super) client: &'a OauthClient<'a>,
    pub(super) tokens: &'a TokenSet,
    /// The person whose they are, where that is known.
    pub(super) subject: Option<&'a str>,
    /// True when they are, or may be, stored.
    pub(super) is_stored: bool,
}

/// Outcomes that could not be recorded yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Unrecorded(Arc<Mutex<HashMap<FlowId, Outcome>>>);

impl Unrecorded {
    fn lock(&self) -> MutexGuard<'_, HashMap<FlowId, Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flow as it is once its outcome is recorded.
    pub(super) fn ended(&self, flow: Flow) -> Flow {
        let outcome = self.lock().get(&flow.id).cloned();
        match outcome {
            Some(outcome) => flow.clone().end(outcome).unwrap_or(flow),
            None => flow,
        }
    }
}

impl Broker {
    /// Records an outcome that connected nothing, and gives back the tokens.
    pub(super) async fn end(&self, flow: &Flow, outcome: Outcome, by: By, unkept: Option<Unkept<'_>>) {
        let id = flow.id;
        let who_can_help = match &outcome {
            Outcome::Failed { failure, .. } => Some(count_failure(*failure, &flow.platform)),
            _ => None,
        };
        tracing::info!(
            flow.id = %id, platform.name = %flow.platform, outcome = outcome.code(), who_can_help, "connection ended"
        );
        let end = self.ending(flow, outcome.clone(), by);
        let stored = if unkept.is_some() { self.store.write_kept(end).await } else { self.store.write(end).await };
        let (error, is_stored) = match (stored, &unkept) {
            (Ok(()) | Err(store::Error::NotChanged), _) => (None, false),
            // The answer may be on the disk, although its commit was not confirmed.
            (Err(error @ store::Error::Failed(_)), Some(_)) => (Some(error), true),
            (Err(error), unkept) => (Some(error), unkept.as_ref().is_some_and(|unkept| unkept.is_stored)),
        };
        if let Some(error) = error {
            if !error.is_final() {
                tracing::error!(
                    flow.id = %id, error = %chain(&error), is_stored,
                    "cannot record how the connection ended: that is retried, and tokens in a stored answer are not revoked before"
                );
            }
            let unkept = unkept.as_ref().filter(|_| is_stored);
            let unkept = unkept.map(|unkept| (unkept.tokens.clone(), unkept.subject.map(str::to_owned)));
            self.end_later(flow.clone(), outcome, by, unkept);
        }
        if let Some(Unkept { client, tokens, subject, .. }) = unkept.filter(|_| !is_stored) {
            Box::pin(self.revocation.give_back(flow, Some(client), subject, tokens)).await;
        }
    }

    /// Records the outcome as soon as the store takes changes, and gives back the tokens then.
    fn end_later(&self, flow: Flow, outcome: Outcome, by: By, unkept: Option<(TokenSet, Option<String>)>) {
        self.unrecorded.lock().insert(flow.id, outcome.clone());
        let broker = self.clone();
        self.tasks.spawn(async move {
            let mut pause = RECORD_AGAIN_AFTER;
            loop {
                tokio::time::sleep(pause).await;
                match broker.store_end(&flow, outcome.clone(), by).await {
                    Ok(()) | Err(store::Error::NotChanged) => break,
                    Err(error) if broker.tasks.are_draining() || error.is_final() => {
                        let is_stored = unkept.is_some();
                        let then =
                            if is_stored { "continues it from a stored answer, or else ends it" } else { "ends it" };
                        tracing::error!(
                            flow.id = %flow.id, error = %chain(&error), is_stored,
                            "how the connection ended was not recorded: the next start {then}"
                        );
                        return;
                    }
                    Err(_) => pause = (pause * 2).min(RECORD_AGAIN_AT_MOST),
                }
            }
            broker.unrecorded.lock().remove(&flow.id);
            if let Some((tokens, subject)) = unkept {
                broker.revocation.give_back(&flow, None, subject.as_deref(), &tokens).await;
            }
        });
    }

    /// Ends a flow without an account.
    pub(super) async fn store_end(&self, flow: &Flow, outcome: Outcome, by: By) -> Result<(), store::Error> {
        self.store.write(self.ending(flow, outcome, by)).await
    }

    fn ending(
        &self,
        flow: &Flow,
        outcome: Outcome,
        by: By,
    ) -> impl Fn(&Transaction<'_>) -> Result<(), store::Error> + Send + use<> {
        let (id, project) = (flow.id, flow.project_id);
        let entry = flow.end_entry(by, &outcome);
        let (now, vault) = (self.clock.now(), self.vault.clone());
        move |tx| {
            change_flow(tx, &vault, project, id, |flow| flow.end(outcome.clone()))?;
            audit::record(tx, Some(project), &entry, now)
        }
    }
}
