//! Connects a Bluesky account with an app password: finds the identity and its server, begins a session there, stores
//! it.
//!
//! Runs on the work runtime, like an exchange: a session that was begun is stored whether or not anybody still waits,
//! or ended again where it cannot be. Connecting again begins another session and ends the one before, so that no
//! session lives on that nobody knows of. The password is not stored, and no error or log line has a place for it.
//! Sign-ins to an account are limited: the broker must not help to guess passwords, nor reach the number at which
//! servers lock an account. `limits.bluesky_…` limits callers, lookups included.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::error::What;
use super::finished::after_success;
use super::record::{Chosen, Under, with_known_names};
use super::{Broker, Caller, Error, apps, profiles};
use crate::domain::attempts::{Attempts, Limit};
use crate::domain::id::{IntegrationId, ProfileId};
use crate::domain::integration::Integration;
use crate::domain::time::Timestamp;
use crate::platforms::{Bluesky, bluesky};
use crate::store::integrations;
use crate::upstream::app_password::{Did, Identifier};

/// Time for all calls to other servers.
const WITHIN: Duration = Duration::from_secs(10);

/// Servers accept 30 attempts for an account in this time.
const PER_ACCOUNT: Limit = Limit { attempts: 5, within: WINDOW };
/// The same with those that did not reach the account's server: the broker must not help to probe hosts.
const UNSENT_PER_ACCOUNT: Limit = Limit { attempts: 30, within: WINDOW };
const WINDOW: Duration = Duration::from_mins(5);

/// A caller's request to connect an account.
#[derive(Debug)]
pub struct ConnectBluesky {
    /// Handle or DID, as the person typed it.
    pub identifier: String,
    pub password: SecretString,
    pub redirect_uri: Option<String>,
    pub cancel_redirect_uri: Option<String>,
    pub profile_id: Option<String>,
    /// Refused: Bluesky has no OAuth apps.
    pub app_id: Option<String>,
    /// The integration that must come back.
    pub reconnect: Option<String>,
}

/// A connected account.
#[derive(Debug)]
pub struct ConnectedBluesky {
    pub integration: Integration,
    /// The platform's name for people.
    pub label: String,
    /// Redirect for the person. Carries ids, never a token.
    pub destination: Option<String>,
}

impl Broker {
    /// Connects an account. [`Error::Bluesky`] when the account's side says no.
    pub async fn connect_bluesky(&self, caller: &Caller, wanted: ConnectBluesky) -> Result<ConnectedBluesky, Error> {
        let Some(directory) = self.upstream.platforms().bluesky() else {
            return Err(Error::PlatformUnavailable(self.unknown_platform(bluesky::NAME)));
        };
        let mut profile_id = caller.profile_to_connect(wanted.profile_id.as_deref())?;
        let mut reconnects = None;
        if let Some(id) = &wanted.reconnect {
            let account = self.find_to_reconnect(caller, id, bluesky::NAME, profile_id).await?;
            (profile_id, reconnects) = (account.profile_id, Some(account.id));
        }
        let profile = profile_id.map(|id| id.to_string());
        let check = |parameter, uri: &Option<String>| {
            self.check_redirect(parameter, uri.as_deref(), bluesky::NAME, profile.as_deref())
        };
        let redirect_uri = check("redirectUri", &wanted.redirect_uri)?;
        check("cancelRedirectUri", &wanted.cancel_redirect_uri)?;
        let app_id = wanted.app_id.as_deref().map(apps::parse).transpose()?;
        let project = caller.project_id;
        self.store
            .read(move |db| {
                if let Some(id) = profile_id {
                    profiles::get(db, project, id)?;
                }
                match app_id {
                    Some(id) => Err(Error::AppOfOtherPlatform(apps::get(db, project, id)?.platform)),
                    None => Ok(()),
                }
            })
            .await?;
        let identifier = self.upstream.identifier(&wanted.identifier)?;

        let (broker, caller, directory) = (self.clone(), caller.clone(), directory.clone());
        let password = wanted.password;
        let chosen = Chosen::of(reconnects);
        let place = self.take_place(Some(project)).await?;
        let work = async move {
            let begun = broker.begin_session(&caller, &directory, &identifier, password, (profile_id, chosen)).await;
            drop(place);
            begun
        };
        let id = self.tasks.run(work).await??;

        let integration = self
            .store
            .read(move |db| integrations::find(db, project, id))
            .await?
            .ok_or(Error::NotFound(What::Integration))?
            .judged(self.clock.now());
        let (ids, profile) = ([id.to_string()], integration.profile_id.map(|id| id.to_string()));
        let destination = redirect_uri.map(|uri| after_success(&uri, bluesky::NAME, profile.as_deref(), &ids));
        let label = self.label(bluesky::NAME);
        Ok(ConnectedBluesky { integration, label, destination })
    }

    async fn begin_session(
        &self,
        caller: &Caller,
        directory: &Bluesky,
        identifier: &Identifier,
        password: SecretString,
        (profile_id, chosen): (Option<ProfileId>, Chosen),
    ) -> Result<IntegrationId, Error> {
        let deadline = Instant::now() + WITHIN;
        let located = self.upstream.locate(directory, identifier, deadline).await?;
        // A handle that was not found has locked nobody out, so only sign-ins count: by the DID, whatever was typed.
        let counted_at = self.count_sign_in(&located.did)?;
        let session = self.upstream.sign_in(directory, &located, password, deadline).await.inspect_err(|error| {
            if error.is_before_sending() {
                self.attempts().take_back(located.did.as_str(), counted_at);
            }
        })?;
        let under = Under {
            project_id: caller.project_id,
            platform: bluesky::NAME.to_owned(),
            client_id: bluesky::CLIENT_ID.to_owned(),
            app_id: None,
            profile_id,
            requested_scopes: Vec::new(),
            flow_id: None,
            by: caller.by(),
        };
        let (core, consent, now) = (self.core.clone(), session.clone(), self.clock.now());
        let is_name_unknown = located.is_handle_unchecked;
        let stored: Result<_, Error> = self
            .store
            .write_kept(move |tx| {
                let kept = is_name_unknown.then(|| with_known_names(tx, &under, &chosen, &consent)).transpose()?;
                let consent = kept.as_ref().unwrap_or(&consent);
                let stored = core.record_connection(tx, &under, consent, &chosen, now)?;
                Ok((stored.connected.first().copied().ok_or(Error::NotFound(What::Integration))?, stored))
            })
            .await;
        match stored {
            Ok((id, stored)) => {
                self.connected(stored, session.issued.tokens);
                Ok(id)
            }
            Err(error) => {
                if !error.is_in_doubt() {
                    self.upstream.abandon(&located, &session).await;
                }
                Err(error)
            }
        }
    }

    /// Counts a sign-in. Returns its time.
    fn count_sign_in(&self, account: &Did) -> Result<Timestamp, Error> {
        let (now, sent, all) = (self.clock.now(), account.to_string(), format!("{account} sent or not"));
        let counted = self.attempts().count(now, &[(sent, PER_ACCOUNT), (all, UNSENT_PER_ACCOUNT)]);
        counted.map(|()| now).map_err(|retry_after| Error::TooManyAttempts { retry_after })
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.bluesky_attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
