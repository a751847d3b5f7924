//! Reads error answers in the shapes that platforms use, and decides what they mean.
//!
//! Only the meaning and the platform's code leave this file, the code reduced to harmless characters.

use serde_json::Value;

use crate::domain::failure::Failure;
use crate::domain::platform_error::{Step, harmless};

/// The parts of an error answer that tell failures apart.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ErrorAnswer {
    /// `error` as text (RFC 6749), else Google's status or the code number of Graph or Pinterest.
    pub(super) code: Option<String>,
    /// True for the shape of Graph, whose codes are numbers of its own.
    is_object: bool,
    /// Lower-case, to tell wrong credentials from other failures; never kept.
    message: String,
}

impl ErrorAnswer {
    pub(super) fn read(answer: &Value) -> Self {
        let text = |pointer: &str| crate::platforms::text(answer, pointer);
        let code = match answer.get("error") {
            Some(Value::String(code)) if !code.is_empty() => Some(code.clone()),
            // Google sends both: a status in words, and the HTTP status as the code.
            Some(Value::Object(_)) => text("/error/status").or_else(|| text("/error/code")),
            _ => text("/code").or_else(|| text("/error_type")),
        };
        let message = ["/error_description", "/error/message", "/error_message", "/message"]
            .iter()
            .find_map(|pointer| text(pointer))
            .unwrap_or_default()
            .to_lowercase();
        let is_object = answer.get("error").is_some_and(Value::is_object);
        Self { code: code.map(|code| harmless(&code)), is_object, message }
    }

    /// The failure at the platform's API, as far as the standard codes tell.
    pub(super) fn at_api(&self, step: Step, status: u16) -> Failure {
        match (status, self.code.as_deref()) {
            (429, _) => Failure::PlatformThrottled,
            (426, _) | (_, Some("NONEXISTENT_VERSION")) => Failure::ApiVersionRetired,
            (500.., _) => Failure::PlatformUnavailable,
            // Graph's codes for its own failures and for its rate limits.
            (400, Some("1" | "2")) if self.is_object => Failure::PlatformUnavailable,
            (400 | 403, Some("4" | "17" | "32" | "613")) if self.is_object => Failure::PlatformThrottled,
            _ => refusal(step),
        }
    }

    /// The failure of a refresh. `of_platform`: what the platform's own codes say of the grant.
    pub(super) fn at_refresh(&self, status: u16, of_platform: Option<Failure>) -> Failure {
        let failure = match self.at_token_endpoint(Step::Refresh, status) {
            // An outage or throttling says nothing of the grant or the app, whatever the body says.
            failure if failure.is_transient() => return failure,
            _ if status == 429 => return Failure::PlatformThrottled,
            _ if status >= 500 => return Failure::PlatformUnavailable,
            Failure::RequestRefused if self.code.as_deref() == Some("invalid_grant") => Failure::RefreshRejected,
            failure => failure,
        };
        of_platform.unwrap_or(failure)
    }

    /// The failure at the token endpoint.
    pub(super) fn at_token_endpoint(&self, step: Step, status: u16) -> Failure {
        match self.code.as_deref() {
            Some("invalid_client" | "unauthorized_client") => return Failure::CredentialsRejected,
            Some("rate_limit_exceeded" | "slow_down") => return Failure::PlatformThrottled,
            // The status 429 tells more.
            Some("server_error" | "temporarily_unavailable" | "internal_error") if status != 429 => {
                return Failure::PlatformUnavailable;
            }
            _ => {}
        }
        // Graph: 101 is a wrong app id; 1 is "Error validating client secret" or, with another message, a failure of
        // its own like 2; 4 and 17 are rate limits.
        if self.message.contains("client secret")
            || self.message.contains("client_secret")
            || self.code.as_deref() == Some("101")
        {
            return Failure::CredentialsRejected;
        }
        match (status, self.code.as_deref()) {
            (429, _) | (400..=499, Some("4" | "17")) => Failure::PlatformThrottled,
            (500.., _) => Failure::PlatformUnavailable,
            (400..=499, Some("1" | "2")) if status != 401 => Failure::PlatformUnavailable,
            // Pinterest sends `{"code": 2}` with 401 for wrong Basic credentials. Codes of RFC 6749 mean what they say.
            (401, code) if code.is_none_or(|code| code.bytes().all(|b| b.is_ascii_digit())) => {
                Failure::CredentialsRejected
            }
            _ => refusal(step),
        }
    }
}

/// The meaning of a definite refusal without a reason.
const fn refusal(step: Step) -> Failure {
    match step {
        Step::Accounts | Step::Identity => Failure::IdentityUnavailable,
        Step::CodeExchange | Step::LongLivedExchange => Failure::ExchangeRejected,
        Step::Refresh | Step::Revocation | Step::Scopes => Failure::RequestRefused,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_at_the_token_endpoint_are_told_apart() {
        use Failure::{CredentialsRejected, ExchangeRejected, PlatformThrottled, PlatformUnavailable};
        for (status, answer, failure, code) in [
            (400, json!({"error": "invalid_grant"}), ExchangeRejected, Some("invalid_grant")),
            (
                200,
                json!({"error": "invalid_grant", "error_description": "x", "log_id": "1"}),
                ExchangeRejected,
                Some("invalid_grant"),
            ),
            (
                400,
                json!({"error": "invalid_request", "error_description": "Value passed for the authorization code was invalid."}),
                ExchangeRejected,
                Some("invalid_request"),
            ),
            (
                401,
                json!({"error": "unauthorized_client", "error_description": "Missing valid authorization header"}),
                CredentialsRejected,
                Some("unauthorized_client"),
            ),
            (401, json!({"error": "invalid_client"}), CredentialsRejected, Some("invalid_client")),
            (200, json!({"error": "invalid_client"}), CredentialsRejected, Some("invalid_client")),
            (
                401,
                json!({"error": "invalid_request", "error_description": "authorization code not found"}),
                ExchangeRejected,
                Some("invalid_request"),
            ),
            (401, json!({"code": 2, "message": "Authentication failed."}), CredentialsRejected, Some("2")),
            (
                400,
                json!({"error": {"message": "Error validating client secret.", "type": "OAuthException", "code": 1}}),
                CredentialsRejected,
                Some("1"),
            ),
            (400, json!({"error": {"message": "Invalid app id", "code": 101}}), CredentialsRejected, Some("101")),
            (
                400,
                json!({"error": {"message": "An unknown error occurred", "code": 1}}),
                PlatformUnavailable,
                Some("1"),
            ),
            (
                400,
                json!({"error": {"message": "Service temporarily unavailable", "code": 2}}),
                PlatformUnavailable,
                Some("2"),
            ),
            (
                400,
                json!({"error": {"message": "Application request limit reached", "code": 4}}),
                PlatformThrottled,
                Some("4"),
            ),
            (
                400,
                json!({"error": {"message": "This authorization code has been used.", "code": 100}}),
                ExchangeRejected,
                Some("100"),
            ),
            (
                400,
                json!({"error_type": "OAuthException", "code": 400, "error_message": "Matching code was not found or was already used"}),
                ExchangeRejected,
                Some("400"),
            ),
            (429, json!({}), PlatformThrottled, None),
            (429, json!({"error": "temporarily_unavailable"}), PlatformThrottled, Some("temporarily_unavailable")),
            (503, json!({"error": {"code": 503, "status": "UNAVAILABLE"}}), PlatformUnavailable, Some("UNAVAILABLE")),
            (503, json!({"error": "x"}), PlatformUnavailable, Some("x")),
            (400, json!({"error": "server_error"}), PlatformUnavailable, Some("server_error")),
            (400, json!({"error": "rate_limit_exceeded"}), PlatformThrottled, Some("rate_limit_exceeded")),
            (401, json!(null), CredentialsRejected, None),
            (403, json!([]), ExchangeRejected, None),
        ] {
            let read = ErrorAnswer::read(&answer);
            assert_eq!(read.at_token_endpoint(Step::CodeExchange, status), failure, "{status} {answer}");
            assert_eq!(read.code.as_deref(), code, "{status} {answer}");
        }
    }

    #[test]
    fn refusals_at_the_api_are_told_apart() {
        use Failure::{ApiVersionRetired, IdentityUnavailable, PlatformThrottled, PlatformUnavailable};
        for (status, answer, failure) in [
            (401, json!({"error": {"code": 401}}), IdentityUnavailable),
            (403, json!({"serviceErrorCode": 100, "code": "ACCESS_DENIED", "status": 403}), IdentityUnavailable),
            (426, json!({"status": 426, "code": "NONEXISTENT_VERSION"}), ApiVersionRetired),
            (400, json!({"error": {"message": "x", "code": 2}}), PlatformUnavailable),
            (400, json!({"error": {"message": "x", "code": 17}}), PlatformThrottled),
            (403, json!({"error": {"message": "x", "code": 4}}), PlatformThrottled),
            (400, json!({"error": {"message": "x", "code": 190}}), IdentityUnavailable),
            (400, json!({"code": 1, "message": "Invalid request"}), IdentityUnavailable),
            (429, json!(null), PlatformThrottled),
            (502, json!(null), PlatformUnavailable),
        ] {
            assert_eq!(ErrorAnswer::read(&answer).at_api(Step::Identity, status), failure, "{status} {answer}");
        }
    }
}
