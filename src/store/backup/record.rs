//! The table `backups`: when the copy that a database came from was taken, and when it was restored.

use rusqlite::{Connection, OptionalExtension as _, Transaction, named_params};

use crate::domain::time::Timestamp;
use crate::store::Error;
use crate::store::columns::{Fields, one};

/// A backup that took the database's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restore {
    pub taken_at: Timestamp,
    pub restored_at: Timestamp,
}

/// The latest restore; `None` where the database was never restored.
pub fn find_latest_restore(db: &Connection) -> Result<Option<Restore>, Error> {
    one(
        db,
        "SELECT taken_at, restored_at FROM backups WHERE restored_at IS NOT NULL ORDER BY restored_at DESC LIMIT 1",
        &[],
        |row| {
            let fields = Fields::of("backups", row);
            Ok(Restore { taken_at: fields.get("taken_at")?, restored_at: fields.get("restored_at")? })
        },
    )
}

/// Notes in a copy when it was taken. A copy of an older schema has no place for that.
pub(super) fn insert(copy: &Connection, taken_at: Timestamp) -> rusqlite::Result<()> {
    let has_table = copy.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'backups'", [], |_| Ok(())).optional()?;
    if has_table.is_some() {
        copy.execute("INSERT INTO backups (taken_at) VALUES (?1)", [taken_at])?;
    }
    Ok(())
}

/// Notes the restore of a copy, and returns when the copy was taken. Where it does not say, `otherwise` is noted.
pub(super) fn mark_restored(
    copy: &Transaction<'_>,
    otherwise: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let noted = "SELECT taken_at FROM backups WHERE restored_at IS NULL ORDER BY taken_at DESC LIMIT 1";
    let taken_at = copy.query_row(noted, [], |row| row.get(0)).optional()?;
    copy.execute("DELETE FROM backups WHERE restored_at IS NULL", [])?;
    copy.execute(
        "INSERT INTO backups (taken_at, restored_at) VALUES (:taken_at, :now)",
        named_params! {":taken_at": taken_at.unwrap_or(otherwise), ":now": now},
    )?;
    Ok(taken_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Fixture;

    #[test]
    fn a_restored_copy_knows_when_it_was_taken() {
        let mut fixture = Fixture::new();
        assert_eq!(find_latest_restore(&fixture.db).unwrap(), None);
        let (taken_at, restored_at) = (fixture.now(), fixture.later(60));
        insert(&fixture.db, taken_at).unwrap();
        assert_eq!(find_latest_restore(&fixture.db).unwrap(), None, "a copy that was not restored");
        let told = fixture.write(|db| Ok(mark_restored(db, restored_at, restored_at)?)).unwrap();
        assert_eq!(told, Some(taken_at));
        assert_eq!(find_latest_restore(&fixture.db).unwrap(), Some(Restore { taken_at, restored_at }));

        let (modified, again) = (fixture.later(60), fixture.later(60));
        let told = fixture.write(|db| Ok(mark_restored(db, modified, again)?)).unwrap();
        assert_eq!(told, None, "a copy that another program made");
        let latest = Restore { taken_at: modified, restored_at: again };
        assert_eq!(find_latest_restore(&fixture.db).unwrap(), Some(latest));
    }
}
