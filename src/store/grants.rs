//! Grants and their sealed tokens. Every change is a compare-and-swap on the generation: what was read before another
//! change of the tokens never overwrites it.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{self, Fields, Params, change_one, count, dek_id, json, one, signed};
use crate::domain::InvalidTransition;
use crate::domain::grant::{AuthStatus, Grant};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::past_refreshes::{PastRefresh, PastRefreshes};
use crate::domain::refresh::RefreshState;
use crate::domain::secret::Sealed;
use crate::domain::time::Timestamp;

/// The grant of one subject (a person or an account) at one platform under one client id.
pub fn find_by_subject(
    db: &Connection,
    project: ProjectId,
    platform: &str,
    client_id: &str,
    subject: &str,
) -> Result<Option<Grant>, Error> {
    one(
        db,
        "SELECT * FROM grants
         WHERE project_id = :project AND platform = :platform AND client_id = :client_id AND subject = :subject",
        named_params! {":project": project, ":platform": platform, ":client_id": client_id, ":subject": subject},
        read,
    )
}

pub fn find(db: &Connection, project: ProjectId, id: GrantId) -> Result<Option<Grant>, Error> {
    one(
        db,
        "SELECT * FROM grants WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        read,
    )
}

/// Outcomes of the latest refreshes of a grant; none where there is no such grant.
pub fn list_past_refreshes(db: &Connection, project: ProjectId, id: GrantId) -> Result<Vec<PastRefresh>, Error> {
    let found: Option<PastRefreshes> = one(
        db,
        "SELECT past_refreshes FROM grants WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        |row| Fields::of("grants", row).json("past_refreshes"),
    )?;
    Ok(found.unwrap_or_default().into_vec())
}

/// [`Error::Conflict`] when the project has a grant of that platform, client id and subject.
pub fn insert(db: &Transaction<'_>, grant: &Grant) -> Result<(), Error> {
    let fixed = named_params! {
        ":platform": grant.platform,
        ":client_id": grant.client_id,
        ":subject": grant.subject,
        ":created_at": grant.created_at,
    };
    with_params(grant, |params| {
        change_one(
            db,
            "INSERT INTO grants (id, project_id, platform, app_id, client_id, subject, scopes, requested_scopes, consented_at, issued_at,
                access_expires_at, refresh_expires_at, renewal, tokens, tokens_dek_id, generation, status,
                failure_reason, ended_at, due_at, trouble, failures, attempt_at, in_doubt, answer, answer_dek_id,
                past_refreshes, created_at, updated_at)
             VALUES (:id, :project, :platform, :app, :client_id, :subject, :scopes, :requested_scopes, :consented_at, :issued_at,
                :access_expires_at, :refresh_expires_at, :renewal, :tokens, :tokens_dek_id, :generation, :status,
                :reason, :ended_at, :due_at, :trouble, :failures, :attempt_at, :in_doubt, :answer, :answer_dek_id,
                :past_refreshes, :created_at, :updated_at)",
            &[params, fixed].concat(),
        )
    })
}

/// Lets `decide` change a grant that still has this generation. [`Error::NotChanged`] when the grant is gone, has
/// another generation, or `decide` refuses.
pub fn change(
    db: &Transaction<'_>,
    project: ProjectId,
    id: GrantId,
    generation: u64,
    decide: impl FnOnce(Grant) -> Result<Grant, InvalidTransition>,
) -> Result<(), Error> {
    let grant = find(db, project, id)?.filter(|grant| grant.generation == generation).ok_or(Error::NotChanged)?;
    let next = decide(grant.clone())?;
    let same_but_for_refresh = Grant { refresh: next.refresh.clone(), ..grant };
    if same_but_for_refresh == next { update_refresh(db, &next) } else { update(db, &next, generation) }
}

/// Writes how far the grant's refresh got, and touches none of the indexes on other columns. Most steps of a refresh
/// change nothing else.
fn update_refresh(db: &Transaction<'_>, grant: &Grant) -> Result<(), Error> {
    let answer = grant.refresh.answer();
    change_one(
        db,
        "UPDATE grants SET attempt_at = :attempt_at, in_doubt = :in_doubt, answer = :answer, answer_dek_id = :answer_dek_id
         WHERE project_id = :project AND id = :id AND generation = :generation",
        named_params! {
            ":project": grant.project_id,
            ":id": grant.id,
            ":generation": signed(grant.generation),
            ":attempt_at": grant.refresh.asked_at(),
            ":in_doubt": grant.refresh.is_in_doubt(),
            ":answer": answer,
            ":answer_dek_id": answer.map(|sealed| dek_id(sealed, "grants", "answer", &grant.id)).transpose()?,
        },
    )
}

/// Stores new tokens. [`Error::NotChanged`] when the grant is gone, its generation is not `expected` any more, or the
/// new one is not higher.
pub fn renew(db: &Transaction<'_>, renewed: &Grant, expected: u64) -> Result<(), Error> {
    if renewed.generation <= expected {
        return Err(Error::NotChanged);
    }
    update(db, renewed, expected)
}

fn update(db: &Transaction<'_>, grant: &Grant, expected: u64) -> Result<(), Error> {
    let expected = named_params! {":expected": signed(expected)};
    with_params(grant, |params| {
        change_one(
            db,
            "UPDATE grants SET
                app_id = :app,
                scopes = :scopes,
                requested_scopes = :requested_scopes,
                consented_at = :consented_at,
                issued_at = :issued_at,
                access_expires_at = :access_expires_at,
                refresh_expires_at = :refresh_expires_at,
                renewal = :renewal,
                tokens = :tokens,
                tokens_dek_id = :tokens_dek_id,
                generation = :generation,
                status = :status,
                failure_reason = :reason,
                ended_at = :ended_at,
                due_at = :due_at,
                trouble = :trouble,
                failures = :failures,
                attempt_at = :attempt_at,
                in_doubt = :in_doubt,
                answer = :answer,
                answer_dek_id = :answer_dek_id,
                past_refreshes = :past_refreshes,
                updated_at = :updated_at
             WHERE project_id = :project AND id = :id AND generation = :expected",
            &[params, expected].concat(),
        )
    })
}

/// Runs `statement` with the grant's keys and every column that can change.
fn with_params(grant: &Grant, statement: impl FnOnce(Params<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let dek_id =
        |sealed: Option<&Sealed>, column| sealed.map(|sealed| dek_id(sealed, "grants", column, &grant.id)).transpose();
    let (status, reason) = status_columns(grant.status);
    statement(named_params! {
        ":project": grant.project_id,
        ":id": grant.id,
        ":app": grant.app_id,
        ":scopes": json(&grant.scopes)?,
        ":requested_scopes": json(&grant.requested_scopes)?,
        ":consented_at": grant.consented_at,
        ":issued_at": grant.issued_at,
        ":access_expires_at": grant.access_expires_at,
        ":refresh_expires_at": grant.refresh_expires_at,
        ":renewal": grant.renewal.into_str(),
        ":tokens": grant.tokens,
        ":tokens_dek_id": dek_id(grant.tokens.as_ref(), "tokens")?,
        ":generation": signed(grant.generation),
        ":status": status,
        ":reason": reason,
        ":ended_at": grant.ended_at,
        ":due_at": grant.due_at,
        ":trouble": grant.trouble.as_ref().map(json).transpose()?,
        ":failures": grant.failures,
        ":attempt_at": grant.refresh.asked_at(),
        ":in_doubt": grant.refresh.is_in_doubt(),
        ":answer": grant.refresh.answer(),
        ":answer_dek_id": dek_id(grant.refresh.answer(), "answer")?,
        ":past_refreshes": json(&grant.past_refreshes)?,
        ":updated_at": grant.updated_at,
    })
}

/// Number of integrations that use the grant.
pub fn count_integrations(db: &Connection, project: ProjectId, id: GrantId) -> Result<u64, Error> {
    count(
        db,
        "SELECT count(*) FROM integrations WHERE project_id = :project AND grant_id = :id",
        named_params! {":project": project, ":id": id},
    )
}

/// Deletes the grant with its tokens, unless an integration uses it. True when it was deleted.
pub fn delete_if_unused(db: &Transaction<'_>, project: ProjectId, id: GrantId) -> Result<bool, Error> {
    let deleted = columns::change(
        db,
        "DELETE FROM grants
         WHERE project_id = :project AND id = :id
            AND NOT EXISTS (SELECT 1 FROM integrations WHERE project_id = :project AND grant_id = :id)",
        named_params! {":project": project, ":id": id},
    )?;
    Ok(deleted == 1)
}

fn read(row: &Row<'_>) -> Result<Grant, Error> {
    let fields = Fields::of("grants", row);
    Ok(Grant {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        platform: fields.get("platform")?,
        app_id: fields.get("app_id")?,
        client_id: fields.get("client_id")?,
        subject: fields.get("subject")?,
        scopes: fields.json("scopes")?,
        requested_scopes: fields.json("requested_scopes")?,
        consented_at: fields.get("consented_at")?,
        issued_at: fields.get("issued_at")?,
        access_expires_at: fields.get("access_expires_at")?,
        refresh_expires_at: fields.get("refresh_expires_at")?,
        renewal: fields.parsed("renewal")?,
        tokens: fields.get("tokens")?,
        generation: fields.unsigned("generation")?,
        status: read_status(&fields, "status", "failure_reason")?,
        ended_at: fields.get("ended_at")?,
        due_at: fields.get("due_at")?,
        trouble: fields.json_if_any("trouble")?,
        failures: fields.get("failures")?,
        refresh: read_refresh(&fields)?,
        past_refreshes: fields.json("past_refreshes")?,
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    })
}

/// From the columns `attempt_at`, `in_doubt` and `answer`.
fn read_refresh(fields: &Fields<'_, '_>) -> Result<RefreshState, Error> {
    let since: Option<Timestamp> = fields.get("attempt_at")?;
    match (since, fields.get("in_doubt")?, fields.get("answer")?) {
        (None, false, None) => Ok(RefreshState::Idle),
        (Some(since), false, None) => Ok(RefreshState::InFlight { since }),
        (Some(since), true, None) => Ok(RefreshState::InDoubt { since }),
        (Some(asked_at), false, Some(answer)) => Ok(RefreshState::Answered { asked_at, answer }),
        (Some(asked_at), true, Some(answer)) => Ok(RefreshState::AnsweredInDoubt { asked_at, answer }),
        (None, ..) => Err(fields.inconsistent("attempt_at")),
    }
}

const ACTIVE: &str = "active";
const RECONNECT_REQUIRED: &str = "reconnect_required";

/// For the columns `status` and `failure_reason`.
pub(super) fn status_columns(status: AuthStatus) -> (&'static str, Option<&'static str>) {
    match status {
        AuthStatus::Active => (ACTIVE, None),
        AuthStatus::ReconnectRequired(reason) => (RECONNECT_REQUIRED, Some(reason.into_str())),
    }
}

/// From the columns `status` and `failure_reason`, by whatever names a query gives them.
pub(super) fn read_status(
    fields: &Fields<'_, '_>,
    status_column: &'static str,
    reason_column: &'static str,
) -> Result<AuthStatus, Error> {
    let status: String = fields.get(status_column)?;
    let reason: Option<String> = fields.get(reason_column)?;
    match (status.as_str(), reason) {
        (ACTIVE, None) => Ok(AuthStatus::Active),
        (RECONNECT_REQUIRED, Some(reason)) => {
            reason.parse().map(AuthStatus::ReconnectRequired).map_err(|_| fields.inconsistent(reason_column))
        }
        _ => Err(fields.inconsistent(status_column)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray as _;

    use crate::domain::failure::Failure;
    use crate::domain::grant::FailureReason;
    use crate::domain::refresh::NewTokens;
    use crate::domain::refresh_failure::RefreshFailure;
    use crate::domain::renewal::Renewal;
    use crate::store::fixture::{Fixture, sealed};

    fn shown(grant: &Grant) -> String {
        format!("{grant:?} {:?} {:?}", grant.tokens.as_ref().map(Sealed::as_bytes), grant.refresh.answer())
    }

    fn ended(grant: Grant, reason: FailureReason) -> Grant {
        let (status, ended_at) = (AuthStatus::ReconnectRequired(reason), Some(grant.updated_at));
        Grant { status, ended_at, due_at: None, ..grant }
    }

    #[test]
    fn a_grant_comes_back_as_it_was_stored() {
        let mut fixture = Fixture::new();
        let (ours, now) = (fixture.ours, fixture.now());
        let app_id = Some(fixture.app("twitter", "c1"));
        let grant = Grant { app_id, refresh_expires_at: Some(now), ..fixture.new_grant("twitter", "s") };
        let kind = Failure::PlatformUnavailable;
        let trouble = Some(RefreshFailure {
            kind,
            status: Some(502),
            platform_code: Some("x".to_owned()),
            at: now,
            backup_taken_at: None,
            refused_alone: None,
        });
        let refreshes = [
            RefreshState::Idle,
            RefreshState::InFlight { since: now },
            RefreshState::InDoubt { since: now },
            RefreshState::Answered { asked_at: now, answer: sealed(3) },
            RefreshState::AnsweredInDoubt { asked_at: now, answer: sealed(3) },
        ];
        let states = refreshes.map(|refresh| Grant { refresh, trouble: trouble.clone(), failures: 2, ..grant.clone() });
        let past = trouble.as_ref().map(RefreshFailure::past).unwrap();
        let past_refreshes = PastRefreshes::default().and(past).and(PastRefresh { at: now, failure: None });
        let grant = Grant { past_refreshes: past_refreshes.clone(), ..grant };
        let reasons = FailureReason::VARIANTS.iter().map(|&reason| ended(grant.clone(), reason));
        for (number, grant) in states.into_iter().chain(reasons).enumerate() {
            let (id, subject) = (fixture.id(), number.to_string());
            let grant = Grant { id, subject, ..grant };
            fixture.write(|db| insert(db, &grant)).unwrap();
            let found = find(&fixture.db, ours, id).unwrap().unwrap();
            assert_eq!(shown(&found), shown(&grant));
            let found = find_by_subject(&fixture.db, ours, "twitter", "client", &grant.subject).unwrap().unwrap();
            assert_eq!(found.id, id);
            assert_eq!(list_past_refreshes(&fixture.db, ours, id).unwrap(), grant.past_refreshes.into_vec());
        }
        for (platform, client, subject) in
            [("tiktok", "client", "0"), ("twitter", "other", "0"), ("twitter", "client", "s")]
        {
            assert!(find_by_subject(&fixture.db, ours, platform, client, subject).unwrap().is_none());
        }
        let again = fixture.new_grant("twitter", "0");
        assert!(matches!(fixture.write(|db| insert(db, &again)), Err(Error::Conflict(_))));
    }

    #[test]
    fn no_other_project_sees_or_changes_a_grant() {
        let mut fixture = Fixture::new();
        let id = fixture.grant("twitter", "s");
        let theirs = fixture.theirs;
        let before = fixture.dump("grants");
        assert!(find(&fixture.db, theirs, id).unwrap().is_none());
        assert!(find_by_subject(&fixture.db, theirs, "twitter", "client", "s").unwrap().is_none());
        let mut foreign = find(&fixture.db, fixture.ours, id).unwrap().unwrap();
        foreign.project_id = theirs;
        foreign.generation = 2;
        assert!(matches!(fixture.write(|db| renew(db, &foreign, 1)), Err(Error::NotChanged)));
        assert!(!fixture.write(|db| delete_if_unused(db, theirs, id)).unwrap());
        assert_eq!(fixture.dump("grants"), before);
        let integration = fixture.integration(id, None, "u");
        assert_eq!(count_integrations(&fixture.db, theirs, integration.grant_id).unwrap(), 0);
    }

    #[test]
    fn a_change_is_a_compare_and_swap_on_the_generation() {
        let mut fixture = Fixture::new();
        let (id, ours, theirs, since) = (fixture.grant("twitter", "s"), fixture.ours, fixture.theirs, fixture.now());
        let before = fixture.dump("grants");
        for (project, generation) in [(ours, 2), (theirs, 1)] {
            let changed = fixture.write(|db| change(db, project, id, generation, |grant| grant.begin_refresh(since)));
            assert!(matches!(changed, Err(Error::NotChanged)), "{changed:?}");
        }
        let refused = fixture.write(|db| change(db, ours, id, 1, |_| Err(InvalidTransition)));
        assert!(matches!(refused, Err(Error::NotChanged)), "{refused:?}");
        assert_eq!(fixture.dump("grants"), before);
        fixture.write(|db| change(db, ours, id, 1, |grant| grant.begin_refresh(since))).unwrap();
        fixture.write(|db| change(db, ours, id, 1, |grant| grant.store_answer(since, sealed(3)))).unwrap();
        let found = find(&fixture.db, ours, id).unwrap().unwrap();
        assert_eq!(found.refresh, RefreshState::Answered { asked_at: since, answer: sealed(3) });
        let dek: u32 = fixture.db.query_row("SELECT answer_dek_id FROM grants", [], |row| row.get(0)).unwrap();
        assert_eq!(dek, 3);
    }

    #[test]
    fn new_tokens_are_a_compare_and_swap_on_the_generation() {
        let mut fixture = Fixture::new();
        let asked_at = fixture.now();
        let kind = Failure::ConsentExpired;
        let grant = Grant {
            trouble: Some(RefreshFailure {
                kind,
                status: None,
                platform_code: None,
                at: asked_at,
                backup_taken_at: None,
                refused_alone: None,
            }),
            failures: 2,
            refresh: RefreshState::AnsweredInDoubt { asked_at, answer: sealed(3) },
            ..ended(fixture.new_grant("twitter", "s"), FailureReason::TokenExpired)
        };
        fixture.write(|db| insert(db, &grant)).unwrap();
        let app_id = Some(fixture.app("twitter", "c1"));
        let now = fixture.later(9);
        let new = NewTokens {
            tokens: sealed(2),
            scopes: vec!["read".to_owned()],
            issued_at: now,
            access_expires_at: None,
            refresh_expires_at: Some(now),
            renewal: Renewal::Never,
            due_at: None,
        };
        let renewed = Grant { app_id, consented_at: now, ..grant.clone().renewed(new, now) };
        let before = fixture.dump("grants");
        assert!(matches!(fixture.write(|db| renew(db, &renewed, 2)), Err(Error::NotChanged)), "not the generation");
        assert!(matches!(fixture.write(|db| renew(db, &grant, 1)), Err(Error::NotChanged)), "not higher");
        assert_eq!(fixture.dump("grants"), before);
        fixture.write(|db| renew(db, &renewed, 1)).unwrap();
        assert_eq!(shown(&find(&fixture.db, fixture.ours, grant.id).unwrap().unwrap()), shown(&renewed));
        assert_eq!(list_past_refreshes(&fixture.db, fixture.ours, grant.id).unwrap().len(), 1);
        assert_eq!(list_past_refreshes(&fixture.db, fixture.theirs, grant.id).unwrap(), []);
        let late = Grant { tokens: Some(sealed(3)), ..renewed };
        assert!(matches!(fixture.write(|db| renew(db, &late, 1)), Err(Error::NotChanged)), "a late one");
        let dek: u32 = fixture.db.query_row("SELECT tokens_dek_id FROM grants", [], |row| row.get(0)).unwrap();
        assert_eq!(dek, 2);
    }

    #[test]
    fn a_grant_is_deleted_once_no_integration_uses_it() {
        let mut fixture = Fixture::new();
        let id = fixture.grant("twitter", "s");
        let (ours, integration) = (fixture.ours, fixture.integration(id, None, "u"));
        assert_eq!(count_integrations(&fixture.db, ours, id).unwrap(), 1);
        assert!(!fixture.write(|db| delete_if_unused(db, ours, id)).unwrap());
        fixture.write(|db| super::super::integrations::delete(db, ours, integration.id)).unwrap();
        assert_eq!(count_integrations(&fixture.db, ours, id).unwrap(), 0);
        assert!(fixture.write(|db| delete_if_unused(db, ours, id)).unwrap());
        assert!(!fixture.write(|db| delete_if_unused(db, ours, id)).unwrap());
        assert!(fixture.dump("grants").is_empty());
    }

    #[test]
    fn the_data_key_beside_the_tokens_is_the_one_inside() {
        let mut fixture = Fixture::new();
        fixture.grant("twitter", "s");
        assert!(fixture.db.execute("UPDATE grants SET tokens_dek_id = 2", []).is_err());
        let mut grant = fixture.new_grant("twitter", "s2");
        grant.tokens = Some(Sealed::from_bytes(b"an access token in plain".to_vec()));
        assert!(fixture.write(|db| insert(db, &grant)).is_err(), "plain text is not stored");
    }
}
