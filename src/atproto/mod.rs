//! The AT Protocol, as far as an account is connected by app password: from a handle to the identity, from there to the
//! account's server (its PDS), and a session on it.
//!
//! Knows outbound and what platforms says of Bluesky; neither the store nor who the caller is. Handles, documents and
//! servers are chosen by users, so they are called through [`Guard`] only; directory, resolver and app view are the
//! operator's. Invariants: a handle counts only when its identity claims it in return; a session counts only when it is of
//! the identity that was asked for; a password is sent to that identity's server once, and nowhere else.

mod did;
mod document;
mod error;
mod handle;
mod locate;
mod profile;
mod session;
mod token;

use std::sync::Arc;

use serde_json::Value;

pub use did::Did;
pub use error::{AccountState, Error, Trouble, Unresolved};
pub use handle::{Handle, Identifier, InvalidIdentifier};
pub use locate::Located;
pub use session::{RefreshedSession, Session};
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
    /// `outbound`: for the operator's hosts. `guard`: for the users', which `dns` resolves the handles of.
    #[must_use]
    pub fn new(outbound: Outbound, guard: Guard, dns: Dns, clock: Arc<dyn Clock>) -> Self {
        Self { outbound, guard, dns, clock }
    }

    /// Reads what a person typed as their handle.
    ///
    /// # Errors
    ///
    /// Why it is neither handle nor DID, or one that cannot exist.
    pub fn identifier(&self, text: &str) -> Result<Identifier, InvalidIdentifier> {
        Identifier::parse(text, self.guard.allows_private_networks())
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// Makes a call, and measures how long its server took: that of an account, of a handle, or one of the operator's.
async fn measured(
    step: &'static str,
    call: impl Future<Output = Result<Answer, outbound::Error>>,
) -> Result<Answer, outbound::Error> {
    outbound::measured(bluesky::NAME, step, call).await
}

/// The JSON of an answer, or null where there is none.
fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}
