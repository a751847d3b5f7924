//! The renewal of tokens, in each platform's way: one call, and the reading of what it brought.
//!
//! They are two steps, because the answer is kept before it is read: see `broker::refresh`. Invariant: a refresh is never sent
//! again from here, whatever came of it; whether that is safe, only who knows the grant can tell.

use std::time::Duration;

use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::error::{Error, ErrorAnswer, Kind, Step};
use super::exchange::{Exchanged, OK, api_url, expose, get, long_lived_request, token_request};
use super::tokens::{self, NotTokens};
use super::{Engine, json};
use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::time::Timestamp;
use crate::domain::trouble::TroubleKind;
use crate::outbound::Request;
use crate::platforms::{Credentials, Platform, Refresh};

impl Engine {
    /// Asks the platform for new tokens, once. The body of a success, as it came: keep it, then read it with
    /// [`Engine::read_refresh`].
    ///
    /// # Errors
    ///
    /// What the platform answered instead, or that there is nothing to refresh with.
    pub async fn refresh(
        &self,
        platform: &Platform,
        credentials: &Credentials,
        tokens: &TokenSet,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let request = request(platform, credentials, tokens).await?;
        let answer = self
            .send(platform, Step::Refresh, request)
            .await
            .map_err(|error| Error::no_answer(&platform.name, Step::Refresh, error))?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        Err(refused(platform, &json(&answer), answer.status, answer.retry_after))
    }

    /// Reads the answer to a refresh that was sent at `sent_at`. Absent means as before: scopes and refresh token are
    /// `None` where the answer says nothing of them.
    ///
    /// # Errors
    ///
    /// Why there are no tokens in it.
    pub fn read_refresh(&self, platform: &Platform, answer: &[u8], sent_at: Timestamp) -> Result<IssuedTokens, Error> {
        tokens::read(answer, sent_at, platform.default_expires_in).map_err(|not| match not {
            // TikTok answers errors with 200.
            NotTokens::Error(answer) => refused(platform, &answer, OK, None),
            NotTokens::Unreadable => Error::answered_with(&platform.name, Step::Refresh, Kind::Unreadable, OK, None),
        })
    }
}

/// What a refusal of a refresh means.
fn refused(platform: &Platform, answer: &Value, status: u16, retry_after: Option<Duration>) -> Error {
    let error = ErrorAnswer::read(answer);
    let kind = match error.kind_at_refresh(status, retry_after, (platform.refresh_refused)(answer)) {
        // The client's credentials are not sent there, so that nothing speaks of them but Graph's code for the app.
        Kind::Credentials
            if matches!(platform.refresh, Refresh::SelfRenewing { .. }) && error.code.as_deref() != Some("101") =>
        {
            Kind::Rejected
        }
        kind => kind,
    };
    Error::answered_with(&platform.name, Step::Refresh, kind, status, error.code).back_after(retry_after)
}

async fn request(platform: &Platform, credentials: &Credentials, tokens: &TokenSet) -> Result<Request, Error> {
    let step = Step::Refresh;
    let nothing = || Error::without_answer(&platform.name, step, Kind::Grant(TroubleKind::RefreshRejected));
    match (platform.refresh, &tokens.refresh_token) {
        (Refresh::ExchangedAgain, _) => {
            let long_lived = platform.long_lived.ok_or_else(nothing)?;
            let url = api_url(platform, step, long_lived.path)?;
            Ok(long_lived_request(platform, credentials, long_lived, url, &tokens.access_token))
        }
        (Refresh::RefreshToken { .. }, Some(token)) => {
            token_request(platform, credentials, Exchanged::RefreshToken(token)).await
        }
        (Refresh::SelfRenewing { path, grant_type, .. }, _) => {
            let mut url: Url = api_url(platform, step, path)?;
            url.query_pairs_mut()
                .append_pair("grant_type", grant_type)
                .append_pair("access_token", expose(&tokens.access_token));
            Ok(get(url))
        }
        (Refresh::Never, _) | (Refresh::RefreshToken { .. }, None) => Err(nothing()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::platforms::BUILT_IN;

    fn platform(name: &str) -> Platform {
        BUILT_IN.iter().map(|definition| definition()).find(|platform| platform.name == name).unwrap()
    }

    fn oauth(error: &str, message: &str) -> Value {
        json!({"error": error, "error_description": message})
    }

    fn graph(code: u16, subcode: Option<u16>, message: &str) -> Value {
        json!({"error": {"message": message, "type": "OAuthException", "code": code, "error_subcode": subcode}})
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn every_platforms_way_to_say_no_to_a_refresh() {
        use TroubleKind as Kind;
        let api = |code: &str, message: &str| json!({"status": 400, "code": code, "message": message});
        let pinterest = |code: i32| json!({"code": code, "message": "Authentication failed."});
        let dead = "The provided authorization grant or refresh token is invalid, expired or revoked";
        let expired = "Token has been expired or revoked.";
        let spent = "Value passed for the token was invalid.";
        let young = "Error refreshing access token: the token must be at least 24 hours old";
        for (name, status, answer, kind) in [
            // The standard, at a platform that follows it.
            ("youtube", 400, oauth("invalid_grant", expired), Kind::RefreshRejected),
            ("youtube", 401, oauth("invalid_grant", expired), Kind::RefreshRejected),
            ("youtube", 401, oauth("invalid_client", "Unauthorized"), Kind::AppRejected),
            ("youtube", 401, oauth("unauthorized_client", "Unauthorized"), Kind::AppRejected),
            ("youtube", 400, oauth("invalid_request", "Missing required parameter"), Kind::RequestRefused),
            ("youtube", 400, oauth("unsupported_grant_type", "x"), Kind::RequestRefused),
            ("youtube", 400, oauth("invalid_scope", "x"), Kind::RequestRefused),
            ("youtube", 429, oauth("rate_limit_exceeded", "x"), Kind::Throttled),
            ("youtube", 500, oauth("internal_failure", "x"), Kind::Unavailable),
            ("googlebusiness", 400, oauth("invalid_grant", "Bad Request"), Kind::RefreshRejected),
            (
                "googlebusiness",
                403,
                json!({"error": {"code": 403, "status": "PERMISSION_DENIED"}}),
                Kind::RequestRefused,
            ),
            // Whatever is said with trouble that passes.
            ("youtube", 429, oauth("invalid_grant", expired), Kind::Throttled),
            ("youtube", 429, oauth("invalid_client", "x"), Kind::Throttled),
            ("youtube", 500, oauth("invalid_grant", expired), Kind::Unavailable),
            ("youtube", 503, oauth("invalid_client", "x"), Kind::Unavailable),
            ("youtube", 503, oauth("invalid_grant", "The client secret could not be checked."), Kind::Unavailable),
            ("twitter", 503, oauth("invalid_request", spent), Kind::Unavailable),
            ("facebook", 500, graph(190, Some(458), "x"), Kind::Unavailable),
            ("threads", 429, graph(190, None, "x"), Kind::Throttled),
            ("pinterest", 502, pinterest(2), Kind::Unavailable),
            ("linkedin", 429, oauth("invalid_request", dead), Kind::Throttled),
            // Nothing that could be understood.
            ("youtube", 400, Value::Null, Kind::RequestRefused),
            ("youtube", 403, json!("blocked"), Kind::RequestRefused),
            ("youtube", 302, Value::Null, Kind::RequestRefused),
            ("youtube", 503, Value::Null, Kind::Unavailable),
            ("threads", 401, Value::Null, Kind::RequestRefused),
            ("twitter", 400, oauth("invalid_request", spent), Kind::RefreshRejected),
            ("twitter", 401, oauth("invalid_request", spent), Kind::RefreshRejected),
            ("twitter", 400, oauth("invalid_grant", "x"), Kind::RefreshRejected),
            (
                "twitter",
                400,
                oauth("invalid_request", "Missing required parameter [refresh_token]."),
                Kind::RequestRefused,
            ),
            ("twitter", 401, oauth("unauthorized_client", "Missing valid authorization header"), Kind::AppRejected),
            ("twitter", 402, json!({"title": "CreditsDepleted"}), Kind::RequestRefused),
            ("tiktok", 200, oauth("invalid_grant", "Refresh token is invalid or expired."), Kind::RefreshRejected),
            ("tiktok", 200, oauth("invalid_client", "Client key or secret is incorrect."), Kind::AppRejected),
            ("tiktok", 200, oauth("invalid_request", "x"), Kind::RequestRefused),
            ("tiktok", 200, oauth("server_error", "x"), Kind::Unavailable),
            ("tiktok", 429, oauth("rate_limit_exceeded", "x"), Kind::Throttled),
            ("pinterest", 401, pinterest(2), Kind::AppOrGrantRejected),
            ("pinterest", 200, pinterest(2), Kind::AppOrGrantRejected),
            ("pinterest", 403, pinterest(29), Kind::RequestRefused),
            ("pinterest", 429, pinterest(8), Kind::Throttled),
            ("linkedin", 400, oauth("invalid_request", dead), Kind::RefreshRejected),
            ("linkedin", 400, oauth("invalid_grant", expired), Kind::RefreshRejected),
            ("linkedin", 401, oauth("invalid_client", "Client authentication failed"), Kind::AppRejected),
            (
                "linkedin",
                400,
                oauth("invalid_request", "A required parameter \"refresh_token\" is missing"),
                Kind::RequestRefused,
            ),
            ("linkedin", 429, api("TOO_MANY_REQUESTS", "x"), Kind::Throttled),
            ("linkedin", 426, api("NONEXISTENT_VERSION", "x"), Kind::RequestRefused),
            ("facebook", 400, graph(190, Some(458), "x"), Kind::ConsentRevoked),
            ("facebook", 400, graph(190, Some(460), "x"), Kind::Invalidated),
            ("facebook", 400, graph(190, Some(463), "x"), Kind::ConsentExpired),
            ("facebook", 400, graph(190, Some(492), "x"), Kind::PermissionWithdrawn),
            ("facebook", 400, graph(190, None, "x"), Kind::RefreshRejected),
            ("facebook", 401, graph(190, None, "x"), Kind::RefreshRejected),
            ("facebook", 400, graph(102, None, "x"), Kind::RefreshRejected),
            ("facebook", 403, graph(200, None, "x"), Kind::PermissionWithdrawn),
            ("facebook", 400, graph(10, None, "x"), Kind::PermissionWithdrawn),
            ("facebook", 400, graph(1, None, "Error validating client secret."), Kind::AppRejected),
            ("facebook", 400, graph(101, None, "Error validating application"), Kind::AppRejected),
            ("facebook", 400, graph(1, None, "An unknown error occurred"), Kind::Unavailable),
            ("facebook", 400, graph(2, None, "Service temporarily unavailable"), Kind::Unavailable),
            ("facebook", 400, graph(4, None, "Application request limit reached"), Kind::Throttled),
            ("facebook", 400, graph(17, None, "User request limit reached"), Kind::Throttled),
            ("facebook", 400, graph(100, None, "Invalid parameter"), Kind::RequestRefused),
            ("threads", 400, graph(190, None, young), Kind::RequestRefused),
            ("threads", 400, graph(190, Some(463), "Session has expired"), Kind::ConsentExpired),
            ("threads", 400, graph(101, None, "Error validating application"), Kind::AppRejected),
            ("instagram", 400, graph(190, None, young), Kind::RequestRefused),
            ("instagram", 400, graph(190, Some(460), "x"), Kind::Invalidated),
            ("instagram", 400, graph(10, None, "x"), Kind::PermissionWithdrawn),
            (
                "instagram",
                400,
                json!({"error_type": "OAuthException", "code": 400, "error_message": "x"}),
                Kind::RequestRefused,
            ),
        ] {
            let error = refused(&platform(name), &answer, status, None);
            assert_eq!(error.trouble(), kind, "{name} {status} {answer}");
            assert!(!error.is_unanswered(), "{name} {status} {answer}");
            assert_eq!((error.step, error.status), (Step::Refresh, Some(status)));
        }
    }

    #[test]
    fn when_to_come_back_is_told_with_any_refusal() {
        let wait = Some(Duration::from_secs(30));
        for (status, answer) in [(429, Value::Null), (503, Value::Null), (400, oauth("slow_down", "x"))] {
            assert_eq!(refused(&platform("youtube"), &answer, status, wait).retry_after(), wait, "{status} {answer}");
            assert_eq!(refused(&platform("youtube"), &answer, status, None).retry_after(), None, "{status} {answer}");
        }
    }
}
