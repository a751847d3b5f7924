//! Projects, the tenants. Only the operator manages them, so no statement here is limited to one.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change_one, one};
use crate::domain::project::Project;

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

pub fn find_by_name(db: &Connection, name: &str) -> Result<Option<Project>, Error> {
    one(db, "SELECT id, name, created_at FROM projects WHERE name = :name", named_params! {":name": name}, read)
}

fn read(row: &Row<'_>) -> Result<Project, Error> {
    let fields = Fields::of("projects", row);
    Ok(Project { id: fields.get("id")?, name: fields.get("name")?, created_at: fields.get("created_at")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Fixture;

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
    fn a_taken_name_is_a_conflict() {
        let mut fixture = Fixture::new();
        let project = Project { id: fixture.id(), name: "other".to_owned(), created_at: fixture.now() };
        let error = fixture.write(|db| insert(db, &project));
        assert!(matches!(&error, Err(Error::Conflict(name)) if name == "projects.name"), "{error:?}");
    }
}
