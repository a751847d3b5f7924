//! The binary's command line: its output, its exit codes, and that a refusal leaves the database unchanged, byte for
//! byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers as well")]

#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/confined.rs"]
mod confined;
#[path = "cli/connect.rs"]
mod connect;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

#[path = "cli/disk.rs"]
mod disk;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/init.rs"]
mod init;
#[path = "cli/keyring.rs"]
mod keyring;
#[path = "cli/limits.rs"]
mod limits;

#[path = "cli/log.rs"]
mod log;
#[path = "support/own_address.rs"]
mod own_address;
#[path = "support/small_disk.rs"]
mod small_disk;
#[path = "cli/unconfirmed.rs"]
mod unconfirmed;
#[path = "cli/unread.rs"]
mod unread;

/// `postpeer` with an empty environment.
fn postpeer(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postpeer"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Asserts a refusal with this exit code. Returns what it printed on standard error.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let said = text(&output.stderr).to_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "a refusal has no result: {}", text(&output.stdout));
    said
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// A broker that `postpeer init` made in its own directory.
struct Instance {
    dir: TempDir,
    key: String,
}

impl Instance {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let output = postpeer(&["init", "--dir", dir.path().to_str().unwrap()]).output().unwrap();
        let key = succeeded(&output).trim().to_owned();
        Self { dir, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn database(&self) -> Vec<u8> {
        fs::read(self.path("postpeer.db")).unwrap()
    }

    /// A command with this instance's configuration, on a free port.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = postpeer(arguments);
        command.env("POSTPEER_CONFIG", self.path("postpeer.toml"));
        command.env("POSTPEER_SERVER__LISTEN", "127.0.0.1:0");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Asserts that `serve` exits with this code and leaves the database unchanged.
    #[track_caller]
    fn refuses_to_serve(&self, code: i32) -> String {
        let before = fs::read(self.path("postpeer.db")).ok();
        let said = refused(&self.run(&["serve"]), code);
        assert_eq!(fs::read(self.path("postpeer.db")).ok(), before, "the database was touched");
        said
    }

    fn sql(&self, statements: &str) {
        let db = rusqlite::Connection::open(self.path("postpeer.db")).unwrap();
        db.execute_batch(statements).unwrap();
        db.close().unwrap();
    }
}

/// A process that ends with the test.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// Output up to the line that said it was ready.
    said: String,
}

impl Running {
    /// Starts a command and reads its output up to a line that contains `ready`.
    fn start(command: &mut Command, ready: &str) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains(ready) {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "it stopped: {said}");
        }
        Self { child, stderr, said }
    }

    /// `http://127.0.0.1:PORT`, from its output.
    fn url(&self) -> String {
        self.url_after("")
    }

    /// The first URL after these words.
    fn url_after(&self, words: &str) -> String {
        let said = &self.said[self.said.find(words).unwrap()..];
        let at = said.find("127.0.0.1:").unwrap();
        let address: String = said[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
        format!("http://{address}")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGHUP. Returns its output up to a line with these words.
    fn hang_up(&mut self, words: &str) -> String {
        self.signal(Signal::HUP);
        let mut said = String::new();
        while !said.contains(words) {
            assert_ne!(self.stderr.read_line(&mut said).unwrap(), 0, "it stopped: {said}");
        }
        said
    }

    /// Asks it to stop, as a service manager does. Returns its exit code and all its output.
    fn stop(self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        self.wait()
    }

    /// Waits for its end. Returns its exit code and all its output.
    fn wait(mut self) -> (Option<i32>, String) {
        let mut said = std::mem::take(&mut self.said);
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Usually it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_three_private_files_and_prints_the_key_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("new/broker");
    let output = postpeer(&["init", "--dir", dir.to_str().unwrap(), "--public-url", "https://connect.example.com/"])
        .output()
        .unwrap();
    let key = succeeded(&output);
    assert!(key.starts_with("ppk_") && key.len() == 54, "{key:?}");
    assert!(!text(&output.stderr).contains("ppk_"));
    for name in ["postpeer.toml", "postpeer.keyring", "postpeer.db"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&dir), 0o700);
    let config = dir.join("postpeer.toml");
    let checked = succeeded(&postpeer(&["check", "--config", config.to_str().unwrap()]).output().unwrap());
    assert!(checked.contains("https://connect.example.com/v1/connect/twitter/callback"), "{checked}");
}

/// Every file in a directory, with its content.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|ending| ending != "lock"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn init_never_overwrites() {
    for (there, code) in [("postpeer.toml", 78), ("postpeer.keyring", 78), ("postpeer.db", 78)] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(there), "mine").unwrap();
        let before = contents(dir.path());
        refused(&postpeer(&["init", "--dir", dir.path().to_str().unwrap()]).output().unwrap(), code);
        assert_eq!(contents(dir.path()), before, "{there}");
    }
    let instance = Instance::new();
    let before = contents(instance.dir.path());
    let again = ["init", "--dir", instance.dir.path().to_str().unwrap(), "--public-url", "https://example.com"];
    let said = refused(&postpeer(&again).output().unwrap(), 73);
    assert!(said.contains("server.public_url"), "{said}");
    assert_eq!(contents(instance.dir.path()), before);
}

#[test]
fn init_completes_whatever_is_missing_and_serve_says_so() {
    const NAMES: [&str; 3] = ["postpeer.toml", "postpeer.keyring", "postpeer.db"];
    for there in 0..8 {
        let instance = Instance::new();
        let dir = instance.dir.path();
        let [has_config, has_keyring, has_database] = [0, 1, 2].map(|at| there & (1 << at) != 0);
        for (name, _) in NAMES.iter().zip([has_config, has_keyring, has_database]).filter(|(_, is_there)| !is_there) {
            fs::remove_file(dir.join(name)).unwrap();
        }
        let before = contents(dir);
        let serve = || {
            let mut command = postpeer(&["serve", "--config", "postpeer.toml"]);
            command.current_dir(dir).env("POSTPEER_SERVER__LISTEN", "127.0.0.1:0");
            command
        };
        let is_lost = has_database && !has_keyring;
        if there != 7 {
            let said = refused(&serve().output().unwrap(), if there == 3 { 66 } else { 78 });
            let helps = said.contains("`postpeer init --config postpeer.toml`");
            assert_eq!(
                said.contains("`postpeer restore FILE --config postpeer.toml`"),
                matches!(there, 1 | 3),
                "{there}: {said}"
            );
            assert_eq!(said.contains("mount their volume"), there == 1, "{there}: {said}");
            assert_eq!(helps, !(is_lost && has_config), "{there}: {said}");
            assert_eq!(contents(dir), before, "{there}: a refusal changes nothing");
        }
        let output = postpeer(&["init", "--config", "postpeer.toml"]).current_dir(dir).output().unwrap();
        if is_lost {
            let said = refused(&output, 78);
            assert!(said.contains("keyring") && !said.contains("postpeer init"), "{there}: {said}");
            assert_eq!(contents(dir), before, "{there}: a refusal changes nothing");
            continue;
        }
        assert_eq!(
            succeeded(&output).is_empty(),
            has_database,
            "{there}: a new database, and no other, has a first key"
        );
        let after = contents(dir);
        assert_eq!(after.len(), NAMES.len(), "{there}");
        assert!(before.iter().all(|(path, content)| after.get(path) == Some(content)), "{there}: overwritten");
        assert_eq!(Running::start(&mut serve(), "listening").stop(Signal::TERM).0, Some(0), "{there}");
    }
}

#[test]
fn the_environment_alone_configures_a_broker() {
    let dir = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = postpeer(arguments);
        command.current_dir(dir.path());
        command.env("POSTPEER_SERVER__LISTEN", "127.0.0.1:0");
        command.env("POSTPEER_SERVER__PUBLIC_URL", "https://connect.example.com");
        command.env("POSTPEER_DATABASE__PATH", dir.path().join("data.db"));
        command
    };
    let said = refused(&command(&["serve"]).output().unwrap(), 78);
    assert!(said.contains("`postpeer init`"), "{said}");
    let key = succeeded(&command(&["init"]).output().unwrap());
    assert!(key.starts_with("ppk_"));
    let names: Vec<_> = contents(dir.path()).into_keys().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["data.db", "postpeer.keyring"], "no file with settings");
    assert!(succeeded(&command(&["check"]).output().unwrap()).contains("https://connect.example.com/v1/connect"));
    let broker = Running::start(&mut command(&["serve"]), "listening");
    assert!(status_line(&broker.url(), key.trim()).contains("200"));
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
    // Variables that set no key do not hide that there is no configuration.
    let nowhere =
        postpeer(&["serve"]).current_dir(tempfile::tempdir().unwrap().path()).env("POSTPEER_PORT", "1").output();
    assert!(refused(&nowhere.unwrap(), 78).contains("postpeer init"));
}

#[test]
fn init_that_fails_midway_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // A directory that everybody can write to, which `init` detects after it wrote configuration and keyring.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = refused(&postpeer(&["init", "--dir", dir.path().to_str().unwrap()]).output().unwrap(), 78);
    assert!(said.contains("chmod"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_command_line_is_refused_with_64_and_help_is_a_result() {
    for wrong in [
        &["serf"][..],
        &[],
        &["access-key", "create"],
        &["access-key", "create", "--name", "x", "--scope", "everything"],
        &["access-key", "revoke", "int_1"],
        &["demo", "--listen", "0.0.0.0:0"],
        &["init", "--public-url", "connect.example.com"],
    ] {
        refused(&postpeer(wrong).output().unwrap(), 64);
    }
    let help = succeeded(&postpeer(&["--help"]).output().unwrap());
    for command in
        ["demo", "init", "serve", "check", "access-key", "project", "backup", "restore", "openapi", "healthcheck"]
    {
        assert!(help.contains(command), "{command}: {help}");
    }
    let version = succeeded(&postpeer(&["--version"]).output().unwrap());
    assert_eq!(version.trim(), concat!("postpeer ", env!("CARGO_PKG_VERSION")));
    let document = succeeded(&postpeer(&["openapi"]).output().unwrap());
    assert!(serde_json::from_str::<serde_json::Value>(&document).unwrap()["paths"].is_object());
}

#[test]
fn check_tells_every_mistake_at_once() {
    let instance = Instance::new();
    let output = instance
        .command(&["check"])
        .env("POSTPEER_SERVER__PUBLIC_ULR", "https://connect.example.com")
        .env("POSTPEER_PLATFORMS__TWITTER__CLIENT_ID", "id")
        .output()
        .unwrap();
    let said = refused(&output, 78);
    assert!(said.contains("POSTPEER_SERVER__PUBLIC_ULR") && said.contains("did you mean server.public_url?"), "{said}");
    assert!(said.contains("platforms.twitter.client_secret is missing"), "{said}");
    // The document has the same members as without a mistake.
    let json = instance.command(&["check", "--json"]).env("POSTPEER_LOG__LEVEL", "loud").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["worst"], &json["platforms"]), (&"error".into(), &serde_json::json!([])), "{json}");
    let nowhere = postpeer(&["check", "--config", "/nowhere/postpeer.toml"]).output().unwrap();
    assert!(refused(&nowhere, 78).contains("postpeer init"));
}

#[test]
fn a_broker_serves_stops_and_serves_again() {
    let instance = Instance::new();
    for _ in 0..2 {
        let broker = Running::start(&mut instance.command(&["serve"]), "listening");
        let url = broker.url();
        succeeded(&postpeer(&["healthcheck", "--url", &url]).output().unwrap());
        let (code, said) = broker.stop(Signal::TERM);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("stopped"), "{said}");
        assert!(!said.contains(&instance.key));
        assert!(!instance.path("postpeer.db-wal").exists(), "the log was not folded in");
        let said = refused(&postpeer(&["healthcheck", "--url", &url]).output().unwrap(), 69);
        assert!(said.contains(&url), "{said}");
    }
}

/// The broker's command. Where root runs the test, another user runs the broker, and owns its files.
fn serve_without_root(instance: &Instance) -> Command {
    const NOBODY: u32 = 65_534;
    let mut serve = instance.command(&["serve"]);
    if rustix::process::geteuid().is_root() {
        let program = instance.path("postpeer");
        fs::copy(env!("CARGO_BIN_EXE_postpeer"), &program).unwrap();
        for file in fs::read_dir(instance.dir.path()).unwrap().map(|file| file.unwrap().path()) {
            chown(file, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(instance.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        serve = Command::new(program);
        serve.arg("serve").env_clear().env("POSTPEER_CONFIG", instance.path("postpeer.toml"));
        serve.env("POSTPEER_SERVER__LISTEN", "127.0.0.1:0").stderr(Stdio::piped()).uid(NOBODY).gid(NOBODY);
    }
    serve
}

#[test]
fn a_start_that_may_not_write_leaves_no_file_that_the_next_one_may_not_write() {
    let instance = Instance::new();
    let (database, index) = (instance.path("postpeer.db"), instance.path("postpeer.db-shm"));
    let set_mode = |file: &Path, mode| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(&database, 0o400);
    refused(&serve_without_root(&instance).output().unwrap(), 74);
    assert!(!index.exists() && !instance.path("postpeer.db-wal").exists());
    set_mode(&database, 0o600);
    Running::start(&mut serve_without_root(&instance), "listening").stop(Signal::TERM);

    // An earlier release left it.
    fs::write(&index, "").unwrap();
    set_mode(&index, 0o400);
    let said = refused(&serve_without_root(&instance).output().unwrap(), 74);
    assert!(said.contains("a file beside it"), "{said}");
    set_mode(&index, 0o600);
    Running::start(&mut serve_without_root(&instance), "listening").stop(Signal::TERM);
}

/// It holds keys and tokens, so no dump of it is written, no process of the same user reads it, and nobody else reads
/// its files.
#[cfg(target_os = "linux")]
#[test]
fn a_brokers_memory_is_closed_to_others() {
    let instance = Instance::new();
    // Root owns the memory of its processes in any case.
    let broker = Running::start(&mut serve_without_root(&instance), "listening");
    let folder = format!("/proc/{}", broker.child.id());
    let limits = fs::read_to_string(format!("{folder}/limits")).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max core")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    // The kernel gives this file to root where a process is not dumpable.
    assert_eq!(fs::metadata(format!("{folder}/mem")).unwrap().uid(), 0, "other processes of its user may read it");
    let status = fs::read_to_string(format!("{folder}/status")).unwrap();
    let of_user = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(!of_user.split_whitespace().any(|user| user == "0"), "{of_user}");
    assert!(status.contains("Umask:\t0077"), "{status}");
    broker.stop(Signal::TERM);
}

#[test]
fn the_log_says_what_is_served_and_whose_trace_a_request_is_part_of() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let instance = Instance::new();
    let mut serve = instance.command(&["serve"]);
    let broker = Running::start(serve.env("POSTPEER_SERVER__TRUSTED_PROXIES", "127.0.0.1"), "listening");
    let traced = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\nx-forwarded-for: 203.0.113.9");
    ask_with(&broker.url(), "GET", "/v1/health", &traced);
    ask_with(&broker.url(), "GET", "/healthz", &traced);
    let (_, said) = broker.stop(Signal::TERM);
    let answered = said.lines().find(|line| line.contains("/v1/health")).unwrap();
    assert!(answered.contains(TRACE) && answered.contains("client.address=203.0.113.9"), "{answered}");
    assert!(!said.contains("/healthz"), "a probe is logged at debug: {said}");
    for told in ["database.schema=", "accounts=0", "access_keys=1", "on=\"bluesky", "off=\"", "twitter", "next: "] {
        assert!(said.contains(told), "{told} is not in {said}");
    }
}

#[test]
fn keys_and_projects_are_kept_beside_a_running_broker() {
    let instance = Instance::new();
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    succeeded(&instance.run(&["project", "create", "staging"]));
    let projects = succeeded(&instance.run(&["project", "list"]));
    assert!(projects.contains("default") && projects.contains("staging"), "{projects}");
    refused(&instance.run(&["project", "create", "staging"]), 64);

    let made =
        instance.run(&["access-key", "create", "--name", "app", "--project", "staging", "--scope", "read,connect"]);
    let key = succeeded(&made);
    assert!(key.starts_with("ppk_") && key.trim().len() == 53, "{key:?}");
    let authenticated = |key: &str| -> u16 {
        let answer = status_line(&broker.url(), key.trim());
        answer.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(authenticated(&key), 200);
    assert_eq!(authenticated(&instance.key), 200);

    let list = succeeded(&instance.run(&["access-key", "list"]));
    assert!(!list.contains(key.trim()), "a list shows no keys");
    assert!(list.contains("connect read  "), "{list}");
    let id = list.lines().find(|line| line.contains("staging")).unwrap().split_whitespace().next().unwrap();
    succeeded(&instance.run(&["access-key", "revoke", id]));
    assert_eq!(authenticated(&key), 401);
    refused(&instance.run(&["access-key", "revoke", id]), 64);
    refused(&instance.run(&["access-key", "create", "--name", "app", "--project", "nowhere"]), 64);

    // The audit trail tells of all that was changed, and of nothing that was refused.
    let trail = succeeded(&instance.run(&["audit"]));
    let told: Vec<&str> = trail.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    let (key_created, created, revoked) = ("access_key.created", "project.created", "access_key.revoked");
    assert_eq!(told, [key_created, created, key_created, revoked], "{trail}");
    assert!(trail.contains("command_line") && trail.contains(id), "{trail}");
    let json = succeeded(&instance.run(&["audit", "--json", "--since", "3"]));
    assert!(json.starts_with('{') && json.lines().count() == 1 && json.contains(revoked), "{json}");
    assert_eq!(succeeded(&instance.run(&["audit", "--json", "--key", id])), "", "the key did nothing");
    refused(&instance.run(&["audit", "--since", "yesterday"]), 64);
    assert_eq!(broker.stop(Signal::INT).0, Some(0));
}

/// The status line for a request with this key.
fn status_line(url: &str, key: &str) -> String {
    ask(url, "GET", "/v1/health/auth", key).lines().next().unwrap().to_owned()
}

/// The whole answer, head and body, to a request with this key.
fn ask(url: &str, method: &str, target: &str, key: &str) -> String {
    ask_with(url, method, target, &format!("x-access-key: {key}"))
}

/// The same for a request with this header.
fn ask_with(url: &str, method: &str, target: &str, header: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nhost: {address}\r\n{header}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_second_broker_is_refused_with_the_pid_of_the_first() {
    let instance = Instance::new();
    let first = Running::start(&mut instance.command(&["serve"]), "listening");
    let said = refused(&instance.run(&["serve"]), 75);
    assert!(said.contains(&first.child.id().to_string()), "{said}");
    first.signal(Signal::KILL);
    drop(first);
    let third = Running::start(&mut instance.command(&["serve"]), "listening");
    assert_eq!(third.stop(Signal::TERM).0, Some(0));
}

#[test]
fn a_second_signal_does_not_wait_for_requests_under_way() {
    let instance = Instance::new();
    let mut broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let address = broker.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "POST /v1/profiles HTTP/1.1\r\nhost: {address}\r\nx-access-key: {}\r\ncontent-type: application/json\r\n\
         content-length: 99\r\nexpect: 100-continue\r\n\r\n",
        instance.key
    )
    .unwrap();
    // The server asks for the body, so the request is in flight. The body never comes.
    let mut asked = [0; 12];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    broker.signal(Signal::TERM);
    let mut said = String::new();
    while !said.contains("stopping") {
        assert_ne!(broker.stderr.read_line(&mut said).unwrap(), 0, "it stopped: {said}");
    }
    assert_eq!(broker.stop(Signal::TERM).0, Some(130));
}

#[test]
fn a_keyring_that_is_missing_readable_by_others_damaged_or_anothers_is_refused() {
    let instance = Instance::new();
    let keyring = instance.path("postpeer.keyring");
    let own = fs::read(&keyring).unwrap();

    fs::remove_file(&keyring).unwrap();
    assert!(instance.refuses_to_serve(78).contains("postpeer.keyring"));

    fs::write(&keyring, &own).unwrap();
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o644)).unwrap();
    let said = instance.refuses_to_serve(78);
    assert!(said.contains("0644") && said.contains("postpeer.keyring"), "{said}");
    refused(&instance.run(&["access-key", "list"]), 78);

    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&keyring, "not a keyring\n").unwrap();
    instance.refuses_to_serve(78);

    fs::copy(Instance::new().path("postpeer.keyring"), &keyring).unwrap();
    let said = instance.refuses_to_serve(78);
    let id = |keyring: &[u8]| {
        text(keyring).lines().find_map(|line| line.strip_prefix("active = ").map(str::to_owned)).unwrap()
    };
    assert!(said.contains(&id(&own)) && said.contains(&id(&fs::read(&keyring).unwrap())), "{said}");

    fs::write(&keyring, &own).unwrap();
    assert_eq!(Running::start(&mut instance.command(&["serve"]), "listening").stop(Signal::TERM).0, Some(0));
}

#[test]
fn files_that_every_user_can_change_are_refused_and_those_they_can_read_are_told() {
    let instance = Instance::new();
    let secret = instance.path("twitter.secret");
    fs::write(&secret, "never-shown").unwrap();
    let toml = fs::read_to_string(instance.path("postpeer.toml")).unwrap();
    let empty = |name: &str| format!("[platforms.{name}]\nclient_id = \"\"\nclient_secret = \"\"\n");
    let toml = toml
        .replace(&empty("twitter"), "[platforms.twitter]\nclient_id = \"x\"\nclient_secret_file = \"twitter.secret\"\n")
        .replace(&empty("reddit"), "[platforms.reddit]\nclient_id = \"x\"\nclient_secret = \"never-shown\"\n");
    fs::write(instance.path("postpeer.toml"), toml).unwrap();
    let files = ["postpeer.toml", "postpeer.db", "twitter.secret"];
    for name in files {
        fs::set_permissions(instance.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let check = || {
        let output = instance.run(&["check"]);
        let said = text(&output.stderr).to_owned() + text(&output.stdout);
        assert!(!said.contains("never-shown"), "{said}");
        (output.status.code(), said)
    };
    let (code, said) = check();
    assert!(!said.contains("every user"), "{said}");
    for name in files {
        let path = instance.path(name);
        let chmod = format!("chmod o= {}", path.display());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (now, said) = check();
        assert_eq!(now, code, "{said}");
        assert!(said.contains("every user of this machine can read") && said.contains(&chmod), "{name}: {said}");
        assert_eq!(said.matches("every user").count(), 1, "{name} is told once: {said}");
        for changeable in [0o646, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(changeable)).unwrap();
            let said = instance.refuses_to_serve(78);
            assert!(said.contains("every user of this machine can change") && said.contains(&chmod), "{name}: {said}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_database_that_is_missing_is_not_made_anew() {
    let instance = Instance::new();
    fs::remove_file(instance.path("postpeer.db")).unwrap();
    let _ = fs::remove_file(instance.path("postpeer.db.lock"));
    let said = instance.refuses_to_serve(66);
    assert!(said.contains("postpeer init") && said.contains("backup"), "{said}");
    refused(&instance.run(&["access-key", "list"]), 66);
    let mut left: Vec<_> = fs::read_dir(instance.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["postpeer.keyring", "postpeer.toml"]);
}

#[test]
fn a_database_that_is_damaged_anothers_or_newer_is_refused() {
    let whole = Instance::new().database();
    let damages: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |_| Vec::new(),
        |_| b"not a database".to_vec(),
        |whole| whole[..whole.len() / 2].to_vec(),
        |mut whole| {
            whole[4096..8192].fill(0xff);
            whole
        },
    ];
    for damage in damages {
        let instance = Instance::new();
        fs::write(instance.path("postpeer.db"), damage(whole.clone())).unwrap();
        instance.refuses_to_serve(65);
    }

    let foreign = Instance::new();
    foreign.sql("PRAGMA application_id = 1");
    foreign.refuses_to_serve(65);

    let newer = Instance::new();
    newer.sql(
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
         SELECT 999, 'later', applied_on, checksum FROM refinery_schema_history LIMIT 1",
    );
    assert!(newer.refuses_to_serve(65).contains("999"));
    refused(&newer.run(&["access-key", "list"]), 65);
}

#[test]
fn a_broker_stops_when_its_large_database_turns_out_to_be_damaged() {
    let instance = Instance::new();
    instance.sql(
        "PRAGMA foreign_keys = OFF;
         INSERT INTO profiles (id, project_id, name, name_folded, description, created_at, updated_at)
         VALUES ('prof_1', 'proj_none', 'a', 'a', hex(randomblob(5000000)), 0, 0)",
    );
    let said = refused(&instance.run(&["serve"]), 65);
    assert!(said.contains("listening") && said.contains("damaged: rows point at rows"), "{said}");
}

#[test]
fn a_port_that_is_taken_and_a_mistaken_configuration_touch_nothing() {
    let instance = Instance::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let before = instance.database();
    let said = refused(&instance.command(&["serve"]).env("POSTPEER_SERVER__LISTEN", &address).output().unwrap(), 69);
    assert!(said.contains(&address), "{said}");
    refused(&instance.command(&["serve"]).env("POSTPEER_LOG__LEVEL", "loud").output().unwrap(), 78);
    assert_eq!(instance.database(), before);
}

#[test]
fn metrics_are_read_where_they_should_be_and_hold_nothing_of_anybody() {
    let instance = Instance::new();
    let mut command = instance.command(&["serve"]);
    command.env("POSTPEER_SERVER__METRICS_LISTEN", "127.0.0.1:0");
    for name in ["AUTHORIZE", "TOKEN", "IDENTITY"] {
        command.env(format!("POSTPEER_PLATFORMS__ACME__{name}_URL"), "https://acme.example/");
    }
    command.env("POSTPEER_PLATFORMS__ACME__IDENTITY__ID", "/sub");
    let broker = Running::start(&mut command, "/metrics");
    let (url, metrics) = (broker.url(), broker.url_after("metrics are at"));
    assert_ne!(url, metrics);

    let id = "0123456789abcdef0123456789abcdef";
    for target in [
        "/v1/profiles/prof_ID",
        "/v1/connect/integrations/int_ID",
        "/v1/connect/acme?redirectUri=https://app.example/ID",
        "/v1/connect/acme/callback?code=ID&state=ID",
        "/connect/selection/ID",
        "/ID",
    ] {
        ask(&url, "GET", &target.replace("ID", id), &instance.key);
    }
    ask(&url, "MADEUP", "/v1/profiles", "ppk_no_key");
    let elsewhere = ask(&url, "GET", "/metrics", &instance.key);
    assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");

    let shown = ask(&metrics, "GET", "/metrics", "");
    assert!(shown.starts_with("HTTP/1.1 200 "), "{shown}");
    assert!(shown.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{shown}");
    let (_, body) = shown.split_once("\r\n\r\n").unwrap();
    for metric in postpeer::telemetry::METRICS {
        // No platform was called, so there are no durations.
        let is_shown = metric.name != "postpeer_upstream_seconds";
        let help = format!("# HELP {} {}\n# TYPE {0} ", metric.name, metric.help);
        assert_eq!(body.contains(&help), is_shown, "{help}{body}");
    }
    for line in body.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with("postpeer_") && value.parse::<f64>().is_ok(), "{line}");
    }
    for line in [
        "postpeer_http_requests_total{method=\"GET\",route=\"/v1/profiles/{id}\",status=\"404\"} 1",
        "postpeer_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 2",
        "postpeer_http_requests_total{method=\"other\",route=\"/v1/profiles/\",status=\"405\"} 1",
        "postpeer_refreshes_total{platform=\"acme\",outcome=\"grant_ended\"} 0",
        "postpeer_tokens_vended_total{platform=\"bluesky\"} 0",
    ] {
        assert!(body.lines().any(|shown| shown == line), "{line}\n{body}");
    }
    for private in [id, &instance.key, "MADEUP", "127.0.0.1", "acme.example", "int_", "proj_", "prof_", "key_", "flow_"]
    {
        assert!(!body.contains(private), "{private}: {body}");
    }

    for target in ["/", "/healthz", "/v1/profiles", "/metrics/"] {
        let answer = ask(&metrics, "GET", target, &instance.key);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    let head = ask(&metrics, "HEAD", "/metrics", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "DELETE", "MADEUP"] {
        let answer = ask(&metrics, method, "/metrics", "");
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    }

    // A reader that keeps its connection open does not delay the stop.
    let mut reader = TcpStream::connect(metrics.trim_start_matches("http://")).unwrap();
    write!(reader, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    reader.read_exact(&mut [0; 12]).unwrap();
    let (code, said) = broker.stop(Signal::TERM);
    assert_eq!(code, Some(0), "{said}");
    assert!(TcpStream::connect(metrics.trim_start_matches("http://")).is_err());
}

#[test]
fn metrics_have_no_listener_unless_one_is_asked_for_and_its_port_must_be_free() {
    let instance = Instance::new();
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let (_, said) = broker.stop(Signal::TERM);
    assert!(!said.contains("metrics"), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = |variable: &str, value: &str| {
        let before = instance.database();
        let output = instance.command(&["serve"]).env(variable, value).output().unwrap();
        assert_eq!(instance.database(), before);
        output
    };
    let said = refused(&serve("POSTPEER_SERVER__METRICS_LISTEN", &address), 69);
    assert!(said.contains(&address) && said.contains("server.metrics_listen"), "{said}");
    let said = refused(&serve("POSTPEER_SERVER__METRICS_LISTEN", "everywhere"), 78);
    assert!(said.contains("METRICS_LISTEN"), "{said}");
}

#[test]
fn the_console_is_on_the_listener_that_it_is_given_and_nowhere_else() {
    let instance = Instance::new();
    let mut command = instance.command(&["serve"]);
    command.env("POSTPEER_CONSOLE__LISTEN", "127.0.0.1:0");
    let broker = Running::start(&mut command, "/console");
    let (url, console) = (broker.url(), broker.url_after("the console is at"));
    assert_ne!(url, console);
    let page = ask(&console, "GET", "/console/sign-in", "");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let elsewhere = [(&url, "/console"), (&url, "/console/sign-in"), (&console, "/v1/health"), (&console, "/readyz")];
    for (at, target) in elsewhere {
        let answer = ask(at, "GET", target, &instance.key);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{at}{target}: {answer}");
    }
    let (code, said) = broker.stop(Signal::TERM);
    assert_eq!(code, Some(0), "{said}");
    assert!(TcpStream::connect(console.trim_start_matches("http://")).is_err());

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = instance.command(&["serve"]).env("POSTPEER_CONSOLE__LISTEN", &address).output().unwrap();
    let said = refused(&output, 69);
    assert!(said.contains(&address) && said.contains("console.listen"), "{said}");
}

#[test]
fn a_demo_keeps_nothing_unless_told_where() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = tempfile::tempdir().unwrap();
    let kept = kept.path().join("data");
    let mut keys = Vec::new();
    for data in [None, Some(&kept), Some(&kept)] {
        let mut command = postpeer(&["demo", "--listen", "127.0.0.1:0"]);
        command.env("TMPDIR", temporary.path());
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        let mut demo = Running::start(&mut command, "The access key:");
        succeeded(&postpeer(&["healthcheck", "--url", &demo.url()]).output().unwrap());
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), usize::from(data.is_none()));
        let mut stdout = demo.child.stdout.take().unwrap();
        let (code, said) = demo.stop(Signal::INT);
        assert_eq!(code, Some(0), "{said}");
        let mut key = String::new();
        stdout.read_to_string(&mut key).unwrap();
        assert!(said.contains(key.trim()), "the curl line has the key");
        keys.push(key);
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "the temporary folder is still there");
    assert!(kept.join("postpeer.db").exists());
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "each run makes a fresh key");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&postpeer(&["demo", "--listen", &address]).output().unwrap(), 69);
}

#[test]
fn a_demo_removes_its_folder_however_it_ends() {
    let temporary = tempfile::tempdir().unwrap();
    let demo = || {
        let mut command = postpeer(&["demo", "--listen", "127.0.0.1:0"]);
        command.env("TMPDIR", temporary.path());
        command
    };
    let left = || fs::read_dir(temporary.path()).unwrap().count();
    for signal in [Signal::TERM, Signal::HUP] {
        let running = Running::start(&mut demo(), "The access key:");
        assert_eq!(left(), 1);
        assert_eq!(running.stop(signal).0, Some(0), "{signal:?}");
        assert_eq!(left(), 0, "{signal:?}");
    }
    // A signal in the middle of the start.
    let mut starting = demo().spawn().unwrap();
    while left() == 0 && starting.try_wait().unwrap().is_none() {}
    kill_process(Pid::from_child(&starting), Signal::TERM).unwrap();
    assert_eq!(starting.wait().unwrap().code(), Some(0));
    assert_eq!(left(), 0);
    // Two signals, the second of which does not wait for a request under way.
    let running = Running::start(&mut demo(), "The access key:");
    let mut slow = TcpStream::connect(running.url().trim_start_matches("http://")).unwrap();
    slow.write_all(b"POST /v1/connect/bluesky/auth HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{").unwrap();
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    assert!(matches!(running.stop(Signal::INT).0, Some(0 | 130)));
    assert_eq!(left(), 0);
}

#[test]
fn a_hangup_reloads_and_drops_no_request() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let instance = Instance::new();
    let config = instance.path("postpeer.toml");
    let written = fs::read_to_string(&config).unwrap();
    let mut broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let url = broker.url();
    let reads = |id: &str| ask(&url, "GET", "/v1/connect/tiktok", &instance.key).contains(&format!("client_key={id}"));
    assert!(!reads("first"), "there are no credentials yet");
    let is_over = AtomicBool::new(false);
    // The log is written for as long as somebody reads it.
    let child = Pid::from_child(&broker.child);
    std::thread::scope(|scope| {
        let log = scope.spawn(|| {
            let mut said = String::new();
            broker.stderr.read_to_string(&mut said).unwrap();
            said
        });
        let load: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        assert!(status_line(&url, &instance.key).contains(" 200 "));
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for id in ["first", "second", "third"] {
            let credentials = format!("[platforms.tiktok]\nclient_id = \"{id}\"\nclient_secret = \"s\"\n");
            let without = "[platforms.tiktok]\nclient_id = \"\"\nclient_secret = \"\"\n";
            assert!(written.contains(without));
            fs::write(&config, written.replace(without, &credentials)).unwrap();
            kill_process(child, Signal::HUP).unwrap();
            assert!((0..10_000).any(|_| reads(id)), "{id} is not used");
        }
        is_over.store(true, Ordering::Relaxed);
        for load in load {
            assert!(load.join().unwrap() > 0);
        }
        assert!(reads("third"));
        kill_process(child, Signal::TERM).unwrap();
        let said = log.join().unwrap();
        assert!(said.matches("reloaded configuration, platforms and keyring").count() >= 3, "{said}");
        assert!(said.contains("stopped"), "{said}");
    });
}

/// A connection that stays open.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn open(url: &str) -> Self {
        Self(BufReader::new(TcpStream::connect(url.trim_start_matches("http://")).unwrap()))
    }

    /// Sends a request, and reads its answer: head and body.
    fn ask(&mut self, target: &str, key: &str) -> String {
        write!(self.0.get_mut(), "GET {target} HTTP/1.1\r\nhost: x\r\nx-access-key: {key}\r\n\r\n").unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut answer).unwrap(), 0, "the connection was closed: {answer}");
        }
        let length = answer.to_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        answer + text(&body)
    }
}

#[test]
fn ten_reloads_drop_none_of_a_thousand_requests_over_kept_connections() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    const CLIENTS: usize = 4;
    const EACH: usize = 250;
    let instance = Instance::new();
    let config = instance.path("postpeer.toml");
    let written = fs::read_to_string(&config).unwrap();
    let mut broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let (url, child, key) = (broker.url(), Pid::from_child(&broker.child), &instance.key);
    let (reloaded, reloads) = mpsc::channel();
    let are_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stderr = &mut broker.stderr;
        scope.spawn(move || {
            for line in stderr.lines().map_while(Result::ok).filter(|line| line.contains("reloaded configuration")) {
                let _ = reloaded.send(line);
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut kept = Kept::open(&url);
                    let mut answered = 0;
                    while answered < EACH || !are_over.load(Ordering::Relaxed) {
                        let answer = kept.ask("/v1/health/auth", key);
                        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                        answered += 1;
                    }
                    // The connection is as old as the first configuration, and serves the last one.
                    assert!(kept.ask("/v1/connect/tiktok", key).contains("client_key=reload9"));
                    answered
                })
            })
            .collect();
        for number in 0..10 {
            let credentials = format!("[platforms.tiktok]\nclient_id = \"reload{number}\"\nclient_secret = \"s\"\n");
            let without = "[platforms.tiktok]\nclient_id = \"\"\nclient_secret = \"\"\n";
            fs::write(&config, written.replace(without, &credentials)).unwrap();
            kill_process(child, Signal::HUP).unwrap();
            reloads.recv_timeout(Duration::from_mins(1)).unwrap();
        }
        are_over.store(true, Ordering::Relaxed);
        let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(answered >= CLIENTS * EACH, "{answered}");
        kill_process(child, Signal::TERM).unwrap();
    });
    assert_eq!(broker.wait().0, Some(0));
}

#[test]
fn a_hangup_with_a_mistaken_configuration_changes_nothing_and_names_what_needs_a_restart() {
    let instance = Instance::new();
    let config = instance.path("postpeer.toml");
    let written = fs::read_to_string(&config).unwrap();
    let mut broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let url = broker.url();
    fs::write(&config, format!("{written}\n[srever]\n")).unwrap();
    assert!(broker.hang_up("srever").contains("goes on as before"));
    assert!(status_line(&url, &instance.key).contains(" 200 "));
    fs::write(&config, &written).unwrap();
    let keyring = instance.path("postpeer.keyring");
    let key = fs::read(&keyring).unwrap();
    fs::remove_file(&keyring).unwrap();
    assert!(broker.hang_up("keyring").contains("goes on as before"));
    fs::write(&keyring, key).unwrap();
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&config, written.replace("path = \"postpeer.db\"", "path = \"other.db\"")).unwrap();
    let said = broker.hang_up("reloaded configuration");
    assert!(said.contains("database.path stays") && said.contains("other.db"), "{said}");
    assert!(status_line(&url, &instance.key).contains(" 200 "));
    assert_eq!(broker.stop(Signal::TERM).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a test is a client of its own")]
async fn a_connection_being_finished_survives_a_stop() {
    use std::sync::Arc;

    use postpeer::domain::entropy::SystemEntropy;
    use postpeer::domain::time::SystemClock;
    use postpeer::sandbox::{self, Answer, Sandbox, Step};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::start(listener, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
    let platforms = sandbox.handle();
    let instance = Instance::new();
    let own = "http://127.0.0.1:8080";
    let settings = format!("[server]\npublic_url = \"{own}\"\n{}", sandbox::configuration(sandbox.base_url()));
    fs::write(instance.path("postpeer.toml"), settings).unwrap();

    let broker = Running::start(&mut instance.command(&["serve"]), "127.0.0.1:");
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let get = |path: &str, url: &str| client.get(format!("{url}{path}")).header("x-access-key", &instance.key).send();
    let url = broker.url();
    let begun = get("/v1/connect/pinterest", &url).await.unwrap().text().await.unwrap();
    let begun: serde_json::Value = serde_json::from_str(&begun).unwrap();
    let callback = platforms.consent(begun["url"].as_str().unwrap(), &Answer::allow()).unwrap();
    let callback = callback.strip_prefix(own).unwrap().to_owned();

    // The broker is told to stop while the platform holds the token answer.
    platforms.hold(Step::Token);
    let browser = tokio::spawn(get(&callback, &url));
    platforms.held(Step::Token).await;
    broker.signal(Signal::TERM);
    platforms.release(Step::Token);
    let (code, said) = tokio::task::block_in_place(|| broker.wait());
    assert_eq!(code, Some(0), "{said}");
    // The browser may or may not have received its page. The account must be there.
    let _ = browser.await.unwrap();

    let broker = Running::start(&mut instance.command(&["serve"]), "127.0.0.1:");
    let listed = get("/v1/connect/integrations", &broker.url()).await.unwrap().text().await.unwrap();
    assert!(listed.contains("\"total\":1"), "{listed}");
    let reloaded = get(&callback, &broker.url()).await.unwrap();
    let result = reloaded.headers()["location"].to_str().unwrap();
    let page = get(result, &broker.url()).await.unwrap().text().await.unwrap();
    assert!(page.contains("Pinterest is connected"), "a reload after the restart shows the result: {page}");
    assert_eq!(platforms.requests_at("pinterest", Step::Token).len(), 1);

    tokio::task::block_in_place(|| accounts_are_looked_after_beside_a_running_broker(&instance));
    let listed = get("/v1/connect/integrations", &broker.url()).await.unwrap().text().await.unwrap();
    assert!(listed.contains("\"total\":0"), "{listed}");
    tokio::task::block_in_place(|| broker.stop(Signal::TERM));
}

/// Disconnects the one account there is.
fn accounts_are_looked_after_beside_a_running_broker(instance: &Instance) {
    let listed = |options: &[&str]| -> Vec<serde_json::Value> {
        let json = succeeded(&instance.run(&[&["accounts", "list", "--json"], options].concat()));
        serde_json::from_str(&json).unwrap()
    };
    let all = listed(&[]);
    let [account] = &all[..] else { panic!("{all:?}") };
    assert_eq!((&account["platform"], &account["state"]), (&"pinterest".into(), &"ok".into()));
    assert_eq!(listed(&["--platform", "pinterest"]), all);
    assert!(listed(&["--platform", "youtube"]).is_empty());
    assert!(listed(&["--failing"]).is_empty());
    let id = account["id"].as_str().unwrap();
    assert!(succeeded(&instance.run(&["accounts", "list"])).contains(id));
    let shown = succeeded(&instance.run(&["accounts", "show", id]));
    assert!(shown.contains("Pinterest") && shown.contains("Next refresh"), "{shown}");
    let output = instance.run(&["accounts", "disconnect", id]);
    assert!(succeeded(&output).is_empty());
    assert!(text(&output.stderr).contains("no way to revoke"), "{}", text(&output.stderr));
    assert!(refused(&instance.run(&["accounts", "disconnect", id]), 64).contains(id));
    refused(&instance.run(&["accounts", "list", "--project", "nowhere"]), 64);
    assert!(listed(&[]).is_empty());
}
