//! Errors as callers see them: the table of stable codes. `from_broker` maps each outcome of a use case to one of them.
//!
//! `envelope` renders an error, with the request id, and logs its source. Invariant: callers read only sentences of
//! this table and others that were written for callers, never the words of serde, SQLite or a platform.

mod advice;
mod from_broker;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use strum::VariantArray;
use utoipa::ToSchema;

type Source = Box<dyn std::error::Error + Send + Sync>;

macro_rules! codes {
    ($($variant:ident = $status:ident, $code:literal, $sentence:literal;)*) => {
        /// A stable code with its HTTP status and its default sentence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($variant,)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)*
                }
            }

            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)*
                }
            }
        }
    };
}

codes! {
    AccessKeyExpired = UNAUTHORIZED, "access_key_expired", "The access key has expired. Ask the broker's operator for another one.";
    AccountInactive = BAD_REQUEST, "account_inactive", "The account is not active at its server, so it cannot be connected.";
    AccountMismatch = CONFLICT, "account_mismatch", "This is another account than the one that reconnect names, so nothing was connected or changed.";
    AccountNotOffered = BAD_REQUEST, "account_not_offered", "The choice must name accounts that are on offer, at least one and no others.";
    AddressNotAllowed = FORBIDDEN, "address_not_allowed", "The access key does not work from this address: it is bound to other networks.";
    AppInUse = CONFLICT, "app_in_use", "The app still has connected integrations. Disconnect them, or connect them again without it, first.";
    AppNotFound = NOT_FOUND, "app_not_found", "This project has no such app.";
    AppOfOtherPlatform = BAD_REQUEST, "app_platform_mismatch", "The app belongs to another platform.";
    AppPasswordRequired = BAD_REQUEST, "app_password_required", "That is the account's own password. Make an app password in the account's settings and use that one.";
    BindingRequired = BAD_REQUEST, "binding_required", "This broker starts no connection that any browser could finish: send bindingHash or completion=true, or let the operator set confirm under [connect].";
    BlueskyCredentialsRejected = UNAUTHORIZED, "bluesky_credentials_rejected", "The account's server does not accept this handle with this app password. Check both, or make a new app password.";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The request body is larger than 64 KiB.";
    BrowserMismatch = BAD_REQUEST, "browser_mismatch", "The connection was started in another browser, and only that one can finish it.";
    CallbackRefused = BAD_REQUEST, "callback_refused", "This answer from the platform belongs to no connection that is waiting for it.";
    CredentialsMissing = INTERNAL_SERVER_ERROR, "platform_not_configured", "The platform has no credentials here.";
    CrossSite = FORBIDDEN, "cross_site_request", "This request did not come from this service's own page.";
    DidMismatch = BAD_GATEWAY, "did_mismatch", "The account's server answered for another account, so nothing was connected or changed.";
    DuplicateApp = CONFLICT, "duplicate_app", "This project has an app with this platform and clientId already.";
    DuplicateIntegration = CONFLICT, "duplicate_integration", "The same account is connected under that profile already. Disconnect one of the two.";
    FlowEnded = CONFLICT, "flow_ended", "The connection ended without an account, so there is nothing to complete.";
    FlowNotFound = NOT_FOUND, "flow_not_found", "There is no such connection to complete: it was not completed in time, or never was.";
    FlowPending = CONFLICT, "flow_pending", "The browser has not come back from the platform, so there is nothing to complete yet.";
    HeadTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "The head of the request is larger than 16 KiB, or has more than 96 fields.";
    IdentityUnresolved = BAD_GATEWAY, "identity_unresolved", "The account was not found. Check the handle.";
    InsufficientScope = FORBIDDEN, "insufficient_scope", "The access key lacks a scope that this needs.";
    IntegrationNotFound = NOT_FOUND, "integration_not_found", "This project has no such integration.";
    Internal = INTERNAL_SERVER_ERROR, "internal_error", "The broker failed. The operator finds the cause in the log under this request id.";
    InvalidAccessKey = UNAUTHORIZED, "invalid_access_key", "Send a valid access key in exactly one x-access-key header.";
    InvalidIdentifier = BAD_REQUEST, "invalid_identifier", "The identifier is no handle such as alice.bsky.social.";
    InvalidJson = BAD_REQUEST, "invalid_json", "The body must be one JSON object in UTF-8, each member at most once.";
    InvalidParameter = BAD_REQUEST, "invalid_parameter", "A query parameter is out of bounds.";
    InvalidRequest = BAD_REQUEST, "invalid_request", "The request is malformed.";
    KeyBoundToProfile = FORBIDDEN, "key_bound_to_profile", "The access key is bound to a profile, and this concerns others too.";
    LimitReached = TOO_MANY_REQUESTS, "limit_reached", "There were too many requests of this kind. Wait as long as Retry-After says.";
    LinkEnded = GONE, "link_ended", "This connect link has expired or was revoked.";
    LinkNotFound = NOT_FOUND, "link_not_found", "This project has no such connect link, or it ended more than a day ago.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "This path does not take that method; the Allow header names those that it takes.";
    NotFound = NOT_FOUND, "not_found", "There is nothing at this path. /documentation lists what there is.";
    NotReady = SERVICE_UNAVAILABLE, "not_ready", "The broker cannot do its work at the moment.";
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "The broker has too much to do right now. Try again in a moment.";
    PdsUnreachable = BAD_GATEWAY, "pds_unreachable", "The account's server could not be reached, or failed. Try again in a moment.";
    PlatformNotAvailable = FORBIDDEN, "platform_not_available", "The platform is not available here.";
    PlatformUnreachable = BAD_GATEWAY, "platform_unavailable", "The platform could not be reached, or failed. Try again in a moment.";
    PrefetchRefused = SERVICE_UNAVAILABLE, "prefetch_refused", "A connection is finished when it is visited, not when it is prefetched or embedded.";
    ProfileNotFound = NOT_FOUND, "profile_not_found", "This project has no such profile.";
    ProjectNotFound = NOT_FOUND, "project_not_found", "There is no such project.";
    ReconnectRequired = UNPROCESSABLE_ENTITY, "reconnect_required", "The account has to be connected again by its owner.";
    RedirectNotAllowed = BAD_REQUEST, "redirect_not_allowed", "The redirect URI is not allowed.";
    RepeatedParameter = BAD_REQUEST, "repeated_parameter", "A query parameter is given more than once.";
    RequestTimeout = REQUEST_TIMEOUT, "request_timeout", "The request did not arrive in time.";
    SealedValueRejected = INTERNAL_SERVER_ERROR, "sealed_value_rejected", "A stored secret is damaged, so the broker does not use it; nothing else is affected. The operator finds which one in the log, under this request id.";
    SelectionNotFound = NOT_FOUND, "selection_not_found", "There is no such choice of accounts to make: it was made already, has expired, or never was.";
    StorageFull = INSUFFICIENT_STORAGE, "storage_full", "The broker's disk is full, so nothing can be changed until its operator makes room.";
    StorageUnavailable = SERVICE_UNAVAILABLE, "storage_unavailable", "The broker's database cannot be used at the moment, and nothing was changed. The operator finds the reason in the log, and at /readyz.";
    TokenTooShort = UNPROCESSABLE_ENTITY, "token_too_short", "The platform's access tokens do not last that long.";
    TokenUnavailable = SERVICE_UNAVAILABLE, "token_unavailable", "The access token has expired, and the platform gives no other at the moment.";
    TooManyAttempts = TOO_MANY_REQUESTS, "too_many_attempts", "There were too many attempts to connect this account. Wait a few minutes before the next.";
    TooManyFlows = TOO_MANY_REQUESTS, "too_many_pending_connections", "Too many connections are waiting to be finished. Try again later.";
    UnsafeHost = BAD_REQUEST, "unsafe_host", "The account's server is not one on the public internet, so it is not asked.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Send the body as Content-Type: application/json, without a Content-Encoding.";
    UriTooLong = URI_TOO_LONG, "uri_too_long", "The path and query are longer than 8 KiB.";
}

/// What went wrong, for a person in front of a page. Each language has its words for it (`pages::words`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
pub(crate) enum Trouble {
    /// The connection was finished before, with another answer.
    AlreadyFinished,
    /// The broker failed.
    Broken,
    /// It may work in a moment.
    Busy,
    /// There is no such choice of accounts any more.
    ChoiceGone,
    /// The callback cannot be read.
    Garbled,
    /// The platform, app, profile or account of a connection was removed or switched off.
    Gone,
    /// The connect link has expired.
    LinkExpired,
    /// The connect link was revoked.
    LinkRevoked,
    /// There is no such connect link.
    LinkUnknown,
    /// Another website sent the form.
    NotFromHere,
    NothingHere,
    /// The connection belongs to another browser.
    OtherBrowser,
    /// The same for one that was begun on the page of a connect link.
    OtherBrowserOfLink,
    /// The callback is another platform's.
    OtherPlatform,
    /// The browser loaded the page ahead of its user.
    Prefetched,
    /// The request makes no sense.
    Refused,
    /// The page that showed how a connection ended has expired.
    ResultGone,
    /// No connection waits for the callback.
    UnknownLink,
}

impl Trouble {
    fn of(code: Code) -> Self {
        match code {
            Code::BrowserMismatch => Self::OtherBrowser,
            Code::CallbackRefused => Self::UnknownLink,
            Code::CrossSite => Self::NotFromHere,
            Code::AppNotFound
            | Code::CredentialsMissing
            | Code::IntegrationNotFound
            | Code::PlatformNotAvailable
            | Code::ProfileNotFound
            | Code::ProjectNotFound => Self::Gone,
            Code::LinkEnded => Self::LinkRevoked,
            Code::LinkNotFound => Self::LinkUnknown,
            Code::MethodNotAllowed | Code::NotFound => Self::NothingHere,
            Code::LimitReached
            | Code::NotReady
            | Code::Overloaded
            | Code::RequestTimeout
            | Code::TooManyAttempts
            | Code::TooManyFlows => Self::Busy,
            Code::PrefetchRefused => Self::Prefetched,
            Code::SelectionNotFound => Self::ChoiceGone,
            code if code.status().is_server_error() => Self::Broken,
            _ => Self::Refused,
        }
    }
}

/// The value of `Retry-After`, in seconds. Rounded up: a caller that returns a fraction of a second early would be
/// refused again.
pub(crate) fn retry_after(after: Duration) -> String {
    after.as_millis().div_ceil(1000).to_string()
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Error)]
pub struct ErrorBody<'a> {
    /// What went wrong, for a person.
    pub error: &'a str,
    /// What went wrong, for a program: never changes.
    #[schema(example = "profile_not_found")]
    pub code: &'a str,
    /// The same as the header `x-request-id`: what to tell the operator.
    pub request_id: &'a str,
}

/// An error that is returned to the caller.
#[derive(Debug)]
pub struct ApiError {
    pub(crate) code: Code,
    pub(crate) sentence: Cow<'static, str>,
    /// What a page says about it.
    pub(crate) trouble: Trouble,
    pub(crate) retry_after: Option<Duration>,
    /// The value of `Allow`.
    pub(crate) allow: Option<String>,
    /// True when the rest of the request is not read and the connection is closed.
    pub(crate) close: bool,
    /// The cause, for the log only.
    pub(crate) source: Option<Source>,
}

impl ApiError {
    pub(crate) fn new(code: Code) -> Self {
        Self::with(code, code.sentence())
    }

    pub(crate) fn with(code: Code, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
            trouble: Trouble::of(code),
            retry_after: None,
            allow: None,
            close: false,
            source: None,
        }
    }

    /// An internal error: the caller learns only the request id.
    pub(crate) fn internal(source: impl Into<Source>) -> Self {
        Self::new(Code::Internal).because(source)
    }

    pub(crate) fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) const fn on_page(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }

    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Closes the connection after the response, without reading the rest of the request.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.sentence)
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    /// Empty: `envelope` finds the error in the response and writes the body, because it knows the request id.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.code.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_words_and_sentences_end_with_a_full_stop() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", code.as_str());
            assert!(code.sentence().ends_with('.'), "{}", code.sentence());
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }

    #[test]
    fn the_chain_lists_each_cause_once() {
        let cause = std::io::Error::other("disk on fire");
        let error = ApiError::internal(cause);
        insta::assert_snapshot!(crate::domain::error_chain::chain(&error), @"internal_error: The broker failed. The operator finds the cause in the log under this request id.: disk on fire");
    }
}
