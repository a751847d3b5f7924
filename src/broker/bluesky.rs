//! Connect a Bluesky account with an app password: find the identity and its server, begin a session there, store it.
//!
//! Runs on the work runtime, like the end of a redirect: a session that was begun is stored whether or not anybody still
//! waits for the answer, or ended again when it cannot be. Connecting again begins another session, and ends the one before:
//! as far as that is in our hands, no session lives on that nobody knows of. The password goes to the account's server and
//! nowhere else: it is not stored, and no error or log line has a place for it. Attempts are counted, so that the broker is
//! no way to guess passwords with, and stays below what the servers themselves would lock an account for.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::error::What;
use super::record::{Chosen, Stored, Under};
use super::{Broker, Caller, Error, apps, profiles};
use crate::atproto::{self, Identifier, Trouble, Unresolved};
use crate::domain::account::Identity;
use crate::domain::attempts::Limit;
use crate::domain::grant::{Grant, TokenSet};
use crate::domain::id::{IntegrationId, ProfileId};
use crate::domain::integration::Integration;
use crate::domain::redirect::RedirectUri;
use crate::domain::selection::Consent;
use crate::platforms::{Bluesky, bluesky};
use crate::store::{integrations, oauth_apps, profiles as stored_profiles};

/// For all of the talk with other servers.
const WITHIN: Duration = Duration::from_secs(10);

/// Servers take 30 attempts at an account in this time.
const PER_ACCOUNT: Limit = Limit { attempts: 5, within: WINDOW };
/// An app with many users connects a few of them in any five minutes.
const PER_KEY: Limit = Limit { attempts: 100, within: WINDOW };
const PER_ADDRESS: Limit = Limit { attempts: 150, within: WINDOW };
const WINDOW: Duration = Duration::from_mins(5);

/// What a caller sends.
#[derive(Debug)]
pub struct ConnectBluesky {
    /// As the person typed it.
    pub identifier: String,
    pub password: SecretString,
    pub redirect_uri: Option<String>,
    pub cancel_redirect_uri: Option<String>,
    pub profile_id: Option<String>,
    /// Bluesky has no OAuth apps, so any is another platform's.
    pub app_id: Option<String>,
    /// Whom the request came from, as far as that is known.
    pub address: Option<IpAddr>,
}

/// A connected account.
#[derive(Debug)]
pub struct ConnectedBluesky {
    pub integration: Integration,
    /// The platform's name for people.
    pub label: String,
    /// Where the caller may send the person now; carries ids, never a token.
    pub destination: Option<String>,
}

impl Broker {
    /// Connects an account. [`Error::Bluesky`] when the account's side says no.
    pub async fn connect_bluesky(&self, caller: &Caller, wanted: ConnectBluesky) -> Result<ConnectedBluesky, Error> {
        let Some(directory) = self.upstream.platforms().bluesky() else {
            return Err(Error::PlatformUnavailable(self.unknown_platform(bluesky::NAME)));
        };
        let redirect_uri = self.check_redirect("redirectUri", wanted.redirect_uri.as_deref())?;
        self.check_redirect("cancelRedirectUri", wanted.cancel_redirect_uri.as_deref())?;
        let profile_id = wanted.profile_id.as_deref().map(profiles::parse).transpose()?;
        let app_id = wanted.app_id.as_deref().map(apps::parse).transpose()?;
        let project = caller.project_id;
        self.store
            .read(move |db| {
                if let Some(id) = profile_id
                    && stored_profiles::find(db, project, id)?.is_none()
                {
                    return Err(Error::NotFound(What::Profile));
                }
                match app_id.map(|id| oauth_apps::find(db, project, id)).transpose()? {
                    Some(Some(app)) => Err(Error::AppOfOtherPlatform(app.platform)),
                    Some(None) => Err(Error::NotFound(What::App)),
                    None => Ok(()),
                }
            })
            .await?;
        let identifier = self.upstream.at_protocol().identifier(&wanted.identifier).map_err(atproto::Error::from)?;
        let key = caller.access_key_id.map_or_else(|| "demo".to_owned(), |id| id.to_string());
        let mut subjects = vec![(format!("key {key}"), PER_KEY)];
        subjects.extend(wanted.address.map(|address| (format!("address {address}"), PER_ADDRESS)));
        if matches!(identifier, Identifier::Handle(_)) {
            subjects.push((format!("account {}", identifier.as_str()), PER_ACCOUNT));
        }
        self.count_attempt(&subjects)?;

        let (broker, caller, directory) = (self.clone(), caller.clone(), directory.clone());
        let password = wanted.password;
        let work = async move { broker.begin_session(&caller, &directory, &identifier, password, profile_id).await };
        let id = self.tasks.run(work).await??;

        let integration = self
            .store
            .read(move |db| integrations::find(db, project, id))
            .await?
            .ok_or(Error::NotFound(What::Integration))?
            .judged(self.clock.now());
        let destination = redirect_uri.map(|uri| destination(&uri, &integration));
        let label = self.label(bluesky::NAME);
        Ok(ConnectedBluesky { integration, label, destination })
    }

    async fn begin_session(
        &self,
        caller: &Caller,
        directory: &Bluesky,
        identifier: &Identifier,
        password: SecretString,
        profile_id: Option<ProfileId>,
    ) -> Result<IntegrationId, Error> {
        let deadline = Instant::now() + WITHIN;
        let located = tokio::time::timeout_at(deadline, self.upstream.at_protocol().locate(directory, identifier))
            .await
            .unwrap_or(Err(atproto::Error::IdentityUnresolved(Unresolved::TooSlow)))?;
        // Handle and DID are two names of one account; a person that gives either in turn gets no more attempts.
        self.count_attempt(&[(format!("account {}", located.did), PER_ACCOUNT)])?;
        let session =
            tokio::time::timeout_at(deadline, self.upstream.at_protocol().create_session(&located, &password))
                .await
                .unwrap_or(Err(atproto::Error::PdsUnreachable(Trouble::TooSlow)))?;
        drop(password);

        let issued = session.issued;
        let account = self.upstream.at_protocol().account(directory, &located, &issued.tokens.access_token);
        let account = match tokio::time::timeout_at(deadline, account).await {
            Ok(account) => account,
            Err(_) => located.bare_account(),
        };
        let tokens = issued.tokens.clone();
        let consent = Consent::new(issued, Identity::single(account));
        let under = Under {
            project_id: caller.project_id,
            platform: bluesky::NAME.to_owned(),
            client_id: bluesky::CLIENT_ID.to_owned(),
            app_id: None,
            profile_id,
            flow_id: None,
        };
        let (broker, now) = (self.clone(), self.clock.now());
        let stored = self
            .store
            .write_kept(move |tx| {
                let Stored { connected, superseded } =
                    broker.record_connection(tx, &under, &consent, &Chosen::All, now)?;
                Ok((connected.first().copied().ok_or(Error::NotFound(What::Integration))?, superseded))
            })
            .await;
        match stored {
            Ok((id, superseded)) => {
                self.end_superseded(superseded, tokens);
                Ok(id)
            }
            Err(error) => {
                if let Some(refresh_token) = &tokens.refresh_token {
                    self.upstream.at_protocol().abandon(&located.service_url, refresh_token).await;
                }
                Err(error)
            }
        }
    }

    /// Ends the sessions that a new one took the place of, which would live on for months; nobody waits for it. Each session
    /// is by itself: ending an old one does not reach the new one, unless a server gave the same one twice.
    fn end_superseded(&self, superseded: Vec<Grant>, current: TokenSet) {
        if superseded.is_empty() {
            return;
        }
        let broker = self.clone();
        self.tasks.spawn(async move {
            for grant in superseded {
                let old = broker.open_grant(&grant).ok().flatten();
                if old.is_some_and(|old| !broker.upstream.are_one_session(&grant.platform, &old, &current)) {
                    let revoked = broker.revocation.revoke(&grant, broker.refresher.is_refreshing(grant.id)).await;
                    tracing::debug!(grant.id = %grant.id, revoked = ?revoked, "the session before this one was ended");
                }
            }
        });
    }

    fn count_attempt(&self, subjects: &[(String, Limit)]) -> Result<(), Error> {
        let mut attempts = self.bluesky_attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        attempts.count(self.clock.now(), subjects).map_err(|retry_after| Error::TooManyAttempts { retry_after })
    }
}

/// Where the person goes after a success.
fn destination(uri: &RedirectUri, integration: &Integration) -> String {
    let (id, profile) = (integration.id.to_string(), integration.profile_id.map(|id| id.to_string()));
    let mut parameters = vec![("status", "success"), ("platform", bluesky::NAME), ("integrationId", id.as_str())];
    parameters.extend(profile.as_deref().map(|profile| ("profileId", profile)));
    uri.with(&parameters)
}
