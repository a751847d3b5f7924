//! Commands in messages, which people paste into a shell.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A path as a shell reads it: quoted where it holds more than plain characters.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    // A program would read it as an option.
    let place = if bytes.starts_with(b"-") { "./" } else { "" };
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | ':' | '@' | '%');
    match path.to_str().map(|text| format!("{place}{text}")) {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text,
        Some(text) if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => format!("$'{place}{}'", escaped(bytes)),
    }
}

/// Text for `$'…'`, with an escape for each byte that a terminal does not show as it is.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    let escape = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn only_what_a_shell_would_read_otherwise_is_quoted() {
        for (path, expected) in [
            ("/etc/postpeer/postpeer.toml", "/etc/postpeer/postpeer.toml"),
            ("/srv/ä+1", "/srv/ä+1"),
            ("/srv/my broker", "'/srv/my broker'"),
            ("/srv/it's $(x)", r"'/srv/it'\''s $(x)'"),
            ("~/x", "'~/x'"),
            ("-x", "./-x"),
            ("", "''"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
        for (path, expected) in [
            (&b"/srv/\xff/it's \\"[..], r"$'/srv/\xff/it\'s \\'"),
            (b"-\xc3\xa4\xc3", r"$'./-ä\xc3'"),
            (b"two\nlines\x1b[2J", r"$'two\x0alines\x1b[2J'"),
        ] {
            assert_eq!(quoted(Path::new(OsStr::from_bytes(path))), expected);
        }
    }
}
