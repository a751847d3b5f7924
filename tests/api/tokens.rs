//! Handing out tokens: to which keys, after which refreshes, and with which record.

use std::time::Duration;

use postpeer::background;
use postpeer::domain::access_key::Scope;
use postpeer::domain::time::Timestamp;
use postpeer::sandbox::{Fault, Step, TokenKind, bluesky_accounts};
use serde_json::{Value, json};

use crate::stand_in::{Answer, StandIn, answer, json as json_answer};
use crate::support::TestBroker;

/// The newest token of a kind that the platform has issued.
fn newest(broker: &TestBroker, platform: &str, kind: TokenKind) -> String {
    let issued = broker.sandbox().issued(platform);
    issued.into_iter().rfind(|issued| issued.kind == kind).unwrap().value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lasts_is_handed_out_as_it_is() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let reply = broker.token(&id, "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("cache-control"), "no-store");
    let access = newest(&broker, "twitter", TokenKind::Access);
    let refresh = newest(&broker, "twitter", TokenKind::Refresh);
    assert_eq!(
        reply.json,
        json!({
            "success": true,
            "platform": "twitter",
            "platformUserId": "2244994945",
            "accessToken": access,
            "tokenType": "Bearer",
            "expiresAt": "2026-05-03T10:33:36.445Z",
            "scopes": ["tweet.read", "tweet.write", "users.read", "media.write", "offline.access"],
        })
    );
    assert!(!reply.text.contains(&refresh));
    assert!(broker.sandbox().requests_at("twitter", Step::Refresh).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_would_not_last_is_refreshed_first() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let first = broker.token(&id, "").await.json["accessToken"].clone();
    broker.clock.advance(Duration::from_secs(7200 - 301));
    assert_eq!(broker.token(&id, "minSeconds=300").await.json["accessToken"], first);
    broker.clock.advance(Duration::from_secs(2));
    let second = broker.token(&id, "").await;
    assert_eq!(second.status, 200, "{}", second.text);
    assert_ne!(second.json["accessToken"], first);
    assert_eq!(second.json["accessToken"], newest(&broker, "twitter", TokenKind::Access));
    assert_eq!(broker.token(&id, "minSeconds=7200").await.json, second.json, "it lasts just that long");
    broker.clock.advance(Duration::from_secs(1));
    assert_ne!(broker.token(&id, "minSeconds=7200").await.json["accessToken"], second.json["accessToken"]);
    let refreshed = broker.sandbox().requests_at("twitter", Step::Refresh);
    assert_eq!(refreshed.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(200); 2]);
}

/// Each refresh spends a refresh token, and counts at the platform.
#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_whole_life_does_not_refresh_at_every_read() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let refreshes = || broker.sandbox().requests_at("twitter", Step::Refresh).len();
    for read in 0..20 {
        broker.clock.advance(Duration::from_millis(100));
        let reply = broker.token(&id, "minSeconds=7200").await;
        assert_eq!(reply.status, 200, "{read}: {}", reply.text);
        assert_eq!(reply.json["accessToken"], newest(&broker, "twitter", TokenKind::Access), "{read}");
    }
    assert_eq!(refreshes(), 5);
    broker.clock.advance(Duration::from_mins(1));
    assert_eq!(broker.token(&id, "minSeconds=7150").await.status, 200);
    assert_eq!(refreshes(), 6, "it is no new token any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_gets_none() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let path = format!("/v1/connect/integrations/{id}/token");
    let without = broker.key("default", &Scope::DEFAULT).await;
    let refused = broker.call_as(&without, "GET", &path, None).await;
    assert_eq!((refused.status, refused.code()), (403, "insufficient_scope"));
    let theirs = broker.key("other", Scope::ALL).await;
    let refused = broker.call_as(&theirs, "GET", &path, None).await;
    assert_eq!((refused.status, refused.code()), (404, "integration_not_found"));
    let refused = broker.browse(&format!("{}{path}", broker.url)).await;
    assert_eq!((refused.status, refused.code()), (401, "invalid_access_key"));
    for (id, query, expected) in [
        ("int_0", "", (404, "integration_not_found")),
        (id.as_str(), "minSeconds=-1", (400, "invalid_parameter")),
        (id.as_str(), "minSeconds=86401", (400, "invalid_parameter")),
        (id.as_str(), "minSeconds=soon", (400, "invalid_parameter")),
        (id.as_str(), "minSeconds=1&minSeconds=2", (400, "repeated_parameter")),
        (id.as_str(), "minSeconds=7201", (422, "token_too_short")),
    ] {
        let refused = broker.token(id, query).await;
        assert_eq!((refused.status, refused.code()), expected, "{query}: {}", refused.text);
    }
    let refreshes = broker.sandbox().requests_at("twitter", Step::Refresh).len();
    assert_eq!(refreshes, 1, "no token of theirs lasts so long, which only a refresh tells");
    assert_eq!(broker.detail(&id).await["tokenReads"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn which_key_read_which_token_is_written_down() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let other = broker.connect("tiktok", "").await;
    let second = broker.key("default", &[Scope::Tokens]).await;
    for key in [&broker.key, &broker.key, &second] {
        let path = format!("/v1/connect/integrations/{id}/token");
        assert_eq!(broker.call_as(key, "GET", &path, None).await.status, 200);
        broker.clock.advance(Duration::from_secs(1));
    }
    let reads = broker.detail(&id).await["tokenReads"].take();
    let told: Vec<_> = reads.as_array().unwrap().iter().map(|read| read["reads"].as_u64().unwrap()).collect();
    assert_eq!(told, [1, 2], "the latest first: {reads}");
    assert_eq!(reads[1]["firstAt"], "2026-05-03T08:33:36.445Z");
    assert_eq!(reads[1]["lastAt"], "2026-05-03T08:33:37.445Z");
    assert!(reads[0]["accessKeyId"].as_str().unwrap().starts_with("key_"));
    assert_eq!(broker.detail(&other).await["tokenReads"], json!([]));
}

/// The reads that are on the disk.
fn written(broker: &TestBroker) -> i64 {
    broker.sql().query_row("SELECT coalesce(sum(reads), 0) FROM token_reads", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_read_of_a_minute_is_on_the_disk_and_later_ones_follow() {
    let mut broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    for _ in 0..3 {
        assert_eq!(broker.token(&id, "").await.status, 200);
        assert_eq!(written(&broker), 1, "one write for a minute");
    }
    assert_eq!(broker.detail(&id).await["tokenReads"][0]["reads"], 3, "counted ones are told");
    background::write_reads_once(broker.broker()).await;
    assert_eq!(written(&broker), 3);
    assert_eq!(broker.detail(&id).await["tokenReads"][0]["reads"], 3);
    broker.clock.advance(Duration::from_secs(59));
    assert_eq!(broker.token(&id, "").await.status, 200);
    assert_eq!(written(&broker), 3);
    broker.clock.advance(Duration::from_secs(1));
    assert_eq!(broker.token(&id, "").await.status, 200);
    assert_eq!(written(&broker), 4, "the minute is over");
    let reads = broker.detail(&id).await["tokenReads"][0].take();
    assert_eq!((&reads["reads"], &reads["lastAt"]), (&json!(5), &json!("2026-05-03T08:34:36.445Z")));
    broker.restart().await;
    assert_eq!(written(&broker), 5, "a stop writes the rest");
    assert_eq!(broker.detail(&id).await["tokenReads"][0]["reads"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_a_token_of_its_own_and_bluesky_a_server() {
    let broker = TestBroker::start().await;
    let page = broker.connect("facebook", "").await;
    let reply = broker.token(&page, "minSeconds=86400").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let pages: Vec<Value> = broker
        .sandbox()
        .issued("facebook")
        .into_iter()
        .filter(|issued| issued.kind == TokenKind::Page)
        .map(|issued| issued.value.into())
        .collect();
    assert!(pages.contains(&reply.json["accessToken"]), "{}", reply.text);
    assert_eq!(reply.json["expiresAt"], Value::Null);
    let detail = broker.detail(&page).await;
    assert_eq!((&detail["accessTokenExpiresAt"], &detail["tokenStatus"]["valid"]), (&Value::Null, &json!(true)));

    let ada = &bluesky_accounts()[0];
    let body = json!({"identifier": ada.handle, "password": ada.app_password});
    let connected = broker.call("POST", "/v1/connect/bluesky/auth", Some(body)).await;
    let id = connected.json["integration"]["id"].as_str().unwrap();
    let reply = broker.token(id, "").await;
    assert_eq!((reply.status, reply.json["platformUserId"].as_str()), (200, Some(ada.did)));
    assert_eq!(reply.json["serviceUrl"], connected.json["integration"]["platformMetadata"]["serviceUrl"]);
    broker.clock.advance(Duration::from_hours(3));
    let later = broker.token(id, "").await;
    assert_eq!(later.status, 200, "{}", later.text);
    assert_ne!(later.json["accessToken"], reply.json["accessToken"]);
    assert_eq!(later.json["serviceUrl"], reply.json["serviceUrl"]);
}

/// Without its own token a Page has none: the consent's opens all that is the person's.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_lost_its_token_is_not_handed_out_its_persons() {
    let broker = TestBroker::start().await;
    let page = broker.connect("facebook", "").await;
    let erase = "UPDATE integrations SET tokens = NULL, tokens_dek_id = NULL";
    assert_eq!(broker.sql().execute(erase, []).unwrap(), 1);
    for query in ["", "minSeconds=86400"] {
        let refused = broker.token(&page, query).await;
        assert_eq!((refused.status, refused.code()), (422, "reconnect_required"), "{}", refused.text);
    }
    assert_eq!(broker.connect("facebook", "").await, page);
    assert_eq!(broker.token(&page, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_works_is_handed_out_while_the_platform_is_down() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let first = broker.token(&id, "").await.json["accessToken"].clone();
    broker.sandbox().fail_next("twitter", Step::Refresh, Fault::ServerError, 9).unwrap();
    broker.clock.advance(Duration::from_mins(119));
    let reply = broker.token(&id, "minSeconds=300").await;
    assert_eq!((reply.status, &reply.json["accessToken"]), (200, &first), "{}", reply.text);
    broker.clock.advance(Duration::from_mins(1));
    let reply = broker.token(&id, "").await;
    assert_eq!((reply.status, reply.code()), (503, "token_unavailable"), "{}", reply.text);
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(reply.json["error"].as_str().unwrap().contains("X (Twitter)"), "{}", reply.text);
    let detail = broker.detail(&id).await;
    assert_eq!(detail["authStatus"], "active", "an outage disconnects nobody");
    assert_eq!(detail["health"]["lastError"]["code"], "platform_unavailable");
    assert_eq!(detail["health"]["lastError"]["platformStatus"], 500);
    broker.sandbox().clear();
    let asked = || broker.sandbox().requests_at("twitter", Step::Refresh).len();
    let before = asked();
    assert_eq!(broker.token(&id, "").await.status, 503);
    assert_eq!(asked(), before, "a caller does not ask before the time that it was told");
    broker.clock.advance(Duration::from_secs(reply.header("retry-after").parse().unwrap()));
    let reply = broker.token(&id, "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(broker.detail(&id).await["health"]["lastError"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_needs_its_person_says_so() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    broker.sandbox().revoke_all("twitter");
    broker.clock.advance(Duration::from_hours(2));
    let reply = broker.token(&id, "").await;
    assert_eq!((reply.status, reply.code()), (422, "reconnect_required"), "{}", reply.text);
    assert!(reply.json["error"].as_str().unwrap().ends_with("connects it again."), "{}", reply.text);
    let asked = broker.sandbox().requests_at("twitter", Step::Refresh).len();
    assert_eq!(broker.token(&id, "").await.code(), "reconnect_required");
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Refresh).len(), asked, "nobody is asked again");
    let detail = broker.detail(&id).await;
    assert_eq!(
        (&detail["authStatus"], &detail["authFailureReason"]),
        (&json!("reconnect_required"), &json!("refresh_rejected"))
    );
    assert_eq!(broker.connect("twitter", "").await, id);
    assert_eq!(broker.token(&id, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_and_the_scheduler_make_one_refresh() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    for round in 0..200 {
        broker.clock.advance(Duration::from_hours(3));
        broker.sandbox().clear();
        let callers = futures_util::future::join_all((0..50).map(|_| broker.token(&id, "")));
        let (replies, _) = tokio::join!(callers, broker.refresh_due());
        let first = &replies[0];
        assert_eq!(first.status, 200, "round {round}: {}", first.text);
        assert!(replies.iter().all(|reply| reply.json == first.json), "round {round}");
        assert_eq!(broker.sandbox().requests_at("twitter", Step::Refresh).len(), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_a_refresh_token_lapses_by_its_own_time() {
    let scopes = "tweet.read,users.read";
    let broker = TestBroker::builder().setting("POSTPEER_PLATFORMS__TWITTER__SCOPES", scopes).start().await;
    let id = broker.connect("twitter", "").await;
    broker.clock.advance(Duration::from_secs(7199));
    let reply = broker.token(&id, "").await;
    assert_eq!((reply.status, reply.code()), (422, "token_too_short"), "{}", reply.text);
    assert_eq!(broker.token(&id, "minSeconds=1").await.status, 200);
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
    broker.clock.advance(Duration::from_secs(1));
    let listed = broker.get("/v1/connect/integrations").await.json["integrations"][0].take();
    for shown in [listed, broker.detail(&id).await] {
        assert_eq!(shown["authStatus"], "reconnect_required");
        assert_eq!(shown["authFailureReason"], "token_expired");
    }
    broker.clock.advance(Duration::from_mins(1));
    let detail = broker.detail(&id).await;
    assert_eq!(detail["updatedAt"], detail["accessTokenExpiresAt"], "it lapsed then");
    assert_eq!(
        (&detail["tokenStatus"]["valid"], &detail["tokenStatus"]["autoRefreshes"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(broker.token(&id, "minSeconds=0").await.code(), "reconnect_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_refresh_token_is_not_that_of_the_next() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let id = platform.connect(&broker, "ada").await;
    for (members, lasts) in [
        (r#","refresh_token":"r1","refresh_token_expires_in":86400"#, Some(86_400)),
        // The same token goes on, and ends when it did.
        ("", Some(79_200)),
        (r#","refresh_token":"r2""#, None),
    ] {
        broker.clock.advance(Duration::from_hours(2));
        let fresh = format!(r#"{{"access_token":"a","token_type":"bearer","expires_in":7200{members}}}"#);
        platform.answer_refreshes_with(Answer::Bytes(json_answer(&fresh)));
        assert_eq!(broker.refresh_due().await, 1, "{members}");
        let detail = broker.detail(&id).await;
        let issued_at = time(&detail["health"]["issuedAt"]).unwrap();
        let after = time(&detail["refreshTokenExpiresAt"]).map(|at| issued_at.until(at).as_secs());
        assert_eq!(after, lasts, "{members}: {detail}");
    }
    platform.answer_refreshes_with(Answer::Fresh);
    broker.clock.advance(Duration::from_hours(48));
    assert_eq!(broker.refresh_due().await, 1, "nobody has to reconnect");
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_where_its_lifetime_is_known() {
    for (key, life, lasts, due) in [
        // 0 stands for "never", or for nothing.
        ("", 0, None, None),
        ("token_lifetime_seconds = 600", 0, Some(600), Some(300)),
        ("token_lifetime_seconds = 600", 7200, Some(7200), Some(6300)),
        ("", 3, Some(3), Some(30)),
    ] {
        let platform = StandIn::start("quince").await;
        platform.next_lives([life]);
        let toml = format!("{}\n{key}", platform.toml());
        let broker = TestBroker::builder().toml(&toml).start().await;
        let id = platform.connect(&broker, "ada").await;
        let detail = broker.detail(&id).await;
        let issued_at = time(&detail["health"]["issuedAt"]).unwrap();
        let after = |shown: &Value| time(shown).map(|at| issued_at.until(at).as_secs());
        assert_eq!(after(&detail["accessTokenExpiresAt"]), lasts, "{key} {life}");
        // The time of a refresh varies by a tenth of what it is ahead of the expiry.
        let next = after(&detail["health"]["nextRefreshAt"]);
        assert!(next.zip(due).is_none_or(|(next, due)| next.abs_diff(due) <= 90), "{key} {life}: {next:?}");
        assert_eq!(next.is_some(), due.is_some(), "{key} {life}");
        assert_eq!(detail["tokenStatus"]["autoRefreshes"], due.is_some(), "{key} {life}");

        platform.answer_refreshes_with(Answer::Bytes(answer(400, "", br#"{"error":"invalid_grant"}"#)));
        broker.clock.advance(Duration::from_hours(2));
        broker.refresh_due().await;
        let ended = broker.detail(&id).await;
        assert_eq!(ended["tokenStatus"]["valid"], due.is_none(), "{key} {life}: {ended}");
        assert_eq!(ended["tokenStatus"]["autoRefreshes"], false, "{key} {life}: {ended}");
    }
}

fn time(shown: &Value) -> Option<Timestamp> {
    Timestamp::parse(shown.as_str()?)
}
