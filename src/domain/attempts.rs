//! A rate limit: so many attempts within a sliding window, counted for several subjects at once.
//!
//! Memory is bounded: when there are too many subjects, the one whose last attempt is oldest is forgotten.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::time::Timestamp;

const MAX_SUBJECTS: usize = 10_000;

/// At most `attempts` within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub attempts: usize,
    pub within: Duration,
}

/// The recent attempts of each subject.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<String, VecDeque<Timestamp>>);

impl Attempts {
    /// Counts an attempt for every subject, or for none when one of them has reached its limit.
    ///
    /// # Errors
    ///
    /// Time until every subject is below its limit; never zero.
    pub fn count(&mut self, now: Timestamp, subjects: &[(String, Limit)]) -> Result<(), Duration> {
        let mut wait = None;
        for (subject, limit) in subjects {
            let Some(times) = self.0.get_mut(subject) else { continue };
            // An attempt in the future was counted while the clock was ahead: ignore it.
            times.retain(|time| *time <= now && now < time.plus(limit.within));
            let blocking = times.len().checked_sub(limit.attempts).and_then(|at| times.get(at));
            wait = wait.max(blocking.map(|time| now.until(time.plus(limit.within))));
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

    /// Takes back an attempt of `at`, which turned out to be none.
    pub fn take_back(&mut self, subject: &str, at: Timestamp) {
        let Some(times) = self.0.get_mut(subject) else { return };
        if let Some(counted) = times.iter().rposition(|time| *time == at) {
            times.remove(counted);
        }
    }

    fn make_room(&mut self) {
        if self.0.len() < MAX_SUBJECTS {
            return;
        }
        let idlest = self.0.iter().min_by_key(|(_, times)| times.back().copied()).map(|(subject, _)| subject.clone());
        if let Some(idlest) = idlest {
            self.0.remove(&idlest);
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
    fn a_subject_at_its_limit_waits_for_its_oldest_attempt() {
        let mut attempts = Attempts::default();
        for seconds in [0, 10, 20] {
            assert_eq!(count(&mut attempts, seconds, &["a"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 20, &["a"]), Err(280));
        assert_eq!(count(&mut attempts, 299, &["a"]), Err(1));
        assert_eq!(count(&mut attempts, 300, &["a"]), Ok(()));
        assert_eq!(count(&mut attempts, 300, &["a"]), Err(10));
        assert_eq!(count(&mut attempts, 300, &["b"]), Ok(()), "each subject has its own limit");
    }

    #[test]
    fn an_attempt_that_one_subject_blocks_counts_for_none() {
        let mut attempts = Attempts::default();
        for _ in 0..3 {
            assert_eq!(count(&mut attempts, 0, &["a", "b"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 100, &["c", "b"]), Err(200));
        for _ in 0..3 {
            assert_eq!(count(&mut attempts, 100, &["c"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 150, &["b", "c"]), Err(250), "the longer wait of the two");
    }

    #[test]
    fn an_attempt_that_is_taken_back_counts_no_more() {
        let mut attempts = Attempts::default();
        for seconds in [0, 10, 20] {
            assert_eq!(count(&mut attempts, seconds, &["a", "b"]), Ok(()));
        }
        attempts.take_back("a", at(10));
        attempts.take_back("a", at(11));
        attempts.take_back("unknown", at(10));
        assert_eq!(count(&mut attempts, 30, &["b"]), Err(270));
        assert_eq!(count(&mut attempts, 30, &["a"]), Ok(()));
        assert_eq!(count(&mut attempts, 30, &["a"]), Err(270));
    }

    #[test]
    fn attempts_from_a_clock_that_was_ahead_are_ignored() {
        let mut attempts = Attempts::default();
        for _ in 0..3 {
            assert_eq!(count(&mut attempts, 86_400, &["a"]), Ok(()));
        }
        assert_eq!(count(&mut attempts, 0, &["a"]), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_the_longest_idle_is_forgotten_first() {
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
