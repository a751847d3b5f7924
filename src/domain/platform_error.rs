//! The error of both protocol engines: which platform, at which step, what its answer means, and what to do next.
//!
//! The meaning is decided once, where the answer is read. Invariant: nothing of an answer's body is kept but a short
//! code made of harmless characters: what a platform says to people may repeat a secret, or name somebody.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::echo::Code;
use super::failure::{Failure, Help};

/// A step at which a platform is asked. [`Step::into_str`] is its label in `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Step {
    Accounts,
    CodeExchange,
    Discovery,
    Identity,
    Keys,
    LongLivedExchange,
    PushedAuthorization,
    Refresh,
    Registration,
    Revocation,
    Scopes,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accounts => "listing of accounts",
            Self::CodeExchange => "code exchange",
            Self::Discovery => "discovery",
            Self::Identity => "identity call",
            Self::Keys => "fetch of signing keys",
            Self::LongLivedExchange => "exchange for a long-lived token",
            Self::PushedAuthorization => "pushed authorization request",
            Self::Refresh => "refresh",
            Self::Registration => "registration of the app",
            Self::Revocation => "revocation",
            Self::Scopes => "call for the granted scopes",
        })
    }
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{platform}, {step}: {}{}", failure.code(), self.answered_with())]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct PlatformError {
    /// The platform's name in the configuration.
    pub platform: String,
    pub step: Step,
    pub failure: Failure,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The platform's own code for the failure.
    pub code: Option<Code>,
    /// The shortest wait that the platform asks for before the next request.
    pub retry_after: Option<Duration>,
    /// True when the platform may have done what it was asked, although its answer does not say so.
    pub may_have_acted: bool,
    /// True when a stored success turned out to hold this failure: nothing more can be learned from its body.
    pub is_in_answer: bool,
    /// True where the broker's own machine failed before it sent anything: the platform is not to blame.
    pub is_ours: bool,
    /// True for an answer that is not in the platform's format: something in front of it may have written that.
    pub is_page: bool,
    /// True for a success of which only the beginning came.
    pub is_cut_off: bool,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl PlatformError {
    /// A failure without an answer: the platform was not asked.
    #[must_use]
    pub fn new(platform: &str, step: Step, failure: Failure) -> Self {
        Self {
            platform: platform.to_owned(),
            step,
            failure,
            status: None,
            code: None,
            retry_after: None,
            may_have_acted: false,
            is_in_answer: false,
            is_ours: false,
            is_page: false,
            is_cut_off: false,
            source: None,
        }
    }

    /// A success that was cut off, and that nobody can read for that.
    #[must_use]
    pub fn cut_off(platform: &str, step: Step) -> Self {
        let cut_off = Self::new(platform, step, Failure::PlatformUnavailable).caused_by("the answer was cut off");
        Self { may_have_acted: true, is_cut_off: true, ..cut_off }
    }

    #[must_use]
    pub fn answered(self, status: u16, code: Option<Code>) -> Self {
        // A gateway says 502 or 504 of an answer that it did not pass on.
        Self { status: Some(status), code, may_have_acted: status >= 500, ..self }
    }

    /// The failure was read from the body of a success. A body that cannot be read may hold what was asked for.
    #[must_use]
    pub fn in_answer(self) -> Self {
        let is_unreadable = self.failure == Failure::PlatformAnswerUnreadable;
        Self { may_have_acted: is_unreadable, is_in_answer: !is_unreadable, ..self }
    }

    #[must_use]
    pub fn retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The failure that the connection ends with. Whatever else keeps an account from being named is a failure of
    /// identity.
    #[must_use]
    pub fn of_connection(&self) -> Failure {
        match (self.step, self.failure) {
            (Step::Accounts | Step::Identity, Failure::PlatformAnswerUnreadable) => Failure::IdentityUnavailable,
            (Step::Accounts | Step::Identity, failure) if !Failure::OF_CONNECTION.contains(&failure) => {
                Failure::IdentityUnavailable
            }
            (_, failure) => failure,
        }
    }

    /// Who can end a failure of this kind, with what is known of this one.
    #[must_use]
    pub const fn who_can_help(&self, kind: Failure) -> Help {
        if self.is_ours { Help::Operator } else { kind.who_can_help() }
    }

    /// The operator's next step, for the log. `console`: the page where the operator manages the app, if there is one.
    #[must_use]
    pub fn next_step(&self, console: Option<&str>) -> String {
        if self.is_ours {
            return OUT_OF_SOCKETS.to_owned();
        }
        if self.failure == Failure::PlatformUnavailable && self.status.is_none() {
            return UNREACHED.to_owned();
        }
        if self.failure == Failure::AuthorizationRefused && self.step == Step::CodeExchange {
            // A built-in platform's section has no token_body.
            let keys = if console.is_some() { "token_url" } else { "token_url, token_body" };
            return MALFORMED.replace("{keys}", keys).replace("{platform}", &self.platform);
        }
        let settings = match (console, self.step) {
            (Some(_), _) => "token_url and api_url",
            (None, Step::Accounts | Step::Identity | Step::Scopes) => "identity_url and identity",
            (None, Step::PushedAuthorization) => "par_url",
            (None, Step::Discovery | Step::Keys | Step::Registration) => "issuer",
            (None, Step::Revocation) => "revoke_url",
            (None, Step::CodeExchange | Step::LongLivedExchange | Step::Refresh) => "token_url and token_pointer",
        };
        self.failure.next_step_with(settings, &self.platform, console)
    }

    fn answered_with(&self) -> String {
        match (self.status, &self.code) {
            (None, _) => String::new(),
            (Some(status), None) => format!(" (HTTP {status})"),
            (Some(status), Some(code)) => format!(" (HTTP {status}, {code})"),
        }
    }
}

/// The next step where there was no answer at all: the fault may be on this side.
const UNREACHED: &str = "If it goes on, see that the broker's machine reaches the platform (its URLs, DNS, the network, \
                         outbound.proxy) and trusts its certificate (SSL_CERT_FILE). Refreshes are retried automatically, and \
                         a connection can be started again later.";

/// The next step where this machine gave the broker no socket.
const OUT_OF_SOCKETS: &str = "The broker's machine gives it no further connection: raise its limit of open files \
                              (LimitNOFILE= of its unit, `ulimit -n`), or find what uses up the files or the memory of the \
                              machine. Refreshes are retried automatically, and a connection can be started again later.";

/// The next step where the platform blames the form of the code exchange.
const MALFORMED: &str = "Compare {keys}, token_params, client_auth and scopes of [platforms.{platform}] with the \
                         platform's documentation: it does not take the code exchange in this form.";

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;
    use crate::domain::echo::Sent;

    #[test]
    fn the_sentence_says_platform_step_failure_and_answer() {
        let error = PlatformError::new("tiktok", Step::CodeExchange, Failure::CredentialsRejected);
        assert_eq!(error.to_string(), "tiktok, code exchange: credentials_rejected");
        let error = error.answered(200, Sent::default().code("invalid_client"));
        assert_eq!(error.to_string(), "tiktok, code exchange: credentials_rejected (HTTP 200, invalid_client)");
    }

    #[test]
    fn a_connection_ends_with_a_failure_that_its_caller_knows() {
        for &failure in Failure::VARIANTS {
            for step in [Step::Accounts, Step::Identity] {
                let told = PlatformError::new("acme", step, failure).of_connection();
                assert!(Failure::OF_CONNECTION.contains(&told), "{step} {failure:?}");
            }
        }
        for (step, failure, told) in [
            (Step::Identity, Failure::PlatformThrottled, Failure::PlatformThrottled),
            (Step::Identity, Failure::PlatformUnavailable, Failure::PlatformUnavailable),
            (Step::Identity, Failure::PlatformAnswerUnreadable, Failure::IdentityUnavailable),
            (Step::Accounts, Failure::ApiVersionRetired, Failure::ApiVersionRetired),
            (Step::Accounts, Failure::AccessNotApproved, Failure::AccessNotApproved),
            (Step::Identity, Failure::NoAccount, Failure::NoAccount),
            (Step::Identity, Failure::PermissionMissing, Failure::PermissionMissing),
            (Step::CodeExchange, Failure::PlatformThrottled, Failure::PlatformThrottled),
            (Step::LongLivedExchange, Failure::ExchangeRejected, Failure::ExchangeRejected),
        ] {
            assert_eq!(PlatformError::new("acme", step, failure).of_connection(), told, "{step} {failure:?}");
        }
    }

    #[test]
    fn the_next_step_names_settings_that_the_platform_has() {
        let next =
            |step, console| PlatformError::new("acme", step, Failure::PlatformAnswerUnreadable).next_step(console);
        let console = Some("https://acme.example");
        for (step, console, settings) in [
            (Step::Identity, console, "check token_url and api_url of [platforms.acme];"),
            (Step::Identity, None, "check identity_url and identity of [platforms.acme];"),
            (Step::PushedAuthorization, None, "check par_url of [platforms.acme];"),
            (Step::CodeExchange, None, "check token_url and token_pointer of [platforms.acme];"),
        ] {
            assert!(next(step, console).contains(settings), "{}", next(step, console));
        }
        let of_callback = Failure::PlatformAnswerUnreadable.next_step("acme", None);
        assert!(of_callback.contains("check issuer, token_url and identity_url of [platforms.acme];"), "{of_callback}");
    }

    #[test]
    fn the_next_step_at_an_operators_own_platform_names_the_settings_that_decide() {
        for (step, failure, settings) in [
            (Step::CodeExchange, Failure::AppOrGrantRejected, "client_auth (\"body\" or \"basic\")"),
            (Step::Refresh, Failure::CredentialsRejected, "private_key_audience"),
            (Step::Identity, Failure::PermissionMissing, "identity_url, identity_method and identity_headers"),
            (Step::Identity, Failure::IdentityUnavailable, "identity_method"),
            (Step::Identity, Failure::IdTokenRejected, "without issuer"),
            (Step::PushedAuthorization, Failure::AuthorizationRefused, "pkce or authorize_params"),
            (Step::PushedAuthorization, Failure::AuthorizationRefused, "openid, profile and offline_access"),
            (Step::Refresh, Failure::RequestRefused, "SIGHUP"),
            (Step::CodeExchange, Failure::PlatformAnswerUnreadable, "SIGHUP"),
        ] {
            let next = |console| PlatformError::new("acme", step, failure).next_step(console);
            assert!(next(None).contains(settings), "{}", next(None));
            assert!(!next(Some("https://acme.example")).contains(settings), "{step} {failure:?}");
        }
    }

    #[test]
    fn a_platform_that_did_not_answer_may_be_out_of_reach_from_here() {
        let error = || PlatformError::new("acme", Step::CodeExchange, Failure::PlatformUnavailable);
        assert!(error().next_step(None).contains("SSL_CERT_FILE"));
        assert!(error().answered(503, None).next_step(None).starts_with("Nothing to do"));
    }
}
