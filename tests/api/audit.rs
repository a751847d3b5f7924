//! The audit trail: calls every changing route of the server's own table, and expects exactly the entries that this
//! file names. A new route that changes something fails here until this file knows its call and its entries.

use std::time::Duration;

use postpeer::background;
use postpeer::broker::begin::BeginConnect;
use postpeer::domain::access_key::Scope;
use postpeer::http::routes::{ROUTES, Route};
use postpeer::sandbox::{self, Answer, Fault, Step};
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker, parameter};

const BACK: &str = "redirectUri=https://app.example/back";

/// A broker, its trail as far as it was read, and one thing of each kind.
struct Audited {
    broker: TestBroker,
    seen: u64,
    app: String,
    integration: String,
    profile: String,
}

impl Audited {
    async fn start() -> Self {
        let broker = TestBroker::start().await;
        let app = json!({"platform": "twitter", "name": "App", "clientId": "cid", "clientSecret": "cs"});
        let app = broker.call("POST", "/v1/apps", Some(app)).await;
        let profile = broker.call("POST", "/v1/profiles", Some(json!({"name": "Profile"}))).await;
        let integration = broker.connect("pinterest", "").await;
        let (app, profile) = (text(&app.json["app"]["id"]), text(&profile.json["profile"]["id"]));
        let mut audited = Self { broker, seen: 0, app, integration, profile };
        audited.entries().await;
        audited
    }

    /// The entries since the last time.
    async fn entries(&mut self) -> Vec<Value> {
        let entries = trail(&self.broker, &format!("since={}", self.seen)).await;
        if let Some(last) = entries.last() {
            self.seen = last["id"].as_u64().unwrap();
        }
        entries
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let reply = self.broker.call(method, path, body).await;
        assert!(reply.status < 300, "{method} {path}: {}", reply.text);
        reply
    }

    /// A selection's token.
    async fn selection(&mut self, platform: &str) -> String {
        let url = self.broker.begin(platform, &format!("{BACK}&headless=true")).await;
        let location = self.broker.browse(&self.broker.consent(&url, &Answer::allow())).await.location();
        self.entries().await;
        parameter(&location, "selectionToken").unwrap()
    }

    /// Calls a route. Returns the entries that it must leave: action and actor, and how it went.
    async fn exercise(&mut self, route: &Route) -> Vec<[String; 3]> {
        let (method, pattern) = (route.method.as_str(), route.paths[0]);
        let path = pattern.replace("{platform}", "twitter");
        let of_key = |action: &str| vec![[action, "access_key", "done"].map(str::to_owned)];
        let of_person = |action: &str, outcome: &str| vec![[action, "person", outcome].map(str::to_owned)];
        match (method, pattern) {
            ("GET", "/v1/connect/{platform}") => {
                self.call("GET", &format!("{path}?{BACK}"), None).await;
                // It changes no account. How it ends has an entry, which names the key that began it.
                Vec::new()
            }
            ("GET", "/v1/connect/{platform}/callback") => {
                let url = self.broker.begin("twitter", BACK).await;
                self.entries().await;
                self.broker.browse(&self.broker.consent(&url, &Answer::allow())).await;
                of_person("account.connected", "done")
            }
            ("GET", "/connect/result/{ticket}/retry") => {
                let declined = self.broker.consent(&self.broker.begin("twitter", "").await, &Answer::deny());
                let result = self.broker.visit(&declined).await.location();
                self.entries().await;
                assert_eq!(self.broker.visit(&format!("{result}/retry")).await.status, 303);
                // It begins a connection, as above.
                Vec::new()
            }
            ("GET", "/v1/connect/integrations/{id}/token") => {
                let path = path.replace("{id}", &self.integration);
                self.call("GET", &path, None).await;
                // Another read within the minute is counted, and no entry.
                self.call("GET", &path, None).await;
                of_key("token.read")
            }
            ("POST", "/v1/connect/bluesky/auth") => {
                let account = sandbox::bluesky_accounts().first().unwrap();
                let body = json!({"identifier": account.handle, "password": account.app_password});
                self.call("POST", &path, Some(body)).await;
                of_key("account.connected")
            }
            ("POST", "/connect/confirm/{token}") => {
                let asking = self.broker.reloaded(|config| config.connect.confirm = true).await;
                let key = self.broker.broker().authenticate(&self.broker.key, None).await.unwrap();
                let wanted = BeginConnect { platform: "twitter".to_owned(), ..BeginConnect::default() };
                let path = asking.begin_connect(&key, wanted).await.unwrap().url;
                self.entries().await;
                let request = self.broker.request("POST", &path).header("sec-fetch-site", "same-origin");
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                let reply = Reply::of(request.body("action=cancel").send().await.unwrap()).await;
                assert_eq!(reply.status, 303, "{}", reply.text);
                of_person("connection.ended", "cancelled")
            }
            ("POST", "/v1/connect/flows/{id}/complete") => {
                let begun = self.broker.get("/v1/connect/twitter?completion=true").await;
                self.broker.browse(&self.broker.consent(&text(&begun.json["url"]), &Answer::allow())).await;
                let path = path.replace("{id}", &text(&begun.json["flowId"]));
                assert_eq!(self.entries().await[0]["action"], "connection.awaits_completion");
                self.call("POST", &path, None).await;
                // Once more it is answered, and changes nothing.
                self.call("POST", &path, None).await;
                [of_key("connection.completed"), of_key("account.connected")].concat()
            }
            ("POST", "/connect/selection/{token}") => {
                let path = path.replace("{token}", &self.selection("facebook").await);
                let request = self.broker.request("POST", &path).header("sec-fetch-site", "same-origin");
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                let reply = Reply::of(request.body("action=cancel").send().await.unwrap()).await;
                assert_eq!(reply.status, 303, "{}", reply.text);
                of_person("connection.ended", "cancelled")
            }
            ("POST", pattern) if pattern.ends_with("/selection/{token}") => {
                let platform = pattern.split('/').nth(3).unwrap();
                let path = path.replace("{token}", &self.selection(platform).await);
                let offered = self.broker.browse(&path).await;
                let chosen = json!({"selectedAccountIds": [offered.json["accounts"][0]["id"]]});
                self.call("POST", &path, Some(chosen.clone())).await;
                // The same choice once more is answered, and changes nothing.
                self.call("POST", &path, Some(chosen)).await;
                of_person("account.connected", "done")
            }
            ("POST", "/v1/apps/") => {
                let app = json!({"platform": "tiktok", "name": "New", "clientId": "new", "clientSecret": "new"});
                self.call("POST", &path, Some(app)).await;
                of_key("app.created")
            }
            ("PATCH", "/v1/apps/{id}") => {
                let path = path.replace("{id}", &self.app);
                self.call("PATCH", &path, Some(json!({"name": "Changed"}))).await;
                self.call("PATCH", &path, Some(json!({"clientSecret": "changed"}))).await;
                self.call("PATCH", &path, Some(json!({}))).await;
                [of_key("app.updated"), of_key("app.secret_replaced")].concat()
            }
            ("DELETE", "/v1/apps/{id}") => {
                self.call("DELETE", &path.replace("{id}", &self.app), None).await;
                of_key("app.deleted")
            }
            ("PATCH", "/v1/connect/integrations/{id}") => {
                let (path, body) = (path.replace("{id}", &self.integration), json!({"profileId": self.profile}));
                self.call("PATCH", &path, Some(body.clone())).await;
                // Once more moves nothing.
                self.call("PATCH", &path, Some(body)).await;
                of_key("account.moved")
            }
            ("DELETE", "/v1/connect/integrations/{id}") => {
                self.call("DELETE", &path.replace("{id}", &self.integration), None).await;
                vec![["account.disconnected", "access_key", "unsupported"].map(str::to_owned)]
            }
            ("POST", "/v1/connect/links") => {
                self.call("POST", &path, Some(json!({}))).await;
                of_key("link.created")
            }
            ("DELETE", "/v1/connect/links/{id}") => {
                let made = self.call("POST", "/v1/connect/links", Some(json!({}))).await;
                self.entries().await;
                let path = path.replace("{id}", made.json["link"]["id"].as_str().unwrap());
                self.call("DELETE", &path, None).await;
                // Once more changes nothing.
                self.call("DELETE", &path, None).await;
                of_key("link.revoked")
            }
            ("POST", "/connect/link/{token}") => {
                let made = self.call("POST", "/v1/connect/links", Some(json!({"platforms": ["bluesky"]}))).await;
                self.entries().await;
                let account = sandbox::bluesky_accounts().first().unwrap();
                let request = self.broker.request("POST", made.json["link"]["url"].as_str().unwrap());
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                let (handle, password) = (account.handle, account.app_password);
                let body = format!("connect=bluesky&identifier={handle}&password={password}");
                assert_eq!(request.body(body).send().await.unwrap().status(), 303);
                vec![["account.connected", "link", "done"].map(str::to_owned)]
            }
            ("POST", "/v1/profiles/") => {
                self.call("POST", &path, Some(json!({"name": "New"}))).await;
                of_key("profile.created")
            }
            ("PATCH", "/v1/profiles/{id}") => {
                let path = path.replace("{id}", &self.profile);
                self.call("PATCH", &path, Some(json!({"name": "Changed"}))).await;
                self.call("PATCH", &path, Some(json!({}))).await;
                of_key("profile.updated")
            }
            ("DELETE", "/v1/profiles/{id}") => {
                self.call("DELETE", &path.replace("{id}", &self.profile), None).await;
                of_key("profile.deleted")
            }
            (method, path) => panic!("{method} {path}: call it here, and say which entries it leaves"),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn trail(broker: &TestBroker, query: &str) -> Vec<Value> {
    let reply = broker.get(&format!("/v1/audit?{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json["entries"].as_array().unwrap().clone()
}

fn ids(entries: &[Value]) -> Vec<u64> {
    entries.iter().map(|entry| entry["id"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_and_every_token_that_is_handed_out_leaves_an_entry() {
    let mut audited = Audited::start().await;
    let key: String = audited.broker.sql().query_row("SELECT id FROM access_keys", [], |row| row.get(0)).unwrap();
    let mut routes: Vec<_> = ROUTES.iter().filter(|route| route.changes()).collect();
    routes.sort_by_key(|route| route.method == "DELETE");
    assert!(routes.len() > 15, "{}", routes.len());
    for route in routes {
        let line = format!("{} {}", route.method, route.paths[0]);
        let expected = audited.exercise(route).await;
        let entries = audited.entries().await;
        let found: Vec<_> =
            entries.iter().map(|entry| ["action", "actor", "outcome"].map(|member| text(&entry[member]))).collect();
        assert_eq!(found, expected, "{line}");
        for entry in &entries {
            assert_eq!(entry["accessKeyId"], *key, "{line}");
            assert_eq!(entry["address"], "127.0.0.1", "{line}");
            let (action, object) = (text(&entry["action"]), text(&entry["object"]));
            let kinds = ["account int_", "app app_", "connection flow_", "link link_", "profile prof_", "token int_"];
            let kind = format!("{} {}", action.split('.').next().unwrap(), object.split_inclusive('_').next().unwrap());
            assert!(kinds.contains(&kind.as_str()), "{line}: {kind}");
            assert_eq!(
                entry["flowId"].is_string(),
                action.starts_with("connection") || text(&entry["actor"]) == "person" || line.ends_with("/complete")
            );
        }
    }
    // What only reads leaves none.
    for route in ROUTES.iter().filter(|route| !route.changes()) {
        let path = route.paths[0].replace("{id}", &audited.integration).replace("{token}", "unknown");
        audited.broker.get(&path).await;
    }
    assert_eq!(audited.entries().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fail_and_choices_that_wait_are_in_the_trail() {
    let broker = TestBroker::start().await;
    let denied = broker.consent(&broker.begin("twitter", BACK).await, &Answer::deny());
    broker.browse(&denied).await;
    broker.browse(&denied).await;
    broker.sandbox().fail_next("twitter", Step::Token, Fault::Garbage, 1).unwrap();
    broker.browse(&broker.consent(&broker.begin("twitter", BACK).await, &Answer::allow())).await;
    broker.browse(&broker.consent(&broker.begin("facebook", BACK).await, &Answer::allow())).await;
    let entries = trail(&broker, "").await;
    let told = |entry: &Value| format!("{} {}", text(&entry["action"]), text(&entry["outcome"]));
    let found: Vec<_> = entries.iter().skip(1).map(told).collect();
    let expected =
        ["connection.ended cancelled", "connection.ended platform_answer_unreadable", "selection.offered done"];
    assert_eq!(found, expected);
    for entry in &entries[1..] {
        assert_eq!(entry["actor"], "person");
        assert_eq!(entry["accessKeyId"], entries[0]["object"], "the key that began the connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_read_in_parts_and_by_its_own_project_only() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    for name in ["a", "b", "c"] {
        broker.clock.advance(Duration::from_secs(100));
        broker.call("POST", "/v1/profiles", Some(json!({"name": name}))).await;
        broker.call_as(&other, "POST", "/v1/profiles", Some(json!({"name": name}))).await;
    }
    let all = trail(&broker, "").await;
    let actions: Vec<_> = all.iter().map(|entry| text(&entry["action"])).collect();
    assert_eq!(actions, ["access_key.created", "profile.created", "profile.created", "profile.created"]);
    assert_eq!(
        (&all[0]["actor"], &all[0]["accessKeyId"], &all[0]["address"]),
        (&json!("command_line"), &Value::Null, &Value::Null)
    );
    let ids_of_all = ids(&all);
    assert!(ids_of_all.is_sorted());
    let first = trail(&broker, "limit=2").await;
    assert_eq!(ids(&first), ids_of_all[..2]);
    let rest = trail(&broker, &format!("since={}", ids_of_all[1])).await;
    assert_eq!(ids(&rest), ids_of_all[2..]);
    let since = trail(&broker, &format!("since={}", text(&all[2]["at"]))).await;
    assert_eq!(ids(&since), ids_of_all[2..]);
    // A raw + is a space in a query.
    let (right, wrong) = ("since=2026-05-03T08:00:00%2B00:00", "since=2026-05-03T08:00:00+00:00");
    assert_eq!(ids(&trail(&broker, right).await), ids_of_all);
    let told = broker.get(&format!("/v1/audit?{wrong}")).await;
    assert!(told.status == 400 && told.text.contains("%2B"), "{}", told.text);
    for wrong in ["since=", "since=yesterday", "since=-1", "limit=0", "limit=101", "since=1&since=2", "Since=1"] {
        let reply = broker.get(&format!("/v1/audit?{wrong}")).await;
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.text);
    }
    let theirs = broker.call_as(&other, "GET", "/v1/audit", None).await.json["entries"].as_array().unwrap().clone();
    let actions: Vec<_> = theirs.iter().map(|entry| text(&entry["action"])).collect();
    let created = "profile.created";
    assert_eq!(actions, ["project.created", "access_key.created", created, created, created]);
    assert!(ids(&theirs).iter().all(|id| !ids_of_all.contains(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_revoked_and_changes_that_fail() {
    let broker = TestBroker::start().await;
    let (key, _) = broker.broker().create_access_key("default", "old", Scope::ALL).await.unwrap();
    assert!(broker.broker().revoke_access_key(key.id).await.unwrap());
    assert!(!broker.broker().revoke_access_key(key.id).await.unwrap());
    assert!(broker.broker().create_project("default").await.is_err());
    let unknown = broker.call("DELETE", "/v1/profiles/prof_00000000000000000000000000000000", None).await;
    assert_eq!(unknown.status, 404);
    let entries = trail(&broker, "").await;
    let found: Vec<_> = entries.iter().map(|entry| (text(&entry["action"]), text(&entry["object"]))).collect();
    let of_key = |action: &str| (action.to_owned(), key.id.to_string());
    assert_eq!(found[1..], [of_key("access_key.created"), of_key("access_key.revoked")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_purged_when_they_were_kept_for_long_enough() {
    let broker = TestBroker::builder().setting("POSTPEER_AUDIT__KEEP_DAYS", "2").start().await;
    for name in ["a", "b"] {
        broker.call("POST", "/v1/profiles", Some(json!({"name": name}))).await;
        broker.clock.advance(Duration::from_hours(25));
    }
    background::purge_once(broker.broker()).await;
    assert_eq!(ids(&trail(&broker, "").await), [3], "two days old, and one");
    broker.clock.advance(Duration::from_hours(24));
    background::purge_once(broker.broker()).await;
    assert_eq!(ids(&trail(&broker, "").await), [3], "the newest stays, so that no id is used twice");
    let error = broker.sql().execute("DELETE FROM audit", []).unwrap_err();
    assert!(error.to_string().contains("append-only"), "{error}");
}
