//! What went wrong at a platform: which one, at which step, what it answered in our words, and what to do next.
//!
//! Invariant: nothing of an answer's body is kept but a short code made of harmless characters.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::domain::flow::Failure;
use crate::domain::trouble::TroubleKind;
use crate::outbound;
use crate::platforms::Unidentified;

/// A step of the dance at which a platform is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Accounts,
    CodeExchange,
    Identity,
    LongLivedExchange,
    Refresh,
    Revocation,
    Scopes,
}

impl Step {
    /// In one word, for `/metrics`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::CodeExchange => "code_exchange",
            Self::Identity => "identity",
            Self::LongLivedExchange => "long_lived_exchange",
            Self::Refresh => "refresh",
            Self::Revocation => "revocation",
            Self::Scopes => "scopes",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accounts => "listing of accounts",
            Self::CodeExchange => "code exchange",
            Self::Identity => "identity call",
            Self::LongLivedExchange => "exchange for a long-lived token",
            Self::Refresh => "refresh",
            Self::Revocation => "revocation",
            Self::Scopes => "call for the granted scopes",
        })
    }
}

/// What the answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The client id or secret is wrong: the operator's (or the app owner's) to mend.
    Credentials,
    /// What a refused refresh says of the grant, or that it may be the grant.
    Grant(TroubleKind),
    /// There is no account to connect, or it cannot be named.
    Identity(Unidentified),
    /// A definite no to this request.
    Rejected,
    /// Too many requests.
    Throttled { retry_after: Option<Duration> },
    /// A listing that goes on past what is read of it.
    TooMany,
    /// No answer, or a failure of the platform's own: the same request may work later.
    Unavailable,
    /// An answer that is not what the documentation promises.
    Unreadable,
    /// The version of the API that `api_version` names is no more.
    VersionRetired,
}

#[derive(Debug, thiserror::Error)]
#[error("{platform}, {step}: {}{}", self.in_our_words(), self.answered())]
pub struct Error {
    /// The platform's name.
    pub platform: String,
    pub step: Step,
    pub kind: Kind,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The platform's own code for it.
    pub code: Option<String>,
    #[source]
    pub source: Option<outbound::Error>,
    /// In how long the platform wants to be asked again, where it says so with another answer than
    /// [`Kind::Throttled`]: RFC 9110, section 10.2.3, has it for 503.
    retry_after: Option<Duration>,
}

impl Error {
    pub(super) fn no_answer(platform: &str, step: Step, source: outbound::Error) -> Self {
        let kind = if matches!(source, outbound::Error::TooLarge) { Kind::Unreadable } else { Kind::Unavailable };
        Self { source: Some(source), ..Self::without_answer(platform, step, kind) }
    }

    /// Nothing was heard in the time that there was.
    pub(super) fn no_time(platform: &str, step: Step) -> Self {
        Self::without_answer(platform, step, Kind::Unavailable)
    }

    /// The listing is longer than what is read of it.
    pub(super) fn too_many(platform: &str, step: Step) -> Self {
        Self::without_answer(platform, step, Kind::TooMany)
    }

    pub(super) fn without_answer(platform: &str, step: Step, kind: Kind) -> Self {
        Self { platform: platform.to_owned(), step, kind, status: None, code: None, source: None, retry_after: None }
    }

    /// A URL of the configuration that is none: told and not panicked over, though configuration has checked it.
    pub(super) fn misconfigured(platform: &str, step: Step) -> Self {
        Self::without_answer(platform, step, Kind::Unreadable)
    }

    pub(super) fn answered_with(platform: &str, step: Step, kind: Kind, status: u16, code: Option<String>) -> Self {
        Self { status: Some(status), code, ..Self::without_answer(platform, step, kind) }
    }

    pub(super) fn back_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// Whether the platform may have done what it was asked, without anybody having heard so.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.source.as_ref().is_some_and(|source| !source.is_before_sending())
    }

    /// In how long the platform wants to be asked again, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            Kind::Throttled { retry_after } => retry_after,
            _ => self.retry_after,
        }
    }

    /// What stands in the way of a grant that could not be refreshed for it.
    #[must_use]
    pub fn trouble(&self) -> TroubleKind {
        match self.kind {
            Kind::Credentials => TroubleKind::AppRejected,
            Kind::Grant(kind) => kind,
            Kind::Identity(_) | Kind::Rejected | Kind::TooMany | Kind::VersionRetired => TroubleKind::RequestRefused,
            Kind::Throttled { .. } => TroubleKind::Throttled,
            Kind::Unavailable => TroubleKind::Unavailable,
            Kind::Unreadable => TroubleKind::AnswerUnreadable,
        }
    }

    /// Whether the same request may work a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Throttled { .. } | Kind::Unavailable)
    }

    /// How a connection fails for it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match (self.kind, self.step) {
            (Kind::Identity(why), _) => why.into(),
            (_, Step::Accounts | Step::Identity) | (Kind::TooMany | Kind::VersionRetired, _) => {
                Failure::IdentityUnavailable
            }
            (Kind::Credentials, _) => Failure::CredentialsRejected,
            (Kind::Grant(_) | Kind::Rejected, _) => Failure::ExchangeRejected,
            (Kind::Throttled { .. }, _) => Failure::PlatformThrottled,
            (Kind::Unavailable, _) => Failure::PlatformUnavailable,
            (Kind::Unreadable, _) => Failure::PlatformAnswerUnreadable,
        }
    }

    /// What the operator does next, for the log.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self.kind {
            Kind::Credentials => format!(
                "compare client_id and client_secret of [platforms.{0}] (or of the caller's app) with the app at {0}",
                self.platform
            ),
            Kind::Grant(kind) => kind.next_step(&self.platform),
            Kind::Identity(Unidentified::AccessNotApproved) => format!(
                "enable the APIs of {0} for the app's project and ask {0} for access to them (for Google: the form \"Application for Basic API Access\" of the Business Profile APIs); until it is approved, their quota is 0",
                self.platform
            ),
            Kind::Identity(Unidentified::NoAccount) => {
                "nothing: the person needs an account there that can be connected".to_owned()
            }
            Kind::Identity(Unidentified::PermissionMissing) => {
                format!(
                    "check that scopes of [platforms.{}] are enabled for the app, and that the person ticked them",
                    self.platform
                )
            }
            Kind::Rejected if self.step == Step::CodeExchange => format!(
                "if it happens to everybody, compare the callback URL that `postpeer check` prints for {} with the one registered there",
                self.platform
            ),
            Kind::Rejected if self.step == Step::Identity => format!(
                "if it happens to everybody, check that scopes of [platforms.{0}] are enabled for the app at {0} and enough for it to say who connected",
                self.platform
            ),
            Kind::Rejected | Kind::Throttled { .. } | Kind::Unavailable => {
                "nothing at once: the person can start again later".to_owned()
            }
            Kind::TooMany => "nothing: what was read until there is offered".to_owned(),
            Kind::VersionRetired => format!(
                "set api_version of [platforms.{}] to a version that the platform lists as current (LinkedIn: YYYYMM)",
                self.platform
            ),
            Kind::Identity(Unidentified::Unreadable) | Kind::Unreadable => {
                format!(
                    "check token_url and api_url of [platforms.{}]; if they are right, the platform changed its answer",
                    self.platform
                )
            }
        }
    }

    fn in_our_words(&self) -> &'static str {
        match self.kind {
            Kind::Credentials => "it does not accept the client's credentials",
            Kind::Grant(TroubleKind::AppOrGrantRejected) => "it does not accept the client's credentials, or the token",
            Kind::Grant(_) => "it says that the grant is over",
            Kind::Identity(Unidentified::AccessNotApproved) => "it has not approved the app for this API",
            Kind::Identity(Unidentified::NoAccount) => "the person has no account there that can be connected",
            Kind::Identity(Unidentified::PermissionMissing) => "a permission is missing to name the account",
            Kind::Rejected => "it says no",
            Kind::Throttled { .. } => "it asks to slow down",
            Kind::TooMany => "it lists more than is read",
            Kind::Unavailable if self.status.is_none() => "it could not be reached",
            Kind::Unavailable => "it is having trouble",
            Kind::Identity(Unidentified::Unreadable) | Kind::Unreadable => "its answer makes no sense",
            Kind::VersionRetired => "it has retired the version of its API that is asked",
        }
    }

    fn answered(&self) -> String {
        match (self.status, &self.code) {
            (None, _) => String::new(),
            (Some(status), None) => format!(" (HTTP {status})"),
            (Some(status), Some(code)) => format!(" (HTTP {status}, {code})"),
        }
    }
}

/// What an error answer says, across the shapes that platforms use.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ErrorAnswer {
    /// `error` as text (RFC 6749), else Google's status or the code number of Graph or Pinterest.
    pub(super) code: Option<String>,
    /// Whether it is in the shape of Graph, whose codes are numbers of its own.
    is_object: bool,
    /// Lower-case, for telling wrong credentials from other trouble; never kept.
    message: String,
}

impl ErrorAnswer {
    pub(super) fn read(answer: &Value) -> Self {
        let text = |pointer: &str| crate::platforms::text(answer, pointer);
        let code = match answer.get("error") {
            Some(Value::String(code)) if !code.is_empty() => Some(code.clone()),
            // Google has both: a status in words, and that of HTTP again.
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

    /// What it means at the platform's API, where the platform's own reading of it has no name for it.
    pub(super) fn kind_at_api(&self, status: u16, retry_after: Option<Duration>) -> Kind {
        match (status, self.code.as_deref()) {
            (429, _) => Kind::Throttled { retry_after },
            (426, _) | (_, Some("NONEXISTENT_VERSION")) => Kind::VersionRetired,
            (500.., _) => Kind::Unavailable,
            // Graph has these for trouble of its own and for its rate limits.
            (400, Some("1" | "2")) if self.is_object => Kind::Unavailable,
            (400 | 403, Some("4" | "17" | "32" | "613")) if self.is_object => Kind::Throttled { retry_after },
            _ => Kind::Rejected,
        }
    }

    /// What it means where a token was to be refreshed. `of_platform`: the platform's own reading of it.
    pub(super) fn kind_at_refresh(
        &self,
        status: u16,
        retry_after: Option<Duration>,
        of_platform: Option<TroubleKind>,
    ) -> Kind {
        match (self.kind_at_token_endpoint(status, retry_after), of_platform) {
            // Nothing is said in passing, of the grant or of the app, whatever stands beside it.
            (kind @ (Kind::Throttled { .. } | Kind::Unavailable), _) => kind,
            _ if status == 429 => Kind::Throttled { retry_after },
            _ if status >= 500 => Kind::Unavailable,
            (_, Some(trouble)) => Kind::Grant(trouble),
            (Kind::Rejected, None) if self.code.as_deref() == Some("invalid_grant") => {
                Kind::Grant(TroubleKind::RefreshRejected)
            }
            (kind, None) => kind,
        }
    }

    /// What it means at the token endpoint.
    pub(super) fn kind_at_token_endpoint(&self, status: u16, retry_after: Option<Duration>) -> Kind {
        match self.code.as_deref() {
            Some("invalid_client" | "unauthorized_client") => return Kind::Credentials,
            Some("rate_limit_exceeded" | "slow_down") => return Kind::Throttled { retry_after },
            // Some say it with 429, which tells more.
            Some("server_error" | "temporarily_unavailable" | "internal_error") if status != 429 => {
                return Kind::Unavailable;
            }
            _ => {}
        }
        // Graph: 101 is a wrong app id; 1 is "Error validating client secret" or, with another message, trouble of
        // its own like 2; 4 and 17 are rate limits.
        if self.message.contains("client secret")
            || self.message.contains("client_secret")
            || self.code.as_deref() == Some("101")
        {
            return Kind::Credentials;
        }
        match (status, self.code.as_deref()) {
            (429, _) | (400..=499, Some("4" | "17")) => Kind::Throttled { retry_after },
            (500.., _) => Kind::Unavailable,
            (400..=499, Some("1" | "2")) if status != 401 => Kind::Unavailable,
            // Pinterest says `{"code": 2}` with 401 for wrong Basic credentials; others with a code of RFC 6749 mean it.
            (401, code) if code.is_none_or(|code| code.bytes().all(|b| b.is_ascii_digit())) => Kind::Credentials,
            _ => Kind::Rejected,
        }
    }
}

/// At most 64 characters of a code that we may log and show: letters, digits, `_`, `-` and `.`.
fn harmless(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')).take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_platforms_way_to_say_no_at_the_token_endpoint() {
        let throttled = Kind::Throttled { retry_after: None };
        for (status, answer, kind, code) in [
            (400, json!({"error": "invalid_grant"}), Kind::Rejected, Some("invalid_grant")),
            (
                200,
                json!({"error": "invalid_grant", "error_description": "x", "log_id": "1"}),
                Kind::Rejected,
                Some("invalid_grant"),
            ),
            (
                400,
                json!({"error": "invalid_request", "error_description": "Value passed for the authorization code was invalid."}),
                Kind::Rejected,
                Some("invalid_request"),
            ),
            (
                401,
                json!({"error": "unauthorized_client", "error_description": "Missing valid authorization header"}),
                Kind::Credentials,
                Some("unauthorized_client"),
            ),
            (401, json!({"error": "invalid_client"}), Kind::Credentials, Some("invalid_client")),
            (200, json!({"error": "invalid_client"}), Kind::Credentials, Some("invalid_client")),
            (
                401,
                json!({"error": "invalid_request", "error_description": "authorization code not found"}),
                Kind::Rejected,
                Some("invalid_request"),
            ),
            (401, json!({"code": 2, "message": "Authentication failed."}), Kind::Credentials, Some("2")),
            (
                400,
                json!({"error": {"message": "Error validating client secret.", "type": "OAuthException", "code": 1}}),
                Kind::Credentials,
                Some("1"),
            ),
            (400, json!({"error": {"message": "Invalid app id", "code": 101}}), Kind::Credentials, Some("101")),
            (400, json!({"error": {"message": "An unknown error occurred", "code": 1}}), Kind::Unavailable, Some("1")),
            (
                400,
                json!({"error": {"message": "Service temporarily unavailable", "code": 2}}),
                Kind::Unavailable,
                Some("2"),
            ),
            (400, json!({"error": {"message": "Application request limit reached", "code": 4}}), throttled, Some("4")),
            (
                400,
                json!({"error": {"message": "This authorization code has been used.", "code": 100}}),
                Kind::Rejected,
                Some("100"),
            ),
            (
                400,
                json!({"error_type": "OAuthException", "code": 400, "error_message": "Matching code was not found or was already used"}),
                Kind::Rejected,
                Some("400"),
            ),
            (429, json!({}), throttled, None),
            (429, json!({"error": "temporarily_unavailable"}), throttled, Some("temporarily_unavailable")),
            (503, json!({"error": {"code": 503, "status": "UNAVAILABLE"}}), Kind::Unavailable, Some("UNAVAILABLE")),
            (503, json!({"error": "x"}), Kind::Unavailable, Some("x")),
            (400, json!({"error": "server_error"}), Kind::Unavailable, Some("server_error")),
            (400, json!({"error": "rate_limit_exceeded"}), throttled, Some("rate_limit_exceeded")),
            (401, json!(null), Kind::Credentials, None),
            (403, json!([]), Kind::Rejected, None),
        ] {
            let read = ErrorAnswer::read(&answer);
            assert_eq!(read.kind_at_token_endpoint(status, None), kind, "{status} {answer}");
            assert_eq!(read.code.as_deref(), code, "{status} {answer}");
        }
    }

    #[test]
    fn every_platforms_way_to_say_no_at_its_api() {
        let throttled = Kind::Throttled { retry_after: None };
        for (status, answer, kind) in [
            (401, json!({"error": {"code": 401}}), Kind::Rejected),
            (403, json!({"serviceErrorCode": 100, "code": "ACCESS_DENIED", "status": 403}), Kind::Rejected),
            (426, json!({"status": 426, "code": "NONEXISTENT_VERSION"}), Kind::VersionRetired),
            (400, json!({"error": {"message": "x", "code": 2}}), Kind::Unavailable),
            (400, json!({"error": {"message": "x", "code": 17}}), throttled),
            (403, json!({"error": {"message": "x", "code": 4}}), throttled),
            (400, json!({"error": {"message": "x", "code": 190}}), Kind::Rejected),
            (400, json!({"code": 1, "message": "Invalid request"}), Kind::Rejected),
            (429, json!(null), throttled),
            (502, json!(null), Kind::Unavailable),
        ] {
            assert_eq!(ErrorAnswer::read(&answer).kind_at_api(status, None), kind, "{status} {answer}");
        }
    }

    #[test]
    fn a_code_is_stripped_of_what_could_harm() {
        let read = ErrorAnswer::read(&json!({"error": format!("<script>\n{}", "a".repeat(1000))}));
        assert_eq!(read.code.unwrap(), format!("script{}", "a".repeat(58)));
    }

    #[test]
    fn the_sentence_says_platform_step_meaning_and_answer() {
        let error =
            Error::answered_with("tiktok", Step::CodeExchange, Kind::Credentials, 200, Some("invalid_client".into()));
        assert_eq!(
            error.to_string(),
            "tiktok, code exchange: it does not accept the client's credentials (HTTP 200, invalid_client)"
        );
    }
}
