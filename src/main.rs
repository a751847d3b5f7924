//! The binary: one command, one exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Wipes memory that is given back: what the HTTP and TLS stacks held, and what a buffer left behind when it grew. The
/// allocator below it returns memory to the system after a burst, of which the C library keeps most.
#[global_allocator]
static MEMORY: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    postpeer::cli::main()
}
