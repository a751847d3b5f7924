//! Commands on a disk that is full, or mounted read-only.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::small_disk::{self, assert_small, fill};
use crate::{Instance, postpeer, refused, succeeded, text};

#[test]
fn commands_say_that_the_disk_is_full_or_read_only() {
    small_disk::run("disk::inside_a_small_file_system");
}

#[test]
#[ignore = "mounts a file system: commands_say_that_the_disk_is_full_or_read_only gives it one"]
fn inside_a_small_file_system() {
    assert_small(Path::new("."));
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let full = Path::new("full");
    // Enough for files, and not for a database.
    fs::write("room", vec![1; 200 << 10]).unwrap();
    fill(full);
    fs::remove_file("room").unwrap();
    let said = refused(&postpeer(&["init", "--dir", "new"]).output().unwrap(), 74);
    assert!(said.contains("the disk is full"), "{said}");
    assert!(!Path::new("new").exists(), "{:?}", fs::read_dir("new").map(Iterator::collect::<Vec<_>>));
    fs::remove_file(full).unwrap();

    let instance = Instance::new();
    // The moment for a copy elsewhere.
    fill(full);
    for name in ["full.db", "again.db"] {
        let backup = elsewhere.path().join(name);
        succeeded(&instance.run(&["backup", backup.to_str().unwrap()]));
    }
    fs::remove_file(full).unwrap();
    let remount = |how: &str| assert!(Command::new("mount").args(["-o", how, "."]).status().unwrap().success());
    remount("remount,ro");
    for arguments in [&["access-key", "list"][..], &["audit"], &["keyring", "status"]] {
        let said = refused(&instance.run(arguments), 74);
        assert!(said.contains("mounted read-only"), "{arguments:?}: {said}");
    }
    // Nobody can write to it, so a copy is whole.
    let backup = elsewhere.path().join("backup.db");
    let made = instance.run(&["backup", backup.to_str().unwrap()]);
    succeeded(&made);
    assert!(text(&made.stderr).contains("the audit trail does not tell of this backup"), "{}", text(&made.stderr));
    let said = refused(&instance.run(&["backup", instance.path("here.db").to_str().unwrap()]), 74);
    assert!(said.contains("here.db"), "{said}");
    for name in ["postpeer.toml", "postpeer.keyring"] {
        fs::copy(instance.path(name), elsewhere.path().join(name)).unwrap();
    }
    let there = Instance { dir: elsewhere, key: instance.key.clone() };
    succeeded(&there.run(&["restore", backup.to_str().unwrap()]));
    assert!(succeeded(&there.run(&["access-key", "list"])).contains("first key"));
    remount("remount,rw");
}
