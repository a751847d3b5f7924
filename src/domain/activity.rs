//! Counts of refreshes, failures and reads in a project, by the hour.

use super::time::Timestamp;

const HOUR_MILLIS: i64 = 3_600_000;

/// Counts of one hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hour {
    /// Hours since the Unix epoch.
    pub hour: i64,
    /// Access tokens that were renewed without the account's owner.
    pub refreshed: u64,
    /// Refreshes that failed.
    pub failed: u64,
    /// Access tokens that were handed out.
    pub reads: u64,
}

/// The hour of a point in time.
#[must_use]
pub fn hour_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(HOUR_MILLIS)
}

/// The point in time at which an hour begins.
#[must_use]
pub fn begins(hour: i64) -> Timestamp {
    Timestamp::from_millis(hour.saturating_mul(HOUR_MILLIS))
}
