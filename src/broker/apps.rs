//! A caller's own OAuth apps. The secret is sealed on arrival and never returned. They belong to the whole project: a
//! caller that is bound to a profile sees none, and connects under one whose id it was given.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::clients::BoundTo;
use super::connection_rows::{change_flow, find_flow};
use super::core::count_failure;
use super::error::What;
use super::purge::SELECTION_BATCH;
use super::{Broker, Caller, Error};
use crate::domain::audit::{Action, By, Entry};
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, Outcome};
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::integration::PlatformFilter;
use crate::domain::oauth_app::{OauthApp, OauthAppChange};
use crate::domain::paging::{Listed, Window};
use crate::domain::secret::SecretString;
use crate::domain::selection::{COMPLETE_WITHIN, Consent, Selection, app_deletion_digest};
use crate::domain::time::Timestamp;
use crate::platforms::CONTRACT_NAMES;
use crate::store::{self, Connection, Transaction, audit, oauth_apps, selections};
use crate::upstream::Protocol;
use crate::vault::{Owner, Place, Vault};

/// How long an app's previous secret is tried where the platform refuses the new one.
const KEEP_SECRET: Duration = Duration::from_hours(24);

/// Time that a caller who deleted an app waits for revocations. The others go on.
const GIVE_BACK_AT_MOST: Duration = Duration::from_secs(5);

/// An app to register.
#[derive(Debug)]
pub struct NewApp {
    pub platform: String,
    pub name: String,
    pub client_id: String,
    pub client_secret: SecretString,
    pub image_url: Option<String>,
}

/// Changes to an app. `None` leaves a member unchanged.
#[derive(Debug, Default)]
pub struct AppChange {
    pub name: Option<String>,
    pub image_url: Option<Option<String>>,
    pub client_secret: Option<SecretString>,
}

impl Broker {
    pub async fn create_app(&self, caller: &Caller, app: NewApp) -> Result<OauthApp, Error> {
        caller.for_whole_project()?;
        match self.upstream.protocol(&app.platform) {
            Some(Protocol::OAuth(platform)) if platform.has_servers() => {
                return Err(Error::Invalid(format!(
                    "platform must not be {}: the broker registers an app by itself at each of its servers",
                    app.platform
                )));
            }
            Some(Protocol::OAuth(_)) => {}
            Some(Protocol::AtProtocol(_)) => {
                return Err(Error::Invalid(format!(
                    "platform must not be {}: accounts connect there with an app password, not under an OAuth app",
                    app.platform
                )));
            }
            None => return Err(Error::Invalid(format!("platform must be one of {}", self.platform_names()))),
        }
        let now = self.clock.now();
        let stored = OauthApp {
            id: self.ids.next(),
            platform: app.platform,
            name: app.name,
            image_url: app.image_url,
            client_id: app.client_id,
            integration_count: 0,
            created_at: now,
            updated_at: now,
        };
        let (project, inserted) = (caller.project_id, stored.clone());
        let owner = Owner { project_id: project, platform: &stored.platform, client_id: &stored.client_id };
        let secret = self.vault.seal_text(&Place::app_secret(stored.id, 1, owner), &app.client_secret)?;
        let entry = Entry::new(caller.by(), Action::AppCreated, stored.id);
        let write = self.store.write(move |tx| {
            oauth_apps::insert(tx, project, &inserted, &secret)?;
            audit::record(tx, Some(project), &entry, now)
        });
        match write.await {
            Ok(()) => Ok(stored),
            Err(store::Error::Conflict(_)) => Err(Error::DuplicateApp),
            Err(error) => Err(error.into()),
        }
    }

    /// `name`: case-insensitive part of the name.
    pub async fn list_apps(
        &self,
        caller: &Caller,
        platforms: PlatformFilter,
        name: Option<String>,
        window: Window,
    ) -> Result<Listed<OauthApp>, Error> {
        if caller.profile_id.is_some() {
            return Ok(Listed::empty());
        }
        let (project, searches) = (caller.project_id, name.is_some());
        let list = move |db: &_| oauth_apps::list(db, project, &platforms, &CONTRACT_NAMES, name.as_deref(), window);
        Ok(self.read_page(project, searches, window, list).await?)
    }

    pub async fn get_app(&self, caller: &Caller, id: &str) -> Result<OauthApp, Error> {
        let (project, id) = (caller.project_id, parse_seen(caller, id)?);
        self.store.read(move |db| get(db, project, id)).await
    }

    /// An empty change does not touch `updated_at`.
    pub async fn update_app(&self, caller: &Caller, id: &str, change: AppChange) -> Result<OauthApp, Error> {
        if let AppChange { name: None, image_url: None, client_secret: None } = change {
            return self.get_app(caller, id).await;
        }
        let (project, id, now, vault) =
            (caller.project_id, parse_seen(caller, id)?, self.clock.now(), self.vault.clone());
        let (names_secret, by) = (change.client_secret.is_some(), caller.by());
        let broker = self.clone();
        let update = async move {
            let write = broker.store.write(move |tx| {
                let present = oauth_apps::find_secret(tx, project, id)?.ok_or(Error::NotFound(What::App))?;
                let generation = present.generation;
                let owner = Owner { project_id: project, platform: &present.platform, client_id: &present.client_id };
                let known = vault.open_text(&Place::app_secret(id, generation, owner), &present.client_secret).ok();
                // The same secret once more must not push out the one before it.
                let is_new = |secret: &SecretString| !known.as_ref().is_some_and(|known| is_same(known, secret));
                let client_secret = change.client_secret.filter(is_new);
                if client_secret.is_some() && known.is_some() {
                    oauth_apps::keep_secret(tx, project, id, now.plus(KEEP_SECRET))?;
                }
                let client_secret = client_secret
                    .map(|secret| vault.seal_text(&Place::app_secret(id, generation + 1, owner), &secret))
                    .transpose()?;
                let change = OauthAppChange { name: change.name, image_url: change.image_url, client_secret };
                oauth_apps::update(tx, project, id, &change, now)?;
                let is_new = change.client_secret.is_some();
                let action = if is_new { Action::AppSecretReplaced } else { Action::AppUpdated };
                audit::record(tx, Some(project), &Entry::new(by, action, id), now)?;
                get(tx, project, id)
            });
            let app = write.await?;
            if names_secret {
                broker.refresher.app_changed(project, id).await;
            }
            Ok(app)
        };
        // The pause that the old secret brought must end whether or not the caller still waits.
        self.tasks.run(update).await?
    }

    /// Connections that wait for a choice or a completion under the app end with it, as they could not be refreshed
    /// without its secret. Their tokens are given back, the last ones after this has returned.
    pub async fn delete_app(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let (id, broker, caller) = (parse_seen(caller, id)?, self.clone(), caller.clone());
        let (deleted, is_deleted) = oneshot::channel();
        // The tokens must be revoked whether or not the caller still waits.
        let mut work = pin!(self.tasks.run(async move { broker.delete_and_give_back(&caller, id, deleted).await }));
        tokio::select! {
            ended = &mut work => ended?,
            Ok(()) = is_deleted => timeout(GIVE_BACK_AT_MOST, work).await.unwrap_or(Ok(Ok(())))?,
        }
    }

    async fn delete_and_give_back(
        &self,
        caller: &Caller,
        id: OauthAppId,
        deleted: oneshot::Sender<()>,
    ) -> Result<(), Error> {
        let (project, by, now) = (caller.project_id, caller.by(), self.clock.now());
        let app = self.get_app(caller, &id.to_string()).await?;
        let of = BoundTo {
            project_id: project,
            platform: &app.platform,
            app_id: Some(id),
            client_id: &app.client_id,
            server: None,
        };
        // Read before the secret is erased.
        let client = self.oauth_client(of).await.unwrap_or_else(|error| {
            tracing::warn!(app.id = %id, error = %chain(&error), "cannot revoke without the app's credentials");
            None
        });
        let vault = self.vault.clone();
        let ended = self
            .store
            .write(move |tx| {
                let app = get(tx, project, id)?;
                if app.integration_count > 0 {
                    return Err(Error::AppInUse(app.integration_count));
                }
                let ended = end_waiting(tx, &vault, project, id, by, now)?;
                Error::not_found_if_unchanged(oauth_apps::delete(tx, project, id, now), What::App)?;
                audit::record(tx, Some(project), &Entry::new(by, Action::AppDeleted, id), now)?;
                Ok(ended)
            })
            .await?;
        // The caller may have gone.
        let _ = deleted.send(());
        // Each takes a connection.
        let (client, left) = (client.as_ref(), &Left { app: id, consents: AtomicUsize::new(ended.len()) });
        let give_back = |(selection, flow): (Selection, Flow)| async move {
            let who_can_help = count_failure(Failure::AppMissing, &flow.platform);
            tracing::warn!(
                flow.id = %flow.id, platform.name = %flow.platform, who_can_help,
                "the OAuth app that began this connection was deleted, so the connection ends"
            );
            match self.open_consent(&selection, &flow) {
                Ok(Consent { issued, identity }) => {
                    let subject = Some(identity.subject.as_str());
                    self.revocation.give_back(&flow, client, subject, &issued.tokens).await;
                }
                Err(error) => tracing::error!(
                    selection.id = %selection.id, error = %chain(&error),
                    "cannot open the consent of a connection that ended, so its tokens are not revoked"
                ),
            }
            left.consents.fetch_sub(1, Ordering::Relaxed);
        };
        stream::iter(ended).for_each_concurrent(SELECTION_BATCH as usize, give_back).await;
        Ok(())
    }
}

/// Consents under a deleted app whose tokens are still to be given back. Dropped early when the broker stops.
struct Left {
    app: OauthAppId,
    consents: AtomicUsize,
}

impl Drop for Left {
    fn drop(&mut self) {
        let consents = self.consents.load(Ordering::Relaxed);
        if consents > 0 {
            tracing::warn!(
                app.id = %self.app, consents,
                "the broker stopped before it had revoked the tokens of connections under a deleted app: they expire unused"
            );
        }
    }
}

/// Ends the connections that wait under an app. Returns what they waited with, as it was before.
fn end_waiting(
    tx: &Transaction<'_>,
    vault: &Vault,
    project: ProjectId,
    app: OauthAppId,
    by: By,
    now: Timestamp,
) -> Result<Vec<(Selection, Flow)>, Error> {
    let mut ended = Vec::new();
    for selection in selections::list_waiting_under(tx, project, app)? {
        let Some(flow) = find_flow(tx, vault, project, selection.flow_id)? else { continue };
        if selection.is_open(now) {
            let outcome = Outcome::failed(Failure::AppMissing);
            let entry = flow.end_entry(by, &outcome);
            change_flow(tx, vault, project, flow.id, |flow| {
                if flow.awaits_completion() {
                    flow.complete(outcome, now.plus(COMPLETE_WITHIN))
                } else {
                    flow.settle(outcome)
                }
            })?;
            selections::spend(tx, project, selection.id, app_deletion_digest(), Vec::new(), now)?;
            audit::record(tx, Some(project), &entry, now)?;
        } else {
            selections::expire(tx, project, selection.id)?;
        }
        ended.push((selection, flow));
    }
    Ok(ended)
}

#[expect(clippy::disallowed_methods, reason = "comparing is how a secret is recognised")]
fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// The app, unless it is deleted.
pub(super) fn get(db: &Connection, project: ProjectId, id: OauthAppId) -> Result<OauthApp, Error> {
    oauth_apps::find(db, project, id)?.ok_or(Error::NotFound(What::App))
}

/// To a caller that is bound to a profile there are no apps.
fn parse_seen(caller: &Caller, id: &str) -> Result<OauthAppId, Error> {
    caller.for_whole_project().map_err(|_| Error::NotFound(What::App))?;
    parse(id)
}

/// A malformed id is the id of no app.
pub(super) fn parse(id: &str) -> Result<OauthAppId, Error> {
    id.parse().map_err(|_| Error::NotFound(What::App))
}
