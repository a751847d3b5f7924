//! Ends the consents that a new connection replaced. They would live on at the platform for months, although nothing
//! here knows of them any more.
//!
//! Invariant: the new consent and every account in use survive. A replaced consent is revoked only after the new one is
//! stored, and only where the revocation is known to end nothing else; where that is doubtful, its tokens expire
//! unused.

use super::Broker;
use super::record::Stored;
use crate::domain::error_chain::chain;
use crate::domain::grant::{Grant, TokenSet};
use crate::store::{self, grants};

impl Broker {
    /// Tells of a connection that was stored, and ends the consents that it replaced. Nobody waits for that. `current`:
    /// the tokens that it brought.
    pub(super) fn connected(&self, stored: Stored, current: TokenSet) {
        let Stored { platform, flow_id, connected, superseded } = stored;
        let flow_id = flow_id.map(tracing::field::display);
        for id in connected {
            tracing::info!(flow.id = flow_id, platform.name = %platform, integration.id = %id, "account connected");
        }
        if superseded.is_empty() {
            return;
        }
        let broker = self.clone();
        self.tasks.spawn(async move {
            for grant in superseded {
                broker.end_replaced(&grant, &current).await;
            }
        });
    }

    async fn end_replaced(&self, grant: &Grant, current: &TokenSet) {
        let (id, platform) = (grant.id, &grant.platform);
        let Some(old) = self.open_grant(grant).ok().flatten().filter(|_| self.upstream.can_revoke(platform)) else {
            return;
        };
        if self.upstream.are_one_session(platform, &old, current) || !self.revocation.ends_known_consents(platform) {
            return;
        }
        let (revocation, replaced) = (self.revocation.clone(), grant.clone());
        let has_sessions = self.upstream.has_sessions(platform);
        let would_end_what_is_used = move |db: &store::Connection| {
            // The account was connected again under the same app. Only sessions are known to end one by one.
            if !has_sessions && grants::find(db, replaced.project_id, id)?.is_some() {
                return Ok(true);
            }
            revocation.would_end_what_is_used(db, &replaced, &old)
        };
        // Not a short read: another process may have connected the account a moment ago.
        match self.store.read_long(would_end_what_is_used).await {
            Ok(false) => {
                let revoked = self.revocation.revoke(grant, self.refresher.is_refreshing(id)).await;
                tracing::info!(grant.id = %id, platform.name = %platform, revoked = ?revoked, "ended the consent that was replaced");
            }
            Ok(true) => {
                tracing::debug!(grant.id = %id, platform.name = %platform, "the consent that was replaced is not revoked: others may live on it");
            }
            Err(error) => {
                tracing::warn!(
                    grant.id = %id, platform.name = %platform, error = %chain(&error),
                    "the consent that was replaced is not revoked: cannot tell what a revocation would reach"
                );
            }
        }
    }
}
