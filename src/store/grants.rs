//! Consents and their sealed tokens. Tokens change by compare-and-swap on the generation, so that what was read before
//! another change never overwrites it.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, change, change_one, count, dek_id, json, one, signed};
use crate::domain::grant::{Attempt, AuthStatus, FailureReason, Grant};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::renewal::Renewal;
use crate::domain::time::Timestamp;

/// The consent of one person (or account) at one platform under one client id.
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

/// [`Error::Conflict`] when the project has a grant of that platform, client id and subject.
pub fn insert(db: &Transaction<'_>, grant: &Grant) -> Result<(), Error> {
    let (status, reason) = status_columns(grant.status);
    change_one(
        db,
        "INSERT INTO grants (id, project_id, platform, app_id, client_id, subject, scopes, consented_at, issued_at,
            access_expires_at, refresh_expires_at, renewal, tokens, tokens_dek_id, generation, status, failure_reason,
            ended_at, due_at, created_at, updated_at)
         VALUES (:id, :project, :platform, :app, :client_id, :subject, :scopes, :consented_at, :issued_at,
            :access_expires_at, :refresh_expires_at, :renewal, :tokens, :dek_id, :generation, :status, :reason,
            iif(:reason IS NULL, NULL, :updated_at), :due_at, :created_at, :updated_at)",
        named_params! {
            ":id": grant.id,
            ":project": grant.project_id,
            ":platform": grant.platform,
            ":app": grant.app_id,
            ":client_id": grant.client_id,
            ":subject": grant.subject,
            ":scopes": json(&grant.scopes)?,
            ":consented_at": grant.consented_at,
            ":issued_at": grant.issued_at,
            ":access_expires_at": grant.access_expires_at,
            ":refresh_expires_at": grant.refresh_expires_at,
            ":renewal": grant.renewal.as_str(),
            ":tokens": grant.tokens,
            ":dek_id": tokens_dek_id(grant)?,
            ":generation": signed(grant.generation),
            ":status": status,
            ":reason": reason,
            ":due_at": grant.due_at,
            ":created_at": grant.created_at,
            ":updated_at": grant.updated_at,
        },
    )
}

/// New tokens for a grant, which is active again and has neither trouble nor an attempt: writes `renewed`'s tokens,
/// generation, scopes, times, app and renewal, and nothing else of it. [`Error::NotChanged`] when the grant is gone, its
/// generation is not `expected` any more, or the new one is not higher.
pub fn renew(db: &Transaction<'_>, renewed: &Grant, expected: u64) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE grants SET
            app_id = :app,
            scopes = :scopes,
            consented_at = :consented_at,
            issued_at = :issued_at,
            access_expires_at = :access_expires_at,
            refresh_expires_at = :refresh_expires_at,
            renewal = :renewal,
            tokens = :tokens,
            tokens_dek_id = :dek_id,
            generation = :generation,
            status = 'active',
            failure_reason = NULL,
            ended_at = NULL,
            due_at = :due_at,
            trouble = NULL,
            failures = 0,
            attempt_at = NULL,
            in_doubt = 0,
            answer = NULL,
            answer_dek_id = NULL,
            updated_at = :updated_at
         WHERE project_id = :project AND id = :id AND generation = :expected AND generation < :generation",
        named_params! {
            ":project": renewed.project_id,
            ":id": renewed.id,
            ":app": renewed.app_id,
            ":scopes": json(&renewed.scopes)?,
            ":consented_at": renewed.consented_at,
            ":issued_at": renewed.issued_at,
            ":access_expires_at": renewed.access_expires_at,
            ":refresh_expires_at": renewed.refresh_expires_at,
            ":renewal": renewed.renewal.as_str(),
            ":tokens": renewed.tokens,
            ":dek_id": tokens_dek_id(renewed)?,
            ":generation": signed(renewed.generation),
            ":expected": signed(expected),
            ":due_at": renewed.due_at,
            ":updated_at": renewed.updated_at,
        },
    )
}

/// Integrations that live on the grant.
pub fn count_integrations(db: &Connection, project: ProjectId, id: GrantId) -> Result<u64, Error> {
    count(
        db,
        "SELECT count(*) FROM integrations WHERE project_id = :project AND grant_id = :id",
        named_params! {":project": project, ":id": id},
    )
}

/// Deletes the grant with its tokens, unless an integration lives on it. False when it was left, or is not there.
pub fn delete_if_unused(db: &Transaction<'_>, project: ProjectId, id: GrantId) -> Result<bool, Error> {
    let deleted = change(
        db,
        "DELETE FROM grants
         WHERE project_id = :project AND id = :id
            AND NOT EXISTS (SELECT 1 FROM integrations WHERE project_id = :project AND grant_id = :id)",
        named_params! {":project": project, ":id": id},
    )?;
    Ok(deleted == 1)
}

fn tokens_dek_id(grant: &Grant) -> Result<Option<u32>, Error> {
    grant.tokens.as_ref().map(|tokens| dek_id(tokens, "grants", "tokens", &grant.id)).transpose()
}

fn read(row: &Row<'_>) -> Result<Grant, Error> {
    let fields = Fields::of("grants", row);
    let attempt_at: Option<Timestamp> = fields.get("attempt_at")?;
    let attempt = attempt_at
        .map(|at| Ok::<_, Error>(Attempt { at, in_doubt: fields.get("in_doubt")?, answer: fields.get("answer")? }))
        .transpose()?;
    Ok(Grant {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        platform: fields.get("platform")?,
        app_id: fields.get("app_id")?,
        client_id: fields.get("client_id")?,
        subject: fields.get("subject")?,
        scopes: fields.json("scopes")?,
        consented_at: fields.get("consented_at")?,
        issued_at: fields.get("issued_at")?,
        access_expires_at: fields.get("access_expires_at")?,
        refresh_expires_at: fields.get("refresh_expires_at")?,
        renewal: read_renewal(&fields)?,
        tokens: fields.get("tokens")?,
        generation: fields.unsigned("generation")?,
        status: read_status(&fields)?,
        due_at: fields.get("due_at")?,
        trouble: fields.json_if_any("trouble")?,
        failures: fields.get("failures")?,
        attempt,
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    })
}

/// From the column `renewal`.
pub(super) fn read_renewal(fields: &Fields<'_, '_>) -> Result<Renewal, Error> {
    Renewal::parse(&fields.get::<String>("renewal")?).ok_or_else(|| fields.inconsistent("renewal"))
}

const ACTIVE: &str = "active";
const RECONNECT_REQUIRED: &str = "reconnect_required";

/// For the columns `status` and `failure_reason`.
pub(super) fn status_columns(status: AuthStatus) -> (&'static str, Option<&'static str>) {
    match status {
        AuthStatus::Active => (ACTIVE, None),
        AuthStatus::ReconnectRequired(reason) => (RECONNECT_REQUIRED, Some(reason.as_str())),
    }
}

/// From the columns `status` and `failure_reason`.
pub(super) fn read_status(fields: &Fields<'_, '_>) -> Result<AuthStatus, Error> {
    let status: String = fields.get("status")?;
    let reason: Option<String> = fields.get("failure_reason")?;
    match (status.as_str(), reason) {
        (ACTIVE, None) => Ok(AuthStatus::Active),
        (RECONNECT_REQUIRED, Some(reason)) => FailureReason::parse(&reason)
            .map(AuthStatus::ReconnectRequired)
            .ok_or_else(|| fields.inconsistent("failure_reason")),
        _ => Err(fields.inconsistent("status")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Sealed;
    use crate::store::fixture::{Fixture, sealed};

    fn shown(grant: &Grant) -> String {
        format!("{grant:?} {:?}", grant.tokens.as_ref().map(Sealed::as_bytes))
    }

    #[test]
    fn a_grant_comes_back_as_it_was_stored() {
        let mut fixture = Fixture::new();
        let mut grant = fixture.new_grant("twitter", "s");
        grant.app_id = Some(fixture.app("twitter", "c1"));
        grant.refresh_expires_at = Some(fixture.now());
        grant.status = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        grant.due_at = None;
        fixture.write(|db| insert(db, &grant)).unwrap();
        let found = find(&fixture.db, fixture.ours, grant.id).unwrap().unwrap();
        assert_eq!(shown(&found), shown(&grant));
        let found = find_by_subject(&fixture.db, fixture.ours, "twitter", "client", "s").unwrap().unwrap();
        assert_eq!(shown(&found), shown(&grant));
        for (platform, client, subject) in
            [("tiktok", "client", "s"), ("twitter", "other", "s"), ("twitter", "client", "S")]
        {
            assert!(find_by_subject(&fixture.db, fixture.ours, platform, client, subject).unwrap().is_none());
        }
        let again = fixture.new_grant("twitter", "s");
        assert!(matches!(fixture.write(|db| insert(db, &again)), Err(Error::Conflict(_))));
    }

    #[test]
    fn every_failure_reason_is_stored_and_read() {
        for reason in FailureReason::ALL {
            let mut fixture = Fixture::new();
            let mut grant = fixture.new_grant("twitter", "s");
            grant.status = AuthStatus::ReconnectRequired(reason);
            grant.due_at = None;
            fixture.write(|db| insert(db, &grant)).unwrap();
            assert_eq!(find(&fixture.db, fixture.ours, grant.id).unwrap().unwrap().status, grant.status);
        }
    }

    #[test]
    fn a_grant_is_its_projects_alone() {
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
    fn renewing_is_a_compare_and_swap_on_the_generation() {
        let mut fixture = Fixture::new();
        let mut grant = fixture.new_grant("twitter", "s");
        grant.status = AuthStatus::ReconnectRequired(FailureReason::TokenExpired);
        grant.due_at = None;
        fixture.write(|db| insert(db, &grant)).unwrap();
        let app = fixture.app("twitter", "c1");
        let now = fixture.later(9);
        let renewed = Grant {
            app_id: Some(app),
            scopes: vec!["read".to_owned()],
            access_expires_at: None,
            refresh_expires_at: Some(now),
            consented_at: now,
            issued_at: now,
            renewal: Renewal::Never,
            due_at: None,
            tokens: Some(sealed(2)),
            generation: 2,
            updated_at: now,
            status: AuthStatus::Active,
            ..grant.clone()
        };
        let before = fixture.dump("grants");
        assert!(matches!(fixture.write(|db| renew(db, &renewed, 2)), Err(Error::NotChanged)), "not the generation");
        assert!(matches!(fixture.write(|db| renew(db, &grant, 1)), Err(Error::NotChanged)), "not higher");
        assert_eq!(fixture.dump("grants"), before);
        fixture.write(|db| renew(db, &renewed, 1)).unwrap();
        assert_eq!(shown(&find(&fixture.db, fixture.ours, grant.id).unwrap().unwrap()), shown(&renewed));
        let late = Grant { tokens: Some(sealed(3)), ..renewed };
        assert!(matches!(fixture.write(|db| renew(db, &late, 1)), Err(Error::NotChanged)), "a late one");
        let dek: u32 = fixture.db.query_row("SELECT tokens_dek_id FROM grants", [], |row| row.get(0)).unwrap();
        assert_eq!(dek, 2);
    }

    #[test]
    fn a_grant_goes_when_nothing_lives_on_it() {
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
    fn the_key_id_beside_the_tokens_is_the_one_inside() {
        let mut fixture = Fixture::new();
        fixture.grant("twitter", "s");
        assert!(fixture.db.execute("UPDATE grants SET tokens_dek_id = 2", []).is_err());
        let mut grant = fixture.new_grant("twitter", "s2");
        grant.tokens = Some(Sealed::from_bytes(b"an access token in plain".to_vec()));
        assert!(fixture.write(|db| insert(db, &grant)).is_err(), "plain text is not stored");
    }
}
