//! Disk space reserved for what must not be lost: a file beside the database. When a write that must be kept finds
//! the disk full, the file is removed to make room.
//!
//! Invariants: while the reserve counts as present, its blocks are allocated; a reserve that could not be completed
//! takes no space; between releasing the reserve and the write that needed it, nobody makes it again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{ErrorCode, ffi};
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::Error;
use super::lock::beside;
use super::open::{free_space, is_on_read_only_disk, sync_directory};

/// Size of the reserve, in bytes: enough for some hundreds of grants.
pub const SIZE: u64 = 4 * 1024 * 1024;

/// Free space beside the reserve that ordinary writes need for a while.
const ROOM: u64 = 1024 * 1024;

/// Bytes that are written to find out why others could not be: more than a block of any file system.
const PROBE: usize = 64 * 1024;

pub(super) struct DiskReserve {
    path: PathBuf,
    /// The database and its log, which must be able to grow.
    growing: [PathBuf; 2],
    /// False for a store that runs beside the one that holds the reserve.
    is_held: AtomicBool,
    is_there: AtomicBool,
    /// Held while the reserve is made or released.
    turn: Mutex<()>,
}

impl DiskReserve {
    /// The reserve of a database. It is neither made nor needed until it is [held](Self::hold).
    pub(super) fn of(database: &Path) -> Self {
        Self {
            path: beside(database, ".ballast"),
            growing: [database.to_owned(), beside(database, "-wal")],
            is_held: AtomicBool::new(false),
            is_there: AtomicBool::new(false),
            turn: Mutex::new(()),
        }
    }

    /// Keeps a reserve from now on. After a failure, [`ensure`](Self::ensure) tries again.
    pub(super) fn hold(&self) -> Result<(), Error> {
        self.is_held.store(true, Ordering::Release);
        let _turn = self.lock();
        // Even if the file exists: a copy of it may be sparse.
        self.make()
    }

    /// Makes the reserve again if it is missing.
    pub(super) fn ensure(&self) -> Result<(), Error> {
        if !self.is_held.load(Ordering::Acquire) {
            return Ok(());
        }
        self.check_limit(getrlimit(Resource::Fsize).current)?;
        let _turn = self.lock();
        let found = fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_file() && found.len() == SIZE);
        if found && self.is_there.load(Ordering::Acquire) { Ok(()) } else { self.make() }
    }

    /// True when a write that must be kept finds room.
    pub(super) fn is_ready(&self) -> bool {
        self.is_there.load(Ordering::Acquire) || !self.is_held.load(Ordering::Acquire)
    }

    /// Checks that the reserve exists, and that ordinary writes find room beside it.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        match self.look() {
            Space::ReadOnly => Err(Error::ReadOnly(read_only())),
            Space::None if self.is_held.load(Ordering::Acquire) => {
                Err(Error::Full(full(format!("less than {} KiB are free", ROOM / 1024))))
            }
            Space::None | Space::Some => self.ensure(),
        }
    }

    /// Checks that no file is about to reach the largest size that this process may write. The reserve is no help
    /// there.
    fn check_limit(&self, limit: Option<u64>) -> Result<(), Error> {
        let Some(limit) = limit else { return Ok(()) };
        let is_near = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.len().saturating_add(ROOM) > limit);
        match self.growing.iter().find(|path| is_near(path)) {
            Some(path) => {
                let why =
                    format!("{} reaches the size that files of this process may have (ulimit -f)", path.display());
                Err(Error::Full(full(why)))
            }
            None => Ok(()),
        }
    }

    /// Finds the reason of a failed write that may have been refused for a lack of space.
    pub(super) fn explain(&self, error: rusqlite::Error) -> Error {
        let is_limited = || getrlimit(Resource::Fsize).current.is_some();
        match (error.sqlite_error_code(), self.look()) {
            (_, Space::ReadOnly) => Error::ReadOnly(error),
            (Some(ErrorCode::DiskFull), _) | (_, Space::None) => Error::Full(error),
            (_, Space::Some) => match self.try_to_write() {
                Err(tried) if is_full(&tried) => Error::Full(error),
                Err(tried) if tried.kind() == io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly(error),
                Ok(()) if is_limited() => Error::Full(error),
                Ok(()) | Err(_) => Error::Io(error),
            },
        }
    }

    fn look(&self) -> Space {
        if is_on_read_only_disk(&self.path) {
            Space::ReadOnly
        } else if free_space(&self.path).is_some_and(|free| free < ROOM) {
            Space::None
        } else {
            Space::Some
        }
    }

    /// Writes and removes a small file. A quota shows only there.
    fn try_to_write(&self) -> io::Result<()> {
        let mut path = self.path.clone().into_os_string();
        path.push(".probe");
        let _ = fs::remove_file(&path);
        let tried = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&vec![0; PROBE]));
        let _ = fs::remove_file(&path);
        tried
    }

    /// Until the guard is dropped, nobody else makes or releases the reserve.
    pub(super) fn lock(&self) -> Reserve<'_> {
        Reserve { reserve: self, _turn: self.turn.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    fn make(&self) -> Result<(), Error> {
        let made = allocate(&self.path).and_then(|()| sync_directory(&self.path));
        self.is_there.store(made.is_ok(), Ordering::Release);
        made.map_err(|source| {
            // A partial reserve would take the last free space.
            let _ = fs::remove_file(&self.path);
            if is_full(&source) {
                Error::Full(full(format!("no room for a reserve: {source}")))
            } else if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
                Error::ReadOnly(read_only())
            } else {
                Error::Reserve(source)
            }
        })
    }
}

/// The space on a file system.
enum Space {
    /// Less than ordinary writes need.
    None,
    /// It takes no writes at all.
    ReadOnly,
    Some,
}

/// True for a full disk, a quota, and a limit of the file's size.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn full(why: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), Some(why))
}

fn read_only() -> rusqlite::Error {
    let why = "the file system is mounted read-only".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), Some(why))
}

fn allocate(path: &Path) -> io::Result<()> {
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
        Ok(()) => {}
        // Not every file system can allocate.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&mut file)?,
        Err(error) => return Err(error.into()),
    }
    file.set_len(SIZE)?;
    file.sync_all()
}

fn write_zeros(file: &mut File) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(SIZE), file).map(|_| ())
}

/// The right to release the reserve.
pub(super) struct Reserve<'a> {
    reserve: &'a DiskReserve,
    _turn: MutexGuard<'a, ()>,
}

impl Reserve<'_> {
    /// Releases the reserve. True when that made room.
    pub(super) fn release(&self) -> bool {
        let DiskReserve { path, is_held, is_there, .. } = self.reserve;
        if !is_held.load(Ordering::Acquire) {
            return false;
        }
        is_there.store(false, Ordering::Release);
        // Truncated first: a backup tool that has the file open would keep its blocks allocated.
        let emptied = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0));
        let removed = fs::remove_file(path);
        if emptied.is_err() && removed.is_err() {
            return false;
        }
        // Some file systems free the blocks only after this.
        let _ = sync_directory(path);
        tracing::warn!(path = %path.display(), "the disk is full: the reserve was released for a write; free some space");
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn held() -> (tempfile::TempDir, DiskReserve) {
        let directory = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::of(&directory.path().join("postpeer.db"));
        reserve.hold().unwrap();
        (directory, reserve)
    }

    #[test]
    fn the_reserve_is_private_complete_and_allocated() {
        let (directory, reserve) = held();
        let found = fs::metadata(directory.path().join("postpeer.db.ballast")).unwrap();
        assert_eq!((found.len(), found.mode() & 0o7777), (SIZE, 0o600));
        assert!(found.blocks() * 512 >= SIZE, "{}", found.blocks());
        assert!(reserve.is_ready());
    }

    #[test]
    fn a_database_that_reaches_the_size_limit_is_full() {
        let (directory, reserve) = held();
        let file = File::create(directory.path().join("postpeer.db")).unwrap();
        file.set_len(5 * ROOM).unwrap();
        for (limit, is_full) in [(None, false), (Some(6 * ROOM), false), (Some(6 * ROOM - 1), true), (Some(0), true)] {
            assert_eq!(matches!(reserve.check_limit(limit), Err(Error::Full(_))), is_full, "{limit:?}");
        }
    }

    #[test]
    fn a_sparse_copy_is_allocated() {
        let (_directory, reserve) = held();
        fs::remove_file(&reserve.path).unwrap();
        File::create(&reserve.path).unwrap().set_len(2 * SIZE).unwrap();
        reserve.hold().unwrap();
        let found = fs::metadata(&reserve.path).unwrap();
        assert_eq!(found.len(), SIZE);
        assert!(found.blocks() * 512 >= SIZE, "{}", found.blocks());
    }

    #[test]
    fn zeros_take_the_space_where_the_file_system_cannot_allocate() {
        let mut file = tempfile::tempfile().unwrap();
        write_zeros(&mut file).unwrap();
        let found = file.metadata().unwrap();
        assert_eq!(found.len(), SIZE);
        assert!(found.blocks() * 512 >= SIZE, "{}", found.blocks());
    }

    #[test]
    fn the_reserve_is_released_once_and_made_again() {
        let (_directory, reserve) = held();
        assert!(reserve.lock().release());
        assert!(!reserve.path.exists() && !reserve.is_ready());
        assert!(!reserve.lock().release(), "there is nothing more to release");
        reserve.ensure().unwrap();
        assert!(reserve.path.exists() && reserve.is_ready());
    }

    #[test]
    fn a_removed_reserve_is_made_again() {
        let (_directory, reserve) = held();
        fs::remove_file(&reserve.path).unwrap();
        reserve.ensure().unwrap();
        assert!(reserve.path.exists());
    }

    #[test]
    fn a_store_that_does_not_hold_the_reserve_neither_makes_nor_removes_it() {
        let (_directory, reserve) = held();
        let beside = DiskReserve { path: reserve.path.clone(), ..DiskReserve::of(Path::new("")) };
        assert!(beside.is_ready() && !beside.lock().release());
        assert!(reserve.path.exists());
        fs::remove_file(&reserve.path).unwrap();
        beside.ensure().unwrap();
        assert!(!reserve.path.exists());
    }

    #[test]
    fn a_symbolic_link_is_not_followed_and_is_no_full_disk() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, directory.path().join("postpeer.db.ballast")).unwrap();
        let reserve = DiskReserve::of(&directory.path().join("postpeer.db"));
        assert!(matches!(reserve.hold(), Err(Error::Reserve(_))));
        assert!(!reserve.is_ready());
        assert_eq!(fs::read(&other).unwrap(), b"mine");
    }
}
