//! Lets a person choose: a consent that covers several accounts waits until its owner says which of them to connect.
//!
//! The selection token is the credential for reading and choosing. The first valid choice spends it; the same choice,
//! sent again within a minute, gets the same answer. Unknown, spent and expired selections, and those of another
//! platform, get the same answer. Invariant: what a selection holds is erased when it is spent or purged, and unwanted
//! tokens are revoked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::connection_rows::change_flow;
use super::core::count_failure;
use super::error::What;
use super::exchange::ensure_app_of;
use super::finished::Finished;
use super::record::{Chosen, Under};
use super::{Broker, Error};
use crate::domain::account::{Account, AccountKind};
use crate::domain::audit::{Action, By};
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, Outcome};
use crate::domain::id::{ProjectId, SelectionId};
use crate::domain::redirect::RedirectUri;
use crate::domain::scopes;
use crate::domain::secret::{Digest256, SecretString, random_token};
use crate::domain::selection::{
    Consent, Findings, Selection, SelectionStage, app_deletion_digest, cancellation_digest, choice_digest, choice_id,
};
use crate::domain::time::Timestamp;
use crate::store::{self, audit, profiles, projects, selections};
use crate::vault::{Owner, Place};

/// An open selection.
#[derive(Debug, Clone)]
pub struct Choices {
    pub platform: String,
    /// The platform's name for people.
    pub label: String,
    pub project: Option<String>,
    pub profile_name: Option<String>,
    pub accounts: Vec<Choice>,
    pub findings: Findings,
    /// The scopes that the person left out.
    pub missing_scopes: Vec<String>,
    pub expires_in: Duration,
    pub redirect_uri: Option<RedirectUri>,
    pub cancel_redirect_uri: Option<RedirectUri>,
}

/// An account on offer.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Id of the account in a choice.
    pub id: String,
    pub kind: AccountKind,
    pub account: Account,
}

impl Broker {
    /// Stores a consent until its owner has chosen. The flow waits for that.
    pub(super) async fn await_choice(&self, flow: &Flow, consent: &Consent, by: By) -> Result<(), Error> {
        let selection = self.new_selection(flow, consent, self.clock.now().plus(self.settings.selection_ttl))?;
        let (id, now, app, vault) = (selection.id, selection.created_at, flow.app_id, self.vault.clone());
        tracing::info!(
            flow.id = %flow.id, selection.id = %id, platform.name = %flow.platform,
            accounts = consent.identity.accounts.len(), "waiting for a choice of accounts"
        );
        let entry = flow.entry(by, Action::SelectionOffered, id);
        self.store
            .write_kept(move |tx| {
                ensure_app_of(tx, selection.project_id, app)?;
                selections::insert(tx, &selection)?;
                change_flow(tx, &vault, selection.project_id, selection.flow_id, |flow| {
                    flow.await_selection(selection.expires_at)
                })?;
                Ok(audit::record(tx, Some(selection.project_id), &entry, now)?)
            })
            .await
    }

    /// An open selection of a flow, which holds the consent under a fresh token.
    pub(super) fn new_selection(
        &self,
        flow: &Flow,
        consent: &Consent,
        expires_at: Timestamp,
    ) -> Result<Selection, Error> {
        let id: SelectionId = self.ids.next();
        let token = random_token(&*self.entropy);
        Ok(Selection {
            id,
            project_id: flow.project_id,
            flow_id: flow.id,
            platform: flow.platform.clone(),
            subject: consent.identity.subject.clone(),
            token: token_digest(&token),
            created_at: self.clock.now(),
            expires_at,
            stage: SelectionStage::Open {
                token_text: self.vault.seal_text(&Place::selection_token(id, flow), &token)?,
                payload: self.vault.seal_consent(&Place::selection_payload(id, flow), consent)?,
            },
        })
    }

    /// The accounts on offer. `platform`: the platform that the caller names, if it names one.
    pub async fn get_selection(&self, platform: Option<&str>, token: &SecretString) -> Result<Choices, Error> {
        let (selection, flow) = self.find_selection(platform, token).await?;
        let now = self.clock.now();
        if !selection.is_open(now) {
            return Err(self.not_open(&flow));
        }
        let consent = self.open_consent(&selection, &flow)?;
        let (project, profile_id) = (flow.project_id, flow.profile_id);
        let (project_name, profile_name) = self
            .store
            .read(move |db| {
                Ok::<_, Error>((projects::find_name(db, project)?, profiles::find_name(db, project, profile_id)?))
            })
            .await?;
        let findings = consent.findings();
        let missing_scopes = scopes::missing(&flow.scopes, consent.scopes());
        let accounts = consent.identity.accounts.into_iter();
        Ok(Choices {
            label: self.label(&flow.platform),
            platform: flow.platform,
            project: project_name,
            profile_name,
            accounts: accounts
                .map(|found| Choice { id: choice_id(&found), kind: found.kind, account: found.account })
                .collect(),
            findings,
            missing_scopes,
            expires_in: now.until(selection.expires_at),
            redirect_uri: self.checked_again(flow.redirect_uri),
            cancel_redirect_uri: self.checked_again(flow.cancel_redirect_uri),
        })
    }

    /// Fails when there is nothing to answer a choice with this token by. Cheap, so that it can come before the choice
    /// is read. Returns the project.
    pub async fn ensure_selection(&self, platform: Option<&str>, token: &SecretString) -> Result<ProjectId, Error> {
        match self.find_selection(platform, token).await {
            Err(Error::NotFound(_)) if platform.is_none() => {
                let late = self.find_late(token_digest(token)).await?;
                late.map(|late| late.project_id).ok_or(Error::NotFound(What::Selection))
            }
            found => found.map(|(_, flow)| flow.project_id),
        }
    }

    /// Connects exactly the accounts with these ids, all of which must be on offer.
    pub async fn choose_accounts(
        &self,
        platform: Option<&str>,
        token: &SecretString,
        chosen: BTreeSet<String>,
        address: Option<IpAddr>,
    ) -> Result<Finished, Error> {
        let by = choice_digest(&chosen);
        let (selection, flow) = self.find_selection(platform, token).await?;
        if selection.is_open(self.clock.now()) {
            let consent = self.open_consent(&selection, &flow)?;
            let offered: BTreeSet<String> = consent.identity.accounts.iter().map(choice_id).collect();
            if chosen.is_empty() || !chosen.is_subset(&offered) {
                return Err(Error::NotOffered);
            }
            let broker = self.clone();
            // Replaced consents must be revoked whether or not the person still waits.
            let connect = async move {
                if broker.lacks_app_of(&flow) {
                    let ended = (app_deletion_digest(), Outcome::failed(Failure::AppMissing));
                    count_failure(Failure::AppMissing, &flow.platform);
                    return broker.end_choice(&selection, &flow, &consent, ended, address).await;
                }
                broker.connect_chosen(selection, flow, consent, Chosen::Ids(chosen), (by, address)).await
            };
            self.tasks.run(connect).await??;
        }
        self.answer_spent(platform, token, by).await
    }

    /// Connects nothing and revokes the tokens.
    pub async fn cancel_selection(&self, token: &SecretString, address: Option<IpAddr>) -> Result<Finished, Error> {
        let by = cancellation_digest();
        let (selection, flow) = self.find_selection(None, token).await?;
        if selection.is_open(self.clock.now()) {
            let consent = self.open_consent(&selection, &flow)?;
            let broker = self.clone();
            // The tokens must be revoked whether or not the person still waits.
            let cancelled = (by, Outcome::Cancelled);
            self.tasks
                .run(async move { broker.end_choice(&selection, &flow, &consent, cancelled, address).await })
                .await??;
        }
        self.answer_spent(None, token, by).await
    }

    /// Ends a choice without an account, and gives the consent back.
    async fn end_choice(
        &self,
        selection: &Selection,
        flow: &Flow,
        consent: &Consent,
        (by, outcome): (Digest256, Outcome),
        address: Option<IpAddr>,
    ) -> Result<(), Error> {
        let (project, id, flow_id, now) = (flow.project_id, selection.id, flow.id, self.clock.now());
        let entry = flow.end_entry(flow.person(address), &outcome);
        let (ended_with, vault) = (outcome.code(), self.vault.clone());
        let ended = self
            .store
            .write(move |tx| {
                match selections::spend(tx, project, id, by, Vec::new(), now) {
                    Err(store::Error::NotChanged) => return Ok::<_, Error>(false),
                    spent => spent?,
                }
                change_flow(tx, &vault, project, flow_id, |flow| flow.settle(outcome.clone()))?;
                audit::record(tx, Some(project), &entry, now)?;
                Ok(true)
            })
            .await?;
        if ended {
            tracing::info!(
                flow.id = %flow_id, platform.name = %flow.platform, outcome = ended_with, "the choice ended without an account"
            );
            self.give_back_consent(flow, consent).await;
        }
        Ok(())
    }

    /// Spends the selection for this choice. Does nothing when another request was faster.
    async fn connect_chosen(
        &self,
        selection: Selection,
        flow: Flow,
        consent: Consent,
        chosen: Chosen,
        (by, address): (Digest256, Option<IpAddr>),
    ) -> Result<(), Error> {
        let broker = self.clone();
        let under = Under::of(&flow, flow.person(address));
        let tokens = consent.issued.tokens.clone();
        let stored = self
            .store
            .write(move |tx| {
                let (project, now) = (flow.project_id, broker.clock.now());
                let current = selections::find_by_token(tx, &selection.token)?;
                if !current.is_some_and(|current| current.is_open(now)) {
                    return Ok::<_, Error>(None);
                }
                let stored = broker.record_connection(tx, &under, &consent, &chosen, now)?;
                // The page of the choice has told what is missing.
                let settled = Outcome::connected(&stored.connected, None);
                change_flow(tx, &broker.vault, project, flow.id, |flow| flow.settle(settled))?;
                selections::spend(tx, project, selection.id, by, stored.connected.clone(), now)?;
                Ok(Some(stored))
            })
            .await?;
        if let Some(stored) = stored {
            self.connected(stored, tokens);
        }
        Ok(())
    }

    /// The outcome of a selection that was spent by this choice.
    async fn answer_spent(
        &self,
        platform: Option<&str>,
        token: &SecretString,
        by: Digest256,
    ) -> Result<Finished, Error> {
        let (selection, flow) = self.find_selection(platform, token).await?;
        if !selection.repeats(&by, self.clock.now()) {
            return Err(self.not_open(&flow));
        }
        self.finished(flow).await
    }

    /// The error about a choice that cannot be made any more.
    fn not_open(&self, flow: &Flow) -> Error {
        match flow.stage.outcome() {
            Some(Outcome::Failed { failure, .. }) => {
                Error::SelectionEnded(failure.what_happened(&self.label(&flow.platform)))
            }
            _ => Error::NotFound(What::Selection),
        }
    }

    async fn find_selection(&self, platform: Option<&str>, token: &SecretString) -> Result<(Selection, Flow), Error> {
        self.find_selection_by_token(token_digest(token))
            .await?
            .filter(|(selection, _)| platform.is_none_or(|platform| selection.platform == platform))
            // Before its caller completes the connection, there is nothing to choose.
            .filter(|(_, flow)| !flow.awaits_completion())
            .ok_or(Error::NotFound(What::Selection))
    }

    /// The consent that the selection holds, until it is spent.
    pub(super) fn open_consent(&self, selection: &Selection, flow: &Flow) -> Result<Consent, Error> {
        let SelectionStage::Open { payload, .. } = &selection.stage else {
            return Err(Error::NotFound(What::Selection));
        };
        Ok(self.vault.open_consent(&Place::selection_payload(selection.id, flow), payload)?)
    }

    /// The selection token, to send the browser to the same page again.
    pub(super) fn open_token(&self, selection: &Selection, flow: Owner<'_>) -> Result<SecretString, Error> {
        let SelectionStage::Open { token_text, .. } = &selection.stage else {
            return Err(Error::NotFound(What::Selection));
        };
        Ok(self.vault.open_text(&Place::selection_token(selection.id, flow), token_text)?)
    }
}

/// Digest that a selection is stored and looked up by.
#[expect(clippy::disallowed_methods, reason = "hashing is how a selection token is stored and looked up")]
pub(super) fn token_digest(token: &SecretString) -> Digest256 {
    use secrecy::ExposeSecret as _;
    Digest256::of(token.expose_secret().as_bytes())
}
