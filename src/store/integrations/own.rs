//! Own tokens and own status of an account, beside its grant's: an owner can lose one Page of several.

use rusqlite::{Connection, Transaction, named_params};

use crate::domain::grant::AuthStatus;
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::OwnTokens;
use crate::domain::time::Timestamp;
use crate::store::Error;
use crate::store::columns::{Fields, all, change, change_one, dek_id, json, one, signed};
use crate::store::grants::status_columns;

/// The account's own tokens and their generation, which counts on while it has none.
pub fn find_own_tokens(db: &Connection, project: ProjectId, id: IntegrationId) -> Result<Option<OwnTokens>, Error> {
    one(
        db,
        "SELECT id, generation, tokens FROM integrations WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        |row| {
            let fields = Fields::of("integrations", row);
            Ok(OwnTokens { generation: fields.unsigned("generation")?, tokens: fields.get("tokens")? })
        },
    )
}

/// Stores what a new consent brought for the account: it is active again, with own tokens or without.
/// [`Error::NotChanged`] when it is gone, its generation is not `expected` any more, or the new one is not higher.
pub fn renew(
    db: &Transaction<'_>,
    project: ProjectId,
    id: IntegrationId,
    renewed: &OwnTokens,
    expected: u64,
    now: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE integrations SET
            tokens = :tokens,
            tokens_dek_id = :dek_id,
            generation = :generation,
            status = 'active',
            failure_reason = NULL,
            updated_at = :now
         WHERE project_id = :project AND id = :id AND generation = :expected AND generation < :generation",
        named_params! {
            ":project": project,
            ":id": id,
            ":tokens": renewed.tokens,
            ":dek_id": own_dek_id(renewed, id)?,
            ":generation": signed(renewed.generation),
            ":expected": signed(expected),
            ":now": now,
        },
    )
}

/// Sets the account's own status, below its grant's. [`Error::NotChanged`] when there is no such integration.
pub fn set_status(
    db: &Transaction<'_>,
    project: ProjectId,
    id: IntegrationId,
    status: AuthStatus,
    now: Timestamp,
) -> Result<(), Error> {
    let (status, reason) = status_columns(status);
    change_one(
        db,
        "UPDATE integrations SET status = :status, failure_reason = :reason, updated_at = :now
         WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id, ":status": status, ":reason": reason, ":now": now},
    )
}

/// Numbers of up to `limit` accounts, of all projects, that have own tokens and ended before `before`, themselves or
/// with their grant. Looks at every account that fails: a long read, and not for the connection that writes.
pub fn list_ended(db: &Connection, before: Timestamp, limit: u32) -> Result<Vec<i64>, Error> {
    let sql = format!(
        "SELECT i.n FROM projects AS p /* every project */
         CROSS JOIN counts AS c ON c.project_id = p.id AND c.kind = 'integrations' AND c.within = '*'
         CROSS JOIN integrations AS i INDEXED BY integrations_by_failure
            ON i.project_id = c.project_id AND i.platform = c.platform AND i.fails_from = 0
         WHERE {ENDED} LIMIT :limit"
    );
    all(db, &sql, named_params! {":before": before, ":limit": limit}, |row| Ok(row.get("n")?))
}

/// Erases the own tokens of those of these accounts that ended before `before`. Returns their number.
pub fn erase_ended(db: &Transaction<'_>, accounts: &[i64], before: Timestamp) -> Result<usize, Error> {
    let sql = format!(
        "UPDATE integrations AS i /* every project */ SET tokens = NULL, tokens_dek_id = NULL, generation = generation + 1
         WHERE n IN (SELECT value FROM json_each(:accounts)) AND {ENDED}"
    );
    change(db, &sql, named_params! {":accounts": json(&accounts)?, ":before": before})
}

/// True for an account `i` that has own tokens and ended before `:before`.
const ENDED: &str = "i.tokens IS NOT NULL AND (i.status <> 'active' AND i.updated_at < :before OR EXISTS (
    SELECT 1 FROM grants AS g WHERE g.project_id = i.project_id AND g.id = i.grant_id AND g.ended_at < :before))";

/// The data key of own tokens, for the column beside them.
pub(super) fn own_dek_id(own: &OwnTokens, id: IntegrationId) -> Result<Option<u32>, Error> {
    own.tokens.as_ref().map(|tokens| dek_id(tokens, "integrations", "tokens", &id)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::grant::FailureReason;
    use crate::domain::refresh_failure::RefreshFailure;
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::grants;
    use crate::store::integrations::{find, list_on_grant};

    #[test]
    fn the_status_of_a_grant_comes_before_that_of_an_account() {
        let mut fixture = Fixture::new();
        let mut grant = fixture.new_grant("twitter", "s");
        fixture.write(|db| grants::insert(db, &grant)).unwrap();
        let [one, other] = ["a", "b"].map(|user| fixture.integration(grant.id, None, user).id);
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(5));
        let lost = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        let refused = fixture.write(|db| set_status(db, theirs, one, lost, now));
        assert!(matches!(refused, Err(Error::NotChanged)));
        fixture.write(|db| set_status(db, ours, one, lost, now)).unwrap();
        let statuses = |fixture: &Fixture| {
            let on_grant = list_on_grant(&fixture.db, ours, grant.id).unwrap();
            assert_eq!(on_grant.iter().map(|found| found.id).collect::<Vec<_>>(), [one, other]);
            on_grant.iter().map(|found| found.status).collect::<Vec<_>>()
        };
        assert_eq!(statuses(&fixture), [lost, AuthStatus::Active]);
        assert!(list_on_grant(&fixture.db, theirs, grant.id).unwrap().is_empty());

        let trouble = RefreshFailure {
            kind: Failure::ConsentExpired,
            status: None,
            platform_code: None,
            at: now,
            backup_taken_at: None,
            refused_alone: None,
        };
        fixture.change(grant.id, |grant| grant.ended(FailureReason::TokenExpired, trouble));
        let expired = AuthStatus::ReconnectRequired(FailureReason::TokenExpired);
        assert_eq!(statuses(&fixture), [expired, expired], "the grant's comes first");
        grant.generation = 2;
        fixture.write(|db| grants::renew(db, &grant, 1)).unwrap();
        assert_eq!(statuses(&fixture), [lost, AuthStatus::Active], "the account's own is unchanged");
        fixture.write(|db| set_status(db, ours, one, AuthStatus::Active, now)).unwrap();
        assert_eq!(statuses(&fixture), [AuthStatus::Active; 2]);
        assert!(fixture.db.execute("UPDATE integrations SET failure_reason = 'token_expired'", []).is_err());
        assert!(fixture.db.execute("UPDATE integrations SET status = 'reconnect_required'", []).is_err());
    }

    #[test]
    fn own_tokens_change_by_compare_and_swap_on_their_generation() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let id = fixture.integration(grant, None, "u").id;
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(5));
        let own = |fixture: &Fixture| find_own_tokens(&fixture.db, ours, id).unwrap().unwrap();
        assert!(own(&fixture).tokens.is_none());
        assert!(find_own_tokens(&fixture.db, theirs, id).unwrap().is_none());
        let lost = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        fixture.write(|db| set_status(db, ours, id, lost, now)).unwrap();
        let fresh = OwnTokens { generation: 2, tokens: Some(sealed(7)) };
        let refused = [
            fixture.write(|db| renew(db, theirs, id, &fresh, 1, now)),
            fixture.write(|db| renew(db, ours, id, &fresh, 2, now)),
            fixture.write(|db| renew(db, ours, id, &OwnTokens { generation: 1, tokens: None }, 1, now)),
        ];
        assert!(refused.iter().all(|refused| matches!(refused, Err(Error::NotChanged))), "{refused:?}");
        fixture.write(|db| renew(db, ours, id, &fresh, 1, now)).unwrap();
        let found = own(&fixture);
        assert_eq!((found.generation, found.tokens), (2, fresh.tokens));
        let integration = find(&fixture.db, ours, id).unwrap().unwrap();
        assert_eq!((integration.status, integration.updated_at), (AuthStatus::Active, now));
        let dek: u32 = fixture.db.query_row("SELECT tokens_dek_id FROM integrations", [], |row| row.get(0)).unwrap();
        assert_eq!(dek, 7);
        assert!(fixture.db.execute("UPDATE integrations SET tokens_dek_id = 8", []).is_err());
        fixture.write(|db| renew(db, ours, id, &OwnTokens { generation: 3, tokens: None }, 2, now)).unwrap();
        assert!(own(&fixture).tokens.is_none());
    }

    #[test]
    fn own_tokens_of_accounts_that_ended_are_erased() {
        let mut fixture = Fixture::new();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let [alive, ended] = ["alive", "ended"].map(|subject| {
            let grant = fixture.new_grant("facebook", subject);
            fixture.write(|db| grants::insert(db, &grant)).unwrap();
            grant.id
        });
        let [kept, lost, gone] = [(alive, "kept"), (alive, "lost"), (ended, "gone")].map(|(grant, user)| {
            let id = fixture.integration(grant, None, user).id;
            let own = OwnTokens { generation: 2, tokens: Some(sealed(7)) };
            fixture.write(|db| renew(db, ours, id, &own, 1, now)).unwrap();
            id
        });
        let trouble = RefreshFailure {
            kind: Failure::RefreshRejected,
            status: None,
            platform_code: None,
            at: now,
            backup_taken_at: None,
            refused_alone: None,
        };
        fixture.change(ended, |grant| grant.ended(FailureReason::RefreshRejected, trouble));
        let revoked = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        fixture.write(|db| set_status(db, ours, lost, revoked, now)).unwrap();
        let erase = |fixture: &mut Fixture, before| {
            let ended = list_ended(&fixture.db, before, 9).unwrap();
            let accounts: Vec<i64> = (1..=9).collect();
            assert_eq!(
                fixture.write(|db| erase_ended(db, &accounts, before)).unwrap(),
                ended.len(),
                "no other is erased"
            );
            ended.len()
        };
        assert_eq!(erase(&mut fixture, now), 0, "they ended just now");
        let later = fixture.later(1);
        assert_eq!(erase(&mut fixture, later), 2);
        assert_eq!(erase(&mut fixture, later), 0);
        let own = |id| find_own_tokens(&fixture.db, ours, id).unwrap().unwrap();
        assert!(own(lost).tokens.is_none() && own(gone).tokens.is_none());
        assert_eq!((own(kept).generation, own(kept).tokens), (2, Some(sealed(7))));
        assert!(find_own_tokens(&fixture.db, theirs, kept).unwrap().is_none());
    }
}
