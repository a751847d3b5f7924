//! A damaged database, or a log that was cut short: nothing is moved from the log into the file.

use super::*;
use crate::store::How;

#[tokio::test]
async fn nothing_is_moved_from_the_log_once_damage_was_met() {
    for (code, is_damage) in [
        (ffi::SQLITE_CORRUPT, true),
        (ffi::SQLITE_CORRUPT_INDEX, true),
        (ffi::SQLITE_NOTADB, true),
        (ffi::SQLITE_IOERR_SHORT_READ, true),
        (ffi::SQLITE_IOERR_READ, false),
    ] {
        let (directory, store) = store();
        let path = directory.path().join("postpeer.db");
        insert(&store, 1).await.unwrap();
        let before = std::fs::read(&path).unwrap();
        let met: Result<(), Error> = store.read(move |_| Ok(fail(Some(code))?)).await;
        assert!(matches!(met, Err(Error::Corrupt(_))), "{code}");
        // Enough for the log to be moved by itself.
        let long = |db: &Transaction<'_>| {
            db.execute_batch("CREATE TABLE long (x); INSERT INTO long VALUES (zeroblob(5000000)); DROP TABLE long")?;
            Ok::<_, Error>(())
        };
        store.write(long).await.unwrap();
        insert(&store, 2).await.unwrap();
        if is_damage {
            assert!(matches!(store.checkpoint().await, Err(Error::Corrupt(_))), "{code}");
        }
        drop(store);
        assert_eq!(std::fs::read(&path).unwrap() == before, is_damage, "{code}");
        assert_eq!(numbers(&Store::open(&path).unwrap()).await, [0, 1, 2].into(), "{code}");
    }
}

#[tokio::test]
async fn a_log_that_was_cut_short_is_neither_moved_nor_written_to() {
    for left in [0, 32 + 24 + 4096] {
        let (directory, store) = store();
        let path = directory.path().join("postpeer.db");
        insert(&store, 1).await.unwrap();
        let before = std::fs::read(&path).unwrap();
        let log = directory.path().join("postpeer.db-wal");
        std::fs::File::options().write(true).open(&log).unwrap().set_len(left).unwrap();
        for refused in [
            insert(&store, 2).await,
            store.write_kept(|_| Ok::<_, Error>(())).await,
            store.checkpoint().await,
            store.check_usable().await,
            store.find_trouble().await.map_or(Ok(()), Err),
        ] {
            assert!(matches!(&refused, Err(Error::Moved(moved)) if moved.how == How::LogShort), "{refused:?}");
        }
        drop(store);
        assert_eq!(std::fs::metadata(&log).unwrap().len(), left);
        assert!(std::fs::read(&path).unwrap() == before);
    }
}

#[tokio::test]
async fn a_log_that_another_process_emptied_is_not_cut_short() {
    let (directory, store) = store();
    insert(&store, 1).await.unwrap();
    let other = Connection::open(directory.path().join("postpeer.db")).unwrap();
    let is_busy: bool = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert!(!is_busy);
    assert_eq!(commits(&directory), 0);
    store.check_usable().await.unwrap();
    assert!(store.find_trouble().await.is_none());
    insert(&store, 2).await.unwrap();
    store.checkpoint().await.unwrap();
    assert_eq!(numbers(&store).await, [0, 1, 2].into());
}
