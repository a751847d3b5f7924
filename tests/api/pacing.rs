//! Rounds of refreshes and the pace of calls: no app takes another's places, the most urgent grant is found during a
//! round, and a failure counts only against the grant or app that it concerns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use postpeer::broker::apps::AppChange;
use postpeer::domain::access_key::Scope;
use postpeer::domain::time::Clock as _;
use postpeer::sandbox::{self, Answer as Consent, Fault, Step, bluesky_accounts, own_client};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::alive::next_refresh;
use crate::faults::{TO_SEAL, Tripwire, assert_to_ask_again};
use crate::stand_in::{Answer, StandIn, answer, json as answer_json};
use crate::support::{TestBroker, parameter};

/// Longer than any token of these tests lives.
const LONG: Duration = Duration::from_hours(3);

/// Runs a round, and something else meanwhile.
async fn during_a_round(broker: &TestBroker, meanwhile: impl Future<Output = ()>) -> usize {
    let (refreshed, ()) = tokio::join!(broker.refresh_due(), meanwhile);
    refreshed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_app_takes_no_more_places_than_its_platform_takes_calls() {
    let (slow, quick) = (StandIn::start("quince").await, StandIn::start("medlar").await);
    let both = format!("{}{}", slow.toml(), quick.toml());
    let broker = TestBroker::builder().toml(&both).setting("POSTPEER_REFRESH__CONCURRENCY", "4").start().await;
    for account in ["a", "b", "c", "d", "e", "f"] {
        slow.next_lives([3600]);
        slow.connect(&broker, account).await;
        quick.connect(&broker, account).await;
    }
    broker.clock.advance(LONG);
    slow.hold();
    let refreshed = during_a_round(&broker, async {
        quick.asked_times(6).await;
        assert_eq!(slow.asked().len(), 1);
        slow.release();
    });
    assert_eq!(refreshed.await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_count_after_a_reload() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    for account in ["a", "b"] {
        platform.connect(&broker, account).await;
    }
    broker.clock.advance(LONG);
    platform.hold();
    let refreshed = during_a_round(&broker, async {
        platform.asked_times(1).await;
        let reloaded = broker.reloaded(|_| ()).await;
        let stop = CancellationToken::new();
        let round = tokio::time::timeout(Duration::from_millis(300), reloaded.refresher().refresh_due(&stop)).await;
        assert!(round.is_err(), "the round does not wait for the call in flight");
        assert_eq!(platform.asked().len(), 1, "the app is asked twice at a time before it has answered once");
        platform.release();
    });
    assert_eq!(refreshed.await, 2);
}

/// With the credentials of before, they would teach the app of the new ones that those are wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_waits_over_a_reload_goes_on_with_the_new_configuration() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let without = TestBroker::start().await;
    let mut ids = Vec::new();
    for account in ["a", "b", "c"] {
        ids.push(platform.connect(&broker, account).await);
    }
    broker.clock.advance(LONG);
    platform.hold();
    let reading = futures_util::future::join_all(ids.iter().map(|id| broker.token(id, "")));
    let (read, _reloaded) = tokio::join!(reading, async {
        platform.asked_times(1).await;
        let reloaded = broker.reloaded(|config| config.platforms = without.config().platforms.clone()).await;
        platform.release();
        reloaded
    });
    assert_eq!(platform.asked().len(), 1, "a platform that is no longer configured was asked");
    assert_eq!(read.iter().filter(|reply| reply.status == 200).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_corrected_in_the_configuration_is_tried_at_once_after_the_reload() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    for account in ["a", "b", "c", "d"] {
        platform.connect(&broker, account).await;
    }
    broker.clock.advance(LONG);
    platform.answer_refreshes_with(Answer::Bytes(answer(401, "", br#"{"error":"invalid_client"}"#)));
    assert_eq!(broker.refresh_due().await, 0);
    platform.answer_refreshes_with(Answer::Fresh);
    assert_eq!(broker.refresh_due().await, 0, "the app is paused");
    let stop = CancellationToken::new();
    let reloaded = broker.reloaded(|_| ()).await;
    assert_eq!(reloaded.refresher().refresh_due(&stop).await.unwrap().refreshed, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_comes_after_the_secret_was_corrected_postpones_nothing() {
    for (status, body) in [(401, br#"{"error":"invalid_client"}"#.as_slice()), (400, br#"{"error":"invalid_request"}"#)]
    {
        let platform = StandIn::start("quince").await;
        let broker = TestBroker::builder().toml(&platform.toml()).start().await;
        let id = platform.connect(&broker, "ada").await;
        broker.clock.advance(LONG);
        platform.hold();
        platform.answer_refreshes_with(Answer::Bytes(answer(status, "", body)));
        let (read, reloaded) = tokio::join!(broker.token(&id, ""), async {
            platform.asked_times(1).await;
            let reloaded = broker.reloaded(|_| ()).await;
            platform.release();
            reloaded
        });
        assert_eq!(read.status, 503, "{}", read.text);
        platform.answer_refreshes_with(Answer::Fresh);
        let stop = CancellationToken::new();
        assert_eq!(reloaded.refresher().refresh_due(&stop).await.unwrap().refreshed, 1, "{status}");
    }
}

/// A client that hangs up drops its call in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_ends_the_pause_of_its_app_even_where_the_client_hangs_up() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let app = json!({"platform": "quince", "name": "Own", "clientId": "ours", "clientSecret": "old"});
    let app = broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
    for account in ["a", "b", "c"] {
        let url = broker.begin("quince", &format!("redirectUri=https://app.example/back&appId={app}")).await;
        let state = parameter(&url, "state").unwrap();
        let back = format!("/v1/connect/quince/callback?code={account}&state={state}");
        assert!(broker.browse(&back).await.location().contains("status=success"));
    }
    broker.clock.advance(LONG);
    platform.answer_refreshes_with(Answer::Bytes(answer(401, "", br#"{"error":"invalid_client"}"#)));
    assert_eq!(broker.refresh_due().await, 0);
    platform.answer_refreshes_with(Answer::Fresh);

    let caller = broker.broker().authenticate(&broker.key, None).await.unwrap();
    let change = AppChange { client_secret: Some("new".into()), ..AppChange::default() };
    let db = broker.sql();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let call = broker.broker().update_app(&caller, &app, change);
    assert!(call.now_or_never().is_none(), "the database was not held");
    db.execute_batch("COMMIT").unwrap();
    assert!(broker.broker().drain(Duration::from_secs(30)).await);
    assert_eq!(broker.refresh_due().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_first_is_found_while_others_land_all_the_time() {
    let platform = StandIn::start("quince").await;
    let builder = TestBroker::builder().toml(&platform.toml()).setting("POSTPEER_REFRESH__CONCURRENCY", "1");
    let broker = builder.start().await;
    for number in 0..20 {
        platform.connect(&broker, &number.to_string()).await;
    }
    // Due, and not expired for another 10 minutes.
    broker.clock.advance(Duration::from_mins(110));
    platform.take_its_time(Duration::from_millis(200));
    platform.next_lives([60]);
    let refreshed = during_a_round(&broker, async {
        platform.asked_times(1).await;
        platform.connect(&broker, "urgent").await;
        broker.clock.advance(Duration::from_secs(59));
    });
    assert_eq!(refreshed.await, 21);
    let place = platform.asked().iter().position(|token| token.contains("/urgent/")).unwrap();
    assert!(place < 12, "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_panicked_comes_back_in_a_round_that_does_not_end() {
    let (slow, quick, tripwire) = (StandIn::start("quince").await, StandIn::start("medlar").await, Tripwire::new());
    let both = format!("{}{}", slow.toml(), quick.toml());
    let broker = TestBroker::builder().toml(&both).entropy(tripwire.clone()).start().await;
    slow.connect(&broker, "ada").await;
    quick.connect(&broker, "ada").await;
    broker.clock.advance(LONG);
    slow.hold();
    tripwire.set(TO_SEAL);
    let has_landed = AtomicBool::new(false);
    let refreshed = async {
        let refreshed = broker.refresh_due().await;
        has_landed.store(true, Ordering::SeqCst);
        refreshed
    };
    let meanwhile = async {
        quick.asked_times(1).await;
        // The grant is skipped for a minute from the panic on, which may come after a step of the clock.
        while tokio::time::timeout(Duration::from_millis(100), quick.asked_times(2)).await.is_err() {
            assert!(!has_landed.load(Ordering::SeqCst), "it is the same round");
            broker.clock.advance(Duration::from_secs(61));
        }
        assert!(!has_landed.load(Ordering::SeqCst), "it is the same round");
        slow.release();
    };
    assert_eq!(tokio::join!(refreshed, meanwhile).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_changed_its_answers_is_not_sent_every_token() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(platform.connect(&broker, &number.to_string()).await);
    }
    broker.clock.advance(LONG);
    platform.answer_refreshes_with(Answer::Bytes(answer_json(r#"{"tokens":["of","another","kind"]}"#)));
    assert_eq!(broker.refresh_due().await, 0);
    assert_eq!(platform.asked().len(), 3);
    for id in &ids {
        assert_eq!(broker.detail(id).await["health"]["lastError"]["code"], "platform_answer_unreadable");
    }
    platform.answer_refreshes_with(Answer::Fresh);
    // No longer than tokens are renewed early.
    broker.clock.advance(Duration::from_mins(6));
    assert!(broker.refresh_due().await >= 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_place_of_tokens_pauses_no_other_account() {
    let page = "<html><body><input name=\"csrf_token\">We are down for maintenance</body></html>";
    for (status, body) in [(200, page), (200, ""), (204, ""), (200, "{}"), (200, "null"), (200, "Back soon.")] {
        let platform = StandIn::start("quince").await;
        let broker = TestBroker::builder().toml(&platform.toml()).start().await;
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(platform.connect(&broker, &number.to_string()).await);
        }
        broker.clock.advance(LONG);
        for number in 0..4 {
            let bytes = answer(status, "Content-Type: text/html\r\n", body.as_bytes());
            platform.answer_refreshes_of(&number.to_string(), Answer::Bytes(bytes));
        }
        assert_eq!(broker.refresh_due().await, 1, "{status} {body}");
        assert_eq!(platform.asked().len(), 5, "{status} {body}");
        for (number, id) in ids.iter().enumerate() {
            let expected = if number < 4 { json!("platform_answer_unreadable") } else { json!(null) };
            assert_eq!(broker.detail(id).await["health"]["lastError"]["code"], expected, "{status} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_secret_is_refused_for_does_not_pause_the_new() {
    let broker = TestBroker::start().await;
    let (client_id, secret) = own_client("twitter").unwrap();
    let body = json!({"platform": "twitter", "name": "Ours", "clientId": client_id, "clientSecret": secret});
    let app = broker.call("POST", "/v1/apps", Some(body)).await.json["app"]["id"].as_str().unwrap().to_owned();
    for account in ["ada", "basil"] {
        broker.connect_with("twitter", &format!("appId={app}"), &Consent::allow().account(account)).await;
    }
    let path = format!("/v1/apps/{app}");
    let set_secret = async |secret: &str| {
        let set = broker.call("PATCH", &path, Some(json!({"clientSecret": secret}))).await;
        assert_eq!(set.status, 200, "{}", set.text);
    };
    set_secret("wrong").await;
    // The secret before is tried for a day.
    broker.clock.advance(Duration::from_hours(25));
    broker.sandbox().hold(Step::Refresh);
    let refreshed = during_a_round(&broker, async {
        broker.sandbox().held(Step::Refresh).await;
        set_secret(&secret).await;
        broker.sandbox().release(Step::Refresh);
    });
    assert_eq!(refreshed.await, 2, "the one that the old secret was refused for is tried again at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_begins_no_refresh() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let (ada, basil) = (platform.connect(&broker, "ada").await, platform.connect(&broker, "basil").await);
    broker.clock.advance(LONG);
    platform.hold();
    let stopping = async {
        platform.asked_times(1).await;
        let (waited, ()) = tokio::join!(broker.token(&basil, ""), async {
            // Time for the caller to queue behind the first refresh. Should it come late, it is refused just the same.
            tokio::time::sleep(Duration::from_millis(300)).await;
            broker.broker().refresher().stop();
        });
        assert_to_ask_again(&waited);
        platform.release();
    };
    let (under_way, ()) = tokio::join!(broker.token(&ada, ""), stopping);
    assert_eq!(under_way.status, 200, "{}", under_way.text);
    assert_to_ask_again(&broker.token(&basil, "").await);
    assert_eq!(broker.refresh_due().await, 0);
    assert_eq!(platform.asked().len(), 1);
    assert_eq!(broker.detail(&basil).await["health"]["state"], "ok", "nothing is held against it");
}

/// Connects an account in the project of the broker's key. Returns the integration's id.
async fn connect(broker: &TestBroker, platform: &str, account: &str) -> String {
    if platform != "bluesky" {
        return broker.connect_with(platform, "", &Consent::allow().account(account)).await;
    }
    let account = bluesky_accounts().iter().find(|known| known.handle.starts_with(account)).unwrap();
    let body = json!({"identifier": account.handle, "password": account.app_password});
    let reply = broker.call("POST", "/v1/connect/bluesky/auth", Some(body)).await;
    reply.json["integration"]["id"].as_str().unwrap_or_else(|| panic!("{}", reply.text)).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_account_delays_none_of_three_healthy_ones() {
    // LinkedIn issues refresh tokens only to approved apps.
    let (client_id, secret) = own_client("linkedin").unwrap();
    for platform in sandbox::platforms().chain(["bluesky"]) {
        let mut broker = TestBroker::builder()
            .setting("POSTPEER_PLATFORMS__LINKEDIN__CLIENT_ID", &client_id)
            .setting("POSTPEER_PLATFORMS__LINKEDIN__CLIENT_SECRET", &secret)
            .start()
            .await;
        let mut accounts = Vec::new();
        let mut due = broker.clock.now();
        for key in [broker.key.clone(), broker.key("theirs", Scope::ALL).await] {
            broker.key = key;
            for account in ["ada", "basil"] {
                let id = connect(&broker, platform, account).await;
                due = due.max(next_refresh(&broker, &id).await);
                accounts.push((broker.key.clone(), id));
            }
        }
        broker.sandbox().fail_next(platform, Step::Refresh, Fault::Revoked, 1).unwrap();
        broker.clock.set(due);
        assert_eq!(broker.refresh_due().await, 3, "{platform}");
        assert_eq!(broker.sandbox().requests_at(platform, Step::Refresh).len(), 4, "{platform}");
        let mut states = Vec::new();
        for (key, id) in accounts {
            broker.key = key;
            states.push(broker.detail(&id).await["health"]["state"].as_str().unwrap().to_owned());
        }
        states.sort();
        assert_eq!(states, ["ok", "ok", "ok", "reconnect_required"], "{platform}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_one_account_pauses_no_other_whatever_it_says() {
    let refusals = [
        (401, r#"{"code":283,"message":"The authorization grant is invalid"}"#),
        (401, r#"{"error":"invalid_token"}"#),
        (401, r#"{"error":"invalid_client"}"#),
        (401, r#"{"error":"unauthorized_client","error_description":"Issued to another client"}"#),
        (401, r#"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#),
        (401, r#"{"message":"Unauthorized"}"#),
        (401, ""),
        (403, "<html>Forbidden</html>"),
        (403, r#"{"error":"access_denied"}"#),
        (402, r#"{"title":"CreditsDepleted"}"#),
        (400, r#"{"error":{"code":4,"message":"limit"}}"#),
        (503, r#"{"error":"invalid_client"}"#),
    ];
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    for account in ["a", "b", "c"] {
        platform.connect(&broker, account).await;
    }
    for (status, body) in refusals {
        platform.connect(&broker, "dead").await;
        platform.answer_refreshes_of("dead", Answer::Bytes(answer(status, "", body.as_bytes())));
        broker.clock.advance(LONG);
        assert_eq!(broker.refresh_due().await, 3, "{status} {body}");
    }
    assert_eq!(platform.asked().len(), 4 * refusals.len(), "each is asked once in every round");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_accounts_of_one_project_pause_no_other_project() {
    let platform = StandIn::start("quince").await;
    let mut broker = TestBroker::builder().toml(&platform.toml()).start().await;
    platform.connect(&broker, "known").await;
    broker.clock.advance(LONG);
    assert_eq!(broker.refresh_due().await, 1);
    platform.next_lives([540]);
    let ours = platform.connect(&broker, "ours").await;

    let theirs = broker.key("theirs", Scope::ALL).await;
    let our_key = std::mem::replace(&mut broker.key, theirs);
    let mut refused = Vec::new();
    for account in ["a", "b", "c", "d"] {
        platform.next_lives([360]);
        refused.push(platform.connect(&broker, account).await);
        platform.answer_refreshes_of(account, Answer::Bytes(answer(401, "", b"")));
    }
    broker.clock.advance(Duration::from_mins(7));
    for id in refused {
        let reply = broker.token(&id, "").await;
        assert_eq!(reply.status, 503, "{}", reply.text);
    }
    assert_eq!(platform.asked().len(), 4, "the fourth of them waits alone");

    broker.key = our_key;
    broker.clock.advance(Duration::from_mins(3));
    assert_eq!(broker.token(&ours, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_refused_while_others_succeed_is_to_be_reconnected() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let dead = platform.connect(&broker, "dead").await;
    platform.connect(&broker, "healthy").await;
    platform.answer_refreshes_of("dead", Answer::Bytes(answer(401, "", b"")));
    let mut told = Vec::new();
    for _ in 0..3 {
        broker.clock.advance(LONG);
        assert_eq!(broker.refresh_due().await, 1);
        told.push(broker.detail(&dead).await["health"]["lastError"]["code"].take());
    }
    assert_eq!(told, ["app_or_grant_rejected", "app_or_grant_rejected", "refresh_rejected"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_alone_is_refused_with_a_code_for_more_than_a_day_is_to_be_reconnected() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let dead = platform.connect(&broker, "dead").await;
    platform.connect(&broker, "healthy").await;
    platform.answer_refreshes_of("dead", Answer::Bytes(answer(403, "", br#"{"error":"access_denied"}"#)));
    let mut told = Vec::new();
    for _ in 0..6 {
        broker.clock.advance(Duration::from_hours(7));
        assert_eq!(broker.refresh_due().await, 1);
        told.push(broker.detail(&dead).await["health"]["lastError"]["code"].take());
    }
    assert_eq!(told[..5], ["request_refused"; 5]);
    assert_eq!(told[5], "refresh_rejected");
    assert_eq!(broker.detail(&dead).await["authStatus"], "reconnect_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_that_refuses_all_accounts_ends_none() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let late = platform.connect(&broker, "late").await;
    platform.connect(&broker, "healthy").await;
    platform.answer_refreshes_with(Answer::Bytes(answer(400, "", br#"{"error":"maintenance"}"#)));
    for _ in 0..12 {
        broker.clock.advance(Duration::from_hours(7));
        assert_eq!(broker.refresh_due().await, 0);
    }
    // It ends for one of them first.
    platform.answer_refreshes_of("healthy", Answer::Fresh);
    for _ in 0..4 {
        broker.clock.advance(Duration::from_hours(7));
        assert_eq!(broker.refresh_due().await, 1);
    }
    assert_eq!(broker.detail(&late).await["health"]["lastError"]["code"], "request_refused");
    platform.answer_refreshes_with(Answer::Fresh);
    broker.clock.advance(Duration::from_hours(7));
    assert_eq!(broker.refresh_due().await, 2);
    assert_eq!(broker.detail(&late).await["health"]["state"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_in_front_of_a_platform_ends_an_account() {
    for (page, code) in [
        ("<html>401 Authorization Required</html>", "platform_unavailable"),
        ("Authorization required", "app_or_grant_rejected"),
    ] {
        let platform = StandIn::start("quince").await;
        let broker = TestBroker::builder().toml(&platform.toml()).start().await;
        let refused = platform.connect(&broker, "refused").await;
        platform.connect(&broker, "healthy").await;
        platform.answer_refreshes_of("refused", Answer::Bytes(answer(401, "", page.as_bytes())));
        for _ in 0..5 {
            broker.clock.advance(LONG);
            assert_eq!(broker.refresh_due().await, 1);
        }
        let detail = broker.detail(&refused).await;
        assert_eq!(detail["authStatus"], "active", "{detail}");
        assert_eq!(detail["health"]["lastError"]["code"], code, "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_says_what_a_code_means() {
    // The server may have acted although it says 500, so a refresh without a verdict is in doubt.
    for (meaning, state, code) in [
        ("reconnect", "reconnect_required", "refresh_rejected"),
        ("app", "refresh_in_doubt", "credentials_rejected"),
        ("retry", "refresh_in_doubt", "platform_unavailable"),
    ] {
        let platform = StandIn::start("quince").await;
        let toml = format!("{}errors = {{ token_gone = \"{meaning}\" }}\n", platform.toml());
        let broker = TestBroker::builder().toml(&toml).start().await;
        let id = platform.connect(&broker, "ada").await;
        platform.answer_refreshes_with(Answer::Bytes(answer(500, "", br#"{"error":"token_gone"}"#)));
        broker.clock.advance(LONG);
        assert_eq!(broker.refresh_due().await, 0);
        let health = broker.detail(&id).await["health"].take();
        assert_eq!((&health["state"], &health["lastError"]["code"]), (&json!(state), &json!(code)), "{meaning}");
    }
}

/// A grant whose row cannot be written is retried once a minute, whatever the write was.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_let_alone_beyond_the_round() {
    for (platform, forbidden, asked) in [("twitter", "attempt_at", 1), ("instagram", "due_at", 0)] {
        let broker = TestBroker::start().await;
        let id = broker.connect(platform, "").await;
        if platform == "twitter" {
            broker.clock.advance(LONG);
        } else {
            // Instagram refreshes no token in its first day. Only a wrong clock makes such a grant due.
            broker.sql().execute("UPDATE grants SET due_at = 1", []).unwrap();
        }
        let forbid = format!(
            "CREATE TRIGGER no BEFORE UPDATE OF {forbidden} ON grants BEGIN SELECT RAISE(ABORT, 'the test wants it'); END"
        );
        broker.sql().execute(&forbid, []).unwrap();
        let stop = CancellationToken::new();
        let tried = async || {
            let round =
                tokio::time::timeout(Duration::from_secs(20), broker.broker().refresher().refresh_due(&stop)).await;
            round.expect("the round ends").unwrap().tried
        };
        assert_eq!((tried().await, tried().await, tried().await), (1, 0, 0), "{platform}");
        broker.clock.advance(Duration::from_mins(1));
        assert_eq!((tried().await, tried().await), (1, 0), "{platform}");
        broker.sql().execute("DROP TRIGGER no", []).unwrap();
        broker.clock.advance(Duration::from_mins(1));
        assert_eq!(tried().await, 1, "{platform}");
        assert_eq!(broker.sandbox().requests_at(platform, Step::Refresh).len(), asked, "{platform}");
        assert_eq!(broker.detail(&id).await["health"]["state"], "ok", "{platform}");
    }
}
