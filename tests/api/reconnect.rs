//! Connections that must bring one account back: the right account, another one, and one that is gone.

use postpeer::domain::access_key::Scope;
use postpeer::sandbox::{self, Answer, Step, bluesky_accounts};
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker, parameter, profile, reconnect, total};

const BACK: &str = "redirectUri=https://app.example/back";

/// What the database holds of an account and its grant, tokens included.
fn stored(broker: &TestBroker, id: &str) -> String {
    let row = |table: &str, filter: &str| {
        let db = broker.sql();
        let mut found = db.prepare(&format!("SELECT * FROM {table} WHERE {filter}")).unwrap();
        let columns = found.column_count();
        let row = found.query_row([id], |row| {
            (0..columns).map(|at| Ok(format!("{:?}", row.get_ref(at)?))).collect::<rusqlite::Result<Vec<_>>>()
        });
        row.unwrap().join(" ")
    };
    let grant = row("grants", "id = (SELECT grant_id FROM integrations WHERE id = ?)");
    format!("{} {grant}", row("integrations", "id = ?"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_account_comes_back_and_another_changes_nothing() {
    for platform in sandbox::platforms() {
        let broker = TestBroker::start().await;
        let id = broker.connect(platform, "").await;
        let before = stored(&broker, &id);

        let location = reconnect(&broker, platform, &id, &Answer::allow()).await;
        assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "{platform}: {location}");
        assert_eq!(parameter(&location, "integrationId").as_deref(), Some(&*id), "{platform}: nobody has to choose");
        let renewed = stored(&broker, &id);
        assert_ne!(renewed, before, "{platform}");

        broker.sandbox().clear();
        let location = reconnect(&broker, platform, &id, &Answer::allow().account("basil")).await;
        assert_eq!(
            location,
            format!("https://app.example/back?status=error&platform={platform}&error=account_mismatch")
        );
        assert_eq!(stored(&broker, &id), renewed, "{platform}");
        assert_eq!(total(&broker).await, 1, "{platform}: the other account is not connected");
        let grants: u32 = broker.sql().query_row("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap();
        assert_eq!(grants, 1, "{platform}: its tokens are not kept");
    }
}

/// Nobody's tokens are revoked who is connected; those of the wrong person are, where that reaches nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_tokens_are_given_back_unless_that_account_is_in_use() {
    let broker = TestBroker::start().await;
    let ada = broker.connect("twitter", "").await;
    reconnect(&broker, "twitter", &ada, &Answer::allow().account("basil")).await;
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Revoke).len(), 1);

    let ada = broker.connect("youtube", "").await;
    let basil = broker.connect_with("youtube", "", &Answer::allow().account("basil")).await;
    broker.sandbox().clear();
    let location = reconnect(&broker, "youtube", &ada, &Answer::allow().account("basil")).await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("account_mismatch"));
    assert!(broker.sandbox().requests_at("youtube", Step::Revoke).is_empty(), "it would end the consent of an account");
    assert_eq!(broker.detail(&basil).await["authStatus"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_it_and_the_next_attempt_must_bring_the_same_account() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let url = broker.begin("twitter", &format!("reconnect={id}")).await;
    let page = broker.browse(&broker.consent(&url, &Answer::allow().account("basil"))).await;
    assert_eq!(page.status, 409);
    for told in ["account_mismatch", "with another account", "Try again"] {
        assert!(page.text.contains(told), "{told}: {}", page.text);
    }
    let (_, link) = page.text.split_once("href=\"/connect/result/").unwrap();
    let again = broker.visit(&format!("/connect/result/{}", link.split('"').next().unwrap())).await.location();
    let page = broker.browse(&broker.consent(&again, &Answer::allow().account("basil"))).await;
    assert!(page.text.contains("account_mismatch"), "{}", page.text);
    let ended: u32 = broker
        .sql()
        .query_row("SELECT count(*) FROM audit WHERE outcome = 'account_mismatch'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ended, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_moved_or_disconnected_meanwhile_does_not_come_back() {
    let broker = TestBroker::start().await;
    let elsewhere = profile(&broker, "elsewhere").await;
    for (method, body) in [("PATCH", Some(json!({"profileId": elsewhere}))), ("DELETE", None)] {
        let id = broker.connect("pinterest", "").await;
        let url = broker.begin("pinterest", &format!("{BACK}&reconnect={id}")).await;
        let callback = broker.consent(&url, &Answer::allow());
        assert_eq!(broker.call(method, &format!("/v1/connect/integrations/{id}"), body).await.status, 200);
        let before = total(&broker).await;
        let location = broker.browse(&callback).await.location();
        assert_eq!(parameter(&location, "error").as_deref(), Some("account_mismatch"), "{method}");
        assert_eq!(total(&broker).await, before, "{method}");
    }
}

/// Signing in with another account would not help, and neither would another attempt.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_that_the_account_is_not_connected_any_more() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let url = broker.begin("twitter", &format!("reconnect={id}")).await;
    let callback = broker.consent(&url, &Answer::allow());
    assert_eq!(broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await.status, 200);
    let page = broker.browse(&callback).await;
    assert_eq!(page.status, 409);
    assert!(page.text.contains("is not connected here any more") && page.text.contains("account_mismatch"));
    for never in ["another account", "Try again"] {
        assert!(!page.text.contains(never), "{never}: {}", page.text);
    }
}

/// A Page that its owner no longer ticks is not replaced by the others.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_accounts_comes_back_alone_or_not_at_all() {
    let broker = TestBroker::start().await;
    let id = broker.connect("facebook", "").await;
    let location = reconnect(&broker, "facebook", &id, &Answer::allow()).await;
    assert_eq!(parameter(&location, "integrationId").as_deref(), Some(&*id));
    assert_eq!(total(&broker).await, 1, "the other Pages are not connected");
    let before = stored(&broker, &id);
    let without = Answer::allow().pages(&["101000000000002", "101000000000003"]);
    let location = reconnect(&broker, "facebook", &id, &without).await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("account_mismatch"), "{location}");
    assert_eq!((stored(&broker, &id), total(&broker).await), (before, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnection_goes_on_under_the_accounts_own_profile() {
    let broker = TestBroker::start().await;
    let [ours, other] = [profile(&broker, "ours").await, profile(&broker, "other").await];
    let id = broker.connect("twitter", &format!("profileId={ours}")).await;
    let location = reconnect(&broker, "twitter", &id, &Answer::allow()).await;
    assert_eq!(parameter(&location, "integrationId").as_deref(), Some(&*id));
    assert_eq!(parameter(&location, "profileId").as_deref(), Some(&*ours));
    let named = broker.get(&format!("/v1/connect/twitter?reconnect={id}&profileId={ours}")).await;
    assert_eq!(named.status, 200, "{}", named.text);

    let foreign = broker.key("other", Scope::ALL).await;
    let refused = async |key: &str, path: String, expected: (u16, &str)| {
        let reply: Reply = broker.call_as(key, "GET", &path, None).await;
        assert_eq!((reply.status, reply.code()), expected, "{path}: {}", reply.text);
    };
    let key = &broker.key;
    refused(key, format!("/v1/connect/twitter?reconnect={id}&profileId={other}"), (400, "invalid_parameter")).await;
    refused(key, format!("/v1/connect/youtube?reconnect={id}"), (400, "invalid_parameter")).await;
    for unknown in ["int_x", "", "int_00000000000000000000000000000000"] {
        refused(key, format!("/v1/connect/twitter?reconnect={unknown}"), (404, "integration_not_found")).await;
    }
    refused(&foreign, format!("/v1/connect/twitter?reconnect={id}"), (404, "integration_not_found")).await;

    assert_eq!(broker.call("DELETE", &format!("/v1/profiles/{ours}"), None).await.status, 200);
    let path = format!("/v1/connect/twitter?reconnect={id}");
    let orphan = broker.get(&path).await;
    assert_eq!((orphan.status, orphan.code()), (400, "invalid_parameter"), "{}", orphan.text);
    assert!(orphan.text.contains("profile was deleted: move it to another one"), "{}", orphan.text);
    let account = format!("/v1/connect/integrations/{id}");
    assert_eq!(broker.call("PATCH", &account, Some(json!({"profileId": null}))).await.status, 200);
    assert_eq!(broker.get(&path).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bluesky_refuses_another_account_and_ends_its_session() {
    let broker = TestBroker::start().await;
    let [ada, basil] = ["ada.test", "basil.test"]
        .map(|handle| bluesky_accounts().iter().find(|account| account.handle == handle).unwrap());
    let connect = async |account: &sandbox::BlueskyAccount, query: &str| {
        let body: Value = json!({"identifier": account.handle, "password": account.app_password});
        broker.call("POST", &format!("/v1/connect/bluesky/auth?{query}"), Some(body)).await
    };
    let id = connect(ada, "").await.json["integration"]["id"].as_str().unwrap().to_owned();
    let before = stored(&broker, &id);
    broker.sandbox().clear();
    let other = connect(basil, &format!("reconnect={id}")).await;
    assert_eq!((other.status, other.code()), (409, "account_mismatch"), "{}", other.text);
    assert_eq!((stored(&broker, &id), total(&broker).await), (before, 1));
    assert_eq!(broker.sandbox().requests_at("bluesky", Step::Revoke).len(), 1, "its session is ended");
    let again = connect(ada, &format!("reconnect={id}")).await;
    assert_eq!((again.status, again.json["integration"]["id"].as_str()), (200, Some(&*id)), "{}", again.text);
}
