//! Looks around the database: at the disk, the clock, files that were left, backups.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{StatVfsMountFlags, statvfs};
use uuid::Uuid;

use crate::app::backup_schedule;
use crate::broker::BackupSchedule;
use crate::broker::backups::{ScheduledBackup, list};
use crate::cli::failure::{Exit, Failure};
use crate::cli::files::{beside, existing, folder_of, unreadable};
use crate::cli::finding::Finding;
use crate::config::Config;
use crate::domain::shell::quoted;
use crate::domain::time::Timestamp;
use crate::platforms::BUILT_IN;
use crate::store::{Holder, RESERVE, wrapping_keys};
use crate::vault::KeyringFile;

const MEBIBYTE: u64 = 1024 * 1024;

/// Free space below which the broker refuses ordinary writes.
const FULL: u64 = MEBIBYTE;

/// Free space that a copy leaves to the broker.
const ROOM: u64 = 16 * MEBIBYTE;

/// Difference between two clocks that nobody needs to care about.
const TOLERANCE: Duration = Duration::from_mins(5);

pub(super) struct Surroundings<'a> {
    pub(super) config: &'a Config,
    pub(super) config_file: Option<&'a Path>,
    pub(super) now: Timestamp,
    /// The process that uses the database.
    pub(super) holder: Option<Holder>,
}

impl Surroundings<'_> {
    pub(super) fn disk(&self) -> Vec<Finding> {
        let database = &self.config.database;
        let size = [database.clone(), beside(database, "-wal")].iter().map(|path| size_of(path)).sum();
        let reserve = beside(database, ".ballast");
        // Without the reserve, the broker is not ready.
        let least = if reserve.symlink_metadata().is_ok() { FULL } else { FULL + RESERVE };
        let purpose = "a migration copies the database, which has";
        let mut findings = vec![disk_finding(&folder_of(database), least, size, purpose)];
        if let Some(backup) = &self.config.backup {
            let folder = existing(&backup.dir);
            findings.push(disk_finding(&folder, FULL, size, "the next backup does not fit: the database has"));
        }
        if self.holder.is_some() && reserve.symlink_metadata().is_err() {
            let message = "the broker runs without its reserve of disk space, for tokens that a platform has already sent: \
                           the disk was full, or is";
            let remedy = "free some space: the broker makes the reserve again";
            findings.push(Finding::warning("disk_space", reserve.display(), message).remedy(remedy));
        }
        findings
    }

    /// `newest`: when the newest row of the database was made.
    pub(super) fn clock(&self, newest: Option<Timestamp>) -> Vec<Finding> {
        let check = "clock";
        let remedy = "set the clock of this machine, and keep it set: timedatectl set-ntp true";
        let mut findings = Vec::new();
        let known = BUILT_IN.iter().filter_map(|definition| Some(definition().guide.facts?.as_of)).max();
        // A day of tolerance, because days begin at different times.
        if let Some(known) = known.filter(|known| self.now.plus(Duration::from_hours(24)).day() < *known) {
            let message = format!("it says {}, and this program was made after {known}", self.now);
            findings.push(Finding::error(Exit::Config, check, "", message).remedy(remedy));
        }
        let ahead = |time: &Timestamp| *time > self.now.plus(TOLERANCE);
        if let Some(newest) = newest.filter(ahead) {
            let message = format!(
                "it says {}, and the newest row was made at {newest}: the clock was ahead then, or is behind now",
                self.now
            );
            findings.push(Finding::warning(check, self.config.database.display(), message).remedy(remedy));
        }
        let files = [self.config.database.clone(), beside(&self.config.database, "-wal"), self.config.keyring.clone()];
        for file in files.iter().map(PathBuf::as_path).chain(self.config_file) {
            let Ok(found) = fs::metadata(file) else { continue };
            let changed = Timestamp::from_millis(found.mtime().saturating_mul(1000));
            if ahead(&changed) {
                let message = format!("it was changed at {changed}, which is in the future: it is {} now", self.now);
                findings.push(Finding::warning(check, file.display(), message).remedy(remedy));
            }
        }
        if findings.is_empty() {
            findings.push(Finding::ok(check, "", format!("it is {}, and nothing is from the future", self.now)));
        }
        findings
    }

    /// Files that a killed process left, and databases that were kept.
    pub(super) fn leftovers(&self, db_id: Option<Uuid>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let (database, keyring) = (&self.config.database, &self.config.keyring);
        let name = database.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match entries(&folder_of(database)) {
            Ok(entries) => {
                for path in entries {
                    let entry = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let ending = entry.strip_prefix(&name).unwrap_or_default();
                    findings.extend(self.leftover(&path, ending));
                }
            }
            // Without its folder there is no database, which was told.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => findings.push(unreadable("leftovers", &folder_of(database), &error)),
        }
        let unfinished = beside(keyring, ".new");
        if unfinished.symlink_metadata().is_ok() {
            let message = "a command that changes the keyring was cut off, or is at work";
            let finding = Finding::note("leftovers", unfinished.display(), message);
            findings.push(finding.remedy("run that command again: postpeer keyring rewrap, or keyring recover FILE"));
        }
        if let (Some(backup), Some(db_id), None) = (&self.config.backup, db_id, self.holder) {
            let unfinished = backup.dir.join(format!(".{db_id}.unfinished"));
            if unfinished.symlink_metadata().is_ok() {
                let finding = Finding::note("leftovers", unfinished.display(), "a scheduled backup was cut off");
                findings.push(finding.remedy("nothing: the next one replaces it"));
            }
        }
        if findings.is_empty() {
            findings.push(Finding::ok("leftovers", folder_of(database).display(), "nothing was left there"));
        }
        findings
    }

    /// A file whose name is the database's with this ending.
    fn leftover(&self, path: &Path, ending: &str) -> Option<Finding> {
        let note = |message: &str| Some(Finding::note("leftovers", path.display(), message));
        let remove = format!("rm {}", quoted(path));
        let has_database = self.config.database.symlink_metadata().is_ok();
        match ending {
            "-wal" | "-journal" if !has_database => {
                let message = "it is the log of a database that is not there: it may hold the latest changes of a file that was \
                               moved away";
                let remedy =
                    "put the database back beside its log; if it is lost, move the log away and postpeer restore FILE";
                Some(Finding::error(Exit::NoInput, "leftovers", path.display(), message).remedy(remedy))
            }
            "-wal" | "-journal" if self.holder.is_none() => {
                let message = "the process that used the database was killed, or another program has it open: the log holds \
                               its latest changes";
                note(message).map(|one| one.remedy("nothing: the next start takes it over. Do not remove it"))
            }
            "-shm" if !has_database => {
                note("it belonged to a database that is not there").map(|one| one.remedy(remove))
            }
            ".new" | ".restoring" if self.holder.is_none() => {
                note("`postpeer init` or `postpeer restore` was cut off, or is at work").map(|one| one.remedy(remove))
            }
            _ if ending.starts_with('.') && ending.ends_with(".unfinished") => {
                note("a backup to standard output was cut off, or is at work").map(|one| one.remedy(remove))
            }
            _ if ending.starts_with(".before-v") && ending.strip_suffix(".new").is_some() => {
                note("a copy before a migration was cut off").map(|one| one.remedy(remove))
            }
            _ if ending.starts_with(".before-v") => {
                let message = format!("the database from before a migration, {} MiB", mebibytes(size_of(path)));
                note(&message).map(|one| one.remedy(format!("when the new version has proved itself: {remove}")))
            }
            _ if ending.starts_with(".before-forget-") && ending.strip_suffix(".new").is_some() => {
                note("a copy before `postpeer keyring forget` was cut off").map(|one| one.remedy(remove))
            }
            _ if ending.starts_with(".before-forget-") => {
                let message = format!(
                    "the database from before `postpeer keyring forget`, with its sealed tokens, {} MiB",
                    mebibytes(size_of(path))
                );
                let remedy = format!("when the lost keyring will not be found any more: {remove}");
                note(&message).map(|one| one.remedy(remedy))
            }
            // Its log moved along with it, and is told with it.
            _ if ending.starts_with(".replaced-") && !ending.ends_with("-wal") && !ending.ends_with("-shm") => {
                let message = format!("the database that a restore replaced, {} MiB", mebibytes(size_of(path)));
                note(&message).map(|one| one.remedy(format!("when the restored one has proved itself: {remove}")))
            }
            _ => None,
        }
    }

    pub(super) fn backups(&self, db_id: Option<Uuid>, keyring: Option<&KeyringFile>) -> Vec<Finding> {
        let check = "backups";
        let Some(schedule) = backup_schedule(self.config) else {
            let message = "the broker makes none by itself, because there is no [backup] in the configuration";
            return vec![
                Finding::note(check, "", message).remedy("set [backup], or run postpeer backup FILE from a timer"),
            ];
        };
        // Without the database's id, nobody can tell which backups are its own.
        let Some(db_id) = db_id else { return Vec::new() };
        match list(&schedule, db_id) {
            Err(error) => {
                let failure = Failure::from(crate::app::backup::BackupError::from(error));
                vec![Finding::failure(check, schedule.dir.display(), failure)]
            }
            Ok(made) => {
                // One from the future counts only once its time has come.
                let mut past = made.into_iter().filter(|made| made.taken_at <= self.now.plus(TOLERANCE)).peekable();
                let unreadable = past.peek().filter(|newest| !newest.is_good).map(|newest| newest.path.clone());
                let mut findings = self.newest_backup(&schedule, past.find(|made| made.is_good), keyring);
                findings.extend(unreadable.map(|path| {
                    let message = "in this backup, the newest, not all sealed values open. It replaces no good one";
                    let remedy = "reconnect or disconnect the accounts that sealed_values names";
                    Finding::warning(check, path.display(), message).remedy(remedy)
                }));
                findings
            }
        }
    }

    fn newest_backup(
        &self,
        schedule: &BackupSchedule,
        newest: Option<ScheduledBackup>,
        keyring: Option<&KeyringFile>,
    ) -> Vec<Finding> {
        let check = "backups";
        let remedy = "look for \"backup\" in the broker's log, and whether it runs; postpeer backup FILE makes one now";
        let Some(ScheduledBackup { taken_at, path, .. }) = newest else {
            let message = "there is no good backup of this database yet";
            return vec![Finding::warning(check, schedule.dir.display(), message).remedy(remedy)];
        };
        let age = taken_at.until(self.now);
        let told =
            format!("the newest good backup is {} old, and one is due every {}", spoken(age), spoken(schedule.every));
        // A backup takes a while, and a failed one is tried again after ten minutes.
        let is_late = age > schedule.every + schedule.every / 4 + Duration::from_mins(15);
        let mut findings = vec![if is_late {
            Finding::warning(check, path.display(), told).remedy(remedy)
        } else {
            Finding::ok(check, path.display(), told)
        }];
        if let (Some(keyring), Ok(keys)) = (keyring, wrapping_keys(&path)) {
            let missing: Vec<_> =
                keys.iter().filter(|key| keyring.ids().all(|id| id != key.as_str())).cloned().collect();
            if !missing.is_empty() {
                let message = format!("it opens only with {}, which the keyring does not hold", missing.join(", "));
                let remedy = "keep the keyring file from its time; postpeer backup FILE makes one for this keyring";
                findings.push(Finding::warning(check, path.display(), message).remedy(remedy));
            }
        }
        findings
    }
}

/// `least`: bytes without which the broker is not ready. `size`: bytes of the database. `purpose`: what takes that
/// much, completed by a number.
fn disk_finding(folder: &Path, least: u64, size: u64, purpose: &str) -> Finding {
    let check = "disk_space";
    let found = match statvfs(folder) {
        Ok(found) => found,
        Err(error) if folder.exists() => return unreadable(check, folder, &error.into()),
        Err(_) => return Finding::note(check, folder.display(), "there is no such folder"),
    };
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let finding = Finding::error(Exit::Io, check, folder.display(), "its file system is mounted read-only");
        return finding.remedy("look for its errors in dmesg, then mount it with rw");
    }
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let (free_told, size_told) = (mebibytes(free), mebibytes(size));
    if found.f_files > 0 && found.f_favail == 0 {
        let finding = Finding::error(Exit::Io, check, folder.display(), "its file system can hold no more files");
        return finding.remedy("remove files that nobody needs: df -i");
    }
    // A file system that does not tell has room.
    if found.f_blocks == 0 || free >= size.saturating_add(ROOM) {
        return Finding::ok(
            check,
            folder.display(),
            format!("{free_told} MiB are free, the database has {size_told} MiB"),
        );
    }
    if free < least {
        let message = format!(
            "the disk is full: {free_told} MiB are free, and below {} MiB the broker is not ready, or stores nothing",
            mebibytes(least)
        );
        return Finding::error(Exit::Io, check, folder.display(), message).remedy("free some space");
    }
    let message = format!("{free_told} MiB are free, and {purpose} {size_told} MiB");
    Finding::warning(check, folder.display(), message).remedy("free some space, or use a larger disk")
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

const fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(MEBIBYTE)
}

/// A duration in its largest unit.
fn spoken(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Severity;
    use crate::config::{self, Environment};

    fn config(dir: &Path, toml: &str) -> Config {
        config::from_str("x", toml, dir, &Environment::default()).unwrap()
    }

    fn at<'a>(config: &'a Config, now: &str) -> Surroundings<'a> {
        Surroundings { config, config_file: None, now: Timestamp::parse(now).unwrap(), holder: None }
    }

    #[test]
    fn a_clock_before_the_program_and_rows_from_the_future_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "");
        let severities = |now: &str, newest: &str| -> Vec<Severity> {
            let findings = at(&config, now).clock(Timestamp::parse(newest));
            findings.iter().map(|finding| finding.severity).collect()
        };
        assert_eq!(severities("2030-01-01T00:00:00Z", "2030-01-01T00:04:00Z"), [Severity::Ok]);
        assert_eq!(severities("2030-01-01T00:00:00Z", "2030-01-01T00:06:00Z"), [Severity::Warning]);
        assert_eq!(severities("2001-01-01T00:00:00Z", "2001-01-01T00:00:00Z"), [Severity::Error(Exit::Config)]);
        fs::write(&config.keyring, "").unwrap();
        let file = fs::File::options().write(true).open(&config.keyring).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(4_000_000_000)).unwrap();
        let [finding] = at(&config, "2030-01-01T00:00:00Z").clock(None).try_into().unwrap();
        assert_eq!((finding.severity, finding.subject), (Severity::Warning, config.keyring.display().to_string()));
    }

    #[test]
    fn a_late_backup_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "[backup]\nevery = \"24h\"");
        let schedule = backup_schedule(&config).unwrap();
        let surroundings = at(&config, "2030-01-03T00:00:00Z");
        let severity = |time: Option<&str>| {
            let newest = time.map(|time| {
                let taken_at = Timestamp::parse(time).unwrap();
                ScheduledBackup { taken_at, path: PathBuf::from("a.db"), is_good: true }
            });
            surroundings.newest_backup(&schedule, newest, None).remove(0).severity
        };
        assert_eq!(severity(None), Severity::Warning);
        assert_eq!(severity(Some("2030-01-02T00:00:00Z")), Severity::Ok);
        assert_eq!(severity(Some("2030-01-01T12:00:00Z")), Severity::Warning);
    }

    #[test]
    fn little_space_is_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(disk_finding(directory.path(), 1, 1, "x").severity, Severity::Ok);
        assert_eq!(disk_finding(directory.path(), 1, u64::MAX / 2, "x").severity, Severity::Warning);
        let full = disk_finding(directory.path(), u64::MAX, u64::MAX / 2, "x");
        assert_eq!(full.severity, Severity::Error(Exit::Io), "{}", full.message);
        assert_eq!(disk_finding(Path::new("/nowhere/at/all"), 1, 1, "x").severity, Severity::Note);
    }

    #[test]
    fn a_duration_is_spoken_in_its_largest_unit() {
        for (minutes, text) in [(90, "90 minutes"), (150, "2 hours"), (4000, "2 days")] {
            assert_eq!(spoken(Duration::from_mins(minutes)), text);
        }
    }
}
