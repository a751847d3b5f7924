//! Commands where the system gives less than usual: files that may not grow, a database that another program locks.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::{Instance, Running, refused, text};

impl Instance {
    /// A command with a limit, in the words of the shell: `-f 8` for files of at most 8 blocks of 512 bytes.
    fn limited(&self, limit: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_postpeer")]).args(arguments).env_clear();
        command.env("POSTPEER_CONFIG", self.path("postpeer.toml")).env("POSTPEER_SERVER__LISTEN", "127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_does_not_kill() {
    let instance = Instance::new();
    let said = refused(&instance.limited("-f 8", &["access-key", "create", "--name", "x"]).output().unwrap(), 74);
    assert!(said.contains("may not grow"), "{said}");
    // There is room for the database's log, and not for the reserve.
    let broker = Running::start(&mut instance.limited("-f 400", &["serve"]), "listening");
    let (code, said) = broker.stop(Signal::TERM);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no reserve of disk space"), "{said}");
}

#[test]
fn a_broker_that_may_open_too_few_files_refuses_to_start() {
    let instance = Instance::new();
    for files in [20, 40, 100] {
        let said = refused(&instance.limited(&format!("-n {files}"), &["serve"]).output().unwrap(), 74);
        assert!(said.contains(&format!("may open only {files} files")) && said.contains("ulimit -n"), "{said}");
    }
}

#[test]
fn a_broker_that_may_open_few_files_accepts_as_many_connections_as_it_can_serve() {
    let instance = Instance::new();
    let told = "limits.connections is 4096, and at most 16 are accepted";
    let broker = Running::start(&mut instance.limited("-n 160", &["serve"]), "listening");
    assert!(broker.said.contains(told), "{}", broker.said);
    let address = broker.url().trim_start_matches("http://").to_owned();
    let open: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut refused = 0;
    for mut connection in open.iter().rev().take(24) {
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // One that was accepted is answered after a while that its request is late.
        let is_closed = match connection.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        refused += usize::from(is_closed);
    }
    assert_eq!(refused, 24, "the database and the platforms need the rest");
    drop(open);
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

#[test]
fn a_broker_whose_database_may_hardly_grow_is_not_ready() {
    let instance = Instance::new();
    instance.sql("CREATE TABLE junk (x); INSERT INTO junk VALUES (zeroblob(5500000)); PRAGMA wal_checkpoint(TRUNCATE)");
    // In units of 512 bytes: room for the reserve, and for little more in the database.
    let broker = Running::start(&mut instance.limited("-f 12000", &["serve"]), "listening");
    let address = broker.url().trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(&address).unwrap();
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut connection, request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("The disk is full."), "{answer}");
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

#[test]
fn a_hangup_ends_no_broker_that_is_starting() {
    let instance = Instance::new();
    let db = rusqlite::Connection::open(instance.path("postpeer.db")).unwrap();
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; CREATE TABLE x (y); ROLLBACK").unwrap();
    let child = instance.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let lock = instance.path("postpeer.db.lock");
    while std::fs::read_to_string(&lock).unwrap_or_default().trim() != child.id().to_string() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    let said = refused(&child.wait_with_output().unwrap(), 75);
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn the_reason_of_an_end_is_a_line_of_a_json_log() {
    let instance = Instance::new();
    let _broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let second = instance.command(&["serve"]).env("POSTPEER_LOG__FORMAT", "json").output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    let said = text(&second.stderr);
    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).expect(said)).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR", "{said}");
    assert!(last["message"].as_str().unwrap().contains("in use by another process"), "{said}");
}

#[test]
fn a_pipe_is_no_file_to_read_a_setting_from() {
    let instance = Instance::new();
    let pipe = instance.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = instance.command(&["check"]);
    command.env("POSTPEER_PLATFORMS__TWITTER__CLIENT_ID", "c");
    command.env("POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET_FILE", &pipe);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(said.contains("is a pipe or a device"), "{said}");
    for variable in ["POSTPEER_KEYRING__PATH", "POSTPEER_CONFIG"] {
        let output = instance.command(&["serve"]).env(variable, &pipe).output().unwrap();
        assert!(text(&output.stderr).contains("a pipe or a device"), "{variable}: {}", text(&output.stderr));
    }
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
