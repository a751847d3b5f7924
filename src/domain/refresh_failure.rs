//! The latest failure to refresh a grant, as it is stored and shown.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stored_and_read_as_in_released_databases() {
        let stored =
            |kind| format!(r#"{{"kind":"{kind}","status":400,"platform_code":"invalid_grant","at":1777797216445}}"#);
        let failure: RefreshFailure = serde_json::from_str(&stored("answer_unreadable")).unwrap();
        let at = Timestamp::from_millis(1_777_797_216_445);
        let platform_code = Some("invalid_grant".to_owned());
        let kind = Failure::PlatformAnswerUnreadable;
        assert_eq!(failure, RefreshFailure { kind, status: Some(400), platform_code, at });
        assert_eq!(serde_json::to_string(&failure).unwrap(), stored("platform_answer_unreadable"));
    }
}
