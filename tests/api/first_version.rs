//! Databases as releases before version 2 of sealed values left them. The first version is written here once more, from
//! its documentation and not with the broker's code, so that a change of that code is noticed.

use std::path::Path;
use std::sync::Arc;

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::AeadInOut as _;
use postpeer::domain::entropy::SystemEntropy;
use postpeer::store;
use postpeer::store::sealed::{SEALED, Stored};
use postpeer::vault::{KeyringFile, Place, Vault};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::unbound::{Key, derive, length_prefixed, unbind_key};

/// Seals as earlier releases did.
fn seal(key: &Key, db_id: Uuid, value: &Stored, plain: &[u8]) -> Vec<u8> {
    let (dek_id, nonce) = (1_u32.to_be_bytes(), [9_u8; 24]);
    let context = length_prefixed(&[
        b"broker-seal",
        &[1],
        &dek_id,
        db_id.as_bytes(),
        value.column.table.as_bytes(),
        value.sealed_as().as_bytes(),
        value.row.as_bytes(),
        &value.generation.to_be_bytes(),
    ]);
    let mut sealed = plain.to_vec();
    derive(key, b"seal/v1").encrypt_in_place(&XNonce::from(nonce), &context, &mut sealed).unwrap();
    [&[1], &dek_id[..], &nonce, &sealed].concat()
}

/// Makes everything in a database that only its data key 1 seals as an earlier release left it: values of the first
/// version, keys, flows and links without codes. Returns the number of values.
pub(crate) fn bring_back(database: &Path, keyring: &Path) -> usize {
    let inspection = store::inspect(database).unwrap();
    let file = KeyringFile::load(keyring).unwrap();
    let vault = Vault::unlock(&file, inspection.db_id, &inspection.wrapped_keys, Arc::new(SystemEntropy)).unwrap();
    let mut db = Connection::open(database).unwrap();
    let db = db.transaction().unwrap();
    let key = unbind_key(&db, keyring, inspection.db_id, 1);
    let mut values = 0;
    for column in SEALED {
        for value in column.list_all(&db, 0, 1_000_000).unwrap() {
            let place = Place::stored(column.table, value.sealed_as(), &value.row, value.generation, &value.owner);
            let plain = vault.open_answer(&place, &value.sealed).unwrap();
            let sealed = seal(&key, inspection.db_id, &value, &plain);
            let update = format!("UPDATE {0} SET {1} = ?1 WHERE {1} = ?2", column.table, column.column);
            assert_eq!(db.execute(&update, params![sealed, value.sealed.as_bytes()]).unwrap(), 1);
            values += 1;
        }
    }
    for table in ["access_keys", "flows", "links"] {
        db.execute(&format!("UPDATE {table} SET mac = NULL, mac_dek_id = NULL"), []).unwrap();
    }
    db.commit().unwrap();
    values
}

/// Number of values of each version.
pub(crate) fn versions(database: &Path) -> [usize; 2] {
    let mut found = [0; 2];
    store::sealed::for_each_sealed(database, |value| found[usize::from(value.sealed.as_bytes()[0]) - 1] += 1).unwrap();
    found
}
