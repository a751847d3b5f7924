//! Rows of access keys, and of sessions that act for them, that only the broker can write: each carries an
//! authentication code, which takes a data key to make.
//!
//! Otherwise who can write to the database, and has no keyring, could add a key of their own, or give one more scopes,
//! and be handed the tokens that they cannot open. A row without a code, or with another one, is like no row at all.
//! Only rows that an earlier release left get their codes at the first start; once the data keys are
//! [bound](super::reseal), none do.

use super::reseal::BATCH;
use super::{Broker, keyring};
use crate::domain::access_key::{AccessKey, Scope};
use crate::domain::console_session::ConsoleSession;
use crate::domain::secret::{Digest256, RowMac};
use crate::store::access_keys::{self, FoundKey};
use crate::store::{self, Transaction};
use crate::vault::{self, Vault};

impl Broker {
    /// Authenticates the rows that an earlier release left, also those of [connections](super::connection_rows). To be
    /// called before the first request.
    ///
    /// # Errors
    ///
    /// The database cannot be read or written.
    pub async fn authenticate_old_rows(&self) -> Result<(), keyring::Error> {
        self.authenticate_old_keys().await?;
        self.authenticate_old_connections().await
    }

    async fn authenticate_old_keys(&self) -> Result<(), keyring::Error> {
        if !self.vault.takes_first_version() {
            return Ok(());
        }
        let vault = self.vault.clone();
        let keys = self
            .store
            .write(move |tx| {
                let old = access_keys::list_unauthenticated(tx)?;
                old.iter().try_for_each(|found| authenticate(tx, &vault, found))?;
                Ok::<_, keyring::Error>(old.len())
            })
            .await?;
        if keys > 0 {
            tracing::info!(keys, "authenticated the access keys that an earlier release had made");
        }
        Ok(())
    }

    /// True when the broker wrote this row. The answer is remembered with the row.
    pub(super) async fn is_authentic(&self, found: &FoundKey) -> Result<bool, super::Error> {
        if let Some(known) = found.is_authentic.get() {
            return Ok(*known);
        }
        let looked = match look(&self.vault, found) {
            None if found.mac.is_some() => {
                // Another process rotated the data keys a moment ago.
                self.try_to_adopt_keys().await;
                look(&self.vault, found)
            }
            looked => looked,
        };
        let is_authentic = looked == Some(true);
        if found.is_authentic.set(is_authentic).is_ok() && !is_authentic {
            tracing::error!(
                access_key.id = %found.key.id, table = "access_keys",
                "refused an access key whose row the broker did not write like this: somebody changed the database. Run \
                 `postpeer doctor` to see all such rows; revoke the key and make a new one, or restore a backup"
            );
        }
        Ok(is_authentic)
    }
}

/// True when the row's code is right; `None` where it has none, or its data key is unknown.
pub fn look(vault: &Vault, found: &FoundKey) -> Option<bool> {
    vault.is_authentic(&parts(&found.key, &found.digest), found.mac.as_ref()?)
}

/// The code of a row.
pub(super) fn mac(vault: &Vault, key: &AccessKey, digest: &Digest256) -> Result<RowMac, vault::Error> {
    vault.mac(&parts(key, digest))
}

/// Gives the row a code of the active data key.
pub(super) fn authenticate(tx: &Transaction<'_>, vault: &Vault, found: &FoundKey) -> Result<(), keyring::Error> {
    let mac = mac(vault, &found.key, &found.digest)?;
    Ok(access_keys::authenticate(tx, found.key.project_id, found.key.id, &mac)?)
}

/// Replaces up to a batch of codes that an older data key made. Returns how many it did, and how many are wrong and
/// stay.
pub(super) fn renew_batch(
    tx: &Transaction<'_>,
    vault: &Vault,
    active: u32,
    skip: u32,
) -> Result<(u64, u64), keyring::Error> {
    let (mut done, mut wrong) = (0, 0);
    for found in access_keys::list_older(tx, active, skip, BATCH)? {
        if look(vault, &found) == Some(true) {
            authenticate(tx, vault, &found)?;
            done += 1;
        } else {
            tracing::error!(access_key.id = %found.key.id, "the broker did not write this access key's row like this");
            wrong += 1;
        }
    }
    Ok((done, wrong))
}

/// The rows of keys that are not authentic, for `doctor`.
///
/// # Errors
///
/// The database cannot be read.
pub fn list_forged(db: &store::Connection, vault: &Vault) -> Result<Vec<AccessKey>, store::Error> {
    let keys = access_keys::list_unrevoked(db)?;
    Ok(keys.into_iter().filter(|found| look(vault, found) != Some(true)).map(|found| found.key).collect())
}

/// The code of a session of the console. A session is over when the data key that made its code is retired.
pub(super) fn session_mac(vault: &Vault, session: &ConsoleSession) -> Result<RowMac, vault::Error> {
    vault.mac(&session_parts(session))
}

/// True when the broker wrote the session's row. It acts with the rights of a key, so it proves who made it as the key
/// does.
pub(super) fn is_own_session(vault: &Vault, session: &ConsoleSession, mac: &RowMac) -> bool {
    let is_own = vault.is_authentic(&session_parts(session), mac) == Some(true);
    if !is_own {
        tracing::error!(
            access_key.id = %session.access_key_id, table = "console_sessions",
            "refused a session of the console that the broker did not begin like this: somebody changed the database, or the \
             data key of that time is retired"
        );
    }
    is_own
}

fn session_parts(session: &ConsoleSession) -> [Vec<u8>; 5] {
    let ConsoleSession { digest, project_id, access_key_id, created_at: _, expires_at } = session;
    [
        b"console_sessions".to_vec(),
        digest.as_bytes().to_vec(),
        project_id.to_string().into_bytes(),
        access_key_id.to_string().into_bytes(),
        expires_at.as_millis().to_string().into_bytes(),
    ]
}

/// All that decides who may do what with the key. A revoked one has no code. Its name, hint and last use decide
/// nothing.
fn parts(key: &AccessKey, digest: &Digest256) -> [Vec<u8>; 9] {
    let AccessKey { id, project_id, limits, created_at, .. } = key;
    let scopes: Vec<&str> = limits.scopes.iter().map(Scope::into_str).collect();
    let networks: Vec<String> = limits.networks.iter().map(ToString::to_string).collect();
    [
        b"access_keys".to_vec(),
        id.to_string().into_bytes(),
        project_id.to_string().into_bytes(),
        digest.as_bytes().to_vec(),
        scopes.join(",").into_bytes(),
        limits.profile_id.map(|id| id.to_string()).unwrap_or_default().into_bytes(),
        networks.join(",").into_bytes(),
        limits.expires_at.map(|at| at.as_millis().to_string()).unwrap_or_default().into_bytes(),
        created_at.as_millis().to_string().into_bytes(),
    ]
}
