//! Clocks that jump. After a jump ahead everything due is refreshed in order, within the configured concurrency. A
//! clock set back or far ahead revives nothing, and asks no platform over and over.

use std::time::Duration;

use postpeer::domain::time::{Clock as _, Timestamp};
use postpeer::sandbox::{Fault, Step};
use serde_json::{Value, json};

use crate::stand_in::{self, Answer, StandIn, answer};
use crate::support::TestBroker;

const DAY: Duration = Duration::from_hours(24);
const TEN_YEARS: Duration = Duration::from_hours(10 * 365 * 24);

/// Number of accounts that are due at once.
const CROWD: usize = 200;

/// A broker with this concurrency and many accounts, whose tokens live for one to two hours in no order.
async fn crowd(concurrency: usize, accounts: usize) -> (TestBroker, StandIn) {
    let platform = StandIn::start("quince").await;
    let setting = concurrency.to_string();
    let builder = TestBroker::builder().toml(&platform.toml()).setting("POSTPEER_REFRESH__CONCURRENCY", &setting);
    let broker = builder.start().await;
    for number in 0..accounts {
        let life = life_of(number);
        platform.next_lives([life]);
        platform.connect(&broker, &format!("{life}")).await;
    }
    (broker, platform)
}

/// 37 and 600 are coprime, so the first 600 lives all differ.
fn life_of(number: usize) -> u64 {
    3600 + u64::try_from(number * 37 % 600).unwrap() * 6
}

/// Refreshed accounts, by the life of their first token.
fn asked(platform: &StandIn) -> Vec<u64> {
    platform.asked().iter().map(|token| token.split('/').nth(1).unwrap().parse().unwrap()).collect()
}

/// Runs rounds as the scheduler does. Returns the number of calls to the platform.
async fn rounds(broker: &TestBroker, platform: &StandIn) -> usize {
    let before = platform.asked().len();
    for _ in 0..10 {
        broker.refresh_due().await;
        postpeer::background::purge_once(broker.broker()).await;
        broker.clock.advance(Duration::from_secs(1));
    }
    platform.asked().len() - before
}

fn set(broker: &TestBroker, to: Timestamp) {
    broker.clock.set(to);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_a_day_makes_no_crowd() {
    let (broker, platform) = crowd(8, CROWD).await;
    platform.take_its_time(Duration::from_millis(5));
    broker.clock.advance(DAY);
    assert_eq!(broker.refresh_due().await, CROWD);
    let most = platform.most_at_once();
    assert!((2..=8).contains(&most), "{most} at once");
    assert_eq!(rounds(&broker, &platform).await, 0, "each of them once");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_jump_of_a_day_what_expired_first_is_refreshed_first() {
    let (broker, platform) = crowd(1, CROWD).await;
    broker.clock.advance(DAY);
    assert_eq!(broker.refresh_due().await, CROWD);
    assert_eq!(platform.most_at_once(), 1);
    let order = asked(&platform);
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(order.len(), CROWD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_or_far_ahead_asks_nobody_over_and_over() {
    let (broker, platform) = crowd(4, 12).await;
    let start = broker.clock.now();
    let mut generation = 0;
    for (to, expected) in [
        (start.minus(DAY), 0),
        (start.minus(TEN_YEARS), 0),
        (start, 0),
        (start.plus(TEN_YEARS), 12),
        (start, 0),
        (start.minus(DAY), 0),
        (start.plus(TEN_YEARS).plus(DAY), 12),
    ] {
        set(&broker, to);
        assert_eq!(rounds(&broker, &platform).await, expected, "{to}");
        let listed = broker.get("/v1/connect/integrations?include=custom&limit=100").await;
        assert_eq!((listed.status, &listed.json["total"]), (200, &Value::from(12)), "{to}: {}", listed.text);
        let least: u32 = broker.sql().query_row("SELECT min(generation) FROM grants", [], |row| row.get(0)).unwrap();
        assert!(least >= generation, "{to}: older tokens are back");
        generation = least;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_fails_while_the_clock_jumps_is_not_asked_over_and_over() {
    let (broker, platform) = crowd(4, 12).await;
    let start = broker.clock.now();
    platform.answer_refreshes_with(Answer::Bytes(answer(500, "", b"")));
    for (to, at_most) in [
        (start.plus(DAY), 12),
        (start.minus(DAY), 0),
        (start.plus(DAY), 12),
        (start.plus(TEN_YEARS), 12),
        (start.minus(TEN_YEARS), 0),
    ] {
        set(&broker, to);
        let asked = rounds(&broker, &platform).await;
        assert!(asked <= at_most, "{to}: {asked}");
    }
    // No grant has ended.
    platform.answer_refreshes_with(Answer::Fresh);
    set(&broker, start.plus(TEN_YEARS).plus(DAY));
    assert_eq!(broker.refresh_due().await, 12);
}

/// A machine whose clock has no battery may be years ahead until it reaches the network, and some are for seconds only.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_clock_that_was_ahead_put_off_is_refreshed_once_it_is_right_again() {
    let broker = TestBroker::start().await;
    let start = broker.clock.now();
    let (youtube, twitter) = (broker.connect("youtube", "").await, broker.connect("twitter", "").await);
    let lapsed = broker.connect("instagram", "").await;
    broker.sandbox().fail_next("twitter", Step::Refresh, Fault::ServerError, 1).unwrap();
    let ahead = start.plus(TEN_YEARS);
    broker.clock.set(ahead);
    assert_eq!(broker.refresh_due().await, 1, "one is refused and one has lapsed, by that clock");
    assert_eq!(broker.detail(&lapsed).await["health"]["nextRefreshAt"], Value::Null);

    let now = start.plus(DAY).plus(DAY);
    broker.clock.set(now);
    assert_eq!(broker.refresh_due().await, 0, "it would be years");
    broker.broker().refresher().watch_clock().await;
    assert_eq!(broker.refresh_due().await, 3);
    for id in [&youtube, &twitter, &lapsed] {
        let detail = broker.detail(id).await;
        assert_eq!((&detail["authStatus"], &detail["health"]["state"]), (&json!("active"), &json!("ok")), "{detail}");
        let next: jiff::Timestamp = detail["health"]["nextRefreshAt"].as_str().unwrap().parse().unwrap();
        assert!(next.as_millisecond() < now.plus(DAY * 60).as_millis(), "{detail}");
    }
    broker.broker().refresher().watch_clock().await;
    assert_eq!(broker.refresh_due().await, 0, "and with that it is over");
}

/// Refreshes the account at a clock that is 400 days behind, and sets the clock right. The refresh token lives for 100
/// days.
async fn behind_for_a_moment(broker: &TestBroker, platform: &StandIn) {
    let start = broker.clock.now();
    let answer = r#"{"access_token":"access/ada/9","refresh_token":"refresh/ada/9","expires_in":7200,
        "refresh_expires_in":8640000}"#;
    platform.answer_refreshes_with(Answer::Bytes(stand_in::json(answer)));
    broker.clock.set(start.minus(DAY * 400));
    broker.broker().refresher().watch_clock().await;
    assert_eq!(broker.refresh_due().await, 1, "issued later than now");
    broker.clock.set(start.plus(DAY));
    platform.answer_refreshes_with(Answer::Fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_behind_ends_no_account_without_its_platforms_word() {
    let refusal = Answer::Bytes(answer(400, "", br#"{"error":"invalid_grant"}"#));
    for by_caller in [false, true] {
        let platform = StandIn::start("quince").await;
        let broker = TestBroker::builder().toml(&platform.toml()).start().await;
        let id = platform.connect(&broker, "ada").await;
        behind_for_a_moment(&broker, &platform).await;
        platform.answer_refreshes_with(Answer::Bytes(answer(503, "", b"")));
        assert_eq!(broker.refresh_due().await, 0);
        let refused = broker.token(&id, "").await;
        assert_eq!((refused.status, refused.code()), (503, "token_unavailable"), "{}", refused.text);
        platform.answer_refreshes_with(Answer::Fresh);
        broker.clock.advance(Duration::from_mins(1));
        if by_caller {
            assert_eq!(broker.token(&id, "").await.status, 200);
        } else {
            assert_eq!(broker.refresh_due().await, 1);
        }
        let detail = broker.detail(&id).await;
        assert_eq!((&detail["authStatus"], &detail["health"]["state"]), (&json!("active"), &json!("ok")), "{detail}");

        behind_for_a_moment(&broker, &platform).await;
        platform.answer_refreshes_with(refusal.clone());
        assert_eq!(broker.refresh_due().await, 0);
        let detail = broker.detail(&id).await;
        assert_eq!(detail["authStatus"], "reconnect_required", "{detail}");
        assert_eq!(detail["health"]["lastError"]["code"], "consent_expired", "{detail}");
        let asked = platform.asked().len();
        broker.broker().refresher().watch_clock().await;
        assert_eq!((broker.refresh_due().await, broker.token(&id, "").await.status), (0, 422));
        assert_eq!(platform.asked().len(), asked, "its word is final");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_release_ended_by_the_clock_alone_is_tried_once() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    for (account, kind) in [("ada", "consent_expired"), ("bob", "testing_consent_expired"), ("eve", "consent_expired")]
    {
        let id = platform.connect(&broker, account).await;
        let recorded = "UPDATE grants SET access_expires_at = issued_at - 1, refresh_expires_at = issued_at - 1,
            due_at = NULL, trouble = json_object('kind', ?1, 'status', NULL, 'platform_code', NULL, 'at', issued_at)
            WHERE due_at IS NOT NULL";
        assert_eq!(broker.sql().execute(recorded, [kind]).unwrap(), 1);
        assert_eq!(broker.detail(&id).await["authStatus"], "reconnect_required");
    }
    platform.answer_refreshes_of("eve", Answer::Bytes(answer(400, "", br#"{"error":"invalid_grant"}"#)));
    assert_eq!(broker.refresh_due().await, 0);
    broker.broker().refresher().watch_clock().await;
    assert_eq!(broker.refresh_due().await, 2);
    assert_eq!(platform.asked().len(), 3);
    let listed = broker.get("/v1/connect/integrations?include=custom").await.json["integrations"].take();
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|account| &account["authStatus"]).collect();
    assert_eq!(states, ["reconnect_required", "active", "active"], "the newest first");
}

/// Its platform renews no token that is younger than a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_young_account_has_no_trouble_left_of_a_clock_that_was_ahead() {
    let broker = TestBroker::start().await;
    let start = broker.clock.now();
    let id = broker.connect("instagram", "").await;
    broker.clock.set(start.plus(TEN_YEARS));
    assert_eq!(broker.refresh_due().await, 0);
    assert_eq!(broker.detail(&id).await["health"]["lastError"]["code"], "consent_expired");
    broker.clock.set(start.plus(Duration::from_hours(1)));
    broker.broker().refresher().watch_clock().await;
    assert_eq!(broker.refresh_due().await, 0, "it is too young");
    let health = broker.detail(&id).await["health"].take();
    assert_eq!((&health["state"], &health["lastError"]), (&json!("ok"), &Value::Null), "{health}");
    assert_eq!(health["nextRefreshAt"], "2026-05-04T08:33:36.445Z", "{health}");
    broker.clock.set(start.plus(DAY));
    assert_eq!(broker.refresh_due().await, 1);
}

/// Nothing but callers refreshes where `refresh.enabled` is false.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_issued_while_the_clock_was_ahead_is_refreshed_for_who_asks() {
    let broker = TestBroker::start().await;
    let start = broker.clock.now();
    broker.clock.set(start.plus(DAY * 400));
    let id = broker.connect("twitter", "").await;
    broker.clock.set(start.plus(Duration::from_secs(30)));
    let token = broker.token(&id, "").await;
    let expires: jiff::Timestamp = token.json["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!(expires.as_millisecond() < start.plus(DAY).as_millis(), "{}", token.text);
    assert_eq!(broker.token(&id, "").await.json["accessToken"], token.json["accessToken"], "once");
}

/// The loops of the broker watch the clock. Without them, a test decides what time it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_for_a_moment_deletes_nothing_that_was_kept_for_long() {
    let broker = TestBroker::start().await;
    broker.connect("twitter", "").await;
    let made = broker.call("POST", "/v1/connect/links", Some(serde_json::json!({}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let app = serde_json::json!({"platform": "tiktok", "name": "a", "clientId": "c", "clientSecret": "old"});
    let app = broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
    let secret = Some(serde_json::json!({"clientSecret": "new"}));
    assert_eq!(broker.call("PATCH", &format!("/v1/apps/{app}"), secret).await.status, 200);
    let entries = || {
        ["count(*) FROM audit", "count(*) FROM links", "count(previous_secret) FROM oauth_apps"].map(|counted| {
            broker.sql().query_row(&format!("SELECT {counted}"), [], |row| row.get::<_, u32>(0)).unwrap()
        })
    };
    let before = entries();
    assert!(before[0] > 1 && before[1..] == [1, 1], "{before:?}");
    broker.broker().look_at_clock();
    broker.clock.advance(TEN_YEARS);
    broker.broker().look_at_clock();
    postpeer::background::purge_once(broker.broker()).await;
    assert_eq!(entries(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_revives_nothing() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let id = platform.connect(&broker, "ada").await;
    let flow = broker.begin("twitter", "redirectUri=https://app.example/back").await;
    let start = broker.clock.now();
    broker.clock.advance(Duration::from_hours(3));
    platform.answer_refreshes_with(Answer::Bytes(answer(400, "", br#"{"error":"invalid_grant"}"#)));
    assert_eq!(broker.refresh_due().await, 0);
    postpeer::background::purge_once(broker.broker()).await;
    platform.answer_refreshes_with(Answer::Fresh);
    for to in [start, start.minus(DAY), start.minus(TEN_YEARS), start.plus(DAY), start] {
        set(&broker, to);
        assert_eq!(rounds(&broker, &platform).await, 0, "{to}");
        let detail = broker.detail(&id).await;
        assert_eq!(detail["authStatus"], "reconnect_required", "{to}");
        assert_eq!(detail["health"]["lastError"]["code"], "refresh_rejected", "{to}");
        assert_eq!(broker.token(&id, "minSeconds=0").await.code(), "reconnect_required", "{to}");
        let state = crate::support::parameter(&flow, "state").unwrap();
        let callback = format!("{}/v1/connect/twitter/callback?state={state}&code=x", broker.url);
        let location = broker.browse(&callback).await.location();
        let told = crate::support::parameter(&location, "error");
        assert_eq!(told.as_deref(), Some("flow_expired"), "{to}: its time is over");
    }
    // Ten years exceed the retention of an ended grant's tokens, and erasing them is final.
    set(&broker, start.plus(TEN_YEARS));
    postpeer::background::purge_once(broker.broker()).await;
    set(&broker, start);
    assert_eq!(broker.token(&id, "minSeconds=0").await.code(), "reconnect_required");
    assert_eq!(platform.connect(&broker, "ada").await, id);
    assert_eq!(broker.token(&id, "").await.status, 200);
}
