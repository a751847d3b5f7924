//! The wrapped form of data keys in releases before version 2 of sealed values, written once more from its
//! documentation and not with the broker's code, so that a change of that code is noticed. For tests and benchmarks.

use std::path::Path;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use rusqlite::Connection;
use sha2::Sha256;
use uuid::Uuid;

pub(crate) type Key = [u8; 32];

pub(crate) fn derive(key: &Key, label: &[u8]) -> XChaCha20Poly1305 {
    let mut derived = Key::default();
    Hkdf::<Sha256>::new(None, key).expand(label, &mut derived).unwrap();
    XChaCha20Poly1305::new(&derived.into())
}

pub(crate) fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], *part].concat()).collect()
}

/// A key of the keyring file.
fn keyring_key(keyring: &Path, id: &str) -> Key {
    use base64::Engine as _;
    let text = std::fs::read_to_string(keyring).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(id)?.strip_prefix(':')).unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(line.trim()).unwrap().try_into().unwrap()
}

/// Wraps the data key 1 as earlier releases did, and returns it. As `to` 1, it opens values of the first version again.
pub(crate) fn unbind_key(db: &Connection, keyring: &Path, db_id: Uuid, to: u8) -> Key {
    let (kek_id, blob): (String, Vec<u8>) = db
        .query_row("SELECT wrapped_by, blob FROM keyring WHERE dek_id = 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let cipher = derive(&keyring_key(keyring, &kek_id), b"wrap/v1");
    let context = |version: u8| {
        length_prefixed(&[b"broker-wrap", &[version], &1_u32.to_be_bytes(), db_id.as_bytes(), kek_id.as_bytes()])
    };
    let (&version, rest) = blob.split_first().unwrap();
    let (&nonce, key) = rest.split_first_chunk::<24>().unwrap();
    let (nonce, mut key) = (XNonce::from(nonce), key.to_vec());
    cipher.decrypt_in_place(&nonce, &context(version), &mut key).unwrap();
    let mut wrapped = key.clone();
    cipher.encrypt_in_place(&nonce, &context(to), &mut wrapped).unwrap();
    let blob = [&[to], nonce.as_slice(), &wrapped].concat();
    db.execute("UPDATE keyring SET blob = ?1 WHERE dek_id = 1", [blob]).unwrap();
    key.try_into().unwrap()
}
