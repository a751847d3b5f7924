//! A command's files are on the disk before anything relies on them, and when the command ends.
//!
//! strace records the system calls of commands that make, replace or exchange files. A model of the disk goes through
//! each record, and knows of every file and every name whether a power cut could take it. `power_cut` does more for a
//! running broker.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::power_cut::{strings, unescaped};
use crate::process::not_tested;

/// A system call that succeeded.
struct Call {
    name: String,
    /// The path of the file descriptor that it is about.
    file: Option<PathBuf>,
    /// The paths that it names.
    paths: Vec<PathBuf>,
    /// Everything but its texts.
    rest: String,
}

impl Call {
    fn read(text: &str) -> Option<Self> {
        let (name, arguments) = text.split_once('(')?;
        let (_, result) = arguments.rsplit_once(" = ")?;
        if !result.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let path = |bytes: Vec<u8>| String::from_utf8(bytes).ok().map(PathBuf::from);
        let file = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let (texts, rest) = strings(arguments);
        let paths = if name.contains("write") { Vec::new() } else { texts.into_iter().filter_map(path).collect() };
        Some(Self { name: name.to_owned(), file: file.and_then(|(file, _)| path(unescaped(file))), paths, rest })
    }

    fn is_sync(&self) -> bool {
        self.name == "fsync" || self.name == "fdatasync"
    }
}

/// Reads a record, in the order in which the calls ended.
fn read_record(file: &Path) -> Vec<Call> {
    let mut unfinished: BTreeMap<String, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(file).unwrap().lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid.to_owned(), first.to_owned());
        } else if let Some((_, last)) = call.strip_prefix("<... ").and_then(|call| call.split_once(" resumed>")) {
            calls.extend(Call::read(&(unfinished.remove(pid).unwrap() + last)));
        } else {
            calls.extend(Call::read(call));
        }
    }
    calls
}

/// The files below a folder, and what a power cut could take of them.
#[derive(Default)]
struct Disk {
    files: BTreeMap<PathBuf, usize>,
    made: usize,
    /// Files with content that is not synced.
    unwritten: BTreeSet<usize>,
    /// Names that were given to files, in folders that were not synced since.
    unnamed: BTreeSet<PathBuf>,
    complaints: Vec<String>,
}

fn ends_with(path: &Path, endings: &[&str]) -> bool {
    endings.iter().any(|ending| path.to_str().unwrap().ends_with(ending))
}

impl Disk {
    fn insert(&mut self, path: &Path) {
        self.made += 1;
        self.files.insert(path.to_owned(), self.made);
    }

    /// Complains of files that a power cut could take. What SQLite makes anew, and locks, may go.
    fn check(&mut self, when: &str, is_meant: impl Fn(&Path) -> bool) {
        for (path, file) in &self.files {
            if !is_meant(path) || ends_with(path, &["-journal", "-shm", ".lock"]) {
                continue;
            }
            if self.unwritten.contains(file) {
                self.complaints.push(format!("{when}, the content of {} is not synced", path.display()));
            }
            if self.unnamed.contains(path) {
                self.complaints.push(format!("{when}, the name of {} is not synced", path.display()));
            }
        }
    }

    fn check_content(&mut self, when: &str, path: &Path) {
        if self.files.get(path).is_some_and(|file| self.unwritten.contains(file)) {
            self.complaints.push(format!("{when}, the content of {} is not synced", path.display()));
        }
    }

    fn apply(&mut self, call: &Call) {
        match (call.name.as_str(), call.file.as_deref(), call.paths.as_slice()) {
            ("openat", _, [path]) if call.rest.contains("O_CREAT") && !self.files.contains_key(path) => {
                self.insert(path);
                self.unnamed.insert(path.clone());
            }
            ("mkdir" | "mkdirat", _, [path]) => {
                self.insert(path);
                self.unnamed.insert(path.clone());
            }
            ("write" | "writev", ..) if call.rest.starts_with("1<") => {
                self.check("when it prints its result", |_| true);
            }
            ("write" | "writev" | "pwrite64" | "ftruncate" | "fallocate", Some(path), _) => {
                self.unwritten.extend(self.files.get(path));
            }
            ("fsync" | "fdatasync", Some(path), _) => {
                if let Some(file) = self.files.get(path) {
                    self.unwritten.remove(file);
                }
                self.unnamed.retain(|name| name.parent() != Some(path));
                if ends_with(path, &["-wal"]) {
                    let is_key = |path: &Path| path.file_name().and_then(OsStr::to_str).unwrap().contains("keyring");
                    self.check("when the database was changed", is_key);
                }
            }
            ("rename" | "renameat" | "renameat2" | "link" | "linkat", _, [from, to]) => {
                self.check_content("when it gets another name", from);
                if call.rest.contains("RENAME_EXCHANGE") {
                    self.check("when files change places", |path| path == from || path == to);
                    let (one, other) = (self.files[from], self.files[to]);
                    self.files.extend([(from.clone(), other), (to.clone(), one)]);
                    self.unnamed.insert(from.clone());
                } else {
                    let file = self.files[from];
                    self.files.insert(to.clone(), file);
                    if !call.name.starts_with("link") {
                        self.files.remove(from);
                        self.unnamed.remove(from);
                    }
                }
                self.unnamed.insert(to.clone());
            }
            ("unlink" | "unlinkat", _, [path]) => {
                self.files.remove(path);
                self.unnamed.remove(path);
            }
            _ => {}
        }
    }
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        }
        found.push(path);
    }
}

/// Complaints about a record, with the files that were there before it.
fn complaints<'a>(root: &Path, before: &[PathBuf], calls: impl Iterator<Item = &'a Call>) -> Vec<String> {
    let mut disk = Disk::default();
    for path in before {
        disk.insert(path);
    }
    for call in calls {
        let concerns = |path: &PathBuf| path.starts_with(root);
        if call.rest.starts_with("1<") || call.file.iter().any(concerns) || call.paths.iter().any(concerns) {
            disk.apply(call);
        }
    }
    disk.check("at the end", |_| true);
    disk.complaints
}

/// Runs a command of the program, and checks its record. `None` where strace cannot be used.
fn run(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Option<()> {
    let mut before = Vec::new();
    list(root, &mut before);
    let record = tempfile::NamedTempFile::new().unwrap();
    let calls = "trace=openat,mkdir,mkdirat,pwrite64,write,writev,fsync,fdatasync,ftruncate,fallocate,rename,renameat,\
                 renameat2,unlink,unlinkat,link,linkat";
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-q", "-y", "-xx", "-s", "4096", "-e", calls, "-o"]).arg(record.path());
    let command = tracer.arg(env!("CARGO_BIN_EXE_postpeer")).args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
    command.envs(environment.iter().copied());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return not_tested(&error.to_string()),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("ptrace") {
        return not_tested(&said);
    }
    assert!(output.status.success(), "{arguments:?}: {said}");
    let calls = read_record(record.path());
    let found = complaints(root, &before, calls.iter());
    assert!(found.is_empty(), "{arguments:?}: {}", found.join("\n"));
    // The same record without the syncs of folders, and without those of files.
    for is_left_out in [|path: &Path| path.is_dir(), |path: &Path| !path.is_dir()] {
        let kept = |call: &&Call| !call.is_sync() || !call.file.as_deref().is_some_and(is_left_out);
        let found = complaints(root, &before, calls.iter().filter(kept));
        assert!(!found.is_empty(), "this test does not notice that {arguments:?} syncs not everything");
    }
    Some(())
}

#[test]
fn what_a_command_wrote_outlives_a_power_cut() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let away = root.join("away");
    fs::create_dir(&away).unwrap();
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (dir, recovery, second) =
        (path(root.join("at")), path(away.join("one.recovery")), path(away.join("two.recovery")));
    let (config, backup) = (path(root.join("at/postpeer.toml")), path(away.join("backup.db")));
    let (database, keyring) = (root.join("at/postpeer.db"), root.join("at/postpeer.keyring"));
    let command = |arguments: &[&str]| run(&root, &[arguments, &["--config", &config]].concat(), &[]);
    let Some(()) = run(&root, &["init", "--dir", &dir, "--recovery-key", &recovery], &[]) else { return };
    let (other_database, other_keyring) = (path(away.join("other.db")), path(away.join("other.keyring")));
    let elsewhere = [("POSTPEER_DATABASE__PATH", &*other_database), ("POSTPEER_KEYRING__PATH", &*other_keyring)];
    run(&root, &["init", "--dir", &path(root.join("apart/from/them"))], &elsewhere).unwrap();
    for arguments in [
        ["keyring", "rotate"].as_slice(),
        &["keyring", "rewrap", "--new-key"],
        &["keyring", "rewrap", "--recovery-key", &second],
        &["backup", &backup],
        &["restore", &backup],
    ] {
        command(arguments).unwrap();
    }
    fs::write(&database, "damaged").unwrap();
    command(&["restore", &backup]).unwrap();
    fs::remove_file(&database).unwrap();
    command(&["restore", &backup]).unwrap();
    fs::remove_file(&keyring).unwrap();
    command(&["keyring", "recover", &second]).unwrap();
    fs::remove_file(&keyring).unwrap();
    command(&["keyring", "forget", "--yes", "--recovery-key-lost"]).unwrap();
}
