//! Hands out an access token that works: the stored one while it lasts, else a refreshed one.
//!
//! Invariants: a refresh token never leaves the broker; each read is recorded before the token is returned; a token
//! that the platform still accepts is handed out even when it cannot be refreshed right now.

use std::time::Duration;

use super::error::What;
use super::refresher::NotRefreshed;
use super::{Broker, Caller, Error, integrations as cases};
use crate::domain::failure::Failure;
use crate::domain::grant::{AuthStatus, Grant, TokenSet};
use crate::domain::id::IntegrationId;
use crate::domain::integration::{Integration, OwnTokens};
use crate::domain::renewal::Renewal;
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;
use crate::store::{self, grants, integrations, token_reads};
use crate::vault::Place;

/// How long a token must last when the caller does not say.
const USUAL_LIFE: Duration = Duration::from_mins(5);

/// Retry-After when nothing better is known.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// An access token for a caller. Silent in `Debug`.
#[derive(Debug)]
pub struct VendedToken {
    pub platform: String,
    pub platform_user_id: String,
    pub access_token: SecretString,
    pub token_type: String,
    /// `None` when the platform reports no expiry.
    pub expires_at: Option<Timestamp>,
    pub scopes: Vec<String>,
    /// The account's server, where each account has its own.
    pub service_url: Option<String>,
}

/// An integration with its grant and its own tokens.
struct Found {
    integration: Integration,
    grant: Grant,
    own: OwnTokens,
}

impl Found {
    /// How long a token must last when the caller does not say: never longer than a fresh one does.
    fn usual_life(&self) -> Duration {
        let life = self.grant.access_expires_at.map(|at| self.grant.issued_at.until(at));
        life.map_or(USUAL_LIFE, |life| USUAL_LIFE.min(life / 2))
    }

    /// True when the stored token does not last and must be refreshed.
    fn is_to_be_refreshed(&self, now: Timestamp, at_least: Duration) -> bool {
        self.own.tokens.is_none()
            && self.integration.status == AuthStatus::Active
            && self.grant.access_expires_at.is_some_and(|at| at < now.plus(at_least))
    }
}

impl Broker {
    /// An access token that lasts `at_least`, or when that is `None`, as long as most calls take.
    ///
    /// # Errors
    ///
    /// [`Error::ReconnectRequired`] when the account's owner must reconnect it, [`Error::RefreshFailed`] when the
    /// token has expired and cannot be refreshed right now, [`Error::TokenTooShort`] when even a fresh one would not
    /// last.
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
                // The freshest token there is, although it is a moment old already.
                let found = self.find_token(caller, id).await?;
                self.check_life(&found, at_least)?;
                self.vend(caller, found).await
            }
            Err(why) => self.vend_unrefreshed(caller, id, why).await,
        }
    }

    /// [`Error::TokenTooShort`] when even a fresh token would not last `at_least`, or nothing refreshes it.
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

    /// The stored token after a refresh that brought nothing, unless it has expired.
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
                next_step: self.next_step(kind, &found.integration.platform),
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

    /// Returns the token after the read was recorded.
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
        // Expired by its recorded times, or an account that the consent no longer covers.
        let kind = kind.unwrap_or(match integration.status {
            AuthStatus::ReconnectRequired(reason) => reason.into(),
            AuthStatus::Active => Failure::ConsentExpired,
        });
        Error::ReconnectRequired {
            what_happened: kind.what_happened(&self.label(&integration.platform)),
            next_step: self.next_step(kind, &integration.platform),
        }
    }

    /// Records the read. On a full disk only the log has it: the caller still gets its token.
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
                tracing::warn!(access_key.id = %key, integration.id = %id, "the disk is full: this read of a token is recorded in the log only");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
