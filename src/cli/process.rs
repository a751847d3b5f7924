//! Settings of the process: no core dumps, no debugger of the same user and private files, because it holds secrets;
//! as many file descriptors as it may have; and no death where a file may not grow.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit, umask};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Number of file descriptors to ask for. Each connection needs one.
const FILES: u64 = 65_536;

/// Logs failures as warnings: the broker works without these settings.
pub(super) fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
    let core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let core = core.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = core {
        tracing::warn!(%error, "cannot disable core dumps of this process; they would contain tokens");
    }
    let files = getrlimit(Resource::Nofile);
    let wanted = files.maximum.map_or(FILES, |most| most.min(FILES));
    if files.current.is_some_and(|now| now < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..files })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Makes a write beyond the limit for the size of files fail, as one to a full disk does. By default, the signal that
/// comes with it ends the process without a word.
///
/// The handler stays when the runtime that set it is gone. It starts no thread.
pub(super) fn survive_size_limit() {
    let handled = runtime::Builder::new_current_thread().enable_io().build().and_then(|runtime| {
        let _runtime = runtime.enter();
        signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
    });
    if let Err(error) = handled {
        say!("Warning: a limit for the size of files would end this process: its signal cannot be handled ({error}).");
    }
}
