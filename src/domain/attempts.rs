//! How often something may be tried: so many times in so long, counted for each of several subjects at once.
//!
//! Sliding, not by the full hour: the oldest attempt must be past before another is let through. Bounded: what is
//! remembered of most subjects is a fixed number, and where there are more, the one that rested longest is forgotten.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::time::Timestamp;

/// Most subjects that are remembered.
const MAX_SUBJECTS: usize = 10_000;

/// So many attempts in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub attempts: usize,
    pub within: Duration,
}

/// The attempts of late.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<String, VecDeque<Timestamp>>);

impl Attempts {
    /// Counts an attempt for every subject, or for none when one of them has had its share: then this is how long until
    /// all would have room.
    ///
    /// # Errors
    ///
    /// The time to wait, never zero.
    pub fn count(&mut self, now: Timestamp, subjects: &[(String, Limit)]) -> Result<(), Duration> {
        let mut wait = None;
        for (subject, limit) in subjects {
            let Some(times) = self.0.get_mut(subject) else { continue };
            // Of a time to come: the clock was set back, and nobody is to wait for that.
            times.retain(|time| *time <= now && now < time.plus(limit.within));
            let oldest_that_counts = times.len().checked_sub(limit.attempts).and_then(|at| times.get(at));
            wait = wait.max(oldest_that_counts.map(|time| now.until(time.plus(limit.within))));
        }
        if let Some(wait) = wait {
            return Err(wait);
        }
        for (subject, _) in subjects {
            if !self.0.contains_key(subject) {
                self.make_room();
            }
            self.0.entry(subject.clone()).or_default().push_back(now);
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.0.len() < MAX_SUBJECTS {
            return;
        }
        let rested = self.0.iter().min_by_key(|(_, times)| times.back().copied()).map(|(subject, _)| subject.clone());
        if let Some(rested) = rested {
            self.0.remove(&rested);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { attempts: 3, within: Duration::from_mins(5) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445 + seconds * 1000)
    }

    fn count(attempts: &mut Attempts, seconds: i64, subjects: &[&str]) -> Result<(), u64> {
        let subjects: Vec<_> = subjects.iter().map(|subject| ((*subject).to_owned(), LIMIT)).collect();
        attempts.count(at(seconds), &subjects).map_err(|wait| wait.as_secs())
    }

    #[test]
    fn a_subject_has_its_share_and_then_waits_for_the_oldest() {
        let mut attempts = Attempts::default();
        for seconds in [0, 10, 20] {
            assert_eq!(count(&mut attempts, seconds, &["a"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 20, &["a"]), Err(280));
        assert_eq!(count(&mut attempts, 299, &["a"]), Err(1));
        assert_eq!(count(&mut attempts, 300, &["a"]), Ok(()));
        assert_eq!(count(&mut attempts, 300, &["a"]), Err(10));
        assert_eq!(count(&mut attempts, 300, &["b"]), Ok(()), "another's share is another's");
    }

    #[test]
    fn what_one_subject_refuses_is_counted_for_none() {
        let mut attempts = Attempts::default();
        for _ in 0..3 {
            assert_eq!(count(&mut attempts, 0, &["a", "b"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 100, &["c", "b"]), Err(200));
        for _ in 0..3 {
            assert_eq!(count(&mut attempts, 100, &["c"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 150, &["b", "c"]), Err(250), "the longer of the two");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut attempts = Attempts::default();
        for _ in 0..3 {
            assert_eq!(count(&mut attempts, 86_400, &["a"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 0, &["a"]), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_the_longest_rested_goes_first() {
        let mut attempts = Attempts::default();
        for _ in 0..3 {
            count(&mut attempts, 0, &["old"]).unwrap();
            count(&mut attempts, 5, &["busy"]).unwrap();
        }
        for subject in 0..MAX_SUBJECTS {
            let subject = subject.to_string();
            count(&mut attempts, 1, &[&subject]).unwrap();
        }
        assert_eq!(attempts.0.len(), MAX_SUBJECTS);
        assert_eq!(count(&mut attempts, 6, &["old"]), Ok(()), "forgotten");
        assert_eq!(count(&mut attempts, 6, &["busy"]), Err(299), "remembered");
    }
}
