//! One run at a time for each key: a caller that finds a run in flight waits for its end and shares its result.
//!
//! Invariant: a run leaves the map before its waiters wake, however it ends, so that whoever starts the next one
//! starts a new run.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::tasks::Tasks;

/// The runs in flight by key, each with the channel that its result is announced on.
type InFlight<K, T> = HashMap<K, watch::Receiver<Option<T>>>;

/// Runs in flight. Cheap to clone.
#[derive(Debug)]
pub(super) struct SingleFlight<K, T>(Arc<Mutex<InFlight<K, T>>>);

impl<K, T> Clone for SingleFlight<K, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// A run that was started or joined.
#[derive(Debug)]
pub(super) struct Flight<T>(watch::Receiver<Option<T>>);

impl<K, T> SingleFlight<K, T> {
    fn lock(&self) -> MutexGuard<'_, InFlight<K, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, T> SingleFlight<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn has(&self, key: &K) -> bool {
        self.lock().contains_key(key)
    }

    /// Starts `work` for `key`, or joins the run in flight. The run goes on whether or not anybody waits.
    pub(super) fn start<Work>(&self, tasks: &Tasks, key: K, work: impl FnOnce() -> Work) -> Flight<T>
    where
        Work: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = watch::channel(None);
        {
            let mut in_flight = self.lock();
            if let Some(running) = in_flight.get(&key) {
                return Flight(running.clone());
            }
            in_flight.insert(key.clone(), receiver.clone());
        }
        let (flights, work) = (self.clone(), work());
        tasks.spawn(async move {
            let result = AssertUnwindSafe(work).catch_unwind().await;
            flights.lock().remove(&key);
            if let Ok(result) = result {
                sender.send_replace(Some(result));
            }
        });
        Flight(receiver)
    }
}

impl<T: Clone> Flight<T> {
    /// The result; `None` when the run panicked.
    pub(super) async fn result(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::runtime::Handle;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn callers_share_a_run_and_the_next_one_starts_another() {
        let (flights, tasks) = (SingleFlight::<u8, usize>::default(), Tasks::new(Handle::current()));
        let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let start = |key| {
            let (runs, gate) = (runs.clone(), gate.clone());
            flights.start(&tasks, key, move || async move {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                run
            })
        };
        let (first, joined, other) = (start(1), start(1), start(2));
        assert!(flights.has(&1) && flights.has(&2) && !flights.has(&3));
        tokio::task::yield_now().await;
        gate.notify_waiters();
        let (first, joined, other) = (first.result().await, joined.result().await, other.result().await);
        assert_eq!(first, joined);
        assert_ne!(first, other);
        assert!(!flights.has(&1), "a run leaves the map before its waiters wake");
        let next = start(1);
        tokio::task::yield_now().await;
        gate.notify_waiters();
        assert_eq!(next.result().await, Some(2));
    }

    #[tokio::test]
    async fn a_panic_ends_the_run_without_a_result() {
        let (flights, tasks) = (SingleFlight::<u8, ()>::default(), Tasks::new(Handle::current()));
        assert_eq!(flights.start(&tasks, 1, || async { panic!("on purpose") }).result().await, None);
        assert!(!flights.has(&1));
        assert_eq!(flights.start(&tasks, 1, || async {}).result().await, Some(()));
    }
}
