//! Checks that `postpeer.toml.example` is valid and complete and states the defaults.

use std::path::Path;

use super::reader::Reader;
use super::{Config, EXAMPLE, Environment, from_str, layers, settings};
use crate::platforms::built_in_names;

/// The example with every optional key enabled, except the file of a secret, because both together are a mistake,
/// several secrets or a private key in place of one, and meanings of codes, of which none is a default.
fn with_everything_on() -> String {
    let is_setting = |line: &str| {
        line.strip_prefix('#').is_some_and(|line| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
    };
    let is_left_out = |line: &str| {
        line.contains("_file = ")
            || ["#client_secrets", "#errors", "#private_key"].iter().any(|key| line.starts_with(key))
    };
    let lines: Vec<&str> =
        EXAMPLE.lines().map(|line| if is_setting(line) && !is_left_out(line) { &line[1..] } else { line }).collect();
    lines.join("\n")
}

fn read(toml: &str) -> Config {
    from_str("postpeer.toml.example", toml, Path::new(""), &Environment::default()).unwrap()
}

#[test]
fn the_example_states_the_defaults() {
    assert_eq!(format!("{:?}", read(EXAMPLE)), format!("{:?}", read("")));
}

#[test]
fn optional_keys_state_the_defaults() {
    let everything = read(&with_everything_on());
    let defaults = read("");
    for platform in defaults.platforms.iter_all() {
        let name = platform.platform().name.as_ref();
        let written = everything.platforms.find(name).unwrap();
        assert_eq!(format!("{written:?}"), format!("{platform:?}"), "{name}");
    }
    assert!(everything.platforms.find("acme").unwrap().credentials.is_some());
}

#[test]
fn the_example_has_every_key() {
    let merge = |toml: &str| layers::Layers::merge("", toml, &Environment::default()).unwrap();
    let written = merge(&with_everything_on());
    let mut reader = Reader::new(merge(&with_everything_on()), Path::new(""));
    settings(&mut reader, &Environment::default(), Path::new(""));
    let some_platform_has =
        |key: &str| built_in_names().iter().any(|name| written.at(&["platforms", name.as_ref(), key]).is_some());
    let is_commented_out = |key: &str| EXAMPLE.contains(&format!("\n#{key} = "));
    let known: Vec<_> = reader.known.tables().collect();
    for (table, key) in known.iter().flat_map(|(table, keys)| keys.iter().map(move |key| (table, *key))) {
        let path = [table.as_slice(), &[key]].concat();
        let is_there = match path.as_slice() {
            // The built-in platforms share their keys, all but Bluesky.
            ["platforms", name, key] if !["acme", "bluesky"].contains(name) => some_platform_has(key),
            ["platforms", _, "identity", key] => written.at(&["platforms", "acme", "identity", key]).is_some(),
            ["projects"] => EXAMPLE.contains("[projects.NAME.pages]"),
            path => written.at(path).is_some(),
        };
        assert!(is_there || is_commented_out(key), "{}", path.join("."));
    }
    assert!(known.iter().any(|(table, _)| *table == ["platforms", "acme", "identity"]), "{known:?}");
}
