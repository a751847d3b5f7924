//! Refreshing due tokens in each platform's way, telling failures apart, and losing nothing that a platform delivered.

use std::time::Duration;

use postpeer::domain::time::Timestamp;
use postpeer::sandbox::{self, Answer, Fault, Step, bluesky_accounts};
use serde_json::{Value, json};

use crate::logs;
use crate::support::TestBroker;

const DAY: u64 = 86_400;

/// Connects an account that can be refreshed. Returns the integration's id.
pub(crate) async fn connect(broker: &TestBroker, platform: &str) -> String {
    if platform == "linkedin" {
        // LinkedIn issues refresh tokens only to approved apps.
        let (client_id, secret) = postpeer::sandbox::own_client("linkedin").unwrap();
        let body = json!({"platform": "linkedin", "name": "Approved", "clientId": client_id, "clientSecret": secret});
        let app = broker.call("POST", "/v1/apps", Some(body)).await;
        return broker.connect("linkedin", &format!("appId={}", app.json["app"]["id"].as_str().unwrap())).await;
    }
    if platform != "bluesky" {
        return broker.connect(platform, "").await;
    }
    let ada = &bluesky_accounts()[0];
    let body = json!({"identifier": ada.handle, "password": ada.app_password});
    let reply = broker.call("POST", "/v1/connect/bluesky/auth", Some(body)).await;
    reply.json["integration"]["id"].as_str().unwrap().to_owned()
}

/// True when the platform's API accepts the token.
async fn is_alive(broker: &TestBroker, platform: &str, token: &Value) -> bool {
    let path = sandbox::example(platform).unwrap().identity;
    let url = format!("{}/{platform}{path}", broker.sandbox_url());
    let request = broker.request("GET", &url).bearer_auth(token.as_str().unwrap()).header("user-agent", "a test");
    let status = request.send().await.unwrap().status();
    assert!([200, 400, 401].contains(&status.as_u16()), "{platform}: {status}");
    status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platforms_tokens_outlive_themselves_many_times() {
    for platform in sandbox::platforms().chain(["bluesky"]) {
        let broker = TestBroker::start().await;
        let id = connect(&broker, platform).await;
        assert_eq!(broker.refresh_due().await, 0, "{platform}: nothing is due yet");
        let mut tokens = vec![broker.token(&id, "").await.json["accessToken"].take()];
        for round in 0..5 {
            broker.clock.set(next_refresh(&broker, &id).await);
            assert_eq!(broker.refresh_due().await, 1, "{platform}, round {round}");
            assert_eq!(broker.refresh_due().await, 0, "{platform}, round {round}: and then nothing is due");
            let reply = broker.token(&id, "").await;
            assert_eq!(reply.status, 200, "{platform}, round {round}: {}", reply.text);
            if platform != "bluesky" && platform != "facebook" {
                assert!(is_alive(&broker, platform, &reply.json["accessToken"]).await, "{platform}, round {round}");
            }
            tokens.push(reply.json["accessToken"].clone());
        }
        let detail = broker.detail(&id).await;
        assert_eq!(detail["authStatus"], "active", "{platform}");
        assert_eq!(detail["health"]["state"], "ok", "{platform}");
        assert_eq!(detail["tokenStatus"]["valid"], true, "{platform}");
        let before = tokens.len();
        tokens.dedup();
        // A Page's token does not expire, so it is not refreshed.
        assert_eq!(tokens.len(), if platform == "facebook" { 1 } else { before }, "{platform}");
        let refusals: Vec<_> = broker.sandbox().requests().into_iter().filter_map(|request| request.why).collect();
        assert!(refusals.is_empty(), "{platform}: {refusals:?}");
    }
}

/// Health, reason and last error in an account's detail.
fn told(detail: &Value) -> [&str; 3] {
    let told = [&detail["health"]["state"], &detail["authFailureReason"], &detail["health"]["lastError"]["code"]];
    told.map(|value| value.as_str().unwrap_or("-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_apart() {
    let revoked = Fault::Revoked;
    for (platform, fault, expected) in [
        ("twitter", Fault::Drop, ["refresh_in_doubt", "-", "platform_unavailable"]),
        ("twitter", Fault::ServerError, ["refresh_in_doubt", "-", "platform_unavailable"]),
        ("twitter", Fault::RateLimited, ["refresh_failing", "-", "platform_throttled"]),
        ("twitter", Fault::Html, ["refresh_in_doubt", "-", "platform_answer_unreadable"]),
        ("twitter", Fault::Garbage, ["refresh_in_doubt", "-", "platform_answer_unreadable"]),
        ("twitter", Fault::Empty, ["refresh_in_doubt", "-", "platform_answer_unreadable"]),
        ("twitter", Fault::Oversized, ["refresh_in_doubt", "-", "platform_answer_unreadable"]),
        ("twitter", revoked, ["reconnect_required", "refresh_rejected", "refresh_rejected"]),
        ("tiktok", revoked, ["reconnect_required", "refresh_rejected", "refresh_rejected"]),
        ("linkedin", revoked, ["reconnect_required", "refresh_rejected", "refresh_rejected"]),
        ("youtube", revoked, ["reconnect_required", "refresh_rejected", "refresh_rejected"]),
        ("acme", revoked, ["reconnect_required", "refresh_rejected", "refresh_rejected"]),
        ("pinterest", revoked, ["reconnect_required", "refresh_rejected", "refresh_rejected"]),
        ("facebook", revoked, ["reconnect_required", "access_revoked", "consent_revoked"]),
        ("threads", revoked, ["reconnect_required", "security_invalidation", "security_invalidation"]),
        ("instagram", Fault::Expired, ["reconnect_required", "token_expired", "consent_expired"]),
        ("bluesky", revoked, ["reconnect_required", "refresh_rejected", "refresh_rejected"]),
        ("bluesky", Fault::ServerError, ["refresh_in_doubt", "-", "platform_unavailable"]),
        ("bluesky", Fault::RateLimited, ["refresh_failing", "-", "platform_throttled"]),
    ] {
        let broker = TestBroker::start().await;
        let id = connect(&broker, platform).await;
        broker.sandbox().fail_next(platform, Step::Refresh, fault, 1).unwrap();
        let due = next_refresh(&broker, &id).await;
        broker.clock.set(due);
        assert_eq!(broker.refresh_due().await, 0, "{platform} {fault:?}");
        let detail = broker.detail(&id).await;
        assert_eq!(told(&detail), expected, "{platform} {fault:?}: {detail}");
        let next_step = detail["health"]["lastError"]["nextStep"].as_str().unwrap();
        assert!(next_step.ends_with('.'), "{next_step}");
        if expected[1] == "-" {
            let again = time(detail["health"]["nextRefreshAt"].as_str().unwrap());
            assert!(again > due, "{platform} {fault:?} is tried later");
            assert_eq!(broker.refresh_due().await, 0, "{platform} {fault:?}");
            broker.clock.set(again);
            assert_eq!(broker.refresh_due().await, 1, "{platform} {fault:?} is over");
            let detail = broker.detail(&id).await;
            assert_eq!(told(&detail), ["ok", "-", "-"], "{platform} {fault:?}");
        }
    }
}

pub(crate) async fn next_refresh(broker: &TestBroker, id: &str) -> Timestamp {
    time(broker.detail(id).await["health"]["nextRefreshAt"].as_str().unwrap())
}

fn time(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_millis(at.as_millisecond())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_a_doubt_and_told_from_a_revocation() {
    for (platform, state, code) in [
        ("twitter", "reconnect_required", "refresh_interrupted"),
        ("tiktok", "reconnect_required", "refresh_interrupted"),
        ("acme", "reconnect_required", "refresh_interrupted"),
        ("bluesky", "ok", "-"),
        ("youtube", "ok", "-"),
        ("threads", "ok", "-"),
    ] {
        let broker = TestBroker::start().await;
        let id = connect(&broker, platform).await;
        broker.sandbox().fail_next(platform, Step::Refresh, Fault::Lost, 1).unwrap();
        broker.clock.set(next_refresh(&broker, &id).await);
        assert_eq!(broker.refresh_due().await, 0, "{platform}");
        let detail = broker.detail(&id).await;
        assert_eq!(detail["health"]["lastError"]["code"], "platform_unavailable", "{platform}");
        assert_eq!(detail["authStatus"], "active", "{platform}");
        broker.clock.set(time(detail["health"]["nextRefreshAt"].as_str().unwrap()));
        broker.refresh_due().await;
        let detail = broker.detail(&id).await;
        assert_eq!(detail["health"]["state"], state, "{platform}: {detail}");
        assert_eq!(detail["health"]["lastError"]["code"].as_str().unwrap_or("-"), code, "{platform}");
        assert_eq!(broker.sandbox().requests_at(platform, Step::Refresh).len(), 2, "{platform}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_pauses_its_app_and_nobody_is_disconnected() {
    let mut broker = TestBroker::start().await;
    let (client_id, secret) = postpeer::sandbox::own_client("twitter").unwrap();
    let body = json!({"platform": "twitter", "name": "Ours", "clientId": client_id, "clientSecret": secret});
    let app = broker.call("POST", "/v1/apps", Some(body)).await.json["app"]["id"].as_str().unwrap().to_owned();
    let profiles = futures_util::future::join_all(
        (0..50).map(|number| broker.call("POST", "/v1/profiles", Some(json!({"name": format!("p{number}")})))),
    )
    .await;
    for account in ["ada", "basil"] {
        for profile in &profiles {
            let query = format!("appId={app}&profileId={}", profile.json["profile"]["id"].as_str().unwrap());
            broker.connect_with("twitter", &query, &Answer::allow().account(account)).await;
        }
    }
    // One grant per account's owner and app.
    let operators = broker.connect("twitter", "").await;
    let path = format!("/v1/apps/{app}");
    let set_secret = |secret: &str| broker.call("PATCH", &path, Some(json!({"clientSecret": secret})));
    assert_eq!(set_secret("wrong").await.status, 200);
    // The secret before is tried for a day.
    broker.clock.advance(Duration::from_hours(25));
    broker.sandbox().clear();
    assert_eq!(broker.refresh_due().await, 1, "the operator's app is another");
    let refused = broker.sandbox().requests_at("twitter", Step::Refresh);
    assert!(refused.iter().filter(|request| request.status == Some(401)).count() <= 3, "{refused:?}");
    let listed = broker.get("/v1/connect/integrations?limit=100").await.json;
    let active = |listed: &Value| {
        let all = listed["integrations"].as_array().unwrap();
        all.iter().filter(|one| one["authStatus"] == "active").count()
    };
    assert_eq!(active(&listed), 100);
    let theirs = listed["integrations"].as_array().unwrap().iter().find(|one| one["appId"] == app.as_str()).unwrap();
    let id = theirs["id"].as_str().unwrap();
    assert_eq!(told(&broker.detail(id).await), ["refresh_failing", "-", "credentials_rejected"]);
    let calls = broker.sandbox().requests().len();
    assert_eq!(broker.token(id, "").await.code(), "token_unavailable");
    assert_eq!(broker.refresh_due().await, 0);
    assert_eq!(broker.sandbox().requests().len(), calls, "a paused app asks nobody");
    assert_eq!(broker.token(&operators, "").await.status, 200);

    assert_eq!(set_secret(&secret).await.status, 200);
    assert_eq!(broker.refresh_due().await, 2, "a grant for each person, at once");
    assert_eq!(broker.token(id, "").await.status, 200);
    broker.restart().await;
    assert_eq!(broker.token(id, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_app_waits_as_long_as_it_is_asked_to() {
    let broker = TestBroker::start().await;
    let [one, other] = ["ada", "basil"].map(|account| Answer::allow().account(account));
    let one = broker.connect_with("twitter", "", &one).await;
    let other = broker.connect_with("twitter", "", &other).await;
    let tiktok = broker.connect("tiktok", "").await;
    broker.sandbox().fail_next("twitter", Step::Refresh, Fault::RateLimited, 1).unwrap();
    broker.clock.advance(Duration::from_hours(2));
    assert_eq!(broker.refresh_due().await, 1, "another platform goes on");
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Refresh).len(), 1);
    for id in [&one, &other] {
        let reply = broker.token(id, "").await;
        assert_eq!((reply.status, reply.code()), (503, "token_unavailable"), "{}", reply.text);
    }
    assert_eq!(broker.token(&tiktok, "").await.status, 200);
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Refresh).len(), 1);
    broker.clock.advance(Duration::from_secs(90));
    assert_eq!(broker.refresh_due().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_seven_days_are_named() {
    for (days, code) in [(7, "testing_consent_expired"), (30, "refresh_rejected")] {
        let broker = TestBroker::start().await;
        let id = broker.connect("youtube", "").await;
        for _ in 0..days {
            broker.clock.advance(Duration::from_secs(DAY));
            broker.refresh_due().await;
        }
        broker.clock.advance(Duration::from_hours(2));
        broker.sandbox().revoke_all("youtube");
        assert_eq!(broker.refresh_due().await, 0);
        let detail = broker.detail(&id).await;
        assert_eq!(detail["health"]["lastError"]["code"], code, "{detail}");
        assert_eq!(detail["authStatus"], "reconnect_required");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seven_days_that_google_announces_are_named_as_well() {
    for (days, code, help) in [(7, "testing_consent_expired", "operator"), (30, "consent_expired", "account_owner")] {
        let broker = TestBroker::start().await;
        let id = broker.connect("youtube", "").await;
        // Google's `refresh_token_expires_in`.
        let announced =
            "UPDATE grants SET refresh_expires_at = consented_at + ?1 * 86400000 - 1000, due_at = consented_at";
        assert_eq!(broker.sql().execute(announced, [days]).unwrap(), 1);
        for _ in 0..=days {
            broker.clock.advance(Duration::from_secs(DAY));
        }
        broker.sandbox().revoke_all("youtube");
        broker.refresh_due().await;
        let detail = broker.detail(&id).await;
        let error = &detail["health"]["lastError"];
        assert_eq!((error["code"].as_str(), error["whoCanHelp"].as_str()), (Some(code), Some(help)), "{detail}");
        assert_eq!(detail["authStatus"], "reconnect_required");
        let refused = broker.token(&id, "").await;
        let says_why = refused.text.contains("Publish the OAuth consent screen");
        assert_eq!((refused.status, says_why), (422, help == "operator"), "{}", refused.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pages_token_outlives_its_persons_whoever_says_that_that_expired() {
    let broker = TestBroker::start().await;
    let id = broker.connect("facebook", "").await;
    assert_eq!(broker.token(&id, "").await.status, 200);
    broker.clock.advance(Duration::from_secs(51 * DAY));
    broker.sandbox().fail_next("facebook", Step::Refresh, Fault::Expired, 1).unwrap();
    broker.refresh_due().await;
    let detail = broker.detail(&id).await;
    assert_eq!(detail["health"]["lastError"]["code"], "consent_expired", "{detail}");
    assert_eq!(detail["authStatus"], "active", "{detail}");
    assert_eq!(broker.token(&id, "").await.status, 200);
    broker.clock.advance(Duration::from_secs(20 * DAY));
    assert_eq!(broker.refresh_due().await, 0);
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Refresh).len(), 1, "it is not asked again");
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_wins_against_a_refresh_and_what_comes_late_is_given_back() {
    logs::capture();
    for platform in ["twitter", "acme", "bluesky"] {
        let broker = TestBroker::start().await;
        let id = connect(&broker, platform).await;
        broker.clock.advance(Duration::from_hours(2));
        broker.sandbox().hold(Step::Refresh);
        let (refreshed, ()) = tokio::join!(broker.refresh_due(), async {
            broker.sandbox().held(Step::Refresh).await;
            let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
            assert_eq!(gone.status, 200, "{platform}: {}", gone.text);
            broker.sandbox().release(Step::Refresh);
        });
        assert!(refreshed <= 1, "{platform}");
        assert_eq!(broker.get(&format!("/v1/connect/integrations/{id}")).await.status, 404, "{platform}");
        let left: u32 = broker.sql().query_row("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{platform}");
        // The stored token, and the one that arrived too late.
        assert_eq!(broker.sandbox().requests_at(platform, Step::Revoke).len(), 2, "{platform}");
        let (issued, log) = (broker.sandbox().issued(platform), logs::text());
        assert!(issued.len() > 2, "{platform}");
        assert!(issued.iter().all(|token| !log.contains(&token.value)), "{platform}: a token is in the log");
    }
}

/// The later consent counts, and the caller is told nothing of tokens that nobody revoked.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_connected_again_while_its_old_tokens_are_revoked_stays() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let sandbox = broker.sandbox();
    sandbox.hold(Step::Revoke);
    let path = format!("/v1/connect/integrations/{id}");
    let (gone, again) = tokio::join!(broker.call("DELETE", &path, None), async {
        sandbox.held(Step::Revoke).await;
        broker.clock.advance(Duration::from_secs(1));
        let again = broker.connect("twitter", "").await;
        sandbox.release(Step::Revoke);
        again
    });
    assert_eq!((gone.status, again.as_str()), (200, id.as_str()), "{}", gone.text);
    assert_eq!(gone.json["success"], false, "{}", gone.text);
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
    assert_eq!(broker.token(&id, "").await.status, 200);
    let gone = broker.call("DELETE", &path, None).await;
    assert_eq!((gone.status, &gone.json["success"]), (200, &json!(true)), "{}", gone.text);
    assert_eq!(broker.get(&path).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_tells_of_revoked_tokens_only_where_all_of_them_were() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    broker.clock.advance(Duration::from_hours(2));
    let sandbox = broker.sandbox();
    sandbox.fail_next("twitter", Step::Revoke, Fault::ServerError, 1).unwrap();
    sandbox.hold(Step::Refresh);
    sandbox.hold(Step::Revoke);
    let path = format!("/v1/connect/integrations/{id}");
    let disconnecting = async {
        sandbox.held(Step::Refresh).await;
        broker.call("DELETE", &path, None).await
    };
    let refreshing = async {
        broker.refresh_due().await;
        sandbox.release(Step::Revoke);
    };
    let ((), gone, ()) = tokio::join!(refreshing, disconnecting, async {
        sandbox.held(Step::Revoke).await;
        sandbox.release(Step::Refresh);
    });
    assert_eq!(sandbox.requests_at("twitter", Step::Revoke).len(), 2);
    assert!(gone.text.contains("did not confirm"), "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_a_refresh_stored_while_others_were_revoked_are_revoked_too() {
    for platform in ["twitter", "acme", "bluesky"] {
        let broker = TestBroker::start().await;
        let id = connect(&broker, platform).await;
        broker.clock.advance(Duration::from_hours(2));
        let sandbox = broker.sandbox();
        sandbox.hold(Step::Refresh);
        sandbox.hold(Step::Revoke);
        let path = format!("/v1/connect/integrations/{id}");
        let disconnecting = async {
            sandbox.held(Step::Refresh).await;
            broker.call("DELETE", &path, None).await
        };
        let refreshing = async {
            let refreshed = broker.refresh_due().await;
            sandbox.release(Step::Revoke);
            refreshed
        };
        let (refreshed, gone, ()) = tokio::join!(refreshing, disconnecting, async {
            sandbox.held(Step::Revoke).await;
            sandbox.release(Step::Refresh);
        });
        assert_eq!((refreshed, gone.status), (1, 200), "{platform}: {}", gone.text);
        assert_eq!(sandbox.requests_at(platform, Step::Revoke).len(), 2, "{platform}");
        assert_eq!(sandbox.bluesky_sessions(), 0, "{platform}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_wins_against_a_refresh() {
    for platform in ["twitter", "youtube", "bluesky"] {
        let broker = TestBroker::start().await;
        let id = connect(&broker, platform).await;
        broker.clock.advance(Duration::from_hours(2));
        broker.sandbox().hold(Step::Refresh);
        let (_, ()) = tokio::join!(broker.refresh_due(), async {
            broker.sandbox().held(Step::Refresh).await;
            assert_eq!(connect(&broker, platform).await, id, "{platform}");
            broker.sandbox().release(Step::Refresh);
        });
        let detail = broker.detail(&id).await;
        assert_eq!(detail["authStatus"], "active", "{platform}");
        assert!(broker.broker().drain(Duration::from_secs(30)).await);
        let given_back = broker.sandbox().requests_at(platform, Step::Revoke).len();
        assert_eq!(given_back > 0, platform != "youtube", "{platform}: a revocation at Google ends the whole consent");
        for _ in 0..3 {
            broker.clock.advance(Duration::from_hours(2));
            assert_eq!(broker.refresh_due().await, 1, "{platform}: the new consent lives");
        }
    }
}

/// An app's first refreshes wait for one another.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_came_back_before_its_turn_is_left_alone() {
    let broker = TestBroker::start().await;
    let connect = async |account: &str| broker.connect_with("twitter", "", &Answer::allow().account(account)).await;
    connect("ada").await;
    broker.clock.advance(Duration::from_secs(1));
    let id = connect("basil").await;
    broker.clock.advance(Duration::from_hours(2));
    broker.sandbox().hold(Step::Refresh);
    let (_, ()) = tokio::join!(broker.refresh_due(), async {
        broker.sandbox().held(Step::Refresh).await;
        assert_eq!(connect("basil").await, id);
        broker.sandbox().release(Step::Refresh);
    });
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Refresh).len(), 1);
    let health = broker.detail(&id).await["health"].take();
    assert_eq!((&health["state"], &health["lastError"]), (&json!("ok"), &Value::Null), "{health}");
    assert_eq!(broker.token(&id, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_outlives_the_caller_that_wanted_it() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    broker.clock.advance(Duration::from_hours(2));
    broker.sandbox().hold(Step::Refresh);
    let url = format!("{}/v1/connect/integrations/{id}/token", broker.url);
    let asking = broker.request("GET", &url).header("x-access-key", &broker.key).send();
    let platforms = broker.sandbox();
    tokio::select! {
        _ = asking => panic!("the platform is held"),
        () = platforms.held(Step::Refresh) => {}
    }
    broker.sandbox().release(Step::Refresh);
    let reply = broker.token(&id, "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Refresh).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_token_is_not_renewed_and_not_blamed() {
    let broker = TestBroker::start().await;
    let id = broker.connect("threads", "").await;
    // Only a wrong clock makes such a grant due.
    broker.sql().execute("UPDATE grants SET due_at = 0", []).unwrap();
    assert_eq!(broker.refresh_due().await, 0);
    assert!(broker.sandbox().requests_at("threads", Step::Refresh).is_empty());
    let detail = broker.detail(&id).await;
    assert_eq!(told(&detail), ["ok", "-", "-"]);
    assert_eq!(detail["health"]["nextRefreshAt"], "2026-05-04T08:33:36.445Z");
    broker.clock.advance(Duration::from_secs(DAY));
    assert_eq!(broker.refresh_due().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_ended_grant_are_kept_for_a_month() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    broker.sandbox().revoke_all("twitter");
    broker.clock.advance(Duration::from_hours(2));
    broker.refresh_due().await;
    let kept =
        || -> bool { broker.sql().query_row("SELECT tokens IS NOT NULL FROM grants", [], |row| row.get(0)).unwrap() };
    broker.clock.advance(Duration::from_secs(30 * DAY - 1));
    postpeer::background::purge_once(broker.broker()).await;
    assert!(kept());
    let sealed: Vec<u8> = broker.sql().query_row("SELECT tokens FROM grants", [], |row| row.get(0)).unwrap();
    let is_on_disk = || broker.database().windows(sealed.len()).any(|window| window == sealed);
    assert!(is_on_disk());
    broker.clock.advance(Duration::from_secs(2));
    postpeer::background::purge_once(broker.broker()).await;
    assert!(!kept());
    assert!(!is_on_disk(), "neither in the file nor in the log beside it");
    assert_eq!(broker.detail(&id).await["authStatus"], "reconnect_required");
    assert_eq!(broker.token(&id, "").await.code(), "reconnect_required");
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_tokens_of_an_account_that_a_consent_left_out_are_kept_for_a_month() {
    let broker = TestBroker::start().await;
    broker.connect("facebook", "").await;
    let left_out = "UPDATE integrations SET status = 'reconnect_required', failure_reason = 'access_revoked'";
    broker.sql().execute(left_out, []).unwrap();
    for (seconds, has_own) in [(30 * DAY, true), (2, false)] {
        broker.clock.advance(Duration::from_secs(seconds));
        postpeer::background::purge_once(broker.broker()).await;
        let has = "SELECT tokens IS NOT NULL FROM integrations";
        assert_eq!(broker.sql().query_row(has, [], |row| row.get::<_, bool>(0)).unwrap(), has_own);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_first_is_refreshed_first() {
    let broker = TestBroker::builder().setting("POSTPEER_REFRESH__CONCURRENCY", "1").start().await;
    // Pinterest's tokens live for 30 days, the others for an hour or two.
    for (platform, hours) in [("pinterest", 29 * 24), ("acme", 30), ("tiktok", 3), ("twitter", 10 * 24)] {
        broker.connect(platform, "").await;
        broker.clock.advance(Duration::from_hours(hours));
    }
    broker.sandbox().clear();
    assert_eq!(broker.refresh_due().await, 4);
    let asked: Vec<_> = broker.sandbox().requests().into_iter().map(|request| request.platform).collect();
    assert_eq!(asked, ["acme", "pinterest", "tiktok", "twitter"]);
}
