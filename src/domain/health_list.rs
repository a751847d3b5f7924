//! The list of accounts by their health: those that fail come first.

use std::fmt;
use std::str::FromStr;

use super::integration::{IntegrationDetail, ProfileFilter};
use super::time::Timestamp;

/// Narrows the list. Absent members do not.
#[derive(Debug, Clone, Default)]
pub struct HealthFilter {
    pub platform: Option<String>,
    pub profile_id: ProfileFilter,
    pub failing_only: bool,
}

/// The last account of a page: the next page begins behind it. Numbers, as the store orders accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// An account that fails, since when, and its number.
    Failing(Timestamp, i64),
    /// An account that does not.
    Other(i64),
}

/// A page of the list.
#[derive(Debug)]
pub struct HealthPage {
    pub accounts: Vec<IntegrationDetail>,
    /// `None` on the last page.
    pub next: Option<After>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the list of accounts")]
pub struct InvalidAfter;

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing(from, n) => write!(f, "{}.{n}", from.as_millis()),
            Self::Other(n) => write!(f, "{n}"),
        }
    }
}

impl FromStr for After {
    type Err = InvalidAfter;

    fn from_str(text: &str) -> Result<Self, InvalidAfter> {
        let number = |text: &str| text.parse().map_err(|_| InvalidAfter);
        match text.split_once('.') {
            Some((from, n)) => Ok(Self::Failing(Timestamp::from_millis(number(from)?), number(n)?)),
            None => Ok(Self::Other(number(text)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back() {
        for after in [After::Failing(Timestamp::from_millis(0), 7), After::Other(12)] {
            assert_eq!(after.to_string().parse(), Ok(after));
        }
        for wrong in ["", ".", "1.", "a", "1.2.3", "99999999999999999999"] {
            assert_eq!(wrong.parse::<After>(), Err(InvalidAfter), "{wrong}");
        }
    }
}
