//! The steps of a connection as a platform sees them, and the ways in which each can fail.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// Purpose of a request to the sandbox.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
#[strum(parse_err_ty = UnknownName, parse_err_fn = UnknownName::of_step)]
pub enum Step {
    /// The listing of accounts that the person manages.
    Accounts,
    /// The browser's arrival.
    Authorize,
    /// The person's decision.
    Consent,
    /// The DID document (Bluesky).
    DidDocument,
    /// The identity call.
    Identity,
    /// The call for a token's scopes.
    Inspect,
    /// The exchange of a short-lived token for a long-lived one.
    LongLived,
    /// The public profile (Bluesky).
    Profile,
    /// The renewal of tokens.
    Refresh,
    /// The DID of a handle (Bluesky).
    Resolve,
    /// The revocation of tokens.
    Revoke,
    /// A sign-in with a password (Bluesky).
    Session,
    /// The exchange of the code.
    Token,
}

impl Step {
    /// True for the platform's API, false for its OAuth endpoints.
    pub(super) const fn is_api(self) -> bool {
        matches!(self, Self::Accounts | Self::Identity | Self::Inspect | Self::Profile)
    }

    /// Names with commas, for messages.
    pub(super) fn names() -> String {
        Self::VARIANTS.iter().map(Self::into_str).collect::<Vec<_>>().join(", ")
    }
}

/// A word that names no step or fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not known here: use one of {1}")]
pub struct UnknownName(pub String, pub String);

/// A platform that the sandbox does not imitate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox does not imitate '{0}': it has {1}")]
pub struct UnknownPlatform(pub String, pub String);

impl UnknownName {
    fn of_step(text: &str) -> Self {
        Self(text.to_owned(), Step::names())
    }
}

/// How a request fails. Only with [`Fault::Lost`] and [`Fault::Slow`] does the platform carry it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Fault {
    /// The connection is closed without an answer, and the request is not carried out.
    Drop,
    /// 200 with an empty body.
    Empty,
    /// The platform says that the code, the refresh token or the access token has expired.
    Expired,
    /// 200 with truncated JSON.
    Garbage,
    /// No answer on an open connection, until the client gives up. The request is not carried out.
    Hang,
    /// 200 with an HTML page.
    Html,
    /// The request is carried out, then the connection is closed without an answer.
    Lost,
    /// 429 because the platform has not approved the app: Google's quota of zero. Like [`Fault::RateLimited`] at other
    /// platforms.
    NoQuota,
    /// 200 with the platform's error body.
    OkError,
    /// 200 with 16 MiB of JSON.
    Oversized,
    /// 429 with `Retry-After: 30`.
    #[strum(to_string = "429")]
    RateLimited,
    /// The platform says that the person revoked the grant.
    Revoked,
    /// 500.
    #[strum(to_string = "500")]
    ServerError,
    /// A good answer after this delay.
    Slow(Duration),
}

impl Fault {
    /// Delay of [`Fault::Slow`] where none is given.
    pub const DELAY: Duration = Duration::from_secs(3);

    /// The faults that end by themselves: all but [`Fault::Hang`].
    pub const ALL: [Self; 13] = [
        Self::Drop,
        Self::Empty,
        Self::Expired,
        Self::Garbage,
        Self::Html,
        Self::Lost,
        Self::NoQuota,
        Self::OkError,
        Self::Oversized,
        Self::RateLimited,
        Self::Revoked,
        Self::ServerError,
        Self::Slow(Self::DELAY),
    ];

    fn known() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Self::Hang])
    }

    /// Names with commas, for messages.
    pub(super) fn names() -> String {
        Self::known().map(|fault| fault.into_str()).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for Fault {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::known().find(|fault| fault.into_str() == text).ok_or_else(|| UnknownName(text.to_owned(), Self::names()))
    }
}
