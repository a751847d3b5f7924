//! Connections and connect links that somebody changed in the database, without a keyring: like those that are not there.

use std::path::Path;
use std::time::Duration;

use postpeer::domain::keyring::{KeyScope, WrappedKey};
use postpeer::sandbox::{Answer, Step};
use postpeer::store;
use rusqlite::types::Value as Stored;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::binding::Jar;
use crate::logs;
use crate::support::{TestBroker, parameter};
use crate::unbound::unbind_key;

const BACK: &str = "redirectUri=https://app.example/back";
const COLUMNS: &str = "SELECT name FROM pragma_table_info(?1)";

/// A row of a table, to be put back.
struct Row(&'static str, Vec<(String, Stored)>);

impl Row {
    fn of(broker: &TestBroker, table: &'static str, id: &str) -> Self {
        let db = broker.sql();
        let columns: Vec<String> =
            db.prepare(COLUMNS).unwrap().query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let read = |column: &String| {
            db.query_row(&format!("SELECT {column} FROM {table} WHERE id = ?1"), [id], |row| row.get(0)).unwrap()
        };
        Self(table, columns.iter().map(|column| (column.clone(), read(column))).collect())
    }

    fn put_back(&self, broker: &TestBroker) {
        let Self(table, values) = self;
        let set: Vec<String> =
            values.iter().enumerate().map(|(at, (name, _))| format!("{name} = ?{}", at + 1)).collect();
        let id = values.iter().position(|(name, _)| name == "id").unwrap() + 1;
        let sql = format!("UPDATE {table} SET {} WHERE id = ?{id}", set.join(", "));
        let db = broker.sql();
        db.pragma_update(None, "foreign_keys", false).unwrap();
        assert_eq!(db.execute(&sql, rusqlite::params_from_iter(values.iter().map(|(_, value)| value))), Ok(1));
    }
}

fn change(broker: &TestBroker, table: &str, what: &str, id: &str) {
    let db = broker.sql();
    db.pragma_update(None, "foreign_keys", false).unwrap();
    assert_eq!(db.execute(&format!("UPDATE {table} SET {what} WHERE id = ?1"), [id]), Ok(1), "{what}");
}

/// Makes a link. Returns its id and its address.
async fn link(broker: &TestBroker) -> (String, String) {
    let made = broker.call("POST", "/v1/connect/links", Some(json!({"platforms": ["twitter", "facebook"]}))).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made.json["link"]["id"]), text(&made.json["link"]["url"]))
}

fn scopes(database: &Path) -> Vec<Option<KeyScope>> {
    store::inspect(database).unwrap().wrapped_keys.iter().map(WrappedKey::scope).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_link_is_not_there_and_a_withdrawn_one_stays_withdrawn() {
    logs::capture();
    let broker = TestBroker::start().await;
    broker.broker().create_project("thief").await.unwrap();
    let (id, url) = link(&broker).await;
    let (_, other) = link(&broker).await;
    let before = Row::of(&broker, "links", &id);
    let path = format!("/v1/connect/links/{id}");
    for what in [
        "project_id = (SELECT id FROM projects WHERE name = 'thief'), access_key_id = NULL",
        "access_key_id = NULL",
        "profile_id = 'prof_00000000000000000000000000000001'",
        "platforms = '[\"twitter\"]'",
        "redirect_uri = 'https://app.example/thief'",
        "expires_at = expires_at + 1",
        "mac = NULL, mac_dek_id = NULL",
        "mac_dek_id = 7",
    ] {
        change(&broker, "links", what, &id);
        assert_eq!(broker.visit(&url).await.status, 404, "{what}");
        assert_eq!(broker.get(&path).await.status, 404, "{what}");
        before.put_back(&broker);
        assert_eq!((broker.visit(&url).await.status, broker.get(&path).await.status), (200, 200), "{what}, undone");
    }
    let line = logs::text();
    let line = line.lines().find(|line| line.contains(&id) && line.contains("did not write")).unwrap();
    assert!(line.contains("WARN") && line.contains("postpeer doctor"), "{line}");

    // Somebody set out before it was withdrawn.
    let mut jar = Jar::default();
    let form = broker.request("POST", &url).header("content-type", "application/x-www-form-urlencoded");
    let sent_on = jar.send(form.header("sec-fetch-site", "same-origin").body("connect=facebook")).await.location();
    let callback = broker.consent(&sent_on, &Answer::allow());
    assert_eq!(broker.call("DELETE", &path, None).await.status, 200);
    assert_eq!(broker.visit(&url).await.status, 410);
    change(&broker, "links", "revoked_at = NULL", &id);
    assert_eq!(broker.visit(&url).await.status, 404, "its code went with it");
    for what in ["platforms = platforms", "expires_at = 1"] {
        change(&broker, "links", what, &id);
        assert_eq!(jar.visit(&broker, &callback).await.status, 410, "{what}");
    }
    assert!(broker.sandbox().requests_at("facebook", Step::Token).is_empty());
    assert_eq!(broker.visit(&other).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_connection_is_not_there_and_a_spent_one_does_not_come_back() {
    logs::capture();
    let broker = TestBroker::start().await;
    broker.broker().create_project("thief").await.unwrap();
    // A platform without PKCE: nothing of the row is sealed.
    let url = broker.begin("facebook", &format!("{BACK}&completion=true")).await;
    let id = broker.last_flow();
    let before = Row::of(&broker, "flows", &id);
    let callback = broker.consent(&url, &Answer::allow());
    for what in [
        "project_id = (SELECT id FROM projects WHERE name = 'thief'), access_key_id = NULL",
        "access_key_id = NULL",
        "link_id = 'link_00000000000000000000000000000001'",
        "client_id = 'another'",
        "profile_id = 'prof_00000000000000000000000000000001'",
        "reconnects = 'int_00000000000000000000000000000001'",
        "bound_to = zeroblob(32)",
        "needs_completion = 0",
        "redirect_uri = 'https://app.example/thief'",
        "cancel_redirect_uri = 'https://app.example/thief'",
        "expires_at = expires_at + 1",
        "mac = NULL, mac_dek_id = NULL",
        "mac_dek_id = 7",
    ] {
        change(&broker, "flows", what, &id);
        let refused = broker.browse(&callback).await;
        assert_eq!((refused.status, refused.location().as_str()), (400, ""), "{what}: {}", refused.text);
        before.put_back(&broker);
    }
    assert!(broker.sandbox().requests_at("facebook", Step::Token).is_empty());
    let line = logs::text();
    let line = line.lines().find(|line| line.contains(&id) && line.contains("did not write")).unwrap();
    assert!(line.contains("WARN") && line.contains("postpeer doctor"), "{line}");

    let landed = broker.browse(&callback).await.location();
    assert_eq!(parameter(&landed, "status").as_deref(), Some("completion_required"), "as it was: {landed}");
    // Its caller is passed over.
    change(&broker, "flows", "outcome = '{\"status\":\"selection_required\"}'", &id);
    assert_eq!(broker.browse(&callback).await.status, 400);
    change(&broker, "flows", "outcome = NULL, consumed_by = NULL", &id);
    assert_eq!(broker.browse(&callback).await.status, 400);
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Token).len(), 1);

    // The binding goes.
    let hash = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let url = broker.begin("facebook", &format!("{BACK}&bindingHash={hash}")).await;
    let callback = broker.consent(&url, &Answer::allow());
    change(&broker, "flows", "bound_to = NULL", &broker.last_flow());
    assert_eq!(broker.browse(&callback).await.status, 400);
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Token).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_release_began_is_finished_and_then_nothing_without_a_code_is_taken() {
    let mut broker = TestBroker::start().await;
    let callbacks = [broker.begin("facebook", BACK).await, broker.begin("facebook", BACK).await]
        .map(|url| broker.consent(&url, &Answer::allow().account("basil")));
    let late = broker.last_flow();
    let (id, url) = link(&broker).await;
    let url = url.strip_prefix(&broker.url).unwrap().to_owned();
    let database = broker.config().database.clone();
    let db = broker.sql();
    unbind_key(&db, &broker.config().keyring, store::inspect(&database).unwrap().db_id, 2);
    for table in ["flows", "links"] {
        assert!(db.execute(&format!("UPDATE {table} SET mac = NULL, mac_dek_id = NULL"), []).unwrap() > 0);
    }
    drop(db);
    assert_eq!(scopes(&database), [Some(KeyScope::WithOldConnections)]);
    broker.restart().await;
    assert_eq!(scopes(&database), [Some(KeyScope::Bound)]);
    let landed = broker.arrive(&callbacks[0]).await;
    assert!(!landed.location().is_empty(), "{}", landed.text);
    assert_eq!(broker.visit(&url).await.status, 200);

    for _ in 0..2 {
        change(&broker, "flows", "mac = NULL, mac_dek_id = NULL", &late);
        change(&broker, "links", "mac = NULL, mac_dek_id = NULL", &id);
        assert_eq!(broker.arrive(&callbacks[1]).await.status, 400);
        assert_eq!(broker.visit(&url).await.status, 404);
        broker.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_outlives_the_data_key_that_made_its_code() {
    let broker = TestBroker::start().await;
    let (_, url) = link(&broker).await;
    broker.broker().rotate_data_key().await.unwrap();
    let follow = async || broker.broker().look_after_keys(0, Duration::ZERO, &CancellationToken::new()).await.unwrap();
    assert_eq!(follow().await.done, 2, "an access key and a link");
    assert_eq!(broker.visit(&url).await.status, 200);
    broker.broker().retire_data_key(1, false).await.unwrap();
    follow().await;
    assert_eq!(broker.visit(&url).await.status, 200);
    let key: u32 = broker.sql().query_row("SELECT mac_dek_id FROM links", [], |row| row.get(0)).unwrap();
    assert_eq!(key, 2);
}
