//! The highest generation of each grant's tokens that this process has used. A row that goes back while the broker runs
//! was put back by somebody else, and is refused. A row that was put back before the start looks like a restored
//! backup, and is taken.
//!
//! Bounded: with more grants than that, it forgets them all and begins again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::id::GrantId;

/// About 5 MiB.
const MOST: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Generations(Mutex<HashMap<GrantId, u64>>);

impl Generations {
    /// Remembers a generation that is committed. False when a higher one is known. Then the row has gone back, unless
    /// it was read before the other was committed: read it again.
    pub(super) fn admit(&self, grant: GrantId, generation: u64) -> bool {
        let mut seen = self.seen();
        if seen.len() >= MOST && !seen.contains_key(&grant) {
            seen.clear();
        }
        let highest = seen.entry(grant).or_insert(generation);
        *highest = generation.max(*highest);
        *highest == generation
    }

    /// The highest generation that was used; 0 for none.
    pub(super) fn highest(&self, grant: GrantId) -> u64 {
        self.seen().get(&grant).copied().unwrap_or(0)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<GrantId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id as _;

    #[test]
    fn generations_go_up_and_are_bounded() {
        let generations = Generations::default();
        let grant = |number| GrantId::from_uuid(Uuid::from_u128(number));
        assert!(generations.admit(grant(1), 3) && generations.admit(grant(1), 3) && generations.admit(grant(1), 5));
        assert!(!generations.admit(grant(1), 4));
        assert!(generations.admit(grant(2), 1), "each grant has its own");
        assert_eq!((generations.highest(grant(1)), generations.highest(grant(3))), (5, 0));
        for number in 3..MOST as u128 + 2 {
            assert!(generations.admit(grant(number), 1));
        }
        assert_eq!(generations.seen().len(), 1);
    }
}
