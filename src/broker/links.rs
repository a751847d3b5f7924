//! Connect links, for their makers: make one, see what became of it, revoke it. `link_page` has what whoever has one
//! can do.
//!
//! The token is in the link's address, which is told once. It is stored as a digest. A link ends with its key and with
//! its profile.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::connection_rows::{is_own_link, link_mac};
use super::error::What;
use super::{Broker, Caller, Error, profiles};
use crate::domain::audit::{Action, Entry};
use crate::domain::id::LinkId;
use crate::domain::integration::{Integration, PlatformFilter};
use crate::domain::link::{LIFE_DEFAULT, LIFE_MAX, LIFE_MIN, Link, LinkStatus};
use crate::domain::secret::{SecretString, random_token};
use crate::store::{access_keys, audit, integrations, links};

use super::selection::token_digest;

/// Path of a link's page; its token follows.
pub(super) const PAGE: &str = "/connect/link/";

/// Most links of a project, at up to 12 kB each.
const MOST: u64 = 20_000;

/// Retry-After when there are that many. The shortest-lived may have expired by then.
const TOO_MANY_RETRY_AFTER: Duration = Duration::from_mins(1);

/// A caller's request for a link.
#[derive(Debug, Clone, Default)]
pub struct NewLink {
    pub profile_id: Option<String>,
    /// Names of platforms; `None`: all that can be connected now.
    pub platforms: Option<Vec<String>>,
    pub redirect_uri: Option<String>,
    /// `None`: a day.
    pub life: Option<Duration>,
}

/// A link and what became of it.
#[derive(Debug)]
pub struct LinkState {
    pub link: Link,
    pub status: LinkStatus,
    /// Those of the latest [`CONNECTED_MAX`](crate::domain::link::CONNECTED_MAX) accounts that still are connected.
    pub integrations: Vec<Integration>,
}

impl Broker {
    /// Makes a link. Returns it as stored, and its address, which is never shown again.
    pub async fn create_link(&self, caller: &Caller, wanted: NewLink) -> Result<(Link, SecretString), Error> {
        let profile_id = caller.profile_to_connect(wanted.profile_id.as_deref())?;
        let platforms = self.platforms_of_link(wanted.platforms)?;
        let profile = profile_id.map(|id| id.to_string());
        for platform in &platforms {
            self.check_redirect("redirectUri", wanted.redirect_uri.as_deref(), platform, profile.as_deref())?;
        }
        let life = wanted.life.unwrap_or(LIFE_DEFAULT);
        if !(LIFE_MIN..=LIFE_MAX).contains(&life) {
            let (least, most) = (LIFE_MIN.as_secs(), LIFE_MAX.as_secs());
            return Err(Error::Invalid(format!("expiresInSeconds must be a whole number from {least} to {most}")));
        }
        let (token, now) = (random_token(&*self.entropy), self.clock.now());
        let mut link = Link {
            id: self.ids.next(),
            project_id: caller.project_id,
            access_key_id: caller.access_key_id,
            token: token_digest(&token),
            profile_id,
            platforms,
            redirect_uri: wanted.redirect_uri,
            connected: Vec::new(),
            created_at: now,
            expires_at: now.plus(life),
            revoked_at: None,
            mac: None,
        };
        let entry = Entry::new(caller.by(), Action::LinkCreated, link.id).of_profile(profile_id);
        let vault = self.vault.clone();
        let link = self
            .store
            .write(move |tx| {
                let project = link.project_id;
                if let Some(id) = link.profile_id {
                    profiles::get(tx, project, id)?;
                }
                if let Some(id) = link.access_key_id {
                    let key = access_keys::find(tx, project, id)?.ok_or(Error::AuthenticationRequired)?.key;
                    link.expires_at = key.limits.expires_at.map_or(link.expires_at, |at| at.min(link.expires_at));
                }
                if links::count_all(tx, project)? >= MOST && links::purge_ended(tx, project, now)? == 0 {
                    return Err(Error::TooManyLinks { most: MOST, retry_after: TOO_MANY_RETRY_AFTER });
                }
                link.mac = Some(link_mac(&vault, &link)?);
                links::insert(tx, &link)?;
                audit::record(tx, Some(project), &entry, now)?;
                Ok(link)
            })
            .await?;
        tracing::info!(link.id = %link.id, platforms = link.platforms.len(), "connect link made");
        let url = self.link_url(&token);
        Ok((link, url))
    }

    /// The link with its status and what was connected through it.
    pub async fn get_link(&self, caller: &Caller, id: &str) -> Result<LinkState, Error> {
        let (project, id, now) = (caller.project_id, parse(id)?, self.clock.now());
        let (caller, vault) = (caller.clone(), self.vault.clone());
        self.store
            .read(move |db| {
                // One that has ended gives nothing away.
                let is_own = |link: &Link| !link.works(now) || is_own_link(&vault, link);
                let link = links::find(db, project, id)?.filter(is_own);
                let link = link.filter(|link| caller.sees(link.profile_id)).ok_or(Error::NotFound(What::Link))?;
                let mut connected = Vec::new();
                for id in &link.connected {
                    let found = integrations::find(db, project, *id)?;
                    connected.extend(found.filter(|found| caller.sees(found.profile_id)).map(|it| it.judged(now)));
                }
                Ok(LinkState { status: link.status(now), link, integrations: connected })
            })
            .await
    }

    /// Revokes a link: nobody can connect anything through it from now on, not even who is at a platform meanwhile.
    /// Does nothing when it is revoked already.
    pub async fn revoke_link(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let (project, id, now) = (caller.project_id, parse(id)?, self.clock.now());
        let caller = caller.clone();
        self.store
            .write(move |tx| {
                let link = links::find(tx, project, id)?;
                let link = link.filter(|link| caller.sees(link.profile_id)).ok_or(Error::NotFound(What::Link))?;
                if link.revoked_at.is_some() {
                    return Ok(());
                }
                links::revoke(tx, project, id, now)?;
                let entry = Entry::new(caller.by(), Action::LinkRevoked, id).of_profile(link.profile_id);
                Ok(audit::record(tx, Some(project), &entry, now)?)
            })
            .await
    }

    /// The address of a link's page.
    #[expect(clippy::disallowed_methods, reason = "whoever has the address has the token")]
    fn link_url(&self, token: &SecretString) -> SecretString {
        SecretString::from(format!("{}{PAGE}{}", self.settings.public_url, token.expose_secret()))
    }

    /// Checks the names of platforms, each of which counts once.
    fn platforms_of_link(&self, wanted: Option<Vec<String>>) -> Result<Vec<String>, Error> {
        let listed = self.list_platforms(&PlatformFilter::All).into_iter();
        let connectable: Vec<String> =
            listed.filter(|platform| platform.is_configured).map(|platform| platform.name).collect();
        let Some(wanted) = wanted else {
            let none = "no platform can be connected here: the operator sets client_id and client_secret of one";
            return if connectable.is_empty() { Err(Error::Invalid(none.to_owned())) } else { Ok(connectable) };
        };
        let mut platforms = Vec::new();
        for name in wanted {
            if !connectable.contains(&name) {
                platforms.clear();
                break;
            }
            if !platforms.contains(&name) {
                platforms.push(name);
            }
        }
        if platforms.is_empty() {
            let known = connectable.join(", ");
            return Err(Error::Invalid(format!(
                "platforms must name at least one and only those that can be connected here: {known}"
            )));
        }
        Ok(platforms)
    }
}

/// A malformed id is the id of no link.
fn parse(id: &str) -> Result<LinkId, Error> {
    id.parse().map_err(|_| Error::NotFound(What::Link))
}
