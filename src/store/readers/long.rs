//! Threads for long reads, each with its own connection.
//!
//! A runtime's pool would do, but for the memory: the system's allocator keeps what a thread has freed for that thread.
//! SQLite allocates much for a search, and in a pool each search may run on another thread.
//!
//! Invariants: each read runs in one snapshot, which ends before the answer. A panic ends its read, and not the thread.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use tokio::sync::oneshot;

use super::turns::Turns;
use super::{Snapshot, make_ready};
use crate::domain::id::ProjectId;
use crate::store::{Error, on_store_thread};

/// The work of a long read. Its result has no type here: the compiler would repeat this file for each type of result.
pub(in crate::store) type Reading = Box<dyn FnOnce(&Connection) -> Answer + Send>;

/// The result of a long read. The caller knows its type.
pub(in crate::store) type Answer = Box<dyn Any + Send>;

/// Interval between attempts to end a read that nobody waits for.
const INTERRUPT_EVERY: Duration = Duration::from_millis(1);

/// A read that waits for a thread.
struct Order {
    reading: Reading,
    reply: oneshot::Sender<thread::Result<Result<Answer, Error>>>,
}

pub(super) struct LongReaders {
    orders: Arc<Turns<Order>>,
    threads: Vec<(InterruptHandle, JoinHandle<()>)>,
}

impl LongReaders {
    pub(super) fn start(connections: Vec<Connection>) -> io::Result<Self> {
        let mut started = Self { orders: Arc::new(Turns::new()), threads: Vec::new() };
        for connection in connections {
            let (interrupt, orders) = (connection.get_interrupt_handle(), started.orders.clone());
            let serve = move || on_store_thread(|| serve(&connection, &orders));
            // Where one does not start, those before it are ended.
            started.threads.push((interrupt, thread::Builder::new().name("long read".to_owned()).spawn(serve)?));
        }
        Ok(started)
    }

    /// Waits while all threads read, for a project or for the broker itself.
    pub(super) async fn run(&self, project: Option<ProjectId>, reading: Reading) -> Result<Answer, Error> {
        let (reply, outcome) = oneshot::channel();
        self.orders.push(project, Order { reading, reply });
        outcome.await.map_err(|_| Error::Stopped)?.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for LongReaders {
    /// Closes the connections. Nobody waits for what is being read.
    fn drop(&mut self) {
        self.orders.close();
        let own = thread::current().id();
        for (interrupt, thread) in self.threads.drain(..).filter(|(_, thread)| thread.thread().id() != own) {
            // Again and again, because it ends a statement that runs, and not one that is about to.
            while !thread.is_finished() {
                interrupt.interrupt();
                thread::sleep(INTERRUPT_EVERY);
            }
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, orders: &Turns<Order>) {
    let mut is_ready = false;
    while let Some(Order { reading, reply }) = orders.next() {
        if reply.is_closed() {
            continue;
        }
        let read = || {
            make_ready(connection, &mut is_ready)?;
            let snapshot = Snapshot::begin(connection)?;
            Ok(reading(snapshot.0))
        };
        // Its own values are not used again, and the snapshot has ended.
        let _ = reply.send(catch_unwind(AssertUnwindSafe(read)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::time::timeout;

    use super::*;
    use crate::store::Readers;
    use crate::store::tests::store;

    const ENDLESS: &str = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";

    #[tokio::test]
    async fn long_reads_keep_their_threads_and_survive_panics() {
        let (_directory, store) = store();
        let mut threads = std::collections::HashSet::new();
        for _ in 0..3 * Readers::LONG {
            let panicking = store.clone();
            let panicked =
                tokio::spawn(
                    async move { panicking.read_long(|_| -> Result<(), Error> { panic!("in a read") }).await },
                );
            assert!(panicked.await.unwrap_err().is_panic());
            threads.insert(store.read_long(|_| Ok::<_, Error>(std::thread::current().id())).await.unwrap());
        }
        assert!(threads.len() <= Readers::LONG, "{threads:?}");
    }

    #[tokio::test]
    async fn the_brokers_own_reads_overtake_those_of_callers() {
        let (_directory, store) = store();
        let project = store.read(crate::store::projects::list).await.unwrap()[0].id;
        let (started, begun) = mpsc::channel();
        // All threads are busy until their gate opens.
        let mut gates: Vec<mpsc::Sender<()>> = (0..Readers::LONG)
            .map(|_| {
                let (store, started, (open, gate)) = (store.clone(), started.clone(), mpsc::channel());
                let held = move |_: &Connection| {
                    started.send("held").unwrap();
                    let _ = gate.recv();
                    Ok::<_, Error>(())
                };
                tokio::spawn(async move { store.read_long_for(project, held).await });
                open
            })
            .collect();
        let next = async || {
            while begun.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        };
        for _ in 0..Readers::LONG {
            next().await;
        }
        let (done, order) = mpsc::channel();
        let say = |word: &'static str| {
            let done = done.clone();
            move |_: &Connection| {
                done.send(word).unwrap();
                Ok::<_, Error>(())
            }
        };
        // Polled in this order. One thread does both.
        let both = tokio::join!(store.read_long_for(project, say("caller")), store.read_long(say("own")), async {
            gates.pop();
        });
        both.0.unwrap();
        both.1.unwrap();
        assert_eq!([order.recv().unwrap(), order.recv().unwrap()], ["own", "caller"]);
    }

    #[tokio::test]
    async fn the_last_handle_of_a_store_may_be_dropped_while_it_is_read() {
        let (_directory, store) = store();
        // By the read itself.
        let (own, (dropped, ended)) = (store.clone(), std::sync::mpsc::channel());
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let reading = tokio::spawn({
            let store = store.clone();
            async move {
                store
                    .read_long(move |_| {
                        let _ = begun.send(());
                        let _ = wait.recv();
                        drop(own);
                        let _ = dropped.send(());
                        Ok::<_, Error>(())
                    })
                    .await
            }
        });
        has_begun.await.unwrap();
        reading.abort();
        assert!(reading.await.unwrap_err().is_cancelled());
        drop(store);
        go.send(()).unwrap();
        ended.recv_timeout(Duration::from_mins(1)).unwrap();
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_keeps_no_store_open() {
        let (directory, store) = store();
        let read = store.read_long(|db| Ok::<i64, Error>(db.query_row(ENDLESS, [], |row| row.get(0))?));
        assert!(timeout(Duration::from_millis(50), read).await.is_err());
        drop(store);
        assert!(!directory.path().join("postpeer.db-wal").exists(), "all connections are closed");
    }
}
