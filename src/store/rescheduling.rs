//! Refreshes of many grants that are postponed, or made due, for the same reason.
//!
//! There may be hundreds of thousands. A list finds them on a connection that reads, and small transactions change one
//! batch after the other, so that other writes have their turn in between. Each batch looks at its grants again: they
//! may have changed since.
//!
//! Statements are for every project and say so: the broker keeps all tokens alive.

use rusqlite::types::ToSql;
use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{all, change, json};
use super::due::GrantRow;
use super::refreshes::AppKey;
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::refresh::{LAPSED, NEW_CREDENTIALS_MAY_RESOLVE, NEW_SETTINGS_MAY_RESOLVE};
use crate::domain::refresh_failure::RefreshFailure;
use crate::domain::time::Timestamp;

/// Grants in one transaction. Other writes wait some 50 ms for it.
pub const BATCH: usize = 200;

/// Grants that an app has due before `until`, the first one at the head.
pub fn list_due_of_app(db: &Connection, of: &AppKey, until: Timestamp) -> Result<Vec<GrantRow>, Error> {
    let (project, app) = of.app.unzip();
    all(
        db,
        &list_due_of_app_sql(),
        named_params! {
            ":until": until,
            ":platform": of.platform,
            ":client_id": of.client_id,
            ":app": app,
            ":project": project,
        },
        |row| Ok(row.get(0)?),
    )
}

/// Postpones those of `rows` that the app still has due before `until`, and records why. Returns the number of grants.
pub fn postpone(
    db: &Transaction<'_>,
    rows: &[GrantRow],
    of: &AppKey,
    until: Timestamp,
    trouble: &RefreshFailure,
) -> Result<usize, Error> {
    let (project, app) = of.app.unzip();
    change(
        db,
        &postpone_sql(),
        named_params! {
            ":until": until,
            ":trouble": json(trouble)?,
            ":rows": json(&rows)?,
            ":platform": of.platform,
            ":client_id": of.client_id,
            ":app": app,
            ":project": project,
        },
    )
}

const DUE_OF_APP: &str =
    "g.due_at < :until AND g.platform = :platform AND g.client_id = :client_id AND g.app_id IS :app
    AND (:app IS NULL OR g.project_id = :project)";

/// Found in the index alone: no grant is read.
fn list_due_of_app_sql() -> String {
    format!(
        "SELECT g.rowid FROM grants AS g /* every project */ INDEXED BY grants_by_due
         WHERE {DUE_OF_APP} ORDER BY g.due_at"
    )
}

fn postpone_sql() -> String {
    format!(
        "UPDATE grants AS g /* every project */ NOT INDEXED SET due_at = :until, trouble = :trouble
         WHERE g.rowid IN (SELECT value FROM json_each(:rows)) AND {DUE_OF_APP}"
    )
}

/// Grants that wait although the reason may be gone: their refresh is to be tried at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumable {
    /// The operator's app, or the way in which the platform is asked, was refused, or brought no answer that can be
    /// read, and the configuration may have changed. Or the app of a caller was refused and has changed since: the
    /// broker stopped before it could resume all of [`RefusedOf`](Self::RefusedOf).
    Refused,
    /// This app of a caller was refused, and its credentials were changed.
    RefusedOf(ProjectId, OauthAppId),
    /// A refresh had an unknown outcome. Where the broker stops meanwhile, they are refreshed at the time of their next
    /// retry.
    InDoubt,
    /// The tokens were issued later than now: the clock was ahead, or is behind.
    IssuedAhead,
    /// The retry is later than any of today can be: the clock was ahead, or is behind.
    RetriedAfter(Timestamp),
    /// Expired by the clock alone, as earlier releases recorded it: the platform was not asked. Or it expired while the
    /// clock was ahead.
    Lapsed,
}

/// Grants that are to be made due.
pub fn list_resumable(db: &Connection, which: Resumable, now: Timestamp) -> Result<Vec<GrantRow>, Error> {
    let sql = list_resumable_sql(which);
    with_params(which, now, |params| all(db, &sql, params, |row| Ok(row.get(0)?)))
}

/// Makes due those of `rows` that still wait. Returns the number of grants.
pub fn resume(db: &Transaction<'_>, rows: &[GrantRow], which: Resumable, now: Timestamp) -> Result<usize, Error> {
    let (sql, rows) = (resume_sql(which), json(&rows)?);
    with_params(which, now, |params| change(db, &sql, &[named_params! {":rows": rows}, params].concat()))
}

/// The list names its index: without it, it would read every grant there is.
fn list_resumable_sql(which: Resumable) -> String {
    let (index, condition) = which.sql();
    format!("SELECT g.rowid FROM grants AS g /* every project */ INDEXED BY {index} WHERE {condition}")
}

fn resume_sql(which: Resumable) -> String {
    let (_, condition) = which.sql();
    format!(
        "UPDATE grants AS g /* every project */ NOT INDEXED SET due_at = :now
         WHERE g.rowid IN (SELECT value FROM json_each(:rows)) AND {condition}"
    )
}

impl Resumable {
    /// The index that finds the grants, and the condition on them.
    const fn sql(self) -> (&'static str, &'static str) {
        match self {
            Self::Refused => (
                "grants_in_trouble",
                "g.trouble IS NOT NULL AND g.due_at > :now
                    AND g.trouble ->> 'kind' IN (
                        SELECT value FROM json_each(:kinds) UNION SELECT value FROM json_each(:of_settings))
                    AND CASE WHEN g.trouble ->> 'kind' IN (SELECT value FROM json_each(:of_settings))
                        THEN g.trouble ->> 'kind' <> 'platform_unavailable' OR g.trouble ->> 'status' IS NULL
                        ELSE g.app_id IS NULL OR EXISTS (
                            SELECT 1 FROM oauth_apps AS a
                            WHERE a.project_id = g.project_id AND a.id = g.app_id AND a.updated_at >= g.trouble ->> 'at')
                        END",
            ),
            Self::RefusedOf(..) => (
                "grants_by_app",
                "g.project_id = :project AND g.app_id = :app AND g.due_at > :now
                    AND g.trouble ->> 'kind' IN (SELECT value FROM json_each(:kinds))",
            ),
            Self::InDoubt => (
                "grants_cut_off",
                "g.attempt_at IS NOT NULL AND g.in_doubt = 1 AND g.status = 'active' AND g.due_at > :now",
            ),
            Self::IssuedAhead => (
                "grants_by_issue",
                "g.issued_at > :now AND g.due_at > :now AND g.failures = 0 AND g.status = 'active'
                    AND g.renewal <> 'never'",
            ),
            Self::RetriedAfter(_) => (
                "grants_by_retry",
                "g.due_at > max(:now, :latest) AND g.failures > 0 AND g.status = 'active' AND g.renewal <> 'never'
                    AND g.due_at > g.issued_at + 86400000 /* a day: some platforms renew no younger token */",
            ),
            Self::Lapsed => (
                "grants_in_trouble",
                "g.trouble IS NOT NULL AND g.trouble ->> 'kind' IN (SELECT value FROM json_each(:kinds))
                    AND g.due_at IS NULL AND g.status = 'active' AND g.renewal <> 'never'
                    AND (g.trouble ->> 'status' IS NULL OR g.access_expires_at > :now)",
            ),
        }
    }
}

/// Runs a statement with the parameters that it names.
fn with_params<T>(
    which: Resumable,
    now: Timestamp,
    run: impl FnOnce(&[(&str, &dyn ToSql)]) -> Result<T, Error>,
) -> Result<T, Error> {
    match which {
        Resumable::Refused => {
            let of_settings = json(&NEW_SETTINGS_MAY_RESOLVE)?;
            run(named_params! {":now": now, ":kinds": kinds_of_apps()?, ":of_settings": of_settings})
        }
        Resumable::RefusedOf(project, app) => {
            run(named_params! {":now": now, ":project": project, ":app": app, ":kinds": kinds_of_apps()?})
        }
        Resumable::RetriedAfter(latest) => run(named_params! {":now": now, ":latest": latest}),
        Resumable::Lapsed => run(named_params! {":now": now, ":kinds": json(&LAPSED)?}),
        Resumable::InDoubt | Resumable::IssuedAhead => run(named_params! {":now": now}),
    }
}

/// Names of the failures that new credentials may resolve, as a JSON array. Released databases hold `app_rejected` for
/// `credentials_rejected`.
fn kinds_of_apps() -> Result<String, Error> {
    let names = NEW_CREDENTIALS_MAY_RESOLVE.iter().map(|failure| failure.code());
    json(&names.chain(["app_rejected"]).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::grant::Grant;
    use crate::domain::id::GrantId;
    use crate::domain::oauth_app::OauthAppChange;
    use crate::domain::refresh::{RefreshState, may_be_of_settings};
    use crate::store::due::list_due;
    use crate::store::fixture::Fixture;
    use crate::store::{grants, oauth_apps};

    fn trouble(kind: Failure, at: Timestamp) -> RefreshFailure {
        RefreshFailure { kind, status: Some(503), platform_code: None, at, backup_taken_at: None, refused_alone: None }
    }

    fn due(fixture: &Fixture, now: Timestamp) -> Vec<GrantId> {
        list_due(&fixture.db, now, 9).unwrap().first.into_iter().map(|due| due.id).collect()
    }

    fn insert(fixture: &mut Fixture, grant: &Grant) -> GrantId {
        fixture.write(|db| grants::insert(db, grant)).unwrap();
        grant.id
    }

    fn postpone_all(fixture: &mut Fixture, of: &AppKey, until: Timestamp, trouble: &RefreshFailure) -> usize {
        let rows = list_due_of_app(&fixture.db, of, until).unwrap();
        let postponed = fixture.write(|db| postpone(db, &rows, of, until, trouble)).unwrap();
        assert_eq!(postponed, rows.len());
        postponed
    }

    fn resume_all(fixture: &mut Fixture, which: Resumable, now: Timestamp) -> usize {
        let rows = list_resumable(&fixture.db, which, now).unwrap();
        let resumed = fixture.write(|db| resume(db, &rows, which, now)).unwrap();
        assert_eq!(resumed, rows.len());
        resumed
    }

    fn plan(fixture: &Fixture, sql: &str) -> Vec<String> {
        let mut statement = fixture.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = vec![0; statement.parameter_count()];
        let steps = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get("detail")).unwrap();
        steps.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn lists_walk_along_an_index_and_batches_look_at_their_rows_alone() {
        let fixture = Fixture::new();
        let is_by_row = |step: &String| step.starts_with("SEARCH g USING ") && step.ends_with("rowid=?)");
        let resumables = [
            Resumable::Refused,
            Resumable::RefusedOf(fixture.ours, fixture.id()),
            Resumable::InDoubt,
            Resumable::IssuedAhead,
            Resumable::RetriedAfter(fixture.now()),
            Resumable::Lapsed,
        ];
        for which in resumables {
            let (index, _) = which.sql();
            let [list, batch] = [list_resumable_sql(which), resume_sql(which)].map(|sql| plan(&fixture, &sql));
            let is_walk = |step: &String| step.contains(&format!(" g USING INDEX {index}"));
            assert!(list.iter().any(is_walk), "{which:?}: {list:?}");
            assert!(batch.iter().any(is_by_row), "{which:?}: {batch:?}");
        }
        let list = plan(&fixture, &list_due_of_app_sql());
        assert_eq!(list, ["SEARCH g USING COVERING INDEX grants_by_due (due_at<?)"]);
        let batch = plan(&fixture, &postpone_sql());
        assert!(batch.iter().any(is_by_row), "{batch:?}");
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
        assert_eq!(postpone_all(&mut fixture, &of(None), until, &rejected), 2);
        assert_eq!(due(&fixture, now), [own, other]);
        assert_eq!(postpone_all(&mut fixture, &of(Some((ours, app))), until, &rejected), 1);
        assert_eq!(due(&fixture, now), [other]);
        assert_eq!(resume_all(&mut fixture, Resumable::RefusedOf(theirs, app), now), 0);
        assert_eq!(resume_all(&mut fixture, Resumable::RefusedOf(ours, app), now), 1);
        assert_eq!(due(&fixture, now), [own, other]);
        resume_all(&mut fixture, Resumable::Refused, now);
        assert_eq!(due(&fixture, now), [operators, operators_too, own, other]);
        let throttled = trouble(Failure::PlatformThrottled, now);
        postpone_all(&mut fixture, &of(None), until, &throttled);
        postpone_all(&mut fixture, &of(Some((ours, app))), until, &throttled);
        resume_all(&mut fixture, Resumable::Refused, now);
        assert_eq!(resume_all(&mut fixture, Resumable::RefusedOf(ours, app), now), 0);
        assert_eq!(due(&fixture, now), [other], "new credentials do not end a throttling");
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
            assert_eq!(resume_all(&mut fixture, Resumable::RefusedOf(ours, app), now), resumed, "{kind}");
            resume_all(&mut fixture, Resumable::Refused, now);
            assert_eq!(due(&fixture, now).len(), 2 * resumed, "{kind}");
        }
    }

    #[test]
    fn new_settings_resume_under_any_app_what_the_platform_itself_does_not_delay() {
        for (kind, status, resumed) in [
            (Failure::RequestRefused, Some(404), 2),
            (Failure::PlatformAnswerUnreadable, Some(200), 2),
            (Failure::PlatformUnavailable, None, 2),
            (Failure::PlatformUnavailable, Some(503), 0),
            (Failure::PlatformThrottled, Some(429), 0),
        ] {
            let mut fixture = Fixture::new();
            let (ours, now) = (fixture.ours, fixture.now());
            let app = fixture.app("twitter", "client");
            let due_at = Some(now.plus(Duration::from_hours(6)));
            for (subject, app_id) in [("operator's", None), ("own", Some(app))] {
                let failed = Some(RefreshFailure { status, ..trouble(kind, now) });
                let grant = Grant { app_id, due_at, trouble: failed, ..fixture.new_grant("twitter", subject) };
                insert(&mut fixture, &grant);
            }
            assert_eq!(
                resume_all(&mut fixture, Resumable::RefusedOf(ours, app), now),
                0,
                "its secret was not at fault"
            );
            assert_eq!(resume_all(&mut fixture, Resumable::Refused, now), resumed, "{kind:?}");
            assert_eq!(due(&fixture, now).len(), resumed, "{kind:?}");
            assert_eq!(may_be_of_settings(kind, status), resumed > 0, "a call in flight is judged like one that waits");
        }
    }

    #[test]
    fn a_clock_set_back_makes_due_what_it_had_taken_to_have_lapsed_and_nothing_else() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let at = |seconds| Some(now.plus(Duration::from_secs(seconds)));
        let soon = at(10);
        let [_, _, lapsed, lapsed_in_testing, expired] = [
            ("due soon", soon, at(20), at(99)),
            ("never expires, so never refreshed", None, None, at(99)),
            ("lapsed by the wrong clock", soon, at(20), at(99)),
            ("lapsed by the wrong clock in testing", soon, at(20), at(99)),
            ("lapsed by any clock", soon, Some(now), Some(now)),
        ]
        .map(|(subject, due_at, access_expires_at, refresh_expires_at)| {
            let grant = fixture.new_grant("twitter", subject);
            insert(&mut fixture, &Grant { issued_at: now, access_expires_at, refresh_expires_at, due_at, ..grant })
        });
        for (id, kind) in [
            (lapsed, Failure::ConsentExpired),
            (lapsed_in_testing, Failure::TestingConsentExpired),
            (expired, Failure::ConsentExpired),
        ] {
            fixture.change(id, |grant| grant.lapsed(trouble(kind, now)));
        }
        assert_eq!(resume_all(&mut fixture, Resumable::Lapsed, now), 2);
        assert_eq!(due(&fixture, now), [lapsed, lapsed_in_testing]);
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
        assert_eq!(resume_all(&mut fixture, Resumable::RetriedAfter(now.plus(Duration::from_hours(7))), now), 1);
        assert_eq!(due(&fixture, now), [far]);
    }

    #[test]
    fn a_batch_leaves_alone_what_changed_since_the_list() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let until = now.plus(Duration::from_mins(10));
        let [ended, renewed, same] = ["ended", "renewed", "same"].map(|subject| {
            let grant = Grant { due_at: Some(now), ..fixture.new_grant("twitter", subject) };
            insert(&mut fixture, &grant)
        });
        let of = AppKey { platform: "twitter".to_owned(), client_id: "client".to_owned(), app: None };
        let due_at = |fixture: &Fixture, id| grants::find(&fixture.db, fixture.ours, id).unwrap().unwrap().due_at;
        let set = |fixture: &Fixture, due_at: Option<Timestamp>, id: GrantId| {
            fixture.db.execute("UPDATE grants SET due_at = ?1 WHERE id = ?2", rusqlite::params![due_at, id]).unwrap();
        };
        let rows = list_due_of_app(&fixture.db, &of, until).unwrap();
        let later = until.plus(Duration::from_hours(1));
        set(&fixture, None, ended);
        set(&fixture, Some(later), renewed);
        let rejected = trouble(Failure::CredentialsRejected, now);
        assert_eq!(fixture.write(|db| postpone(db, &rows, &of, until, &rejected)).unwrap(), 1);
        let expected = [None, Some(later), Some(until)];
        assert_eq!([ended, renewed, same].map(|id| due_at(&fixture, id)), expected);

        let rows = list_resumable(&fixture.db, Resumable::Refused, now).unwrap();
        set(&fixture, None, same);
        assert_eq!(fixture.write(|db| resume(db, &rows, Resumable::Refused, now)).unwrap(), 0);
        assert_eq!(due(&fixture, now), []);
    }

    #[test]
    fn what_waits_because_of_a_callers_app_is_resumed_where_the_app_has_changed_since() {
        let mut fixture = Fixture::new();
        let (ours, now) = (fixture.ours, fixture.now());
        let app = fixture.app("twitter", "client");
        let until = Some(now.plus(Duration::from_hours(1)));
        let refused_at = fixture.later(60);
        let refused = Grant {
            app_id: Some(app),
            due_at: until,
            trouble: Some(trouble(Failure::CredentialsRejected, refused_at)),
            failures: 1,
            ..fixture.new_grant("twitter", "s")
        };
        let id = insert(&mut fixture, &refused);
        assert_eq!(resume_all(&mut fixture, Resumable::Refused, refused_at), 0);
        let changed_at = fixture.later(60);
        fixture.write(|db| oauth_apps::update(db, ours, app, &OauthAppChange::default(), changed_at)).unwrap();
        assert_eq!(resume_all(&mut fixture, Resumable::Refused, changed_at), 1);
        assert_eq!(due(&fixture, changed_at), [id]);
    }

    #[test]
    fn a_refresh_in_doubt_need_not_wait_for_its_retry() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let due_at = Some(now.plus(Duration::from_hours(1)));
        let [_, in_doubt] = [RefreshState::Idle, RefreshState::InDoubt { since: now }].map(|refresh| {
            let grant = Grant { due_at, ..fixture.new_grant("twitter", &format!("{refresh:?}")) };
            insert(&mut fixture, &Grant { refresh, ..grant })
        });
        assert_eq!(resume_all(&mut fixture, Resumable::InDoubt, now), 1);
        assert_eq!(due(&fixture, now), [in_doubt]);
    }
}
