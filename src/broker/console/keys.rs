//! Access keys as the console manages them: those of the caller's project, none stronger than the caller's own.

use crate::broker::error::What;
use crate::broker::{Broker, Caller, Error};
use crate::domain::access_key::AccessKey;
use crate::domain::audit::{Action, Entry};
use crate::domain::id::AccessKeyId;
use crate::domain::key_limits::{Expiry, Limits};
use crate::domain::secret::SecretString;
use crate::store::{access_keys, audit};

/// Keys on a page.
const KEYS: u32 = 25;

/// A page of access keys, newest first, revoked ones too.
#[derive(Debug)]
pub struct KeyPage {
    pub keys: Vec<ListedKey>,
    /// The last key of this page; `None` when it is the last page.
    pub next: Option<AccessKeyId>,
}

/// An access key in the list.
#[derive(Debug)]
pub struct ListedKey {
    pub key: AccessKey,
    /// True when the caller may revoke it: it works, and is not stronger than the caller's own.
    pub is_revocable: bool,
}

impl Broker {
    /// Keys of the caller's project, or of the caller's profile, behind `after`.
    pub async fn list_keys(&self, caller: &Caller, after: Option<AccessKeyId>) -> Result<KeyPage, Error> {
        let (project, profile, own) = (caller.project_id, caller.profile_id, caller.access_key_id);
        let (mut keys, own) = self
            .store
            .read(move |db| {
                let own = own.map(|id| access_keys::find(db, project, id)).transpose()?.flatten();
                Ok::<_, Error>((access_keys::list(db, project, profile, after, KEYS + 1)?, own))
            })
            .await?;
        let own = own.ok_or(Error::AuthenticationRequired)?.key.limits;
        let has_more = keys.len() > KEYS as usize;
        keys.truncate(KEYS as usize);
        let next = keys.last().filter(|_| has_more).map(|key| key.id);
        let listed =
            |key: AccessKey| ListedKey { is_revocable: key.revoked_at.is_none() && is_within(&key.limits, &own), key };
        Ok(KeyPage { keys: keys.into_iter().map(listed).collect(), next })
    }

    /// Creates a key as [`create_access_key_as`](Self::create_access_key_as) does, with an expiry that may count from
    /// now.
    pub async fn make_key(
        &self,
        caller: &Caller,
        name: &str,
        limits: Limits,
        expires: Option<Expiry>,
    ) -> Result<(AccessKey, SecretString), Error> {
        let expires_at = expires.map(|expires| expires.from(self.clock.now()));
        self.create_access_key_as(caller, name, Limits { expires_at, ..limits }).await
    }

    /// Revokes a key of the caller's project from the next request on; the caller's own as well.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such key that works and that the caller sees; [`Error::Invalid`] when it is
    /// stronger than the caller's own.
    pub async fn revoke_access_key_as(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let unknown = || Error::NotFound(What::AccessKey);
        let id: AccessKeyId = id.parse().map_err(|_| unknown())?;
        let own = caller.access_key_id.ok_or(Error::AuthenticationRequired)?;
        let (caller, now) = (caller.clone(), self.clock.now());
        self.store
            .write(move |tx| {
                let project = caller.project_id;
                let own = access_keys::find(tx, project, own)?.ok_or(Error::AuthenticationRequired)?.key;
                let found = access_keys::find(tx, project, id)?.map(|found| found.key);
                let found = found.filter(|key| caller.sees(key.limits.profile_id)).ok_or_else(unknown)?;
                if !is_within(&found.limits, &own.limits) {
                    return Err(Error::Invalid(
                        "the key is stronger than the one that you signed in with: use postpeer access-key revoke"
                            .to_owned(),
                    ));
                }
                access_keys::revoke(tx, id, now)?;
                audit::record(tx, Some(project), &Entry::new(caller.by(), Action::AccessKeyRevoked, id), now)?;
                Ok(())
            })
            .await?;
        access_keys::until_known().await;
        Ok(())
    }
}

/// True for limits that a key with the limits `own` could give to another one.
fn is_within(limits: &Limits, own: &Limits) -> bool {
    limits.clone().within(own).as_ref() == Ok(limits)
}
