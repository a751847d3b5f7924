//! Refreshes tokens in each platform's way: sends the request, and reads the answer.
//!
//! These are two steps because the answer is stored before it is read (`broker::refresher`). Invariant: the engine
//! never retries a refresh. Only the broker knows whether that is safe.

use std::time::Duration;

use url::Url;
use zeroize::Zeroizing;

use super::OauthClient;
use super::error_answer::ErrorAnswer;
use super::exchange::{Exchanged, OK, api_url, expose, long_lived_request};
use super::id_token::are_of_two;
use super::tokens::{self, NotTokens};
use crate::domain::echo::Sent;
use crate::domain::failure::Failure;
use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::time::Timestamp;
use crate::outbound::{self, Request};
use crate::platforms::{Platform, Refresh};

impl OauthClient<'_> {
    /// Asks the platform for new tokens, once. `scopes`: the granted ones. Returns the body of a success as it came:
    /// store it before [`read_refresh`] reads it.
    ///
    /// # Errors
    ///
    /// The platform refused or did not answer, or there is no token to refresh with.
    pub async fn refresh(&self, tokens: &TokenSet, scopes: &[String]) -> Result<Zeroizing<Vec<u8>>, PlatformError> {
        let (platform, step) = (&*self.platform, Step::Refresh);
        let answer = self.send_as_client(step, |client| client.refresh_request(tokens, scopes)).await?;
        let answer = answer.map_err(|error| error.at(&platform.name, step))?;
        let error = if answer.is_success() {
            // Slack may say in a success how long to wait. That, and what was sent, the body alone cannot tell.
            match tokens::read_of(platform, step, &answer.body, self.engine.clock.now(), None) {
                Err(NotTokens::Error(error)) => ErrorAnswer::read(&error, &answer.sent),
                Ok(_) | Err(NotTokens::Unreadable) => return Ok(answer.body),
            }
        } else {
            ErrorAnswer::of_token_endpoint(&answer)
        };
        Err(refused(platform, error, answer.status, answer.retry_after))
    }
}

/// Reads the answer to a refresh with `tokens`, sent at `sent_at`. `expires_at`: when their access token expires, where
/// that is known. Scopes and refresh token are `None` when the answer leaves them out, which means that they stay.
///
/// # Errors
///
/// There are no tokens in it.
pub fn read_refresh(
    platform: &Platform,
    tokens: &TokenSet,
    expires_at: Option<Timestamp>,
    answer: &[u8],
    sent_at: Timestamp,
) -> Result<IssuedTokens, PlatformError> {
    // A token that is exchanged after its end has none there: it begins another usual life.
    let has_end = expires_at.is_none_or(|at| sent_at < at);
    let read = tokens::read_of(platform, Step::Refresh, answer, sent_at, platform.default_expires_in);
    let read = match read {
        // The same token again: without a lifetime, its end is the same as well.
        Ok(issued) if platform.refresh == Refresh::ExchangedAgain && has_end && issued.tokens.shares(tokens) => {
            tokens::read_of(platform, Step::Refresh, answer, sent_at, None).map(|read| {
                let access_expires_at = read.access_expires_at.and(issued.access_expires_at);
                IssuedTokens { access_expires_at, ..read }
            })
        }
        read => read,
    };
    let read = read.map_err(|not| {
        let error = match not {
            // TikTok sends errors with status 200.
            NotTokens::Error(answer) => refused(platform, ErrorAnswer::read(&answer, &sent(tokens)), OK, None),
            NotTokens::Unreadable if outbound::is_cut_off(answer) => {
                return PlatformError::cut_off(&platform.name, Step::Refresh);
            }
            NotTokens::Unreadable => {
                let unreadable = PlatformError::new(&platform.name, Step::Refresh, Failure::PlatformAnswerUnreadable);
                PlatformError { is_page: outbound::is_page(answer), ..unreadable }.answered(OK, None)
            }
        };
        error.in_answer()
    })?;
    // OpenID Connect Core 1.0, section 12.2. TLS vouches for the answer, so a signature would prove no more.
    let id_tokens = tokens.id_token.as_ref().zip(read.tokens.id_token.as_ref());
    if platform.id_tokens.is_some() && id_tokens.is_some_and(|(old, new)| are_of_two(expose(old), expose(new))) {
        let error = PlatformError::new(&platform.name, Step::Refresh, Failure::RefreshRejected);
        return Err(error.in_answer().caused_by("the id_token of the answer names another person"));
    }
    Ok(read)
}

/// The tokens that a refresh sends, or may.
fn sent(tokens: &TokenSet) -> Sent {
    let mut sent = Sent::default();
    tokens.refresh_token.iter().chain([&tokens.access_token]).for_each(|token| sent.add(expose(token)));
    sent
}

/// The error of a refused refresh.
fn refused(platform: &Platform, error: ErrorAnswer, status: u16, retry_after: Option<Duration>) -> PlatformError {
    let is_page = error.is_page();
    let refused = error.error(platform, Step::Refresh, status);
    PlatformError { is_page, ..refused }.retry_after(retry_after)
}

impl OauthClient<'_> {
    fn refresh_request(&self, tokens: &TokenSet, scopes: &[String]) -> Result<Request, PlatformError> {
        let (platform, step) = (&*self.platform, Step::Refresh);
        let nothing = || PlatformError::new(&platform.name, step, Failure::RefreshRejected);
        match (platform.refresh, &tokens.refresh_token) {
            (Refresh::ExchangedAgain, _) => {
                let long_lived = platform.long_lived.ok_or_else(nothing)?;
                let url = api_url(platform, step, long_lived.path)?;
                Ok(long_lived_request(platform, &self.credentials, long_lived, url, &tokens.access_token))
            }
            (Refresh::RefreshToken { .. }, Some(token)) => {
                self.token_request(&Exchanged::RefreshToken { token, scopes })
            }
            (Refresh::SelfRenewing { path, grant_type, .. }, _) => {
                let mut url: Url = api_url(platform, step, path)?;
                url.query_pairs_mut()
                    .append_pair("grant_type", grant_type)
                    .append_pair("access_token", expose(&tokens.access_token));
                Ok(Request::get(url))
            }
            (Refresh::Never, _) | (Refresh::RefreshToken { .. }, None) => Err(nothing()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::secret::SecretString;
    use crate::platforms::{BUILT_IN, IdTokens};

    fn platform(name: &str) -> Platform {
        BUILT_IN.iter().map(|definition| definition()).find(|platform| platform.name == name).unwrap()
    }

    fn oauth(error: &str, message: &str) -> Value {
        json!({"error": error, "error_description": message})
    }

    fn graph(code: u16, subcode: Option<u16>, message: &str) -> Value {
        json!({"error": {"message": message, "type": "OAuthException", "code": code, "error_subcode": subcode}})
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn refusals_of_a_refresh_are_told_apart() {
        use Failure::{
            AccessNotApproved, AccountThrottled, AppNotPublic, AppOrGrantRejected, BillingLimitReached, ConsentExpired,
            ConsentRevoked, CredentialsRejected, PermissionWithdrawn, PlatformThrottled, PlatformUnavailable,
            RefreshRejected, RequestRefused, SecurityInvalidation,
        };
        let api = |code: &str, message: &str| json!({"status": 400, "code": code, "message": message});
        let pinterest = |code: i32| json!({"code": code, "message": "Authentication failed."});
        let dead = "The provided authorization grant or refresh token is invalid, expired or revoked";
        let expired = "Token has been expired or revoked.";
        let spent = "Value passed for the token was invalid.";
        let young = "Error refreshing access token: the token must be at least 24 hours old";
        for (name, status, answer, failure) in [
            // Standard codes, at platforms that follow the standard.
            ("youtube", 400, oauth("invalid_grant", expired), RefreshRejected),
            ("youtube", 401, oauth("invalid_grant", expired), RefreshRejected),
            ("youtube", 401, oauth("invalid_client", "Unauthorized"), CredentialsRejected),
            ("youtube", 401, oauth("unauthorized_client", "Unauthorized"), CredentialsRejected),
            ("youtube", 400, oauth("invalid_request", "Missing required parameter"), RequestRefused),
            ("youtube", 400, oauth("unsupported_grant_type", "x"), RequestRefused),
            ("youtube", 400, oauth("invalid_scope", "x"), RequestRefused),
            ("youtube", 429, oauth("rate_limit_exceeded", "x"), PlatformThrottled),
            ("youtube", 500, oauth("internal_failure", "x"), PlatformUnavailable),
            ("youtube", 400, oauth("internal_failure", "x"), PlatformUnavailable),
            ("youtube", 400, json!({"error_description": "server_error"}), PlatformUnavailable),
            ("googlebusiness", 400, oauth("invalid_grant", "Bad Request"), RefreshRejected),
            ("googlebusiness", 403, json!({"error": {"code": 403, "status": "PERMISSION_DENIED"}}), RequestRefused),
            // Back to the authorize endpoint: OpenID Connect's words, and a sentence that blames the token.
            ("youtube", 400, oauth("interaction_required", "AADSTS50076"), RefreshRejected),
            ("youtube", 400, oauth("consent_required", "x"), RefreshRejected),
            ("youtube", 400, oauth("login_required", "x"), RefreshRejected),
            ("youtube", 403, oauth("unauthorized_client", "refresh_token is invalid"), RefreshRejected),
            (
                "youtube",
                401,
                oauth("invalid_client", "The client or its refresh token is invalid"),
                CredentialsRejected,
            ),
            ("youtube", 400, json!({"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown"}), RefreshRejected),
            ("youtube", 400, json!({"errors": [{"errorType": "invalid_grant"}], "success": false}), RefreshRejected),
            ("youtube", 400, json!({"error": ["invalid_grant"]}), RefreshRejected),
            ("youtube", 400, json!({"error": "invalid_grant "}), RefreshRejected),
            ("youtube", 400, json!({"error": "invalid_grant\u{fffd}"}), RefreshRejected),
            // Slack's, with status 200.
            ("youtube", 200, json!({"ok": false, "error": "ratelimited"}), PlatformThrottled),
            ("youtube", 200, json!({"ok": false, "error": "service_unavailable"}), PlatformUnavailable),
            ("youtube", 200, json!({"ok": false, "error": "fatal_error"}), PlatformUnavailable),
            ("youtube", 200, json!({"ok": false, "error": "request_timeout"}), PlatformUnavailable),
            // Outages and throttling, whatever else the answer says.
            ("youtube", 429, oauth("invalid_grant", expired), PlatformThrottled),
            ("youtube", 429, oauth("invalid_client", "x"), PlatformThrottled),
            ("youtube", 500, oauth("invalid_grant", expired), PlatformUnavailable),
            ("youtube", 503, oauth("invalid_client", "x"), PlatformUnavailable),
            ("youtube", 503, oauth("invalid_grant", "The client secret could not be checked."), PlatformUnavailable),
            ("twitter", 503, oauth("invalid_request", spent), PlatformUnavailable),
            ("facebook", 500, graph(190, Some(458), "x"), PlatformUnavailable),
            ("threads", 429, graph(190, None, "x"), PlatformThrottled),
            ("pinterest", 502, pinterest(2), PlatformUnavailable),
            ("linkedin", 429, oauth("invalid_request", dead), PlatformThrottled),
            // Answers without a meaning.
            ("youtube", 400, Value::Null, RequestRefused),
            ("youtube", 403, json!("blocked"), RequestRefused),
            ("youtube", 302, Value::Null, RequestRefused),
            ("youtube", 503, Value::Null, PlatformUnavailable),
            ("threads", 401, Value::Null, RequestRefused),
            ("youtube", 401, Value::Null, AppOrGrantRejected),
            ("youtube", 401, oauth("invalid_token", "x"), AppOrGrantRejected),
            ("youtube", 401, oauth("deleted_client", "The OAuth client was deleted."), CredentialsRejected),
            ("youtube", 400, oauth("disabled_client", "The OAuth client was disabled."), CredentialsRejected),
            ("youtube", 401, json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}), AppOrGrantRejected),
            ("twitter", 400, oauth("invalid_request", spent), RefreshRejected),
            ("twitter", 401, oauth("invalid_request", spent), RefreshRejected),
            ("twitter", 400, oauth("invalid_grant", "x"), RefreshRejected),
            ("twitter", 400, oauth("invalid_request", "Missing required parameter [refresh_token]."), RequestRefused),
            ("twitter", 401, oauth("unauthorized_client", "Missing valid authorization header"), CredentialsRejected),
            ("twitter", 402, json!({"title": "CreditsDepleted"}), BillingLimitReached),
            ("twitter", 403, json!({"title": "SpendCapReached"}), BillingLimitReached),
            ("tiktok", 200, oauth("invalid_grant", "Refresh token is invalid or expired."), RefreshRejected),
            ("tiktok", 200, oauth("invalid_client", "Client key or secret is incorrect."), CredentialsRejected),
            ("tiktok", 200, oauth("invalid_request", "x"), RequestRefused),
            ("tiktok", 200, oauth("server_error", "x"), PlatformUnavailable),
            ("tiktok", 429, oauth("rate_limit_exceeded", "x"), PlatformThrottled),
            ("pinterest", 401, json!({"code": 283, "message": "The authorization grant is invalid"}), RefreshRejected),
            ("pinterest", 400, json!({"code": 283, "message": "The authorization grant is invalid"}), RefreshRejected),
            ("pinterest", 400, json!({"code": 1, "message": "Invalid request: x"}), RequestRefused),
            ("pinterest", 401, pinterest(3), AppOrGrantRejected),
            ("pinterest", 401, pinterest(2), AppOrGrantRejected),
            ("pinterest", 200, pinterest(2), AppOrGrantRejected),
            ("pinterest", 403, pinterest(29), RequestRefused),
            ("pinterest", 429, pinterest(8), PlatformThrottled),
            ("linkedin", 400, oauth("invalid_request", dead), RefreshRejected),
            ("linkedin", 400, oauth("invalid_grant", expired), RefreshRejected),
            ("linkedin", 401, oauth("invalid_client", "Client authentication failed"), CredentialsRejected),
            (
                "linkedin",
                400,
                oauth("invalid_request", "A required parameter \"refresh_token\" is missing"),
                RequestRefused,
            ),
            ("linkedin", 429, api("TOO_MANY_REQUESTS", "x"), PlatformThrottled),
            ("linkedin", 426, api("NONEXISTENT_VERSION", "x"), RequestRefused),
            ("facebook", 400, graph(190, Some(458), "x"), ConsentRevoked),
            ("facebook", 400, graph(190, Some(460), "x"), SecurityInvalidation),
            ("facebook", 400, graph(190, Some(463), "x"), ConsentExpired),
            ("facebook", 400, graph(190, Some(492), "x"), PermissionWithdrawn),
            ("facebook", 400, graph(190, None, "x"), RefreshRejected),
            ("facebook", 401, graph(190, None, "x"), RefreshRejected),
            ("facebook", 400, graph(102, None, "x"), RefreshRejected),
            ("facebook", 403, graph(200, None, "x"), PermissionWithdrawn),
            ("facebook", 400, graph(10, None, "x"), PermissionWithdrawn),
            ("facebook", 400, graph(1, None, "Error validating client secret."), CredentialsRejected),
            ("facebook", 400, graph(101, None, "Error validating application"), CredentialsRejected),
            ("facebook", 400, graph(1, None, "An unknown error occurred"), PlatformUnavailable),
            ("facebook", 400, graph(2, None, "Service temporarily unavailable"), PlatformUnavailable),
            ("facebook", 400, graph(4, None, "Application request limit reached"), PlatformThrottled),
            ("facebook", 400, graph(17, None, "User request limit reached"), AccountThrottled),
            ("facebook", 400, graph(200, None, "API access blocked."), AccessNotApproved),
            ("threads", 400, graph(100, None, "Unsupported request - method type: get"), AppNotPublic),
            ("facebook", 400, graph(100, None, "Invalid parameter"), RequestRefused),
            ("threads", 400, graph(190, None, young), RequestRefused),
            ("threads", 400, graph(190, Some(463), "Session has expired"), ConsentExpired),
            ("threads", 400, graph(101, None, "Error validating application"), CredentialsRejected),
            ("instagram", 400, graph(190, None, young), RequestRefused),
            ("instagram", 400, graph(190, Some(460), "x"), SecurityInvalidation),
            ("instagram", 400, graph(10, None, "x"), PermissionWithdrawn),
            (
                "instagram",
                400,
                json!({"error_type": "OAuthException", "code": 400, "error_message": "x"}),
                RequestRefused,
            ),
        ] {
            let error = refused(&platform(name), ErrorAnswer::read(&answer, &Sent::default()), status, None);
            assert_eq!(error.failure, failure, "{name} {status} {answer}");
            assert_eq!(error.may_have_acted, status >= 500, "{name} {status} {answer}");
            assert_eq!((error.step, error.status), (Step::Refresh, Some(status)));
        }
    }

    #[test]
    fn the_same_token_without_a_lifetime_lives_no_longer_than_before() {
        let tokens = TokenSet {
            access_token: SecretString::from("EAAsame"),
            refresh_token: None,
            id_token: None,
            token_type: "Bearer".to_owned(),
            service_url: None,
        };
        let (asked_at, later) = (Timestamp::from_millis(1000), Some(Timestamp::from_millis(1001)));
        for (answer, ends, life) in [
            (json!({"access_token": "EAAsame"}), None, None),
            (json!({"access_token": "EAAsame"}), later, None),
            (json!({"access_token": "EAAsame"}), Some(asked_at), Some(60 * 86_400)),
            (json!({"access_token": "EAAsame", "expires_in": 864_000}), later, Some(864_000)),
            (json!({"access_token": "EAAsame", "expires_in": 5_184_000_000_u64}), later, Some(5_184_000)),
            (json!({"access_token": "EAAnew"}), later, Some(60 * 86_400)),
        ] {
            let body = answer.to_string();
            let issued = read_refresh(&platform("facebook"), &tokens, ends, body.as_bytes(), asked_at).unwrap();
            assert_eq!(issued.access_expires_at.map(|at| asked_at.until(at).as_secs()), life, "{answer} {ends:?}");
        }
    }

    #[test]
    fn an_answer_about_another_person_is_no_success() {
        use base64::Engine as _;
        let id_token = |claims: &Value| {
            let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string());
            format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmVk")
        };
        let issuer = IdTokens { jwks_url: None, are_identity: false, may_be_hmac: false };
        let acme = Platform { id_tokens: Some(issuer), ..platform("youtube") };
        let tokens = TokenSet {
            access_token: SecretString::from("old"),
            refresh_token: Some(SecretString::from("r")),
            id_token: Some(SecretString::from(id_token(&json!({"sub": "u1", "exp": 1})))),
            token_type: "Bearer".to_owned(),
            service_url: None,
        };
        let read = |platform: &Platform, id_token: Option<String>| {
            let answer = json!({"access_token": "new", "id_token": id_token}).to_string();
            read_refresh(platform, &tokens, None, answer.as_bytes(), Timestamp::from_millis(0))
        };
        let error = read(&acme, Some(id_token(&json!({"sub": "u2"})))).unwrap_err();
        assert_eq!((error.failure, error.step), (Failure::RefreshRejected, Step::Refresh));
        for unobjectionable in
            [None, Some(id_token(&json!({"sub": "u1"}))), Some(id_token(&json!({}))), Some("x".into())]
        {
            assert!(read(&acme, unobjectionable.clone()).is_ok(), "{unobjectionable:?}");
        }
        assert!(read(&platform("youtube"), Some(id_token(&json!({"sub": "u2"})))).is_ok(), "it is not used there");
    }

    #[test]
    fn no_code_repeats_the_token_or_is_a_sentence() {
        let tokens = TokenSet {
            access_token: SecretString::from("ATsecret123456"),
            refresh_token: Some(SecretString::from("RTsecret123456")),
            id_token: None,
            token_type: "Bearer".to_owned(),
            service_url: None,
        };
        for (answer, code) in [
            (oauth("invalid_grant", "x"), Some("invalid_grant")),
            (oauth("Invalid refresh token (expired): RTsecret123456", "x"), None),
            (json!({"code": "RTsecret123456"}), None),
            (json!({"code": "expired-ATsecret123456"}), None),
        ] {
            let body = answer.to_string();
            let error = read_refresh(&platform("youtube"), &tokens, None, body.as_bytes(), Timestamp::from_millis(0));
            assert_eq!(error.unwrap_err().code.as_deref(), code, "{answer}");
        }
    }

    #[test]
    fn any_refusal_may_say_how_long_to_wait() {
        let wait = Some(Duration::from_secs(30));
        for (status, answer) in [(429, Value::Null), (503, Value::Null), (400, oauth("slow_down", "x"))] {
            assert_eq!(
                refused(&platform("youtube"), ErrorAnswer::read(&answer, &Sent::default()), status, wait).retry_after,
                wait,
                "{status} {answer}"
            );
            assert_eq!(
                refused(&platform("youtube"), ErrorAnswer::read(&answer, &Sent::default()), status, None).retry_after,
                None,
                "{status} {answer}"
            );
        }
    }
}
