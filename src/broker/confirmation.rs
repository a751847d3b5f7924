//! Asks the person first: whose app connects the account, and for which profile. Only then the platform is visited, and
//! only a browser in which somebody continued may come back from there.
//!
//! Looking at the page changes nothing, and it may be opened and continued any number of times until the connection has
//! ended: chat programs look at links before people do. The platform's URL is made when somebody continues, because a
//! request that was pushed to the platform lives a minute there.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::begin::state_digest;
use super::clients::BoundTo;
use super::connection_rows::change_flow;
use super::core::count_failure;
use super::error::What;
use super::finished::{Ending, Finished};
use super::{Broker, Error, answer};
use crate::domain::binding::Binding;
use crate::domain::confirmation::Confirmation;
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, FlowStage, Outcome, nonce};
use crate::domain::redirect::RedirectUri;
use crate::domain::secret::SecretString;
use crate::store::{audit, profiles, projects};
use crate::upstream::{AuthorizeRequest, Server, platform_at};
use crate::vault::Place;

/// Path of the confirmation page; its token follows.
const PAGE: &str = "/connect/confirm/";

/// The question to a person.
#[derive(Debug, Clone)]
pub struct Question {
    pub platform: String,
    /// The platform's name for people.
    pub label: String,
    pub project: Option<String>,
    pub profile_name: Option<String>,
    /// The platform's consent page, without the query of this connection.
    pub leads_to: String,
    pub redirect_uri: Option<RedirectUri>,
    pub cancel_redirect_uri: Option<RedirectUri>,
}

/// The content of a confirmation page.
#[derive(Debug, Clone)]
pub enum Asked {
    Open(Box<Question>),
    /// The connection expired.
    Late(Box<Finished>),
}

/// Where a person who continued goes on. Not for logs: URL and cookie are secret.
pub enum Continued {
    ToPlatform {
        url: String,
        /// Name and value of the cookie that the browser must come back with.
        cookie: (String, String),
        /// How long the cookie is needed.
        lives: Duration,
    },
    /// The connection expired, its app or platform is gone, or the platform did not take the request.
    Ended(Box<Finished>),
}

/// A flow that asks first.
enum Found {
    Open(Box<Flow>),
    Late(Box<Finished>),
}

impl Broker {
    /// The address of the page that asks.
    #[expect(clippy::disallowed_methods, reason = "the person comes with the token, so it leads the way")]
    pub(super) fn confirmation_url(&self, confirmation: &Confirmation) -> String {
        format!("{}{PAGE}{}", self.settings.public_url, confirmation.token().expose_secret())
    }

    /// Returns the question. `Error::NotFound` when the connection has ended, or never was.
    pub async fn get_confirmation(&self, token: &SecretString) -> Result<Asked, Error> {
        let flow = match self.find_open(&parse(token)?, false).await? {
            Found::Open(flow) => *flow,
            Found::Late(late) => return Ok(Asked::Late(late)),
        };
        let (project, profile_id) = (flow.project_id, flow.profile_id);
        let (project_name, profile_name) = self
            .store
            .read(move |db| {
                Ok::<_, Error>((projects::find_name(db, project)?, profiles::find_name(db, project, profile_id)?))
            })
            .await?;
        let server = self.server_of(&flow)?;
        let configured = self.upstream.platforms().find(&flow.platform);
        let leads_to = configured.map(|of| platform_at(of, server.as_ref()).authorize_url.to_string());
        Ok(Asked::Open(Box::new(Question {
            label: self.label(&flow.platform),
            platform: flow.platform,
            project: project_name,
            profile_name,
            leads_to: leads_to.unwrap_or_default(),
            redirect_uri: self.checked_again(flow.redirect_uri),
            cancel_redirect_uri: self.checked_again(flow.cancel_redirect_uri),
        })))
    }

    /// Sends the person on to the platform. Where that fails, the connection ends, and the same is told when it is
    /// repeated.
    pub async fn continue_connect(&self, token: &SecretString) -> Result<Continued, Error> {
        let confirmation = parse(token)?;
        let flow = match self.find_open(&confirmation, false).await {
            Ok(Found::Open(flow)) => flow,
            Ok(Found::Late(late)) => return Ok(Continued::Ended(late)),
            Err(error @ Error::NotFound(What::Confirmation)) => {
                let ended = self.ended_here(&confirmation).await?;
                let has_failed = matches!(ended.ending, Ending::Failed { .. });
                return if has_failed { Ok(Continued::Ended(Box::new(ended))) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        let failure = match self.set_off(&confirmation, &flow).await {
            Ok(Some(on)) => return Ok(on),
            Ok(None) => Failure::AppMissing,
            Err(Error::PlatformUnreachable { failure, .. }) => failure,
            Err(error) => return Err(error),
        };
        let who_can_help = count_failure(failure, &flow.platform);
        tracing::warn!(
            flow.id = %flow.id, platform.name = %flow.platform, failure = failure.code(), who_can_help,
            "a person who continued cannot be sent to the platform"
        );
        match self.end_here(&flow, Outcome::failed(failure), None).await {
            // The same request twice, and the other one was faster.
            Ok(()) | Err(Error::NotFound(What::Confirmation)) => {
                Ok(Continued::Ended(Box::new(self.ended_here(&confirmation).await?)))
            }
            Err(error) => Err(error),
        }
    }

    /// The way to the platform; `None` where the platform or the OAuth app that began this connection is gone.
    async fn set_off(&self, confirmation: &Confirmation, flow: &Flow) -> Result<Option<Continued>, Error> {
        let Some(configured) = self.upstream.platforms().find(&flow.platform) else { return Ok(None) };
        self.ensure_discovered(configured).await?;
        let server = self.server_of(flow)?;
        let bound_to = BoundTo::from(flow).at(server.as_ref().map(Server::origin));
        if self.oauth_client(bound_to).await?.is_none() {
            return Ok(None);
        }
        let verifier = flow.stage.pkce_verifier();
        let verifier =
            verifier.map(|sealed| self.vault.open_text(&Place::flow_verifier(flow.id, flow), sealed)).transpose()?;
        let request = AuthorizeRequest {
            client_id: &flow.client_id,
            redirect_uri: &self.callback_url(&flow.platform, server.as_ref()),
            state: &confirmation.state(),
            scopes: &flow.scopes,
            pkce_verifier: verifier.as_ref(),
            nonce: &nonce(&flow.state),
        };
        let url = self.authorize_url(&platform_at(configured, server.as_ref()), BoundTo::from(flow), &request).await?;
        tracing::info!(flow.id = %flow.id, platform.name = %flow.platform, "a person continued to the platform");
        // A choice of accounts may follow, and the callback be loaded again after it.
        let lives = self.clock.now().until(flow.expires_at) + self.settings.selection_ttl;
        Ok(Some(Continued::ToPlatform { url: url.into(), cookie: confirmation.cookie(), lives }))
    }

    /// Ends the connection, before the platform was asked. The same answer when it is repeated.
    pub async fn decline_connect(&self, token: &SecretString, address: Option<IpAddr>) -> Result<Finished, Error> {
        let confirmation = parse(token)?;
        let ended = match self.find_open(&confirmation, true).await {
            Ok(Found::Late(late)) => return Ok(*late),
            Ok(Found::Open(flow)) => {
                let ended = self.end_here(&flow, Outcome::Cancelled, address).await;
                if ended.is_ok() {
                    tracing::info!(flow.id = %flow.id, platform.name = %flow.platform, "the person did not continue to the platform");
                }
                ended
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) | Err(Error::NotFound(What::Confirmation)) => self.ended_here(&confirmation).await,
            Err(error) => Err(error),
        }
    }

    /// Ends a flow whose person has not been at the platform.
    async fn end_here(&self, flow: &Flow, outcome: Outcome, address: Option<IpAddr>) -> Result<(), Error> {
        let (project, id, now) = (flow.project_id, flow.id, self.clock.now());
        let (entry, vault) = (flow.end_entry(flow.person(address), &outcome), self.vault.clone());
        let ended = self
            .store
            .write(move |tx| {
                let by = answer::not_confirmed();
                change_flow(tx, &vault, project, id, |flow| flow.consume(by, now)?.end(outcome))?;
                audit::record(tx, Some(project), &entry, now)
            })
            .await;
        Error::not_found_if_unchanged(ended, What::Confirmation)
    }

    /// The ending of a connection that ended here, before the platform was asked.
    async fn ended_here(&self, confirmation: &Confirmation) -> Result<Finished, Error> {
        let flow = self.find_flow_by_state(state_digest(&confirmation.state())).await?;
        let is_of_here = |flow: &Flow| flow.stage.consumed_by() == Some(answer::not_confirmed());
        self.finished(flow.filter(is_of_here).ok_or(Error::NotFound(What::Confirmation))?).await
    }

    async fn find_open(&self, confirmation: &Confirmation, is_denial: bool) -> Result<Found, Error> {
        let unknown = || Error::NotFound(What::Confirmation);
        let state = state_digest(&confirmation.state());
        let Some(flow) = self.find_flow_by_state(state).await? else {
            let late = self.find_late(state).await?.ok_or_else(unknown)?;
            return Ok(Found::Late(Box::new(self.late(late, is_denial))));
        };
        if flow.is_expired(self.clock.now()) {
            return Ok(Found::Late(Box::new(self.late(flow.into(), is_denial))));
        }
        let is_open = matches!((&flow.binding, &flow.stage), (Binding::Confirmed(_), FlowStage::Pending { .. }));
        if is_open { Ok(Found::Open(Box::new(flow))) } else { Err(unknown()) }
    }
}

#[expect(clippy::disallowed_methods, reason = "a token is read here, and goes on as a secret")]
fn parse(token: &SecretString) -> Result<Confirmation, Error> {
    Confirmation::from_token(token.expose_secret()).ok_or(Error::NotFound(What::Confirmation))
}
