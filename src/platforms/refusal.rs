//! Documented refusals of platforms as data: where a platform says what, and what it means.
//!
//! A row wins over the general rules of the protocol (`oauth::error_answer`), and the first row that fits over later
//! ones. Invariant: an outage or throttling (5xx, 429) says nothing of grant or app, so only a row that names that
//! status reads it.

use serde_json::Value;

use super::{Platform, text};
use crate::domain::failure::Failure;
use crate::domain::platform_error::Step;

/// Codes that blame the OAuth app's credentials, at any endpoint: RFC 6749, Google, GitHub, HubSpot, Slack.
pub const OF_CLIENT: &[&str] = &[
    "bad_client_id",
    "bad_client_secret",
    "deleted_client",
    "disabled_client",
    "incorrect_client_credentials",
    "invalid_client",
    "invalid_client_id",
    "invalid_client_secret",
];

/// Codes that blame the callback URL registered with the app, at any endpoint: GitHub and Google, Slack, RFC 7591, Twitch
/// and Cognito.
pub const OF_CALLBACK_URL: &[&str] =
    &["bad_redirect_uri", "invalid_redirect_uri", "redirect_mismatch", "redirect_uri_mismatch"];

/// Codes of an outage. Google sends the second with status 400, Slack the last three with status 200.
pub const OF_OUTAGE: &[&str] = &[
    "internal_error",
    "internal_failure",
    "server_error",
    "temporarily_unavailable",
    "fatal_error",
    "request_timeout",
    "service_unavailable",
];

/// Codes of throttling. Slack sends two of them with status 200.
pub const OF_THROTTLING: &[&str] = &["rate_limit_exceeded", "rate_limited", "ratelimited", "slow_down"];

/// Codes that mean that the account's owner declined. The first is RFC 6749's, the second Threads' spelling of it; two are
/// LinkedIn's, and the last is the `error_reason` of Meta's platforms.
const DENIALS: &[&str] =
    &["access_denied", "acceess_denied", "user_cancelled_authorize", "user_cancelled_login", "user_denied"];

/// Where a platform refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At its API, when it is asked who connected.
    Api,
    /// At its authorize endpoint: the browser comes back without a code.
    Authorize,
    /// At the code exchange, and the exchange for a long-lived token.
    Exchange,
    Refresh,
    /// At [`Exchange`](Self::Exchange) and [`Refresh`](Self::Refresh) alike.
    Token,
    /// At [`Token`](Self::Token) and [`Api`](Self::Api) alike.
    TokenOrApi,
}

/// The meaning of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The account's owner declined. Only at [`Place::Authorize`].
    Denied,
    Failed(Failure),
}

impl Meaning {
    /// The meaning of a callback without a code, as far as the standard's codes tell (RFC 6749, section 4.1.2.1).
    #[must_use]
    pub fn of_callback(said: &Said) -> Self {
        let is = |codes: &[&str]| codes.iter().any(|code| said.has(code));
        if is(DENIALS) {
            return Self::Denied;
        }
        Self::Failed(if is(OF_OUTAGE) {
            Failure::PlatformUnavailable
        } else if is(OF_CLIENT) {
            Failure::CredentialsRejected
        } else if is(OF_CALLBACK_URL) {
            Failure::CallbackUrlRejected
        } else {
            Failure::AuthorizationRefused
        })
    }
}

/// One documented refusal. What a row leaves empty it does not ask for.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    pub at: Place,
    /// Name codes as well at the token endpoint: a row that has only this wins over `invalid_grant` and `invalid_client`.
    pub status: Option<u16>,
    /// Any of these words or numbers, wherever the platform puts it: `error`, `code`, `reason`, `title`, `type` ….
    pub codes: &'static [&'static str],
    /// Any number from the first to the last.
    pub between: Option<(u32, u32)>,
    pub subcodes: &'static [&'static str],
    /// All of these, in lower case, in what the platform says to people.
    pub words: &'static [&'static str],
    pub means: Meaning,
    /// The page or thread that says so, and when it was read.
    pub source: &'static str,
}

impl Refusal {
    const fn new(at: Place, means: Meaning, source: &'static str) -> Self {
        Self { at, status: None, codes: &[], between: None, subcodes: &[], words: &[], means, source }
    }

    pub(super) const fn api(means: Failure, source: &'static str) -> Self {
        Self::new(Place::Api, Meaning::Failed(means), source)
    }

    pub(super) const fn authorize(means: Failure, source: &'static str) -> Self {
        Self::new(Place::Authorize, Meaning::Failed(means), source)
    }

    pub(super) const fn denial(source: &'static str) -> Self {
        Self::new(Place::Authorize, Meaning::Denied, source)
    }

    pub(super) const fn exchange(means: Failure, source: &'static str) -> Self {
        Self::new(Place::Exchange, Meaning::Failed(means), source)
    }

    pub(super) const fn refresh(means: Failure, source: &'static str) -> Self {
        Self::new(Place::Refresh, Meaning::Failed(means), source)
    }

    pub(super) const fn token(means: Failure, source: &'static str) -> Self {
        Self::new(Place::Token, Meaning::Failed(means), source)
    }

    pub(super) const fn token_or_api(means: Failure, source: &'static str) -> Self {
        Self::new(Place::TokenOrApi, Meaning::Failed(means), source)
    }

    /// True when this row is about an answer with this status at this step; `None`: about a callback.
    fn fits(&self, step: Option<Step>, status: u16, said: &Said) -> bool {
        let is_there = match step {
            None => self.at == Place::Authorize,
            Some(Step::Accounts | Step::Identity) => matches!(self.at, Place::Api | Place::TokenOrApi),
            Some(Step::CodeExchange | Step::LongLivedExchange) => {
                matches!(self.at, Place::Exchange | Place::Token | Place::TokenOrApi)
            }
            Some(Step::Refresh) => matches!(self.at, Place::Refresh | Place::Token | Place::TokenOrApi),
            Some(
                Step::Discovery
                | Step::Keys
                | Step::PushedAuthorization
                | Step::Registration
                | Step::Revocation
                | Step::Scopes,
            ) => false,
        };
        // A firewall's or a proxy's page says nothing but its status.
        let is_by_status =
            self.codes.is_empty() && self.between.is_none() && self.subcodes.is_empty() && self.words.is_empty();
        let has_status = self.status.map_or_else(|| says_something(status), |wanted| wanted == status);
        let has_code = match self.between {
            None => self.codes.is_empty() || self.codes.iter().any(|code| said.has(code)),
            Some((first, last)) => {
                said.codes.iter().filter_map(|code| code.parse().ok()).any(|code| (first..=last).contains(&code))
            }
        };
        let has_subcode =
            self.subcodes.is_empty() || said.subcode.as_deref().is_some_and(|subcode| self.subcodes.contains(&subcode));
        is_there
            && has_status
            && !(said.is_page && is_by_status)
            && has_code
            && has_subcode
            && self.words.iter().all(|words| said.message.contains(words))
    }
}

/// An operator's word for what a platform's code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Blame {
    /// The OAuth app's credentials.
    App,
    /// The account: its owner reconnects.
    Reconnect,
    /// Nobody: the same request may work later.
    Retry,
}

impl Blame {
    /// The failure of a connection whose callback has a code with this meaning.
    const fn at_callback(self) -> Failure {
        match self {
            Self::App => Failure::CredentialsRejected,
            Self::Reconnect => Failure::ExchangeRejected,
            Self::Retry => Failure::PlatformUnavailable,
        }
    }

    const fn at(self, step: Step) -> Failure {
        match (self, step) {
            (Self::App, _) => Failure::CredentialsRejected,
            (Self::Retry, _) => Failure::PlatformUnavailable,
            (Self::Reconnect, Step::CodeExchange | Step::LongLivedExchange) => Failure::ExchangeRejected,
            (Self::Reconnect, Step::Accounts | Step::Identity) => Failure::PermissionMissing,
            // Before the account's owner is asked, there is no account to connect again.
            (Self::Reconnect, Step::Discovery | Step::Keys | Step::PushedAuthorization | Step::Registration) => {
                Failure::AuthorizationRefused
            }
            (Self::Reconnect, Step::Refresh | Step::Revocation | Step::Scopes) => Failure::RefreshRejected,
        }
    }
}

/// The meaning of a refusal at this step by the operator's own list. `status`: of the answer, if there was one.
#[must_use]
pub fn read_errors(errors: &[(String, Blame)], step: Step, status: Option<u16>, said: &Said) -> Option<Failure> {
    // Some servers send every refusal with 500.
    let is_refusal = status.is_none_or(|status| says_something(status) || status == 500);
    is_refusal.then(|| blamed(errors, said)).flatten().map(|blame| blame.at(step))
}

/// False for throttling and an outage: such an answer says nothing of the grant or the app.
const fn says_something(status: u16) -> bool {
    status != 429 && status < 500
}

fn blamed(errors: &[(String, Blame)], said: &Said) -> Option<Blame> {
    let is_said = |code: &str| said.has(code) || said.subcode.as_deref() == Some(code);
    errors.iter().find(|(code, _)| is_said(code)).map(|(_, blame)| *blame)
}

impl Platform {
    /// The meaning of an error answer by the operator's list, else by the platform's documentation.
    #[must_use]
    pub fn refused(&self, step: Step, status: u16, said: &Said) -> Option<Failure> {
        read_errors(&self.errors, step, Some(status), said).or_else(|| self.documented(step, status, said))
    }

    fn documented(&self, step: Step, status: u16, said: &Said) -> Option<Failure> {
        self.rows().find(|row| row.fits(Some(step), status, said)).and_then(|row| match row.means {
            Meaning::Denied => None,
            Meaning::Failed(failure) => Some(failure),
        })
    }

    /// The meaning of a callback without a code, by the operator's list, else by the platform's documentation.
    #[must_use]
    pub fn declined(&self, said: &Said) -> Meaning {
        if let Some(blame) = blamed(&self.errors, said) {
            return Meaning::Failed(blame.at_callback());
        }
        let documented = self.rows().find(|row| row.fits(None, 0, said));
        documented.map_or_else(|| Meaning::of_callback(said), |row| row.means)
    }

    /// The documented refusals, the platform's own before those that it shares.
    fn rows(&self) -> impl Iterator<Item = &'static Refusal> {
        self.refusals.iter().copied().flatten()
    }
}

/// The parts of an error answer that tell refusals apart.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Said {
    /// Every code in the answer.
    pub codes: Vec<String>,
    pub subcode: Option<String>,
    /// Everything that the answer says to people, in lower case; never kept.
    pub message: String,
    /// True for a page in the place of an answer: a firewall or a proxy may have written it.
    pub is_page: bool,
}

impl Said {
    /// The codes of an answer of any shape, but for the URLs that name a kind of problem.
    #[must_use]
    pub fn codes_of(answer: &Value) -> Vec<String> {
        let at = |pointer: &&str| text(answer, pointer);
        let mut codes: Vec<String> = CODES.iter().filter_map(at).collect();
        for errors in ["/error/errors", "/error/details", "/errors"] {
            for error in answer.pointer(errors).and_then(Value::as_array).into_iter().flatten() {
                codes.extend(["/reason", "/code", "/title", "/error"].iter().filter_map(|code| text(error, code)));
                // Strava names the same resource in refusals and of a spent quota: only both tell what is wrong.
                if let (Some(resource), Some(code)) = (text(error, "/resource"), text(error, "/code")) {
                    codes.push(format!("{resource}.{code}"));
                }
                codes.extend(text(error, "/metadata/quota_limit_value").map(|limit| format!("quota_limit={limit}")));
            }
        }
        codes.extend(Self::listed(answer));
        // A word, where others repeat the status or say that there is an error.
        codes.extend(answer.get("status").and_then(Value::as_str).map(str::to_owned));
        codes
    }

    /// Codes in lists of errors, under their rarer names.
    fn listed(answer: &Value) -> Vec<String> {
        let lists = ["/error", "/errors", "/0/error/errors", "/0/error/details"];
        let errors = lists.iter().filter_map(|list| answer.pointer(list)?.as_array()).flatten();
        let codes = errors.flat_map(|error| {
            let names = ["/error_code", "/errorCode", "/errorType", "/reason", "/subcode"];
            let members = names.iter().filter_map(|name| text(error, name));
            members.chain(error.as_str().map(str::to_owned)).collect::<Vec<_>>()
        });
        codes.collect()
    }

    /// Reads an answer of any shape.
    #[must_use]
    pub fn read(answer: &Value) -> Self {
        let at = |pointer: &&str| text(answer, pointer);
        let mut codes = Self::codes_of(answer);
        // In a success, they may be anything's.
        codes.extend(["/data/error_code", "/detail/code"].iter().filter_map(at));
        // X identifies a problem by a URL (RFC 9457).
        let types = ["/type", "/error/type", "/errors/0/type"].iter().filter_map(at);
        let types = types.filter(|kind| kind != "about:blank");
        codes.extend(types.filter_map(|kind| kind.rsplit('/').next().map(str::to_owned)));
        // Meta's, beside any code.
        let is_transient = answer.pointer("/error/is_transient") == Some(&Value::Bool(true));
        codes.extend(is_transient.then(|| "is_transient".to_owned()));
        let message: Vec<String> = MESSAGES.iter().filter_map(at).collect();
        let subcode = SUBCODES.iter().find_map(at);
        Self { codes, subcode, message: message.join("\n").to_lowercase(), is_page: false }
    }

    /// The codes of a callback.
    #[must_use]
    pub fn with_codes(codes: Vec<String>) -> Self {
        Self { codes, ..Self::default() }
    }

    /// True when this code is anywhere in the answer, in whatever case: an environment variable's name has no case of its
    /// own, and it may name a code of the operator's.
    #[must_use]
    pub fn has(&self, code: &str) -> bool {
        let is_noise = |c: char| c.is_whitespace() || c == char::REPLACEMENT_CHARACTER;
        self.codes.iter().any(|said| said.trim_matches(is_noise).eq_ignore_ascii_case(code))
    }
}

/// Where platforms put a code.
const CODES: &[&str] = &[
    "/error",
    "/error/status",
    "/error/code",
    "/code",
    "/error_type",
    "/error_code",
    "/serviceErrorCode",
    "/errcode",
    "/reason",
    "/title",
    "/error/reason",
    "/errors/0/resource",
    "/error/error_code",
    "/error/error",
    "/error/details/code",
    "/error/name",
    "/error/title",
    "/error/.tag",
    "/error_reason",
    "/errorCode",
    "/error_codes/0",
    "/0/error",
    "/0/error/status",
    "/0/error/code",
    "/meta/error_type",
];

/// Where platforms put what tells codes apart further.
const SUBCODES: &[&str] =
    &["/error/error_subcode", "/error_subcode", "/error/subcode", "/subcode", "/suberror", "/error_subtype"];

/// Where platforms put a sentence.
const MESSAGES: &[&str] = &[
    "/error_description",
    "/error/message",
    "/error_message",
    "/message",
    "/detail",
    "/errors/0/message",
    "/errors/0/detail",
    "/0/error/message",
    "/error/error_description",
    "/error/error_msg",
    "/errmsg",
    "/meta/error_message",
    "/data",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::platforms::BUILT_IN;

    #[test]
    fn every_refusal_is_recognised_by_something_and_has_a_source_with_a_date() {
        let own = crate::platforms::CustomPlatform::default().platform(None);
        for platform in BUILT_IN.iter().map(|definition| definition()).chain([own]) {
            for row in platform.rows() {
                let is_narrow = row.status.is_some()
                    || row.between.is_some()
                    || ![row.codes, row.subcodes, row.words].iter().all(|list| list.is_empty());
                assert!(is_narrow, "{}: {row:?}", platform.name);
                let year = row.source.rsplit([' ', ',']).next().and_then(|date| date.split('-').next());
                assert!(year.is_some_and(|year| year.parse::<u16>().is_ok()), "{}: {row:?}", platform.name);
                assert!(row.words.iter().all(|words| *words == words.to_lowercase()), "{}: {row:?}", platform.name);
                assert_eq!(row.at == Place::Authorize && row.means == Meaning::Denied, row.means == Meaning::Denied);
            }
        }
    }

    #[test]
    fn a_callback_blames_whom_its_code_names() {
        for (code, expected) in [
            ("acceess_denied", Meaning::Denied),
            ("access_denied", Meaning::Denied),
            ("user_cancelled_authorize", Meaning::Denied),
            ("user_cancelled_login", Meaning::Denied),
            ("user_denied", Meaning::Denied),
            ("bad_redirect_uri", Meaning::Failed(Failure::CallbackUrlRejected)),
            ("deleted_client", Meaning::Failed(Failure::CredentialsRejected)),
            ("invalid_client", Meaning::Failed(Failure::CredentialsRejected)),
            ("invalid_scope", Meaning::Failed(Failure::AuthorizationRefused)),
            ("redirect_mismatch", Meaning::Failed(Failure::CallbackUrlRejected)),
            ("redirect_uri_mismatch", Meaning::Failed(Failure::CallbackUrlRejected)),
            ("server_error", Meaning::Failed(Failure::PlatformUnavailable)),
            ("internal_failure", Meaning::Failed(Failure::PlatformUnavailable)),
            ("unauthorized_client", Meaning::Failed(Failure::AuthorizationRefused)),
        ] {
            assert_eq!(Meaning::of_callback(&Said::with_codes(vec![code.to_owned()])), expected, "{code}");
        }
    }

    #[test]
    fn codes_are_found_wherever_platforms_put_them() {
        for answer in [
            json!({"error": "x"}),
            json!({"error": {"status": "x"}}),
            json!({"error": {"errors": [{"domain": "d"}, {"reason": "x"}]}}),
            json!({"error": {"details": [{"reason": "x"}]}}),
            json!({"errors": [{"code": "x"}]}),
            json!({"code": "x"}),
            json!({"reason": "x"}),
            json!({"title": "x"}),
            json!({"type": "https://api.x.com/2/problems/x"}),
            json!({"error_type": "x"}),
            json!({"errors": [{"resource": "x"}]}),
            // HubSpot, VK and Fitbit.
            json!({"status": "x", "message": "missing or unknown refresh token"}),
            json!({"error": {"error_code": "x", "error_msg": "m"}}),
            json!({"errors": [{"errorType": "x", "message": "m"}], "success": false}),
            json!({"error_reason": "x"}),
            json!({"errorCode": "x"}),
            json!({"error": {"name": "x"}}),
            json!({"error": {"title": "x"}}),
            json!({"error_summary": "x/..", "error": {".tag": "x"}}),
            json!({"error": {"error": "x"}}),
            json!({"error": {"details": {"code": "x"}}}),
            json!({"data": {"error_code": "x"}}),
            json!({"detail": {"code": "x"}}),
            json!({"error": ["x"]}),
            json!({"errors": ["x"]}),
            json!({"errors": [{"subcode": "x"}]}),
            json!([{"error": "x"}]),
            json!([{"error": {"errors": [{"reason": "x"}]}}]),
            json!({"meta": {"error_type": "x", "error_message": "m"}}),
            json!({"error": "x "}),
            json!({"error": "x\u{fffd}"}),
        ] {
            assert!(Said::read(&answer).has("x"), "{answer}");
        }
        for answer in [
            json!({"error": "invalid_request", "suberror": "x"}),
            json!({"error": "invalid_request", "error_subtype": "x"}),
            json!({"error": "invalid_request", "subcode": "x"}),
        ] {
            assert_eq!(Said::read(&answer).subcode.as_deref(), Some("x"), "{answer}");
        }
        let strava = json!({"errors": [{"resource": "Application", "field": "rate limit", "code": "exceeded"}]});
        assert!(Said::read(&strava).has("application.exceeded"));
        for answer in
            [json!(null), json!([]), json!("x"), json!({"error": {"errors": "x"}}), json!({"errors": [1, null]})]
        {
            assert!(Said::read(&answer).codes.is_empty(), "{answer}");
        }
        assert!(
            Said::read(&json!({"error": "TOKEN_Gone"})).has("token_gone"),
            "variables lose the case of their names"
        );
        let number = json!({"error": {"code": 190, "error_subcode": 458, "message": "Has NOT"}});
        let said = Said::read(&number);
        assert!(said.has("190") && said.subcode.as_deref() == Some("458") && said.message.contains("has not"));
    }

    #[test]
    fn the_operators_word_wins_in_a_callback_too() {
        let errors = [("access_denied", Blame::Retry), ("consent_required", Blame::App), ("login", Blame::Reconnect)];
        let definition = *BUILT_IN.first().unwrap();
        let errors = errors.map(|(code, blame)| (code.to_owned(), blame)).to_vec();
        let platform = Platform { errors, ..definition() };
        for (code, expected) in [
            ("access_denied", Failure::PlatformUnavailable),
            ("consent_required", Failure::CredentialsRejected),
            ("login", Failure::ExchangeRejected),
            ("invalid_scope", Failure::AuthorizationRefused),
        ] {
            let said = Said::with_codes(vec![code.to_owned()]);
            assert_eq!(platform.declined(&said), Meaning::Failed(expected), "{code}");
        }
    }

    #[test]
    fn the_operators_word_wins_over_the_documentation() {
        let errors =
            [("283".to_owned(), Blame::Retry), ("458".to_owned(), Blame::App), ("gone".to_owned(), Blame::Reconnect)];
        let read = |step, answer| read_errors(&errors, step, Some(400), &Said::read(&answer));
        assert_eq!(read(Step::Refresh, json!({"code": 283})), Some(Failure::PlatformUnavailable));
        let subcode = json!({"error": {"code": 190, "error_subcode": 458}});
        assert_eq!(read(Step::Refresh, subcode), Some(Failure::CredentialsRejected));
        for (step, failure) in [
            (Step::Refresh, Failure::RefreshRejected),
            (Step::CodeExchange, Failure::ExchangeRejected),
            (Step::Identity, Failure::PermissionMissing),
        ] {
            assert_eq!(read(step, json!({"error": "gone"})), Some(failure), "{step}");
        }
        assert_eq!(read(Step::Refresh, json!({"error": "other"})), None);
        let mut pinterest =
            BUILT_IN.iter().map(|definition| definition()).find(|found| found.name == "pinterest").unwrap();
        pinterest.errors = errors.to_vec();
        let said = Said::read(&json!({"code": 283}));
        assert_eq!(pinterest.refused(Step::Refresh, 401, &said), Some(Failure::PlatformUnavailable));
    }

    #[test]
    fn neither_throttling_nor_an_outage_is_read_by_the_operators_word() {
        let errors = [("app".to_owned(), Blame::App), ("gone".to_owned(), Blame::Reconnect)];
        for platform in BUILT_IN.iter().map(|definition| Platform { errors: errors.to_vec(), ..definition() }) {
            for step in [Step::Accounts, Step::CodeExchange, Step::Identity, Step::LongLivedExchange, Step::Refresh] {
                for (code, status) in [("app", 429), ("app", 503), ("gone", 429), ("gone", 502), ("gone", 599)] {
                    let read = platform.refused(step, status, &Said::read(&json!({"errors": [{"code": code}]})));
                    assert_eq!(read, None, "{} {step} {status} {code}", platform.name);
                }
            }
        }
        let said = Said::with_codes(vec!["gone".to_owned()]);
        assert_eq!(read_errors(&errors, Step::Refresh, Some(429), &said), None);
        assert_eq!(read_errors(&errors, Step::Refresh, None, &said), Some(Failure::RefreshRejected));
    }
}
