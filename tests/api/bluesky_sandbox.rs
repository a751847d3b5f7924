//! Bluesky at the sandbox: each of its accounts, and each fault of its servers.

use std::time::Duration;

use postpeer::sandbox::{BlueskyAccount, Fault, Standing, Step, bluesky_accounts};
use serde_json::json;

use crate::support::{Reply, TestBroker};

const PATIENCE: Duration = Duration::from_secs(30);

fn account(handle: &str) -> &'static BlueskyAccount {
    bluesky_accounts().iter().find(|account| account.handle == handle).unwrap()
}

async fn connect(broker: &TestBroker, identifier: &str, password: &str) -> Reply {
    let body = json!({"identifier": identifier, "password": password});
    broker.call("POST", "/v1/connect/bluesky/auth", Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_of_the_sandbox_has_its_own_answer() {
    let broker = TestBroker::start().await;
    for (handle, with_app_password, with_own) in [
        ("ada.test", (200, ""), (400, "app_password_required")),
        ("basil.test", (200, ""), (400, "app_password_required")),
        ("cleo.test", (200, ""), (400, "app_password_required")),
        ("dora.test", (400, "account_inactive"), (400, "account_inactive")),
        ("theo.test", (401, "bluesky_credentials_rejected"), (400, "account_inactive")),
    ] {
        let account = account(handle);
        for (password, expected) in [
            (account.app_password, with_app_password),
            (account.password, with_own),
            ("wrong", (401, "bluesky_credentials_rejected")),
        ] {
            let reply = connect(&broker, handle, password).await;
            assert_eq!((reply.status, reply.code()), expected, "{handle} {password}: {}", reply.text);
        }
    }
    let listed = broker.get("/v1/connect/integrations?platform=bluesky&sort=asc").await.json;
    let told: Vec<_> = listed["integrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["platformUserId", "username", "displayName"].map(|name| one[name].as_str().unwrap().to_owned()))
        .collect();
    let expected = ["ada.test", "basil.test", "cleo.test"].map(|handle| {
        let account = account(handle);
        let name = if account.display_name.is_empty() { handle } else { account.display_name };
        [account.did.to_owned(), format!("@{handle}"), name.to_owned()]
    });
    assert_eq!(told, expected);
    for handle in ["ghost.test", "impostor.test", "noserver.test", "path.test", "nobody.test"] {
        let reply = connect(&broker, handle, account("ada.test").app_password).await;
        assert_eq!((reply.status, reply.code()), (502, "identity_unresolved"), "{handle}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_connected_refreshed_and_disconnected() {
    let broker = TestBroker::start().await;
    let ada = account("ada.test");
    let first = connect(&broker, "@Ada.test", ada.app_password).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let id = first.json["integration"]["id"].as_str().unwrap().to_owned();
    broker.clock.advance(Duration::from_mins(6));
    let again = connect(&broker, ada.did, ada.app_password).await;
    assert_eq!(again.json["integration"]["id"], id.as_str(), "{}", again.text);
    assert_eq!(again.json["integration"]["username"], "@ada.test");

    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert!(gone.text.contains("revoked"), "{}", gone.text);
    assert!(broker.broker().drain(PATIENCE).await);
    let ended = broker.sandbox().requests_at("bluesky", Step::Revoke);
    assert_eq!(ended.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(200), Some(200)]);
    assert_eq!(broker.sandbox().bluesky_sessions(), 0);
    assert!(broker.sandbox().requests().iter().all(|request| request.why.is_none()), "the sandbox had no objection");
}

async fn connect_ada(broker: &TestBroker) -> String {
    let ada = account("ada.test");
    let reply = connect(broker, ada.handle, ada.app_password).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json["integration"]["id"].as_str().unwrap().to_owned()
}

async fn disconnect(broker: &TestBroker, id: &str) {
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnecting_leaves_no_session_behind() {
    let broker = TestBroker::start().await;
    let mut ids = Vec::new();
    // Some within one second, in which the server issues one access token for all.
    for pause in [0, 0, 1, 300, 0] {
        broker.clock.advance(Duration::from_secs(pause));
        ids.push(connect_ada(&broker).await);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert!(broker.broker().drain(PATIENCE).await);
    assert_eq!(broker.sandbox().bluesky_sessions(), 1);
    broker.clock.advance(Duration::from_hours(2));
    assert_eq!(broker.refresh_due().await, 1, "the one that is left is the newest");
    disconnect(&broker, &ids[0]).await;
    broker.clock.advance(Duration::from_hours(2));
    assert_eq!(broker.sandbox().bluesky_sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_ended_does_not_block_the_next() {
    for fault in [Fault::ServerError, Fault::Drop, Fault::Html] {
        let broker = TestBroker::start().await;
        let id = connect_ada(&broker).await;
        broker.sandbox().fail_next("bluesky", Step::Revoke, fault, 1).unwrap();
        assert_eq!(connect_ada(&broker).await, id);
        assert!(broker.broker().drain(PATIENCE).await);
        assert_eq!(broker.detail(&id).await["authStatus"], "active", "{fault:?}");
        disconnect(&broker, &id).await;
        assert_eq!(broker.sandbox().bluesky_sessions(), 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_whose_answer_was_lost_leaves_no_session_behind() {
    for again in [false, true] {
        let broker = TestBroker::start().await;
        let mut id = connect_ada(&broker).await;
        broker.clock.advance(Duration::from_hours(2));
        broker.sandbox().fail_next("bluesky", Step::Refresh, Fault::Lost, 1).unwrap();
        assert_eq!(broker.refresh_due().await, 0);
        assert_eq!(broker.sandbox().bluesky_sessions(), 2, "the old token, and one that nobody knows");
        if again {
            id = connect_ada(&broker).await;
            assert!(broker.broker().drain(PATIENCE).await);
            assert_eq!(broker.sandbox().bluesky_sessions(), 1);
        }
        disconnect(&broker, &id).await;
        assert_eq!(broker.sandbox().bluesky_sessions(), 0, "connected again: {again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_known_only_from_a_stored_answer_is_ended() {
    let mut broker = TestBroker::start().await;
    let id = connect_ada(&broker).await;
    broker.clock.advance(Duration::from_hours(2));
    let no_swap = "CREATE TRIGGER no BEFORE UPDATE ON grants WHEN new.generation > old.generation
        BEGIN SELECT RAISE(FAIL, 'no'); END";
    broker.sql().execute_batch(no_swap).unwrap();
    let kept = async {
        let is_kept = || {
            broker.sql().query_row("SELECT answer IS NOT NULL FROM grants", [], |row| row.get::<_, bool>(0)).unwrap()
        };
        while !is_kept() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = broker.refresh_due() => panic!("nothing can be stored"),
        () = kept => {}
    }
    broker.restart().await;
    assert_eq!(broker.sandbox().bluesky_sessions(), 2);
    disconnect(&broker, &id).await;
    assert_eq!(broker.sandbox().bluesky_sessions(), 0);
    assert_eq!(broker.sandbox().requests_at("bluesky", Step::Refresh).len(), 1, "nobody had to ask again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_a_refresh_leaves_no_session_behind() {
    for again in [false, true] {
        let broker = TestBroker::start().await;
        let id = connect_ada(&broker).await;
        broker.clock.advance(Duration::from_hours(2));
        broker.sandbox().hold(Step::Refresh);
        let (_, ()) = tokio::join!(broker.refresh_due(), async {
            broker.sandbox().held(Step::Refresh).await;
            if again {
                // Within one second, so that both access tokens are the same text.
                connect_ada(&broker).await;
            } else {
                disconnect(&broker, &id).await;
            }
            broker.sandbox().release(Step::Refresh);
        });
        assert!(broker.broker().drain(PATIENCE).await);
        assert_eq!(broker.sandbox().bluesky_sessions(), usize::from(again));
        if again {
            broker.clock.advance(Duration::from_hours(2));
            assert_eq!(broker.refresh_due().await, 1, "the new session lives");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_an_accounts_status_are_followed() {
    for (standing, state, code, sessions) in [
        (Standing::Deactivated, "ok", None, 2),
        (Standing::TakenDown, "reconnect_required", Some("account_inactive"), 0),
        (Standing::Deleted, "reconnect_required", Some("account_inactive"), 0),
    ] {
        let broker = TestBroker::start().await;
        let id = connect_ada(&broker).await;
        assert!(broker.sandbox().bluesky_stand(account("ada.test").did, standing));
        broker.clock.advance(Duration::from_hours(2));
        broker.refresh_due().await;
        let health = broker.detail(&id).await["health"].clone();
        assert_eq!((health["state"].as_str(), health["lastError"]["code"].as_str()), (Some(state), code), "{health}");
        assert_eq!(broker.sandbox().bluesky_sessions(), sessions, "{standing:?}");
        assert!(broker.sandbox().bluesky_stand(account("ada.test").did, Standing::Active));
        assert_eq!(connect_ada(&broker).await, id, "{standing:?}");
        assert_eq!(broker.detail(&id).await["authStatus"], "active", "{standing:?}");
        disconnect(&broker, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_server_changes_nothing() {
    let broker = TestBroker::start().await;
    let (ada, basil) = (account("ada.test"), account("basil.test"));
    let before = connect(&broker, ada.handle, ada.app_password).await.json["integration"].clone();
    broker.sandbox().bluesky_impersonate(ada.did);
    let reply = connect(&broker, basil.handle, basil.app_password).await;
    assert_eq!((reply.status, reply.code()), (502, "did_mismatch"), "{}", reply.text);
    let listed = broker.get("/v1/connect/integrations").await.json;
    assert_eq!(listed["integrations"], json!([before]));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_own_error_and_a_password_is_sent_once() {
    for (step, fault, status, code) in [
        (Step::Resolve, Fault::ServerError, 502, "identity_unresolved"),
        (Step::DidDocument, Fault::ServerError, 502, "identity_unresolved"),
        (Step::DidDocument, Fault::Drop, 502, "identity_unresolved"),
        (Step::DidDocument, Fault::Garbage, 502, "identity_unresolved"),
        (Step::DidDocument, Fault::Html, 502, "identity_unresolved"),
        (Step::Session, Fault::ServerError, 502, "pds_unreachable"),
        (Step::Session, Fault::Drop, 502, "pds_unreachable"),
        (Step::Session, Fault::Lost, 502, "pds_unreachable"),
        (Step::Session, Fault::Html, 502, "pds_unreachable"),
        (Step::Session, Fault::Empty, 502, "pds_unreachable"),
        (Step::Session, Fault::RateLimited, 429, "too_many_attempts"),
    ] {
        let broker = TestBroker::start().await;
        let ada = account("ada.test");
        // A document whose connection breaks is asked for once more.
        let times = if (step, fault) == (Step::DidDocument, Fault::Drop) { 2 } else { 1 };
        broker.sandbox().fail_next("bluesky", step, fault, times).unwrap();
        let reply = connect(&broker, ada.handle, ada.app_password).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{step} {fault:?}: {}", reply.text);
        assert!(broker.sandbox().requests_at("bluesky", Step::Session).len() <= 1, "{step} {fault:?}");
        assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);
        let reply = connect(&broker, ada.handle, ada.app_password).await;
        assert_eq!(reply.status, 200, "{step} {fault:?} is over: {}", reply.text);
    }
    // A missing profile does not fail the connection.
    let broker = TestBroker::start().await;
    broker.sandbox().fail_next("bluesky", Step::Profile, Fault::ServerError, 3).unwrap();
    let ada = account("ada.test");
    let reply = connect(&broker, ada.handle, ada.app_password).await;
    assert_eq!((reply.status, &reply.json["integration"]["displayName"]), (200, &json!("ada.test")), "{}", reply.text);
}
