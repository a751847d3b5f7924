//! The broker dies, and what it had acknowledged or been given is still there, or is said to be in doubt.
//!
//! These tests run the binary against a sandbox in this process and end it with no warning: at each named step, and at random
//! under load. `CRASH_ROUNDS` says how many random ends (25 unless told otherwise).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postpeer::app::{self, Desk, Ports};
use postpeer::config::{self, Config, Environment};
use postpeer::domain::access_key::Scope;
use postpeer::domain::entropy::{Entropy as _, SeededEntropy, SystemEntropy};
use postpeer::domain::project::DEFAULT_PROJECT;
use postpeer::domain::time::SystemClock;
use postpeer::sandbox::{Answer, Fault, Sandbox, Step, TokenKind};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Reply, client, expose, parameter};

/// Longer than a refresh of a token that lives for two hours lets it be: each request gets another token.
pub(crate) const ALWAYS: &str = "minSeconds=7200";

/// A broker that can die, with platforms that go on.
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
        // The broker's own commands bring a runtime of theirs.
        tokio::task::block_in_place(|| Self::prepared(projects))
    }

    fn prepared(projects: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sandbox = Sandbox::start(listener, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Of a port that is free now, because callback URLs must outlive the process.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
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
                Ok(broker.create_access_key(&name, "test", &Scope::ALL).await?.1)
            });
            expose(&key.unwrap())
        });
        Self { keys: keys.collect(), ..this }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn config(&self) -> Config {
        config::load(&self.path("postpeer.toml"), &Environment::default(), &[]).unwrap()
    }

    /// Runs the broker, which ends itself at a place where that is asked for.
    pub(crate) fn start(&self, dies_at: Option<&str>) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postpeer"));
        command.args(["serve", "--config"]).arg(self.path("postpeer.toml")).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(place) = dies_at {
            command.env("FAILPOINT", place);
        }
        let mut child = command.spawn().unwrap();
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

    pub(crate) async fn call(&self, project: usize, path: &str) -> Result<Reply, reqwest::Error> {
        let request = self.client.get(format!("{}{path}", self.url)).header("x-access-key", &self.keys[project]);
        Ok(Reply::of(request.send().await?).await)
    }

    pub(crate) async fn token(&self, project: usize, id: &str, query: &str) -> Result<Reply, reqwest::Error> {
        self.call(project, &format!("/v1/connect/integrations/{id}/token?{query}")).await
    }

    pub(crate) async fn detail(&self, project: usize, id: &str) -> Value {
        self.call(project, &format!("/v1/connect/integrations/{id}")).await.unwrap().json["integration"].take()
    }

    /// The callback URL of a connection that its person has consented to.
    pub(crate) async fn consented(&self, project: usize, platform: &str, account: &str) -> Option<String> {
        let back = "https%3A%2F%2Fapp.example%2Fback";
        let reply = self.call(project, &format!("/v1/connect/{platform}?redirectUri={back}")).await.ok()?;
        let url = reply.json["url"].as_str()?.to_owned();
        Some(self.sandbox.handle().consent(&url, &Answer::allow().account(account)).unwrap())
    }

    pub(crate) async fn browse(&self, url: &str) -> Option<Reply> {
        Some(Reply::of(self.client.get(url).send().await.ok()?).await)
    }

    /// A whole connection; the integration's id.
    pub(crate) async fn connect(&self, project: usize, platform: &str, account: &str) -> String {
        let callback = self.consented(project, platform, account).await.unwrap();
        let reply = self.browse(&callback).await.unwrap();
        parameter(&reply.location(), "integrationId").unwrap_or_else(|| panic!("{}", reply.text))
    }

    pub(crate) fn issued(&self, platform: &str, kind: TokenKind) -> Vec<String> {
        let issued = self.sandbox.handle().issued(platform);
        issued.into_iter().filter(|issued| issued.kind == kind).map(|issued| issued.value).collect()
    }

    /// Whether X takes the token.
    pub(crate) async fn is_alive(&self, token: &Value) -> bool {
        let url = format!("{}/twitter/2/users/me", self.sandbox.base_url());
        self.client.get(url).bearer_auth(token.as_str().unwrap()).send().await.unwrap().status() == 200
    }

    /// The health of an account once nothing is in doubt any more: what was cut off is tried when the broker starts.
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
    pub(crate) fn kill(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Waits until it has ended itself.
    fn died(mut self) {
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended, but not by an abort: {}", self.said.lock().unwrap());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_dies_at_any_step_loses_no_token_in_silence() {
    for (step, state) in [
        ("refresh_begun", "ok"),
        ("refresh_answered", "reconnect_required"),
        ("refresh_answer_kept", "ok"),
        ("refresh_answer_read", "ok"),
        ("refresh_swapping", "ok"),
        ("refresh_stored", "ok"),
    ] {
        let crashing = Crashing::new(1);
        let process = crashing.start(None);
        let id = crashing.connect(0, "twitter", "ada").await;
        process.kill();

        let process = crashing.start(Some(step));
        assert!(crashing.token(0, &id, ALWAYS).await.is_err(), "{step}: the answer cannot come");
        process.died();
        let delivered = crashing.issued("twitter", TokenKind::Access);

        let process = crashing.start(None);
        let health = crashing.settled(0, &id).await;
        assert_eq!(health["state"], state, "{step}: {health}");
        if state == "ok" {
            let reply = crashing.token(0, &id, "").await.unwrap();
            assert_eq!(reply.status, 200, "{step}: {}", reply.text);
            assert!(crashing.is_alive(&reply.json["accessToken"]).await, "{step}");
            if step != "refresh_begun" {
                assert_eq!(reply.json["accessToken"].as_str(), delivered.last().map(String::as_str), "{step}");
            }
            for _ in 0..3 {
                let reply = crashing.token(0, &id, ALWAYS).await.unwrap();
                assert_eq!(reply.status, 200, "{step}: the chain goes on: {}", reply.text);
            }
        } else {
            assert_eq!(health["lastError"]["code"], "refresh_interrupted", "{step}: it is not called revoked");
            assert_eq!(crashing.token(0, &id, "").await.unwrap().code(), "reconnect_required", "{step}");
        }
        assert_eq!(process.stop(), Some(0), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_at_any_step_is_finished_or_said_to_be_cut_off() {
    for (step, status) in [
        ("connect_consumed", "error"),
        ("connect_answered", "error"),
        ("connect_answer_kept", "success"),
        ("connect_identified", "success"),
        ("connect_storing", "success"),
        ("connect_stored", "success"),
    ] {
        for (platform, account) in [("twitter", "ada"), ("threads", "ada")] {
            let crashing = Crashing::new(1);
            let process = crashing.start(Some(step));
            let callback = crashing.consented(0, platform, account).await.unwrap();
            assert!(crashing.browse(&callback).await.is_none(), "{step}: the answer cannot come");
            process.died();

            let process = crashing.start(None);
            // What is being taken up is waited for, as a callback under way is.
            let location = crashing.browse(&callback).await.unwrap().location();
            assert_eq!(parameter(&location, "status").as_deref(), Some(status), "{step} {platform}: {location}");
            let total = crashing.call(0, "/v1/connect/integrations").await.unwrap().json["total"].clone();
            if status == "success" {
                let id = parameter(&location, "integrationId").unwrap();
                let reply = crashing.token(0, &id, "").await.unwrap();
                assert_eq!(reply.status, 200, "{step} {platform}: {}", reply.text);
                assert_eq!(total, 1, "{step} {platform}");
            } else {
                assert_eq!(parameter(&location, "error").as_deref(), Some("interrupted"), "{step} {platform}");
                assert_eq!(total, 0, "{step} {platform}");
                assert!(process.said.lock().unwrap().contains("a connection was cut off"), "{step} {platform}");
            }
            let exchanges = crashing.sandbox.handle().requests_at(platform, Step::Token).len();
            assert_eq!(exchanges, usize::from(step != "connect_consumed"), "{step} {platform}: never twice");
            process.kill();
        }
    }
}

/// What a client was told before the broker died.
#[derive(Default)]
struct Acknowledged {
    /// The integrations of connections that were said to be made, with their projects.
    connected: Vec<(usize, String)>,
    /// Callbacks that were on their way, with their projects.
    begun: Vec<(usize, String)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_at_random_loses_no_token_in_silence() {
    let rounds: u32 = setting("CRASH_ROUNDS", 25);
    let projects = 4;
    let crashing = Arc::new(Crashing::new(projects));
    let random = SeededEntropy::new(u64::from(std::process::id()));
    let mut process = crashing.start(None);
    let mut accounts = BTreeMap::new();
    for project in 0..projects {
        for account in ["ada", "basil"] {
            accounts.insert((project, account), crashing.connect(project, "twitter", account).await);
        }
    }
    let (mut doubted, mut refreshed) = (0_u32, 0_usize);
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
        let mut clients = Vec::new();
        for number in 0..16 {
            let (crashing, stop) = (crashing.clone(), stop.clone());
            let ids: Vec<_> = accounts.iter().map(|((project, _), id)| (*project, id.clone())).collect();
            clients.push(tokio::spawn(async move {
                let mut at = number;
                while !stop.load(Ordering::SeqCst) {
                    let (project, id) = &ids[at % ids.len()];
                    at += 1;
                    // Whatever comes of it: the broker may be gone.
                    let _ = crashing.token(*project, id, ALWAYS).await;
                }
            }));
        }
        for (number, platform) in ["tiktok", "pinterest"].into_iter().enumerate() {
            let (crashing, stop, acknowledged) = (crashing.clone(), stop.clone(), acknowledged.clone());
            clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let Some(callback) = crashing.consented(number, platform, "ada").await else { continue };
                    acknowledged.lock().unwrap().begun.push((number, callback.clone()));
                    let Some(reply) = crashing.browse(&callback).await else { continue };
                    let id = parameter(&reply.location(), "integrationId");
                    acknowledged.lock().unwrap().connected.extend(id.map(|id| (number, id)));
                }
            }));
        }
        let mut byte = [0_u8; 2];
        random.fill(&mut byte);
        let after = 5 + u64::from(u16::from_be_bytes(byte)) % 396;
        tokio::time::sleep(Duration::from_millis(after)).await;
        process.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }

        refreshed += crashing.sandbox.handle().requests_at("twitter", Step::Refresh).len();
        crashing.sandbox.handle().clear();
        process = crashing.start(None);
        for ((project, account), id) in &accounts {
            let health = crashing.settled(*project, id).await;
            if health["state"] == "ok" {
                let reply = crashing.token(*project, id, "").await.unwrap();
                assert_eq!(reply.status, 200, "round {round}: {}", reply.text);
                assert!(crashing.is_alive(&reply.json["accessToken"]).await, "round {round}: a dead token");
                let reply = crashing.token(*project, id, ALWAYS).await.unwrap();
                assert_eq!(reply.status, 200, "round {round}: a stale refresh token: {}", reply.text);
            } else {
                assert_eq!(health["lastError"]["code"], "refresh_interrupted", "round {round}");
                doubted += 1;
                assert_eq!(&crashing.connect(*project, "twitter", account).await, id, "round {round}");
            }
        }
        let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
        for (project, id) in acknowledged.connected {
            assert_eq!(crashing.token(project, &id, "").await.unwrap().status, 200, "round {round}: {id}");
        }
        for (_, callback) in acknowledged.begun {
            let reply = crashing.browse(&callback).await.unwrap();
            let status = parameter(&reply.location(), "status").unwrap_or_else(|| panic!("{}", reply.text));
            assert!(["success", "error"].contains(&status.as_str()), "round {round}: {status}");
        }
    }
    assert_eq!(process.stop(), Some(0));
    let db = rusqlite::Connection::open(crashing.path("postpeer.db")).unwrap();
    let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    println!("{rounds} ends, {refreshed} refreshes, {doubted} in doubt and said to be");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_broker_finishes_the_refresh_under_way() {
    let crashing = Crashing::new(1);
    let process = crashing.start(None);
    let id = crashing.connect(0, "twitter", "ada").await;
    let platforms = crashing.sandbox.handle();
    platforms.fail_next("twitter", Step::Refresh, Fault::Slow(Duration::from_secs(3)), 1).unwrap();
    let asking = crashing.token(0, &id, ALWAYS);
    let stopping = async {
        platforms.seen("twitter", Step::Refresh, 1).await;
        tokio::task::block_in_place(|| process.stop())
    };
    let (_, code) = tokio::join!(asking, stopping);
    assert_eq!(code, Some(0));
    let delivered = crashing.issued("twitter", TokenKind::Access);
    let process = crashing.start(None);
    assert_eq!(crashing.settled(0, &id).await["state"], "ok");
    let reply = crashing.token(0, &id, "").await.unwrap();
    assert_eq!(reply.json["accessToken"].as_str(), delivered.last().map(String::as_str));
    process.kill();
}

#[expect(clippy::disallowed_methods, reason = "how long it may take is said from outside")]
fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
