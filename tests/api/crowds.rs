//! Changes of very many rows for one reason, in batches, so that other writes need not wait.

use std::time::Duration;

use postpeer::broker::BETWEEN_BATCHES;

use crate::support::TestBroker;

/// Number of rows that each transaction changed.
fn batches(broker: &TestBroker) -> Vec<usize> {
    let db = broker.sql();
    let mut statement = db.prepare("SELECT count(*) FROM changes GROUP BY at ORDER BY at").unwrap();
    statement.query_map([], |row| number(row, 0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn number(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<usize> {
    Ok(usize::try_from(row.get::<_, i64>(at)?).unwrap())
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
