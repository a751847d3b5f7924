//! Standard output, which carries a command's result only.

use std::fmt::{self, Display, Write as _};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{OFlags, fcntl_getfl, fstat};
use serde_json::Value;

use super::failure::{Exit, Failure};

/// Writes a result and a line feed. A closed pipe is not a failure.
pub(super) fn result(text: &str) -> Result<(), Failure> {
    told(write(text))
}

fn told(written: io::Result<()>) -> Result<(), Failure> {
    match written {
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

/// A JSON array, of which standard output gets one part after the other.
#[derive(Default)]
pub(super) struct Array {
    part: String,
    has_values: bool,
}

impl Array {
    /// Length of a part in bytes.
    const PART: usize = 64 * 1024;

    pub(super) fn push(&mut self, value: &Value) -> Result<(), Failure> {
        self.append(value);
        if self.part.len() < Self::PART {
            return Ok(());
        }
        let part = std::mem::take(&mut self.part);
        told(io::stdout().lock().write_all(part.as_bytes()))
    }

    /// Ends the array and its line.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        self.close();
        result(&self.part)
    }

    fn append(&mut self, value: &Value) {
        let before = if self.has_values { ',' } else { '[' };
        self.has_values = true;
        let _ = write!(self.part, "{before}{value}");
    }

    fn close(&mut self) {
        self.part.push_str(if self.has_values { "]" } else { "[]" });
    }
}

/// Rows that line up in columns. All cells are one text: there may be a million rows.
pub(super) struct Table<const N: usize> {
    widths: [usize; N],
    cells: String,
}

impl<const N: usize> Table<N> {
    /// Ends a cell.
    const END: char = '\0';

    pub(super) fn new(headings: [&str; N]) -> Self {
        let mut table = Self { widths: [0; N], cells: String::new() };
        table.push(&headings.map(str::to_owned));
        table
    }

    pub(super) fn push(&mut self, row: &[String; N]) {
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
            self.cells.extend(cell.chars().filter(|letter| *letter != Self::END));
            self.cells.push(Self::END);
        }
    }
}

impl<const N: usize> Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cells = self.cells.split_terminator(Self::END);
        let mut is_first = true;
        loop {
            let row: Vec<String> = self
                .widths
                .iter()
                .zip(cells.by_ref())
                .map(|(width, cell)| format!("{cell:<width$}", width = *width))
                .collect();
            if row.is_empty() {
                return Ok(());
            }
            let before = if is_first { "" } else { "\n" };
            write!(f, "{before}{}", row.join("  ").trim_end())?;
            is_first = false;
        }
    }
}

/// The text of a cell; a dash where there is nothing.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Aligns rows in columns. The first row holds the headings.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut table = Table { widths: [0; N], cells: String::new() };
    for row in rows {
        table.push(row);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["ID", "NAME"], ["key_1", "é"], ["k", "longer"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "ID     NAME\nkey_1  é\nk      longer");
        let mut table = Table::new(["ID", "NAME"]);
        assert_eq!(table.to_string(), "ID  NAME");
        table.push(&[String::new(), "a\0b".to_owned()]);
        table.push(&["k".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "ID  NAME\n    ab\nk");
    }

    #[test]
    fn an_array_is_written_as_it_would_be_in_one_piece() {
        for values in [Value::from(Vec::<u8>::new()), json!([{"a": 1}]), json!(["é", null, [2]])] {
            let mut array = Array::default();
            values.as_array().unwrap().iter().for_each(|value| array.append(value));
            array.close();
            assert_eq!(array.part, values.to_string());
        }
    }
}
