//! A map that forgets its oldest entries, so that a sandbox that runs for weeks does not grow.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Holds at most `limit` entries; a further one pushes out the oldest.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), limit }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(super) fn get<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key)
    }

    pub(super) fn get_mut<Q: ?Sized + Eq + Hash>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get_mut(key)
    }

    /// A removed entry keeps its place in the order and counts until it would have been pushed out.
    pub(super) fn remove<Q: ?Sized + Eq + Hash>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.remove(key)
    }

    /// Keeps the entries for which `condition` holds.
    pub(super) fn retain(&mut self, condition: impl Fn(&V) -> bool) {
        self.entries.retain(|_, value| condition(value));
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut bounded = Bounded::new(2);
        bounded.insert("a", 1);
        bounded.insert("b", 2);
        bounded.insert("a", 3);
        bounded.insert("c", 4);
        assert_eq!(bounded.get("a"), None);
        assert_eq!(bounded.get("b"), Some(&2));
        assert_eq!(bounded.get("c"), Some(&4));
    }
}
