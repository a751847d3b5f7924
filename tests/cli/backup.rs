//! `backup` and `restore`: what they write, what they refuse, and that a death at any step leaves the old database or
//! the new one in place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Instance, Running, mode, refused, succeeded, text};

/// An instance with a sealed value, and a folder for its backups.
struct Kept {
    instance: Instance,
    elsewhere: TempDir,
}

impl Kept {
    fn new() -> Self {
        let kept = Self { instance: Instance::new(), elsewhere: tempfile::tempdir().unwrap() };
        let broker = kept.serve();
        let app = r#"{"platform":"twitter","name":"Mine","clientId":"c","clientSecret":"a-client-secret"}"#;
        let answer = post(&broker.url(), "/v1/apps/", &kept.instance.key, app);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert_eq!(broker.stop(Signal::TERM).0, Some(0));
        // A busy machine may end the broker before it folds its log in, which a backup then does.
        kept.instance.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        kept
    }

    fn serve(&self) -> Running {
        Running::start(&mut self.instance.command(&["serve"]), "listening")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.elsewhere.path().join(name)
    }

    /// Makes a backup of that name.
    fn backed_up(&self, name: &str) -> PathBuf {
        let file = self.file(name);
        let output = self.instance.run(&["backup", file.to_str().unwrap()]);
        assert_eq!(succeeded(&output), "");
        file
    }

    fn restore(&self, file: &Path) -> Output {
        self.instance.run(&["restore", file.to_str().unwrap()])
    }

    /// Names of the projects, in which tests leave their marks.
    fn projects(&self) -> Vec<String> {
        let listed = succeeded(&self.instance.run(&["project", "list"]));
        listed.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    }

    fn create_project(&self, name: &str) {
        succeeded(&self.instance.run(&["project", "create", name]));
    }

    /// Every file of the instance but its lock, with its contents.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files(self.instance.dir.path()).into_iter().filter(|(name, _)| name != "postpeer.db.lock").collect()
    }

    /// Asserts that a restore is refused with this code and changes nothing. Returns what it said.
    #[track_caller]
    fn refuses(&self, file: &Path, code: i32) -> String {
        let before = self.files();
        let said = refused(&self.restore(file), code);
        assert_unchanged(&before, &self.files(), &said);
        said
    }

    /// The database that a restore kept.
    fn replaced(&self) -> PathBuf {
        let name =
            self.files().into_keys().find(|name| name.contains(".replaced-") && !name.ends_with("-wal")).unwrap();
        self.instance.path(&name)
    }
}

/// Fails unless all files are as they were.
#[track_caller]
fn assert_unchanged(before: &BTreeMap<String, Vec<u8>>, now: &BTreeMap<String, Vec<u8>>, said: &str) {
    assert_eq!(now.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{said}");
    let changed: Vec<_> = before.iter().filter(|(name, bytes)| now[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(changed.is_empty(), "{changed:?} changed: {said}");
}

/// A backup changes nothing but the audit trail, which tells of it.
#[track_caller]
fn assert_only_told(before: &BTreeMap<String, Vec<u8>>, now: &BTreeMap<String, Vec<u8>>, said: &str) {
    let without = |files: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files.clone().into_iter().filter(|(name, _)| name != "postpeer.db").collect()
    };
    assert_unchanged(&without(before), &without(now), said);
    assert_ne!(before.get("postpeer.db"), now.get("postpeer.db"), "the trail does not tell of it");
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
}

/// The answer to a request with a JSON body.
fn post(url: &str, target: &str, key: &str, body: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nhost: {address}\r\nx-access-key: {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_backup_is_private_and_never_replaces_a_file() {
    let kept = Kept::new();
    let before = kept.files();
    let file = kept.file("one.db");
    let output = kept.instance.run(&["backup", file.to_str().unwrap()]);
    assert_eq!(succeeded(&output), "", "a backup has no result on standard output");
    let said = text(&output.stderr);
    assert!(said.contains("all 1 sealed values open") && said.contains("postpeer.keyring"), "{said}");
    assert!(!said.contains("Warning"), "{said}");
    assert_eq!(mode(&file), 0o600);
    assert_only_told(&before, &kept.files(), said);

    let whole = fs::read(&file).unwrap();
    let said = refused(&kept.instance.run(&["backup", file.to_str().unwrap()]), 73);
    assert!(said.contains("one.db"), "{said}");
    std::os::unix::fs::symlink("nowhere", kept.file("link.db")).unwrap();
    refused(&kept.instance.run(&["backup", kept.file("link.db").to_str().unwrap()]), 73);
    assert!(fs::read(&file).unwrap() == whole);
    fs::remove_file(kept.file("link.db")).unwrap();
    assert_eq!(files(kept.elsewhere.path()).len(), 1, "something is left over");

    let beside = kept.instance.path("beside.db");
    let output = kept.instance.run(&["backup", beside.to_str().unwrap()]);
    succeeded(&output);
    assert!(text(&output.stderr).contains("Warning: the keyring"), "{}", text(&output.stderr));
}

#[test]
fn standard_output_carries_the_backup_and_nothing_else() {
    let kept = Kept::new();
    let before = kept.files();
    let output = kept.instance.run(&["backup", "-"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_only_told(&before, &kept.files(), text(&output.stderr));
    let file = kept.file("piped.db");
    fs::write(&file, &output.stdout).unwrap();
    succeeded(&kept.restore(&file));

    let mut cut = kept.instance.command(&["backup", "-"]);
    cut.stdout(Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap()));
    let said = refused(&cut.output().unwrap(), 74);
    assert!(said.contains("standard output"), "{said}");
}

#[test]
fn a_backup_beside_a_busy_broker_is_whole_and_fails_no_request() {
    let kept = Kept::new();
    let broker = kept.serve();
    let (url, key, is_over) = (broker.url(), &kept.instance.key, AtomicBool::new(false));
    let profiles = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut made = 0;
            while !is_over.load(Ordering::Relaxed) {
                let answer = post(&url, "/v1/profiles/", key, &format!(r#"{{"name":"profile {made}"}}"#));
                assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
                made += 1;
            }
            made
        });
        for number in 0..5 {
            kept.backed_up(&format!("{number}.db"));
        }
        is_over.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    // Of a broker that was killed, the backup has the log as well.
    broker.signal(Signal::KILL);
    drop(broker);
    assert!(kept.instance.path("postpeer.db-wal").exists(), "the log was folded in");
    let count = |file: &Path| -> u32 {
        let db = rusqlite::Connection::open(file).unwrap();
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        db.query_row("SELECT count(*) FROM profiles", [], |row| row.get(0)).unwrap()
    };
    let counts: Vec<u32> = (0..5).map(|number| count(&kept.file(&format!("{number}.db")))).collect();
    assert!(counts.is_sorted() && counts[4] <= profiles, "{counts:?} of {profiles}");
    assert_eq!(count(&kept.backed_up("killed.db")), profiles);
}

#[test]
fn what_cannot_be_backed_up_is_refused() {
    let whole = Kept::new();
    let refuses = |kept: &Kept, code: i32| {
        let before = kept.files();
        let said = refused(&kept.instance.run(&["backup", kept.file("no.db").to_str().unwrap()]), code);
        assert_unchanged(&before, &kept.files(), &said);
        assert!(files(kept.elsewhere.path()).is_empty(), "something is left over");
        said
    };
    let nowhere = whole.instance.run(&["backup", whole.file("none/no.db").to_str().unwrap()]);
    let said = refused(&nowhere, 74);
    assert!(said.contains("there is no folder") && !said.contains("unfinished"), "{said}");
    whole.instance.sql("PRAGMA application_id = 1");
    refuses(&whole, 65);
    whole.instance.sql("PRAGMA application_id = 1347445362; PRAGMA user_version = 999");
    assert!(refuses(&whole, 65).contains("999"));

    let damaged = Kept::new();
    let mut bytes = damaged.instance.database();
    let page = bytes.len() / 4096 / 2;
    bytes[page * 4096..(page + 1) * 4096].fill(0x55);
    fs::write(damaged.instance.path("postpeer.db"), bytes).unwrap();
    let said = refuses(&damaged, 65);
    assert!(said.contains("postpeer.db") && said.contains("postpeer restore"), "{said}");

    let locked = Kept::new();
    let keyring = locked.instance.path("postpeer.keyring");
    fs::copy(Instance::new().path("postpeer.keyring"), &keyring).unwrap();
    refuses(&locked, 78);
    fs::remove_file(&keyring).unwrap();
    refuses(&locked, 78);
    fs::remove_file(locked.instance.path("postpeer.db")).unwrap();
    fs::copy(whole.instance.path("postpeer.keyring"), &keyring).unwrap();
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refuses(&locked, 66).contains("postpeer restore"));
}

#[test]
fn a_backup_with_values_that_do_not_open_is_made_and_told() {
    let kept = Kept::new();
    kept.instance
        .sql("UPDATE oauth_apps SET client_secret = CAST(substr(client_secret, 1, 44) || x'ffffffff' AS BLOB)");
    let file = kept.file("odd.db");
    let said = refused(&kept.instance.run(&["backup", file.to_str().unwrap()]), 65);
    assert!(said.contains("was made") && said.contains("1 of its 1") && said.contains("row app_"), "{said}");
    assert!(kept.refuses(&file, 65).contains("--accept-unreadable"));
    let output = kept.instance.run(&["restore", "--accept-unreadable", file.to_str().unwrap()]);
    succeeded(&output);
    assert!(text(&output.stderr).contains("Warning: 1 of its 1"), "{}", text(&output.stderr));
}

#[test]
fn a_restore_keeps_what_it_replaces_and_revokes_again() {
    let kept = Kept::new();
    kept.create_project("before");
    let made = |name: &str| succeeded(&kept.instance.run(&["access-key", "create", "--name", name])).trim().to_owned();
    let (leaked, used) = (made("leaked"), made("used"));
    let file = kept.backed_up("one.db");
    let backup = fs::read(&file).unwrap();
    kept.create_project("after");
    let later = made("later");
    let keys = succeeded(&kept.instance.run(&["access-key", "list"]));
    let id = keys.lines().find(|line| line.contains("leaked")).unwrap().split_whitespace().next().unwrap().to_owned();
    succeeded(&kept.instance.run(&["access-key", "revoke", &id]));

    let broker = kept.serve();
    let said = refused(&kept.restore(&file), 75);
    assert!(said.contains(&broker.child.id().to_string()), "{said}");
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
    assert_eq!(kept.projects(), ["default", "before", "after"]);

    let output = kept.restore(&file);
    assert_eq!(succeeded(&output), "");
    let said = text(&output.stderr);
    for told in ["It was taken at 20", ".replaced-20", "revoked here too: 1.", "without keys that work", "reconnected"]
    {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("Warning"), "{said}");
    assert!(fs::read(&file).unwrap() == backup, "the backup was changed");
    assert_eq!(kept.projects(), ["default", "before"]);
    assert_eq!(mode(&kept.instance.path("postpeer.db")), 0o600);

    let broker = kept.serve();
    let status = |key: &str| super::status_line(&broker.url(), key).split(' ').nth(1).unwrap().to_owned();
    assert_eq!([&leaked, &used, &later].map(|key| status(key)), ["401", "200", "401"]);
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));

    let replaced = kept.replaced();
    assert_eq!(mode(&replaced), 0o600);
    let output = kept.restore(&replaced);
    succeeded(&output);
    let said = text(&output.stderr);
    assert!(said.contains("does not say when it was taken") && said.contains("-wal"), "{said}");
    assert!(!said.contains("It was taken at"), "{said}");
    assert_eq!(kept.projects(), ["default", "before", "after"], "the way back");
}

/// Without the database from before, nothing tells what was revoked since the backup.
#[test]
fn a_restore_says_so_where_revoked_keys_work_again() {
    let instance = Instance::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("one.db").to_str().unwrap().to_owned();
    succeeded(&instance.run(&["backup", &file]));
    let id = succeeded(&instance.run(&["access-key", "list"]));
    let id = id.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let database = instance.path("postpeer.db");
    let cases: [(&str, &dyn Fn()); 3] = [
        ("no database in its place", &|| fs::remove_file(&database).unwrap()),
        ("but another one", &|| {
            fs::remove_file(&database).unwrap();
            succeeded(&instance.run(&["init"]));
        }),
        ("The damaged database", &|| fs::write(&database, "damaged").unwrap()),
    ];
    for (told, lose) in cases {
        succeeded(&instance.run(&["access-key", "revoke", &id]));
        lose();
        let output = instance.run(&["restore", &file]);
        succeeded(&output);
        let said = text(&output.stderr);
        assert!(said.contains(told), "{told}: {said}");
        assert!(said.contains("Access keys and connect links that were revoked work again"), "{told}: {said}");
        assert!(!said.contains("without keys that work"), "{told}: {said}");
        let broker = Running::start(&mut instance.command(&["serve"]), "listening");
        assert!(super::status_line(&broker.url(), &instance.key).contains("200"), "{told}");
        assert_eq!(broker.stop(Signal::TERM).0, Some(0));
    }
}

#[test]
fn a_restore_says_so_where_a_replaced_data_key_is_active_again() {
    let instance = Instance::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let [older, newer] = ["older.db", "newer.db"].map(|name| elsewhere.path().join(name).to_str().unwrap().to_owned());
    succeeded(&instance.run(&["backup", &older]));
    succeeded(&instance.run(&["keyring", "rotate"]));
    succeeded(&instance.run(&["keyring", "retire", "1"]));
    succeeded(&instance.run(&["backup", &newer]));
    for (file, is_told) in [(&newer, false), (&older, true), (&newer, false)] {
        let output = instance.run(&["restore", file]);
        succeeded(&output);
        let said = text(&output.stderr);
        assert_eq!(said.contains("Warning: data key 1 is active again"), is_told, "{file}: {said}");
    }
}

#[test]
fn a_refused_restore_leaves_no_lock_where_no_database_is() {
    let kept = Kept::new();
    let file = kept.backed_up("one.db");
    for name in ["postpeer.db", "postpeer.db.lock"] {
        fs::remove_file(kept.instance.path(name)).unwrap();
    }
    fs::copy(Instance::new().path("postpeer.keyring"), kept.instance.path("postpeer.keyring")).unwrap();
    let before = files(kept.instance.dir.path());
    let said = refused(&kept.restore(&file), 78);
    assert!(said.contains("Nothing was changed"), "{said}");
    assert_unchanged(&before, &files(kept.instance.dir.path()), &said);
}

#[test]
fn a_restore_that_cannot_work_is_refused_and_changes_nothing() {
    let kept = Kept::new();
    let file = kept.backed_up("good.db");
    let good = fs::read(&file).unwrap();
    let bad = kept.file("bad.db");
    let refuse = |what: &str, bytes: &[u8], code: i32| {
        fs::write(&bad, bytes).unwrap();
        let said = kept.refuses(&bad, code);
        assert!(said.contains("bad.db") && said.contains("othing was changed"), "{what}: {said}");
        said
    };
    refuse("empty", b"", 65);
    refuse("text", &b"this is no database ".repeat(300), 65);
    for share in [10, 50, 90, 99] {
        refuse("cut short", &good[..good.len() * share / 100], 65);
    }
    let changed = |sql: &str| {
        let path = kept.file("changed.db");
        fs::write(&path, &good).unwrap();
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap();
        db.close().unwrap();
        fs::read(&path).unwrap()
    };
    assert!(refuse("newer", &changed("PRAGMA user_version = 999"), 65).contains("999"));
    refuse("another program's", &changed("PRAGMA application_id = 7"), 65);
    refuse(
        "an index that lacks rows",
        &changed(
            "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET rootpage = (SELECT \
        rootpage FROM sqlite_schema WHERE name = 'grants_by_app') WHERE name = 'oauth_apps_by_client'",
        ),
        65,
    );
    refuse("no row", &changed("DELETE FROM meta"), 65);
    fs::remove_file(&bad).unwrap();

    assert!(kept.refuses(&kept.file("none.db"), 66).contains("none.db"));
    kept.refuses(&kept.instance.path("postpeer.db"), 64);
    let pipe = kept.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for odd in [&pipe, kept.elsewhere.path()] {
        assert!(kept.refuses(odd, 64).contains("is not a file"), "{}", odd.display());
    }
    fs::remove_file(&pipe).unwrap();
    let other = Kept::new();
    let said = kept.refuses(&other.backed_up("theirs.db"), 78);
    let id = |kept: &Kept| {
        let keyring = fs::read_to_string(kept.instance.path("postpeer.keyring")).unwrap();
        keyring.lines().find_map(|line| line.strip_prefix("active = ").map(str::to_owned)).unwrap()
    };
    assert!(said.contains(&id(&kept)) && said.contains(&id(&other)) && said.contains("keyring"), "{said}");
    kept.instance.sql("PRAGMA application_id = 7");
    kept.refuses(&file, 65);
}

/// A flipped bit is noticed wherever SQLite or a seal can notice it, and never brings anything else down.
#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let kept = Kept::new();
    let good = fs::read(kept.backed_up("good.db")).unwrap();
    let secret = {
        let db = rusqlite::Connection::open(kept.file("good.db")).unwrap();
        db.query_row("SELECT client_secret FROM oauth_apps", [], |row| row.get::<_, Vec<u8>>(0)).unwrap()
    };
    let sealed_at = good.windows(secret.len()).position(|window| window == secret).unwrap();
    let file = kept.file("flipped.db");
    let step = good.len() / 40;
    let places = (0..40).map(|number| number * step).chain([sealed_at + 30, sealed_at + secret.len() - 1]);
    let before = kept.files();
    for at in places {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        let output = kept.restore(&file);
        let code = output.status.code();
        if at >= sealed_at && at < sealed_at + secret.len() {
            assert_eq!(code, Some(65), "byte {at}: {}", text(&output.stderr));
        }
        match code {
            Some(65 | 78) => assert_unchanged(&before, &kept.files(), &format!("byte {at}")),
            Some(0) => {
                // Free space, or a text that no seal covers. The database still serves.
                let broker = kept.serve();
                assert_eq!(broker.stop(Signal::TERM).0, Some(0), "byte {at}");
                for (name, _) in kept.files() {
                    fs::remove_file(kept.instance.path(&name)).unwrap();
                }
                for (name, bytes) in &before {
                    fs::write(kept.instance.path(name), bytes).unwrap();
                    fs::set_permissions(kept.instance.path(name), fs::Permissions::from_mode(0o600)).unwrap();
                }
            }
            _ => panic!("byte {at}: {code:?} {}", text(&output.stderr)),
        }
    }
}

#[test]
fn a_restore_replaces_a_missing_and_a_damaged_database() {
    let kept = Kept::new();
    kept.create_project("mark");
    let file = kept.backed_up("one.db");
    fs::remove_file(kept.instance.path("postpeer.db")).unwrap();
    let output = kept.restore(&file);
    succeeded(&output);
    assert!(text(&output.stderr).contains("no database in its place"));
    assert_eq!(kept.projects(), ["default", "mark"]);

    fs::write(kept.instance.path("postpeer.db"), "damaged").unwrap();
    fs::write(kept.instance.path("postpeer.db-wal"), "its log").unwrap();
    let output = kept.restore(&file);
    succeeded(&output);
    assert!(text(&output.stderr).contains("access-key list"), "{}", text(&output.stderr));
    assert_eq!(kept.projects(), ["default", "mark"]);
    let replaced = kept.replaced();
    assert_eq!(fs::read(&replaced).unwrap(), b"damaged");
    assert_eq!(fs::read(format!("{}-wal", replaced.display())).unwrap(), b"its log");

    fs::remove_file(kept.instance.path("postpeer.db")).unwrap();
    fs::write(kept.instance.path("postpeer.db-wal"), "a log of nothing").unwrap();
    assert!(kept.refuses(&file, 73).contains("postpeer.db-wal"));
}

#[test]
fn a_database_that_another_program_has_open_is_not_replaced() {
    let kept = Kept::new();
    let file = kept.backed_up("one.db");
    let shell = rusqlite::Connection::open(kept.instance.path("postpeer.db")).unwrap();
    let _: u32 = shell.query_row("SELECT count(*) FROM projects", [], |row| row.get(0)).unwrap();
    let said = refused(&kept.restore(&file), 75);
    assert!(said.contains("another program"), "{said}");
    drop(shell);
    succeeded(&kept.restore(&file));
}

/// The log of a command that opened the old file would be played into the new one.
#[test]
fn a_restore_and_a_command_never_have_the_database_at_the_same_time() {
    let kept = Kept::new();
    let file = kept.backed_up("one.db");
    let folder = fs::File::open(kept.instance.dir.path()).unwrap();
    folder.lock_shared().unwrap();
    kept.create_project("beside another command");
    assert!(kept.refuses(&file, 75).contains("another command of postpeer"));
    folder.unlock().unwrap();

    folder.lock().unwrap();
    for command in [&["project", "create", "x"][..], &["access-key", "list"], &["backup", "/dev/shm/never-made.db"]] {
        let said = refused(&kept.instance.run(command), 75);
        assert!(said.contains("`postpeer restore` is replacing a database"), "{said}");
    }
    folder.unlock().unwrap();
    succeeded(&kept.restore(&file));
    assert_eq!(kept.projects(), ["default"]);
}

#[test]
fn a_backup_is_no_file_of_the_database() {
    let kept = Kept::new();
    let before = kept.files();
    let refuse = || {
        for ending in ["", "-wal", "-shm", "-journal", ".lock", ".ballast", ".new", ".restoring"] {
            let name = format!("postpeer.db{ending}");
            let said = refused(&kept.instance.run(&["backup", kept.instance.path(&name).to_str().unwrap()]), 64);
            assert!(said.contains("belongs to the database"), "{said}");
        }
    };
    refuse();
    assert_unchanged(&before, &kept.files(), "");
    let broker = kept.serve();
    refuse();
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

#[test]
fn a_restore_that_dies_leaves_the_old_database_or_the_new_one_and_can_be_repeated() {
    for (place, survivor) in
        [("restore_copied", "old"), ("restore_prepared", "old"), ("restore_ready", "old"), ("restore_in_place", "new")]
    {
        let kept = Kept::new();
        kept.create_project("new");
        let file = kept.backed_up("one.db");
        kept.create_project("old");
        let died =
            kept.instance.command(&["restore", file.to_str().unwrap()]).env("FAILPOINT", place).output().unwrap();
        assert_eq!(died.status.code(), None, "{place}: it did not die: {}", text(&died.stderr));
        let expected: &[&str] = if survivor == "old" { &["default", "new", "old"] } else { &["default", "new"] };
        assert_eq!(kept.projects(), expected, "{place}");
        assert_eq!(kept.serve().stop(Signal::TERM).0, Some(0), "{place}");
        succeeded(&kept.restore(&file));
        assert_eq!(kept.projects(), ["default", "new"], "{place}");
        assert!(!kept.instance.path("postpeer.db.restoring").exists(), "{place}");
    }
    let kept = Kept::new();
    let file = kept.backed_up("one.db");
    fs::write(kept.instance.path("postpeer.db"), "damaged").unwrap();
    fs::write(kept.instance.path("postpeer.db-wal"), "its log").unwrap();
    let mut dying = kept.instance.command(&["restore", file.to_str().unwrap()]);
    assert_eq!(dying.env("FAILPOINT", "restore_log_moved").output().unwrap().status.code(), None);
    assert_eq!(kept.instance.database(), b"damaged");
    assert!(!kept.instance.path("postpeer.db-wal").exists());
    succeeded(&kept.restore(&file));
    assert_eq!(kept.projects(), ["default"]);
}

#[test]
fn a_backup_that_dies_leaves_no_file_of_its_name() {
    let kept = Kept::new();
    let file = kept.file("one.db");
    let mut dying = kept.instance.command(&["backup", file.to_str().unwrap()]);
    assert_eq!(dying.env("FAILPOINT", "backup_checked").output().unwrap().status.code(), None);
    assert!(!file.exists());
    kept.backed_up("one.db");
}

#[test]
fn a_restored_database_of_another_broker_is_told() {
    let (ours, theirs) = (Kept::new(), Kept::new());
    let file = ours.backed_up("one.db");
    for name in ["postpeer.keyring", "postpeer.db"] {
        fs::copy(theirs.instance.path(name), ours.instance.path(&format!("their-{name}"))).unwrap();
    }
    fs::copy(ours.instance.path("their-postpeer.db"), ours.instance.path("postpeer.db")).unwrap();
    let output = ours.restore(&file);
    succeeded(&output);
    assert!(text(&output.stderr).contains("but another one"), "{}", text(&output.stderr));
}
