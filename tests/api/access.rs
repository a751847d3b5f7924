//! Calls every route with every kind of key, from the server's own table of routes. A new route is tested as soon as
//! it is in that table, and fails here until this file knows its path and body.

use postpeer::domain::access_key::Scope;
use postpeer::http::routes::{Access, ROUTES, Route};
use postpeer::sandbox::{self, Answer};
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker, expose, parameter};

/// One resource of each kind, which a route without its check would change.
struct Things {
    app: String,
    /// A connection that waits for its caller.
    flow: String,
    integration: String,
    link: String,
    profile: String,
}

impl Things {
    async fn of(broker: &TestBroker) -> Self {
        let app = json!({"platform": "twitter", "name": "App", "clientId": "cid", "clientSecret": "cs"});
        let app = broker.call("POST", "/v1/apps", Some(app)).await;
        let profile = broker.call("POST", "/v1/profiles", Some(json!({"name": "Profile"}))).await;
        let begun = broker.get("/v1/connect/threads?completion=true").await;
        broker.browse(&broker.consent(begun.json["url"].as_str().unwrap(), &Answer::allow())).await;
        let link = broker.call("POST", "/v1/connect/links", Some(json!({}))).await;
        Self {
            flow: begun.json["flowId"].as_str().unwrap().to_owned(),
            app: app.json["app"]["id"].as_str().unwrap().to_owned(),
            integration: broker.connect("pinterest", "").await,
            link: link.json["link"]["id"].as_str().unwrap().to_owned(),
            profile: profile.json["profile"]["id"].as_str().unwrap().to_owned(),
        }
    }

    /// A path that matches the pattern and would have an effect.
    fn path(&self, pattern: &str) -> String {
        let id = match pattern.split('/').nth(2).unwrap_or_default() {
            "apps" => &self.app,
            "connect" if pattern.contains("/flows/") => &self.flow,
            "connect" if pattern.contains("/links/") => &self.link,
            "connect" => &self.integration,
            "profiles" => &self.profile,
            _ => "",
        };
        let path = pattern.replace("{id}", id).replace("{platform}", "twitter");
        assert!(!path.contains('{') && !path.contains("//"), "{pattern}: give its parameter a value here");
        path
    }

    /// A body that the route takes.
    fn body(&self, route: &Route) -> Option<Value> {
        match (route.method.as_str(), route.paths[0]) {
            ("DELETE" | "GET", _) | (_, "/v1/connect/flows/{id}/complete") => None,
            ("PATCH", "/v1/apps/{id}") => Some(json!({"name": "Changed", "clientSecret": "changed"})),
            ("PATCH", "/v1/connect/integrations/{id}") => Some(json!({"profileId": self.profile})),
            ("PATCH", "/v1/profiles/{id}") => Some(json!({"name": "Changed"})),
            ("POST", "/v1/apps/") => {
                Some(json!({"platform": "tiktok", "name": "New", "clientId": "new", "clientSecret": "new"}))
            }
            ("POST", "/v1/connect/bluesky/auth") => {
                let account = sandbox::bluesky_accounts().first().unwrap();
                Some(json!({"identifier": account.handle, "password": account.app_password}))
            }
            ("POST", "/v1/connect/links") => Some(json!({"platforms": ["twitter"]})),
            ("POST", "/v1/profiles/") => Some(json!({"name": "New"})),
            (method, path) => panic!("{method} {path}: give it a body here"),
        }
    }
}

/// The routes that need a key, each under each of its paths.
fn guarded() -> impl Iterator<Item = (&'static Route, &'static str)> {
    let guarded = ROUTES.iter().filter(|route| route.access != Access::Public);
    guarded.flat_map(|route| route.paths.iter().map(move |path| (route, *path)))
}

/// The body without its request id, which must equal the header.
fn body(reply: &Reply) -> Value {
    let mut body = reply.json.clone();
    let id = body.as_object_mut().unwrap_or_else(|| panic!("{}", reply.text)).remove("requestId");
    assert_eq!(id.as_ref().and_then(Value::as_str), Some(reply.header("x-request-id")), "{}", reply.text);
    body
}

/// Exactly these routes need no key. A route added without a rule fails here.
#[test]
fn what_needs_no_key() {
    let public: Vec<String> = ROUTES
        .iter()
        .filter(|route| route.access == Access::Public)
        .map(|route| format!("{} {}", route.method, route.paths[0]))
        .collect();
    assert_eq!(
        public,
        [
            "GET /assets/{file}",
            "GET /connect/confirm/{token}",
            "POST /connect/confirm/{token}",
            "GET /connect/link/{token}",
            "POST /connect/link/{token}",
            "GET /connect/result/{ticket}",
            "GET /connect/result/{ticket}/retry",
            "GET /connect/selection/{token}",
            "POST /connect/selection/{token}",
            "GET /documentation",
            "GET /documentation/json",
            "GET /healthz",
            "GET /readyz",
            "GET /v1/connect/facebook/selection/{token}",
            "POST /v1/connect/facebook/selection/{token}",
            "GET /v1/connect/googlebusiness/selection/{token}",
            "POST /v1/connect/googlebusiness/selection/{token}",
            "GET /v1/connect/linkedin/selection/{token}",
            "POST /v1/connect/linkedin/selection/{token}",
            "GET /v1/connect/{platform}/callback",
            "GET /v1/health",
        ]
    );
    for route in ROUTES {
        let expected = match (route.method.as_str(), route.paths[0]) {
            (_, "/v1/health/auth") => Access::AnyKey,
            ("GET", "/v1/audit") => Access::Key(Scope::Manage),
            ("GET", "/v1/connect/{platform}")
            | ("POST", "/v1/connect/bluesky/auth" | "/v1/connect/flows/{id}/complete")
            | (_, "/v1/connect/links" | "/v1/connect/links/{id}") => Access::Key(Scope::Connect),
            ("GET", "/v1/connect/integrations/{id}/token") => Access::Key(Scope::Tokens),
            _ if route.access == Access::Public => Access::Public,
            ("GET", _) => Access::Key(Scope::Read),
            _ => Access::Key(Scope::Manage),
        };
        assert_eq!(route.access, expected, "{} {}", route.method, route.paths[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_refused_alike_everywhere() {
    let broker = TestBroker::start().await;
    let things = Things::of(&broker).await;
    let (revoked, revoked_key) = broker.broker().create_access_key("default", "old", Scope::ALL).await.unwrap();
    assert!(broker.broker().revoke_access_key(revoked.id).await.unwrap());
    let revoked = expose(&revoked_key);
    let unknown = {
        let elsewhere = TestBroker::start().await;
        for _ in 0..3 {
            elsewhere.key("default", Scope::ALL).await;
        }
        elsewhere.key("default", Scope::ALL).await
    };
    let good = &broker.key;
    let before = broker.stored();
    let expected = json!({
        "code": "invalid_access_key",
        "error": "Send a valid access key in exactly one x-access-key header.",
    });
    let mut tried = 0;
    for (route, path) in guarded() {
        let path = things.path(path);
        let request = |path: &str| {
            let request = broker.request(route.method.as_str(), path);
            match things.body(route) {
                Some(body) => request.header("content-type", "application/json").body(body.to_string()),
                None => request,
            }
        };
        let header = |value: &str| request(&path).header("x-access-key", value);
        for (what, request) in [
            ("none", request(&path)),
            ("empty", header("")),
            ("malformed", header("nonsense")),
            ("mistyped", header(&format!("{}x", &good[..good.len() - 1]))),
            ("in capitals", header(&good.to_uppercase())),
            ("unknown", header(&unknown)),
            ("revoked", header(&revoked)),
            ("twice", header(good).header("x-access-key", good)),
            ("beside another", header(good).header("x-access-key", &unknown)),
            ("as a bearer token", request(&path).header("authorization", format!("Bearer {good}"))),
            ("in the query", request(&format!("{path}?x-access-key={good}&accessKey={good}"))),
        ] {
            let reply = Reply::of(request.send().await.unwrap()).await;
            let line = format!("{} {path}, key {what}", route.method);
            assert_eq!((reply.status, reply.header("cache-control")), (401, "no-store"), "{line}: {}", reply.text);
            assert_eq!(body(&reply), expected, "{line}");
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
    assert!(broker.stored() == before, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let broker = TestBroker::start().await;
    let things = Things::of(&broker).await;
    let mut keys = Vec::new();
    for &scope in Scope::ALL {
        keys.push((scope, broker.key("default", &[scope]).await));
    }
    let before = broker.stored();
    for (route, path) in guarded() {
        let path = things.path(path);
        for (scope, key) in &keys {
            let line = format!("{} {path} with {scope}", route.method);
            // Allowed calls come later, so that their effects cannot hide a forbidden one.
            let Access::Key(needed) = route.access else { continue };
            if needed == *scope {
                continue;
            }
            let reply = broker.call_as(key, route.method.as_str(), &path, things.body(route)).await;
            let expected = json!({
                "code": "insufficient_scope",
                "error": format!("The access key lacks the scope '{needed}' that this needs."),
            });
            assert_eq!((reply.status, body(&reply)), (403, expected), "{line}");
            // The key is checked before the body.
            let reply = broker.request(route.method.as_str(), &path).header("x-access-key", key).body("garbage");
            assert_eq!(reply.send().await.unwrap().status(), 403, "{line}");
        }
    }
    assert!(broker.stored() == before, "something was written");

    // Each route with exactly the scope in the table; deletions come last.
    let mut routes: Vec<_> = guarded().collect();
    routes.sort_by_key(|(route, path)| (route.method == "DELETE", *path));
    for (route, path) in routes {
        let path = things.path(path);
        for (scope, key) in &keys {
            if route.access == Access::AnyKey || route.access == Access::Key(*scope) {
                let reply = broker.call_as(key, route.method.as_str(), &path, things.body(route)).await;
                let conflict = reply.code() == "duplicate_app";
                assert!(reply.status < 300 || conflict, "{} {path} with {scope}: {}", route.method, reply.text);
            }
        }
    }
    let left = broker.get("/v1/connect/integrations").await;
    let left: Vec<_> = left.json["integrations"].as_array().unwrap().iter().map(|one| &one["platform"]).collect();
    assert_eq!(left, ["threads", "bluesky"], "what was there is deleted, what was connected is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_from_the_next_request_on() {
    let broker = TestBroker::start().await;
    let (key, plain) = broker.broker().create_access_key("default", "short-lived", Scope::ALL).await.unwrap();
    let plain = expose(&plain);
    let url = broker.call_as(&plain, "GET", "/v1/connect/twitter?redirectUri=https://app.example/", None).await;
    assert_eq!(url.status, 200);
    assert_eq!(broker.call_as(&plain, "GET", "/v1/health/auth", None).await.status, 200);
    assert!(broker.broker().revoke_access_key(key.id).await.unwrap());
    assert_eq!(broker.call_as(&plain, "GET", "/v1/health/auth", None).await.status, 401);
    assert!(!broker.broker().revoke_access_key(key.id).await.unwrap(), "it was revoked before");
    assert_eq!(broker.get("/v1/health/auth").await.status, 200, "other keys stay");

    // Revoked beside the running broker, after every connection that reads has seen the key.
    let (key, plain) = broker.broker().create_access_key("default", "leaked", Scope::ALL).await.unwrap();
    let plain = expose(&plain);
    let asked = (0..64).map(|_| broker.call_as(&plain, "GET", "/v1/health/auth", None));
    assert!(futures_util::future::join_all(asked).await.iter().all(|reply| reply.status == 200));
    let revoke = "UPDATE access_keys SET revoked_at = created_at, mac = NULL, mac_dek_id = NULL WHERE id = ?1";
    assert_eq!(broker.sql().execute(revoke, [key.id.to_string()]).unwrap(), 1);
    let asked = (0..64).map(|_| broker.call_as(&plain, "GET", "/v1/health/auth", None));
    assert!(futures_util::future::join_all(asked).await.iter().all(|reply| reply.status == 401));

    // A connection in progress goes on: it belongs to the project, not to the key.
    let callback = broker.consent(url.json["url"].as_str().unwrap(), &Answer::allow());
    let location = broker.browse(&callback).await.location();
    assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "{location}");
}
