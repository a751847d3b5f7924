//! Reads of tokens that are counted in memory before they are written down.
//!
//! A key's first read of an account's token within a minute is written by itself. This holds the later ones of that
//! minute, until somebody takes and writes them.
//!
//! Memory is bounded: when there are too many keys and accounts, further reads are each written by themselves.

use std::collections::HashMap;
use std::time::Duration;

use super::id::{AccessKeyId, IntegrationId, ProjectId};
use super::time::Timestamp;

/// How long a read that was written speaks for later ones.
const SPEAKS_FOR: Duration = Duration::from_mins(1);

/// Most keys and accounts, some 100 bytes each.
const MAX_READERS: usize = 50_000;

/// A key that reads an account's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenReader {
    pub project_id: ProjectId,
    pub integration_id: IntegrationId,
    pub access_key_id: AccessKeyId,
}

/// Reads that are not written yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub reads: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

impl Counted {
    #[must_use]
    pub fn one(at: Timestamp) -> Self {
        Self { reads: 1, first_at: at, last_at: at }
    }

    fn add(&mut self, other: Self) {
        self.reads = self.reads.saturating_add(other.reads);
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
    }
}

#[derive(Debug)]
struct Entry {
    /// The latest read that was written by itself.
    written_at: Timestamp,
    counted: Option<Counted>,
}

impl Entry {
    /// False too when that was written while the clock was ahead.
    fn speaks_for(&self, now: Timestamp) -> bool {
        self.written_at <= now && now < self.written_at.plus(SPEAKS_FOR)
    }
}

/// The keys that read tokens within the last minute.
#[derive(Debug, Default)]
pub struct ReadCounts(HashMap<TokenReader, Entry>);

impl ReadCounts {
    /// Counts a read. False when it must be written by itself.
    pub fn count(&mut self, reader: TokenReader, now: Timestamp) -> bool {
        let Some(entry) = self.0.get_mut(&reader).filter(|entry| entry.speaks_for(now)) else { return false };
        add(&mut entry.counted, Counted::one(now));
        true
    }

    /// Remembers a read that is written, so that it speaks for the next ones.
    pub fn written(&mut self, reader: TokenReader, now: Timestamp) {
        if let Some(entry) = self.0.get_mut(&reader) {
            entry.written_at = now;
        } else if self.0.len() < MAX_READERS {
            self.0.insert(reader, Entry { written_at: now, counted: None });
        }
    }

    /// The counted reads of an account by this key.
    #[must_use]
    pub fn of(&self, reader: &TokenReader) -> Option<Counted> {
        self.0.get(reader)?.counted
    }

    /// Takes everything counted, to be written, and forgets the keys whose minute is over.
    pub fn take(&mut self, now: Timestamp) -> Vec<(TokenReader, Counted)> {
        // Those with something to write stay until the next time, in case it comes back.
        self.0.retain(|_, entry| entry.counted.is_some() || entry.speaks_for(now));
        self.0.iter_mut().filter_map(|(reader, entry)| Some((*reader, entry.counted.take()?))).collect()
    }

    /// Counts again what could not be written.
    pub fn give_back(&mut self, counted: &[(TokenReader, Counted)]) {
        for (reader, counted) in counted {
            let entry = self.0.entry(*reader).or_insert(Entry { written_at: counted.first_at, counted: None });
            add(&mut entry.counted, *counted);
        }
    }
}

fn add(to: &mut Option<Counted>, counted: Counted) {
    match to {
        Some(sum) => sum.add(counted),
        None => *to = Some(counted),
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

    fn reader(account: usize, key: u128) -> TokenReader {
        TokenReader {
            project_id: ProjectId::from_uuid(Uuid::from_u128(1)),
            integration_id: IntegrationId::from_uuid(Uuid::from_u128(account as u128)),
            access_key_id: AccessKeyId::from_uuid(Uuid::from_u128(key)),
        }
    }

    #[test]
    fn the_first_read_of_a_minute_is_to_be_written_and_speaks_for_the_others() {
        let (mut counts, one) = (ReadCounts::default(), reader(1, 1));
        assert!(!counts.count(one, at(0)), "nothing is written yet");
        assert!(!counts.count(one, at(0)), "and the first write has not ended");
        counts.written(one, at(0));
        assert!(counts.count(one, at(1)));
        assert!(!counts.count(reader(1, 2), at(1)), "another key");
        assert!(!counts.count(reader(2, 1), at(1)), "another account");
        assert!(counts.count(one, at(59)));
        assert!(!counts.count(one, at(60)));
        assert!(!counts.count(one, at(-1)), "the clock was set back");
        let counted = Counted { reads: 2, first_at: at(1), last_at: at(59) };
        assert_eq!(counts.of(&one), Some(counted));
        assert_eq!(counts.take(at(59)), [(one, counted)]);
        assert_eq!((counts.of(&one), counts.take(at(59))), (None, vec![]));
        assert!(counts.count(one, at(59)), "taking begins no new minute");
    }

    #[test]
    fn what_could_not_be_written_is_counted_again() {
        let (mut counts, one) = (ReadCounts::default(), reader(1, 1));
        counts.written(one, at(0));
        assert!(counts.count(one, at(1)));
        let taken = counts.take(at(1));
        assert!(counts.count(one, at(2)));
        counts.give_back(&taken);
        let both = (one, Counted { reads: 2, first_at: at(1), last_at: at(2) });
        assert_eq!(counts.take(at(61)), [both]);
        counts.give_back(&[both]);
        assert!(!counts.count(one, at(61)), "the next one is written by itself");
        assert_eq!(counts.take(at(62)), [both]);
        assert_eq!(counts.take(at(63)), []);
        assert!(counts.0.is_empty(), "its minute is over");
    }

    #[test]
    fn memory_is_bounded() {
        let mut counts = ReadCounts::default();
        for account in 0..=MAX_READERS {
            counts.written(reader(account, 1), at(0));
        }
        assert_eq!(counts.0.len(), MAX_READERS);
        assert!(counts.count(reader(0, 1), at(1)));
        assert!(!counts.count(reader(MAX_READERS, 1), at(1)), "each read is written by itself");
        counts.take(at(60));
        counts.written(reader(MAX_READERS, 1), at(60));
        assert!(counts.count(reader(MAX_READERS, 1), at(61)), "there is room when the minute is over");
    }
}
