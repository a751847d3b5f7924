//! Late redirects: the rest of flows and selections that expired, which sends a person who comes late back to the app.
//! [`flows`](super::flows) and [`selections`](super::selections) leave it when they purge.
//!
//! Most statements are for every project: a late person has no access key, and the others bound what the whole broker
//! holds.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{self, Fields, all, count, one, signed};
use super::flows::{Owner, read_held};
use crate::domain::flow::LateRedirect;
use crate::domain::secret::Digest256;
use crate::domain::time::Timestamp;

/// The redirect of the state or selection token with that digest, unless it expired at `before` or earlier.
pub fn find(db: &Connection, credential: &Digest256, before: Timestamp) -> Result<Option<LateRedirect>, Error> {
    one(
        db,
        "SELECT * FROM late_redirects /* every project */ WHERE credential = :credential AND expired_at > :before",
        named_params! {":credential": credential, ":before": before},
        read,
    )
}

/// Deletes up to `limit` redirects that expired at `before` or earlier, oldest first, and returns their number.
pub fn purge(db: &Transaction<'_>, before: Timestamp, limit: u32) -> Result<usize, Error> {
    columns::change(
        db,
        "DELETE FROM late_redirects /* every project */ WHERE credential IN (
            SELECT credential FROM late_redirects WHERE expired_at <= :before ORDER BY expired_at LIMIT :limit)",
        named_params! {":before": before, ":limit": limit},
    )
}

/// Deletes up to `limit` redirects in excess of `most`, and returns their number: the oldest of the key that has most,
/// so that a busy key does not push out those of others.
pub fn shrink(db: &Transaction<'_>, most: u64, limit: u32) -> Result<usize, Error> {
    let in_all = count(db, "SELECT count(*) FROM late_redirects /* every project */", named_params! {})?;
    let excess = in_all.saturating_sub(most).min(u64::from(limit));
    if excess == 0 {
        return Ok(0);
    }
    let largest = count_by_key(db)?.into_iter().max_by_key(|(_, rows)| *rows);
    largest.map_or(Ok(0), |(largest, _)| delete_oldest(db, largest, excess))
}

/// The owners of redirects in all projects, with the number of each. Walks one narrow index.
pub(super) fn count_by_key(db: &Connection) -> Result<Vec<(Owner, u64)>, Error> {
    all(
        db,
        "SELECT project_id, access_key_id, count(*) AS rows FROM late_redirects /* every project */
         GROUP BY project_id, access_key_id",
        named_params! {},
        |row| read_held("late_redirects", row),
    )
}

/// Deletes up to `limit` redirects of a key, oldest first, and returns their number.
pub(super) fn delete_oldest(db: &Transaction<'_>, (project, key): Owner, limit: u64) -> Result<usize, Error> {
    columns::change(
        db,
        "DELETE FROM late_redirects WHERE credential IN (
            SELECT credential FROM late_redirects WHERE project_id = :project AND access_key_id IS :key
            ORDER BY expired_at LIMIT :limit)",
        named_params! {":project": project, ":key": key, ":limit": signed(limit)},
    )
}

fn read(row: &Row<'_>) -> Result<LateRedirect, Error> {
    let fields = Fields::of("late_redirects", row);
    Ok(LateRedirect {
        project_id: fields.get("project_id")?,
        platform: fields.get("platform")?,
        redirect_uri: fields.get("redirect_uri")?,
        cancel_redirect_uri: fields.get("cancel_redirect_uri")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::flow::{Flow, FlowStage, Outcome};
    use crate::store::fixture::Fixture;
    use crate::store::{flows, selections};

    fn late(fixture: &Fixture, uri: &str) -> LateRedirect {
        LateRedirect {
            project_id: fixture.ours,
            platform: "facebook".to_owned(),
            redirect_uri: Some(uri.to_owned()),
            cancel_redirect_uri: None,
        }
    }

    /// Purges a flow that expired now, in this stage and with that redirect. Returns its late redirect.
    fn left_by(fixture: &mut Fixture, stage: FlowStage, redirect_uri: Option<&str>) -> Option<LateRedirect> {
        let (id, now) = (fixture.id(), fixture.now());
        let credential = Digest256::of(format!("{id}").as_bytes());
        let redirect_uri = redirect_uri.map(str::to_owned);
        let flow = Flow { id, state: credential, redirect_uri, expires_at: now, stage, ..fixture.new_flow() };
        fixture.write(|db| flows::insert(db, &flow)).unwrap();
        assert_eq!(fixture.write(|db| flows::purge_expired(db, now, 9)).unwrap(), 1);
        assert!(fixture.dump("flows").is_empty());
        find(&fixture.db, &credential, now.minus(Duration::from_millis(1))).unwrap()
    }

    #[test]
    fn flows_that_wait_for_their_person_leave_a_redirect() {
        let mut fixture = Fixture::new();
        let by = Digest256::of(b"code");
        let pending = FlowStage::Pending { pkce_verifier: None };
        let ended = |outcome| FlowStage::Ended { by, outcome };
        for (stage, is_left) in [
            (pending.clone(), true),
            (ended(Outcome::SelectionRequired), true),
            (ended(Outcome::Cancelled), false),
            (ended(Outcome::connected(&[], None)), false),
        ] {
            let uri = "https://app.example/back";
            let left = left_by(&mut fixture, stage.clone(), Some(uri));
            assert_eq!(left, is_left.then(|| late(&fixture, uri)), "{stage:?}");
        }
        assert_eq!(left_by(&mut fixture, pending, None), None, "there is nowhere to go");
    }

    #[test]
    fn an_open_selection_leaves_one_for_its_token_and_one_for_its_state() {
        let mut fixture = Fixture::new();
        fixture.pending("without");
        fixture.db.execute("UPDATE flows SET redirect_uri = NULL", []).unwrap();
        let selection = fixture.pending("open");
        let spent = fixture.pending("spent");
        let (ours, now, by) = (fixture.ours, fixture.now(), Digest256::of(b"choice"));
        fixture.write(|db| selections::spend(db, ours, spent.id, by, Vec::new(), now)).unwrap();
        let at = selection.expires_at;
        for expired in selections::list_expired(&fixture.db, at, 9).unwrap() {
            fixture.write(|db| selections::expire(db, ours, expired.id)).unwrap();
        }
        fixture.write(|db| flows::purge_expired(db, at, 9)).unwrap();
        for (credential, is_left) in
            [("open", true), ("state of open", true), ("spent", false), ("without", false), ("state of without", false)]
        {
            let found = find(&fixture.db, &Digest256::of(credential.as_bytes()), now).unwrap();
            assert_eq!(found, is_left.then(|| late(&fixture, "https://app.example/back")), "{credential}");
        }
    }

    #[test]
    fn redirects_are_purged_in_batches_oldest_first() {
        let mut fixture = Fixture::new();
        let pending = FlowStage::Pending { pkce_verifier: None };
        let first = fixture.now();
        for _ in 0..3 {
            left_by(&mut fixture, pending.clone(), Some("https://app.example/back")).unwrap();
            fixture.later(1);
        }
        let purge_at = |fixture: &mut Fixture, before, limit| fixture.write(|db| purge(db, before, limit)).unwrap();
        assert_eq!(purge_at(&mut fixture, first.minus(Duration::from_millis(1)), 9), 0);
        assert_eq!(purge_at(&mut fixture, first, 9), 1);
        let all = fixture.now();
        assert_eq!([2, 1].map(|_| purge_at(&mut fixture, all, 1)), [1, 1]);
        assert!(fixture.dump("late_redirects").is_empty());
    }

    #[test]
    fn the_key_with_most_redirects_loses_its_oldest() {
        let mut fixture = Fixture::new();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        for (project, number) in [(theirs, 0), (ours, 1), (ours, 2), (theirs, 3), (ours, 4), (ours, 5)] {
            let redirect = "INSERT INTO late_redirects (credential, project_id, platform, redirect_uri, expired_at)
                VALUES (?1, ?2, 'twitter', 'https://app.example', ?3)";
            let credential = Digest256::of(&[number]);
            fixture.db.execute(redirect, (credential, project, i64::from(number))).unwrap();
        }
        let left = |fixture: &Fixture| {
            let is_left = |number: &u8| {
                find(&fixture.db, &Digest256::of(&[*number]), now.minus(Duration::MAX)).unwrap().is_some()
            };
            (0_u8..6).filter(is_left).collect::<Vec<_>>()
        };
        let shrunk = |fixture: &mut Fixture, most, limit| fixture.write(|db| shrink(db, most, limit)).unwrap();
        assert_eq!(shrunk(&mut fixture, 6, 9), 0);
        assert_eq!(shrunk(&mut fixture, 3, 2), 2, "in batches");
        assert_eq!(left(&fixture), [0, 3, 4, 5]);
        fixture.db.execute("DELETE FROM late_redirects WHERE project_id = ?1 AND expired_at = 5", [ours]).unwrap();
        assert_eq!(shrunk(&mut fixture, 2, 9), 1);
        assert_eq!(left(&fixture), [3, 4]);
    }
}
