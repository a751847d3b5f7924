//! Judges whether the clock may decide on deletions, which nobody can undo.
//!
//! A machine without a battery may be years ahead until it reaches the network. Its clock counts once it has run evenly
//! for a while: as fast as the time that the process has run.

use std::time::Duration;

use super::time::Timestamp;

/// Time for which the clock must run evenly.
const SETTLED: Duration = Duration::from_hours(1);

/// Difference between two looks beyond which the clock was set.
const TOLERANCE: Duration = Duration::from_mins(1);

/// The looks at a clock so far.
#[derive(Debug, Default)]
pub struct Steadiness {
    latest: Option<Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Timestamp,
    /// Time that the process had run.
    ran: Duration,
    /// The same, when the clock was set last.
    steady_since: Duration,
}

impl Steadiness {
    /// Looks at the clock, at the time `ran` since the process began.
    pub fn look(&mut self, at: Timestamp, ran: Duration) {
        let steady_since = match self.latest {
            Some(before) if was_even(before, at, ran) => before.steady_since,
            _ => ran,
        };
        self.latest = Some(Look { at, ran, steady_since });
    }

    /// Looks once more. True when the time `at` may decide on deletions.
    pub fn trusts(&mut self, at: Timestamp, ran: Duration) -> bool {
        if self.latest.is_some() {
            self.look(at, ran);
        }
        self.is_settled()
    }

    /// True when the clock has run evenly for long enough, and where nobody looks at it.
    fn is_settled(&self) -> bool {
        self.latest.is_none_or(|look| look.ran.saturating_sub(look.steady_since) >= SETTLED)
    }
}

fn was_even(before: Look, at: Timestamp, ran: Duration) -> bool {
    let expected = before.at.plus(ran.saturating_sub(before.ran));
    expected.until(at).max(at.until(expected)) <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_777_797_216_445);
    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_clock_counts_once_it_has_run_evenly_for_an_hour() {
        let minutes = |minutes| Duration::from_mins(minutes);
        let mut clock = Steadiness::default();
        assert!(clock.is_settled(), "nobody looks at it");
        // It is ahead for the first ten minutes, and for one later.
        let ahead = |minute: u64| minute < 10 || minute == 100;
        let mut settled = Vec::new();
        for minute in 0..200 {
            let at = START.plus(minutes(minute)).plus(if ahead(minute) { DAY * 400 } else { Duration::ZERO });
            clock.look(at, minutes(minute));
            settled.extend(clock.is_settled().then_some(minute));
        }
        assert_eq!(settled, (70..100).chain(161..200).collect::<Vec<_>>());
        clock.look(START.plus(minutes(205)), minutes(201));
        assert!(!clock.is_settled(), "the machine slept");
    }

    #[test]
    fn a_time_counts_only_if_the_clock_was_not_set_since_the_last_look() {
        let mut clock = Steadiness::default();
        assert!(clock.trusts(START, Duration::ZERO) && clock.latest.is_none(), "nobody looks at it");
        for minute in 0..=60 {
            clock.look(START.plus(Duration::from_mins(minute)), Duration::from_mins(minute));
        }
        let ran = Duration::from_secs(60 * 60 + 10);
        assert!(clock.trusts(START.plus(ran), ran));
        assert!(!clock.trusts(START.plus(ran).plus(DAY), ran));
    }
}
