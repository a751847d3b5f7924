//! A look at a database file that changes nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::{
    BUSY_TIMEOUT, COPY, OpenError, REPLACED, Role, check_directory, check_sqlite, connect, directory_of, failed,
};
use crate::domain::keyring::WrappedKey;
use crate::domain::time::Timestamp;
use crate::store::lock::beside;
use crate::store::schema::{self, APPLICATION_ID, Schema};
use crate::store::{keyring, meta, on_blocking_thread};

/// Largest file that is read completely before a start, in bytes. That takes about 10 ms.
const READ_AT_ONCE: u64 = 8 * 1024 * 1024;

/// Memory for pages while a broker reads its whole database.
const CHECK_CACHE_KIB: i32 = 256;

/// The check of everything but the order of the indexes.
pub(super) const QUICK_CHECK: &str = "PRAGMA quick_check(1)";

/// Facts about a database file.
#[derive(Debug)]
pub struct Inspection {
    pub db_id: Uuid,
    pub wrapped_keys: Vec<WrappedKey>,
    /// At most the version that this program knows. [`Store::open`](crate::store::Store::open) migrates a lower one.
    pub schema_version: u32,
    /// False when [`check`] has yet to look for damage.
    pub is_checked: bool,
}

/// Checks, without changing a byte, that the file exists, is undamaged, ours, and not newer than this program.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    examine(path, u64::MAX)
}

/// [`inspect`] for a start, which should not take longer with more accounts: of a large file, only the header, the
/// schema and the keys are read. [`check`] reads the rest while the broker runs.
pub fn inspect_briefly(path: &Path) -> Result<Inspection, OpenError> {
    examine(path, READ_AT_ONCE)
}

/// [`inspect`] for a copy, in whatever directory, with a check of the indexes as well.
pub(in crate::store) fn inspect_copy(path: &Path) -> Result<Inspection, OpenError> {
    let (db, schema_version) = look(path, Schema::embedded().version())?;
    find_damage(&db, path, "PRAGMA integrity_check(1)")?;
    read(&db, path, schema_version, true)
}

pub(super) fn examine(path: &Path, read_at_once: u64) -> Result<Inspection, OpenError> {
    let known = Schema::embedded().version();
    let (db, schema_version) = peek(path, known)?;
    let size = fs::metadata(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?.len();
    // A migration reads and copies the whole file anyway.
    let is_checked = size <= read_at_once || schema_version < known;
    if is_checked {
        find_damage(&db, path, QUICK_CHECK)?;
    }
    read(&db, path, schema_version, is_checked)
}

/// Reads the id and the keys.
pub(in crate::store) fn read(
    db: &Connection,
    path: &Path,
    schema_version: u32,
    is_checked: bool,
) -> Result<Inspection, OpenError> {
    let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
    let db_id = meta::get_db_id(db).map_err(|error| damaged(error.to_string()))?;
    let wrapped_keys = keyring::list(db).map_err(|error| damaged(error.to_string()))?;
    Ok(Inspection { db_id, wrapped_keys, schema_version, is_checked })
}

/// Reads the whole database to find damage, on a connection of its own. A broker may be using the database. Takes some
/// seconds for each gigabyte.
pub async fn check(path: PathBuf) -> Result<(), OpenError> {
    let read = path.clone();
    let reading = on_blocking_thread(move || {
        let db = connect(&read, Role::LongReader).map_err(|error| failed(&read, error))?;
        // Each page is looked at once, and what the allocator gave for pages stays with it afterwards.
        db.pragma_update(None, "cache_size", -CHECK_CACHE_KIB).map_err(|error| failed(&read, error))?;
        find_damage(&db, &read, QUICK_CHECK)
    });
    reading.await.map_err(|error| OpenError::Io { path, source: io::Error::other(error) })?
}

pub(super) fn find_damage(db: &Connection, path: &Path, check: &str) -> Result<(), OpenError> {
    let failed = |error| failed(path, error);
    let damaged = |why: String| Err(OpenError::Damaged { path: path.to_owned(), why });
    let found: String = db.query_row(check, [], |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        let log = beside(path, "-wal");
        if log.symlink_metadata().is_err() {
            return damaged(found);
        }
        return damaged(format!(
            "{found} (if the file was copied here by hand, the log {} belongs to another state of it)",
            log.display()
        ));
    }
    if schema::breaks_foreign_keys(db).map_err(failed)? {
        return damaged("rows point at rows that are not there".to_owned());
    }
    Ok(())
}

/// The ids of the keyring keys without which this database file does not open. For copies of the database: the file is
/// not checked further.
pub fn wrapping_keys(path: &Path) -> Result<BTreeSet<String>, OpenError> {
    let (db, _) = peek(path, Schema::embedded().version())?;
    let keys =
        keyring::list(&db).map_err(|error| OpenError::Damaged { path: path.to_owned(), why: error.to_string() })?;
    Ok(keys.into_iter().map(|key| key.wrapped_by).collect())
}

/// The copies of this database beside it: those from before migrations, and the databases that restores replaced.
pub fn list_copies(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let directory = directory_of(path);
    let io = |source| OpenError::Io { path: directory.to_owned(), source };
    let [copy, replaced] = [COPY, REPLACED].map(|ending| beside(path, ending));
    let mut copies = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let is_copy = ending_after(&copy, &name).is_some_and(is_version_and_time)
            || ending_after(&replaced, &name).is_some_and(is_time_and_number);
        if is_copy {
            copies.push(directory.join(name));
        }
    }
    copies.sort();
    Ok(copies)
}

/// The rest of a file's name that begins like that of `prefix`.
fn ending_after<'a>(prefix: &Path, name: &'a OsStr) -> Option<&'a str> {
    let ending = name.as_bytes().strip_prefix(prefix.file_name()?.as_bytes())?;
    std::str::from_utf8(ending).ok()
}

/// True for `14-20260503T083336Z`, and for `12`, which earlier versions wrote.
fn is_version_and_time(text: &str) -> bool {
    let (version, time) = text.split_once('-').map_or((text, None), |(version, time)| (version, Some(time)));
    is_number(version) && time.is_none_or(|time| Timestamp::from_file_name(time).is_some())
}

/// True for `20260503T083336Z`, and for `20260503T083336Z-2` where that name was taken. False for a log beside it.
fn is_time_and_number(text: &str) -> bool {
    let (time, number) = text.split_once('-').map_or((text, None), |(time, number)| (time, Some(number)));
    Timestamp::from_file_name(time).is_some() && number.is_none_or(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads the header without SQLite, which creates files even beside a database that it only reads.
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
        return damaged("it is not an SQLite database");
    }
    match header.get(68..72) {
        None => damaged("the file is cut short"),
        Some(id) if id == APPLICATION_ID.to_be_bytes() => Ok(()),
        Some(_) => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// Opens the file read-only, with its schema version, if it is ours and not newer than this program.
pub(in crate::store) fn peek(path: &Path, known: u32) -> Result<(Connection, u32), OpenError> {
    check_directory(path)?;
    look(path, known)
}

/// [`peek`] in whatever directory.
pub(in crate::store) fn look(path: &Path, known: u32) -> Result<(Connection, u32), OpenError> {
    check_sqlite(rusqlite::version_number())?;
    check_header(path)?;
    let failed = |error| failed(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = if is_in_use(path) {
        Connection::open_with_flags(path, flags).map_err(failed)?
    } else {
        // Otherwise SQLite creates a log and an index beside the file, and a reader leaves them there.
        let uri = immutable(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(failed)?
    };
    db.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    db.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    db.pragma_update(None, "temp_store", "MEMORY").map_err(failed)?;
    let version = check_version(&db, path, known)?;
    Ok((db, version))
}

/// True when a process uses the file, or left a log when it died.
pub(in crate::store) fn is_in_use(path: &Path) -> bool {
    ["-wal", "-journal"].into_iter().any(|ending| beside(path, ending).symlink_metadata().is_ok())
}

/// The URI with which SQLite opens the file without locks and without files beside it.
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

/// The schema version, if this program knows it.
fn check_version(db: &Connection, path: &Path, known: u32) -> Result<u32, OpenError> {
    match schema::version(db).map_err(|error| failed(path, error))? {
        0 => Err(OpenError::Damaged { path: path.to_owned(), why: "it has no schema".to_owned() }),
        found if found > known => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        found => Ok(found),
    }
}
