//! Refreshes of tokens that are hardly used, for callers that ask for more time than is left: bounded for each grant.
//!
//! A caller that asks for the whole life of a token would otherwise have it refreshed at every read, and each refresh
//! spends a refresh token that works once.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::id::GrantId;
use super::time::Timestamp;

/// Most of them for a grant within [`WINDOW`].
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_mins(1);

/// Most grants to remember. When there are more, those without a recent refresh are forgotten, or else all.
const MANY: usize = 10_000;

/// The recent ones of each grant: the generation whose tokens were to be replaced, and when.
#[derive(Debug, Default)]
pub struct EagerRefreshes(HashMap<GrantId, VecDeque<(u64, Timestamp)>>);

/// True for a token that a refresh would hardly improve: younger than a minute, and than half its life.
#[must_use]
pub fn is_hardly_used(issued_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> bool {
    issued_at.until(now) < WINDOW.min(issued_at.until(expires_at) / 2)
}

impl EagerRefreshes {
    /// True when the tokens of this generation may be refreshed now. Everyone who asks for the same refresh counts
    /// once.
    pub fn admit(&mut self, grant: GrantId, generation: u64, now: Timestamp) -> bool {
        // A time in the future was counted while the clock was ahead: ignore it.
        let is_recent = |(_, at): &(u64, Timestamp)| *at <= now && now < at.plus(WINDOW);
        if self.0.len() >= MANY && !self.0.contains_key(&grant) {
            self.0.retain(|_, recent| recent.back().is_some_and(is_recent));
            if self.0.len() >= MANY {
                self.0.clear();
            }
        }
        let recent = self.0.entry(grant).or_default();
        recent.retain(is_recent);
        if recent.iter().any(|(counted, _)| *counted == generation) {
            return true;
        }
        let is_admitted = recent.len() < MOST;
        if is_admitted {
            recent.push_back((generation, now));
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id as _;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445).plus(Duration::from_secs(seconds))
    }

    fn grant(number: u128) -> GrantId {
        GrantId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn five_generations_of_a_grant_are_admitted_a_minute() {
        let mut eager = EagerRefreshes::default();
        for generation in 0..5 {
            for _ in 0..50 {
                assert!(eager.admit(grant(1), generation, at(generation)), "{generation}");
            }
        }
        assert!(!eager.admit(grant(1), 5, at(59)));
        assert!(eager.admit(grant(1), 4, at(59)), "whoever waits for the same refresh");
        assert!(eager.admit(grant(2), 5, at(59)), "another grant");
        assert!(eager.admit(grant(1), 5, at(60)));
        assert!(!eager.admit(grant(1), 6, at(60)));
        let mut ahead = EagerRefreshes::default();
        assert!((0..5).all(|generation| ahead.admit(grant(1), generation, at(1000))));
        assert!(ahead.admit(grant(1), 5, at(0)), "counted while the clock was ahead");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut eager = EagerRefreshes::default();
        for number in 0..3 * MANY {
            assert!(eager.admit(grant(number as u128), 0, at(0)));
        }
        assert!(eager.0.len() <= MANY, "{}", eager.0.len());
    }

    #[test]
    fn a_token_is_hardly_used_for_a_minute_or_half_its_life() {
        for (life, age, expected) in
            [(7200, 0, true), (7200, 59, true), (7200, 60, false), (20, 9, true), (20, 10, false), (0, 0, false)]
        {
            assert_eq!(is_hardly_used(at(0), at(life), at(age)), expected, "{age} of {life}");
        }
    }
}
