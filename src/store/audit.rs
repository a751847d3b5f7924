//! The audit trail. Triggers refuse every change of a row, and every deletion but a purge's.
//!
//! Invariant: an entry is recorded in the transaction of what it tells of, so that neither is there without the other.
//! Ids follow the order of the commits: whoever knows the last id that they read misses no later entry.

use rusqlite::{Connection, Row, ToSql, Transaction, named_params};

use super::Error;
use super::columns::{Fields, Params, all, change, change_one, count, one, signed};
use crate::domain::audit::{Action, By, Entry, Recorded, Since};
use crate::domain::id::{AccessKeyId, IntegrationId, LinkId, ProfileId, ProjectId};
use crate::domain::time::Timestamp;

/// Adds an entry. `project`: `None` for what concerns the whole broker.
pub fn record(db: &Transaction<'_>, project: Option<ProjectId>, entry: &Entry, now: Timestamp) -> Result<(), Error> {
    let By { actor, access_key_id, link_id, address } = entry.by;
    change_one(
        db,
        "INSERT INTO audit (at, project_id, profile_id, actor, access_key_id, link_id, address, action, object, flow_id, outcome)
         VALUES (:at, :project, :profile, :actor, :access_key, :link, :address, :action, :object, :flow, :outcome)",
        named_params! {
            ":at": now, ":project": project, ":profile": entry.profile_id, ":actor": actor.into_str(), ":access_key": access_key_id,
            ":link": link_id,
            ":address": address.map(|address| address.to_string()), ":action": entry.action.into_str(),
            ":object": entry.object, ":flow": entry.flow_id, ":outcome": entry.outcome,
        },
    )
}

/// The project's entries from `since` on, oldest first: all, or those about one profile.
pub fn list(
    db: &Connection,
    project: ProjectId,
    profile: Option<ProfileId>,
    since: Since,
    limit: u32,
) -> Result<Vec<Recorded>, Error> {
    let params = named_params! {":project": project};
    let Some(profile) = profile else { return list_since(db, since, [STRAY, LIST], params, limit) };
    let params = [params, &[(":profile", &profile as &dyn ToSql)]].concat();
    list_since(db, since, [STRAY_OF_PROFILE, LIST_OF_PROFILE], &params, limit)
}

const LIST: &str = "SELECT * FROM audit WHERE project_id = :project AND id >= :from AND at >= :not_before
    ORDER BY id LIMIT :limit";

const LIST_OF_PROFILE: &str = "SELECT * FROM audit
    WHERE project_id = :project AND profile_id = :profile AND id >= :from AND at >= :not_before
    ORDER BY id LIMIT :limit";

const STRAY: &str = "SELECT * FROM audit INDEXED BY audit_by_time
    WHERE project_id = :project AND id < :from AND at >= :not_before ORDER BY id LIMIT :limit";

const STRAY_OF_PROFILE: &str = "SELECT * FROM audit INDEXED BY audit_by_time
    WHERE project_id = :project AND profile_id = :profile AND id < :from AND at >= :not_before
    ORDER BY id LIMIT :limit";

/// The latest entries about one thing of the project, the latest first.
pub fn list_of_object(db: &Connection, project: ProjectId, object: &str, limit: u32) -> Result<Vec<Recorded>, Error> {
    all(db, LIST_OF_OBJECT, named_params! {":project": project, ":object": object, ":limit": limit}, read)
}

const LIST_OF_OBJECT: &str = "SELECT * FROM audit
    WHERE project_id = :project AND object = :object ORDER BY id DESC LIMIT :limit";

/// Id of the newest entry, of whatever project. It is never purged, so later entries have higher ids.
pub fn newest(db: &Connection) -> Result<u64, Error> {
    count(db, "SELECT coalesce(max(id), 0) FROM audit /* every project */", &[])
}

/// True when the account was connected after that entry.
pub fn is_connected_since(db: &Connection, project: ProjectId, id: IntegrationId, entry: u64) -> Result<bool, Error> {
    let connected = Action::AccountConnected.into_str();
    let params = named_params! {":project": project, ":object": id, ":entry": signed(entry), ":connected": connected};
    Ok(one(db, CONNECTED_SINCE, params, |_| Ok(()))?.is_some())
}

const CONNECTED_SINCE: &str = "SELECT 1 FROM audit
    WHERE project_id = :project AND object = :object AND id > :entry AND action = :connected LIMIT 1";

/// The entries before `before`, or the newest, the latest first: all of the project, or those about one profile.
pub fn list_latest(
    db: &Connection,
    project: ProjectId,
    profile: Option<ProfileId>,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Recorded>, Error> {
    let before = before.map_or(i64::MAX, signed);
    let params = named_params! {":project": project, ":before": before, ":limit": limit};
    let Some(profile) = profile else { return all(db, LIST_LATEST, params, read) };
    all(db, LIST_LATEST_OF_PROFILE, &[params, named_params! {":profile": profile}].concat(), read)
}

const LIST_LATEST: &str = "SELECT * FROM audit WHERE project_id = :project AND id < :before
    ORDER BY id DESC LIMIT :limit";

const LIST_LATEST_OF_PROFILE: &str = "SELECT * FROM audit
    WHERE project_id = :project AND profile_id = :profile AND id < :before ORDER BY id DESC LIMIT :limit";

/// Entries from `since` on, oldest first, of one key or of all. For the operator.
pub fn list_all(db: &Connection, since: Since, key: Option<AccessKeyId>, limit: u32) -> Result<Vec<Recorded>, Error> {
    list_since(db, since, [STRAY_OF_ALL, LIST_OF_ALL], named_params! {":key": key}, limit)
}

const LIST_OF_ALL: &str = "SELECT * FROM audit /* every project */
    WHERE id >= :from AND at >= :not_before AND (:key IS NULL OR access_key_id = :key) ORDER BY id LIMIT :limit";

const STRAY_OF_ALL: &str = "SELECT * FROM audit INDEXED BY audit_by_time /* every project */
    WHERE id < :from AND at >= :not_before AND (:key IS NULL OR access_key_id = :key) ORDER BY id LIMIT :limit";

/// Runs a pair of statements: one for the entries behind the newest that is older than `since`, which is where the
/// entries of that time begin while times rise with ids, and one for those before it. The latter are there after a
/// clock was wrong. They are looked for in the index of times alone, so that none of them costs little.
fn list_since(
    db: &Connection,
    since: Since,
    [stray, list]: [&str; 2],
    params: Params<'_>,
    limit: u32,
) -> Result<Vec<Recorded>, Error> {
    let (newest_before, not_before) = match since {
        Since::Entry(id) => (signed(id), Timestamp::from_millis(i64::MIN)),
        Since::Time(time) => {
            let before = "SELECT id FROM audit /* every project */ WHERE at < :before ORDER BY at DESC LIMIT 1";
            let found = one(db, before, named_params! {":before": time}, |row| Ok(row.get("id")?))?;
            (found.unwrap_or(0), time)
        }
    };
    let from = newest_before.saturating_add(1);
    let read_up_to = |sql, limit| {
        let bounds = named_params! {":from": from, ":not_before": not_before, ":limit": limit};
        all(db, sql, &[params, bounds].concat(), read)
    };
    let mut found = match since {
        Since::Time(_) if newest_before > 0 => read_up_to(stray, limit)?,
        Since::Time(_) | Since::Entry(_) => Vec::new(),
    };
    let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
    found.extend(read_up_to(list, left)?);
    Ok(found)
}

/// The accounts that were connected through a link and still are, in this order, as far as the trail goes back. Looks at
/// all connections through the link, so it is a long read.
pub fn list_connected_through(db: &Connection, project: ProjectId, link: LinkId) -> Result<Vec<IntegrationId>, Error> {
    let connected = Action::AccountConnected.into_str();
    let params = named_params! {":project": project, ":link": link, ":connected": connected};
    all(db, LIST_CONNECTED_THROUGH, params, |row| Fields::of("integrations", row).get("id"))
}

const LIST_CONNECTED_THROUGH: &str = "SELECT i.id FROM
        (SELECT object, min(id) AS first FROM audit INDEXED BY audit_by_link
         WHERE project_id = :project AND link_id = :link AND action = :connected GROUP BY object) AS a
     CROSS JOIN integrations AS i ON i.project_id = :project AND i.id = a.object
     ORDER BY a.first";

/// Deletes up to `limit` entries of all projects from before that time, and returns their number. The newest entry
/// stays, so that no id is used twice.
pub fn purge(db: &Transaction<'_>, before: Timestamp, limit: u32) -> Result<usize, Error> {
    let is_due =
        "SELECT id FROM audit /* every project */ WHERE at < :before AND id < (SELECT max(id) FROM audit) LIMIT 1";
    if one(db, is_due, named_params! {":before": before}, |_| Ok(()))?.is_none() {
        return Ok(0);
    }
    let allow = "UPDATE audit_purge SET before = :before WHERE id = 1";
    change_one(db, allow, named_params! {":before": before})?;
    let purged = change(
        db,
        "DELETE FROM audit /* every project */ WHERE id IN
            (SELECT id FROM audit WHERE at < :before AND id < (SELECT max(id) FROM audit) ORDER BY at LIMIT :limit)",
        named_params! {":before": before, ":limit": limit},
    )?;
    change_one(db, allow, named_params! {":before": None::<Timestamp>})?;
    Ok(purged)
}

fn read(row: &Row<'_>) -> Result<Recorded, Error> {
    let fields = Fields::of("audit", row);
    let (id, at, project_id) = (fields.unsigned("id")?, fields.get("at")?, fields.get("project_id")?);
    let actor = fields.parsed("actor")?;
    let (access_key_id, link_id) = (fields.get("access_key_id")?, fields.get("link_id")?);
    let address = fields.get::<Option<String>>("address")?.map(|address| address.parse()).transpose();
    let by = By { actor, access_key_id, link_id, address: address.map_err(|_| fields.inconsistent("address"))? };
    let action = fields.parsed("action")?;
    let (object, flow_id) = (fields.get("object")?, fields.get("flow_id")?);
    let outcome = fields.get::<String>("outcome")?.into();
    let profile_id = fields.get("profile_id")?;
    Ok(Recorded { id, at, project_id, entry: Entry { by, action, object, profile_id, flow_id, outcome } })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::audit::Actor;
    use crate::store::fixture::Fixture;

    fn entry(fixture: &Fixture) -> Entry {
        Entry::new(By::COMMAND_LINE, Action::ProfileCreated, fixture.id::<ProfileId>())
    }

    fn ids(listed: &[Recorded]) -> Vec<u64> {
        listed.iter().map(|recorded| recorded.id).collect()
    }

    #[test]
    fn accounts_of_a_link_are_listed_once_while_they_are_connected() {
        let mut fixture = Fixture::new();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let grant = fixture.grant("facebook", "person");
        let [one, two, other] = ["1", "2", "3"].map(|user| fixture.integration(grant, None, user).id);
        let (link, another, gone): (LinkId, LinkId, IntegrationId) = (fixture.id(), fixture.id(), fixture.id());
        for (through, id) in [(link, two), (link, one), (another, other), (link, gone), (link, two)] {
            let by = By { link_id: Some(through), ..By::COMMAND_LINE };
            fixture.write(|db| record(db, Some(ours), &Entry::new(by, Action::AccountConnected, id), now)).unwrap();
        }
        assert_eq!(list_connected_through(&fixture.db, ours, link).unwrap(), [two, one]);
        assert_eq!(list_connected_through(&fixture.db, theirs, link).unwrap(), []);
    }

    #[test]
    fn a_connection_is_found_only_behind_the_entry_that_was_the_newest() {
        let mut fixture = Fixture::new();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let [account, other]: [IntegrationId; 2] = [fixture.id(), fixture.id()];
        assert_eq!(newest(&fixture.db).unwrap(), 0);
        let mut tell = |action, id: IntegrationId| {
            fixture.write(|db| record(db, Some(ours), &Entry::new(By::COMMAND_LINE, action, id), now)).unwrap();
            let found = |project, entry| is_connected_since(&fixture.db, project, account, entry).unwrap();
            let newest = newest(&fixture.db).unwrap();
            assert!(!found(ours, newest) && !found(theirs, 0));
            found(ours, newest - 1)
        };
        assert!(tell(Action::AccountConnected, account));
        assert!(!tell(Action::TokenRead, account));
        assert!(!tell(Action::AccountConnected, other));
        assert!(tell(Action::AccountConnected, account));
    }

    #[test]
    fn an_entry_is_read_back_and_seen_by_its_own_project_only() {
        let mut fixture = Fixture::new();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let by = By {
            actor: Actor::Link,
            access_key_id: Some(fixture.id()),
            link_id: Some(fixture.id()),
            address: Some("2001:db8::1".parse().unwrap()),
        };
        let flow = fixture.id();
        let written = Entry::new(by, Action::ConnectionEnded, flow).with_outcome("cancelled").of_flow(Some(flow));
        let (other, of_all) = (entry(&fixture), entry(&fixture));
        fixture
            .write(|db| {
                record(db, Some(ours), &written, now)?;
                record(db, Some(theirs), &other, now)?;
                record(db, None, &of_all, now)
            })
            .unwrap();
        let listed = list(&fixture.db, ours, None, Since::BEGINNING, 9).unwrap();
        let [Recorded { id: 1, at, project_id, entry }] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!((*at, *project_id, entry.by), (now, Some(ours), by));
        assert_eq!((entry.action, entry.flow_id, &*entry.outcome), (Action::ConnectionEnded, Some(flow), "cancelled"));
        assert_eq!(entry.object, flow.to_string());
        assert_eq!(ids(&list(&fixture.db, theirs, None, Since::BEGINNING, 9).unwrap()), [2]);
        assert_eq!(ids(&list_all(&fixture.db, Since::BEGINNING, None, 9).unwrap()), [1, 2, 3]);
        assert_eq!(ids(&list_all(&fixture.db, Since::BEGINNING, by.access_key_id, 9).unwrap()), [1]);
    }

    #[test]
    fn entries_about_one_profile_are_found_by_an_index() {
        let mut fixture = Fixture::new();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let [one, other] = ["one", "other"].map(|name| fixture.profile(name));
        for (project, profile) in
            [(ours, Some(one)), (ours, Some(other)), (ours, None), (ours, Some(one)), (theirs, Some(one))]
        {
            let entry = entry(&fixture).of_profile(profile);
            fixture.write(|db| record(db, Some(project), &entry, now)).unwrap();
        }
        let listed = |since, limit| list(&fixture.db, ours, Some(one), since, limit).unwrap();
        assert_eq!(ids(&listed(Since::BEGINNING, 9)), [1, 4]);
        assert_eq!(ids(&listed(Since::BEGINNING, 1)), [1]);
        assert_eq!(ids(&listed(Since::Entry(1), 9)), [4]);
        assert!(listed(Since::BEGINNING, 9).iter().all(|recorded| recorded.entry.profile_id == Some(one)));
        let latest = |profile, before| ids(&list_latest(&fixture.db, ours, profile, before, 2).unwrap());
        assert_eq!((latest(None, None), latest(None, Some(3))), (vec![4, 3], vec![2, 1]));
        assert_eq!((latest(Some(one), None), latest(Some(one), Some(4))), (vec![4, 1], vec![1]));
        let third = list(&fixture.db, ours, None, Since::Entry(2), 1).unwrap().remove(0).entry.object;
        assert_eq!(ids(&list_of_object(&fixture.db, ours, &third, 9).unwrap()), [3]);
        assert!(list_of_object(&fixture.db, theirs, &third, 9).unwrap().is_empty());
        for (sql, index) in [
            (LIST, "audit_by_project (project_id=? AND rowid>?)"),
            (LIST_OF_PROFILE, "audit_by_profile (project_id=? AND profile_id=? AND rowid>?)"),
            (LIST_OF_ALL, "INTEGER PRIMARY KEY (rowid>?)"),
            (STRAY, "audit_by_time (at>?)"),
            (STRAY_OF_PROFILE, "audit_by_time (at>?)"),
            (STRAY_OF_ALL, "audit_by_time (at>?)"),
            (LIST_OF_OBJECT, "audit_by_object (project_id=? AND object=?)"),
            (LIST_LATEST, "audit_by_project (project_id=? AND rowid<?)"),
            (LIST_LATEST_OF_PROFILE, "audit_by_profile (project_id=? AND profile_id=? AND rowid<?)"),
        ] {
            let mut statement = fixture.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: String = statement.raw_query().next().unwrap().unwrap().get(3).unwrap();
            assert!(plan.ends_with(index), "{plan}");
        }
    }

    #[test]
    fn reading_begins_at_a_time_or_behind_an_entry() {
        let mut fixture = Fixture::new();
        let (ours, start) = (fixture.ours, fixture.now());
        let at = |seconds| start.plus(Duration::from_secs(seconds));
        // The third was committed before the fourth, although its time is later.
        for seconds in [0, 100, 202, 201, 300] {
            let entry = entry(&fixture);
            fixture.write(|db| record(db, Some(ours), &entry, at(seconds))).unwrap();
        }
        let since = |since| ids(&list(&fixture.db, ours, None, since, 3).unwrap());
        assert_eq!(since(Since::BEGINNING), [1, 2, 3], "no more than asked for");
        assert_eq!(since(Since::Entry(3)), [4, 5]);
        assert_eq!(since(Since::Entry(5)), [0_u64; 0]);
        assert_eq!(since(Since::Entry(u64::MAX)), [0_u64; 0]);
        assert_eq!(since(Since::Time(at(201))), [3, 4, 5]);
        assert_eq!(since(Since::Time(at(202))), [3, 5]);
        assert_eq!(since(Since::Time(at(300))), [5]);
        assert_eq!(since(Since::Time(at(301))), [0_u64; 0]);
        assert_eq!(since(Since::Time(at(1000))), [0_u64; 0]);
    }

    #[test]
    fn reading_begins_at_a_time_although_the_clock_was_wrong() {
        let mut fixture = Fixture::new();
        let (ours, theirs, start) = (fixture.ours, fixture.theirs, fixture.now());
        let profile = fixture.profile("one");
        let at = |hour: u64| start.plus(Duration::from_hours(hour));
        // The clock was far ahead at the second entry, and behind at the sixth.
        for hour in [10, 9999, 11, 12, 13, 2, 14] {
            let entry = entry(&fixture).of_profile(Some(profile));
            fixture.write(|db| record(db, Some(ours), &entry, at(hour))).unwrap();
        }
        for (hour, expected) in [
            (0, [1, 2, 3, 4, 5, 6, 7].as_slice()),
            (2, &[1, 2, 3, 4, 5, 6, 7]),
            (3, &[1, 2, 3, 4, 5, 7]),
            (12, &[2, 4, 5, 7]),
            (14, &[2, 7]),
            (15, &[2]),
            (9999, &[2]),
            (10_000, &[]),
        ] {
            for limit in 1..9 {
                let since = Since::Time(at(hour));
                let expected = &expected[..expected.len().min(limit as usize)];
                assert_eq!(ids(&list(&fixture.db, ours, None, since, limit).unwrap()), expected, "{hour} {limit}");
                assert_eq!(ids(&list(&fixture.db, ours, Some(profile), since, limit).unwrap()), expected, "{hour}");
                assert_eq!(ids(&list_all(&fixture.db, since, None, limit).unwrap()), expected, "{hour} {limit}");
            }
            let since = Since::Time(at(hour));
            assert!(list(&fixture.db, theirs, None, since, 9).unwrap().is_empty());
            assert!(list(&fixture.db, ours, Some(fixture.id()), since, 9).unwrap().is_empty());
            assert!(list_all(&fixture.db, since, Some(fixture.id()), 9).unwrap().is_empty());
        }
    }

    #[test]
    fn entries_are_never_changed_and_deleted_by_a_purge_only() {
        let mut fixture = Fixture::new();
        let (ours, start) = (fixture.ours, fixture.now());
        for _ in 0..4 {
            let (entry, now) = (entry(&fixture), fixture.later(1));
            fixture.write(|db| record(db, Some(ours), &entry, now)).unwrap();
        }
        let before = fixture.dump("audit");
        for change in [
            "UPDATE audit SET outcome = 'x'",
            "UPDATE audit SET at = 0 WHERE id = 1",
            "DELETE FROM audit",
            "DELETE FROM audit WHERE id = 1",
        ] {
            let error = fixture.db.execute(change, []).unwrap_err();
            assert!(error.to_string().contains("append-only"), "{change}: {error}");
        }
        assert_eq!(fixture.dump("audit"), before);
        let left = |fixture: &Fixture| ids(&list(&fixture.db, ours, None, Since::BEGINNING, 9).unwrap());
        let until = start.plus(Duration::from_secs(3));
        assert_eq!(fixture.write(|db| purge(db, until, 1)).unwrap(), 1);
        assert_eq!(left(&fixture), [2, 3, 4]);
        assert_eq!(fixture.write(|db| purge(db, until, 9)).unwrap(), 1);
        assert_eq!(left(&fixture), [3, 4]);
        assert!(fixture.db.execute("DELETE FROM audit WHERE id = 3", []).is_err(), "the purge is over");
        let later = fixture.later(1000);
        assert_eq!(fixture.write(|db| purge(db, later, 9)).unwrap(), 1);
        let entry = entry(&fixture);
        fixture.write(|db| record(db, Some(ours), &entry, later)).unwrap();
        assert_eq!(left(&fixture), [4, 5], "ids go on");
    }
}
