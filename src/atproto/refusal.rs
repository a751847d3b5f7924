//! Reads the refusals of an account's server. Invariant: only an error that the server names ends a session; a proxy in
//! front of the server may refuse with a page.

use std::time::Duration;

use serde_json::Value;

use super::error::{AccountState, Error, Trouble, Unresolved};
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Answer, is_markup};
use crate::platforms::bluesky;

/// Wait after throttling when the server does not name one.
const THROTTLED_FOR: Duration = Duration::from_mins(5);

/// The error of a session that was not begun.
pub(super) fn of_new_session(answer: &Answer) -> Error {
    let json = answer.json();
    let name = json.get("error").and_then(Value::as_str);
    match (answer.status, name) {
        (429, _) => Error::Throttled { retry_after: answer.retry_after.unwrap_or(THROTTLED_FOR) },
        (400 | 401 | 403, Some("AuthFactorTokenRequired")) => Error::AppPasswordRequired,
        (400 | 401 | 403, Some("AccountTakedown")) => Error::AccountInactive(AccountState::TakenDown),
        (400 | 401 | 403, Some("AccountSuspended")) => Error::AccountInactive(AccountState::Suspended),
        (400 | 401 | 403, Some("AccountDeactivated")) => Error::AccountInactive(AccountState::Deactivated),
        // `InvalidRequest` is about identifier or password: there is nothing else in the request.
        (400 | 403, Some("AccountNotFound" | "AuthenticationRequired" | "InvalidRequest")) => {
            Error::CredentialsRejected
        }
        (400 | 404 | 501, Some("MethodNotImplemented" | "XRPCNotSupported")) => {
            Error::IdentityUnresolved(Unresolved::NoAccountServer)
        }
        (401, _) if !is_markup(&answer.body) => Error::CredentialsRejected,
        (status, _) => Error::PdsUnreachable(Trouble::Status(status)),
    }
}

/// The failure of a session that was not refreshed or ended. The reference server says `ExpiredToken` of tokens that
/// have expired, were revoked or are unknown, `InvalidToken` of anything else, and `AccountNotFound`, or
/// `InvalidRequest` with a sentence, of an account that was deleted. `AuthMissing` says that no token arrived.
pub(super) fn of_session(step: Step, answer: &Answer) -> PlatformError {
    let json = answer.json();
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    let (name, message) = (text("error"), text("message"));
    let failure = match (answer.status, name) {
        (400, "InvalidRequest") if message.starts_with("Could not find user info for account") => {
            Failure::AccountInactive
        }
        (400 | 401 | 403, "AccountDeactivated" | "AccountNotFound" | "AccountSuspended" | "AccountTakedown") => {
            Failure::AccountInactive
        }
        (400 | 401 | 403, "AuthFactorTokenRequired") | (401, "" | "AuthMissing") if !is_markup(&answer.body) => {
            Failure::RequestRefused
        }
        (400 | 401 | 403, "") if is_markup(&answer.body) => Failure::PlatformUnavailable,
        (400, "ExpiredToken" | "InvalidToken") | (401, _) | (400 | 403, "AuthenticationRequired") => {
            Failure::RefreshRejected
        }
        (429, _) => Failure::PlatformThrottled,
        (500.., _) => Failure::PlatformUnavailable,
        _ => Failure::RequestRefused,
    };
    let throttled = failure == Failure::PlatformThrottled;
    PlatformError::new(bluesky::NAME, step, failure)
        .answered(answer.status, answer.sent.code(name))
        .retry_after(throttled.then(|| answer.retry_after.unwrap_or(THROTTLED_FOR)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;
    use crate::domain::echo::Sent;

    const PAGE: &[u8] = b"<html><title>401 Authorization Required</title></html>";

    fn answer(status: u16, json: &Value) -> Answer {
        let body = Zeroizing::new(json.to_string().into_bytes());
        Answer { status, body, retry_after: None, is_throttled: false, sent: Sent::default() }
    }

    #[test]
    fn refusals_of_a_new_session_are_told_apart() {
        use AccountState as State;
        let credentials = |error: &Error| matches!(error, Error::CredentialsRejected);
        assert!(credentials(&of_new_session(&answer(
            401,
            &json!({"error": "AuthenticationRequired", "message": "x"})
        ))));
        assert!(credentials(&of_new_session(&answer(401, &json!(null)))));
        assert!(credentials(&of_new_session(&answer(403, &json!({"error": "AccountNotFound"})))));
        let proxy = of_new_session(&Answer { body: PAGE.to_vec().into(), ..answer(401, &json!(null)) });
        assert!(matches!(proxy, Error::PdsUnreachable(Trouble::Status(401))), "{proxy:?}");
        for (status, name, state) in [
            (401, "AccountTakedown", State::TakenDown),
            (400, "AccountDeactivated", State::Deactivated),
            (401, "AccountSuspended", State::Suspended),
        ] {
            let error = of_new_session(&answer(status, &json!({"error": name})));
            assert!(matches!(error, Error::AccountInactive(told) if told == state), "{name}");
        }
        let factor = of_new_session(&answer(401, &json!({"error": "AuthFactorTokenRequired"})));
        assert!(matches!(factor, Error::AppPasswordRequired));
        let throttled = of_new_session(&answer(429, &json!({"error": "RateLimitExceeded"})));
        assert!(matches!(throttled, Error::Throttled { retry_after } if retry_after == THROTTLED_FOR));
        assert!(credentials(&of_new_session(&answer(400, &json!({"error": "InvalidRequest", "message": "x"})))));
        for (status, name) in [(404, "XRPCNotSupported"), (501, "MethodNotImplemented")] {
            let error = of_new_session(&answer(status, &json!({"error": name})));
            assert!(matches!(error, Error::IdentityUnresolved(Unresolved::NoAccountServer)), "{name}");
        }
        for (status, json) in [(400, json!({})), (404, json!({})), (500, json!({})), (501, json!({})), (302, json!({}))]
        {
            let error = of_new_session(&answer(status, &json));
            assert!(matches!(error, Error::PdsUnreachable(Trouble::Status(told)) if told == status), "{status}");
        }
    }

    #[test]
    fn refusals_of_a_refresh_are_told_apart() {
        let gone = "Could not find user info for account: did:plc:x";
        let wait = Some(Duration::from_secs(7));
        for (status, name, message, failure) in [
            (400, "ExpiredToken", "Token has been revoked", Failure::RefreshRejected),
            (400, "InvalidToken", "Token could not be verified", Failure::RefreshRejected),
            (400, "InvalidRequest", gone, Failure::AccountInactive),
            (400, "InvalidRequest", "A request body was provided", Failure::RequestRefused),
            (400, "AuthenticationRequired", "x", Failure::RefreshRejected),
            (401, "AccountTakedown", "x", Failure::AccountInactive),
            (401, "AuthFactorTokenRequired", "x", Failure::RequestRefused),
            (401, "AuthMissing", "Authentication Required", Failure::RequestRefused),
            (401, "BadToken", "x", Failure::RefreshRejected),
            (403, "AccountNotFound", "Account not found", Failure::AccountInactive),
            (401, "", "", Failure::RequestRefused),
            (404, "", "", Failure::RequestRefused),
            (429, "RateLimitExceeded", "x", Failure::PlatformThrottled),
            (429, "ExpiredToken", "x", Failure::PlatformThrottled),
            (500, "", "", Failure::PlatformUnavailable),
            (503, "ExpiredToken", "x", Failure::PlatformUnavailable),
        ] {
            let json = json!({"error": name, "message": message});
            let error = of_session(Step::Refresh, &Answer { retry_after: wait, ..answer(status, &json) });
            assert_eq!((error.failure, error.status), (failure, Some(status)), "{status} {name}");
            assert_eq!(error.code.as_deref().unwrap_or_default(), name);
            assert_eq!(error.may_have_acted, status >= 500, "{status} {name}");
            assert_eq!(error.retry_after, wait.filter(|_| status == 429), "{status} {name}");
        }
        for status in [400, 401, 403, 502] {
            let page = Answer { body: PAGE.to_vec().into(), ..answer(status, &json!(null)) };
            assert_eq!(of_session(Step::Refresh, &page).failure, Failure::PlatformUnavailable, "{status}");
        }
        let throttled = of_session(Step::Refresh, &answer(429, &json!(null)));
        assert_eq!(throttled.retry_after, Some(THROTTLED_FOR));
    }
}
