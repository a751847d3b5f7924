//! Brings stored values to the active data key and the present version, while the broker serves. Once no value of the
//! first version is left that opens, the data keys are bound: from then on they open none, so that nobody can put one
//! back.
//!
//! Where a value stands is in its row: the column with the id of its data key, and its first byte. So nothing is lost
//! when the process is killed, and the next one continues. A batch is read, sealed again and written in one transaction
//! on the connection that writes: no refresh comes in between, and none is overwritten.
//!
//! While a broker runs, it alone seals, so it never meets a key that it does not know: it takes a new one before it
//! uses it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Broker;
use super::backups::place;
use super::keyring::{Error, find_recovery_key};
use super::{connection_rows, key_rows};
use crate::domain::error_chain::chain;
use crate::failpoint;
use crate::store::sealed::{self, Outdated, SEALED, SealedColumn, count_outdated};
use crate::store::{Transaction, keyring, recovery};
use crate::vault::{KeyringFile, Vault};

/// Values in one transaction. Other writes wait for it for a few milliseconds.
pub(super) const BATCH: u32 = 200;

/// Interval between reports of progress.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Longer than any value that is read or about to be written stays in memory. After this time without a stored value
/// under an older key, no call needs one either.
pub(super) const SETTLED_AFTER: Duration = Duration::from_mins(10);

/// The outcome of a pass over all values.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    pub done: u64,
    /// Values that do not open. They keep their key, and are named in the log.
    pub unopened: u64,
}

impl Broker {
    /// Takes the data keys that another process added, activated or removed. True when there were any.
    pub async fn adopt_keys(&self) -> Result<bool, Error> {
        // Not a short read, which may not see yet what another process committed a moment ago.
        let stored = self.store.read_long(|db| Ok::<_, Error>(keyring::list(db)?)).await?;
        if self.vault.has(&stored) {
            return Ok(false);
        }
        self.vault.adopt(&KeyringFile::load(&self.settings.keyring)?, &stored)?;
        tracing::info!(active = self.vault.active_key(), keys = stored.len(), "the data keys have changed");
        Ok(true)
    }

    /// Like [`adopt_keys`](Self::adopt_keys), for a row whose data key is not known: a failure is only logged.
    pub(super) async fn try_to_adopt_keys(&self) {
        if let Err(error) = self.adopt_keys().await {
            tracing::warn!(error = %chain(&error), "cannot look for new data keys");
        }
    }

    /// Adopts changed keys and re-seals what is sealed with older ones, or was sealed by an earlier release, with a
    /// pause after each batch. `unopened`: the number of values that an earlier call could not open.
    pub async fn look_after_keys(
        &self,
        unopened: u64,
        pause: Duration,
        stop: &CancellationToken,
    ) -> Result<Resealed, Error> {
        let adopted = self.adopt_keys().await?;
        let active = self.vault.active_key();
        let (older, settled) = self
            .store
            .read_long(move |db| {
                Ok::<_, Error>((count_outdated(db, Outdated::Key(active))?, sealed::get_resealed(db)?))
            })
            .await?;
        metrics::gauge!("postpeer_values_to_reseal").set(u32::try_from(older).unwrap_or(u32::MAX));
        let is_settled = older > 0 || settled.is_some_and(|(key, _)| key == active);
        if older == unopened && is_settled && !adopted && !self.vault.takes_first_version() {
            return Ok(Resealed { done: 0, unopened });
        }
        self.reseal(active, pause, stop).await
    }

    async fn reseal(&self, active: u32, pause: Duration, stop: &CancellationToken) -> Result<Resealed, Error> {
        let mut total = self.reseal_all(Outdated::Key(active), pause, stop).await?;
        if self.vault.takes_first_version() && !stop.is_cancelled() {
            // Values that do not open are of no use to anybody, in whatever version.
            let Resealed { done, .. } = self.reseal_all(Outdated::Version, pause, stop).await?;
            total.done += done;
            if done == 0 && !stop.is_cancelled() {
                self.bind().await?;
            }
        }
        if !stop.is_cancelled() {
            self.settle(active, total).await?;
        }
        Ok(total)
    }

    async fn reseal_all(&self, what: Outdated, pause: Duration, stop: &CancellationToken) -> Result<Resealed, Error> {
        let mut left = self.store.read_long(move |db| Ok::<_, Error>(count_outdated(db, what)?)).await?;
        let mut total = Resealed::default();
        let mut reported_at = self.clock.now();
        if left > 0 {
            tracing::info!(values = left, active = self.vault.active_key(), "re-sealing stored values");
        }
        for column in SEALED {
            // Values that do not open come first in each batch: skip them.
            let mut skip = 0;
            loop {
                if stop.is_cancelled() {
                    return Ok(total);
                }
                let vault = self.vault.clone();
                let batch = self.store.write(move |tx| reseal_batch(tx, &vault, column, what, skip)).await?;
                if batch.done > 0 {
                    failpoint::reach("reseal_committed");
                }
                skip += u32::try_from(batch.unopened).unwrap_or(u32::MAX);
                total.done += batch.done;
                total.unopened += batch.unopened;
                left = left.saturating_sub(batch.done);
                metrics::gauge!("postpeer_values_to_reseal").set(u32::try_from(left).unwrap_or(u32::MAX));
                if batch.done + batch.unopened < u64::from(BATCH) {
                    break;
                }
                let now = self.clock.now();
                if reported_at.until(now) >= REPORT_EVERY {
                    tracing::info!(done = total.done, left, "re-sealing");
                    reported_at = now;
                }
                tokio::time::sleep(pause).await;
            }
        }
        if let Outdated::Key(active) = what {
            let keys = self.renew_codes(active, pause, stop).await?;
            total.done += keys.done;
            total.unopened += keys.unopened;
        }
        Ok(total)
    }

    /// The same for the codes of access keys and links.
    async fn renew_codes(&self, active: u32, pause: Duration, stop: &CancellationToken) -> Result<Resealed, Error> {
        let mut total = Resealed::default();
        for renew_batch in [key_rows::renew_batch, connection_rows::renew_batch] {
            let mut skip = 0;
            while !stop.is_cancelled() {
                let vault = self.vault.clone();
                let (done, wrong) = self.store.write(move |tx| renew_batch(tx, &vault, active, skip)).await?;
                skip += u32::try_from(wrong).unwrap_or(u32::MAX);
                total.done += done;
                total.unopened += wrong;
                if done + wrong < u64::from(BATCH) {
                    break;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Ok(total)
    }

    /// Ends an upgrade: every value is bound to its owner, and from now on no other is taken. The data keys, wrapped
    /// anew, say so.
    pub(super) async fn bind(&self) -> Result<(), Error> {
        let (vault, path) = (self.vault.clone(), self.settings.keyring.clone());
        self.store
            .write(move |tx| {
                // One that does not open is reported by `doctor`, and must not hold this up.
                let recovery = find_recovery_key(tx, &vault).unwrap_or_default();
                for (key, wrap) in vault.bind(&KeyringFile::load(&path)?, &keyring::list(tx)?, recovery.as_ref())? {
                    keyring::rewrap(tx, &key)?;
                    wrap.iter().try_for_each(|wrap| recovery::rewrap(tx, wrap))?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        failpoint::reach("bind_stored");
        self.adopt_keys().await?;
        tracing::info!("every stored value is bound to its project, platform and app: the upgrade is complete");
        Ok(())
    }

    /// Ends a pass: old ciphertext leaves the disk, and where no value needs an older key, that is recorded.
    async fn settle(&self, active: u32, total: Resealed) -> Result<(), Error> {
        if total.done > 0 {
            tracing::info!(values = total.done, active, "stored values are re-sealed");
            // The old ones were overwritten in the database file, but stay in the log until it is emptied.
            if let Err(error) = self.store.checkpoint().await {
                tracing::warn!(
                    error = %chain(&error),
                    "old values stay in the write-ahead log until it is overwritten"
                );
            }
        }
        if total.unopened > 0 {
            tracing::error!(values = total.unopened, "stored values do not open and keep their old data key");
        } else if !self.refresher.has_unsaved_tokens() {
            let now = self.clock.now();
            self.store.write(move |tx| Ok::<_, Error>(sealed::record_resealed(tx, active, now)?)).await?;
        }
        Ok(())
    }
}

fn reseal_batch(
    tx: &Transaction<'_>,
    vault: &Vault,
    column: SealedColumn,
    what: Outdated,
    skip: u32,
) -> Result<Resealed, Error> {
    let mut batch = Resealed::default();
    for value in column.list_outdated(tx, what, skip, BATCH)? {
        match vault.reseal(&place(&value), &value.sealed) {
            Ok(new) => {
                sealed::replace(tx, &value, &new)?;
                batch.done += 1;
            }
            Err(error) => {
                tracing::error!(row = value.row, error = %chain(&error), "cannot re-seal a stored value");
                batch.unopened += 1;
            }
        }
    }
    if batch.done > 0 {
        failpoint::reach("reseal_written");
    }
    Ok(batch)
}
