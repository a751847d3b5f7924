//! Budgets for what costs: so many in a minute, by access key, by link, by address, by project and in all.
//!
//! Each budget refills steadily, and a subject that has spent nothing for a minute has all of it. Memory is bounded:
//! when there are too many subjects, those with the most left are forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use super::id::{AccessKeyId, LinkId, ProjectId};
use super::time::Timestamp;

/// Most subjects that are remembered, at about 100 bytes each.
const MAX_SUBJECTS: usize = 20_000;

/// Microseconds in which a budget refills.
const REFILL: i64 = 60_000_000;

/// What costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Cost {
    /// Connecting a Bluesky account: calls to servers that others chose, and attempts at a password.
    Bluesky,
    /// A wrong access key, state, link or selection token.
    Misses,
    /// Starting a connection.
    Starts,
    /// Any other change: a row, and an entry of the audit trail.
    Writes,
}

/// Most in a minute; `None` without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub per_key: Option<u32>,
    pub per_address: Option<u32>,
    pub in_all: Option<u32>,
}

impl Budget {
    /// The defaults suit one small machine. A hundred starts in a second pass.
    #[must_use]
    pub const fn default_of(cost: Cost) -> Self {
        let (per_key, per_address, in_all) = match cost {
            Cost::Bluesky => (Some(100), Some(150), Some(1_000)),
            Cost::Misses => (None, Some(120), None),
            Cost::Starts => (Some(12_000), Some(12_000), Some(60_000)),
            Cost::Writes => (Some(1_200), Some(1_200), Some(6_000)),
        };
        Self { per_key, per_address, in_all }
    }
}

/// The budget of each cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub bluesky: Budget,
    pub misses: Budget,
    pub starts: Budget,
    pub writes: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bluesky: Budget::default_of(Cost::Bluesky),
            misses: Budget::default_of(Cost::Misses),
            starts: Budget::default_of(Cost::Starts),
            writes: Budget::default_of(Cost::Writes),
        }
    }
}

impl Limits {
    #[must_use]
    pub const fn of(&self, cost: Cost) -> Budget {
        match cost {
            Cost::Bluesky => self.bluesky,
            Cost::Misses => self.misses,
            Cost::Starts => self.starts,
            Cost::Writes => self.writes,
        }
    }
}

/// Who spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    Address(IpAddr),
    All,
    Key(AccessKeyId),
    /// Whoever has a connect link.
    Link(LinkId),
    /// All people who act without the key for what it began or made: they spend nothing of the key's own budget.
    PeopleOf(AccessKeyId),
    /// All keys of a project, and their people.
    Project(ProjectId),
}

impl Subject {
    /// End of the name of the setting that limits this subject.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::Address(_) => "per_address",
            Self::All | Self::Project(_) => "in_all",
            Self::Key(_) | Self::Link(_) | Self::PeopleOf(_) => "per_key",
        }
    }
}

/// A budget that is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    pub subject: Subject,
    /// Time until there is some left; never zero.
    pub retry_after: Duration,
}

/// What each subject has spent: the time at which its budget is whole again, in microseconds.
#[derive(Debug, Default)]
pub struct Spent(HashMap<(Cost, Subject), i64>);

impl Spent {
    /// Spends for every subject, or for none when one of them has nothing left. `subjects`: each with the most in a
    /// minute.
    ///
    /// # Errors
    ///
    /// The subject that has to wait longest.
    pub fn spend(&mut self, now: Timestamp, cost: Cost, subjects: &[(Subject, u32)]) -> Result<(), Exhausted> {
        self.check(now, cost, subjects)?;
        let now = micros(now);
        for (subject, most) in subjects {
            if !self.0.contains_key(&(cost, *subject)) {
                self.make_room(now);
            }
            let whole_at = self.whole_at(now, cost, *subject) + price(*most);
            self.0.insert((cost, *subject), whole_at);
        }
        Ok(())
    }

    /// Checks that every subject has some left.
    ///
    /// # Errors
    ///
    /// As [`Self::spend`].
    fn check(&self, now: Timestamp, cost: Cost, subjects: &[(Subject, u32)]) -> Result<(), Exhausted> {
        let now = micros(now);
        let wait = |(subject, most): &(Subject, u32)| {
            let wait = self.whole_at(now, cost, *subject) + price(*most) - now - REFILL;
            (wait > 0).then(|| (wait.unsigned_abs(), *subject))
        };
        match subjects.iter().filter_map(wait).max_by_key(|(wait, _)| *wait) {
            None => Ok(()),
            Some((wait, subject)) => Err(Exhausted { subject, retry_after: Duration::from_micros(wait) }),
        }
    }

    fn whole_at(&self, now: i64, cost: Cost, subject: Subject) -> i64 {
        let whole_at = self.0.get(&(cost, subject)).copied().unwrap_or(now);
        // Further ahead than a budget can be, it was spent while the clock was ahead: ignore it.
        if whole_at > now + 2 * REFILL { now } else { whole_at.max(now) }
    }

    fn make_room(&mut self, now: i64) {
        if self.0.len() < MAX_SUBJECTS {
            return;
        }
        self.0.retain(|_, whole_at| *whole_at > now);
        if self.0.len() < MAX_SUBJECTS {
            return;
        }
        let mut times: Vec<i64> = self.0.values().copied().collect();
        let (_, median, _) = times.select_nth_unstable(MAX_SUBJECTS / 2);
        let median = *median;
        self.0.retain(|_, whole_at| *whole_at > median);
    }
}

fn micros(time: Timestamp) -> i64 {
    time.as_millis().saturating_mul(1000)
}

/// Microseconds in which one is refilled. At least one that takes the whole budget.
fn price(most: u32) -> i64 {
    REFILL / i64::from(most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Subject = Subject::All;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445 + millis)
    }

    fn address(number: u32) -> Subject {
        Subject::Address(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_budget_is_spent_and_refills() {
        let mut spent = Spent::default();
        let mut try_one = |millis, most| spent.spend(at(millis), Cost::Writes, &[(ALL, most)]);
        for _ in 0..60 {
            assert_eq!(try_one(0, 60), Ok(()));
        }
        let exhausted = |seconds| Err(Exhausted { subject: ALL, retry_after: Duration::from_secs(seconds) });
        assert_eq!(try_one(0, 60), exhausted(1));
        assert_eq!(try_one(1_000, 60), Ok(()));
        assert_eq!(try_one(1_000, 60), exhausted(1));
        for _ in 0..60 {
            assert_eq!(try_one(61_000, 60), Ok(()), "whole again");
        }
        assert_eq!(try_one(61_000, 60), exhausted(1));
        assert_eq!(try_one(61_000, 120), Err(Exhausted { subject: ALL, retry_after: Duration::from_millis(500) }));
    }

    /// The default lets a hundred starts a second pass for as long as they come.
    #[test]
    fn a_hundred_starts_a_second_pass() {
        let mut spent = Spent::default();
        let most = Budget::default_of(Cost::Starts).per_key.unwrap();
        for start in 0..100_000 {
            assert_eq!(spent.spend(at(start * 10), Cost::Starts, &[(ALL, most)]), Ok(()), "{start}");
        }
    }

    #[test]
    fn what_one_subject_cannot_spend_none_spends() {
        let mut spent = Spent::default();
        let (one, other) = ((address(1), 2), (address(2), 4));
        spent.spend(at(0), Cost::Misses, &[one]).unwrap();
        spent.spend(at(0), Cost::Misses, &[one, other]).unwrap();
        for _ in 0..5 {
            let exhausted = spent.spend(at(0), Cost::Misses, &[one, other]).unwrap_err();
            assert_eq!(exhausted, Exhausted { subject: one.0, retry_after: Duration::from_secs(30) });
        }
        for _ in 0..3 {
            spent.spend(at(0), Cost::Misses, &[other]).unwrap();
        }
        assert!(spent.check(at(0), Cost::Misses, &[other]).is_err());
        assert!(spent.check(at(0), Cost::Writes, &[one, other]).is_ok(), "each cost has its own budget");
    }

    #[test]
    fn what_was_spent_while_the_clock_was_ahead_is_forgotten() {
        let mut spent = Spent::default();
        spent.spend(at(86_400_000), Cost::Writes, &[(ALL, 1)]).unwrap();
        assert!(spent.spend(at(86_400_000), Cost::Writes, &[(ALL, 1)]).is_err());
        assert!(spent.spend(at(0), Cost::Writes, &[(ALL, 1)]).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_those_that_spent_most_are_remembered() {
        let mut spent = Spent::default();
        for _ in 0..100 {
            spent.spend(at(0), Cost::Misses, &[(ALL, 100)]).unwrap();
        }
        for number in 0..100_000 {
            spent.spend(at(i64::from(number) / 100), Cost::Misses, &[(address(number), 100)]).unwrap();
            assert!(spent.0.len() <= MAX_SUBJECTS);
        }
        assert!(spent.check(at(500), Cost::Misses, &[(ALL, 100)]).is_err(), "remembered");
    }
}
