//! Matches a callback to its flow, lets exactly one attempt finish it, and answers every repeat with the same result.
//!
//! A browser repeats itself: it reloads, prerenders, sends twice. The first callback of a flow starts the
//! [exchange](super::exchange); callbacks that come meanwhile wait for it, and later ones find its outcome in the
//! flow's row.
//!
//! The state is secret, so whoever has it may finish the flow: with a code, an error, or something that is neither.
//! Only three kinds of callback leave it pending. A parameter that is given twice does not tell which value is the
//! platform's. The path of another platform, or of another server, means that the answer was sent astray. A browser
//! that the flow is not [bound](crate::domain::binding) to may belong to somebody who was lured here.

use std::net::IpAddr;

use super::answer::{self, Answer};
use super::begin::state_digest;
use super::error::CallbackRefusal;
use super::finished::{CancelledAt, Ending, Finished};
use super::{Broker, Error, results};
use crate::domain::binding::Browser;
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, FlowStage, LateRedirect, Outcome};
use crate::domain::id::{FlowId, IntegrationId, ProjectId};
use crate::domain::integration::Integration;
use crate::domain::redirect::RedirectUri;
use crate::domain::scopes;
use crate::domain::secret::{Digest256, SecretString};
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;
use crate::store::{Connection, grants, integrations, profiles, projects, selections};
use crate::upstream::Server;
use crate::vault::Owner;

/// Path of the hosted selection page; the selection token follows.
const SELECTION_PAGE: &str = "/connect/selection/";

/// Parameters that a platform sent the browser back with, each at most once.
#[derive(Debug, Default)]
pub struct Callback {
    pub platform: String,
    /// Host of the platform's server that the callback URL names.
    pub server: Option<String>,
    pub state: Option<SecretString>,
    pub code: Option<SecretString>,
    pub error: Option<String>,
    pub error_reason: Option<String>,
    pub error_code: Option<String>,
    /// The platform's sentence: documented refusals are recognised in it, and it goes nowhere.
    pub error_description: Option<String>,
    /// The issuer (RFC 9207), where the platform sends it.
    pub issuer: Option<String>,
    /// True when the code or another parameter beside the state is too long or is not text.
    pub is_garbled: bool,
    /// The cookies by which the browser is known again.
    pub browser: Browser,
    /// The browser's address, for the audit trail.
    pub address: Option<IpAddr>,
}

impl Broker {
    /// Finishes the flow that the callback belongs to. A repeated callback gets the same answer, without asking the
    /// platform again. `Error::CallbackRefused` when it belongs to none.
    pub async fn finish_connect(&self, callback: Callback) -> Result<Finished, Error> {
        let refused = |why| Err(Error::CallbackRefused(why));
        let Some(state) = &callback.state else { return refused(CallbackRefusal::UnknownState) };
        let digest = state_digest(state);
        let platform = self.upstream.platforms().find(&callback.platform);
        let iss = callback.issuer.as_deref();
        let found = self.find_flow_by_state(digest).await?;
        if let (Some(platform), Some(_)) = (platform, &found) {
            self.ensure_discovered(platform).await?;
        }
        let server = found.as_ref().and_then(|flow| self.server_of(flow).ok().flatten());
        let other_issuer = platform.and_then(|platform| self.upstream.other_issuer(platform, server.as_ref(), iss));
        let sentence = callback.error_description.as_deref().unwrap_or_default();
        let declined = |codes: &[String]| self.upstream.declined(&callback.platform, codes, sentence);
        let answer = Answer::of(&callback, other_issuer, declined);
        let is_denial = answer.is_denial();
        let Some(mut flow) = found else {
            return self.without_flow(digest, &callback.platform, is_denial).await;
        };
        // A server whose name cannot be read ends the connection at the exchange.
        let is_other = |server: Option<Server>| server.as_ref().map(Server::host) != callback.server.as_deref();
        if flow.platform != callback.platform || self.server_of(&flow).is_ok_and(is_other) {
            return refused(CallbackRefusal::OtherPlatform);
        }
        if flow.is_expired(self.clock.now()) {
            return self.late_flow(flow, is_denial).await;
        }
        if !callback.browser.may_finish(&flow.binding) {
            tracing::warn!(
                flow.id = %flow.id, platform.name = %flow.platform,
                "another browser came back than the connection is bound to, so the platform was not asked"
            );
            let is_of_link = flow.link_id.is_some();
            return refused(CallbackRefusal::OtherBrowser { is_of_link });
        }
        let fingerprint = answer.fingerprint();
        if flow.stage.outcome().is_none() {
            self.ensure_link_of(&flow).await?;
            let (id, broker) = (flow.id, self.clone());
            let by = flow.person(callback.address);
            // Who joins an exchange under way needs no place, and neither does what calls no platform.
            let is_call = matches!(answer, Answer::Code(_)) && !self.exchanges.has(&id);
            let at_server_of = flow.server.is_some().then_some(flow.project_id);
            let place = if is_call { Some(self.take_place(at_server_of).await?) } else { None };
            let work = move || async move {
                broker.exchange(flow, answer, fingerprint, by).await;
                drop(place);
            };
            self.exchanges.start(&self.tasks, id, work).result().await;
            let Some(completed) = self.find_flow_by_state(digest).await? else {
                return self.without_flow(digest, &callback.platform, is_denial).await;
            };
            flow = completed;
        }
        match flow.stage.consumed_by() {
            Some(consumed_by) if consumed_by != fingerprint => refused(CallbackRefusal::AlreadyUsed),
            _ => self.finished(flow).await,
        }
    }

    /// The ending of a connection whose flow is gone.
    async fn without_flow(&self, state: Digest256, platform: &str, is_denial: bool) -> Result<Finished, Error> {
        let late = self.find_late(state).await?.filter(|late| late.platform == platform);
        late.map(|late| self.late(late, is_denial)).ok_or(Error::CallbackRefused(CallbackRefusal::UnknownState))
    }

    /// The ending of a connection that expired, and whose flow is still there.
    async fn late_flow(&self, flow: Flow, is_denial: bool) -> Result<Finished, Error> {
        let link = self.link_of(&flow).await?;
        Ok(Finished { link, ..self.late(flow.into(), is_denial) })
    }

    /// The ending of a flow whose browser has come back. A flow that was consumed and has no outcome, not even in memory,
    /// was cut off by a stop.
    pub(super) async fn finished(&self, flow: Flow) -> Result<Finished, Error> {
        let flow = self.unrecorded.ended(flow);
        if flow.is_expired(self.clock.now()) {
            return self.late_flow(flow, false).await;
        }
        let link = self.link_of(&flow).await?;
        let (ticket, may_retry) = (results::ticket(&flow), results::may_retry(&flow));
        let at = cancelled_at(&flow);
        let outcome = match flow.stage {
            // The database took nothing, so the platform was not asked.
            FlowStage::Pending { .. } => Outcome::failed(Failure::StorageFailed),
            FlowStage::Answered { .. } | FlowStage::Consumed { .. } => Outcome::failed(Failure::Interrupted),
            FlowStage::Ended { outcome, .. } => outcome,
        };
        let (project, flow_id, profile_id) = (flow.project_id, flow.id, flow.profile_id);
        let Flow { platform, client_id, scopes, redirect_uri, cancel_redirect_uri, headless, reconnects, .. } = flow;
        let (now, waits_for_caller) = (self.clock.now(), outcome == Outcome::CompletionRequired);
        let is_mismatch = matches!(outcome, Outcome::Failed { failure: Failure::AccountMismatch, .. });
        let to_reconnect = reconnects.filter(|_| is_mismatch);
        let (project_name, profile_name, found, is_account_gone) = self
            .store
            .read(move |db| {
                let project_name = projects::find_name(db, project)?;
                let profile_name = profiles::find_name(db, project, profile_id)?;
                let is_account_gone = match to_reconnect {
                    Some(id) => integrations::find(db, project, id)?.is_none(),
                    None => false,
                };
                let found = find_ending(db, (project, flow_id), &scopes, outcome, at, now)?;
                Ok::<_, Error>((project_name, profile_name, found, is_account_gone))
            })
            .await?;
        let ending = match found {
            Found::Ended(ending) => ending,
            Found::Waits(Some(selection)) if waits_for_caller && selection.is_open(self.clock.now()) => {
                Ending::CompletionRequired { flow_id }
            }
            Found::Waits(Some(selection)) if selection.is_open(self.clock.now()) => {
                let owner = Owner { project_id: project, platform: &platform, client_id: &client_id };
                let token = self.open_token(&selection, owner)?;
                Ending::SelectionRequired {
                    token,
                    page: format!("{}{SELECTION_PAGE}", self.settings.public_url),
                    headless,
                }
            }
            Found::Waits(_) => {
                let late = LateRedirect { project_id: project, platform, redirect_uri, cancel_redirect_uri };
                return Ok(Finished { link, ..self.late(late, false) });
            }
        };
        Ok(Finished {
            flow_id: Some(flow_id),
            label: self.label(&platform),
            console: self.console(&platform),
            needed_scopes: self.upstream.needed_scopes(&platform),
            has_fragment: self.upstream.adds_fragment(&platform),
            platform,
            project: project_name,
            profile_id: profile_id.map(|id| id.to_string()),
            profile_name,
            redirect_uri: self.checked_again(redirect_uri),
            cancel_redirect_uri: self.checked_again(cancel_redirect_uri),
            link,
            ticket,
            may_retry: may_retry && !is_account_gone,
            is_account_gone,
            ending,
        })
    }

    /// The flow's redirect, if it is still allowed: the operator may have changed the list since it began.
    pub(super) fn checked_again(&self, uri: Option<String>) -> Option<RedirectUri> {
        uri.and_then(|uri| self.settings.redirects.check(&uri).ok())
    }
}

/// The state of a flow whose browser has come back.
enum Found {
    Ended(Ending),
    /// It waits for its caller or its person, unless the selection has expired or is gone.
    Waits(Option<Selection>),
}

/// Reads what else belongs to the outcome of a flow that asked for `scopes`. `at`: where its person said no, if they did.
fn find_ending(
    db: &Connection,
    (project, flow): (ProjectId, FlowId),
    scopes: &[String],
    outcome: Outcome,
    at: CancelledAt,
    now: Timestamp,
) -> Result<Found, Error> {
    Ok(Found::Ended(match outcome {
        Outcome::Cancelled => Ending::Cancelled { at },
        Outcome::Connected { integration_ids: ids, findings } => {
            let mut integrations = Vec::new();
            for id in ids.iter().filter_map(|id| id.parse::<IntegrationId>().ok()) {
                integrations.extend(integrations::find(db, project, id)?.map(|found| found.judged(now)));
            }
            let missing_scopes = missing_scopes(db, project, scopes, &integrations)?;
            Ending::Connected { ids, integrations, missing_scopes, findings: findings.map(Box::new) }
        }
        Outcome::Failed { failure, findings } => Ending::Failed { failure, findings },
        Outcome::CompletionRequired | Outcome::SelectionRequired => {
            return Ok(Found::Waits(selections::find_by_flow(db, project, flow)?));
        }
    }))
}

/// Where the person of a cancelled flow said no, by the digest of what its callback carried (see [`FlowStage`]).
fn cancelled_at(flow: &Flow) -> CancelledAt {
    match flow.stage.consumed_by() {
        Some(by) if by == answer::denied() => CancelledAt::Platform,
        Some(by) if by == answer::not_confirmed() => CancelledAt::Confirmation,
        _ => CancelledAt::Choice,
    }
}

/// The requested scopes that the person left out of the consent that covers these accounts.
fn missing_scopes(
    db: &Connection,
    project: ProjectId,
    requested: &[String],
    connected: &[Integration],
) -> Result<Vec<String>, Error> {
    let Some(first) = connected.first() else { return Ok(Vec::new()) };
    let grant = grants::find(db, project, first.grant_id)?;
    Ok(grant.map_or_else(Vec::new, |grant| scopes::missing(requested, &grant.scopes)))
}
