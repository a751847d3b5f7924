//! Access control: every route with every kind of key.

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;

use super::fixture::{Fixture, USUAL, reveal};
use crate::domain::access_key::Scope;
use crate::http::routes::{Access, ROUTES};

/// Returns a path that matches the pattern.
fn example(pattern: &str) -> String {
    pattern.replace("{id}", "int_unknown").replace("{platform}", "twitter").replace("{token}", "unknown")
}

#[actix_web::test]
async fn every_route_accepts_exactly_the_keys_of_the_table() {
    let fixture = Fixture::new();
    for route in ROUTES {
        for path in route.paths {
            let send = |key: Option<String>| {
                let request = TestRequest::with_uri(&example(path)).method(route.method.clone());
                match key {
                    Some(key) => fixture.send(request.insert_header(("x-access-key", key)).to_request()),
                    None => fixture.send(request.to_request()),
                }
            };
            let line = format!("{} {path}", route.method);
            let bare = send(None).await;
            if route.access == Access::Public {
                assert_ne!(bare.status, StatusCode::UNAUTHORIZED, "{line}");
                continue;
            }
            assert_eq!(bare.status, StatusCode::UNAUTHORIZED, "{line}");
            assert_eq!(bare.code(), "invalid_access_key", "{line}");
            for scope in Scope::ALL {
                let answer = send(Some(fixture.key(&[scope]).await)).await;
                let enough = match route.access {
                    Access::Key(needed) => needed == scope,
                    Access::AnyKey | Access::Public => true,
                };
                if enough {
                    assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{line} with {scope}");
                    assert!(!answer.text.contains("insufficient_scope"), "{line} with {scope}");
                } else {
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{line} with {scope}");
                    assert_eq!(answer.code(), "insufficient_scope", "{line} with {scope}");
                }
            }
        }
    }
}

#[actix_web::test]
async fn invalid_keys_all_get_the_same_answer() {
    let fixture = Fixture::new();
    let good = fixture.key(USUAL).await;
    let (revoked, plain) = {
        let (key, plain) = fixture.broker.create_access_key("default", "old", USUAL).await.unwrap();
        fixture.broker.revoke_access_key(key.id).await.unwrap();
        (key, plain)
    };
    assert!(revoked.revoked_at.is_none());
    let revoked = reveal(&plain);
    let unknown = {
        let other = Fixture::new();
        for _ in 0..5 {
            other.key(USUAL).await;
        }
        other.key(USUAL).await
    };
    let request = || TestRequest::get().uri("/v1/health/auth");
    let bodies = [
        request().to_request(),
        request().insert_header(("x-access-key", "")).to_request(),
        request().insert_header(("x-access-key", "ppk_nonsense")).to_request(),
        request().insert_header(("x-access-key", unknown)).to_request(),
        request().insert_header(("x-access-key", revoked)).to_request(),
        request().insert_header(("x-access-key", format!("{good}, {good}"))).to_request(),
        request().insert_header(("x-access-key", "a".repeat(10_000))).to_request(),
        request().insert_header(("x-access-key", "\u{e9}")).to_request(),
        request()
            .append_header(("x-access-key", good.clone()))
            .append_header(("x-access-key", good.clone()))
            .to_request(),
        request().append_header(("x-access-key", good.clone())).append_header(("x-access-key", "x")).to_request(),
        request().insert_header(("authorization", format!("Bearer {good}"))).to_request(),
        TestRequest::get().uri(&format!("/v1/health/auth?x-access-key={good}")).to_request(),
    ];
    for (at, request) in bodies.into_iter().enumerate() {
        let answer = fixture.send(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{at}");
        let mut body = answer.json();
        assert_eq!(body["requestId"].as_str(), answer.header("x-request-id"), "{at}");
        body.as_object_mut().unwrap().remove("requestId");
        insta::allow_duplicates! {
            insta::assert_snapshot!(body, @r#"{"code":"invalid_access_key","error":"Send a valid access key in exactly one x-access-key header."}"#);
        }
    }
    let answer = fixture.get(&good, "/v1/health/auth").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, r#"{"ok":true}"#));
}
