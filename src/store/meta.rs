//! The database's own id.

use rusqlite::{Connection, Transaction, named_params};
use uuid::Uuid;

use super::Error;
use super::columns::{change_one, one};

/// The id that sealed values are bound to.
pub fn get_db_id(db: &Connection) -> Result<Uuid, Error> {
    let damaged = || Error::Inconsistent { table: "meta", column: "db_id", row: "1".to_owned() };
    let text: Option<String> = one(db, "SELECT db_id FROM meta WHERE id = 1", &[], |row| Ok(row.get(0)?))?;
    Uuid::try_parse(&text.ok_or_else(damaged)?).map_err(|_| damaged())
}

/// Stores the id. Once in the life of a database.
pub(super) fn insert(db: &Transaction<'_>, db_id: Uuid) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO meta (id, db_id) VALUES (1, :db_id)",
        named_params! {":db_id": db_id.hyphenated().to_string()},
    )
}

/// Writes a page without changing anything in it.
pub fn touch(db: &Transaction<'_>) -> Result<(), Error> {
    // An UPDATE with the same values writes nothing.
    let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(db.pragma_update(None, "user_version", version)?)
}

/// Checks that the database can be read and has its id.
pub fn check_readable(db: &Connection) -> Result<(), Error> {
    get_db_id(db).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Fixture;

    #[test]
    fn the_id_is_stored_once_and_a_damaged_one_is_noticed() {
        let mut fixture = Fixture::new();
        assert!(matches!(check_readable(&fixture.db), Err(Error::Inconsistent { table: "meta", .. })));
        let id = Uuid::from_u128(7);
        fixture.write(|db| insert(db, id)).unwrap();
        assert_eq!(get_db_id(&fixture.db).unwrap(), id);
        check_readable(&fixture.db).unwrap();
        assert!(matches!(fixture.write(|db| insert(db, Uuid::from_u128(8))), Err(Error::Conflict(_))));
        fixture.db.execute("UPDATE meta SET db_id = 'x' || substr(db_id, 2)", []).unwrap();
        assert!(matches!(check_readable(&fixture.db), Err(Error::Inconsistent { table: "meta", .. })));
    }
}
