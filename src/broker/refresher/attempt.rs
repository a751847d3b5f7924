//! One attempt to refresh a grant: everything from reading its row to storing its new tokens.

use std::sync::Arc;

use super::throttle::{NotNow, Permit};
use super::{LONGEST_WAIT, Landing, NotRefreshed, Refresher, storage};
use crate::broker::Error;
use crate::broker::clients::BoundTo;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::grant::{AuthStatus, Grant, IssuedTokens, TokenSet};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::store::grants;
use crate::store::refreshes::AppKey;
use crate::upstream::Client;
use crate::vault::Place;

impl Refresher {
    /// Refreshes the grant unless it has other tokens than those of `generation` by now. Only one runs for each grant.
    pub(super) async fn attempt(&self, project: ProjectId, id: GrantId, generation: u64) -> Landing {
        let core = self.core();
        let found = core.store.read(move |db| Ok::<_, Error>(grants::find(db, project, id)?)).await;
        let grant = match found {
            Ok(Some(grant)) => grant,
            Ok(None) => return Err(NotRefreshed::Gone),
            Err(error) => return Err(storage(id, &error)),
        };
        if grant.generation != generation {
            return Ok(());
        }
        if grant.status != AuthStatus::Active {
            return Err(NotRefreshed::Ended);
        }
        let now = core.clock.now();
        // Nothing else renews it meanwhile but a new connection, after which this attempt stores nothing.
        if !core.generations.admit(id, generation) {
            let error = refresh_error(&grant, Failure::TokensUnreadable).caused_by(core.went_back(id).to_string());
            return self.failed(&grant, error, None).await;
        }
        let tokens = match core.open_grant(&grant) {
            Ok(Some(tokens)) => tokens,
            Ok(None) => return Err(NotRefreshed::Ended),
            Err(error) => {
                let error = refresh_error(&grant, Failure::TokensUnreadable).caused_by(chain(&error));
                return self.failed(&grant, error, None).await;
            }
        };
        if let Some(landing) = self.read_stored_answer(&grant, &tokens).await {
            return landing;
        }
        if let Some(waiting) = waiting(&grant, now) {
            return Err(waiting);
        }
        let timing = core.timing(&grant.platform, tokens.refresh_token.is_some());
        let until = grant.issued_at.plus(timing.not_before);
        // A wrong clock tells no age: the platform decides about tokens from the future, and those that expired young.
        let is_age_known = grant.issued_at <= now && grant.lapses_at().is_none_or(|at| now < at);
        if now < until && is_age_known {
            self.wait_for_age(&grant, until).await?;
            return Err(NotRefreshed::TooYoung { until });
        }
        Box::pin(self.ask(grant, tokens)).await
    }

    /// Waits for the app's turn, and asks with the configuration of that time.
    async fn ask(&self, grant: Grant, tokens: TokenSet) -> Landing {
        let mut current = self.latest();
        loop {
            let permit = match current.0.throttle.enter(&current.app_of(&grant, &tokens), grant.project_id).await {
                Ok(permit) => permit,
                Err(NotNow::Paused(pause)) => return current.paused(&grant, pause).await,
                Err(NotNow::Stopping) => return Err(NotRefreshed::Stopping),
            };
            let latest = current.latest();
            if Arc::ptr_eq(&latest.0, &current.0) {
                return current.ask_in_turn(grant, tokens, permit).await;
            }
            current = latest;
        }
    }

    /// Writes the attempt down, asks the platform, and stores what it answered.
    async fn ask_in_turn(&self, grant: Grant, tokens: TokenSet, permit: Permit) -> Landing {
        let core = self.core();
        // Read only now: credentials may have changed while this waited.
        let client = match self.client(&grant, &tokens).await {
            Ok(client) => client,
            Err(error) => return self.failed(&grant, error, Some(permit)).await,
        };
        if let Err(error) = core.store.ensure_reserve().await {
            return Err(storage(grant.id, &error.into()));
        }
        let asked_at = core.clock.now();
        if !self.change(&grant, move |grant| grant.begin_refresh(asked_at)).await? {
            return Ok(());
        }
        failpoint::reach("refresh_begun");
        let owned = (grant.project_id, grant.id);
        let asked = {
            let _in_flight = self.0.in_flight.begin();
            client.refresh(&tokens, &grant.scopes).await
        };
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                self.learn(&permit, owned, Some(&error)).await;
                core.doubt_app_of_grant(&grant, &tokens, error.code.as_deref()).await;
                return self.failed(&grant, error, Some(permit)).await;
            }
        };
        failpoint::reach("refresh_answered");
        // A whole answer that nobody understood yet is replaced only by one that is understood.
        let has_older = grant.refresh.answer().is_some() && !self.is_cut_off(&grant, &tokens);
        let mut is_stored = !has_older && self.store_answer(&grant, &answer, asked_at).await;
        failpoint::reach("refresh_answer_kept");
        let read = self.read_answer(&grant, &tokens, &answer, asked_at);
        if has_older && read.is_ok() {
            is_stored = self.store_answer(&grant, &answer, asked_at).await;
        }
        match read {
            Ok(issued) => {
                failpoint::reach("refresh_answer_read");
                self.learn(&permit, owned, None).await;
                // The next call of the app need not wait until these tokens are stored.
                drop(permit);
                self.store_tokens(&grant, tokens, issued, is_stored).await
            }
            Err(error) => {
                // The older answer is the stored one.
                let error = PlatformError { is_in_answer: error.is_in_answer && !has_older, ..error };
                self.learn(&permit, owned, Some(&error)).await;
                self.failed(&grant, error, Some(permit)).await
            }
        }
    }

    /// All that it takes to ask the platform about the grant.
    async fn client<'a>(&'a self, grant: &'a Grant, tokens: &'a TokenSet) -> Result<Client<'a>, PlatformError> {
        match self.core().client(BoundTo::from(grant).at(tokens.service_url.as_deref())).await {
            Ok(Some(client)) => Ok(client),
            Ok(None) => Err(not_configured(grant)),
            Err(error) => {
                let why = format!("the app's credentials cannot be read: {}", chain(&error));
                Err(refresh_error(grant, Failure::AppMissing).caused_by(why))
            }
        }
    }

    fn read_answer(
        &self,
        grant: &Grant,
        tokens: &TokenSet,
        answer: &[u8],
        asked_at: Timestamp,
    ) -> Result<IssuedTokens, PlatformError> {
        let read = self.core().upstream.read_refresh(grant, tokens, answer, asked_at);
        read.unwrap_or_else(|| Err(not_configured(grant)))
    }

    /// The tokens in the answer that was stored and never read, because the broker died or did not understand it.
    pub(super) fn open_stored_answer(
        &self,
        grant: &Grant,
        tokens: &TokenSet,
    ) -> Option<Result<IssuedTokens, PlatformError>> {
        let (asked_at, sealed) = grant.refresh.asked_at().zip(grant.refresh.answer())?;
        match self.core().vault.open_answer(&Place::grant_answer(grant.id, grant.generation, grant), sealed) {
            Ok(answer) => Some(self.read_answer(grant, tokens, &answer, asked_at)),
            Err(error) => {
                tracing::error!(grant.id = %grant.id, error = %chain(&error), "cannot open a stored answer");
                None
            }
        }
    }

    /// True when what is stored was cut off, and cannot be read under any configuration.
    fn is_cut_off(&self, grant: &Grant, tokens: &TokenSet) -> bool {
        let read = self.open_stored_answer(grant, tokens);
        read.is_some_and(|read| read.is_err_and(|error| error.is_cut_off))
    }

    /// Ends the refresh with the stored answer. `None` without one, or where it still cannot be read: the old token is
    /// tried.
    async fn read_stored_answer(&self, grant: &Grant, tokens: &TokenSet) -> Option<Landing> {
        match self.open_stored_answer(grant, tokens)? {
            Ok(issued) => {
                tracing::info!(grant.id = %grant.id, platform.name = %grant.platform, "read the answer that was stored before");
                Some(self.store_tokens(grant, tokens.clone(), issued, true).await)
            }
            Err(error) if error.is_in_answer => Some(self.failed(grant, error, None).await),
            Err(_) => None,
        }
    }

    /// The app whose throttle the refresh of a grant counts for. Where each account has a server of its own: that
    /// server.
    fn app_of(&self, grant: &Grant, tokens: &TokenSet) -> AppKey {
        let mut app = AppKey::of(grant);
        if let Some(url) = tokens.service_url.as_ref().filter(|_| self.has_own_server(&grant.platform)) {
            app.client_id.clone_from(url);
        }
        app
    }

    /// The same for a grant whose tokens are not at hand.
    pub(super) fn app_of_stored(&self, grant: &Grant) -> AppKey {
        let tokens = self.core().open_grant(grant).ok().flatten();
        tokens.map_or_else(|| AppKey::of(grant), |tokens| self.app_of(grant, &tokens))
    }

    pub(super) fn has_own_server(&self, platform: &str) -> bool {
        self.core().upstream.has_server_per_account(platform)
    }
}

fn not_configured(grant: &Grant) -> PlatformError {
    refresh_error(grant, Failure::AppMissing)
        .caused_by("the platform, or the app that the grant belongs to, is not configured")
}

/// A refresh that failed before the platform was asked.
fn refresh_error(grant: &Grant, failure: Failure) -> PlatformError {
    PlatformError::new(&grant.platform, Step::Refresh, failure)
}

/// Why a caller waits with everybody else for the next attempt: a refresh failed a moment ago.
fn waiting(grant: &Grant, now: Timestamp) -> Option<NotRefreshed> {
    let (trouble, due_at) = (grant.trouble.as_ref()?, grant.due_at?);
    // A wait longer than any of ours was set by a wrong clock: ignore it.
    let is_meant = grant.failures > 0 && now < due_at && due_at <= now.plus(LONGEST_WAIT);
    is_meant.then(|| NotRefreshed::Failed { kind: trouble.kind, retry_after: now.until(due_at) })
}
