//! The wrapped data keys. They belong to the whole database, not to a project.

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change_one};
use crate::domain::keyring::WrappedKey;
use crate::domain::time::Timestamp;

/// [`Error::Conflict`] when the id was used before, or another key is active.
pub fn insert(db: &Transaction<'_>, key: &WrappedKey, now: Timestamp) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO keyring (dek_id, wrapped_by, blob, check_value, state, created_at)
         VALUES (:dek_id, :wrapped_by, :blob, :check_value, :state, :now)",
        named_params! {
            ":dek_id": key.dek_id,
            ":wrapped_by": key.wrapped_by,
            ":blob": key.blob,
            ":check_value": key.check_value,
            ":state": key.state.into_str(),
            ":now": now,
        },
    )
}

/// All keys, oldest first.
pub fn list(db: &Connection) -> Result<Vec<WrappedKey>, Error> {
    all(db, "SELECT dek_id AS id, wrapped_by, blob, check_value, state FROM keyring ORDER BY dek_id", &[], |row| {
        let fields = Fields::of("keyring", row);
        Ok(WrappedKey {
            dek_id: fields.get("id")?,
            wrapped_by: fields.get("wrapped_by")?,
            blob: fields.get("blob")?,
            check_value: fields.get("check_value")?,
            state: fields.parsed("state")?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyring::KeyState;
    use crate::store::fixture::Fixture;

    fn key(dek_id: u32, state: KeyState) -> WrappedKey {
        WrappedKey { dek_id, wrapped_by: "k1".to_owned(), blob: vec![1, 2], check_value: vec![3; 32], state }
    }

    #[test]
    fn keys_are_listed_in_order_and_at_most_one_is_active() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let keys = [key(1, KeyState::Retired), key(2, KeyState::Active), key(u32::MAX, KeyState::Retired)];
        for at in [2, 0, 1] {
            fixture.write(|db| insert(db, &keys[at], now)).unwrap();
        }
        assert_eq!(list(&fixture.db).unwrap(), keys);
        for refused in [key(3, KeyState::Active), key(1, KeyState::Retired)] {
            let error = fixture.write(|db| insert(db, &refused, now));
            assert!(matches!(error, Err(Error::Conflict(_))), "{refused:?}: {error:?}");
        }
        assert!(fixture.write(|db| insert(db, &key(0, KeyState::Retired), now)).is_err(), "0 is no key id");
        let short = WrappedKey { check_value: vec![3; 31], ..key(4, KeyState::Retired) };
        assert!(fixture.write(|db| insert(db, &short, now)).is_err());
        assert_eq!(list(&fixture.db).unwrap().len(), 3);
    }
}
