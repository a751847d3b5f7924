//! Connected accounts as the console shows them: those that fail first, each with its cause and the next step.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::trail::name_keys;
use crate::broker::begin::BeginConnect;
use crate::broker::{Broker, Caller, Error, integrations as cases};
use crate::domain::audit::Recorded;
use crate::domain::failure::Failure;
use crate::domain::grant::AuthStatus;
use crate::domain::health_list::{After, HealthFilter};
use crate::domain::id::{AccessKeyId, ProfileId, ProjectId};
use crate::domain::integration::{IntegrationDetail, IntegrationFilter, PlatformFilter};
use crate::domain::paging::Window;
use crate::domain::past_refreshes::PastRefresh;
use crate::domain::time::Timestamp;
use crate::platforms::CONTRACT_NAMES;
use crate::store::{self, Connection, audit, grants, integrations, profiles};
use crate::upstream::Protocol;

/// Accounts on a page.
pub const ACCOUNTS: u32 = 25;

/// Most failing accounts that are counted.
pub const COUNTED: u32 = integrations::COUNTED;

/// Entries of the trail about one account.
const ENTRIES: u32 = 20;

/// Filter of the list. `profile_id`: `Some("null")` for those without a profile.
#[derive(Debug, Clone, Default)]
pub struct WantedAccounts {
    pub platform: Option<String>,
    pub profile_id: Option<String>,
    pub failing_only: bool,
    /// As in [`ListIntegrations`](cases::ListIntegrations). What is found comes newest first.
    pub search: Option<String>,
    /// The [`next`](AccountPage::next) of the page before.
    pub after: Option<String>,
}

/// A page of accounts.
#[derive(Debug, Default)]
pub struct AccountPage {
    pub accounts: Vec<ShownAccount>,
    /// `None` on the last page.
    pub next: Option<String>,
}

/// An account as the console shows it.
#[derive(Debug)]
pub struct ShownAccount {
    pub detail: IntegrationDetail,
    pub label: String,
    pub profile_name: Option<String>,
    /// `None` while the account works.
    pub trouble: Option<Trouble>,
}

/// Why an account fails.
#[derive(Debug)]
pub struct Trouble {
    pub failure: Failure,
    /// When the backup was taken that the account's rejected token came from.
    pub backup_taken_at: Option<Timestamp>,
    /// When it was last seen; `None` where it was not recorded.
    pub at: Option<Timestamp>,
    /// The page at the platform where the operator manages the app, where it is known.
    pub console: Option<&'static str>,
}

/// The life of one account.
#[derive(Debug)]
pub struct AccountLife {
    pub account: ShownAccount,
    /// The latest entries of the trail about it, the latest first.
    pub entries: Vec<Recorded>,
    /// Outcomes of the latest refreshes, the latest first. Accounts of one consent share them.
    pub refreshes: Vec<PastRefresh>,
    /// Names of the keys that read its token or stand in the entries.
    pub keys: BTreeMap<AccessKeyId, String>,
}

/// Way to connect an account again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnects {
    /// Its owner gives a new app password to the app: there is no page for it.
    AppPassword,
    Redirect,
    /// The same, once it is said which server the account is on.
    RedirectOfServer,
    /// The platform is switched off or gone.
    Unavailable,
}

impl Reconnects {
    #[must_use]
    pub const fn is_app_password(self) -> bool {
        matches!(self, Self::AppPassword)
    }

    /// True when there is a page at the platform to go to.
    #[must_use]
    pub const fn is_possible(self) -> bool {
        matches!(self, Self::Redirect | Self::RedirectOfServer)
    }

    #[must_use]
    pub const fn needs_server(self) -> bool {
        matches!(self, Self::RedirectOfServer)
    }
}

impl Broker {
    /// Accounts of the caller, those that fail first.
    pub async fn list_by_health(&self, caller: &Caller, wanted: WantedAccounts) -> Result<AccountPage, Error> {
        let Ok(profile_id) = caller.profile_to_list(wanted.profile_id.as_deref()) else {
            return Ok(AccountPage::default());
        };
        let (project, now) = (caller.project_id, self.clock.now());
        let (found, next) = if let Some(search) = wanted.search {
            let offset: u64 = wanted.after.and_then(|after| after.parse().ok()).unwrap_or(0);
            let filter = IntegrationFilter {
                platforms: wanted.platform.map_or(PlatformFilter::All, PlatformFilter::One),
                profile_id,
                search: Some(search),
                oldest_first: false,
                failing_at: wanted.failing_only.then_some(now),
            };
            let window = Window { limit: ACCOUNTS, offset };
            let search = move |db: &Connection| {
                let listed = integrations::list(db, project, &filter, &CONTRACT_NAMES, window)?;
                let details = listed.items.iter().map(|item| integrations::find_detail(db, project, item.id));
                let details = details.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
                let end = offset.saturating_add(ACCOUNTS.into());
                Ok::<_, store::Error>((name_profiles(db, project, details)?, (end < listed.total).then_some(end)))
            };
            let (found, end) = self.store.read_long_for(project, search).await?;
            (found, end.map(|end| end.to_string()))
        } else {
            let filter = HealthFilter { platform: wanted.platform, profile_id, failing_only: wanted.failing_only };
            // An edited place is the beginning.
            let after: Option<After> = wanted.after.and_then(|after| after.parse().ok());
            // Behind the accounts that fail, a page passes over each of them.
            let is_long = after.is_some() && !wanted.failing_only;
            let list = move |db: &Connection| {
                let page = integrations::list_by_health(db, project, &filter, after, now, ACCOUNTS)?;
                Ok::<_, store::Error>((name_profiles(db, project, page.accounts)?, page.next))
            };
            let (found, next) =
                if is_long { self.store.read_long_for(project, list).await? } else { self.store.read(list).await? };
            (found, next.map(|next| next.to_string()))
        };
        let accounts = found.into_iter().map(|(detail, profile)| self.shown(detail, profile)).collect();
        Ok(AccountPage { accounts, next })
    }

    /// Number of the caller's accounts that fail, up to [`COUNTED`].
    pub async fn count_failing(&self, caller: &Caller) -> Result<u64, Error> {
        let (project, profile, now) = (caller.project_id, caller.profile_id, self.clock.now());
        Ok(self.store.read(move |db| integrations::count_failing(db, project, profile, now)).await?)
    }

    /// True when the caller has an account, whether it fails or not.
    pub async fn has_accounts(&self, caller: &Caller) -> Result<bool, Error> {
        let (project, now) = (caller.project_id, self.clock.now());
        let filter = HealthFilter { platform: None, profile_id: caller.profile_id.map(Some), failing_only: false };
        let list = move |db: &Connection| integrations::list_by_health(db, project, &filter, None, now, 1);
        Ok(!self.store.read(list).await?.accounts.is_empty())
    }

    /// Everything that is known of an account, but its tokens.
    pub async fn account_life(&self, caller: &Caller, id: &str) -> Result<AccountLife, Error> {
        let detail = self.get_integration(caller, id).await?;
        let (project, object) = (caller.project_id, cases::parse(id)?);
        let (profile, grant) = (detail.integration.profile_id, detail.integration.grant_id);
        let who = caller.clone();
        let readers: Vec<AccessKeyId> = detail.reads.iter().map(|read| read.access_key_id).collect();
        let (profile_name, entries, refreshes, keys) = self
            .store
            .read(move |db| {
                let name = profiles::find_name(db, project, profile)?;
                let mut entries = audit::list_of_object(db, project, &object.to_string(), ENTRIES)?;
                // The account may have been in another profile.
                entries.retain(|found| who.sees(found.entry.profile_id));
                let refreshes = grants::list_past_refreshes(db, project, grant)?;
                let ids = readers.into_iter().chain(entries.iter().filter_map(|found| found.entry.by.access_key_id));
                let keys = name_keys(db, &who, ids)?;
                Ok::<_, store::Error>((name, entries, refreshes, keys))
            })
            .await?;
        Ok(AccountLife { account: self.shown(detail, profile_name), entries, refreshes, keys })
    }

    /// Returns the way to connect an account at this platform again.
    #[must_use]
    pub fn reconnects(&self, platform: &str) -> Reconnects {
        match self.upstream.protocol(platform) {
            Some(Protocol::OAuth(platform)) if platform.has_servers() => Reconnects::RedirectOfServer,
            Some(Protocol::OAuth(_)) => Reconnects::Redirect,
            Some(Protocol::AtProtocol(_)) => Reconnects::AppPassword,
            None => Reconnects::Unavailable,
        }
    }

    /// Begins a connection that brings this account back. Returns the address of the page that asks first: whoever
    /// continues there, here or where the address was sent to, finishes it in that browser.
    pub async fn begin_reconnect(&self, caller: &Caller, id: &str, server: Option<String>) -> Result<String, Error> {
        let platform = self.get_integration(caller, id).await?.integration.platform;
        let reconnect = Some(id.to_owned());
        let wanted = BeginConnect { platform, server, reconnect, asks_first: true, ..BeginConnect::default() };
        Ok(self.begin_connect(caller, wanted).await?.url)
    }

    fn shown(&self, detail: IntegrationDetail, profile_name: Option<String>) -> ShownAccount {
        let detail = self.judged(detail);
        let platform = &detail.integration.platform;
        let label = self.label(platform);
        let failure = match (&detail.trouble, detail.integration.status) {
            (Some(trouble), _) => Some(trouble.kind),
            (None, AuthStatus::ReconnectRequired(reason)) => Some(reason.into()),
            (None, AuthStatus::Active) if detail.is_in_doubt => Some(Failure::RefreshInterrupted),
            (None, AuthStatus::Active) => None,
        };
        let trouble = failure.map(|failure| Trouble {
            failure,
            backup_taken_at: detail.trouble.as_ref().and_then(|trouble| trouble.backup_taken_at),
            at: detail.trouble.as_ref().map(|trouble| trouble.at),
            console: self.console(platform),
        });
        ShownAccount { detail, label, profile_name, trouble }
    }
}

/// Accounts with the names of their profiles.
fn name_profiles(
    db: &Connection,
    project: ProjectId,
    details: Vec<IntegrationDetail>,
) -> Result<Vec<(IntegrationDetail, Option<String>)>, store::Error> {
    let mut names: BTreeMap<Option<ProfileId>, Option<String>> = BTreeMap::new();
    let mut found = Vec::new();
    for detail in details {
        let id = detail.integration.profile_id;
        let name = match names.entry(id) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(profiles::find_name(db, project, id)?).clone(),
        };
        found.push((detail, name));
    }
    Ok(found)
}
