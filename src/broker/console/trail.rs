//! The audit trail, the last day and the platforms, as the console shows them.

use std::collections::BTreeMap;

use crate::broker::{Broker, Caller, Error};
use crate::domain::activity::{Hour, hour_of};
use crate::domain::audit::{Action, Recorded};
use crate::domain::id::AccessKeyId;
use crate::platforms::{Availability, ConfiguredPlatform, Remark};
use crate::store::{self, Connection, access_keys, activity, audit};

/// Entries on a page.
const ENTRIES: u32 = 50;

/// Entries of an object among which its removal is looked for: hardly anything follows that.
const LOOKED_AT: u32 = 10;

/// A page of the trail, the latest entry first.
#[derive(Debug)]
pub struct TrailPage {
    pub entries: Vec<Recorded>,
    /// Names of the keys in the entries.
    pub keys: BTreeMap<AccessKeyId, String>,
    /// The last entry of this page; `None` when it is the last page.
    pub next: Option<u64>,
}

/// Hours that are shown.
const HOURS: i64 = 24;

/// A platform that the broker knows.
#[derive(Debug)]
pub struct KnownPlatform {
    pub name: String,
    pub label: String,
    pub state: PlatformState,
    /// The URL to register at the platform; `None` where there is no redirect, or the broker registers itself.
    pub callback_url: Option<String>,
    /// The page where the operator manages the app, where it is known.
    pub console: Option<&'static str>,
    /// Advice for whoever makes an app there, in English; may be empty.
    pub know: String,
    /// Findings of `postpeer check` about the platform's settings, in English, warnings first.
    pub remarks: Vec<Remark>,
}

/// State of a platform: under which app its accounts can be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformState {
    /// Only under an app of the caller's own.
    NoCredentials,
    Off,
    Ready,
}

impl Broker {
    /// Entries that the caller sees, before the entry with the id `before`.
    pub async fn latest_entries(&self, caller: &Caller, before: Option<u64>) -> Result<TrailPage, Error> {
        let (project, profile, who) = (caller.project_id, caller.profile_id, caller.clone());
        let (mut entries, keys) = self
            .store
            .read_long_for(project, move |db| {
                let entries = audit::list_latest(db, project, profile, before, ENTRIES + 1)?;
                let keys = name_keys(db, &who, entries.iter().filter_map(|found| found.entry.by.access_key_id))?;
                Ok::<_, store::Error>((entries, keys))
            })
            .await?;
        let has_more = entries.len() > ENTRIES as usize;
        entries.truncate(ENTRIES as usize);
        let next = entries.last().filter(|_| has_more).map(|entry| entry.id);
        Ok(TrailPage { entries, keys, next })
    }

    /// True when the trail has it that the object with this id was removed in this way, and the caller saw it.
    pub async fn was_removed(&self, caller: &Caller, id: &str, how: Action) -> Result<bool, Error> {
        let (project, id) = (caller.project_id, id.to_owned());
        let entries = self.store.read(move |db| audit::list_of_object(db, project, &id, LOOKED_AT)).await?;
        let is_it = |found: &Recorded| found.entry.action == how && caller.sees(found.entry.profile_id);
        Ok(entries.iter().any(is_it))
    }

    /// Counts of the last 24 hours, the present one last. `None` for a caller that is bound to a profile, because the
    /// numbers are the project's.
    pub async fn last_day(&self, caller: &Caller) -> Result<Option<Vec<Hour>>, Error> {
        if caller.profile_id.is_some() {
            return Ok(None);
        }
        let (project, last) = (caller.project_id, hour_of(self.clock.now()));
        let first = last - HOURS + 1;
        let found = self.store.read(move |db| activity::list(db, project, first, last)).await?;
        let hour =
            |hour| found.iter().find(|one| one.hour == hour).copied().unwrap_or(Hour { hour, ..Hour::default() });
        Ok(Some((first..=last).map(hour).collect()))
    }

    /// Every platform, by its name for people, with the remarks of today. It takes a look at a dozen values in memory.
    ///
    /// A setting with a mistake is not among the remarks: the broker does not start with one, and goes on with the
    /// configuration from before when it finds one in a reload.
    #[must_use]
    pub fn known_platforms(&self) -> Vec<KnownPlatform> {
        let remarks = self.upstream.platforms().remarks(self.clock.now().day());
        let registers_itself =
            |name: &str| self.upstream.platforms().find_any(name).is_some_and(ConfiguredPlatform::has_servers);
        let listed = self.upstream.platforms().listings().into_iter().map(|platform| KnownPlatform {
            remarks: remarks.iter().filter(|remark| remark.platform == platform.name).cloned().collect(),
            name: platform.name.to_owned(),
            label: platform.label.to_owned(),
            state: match platform.availability {
                _ if !platform.enabled => PlatformState::Off,
                Availability::Prod => PlatformState::Ready,
                Availability::Dev => PlatformState::NoCredentials,
            },
            callback_url: (platform.has_callback && !registers_itself(platform.name))
                .then(|| self.callback_url(platform.name, None)),
            console: self.console(platform.name),
            // Written for the README.
            know: self
                .upstream
                .platforms()
                .find(platform.name)
                .map_or_else(String::new, |one| one.platform().guide.know.replace(['*', '`'], "")),
        });
        let mut platforms: Vec<_> = listed.collect();
        platforms.sort_by(|a, b| a.label.cmp(&b.label));
        platforms
    }
}

/// Names of the keys with these ids, as far as they are still there. None for a caller that is bound to a profile: to
/// it, other keys are ids, as in the API.
pub(super) fn name_keys(
    db: &Connection,
    caller: &Caller,
    ids: impl Iterator<Item = AccessKeyId>,
) -> Result<BTreeMap<AccessKeyId, String>, store::Error> {
    let mut keys = BTreeMap::new();
    for id in ids.filter(|_| caller.profile_id.is_none()) {
        if !keys.contains_key(&id)
            && let Some(name) = access_keys::find_name(db, caller.project_id, id)?
        {
            keys.insert(id, name);
        }
    }
    Ok(keys)
}
