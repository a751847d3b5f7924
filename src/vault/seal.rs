//! The layout of a sealed value:
//!
//! ```text
//! byte 0      version 0x02: XChaCha20-Poly1305, this layout, this context
//! bytes 1-4   id of the data key, big-endian
//! bytes 5-28  nonce, 24 random bytes (192 random bits do not repeat)
//! bytes 29-   ciphertext and 16-byte tag
//! ```
//!
//! Authenticated with it: "broker-seal", version, key id, database id, table, column, row id, generation, and the
//! [owner](super::Owner)'s project, platform and OAuth client. Each part is preceded by its length, so that no two
//! lists encode alike.
//!
//! Version 0x01, which earlier releases wrote, lacks the owner. It is opened only with a data key whose
//! [wrapped form](super::data_key) says that such values may still exist.

use std::io::{self, Write};

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::AeadInOut;
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::data_key::DataKey;
use super::{Error, Place};
use crate::domain::entropy::Entropy;
use crate::domain::secret::Sealed;

const VERSION: u8 = 0x02;
/// Without the owner.
const FIRST_VERSION: u8 = 0x01;
const TAG: usize = 16;

/// Copies `plain` into a buffer that is wiped when dropped and has room for the tag, so that sealing does not move it.
pub(super) fn buffer(plain: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    buffer.extend_from_slice(plain);
    buffer
}

/// Writes JSON into such a buffer.
pub(super) fn json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    // A buffer that grows leaves copies of its content behind, so the first pass only measures.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value)?;
    let mut json = Zeroizing::new(Vec::with_capacity(length.0 + TAG));
    serde_json::to_writer(&mut *json, value)?;
    Ok(json)
}

/// Counts the bytes that are written to it.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn seal(
    key: &DataKey,
    dek_id: u32,
    db: Uuid,
    place: &Place,
    mut plain: Zeroizing<Vec<u8>>,
    entropy: &dyn Entropy,
) -> Result<Sealed, Error> {
    let mut nonce = [0_u8; 24];
    entropy.fill(&mut nonce);
    key.cipher()
        .encrypt_in_place(&XNonce::from(nonce), &context(VERSION, dek_id, db, place), &mut *plain)
        .map_err(|_| Error::unsealable(place))?;
    Ok(Sealed::from_bytes([&[VERSION], dek_id.to_be_bytes().as_slice(), &nonce, &plain].concat()))
}

/// As earlier releases sealed.
#[cfg(test)]
pub(super) fn seal_first_version(key: &DataKey, dek_id: u32, db: Uuid, place: &Place, plain: &[u8]) -> Sealed {
    let (nonce, mut plain) = ([7_u8; 24], buffer(plain));
    let context = context(FIRST_VERSION, dek_id, db, place);
    key.cipher().encrypt_in_place(&XNonce::from(nonce), &context, &mut *plain).unwrap();
    Sealed::from_bytes([&[FIRST_VERSION], dek_id.to_be_bytes().as_slice(), &nonce, &plain].concat())
}

/// `key` returns the data key of an id.
pub(super) fn open<'k>(
    key: impl FnOnce(u32) -> Option<&'k DataKey>,
    db: Uuid,
    place: &Place,
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let &Place { table, column, .. } = place;
    let row = || place.row.as_str().into();
    let rejected = || Error::Rejected { table, column, row: row() };
    let (&version, rest) = sealed.as_bytes().split_first().ok_or_else(rejected)?;
    if ![FIRST_VERSION, VERSION].contains(&version) {
        return Err(Error::UnknownVersion { table, column, row: row(), version });
    }
    let (dek_id, rest) = rest.split_first_chunk().ok_or_else(rejected)?;
    let dek_id = u32::from_be_bytes(*dek_id);
    let (nonce, ciphertext) = rest.split_first_chunk::<24>().ok_or_else(rejected)?;
    let key = key(dek_id).ok_or_else(|| Error::UnknownKey { table, column, row: row(), dek_id })?;
    if version == FIRST_VERSION && !key.opens_first_version() {
        return Err(Error::Outdated { table, column, row: row() });
    }
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    key.cipher()
        .decrypt_in_place(&XNonce::from(*nonce), &context(version, dek_id, db, place), &mut *buffer)
        .map_err(|_| rejected())?;
    Ok(buffer)
}

fn context(version: u8, dek_id: u32, db: Uuid, place: &Place) -> Vec<u8> {
    let Place { table, column, row, generation, owner: [project, platform, client] } = place;
    let (version, dek_id, generation) = ([version], dek_id.to_be_bytes(), generation.to_be_bytes());
    let row = [table, column, row.as_str()].map(str::as_bytes);
    let [table, column, row] = row;
    let first: [&[u8]; 8] = [b"broker-seal", &version, &dek_id, db.as_bytes(), table, column, row, &generation];
    if version == [FIRST_VERSION] {
        return length_prefixed(&first);
    }
    let owner = [project, platform, client].map(String::as_bytes);
    length_prefixed(&[first.as_slice(), &owner].concat())
}

/// Concatenates the parts, each preceded by its length in eight bytes.
pub(super) fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| size_of::<u64>() + part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
