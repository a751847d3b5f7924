//! Rows of flows and connect links that only the broker can write: each carries an authentication code, like
//! [access keys](super::key_rows), over all that decides who is handed the account.
//!
//! Otherwise who can write to the database, and has no keyring, could give a connection or a link to another project,
//! take a binding or a completion away, or bring a withdrawn link or a spent flow back. A row that the broker did not
//! write like this is like no row at all. Only rows that an earlier release left get their codes at the first start,
//! after which the data keys say that none do.
//!
//! Invariant: the use cases read and change flows and links through this file, but where they only end them.

use super::reseal::BATCH;
use super::{Broker, keyring};
use crate::domain::InvalidTransition;
use crate::domain::binding::Binding;
use crate::domain::flow::{Flow, FlowStage, Outcome};
use crate::domain::id::{FlowId, LinkId, ProjectId};
use crate::domain::link::Link;
use crate::domain::secret::{Digest256, RowMac};
use crate::domain::selection::Selection;
use crate::store::{self, Connection, Transaction, flows, links, selections};
use crate::vault::{self, Vault};

/// Flows of one transaction at the first start. A row takes about a kilobyte.
const FLOWS: u32 = 10_000;

impl Broker {
    /// Authenticates the rows that an earlier release left, and binds the data keys. To be called before the first
    /// request.
    pub(super) async fn authenticate_old_connections(&self) -> Result<(), keyring::Error> {
        if !self.vault.takes_old_connections() {
            return Ok(());
        }
        let (mut after, mut number) = (0, 0);
        loop {
            let vault = self.vault.clone();
            let work = move |tx: &Transaction<'_>| {
                let old = flows::list_unauthenticated(tx, after, FLOWS)?;
                for (_, flow) in &old {
                    flows::authenticate(tx, flow.project_id, flow.id, &flow_mac(&vault, flow)?)?;
                }
                Ok::<_, keyring::Error>((old.len(), old.last().map(|(rowid, _)| *rowid)))
            };
            let (done, last) = self.store.write(work).await?;
            number += done;
            let Some(last) = last else { break };
            after = last;
        }
        let vault = self.vault.clone();
        let work = move |tx: &Transaction<'_>| {
            let old: Vec<Link> = links::list_unrevoked(tx)?.into_iter().filter(|link| link.mac.is_none()).collect();
            old.iter().try_for_each(|link| authenticate_link(tx, &vault, link))?;
            Ok::<_, keyring::Error>(old.len())
        };
        let links = self.store.write(work).await?;
        if number + links > 0 {
            tracing::info!(
                flows = number,
                links,
                "authenticated the connections and links that an earlier release had made"
            );
        }
        // Where values of the first version are left, the running broker binds the keys later.
        if self.vault.takes_first_version() { Ok(()) } else { self.bind().await }
    }

    /// The flow with that state, if the broker wrote its row.
    pub(super) async fn find_flow_by_state(&self, state: Digest256) -> Result<Option<Flow>, store::Error> {
        let found = self.store.read(move |db| flows::find_by_state(db, &state)).await?;
        Ok(found.filter(|flow| is_own_flow(&self.vault, flow)))
    }

    /// The selection with that token, with its flow, if the broker wrote that one's row.
    pub(super) async fn find_selection_by_token(
        &self,
        token: Digest256,
    ) -> Result<Option<(Selection, Flow)>, store::Error> {
        let vault = self.vault.clone();
        self.store
            .read(move |db| {
                let Some(selection) = selections::find_by_token(db, &token)? else { return Ok(None) };
                let flow = find_flow(db, &vault, selection.project_id, selection.flow_id)?;
                Ok(flow.map(|flow| (selection, flow)))
            })
            .await
    }

    /// True when the broker wrote the link's row. Another process may have made it, with a new data key.
    pub(super) async fn is_own_link(&self, link: &Link) -> bool {
        if link.mac.is_some_and(|mac| mac.dek_id > self.vault.active_key()) {
            self.try_to_adopt_keys().await;
        }
        is_own_link(&self.vault, link)
    }
}

/// A flow of a project, if the broker wrote its row.
pub(super) fn find_flow(
    db: &Connection,
    vault: &Vault,
    project: ProjectId,
    id: FlowId,
) -> Result<Option<Flow>, store::Error> {
    Ok(flows::find(db, project, id)?.filter(|flow| is_own_flow(vault, flow)))
}

/// Lets `decide` change a flow, whose row gets the code of what it is then.
///
/// # Errors
///
/// [`store::Error::NotChanged`] when the flow is gone, the broker did not write its row, or `decide` refuses.
pub fn change_flow(
    tx: &Transaction<'_>,
    vault: &Vault,
    project: ProjectId,
    id: FlowId,
    decide: impl FnOnce(Flow) -> Result<Flow, InvalidTransition>,
) -> Result<(), store::Error> {
    flows::change(tx, project, id, |flow| {
        if !is_own_flow(vault, &flow) {
            return Err(InvalidTransition);
        }
        let flow = decide(flow)?;
        let mac = flow_mac(vault, &flow).map_err(|_| InvalidTransition)?;
        Ok(Flow { mac: Some(mac), ..flow })
    })
}

/// A link of a project, unless it is revoked or the broker did not write its row.
pub(super) fn find_link(
    db: &Connection,
    vault: &Vault,
    project: ProjectId,
    id: LinkId,
) -> Result<Option<Link>, store::Error> {
    let link = links::find(db, project, id)?.filter(|link| link.revoked_at.is_none());
    Ok(link.filter(|link| is_own_link(vault, link)))
}

/// True when the broker wrote the flow's row.
pub(super) fn is_own_flow(vault: &Vault, flow: &Flow) -> bool {
    let is_own = look_at_flow(vault, flow);
    if !is_own {
        tracing::warn!(
            flow.id = %flow.id, table = "flows",
            "refused a connection whose row the broker did not write like this: somebody changed the database, or the data \
             key of that time is retired. Run `postpeer doctor` to count such rows"
        );
    }
    is_own
}

/// True when the broker wrote the link's row. A revoked one has no code.
pub(super) fn is_own_link(vault: &Vault, link: &Link) -> bool {
    let is_own = look_at_link(vault, link);
    if !is_own {
        tracing::warn!(
            link.id = %link.id, table = "links",
            "refused a connect link whose row the broker did not write like this: somebody changed the database. Run \
             `postpeer doctor` to count such rows"
        );
    }
    is_own
}

/// Replaces up to a batch of links' codes that an older data key made. Returns how many it did, and how many are wrong
/// and stay.
pub(super) fn renew_batch(
    tx: &Transaction<'_>,
    vault: &Vault,
    active: u32,
    skip: u32,
) -> Result<(u64, u64), keyring::Error> {
    let (mut done, mut wrong) = (0, 0);
    for link in links::list_older(tx, active, skip, BATCH)? {
        if is_own_link(vault, &link) {
            authenticate_link(tx, vault, &link)?;
            done += 1;
        } else {
            wrong += 1;
        }
    }
    Ok((done, wrong))
}

/// Number of flows and of links whose rows the broker did not write, for `doctor`.
///
/// # Errors
///
/// The database cannot be read.
pub fn count_forged(db: &Connection, vault: &Vault) -> Result<(u64, u64), store::Error> {
    let flows = flows::count_that(db, |flow| !look_at_flow(vault, flow))?;
    let links = links::list_unrevoked(db)?.iter().filter(|link| !look_at_link(vault, link)).count();
    Ok((flows, links as u64))
}

/// The code of a flow's row.
pub(super) fn flow_mac(vault: &Vault, flow: &Flow) -> Result<RowMac, vault::Error> {
    vault.mac(&flow_parts(flow))
}

/// The code of a link's row.
pub(super) fn link_mac(vault: &Vault, link: &Link) -> Result<RowMac, vault::Error> {
    vault.mac(&link_parts(link))
}

fn authenticate_link(tx: &Transaction<'_>, vault: &Vault, link: &Link) -> Result<(), keyring::Error> {
    Ok(links::authenticate(tx, link.project_id, link.id, &link_mac(vault, link)?)?)
}

fn look_at_flow(vault: &Vault, flow: &Flow) -> bool {
    flow.mac.and_then(|mac| vault.is_authentic(&flow_parts(flow), &mac)) == Some(true)
}

fn look_at_link(vault: &Vault, link: &Link) -> bool {
    link.mac.and_then(|mac| vault.is_authentic(&link_parts(link), &mac)) == Some(true)
}

/// All that decides who is handed the account of a flow, and where its browser is sent. Verifier, server, answer and
/// consent are sealed for their row.
fn flow_parts(flow: &Flow) -> [Vec<u8>; 18] {
    let Flow { id, project_id, access_key_id, link_id, state, platform, app_id, client_id, server, .. } = flow;
    let Flow { profile_id, reconnects, binding, needs_completion, redirect_uri, cancel_redirect_uri, .. } = flow;
    let bound_to = match binding {
        Binding::App(digest) => [&b"app"[..], digest.as_bytes()].concat(),
        Binding::Confirmed(digest) => [&b"confirmed"[..], digest.as_bytes()].concat(),
        Binding::None => Vec::new(),
    };
    let stage: &[u8] = match &flow.stage {
        FlowStage::Pending { .. } => b"pending",
        FlowStage::Ended { outcome: Outcome::CompletionRequired, .. } => b"waits for its caller",
        FlowStage::Answered { .. } | FlowStage::Consumed { .. } | FlowStage::Ended { .. } => b"spent",
    };
    [
        b"flows".to_vec(),
        id.to_string().into_bytes(),
        project_id.to_string().into_bytes(),
        text(access_key_id.as_ref()),
        text(link_id.as_ref()),
        state.as_bytes().to_vec(),
        platform.clone().into_bytes(),
        text(app_id.as_ref()),
        client_id.clone().into_bytes(),
        vec![u8::from(server.is_some())],
        text(profile_id.as_ref()),
        text(reconnects.as_ref()),
        bound_to,
        vec![u8::from(*needs_completion)],
        text(redirect_uri.as_ref()),
        text(cancel_redirect_uri.as_ref()),
        flow.expires_at.as_millis().to_string().into_bytes(),
        stage.to_vec(),
    ]
}

/// All that decides for whom a link connects accounts. What was connected through it decides nothing.
fn link_parts(link: &Link) -> [Vec<u8>; 9] {
    let Link { id, project_id, access_key_id, token, profile_id, platforms, redirect_uri, expires_at, .. } = link;
    [
        b"links".to_vec(),
        id.to_string().into_bytes(),
        project_id.to_string().into_bytes(),
        text(access_key_id.as_ref()),
        text(profile_id.as_ref()),
        token.as_bytes().to_vec(),
        platforms.join(",").into_bytes(),
        text(redirect_uri.as_ref()),
        expires_at.as_millis().to_string().into_bytes(),
    ]
}

/// Empty where there is nothing: no id is empty, and no redirect.
fn text(value: Option<&impl ToString>) -> Vec<u8> {
    value.map(ToString::to_string).unwrap_or_default().into_bytes()
}
