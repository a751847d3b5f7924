//! The failure of a command: a message for people and an exit code for scripts.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::owner;
use crate::app::{ForgetError, NewKeyringError, RecoveryError};
use crate::broker::error::What;
use crate::domain::error_chain::chain;
use crate::store::backup::{BackupError, RestoreError};
use crate::store::{How, OpenError};
use crate::vault::KeyringError;
use crate::{app, broker, config, store, vault};

/// Exit codes, after BSD's sysexits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// The database is damaged, foreign, or newer than this program.
    Data = 65,
    /// The database is missing but its keyring exists, or the backup to restore is missing.
    NoInput = 66,
    /// A port or a service is unavailable, or a limit leaves no room for now.
    Unavailable = 69,
    /// A bug.
    Software = 70,
    /// A file to create already exists.
    CannotCreate = 73,
    Io = 74,
    /// Another process holds the database.
    Busy = 75,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The message is the whole chain of causes.
    pub(super) fn caused(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        let failure = Self::new(exit, chain(error));
        match owner::hint(error) {
            Some(hint) => failure.and(&hint),
            None => failure,
        }
    }

    /// The failure with another sentence.
    pub(super) fn and(self, sentence: &str) -> Self {
        Self { message: format!("{}. {sentence}", self.message), ..self }
    }

    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        let Self { exit, message } = Self::caused(Exit::Io, error);
        Self { exit, message: format!("{what}: {message}") }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::caused(Exit::Config, &error)
    }
}

impl From<app::Error> for Failure {
    fn from(error: app::Error) -> Self {
        Self::caused(exit_of_app(&error), &error)
    }
}

fn exit_of_app(error: &app::Error) -> Exit {
    match error {
        app::Error::Database(error) => exit_of_database(error),
        app::Error::Keyring(error) | app::Error::Recovery(RecoveryError::Keyring(error)) => exit_of_keyring(error),
        app::Error::Forget(error) => exit_of_forget(error),
        app::Error::Keys(error) => exit_of_keys(error),
        app::Error::Damaged { .. } | app::Error::OtherSchema { .. } => Exit::Data,
        app::Error::Outbound(_) => Exit::Software,
        app::Error::Recovery(RecoveryError::NotLost { .. } | RecoveryError::OtherKeyring { .. }) => Exit::CannotCreate,
        app::Error::Recovery(RecoveryError::New(error)) => exit_of_new_keyring(error),
        app::Error::Recovery(RecoveryError::NoDatabase { .. }) => Exit::NoInput,
        app::Error::Recovery(RecoveryError::Store(error)) | app::Error::Store(error) => exit_of_store(error),
        app::Error::Threads(_) => Exit::Io,
        app::Error::Vault(error) | app::Error::Recovery(RecoveryError::Vault(error)) => exit_of_vault(error),
    }
}

impl From<app::backup::BackupError> for Failure {
    fn from(error: app::backup::BackupError) -> Self {
        use app::backup::BackupError::{
            Backup, Broker, KeyringExists, NoKeyring, Restore, Unpublished, Unreadable, WrongKeyring,
        };
        let exit = match &error {
            Broker(error) => exit_of_app(error),
            Backup(error) => exit_of_backup(error),
            Restore(error) => exit_of_restore(error),
            Unpublished(error) => exit_of_keyring(error),
            Unreadable { .. } => Exit::Data,
            KeyringExists { .. } => Exit::CannotCreate,
            NoKeyring { .. } | WrongKeyring { .. } => Exit::Config,
        };
        Self::caused(exit, &error)
    }
}

fn exit_of_forget(error: &ForgetError) -> Exit {
    match error {
        ForgetError::Copy(error) => exit_of_backup(error),
        ForgetError::Keyring(error) => exit_of_keyring(error),
        ForgetError::New(error) => exit_of_new_keyring(error),
        ForgetError::NotLost { .. } | ForgetError::OtherKeyring { .. } => Exit::CannotCreate,
        ForgetError::Recoverable { .. } => Exit::Usage,
        ForgetError::Store(error) => exit_of_store(error),
        ForgetError::Vault(error) => exit_of_vault(error),
    }
}

fn exit_of_new_keyring(error: &NewKeyringError) -> Exit {
    match error {
        NewKeyringError::Keyring(error) => exit_of_keyring(error),
        NewKeyringError::Overtaken { .. } => Exit::Busy,
        NewKeyringError::Store(error) => exit_of_store(error),
    }
}

fn exit_of_keyring(error: &KeyringError) -> Exit {
    match error {
        KeyringError::AlreadyExists { .. } => Exit::CannotCreate,
        KeyringError::Io { source, .. } if !is_of_path(source.kind()) => Exit::Io,
        _ => Exit::Config,
    }
}

/// True for an error that another path or other permissions mend.
fn is_of_path(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(kind, K::InvalidFilename | K::IsADirectory | K::NotADirectory | K::NotFound | K::PermissionDenied)
}

fn exit_of_vault(error: &vault::Error) -> Exit {
    match error {
        vault::Error::WrongKeyring { .. } | vault::Error::NotRecoverable { .. } => Exit::Config,
        _ => Exit::Data,
    }
}

fn exit_of_store(error: &store::Error) -> Exit {
    match error {
        store::Error::Busy(_) => Exit::Busy,
        store::Error::Corrupt(_) | store::Error::Inconsistent { .. } => Exit::Data,
        store::Error::Moved(moved) if moved.how == How::LogShort => Exit::Data,
        _ => Exit::Io,
    }
}

fn exit_of_backup(error: &BackupError) -> Exit {
    match error {
        BackupError::AlreadyExists { .. } => Exit::CannotCreate,
        BackupError::Database(error) => exit_of_database(error),
        BackupError::KeyRemoved { .. } => Exit::Busy,
        BackupError::Io { .. } | BackupError::NoRoom { .. } | BackupError::ShutOut { .. } | BackupError::Stopped => {
            Exit::Io
        }
    }
}

fn exit_of_restore(error: &RestoreError) -> Exit {
    match error {
        RestoreError::Backup(error) => exit_of_backup(error),
        RestoreError::Damaged { .. } | RestoreError::Foreign { .. } | RestoreError::Newer { .. } => Exit::Data,
        RestoreError::Database(error) => exit_of_database(error),
        RestoreError::InUse { .. } => Exit::Busy,
        RestoreError::Missing { .. } => Exit::NoInput,
        RestoreError::NotABackup { .. } | RestoreError::NotAFile { .. } => Exit::Usage,
        RestoreError::Unprepared { .. } => Exit::Io,
    }
}

fn exit_of_database(error: &OpenError) -> Exit {
    match error {
        OpenError::AlreadyExists { .. } => Exit::CannotCreate,
        OpenError::BeingRestored { .. } | OpenError::Busy { .. } => Exit::Busy,
        OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::Newer { .. } => Exit::Data,
        OpenError::Full { .. }
        | OpenError::Io { .. }
        | OpenError::Migration { .. }
        | OpenError::NoRoom { .. }
        | OpenError::ReadOnly { .. } => Exit::Io,
        OpenError::Missing { .. } => Exit::NoInput,
        OpenError::TooOldSqlite { .. } => Exit::Software,
        OpenError::WorldWritable { .. } => Exit::Config,
    }
}

impl From<broker::Error> for Failure {
    /// For the use cases on access keys, accounts, the audit trail, links and projects.
    fn from(error: broker::Error) -> Self {
        let exit = match &error {
            broker::Error::Invalid(_) | broker::Error::NotFound(_) => Exit::Usage,
            broker::Error::Store(error) | broker::Error::NotErased { source: error, .. } => exit_of_store(error),
            broker::Error::TooManyLinks { .. } => Exit::Unavailable,
            _ => Exit::Software,
        };
        let failure = Self::caused(exit, &error);
        match error {
            broker::Error::NotFound(What::AccessKey) => {
                failure.and("`postpeer access-key list` lists those that there are")
            }
            broker::Error::NotFound(What::Integration) => {
                failure.and("`postpeer accounts list` lists those that there are")
            }
            broker::Error::NotFound(What::Link) => {
                failure.and("`postpeer audit` names those that were made, each in its project")
            }
            broker::Error::NotFound(What::Project) => failure.and("`postpeer project list` lists those that there are"),
            _ => failure,
        }
    }
}

impl From<broker::keyring::Error> for Failure {
    fn from(error: broker::keyring::Error) -> Self {
        Self::caused(exit_of_keys(&error), &error)
    }
}

fn exit_of_keys(error: &broker::keyring::Error) -> Exit {
    use broker::keyring::Error as E;
    match error {
        E::File(KeyringError::Io { .. }) => Exit::Io,
        E::File(error) => exit_of_keyring(error),
        E::Refused(_) => Exit::Usage,
        E::Sealed(error) => exit_of_vault(error),
        E::Store(error) => exit_of_store(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_keyring_that_the_disk_refuses_is_no_mistake_in_the_configuration() {
        let exit = |kind: io::ErrorKind| {
            exit_of_keyring(&KeyringError::Io { path: "postpeer.keyring".into(), source: kind.into() })
        };
        for (kind, code) in [
            (io::ErrorKind::StorageFull, Exit::Io),
            (io::ErrorKind::QuotaExceeded, Exit::Io),
            (io::ErrorKind::ReadOnlyFilesystem, Exit::Io),
            (io::ErrorKind::Other, Exit::Io),
            (io::ErrorKind::NotADirectory, Exit::Config),
            (io::ErrorKind::PermissionDenied, Exit::Config),
        ] {
            assert_eq!(exit(kind), code, "{kind}");
        }
    }

    #[test]
    fn a_disconnect_that_the_disk_cuts_short_is_no_failure_of_the_program() {
        let id = "int_0198c0de000070008000000000000000".parse().unwrap();
        let failed = Failure::from(broker::Error::NotErased { id, source: store::Error::Stopped });
        assert_eq!(failed.exit, Exit::Io);
        assert!(failed.message.contains("disconnect it again"), "{}", failed.message);
    }

    #[test]
    fn a_project_that_is_full_of_links_is_no_failure_of_the_program() {
        let full = Failure::from(broker::Error::TooManyLinks { most: 20_000, retry_after: Duration::from_mins(1) });
        assert_eq!(full.exit, Exit::Unavailable);
        assert!(full.message.contains("20000 connect links"), "{}", full.message);
    }
}
