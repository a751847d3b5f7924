//! The broker as a process that tests can kill. The database stays, and the platforms run on in the test's process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postpeer::app::{self, Desk, Ports};
use postpeer::broker;
use postpeer::config::{self, Config, Environment};
use postpeer::domain::access_key::Scope;
use postpeer::domain::entropy::SystemEntropy;
use postpeer::domain::project::DEFAULT_PROJECT;
use postpeer::domain::time::SystemClock;
use postpeer::sandbox::{Answer, Sandbox, TokenKind};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::own_address::own_address;
use crate::support::{Reply, client, expose, parameter};

/// More than a token of two hours has left, so that each request refreshes it.
pub(crate) const ALWAYS: &str = "minSeconds=7200";

/// A broker that can be killed, and platforms that run on.
pub(crate) struct Crashing {
    dir: tempfile::TempDir,
    url: String,
    /// A key for each project.
    keys: Vec<String>,
    pub(crate) sandbox: Sandbox,
    client: reqwest::Client,
}

impl Crashing {
    pub(crate) fn new(projects: usize) -> Self {
        // The broker's commands start their own runtime.
        tokio::task::block_in_place(|| Self::prepared(projects))
    }

    fn prepared(projects: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sandbox = Sandbox::start(listener, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // A fixed port, because callback URLs must outlive the process.
        let address = own_address();
        let url = format!("http://{address}");
        let toml = format!(
            "[server]\nlisten = \"{address}\"\npublic_url = \"{url}\"\n{}",
            postpeer::sandbox::configuration(sandbox.base_url())
        );
        std::fs::write(dir.path().join("postpeer.toml"), toml).unwrap();
        let this = Self { dir, url, keys: Vec::new(), sandbox, client: client() };
        let (config, ports) = (this.config(), Ports::system());
        app::initialise(&config, &ports).unwrap();
        let desk = Desk::open(&config, &ports).unwrap();
        let keys = (0..projects).map(|number| {
            let key = desk.run(|broker| async move {
                let name = if number == 0 { DEFAULT_PROJECT.to_owned() } else { format!("project {number}") };
                if number > 0 {
                    broker.create_project(&name).await?;
                }
                Ok::<_, broker::Error>(broker.create_access_key(&name, "test", Scope::ALL).await?.1)
            });
            expose(&key.unwrap())
        });
        Self { keys: keys.collect(), ..this }
    }

    /// Makes another access key for the default project, with every scope.
    pub(crate) fn renew_key(&mut self) {
        let desk = Desk::open(&self.config(), &Ports::system()).unwrap();
        let made = desk.run(|broker| async move { broker.create_access_key(DEFAULT_PROJECT, "new", Scope::ALL).await });
        self.keys[0] = expose(&made.unwrap().1);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn config(&self) -> Config {
        config::load(&self.path("postpeer.toml"), &Environment::default()).unwrap()
    }

    /// The access key of a project.
    pub(crate) fn key(&self, project: usize) -> &str {
        &self.keys[project]
    }

    /// Starts the broker, which aborts at the failpoint `dies_at`.
    pub(crate) fn start(&self, dies_at: Option<&str>) -> Process {
        Self::until_ready(self.serve(Command::new(env!("CARGO_BIN_EXE_postpeer")), dies_at))
    }

    /// Starts the broker under a tracer. `None` where that cannot be used.
    pub(crate) fn start_under(&self, mut tracer: Command) -> Option<Process> {
        tracer.arg(env!("CARGO_BIN_EXE_postpeer"));
        if let Err(error) = Command::new(tracer.get_program()).arg("-V").stdout(Stdio::null()).status() {
            return not_tested(&error.to_string());
        }
        Some(Self::until_ready(self.serve(tracer, None)))
    }

    /// Starts the broker and returns at once.
    pub(crate) fn start_without_waiting(&self, dies_at: Option<&str>) -> Child {
        self.serve(Command::new(env!("CARGO_BIN_EXE_postpeer")), dies_at)
    }

    /// Starts the broker, and waits until it has aborted at a failpoint that it comes to by itself.
    #[track_caller]
    pub(crate) fn start_dying(&self, dies_at: &str) {
        Process { child: self.start_without_waiting(Some(dies_at)), said: Arc::default() }.died();
    }

    fn serve(&self, mut command: Command, dies_at: Option<&str>) -> Child {
        command.args(["serve", "--config"]).arg(self.path("postpeer.toml")).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(place) = dies_at {
            command.env("FAILPOINT", place);
        }
        command.spawn().unwrap()
    }

    fn until_ready(mut child: Child) -> Process {
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut until_ready = String::new();
        while !until_ready.contains("listening") {
            assert_ne!(stderr.read_line(&mut until_ready).unwrap(), 0, "it stopped: {until_ready}");
        }
        let said = Arc::new(Mutex::new(until_ready));
        let log = said.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Process { child, said }
    }

    /// Starts the broker, which refuses. Returns its exit code and what it said.
    pub(crate) fn refuses(&self) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_postpeer"))
            .args(["serve", "--config"])
            .arg(self.path("postpeer.toml"))
            .env_clear()
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Exit code of `postpeer healthcheck`, and what it says.
    pub(crate) fn healthcheck(&self) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_postpeer"))
            .args(["healthcheck", "--url", &self.url])
            .env_clear()
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Starts another command on the same database.
    pub(crate) fn command(&self, arguments: &[&str]) -> Process {
        self.dying_command(arguments, None)
    }

    /// Another command, which aborts at the failpoint `dies_at`.
    pub(crate) fn dying_command(&self, arguments: &[&str], dies_at: Option<&str>) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postpeer"));
        command.args(arguments).arg("--config").arg(self.path("postpeer.toml")).env_clear();
        if let Some(place) = dies_at {
            command.env("FAILPOINT", place);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Process { child, said: Arc::default() }
    }

    pub(crate) async fn call(&self, project: usize, path: &str) -> Result<Reply, reqwest::Error> {
        let request = self.client.get(format!("{}{path}", self.url)).header("x-access-key", &self.keys[project]);
        Ok(Reply::of(request.send().await?).await)
    }

    pub(crate) async fn post(&self, project: usize, path: &str, body: &Value) -> Reply {
        let reply = self.try_post(project, path, body).await;
        assert!((200..300).contains(&reply.status), "{}", reply.text);
        reply
    }

    pub(crate) async fn try_post(&self, project: usize, path: &str, body: &Value) -> Reply {
        let request = self.client.post(format!("{}{path}", self.url)).header("x-access-key", &self.keys[project]);
        let request = request.header("content-type", "application/json").body(body.to_string());
        Reply::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn token(&self, project: usize, id: &str, query: &str) -> Result<Reply, reqwest::Error> {
        self.call(project, &format!("/v1/connect/integrations/{id}/token?{query}")).await
    }

    pub(crate) async fn detail(&self, project: usize, id: &str) -> Value {
        self.call(project, &format!("/v1/connect/integrations/{id}")).await.unwrap().json["integration"].take()
    }

    /// The callback URL after a consent.
    pub(crate) async fn consented(&self, project: usize, platform: &str, account: &str) -> Option<String> {
        let back = "https%3A%2F%2Fapp.example%2Fback";
        let reply = self.call(project, &format!("/v1/connect/{platform}?redirectUri={back}")).await.ok()?;
        let url = reply.json["url"].as_str()?.to_owned();
        Some(self.sandbox.handle().consent(&url, &Answer::allow().account(account)).unwrap())
    }

    pub(crate) async fn browse(&self, url: &str) -> Option<Reply> {
        Some(Reply::of(self.client.get(url).send().await.ok()?).await)
    }

    /// Connects an account. Returns the integration's id.
    pub(crate) async fn connect(&self, project: usize, platform: &str, account: &str) -> String {
        let callback = self.consented(project, platform, account).await.unwrap();
        let reply = self.browse(&callback).await.unwrap();
        parameter(&reply.location(), "integrationId").unwrap_or_else(|| panic!("{}", reply.text))
    }

    pub(crate) fn issued(&self, platform: &str, kind: TokenKind) -> Vec<String> {
        let issued = self.sandbox.handle().issued(platform);
        issued.into_iter().filter(|issued| issued.kind == kind).map(|issued| issued.value).collect()
    }

    /// True when X accepts the token.
    pub(crate) async fn is_alive(&self, token: &Value) -> bool {
        let url = format!("{}/twitter/2/users/me", self.sandbox.base_url());
        self.client.get(url).bearer_auth(token.as_str().unwrap()).send().await.unwrap().status() == 200
    }

    /// The health of an account once nothing is in doubt: a starting broker retries interrupted refreshes.
    pub(crate) async fn settled(&self, project: usize, id: &str) -> Value {
        for _ in 0..400 {
            let detail = self.detail(project, id).await;
            if detail["health"]["state"] == "ok" || detail["health"]["state"] == "reconnect_required" {
                return detail["health"].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it stays in doubt: {}", self.detail(project, id).await);
    }
}

pub(crate) struct Process {
    child: Child,
    pub(crate) said: Arc<Mutex<String>>,
}

impl Process {
    /// Waits for the end. One that does not come fails the test, which would hang otherwise.
    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        for _ in 0..12_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.said.lock().unwrap());
    }

    #[track_caller]
    pub(crate) fn kill(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.wait();
    }

    #[track_caller]
    pub(crate) fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.wait().code()
    }

    /// Sends SIGHUP and waits until the log has these words once more.
    pub(crate) fn hang_up(&self, words: &str) {
        let before = self.said.lock().unwrap().matches(words).count();
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
        said(&self.said, words, before + 1);
    }

    /// Waits until the log has these words: it is written beside the requests that it tells of.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) {
        said(&self.said, words, 1);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has ended by itself. Returns its exit code.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.wait().code()
    }

    /// Waits until the process has ended as it should.
    #[track_caller]
    pub(crate) fn succeeded(mut self) {
        assert!(self.wait().success());
    }

    /// Waits until the process has aborted.
    #[track_caller]
    pub(crate) fn died(mut self) {
        let status = self.wait();
        assert_eq!(status.code(), None, "it ended, but not by an abort: {}", self.said.lock().unwrap());
    }
}

/// Waits until a log has these words so many times. It goes on after its process has ended.
#[track_caller]
pub(crate) fn said(log: &Mutex<String>, words: &str, times: usize) {
    for _ in 0..1000 {
        if log.lock().unwrap().matches(words).count() >= times {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not say {words:?}: {}", log.lock().unwrap());
}

impl Drop for Process {
    fn drop(&mut self) {
        // Usually it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that strace cannot be used, and fails in CI.
#[expect(clippy::disallowed_methods, reason = "CI skips nothing")]
pub(crate) fn not_tested<T>(why: &str) -> Option<T> {
    let advice = format!(
        "faults of the disk were NOT tested, because strace cannot be used here ({why}): apt-get install strace, and run \
         this as root"
    );
    assert!(std::env::var_os("CI").is_none(), "{advice}");
    // Unlike eprintln!, this is shown for a test that passes.
    std::io::stderr().write_all(format!("{advice}\n").as_bytes()).unwrap();
    None
}
