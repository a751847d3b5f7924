//! A whole connection at each platform, and the accounts that answer differently.

use serde_json::{Value, json};

use super::*;
use crate::sandbox::{Answer, TokenKind, platforms};

const ME_AT_X: &str = "/twitter/2/users/me?user.fields=profile_image_url,name,username,verified";
const ME_AT_TIKTOK: &str = "/tiktok/v2/user/info/?fields=open_id,union_id,avatar_url,display_name,username";
const CHANNELS: &str = "/youtube/youtube/v3/channels?part=snippet&mine=true";
const ME_AT_THREADS: &str = "/threads/v1.0/me?fields=id,username,name,threads_profile_picture_url&access_token=";
const ME_AT_INSTAGRAM: &str =
    "/instagram/v23.0/me?fields=user_id,username,name,profile_picture_url,account_type&access_token=";

fn who(bench: &Bench, platform: &str, target: &str, answer: &Answer) -> Value {
    let token = bench.connect(platform, answer).text("/access_token");
    let got = bench.get_as(target, &token);
    assert_eq!(got.status, 200, "{}", got.body);
    bench.redacted(platform, &got)
}

fn access_token(answer: &Got) -> String {
    let flat = answer.text("/access_token");
    if flat.is_empty() { answer.text("/data/0/access_token") } else { flat }
}

/// The account with a short-lived token at Threads or Instagram.
fn who_at_meta(bench: &Bench, platform: &str, target: &str, account: &str) -> Got {
    let token = access_token(&bench.connect(platform, &Answer::allow().account(account)));
    bench.get(&format!("{target}{token}"))
}

#[test]
fn acme() {
    let bench = Bench::start();
    let got = bench.connect("acme", &Answer::allow());
    assert_eq!(
        bench.redacted("acme", &got),
        json!({
            "access_token": "<access>", "refresh_token": "<refresh>", "id_token": "<id>", "token_type": "Bearer",
            "expires_in": 3600, "scope": "openid profile offline_access",
        })
    );
    assert_eq!(
        who(&bench, "acme", "/acme/me", &Answer::allow()),
        json!({
            "sub": "b7a1c0de-0001", "name": "Ada Marlow", "preferred_username": "ada",
            "picture": "{base}/acme/pictures/ada.svg",
        })
    );
    let basil = who(&bench, "acme", "/acme/me", &Answer::allow().account("basil"));
    assert_eq!(basil, json!({"sub": "b7a1c0de-0002", "name": "Basil <b>Quince</b> & Söhne 🦊"}));
}

#[test]
fn instagram_wrapped_flat_and_refused() {
    let bench = Bench::start();
    let permissions = "instagram_business_basic,instagram_business_content_publish";
    let wrapped = bench.connect("instagram", &Answer::allow());
    assert_eq!(
        bench.redacted("instagram", &wrapped),
        json!({"data": [{"access_token": "<access>", "user_id": "17841400001000017", "permissions": permissions}]})
    );
    let flat = bench.connect("instagram", &Answer::allow().account("basil"));
    assert_eq!(
        bench.redacted("instagram", &flat),
        json!({
            "access_token": "<access>", "user_id": 17_841_400_001_000_018_u64,
            "permissions": ["instagram_business_basic", "instagram_business_content_publish"],
        })
    );
    assert_eq!(
        bench.redacted("instagram", &who_at_meta(&bench, "instagram", ME_AT_INSTAGRAM, "ada")),
        json!({"data": [{
            "id": "17841400001000017", "user_id": "17841400000000017", "username": "ada.marlow", "name": "Ada Marlow",
            "account_type": "BUSINESS", "profile_picture_url": "{base}/instagram/pictures/ada.svg",
        }]})
    );
    assert_eq!(
        who_at_meta(&bench, "instagram", ME_AT_INSTAGRAM, "basil").json(),
        json!({
            "id": "17841400001000018", "user_id": "17841400000000018", "username": "basil.quince",
            "account_type": "MEDIA_CREATOR",
        })
    );
    let personal = who_at_meta(&bench, "instagram", ME_AT_INSTAGRAM, "personal");
    assert_eq!(personal.status, 400);
    assert!(personal.text("/error/message").contains("not an Instagram Business"));
}

#[test]
fn instagram_takes_multipart_as_its_documentation_has_it() {
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
fn linkedin() {
    let bench = Bench::start();
    let got = bench.connect("linkedin", &Answer::allow());
    assert_eq!(
        bench.redacted("linkedin", &got),
        json!({
            "access_token": "<access>", "expires_in": 5_184_000, "scope": "openid,profile,email,w_member_social",
            "token_type": "Bearer", "id_token": "<id>", "refresh_token": "<refresh>",
            "refresh_token_expires_in": 31_536_000,
        })
    );
    assert_eq!(
        who(&bench, "linkedin", "/linkedin/v2/userinfo", &Answer::allow()),
        json!({
            "sub": "782bbtaQad", "name": "Ada Marlow", "given_name": "Ada", "family_name": "Marlow",
            "picture": "{base}/linkedin/pictures/ada.svg", "locale": {"country": "US", "language": "en"},
            "email": "ada@example.com", "email_verified": true,
        })
    );
    let basil = who(&bench, "linkedin", "/linkedin/v2/userinfo", &Answer::allow().account("basil"));
    assert_eq!((basil.get("picture"), &basil["locale"]), (None, &json!("de_DE")));
    let token = got.text("/access_token");
    assert_eq!(bench.get_as("/linkedin/v2/me", &token).why(), (403, "the scope r_basicprofile was not granted"));
    let query = bench::with(bench::authorize_query("linkedin"), "scope", Some("openid profile r_basicprofile"));
    let callback = bench.callback_of("linkedin", &query, &Answer::allow());
    let token = bench.exchange("linkedin", &bench::token_form("linkedin", &callback[0].1)).text("/access_token");
    assert_eq!(bench.get_as("/linkedin/v2/me", &token).text("/vanityName"), "ada-marlow");
}

#[test]
fn pinterest() {
    let bench = Bench::start();
    let got = bench.connect("pinterest", &Answer::allow());
    assert_eq!(
        bench.redacted("pinterest", &got),
        json!({
            "response_type": "authorization_code", "access_token": "<access>", "refresh_token": "<refresh>",
            "token_type": "bearer", "expires_in": 2_592_000, "refresh_token_expires_in": 5_184_000,
            "refresh_token_expires_at": bench::NOW / 1000 + 5_184_000,
            "scope": "boards:read,boards:write,pins:read,pins:write,user_accounts:read",
        })
    );
    let ada = who(&bench, "pinterest", "/pinterest/v5/user_account", &Answer::allow());
    assert_eq!(
        (&ada["id"], &ada["username"], &ada["business_name"], &ada["account_type"]),
        (&json!("549755885175"), &json!("adamarlow"), &json!("Marlow & Daughters"), &json!("BUSINESS"))
    );
    let basil = who(&bench, "pinterest", "/pinterest/v5/user_account", &Answer::allow().account("basil"));
    assert_eq!((&basil["business_name"], &basil["account_type"]), (&Value::Null, &json!("PINNER")));
}

#[test]
fn threads() {
    let bench = Bench::start();
    let got = bench.connect("threads", &Answer::allow());
    assert_eq!(
        bench.redacted("threads", &got),
        json!({"access_token": "<access>", "user_id": 17_841_405_793_187_218_u64})
    );
    assert!(got.body.contains("\"user_id\":17841405793187218"), "{}", got.body);
    assert_eq!(
        bench.redacted("threads", &who_at_meta(&bench, "threads", ME_AT_THREADS, "ada")),
        json!({
            "id": "17841405793187218", "username": "ada.marlow", "name": "Ada Marlow",
            "threads_profile_picture_url": "{base}/threads/pictures/ada.svg",
        })
    );
    assert_eq!(
        who_at_meta(&bench, "threads", ME_AT_THREADS, "basil").json(),
        json!({"id": "17841405793187219", "username": "basil.quince"})
    );
}

#[test]
fn threads_tells_what_a_token_is_good_for() {
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
fn tiktok() {
    let bench = Bench::start();
    let got = bench.connect("tiktok", &Answer::allow());
    assert_eq!(
        bench.redacted("tiktok", &got),
        json!({
            "access_token": "<access>", "expires_in": 7200, "open_id": "-000AdaMarlowSandboxOpenId",
            "refresh_token": "<refresh>", "refresh_expires_in": 15_552_000,
            "scope": "user.info.basic,user.info.profile,video.publish,video.upload", "token_type": "Bearer",
        })
    );
    let ada = who(&bench, "tiktok", ME_AT_TIKTOK, &Answer::allow());
    assert_eq!(
        ada["data"]["user"],
        json!({
            "open_id": "-000AdaMarlowSandboxOpenId", "union_id": "union--000AdaMarlowSandboxOpenId",
            "avatar_url": "{base}/tiktok/pictures/ada.svg", "display_name": "Ada Marlow", "username": "ada.marlow",
        })
    );
    assert_eq!(ada["error"]["code"], "ok");
}

#[test]
fn tiktok_without_the_profile_scope() {
    let bench = Bench::start();
    let callback = bench.callback("tiktok", &Answer::allow().scopes(&["video.publish"]));
    assert_eq!(callback[1], ("scopes".to_owned(), "user.info.basic,video.publish".to_owned()));
    let got = bench.exchange("tiktok", &bench::token_form("tiktok", &callback[0].1));
    assert_eq!(got.text("/scope"), "user.info.basic,video.publish");
    let refused = bench.get_as(ME_AT_TIKTOK, &got.text("/access_token"));
    assert_eq!((refused.status, refused.text("/error/code")), (400, "scope_permission_missed".to_owned()));
    let fewer = "/tiktok/v2/user/info/?fields=open_id,union_id,avatar_url,display_name";
    assert_eq!(bench.get_as(fewer, &got.text("/access_token")).status, 200);
}

#[test]
fn twitter() {
    let bench = Bench::start();
    let got = bench.connect("twitter", &Answer::allow());
    assert_eq!(
        bench.redacted("twitter", &got),
        json!({
            "token_type": "bearer", "expires_in": 7200, "access_token": "<access>", "refresh_token": "<refresh>",
            "scope": "tweet.read tweet.write users.read media.write offline.access",
        })
    );
    assert_eq!(
        who(&bench, "twitter", ME_AT_X, &Answer::allow()),
        json!({"data": {
            "id": "2244994945", "name": "Ada Marlow", "username": "ada_marlow", "verified": false,
            "profile_image_url": "{base}/twitter/pictures/ada.svg",
        }})
    );
    let query = bench::with(bench::authorize_query("twitter"), "scope", Some("tweet.read users.read"));
    let code = &bench.callback_of("twitter", &query, &Answer::allow())[0].1;
    let online = bench.exchange("twitter", &bench::token_form("twitter", code)).json();
    assert_eq!(online.get("refresh_token"), None, "only with offline.access");
}

#[test]
fn youtube() {
    let bench = Bench::start();
    let got = bench.connect("youtube", &Answer::allow());
    assert_eq!(
        bench.redacted("youtube", &got),
        json!({
            "access_token": "<access>", "refresh_token": "<refresh>", "id_token": "<id>", "expires_in": 3599,
            "token_type": "Bearer",
            "scope": "openid profile email https://www.googleapis.com/auth/youtube.upload https://www.googleapis.com/auth/youtube.readonly",
        })
    );
    let ada = who(&bench, "youtube", CHANNELS, &Answer::allow());
    assert_eq!(ada["items"][0]["id"], "UC4Rk0sandboxAdaMarlowX0");
    assert_eq!(
        ada["items"][0]["snippet"],
        json!({
            "title": "Ada Marlow", "description": "", "customUrl": "@adamarlow",
            "thumbnails": {"default": {"url": "{base}/youtube/pictures/ada.svg", "width": 88, "height": 88}},
        })
    );
    let basil = who(&bench, "youtube", CHANNELS, &Answer::allow().account("basil"));
    assert_eq!(basil["items"][0]["snippet"].get("customUrl"), None);
    let viewer = who(&bench, "youtube", CHANNELS, &Answer::allow().account("viewer"));
    assert_eq!(viewer["items"], json!([]));
}

#[test]
fn google_gives_a_refresh_token_once_unless_asked_again() {
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
fn google_leaves_out_what_was_unticked() {
    let bench = Bench::start();
    let got = bench.connect("youtube", &Answer::allow().scopes(&[""]));
    assert_eq!(got.text("/scope"), "openid profile email");
    assert_eq!(bench.get_as(CHANNELS, &got.text("/access_token")).status, 403);
}

#[test]
fn everything_issued_is_known_to_the_handle() {
    let bench = Bench::start();
    for platform in platforms() {
        bench.connect(platform, &Answer::allow());
        let kinds: Vec<TokenKind> = bench.control.issued(platform).iter().map(|issued| issued.kind).collect();
        assert!(kinds.contains(&TokenKind::Code) && kinds.contains(&TokenKind::Access), "{platform}: {kinds:?}");
    }
}
