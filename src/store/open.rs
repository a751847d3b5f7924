//! Opening, inspecting and creating a database file.
//!
//! Invariants: an inspection changes nothing; a new database exists completely or not at all; a file that is damaged,
//! newer than this program, or another program's stays byte for byte as it is.

pub(super) mod create;
pub(super) mod inspect;
mod upgrade;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use rustix::io::Errno;

use super::Store;
use super::error::is_full;
use super::lock::beside;
use super::readers::Readers;
use super::schema::Schema;
pub(super) use inspect::inspect_copy;
use inspect::peek;

use crate::domain::shell::quoted;
pub use inspect::{Inspection, check, inspect, inspect_briefly, list_copies, wrapping_keys};

/// Older versions have a race in WAL mode that loses commits.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Ending of the name of a copy from before a migration, followed by the new version and the time of the copy.
const COPY: &str = ".before-v";

/// Ending of the name of a database that a restore replaced, followed by the time of the restore.
pub(super) const REPLACED: &str = ".replaced-";

/// How long a statement waits for a lock of another process, where waiting blocks nobody.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a database was not opened. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} exists already; nothing was changed. Choose another database.path, or move it away", path.display())]
    AlreadyExists { path: PathBuf },
    #[error("`postpeer restore` is replacing a database in the folder of {}: wait until that has ended", path.display())]
    BeingRestored { path: PathBuf },
    #[error(
        "the database {} is in use by another process{}. Stop that one first",
        path.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Busy { path: PathBuf, pid: Option<u32> },
    #[error(
        "the database {} is damaged: {why}. Nothing was repaired. Put a backup in its place: `postpeer restore FILE`",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{} is a database of another program; it was left as it is. Choose another database.path", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "the database {} cannot be used: the disk is full, or its files may not grow (a quota, a limit). Free some space",
        path.display()
    )]
    Full { path: PathBuf, source: rusqlite::Error },
    #[error("{} could not be opened, read or written: check that it exists, and its permissions", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "there is no database at {}. If there was one, put a backup there with `postpeer restore FILE`; if not, make one \
         with `postpeer init`; or correct database.path",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "the schema of {} could not be migrated. Run the program that was here before, and report this{}",
        path.display(), way_back(copy.as_deref())
    )]
    Migration { path: PathBuf, copy: Option<PathBuf>, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "the database {} was written by a newer program (schema {found}, this one knows {known}); it was left as it is. \
         Run the newer program, or restore a backup from before with `postpeer restore FILE`",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error(
        "there is no room to upgrade the database {}: a copy from before and the work itself take {} MiB, and {} MiB are \
         free. Nothing was changed. Free some space, and start again",
        path.display(), needed.div_ceil(1024 * 1024), free / (1024 * 1024)
    )]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error(
        "the database {} cannot be written: it or a file beside it belongs to another user or is read-only, or its file \
         system is mounted read-only. Nothing was changed. Give the files to the user that runs this program, or mount the \
         file system with rw",
        path.display()
    )]
    ReadOnly { path: PathBuf },
    #[error("this program was built with SQLite {found}, which can lose commits: build it with 3.51.3 or later")]
    TooOldSqlite { found: String },
    #[error(
        "the directory {} is world-writable, so anyone could replace the database: `chmod o-w {}`",
        directory.display(), quoted(directory)
    )]
    WorldWritable { directory: PathBuf },
}

fn way_back(copy: Option<&Path>) -> String {
    let Some(copy) = copy else { return String::new() };
    format!(". Should it not start, restore the copy from before with it: `postpeer restore {}`", quoted(copy))
}

/// The schema version that this program works with. [`Store::open`] migrates an older one to it.
#[must_use]
pub fn schema_version() -> u32 {
    Schema::embedded().version()
}

impl Store {
    /// Opens an existing database and migrates its schema, after a copy to `<path>.before-vN-<time>` (N: the new
    /// version). Take the [`DatabaseLock`](super::DatabaseLock) and [`inspect`] before.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, &Schema::embedded())
    }

    pub(super) fn open_with(path: &Path, schema: &Schema) -> Result<Self, OpenError> {
        // Before anything can write: even closing a writable connection moves the log into the file.
        let (_, found) = peek(path, schema.version())?;
        check_writable(path)?;
        let mut writer = connect(path, Role::Writer).map_err(|error| failed(path, error))?;
        // SQLite silently opens a file that it may not write for reading.
        if writer.is_readonly(rusqlite::MAIN_DB).map_err(|error| failed(path, error))? {
            return Err(OpenError::ReadOnly { path: path.to_owned() });
        }
        upgrade::upgrade(&mut writer, path, schema, found)?;
        let readers = |role, count| {
            (0..count).map(|_| connect(path, role).map_err(|error| failed(path, error))).collect::<Result<_, _>>()
        };
        let (short, long) = (readers(Role::ShortReader, Readers::SHORT)?, readers(Role::LongReader, Readers::LONG)?);
        Self::over(path, writer, short, long).map_err(|source| OpenError::Io { path: path.to_owned(), source })
    }
}

#[derive(Clone, Copy)]
enum Role {
    LongReader,
    ShortReader,
    Writer,
}

fn connect(path: &Path, role: Role) -> rusqlite::Result<Connection> {
    // A missing file is not created, and the path is not read as a URI.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.set_prepared_statement_cache_capacity(128);
    db.busy_timeout(match role {
        Role::LongReader | Role::Writer => BUSY_TIMEOUT,
        // It blocks the thread that serves requests.
        Role::ShortReader => Duration::ZERO,
    })?;
    // Functions and virtual tables in a tampered schema are not run.
    db.pragma_update(None, "trusted_schema", false)?;
    // Kept statements stay as they were planned. Otherwise SQLite plans one again each time that a parameter changes
    // which it might compare with a partial index, which takes several times what most statements do.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // SQLite checks foreign keys only on connections that ask for it.
    db.pragma_update(None, "foreign_keys", true)?;
    // Savepoints and sorting otherwise write files elsewhere, which a read-only container or a confined process cannot.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    match role {
        Role::LongReader | Role::ShortReader => {
            // SQLite opens the log with the first read, and makes a new one if it was removed meanwhile.
            db.pragma_query_value(None, "user_version", |_| Ok(()))?;
            db.pragma_update(None, "query_only", true)?;
            // A reader never writes to the file, even if it is the last to close it.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        Role::Writer => {
            // Readers and the writer do not wait for each other.
            db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
            // A commit is on the disk before it is acknowledged. NORMAL loses the last commits at a power cut; the
            // thread that writes chooses it for those that may be lost.
            db.pragma_update(None, "synchronous", "FULL")?;
            // Deleted secrets are overwritten.
            db.pragma_update(None, "secure_delete", true)?;
            // The log shrinks again after a long read made it grow.
            db.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
        }
    }
    Ok(db)
}

fn check_sqlite(version: i32) -> Result<(), OpenError> {
    if version < OLDEST_SQLITE {
        return Err(OpenError::TooOldSqlite { found: rusqlite::version().to_owned() });
    }
    Ok(())
}

/// Checks that the directory exists and is not world-writable.
pub(super) fn check_directory(path: &Path) -> Result<(), OpenError> {
    let directory = directory_of(path);
    let metadata = fs::metadata(directory).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing { path: path.to_owned() },
        _ => OpenError::Io { path: directory.to_owned(), source },
    })?;
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err(OpenError::WorldWritable { directory: directory.to_owned() });
    }
    Ok(())
}

/// Checks that this user may write to the database and the files beside it. Otherwise SQLite opens them for reading, and
/// leaves files of its own beside them that nobody may write to.
fn check_writable(path: &Path) -> Result<(), OpenError> {
    // SQLite names the files beside the database after the target of a link.
    let target = fs::canonicalize(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let files = ["", "-wal", "-shm"].map(|ending| beside(&target, ending));
    let is_refused = |file| matches!(access(file, Access::WRITE_OK), Err(Errno::ACCESS | Errno::PERM | Errno::ROFS));
    if files.iter().any(is_refused) {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    Ok(())
}

/// A warning where the database has several names (hard links), as `cp -al` makes them. Each name has a lock of its own:
/// a second broker could open another one. The start is not refused, because a snapshot must not keep the broker down.
#[must_use]
pub fn warn_of_names(path: &Path) -> Option<String> {
    let names = fs::metadata(path).ok()?.nlink();
    (names > 1).then(|| {
        format!(
            "the database has {names} names (hard links): a broker that uses another one would write over its changes. Remove the \
             others; `find / -xdev -samefile {}` lists them",
            quoted(path)
        )
    })
}

pub(super) fn failed(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Busy { path, pid: None },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path, why: error.to_string() }
        }
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
        // SQLite cannot make the log beside it.
        Some(ErrorCode::CannotOpen) if is_on_read_only_disk(&path) => OpenError::ReadOnly { path },
        _ if error.sqlite_error().is_some_and(|failure| is_full(*failure)) => OpenError::Full { path, source: error },
        _ => OpenError::Io { path, source: io::Error::other(error) },
    }
}

/// Free bytes on the disk of a file. `None` where its file system does not tell: then it counts as having room.
pub(super) fn free_space(path: &Path) -> Option<u64> {
    let found = statvfs(directory_of(path)).ok()?;
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of a database, without its log.
pub(super) fn database_size(db: &Connection) -> rusqlite::Result<u64> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    Ok(u64::from(number("page_count")?) * u64::from(number("page_size")?))
}

pub(super) fn is_on_read_only_disk(path: &Path) -> bool {
    statvfs(directory_of(path)).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Makes the directory entries beside `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
