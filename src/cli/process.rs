//! Settings of the process. It holds secrets, so it forbids core dumps and debuggers of the same user, and makes new
//! files private. It takes as many file descriptors as it may have, survives where a file may not grow, and has a log.

use std::io;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit, umask};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::{Exit, Failure};
use crate::domain::error_chain::chain;
use crate::telemetry::{self, LogFormat, LogLevel, LogSettings};

/// Number of file descriptors to ask for. Each connection needs one.
const FILES: u64 = 65_536;

/// Descriptors for the database, the listeners, the log, the server's own threads and what runs in the background.
const OWN_FILES: u64 = 128;

/// Descriptors for each connection: it may have a platform called. As many exchanges may be under way as connections,
/// for they go on without their client.
const FILES_PER_CONNECTION: u64 = 2;

/// Fewest connections that a broker is worth starting for.
const FEWEST_CONNECTIONS: usize = 16;

/// Refuses to start where the process may open too few files to serve its first requests.
pub(super) fn check_files() -> Result<(), Failure> {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    if connections_within(limit) >= FEWEST_CONNECTIONS {
        return Ok(());
    }
    let needed = OWN_FILES + FILES_PER_CONNECTION * FEWEST_CONNECTIONS as u64;
    Err(Failure::new(
        Exit::Io,
        format!(
            "this process may open only {limit} files at a time, and a broker needs at least {needed}: raise the limit \
             (`ulimit -n`, LimitNOFILE= of its service)"
        ),
    ))
}

/// The connections that may be open at a time: as many as configured, but no more than there are descriptors for.
pub(super) fn connections(configured: usize) -> usize {
    getrlimit(Resource::Nofile).current.map_or(configured, |limit| connections_within(limit).min(configured))
}

fn connections_within(files: u64) -> usize {
    usize::try_from(files.saturating_sub(OWN_FILES) / FILES_PER_CONNECTION).unwrap_or(usize::MAX)
}

/// Logs the warnings of a command as text, and hardens its process.
pub(super) fn harden_and_log_warnings() {
    telemetry::init(LogSettings { format: LogFormat::Text, level: LogLevel::Warn });
    harden();
}

/// Logs failures as warnings: the broker works without these settings.
pub(super) fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
    let core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let core = core.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = core {
        tracing::warn!(error = %chain(&error), "cannot disable core dumps of this process; they would contain tokens");
    }
    let files = getrlimit(Resource::Nofile);
    let wanted = files.maximum.map_or(FILES, |most| most.min(FILES));
    if files.current.is_some_and(|now| now < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..files })
    {
        tracing::warn!(error = %chain(&error), "cannot raise the limit of open files");
    }
}

/// Makes a write beyond the limit for the size of files fail, as one to a full disk does. By default, the signal that
/// comes with it ends the process without a word.
///
/// The handler stays when the runtime that set it is gone. It starts no thread.
pub(super) fn survive_size_limit() {
    if let Err(error) = survive(SignalKind::from_raw(Signal::XFSZ.as_raw())) {
        say!("Warning: a limit for the size of files would end this process: its signal cannot be handled ({error}).");
    }
}

/// Ignores SIGHUP until the broker can obey it. Whoever starts it reads the configuration anyway.
pub(super) fn survive_hangup() {
    if let Err(error) = survive(SignalKind::hangup()) {
        say!("Warning: SIGHUP would end this process while it starts: it cannot be handled ({error}).");
    }
}

fn survive(kind: SignalKind) -> io::Result<()> {
    runtime::Builder::new_current_thread().enable_io().build().and_then(|runtime| {
        let _runtime = runtime.enter();
        signal(kind).map(drop)
    })
}
