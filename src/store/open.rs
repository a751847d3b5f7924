//! Looking at a database file, making a new one, and opening one that is there.
//!
//! Invariants: a look changes nothing; a new database is there whole or not at all; a file that is not ours, damaged, or
//! newer than this program is left byte for byte as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use uuid::Uuid;

use super::lock::beside;
use super::schema::{self, APPLICATION_ID, MigrationError, Schema};
use super::{Error, Store, keyring, meta, projects};
use crate::domain::keyring::WrappedKey;
use crate::domain::project::Project;

/// Older ones have a race in WAL mode that loses commits.
const OLDEST_SQLITE: i32 = 3_051_003;

/// What a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no open database. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} exists already; nothing was changed. Choose another database.path, or move it away", path.display())]
    AlreadyExists { path: PathBuf },
    #[error(
        "the database {} is in use by another process{}. Stop that one first",
        path.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Busy { path: PathBuf, pid: Option<u32> },
    #[error(
        "the database {} is damaged: {why}. It was left as it is. Put a copy of the file from a backup in its place, \
         without -wal and -shm files beside it",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{} is a database of another program; it was left as it is. Choose another database.path", path.display())]
    Foreign { path: PathBuf },
    #[error("{} could not be opened, read or written: check that it is there and who may access it", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "there is no database at {}. If there was one, put a copy from a backup there; if not, make one \
         with `postpeer init`; or correct database.path",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "the schema of {} could not be brought up to date. {} is a copy from before, if there was anything to change: go \
         back to the program that wrote it, or report this",
        path.display(), copy.display()
    )]
    Migration { path: PathBuf, copy: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "the database {} was written by a newer program (schema {found}, this one knows {known}); it was left as it is. \
         Run the newer program, or restore a backup from before",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("this program was built with SQLite {found}, which can lose commits: build it with 3.51.3 or later")]
    TooOldSqlite { found: String },
    #[error(
        "everybody may write to the directory {} and so replace the database: `chmod o-w {}`",
        directory.display(), directory.display()
    )]
    WorldWritable { directory: PathBuf },
}

/// What a database file says of itself.
#[derive(Debug)]
pub struct Inspection {
    pub db_id: Uuid,
    pub wrapped_keys: Vec<WrappedKey>,
    /// At most what this program knows. A lower one is migrated when the database is opened.
    pub schema_version: u32,
}

/// The schema that this program works with. [`Store::open`] brings an older one up to it.
#[must_use]
pub fn schema_version() -> u32 {
    Schema::embedded().version()
}

/// Looks at the file without changing a byte of it: is it there, whole, ours, and not newer than this program?
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    let (db, schema_version) = peek(path, Schema::embedded().version())?;
    let failed = |error| failed(path, error);
    let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        return Err(damaged(found));
    }
    if schema::breaks_foreign_keys(&db).map_err(failed)? {
        return Err(damaged("rows point at rows that are not there".to_owned()));
    }
    let db_id = meta::get_db_id(&db).map_err(|error| damaged(error.to_string()))?;
    let wrapped_keys = keyring::list(&db).map_err(|error| damaged(error.to_string()))?;
    Ok(Inspection { db_id, wrapped_keys, schema_version })
}

impl Store {
    /// Opens a database that is there, and brings its schema up to date; before that, it keeps a copy `<path>.before-vN`
    /// (N: the version that it goes to). Take the [`DatabaseLock`](super::DatabaseLock) and [`inspect`] before.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, &Schema::embedded())
    }

    pub(super) fn open_with(path: &Path, schema: &Schema) -> Result<Self, OpenError> {
        // Before anything may write: even closing a database that was opened to write moves its log into it.
        let (_, found) = peek(path, schema.version())?;
        let mut writer = connect(path, Role::Writer).map_err(|error| failed(path, error))?;
        let copy = beside(path, &format!(".before-v{}", schema.version()));
        if found < schema.version() {
            keep_copy(&writer, &copy)?;
        }
        schema.migrate(&mut writer).map_err(|error| OpenError::Migration {
            path: path.to_owned(),
            copy,
            source: Box::new(error),
        })?;
        let reader = || connect(path, Role::Reader).map_err(|error| failed(path, error));
        let readers = (0..Self::READERS).map(|_| reader()).collect::<Result<_, _>>()?;
        Self::over(path, writer, readers).map_err(|source| OpenError::Io { path: path.to_owned(), source })
    }

    /// Makes a new database with its id, its first key and its first project, and opens it. It is there whole or not at
    /// all, with mode 0600, and never takes the place of anything. Take the [`DatabaseLock`](super::DatabaseLock) before.
    pub fn create(path: &Path, db_id: Uuid, first_key: &WrappedKey, project: &Project) -> Result<Self, OpenError> {
        check_sqlite()?;
        check_directory(path)?;
        // A log without its database would be replayed into the new one.
        for there in [path.to_owned(), beside(path, "-wal"), beside(path, "-journal")] {
            if there.symlink_metadata().is_ok() {
                return Err(OpenError::AlreadyExists { path: there });
            }
        }
        let unfinished = Unfinished::at(beside(path, ".new"))?;
        fill(&unfinished.path, db_id, first_key, project).map_err(|error| match error {
            MigrationError::Sqlite(error) => failed(path, error),
            other => OpenError::Io { path: path.to_owned(), source: io::Error::other(other) },
        })?;
        unfinished.publish(path)?;
        Self::open(path)
    }
}

fn fill(path: &Path, db_id: Uuid, first_key: &WrappedKey, project: &Project) -> Result<(), MigrationError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Schema::embedded().migrate(&mut db)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let inserted = meta::insert(&transaction, db_id)
        .and_then(|()| keyring::insert(&transaction, first_key, project.created_at))
        .and_then(|()| projects::insert(&transaction, project));
    match inserted {
        Ok(()) => {}
        Err(
            Error::Busy(error)
            | Error::Corrupt(error)
            | Error::Failed(error)
            | Error::Full(error)
            | Error::Sqlite(error),
        ) => {
            return Err(error.into());
        }
        Err(other) => return Err(rusqlite::Error::ToSqlConversionFailure(other.into()).into()),
    }
    transaction.commit()?;
    // Already here, so that a published database never has a journal that only a writer could roll back.
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    db.close().map_err(|(_, error)| error.into())
}

/// A file that is removed again unless it is published.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// A new, empty file with mode 0600. What an earlier attempt left there goes.
    fn at(path: PathBuf) -> Result<Self, OpenError> {
        let made = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path),
        };
        match made {
            Ok(_) => Ok(Self { path }),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    /// Gives the file its name, which nobody may have taken, durably.
    fn publish(self, path: &Path) -> Result<(), OpenError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => OpenError::AlreadyExists { path: path.to_owned() },
            _ => OpenError::Io { path: path.to_owned(), source },
        };
        File::open(&self.path).and_then(|file| file.sync_all()).map_err(io)?;
        // Unlike a rename, a link never replaces. Where the file system has none, the lock must do.
        match fs::hard_link(&self.path, path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                fs::rename(&self.path, path).map_err(io)?;
            }
            linked => linked.map_err(io)?,
        }
        sync_directory(path).map_err(io)
    }

    /// Gives the file its name, durably, in place of what had it.
    fn replace(self, path: &Path) -> Result<(), OpenError> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.path, path))
            .and_then(|()| sync_directory(path))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for ending in ["", "-journal", "-wal", "-shm"] {
            // Gone already, mostly; and what can't be removed the next attempt removes or reports.
            let _ = fs::remove_file(beside(&self.path, ending));
        }
    }
}

/// The whole database at another path, as it is now.
fn keep_copy(db: &Connection, copy: &Path) -> Result<(), OpenError> {
    let unfinished = Unfinished::at(beside(copy, ".new"))?;
    db.backup("main", &unfinished.path, None::<fn(rusqlite::backup::Progress)>).map_err(|error| failed(copy, error))?;
    unfinished.replace(copy)
}

#[derive(Clone, Copy)]
enum Role {
    Reader,
    Writer,
}

fn connect(path: &Path, role: Role) -> rusqlite::Result<Connection> {
    // Neither made anew when it is missing, nor taken for a URI.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.set_prepared_statement_cache_capacity(128);
    db.busy_timeout(BUSY_TIMEOUT)?;
    // Functions and virtual tables that a tampered schema names are not run.
    db.pragma_update(None, "trusted_schema", false)?;
    // SQLite leaves foreign keys unchecked unless asked, on each connection.
    db.pragma_update(None, "foreign_keys", true)?;
    match role {
        Role::Reader => {
            db.pragma_update(None, "query_only", true)?;
            // Not even by being the last to close the file does a reader write to it.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        Role::Writer => {
            // Readers do not wait for the writer, nor it for them.
            db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
            // A commit is on the disk before it is acknowledged: NORMAL loses the last ones at a power cut.
            db.pragma_update(None, "synchronous", "FULL")?;
            // Deleted secrets are overwritten, not just forgotten.
            db.pragma_update(None, "secure_delete", true)?;
            // What a savepoint needs to be undone: in files elsewhere, which a read-only container has no room for.
            db.pragma_update(None, "temp_store", "MEMORY")?;
            // The log shrinks again after a long read held it back.
            db.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
        }
    }
    Ok(db)
}

fn check_sqlite() -> Result<(), OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::TooOldSqlite { found: rusqlite::version().to_owned() });
    }
    Ok(())
}

/// The directory is there and not everybody's to write to.
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

/// Reads the first bytes before SQLite gets to touch anything: SQLite makes files beside a database that it only reads.
fn check_header(path: &Path) -> Result<(), OpenError> {
    let mut header = Vec::with_capacity(100);
    File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(|source| {
        match source.kind() {
            io::ErrorKind::NotFound => OpenError::Missing { path: path.to_owned() },
            _ => OpenError::Io { path: path.to_owned(), source },
        }
    })?;
    let damaged = |why: &str| Err(OpenError::Damaged { path: path.to_owned(), why: why.to_owned() });
    if header.is_empty() {
        return damaged("the file is empty");
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return damaged("it is no SQLite database");
    }
    match header.get(68..72) {
        None => damaged("the file is cut short"),
        Some(id) if id == APPLICATION_ID.to_be_bytes() => Ok(()),
        Some(_) => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// The file opened so that nothing of it can change, and its schema's version, when it is ours and this program knows it.
fn peek(path: &Path, known: u32) -> Result<(Connection, u32), OpenError> {
    check_sqlite()?;
    check_directory(path)?;
    check_header(path)?;
    let failed = |error| failed(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let in_use = ["-wal", "-journal"].into_iter().any(|ending| beside(path, ending).symlink_metadata().is_ok());
    let db = if in_use {
        Connection::open_with_flags(path, flags).map_err(failed)?
    } else {
        // Otherwise SQLite makes a log and an index beside the file, and a reader leaves them there.
        let uri = immutable(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(failed)?
    };
    db.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    db.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    let version = check_version(&db, path, known)?;
    Ok((db, version))
}

/// The URI by which SQLite opens the file without locks and without files beside it.
fn immutable(path: &Path) -> io::Result<String> {
    let mut uri = "file://".to_owned();
    for byte in fs::canonicalize(path)?.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.extend(["%".to_owned(), format!("{byte:02X}")]),
        }
    }
    uri.push_str("?immutable=1");
    Ok(uri)
}

/// The schema's version, when this program knows it.
fn check_version(db: &Connection, path: &Path, known: u32) -> Result<u32, OpenError> {
    match schema::version(db).map_err(|error| failed(path, error))? {
        0 => Err(OpenError::Damaged { path: path.to_owned(), why: "it has no schema".to_owned() }),
        found if found > known => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        found => Ok(found),
    }
}

fn failed(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Busy { path, pid: None },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path, why: error.to_string() }
        }
        _ => OpenError::Io { path, source: io::Error::other(error) },
    }
}

/// Makes durable which files there are beside `path`.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
