//! The public half of the operator's recovery key, sealed, and the data keys wrapped for it. They belong to the whole
//! database, not to a project.

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, change_one, dek_id, one, signed};
use crate::domain::keyring::RecoveryWrap;
use crate::domain::secret::Sealed;

/// The sealed public key and its generation.
pub fn find(db: &Connection) -> Result<Option<(Sealed, u64)>, Error> {
    one(db, "SELECT id, public_key, generation FROM recovery WHERE id = 1", &[], |row| {
        let fields = Fields::of("recovery", row);
        Ok((fields.get("public_key")?, fields.unsigned("generation")?))
    })
}

/// Puts a public key, and the data keys wrapped for it, in place of those of an earlier recovery key.
pub fn put(db: &Transaction<'_>, key: &Sealed, generation: u64, wraps: &[RecoveryWrap]) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO recovery (id, public_key, public_key_dek_id, generation) VALUES (1, :key, :dek_id, :generation)
         ON CONFLICT (id) DO UPDATE SET public_key = excluded.public_key,
            public_key_dek_id = excluded.public_key_dek_id, generation = excluded.generation",
        named_params! {
            ":key": key, ":dek_id": dek_id(key, "recovery", "public_key", &1)?, ":generation": signed(generation),
        },
    )?;
    change(db, "DELETE FROM recovery_wraps", &[])?;
    wraps.iter().try_for_each(|wrap| insert_wrap(db, wrap))
}

/// Adds a new data key, wrapped for the recovery key.
pub fn insert_wrap(db: &Transaction<'_>, wrap: &RecoveryWrap) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO recovery_wraps (dek_id, recovery_key, blob) VALUES (:dek_id, :recovery_key, :blob)",
        named_params! {":dek_id": wrap.dek_id, ":recovery_key": wrap.recovery_key, ":blob": wrap.blob},
    )
}

/// Stores a data key as it is wrapped anew for the same recovery key.
pub fn rewrap(db: &Transaction<'_>, wrap: &RecoveryWrap) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE recovery_wraps SET blob = :blob WHERE dek_id = :dek_id AND recovery_key = :recovery_key",
        named_params! {":dek_id": wrap.dek_id, ":recovery_key": wrap.recovery_key, ":blob": wrap.blob},
    )
}

/// All data keys that are wrapped for the recovery key, oldest first.
pub fn list_wraps(db: &Connection) -> Result<Vec<RecoveryWrap>, Error> {
    all(db, "SELECT dek_id AS id, recovery_key, blob FROM recovery_wraps ORDER BY dek_id", &[], |row| {
        let fields = Fields::of("recovery_wraps", row);
        Ok(RecoveryWrap {
            dek_id: fields.get("id")?,
            recovery_key: fields.get("recovery_key")?,
            blob: fields.get("blob")?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyring::{KeyState, WrappedKey};
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::keyring;

    #[test]
    fn one_recovery_key_replaces_another_and_wraps_go_with_their_data_key() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        for (dek_id, state) in [(1, KeyState::Old), (2, KeyState::Active)] {
            let key = WrappedKey { dek_id, wrapped_by: "k".to_owned(), blob: vec![1], check_value: vec![3; 32], state };
            fixture.write(|db| keyring::insert(db, &key, now)).unwrap();
        }
        assert!(find(&fixture.db).unwrap().is_none());
        let wrap = |dek_id, key: &str| RecoveryWrap { dek_id, recovery_key: key.to_owned(), blob: vec![7] };
        fixture.write(|db| put(db, &sealed(1), 1, &[wrap(1, "r1")])).unwrap();
        fixture.write(|db| insert_wrap(db, &wrap(2, "r1"))).unwrap();
        assert!(fixture.write(|db| insert_wrap(db, &wrap(3, "r1"))).is_err(), "there is no such data key");
        assert!(fixture.write(|db| keyring::remove(db, 1)).is_err(), "the public key needs it");
        fixture.write(|db| put(db, &sealed(2), 2, &[wrap(1, "r2"), wrap(2, "r2")])).unwrap();
        assert_eq!(find(&fixture.db).unwrap(), Some((sealed(2), 2)));
        assert_eq!(list_wraps(&fixture.db).unwrap(), [wrap(1, "r2"), wrap(2, "r2")]);
        fixture.write(|db| keyring::remove(db, 1)).unwrap();
        assert_eq!(list_wraps(&fixture.db).unwrap(), [wrap(2, "r2")]);
    }
}
