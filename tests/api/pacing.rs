//! Rounds of refreshes and the pace of calls: no app takes another's places, the most urgent grant is found during a
//! round, and a failure counts only against the grant or app that it concerns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postpeer::sandbox::{Answer as Consent, Fault, Step};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::faults::{TO_SEAL, Tripwire, assert_to_ask_again};
use crate::stand_in::{Answer, StandIn, json as answer_json};
use crate::support::TestBroker;

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
    broker.clock.advance(Duration::from_mins(61));
    assert!(broker.refresh_due().await >= 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_secret_is_refused_for_does_not_pause_the_new() {
    let broker = TestBroker::start().await;
    let (client_id, secret) = postpeer::sandbox::own_client("twitter").unwrap();
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
    broker.clock.advance(LONG);
    broker.sandbox().hold(Step::Refresh);
    let refreshed = during_a_round(&broker, async {
        broker.sandbox().held(Step::Refresh).await;
        set_secret(&secret).await;
        broker.sandbox().release(Step::Refresh);
    });
    assert_eq!(refreshed.await, 1, "the one that had not been asked for");
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

#[tokio::test(flavor = "multi_thread")]
async fn one_account_that_pinterest_refuses_pauses_no_other() {
    let broker = TestBroker::start().await;
    let [ada, basil] = ["ada", "basil"].map(|account| Consent::allow().account(account));
    let ada = broker.connect_with("pinterest", "", &ada).await;
    let basil = broker.connect_with("pinterest", "", &basil).await;
    broker.clock.advance(Duration::from_hours(40 * 24));
    broker.sandbox().fail_next("pinterest", Step::Refresh, Fault::Revoked, 4).unwrap();
    // The scheduler leaves basil for the end.
    let hold_back = format!(
        "UPDATE grants SET due_at = 4102444800000 WHERE id = (SELECT grant_id FROM integrations WHERE id = '{basil}')"
    );
    broker.sql().execute(&hold_back, []).unwrap();
    for _ in 0..4 {
        broker.refresh_due().await;
        broker.clock.set(crate::alive::next_refresh(&broker, &ada).await);
    }
    assert_eq!(broker.sandbox().requests_at("pinterest", Step::Refresh).len(), 4);
    assert_eq!(broker.token(&basil, "").await.status, 200);
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
