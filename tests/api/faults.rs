//! Faults in the middle of a refresh: a panic, a platform that never answers, a caller that resets its connection. The
//! next caller is not affected.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use postpeer::domain::entropy::{Entropy, SeededEntropy};
use postpeer::sandbox::Step;
use postpeer::telemetry;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::stand_in::{self, Answer, StandIn};
use crate::support::{Reply, TestBroker};

/// Number of random bytes drawn to seal a value. A refresh first seals the raw answer.
pub(crate) const TO_SEAL: usize = 24;
/// Number of random bytes drawn to spread due times. A refresh draws them after it has read the answer and before it
/// stores the tokens.
const TO_SPREAD: usize = 4;

/// Longer than the lifetime of any token in these tests.
const LONG: Duration = Duration::from_hours(3);

/// Entropy that panics the next time this many bytes are drawn, as a bug there would.
pub(crate) struct Tripwire {
    random: SeededEntropy,
    /// 0 for never.
    length: AtomicUsize,
}

impl Tripwire {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { random: SeededEntropy::new(42), length: AtomicUsize::new(0) })
    }

    pub(crate) fn set(&self, length: usize) {
        self.length.store(length, Ordering::SeqCst);
    }
}

impl Entropy for Tripwire {
    fn fill(&self, bytes: &mut [u8]) {
        let trips = self.length.compare_exchange(bytes.len(), 0, Ordering::SeqCst, Ordering::SeqCst);
        assert!(trips.is_err(), "the test wants a panic here");
        self.random.fill(bytes);
    }
}

/// Asserts that there is no token now, with a `Retry-After`.
pub(crate) fn assert_to_ask_again(reply: &Reply) {
    assert_eq!((reply.status, reply.code()), (503, "token_unavailable"), "{}", reply.text);
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
}

fn access(reply: &Reply) -> &str {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json["accessToken"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_one_refresh_and_nothing_else() {
    for (length, times_asked) in [(TO_SEAL, 2), (TO_SPREAD, 1)] {
        let (platform, tripwire) = (StandIn::start("quince").await, Tripwire::new());
        let broker = TestBroker::builder().toml(&platform.toml()).entropy(tripwire.clone()).start().await;
        let (ada, basil) = (platform.connect(&broker, "ada").await, platform.connect(&broker, "basil").await);
        broker.clock.advance(LONG);
        tripwire.set(length);
        assert_to_ask_again(&broker.token(&ada, "").await);

        // The same app: the panicked refresh has left its place.
        access(&broker.token(&basil, "").await);
        let next = broker.token(&ada, "").await;
        let asked = platform.asked().into_iter().filter(|token| token.contains("/ada/")).count();
        assert_eq!(asked, times_asked, "an answer that was kept is stored, and not asked for again");
        assert_eq!(broker.detail(&ada).await["health"]["state"], "ok");
        assert_eq!(access(&broker.token(&ada, "").await), access(&next));
        assert!(broker.broker().drain(Duration::from_secs(20)).await, "nothing is still under way");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_a_refresh_that_panics_is_told_to_retry_and_the_next_gets_a_token() {
    let (platform, tripwire) = (StandIn::start("quince").await, Tripwire::new());
    let broker = TestBroker::builder().toml(&platform.toml()).entropy(tripwire.clone()).start().await;
    let id = platform.connect(&broker, "ada").await;
    for round in 1..=20 {
        broker.clock.advance(LONG);
        tripwire.set(TO_SPREAD);
        let replies = join_all((0..20).map(|_| broker.token(&id, ""))).await;
        replies.iter().filter(|reply| reply.status != 200).for_each(assert_to_ask_again);
        access(&broker.token(&id, "").await);
        assert_eq!(platform.asked().len(), round, "its answer was kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_bug_does_not_call_the_platform_every_second() {
    let (platform, tripwire) = (StandIn::start("quince").await, Tripwire::new());
    let broker = TestBroker::builder().toml(&platform.toml()).entropy(tripwire.clone()).start().await;
    platform.connect(&broker, "ada").await;
    broker.clock.advance(LONG);
    for _ in 0..30 {
        tripwire.set(TO_SEAL);
        assert_eq!(broker.refresh_due().await, 0);
        broker.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(platform.asked().len(), 1);
    broker.clock.advance(Duration::from_mins(1));
    tripwire.set(0);
    assert_eq!(broker.refresh_due().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_readable_answer_replaces_an_unreadable_one() {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let id = platform.connect(&broker, "ada").await;
    let kept =
        || -> Option<Vec<u8>> { broker.sql().query_row("SELECT answer FROM grants", [], |row| row.get(0)).unwrap() };
    broker.clock.advance(LONG);
    platform.answer_refreshes_with(Answer::Bytes(stand_in::json(r#"{"data":{"fresh":"access"}}"#)));
    assert_to_ask_again(&broker.token(&id, "").await);
    let first = kept().unwrap();
    let refusals = [r#"{"data":[]}"#, r#"{"error":"temporarily_unavailable"}"#, r#"{"error":"invalid_grant"}"#];
    for refusal in refusals {
        broker.clock.advance(Duration::from_hours(1) + LONG);
        platform.answer_refreshes_with(Answer::Bytes(stand_in::json(refusal)));
        assert_eq!(broker.refresh_due().await, 0);
        assert_eq!(kept().as_ref(), Some(&first), "{refusal}");
    }
    assert_eq!(platform.asked().len(), 1 + refusals.len());
    let detail = broker.detail(&id).await;
    assert_eq!(detail["health"]["lastError"]["code"], "refresh_interrupted", "the first may have been new tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_grant_is_revived_when_its_stored_answer_can_be_read() {
    let (platform, tripwire) = (StandIn::start("quince").await, Tripwire::new());
    let broker = TestBroker::builder().toml(&platform.toml()).entropy(tripwire.clone()).start().await;
    let id = platform.connect(&broker, "ada").await;
    broker.clock.advance(LONG);
    // This version panics on an answer that the next one reads.
    tripwire.set(TO_SPREAD);
    assert_to_ask_again(&broker.token(&id, "").await);
    let end =
        "UPDATE grants SET status = 'reconnect_required', failure_reason = 'refresh_rejected', ended_at = updated_at,
        due_at = NULL WHERE answer IS NOT NULL";
    assert_eq!(broker.sql().execute(end, []).unwrap(), 1);
    assert_eq!(broker.token(&id, "").await.code(), "reconnect_required");

    broker.broker().recover().await.unwrap();
    assert!(broker.broker().drain(Duration::from_secs(20)).await);
    assert_eq!(access(&broker.token(&id, "").await), platform.issued().last().unwrap().replace("refresh", "access"));
    assert_eq!(platform.asked().len(), 1, "nobody was asked for it");
    assert_eq!(broker.detail(&id).await["health"]["state"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_too_late_to_be_understood_is_the_operators_to_correct() {
    correct_an_answer_that_came_too_late(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_gives_way_to_a_whole_answer_that_nobody_understood() {
    let cut_off = "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"access_token\":\"access/ada/lost\",\"refresh_tok";
    correct_an_answer_that_came_too_late(&[cut_off]).await;
}

/// `before`: what the platform answered to earlier refreshes.
async fn correct_an_answer_that_came_too_late(before: &[&str]) {
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().toml(&platform.toml()).start().await;
    let id = platform.connect(&broker, "ada").await;
    broker.clock.advance(LONG);
    for answer in before {
        platform.answer_refreshes_with(Answer::Bytes(answer.as_bytes().to_vec()));
        assert_to_ask_again(&broker.token(&id, "").await);
        broker.clock.advance(Duration::from_hours(1));
    }
    let nested =
        r#"{"data":{"access_token":"access/ada/nested","refresh_token":"refresh/ada/nested","expires_in":864000}}"#;
    platform.answer_refreshes_with(Answer::Bytes(stand_in::json(nested)));
    assert_to_ask_again(&broker.token(&id, "").await);
    platform.answer_refreshes_with(Answer::Bytes(stand_in::json(r#"{"error":"invalid_grant"}"#)));
    broker.clock.advance(Duration::from_hours(1));
    assert_eq!(broker.refresh_due().await, 0);
    let told = broker.detail(&id).await["health"]["lastError"].clone();
    assert_eq!(told["code"], "refresh_answer_unread", "{told}");
    assert_eq!(told["whoCanHelp"], "operator", "{told}");
    let refused = broker.token(&id, "").await;
    assert_eq!(refused.code(), "reconnect_required");
    for sentence in [refused.text.as_str(), told["nextStep"].as_str().unwrap()] {
        assert!(sentence.contains("token_pointer of [platforms.quince]"), "{sentence}");
    }

    let toml = format!("{}\ntoken_pointer = \"/data\"\n", platform.toml());
    let corrected = TestBroker::builder().toml(&toml).start().await;
    let reloaded = broker.reloaded(|config| config.platforms = corrected.config().platforms.clone()).await;
    assert!(reloaded.drain(Duration::from_secs(20)).await);
    assert_eq!(access(&broker.token(&id, "").await), "access/ada/nested");
    assert_eq!(broker.detail(&id).await["health"]["state"], "ok");
    assert_eq!(platform.asked().len(), before.len() + 2, "nobody was asked for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_an_answer_that_breaks_off_is_read_or_kept() {
    let whole = r#"{"access_token":"access/ada/cut","refresh_token":"refresh/ada/cut","expires_in":864000}"#;
    let form = "access_token=access/ada/cut&refresh_token=refresh/ada/c";
    for (body, is_read) in [(whole, true), (&whole[..whole.len() - 20], false), (form, false)] {
        let platform = StandIn::start("quince").await;
        let broker = TestBroker::builder().toml(&platform.toml()).start().await;
        let id = platform.connect(&broker, "ada").await;
        broker.clock.advance(LONG);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 2);
        platform.answer_refreshes_with(Answer::Bytes(answer.into_bytes()));
        let reply = broker.token(&id, "").await;
        let kept = "SELECT answer IS NOT NULL FROM grants";
        let is_kept: bool = broker.sql().query_row(kept, [], |row| row.get(0)).unwrap();
        assert_eq!(is_kept, !is_read, "{body}");
        if is_read {
            assert_eq!(access(&reply), "access/ada/cut");
        } else {
            assert_to_ask_again(&reply);
            let detail = broker.detail(&id).await;
            assert_eq!(detail["health"]["lastError"]["code"], "platform_unavailable", "{body}");
        }
        let stored = broker.database();
        assert!(!stored.windows(10).any(|part| part == b"access/ada"), "{body}: it is sealed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_never_answers_delays_only_its_own_callers_and_not_for_long() {
    let (slow, quick) = (StandIn::start("quince").await, StandIn::start("medlar").await);
    let both = format!("{}{}", slow.toml(), quick.toml());
    let broker = TestBroker::builder().toml(&both).setting("POSTPEER_OUTBOUND__TIMEOUT_SECONDS", "1").start().await;
    let (ada, basil) = (slow.connect(&broker, "ada").await, slow.connect(&broker, "basil").await);
    let other = quick.connect(&broker, "ada").await;
    broker.clock.advance(LONG);
    slow.answer_refreshes_with(Answer::Never);
    let asking = join_all((0..5).map(|_| broker.token(&ada, "")));
    let meanwhile = async {
        slow.asked_times(1).await;
        access(&broker.token(&other, "").await);
        assert_eq!(broker.get("/v1/connect/integrations?include=custom").await.json["total"], 3);
    };
    let (replies, ()) = tokio::join!(asking, meanwhile);
    replies.iter().for_each(assert_to_ask_again);
    assert_eq!(broker.detail(&ada).await["health"]["state"], "refresh_in_doubt");
    assert_eq!(broker.detail(&basil).await["health"]["state"], "ok", "of another grant nothing is told");

    let asked = slow.asked().len();
    slow.answer_refreshes_with(Answer::Fresh);
    assert_to_ask_again(&broker.token(&ada, "").await);
    assert_eq!(slow.asked().len(), asked, "who asks again at once waits with the others");
    broker.clock.advance(Duration::from_mins(1));
    for id in [&ada, &basil] {
        access(&broker.token(id, "").await);
    }
    // A scheduler's round meets it as well, and ends.
    broker.clock.advance(LONG);
    slow.answer_refreshes_with(Answer::Never);
    assert_eq!(broker.refresh_due().await, 1, "the other platform's");
    assert!(broker.broker().drain(Duration::from_secs(20)).await, "nothing is still under way");
}

/// Gauges belong to the process, so this test needs its own.
#[test]
fn gauges_return_to_zero() {
    let test = "faults::gauges_in_a_process_of_their_own";
    let output = Command::new(std::env::current_exe().unwrap()).args(["--ignored", "--exact", test]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "gauges_return_to_zero runs it alone"]
async fn gauges_in_a_process_of_their_own() {
    let metrics = telemetry::metrics();
    let gauge = |name: &str| -> f64 {
        let shown = metrics.render();
        shown.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().parse().unwrap()
    };
    let in_flight = || gauge("postpeer_refreshes_in_flight").to_string();
    let (platform, tripwire) = (StandIn::start("quince").await, Tripwire::new());
    let broker = TestBroker::builder()
        .toml(&platform.toml())
        .entropy(tripwire.clone())
        .setting("POSTPEER_OUTBOUND__TIMEOUT_SECONDS", "1")
        .start()
        .await;
    let id = platform.connect(&broker, "ada").await;
    assert_eq!(in_flight(), "0");
    broker.clock.advance(LONG);
    platform.hold();
    tripwire.set(TO_SPREAD);
    let (reply, ()) = tokio::join!(broker.token(&id, ""), async {
        platform.asked_times(1).await;
        assert_eq!(in_flight(), "1");
        platform.release();
    });
    assert_to_ask_again(&reply);
    assert_eq!(in_flight(), "0", "after a panic");
    access(&broker.token(&id, "").await);

    broker.clock.advance(LONG);
    platform.answer_refreshes_with(Answer::Never);
    assert_to_ask_again(&broker.token(&id, "").await);
    assert_eq!(in_flight(), "0", "after a platform that never answers");
    assert_eq!(gauge("postpeer_answers_unsaved").to_string(), "0");
    platform.answer_refreshes_with(Answer::Fresh);
    broker.clock.advance(LONG);
    assert_eq!(broker.refresh_due().await, 1);
    assert_eq!(gauge("postpeer_refreshes_due").to_string(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_connection_cancels_no_refresh() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let old = broker.token(&id, "").await.json["accessToken"].take();
    broker.clock.advance(LONG);
    let platforms = broker.sandbox();
    platforms.hold(Step::Refresh);
    let address = broker.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /v1/connect/integrations/{id}/token HTTP/1.1\r\nhost: {address}\r\nx-access-key: {}\r\n\r\n",
        broker.key
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    platforms.held(Step::Refresh).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    // By the time of the next answer, the server has noticed the reset.
    assert_eq!(broker.get("/v1/health").await.status, 200);
    platforms.release(Step::Refresh);

    assert!(broker.broker().drain(Duration::from_secs(20)).await, "it goes on without the caller");
    let stored = "SELECT generation FROM grants WHERE attempt_at IS NULL";
    let generation: u32 = broker.sql().query_row(stored, [], |row| row.get(0)).unwrap();
    assert_eq!(generation, 2);
    assert_ne!(access(&broker.token(&id, "").await), old);
    assert_eq!(platforms.requests_at("twitter", Step::Refresh).len(), 1);
}
