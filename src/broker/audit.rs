//! Reads the audit trail, and deletes entries that were kept for long enough. Each use case records its own entries, in
//! the transaction of its change.

use super::purge::pause;
use super::{Broker, Caller, Error};
use crate::domain::audit::{By, Recorded, Since};
use crate::domain::id::AccessKeyId;
use crate::store::audit;

/// Entries that one transaction deletes, so that no other write waits long.
const BATCH: u32 = 500;

impl Caller {
    /// The caller, for the trail.
    pub(super) fn by(&self) -> By {
        By { actor: self.actor, access_key_id: self.access_key_id, link_id: self.link_id, address: self.address }
    }
}

impl Broker {
    /// Entries of the caller's project, oldest first; those about the caller's profile, where it is bound to one.
    pub async fn audit_trail(&self, caller: &Caller, since: Since, limit: u32) -> Result<Vec<Recorded>, Error> {
        let (project, profile) = (caller.project_id, caller.profile_id);
        Ok(self.store.read_long_for(project, move |db| audit::list(db, project, profile, since, limit)).await?)
    }

    /// Entries of all projects, oldest first, of one key or of all. For the operator's command line.
    pub async fn whole_audit_trail(
        &self,
        since: Since,
        key: Option<AccessKeyId>,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        Ok(self.store.read_long(move |db| audit::list_all(db, since, key, limit)).await?)
    }

    /// Deletes entries that are older than the configuration keeps them, in small transactions. Returns their number.
    /// Deletes none while the clock may be wrong.
    pub async fn purge_audit(&self) -> Result<usize, Error> {
        let mut purged = 0;
        while let Some(now) = self.trusted_now() {
            let before = now.minus(self.settings.keep_audit);
            // Rows that a power cut brings back are purged again.
            let batch = self.store.write_unsynced(move |tx| audit::purge(tx, before, BATCH)).await?;
            purged += batch;
            if batch < BATCH as usize {
                break;
            }
            pause().await;
        }
        Ok(purged)
    }
}
