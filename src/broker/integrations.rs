//! Connected accounts: list, look at, move, disconnect.

use std::sync::Arc;

use super::error::What;
use super::{Broker, Caller, Error, profiles};

pub use super::revocation::Revoked;
use crate::domain::audit::{Action, Actor, Entry};
use crate::domain::error_chain::chain;
use crate::domain::grant::{AuthStatus, FailureReason, Grant};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::{Integration, IntegrationDetail, IntegrationFilter, PlatformFilter};
use crate::domain::paging::{Listed, Window};
use crate::domain::time::Timestamp;
use crate::domain::weigh::Weigh;
use crate::failpoint;
use crate::platforms::CONTRACT_NAMES;
use crate::store::consents::Users;
use crate::store::{self, Connection, Transaction, audit, grants, integrations};

/// A caller's filter for the list. `profile_id`: `Some("null")` for integrations without a profile. The id of no
/// profile of the project lists nothing.
#[derive(Debug, Default)]
pub struct ListIntegrations {
    pub platforms: PlatformFilter,
    pub profile_id: Option<String>,
    pub search: Option<String>,
    pub oldest_first: bool,
}

/// A page as its callers are shown it between two times: none of its accounts lapses from the one to the other.
struct ShownPage<T> {
    page: T,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl<T> ShownPage<T> {
    /// A clock that was put right may be back before the page's time.
    fn holds(&self, now: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= now) && self.until.is_none_or(|until| now < until)
    }
}

impl<T: Weigh> Weigh for ShownPage<T> {
    fn weight(&self) -> usize {
        self.page.weight()
    }
}

impl Broker {
    pub async fn list_integrations(
        &self,
        caller: &Caller,
        wanted: ListIntegrations,
        window: Window,
    ) -> Result<Listed<Integration>, Error> {
        let Some(filter) = filter(caller, wanted) else { return Ok(Listed::empty()) };
        let (project, searches) = (caller.project_id, filter.search.is_some());
        let list = move |db: &Connection| integrations::list(db, project, &filter, &CONTRACT_NAMES, window);
        let listed = self.read_page(project, searches, window, list).await?;
        Ok(judged(listed, self.clock.now()))
    }

    /// The list as `show` makes it. A page near the start of a list is [known](store::Store::read_known) as it was shown,
    /// to all callers of its project. The type that it is shown as tells one `show` from another.
    pub async fn show_integrations<T: Clone + Weigh + Send + Sync + 'static>(
        &self,
        caller: &Caller,
        wanted: ListIntegrations,
        window: Window,
        show: impl Fn(Listed<Integration>) -> Option<T> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let Some(filter) = filter(caller, wanted) else { return Ok(show(Listed::empty())) };
        let project = caller.project_id;
        if window.is_long(filter.search.is_some()) {
            let list = move |db: &Connection| integrations::list(db, project, &filter, &CONTRACT_NAMES, window);
            let listed = self.store.read_long_for(project, list).await?;
            return Ok(show(judged(listed, self.clock.now())));
        }
        let (key, now) = ((project, filter.clone(), window), self.clock.now());
        let list = move |db: &Connection| {
            let listed = integrations::list(db, project, &filter, &CONTRACT_NAMES, window)?;
            let lapses = || listed.items.iter().filter_map(|item| item.lapses_at);
            let since = lapses().filter(|at| *at <= now).max();
            let until = lapses().filter(|at| now < *at).min();
            Ok(show(judged(listed, now)).map(|page| ShownPage { page, since, until }))
        };
        let shown = self.store.read_known(key, |shown: &ShownPage<T>| shown.holds(now), list).await?;
        Ok(shown.map(|shown| shown.page.clone()))
    }

    /// Up to `limit` integrations of the caller's project behind `before`, newest first, for the operator: all, or those
    /// that fail. Returns the place behind which the rest is. Whoever follows it misses none that stays connected.
    pub async fn list_newest(
        &self,
        caller: &Caller,
        (platform, failing_only): (Option<String>, bool),
        before: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<IntegrationDetail>, Option<i64>), Error> {
        caller.for_whole_project()?;
        let (project, now) = (caller.project_id, self.clock.now());
        let failing_at = failing_only.then_some(now);
        let list = move |db: &_| integrations::list_newest(db, project, platform.as_deref(), failing_at, before, limit);
        let found = self.store.read_long_for(project, list).await?;
        let next = found.last().filter(|_| found.len() == limit as usize).map(|(number, _)| *number);
        let judge = |it: IntegrationDetail| IntegrationDetail { integration: it.integration.judged(now), ..it };
        Ok((found.into_iter().map(|(_, detail)| judge(detail)).collect(), next))
    }

    /// The integration with the state of its tokens.
    pub async fn get_integration(&self, caller: &Caller, id: &str) -> Result<IntegrationDetail, Error> {
        let (project, id) = (caller.project_id, parse(id)?);
        let find = move |db: &Connection| integrations::find_detail(db, project, id);
        let detail =
            self.store.read_known((project, id), |_: &IntegrationDetail| true, find).await?.map(Arc::unwrap_or_clone);
        let detail = detail.filter(|detail| caller.sees(detail.integration.profile_id));
        let detail = detail.ok_or(Error::NotFound(What::Integration))?;
        let detail = self.judged(detail);
        Ok(IntegrationDetail { reads: self.with_unwritten(caller, id, detail.reads), ..detail })
    }

    /// Moves an integration to another profile, or with `None` out of its profile. The trail tells it of the profile
    /// that the account is in afterwards, or else of the one that it leaves; and nothing where it is there already.
    pub async fn move_integration(
        &self,
        caller: &Caller,
        id: &str,
        profile_id: Option<String>,
    ) -> Result<Integration, Error> {
        let (project, id, now) = (caller.project_id, parse(id)?, self.clock.now());
        let profile_id = profile_id.as_deref().map(profiles::parse).transpose()?;
        let (entry, caller) = (Entry::new(caller.by(), Action::AccountMoved, id), caller.clone());
        self.store
            .write(move |tx| {
                let present = find_seen(tx, &caller, id)?;
                match profile_id {
                    Some(profile) if !caller.sees(Some(profile)) => return Err(Error::NotFound(What::Profile)),
                    Some(profile) => drop(profiles::get(tx, project, profile)?),
                    None => caller.for_whole_project()?,
                }
                match integrations::move_to_profile(tx, project, id, profile_id, now) {
                    Err(store::Error::Conflict(_)) => return Err(Error::DuplicateIntegration),
                    result => Error::not_found_if_unchanged(result, What::Integration)?,
                }
                if present.profile_id != profile_id {
                    let entry = entry.of_profile(profile_id.or(present.profile_id));
                    audit::record(tx, Some(project), &entry, now)?;
                }
                Ok(integrations::find(tx, project, id)?.ok_or(Error::NotFound(What::Integration))?.judged(now))
            })
            .await
    }

    /// Revokes the consent at the platform, unless that would reach others, then erases the tokens. Returns the
    /// platform's label and what came of it.
    ///
    /// Before the platform is asked, the account is one that needs its owner: nobody is handed a revoked token if the
    /// broker dies before it has erased the account, or cannot erase it. Disconnecting it again ends it.
    pub async fn disconnect(&self, caller: &Caller, id: &str) -> Result<(String, Revoked), Error> {
        let (id, broker, caller) = (parse(id)?, self.clone(), caller.clone());
        // Revoked tokens must be erased whether or not the caller still waits.
        self.tasks.run(async move { broker.revoke_and_erase(&caller, id).await }).await?
    }

    async fn revoke_and_erase(&self, caller: &Caller, id: IntegrationId) -> Result<(String, Revoked), Error> {
        let (revocation, now) = (self.revocation.clone(), self.clock.now());
        let (project, who) = (caller.project_id, caller.clone());
        let find = move |tx: &Transaction<'_>| {
            let integration = find_seen(tx, &who, id)?;
            let grant = grants::find(tx, project, integration.grant_id)?.ok_or(Error::NotFound(What::Integration))?;
            let is_needed = grants::count_integrations(tx, project, grant.id)? > 1
                || revocation.reach(tx, (&grant).into(), now)? != Users::Nobody;
            let is_asked = !is_needed && revocation.can_ask(&grant.platform);
            if is_asked {
                let ending = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
                integrations::set_status(tx, project, id, ending, now)?;
            }
            Ok::<_, Error>((integration, grant, (is_needed, is_asked), audit::newest(tx)?))
        };
        self.store.ensure_reserve().await?;
        let (integration, grant, (is_needed, is_asked), newest) = self.store.write(find).await?;
        failpoint::reach("disconnect_begun");
        let (grant_id, generation) = (grant.id, grant.generation);
        let mut revoked = if is_needed { Revoked::KeptForOthers } else { self.revoke(&grant).await };
        failpoint::reach("disconnect_revoked");
        let (revocation, clock) = (self.revocation.clone(), self.clock.clone());
        let entry = Entry::new(caller.by(), Action::AccountDisconnected, id).of_profile(integration.profile_id);
        let (at_first, who) = (entry.clone(), caller.clone());
        let erased = self
            .store
            .write_kept(move |tx| {
                // Whatever its profile is by now: the caller saw it before the platform was asked.
                let present = integrations::find(tx, project, id)?.ok_or(Error::NotFound(What::Integration))?;
                let others = integrations::list_on_grant(tx, project, present.grant_id)?;
                // A renewed consent alone does not count: it may have been for other accounts.
                let is_renewed = audit::is_connected_since(tx, project, id, newest)?;
                if present.grant_id != grant_id || is_renewed {
                    // Its owner connected it again meanwhile: that consent is newer than the caller's wish.
                    let entry =
                        at_first.clone().with_outcome(Revoked::Reconnected.into()).of_profile(present.profile_id);
                    audit::record(tx, Some(project), &entry, clock.now())?;
                    return Ok((Revoked::Reconnected, None));
                }
                integrations::delete(tx, project, id)?;
                let others: Vec<_> = others.into_iter().filter(|other| other.id != id).collect();
                let knows_others = who.profile_id.is_none()
                    || (!others.is_empty() && others.iter().all(|other| who.sees(other.profile_id)));
                let mut unused = None;
                if let Some(grant) = grants::find(tx, project, grant_id)?
                    && grants::delete_if_unused(tx, project, grant_id)?
                {
                    let users = revocation.reach(tx, (&grant).into(), clock.now())?;
                    unused = Some((grant, users));
                }
                // No tenant is told of other projects, and who is bound to a profile of no account elsewhere.
                let hides = match unused {
                    Some((_, Users::OfOtherProjects)) => who.actor != Actor::CommandLine,
                    _ => !knows_others,
                };
                let told = if hides && revoked == Revoked::KeptForOthers { Revoked::NotConfirmed } else { revoked };
                let entry = at_first.clone().with_outcome(told.into()).of_profile(present.profile_id);
                audit::record(tx, Some(project), &entry, clock.now())?;
                Ok::<_, Error>((told, unused))
            })
            .await;
        let (mut told, unused) = erased.map_err(|error| match error {
            Error::Store(source) if is_asked => Error::NotErased { id, source },
            error => error,
        })?;
        if let Some((grant, users)) = unused {
            let was_kept = revoked == Revoked::KeptForOthers;
            match users {
                // Either the others were disconnected meanwhile and left the revocation to us, or a refresh in flight
                // stored other tokens than those that were revoked.
                Users::Nobody if was_kept || grant.generation != generation => {
                    let last = self.revoke(&grant).await;
                    let known = told;
                    told = if was_kept || revoked == last { last } else { Revoked::NotConfirmed };
                    revoked = told;
                    if told != known {
                        self.record_last(project, entry.with_outcome(told.into())).await;
                    }
                }
                Users::Nobody | Users::OfOtherProjects | Users::OfProject => {}
            }
        }
        if told == Revoked::Reconnected {
            tracing::info!(integration.id = %id, "the account was connected again meanwhile, so it stays");
        } else {
            tracing::info!(integration.id = %id, platform.name = %integration.platform, revoked = ?revoked, "account disconnected");
        }
        Ok((self.label(&integration.platform), told))
    }

    /// Tells the trail how a revocation ended that only an erased account made possible.
    async fn record_last(&self, project: ProjectId, entry: Entry) {
        let now = self.clock.now();
        let record = move |tx: &Transaction<'_>| audit::record(tx, Some(project), &entry, now);
        if let Err(error) = self.store.write(record).await {
            tracing::error!(error = %chain(&error), "the audit trail does not tell how the last revocation ended");
        }
    }

    async fn revoke(&self, grant: &Grant) -> Revoked {
        self.revocation.revoke(grant, self.refresher.is_refreshing(grant.id)).await
    }
}

/// `None` where the caller can see none that are wanted.
fn filter(caller: &Caller, wanted: ListIntegrations) -> Option<IntegrationFilter> {
    let profile_id = caller.profile_to_list(wanted.profile_id.as_deref()).ok()?;
    Some(IntegrationFilter {
        platforms: wanted.platforms,
        profile_id,
        search: wanted.search,
        oldest_first: wanted.oldest_first,
        failing_at: None,
    })
}

fn judged(listed: Listed<Integration>, now: Timestamp) -> Listed<Integration> {
    Listed { items: listed.items.into_iter().map(|item| item.judged(now)).collect(), total: listed.total }
}

/// The integration, unless the caller is bound to another profile than its own.
fn find_seen(db: &Connection, caller: &Caller, id: IntegrationId) -> Result<Integration, Error> {
    let found = integrations::find(db, caller.project_id, id)?;
    found.filter(|found| caller.sees(found.profile_id)).ok_or(Error::NotFound(What::Integration))
}

/// A malformed id is the id of no integration.
pub(super) fn parse(id: &str) -> Result<IntegrationId, Error> {
    id.parse().map_err(|_| Error::NotFound(What::Integration))
}
