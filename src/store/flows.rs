//! Connections being made. A flow is consumed once, by compare-and-swap; the row then answers reloads of the callback
//! until it expires. One that a selection belongs to stays as long as that.
//!
//! Some statements are for every project and say so: the one that finds a flow by its state, the one that finds what was cut
//! off, and those that keep the whole broker within bounds.

use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, change_one, count, json, one};
use crate::domain::flow::{Flow, Outcome};
use crate::domain::id::{FlowId, ProjectId};
use crate::domain::secret::{Digest256, Sealed};
use crate::domain::time::Timestamp;

/// How long past its expiry a consumed flow is kept that has no outcome: longer than any exchange takes.
const FINISHING: Duration = Duration::from_hours(1);

/// [`Error::Conflict`] when the state is not fresh.
pub fn insert(db: &Transaction<'_>, flow: &Flow) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO flows (id, project_id, access_key_id, state, platform, app_id, client_id, profile_id, redirect_uri,
            cancel_redirect_uri, headless, pkce_verifier, created_at, expires_at, consumed_by, outcome)
         VALUES (:id, :project, :access_key, :state, :platform, :app, :client_id, :profile, :redirect_uri,
            :cancel_redirect_uri, :headless, :pkce_verifier, :created_at, :expires_at, :consumed_by, :outcome)",
        named_params! {
            ":id": flow.id,
            ":project": flow.project_id,
            ":access_key": flow.access_key_id,
            ":state": flow.state,
            ":platform": flow.platform,
            ":app": flow.app_id,
            ":client_id": flow.client_id,
            ":profile": flow.profile_id,
            ":redirect_uri": flow.redirect_uri,
            ":cancel_redirect_uri": flow.cancel_redirect_uri,
            ":headless": flow.headless,
            ":pkce_verifier": flow.pkce_verifier,
            ":created_at": flow.created_at,
            ":expires_at": flow.expires_at,
            ":consumed_by": flow.consumed_by,
            ":outcome": flow.outcome.as_ref().map(json).transpose()?,
        },
    )
}

/// The flow with that state, expired and consumed ones too. A callback has no access key, so no project is asked for:
/// the state is the credential, and the flow says which project it belongs to.
pub fn find_by_state(db: &Connection, state: &Digest256) -> Result<Option<Flow>, Error> {
    one(db, "SELECT * FROM flows /* every project */ WHERE state = :state", named_params! {":state": state}, read)
}

/// Takes the flow for the callback that `consumed_by` is the digest of, and erases its verifier: read the flow before.
/// False when another callback took it, it has expired, or is not there.
pub fn consume(
    db: &Transaction<'_>,
    project: ProjectId,
    id: FlowId,
    consumed_by: &Digest256,
    now: Timestamp,
) -> Result<bool, Error> {
    let changed = change(
        db,
        "UPDATE flows SET consumed_by = :consumed_by, pkce_verifier = NULL
         WHERE project_id = :project AND id = :id AND consumed_by IS NULL AND expires_at > :now",
        named_params! {":project": project, ":id": id, ":consumed_by": consumed_by, ":now": now},
    )?;
    Ok(changed == 1)
}

pub fn find(db: &Connection, project: ProjectId, id: FlowId) -> Result<Option<Flow>, Error> {
    one(
        db,
        "SELECT * FROM flows WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        read,
    )
}

/// Keeps what the platform answered to the exchange of the code, as it came, until the flow ends. [`Error::NotChanged`] when
/// it is not there, not consumed, or ended before.
pub fn keep_answer(
    db: &Transaction<'_>,
    project: ProjectId,
    id: FlowId,
    answer: &Sealed,
    asked_at: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE flows SET answer = :answer, asked_at = :asked_at
         WHERE project_id = :project AND id = :id AND consumed_by IS NOT NULL AND outcome IS NULL",
        named_params! {":project": project, ":id": id, ":answer": answer, ":asked_at": asked_at},
    )
}

/// What was kept of a flow that has not ended: the answer, and when it was asked for.
pub fn find_answer(db: &Connection, project: ProjectId, id: FlowId) -> Result<Option<(Sealed, Timestamp)>, Error> {
    one(
        db,
        "SELECT id, answer, asked_at FROM flows WHERE project_id = :project AND id = :id AND answer IS NOT NULL",
        named_params! {":project": project, ":id": id},
        |row| {
            let fields = Fields::of("flows", row);
            Ok((fields.get("answer")?, fields.get("asked_at")?))
        },
    )
}

/// Flows of all projects that a callback has taken and that have no end: when the broker starts, those that were cut off.
pub fn list_cut_off(db: &Connection) -> Result<Vec<Flow>, Error> {
    all(
        db,
        "SELECT * FROM flows /* every project */ WHERE consumed_by IS NOT NULL AND outcome IS NULL ORDER BY id",
        named_params! {},
        read,
    )
}

/// Records how a consumed flow ended, and erases the answer that was kept. [`Error::NotChanged`] when it is not there, not consumed, or ended before.
pub fn finish(db: &Transaction<'_>, project: ProjectId, id: FlowId, outcome: &Outcome) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE flows SET outcome = :outcome, answer = NULL, asked_at = NULL
         WHERE project_id = :project AND id = :id AND consumed_by IS NOT NULL AND outcome IS NULL",
        named_params! {":project": project, ":id": id, ":outcome": json(outcome)?},
    )
}

/// Records that a consumed flow waits for a choice, until when it is kept at least. [`Error::NotChanged`] as for
/// [`finish`].
pub fn await_selection(db: &Transaction<'_>, project: ProjectId, id: FlowId, until: Timestamp) -> Result<(), Error> {
    finish(db, project, id, &Outcome::SelectionRequired)?;
    change_one(
        db,
        "UPDATE flows SET expires_at = max(expires_at, :until) WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id, ":until": until},
    )
}

/// Records what the choice was that a flow waited for. [`Error::NotChanged`] when it waits for none.
pub fn settle(db: &Transaction<'_>, project: ProjectId, id: FlowId, outcome: &Outcome) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE flows SET outcome = :outcome
         WHERE project_id = :project AND id = :id AND outcome = :awaiting",
        named_params! {
            ":project": project,
            ":id": id,
            ":outcome": json(outcome)?,
            ":awaiting": json(&Outcome::SelectionRequired)?,
        },
    )
}

/// What waits for its person in a project: flows, and choices of accounts.
pub fn count_live(db: &Connection, project: ProjectId, now: Timestamp) -> Result<u64, Error> {
    count(
        db,
        "SELECT (SELECT count(*) FROM flows
                WHERE project_id = :project AND consumed_by IS NULL AND expires_at > :now)
            + (SELECT count(*) FROM selections
                WHERE project_id = :project AND spent_by IS NULL AND expires_at > :now)",
        named_params! {":project": project, ":now": now},
    )
}

/// What waits for its person in all projects: for the limit on what the whole broker holds.
pub fn count_all_live(db: &Connection, now: Timestamp) -> Result<u64, Error> {
    count(
        db,
        "SELECT (SELECT count(*) FROM flows /* every project */ WHERE consumed_by IS NULL AND expires_at > :now)
            + (SELECT count(*) FROM selections WHERE spent_by IS NULL AND expires_at > :now)",
        named_params! {":now": now},
    )
}

/// Deletes up to `limit` expired flows of all projects, oldest first; returns how many. One that was consumed in time
/// and is still being finished is left alone for an hour, one that a selection belongs to until that is gone.
pub fn purge_expired(db: &Transaction<'_>, now: Timestamp, limit: u32) -> Result<usize, Error> {
    change(
        db,
        "DELETE FROM flows /* every project */ WHERE id IN (
            SELECT id FROM flows
            WHERE expires_at <= :now
                AND (consumed_by IS NULL OR outcome IS NOT NULL OR (expires_at <= :abandoned AND answer IS NULL))
                AND NOT EXISTS (SELECT 1 FROM selections
                    WHERE selections.project_id = flows.project_id AND selections.flow_id = flows.id)
            ORDER BY expires_at LIMIT :limit)",
        named_params! {":now": now, ":abandoned": now.minus(FINISHING), ":limit": limit},
    )
}

fn read(row: &Row<'_>) -> Result<Flow, Error> {
    let fields = Fields::of("flows", row);
    let outcome = match fields.get::<Option<String>>("outcome")? {
        None => None,
        Some(_) => Some(fields.json("outcome")?),
    };
    Ok(Flow {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        access_key_id: fields.get("access_key_id")?,
        state: fields.get("state")?,
        platform: fields.get("platform")?,
        app_id: fields.get("app_id")?,
        client_id: fields.get("client_id")?,
        profile_id: fields.get("profile_id")?,
        redirect_uri: fields.get("redirect_uri")?,
        cancel_redirect_uri: fields.get("cancel_redirect_uri")?,
        headless: fields.get("headless")?,
        pkce_verifier: fields.get("pkce_verifier")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
        consumed_by: fields.get("consumed_by")?,
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::Failure;
    use crate::store::fixture::{Fixture, sealed};

    const TTL: Duration = Duration::from_mins(10);

    fn flow(fixture: &Fixture, state: &str) -> Flow {
        Flow {
            id: fixture.id(),
            project_id: fixture.ours,
            access_key_id: None,
            state: Digest256::of(state.as_bytes()),
            platform: "twitter".to_owned(),
            app_id: None,
            client_id: "client".to_owned(),
            profile_id: None,
            redirect_uri: Some("https://app.example/done?nonce=1".to_owned()),
            cancel_redirect_uri: None,
            headless: true,
            pkce_verifier: Some(sealed(1)),
            created_at: fixture.now(),
            expires_at: fixture.now().plus(TTL),
            consumed_by: None,
            outcome: None,
        }
    }

    fn start(fixture: &mut Fixture, state: &str) -> Flow {
        let flow = flow(fixture, state);
        fixture.write(|db| insert(db, &flow)).unwrap();
        flow
    }

    fn find(fixture: &Fixture, state: &str) -> Option<Flow> {
        find_by_state(&fixture.db, &Digest256::of(state.as_bytes())).unwrap()
    }

    fn callback() -> Digest256 {
        Digest256::of(b"code=1")
    }

    #[test]
    fn a_flow_comes_back_as_it_was_stored() {
        let mut fixture = Fixture::new();
        let profile = fixture.profile("p");
        let app = fixture.app("twitter", "c1");
        let mut flow = flow(&fixture, "s");
        flow.profile_id = Some(profile);
        flow.app_id = Some(app);
        fixture.write(|db| insert(db, &flow)).unwrap();
        assert_eq!(format!("{:?}", find(&fixture, "s").unwrap()), format!("{flow:?}"));
        assert!(find(&fixture, "other").is_none());
        let again = Flow { id: fixture.id(), ..flow };
        assert!(matches!(fixture.write(|db| insert(db, &again)), Err(Error::Conflict(_))));
    }

    #[test]
    fn a_flow_is_consumed_once_and_loses_its_verifier() {
        let mut fixture = Fixture::new();
        let flow = start(&mut fixture, "s");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(1));
        assert!(!fixture.write(|db| consume(db, theirs, flow.id, &callback(), now)).unwrap());
        assert!(find(&fixture, "s").unwrap().pkce_verifier.is_some());
        assert!(fixture.write(|db| consume(db, ours, flow.id, &callback(), now)).unwrap());
        assert!(!fixture.write(|db| consume(db, ours, flow.id, &Digest256::of(b"code=2"), now)).unwrap());
        let consumed = find(&fixture, "s").unwrap();
        assert_eq!(consumed.consumed_by, Some(callback()));
        assert!(consumed.pkce_verifier.is_none());
    }

    #[test]
    fn an_expired_flow_is_not_consumed() {
        let mut fixture = Fixture::new();
        let flow = start(&mut fixture, "s");
        let ours = fixture.ours;
        assert!(!fixture.write(|db| consume(db, ours, flow.id, &callback(), flow.expires_at)).unwrap());
        let before = Timestamp::from_millis(flow.expires_at.as_millis() - 1);
        assert!(fixture.write(|db| consume(db, ours, flow.id, &callback(), before)).unwrap());
    }

    #[test]
    fn a_flow_ends_once_and_only_when_consumed() {
        let mut fixture = Fixture::new();
        let flow = start(&mut fixture, "s");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let outcome = Outcome::Connected { integration_ids: vec!["int_1".to_owned()] };
        let failed = Outcome::failed(Failure::Interrupted);
        assert!(matches!(fixture.write(|db| finish(db, ours, flow.id, &outcome)), Err(Error::NotChanged)));
        fixture.write(|db| consume(db, ours, flow.id, &callback(), now)).unwrap();
        assert!(matches!(fixture.write(|db| finish(db, theirs, flow.id, &outcome)), Err(Error::NotChanged)));
        fixture.write(|db| finish(db, ours, flow.id, &outcome)).unwrap();
        assert!(matches!(fixture.write(|db| finish(db, ours, flow.id, &failed)), Err(Error::NotChanged)));
        assert_eq!(find(&fixture, "s").unwrap().outcome, Some(outcome));
    }

    #[test]
    fn an_answer_is_kept_until_the_flow_ends() {
        let mut fixture = Fixture::new();
        let flow = start(&mut fixture, "s");
        start(&mut fixture, "waiting");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let keep =
            |fixture: &mut Fixture, project| fixture.write(|db| keep_answer(db, project, flow.id, &sealed(1), now));
        assert!(matches!(keep(&mut fixture, ours), Err(Error::NotChanged)), "nobody has taken it");
        fixture.write(|db| consume(db, ours, flow.id, &callback(), now)).unwrap();
        assert!(matches!(keep(&mut fixture, theirs), Err(Error::NotChanged)));
        keep(&mut fixture, ours).unwrap();
        let cut_off = list_cut_off(&fixture.db).unwrap();
        assert_eq!(cut_off.iter().map(|flow| flow.id).collect::<Vec<_>>(), [flow.id]);
        assert_eq!(find_answer(&fixture.db, ours, flow.id).unwrap(), Some((sealed(1), now)));
        assert!(find_answer(&fixture.db, theirs, flow.id).unwrap().is_none());
        fixture.write(|db| finish(db, ours, flow.id, &Outcome::Cancelled)).unwrap();
        assert!(list_cut_off(&fixture.db).unwrap().is_empty());
        assert!(find_answer(&fixture.db, ours, flow.id).unwrap().is_none());
        assert!(matches!(keep(&mut fixture, ours), Err(Error::NotChanged)));
    }

    #[test]
    fn only_flows_that_wait_are_live() {
        let mut fixture = Fixture::new();
        let flow = start(&mut fixture, "a");
        start(&mut fixture, "b");
        let mut foreign = self::flow(&fixture, "c");
        foreign.project_id = fixture.theirs;
        fixture.write(|db| insert(db, &foreign)).unwrap();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let live = |fixture: &Fixture, now| {
            let live = |project| count_live(&fixture.db, project, now).unwrap();
            (live(ours), live(theirs), count_all_live(&fixture.db, now).unwrap())
        };
        assert_eq!(live(&fixture, now), (2, 1, 3));
        fixture.write(|db| consume(db, ours, flow.id, &callback(), now)).unwrap();
        assert_eq!(live(&fixture, now), (1, 1, 2));
        assert_eq!(live(&fixture, now.plus(TTL)), (0, 0, 0));
    }

    #[test]
    fn expired_flows_go_in_batches_and_unfinished_ones_last() {
        let mut fixture = Fixture::new();
        for state in ["a", "b", "c"] {
            start(&mut fixture, state);
            fixture.later(1);
        }
        let flow = start(&mut fixture, "unfinished");
        let (ours, now) = (fixture.ours, fixture.now());
        fixture.write(|db| consume(db, ours, flow.id, &callback(), now)).unwrap();
        let mut purge = |now, limit| fixture.write(|db| purge_expired(db, now, limit)).unwrap();
        assert_eq!(purge(now, 10), 0);
        let expired = now.plus(TTL);
        assert_eq!(purge(expired, 2), 2);
        assert_eq!(purge(expired, 2), 1);
        assert_eq!(purge(expired, 2), 0, "the one that is being finished stays");
        let outcome = Outcome::Cancelled;
        fixture.write(|db| finish(db, ours, flow.id, &outcome)).unwrap();
        assert_eq!(fixture.write(|db| purge_expired(db, expired, 2)).unwrap(), 1);
        assert!(fixture.dump("flows").is_empty());
    }

    #[test]
    fn an_abandoned_flow_goes_in_the_end() {
        let mut fixture = Fixture::new();
        let flow = start(&mut fixture, "s");
        let (ours, now) = (fixture.ours, fixture.now());
        fixture.write(|db| consume(db, ours, flow.id, &callback(), now)).unwrap();
        let abandoned = flow.expires_at.plus(FINISHING);
        assert_eq!(fixture.write(|db| purge_expired(db, abandoned, 9)).unwrap(), 1);
    }

    #[test]
    fn a_flow_cannot_name_another_projects_profile() {
        let mut fixture = Fixture::new();
        let profile = fixture.profile("ours");
        let mut flow = flow(&fixture, "s");
        flow.project_id = fixture.theirs;
        flow.profile_id = Some(profile);
        assert!(matches!(fixture.write(|db| insert(db, &flow)), Err(Error::Sqlite(_))));
    }
}
