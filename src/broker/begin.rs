//! Begins a connection: checks what the caller asks for, stores it under a fresh state, and returns the authorize URL.

use std::time::Duration;

use url::Url;

use super::clients::BoundTo;
use super::connection_rows::flow_mac;
use super::{Broker, Caller, Error, apps, profiles, reconnect};
use crate::domain::binding::{APP_COOKIE, Binding};
use crate::domain::confirmation::Confirmation;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::flow::{self, Flow, FlowStage, new_state, nonce};
use crate::domain::id::{FlowId, OauthAppId, ProfileId};
use crate::domain::redirect::RedirectUri;
use crate::domain::secret::{Digest256, SecretString, random_token};
use crate::platforms::{ConfiguredPlatform, Platform};
use crate::store::flow_limit::Bounds;
use crate::store::flows;
use crate::upstream::{self, AuthorizeRequest, Server, platform_at};
use crate::vault::{Owner, Place};

/// Most rows that connections in the making may hold. A hundred starts a second for ten minutes are 60,000 flows. A row
/// takes about a kilobyte, and 5 kB with the longest redirects.
pub(super) const BOUNDS: Bounds =
    Bounds { per_key: 100_000, in_all: 400_000, open_selections: 10_000, late_redirects: 100_000 };

/// Retry-After when there are too many: some expire every second then.
const TOO_MANY_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A caller's request for a connection.
#[derive(Debug, Clone, Default)]
pub struct BeginConnect {
    pub platform: String,
    pub redirect_uri: Option<String>,
    pub cancel_redirect_uri: Option<String>,
    pub headless: bool,
    pub profile_id: Option<String>,
    pub app_id: Option<String>,
    /// The scopes to ask for, of those that the platform allows; `None`: the configured ones.
    pub scopes: Option<Vec<String>>,
    /// The server of the account, as its owner typed it, where the platform is many servers.
    pub server: Option<String>,
    /// The integration that must come back.
    pub reconnect: Option<String>,
    /// Digest of the cookie that the browser must have when it comes back, as [`Binding::to_app`] reads it.
    pub binding_hash: Option<String>,
    /// Begins at the page that asks first, whatever the operator set for callers.
    pub asks_first: bool,
    /// True when nothing is to be connected before the caller [completes](super::completion) the connection.
    pub completion: bool,
}

/// A connection that was begun. Not for logs: its URL is secret.
pub struct Begun {
    /// Where to send the person: the platform's authorize URL for this connection, or the page that asks first.
    pub url: String,
    /// The flow to complete, where the caller must.
    pub to_complete: Option<FlowId>,
}

/// The way of a person to the platform.
pub(super) enum Way {
    /// Over the page that asks first, and sets the cookie that the browser must come back with.
    Asked,
    /// Straight, from the page of the caller's link or from the caller's app.
    Straight(Binding),
}

impl Broker {
    /// Begins a connection, whose person is then sent to the platform, or to the page that asks first.
    pub async fn begin_connect(&self, caller: &Caller, wanted: BeginConnect) -> Result<Begun, Error> {
        let way = self.way(&wanted)?;
        self.begin(caller, wanted, way).await
    }

    /// Begins a connection on this way.
    pub(super) async fn begin(&self, caller: &Caller, wanted: BeginConnect, way: Way) -> Result<Begun, Error> {
        let configured = self
            .upstream
            .platforms()
            .find(&wanted.platform)
            .ok_or_else(|| Error::PlatformUnavailable(self.unknown_platform(&wanted.platform)))?;
        let mut profile_id = caller.profile_to_connect(wanted.profile_id.as_deref())?;
        let mut app_id = wanted.app_id.as_deref().map(apps::parse).transpose()?;
        let mut reconnects = None;
        if let Some(id) = &wanted.reconnect {
            let account = self.find_to_reconnect(caller, id, &wanted.platform, profile_id).await?;
            (profile_id, app_id) = (account.profile_id, app_id.or(reconnect::app_of(&account)));
            reconnects = Some(account.id);
        }
        let (name, profile) = (wanted.platform.as_str(), profile_id.map(|id| id.to_string()));
        let check =
            |parameter, uri: &Option<String>| self.check_redirect(parameter, uri.as_deref(), name, profile.as_deref());
        let redirect_uri = check("redirectUri", &wanted.redirect_uri)?;
        let cancel_redirect_uri = check("cancelRedirectUri", &wanted.cancel_redirect_uri)?;
        let server = self.server(configured, wanted.server.as_deref(), app_id)?;
        self.ensure_discovered(configured).await?;
        let platform = &*platform_at(configured, server.as_ref());
        let scopes = platform.requested_scopes(wanted.scopes.as_deref()).ok_or_else(|| Error::ScopesNotAllowed {
            label: platform.label.to_string(),
            allowed: platform.allowed_scopes(),
        })?;

        let project_id = caller.project_id;
        let client_id = self.client_id(caller, configured, server.as_ref(), (profile_id, app_id)).await?;
        let id: FlowId = self.ids.next();
        let callback_url = self.callback_url(&platform.name, server.as_ref());
        let (asks_first, binding) = match way {
            Way::Asked => {
                let confirmation = Confirmation::new(self.clock.now(), &*self.entropy);
                let binding = confirmation.binding();
                (Some(confirmation), binding)
            }
            Way::Straight(binding) => (None, binding),
        };
        let state =
            asks_first.as_ref().map_or_else(|| new_state(self.clock.now(), &*self.entropy), Confirmation::state);
        let digest = state_digest(&state);
        let verifier = upstream::takes_pkce(platform, &callback_url).then(|| random_token(&*self.entropy));
        let nonce = nonce(&digest);
        let request = AuthorizeRequest {
            client_id: &client_id,
            redirect_uri: &callback_url,
            state: &state,
            scopes: &scopes,
            pkce_verifier: verifier.as_ref(),
            nonce: &nonce,
        };
        let of = BoundTo { project_id, platform: &platform.name, app_id, client_id: &client_id, server: None };
        let url = match &asks_first {
            Some(confirmation) => self.confirmation_url(confirmation),
            None => self.authorize_url(platform, of, &request).await?.into(),
        };

        let now = self.clock.now();
        let owner = Owner { project_id, platform: &platform.name, client_id: &client_id };
        let pkce_verifier =
            verifier.map(|verifier| self.vault.seal_text(&Place::flow_verifier(id, owner), &verifier)).transpose()?;
        let server = server.map(|server| self.vault.seal_text(&Place::flow_server(id, owner), &server.origin().into()));
        let mut flow = Flow {
            id,
            project_id,
            access_key_id: caller.access_key_id,
            link_id: caller.link_id,
            state: digest,
            platform: platform.name.to_string(),
            app_id,
            client_id,
            server: server.transpose()?,
            profile_id,
            reconnects,
            binding,
            needs_completion: wanted.completion,
            redirect_uri: redirect_uri.map(|uri| uri.as_str().to_owned()),
            cancel_redirect_uri: cancel_redirect_uri.map(|uri| uri.as_str().to_owned()),
            headless: wanted.headless,
            scopes,
            created_at: now,
            expires_at: now.plus(self.settings.state_ttl),
            stage: FlowStage::Pending { pkce_verifier },
            mac: None,
        };
        flow.mac = Some(flow_mac(&self.vault, &flow)?);
        let limit = self.flow_limit.clone();
        self.store
            .write_unsynced(move |tx| {
                if !limit.admit(tx, (project_id, flow.access_key_id), now)? {
                    return Err(Error::TooManyFlows { retry_after: TOO_MANY_RETRY_AFTER });
                }
                Ok(flows::insert(tx, &flow)?)
            })
            .await?;
        tracing::info!(flow.id = %id, platform.name = %wanted.platform, "connection begun");
        Ok(Begun { url, to_complete: wanted.completion.then_some(id) })
    }

    /// The client id to connect under. Makes sure that profile and app belong to the project.
    async fn client_id(
        &self,
        caller: &Caller,
        configured: &ConfiguredPlatform,
        server: Option<&Server>,
        (profile_id, app_id): (Option<ProfileId>, Option<OauthAppId>),
    ) -> Result<String, Error> {
        let platform = configured.platform();
        let project_id = caller.project_id;
        let app = if profile_id.is_none() && app_id.is_none() {
            None
        } else {
            self.store
                .read(move |db| {
                    if let Some(id) = profile_id {
                        profiles::get(db, project_id, id)?;
                    }
                    app_id.map(|id| apps::get(db, project_id, id)).transpose()
                })
                .await?
        };
        Ok(match (app, &configured.credentials) {
            (Some(app), _) if app.platform != platform.name => return Err(Error::AppOfOtherPlatform(app.platform)),
            (Some(app), _) => app.client_id,
            (None, _) if let Some(server) = server => self.client_at(caller, configured, server).await?,
            (None, Some(credentials)) => credentials.client_id.clone(),
            (None, None) => return Err(Error::CredentialsMissing(platform.name.to_string())),
        })
    }

    /// Returns how the connection is tied to a browser: as the caller asks, or as the operator requires.
    fn way(&self, wanted: &BeginConnect) -> Result<Way, Error> {
        let hash = wanted.binding_hash.as_deref();
        let binding = hash.map_or(Some(Binding::None), Binding::to_app).ok_or_else(|| {
            Error::InvalidParameter(format!(
                "bindingHash must be the SHA-256 of the cookie {APP_COOKIE} in base64url without padding: 43 characters"
            ))
        })?;
        let is_open = binding == Binding::None;
        let asks_first = wanted.asks_first || self.settings.confirm;
        if is_open && self.settings.require_binding && !asks_first && !wanted.completion {
            return Err(Error::BindingRequired);
        }
        Ok(if is_open && asks_first { Way::Asked } else { Way::Straight(binding) })
    }

    /// The URL to send the person to. Asks the platform where it wants the request to be pushed.
    pub(super) async fn authorize_url(
        &self,
        platform: &Platform,
        of: BoundTo<'_>,
        request: &AuthorizeRequest<'_>,
    ) -> Result<Url, Error> {
        let missing = || Error::CredentialsMissing(platform.name.to_string());
        if platform.par_url.is_none() {
            return upstream::authorize_url(platform, request).map_err(|error| {
                tracing::error!(
                    platform.name = %platform.name, error = %chain(&error),
                    "cannot build the authorize URL"
                );
                missing()
            });
        }
        let client = self.oauth_client(of).await?.ok_or_else(missing)?;
        client.authorize_url(request).await.map_err(|mut error| {
            // Nobody was at the platform yet, so that no account's authorization can be at fault.
            if error.failure == Failure::AppOrGrantRejected {
                error.failure = Failure::CredentialsRejected;
            }
            let next_step = error.next_step(self.console(&platform.name));
            tracing::warn!(
                platform.name = %platform.name, error = %chain(&error), next_step,
                "cannot begin a connection"
            );
            let sentence = error.failure.what_happened(&platform.label).trim_end_matches('.').to_owned();
            Error::PlatformUnreachable { failure: error.of_connection(), sentence }
        })
    }

    /// The callback URL that is registered at the platform, or at one of its servers. Each server has its own: one that
    /// sends a person on to another server, with our request, would get the other's code otherwise (RFC 9700, section
    /// 4.4).
    #[must_use]
    pub fn callback_url(&self, platform: &str, server: Option<&Server>) -> String {
        let at = server.map_or_else(String::new, |server| format!("@{}", server.host()));
        format!("{}/v1/connect/{platform}{at}/callback", self.settings.public_url)
    }

    /// Checks a redirect of a connection at this platform, under this profile.
    pub(super) fn check_redirect(
        &self,
        parameter: &'static str,
        uri: Option<&str>,
        platform: &str,
        profile: Option<&str>,
    ) -> Result<Option<RedirectUri>, Error> {
        let checked = uri.map(|uri| {
            let uri = self.settings.redirects.check(uri)?;
            uri.check_query(platform, profile).map(|()| uri)
        });
        checked.transpose().map_err(|refused| Error::RedirectRefused { parameter, refused })
    }
}

/// Digest that a state is stored and looked up by.
#[expect(clippy::disallowed_methods, reason = "hashing is how a state is stored and looked up")]
pub(super) fn state_digest(state: &SecretString) -> Digest256 {
    use secrecy::ExposeSecret as _;
    flow::state_digest(state.expose_secret())
}
