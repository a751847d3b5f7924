//! Values that are bound to their project, platform and app, and access keys that prove that the broker made them: what
//! somebody who can write to the database gets of it, and how a database of an earlier release becomes such a one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postpeer::domain::access_key::{PlainAccessKey, Scope};
use postpeer::domain::entropy::{Entropy as _, SeededEntropy, SystemEntropy};
use postpeer::domain::keyring::KeyScope;
use postpeer::domain::time::Clock as _;
use postpeer::sandbox::{self, Answer, Step};
use postpeer::store;
use rusqlite::params;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::first_version::{bring_back, versions};
use crate::logs;
use crate::process::Crashing;
use crate::rotation::{fill, open_all};
use crate::support::{TestBroker, expose};

const BACK: &str = "redirectUri=https://app.example/back";

impl TestBroker {
    async fn follow_keys(&self) {
        self.broker().look_after_keys(0, Duration::ZERO, &CancellationToken::new()).await.unwrap();
    }

    fn key_scopes(&self) -> Vec<Option<KeyScope>> {
        scopes(&self.config().database)
    }
}

fn scopes(database: &Path) -> Vec<Option<KeyScope>> {
    store::inspect(database).unwrap().wrapped_keys.iter().map(postpeer::domain::keyring::WrappedKey::scope).collect()
}

/// A broker with values in most places, as an earlier release left it. Returns two accounts, and the callbacks of two
/// connections that are not finished.
async fn of_earlier_release() -> (TestBroker, [String; 2], [String; 2]) {
    let mut broker = TestBroker::builder().seed(160).start().await;
    let accounts = [broker.connect("twitter", "").await, broker.connect("facebook", "").await];
    let (client_id, client_secret) = sandbox::own_client("tiktok").unwrap();
    let app = json!({"platform": "tiktok", "name": "Own", "clientId": client_id, "clientSecret": "before"});
    let app = broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
    let replaced = broker.call("PATCH", &format!("/v1/apps/{app}"), Some(json!({"clientSecret": client_secret}))).await;
    assert_eq!(replaced.status, 200, "{}", replaced.text);
    let pending = broker.begin("tiktok", &format!("{BACK}&appId={app}")).await;
    let pending = broker.consent(&pending, &Answer::allow());
    let choosing = broker.begin("facebook", BACK).await;
    let choosing = broker.consent(&choosing, &Answer::allow());
    let chosen = broker.browse(&choosing).await.location();
    assert!(chosen.contains("select"), "{chosen}");
    let values = bring_back(&broker.config().database, &broker.config().keyring);
    assert!(values >= 8, "{values}");
    assert_eq!(versions(&broker.config().database), [values, 0]);
    broker.restart().await;
    (broker, accounts, [pending, choosing])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_release_is_bound_while_the_broker_serves() {
    let (mut broker, accounts, [pending, choosing]) = of_earlier_release().await;
    // Keys work from the first request on, and every value opens before anything is sealed again.
    assert_eq!(broker.token(&accounts[0], "").await.status, 200);
    assert_eq!(broker.key_scopes(), [Some(KeyScope::WithFirstVersion)]);

    broker.follow_keys().await;
    let [first, second] = versions(&broker.config().database);
    assert_eq!((first, second > 5), (0, true));
    assert_eq!(broker.key_scopes(), [Some(KeyScope::WithFirstVersion)], "not before a look that finds nothing left");
    broker.follow_keys().await;
    assert_eq!(broker.key_scopes(), [Some(KeyScope::Bound)]);
    open_all(&broker.config().database, &broker.config().keyring);
    for id in &accounts {
        assert_eq!(broker.token(id, "").await.status, 200);
    }
    let location = broker.arrive(&pending).await.location();
    assert!(location.contains("status=success"), "{location}");
    assert!(broker.arrive(&choosing).await.location().contains("select"), "the link to the choice opens");
    broker.restart().await;
    assert_eq!(broker.token(&accounts[0], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_that_no_value_of_the_first_version_and_no_key_without_a_code_is_taken() {
    let (mut broker, [id, _], _) = of_earlier_release().await;
    let old: Vec<u8> =
        broker.sql().query_row("SELECT tokens FROM grants WHERE platform = 'twitter'", [], |row| row.get(0)).unwrap();
    assert_eq!(old[0], 1);
    broker.follow_keys().await;
    broker.follow_keys().await;
    broker.sql().execute("UPDATE grants SET tokens = ?1 WHERE platform = 'twitter'", [&old]).unwrap();
    for _ in 0..2 {
        assert_eq!(broker.token(&id, "").await.code(), "sealed_value_rejected");
        broker.follow_keys().await;
        broker.restart().await;
    }
    broker.sql().execute("UPDATE access_keys SET mac = NULL, mac_dek_id = NULL", []).unwrap();
    broker.restart().await;
    assert_eq!(broker.get("/v1/profiles").await.status, 401, "not authenticated once more by a start");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_killed_at_any_moment_is_continued() {
    let crashing = Arc::new(Crashing::new(1));
    let process = crashing.start(None);
    let id = crashing.connect(0, "twitter", "ada").await;
    process.kill();
    let rows = 900;
    fill(&crashing, rows);
    let (database, keyring) = (crashing.path("postpeer.db"), crashing.path("postpeer.keyring"));
    bring_back(&database, &keyring);
    let random = SeededEntropy::new(7);
    let (mut left, done) = (BTreeMap::new(), (false, vec![Some(KeyScope::Bound)]));
    for place in ["reseal_written", "reseal_committed", "random", "random", "bind_stored"] {
        if place == "random" {
            let mut bytes = [0];
            random.fill(&mut bytes);
            let process = crashing.start(None);
            tokio::time::sleep(Duration::from_millis(u64::from(bytes[0] % 64))).await;
            process.kill();
        } else if !left.values().any(|state| *state == done) {
            // A fast machine may be done before it is killed at random, and then never comes to this place.
            tokio::task::block_in_place(|| crashing.start_dying(place));
        }
        open_all(&database, &keyring);
        left.insert(place, (versions(&database)[0] > 0, scopes(&database)));
    }
    assert_eq!(left["reseal_written"], (true, vec![Some(KeyScope::WithFirstVersion)]));
    assert_eq!(left["reseal_committed"], (true, vec![Some(KeyScope::WithFirstVersion)]));
    assert_eq!(left["bind_stored"], done);
    let process = crashing.start(None);
    assert_eq!(crashing.token(0, &id, "").await.unwrap().status, 200);
    assert_eq!(process.stop(), Some(0));
    assert_eq!(open_all(&database, &keyring)["grants.tokens"], rows + 1);
}

/// The only row of a grant.
fn set(broker: &TestBroker, assignment: &str, platform: &str) {
    let db = broker.sql();
    // The attacker's tool does not mind where rows point.
    db.pragma_update(None, "foreign_keys", false).unwrap();
    let changed = db.execute(&format!("UPDATE grants SET {assignment} WHERE platform = '{platform}'"), []).unwrap();
    assert_eq!(changed, 1, "{assignment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_sent_to_no_other_platform_and_under_no_other_app() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let untouched = broker.connect("acme", "").await;
    broker.sandbox().clear();
    for (assignment, platform, back) in [
        (
            "platform = 'tiktok', client_id = 'sandbox-tiktok', due_at = 0",
            "twitter",
            "platform = 'twitter', client_id = ",
        ),
        ("client_id = 'another', due_at = 0", "twitter", "client_id = "),
    ] {
        let client: String = broker
            .sql()
            .query_row("SELECT client_id FROM grants WHERE platform = ?1", [platform], |row| row.get(0))
            .unwrap();
        set(&broker, assignment, platform);
        broker.refresh_due().await;
        let refused = broker.token(&id, "minSeconds=7000").await;
        assert!(refused.status >= 500, "{assignment}: {}", refused.text);
        for platform in ["twitter", "tiktok"] {
            assert!(
                broker.sandbox().requests_at(platform, Step::Token).is_empty(),
                "{assignment}: {platform} was asked"
            );
        }
        let now = if assignment.contains("tiktok") { "tiktok" } else { "twitter" };
        set(&broker, &format!("{back}'{client}'"), now);
        assert_eq!(broker.token(&untouched, "").await.status, 200, "{assignment}");
    }
    assert_eq!(broker.token(&id, "").await.status, 200, "back as it was, it opens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_does_not_move_to_another_project() {
    logs::capture();
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    broker.broker().create_project("thief").await.unwrap();
    let thief = broker.key("thief", Scope::ALL).await;
    let db = broker.sql();
    db.pragma_update(None, "foreign_keys", false).unwrap();
    for table in ["grants", "integrations"] {
        let moved = format!("UPDATE {table} SET project_id = (SELECT id FROM projects WHERE name = 'thief')");
        assert_eq!(db.execute(&moved, []).unwrap(), 1);
    }
    let path = format!("/v1/connect/integrations/{id}/token");
    let refused = broker.call_as(&thief, "GET", &path, None).await;
    assert_eq!((refused.status, refused.code()), (500, "sealed_value_rejected"));
    let grant: String = db.query_row("SELECT id FROM grants", [], |row| row.get(0)).unwrap();
    // Tests share the log, and some the ids.
    let parts = [&grant, "was rejected", "grants.tokens", "postpeer doctor"];
    let text = logs::text();
    assert!(text.lines().any(|line| parts.iter().all(|part| line.contains(part))), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_goes_back_while_the_broker_runs_is_refused() {
    let mut broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let untouched = broker.connect("acme", "").await;
    let columns = "tokens = ?1, generation = ?2";
    let before: (Vec<u8>, i64) = broker
        .sql()
        .query_row("SELECT tokens, generation FROM grants WHERE platform = 'twitter'", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    for _ in 0..3 {
        assert_eq!(broker.connect("twitter", "").await, id);
        assert_eq!(broker.token(&id, "").await.status, 200);
    }
    let put_back = |broker: &TestBroker| {
        let sql = format!("UPDATE grants SET {columns} WHERE platform = 'twitter'");
        assert_eq!(broker.sql().execute(&sql, params![before.0, before.1]).unwrap(), 1);
    };
    put_back(&broker);

    broker.sandbox().clear();
    let refused = broker.token(&id, "").await;
    assert_eq!((refused.status, refused.code()), (500, "sealed_value_rejected"));
    broker.sql().execute("UPDATE grants SET due_at = 0 WHERE platform = 'twitter'", []).unwrap();
    broker.refresh_due().await;
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty(), "the old refresh token was sent");
    let health = broker.detail(&id).await.to_string();
    assert!(health.contains("tokens_unreadable"), "{health}");
    assert_eq!(broker.token(&untouched, "").await.status, 200);
    assert_eq!(broker.connect("twitter", "").await, id);
    assert_eq!(broker.token(&id, "").await.status, 200, "its owner connected it again");
    put_back(&broker);
    assert_eq!(broker.token(&id, "").await.status, 500);

    // Across a start it is like a backup that was restored, which the README says.
    broker.restart().await;
    assert_eq!(broker.token(&id, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_key_that_the_broker_did_not_make_is_unknown() {
    logs::capture();
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let weak = broker.key("default", &[Scope::Read]).await;
    let path = format!("/v1/connect/integrations/{id}/token");
    assert_eq!(broker.call_as(&weak, "GET", &path, None).await.status, 403);
    let db = broker.sql();

    // A key of the attacker's own, with the code of another.
    let forged = PlainAccessKey::generate(&SystemEntropy);
    let copy = "INSERT INTO access_keys (id, project_id, name, hint, scopes, networks, digest, created_at, mac, mac_dek_id)
        SELECT 'key_000000000000000000000000000000ff', project_id, name, hint, scopes, networks, ?1, created_at, mac, mac_dek_id
        FROM access_keys WHERE scopes LIKE '%tokens%' LIMIT 1";
    assert_eq!(db.execute(copy, [forged.digest().as_bytes()]).unwrap(), 1);
    let forged = expose(&forged.into_secret());
    let refused = broker.call_as(&forged, "GET", &path, None).await;
    assert_eq!((refused.status, refused.code()), (401, "invalid_access_key"));
    let unknown =
        broker.call_as(&expose(&PlainAccessKey::generate(&SystemEntropy).into_secret()), "GET", &path, None).await;
    assert_eq!(unknown.json["error"], refused.json["error"], "like a key that nobody knows");

    // A key of a caller who wants more.
    let weak_id: String =
        db.query_row("SELECT id FROM access_keys WHERE scopes = '[\"read\"]'", [], |row| row.get(0)).unwrap();
    for (change, back) in [
        ("scopes = '[\"connect\",\"manage\",\"read\",\"tokens\"]'", "scopes = '[\"read\"]'"),
        ("mac = NULL, mac_dek_id = NULL", ""),
    ] {
        let change_to = |what: &str| {
            db.execute(&format!("UPDATE access_keys SET {what} WHERE id = ?1"), [&weak_id]).unwrap();
        };
        change_to(change);
        assert_eq!(broker.call_as(&weak, "GET", &path, None).await.status, 401, "{change}");
        assert_eq!(broker.call_as(&weak, "GET", "/v1/profiles", None).await.status, 401, "{change}");
        if !back.is_empty() {
            change_to(back);
            assert_eq!(broker.call_as(&weak, "GET", "/v1/profiles", None).await.status, 200, "as it was");
        }
    }
    let text = logs::text();
    for row in ["key_000000000000000000000000000000ff", &weak_id] {
        let line = text.lines().find(|line| line.contains(row) && line.contains("did not write")).unwrap();
        assert!(line.contains("postpeer doctor"), "{line}");
    }
    // The others work.
    assert_eq!(broker.get("/v1/profiles").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_of_a_key_can_be_lifted_and_no_revoked_key_comes_back() {
    let broker = TestBroker::start().await;
    let profile = broker.call("POST", "/v1/profiles", Some(json!({"name": "p"}))).await;
    let profile = profile.json["profile"]["id"].as_str().unwrap().parse().unwrap();
    let limits = postpeer::domain::key_limits::Limits {
        scopes: vec![Scope::Read],
        profile_id: Some(profile),
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        expires_at: Some(broker.clock.now().plus(Duration::from_hours(1))),
    };
    let (stored, key) = broker.broker().create_access_key("default", "limited", limits).await.unwrap();
    let (key, db) = (expose(&key), broker.sql());
    let before: (String, String, i64) = db
        .query_row(
            "SELECT profile_id, networks, expires_at FROM access_keys WHERE id = ?1",
            [stored.id.to_string()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(broker.call_as(&key, "GET", "/v1/profiles", None).await.status, 200);
    for change in
        ["profile_id = NULL", "networks = '[]'", "expires_at = NULL", "expires_at = expires_at + 1", "created_at = 1"]
    {
        let created_at: i64 = db
            .query_row("SELECT created_at FROM access_keys WHERE id = ?1", [stored.id.to_string()], |row| row.get(0))
            .unwrap();
        db.execute(&format!("UPDATE access_keys SET {change} WHERE id = ?1"), [stored.id.to_string()]).unwrap();
        assert_eq!(broker.call_as(&key, "GET", "/v1/profiles", None).await.status, 401, "{change}");
        db.execute(
            "UPDATE access_keys SET profile_id = ?2, networks = ?3, expires_at = ?4, created_at = ?5 WHERE id = ?1",
            params![stored.id.to_string(), before.0, before.1, before.2, created_at],
        )
        .unwrap();
        assert_eq!(broker.call_as(&key, "GET", "/v1/profiles", None).await.status, 200, "{change} undone");
    }
    assert!(broker.broker().revoke_access_key(stored.id).await.unwrap());
    assert_eq!(broker.call_as(&key, "GET", "/v1/profiles", None).await.status, 401);
    db.execute("UPDATE access_keys SET revoked_at = NULL WHERE id = ?1", [stored.id.to_string()]).unwrap();
    assert_eq!(broker.call_as(&key, "GET", "/v1/profiles", None).await.status, 401, "its code went with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_does_not_change_its_platform_app_or_project() {
    let broker = TestBroker::start().await;
    broker.broker().create_project("thief").await.unwrap();
    for change in
        ["client_id = 'another'", "project_id = (SELECT id FROM projects WHERE name = 'thief'), access_key_id = NULL"]
    {
        let url = broker.begin("twitter", BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        let db = broker.sql();
        db.pragma_update(None, "foreign_keys", false).unwrap();
        db.execute(&format!("UPDATE flows SET {change} WHERE id = ?1"), [broker.last_flow()]).unwrap();
        let refused = broker.browse(&callback).await;
        assert_eq!((refused.status, refused.location().as_str()), (400, ""), "{change}: {}", refused.text);
        assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty(), "{change}");
    }
    // A choice of accounts, whose flow is moved to another app.
    let url = broker.begin("facebook", BACK).await;
    let choosing = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    broker.sql().execute("UPDATE flows SET client_id = 'another' WHERE id = ?1", [broker.last_flow()]).unwrap();
    let landed = broker.browse(&choosing).await;
    assert_eq!(landed.status, 404, "{}", landed.text);
}
