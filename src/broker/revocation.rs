//! Decides what a revocation would reach, revokes, and reports what came of it.
//!
//! # Motivation
//!
//! At most platforms a revocation ends more than the token that it names: Google ends the person's whole consent to the
//! Cloud project, with every token of it, whether we call the account YouTube or Business Profile and whichever project
//! connected it. A revocation that reaches an account in use loses that account.
//!
//! # Theory of operation
//!
//! Who honours the token decides what its revocation reaches ([`Registry::reached_by_revocation`]): every grant and
//! every open selection under the same client, or a client of the same project, at a platform of the same authority.
//! Accounts of platforms that are not configured, at this moment or in this process, may be of that authority, so they
//! count. Where the platforms tell the person by a common id, only that person's consents are reached; else those of
//! everybody under that client count. Nothing is revoked while any of them is in use. Whatever cannot be revoked is
//! erased here all the same.
//!
//! [`Registry::reached_by_revocation`]: crate::platforms::Registry::reached_by_revocation

use std::sync::Arc;
use std::time::Duration;

use strum::IntoStaticStr;

use super::clients::BoundTo;
use super::{Core, Error};
use crate::domain::error_chain::chain;
use crate::domain::flow::Flow;
use crate::domain::grant::{Grant, TokenSet};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::time::Timestamp;
use crate::store::consents::{self, Consents, Users};
use crate::store::{Connection, grants};
use crate::upstream::{Client, OauthClient};
use crate::vault::Place;

/// Time for a platform to revoke. Nobody waits longer.
const REVOKE_WITHIN: Duration = Duration::from_secs(10);

/// The result of a revocation at the platform, or of a disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Revoked {
    /// The platform was not asked: other accounts live on the same consent. Callers are told so of their own project
    /// only.
    KeptForOthers,
    /// The platform did not confirm, or was not asked for the sake of another project's account.
    NotConfirmed,
    /// The account's owner connected it again meanwhile, so it stays.
    Reconnected,
    /// The platform has no endpoint for it: the account's owner removes the app in their settings there.
    Unsupported,
    /// The platform confirmed.
    #[strum(serialize = "revoked")]
    Yes,
}

/// A consent that may be revoked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    project_id: ProjectId,
    platform: &'a str,
    client_id: &'a str,
    /// `None` where nobody knows whose consent it is.
    subject: Option<&'a str>,
    /// The grant that it is, which does not count as in use.
    grant: Option<GrantId>,
}

impl<'a> From<&'a Grant> for Target<'a> {
    fn from(grant: &'a Grant) -> Self {
        Self {
            project_id: grant.project_id,
            platform: &grant.platform,
            client_id: &grant.client_id,
            subject: Some(&grant.subject),
            grant: Some(grant.id),
        }
    }
}

/// Revokes, unless that would reach others. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Revocation(Arc<Core>);

impl Revocation {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// Who else lives on what a revocation would end, at `now`.
    pub(super) fn reach(&self, db: &Connection, target: Target<'_>, now: Timestamp) -> Result<Users, Error> {
        let Target { project_id, platform, client_id, subject, grant } = target;
        let in_use = consents::list_platforms(db)?;
        let mut users = Users::Nobody;
        for reached in self.0.upstream.platforms().reached_by_revocation(platform, &in_use) {
            let (platform, subject) = (reached.platform, subject.filter(|_| reached.is_same_person));
            let clients = if reached.is_same_client() {
                vec![client_id.to_owned()]
            } else {
                consents::list_clients(db, platform)?
            };
            for client_id in clients.iter().filter(|other| reached.may_share(client_id, other)) {
                let consents = Consents { platform, client_id, subject };
                users = users.max(consents::users(db, project_id, &consents, grant, now)?);
            }
        }
        Ok(users)
    }

    /// True where the platform takes revocations.
    pub(super) fn can_ask(&self, platform: &str) -> bool {
        self.0.upstream.can_revoke(platform)
    }

    /// True where a revocation ends the person's whole consent.
    fn reaches_consent(&self, platform: &str) -> bool {
        !self.0.upstream.platforms().reached_by_revocation(platform, &[]).is_empty()
    }

    /// True where a revocation ends nothing but these tokens, or a consent to one client id alone. A consent to
    /// something wider, such as a project of several clients, may be in use under another client id.
    pub(super) fn ends_known_consents(&self, platform: &str) -> bool {
        !self.reaches_consent(platform) || self.0.upstream.platforms().are_consents_to_one_client(platform)
    }

    /// True when revoking `tokens`, which a grant had once, may end what is in use: the grant's present tokens, or what
    /// others live on.
    pub(super) fn would_end_what_is_used(
        &self,
        db: &Connection,
        grant: &Grant,
        tokens: &TokenSet,
    ) -> Result<bool, Error> {
        let core = &self.0;
        let Some(current) = grants::find(db, grant.project_id, grant.id)? else {
            return Ok(self.reach(db, grant.into(), core.clock.now())? != Users::Nobody);
        };
        let theirs = core.open_grant(&current)?;
        let is_one_session =
            theirs.is_none_or(|theirs| core.upstream.are_one_session(&grant.platform, &theirs, tokens));
        Ok(is_one_session || self.reaches_consent(&grant.platform))
    }

    /// Revokes the tokens of a grant that nobody uses any more. `is_refreshing`: a refresh of it is in flight, and
    /// revokes what it brings.
    pub(super) async fn revoke(&self, grant: &Grant, is_refreshing: bool) -> Revoked {
        let tokens = match self.0.open_grant(grant) {
            Ok(Some(tokens)) => tokens,
            Ok(None) => return Revoked::NotConfirmed,
            Err(error) => {
                tracing::warn!(grant.id = %grant.id, error = %chain(&error), "cannot open the tokens to revoke them");
                return Revoked::NotConfirmed;
            }
        };
        self.in_time(async {
            if !is_refreshing && let Some(successor) = self.unknown_successor(grant, &tokens).await {
                self.ask(grant.into(), &successor).await;
            }
            self.ask(grant.into(), &tokens).await
        })
        .await
    }

    /// Revokes tokens of a grant that were refreshed too late: the account was disconnected or connected anew
    /// meanwhile.
    pub(super) async fn revoke_unwanted(&self, grant: &Grant, tokens: &TokenSet) -> Revoked {
        self.in_time(self.ask(grant.into(), tokens)).await
    }

    /// Revokes tokens that came and are not kept, so that no consent lives on that nobody knows of. `client`: the app
    /// that they were issued to, where it is at hand; it may be deleted meanwhile. `subject`: whose they are, if that
    /// is known.
    pub(super) async fn give_back(
        &self,
        flow: &Flow,
        client: Option<&OauthClient<'_>>,
        subject: Option<&str>,
        tokens: &TokenSet,
    ) {
        let is_attributed = subject.is_some();
        let users = {
            let (revocation, subject, now) = (self.clone(), subject.map(str::to_owned), self.0.clock.now());
            let flow = flow.clone();
            let find = move |db: &Connection| {
                let Flow { project_id, platform, client_id, .. } = &flow;
                let (project_id, subject) = (*project_id, subject.as_deref());
                revocation.reach(db, Target { project_id, platform, client_id, subject, grant: None }, now)
            };
            // Not a short read: another process may have ended the account a moment ago.
            self.0.store.read_long(find).await
        };
        let came_of_it = match users {
            Ok(Users::Nobody) => match self.in_time(self.ask_for(flow, client, tokens)).await {
                Revoked::Yes => "the tokens were not kept, so they were revoked",
                Revoked::Unsupported => {
                    "the tokens were not kept; the platform has no revocation, so they expire unused"
                }
                Revoked::KeptForOthers | Revoked::NotConfirmed | Revoked::Reconnected => {
                    "the tokens were not kept, and the platform did not confirm their revocation"
                }
            },
            Ok(Users::OfOtherProjects | Users::OfProject) if is_attributed => {
                tracing::info!(
                    flow.id = %flow.id, platform.name = %flow.platform,
                    "the tokens were not kept; accounts in use live on the same consent, so it was not revoked"
                );
                return;
            }
            Ok(Users::OfOtherProjects | Users::OfProject) => {
                "the tokens were not kept, and not revoked: that could end other accounts, so they expire unused"
            }
            Err(error) => {
                tracing::warn!(
                    flow.id = %flow.id, platform.name = %flow.platform, error = %chain(&error),
                    "the tokens were not kept, and not revoked: cannot tell what a revocation would reach"
                );
                return;
            }
        };
        tracing::warn!(flow.id = %flow.id, platform.name = %flow.platform, "{came_of_it}");
    }

    async fn ask_for(&self, flow: &Flow, client: Option<&OauthClient<'_>>, tokens: &TokenSet) -> Revoked {
        match client {
            Some(client) => self.ask_as(&Client::OAuth(client.clone()), &flow.platform, tokens).await,
            None => self.ask(flow.into(), tokens).await,
        }
    }

    /// Tokens that the platform issued in exchange for these without the broker knowing, because it died or the answer
    /// was lost: the session lives on in them. Where a refresh may be repeated, repeating it leads to them.
    async fn unknown_successor(&self, grant: &Grant, tokens: &TokenSet) -> Option<TokenSet> {
        let Core { upstream, vault, .. } = &*self.0;
        let asked_at = grant.refresh.asked_at().filter(|_| upstream.forgives_repeated_refresh(&grant.platform))?;
        let read = |answer: &[u8]| Some(upstream.read_refresh(grant, tokens, answer, asked_at)?.ok()?.tokens);
        let stored = grant
            .refresh
            .answer()
            .and_then(|sealed| vault.open_answer(&Place::grant_answer(grant.id, grant.generation, grant), sealed).ok());
        if let Some(successor) = stored.and_then(|answer| read(&answer)) {
            return Some(successor);
        }
        let client = upstream.client_without_app(&grant.platform)?;
        read(&client.refresh(tokens, &grant.scopes).await.ok()?)
    }

    /// Finds the client that the tokens belong to, and asks the platform.
    async fn ask(&self, of: BoundTo<'_>, tokens: &TokenSet) -> Revoked {
        if !self.0.upstream.can_revoke(of.platform) {
            return Revoked::Unsupported;
        }
        if let Some(client) = self.0.upstream.client_without_app(of.platform) {
            return self.ask_as(&client, of.platform, tokens).await;
        }
        match self.0.client(of.at(tokens.service_url.as_deref())).await {
            Ok(Some(client)) => self.ask_as(&client, of.platform, tokens).await,
            Ok(None) => {
                let platform = of.platform;
                tracing::warn!(
                    platform.name = platform,
                    "cannot revoke: the platform or the app is not configured any more"
                );
                Revoked::NotConfirmed
            }
            Err(error) => {
                tracing::warn!(platform.name = of.platform, error = %chain(&error), "cannot revoke without the app's credentials");
                Revoked::NotConfirmed
            }
        }
    }

    /// Asks the platform, once.
    async fn ask_as(&self, client: &Client<'_>, platform: &str, tokens: &TokenSet) -> Revoked {
        match client.revoke(tokens).await {
            Ok(true) => Revoked::Yes,
            Ok(false) => Revoked::Unsupported,
            Err(error) => {
                tracing::warn!(platform.name = platform, error = %chain(&error), "the platform did not confirm the revocation");
                Revoked::NotConfirmed
            }
        }
    }

    async fn in_time(&self, asked: impl Future<Output = Revoked>) -> Revoked {
        tokio::time::timeout(REVOKE_WITHIN, asked).await.unwrap_or(Revoked::NotConfirmed)
    }
}
