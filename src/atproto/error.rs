//! Errors of connecting an account. None carries a password, a token or the body of an answer.

use std::fmt;
use std::time::Duration;

use super::handle::InvalidIdentifier;
use crate::outbound::{self, Refused};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the account is {0}")]
    AccountInactive(AccountState),
    /// The password is the account's own.
    #[error("the password is the account's own, not an app password")]
    AppPasswordRequired,
    #[error("the account's server rejected identifier and password")]
    CredentialsRejected,
    /// The server began a session of another account than the requested one.
    #[error("the account's server answered for another account")]
    DidMismatch,
    #[error("the identity was not found")]
    IdentityUnresolved(#[source] Unresolved),
    #[error(transparent)]
    InvalidIdentifier(#[from] InvalidIdentifier),
    #[error("the account's server failed")]
    PdsUnreachable(#[source] Trouble),
    #[error("the account's server asks for fewer requests")]
    Throttled { retry_after: Duration },
    /// The identity leads to a host that must not be called.
    #[error("the host must not be called: {0}")]
    UnsafeHost(Refused),
}

impl Error {
    /// True when the account's server cannot have received what was sent.
    #[must_use]
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::PdsUnreachable(Trouble::NoAnswer(error)) => error.is_before_sending(),
            Self::UnsafeHost(_) => true,
            _ => false,
        }
    }
}

/// The reason why an identity or its server was not found.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    #[error("the identity's document cannot be fetched")]
    DirectoryUnreachable(#[source] Trouble),
    #[error("the identity's document is malformed")]
    DocumentMalformed,
    #[error("the directory does not know the identity")]
    DidUnknown,
    #[error("the identity does not claim the handle")]
    HandleNotClaimed,
    #[error("neither DNS nor the handle's web server nor the resolver knows the handle")]
    HandleUnknown,
    #[error("the server that the identity's document names begins no sessions")]
    NoAccountServer,
    #[error("the identity's document names no server")]
    NoServer,
    /// No other place knows the handle, which the resolver might.
    #[error("the resolver cannot be asked about the handle")]
    ResolverUnreachable(#[source] Trouble),
    #[error("the search took too long")]
    TooSlow,
}

impl Unresolved {
    /// True when a server that it takes to look the account up failed, so that the account may exist.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::DirectoryUnreachable(_) | Self::ResolverUnreachable(_) | Self::TooSlow)
    }
}

/// How a server failed.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("there was no answer")]
    NoAnswer(#[source] outbound::Error),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer took too long")]
    TooSlow,
    #[error("the answer is unreadable")]
    Unreadable,
}

/// The reason why an account's session is useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    Deactivated,
    /// Signed up, and waiting to be admitted.
    Queued,
    Suspended,
    TakenDown,
    /// Not active, for an unknown reason.
    Unavailable,
}

impl AccountState {
    /// The state behind a server's word for it.
    pub(super) fn named(name: Option<&str>) -> Self {
        match name {
            Some("deactivated") => Self::Deactivated,
            Some("suspended") => Self::Suspended,
            Some("takendown") => Self::TakenDown,
            _ => Self::Unavailable,
        }
    }
}

impl fmt::Display for AccountState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deactivated => "deactivated",
            Self::Queued => "waiting to be let in",
            Self::Suspended => "suspended",
            Self::TakenDown => "taken down",
            Self::Unavailable => "not active",
        })
    }
}
