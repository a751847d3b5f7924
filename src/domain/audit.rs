//! The audit trail: who changed what, or was handed a token, when, from where, and how it went.
//!
//! Invariant: an entry holds ids, names and codes of ours, and the client's address. It has no place for a secret, nor
//! for a text that a caller, a person or a platform wrote.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::id::{AccessKeyId, FlowId, LinkId, ProfileId, ProjectId};
use super::time::Timestamp;

/// The outcome of what simply succeeded.
pub const DONE: &str = "done";

/// The outcome for a copy of the database in which some sealed values do not open.
pub const UNREADABLE_VALUES: &str = "unreadable_values";

/// Who acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Actor {
    /// A caller of the API.
    AccessKey,
    /// The operator, with a command.
    CommandLine,
    /// Whoever uses the page of `postpeer demo`.
    DemoPage,
    /// Whoever has a connect link, in a browser.
    Link,
    /// The account's owner, in a browser: at a callback, or with a selection token.
    Person,
    /// The broker itself, at the time that its configuration names.
    Schedule,
}

/// Who acted, by which key, from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    pub actor: Actor,
    /// The key that acted; for a person, the key that began their connection; for a link, the key that made it.
    pub access_key_id: Option<AccessKeyId>,
    /// The connect link that it was done through.
    pub link_id: Option<LinkId>,
    /// The client's address, where there is one.
    pub address: Option<IpAddr>,
}

impl By {
    pub const COMMAND_LINE: Self =
        Self { actor: Actor::CommandLine, access_key_id: None, link_id: None, address: None };
    pub const SCHEDULE: Self = Self { actor: Actor::Schedule, ..Self::COMMAND_LINE };

    /// The person whose connection this key began, or whoever has the link that this key made.
    #[must_use]
    pub const fn person(access_key_id: Option<AccessKeyId>, link_id: Option<LinkId>, address: Option<IpAddr>) -> Self {
        let actor = if link_id.is_some() { Actor::Link } else { Actor::Person };
        Self { actor, access_key_id, link_id, address }
    }
}

/// Things that were done. The names never change, because callers and operators search for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(const_into_str)]
pub enum Action {
    #[strum(serialize = "access_key.created")]
    AccessKeyCreated,
    #[strum(serialize = "access_key.revoked")]
    AccessKeyRevoked,
    #[strum(serialize = "account.connected")]
    AccountConnected,
    /// The outcome says whether the consent was revoked at the platform.
    #[strum(serialize = "account.disconnected")]
    AccountDisconnected,
    /// To another profile, or out of its profile.
    #[strum(serialize = "account.moved")]
    AccountMoved,
    #[strum(serialize = "app.created")]
    AppCreated,
    #[strum(serialize = "app.deleted")]
    AppDeleted,
    /// It has a new secret; its name or image may be new as well.
    #[strum(serialize = "app.secret_replaced")]
    AppSecretReplaced,
    #[strum(serialize = "app.updated")]
    AppUpdated,
    /// A copy of the database was made. The outcome is `unreadable_values` where some do not open.
    #[strum(serialize = "backup.made")]
    BackupMade,
    /// A copy took the database's place. The outcome is `unreadable_values` where some do not open.
    #[strum(serialize = "backup.restored")]
    BackupRestored,
    /// A consent came back. Nothing is connected before the caller completes the connection.
    #[strum(serialize = "connection.awaits_completion")]
    ConnectionAwaitsCompletion,
    /// The caller confirmed that the right person came back.
    #[strum(serialize = "connection.completed")]
    ConnectionCompleted,
    /// Without an account. The outcome is `cancelled`, or a failure's code.
    #[strum(serialize = "connection.ended")]
    ConnectionEnded,
    /// A browser was signed in to the console with this key.
    #[strum(serialize = "console.signed_in")]
    ConsoleSignedIn,
    #[strum(serialize = "console.signed_out")]
    ConsoleSignedOut,
    /// The keyring was lost: everything that was sealed is erased, and there is a new keyring file.
    #[strum(serialize = "keyring.forgotten")]
    KeyringForgotten,
    /// A new keyring file was made with the recovery key.
    #[strum(serialize = "keyring.recovered")]
    KeyringRecovered,
    /// Every data key is wrapped for another recovery key.
    #[strum(serialize = "keyring.recovery_set")]
    KeyringRecoverySet,
    /// A data key, or a key of the keyring file, is gone.
    #[strum(serialize = "keyring.retired")]
    KeyringRetired,
    /// Every data key is wrapped by this key of the keyring file.
    #[strum(serialize = "keyring.rewrapped")]
    KeyringRewrapped,
    /// Another data key is active.
    #[strum(serialize = "keyring.rotated")]
    KeyringRotated,
    #[strum(serialize = "link.created")]
    LinkCreated,
    #[strum(serialize = "link.revoked")]
    LinkRevoked,
    #[strum(serialize = "profile.created")]
    ProfileCreated,
    #[strum(serialize = "profile.deleted")]
    ProfileDeleted,
    #[strum(serialize = "profile.updated")]
    ProfileUpdated,
    #[strum(serialize = "project.created")]
    ProjectCreated,
    #[strum(serialize = "project.deleted")]
    ProjectDeleted,
    /// The consent covers several accounts, and its owner has yet to choose.
    #[strum(serialize = "selection.offered")]
    SelectionOffered,
    /// An access token was handed out. Further reads of it by the same key within the minute leave no entry.
    #[strum(serialize = "token.read")]
    TokenRead,
}

/// An entry to be recorded.
#[derive(Debug, Clone)]
pub struct Entry {
    pub by: By,
    pub action: Action,
    /// Id of what was changed or read.
    pub object: String,
    /// The profile that it is about, or whose account: keys that are bound to it see the entry.
    pub profile_id: Option<ProfileId>,
    /// The connection that it is part of.
    pub flow_id: Option<FlowId>,
    pub outcome: Cow<'static, str>,
}

impl Entry {
    #[must_use]
    pub fn new(by: By, action: Action, object: impl fmt::Display) -> Self {
        let object = object.to_string();
        Self { by, action, object, profile_id: None, flow_id: None, outcome: Cow::Borrowed(DONE) }
    }

    #[must_use]
    pub fn with_outcome(self, outcome: &'static str) -> Self {
        Self { outcome: Cow::Borrowed(outcome), ..self }
    }

    #[must_use]
    pub fn of_profile(self, profile_id: Option<ProfileId>) -> Self {
        Self { profile_id, ..self }
    }

    #[must_use]
    pub fn of_flow(self, flow_id: Option<FlowId>) -> Self {
        Self { flow_id, ..self }
    }
}

/// An entry of the trail.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Larger than those of all entries before it.
    pub id: u64,
    pub at: Timestamp,
    /// `None` where it concerns the whole broker.
    pub project_id: Option<ProjectId>,
    pub entry: Entry,
}

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Behind the entry with this id.
    Entry(u64),
    /// With the entries of this time.
    Time(Timestamp),
}

impl Since {
    /// The beginning of the trail.
    pub const BEGINNING: Self = Self::Entry(0);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time such as 2026-05-03T08:00:00Z, or the id of an entry, which is a number")]
pub struct InvalidSince;

impl FromStr for Since {
    type Err = InvalidSince;

    fn from_str(text: &str) -> Result<Self, InvalidSince> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Entry).map_err(|_| InvalidSince);
        }
        Timestamp::parse(text).map(Self::Time).ok_or(InvalidSince)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_time_or_an_entry() {
        assert_eq!("0".parse(), Ok(Since::BEGINNING));
        assert_eq!("17".parse(), Ok(Since::Entry(17)));
        let time = Timestamp::from_millis(1_777_797_216_445);
        assert_eq!("2026-05-03T08:33:36.445Z".parse(), Ok(Since::Time(time)));
        assert_eq!("2026-05-03T10:33:36.445+02:00".parse(), Ok(Since::Time(time)));
        for wrong in ["", "-1", "+1", " 1", "yesterday", "2026-05-03", "99999999999999999999"] {
            assert_eq!(wrong.parse::<Since>(), Err(InvalidSince), "{wrong}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for action in Action::VARIANTS {
            assert_eq!(action.into_str().parse(), Ok(*action));
        }
        for actor in Actor::VARIANTS {
            assert_eq!(actor.into_str().parse(), Ok(*actor));
        }
    }
}
