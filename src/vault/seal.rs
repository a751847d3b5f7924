//! The layout of a sealed value:
//!
//! ```text
//! byte 0      version 0x01: XChaCha20-Poly1305, this layout, this context
//! bytes 1-4   id of the data key, big-endian
//! bytes 5-28  nonce, 24 random bytes (192 random bits do not repeat)
//! bytes 29-   ciphertext and 16-byte tag
//! ```
//!
//! Authenticated with it: "broker-seal", version, key id, database id, table, column, row id, generation. Each part is
//! preceded by its length, so that no two lists encode alike.

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::AeadInOut;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::data_key::DataKey;
use super::{Error, Place};
use crate::domain::entropy::Entropy;
use crate::domain::secret::Sealed;

const VERSION: u8 = 0x01;
pub(super) const TAG: usize = 16;

/// Copies `plain` into a buffer that is wiped when dropped and has room for the tag, so that sealing does not move it.
pub(super) fn buffer(plain: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    buffer.extend_from_slice(plain);
    buffer
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
        .encrypt_in_place(&XNonce::from(nonce), &context(dek_id, db, place), &mut *plain)
        .map_err(|_| Error::Unsealable { table: place.table, column: place.column })?;
    Ok(Sealed::from_bytes([&[VERSION], dek_id.to_be_bytes().as_slice(), &nonce, &plain].concat()))
}

/// `key` returns the data key of an id.
pub(super) fn open<'k>(
    key: impl FnOnce(u32) -> Option<&'k DataKey>,
    db: Uuid,
    place: &Place,
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let Place { table, column, .. } = *place;
    let rejected = || Error::Rejected { table, column };
    let (&version, rest) = sealed.as_bytes().split_first().ok_or_else(rejected)?;
    if version != VERSION {
        return Err(Error::UnknownVersion { table, column, version });
    }
    let (dek_id, rest) = rest.split_first_chunk().ok_or_else(rejected)?;
    let dek_id = u32::from_be_bytes(*dek_id);
    let (nonce, ciphertext) = rest.split_first_chunk::<24>().ok_or_else(rejected)?;
    let key = key(dek_id).ok_or(Error::UnknownKey { table, column, dek_id })?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    key.cipher()
        .decrypt_in_place(&XNonce::from(*nonce), &context(dek_id, db, place), &mut *buffer)
        .map_err(|_| rejected())?;
    Ok(buffer)
}

fn context(dek_id: u32, db: Uuid, place: &Place) -> Vec<u8> {
    length_prefixed(&[
        b"broker-seal",
        &[VERSION],
        &dek_id.to_be_bytes(),
        db.as_bytes(),
        place.table.as_bytes(),
        place.column.as_bytes(),
        place.row.as_bytes(),
        &place.generation.to_be_bytes(),
    ])
}

/// Concatenates the parts, each preceded by its length in eight bytes.
pub(super) fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.iter().copied())).collect()
}
