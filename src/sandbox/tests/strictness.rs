//! The code exchange and the identity call: mistakes that every platform refuses. Each platform's words are in
//! `words`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::bench::{basic, basic_of, id_name, identity_path, imitation, token_form, token_path, with, without_pkce};
use super::*;
use crate::sandbox::{Answer, client, own_client, platforms};

/// The answer to a code exchange with one parameter changed.
fn exchange(bench: &Bench, platform: &str, name: &str, value: Option<&str>) -> Got {
    let form = token_form(platform, &bench.code(platform, &Answer::allow()));
    bench.exchange(platform, &with(form, name, value))
}

#[test]
fn missing_unknown_and_repeated_parameters_are_refused() {
    let bench = Bench::start();
    for platform in platforms() {
        for name in ["code", "redirect_uri"] {
            let why = format!("the parameter {name} is missing");
            assert_eq!(exchange(&bench, platform, name, None).refusal(), why, "{platform}");
        }
        let why = "the parameter audience is not known here";
        assert_eq!(exchange(&bench, platform, "audience", Some("x")).refusal(), why, "{platform}");
        let mut twice = token_form(platform, &bench.code(platform, &Answer::allow()));
        twice.push(("code".to_owned(), "another".to_owned()));
        assert_eq!(bench.exchange(platform, &twice).refusal(), "the parameter code is sent twice", "{platform}");
        let got = exchange(&bench, platform, "grant_type", Some("client_credentials"));
        assert_eq!(got.refusal(), "the grant type 'client_credentials' is not known here", "{platform}");
    }
}

#[test]
fn json_bodies_and_queries_are_refused() {
    let bench = Bench::start();
    for platform in platforms() {
        let form = token_form(platform, &bench.code(platform, &Answer::allow()));
        let path = token_path(platform);
        let authorization = basic(platform);
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
        let json = serde_json::to_string(&form.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()).unwrap();
        let got = bench.send("POST", &path, &headers, &json).unwrap();
        assert!(!got.refusal().is_empty(), "{platform}: {}", got.body);
        let got = bench.post(&format!("{path}?state=x"), &form, authorization.as_deref());
        assert_eq!(got.refusal(), "the parameter state is in the query and belongs in the body", "{platform}");
    }
    let got = bench.send("POST", "/twitter/2/oauth2/token", &[("Authorization", &basic("twitter").unwrap())], "");
    assert_eq!(got.unwrap().status, 400);
}

#[test]
fn clients_must_authenticate_as_the_platform_wants() {
    let bench = Bench::start();
    for platform in platforms() {
        let form = token_form(platform, &bench.code(platform, &Answer::allow()));
        let path = token_path(platform);
        let (id, secret) = client(platform).unwrap();
        let wrong = if basic(platform).is_some() {
            // In the body instead of the header, and with a wrong secret.
            let mut body = form.clone();
            body.extend(pairs(&[("client_id", &id), ("client_secret", &secret)]));
            let wrong = format!("Basic {}", STANDARD.encode(format!("{id}:wrong")));
            [
                bench.post(&path, &body, None),
                bench.post(&path, &body, basic(platform).as_deref()),
                bench.post(&path, &form, Some(&wrong)),
            ]
        } else {
            let header = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            [
                bench.post(
                    &path,
                    &with(with(form.clone(), id_name(platform), None), "client_secret", None),
                    Some(&header),
                ),
                bench.post(&path, &form, Some(&header)),
                bench.post(&path, &with(form.clone(), "client_secret", Some("wrong")), None),
            ]
        };
        let [missing, both, secret] = wrong;
        for got in [missing, both] {
            assert!(got.refusal().starts_with("the client did not authenticate"), "{platform}: {:?}", got.why());
        }
        assert_eq!(secret.why().1, "the client id is unknown or the secret is wrong", "{platform}");
        let good = bench.exchange(platform, &form);
        assert_eq!(good.why(), (200, ""), "{platform}: none of the attempts used the code up");
    }
    let got = bench.post("/twitter/2/oauth2/token", &token_form("twitter", "x"), None);
    assert_eq!(
        (got.status, got.json()),
        (401, json!({"error": "unauthorized_client", "error_description": "Missing valid authorization header"}))
    );
    let misnamed = with(token_form("tiktok", "x"), "client_key", None);
    let misnamed = with(misnamed, "client_id", Some("sandbox-tiktok-client"));
    assert_eq!(bench.exchange("tiktok", &misnamed).text("/error"), "invalid_client");
}

#[test]
fn secrets_with_special_characters_must_be_escaped() {
    let bench = Bench::start();
    for platform in platforms() {
        let (id, secret) = own_client(platform).unwrap();
        let query = with(bench::authorize_query(platform), id_name(platform), Some(&id));
        let code = bench.callback_of(platform, &query, &Answer::allow())[0].1.clone();
        let mut form = token_form(platform, &code);
        let path = token_path(platform);
        let got = if basic(platform).is_some() {
            let header = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            let raw = bench.post(&path, &form, Some(&header));
            assert_eq!(raw.why().1, "the client id is unknown or the secret is wrong", "{platform} took it unescaped");
            bench.post(&path, &form, Some(&basic_of(&id, &secret)))
        } else {
            form = with(with(form, id_name(platform), Some(&id)), "client_secret", Some(&secret));
            bench.post(&path, &form, None)
        };
        assert_eq!(got.why(), (200, ""), "{platform}: {}", got.body);
    }
}

#[test]
fn a_code_serves_one_client_one_redirect_and_one_use() {
    let bench = Bench::start();
    for platform in platforms() {
        let got = exchange(&bench, platform, "redirect_uri", Some("http://127.0.0.1:8080/v1/connect/x/callback/"));
        assert_eq!(got.refusal(), "redirect_uri differs from the one of the authorize request", "{platform}");
        let got = exchange(&bench, platform, "code", Some("guessed"));
        assert_eq!(got.refusal(), "the code is not one of this client's", "{platform}");

        let form = token_form(platform, &bench.code(platform, &Answer::allow()));
        let first = bench.exchange(platform, &form);
        assert_eq!(first.why(), (200, ""), "{platform}");
        assert_eq!(bench.exchange(platform, &form).why().1, "the code was used before", "{platform}");
        assert_eq!(
            bench.identity(platform, &first.access_token()).refusal(),
            "the access token was revoked",
            "{platform}"
        );
    }
    let code = bench.code("twitter", &Answer::allow());
    let (id, secret) = own_client("twitter").unwrap();
    let other = basic_of(&id, &secret);
    let got = bench.post("/twitter/2/oauth2/token", &token_form("twitter", &code), Some(&other));
    assert_eq!(got.why().1, "the code is not one of this client's");
    assert_eq!(bench.exchange("twitter", &token_form("twitter", &code)).status, 200, "its own client still may");
}

#[test]
fn a_code_expires() {
    let bench = Bench::start();
    for platform in platforms() {
        let life = imitation(platform).authorize.code.life;
        let (early, late) = (bench.code(platform, &Answer::allow()), bench.code(platform, &Answer::allow()));
        bench.advance(life - 1);
        assert_eq!(bench.exchange(platform, &token_form(platform, &early)).why(), (200, ""), "{platform}");
        bench.advance(1);
        let got = bench.exchange(platform, &token_form(platform, &late));
        assert_eq!(got.refusal(), "the code has expired", "{platform}");
    }
}

#[test]
fn verifiers_are_checked() {
    let bench = Bench::start();
    for platform in platforms().filter(|platform| imitation(platform).example.pkce) {
        let wrong = "a".repeat(43);
        for value in [Some(wrong.as_str()), Some("short")] {
            let got = exchange(&bench, platform, "code_verifier", value);
            let why = "code_verifier does not match the code_challenge of the authorize request";
            assert_eq!(got.refusal(), why, "{platform}");
        }
        let got = exchange(&bench, platform, "code_verifier", None);
        assert!(got.refusal().contains("code_verifier"), "{platform}: {:?}", got.why());
    }
    for platform in without_pkce() {
        let got = exchange(&bench, platform, "code_verifier", Some(bench::VERIFIER));
        assert_eq!(got.refusal(), "the parameter code_verifier is not known here", "{platform}");
    }
    let mut unasked = bench::authorize_query("youtube");
    unasked.retain(|(name, _)| !name.starts_with("code_challenge"));
    let code = bench.callback_of("youtube", &unasked, &Answer::allow())[0].1.clone();
    let got = bench.exchange("youtube", &token_form("youtube", &code));
    assert!(got.why().1.starts_with("code_verifier"), "a verifier without a challenge");
    let code = bench.callback_of("youtube", &unasked, &Answer::allow())[0].1.clone();
    let got = bench.exchange("youtube", &with(token_form("youtube", &code), "code_verifier", None));
    assert_eq!(got.status, 200, "PKCE is optional at Google");
}

#[test]
fn the_identity_call_requires_known_fields_and_a_live_token() {
    let bench = Bench::start();
    for (platform, bad, why) in [
        ("instagram", "/instagram/v23.0/me?fields=followers", "the field 'followers' is not known here"),
        ("threads", "/threads/v1.0/me?fields=picture", "the field 'picture' is not known here"),
        ("tiktok", "/tiktok/v2/user/info/", "the parameter fields is missing"),
        ("tiktok", "/tiktok/v2/user/info/?fields=id", "the field 'id' is not known here"),
        ("twitter", "/twitter/2/users/me?user.fields=avatar", "the field 'avatar' is not known here"),
        ("twitter", "/twitter/2/users/me?user.fields=confirmed_email", "the scope users.email was not granted"),
        ("youtube", "/youtube/youtube/v3/channels?mine=true", "the parameter part is missing"),
    ] {
        let token = bench.connect(platform, &Answer::allow()).access_token();
        let got = bench.get_as(bad, &token);
        assert_eq!(got.why().1, why, "{bad}");
        assert!(got.status >= 400, "{bad}");
    }
    for platform in platforms() {
        let token = bench.connect(platform, &Answer::allow()).access_token();
        let path = identity_path(platform);
        let separator = if path.contains('?') { '&' } else { '?' };
        let got = bench.get_as(&format!("{path}{separator}x=1"), &token);
        assert_eq!((got.status, got.refusal()), (400, "the parameter x is not known here"), "{platform}");
    }
    let got = bench.get("/twitter/2/users/me");
    assert_eq!((got.status, got.text("/title")), (401, "Unauthorized".to_owned()));
    let token = bench.connect("twitter", &Answer::allow()).text("/access_token");
    assert_eq!(bench.get_as("/youtube/youtube/v3/channels?part=id&mine=true", &token).status, 401, "another's token");
    bench.advance(7200);
    assert_eq!(bench.get_as("/twitter/2/users/me", &token).why(), (401, "the access token has expired"));
    let token = bench.connect("threads", &Answer::allow()).text("/access_token");
    let both = bench.get_as(&format!("/threads/v1.0/me?access_token={token}"), &token);
    assert_eq!(both.why(), (400, "the access token was sent twice"));
}

#[test]
fn wrong_addresses_and_methods_are_named() {
    let bench = Bench::start();
    let tail = bench.post("/tiktok/v2/oauth/token", &pairs(&[]), None);
    assert_eq!(tail.why(), (404, "TikTok has nothing at /v2/oauth/token"), "the slash at the end belongs to it");
    assert_eq!(bench.get("/twitter/2/oauth2/token").why(), (405, "/2/oauth2/token does not take GET"));
    assert_eq!(bench.get("/myspace/token").status, 404);
    assert_eq!(bench.get("/twitter").status, 404);
}
