//! `doctor` and `check`: each kind of finding with its exit code, and that neither changes a byte.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use super::{Instance, Running, contents, postpeer, refused, succeeded, text};

/// A value that no key opens, where a sealed one belongs.
const UNOPENED: &str = "INSERT INTO discovered (issuer, document, document_dek_id, fetched_at)
    VALUES ('https://id.example', CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 0)";

/// The findings of a command with `--json`.
fn findings(output: &Output) -> Vec<Value> {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    document.get("findings").and_then(Value::as_array).unwrap().clone()
}

/// The first finding of a check that is worse than a note, or else the first.
fn finding(output: &Output, check: &str) -> Value {
    let of_check: Vec<Value> = findings(output).into_iter().filter(|one| one["check"] == check).collect();
    let is_bad = |one: &&Value| matches!(one["severity"].as_str(), Some("warning" | "error"));
    of_check.iter().find(is_bad).or(of_check.first()).cloned().unwrap_or_else(|| panic!("no {check}"))
}

/// Everything below a directory: names, modes and contents.
fn state(instance: &Instance) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let entry = |(path, content): (PathBuf, Vec<u8>)| {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        (path, (mode, content))
    };
    contents(instance.dir.path()).into_iter().map(entry).collect()
}

/// Runs a command twice, as JSON and as text. Asserts its exit code, and that nothing was changed.
#[track_caller]
fn looked(instance: &Instance, command: &str, code: i32) -> Output {
    let before = state(instance);
    let output = instance.run(&[command, "--json"]);
    assert_eq!(output.status.code(), Some(code), "{} {}", text(&output.stdout), text(&output.stderr));
    assert_eq!(instance.run(&[command]).status.code(), Some(code), "as text");
    assert!(state(instance) == before, "{command} changed a file");
    output
}

fn set_mode(instance: &Instance, name: &str, mode: u32) {
    fs::set_permissions(instance.path(name), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_database_with_several_names_is_warned_of() {
    let instance = Instance::new();
    fs::hard_link(instance.path("postpeer.db"), instance.path("snapshot.db")).unwrap();
    for command in ["check", "doctor"] {
        let found = findings(&looked(&instance, command, 0));
        let is_warned = |one: &Value| one["severity"] == "warning" && one.to_string().contains("2 names (hard links)");
        assert!(found.iter().any(is_warned), "{command}: {found:?}");
    }
}

#[test]
fn a_sound_broker_has_no_warnings_running_or_not() {
    let instance = Instance::new();
    let doctor = looked(&instance, "doctor", 0);
    let bad: Vec<Value> = findings(&doctor)
        .into_iter()
        .filter(|one| !["ok", "note"].contains(&one["severity"].as_str().unwrap()))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    for check in [
        "backups",
        "clock",
        "configuration",
        "disk_space",
        "integrity",
        "kept_counts",
        "keyring",
        "leftovers",
        "permissions",
        "schema",
        "sealed_values",
        "search_index",
    ] {
        finding(&doctor, check);
    }
    for key in ["check", "severity", "subject", "message", "remedy"] {
        assert!(findings(&doctor).iter().all(|one| one[key].is_string()), "{key}");
    }
    looked(&instance, "check", 0);

    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    for command in ["doctor", "check"] {
        let output = instance.run(&[command]);
        assert!(succeeded(&output).contains("ok "), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains("No errors, no warnings."), "{command}: {}", text(&output.stdout));
    }
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
    assert!(!instance.path("postpeer.db-wal").exists(), "the look did not keep the broker from folding its log in");
}

#[test]
fn each_kind_of_damage_has_its_finding_and_exit_code() {
    type Break = fn(&Instance);
    let cases: [(&str, i32, &str, &str, Break); 21] = [
        ("sealed_values", 65, "error", "discovered.document", |broken| broken.sql(UNOPENED)),
        ("access_keys", 65, "error", "did not write the row", |broken| {
            broken.sql("UPDATE access_keys SET scopes = '[\"tokens\"]'");
        }),
        ("connections", 65, "error", "the rows of 0 connections in the making and of 1 connect links", |broken| {
            broken.sql(
                "INSERT INTO links (id, project_id, token, platforms, created_at, expires_at)
                 SELECT 'link_00000000000000000000000000000001', id, CAST(zeroblob(32) AS BLOB), '[]', 1, 2 FROM projects",
            );
        }),
        ("kept_counts", 65, "error", "the kept count is 3, and there are 0", |broken| {
            broken.sql("INSERT INTO counts SELECT id, 'profiles', '*', '', 3 FROM projects");
        }),
        ("search_index", 65, "error", "profiles_search", |broken| {
            broken.sql("INSERT INTO profiles_search (rowid, grams) VALUES (7, 'gone_61')");
        }),
        ("integrity", 65, "error", "rows point at rows that are not there", |broken| {
            broken.sql(
                "PRAGMA foreign_keys = OFF; INSERT INTO token_reads
                    (project_id, integration_id, access_key_id, reads, first_at, last_at)
                 VALUES ('proj_1', 'int_1', 'key_1', 1, 1, 1)",
            );
        }),
        ("database", 65, "error", "damaged", |broken| fs::write(broken.path("postpeer.db"), "not a database").unwrap()),
        ("database", 65, "error", "newer program", |broken| broken.sql("PRAGMA user_version = 999")),
        ("database", 65, "error", "another program", |broken| broken.sql("PRAGMA application_id = 7")),
        ("database", 66, "error", "there is no database", |broken| {
            fs::remove_file(broken.path("postpeer.db")).unwrap();
        }),
        ("leftovers", 66, "error", "log of a database that is not there", |broken| {
            fs::rename(broken.path("postpeer.db"), broken.path("postpeer.db-wal")).unwrap();
        }),
        ("keyring", 78, "error", "there is no keyring", |broken| {
            fs::remove_file(broken.path("postpeer.keyring")).unwrap();
        }),
        ("keyring", 78, "error", "chmod 600", |broken| set_mode(broken, "postpeer.keyring", 0o644)),
        ("keyring", 78, "error", "does not belong to the database", |broken| {
            fs::copy(Instance::new().path("postpeer.keyring"), broken.path("postpeer.keyring")).unwrap();
        }),
        ("permissions", 0, "warning", "every user of this machine can read it", |broken| {
            set_mode(broken, "postpeer.toml", 0o644);
        }),
        ("configuration", 78, "error", "every user of this machine can change", |broken| {
            set_mode(broken, "postpeer.db", 0o666);
        }),
        ("permissions", 78, "error", "can put files into it", |broken| set_mode(broken, "", 0o777)),
        ("configuration", 78, "error", "did you mean server.public_url?", |broken| {
            fs::write(broken.path("postpeer.toml"), "[server]\npublic_ulr = \"x\"\n[log]\nlevel = \"loud\"").unwrap();
        }),
        ("backups", 0, "warning", "there is no good backup of this database yet", |broken| {
            fs::write(
                broken.path("postpeer.toml"),
                "[server]\npublic_url = \"http://127.0.0.1:8080\"\n[backup]\nevery = \"24h\"",
            )
            .unwrap();
        }),
        ("clock", 0, "warning", "in the future", |broken| {
            let future = SystemTime::UNIX_EPOCH + Duration::from_secs(7_000_000_000);
            File::options().write(true).open(broken.path("postpeer.keyring")).unwrap().set_modified(future).unwrap();
        }),
        ("clock", 0, "warning", "the newest row was made at 2191", |broken| {
            broken.sql(
                "INSERT INTO audit (at, actor, action, object, outcome) VALUES (7000000000000, 'operator', 'x', 'y', 'done')",
            );
        }),
    ];
    for (check, code, severity, words, damage) in cases {
        let instance = Instance::new();
        damage(&instance);
        let found = finding(&looked(&instance, "doctor", code), check);
        let told = format!("{} {} {}", found["subject"], found["message"], found["remedy"]);
        assert_eq!(found["severity"], severity, "{check}: {told}");
        assert!(told.contains(words), "{check}: {told}");
        set_mode(&instance, "", 0o700);
    }
}

#[test]
fn what_was_left_is_told_with_what_to_do_about_it() {
    let instance = Instance::new();
    for name in [
        "postpeer.db.new",
        "postpeer.db.restoring",
        "postpeer.db.before-v9",
        "postpeer.db.before-v9.new",
        "postpeer.db.before-forget-20260503T083336Z",
        "postpeer.db.before-forget-20260503T083336Z.new",
        "postpeer.db.replaced-20260503T083336Z",
        "postpeer.db.123.unfinished",
        "postpeer.keyring.new",
    ] {
        fs::write(instance.path(name), "left").unwrap();
        let output = looked(&instance, "doctor", 0);
        let found = finding(&output, "leftovers");
        assert_eq!(found["severity"], "note", "{name}");
        assert!(found["subject"].as_str().unwrap().ends_with(name), "{name}: {found}");
        assert!(!found["remedy"].as_str().unwrap().is_empty(), "{name}");
        fs::remove_file(instance.path(name)).unwrap();
    }
    // A broker that was killed leaves its log, which is no reason to worry.
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    broker.stop(Signal::KILL);
    let read = || ["postpeer.db", "postpeer.db-wal"].map(|name| fs::read(instance.path(name)).unwrap());
    let before = read();
    let output = instance.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(finding(&output, "leftovers")["remedy"].as_str().unwrap().contains("Do not remove it"));
    assert!(read() == before, "the log was touched");
}

#[test]
fn check_sees_what_serve_will_see() {
    type Break = fn(&Instance);
    let cases: [(&str, i32, &str, Break); 8] = [
        ("database", 66, "`postpeer init", |broken| fs::remove_file(broken.path("postpeer.db")).unwrap()),
        ("database", 65, "damaged", |broken| fs::write(broken.path("postpeer.db"), "not a database").unwrap()),
        ("keyring", 78, "there is no keyring", |broken| fs::remove_file(broken.path("postpeer.keyring")).unwrap()),
        ("keyring", 78, "chmod 600", |broken| set_mode(broken, "postpeer.keyring", 0o604)),
        ("keyring", 78, "does not belong to the database", |broken| {
            fs::copy(Instance::new().path("postpeer.keyring"), broken.path("postpeer.keyring")).unwrap();
        }),
        ("database", 78, "world-writable", |broken| set_mode(broken, "", 0o777)),
        ("database", 78, "is not set up", |broken| {
            fs::remove_file(broken.path("postpeer.db")).unwrap();
            fs::remove_file(broken.path("postpeer.keyring")).unwrap();
        }),
        ("configuration", 78, "loud", |broken| {
            fs::write(broken.path("postpeer.toml"), "[log]\nlevel = \"loud\"\n[server]\nlisten = \"loud\"").unwrap();
        }),
    ];
    for (check, code, words, damage) in cases {
        let instance = Instance::new();
        damage(&instance);
        let found = finding(&looked(&instance, "check", code), check);
        let told = format!("{} {}", found["message"], found["remedy"]);
        assert_eq!(found["severity"], "error", "{check}: {told}");
        assert!(words == "loud" || told.contains(words), "{check}: {told}");
        let served = instance.run(&["serve"]).status.code();
        assert_eq!(served, Some(code), "serve says otherwise than check: {told}");
        set_mode(&instance, "", 0o700);
    }
}

/// Adds a grant whose tokens do not open.
fn insert_grant(instance: &Instance, platform: &str, client_id: &str) {
    instance.sql(&format!(
        "INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, requested_scopes, consented_at,
            issued_at, renewal, tokens, tokens_dek_id, generation, status, created_at, updated_at)
         SELECT 'grant_{platform}_{client_id}', id, '{platform}', '{client_id}', '7', '[]', '[]', 0, 0, 'never',
            CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0 FROM projects"
    ));
}

#[test]
fn check_tells_of_accounts_under_another_client_id() {
    let instance = Instance::new();
    for client_id in ["old", "older", "now"] {
        insert_grant(&instance, "twitter", client_id);
    }
    for (configured, told) in [("now", "of 2 connections"), ("", "of 3 connections")] {
        let mut command = instance.command(&["check", "--json"]);
        if !configured.is_empty() {
            command.env("POSTPEER_PLATFORMS__TWITTER__CLIENT_ID", configured);
            command.env("POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET", "secret");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let found = finding(&output, "client_id");
        assert_eq!((&found["severity"], &found["subject"]), (&"warning".into(), &"platforms.twitter.client_id".into()));
        assert!(found["message"].as_str().unwrap().contains(told), "{found}");
    }
}

#[test]
fn check_tells_of_accounts_whose_platform_is_gone() {
    let instance = Instance::new();
    for platform in ["acme", "bluesky", "twitter"] {
        insert_grant(&instance, platform, "");
    }
    let output = instance.command(&["check", "--json"]).output().unwrap();
    let found = finding(&output, "platform");
    assert_eq!((&found["severity"], &found["subject"]), (&"warning".into(), &"platforms.acme".into()));
    assert!(found["message"].as_str().unwrap().contains("not configured and has 1 connections"), "{found}");
    for platform in ["TWITTER", "BLUESKY"] {
        let mut command = instance.command(&["check", "--json"]);
        let output = command.env(format!("POSTPEER_PLATFORMS__{platform}__ENABLED"), "false").output().unwrap();
        let told = findings(&output);
        let is_told = |one: &Value| one["message"].as_str().unwrap().contains("disabled and has 1 connections");
        assert!(told.iter().any(is_told), "{told:?}");
    }
}

/// Root may read everything; what matters is the user as whom the broker runs.
#[test]
fn root_is_told_what_the_broker_cannot_use() {
    const BROKER: u32 = 4242;
    type Break = fn(&Instance);
    let cases: [(&str, i32, &str, Break); 7] = [
        ("postpeer.keyring", 78, "chown 4242:4242", |broken| {
            chown(broken.path("postpeer.keyring"), Some(0), Some(0)).unwrap();
        }),
        ("postpeer.keyring", 78, "chmod u+rw", |broken| set_mode(broken, "postpeer.keyring", 0o200)),
        ("postpeer.db", 74, "chown 4242:4242", |broken| chown(broken.path("postpeer.db"), Some(0), Some(0)).unwrap()),
        ("postpeer.db.ballast", 74, "chown 4242:4242", |broken| {
            fs::write(broken.path("postpeer.db.ballast"), "").unwrap();
            set_mode(broken, "postpeer.db.ballast", 0o600);
        }),
        ("postpeer.db.lock", 74, "chown 4242:4242", |broken| {
            chown(broken.path("postpeer.db.lock"), Some(0), Some(0)).unwrap();
        }),
        ("postpeer.toml", 78, "chown 4242:4242", |broken| set_mode(broken, "postpeer.toml", 0o600)),
        ("", 74, "chmod u+rw", |broken| set_mode(broken, "", 0o500)),
    ];
    let owned = || {
        let instance = Instance::new();
        // Only root can give files away.
        chown(instance.dir.path(), Some(BROKER), Some(BROKER)).ok()?;
        for file in fs::read_dir(instance.dir.path()).unwrap() {
            chown(file.unwrap().path(), Some(BROKER), Some(BROKER)).unwrap();
        }
        chown(instance.path("postpeer.toml"), Some(0), Some(BROKER)).unwrap();
        set_mode(&instance, "postpeer.toml", 0o640);
        Some(instance)
    };
    for (name, code, remedy, damage) in cases {
        let Some(instance) = owned() else { return };
        for command in ["check", "doctor"] {
            assert_eq!(finding(&looked(&instance, command, 0), "permissions")["severity"], "ok", "{command}");
        }
        damage(&instance);
        for command in ["check", "doctor"] {
            let found = finding(&looked(&instance, command, code), "permissions");
            assert!(found["subject"].as_str().unwrap().ends_with(name), "{found}");
            assert!(found["message"].as_str().unwrap().contains("the broker runs as user 4242"), "{found}");
            assert!(found["remedy"].as_str().unwrap().starts_with(remedy), "{found}");
        }
    }
    // A fresh mount is root's, and the files in it are the broker's.
    let Some(instance) = owned() else { return };
    chown(instance.dir.path(), Some(0), Some(0)).unwrap();
    set_mode(&instance, "", 0o755);
    for command in ["check", "doctor"] {
        let found = finding(&looked(&instance, command, 74), "permissions");
        assert_eq!(found["subject"], instance.dir.path().to_str().unwrap(), "{found}");
        assert!(found["message"].as_str().unwrap().contains("user 4242, who owns its database"), "{found}");
        assert!(found["remedy"].as_str().unwrap().starts_with("chown 4242:4242"), "{found}");
    }
    // A folder that the broker would make, in one that is root's.
    let (Some(instance), root) = (owned(), tempfile::tempdir().unwrap()) else { return };
    let backups = root.path().join("a/backups");
    let check = instance.command(&["check", "--json"]).env("POSTPEER_BACKUP__DIR", &backups).output().unwrap();
    assert_eq!(check.status.code(), Some(74), "{}", text(&check.stdout));
    let found = finding(&check, "permissions");
    let remedy = format!("install -d -o 4242 -g 4242 -m 0700 {}", backups.display());
    assert!(found["subject"] == backups.to_str().unwrap() && found["remedy"] == remedy, "{found}");
    // systemd hands the broker a copy of what is root's.
    let (Some(instance), root) = (owned(), tempfile::tempdir().unwrap()) else { return };
    let keyring = root.path().join("keyring");
    fs::rename(instance.path("postpeer.keyring"), &keyring).unwrap();
    chown(&keyring, Some(0), Some(0)).unwrap();
    let check = instance.command(&["check", "--json"]).env("POSTPEER_KEYRING__PATH", &keyring).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
    let found = finding(&check, "permissions");
    assert!(found["severity"] == "warning" && found["subject"] == keyring.to_str().unwrap(), "{found}");
    assert!(found["remedy"].as_str().unwrap().contains("systemd hands the broker a copy"), "{found}");
}

#[test]
fn a_lost_volume_is_told_alike_by_all() {
    let instance = Instance::new();
    for name in ["postpeer.db", "postpeer.keyring"] {
        fs::remove_file(instance.path(name)).unwrap();
    }
    for arguments in [&["serve"][..], &["check"], &["doctor"], &["backup", "/nonexistent/one.db"]] {
        let output = instance.run(arguments);
        let said = [text(&output.stdout), text(&output.stderr)].concat();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(said.contains("If it ran before, mount their volume"), "{arguments:?}: {said}");
        assert!(!said.contains("keyring recover"), "{arguments:?}: {said}");
    }
}

#[test]
fn check_tells_who_has_the_address() {
    let instance = Instance::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    // A program that is no broker: it closes each connection.
    std::thread::spawn(move || taken.incoming().take(4).for_each(drop));
    let check =
        |arguments: &[&str]| instance.command(arguments).env("POSTPEER_SERVER__LISTEN", &listen).output().unwrap();
    let output = check(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(finding(&output, "listen")["message"].as_str().unwrap().starts_with("another program"));

    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let listen = broker.url().replace("http://", "");
    let check = instance.command(&["check", "--json"]).env("POSTPEER_SERVER__LISTEN", &listen).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
    let pid = broker.child.id();
    let told = finding(&check, "listen")["message"].as_str().unwrap().to_owned();
    assert!(told.contains(&format!("the running broker of this database (pid {pid})")), "{told}");

    // Metrics and console have listeners of their own.
    let instance = Instance::new();
    let mut serve = instance.command(&["serve"]);
    let (metrics, console) = ("POSTPEER_SERVER__METRICS_LISTEN", "POSTPEER_CONSOLE__LISTEN");
    serve.env(metrics, "127.0.0.1:0").env(console, "127.0.0.1:0");
    let full = Running::start(&mut serve, "the console is at");
    let address = |words: &str| full.url_after(words).replace("http://", "");
    let mut check = instance.command(&["check", "--json"]);
    check.env(metrics, address("metrics are at")).env(console, address("the console is at"));
    let check = check.output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
    for subject in ["server.metrics_listen", "console.listen"] {
        let told = findings(&check).into_iter().find(|one| one["subject"] == subject).unwrap();
        assert!(told["message"].as_str().unwrap().starts_with("the running broker of this database"), "{told}");
    }

    let other = Instance::new();
    let check = other.command(&["check", "--json"]).env("POSTPEER_SERVER__LISTEN", &listen).output().unwrap();
    assert_eq!(check.status.code(), Some(69));
    assert!(finding(&check, "listen")["message"].as_str().unwrap().starts_with("another broker"));
    let serve = other.command(&["serve"]).env("POSTPEER_SERVER__LISTEN", &listen).output().unwrap();
    assert!(refused(&serve, 69).contains("another broker listens"));
    let serve = other.command(&["serve"]).env("POSTPEER_SERVER__LISTEN", "192.0.2.1:8080").output().unwrap();
    let said = refused(&serve, 69);
    assert!(said.contains("no address 192.0.2.1: correct server.listen") && !said.contains("program"), "{said}");
}

/// The command works on another database than the broker: what it says would be untrue of the broker.
#[test]
fn a_command_beside_a_broker_with_another_database_warns() {
    let instance = Instance::new();
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let listen = broker.url().replace("http://", "");
    let commands: [&[&str]; 4] = [
        &["access-key", "list"],
        &["audit"],
        &["keyring", "rewrap"],
        &["backup", "copy.db", "--config", "postpeer.toml"],
    ];
    for (path, warns) in [("postpeer.db", false), ("other.db", true)] {
        let database = instance.path(path);
        if warns {
            fs::copy(instance.path("first.db"), &database).unwrap();
        }
        for arguments in commands {
            let mut command = instance.command(arguments);
            command.current_dir(instance.dir.path()).env("POSTPEER_SERVER__LISTEN", &listen);
            let output = command.env("POSTPEER_DATABASE__PATH", &database).output().unwrap();
            succeeded(&output);
            let said = text(&output.stderr);
            let warning =
                format!("the broker that listens on {listen} does not use the database {}", database.display());
            assert_eq!(said.contains(&warning), warns, "{arguments:?}: {said}");
        }
        fs::rename(instance.path("copy.db"), instance.path("first.db")).unwrap();
    }
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

/// The origin of a running demo's sandbox, from the URL that starts a connection.
fn sandbox(demo: &mut Running) -> String {
    use std::io::{BufRead as _, BufReader};
    let mut key = String::new();
    BufReader::new(demo.child.stdout.take().unwrap()).read_line(&mut key).unwrap();
    let answer = super::ask(&demo.url(), "GET", "/v1/connect/twitter", key.trim());
    let at = answer.find("\"url\":\"").unwrap() + 7;
    let address = answer[at..].strip_prefix("http://").unwrap().split('/').next().unwrap();
    format!("http://{address}")
}

/// A configuration for a sandbox.
fn configuration(origin: &str) -> String {
    format!("[server]\npublic_url = \"http://127.0.0.1:8080\"\n{}", postpeer::sandbox::configuration(origin))
}

#[test]
fn a_probe_tells_right_credentials_from_wrong_ones_and_begins_nothing() {
    let mut demo = Running::start(&mut postpeer(&["demo", "--listen", "127.0.0.1:0"]), "The access key:");
    let origin = sandbox(&mut demo);
    let instance = Instance::new();
    let right = configuration(&origin);
    let configure = |toml: &str| fs::write(instance.path("postpeer.toml"), toml).unwrap();
    let probed = |arguments: &[&str]| -> (Option<i32>, BTreeMap<String, (String, String)>) {
        let output = instance.run(&[&["check", "--json", "--probe"], arguments].concat());
        assert!(!text(&output.stdout).contains("not-real") && !text(&output.stderr).contains("not-real"), "a secret");
        let of_probe = findings(&output).into_iter().filter(|one| one["check"] == "probe");
        let told = of_probe.map(|one| {
            let words = |key: &str| one[key].as_str().unwrap().to_owned();
            (words("subject"), (words("severity"), format!("{} {}", words("message"), words("remedy"))))
        });
        (output.status.code(), told.collect())
    };
    configure(&right);
    let before = state(&instance);
    let (code, accepted) = probed(&[]);
    assert_eq!(code, Some(0), "{accepted:?}");
    assert!(accepted.len() >= 11 && !accepted.contains_key("bluesky"), "{accepted:?}");
    for (name, (severity, told)) in &accepted {
        assert_eq!(severity, "ok", "{name}: {told}");
        assert!(told.contains("it accepts client_id and client_secret"), "{name}: {told}");
    }
    // Without credentials, it is asked by name only.
    let (code, named) = probed(&["bluesky"]);
    assert_eq!((code, named["bluesky"].0.as_str()), (Some(0), "ok"), "{named:?}");
    assert!(state(&instance) == before, "the probe wrote something");

    configure("[server]\npublic_url = \"http://127.0.0.1:8080\"\n");
    assert_eq!(probed(&[]).0, Some(0), "nobody is asked");
    let (code, without) = probed(&["twitter"]);
    assert_eq!((code, without["twitter"].0.as_str()), (Some(78), "error"), "{without:?}");

    configure(&right.replace("-secret-not-real", "-wrong-not-real"));
    let (code, rejected) = probed(&[]);
    assert_eq!(code, Some(78), "{rejected:?}");
    for (name, (severity, told)) in &rejected {
        assert_eq!(severity, "error", "{name}: {told}");
        assert!(told.contains("it refuses") && told.contains("compare client_id and client_secret"), "{name}: {told}");
    }
    // One wrong secret of two.
    configure(&right.replace(
        "client_secret = \"sandbox-twitter-secret-not-real\"",
        "client_secrets = [\"wrong-not-real\", \"sandbox-twitter-secret-not-real\"]",
    ));
    let output = instance.run(&["check", "--probe", "twitter"]);
    assert_eq!(output.status.code(), Some(78));
    let shown = text(&output.stdout);
    assert!(shown.contains("it refuses client_id or entry 1 of client_secrets"), "{shown}");
    assert!(shown.contains("it accepts client_id and entry 2 of client_secrets"), "{shown}");
    assert!(shown.contains("callback URL") && shown.contains("console"), "{shown}");
    assert!(refused(&instance.run(&["check", "--probe", "twiter"]), 64).contains("did you mean twitter?"));
}

#[test]
fn a_probe_without_a_network_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let instance = Instance::new();
    fs::write(instance.path("postpeer.toml"), configuration(&origin)).unwrap();
    let output = instance.run(&["check", "--json", "--probe", "twitter", "bluesky"]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stdout));
    let told: Vec<Value> = findings(&output).into_iter().filter(|one| one["check"] == "probe").collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for one in told {
        assert!(one["message"].as_str().unwrap().contains("the connection was refused"), "{one}");
    }
}
