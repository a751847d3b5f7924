//! Use cases of the console beyond the API's: sessions, and the lists that its pages show.
//!
//! Invariant: a session acts as a [`Caller`](super::Caller) with the rights of its key as they are at each request.
//! Its changes go through the use cases of the API, and the trail names the key.

mod accounts;
mod keys;
mod sessions;
mod trail;

pub use crate::domain::console_session::{LIFE, SessionToken};
pub use crate::platforms::{About, Remark};
pub use accounts::{ACCOUNTS, AccountLife, COUNTED, Reconnects, ShownAccount, Trouble, WantedAccounts};
pub use keys::{KeyPage, ListedKey};
pub use trail::{KnownPlatform, PlatformState, TrailPage};
