//! The binary: one command, one exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Gives memory back to the system once a burst of requests is over. The C library keeps most of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    postpeer::cli::main()
}
