//! Finds out for `check` and `doctor` who else on this machine can read or change the broker's files, and whether the
//! broker itself can.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::failure::Exit;
use super::finding::{Finding, Severity, plural};
use super::owner::Runner;
use crate::config::Config;
use crate::domain::shell::quoted;

const CHECK: &str = "permissions";

/// Endings of the database and the files beside it.
const OF_DATABASE: [&str; 6] = ["", "-wal", "-shm", "-journal", ".lock", ".ballast"];

/// Looks at files and folders. The keyring is not among them: reading it checks more. Nor are files that a warning of
/// the configuration names.
pub(super) fn permissions(config: &Config, config_file: Option<&Path>) -> Vec<Finding> {
    let mut files: Vec<PathBuf> = OF_DATABASE.map(|ending| beside(&config.database, ending)).into();
    files.extend(config_file.map(Path::to_owned));
    files.extend(config.files.secrets.iter().cloned());
    let mut folders = vec![folder_of(&config.database), folder_of(&config.keyring)];
    folders.extend(config_file.map(folder_of));
    folders.extend(config.files.secrets.iter().map(|file| folder_of(file)));
    folders.extend(config.backup.iter().map(|backup| backup.dir.clone()));
    for paths in [&mut files, &mut folders] {
        paths.sort();
        paths.dedup();
    }
    let looked_at = |paths: &[PathBuf]| paths.iter().filter(|path| path.exists()).count();
    let (of_files, of_folders) = (looked_at(&files), looked_at(&folders));
    let is_told = |finding: &Finding, file: &PathBuf| {
        finding.severity == Severity::Warning && config.files.readable.contains(file)
    };
    let found = files.iter().filter_map(|file| Some((file_finding(file)?, file)));
    let mut findings: Vec<Finding> =
        found.filter(|(finding, file)| !is_told(finding, file)).map(|(finding, _)| finding).collect();
    if let Some(runner) = Runner::of(&config.database) {
        findings.extend(unusable(config, config_file, &runner));
    }
    let database = folder_of(&config.database);
    findings.extend(folders.iter().filter_map(|folder| folder_finding(folder, *folder == database)));
    if findings.is_empty() && config.files.readable.is_empty() {
        let looked_at = format!("{}, {}", plural(of_files, "file"), plural(of_folders, "folder"));
        let message = format!("other users can neither read the files nor change the folders: {looked_at}");
        findings.push(Finding::ok(CHECK, "", message));
    }
    findings
}

/// Files and folders that root may use, and the user as whom the broker runs may not.
fn unusable(config: &Config, config_file: Option<&Path>, runner: &Runner) -> Vec<Finding> {
    let (read, write) = (Access::READ_OK, Access::READ_OK | Access::WRITE_OK);
    let database = OF_DATABASE.map(|ending| (beside(&config.database, ending), write, Exit::Io));
    let folders =
        [folder_of(&config.database)].into_iter().chain(config.backup.iter().map(|backup| backup.dir.clone()));
    let folders: Vec<PathBuf> = folders.collect();
    let missing = folders.iter().filter(|folder| !folder.exists()).filter_map(|folder| unmakable(runner, folder));
    let folders = folders.iter().map(|folder| (folder.clone(), write | Access::EXEC_OK, Exit::Io));
    let secrets = [&config.keyring].into_iter().chain(&config.files.secrets).chain(&config.files.logos);
    let secrets = secrets.map(|file| (file.clone(), read, Exit::Config));
    let config_file = config_file.map(|file| (file.to_owned(), read, Exit::Config));
    let of_broker = database.into_iter().chain(folders).chain(config_file).map(|one| (one, true));
    of_broker
        .chain(secrets.map(|one| (one, false)))
        .filter(|((path, how, _), _)| path.exists() && !runner.may(path, *how))
        .map(|((path, how, exit), is_needed)| unusable_finding(runner, &path, how, exit, is_needed))
        .chain(missing)
        .collect()
}

/// `None` for a missing folder that the broker may make.
fn unmakable(runner: &Runner, folder: &Path) -> Option<Finding> {
    let message =
        format!("there is no such folder, and user {}, as whom the broker runs, cannot make it", runner.name());
    let remedy = format!("install -d -o {} -g {} -m 0700 {}", runner.uid, runner.gid, quoted(folder));
    let may_make = runner.may(&existing(folder), Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
    (!may_make).then(|| Finding::error(Exit::Io, CHECK, folder.display(), message).remedy(remedy))
}

/// `is_needed`: the broker opens this path itself. A secret that lies elsewhere may be root's, where systemd hands a
/// copy over (`LoadCredential`).
fn unusable_finding(runner: &Runner, path: &Path, how: Access, exit: Exit, is_needed: bool) -> Finding {
    let (user, shown) = (runner.name(), quoted(path));
    let owner = |path: &Path| fs::metadata(path).map(|found| found.uid());
    let is_in_folder = owner(&folder_of(path)).is_ok_and(|owner| owner == runner.uid);
    let what = if how.contains(Access::WRITE_OK) { "read and write" } else { "read" };
    let message = format!("the broker runs as user {user}, who owns {}, and cannot {what} it", runner.owns);
    let remedy = match owner(path) {
        _ if !runner.may(&folder_of(path), Access::EXEC_OK) => {
            format!("let this user into {}, and into the folders above", folder_of(path).display())
        }
        Ok(owner) if owner == runner.uid => format!("chmod u+rw {shown}"),
        _ if is_in_folder || how.contains(Access::WRITE_OK) => format!("chown {}:{} {shown}", runner.uid, runner.gid),
        _ => format!("chgrp {} {shown} && chmod 640 {shown}", runner.gid),
    };
    if is_needed || is_in_folder {
        return Finding::error(exit, CHECK, path.display(), message).remedy(remedy);
    }
    let remedy = format!("{remedy}; nothing, where systemd hands the broker a copy");
    Finding::warning(CHECK, path.display(), message).remedy(remedy)
}

/// `None` for a file that is closed to other users, or is not there.
fn file_finding(file: &Path) -> Option<Finding> {
    let mode = match mode_of(file) {
        Ok(mode) => mode?,
        Err(finding) => return Some(finding),
    };
    let (severity, what) = match mode & 0o007 {
        0 | 0o001 => return None,
        open if open & 0o002 != 0 => (Severity::Error(Exit::Config), "every user of this machine can change it"),
        _ => (Severity::Warning, "every user of this machine can read it"),
    };
    let finding = Finding::ok(CHECK, file.display(), format!("{what} (mode {:04o})", mode & 0o7777));
    Some(Finding { severity, ..finding.remedy(format!("chmod o= {}", quoted(file))) })
}

/// `None` for a folder in which no other user can replace a file. `must_be_closed`: the broker does not start in a
/// folder that is open, even if its sticky bit keeps other users from replacing what is there.
fn folder_finding(folder: &Path, must_be_closed: bool) -> Option<Finding> {
    let mode = match mode_of(folder) {
        Ok(mode) => mode?,
        Err(finding) => return Some(finding),
    };
    if mode & 0o002 == 0 {
        return None;
    }
    let is_sticky = mode & 0o1000 != 0;
    let (severity, what) = if must_be_closed || !is_sticky {
        (Severity::Error(Exit::Config), "every user of this machine can put files into it")
    } else {
        (Severity::Warning, "every user of this machine can put new files into it")
    };
    let finding = Finding::ok(CHECK, folder.display(), format!("{what} (mode {:04o})", mode & 0o7777));
    let remedy = if is_sticky { "use a folder of its own".to_owned() } else { format!("chmod o-w {}", quoted(folder)) };
    Some(Finding { severity, ..finding.remedy(remedy) })
}

/// The mode of a file, behind any link; `None` where there is none.
fn mode_of(path: &Path) -> Result<Option<u32>, Finding> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.permissions().mode())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(CHECK, path, &error)),
    }
}

/// A file that cannot be looked at.
pub(super) fn unreadable(check: &'static str, path: &Path, error: &io::Error) -> Finding {
    let finding = Finding::error(Exit::Io, check, path.display(), format!("it cannot be looked at: {error}"));
    let owner = fs::metadata(folder_of(path)).map(|folder| folder.uid());
    match (error.kind(), owner) {
        (io::ErrorKind::PermissionDenied, Ok(owner)) => finding
            .remedy(format!("run this command as the user that runs the broker (the folder belongs to user {owner})")),
        _ => finding,
    }
}

/// The path with `ending` appended to the file's name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub(super) fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// The folder, or the nearest one above it that is there.
pub(super) fn existing(folder: &Path) -> PathBuf {
    let mut folder = folder.to_owned();
    while !folder.exists() && folder != folder_of(&folder) {
        folder = folder_of(&folder);
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_others_read_is_a_warning_and_one_that_they_change_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("postpeer.toml");
        assert_eq!(file_finding(&file), None);
        fs::write(&file, "").unwrap();
        for (mode, severity) in [
            (0o600, None),
            (0o660, None),
            (0o601, None),
            (0o644, Some(Severity::Warning)),
            (0o602, Some(Severity::Error(Exit::Config))),
            (0o666, Some(Severity::Error(Exit::Config))),
        ] {
            with_mode(&file, mode);
            assert_eq!(file_finding(&file).map(|finding| finding.severity), severity, "{mode:o}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_has_one_above_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(existing(&directory.path().join("a/b")), directory.path());
        assert_eq!(existing(Path::new("no/such/folder")), Path::new("."));
    }

    #[test]
    fn a_folder_that_others_write_to_is_an_error_unless_they_cannot_replace_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let severity = |must_be_closed| folder_finding(directory.path(), must_be_closed).map(|found| found.severity);
        for (mode, of_database, of_another) in [
            (0o755, None, None),
            (0o770, None, None),
            (0o777, Some(Severity::Error(Exit::Config)), Some(Severity::Error(Exit::Config))),
            (0o1777, Some(Severity::Error(Exit::Config)), Some(Severity::Warning)),
        ] {
            with_mode(directory.path(), mode);
            assert_eq!((severity(true), severity(false)), (of_database, of_another), "{mode:o}");
        }
        with_mode(directory.path(), 0o700);
    }
}
