//! Writes that must not fail on a full disk.

use super::*;

#[tokio::test]
async fn on_a_full_disk_only_kept_writes_are_acknowledged() {
    let (_directory, store) = store();
    store.hold_reserve().unwrap();
    let held = Held::on(&store).await;
    let plain = begin_write(&store, |db| {
        FAULT.set(Some(ffi::SQLITE_FULL));
        projects::insert(db, &project(1))
    })
    .await;
    let kept = begin({
        let store = store.clone();
        async move { store.write_kept(|db| projects::insert(db, &project(2))).await }
    })
    .await;
    held.release().await;
    assert!(matches!(plain.await.unwrap(), Err(Error::Full(_))));
    kept.await.unwrap().unwrap();
    assert!(!store.has_reserve(), "it was needed");
    assert_eq!(numbers(&store).await, [0, 2].into());
    store.ensure_reserve().await.unwrap();
    assert!(store.has_reserve());
}

#[tokio::test]
async fn a_kept_write_is_retried_even_without_its_caller() {
    let (_directory, store) = store();
    store.hold_reserve().unwrap();
    let begun = Arc::new(tokio::sync::Notify::new());
    let (go, gone) = mpsc::channel::<()>();
    let (first, gone) = (Cell::new(true), gone);
    let caller = tokio::spawn({
        let (store, begun) = (store.clone(), begun.clone());
        async move {
            let work = move |db: &Transaction<'_>| {
                if first.take() {
                    begun.notify_one();
                    gone.recv().unwrap();
                    FAULT.set(Some(ffi::SQLITE_FULL));
                }
                projects::insert(db, &project(1))
            };
            store.write_kept(work).await
        }
    });
    begun.notified().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    insert(&store, 2).await.unwrap();
    assert_eq!(numbers(&store).await, [0, 1, 2].into());
}

#[tokio::test]
async fn a_kept_write_is_retried_once_and_then_fails() {
    let (_directory, store) = store();
    store.hold_reserve().unwrap();
    let limit = |pages: u32| {
        store.write(move |db| Ok::<_, Error>(db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?))
    };
    limit(1).await.unwrap();
    let tries = Arc::new(Mutex::new(0));
    let counted = tries.clone();
    let refused = store
        .write_kept(move |db| {
            *counted.lock().unwrap() += 1;
            (1..5_000).try_for_each(|number| projects::insert(db, &project(number)))
        })
        .await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert_eq!(*tries.lock().unwrap(), 2);
    assert!(!store.has_reserve());
    store.ensure_reserve().await.unwrap();
    limit(1_000_000).await.unwrap();
    insert(&store, 1).await.unwrap();
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn the_store_finds_its_own_error_among_the_sources() {
    use crate::broker;
    let (_directory, store) = store();
    store.hold_reserve().unwrap();
    let first = Cell::new(true);
    let full = || rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None);
    let work = move |_: &Transaction<'_>| {
        if first.take() { Err(broker::Error::from(Error::from(full()))) } else { Ok(()) }
    };
    store.write_kept(work).await.unwrap();
}

#[tokio::test]
async fn a_store_without_reserve_releases_nothing_and_needs_none() {
    let (directory, store) = store();
    store.ensure_reserve().await.unwrap();
    assert!(store.has_reserve());
    let refused: Result<(), Error> = store
        .write_kept(|_| {
            FAULT.set(Some(ffi::SQLITE_FULL));
            Ok(())
        })
        .await;
    assert!(matches!(refused, Err(Error::Full(_))));
    assert!(!directory.path().join("postpeer.db.ballast").exists());
}

#[tokio::test]
async fn a_kept_write_waits_while_the_queue_is_full() {
    let (_directory, store) = store();
    let held = Held::on(&store).await;
    let permits = u32::try_from(store.writes.available_permits()).unwrap();
    let taken = store.writes.clone().acquire_many_owned(permits).await.unwrap();
    assert!(matches!(insert(&store, 1).await, Err(Error::Overloaded)));
    let kept = begin({
        let store = store.clone();
        async move { store.write_kept(|db| projects::insert(db, &project(2))).await }
    })
    .await;
    held.release().await;
    drop(taken);
    kept.await.unwrap().unwrap();
    assert_eq!(numbers(&store).await, [0, 2].into());
}
