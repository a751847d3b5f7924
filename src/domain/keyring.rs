//! A data key as the database keeps it: wrapped by a key of the keyring file. `vault` makes and opens them, `store`
//! carries them, and neither knows the other.

use std::fmt;

use strum::{EnumString, IntoStaticStr};

#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// What sealed values name it by. Never zero, never used again.
    pub dek_id: u32,
    /// The id of the key in the keyring file.
    pub wrapped_by: String,
    pub blob: Vec<u8>,
    /// 32 bytes derived from the key: what an unwrapped key is recognised by.
    pub check_value: Vec<u8>,
    pub state: KeyState,
}

/// What a data key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum KeyState {
    /// Seals and opens. One key of a database is active.
    Active,
    /// Only opens.
    Retired,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} by {}, {})", self.dek_id, self.wrapped_by, self.state.into_str())
    }
}
