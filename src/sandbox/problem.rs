//! The mistakes that a platform can find in a request, before it words them.

use std::fmt;

use super::step::{Fault, Step};

/// Why a token, a code or a grant is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Dead {
    Expired,
    Revoked,
    /// Used before, where one use is allowed.
    Spent,
    Unknown,
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "has expired",
            Self::Revoked => "was revoked",
            Self::Spent => "was used before",
            Self::Unknown => "is not one of this client's",
        })
    }
}

/// A mistake in a request. `Display` is for the person who debugs the broker; each platform has its own words for the
/// broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// Unknown, or the wrong secret.
    Client,
    /// Authenticated not at all, or in a way that the platform does not take.
    ClientAuthentication(&'static str),
    Code(Dead),
    ContentType(String),
    GrantType(String),
    /// The platform has not approved the app for this API.
    NoQuota,
    /// A parameter that is missing, unknown, repeated, or has an invalid value.
    Parameter(String),
    RateLimited,
    RedirectUri,
    RefreshToken(Dead),
    /// The grant does not cover this scope.
    Scope(String),
    ServerError,
    Token(Dead),
    /// A long-lived token that is not yet a day old and cannot be renewed.
    TooYoung,
    Verifier,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("the client id is unknown or the secret is wrong"),
            Self::ClientAuthentication(wanted) => {
                write!(f, "the client did not authenticate the way this platform wants: {wanted}")
            }
            Self::Code(dead) => write!(f, "the code {dead}"),
            Self::ContentType(got) => write!(f, "the body's content type '{got}' is not taken here"),
            Self::GrantType(got) => write!(f, "the grant type '{got}' is not known here"),
            Self::NoQuota => f.write_str("this app has a quota of zero, as it was told to say"),
            Self::Parameter(what) => f.write_str(what),
            Self::RateLimited => f.write_str("too many requests, as it was told to say"),
            Self::RedirectUri => f.write_str("redirect_uri differs from the one of the authorize request"),
            Self::RefreshToken(dead) => write!(f, "the refresh token {dead}"),
            Self::Scope(scope) => write!(f, "the scope {scope} was not granted"),
            Self::ServerError => f.write_str("a server error, as it was told to say"),
            Self::Token(dead) => write!(f, "the access token {dead}"),
            Self::TooYoung => f.write_str("the token is less than 24 hours old and cannot be renewed yet"),
            Self::Verifier => f.write_str("code_verifier does not match the code_challenge of the authorize request"),
        }
    }
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
