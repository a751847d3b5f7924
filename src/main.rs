//! The binary: one command, one exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    postpeer::cli::main()
}
