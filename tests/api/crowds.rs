//! Refreshes of very many accounts that are postponed or resumed for one reason. They are changed in batches, so that
//! other writes need not wait; nothing of another app changes with them.

use std::collections::BTreeMap;
use std::time::Duration;

use postpeer::broker::BETWEEN_BATCHES;
use postpeer::domain::time::{Clock as _, Timestamp};
use postpeer::store::rescheduling::BATCH;
use rusqlite::params;
use serde_json::json;

use crate::stand_in::{Answer, StandIn, answer};
use crate::support::{TestBroker, parameter};

/// Several batches, the last of which is not full.
const CROWD: usize = 2 * BATCH + 50;

/// Longer than any token of these tests lives.
const LONG: Duration = Duration::from_hours(3);

/// Multiplies the one grant of a platform, so that it is one of many. The copies have their own subjects, are due at
/// `due_at`, and were refused for `kind`.
fn multiply(broker: &TestBroker, platform: &str, due_at: Timestamp, kind: Option<&str>) {
    let at = broker.clock.now().as_millis();
    let trouble = kind.map(|kind| json!({"kind": kind, "status": null, "platform_code": null, "at": at}).to_string());
    broker
        .sql()
        .execute(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?2)
             INSERT INTO grants (id, project_id, platform, app_id, client_id, subject, scopes, consented_at, issued_at,
                access_expires_at, refresh_expires_at, renewal, tokens, tokens_dek_id, generation, status, due_at,
                trouble, created_at, updated_at)
             SELECT 'grant_' || lower(hex(randomblob(16))), project_id, platform, app_id, client_id, 'copy ' || n,
                scopes, consented_at, issued_at, access_expires_at, refresh_expires_at, renewal, tokens, tokens_dek_id,
                generation, status, ?3, ?4, created_at, updated_at
             FROM grants, n WHERE platform = ?1",
            params![platform, i64::try_from(CROWD).unwrap(), due_at.as_millis(), trouble],
        )
        .unwrap();
}

/// Notes when each grant's due time is changed. All rows of one statement have the same time.
fn watch(broker: &TestBroker) {
    broker
        .sql()
        .execute_batch(
            "CREATE TABLE changes (at TEXT NOT NULL);
             CREATE TRIGGER changed AFTER UPDATE OF due_at ON grants WHEN new.subject LIKE 'copy %' BEGIN
                INSERT INTO changes VALUES (strftime('%J', 'now'));
             END",
        )
        .unwrap();
}

/// Number of copies at each due time.
fn due(broker: &TestBroker, platform: &str) -> BTreeMap<i64, usize> {
    let db = broker.sql();
    let mut statement = db
        .prepare("SELECT due_at, count(*) FROM grants WHERE platform = ?1 AND subject LIKE 'copy %' GROUP BY 1")
        .unwrap();
    statement
        .query_map([platform], |row| Ok((row.get(0)?, number(row, 1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Waits until all copies are due at the same time, which is not `before`. Returns that time.
async fn moved(broker: &TestBroker, platform: &str, before: Timestamp) -> Timestamp {
    let waited = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            let due = due(broker, platform);
            if due.len() == 1
                && let Some((at, _)) = due.first_key_value()
                && *at != before.as_millis()
            {
                return Timestamp::from_millis(*at);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", due(broker, platform)))
}

/// Number of copies that each transaction changed.
fn batches(broker: &TestBroker) -> Vec<usize> {
    let db = broker.sql();
    let mut statement = db.prepare("SELECT count(*) FROM changes GROUP BY at ORDER BY at").unwrap();
    statement.query_map([], |row| number(row, 0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn number(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<usize> {
    Ok(usize::try_from(row.get::<_, i64>(at)?).unwrap())
}

async fn start(platforms: [&StandIn; 2]) -> TestBroker {
    TestBroker::builder().toml(&platforms.map(StandIn::toml).concat()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_app_is_postponed_batch_by_batch() {
    let (crowded, other) = (StandIn::start("quince").await, StandIn::start("medlar").await);
    let broker = start([&crowded, &other]).await;
    let id = crowded.connect(&broker, "ada").await;
    other.connect(&broker, "ada").await;
    broker.clock.advance(LONG);
    let now = broker.clock.now();
    let due_at = now.plus(Duration::from_mins(5));
    for platform in ["quince", "medlar"] {
        multiply(&broker, platform, due_at, None);
    }
    watch(&broker);
    crowded.answer_refreshes_with(Answer::Bytes(answer(429, "Retry-After: 1800\r\n", b"")));
    assert_eq!(broker.token(&id, "").await.status, 503);
    assert_eq!(moved(&broker, "quince", due_at).await, now.plus(Duration::from_mins(30)));
    // The grant that met the refusal is in the first batch.
    assert_eq!(batches(&broker), [BATCH - 1, BATCH, 51]);
    let troubled =
        "SELECT count(*) FROM grants WHERE trouble ->> 'kind' = 'platform_throttled' AND platform = 'quince'";
    let troubled: usize = broker.sql().query_row(troubled, [], |row| number(row, 0)).unwrap();
    assert_eq!(troubled, CROWD + 1);
    assert_eq!(due(&broker, "medlar"), [(due_at.as_millis(), CROWD)].into());
}

/// The scheduler postpones what it finds due under an app whose pause began before.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_due_under_a_paused_app_is_postponed_by_the_scheduler() {
    let (crowded, other) = (StandIn::start("quince").await, StandIn::start("medlar").await);
    let broker = start([&crowded, &other]).await;
    let id = crowded.connect(&broker, "ada").await;
    other.connect(&broker, "ada").await;
    broker.clock.advance(LONG);
    crowded.answer_refreshes_with(Answer::Bytes(answer(429, "Retry-After: 1800\r\n", b"")));
    assert_eq!(broker.token(&id, "").await.status, 503);
    let now = broker.clock.now();
    multiply(&broker, "quince", now, None);
    watch(&broker);
    assert_eq!(broker.refresh_due().await, 1, "the other app's");
    assert_eq!(due(&broker, "quince"), [(now.plus(Duration::from_mins(30)).as_millis(), CROWD)].into());
    assert_eq!(batches(&broker), [BATCH, BATCH, 50]);
    assert_eq!(crowded.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_reload_resume_what_waits_for_other_credentials_batch_by_batch() {
    for restarts in [true, false] {
        let (crowded, other) = (StandIn::start("quince").await, StandIn::start("medlar").await);
        let mut broker = start([&crowded, &other]).await;
        for platform in [&crowded, &other] {
            platform.connect(&broker, "ada").await;
        }
        let due_at = broker.clock.now().plus(Duration::from_mins(50));
        multiply(&broker, "quince", due_at, Some("credentials_rejected"));
        multiply(&broker, "medlar", due_at, Some("platform_throttled"));
        watch(&broker);
        if restarts {
            broker.restart().await;
        } else {
            broker.reloaded(|_| ()).await;
        }
        assert_eq!(moved(&broker, "quince", due_at).await, broker.clock.now(), "{restarts}");
        assert_eq!(batches(&broker), [BATCH, BATCH, 50], "{restarts}");
        assert_eq!(due(&broker, "medlar"), [(due_at.as_millis(), CROWD)].into(), "{restarts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_resumes_what_waits_for_it_batch_by_batch() {
    let (crowded, other) = (StandIn::start("quince").await, StandIn::start("medlar").await);
    let broker = start([&crowded, &other]).await;
    let mut apps = Vec::new();
    for platform in ["quince", "medlar"] {
        let app = json!({"platform": platform, "name": "Own", "clientId": "ours", "clientSecret": "old"});
        let app = broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
        let url = broker.begin(platform, &format!("redirectUri=https://app.example/back&appId={app}")).await;
        let back = format!("/v1/connect/{platform}/callback?code=ada&state={}", parameter(&url, "state").unwrap());
        assert!(broker.browse(&back).await.location().contains("status=success"));
        apps.push(app);
    }
    let due_at = broker.clock.now().plus(Duration::from_mins(50));
    for platform in ["quince", "medlar"] {
        multiply(&broker, platform, due_at, Some("credentials_rejected"));
    }
    watch(&broker);
    broker.clock.advance(Duration::from_mins(1));
    let change = json!({"clientSecret": "new"});
    assert_eq!(broker.call("PATCH", &format!("/v1/apps/{}", apps[0]), Some(change)).await.status, 200);
    assert_eq!(moved(&broker, "quince", due_at).await, broker.clock.now());
    assert_eq!(batches(&broker), [BATCH, BATCH, 50]);
    assert_eq!(due(&broker, "medlar"), [(due_at.as_millis(), CROWD)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_clock_postponed_is_resumed_batch_by_batch() {
    let (crowded, other) = (StandIn::start("quince").await, StandIn::start("medlar").await);
    let broker = start([&crowded, &other]).await;
    for platform in [&crowded, &other] {
        platform.connect(&broker, "ada").await;
    }
    let far = broker.clock.now().plus(Duration::from_hours(10_000));
    for platform in ["quince", "medlar"] {
        multiply(&broker, platform, far, None);
    }
    let ahead = "UPDATE grants SET issued_at = due_at WHERE platform = 'quince' AND subject LIKE 'copy %'";
    assert_eq!(broker.sql().execute(ahead, []).unwrap(), CROWD);
    watch(&broker);
    broker.broker().refresher().watch_clock().await;
    assert_eq!(due(&broker, "quince"), [(broker.clock.now().as_millis(), CROWD)].into());
    assert_eq!(batches(&broker), [BATCH, BATCH, 50]);
    assert_eq!(due(&broker, "medlar"), [(far.as_millis(), CROWD)].into());
}

/// Grants that a shutdown leaves behind are due at their own time, or resumed by the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_no_more_than_a_batch() {
    let (crowded, other) = (StandIn::start("quince").await, StandIn::start("medlar").await);
    let mut broker = start([&crowded, &other]).await;
    crowded.connect(&broker, "ada").await;
    let due_at = broker.clock.now().plus(Duration::from_mins(50));
    multiply(&broker, "quince", due_at, Some("credentials_rejected"));
    watch(&broker);
    broker.reloaded(|_| ()).await;
    assert!(broker.broker().drain(Duration::from_secs(30)).await);
    let after_stop = batches(&broker);
    assert!(after_stop.len() < 3, "{after_stop:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(batches(&broker), after_stop);
    broker.restart().await;
    moved(&broker, "quince", due_at).await;
    assert_eq!(batches(&broker).iter().sum::<usize>(), CROWD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_many_connections_lets_others_write_between_its_batches() {
    let broker = TestBroker::start().await;
    broker.begin("twitter", "redirectUri=https://app.example/back").await;
    let db = broker.sql();
    let fields = "project_id, access_key_id, platform, client_id, redirect_uri, headless, scopes, pkce_verifier,
        created_at, expires_at";
    let copied = db.execute(
        &format!(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 1200)
             INSERT INTO flows (id, state, {fields})
             SELECT format('flow_%032x', n), randomblob(32), {fields} FROM flows, n"
        ),
        [],
    );
    assert_eq!(copied.unwrap(), 1200);
    db.execute_batch(
        "CREATE TABLE changes (at TEXT NOT NULL);
         CREATE TRIGGER changed AFTER DELETE ON flows BEGIN INSERT INTO changes VALUES (strftime('%J', 'now')); END",
    )
    .unwrap();
    broker.clock.advance(Duration::from_hours(1));
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 1201);
    assert_eq!(batches(&broker).iter().sum::<usize>(), 1201);
    let mut statement = db.prepare("SELECT DISTINCT CAST(at AS REAL) * 86400 FROM changes ORDER BY 1").unwrap();
    let times: Vec<f64> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let (least, slack) = (BETWEEN_BATCHES.as_secs_f64(), 0.002);
    assert!(times.len() == 3 && times.windows(2).all(|pair| pair[1] - pair[0] >= least - slack), "{times:?}");
}
