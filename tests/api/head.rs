//! HEAD, which monitors send: answered like GET, without the body, unless a GET would use something up.

use std::collections::BTreeSet;

use postpeer::http::routes::ROUTES;
use postpeer::sandbox::Answer;

use crate::support::{Reply, TestBroker, parameter};

/// Sends a request on a raw socket, which shows what a client would take for the next answer.
async fn raw(broker: &TestBroker, method: &str, path: &str, key: Option<&str>) -> Reply {
    let key = key.map(|key| format!("x-access-key: {key}\r\n")).unwrap_or_default();
    broker.raw(format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{key}\r\n").as_bytes()).await
}

/// The headers but those that differ from one answer to the next.
fn lasting(reply: &Reply) -> BTreeSet<(String, String)> {
    let pairs = reply.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    pairs.filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_answered_like_a_get_without_the_body() {
    let broker = TestBroker::start().await;
    let integration = broker.connect("twitter", "").await;
    let url = broker.begin("facebook", "headless=true&redirectUri=https://app.example/").await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    let token = parameter(&location, "selectionToken").unwrap();
    let mut answered = BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.methods().any(|method| method == "HEAD")) {
        for path in route.paths {
            let path =
                if path.contains("/integrations/") { path.replace("{id}", &integration) } else { (*path).into() };
            let path = path.replace("{token}", &token);
            for key in [None, Some(broker.key.as_str())] {
                let get = raw(&broker, "GET", &path, key).await;
                let head = raw(&broker, "HEAD", &path, key).await;
                assert_eq!((head.status, lasting(&head)), (get.status, lasting(&get)), "{path}");
                assert_eq!(head.header("content-length"), get.text.len().to_string(), "{path}");
                assert_eq!(head.text, "", "{path}");
                if key.is_some() && get.status == 200 {
                    answered.insert(route.paths[0]);
                }
            }
        }
    }
    let expected = [
        "/connect/selection/{token}",
        "/documentation",
        "/documentation/json",
        "/healthz",
        "/readyz",
        "/v1/apps/",
        "/v1/audit",
        "/v1/connect/facebook/selection/{token}",
        "/v1/connect/integrations",
        "/v1/connect/integrations/{id}",
        "/v1/health",
        "/v1/health/auth",
        "/v1/platforms",
        "/v1/profiles/",
    ];
    assert_eq!(answered.into_iter().collect::<Vec<_>>(), expected);
}

/// A client may send the next request before it has the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body_whatever_follows_it() {
    let broker = TestBroker::start().await;
    let next = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for (path, status) in
        [("/documentation", 200), ("/v1/profiles", 401), ("/nothing", 404), ("/v1/connect/twitter/callback", 405)]
    {
        let both = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n{next}");
        let reply = broker.raw(both.as_bytes()).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.header("content-length").parse::<u32>().unwrap() > 100, "{path}");
        assert!(
            reply.text.starts_with("HTTP/1.1 200 OK\r\n") && reply.text.ends_with("{\"ok\":true}"),
            "{}",
            reply.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_uses_nothing_up() {
    let broker = TestBroker::start().await;
    let integration = broker.connect("twitter", "").await;
    let flows = || broker.sql().query_row("SELECT count(*) FROM flows", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = flows();
    for path in [
        "/v1/connect/twitter".to_owned(),
        "/v1/connect/twitter/callback?state=x&code=y".to_owned(),
        format!("/v1/connect/integrations/{integration}/token"),
    ] {
        let head = raw(&broker, "HEAD", &path, Some(&broker.key)).await;
        assert_eq!((head.status, head.header("allow"), head.text.as_str()), (405, "GET", ""), "{path}");
    }
    assert_eq!(flows(), before);
}
