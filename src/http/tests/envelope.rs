//! Headers and error bodies of every response, whatever its status.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::App;
use actix_web::http::{Method, StatusCode};
use actix_web::test::{self, TestRequest};
use actix_web::web;
use serde_json::json;

use super::fixture::{Answer, Fixture, PUBLIC_URL, USUAL, answer};
use crate::http::Live;
use crate::http::dispatch::{Dispatch, Resources};
use crate::http::routes::{Access, DEMO_ROUTES, ROUTES, Route, Surface};

/// The opener policy that separates a document from the page that opened its window.
const APART: Option<&str> = Some("same-origin");

/// `opener`: the opener policy; `None` on the way of a connection and for redirects.
fn check(line: &str, answer: &Answer, opener: Option<&str>) {
    // Only what is the same for everyone may be kept.
    let caching = if answer.header("etag").is_some() { "no-cache" } else { "no-store" };
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("cache-control", caching), ("referrer-policy", "no-referrer")]
    {
        assert_eq!(answer.header(name), Some(value), "{line}: {name}");
    }
    assert_eq!(answer.header("cross-origin-opener-policy"), opener, "{line}");
    let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{line}: no request id"));
    assert!(id.len() == 36 && id.starts_with("req_"), "{line}: {id}");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{line}: {policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{line}: {policy}");
    for name in ["server", "x-powered-by", "access-control-allow-origin", "set-cookie"] {
        assert_eq!(answer.header(name), None, "{line}: {name}");
    }
    let kind = answer.header("content-type").unwrap_or_default();
    if !answer.status.is_redirection() {
        assert!(matches!(kind, "application/json" | "text/html; charset=utf-8"), "{line}: {kind}");
    }
    if kind == "application/json" && !answer.status.is_success() {
        let body = answer.json();
        assert_eq!(body["requestId"], id, "{line}");
        assert!(body["error"].as_str().unwrap().ends_with('.'), "{line}: {body}");
        assert!(body["code"].is_string(), "{line}");
    }
}

#[actix_web::test]
async fn every_status_has_the_headers_of_the_envelope() {
    let fixture = Fixture::new().demo();
    let key = &fixture.key(USUAL).await;
    let reader = &fixture.key(&[crate::domain::access_key::Scope::Read]).await;
    let post = |body: &'static str| {
        TestRequest::post().uri("/v1/profiles").insert_header(("x-access-key", key.clone())).set_payload(body)
    };
    let json = ("content-type", "application/json");
    let answers = [
        (200, fixture.get("", "/v1/health").await),
        (200, fixture.get("", "/documentation").await),
        (200, fixture.get("", "/documentation/json").await),
        (200, fixture.get("", "/healthz").await),
        (200, fixture.get("", "/readyz").await),
        (200, fixture.get(key, "/v1/connect/%74witter").await),
        (201, fixture.write(Method::POST, key, "/v1/profiles", json!({"name": "Acme"})).await),
        (303, fixture.get("", "/").await),
        (400, fixture.get(key, "/v1/profiles?limit=0").await),
        (400, fixture.get("", "/v1/connect/twitter/callback").await),
        (401, fixture.get("", "/v1/profiles").await),
        (403, fixture.write(Method::POST, reader, "/v1/profiles", json!({"name": "Acme"})).await),
        (404, fixture.get("", "/nothing/here").await),
        (404, fixture.get(key, "/v1/profiles/prof_nothing").await),
        (405, fixture.send(TestRequest::put().uri("/v1/profiles").to_request()).await),
        (
            413,
            fixture
                .send(post("{}").insert_header(("content-length", "3000000000")).insert_header(json).to_request())
                .await,
        ),
        (414, fixture.get("", &format!("/v1/health?{}", "a".repeat(8192))).await),
        (415, fixture.send(post("{}").to_request()).await),
        (500, fixture.get(key, "/v1/connect/tiktok").await),
        (
            503,
            fixture
                .send(
                    TestRequest::get()
                        .uri("/v1/connect/twitter/callback")
                        .insert_header(("sec-purpose", "prefetch"))
                        .to_request(),
                )
                .await,
        ),
    ];
    let mut ids = BTreeSet::new();
    for (status, answer) in &answers {
        assert_eq!(answer.status.as_u16(), *status, "{}", answer.text);
        let is_callback = matches!(status, 400 | 503) && answer.text.contains("<html");
        check(&status.to_string(), answer, APART.filter(|_| *status != 303 && !is_callback));
        assert_eq!(answer.header("strict-transport-security"), None);
        ids.insert(answer.header("x-request-id"));
    }
    let (not_configured, prefetched) = (&answers[answers.len() - 2].1, &answers[answers.len() - 1].1);
    assert_eq!(not_configured.code(), "platform_not_configured");
    assert_eq!(prefetched.header("retry-after"), Some("0"));
    assert_eq!(ids.len(), 1, "the fixture seeds each application with the same number");
}

#[actix_web::test]
async fn request_ids_are_unique_and_never_come_from_the_client() {
    let fixture = Fixture::new();
    let service = test::init_service(crate::http::app(fixture.state())).await;
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let request = TestRequest::get().uri("/v1/health").insert_header(("x-request-id", "forged\tline"));
        let answer = answer(&service, request.to_request()).await;
        assert!(ids.insert(answer.header("x-request-id").unwrap().to_owned()));
    }
    assert!(ids.iter().all(|id| id.starts_with("req_")));
}

#[actix_web::test]
async fn other_methods_are_refused_with_an_allow_header() {
    let fixture = Fixture::new().demo();
    let all = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "PROPFIND"];
    for route in ROUTES.iter().chain(DEMO_ROUTES) {
        for path in route.paths {
            let taken: BTreeSet<&str> = ROUTES
                .iter()
                .chain(DEMO_ROUTES)
                .filter(|other| other.paths == route.paths)
                .flat_map(Route::methods)
                .map(Method::as_str)
                .collect();
            let spends = [
                "/connect/result/{ticket}/retry",
                "/v1/connect/{platform}",
                "/v1/connect/{platform}/callback",
                "/v1/connect/integrations/{id}/token",
            ];
            assert_eq!(taken.contains("HEAD"), taken.contains("GET") && !spends.contains(path), "{path}");
            for method in all.into_iter().filter(|method| !taken.contains(method)) {
                let uri = path.replace("{id}", "x").replace("{platform}", "twitter");
                let request = TestRequest::with_uri(&uri).method(method.parse().unwrap());
                let answer = fixture.send(request.to_request()).await;
                let line = format!("{method} {path}");
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{line}");
                let allowed: BTreeSet<&str> = answer.header("allow").unwrap().split(", ").collect();
                assert_eq!(allowed, taken, "{line}");
                if method == "HEAD" {
                    assert_eq!(answer.text, "", "{line}");
                    continue;
                }
                match route.surface {
                    Surface::Json => assert_eq!(answer.code(), "method_not_allowed", "{line}"),
                    _ => assert!(answer.text.contains("<code>method_not_allowed</code>"), "{line}: {}", answer.text),
                }
                let is_of_connection = path.starts_with("/connect/") || path.ends_with("/callback");
                check(&line, &answer, APART.filter(|_| !is_of_connection));
            }
        }
    }
}

#[actix_web::test]
async fn an_address_that_somebody_typed_gets_a_page() {
    for (public_url, base) in [(PUBLIC_URL, ""), ("http://127.0.0.1:8080/social", "/social")] {
        let fixture = Fixture::at(public_url);
        for path in ["/console/nope", "/connect", "/connect/link/a/b", "/documentation/x", "/documentation//"] {
            let answer = fixture.get("", &format!("{base}{path}")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("content-type")),
                (404, Some("text/html; charset=utf-8"))
            );
            assert!(answer.text.contains("<code>not_found</code>"), "{path}: {}", answer.text);
            check(path, &answer, APART);
        }
        for (path, location) in [
            ("/documentation/", "../documentation"),
            ("/documentation/?lang=de", "../documentation?lang=de"),
            ("/connect/link/a%2Fb/", "../a%2Fb"),
            ("/connect/result/a/retry/", "../retry"),
        ] {
            let answer = fixture.get("", &format!("{base}{path}")).await;
            assert_eq!((answer.status.as_u16(), answer.header("location")), (308, Some(location)), "{base}{path}");
            check(path, &answer, None);
        }
        let answer = fixture.send(TestRequest::post().uri("/connect/link/a/").to_request()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "a form is not sent again");
        for path in ["/v1/nope", "/connected", "/documents/", "/"] {
            let answer = fixture.get("", &format!("{base}{path}")).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"), "{path}");
            let told = format!("{public_url}/documentation lists what there is.");
            assert!(answer.text.contains(&told), "{}", answer.text);
        }
        let callback = format!("{base}/v1/connect/twitter/callback/?state=secret&code=secret");
        let answer = fixture.get("", &callback).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (404, None), "the code is not sent on");
        assert!(answer.text.contains("<code>not_found</code>") && !answer.text.contains("secret"), "{}", answer.text);
    }
}

#[actix_web::test]
async fn a_person_is_told_on_a_page_that_an_address_is_too_long() {
    for (public_url, base) in [(PUBLIC_URL, ""), ("http://127.0.0.1:8080/social", "/social")] {
        let fixture = Fixture::at(public_url);
        let long = "a".repeat(8192);
        for path in ["/connect/link/x?", "/connect/result/", "/connect/nope?", "/documentation?"] {
            let answer = fixture.get("", &format!("{base}{path}{long}")).await;
            assert_eq!(answer.status, StatusCode::URI_TOO_LONG, "{path}");
            assert!(answer.text.contains("<code>uri_too_long</code>"), "{path}: {}", answer.text);
            assert!(!answer.text.contains(&long), "{path}");
            let is_of_connection = path.starts_with("/connect/") && !path.contains("nope");
            check(path, &answer, APART.filter(|_| !is_of_connection));
        }
        // A platform's answer is read however long it is.
        let answer = fixture.get("", &format!("{base}/v1/connect/twitter/callback?state=x&code={long}")).await;
        assert!(answer.text.contains("<code>callback_refused</code>"), "{}", answer.text);
    }
}

async fn panics() -> &'static str {
    panic!("on purpose");
}

static PANICS: [Route; 2] = [
    Route::for_test(&["/json"], Access::Public, Surface::Json, || web::to(panics)),
    Route::for_test(&["/page"], Access::Public, Surface::Page, || web::to(panics)),
];

#[actix_web::test]
async fn a_panic_is_answered_as_an_internal_error() {
    let live = Live::new(Fixture::new().state());
    let app = App::new().default_service(Dispatch { live, resources: Arc::new(Resources::of([&PANICS[..]])) });
    let service = test::init_service(app).await;
    for path in ["/json", "/page", "/json"] {
        let answer = answer(&service, TestRequest::get().uri(path).to_request()).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(!answer.text.contains("on purpose"), "{path}");
        check(path, &answer, APART);
    }
}
