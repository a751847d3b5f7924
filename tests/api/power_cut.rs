//! After a power cut, everything that was acknowledged is there.
//!
//! strace records what the running broker writes and syncs, and what it answers. The record is then replayed up to many
//! moments, as a disk might hold it: only what was synced is certain. Of the rest, each write may be there, be missing,
//! or be torn, whatever came after it. The broker's own way of opening must find everything that was answered before
//! that moment.
//!
//! Pending connections are committed without a sync on purpose, and are not looked for. `POWER_CUTS` is the number of
//! moments (40 by default), `POWER_CUT_SEED` chooses others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use postpeer::app::{Desk, Ports};
use postpeer::broker;
use postpeer::config::{self, Environment};
use postpeer::domain::entropy::{Entropy as _, SeededEntropy};
use postpeer::domain::time::{Clock as _, ManualClock, SystemClock};
use postpeer::sandbox::TokenKind;
use serde_json::json;

use crate::completion::crash;
use crate::process::{ALWAYS, Crashing};
use crate::support::expose;

const DATABASE: &str = "postpeer.db";
const LOG: &str = "postpeer.db-wal";

/// A disk's sector: what is written at once.
const SECTOR: usize = 512;

/// Something that the broker answered.
struct Acknowledged {
    /// Text that only its answer has.
    answer: String,
    what: What,
}

enum What {
    AccessKey,
    App,
    Integration,
    Profile,
    /// The token of an integration after a refresh.
    Token {
        integration: String,
    },
    /// A flow that waits for its caller. The answer is the redirect's.
    Waiting {
        flow: String,
    },
}

/// A change to one of the two files.
struct Change {
    /// Lines of the record at which the call began and ended.
    began: usize,
    ended: usize,
    file: &'static str,
    kind: Kind,
}

enum Kind {
    Truncate { length: usize },
    Write { offset: usize, bytes: Vec<u8> },
}

/// A sync of a file, or of the directory (`None`).
struct Sync {
    began: usize,
    ended: usize,
    file: Option<&'static str>,
}

#[derive(Default)]
struct Record {
    changes: Vec<Change>,
    syncs: Vec<Sync>,
    /// Line at which the call ended that created the log.
    log_created: Option<usize>,
    /// What was sent or printed, with the line.
    said: Vec<(usize, String)>,
    lines: usize,
}

/// The strings of a line, which strace prints in hexadecimal, and what is outside of them.
pub(crate) fn strings(line: &str) -> (Vec<Vec<u8>>, String) {
    let mut outside = String::new();
    let mut found = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 0 {
            outside.push_str(part);
        } else {
            found.push(unescaped(part));
        }
    }
    (found, outside)
}

pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    hex::decode(text.replace("\\x", "")).unwrap_or_else(|_| panic!("not hexadecimal: {text}"))
}

impl Record {
    /// Reads the lines of one or more records, in the order of their times.
    fn read(files: &[PathBuf], dir: &Path) -> Self {
        let mut lines: Vec<(String, String, String)> = Vec::new();
        for file in files {
            for line in fs::read_to_string(file).unwrap().lines() {
                let (pid, rest) = line.split_once(' ').unwrap();
                let (time, call) = rest.trim_start().split_once(' ').unwrap();
                lines.push((time.to_owned(), pid.to_owned(), call.to_owned()));
            }
        }
        lines.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut record = Self { lines: lines.len(), ..Self::default() };
        // Calls that another thread interrupted: their line and text.
        let mut unfinished: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (at, (_, pid, call)) in lines.iter().enumerate() {
            if let Some(first) = call.strip_suffix(" <unfinished ...>") {
                // What is sent may arrive before the call ends.
                record.note(at, usize::MAX, first, dir);
                unfinished.insert(pid.clone(), (at, first.to_owned()));
            } else if call.starts_with("<... ") {
                let (began, first) = unfinished.remove(pid).unwrap();
                record.forget(began);
                let succeeded = !call.contains(" = -1 ");
                if succeeded {
                    record.note(began, at, &first, dir);
                }
            } else if !call.contains(" = -1 ") {
                record.note(at, at, call, dir);
            }
        }
        record
    }

    fn forget(&mut self, began: usize) {
        self.changes.retain(|change| change.began != began);
        self.syncs.retain(|sync| sync.began != began);
        self.said.retain(|(line, _)| *line != began);
    }

    fn note(&mut self, began: usize, ended: usize, call: &str, dir: &Path) {
        let Some((name, arguments)) = call.split_once('(') else { return };
        let path = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
        let path = path.map(|path| PathBuf::from(String::from_utf8(unescaped(path)).unwrap()));
        let file = [DATABASE, LOG].into_iter().find(|name| path.as_deref() == Some(&dir.join(name)));
        let (texts, outside) = strings(arguments);
        let number = |text: &str| text.trim().trim_end_matches(')').parse::<usize>().unwrap();
        match (name, file) {
            ("pwrite64", Some(file)) => {
                let bytes = texts.into_iter().next().unwrap();
                let mut numbers = outside.split(" = ").next().unwrap().rsplit(',');
                let (offset, length) = (number(numbers.next().unwrap()), number(numbers.next().unwrap()));
                assert_eq!(bytes.len(), length, "the record is cut: {outside}");
                self.changes.push(Change { began, ended, file, kind: Kind::Write { offset, bytes } });
            }
            ("ftruncate", Some(file)) => {
                let length = number(outside.split(" = ").next().unwrap().rsplit(',').next().unwrap());
                self.changes.push(Change { began, ended, file, kind: Kind::Truncate { length } });
            }
            ("fsync" | "fdatasync", Some(file)) => self.syncs.push(Sync { began, ended, file: Some(file) }),
            ("fsync" | "fdatasync", None) if path.as_deref() == Some(dir) => {
                self.syncs.push(Sync { began, ended, file: None });
            }
            ("write" | "writev" | "sendto" | "sendmsg", None) => {
                let text = texts.concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                let is_printed = arguments.starts_with("1<");
                if is_printed || text.starts_with("HTTP/1.1 ") {
                    self.said.push((began, text));
                }
            }
            ("openat", _) => {
                let opened = texts.first().map(|path| PathBuf::from(String::from_utf8(path.clone()).unwrap()));
                let has_ended = ended != usize::MAX;
                if has_ended && opened == Some(dir.join(LOG)) && outside.contains("O_CREAT") {
                    self.log_created.get_or_insert(ended);
                }
            }
            ("write" | "writev" | "fallocate", Some(file)) => panic!("an unexpected change of {file}: {name}"),
            ("rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "link" | "linkat", _) => {
                for text in texts {
                    let path = PathBuf::from(String::from_utf8(text).unwrap());
                    assert!(![DATABASE, LOG].iter().any(|name| path == dir.join(name)), "{name} of {}", path.display());
                }
            }
            _ => {}
        }
    }

    /// The line at which the answer began to be sent.
    fn answered(&self, answer: &str) -> usize {
        let found = self.said.iter().filter(|(_, text)| text.contains(answer)).map(|(line, _)| *line).min();
        found.unwrap_or_else(|| panic!("the record has no answer with {answer}"))
    }

    /// What a disk may hold after a power cut at this line. `None` for a log that is not there.
    fn cut(&self, at: usize, first: &[u8], random: &SeededEntropy) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut files = BTreeMap::from([(DATABASE, first.to_vec()), (LOG, Vec::new())]);
        // Nothing unsynced, all of it, or some.
        let mode = below(random, 4);
        for change in self.changes.iter().filter(|change| change.began <= at) {
            let is_certain = self
                .syncs
                .iter()
                .any(|sync| sync.file == Some(change.file) && sync.ended <= at && change.ended < sync.began);
            let contents = files.get_mut(change.file).unwrap();
            match &change.kind {
                Kind::Truncate { length } if is_certain || mode == 1 || (mode > 1 && below(random, 2) == 1) => {
                    contents.resize(*length, 0);
                }
                Kind::Truncate { .. } => {}
                Kind::Write { offset, bytes } => {
                    let sectors = bytes.len().div_ceil(SECTOR);
                    let written = match (is_certain, mode) {
                        (true, _) | (false, 1) => sectors,
                        (false, 0) => 0,
                        (false, 2) => sectors * below(random, 2),
                        (false, _) => below(random, sectors + 1),
                    };
                    let bytes = &bytes[..bytes.len().min(written * SECTOR)];
                    if !bytes.is_empty() {
                        contents.resize(contents.len().max(offset + bytes.len()), 0);
                        contents[*offset..offset + bytes.len()].copy_from_slice(bytes);
                    }
                }
            }
        }
        let is_named = self.log_created.is_some_and(|created| {
            self.syncs.iter().any(|sync| sync.file.is_none() && sync.ended <= at && created < sync.began)
        });
        let (database, log) = (files.remove(DATABASE).unwrap(), files.remove(LOG).unwrap());
        (database, (is_named || mode == 1).then_some(log))
    }
}

fn below(random: &SeededEntropy, limit: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    usize::try_from(u64::from_be_bytes(bytes) % limit as u64).unwrap()
}

/// A broker, its record, and what it acknowledged.
struct Scene {
    broker: Crashing,
    /// The database before the broker started.
    first: Vec<u8>,
    record: Record,
    acknowledged: Vec<(usize, Acknowledged)>,
    /// Stands at the time of the record, because what waits for its caller does not wait long.
    clock: Arc<ManualClock>,
}

impl Scene {
    async fn new() -> Option<Self> {
        let broker = Crashing::new(1);
        let first = fs::read(broker.path(DATABASE)).unwrap();
        let record = |name: &str| broker.path(name);
        let process = broker.start_under(tracer(&record("serve.strace")))?;
        let mut acknowledged = Vec::new();
        let mut done = |answer: &str, what| acknowledged.push(Acknowledged { answer: answer.to_owned(), what });
        let mut keys = Vec::new();
        for round in 0..12 {
            for (platform, account) in [("twitter", "ada"), ("tiktok", "ada"), ("youtube", "ada"), ("twitter", "basil")]
            {
                let id = broker.connect(0, platform, account).await;
                if round == 0 {
                    done(&id, What::Integration);
                }
                if platform == "twitter" {
                    let reply = broker.token(0, &id, ALWAYS).await.unwrap();
                    done(reply.json["accessToken"].as_str().unwrap(), What::Token { integration: id });
                }
            }
            let profile = json!({"name": format!("profile {round}")});
            let reply = broker.post(0, "/v1/profiles", &profile).await;
            done(reply.json["profile"]["id"].as_str().unwrap(), What::Profile);
            let app = json!({"platform": "tiktok", "name": "a", "clientId": format!("c{round}"), "clientSecret": "s"});
            let reply = broker.post(0, "/v1/apps", &app).await;
            done(reply.json["app"]["id"].as_str().unwrap(), What::App);
            if round % 4 == 0 {
                let (flow, callback) = crash::consented(&broker, "pinterest").await;
                let location = broker.browse(&callback).await.unwrap().location();
                let (_, waits) = location.split_once("status=completion_required").unwrap();
                done(waits, What::Waiting { flow: flow.clone() });
                let completed = crash::complete(&broker, &flow).await.unwrap();
                if round == 0 {
                    done(completed.json["integrations"][0]["id"].as_str().unwrap(), What::Integration);
                }
                let name = format!("key{round}.strace");
                let mut command = tracer(&record(&name));
                command.arg(env!("CARGO_BIN_EXE_postpeer")).args(["access-key", "create", "--name", "a", "--config"]);
                let output =
                    command.arg(broker.path("postpeer.toml")).env_clear().env("PATH", "/usr/bin:/bin").output();
                let key = String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned();
                assert!(!key.is_empty());
                done(&key, What::AccessKey);
                keys.push(record(&name));
            }
        }
        process.kill();
        let serve = record("serve.strace");
        for _ in 0..500 {
            // The tracer writes the rest after the process is gone.
            if fs::read_to_string(&serve).unwrap().trim_end().ends_with("+++ killed by SIGKILL +++") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let files: Vec<PathBuf> = std::iter::once(serve).chain(keys).collect();
        let record = Record::read(&files, &broker.path("").canonicalize().unwrap());
        let acknowledged = acknowledged.into_iter().map(|it| (record.answered(&it.answer), it)).collect();
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        Some(Self { broker, first, record, acknowledged, clock })
    }

    /// Opens the database as it may be after a power cut at this line. Returns what is missing.
    fn missing_after(&self, at: usize, random: &SeededEntropy) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let (database, log) = self.record.cut(at, &self.first, random);
        fs::write(dir.path().join(DATABASE), database).unwrap();
        if let Some(log) = log {
            fs::write(dir.path().join(LOG), log).unwrap();
        }
        for name in ["postpeer.toml", "postpeer.keyring"] {
            fs::copy(self.broker.path(name), dir.path().join(name)).unwrap();
        }
        let config = config::load(&dir.path().join("postpeer.toml"), &Environment::default()).unwrap();
        let desk = match Desk::open(&config, &Ports { clock: self.clock.clone(), ..Ports::system() }) {
            Ok(desk) => desk,
            Err(error) => return vec![error.to_string()],
        };
        let issued = self.broker.issued("twitter", TokenKind::Access);
        let expected = self.acknowledged.iter().filter(|(line, _)| *line <= at);
        let key = self.broker.key(0);
        let missing = desk.run(|broker| async move {
            let caller = broker.authenticate(key, None).await?;
            let mut missing = Vec::new();
            for (_, Acknowledged { answer, what }) in expected {
                let is_there = match what {
                    What::AccessKey => broker.authenticate(answer, None).await.is_ok(),
                    What::App => broker.get_app(&caller, answer).await.is_ok(),
                    What::Integration => broker.fresh_token(&caller, answer, None).await.is_ok(),
                    What::Profile => broker.get_profile(&caller, answer).await.is_ok(),
                    What::Token { integration } => {
                        let found = broker.fresh_token(&caller, integration, None).await;
                        // A later one may be there, before anybody was told.
                        let number = |token: &str| issued.iter().position(|issued| issued == token);
                        found.is_ok_and(|found| number(&expose(&found.access_token)) >= number(answer))
                    }
                    What::Waiting { flow } => Box::pin(broker.complete_connect(&caller, flow)).await.is_ok(),
                };
                if !is_there {
                    missing.push(answer.clone());
                }
            }
            Ok::<_, broker::Error>(missing)
        });
        missing.unwrap_or_else(|error| vec![error.to_string()])
    }
}

fn tracer(record: &Path) -> Command {
    let calls = "trace=openat,pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync,ftruncate,fallocate,rename,renameat,\
                 renameat2,unlink,unlinkat,link,linkat";
    let mut command = Command::new("strace");
    // The process that it starts is the broker's own, so that signals reach it.
    command.args(["-D", "-f", "-q", "-ttt", "-y", "-xx", "-s", "10000000", "-e", calls, "-o"]).arg(record);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_everything_acknowledged_is_there() {
    let Some(mut scene) = Scene::new().await else { return };
    let random = SeededEntropy::new(number("POWER_CUT_SEED", 1));
    let cuts = number("POWER_CUTS", 40);
    let lines = scene.record.lines;
    for number in 0..cuts {
        let at = below(&random, lines);
        let missing = tokio::task::block_in_place(|| scene.missing_after(at, &random));
        assert!(missing.is_empty(), "cut {number} at line {at} of {lines}: {missing:?} are missing");
    }

    // The same without durability: a broker that does not sync its log, and one that syncs nothing.
    for spared in [Some(DATABASE), None] {
        scene.record.syncs.retain(|sync| sync.file.is_none() || (spared.is_some() && sync.file == spared));
        let found = (0..40).any(|_| {
            let at = below(&random, lines);
            tokio::task::block_in_place(|| !scene.missing_after(at, &random).is_empty())
        });
        assert!(found, "this test does not notice that only {spared:?} is synced");
    }
}

#[test]
fn a_call_that_another_thread_interrupted_counts_from_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let spelled = |path: &Path| -> String {
        path.to_str().unwrap().bytes().fold(String::new(), |text, byte| format!("{text}\\x{byte:02x}"))
    };
    let (parent, log) = (spelled(dir.path()), spelled(&dir.path().join(LOG)));
    let lines = [
        format!("1 1.0 openat(AT_FDCWD<\\x2f>, \"{log}\", O_RDWR|O_CREAT, 0644 <unfinished ...>"),
        format!("2 1.1 fsync(5<{parent}>) = 0"),
        format!("1 1.2 <... openat resumed>) = 4<{log}>"),
        format!("2 1.3 fsync(5<{parent}>) = 0"),
        format!("1 1.4 pwrite64(4<{log}>, \"\\x61\", 1, 0 <unfinished ...>"),
        format!("2 1.5 fdatasync(4<{log}>) = 0"),
        "1 1.6 <... pwrite64 resumed>) = 1".to_owned(),
        format!("1 1.7 fdatasync(4<{log}>) = 0"),
    ];
    let file = dir.path().join("record");
    fs::write(&file, lines.join("\n")).unwrap();
    let record = Record::read(&[file], dir.path());
    let logs = |at| -> BTreeSet<Option<Vec<u8>>> {
        (0..50).map(|seed| record.cut(at, b"", &SeededEntropy::new(seed)).1).collect()
    };
    let (empty, written) = (Some(Vec::new()), Some(b"a".to_vec()));
    assert_eq!(logs(2), BTreeSet::from([None, empty.clone()]), "the directory was synced too early");
    assert_eq!(logs(3), BTreeSet::from([empty.clone()]));
    assert_eq!(logs(6), BTreeSet::from([empty, written.clone()]), "the log was synced too early");
    assert_eq!(logs(7), BTreeSet::from([written]));
}

#[expect(clippy::disallowed_methods, reason = "a long run has more moments than a person waits for")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
