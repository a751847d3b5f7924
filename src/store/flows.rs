//! Flows: connections being made. [`domain::flow`](crate::domain::flow) decides their changes; each is written back
//! by compare-and-swap, so that one callback consumes a flow. The row then answers reloads of the callback until it is
//! purged.
//!
//! Some statements are for every project and say so: those that find a flow by its state or after a crash, and those
//! that bound what the whole broker holds.

use rusqlite::{Connection, Row, ToSql, Transaction, named_params};

use super::Error;
use super::columns::{self, Fields, Params, all, change_one, each, json, one};
use crate::domain::InvalidTransition;
use crate::domain::binding::Binding;
use crate::domain::flow::{EXCHANGE_MAX, Flow, FlowStage};
use crate::domain::id::{AccessKeyId, FlowId, ProjectId};
use crate::domain::secret::{Digest256, RowMac, Sealed};
use crate::domain::time::Timestamp;

/// [`Error::Conflict`] when the state is in use.
pub fn insert(db: &Transaction<'_>, flow: &Flow) -> Result<(), Error> {
    let (answer, asked_at) = answer(&flow.stage).unzip();
    change_one(
        db,
        "INSERT INTO flows (id, project_id, access_key_id, state, platform, app_id, client_id, profile_id, redirect_uri,
            cancel_redirect_uri, headless, scopes, pkce_verifier, created_at, expires_at, consumed_by, answer, asked_at, outcome,
            server, reconnects, bound_to, asks_first, needs_completion, link_id, mac, mac_dek_id)
         VALUES (:id, :project, :access_key, :state, :platform, :app, :client_id, :profile, :redirect_uri,
            :cancel_redirect_uri, :headless, :scopes, :pkce_verifier, :created_at, :expires_at, :consumed_by, :answer, :asked_at,
            :outcome, :server, :reconnects, :bound_to, :asks_first, :needs_completion, :link, :mac, :dek_id)",
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
            ":scopes": json(&flow.scopes)?,
            ":pkce_verifier": flow.stage.pkce_verifier(),
            ":created_at": flow.created_at,
            ":expires_at": flow.expires_at,
            ":consumed_by": flow.stage.consumed_by(),
            ":answer": answer,
            ":asked_at": asked_at,
            ":outcome": outcome(&flow.stage)?,
            ":server": flow.server,
            ":reconnects": flow.reconnects,
            ":bound_to": bound_to(flow.binding),
            ":asks_first": matches!(flow.binding, Binding::Confirmed(_)),
            ":needs_completion": flow.needs_completion,
            ":link": flow.link_id,
            ":mac": flow.mac.map(|mac| mac.code),
            ":dek_id": flow.mac.map(|mac| mac.dek_id),
        },
    )
}

/// The flow with that state, expired and consumed ones too. A callback has no access key: the state is the
/// credential, and the flow tells its project.
pub fn find_by_state(db: &Connection, state: &Digest256) -> Result<Option<Flow>, Error> {
    one(db, "SELECT * FROM flows /* every project */ WHERE state = :state", named_params! {":state": state}, read)
}

pub fn find(db: &Connection, project: ProjectId, id: FlowId) -> Result<Option<Flow>, Error> {
    one(
        db,
        "SELECT * FROM flows WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        read,
    )
}

/// Flows of all projects that were consumed and have not ended: when the broker starts, those that were cut off.
pub fn list_cut_off(db: &Connection) -> Result<Vec<Flow>, Error> {
    all(
        db,
        "SELECT * FROM flows /* every project */ WHERE consumed_by IS NOT NULL AND outcome IS NULL ORDER BY id",
        named_params! {},
        read,
    )
}

/// Up to `limit` flows of all projects without an authentication code, from the rowid `after` on, each with its own.
pub fn list_unauthenticated(db: &Connection, after: i64, limit: u32) -> Result<Vec<(i64, Flow)>, Error> {
    all(
        db,
        "SELECT rowid AS n, * FROM flows /* every project */ WHERE mac IS NULL AND rowid > :after ORDER BY rowid LIMIT :limit",
        named_params! {":after": after, ":limit": limit},
        |row| Ok((Fields::of("flows", row).get("n")?, read(row)?)),
    )
}

/// Stores the authentication code of a flow's row. [`Error::NotChanged`] when the flow is gone.
pub fn authenticate(db: &Transaction<'_>, project: ProjectId, id: FlowId, mac: &RowMac) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE flows SET mac = :mac, mac_dek_id = :dek_id WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id, ":mac": mac.code, ":dek_id": mac.dek_id},
    )
}

/// Number of flows of all projects that `is_wanted` picks. Holds one of them at a time.
pub fn count_that(db: &Connection, mut is_wanted: impl FnMut(&Flow) -> bool) -> Result<u64, Error> {
    let mut number = 0;
    each(db, "SELECT * FROM flows /* every project */", &[], |row| {
        number += u64::from(is_wanted(&read(row)?));
        Ok(())
    })?;
    Ok(number)
}

/// Lets `decide` change a flow. [`Error::NotChanged`] when the flow is gone or `decide` refuses.
pub fn change(
    db: &Transaction<'_>,
    project: ProjectId,
    id: FlowId,
    decide: impl FnOnce(Flow) -> Result<Flow, InvalidTransition>,
) -> Result<(), Error> {
    let flow = find(db, project, id)?.ok_or(Error::NotChanged)?;
    let (was_consumed_by, had_outcome) = (flow.stage.consumed_by(), outcome(&flow.stage)?);
    let flow = decide(flow)?;
    let (answer, asked_at) = answer(&flow.stage).unzip();
    change_one(
        db,
        "UPDATE flows SET
            pkce_verifier = :pkce_verifier,
            expires_at = :expires_at,
            consumed_by = :consumed_by,
            answer = :answer,
            asked_at = :asked_at,
            outcome = :outcome,
            mac = :mac,
            mac_dek_id = :dek_id
         WHERE project_id = :project AND id = :id AND consumed_by IS :was_consumed_by AND outcome IS :had_outcome",
        named_params! {
            ":project": project,
            ":id": id,
            ":pkce_verifier": flow.stage.pkce_verifier(),
            ":expires_at": flow.expires_at,
            ":consumed_by": flow.stage.consumed_by(),
            ":answer": answer,
            ":asked_at": asked_at,
            ":outcome": outcome(&flow.stage)?,
            ":mac": flow.mac.map(|mac| mac.code),
            ":dek_id": flow.mac.map(|mac| mac.dek_id),
            ":was_consumed_by": was_consumed_by,
            ":had_outcome": had_outcome,
        },
    )
}

/// The project and key that began a flow; no key for those of the demo page.
pub(super) type Owner = (ProjectId, Option<AccessKeyId>);

/// The owners of flows in all projects, in whatever stage, with the number of each. Walks one narrow index.
pub(super) fn count_by_key(db: &Connection) -> Result<Vec<(Owner, u64)>, Error> {
    all(
        db,
        "SELECT project_id, access_key_id, count(*) AS rows FROM flows /* every project */ GROUP BY project_id, access_key_id",
        named_params! {},
        |row| read_held("flows", row),
    )
}

/// An owner, and the number of its `rows` in a table.
pub(super) fn read_held(table: &'static str, row: &Row<'_>) -> Result<(Owner, u64), Error> {
    let fields = Fields::of(table, row);
    Ok(((fields.get("project_id")?, fields.get("access_key_id")?), fields.unsigned("rows")?))
}

/// Deletes up to `limit` expired flows of all projects, oldest first, and returns their number. Those that wait for
/// their person leave a [late redirect](super::late_redirects). A flow whose exchange may still be running stays for
/// [`EXCHANGE_MAX`], one with a stored answer until it ends, one with a selection as long as that.
pub fn purge_expired(db: &Transaction<'_>, now: Timestamp, limit: u32) -> Result<usize, Error> {
    delete(
        db,
        "SELECT rowid FROM flows /* every project */
         WHERE expires_at <= :now
            AND (consumed_by IS NULL OR outcome IS NOT NULL OR (expires_at <= :abandoned AND answer IS NULL))
            AND NOT EXISTS (SELECT 1 FROM selections
                WHERE selections.project_id = flows.project_id AND selections.flow_id = flows.id)
         ORDER BY expires_at, rowid LIMIT :limit",
        named_params! {":now": now, ":abandoned": now.minus(EXCHANGE_MAX), ":limit": limit},
        now,
    )
    .map(|gone| gone.flows)
}

/// Rows that went, and those that came in their place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) flows: usize,
    pub(super) late_redirects: usize,
}

/// Deletes up to `limit` flows of a key before they expire, oldest first, and says how many. Those that wait for their
/// person leave a [late redirect](super::late_redirects), as if they had expired now. Flows that are being
/// exchanged or have a selection stay.
pub(super) fn give_way(db: &Transaction<'_>, (project, key): Owner, now: Timestamp, limit: u32) -> Result<Gone, Error> {
    delete(
        db,
        "SELECT rowid FROM flows
         WHERE project_id = :project AND access_key_id IS :key AND (consumed_by IS NULL OR outcome IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM selections
                WHERE selections.project_id = flows.project_id AND selections.flow_id = flows.id)
         ORDER BY rowid LIMIT :limit",
        named_params! {":project": project, ":key": key, ":limit": limit},
        now,
    )
}

/// Deletes the flows that `batch` selects.
fn delete(db: &Transaction<'_>, batch: &str, params: Params<'_>, now: Timestamp) -> Result<Gone, Error> {
    let with_now = [params, &[(":at", &now as &dyn ToSql)]].concat();
    let late_redirects = columns::change(
        db,
        &format!(
            "INSERT OR REPLACE INTO late_redirects (credential, project_id, access_key_id, platform, redirect_uri,
                cancel_redirect_uri, expired_at)
             SELECT state, project_id, access_key_id, platform, redirect_uri, cancel_redirect_uri, min(expires_at, :at)
             FROM flows /* every project */
             WHERE rowid IN ({batch}) AND coalesce(redirect_uri, cancel_redirect_uri) IS NOT NULL
                AND (consumed_by IS NULL OR outcome ->> 'status' = 'selection_required')"
        ),
        &with_now,
    )?;
    let flows =
        columns::change(db, &format!("DELETE FROM flows /* every project */ WHERE rowid IN ({batch})"), params)?;
    Ok(Gone { flows, late_redirects })
}

/// For the columns `answer` and `asked_at`.
fn answer(stage: &FlowStage) -> Option<(&Sealed, Timestamp)> {
    match stage {
        FlowStage::Answered { answer, asked_at, .. } => Some((answer, *asked_at)),
        FlowStage::Consumed { .. } | FlowStage::Ended { .. } | FlowStage::Pending { .. } => None,
    }
}

/// For the column `bound_to`.
fn bound_to(binding: Binding) -> Option<Digest256> {
    match binding {
        Binding::App(digest) | Binding::Confirmed(digest) => Some(digest),
        Binding::None => None,
    }
}

/// For the column `outcome`.
fn outcome(stage: &FlowStage) -> Result<Option<String>, Error> {
    stage.outcome().map(json).transpose()
}

fn read(row: &Row<'_>) -> Result<Flow, Error> {
    let fields = Fields::of("flows", row);
    Ok(Flow {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        access_key_id: fields.get("access_key_id")?,
        link_id: fields.get("link_id")?,
        state: fields.get("state")?,
        platform: fields.get("platform")?,
        app_id: fields.get("app_id")?,
        client_id: fields.get("client_id")?,
        server: fields.get("server")?,
        profile_id: fields.get("profile_id")?,
        reconnects: fields.get("reconnects")?,
        binding: read_binding(&fields)?,
        needs_completion: fields.get("needs_completion")?,
        redirect_uri: fields.get("redirect_uri")?,
        cancel_redirect_uri: fields.get("cancel_redirect_uri")?,
        headless: fields.get("headless")?,
        scopes: fields.json("scopes")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
        stage: read_stage(&fields)?,
        mac: fields.mac()?,
    })
}

fn read_binding(fields: &Fields<'_, '_>) -> Result<Binding, Error> {
    let Some(digest) = fields.get("bound_to")? else { return Ok(Binding::None) };
    Ok(if fields.get("asks_first")? { Binding::Confirmed(digest) } else { Binding::App(digest) })
}

fn read_stage(fields: &Fields<'_, '_>) -> Result<FlowStage, Error> {
    let Some(by) = fields.get("consumed_by")? else {
        return Ok(FlowStage::Pending { pkce_verifier: fields.get("pkce_verifier")? });
    };
    if let Some(outcome) = fields.json_if_any("outcome")? {
        return Ok(FlowStage::Ended { by, outcome });
    }
    match fields.get("answer")? {
        Some(answer) => Ok(FlowStage::Answered { by, asked_at: fields.get("asked_at")?, answer }),
        None => Ok(FlowStage::Consumed { by }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::flow::Outcome;
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::late_redirects;

    const TTL: Duration = Duration::from_mins(10);

    fn flow(fixture: &Fixture, state: &str) -> Flow {
        Flow {
            id: fixture.id(),
            project_id: fixture.ours,
            access_key_id: None,
            link_id: None,
            state: Digest256::of(state.as_bytes()),
            platform: "twitter".to_owned(),
            app_id: None,
            client_id: "client".to_owned(),
            server: None,
            profile_id: None,
            reconnects: None,
            binding: Binding::None,
            needs_completion: false,
            redirect_uri: Some("https://app.example/done?nonce=1".to_owned()),
            cancel_redirect_uri: None,
            headless: true,
            scopes: vec!["tweet.read".to_owned()],
            created_at: fixture.now(),
            expires_at: fixture.now().plus(TTL),
            stage: FlowStage::Pending { pkce_verifier: Some(sealed(1)) },
            mac: None,
        }
    }

    fn start(fixture: &mut Fixture, state: &str) -> Flow {
        let flow = flow(fixture, state);
        fixture.write(|db| insert(db, &flow)).unwrap();
        flow
    }

    fn callback() -> Digest256 {
        Digest256::of(b"code=1")
    }

    fn consume(fixture: &mut Fixture, id: FlowId) {
        let (ours, now) = (fixture.ours, fixture.now());
        fixture.write(|db| change(db, ours, id, |flow| flow.consume(callback(), now))).unwrap();
    }

    #[test]
    fn a_flow_comes_back_as_it_was_stored() {
        let mut fixture = Fixture::new();
        let (ours, asked_at, by) = (fixture.ours, fixture.now(), callback());
        let profile_id = Some(fixture.profile("p"));
        let app_id = Some(fixture.app("twitter", "c1"));
        for (number, stage) in [
            FlowStage::Pending { pkce_verifier: Some(sealed(1)) },
            FlowStage::Pending { pkce_verifier: None },
            FlowStage::Consumed { by },
            FlowStage::Answered { by, asked_at, answer: sealed(2) },
            FlowStage::Ended { by, outcome: Outcome::Cancelled },
        ]
        .into_iter()
        .enumerate()
        {
            let (reconnects, link_id) = (Some(fixture.id()), Some(fixture.id()));
            let cookie = Digest256::of(b"cookie");
            let binding = if number == 0 { Binding::App(cookie) } else { Binding::Confirmed(cookie) };
            let needs_completion = number % 2 == 1;
            let flow = flow(&fixture, &number.to_string());
            let flow = Flow { link_id, app_id, profile_id, reconnects, binding, needs_completion, stage, ..flow };
            fixture.write(|db| insert(db, &flow)).unwrap();
            let found = find_by_state(&fixture.db, &flow.state).unwrap().unwrap();
            assert_eq!(format!("{found:?}"), format!("{flow:?}"));
            assert_eq!(find(&fixture.db, ours, flow.id).unwrap().unwrap().stage, flow.stage);
            let again = Flow { id: fixture.id(), ..flow };
            assert!(matches!(fixture.write(|db| insert(db, &again)), Err(Error::Conflict(_))), "the state is in use");
        }
        assert!(find_by_state(&fixture.db, &Digest256::of(b"other")).unwrap().is_none());
    }

    #[test]
    fn changes_are_stored_one_after_another() {
        let mut fixture = Fixture::new();
        let id = start(&mut fixture, "s").id;
        start(&mut fixture, "waiting");
        let (ours, now, by) = (fixture.ours, fixture.later(1), callback());
        let cut_off = |fixture: &Fixture| {
            list_cut_off(&fixture.db).unwrap().into_iter().map(|flow| (flow.id, flow.stage)).collect::<Vec<_>>()
        };
        assert_eq!(cut_off(&fixture), []);
        fixture.write(|db| change(db, ours, id, |flow| flow.consume(by, now))).unwrap();
        assert_eq!(cut_off(&fixture), [(id, FlowStage::Consumed { by })]);
        let again = fixture.write(|db| change(db, ours, id, |flow| flow.consume(Digest256::of(b"code=2"), now)));
        assert!(matches!(again, Err(Error::NotChanged)), "{again:?}");
        fixture.write(|db| change(db, ours, id, |flow| flow.store_answer(sealed(2), now))).unwrap();
        assert_eq!(cut_off(&fixture), [(id, FlowStage::Answered { by, asked_at: now, answer: sealed(2) })]);
        let until = now.plus(2 * TTL);
        fixture.write(|db| change(db, ours, id, |flow| flow.await_selection(until))).unwrap();
        assert_eq!(cut_off(&fixture), []);
        let outcome = Outcome::Connected { integration_ids: vec!["int_1".to_owned()], findings: None };
        fixture.write(|db| change(db, ours, id, |flow| flow.settle(outcome.clone()))).unwrap();
        let ended = find(&fixture.db, ours, id).unwrap().unwrap();
        assert_eq!((ended.stage, ended.expires_at), (FlowStage::Ended { by, outcome }, until));
    }

    #[test]
    fn no_other_project_sees_or_changes_a_flow() {
        let mut fixture = Fixture::new();
        let (id, theirs, now) = (start(&mut fixture, "s").id, fixture.theirs, fixture.now());
        let before = fixture.dump("flows");
        assert!(find(&fixture.db, theirs, id).unwrap().is_none());
        let changed = fixture.write(|db| change(db, theirs, id, |flow| flow.consume(callback(), now)));
        assert!(matches!(changed, Err(Error::NotChanged)));
        assert_eq!(fixture.dump("flows"), before);
        let profile_id = Some(fixture.profile("ours"));
        let foreign = Flow { project_id: theirs, profile_id, ..flow(&fixture, "t") };
        assert!(matches!(fixture.write(|db| insert(db, &foreign)), Err(Error::Orphan(_))), "a profile of ours");
    }

    #[test]
    fn the_oldest_of_a_key_give_way_and_leave_a_late_redirect() {
        let mut fixture = Fixture::new();
        let [a, b, exchanged, ended, c] = ["a", "b", "exchanged", "ended", "c"].map(|state| start(&mut fixture, state));
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(1));
        let foreign = Flow { project_id: theirs, ..flow(&fixture, "foreign") };
        fixture.write(|db| insert(db, &foreign)).unwrap();
        for id in [exchanged.id, ended.id] {
            consume(&mut fixture, id);
        }
        fixture.write(|db| change(db, ours, ended.id, |flow| flow.end(Outcome::Cancelled))).unwrap();
        let counts = |fixture: &Fixture| {
            let counts = count_by_key(&fixture.db).unwrap().into_iter();
            counts.map(|((project, key), flows)| (project, key.is_some(), flows)).collect::<Vec<_>>()
        };
        assert_eq!(counts(&fixture), [(ours, false, 5), (theirs, false, 1)]);

        let give = |fixture: &mut Fixture, limit| fixture.write(|db| give_way(db, (ours, None), now, limit)).unwrap();
        assert_eq!(give(&mut fixture, 1), Gone { flows: 1, late_redirects: 1 });
        let left: Vec<bool> = [&a, &b].map(|flow| find_by_state(&fixture.db, &flow.state).unwrap().is_some()).into();
        assert_eq!(left, [false, true], "the oldest");
        assert_eq!(give(&mut fixture, 9), Gone { flows: 3, late_redirects: 2 }, "that which is being exchanged stays");
        assert_eq!(counts(&fixture), [(ours, false, 1), (theirs, false, 1)]);
        let late = |state: &Digest256, before| late_redirects::find(&fixture.db, state, before).unwrap().is_some();
        let just_before = now.minus(Duration::from_millis(1));
        assert_eq!([&a, &b, &c, &ended].map(|flow| late(&flow.state, just_before)), [true, true, true, false]);
        assert!(!late(&a.state, now), "its day begins now");
    }

    #[test]
    fn expired_flows_are_deleted_in_batches_and_unfinished_ones_later() {
        let mut fixture = Fixture::new();
        for state in ["a", "b", "c"] {
            start(&mut fixture, state);
            fixture.later(1);
        }
        let [ended, abandoned, answered] = ["ended", "abandoned", "answered"].map(|state| start(&mut fixture, state));
        let (ours, now) = (fixture.ours, fixture.now());
        for flow in [&ended, &abandoned, &answered] {
            consume(&mut fixture, flow.id);
        }
        fixture.write(|db| change(db, ours, answered.id, |flow| flow.store_answer(sealed(1), now))).unwrap();
        let purge = |fixture: &mut Fixture, now, limit| fixture.write(|db| purge_expired(db, now, limit)).unwrap();
        assert_eq!(purge(&mut fixture, now, 10), 0);
        let expired = now.plus(TTL);
        assert_eq!(purge(&mut fixture, expired, 2), 2);
        assert_eq!(purge(&mut fixture, expired, 2), 1);
        assert_eq!(purge(&mut fixture, expired, 2), 0, "those that are being exchanged stay");
        fixture.write(|db| change(db, ours, ended.id, |flow| flow.end(Outcome::Cancelled))).unwrap();
        assert_eq!(purge(&mut fixture, expired, 2), 1);
        assert_eq!(purge(&mut fixture, expired.plus(EXCHANGE_MAX), 2), 1);
        assert!(find(&fixture.db, ours, abandoned.id).unwrap().is_none());
        assert!(find(&fixture.db, ours, answered.id).unwrap().is_some(), "its answer is not lost");
    }
}
