//! Refreshes of many grants: which are due, and changes of them all at once. [`grants::change`](super::grants::change)
//! changes one.
//!
//! Statements are for every project and say so: the broker keeps all tokens alive.

use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, json};
use crate::domain::grant::Grant;
use crate::domain::id::{GrantId, OauthAppId, ProjectId};
use crate::domain::refresh::{NEW_CREDENTIALS_MAY_RESOLVE, NEW_SETTINGS_MAY_RESOLVE};
use crate::domain::refresh_failure::RefreshFailure;
use crate::domain::time::Timestamp;

/// A grant that is due, with what the scheduler needs to order and throttle it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub project_id: ProjectId,
    pub id: GrantId,
    pub platform: String,
    pub client_id: String,
    pub app_id: Option<OauthAppId>,
    pub generation: u64,
}

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

/// Grants of all projects that are due at `now`, the access token that expires first at the head; at most `of_each_app`
/// per app.
pub fn list_due(db: &Connection, now: Timestamp, of_each_app: u32) -> Result<Vec<Due>, Error> {
    all(
        db,
        "SELECT project_id, id, platform, client_id, app_id, generation FROM (
            SELECT *, row_number() OVER (
                PARTITION BY platform, client_id, app_id ORDER BY access_expires_at, id) AS place
            FROM (SELECT project_id, id, platform, client_id, app_id, generation, access_expires_at
                FROM grants /* every project */ WHERE due_at <= :now))
         WHERE place <= :of_each_app ORDER BY access_expires_at, id",
        named_params! {":now": now, ":of_each_app": of_each_app},
        read_due,
    )
}

/// Number of grants due in all projects, and when the first of them became due.
pub fn count_due(db: &Connection, now: Timestamp) -> Result<(u64, Option<Timestamp>), Error> {
    let mut statement =
        db.prepare_cached("SELECT count(*), min(due_at) FROM grants /* every project */ WHERE due_at <= :now")?;
    let (due, oldest): (i64, Option<i64>) =
        statement.query_row(named_params! {":now": now}, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((u64::try_from(due).unwrap_or(0), oldest.map(Timestamp::from_millis)))
}

/// Postpones everything that an app has due before `until`, and records why. Returns the number of grants.
pub fn postpone_app(
    db: &Transaction<'_>,
    of: &AppKey,
    until: Timestamp,
    trouble: &RefreshFailure,
) -> Result<usize, Error> {
    let (project, app) = of.app.unzip();
    change(
        db,
        "UPDATE grants /* every project, for the operator's app */ SET due_at = :until, trouble = :trouble
         WHERE platform = :platform AND client_id = :client_id AND due_at <= :until AND app_id IS :app
            AND (:app IS NULL OR project_id = :project)",
        named_params! {
            ":platform": of.platform,
            ":client_id": of.client_id,
            ":project": project,
            ":app": app,
            ":until": until,
            ":trouble": json(trouble)?,
        },
    )
}

/// Makes due what waits because of an app whose credentials were changed. Returns the number of grants.
pub fn resume_app(db: &Transaction<'_>, project: ProjectId, app: OauthAppId, now: Timestamp) -> Result<usize, Error> {
    change(
        db,
        "UPDATE grants SET due_at = :now
         WHERE project_id = :project AND app_id = :app AND due_at > :now
            AND trouble ->> 'kind' IN (SELECT value FROM json_each(:kinds))",
        named_params! {":project": project, ":app": app, ":now": now, ":kinds": kinds_of_apps()?},
    )
}

/// Makes due what waits because of the operator's apps or of how a platform is asked, in all projects: the configuration
/// may have changed. Returns the number of grants.
pub fn resume_after_settings(db: &Transaction<'_>, now: Timestamp) -> Result<usize, Error> {
    let of_settings = NEW_SETTINGS_MAY_RESOLVE.code();
    change(db, RESUME_REFUSED, named_params! {":now": now, ":kinds": kinds_of_apps()?, ":of_settings": of_settings})
}

/// When the broker starts: every refresh that was in flight is in doubt and due, and so is what waits because of
/// settings. Returns the number of refreshes that were cut off.
pub fn resume_all(db: &Transaction<'_>, now: Timestamp) -> Result<usize, Error> {
    resume_after_settings(db, now)?;
    change(db, RESUME_CUT_OFF, named_params! {":now": now})
}

/// Gives access tokens of a platform without an expiry this lifetime from their issue on, in all projects, and makes due
/// `ahead` of the end those that can be renewed. Returns the number of grants.
pub fn apply_lifetime(db: &Transaction<'_>, platform: &str, life: Duration, ahead: Duration) -> Result<usize, Error> {
    let due_after = signed_millis(life.saturating_sub(ahead.min(life / 2)));
    let life = signed_millis(life);
    change(db, APPLY_LIFETIME, named_params! {":platform": platform, ":life": life, ":due_after": due_after})
}

fn signed_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

// The statements that run at every start name their index: without it, they would read every grant there is.

const RESUME_REFUSED: &str = "UPDATE grants /* every project */ INDEXED BY grants_in_trouble SET due_at = :now
     WHERE trouble IS NOT NULL AND due_at > :now
        AND trouble ->> 'kind' IN (SELECT value FROM json_each(:kinds) UNION SELECT :of_settings)
        AND (app_id IS NULL OR trouble ->> 'kind' = :of_settings)";

const APPLY_LIFETIME: &str = "UPDATE grants /* every project */ INDEXED BY grants_by_consent
     SET access_expires_at = issued_at + :life,
        due_at = CASE WHEN renewal = 'never' OR failures > 0 THEN due_at
            ELSE min(ifnull(due_at, issued_at + :due_after), issued_at + :due_after) END
     WHERE platform = :platform AND access_expires_at IS NULL AND status = 'active'";

const RESUME_CUT_OFF: &str =
    "UPDATE grants /* every project */ INDEXED BY grants_cut_off SET due_at = :now, in_doubt = 1
     WHERE attempt_at IS NOT NULL AND status = 'active'";

/// Names of the failures that new credentials may resolve, as a JSON array. Released databases hold `app_rejected` for
/// `credentials_rejected`.
fn kinds_of_apps() -> Result<String, Error> {
    let names = NEW_CREDENTIALS_MAY_RESOLVE.iter().map(|failure| failure.code());
    json(&names.chain(["app_rejected"]).collect::<Vec<_>>())
}

/// Makes due what a clock that was ahead postponed, in all projects. No retry of today is later than `latest_retry`.
/// Returns the number of grants.
pub fn resume_misdated(db: &Transaction<'_>, now: Timestamp, latest_retry: Timestamp) -> Result<usize, Error> {
    Ok(change(db, RESUME_ISSUED_AHEAD, named_params! {":now": now})?
        + change(db, RESUME_FAR_RETRIES, named_params! {":now": now, ":latest_retry": latest_retry})?)
}

/// Makes due what a clock that was ahead took to have lapsed, in all projects. Looks at every grant that has lapsed.
/// Returns the number of grants.
pub fn resume_lapsed(db: &Transaction<'_>, now: Timestamp) -> Result<usize, Error> {
    change(db, RESUME_LAPSED, named_params! {":now": now})
}

const RESUME_ISSUED_AHEAD: &str = "UPDATE grants /* every project */ INDEXED BY grants_by_issue SET due_at = :now
     WHERE issued_at > :now AND due_at > :now AND failures = 0 AND status = 'active' AND renewal <> 'never'";

const RESUME_FAR_RETRIES: &str = "UPDATE grants /* every project */ INDEXED BY grants_by_retry SET due_at = :now
     WHERE due_at > :latest_retry AND failures > 0 AND status = 'active' AND renewal <> 'never'
        AND due_at > issued_at + 86400000 /* a day: some platforms renew no younger token */";

const RESUME_LAPSED: &str = "UPDATE grants /* every project */ INDEXED BY grants_in_trouble SET due_at = :now
     WHERE trouble IS NOT NULL AND trouble ->> 'kind' = 'consent_expired' AND due_at IS NULL AND status = 'active'
        AND (access_expires_at > :now AND renewal <> 'never'
            OR renewal = 'refresh_token' AND refresh_expires_at > :now)";

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

fn read_due(row: &Row<'_>) -> Result<Due, Error> {
    let fields = Fields::of("grants", row);
    Ok(Due {
        project_id: fields.get("project_id")?,
        id: fields.get("id")?,
        platform: fields.get("platform")?,
        client_id: fields.get("client_id")?,
        app_id: fields.get("app_id")?,
        generation: fields.unsigned("generation")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::grant::FailureReason;
    use crate::domain::refresh::RefreshState;
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::grants;

    fn trouble(kind: Failure, at: Timestamp) -> RefreshFailure {
        RefreshFailure { kind, status: Some(503), platform_code: None, at, backup_taken_at: None }
    }

    fn get(fixture: &Fixture, id: GrantId) -> Grant {
        grants::find(&fixture.db, fixture.ours, id).unwrap().unwrap()
    }

    fn due(fixture: &Fixture, now: Timestamp, of_each_app: u32) -> Vec<GrantId> {
        list_due(&fixture.db, now, of_each_app).unwrap().into_iter().map(|due| due.id).collect()
    }

    fn insert(fixture: &mut Fixture, grant: &Grant) -> GrantId {
        fixture.write(|db| grants::insert(db, grant)).unwrap();
        grant.id
    }

    #[test]
    fn due_grants_are_listed_by_the_expiry_of_their_tokens() {
        let mut fixture = Fixture::new();
        let start = fixture.now();
        let at = |seconds| Some(start.plus(Duration::from_secs(seconds)));
        let [late, soon, past, _, _] = [
            ("late", at(10), at(900)),
            ("soon", at(20), at(100)),
            ("past", at(30), at(50)),
            ("not yet", at(99), at(10)),
            ("never", None, at(10)),
        ]
        .map(|(subject, due_at, access_expires_at)| {
            let grant = Grant { access_expires_at, due_at, ..fixture.new_grant("twitter", subject) };
            insert(&mut fixture, &grant)
        });
        let now = fixture.later(40);
        assert_eq!(due(&fixture, now, 10), [past, soon, late]);
        assert_eq!(due(&fixture, now, 1), [past]);
        assert_eq!(count_due(&fixture.db, now).unwrap(), (3, at(10)));
        assert_eq!(count_due(&fixture.db, start).unwrap(), (0, None));
    }

    #[test]
    fn no_app_takes_the_places_of_another() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let [first, second, _, other] =
            [("twitter", "0"), ("twitter", "1"), ("twitter", "2"), ("tiktok", "last")].map(|(platform, subject)| {
                let grant = Grant { due_at: Some(now), ..fixture.new_grant(platform, subject) };
                insert(&mut fixture, &grant)
            });
        assert_eq!(due(&fixture, now, 2), [first, second, other]);
    }

    #[test]
    fn due_grants_are_found_in_the_index_alone() {
        let fixture = Fixture::new();
        let plan: Vec<String> = fixture
            .db
            .prepare(
                "EXPLAIN QUERY PLAN SELECT project_id, id, platform, client_id, app_id, generation, access_expires_at
                 FROM grants WHERE due_at <= 5",
            )
            .unwrap()
            .query_map([], |row| row.get("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(plan.iter().any(|step| step.contains("COVERING INDEX grants_by_due (due_at<?)")), "{plan:?}");
    }

    #[test]
    fn no_statement_of_a_start_reads_every_grant() {
        let fixture = Fixture::new();
        for sql in [
            LIST_ENDED_WITH_ANSWER,
            RESUME_CUT_OFF,
            RESUME_FAR_RETRIES,
            RESUME_ISSUED_AHEAD,
            RESUME_LAPSED,
            RESUME_REFUSED,
        ] {
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
    fn an_apps_refreshes_are_postponed_and_resumed_together() {
        let mut fixture = Fixture::new();
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let app = fixture.app("twitter", "client");
        let [operators, operators_too, own, other] = [
            ("twitter", "a", None, ours),
            ("twitter", "b", None, theirs),
            ("twitter", "c", Some(app), ours),
            ("tiktok", "d", None, ours),
        ]
        .map(|(platform, subject, app_id, project_id)| {
            let grant = Grant { app_id, project_id, due_at: Some(now), ..fixture.new_grant(platform, subject) };
            insert(&mut fixture, &grant)
        });
        let until = now.plus(Duration::from_mins(10));
        let rejected = trouble(Failure::CredentialsRejected, now);
        let of = |app| AppKey { platform: "twitter".to_owned(), client_id: "client".to_owned(), app };
        assert_eq!(fixture.write(|db| postpone_app(db, &of(None), until, &rejected)).unwrap(), 2);
        assert_eq!(due(&fixture, now, 9), [own, other]);
        assert_eq!(fixture.write(|db| postpone_app(db, &of(Some((ours, app))), until, &rejected)).unwrap(), 1);
        assert_eq!(due(&fixture, now, 9), [other]);
        assert_eq!(fixture.write(|db| resume_app(db, theirs, app, now)).unwrap(), 0);
        assert_eq!(fixture.write(|db| resume_app(db, ours, app, now)).unwrap(), 1);
        assert_eq!(due(&fixture, now, 9), [own, other]);
        fixture.write(|db| resume_all(db, now)).unwrap();
        assert_eq!(due(&fixture, now, 9), [operators, operators_too, own, other]);
        let throttled = trouble(Failure::PlatformThrottled, now);
        fixture.write(|db| postpone_app(db, &of(None), until, &throttled)).unwrap();
        fixture.write(|db| postpone_app(db, &of(Some((ours, app))), until, &throttled)).unwrap();
        fixture.write(|db| resume_all(db, now)).unwrap();
        assert_eq!(fixture.write(|db| resume_app(db, ours, app, now)).unwrap(), 0);
        assert_eq!(due(&fixture, now, 9), [other], "new credentials do not end a throttling");
    }

    #[test]
    fn new_credentials_resume_failures_that_an_earlier_release_recorded() {
        for (kind, resumed) in [("app_rejected", 1), ("credentials_rejected", 1), ("throttled", 0)] {
            let mut fixture = Fixture::new();
            let (ours, now) = (fixture.ours, fixture.now());
            let app = fixture.app("twitter", "client");
            for (subject, app_id) in [("operator's", None), ("own", Some(app))] {
                let due_at = Some(now.plus(Duration::from_mins(10)));
                let grant = Grant { app_id, due_at, ..fixture.new_grant("twitter", subject) };
                fixture.write(|db| grants::insert(db, &grant)).unwrap();
            }
            let stored = format!(r#"{{"kind":"{kind}","status":null,"platform_code":null,"at":0}}"#);
            fixture.db.execute("UPDATE grants SET trouble = ?1", [stored]).unwrap();
            assert_eq!(fixture.write(|db| resume_app(db, ours, app, now)).unwrap(), resumed, "{kind}");
            fixture.write(|db| resume_all(db, now)).unwrap();
            assert_eq!(due(&fixture, now, 9).len(), 2 * resumed, "{kind}");
        }
    }

    #[test]
    fn new_settings_resume_what_was_refused_under_any_app() {
        let mut fixture = Fixture::new();
        let (ours, now) = (fixture.ours, fixture.now());
        let app = fixture.app("twitter", "client");
        let due_at = Some(now.plus(Duration::from_hours(6)));
        let [operators, own] = [("operator's", None), ("own", Some(app))].map(|(subject, app_id)| {
            let refused = Some(trouble(Failure::RequestRefused, now));
            let grant = Grant { app_id, due_at, trouble: refused, ..fixture.new_grant("twitter", subject) };
            insert(&mut fixture, &grant)
        });
        assert_eq!(fixture.write(|db| resume_app(db, ours, app, now)).unwrap(), 0, "its secret was not at fault");
        assert_eq!(fixture.write(|db| resume_after_settings(db, now)).unwrap(), 2);
        assert_eq!(due(&fixture, now, 9), [operators, own]);
    }

    #[test]
    fn a_clock_set_back_makes_due_what_it_had_taken_to_have_lapsed_and_nothing_else() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let at = |seconds| Some(now.plus(Duration::from_secs(seconds)));
        let soon = at(10);
        let [_, _, lapsed, expired] = [
            ("due soon", soon, at(20), at(99)),
            ("never expires, so never refreshed", None, None, at(99)),
            ("lapsed by the wrong clock", soon, at(20), at(99)),
            ("lapsed by any clock", soon, Some(now), Some(now)),
        ]
        .map(|(subject, due_at, access_expires_at, refresh_expires_at)| {
            let grant = fixture.new_grant("twitter", subject);
            insert(&mut fixture, &Grant { issued_at: now, access_expires_at, refresh_expires_at, due_at, ..grant })
        });
        for id in [lapsed, expired] {
            fixture.change(id, |grant| grant.lapsed(trouble(Failure::ConsentExpired, now)));
        }
        assert_eq!(fixture.write(|db| resume_lapsed(db, now)).unwrap(), 1);
        assert_eq!(due(&fixture, now, 9), [lapsed]);
    }

    #[test]
    fn a_far_retry_is_due_unless_the_token_is_too_young_until_then() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let [_, far] = [24, 25].map(|hours| {
            let due_at = Some(now.plus(Duration::from_hours(hours)));
            let grant = fixture.new_grant("instagram", &hours.to_string());
            insert(&mut fixture, &Grant { issued_at: now, due_at, failures: 1, ..grant })
        });
        assert_eq!(fixture.write(|db| resume_misdated(db, now, now.plus(Duration::from_hours(7)))).unwrap(), 1);
        assert_eq!(due(&fixture, now, 9), [far]);
    }

    #[test]
    fn a_refresh_that_was_cut_off_is_in_doubt_and_due_when_the_broker_starts() {
        let mut fixture = Fixture::new();
        let (id, since) = (fixture.grant("twitter", "s"), fixture.now());
        fixture.grant("twitter", "not begun");
        fixture.change(id, |grant| grant.begin_refresh(since));
        let now = fixture.later(1);
        assert_eq!(fixture.write(|db| resume_all(db, now)).unwrap(), 1);
        assert_eq!(get(&fixture, id).refresh, RefreshState::InDoubt { since });
        assert_eq!(due(&fixture, now, 9), [id]);
    }
}
