//! Signing in to the console with an access key, and out again.

use std::net::IpAddr;

use crate::broker::{Broker, Caller, Error, key_rows};
use crate::domain::access_key::Scope;
use crate::domain::audit::{Action, Entry};
use crate::domain::console_session::{ConsoleSession, LIFE, SessionToken};
use crate::domain::key_limits::Unusable;
use crate::store::{self, access_keys, audit, console_sessions, profiles, projects};

/// Names of what a caller acts for.
#[derive(Debug, Clone)]
pub struct CallerNames {
    pub project: String,
    pub key_name: String,
    /// The profile that the key is bound to.
    pub profile_name: Option<String>,
}

impl Broker {
    /// Begins a session with the rights of the caller's access key, which must be one that may manage.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeMissing`] for another key.
    pub async fn sign_in(&self, caller: &Caller) -> Result<SessionToken, Error> {
        if !caller.may(Scope::Manage) {
            return Err(Error::ScopeMissing(Scope::Manage));
        }
        let access_key_id = caller.access_key_id.ok_or(Error::AuthenticationRequired)?;
        let (token, now) = (SessionToken::generate(&*self.entropy), self.clock.now());
        let session = ConsoleSession {
            digest: token.digest(),
            project_id: caller.project_id,
            access_key_id,
            created_at: now,
            expires_at: now.plus(LIFE),
        };
        let mac = key_rows::session_mac(&self.vault, &session)?;
        let entry = Entry::new(caller.by(), Action::ConsoleSignedIn, access_key_id);
        self.store
            .write(move |tx| {
                console_sessions::insert(tx, &session, &mac)?;
                audit::record(tx, Some(session.project_id), &entry, now)
            })
            .await?;
        tracing::info!(access_key.id = %access_key_id, "signed in to the console");
        Ok(token)
    }

    /// The caller behind a session, at this client's address.
    ///
    /// # Errors
    ///
    /// [`Error::AuthenticationRequired`] when the session is over, or its key is revoked or expired;
    /// [`Error::KeyUnusable`] when the key does not work from there.
    pub async fn resume_session(&self, token: &SessionToken, address: Option<IpAddr>) -> Result<Caller, Error> {
        let (digest, now) = (token.digest(), self.clock.now());
        let found = self.store.read(move |db| console_sessions::find(db, &digest, now)).await?;
        let (session, mac, key) = found.ok_or(Error::AuthenticationRequired)?;
        if !key_rows::is_own_session(&self.vault, &session, &mac) || !self.is_authentic(&key).await? {
            return Err(Error::AuthenticationRequired);
        }
        match self.caller_with(&key.key, address) {
            Err(Error::KeyUnusable(Unusable::Expired(_))) => Err(Error::AuthenticationRequired),
            caller => caller,
        }
    }

    /// Names the project, the key and the profile of a caller with a key.
    pub async fn describe_caller(&self, caller: &Caller) -> Result<CallerNames, Error> {
        let (project, profile) = (caller.project_id, caller.profile_id);
        let key = caller.access_key_id.ok_or(Error::AuthenticationRequired)?;
        self.store
            .read(move |db| {
                let key = access_keys::find(db, project, key)?.ok_or(Error::AuthenticationRequired)?.key;
                let profile_name = profiles::find_name(db, project, profile)?;
                let project = projects::find_name(db, project)?.unwrap_or_default();
                Ok(CallerNames { project, key_name: key.name, profile_name })
            })
            .await
    }

    /// Ends a session of the caller.
    pub async fn sign_out(&self, caller: &Caller, token: &SessionToken) -> Result<(), Error> {
        let Some(access_key_id) = caller.access_key_id else { return Ok(()) };
        let (project, digest, now) = (caller.project_id, token.digest(), self.clock.now());
        let entry = Entry::new(caller.by(), Action::ConsoleSignedOut, access_key_id);
        self.store
            .write(move |tx| {
                if console_sessions::delete(tx, project, &digest)? {
                    audit::record(tx, Some(project), &entry, now)?;
                }
                Ok::<_, store::Error>(())
            })
            .await?;
        Ok(())
    }
}
