//! Writes on a disk that is really full.

use std::fs;
use std::path::{Path, PathBuf};

use super::small_disk::{self, assert_small, fill};
use super::*;

#[test]
fn a_write_that_must_be_kept_is_stored_on_a_full_disk() {
    small_disk::run("store::tests::full_disk::inside_a_small_file_system");
}

#[test]
#[ignore = "fills the file system that it runs in: a_write_that_must_be_kept_is_stored_on_a_full_disk gives it one"]
fn inside_a_small_file_system() {
    let here = PathBuf::from(".");
    assert_small(&here);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(on_a_full_disk(&here));
}

async fn on_a_full_disk(directory: &Path) {
    let (path, filler) = (directory.join("postpeer.db"), directory.join("filler"));
    let store = create(&path);
    store.hold_reserve().unwrap();
    insert(&store, 1).await.unwrap();
    store.ensure_reserve().await.unwrap();
    fill(&filler);

    // The disk fills up between the check and the write.
    let refused = insert(&store, 2).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert_eq!(count(&store).await, 2, "reads go on");
    assert!(store.has_reserve(), "an ordinary write does not release it");
    store.write_kept(|db| projects::insert(db, &project(3))).await.unwrap();
    assert_eq!(count(&store).await, 3);
    assert!(!store.has_reserve());

    // The reserve serves one write.
    let full = store.ensure_reserve().await;
    assert!(matches!(full, Err(Error::Full(_))), "{full:?}");
    assert!(!directory.join("postpeer.db.ballast").exists(), "half a reserve takes room");
    fill(&directory.join("filler2"));
    let refused = store.write_kept(|db| projects::insert(db, &project(4))).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert_eq!(count(&store).await, 3);

    // A broker that starts now can read, and gets its reserve as soon as there is room.
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(matches!(store.hold_reserve(), Err(Error::Full(_))));
    assert_eq!(count(&store).await, 3);

    fs::remove_file(&filler).unwrap();
    store.ensure_reserve().await.unwrap();
    assert!(store.has_reserve());
    insert(&store, 5).await.unwrap();
    assert_eq!(count(&store).await, 4);
    store.checkpoint().await.unwrap();
}
