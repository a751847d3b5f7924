//! Puts a backup in the database's place.
//!
//! The backup is copied to a file beside the database, where the caller checks it and this program prepares it. Then
//! the two files change places in one step of the file system, so that the one or the other is in place whenever the
//! process dies. What is replaced keeps a name of its own: `<path>.replaced-<time>`.
//!
//! A log is part of its database, and SQLite would play an older one into the new file. So it is folded into the old
//! database first. Where that is damaged, the log moves away with it, before the files change places: a process that
//! dies in between leaves the damaged file alone in place.

use std::fs;
use std::io;
use std::iter;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use super::revoked::Revoked;
use super::{BackupError, copy_pages, free_name, open_copy, record};
use crate::domain::audit::{Action, By, Entry};
use crate::domain::error_chain::sources;
use crate::domain::keyring::{KeyState, RecoveryWrap, WrappedKey};
use crate::domain::time::Timestamp;
use crate::failpoint;
use crate::store::lock::{beside, give_to_owner};
use crate::store::open::create::Unfinished;
use crate::store::open::inspect::look;
use crate::store::open::{Inspection, OpenError, REPLACED, failed, inspect_copy, sync_directory};
use crate::store::schema::Schema;
use crate::store::{DatabaseLock, DatabaseUse, audit, keyring, meta, recovery};

/// Why a backup was not restored. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("{} is damaged: {why}. Nothing was changed: restore another backup", file.display())]
    Damaged { file: PathBuf, why: String },
    /// The database to be replaced, or what is beside it.
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error("{} is not a backup of postpeer, but a database of another program. Nothing was changed", file.display())]
    Foreign { file: PathBuf },
    #[error(
        "another program has the database {} open: stop it first (a program that makes continuous copies, a shell, another \
         command of postpeer). Nothing was changed",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("there is no file {}. Nothing was changed", file.display())]
    Missing { file: PathBuf },
    #[error(
        "{} was written by a newer program (schema {found}, this one knows {known}). Nothing was changed: restore it with \
         that program",
        file.display()
    )]
    Newer { file: PathBuf, found: u32, known: u32 },
    #[error("{} is the database itself: name a backup", file.display())]
    NotABackup { file: PathBuf },
    #[error("{} is not a file, but a folder, a pipe or a device. Nothing was changed: name a backup", file.display())]
    NotAFile { file: PathBuf },
    #[error("the backup {} could not be prepared. Nothing was changed", file.display())]
    Unprepared { file: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

/// A copy of a backup beside the database, which is not in place yet. Removed on drop.
#[derive(Debug)]
pub struct Candidate {
    file: PathBuf,
    /// The database, with no link in its path.
    database: PathBuf,
    unfinished: Unfinished,
    inspection: Inspection,
    /// When the backup was taken, where it does not say so itself.
    modified_at: Timestamp,
    /// Keeps commands away until the copy is in place.
    alone: DatabaseUse,
}

/// A backup that is in place.
#[derive(Debug)]
pub struct Restored {
    /// `None` where the file does not say: another program copied it, or it is of an early release.
    pub taken_at: Option<Timestamp>,
    pub replaced: Replaced,
    /// Data key that is active again, because the replaced database had a later one.
    pub active_again: Option<u32>,
    /// Access keys that were revoked since the backup, and are revoked again.
    pub revoked_again: usize,
    /// The disk did not confirm the new names: a power cut may bring the old database back.
    pub unconfirmed: Option<io::Error>,
    /// Keeps commands away until the caller has put a new keyring in place.
    _alone: DatabaseUse,
}

/// The database that a backup replaced.
#[derive(Debug)]
pub enum Replaced {
    Nothing,
    /// It cannot be read, so nobody knows which access keys were revoked since the backup.
    Unreadable {
        kept: PathBuf,
    },
    /// With an id of its own, it is no earlier or later state of the one in the backup.
    Other {
        kept: PathBuf,
    },
    Same {
        kept: PathBuf,
    },
}

/// Copies a backup beside the database and checks it: its header, its structure, its schema. `_lock` keeps brokers
/// away; commands are kept away from now on.
///
/// # Errors
///
/// The backup is not one, or the copy cannot be made.
pub fn copy_in(_lock: &DatabaseLock, database: &Path, file: &Path) -> Result<Candidate, RestoreError> {
    let database = match fs::canonicalize(database) {
        Ok(real) => real,
        Err(_) => database.to_owned(),
    };
    let about = |error| about_backup(file, error);
    let modified = fs::metadata(file).map_err(|source| about(OpenError::Io { path: file.to_owned(), source }))?;
    // To open a pipe would wait for whoever writes to it.
    if !modified.is_file() {
        return Err(RestoreError::NotAFile { file: file.to_owned() });
    }
    let is_database = |found: fs::Metadata| (found.dev(), found.ino()) == (modified.dev(), modified.ino());
    if fs::metadata(&database).is_ok_and(is_database) {
        return Err(RestoreError::NotABackup { file: file.to_owned() });
    }
    let alone = DatabaseUse::alone(&database)?.ok_or_else(|| RestoreError::InUse { path: database.clone() })?;
    // With a log beside it, the file alone is not all: SQLite reads both.
    let (source, _) = look(file, Schema::embedded().version()).map_err(about)?;
    let unfinished = Unfinished::at(beside(&database, ".restoring"))?;
    copy_pages(&source, unfinished.path(), file, &|| false).map_err(|error| match error {
        BackupError::Database(error) => about(error),
        other => other.into(),
    })?;
    drop(source);
    failpoint::reach("restore_copied");
    let inspection = inspect_copy(unfinished.path()).map_err(about)?;
    let millis = modified.mtime().saturating_mul(1000);
    Ok(Candidate {
        file: file.to_owned(),
        database,
        unfinished,
        inspection,
        modified_at: Timestamp::from_millis(millis),
        alone,
    })
}

impl Candidate {
    /// The copy beside the database.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.unfinished.path()
    }

    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Brings the copy's schema up to date, and wraps its data keys anew, for the keyring key with the id `new_key`.
    /// `wrap` gets the database's id, the data keys, and those that are wrapped for the recovery key.
    ///
    /// # Errors
    ///
    /// Those of `wrap`; or the copy cannot be written.
    pub fn rewrap<E: From<RestoreError>>(
        &mut self,
        new_key: &str,
        now: Timestamp,
        wrap: impl FnOnce(Uuid, &[WrappedKey], &[RecoveryWrap]) -> Result<Vec<WrappedKey>, E>,
    ) -> Result<(), E> {
        let unprepared = |error| unprepared(&self.file, error);
        let sql = |error: rusqlite::Error| unprepared(error.into());
        let store = |error: crate::store::Error| unprepared(error.into());
        let mut db = open_copy(self.path()).map_err(sql)?;
        Schema::embedded().migrate(&mut db).map_err(|error| unprepared(error.into()))?;
        let copy = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        let (keys, wraps) = (keyring::list(&copy).map_err(store)?, recovery::list_wraps(&copy).map_err(store)?);
        let wrapped = wrap(self.inspection.db_id, &keys, &wraps)?;
        wrapped.iter().try_for_each(|key| keyring::rewrap(&copy, key)).map_err(store)?;
        let entry = Entry::new(By::COMMAND_LINE, Action::KeyringRecovered, new_key);
        audit::record(&copy, None, &entry, now).map_err(store)?;
        copy.commit().map_err(sql)?;
        db.close().map_err(|(_, error)| sql(error))?;
        self.inspection = inspect_copy(self.path()).map_err(|error| about_backup(&self.file, error))?;
        Ok(())
    }

    /// Brings the copy's schema up to date, revokes what was revoked since the backup, notes the restore in its audit
    /// trail, and puts the copy in place. `outcome`: of the check, for the trail.
    ///
    /// # Errors
    ///
    /// The database to be replaced is another program's or in use, or a file cannot be written. It is still in place.
    pub fn install(self, outcome: &'static str, now: Timestamp) -> Result<Restored, RestoreError> {
        let old = Old::close(&self.database)?;
        let (taken_at, revoked_again) = self.prepare(&old, outcome, now)?;
        let active_again = old.key_before(&self.inspection);
        failpoint::reach("restore_prepared");
        let io = |source| OpenError::Io { path: self.database.clone(), source };
        give_to_owner(&self.database, self.path()).map_err(io)?;
        fs::File::open(self.path()).and_then(|file| file.sync_all()).map_err(io)?;
        let kept = free_name(&self.database, REPLACED, now);
        let (replaced, unconfirmed) = match old {
            Old::Missing => {
                self.unfinished.publish(&self.database)?;
                (Replaced::Nothing, None)
            }
            // A program of somebody else opened it meanwhile.
            Old::Readable { .. } if beside(&self.database, "-wal").exists() => {
                return Err(RestoreError::InUse { path: self.database });
            }
            Old::Readable { db_id, .. } => {
                let unconfirmed = swap(self.path(), &self.database, &kept, exchange).map_err(io)?;
                let is_same = db_id == self.inspection.db_id;
                (if is_same { Replaced::Same { kept } } else { Replaced::Other { kept } }, unconfirmed)
            }
            Old::Unreadable => {
                for ending in ["-wal", "-shm", "-journal"] {
                    move_if_there(&beside(&self.database, ending), &beside(&kept, ending)).map_err(io)?;
                }
                failpoint::reach("restore_log_moved");
                let unconfirmed = swap(self.path(), &self.database, &kept, exchange).map_err(io)?;
                (Replaced::Unreadable { kept }, unconfirmed)
            }
        };
        failpoint::reach("restore_in_place");
        Ok(Restored { taken_at, replaced, active_again, revoked_again, unconfirmed, _alone: self.alone })
    }

    /// Returns when the backup was taken, as far as it says, and how many keys were revoked again.
    fn prepare(
        &self,
        old: &Old,
        outcome: &'static str,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, usize), RestoreError> {
        let unprepared = |source| unprepared(&self.file, source);
        let sql = |error: rusqlite::Error| unprepared(error.into());
        let mut db = open_copy(self.path()).map_err(sql)?;
        Schema::embedded().migrate(&mut db).map_err(|error| unprepared(error.into()))?;
        let copy = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        let revoked = match old {
            Old::Readable { revoked, .. } => revoked.repeat(&copy).map_err(sql)?,
            Old::Missing | Old::Unreadable => 0,
        };
        // Nobody knows who signed out since.
        copy.execute("DELETE FROM console_sessions /* every project */", []).map_err(sql)?;
        let taken_at = record::mark_restored(&copy, self.modified_at, now).map_err(sql)?;
        let entry = Entry::new(By::COMMAND_LINE, Action::BackupRestored, self.inspection.db_id).with_outcome(outcome);
        audit::record(&copy, None, &entry, now).map_err(|error| unprepared(error.into()))?;
        copy.commit().map_err(sql)?;
        db.close().map_err(|(_, error)| sql(error))?;
        Ok((taken_at, revoked))
    }
}

/// The database that is in place before a restore.
enum Old {
    Missing,
    Readable {
        db_id: Uuid,
        /// The active data key.
        active_key: Option<u32>,
        revoked: Revoked,
    },
    /// Damaged, so that its log is not folded in.
    Unreadable,
}

impl Old {
    /// Folds the log into the database, and reads what a restore must know of it.
    fn close(path: &Path) -> Result<Self, RestoreError> {
        if path.symlink_metadata().is_err() {
            // A log without its database belongs to nothing, and must not be played into the new one.
            for ending in ["-wal", "-shm", "-journal"] {
                if beside(path, ending).symlink_metadata().is_ok() {
                    return Err(OpenError::AlreadyExists { path: beside(path, ending) }.into());
                }
            }
            return Ok(Self::Missing);
        }
        // A newer schema is no obstacle: going back to an older program begins here.
        match look(path, u32::MAX) {
            Ok(_) => {}
            Err(OpenError::Damaged { .. }) => return Ok(Self::Unreadable),
            Err(other) => return Err(other.into()),
        }
        match fold(path).and_then(|db| {
            let db_id = meta::get_db_id(&db).ok();
            let active_key = keyring::list(&db).ok().and_then(|keys| active_key(&keys));
            let revoked = Revoked::read(&db)?;
            db.close().map_err(|(_, error)| error)?;
            Ok((db_id, active_key, revoked))
        }) {
            // Whoever still has it open keeps the log there.
            Ok(_) if beside(path, "-wal").exists() => Err(RestoreError::InUse { path: path.to_owned() }),
            Ok((Some(db_id), active_key, revoked)) => Ok(Self::Readable { db_id, active_key, revoked }),
            Ok((None, ..)) => Ok(Self::Unreadable),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    Err(RestoreError::InUse { path: path.to_owned() })
                }
                // A damaged page, or a table that is not there.
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => Ok(Self::Unreadable),
                _ => Err(failed(path, error).into()),
            },
        }
    }

    /// The active data key of a copy, where this database had a later one.
    fn key_before(&self, copy: &Inspection) -> Option<u32> {
        let Self::Readable { db_id, active_key: Some(later), .. } = self else { return None };
        active_key(&copy.wrapped_keys).filter(|key| *db_id == copy.db_id && key < later)
    }
}

/// The data key that seals new values.
fn active_key(keys: &[WrappedKey]) -> Option<u32> {
    keys.iter().find(|key| key.state == KeyState::Active).map(|key| key.dek_id)
}

fn fold(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let is_busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some("the log cannot be folded in".to_owned()),
        ));
    }
    Ok(db)
}

/// Lets the old file and the new one change places: the old one gets the name `kept`. Both are on the disk. After an
/// error, both are where they were. Returns the error of a disk that did not confirm the new names.
fn swap(
    new: &Path,
    database: &Path,
    kept: &Path,
    exchange: impl FnOnce(&Path, &Path) -> rustix::io::Result<()>,
) -> io::Result<Option<io::Error>> {
    // The new file waits under the name that the old one will have, so that one step does it all.
    fs::rename(new, kept)?;
    if let Err(error) = sync_directory(database) {
        fs::rename(kept, new)?;
        return Err(error);
    }
    failpoint::reach("restore_ready");
    match exchange(kept, database) {
        Ok(()) => {}
        // Not every file system can do that. A second name for the old file comes next to it.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            fs::rename(kept, new)?;
            fs::hard_link(database, kept)?;
            sync_directory(database).and_then(|()| fs::rename(new, database)).inspect_err(|_| {
                // Two names of one database must not stay.
                let _ = fs::remove_file(kept);
            })?;
        }
        Err(error) => {
            fs::rename(kept, new)?;
            return Err(error.into());
        }
    }
    Ok(sync_directory(database).err())
}

fn exchange(one: &Path, other: &Path) -> rustix::io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An error of preparing a copy: [`RestoreError::Damaged`] where SQLite found that only now.
fn unprepared(file: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> RestoreError {
    let file = file.to_owned();
    let first: &(dyn std::error::Error + 'static) = &*source;
    let damage = iter::once(first)
        .chain(sources(first))
        .filter_map(|error| error.downcast_ref::<rusqlite::Error>())
        .find(|error| matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)))
        .map(ToString::to_string);
    match damage {
        Some(why) => RestoreError::Damaged { file, why },
        None => RestoreError::Unprepared { file, source },
    }
}

/// An error of opening a backup, in words about the backup.
fn about_backup(file: &Path, error: OpenError) -> RestoreError {
    let file = file.to_owned();
    match error {
        OpenError::Damaged { why, .. } => RestoreError::Damaged { file, why },
        OpenError::Foreign { .. } => RestoreError::Foreign { file },
        OpenError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => RestoreError::Missing { file },
        OpenError::Missing { .. } => RestoreError::Missing { file },
        OpenError::Newer { found, known, .. } => RestoreError::Newer { file, found, known },
        OpenError::Io { source, .. } => OpenError::Io { path: file, source }.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_change_places_where_the_file_system_cannot_exchange_them() {
        for exchange in [exchange as fn(&Path, &Path) -> rustix::io::Result<()>, |_, _| Err(rustix::io::Errno::INVAL)] {
            let directory = tempfile::tempdir().unwrap();
            let [new, database, kept] = ["new", "postpeer.db", "kept"].map(|name| directory.path().join(name));
            fs::write(&new, "new").unwrap();
            fs::write(&database, "old").unwrap();
            assert!(swap(&new, &database, &kept, exchange).unwrap().is_none());
            assert_eq!(fs::read(&database).unwrap(), b"new");
            assert_eq!(fs::read(&kept).unwrap(), b"old");
            assert!(!new.exists());
            assert_eq!(fs::metadata(&database).unwrap().nlink(), 1);
        }
    }

    #[test]
    fn a_swap_that_fails_leaves_both_files() {
        let directory = tempfile::tempdir().unwrap();
        let [new, database, kept] = ["new", "postpeer.db", "kept"].map(|name| directory.path().join(name));
        fs::write(&new, "new").unwrap();
        fs::write(&database, "old").unwrap();
        assert!(swap(&new, &database, &kept, |_, _| Err(rustix::io::Errno::IO)).is_err());
        assert_eq!((fs::read(&new).unwrap(), fs::read(&database).unwrap()), (b"new".to_vec(), b"old".to_vec()));
        assert!(!kept.exists());
    }

    #[test]
    fn what_is_replaced_gets_a_free_name() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("postpeer.db");
        let now = Timestamp::from_millis(1_777_797_216_445);
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        for expected in ["", "-2", "-3"] {
            let kept = free_name(&database, REPLACED, now);
            assert_eq!(name(&kept), format!("postpeer.db.replaced-20260503T083336Z{expected}"));
            fs::write(kept, "").unwrap();
        }
    }
}
