//! A lock on a file beside the database: one broker at a time. A second one, on the database's folder, keeps commands
//! and a restore apart. The kernel releases both however the process ends.
//!
//! SQLite's own locks would also shut out a backup tool or a shell beside a running broker.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::open::{BUSY_TIMEOUT, OpenError, check_directory, directory_of};

/// Held for as long as the process uses the database.
#[derive(Debug)]
pub struct DatabaseLock {
    // The file stays: removing it would let two processes lock two files.
    file: File,
    /// The path of the database, if the file was made for this lock.
    made: Option<PathBuf>,
}

impl DatabaseLock {
    /// Takes `<path>.lock` without waiting. The database itself need not exist.
    pub fn take(path: &Path) -> Result<Self, OpenError> {
        check_directory(path)?;
        let lock = beside(path, ".lock");
        let io = |source| OpenError::Io { path: lock.clone(), source };
        let made = lock.symlink_metadata().is_err().then(|| path.to_owned());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(io)?;
        if made.is_some() {
            // Whoever may not give it away hears so from `check`.
            let _ = give_to_owner(path, &lock);
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(io(source)),
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Busy { path: path.to_owned(), pid: read_pid(file) });
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self { file, made })
    }

    /// Removes the file if it was made for this lock, and there is no database: nobody else waits for the lock then.
    pub fn discard(mut self) {
        if let Some(path) = self.made.take().filter(|path| path.symlink_metadata().is_err()) {
            // A file that stays is locked by the next attempt.
            let _ = fs::remove_file(beside(&path, ".lock"));
        }
    }
}

impl Drop for DatabaseLock {
    /// Closing the handle alone would not do: a process that is just being started from here has a copy of it.
    fn drop(&mut self) {
        // An error leaves the lock to the close that follows.
        let _ = self.file.unlock();
    }
}

/// Held while a command has the database open, or while a restore replaces it: commands share it, a restore is alone.
/// Otherwise the log of a command that opened the old file would come to lie beside the new one.
#[derive(Debug)]
pub struct DatabaseUse {
    // A file of its own would be in the way of other users, and the database's own file is for SQLite alone.
    directory: File,
}

impl DatabaseUse {
    /// Time between two attempts to be alone.
    const TRY_EVERY: Duration = Duration::from_millis(20);

    /// For a command. Does not wait: a restore takes its time.
    ///
    /// # Errors
    ///
    /// [`OpenError::BeingRestored`]; or the folder cannot be opened.
    pub fn share(path: &Path) -> Result<Self, OpenError> {
        let (directory, at) = open_directory(path)?;
        match directory.try_lock_shared() {
            Ok(()) => Ok(Self { directory }),
            Err(TryLockError::WouldBlock) => Err(OpenError::BeingRestored { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Io { path: at, source }),
        }
    }

    /// For a restore. Waits some seconds for commands to end; `None` when one goes on.
    pub(super) fn alone(path: &Path) -> Result<Option<Self>, OpenError> {
        let (directory, at) = open_directory(path)?;
        let mut waited = Duration::ZERO;
        loop {
            match directory.try_lock() {
                Ok(()) => return Ok(Some(Self { directory })),
                Err(TryLockError::Error(source)) => return Err(OpenError::Io { path: at, source }),
                Err(TryLockError::WouldBlock) if waited >= BUSY_TIMEOUT => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Self::TRY_EVERY),
            }
            waited += Self::TRY_EVERY;
        }
    }
}

impl Drop for DatabaseUse {
    fn drop(&mut self) {
        let _ = self.directory.unlock();
    }
}

/// The folder of the file itself, whatever link leads to it.
fn open_directory(path: &Path) -> Result<(File, PathBuf), OpenError> {
    let real = fs::canonicalize(path);
    let at = directory_of(real.as_deref().unwrap_or(path));
    match File::open(at) {
        Ok(directory) => Ok((directory, at.to_owned())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(OpenError::Missing { path: path.to_owned() }),
        Err(source) => Err(OpenError::Io { path: at.to_owned(), source }),
    }
}

/// A process that holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// As far as the lock's file tells.
    pub pid: Option<u32>,
}

/// The process that holds the lock of a database; `None` when none does. Creates and changes no file. For the moment
/// that it takes to look, no process can take the lock.
///
/// # Errors
///
/// The lock's file cannot be read.
pub fn find_holder(path: &Path) -> io::Result<Option<Holder>> {
    let file = match File::open(beside(path, ".lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => Ok(Some(Holder { pid: read_pid(file) })),
    }
}

/// The id of the process that holds a lock, as far as the file tells: it only makes messages more helpful.
fn read_pid(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Where root makes a file, the broker's user must own it: the owner of the database, or of its directory.
pub(super) fn give_to_owner(database: &Path, new: &Path) -> io::Result<()> {
    let owner = fs::metadata(database).or_else(|_| fs::metadata(directory_of(database)))?;
    let ours = fs::symlink_metadata(new)?;
    if rustix::process::geteuid().is_root() && (owner.uid(), owner.gid()) != (ours.uid(), ours.gid()) {
        lchown(new, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// The path with `ending` appended to the file's name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_refused_with_the_holders_pid_until_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.db");
        let first = DatabaseLock::take(&path).unwrap();
        let error = DatabaseLock::take(&path).unwrap_err();
        assert!(matches!(error, OpenError::Busy { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
        assert!(error.to_string().contains(&std::process::id().to_string()));
        let holder = Holder { pid: Some(std::process::id()) };
        assert_eq!(find_holder(&path).unwrap(), Some(holder));
        drop(first);
        assert_eq!(find_holder(&path).unwrap(), None);
        DatabaseLock::take(&path).unwrap();
        assert!(!path.exists(), "taking the lock creates no database");
    }

    #[test]
    fn a_lock_is_the_owners_of_the_database_and_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.db");
        let lock = beside(&path, ".lock");
        DatabaseLock::take(&path).unwrap().discard();
        assert!(!lock.exists());
        std::fs::write(&path, "").unwrap();
        // Only root can give files away.
        let is_root = lchown(&path, Some(12_345), Some(12_345)).is_ok();
        DatabaseLock::take(&path).unwrap().discard();
        assert!(lock.exists(), "a broker may be about to take it");
        assert_eq!(std::fs::metadata(&lock).unwrap().uid() == 12_345, is_root);
    }

    #[test]
    fn commands_share_the_database_and_a_restore_is_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.db");
        let (one, other) = (DatabaseUse::share(&path).unwrap(), DatabaseUse::share(&path).unwrap());
        drop(one);
        std::thread::scope(|scope| {
            let restore = scope.spawn(|| DatabaseUse::alone(&path).unwrap());
            std::thread::sleep(DatabaseUse::TRY_EVERY);
            drop(other);
            let alone = restore.join().unwrap();
            assert!(alone.is_some(), "it waits for commands");
            let error = DatabaseUse::share(&path).unwrap_err();
            assert!(matches!(error, OpenError::BeingRestored { .. }), "{error:?}");
        });
        DatabaseUse::share(&path).unwrap();
    }

    #[test]
    fn a_copy_of_the_handle_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.db");
        let first = DatabaseLock::take(&path).unwrap();
        let _copy = first.file.try_clone().unwrap();
        drop(first);
        DatabaseLock::take(&path).unwrap();
    }

    #[test]
    fn a_longer_pid_is_overwritten_completely() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.db");
        std::fs::write(beside(&path, ".lock"), "99999999999999999\n").unwrap();
        let _lock = DatabaseLock::take(&path).unwrap();
        let text = std::fs::read_to_string(beside(&path, ".lock")).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_world_writable_directory_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = DatabaseLock::take(&directory.path().join("postpeer.db")).unwrap_err();
        assert!(matches!(error, OpenError::WorldWritable { .. }), "{error:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
