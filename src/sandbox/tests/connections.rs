//! Whole connections, and what differs between platforms in them.

use serde_json::json;

use super::*;
use crate::sandbox::{Answer, TokenKind, platforms};

#[test]
fn instagram_accepts_multipart_as_documented() {
    let bench = Bench::start();
    let form = bench::token_form("instagram", &bench.code("instagram", &Answer::allow()));
    let mut body = String::new();
    for (name, value) in &form {
        body.extend(["--b\r\nContent-Disposition: form-data; name=\"", name, "\"\r\n\r\n", value, "\r\n"]);
    }
    body.push_str("--b--\r\n");
    let headers = [("Content-Type", "multipart/form-data; boundary=b")];
    let got = bench.send("POST", "/instagram/oauth/access_token", &headers, &body).unwrap();
    assert_eq!(got.why(), (200, ""), "{}", got.body);
    let recorded = bench.control.requests_at("instagram", crate::sandbox::Step::Token).pop().unwrap();
    assert_eq!(recorded.form, form);
}

#[test]
fn linkedin_names_the_profile_to_apps_with_the_scope_only() {
    let bench = Bench::start();
    let vanity_name = |scope: Option<&str>| {
        let query = bench::authorize_query("linkedin");
        let query = if scope.is_some() { bench::with(query, "scope", scope) } else { query };
        let callback = bench.callback_of("linkedin", &query, &Answer::allow());
        let tokens = bench.exchange("linkedin", &bench::token_form("linkedin", &callback[0].1));
        bench.get_as("/linkedin/v2/me", &tokens.access_token())
    };
    assert_eq!(vanity_name(None).why(), (403, "the scope r_basicprofile was not granted"));
    assert_eq!(vanity_name(Some("openid profile r_basicprofile")).text("/vanityName"), "ada-marlow");
}

#[test]
fn threads_inspects_tokens() {
    let bench = Bench::start();
    let token = bench.connect("threads", &Answer::allow()).text("/access_token");
    let other = bench.connect("threads", &Answer::allow().account("basil")).text("/access_token");
    let inspect =
        |input: &str, own: &str| bench.get(&format!("/threads/debug_token?input_token={input}&access_token={own}"));
    assert_eq!(
        inspect(&other, &token).json(),
        json!({"data": {
            "is_valid": true, "scopes": ["threads_basic", "threads_content_publish"], "type": "USER",
            "user_id": "17841405793187219",
        }})
    );
    assert_eq!(inspect(&token, "guessed").why(), (400, "the access token is not one of this client's"));
    assert_eq!(inspect("guessed", &token).why(), (400, "the access token is not one of this client's"));
}

#[test]
fn tiktok_refuses_profile_fields_without_the_profile_scope() {
    let bench = Bench::start();
    let callback = bench.callback("tiktok", &Answer::allow().scopes(&["video.publish"]));
    assert_eq!(callback[1], ("scopes".to_owned(), "user.info.basic,video.publish".to_owned()));
    let got = bench.exchange("tiktok", &bench::token_form("tiktok", &callback[0].1));
    assert_eq!(got.text("/scope"), "user.info.basic,video.publish");
    let refused = bench.get_as(&bench::identity_path("tiktok"), &got.text("/access_token"));
    assert_eq!((refused.status, refused.text("/error/code")), (400, "scope_permission_missed".to_owned()));
    let fewer = "/tiktok/v2/user/info/?fields=open_id,union_id,avatar_url,display_name";
    assert_eq!(bench.get_as(fewer, &got.text("/access_token")).status, 200);
}

#[test]
fn x_gives_a_refresh_token_with_offline_access_only() {
    let bench = Bench::start();
    let query = bench::with(bench::authorize_query("twitter"), "scope", Some("tweet.read users.read"));
    let code = &bench.callback_of("twitter", &query, &Answer::allow())[0].1;
    let online = bench.exchange("twitter", &bench::token_form("twitter", code)).json();
    assert_eq!(online.get("refresh_token"), None);
}

#[test]
fn google_gives_a_refresh_token_once_unless_prompted_again() {
    let bench = Bench::start();
    let connect = |name: &str, value: Option<&str>| {
        let query = bench::with(bench::authorize_query("youtube"), name, value);
        let code = bench.callback_of("youtube", &query, &Answer::allow())[0].1.clone();
        bench.exchange("youtube", &bench::token_form("youtube", &code)).json().get("refresh_token").is_some()
    };
    assert!(!connect("access_type", None), "never without access_type=offline");
    assert!(connect("prompt", None), "at the first consent");
    assert!(!connect("prompt", None), "not at the second");
    assert!(!connect("prompt", Some("select_account")));
    assert!(connect("prompt", Some("select_account consent")), "asked again");
}

#[test]
fn google_grants_only_what_stayed_ticked() {
    let bench = Bench::start();
    let got = bench.connect("youtube", &Answer::allow().scopes(&[""]));
    assert_eq!(got.text("/scope"), "openid profile email");
    assert_eq!(bench.identity("youtube", &got.access_token()).status, 403);
}

#[test]
fn the_handle_knows_every_issued_code_and_token() {
    let bench = Bench::start();
    for platform in platforms() {
        bench.connect(platform, &Answer::allow());
        let kinds: Vec<TokenKind> = bench.control.issued(platform).iter().map(|issued| issued.kind).collect();
        assert!(kinds.contains(&TokenKind::Code) && kinds.contains(&TokenKind::Access), "{platform}: {kinds:?}");
    }
}
