//! Keep what a platform has delivered: its answer before it is read, then the tokens, for as long as it takes.

use std::time::Duration;

use super::{Unrefreshed, answer_place, count, storage};
use crate::broker::bluesky::is_same_session;
use crate::broker::exchange::chain;
use crate::broker::record::tokens_place;
use crate::broker::single_flight::Landing;
use crate::broker::{Broker, Error};
use crate::domain::grant::{Grant, IssuedTokens, TokenSet};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::renewal::Jitter;
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::platforms::bluesky;
use crate::store::{self, grants, refreshes};

/// Between attempts to store tokens that a platform has delivered: they are in memory alone until then.
const STORE_AGAIN_AFTER: Duration = Duration::from_millis(200);
const STORE_AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// How long a stopping broker goes on trying to store such tokens before it gives them back.
const STORE_WHILE_STOPPING: Duration = Duration::from_secs(12);

/// What became of tokens that were to be stored.
enum Stored {
    /// Given up: they are in an answer that was kept, or were given back.
    No,
    /// Others are there by now, or nothing: they were given back.
    Superseded,
    Yes,
}

impl Broker {
    /// Seals and commits an answer as it came. When that fails the tokens in it are stored a moment later, or it is tried
    /// for as long as it takes: this is one chance more, not the only one. Whether it is kept.
    pub(super) async fn keep_answer(&self, grant: &Grant, answer: &[u8], asked_at: Timestamp) -> bool {
        let (project, id, generation) = (grant.project_id, grant.id, grant.generation);
        let kept = match self.vault.seal_answer(&answer_place(grant), answer) {
            Ok(sealed) => self
                .store
                .write_kept(move |tx| refreshes::keep_answer(tx, project, id, generation, asked_at, &sealed))
                .await
                .map_err(Error::from),
            Err(error) => Err(error.into()),
        };
        match kept {
            Ok(()) => true,
            Err(Error::Store(store::Error::NotChanged)) => false,
            Err(error) => {
                tracing::error!(grant.id = %id, error = %chain(&error), "a platform's answer was not kept before it is read");
                false
            }
        }
    }

    /// Brings a grant back that has ended while an answer was kept that nobody understood, where this program does.
    pub(in crate::broker) async fn revive(&self, project: ProjectId, id: GrantId) {
        let found = self.store.read(move |db| Ok::<_, Error>(grants::find(db, project, id)?)).await;
        let Ok(Some(grant)) = found else { return };
        if let Ok(Some(tokens)) = self.open_grant(&grant)
            && let Some(Ok(issued)) = self.read_kept(&grant, &tokens)
        {
            // What fails is logged there, and the next start finds the answer again.
            if self.keep_tokens(&grant, tokens, issued, true).await.is_ok() {
                tracing::info!(
                    grant.id = %id, platform.name = %grant.platform,
                    "an answer that was kept is understood now: the grant that had ended goes on with it"
                );
            }
        }
    }

    /// Swaps in what was issued. `is_kept`: whether it is also there in an answer that was kept.
    pub(super) async fn keep_tokens(
        &self,
        grant: &Grant,
        old: TokenSet,
        issued: IssuedTokens,
        is_kept: bool,
    ) -> Landing {
        let (now, issued_at) = (self.clock.now(), issued.issued_at);
        let tokens = TokenSet {
            access_token: issued.tokens.access_token,
            // Absent means keep, for all of these.
            refresh_token: issued.tokens.refresh_token.clone().or(old.refresh_token),
            id_token: issued.tokens.id_token.or(old.id_token),
            token_type: issued.tokens.token_type,
            service_url: issued.tokens.service_url.or(old.service_url),
        };
        let timing = self.timing(&grant.platform, tokens.refresh_token.is_some());
        // Where the answer says nothing of a life, it is as long as the last one.
        let access_expires_at = issued.access_expires_at.or_else(|| {
            let life = grant.issued_at.until(grant.access_expires_at?);
            Some(issued_at.plus(life))
        });
        let refresh_expires_at = match (issued.refresh_expires_at, &issued.tokens.refresh_token) {
            (Some(at), _) => Some(at),
            (None, Some(_)) => None,
            (None, None) => grant.refresh_expires_at,
        };
        let generation = grant.generation + 1;
        let sealed = match self.vault.seal_tokens(&tokens_place(grant.id, generation), &tokens) {
            Ok(sealed) => sealed,
            Err(error) => return Err(storage(grant.id, &error.into())),
        };
        let renewed = Grant {
            scopes: issued.scopes.unwrap_or_else(|| grant.scopes.clone()),
            issued_at,
            access_expires_at,
            refresh_expires_at,
            renewal: timing.renewal,
            tokens: Some(sealed),
            generation,
            due_at: timing.due_at(issued_at, access_expires_at, Jitter::draw(&*self.entropy)),
            attempt: None,
            updated_at: now,
            ..grant.clone()
        };
        match self.store_renewed(&renewed, &tokens, is_kept).await {
            Stored::Yes => {
                failpoint::reach("refresh_stored");
                count(&grant.platform, "refreshed");
                tracing::debug!(grant.id = %grant.id, platform.name = %grant.platform, "tokens refreshed");
                Ok(())
            }
            Stored::Superseded => {
                count(&grant.platform, "superseded");
                Ok(())
            }
            Stored::No => Err(Unrefreshed::Storage { full: false }),
        }
    }

    /// Stores tokens that a platform has delivered, however long it takes: nobody else has them.
    async fn store_renewed(&self, renewed: &Grant, tokens: &TokenSet, is_kept: bool) -> Stored {
        let mut unsaved = None;
        let mut pause = STORE_AGAIN_AFTER;
        let mut left_while_stopping = STORE_WHILE_STOPPING;
        loop {
            let swapped = renewed.clone();
            let stored = self.store.write_kept(move |tx| {
                failpoint::reach("refresh_swapping");
                grants::renew(tx, &swapped, swapped.generation - 1)
            });
            let error = match stored.await {
                Ok(()) => return Stored::Yes,
                Err(store::Error::NotChanged) => {
                    self.give_back_refreshed(renewed, tokens).await;
                    return Stored::Superseded;
                }
                Err(error) => error,
            };
            if unsaved.is_none() {
                tracing::error!(
                    grant.id = %renewed.id, platform.name = %renewed.platform, error = %chain(&error),
                    "refreshed tokens cannot be stored: they are kept in memory and tried again until they are"
                );
                unsaved = Some(self.unsaved.begin());
            }
            if self.tasks.is_closed() {
                left_while_stopping = left_while_stopping.saturating_sub(pause);
                // A commit that the disk did not confirm may be there all the same.
                if is_kept || matches!(error, store::Error::Failed(_)) {
                    tracing::error!(
                        grant.id = %renewed.id, platform.name = %renewed.platform, is_kept,
                        "refreshed tokens were not stored before the broker stopped: the next start looks for them in what it kept"
                    );
                    return Stored::No;
                }
                if left_while_stopping.is_zero() {
                    tracing::error!(
                        grant.id = %renewed.id, platform.name = %renewed.platform,
                        "refreshed tokens were not stored before the broker stopped: the account has to be connected again"
                    );
                    self.give_back_refreshed(renewed, tokens).await;
                    return Stored::No;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_AGAIN_AT_MOST);
        }
    }

    /// Tokens that nobody wants any more: the account was disconnected or connected anew while they were asked for.
    async fn give_back_refreshed(&self, renewed: &Grant, tokens: &TokenSet) {
        let (project, id) = (renewed.project_id, renewed.id);
        let (broker, grant, ours) = (self.clone(), renewed.clone(), tokens.clone());
        let wanted = self
            .store
            .read(move |db| match grants::find(db, project, id)? {
                // Nothing is revoked that the new consent, or what it kept of the old one, lives on.
                Some(current) => {
                    let current = broker.open_grant(&current)?;
                    let is_shared = |theirs: TokenSet| match grant.platform.as_str() {
                        bluesky::NAME => is_same_session(&theirs, &ours),
                        _ => theirs.shares(&ours),
                    };
                    Ok::<_, Error>(broker.reaches_person(&grant) || current.is_none_or(is_shared))
                }
                None => broker.is_needed_elsewhere(db, &grant, broker.clock.now()),
            })
            .await;
        match wanted {
            Ok(false) => {
                let revoked = self.revoke(renewed, tokens).await;
                tracing::info!(grant.id = %id, revoked = ?revoked, "refreshed tokens were not wanted any more");
            }
            Ok(true) => tracing::info!(grant.id = %id, "refreshed tokens were not wanted any more, and left to lapse"),
            Err(error) => {
                tracing::warn!(grant.id = %id, error = %chain(&error), "refreshed tokens were not wanted any more, and not given back");
            }
        }
    }
}
