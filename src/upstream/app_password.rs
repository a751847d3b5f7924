//! Signing in with an app password: finds the account's server, begins a session there, and asks who it is.
//!
//! The password goes to that server, once, and nowhere else.

use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};

use super::Upstream;
use crate::atproto::Trouble;
pub use crate::atproto::{AccountState, Did, Error, Identifier, InvalidIdentifier, Located, Unresolved};
use crate::domain::account::Identity;
use crate::domain::error_chain::chain;
use crate::domain::selection::Consent;
use crate::platforms::Bluesky;

impl Upstream {
    /// Reads what a person typed as their handle.
    ///
    /// # Errors
    ///
    /// It is neither handle nor DID, or one that cannot exist.
    pub fn identifier(&self, text: &str) -> Result<Identifier, Error> {
        Ok(self.atproto.identifier(text)?)
    }

    /// Finds the identity and its server.
    ///
    /// # Errors
    ///
    /// It was not found by `deadline`.
    pub async fn locate(
        &self,
        directory: &Bluesky,
        identifier: &Identifier,
        deadline: Instant,
    ) -> Result<Located, Error> {
        let located = timeout_at(deadline, self.atproto.locate(directory, identifier))
            .await
            .unwrap_or(Err(Error::IdentityUnresolved(Unresolved::TooSlow)));
        if let Err(Error::IdentityUnresolved(why)) = &located
            && why.is_outage()
        {
            tracing::warn!(error = %chain(why), "cannot look up an account of Bluesky: its owner is asked to try again");
        }
        located
    }

    /// Begins a session and asks for the account's profile, without which the account is connected all the same.
    ///
    /// # Errors
    ///
    /// The server begins no session by `deadline`.
    pub async fn sign_in(
        &self,
        directory: &Bluesky,
        located: &Located,
        password: SecretString,
        deadline: Instant,
    ) -> Result<Consent, Error> {
        let issued = timeout_at(deadline, self.atproto.create_session(located, &password))
            .await
            .unwrap_or(Err(Error::PdsUnreachable(Trouble::TooSlow)))?;
        drop(password);
        let account = self.atproto.account(directory, located, &issued.tokens.access_token);
        let account = timeout_at(deadline, account).await.unwrap_or_else(|_| located.bare_account());
        Ok(Consent::new(issued, Identity::single(account)))
    }

    /// Ends a session that is not kept, without insisting.
    pub async fn abandon(&self, located: &Located, session: &Consent) {
        if let Some(refresh_token) = &session.issued.tokens.refresh_token {
            self.atproto.abandon(&located.service_url, refresh_token).await;
        }
    }
}
