//! A broker in a process of its own, and what it costs.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use super::client;

/// Time within which a broker answers. It migrates its database before.
const STARTED_WITHIN: Duration = Duration::from_mins(20);

/// Time within which a broker has done what a start leaves for later.
const SETTLED_WITHIN: Duration = Duration::from_mins(20);

/// Time without a commit after which none is expected. The broker pauses for less between those of a start.
const QUIET_FOR: Duration = Duration::from_secs(2);

/// A running broker. Stops when dropped.
pub(crate) struct Broker {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) dir: PathBuf,
    /// Time from exec to the first answer.
    pub(crate) started_in: Duration,
}

impl Broker {
    /// Starts a broker with the database in this directory.
    pub(crate) fn start(binary: &Path, dir: &Path, platform: SocketAddr) -> Self {
        // Free a moment ago, which has to do: the broker is told its port before it has one.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = dir.join("postpeer.toml");
        fs::write(&config, configuration(address, platform)).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let started = Instant::now();
        let process = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&config)
            // No proxy, and no settings of ours.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut broker = Self { process, address, dir: dir.to_owned(), started_in: Duration::ZERO };
        while !broker.answers() {
            let ended = broker.process.try_wait().unwrap().is_some();
            if ended || started.elapsed() > STARTED_WITHIN {
                let log = fs::read_to_string(broker.dir.join("log")).unwrap();
                panic!("{} does not start in {}: {log}", binary.display(), dir.display());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        broker.started_in = started.elapsed();
        broker
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let mut answer = [0; 12];
        stream.write_all(&client::get("/v1/health", "")).unwrap();
        stream.read_exact(&mut answer).is_ok() && answer.ends_with(b" 200")
    }

    /// A line of `/proc/<pid>/status`, in bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS")
    }

    /// The most memory that was resident.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM")
    }

    /// Processor time used so far by the threads that are there.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let used = tasks.map(|task| -> u64 {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
        });
        Duration::from_nanos(used.sum())
    }

    /// Share of a processor that the broker uses while nobody asks it anything.
    pub(crate) fn idle_cpu(&self, time: Duration) -> f64 {
        let before = self.cpu();
        std::thread::sleep(time);
        self.cpu().saturating_sub(before).as_secs_f64() / time.as_secs_f64()
    }

    /// Waits until what a start leaves for later is done: the whole file is checked for damage, and after an upgrade,
    /// tokens are sealed anew and the search indices merged. That takes little of the processor, but many commits, and
    /// each ends what the broker remembers of its answers.
    pub(crate) fn settle(&self) {
        let started = Instant::now();
        let database = Connection::open(self.dir.join("postpeer.db")).unwrap();
        // Changes with the commits of others.
        let version = || database.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
        let mut last = None;
        while last != Some(version()) || self.idle_cpu(Duration::from_millis(500)) > 0.1 {
            assert!(started.elapsed() < SETTLED_WITHIN, "the broker works on, long after its start");
            last = Some(version());
            std::thread::sleep(QUIET_FOR);
        }
    }

    /// Size of the database file.
    pub(crate) fn database(&self) -> u64 {
        fs::metadata(self.dir.join("postpeer.db")).unwrap().len()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

fn configuration(address: SocketAddr, platform: SocketAddr) -> String {
    let mut text = format!(
        r#"
        [server]
        listen = "{address}"
        public_url = "http://{address}"
        [database]
        path = "postpeer.db"
        [keyring]
        path = "postpeer.keyring"
        # The paths are measured, not the limits.
        [limits]
        bluesky_per_key = 0
        connections_per_address = 0
        misses_per_address = 0
        starts_in_all = 0
        starts_per_address = 0
        starts_per_key = 0
        writes_in_all = 0
        writes_per_address = 0
        writes_per_key = 0
        [platforms.acme]
        client_id = "client"
        client_secret = "secret"
        authorize_url = "http://{platform}/authorize"
        token_url = "http://{platform}/token"
        identity_url = "http://{platform}/me"
        scopes = ["a"]
        identity = {{ id = "/sub", name = "/name" }}
        "#
    );
    for name in ["instagram", "linkedin", "pinterest", "threads", "tiktok", "twitter", "youtube"] {
        text.push_str("[platforms.");
        text.push_str(name);
        text.push_str("]\nclient_id = \"client\"\nclient_secret = \"secret\"\n");
    }
    text
}
