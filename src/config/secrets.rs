//! Reads secrets as the operator wrote them: in a file, one of several lines, in quotation marks.

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::layers::Layer;
use super::reader::{QUOTED, Reader};
use crate::domain::secret::SecretString;

/// Maximum size of a file that holds a secret, in bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

impl Reader {
    /// Reads a list of secrets, or the lines of the file that the key with the suffix `_file` names.
    pub(super) fn secrets(&mut self, section: &[&str], key: &str) -> Vec<SecretString> {
        let twin = format!("{key}_file");
        let path: Vec<&str> = section.iter().copied().chain([key]).collect();
        let twin_path: Vec<&str> = section.iter().copied().chain([twin.as_str()]).collect();
        let mut listed = self.at(&path).is_some().then(|| self.list(&path)).flatten();
        self.has_secrets |= listed.is_some() && self.layer(&path) == Layer::File;
        let mut file = self.path(&twin_path);
        match self.layer(&path).cmp(&self.layer(&twin_path)) {
            std::cmp::Ordering::Greater if listed.is_some() => file = None,
            std::cmp::Ordering::Less if file.is_some() => listed = None,
            _ => {}
        }
        let secrets: Vec<SecretString> = match (listed, file) {
            (Some(_), Some(_)) => {
                self.mistake(&path, format!("and {} are both set: remove one", twin_path.join(".")));
                return Vec::new();
            }
            (Some(listed), None) => listed.iter().map(|secret| SecretString::from(secret.trim())).collect(),
            (None, Some(file)) => self.secret_file(&twin_path, &file).map_or_else(Vec::new, |text| lines(&text)),
            (None, None) => return Vec::new(),
        };
        if secrets.iter().any(is_empty) {
            self.mistake(&path, "holds an empty secret: remove it");
            return Vec::new();
        }
        if secrets.iter().any(is_quoted) {
            self.warn(&path, QUOTED);
        }
        let is_repeated = |(at, secret)| secrets.iter().take(at).any(|before| is_same(before, secret));
        if secrets.iter().enumerate().any(is_repeated) {
            self.mistake(&path, "holds the same secret twice: remove one");
            return Vec::new();
        }
        secrets
    }
}

#[expect(clippy::disallowed_methods, reason = "the file holds one secret in a line")]
fn lines(text: &SecretString) -> Vec<SecretString> {
    let lines = text.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(SecretString::from).collect()
}

#[expect(clippy::disallowed_methods, reason = "only its emptiness is looked at")]
fn is_empty(secret: &SecretString) -> bool {
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
fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// The mistake of a file that may never come to its end.
pub(super) const NO_FILE: &str = "is a pipe or a device: name a file";

/// True for a pipe, a socket or a device, which whoever reads it may wait for without end.
pub(super) fn is_special(found: &std::fs::Metadata) -> bool {
    !found.is_file() && !found.is_dir()
}

/// Reads a file that is none of these.
pub(super) fn read_text(file: &Path) -> std::io::Result<String> {
    if is_special(&std::fs::metadata(file)?) {
        return Err(std::io::Error::other(NO_FILE));
    }
    std::fs::read_to_string(file)
}

/// Reads a file without the white space around its text.
pub(super) fn read_secret(file: &Path) -> Result<SecretString, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read ({error}): check the path and its permissions");
    let found = std::fs::metadata(file).map_err(unreadable)?;
    if is_special(&found) {
        return Err(NO_FILE.to_owned());
    }
    if found.len() > MAX_SECRET_FILE {
        return Err("is too large for a secret: name a file that holds the secret only".to_owned());
    }
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(unreadable)?);
    match text.trim() {
        "" => Err("is empty: write the secret into it".to_owned()),
        secret => Ok(SecretString::from(secret)),
    }
}
