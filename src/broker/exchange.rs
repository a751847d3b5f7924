//! Exchanges an authorization code: consumes the state, asks for tokens, and finds out who connected.
//!
//! One account is connected straight away. Several are offered to the person to [choose](super::selection) from, unless
//! one of them is to be [reconnected](super::reconnect): then it alone is connected. With `completion=true`, either waits
//! until its caller [completes](super::completion) the connection. None is a failure that says where accounts were
//! looked for.
//!
//! Runs on the work runtime, once per flow, in an order that matters. The state is consumed before the platform is
//! asked, so a replay finds nothing. The platform's answer is sealed and committed before anybody reads it, so a
//! broker that dies continues from there. Tokens that cannot be kept are [revoked](super::revocation) where that
//! reaches nobody else, once the connection has [ended](super::ending).

use super::answer::Answer;
use super::clients::BoundTo;
use super::connection_rows::change_flow;
use super::ending::Unkept;
use super::error::What;
use super::record::{Chosen, Under};
use super::{Broker, Error, apps};
use crate::domain::audit::By;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, FlowStage, Outcome, nonce};
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::platform_error::PlatformError;
use crate::domain::secret::{Digest256, SecretString};
use crate::domain::selection::Consent;
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::store::{self, Transaction};
use crate::upstream::{CodeAnswer, CodeExchange, OauthClient, Server};
use crate::vault::Place;

impl Broker {
    /// Finishes a flow, unless another callback has consumed it. The outcome is in the flow's row.
    pub(super) async fn exchange(&self, flow: Flow, answer: Answer, fingerprint: Digest256, by: By) {
        let (id, project, now) = (flow.id, flow.project_id, self.clock.now());
        if let Err(error) = self.store.ensure_reserve().await {
            tracing::error!(
                flow.id = %id, error = %chain(&error),
                "the platform's answer could not be kept, so the platform was not asked"
            );
            return;
        }
        let vault = self.vault.clone();
        let consume =
            move |tx: &Transaction<'_>| change_flow(tx, &vault, project, id, |flow| flow.consume(fingerprint, now));
        match self.store.write(consume).await {
            Ok(()) => {}
            Err(store::Error::NotChanged) => return,
            Err(error) => {
                tracing::error!(
                    flow.id = %id, error = %chain(&error),
                    "cannot consume the state, so the platform was not asked"
                );
                return;
            }
        }
        failpoint::reach("connect_consumed");
        let result = match answer {
            Answer::Code(code) => self.connect_accounts(&flow, &code, by).await,
            Answer::Denied => Err(Outcome::Cancelled),
            Answer::Refused(refusal) => {
                tracing::warn!(
                    flow.id = %flow.id, platform.name = %flow.platform, platform.code = refusal.code,
                    platform.number = refusal.number, failure = refusal.means.code(),
                    next_step = %self.next_step(refusal.means, &flow.platform),
                    "the platform refused the authorization"
                );
                self.doubt_app_of_flow(&flow, refusal.code.as_deref()).await;
                Err(Outcome::failed(refusal.means))
            }
            Answer::Unusable(reason) => {
                tracing::warn!(
                    flow.id = %flow.id, platform.name = %flow.platform, reason = &*reason,
                    "the platform's answer cannot be used, so the connection ends"
                );
                Err(Outcome::failed(Failure::PlatformAnswerUnreadable))
            }
        };
        if let Err(outcome) = result {
            self.end(&flow, outcome, by, None).await;
        }
    }

    /// Continues a connection that was cut off after its code was exchanged. False when no answer was stored.
    pub(super) async fn resume(&self, flow: Flow) -> bool {
        let FlowStage::Answered { answer, asked_at, .. } = &flow.stage else { return false };
        let by = flow.person(None);
        let result = match self.vault.open_answer(&Place::flow_answer(flow.id, &flow), answer) {
            Ok(answer) => match self.app(&flow).await {
                Ok(client) => self.connect_issued(&flow, &client, (&answer, *asked_at), by, true).await,
                Err(outcome) => Err(outcome),
            },
            Err(error) => Err(internal(&flow, "cannot open a stored answer", &error.into())),
        };
        if let Err(outcome) = result {
            self.end(&flow, outcome, by, None).await;
        }
        true
    }

    /// The app that the flow began with, or the flow's outcome without it.
    async fn app(&self, flow: &Flow) -> Result<OauthClient<'_>, Outcome> {
        let server = self.server_of(flow);
        let server = server.map_err(|error| internal(flow, "the flow's server cannot be read", &error))?;
        let client = self
            .oauth_client(BoundTo::from(flow).at(server.as_ref().map(Server::origin)))
            .await
            .map_err(|error| internal(flow, "the app's credentials cannot be read", &error))?;
        client.ok_or_else(|| {
            tracing::warn!(flow.id = %flow.id, platform.name = %flow.platform, "the OAuth app that began this connection is gone");
            Outcome::failed(Failure::AppMissing)
        })
    }

    /// Exchanges the code and connects or offers the accounts. `Err` is an outcome that is still to be recorded.
    async fn connect_accounts(&self, flow: &Flow, code: &SecretString, by: By) -> Result<(), Outcome> {
        let verifier = flow
            .stage
            .pkce_verifier()
            .map(|sealed| self.vault.open_text(&Place::flow_verifier(flow.id, flow), sealed))
            .transpose()
            .map_err(|error| internal(flow, "cannot open the PKCE verifier", &error.into()))?;
        let client = self.app(flow).await?;
        let server = self.server_of(flow).map_err(|error| internal(flow, "cannot open the server's name", &error))?;
        let callback_url = self.callback_url(&flow.platform, server.as_ref());
        let exchange = CodeExchange { code, redirect_uri: &callback_url, pkce_verifier: verifier.as_ref() };
        let CodeAnswer { body, sent_at } = match client.send_code(&exchange).await {
            Ok(answer) => answer,
            Err(error) => {
                self.report(flow, &error);
                self.doubt_app_of_flow(flow, error.code.as_deref()).await;
                return Err(Outcome::failed(error.of_connection()));
            }
        };
        failpoint::reach("connect_answered");
        let is_stored = self.keep_exchange(flow, &body, sent_at).await;
        failpoint::reach("connect_answer_kept");
        self.connect_issued(flow, &client, (&body, sent_at), by, is_stored).await
    }

    /// Seals and commits the answer as it came, so that the next start can continue from here. True when it is, or may
    /// be, stored.
    async fn keep_exchange(&self, flow: &Flow, answer: &[u8], asked_at: Timestamp) -> bool {
        let (id, project) = (flow.id, flow.project_id);
        let kept = match self.vault.seal_answer(&Place::flow_answer(id, flow), answer) {
            Ok(sealed) => {
                let vault = self.vault.clone();
                let keep = move |tx: &Transaction<'_>| {
                    change_flow(tx, &vault, project, id, |flow| flow.store_answer(sealed.clone(), asked_at))
                };
                self.store.write_kept(keep).await.map_err(Error::from)
            }
            Err(error) => Err(error.into()),
        };
        let Err(error) = kept else { return true };
        if is_gone(&error) {
            tracing::info!(flow.id = %id, "the connection was deleted meanwhile, as with its project: the answer is not stored");
            return false;
        }
        tracing::error!(flow.id = %id, error = %chain(&error), "cannot store a platform's answer before it is read");
        error.is_in_doubt()
    }

    /// Everything after the platform answered the code exchange.
    async fn connect_issued(
        &self,
        flow: &Flow,
        client: &OauthClient<'_>,
        (answer, asked_at): (&[u8], Timestamp),
        by: By,
        is_stored: bool,
    ) -> Result<(), Outcome> {
        let mut issued = match client.finish_exchange(answer, asked_at).await {
            Ok(issued) => issued,
            Err(error) => {
                self.report(flow, &error);
                // Tokens that came, and could not be exchanged for long-lived ones.
                let Some(issued) = client.issued_in(answer, asked_at) else {
                    return Err(Outcome::failed(error.of_connection()));
                };
                let unkept = Unkept { client, tokens: &issued.tokens, subject: None, is_stored };
                self.end(flow, Outcome::failed(error.of_connection()), by, Some(unkept)).await;
                return Ok(());
            }
        };
        issued.scopes.get_or_insert_with(|| flow.scopes.clone());
        let identity = match client.identify(&issued, &nonce(&flow.state)).await {
            Ok(identity) => identity,
            Err(error) => {
                self.report(flow, &error);
                let unkept = Unkept { client, tokens: &issued.tokens, subject: None, is_stored };
                self.end(flow, Outcome::failed(error.of_connection()), by, Some(unkept)).await;
                return Ok(());
            }
        };
        failpoint::reach("connect_identified");

        let consent = Consent::new(issued, identity);
        let (tokens, subject) = (&consent.issued.tokens, Some(consent.identity.subject.as_str()));
        let unkept = Unkept { client, tokens, subject, is_stored };
        let stored = match consent.identity.accounts.len() {
            0 => {
                let outcome = Outcome::Failed { failure: Failure::NoAccount, findings: Some(consent.findings()) };
                self.end(flow, outcome, by, Some(unkept)).await;
                return Ok(());
            }
            _ if flow.needs_completion => self.await_completion(flow, &consent, asked_at, by).await,
            1 => self.keep(flow, &consent, by).await,
            _ if flow.reconnects.is_some() => self.keep(flow, &consent, by).await,
            _ => self.await_choice(flow, &consent, by).await,
        };
        if let Err(error) = stored {
            let unkept = Unkept { is_stored: is_stored || error.is_in_doubt(), ..unkept };
            let outcome = match error {
                Error::AccountMismatch => self.not_brought_back(flow, &consent).await,
                Error::LinkEnded(_) => Outcome::failed(Failure::FlowExpired),
                Error::NotFound(What::App) => Outcome::failed(Failure::AppMissing),
                error => internal(flow, "cannot store the connection", &error),
            };
            self.end(flow, outcome, by, Some(unkept)).await;
            return Ok(());
        }
        failpoint::reach("connect_stored");
        Ok(())
    }

    /// Stores grant, integrations and the flow's outcome in one transaction.
    async fn keep(&self, flow: &Flow, consent: &Consent, by: By) -> Result<(), Error> {
        let (broker, flow, consent, now) = (self.clone(), flow.clone(), consent.clone(), self.clock.now());
        let current = consent.issued.tokens.clone();
        let stored = self
            .store
            .write_kept(move |tx| {
                ensure_app_of(tx, flow.project_id, flow.app_id)?;
                let (under, chosen) = (Under::of(&flow, by), Chosen::of(flow.reconnects));
                let stored = broker.record_connection(tx, &under, &consent, &chosen, now)?;
                let connected =
                    Outcome::connected(&stored.connected, consent.missing().filter(|_| flow.reconnects.is_none()));
                change_flow(tx, &broker.vault, flow.project_id, flow.id, |flow| flow.end(connected))?;
                failpoint::reach("connect_storing");
                Ok::<_, Error>(stored)
            })
            .await?;
        self.connected(stored, current);
        Ok(())
    }
}

/// Fails where the app that a connection began under was deleted: without its secret, the tokens can be neither refreshed
/// nor revoked.
pub(super) fn ensure_app_of(db: &Transaction<'_>, project: ProjectId, app: Option<OauthAppId>) -> Result<(), Error> {
    app.map_or(Ok(()), |id| apps::get(db, project, id).map(drop))
}

impl Broker {
    fn report(&self, flow: &Flow, error: &PlatformError) {
        let console = self.console(&flow.platform);
        tracing::warn!(
            flow.id = %flow.id, error = %chain(error), who_can_help = error.who_can_help(error.of_connection()).code(),
            next_step = %error.next_step(console), "connection failed"
        );
    }

    /// Revokes a consent whose accounts are not connected, unless that would reach others.
    pub(super) async fn give_back_consent(&self, flow: &Flow, consent: &Consent) {
        let subject = Some(consent.identity.subject.as_str());
        self.revocation.give_back(flow, None, subject, &consent.issued.tokens).await;
    }
}

/// True when the flow, or what it belongs to, was deleted since it was read.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Store(store::Error::NotChanged | store::Error::Orphan(_)))
}

/// A failure of ours, which only the log explains.
fn internal(flow: &Flow, what: &'static str, error: &Error) -> Outcome {
    if is_gone(error) {
        tracing::info!(flow.id = %flow.id, "{what}: it, or what it belongs to, was deleted meanwhile");
        return Outcome::failed(Failure::FlowExpired);
    }
    tracing::error!(flow.id = %flow.id, error = %chain(error), "{what}");
    Outcome::failed(Failure::StorageFailed)
}
