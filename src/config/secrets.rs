//! What a secret looks like where the operator wrote it: in a file, one of several lines, in quotation marks.

use std::path::Path;

use secrecy::ExposeSecret as _;

use crate::domain::secret::SecretString;

/// Maximum size of a file that holds a secret, in bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

#[expect(clippy::disallowed_methods, reason = "the file holds one secret in a line")]
pub(super) fn lines(text: &SecretString) -> Vec<SecretString> {
    let lines = text.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(SecretString::from).collect()
}

#[expect(clippy::disallowed_methods, reason = "only its emptiness is looked at")]
pub(super) fn is_empty(secret: &SecretString) -> bool {
    secret.expose_secret().is_empty()
}

#[expect(clippy::disallowed_methods, reason = "only its first and last character are looked at")]
pub(super) fn is_quoted(secret: &SecretString) -> bool {
    has_quotes(secret.expose_secret())
}

/// True for a text in quotation marks: those of a shell, or those that a text program makes of them.
pub(super) fn has_quotes(text: &str) -> bool {
    let mut ends = text.chars();
    let ends = (ends.next(), ends.next_back());
    [('"', '"'), ('\'', '\''), ('`', '`'), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}')]
        .into_iter()
        .any(|(first, last)| ends == (Some(first), Some(last)))
}

#[expect(clippy::disallowed_methods, reason = "comparing two secrets reads both")]
pub(super) fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// Reads a file without the white space around its text.
pub(super) fn read_secret(file: &Path) -> Result<SecretString, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read ({error}): check the path and its permissions");
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > MAX_SECRET_FILE {
        return Err("is too large for a secret: name a file that holds the secret only".to_owned());
    }
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(unreadable)?);
    match text.trim() {
        "" => Err("is empty: write the secret into it".to_owned()),
        secret => Ok(SecretString::from(secret)),
    }
}
