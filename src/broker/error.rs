//! The few outcomes of a use case that a caller can act on. `http` gives each its status, code and sentence.

use std::time::Duration;

use crate::domain::access_key::Scope;
use crate::domain::redirect::Refused;
pub use crate::store::Error as StoreError;
pub use crate::upstream::app_password::{
    AccountState, Error as BlueskyError, InvalidIdentifier as InvalidBlueskyIdentifier,
    Unresolved as UnresolvedIdentity,
};
use crate::{store, vault};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The app still has this many integrations.
    #[error("the app still has {0} connected integrations")]
    AppInUse(u64),
    /// The app belongs to another platform than the one to connect.
    #[error("the app is for {0}")]
    AppOfOtherPlatform(String),
    /// No key, a malformed, unknown or revoked one: never told apart.
    #[error("no valid access key")]
    AuthenticationRequired,
    /// The account's side of a connection by app password says no.
    #[error("the Bluesky account is not connected")]
    Bluesky(#[from] BlueskyError),
    /// A callback that belongs to no flow that is waiting for it.
    #[error("callback refused: {0}")]
    CallbackRefused(CallbackRefusal),
    /// The platform is known and on, but has no credentials.
    #[error("{0} has no credentials")]
    CredentialsMissing(String),
    /// The project has an app with that platform and client id already.
    #[error("an app with this platform and client id exists")]
    DuplicateApp,
    /// The same account is already connected under the profile that an integration is to move to.
    #[error("the account is connected under that profile already")]
    DuplicateIntegration,
    /// A member of the request is out of bounds. The sentence (without its full stop) is for the caller.
    #[error("{0}")]
    Invalid(String),
    /// The disk has no room for what a platform would answer, so it is not asked.
    #[error("there is no room to store what a platform would answer")]
    NoRoom,
    /// Not there, or another project's.
    #[error("no such {0}")]
    NotFound(What),
    /// A choice that names no account, or one that is not on offer.
    #[error("the choice is not one of the accounts on offer")]
    NotOffered,
    /// The platform is unknown, switched off, or cannot be connected this way. The sentence (without its
    /// full stop) is for the caller.
    #[error("{0}")]
    PlatformUnavailable(String),
    /// Only the account's person can bring a token that works. Both sentences are for the caller.
    #[error("the account has to be connected again: {what_happened}")]
    ReconnectRequired { what_happened: String, next_step: String },
    /// The access token has expired, and there is no other for the moment. Both sentences are for the caller.
    #[error("no token for the moment: {what_happened}")]
    RefreshFailed { what_happened: String, next_step: String, retry_after: Duration },
    /// `parameter` names the one at fault.
    #[error("{parameter} {refused}")]
    RedirectRefused { parameter: &'static str, refused: Refused },
    /// The key lacks this scope.
    #[error("the access key lacks the scope {0}")]
    ScopeMissing(Scope),
    #[error("a sealed value did not open")]
    Sealed(#[from] vault::Error),
    #[error("the database failed")]
    Store(#[from] store::Error),
    /// The token lives, but not for as long as was asked, and no other would: `life` is that of a fresh one.
    #[error("the token lasts {} more seconds", lasts.as_secs())]
    TokenTooShort { label: String, lasts: Duration, life: Duration },
    /// Passwords of this account were tried too often of late, or by this caller.
    #[error("too many attempts")]
    TooManyAttempts { retry_after: Duration },
    /// Too many flows are waiting for their person.
    #[error("too many connections are waiting to be finished")]
    TooManyFlows { retry_after: Duration },
}

impl Error {
    /// A row that is not there to be changed is a thing that is not there.
    pub(super) fn not_found_if_unchanged(result: Result<(), store::Error>, what: What) -> Result<(), Self> {
        match result {
            Err(store::Error::NotChanged) => Err(Self::NotFound(what)),
            other => Ok(other?),
        }
    }
}

/// What was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    App,
    Integration,
    Profile,
    Project,
    /// Unknown, spent or expired: never told apart.
    Selection,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::App => "app",
            Self::Integration => "integration",
            Self::Profile => "profile",
            Self::Project => "project",
            Self::Selection => "selection",
        })
    }
}

/// Why a callback is refused before anything is asked of a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRefusal {
    /// Another answer than the one that the flow was finished with.
    #[error("the state was used already, with another answer")]
    AlreadyUsed,
    #[error("the state has expired")]
    Expired,
    #[error("neither code nor error, or a parameter that is empty, repeated or too long")]
    Malformed,
    #[error("the state belongs to another platform")]
    OtherPlatform,
    #[error("the issuer (iss) is not this platform's")]
    OtherIssuer,
    #[error("no state, or one that is unknown")]
    UnknownState,
}
