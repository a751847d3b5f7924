//! What a process that holds secrets asks of the operating system: no core dumps, no debugger of the same user, files
//! that nobody else reads; and as many open connections as it may have.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Most file descriptors that are asked for: a connection needs one.
const FILES: u64 = 65_536;

/// A failure is a warning: the broker works without.
pub(super) fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
    let core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let core = core.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = core {
        tracing::warn!(%error, "memory dumps of this process cannot be forbidden: they would hold tokens");
    }
    let files = getrlimit(Resource::Nofile);
    let wanted = files.maximum.map_or(FILES, |most| most.min(FILES));
    if files.current.is_some_and(|now| now < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..files })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}
