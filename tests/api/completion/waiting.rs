//! What waits for its caller: hidden from everything else, sealed, and given back in the end.

use std::time::Duration;

use postpeer::background;
use postpeer::domain::redirect::RedirectPolicy;
use postpeer::domain::time::Clock as _;
use postpeer::sandbox::{Answer, Fault, Step, TokenKind};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{BACK, begin, come_back, complete, count, ids, refused, requests, total, trail, waits};
use crate::support::{TestBroker, parameter};

const MINUTES: Duration = Duration::from_mins(10);

/// A victim finishes what an attacker began. Their session at the app is not the one that began it, so the app
/// completes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_attacker_began_and_a_victim_finished_ends_with_nothing_connected() {
    let broker = TestBroker::start().await;
    let (sent_on, flow) = begin(&broker, "twitter", BACK).await;
    let callback = broker.consent(&sent_on, &Answer::allow().account("basil"));
    let landed = broker.browse(&callback).await.location();
    assert_eq!(landed, waits("twitter", &flow), "the app sees whose session this is");
    assert_eq!(requests(&broker, "twitter", Step::Token), 1);

    let nothing = async || {
        let listed = broker.get("/v1/connect/integrations?q=basil&include=custom").await;
        assert_eq!(listed.json["integrations"], json!([]), "{}", listed.text);
        assert_eq!((listed.json["total"].as_u64(), total(&broker).await), (Some(0), 0));
        assert_eq!(["grants", "integrations"].map(|table| count(&broker, table)), [0, 0]);
        assert_eq!(broker.refresh_due().await, 0);
        assert_eq!(requests(&broker, "twitter", Step::Refresh), 0);
    };
    nothing().await;
    // Not even its own token opens what the selection holds.
    let issued = broker.sandbox().issued("twitter");
    let database = broker.database();
    for issued in &issued {
        let secret = issued.value.as_bytes();
        assert!(!database.windows(secret.len()).any(|bytes| bytes == secret), "{:?} is not sealed", issued.kind);
    }

    broker.clock.advance(Duration::from_millis(599_999));
    background::purge_once(broker.broker()).await;
    assert_eq!((requests(&broker, "twitter", Step::Revoke), count(&broker, "selections")), (0, 1), "not yet");
    nothing().await;
    broker.clock.advance(Duration::from_millis(1));
    for round in ["before the purge", "after the purge"] {
        refused(&broker, &flow, (404, "flow_not_found")).await;
        let late = broker.browse(&callback).await.location();
        assert_eq!(
            late, "https://app.example/back?nonce=1&status=error&platform=twitter&error=flow_expired",
            "{round}"
        );
        background::purge_once(broker.broker()).await;
        assert_eq!(count(&broker, "selections"), 0, "{round}");
        let revoked = broker.sandbox().requests_at("twitter", Step::Revoke);
        assert!(!revoked.is_empty() && revoked.iter().all(|request| request.status == Some(200)), "{round}");
        let access = issued.iter().find(|issued| issued.kind == TokenKind::Access).unwrap();
        let me = format!("{}/twitter/2/users/me", broker.sandbox_url());
        let alive = broker.request("GET", &me).bearer_auth(&access.value).send().await.unwrap();
        assert_eq!(alive.status(), 401, "{round}");
        nothing().await;
    }
    let ends = ["connection.awaits_completion person done", "connection.ended person flow_expired"];
    assert_eq!(trail(&broker).await, ends);
    broker.clock.advance(MINUTES);
    background::purge_once(broker.broker()).await;
    assert_eq!(count(&broker, "flows"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_platform_that_does_not_answer_a_revocation() {
    let mut broker = TestBroker::start().await;
    come_back(&broker, "twitter", "", &Answer::allow()).await;
    broker.clock.advance(MINUTES);
    broker.sandbox().hold(Step::Revoke);
    let stop = CancellationToken::new();
    let loops = tokio::spawn(background::run(broker.broker().clone(), false, stop.clone()));
    broker.sandbox().seen("twitter", Step::Revoke, 1).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), loops).await.expect("the loops wait for the platform").unwrap();
    assert_eq!(count(&broker, "selections"), 1, "what was not revoked is revoked after the next start");
    broker.sandbox().release(Step::Revoke);
    broker.restart().await;
    background::purge_once(broker.broker()).await;
    assert_eq!(count(&broker, "selections"), 0);
    let revoked = broker.sandbox().requests_at("twitter", Step::Revoke);
    assert!(revoked.iter().any(|request| request.status == Some(200)), "{revoked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_before_the_caller_has_completed_the_connection() {
    let broker = TestBroker::start().await;
    let flow = come_back(&broker, "facebook", "&headless=true", &Answer::allow()).await;
    let before: (String, Vec<u8>, i64) = broker
        .sql()
        .query_row("SELECT outcome, mac, expires_at FROM flows", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    let offered = complete(&broker, &flow).await;
    let token = offered.json["selectionToken"].as_str().unwrap();
    // The row as it was before, under a token that somebody knows.
    broker.sql().execute("UPDATE flows SET outcome = ?1, mac = ?2, expires_at = ?3", before).unwrap();
    let path = format!("/v1/connect/facebook/selection/{token}");
    let choice = json!({"selectedAccountIds": ["page:101000000000001"]});
    assert_eq!(broker.get(&path).await.code(), "selection_not_found");
    assert_eq!(broker.call("POST", &path, Some(choice.clone())).await.code(), "selection_not_found");
    assert_eq!(broker.visit(&format!("/connect/selection/{token}")).await.status, 404);
    assert_eq!(total(&broker).await, 0);
    assert_eq!(complete(&broker, &flow).await.status, 200);
    assert_eq!(broker.call("POST", &path, Some(choice)).await.status, 200);
}

/// A restart loses nothing of it, and gives it no more time.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_neither_loses_nor_prolongs_it() {
    let mut broker = TestBroker::start().await;
    let kept = come_back(&broker, "twitter", "", &Answer::allow()).await;
    let late = come_back(&broker, "twitter", "", &Answer::allow().account("basil")).await;
    broker.restart_with(|config| config.connect.redirects = RedirectPolicy::default()).await;
    assert_eq!(ids(&complete(&broker, &kept).await).len(), 1);
    broker.clock.advance(MINUTES);
    broker.restart().await;
    refused(&broker, &late, (404, "flow_not_found")).await;
    background::purge_once(broker.broker()).await;
    assert_eq!(count(&broker, "selections WHERE spent_by IS NULL"), 0);
    assert!(requests(&broker, "twitter", Step::Revoke) > 0);
    assert_eq!(total(&broker).await, 1);
}

/// The end of its time is final, whatever the clock says afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_revives_nothing() {
    let broker = TestBroker::start().await;
    let flow = come_back(&broker, "twitter", "", &Answer::allow()).await;
    let within = broker.clock.now();
    broker.clock.advance(MINUTES);
    broker.sandbox().hold(Step::Revoke);
    tokio::join!(background::purge_once(broker.broker()), async {
        broker.sandbox().held(Step::Revoke).await;
        broker.clock.set(within);
        assert_eq!(count(&broker, "selections"), 1, "its tokens are being revoked");
        refused(&broker, &flow, (404, "flow_not_found")).await;
        broker.sandbox().release(Step::Revoke);
    });
    refused(&broker, &flow, (404, "flow_not_found")).await;
    assert_eq!((total(&broker).await, count(&broker, "selections")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_erased_where_the_platform_does_not_answer() {
    let broker = TestBroker::start().await;
    for account in ["ada", "basil"] {
        come_back(&broker, "twitter", "", &Answer::allow().account(account)).await;
    }
    broker.sandbox().fail_next("twitter", Step::Revoke, Fault::ServerError, 9).unwrap();
    broker.clock.advance(MINUTES);
    background::purge_once(broker.broker()).await;
    assert!(requests(&broker, "twitter", Step::Revoke) >= 2);
    assert_eq!(count(&broker, "selections"), 0);
}

/// At Google, a revocation ends the person's whole consent to the app.
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_an_account_lives_on_is_not_revoked() {
    let broker = TestBroker::start().await;
    let id = broker.connect("youtube", "").await;
    come_back(&broker, "youtube", "", &Answer::allow()).await;
    // What waits counts as well: the account's disconnection leaves the consent to it.
    assert_eq!(broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await.status, 200);
    assert_eq!(requests(&broker, "youtube", Step::Revoke), 0);
    let id = broker.connect("youtube", "").await;
    broker.clock.advance(MINUTES);
    background::purge_once(broker.broker()).await;
    assert_eq!((requests(&broker, "youtube", Step::Revoke), count(&broker, "selections")), (0, 0));
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_takes_it_along() {
    let broker = TestBroker::start().await;
    let key = broker.key("other", postpeer::domain::access_key::Scope::ALL).await;
    let begun = broker.call_as(&key, "GET", &format!("/v1/connect/twitter?{BACK}"), None).await;
    let landed = broker.browse(&broker.consent(begun.json["url"].as_str().unwrap(), &Answer::allow())).await.location();
    assert_eq!(parameter(&landed, "status").as_deref(), Some("completion_required"), "{landed}");
    let (project, holdings) = broker.broker().find_deletable_project("other").await.unwrap();
    assert_eq!((holdings.accounts, holdings.pending), (0, 1));
    broker.broker().delete_project(project.id, |_| {}).await.unwrap();
    assert_eq!(["flows", "selections"].map(|table| count(&broker, table)), [0, 0]);
    assert!(requests(&broker, "twitter", Step::Revoke) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_deleted_meanwhile_gets_no_account() {
    let broker = TestBroker::start().await;
    for platform in ["twitter", "facebook"] {
        let (client_id, client_secret) = postpeer::sandbox::own_client(platform).unwrap();
        let app = json!({"platform": platform, "name": "Ours", "clientId": client_id, "clientSecret": client_secret});
        let app = broker.call("POST", "/v1/apps/", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
        let flow = come_back(&broker, platform, &format!("&appId={app}"), &Answer::allow()).await;
        broker.sandbox().clear();
        assert_eq!(broker.call("DELETE", &format!("/v1/apps/{app}"), None).await.status, 200);
        for _ in 0..2 {
            let reply = complete(&broker, &flow).await;
            assert_eq!((reply.status, reply.code()), (409, "flow_ended"), "{}", reply.text);
            assert!(reply.text.contains("app of this connection is not configured here any more"), "{}", reply.text);
        }
        assert_eq!(requests(&broker, platform, Step::Revoke), 1, "{platform}: its tokens are given back");
    }
    assert_eq!((total(&broker).await, count(&broker, "selections WHERE spent_by IS NULL")), (0, 0));
    broker.clock.advance(MINUTES);
    background::purge_once(broker.broker()).await;
    assert_eq!(count(&broker, "selections"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_deleted_without_waiting_for_a_platform_that_hangs() {
    let broker = TestBroker::start().await;
    let (client_id, client_secret) = postpeer::sandbox::own_client("twitter").unwrap();
    let app = json!({"platform": "twitter", "name": "Ours", "clientId": client_id, "clientSecret": client_secret});
    let app = broker.call("POST", "/v1/apps/", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
    come_back(&broker, "twitter", &format!("&appId={app}"), &Answer::allow()).await;
    broker.sandbox().hold(Step::Revoke);
    let path = format!("/v1/apps/{app}");
    let deleting = broker.call("DELETE", &path, None);
    let deleted = tokio::time::timeout(Duration::from_secs(8), deleting).await.expect("it waits for the platform");
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    assert_eq!(broker.call("DELETE", &path, None).await.status, 404);
    broker.sandbox().release(Step::Revoke);
    assert!(broker.broker().drain(Duration::from_secs(30)).await);
    assert_eq!(requests(&broker, "twitter", Step::Revoke), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_under_an_app_that_the_operator_replaced_ends_without_an_account() {
    let mut broker = TestBroker::start().await;
    let builder = TestBroker::builder().setting("POSTPEER_PLATFORMS__TWITTER__CLIENT_ID", "another");
    let platforms = builder.start().await.config().platforms.clone();
    let flow = come_back(&broker, "twitter", "", &Answer::allow()).await;
    broker.restart_with(|config| config.platforms = platforms).await;
    for _ in 0..2 {
        let reply = complete(&broker, &flow).await;
        assert_eq!((reply.status, reply.code()), (409, "flow_ended"), "{}", reply.text);
        assert!(reply.text.contains("app of this connection is not configured here any more"), "{}", reply.text);
    }
    assert_eq!((total(&broker).await, count(&broker, "selections WHERE spent_by IS NULL")), (0, 0));
}
