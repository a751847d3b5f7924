//! The OAuth app that a flow or a grant is bound to, with its credentials.

use super::{Core, Error};
use crate::domain::flow::Flow;
use crate::domain::grant::Grant;
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::secret::SecretString;
use crate::platforms::Credentials;
use crate::store::oauth_apps;
use crate::upstream::{Client, OauthClient, Protocol, Server};
use crate::vault::{Owner, Place};

/// The app that a flow or a grant is bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoundTo<'a> {
    pub(super) project_id: ProjectId,
    pub(super) platform: &'a str,
    /// The caller's own app; `None` for the operator's.
    pub(super) app_id: Option<OauthAppId>,
    pub(super) client_id: &'a str,
    /// Origin of the server that the account's owner named; `None` where the platform is one server.
    pub(super) server: Option<&'a str>,
}

impl<'a> BoundTo<'a> {
    /// The same at a server. Flows and grants keep theirs sealed, so only who opened them knows it.
    pub(super) fn at(self, server: Option<&'a str>) -> Self {
        Self { server, ..self }
    }
}

impl<'a> From<&'a Flow> for BoundTo<'a> {
    fn from(flow: &'a Flow) -> Self {
        let Flow { project_id, platform, app_id, client_id, .. } = flow;
        Self { project_id: *project_id, platform, app_id: *app_id, client_id, server: None }
    }
}

impl<'a> From<&'a Grant> for BoundTo<'a> {
    fn from(grant: &'a Grant) -> Self {
        let Grant { project_id, platform, app_id, client_id, .. } = grant;
        Self { project_id: *project_id, platform, app_id: *app_id, client_id, server: None }
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
        if configured.has_servers() {
            let Some(server) = of.server.and_then(Server::from_origin) else { return Ok(None) };
            let credentials = self.registered(of.platform, &server, of.client_id).await?;
            return Ok(credentials.map(|known| self.upstream.oauth_client(configured, Some(&server), known)));
        }
        let credentials = match of.app_id {
            Some(app_id) => self.app_credentials(of.project_id, of.platform, app_id).await?,
            // Tokens are bound to a client id: another app of the operator's is of no use.
            None => configured.credentials.clone().filter(|credentials| credentials.client_id == of.client_id),
        };
        Ok(credentials.map(|credentials| self.upstream.oauth_client(configured, None, credentials)))
    }

    /// True where a connection began under the operator's app, and the configuration has another one or none by now:
    /// its tokens could be neither refreshed nor revoked.
    pub(super) fn lacks_app_of(&self, flow: &Flow) -> bool {
        match self.upstream.protocol(&flow.platform) {
            Some(Protocol::OAuth(configured)) if flow.app_id.is_none() && !configured.has_servers() => {
                configured.credentials.as_ref().is_none_or(|credentials| credentials.client_id != flow.client_id)
            }
            Some(_) => false,
            None => true,
        }
    }

    /// The server that the person of a flow named.
    pub(super) fn server_of(&self, flow: &Flow) -> Result<Option<Server>, Error> {
        let Some(sealed) = &flow.server else { return Ok(None) };
        let origin = self.vault.open_text(&Place::flow_server(flow.id, flow), sealed)?;
        Ok(Server::from_origin(expose(&origin)))
    }

    async fn app_credentials(
        &self,
        project: ProjectId,
        platform: &str,
        id: OauthAppId,
    ) -> Result<Option<Credentials>, Error> {
        let Some(app) = self.store.read(move |db| oauth_apps::find_secret(db, project, id)).await? else {
            return Ok(None);
        };
        // The caller's platform, not the app's: a secret goes to no other platform's server.
        let owner = Owner { project_id: project, platform, client_id: &app.client_id };
        let client_secret = self.vault.open_text(&Place::app_secret(id, app.generation, owner), &app.client_secret)?;
        let now = self.clock.now();
        // It stays sealed as it was. One that does not open is no loss: the present one counts.
        let place = Place::app_secret(id, app.generation.saturating_sub(1), owner);
        let older_secrets = app.previous.filter(|kept| kept.until > now);
        let older_secrets = older_secrets.and_then(|kept| self.vault.open_text(&place, &kept.secret).ok());
        let older_secrets = older_secrets.into_iter().collect();
        Ok(Some(Credentials { client_id: app.client_id, client_secret, older_secrets, private_key: None }))
    }
}

#[expect(clippy::disallowed_methods, reason = "a server's name is sealed against changes only")]
fn expose(origin: &SecretString) -> &str {
    use secrecy::ExposeSecret as _;
    origin.expose_secret()
}
