//! Commands on a disk that does not confirm a write: what they keep, and what they say of it.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
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
