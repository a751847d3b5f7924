//! Reads of tokens: a row for each key and account, which stays when the account is disconnected.
//!
//! One statement is for every project and says so: the one that deletes old rows.

use std::cmp::Reverse;

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, signed};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::TokenReads;
use crate::domain::read_counts::{Counted, TokenReader};
use crate::domain::time::Timestamp;

/// Adds reads to those of the same key and account. False when the key is gone, with its project.
pub fn record(db: &Transaction<'_>, reader: &TokenReader, counted: Counted) -> Result<bool, Error> {
    let recorded = change(
        db,
        "INSERT INTO token_reads (project_id, integration_id, access_key_id, reads, first_at, last_at)
         SELECT project_id, :integration, id, :reads, :first_at, :last_at
         FROM access_keys WHERE project_id = :project AND id = :access_key
         ON CONFLICT (project_id, integration_id, access_key_id)
            DO UPDATE SET reads = reads + excluded.reads, last_at = max(last_at, excluded.last_at)",
        named_params! {
            ":project": reader.project_id, ":integration": reader.integration_id, ":access_key": reader.access_key_id,
            ":reads": signed(counted.reads), ":first_at": counted.first_at, ":last_at": counted.last_at,
        },
    )?;
    Ok(recorded == 1)
}

/// Most keys of [`list`].
const LATEST: usize = 10;

/// The ten keys that read an account's token last, the latest first.
pub fn list(db: &Connection, project: ProjectId, integration: IntegrationId) -> Result<Vec<TokenReads>, Error> {
    // Sorted here: SQLite would make a temporary table for it each time, and few keys read the same account.
    let mut reads = all(
        db,
        "SELECT access_key_id AS id, reads, first_at, last_at FROM token_reads
         WHERE project_id = :project AND integration_id = :integration",
        named_params! {":project": project, ":integration": integration},
        |row| {
            let fields = Fields::of("token_reads", row);
            Ok(TokenReads {
                access_key_id: fields.get("id")?,
                reads: fields.unsigned("reads")?,
                first_at: fields.get("first_at")?,
                last_at: fields.get("last_at")?,
            })
        },
    )?;
    reads.sort_by_key(|read| (Reverse(read.last_at), read.access_key_id));
    reads.truncate(LATEST);
    Ok(reads)
}

/// Deletes up to `limit` rows of all projects without a read since `before`, and returns their number.
pub fn forget_old(db: &Transaction<'_>, before: Timestamp, limit: u32) -> Result<usize, Error> {
    change(
        db,
        "DELETE FROM token_reads /* every project */ WHERE (project_id, integration_id, access_key_id) IN
            (SELECT project_id, integration_id, access_key_id FROM token_reads WHERE last_at < :before LIMIT :limit)",
        named_params! {":before": before, ":limit": limit},
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access_key::{AccessKey, Scope};
    use crate::domain::id::AccessKeyId;
    use crate::domain::key_limits::Limits;
    use crate::store::access_keys;
    use crate::store::fixture::Fixture;

    #[test]
    fn reads_are_counted_per_key_and_deleted_when_old() {
        let mut fixture = Fixture::new();
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let integration: IntegrationId = fixture.id();
        let keys: [AccessKeyId; 2] = [fixture.id(), fixture.id()];
        for (number, id) in keys.into_iter().enumerate() {
            let key = AccessKey {
                id,
                project_id: ours,
                name: "test".to_owned(),
                hint: "ppk_".to_owned(),
                limits: Limits::from(Scope::ALL),
                created_at: fixture.now(),
                last_used_at: None,
                revoked_at: None,
            };
            let digest = crate::domain::secret::Digest256::of(&[u8::try_from(number).unwrap()]);
            fixture.write(|db| access_keys::insert(db, &key, &digest)).unwrap();
        }
        let reader = |project_id, access_key_id| TokenReader { project_id, integration_id: integration, access_key_id };
        let first = fixture.now();
        let now = fixture.later(1);
        fixture.write(|db| record(db, &reader(ours, keys[0]), Counted::one(now))).unwrap();
        let later = Counted { reads: 2, first_at: fixture.later(1), last_at: fixture.later(1) };
        fixture.write(|db| record(db, &reader(ours, keys[0]), later)).unwrap();
        let now = fixture.later(100);
        fixture.write(|db| record(db, &reader(ours, keys[1]), Counted::one(now))).unwrap();
        let listed = list(&fixture.db, ours, integration).unwrap();
        assert_eq!(
            listed.iter().map(|read| (read.access_key_id, read.reads)).collect::<Vec<_>>(),
            [(keys[1], 1), (keys[0], 3)]
        );
        assert_eq!(first.until(listed[1].first_at).as_secs(), 1);
        assert_eq!(first.until(listed[1].last_at).as_secs(), 3);
        assert!(list(&fixture.db, theirs, integration).unwrap().is_empty());
        let foreign = fixture.write(|db| record(db, &reader(theirs, keys[0]), Counted::one(now)));
        assert!(!foreign.unwrap(), "a key of ours under theirs");
        assert_eq!(fixture.write(|db| forget_old(db, now, 10)).unwrap(), 1);
        assert_eq!(list(&fixture.db, ours, integration).unwrap().len(), 1);
    }
}
