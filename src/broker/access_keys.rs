//! Access keys and projects: who may call.

use super::error::What;
use super::{Broker, Caller, Error};
use crate::domain::access_key::{AccessKey, PlainAccessKey, Scope};
use crate::domain::audit::{Action, Actor, By, Entry};
use crate::domain::id::AccessKeyId;
use crate::domain::project::Project;
use crate::domain::secret::SecretString;
use crate::store::{self, access_keys, audit, counts, projects};

/// Longest name of a key or a project, in code points.
const NAME_MAX: usize = 100;

impl Broker {
    /// The caller behind the value of `x-access-key`. Their address is not known here.
    pub async fn authenticate(&self, key: &str) -> Result<Caller, Error> {
        let key = PlainAccessKey::parse(key).map_err(|_| Error::AuthenticationRequired)?;
        let digest = key.digest();
        match self.store.find_access_key(digest).await? {
            // Found by equality in an index. This comparison takes the same time whatever the difference.
            Some(found) if found.digest == digest => {
                let AccessKey { id, project_id, scopes, .. } = &found.key;
                Ok(Caller {
                    actor: Actor::AccessKey,
                    access_key_id: Some(*id),
                    project_id: *project_id,
                    scopes: scopes.clone(),
                    address: None,
                })
            }
            _ => Err(Error::AuthenticationRequired),
        }
    }

    /// Creates a key for the project of that name. Returns it as stored, and the key itself, which is never shown
    /// again.
    pub async fn create_access_key(
        &self,
        project: &str,
        name: &str,
        scopes: &[Scope],
    ) -> Result<(AccessKey, SecretString), Error> {
        let name = valid_name("name", name)?;
        if scopes.is_empty() {
            return Err(Error::Invalid("a key needs at least one scope".to_owned()));
        }
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let plain = PlainAccessKey::generate(&*self.entropy);
        let (digest, hint) = (plain.digest(), plain.hint());
        let (id, now, project) = (self.ids.next(), self.clock.now(), project.to_owned());
        let by = By::COMMAND_LINE;
        let key = self
            .store
            .write(move |tx| {
                let project = projects::find_by_name(tx, &project)?.ok_or(Error::NotFound(What::Project))?;
                let key =
                    AccessKey { id, project_id: project.id, name, hint, scopes, created_at: now, revoked_at: None };
                access_keys::insert(tx, &key, &digest)?;
                audit::record(tx, Some(key.project_id), &Entry::new(by, Action::AccessKeyCreated, key.id), now)?;
                Ok::<_, Error>(key)
            })
            .await?;
        Ok((key, plain.into_secret()))
    }

    /// The keys of all projects, oldest first, with the project's name. For the operator's command line.
    pub async fn list_access_keys(&self) -> Result<Vec<(AccessKey, String)>, Error> {
        Ok(self.store.read_long(access_keys::list_all).await?)
    }

    /// Number of keys that are not revoked, and of connected accounts, in all projects.
    pub async fn count_keys_and_accounts(&self) -> Result<(u64, u64), Error> {
        Ok(self
            .store
            .read_long(|db| Ok::<_, store::Error>((access_keys::count_usable(db)?, counts::accounts(db)?)))
            .await?)
    }

    /// Revokes a key from the next request on. False when there is no such key, or it is revoked already.
    pub async fn revoke_access_key(&self, id: AccessKeyId) -> Result<bool, Error> {
        let now = self.clock.now();
        let revoked = self
            .store
            .write(move |tx| {
                let Some(project) = access_keys::revoke(tx, id, now)? else { return Ok::<_, store::Error>(false) };
                let entry = Entry::new(By::COMMAND_LINE, Action::AccessKeyRevoked, id);
                audit::record(tx, Some(project), &entry, now)?;
                Ok(true)
            })
            .await?;
        access_keys::until_known().await;
        Ok(revoked)
    }

    /// Creates a tenant. `Error::Invalid` when the name is taken or malformed.
    pub async fn create_project(&self, name: &str) -> Result<Project, Error> {
        let name = valid_name("the project's name", name)?;
        let project = Project { id: self.ids.next(), name, created_at: self.clock.now() };
        let inserted = project.clone();
        let write = self.store.write(move |tx| {
            projects::insert(tx, &inserted)?;
            let entry = Entry::new(By::COMMAND_LINE, Action::ProjectCreated, inserted.id);
            audit::record(tx, Some(inserted.id), &entry, inserted.created_at)
        });
        match write.await {
            Ok(()) => Ok(project),
            Err(store::Error::Conflict(_)) => {
                Err(Error::Invalid(format!("there is a project '{}' already", project.name)))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub async fn list_projects(&self) -> Result<Vec<Project>, Error> {
        Ok(self.store.read_long(projects::list).await?)
    }
}

fn valid_name(what: &str, name: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("{what} must be 1 to {NAME_MAX} characters, without control characters")));
    }
    Ok(name.to_owned())
}
