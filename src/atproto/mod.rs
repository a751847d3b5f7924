//! The AT Protocol engine, for accounts connected by app password: resolves a handle to the identity and the account's
//! server (its PDS), and keeps a session there.
//!
//! Knows outbound and the Bluesky part of platforms; neither the store nor the caller. Users choose handles, documents
//! and servers, so those are called through [`Guard`] only; directory, resolver and app view are the operator's.
//! Invariants: a handle counts only when its identity claims it in return; a session counts only when it belongs to the
//! requested identity; a password is sent to that identity's server once, and nowhere else.

mod did;
mod document;
mod error;
mod handle;
mod locate;
mod probe;
mod profile;
mod refusal;
mod session;
mod token;

use std::sync::Arc;

pub use did::Did;
pub use error::{AccountState, Error, Trouble, Unresolved};
pub use handle::{Handle, Identifier, InvalidIdentifier};
pub use locate::Located;
pub use probe::Reachable;
pub use session::RefreshedSession;
pub use token::is_same_refresh_token;

use crate::domain::time::Clock;
use crate::outbound::{self, Answer, Dns, Guard, Outbound};
use crate::platforms::bluesky;

/// Talks with the servers of the AT Protocol. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    outbound: Outbound,
    guard: Guard,
    dns: Dns,
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// `outbound` calls the operator's hosts, `guard` the users'; `dns` resolves handles.
    #[must_use]
    pub fn new(outbound: Outbound, guard: Guard, dns: Dns, clock: Arc<dyn Clock>) -> Self {
        Self { outbound, guard, dns, clock }
    }

    /// Reads what someone typed as their handle.
    ///
    /// # Errors
    ///
    /// The text is neither a handle nor a DID that can exist.
    pub fn identifier(&self, text: &str) -> Result<Identifier, InvalidIdentifier> {
        Identifier::parse(text, self.guard.allows_private_networks())
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// Makes a call to any server, and records how long it took.
async fn measured(
    step: &'static str,
    call: impl Future<Output = Result<Answer, outbound::Error>>,
) -> Result<Answer, outbound::Error> {
    outbound::measured(bluesky::NAME, step, call).await
}
