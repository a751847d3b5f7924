//! Holds `postpeer.toml.example` to its word: valid, complete, and the defaults.

use std::path::Path;

use super::{Config, EXAMPLE, Environment, from_str, keys, layers};
use crate::platforms::built_in_names;

/// The example with the `#` taken off every optional key. A secret and its file exclude each other: the file stays off.
fn with_everything_on() -> String {
    let is_setting = |line: &str| {
        line.strip_prefix('#').is_some_and(|line| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
    };
    let lines: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| if is_setting(line) && !line.starts_with("#client_secret_file") { &line[1..] } else { line })
        .collect();
    lines.join("\n")
}

fn read(toml: &str) -> Config {
    from_str("postpeer.toml.example", toml, Path::new(""), &Environment::default(), &[]).unwrap()
}

#[test]
fn it_is_valid_and_says_the_defaults() {
    assert_eq!(format!("{:?}", read(EXAMPLE)), format!("{:?}", read("")));
}

#[test]
fn its_optional_keys_are_valid_and_the_defaults_too() {
    let everything = read(&with_everything_on());
    let defaults = read("");
    for platform in defaults.platforms.iter_all() {
        let name = platform.platform.name.as_ref();
        let written = everything.platforms.find(name).unwrap();
        assert_eq!(format!("{written:?}"), format!("{platform:?}"), "{name}");
    }
    assert!(everything.platforms.find("acme").unwrap().credentials.is_some());
}

#[test]
fn it_has_every_key() {
    let layers = layers::Layers::merge("", &with_everything_on(), &Environment::default(), &[]).unwrap();
    for (section, known) in keys::SECTIONS {
        for key in *known {
            assert!(layers.at(&[section, key]).is_some(), "{section}.{key}");
        }
    }
    let built_in = |key| built_in_names().iter().any(|name| layers.at(&[keys::PLATFORMS, name, key]).is_some());
    for key in keys::BUILT_IN {
        assert!(built_in(key) || EXAMPLE.contains(&format!("\n#{key} = ")), "{key}");
    }
    for key in keys::CUSTOM.iter().filter(|key| !keys::BUILT_IN.contains(key)) {
        assert!(layers.at(&[keys::PLATFORMS, "acme", key]).is_some(), "acme.{key}");
    }
    for key in keys::IDENTITY {
        assert!(layers.at(&[keys::PLATFORMS, "acme", "identity", key]).is_some(), "acme.identity.{key}");
    }
    for key in ["plc_url", "resolver_url"] {
        assert!(layers.at(&[keys::PLATFORMS, "bluesky", key]).is_some(), "bluesky.{key}");
    }
}

#[test]
fn it_has_every_platform_with_the_callback_url_to_register() {
    for name in built_in_names() {
        assert!(EXAMPLE.contains(&format!("\n[platforms.{name}]\n")), "{name}");
        let callback = format!("https://connect.example.com/v1/connect/{name}/callback\n");
        assert!(name == "bluesky" || EXAMPLE.contains(&callback), "{name}");
    }
}
