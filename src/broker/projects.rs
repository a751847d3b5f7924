//! Projects, the tenants: create, list, and delete with all that they hold.
//!
//! A deletion takes away the keys first, then the connections that wait, each consent among them and then each account
//! with its consent at the platform, then all other rows, in small transactions beside a running broker. Cut off at any
//! moment, it is continued by doing it again. The audit trail stays.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::access_keys::valid_name;
use super::error::What;
use super::integrations::Revoked;
use super::{Broker, Caller, Error};
use crate::domain::access_key::Scope;
use crate::domain::audit::{Action, Actor, By, Entry};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::{IntegrationFilter, PlatformFilter};
use crate::domain::paging::Window;
use crate::domain::project::{DEFAULT_PROJECT, Holdings, Project};
use crate::failpoint;
use crate::store::projects::Sweep;
use crate::store::{self, access_keys, audit, flows, integrations, projects, selections};

/// Rows in one transaction, so that no request waits long.
const BATCH: u32 = 500;

/// The same for selections, each of which holds a list of accounts.
const SELECTION_BATCH: u32 = 20;

/// Accounts that are disconnected at a time. Each may wait for its platform.
const DISCONNECTS: usize = 8;

/// Accounts of a deleted project, by what became of their consents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disconnected {
    pub revoked: u64,
    /// They shared a consent with accounts that were disconnected later, or with another project's.
    pub shared: u64,
    pub not_confirmed: u64,
    pub unsupported: u64,
}

impl Disconnected {
    #[must_use]
    pub fn all(&self) -> u64 {
        self.revoked + self.shared + self.not_confirmed + self.unsupported
    }

    fn count(&mut self, revoked: Revoked) {
        *match revoked {
            Revoked::KeptForOthers => &mut self.shared,
            Revoked::NotConfirmed => &mut self.not_confirmed,
            // The next round disconnects it.
            Revoked::Reconnected => return,
            Revoked::Unsupported => &mut self.unsupported,
            Revoked::Yes => &mut self.revoked,
        } += 1;
    }
}

impl Caller {
    /// The operator, acting for a project on the command line.
    #[must_use]
    pub fn operator(project: ProjectId) -> Self {
        Self {
            actor: Actor::CommandLine,
            access_key_id: None,
            link_id: None,
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

    /// The project of that name, and what goes with it when it is deleted.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the project that every broker has.
    pub async fn find_deletable_project(&self, name: &str) -> Result<(Project, Holdings), Error> {
        if name == DEFAULT_PROJECT {
            return Err(Error::Invalid(format!(
                "the project '{DEFAULT_PROJECT}' is part of every broker and is not deleted: revoke its keys and disconnect its accounts instead"
            )));
        }
        let name = name.to_owned();
        let find = move |db: &_| {
            let project = projects::find_by_name(db, &name)?.ok_or(Error::NotFound(What::Project))?;
            let holdings = projects::count_holdings(db, project.id)?;
            Ok((project, holdings))
        };
        self.store.read_long(find).await
    }

    /// Deletes a project with all that it holds, but for its audit trail. `tell` hears from time to time how many
    /// accounts are disconnected.
    pub async fn delete_project(&self, project: ProjectId, tell: impl Fn(u64)) -> Result<Disconnected, Error> {
        self.revoke_keys_of(project).await?;
        access_keys::until_known().await;
        failpoint::reach("project_keys_revoked");
        let mut disconnected = Disconnected::default();
        loop {
            let (clock, entry) = (self.clock.clone(), Entry::new(By::COMMAND_LINE, Action::ProjectDeleted, project));
            let swept = self.store.write(move |tx| {
                let swept = projects::sweep(tx, project, BATCH)?;
                if swept == Sweep::Done {
                    audit::record(tx, Some(project), &entry, clock.now())?;
                }
                Ok::<_, store::Error>(swept)
            });
            let swept = match swept.await {
                // Another command has finished the deletion.
                Err(store::Error::NotChanged) => break,
                swept => swept?,
            };
            match swept {
                Sweep::Accounts => {
                    self.disconnect_some_of(project, &mut disconnected).await?;
                    tell(disconnected.all());
                }
                // Of connections that were being finished, too.
                Sweep::Choices => self.give_up_choices_of(project).await?,
                Sweep::Rows => failpoint::reach("project_rows_deleted"),
                Sweep::Done => break,
            }
        }
        self.empty_write_ahead_log().await;
        Ok(disconnected)
    }

    async fn revoke_keys_of(&self, project: ProjectId) -> Result<(), Error> {
        loop {
            let now = self.clock.now();
            let revoke = self.store.write(move |tx| {
                let revoked = access_keys::revoke_some(tx, project, now, BATCH)?;
                for id in &revoked {
                    let entry = Entry::new(By::COMMAND_LINE, Action::AccessKeyRevoked, id);
                    audit::record(tx, Some(project), &entry, now)?;
                }
                Ok::<_, store::Error>(revoked.is_empty())
            });
            if revoke.await? {
                return Ok(());
            }
        }
    }

    /// Revokes the consents of choices that nobody will make any more, then erases them, so that a deletion which is
    /// cut off in between revokes them again.
    async fn give_up_choices_of(&self, project: ProjectId) -> Result<(), Error> {
        loop {
            let now = self.clock.now();
            let close = self.store.write(move |tx| {
                let mut closed = Vec::new();
                for selection in selections::list_of_project(tx, project, SELECTION_BATCH)? {
                    if selection.is_open(now) {
                        // Nobody chooses or completes any more, and nobody lives on this consent.
                        selections::set_expiry(tx, project, selection.id, now)?;
                    }
                    let flow = flows::find(tx, project, selection.flow_id)?;
                    closed.push((selection, flow));
                }
                Ok::<_, Error>(closed)
            });
            let closed = close.await?;
            if closed.is_empty() {
                return Ok(());
            }
            failpoint::reach("project_choices_closed");
            for (selection, flow) in closed {
                self.give_up(&selection, flow.as_ref()).await?;
                self.store.write(move |tx| selections::delete(tx, project, selection.id)).await?;
            }
        }
    }

    async fn disconnect_some_of(&self, project: ProjectId, disconnected: &mut Disconnected) -> Result<(), Error> {
        let filter = IntegrationFilter { platforms: PlatformFilter::All, ..IntegrationFilter::default() };
        let window = Window { limit: 100, offset: 0 };
        let listed = self.store.read(move |db| integrations::list(db, project, &filter, &[], window)).await?;
        let caller = &Caller::operator(project);
        let disconnect = |id: IntegrationId| async move { self.disconnect(caller, &id.to_string()).await };
        let mut results = stream::iter(listed.items).map(|item| disconnect(item.id)).buffer_unordered(DISCONNECTS);
        while let Some(result) = results.next().await {
            match result {
                Ok((_, revoked)) => disconnected.count(revoked),
                // Somebody else was faster.
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            failpoint::reach("project_account_disconnected");
        }
        Ok(())
    }
}
