//! Standard output, which carries a command's result only.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{OFlags, fcntl_getfl, fstat};

use super::failure::{Exit, Failure};

/// Writes a result and a line feed. A closed pipe is not a failure.
pub(super) fn result(text: &str) -> Result<(), Failure> {
    match write(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| unwritten(&error)),
    }
}

/// Writes a result that cannot be had again, and a line feed. A closed pipe is a failure. A script may throw a key away
/// on purpose, so that is no failure, and is told.
pub(super) fn only_once(text: &str) -> Result<(), Failure> {
    write(text).map_err(|error| unwritten(&error))?;
    if !is_open() {
        say!(
            "Warning: standard output is closed or /dev/null, so nobody has seen it. Revoke it, and make another one."
        );
    }
    Ok(())
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

fn unwritten(error: &io::Error) -> Failure {
    Failure::io("cannot write to standard output", error)
}

/// Fails where standard output is closed, for a command of whose output something depends.
///
/// Before `main`, Rust opens `/dev/null` in place of a closed standard output, for reading and writing. A shell's
/// `>/dev/null` is for writing only, but some languages throw output away in the same way, so only a backup asks.
pub(super) fn check_open() -> Result<(), Failure> {
    if !is_open() {
        return Err(Failure::new(
            Exit::Io,
            "standard output is closed, and the result would be lost. Nothing was changed: redirect it to a file or a pipe",
        ));
    }
    Ok(())
}

/// False where nobody can see what is written.
fn is_open() -> bool {
    let (Ok(flags), Ok(output), Ok(null)) = (fcntl_getfl(io::stdout()), fstat(io::stdout()), fs::metadata("/dev/null"))
    else {
        return true;
    };
    flags & OFlags::RWMODE != OFlags::RDWR || output.st_rdev != null.rdev()
}

/// Aligns rows in columns. The first row holds the headings.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["ID", "NAME"], ["key_1", "é"], ["k", "longer"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "ID     NAME\nkey_1  é\nk      longer");
    }
}
