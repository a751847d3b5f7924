//! Ordered faults.

use std::time::Duration;

use serde_json::json;

use super::bench::{basic, encode, refresh_form, token_form};
use super::*;
use crate::sandbox::{Answer, Fault, Step, platforms};

fn raw_refresh(bench: &Bench, token: &str) -> Option<Got> {
    let headers =
        [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", &basic("twitter").unwrap())];
    bench.send("POST", "/twitter/2/oauth2/token", &headers, &encode(&refresh_form("twitter", token)))
}

#[test]
fn each_fault_fails_as_described_and_leaves_the_token_unspent() {
    let bench = Bench::start();
    let mut token = bench.connect("twitter", &Answer::allow()).text("/refresh_token");
    let spent = json!({"error": "invalid_request", "error_description": "Value passed for the token was invalid."});
    for fault in Fault::ALL {
        if matches!(fault, Fault::Lost | Fault::Slow(_)) {
            continue;
        }
        bench.control.fail_next("twitter", Step::Refresh, fault, 1).unwrap();
        let got = raw_refresh(&bench, &token);
        match fault {
            Fault::Drop => assert!(got.is_none(), "an answer: {got:?}"),
            Fault::Empty => assert_eq!(got.map(|got| (got.status, got.body)), Some((200, String::new()))),
            Fault::Expired | Fault::Revoked => {
                assert_eq!(got.map(|got| (got.status, got.json())), Some((400, spent.clone())));
            }
            Fault::Garbage => {
                let got = got.unwrap();
                assert!(got.status == 200 && serde_json::from_str::<serde_json::Value>(&got.body).is_err());
            }
            Fault::Html => {
                let got = got.unwrap();
                assert_eq!((got.status, got.header("content-type")), (200, Some("text/html; charset=utf-8")));
            }
            Fault::OkError => assert_eq!(got.map(|got| (got.status, got.json())), Some((200, spent.clone()))),
            Fault::NoQuota => assert_eq!(got.map(|got| got.status), Some(429)),
            Fault::Oversized => {
                let got = got.unwrap();
                assert_eq!((got.status, got.body.len() > 16_000_000), (200, true));
            }
            Fault::RateLimited => {
                let got = got.unwrap();
                assert_eq!((got.status, got.header("retry-after")), (429, Some("30")));
            }
            Fault::ServerError => assert_eq!(got.map(|got| got.status), Some(500)),
            Fault::Hang | Fault::Lost | Fault::Slow(_) => unreachable!("skipped above"),
        }
        let after = raw_refresh(&bench, &token).unwrap();
        assert_eq!(after.status, 200, "after {fault:?}: {}", after.body);
        token = after.text("/refresh_token");
    }
}

#[test]
fn a_lost_answer_spends_the_token() {
    let bench = Bench::start();
    let token = bench.connect("twitter", &Answer::allow()).text("/refresh_token");
    bench.control.fail_next("twitter", Step::Refresh, Fault::Lost, 1).unwrap();
    assert!(raw_refresh(&bench, &token).is_none());
    assert_eq!(raw_refresh(&bench, &token).unwrap().why(), (400, "the refresh token was used before"));
    let statuses: Vec<Option<u16>> =
        bench.control.requests_at("twitter", Step::Refresh).iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, Some(400)]);
}

#[test]
fn a_slow_answer_succeeds() {
    let bench = Bench::start();
    let token = bench.connect("twitter", &Answer::allow()).text("/refresh_token");
    bench.control.fail_next("twitter", Step::Refresh, Fault::Slow(Duration::ZERO), 1).unwrap();
    assert_eq!(raw_refresh(&bench, &token).unwrap().status, 200);
}

#[test]
fn faults_happen_in_order_as_often_and_only_where_ordered() {
    let bench = Bench::start();
    bench.control.fail_next("twitter", Step::Identity, Fault::ServerError, 2).unwrap();
    bench.control.fail_next("twitter", Step::Identity, Fault::RateLimited, 1).unwrap();
    let token = bench.connect("twitter", &Answer::allow()).text("/access_token");
    let statuses: Vec<u16> = (0..4).map(|_| bench.get_as("/twitter/2/users/me", &token).status).collect();
    assert_eq!(statuses, [500, 500, 429, 200]);
    let error = bench.control.fail_next("myspace", Step::Token, Fault::Drop, 1).unwrap_err();
    assert!(error.to_string().starts_with("the sandbox does not imitate 'myspace'"));
}

#[test]
fn the_consent_page_orders_faults_for_its_own_connection() {
    let bench = Bench::start();
    for platform in platforms() {
        let troubled = bench.code(platform, &Answer::allow().fault("500"));
        let untroubled = bench.code(platform, &Answer::allow());
        assert_eq!(bench.exchange(platform, &token_form(platform, &untroubled)).status, 200, "{platform}");
        assert_eq!(bench.exchange(platform, &token_form(platform, &troubled)).status, 500, "{platform}");
        assert_eq!(bench.exchange(platform, &token_form(platform, &troubled)).status, 200, "{platform}: once");
    }
    let tokens = bench.connect("twitter", &Answer::allow().fault("identity:html"));
    let me = || bench.get_as("/twitter/2/users/me", &tokens.text("/access_token"));
    assert!(me().body.starts_with("<!doctype html>"));
    assert_eq!(me().status, 200);
    let tokens = bench.connect("twitter", &Answer::allow().fault("refresh:revoked"));
    assert_eq!(bench.refresh("twitter", &tokens.text("/refresh_token")).status, 400);
}

#[test]
fn the_consent_page_orders_broken_callbacks() {
    let bench = Bench::start();
    let state = ("state".to_owned(), "a state/with=signs".to_owned());
    let empty = bench.callback("twitter", &Answer::allow().fault("callback_empty"));
    assert_eq!(empty, std::slice::from_ref(&state));
    let error = bench.callback("twitter", &Answer::allow().fault("callback_error"));
    assert_eq!((&error[0].1[..], &error[2]), ("server_error", &state));
    let fewer = |platform| bench.connect(platform, &Answer::allow().fault("denied_scopes")).text("/scope");
    assert_eq!(fewer("tiktok"), "user.info.basic");
    assert_eq!(fewer("youtube"), "openid profile email");
    assert_eq!(fewer("twitter"), "tweet.read");
    let url = bench.authorize_url("twitter", &bench::authorize_query("twitter"));
    for nonsense in ["nonsense", "token:nonsense", "nonsense:500"] {
        let refused = bench.control.consent(&url, &Answer::allow().fault(nonsense)).unwrap_err();
        assert!(refused.why.contains("'nonsense' is not known here"), "{}", refused.why);
    }
}

#[test]
fn faults_at_the_browsers_steps_are_pages() {
    let bench = Bench::start();
    let url = bench.authorize_url("twitter", &bench::authorize_query("twitter"));
    let target = url.trim_start_matches(bench.sandbox.base_url());
    for (fault, status) in [(Fault::ServerError, 500), (Fault::RateLimited, 429), (Fault::Revoked, 400)] {
        bench.control.fail_next("twitter", Step::Authorize, fault, 1).unwrap();
        let got = bench.get(target);
        assert_eq!(got.status, status);
        assert!(got.body.contains("The sandbox was told to fail here."), "{}", got.body);
    }
    assert_eq!(bench.get(target).status, 200);
}
