//! `postpeer keyring`: the keys that seal what the database holds.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::failure::{Exit, Failure};
use super::listening::warn_of_another;
use super::settings::ConfigFile;
use super::{output, owner, process};
use crate::app::{self, Desk, Forgotten, Ports};
use crate::broker::keyring::Error;
use crate::broker::reseal::Resealed;
use crate::config::{Config, Environment};
use crate::domain::entropy::SystemEntropy;
use crate::domain::keyring::{KeyReport, KeyState};
use crate::store::{self, DatabaseLock, OpenError};
use crate::vault::RecoveryKey;

/// Show, replace and recover the keys that seal tokens and secrets; all but `forget` work while the broker runs
///
/// Data keys, numbered, seal the values in the database. Keys of the keyring file, such as k1b2c4d6e8f0a1b3, wrap the
/// data keys. Neither is ever printed.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  postpeer keyring status\n\nTo replace the key that seals values:\n  postpeer keyring rotate\n  postpeer keyring retire 1\n\nTo replace the keyring file's key:\n  postpeer keyring rewrap --new-key\n  postpeer keyring retire k1b2c4d6e8f0a1b3",
    disable_help_subcommand = true
)]
pub(super) enum Command {
    Status(Status),
    Rotate(Rotate),
    Rewrap(Rewrap),
    Retire(Retire),
    Recover(Recover),
    Forget(Forget),
}

/// List the data keys with the number of stored values, and rows of access keys, that still need each
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  postpeer keyring status\n  postpeer keyring status --json")]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Make a new data key and seal every stored value with it
///
/// The running broker does the latter in the background. Without one, this command does, and a broker can start after
/// it. Interrupted at any moment, it is continued by the next start of the broker, or by this command.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer keyring rotate")]
pub(super) struct Rotate {
    #[command(flatten)]
    config: ConfigFile,
}

/// Wrap every data key with the active key of the keyring file
///
/// After `--new-key`, back the keyring file up again before you retire its old key: a copy from before does not open
/// the database any more.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer keyring rewrap --new-key\n  postpeer keyring rewrap --recovery-key /media/usb/postpeer.recovery"
)]
pub(super) struct Rewrap {
    /// First add a new key to the keyring file and make it the active one
    #[arg(long)]
    new_key: bool,
    /// Also write a new recovery key to this file, and wrap every data key for it; an earlier recovery key ends
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Remove an old data key, or a key of the keyring file, that nothing needs any more
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  postpeer keyring retire 1\n  postpeer keyring retire k1b2c4d6e8f0a1b3")]
pub(super) struct Retire {
    /// Number of a data key, or id of a key in the keyring file
    id: String,
    /// Remove a key of the keyring file even though copies of the database need it
    #[arg(long)]
    despite_copies: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Make a new keyring file with the recovery key, when the old one is lost
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer keyring recover /media/usb/postpeer.recovery")]
pub(super) struct Recover {
    /// The file that `init --recovery-key` or `keyring rewrap --recovery-key` wrote
    file: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
}

/// Begin again with a new keyring file, when the old one is lost and no recovery key is left
///
/// The broker must be stopped. Erases everything that is sealed: tokens, client secrets of apps, connections in
/// progress. Profiles and accounts stay, and each account must be connected again by its owner. Revokes every access
/// key. The database is copied first: if the keyring is found, put it back and `postpeer restore` that copy.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer keyring forget --yes")]
pub(super) struct Forget {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Give up the recovery key as well
    #[arg(long)]
    recovery_key_lost: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    process::harden_and_log_warnings();
    match command {
        Command::Status(arguments) => status(&arguments, environment),
        Command::Rotate(arguments) => rotate(&load(&arguments.config, environment)?),
        Command::Rewrap(arguments) => rewrap(&arguments, &load(&arguments.config, environment)?),
        Command::Retire(arguments) => retire(&arguments, &load(&arguments.config, environment)?),
        Command::Forget(arguments) => forget(&arguments, &load(&arguments.config, environment)?),
        Command::Recover(arguments) => recover(&arguments, &load(&arguments.config, environment)?),
    }
}

fn load(source: &ConfigFile, environment: &Environment) -> Result<Config, Failure> {
    source.load(environment).inspect(warn_of_another)
}

fn status(arguments: &Status, environment: &Environment) -> Result<(), Failure> {
    let desk = arguments.config.desk(environment)?;
    let (keys, recovery) = desk.run(|broker| async move {
        broker.adopt_keys().await?;
        Ok::<_, Error>((broker.list_data_keys().await?, broker.find_recovery_key().await?))
    })?;
    if arguments.json {
        return output::result(&json(&keys, recovery.as_deref()));
    }
    match recovery {
        Some(id) => say!("Recovery key: {id}"),
        None => say!("There is no recovery key: `postpeer keyring rewrap --recovery-key FILE` makes one."),
    }
    let mut rows = vec![["ID", "STATE", "CREATED", "VALUES", "WRAPPED BY"].map(str::to_owned)];
    rows.extend(keys.into_iter().map(|key| {
        let created_at = key.created_at.to_string();
        [key.dek_id.to_string(), state(key.state).to_owned(), created_at, key.values.to_string(), key.wrapped_by]
    }));
    output::result(&output::table(&rows))
}

fn json(keys: &[KeyReport], recovery: Option<&str>) -> String {
    let key = |key: &KeyReport| {
        serde_json::json!({
            "id": key.dek_id.to_string(),
            "state": state(key.state),
            "createdAt": key.created_at.to_string(),
            "values": key.values,
            "wrappedBy": key.wrapped_by,
        })
    };
    serde_json::json!({"keys": keys.iter().map(key).collect::<Vec<_>>(), "recoveryKey": recovery}).to_string()
}

fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Old => "old",
    }
}

fn rotate(config: &Config) -> Result<(), Failure> {
    let desk = Desk::open(config, &Ports::system())?;
    let lock = lock_if_free(config)?;
    if lock.is_some() {
        let continued = reseal(&desk)?;
        if continued.done > 0 {
            say!("Continued a rotation that had been cut off, and made no new key.");
            return tell_resealed(&desk, continued);
        }
    }
    let id = desk.run(|broker| async move {
        broker.adopt_keys().await?;
        broker.rotate_data_key().await
    })?;
    say!("Data key {id} is active: everything is sealed with it from now on.");
    let printed = output::result(&id.to_string());
    if lock.is_some() {
        let resealed = reseal(&desk)?;
        tell_resealed(&desk, resealed)?;
    } else {
        say!("The running broker takes it within a second and re-seals the stored values in the background.");
        say!("`postpeer keyring status` shows how far it is.");
    }
    printed.map_err(|failure| failure.and(&format!("The rotation went on all the same: data key {id} is active")))
}

/// Re-seals what is sealed with an older key, while this process holds the database's lock.
fn reseal(desk: &Desk) -> Result<Resealed, Failure> {
    let stop = CancellationToken::new();
    Ok(desk.run(|broker| async move { broker.look_after_keys(0, Duration::ZERO, &stop).await })?)
}

fn tell_resealed(desk: &Desk, resealed: Resealed) -> Result<(), Failure> {
    say!("Re-sealed stored values and codes of rows: {}.", resealed.done);
    if resealed.unopened > 0 {
        return Err(Failure::new(
            Exit::Data,
            format!(
                "{} stored values do not open, and keep their old data key: see the errors above",
                resealed.unopened
            ),
        ));
    }
    let keys = desk.run(|broker| async move { broker.list_data_keys().await })?;
    for key in keys.iter().filter(|key| key.state == KeyState::Old && key.values == 0) {
        say!("Nothing needs data key {id} any more: `postpeer keyring retire {id}` removes it.", id = key.dek_id);
    }
    Ok(())
}

fn rewrap(arguments: &Rewrap, config: &Config) -> Result<(), Failure> {
    let desk = Desk::open(config, &Ports::system())?;
    if let Some(file) = &arguments.recovery_key {
        let before = desk.run(|broker| async move { broker.find_recovery_key().await })?;
        make_recovery_key(&desk, config, file, false)?;
        if let Some(id) = before {
            say!("If somebody else may have {id}, the one before, run `postpeer keyring rotate` as well.");
        }
    }
    let done = desk.run(|broker| async move { broker.rewrap_data_keys(arguments.new_key).await })?;
    if done.is_new {
        say!("Added key {} to {}, and made it the active one.", done.active, config.keyring.display());
        say!("Back the file up now: copies from before do not open the database any more.");
    }
    say!("Key {} wraps every data key; {} were wrapped by another one.", done.active, done.data_keys);
    for id in &done.unused {
        say!("No data key needs {id} any more: `postpeer keyring retire {id}` removes it from the file.");
    }
    Ok(())
}

/// Writes a new recovery key to a file, and wraps every data key for it. When that fails, the file stays only if the
/// database may need it. `is_first`: the caller removes the database then.
pub(super) fn make_recovery_key(desk: &Desk, config: &Config, file: &Path, is_first: bool) -> Result<(), Failure> {
    let key = RecoveryKey::generate(&SystemEntropy);
    key.write_new(file).map_err(app::Error::from)?;
    let public = key.public();
    let id = public.id();
    if let Err(error) = desk.run(|broker| async move { broker.set_recovery_key(public).await }) {
        if matches!(error, Error::Store(store::Error::Failed(_))) && !is_first {
            return Err(Failure::from(error).and(&format!(
                "Keep {}, and the recovery key from before: `postpeer keyring status` names the one that the database has \
                 once it opens again, and the new one is {id}",
                file.display()
            )));
        }
        // Nothing is wrapped for it. The first error is the one to report.
        let _ = fs::remove_file(file);
        return Err(error.into());
    }
    say!("Wrote the recovery key {id} to {}.", file.display());
    if RecoveryKey::load(file).is_err() {
        say!(
            "Warning: its disk keeps no permissions, and the file is refused there. When it is needed, copy it to another disk \
             first, and `chmod 600` the copy."
        );
    }
    if is_beside(file, &config.database) || is_beside(file, &config.keyring) {
        say!(
            "Warning: it lies beside the database or the keyring. Move it to where neither of them can be lost or read."
        );
    }
    Ok(())
}

fn is_beside(file: &Path, other: &Path) -> bool {
    let directory = |path: &Path| fs::canonicalize(path).ok().and_then(|path| Some(path.parent()?.to_owned()));
    directory(file).is_some_and(|of_file| directory(other) == Some(of_file))
}

fn retire(arguments: &Retire, config: &Config) -> Result<(), Failure> {
    let desk = Desk::open(config, &Ports::system())?;
    let id = arguments.id.clone();
    if let Ok(number) = id.parse() {
        let lock = lock_if_free(config)?;
        desk.run(|broker| async move { broker.retire_data_key(number, lock.is_none()).await })?;
        say!("Removed data key {id}. Copies of the database keep the data keys that they need.");
        return Ok(());
    }
    let needing = copies_that_need(config, &id)?;
    if !needing.is_empty() && !arguments.despite_copies {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "these copies of the database open only with {id}: {}. Keep a copy of the keyring file for them, or remove \
                 them; --despite-copies removes the key all the same",
                needing.join(", ")
            ),
        ));
    }
    desk.run(|broker| async move { broker.retire_keyring_key(arguments.id.clone()).await })?;
    say!("Removed key {id} from {}.", config.keyring.display());
    Ok(())
}

/// Copies of the database that open only with this key of the keyring file: those beside the database, from before
/// migrations and restores, and the backups in `[backup] dir`. A copy beside the database that cannot be read counts.
fn copies_that_need(config: &Config, id: &str) -> Result<Vec<String>, Failure> {
    let copies = store::list_copies(&config.database).map_err(app::Error::from)?;
    let needs = |path: &PathBuf| match store::wrapping_keys(path) {
        Ok(keys) => keys.contains(id).then(|| path.display().to_string()),
        Err(error) => Some(format!("{} ({error})", path.display())),
    };
    let mut needing: Vec<String> = copies.iter().filter_map(needs).collect();
    if let Some(backup) = &config.backup {
        let mut backups = files_in(&backup.dir)?;
        backups.retain(|path| store::wrapping_keys(path).is_ok_and(|keys| keys.contains(id)));
        needing.extend(backups.iter().map(|path| path.display().to_string()));
    }
    Ok(needing)
}

/// The files in a directory, by name. None where there is no such directory.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io(&format!("cannot look for backups in {}", directory.display()), &error)),
    };
    let files = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut paths: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn recover(arguments: &Recover, config: &Config) -> Result<(), Failure> {
    app::recover(config, &Ports::system(), &arguments.file)?;
    owner::give(&config.keyring)?;
    say!("Wrote a new keyring to {}. Back it up, apart from the backups of the database.", config.keyring.display());
    say!("If somebody else may have the old one, run `postpeer keyring rotate` as well.");
    Ok(())
}

fn forget(arguments: &Forget, config: &Config) -> Result<(), Failure> {
    if !arguments.yes {
        confirm()?;
    }
    let done = match app::forget(config, &Ports::system(), arguments.recovery_key_lost)? {
        Forgotten::Before => {
            owner::give(&config.keyring)?;
            say!(
                "A command that was cut off had made a keyring for this database already: it is now {}.",
                config.keyring.display()
            );
            say!("Back it up, apart from the backups of the database. Nothing else was done.");
            say!("If that command was this one, `postpeer doctor` names the copy of the database from before.");
            return Ok(());
        }
        Forgotten::Now(done) => done,
    };
    owner::give(&done.copy)?;
    owner::give(&config.keyring)?;
    say!("Wrote a new keyring to {}. Back it up, apart from the backups of the database.", config.keyring.display());
    say!("Connections that must be made again by their owners: {}.", done.ended);
    say!("Access keys that were revoked: {}. `postpeer access-key create` makes new ones.", done.access_keys);
    if !done.apps.is_empty() {
        say!("Apps whose client secrets must be set again (PATCH /v1/apps/ID): {}.", done.apps.join(", "));
    }
    say!(
        "The database as it was: {}. If the keyring is found, put it back, and `postpeer restore` that file.",
        done.copy.display()
    );
    Ok(())
}

fn confirm() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "nothing was changed: every stored token would be erased. Without a terminal to ask on, confirm with --yes",
        ));
    }
    say!(
        "This erases every stored token and client secret, and revokes every access key. A keyring that is found later"
    );
    say!("opens only the copy from before. Type \"forget\" to go on:");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| Failure::io("cannot read the answer", &error))?;
    if line.trim() == "forget" { Ok(()) } else { Err(Failure::new(Exit::Usage, "nothing was changed")) }
}

/// The database's lock, unless a broker runs.
fn lock_if_free(config: &Config) -> Result<Option<DatabaseLock>, Failure> {
    match DatabaseLock::take(&config.database) {
        Err(OpenError::Busy { .. }) => Ok(None),
        lock => Ok(Some(lock.map_err(app::Error::from)?)),
    }
}
