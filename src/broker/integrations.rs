//! Connected accounts: list, look at, move, disconnect.

use tracing::Instrument as _;

use super::error::What;
use super::exchange::{REVOKE_WITHIN, chain};
use super::{Broker, Caller, Error, profiles};
use crate::domain::grant::{Grant, TokenSet};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::{Integration, IntegrationDetail, IntegrationFilter, PlatformFilter};
use crate::domain::paging::{Listed, Window};
use crate::domain::time::Timestamp;
use crate::platforms::{CONTRACT_NAMES, Revocation, RevocationReach, bluesky};
use crate::store::{self, Connection, grants, integrations, profiles as stored_profiles, selections};

/// What a caller wants listed. `profile_id`: `Some("null")` for those without a profile; an id that is no profile of
/// the project lists nothing.
#[derive(Debug, Default)]
pub struct ListIntegrations {
    pub platforms: PlatformFilter,
    pub profile_id: Option<String>,
    pub search: Option<String>,
    pub oldest_first: bool,
}

/// How a disconnect went at the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// Others live on the same consent, so it was left alone. A caller is told so of its own project's integrations only.
    KeptForOthers,
    /// The platform did not confirm, or was not asked for the sake of somebody of whom the caller must not learn.
    NotConfirmed,
    /// The platform has no endpoint for it: the person removes the app in their settings there.
    Unsupported,
    /// The platform confirmed.
    Yes,
}

impl Broker {
    pub async fn list_integrations(
        &self,
        caller: &Caller,
        wanted: ListIntegrations,
        window: Window,
    ) -> Result<Listed<Integration>, Error> {
        let profile_id = match wanted.profile_id.as_deref() {
            None => None,
            Some("null") => Some(None),
            Some(id) => match profiles::parse(id) {
                Ok(id) => Some(Some(id)),
                Err(_) => return Ok(Listed { items: Vec::new(), total: 0 }),
            },
        };
        let filter = IntegrationFilter {
            platforms: wanted.platforms,
            profile_id,
            search: wanted.search,
            oldest_first: wanted.oldest_first,
        };
        let project = caller.project_id;
        let listed =
            self.store.read(move |db| integrations::list(db, project, &filter, &CONTRACT_NAMES, window)).await?;
        let now = self.clock.now();
        Ok(Listed { items: listed.items.into_iter().map(|item| item.judged(now)).collect(), total: listed.total })
    }

    /// The integration, with what is known of its tokens.
    pub async fn get_integration(&self, caller: &Caller, id: &str) -> Result<IntegrationDetail, Error> {
        let (project, id) = (caller.project_id, parse(id)?);
        let detail = self.store.read(move |db| integrations::find_detail(db, project, id)).await?;
        let detail = detail.ok_or(Error::NotFound(What::Integration))?;
        Ok(IntegrationDetail { integration: detail.integration.judged(self.clock.now()), ..detail })
    }

    /// Moves an integration to another profile, or with `None` out of any.
    pub async fn move_integration(
        &self,
        caller: &Caller,
        id: &str,
        profile_id: Option<String>,
    ) -> Result<Integration, Error> {
        let (project, id, now) = (caller.project_id, parse(id)?, self.clock.now());
        let profile_id = profile_id.as_deref().map(profiles::parse).transpose()?;
        self.store
            .write(move |tx| {
                if let Some(profile_id) = profile_id
                    && stored_profiles::find(tx, project, profile_id)?.is_none()
                {
                    return Err(Error::NotFound(What::Profile));
                }
                match integrations::move_to_profile(tx, project, id, profile_id, now) {
                    Err(store::Error::Conflict(_)) => return Err(Error::DuplicateIntegration),
                    result => Error::not_found_if_unchanged(result, What::Integration)?,
                }
                Ok(integrations::find(tx, project, id)?.ok_or(Error::NotFound(What::Integration))?.judged(now))
            })
            .await
    }

    /// Tells the platform, where it has an endpoint for that and nobody else needs the consent, then erases the tokens.
    /// Returns the label of the platform and how that went there.
    pub async fn disconnect(&self, caller: &Caller, id: &str) -> Result<(String, Revoked), Error> {
        let (project, id) = (caller.project_id, parse(id)?);
        let broker = self.clone();
        // What is revoked must be erased, whether or not the caller still waits.
        let task = self
            .tasks
            .spawn_on(async move { broker.revoke_and_erase(project, id).await }.in_current_span(), &self.work);
        match task.await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(store::Error::Stopped.into()),
        }
    }

    async fn revoke_and_erase(&self, project: ProjectId, id: IntegrationId) -> Result<(String, Revoked), Error> {
        let (broker, now) = (self.clone(), self.clock.now());
        let found = self
            .store
            .read(move |db| {
                let Some(integration) = integrations::find(db, project, id)? else { return Ok::<_, Error>(None) };
                let grant =
                    grants::find(db, project, integration.grant_id)?.ok_or(Error::NotFound(What::Integration))?;
                let shared = grants::count_integrations(db, project, grant.id)? > 1
                    || broker.is_needed_elsewhere(db, &grant, now)?;
                Ok(Some((integration, grant, shared)))
            })
            .await?;
        let Some((integration, grant, shared)) = found else { return Err(Error::NotFound(What::Integration)) };
        let label = self.label(&integration.platform);
        let (grant_id, generation) = (grant.id, grant.generation);
        let mut revoked = if shared { Revoked::KeptForOthers } else { self.revoke_stored(&grant).await };
        let broker = self.clone();
        let unused = self
            .store
            .write(move |tx| {
                Error::not_found_if_unchanged(integrations::delete(tx, project, id), What::Integration)?;
                let Some(grant) = grants::find(tx, project, grant_id)? else { return Ok::<_, Error>(None) };
                if !grants::delete_if_unused(tx, project, grant_id)? {
                    return Ok(None);
                }
                let needed = broker.is_needed_elsewhere(tx, &grant, broker.clock.now())?;
                Ok(Some((grant, needed)))
            })
            .await?;
        let mut told = revoked;
        if let Some((grant, needed)) = unused {
            let was_kept = revoked == Revoked::KeptForOthers;
            if needed && was_kept {
                told = Revoked::NotConfirmed;
            } else if !needed && (was_kept || grant.generation != generation) {
                // The others were disconnected meanwhile, each leaving the consent to us; or a refresh that was under way
                // stored other tokens than those that were revoked.
                revoked = self.revoke_stored(&grant).await;
                told = revoked;
            }
        }
        tracing::info!(integration.id = %id, platform.name = %integration.platform, revoked = ?revoked, "account disconnected");
        Ok((label, told))
    }

    /// Whether revoking the grant would reach others: another grant, or a choice still to be made, on the same consent in
    /// any project.
    pub(super) fn is_needed_elsewhere(&self, db: &Connection, grant: &Grant, now: Timestamp) -> Result<bool, Error> {
        if !self.reaches_person(grant) {
            return Ok(false);
        }
        let (platform, client_id, subject) = (&grant.platform, &grant.client_id, &grant.subject);
        Ok(selections::is_consent_in_use(db, platform, client_id, subject, Some(grant.id), now)?)
    }

    /// Whether a revocation ends every consent that the person gave the app.
    pub(super) fn reaches_person(&self, grant: &Grant) -> bool {
        let reach = self.platforms.find(&grant.platform).map(|configured| configured.platform.revocation_reach);
        reach == Some(RevocationReach::Person)
    }

    pub(super) async fn revoke_stored(&self, grant: &Grant) -> Revoked {
        match self.open_grant(grant) {
            Ok(Some(tokens)) => self.revoke(grant, &tokens).await,
            Ok(None) => Revoked::NotConfirmed,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the tokens cannot be revoked: erasing all the same");
                Revoked::NotConfirmed
            }
        }
    }

    /// Best effort and bounded: what cannot be revoked is erased all the same.
    pub(super) async fn revoke(&self, grant: &Grant, tokens: &TokenSet) -> Revoked {
        let revoke = async {
            if grant.platform == bluesky::NAME {
                return Ok(self.end_bluesky_session(grant, tokens).await);
            }
            let Some(configured) = self.platforms.find(&grant.platform) else { return Ok(Revoked::NotConfirmed) };
            if configured.platform.revocation == Revocation::Unsupported {
                return Ok(Revoked::Unsupported);
            }
            let credentials =
                self.credentials(grant.project_id, &grant.platform, grant.app_id, &grant.client_id).await?;
            let Some(credentials) = credentials else { return Ok(Revoked::NotConfirmed) };
            Ok::<_, Error>(match self.oauth.revoke(&configured.platform, &credentials, tokens).await {
                Ok(true) => Revoked::Yes,
                Ok(false) => Revoked::Unsupported,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the platform did not confirm the revocation: erasing all the same");
                    Revoked::NotConfirmed
                }
            })
        };
        match tokio::time::timeout(REVOKE_WITHIN, revoke).await {
            Ok(Ok(revoked)) => revoked,
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "the tokens cannot be revoked: erasing all the same");
                Revoked::NotConfirmed
            }
            Err(_) => Revoked::NotConfirmed,
        }
    }
}

/// What is no integration id is no integration.
pub(super) fn parse(id: &str) -> Result<IntegrationId, Error> {
    id.parse().map_err(|_| Error::NotFound(What::Integration))
}
