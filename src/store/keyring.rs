//! The wrapped data keys. They belong to the whole database, not to a project.

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, change_one};
use crate::domain::keyring::{KeyState, WrappedKey};
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

/// When each key was stored, by its id.
pub fn list_ages(db: &Connection) -> Result<Vec<(u32, Timestamp)>, Error> {
    all(db, "SELECT dek_id AS id, created_at FROM keyring ORDER BY dek_id", &[], |row| {
        let fields = Fields::of("keyring", row);
        Ok((fields.get("id")?, fields.get("created_at")?))
    })
}

/// Makes an old key the active one, in place of the one that was. [`Error::NotChanged`] when it is not there.
pub fn activate(db: &Transaction<'_>, dek_id: u32) -> Result<(), Error> {
    let (active, old) = (KeyState::Active.into_str(), KeyState::Old.into_str());
    // First, because at most one key is active after each statement.
    change(
        db,
        "UPDATE keyring SET state = :old WHERE state = :active",
        named_params! {":active": active, ":old": old},
    )?;
    change_one(
        db,
        "UPDATE keyring SET state = :active WHERE dek_id = :dek_id",
        named_params! {":active": active, ":dek_id": dek_id},
    )
}

/// Stores a key as another one wraps it.
pub fn rewrap(db: &Transaction<'_>, key: &WrappedKey) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE keyring SET wrapped_by = :wrapped_by, blob = :blob
         WHERE dek_id = :dek_id AND check_value = :check_value",
        named_params! {
            ":dek_id": key.dek_id,
            ":wrapped_by": key.wrapped_by,
            ":blob": key.blob,
            ":check_value": key.check_value,
        },
    )
}

/// Removes an old key for good, with its wrap for the recovery key. The caller makes sure, in the same write, that no
/// value needs it. [`Error::NotChanged`] when it is not there, or active.
pub fn remove(db: &Transaction<'_>, dek_id: u32) -> Result<(), Error> {
    change_one(
        db,
        "DELETE FROM keyring WHERE dek_id = :dek_id AND state = :old",
        named_params! {":dek_id": dek_id, ":old": KeyState::Old.into_str()},
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Fixture;

    fn key(dek_id: u32, state: KeyState) -> WrappedKey {
        WrappedKey { dek_id, wrapped_by: "k1".to_owned(), blob: vec![1, 2], check_value: vec![3; 32], state }
    }

    #[test]
    fn keys_are_listed_in_order_and_at_most_one_is_active() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let keys = [key(1, KeyState::Old), key(2, KeyState::Active), key(u32::MAX, KeyState::Old)];
        for at in [2, 0, 1] {
            fixture.write(|db| insert(db, &keys[at], now)).unwrap();
        }
        assert_eq!(list(&fixture.db).unwrap(), keys);
        for refused in [key(3, KeyState::Active), key(1, KeyState::Old)] {
            let error = fixture.write(|db| insert(db, &refused, now));
            assert!(matches!(error, Err(Error::Conflict(_))), "{refused:?}: {error:?}");
        }
        assert!(fixture.write(|db| insert(db, &key(0, KeyState::Old), now)).is_err(), "0 is no key id");
        let short = WrappedKey { check_value: vec![3; 31], ..key(4, KeyState::Old) };
        assert!(fixture.write(|db| insert(db, &short, now)).is_err());
        assert_eq!(list(&fixture.db).unwrap().len(), 3);
    }

    #[test]
    fn a_rotation_activates_the_next_key_and_the_old_one_can_go() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        for key in [key(1, KeyState::Active), key(2, KeyState::Old)] {
            fixture.write(|db| insert(db, &key, now)).unwrap();
        }
        assert!(matches!(fixture.write(|db| activate(db, 3)), Err(Error::NotChanged)));
        assert_eq!(list(&fixture.db).unwrap(), [key(1, KeyState::Active), key(2, KeyState::Old)]);
        fixture.write(|db| activate(db, 2)).unwrap();
        assert_eq!(list(&fixture.db).unwrap(), [key(1, KeyState::Old), key(2, KeyState::Active)]);
        assert_eq!(list_ages(&fixture.db).unwrap(), [(1, now), (2, now)]);

        let rewrapped = WrappedKey { wrapped_by: "k2".to_owned(), blob: vec![9], ..key(1, KeyState::Old) };
        fixture.write(|db| rewrap(db, &rewrapped)).unwrap();
        assert_eq!(list(&fixture.db).unwrap()[0], rewrapped);
        let other = WrappedKey { check_value: vec![4; 32], ..rewrapped };
        assert!(matches!(fixture.write(|db| rewrap(db, &other)), Err(Error::NotChanged)), "another key of this id");

        assert!(matches!(fixture.write(|db| remove(db, 2)), Err(Error::NotChanged)), "the active key stays");
        fixture.write(|db| remove(db, 1)).unwrap();
        assert_eq!(list(&fixture.db).unwrap(), [key(2, KeyState::Active)]);
    }
}
