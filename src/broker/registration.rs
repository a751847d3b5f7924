//! Registers the broker at servers that people name (Mastodon's kind), and keeps what they answer.
//!
//! One app serves all connections at a server until callback URL or scopes change. Before a connection begins under an
//! app that was not proven lately, the server is asked whether it still knows the app: a person who is sent there with
//! another one meets an error page, and never comes back. The broker registers again only after a server's explicit
//! "unknown client", or where the app's secret does not open. Invariant: what a caller can make the broker do to other
//! servers, and to its own disk, is limited.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Broker, Caller, Core, Error};
use crate::domain::attempts::Limit;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::flow::Flow;
use crate::domain::grant::{Grant, TokenSet};
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::registration::Registration;
use crate::domain::time::Timestamp;
use crate::platforms::{ConfiguredPlatform, Credentials};
use crate::store::{self, Transaction, registrations};
use crate::upstream::{AppToRegister, Server, UNKNOWN_CLIENT, Unregistered};
use crate::vault::Place;

/// How long an app counts as known. Mastodon 4.2 deletes apps without tokens after a day.
const PROVEN_FOR: Duration = Duration::from_hours(12);

/// Resolution of the time at which an app was last used, to spare a write for each connection.
const USED_EVERY: Duration = Duration::from_mins(10);

/// How long an app that no account depends on is kept unused.
pub(super) const KEEP_UNUSED: Duration = Duration::from_hours(30 * 24);

/// Most apps, so that nobody fills the disk with them. Beyond it, those that no account depends on go first.
const MOST: u64 = 10_000;

/// Most apps that accounts of one project depend on. With [`PER_PROJECT`], others keep some room.
const MOST_OF_PROJECT: u64 = 7_000;

/// An app that was used within this time may have a connection in progress.
const MAY_BE_IN_USE: Duration = Duration::from_hours(2);

/// Most attempts to register at servers: of one project while the apps [may be in use](MAY_BE_IN_USE), of one access key,
/// of one link, and at one server.
const PER_PROJECT: Limit = Limit { attempts: 2_500, within: MAY_BE_IN_USE };
const PER_KEY: Limit = Limit { attempts: 100, within: WINDOW };
const PER_LINK: Limit = Limit { attempts: 25, within: WINDOW };
const PER_SERVER: Limit = Limit { attempts: 10, within: WINDOW };
const WINDOW: Duration = Duration::from_mins(5);

/// Retry-After when there are too many apps: some become idle meanwhile.
const TOO_MANY_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The reason why there is no app at a server. Sentences are without their full stop.
#[derive(Debug, Clone)]
pub(super) enum NotRegistered {
    /// Too many calls to platforms are under way.
    Busy,
    /// The person named a server that is none of these.
    Named(String),
    /// The log says why.
    Storage,
    /// There is no room for another app, or not for this project.
    TooMany,
    TooManyAttempts {
        retry_after: Duration,
    },
    Unreachable {
        failure: Failure,
        sentence: String,
    },
}

impl From<NotRegistered> for Error {
    fn from(why: NotRegistered) -> Self {
        match why {
            NotRegistered::Busy => Self::TooManyExchanges,
            NotRegistered::Named(sentence) => Self::InvalidParameter(sentence),
            NotRegistered::Storage => Self::Store(store::Error::Overloaded),
            NotRegistered::TooMany => Self::TooManyServers { retry_after: TOO_MANY_RETRY_AFTER },
            NotRegistered::TooManyAttempts { retry_after } => Self::TooManyAttempts { retry_after },
            NotRegistered::Unreachable { failure, sentence } => Self::PlatformUnreachable { failure, sentence },
        }
    }
}

/// An app at a server, as it is registered there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct AppAt {
    platform: String,
    /// Origin of the server.
    server: String,
    callback_url: String,
    scopes: Vec<String>,
}

impl Core {
    /// The credentials of an app that the broker registered.
    pub(super) async fn registered(
        &self,
        platform: &str,
        server: &Server,
        client_id: &str,
    ) -> Result<Option<Credentials>, Error> {
        let of = (platform.to_owned(), server.origin().to_owned(), client_id.to_owned());
        let found = self.store.read(move |db| registrations::find(db, &of.0, &of.1, &of.2)).await?;
        found.map(|found| self.open_registration(&found)).transpose()
    }

    fn open_registration(&self, registration: &Registration) -> Result<Credentials, Error> {
        let Registration { platform, server, client_id, client_secret, .. } = registration;
        let place = Place::registration_secret(platform, server, client_id);
        let client_secret = self.vault.open_text(&place, client_secret)?;
        let client_id = client_id.clone();
        Ok(Credentials { client_id, client_secret, older_secrets: Vec::new(), private_key: None })
    }

    /// True when the app's secret opens, and the server knew the app so recently that it need not be asked.
    fn is_usable(&self, known: &Registration) -> bool {
        let now = self.clock.now();
        known.proven_at <= now && now < known.proven_at.plus(PROVEN_FOR) && self.open_registration(known).is_ok()
    }

    /// Has the next connection ask the server about a grant's app, where the server's code says that it is unknown.
    pub(super) async fn doubt_app_of_grant(&self, grant: &Grant, tokens: &TokenSet, code: Option<&str>) {
        if code == Some(UNKNOWN_CLIENT)
            && let Some(server) = &tokens.service_url
        {
            self.doubt(&grant.platform, server, &grant.client_id).await;
        }
    }

    /// The same for the app of a flow.
    pub(super) async fn doubt_app_of_flow(&self, flow: &Flow, code: Option<&str>) {
        if code == Some(UNKNOWN_CLIENT)
            && let Ok(Some(server)) = self.server_of(flow)
        {
            self.doubt(&flow.platform, server.origin(), &flow.client_id).await;
        }
    }

    async fn doubt(&self, platform: &str, server: &str, client_id: &str) {
        tracing::warn!(platform.name = platform, server, "the broker's app is said to be unknown at this server");
        let of = (platform.to_owned(), server.to_owned(), client_id.to_owned());
        if let Err(error) = self.store.write(move |tx| registrations::doubt(tx, &of.0, &of.1, &of.2)).await {
            tracing::warn!(error = %chain(&error), "cannot record that an app is in doubt");
        }
    }
}

impl Broker {
    /// Reads which server the caller names, where the platform has many; `None` where it is one.
    pub(super) fn server(
        &self,
        of: &ConfiguredPlatform,
        named: Option<&str>,
        app: Option<OauthAppId>,
    ) -> Result<Option<Server>, Error> {
        let label = &of.platform().label;
        let refused = |why: String| Err(Error::InvalidParameter(format!("server {why}")));
        match (of.has_servers(), named) {
            (false, None) => Ok(None),
            (false, Some(_)) => refused(format!("must not be set: {label} is not many servers")),
            (true, None) => refused(format!(
                "is missing: {label} is many servers, so ask which one the person's account is on, and send its name, such \
                 as mastodon.social"
            )),
            (true, Some(_)) if app.is_some() => Err(Error::InvalidParameter(format!(
                "appId must not be set: the broker registers an app by itself at each server of {label}"
            ))),
            (true, Some(named)) => match self.upstream.server(named) {
                Ok(server) => Ok(Some(server)),
                Err(why) => refused(why.to_string()),
            },
        }
    }

    /// Client id of the broker's app at a server, which is registered if need be.
    pub(super) async fn client_at(
        &self,
        caller: &Caller,
        of: &ConfiguredPlatform,
        server: &Server,
    ) -> Result<String, Error> {
        let (platform, now) = (of.platform(), self.clock.now());
        let wanted = self.app_at(of, server);
        let known = self.registration_for(wanted.clone()).await?;
        if let Some(known) = known.as_ref().filter(|known| self.is_usable(known)) {
            if known.used_at.plus(USED_EVERY) <= now {
                self.touch(known, known.proven_at).await?;
            }
            return Ok(known.client_id.clone());
        }
        let key = caller.access_key_id.map_or_else(|| "demo".to_owned(), |id| id.to_string());
        let project = caller.project_id;
        let mut subjects =
            vec![(format!("server {}", server.origin()), PER_SERVER), (format!("project {project}"), PER_PROJECT)];
        match caller.link_id {
            // Whoever has a link takes nothing from the key that made it, and not all from its other links.
            Some(link) => subjects.extend([(format!("link {link}"), PER_LINK), (format!("links of {key}"), PER_KEY)]),
            None => subjects.push((format!("key {key}"), PER_KEY)),
        }

        let (name, server) = (platform.name.to_string(), server.clone());
        let broker = self.clone();
        // Who joins a run in flight makes no attempt.
        let work = move || async move {
            let _place = broker.take_place(Some(project)).await.map_err(|error| match error {
                Error::TooManyExchanges => NotRegistered::Busy,
                error => {
                    tracing::error!(platform.name = %name, error = %chain(&error), "cannot tell what a project may use");
                    NotRegistered::Storage
                }
            })?;
            broker.count_attempt_to_register(&subjects)?;
            broker.prove_or_register(project, &name, &server).await
        };
        let done = self.registrations.start(&self.tasks, wanted, work).result().await;
        match (done.unwrap_or(Err(NotRegistered::Storage)), known) {
            // Most probably the server still knows it.
            (Err(NotRegistered::TooManyAttempts { .. }), Some(known)) if self.open_registration(&known).is_ok() => {
                Ok(known.client_id)
            }
            (done, _) => Ok(done?),
        }
    }

    /// The app that connections at a server need now.
    fn app_at(&self, of: &ConfiguredPlatform, server: &Server) -> AppAt {
        let platform = of.platform();
        AppAt {
            platform: platform.name.to_string(),
            server: server.origin().to_owned(),
            callback_url: self.callback_url(&platform.name, Some(server)),
            scopes: platform.allowed_scopes(),
        }
    }

    async fn registration_for(
        &self,
        AppAt { platform, server, callback_url, scopes }: AppAt,
    ) -> Result<Option<Registration>, Error> {
        let find = move |db: &_| registrations::find_for(db, &platform, &server, &callback_url, &scopes);
        Ok(self.store.read(find).await?)
    }

    fn count_attempt_to_register(&self, subjects: &[(String, Limit)]) -> Result<(), NotRegistered> {
        let mut attempts = self.registration_attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = attempts.count(self.clock.now(), subjects);
        counted.map_err(|retry_after| NotRegistered::TooManyAttempts { retry_after })
    }

    async fn touch(&self, known: &Registration, proven_at: Timestamp) -> Result<(), Error> {
        let (known, now) = (known.clone(), self.clock.now());
        let touch = move |tx: &Transaction<'_>| {
            let Registration { platform, server, client_id, .. } = &known;
            registrations::touch(tx, platform, server, client_id, proven_at, now)
        };
        Ok(self.store.write(touch).await?)
    }

    /// Asks the server whether it knows the app, and registers one where it does not.
    async fn prove_or_register(
        &self,
        project: ProjectId,
        name: &str,
        server: &Server,
    ) -> Result<String, NotRegistered> {
        let internal = |error: Error| {
            tracing::error!(platform.name = name, server = server.origin(), error = %chain(&error), "cannot look for an app");
            NotRegistered::Storage
        };
        let Some(of) = self.upstream.platforms().find(name) else {
            let sentence = "the platform is switched off".to_owned();
            return Err(NotRegistered::Unreachable { failure: Failure::AppMissing, sentence });
        };
        let scopes = of.platform().allowed_scopes();
        if let Some(known) = self.registration_for(self.app_at(of, server)).await.map_err(internal)? {
            // By a run that ended after the caller had looked.
            if self.is_usable(&known) {
                return Ok(known.client_id);
            }
            match self.open_registration(&known) {
                Ok(credentials) => {
                    if self.upstream.oauth_client(of, Some(server), credentials).is_known(&scopes).await {
                        self.touch(&known, self.clock.now()).await.map_err(internal)?;
                        return Ok(known.client_id);
                    }
                }
                Err(error) => tracing::warn!(
                    platform.name = name, server = server.origin(), error = %chain(&error),
                    "the secret of the broker's app cannot be opened"
                ),
            }
            self.doubt(name, server.origin(), &known.client_id).await;
        }
        self.register(project, of, server, scopes).await
    }

    async fn register(
        &self,
        project: ProjectId,
        of: &ConfiguredPlatform,
        server: &Server,
        scopes: Vec<String>,
    ) -> Result<String, NotRegistered> {
        let (platform, origin) = (of.platform(), server.origin().to_owned());
        let (name, label, host) = (platform.name.to_string(), &platform.label, server.host());
        let callback_url = self.callback_url(&name, Some(server));
        let website = &self.settings.public_url;
        let own_host = website.split_once("://").map_or(website.as_str(), |(_, rest)| rest);
        let shown = platform.server_from_user.as_ref().and_then(|servers| servers.client_name.as_deref());
        let app =
            AppToRegister { name: shown.unwrap_or(own_host), callback_url: &callback_url, scopes: &scopes, website };
        let nobody = Credentials::none();
        let registered = self.upstream.oauth_client(of, Some(server), nobody).register(&app).await;
        let credentials = registered.map_err(|error| {
            tracing::warn!(platform.name = name, server = origin, error = %chain(&error), "cannot register at a server");
            match error {
                Unregistered::NotThere(_) => NotRegistered::Named(format!(
                    "server names no server of {label}'s kind: {host} does not answer as one. Check its spelling: it is the \
                     name in the browser's address bar where the person signs in"
                )),
                Unregistered::Failed(error) => {
                    let failure = match error.failure {
                        // There is no account yet, and there are no credentials.
                        Failure::AppOrGrantRejected | Failure::RequestRefused => Failure::AuthorizationRefused,
                        failure => failure,
                    };
                    let happened = failure.what_happened(host);
                    NotRegistered::Unreachable {
                        failure,
                        sentence: format!("{host} cannot be connected at the moment: {}", happened.trim_end_matches('.')),
                    }
                }
            }
        })?;
        let now = self.clock.now();
        let client_id = credentials.client_id.clone();
        let place = Place::registration_secret(&name, &origin, &client_id);
        let stored = async {
            let registration = Registration {
                platform: name.clone(),
                server: origin.clone(),
                client_id: client_id.clone(),
                client_secret: self.vault.seal_text(&place, &credentials.client_secret)?,
                callback_url: callback_url.clone(),
                scopes: scopes.clone(),
                created_at: now,
                proven_at: now,
                used_at: now,
            };
            let put = move |tx: &Transaction<'_>| {
                let count = registrations::count_all(tx)?;
                let has_room = (count < MOST_OF_PROJECT || registrations::count_needed(tx, project)? < MOST_OF_PROJECT)
                    && (count < MOST || registrations::purge(tx, now.minus(MAY_BE_IN_USE), 1)? > 0);
                if has_room {
                    registrations::put(tx, &registration)?;
                }
                Ok::<_, Error>(has_room)
            };
            self.store.write(put).await
        };
        match stored.await {
            Ok(true) => {
                tracing::info!(platform.name = name, server = origin, "registered at a server");
                Ok(client_id)
            }
            Ok(false) => {
                tracing::warn!(
                    project.id = %project, platform.name = name, server = origin, most = MOST, most_of_project = MOST_OF_PROJECT,
                    "cannot keep an app for this server: accounts depend on too many others, or connections have begun there \
                     within two hours"
                );
                Err(NotRegistered::TooMany)
            }
            Err(error) => {
                tracing::error!(platform.name = name, server = origin, error = %chain(&error), "cannot keep an app");
                Err(NotRegistered::Storage)
            }
        }
    }
}
