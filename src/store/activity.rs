//! Counts of each hour: refreshes, failed refreshes, and reads of tokens. Triggers keep them
//! (`migrations/V0019__console.sql`).
//!
//! One statement is for every project and says so: the one that deletes old rows.

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change};
use crate::domain::activity::Hour;
use crate::domain::id::ProjectId;

/// The hours from `first` until `last` in which something happened in the project, in order.
pub fn list(db: &Connection, project: ProjectId, first: i64, last: i64) -> Result<Vec<Hour>, Error> {
    all(
        db,
        "SELECT hour, refreshed, failed, reads FROM activity
         WHERE project_id = :project AND hour BETWEEN :first AND :last ORDER BY hour",
        named_params! {":project": project, ":first": first, ":last": last},
        |row| {
            let fields = Fields::of("activity", row);
            Ok(Hour {
                hour: fields.get("hour")?,
                refreshed: fields.unsigned("refreshed")?,
                failed: fields.unsigned("failed")?,
                reads: fields.unsigned("reads")?,
            })
        },
    )
}

/// Deletes up to `limit` rows of all projects from before that hour, and returns their number.
pub fn purge(db: &Transaction<'_>, before: i64, limit: u32) -> Result<usize, Error> {
    change(
        db,
        "DELETE FROM activity /* every project */ WHERE (project_id, hour) IN
            (SELECT project_id, hour FROM activity WHERE hour < :before LIMIT :limit)",
        named_params! {":before": before, ":limit": limit},
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::access_key::{AccessKey, Scope};
    use crate::domain::activity::hour_of;
    use crate::domain::failure::Failure;
    use crate::domain::grant::Grant;
    use crate::domain::key_limits::Limits;
    use crate::domain::read_counts::{Counted, TokenReader};
    use crate::domain::refresh_failure::RefreshFailure;
    use crate::domain::secret::Digest256;
    use crate::store::fixture::Fixture;
    use crate::store::{access_keys, token_reads};

    #[test]
    fn refreshes_failures_and_reads_are_counted_in_their_hour() {
        let mut fixture = Fixture::new();
        let (ours, grant) = (fixture.ours, fixture.grant("twitter", "s"));
        let key = AccessKey {
            id: fixture.id(),
            project_id: ours,
            name: "ci".to_owned(),
            hint: "ppk_".to_owned(),
            limits: Limits::from(Scope::ALL),
            created_at: fixture.now(),
            last_used_at: None,
            revoked_at: None,
        };
        fixture.write(|db| access_keys::insert(db, &key, &Digest256::of(b"k"))).unwrap();
        let start = fixture.now();
        let later = start.plus(Duration::from_hours(2));
        let trouble = |at| {
            let kind = Failure::PlatformUnavailable;
            Some(RefreshFailure {
                kind,
                status: None,
                platform_code: None,
                at,
                backup_taken_at: None,
                refused_alone: None,
            })
        };
        fixture.change(grant, |grant| Ok(Grant { trouble: trouble(start), failures: 1, ..grant }));
        // The same failure, looked at again.
        fixture.change(grant, |grant| Ok(Grant { due_at: Some(later), ..grant }));
        fixture.change(grant, |grant| Ok(Grant { trouble: trouble(later), failures: 2, ..grant }));
        fixture.change(grant, |grant| Ok(Grant { issued_at: later, trouble: None, failures: 0, ..grant }));
        // Its owner connected it again: that is no refresh.
        let again = later.plus(Duration::from_secs(1));
        fixture.change(grant, |grant| Ok(Grant { issued_at: again, consented_at: again, ..grant }));
        let integration_id = fixture.id();
        let reader = TokenReader { project_id: ours, integration_id, access_key_id: key.id };
        for (at, reads) in [(start, 1), (start, 4), (later, 2)] {
            let counted = Counted { reads, first_at: at, last_at: at };
            fixture.write(|db| token_reads::record(db, &reader, counted)).unwrap();
        }
        let hours = |fixture: &Fixture, project| list(&fixture.db, project, 0, i64::MAX).unwrap();
        let [first, last] = [start, later].map(hour_of);
        let expected = [
            Hour { hour: first, refreshed: 0, failed: 1, reads: 5 },
            Hour { hour: last, refreshed: 1, failed: 1, reads: 2 },
        ];
        assert_eq!(hours(&fixture, ours), expected);
        assert_eq!(list(&fixture.db, ours, last, last).unwrap(), expected[1..]);
        assert!(hours(&fixture, fixture.theirs).is_empty());
        assert_eq!(fixture.write(|db| purge(db, last, 9)).unwrap(), 1);
        assert_eq!(hours(&fixture, ours), expected[1..]);
    }
}
