//! Records which key reads which account's token.
//!
//! A durable write for each read would cost a hundred times what the read does. So the first read of a token by a key
//! within a minute is on the disk before its answer, and further ones are counted in memory. `background` has those
//! written once a second, in a few transactions, and a stop of the broker writes the last of them.
//!
//! Invariants: whoever reads a token leaves a row on the disk that says so, at most a minute old. A crash loses the
//! counts of the last second, and no first read. A full disk stops no caller: the read is in the log then, and what was
//! counted is kept until there is space.

use std::cmp::Reverse;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::What;
use super::{Broker, Caller, Error};
use crate::domain::audit::{Action, Entry};
use crate::domain::error_chain::chain;
use crate::domain::id::IntegrationId;
use crate::domain::integration::{AccountTokens, TokenReads};
use crate::domain::read_counts::{Counted, ReadCounts, TokenReader};
use crate::store::{self, audit, token_reads};

/// Rows in one transaction, so that no other write waits long.
const BATCH: usize = 1000;

/// The reads that are not on the disk.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    counts: Mutex<ReadCounts>,
    /// Held while counts are written, so that whoever comes second finds everything written when it has its turn.
    writing: tokio::sync::Mutex<()>,
}

impl Unwritten {
    fn counts(&self) -> MutexGuard<'_, ReadCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Records that the caller gets a token. The first read of a minute is in the log at `info`, and further ones at
    /// `debug`.
    pub(super) async fn record_read(&self, caller: &Caller, found: &AccountTokens) -> Result<(), Error> {
        let (now, id, platform) = (self.clock.now(), found.id, found.platform.as_str());
        let reader = caller.access_key_id.map(|access_key_id| TokenReader {
            project_id: caller.project_id,
            integration_id: id,
            access_key_id,
        });
        let key = caller.access_key_id.map(tracing::field::display);
        if reader.is_some_and(|reader| self.unwritten.counts().count(reader, now)) {
            tracing::debug!(access_key.id = key, integration.id = %id, platform.name = platform, "access token handed out");
            return Ok(());
        }
        tracing::info!(access_key.id = key, integration.id = %id, platform.name = platform, "access token handed out");
        let Some(reader) = reader else { return Ok(()) };
        let entry = Entry::new(caller.by(), Action::TokenRead, id).of_profile(found.profile_id);
        let write = self.store.write(move |tx| {
            if !token_reads::record(tx, &reader, Counted::one(now))? {
                return Ok(false);
            }
            audit::record(tx, Some(reader.project_id), &entry, now)?;
            Ok::<_, store::Error>(true)
        });
        match write.await {
            Ok(true) => {
                self.unwritten.counts().written(reader, now);
                Ok(())
            }
            // Its project was deleted meanwhile.
            Ok(false) => Err(Error::NotFound(What::Integration)),
            Err(error) if error.is_unwritable() => {
                tracing::warn!(
                    access_key.id = key, integration.id = %id, error = %chain(&error),
                    "the database takes no changes: this read of a token is recorded in the log only"
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds what is not on the disk yet to the reads that are.
    pub(super) fn with_unwritten(
        &self,
        caller: &Caller,
        id: IntegrationId,
        mut written: Vec<TokenReads>,
    ) -> Vec<TokenReads> {
        let counts = self.unwritten.counts();
        for read in &mut written {
            let reader =
                TokenReader { project_id: caller.project_id, integration_id: id, access_key_id: read.access_key_id };
            if let Some(counted) = counts.of(&reader) {
                read.reads = read.reads.saturating_add(counted.reads);
                read.last_at = read.last_at.max(counted.last_at);
            }
        }
        written.sort_by_key(|read| Reverse(read.last_at));
        written
    }

    /// Writes the counted reads. Returns their number.
    ///
    /// # Errors
    ///
    /// Counts that could not be written are kept for the next time.
    pub async fn write_token_reads(&self) -> Result<u64, Error> {
        let _turn = self.unwritten.writing.lock().await;
        let counted = self.unwritten.counts().take(self.clock.now());
        let mut written = 0;
        for (number, batch) in counted.chunks(BATCH).enumerate() {
            let rows = batch.to_vec();
            let write = self.store.write(move |tx| {
                // The project is deleted, with the key that read: there is nothing to record.
                rows.iter().try_for_each(|(reader, counted)| token_reads::record(tx, reader, *counted).map(drop))
            });
            if let Err(error) = write.await {
                self.unwritten.counts().give_back(counted.get(number * BATCH..).unwrap_or_default());
                return Err(error.into());
            }
            written += batch.iter().map(|(_, counted)| counted.reads).sum::<u64>();
        }
        Ok(written)
    }
}
