//! Property: whatever happens to the writes of a batch, exactly the acknowledged rows are stored.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Fate {
    Conflict,
    Fail,
    FullCommit,
    Gone,
    Keep,
    KeepFull,
    Panic,
    RollBackAll,
    Write,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        1 => Just(Fate::Conflict),
        2 => Just(Fate::Fail),
        1 => Just(Fate::FullCommit),
        1 => Just(Fate::Gone),
        2 => Just(Fate::Keep),
        1 => Just(Fate::KeepFull),
        1 => Just(Fate::Panic),
        1 => Just(Fate::RollBackAll),
        8 => Just(Fate::Write),
    ];
    proptest::collection::vec(fate, 1..60)
}

async fn meet(store: Store, number: u128, fate: Fate) -> Result<(), Error> {
    let row = project(number);
    let first = Cell::new(true);
    match fate {
        Fate::Gone | Fate::Write => store.write(move |db| projects::insert(db, &row)).await,
        Fate::Conflict => {
            store
                .write(move |db| {
                    projects::insert(db, &row)?;
                    projects::insert(db, &row)
                })
                .await
        }
        Fate::Fail => {
            store
                .write(move |db| {
                    projects::insert(db, &row)?;
                    Err(Error::NotChanged)
                })
                .await
        }
        Fate::FullCommit => {
            store
                .write(move |db| {
                    FAULT.set(Some(ffi::SQLITE_FULL));
                    projects::insert(db, &row)
                })
                .await
        }
        Fate::Keep => store.write_kept(move |db| projects::insert(db, &row)).await,
        Fate::KeepFull => {
            store
                .write_kept(move |db| {
                    projects::insert(db, &row)?;
                    if first.take() {
                        FAULT.set(Some(ffi::SQLITE_FULL));
                    }
                    Ok(())
                })
                .await
        }
        Fate::Panic => {
            store
                .write(move |db| -> Result<(), Error> {
                    projects::insert(db, &row)?;
                    std::panic::panic_any("a fate")
                })
                .await
        }
        Fate::RollBackAll => {
            store
                .write(move |db| {
                    projects::insert(db, &row)?;
                    rolls_all_back(db)
                })
                .await
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_acknowledged_rows_are_stored(fates in fates()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (directory, store) = store();
            store.hold_reserve().unwrap();
            let held = Held::on(&store).await;
            let mut waiting = Vec::new();
            for (number, fate) in (1..).zip(fates) {
                let write = begin(meet(store.clone(), number, fate)).await;
                if matches!(fate, Fate::Gone) {
                    write.abort();
                    // Aborting a caller cancels its write only before that begins.
                    while !write.is_finished() {
                        tokio::task::yield_now().await;
                    }
                }
                waiting.push((number, fate, write));
            }
            held.release().await;
            let mut expected = BTreeSet::from([0]);
            for (number, fate, write) in waiting {
                match write.await {
                    Ok(Ok(())) => {
                        expected.insert(number);
                    }
                    // The reserve helps once: the second commit on a full disk fails.
                    Ok(Err(Error::Full(_))) => {}
                    Ok(Err(error)) => assert!(!matches!(fate, Fate::Keep | Fate::KeepFull), "{error:?}"),
                    Err(ended) => assert!(matches!((fate, ended.is_panic()), (Fate::Panic, true) | (Fate::Gone, false))),
                }
            }
            assert_eq!(numbers(&store).await, expected);
            drop(store);
            let again = Store::open(&directory.path().join("postpeer.db")).unwrap();
            assert_eq!(numbers(&again).await, expected);
        });
    }
}
