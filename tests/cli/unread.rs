//! Results that nobody can read: standard output is closed, its pipe is cut, or its disk is full.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use super::{Instance, contents, mode, postpeer, refused, succeeded, text};

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A command with its standard output closed.
fn closed(instance: &Instance, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_postpeer")]).args(arguments).env_clear();
    command.env("POSTPEER_CONFIG", instance.path("postpeer.toml")).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// State of each key, by name.
fn keys(instance: &Instance) -> Vec<(String, String)> {
    let keys = succeeded(&instance.run(&["access-key", "list", "--json"]));
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let word = |key: &serde_json::Value, name: &str| key.get(name).unwrap().as_str().unwrap().to_owned();
    keys.as_array().unwrap().iter().map(|key| (word(key, "name"), word(key, "state"))).collect()
}

#[test]
fn a_key_that_nobody_has_seen_does_not_stay() {
    let instance = Instance::new();
    let create = |name| instance.command(&["access-key", "create", "--name", name]);
    let said = refused(&create("full").stdout(full()).output().unwrap(), 74);
    assert!(said.contains("it was revoked"), "{said}");
    let mut cut = create("cut").spawn().unwrap();
    drop(cut.stdout.take());
    let said = refused(&cut.wait_with_output().unwrap(), 74);
    assert!(said.contains("it was revoked"), "{said}");
    let [active, revoked] = ["active", "revoked"].map(str::to_owned);
    let known = [("first key", &active), ("full", &revoked), ("cut", &revoked)];
    assert_eq!(keys(&instance), known.map(|(name, state)| (name.to_owned(), state.clone())));
    // Whoever throws it away means it.
    let thrown_away = create("thrown away").stdout(Stdio::null()).output().unwrap();
    succeeded(&thrown_away);
    assert!(!text(&thrown_away.stderr).contains("nobody has seen it"), "{}", text(&thrown_away.stderr));
    // So may whoever closes it, or forgot to open it.
    let output = closed(&instance, &["access-key", "create", "--name", "closed"]).output().unwrap();
    succeeded(&output);
    assert!(text(&output.stderr).contains("nobody has seen it"), "{}", text(&output.stderr));
}

#[test]
fn a_link_that_nobody_has_seen_is_revoked() {
    let instance = Instance::new();
    let said = refused(&instance.command(&["connect", "bluesky"]).stdout(full()).output().unwrap(), 74);
    assert!(said.contains("the link, so it was revoked"), "{said}");
    let trail = succeeded(&instance.run(&["audit"]));
    let entries = |action| trail.lines().filter(|line| line.contains(action)).count();
    assert_eq!(["link.created", "link.revoked"].map(entries), [1, 1], "{trail}");
}

#[test]
fn init_undoes_what_it_made_where_its_key_cannot_be_shown() {
    let root = tempfile::tempdir().unwrap();
    let [dir, recovery] = ["broker", "recovery"].map(|name| root.path().join(name));
    let arguments = ["init", "--dir", dir.to_str().unwrap(), "--recovery-key", recovery.to_str().unwrap()];
    let said = refused(&postpeer(&arguments).stdout(full()).output().unwrap(), 74);
    assert!(said.contains("removed again"), "{said}");
    assert!(!dir.exists() && !recovery.exists());
    assert!(succeeded(&postpeer(&arguments).output().unwrap()).starts_with("ppk_"));
    assert_eq!(mode(&recovery), 0o600);
}

#[test]
fn a_change_whose_result_cannot_be_shown_is_told() {
    let instance = Instance::new();
    let said = refused(&instance.command(&["project", "create", "one"]).stdout(full()).output().unwrap(), 74);
    assert!(said.contains("was created all the same"), "{said}");
    assert!(succeeded(&instance.run(&["project", "list"])).contains("  one  "));
    let said = refused(&instance.command(&["keyring", "rotate"]).stdout(full()).output().unwrap(), 74);
    assert!(said.contains("data key 2 is active") && said.contains("`postpeer keyring retire 1`"), "{said}");
}

#[test]
fn a_backup_for_a_closed_output_is_not_made() {
    let instance = Instance::new();
    let before = contents(instance.dir.path());
    let output = closed(&instance, &["backup", "-"]).output().unwrap();
    assert!(refused(&output, 74).contains("standard output is closed"), "{}", text(&output.stderr));
    assert_eq!(contents(instance.dir.path()), before);
}
