//! Commands in messages, which people paste into a shell.

use std::path::Path;

/// A path as a shell reads it: quoted where it holds more than plain characters.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    // A program would read it as an option.
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | ':' | '@' | '%');
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
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
    }
}
