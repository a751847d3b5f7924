//! A public URL with a path: every link carries it, and a proxy may strip it from requests or not.

use postpeer::http::routes::{Access, ROUTES};
use postpeer::sandbox::Answer;

use crate::support::{Reply, TestBroker, parameter};

const PATH: &str = "/connect-svc";

async fn start(path: &str) -> TestBroker {
    TestBroker::builder().path(path).start().await
}

/// Browses a public URL through a proxy that strips the path, or one that does not.
async fn through(broker: &TestBroker, strips: bool, url: &str, path: &str) -> Reply {
    assert!(url.starts_with(&format!("{}{path}/", broker.url)), "{url}");
    let url = if strips { url.replacen(path, "", 1) } else { url.to_owned() };
    broker.browse(&url).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_keeps_the_path_at_every_step() {
    for path in [PATH, "/connect", "/a/b.c/~d", "/v1", "/v1/connect"] {
        let broker = start(path).await;
        for strips in [true, false] {
            let url = broker.begin("twitter", "redirectUri=https://app.example/back").await;
            let callback = format!("{}{path}/v1/connect/twitter/callback", broker.url);
            assert_eq!(parameter(&url, "redirect_uri").unwrap(), callback);
            let done = through(&broker, strips, &broker.consent(&url, &Answer::allow()), path).await;
            assert!(done.location().starts_with("https://app.example/back?status=success"), "{}", done.text);

            let url = broker.begin("facebook", "redirectUri=https://app.example/back").await;
            let page = through(&broker, strips, &broker.consent(&url, &Answer::allow()), path).await.location();
            assert!(page.starts_with(&format!("{}{path}/connect/selection/", broker.url)), "{page}");
            let shown = through(&broker, strips, &page, path).await;
            assert_eq!(shown.status, 200, "{}", shown.text);
            // A form without an action goes to the page's own URL, which the browser knows with the path.
            assert!(shown.text.contains("<form id=\"choose\" method=\"post\" autocomplete=\"off\">"), "{}", shown.text);
            let policy = shown.header("content-security-policy");
            assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
            let action = if strips { page.replacen(path, "", 1) } else { page.clone() };
            let form = broker.request("POST", &action).header("content-type", "application/x-www-form-urlencoded");
            let cancelled = Reply::of(form.body("action=cancel").send().await.unwrap()).await;
            assert!(
                cancelled.location().starts_with("https://app.example/back?status=cancelled"),
                "{}",
                cancelled.text
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_served_with_and_without_the_path() {
    let broker = start(PATH).await;
    for route in ROUTES {
        for path in route.paths {
            let path = path.replace("{platform}", "nothing").replace("{id}", "x").replace("{token}", "x");
            for key in ["", broker.key.as_str()] {
                let ask = async |path: &str| {
                    broker.call_as(key, route.method.as_str(), path, Some(serde_json::json!({}))).await
                };
                let (bare, below) = (ask(&path).await, ask(&format!("{PATH}{path}?x=1")).await);
                assert_eq!((below.status, below.code()), (bare.status, bare.code()), "{} {path}", route.method);
                let is_file = path.starts_with("/assets/");
                assert!(is_file || bare.status != 404 || bare.code() != "not_found", "{} {path}", route.method);
                assert_eq!(bare.status == 401, key.is_empty() && route.access != Access::Public, "{path}");
            }
            let twice = broker.get(&format!("{PATH}{PATH}{path}")).await;
            assert_eq!((twice.status, twice.code()), (404, "not_found"), "{path}");
        }
    }
    for nothing in [PATH, "/connect-svc/", "/connect-svc/nothing", "/connect-svcv1/health", "/connect-svc//v1/health"] {
        assert_eq!(broker.get(nothing).await.code(), "not_found", "{nothing}");
    }
    for other in ["/connect", "/v1/connect", "/v1/profiles"] {
        let broker = start(other).await;
        for health in ["/healthz", "/readyz", "/v1/health", "/documentation"] {
            assert_eq!(broker.get(&format!("{other}{health}")).await.status, 200, "{other}{health}");
            assert_eq!(broker.get(health).await.status, 200, "{health}");
        }
        assert_eq!(broker.get("/v1/profiles").await.status, 200, "{other}");
        assert_eq!(broker.get("/v1/connect/integrations").await.status, 200, "{other}");
    }
    assert_eq!(TestBroker::start().await.get("/connect-svc/v1/health").await.code(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_carries_the_path() {
    for path in ["", PATH] {
        let broker = start(path).await;
        let page = broker.get("/documentation").await.text;
        assert!(page.contains(&format!("href=\"{path}/documentation/json\"")), "{page}");
        assert!(page.contains(&format!("{}{path}/v1/profiles/", broker.url)), "{page}");
        let document = broker.get("/documentation/json").await.json;
        assert_eq!(document["servers"], serde_json::json!([{"url": format!("{}{path}", broker.url)}]));
    }
}
