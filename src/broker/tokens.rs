//! Hand out an access token that works: the one that is there while it lasts, else a refreshed one.
//!
//! Invariants: a refresh token never leaves; who read which token is written down before it does; and what a platform
//! still accepts is handed out even when it cannot be renewed at the moment, with the time that it has.

use std::time::Duration;

use super::error::What;
use super::refresher::NotRefreshed;
use super::{Broker, Caller, Error, integrations as cases};
use crate::domain::grant::{AuthStatus, Grant, TokenSet};
use crate::domain::id::IntegrationId;
use crate::domain::integration::{Integration, OwnTokens};
use crate::domain::renewal::Renewal;
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;
use crate::domain::trouble::TroubleKind;
use crate::store::{self, grants, integrations, token_reads};
use crate::vault::Place;

/// How long a token is needed, where the caller does not say.
const USUAL_LIFE: Duration = Duration::from_mins(5);

/// When to ask again where nobody knows better.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// An access token for a caller. Silent in `Debug`.
#[derive(Debug)]
pub struct VendedToken {
    pub platform: String,
    pub platform_user_id: String,
    pub access_token: SecretString,
    pub token_type: String,
    /// `None`: it does not expire, as far as the platform says.
    pub expires_at: Option<Timestamp>,
    pub scopes: Vec<String>,
    /// The server that it is for, where each account has its own.
    pub service_url: Option<String>,
}

/// An integration with all that its token is made of.
struct Found {
    integration: Integration,
    grant: Grant,
    own: OwnTokens,
}

impl Found {
    /// What a token must be good for where the caller does not say: never more than a fresh one is.
    fn usual_life(&self) -> Duration {
        let life = self.grant.access_expires_at.map(|at| self.grant.issued_at.until(at));
        life.map_or(USUAL_LIFE, |life| USUAL_LIFE.min(life / 2))
    }

    /// Whether the token that is there does not last, and another can be asked for or missed.
    fn is_to_be_refreshed(&self, now: Timestamp, at_least: Duration) -> bool {
        self.own.tokens.is_none()
            && self.integration.status == AuthStatus::Active
            && self.grant.access_expires_at.is_some_and(|at| at < now.plus(at_least))
    }
}

impl Broker {
    /// An access token of an account that is good for `at_least`, or else for as long as most calls take. [`Error::ReconnectRequired`] when only its person can
    /// bring one, [`Error::RefreshFailed`] when it has expired and cannot be refreshed at the moment.
    pub async fn fresh_token(
        &self,
        caller: &Caller,
        id: &str,
        at_least: Option<Duration>,
    ) -> Result<VendedToken, Error> {
        let id = cases::parse(id)?;
        let found = self.find_token(caller, id).await?;
        let at_least = at_least.unwrap_or_else(|| found.usual_life());
        if !found.is_to_be_refreshed(self.clock.now(), at_least) {
            return self.vend(caller, found).await;
        }
        self.check_life(&found, at_least)?;
        let Grant { project_id, id: grant, generation, .. } = found.grant;
        match self.refresher.refresh(project_id, grant, generation).await {
            Ok(()) => {
                // The freshest that there is: that it took a moment to come is no reason for another.
                let found = self.find_token(caller, id).await?;
                self.check_life(&found, at_least)?;
                self.vend(caller, found).await
            }
            Err(why) => self.vend_unrefreshed(caller, id, why).await,
        }
    }

    /// [`Error::TokenTooShort`] where not even a fresh token would last that long, or there is no fresh one to be had.
    fn check_life(&self, found: &Found, at_least: Duration) -> Result<(), Error> {
        let Some(expires_at) = found.grant.access_expires_at else { return Ok(()) };
        let life = found.grant.issued_at.until(expires_at);
        if found.integration.status != AuthStatus::Active || (life >= at_least && found.grant.renewal != Renewal::Never)
        {
            return Ok(());
        }
        let (label, lasts) = (self.label(&found.integration.platform), self.clock.now().until(expires_at));
        Err(Error::TokenTooShort { label, lasts, life })
    }

    /// What is there although a refresh brought nothing, as long as it lives.
    async fn vend_unrefreshed(
        &self,
        caller: &Caller,
        id: IntegrationId,
        why: NotRefreshed,
    ) -> Result<VendedToken, Error> {
        let found = self.find_token(caller, id).await?;
        let now = self.clock.now();
        let is_alive = found.grant.access_expires_at.is_none_or(|at| now < at);
        if is_alive || found.integration.status != AuthStatus::Active {
            return self.vend(caller, found).await;
        }
        let label = self.label(&found.integration.platform);
        Err(match why {
            NotRefreshed::Gone => Error::NotFound(What::Integration),
            NotRefreshed::Storage { full: true } => Error::NoRoom,
            NotRefreshed::Failed { kind, retry_after } => Error::RefreshFailed {
                next_step: kind.next_step(&found.integration.platform),
                what_happened: kind.what_happened(&label),
                retry_after,
            },
            NotRefreshed::Ended
            | NotRefreshed::Panicked
            | NotRefreshed::Stopping
            | NotRefreshed::Storage { full: false }
            | NotRefreshed::TooSlow
            | NotRefreshed::TooYoung { .. } => Error::RefreshFailed {
                what_happened: format!("The token expired, and a new one from {label} is not there yet."),
                next_step: "Ask again in a moment; the broker's log says more.".to_owned(),
                retry_after: ASK_AGAIN_AFTER,
            },
        })
    }

    async fn find_token(&self, caller: &Caller, id: IntegrationId) -> Result<Found, Error> {
        let (project, now) = (caller.project_id, self.clock.now());
        self.store
            .read(move |db| {
                let not_found = || Error::NotFound(What::Integration);
                let integration = integrations::find(db, project, id)?.ok_or_else(not_found)?.judged(now);
                let grant = grants::find(db, project, integration.grant_id)?.ok_or_else(not_found)?;
                let own = integrations::find_own_tokens(db, project, id)?.ok_or_else(not_found)?;
                Ok(Found { integration, grant, own })
            })
            .await
    }

    /// Hands the token out, after it is written down who got it.
    async fn vend(&self, caller: &Caller, found: Found) -> Result<VendedToken, Error> {
        let Found { integration, grant, own } = found;
        if let AuthStatus::ReconnectRequired(_) = integration.status {
            return Err(self.reconnect_required(&integration, &grant));
        }
        let (tokens, expires_at) = if let Some(sealed) = &own.tokens {
            (self.vault.open_tokens(&Place::integration_tokens(integration.id, own.generation), sealed)?, None)
        } else {
            let tokens = self.open_grant(&grant)?.ok_or_else(|| self.reconnect_required(&integration, &grant))?;
            (tokens, grant.access_expires_at)
        };
        self.audit(caller, &integration).await?;
        let TokenSet { access_token, token_type, service_url, .. } = tokens;
        Ok(VendedToken {
            platform: integration.platform,
            platform_user_id: integration.account.platform_user_id,
            access_token,
            token_type,
            expires_at,
            scopes: grant.scopes,
            service_url,
        })
    }

    fn reconnect_required(&self, integration: &Integration, grant: &Grant) -> Error {
        let kind = grant.trouble.as_ref().map(|trouble| trouble.kind).filter(|kind| kind.ends_grant().is_some());
        // Lapsed by its recorded times, or an account that the consent no longer covers.
        let kind = kind.unwrap_or(match integration.status {
            AuthStatus::ReconnectRequired(reason) => reason.into(),
            AuthStatus::Active => TroubleKind::ConsentExpired,
        });
        Error::ReconnectRequired {
            what_happened: kind.what_happened(&self.label(&integration.platform)),
            next_step: kind.next_step(&integration.platform),
        }
    }

    /// A full disk does not keep an app from its users' accounts: then the log alone has it.
    async fn audit(&self, caller: &Caller, integration: &Integration) -> Result<(), Error> {
        let (project, id, now) = (caller.project_id, integration.id, self.clock.now());
        let key = caller.access_key_id;
        tracing::info!(
            access_key.id = key.map(tracing::field::display), integration.id = %id,
            platform.name = %integration.platform, "access token handed out"
        );
        metrics::counter!("postpeer_tokens_vended_total", "platform" => integration.platform.clone()).increment(1);
        let Some(key) = key else { return Ok(()) };
        match self.store.write(move |tx| token_reads::record(tx, project, id, key, now)).await {
            Ok(()) => Ok(()),
            Err(store::Error::Full(_)) => {
                tracing::warn!(access_key.id = %key, integration.id = %id, "the disk is full: that a token was handed out is in this log alone");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
