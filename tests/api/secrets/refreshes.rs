//! Secrets in refreshes: every success and failure, unreadable answers, doubts and ends. A token appears only in the
//! answer that hands it out.

use std::collections::BTreeSet;
use std::time::Duration;

use postpeer::sandbox::{self, Answer as SandboxAnswer, Fault, Step, bluesky_accounts};
use postpeer::telemetry;
use serde_json::json;

use super::needles::Needles;
use super::{Watched, assert_silent};
use crate::logs;
use crate::stand_in::{self, Answer, StandIn, answer};
use crate::support::{Reply, TestBroker, parameter};

const SEED: u64 = 79;
/// The secret in unreadable answers.
const UNREAD: &str = "token-in-an-answer-that-nobody-understands-5d20c1";

/// A day and an hour: some tokens can be refreshed only after a day.
const LONG: Duration = Duration::from_hours(25);

/// States and error codes that accounts went through, and the number of tokens handed out.
#[derive(Default)]
struct Seen {
    states: BTreeSet<String>,
    codes: BTreeSet<String>,
    handed_out: usize,
}

impl Seen {
    /// Asks for a token. The answer carries it once, and is recorded without it.
    async fn token(&mut self, watched: &mut Watched, id: &str, query: &str) -> Reply {
        let mut reply = watched.broker.token(id, query).await;
        if reply.status == 200 {
            let token = reply.json["accessToken"].as_str().unwrap().to_owned();
            assert_eq!(reply.text.matches(&token).count(), 1);
            reply.text = reply.text.replace(&token, "");
            self.handed_out += 1;
        }
        watched.keep("GET …/token", &reply);
        reply
    }

    /// Refreshes for a caller, then for the scheduler, and records the account's state.
    async fn refresh(&mut self, watched: &mut Watched, id: &str) {
        watched.broker.clock.advance(LONG);
        self.token(watched, id, "").await;
        watched.broker.clock.advance(LONG);
        watched.broker.refresh_due().await;
        self.token(watched, id, "minSeconds=0").await;
        let detail =
            watched.call("GET", &format!("/v1/connect/integrations/{id}"), None).await.json["integration"].take();
        self.states.insert(detail["health"]["state"].as_str().unwrap().to_owned());
        self.codes.insert(detail["health"]["lastError"]["code"].as_str().unwrap_or("-").to_owned());
        watched.call("GET", "/v1/connect/integrations?include=custom", None).await;
    }
}

async fn connect(watched: &Watched, platform: &str) -> String {
    if platform == "bluesky" {
        let ada = &bluesky_accounts()[0];
        let body = json!({"identifier": ada.handle, "password": ada.app_password});
        let reply = watched.broker.call("POST", "/v1/connect/bluesky/auth", Some(body)).await;
        return reply.json["integration"]["id"].as_str().unwrap().to_owned();
    }
    let broker = &watched.broker;
    let url = broker.begin(platform, "redirectUri=https://app.example/back").await;
    // The broker may listen on another port since a restart.
    let reply = broker.arrive(&broker.consent(&url, &SandboxAnswer::allow())).await;
    parameter(&broker.land(platform, reply.location()).await, "integrationId").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_leaves_while_tokens_are_kept_alive() {
    logs::capture();
    let metrics = telemetry::metrics();
    let platform = StandIn::start("quince").await;
    let broker = TestBroker::builder().seed(SEED).toml(&platform.toml()).start().await;
    let mut watched = Watched { keys: vec![broker.key.clone()], ..Watched::over(broker) };
    let mut seen = Seen::default();

    let odd = platform.connect(&watched.broker, "sweep").await;
    for platform in sandbox::platforms().chain(["bluesky"]) {
        every_fault(&mut watched, &mut seen, platform).await;
    }
    odd_answers(&mut watched, &mut seen, &platform, &odd).await;
    assert!(seen.handed_out > 100, "{}", seen.handed_out);
    let states: Vec<_> = seen.states.iter().map(String::as_str).collect();
    assert_eq!(states, ["ok", "reconnect_required", "refresh_failing", "refresh_in_doubt"]);
    for code in [
        "-",
        "platform_answer_unreadable",
        "platform_throttled",
        "platform_unavailable",
        "refresh_interrupted",
        "refresh_rejected",
    ] {
        assert!(seen.codes.contains(code), "{code}: {:?}", seen.codes);
    }

    let needles = needles(&watched, &platform);
    let kept =
        watched.broker.sql().query_row("SELECT count(*) FROM grants WHERE answer IS NOT NULL", [], |row| row.get(0));
    assert!(kept.unwrap_or(0_u32) > 0, "an answer is in there now, and the tokens");
    assert_silent(&needles, "the database", &watched.broker.database());
    for (what, answer) in &watched.answers {
        assert_silent(&needles, what, answer.as_bytes());
    }
    assert_silent(&needles, "the metrics", metrics.render().as_bytes());
    assert_silent(&needles, "the log", logs::text().as_bytes());
}

/// Every fault of a refresh at one platform, a restart while in doubt, and a revocation.
async fn every_fault(watched: &mut Watched, seen: &mut Seen, platform: &str) {
    let sandbox = watched.broker.sandbox();
    let mut id = connect(watched, platform).await;
    for fault in Fault::ALL {
        let fault = if let Fault::Slow(_) = fault { Fault::Slow(Duration::from_millis(1)) } else { fault };
        sandbox.fail_next(platform, Step::Refresh, fault, 3).unwrap();
        seen.refresh(watched, &id).await;
        sandbox.clear();
        if fault == Fault::Lost {
            watched.broker.restart().await;
        }
        // The doubt is resolved, or the owner must reconnect.
        seen.refresh(watched, &id).await;
        if seen.token(watched, &id, "").await.status != 200 {
            id = connect(watched, platform).await;
        }
    }
    sandbox.revoke_all(platform);
    seen.refresh(watched, &id).await;
}

/// Malformed answers and refusals that contain tokens.
async fn odd_answers(watched: &mut Watched, seen: &mut Seen, platform: &StandIn, id: &str) {
    for odd in [
        stand_in::json(&format!(r#"{{"access_token":"{UNREAD}""#)),
        stand_in::json(&format!(r#"{{"access_token":["{UNREAD}"],"refresh_token":"{UNREAD}"}}"#)),
        stand_in::json(&format!("access_token={UNREAD}&refresh_token={UNREAD}")),
        stand_in::json(&format!(r#"{{"access_token":"{UNREAD}","error":"{UNREAD}"}}"#)),
        stand_in::json(&format!(r#"{{"error":"invalid_request","error_description":"{UNREAD} is no token"}}"#)),
        stand_in::json(&format!(r#"{{"error":{{"code":190,"message":"{UNREAD}"}}}}"#)),
        answer(400, "", format!(r#"{{"error":"invalid_request","error_description":"{UNREAD}"}}"#).as_bytes()),
        answer(401, "", UNREAD.as_bytes()),
        answer(302, &format!("Location: /?access_token={UNREAD}\r\n"), UNREAD.as_bytes()),
        answer(429, &format!("Retry-After: {UNREAD}\r\n"), UNREAD.as_bytes()),
        answer(502, "", format!("<html>{UNREAD}").as_bytes()),
        UNREAD.as_bytes().to_vec(),
    ] {
        platform.answer_refreshes_with(Answer::Bytes(odd));
        seen.refresh(watched, id).await;
        watched.broker.restart().await;
        seen.refresh(watched, id).await;
    }
    // The last answer stays unreadable.
    platform.answer_refreshes_with(Answer::Fresh);
    seen.refresh(watched, id).await;
    platform.answer_refreshes_with(Answer::Bytes(stand_in::json(UNREAD)));
    seen.refresh(watched, id).await;
}

fn needles(watched: &Watched, platform: &StandIn) -> Needles {
    let mut needles = Needles::default();
    let sandbox = watched.broker.sandbox();
    let mut issued = 0;
    for name in sandbox::platforms().chain(["bluesky"]) {
        for token in sandbox.issued(name) {
            issued += 1;
            needles.add(&format!("{name}: {:?}", token.kind), token.value.as_bytes());
        }
    }
    assert!(issued > 300, "{issued}");
    for token in platform.issued() {
        needles.add("a token of the operator's own platform", token.as_bytes());
    }
    needles.add("an answer that nobody understands", UNREAD.as_bytes());
    for key in &watched.keys {
        needles.add("access key", key.as_bytes());
    }
    needles
}
