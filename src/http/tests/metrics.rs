//! Metrics of requests, and the endpoint that serves them.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::test::{self, TestRequest};

use super::fixture::{Answer, Fixture, USUAL, answer};
use crate::http::metrics::{self, Render};
use crate::http::routes::{DEMO_ROUTES, ROUTES};
use crate::telemetry;

const MARKER: &str = "0123456789abcdef0123456789abcdef";

#[actix_web::test]
async fn requests_are_counted_by_route_pattern_and_nothing_they_contain() {
    let metrics = telemetry::metrics();
    let fixture = Fixture::new();
    let key = fixture.key(USUAL).await;
    for path in [
        "/v1/profiles/prof_MARKER",
        "/v1/connect/integrations/int_MARKER",
        "/v1/connect/MARKER",
        "/v1/connect/twitter/callback?code=MARKER&state=MARKER",
        "/connect/selection/MARKER",
        "/v1/connect/linkedin/selection/MARKER",
        "/MARKER",
        "/v1/health?MARKER",
    ] {
        fixture.get(&key, &path.replace("MARKER", MARKER)).await;
    }
    fixture.get("", &format!("/v1/health?{}", MARKER.repeat(300))).await;
    let made_up = TestRequest::with_uri("/v1/health").method("MARKER".parse().unwrap());
    fixture.send(made_up.to_request()).await;

    let shown = metrics.render();
    let lines = |name: &'static str| shown.lines().filter(move |line| line.starts_with(&format!("{name}{{")));
    for line in [
        r#"{method="GET",route="/v1/profiles/{id}",status="404"}"#,
        r#"{method="GET",route="/v1/connect/{platform}/callback",status="400"}"#,
        r#"{method="GET",route="/connect/selection/{token}",status="404"}"#,
        r#"{method="GET",route="none",status="404"}"#,
        r#"{method="GET",route="/v1/health",status="200"}"#,
        r#"{method="GET",route="/v1/health",status="414"}"#,
        r#"{method="other",route="/v1/health",status="405"}"#,
    ] {
        assert!(lines("postpeer_http_requests_total").any(|shown| shown.contains(line)), "{line}\n{shown}");
    }
    assert!(shown.contains(r#"postpeer_http_request_seconds_bucket{route="/v1/health",le="0.005"} "#), "{shown}");
    for secret in [MARKER, "MARKER", &key] {
        assert!(!shown.contains(secret), "{shown}");
    }
    // Other tests of this process are counted too, and two of their routes are in no table.
    let is_known = |route: &str| {
        ["none", "/json", "/page"].contains(&route)
            || ROUTES.iter().chain(DEMO_ROUTES).any(|known| known.paths.contains(&route))
    };
    for line in lines("postpeer_http_requests_total") {
        let route = line.split("route=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(is_known(route), "{line}");
    }
}

async fn ask(request: TestRequest) -> Answer {
    let render: Render = Arc::new(|| "postpeer_build_info{version=\"1\"} 1\n".to_owned());
    let service = test::init_service(metrics::app(render)).await;
    answer(&service, request.to_request()).await
}

#[actix_web::test]
async fn metrics_are_served_at_one_path_to_read() {
    let there = ask(TestRequest::get().uri("/metrics")).await;
    assert_eq!(there.status, StatusCode::OK);
    assert_eq!(there.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(there.text, "postpeer_build_info{version=\"1\"} 1\n");
    let head = ask(TestRequest::with_uri("/metrics").method("HEAD".parse().unwrap())).await;
    assert_eq!((head.status, head.header("content-type")), (there.status, there.header("content-type")));
    assert_eq!((head.text.as_str(), head.header("content-length")), ("", Some(there.text.len().to_string().as_str())));
    let mut all = vec![there, head];
    for path in ["/", "/metrics/", "/metrics/x", "/healthz", "/v1/profiles", "//metrics"] {
        let answer = ask(TestRequest::get().uri(path)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        all.push(answer);
    }
    for method in ["DELETE", "OPTIONS", "POST", "PROPFIND", "PUT", "TRACE"] {
        let answer = ask(TestRequest::with_uri("/metrics").method(method.parse().unwrap())).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        all.push(answer);
    }
    for answer in all {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{}", answer.text);
        }
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
        assert_eq!(answer.header("strict-transport-security"), None);
    }
}
