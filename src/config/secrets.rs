//! Reads secrets as the operator wrote them: in a file, one of several lines, in quotation marks.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::layers::Layer;
use super::reader::{QUOTED, Reader};
use crate::domain::secret::SecretString;

/// Maximum size of a file that holds a secret, in bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Where a secret is set.
enum Source<T> {
    Direct(T),
    /// In this file, which the key with the suffix `_file` names.
    File(PathBuf),
}

impl Reader {
    /// Reads a secret, or the file that the key with the suffix `_file` names.
    pub(super) fn secret(&mut self, section: &[&str], key: &str) -> Option<SecretString> {
        let twin = format!("{key}_file");
        let (path, twin) = ([section, &[key]].concat(), [section, &[twin.as_str()]].concat());
        let direct = self.text(&path);
        let (secret, path) = match self.source(direct, &path, &twin)? {
            Source::Direct(secret) => (SecretString::from(secret), &path),
            Source::File(file) => (self.secret_file(&twin, &file)?, &twin),
        };
        if is_quoted(&secret) {
            self.warn(path, QUOTED);
        }
        Some(secret)
    }

    /// Reads a list of secrets, or the lines of the file that the key with the suffix `_file` names.
    pub(super) fn secrets(&mut self, section: &[&str], key: &str) -> Vec<SecretString> {
        let twin = format!("{key}_file");
        let (path, twin) = ([section, &[key]].concat(), [section, &[twin.as_str()]].concat());
        let listed = self.list(&path);
        let secrets: Vec<SecretString> = match self.source(listed, &path, &twin) {
            Some(Source::Direct(listed)) => listed.iter().map(|secret| SecretString::from(secret.trim())).collect(),
            Some(Source::File(file)) => self.secret_file(&twin, &file).map_or_else(Vec::new, |text| lines(&text)),
            None => return Vec::new(),
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

    /// Chooses between what was read at `path` and the file that its twin names: the later layer counts. Both in one
    /// layer are a mistake.
    fn source<T>(&mut self, direct: Option<T>, path: &[&str], twin: &[&str]) -> Option<Source<T>> {
        self.files.own_has_secrets |= direct.is_some() && self.layer(path) == Layer::File;
        match (direct, self.path(twin)) {
            (None, None) => None,
            (Some(direct), None) => Some(Source::Direct(direct)),
            (None, Some(file)) => Some(Source::File(file)),
            (Some(direct), Some(file)) => match self.layer(path).cmp(&self.layer(twin)) {
                Ordering::Greater => Some(Source::Direct(direct)),
                Ordering::Less => Some(Source::File(file)),
                Ordering::Equal => {
                    self.mistake(path, format!("and {} are both set: remove one", twin.join(".")));
                    None
                }
            },
        }
    }

    fn secret_file(&mut self, path: &[&str], file: &Path) -> Option<SecretString> {
        self.check_exposure(path, file);
        match read_secret(file) {
            Ok(secret) => {
                self.files.secrets.push(file.to_owned());
                Some(secret)
            }
            Err(problem) => {
                self.mistake_in_file(path, file, &problem);
                None
            }
        }
    }

    /// The highest layer in which a secret is set, by itself or by a file.
    pub(super) fn layer_of_secret(&self, section: &[&str], key: &str) -> Layer {
        let layer = |key: &str| self.layer(&[section, &[key]].concat());
        layer(key).max(layer(&format!("{key}_file")))
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
fn is_quoted(secret: &SecretString) -> bool {
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
fn read_secret(file: &Path) -> Result<SecretString, String> {
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
