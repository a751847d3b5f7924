//! `postpeer backup` and `postpeer restore`.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Exit, Failure};
use super::files::{beside, folder_of};
use super::listening::warn_of_another;
use super::settings::ConfigFile;
use super::{output, owner, process};
use crate::app::{Ports, backup as app};
use crate::broker::backups::SealedCheck;
use crate::config::{Config, Environment};
use crate::domain::error_chain::chain;
use crate::store::backup::{Copy, Replaced, Restored};

/// Name of the file for standard output.
const STDOUT: &str = "-";

/// Write a checked copy of the database to FILE, while the broker runs or not
///
/// Copying the database's file instead is NOT a backup while the broker runs: the latest changes are not in that file,
/// and the copy may be damaged. The keyring is not in the backup. Keep a copy of it in another place: the backup is of
/// no use without it, and whoever has both can read the tokens.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer backup /mnt/backups/postpeer.db\n  postpeer backup - | age -r age1… > postpeer.db.age"
)]
pub(super) struct Backup {
    /// File to write, which must not exist; - for standard output
    file: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
}

/// Put a backup in the database's place; the broker must be stopped
///
/// FILE is checked first and stays as it is. The database that it replaces is kept under another name. If that can be
/// read, access keys and connect links that were revoked since the backup stay revoked; otherwise they work again.
/// Accounts whose tokens were renewed since then may have to be reconnected.
///
/// A copy of the database's file that was made while the broker ran is NOT a backup; use `postpeer backup`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer restore /mnt/backups/postpeer.db\n  postpeer restore /mnt/backups/postpeer.db --recovery-key /media/usb/postpeer.recovery"
)]
pub(super) struct Restore {
    /// Backup to restore
    file: PathBuf,
    /// Restore even if some sealed values do not open; their accounts must be reconnected
    #[arg(long)]
    accept_unreadable: bool,
    /// The keyring is lost as well: make a new one for the backup, with the recovery key in this file
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn back_up(arguments: &Backup, environment: &Environment) -> Result<(), Failure> {
    let config = arguments.config.load_set_up(environment).inspect(warn_of_another)?;
    process::harden();
    let file = &arguments.file;
    let is_stdout = file.as_os_str() == STDOUT;
    if is_stdout {
        check_stdout()?;
    } else {
        check_new_file(file, &config.database)?;
    }
    // A copy for standard output is checked beside the database, where its contents are anyway.
    let place = if is_stdout { &config.database } else { file };
    let at = beside(place, &format!(".{}.unfinished", std::process::id()));
    let (copy, check) = app::back_up(&config, &Ports::system(), at)?;
    let size = fs::metadata(copy.path()).map_or(0, |found| found.len());
    if is_stdout {
        write_to_stdout(&copy)?;
    } else {
        copy.publish(file).map_err(crate::app::backup::BackupError::from)?;
        if holds_keyring(file, &config) {
            say!(
                "Warning: the keyring {} is in the backup's directory or below. Whoever gets both can read all tokens: move the \
                 backup to another place.",
                config.keyring.display()
            );
        }
    }
    if let Err(error) = app::record_backup(&config, &Ports::system(), &check) {
        say!("Warning: the audit trail does not tell of this backup: {}.", chain(&error));
    }
    if let Some((row, error)) = &check.first {
        return Err(Failure::new(
            Exit::Data,
            format!(
                "the backup was made, but {} of its {} sealed values do not open, as in the database itself; the first is in row \
                 {row}: {}. `postpeer doctor` lists them: reconnect or disconnect those accounts",
                check.unreadable,
                check.values,
                chain(error)
            ),
        ));
    }
    let name = if is_stdout { "standard output".to_owned() } else { file.display().to_string() };
    let values = check.values;
    say!("Wrote {name}: {size} bytes, undamaged, and all {values} sealed values open with the keyring.");
    say!("Without {} it is of no use: keep a copy of that file, in another place.", config.keyring.display());
    Ok(())
}

/// Fails where standard output takes no backup.
fn check_stdout() -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Usage, "a backup is binary: redirect standard output, or name a file"));
    }
    output::check_open()
}

/// Fails where a backup may not be written to this file, or cannot.
fn check_new_file(file: &Path, database: &Path) -> Result<(), Failure> {
    let (shown, folder) = (file.display(), folder_of(file));
    if is_of_database(file, database) {
        let message = format!("{shown} is the name of a file that belongs to the database: name another file");
        return Err(Failure::new(Exit::Usage, message));
    }
    if file.symlink_metadata().is_ok() {
        let message = format!("{shown} exists already and was not changed: name another file, or move it away");
        return Err(Failure::new(Exit::CannotCreate, message));
    }
    if !folder.is_dir() {
        let message = format!("there is no folder {}: make it, or name a file elsewhere", folder.display());
        return Err(Failure::new(Exit::Io, message));
    }
    Ok(())
}

pub(super) fn restore(arguments: &Restore, environment: &Environment) -> Result<(), Failure> {
    let config = arguments.config.load(environment).inspect(warn_of_another)?;
    process::harden();
    let file = &arguments.file;
    let (ports, accepts_unreadable) = (Ports::system(), arguments.accept_unreadable);
    let (restored, check) = match &arguments.recovery_key {
        None => app::restore(&config, &ports, file, accepts_unreadable)?,
        Some(recovery) => app::restore_and_recover(&config, &ports, file, accepts_unreadable, recovery)?,
    };
    let database = config.database.display();
    let taken = match restored.taken_at {
        Some(taken_at) => format!("It was taken at {taken_at}."),
        None => "The file does not say when it was taken, as one of `postpeer backup` does. If it was copied from a running \
                 broker without the -wal file beside it, the latest changes before the copy are missing."
            .to_owned(),
    };
    say!("Restored {} to {database}. {taken}", file.display());
    if arguments.recovery_key.is_some() {
        owner::give(&config.keyring)?;
        say!("Wrote a new keyring to {}. Back it up, apart from the backups.", config.keyring.display());
    }
    report_values(&check);
    match &restored.replaced {
        Replaced::Nothing => say!("There was no database in its place."),
        Replaced::Same { kept } => {
            say!("The database that was there is now {}. To go back: `postpeer restore` that file.", kept.display());
        }
        Replaced::Other { kept } => say!(
            "Warning: the database that was there is not the one of this backup, but another one. It is now {}.",
            kept.display()
        ),
        Replaced::Unreadable { kept } => {
            say!("The damaged database that was there is now {}, with its log.", kept.display());
        }
    }
    say_what_changed(&restored);
    say!("Never run two brokers on copies of one database: they spend each other's tokens.");
    match &restored.unconfirmed {
        None => Ok(()),
        Some(error) => Err(Failure::io(
            "the backup is in place, but the disk did not confirm that, and a power cut may bring the database from before \
             back: check the disk and its file system",
            error,
        )),
    }
}

/// Says what is gone, and what is back.
fn say_what_changed(restored: &Restored) {
    let is_told = matches!(restored.replaced, Replaced::Same { .. });
    if restored.revoked_again > 0 {
        say!("Access keys that were revoked since then, and are revoked here too: {}.", restored.revoked_again);
    }
    if let Some(key) = restored.active_again {
        say!(
            "Warning: data key {key} is active again. If you replaced it because it may have been read, run \
             `postpeer keyring rotate` again."
        );
    }
    if !is_told {
        say!(
            "Warning: nothing here tells what was revoked since then. Access keys and connect links that were revoked work \
             again, those of deleted projects and profiles too: look at `postpeer access-key list`, and revoke them again. \
             If you replaced the data key since then, because it may have been read, run `postpeer keyring rotate` again."
        );
    }
    let projects = if is_told { " (without keys that work, as far as the audit trail tells)" } else { "" };
    say!(
        "What was made since then is gone: access keys, connected accounts, and a new recovery key: `postpeer keyring status` \
         names the one that opens this database. What was deleted since then is back: projects{projects}, disconnected \
         accounts. Accounts whose tokens were renewed since then may have to be reconnected: their health says that a backup \
         was restored."
    );
}

/// True for the name of the database or of a file beside it, or one that SQLite may take for its own.
fn is_of_database(file: &Path, database: &Path) -> bool {
    let real = fs::canonicalize(database);
    let database = real.as_deref().unwrap_or(database);
    let folder = |path: &Path| fs::canonicalize(folder_of(path)).ok();
    let ours = ["", "-wal", "-shm", "-journal", ".lock", ".ballast", ".new", ".restoring"];
    folder(file) == folder(database)
        && ours.iter().any(|ending| beside(database, ending).file_name() == file.file_name())
}

fn report_values(check: &SealedCheck) {
    match &check.first {
        None => say!("It is undamaged, and all {} sealed values open with the keyring.", check.values),
        Some((row, error)) => say!(
            "Warning: {} of its {} sealed values do not open, the first in row {row}: {}. `postpeer doctor` lists them.",
            check.unreadable,
            check.values,
            chain(error)
        ),
    }
}

fn write_to_stdout(copy: &Copy) -> Result<(), Failure> {
    let mut file = File::open(copy.path())
        .map_err(|error| Failure::io(&format!("cannot read {}", copy.path().display()), &error))?;
    let mut stdout = io::stdout().lock();
    io::copy(&mut file, &mut stdout)
        .and_then(|_| io::Write::flush(&mut stdout))
        .map_err(|error| Failure::io("cannot write the backup to standard output", &error))
}

/// True when the keyring is in the directory of a file, or below it.
fn holds_keyring(file: &Path, config: &Config) -> bool {
    match (fs::canonicalize(folder_of(file)), fs::canonicalize(&config.keyring)) {
        (Ok(directory), Ok(keyring)) => keyring.starts_with(directory),
        _ => false,
    }
}
