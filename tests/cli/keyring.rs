//! `postpeer keyring`: replaces and recovers keys with a broker and without one. Killed after any step, it is run
//! again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustix::process::Signal;

use super::{Instance, Running, postpeer, refused, succeeded, text};

impl Instance {
    /// Id, state and number of values of each data key.
    fn keys(&self) -> Vec<(String, String, u64)> {
        let status = succeeded(&self.run(&["keyring", "status", "--json"]));
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let keys = status.get("keys").unwrap().as_array().unwrap().iter();
        keys.map(|key| {
            assert!(key.get("createdAt").unwrap().as_str().unwrap().ends_with('Z'), "{key}");
            assert_eq!(key.as_object().unwrap().len(), 5, "{key}");
            assert!(key.get("wrappedBy").unwrap().as_str().unwrap().starts_with('k'), "{key}");
            let word = |name: &str| key.get(name).unwrap().as_str().unwrap().to_owned();
            (word("id"), word("state"), key.get("values").unwrap().as_u64().unwrap())
        })
        .collect()
    }

    /// Ids of the keys in the keyring file, and the active one.
    pub(crate) fn keyring_ids(&self) -> (Vec<String>, String) {
        let text = fs::read_to_string(self.path("postpeer.keyring")).unwrap();
        let ids = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        let active = text.lines().find_map(|line| line.strip_prefix("active = ")).unwrap().to_owned();
        (ids.map(|(id, _)| id.to_owned()).collect(), active)
    }

    /// Asserts that the command aborts at the failpoint.
    fn dies_at(&self, place: &str, arguments: &[&str]) {
        let output = self.command(arguments).env("FAILPOINT", place).output().unwrap();
        assert_eq!(output.status.code(), None, "{place}: {}", text(&output.stderr));
    }

    /// Asserts that a broker starts, and is ready.
    fn serves(&self) {
        let broker = Running::start(&mut self.command(&["serve"]), "listening");
        succeeded(&postpeer(&["healthcheck", "--url", &broker.url()]).output().unwrap());
        assert_eq!(broker.stop(Signal::TERM).0, Some(0));
    }

    /// An instance with a recovery key, which is a sealed value.
    pub(crate) fn recoverable() -> (Self, tempfile::TempDir) {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let recovery = elsewhere.path().join("postpeer.recovery");
        let (path, file) = (dir.path().to_str().unwrap(), recovery.to_str().unwrap());
        let output = postpeer(&["init", "--dir", path, "--recovery-key", file]).output().unwrap();
        let key = succeeded(&output).trim().to_owned();
        assert!(!text(&output.stderr).contains("warning"), "{}", text(&output.stderr));
        assert_eq!(fs::metadata(&recovery).unwrap().permissions().mode() & 0o7777, 0o600);
        (Self { dir, key }, elsewhere)
    }
}

fn key(id: &str, state: &str, values: u64) -> (String, String, u64) {
    (id.to_owned(), state.to_owned(), values)
}

/// The recovery key is a sealed value, and the access key has a code.
#[test]
fn a_rotation_without_a_broker_re_seals_and_the_old_key_can_go() {
    let (instance, _elsewhere) = Instance::recoverable();
    assert_eq!(instance.keys(), [key("1", "active", 2)]);
    refused(&instance.run(&["keyring", "retire", "1"]), 64);
    let output = instance.run(&["keyring", "rotate"]);
    assert_eq!(succeeded(&output).trim(), "2");
    assert!(text(&output.stderr).contains("`postpeer keyring retire 1`"), "{}", text(&output.stderr));
    assert_eq!(instance.keys(), [key("1", "old", 0), key("2", "active", 2)]);
    instance.serves();
    succeeded(&instance.run(&["keyring", "retire", "1"]));
    refused(&instance.run(&["keyring", "retire", "1"]), 64);
    assert_eq!(instance.keys(), [key("2", "active", 2)]);
    assert_eq!(succeeded(&instance.run(&["keyring", "rotate"])).trim(), "3");
    let table = instance.run(&["keyring", "status"]);
    assert!(text(&table.stderr).contains("Recovery key: r1"), "{}", text(&table.stderr));
    let table = succeeded(&table);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.lines().nth(2).unwrap().starts_with("3   active  "), "{table}");
    instance.serves();
}

#[test]
fn a_rotation_that_dies_at_any_step_is_continued() {
    for (place, then) in [
        ("rotate_stored", [key("1", "active", 2), key("2", "old", 0)]),
        ("rotate_activated", [key("1", "old", 2), key("2", "active", 0)]),
        ("reseal_written", [key("1", "old", 2), key("2", "active", 0)]),
        ("reseal_committed", [key("1", "old", 1), key("2", "active", 1)]),
    ] {
        let (instance, _elsewhere) = Instance::recoverable();
        instance.dies_at(place, &["keyring", "rotate"]);
        assert_eq!(instance.keys(), then, "{place}");
        let refusal = instance.run(&["keyring", "retire", "2"]);
        assert!(refused(&refusal, 64).contains("rotat"), "{place}: {}", text(&refusal.stderr));
        let output = instance.run(&["keyring", "rotate"]);
        succeeded(&output);
        let continues = text(&output.stderr).contains("Continued a rotation");
        assert_eq!(continues, place != "rotate_stored", "{place}: {}", text(&output.stderr));
        assert_eq!(instance.keys(), [key("1", "old", 0), key("2", "active", 2)], "{place}");
        succeeded(&instance.run(&["keyring", "retire", "1"]));
        instance.serves();
    }
}

#[test]
fn a_running_broker_takes_a_new_key_and_re_seals() {
    let (instance, _elsewhere) = Instance::recoverable();
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let output = instance.run(&["keyring", "rotate"]);
    assert_eq!(succeeded(&output).trim(), "2");
    assert!(text(&output.stderr).contains("running broker"), "{}", text(&output.stderr));
    // It looks every second.
    let patience = (0..600).find(|_| {
        std::thread::sleep(Duration::from_millis(50));
        instance.keys() == [key("1", "old", 0), key("2", "active", 2)]
    });
    assert!(patience.is_some(), "{:?}", instance.keys());
    let said = refused(&instance.run(&["keyring", "retire", "1"]), 64);
    assert!(said.contains("running broker"), "{said}");
    let (code, said) = broker.stop(Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(said.contains("the data keys have changed"), "{said}");
    succeeded(&instance.run(&["keyring", "retire", "1"]));
    instance.serves();
}

#[test]
fn the_keyring_files_key_is_replaced_and_each_step_can_be_cut_off() {
    for place in ["", "rewrap_file_replaced", "rewrap_stored"] {
        let (instance, _elsewhere) = Instance::recoverable();
        let first = instance.keyring_ids().1;
        let before = fs::read(instance.path("postpeer.keyring")).unwrap();
        let output = instance.run(&["keyring", "rewrap"]);
        succeeded(&output);
        assert_eq!(fs::read(instance.path("postpeer.keyring")).unwrap(), before, "nothing to do");
        let rewrap = ["keyring", "rewrap", "--new-key"];
        if !place.is_empty() {
            instance.dies_at(place, &rewrap);
            instance.serves();
        }
        if place != "rewrap_stored" {
            succeeded(&instance.run(&rewrap));
        }
        let (ids, active) = instance.keyring_ids();
        assert_eq!(ids.len(), 2, "{place}: one new key");
        assert_ne!(active, first, "{place}");
        instance.serves();

        refused(&instance.run(&["keyring", "retire", &active]), 64);
        refused(&instance.run(&["keyring", "retire", "k1ffffffffffffff"]), 64);
        let status = succeeded(&instance.run(&["keyring", "status"]));
        assert!(status.contains(&active) && !status.contains(&first), "{status}");
        succeeded(&instance.run(&["keyring", "retire", &first]));
        assert_eq!(instance.keyring_ids(), (vec![active.clone()], active), "{place}");
        instance.serves();

        fs::write(instance.path("postpeer.keyring"), &before).unwrap();
        assert!(instance.refuses_to_serve(78).contains(&first), "{place}: the old file does not open it any more");
    }
}

#[test]
fn a_keyring_key_that_a_copy_of_the_database_needs_is_kept() {
    let instance = Instance::new();
    let first = instance.keyring_ids().1;
    fs::copy(instance.path("postpeer.db"), instance.path("postpeer.db.before-v12")).unwrap();
    let backups = instance.path("backups");
    fs::create_dir(&backups).unwrap();
    fs::write(backups.join("notes.txt"), "no database").unwrap();
    let back_up = |name: &str| succeeded(&instance.run(&["backup", backups.join(name).to_str().unwrap()]));
    back_up("old.db");
    succeeded(&instance.run(&["keyring", "rewrap", "--new-key"]));
    fs::copy(instance.path("postpeer.db"), instance.path("postpeer.db.before-v13")).unwrap();
    back_up("new.db");
    // Restoring the old backup leaves a database that the new key opens; going back leaves one that the old key opens.
    succeeded(&instance.run(&["restore", backups.join("old.db").to_str().unwrap()]));
    succeeded(&instance.run(&["restore", backups.join("new.db").to_str().unwrap()]));
    let mut replaced: Vec<String> = fs::read_dir(instance.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".replaced-"))
        .collect();
    replaced.sort();
    let retire = || instance.command(&["keyring", "retire", &first]);
    let said = refused(&retire().env("POSTPEER_BACKUP__DIR", &backups).output().unwrap(), 64);
    assert_eq!(replaced.iter().filter(|name| said.contains(&format!("{name},"))).count(), 1, "{said}: {replaced:?}");
    assert!(said.contains("before-v12") && !said.contains("before-v13"), "{said}");
    assert!(said.contains("old.db") && !said.contains("new.db") && !said.contains("notes"), "{said}");
    fs::remove_file(instance.path("postpeer.db.before-v12")).unwrap();
    refused(&retire().env("POSTPEER_BACKUP__DIR", &backups).output().unwrap(), 64);
    succeeded(&instance.run(&["keyring", "retire", &first, "--despite-copies"]));
    assert_eq!(instance.keyring_ids().0.len(), 1);
}

#[test]
fn a_lost_keyring_is_recovered_and_each_step_can_be_cut_off() {
    for place in ["", "recover_written", "recover_stored"] {
        let (instance, elsewhere) = Instance::recoverable();
        let recovery = elsewhere.path().join("postpeer.recovery");
        let recover = ["keyring", "recover", recovery.to_str().unwrap()];
        succeeded(&instance.run(&["keyring", "rotate"]));
        let said = refused(&instance.run(&recover), 73);
        assert!(said.contains("nothing to recover"), "{said}");
        let lost = instance.path("postpeer.keyring");
        fs::remove_file(&lost).unwrap();
        assert!(instance.refuses_to_serve(78).contains("keyring"));
        if !place.is_empty() {
            instance.dies_at(place, &recover);
            assert!(!lost.exists(), "{place}: a keyring that is not complete");
        }
        succeeded(&instance.run(&recover));
        assert_eq!(fs::metadata(&lost).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(!instance.path("postpeer.keyring.new").exists());
        assert_eq!(instance.keys(), [key("1", "old", 0), key("2", "active", 2)], "{place}");
        instance.serves();
        // The recovery key stays in force.
        assert_eq!(succeeded(&instance.run(&["keyring", "rotate"])).trim(), "3");
        fs::remove_file(&lost).unwrap();
        succeeded(&instance.run(&recover));
        instance.serves();
    }
}

/// Of two commands that make a keyring at once, the one that succeeds leaves one that opens the database.
#[test]
fn two_recoveries_at_once_leave_a_keyring_that_opens_the_database() {
    let (instance, elsewhere) = Instance::recoverable();
    let recovery = elsewhere.path().join("postpeer.recovery");
    let recover = ["keyring", "recover", recovery.to_str().unwrap()];
    for round in 0..10 {
        fs::remove_file(instance.path("postpeer.keyring")).unwrap();
        let others = [(); 2].map(|()| instance.command(&recover).spawn().unwrap());
        let outputs = others.map(|other| other.wait_with_output().unwrap());
        let ended = outputs.each_ref().map(|output| (output.status.code(), text(&output.stderr)));
        assert!(ended.iter().any(|(code, _)| *code == Some(0)), "{round}: {ended:?}");
        // A success is one only if the keyring opens the database.
        succeeded(&instance.run(&["keyring", "status"]));
        assert!(!instance.path("postpeer.keyring.new").exists(), "{round}: {ended:?}");
    }
}

#[test]
fn a_forgetting_that_was_cut_off_is_finished_and_erases_nothing_more() {
    let instance = Instance::new();
    let copies = || {
        let entries = fs::read_dir(instance.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_str().unwrap().contains(".before-forget-")).count()
    };
    let forget = ["keyring", "forget", "--yes"];
    fs::remove_file(instance.path("postpeer.keyring")).unwrap();
    instance.dies_at("forget_stored", &forget);
    assert!(!instance.path("postpeer.keyring").exists());
    let output = instance.run(&forget);
    succeeded(&output);
    assert!(text(&output.stderr).contains("Nothing else was done"), "{}", text(&output.stderr));
    assert_eq!(copies(), 1, "the second copy would be one of an erased database");
    instance.serves();
}

/// The access keys too, but for those that were revoked before.
#[test]
fn a_keyring_that_is_found_again_brings_back_what_was_forgotten() {
    let instance = Instance::new();
    let revoked = succeeded(&instance.run(&["access-key", "create", "--name", "revoked"])).trim().to_owned();
    let keyring = instance.path("postpeer.keyring");
    let found = instance.path("found.keyring");
    fs::copy(&keyring, &found).unwrap();
    let listed = succeeded(&instance.run(&["access-key", "list"]));
    let id = listed.lines().find(|line| line.contains("revoked")).unwrap().split_whitespace().next().unwrap();
    succeeded(&instance.run(&["access-key", "revoke", id]));
    fs::remove_file(&keyring).unwrap();
    let output = instance.run(&["keyring", "forget", "--yes"]);
    succeeded(&output);
    assert!(text(&output.stderr).contains("`postpeer restore"), "{}", text(&output.stderr));
    let copy = fs::read_dir(instance.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let copy = copy.filter(|path| path.to_str().unwrap().contains(".before-forget-")).last().unwrap();

    fs::rename(&found, &keyring).unwrap();
    let output = instance.run(&["restore", copy.to_str().unwrap()]);
    succeeded(&output);
    assert!(!text(&output.stderr).contains("revoked here too"), "{}", text(&output.stderr));
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let works = |key: &str| super::status_line(&broker.url(), key).contains("200");
    assert!(works(&instance.key) && !works(&revoked));
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

#[test]
fn only_the_databases_own_recovery_key_recovers_it() {
    let (instance, elsewhere) = Instance::recoverable();
    let (_other, others) = Instance::recoverable();
    let file = |dir: &tempfile::TempDir| dir.path().join("postpeer.recovery").to_str().unwrap().to_owned();
    let keyring = instance.path("postpeer.keyring");

    fs::copy(Instance::new().path("postpeer.keyring"), &keyring).unwrap();
    let foreign = fs::read(&keyring).unwrap();
    assert!(refused(&instance.run(&["keyring", "recover", &file(&elsewhere)]), 73).contains("in the way"));
    assert_eq!(fs::read(&keyring).unwrap(), foreign);
    fs::remove_file(&keyring).unwrap();

    let before = instance.database();
    let said = refused(&instance.run(&["keyring", "recover", &file(&others)]), 78);
    assert!(said.contains("not wrapped for this recovery key"), "{said}");
    refused(&instance.run(&["keyring", "recover", "/nonexistent"]), 78);
    assert!(!keyring.exists());
    assert_eq!(instance.database(), before);

    succeeded(&instance.run(&["keyring", "recover", &file(&elsewhere)]));
    // A new recovery key ends the one before.
    let newer = elsewhere.path().join("newer").to_str().unwrap().to_owned();
    let output = instance.run(&["keyring", "rewrap", "--recovery-key", &newer]);
    succeeded(&output);
    assert!(text(&output.stderr).contains("the one before, run `postpeer keyring rotate`"), "{}", text(&output.stderr));
    let status = succeeded(&instance.run(&["keyring", "status", "--json"]));
    let id = status.split("\"recoveryKey\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(text(&output.stderr).contains(&format!("Wrote the recovery key {id} to")), "{status}");
    refused(&instance.run(&["keyring", "rewrap", "--recovery-key", &newer]), 73);
    fs::remove_file(&keyring).unwrap();
    refused(&instance.run(&["keyring", "recover", &file(&elsewhere)]), 78);
    succeeded(&instance.run(&["keyring", "recover", &newer]));
    instance.serves();
}

#[test]
fn a_recovery_key_beside_the_database_is_warned_of_and_an_existing_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("broker")).unwrap();
    let init = ["init", "--dir", &at("broker"), "--recovery-key", &at("broker/recovery")];
    let output = postpeer(&init).output().unwrap();
    succeeded(&output);
    assert!(text(&output.stderr).contains("Warning: it lies beside"), "{}", text(&output.stderr));
    let secret = fs::read_to_string(at("broker/recovery")).unwrap();
    let secret = secret.lines().last().unwrap().split_once(':').unwrap().1.to_owned();
    assert!(!text(&output.stderr).contains(&secret) && !text(&output.stdout).contains(&secret));

    fs::write(at("mine"), "mine").unwrap();
    let init = ["init", "--dir", &at("other"), "--recovery-key", &at("mine")];
    refused(&postpeer(&init).output().unwrap(), 73);
    assert_eq!(fs::read_to_string(at("mine")).unwrap(), "mine");
    assert!(!dir.path().join("other").exists(), "nothing is left of it");
}

#[test]
fn a_keyring_that_is_not_lost_is_not_forgotten() {
    let (instance, elsewhere) = Instance::recoverable();
    let keyring = instance.path("postpeer.keyring");
    let said = refused(&instance.run(&["keyring", "forget", "--yes"]), 73);
    assert!(said.contains("nothing to forget"), "{said}");
    let ours = fs::read(&keyring).unwrap();
    fs::copy(Instance::new().path("postpeer.keyring"), &keyring).unwrap();
    assert!(refused(&instance.run(&["keyring", "forget", "--yes"]), 73).contains("in the way"));
    fs::remove_file(&keyring).unwrap();
    let before = instance.database();
    let said = refused(&instance.run(&["keyring", "forget"]), 64);
    assert!(said.contains("--yes"), "{said}");
    let said = refused(&instance.run(&["keyring", "forget", "--yes"]), 64);
    assert!(said.contains("recovery key r1") && said.contains("keyring recover"), "{said}");
    assert_eq!(instance.database(), before);

    // A broker that runs without its file still holds the database.
    fs::write(&keyring, &ours).unwrap();
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    fs::remove_file(&keyring).unwrap();
    refused(&instance.run(&["keyring", "forget", "--yes", "--recovery-key-lost"]), 75);
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));

    let output = instance.run(&["keyring", "forget", "--yes", "--recovery-key-lost"]);
    succeeded(&output);
    assert!(text(&output.stderr).contains("Access keys that were revoked: 1"), "{}", text(&output.stderr));
    assert_eq!(fs::metadata(&keyring).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(instance.keys(), [key("2", "active", 0)], "no id is used twice");
    let recovery = elsewhere.path().join("postpeer.recovery").to_str().unwrap().to_owned();
    assert!(refused(&instance.run(&["keyring", "recover", &recovery]), 73).contains("nothing to recover"));
    instance.serves();

    // The copy is the way back for the day when the keyring is found.
    let copy = fs::read_dir(instance.dir.path()).unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let copy = copy.filter(|path| path.to_str().unwrap().contains(".before-forget-")).last().unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o600);
    fs::write(&keyring, &ours).unwrap();
    succeeded(&instance.run(&["restore", copy.to_str().unwrap()]));
    instance.serves();
}

#[test]
fn init_leaves_a_recovery_key_in_force() {
    let (instance, elsewhere) = Instance::recoverable();
    let (first, second) = (elsewhere.path().join("postpeer.recovery"), elsewhere.path().join("a second"));
    let said = refused(&instance.run(&["init", "--recovery-key", second.to_str().unwrap()]), 73);
    let way = format!("`postpeer keyring rewrap --recovery-key '{}'`", second.display());
    assert!(said.contains(&way), "{said}");
    assert!(!second.exists());
    fs::remove_file(instance.path("postpeer.keyring")).unwrap();
    succeeded(&instance.run(&["keyring", "recover", first.to_str().unwrap()]));
    instance.serves();
}

/// The database is lost as well: a backup and the recovery key are all that is left.
#[test]
fn a_backup_and_the_recovery_key_are_enough() {
    for place in ["", "restore_prepared", "restore_recovered"] {
        let (lost, elsewhere) = Instance::recoverable();
        let (_other, others) = Instance::recoverable();
        let at = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
        let (backup, recovery) = (at("backup.db"), at("postpeer.recovery"));
        succeeded(&lost.run(&["keyring", "rotate"]));
        succeeded(&lost.run(&["backup", &backup]));
        let instance = Instance { dir: tempfile::tempdir().unwrap(), key: lost.key.clone() };
        fs::copy(lost.path("postpeer.toml"), instance.path("postpeer.toml")).unwrap();
        let [recover, restore] = [["keyring", "recover", &recovery], ["restore", &backup, "--recovery-key"]];

        // Each refusal names the way.
        assert!(refused(&instance.run(&recover), 66).contains("--recovery-key"));
        assert!(refused(&instance.run(&["restore", &backup]), 78).contains("--recovery-key"));
        let foreign = others.path().join("postpeer.recovery");
        let said = refused(&instance.run(&[&restore[..], &[foreign.to_str().unwrap()]].concat()), 78);
        assert!(said.contains("not wrapped for this recovery key"), "{said}");
        let restore = [&restore[..], &[&recovery]].concat();
        assert!(["postpeer.db", "postpeer.keyring"].iter().all(|name| !instance.path(name).exists()));

        if !place.is_empty() {
            instance.dies_at(place, &restore);
            assert!(!instance.path("postpeer.keyring").exists(), "{place}");
        }
        let is_placed = place == "restore_recovered";
        succeeded(&instance.run(if is_placed { &recover } else { &restore }));
        assert_eq!(fs::metadata(instance.path("postpeer.keyring")).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(instance.keys(), [key("1", "old", 0), key("2", "active", 2)], "{place}");
        instance.serves();
        assert!(refused(&instance.run(&restore), 73).contains("there is a keyring"), "{place}");
        // The recovery key stays in force.
        fs::remove_file(instance.path("postpeer.keyring")).unwrap();
        succeeded(&instance.run(&recover));
    }
}

/// `init` over a lost volume makes a new keyring, which is in the way of the backup.
#[test]
fn a_broker_that_was_made_over_a_lost_one_gives_way_to_its_backup() {
    let (instance, elsewhere) = Instance::recoverable();
    let at = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let (backup, recovery) = (at("backup.db"), at("postpeer.recovery"));
    succeeded(&instance.run(&["backup", &backup]));
    for name in ["postpeer.db", "postpeer.keyring"] {
        fs::remove_file(instance.path(name)).unwrap();
    }
    succeeded(&instance.run(&["init"]));
    let said = refused(&instance.run(&["restore", &backup]), 78);
    assert!(said.contains("move this keyring away, and add --recovery-key FILE"), "{said}");
    assert!(!said.contains("keyring recover"), "it would find nothing to recover: {said}");
    fs::rename(instance.path("postpeer.keyring"), at("away.keyring")).unwrap();
    succeeded(&instance.run(&["restore", &backup, "--recovery-key", &recovery]));
    instance.serves();
}

#[test]
fn a_keyring_and_a_recovery_key_are_told_apart() {
    let (instance, elsewhere) = Instance::recoverable();
    let recovery = elsewhere.path().join("postpeer.recovery");
    let (keyring, copy) = (instance.path("postpeer.keyring"), elsewhere.path().join("copy.keyring"));
    fs::rename(&keyring, &copy).unwrap();
    let said = refused(&instance.run(&["keyring", "recover", copy.to_str().unwrap()]), 78);
    assert!(said.contains("copy.keyring is a keyring, and no recovery key"), "{said}");
    fs::copy(&recovery, &keyring).unwrap();
    let said = refused(&instance.run(&["keyring", "status"]), 78);
    assert!(said.contains("postpeer.keyring is a recovery key, and no keyring"), "{said}");
}

#[test]
fn a_value_that_does_not_open_keeps_its_data_key() {
    let instance = Instance::new();
    instance.sql(
        "INSERT INTO discovered (issuer, document, document_dek_id, fetched_at)
         VALUES ('https://id.example', CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 0)",
    );
    let rotated = instance.run(&["keyring", "rotate"]);
    assert_eq!((rotated.status.code(), text(&rotated.stdout).trim()), (Some(65), "2"), "{}", text(&rotated.stderr));
    let said = refused(&instance.run(&["keyring", "retire", "1"]), 64);
    assert!(said.contains("1 in discovered.document") && said.contains("`postpeer doctor` lists"), "{said}");
}
