//! A data key as the database holds it: wrapped by a key of the keyring file. `vault` wraps and unwraps it, `store`
//! saves it, and neither knows the other.

use std::fmt;

use strum::{EnumString, IntoStaticStr};

use super::time::Timestamp;

#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The id by which sealed values name the key. Never zero, never reused.
    pub dek_id: u32,
    /// Id of the wrapping key in the keyring file.
    pub wrapped_by: String,
    pub blob: Vec<u8>,
    /// 32 bytes derived from the key. They tell whether the right key was unwrapped.
    pub check_value: Vec<u8>,
    pub state: KeyState,
}

impl WrappedKey {
    /// The uses of the key, as its wrapped form states them. Only `vault` knows whether that is authentic.
    #[must_use]
    pub fn scope(&self) -> Option<KeyScope> {
        self.blob.first().copied().and_then(KeyScope::of_version)
    }
}

/// The values and rows that a data key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyScope {
    /// Values that are bound to their owner, and rows that are authenticated.
    Bound,
    /// Also what the first releases left: values that are bound to no owner, and keys, flows and links that are
    /// not authenticated.
    WithFirstVersion,
    /// Also flows and links that an earlier release left, and that are not authenticated.
    WithOldConnections,
}

impl KeyScope {
    /// Version of the wrapped form.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Self::Bound => 3,
            Self::WithFirstVersion => 1,
            Self::WithOldConnections => 2,
        }
    }

    #[must_use]
    pub fn of_version(version: u8) -> Option<Self> {
        let all = [Self::Bound, Self::WithFirstVersion, Self::WithOldConnections];
        all.into_iter().find(|scope| scope.version() == version)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum KeyState {
    /// Seals and opens. A database has exactly one active key.
    Active,
    /// Only opens. Also a key that a rotation has stored and not activated yet: it is newer than the active one.
    #[strum(serialize = "retired")]
    Old,
}

/// A data key wrapped for the operator's recovery key.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryWrap {
    pub dek_id: u32,
    /// Id of the recovery key.
    pub recovery_key: String,
    pub blob: Vec<u8>,
}

impl fmt::Debug for RecoveryWrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryWrap({} for {})", self.dek_id, self.recovery_key)
    }
}

/// A data key as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    pub dek_id: u32,
    pub state: KeyState,
    /// Id of the wrapping key in the keyring file.
    pub wrapped_by: String,
    pub created_at: Timestamp,
    /// Number of stored values that it opens, and of codes of rows that were made with it.
    pub values: u64,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} by {}, {})", self.dek_id, self.wrapped_by, self.state.into_str())
    }
}
