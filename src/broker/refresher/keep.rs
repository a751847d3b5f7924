//! Stores what a platform has delivered: its answer before it is read, then the tokens, however long that takes.

use std::time::Duration;

use super::{Landing, NotRefreshed, Refresher, count, storage};
use crate::broker::Error;
use crate::domain::error_chain::chain;
use crate::domain::grant::{Grant, IssuedTokens, TokenSet};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::refresh::NewTokens;
use crate::domain::renewal::{Jitter, Renewal};
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::store::{self, grants};
use crate::vault::Place;

/// Backoff between attempts to store tokens, which are in memory alone until then.
const STORE_AGAIN_AFTER: Duration = Duration::from_millis(200);
const STORE_AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// How long a broker that shuts down goes on trying to store such tokens before it revokes them.
const STORE_WHILE_STOPPING: Duration = Duration::from_secs(12);

/// The fate of tokens that were to be stored.
enum Stored {
    /// Given up: they are in a stored answer, or were revoked.
    No,
    /// The grant has other tokens by now, or is gone: these were revoked.
    Superseded,
    Yes,
}

impl Refresher {
    /// Seals and commits an answer as it came. True when it is, or may be, stored. A failure is logged only: the tokens
    /// in the answer are stored a moment later, so this is a second chance and not the only one.
    pub(super) async fn store_answer(&self, grant: &Grant, answer: &[u8], asked_at: Timestamp) -> bool {
        let (core, project, id, generation) = (self.core(), grant.project_id, grant.id, grant.generation);
        let stored = match core.vault.seal_answer(&Place::grant_answer(grant.id, grant.generation, grant), answer) {
            Ok(sealed) => core
                .store
                .write_kept(move |tx| {
                    grants::change(tx, project, id, generation, |grant| grant.store_answer(asked_at, sealed.clone()))
                })
                .await
                .map_err(Error::from),
            Err(error) => Err(error.into()),
        };
        match stored {
            Ok(()) => true,
            Err(Error::Store(store::Error::NotChanged)) => false,
            Err(error) => {
                tracing::error!(grant.id = %id, error = %chain(&error), "cannot store a platform's answer before it is read");
                error.is_in_doubt()
            }
        }
    }

    /// Brings back a grant that ended while an answer was stored that nobody understood, where this program does.
    pub(super) async fn revive(&self, project: ProjectId, id: GrantId) -> Landing {
        let found = self.core().store.read(move |db| Ok::<_, Error>(grants::find(db, project, id)?)).await;
        let Ok(Some(grant)) = found else { return Err(NotRefreshed::Ended) };
        if let Ok(Some(tokens)) = self.core().open_grant(&grant)
            && let Some(Ok(issued)) = self.open_stored_answer(&grant, &tokens)
        {
            // A failure is logged there, and the next start or reload finds the answer again.
            self.store_tokens(&grant, tokens, issued, true).await?;
            tracing::info!(
                grant.id = %id, platform.name = %grant.platform,
                "a stored answer is understood now: its grant had ended and is active again"
            );
            return Ok(());
        }
        Err(NotRefreshed::Ended)
    }

    /// Swaps in what was issued. `is_stored`: it is, or may be, in a stored answer as well.
    pub(super) async fn store_tokens(
        &self,
        grant: &Grant,
        old: TokenSet,
        issued: IssuedTokens,
        is_stored: bool,
    ) -> Landing {
        let (core, issued_at) = (self.core(), issued.issued_at);
        let now = core.clock.now();
        let is_same = grant.renewal == Renewal::AccessToken && issued.tokens.shares(&old);
        // A refresh token that stays valid ends when it did. Where each use may prolong it, its end is unknown.
        let is_refresh_token_kept = issued.tokens.refresh_token.is_none()
            || (issued.tokens.shares_refresh_token(&old) && !core.upstream.rotates_refresh_tokens(&grant.platform));
        let tokens = TokenSet {
            access_token: issued.tokens.access_token,
            // Absent means unchanged.
            refresh_token: issued.tokens.refresh_token.or(old.refresh_token),
            id_token: issued.tokens.id_token.or(old.id_token),
            token_type: issued.tokens.token_type,
            service_url: issued.tokens.service_url.or(old.service_url),
        };
        let timing = core.timing(&grant.platform, tokens.refresh_token.is_some());
        // An answer without a lifetime means the same lifetime as before, and the same token expires when it did.
        let access_expires_at = issued.access_expires_at.or_else(|| {
            let life = grant.issued_at.until(grant.access_expires_at?);
            if is_same { grant.access_expires_at } else { Some(issued_at.plus(life)) }
        });
        let refresh_expires_at =
            issued.refresh_expires_at.or(grant.refresh_expires_at.filter(|_| is_refresh_token_kept));
        let jitter = Jitter::draw(&*core.entropy);
        let due_at = timing.due_at(issued_at, access_expires_at, refresh_expires_at, jitter);
        // Only the platform knows whether a token for which it names no end expires when it is thought to: it is asked.
        let due_at = due_at.or(access_expires_at.filter(|_| is_same && issued.access_expires_at.is_none()));
        let generation = grant.generation + 1;
        let sealed = match core.vault.seal_tokens(&Place::grant_tokens(grant.id, generation, grant), &tokens) {
            Ok(sealed) => sealed,
            Err(error) => return Err(storage(grant.id, &error.into())),
        };
        let new = NewTokens {
            tokens: sealed,
            scopes: issued.scopes.unwrap_or_else(|| grant.scopes.clone()),
            issued_at,
            access_expires_at,
            refresh_expires_at,
            renewal: timing.renewal,
            due_at,
        };
        let renewed = grant.clone().renewed(new, now);
        match self.store_renewed(&renewed, &tokens, is_stored).await {
            Stored::Yes => {
                core.generations.admit(grant.id, generation);
                failpoint::reach("refresh_stored");
                count(&grant.platform, "refreshed");
                tracing::debug!(grant.id = %grant.id, platform.name = %grant.platform, "tokens refreshed");
                Ok(())
            }
            Stored::Superseded => {
                count(&grant.platform, "superseded");
                Ok(())
            }
            Stored::No => Err(NotRefreshed::Storage { full: false }),
        }
    }

    /// Stores tokens that a platform delivered, however long it takes: nobody else has them. A store that writes no more
    /// is not waited for.
    async fn store_renewed(&self, renewed: &Grant, tokens: &TokenSet, is_stored: bool) -> Stored {
        let mut unsaved = None;
        let mut pause = STORE_AGAIN_AFTER;
        let mut left_while_stopping = STORE_WHILE_STOPPING;
        loop {
            let swapped = renewed.clone();
            let stored = self.core().store.write_kept(move |tx| {
                failpoint::reach("refresh_swapping");
                grants::renew(tx, &swapped, swapped.generation - 1)
            });
            let error = match stored.await {
                Ok(()) => return Stored::Yes,
                Err(store::Error::NotChanged) => {
                    self.revoke_unwanted(renewed, tokens).await;
                    return Stored::Superseded;
                }
                Err(error) => error,
            };
            if unsaved.is_none() && !error.is_final() {
                tracing::error!(
                    grant.id = %renewed.id, platform.name = %renewed.platform, error = %chain(&error),
                    "cannot store refreshed tokens: they stay in memory, and storing them is retried"
                );
                unsaved = Some(self.0.unsaved.begin());
            }
            let is_final = error.is_final();
            if self.core().tasks.are_draining() || is_final {
                left_while_stopping = left_while_stopping.saturating_sub(pause);
                if is_stored {
                    tracing::error!(
                        grant.id = %renewed.id, platform.name = %renewed.platform, error = %chain(&error),
                        "refreshed tokens were not stored before the broker stopped: the next start reads them from the stored answer, \
                         unless the disk has lost that"
                    );
                    return Stored::No;
                }
                // A commit that the disk did not confirm may have succeeded all the same.
                if matches!(error, store::Error::Failed(_)) {
                    tracing::error!(
                        grant.id = %renewed.id, platform.name = %renewed.platform, error = %chain(&error),
                        "refreshed tokens may have been stored or not: where they were not, the account must be reconnected"
                    );
                    return Stored::No;
                }
                if left_while_stopping.is_zero() || is_final {
                    tracing::error!(
                        grant.id = %renewed.id, platform.name = %renewed.platform, error = %chain(&error),
                        "refreshed tokens were not stored before the broker stopped: the account must be reconnected"
                    );
                    self.revoke_unwanted(renewed, tokens).await;
                    return Stored::No;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_AGAIN_AT_MOST);
        }
    }

    /// Revokes refreshed tokens that came too late: the account was disconnected or connected anew meanwhile. They
    /// expire unused where a revocation would reach the new consent or somebody else's.
    async fn revoke_unwanted(&self, renewed: &Grant, tokens: &TokenSet) {
        let id = renewed.id;
        let (refresher, grant, ours) = (self.clone(), renewed.clone(), tokens.clone());
        let would_end_what_is_used =
            move |db: &store::Connection| refresher.0.revocation.would_end_what_is_used(db, &grant, &ours);
        // Not a short read: another process may have ended the account a moment ago.
        match self.core().store.read_long(would_end_what_is_used).await {
            Ok(false) => {
                let revoked = self.0.revocation.revoke_unwanted(renewed, tokens).await;
                tracing::info!(grant.id = %id, revoked = ?revoked, "refreshed tokens came too late");
            }
            Ok(true) => tracing::info!(grant.id = %id, "refreshed tokens came too late; they expire unused"),
            Err(error) => {
                tracing::warn!(grant.id = %id, error = %chain(&error), "refreshed tokens came too late, and were not revoked");
            }
        }
    }
}
