//! The latest failure to refresh a grant, as it is stored and shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::past_refreshes::PastRefresh;
use super::platform_error::{PlatformError, Step};
use super::time::Timestamp;

/// A recorded failure. Keeps nothing of the platform's answer but a harmless code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshFailure {
    pub kind: Failure,
    /// The HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    /// The platform's own code for it.
    pub platform_code: Option<String>,
    /// Stored in milliseconds since the Unix epoch.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// When the backup was taken that the rejected token came from. The same form as `at`.
    #[serde(default, with = "millis_if_any", skip_serializing_if = "Option::is_none")]
    pub backup_taken_at: Option<Timestamp>,
    /// The refusals in a row, up to this one, that came while the app succeeded with other grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_alone: Option<RefusedAlone>,
}

/// Refusals of one grant while its app succeeded with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAlone {
    count: u32,
    /// Time of the first. Stored like the failure's.
    #[serde(with = "millis")]
    since: Timestamp,
}

impl RefusedAlone {
    /// Counts another one.
    #[must_use]
    pub fn and(before: Option<Self>, now: Timestamp) -> Self {
        let Self { count, since } = before.unwrap_or(Self { count: 0, since: now });
        Self { count: count.saturating_add(1), since }
    }

    /// True when it is the grant that is refused: five times after the first, over a day or more. Something in front of
    /// the platform, or a part of it, may refuse some of an app's grants for hours.
    #[must_use]
    pub fn is_proof(self, now: Timestamp) -> bool {
        self.count >= 5 && self.since.until(now) >= Duration::from_hours(24)
    }
}

impl RefreshFailure {
    /// The failure of an account that a later consent of its owner, for others on the same grant, does not cover.
    #[must_use]
    pub const fn of_lost_account(at: Timestamp) -> Self {
        Self::unasked(Failure::PermissionWithdrawn, at)
    }

    /// A failure for which no platform was asked.
    #[must_use]
    pub const fn unasked(kind: Failure, at: Timestamp) -> Self {
        Self { kind, status: None, platform_code: None, at, backup_taken_at: None, refused_alone: None }
    }

    /// The same as one of the grant's past refreshes.
    #[must_use]
    pub const fn past(&self) -> PastRefresh {
        PastRefresh { at: self.at, failure: Some(self.kind) }
    }

    /// The next step of the operator or the account's owner, as the log names it when a refresh fails. `console`: the
    /// page where the operator manages the app, if there is one.
    #[must_use]
    pub fn next_step(&self, platform: &str, console: Option<&str>) -> String {
        let error = PlatformError::new(platform, Step::Refresh, self.kind);
        PlatformError { status: self.status, ..error }.next_step(console)
    }

    /// [`Failure::what_happened_after`].
    #[must_use]
    pub fn what_happened(&self, label: &str) -> String {
        self.kind.what_happened_after(label, self.backup_taken_at)
    }
}

mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

mod millis_if_any {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Timestamp;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference")]
    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_millis).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Timestamp::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_from_a_backup_says_from_which() {
        let at = Timestamp::from_millis(1_777_797_216_445);
        let kind = Failure::RestoredFromBackup;
        let failure = RefreshFailure {
            kind,
            status: Some(400),
            platform_code: None,
            at,
            backup_taken_at: Some(at),
            refused_alone: None,
        };
        let stored = serde_json::to_string(&failure).unwrap();
        assert!(stored.ends_with(r#""at":1777797216445,"backup_taken_at":1777797216445}"#), "{stored}");
        assert_eq!(serde_json::from_str::<RefreshFailure>(&stored).unwrap(), failure);
        let said = failure.what_happened("X");
        assert!(said.contains("restored from a backup of 2026-05-03T08:33:36.445Z, and"), "{said}");
        assert!(RefreshFailure { backup_taken_at: None, ..failure }.what_happened("X").contains("from a backup, and"));
    }

    #[test]
    fn the_next_step_is_that_of_a_refresh() {
        let failed = |kind, status| {
            let unasked = RefreshFailure::unasked(kind, Timestamp::from_millis(0));
            RefreshFailure { status, ..unasked }.next_step("acme", None)
        };
        assert!(failed(Failure::PlatformUnavailable, None).contains("outbound.proxy"));
        assert!(failed(Failure::PlatformUnavailable, Some(503)).starts_with("Nothing to do"));
        let unread = failed(Failure::PlatformAnswerUnreadable, Some(200));
        assert!(unread.contains("check token_url and token_pointer of [platforms.acme];"), "{unread}");
    }

    #[test]
    fn it_is_stored_and_read_as_in_released_databases() {
        let stored =
            |kind| format!(r#"{{"kind":"{kind}","status":400,"platform_code":"invalid_grant","at":1777797216445}}"#);
        let failure: RefreshFailure = serde_json::from_str(&stored("answer_unreadable")).unwrap();
        let at = Timestamp::from_millis(1_777_797_216_445);
        let platform_code = Some("invalid_grant".to_owned());
        let kind = Failure::PlatformAnswerUnreadable;
        let expected =
            RefreshFailure { kind, status: Some(400), platform_code, at, backup_taken_at: None, refused_alone: None };
        assert_eq!(failure, expected);
        assert_eq!(serde_json::to_string(&failure).unwrap(), stored("platform_answer_unreadable"));
        let alone = RefreshFailure { refused_alone: Some(RefusedAlone::and(None, at)), ..failure };
        let stored = serde_json::to_string(&alone).unwrap();
        assert!(stored.ends_with(r#""refused_alone":{"count":1,"since":1777797216445}}"#), "{stored}");
        assert_eq!(serde_json::from_str::<RefreshFailure>(&stored).unwrap(), alone);
    }
}
