//! The mistakes that a platform can find in a request, before it words them.

use super::step::{Fault, Step};

/// Why a token, a code or a grant is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum Dead {
    #[error("has expired")]
    Expired,
    #[error("was revoked")]
    Revoked,
    /// Used before, where one use is allowed.
    #[error("was used before")]
    Spent,
    #[error("is not one of this client's")]
    Unknown,
}

/// A mistake in a request. `Display` is for the person who debugs the broker; each platform has its own words for the
/// broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("the client id is unknown or the secret is wrong")]
    Client,
    /// Authenticated not at all, or in a way that the platform does not take.
    #[error("the client did not authenticate the way this platform wants: {0}")]
    ClientAuthentication(&'static str),
    #[error("the code {0}")]
    Code(Dead),
    #[error("the body's content type '{0}' is not taken here")]
    ContentType(String),
    #[error("the grant type '{0}' is not known here")]
    GrantType(String),
    /// The platform has not approved the app for this API.
    #[error("this app has a quota of zero, as it was told to say")]
    NoQuota,
    /// A parameter that is missing, unknown, repeated, or has an invalid value.
    #[error("{0}")]
    Parameter(String),
    #[error("too many requests, as it was told to say")]
    RateLimited,
    #[error("redirect_uri differs from the one of the authorize request")]
    RedirectUri,
    #[error("the refresh token {0}")]
    RefreshToken(Dead),
    /// The grant does not cover this scope.
    #[error("the scope {0} was not granted")]
    Scope(String),
    #[error("a server error, as it was told to say")]
    ServerError,
    #[error("the access token {0}")]
    Token(Dead),
    /// A long-lived token that is not yet a day old.
    #[error("the token is less than 24 hours old and cannot be renewed yet")]
    TooYoung,
    #[error("code_verifier does not match the code_challenge of the authorize request")]
    Verifier,
}

impl Problem {
    /// The problem that a fault imitates at this step; `None` for faults of transport.
    pub(super) fn of(fault: Fault, step: Step) -> Option<Self> {
        let dead = match fault {
            Fault::Expired => Dead::Expired,
            Fault::OkError | Fault::Revoked => Dead::Revoked,
            Fault::NoQuota => return Some(Self::NoQuota),
            Fault::RateLimited => return Some(Self::RateLimited),
            Fault::ServerError => return Some(Self::ServerError),
            Fault::Drop
            | Fault::Empty
            | Fault::Garbage
            | Fault::Hang
            | Fault::Html
            | Fault::Lost
            | Fault::Oversized
            | Fault::Slow(_) => return None,
        };
        Some(match step {
            Step::Refresh => Self::RefreshToken(dead),
            Step::Authorize | Step::Consent | Step::Token => Self::Code(dead),
            Step::Accounts
            | Step::DidDocument
            | Step::Identity
            | Step::Inspect
            | Step::LongLived
            | Step::Profile
            | Step::Resolve
            | Step::Revoke
            | Step::Session => Self::Token(dead),
        })
    }
}

/// A problem with the step where it occurred, for a platform to word.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    pub(super) problem: &'a Problem,
    pub(super) step: Step,
    /// Random id, for platforms that number each error (`log_id`, `fbtrace_id`).
    pub(super) trace: &'a str,
}
