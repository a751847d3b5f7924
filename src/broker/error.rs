//! The outcomes of a use case that a caller can act on. `http` gives each its status, code and sentence.

use std::time::Duration;

use crate::domain::access_key::Scope;
use crate::domain::budget::{Cost, Exhausted};
use crate::domain::failure::Failure;
use crate::domain::id::{IntegrationId, ProfileId};
use crate::domain::key_limits::Unusable;
use crate::domain::link::LinkStatus;
use crate::domain::redirect::Refused;
pub use crate::store::Error as StoreError;
pub use crate::upstream::app_password::{
    AccountState, Error as BlueskyError, InvalidIdentifier as InvalidBlueskyIdentifier,
    Unresolved as UnresolvedIdentity,
};
use crate::{store, vault};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account to reconnect was disconnected meanwhile, so nothing was connected.
    #[error("the account to reconnect was disconnected meanwhile")]
    AccountGone,
    /// Another account came back than the one to reconnect, so nothing was changed.
    #[error("another account came back than the one to reconnect")]
    AccountMismatch,
    /// The app still has this many integrations.
    #[error("the app still has {0} connected integrations")]
    AppInUse(u64),
    /// The app belongs to another platform than the one to connect.
    #[error("the app is for {0}")]
    AppOfOtherPlatform(String),
    /// The key is missing, malformed, unknown or revoked. Callers are not told which.
    #[error("no valid access key")]
    AuthenticationRequired,
    /// The operator allows no connection that any browser could finish.
    #[error("the connection is bound to no browser")]
    BindingRequired,
    /// The account's server, or the way to it, refused the connection by app password.
    #[error("the Bluesky account is not connected")]
    Bluesky(#[from] BlueskyError),
    /// The key is bound to this profile, and what it asks for concerns others too.
    #[error("the access key is bound to {0}")]
    BoundToProfile(ProfileId),
    /// No flow waits for this callback.
    #[error("callback refused: {0}")]
    CallbackRefused(CallbackRefusal),
    /// The platform is switched on, but has no credentials.
    #[error("{0} has no credentials")]
    CredentialsMissing(String),
    /// The project already has an app with that platform and client id.
    #[error("an app with this platform and client id exists")]
    DuplicateApp,
    /// The same account is already connected under the profile that an integration is to move to.
    #[error("the account is connected under that profile already")]
    DuplicateIntegration,
    /// The connection to complete ended without an account. The sentence says why.
    #[error("the connection ended without an account: {0}")]
    FlowEnded(String),
    /// The browser of the connection to complete has not come back.
    #[error("the browser has not come back")]
    FlowPending,
    /// A member of the request is out of bounds. The sentence (without its full stop) is for the caller.
    #[error("{0}")]
    Invalid(String),
    /// A parameter of the query is out of bounds. The sentence (without its full stop) is for the caller.
    #[error("{0}")]
    InvalidParameter(String),
    /// The key is right, and does not work now or from here.
    #[error(transparent)]
    KeyUnusable(#[from] Unusable),
    /// A budget of the operator's is spent.
    #[error("the limit {}_{} is reached", <&str>::from(*cost), exhausted.subject.setting())]
    LimitReached { cost: Cost, exhausted: Exhausted },
    /// The connect link does not work any more.
    #[error("the link is {}", <&str>::from(*.0))]
    LinkEnded(LinkStatus),
    /// The disk has no room for the platform's answer, so the platform was not asked.
    #[error("the disk has no room for the platform's answer")]
    NoRoom,
    /// The platform was asked to end the account's consent, and then the account was not, or may not have been, erased.
    /// Until it is, it needs its owner.
    #[error(
        "the platform was asked to end the consent of {id}, but the account may not have been erased: look whether it is \
         still there, and disconnect it again"
    )]
    NotErased { id: IntegrationId, source: store::Error },
    /// It does not exist, or belongs to another project.
    #[error("no such {0}")]
    NotFound(What),
    /// The choice names no account, or one that is not on offer.
    #[error("the choice is not one of the accounts on offer")]
    NotOffered,
    /// The key is bound to this profile, and begins no connection for another.
    #[error("the access key is bound to {0}")]
    OtherProfile(ProfileId),
    /// The platform is unknown, switched off, or cannot be connected this way. The sentence (without its
    /// full stop) is for the caller.
    #[error("{0}")]
    PlatformUnavailable(String),
    /// The platform's server does not say how it is used, or did not take the request that was pushed to it. The sentence
    /// (without its full stop) is for the caller, the failure for a person on a page.
    #[error("{sentence}")]
    PlatformUnreachable { failure: Failure, sentence: String },
    /// The account's owner must reconnect it. Both sentences are for the caller.
    #[error("the account must be reconnected: {what_happened}")]
    ReconnectRequired { what_happened: String, next_step: String },
    /// The access token has expired and could not be refreshed yet. Both sentences are for the caller.
    #[error("no token for the moment: {what_happened}")]
    RefreshFailed { what_happened: String, next_step: String, retry_after: Duration },
    /// The parameter's redirect is not allowed.
    #[error("{parameter} {refused}")]
    RedirectRefused { parameter: &'static str, refused: Refused },
    /// The key lacks this scope.
    #[error("the access key lacks the scope {0}")]
    ScopeMissing(Scope),
    /// A connection was to ask for a scope that it may not, or for none.
    #[error("the scopes are not all allowed")]
    ScopesNotAllowed { label: String, allowed: Vec<String> },
    /// The choice ended without an account before it was made. The sentence says why.
    #[error("the choice ended without an account: {0}")]
    SelectionEnded(String),
    #[error("cannot open a sealed value (`postpeer doctor` lists all of them, and what to do)")]
    Sealed(#[from] vault::Error),
    #[error("the database failed")]
    Store(#[from] store::Error),
    /// The token expires sooner than was asked, and a fresh one would as well, unless a new connection brings it
    /// (`helps_reconnect`). `life` is the lifetime of a fresh one.
    #[error("the token lasts {} more seconds", lasts.as_secs())]
    TokenTooShort { label: String, lasts: Duration, life: Duration, helps_reconnect: bool },
    /// Too many recent attempts to sign in to this account, or by this caller.
    #[error("too many attempts")]
    TooManyAttempts { retry_after: Duration },
    /// Too many calls to platforms are under way.
    #[error("too many calls to platforms are under way")]
    TooManyExchanges,
    /// Too many selections are open, or too many flows of which none can give way.
    #[error("too many connections are waiting to be finished")]
    TooManyFlows { retry_after: Duration },
    /// The project has as many links as it may have, and none of them has ended.
    #[error("the project has {most} connect links")]
    TooManyLinks { most: u64, retry_after: Duration },
    /// There is no room for an app at another server of a platform that is many servers.
    #[error("too many servers")]
    TooManyServers { retry_after: Duration },
}

impl Error {
    /// True for a change that may be on the disk all the same.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Store(store::Error::Failed(_)))
    }

    /// Maps an update of a row that does not exist to [`Error::NotFound`].
    pub(super) fn not_found_if_unchanged(result: Result<(), store::Error>, what: What) -> Result<(), Self> {
        match result {
            Err(store::Error::NotChanged) => Err(Self::NotFound(what)),
            other => Ok(other?),
        }
    }
}

/// The kind of thing that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum What {
    /// Unknown, revoked, or not for the caller to see.
    AccessKey,
    App,
    /// The page that asks before a connection. Unknown, or its connection has ended: callers are not told which.
    Confirmation,
    /// A connection to complete. It may have expired, or is not completed: callers are not told which.
    Flow,
    Integration,
    /// A connect link: unknown, or deleted some time after its end.
    Link,
    Profile,
    Project,
    /// How a connection ended.
    Result,
    /// Unknown, spent or expired. Callers are not told which.
    Selection,
}

/// Why a callback is refused before the platform is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRefusal {
    /// The flow was finished with another answer.
    #[error("the state was used already, with another answer")]
    AlreadyUsed,
    #[error("a parameter is repeated, or the state is too long or not text")]
    Malformed,
    /// The browser lacks the cookie that the flow is bound to.
    #[error("the flow is bound to another browser")]
    OtherBrowser {
        /// True when it was begun on the page of a connect link.
        is_of_link: bool,
    },
    #[error("the state belongs to another platform")]
    OtherPlatform,
    #[error("no state, or one that is unknown")]
    UnknownState,
}
