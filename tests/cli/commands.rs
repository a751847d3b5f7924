//! Every command that changes something leaves an entry of the audit trail; and the commands on keys and projects.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{Instance, postpeer, refused, status_line, succeeded, text};
use super::{Running, Signal};

/// The commands that have no commands below them, as `--help` lists them.
fn commands() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![String::new()];
    while let Some(path) = waiting.pop() {
        let arguments: Vec<&str> = path.split(' ').filter(|word| !word.is_empty()).chain(["--help"]).collect();
        let help = succeeded(&postpeer(&arguments).output().unwrap());
        let listed = help.split_once("\nCommands:\n").map(|(_, rest)| rest.split("\n\n").next().unwrap());
        match listed {
            Some(listed) => {
                let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
                waiting.extend(
                    names.filter(|name| !name.is_empty()).map(|name| format!("{path} {name}").trim().to_owned()),
                );
            }
            None => {
                found.insert(path);
            }
        }
    }
    found
}

/// Actions and outcomes of the audit trail, oldest first.
fn trail(instance: &Instance) -> Vec<String> {
    let lines = succeeded(&instance.run(&["audit", "--json"]));
    let entries =
        lines.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries
        .map(|entry| {
            let word = |name: &str| entry.get(name).unwrap().as_str().unwrap().to_owned();
            assert_eq!(word("actor"), "command_line", "{entry}");
            assert!(!word("object").is_empty() && word("outcome") == "done", "{entry}");
            word("action")
        })
        .collect()
}

#[test]
fn every_command_that_changes_something_leaves_an_entry() {
    // `init` makes the first key and the recovery key.
    let (instance, elsewhere) = Instance::recoverable();
    assert_eq!(trail(&instance), ["keyring.recovery_set", "access_key.created"]);
    let path = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let (backup, recovery) = (path("backup.db"), path("postpeer.recovery"));
    let unknown = "int_00000000000000000000000000000000";
    let key = serde_json::from_str::<Value>(&succeeded(&instance.run(&["access-key", "list", "--json"]))).unwrap();
    let key = key.get(0).unwrap().get("id").unwrap().as_str().unwrap().to_owned();
    let keyring_key = instance.keyring_ids().1;
    let steps: [(&str, &[&str], &[&str]); 23] = [
        ("access-key create", &["--name", "a"], &["access_key.created"]),
        ("access-key list", &[], &[]),
        ("access-key revoke", &[&key], &["access_key.revoked"]),
        ("access-key revoke", &[&key], &[]),
        ("accounts disconnect", &[unknown], &[]),
        ("accounts list", &[], &[]),
        ("accounts show", &[unknown], &[]),
        ("audit", &[], &[]),
        ("check", &[], &[]),
        ("connect", &["bluesky"], &["link.created"]),
        ("doctor", &[], &[]),
        ("keyring rotate", &[], &["keyring.rotated"]),
        ("keyring status", &[], &[]),
        ("keyring retire", &["1"], &["keyring.retired"]),
        ("keyring rewrap", &["--new-key"], &["keyring.rewrapped"]),
        ("keyring rewrap", &[], &[]),
        ("keyring retire", &[&keyring_key], &["keyring.retired"]),
        ("openapi", &[], &[]),
        ("platforms list", &[], &[]),
        ("platforms show", &["twitter"], &[]),
        ("project create", &["staging"], &["project.created"]),
        ("project list", &[], &[]),
        ("project delete", &["staging", "--confirm", "staging"], &["project.deleted"]),
    ];
    let mut tried: BTreeSet<String> = BTreeSet::new();
    let mut before = trail(&instance);
    let mut step = |command: &str, arguments: &[&str], expected: &[&str]| {
        let words: Vec<&str> = command.split(' ').chain(arguments.iter().copied()).collect();
        let output = instance.run(&words);
        assert!(output.status.success() || expected.is_empty(), "{command}: {}", text(&output.stderr));
        let after = trail(&instance);
        assert_eq!(after[before.len()..], *expected, "{command}");
        before = after;
        tried.insert(command.to_owned());
    };
    for (command, arguments, expected) in steps {
        step(command, arguments, expected);
    }
    step("backup", &[&backup], &["backup.made"]);
    fs::remove_file(instance.path("postpeer.keyring")).unwrap();
    let output = instance.run(&["keyring", "recover", &recovery]);
    succeeded(&output);
    assert_eq!(trail(&instance).last().unwrap(), "keyring.recovered");
    // The backup opens with the keyring that it was made under.
    let other = path("after.db");
    succeeded(&instance.run(&["backup", &other]));
    succeeded(&instance.run(&["restore", &other]));
    let restored = trail(&instance);
    assert_eq!(
        restored[restored.len() - 2..],
        ["keyring.recovered", "backup.restored"],
        "the copy is older than its entry"
    );
    fs::remove_file(instance.path("postpeer.keyring")).unwrap();
    succeeded(&instance.run(&["keyring", "forget", "--yes", "--recovery-key-lost"]));
    let forgotten = trail(&instance);
    assert_eq!(forgotten[restored.len()..], ["access_key.revoked", "keyring.forgotten"]);
    tried.extend(["keyring recover", "keyring forget", "restore"].map(str::to_owned));
    // What the broker changes while it runs has its own entries.
    tried.extend(["demo", "healthcheck", "init", "serve"].map(str::to_owned));
    assert_eq!(tried, commands(), "a new command: try it here, and say which entries it leaves");
}

#[test]
fn an_access_key_is_made_with_limits_and_listed_with_them() {
    let instance = Instance::new();
    let create =
        |arguments: &[&str]| instance.run(&[&["access-key", "create", "--name", "limited"], arguments].concat());
    for (wrong, told) in [
        (&["--expires", "2020-01-01"][..], "must be in the future"),
        (&["--expires", "0s"], "must be in the future"),
        (&["--expires", "soon"], "90d"),
        (&["--from", "10.0.0.0/33"], "10.0.0.0/8"),
        (&["--from", "example.com"], "10.0.0.0/8"),
        (&["--profile", "key_1"], "--profile"),
        (&["--profile", "prof_00000000000000000000000000000000"], "profile"),
        (&["--scope", "read,write"], "connect, manage, read or tokens"),
    ] {
        let said = refused(&create(wrong), 64);
        assert!(said.contains(told), "{wrong:?}: {said}");
    }
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let made = create(&["--expires", "10d", "--from", "127.0.0.1,fd00::1/8", "--scope", "read,connect"]);
    let key = succeeded(&made);
    let said = text(&made.stderr);
    assert!(said.contains("for 127.0.0.1, fd00::/8 only, until 20"), "{said}");
    assert!(status_line(&broker.url(), key.trim()).contains(" 200 "));
    let elsewhere = succeeded(&create(&["--from", "10.0.0.0/8"]));
    assert!(status_line(&broker.url(), elsewhere.trim()).contains(" 403 "));
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));

    let listed: Value = serde_json::from_str(&succeeded(&instance.run(&["access-key", "list", "--json"]))).unwrap();
    let limited = listed.get(1).unwrap();
    let member = |name: &str| limited.get(name).unwrap().clone();
    assert_eq!(member("networks"), serde_json::json!(["127.0.0.1", "fd00::/8"]));
    assert_eq!(member("scopes"), serde_json::json!(["connect", "read"]));
    assert_eq!(
        (member("state"), member("profileId"), member("project")),
        ("active".into(), Value::Null, "default".into())
    );
    assert!(member("lastUsedAt").is_string(), "{limited}");
    assert!(!listed.to_string().contains(key.trim()));
    let table = succeeded(&instance.run(&["access-key", "list"]));
    assert!(table.contains("(in 9 days)") && table.contains("127.0.0.1 fd00::/8"), "{table}");
    instance.sql("UPDATE access_keys SET expires_at = created_at + 1 WHERE expires_at IS NOT NULL");
    assert!(succeeded(&instance.run(&["access-key", "list"])).contains("(expired)"));

    // A start warns of those that expire soon.
    assert!(create(&["--expires", "13d"]).status.success());
    let broker = Running::start(&mut instance.command(&["serve"]), "an access key expires soon");
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

#[test]
fn a_project_is_deleted_only_when_its_name_is_said_again() {
    let instance = Instance::new();
    succeeded(&instance.run(&["project", "create", "staging"]));
    let key = succeeded(&instance.run(&["access-key", "create", "--project", "staging", "--name", "s"]));
    let said = refused(&instance.run(&["project", "delete", "staging"]), 64);
    assert!(said.contains("access keys: 1") && said.contains("--confirm 'staging'"), "{said}");
    let said = refused(&instance.run(&["project", "delete", "staging", "--confirm", "default"]), 64);
    assert!(said.contains("not the project's name"), "{said}");
    let said = refused(&instance.run(&["project", "delete", "default", "--confirm", "default"]), 64);
    assert!(said.contains("part of every broker"), "{said}");
    refused(&instance.run(&["project", "delete", "nowhere", "--confirm", "nowhere"]), 64);
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    assert!(status_line(&broker.url(), key.trim()).contains(" 200 "));
    let output = instance.run(&["project", "delete", "staging", "--confirm", "staging"]);
    assert!(succeeded(&output).is_empty());
    assert!(text(&output.stderr).contains("Deleted project staging"), "{}", text(&output.stderr));
    assert!(status_line(&broker.url(), key.trim()).contains(" 401 "), "beside the running broker");
    assert!(status_line(&broker.url(), &instance.key).contains(" 200 "));
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
    assert!(!succeeded(&instance.run(&["project", "list"])).contains("staging"));
}

/// An empty list would say that the key was never used, or that no account fails.
#[test]
fn a_mistyped_key_or_platform_is_no_empty_list() {
    let instance = Instance::new();
    let unknown = "key_0198c0de000070008000000000000000";
    for format in [&[][..], &["--json"]] {
        let said = refused(&instance.run(&[&["audit", "--key", unknown], format].concat()), 64);
        assert!(said.contains(&format!("there is no access key {unknown}")), "{said}");
        for (wrong, right) in [("tweeter", "twitter"), ("Twitter", "twitter")] {
            let list = ["accounts", "list", "--failing", "--platform", wrong];
            let said = refused(&instance.run(&[&list, format].concat()), 64);
            assert!(said.contains(&format!("there is no platform \"{wrong}\": did you mean {right}?")), "{said}");
        }
        succeeded(&instance.run(&[&["accounts", "list", "--platform", "twitter"], format].concat()));
    }
    let said = refused(&instance.run(&["accounts", "list", "--project", "nope"]), 64);
    assert!(said.contains("no such project. `postpeer project list` lists"), "{said}");
    let keys: Value = serde_json::from_str(&succeeded(&instance.run(&["access-key", "list", "--json"]))).unwrap();
    succeeded(&instance.run(&["audit", "--key", keys[0]["id"].as_str().unwrap()]));
}
