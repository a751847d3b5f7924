//! Selections: choices of accounts that are yet to be made. [`domain::selection`](crate::domain::selection) decides
//! their changes; each is written back by compare-and-swap, and what a selection held is erased as it is spent.
//!
//! Two statements are for every project and say so: the one that finds a selection by its token, and the one that lists
//! what has expired.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{self, Fields, all, change_one, count, json_names, one};
use crate::domain::id::{FlowId, IntegrationId, OauthAppId, ProjectId, SelectionId};
use crate::domain::secret::Digest256;
use crate::domain::selection::{REPEATABLE, Selection, SelectionStage};
use crate::domain::time::Timestamp;

/// Stores an open selection. [`Error::Conflict`] when the flow has one, or the token is in use.
pub fn insert(db: &Transaction<'_>, selection: &Selection) -> Result<(), Error> {
    let SelectionStage::Open { token_text, payload } = &selection.stage else { return Err(Error::NotChanged) };
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
            ":token_text": token_text,
            ":payload": payload,
            ":created_at": selection.created_at,
            ":expires_at": selection.expires_at,
        },
    )
}

/// The selection with that token, expired and spent ones too. Whoever chooses has no access key: the token is the
/// credential, and the selection tells its project.
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

/// Spends a selection by the choice with this digest, and erases what it held: read it before. [`Error::NotChanged`]
/// when it is gone, spent or expired.
pub fn spend(
    db: &Transaction<'_>,
    project: ProjectId,
    id: SelectionId,
    by: Digest256,
    integrations: Vec<IntegrationId>,
    now: Timestamp,
) -> Result<(), Error> {
    let found = one(
        db,
        "SELECT * FROM selections WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        read,
    )?;
    let spent = found.ok_or(Error::NotChanged)?.spend(by, integrations, now)?;
    let SelectionStage::Spent { by, at, integrations } = spent.stage else { return Err(Error::NotChanged) };
    change_one(
        db,
        "UPDATE selections
         SET spent_by = :by, spent_at = :at, integrations = :integrations, token_text = NULL, payload = NULL
         WHERE project_id = :project AND id = :id AND spent_by IS NULL",
        named_params! {
            ":project": project, ":id": id, ":by": by, ":at": at, ":integrations": json_names(&integrations)?,
        },
    )
}

/// Number of a project's open selections, expired ones too.
pub(super) fn count_open(db: &Connection, project: ProjectId) -> Result<u64, Error> {
    count(
        db,
        "SELECT count(*) FROM selections WHERE project_id = :project AND spent_by IS NULL",
        named_params! {":project": project},
    )
}

/// Up to `limit` expired selections of all projects, oldest first, to be [expired](expire) or [deleted](delete). A
/// spent one stays for as long as its choice may be repeated.
pub fn list_expired(db: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Selection>, Error> {
    all(
        db,
        "SELECT * FROM selections /* every project */
         WHERE expires_at <= :now AND (spent_at IS NULL OR spent_at <= :repeatable) ORDER BY expires_at LIMIT :limit",
        named_params! {":now": now, ":repeatable": now.minus(REPEATABLE), ":limit": limit},
        read,
    )
}

/// Removes an expired selection. One that was never spent leaves a [late redirect](super::late_redirects), and its
/// tokens are to be revoked.
pub fn expire(db: &Transaction<'_>, project: ProjectId, id: SelectionId) -> Result<(), Error> {
    columns::change(
        db,
        "INSERT OR REPLACE INTO late_redirects (credential, project_id, access_key_id, platform, redirect_uri,
            cancel_redirect_uri, expired_at)
         SELECT s.token, s.project_id, f.access_key_id, s.platform, f.redirect_uri, f.cancel_redirect_uri, s.expires_at
         FROM selections AS s JOIN flows AS f ON f.project_id = s.project_id AND f.id = s.flow_id
         WHERE s.project_id = :project AND s.id = :id AND s.spent_by IS NULL
            AND coalesce(f.redirect_uri, f.cancel_redirect_uri) IS NOT NULL",
        named_params! {":project": project, ":id": id},
    )?;
    delete(db, project, id)
}

/// Removes a selection, if it is there.
pub fn delete(db: &Transaction<'_>, project: ProjectId, id: SelectionId) -> Result<(), Error> {
    let delete = "DELETE FROM selections WHERE project_id = :project AND id = :id";
    columns::change(db, delete, named_params! {":project": project, ":id": id}).map(drop)
}

/// Sets when an unspent selection expires. [`Error::NotChanged`] when it is gone or spent.
pub fn set_expiry(db: &Transaction<'_>, project: ProjectId, id: SelectionId, at: Timestamp) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE selections SET expires_at = :at WHERE project_id = :project AND id = :id AND spent_by IS NULL",
        named_params! {":project": project, ":id": id, ":at": at},
    )
}

/// The unspent selections whose connections began under this app, expired ones too.
pub fn list_waiting_under(db: &Connection, project: ProjectId, app: OauthAppId) -> Result<Vec<Selection>, Error> {
    all(
        db,
        "SELECT s.* FROM selections AS s JOIN flows AS f ON f.project_id = s.project_id AND f.id = s.flow_id
         WHERE s.project_id = :project AND s.spent_by IS NULL AND f.app_id = :app ORDER BY s.id",
        named_params! {":project": project, ":app": app},
        read,
    )
}

/// Up to `limit` selections of a project, oldest first.
pub fn list_of_project(db: &Connection, project: ProjectId, limit: u32) -> Result<Vec<Selection>, Error> {
    all(
        db,
        "SELECT * FROM selections WHERE project_id = :project ORDER BY id LIMIT :limit",
        named_params! {":project": project, ":limit": limit},
        read,
    )
}

fn read(row: &Row<'_>) -> Result<Selection, Error> {
    let fields = Fields::of("selections", row);
    let stage = match fields.get("spent_by")? {
        None => SelectionStage::Open { token_text: fields.get("token_text")?, payload: fields.get("payload")? },
        Some(by) => {
            SelectionStage::Spent { by, at: fields.get("spent_at")?, integrations: fields.parsed_list("integrations")? }
        }
    };
    Ok(Selection {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        flow_id: fields.get("flow_id")?,
        platform: fields.get("platform")?,
        subject: fields.get("subject")?,
        token: fields.get("token")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
        stage,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::flow::Outcome;
    use crate::store::fixture::Fixture;
    use crate::store::flows;

    fn find(fixture: &Fixture, token: &str) -> Option<Selection> {
        find_by_token(&fixture.db, &Digest256::of(token.as_bytes())).unwrap()
    }

    fn spend_by(fixture: &mut Fixture, id: SelectionId, choice: &str, now: Timestamp) -> Result<(), Error> {
        let ours = fixture.ours;
        fixture.write(|db| spend(db, ours, id, Digest256::of(choice.as_bytes()), Vec::new(), now))
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
        assert_eq!(flow.stage.outcome(), Some(&Outcome::SelectionRequired));
        assert_eq!(flow.expires_at, selection.expires_at, "the flow lives as long");
        let again = Selection { id: fixture.id(), token: Digest256::of(b"u"), ..selection };
        assert!(matches!(fixture.write(|db| insert(db, &again)), Err(Error::Conflict(_))), "one for each flow");
    }

    #[test]
    fn a_selection_is_spent_once_and_by_its_project() {
        let mut fixture = Fixture::new();
        let id = fixture.pending("t").id;
        let (ours, theirs, now, by) = (fixture.ours, fixture.theirs, fixture.later(5), Digest256::of(b"a"));
        let integrations: Vec<IntegrationId> = vec![fixture.id(), fixture.id()];
        for (project, expected) in [(theirs, false), (ours, true), (ours, false)] {
            let spent = fixture.write(|db| spend(db, project, id, by, integrations.clone(), now));
            assert!(spent.is_ok() == expected && (expected || matches!(spent, Err(Error::NotChanged))), "{spent:?}");
        }
        assert_eq!(find(&fixture, "t").unwrap().stage, SelectionStage::Spent { by, at: now, integrations });
        let other = fixture.pending("u");
        assert!(matches!(spend_by(&mut fixture, other.id, "a", other.expires_at), Err(Error::NotChanged)), "expired");
    }

    #[test]
    fn expired_selections_are_removed_and_a_repeatable_choice_stays() {
        let mut fixture = Fixture::new();
        let unmade = fixture.pending("unmade");
        let made = fixture.pending("made");
        let just_in_time = made.expires_at.minus(Duration::from_secs(1));
        spend_by(&mut fixture, made.id, "a", just_in_time).unwrap();
        let mut take = |now, limit| {
            let taken = list_expired(&fixture.db, now, limit).unwrap();
            for selection in &taken {
                fixture.write(|db| expire(db, selection.project_id, selection.id)).unwrap();
            }
            let is_open = |selection: &Selection| matches!(selection.stage, SelectionStage::Open { .. });
            taken.iter().map(|selection| (selection.id, is_open(selection))).collect::<Vec<_>>()
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
        let now = fixture.pending("t").expires_at;
        let purged = |fixture: &mut Fixture| fixture.write(|db| flows::purge_expired(db, now, 9)).unwrap();
        assert_eq!(purged(&mut fixture), 0);
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let [selection] = &list_expired(&fixture.db, now, 9).unwrap()[..] else { panic!("one has expired") };
        fixture.write(|db| delete(db, theirs, selection.id)).unwrap();
        assert_eq!(purged(&mut fixture), 0, "another project deletes nothing");
        fixture.write(|db| delete(db, ours, selection.id)).unwrap();
        fixture.write(|db| delete(db, ours, selection.id)).unwrap();
        assert_eq!(purged(&mut fixture), 1);
    }

    #[test]
    fn the_expiry_of_an_unspent_selection_is_set_by_its_project() {
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        let (ours, theirs, at) = (fixture.ours, fixture.theirs, fixture.now().plus(Duration::from_mins(12)));
        for (project, expected) in [(theirs, false), (ours, true)] {
            let set = fixture.write(|db| set_expiry(db, project, selection.id, at));
            assert!(set.is_ok() == expected && (expected || matches!(set, Err(Error::NotChanged))), "{set:?}");
        }
        assert_eq!(find(&fixture, "t").unwrap().expires_at, at);
        let now = fixture.now();
        spend_by(&mut fixture, selection.id, "a", now).unwrap();
        let spent = fixture.write(|db| set_expiry(db, ours, selection.id, at));
        assert!(matches!(spent, Err(Error::NotChanged)), "{spent:?}");
    }

    #[test]
    fn an_open_selection_is_counted_and_its_flow_does_not_give_way() {
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let open = |fixture: &Fixture| [ours, theirs].map(|project| count_open(&fixture.db, project).unwrap());
        let gone = |fixture: &mut Fixture| fixture.write(|db| flows::give_way(db, (ours, None), now, 9)).unwrap().flows;
        assert_eq!(open(&fixture), [1, 0]);
        assert_eq!(gone(&mut fixture), 0);
        spend_by(&mut fixture, selection.id, "a", now).unwrap();
        assert_eq!(open(&fixture), [0, 0]);
        assert_eq!(gone(&mut fixture), 0, "a choice may be repeated");
    }

    #[test]
    fn the_schema_lets_no_spent_row_hold_anything() {
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
