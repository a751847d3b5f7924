//! Hands out an access token that works: the stored one while it lasts, else a refreshed one.
//!
//! Sealed tokens are opened for each read, and not kept open in memory: that takes a few microseconds, and plaintext
//! that is kept can leak, must be bounded, and has to be forgotten with every refresh and every disconnected account.
//!
//! Invariants: a refresh token never leaves the broker; each read is recorded before the token is returned, as
//! [`token_reads`](super::token_reads) says; a token that the platform still accepts is handed out even when it cannot
//! be refreshed right now; so is one that is new, once callers have had it replaced several times within a minute.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::core::count_failure;
use super::error::What;
use super::refresher::NotRefreshed;
use super::{Broker, Caller, Error, integrations as cases};
use crate::domain::eager_refreshes::is_hardly_used;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::grant::{AuthStatus, FailureReason, TokenSet};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::AccountTokens;
use crate::domain::refresh_failure::RefreshFailure;
use crate::domain::renewal::Renewal;
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;
use crate::store::{self, Connection, Transaction, grants, integrations};
use crate::vault::{self, Owner, Place};

/// How long a token must last when the caller does not say.
const USUAL_LIFE: Duration = Duration::from_mins(5);

/// Retry-After when nothing better is known.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// An access token for a caller. Silent in `Debug`.
#[derive(Debug)]
pub struct VendedToken {
    pub account: Arc<AccountTokens>,
    pub access_token: SecretString,
    pub token_type: String,
    /// `None` when the platform reports no expiry.
    pub expires_at: Option<Timestamp>,
    /// The account's server, where each account has its own.
    pub service_url: Option<String>,
}

/// How long a token must last when the caller does not say: never longer than a fresh one does.
fn usual_life(found: &AccountTokens) -> Duration {
    let life = found.access_expires_at.map(|at| found.issued_at.until(at));
    life.map_or(USUAL_LIFE, |life| USUAL_LIFE.min(life / 2))
}

/// False where a refresh would not bring a token that lasts `at_least`: nothing renews the token, or the last refresh
/// brought a shorter one. Asks again once the token is due for any caller: a platform may hand out the rest of a token's
/// life, or change its lifetimes. A code exchange says nothing of the tokens that refreshes bring.
fn may_bring(found: &AccountTokens, now: Timestamp, at_least: Duration) -> bool {
    let Some(expires_at) = found.access_expires_at else { return true };
    let is_long = found.issued_at.until(expires_at) >= at_least;
    let is_due = expires_at < now.plus(usual_life(found));
    match found.renewal {
        Renewal::AccessToken => is_long,
        Renewal::Never => false,
        Renewal::RefreshToken => is_long || is_due || !found.is_refreshed,
    }
}

/// A token that was issued so long from now was issued while the clock was ahead: nobody knows how old it is.
const AHEAD: Duration = Duration::from_mins(1);

/// True when the stored token does not last and must be refreshed.
fn is_to_be_refreshed(found: &AccountTokens, now: Timestamp, at_least: Duration) -> bool {
    found.own.tokens.is_none()
        && (found.status_at(now) == AuthStatus::Active || has_lapsed_unasked(found, now))
        && found.access_expires_at.is_some_and(|at| at < now.plus(at_least) || is_misdated(found, now))
}

/// True when the account has lapsed by the clock alone, which may be wrong: its platform has not refused it yet.
fn has_lapsed_unasked(found: &AccountTokens, now: Timestamp) -> bool {
    let is_refused = || found.trouble.as_ref().is_some_and(|it| it.kind.ends_grant().is_some() && it.status.is_some());
    found.status == AuthStatus::Active
        && found.status_at(now) != AuthStatus::Active
        && found.renewal != Renewal::Never
        && !is_refused()
}

/// False where nothing would bring another token.
fn is_misdated(found: &AccountTokens, now: Timestamp) -> bool {
    found.issued_at > now.plus(AHEAD) && found.renewal != Renewal::Never
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
        let at_least = at_least.unwrap_or_else(|| usual_life(&found));
        let now = self.clock.now();
        if !is_to_be_refreshed(&found, now, at_least) {
            return self.vend(caller, found).await;
        }
        if !may_bring(&found, now, at_least) || !self.may_refresh(&found) {
            self.check_life(&found, at_least)?;
            return self.vend(caller, found).await;
        }
        match self.refresher.refresh(caller.project_id, found.grant_id, found.grant_generation).await {
            Ok(()) => {
                // The freshest token there is, although it is a moment old already.
                let found = self.find_token(caller, id).await?;
                self.check_life(&found, at_least)?;
                self.vend(caller, found).await
            }
            Err(why) => self.vend_unrefreshed(caller, id, why).await,
        }
    }

    /// False when the token is new, and was replaced too often lately.
    fn may_refresh(&self, found: &AccountTokens) -> bool {
        let now = self.clock.now();
        let is_new = found.access_expires_at.is_some_and(|at| is_hardly_used(found.issued_at, at, now));
        let mut eager = self.eager_refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        !is_new || eager.admit(found.grant_id, found.grant_generation, now)
    }

    /// [`Error::TokenTooShort`] when a token of this lifetime never lasts `at_least`, or nothing refreshes it.
    fn check_life(&self, found: &AccountTokens, at_least: Duration) -> Result<(), Error> {
        let Some(expires_at) = found.access_expires_at else { return Ok(()) };
        let (life, now) = (found.issued_at.until(expires_at), self.clock.now());
        if found.status_at(now) != AuthStatus::Active || (life >= at_least && found.renewal != Renewal::Never) {
            return Ok(());
        }
        let (label, lasts) = (self.label(&found.platform), now.until(expires_at));
        Err(Error::TokenTooShort { label, lasts, life, helps_reconnect: life >= at_least })
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
        let is_alive = found.access_expires_at.is_none_or(|at| now < at);
        // A token that cannot be opened is refused with the reason, however long it would last.
        let is_unreadable = matches!(why, NotRefreshed::Failed { kind: Failure::TokensUnreadable, .. });
        let must_be_reconnected = found.status_at(now) != AuthStatus::Active && !has_lapsed_unasked(&found, now);
        if is_alive || is_unreadable || must_be_reconnected {
            return self.vend(caller, found).await;
        }
        let label = self.label(&found.platform);
        Err(match why {
            NotRefreshed::Gone => Error::NotFound(What::Integration),
            NotRefreshed::Storage { full: true } => Error::NoRoom,
            NotRefreshed::Failed { kind, retry_after } => {
                let recorded = found.trouble.clone().filter(|trouble| trouble.kind == kind);
                let trouble = recorded.unwrap_or_else(|| RefreshFailure::unasked(kind, now));
                Error::RefreshFailed {
                    next_step: trouble.next_step(&found.platform, self.console(&found.platform)),
                    what_happened: kind.what_happened(&label),
                    retry_after,
                }
            }
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

    async fn find_token(&self, caller: &Caller, id: IntegrationId) -> Result<Arc<AccountTokens>, Error> {
        let project = caller.project_id;
        let read = || {
            let find = move |db: &Connection| integrations::find_tokens(db, project, id);
            self.store.read_known((project, id), |_: &AccountTokens| true, find)
        };
        let seen = |found: Option<Arc<AccountTokens>>| {
            found.filter(|found| caller.sees(found.profile_id)).ok_or(Error::NotFound(What::Integration))
        };
        let mut found = seen(read().await?)?;
        if !self.generations.admit(found.grant_id, found.grant_generation) {
            // Another refresh may have ended since it was read.
            found = seen(read().await?)?;
            if !self.generations.admit(found.grant_id, found.grant_generation) {
                self.record_unreadable(project, &found).await;
                return Err(self.went_back(found.grant_id).into());
            }
        }
        Ok(found)
    }

    /// Returns the token after the read was recorded.
    async fn vend(&self, caller: &Caller, found: Arc<AccountTokens>) -> Result<VendedToken, Error> {
        if let AuthStatus::ReconnectRequired(_) = found.status_at(self.clock.now()) {
            return Err(self.reconnect_required(&found));
        }
        let project_id = caller.project_id;
        let (place, sealed, expires_at) = match (&found.own.tokens, &found.grant_tokens) {
            (Some(own), _) => {
                (Place::integration_tokens(found.id, found.own.generation, project_id, &found.platform), own, None)
            }
            // The grant's token is the person's, and opens all that is theirs.
            (None, _) if self.upstream.has_token_per_account(&found.platform) => {
                return Err(self.reconnect_required(&found));
            }
            (None, Some(sealed)) => {
                let owner = Owner { project_id, platform: &found.platform, client_id: &found.client_id };
                let place = Place::grant_tokens(found.grant_id, found.grant_generation, owner);
                (place, sealed, found.access_expires_at)
            }
            (None, None) => return Err(self.reconnect_required(&found)),
        };
        let tokens = match self.vault.open_tokens(&place, sealed) {
            Ok(tokens) => tokens,
            Err(error) => {
                // Another process may have made a data key a moment ago. An account's own token is not the grant's.
                if !matches!(error, vault::Error::UnknownKey { .. }) && found.own.tokens.is_none() {
                    self.record_unreadable(project_id, &found).await;
                }
                return Err(error.into());
            }
        };
        self.record_read(caller, &found).await?;
        metrics::counter!("postpeer_tokens_vended_total", "platform" => found.platform.clone()).increment(1);
        let TokenSet { access_token, token_type, service_url, .. } = tokens;
        Ok(VendedToken { account: found, access_token, token_type, expires_at, service_url })
    }

    /// Records that the tokens of an account's grant do not open, so that its health tells before a refresh is due.
    async fn record_unreadable(&self, project: ProjectId, found: &AccountTokens) {
        let kind = Failure::TokensUnreadable;
        if found.trouble.as_ref().is_some_and(|trouble| trouble.kind == kind) {
            return;
        }
        let (id, generation, now) = (found.grant_id, found.grant_generation, self.clock.now());
        let record = move |tx: &Transaction<'_>| {
            let trouble = RefreshFailure::unasked(kind, now);
            grants::change(tx, project, id, generation, |grant| grant.unreadable(trouble))
        };
        match self.store.write(record).await {
            Ok(()) => {
                count_failure(kind, &found.platform);
            }
            // Disconnected, or connected anew.
            Err(store::Error::NotChanged) => {}
            Err(error) => {
                tracing::warn!(grant.id = %id, error = %chain(&error), "cannot record that tokens do not open");
            }
        }
    }

    fn reconnect_required(&self, found: &AccountTokens) -> Error {
        let label = self.label(&found.platform);
        if let Some(trouble) = found.trouble.as_ref().filter(|trouble| trouble.kind.ends_grant().is_some()) {
            return Error::ReconnectRequired {
                what_happened: trouble.what_happened(&label),
                next_step: trouble.next_step(&found.platform, self.console(&found.platform)),
            };
        }
        // Expired by its recorded times, or an account that the consent no longer covers.
        let kind = match found.status_at(self.clock.now()) {
            // Its grant has tokens, so it works for others.
            AuthStatus::ReconnectRequired(FailureReason::AccessRevoked) if found.grant_tokens.is_some() => {
                RefreshFailure::of_lost_account(self.clock.now()).kind
            }
            AuthStatus::ReconnectRequired(FailureReason::TokenExpired) | AuthStatus::Active => {
                self.lapse(&found.platform, found.renewal)
            }
            AuthStatus::ReconnectRequired(reason) => reason.into(),
        };
        Error::ReconnectRequired {
            what_happened: kind.what_happened(&label),
            next_step: self.next_step(kind, &found.platform),
        }
    }
}
