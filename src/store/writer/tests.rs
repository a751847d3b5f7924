//! Writes that share a commit: their outcomes, and what is stored.

mod damage;
mod fates;
mod kept;
mod unsynced;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::*;
use crate::store::tests::{count, insert, project, store};
use crate::store::{Store, projects};

thread_local! {
    /// Error of this thread's next commit, whatever SQLite says. A write sets it for its own commit.
    static FAULT: Cell<Option<c_int>> = const { Cell::new(None) };
    /// The same for the next time that the log is moved.
    static CHECKPOINT_FAULT: Cell<Option<c_int>> = const { Cell::new(None) };
}

pub(super) fn fault() -> rusqlite::Result<()> {
    fail(FAULT.take())
}

pub(super) fn checkpoint_fault() -> rusqlite::Result<()> {
    fail(CHECKPOINT_FAULT.take())
}

fn fail(code: Option<c_int>) -> rusqlite::Result<()> {
    code.map_or(Ok(()), |code| Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)))
}

thread_local! {
    /// `PRAGMA synchronous` at each commit of this thread.
    static SYNCHRONOUS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn committing(db: &Connection) {
    let synchronous = db.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
    SYNCHRONOUS.with_borrow_mut(|commits| commits.push(synchronous));
}

/// A running write that ends when told to. Writes that come meanwhile are queued together.
struct Held {
    go: mpsc::Sender<()>,
    write: JoinHandle<Result<(), Error>>,
}

impl Held {
    async fn on(store: &Store) -> Self {
        let begun = Arc::new(tokio::sync::Notify::new());
        let (go, gone) = mpsc::channel::<()>();
        let write = tokio::spawn({
            let (store, begun) = (store.clone(), begun.clone());
            async move {
                let held = move |_: &Transaction<'_>| {
                    begun.notify_one();
                    let _ = gone.recv();
                    Ok(())
                };
                store.write(held).await
            }
        });
        begun.notified().await;
        Self { go, write }
    }

    async fn release(self) {
        self.go.send(()).unwrap();
        self.write.await.unwrap().unwrap();
    }
}

/// Queues a write before returning.
async fn begin<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let task = tokio::spawn(future);
    // The tests' runtime has one thread and runs its tasks in turn.
    tokio::task::yield_now().await;
    task
}

async fn begin_write<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
) -> JoinHandle<Result<T, Error>> {
    let store = store.clone();
    begin(async move { store.write(work).await }).await
}

async fn begin_insert(store: &Store, number: u128) -> JoinHandle<Result<(), Error>> {
    begin_write(store, move |db| projects::insert(db, &project(number))).await
}

/// Number of commits in the log beside the database.
fn commits(directory: &tempfile::TempDir) -> usize {
    const PAGE: usize = 4096;
    let log = std::fs::read(directory.path().join("postpeer.db-wal")).unwrap_or_default();
    // The frame that ends a commit has the size of the database.
    log.get(32..).unwrap_or_default().chunks(24 + PAGE).filter(|frame| frame[4..8] != [0; 4]).count()
}

async fn numbers(store: &Store) -> BTreeSet<u128> {
    store
        .read(projects::list)
        .await
        .unwrap()
        .iter()
        .map(|project| project.name.trim_start_matches("project ").parse().unwrap())
        .collect()
}

#[tokio::test]
async fn queued_writes_share_a_commit() {
    let (directory, store) = store();
    insert(&store, 1).await.unwrap();
    insert(&store, 2).await.unwrap();
    assert_eq!(commits(&directory), 2, "one commit each");
    let held = Held::on(&store).await;
    let mut waiting = Vec::new();
    for number in 3..103 {
        waiting.push(begin_insert(&store, number).await);
    }
    held.release().await;
    for write in waiting {
        write.await.unwrap().unwrap();
    }
    // The held write changed nothing.
    assert_eq!(commits(&directory), 3);
    assert_eq!(count(&store).await, 103);
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let (directory, store) = store();
    let held = Held::on(&store).await;
    let mut waiting = Vec::new();
    for number in 0..=2 * BATCH as u128 {
        waiting.push(begin_insert(&store, 1 + number).await);
    }
    held.release().await;
    for write in waiting {
        write.await.unwrap().unwrap();
    }
    assert_eq!(commits(&directory), 3);
}

#[tokio::test]
async fn errors_and_panics_reach_only_their_own_callers() {
    let (directory, store) = store();
    let held = Held::on(&store).await;
    let before = begin_insert(&store, 1).await;
    let refused = begin_write(&store, |db| {
        projects::insert(db, &project(2))?;
        projects::insert(db, &project(1))
    })
    .await;
    let panicked = begin_write(&store, |db| -> Result<(), Error> {
        projects::insert(db, &project(3))?;
        std::panic::panic_any("mine")
    })
    .await;
    let after = begin_insert(&store, 4).await;
    held.release().await;
    before.await.unwrap().unwrap();
    after.await.unwrap().unwrap();
    assert!(matches!(refused.await.unwrap(), Err(Error::Conflict(_))));
    assert_eq!(*panicked.await.unwrap_err().into_panic().downcast_ref::<&str>().unwrap(), "mine");
    assert_eq!(numbers(&store).await, [0, 1, 4].into());
    assert_eq!(commits(&directory), 1);
}

#[tokio::test]
async fn a_write_that_fails_syncs_nothing() {
    let (directory, store) = store();
    insert(&store, 1).await.unwrap();
    let before = commits(&directory);
    let refused: Result<(), Error> = store
        .write(|db| {
            projects::insert(db, &project(2))?;
            Err(Error::NotChanged)
        })
        .await;
    assert!(matches!(refused, Err(Error::NotChanged)));
    assert_eq!(commits(&directory), before);
}

#[tokio::test]
async fn writes_run_in_the_order_of_their_arrival() {
    let (_directory, store) = store();
    let ran = Arc::new(Mutex::new(Vec::new()));
    let held = Held::on(&store).await;
    let mut waiting = Vec::new();
    for number in 0..3 * BATCH {
        let ran = ran.clone();
        waiting.push(
            begin_write(&store, move |_| {
                ran.lock().unwrap().push(number);
                Ok(())
            })
            .await,
        );
    }
    held.release().await;
    for write in waiting {
        write.await.unwrap().unwrap();
    }
    assert_eq!(*ran.lock().unwrap(), (0..3 * BATCH).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_queued_write_is_cancelled_with_its_caller() {
    let (_directory, store) = store();
    let held = Held::on(&store).await;
    let gone = begin_insert(&store, 1).await;
    let stays = begin_insert(&store, 2).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    held.release().await;
    stays.await.unwrap().unwrap();
    assert_eq!(numbers(&store).await, [0, 2].into());
}

#[tokio::test]
async fn all_writes_of_a_failed_commit_fail() {
    let (_directory, store) = store();
    let held = Held::on(&store).await;
    let before = begin_insert(&store, 1).await;
    // Its error rests on a row that is rolled back.
    let refused = begin_insert(&store, 1).await;
    let at_fault = begin_write(&store, |db| {
        // Only the commit notices this.
        db.pragma_update(None, "defer_foreign_keys", true)?;
        db.execute(
            "INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
             VALUES (?1, ?1, 'x', 'x', 0, 0)",
            ["nobody"],
        )?;
        Ok(())
    })
    .await;
    let after = begin_insert(&store, 2).await;
    held.release().await;
    for write in [before, refused, at_fault, after] {
        let told = write.await.unwrap();
        assert!(matches!(told, Err(Error::Orphan(_))), "{told:?}");
    }
    assert_eq!(numbers(&store).await, [0].into());
    insert(&store, 3).await.unwrap();
    assert_eq!(numbers(&store).await, [0, 3].into());
}

/// Rolls back the whole transaction, as SQLite does without disk space or memory.
fn rolls_all_back(db: &Transaction<'_>) -> Result<(), Error> {
    let sql = "INSERT OR ROLLBACK INTO projects SELECT * FROM projects LIMIT 1";
    db.execute(sql, [])?;
    Ok(())
}

#[tokio::test]
async fn a_rolled_back_transaction_fails_the_writes_before_and_not_those_after() {
    let (_directory, store) = store();
    let held = Held::on(&store).await;
    let before = begin_insert(&store, 1).await;
    let kept = begin({
        let store = store.clone();
        async move { store.write_kept(|db| projects::insert(db, &project(2))).await }
    })
    .await;
    let at_fault = begin_write(&store, rolls_all_back).await;
    let after = begin_insert(&store, 3).await;
    let unaware = begin_write(&store, |db| {
        let _ = rolls_all_back(db);
        Ok(())
    })
    .await;
    let last = begin_insert(&store, 4).await;
    held.release().await;
    assert!(matches!(before.await.unwrap(), Err(Error::RolledBack)));
    kept.await.unwrap().unwrap();
    assert!(matches!(at_fault.await.unwrap(), Err(Error::Conflict(_))));
    assert!(matches!(after.await.unwrap(), Err(Error::RolledBack)));
    assert!(matches!(unaware.await.unwrap(), Err(Error::RolledBack)));
    last.await.unwrap().unwrap();
    assert_eq!(numbers(&store).await, [0, 2, 4].into());
}

#[tokio::test]
async fn nothing_is_written_after_an_unconfirmed_commit() {
    let (directory, store) = store();
    insert(&store, 1).await.unwrap();
    let failed = store.failed();
    let held = Held::on(&store).await;
    let with_it = begin_insert(&store, 2).await;
    let at_fault = begin_write(&store, |db| {
        FAULT.set(Some(ffi::SQLITE_IOERR_FSYNC));
        projects::insert(db, &project(3))
    })
    .await;
    assert!(store.failure().is_none());
    held.release().await;
    for write in [with_it, at_fault] {
        assert!(matches!(write.await.unwrap(), Err(Error::Failed(_))));
    }
    tokio::time::timeout(Duration::from_secs(5), failed).await.unwrap();
    for number in 4..7 {
        assert!(matches!(insert(&store, number).await, Err(Error::Refused(_))), "it is not in doubt");
    }
    assert!(matches!(store.write_kept(|_| Ok::<_, Error>(())).await, Err(Error::Refused(_))));
    assert!(matches!(store.checkpoint().await, Err(Error::Failed(_))));
    assert!(matches!(store.ensure_reserve().await, Err(Error::Failed(_))));
    assert!(matches!(store.failure(), Some(Error::Failed(_))));
    assert_eq!(count(&store).await, 2, "reads go on");

    let path = directory.path().join("postpeer.db");
    let before = std::fs::read(&path).unwrap();
    drop(store);
    assert!(directory.path().join("postpeer.db-wal").exists(), "closing moved the log");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(numbers(&Store::open(&path).unwrap()).await, [0, 1].into());
}

#[tokio::test]
async fn writes_go_on_after_an_ordinary_disk_error() {
    let (_directory, store) = store();
    let refused: Result<(), Error> = store
        .write(|_| {
            FAULT.set(Some(ffi::SQLITE_IOERR_TRUNCATE));
            Ok(())
        })
        .await;
    assert!(matches!(refused, Err(Error::Io(_))));
    insert(&store, 1).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_waits_for_earlier_writes() {
    let (directory, store) = store();
    let held = Held::on(&store).await;
    let before = begin_insert(&store, 1).await;
    let checkpoint = begin({
        let store = store.clone();
        async move { store.checkpoint().await }
    })
    .await;
    held.release().await;
    before.await.unwrap().unwrap();
    checkpoint.await.unwrap().unwrap();
    assert_eq!(commits(&directory), 0, "the log is empty");
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn a_write_may_own_the_last_handle_of_its_store() {
    let (directory, store) = store();
    let (begun, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(std::sync::Barrier::new(2)));
    let caller = tokio::spawn({
        let (store, own, begun, go) = (store.clone(), store.clone(), begun.clone(), go.clone());
        async move {
            let work = move |db: &Transaction<'_>| {
                begun.notify_one();
                go.wait();
                let done = projects::insert(db, &project(1));
                drop(own);
                done
            };
            store.write(work).await
        }
    });
    begun.notified().await;
    caller.abort();
    let _ = caller.await;
    drop(store);
    go.wait();
    let again = Store::open(&directory.path().join("postpeer.db")).unwrap();
    while count(&again).await < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
