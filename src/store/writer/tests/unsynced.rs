//! Writes that may be lost in a power cut: which commits are synced, and when the log moves into the database file.

use super::*;

/// `PRAGMA synchronous` at each commit since the last look: 1 syncs none, 2 the whole log.
async fn synchronous(store: &Store) -> Vec<u32> {
    // Changes nothing, so it commits nothing.
    let looked = store.write(|_| Err::<(), _>(Looked(SYNCHRONOUS.take()))).await;
    looked.unwrap_err().0
}

#[derive(Debug, thiserror::Error)]
#[error("this only looks")]
struct Looked(Vec<u32>);

impl From<Error> for Looked {
    fn from(error: Error) -> Self {
        panic!("{error}")
    }
}

#[tokio::test]
async fn only_a_transaction_of_nothing_but_unsynced_writes_ends_without_a_sync() {
    let (directory, store) = store();
    let unsynced = |number| {
        let store = store.clone();
        begin(async move { store.write_unsynced(move |db| projects::insert(db, &project(number))).await })
    };
    unsynced(1).await.await.unwrap().unwrap();
    insert(&store, 2).await.unwrap();
    unsynced(3).await.await.unwrap().unwrap();
    store.write_kept(|db| projects::insert(db, &project(4))).await.unwrap();
    assert_eq!(synchronous(&store).await, [1, 2, 1, 2]);

    let held = Held::on(&store).await;
    let mixed = [unsynced(5).await, begin_insert(&store, 6).await, unsynced(7).await];
    held.release().await;
    for write in mixed {
        write.await.unwrap().unwrap();
    }
    // The held write changed nothing, and its commit was synced.
    assert_eq!(synchronous(&store).await, [2, 2]);
    unsynced(8).await.await.unwrap().unwrap();
    assert_eq!(synchronous(&store).await, [1]);

    // As a process sees it that starts after this one was killed.
    let (path, copy) = (directory.path().join("postpeer.db"), directory.path().join("copy.db"));
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    assert_eq!(numbers(&Store::open(&copy).unwrap()).await, (0..9).collect());
}

#[tokio::test]
async fn an_unsynced_write_that_fails_leaves_nothing() {
    let (_directory, store) = store();
    let fails = |number, on| {
        let store = store.clone();
        begin(async move {
            let work = move |db: &Transaction<'_>| {
                projects::insert(db, &project(number))?;
                projects::insert(db, &project(on))
            };
            store.write_unsynced(work).await
        })
    };
    assert!(matches!(fails(1, 0).await.await.unwrap(), Err(Error::Conflict(_))));
    assert_eq!(numbers(&store).await, [0].into());

    let held = Held::on(&store).await;
    let before = begin_insert(&store, 1).await;
    let unchanged = begin({
        let store = store.clone();
        async move { store.write_unsynced(|db| projects::insert(db, &project(0))).await }
    })
    .await;
    held.release().await;
    before.await.unwrap().unwrap();
    assert!(matches!(unchanged.await.unwrap(), Err(Error::Conflict(_))), "it had changed nothing");

    let held = Held::on(&store).await;
    let before = begin_insert(&store, 2).await;
    let kept = begin({
        let store = store.clone();
        async move { store.write_kept(|db| projects::insert(db, &project(3))).await }
    })
    .await;
    let failed = fails(4, 2).await;
    let after = begin_insert(&store, 5).await;
    held.release().await;
    assert!(matches!(before.await.unwrap(), Err(Error::RolledBack)), "there was no savepoint to return to");
    kept.await.unwrap().unwrap();
    assert!(matches!(failed.await.unwrap(), Err(Error::Conflict(_))));
    after.await.unwrap().unwrap();
    assert_eq!(numbers(&store).await, [0, 1, 3, 5].into());
}

#[tokio::test]
async fn a_long_log_is_moved_into_the_database_and_a_failed_sync_ends_all_writing() {
    let (directory, store) = store();
    let log = directory.path().join("postpeer.db-wal");
    let grow = |store: &Store, pages: i32| {
        let store = store.clone();
        async move {
            let filling = move |db: &Transaction<'_>| {
                db.execute_batch("CREATE TABLE IF NOT EXISTS filling (x BLOB) STRICT")?;
                db.execute("INSERT INTO filling VALUES (zeroblob(?1))", [pages * 4096])?;
                Ok::<_, Error>(())
            };
            store.write_unsynced(filling).await.unwrap();
            // Answered before the log is moved; the next write comes after that.
            synchronous(&store).await
        }
    };
    let size = || std::fs::metadata(&log).unwrap().len();
    for _ in 0..8 {
        grow(&store, 600).await;
    }
    assert!(size() < 2_500 * 4096, "{} bytes: the log was never used again", size());

    // Another program that reads for long holds it up, and no write.
    let reader = rusqlite::Connection::open(directory.path().join("postpeer.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM projects").unwrap();
    for _ in 0..8 {
        grow(&store, 600).await;
    }
    assert!(size() > 16 << 20, "{} bytes: the reader held nothing up", size());
    reader.execute_batch("COMMIT").unwrap();
    for _ in 0..3 {
        grow(&store, 600).await;
    }
    assert!(size() <= 16 << 20, "{} bytes: the log has kept its length", size());

    let fault = |db: &Transaction<'_>| {
        projects::insert(db, &project(1))?;
        // Taken by the checkpoint, since this commit comes first.
        CHECKPOINT_FAULT.set(Some(ffi::SQLITE_IOERR_FSYNC));
        Ok::<_, Error>(())
    };
    store.write(fault).await.unwrap();
    for number in 2..5 {
        let filling = move |db: &Transaction<'_>| {
            db.execute("INSERT INTO filling VALUES (zeroblob(?1))", [600 * 4096])?;
            projects::insert(db, &project(number))
        };
        let _: Result<(), Error> = store.write_unsynced(filling).await;
    }
    assert!(matches!(insert(&store, 9).await, Err(Error::Refused(_))));
    assert!(matches!(store.failure(), Some(Error::Failed(_))));
}
