//! The files of an open database, compared with what has their names now. An open file stays usable after somebody
//! moved, deleted or replaced it, so what is written to it would be lost without an error.
//!
//! Invariant: a file that was moved back to its place is found again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::lock::beside;

/// A file that was moved, replaced or cut short under the running process.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} was {how} while it was open: {}", path.display(), how.advice())]
pub struct Moved {
    pub path: PathBuf,
    pub how: How,
}

/// The thing that happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
pub enum How {
    /// The database has its name no more.
    #[strum(to_string = "moved away or deleted")]
    Gone,
    /// The write-ahead log, its index or the lock has its name no more, or another file has it.
    #[strum(to_string = "removed or replaced")]
    LogGone,
    /// The write-ahead log is shorter than what was written to it. The rest is lost where it was only there.
    #[strum(to_string = "cut short")]
    LogShort,
    /// Another file has the database's name.
    #[strum(to_string = "replaced by another file")]
    Replaced,
}

impl How {
    fn advice(self) -> &'static str {
        match self {
            Self::Gone => {
                "move it back and no restart is needed, or stop the broker and put a backup in its place with `postpeer \
                 restore FILE`"
            }
            Self::LogGone => "restart the broker",
            Self::LogShort => {
                "what was in the rest and not yet in the database is lost. Restart the broker, which looks for damage, and \
                 `postpeer restore FILE` if a backup has more"
            }
            Self::Replaced => {
                "move the first one back, or stop the broker and put the other one in its place with `postpeer restore \
                 FILE`"
            }
        }
    }
}

/// Device and inode.
type Identity = (u64, u64);

pub(super) struct Files {
    database: (PathBuf, Identity),
    /// The write-ahead log and its index, which live as long as the database is open, and the lock. Without its name,
    /// that one would keep no other broker away.
    beside: Vec<(PathBuf, Identity)>,
}

impl Files {
    /// Those of a database that was read from: only then SQLite has opened all of them.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // SQLite names the files beside the database after the target of a link.
        let target = fs::canonicalize(path)?;
        let beside = ["-wal", "-shm", ".lock"].into_iter().map(|ending| beside(&target, ending));
        let beside = beside.filter_map(|path| identity(&path).ok().map(|found| (path, found))).collect();
        Ok(Self { database: (path.to_owned(), identity(path)?), beside })
    }

    /// Takes a few microseconds.
    pub(super) fn check(&self) -> Result<(), Moved> {
        let (path, opened) = &self.database;
        let moved = |path: &Path, how| Err(Moved { path: path.to_owned(), how });
        match identity(path) {
            Ok(found) if found == *opened => {}
            Ok(_) => return moved(path, How::Replaced),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return moved(path, How::Gone),
            // The directory cannot be looked into now. The next access to the disk tells more.
            Err(_) => return Ok(()),
        }
        for (path, opened) in &self.beside {
            match identity(path) {
                Ok(found) if found == *opened => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                Ok(_) | Err(_) => return moved(path, How::LogGone),
            }
        }
        Ok(())
    }

    /// Fails when the write-ahead log has fewer bytes than these: SQLite reads what is missing as zeros, once something
    /// was written after it.
    pub(super) fn check_log(&self, bytes: u64) -> Result<(), Moved> {
        let is_log = |path: &Path| path.as_os_str().as_encoded_bytes().ends_with(b"-wal");
        for (path, opened) in self.beside.iter().filter(|(path, _)| is_log(path)) {
            if let Ok(found) = fs::metadata(path)
                && (found.dev(), found.ino()) == *opened
                && found.len() < bytes
            {
                return Err(Moved { path: path.clone(), how: How::LogShort });
            }
        }
        Ok(())
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}
