//! Access keys: who may call, how keys are made and revoked, and when they were last used.
//!
//! A use is counted in memory, because a write for each request would cost more than the request. `background` has the
//! uses written within a minute, and a stop of the broker writes the last of them.

use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};

use super::error::What;
use super::{Broker, Caller, Error, key_rows, profiles};
use crate::domain::access_key::{AccessKey, PlainAccessKey, Scope};
use crate::domain::audit::{Action, Actor, By, Entry};
use crate::domain::id::{AccessKeyId, ProjectId};
use crate::domain::key_limits::{Limits, WARN_AHEAD};
use crate::domain::key_uses::{KeyUse, KeyUses};
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;
use crate::domain::visible::{is_blank, is_misleading};
use crate::store::{self, Transaction, access_keys, audit, counts, projects};

/// Longest name of a key or a project, in code points.
const NAME_MAX: usize = 100;

/// Most networks of a key.
const NETWORKS_MAX: usize = 100;

impl Broker {
    /// The caller behind the value of `x-access-key`, at this client's address.
    ///
    /// # Errors
    ///
    /// [`Error::KeyUnusable`] when the key is right, but has expired or does not work from there;
    /// [`Error::AuthenticationRequired`] for any other reason.
    pub async fn authenticate(&self, key: &str, address: Option<IpAddr>) -> Result<Caller, Error> {
        let key = PlainAccessKey::parse(key).map_err(|_| Error::AuthenticationRequired)?;
        let digest = key.digest();
        match self.store.find_access_key(digest).await? {
            // Found by equality in an index. This comparison takes the same time whatever the difference.
            Some(found) if found.digest == digest && self.is_authentic(&found).await? => {
                self.caller_with(&found.key, address)
            }
            _ => Err(Error::AuthenticationRequired),
        }
    }

    /// The caller who holds this key, if it can be used now and from there. Counts a use of the key.
    pub(super) fn caller_with(&self, key: &AccessKey, address: Option<IpAddr>) -> Result<Caller, Error> {
        let AccessKey { id, project_id, limits, .. } = key;
        let now = self.clock.now();
        limits.check(address, now)?;
        self.key_uses().add(KeyUse { project_id: *project_id, access_key_id: *id, at: now });
        Ok(Caller {
            actor: Actor::AccessKey,
            access_key_id: Some(*id),
            link_id: None,
            project_id: *project_id,
            profile_id: limits.profile_id,
            scopes: limits.scopes.clone(),
            address,
        })
    }

    /// Creates a key for the project of that name. Returns it as stored, and the key itself, which is never shown
    /// again.
    pub async fn create_access_key(
        &self,
        project: &str,
        name: &str,
        limits: impl Into<Limits>,
    ) -> Result<(AccessKey, SecretString), Error> {
        let (limits, project) = (limits.into(), project.to_owned());
        self.store_key(name, By::COMMAND_LINE, move |tx, _| {
            let project = projects::find_by_name(tx, &project)?.ok_or(Error::NotFound(What::Project))?;
            Ok((project.id, limits))
        })
        .await
    }

    /// Creates a key for a caller with a key of their own, in the same project. The new key inherits the limits that
    /// are left open, and is never stronger.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the limits are wider than those of the caller's key; [`Error::ScopeMissing`] when that
    /// key may not manage; [`Error::AuthenticationRequired`] for a caller without a key, or whose key was revoked
    /// meanwhile.
    pub async fn create_access_key_as(
        &self,
        maker: &Caller,
        name: &str,
        limits: impl Into<Limits>,
    ) -> Result<(AccessKey, SecretString), Error> {
        if !maker.may(Scope::Manage) {
            return Err(Error::ScopeMissing(Scope::Manage));
        }
        let maker_id = maker.access_key_id.ok_or(Error::AuthenticationRequired)?;
        let (project, address, limits) = (maker.project_id, maker.address, limits.into());
        let vault = self.vault.clone();
        self.store_key(name, maker.by(), move |tx, now| {
            // As it is now: it may have been revoked since the caller was authenticated.
            let maker = access_keys::find(tx, project, maker_id)?.ok_or(Error::AuthenticationRequired)?;
            if key_rows::look(&vault, &maker) != Some(true) {
                return Err(Error::AuthenticationRequired);
            }
            let maker = maker.key;
            maker.limits.check(address, now)?;
            let limits = limits.within(&maker.limits).map_err(|stronger| Error::Invalid(stronger.to_string()))?;
            Ok((project, limits))
        })
        .await
    }

    /// Stores a key for the project and with the limits that `decide` returns.
    async fn store_key(
        &self,
        name: &str,
        by: By,
        decide: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<(ProjectId, Limits), Error> + Send + 'static,
    ) -> Result<(AccessKey, SecretString), Error> {
        let name = valid_name("name", name)?;
        let plain = PlainAccessKey::generate(&*self.entropy);
        let (id, now, digest, hint) = (self.ids.next(), self.clock.now(), plain.digest(), plain.hint());
        let vault = self.vault.clone();
        let key = self
            .store
            .write(move |tx| {
                let (project_id, limits) = decide(tx, now)?;
                let limits = valid_limits(limits, now)?;
                if let Some(profile) = limits.profile_id {
                    profiles::get(tx, project_id, profile)?;
                }
                let (created_at, last_used_at, revoked_at) = (now, None, None);
                let key = AccessKey { id, project_id, name, hint, limits, created_at, last_used_at, revoked_at };
                access_keys::insert(tx, &key, &digest)?;
                access_keys::authenticate(tx, project_id, id, &key_rows::mac(&vault, &key, &digest)?)?;
                audit::record(tx, Some(project_id), &Entry::new(by, Action::AccessKeyCreated, key.id), now)?;
                Ok::<_, Error>(key)
            })
            .await?;
        Ok((key, plain.into_secret()))
    }

    /// The keys of all projects, oldest first, with the project's name. For the operator's command line.
    pub async fn list_access_keys(&self) -> Result<Vec<(AccessKey, String)>, Error> {
        Ok(self.store.read_long(access_keys::list_all).await?)
    }

    /// Number of keys that are neither revoked nor expired, and of connected accounts, in all projects.
    pub async fn count_keys_and_accounts(&self) -> Result<(u64, u64), Error> {
        let now = self.clock.now();
        let count = move |db: &_| Ok::<_, store::Error>((access_keys::count_usable(db, now)?, counts::accounts(db)?));
        Ok(self.store.read_long(count).await?)
    }

    /// Usable keys of all projects that expire within two weeks, the next one first. Tells the metrics their number.
    pub async fn list_expiring_keys(&self) -> Result<Vec<AccessKey>, Error> {
        let now = self.clock.now();
        let expiring = self.store.read(move |db| access_keys::list_expiring(db, now, now.plus(WARN_AHEAD))).await?;
        #[expect(clippy::cast_precision_loss, reason = "a double counts to more keys than a disk holds")]
        metrics::gauge!("postpeer_access_keys_expiring").set(expiring.len() as f64);
        Ok(expiring)
    }

    /// Revokes a key from the next request on, with the links that it made. False when there is no such key, or it is
    /// revoked already.
    pub async fn revoke_access_key(&self, id: AccessKeyId) -> Result<bool, Error> {
        let now = self.clock.now();
        let revoked = self
            .store
            .write(move |tx| {
                let Some(project) = access_keys::revoke(tx, id, now)? else { return Ok::<_, store::Error>(false) };
                let entry = Entry::new(By::COMMAND_LINE, Action::AccessKeyRevoked, id);
                audit::record(tx, Some(project), &entry, now)?;
                Ok(true)
            })
            .await?;
        access_keys::until_known().await;
        Ok(revoked)
    }

    fn key_uses(&self) -> MutexGuard<'_, KeyUses> {
        self.key_uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes when keys were last used: of each key once a minute, or with `all` everything that is not written yet.
    ///
    /// # Errors
    ///
    /// Uses that could not be written are kept for the next time.
    pub async fn write_key_uses(&self, all: bool) -> Result<(), Error> {
        let uses = self.key_uses().take(self.clock.now(), all);
        if uses.is_empty() {
            return Ok(());
        }
        let rows = uses.clone();
        // A power cut may lose them.
        let write =
            self.store.write_unsynced(move |tx| rows.iter().try_for_each(|used| access_keys::record_use(tx, used)));
        if let Err(error) = write.await {
            self.key_uses().give_back(&uses);
            return Err(error.into());
        }
        Ok(())
    }
}

fn valid_limits(mut limits: Limits, now: Timestamp) -> Result<Limits, Error> {
    let invalid = |sentence: &str| Err(Error::Invalid(sentence.to_owned()));
    if limits.scopes.is_empty() {
        return invalid("a key needs at least one scope");
    }
    if limits.networks.len() > NETWORKS_MAX {
        return Err(Error::Invalid(format!("a key has at most {NETWORKS_MAX} networks")));
    }
    if let Some(at) = limits.expires_at.filter(|at| *at <= now) {
        return Err(Error::Invalid(format!(
            "the expiry must be in the future: it is {now} now, and the key would expire at {at}"
        )));
    }
    limits.scopes.sort_unstable();
    limits.scopes.dedup();
    Ok(limits)
}

pub(super) fn valid_name(what: &str, name: &str) -> Result<String, Error> {
    let name = name.trim();
    if is_blank(name) || name.chars().count() > NAME_MAX || name.chars().any(is_misleading) {
        return Err(Error::Invalid(format!(
            "{what} must be 1 to {NAME_MAX} visible characters, without control characters or bidirectional overrides"
        )));
    }
    Ok(name.to_owned())
}
