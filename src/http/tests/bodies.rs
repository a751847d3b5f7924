//! Request bodies: which are accepted, and the errors for the others.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::fixture::{Answer, Fixture, USUAL};

async fn post(fixture: &Fixture, key: &str, kind: Option<&str>, body: impl Into<Vec<u8>>) -> Answer {
    let request = TestRequest::post().uri("/v1/profiles").insert_header(("x-access-key", key)).set_payload(body.into());
    match kind {
        Some(kind) => fixture.send(request.insert_header(("content-type", kind)).to_request()).await,
        None => fixture.send(request.to_request()).await,
    }
}

#[actix_web::test]
async fn only_json_objects_of_limited_size_are_accepted() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    let json = Some("application/json");
    for (status, code, kind, body) in [
        (415, "unsupported_media_type", None, b"{\"name\":\"a\"}".to_vec()),
        (415, "unsupported_media_type", Some("text/plain"), b"{\"name\":\"a\"}".to_vec()),
        (415, "unsupported_media_type", Some("application/x-www-form-urlencoded"), b"name=a".to_vec()),
        (400, "invalid_json", json, Vec::new()),
        (400, "invalid_json", json, b"null".to_vec()),
        (400, "invalid_json", json, b"[{\"name\":\"a\"}]".to_vec()),
        (400, "invalid_json", json, b"{\"name\":\"a\"} trailing".to_vec()),
        (400, "invalid_json", json, b"\xef\xbb\xbf{\"name\":\"a\"}".to_vec()),
        (400, "invalid_json", json, b"{\"name\":\"a\",\"name\":\"b\"}".to_vec()),
        (400, "invalid_json", json, b"{\"name\":\"\\ud800\"}".to_vec()),
        (400, "invalid_json", json, vec![b'['; 60_000]),
        (413, "body_too_large", json, vec![b'['; 100_000]),
        (413, "body_too_large", json, format!("{{\"name\":\"{}\"}}", "a".repeat(1 << 20)).into_bytes()),
        (400, "invalid_request", json, b"{}".to_vec()),
    ] {
        let answer = post(&fixture, key, kind, body.clone()).await;
        let line = format!("{kind:?} {}", String::from_utf8_lossy(&body).chars().take(40).collect::<String>());
        assert_eq!(answer.status.as_u16(), status, "{line}: {}", answer.text);
        assert_eq!(answer.code(), code, "{line}");
        assert!(!answer.text.contains("line 1"), "serde's words: {}", answer.text);
    }
    let answer = post(&fixture, key, Some("Application/JSON; charset=utf-8"), "{\"name\":\"a\",\"unknown\":1}").await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let zipped = TestRequest::post()
        .uri("/v1/profiles")
        .insert_header(("x-access-key", key.as_str()))
        .insert_header(("content-type", "application/json"))
        .insert_header(("content-encoding", "gzip"))
        .set_payload("{}");
    assert_eq!(fixture.send(zipped.to_request()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[actix_web::test]
async fn invalid_profile_names_are_refused() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    let long = "a".repeat(201);
    for bad in ["", "   ", &long, "a\u{0}b", "a\u{202e}b"] {
        let answer = fixture.write(Method::POST, key, "/v1/profiles/", json!({"name": bad})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"), "{bad:?}");
        assert!(answer.json()["error"].as_str().unwrap().starts_with("name must "), "{}", answer.text);
    }
    for bad in [json!({"name": 1}), json!({"name": null}), json!({"name": "a", "description": 1})] {
        let answer = fixture.write(Method::POST, key, "/v1/profiles/", bad.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let emoji = "\u{1f389}".repeat(200);
    let answer = fixture.write(Method::POST, key, "/v1/profiles/", json!({"name": emoji})).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json()["profile"]["name"], emoji);
}

#[actix_web::test]
async fn invalid_changes_of_an_app_are_refused() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    let app = json!({"platform": "twitter", "name": "Ours", "clientId": "cid-1", "clientSecret": "cs-marker"});
    let made = fixture.write(Method::POST, key, "/v1/apps", app.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert!(!made.text.contains("cs-marker"));
    let path = format!("/v1/apps/{}", made.json()["app"]["id"].as_str().unwrap());
    let sentence = async |change: Value| {
        let answer = fixture.write(Method::PATCH, key, &path, change).await;
        format!("{} {}", answer.status.as_u16(), answer.json()["error"].as_str().unwrap_or_default())
    };
    insta::assert_snapshot!(sentence(json!({"clientId": "x"})).await, @"400 clientId cannot be changed, because the tokens of connected accounts are bound to it: register another app and connect the accounts under that one.");
    insta::assert_snapshot!(sentence(json!({"platform": "tiktok"})).await, @"400 platform cannot be changed, because the tokens of connected accounts are bound to it: register another app and connect the accounts under that one.");
    insta::assert_snapshot!(sentence(json!({"imageUrl": "javascript:alert(1)"})).await, @"400 imageUrl must be an http or https URL of at most 2048 bytes.");
    insta::assert_snapshot!(sentence(json!({"clientSecret": ""})).await, @"400 clientSecret must be 1 to 2048 characters long.");
    insta::assert_snapshot!(sentence(json!({"colour": "red"})).await, @"400 The body has a member that is not known here: it takes name, imageUrl, clientSecret.");
    insta::assert_snapshot!(sentence(json!({})).await, @"200 ");
    insta::assert_snapshot!(sentence(json!({"name": "Theirs", "imageUrl": null, "clientSecret": "cs-marker-2"})).await, @"200 ");
    let again = fixture.write(Method::POST, key, "/v1/apps", app).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "duplicate_app"));
}
