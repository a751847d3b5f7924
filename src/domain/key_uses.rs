//! Uses of access keys that are counted in memory, so that no request waits for the disk because of them.
//!
//! The first use of a key is to be written at the next occasion, and a later one when a minute has passed since then.
//! Memory is bounded by the number of keys that are used within a minute.

use std::collections::HashMap;
use std::time::Duration;

use super::id::{AccessKeyId, ProjectId};
use super::time::Timestamp;

/// Least time between two writes for a key.
const WRITE_EVERY: Duration = Duration::from_mins(1);

/// The latest use of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    pub project_id: ProjectId,
    pub access_key_id: AccessKeyId,
    pub at: Timestamp,
}

#[derive(Debug)]
struct Entry {
    /// The latest use that is not written.
    unwritten: Option<KeyUse>,
    /// `None` while nothing was written.
    written_at: Option<Timestamp>,
}

impl Entry {
    /// True as well when that was written while the clock was ahead.
    fn is_due(&self, now: Timestamp) -> bool {
        self.written_at.is_none_or(|at| now < at || at.plus(WRITE_EVERY) <= now)
    }
}

#[derive(Debug, Default)]
pub struct KeyUses(HashMap<AccessKeyId, Entry>);

impl KeyUses {
    pub fn add(&mut self, used: KeyUse) {
        let entry = self.0.entry(used.access_key_id).or_insert(Entry { unwritten: None, written_at: None });
        entry.unwritten = Some(used);
    }

    /// Takes what is to be written now. `all`: also what would wait for its minute.
    pub fn take(&mut self, now: Timestamp, all: bool) -> Vec<KeyUse> {
        self.0.retain(|_, entry| entry.unwritten.is_some() || !entry.is_due(now));
        let due = self.0.values_mut().filter(|entry| all || entry.is_due(now));
        let taken = due.filter_map(|entry| {
            let used = entry.unwritten.take()?;
            entry.written_at = Some(now);
            Some(used)
        });
        taken.collect()
    }

    /// Adds what could not be written, unless there is a later use.
    pub fn give_back(&mut self, uses: &[KeyUse]) {
        for used in uses {
            let entry = self.0.entry(used.access_key_id).or_insert(Entry { unwritten: None, written_at: None });
            entry.unwritten.get_or_insert(*used);
            entry.written_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id as _;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445 + seconds * 1000)
    }

    fn used(key: u128, seconds: i64) -> KeyUse {
        KeyUse {
            project_id: ProjectId::from_uuid(Uuid::from_u128(1)),
            access_key_id: AccessKeyId::from_uuid(Uuid::from_u128(key)),
            at: at(seconds),
        }
    }

    #[test]
    fn the_latest_use_is_written_once_a_minute() {
        let mut uses = KeyUses::default();
        uses.add(used(1, 0));
        uses.add(used(1, 1));
        assert_eq!(uses.take(at(1), false), [used(1, 1)]);
        assert_eq!(uses.take(at(2), false), []);
        uses.add(used(1, 3));
        uses.add(used(1, 59));
        assert_eq!(uses.take(at(60), false), [], "its minute is not over");
        uses.add(used(2, 60));
        assert_eq!(uses.take(at(60), false), [used(2, 60)], "another key");
        assert_eq!(uses.take(at(61), false), [used(1, 59)]);
        uses.add(used(1, 62));
        assert_eq!(uses.take(at(62), true), [used(1, 62)], "the broker stops");
        uses.add(used(1, 63));
        assert_eq!(uses.take(at(0), false), [used(1, 63)], "the clock was set back");
    }

    #[test]
    fn what_could_not_be_written_is_written_at_the_next_occasion() {
        let mut uses = KeyUses::default();
        for key in [1, 2] {
            uses.add(used(key, 0));
        }
        let mut taken = uses.take(at(0), false);
        taken.sort_by_key(|one| one.access_key_id);
        assert_eq!(taken, [used(1, 0), used(2, 0)]);
        uses.add(used(1, 1));
        uses.give_back(&taken);
        let mut taken = uses.take(at(2), false);
        taken.sort_by_key(|one| one.access_key_id);
        assert_eq!(taken, [used(1, 1), used(2, 0)]);
    }

    #[test]
    fn keys_that_are_not_used_are_forgotten() {
        let mut uses = KeyUses::default();
        uses.add(used(1, 0));
        uses.take(at(0), false);
        assert_eq!(uses.0.len(), 1);
        uses.take(at(60), false);
        assert!(uses.0.is_empty());
    }
}
