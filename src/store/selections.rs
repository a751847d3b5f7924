//! Choices of accounts that people have yet to make. A selection is spent once, by compare-and-swap, and what it held is
//! erased in the same statement.
//!
//! Two statements are for every project and say so: the one that finds a selection by its token, and the one that takes
//! what has expired.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, change_one, json, one};
use crate::domain::id::{FlowId, ProjectId, SelectionId};
use crate::domain::secret::Digest256;
use crate::domain::selection::{REPEATABLE, Selection, Spent};
use crate::domain::time::Timestamp;

/// [`Error::Conflict`] when the flow has one, or the token is not fresh.
pub fn insert(db: &Transaction<'_>, selection: &Selection) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO selections (id, project_id, flow_id, platform, subject, token, token_text, payload, created_at,
            expires_at)
         VALUES (:id, :project, :flow, :platform, :subject, :token, :token_text, :payload, :created_at, :expires_at)",
        named_params! {
            ":id": selection.id,
            ":project": selection.project_id,
            ":flow": selection.flow_id,
            ":platform": selection.platform,
            ":subject": selection.subject,
            ":token": selection.token,
            ":token_text": selection.token_text,
            ":payload": selection.payload,
            ":created_at": selection.created_at,
            ":expires_at": selection.expires_at,
        },
    )
}

/// The selection with that token, expired and spent ones too. Whoever chooses has no access key, so no project is asked
/// for: the token is the credential, and the selection says which project it belongs to.
pub fn find_by_token(db: &Connection, token: &Digest256) -> Result<Option<Selection>, Error> {
    one(db, "SELECT * FROM selections /* every project */ WHERE token = :token", named_params! {":token": token}, read)
}

/// The selection that a flow waits for.
pub fn find_by_flow(db: &Connection, project: ProjectId, flow: FlowId) -> Result<Option<Selection>, Error> {
    one(
        db,
        "SELECT * FROM selections WHERE project_id = :project AND flow_id = :flow",
        named_params! {":project": project, ":flow": flow},
        read,
    )
}

/// Spends a selection and erases what it held: read it before. False when it was spent before, has expired, or is not
/// there.
pub fn spend(db: &Transaction<'_>, project: ProjectId, id: SelectionId, spent: &Spent) -> Result<bool, Error> {
    let integrations: Vec<String> = spent.integrations.iter().map(ToString::to_string).collect();
    let changed = change(
        db,
        "UPDATE selections
         SET spent_by = :by, spent_at = :at, integrations = :integrations, token_text = NULL, payload = NULL
         WHERE project_id = :project AND id = :id AND spent_by IS NULL AND expires_at > :at",
        named_params! {
            ":project": project,
            ":id": id,
            ":by": spent.by,
            ":at": spent.at,
            ":integrations": json(&integrations)?,
        },
    )?;
    Ok(changed == 1)
}

/// Takes up to `limit` expired selections of all projects out of the database, oldest first; those that were never
/// spent come with what they held, for its tokens to be given back. One that was spent is left for as long as its choice
/// may be repeated.
pub fn take_expired(db: &Transaction<'_>, now: Timestamp, limit: u32) -> Result<Vec<Selection>, Error> {
    let expired = all(
        db,
        "SELECT * FROM selections /* every project */
         WHERE expires_at <= :now AND (spent_at IS NULL OR spent_at <= :repeatable) ORDER BY expires_at LIMIT :limit",
        named_params! {":now": now, ":repeatable": now.minus(REPEATABLE), ":limit": limit},
        read,
    )?;
    for selection in &expired {
        change_one(
            db,
            "DELETE FROM selections WHERE project_id = :project AND id = :id",
            named_params! {":project": selection.project_id, ":id": selection.id},
        )?;
    }
    Ok(expired)
}

fn read(row: &Row<'_>) -> Result<Selection, Error> {
    let fields = Fields::of("selections", row);
    let spent = match fields.get("spent_by")? {
        None => None,
        Some(by) => Some(Spent {
            by,
            at: fields.get("spent_at")?,
            integrations: fields
                .json::<Vec<String>>("integrations")?
                .iter()
                .map(|id| id.parse().map_err(|_| fields.inconsistent("integrations")))
                .collect::<Result<_, _>>()?,
        }),
    };
    Ok(Selection {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        flow_id: fields.get("flow_id")?,
        platform: fields.get("platform")?,
        subject: fields.get("subject")?,
        token: fields.get("token")?,
        token_text: fields.get("token_text")?,
        payload: fields.get("payload")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
        spent,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::flow::Outcome;
    use crate::domain::id::IntegrationId;
    use crate::store::fixture::Fixture;
    use crate::store::flows;

    fn find(fixture: &Fixture, token: &str) -> Option<Selection> {
        find_by_token(&fixture.db, &Digest256::of(token.as_bytes())).unwrap()
    }

    fn spent(by: &str, at: Timestamp, integrations: Vec<IntegrationId>) -> Spent {
        Spent { by: Digest256::of(by.as_bytes()), at, integrations }
    }

    #[test]
    fn a_selection_comes_back_as_it_was_stored_and_keeps_its_flow() {
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        assert_eq!(format!("{:?}", find(&fixture, "t").unwrap()), format!("{selection:?}"));
        let by_flow = find_by_flow(&fixture.db, fixture.ours, selection.flow_id).unwrap().unwrap();
        assert_eq!(by_flow.id, selection.id);
        assert!(find_by_flow(&fixture.db, fixture.theirs, selection.flow_id).unwrap().is_none());
        assert!(find(&fixture, "other").is_none());
        let flow = flows::find(&fixture.db, fixture.ours, selection.flow_id).unwrap().unwrap();
        assert_eq!(flow.outcome, Some(Outcome::SelectionRequired));
        assert_eq!(flow.expires_at, selection.expires_at, "the flow lives as long");
        let again = Selection { id: fixture.id(), token: Digest256::of(b"u"), ..selection };
        assert!(matches!(fixture.write(|db| insert(db, &again)), Err(Error::Conflict(_))), "one for each flow");
    }

    #[test]
    fn a_selection_is_spent_once_and_holds_nothing_then() {
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(5));
        let chosen: Vec<IntegrationId> = vec![fixture.id(), fixture.id()];
        let first = spent("a", now, chosen.clone());
        assert!(!fixture.write(|db| spend(db, theirs, selection.id, &first)).unwrap());
        assert!(fixture.write(|db| spend(db, ours, selection.id, &first)).unwrap());
        let late = spent("b", now, Vec::new());
        assert!(!fixture.write(|db| spend(db, ours, selection.id, &late)).unwrap());
        let found = find(&fixture, "t").unwrap();
        assert!(found.payload.is_none() && found.token_text.is_none());
        assert!(!found.is_open(now));
        assert_eq!(found.spent.as_ref().unwrap().integrations, chosen);
        let repeats = |by: &str, at| found.repeats(&Digest256::of(by.as_bytes()), at);
        assert!(repeats("a", now) && !repeats("b", now));
        let last = Timestamp::from_millis(now.plus(REPEATABLE).as_millis() - 1);
        assert!(repeats("a", last) && !repeats("a", now.plus(REPEATABLE)));
    }

    #[test]
    fn an_expired_selection_is_not_spent() {
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        let ours = fixture.ours;
        let late = spent("a", selection.expires_at, Vec::new());
        assert!(!fixture.write(|db| spend(db, ours, selection.id, &late)).unwrap());
        assert!(!selection.is_open(selection.expires_at));
        let in_time = spent("a", Timestamp::from_millis(selection.expires_at.as_millis() - 1), Vec::new());
        assert!(fixture.write(|db| spend(db, ours, selection.id, &in_time)).unwrap());
    }

    #[test]
    fn what_is_expired_is_taken_with_what_it_held_and_a_repeatable_choice_is_left() {
        let mut fixture = Fixture::new();
        let ours = fixture.ours;
        let unmade = fixture.pending("unmade");
        let made = fixture.pending("made");
        let just_in_time = made.expires_at.minus(Duration::from_secs(1));
        fixture.write(|db| spend(db, ours, made.id, &spent("a", just_in_time, Vec::new()))).unwrap();
        let mut take = |now, limit| {
            let taken = fixture.write(|db| take_expired(db, now, limit)).unwrap();
            taken.into_iter().map(|selection| (selection.id, selection.payload.is_some())).collect::<Vec<_>>()
        };
        assert!(take(just_in_time, 9).is_empty());
        assert!(take(unmade.expires_at, 0).is_empty());
        assert_eq!(take(unmade.expires_at, 9), [(unmade.id, true)]);
        assert_eq!(take(just_in_time.plus(REPEATABLE), 9), [(made.id, false)]);
        assert!(fixture.dump("selections").is_empty());
    }

    #[test]
    fn a_flow_is_not_purged_before_its_selection() {
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        let now = selection.expires_at;
        let purged = |fixture: &mut Fixture| fixture.write(|db| flows::purge_expired(db, now, 9)).unwrap();
        assert_eq!(purged(&mut fixture), 0);
        fixture.write(|db| take_expired(db, now, 9)).unwrap();
        assert_eq!(purged(&mut fixture), 1);
    }

    #[test]
    fn a_choice_that_waits_counts_as_a_connection_that_waits() {
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let live = |fixture: &Fixture, project, now| {
            let one = flows::count_live(&fixture.db, project, now).unwrap();
            (one, flows::count_all_live(&fixture.db, now).unwrap())
        };
        assert_eq!((live(&fixture, ours, now), live(&fixture, theirs, now)), ((1, 1), (0, 1)));
        assert_eq!(live(&fixture, ours, selection.expires_at), (0, 0));
        fixture.write(|db| spend(db, ours, selection.id, &spent("a", now, Vec::new()))).unwrap();
        assert_eq!(live(&fixture, ours, now), (0, 0));
    }

    #[test]
    fn a_flow_settles_only_while_it_waits() {
        let mut fixture = Fixture::new();
        let flow = fixture.pending("t").flow_id;
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let outcome = Outcome::Connected { integration_ids: vec!["int_1".to_owned()] };
        assert!(matches!(fixture.write(|db| flows::settle(db, theirs, flow, &outcome)), Err(Error::NotChanged)));
        fixture.write(|db| flows::settle(db, ours, flow, &outcome)).unwrap();
        let again = fixture.write(|db| flows::settle(db, ours, flow, &Outcome::Cancelled));
        assert!(matches!(again, Err(Error::NotChanged)));
        assert_eq!(flows::find(&fixture.db, ours, flow).unwrap().unwrap().outcome, Some(outcome));
        assert!(flows::find(&fixture.db, theirs, flow).unwrap().is_none());
    }

    #[test]
    fn a_spent_row_cannot_hold_anything() {
        let mut fixture = Fixture::new();
        fixture.pending("t");
        for wrong in [
            "UPDATE selections SET payload = NULL",
            "UPDATE selections SET token_text = NULL",
            "UPDATE selections SET spent_by = token, spent_at = 1, integrations = '[]'",
            "UPDATE selections SET payload = x'00'",
        ] {
            assert!(fixture.db.execute(wrong, []).is_err(), "{wrong}");
        }
    }
}
