//! Standard output, which carries a command's result only.

use std::io::{self, Write as _};

use super::failure::Failure;

/// Writes a result and a line feed. A closed pipe is not a failure.
pub(super) fn result(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::io("cannot write to standard output", &error)),
    }
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
