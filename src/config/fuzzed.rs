//! Damaged configurations: none makes the reader panic, and no message repeats a secret.

use super::tests::read;

#[test]
fn fuzzed_configurations_are_read_or_refused_without_their_secrets() {
    let words = [
        "\n",
        "=",
        "\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        "\"\"\"",
        "[platforms.acme]\n",
        "[server]\n",
        "[[",
        "-1",
        "1e999",
        "0x",
        "#",
        ".",
        "_file",
        "true",
        "9999999999999999999999",
        "2026-01-01",
        "\u{feff}",
        "é",
    ];
    crate::fuzz::run("configurations", &words, |toml| {
        let text = match read(&String::from_utf8_lossy(toml)) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!text.contains("never-shown"), "{text}");
    });
}
