//! Scheduled backups: copies of the database that the running broker makes, checks, and deletes when they are old.
//!
//! A backup is named for its database and its time, `postpeer-20260503T083336Z.db`, and the names are the schedule: the
//! newest tells when the next is due, whatever happened to the broker in between. A copy in which some sealed values do
//! not open is kept as `postpeer-20260503T083336Z.unreadable.db`, and tried again as after a failure: then only a good
//! one is kept, until the next is due. Invariants: only copies of this database are counted and deleted, by the id in
//! the file; nothing is deleted unless a new copy is there, and no good copy for an unreadable one; a failure disturbs
//! nobody, and is logged and counted. At most one attempt runs in a process, even while a reload replaces the loop that
//! began it: such an attempt gives up before its next step.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio_util::sync::CancellationToken;

use super::Broker;
use crate::domain::audit::{Action, By, DONE, Entry, UNREADABLE_VALUES};
use crate::domain::error_chain::chain;
use crate::domain::time::Timestamp;
use crate::store::backup::{self, BackupError};
use crate::store::sealed::{Stored, for_each_sealed, name_row};
use crate::store::{self, Inspection, OpenError, audit, meta};
use crate::vault::{self, KeyringFile, Place, Vault};

/// Interval between checks of the schedule. Short, because somebody may set the clock at any time.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Pause after a backup that failed, or in which some sealed values do not open.
const AGAIN_AFTER: Duration = Duration::from_mins(10);

/// Ending of the name of a backup in which some sealed values do not open, before `.db`.
const UNREADABLE: &str = ".unreadable";

/// The operator's wishes for backups.
#[derive(Debug, Clone)]
pub struct BackupSchedule {
    /// The file to copy.
    pub database: PathBuf,
    pub dir: PathBuf,
    pub every: Duration,
    /// Number of good backups to keep, and of those with values that do not open.
    pub keep: usize,
}

/// Held by the thread of an attempt until its end, because all attempts use one temporary file: when the last attempt
/// found values that do not open.
pub(super) type OneAtATime = Arc<Mutex<Option<Timestamp>>>;

/// A backup that the schedule made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScheduledBackup {
    pub taken_at: Timestamp,
    pub path: PathBuf,
    /// False where some sealed values do not open.
    pub is_good: bool,
}

/// The sealed values of a file.
#[derive(Debug, Default)]
pub struct SealedCheck {
    pub values: u64,
    /// Number of values that do not open.
    pub unreadable: u64,
    /// The row of the first of them with its accounts, and why it does not open.
    pub first: Option<(String, vault::Error)>,
}

impl SealedCheck {
    /// The outcome of a copy, for the audit trail.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        if self.unreadable > 0 { UNREADABLE_VALUES } else { DONE }
    }
}

/// Opens every sealed value of a file.
///
/// # Errors
///
/// The file cannot be read.
pub fn open_all(file: &Path, vault: &Vault) -> Result<SealedCheck, OpenError> {
    let mut check = SealedCheck::default();
    let mut first = None;
    for_each_sealed(file, |value| {
        check.values += 1;
        if let Err(error) = open_one(&value, vault) {
            check.unreadable += 1;
            first.get_or_insert((value, error));
        }
    })?;
    check.first = first.map(|(value, error)| Ok::<_, OpenError>((name_row(file, &value)?, error))).transpose()?;
    Ok(check)
}

/// Checks that a copy needs no key that was removed from the keyring while it was made. A keyring that cannot be read
/// says nothing.
///
/// # Errors
///
/// [`BackupError::KeyRemoved`].
pub fn check_keyring(keyring: &Path, copy: &Inspection) -> Result<(), BackupError> {
    let Ok(file) = KeyringFile::load(keyring) else { return Ok(()) };
    match copy.wrapped_keys.iter().find(|key| !file.has(&key.wrapped_by)) {
        Some(key) => Err(BackupError::KeyRemoved { key: key.wrapped_by.clone() }),
        None => Ok(()),
    }
}

/// Opens a stored value in its place, and forgets it.
///
/// # Errors
///
/// It does not open.
pub fn open_one(value: &Stored, vault: &Vault) -> Result<(), vault::Error> {
    vault.check(&place(value), &value.sealed)
}

/// The place of a stored value.
pub(super) fn place(value: &Stored) -> Place {
    Place::stored(value.column.table, value.sealed_as(), &value.row, value.generation, &value.owner)
}

/// The backups of a database that its schedule made, newest first.
///
/// # Errors
///
/// Their directory cannot be read.
pub fn list(schedule: &BackupSchedule, db_id: uuid::Uuid) -> Result<Vec<ScheduledBackup>, BackupError> {
    Made { schedule, db_id }.list()
}

impl Broker {
    /// Tells the metrics when the newest good backup was taken, for a broker that starts.
    pub async fn tell_last_backup(&self) {
        let Some(schedule) = self.settings.backup.clone() else { return };
        let Ok(db_id) = self.store.read(meta::get_db_id).await else { return };
        let newest = move || Made { schedule: &schedule, db_id }.list().ok()?.into_iter().find(|made| made.is_good);
        // The next backup says what is wrong with the directory.
        if let Ok(Some(newest)) = store::on_blocking_thread(newest).await {
            metrics::gauge!("postpeer_backup_last_good_timestamp_seconds").set(seconds(newest.taken_at));
        }
    }

    /// Notes in the audit trail that a backup was made.
    pub async fn record_backup(&self, by: By, outcome: &'static str) -> Result<(), store::Error> {
        let now = self.clock.now();
        self.store
            .write(move |tx| {
                let entry = Entry::new(by, Action::BackupMade, meta::get_db_id(tx)?);
                audit::record(tx, None, &entry.with_outcome(outcome), now)
            })
            .await
    }

    /// Makes a backup if one is due. Returns when to look again; `None` without a schedule.
    pub async fn back_up_if_due(&self, stop: &CancellationToken) -> Option<Duration> {
        let schedule = self.settings.backup.clone()?;
        match self.run_schedule(schedule, stop.clone()).await {
            Ok(()) => Some(LOOK_EVERY),
            Err(_) if stop.is_cancelled() => Some(LOOK_EVERY),
            Err(error) => {
                metrics::counter!("postpeer_backup_failures_total").increment(1);
                tracing::error!(
                    error = %chain(&*error), next_attempt_seconds = AGAIN_AFTER.as_secs(), "a scheduled backup was not made"
                );
                Some(AGAIN_AFTER)
            }
        }
    }

    async fn run_schedule(
        &self,
        schedule: BackupSchedule,
        stop: CancellationToken,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let db_id = self.store.read(meta::get_db_id).await?;
        let (vault, clock, alone) = (self.vault.clone(), self.clock.clone(), self.backing_up.clone());
        let keyring = self.settings.keyring.clone();
        let work = move || -> Result<Option<SealedCheck>, BackupError> {
            // An attempt from before a reload ends first.
            let mut found_unreadable = alone.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock.now();
            let made = Made { schedule: &schedule, db_id };
            made.make_if_due(&vault, &keyring, now, &mut found_unreadable, &|| stop.is_cancelled())
                .map_err(|error| told_apart(error, &schedule.dir))
        };
        let Some(check) = store::on_blocking_thread(work).await?? else { return Ok(()) };
        if let Err(error) = self.record_backup(By::SCHEDULE, check.outcome()).await {
            tracing::warn!(error = %chain(&error), "the audit trail does not tell of this backup");
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a double holds every second of the next million years")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millis().div_euclid(1000) as f64
}

/// The error of a folder that this user may use, and this process may not.
fn told_apart(error: BackupError, dir: &Path) -> BackupError {
    match error {
        BackupError::Io { source, .. } | BackupError::Database(OpenError::Io { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied
                && access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_ok() =>
        {
            BackupError::ShutOut { dir: dir.to_owned(), source }
        }
        error => error,
    }
}

/// The backups that this broker made.
struct Made<'a> {
    schedule: &'a BackupSchedule,
    db_id: uuid::Uuid,
}

impl Made<'_> {
    /// The start of their names.
    fn stem(&self) -> String {
        self.schedule.database.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// All of them, newest first. What is no copy of this database is left out.
    fn list(&self) -> Result<Vec<ScheduledBackup>, BackupError> {
        let dir = &self.schedule.dir;
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(BackupError::Io { path: dir.clone(), source }),
        };
        let stem = self.stem();
        let read = |name: &str, path| {
            let name = name.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(".db")?;
            let unreadable = name.strip_suffix(UNREADABLE);
            let taken_at = Timestamp::from_file_name(unreadable.unwrap_or(name))?;
            Some(ScheduledBackup { taken_at, path, is_good: unreadable.is_none() })
        };
        let mut found: Vec<_> = entries
            .filter_map(Result::ok)
            // A link may lead to the database itself, which only SQLite may open in this process.
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| read(entry.file_name().to_str()?, entry.path()))
            .filter(|made| backup::find_db_id(&made.path) == Some(self.db_id))
            .collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        Ok(found)
    }

    /// `None` when none was kept. Until one is due after another with values that do not open, only a good one is kept.
    fn make_if_due(
        &self,
        vault: &Vault,
        keyring: &Path,
        now: Timestamp,
        found_unreadable: &mut Option<Timestamp>,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<Option<SealedCheck>, BackupError> {
        // One from the future was made while the clock was ahead.
        let newest = self.list()?.into_iter().find(|made| made.taken_at <= now);
        let newest = newest.filter(|newest| now < newest.taken_at.plus(self.schedule.every));
        let is_due = newest.is_none();
        let was_tried = found_unreadable.is_some_and(|at| at <= now && now < at.plus(AGAIN_AFTER));
        if newest.is_some_and(|newest| newest.is_good || was_tried) {
            return Ok(None);
        }
        let (check, path) = self.make(vault, keyring, now, is_due, is_stopping)?;
        *found_unreadable = (check.unreadable > 0).then_some(now);
        if path.is_none() {
            return Ok(None);
        }
        self.delete_old(now)?;
        Ok(Some(check))
    }

    /// `keeps_unreadable`: also where some values do not open. Returns the path of the copy that was kept.
    fn make(
        &self,
        vault: &Vault,
        keyring: &Path,
        now: Timestamp,
        keeps_unreadable: bool,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<(SealedCheck, Option<PathBuf>), BackupError> {
        let BackupSchedule { database, dir, .. } = self.schedule;
        let io = |source| BackupError::Io { path: dir.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let path = |ending| dir.join(format!("{}-{}{ending}.db", self.stem(), now.for_file_name()));
        let go_on = || if is_stopping() { Err(BackupError::Stopped) } else { Ok(()) };
        go_on()?;
        // One name for all attempts, so that the next one removes what a crash left.
        let copy = backup::copy(database, dir.join(format!(".{}.unfinished", self.db_id)), now, is_stopping)?;
        go_on()?;
        let inspection = copy.check(database)?;
        go_on()?;
        let check = open_all(copy.path(), vault)?;
        go_on()?;
        check_keyring(keyring, &inspection)?;
        let path = path(if check.unreadable > 0 { UNREADABLE } else { "" });
        let is_kept = check.unreadable == 0 || keeps_unreadable;
        if is_kept {
            copy.publish(&path)?;
        }
        let path = is_kept.then_some(path);
        let shown = path.as_ref().map(|path| tracing::field::display(path.display()));
        if let Some((row, error)) = &check.first {
            metrics::counter!("postpeer_backup_failures_total").increment(1);
            tracing::error!(
                path = shown, values = check.values, unreadable = check.unreadable, row, error = %chain(error),
                next_attempt_seconds = AGAIN_AFTER.as_secs(),
                "this backup is no good one, because not all sealed values of the database open: reconnect or disconnect those \
                 accounts, which `postpeer doctor` lists. The good backups from before stay"
            );
        } else {
            metrics::gauge!("postpeer_backup_last_good_timestamp_seconds").set(seconds(now));
            tracing::info!(path = shown, values = check.values, "a backup was made, and all its sealed values open");
        }
        Ok((check, path))
    }

    /// Deletes what is beyond the number to keep, of the good ones and of the others; and of the others what is older
    /// than all good ones to keep. One from the future counts only once its time has come.
    fn delete_old(&self, now: Timestamp) -> Result<(), BackupError> {
        let keep = self.schedule.keep;
        let past = self.list()?.into_iter().filter(|made| made.taken_at <= now);
        let (good, mut others): (Vec<_>, Vec<_>) = past.partition(|made| made.is_good);
        let oldest = good.get(keep.saturating_sub(1)).map(|made| made.taken_at);
        let superseded = others.iter().position(|made| oldest.is_some_and(|oldest| made.taken_at < oldest));
        let others = others.split_off(superseded.unwrap_or(others.len()).min(keep).min(others.len()));
        for ScheduledBackup { path, .. } in good.into_iter().skip(keep).chain(others) {
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "an old backup was deleted"),
                Err(error) => tracing::warn!(
                    path = %path.display(), error = %chain(&error),
                    "an old backup cannot be deleted: check the permissions of its directory"
                ),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entropy::SeededEntropy;
    use crate::domain::project::Project;

    #[test]
    fn a_copy_that_needs_a_key_that_left_the_keyring_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (database, path) = (directory.path().join("postpeer.db"), directory.path().join("postpeer.keyring"));
        let entropy = Arc::new(SeededEntropy::new(1));
        let keyring = KeyringFile::generate(&*entropy);
        keyring.write_new(&path).unwrap();
        let db_id = uuid::Uuid::from_u128(7);
        let (vault, key) = Vault::initialise(&keyring, db_id, entropy.clone()).unwrap();
        let project = Project {
            id: "proj_0198c0de000070008000000000000000".parse().unwrap(),
            name: "default".to_owned(),
            created_at: Timestamp::from_millis(0),
        };
        drop(store::Store::create(&database, db_id, &key, &project).unwrap());
        let dir = directory.path().join("backups");
        let schedule = BackupSchedule { database, dir: dir.clone(), every: Duration::from_mins(1), keep: 1 };
        let made = Made { schedule: &schedule, db_id };
        let now = Timestamp::from_millis(1_777_797_216_000);
        let change_keyring = || {
            fs::remove_file(&path).unwrap();
            KeyringFile::generate(&*entropy).write_new(&path).unwrap();
            false
        };
        let error = made.make(&vault, &path, now, true, &change_keyring).unwrap_err();
        assert!(matches!(error, BackupError::KeyRemoved { .. }), "{error:?}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_file(&path).unwrap();
        made.make(&vault, &path, now, true, &|| false).expect("a keyring that is not there says nothing");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_only_this_process_may_not_use_is_told_apart() {
        use landlock::{AccessFs, Ruleset, RulesetAttr as _, RulesetStatus};

        let directory = tempfile::tempdir().unwrap();
        let schedule = BackupSchedule {
            database: directory.path().join("postpeer.db"),
            dir: directory.path().to_owned(),
            every: Duration::from_mins(1),
            keep: 1,
        };
        let list = || list(&schedule, uuid::Uuid::nil()).map_err(|error| told_apart(error, &schedule.dir));
        list().unwrap();
        std::thread::scope(|scope| {
            let confined = scope.spawn(|| {
                let rules = Ruleset::default().handle_access(AccessFs::ReadDir).unwrap().create().unwrap();
                let is_confined = rules.restrict_self().unwrap().ruleset != RulesetStatus::NotEnforced;
                (is_confined, list())
            });
            let (is_confined, listed) = confined.join().unwrap();
            assert_eq!(matches!(listed, Err(BackupError::ShutOut { .. })), is_confined, "{listed:?}");
        });
        let other = BackupError::Io { path: schedule.dir.clone(), source: io::ErrorKind::StorageFull.into() };
        assert!(matches!(told_apart(other, &schedule.dir), BackupError::Io { .. }));
    }
}
