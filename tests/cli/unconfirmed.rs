//! Commands on a disk that does not confirm a write: what they keep, and what they say of it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Instance, refused, succeeded, text};

impl Instance {
    /// Runs a command in which the disk reports `error` at the `nth` of these system calls of a thread. `None` where
    /// that cannot be tested.
    #[expect(clippy::disallowed_methods, reason = "CI skips nothing")]
    fn with_fault(&self, calls: &str, error: &str, nth: u32, arguments: &[&str]) -> Option<Output> {
        let inject = format!("inject={calls}:error={error}:when={nth}");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject]);
        command.arg(env!("CARGO_BIN_EXE_postpeer")).args(arguments).stdin(Stdio::null());
        command.env("POSTPEER_CONFIG", self.path("postpeer.toml"));
        match command.output() {
            Ok(output) if !text(&output.stderr).contains("strace:") => Some(output),
            other => {
                assert!(std::env::var_os("CI").is_none(), "strace cannot be used: {other:?}");
                let advice = b"an unconfirmed write was NOT tested, because strace cannot be used here\n";
                io::stderr().write_all(advice).unwrap();
                None
            }
        }
    }

    /// A command at whose `nth` sync the disk fails.
    fn unconfirmed(&self, nth: u32, arguments: &[&str]) -> Option<Output> {
        self.with_fault("fsync,fdatasync", "EIO", nth, arguments)
    }

    fn recovery_key(&self) -> String {
        let output = self.run(&["keyring", "status"]);
        succeeded(&output);
        let said = text(&output.stderr);
        said.lines().find_map(|line| line.strip_prefix("Recovery key: ")).unwrap_or("none").to_owned()
    }

    /// Names in its folder that contain `part`.
    fn named(&self, part: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_str().unwrap().contains(part)).collect()
    }
}

/// Id of the key in a recovery key's file.
fn id_in(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.lines().last()?.split_once(':')?.0.to_owned())
}

#[test]
fn a_recovery_key_that_the_database_may_need_is_kept() {
    let (instance, elsewhere) = Instance::recoverable();
    let mut kept = vec![elsewhere.path().join("postpeer.recovery")];
    let mut was_in_doubt = false;
    for nth in 1..=4 {
        let new = elsewhere.path().join(format!("new.{nth}"));
        let arguments = ["keyring", "rewrap", "--recovery-key", new.to_str().unwrap()];
        let Some(output) = instance.unconfirmed(nth, &arguments) else { return };
        kept.push(new.clone());
        let needed = instance.recovery_key();
        assert!(kept.iter().any(|file| id_in(file).as_ref() == Some(&needed)), "{nth}: {}", text(&output.stderr));
        if !output.status.success() && new.exists() {
            let said = refused(&output, 74);
            assert!(said.contains("Keep ") && said.contains(&id_in(&new).unwrap()), "{said}");
            was_in_doubt = true;
        }
    }
    assert!(was_in_doubt);
}

#[test]
fn init_leaves_the_recovery_key_of_a_database_from_before() {
    let (instance, elsewhere) = (Instance::new(), tempfile::tempdir().unwrap());
    let new = elsewhere.path().join("new");
    let init = ["init", "--config", instance.dir.path().join("postpeer.toml").to_str().unwrap()].map(str::to_owned);
    let init = [init.as_slice(), &["--recovery-key".to_owned(), new.to_str().unwrap().to_owned()]].concat();
    let init: Vec<&str> = init.iter().map(String::as_str).collect();
    let Some(output) = instance.with_fault("lchown,fchownat,chown", "EPERM", 1, &init) else { return };
    assert_eq!(id_in(&new), Some(instance.recovery_key()), "{}", text(&output.stderr));
    // Only root gives files away.
    if !output.status.success() {
        assert!(refused(&output, 74).contains("new stays: "), "{}", text(&output.stderr));
    }
}

#[test]
fn an_access_key_that_may_exist_is_told() {
    let instance = Instance::new();
    let mut was_in_doubt = false;
    for nth in 1..=3 {
        let name = format!("key {nth}");
        let Some(output) = instance.unconfirmed(nth, &["access-key", "create", "--name", &name]) else { return };
        let is_there = succeeded(&instance.run(&["access-key", "list"])).contains(&name);
        if is_there && !output.status.success() {
            let said = refused(&output, 74);
            assert!(said.contains("may have been stored") && said.contains("Nobody has seen the new key"), "{said}");
            was_in_doubt = true;
        }
    }
    assert!(was_in_doubt);
}

#[test]
fn a_restore_says_which_database_is_in_place() {
    let (instance, elsewhere) = (Instance::new(), tempfile::tempdir().unwrap());
    let backup = elsewhere.path().join("backup.db");
    succeeded(&instance.run(&["backup", backup.to_str().unwrap()]));
    let mut was_in_place = false;
    for nth in 1..=6 {
        for replaced in instance.named(".replaced-") {
            fs::remove_file(replaced).unwrap();
        }
        let name = format!("key {nth}");
        succeeded(&instance.run(&["access-key", "create", "--name", &name]));
        let Some(output) = instance.unconfirmed(nth, &["restore", backup.to_str().unwrap()]) else { return };
        let is_restored = !succeeded(&instance.run(&["access-key", "list"])).contains(&name);
        assert_eq!(instance.named(".replaced-").len(), usize::from(is_restored), "{nth}: {}", text(&output.stderr));
        if is_restored && !output.status.success() {
            let said = refused(&output, 74);
            assert!(said.contains("the backup is in place, but") && said.contains("To go back"), "{said}");
            was_in_place = true;
        }
        assert!(is_restored || !output.status.success(), "{nth}");
    }
    assert!(was_in_place);
}

#[test]
fn a_backup_that_fails_is_not_in_the_way_of_the_next_one() {
    let (instance, elsewhere) = (Instance::new(), tempfile::tempdir().unwrap());
    let backup = elsewhere.path().join("backup.db");
    for nth in 1..=3 {
        let Some(output) = instance.unconfirmed(nth, &["backup", backup.to_str().unwrap()]) else { return };
        assert_eq!(backup.exists(), output.status.success(), "{nth}: {}", text(&output.stderr));
        let _ = fs::remove_file(&backup);
    }
}
