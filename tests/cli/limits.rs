//! Commands where the system gives less than usual: files that may not grow, a database that another program locks.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Instance, Running, refused};

impl Instance {
    /// A command whose files may have this many blocks of 512 bytes.
    fn limited(&self, blocks: u32, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_postpeer")]).args(arguments).env_clear();
        command.env("POSTPEER_CONFIG", self.path("postpeer.toml")).env("POSTPEER_SERVER__LISTEN", "127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_does_not_kill() {
    let instance = Instance::new();
    let said = refused(&instance.limited(8, &["access-key", "create", "--name", "x"]).output().unwrap(), 74);
    assert!(said.contains("may not grow"), "{said}");
    // There is room for the database's log, and not for the reserve.
    let broker = Running::start(&mut instance.limited(400, &["serve"]), "listening");
    let (code, said) = broker.stop(Signal::TERM);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no reserve of disk space"), "{said}");
}

#[test]
fn a_database_that_another_program_locks_is_busy() {
    let instance = Instance::new();
    let db = rusqlite::Connection::open(instance.path("postpeer.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Both wait for some seconds.
    let commands = [&["access-key", "create", "--name", "x"][..], &["keyring", "rotate"]];
    let waiting = commands.map(|arguments| instance.command(arguments).spawn().unwrap());
    for child in waiting {
        let said = refused(&child.wait_with_output().unwrap(), 75);
        assert!(said.contains("locked by another process"), "{said}");
    }
}
