//! Whole connections, from the authorize URL to their end, with a platform on loopback.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use serde_json::{Value, json};
use url::Url;

use super::fixture::{Answer, Fixture, USUAL, serve_platform};

async fn begin(fixture: &Fixture, key: &str, query: &str) -> String {
    let answer = fixture.get(key, &format!("/v1/connect/acme{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let url = Url::parse(answer.json()["url"].as_str().unwrap()).unwrap();
    url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
}

async fn callback(fixture: &Fixture, query: &str) -> Answer {
    fixture.get("", &format!("/v1/connect/acme/callback?{query}")).await
}

fn ada() -> Value {
    json!({"id": "42", "username": "ada", "name": "<img src=x onerror=alert(1)>", "picture": "https://cdn.example/a.png"})
}

#[actix_web::test]
async fn a_connection_ends_on_the_success_page() {
    let fixture = Fixture::with_platform(&serve_platform(ada()));
    let key = &fixture.key(USUAL).await;
    let profile = fixture.write(Method::POST, key, "/v1/profiles", json!({"name": "\"><script>"})).await.json();
    let id = profile["profile"]["id"].as_str().unwrap().to_owned();
    let state = begin(&fixture, key, &format!("?profileId={id}")).await;
    let query = format!("state={state}&code=abc");
    let prefetch = TestRequest::get()
        .uri(&format!("/v1/connect/acme/callback?{query}"))
        .insert_header(("sec-purpose", "prefetch;prerender"));
    let ahead = fixture.send(prefetch.to_request()).await;
    assert_eq!((ahead.status.as_u16(), ahead.header("retry-after")), (503, Some("0")));
    let head = TestRequest::with_uri(&format!("/v1/connect/acme/callback?{query}")).method(Method::HEAD);
    assert_eq!(fixture.send(head.to_request()).await.status, StatusCode::METHOD_NOT_ALLOWED);
    for doubled in ["state=x", "code=abc", "error=x", "iss=x&iss=x"] {
        let answer = callback(&fixture, &format!("{query}&error=&{doubled}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{doubled}");
    }

    for _ in 0..2 {
        let page = callback(&fixture, &query).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(page.text.contains("<h1>Acme &#38; Sons is connected</h1>"), "{}", page.text);
        assert!(page.text.contains("&#60;img src=x onerror=alert(1)&#62;"), "{}", page.text);
        assert!(page.text.contains("&#34;&#62;&#60;script&#62;"), "{}", page.text);
        for never in ["<img", "<script", "cdn.example", "abc", state.as_str(), "at-marker", "rt-marker"] {
            assert!(!page.text.contains(never), "{never} in {}", page.text);
        }
    }

    let list = fixture.get(key, "/v1/connect/integrations?platform=acme").await.json();
    assert_eq!(list["total"], 1);
    let id = list["integrations"][0]["id"].as_str().unwrap().to_owned();
    let detail = fixture.get(key, &format!("/v1/connect/integrations/{id}")).await;
    assert_eq!(detail.json()["integration"]["tokenStatus"]["valid"], true, "{}", detail.text);
    assert!(!detail.text.contains("at-marker") && !detail.text.contains("rt-marker"));
    assert_eq!(
        fixture.get(key, "/v1/connect/integrations").await.json()["total"],
        0,
        "custom platforms are listed only on request"
    );
    let gone = fixture.write(Method::DELETE, key, &format!("/v1/connect/integrations/{id}"), json!({})).await;
    insta::assert_snapshot!(gone.text, @r#"{"success":true,"message":"Disconnected, and the tokens are erased here. Acme & Sons has no way to revoke them: the account's owner can remove the app in the settings there."}"#);
}

#[actix_web::test]
async fn a_connection_ends_at_the_redirect_uri() {
    let fixture = Fixture::with_platform(&serve_platform(ada()));
    let key = &fixture.key(USUAL).await;
    let state = begin(&fixture, key, "?redirectUri=https%3A%2F%2Fapp.example%2Fdone%3Fnonce%3D1&headless=true").await;
    let answer = callback(&fixture, &format!("state={state}&code=abc")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let location = answer.header("location").unwrap();
    assert!(
        location.starts_with("https://app.example/done?nonce=1&status=success&platform=acme&integrationId=int_"),
        "{location}"
    );

    let state = begin(&fixture, key, "?redirectUri=https%3A%2F%2Fapp.example%2Fdone").await;
    let long = "x".repeat(5000);
    let answer = callback(&fixture, &format!("state={state}&error=access_denied&error_description={long}")).await;
    insta::assert_snapshot!(answer.header("location").unwrap(), @"https://app.example/done?status=cancelled&platform=acme&error=access_denied");
}

#[actix_web::test]
async fn a_failed_connection_ends_on_a_page_that_says_why() {
    let fixture = Fixture::with_platform("http://127.0.0.1:9");
    let key = &fixture.key(USUAL).await;
    let state = begin(&fixture, key, "").await;
    let page = callback(&fixture, &format!("state={state}&error=access_denied")).await;
    assert!(
        page.status == StatusCode::OK && page.text.contains("<h1>Acme &#38; Sons was not connected</h1>"),
        "{}",
        page.text
    );

    let state = begin(&fixture, key, "").await;
    let page = callback(&fixture, &format!("state={state}&code=abc")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("<code>platform_unavailable</code>"), "{}", page.text);
    assert!(page.text.contains(page.header("x-request-id").unwrap()), "{}", page.text);

    for (query, heading) in [
        ("", "This connection is not known"),
        ("state=nonsense&code=abc", "This connection is not known"),
        ("state=%ff%fe&code=abc", "The answer could not be read"),
        (&format!("state={state}&code=other"), "This connection is already finished"),
    ] {
        let page = callback(&fixture, query).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(page.text.contains(&format!("<h1>{heading}</h1>")), "{query}: {}", page.text);
        assert_eq!(page.header("location"), None, "{query}");
    }
}

#[actix_web::test]
async fn a_connection_that_cannot_begin_is_refused_with_the_reason() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    for (path, status, code) in [
        ("/v1/connect/myspace", 403, "platform_not_available"),
        ("/v1/connect/Twitter", 403, "platform_not_available"),
        ("/v1/connect/bluesky", 403, "platform_not_available"),
        ("/v1/connect/tiktok", 500, "platform_not_configured"),
        ("/v1/connect/twitter?headless=maybe", 400, "invalid_parameter"),
        ("/v1/connect/twitter?headless=", 400, "invalid_parameter"),
        ("/v1/connect/twitter?redirectUri=javascript:alert(1)", 400, "redirect_not_allowed"),
        ("/v1/connect/twitter?redirectUri=", 400, "redirect_not_allowed"),
        ("/v1/connect/twitter?cancelRedirectUri=http://evil.example/", 400, "redirect_not_allowed"),
        ("/v1/connect/twitter?redirectUri=https://a.example&redirectUri=https://b.example", 400, "repeated_parameter"),
        ("/v1/connect/%74witter", 200, ""),
    ] {
        let answer = fixture.get(key, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        if status != 200 {
            assert_eq!(answer.code(), code, "{path}");
        }
    }
    let sentence = fixture.get(key, "/v1/connect/bluesky").await.json()["error"].to_string();
    assert!(sentence.contains("/v1/connect/bluesky/auth"), "{sentence}");
}
