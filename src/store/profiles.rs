//! Profiles. A deleted profile stays as a row, so that its integrations keep it and pages can name it.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, change_one, fold, one};
use super::counts::{self, integrations_within};
use super::listing::{Listing, Search};
use crate::domain::id::{ProfileId, ProjectId};
use crate::domain::paging::{Listed, Window};
use crate::domain::profile::{Profile, ProfileChange};
use crate::domain::time::Timestamp;

fn select() -> String {
    let count = integrations_within("p");
    format!("p.id, p.name, p.description, p.created_at, p.updated_at, {count} AS integration_count")
}

/// The integration count is not stored.
pub fn insert(db: &Transaction<'_>, project: ProjectId, profile: &Profile) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO profiles (id, project_id, name, name_folded, description, created_at, updated_at)
         VALUES (:id, :project, :name, :name_folded, :description, :created_at, :updated_at)",
        named_params! {
            ":id": profile.id,
            ":project": project,
            ":name": profile.name,
            ":name_folded": fold(&profile.name),
            ":description": profile.description,
            ":created_at": profile.created_at,
            ":updated_at": profile.updated_at,
        },
    )
}

/// The profile, unless it is deleted.
pub fn find(db: &Connection, project: ProjectId, id: ProfileId) -> Result<Option<Profile>, Error> {
    one(
        db,
        &format!(
            "SELECT {} FROM profiles AS p WHERE p.project_id = :project AND p.id = :id AND p.deleted_at IS NULL",
            select()
        ),
        named_params! {":project": project, ":id": id},
        read,
    )
}

/// The name of a profile, where there is one; also that of a deleted profile.
pub fn find_name(db: &Connection, project: ProjectId, id: Option<ProfileId>) -> Result<Option<String>, Error> {
    let Some(id) = id else { return Ok(None) };
    one(
        db,
        "SELECT name FROM profiles WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        |row| Ok(row.get("name")?),
    )
}

/// Newest first. `name`: case-insensitive part of the name.
pub fn list(db: &Connection, project: ProjectId, name: Option<&str>, window: Window) -> Result<Listed<Profile>, Error> {
    let listing = Listing {
        table: "profiles",
        alias: "p",
        select: &select(),
        joins: "",
        condition: "AND p.deleted_at IS NULL",
        params: &[],
        within: counts::PROJECT,
        oldest_first: false,
    };
    let search = name.map(|name| Search { column: "name_folded", needle: name, or_id: false, only: None });
    listing.window(db, project, |_| true, search.as_ref(), window, read)
}

/// The list as it is when there is no profile but this one.
pub fn list_one(
    db: &Connection,
    project: ProjectId,
    id: ProfileId,
    name: Option<&str>,
    window: Window,
) -> Result<Listed<Profile>, Error> {
    let is_wanted = |profile: &Profile| name.is_none_or(|name| fold(&profile.name).contains(&fold(name)));
    let found = find(db, project, id)?.filter(is_wanted);
    let total = u64::from(found.is_some());
    Ok(Listed { items: found.into_iter().filter(|_| window.offset == 0).collect(), total })
}

/// [`Error::NotChanged`] when there is no such profile.
pub fn update(
    db: &Transaction<'_>,
    project: ProjectId,
    id: ProfileId,
    change: &ProfileChange,
    now: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE profiles SET
            name = coalesce(:name, name),
            name_folded = coalesce(:name_folded, name_folded),
            description = iif(:describe, :description, description),
            updated_at = :now
         WHERE project_id = :project AND id = :id AND deleted_at IS NULL",
        named_params! {
            ":project": project,
            ":id": id,
            ":name": change.name,
            ":name_folded": change.name.as_deref().map(fold),
            ":describe": change.description.is_some(),
            ":description": change.description.as_ref().and_then(Option::as_ref),
            ":now": now,
        },
    )
}

/// Hides the profile. [`Error::NotChanged`] when there is no such profile.
pub fn delete(db: &Transaction<'_>, project: ProjectId, id: ProfileId, now: Timestamp) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE profiles SET deleted_at = :now WHERE project_id = :project AND id = :id AND deleted_at IS NULL",
        named_params! {":project": project, ":id": id, ":now": now},
    )
}

fn read(row: &Row<'_>) -> Result<Profile, Error> {
    let fields = Fields::of("profiles", row);
    Ok(Profile {
        id: fields.get("id")?,
        name: fields.get("name")?,
        description: fields.get("description")?,
        integration_count: fields.unsigned("integration_count")?,
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{ALL, Fixture};

    fn names(fixture: &Fixture, name: Option<&str>, window: Window) -> (Vec<String>, u64) {
        let listed = list(&fixture.db, fixture.ours, name, window).unwrap();
        (listed.items.into_iter().map(|profile| profile.name).collect(), listed.total)
    }

    #[test]
    fn no_other_project_sees_or_changes_a_profile() {
        let mut fixture = Fixture::new();
        let id = fixture.profile("Acme");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(5));
        let before = fixture.dump("profiles");
        assert!(find(&fixture.db, theirs, id).unwrap().is_none());
        assert!(find_name(&fixture.db, theirs, Some(id)).unwrap().is_none());
        assert_eq!(list(&fixture.db, theirs, None, ALL).unwrap().total, 0);
        let renamed = ProfileChange { name: Some("Mine".to_owned()), description: None };
        assert!(matches!(fixture.write(|db| update(db, theirs, id, &renamed, now)), Err(Error::NotChanged)));
        assert!(matches!(fixture.write(|db| delete(db, theirs, id, now)), Err(Error::NotChanged)));
        assert_eq!(fixture.dump("profiles"), before);
        assert_eq!(find(&fixture.db, ours, id).unwrap().unwrap().name, "Acme");
    }

    #[test]
    fn a_change_leaves_absent_members_alone() {
        let mut fixture = Fixture::new();
        let id = fixture.profile("Acme");
        let (ours, now) = (fixture.ours, fixture.later(5));
        let mut change = |name: Option<&str>, description: Option<Option<&str>>| {
            let change = ProfileChange {
                name: name.map(str::to_owned),
                description: description.map(|text| text.map(str::to_owned)),
            };
            fixture.write(|db| update(db, ours, id, &change, now)).unwrap();
            let profile = find(&fixture.db, ours, id).unwrap().unwrap();
            assert_eq!(profile.updated_at, now);
            assert!(profile.created_at < now);
            (profile.name, profile.description)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(change(None, Some(Some("text"))), ("Acme".to_owned(), some("text")));
        assert_eq!(change(Some("Ärger"), None), ("Ärger".to_owned(), some("text")));
        assert_eq!(change(None, None), ("Ärger".to_owned(), some("text")));
        assert_eq!(change(None, Some(None)), ("Ärger".to_owned(), None));
        assert_eq!(names(&fixture, Some("äRG"), ALL).1, 1, "the new name is searched");
        assert_eq!(names(&fixture, Some("acme"), ALL).1, 0, "the old one is not");
    }

    #[test]
    fn only_the_name_of_a_deleted_profile_is_found() {
        let mut fixture = Fixture::new();
        let id = fixture.profile("Acme");
        let grant = fixture.grant("twitter", "s");
        fixture.integration(grant, Some(id), "u");
        let (ours, now) = (fixture.ours, fixture.now());
        assert_eq!(find(&fixture.db, ours, id).unwrap().unwrap().integration_count, 1);
        fixture.write(|db| delete(db, ours, id, now)).unwrap();
        assert!(find(&fixture.db, ours, id).unwrap().is_none());
        assert_eq!(names(&fixture, None, ALL), (vec![], 0));
        assert_eq!(find_name(&fixture.db, ours, Some(id)).unwrap().as_deref(), Some("Acme"));
        assert!(matches!(fixture.write(|db| delete(db, ours, id, now)), Err(Error::NotChanged)));
        let change = ProfileChange::default();
        assert!(matches!(fixture.write(|db| update(db, ours, id, &change, now)), Err(Error::NotChanged)));
    }

    #[test]
    fn lists_are_newest_first_and_windows_tell_the_total() {
        let mut fixture = Fixture::new();
        for name in ["a", "b", "c", "d", "e"] {
            fixture.profile(name);
        }
        let window = |limit, offset| names(&fixture, None, Window { limit, offset });
        let of = |names: &[&str]| (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), 5);
        assert_eq!(window(100, 0), of(&["e", "d", "c", "b", "a"]));
        assert_eq!(window(2, 0), of(&["e", "d"]));
        assert_eq!(window(2, 4), of(&["a"]));
        assert_eq!(window(2, 5), of(&[]));
        assert_eq!(window(2, u64::MAX), of(&[]));
    }

    #[test]
    fn the_list_of_one_profile_is_like_any_other() {
        let mut fixture = Fixture::new();
        let id = fixture.profile("Ärger");
        fixture.profile("Ärger too");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let listed = |fixture: &Fixture, project, name, window| {
            let listed = list_one(&fixture.db, project, id, name, window).unwrap();
            (listed.items.len(), listed.total)
        };
        for (name, found) in [(None, 1), (Some(""), 1), (Some("äRG"), 1), (Some("too"), 0)] {
            assert_eq!(listed(&fixture, ours, name, ALL), (found, found as u64), "{name:?}");
        }
        assert_eq!(listed(&fixture, ours, None, Window { limit: 9, offset: 1 }), (0, 1));
        assert_eq!(listed(&fixture, theirs, None, ALL), (0, 0));
        fixture.write(|db| delete(db, ours, id, now)).unwrap();
        assert_eq!(listed(&fixture, ours, None, ALL), (0, 0));
    }

    #[test]
    fn searches_ignore_case_and_know_no_wildcards() {
        let mut fixture = Fixture::new();
        for name in ["100% Müller_Co", "100x MÜLLERxCO", "o'hara \\ sons"] {
            fixture.profile(name);
        }
        for (part, found) in [
            ("müller", 2),
            ("MÜLLER", 2),
            ("%", 1),
            ("_", 1),
            ("0% m", 1),
            ("'", 1),
            ("\\", 1),
            ("", 3),
            ("zzz", 0),
            ("mull", 0),
        ] {
            assert_eq!(names(&fixture, Some(part), ALL).1, found, "{part}");
        }
    }
}
