//! Reads and writes through the store are atomic and ordered, and survive panics.

mod full_disk;
#[path = "../../tests/support/small_disk.rs"]
mod small_disk;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use uuid::Uuid;

use super::readers::Lent;
use super::*;
use crate::domain::id::{Id as _, ProjectId};
use crate::domain::keyring::{KeyState, WrappedKey};
use crate::domain::project::Project;
use crate::domain::secret::Digest256;
use crate::domain::time::Timestamp;

pub(super) fn project(number: u128) -> Project {
    Project {
        id: ProjectId::from_uuid(Uuid::from_u128(number)),
        name: format!("project {number}"),
        created_at: Timestamp::from_millis(0),
    }
}

pub(super) fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = create(&directory.path().join("postpeer.db"));
    (directory, store)
}

fn create(path: &Path) -> Store {
    let key = WrappedKey {
        dek_id: 1,
        wrapped_by: "k1".to_owned(),
        blob: vec![],
        check_value: vec![0; 32],
        state: KeyState::Active,
    };
    Store::create(path, Uuid::from_u128(1), &key, &project(0)).unwrap()
}

/// All connections of short reads. The writer may be looking at one, so this tries until it has them.
pub(super) fn lend_all(store: &Store) -> Vec<Lent<'_>> {
    let mut lent = Vec::new();
    while lent.len() < Readers::SHORT {
        lent.extend(store.readers.begin());
    }
    lent
}

pub(super) async fn insert(store: &Store, number: u128) -> Result<(), Error> {
    store.write(move |db| projects::insert(db, &project(number))).await
}

pub(super) async fn count(store: &Store) -> usize {
    store.read(projects::list).await.unwrap().len()
}

#[tokio::test]
async fn ok_commits_and_err_rolls_back() {
    let (_directory, store) = store();
    insert(&store, 1).await.unwrap();
    let refused: Result<(), Error> = store
        .write(|db| {
            projects::insert(db, &project(2))?;
            projects::insert(db, &project(1))
        })
        .await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn an_acknowledged_write_is_there_after_reopening() {
    let (directory, store) = store();
    insert(&store, 1).await.unwrap();
    // As a second process sees it, before the first closes anything.
    let path = directory.path().join("postpeer.db");
    let again = Store::open(&path).unwrap();
    assert_eq!(count(&again).await, 2);
}

#[tokio::test]
async fn a_read_cannot_write() {
    let (_directory, store) = store();
    let written: Result<usize, Error> = store.read(|db| Ok(db.execute("DELETE FROM projects", [])?)).await;
    assert!(matches!(written, Err(Error::ReadOnly(_))), "{written:?}");
    assert_eq!(count(&store).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_one_snapshot() {
    let (_directory, store) = store();
    let (seen, wait) = (Arc::new(tokio::sync::Notify::new()), mpsc::channel::<()>());
    let (go, gone) = wait;
    let reading = {
        let seen = seen.clone();
        let store = store.clone();
        tokio::spawn(async move {
            store
                .read(move |db| {
                    let before = projects::list(db)?.len();
                    seen.notify_one();
                    gone.recv().unwrap();
                    Ok::<_, Error>((before, projects::list(db)?.len()))
                })
                .await
        })
    };
    seen.notified().await;
    insert(&store, 1).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (1, 1));
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn short_reads_stay_on_their_thread_while_there_is_a_connection() {
    let (_directory, store) = store();
    let thread = |_: &Connection| Ok::<_, Error>(std::thread::current().id());
    let here = std::thread::current().id();
    assert_eq!(store.read(thread).await.unwrap(), here);
    assert_ne!(store.read_long(thread).await.unwrap(), here);
    let digest = Digest256::of(b"none");
    {
        let _lent = lend_all(&store);
        assert!(store.readers.begin().is_none());
        assert_ne!(store.read(thread).await.unwrap(), here, "nobody waits for a connection");
        assert!(store.find_access_key(digest).await.unwrap().is_none());
    }
    assert_eq!(store.read(thread).await.unwrap(), here);
    assert!(store.find_access_key(digest).await.unwrap().is_none());
}

#[tokio::test]
async fn a_write_in_progress_stops_no_read() {
    let (_directory, store) = store();
    let (begun, go) = (Arc::new(tokio::sync::Notify::new()), mpsc::channel::<()>());
    let (go, gone) = go;
    let writing = tokio::spawn({
        let (store, begun) = (store.clone(), begun.clone());
        async move {
            store
                .write(move |db| {
                    projects::insert(db, &project(1))?;
                    begun.notify_one();
                    gone.recv().unwrap();
                    Ok::<_, Error>(())
                })
                .await
        }
    });
    begun.notified().await;
    let here = std::thread::current().id();
    let read = |db: &Connection| Ok::<_, Error>((projects::list(db)?.len(), std::thread::current().id()));
    assert_eq!(store.read(read).await.unwrap(), (1, here));
    go.send(()).unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(store.read(read).await.unwrap(), (2, here));
}

#[tokio::test]
async fn a_panic_blocks_neither_reads_nor_writes() {
    let (_directory, store) = store();
    for _ in 0..Readers::SHORT + 2 {
        let task = tokio::spawn({
            let store = store.clone();
            async move { store.read(|_| -> Result<(), Error> { panic!("in a read") }).await }
        });
        assert!(task.await.unwrap_err().is_panic());
        let task = tokio::spawn({
            let store = store.clone();
            async move {
                store
                    .write(|db| -> Result<(), Error> {
                        projects::insert(db, &project(9))?;
                        panic!("in a write")
                    })
                    .await
            }
        });
        assert!(task.await.unwrap_err().is_panic());
    }
    insert(&store, 1).await.unwrap();
    assert_eq!(count(&store).await, 2, "the interrupted write was rolled back");
}

#[tokio::test]
async fn a_write_outlives_its_caller() {
    let (_directory, store) = store();
    let begun = Arc::new(tokio::sync::Notify::new());
    let (go, gone) = mpsc::channel::<()>();
    let caller = tokio::spawn({
        let (store, begun) = (store.clone(), begun.clone());
        async move {
            store
                .write(move |db| {
                    begun.notify_one();
                    gone.recv().unwrap();
                    projects::insert(db, &project(1))
                })
                .await
        }
    });
    begun.notified().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    // Writes are queued, so this one comes after.
    insert(&store, 2).await.unwrap();
    assert_eq!(count(&store).await, 3);
}

#[tokio::test]
async fn a_full_queue_refuses_writes_and_completes_the_queued_ones() {
    let (_directory, store) = store();
    let begun = Arc::new(tokio::sync::Notify::new());
    let (go, gone) = mpsc::channel::<()>();
    let first = tokio::spawn({
        let (store, begun) = (store.clone(), begun.clone());
        async move {
            store
                .write(move |_| {
                    begun.notify_one();
                    gone.recv().unwrap();
                    Ok::<_, Error>(())
                })
                .await
        }
    });
    begun.notified().await;
    let done = Arc::new(AtomicUsize::new(0));
    let waiting: Vec<_> = (1..Store::WRITES)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                store
                    .write(move |_| {
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Error>(())
                    })
                    .await
            })
        })
        .collect();
    // The runtime has one thread: when this task goes on, the others are queued.
    tokio::task::yield_now().await;
    while store.writes.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(insert(&store, 1).await, Err(Error::Overloaded)));
    assert_eq!(count(&store).await, 1, "reads go on");
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    for write in waiting {
        write.await.unwrap().unwrap();
    }
    assert_eq!(done.load(Ordering::SeqCst), Store::WRITES - 1);
    insert(&store, 1).await.unwrap();
}

#[test]
fn the_store_outlives_the_runtimes_that_use_it() {
    let (_directory, store) = store();
    for number in 1..4 {
        let runtime = if number % 2 == 0 {
            tokio::runtime::Builder::new_multi_thread().build().unwrap()
        } else {
            tokio::runtime::Builder::new_current_thread().build().unwrap()
        };
        runtime.block_on(insert(&store, number)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(count(&store)), 4);
}

#[tokio::test]
async fn many_readers_and_writers_run_together() {
    let (_directory, store) = store();
    let tasks: Vec<_> = (1..=50)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                insert(&store, number).await.unwrap();
                count(&store).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap() >= 2);
    }
    assert_eq!(count(&store).await, 51);
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_its_own_and_passes() {
    let (_directory, store) = store();
    let limit = |pages: u32| {
        let store = store.clone();
        async move {
            store
                .write(move |db| Ok::<_, Error>(db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?))
                .await
                .unwrap();
        }
    };
    limit(1).await;
    let fill = |store: Store| async move {
        for number in 1..2_000 {
            insert(&store, number).await?;
        }
        Ok::<_, Error>(())
    };
    let refused = fill(store.clone()).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    let before = count(&store).await;
    limit(1_000_000).await;
    insert(&store, 5_000).await.unwrap();
    assert_eq!(count(&store).await, before + 1);
}

#[tokio::test]
async fn the_log_grows_with_a_long_read_of_another_program_and_shrinks_after_it() {
    const MEBIBYTE: u64 = 1024 * 1024;
    let (directory, store) = store();
    let path = directory.path().join("postpeer.db");
    let log = || std::fs::metadata(directory.path().join("postpeer.db-wal")).unwrap().len();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM projects").unwrap();
    let fill = |store: Store| async move {
        let write =
            |db: &Transaction<'_>| Ok::<_, Error>(db.execute("INSERT INTO filler VALUES (randomblob(1000000))", [])?);
        store.write(write).await.unwrap();
    };
    store.write(|db| Ok::<_, Error>(db.execute_batch("CREATE TABLE filler (bytes BLOB)")?)).await.unwrap();
    assert!(!store.has_kept_log());
    for _ in 0..24 {
        fill(store.clone()).await;
    }
    assert!(store.has_kept_log());
    assert!(log() > 20 * MEBIBYTE, "{}", log());
    assert_eq!(count(&store).await, 1);
    assert!(matches!(store.checkpoint().await, Err(Error::Overloaded)), "the other program reads on");
    other.execute_batch("COMMIT").unwrap();
    for _ in 0..6 {
        fill(store.clone()).await;
    }
    assert!(log() <= 16 * MEBIBYTE, "{}", log());
    assert!(!store.has_kept_log());
}

#[tokio::test]
async fn debug_is_silent() {
    let (_directory, store) = store();
    assert_eq!(format!("{store:?}"), "Store");
}

/// As `sqlite3` beside the broker does, or a program that replicates the database.
#[tokio::test]
async fn another_program_that_writes_delays_writes_and_fails_none() {
    let (directory, store) = store();
    let other = rusqlite::Connection::open(directory.path().join("postpeer.db")).unwrap();
    for number in 1..6 {
        other.execute_batch("BEGIN IMMEDIATE; UPDATE projects SET name = name").unwrap();
        let write = tokio::spawn({
            let store = store.clone();
            async move { insert(&store, number).await }
        });
        assert_eq!(count(&store).await, usize::try_from(number).unwrap(), "a read waits for nobody");
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!write.is_finished());
        other.execute_batch("COMMIT").unwrap();
        write.await.unwrap().unwrap();
    }
}
