//! People who hold a link or a result have budgets of their own, and use up nothing of the key's.

use postpeer::sandbox::{Answer, Fault, Step, own_client};
use serde_json::json;

use crate::support::{TestBroker, parameter};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_again_spends_nothing_of_the_keys_own_budget() {
    let broker = TestBroker::builder().setting("POSTPEER_LIMITS__STARTS_PER_KEY", "3").start().await;
    broker.sandbox().fail_next("twitter", Step::Token, Fault::ServerError, 3).unwrap();
    let callback = broker.consent(&broker.begin("twitter", "").await, &Answer::allow());
    let retry = format!("{}/retry", broker.visit(&callback).await.location());
    for expected in [303, 303, 303, 429] {
        let reply = broker.visit(&retry).await;
        assert_eq!(reply.status, expected, "{}", reply.text);
    }
    assert_eq!(broker.get("/v1/connect/twitter").await.status, 200);
    assert_eq!(broker.get("/v1/connect/twitter").await.status, 200);
    assert_eq!(broker.get("/v1/connect/twitter").await.status, 429, "its own budget");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_link_spends_a_part_of_what_links_have_and_nothing_of_the_key() {
    let broker = TestBroker::builder().setting("POSTPEER_LIMITS__BLUESKY_PER_KEY", "8").start().await;
    let mut pages = Vec::new();
    for _ in 0..2 {
        let made = broker.call("POST", "/v1/connect/links", Some(json!({"platforms": ["bluesky"]}))).await;
        pages.push(made.json["link"]["url"].as_str().unwrap().to_owned());
    }
    let attempt = async |page: &String| {
        let request = broker.request("POST", page).header("content-type", "application/x-www-form-urlencoded");
        let sent = request.body("connect=bluesky&identifier=x&password=y").send().await.unwrap();
        crate::support::Reply::of(sent).await
    };
    for expected in [400, 400, 429] {
        let reply = attempt(&pages[0]).await;
        assert_eq!(reply.status, expected, "{}", reply.text);
    }
    assert_eq!(attempt(&pages[1]).await.status, 400, "another link has a part of its own");
    let own = json!({"identifier": "x", "password": "y"});
    let reply = broker.call("POST", "/v1/connect/bluesky/auth", Some(own)).await;
    assert_ne!(reply.status, 429, "{}", reply.text);
}

/// Without the app's secret, the tokens could be neither refreshed nor revoked.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_deleted_during_the_exchange_connects_nothing() {
    let broker = TestBroker::start().await;
    // At Facebook, there are accounts to choose from.
    for (platform, options) in [("twitter", ""), ("twitter", "&completion=true"), ("facebook", "")] {
        let (client_id, secret) = own_client(platform).unwrap();
        let body = json!({"platform": platform, "name": "Ours", "clientId": client_id, "clientSecret": secret});
        let app = broker.call("POST", "/v1/apps", Some(body)).await.json["app"]["id"].take();
        let app = app.as_str().unwrap();
        let url = broker.begin(platform, &format!("redirectUri=https://app.example/back&appId={app}{options}")).await;
        let callback = broker.consent(&url, &Answer::allow());
        broker.sandbox().clear();
        broker.sandbox().hold(Step::Token);
        let (landed, ()) = tokio::join!(broker.browse(&callback), async {
            broker.sandbox().held(Step::Token).await;
            assert_eq!(broker.call("DELETE", &format!("/v1/apps/{app}"), None).await.status, 200);
            broker.sandbox().release(Step::Token);
        });
        let location = landed.location();
        assert_eq!(parameter(&location, "status").as_deref(), Some("error"), "{location}");
        assert_eq!(parameter(&location, "error").as_deref(), Some("app_missing"), "{location}");
        assert!(!broker.sandbox().requests_at(platform, Step::Revoke).is_empty(), "the tokens are given back");
        assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);
    }
}
