//! The refreshes of grants: which are due, which are under way or were cut off, how they failed. New tokens are stored by
//! [`grants::renew`](super::grants::renew), which ends whatever is written down here.
//!
//! Statements about what is due or was cut off are for every project and say so: the broker keeps all tokens alive. Each
//! change of a grant is a compare-and-swap on its generation: what began before the person connected again, or
//! disconnected, changes nothing.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, change_one, dek_id, json, signed};
use super::grants::status_columns;
use crate::domain::grant::{AuthStatus, FailureReason, Grant};
use crate::domain::id::{GrantId, OauthAppId, ProjectId};
use crate::domain::secret::Sealed;
use crate::domain::time::Timestamp;
use crate::domain::trouble::Trouble;

/// A grant that is to be refreshed, as far as the order of things needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub project_id: ProjectId,
    pub id: GrantId,
    pub platform: String,
    pub client_id: String,
    pub app_id: Option<OauthAppId>,
    pub generation: u64,
}

/// Whose refreshes a statement is about: those of one OAuth app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OfApp {
    pub platform: String,
    pub client_id: String,
    /// The caller's own app, with its project; `None`: the operator's, in every project.
    pub app: Option<(ProjectId, OauthAppId)>,
}

impl OfApp {
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

/// How a refresh failed that leaves the grant active.
#[derive(Debug, Clone)]
pub struct Failed {
    pub trouble: Trouble,
    pub due_at: Timestamp,
    /// Whether nobody knows if the platform did what it was asked: the attempt stays written down.
    pub is_unanswered: bool,
    /// Whether the answer that was kept turned out to be this failure, so that nothing is to be learned from it any more.
    pub is_in_answer: bool,
}

/// What is due at `now` in whichever project, the access token that expires first at the head; of each app at most so many.
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

/// How many are due in all projects, and since when the first of them.
pub fn count_due(db: &Connection, now: Timestamp) -> Result<(u64, Option<Timestamp>), Error> {
    let mut statement =
        db.prepare_cached("SELECT count(*), min(due_at) FROM grants /* every project */ WHERE due_at <= :now")?;
    let (due, oldest): (i64, Option<i64>) =
        statement.query_row(named_params! {":now": now}, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((u64::try_from(due).unwrap_or(0), oldest.map(Timestamp::from_millis)))
}

/// Writes down that the platform is about to be asked. An attempt that is there already is one of which nobody knows how
/// it ended; its time stays where its answer is kept, because that answer's lifetimes count from it. [`Error::NotChanged`] when the grant is gone, has ended or has another generation.
pub fn begin(
    db: &Transaction<'_>,
    project: ProjectId,
    id: GrantId,
    generation: u64,
    now: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE grants SET in_doubt = in_doubt OR attempt_at IS NOT NULL, attempt_at = iif(answer IS NULL, :now, attempt_at)
         WHERE project_id = :project AND id = :id AND generation = :generation AND status = 'active'",
        named_params! {":project": project, ":id": id, ":generation": signed(generation), ":now": now},
    )
}

/// Keeps what the platform answered to what was asked at `asked_at`, as it came. [`Error::NotChanged`] when the grant is gone or has another generation.
pub fn keep_answer(
    db: &Transaction<'_>,
    project: ProjectId,
    id: GrantId,
    generation: u64,
    asked_at: Timestamp,
    answer: &Sealed,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE grants SET answer = :answer, answer_dek_id = :dek_id, attempt_at = :asked_at
         WHERE project_id = :project AND id = :id AND generation = :generation AND attempt_at IS NOT NULL",
        named_params! {
            ":project": project,
            ":id": id,
            ":generation": signed(generation),
            ":asked_at": asked_at,
            ":answer": answer,
            ":dek_id": dek_id(answer, "grants", "answer", &id)?,
        },
    )
}

/// Records a failure that leaves the grant active, and when it is tried again. A doubt about an earlier attempt stays, and
/// so does an answer that could not be read. [`Error::NotChanged`] when the grant is gone, has ended or has another generation.
pub fn fail(
    db: &Transaction<'_>,
    project: ProjectId,
    id: GrantId,
    generation: u64,
    failed: &Failed,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE grants SET
            trouble = :trouble,
            failures = failures + 1,
            due_at = :due_at,
            answer = iif(:in_answer, NULL, answer),
            answer_dek_id = iif(:in_answer, NULL, answer_dek_id),
            attempt_at = iif(:unanswered OR in_doubt OR (answer IS NOT NULL AND NOT :in_answer), attempt_at, NULL),
            in_doubt = in_doubt OR :unanswered
         WHERE project_id = :project AND id = :id AND generation = :generation AND status = 'active'",
        named_params! {
            ":project": project,
            ":id": id,
            ":generation": signed(generation),
            ":trouble": json(&failed.trouble)?,
            ":due_at": failed.due_at,
            ":unanswered": failed.is_unanswered,
            ":in_answer": failed.is_in_answer,
        },
    )
}

/// Puts a refresh off, where it is not to come later anyway. [`Error::NotChanged`] as for [`fail`].
pub fn postpone(
    db: &Transaction<'_>,
    project: ProjectId,
    id: GrantId,
    generation: u64,
    due_at: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE grants SET due_at = max(due_at, :due_at)
         WHERE project_id = :project AND id = :id AND generation = :generation AND status = 'active'",
        named_params! {":project": project, ":id": id, ":generation": signed(generation), ":due_at": due_at},
    )
}

/// Records that nothing renews the grant any more: it is tried no more, and stays as it is until its times are over.
/// [`Error::NotChanged`] as for [`fail`].
pub fn lapse(
    db: &Transaction<'_>,
    project: ProjectId,
    id: GrantId,
    generation: u64,
    trouble: &Trouble,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE grants SET due_at = NULL, trouble = :trouble
         WHERE project_id = :project AND id = :id AND generation = :generation AND status = 'active'",
        named_params! {
            ":project": project, ":id": id, ":generation": signed(generation), ":trouble": json(trouble)?,
        },
    )
}

/// Records that the grant needs its person. Its tokens stay, sealed, until [`erase_ended`]. [`Error::NotChanged`] as for
/// [`fail`].
pub fn end(
    db: &Transaction<'_>,
    project: ProjectId,
    id: GrantId,
    generation: u64,
    reason: FailureReason,
    trouble: &Trouble,
) -> Result<(), Error> {
    let (status, reason) = status_columns(AuthStatus::ReconnectRequired(reason));
    change_one(
        db,
        "UPDATE grants SET
            status = :status,
            failure_reason = :reason,
            ended_at = :now,
            due_at = NULL,
            trouble = :trouble,
            failures = failures + 1,
            attempt_at = iif(answer IS NULL, NULL, attempt_at),
            in_doubt = iif(answer IS NULL, 0, in_doubt),
            updated_at = :now
         WHERE project_id = :project AND id = :id AND generation = :generation AND status = 'active'",
        named_params! {
            ":project": project,
            ":id": id,
            ":generation": signed(generation),
            ":status": status,
            ":reason": reason,
            ":trouble": json(trouble)?,
            ":now": trouble.at,
        },
    )
}

/// Puts everything off that an app has due until `until`, and says why. Returns how many.
pub fn postpone_app(db: &Transaction<'_>, of: &OfApp, until: Timestamp, trouble: &Trouble) -> Result<usize, Error> {
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

/// Lets everything be tried at once that waits because of an app: its credentials were changed. Returns how many.
pub fn resume_app(db: &Transaction<'_>, project: ProjectId, app: OauthAppId, now: Timestamp) -> Result<usize, Error> {
    change(
        db,
        "UPDATE grants SET due_at = :now
         WHERE project_id = :project AND app_id = :app AND due_at > :now
            AND trouble ->> 'kind' IN ('app_missing', 'app_or_grant_rejected', 'app_rejected')",
        named_params! {":project": project, ":app": app, ":now": now},
    )
}

/// When the broker starts: what was cut off is tried at once, and so is what waits because of the operator's apps, whose
/// credentials may have changed. Returns how many were cut off.
pub fn resume_all(db: &Transaction<'_>, now: Timestamp) -> Result<usize, Error> {
    change(
        db,
        "UPDATE grants /* every project */ SET due_at = :now
         WHERE due_at > :now AND app_id IS NULL
            AND trouble ->> 'kind' IN ('app_missing', 'app_or_grant_rejected', 'app_rejected')",
        named_params! {":now": now},
    )?;
    change(
        db,
        "UPDATE grants /* every project */ SET due_at = :now, in_doubt = 1
         WHERE attempt_at IS NOT NULL AND status = 'active'",
        named_params! {":now": now},
    )
}

/// When the clock was set back: makes due in whichever project what a clock that was ahead put off, or took to have lapsed.
/// `latest_retry`: no failure of now is tried again later. Returns how many.
pub fn resume_misdated(db: &Transaction<'_>, now: Timestamp, latest_retry: Timestamp) -> Result<usize, Error> {
    change(
        db,
        "UPDATE grants /* every project */ SET due_at = :now
         WHERE status = 'active' AND renewal <> 'never' AND (
            (due_at > :now AND failures = 0 AND issued_at > :now)
            OR (due_at > :latest_retry AND failures > 0)
            OR (due_at IS NULL AND trouble ->> 'kind' = 'consent_expired'
                AND (access_expires_at > :now OR (renewal = 'refresh_token' AND refresh_expires_at > :now))))",
        named_params! {":now": now, ":latest_retry": latest_retry},
    )
}

/// The grants in all projects that have ended while an answer is kept that nobody understood.
pub fn list_ended_with_answer(db: &Connection) -> Result<Vec<(ProjectId, GrantId)>, Error> {
    all(
        db,
        "SELECT project_id, id FROM grants /* every project */
         WHERE attempt_at IS NOT NULL AND answer IS NOT NULL AND status <> 'active'",
        named_params! {},
        |row| {
            let fields = Fields::of("grants", row);
            Ok((fields.get("project_id")?, fields.get("id")?))
        },
    )
}

/// Erases the tokens of grants that ended before `before`, some at a time, in whichever project. Returns how many.
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
    use std::time::Duration;

    use super::*;
    use crate::domain::trouble::TroubleKind;
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::grants;

    fn trouble(kind: TroubleKind, at: Timestamp) -> Trouble {
        Trouble { kind, status: Some(503), platform_code: None, at }
    }

    fn failed(fixture: &Fixture, is_unanswered: bool) -> Failed {
        let now = fixture.now();
        let due_at = now.plus(Duration::from_mins(1));
        Failed { trouble: trouble(TroubleKind::Unavailable, now), due_at, is_unanswered, is_in_answer: false }
    }

    fn get(fixture: &Fixture, id: GrantId) -> Grant {
        grants::find(&fixture.db, fixture.ours, id).unwrap().unwrap()
    }

    /// Whether there is an attempt, whether an earlier one is in doubt, whether there is an answer.
    fn attempt(fixture: &Fixture, id: GrantId) -> Option<(bool, bool)> {
        get(fixture, id).attempt.map(|attempt| (attempt.in_doubt, attempt.answer.is_some()))
    }

    #[test]
    fn what_is_due_comes_by_the_expiry_of_its_token() {
        let mut fixture = Fixture::new();
        let mut due = Vec::new();
        for (subject, due_in, expires_in) in
            [("late", 10, 900), ("soon", 20, 100), ("past", 30, 50), ("not yet", 99, 10)]
        {
            let mut grant = fixture.new_grant("twitter", subject);
            let at = |seconds| Some(fixture.now().plus(Duration::from_secs(seconds)));
            (grant.due_at, grant.access_expires_at) = (at(due_in), at(expires_in));
            fixture.write(|db| grants::insert(db, &grant)).unwrap();
            due.push(grant.id);
        }
        let never = Grant { due_at: None, ..fixture.new_grant("twitter", "never") };
        fixture.write(|db| grants::insert(db, &never)).unwrap();
        let start = fixture.now();
        let now = fixture.later(40);
        let listed =
            |limit| list_due(&fixture.db, now, limit).unwrap().into_iter().map(|due| due.id).collect::<Vec<_>>();
        assert_eq!(listed(10), [due[2], due[1], due[0]]);
        assert_eq!(listed(1), [due[2]]);
        assert_eq!(count_due(&fixture.db, now).unwrap(), (3, Some(start.plus(Duration::from_secs(10)))));
        assert_eq!(count_due(&fixture.db, start).unwrap(), (0, None));
    }

    #[test]
    fn of_each_app_some_are_looked_up() {
        let mut fixture = Fixture::new();
        let mut add = |platform: &str, subject: &str| {
            let grant = Grant { due_at: Some(fixture.now()), ..fixture.new_grant(platform, subject) };
            fixture.write(|db| grants::insert(db, &grant)).unwrap();
            grant.id
        };
        let many: Vec<GrantId> = (0..5).map(|number| add("twitter", &number.to_string())).collect();
        let other = add("tiktok", "last");
        let now = fixture.now();
        let due: Vec<GrantId> = list_due(&fixture.db, now, 2).unwrap().into_iter().map(|due| due.id).collect();
        assert_eq!(due, [many[0], many[1], other]);
    }

    #[test]
    fn what_is_due_is_found_in_the_index_alone() {
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
    fn an_attempt_of_which_nobody_knows_the_end_is_a_doubt_until_new_tokens_come() {
        let mut fixture = Fixture::new();
        let (id, ours) = (fixture.grant("twitter", "s"), fixture.ours);
        let begin_now = |fixture: &mut Fixture| {
            let now = fixture.later(1);
            fixture.write(|db| begin(db, ours, id, 1, now)).unwrap();
        };
        begin_now(&mut fixture);
        assert_eq!(attempt(&fixture, id), Some((false, false)));
        let answered = failed(&fixture, false);
        fixture.write(|db| fail(db, ours, id, 1, &answered)).unwrap();
        assert_eq!(attempt(&fixture, id), None, "it was answered, so there is no doubt");
        assert_eq!((get(&fixture, id).failures, get(&fixture, id).due_at), (1, Some(answered.due_at)));

        begin_now(&mut fixture);
        let unanswered = failed(&fixture, true);
        fixture.write(|db| fail(db, ours, id, 1, &unanswered)).unwrap();
        assert_eq!(attempt(&fixture, id), Some((true, false)), "it stays written down");
        begin_now(&mut fixture);
        assert_eq!(attempt(&fixture, id), Some((true, false)));
        fixture.write(|db| fail(db, ours, id, 1, &answered)).unwrap();
        assert_eq!(attempt(&fixture, id), Some((true, false)), "an answer now says nothing of the one before");

        let renewed = Grant { generation: 2, ..get(&fixture, id) };
        fixture.write(|db| grants::renew(db, &renewed, 1)).unwrap();
        let grant = get(&fixture, id);
        assert!(grant.attempt.is_none() && grant.trouble.is_none());
        assert_eq!(grant.failures, 0);
    }

    #[test]
    fn an_answer_is_kept_until_it_is_read() {
        let mut fixture = Fixture::new();
        let (id, ours, now) = (fixture.grant("twitter", "s"), fixture.ours, fixture.now());
        let keep = |fixture: &mut Fixture| fixture.write(|db| keep_answer(db, ours, id, 1, now, &sealed(1)));
        assert!(matches!(keep(&mut fixture), Err(Error::NotChanged)), "nothing was asked");
        fixture.write(|db| begin(db, ours, id, 1, now)).unwrap();
        keep(&mut fixture).unwrap();
        let unreadable = failed(&fixture, true);
        fixture.write(|db| fail(db, ours, id, 1, &unreadable)).unwrap();
        fixture.write(|db| begin(db, ours, id, 1, now)).unwrap();
        let throttled = failed(&fixture, false);
        fixture.write(|db| fail(db, ours, id, 1, &throttled)).unwrap();
        assert_eq!(attempt(&fixture, id), Some((true, true)));
        assert_eq!(
            get(&fixture, id).attempt.map(|attempt| attempt.at),
            Some(now),
            "the answer is to what was asked then"
        );
        let in_answer = Failed { is_in_answer: true, ..throttled };
        fixture.write(|db| fail(db, ours, id, 1, &in_answer)).unwrap();
        assert_eq!(attempt(&fixture, id), Some((true, false)));
    }

    #[test]
    fn nothing_changes_once_the_generation_has() {
        let mut fixture = Fixture::new();
        let (id, ours, theirs, now) = (fixture.grant("twitter", "s"), fixture.ours, fixture.theirs, fixture.now());
        fixture.write(|db| begin(db, ours, id, 1, now)).unwrap();
        let before = fixture.dump("grants");
        let failed = failed(&fixture, false);
        for (project, generation) in [(ours, 2), (theirs, 1)] {
            let results = [
                fixture.write(|db| begin(db, project, id, generation, now)),
                fixture.write(|db| keep_answer(db, project, id, generation, now, &sealed(1))),
                fixture.write(|db| fail(db, project, id, generation, &failed)),
                fixture.write(|db| postpone(db, project, id, generation, now)),
                fixture.write(|db| end(db, project, id, generation, FailureReason::AccessRevoked, &failed.trouble)),
            ];
            assert!(results.iter().all(|result| matches!(result, Err(Error::NotChanged))), "{results:?}");
        }
        assert_eq!(fixture.dump("grants"), before);
    }

    #[test]
    fn an_ended_grant_keeps_its_tokens_for_a_while() {
        let mut fixture = Fixture::new();
        let (id, ours, now) = (fixture.grant("twitter", "s"), fixture.ours, fixture.now());
        fixture.grant("twitter", "alive");
        let trouble = trouble(TroubleKind::RefreshRejected, now);
        fixture.write(|db| end(db, ours, id, 1, FailureReason::RefreshRejected, &trouble)).unwrap();
        let grant = get(&fixture, id);
        assert_eq!(grant.status, AuthStatus::ReconnectRequired(FailureReason::RefreshRejected));
        assert_eq!((grant.due_at, grant.trouble.as_ref()), (None, Some(&trouble)));
        assert!(grant.tokens.is_some());
        assert!(matches!(fixture.write(|db| begin(db, ours, id, 1, now)), Err(Error::NotChanged)));
        assert_eq!(fixture.write(|db| erase_ended(db, now, 9)).unwrap(), 0);
        let later = fixture.later(1);
        assert_eq!(fixture.write(|db| erase_ended(db, later, 9)).unwrap(), 1);
        assert!(get(&fixture, id).tokens.is_none());
        assert_eq!(fixture.write(|db| erase_ended(db, later, 9)).unwrap(), 0);
    }

    #[test]
    fn an_apps_refreshes_are_put_off_and_resumed_together() {
        let mut fixture = Fixture::new();
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let app = fixture.app("twitter", "client");
        let mut add = |platform: &str, subject: &str, app_id, project| {
            let mut grant = fixture.new_grant(platform, subject);
            (grant.app_id, grant.project_id) = (app_id, project);
            grant.due_at = Some(fixture.now());
            fixture.write(|db| grants::insert(db, &grant)).unwrap();
            grant.id
        };
        let operators = add("twitter", "a", None, ours);
        let operators_too = add("twitter", "b", None, theirs);
        let own = add("twitter", "c", Some(app), ours);
        let other = add("tiktok", "d", None, ours);
        let now = fixture.now();
        let until = now.plus(Duration::from_mins(10));
        let rejected = trouble(TroubleKind::AppRejected, now);
        let of = |app| OfApp { platform: "twitter".to_owned(), client_id: "client".to_owned(), app };
        assert_eq!(fixture.write(|db| postpone_app(db, &of(None), until, &rejected)).unwrap(), 2);
        let due = |fixture: &Fixture| {
            list_due(&fixture.db, now, 9).unwrap().into_iter().map(|due| due.id).collect::<Vec<_>>()
        };
        assert_eq!(due(&fixture), [own, other]);
        assert_eq!(fixture.write(|db| postpone_app(db, &of(Some((ours, app))), until, &rejected)).unwrap(), 1);
        assert_eq!(due(&fixture), [other]);
        assert_eq!(fixture.write(|db| resume_app(db, theirs, app, now)).unwrap(), 0);
        assert_eq!(fixture.write(|db| resume_app(db, ours, app, now)).unwrap(), 1);
        assert_eq!(due(&fixture), [own, other]);
        fixture.write(|db| resume_all(db, now)).unwrap();
        assert_eq!(due(&fixture), [operators, operators_too, own, other]);
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_nothing_behind_and_one_that_was_not_changes_nothing() {
        let mut fixture = Fixture::new();
        let (ours, now) = (fixture.ours, fixture.now());
        let at = |seconds| Some(now.plus(Duration::from_secs(seconds)));
        let (soon, latest_retry) = (at(10), now.plus(Duration::from_secs(50)));
        let mut add = |subject: &str, due, access, refresh| {
            let mut grant = fixture.new_grant("twitter", subject);
            (grant.due_at, grant.access_expires_at, grant.refresh_expires_at) = (due, access, refresh);
            grant.issued_at = now;
            fixture.write(|db| grants::insert(db, &grant)).unwrap();
            grant.id
        };
        add("as it should be", soon, at(20), at(99));
        // Its access token does not expire, so that it is never refreshed.
        add("lives for ever", None, None, at(99));
        let lapsed = add("lapsed by that clock", soon, at(20), at(99));
        let over = add("lapsed by any clock", soon, Some(now), Some(now));
        let expired = trouble(TroubleKind::ConsentExpired, now);
        for id in [lapsed, over] {
            fixture.write(|db| lapse(db, ours, id, 1, &expired)).unwrap();
        }
        assert_eq!(fixture.write(|db| resume_misdated(db, now, latest_retry)).unwrap(), 1);
        let due = list_due(&fixture.db, now, 9).unwrap();
        assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [lapsed]);
    }

    #[test]
    fn what_was_cut_off_is_due_when_the_broker_starts() {
        let mut fixture = Fixture::new();
        let (id, ours, now) = (fixture.grant("twitter", "s"), fixture.ours, fixture.now());
        fixture.grant("twitter", "not begun");
        fixture.write(|db| begin(db, ours, id, 1, now)).unwrap();
        assert_eq!(attempt(&fixture, id), Some((false, false)));
        assert_eq!(fixture.write(|db| resume_all(db, now)).unwrap(), 1);
        assert_eq!(attempt(&fixture, id), Some((true, false)), "nobody knows how it ended");
        let due = list_due(&fixture.db, now, 9).unwrap();
        assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [id]);
    }
}
