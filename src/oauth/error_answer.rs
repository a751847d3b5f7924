//! Reads error answers in the shapes that platforms use, and decides what they mean.
//!
//! A platform's documented refusals ([`Platform::refused`]) win over the general rules here, and of those the first
//! that fits decides: what a code or a sentence names comes before what a status may mean. Invariants: only the
//! meaning, the status, the wait and the platform's code leave this file, the code reduced to harmless characters; only
//! an answer that names the client blames the OAuth app, and a token endpoint's 401 that names nothing leaves open
//! whether it is the app or the grant; a page of markup in the place of a token answer is a failure that passes, unless
//! its status says that nothing is there.

use serde_json::Value;

use super::probe::Suspect;
use super::tokens;
use crate::domain::echo::{Code, Sent};
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{self, Answer};
use crate::platforms::{OF_CALLBACK_URL, OF_CLIENT, OF_OUTAGE, OF_THROTTLING, Platform, Refresh, Said};

/// Code of the token endpoint that blames the OAuth app. At the authorize endpoint it is about what the app may ask for
/// (RFC 6749, section 4.1.2.1).
const UNAUTHORIZED_CLIENT: &str = "unauthorized_client";

/// Codes that blame the client id alone. Google, HubSpot and Slack.
const OF_CLIENT_ID: &[&str] = &["bad_client_id", "deleted_client", "disabled_client", "invalid_client_id"];

/// Sentences that blame the client id, or say that it did not come as the server wants it.
const OF_CLIENT_ID_IN_WORDS: &[&str] = &[
    "client id is missing",
    "client_id is missing",
    "client_id is required",
    "invalid client id",
    "invalid client_id",
    "missing client id",
    "missing client_id",
    "unknown client id",
    "unknown client_id",
];

/// Those that blame the client secret alone. Slack.
const OF_CLIENT_SECRET: &[&str] = &["bad_client_secret", "invalid_client_secret"];

/// Codes that blame the request and not the client, whatever the status: RFC 6749, section 5.2, and for a body of the
/// wrong kind.
const OF_REQUEST: &[&str] = &["invalid_request", "invalid_scope", "unsupported_grant_type", "unsupported_media_type"];

/// Status of a body of the wrong kind.
const UNSUPPORTED_MEDIA_TYPE: u16 = 415;

/// Codes that want the account's owner at the authorize endpoint again: OpenID Connect Core 1.0, section 3.1.2.6, which
/// Microsoft's token endpoint uses as well.
const OF_SIGN_IN: &[&str] =
    &["account_selection_required", "consent_required", "interaction_required", "login_required"];

/// Codes that blame the refresh token: GitHub, HubSpot and Slack.
const OF_REFRESH_TOKEN: &[&str] = &["bad_refresh_token", "invalid_refresh_token"];

/// True for a code that means the same at any platform.
pub(super) fn is_known(code: &str) -> bool {
    let lists = [
        OF_CALLBACK_URL,
        OF_CLIENT,
        OF_OUTAGE,
        OF_REFRESH_TOKEN,
        OF_REQUEST,
        OF_SIGN_IN,
        OF_THROTTLING,
        &["access_denied", "invalid_grant", UNAUTHORIZED_CLIENT],
    ];
    lists.into_iter().flatten().any(|known| known.eq_ignore_ascii_case(code.trim()))
}

/// Most bytes of a body that is read as a sentence.
const SENTENCE_MAX: usize = 500;

/// Most codes of an answer that are tried until one can be shown.
const CODES_TRIED: usize = 8;

/// An error answer, as far as it tells failures apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorAnswer {
    /// `error` as text (RFC 6749), else Google's status, the code number of Graph or Pinterest, a reason or title, or
    /// any other code by which a refusal is recognised.
    pub(super) code: Option<Code>,
    said: Said,
    /// True for a page of markup, which something in front of the platform wrote.
    is_markup: bool,
    /// See [`Answer::is_throttled`].
    is_throttled: bool,
}

impl ErrorAnswer {
    /// `sent`: with the request.
    pub(super) fn read(answer: &Value, sent: &Sent) -> Self {
        let text = |pointer: &str| crate::platforms::text(answer, pointer);
        let code = match answer.get("error") {
            Some(Value::String(code)) if !code.is_empty() => Some(code.clone()),
            // Google sends both: a status in words, and the HTTP status as the code.
            Some(Value::Object(_)) => text("/error/status").or_else(|| text("/error/code")),
            _ => ["/code", "/error_type", "/reason", "/title"].iter().find_map(|pointer| text(pointer)),
        };
        let said = Said::read(answer);
        let code = code.and_then(|code| sent.code(&code)).or_else(|| {
            // Any code that may decide is told. A status in `error` is that of the answer once more.
            let status =
                answer.get("error").filter(|code| code.as_u64().is_some_and(|code| code < 600)).map(Value::to_string);
            let codes = said.codes.iter().filter(|code| Some(*code) != status.as_ref());
            // A list may be long, and each is compared with all that was sent.
            codes.take(CODES_TRIED).find_map(|code| sent.code(code))
        });
        Self { code, said, is_markup: false, is_throttled: false }
    }

    /// Reads an API's answer, whose body should be JSON, and is a sentence of plain text at some.
    pub(super) fn of(answer: &Answer) -> Self {
        let mut read = Self::of_body(answer, outbound::read_json);
        if read.is_page() && !read.is_markup && answer.body.len() <= SENTENCE_MAX {
            read.said.message = String::from_utf8_lossy(&answer.body).to_lowercase();
            // Cloudflare's firewall answers programs so: "error code: 1020".
            read.said.is_page = read.said.message.starts_with("error code: ");
        }
        read
    }

    /// Reads a token endpoint's answer, whose body should be JSON, and is a form at some servers.
    pub(super) fn of_token_endpoint(answer: &Answer) -> Self {
        Self::of_body(answer, tokens::read_body)
    }

    fn of_body(answer: &Answer, read: fn(&[u8]) -> Option<Value>) -> Self {
        let read = read(&answer.body);
        let unread = || {
            let is_page = !answer.body.trim_ascii().is_empty();
            let said = Said { is_page, ..Said::default() };
            let is_markup = outbound::is_markup(&answer.body);
            Self { code: None, said, is_markup, is_throttled: false }
        };
        let read = read.as_ref().map_or_else(unread, |json| Self::read(json, &answer.sent));
        Self { is_throttled: answer.is_throttled, ..read }
    }

    /// True when something in front of the platform may have written the answer: it says nothing about the account.
    pub(super) const fn is_page(&self) -> bool {
        self.said.is_page
    }

    /// True for a page of markup.
    pub(super) const fn is_markup(&self) -> bool {
        self.is_markup
    }

    /// The error of an answer with this status at this step.
    pub(super) fn error(self, platform: &Platform, step: Step, status: u16) -> PlatformError {
        let failure = self.failure(platform, step, status);
        PlatformError::new(&platform.name, step, failure).answered(status, self.code)
    }

    /// The meaning of an answer with this status at this step.
    pub(super) fn failure(&self, platform: &Platform, step: Step, status: u16) -> Failure {
        if let Some(failure) = self.documented(platform, step, status) {
            return failure;
        }
        let failure = match status {
            // An outage or throttling says nothing of the grant or the app, whatever the body says.
            429 => Failure::PlatformThrottled,
            500.. => Failure::PlatformUnavailable,
            402 => Failure::BillingLimitReached,
            _ if matches!(step, Step::Accounts | Step::Identity) => self.at_api(step, status),
            _ => self.at_token_endpoint(step, status),
        };
        match failure {
            // No client credentials are sent there, so nothing general can blame them.
            Failure::AppOrGrantRejected | Failure::CredentialsRejected
                if step == Step::Refresh && matches!(platform.refresh, Refresh::SelfRenewing { .. }) =>
            {
                Failure::RequestRefused
            }
            failure => failure,
        }
    }

    /// The meaning that the platform documents, if it does.
    pub(super) fn documented(&self, platform: &Platform, step: Step, status: u16) -> Option<Failure> {
        platform.refused(step, status, &self.said).map(|failure| match step {
            Step::CodeExchange | Step::LongLivedExchange if failure.ends_grant().is_some() => Failure::ExchangeRejected,
            _ => failure,
        })
    }

    /// True when the answer refuses the code of an exchange, by the standard's word or by the platform's documented
    /// one.
    pub(super) fn refuses_code(&self, platform: &Platform, status: u16) -> bool {
        self.is(&["invalid_grant"])
            || self.documented(platform, Step::CodeExchange, status) == Some(Failure::ExchangeRejected)
    }

    /// The setting that an answer blames which refuses the client.
    pub(super) fn suspect(&self) -> Suspect {
        let says = |words: &[&str]| words.iter().any(|words| self.said.message.contains(words));
        if self.is(OF_CLIENT_SECRET) || says(&["client secret", "client_secret"]) {
            Suspect::ClientSecret
        } else if self.is(OF_CLIENT_ID) || says(&["client was not found", "validating application"]) {
            Suspect::ClientId
        } else {
            Suspect::Either
        }
    }

    fn is(&self, codes: &[&str]) -> bool {
        codes.iter().any(|code| self.said.has(code))
    }

    fn at_api(&self, step: Step, status: u16) -> Failure {
        if status == 426 || self.is(&["NONEXISTENT_VERSION"]) {
            return Failure::ApiVersionRetired;
        }
        if self.is(OF_CLIENT) {
            return Failure::CredentialsRejected;
        }
        // GitHub says so of a spent quota.
        if status == 403 && (self.is_throttled || self.said.message.contains("rate limit")) {
            return Failure::PlatformThrottled;
        }
        // A token that is a moment old is refused because a scope was not granted (RFC 6750, section 3.1), or because
        // the person has removed the app already. A listing may need more than what names the person.
        let is_refused = step == Step::Identity && matches!(status, 401 | 403) && !self.said.is_page;
        if is_refused || self.is(&["insufficient_scope"]) { Failure::PermissionMissing } else { refusal(step) }
    }

    fn at_token_endpoint(&self, step: Step, status: u16) -> Failure {
        let blames_token = step == Step::Refresh && self.blames_refresh_token();
        if self.is(OF_CLIENT) || (self.is(&[UNAUTHORIZED_CLIENT]) && !blames_token) {
            return Failure::CredentialsRejected;
        }
        if self.is(OF_CALLBACK_URL) && step != Step::Refresh {
            return Failure::CallbackUrlRejected;
        }
        // Microsoft throttles a client that asks too often with `invalid_grant` and this number in its sentence.
        if self.is(OF_THROTTLING) || self.says(&["aadsts50196"]) {
            return Failure::PlatformThrottled;
        }
        if self.is(OF_OUTAGE) {
            return Failure::PlatformUnavailable;
        }
        if blames_token || (step == Step::Refresh && self.is(OF_SIGN_IN)) {
            return Failure::RefreshRejected;
        }
        if self.is(&["invalid_grant"]) {
            return if step == Step::Refresh { Failure::RefreshRejected } else { refusal(step) };
        }
        // Twitch and others have these sentences and no code.
        let of_client_id = self.said.message == "invalid client" || self.says(OF_CLIENT_ID_IN_WORDS);
        if of_client_id || self.says(&["client secret", "client_secret"]) {
            return Failure::CredentialsRejected;
        }
        let is_about_request = self.is(OF_REQUEST) || status == UNSUPPORTED_MEDIA_TYPE;
        if step == Step::CodeExchange && is_about_request && !self.is_about_code() {
            return Failure::AuthorizationRefused;
        }
        if status == 401 && !self.is(OF_REQUEST) && !self.is_markup {
            return Failure::AppOrGrantRejected;
        }
        match status {
            _ if self.has_code_beside(status) => refusal(step),
            408 | 425 => Failure::PlatformUnavailable,
            // Nothing at that URL takes a code.
            300..400 | 404 | 405 | 421 if is_of_connection(step) => Failure::PlatformAnswerUnreadable,
            300..400 | 404 | 405 | 421 => refusal(step),
            _ if self.is_markup => Failure::PlatformUnavailable,
            _ => refusal(step),
        }
    }

    /// True when the answer to a refresh says that the refresh token is at fault.
    fn blames_refresh_token(&self) -> bool {
        // Twitch and Discord have the words alone. Atlassian blames the client in its code.
        self.is(OF_REFRESH_TOKEN)
            || self.says(&["invalid refresh token", "invalid \"refresh_token\""])
            || (self.is(&[UNAUTHORIZED_CLIENT]) && self.says(&["refresh token is invalid", "refresh_token is invalid"]))
    }

    /// True when any of these, in lower case, is in what the platform says to people.
    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|words| self.said.message.contains(words))
    }

    /// True when the platform's sentence names the authorization code: several say `invalid_request` of a spent one.
    fn is_about_code(&self) -> bool {
        self.is(&["invalid_request"]) && self.names_code()
    }

    fn names_code(&self) -> bool {
        self.said.message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "code")
            || (self.says(&["authorization_code", "authorization grant"]) && self.says(&["expired", " used"]))
    }

    /// True when the answer has a code that says more than its status, as a number or in words.
    fn has_code_beside(&self, status: u16) -> bool {
        const STATUSES: [&str; 6] = ["error", "fail", "failed", "method_not_allowed", "not_found", "notfound"];
        let is_status = |code: &str| {
            code.parse() == Ok(status)
                || code.contains(char::is_whitespace)
                || STATUSES.iter().any(|name| code.eq_ignore_ascii_case(name))
        };
        self.said.codes.iter().any(|code| !is_status(code))
    }
}

/// The error of an API's answer that is no success.
pub(super) fn api_refusal(platform: &Platform, step: Step, answer: &Answer) -> PlatformError {
    ErrorAnswer::of(answer).error(platform, step, answer.status).retry_after(answer.retry_after)
}

/// The error of a token endpoint's answer that is no success.
pub(super) fn token_refusal(platform: &Platform, step: Step, answer: &Answer) -> PlatformError {
    ErrorAnswer::of_token_endpoint(answer).error(platform, step, answer.status).retry_after(answer.retry_after)
}

/// True for a step at which the client asks the token endpoint, or the one for pushed requests, for a connection.
const fn is_of_connection(step: Step) -> bool {
    matches!(step, Step::CodeExchange | Step::LongLivedExchange | Step::PushedAuthorization)
}

/// The meaning of a definite refusal without a reason.
const fn refusal(step: Step) -> Failure {
    match step {
        Step::Accounts | Step::Identity => Failure::IdentityUnavailable,
        Step::CodeExchange | Step::LongLivedExchange => Failure::ExchangeRejected,
        Step::PushedAuthorization => Failure::AuthorizationRefused,
        Step::Discovery | Step::Keys | Step::Refresh | Step::Registration | Step::Revocation | Step::Scopes => {
            Failure::RequestRefused
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::platforms::BUILT_IN;

    fn standard() -> Platform {
        use crate::platforms::{ApiCall, Identity, Unidentified};
        Platform::standard(Identity::new(ApiCall::get("/me", &[]), |_| Err(Unidentified::Unreadable)))
    }

    /// An operator's own platform.
    fn own(name: &str) -> Platform {
        crate::platforms::CustomPlatform { name: name.to_owned(), ..Default::default() }.platform(None)
    }

    #[test]
    fn a_client_id_that_did_not_come_as_the_server_wants_it_is_about_the_client() {
        for (answer, failure) in [
            (json!({"status": "BAD_CLIENT_ID", "message": "x"}), Failure::CredentialsRejected),
            (json!({"error": true, "message": "client_id is required"}), Failure::CredentialsRejected),
            (json!({"error": "invalid_grant", "error_description": "unknown client_id"}), Failure::ExchangeRejected),
        ] {
            let read = ErrorAnswer::read(&answer, &Sent::default()).failure(&standard(), Step::CodeExchange, 400);
            assert_eq!(read, failure, "{answer}");
        }
    }

    fn answered(status: u16, body: &str, is_throttled: bool) -> Answer {
        let body = body.as_bytes().to_vec().into();
        Answer { status, body, retry_after: None, is_throttled, sent: Sent::default() }
    }

    #[test]
    fn refusals_at_the_token_endpoint_are_told_apart() {
        use Failure::{
            AppOrGrantRejected, AuthorizationRefused, BillingLimitReached, CallbackUrlRejected, CredentialsRejected,
            ExchangeRejected, PlatformThrottled, PlatformUnavailable,
        };
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
            (
                400,
                json!({"error": "invalid_request", "error_description": "Missing parameter: device_id"}),
                AuthorizationRefused,
                Some("invalid_request"),
            ),
            (200, json!({"error": "invalid_request"}), AuthorizationRefused, Some("invalid_request")),
            (
                401,
                json!({"error": "invalid_request", "error_description": "code_verifier is missing"}),
                AuthorizationRefused,
                Some("invalid_request"),
            ),
            (400, json!({"error": "invalid_scope"}), AuthorizationRefused, Some("invalid_scope")),
            (400, json!({"error": "unsupported_grant_type"}), AuthorizationRefused, Some("unsupported_grant_type")),
            (415, json!({"error": "Unsupported Media Type", "status": 415}), AuthorizationRefused, None),
            (429, json!({"error": "invalid_request"}), PlatformThrottled, Some("invalid_request")),
            (401, json!({"code": 2, "message": "Authentication failed."}), AppOrGrantRejected, Some("2")),
            (
                400,
                json!({"error": {"message": "Error validating client secret.", "type": "OAuthException", "code": 1}}),
                CredentialsRejected,
                Some("1"),
            ),
            (
                400,
                json!({"error": {"message": "Graph's numbers are Graph's alone", "code": 4}}),
                ExchangeRejected,
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
            (401, json!(null), AppOrGrantRejected, None),
            (401, json!({"error": "deleted_client"}), CredentialsRejected, Some("deleted_client")),
            (400, json!({"error": "redirect_uri_mismatch"}), CallbackUrlRejected, Some("redirect_uri_mismatch")),
            (200, json!({"error": "redirect_uri_mismatch"}), CallbackUrlRejected, Some("redirect_uri_mismatch")),
            (400, json!({"error": "bad_redirect_uri"}), CallbackUrlRejected, Some("bad_redirect_uri")),
            (503, json!({"error": "redirect_uri_mismatch"}), PlatformUnavailable, Some("redirect_uri_mismatch")),
            (401, json!({"message": "Unauthorized", "error": 401}), AppOrGrantRejected, None),
            (402, json!({"title": "CreditsDepleted"}), BillingLimitReached, Some("CreditsDepleted")),
            (403, json!([]), ExchangeRejected, None),
            (503, json!({"error": "invalid_client"}), PlatformUnavailable, Some("invalid_client")),
        ] {
            let read = ErrorAnswer::read(&answer, &Sent::default());
            assert_eq!(read.failure(&standard(), Step::CodeExchange, status), failure, "{status} {answer}");
            assert_eq!(read.code.as_deref(), code, "{status} {answer}");
        }
    }

    #[test]
    fn a_code_is_shown_wherever_it_is() {
        let problem = json!({"title": "Invalid Request", "type": "https://api.x.com/2/problems/invalid-request"});
        for (answer, code) in [
            (json!({"error": 777}), "777"),
            (json!({"data": {"error_code": 1042}}), "1042"),
            (problem, "invalid-request"),
        ] {
            let read = ErrorAnswer::read(&answer, &Sent::default());
            assert_eq!(read.failure(&standard(), Step::CodeExchange, 400), Failure::ExchangeRejected, "{answer}");
            assert_eq!(read.code.as_deref(), Some(code), "{answer}");
        }
    }

    #[test]
    fn a_sentence_decides_where_the_code_says_too_little_or_another_thing() {
        use Failure::{CredentialsRejected, ExchangeRejected, PlatformThrottled, RefreshRejected};
        for (step, code, sentence, failure) in [
            (Step::CodeExchange, "invalid_request", "The authorization_code has expired", ExchangeRejected),
            (Step::CodeExchange, "invalid_request", "Authorization grant was already used", ExchangeRejected),
            (Step::CodeExchange, "bad_request", "invalid client", CredentialsRejected),
            (Step::Refresh, "bad_request", "Missing client ID", CredentialsRejected),
            (Step::Refresh, "invalid_grant", "AADSTS50196: a client request loop", PlatformThrottled),
            (Step::Refresh, "invalid_request", "Invalid \"refresh_token\" in request.", RefreshRejected),
        ] {
            let read = ErrorAnswer::read(&json!({"error": code, "error_description": sentence}), &Sent::default());
            assert_eq!(read.failure(&standard(), step, 400), failure, "{step}: {sentence}");
        }
    }

    #[test]
    fn a_sentence_on_the_grant_type_or_a_scope_is_not_about_the_code() {
        for (code, sentence) in [
            ("unsupported_grant_type", "authorization grant type authorization_code cannot be used by this client"),
            ("invalid_scope", "scope x may not be used with authorization_code"),
            ("unsupported_grant_type", "only the code grant is supported"),
        ] {
            let read = ErrorAnswer::read(&json!({"error": code, "error_description": sentence}), &Sent::default());
            let failure = read.failure(&standard(), Step::CodeExchange, 400);
            assert_eq!(failure, Failure::AuthorizationRefused, "{code}: {sentence}");
        }
    }

    #[test]
    fn a_sentence_of_plain_text_is_read() {
        let said = |body: &str| {
            let answer = answered(403, body, false);
            ErrorAnswer::of(&answer).failure(&own("acme"), Step::Identity, 403)
        };
        assert_eq!(said("User not registered in the Developer Dashboard"), Failure::AppNotPublic);
        let lacks_scope =
            "Your app is not permitted to access this endpoint because it does not have the required scope";
        assert_eq!(said(lacks_scope), Failure::AuthorizationRefused);
        assert_eq!(said("<p>User not registered in the Developer Dashboard</p>"), Failure::IdentityUnavailable);
    }

    #[test]
    fn an_endpoint_that_is_elsewhere_is_not_the_persons_fault() {
        use Failure::{
            AuthorizationRefused, ExchangeRejected, PlatformAnswerUnreadable, PlatformUnavailable, RequestRefused,
        };
        let none = || json!(null);
        for (step, status, answer, failure) in [
            (Step::CodeExchange, 302, none(), PlatformAnswerUnreadable),
            (Step::CodeExchange, 307, none(), PlatformAnswerUnreadable),
            (Step::CodeExchange, 404, none(), PlatformAnswerUnreadable),
            (Step::CodeExchange, 404, json!({"detail": "Not Found"}), PlatformAnswerUnreadable),
            (Step::CodeExchange, 404, json!({"status": 404, "error": "Not Found"}), PlatformAnswerUnreadable),
            (Step::CodeExchange, 404, json!({"error": {"code": 404}}), PlatformAnswerUnreadable),
            (Step::CodeExchange, 405, json!({"type": "about:blank"}), PlatformAnswerUnreadable),
            (Step::LongLivedExchange, 421, none(), PlatformAnswerUnreadable),
            (Step::PushedAuthorization, 404, none(), PlatformAnswerUnreadable),
            (Step::PushedAuthorization, 400, none(), AuthorizationRefused),
            (Step::CodeExchange, 404, json!({"error": "invalid_grant"}), ExchangeRejected),
            (Step::CodeExchange, 404, json!({"error": "code_not_found"}), ExchangeRejected),
            (Step::CodeExchange, 400, none(), ExchangeRejected),
            (Step::CodeExchange, 403, none(), ExchangeRejected),
            (Step::CodeExchange, 408, none(), PlatformUnavailable),
            (Step::CodeExchange, 425, none(), PlatformUnavailable),
            (Step::Refresh, 408, none(), PlatformUnavailable),
            (Step::Refresh, 404, none(), RequestRefused),
        ] {
            assert_eq!(
                ErrorAnswer::read(&answer, &Sent::default()).failure(&standard(), step, status),
                failure,
                "{step} {status} {answer}"
            );
        }
    }

    #[test]
    fn a_page_in_front_of_the_token_endpoint_blames_nobody() {
        use Failure::{
            AppOrGrantRejected, ExchangeRejected, PlatformAnswerUnreadable, PlatformUnavailable, RequestRefused,
        };
        let page = "<html><title>401 Authorization Required</title></html>";
        for (step, status, body, failure) in [
            (Step::CodeExchange, 400, page, PlatformUnavailable),
            (Step::CodeExchange, 401, page, PlatformUnavailable),
            (Step::CodeExchange, 403, page, PlatformUnavailable),
            (Step::CodeExchange, 404, page, PlatformAnswerUnreadable),
            (Step::CodeExchange, 403, "forbidden", ExchangeRejected),
            (Step::CodeExchange, 403, "error=invalid_grant", ExchangeRejected),
            (Step::LongLivedExchange, 403, page, PlatformUnavailable),
            (Step::PushedAuthorization, 403, page, PlatformUnavailable),
            (Step::Refresh, 400, page, PlatformUnavailable),
            (Step::Refresh, 401, page, PlatformUnavailable),
            (Step::Refresh, 403, page, PlatformUnavailable),
            (Step::Refresh, 404, page, RequestRefused),
            (Step::Refresh, 401, "Unauthorized", AppOrGrantRejected),
        ] {
            let read = ErrorAnswer::of_token_endpoint(&answered(status, body, false));
            for platform in BUILT_IN.iter().map(|definition| definition()).chain([standard()]) {
                if step == Step::Refresh && matches!(platform.refresh, Refresh::SelfRenewing { .. }) {
                    continue;
                }
                assert_eq!(read.failure(&platform, step, status), failure, "{} {step} {status}", platform.name);
            }
        }
    }

    #[test]
    fn a_spent_quota_is_no_missing_permission() {
        let spent = r#"{"message":"API rate limit exceeded for user ID 1.","documentation_url":"https://x"}"#;
        let secondary = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        for (status, body, is_throttled, failure) in [
            (403, spent, false, Failure::PlatformThrottled),
            (403, secondary, true, Failure::PlatformThrottled),
            (403, "{}", true, Failure::PlatformThrottled),
            (403, "{}", false, Failure::PermissionMissing),
            (401, "{}", true, Failure::PermissionMissing),
        ] {
            let answer = answered(status, body, is_throttled);
            let read = ErrorAnswer::of(&answer).failure(&standard(), Step::Identity, status);
            assert_eq!(read, failure, "{status} {body}");
        }
    }

    #[test]
    fn a_code_that_may_decide_is_told() {
        for (answer, code) in [
            (json!({"errors": [{"code": "grant_gone"}]}), Some("grant_gone")),
            (json!({"error": {"errors": [{"reason": "quotaExceeded"}]}}), Some("quotaExceeded")),
            (json!({"error_code": 10_004}), Some("10004")),
            (json!({"errcode": 40_163, "errmsg": "code been used"}), Some("40163")),
            (json!({"error": "Not Found", "error_code": "no_grant"}), Some("no_grant")),
            (json!({"serviceErrorCode": 65603, "status": 403}), Some("65603")),
            (json!({"serviceErrorCode": 100, "code": "ACCESS_DENIED", "status": 403}), Some("ACCESS_DENIED")),
            (json!({"error": {"error_code": 5, "error_msg": "x"}}), Some("5")),
            (json!({"status": "BAD_REFRESH_TOKEN", "message": "x"}), Some("BAD_REFRESH_TOKEN")),
            (json!({"errors": [{"errorType": "invalid_grant"}]}), Some("invalid_grant")),
            (json!({"error": ["invalid_grant"]}), Some("invalid_grant")),
            (json!({"error_summary": "x/..", "error": {".tag": "missing_scope"}}), Some("missing_scope")),
            (json!({"error": "Not Found"}), None),
            (json!({"error": 401}), None),
            (json!({"type": "about:blank"}), None),
        ] {
            assert_eq!(ErrorAnswer::read(&answer, &Sent::default()).code.as_deref(), code, "{answer}");
        }
    }

    #[test]
    fn refusals_at_the_api_are_told_apart() {
        use Failure::{
            ApiVersionRetired, BillingLimitReached, CredentialsRejected, IdentityUnavailable, PermissionMissing,
            PlatformThrottled, PlatformUnavailable,
        };
        for (status, answer, failure) in [
            (401, json!({"error": {"code": 401}}), PermissionMissing),
            (401, json!({"error": "invalid_token"}), PermissionMissing),
            (401, json!(null), PermissionMissing),
            (401, json!({"error": "invalid_client"}), CredentialsRejected),
            (403, json!({"error": "deleted_client"}), CredentialsRejected),
            (403, json!({"serviceErrorCode": 100, "code": "ACCESS_DENIED", "status": 403}), PermissionMissing),
            (404, json!({"error": "not_found"}), IdentityUnavailable),
            (426, json!({"status": 426, "code": "NONEXISTENT_VERSION"}), ApiVersionRetired),
            (402, json!(null), BillingLimitReached),
            (403, json!({"error": "insufficient_scope"}), PermissionMissing),
            (400, json!({"error": {"message": "x", "code": 190}}), IdentityUnavailable),
            (400, json!({"code": 1, "message": "Invalid request"}), IdentityUnavailable),
            (429, json!(null), PlatformThrottled),
            (502, json!(null), PlatformUnavailable),
        ] {
            assert_eq!(
                ErrorAnswer::read(&answer, &Sent::default()).failure(&standard(), Step::Identity, status),
                failure,
                "{status} {answer}"
            );
        }
        // A firewall's page says nothing of permissions.
        for (body, failure) in [
            ("<!DOCTYPE html><title>Attention Required!</title>", IdentityUnavailable),
            ("error code: 1020", IdentityUnavailable),
            ("Not enough permissions to access: GET /userinfo", PermissionMissing),
            ("forbidden", PermissionMissing),
            (" \r\n", PermissionMissing),
            ("{}", PermissionMissing),
            (r#"{"error":"invalid_client"}"#, CredentialsRejected),
        ] {
            let answer = answered(403, body, false);
            let read = ErrorAnswer::of(&answer).failure(&standard(), Step::Identity, answer.status);
            assert_eq!(read, failure, "{body}");
        }
        for platform in BUILT_IN.iter().map(|definition| definition()) {
            for status in [401, 403] {
                let body = "<!DOCTYPE html><title>Attention Required!</title>";
                let answer = answered(status, body, false);
                let read = ErrorAnswer::of(&answer).failure(&platform, Step::Identity, answer.status);
                assert_eq!(read, IdentityUnavailable, "{} {status}", platform.name);
            }
        }
        let twitter = BUILT_IN.iter().map(|definition| definition()).find(|found| found.name == "twitter").unwrap();
        for status in [401, 403] {
            let answer = Answer {
                status,
                body: b"Forbidden\n".to_vec().into(),
                retry_after: None,
                is_throttled: false,
                sent: Sent::default(),
            };
            let read = ErrorAnswer::of(&answer).failure(&twitter, Step::Identity, status);
            assert_eq!(read, PermissionMissing, "{status}");
        }
        // A listing is refused for many reasons, and does not cost the person.
        for (answer, failure) in
            [(json!(null), IdentityUnavailable), (json!({"error": "insufficient_scope"}), PermissionMissing)]
        {
            let read = ErrorAnswer::read(&answer, &Sent::default()).failure(&standard(), Step::Accounts, 403);
            assert_eq!(read, failure, "{answer}");
        }
    }

    /// The refusals in `refusals.txt`: platform, step, status, body or codes, and what they mean.
    fn documented() -> Vec<[&'static str; 5]> {
        let mut lines = include_str!("refusals.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut refusals = Vec::new();
        while let Some(head) = lines.next() {
            let (head, source) = head.split_once(" | ").unwrap();
            assert!(!source.is_empty(), "{head}");
            let [platform, step, status] = head.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let body = lines.next().unwrap();
            let expected = lines.next().and_then(|line| line.strip_prefix("-> ")).expect(body);
            refusals.push([platform, step, status, body, expected]);
        }
        refusals
    }

    #[test]
    fn documented_refusals_blame_whom_they_should() {
        use crate::domain::platform_error::PlatformError;
        use crate::platforms::Meaning;
        let refusals = documented();
        let presets = ["dropbox", "github", "slack", "spotify", "strava", "zoom"].map(own);
        for platform in BUILT_IN.iter().map(|definition| definition()).chain(presets) {
            let own = refusals.iter().filter(|[name, ..]| *name == platform.name);
            let least = if platform.authority.starts_with("custom:") { 1 } else { 3 };
            let count = own.clone().count();
            assert!(count >= least, "{} has {count} of {least} refusals in src/oauth/refusals.txt", platform.name);
            for [_, step, status, body, expected] in own {
                let read = if *step == "callback" {
                    let codes = body.split(' ').map(str::to_owned).collect();
                    match platform.declined(&Said::with_codes(codes)) {
                        Meaning::Denied => "denied -".to_owned(),
                        Meaning::Failed(failure) => format!("{} {}", failure.code(), failure.who_can_help().code()),
                    }
                } else {
                    let step = match *step {
                        "accounts" => Step::Accounts,
                        "exchange" => Step::CodeExchange,
                        "identity" => Step::Identity,
                        "long_lived" => Step::LongLivedExchange,
                        "refresh" => Step::Refresh,
                        other => panic!("{other}"),
                    };
                    let answer = ErrorAnswer::read(&serde_json::from_str(body).unwrap(), &Sent::default());
                    let failure = answer.failure(&platform, step, status.parse().unwrap());
                    if step != Step::Refresh {
                        let told = PlatformError::new(&platform.name, step, failure).of_connection();
                        assert_eq!(told, failure, "{}: {body}", platform.name);
                    }
                    format!("{} {}", failure.code(), failure.who_can_help().code())
                };
                assert_eq!(read, *expected, "{} {step} {status}: {body}", platform.name);
            }
        }
        assert!(refusals.len() >= 60, "{}", refusals.len());
    }
}
