//! The errors of the Graph API, which Facebook, Instagram and Threads share.
//!
//! Source: Graph API, "Handling errors", with the subcodes of authentication errors listed there.

use jiff::civil::date;
use serde_json::Value;

use super::{Version, text};
use crate::domain::failure::Failure;

/// Versions of the Graph API ("Graph API changelog", 2026-11-04).
pub(super) const VERSIONS: &[Version] =
    &[Version { name: "v25.0", ends: Some(date(2028, 7, 29)) }, Version { name: "v27.0", ends: None }];

/// Reads why the grant ended.
pub(super) fn refresh_refused(answer: &Value) -> Option<Failure> {
    let code = answer.pointer("/error/code")?.as_u64()?;
    let subcode = answer.pointer("/error/error_subcode").and_then(Value::as_u64);
    match (code, subcode) {
        // Instagram and Threads refuse a token younger than a day with this code. The token is good.
        (190, None) if text(answer, "/error/message").is_some_and(|message| message.contains("24 hours")) => None,
        // The app's id or secret is wrong; nothing is known of the grant.
        (190, None)
            if text(answer, "/error/message")
                .is_some_and(|message| message.starts_with("Error validating application")) =>
        {
            Some(Failure::AppOrGrantRejected)
        }
        (102 | 190, Some(458)) => Some(Failure::ConsentRevoked),
        // A checkpoint, a changed password, an account that is not confirmed.
        (102 | 190, Some(459 | 460 | 464)) => Some(Failure::SecurityInvalidation),
        (102 | 190, Some(463 | 467)) => Some(Failure::ConsentExpired),
        (102 | 190, Some(492)) | (10 | 200..300, _) => Some(Failure::PermissionWithdrawn),
        (102 | 190, _) => Some(Failure::RefreshRejected),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn codes_and_subcodes_tell_why_a_grant_ended() {
        let young = "Error refreshing access token: the token must be at least 24 hours old";
        for (code, subcode, message, expected) in [
            (190, None, "Error validating access token", Some(Failure::RefreshRejected)),
            (102, None, "Session key invalid", Some(Failure::RefreshRejected)),
            (190, Some(458), "x", Some(Failure::ConsentRevoked)),
            (190, Some(459), "x", Some(Failure::SecurityInvalidation)),
            (190, Some(460), "x", Some(Failure::SecurityInvalidation)),
            (190, Some(463), "x", Some(Failure::ConsentExpired)),
            (190, Some(467), "x", Some(Failure::ConsentExpired)),
            (190, Some(492), "x", Some(Failure::PermissionWithdrawn)),
            (10, None, "x", Some(Failure::PermissionWithdrawn)),
            (299, None, "x", Some(Failure::PermissionWithdrawn)),
            (190, None, young, None),
            (
                190,
                None,
                "Error validating application. Application has been deleted.",
                Some(Failure::AppOrGrantRejected),
            ),
            (1, None, "An unknown error occurred", None),
            (2, None, "x", None),
            (4, None, "x", None),
            (100, None, "x", None),
            (300, None, "x", None),
        ] {
            let answer = json!({"error": {"message": message, "code": code, "error_subcode": subcode}});
            assert_eq!(refresh_refused(&answer), expected, "{answer}");
        }
        assert_eq!(refresh_refused(&json!({"error": "invalid_grant"})), None);
        assert_eq!(refresh_refused(&json!(null)), None);
    }
}
