//! Renewing tokens: rotation, lifetimes, and the platforms that renew the access token itself.

use serde_json::{Value, json};

use super::bench::{authorize_query, basic_of, refresh_form, token_form, with};
use super::*;
use crate::sandbox::{Answer, client, own_client, platforms, self_serve_client};

const DAY: u64 = 24 * 60 * 60;

#[test]
fn a_used_refresh_token_is_either_replaced_and_dead_or_stays_valid() {
    let bench = Bench::start();
    let mut rotating = Vec::new();
    for platform in platforms() {
        let first = bench.connect(platform, &Answer::allow()).text("/refresh_token");
        if first.is_empty() {
            continue;
        }
        let refreshed = bench.refresh(platform, &first);
        assert_eq!(refreshed.why(), (200, ""), "{platform}");
        assert_eq!(bench.identity(platform, &refreshed.access_token()).status, 200, "{platform}");
        let second = refreshed.text("/refresh_token");
        if second.is_empty() || second == first {
            assert_eq!(bench.refresh(platform, &first).why(), (200, ""), "{platform}: it stays");
            continue;
        }
        rotating.push(platform);
        assert_eq!(bench.refresh(platform, &second).why(), (200, ""), "{platform}: the newest works");
        assert_eq!(bench.refresh(platform, &first).refusal(), "the refresh token was used before", "{platform}");
    }
    assert!(["acme", "pinterest", "tiktok", "twitter"].iter().all(|known| rotating.contains(known)), "{rotating:?}");
}

#[test]
fn acme_ends_the_grant_when_a_refresh_token_is_used_twice() {
    let bench = Bench::start();
    let first = bench.connect("acme", &Answer::allow()).text("/refresh_token");
    let second = bench.refresh("acme", &first).text("/refresh_token");
    assert_eq!(bench.refresh("acme", &first).why(), (400, "the refresh token was used before"));
    assert_eq!(bench.refresh("acme", &second).why(), (400, "the refresh token was revoked"));
}

#[test]
fn google_keeps_the_refresh_token_and_does_not_repeat_it() {
    let bench = Bench::start();
    let refresh = bench.connect("youtube", &Answer::allow()).text("/refresh_token");
    for _ in 0..2 {
        let got = bench.refresh("youtube", &refresh);
        let mut answer = bench.redacted("youtube", &got);
        assert!(answer["scope"].take().is_string());
        let wanted = json!({
            "access_token": "<access>", "expires_in": 3599, "id_token": "<id>", "scope": null, "token_type": "Bearer",
        });
        assert_eq!(answer, wanted);
    }
    bench.control.revoke_all("youtube");
    let got = bench.refresh("youtube", &refresh);
    assert_eq!(
        (got.status, got.json()),
        (400, json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."}))
    );
}

#[test]
fn pinterest_gives_old_apps_a_usable_refresh_token_on_request_only() {
    let bench = Bench::start();
    let form = with(token_form("pinterest", &bench.code("pinterest", &Answer::allow())), "continuous_refresh", None);
    let legacy = bench.exchange("pinterest", &form);
    assert_eq!(legacy.json()["refresh_token_expires_in"], 365 * DAY);
    assert_eq!(bench.refresh("pinterest", &legacy.text("/refresh_token")).status, 401);
}

#[test]
fn tiktoks_refresh_token_lives_for_180_days() {
    let bench = Bench::start();
    let refresh = bench.connect("tiktok", &Answer::allow()).text("/refresh_token");
    bench.advance(180 * DAY - 1);
    let next = bench.refresh("tiktok", &refresh).text("/refresh_token");
    bench.advance(180 * DAY);
    assert_eq!(bench.refresh("tiktok", &next).why(), (200, "the refresh token has expired"));
}

#[test]
fn linkedin_gives_an_approved_app_a_refresh_token_that_counts_down() {
    let bench = Bench::start();
    let got = bench.connect("linkedin", &Answer::allow());
    let refresh = got.text("/refresh_token");
    assert_eq!(got.json()["refresh_token_expires_in"], 365 * DAY);
    bench.advance(360 * DAY);
    let answer = bench.refresh("linkedin", &refresh).json();
    assert_eq!(
        (&answer["refresh_token"], &answer["refresh_token_expires_in"], &answer["expires_in"]),
        (&json!(refresh), &json!(5 * DAY), &json!(5 * DAY))
    );
    let (id, secret) = self_serve_client("linkedin").unwrap();
    let as_own = |form| with(with(form, "client_id", Some(&id)), "client_secret", Some(&secret));
    let other = bench.exchange("linkedin", &as_own(refresh_form("linkedin", &refresh)));
    assert_eq!(other.why(), (400, "the refresh token is not one of this client's"));
    bench.advance(5 * DAY);
    let got = bench.refresh("linkedin", &refresh);
    assert_eq!((got.status, got.text("/error")), (400, "invalid_request".to_owned()));

    let query = with(authorize_query("linkedin"), "client_id", Some(&id));
    let code = bench.callback_of("linkedin", &query, &Answer::allow())[0].1.clone();
    let self_serve = bench.exchange("linkedin", &as_own(token_form("linkedin", &code))).json();
    assert_eq!((&self_serve["expires_in"], self_serve.get("refresh_token")), (&json!(60 * DAY), None));
}

#[test]
fn linkedin_ends_tokens_when_other_scopes_are_granted() {
    let bench = Bench::start();
    let same = bench.connect("linkedin", &Answer::allow()).text("/access_token");
    bench.connect("linkedin", &Answer::allow());
    bench.connect("linkedin", &Answer::allow().account("basil"));
    assert_eq!(bench.get_as("/linkedin/v2/userinfo", &same).status, 200, "the same scopes, or somebody else");
    let query = with(authorize_query("linkedin"), "scope", Some("openid profile"));
    let code = bench.callback_of("linkedin", &query, &Answer::allow())[0].1.clone();
    assert_eq!(bench.exchange("linkedin", &token_form("linkedin", &code)).status, 200);
    let got = bench.get_as("/linkedin/v2/userinfo", &same);
    assert_eq!((got.status, got.text("/code")), (401, "REVOKED_ACCESS_TOKEN".to_owned()));
}

#[test]
fn meta_exchanges_for_long_lived_tokens_and_renews_them_after_a_day() {
    let bench = Bench::start();
    for (platform, letters, me) in
        [("instagram", "ig", "/instagram/v23.0/me?fields=user_id"), ("threads", "th", "/threads/v1.0/me?fields=id")]
    {
        let (_, secret) = client(platform).unwrap();
        let lengthen = |token: &str, secret: &str| {
            let secret = percent(secret);
            bench.get(&format!(
                "/{platform}/access_token?grant_type={letters}_exchange_token&client_secret={secret}&access_token={token}"
            ))
        };
        let renew = |token: &str| {
            bench.get(&format!(
                "/{platform}/refresh_access_token?grant_type={letters}_refresh_token&access_token={token}"
            ))
        };
        let got = bench.connect(platform, &Answer::allow().account("basil"));
        let short = got.text("/access_token");
        assert_eq!(lengthen(&short, "wrong").why().1, "the client id is unknown or the secret is wrong");
        assert_eq!(lengthen(&short, &own_client(platform).unwrap().1).status, 400, "another client's secret");
        assert_eq!(renew(&short).status, 400, "{platform}: a short-lived token does not renew itself");
        let long = lengthen(&short, &secret);
        let wanted = json!({"access_token": "<long_lived>", "token_type": "bearer", "expires_in": 5_183_944});
        assert_eq!(bench.redacted(platform, &long), wanted);
        let long = long.text("/access_token");
        assert_eq!(lengthen(&long, &secret).status, 400, "{platform}: it is long already");
        bench.advance(3600);
        assert_eq!(lengthen(&short, &secret).json()["error"]["error_subcode"], 463, "{platform}: too late");
        assert_eq!(bench.get_as(me, &long).status, 200, "{platform}");

        bench.advance(DAY - 3601);
        let early = renew(&long);
        assert_eq!((early.status, early.json()["error"]["code"].as_u64()), (400, Some(190)), "{platform}");
        bench.advance(1);
        let renewed = bench.redacted(platform, &renew(&long));
        let permissions = renewed.get("permissions").and_then(Value::as_str);
        assert_eq!(permissions.is_some(), platform == "instagram", "{renewed}");
        assert_eq!(renewed["expires_in"], 5_183_944);
        bench.advance(5_183_944);
        assert_eq!(renew(&long).json()["error"]["error_subcode"], 463, "{platform}: expired");
        let type_error = bench.get(&format!("/{platform}/access_token?grant_type=x&client_secret=y&access_token=z"));
        assert_eq!(type_error.why().1, "the grant type 'x' is not known here");
    }
}

#[test]
fn a_refresh_token_is_bound_to_its_client() {
    let bench = Bench::start();
    let refresh = bench.connect("twitter", &Answer::allow()).text("/refresh_token");
    let (id, secret) = own_client("twitter").unwrap();
    let other = basic_of(&id, &secret);
    let got = bench.post("/twitter/2/oauth2/token", &refresh_form("twitter", &refresh), Some(&other));
    assert_eq!(got.why(), (400, "the refresh token is not one of this client's"));
    assert_eq!(bench.refresh("twitter", &refresh).status, 200, "and the attempt did not use it up");
}
