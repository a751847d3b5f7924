//! The mistakes in a configuration, each with its place and what to do about it.
//!
//! Invariant: no message repeats a value that could be a secret.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::keys;
use crate::domain::shell::quoted;

/// The place where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Name of the variable.
    Environment(String),
    /// Name of the file, as the user gave it.
    File(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::File(name) => f.write_str(name),
        }
    }
}

/// One mistake. `Display` reads "postpeer.toml: server.listen must be …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub origin: Origin,
    /// The key, dotted.
    pub key: String,
    /// Completes a sentence that begins with the key. Says what to do.
    pub problem: String,
    /// The file that the key names, where the mistake is in that file or in who may read it.
    pub file: Option<PathBuf>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.origin, self.key, self.problem)
    }
}

/// A setting that is valid but risky. `Display` reads "postpeer.toml: server.public_url is plain http …".
#[derive(Debug)]
pub(super) struct Warning {
    pub(super) origin: Origin,
    pub(super) path: Vec<String>,
    /// Completes a sentence that begins with the key. Owned where it names a file.
    pub(super) what: Cow<'static, str>,
}

impl Warning {
    /// The platform that the setting is of, and the sentence without its origin, for whoever need not be the operator:
    /// `None` where it would name a file.
    pub(super) fn on_platform(&self) -> Option<(String, String)> {
        match (self.path.as_slice(), &self.what) {
            ([section, platform, ..], Cow::Borrowed(_)) if section == keys::PLATFORMS => {
                Some((platform.clone(), self.sentence()))
            }
            _ => None,
        }
    }

    fn sentence(&self) -> String {
        format!("{} {}", self.path.join("."), self.what)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.sentence())
    }
}

/// All mistakes in a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            all => {
                write!(f, "the configuration has {} mistakes:", all.len())?;
                all.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "every user of this machine can change the configuration {path}, and so have the broker send secrets elsewhere: \
         `chmod o= {quoted}`, then check what is in it",
        path = .0.display(), quoted = quoted(.0)
    )]
    Changeable(PathBuf),
    #[error(
        "there is no configuration at {path}: `postpeer init --config {quoted}` writes one, or name another with --config FILE \
         or POSTPEER_CONFIG",
        path = .0.display(), quoted = quoted(.0)
    )]
    Missing(PathBuf),
    #[error("{0}")]
    Mistakes(Mistakes),
    #[error("the environment variable {variable} is not UTF-8: correct it, or name files by plain characters")]
    NotText { variable: String },
    /// The message does not repeat the line: it may hold a secret.
    #[error("{file} is not valid TOML: {problem}")]
    NotToml { file: String, problem: String },
    #[error("the configuration {} cannot be read: check that it is a file that this user may read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

impl Error {
    /// The configuration that could not be read.
    pub(super) fn unread(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            io::ErrorKind::InvalidData => {
                let problem = "it is not UTF-8: save it in that encoding".to_owned();
                Self::NotToml { file: path.display().to_string(), problem }
            }
            _ => Self::Unreadable { path: path.to_owned(), source },
        }
    }

    /// The files that could not be read, or that hold something else than expected.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let (own, named) = match self {
            Self::Unreadable { path, .. } => (Some(path.as_path()), [].as_slice()),
            Self::Mistakes(Mistakes(mistakes)) => (None, mistakes.as_slice()),
            Self::Changeable(_) | Self::Missing(_) | Self::NotText { .. } | Self::NotToml { .. } => {
                (None, [].as_slice())
            }
        };
        own.into_iter().chain(named.iter().filter_map(|mistake| mistake.file.as_deref()))
    }
}
