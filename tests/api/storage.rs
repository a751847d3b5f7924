//! Trouble with the database's files and their disk under a running broker: what can be read is handed out, no change
//! is claimed, `/readyz`, the log and `postpeer healthcheck` name the reason, and nothing is made anew in silence.
//!
//! Errors of the disk are injected by strace into the running process, and end with it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postpeer::sandbox::Step;
use serde_json::json;

use crate::process::{ALWAYS, Crashing, Process, not_tested, said};
use crate::small_disk;
use crate::support::Reply;

/// SQLite does not tell the two apart.
const UNREADABLE: &str = "The database is damaged, or its disk cannot be read: the broker must be restarted.";

/// A running broker with one account.
struct Scene {
    broker: Crashing,
    process: Process,
    id: String,
    token: String,
}

impl Scene {
    async fn new() -> Self {
        let broker = Crashing::new(1);
        let process = broker.start(None);
        let id = broker.connect(0, "twitter", "ada").await;
        let token = token(&broker, &id).await;
        broker.sandbox.handle().clear();
        Self { broker, process, id, token }
    }

    async fn ready(&self) -> Reply {
        self.broker.browse(&format!("{}/readyz", self.broker.url())).await.unwrap()
    }

    /// Begins a connection, which writes.
    async fn begin(&self) -> Reply {
        self.broker.call(0, "/v1/connect/tiktok").await.unwrap()
    }

    /// The reason is told everywhere in the same words, a change is refused with this status and code, and reads go on.
    async fn is_in_trouble(&self, words: &str, status: u16, code: &str) {
        let begun = self.begin().await;
        assert_eq!((begun.status, begun.code()), (status, code), "{words}: {}", begun.text);
        let ready = self.ready().await;
        assert_eq!((ready.status, ready.code()), (503, "not_ready"), "{words}: {}", ready.text);
        let mut sentence = format!("{words}.");
        sentence[..1].make_ascii_uppercase();
        assert_eq!(ready.json["error"], sentence);
        let folder = self.broker.path("");
        assert!(!ready.text.contains(folder.to_str().unwrap()), "anybody may read this: {}", ready.text);
        let (code, said) = self.broker.healthcheck();
        assert_eq!(code, Some(69));
        assert!(said.contains(&sentence), "{said}");
        self.process.says(&format!("the broker is not ready: {words}"));

        assert_eq!(token(&self.broker, &self.id).await, self.token);
        let kept = self.broker.token(0, &self.id, ALWAYS).await.unwrap();
        assert_eq!(kept.json["accessToken"], self.token.as_str(), "{words}: {}", kept.text);
        assert!(self.broker.sandbox.handle().requests_at("twitter", Step::Refresh).is_empty(), "nobody is asked");
        assert_eq!(self.broker.call(0, "/v1/connect/integrations").await.unwrap().json["total"], 1);
    }

    async fn is_well(&self) {
        let ready = self.ready().await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        assert_eq!(self.begin().await.status, 200);
        assert_eq!(self.broker.token(0, &self.id, ALWAYS).await.unwrap().status, 200);
        self.process.says("the broker is ready again");
    }
}

async fn token(broker: &Crashing, id: &str) -> String {
    let reply = broker.token(0, id, "").await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json["accessToken"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_moved_away_takes_no_changes_until_it_is_back() {
    let scene = Scene::new().await;
    let (here, away) = (scene.broker.path("postpeer.db"), scene.broker.path("away.db"));
    fs::rename(&here, &away).unwrap();
    scene.is_in_trouble("the database file was moved away or deleted", 503, "storage_unavailable").await;
    scene.process.says(here.to_str().unwrap());
    assert!(!here.exists(), "it is not made anew");
    fs::rename(&away, &here).unwrap();
    scene.is_well().await;
    assert_eq!(scene.process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_deleted_or_replaced_is_neither_made_anew_nor_written_to() {
    let other = Crashing::new(1);
    for (replacement, words) in [
        (None, "the database file was moved away or deleted"),
        (Some(other.path("postpeer.db")), "the database file was replaced by another file"),
    ] {
        let scene = Scene::new().await;
        let here = scene.broker.path("postpeer.db");
        fs::remove_file(&here).unwrap();
        let there = replacement.map(|other| {
            fs::copy(&other, &here).unwrap();
            fs::read(&other).unwrap()
        });
        scene.is_in_trouble(words, 503, "storage_unavailable").await;
        let log = scene.process.said.clone();
        assert_eq!(scene.process.stop(), Some(74), "{words}");
        said(&log, "postpeer restore FILE", 1);
        assert!(fs::read(&here).ok() == there, "{words}: it was touched");
        assert!(scene.broker.path("postpeer.db-wal").exists(), "{words}: the latest changes are gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_or_lock_that_is_removed_costs_no_change_even_if_the_broker_is_killed() {
    for ending in ["-wal", "-shm", ".lock"] {
        let scene = Scene::new().await;
        let gone = scene.broker.path(&format!("postpeer.db{ending}"));
        fs::remove_file(&gone).unwrap();
        let words = "a file beside the database was removed: the broker must be restarted";
        scene.is_in_trouble(words, 503, "storage_unavailable").await;
        assert!(!gone.exists(), "{ending}: it is not made anew");
        if ending == "-wal" {
            scene.process.kill();
        } else {
            assert_eq!(scene.process.stop(), Some(0));
        }
        let process = scene.broker.start(None);
        assert_eq!(token(&scene.broker, &scene.id).await, scene.token, "{ending}");
        assert_eq!(scene.broker.token(0, &scene.id, ALWAYS).await.unwrap().status, 200, "{ending}");
        assert_eq!(process.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cut_short_costs_what_only_it_had_and_not_the_database() {
    // The header and three pages.
    for left in [0, 32 + 3 * (24 + 4096)] {
        let Scene { broker, process, id, token: old } = Scene::new().await;
        assert_eq!(process.stop(), Some(0));
        let process = broker.start(None);
        let later = broker.connect(0, "twitter", "basil").await;
        let (database, log) = (broker.path("postpeer.db"), broker.path("postpeer.db-wal"));
        fs::File::options().write(true).open(&log).unwrap().set_len(left).unwrap();
        let before = fs::read(&database).unwrap();
        let words = "The log beside the database was cut short: the broker must be restarted.";
        let ready = broker.browse(&format!("{}/readyz", broker.url())).await.unwrap();
        assert_eq!(ready.json["error"], words, "{}", ready.text);
        let begun = broker.call(0, "/v1/connect/tiktok").await.unwrap();
        assert_eq!((begun.status, begun.code()), (503, "storage_unavailable"), "{}", begun.text);
        assert_eq!(fs::metadata(&log).unwrap().len(), left, "something was written after the gap");
        let told = process.said.clone();
        assert_eq!(process.stop(), Some(65));
        said(&told, "postpeer.db-wal was cut short while it was open", 2);
        said(&told, "postpeer restore FILE", 1);
        assert!(fs::read(&database).unwrap() == before, "it was touched");

        let process = broker.start(None);
        assert_eq!(token(&broker, &id).await, old);
        assert_eq!(broker.token(0, &later, "").await.unwrap().status, 404);
        assert_eq!(broker.call(0, "/v1/connect/tiktok").await.unwrap().status, 200);
        assert_eq!(process.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cut_short_is_noticed_at_the_stop() {
    let scene = Scene::new().await;
    fs::File::options().write(true).open(scene.broker.path("postpeer.db-wal")).unwrap().set_len(0).unwrap();
    let before = fs::read(scene.broker.path("postpeer.db")).unwrap();
    assert_eq!(scene.process.stop(), Some(65));
    assert!(fs::read(scene.broker.path("postpeer.db")).unwrap() == before, "it was touched");
    assert_eq!(scene.broker.start(None).stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_damaged_while_it_is_open_is_not_ready_and_stays_as_it_is() {
    let broker = Crashing::new(1);
    let process = broker.start(None);
    let id = broker.connect(0, "twitter", "ada").await;
    assert_eq!(process.stop(), Some(0));
    let process = broker.start(None);
    // All pages but the first and the schema's, which the broker has read.
    let file = fs::File::options().write(true).open(broker.path("postpeer.db")).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name IN ('grants', 'integrations')";
    let pages: Vec<u32> = {
        let db = rusqlite::Connection::open(broker.path("postpeer.db")).unwrap();
        let mut statement = db.prepare(root).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for page in pages {
        file.write_all_at(&[0xff; 4096], u64::from(page - 1) * 4096).unwrap();
    }
    let reply = broker.token(0, &id, "").await.unwrap();
    assert_eq!((reply.status, reply.code()), (503, "storage_unavailable"), "{}", reply.text);
    let before = fs::read(broker.path("postpeer.db")).unwrap();
    let ready = broker.browse(&format!("{}/readyz", broker.url())).await.unwrap();
    assert_eq!(ready.json["error"], UNREADABLE, "{}", ready.text);
    assert_eq!(broker.call(0, "/v1/profiles").await.unwrap().status, 200, "what can be read is read");
    process.says("the broker is not ready: the database is damaged, or");
    let told = process.said.clone();
    assert_eq!(process.stop(), Some(65));
    self::said(&told, "Put a backup in its place: `postpeer restore FILE`", 1);
    let (code, said) = broker.refuses();
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("postpeer restore FILE"), "{said}");
    assert!(fs::read(broker.path("postpeer.db")).unwrap() == before, "it was touched");
}

/// A fault of the disk, injected into system calls of a running broker until this is dropped.
struct Fault(Child);

impl Fault {
    /// `calls`: system calls that fail with `error` on these files, or on any when there are none. `None` where strace
    /// cannot be used; then the test says so, and fails in CI.
    async fn inject(process: &Process, calls: &str, error: &str, files: &[PathBuf]) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={calls}:error={error}")]);
        for file in files {
            command.arg("-P").arg(file);
        }
        let pid = process.pid();
        let spawned = command.args(["-p", &pid.to_string()]).stderr(Stdio::piped()).spawn();
        let mut tracer = match spawned {
            Ok(tracer) => Self(tracer),
            Err(error) => return not_tested(&error.to_string()),
        };
        for _ in 0..500 {
            if tracer.0.try_wait().unwrap().is_some() {
                return not_tested("it does not attach to a process");
            }
            if is_traced_by(pid, tracer.0.id()) {
                return Some(tracer);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("strace does not get to work");
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // It detaches on this signal, and the process goes on.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// True when every thread is.
fn is_traced_by(pid: u32, tracer: u32) -> bool {
    let wanted = format!("TracerPid:\t{tracer}\n");
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default())
        .all(|status| status.contains(&wanted))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_disk_refuses_is_named_for_what_it_is_and_goes_through_afterwards() {
    for (error, words, status, code) in [
        ("EIO", "the disk reports errors", 503, "storage_unavailable"),
        ("EROFS", "the database is read-only", 503, "storage_unavailable"),
        ("EDQUOT", "the disk is full", 507, "storage_full"),
        ("EFBIG", "the disk is full", 507, "storage_full"),
        ("ENOSPC", "the disk is full", 507, "storage_full"),
    ] {
        let scene = Scene::new().await;
        let files = ["postpeer.db", "postpeer.db-wal", "postpeer.db.ballast", "postpeer.db.ballast.probe"];
        let files = files.map(|name| scene.broker.path(name));
        let Some(fault) = Fault::inject(&scene.process, "pwrite64,write,fallocate", error, &files).await else {
            return;
        };
        scene.is_in_trouble(words, status, code).await;
        drop(fault);
        scene.is_well().await;
        assert_eq!(scene.process.stop(), Some(0), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_ends_the_broker_and_everything_acknowledged_is_there() {
    let scene = Scene::new().await;
    let Some(fault) = Fault::inject(&scene.process, "fsync,fdatasync", "EIO", &[]).await else { return };
    let asked = scene.broker.token(0, &scene.id, ALWAYS).await;
    let claimed = asked.ok().and_then(|reply| reply.json["accessToken"].as_str().map(str::to_owned));
    assert!(claimed.is_none_or(|token| token == scene.token), "no new token is claimed");
    let log = scene.process.said.clone();
    assert_eq!(scene.process.ended(), Some(74));
    drop(fault);
    said(&log, "the disk did not confirm a write", 1);
    assert!(scene.broker.sandbox.handle().requests_at("twitter", Step::Refresh).is_empty(), "nobody was asked");
    // The log may hold that a refresh began. A starting broker repeats that one by itself, so it is told not to.
    let config = scene.broker.path("postpeer.toml");
    let calm = format!("{}\n[refresh]\nenabled = false\n", fs::read_to_string(&config).unwrap());
    fs::write(&config, calm).unwrap();
    let process = scene.broker.start(None);
    assert_eq!(token(&scene.broker, &scene.id).await, scene.token);
    assert_eq!(scene.broker.token(0, &scene.id, ALWAYS).await.unwrap().status, 200);
    assert_eq!(process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_disk_did_not_confirm_is_not_said_to_be_undone() {
    let Scene { broker, process, .. } = Scene::new().await;
    let Some(fault) = Fault::inject(&process, "fsync,fdatasync", "EIO", &[]).await else { return };
    let made = broker.try_post(0, "/v1/profiles", &json!({"name": "One"})).await;
    assert_eq!((made.status, made.code()), (503, "storage_unavailable"), "{}", made.text);
    let told = made.json["error"].as_str().unwrap();
    assert!(told.contains("look before you repeat it") && !told.contains("nothing was changed"), "{told}");
    assert_eq!(process.ended(), Some(74));
    drop(fault);
    let process = broker.start(None);
    assert_eq!(broker.call(0, "/v1/profiles").await.unwrap().json["total"], 1, "the log has it");
    assert_eq!(process.stop(), Some(0));
}

/// As `cp -al` makes them. The lock of a broker with the other name is another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_warns_of_a_database_with_two_names() {
    let broker = Crashing::new(1);
    fs::hard_link(broker.path("postpeer.db"), broker.path("snapshot.db")).unwrap();
    let process = broker.start(None);
    process.says("has 2 names (hard links)");
    assert_eq!(process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_gives_no_socket_is_not_the_platforms_fault() {
    let Scene { broker, process, id, .. } = Scene::new().await;
    let Some(fault) = Fault::inject(&process, "socket", "EMFILE", &[]).await else { return };
    assert_eq!(broker.token(0, &id, ALWAYS).await.unwrap().status, 200, "the old one lasts");
    process.says("LimitNOFILE=");
    process.says("who_can_help=\"operator\"");
    drop(fault);
    assert_eq!(process.stop(), Some(0));
}

/// Nothing of them can have reached the disk.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_come_after_an_unconfirmed_write_are_revoked_and_said_to_be_lost() {
    for (step, lost) in [
        (Step::Refresh, "refreshed tokens were not stored before the broker stopped: the account must be reconnected"),
        (Step::Token, "how the connection ended was not recorded: the next start ends it"),
    ] {
        let Scene { broker, process, id, .. } = Scene::new().await;
        let callback = broker.consented(0, "twitter", "basil").await.unwrap();
        let platforms = broker.sandbox.handle();
        platforms.hold(step);
        let asking = async {
            if step == Step::Refresh {
                drop(broker.token(0, &id, ALWAYS).await);
            } else {
                drop(broker.browse(&callback).await);
            }
        };
        let ((), fault) = tokio::join!(asking, async {
            platforms.held(step).await;
            let fault = Fault::inject(&process, "fsync,fdatasync", "EIO", &[]).await;
            if fault.is_some() {
                let made = broker.try_post(0, "/v1/profiles", &json!({"name": "One"})).await;
                assert!(made.text.contains("may have been stored or not"), "{}", made.text);
            }
            platforms.release(step);
            fault
        });
        if fault.is_none() {
            return;
        }
        let log = process.said.clone();
        assert_eq!(process.ended(), Some(74));
        said(&log, lost, 1);
        let said = log.lock().unwrap().clone();
        assert!(!said.contains("stored answer"), "{said}");
        assert_eq!(platforms.requests_at("twitter", Step::Revoke).len(), 1, "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_the_disk_refuses_is_told_and_goes_through_afterwards() {
    let scene = Scene::new().await;
    // Every connection reads anew what was changed.
    assert_eq!(scene.begin().await.status, 200);
    let Some(fault) = Fault::inject(&scene.process, "pread64", "EIO", &[]).await else { return };
    let reply = scene.broker.call(0, "/v1/connect/integrations").await.unwrap();
    assert_eq!((reply.status, reply.code()), (503, "storage_unavailable"), "{}", reply.text);
    let ready = scene.ready().await;
    assert_eq!(ready.json["error"], UNREADABLE, "{}", ready.text);
    drop(fault);
    assert_eq!(token(&scene.broker, &scene.id).await, scene.token);
    assert_eq!(scene.broker.call(0, "/v1/connect/integrations").await.unwrap().json["total"], 1);
    assert_eq!(scene.process.stop(), Some(0));
    let process = scene.broker.start(None);
    assert_eq!(scene.broker.browse(&format!("{}/readyz", scene.broker.url())).await.unwrap().status, 200);
    assert_eq!(process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_locks_on_the_database() {
    let scene = Scene::new().await;
    let inode = format!(":{} ", fs::metadata(scene.broker.path("postpeer.db")).unwrap().ino());
    let pid = format!(" {} ", scene.process.pid());
    let is_locked = || {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|lock| lock.contains("POSIX") && lock.contains(&inode) && lock.contains(&pid))
    };
    assert!(is_locked());
    scene.process.hang_up("reloaded configuration");
    assert!(is_locked(), "the next program that closes the database would remove its log");
    assert_eq!(scene.process.stop(), Some(0));
}

/// One connection, for one request after the other.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(broker: &Crashing) -> Self {
        let stream = TcpStream::connect(broker.url().strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self(BufReader::new(stream))
    }

    /// The status line of the answer.
    fn get(&mut self, broker: &Crashing, path: &str) -> String {
        let host = broker.url().strip_prefix("http://").unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx-access-key: {}\r\n\r\n", broker.key(0));
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "it hangs up");
            head.push(line.to_lowercase());
        }
        let length =
            head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap().trim().parse().unwrap();
        self.0.read_exact(&mut vec![0; length]).unwrap();
        head.swap_remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_free_file_descriptors_open_connections_are_served_and_new_ones_wait() {
    let scene = Scene::new().await;
    let path = format!("/v1/connect/integrations/{}/token", scene.id);
    let mut open = Connection::open(&scene.broker);
    assert!(open.get(&scene.broker, "/readyz").starts_with("http/1.1 200"));
    let Some(fault) = Fault::inject(&scene.process, "accept,accept4,socket,openat", "EMFILE", &[]).await else {
        return;
    };
    let url = format!("{}/readyz", scene.broker.url());
    let waiting = tokio::spawn(async move { crate::support::client().get(url).send().await.unwrap().status() });
    for path in [&path[..], "/v1/connect/tiktok", "/readyz"] {
        let answered = tokio::task::block_in_place(|| open.get(&scene.broker, path));
        assert!(answered.starts_with("http/1.1 200"), "{path}: {answered}");
    }
    drop(fault);
    assert_eq!(waiting.await.unwrap(), 200);
    assert_eq!(scene.broker.token(0, &scene.id, ALWAYS).await.unwrap().status, 200);
    assert_eq!(scene.process.stop(), Some(0));
}

#[test]
fn a_read_only_database_does_not_start() {
    small_disk::run("storage::inside_a_small_file_system");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts file systems: a_read_only_database_does_not_start gives it a namespace"]
async fn inside_a_small_file_system() {
    small_disk::assert_small(Path::new("."));
    let broker = Crashing::new(1);
    let mount = |arguments: &[&str], path: &Path| {
        assert!(Command::new("mount").args(arguments).arg(path).status().unwrap().success(), "{arguments:?}");
    };
    let file = broker.path("postpeer.db");
    let before = fs::read(&file).unwrap();
    let refused = |what: &str| {
        let (code, said) = broker.refuses();
        assert_eq!(code, Some(74), "{what}: {said}");
        assert!(said.to_lowercase().contains("read-only") && said.contains("postpeer.db"), "{what}: {said}");
        assert!(!said.contains("listening"), "{what}: {said}");
        assert!(fs::read(&file).unwrap() == before, "{what}: it was touched");
    };
    mount(&["--bind", file.to_str().unwrap()], &file);
    mount(&["-o", "remount,bind,ro"], &file);
    refused("the file");
    assert!(Command::new("umount").arg(&file).status().unwrap().success());
    mount(&["-o", "remount,ro"], Path::new("."));
    refused("the file system");
    mount(&["-o", "remount,rw"], Path::new("."));
    let process = broker.start(None);
    broker.connect(0, "twitter", "ada").await;
    assert_eq!(process.stop(), Some(0));
}
