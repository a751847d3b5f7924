//! The keyring file with the keys that wrap data keys.
//!
//! ```text
//! # comment
//! k1b2c4d6e8f0a1b3:<32 bytes in base64url>
//! active = k1b2c4d6e8f0a1b3
//! ```
//!
//! A key's id is derived from the key, so a damaged or mistyped line is noticed. The file may hold several keys;
//! `active` names the one that wraps new data keys.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::data_key::derive;
use super::private_file;
use super::recovery::RecoveryKey;
use crate::domain::entropy::Entropy;

/// A key of such a file. Without `Debug`; on the heap, so that moving it leaves no copy.
pub(super) struct KeyBytes(Box<Zeroizing<[u8; 32]>>);

impl KeyBytes {
    pub(super) fn random(entropy: &dyn Entropy) -> Self {
        let mut key = Self(Box::new(Zeroizing::new([0_u8; 32])));
        entropy.fill(key.0.as_mut().as_mut());
        key
    }

    /// Bytes that were derived.
    pub(super) fn of(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(Box::new(bytes))
    }

    /// `None` when the text is not 32 bytes in base64url.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut key = Self(Box::new(Zeroizing::new([0_u8; 32])));
        let decoded = URL_SAFE_NO_PAD.decode_slice(text.trim(), key.0.as_mut().as_mut());
        (decoded == Ok(32)).then_some(key)
    }

    /// Appends the key in base64url.
    pub(super) fn write(&self, text: &mut String) {
        URL_SAFE_NO_PAD.encode_string(self.bytes(), text);
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id of a key of the keyring.
    pub(super) fn id(&self) -> String {
        format!("k1{:.14}", hex::encode(derive(self.bytes(), b"id/v1").as_slice()))
    }
}

pub struct KeyringFile {
    keys: BTreeMap<String, KeyBytes>,
    /// Always in `keys`.
    active: String,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("the key file {} already exists and was not changed", path.display())]
    AlreadyExists { path: PathBuf },
    #[error("the key file {} could not be read or written", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Its permissions let this user read it, and something else keeps this process from it.
    #[error(
        "the key file {} could not be read, although its permissions allow it: a broker opens only folders that were there \
         when it started. If this one was made or mounted since, restart the broker",
        path.display()
    )]
    ShutOut { path: PathBuf, source: io::Error },
    #[error("the key file {}, line {line}: {why}. Restore an undamaged copy of the file", path.display())]
    Malformed { path: PathBuf, line: usize, why: &'static str },
    #[error(
        "there is no keyring file at {}. The secrets in the database can be opened only with the keyring that belongs to \
         it: restore your copy, set keyring.path, or make a new one from the recovery key (`postpeer keyring recover`)",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "{} is a recovery key, and no keyring: put the keyring in its place (keyring.path). If the keyring is lost, move the \
         recovery key away, and run `postpeer keyring recover FILE` with it",
        path.display()
    )]
    NotAKeyring { path: PathBuf },
    #[error(
        "{} is a keyring, and no recovery key: put it in its place (keyring.path), and no recovery key is needed",
        path.display()
    )]
    NotARecoveryKey { path: PathBuf },
    #[error("there is no recovery key at {}", path.display())]
    RecoveryKeyMissing { path: PathBuf },
    #[error("the key file {} {why} (mode {mode:04o}): run `{remedy}`", path.display())]
    Exposed { path: PathBuf, mode: u32, why: &'static str, remedy: String },
}

impl KeyringFile {
    /// Generates a keyring with one key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let key = KeyBytes::random(entropy);
        let active = key.id();
        Self { keys: BTreeMap::from([(active.clone(), key)]), active }
    }

    /// Writes a new file with mode 0600, durably. Never overwrites.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyringError> {
        private_file::write_new(path, &self.text())
    }

    /// Writes the file beside its place, which must be free, durably: [`publish`](Self::publish) puts it there.
    pub fn write_unpublished(&self, path: &Path) -> Result<(), KeyringError> {
        private_file::write_unpublished(path, &self.text())
    }

    /// Reads the file that lies beside its place.
    pub fn load_unpublished(path: &Path) -> Result<Self, KeyringError> {
        Self::load(&private_file::unfinished(path))
    }

    /// Puts a file that was written beside its place there. Never overwrites.
    pub fn publish(path: &Path) -> Result<(), KeyringError> {
        private_file::publish(path)
    }

    /// Durably replaces the file that this keyring was loaded from. A comment in it is lost.
    pub fn replace(&self, path: &Path) -> Result<(), KeyringError> {
        private_file::replace(path, &self.text())
    }

    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let text = private_file::read(path, KeyringError::Missing { path: path.to_owned() })?;
        let malformed = |(line, why)| KeyringError::Malformed { path: path.to_owned(), line, why };
        let text = std::str::from_utf8(&text).map_err(|_| malformed((1, "the file is not text")))?;
        Self::parse(text).map_err(|place| match RecoveryKey::load(path) {
            Ok(_) => KeyringError::NotAKeyring { path: path.to_owned() },
            Err(_) => malformed(place),
        })
    }

    /// Adds a new key and makes it the active one.
    pub fn add_key(&mut self, entropy: &dyn Entropy) {
        let new = Self::generate(entropy);
        self.active = new.active;
        self.keys.extend(new.keys);
    }

    /// Removes a key. False when there is no such key, or it is the active one.
    pub fn remove_key(&mut self, id: &str) -> bool {
        id != self.active && self.keys.remove(id).is_some()
    }

    /// The ids of the keys, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// True when the file has this key.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// Id of the key that wraps new data keys.
    #[must_use]
    pub fn active_id(&self) -> &str {
        &self.active
    }

    pub(super) fn active(&self) -> (&str, &KeyBytes) {
        let key = self.keys.get(&self.active).expect("the active key is one of the keys");
        (&self.active, key)
    }

    pub(super) fn get(&self, id: &str) -> Option<&KeyBytes> {
        self.keys.get(id)
    }

    fn text(&self) -> Zeroizing<String> {
        // Large enough: a buffer that grows leaves copies of its content behind.
        let mut text = Zeroizing::new(String::with_capacity(512 + self.keys.len() * 128));
        text.push_str(
            "# The keys to the secrets in the database. Without this file the secrets are lost; whoever has both this file\n\
             # and the database can read them. Keep a copy in a safe place, apart from the backups of the database.\n",
        );
        for (id, key) in &self.keys {
            text.push_str(id);
            text.push(':');
            key.write(&mut text);
            text.push('\n');
        }
        text.push_str("active = ");
        text.push_str(&self.active);
        text.push('\n');
        text
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut keys = BTreeMap::new();
        let mut active = None;
        let mut lines = 0;
        for (number, line) in (1..).zip(text.lines()) {
            lines = number;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some((_, value)) = line.split_once('=').filter(|(name, _)| name.trim() == "active") {
                if active.replace((number, value.trim().to_owned())).is_some() {
                    return Err((number, "a second `active` line"));
                }
                continue;
            }
            let (id, value) = line.split_once(':').ok_or((number, "not `id:key`, `active = id` or a comment"))?;
            let key = KeyBytes::parse(value).ok_or((number, "the key is not 32 bytes in base64url"))?;
            if key.id() != id {
                return Err((number, "the key and its id do not belong together: one of them was changed"));
            }
            if keys.insert(id.to_owned(), key).is_some() {
                return Err((number, "the same key a second time"));
            }
        }
        let (number, active) = active.ok_or((lines, "there is no line `active = id`"))?;
        if !keys.contains_key(&active) {
            return Err((number, "`active` names a key that is not in the file"));
        }
        Ok(Self { keys, active })
    }
}

impl fmt::Debug for KeyringFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyringFile({})", self.ids().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::entropy::SeededEntropy;

    fn write(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.keyring");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_file_takes_its_place_when_it_is_published_and_is_replaced_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.keyring");
        let mut keyring = KeyringFile::generate(&SeededEntropy::new(1));
        keyring.write_unpublished(&path).unwrap();
        assert!(matches!(KeyringFile::load(&path), Err(KeyringError::Missing { .. })));
        KeyringFile::publish(&path).unwrap();
        assert_eq!(KeyringFile::load(&path).unwrap().text(), keyring.text());
        assert!(KeyringFile::publish(&path).is_err(), "there is nothing left to publish");
        // Keys are kept as long as any copy of the database needs them.
        (2..50).for_each(|seed| keyring.add_key(&SeededEntropy::new(seed)));
        keyring.replace(&path).unwrap();
        assert_eq!(KeyringFile::load(&path).unwrap().text(), keyring.text());
    }

    #[test]
    fn a_written_file_is_private_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.keyring");
        let keyring = KeyringFile::generate(&SeededEntropy::new(1));
        keyring.write_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let read = KeyringFile::load(&path).unwrap();
        assert_eq!(read.active_id(), keyring.active_id());
        assert_eq!(read.active().1.bytes(), keyring.active().1.bytes());

        let before = fs::read(&path).unwrap();
        let again = KeyringFile::generate(&SeededEntropy::new(2)).write_new(&path);
        assert!(matches!(again, Err(KeyringError::AlreadyExists { .. })), "{again:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn several_keys_comments_and_blank_lines_are_read() {
        let [a, b] = [1, 2].map(|seed| KeyringFile::generate(&SeededEntropy::new(seed)));
        let line = |keyring: &KeyringFile| keyring.text().lines().nth(2).unwrap().to_owned();
        let text = format!("# two\r\n\n  {}\n{}\n# end\nactive={}", line(&a), line(&b), b.active_id());
        let (_directory, path) = write(&text, 0o600);
        let read = KeyringFile::load(&path).unwrap();
        assert_eq!(read.active_id(), b.active_id());
        assert!(read.get(a.active_id()).is_some());
        assert_eq!(read.ids().count(), 2);
    }

    #[test]
    fn the_mode_of_the_file_decides() {
        let text = KeyringFile::generate(&SeededEntropy::new(1)).text();
        for mode in [0o600, 0o400, 0o640, 0o440] {
            let (_directory, path) = write(&text, mode);
            assert!(KeyringFile::load(&path).is_ok(), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o660, 0o606, 0o444] {
            let (_directory, path) = write(&text, mode);
            let shown = KeyringFile::load(&path).unwrap_err().to_string();
            let remedy = format!("(mode {mode:04o}): run `chmod 600 {}`", path.display());
            assert!(shown.ends_with(&remedy), "{shown}");
        }
    }

    /// Kubernetes mounts a secret behind two symbolic links.
    #[test]
    fn the_mode_of_a_link_does_not_count() {
        let text = KeyringFile::generate(&SeededEntropy::new(1)).text();
        for (mode, loads) in [(0o440, true), (0o444, false)] {
            let (directory, path) = write(&text, mode);
            let link = directory.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert_eq!(KeyringFile::load(&link).is_ok(), loads, "{mode:o}");
        }
    }

    #[test]
    fn the_owner_of_the_file_decides() {
        let text = KeyringFile::generate(&SeededEntropy::new(1)).text();
        let (_directory, path) = write(&text, 0o440);
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            let shown = KeyringFile::load(&path).unwrap_err().to_string();
            assert!(shown.contains("belongs to neither root nor this user (mode 0440): run `chmod 600 "), "{shown}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
            assert!(KeyringFile::load(&path).is_ok(), "root may read it and no other user");
        }
    }

    #[test]
    fn a_missing_file_is_reported_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let below_a_file = KeyringFile::load(&file.join("keyring"));
        assert!(matches!(below_a_file, Err(KeyringError::Io { .. })), "not every failure: {below_a_file:?}");
        let missing = KeyringFile::load(&directory.path().join("none"));
        assert!(matches!(missing, Err(KeyringError::Missing { .. })), "{missing:?}");
    }

    #[test]
    fn a_malformed_file_is_refused_with_a_line_number_and_without_its_content() {
        let good = KeyringFile::generate(&SeededEntropy::new(1));
        let key = good.text().lines().nth(2).unwrap().to_owned();
        let id = good.active_id();
        let other = KeyringFile::generate(&SeededEntropy::new(2));
        for (text, line) in [
            (String::new(), 0),
            (format!("{key}\n"), 1),
            (format!("active = {id}\n"), 1),
            (format!("{key}\nactive = {}\n", other.active_id()), 2),
            (format!("{key}\n{key}\nactive = {id}\n"), 2),
            (format!("{key}\nactive = {id}\nactive = {id}\n"), 3),
            (format!("# x\n{}\nactive = {id}\n", &key[..key.len() - 1]), 2),
            (format!("{key}AA\nactive = {id}\n"), 1),
            (format!("{}\nactive = {id}\n", key.replacen(id, other.active_id(), 1)), 1),
            (format!("{key}\nactive = {id}\nwhat\n"), 3),
            (format!("{}\nactive = {id}\n", key.replace(':', ":!")), 1),
            ("\u{feff}".to_owned() + &key, 1),
        ] {
            let (_directory, path) = write(&text, 0o600);
            let error = KeyringFile::load(&path).unwrap_err();
            assert!(
                matches!(error, KeyringError::Malformed { line: found, .. } if found == line),
                "{text:?}: {error:?}"
            );
            assert!(!error.to_string().contains(key.split_once(':').unwrap().1));
        }
        let (_directory, path) = write("", 0o600);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(KeyringFile::load(&path), Err(KeyringError::Malformed { .. })));
        for (length, is_read) in [(64 * 1024, true), (64 * 1024 + 1, false), (70_000, false)] {
            let comment = "#".repeat(length - good.text().len());
            fs::write(&path, [good.text().as_str(), &comment].concat()).unwrap();
            assert_eq!(KeyringFile::load(&path).is_ok(), is_read, "{length}");
        }
    }
}
