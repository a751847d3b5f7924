//! Maps each outcome of a use case to an error of the API.
//!
//! Invariant: the matches are exhaustive, so a new outcome does not compile before it has its code and sentence.

use std::time::Duration;

use super::{ApiError, Code, Trouble};
use crate::broker::error::{AccountState, BlueskyError, CallbackRefusal, StoreError, UnresolvedIdentity, What};
use crate::broker::{self, NotReady};
use crate::domain::budget::{Cost, Subject};
use crate::domain::id::ProfileId;
use crate::domain::key_limits::Unusable;
use crate::domain::link::LinkStatus;

/// Retry-After when too many calls to platforms are under way. Each takes some seconds at most.
const EXCHANGE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Where the disk did not confirm a commit.
const MAYBE_STORED: &str = "The broker's disk did not confirm this change, so it may have been stored or not: look before you \
    repeat it. The operator finds the reason in the log, and at /readyz.";

/// Where the platform was asked to end a consent, and then the database failed.
const NOT_ERASED: &str = "The platform was asked to end the account's consent, but then the broker's database failed, so the \
    account may still be here. Look, and disconnect it again: until then it needs its owner (reconnect_required). The \
    operator finds the reason in the log, and at /readyz.";

/// Where the page that asks first has ended.
const ENDED_CONFIRMATION: &str = "This page has ended, or never was: begin the connection again.";

/// Where the page that shows how a connection ended has expired.
const ENDED_RESULT: &str = "How this connection ended is not shown any more, and it cannot be tried again from here. Begin it \
    again.";

/// Where no app can be registered at another server.
const NO_ROOM_FOR_SERVERS: &str = "There is no room for another server now: accounts at too many are connected, or being \
    connected. Servers where somebody is connected still work. Try again later, or tell the operator.";

impl From<broker::Error> for ApiError {
    fn from(error: broker::Error) -> Self {
        use broker::Error as E;
        match error {
            E::AccountGone => Self::with(
                Code::AccountMismatch,
                "The account that reconnect names was disconnected meanwhile, so nothing was connected. Connect it without \
                 reconnect.",
            ),
            E::AccountMismatch => Self::new(Code::AccountMismatch),
            E::AppInUse(count) => Self::with(Code::AppInUse, app_in_use(count)),
            E::AppOfOtherPlatform(platform) => Self::with(
                Code::AppOfOtherPlatform,
                format!("appId names an app for {platform}, not for this platform."),
            ),
            E::AuthenticationRequired => Self::new(Code::InvalidAccessKey),
            E::BindingRequired => Self::new(Code::BindingRequired),
            E::Bluesky(error) => Self::from(error),
            E::BoundToProfile(profile) => {
                bound(profile, "it creates no profiles and apps, and moves no account out of its profile")
            }
            E::CallbackRefused(refusal) => Self::from(refusal),
            E::CredentialsMissing(platform) => Self::with(
                Code::CredentialsMissing,
                format!(
                    "{platform} is not set up here yet: the operator sets client_id and client_secret under \
                     [platforms.{platform}], or you bring an app of your own with appId."
                ),
            ),
            E::DuplicateApp => Self::new(Code::DuplicateApp),
            E::DuplicateIntegration => Self::new(Code::DuplicateIntegration),
            E::FlowEnded(why) => {
                Self::with(Code::FlowEnded, format!("The connection ended, so there is nothing to complete. {why}"))
            }
            E::FlowPending => Self::new(Code::FlowPending),
            E::Invalid(sentence) => Self::with(Code::InvalidRequest, format!("{sentence}.")),
            E::InvalidParameter(sentence) => Self::with(Code::InvalidParameter, format!("{sentence}.")),
            E::KeyUnusable(why) => Self::from(why),
            E::LimitReached { cost, exhausted } => {
                let (after, sentence) = (exhausted.retry_after, limit_reached(cost, exhausted.subject));
                Self::with(Code::LimitReached, sentence).retry_after(after).because(error)
            }
            E::LinkEnded(LinkStatus::Expired) => Self::new(Code::LinkEnded).on_page(Trouble::LinkExpired),
            E::LinkEnded(_) => Self::new(Code::LinkEnded),
            E::NoRoom => Self::new(Code::StorageFull),
            E::NotErased { ref source, .. } => Self::not_erased(source).because(error),
            E::NotFound(what) => Self::from(what),
            E::NotOffered => Self::new(Code::AccountNotOffered),
            E::OtherProfile(profile) => bound(profile, "leave profileId out, or give that one"),
            E::PlatformUnavailable(sentence) => Self::with(Code::PlatformNotAvailable, format!("{sentence}.")),
            E::PlatformUnreachable { sentence, failure: _ } => {
                Self::with(Code::PlatformUnreachable, format!("{sentence}."))
            }
            E::ReconnectRequired { what_happened, next_step } => {
                Self::with(Code::ReconnectRequired, format!("{what_happened} {next_step}"))
            }
            E::RefreshFailed { what_happened, next_step, retry_after } => {
                Self::with(Code::TokenUnavailable, format!("{what_happened} {next_step}")).retry_after(retry_after)
            }
            E::RedirectRefused { parameter, refused } => {
                Self::with(Code::RedirectNotAllowed, format!("{parameter} {refused}."))
            }
            E::ScopeMissing(scope) => Self::with(
                Code::InsufficientScope,
                format!("The access key lacks the scope '{scope}' that this needs."),
            ),
            E::ScopesNotAllowed { label, allowed } => {
                Self::with(Code::InvalidParameter, scopes_not_allowed(&label, &allowed))
            }
            E::Sealed(_) => Self::new(Code::SealedValueRejected).because(error),
            E::SelectionEnded(why) => {
                Self::with(Code::SelectionNotFound, format!("There is nothing to choose any more. {why}"))
            }
            E::Store(source) => Self::from(source),
            E::TokenTooShort { label, lasts, life, helps_reconnect } => Self::with(
                Code::TokenTooShort,
                format!(
                    "Access tokens of {label} last {} seconds here, and this one {} more: ask for fewer minSeconds{}.",
                    life.as_secs(),
                    lasts.as_secs(),
                    if helps_reconnect { ", or let the account be connected again" } else { "" }
                ),
            ),
            E::TooManyAttempts { retry_after } => Self::new(Code::TooManyAttempts).retry_after(retry_after),
            E::TooManyExchanges => Self::new(Code::Overloaded).retry_after(EXCHANGE_RETRY_AFTER),
            E::TooManyFlows { retry_after } => Self::new(Code::TooManyFlows).retry_after(retry_after),
            E::TooManyLinks { most, retry_after } => Self::with(
                Code::TooManyFlows,
                format!("This project has {most} connect links: revoke some, or wait until some have expired."),
            )
            .retry_after(retry_after),
            E::TooManyServers { retry_after } => {
                Self::with(Code::TooManyFlows, NO_ROOM_FOR_SERVERS).retry_after(retry_after)
            }
        }
    }
}

impl From<What> for ApiError {
    fn from(what: What) -> Self {
        match what {
            What::AccessKey => Self::new(Code::NotFound),
            What::App => Self::new(Code::AppNotFound),
            What::Confirmation => Self::with(Code::NotFound, ENDED_CONFIRMATION).on_page(Trouble::UnknownLink),
            What::Flow => Self::new(Code::FlowNotFound),
            What::Integration => Self::new(Code::IntegrationNotFound),
            What::Link => Self::new(Code::LinkNotFound),
            What::Profile => Self::new(Code::ProfileNotFound),
            What::Project => Self::new(Code::ProjectNotFound),
            What::Result => Self::with(Code::NotFound, ENDED_RESULT).on_page(Trouble::ResultGone),
            What::Selection => Self::new(Code::SelectionNotFound),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(source: StoreError) -> Self {
        Self::of_store(&source).because(source)
    }
}

impl ApiError {
    fn not_erased(error: &StoreError) -> Self {
        Self { sentence: NOT_ERASED.into(), ..Self::of_store(error) }
    }

    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Full(_) => Self::new(Code::StorageFull),
            StoreError::Busy(_) | StoreError::Overloaded | StoreError::RolledBack | StoreError::Stopped => {
                Self::new(Code::Overloaded).retry_after(Duration::from_secs(1))
            }
            // The answer to the next attempt names what is gone.
            StoreError::Orphan(_) => {
                Self::with(Code::Overloaded, "Something that this needs was deleted in the same moment. Try again.")
                    .retry_after(Duration::from_secs(1))
            }
            StoreError::Failed(_) => Self::with(Code::StorageUnavailable, MAYBE_STORED),
            StoreError::Corrupt(_)
            | StoreError::Io(_)
            | StoreError::Moved(_)
            | StoreError::ReadOnly(_)
            | StoreError::Refused(_)
            | StoreError::Reserve(_) => Self::new(Code::StorageUnavailable),
            StoreError::Conflict(_)
            | StoreError::Inconsistent { .. }
            | StoreError::NotChanged
            | StoreError::Sqlite(_) => Self::new(Code::Internal),
        }
    }
}

fn scopes_not_allowed(label: &str, allowed: &[String]) -> String {
    if allowed.is_empty() {
        format!("scopes cannot be chosen: {label} has none here.")
    } else {
        format!("scopes must name at least one and only those that {label} has here: {}.", allowed.join(", "))
    }
}

fn app_in_use(integrations: u64) -> String {
    match integrations {
        1 => "The app still has 1 connected integration. Disconnect it, or connect it again without the app, first."
            .to_owned(),
        count => format!(
            "The app still has {count} connected integrations. Disconnect them, or connect them again without the app, first."
        ),
    }
}

/// The key is bound to this profile, with what follows from that.
fn bound(profile: ProfileId, so: &str) -> ApiError {
    ApiError::with(Code::KeyBoundToProfile, format!("The access key is bound to the profile {profile}: {so}."))
}

impl From<Unusable> for ApiError {
    fn from(why: Unusable) -> Self {
        match why {
            Unusable::Address(Some(address)) => Self::with(
                Code::AddressNotAllowed,
                format!("The access key does not work from {address}: it is bound to other networks."),
            ),
            Unusable::Address(None) => Self::new(Code::AddressNotAllowed),
            Unusable::Expired(at) => Self::with(
                Code::AccessKeyExpired,
                format!("The access key expired at {at}. Ask the broker's operator for another one."),
            ),
        }
    }
}

impl From<NotReady> for ApiError {
    /// The reason is logged by whoever found it.
    fn from(why: NotReady) -> Self {
        let words = why.to_string();
        let mut letters = words.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        Self::with(Code::NotReady, first.into_iter().chain(letters).chain(['.']).collect::<String>())
    }
}

impl From<BlueskyError> for ApiError {
    fn from(error: BlueskyError) -> Self {
        use BlueskyError as E;
        let told = match &error {
            E::AccountInactive(state) => Self::with(
                Code::AccountInactive,
                match state {
                    AccountState::Deactivated => {
                        "The account is deactivated: reactivate it in its settings, then connect it again."
                    }
                    AccountState::Queued => "The account is waiting to be let in by its server: connect it once it is.",
                    AccountState::Suspended => {
                        "The account is suspended by its server: it can be connected when that is lifted."
                    }
                    AccountState::TakenDown => {
                        "The account was taken down by its server: ask there what can be done about it."
                    }
                    AccountState::Unavailable => Code::AccountInactive.sentence(),
                },
            ),
            E::AppPasswordRequired => Self::new(Code::AppPasswordRequired),
            E::CredentialsRejected => Self::new(Code::BlueskyCredentialsRejected),
            E::DidMismatch => Self::new(Code::DidMismatch),
            E::IdentityUnresolved(why) => Self::with(
                Code::IdentityUnresolved,
                match why {
                    UnresolvedIdentity::DidUnknown => {
                        "There is no account with this identity. Check the handle or DID."
                    }
                    UnresolvedIdentity::DirectoryUnreachable(_)
                    | UnresolvedIdentity::ResolverUnreachable(_)
                    | UnresolvedIdentity::TooSlow => {
                        "The account was not found in time, because a server on the way did not answer. Try again in a moment."
                    }
                    UnresolvedIdentity::DocumentMalformed | UnresolvedIdentity::NoServer => {
                        "The account's identity does not say which server it is on, so it cannot be connected."
                    }
                    UnresolvedIdentity::HandleNotClaimed => {
                        "The handle leads to an account that does not go by it. Check the handle, or set it again in the account's settings."
                    }
                    UnresolvedIdentity::HandleUnknown => {
                        "There is no account with this handle, or it is deactivated. Check the handle's spelling."
                    }
                    UnresolvedIdentity::NoAccountServer => {
                        "The server that the account's identity names does not sign accounts in, so it cannot be connected."
                    }
                },
            )
            .on_page(if why.is_outage() { Trouble::Busy } else { Trouble::Broken }),
            E::InvalidIdentifier(why) => Self::with(Code::InvalidIdentifier, format!("identifier {why}.")),
            E::PdsUnreachable(_) => Self::new(Code::PdsUnreachable),
            E::Throttled { retry_after } => Self::with(
                Code::TooManyAttempts,
                "The account's server asks to slow down. Wait before the next attempt.",
            )
            .retry_after(*retry_after),
            E::UnsafeHost(_) => Self::new(Code::UnsafeHost),
        };
        told.because(error)
    }
}

impl From<CallbackRefusal> for ApiError {
    fn from(refusal: CallbackRefusal) -> Self {
        let (sentence, trouble) = match refusal {
            CallbackRefusal::AlreadyUsed => {
                ("This connection was already finished, with another answer.", Trouble::AlreadyFinished)
            }
            CallbackRefusal::Malformed => ("The platform's answer is incomplete or garbled.", Trouble::Garbled),
            CallbackRefusal::OtherBrowser { is_of_link } => {
                let trouble = if is_of_link { Trouble::OtherBrowserOfLink } else { Trouble::OtherBrowser };
                return Self::new(Code::BrowserMismatch).on_page(trouble).because(refusal);
            }
            CallbackRefusal::OtherPlatform => {
                ("The answer belongs to a connection at another platform.", Trouble::OtherPlatform)
            }
            CallbackRefusal::UnknownState => ("No connection is waiting for this answer.", Trouble::UnknownLink),
        };
        Self::with(Code::CallbackRefused, sentence).on_page(trouble).because(refusal)
    }
}

fn limit_reached(cost: Cost, subject: Subject) -> String {
    let who = match subject {
        Subject::Address(_) => "from this address",
        Subject::All => "in all",
        Subject::Key(_) => "by this access key",
        Subject::Link(_) => "through this link",
        Subject::PeopleOf(_) => "by people whom this app sent here",
        Subject::Project(_) => "by this project",
    };
    let what = match cost {
        Cost::Bluesky => "attempts to connect a Bluesky account",
        Cost::Misses => "wrong keys, states, links or selection tokens",
        Cost::Starts => "connections begun",
        Cost::Writes => "changes",
    };
    let setting = subject.setting();
    format!("Too many {what} {who} in the last minute: limits.{}_{setting} is reached. Wait.", <&str>::from(cost))
}
