//! Projects, the tenants, which only the operator manages; and the deletion of everything that one holds.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::columns::{Fields, all, change, change_one, count, one};
use super::{Error, counts, selections};
use crate::domain::id::ProjectId;
use crate::domain::project::{Holdings, Project};

/// [`Error::Conflict`] when the name is taken.
pub fn insert(db: &Transaction<'_>, project: &Project) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO projects (id, name, created_at) VALUES (:id, :name, :created_at)",
        named_params! {":id": project.id, ":name": project.name, ":created_at": project.created_at},
    )
}

/// All projects, oldest first.
pub fn list(db: &Connection) -> Result<Vec<Project>, Error> {
    all(db, "SELECT id, name, created_at FROM projects ORDER BY id", &[], read)
}

/// True where there is more than one.
pub(super) fn are_several(db: &Connection) -> Result<bool, Error> {
    Ok(count(db, "SELECT count(*) FROM (SELECT id FROM projects LIMIT 2)", named_params! {})? > 1)
}

pub fn find_by_name(db: &Connection, name: &str) -> Result<Option<Project>, Error> {
    one(db, "SELECT id, name, created_at FROM projects WHERE name = :name", named_params! {":name": name}, read)
}

/// Counts what a project holds.
pub fn count_holdings(db: &Connection, project: ProjectId) -> Result<Holdings, Error> {
    let listed = |kind| {
        let by_platform = counts::by_platform(db, project, kind, counts::PROJECT)?;
        Ok::<u64, Error>(by_platform.iter().map(|(_, total)| total).sum())
    };
    let counted = |sql| count(db, sql, named_params! {":project": project});
    Ok(Holdings {
        profiles: listed("profiles")?,
        accounts: listed("integrations")?,
        apps: listed("oauth_apps")?,
        keys: counted("SELECT count(*) FROM access_keys WHERE project_id = :project AND revoked_at IS NULL")?,
        grants: counted("SELECT count(*) FROM grants WHERE project_id = :project")?,
        pending: counted("SELECT count(*) FROM flows WHERE project_id = :project AND consumed_by IS NULL")?
            + selections::count_open(db, project)?,
    })
}

/// Delete the connections that wait for their person, or are being finished. Those that wait for a choice or a
/// completion go with that.
const WAITING: [&str; 1] = ["DELETE FROM flows WHERE project_id = :project AND id IN
        (SELECT id FROM flows AS f WHERE project_id = :project
            AND NOT EXISTS (SELECT 1 FROM selections WHERE project_id = :project AND flow_id = f.id) LIMIT :limit)"];

/// Delete everything else but accounts and the audit trail: rows before those that they point at.
const LASTING: [&str; 9] = [
    "DELETE FROM activity WHERE (project_id, hour) IN
        (SELECT project_id, hour FROM activity WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM console_sessions WHERE digest IN
        (SELECT digest FROM console_sessions WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM links WHERE project_id = :project AND id IN
        (SELECT id FROM links WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM late_redirects WHERE credential IN
        (SELECT credential FROM late_redirects WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM token_reads WHERE (project_id, integration_id, access_key_id) IN
        (SELECT project_id, integration_id, access_key_id FROM token_reads WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM grants WHERE project_id = :project AND id IN
        (SELECT id FROM grants WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM access_keys WHERE project_id = :project AND id IN
        (SELECT id FROM access_keys WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM oauth_apps WHERE project_id = :project AND id IN
        (SELECT id FROM oauth_apps WHERE project_id = :project LIMIT :limit)",
    "DELETE FROM profiles WHERE project_id = :project AND id IN
        (SELECT id FROM profiles WHERE project_id = :project LIMIT :limit)",
];

/// How far the deletion of a project is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Connected accounts are in the way: they are to be disconnected.
    Accounts,
    /// Consents that wait for a choice or a completion are in the way: they are to be given back.
    Choices,
    /// The project and all its rows are gone, but for those of the audit trail.
    Done,
    /// Some rows were deleted, and there may be more.
    Rows,
}

/// Deletes up to `limit` rows of a project, and at last the project. No account, and nothing that waits for a choice:
/// its consent may have to be revoked.
/// Whatever is finishing a connection meanwhile finds it gone, and connects nothing.
pub fn sweep(db: &Transaction<'_>, project: ProjectId, limit: u32) -> Result<Sweep, Error> {
    let delete_some = |statements: &[&str]| {
        for statement in statements {
            if change(db, statement, named_params! {":project": project, ":limit": limit})? > 0 {
                return Ok::<_, Error>(true);
            }
        }
        Ok(false)
    };
    if delete_some(&WAITING)? {
        return Ok(Sweep::Rows);
    }
    let has = |row| Ok::<_, Error>(one(db, row, named_params! {":project": project}, |_| Ok(()))?.is_some());
    if has("SELECT id FROM selections WHERE project_id = :project LIMIT 1")? {
        return Ok(Sweep::Choices);
    }
    if has("SELECT id FROM integrations WHERE project_id = :project LIMIT 1")? {
        return Ok(Sweep::Accounts);
    }
    if delete_some(&LASTING)? {
        return Ok(Sweep::Rows);
    }
    change_one(db, "DELETE FROM projects WHERE id = :project", named_params! {":project": project})?;
    Ok(Sweep::Done)
}

/// The project's name.
pub fn find_name(db: &Connection, id: ProjectId) -> Result<Option<String>, Error> {
    one(db, "SELECT name FROM projects WHERE id = :id", named_params! {":id": id}, |row| {
        Fields::of("projects", row).get("name")
    })
}

fn read(row: &Row<'_>) -> Result<Project, Error> {
    let fields = Fields::of("projects", row);
    Ok(Project { id: fields.get("id")?, name: fields.get("name")?, created_at: fields.get("created_at")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Fixture;
    use crate::store::{flows, integrations};

    #[test]
    fn projects_are_found_by_name_and_listed_oldest_first() {
        let fixture = Fixture::new();
        let names: Vec<String> = list(&fixture.db).unwrap().into_iter().map(|project| project.name).collect();
        assert_eq!(names, ["default", "other"]);
        let found = find_by_name(&fixture.db, "other").unwrap().unwrap();
        assert_eq!((found.id, found.created_at), (fixture.theirs, fixture.now()));
        assert!(find_by_name(&fixture.db, "Other").unwrap().is_none());
    }

    #[test]
    fn a_sweep_goes_in_steps_and_around_accounts() {
        let mut fixture = Fixture::new();
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        for name in ["a", "b", "c"] {
            fixture.profile(name);
        }
        let selection = fixture.pending("token");
        let begun = fixture.new_flow();
        fixture.write(|db| flows::insert(db, &begun)).unwrap();
        fixture.app("twitter", "c1");
        let grant = fixture.grant("twitter", "s");
        let account = fixture.integration(grant, None, "u");
        let held = count_holdings(&fixture.db, ours).unwrap();
        assert_eq!(held, Holdings { profiles: 3, accounts: 1, apps: 1, keys: 0, grants: 1, pending: 2 });
        let others = count_holdings(&fixture.db, theirs).unwrap();
        let step = |fixture: &mut Fixture| fixture.write(|db| sweep(db, ours, 2)).unwrap();
        assert_eq!(step(&mut fixture), Sweep::Rows, "what waits for its person");
        assert_eq!(
            [step(&mut fixture), step(&mut fixture)],
            [Sweep::Choices; 2],
            "their consents are to be given back"
        );
        fixture.write(|db| selections::delete(db, ours, selection.id)).unwrap();
        assert_eq!(step(&mut fixture), Sweep::Rows, "the flow of the choice");
        assert_eq!([step(&mut fixture), step(&mut fixture)], [Sweep::Accounts; 2]);
        fixture.write(|db| integrations::delete(db, ours, account.id)).unwrap();
        assert_eq!([(); 4].map(|()| step(&mut fixture)), [Sweep::Rows; 4], "grant, app, two profiles, and one");
        assert_eq!(step(&mut fixture), Sweep::Done);
        assert!(matches!(fixture.write(|db| sweep(db, ours, 2)), Err(Error::NotChanged)));
        assert_eq!(list(&fixture.db).unwrap().len(), 1);
        assert_eq!(count_holdings(&fixture.db, theirs).unwrap(), others);
    }

    #[test]
    fn a_taken_name_is_a_conflict() {
        let mut fixture = Fixture::new();
        let project = Project { id: fixture.id(), name: "other".to_owned(), created_at: fixture.now() };
        let error = fixture.write(|db| insert(db, &project));
        assert!(matches!(&error, Err(Error::Conflict(name)) if name == "projects.name"), "{error:?}");
    }
}
