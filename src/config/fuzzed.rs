//! Damaged configurations: none makes the reader panic, and no message repeats a secret.

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};

use super::tests::read;

/// Stands in each secret of the known inputs.
const SECRET: &str = "never-shown";

/// The keys whose values are secrets.
const SECRETS: [&str; 3] = ["client_secret", "client_secrets", "proxy"];

/// True when the damage moved a secret to where the file states none: into a key, or a path.
fn shows_itself(key: &str, value: &Value) -> bool {
    match value {
        _ if key.contains(SECRET) => true,
        Value::Dict(_, table) => table.iter().any(|(key, value)| shows_itself(key, value)),
        Value::Array(_, values) => values.iter().any(|value| shows_itself(key, value)),
        value => !SECRETS.contains(&key) && value.as_str().is_some_and(|text| text.contains(SECRET)),
    }
}

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
        let toml = String::from_utf8_lossy(toml);
        let text = match read(&toml) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        let told = text.contains(SECRET);
        let table = || figment::Figment::from(Toml::string(&toml)).extract::<Dict>().ok();
        assert!(!told || table().is_some_and(|table| shows_itself("", &Value::from(table))), "{text}");
    });
}
