//! The controls: in process and over HTTP.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use super::bench::{CALLBACK, token_form};
use super::*;
use crate::sandbox::{Answer, Fault, Step};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn post(bench: &Bench, path: &str, body: &Value) -> Got {
    bench.send("POST", path, &[JSON], &body.to_string()).unwrap()
}

#[test]
fn requests_are_recorded_as_sent() {
    let bench = Bench::start();
    let code = bench.code("twitter", &Answer::allow());
    bench.exchange("twitter", &token_form("twitter", &code));
    bench.exchange("twitter", &token_form("twitter", &code));
    let [authorize, exchange, replay] = &bench.control.requests()[..] else { panic!("not three") };
    assert_eq!((authorize.step, authorize.parameter("redirect_uri")), (Step::Authorize, Some(CALLBACK)));
    assert_eq!((exchange.step, exchange.status, &exchange.why), (Step::Token, Some(200), &None));
    assert_eq!((exchange.method.as_str(), exchange.path.as_str()), ("POST", "/2/oauth2/token"));
    assert_eq!(exchange.form, token_form("twitter", &code));
    assert!(exchange.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
    assert_eq!((replay.status, replay.why.as_deref()), (Some(400), Some("the code was used before")));

    let over_http = bench.get("/_control/requests").json();
    assert_eq!(over_http["requests"], serde_json::to_value(bench.control.requests()).unwrap());
    assert_eq!(over_http["requests"][1]["form"][1], json!(["code", code]));
    bench.control.clear();
    assert_eq!(bench.control.requests().len(), 0);
}

#[test]
fn faults_are_ordered_over_http() {
    let bench = Bench::start();
    let order = json!({"platform": "twitter", "step": "identity", "fault": "429", "times": 2});
    assert_eq!(post(&bench, "/_control/faults", &order).json(), json!({"ok": true}));
    let slow = json!({"platform": "twitter", "step": "identity", "fault": "slow", "delayMs": 0});
    assert_eq!(post(&bench, "/_control/faults", &slow).status, 200);
    let statuses: Vec<u16> = (0..3).map(|_| bench.get("/twitter/2/users/me").status).collect();
    assert_eq!(statuses, [429, 429, 401]);
    for (bad, why) in [
        (json!({"platform": "myspace", "step": "token", "fault": "drop"}), "the sandbox does not imitate 'myspace'"),
        (json!({"platform": "twitter", "step": "tokens", "fault": "drop"}), "step: 'tokens' is not known here"),
        (json!({"platform": "twitter", "step": "token", "fault": "fire"}), "fault: 'fire' is not known here"),
        (json!({"platform": "twitter", "step": "token"}), "missing field `fault`"),
        (json!({"platform": "twitter", "step": "token", "fault": "drop", "count": 1}), "unknown field `count`"),
    ] {
        let got = post(&bench, "/_control/faults", &bad);
        assert_eq!(got.status, 400);
        assert!(got.text("/error").starts_with(why), "{}", got.body);
    }
    post(&bench, "/_control/faults", &order);
    assert_eq!(post(&bench, "/_control/reset", &json!({})).status, 200);
    assert_eq!(bench.get("/twitter/2/users/me").status, 401, "forgotten");
}

#[test]
fn pages_of_other_sites_cannot_use_the_controls() {
    let bench = Bench::start();
    let body = json!({"platform": "twitter"}).to_string();
    let text = bench.send("POST", "/_control/revoke", &[("Content-Type", "text/plain")], &body).unwrap();
    assert_eq!(text.status, 415);
    let page = bench.send("POST", "/_control/reset", &[("Origin", "https://evil.example")], "").unwrap();
    assert_eq!(page.status, 415);
    assert_eq!(bench.send("OPTIONS", "/_control/reset", &[], "").unwrap().status, 404);
    assert_eq!(bench.get("/_control/faults").status, 404);
}

#[test]
fn tokens_are_revoked_and_expired_over_http() {
    let bench = Bench::start();
    let tokens = bench.connect("twitter", &Answer::allow());
    let me = || bench.get_as("/twitter/2/users/me", &tokens.text("/access_token")).status;
    assert_eq!(post(&bench, "/_control/expire", &json!({"platform": "tiktok"})).status, 200);
    assert_eq!(me(), 200);
    assert_eq!(post(&bench, "/_control/expire", &json!({"platform": "twitter"})).status, 200);
    assert_eq!(me(), 401);
    assert_eq!(post(&bench, "/_control/revoke", &json!({"platform": "twitter"})).status, 200);
    assert_eq!(bench.refresh("twitter", &tokens.text("/refresh_token")).status, 400);
    assert_eq!(post(&bench, "/_control/revoke", &json!({"platform": "myspace"})).status, 400);
}

#[test]
fn a_held_answer_is_sent_when_released() {
    let bench = Bench::start();
    let form = token_form("twitter", &bench.code("twitter", &Answer::allow()));
    assert_eq!(post(&bench, "/_control/hold", &json!({"step": "token"})).status, 200);
    let (got, ()) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| bench.exchange("twitter", &form));
        let control = bench.control.clone();
        let releasing = scope.spawn(move || {
            wait(control.held(Step::Token));
            assert_eq!(control.requests_at("twitter", Step::Token)[0].status, None, "not answered yet");
            control.release(Step::Token);
        });
        (asking.join().unwrap(), releasing.join().unwrap())
    });
    assert_eq!(got.why(), (200, ""));
    wait(bench.control.seen("twitter", Step::Token, 1));
}

#[test]
fn a_hanging_request_blocks_no_other() {
    let bench = Bench::start();
    bench.control.fail_next("twitter", Step::Identity, Fault::Hang, 1).unwrap();
    let address = bench.sandbox.base_url().trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET /twitter/2/users/me HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    wait(bench.control.seen("twitter", Step::Identity, 1));
    assert_eq!(bench.get("/twitter/2/users/me").status, 401);
    let statuses: Vec<Option<u16>> =
        bench.control.requests_at("twitter", Step::Identity).iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, Some(401)]);
    stream.set_nonblocking(true).unwrap();
    assert!(stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "no answer");
}

#[test]
fn a_stopped_sandbox_does_not_answer() {
    let Bench { sandbox, .. } = Bench::start();
    let address = sandbox.base_url().trim_start_matches("http://").to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    wait(sandbox.stop());
    assert!(std::net::TcpStream::connect(&address).is_err());
}

/// Blocks until `future` is done.
fn wait(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}
