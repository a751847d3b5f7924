//! Bringing the schema of a database up to date: a copy from before, the migrations, a check of everything.
//!
//! Invariants: the copy is complete and on the disk before anything changes. Killed at any moment, the next start finds
//! the old database or the new one, complete. The latest copy is never removed here.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use super::create::Unfinished;
use super::inspect::{QUICK_CHECK, find_damage};
use super::{COPY, OpenError, database_size, failed, free_space, list_copies};
use crate::domain::error_chain::chain;
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::store::counts;
use crate::store::lock::beside;
use crate::store::schema::Schema;

/// Space that an upgrade leaves on the disk, in bytes.
const ROOM: u64 = 16 * 1024 * 1024;

/// Brings the schema from version `found` up to date. Does nothing but check the migrations when it is.
pub(super) fn upgrade(db: &mut Connection, path: &Path, schema: &Schema, found: u32) -> Result<(), OpenError> {
    let is_old = found < schema.version();
    let copy = is_old.then(|| keep_copy(db, path, schema.version())).transpose()?;
    failpoint::reach("upgrade_copied");
    let not_migrated = |source| OpenError::Migration { path: path.to_owned(), copy: copy.clone(), source };
    schema.migrate(db).map_err(|error| match error.into_sqlite() {
        // The transaction was rolled back, and the next start does it all.
        Ok(error) if is_of_surroundings(&error) => failed(path, error),
        Ok(error) => not_migrated(error.into()),
        Err(other) => not_migrated(other.into()),
    })?;
    failpoint::reach("upgrade_migrated");
    let Some(copy) = &copy else { return Ok(()) };
    find_damage(db, path, QUICK_CHECK).map_err(|error| not_migrated(error.into()))?;
    let miscounts = counts::recount(db).map_err(|error| not_migrated(error.into()))?;
    if !miscounts.is_empty() {
        return Err(not_migrated(format!("{} kept counts are not those of the rows", miscounts.len()).into()));
    }
    tracing::info!(
        from = found, to = schema.version(), copy = %copy.display(),
        "the database was migrated and checked; the copy from before stays until the next upgrade, or until you delete it"
    );
    remove_others(path, copy, COPY);
    Ok(())
}

/// True for an error of the disk or of another process, which says nothing about the migrations.
fn is_of_surroundings(error: &rusqlite::Error) -> bool {
    use ErrorCode as E;
    matches!(
        error.sqlite_error_code(),
        Some(
            E::CannotOpen
                | E::DatabaseBusy
                | E::DatabaseLocked
                | E::DiskFull
                | E::FileLockingProtocolFailed
                | E::ReadOnly
                | E::SystemIoFailure
        )
    )
}

/// Copies the whole database, as it is now, to `<path>.before-vN-<time>`. Returns the path.
fn keep_copy(db: &Connection, path: &Path, version: u32) -> Result<PathBuf, OpenError> {
    check_room(db, path)?;
    let name = format!("{COPY}{version}");
    let unfinished = Unfinished::at(beside(path, &format!("{name}.new")))?;
    let at = unfinished.path();
    db.backup("main", at, None::<fn(rusqlite::backup::Progress)>).map_err(|error| failed(at, error))?;
    // The database itself is not older than its copy, so the time of the file is that of the copy.
    let written = fs::metadata(at).map_err(|source| OpenError::Io { path: at.to_owned(), source })?.mtime();
    let time = Timestamp::from_millis(written.saturating_mul(1000)).for_file_name();
    let copy = beside(path, &format!("{name}-{time}"));
    unfinished.replace(&copy)?;
    // An attempt that was cut off left a copy of this same state.
    remove_others(path, &copy, &name);
    Ok(copy)
}

/// The copy is as large as the database, and the log of the migration grows to about the same.
fn check_room(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let needed = 2 * database_size(db).map_err(|error| failed(path, error))? + ROOM;
    match free_space(path) {
        Some(free) if free < needed => Err(OpenError::NoRoom { path: path.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

/// Removes the copies whose names begin like this, but for one.
fn remove_others(path: &Path, kept: &Path, name: &str) {
    let name = beside(path, name);
    let begins = |copy: &Path| copy.to_string_lossy().starts_with(&*name.to_string_lossy());
    for copy in list_copies(path).unwrap_or_default() {
        if copy.file_name() != kept.file_name() && begins(&copy) {
            match fs::remove_file(&copy) {
                Ok(()) => tracing::info!(copy = %copy.display(), "removed the copy from before an earlier upgrade"),
                Err(error) => {
                    tracing::warn!(
                        copy = %copy.display(), error = %chain(&error),
                        "cannot remove an old copy of the database"
                    );
                }
            }
        }
    }
}
