//! The house rules that a reviewer would otherwise have to remember: who may know whom, which crate belongs to which
//! room, that every file says what it is, and that neither a platform nor a metric is half there.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is not as it should be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use postpeer::telemetry::{Kind, METRICS};

/// Every source file below `src`, by its path from there.
fn sources() -> BTreeMap<String, String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Tests may know everybody.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// `store/grants.rs` is in the room `store`; `app.rs` is a room of its own.
fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap()
}

/// The code without comments and without the test module at its end, which may know more.
fn code(source: &str) -> String {
    let body = source.split("#[cfg(test)]\nmod ").next().unwrap();
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms of ours that a piece of code names by `crate::room`, nested imports included.
fn rooms_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `pub(crate)` are something else; so is a path of another crate that ends in crate.
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (i, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && c.is_ascii_alphabetic() => {
                        named.push(list[i..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            named.push(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
        }
    }
    named
}

/// Who may know whom. Every room knows itself and, but for `domain` itself, `domain`.
fn may_know(room: &str) -> &'static [&'static str] {
    match room {
        "app" => &[
            "atproto",
            "background",
            "broker",
            "config",
            "http",
            "oauth",
            "outbound",
            "platforms",
            "server",
            "store",
            "upstream",
            "vault",
        ],
        "atproto" | "oauth" => &["outbound", "platforms"],
        "broker" => &["failpoint", "platforms", "store", "upstream", "vault"],
        "cli" => &[
            "app",
            "broker",
            "config",
            "failpoint",
            "http",
            "outbound",
            "platforms",
            "sandbox",
            "server",
            "store",
            "telemetry",
            "vault",
        ],
        "config" => &["broker", "outbound", "platforms", "telemetry"],
        "domain" | "failpoint" | "lib" | "outbound" | "platforms" | "sandbox" | "store" | "telemetry" | "vault" => &[],
        "background" | "http" => &["broker"],
        "main" => &["cli"],
        "upstream" => &["atproto", "oauth", "platforms"],
        // It runs the listener on which metrics are read.
        "server" => &["app", "background", "broker", "http", "telemetry"],
        other => panic!("src/{other} is a room that tests/house.rs does not know: say who it may know"),
    }
}

#[test]
fn rooms_know_only_whom_they_may() {
    let mut wrong = Vec::new();
    for (path, source) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let room = room(&path);
        for named in rooms_named(&code(&source)) {
            let fine =
                named == room || (named == "domain" && room != "domain") || may_know(room).contains(&named.as_str());
            // `crate::` may be followed by a macro or a type of lib.rs; only rooms matter.
            let is_room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&named).is_dir()
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(format!("{named}.rs")).is_file();
            if is_room && !fine {
                wrong.push(format!("src/{path} names {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_crate_is_named_only_in_its_room() {
    let homes: &[(&str, &[&str])] = &[
        ("actix_http", &["http", "sandbox", "server"]),
        ("actix_web", &["http", "sandbox", "server"]),
        ("askama", &["http", "sandbox"]),
        ("chacha20poly1305", &["vault"]),
        ("clap", &["cli", "main"]),
        ("figment", &["config"]),
        ("hickory_resolver", &["outbound"]),
        ("hkdf", &["vault"]),
        ("metrics_exporter_prometheus", &["telemetry"]),
        ("oauth2", &["oauth"]),
        ("refinery", &["store"]),
        ("reqwest", &["outbound"]),
        ("rusqlite", &["store"]),
        ("rustls", &["outbound"]),
    ];
    let mut wrong = Vec::new();
    for (path, source) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let code = code(&source);
        for (name, rooms) in homes {
            let named = code.contains(&format!("{name}::")) || code.contains(&format!("use {name};"));
            if named && !rooms.contains(&room(&path)) {
                wrong.push(format!("src/{path} names {name}, which belongs to {}", rooms.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql_is_written_in_the_store_only() {
    for (path, source) in sources() {
        if room(&path) == "store" {
            continue;
        }
        for word in ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "PRAGMA "] {
            assert!(!code(&source).contains(&format!("\"{word}")), "src/{path} holds SQL");
        }
    }
}

/// The tables whose rows belong to a tenant.
const TENANT_TABLES: [&str; 6] = ["flows", "grants", "integrations", "oauth_apps", "profiles", "selections"];

#[test]
fn every_statement_on_a_tenants_row_carries_the_project() {
    let mut checked = 0;
    for (path, source) in sources() {
        if room(&path) != "store" {
            continue;
        }
        for statement in string_literals(&code(&source)) {
            let words: Vec<String> = statement
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .filter(|word| !word.is_empty())
                .map(str::to_lowercase)
                .collect();
            let is_statement =
                words.first().is_some_and(|first| ["select", "insert", "update", "delete"].contains(&first.as_str()));
            let names_tenant = words.iter().any(|word| TENANT_TABLES.contains(&word.as_str()));
            if !is_statement || !names_tenant {
                continue;
            }
            checked += 1;
            // A flow is looked up by its state, which is the credential; purging and counting all is the broker's own.
            let own = statement.contains("/* every project */");
            assert!(own || words.iter().any(|word| word == "project_id"), "src/{path}: {statement}");
        }
    }
    assert!(checked >= 20, "only {checked} statements were found: does this test still read them?");
}

/// The string literals of a source, plain and raw.
fn string_literals(code: &str) -> Vec<String> {
    let bytes: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == 'r' && matches!(bytes.get(at + 1), Some('"' | '#')) {
            let hashes = bytes[at + 1..].iter().take_while(|c| **c == '#').count();
            if bytes.get(at + 1 + hashes) == Some(&'"') {
                let start = at + 2 + hashes;
                let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let rest: String = bytes[start..].iter().collect();
                let length = rest.find(&end).unwrap_or(rest.len());
                found.push(rest[..length].to_owned());
                at = start + rest[..length].chars().count() + end.len();
                continue;
            }
        }
        if bytes[at] == '\'' && bytes.get(at + 2) == Some(&'\'') {
            at += 3;
            continue;
        }
        if bytes[at] == '"' {
            let mut text = String::new();
            at += 1;
            while at < bytes.len() && bytes[at] != '"' {
                if bytes[at] == '\\' {
                    at += 1;
                }
                if let Some(c) = bytes.get(at) {
                    text.push(*c);
                }
                at += 1;
            }
            found.push(text);
        }
        at += 1;
    }
    found
}

#[test]
fn what_is_recorded_is_described_and_the_other_way_round() {
    let mut recorded = BTreeSet::new();
    // Telemetry shows what others record as 0, which is not recording it.
    for (path, source) in sources().into_iter().filter(|(path, _)| !is_test(path) && room(path) != "telemetry") {
        let code = code(&source);
        for (kind, call) in recordings(&code) {
            // A name that is not written out cannot be held against the table.
            let name = string_literals(call).into_iter().next().unwrap_or_default();
            let metric = METRICS.iter().find(|metric| metric.name == name);
            let metric =
                metric.unwrap_or_else(|| panic!("src/{path} records {name:?}, which telemetry has not: {call}"));
            let (described, labels) = (metric.kind, metric.labels);
            let is_kind = match kind {
                "counter" => described == Kind::Counter,
                "gauge" => described == Kind::Gauge,
                _ => matches!(described, Kind::Histogram(_)),
            };
            assert!(is_kind, "src/{path} records {name} as a {kind}");
            let given: BTreeSet<&str> =
                call.match_indices("=>").map(|(at, _)| call[..at].rsplit('"').nth(1).unwrap()).collect();
            assert_eq!(given, labels.iter().copied().collect(), "src/{path}: the labels of {name}");
            recorded.insert(metric.name);
        }
    }
    assert!(!recorded.is_empty(), "does this test still read the sources?");
    recorded.insert("postpeer_build_info");
    for metric in METRICS {
        assert!(recorded.contains(metric.name), "{} is described, and nobody records it", metric.name);
    }
}

#[test]
fn the_readme_tells_every_metric() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for metric in METRICS {
        assert!(readme.contains(&format!("| `{}` |", metric.name)), "README.md lacks a row for {}", metric.name);
    }
}

/// The calls of the macros that record, each with its kind and what is between its parentheses.
fn recordings(code: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for kind in ["counter", "gauge", "histogram"] {
        let call = format!("{kind}!(");
        for (at, _) in code.match_indices(&call) {
            // `describe_counter!(` is another macro.
            if code[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_') {
                continue;
            }
            let inside = &code[at + call.len()..];
            let mut depth = 0;
            let end = inside.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth < 0
            });
            found.push((kind, &inside[..end.unwrap()]));
        }
    }
    found
}

#[test]
fn every_file_says_what_it_is() {
    let mut silent: Vec<String> =
        sources().into_iter().filter(|(_, source)| !source.starts_with("//!")).map(|(path, _)| path).collect();
    for dir in ["tests", "tests/api"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "rs") && !fs::read_to_string(&path).unwrap().starts_with("//!")
            {
                silent.push(path.display().to_string());
            }
        }
    }
    assert!(silent.is_empty(), "these files do not open with //!: {silent:?}");
}

#[test]
fn no_file_grows_past_reading() {
    for (path, source) in sources() {
        let lines = source.split("#[cfg(test)]\nmod ").next().unwrap().lines().count();
        assert!(lines <= 450, "src/{path} has {lines} lines without its tests: part of it wants a file of its own");
    }
}

#[test]
fn a_platform_has_its_file_its_example_section_its_readme_row_and_its_imitation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let example = fs::read_to_string(root.join("postpeer.toml.example")).unwrap();
    let built_in = || postpeer::platforms::BUILT_IN.iter().map(|definition| definition().name.into_owned());
    for name in built_in().chain([postpeer::platforms::bluesky::NAME.to_owned()]) {
        assert!(root.join(format!("src/platforms/{name}.rs")).is_file(), "src/platforms/{name}.rs");
        assert!(example.contains(&format!("[platforms.{name}]")), "postpeer.toml.example lacks [platforms.{name}]");
        assert!(readme.contains(&format!("| `{name}` |")), "README.md lacks a row for {name}");
    }
    let sandbox = postpeer::sandbox::configuration("http://127.0.0.1:1");
    for name in built_in().chain(postpeer::platforms::CONTRACT_NAMES.map(str::to_owned)) {
        assert!(sandbox.contains(&format!("[platforms.{name}]")), "the sandbox does not imitate {name}");
    }
}

#[test]
fn the_versions_that_lose_data_or_let_requests_through_are_gone() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let version = |name: &str| -> Vec<u64> {
        let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n"))).unwrap();
        let version = entry.split("version = \"").nth(1).unwrap().split('"').next().unwrap();
        version.split('.').map(|part| part.parse().unwrap()).collect()
    };
    assert!(version("actix-http") >= vec![3, 12, 1], "request smuggling");
    // SQLite itself is asserted when a database is opened.
    assert!(version("rusqlite") >= vec![0, 41, 0], "SQLite before 3.51.3 loses commits");
}
