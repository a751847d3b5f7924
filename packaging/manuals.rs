//! Writes manual pages and shell completions, for packages: `cargo run --example manuals DIR`.
//!
//! They come from the command line's own definitions. This is an example and not a command, so that the broker does not
//! carry the code.

use std::path::PathBuf;
use std::{env, fs, io};

use clap_complete::Shell;

fn main() -> io::Result<()> {
    let dir = env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| io::Error::other("usage: manuals DIR"))?;
    let pages = dir.join("man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(postpeer::cli::arguments(), pages)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut postpeer::cli::arguments(), "postpeer", &dir)?;
    }
    Ok(())
}
