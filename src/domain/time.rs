//! Points in time, and the clock.
//!
//! Invariant: only [`SystemClock`] reads the system's clock; decisions take `now` as a parameter.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Milliseconds since the Unix epoch, in UTC. Shown as RFC 3339 with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Reads RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_millisecond()))
    }

    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The day in UTC.
    #[must_use]
    pub fn day(self) -> jiff::civil::Date {
        self.in_calendar().to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    /// The same, or the first or last time that the calendar has.
    fn in_calendar(self) -> jiff::Timestamp {
        let outside = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(outside)
    }

    /// The time to the second, without colons, for the name of a file: `20260503T083336Z`.
    #[must_use]
    pub fn for_file_name(self) -> String {
        let shown = self.to_string();
        let to_the_second = shown.split_once('.').map_or(shown.as_str(), |(whole, _)| whole);
        format!("{}Z", to_the_second.replace(['-', ':'], ""))
    }

    /// Reads what [`for_file_name`](Self::for_file_name) wrote.
    #[must_use]
    pub fn from_file_name(text: &str) -> Option<Self> {
        Self::parse(text).filter(|time| time.for_file_name() == text)
    }

    /// Saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Saturates.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time from `self` until `later`; zero when `later` is earlier.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// Reads a number with a unit: `90s`, `30m`, `24h` or `7d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (unit, seconds) =
        [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)].into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let number = text.strip_suffix(unit)?;
    let number: u64 = number.parse().ok().filter(|_| number.starts_with(|first: char| first.is_ascii_digit()))?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.in_calendar())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the system clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

/// A clock that moves only when told to, for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp::from_millis(1_777_797_216_445).to_string(), "2026-05-03T08:33:36.445Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_time_outside_the_calendar_is_its_last_or_first() {
        for (millis, day) in [(i64::MAX, "9999-12-30"), (i64::MIN, "-009999-01-02")] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(time.day().to_string(), day);
            assert!(time.to_string().starts_with(day), "{time}");
        }
    }

    #[test]
    fn a_file_name_holds_the_time_to_the_second() {
        let time = Timestamp::from_millis(1_777_797_216_445);
        assert_eq!(time.for_file_name(), "20260503T083336Z");
        assert_eq!(Timestamp::from_file_name("20260503T083336Z"), Some(Timestamp::from_millis(1_777_797_216_000)));
        for other in ["", "20260503", "2026-05-03T08:33:36Z", "20260503T083336.445Z", "20261303T083336Z", "latest"] {
            assert_eq!(Timestamp::from_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in
            ["", "h", "24", "24 h", "-1h", "+1h", "1.5h", "1w", "24H", "99999999999999999999d", "9999999999999999999d"]
        {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
