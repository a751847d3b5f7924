//! Profiles: create, list, rename, delete.

use super::error::What;
use super::{Broker, Caller, Error};
use crate::domain::audit::{Action, Entry};
use crate::domain::id::{ProfileId, ProjectId};
use crate::domain::integration::ProfileFilter;
use crate::domain::paging::{Listed, Window};
use crate::domain::profile::{Profile, ProfileChange};
use crate::store::{self, Connection, access_keys, audit, links, profiles};

impl Caller {
    /// The profile whose accounts are to be listed. `wanted`: an id, or `null` for accounts without a profile.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where the caller sees no such accounts.
    pub(super) fn profile_to_list(&self, wanted: Option<&str>) -> Result<ProfileFilter, Error> {
        let wanted = match wanted {
            None => return Ok(self.profile_id.map(Some)),
            Some("null") => None,
            Some(id) => Some(parse(id)?),
        };
        if self.sees(wanted) { Ok(Some(wanted)) } else { Err(Error::NotFound(What::Profile)) }
    }
}

impl Broker {
    pub async fn create_profile(
        &self,
        caller: &Caller,
        name: String,
        description: Option<String>,
    ) -> Result<Profile, Error> {
        caller.for_whole_project()?;
        let now = self.clock.now();
        let profile =
            Profile { id: self.ids.next(), name, description, integration_count: 0, created_at: now, updated_at: now };
        let (project, inserted) = (caller.project_id, profile.clone());
        let entry = Entry::new(caller.by(), Action::ProfileCreated, profile.id).of_profile(Some(profile.id));
        self.store
            .write(move |tx| {
                profiles::insert(tx, project, &inserted)?;
                audit::record(tx, Some(project), &entry, now)
            })
            .await?;
        Ok(profile)
    }

    /// `name`: case-insensitive part of the name.
    pub async fn list_profiles(
        &self,
        caller: &Caller,
        name: Option<String>,
        window: Window,
    ) -> Result<Listed<Profile>, Error> {
        let (project, searches) = (caller.project_id, name.is_some());
        if let Some(bound) = caller.profile_id {
            let list = move |db: &_| profiles::list_one(db, project, bound, name.as_deref(), window);
            return Ok(self.store.read(list).await?);
        }
        let list = move |db: &_| profiles::list(db, project, name.as_deref(), window);
        Ok(self.read_page(project, searches, window, list).await?)
    }

    pub async fn get_profile(&self, caller: &Caller, id: &str) -> Result<Profile, Error> {
        let (project, id) = (caller.project_id, parse_seen(caller, id)?);
        self.store.read(move |db| get(db, project, id)).await
    }

    /// The name of a profile that the caller sees, even if it is deleted.
    pub async fn find_profile_name(&self, caller: &Caller, id: &str) -> Result<Option<String>, Error> {
        let (project, Ok(id)) = (caller.project_id, parse_seen(caller, id)) else { return Ok(None) };
        Ok(self.store.read(move |db| profiles::find_name(db, project, Some(id))).await?)
    }

    /// An empty change does not touch `updated_at`.
    pub async fn update_profile(&self, caller: &Caller, id: &str, change: ProfileChange) -> Result<Profile, Error> {
        if let ProfileChange { name: None, description: None } = change {
            return self.get_profile(caller, id).await;
        }
        let (project, id, now) = (caller.project_id, parse_seen(caller, id)?, self.clock.now());
        let entry = Entry::new(caller.by(), Action::ProfileUpdated, id).of_profile(Some(id));
        self.store
            .write(move |tx| {
                gone(profiles::update(tx, project, id, &change, now))?;
                audit::record(tx, Some(project), &entry, now)?;
                get(tx, project, id)
            })
            .await
    }

    /// Soft delete: integrations keep their profile id. Links for it and keys that are bound to it are revoked.
    pub async fn delete_profile(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let (project, id, now) = (caller.project_id, parse_seen(caller, id)?, self.clock.now());
        caller.for_whole_project()?;
        let by = caller.by();
        let entry = Entry::new(by, Action::ProfileDeleted, id).of_profile(Some(id));
        self.store
            .write(move |tx| {
                gone(profiles::delete(tx, project, id, now))?;
                links::revoke_of_profile(tx, project, id, now)?;
                for key in access_keys::revoke_of_profile(tx, project, id, now)? {
                    audit::record(tx, Some(project), &Entry::new(by, Action::AccessKeyRevoked, key), now)?;
                }
                Ok::<_, Error>(audit::record(tx, Some(project), &entry, now)?)
            })
            .await?;
        access_keys::until_known().await;
        Ok(())
    }
}

/// The profile, unless it is deleted.
pub(super) fn get(db: &Connection, project: ProjectId, id: ProfileId) -> Result<Profile, Error> {
    profiles::find(db, project, id)?.ok_or(Error::NotFound(What::Profile))
}

/// Maps an update of a row that does not exist to a profile that was not found.
fn gone(result: Result<(), store::Error>) -> Result<(), Error> {
    Error::not_found_if_unchanged(result, What::Profile)
}

/// To a caller that is bound to a profile there is no other.
fn parse_seen(caller: &Caller, id: &str) -> Result<ProfileId, Error> {
    let id = parse(id)?;
    if caller.sees(Some(id)) { Ok(id) } else { Err(Error::NotFound(What::Profile)) }
}

/// A malformed id is the id of no profile.
pub(super) fn parse(id: &str) -> Result<ProfileId, Error> {
    id.parse().map_err(|_| Error::NotFound(What::Profile))
}
