//! Projects, the tenants: create and list.

use super::access_keys::valid_name;
use super::{Broker, Caller, Error};
use crate::domain::access_key::Scope;
use crate::domain::audit::{Action, Actor, By, Entry};
use crate::domain::id::ProjectId;
use crate::domain::project::Project;
use crate::store::{self, audit, projects};

impl Caller {
    /// The operator, acting for a project on the command line.
    #[must_use]
    pub fn operator(project: ProjectId) -> Self {
        Self {
            actor: Actor::CommandLine,
            access_key_id: None,
            project_id: project,
            profile_id: None,
            scopes: Scope::DEFAULT.to_vec(),
            address: None,
        }
    }
}

impl Broker {
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
