//! Why an account was not connected. Nothing here carries a password, a token or the body of an answer.

use std::fmt;
use std::time::Duration;

use super::handle::InvalidIdentifier;
use crate::outbound::{self, Refused};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the account is {0}")]
    AccountInactive(AccountState),
    /// What was given is the account's own password.
    #[error("the password is the account's own and no app password")]
    AppPasswordRequired,
    #[error("the account's server does not accept identifier and password")]
    CredentialsRejected,
    /// The server opened a session of another account than was asked for.
    #[error("the account's server answered for another account")]
    DidMismatch,
    #[error("the identity was not found")]
    IdentityUnresolved(#[source] Unresolved),
    #[error(transparent)]
    InvalidIdentifier(#[from] InvalidIdentifier),
    #[error("the account's server is of no help")]
    PdsUnreachable(#[source] Trouble),
    #[error("the account's server asks to slow down")]
    Throttled { retry_after: Duration },
    /// A host that the identity leads to is not called.
    #[error("the host is not called: {0}")]
    UnsafeHost(Refused),
}

/// Why no identity was found, or no server of it.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    #[error("the identity's document cannot be fetched")]
    DirectoryUnreachable(#[source] Trouble),
    #[error("the identity's document is malformed")]
    DocumentMalformed,
    #[error("the directory knows no such identity")]
    DidUnknown,
    #[error("the identity does not claim the handle")]
    HandleNotClaimed,
    #[error("neither DNS nor the handle's web server nor the resolver knows the handle")]
    HandleUnknown,
    #[error("the identity's document names no server")]
    NoServer,
    #[error("it was not found in time")]
    TooSlow,
}

/// What a server did instead of answering.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("there was no answer")]
    NoAnswer(#[source] outbound::Error),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("there was no answer in time")]
    TooSlow,
    #[error("its answer could not be read")]
    Unreadable,
}

/// Why a session of an account is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    Deactivated,
    /// Waiting to be let in.
    Queued,
    Suspended,
    TakenDown,
    /// Not active, for a reason that is not known here.
    Unavailable,
}

impl AccountState {
    /// The state that a server names so.
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
