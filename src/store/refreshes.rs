//! Refreshes that were cut off, lifetimes that are set later, and tokens of grants that ended.
//! [`grants::change`](super::grants::change) changes one grant, [`rescheduling`](super::rescheduling) any number.
//!
//! Statements are for every project and say so: the broker keeps all tokens alive.

use std::time::Duration;

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, json};
use super::due::{Due, GrantRow};
use crate::domain::grant::Grant;
use crate::domain::id::{GrantId, OauthAppId, ProjectId};
use crate::domain::time::Timestamp;

/// The OAuth app whose refreshes a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppKey {
    pub platform: String,
    pub client_id: String,
    /// The caller's own app, with its project; `None`: the operator's, in every project.
    pub app: Option<(ProjectId, OauthAppId)>,
}

impl AppKey {
    /// The app that a grant belongs to.
    #[must_use]
    pub fn of(grant: &Grant) -> Self {
        Self::new(&grant.platform, &grant.client_id, grant.app_id.map(|app| (grant.project_id, app)))
    }

    /// The same for a grant that is due.
    #[must_use]
    pub fn of_due(due: &Due) -> Self {
        Self::new(&due.platform, &due.client_id, due.app_id.map(|app| (due.project_id, app)))
    }

    fn new(platform: &str, client_id: &str, app: Option<(ProjectId, OauthAppId)>) -> Self {
        Self { platform: platform.to_owned(), client_id: client_id.to_owned(), app }
    }
}

/// When the broker starts: every refresh that was in flight is in doubt and due. One that was in doubt before waits for
/// its retry, unless the platform's answer to it is stored: this program may be the one that can read it. Returns the
/// number of refreshes that were cut off.
pub fn resume_cut_off(db: &Transaction<'_>, now: Timestamp) -> Result<usize, Error> {
    change(db, RESUME_CUT_OFF, named_params! {":now": now})
}

/// Grants of a platform, in all projects, whose access token came without an expiry. Reads all of the platform's.
pub fn list_without_expiry(db: &Connection, platform: &str) -> Result<Vec<GrantRow>, Error> {
    all(db, LIST_WITHOUT_EXPIRY, named_params! {":platform": platform}, |row| Ok(row.get(0)?))
}

/// Gives those of `rows` whose access token still has no expiry this lifetime from its issue on, and makes due `ahead`
/// of the end those that can be renewed. Returns the number of grants.
pub fn apply_lifetime(
    db: &Transaction<'_>,
    rows: &[GrantRow],
    platform: &str,
    life: Duration,
    ahead: Duration,
) -> Result<usize, Error> {
    let due_after = signed_millis(life.saturating_sub(ahead.min(life / 2)));
    let (life, rows) = (signed_millis(life), json(&rows)?);
    let params = named_params! {":rows": rows, ":platform": platform, ":life": life, ":due_after": due_after};
    change(db, APPLY_LIFETIME, params)
}

fn signed_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

// The statements that run at every start name their index: without it, they would read every grant there is.

const LIST_WITHOUT_EXPIRY: &str = "SELECT rowid FROM grants /* every project */ INDEXED BY grants_by_consent
     WHERE platform = :platform AND access_expires_at IS NULL AND status = 'active'";

const APPLY_LIFETIME: &str = "UPDATE grants /* every project */ NOT INDEXED
     SET access_expires_at = issued_at + :life,
        due_at = CASE WHEN renewal = 'never' OR failures > 0 THEN due_at
            ELSE min(ifnull(due_at, issued_at + :due_after), issued_at + :due_after) END
     WHERE rowid IN (SELECT value FROM json_each(:rows))
        AND platform = :platform AND access_expires_at IS NULL AND status = 'active'";

const RESUME_CUT_OFF: &str =
    "UPDATE grants /* every project */ INDEXED BY grants_cut_off SET due_at = :now, in_doubt = 1
     WHERE attempt_at IS NOT NULL AND status = 'active' AND (in_doubt = 0 OR answer IS NOT NULL)";

/// Grants of all projects that have ended with a stored answer that was not understood.
pub fn list_ended_with_answer(db: &Connection) -> Result<Vec<(ProjectId, GrantId)>, Error> {
    all(db, LIST_ENDED_WITH_ANSWER, named_params! {}, |row| {
        let fields = Fields::of("grants", row);
        Ok((fields.get("project_id")?, fields.get("id")?))
    })
}

const LIST_ENDED_WITH_ANSWER: &str = "SELECT project_id, id FROM grants /* every project */ INDEXED BY grants_cut_off
     WHERE attempt_at IS NOT NULL AND answer IS NOT NULL AND status <> 'active'";

/// Erases the tokens of up to `limit` grants of all projects that ended before `before`. Returns the number of grants.
pub fn erase_ended(db: &Transaction<'_>, before: Timestamp, limit: u32) -> Result<usize, Error> {
    change(
        db,
        "UPDATE grants /* every project */
         SET tokens = NULL, tokens_dek_id = NULL, answer = NULL, answer_dek_id = NULL, attempt_at = NULL, in_doubt = 0
         WHERE (project_id, id) IN
            (SELECT project_id, id FROM grants WHERE ended_at < :before AND tokens IS NOT NULL LIMIT :limit)",
        named_params! {":before": before, ":limit": limit},
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::grant::FailureReason;
    use crate::domain::refresh::RefreshState;
    use crate::domain::refresh_failure::RefreshFailure;
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::grants;

    fn trouble(kind: Failure, at: Timestamp) -> RefreshFailure {
        RefreshFailure { kind, status: Some(503), platform_code: None, at, backup_taken_at: None, refused_alone: None }
    }

    fn get(fixture: &Fixture, id: GrantId) -> Grant {
        grants::find(&fixture.db, fixture.ours, id).unwrap().unwrap()
    }

    fn insert(fixture: &mut Fixture, grant: &Grant) -> GrantId {
        fixture.write(|db| grants::insert(db, grant)).unwrap();
        grant.id
    }

    #[test]
    fn no_statement_of_a_start_reads_every_grant() {
        let fixture = Fixture::new();
        for sql in [LIST_ENDED_WITH_ANSWER, RESUME_CUT_OFF] {
            let mut statement = fixture.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = vec![0; statement.parameter_count()];
            let steps = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get("detail")).unwrap();
            let plan: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
            let looks_up = |step: &String| {
                step.starts_with("SEARCH grants USING INDEX ") || step == "SCAN grants USING INDEX grants_cut_off"
            };
            assert!(plan.iter().any(looks_up), "{sql}: {plan:?}");
        }
    }

    #[test]
    fn an_ended_grant_keeps_tokens_and_answer_for_a_while() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        fixture.grant("twitter", "alive");
        let refresh = RefreshState::Answered { asked_at: now, answer: sealed(1) };
        let answered = Grant { refresh, ..fixture.new_grant("twitter", "s") };
        let id = insert(&mut fixture, &answered);
        assert_eq!(list_ended_with_answer(&fixture.db).unwrap(), []);
        let rejected = trouble(Failure::RefreshRejected, now);
        fixture.change(id, |grant| grant.ended(FailureReason::RefreshRejected, rejected));
        assert_eq!(list_ended_with_answer(&fixture.db).unwrap(), [(fixture.ours, id)]);
        assert_eq!(fixture.write(|db| erase_ended(db, now, 9)).unwrap(), 0);
        let later = fixture.later(1);
        assert_eq!(fixture.write(|db| erase_ended(db, later, 9)).unwrap(), 1);
        let erased = get(&fixture, id);
        assert_eq!((erased.tokens, erased.refresh), (None, RefreshState::Idle));
        assert_eq!(fixture.write(|db| erase_ended(db, later, 9)).unwrap(), 0);
    }

    #[test]
    fn a_refresh_that_was_cut_off_is_in_doubt_and_due_when_the_broker_starts() {
        let mut fixture = Fixture::new();
        let (asked_at, later) = (fixture.now(), fixture.now().plus(Duration::from_hours(1)));
        let due_at = Some(later);
        for (subject, refresh, expected, is_due) in [
            ("not begun", RefreshState::Idle, RefreshState::Idle, false),
            ("cut off", RefreshState::InFlight { since: asked_at }, RefreshState::InDoubt { since: asked_at }, true),
            (
                "waits for its retry",
                RefreshState::InDoubt { since: asked_at },
                RefreshState::InDoubt { since: asked_at },
                false,
            ),
            (
                "answered",
                RefreshState::AnsweredInDoubt { asked_at, answer: sealed(1) },
                RefreshState::AnsweredInDoubt { asked_at, answer: sealed(1) },
                true,
            ),
        ] {
            let grant = Grant { due_at, refresh, ..fixture.new_grant("twitter", subject) };
            let id = insert(&mut fixture, &grant);
            let now = fixture.later(1);
            assert_eq!(fixture.write(|db| resume_cut_off(db, now)).unwrap(), usize::from(is_due), "{subject}");
            let found = get(&fixture, id);
            assert_eq!((found.refresh, found.due_at), (expected, Some(if is_due { now } else { later })), "{subject}");
            fixture.db.execute("DELETE FROM grants", []).unwrap();
        }
    }
}
