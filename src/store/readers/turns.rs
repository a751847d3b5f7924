//! The order in which long reads get a thread: those of the broker's own work first, because connections and refreshes
//! wait for them, and with them short reads that found no connection; then one of each project in turn, so that a
//! project with many searches makes only itself wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::domain::id::ProjectId;

pub(super) struct Turns<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

struct Waiting<T> {
    own: VecDeque<T>,
    /// Projects in the order of their turns, each with something that waits.
    projects: VecDeque<(ProjectId, VecDeque<T>)>,
    is_closed: bool,
}

impl<T> Waiting<T> {
    fn next(&mut self) -> Option<T> {
        if let Some(own) = self.own.pop_front() {
            return Some(own);
        }
        let (project, mut items) = self.projects.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            self.projects.push_back((project, items));
        }
        item
    }
}

impl<T> Turns<T> {
    pub(super) fn new() -> Self {
        let waiting = Waiting { own: VecDeque::new(), projects: VecDeque::new(), is_closed: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// Adds what a project waits for, or with `None` the broker itself.
    pub(super) fn push(&self, project: Option<ProjectId>, item: T) {
        let mut waiting = self.lock();
        match project {
            None => waiting.own.push_back(item),
            Some(project) => match waiting.projects.iter_mut().find(|(id, _)| *id == project) {
                Some((_, items)) => items.push_back(item),
                None => waiting.projects.push_back((project, VecDeque::from([item]))),
            },
        }
        self.changed.notify_one();
    }

    /// Waits for the next. `None` once it is closed.
    pub(super) fn next(&self) -> Option<T> {
        let idle =
            |waiting: &mut Waiting<T>| !waiting.is_closed && waiting.own.is_empty() && waiting.projects.is_empty();
        let mut waiting = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if waiting.is_closed { None } else { waiting.next() }
    }

    /// Ends the waiting. What is left is dropped.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.own.clear();
        waiting.projects.clear();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::store::fixture::Fixture;

    #[test]
    fn projects_take_turns_behind_the_brokers_own_work() {
        let Fixture { ours, theirs, .. } = Fixture::new();
        let turns = Turns::new();
        for item in ["a1", "a2", "a3"] {
            turns.push(Some(ours), item);
        }
        turns.push(Some(theirs), "b1");
        turns.push(None, "own");
        let order = [(); 3].map(|()| turns.next().unwrap());
        assert_eq!(order, ["own", "a1", "b1"]);
        turns.push(Some(theirs), "b2");
        let order = [(); 3].map(|()| turns.next().unwrap());
        assert_eq!(order, ["a2", "b2", "a3"]);
    }

    #[test]
    fn whoever_waits_is_woken_by_the_next_and_by_the_end() {
        let turns = Turns::new();
        thread::scope(|scope| {
            let waiting = [(); 2].map(|()| scope.spawn(|| turns.next()));
            turns.push(None, 1);
            while !waiting.iter().any(thread::ScopedJoinHandle::is_finished) {
                thread::yield_now();
            }
            turns.close();
            let mut found = waiting.map(|waiting| waiting.join().unwrap());
            found.sort_unstable();
            assert_eq!(found, [None, Some(1)]);
        });
        turns.push(None, 2);
        assert_eq!(turns.next(), None);
    }
}
