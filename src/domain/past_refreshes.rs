//! The latest refreshes of a grant: when each ended, and how. The console shows them; nothing is decided by them.
//!
//! Invariant: at most [`KEPT`], and nothing of a platform's answer but the name of a failure.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::failure::Failure;
use super::time::Timestamp;

/// Most refreshes that are kept of a grant.
pub const KEPT: usize = 10;

/// A refresh that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastRefresh {
    pub at: Timestamp,
    /// `None` when it brought new tokens.
    pub failure: Option<Failure>,
}

/// The latest refreshes, the latest first.
///
/// Stored as a short JSON array, a number for each success: `[1777797216445,[1777797216000,"platform_unavailable"]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastRefreshes(Vec<PastRefresh>);

impl PastRefreshes {
    #[must_use]
    pub fn and(mut self, refresh: PastRefresh) -> Self {
        self.0.truncate(KEPT - 1);
        self.0.insert(0, refresh);
        self
    }

    #[must_use]
    pub fn into_vec(self) -> Vec<PastRefresh> {
        self.0
    }
}

impl Serialize for PastRefreshes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Stored {
            Refreshed(i64),
            Failed(i64, Failure),
        }
        serializer.collect_seq(self.0.iter().map(|PastRefresh { at, failure }| match failure {
            None => Stored::Refreshed(at.as_millis()),
            Some(failure) => Stored::Failed(at.as_millis(), *failure),
        }))
    }
}

impl<'de> Deserialize<'de> for PastRefreshes {
    /// Skips what a later release may have written: a history must not keep a grant from being read.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Refreshed(i64),
            Failed(i64, Failure),
            Unknown(IgnoredAny),
        }
        let stored = Vec::<Stored>::deserialize(deserializer)?.into_iter();
        let known = stored.filter_map(|stored| {
            let (at, failure) = match stored {
                Stored::Refreshed(at) => (at, None),
                Stored::Failed(at, failure) => (at, Some(failure)),
                Stored::Unknown(_) => return None,
            };
            Some(PastRefresh { at: Timestamp::from_millis(at), failure })
        });
        Ok(Self(known.take(KEPT).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refreshed(at: i64) -> PastRefresh {
        PastRefresh { at: Timestamp::from_millis(at), failure: None }
    }

    #[test]
    fn the_latest_ten_are_kept_the_latest_first() {
        let all = (0..25).fold(PastRefreshes::default(), |past, at| past.and(refreshed(at)));
        let kept: Vec<i64> = all.into_vec().iter().map(|past| past.at.as_millis()).collect();
        assert_eq!(kept, (15..25).rev().collect::<Vec<_>>());
    }

    #[test]
    fn they_are_stored_in_a_few_bytes_and_come_back() {
        let failed = PastRefresh { failure: Some(Failure::PlatformUnavailable), ..refreshed(1_777_797_216_000) };
        let past = PastRefreshes::default().and(failed).and(refreshed(1_777_797_216_445));
        let stored = serde_json::to_string(&past).unwrap();
        assert_eq!(stored, r#"[1777797216445,[1777797216000,"platform_unavailable"]]"#);
        assert_eq!(serde_json::from_str::<PastRefreshes>(&stored).unwrap(), past);
    }

    #[test]
    fn what_a_later_release_wrote_is_skipped() {
        let read = |stored: &str| serde_json::from_str::<PastRefreshes>(stored).map(PastRefreshes::into_vec);
        assert_eq!(
            read(r#"[3,[2,"of_a_later_release"],{"at":1},[0,"throttled","x"],1]"#).unwrap(),
            [3, 1].map(refreshed)
        );
        assert_eq!(read("[]").unwrap(), []);
        assert!(read("{}").is_err());
    }
}
