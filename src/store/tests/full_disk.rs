//! What happens on a disk that is really full: a small file system of our own, in a process of its own, where even an
//! unprivileged user may mount one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::statfs;

use super::*;

const INNER: &str = "store::tests::full_disk::inside_a_small_file_system";

/// Runs the test below where the current directory is a file system of 16 MiB.
fn inside(namespaces: &[&str], directory: &Path) -> io::Result<Output> {
    let script = r#"mount -t tmpfs -o size=16m,mode=0700 tmpfs "$1" && cd "$1" && exec "$2" --ignored --exact "$3""#;
    Command::new("unshare")
        .args(namespaces)
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(directory)
        .arg(std::env::current_exe()?)
        .arg(INNER)
        .output()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "where everything must be tested, nothing is skipped")]
fn what_must_be_kept_is_stored_on_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut refused = Vec::new();
    for namespaces in [["--user", "--map-root-user"].as_slice(), &[]] {
        match inside(namespaces, directory.path()) {
            Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && said.contains("1 passed"), "{said}");
                return;
            }
            Ok(output) => refused.push(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => refused.push(error.to_string()),
        }
    }
    let advice = format!(
        "no file system can be mounted here ({}), so a full disk was not tested. By hand, in an empty directory on a \
         file system of at most 64 MiB: {} --ignored --exact {INNER}",
        refused.join("; "),
        std::env::current_exe().unwrap().display(),
    );
    assert!(std::env::var_os("CI").is_none(), "{advice}");
    eprintln!("{advice}");
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    file.sync_all().unwrap();
}

#[test]
#[ignore = "fills the file system that it runs in: what_must_be_kept_is_stored_on_a_full_disk gives it one"]
fn inside_a_small_file_system() {
    let here = PathBuf::from(".");
    let found = statfs(&here).unwrap();
    let size = found.f_blocks.saturating_mul(u64::try_from(found.f_bsize).unwrap());
    assert!(size <= 64 << 20, "the current directory is on a file system of {size} bytes: this would fill it");
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0, "the current directory is not empty");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(on_a_full_disk(&here));
}

async fn on_a_full_disk(directory: &Path) {
    let (path, filler) = (directory.join("postpeer.db"), directory.join("filler"));
    let store = create(&path);
    store.hold_ballast().unwrap();
    insert(&store, 1).await.unwrap();
    store.ensure_reserve().await.unwrap();
    fill(&filler);

    // Between asking and storing the disk filled up.
    let refused = insert(&store, 2).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert_eq!(count(&store).await, 2, "reads go on");
    assert!(store.has_reserve(), "a write that may fail does not take it");
    store.write_kept(|db| projects::insert(db, &project(3))).await.unwrap();
    assert_eq!(count(&store).await, 3);
    assert!(!store.has_reserve());

    // No more than that is promised.
    let full = store.ensure_reserve().await;
    assert!(matches!(full, Err(Error::Full(_))), "{full:?}");
    assert!(!directory.join("postpeer.db.ballast").exists(), "half a ballast takes room");
    fill(&directory.join("filler2"));
    let refused = store.write_kept(|db| projects::insert(db, &project(4))).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert_eq!(count(&store).await, 3);

    // A broker that starts now reads, and has its reserve as soon as there is room.
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(matches!(store.hold_ballast(), Err(Error::Full(_))));
    assert_eq!(count(&store).await, 3);

    fs::remove_file(&filler).unwrap();
    store.ensure_reserve().await.unwrap();
    assert!(store.has_reserve());
    insert(&store, 5).await.unwrap();
    assert_eq!(count(&store).await, 4);
    store.checkpoint().await.unwrap();
}
