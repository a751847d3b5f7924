//! Connect links, for whoever has one: see what can be connected and how it is doing, set out for a platform, come
//! back.
//!
//! Looking changes nothing, and a link may be opened any number of times until it ends. A connection that is begun on
//! the link's page ends only in the browser that set out from it: it gets a cookie, as on the page that [asks
//! first](super::confirmation). Whoever has a link sees the accounts of the link's profile at the link's platforms, or,
//! without a profile, what was connected through the link; and may connect those again.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::begin::{BeginConnect, Way};
use super::bluesky::ConnectBluesky;
use super::connection_rows::find_link;
use super::error::What;
use super::finished::Finished;
use super::selection::token_digest;
use super::{Broker, Caller, Error};
use crate::domain::access_key::Scope;
use crate::domain::audit::Actor;
use crate::domain::binding::LinkCookie;
use crate::domain::budget::Cost;
use crate::domain::flow::Flow;
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::{IntegrationDetail, IntegrationFilter, PlatformFilter};
use crate::domain::link::{CONNECTED_MAX, Link, LinkStatus};
use crate::domain::paging::Window;
use crate::domain::redirect::RedirectUri;
use crate::domain::secret::Digest256;
use crate::store::{self, Connection, audit, integrations, links, profiles, projects};
use crate::upstream::platform_at;

/// Most accounts that the page shows, newest first.
const SHOWN: Window = Window { limit: 100, offset: 0 };

/// Contents of the page of a link.
#[derive(Debug)]
pub struct OpenLink {
    pub project_id: ProjectId,
    pub project: Option<String>,
    pub profile_name: Option<String>,
    pub offers: Vec<Offer>,
    /// Those of the accounts that were connected through the link.
    pub connected: Vec<IntegrationId>,
    pub redirect_uri: Option<RedirectUri>,
}

/// A platform that can be connected through a link.
#[derive(Debug)]
pub struct Offer {
    pub platform: String,
    /// The platform's name for people.
    pub label: String,
    /// Origin of its consent page; `None` where the person gives an app password, or names a server.
    pub leads_to: Option<String>,
    pub how: How,
    /// The accounts that are connected there.
    pub accounts: Vec<IntegrationDetail>,
}

/// How a platform is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With a handle and an app password.
    AppPassword,
    /// At the platform.
    Redirect,
    /// At a server that the person names.
    Server,
}

/// A way to the platform. Not for logs: URL and cookie are secret.
pub struct SetOut {
    pub url: String,
    /// Name and value of the cookie that the browser must come back with.
    pub cookie: (String, String),
    /// How long the cookie is needed.
    pub lives: Duration,
}

/// The account that whoever has a link wants to connect.
#[derive(Debug, Default)]
pub struct Wish {
    pub platform: String,
    /// The server of the account, where the platform is many servers.
    pub server: Option<String>,
    /// The account to connect again, one of those that the page shows.
    pub reconnect: Option<String>,
    /// The client's address, for the audit trail.
    pub address: Option<IpAddr>,
    /// The same for limits, where it is one client's.
    pub limited: Option<IpAddr>,
}

impl Broker {
    /// Finds the contents of the page of a link. [`Error::LinkEnded`] when it has ended, [`Error::NotFound`] when it
    /// never was, or ended long ago.
    pub async fn open_link(&self, token: &SecretString) -> Result<OpenLink, Error> {
        let link = self.find_link(token).await?;
        let (read, now) = (link.clone(), self.clock.now());
        let (project, profile_name, accounts) = self
            .store
            .read(move |db| {
                let profile = profiles::find_name(db, read.project_id, read.profile_id)?;
                let accounts = accounts(db, &read)?;
                Ok::<_, Error>((projects::find_name(db, read.project_id)?, profile, accounts))
            })
            .await?;
        let judge = |it: IntegrationDetail| IntegrationDetail { integration: it.integration.judged(now), ..it };
        let mut accounts: Vec<IntegrationDetail> = accounts.into_iter().map(judge).collect();
        let ids = accounts.iter().map(|it| it.integration.id);
        let connected = ids.filter(|id| link.connected.contains(id)).collect();
        let mut offers = Vec::new();
        for platform in &link.platforms {
            // It may have been switched off since.
            let Some((how, leads_to)) = self.how_to_connect(platform) else { continue };
            let (here, others) = accounts.into_iter().partition(|it| it.integration.platform == *platform);
            accounts = others;
            let (platform, label) = (platform.clone(), self.label(platform));
            offers.push(Offer { platform, label, leads_to, how, accounts: here });
        }
        let redirect_uri = self.checked_again(link.redirect_uri);
        let project_id = link.project_id;
        Ok(OpenLink { project_id, project, profile_name, offers, connected, redirect_uri })
    }

    /// How a connection ended that was begun through this link. `None` for any other, and once its flow is purged.
    pub async fn find_result_of_link(&self, token: &SecretString, ticket: &str) -> Option<Finished> {
        let finished = self.find_result(ticket).await.ok()?;
        Some(finished).filter(|finished| finished.link == Some(token_digest(token)))
    }

    /// Begins a connection on the page of a link.
    pub async fn set_out(&self, token: &SecretString, wish: Wish) -> Result<SetOut, Error> {
        let (link, reconnect) = self.find_wish(token, &wish).await?;
        let caller = of_link(&link, wish.address);
        self.spend(Cost::Starts, Some(&caller), wish.limited).await?;
        let cookie = LinkCookie::new(token, &*self.entropy);
        let wanted = BeginConnect {
            platform: wish.platform,
            profile_id: link.profile_id.map(|id| id.to_string()),
            server: wish.server,
            reconnect,
            ..BeginConnect::default()
        };
        let url = self.begin(&caller, wanted, Way::Straight(cookie.binding())).await?.url;
        // A choice of accounts may follow, and the callback be loaded again after it.
        let lives = self.settings.state_ttl + self.settings.selection_ttl;
        Ok(SetOut { url, cookie: cookie.into_parts(), lives })
    }

    /// Connects a Bluesky account on the page of a link. Returns its id.
    pub async fn connect_bluesky_by_link(
        &self,
        token: &SecretString,
        wish: Wish,
        (identifier, password): (String, SecretString),
    ) -> Result<IntegrationId, Error> {
        let (link, reconnect) = self.find_wish(token, &wish).await?;
        let caller = of_link(&link, wish.address);
        self.spend(Cost::Bluesky, Some(&caller), wish.limited).await?;
        let wanted = ConnectBluesky {
            identifier,
            password,
            redirect_uri: None,
            cancel_redirect_uri: None,
            profile_id: link.profile_id.map(|id| id.to_string()),
            app_id: None,
            reconnect,
        };
        Ok(self.connect_bluesky(&caller, wanted).await?.integration.id)
    }

    /// Where a person goes who is done with a link: to its redirect, which is told what was connected. `None`: to a
    /// page of the broker.
    pub async fn leave_link(&self, token: &SecretString) -> Result<Option<String>, Error> {
        let link = self.find_link(token).await?;
        let Some(uri) = self.checked_again(link.redirect_uri.clone()) else { return Ok(None) };
        let (project, id, remembered) = (link.project_id, link.id, link.connected);
        // A full link has forgotten the first ones. The audit trail has not, unless it is kept for less time.
        let is_full = remembered.len() >= CONNECTED_MAX as usize;
        let find = move |db: &Connection| {
            let mut ids = if is_full { audit::list_connected_through(db, project, id)? } else { Vec::new() };
            let known: HashSet<IntegrationId> = ids.iter().copied().collect();
            ids.extend(remembered.into_iter().filter(|id| !known.contains(id)));
            let found = ids.iter().map(|id| integrations::find(db, project, *id));
            Ok::<_, store::Error>(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>())
        };
        let connected =
            if is_full { self.store.read_long_for(project, find).await? } else { self.store.read(find).await? };
        let is_connected = |name: &&String| connected.iter().any(|it| it.platform == **name);
        let platforms: Vec<String> = link.platforms.iter().filter(is_connected).cloned().collect();
        let ids: Vec<String> = connected.iter().map(|it| it.id.to_string()).collect();
        let profile = link.profile_id.map(|id| id.to_string());
        Ok(Some(if ids.is_empty() {
            uri.with(&[("status", "cancelled"), ("error", "access_denied")])
        } else {
            super::finished::after_success(&uri, &platforms.join(","), profile.as_deref(), &ids)
        }))
    }

    /// Fails when the link that a flow was begun through was revoked since.
    pub(super) async fn ensure_link_of(&self, flow: &Flow) -> Result<(), Error> {
        let Some(id) = flow.link_id else { return Ok(()) };
        let (project, vault) = (flow.project_id, self.vault.clone());
        let link = self.store.read(move |db| find_link(db, &vault, project, id)).await?;
        link.map(drop).ok_or(Error::LinkEnded(LinkStatus::Revoked))
    }

    /// Digest of the token of the link that a flow was begun through.
    pub(super) async fn link_of(&self, flow: &Flow) -> Result<Option<Digest256>, Error> {
        let Some(id) = flow.link_id else { return Ok(None) };
        let project = flow.project_id;
        Ok(self.store.read(move |db| links::find(db, project, id)).await?.map(|link| link.token))
    }

    /// The link with this token, while it works.
    async fn find_link(&self, token: &SecretString) -> Result<Link, Error> {
        let digest = token_digest(token);
        let link = self.store.read(move |db| links::find_by_token(db, &digest)).await?;
        let link = link.ok_or(Error::NotFound(What::Link))?;
        let now = self.clock.now();
        if !link.works(now) {
            return Err(Error::LinkEnded(link.status(now)));
        }
        if self.is_own_link(&link).await { Ok(link) } else { Err(Error::NotFound(What::Link)) }
    }

    /// The link, if what is wished for is on its page; with the account to connect again.
    async fn find_wish(&self, token: &SecretString, wish: &Wish) -> Result<(Link, Option<String>), Error> {
        let link = self.find_link(token).await?;
        if !link.platforms.contains(&wish.platform) {
            return Err(Error::PlatformUnavailable(format!("The link is for {} only", link.platforms.join(", "))));
        }
        let Some(id) = &wish.reconnect else { return Ok((link, None)) };
        let id = super::integrations::parse(id)?;
        let read = link.clone();
        let shown = self.store.read(move |db| accounts(db, &read)).await?;
        let found = shown.iter().any(|it| it.integration.id == id && it.integration.platform == wish.platform);
        if found { Ok((link, Some(id.to_string()))) } else { Err(Error::NotFound(What::Integration)) }
    }

    /// How a platform is connected, and the origin of its consent page. `None` where it cannot be connected now.
    fn how_to_connect(&self, name: &str) -> Option<(How, Option<String>)> {
        let listed = self.list_platforms(&PlatformFilter::One(name.to_owned())).into_iter().next()?;
        match self.upstream.platforms().find(name) {
            _ if !listed.is_configured => None,
            None => Some((How::AppPassword, None)),
            Some(platform) if platform.has_servers() => Some((How::Server, None)),
            Some(platform) => Some((How::Redirect, Some(platform_at(platform, None).authorize_url.to_string()))),
        }
    }
}

/// Whoever has the link. They connect accounts for the link's profile, and nothing else.
fn of_link(link: &Link, address: Option<IpAddr>) -> Caller {
    Caller {
        actor: Actor::Link,
        access_key_id: link.access_key_id,
        link_id: Some(link.id),
        project_id: link.project_id,
        profile_id: link.profile_id,
        scopes: vec![Scope::Connect],
        address,
    }
}

/// The accounts that the page of a link shows, at its platforms.
fn accounts(db: &Connection, link: &Link) -> Result<Vec<IntegrationDetail>, store::Error> {
    let ids: Vec<IntegrationId> = match link.profile_id {
        None => link.connected.iter().rev().take(SHOWN.limit as usize).copied().collect(),
        Some(profile) => {
            let platforms = PlatformFilter::All;
            let filter =
                IntegrationFilter { platforms, profile_id: Some(Some(profile)), ..IntegrationFilter::default() };
            let listed = integrations::list(db, link.project_id, &filter, &[], SHOWN)?;
            listed.items.into_iter().map(|it| it.id).collect()
        }
    };
    let mut accounts = Vec::new();
    for id in ids {
        let found = integrations::find_detail(db, link.project_id, id)?;
        let is_shown = |it: &IntegrationDetail| {
            it.integration.profile_id == link.profile_id && link.platforms.contains(&it.integration.platform)
        };
        accounts.extend(found.filter(is_shown));
    }
    Ok(accounts)
}
