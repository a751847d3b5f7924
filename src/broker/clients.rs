//! The OAuth app that a flow or a grant is bound to, with its credentials.

use super::{Core, Error};
use crate::domain::flow::Flow;
use crate::domain::grant::Grant;
use crate::domain::id::{OauthAppId, ProjectId};
use crate::platforms::Credentials;
use crate::store::oauth_apps;
use crate::upstream::{Client, OauthClient, Protocol};
use crate::vault::Place;

/// The app that a flow or a grant is bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoundTo<'a> {
    pub(super) project_id: ProjectId,
    pub(super) platform: &'a str,
    /// The caller's own app; `None` for the operator's.
    pub(super) app_id: Option<OauthAppId>,
    pub(super) client_id: &'a str,
}

impl<'a> From<&'a Flow> for BoundTo<'a> {
    fn from(flow: &'a Flow) -> Self {
        let Flow { project_id, platform, app_id, client_id, .. } = flow;
        Self { project_id: *project_id, platform, app_id: *app_id, client_id }
    }
}

impl<'a> From<&'a Grant> for BoundTo<'a> {
    fn from(grant: &'a Grant) -> Self {
        let Grant { project_id, platform, app_id, client_id, .. } = grant;
        Self { project_id: *project_id, platform, app_id: *app_id, client_id }
    }
}

impl Core {
    /// All that it takes to ask the platform; `None` when the platform or the app is not configured any more.
    pub(super) async fn client(&self, of: BoundTo<'_>) -> Result<Option<Client<'_>>, Error> {
        match self.upstream.protocol(of.platform) {
            Some(Protocol::AtProtocol(_)) => Ok(self.upstream.client_without_app(of.platform)),
            Some(Protocol::OAuth(_)) => Ok(self.oauth_client(of).await?.map(Client::OAuth)),
            None => Ok(None),
        }
    }

    /// The same for a platform that speaks OAuth.
    pub(super) async fn oauth_client(&self, of: BoundTo<'_>) -> Result<Option<OauthClient<'_>>, Error> {
        let Some(configured) = self.upstream.platforms().find(of.platform) else { return Ok(None) };
        let credentials = match of.app_id {
            Some(app_id) => self.app_credentials(of.project_id, app_id).await?,
            // Tokens are bound to a client id: another app of the operator's is of no use.
            None => configured.credentials.clone().filter(|credentials| credentials.client_id == of.client_id),
        };
        Ok(credentials.map(|credentials| self.upstream.oauth_client(configured, credentials)))
    }

    async fn app_credentials(&self, project: ProjectId, id: OauthAppId) -> Result<Option<Credentials>, Error> {
        let Some(app) = self.store.read(move |db| oauth_apps::find_secret(db, project, id)).await? else {
            return Ok(None);
        };
        let client_secret = self.vault.open_text(&Place::app_secret(id, app.generation), &app.client_secret)?;
        let now = self.clock.now();
        // It stays sealed as it was. One that does not open is no loss: the present one counts.
        let place = Place::app_secret(id, app.generation.saturating_sub(1));
        let older_secrets = app.previous.filter(|kept| kept.until > now);
        let older_secrets = older_secrets.and_then(|kept| self.vault.open_text(&place, &kept.secret).ok());
        let older_secrets = older_secrets.into_iter().collect();
        Ok(Some(Credentials { client_id: app.client_id, client_secret, older_secrets, private_key: None }))
    }
}
