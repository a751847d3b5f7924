//! Shows once more how a connection ended, at an address that holds neither code nor state, and tries it again.
//!
//! The ticket in that address is made of two digests: of the state, by which the flow is found, and of what the
//! callback carried, which whoever began the connection does not know. Neither can be turned back into a state or a
//! code, and the ticket works only until the flow is purged, some minutes later. Invariant: a ticket shows and repeats
//! what its connection did, and nothing else.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::begin::BeginConnect;
use super::error::What;
use super::finished::{Ending, Finished};
use super::{Broker, Caller, Error};
use crate::domain::access_key::Scope;
use crate::domain::audit::Actor;
use crate::domain::binding::Binding;
use crate::domain::budget::Cost;
use crate::domain::flow::{Flow, Outcome};
use crate::domain::secret::Digest256;
use crate::store::access_keys;

/// Length of each digest, in bytes.
const DIGEST: usize = 32;

/// The outcome of another attempt. Not for logs: the URL is secret.
pub enum Retried {
    /// Where to send the person.
    Begun(String),
    /// The platform did not take the request, so that nothing was begun.
    Failed(Box<Finished>),
}

/// The ticket of an ended connection.
pub(super) fn ticket(flow: &Flow) -> Option<String> {
    flow.stage.outcome()?;
    let proof = proof(flow)?;
    Some(URL_SAFE_NO_PAD.encode([flow.state.as_bytes(), proof.as_bytes()].concat()))
}

/// Digest of what the callback carried.
fn proof(flow: &Flow) -> Option<Digest256> {
    let by = flow.stage.consumed_by()?;
    Some(Digest256::of(&[&b"result"[..], flow.state.as_bytes(), by.as_bytes()].concat()))
}

impl Broker {
    /// How the connection ended. `Error::NotFound` when its flow is purged, or the ticket is not one.
    pub async fn find_result(&self, ticket: &str) -> Result<Finished, Error> {
        let flow = self.find_ended(ticket).await?;
        self.finished(flow).await
    }

    /// Begins a failed or cancelled connection again, as its caller began it.
    ///
    /// `Error::NotFound` also when the caller's key was revoked or expired meanwhile.
    /// `limited`: the address that limits count.
    pub async fn retry_connect(
        &self,
        ticket: &str,
        address: Option<IpAddr>,
        limited: Option<IpAddr>,
    ) -> Result<Retried, Error> {
        let flow = self.find_ended(ticket).await?;
        if !may_retry(&flow) {
            return Err(Error::NotFound(What::Result));
        }
        let mut profile_id = None;
        if let Some(id) = flow.access_key_id {
            let (project, now) = (flow.project_id, self.clock.now());
            let found = self.store.read(move |db| access_keys::find(db, project, id)).await?;
            let found = found.ok_or(Error::NotFound(What::Result))?;
            if !self.is_authentic(&found).await? {
                return Err(Error::NotFound(What::Result));
            }
            let limits = Some(found.key.limits).filter(|limits| limits.may_still(Scope::Connect, now));
            profile_id = limits.ok_or(Error::NotFound(What::Result))?.profile_id;
        }
        let caller = Caller {
            actor: Actor::Person,
            access_key_id: flow.access_key_id,
            link_id: None,
            project_id: flow.project_id,
            profile_id,
            scopes: vec![Scope::Connect],
            address,
        };
        let ended = flow.clone();
        let server = self.server_of(&flow)?.map(|server| server.origin().to_owned());
        let wanted = BeginConnect {
            platform: flow.platform,
            redirect_uri: flow.redirect_uri,
            cancel_redirect_uri: flow.cancel_redirect_uri,
            headless: flow.headless,
            // An account that is to come back may have been moved meanwhile.
            profile_id: flow.profile_id.filter(|_| flow.reconnects.is_none()).map(|id| id.to_string()),
            app_id: flow.app_id.map(|id| id.to_string()),
            scopes: Some(flow.scopes).filter(|scopes| !scopes.is_empty()),
            server,
            reconnect: flow.reconnects.map(|id| id.to_string()),
            binding_hash: flow.binding.app_hash(),
            asks_first: matches!(flow.binding, Binding::Confirmed(_)),
            completion: flow.needs_completion,
        };
        self.spend(Cost::Starts, Some(&caller), limited).await?;
        match self.begin_connect(&caller, wanted).await {
            Ok(begun) => Ok(Retried::Begun(begun.url)),
            Err(Error::PlatformUnreachable { failure, .. }) => {
                // The log tells of it under the id of this request: there is no other connection.
                let (flow_id, ending) = (None, Ending::Failed { failure, findings: None });
                Ok(Retried::Failed(Box::new(Finished { flow_id, ending, ..self.finished(ended).await? })))
            }
            Err(error) => Err(error),
        }
    }

    async fn find_ended(&self, ticket: &str) -> Result<Flow, Error> {
        let unknown = || Error::NotFound(What::Result);
        let bytes = URL_SAFE_NO_PAD.decode(ticket).map_err(|_| unknown())?;
        let (state, given) = bytes.split_at_checked(DIGEST).ok_or_else(unknown)?;
        let state = Digest256::from_stored(state).ok_or_else(unknown)?;
        let given = Digest256::from_stored(given).ok_or_else(unknown)?;
        let flow = self.find_flow_by_state(state).await?.ok_or_else(unknown)?;
        let flow = self.unrecorded.ended(flow);
        if flow.stage.outcome().is_some() && proof(&flow) == Some(given) { Ok(flow) } else { Err(unknown()) }
    }
}

/// True when a connection ended without an account, so that the same may be tried again. Not where its caller completes
/// it: the caller would not know the new flow. One that was begun through a link is tried again on the link's page.
pub(super) fn may_retry(flow: &Flow) -> bool {
    let is_tried_elsewhere = flow.needs_completion || flow.link_id.is_some();
    !is_tried_elsewhere && matches!(flow.stage.outcome(), Some(Outcome::Cancelled | Outcome::Failed { .. }))
}
