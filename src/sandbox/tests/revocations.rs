//! Revocation: by the broker, by the person, and by the clock.

use serde_json::json;

use super::bench::basic;
use super::*;
use crate::sandbox::{Answer, Step, client};

#[test]
fn x_revokes_one_access_token_or_by_the_refresh_token_the_grant() {
    let bench = Bench::start();
    let revoke = |token: &str, authorization: Option<&str>| {
        bench.post("/twitter/2/oauth2/revoke", &pairs(&[("token", token)]), authorization)
    };
    let basic = basic("twitter");
    let me = |token: &str| bench.get_as("/twitter/2/users/me", token).status;
    let tokens = bench.connect("twitter", &Answer::allow());
    let (access, refresh) = (tokens.text("/access_token"), tokens.text("/refresh_token"));
    assert_eq!(revoke(&access, None).status, 401);
    assert_eq!(me(&access), 200);
    let got = revoke(&access, basic.as_deref());
    assert_eq!((got.status, got.json()), (200, json!({"revoked": true})));
    assert_eq!(me(&access), 401);
    let access = {
        let tokens = bench.refresh("twitter", &refresh);
        assert_eq!(revoke(&tokens.text("/refresh_token"), basic.as_deref()).status, 200);
        tokens.text("/access_token")
    };
    assert_eq!(me(&access), 401);
    assert_eq!(bench.control.requests_at("twitter", Step::Revoke).len(), 3);
}

#[test]
fn google_revokes_the_whole_grant_with_either_token() {
    let bench = Bench::start();
    let first = bench.connect("youtube", &Answer::allow());
    let second = bench.connect("youtube", &Answer::allow());
    let other = bench.connect("youtube", &Answer::allow().account("basil"));
    let revoke = |token: &str| bench.post("/youtube/revoke", &pairs(&[("token", token)]), None);
    assert_eq!(revoke(&second.text("/access_token")).json(), json!({}));
    assert_eq!(bench.refresh("youtube", &first.text("/refresh_token")).text("/error"), "invalid_grant");
    assert_eq!(bench.refresh("youtube", &other.text("/refresh_token")).status, 200);
    let again = revoke(&second.text("/access_token"));
    assert_eq!((again.status, again.text("/error")), (400, "invalid_token".to_owned()));
}

#[test]
fn tiktok_revokes_by_the_access_token() {
    let bench = Bench::start();
    let (key, secret) = client("tiktok").unwrap();
    let tokens = bench.connect("tiktok", &Answer::allow());
    let revoke = |token: &str| {
        let form = pairs(&[("client_key", &key), ("client_secret", &secret), ("token", token)]);
        bench.post("/tiktok/v2/oauth/revoke/", &form, None)
    };
    assert_eq!(revoke(&tokens.text("/refresh_token")).text("/error"), "invalid_request");
    assert_eq!(revoke(&tokens.text("/access_token")).json(), json!({}));
    assert_eq!(bench.refresh("tiktok", &tokens.text("/refresh_token")).text("/error"), "invalid_grant");
}

#[test]
fn pinterest_refuses_to_revoke_and_linkedin_and_acme_revoke() {
    let bench = Bench::start();
    let token = bench.connect("pinterest", &Answer::allow()).text("/access_token");
    let got =
        bench.post("/pinterest/v5/oauth/token/revoke", &pairs(&[("token", &token)]), basic("pinterest").as_deref());
    assert_eq!((got.status, got.json()["code"].as_u64()), (403, Some(29)));

    let (id, secret) = client("linkedin").unwrap();
    let token = bench.connect("linkedin", &Answer::allow()).text("/access_token");
    let form = pairs(&[("client_id", &id), ("client_secret", &secret), ("token", &token)]);
    assert_eq!(bench.post("/linkedin/oauth/v2/revoke", &form, None).status, 200);
    assert_eq!(bench.get_as("/linkedin/v2/userinfo", &token).status, 401);

    let tokens = bench.connect("acme", &Answer::allow());
    let form = pairs(&[("token", &tokens.text("/refresh_token")), ("token_type_hint", "refresh_token")]);
    assert_eq!(bench.post("/acme/revoke", &form, basic("acme").as_deref()).status, 200);
    let got = bench.get_as("/acme/me", &tokens.text("/access_token"));
    assert_eq!((got.status, got.text("/error")), (401, "invalid_token".to_owned()));
    assert_eq!(bench.post("/acme/revoke", &form, basic("acme").as_deref()).status, 200, "unknown is fine (RFC 7009)");
}

#[test]
fn people_revoke_at_one_platform() {
    let bench = Bench::start();
    let x = bench.connect("twitter", &Answer::allow());
    let threads = bench.connect("threads", &Answer::allow());
    bench.control.revoke_all("threads");
    let me = bench.get(&format!("/threads/v1.0/me?access_token={}", threads.text("/access_token"))).json();
    assert_eq!((&me["error"]["code"], &me["error"]["error_subcode"]), (&json!(190), &json!(460)));
    assert_eq!(bench.get_as("/twitter/2/users/me", &x.text("/access_token")).status, 200, "nothing elsewhere");
}

#[test]
fn refresh_tokens_outlive_expired_access_tokens() {
    let bench = Bench::start();
    let tokens = bench.connect("twitter", &Answer::allow());
    let other = bench.connect("acme", &Answer::allow());
    bench.control.expire_access("twitter");
    assert_eq!(bench.get_as("/twitter/2/users/me", &tokens.text("/access_token")).status, 401);
    assert_eq!(bench.refresh("twitter", &tokens.text("/refresh_token")).status, 200);
    assert_eq!(bench.get_as("/acme/me", &other.text("/access_token")).status, 200);
}
