//! Bluesky through the sandbox: every account of its, and every order to its servers.

use std::time::Duration;

use postpeer::sandbox::{BlueskyAccount, Fault, Step, bluesky_accounts};
use serde_json::json;

use crate::support::{Reply, TestBroker};

fn account(handle: &str) -> &'static BlueskyAccount {
    bluesky_accounts().iter().find(|account| account.handle == handle).unwrap()
}

async fn connect(broker: &TestBroker, identifier: &str, password: &str) -> Reply {
    let body = json!({"identifier": identifier, "password": password});
    broker.call("POST", "/v1/connect/bluesky/auth", Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_of_the_sandbox_is_answered_as_it_stands() {
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
async fn a_connection_is_made_renewed_and_ended() {
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
    let ended = broker.sandbox().requests_at("bluesky", Step::Revoke);
    assert_eq!(ended.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(200)]);
    assert!(broker.sandbox().requests().iter().all(|request| request.why.is_none()), "the sandbox had no objection");
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
async fn trouble_on_the_way_has_its_answer_and_a_password_is_sent_once() {
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
        broker.sandbox().fail_next("bluesky", step, fault, 1).unwrap();
        let reply = connect(&broker, ada.handle, ada.app_password).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{step} {fault:?}: {}", reply.text);
        assert!(broker.sandbox().requests_at("bluesky", Step::Session).len() <= 1, "{step} {fault:?}");
        assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);
        let reply = connect(&broker, ada.handle, ada.app_password).await;
        assert_eq!(reply.status, 200, "{step} {fault:?} is over: {}", reply.text);
    }
    // A profile is not worth a connection.
    let broker = TestBroker::start().await;
    broker.sandbox().fail_next("bluesky", Step::Profile, Fault::ServerError, 3).unwrap();
    let ada = account("ada.test");
    let reply = connect(&broker, ada.handle, ada.app_password).await;
    assert_eq!((reply.status, &reply.json["integration"]["displayName"]), (200, &json!("ada.test")), "{}", reply.text);
}
