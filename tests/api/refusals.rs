//! Tables of requests that must be refused. They are sent byte for byte, so that no client tidies them up, and each
//! answer is checked for what all refusals share.

use std::fmt::Write as _;

use postpeer::domain::access_key::Scope;
use postpeer::sandbox::Answer;
use serde_json::json;

use crate::support::{Reply, TestBroker, parameter};

/// A secret that requests carry and no answer may repeat.
pub(crate) const SECRET: &str = "secret-marker";

/// Placeholders that a row may use in braces, with their values.
pub(crate) struct World {
    names: Vec<(&'static str, String)>,
}

impl World {
    /// A broker with two projects, each with one resource of each kind.
    pub(crate) async fn of(broker: &TestBroker) -> Self {
        let id = |reply: Reply, kind: &str| reply.json[kind]["id"].as_str().unwrap().to_owned();
        let profile = async |key: &str, name: &str| {
            id(broker.call_as(key, "POST", "/v1/profiles", Some(json!({"name": name}))).await, "profile")
        };
        let app = async |key: &str, platform: &str| {
            let body = json!({"platform": platform, "name": "Ours", "clientId": "cid", "clientSecret": SECRET});
            id(broker.call_as(key, "POST", "/v1/apps", Some(body)).await, "app")
        };
        let theirs = broker.key("theirs", Scope::ALL).await;
        let gone = profile(&broker.key, "Gone").await;
        assert_eq!(broker.call("DELETE", &format!("/v1/profiles/{gone}"), None).await.status, 200);
        let waiting = broker.begin("twitter", "redirectUri=https://app.example/back").await;
        let callback = broker.consent(&waiting, &Answer::allow());
        let names = vec![
            ("{app}", app(&broker.key, "twitter").await),
            ("{code}", parameter(&callback, "code").unwrap()),
            ("{gone}", gone),
            ("{integration}", broker.connect("pinterest", "").await),
            ("{key}", broker.key.clone()),
            ("{profile}", profile(&broker.key, "Ours").await),
            ("{state}", parameter(&callback, "state").unwrap()),
            ("{their app}", app(&theirs, "twitter").await),
            ("{their profile}", profile(&theirs, "Theirs").await),
            ("{tiktok app}", app(&broker.key, "tiktok").await),
        ];
        Self { names }
    }

    pub(crate) fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn get(&self, wanted: &str) -> &str {
        &self.names.iter().find(|(name, _)| *name == wanted).unwrap().1
    }
}

/// A request and its expected refusal.
pub(crate) struct Row {
    method: &'static str,
    target: String,
    pub(crate) headers: Vec<String>,
    body: Vec<u8>,
    status: u16,
    /// Empty when the answer is a page.
    code: &'static str,
}

/// A request with the valid key.
pub(crate) fn row(method: &'static str, target: impl Into<String>, status: u16, code: &'static str) -> Row {
    Row { headers: vec!["x-access-key: {key}".to_owned()], ..bare(method, target, status, code) }
}

/// A request without a key.
pub(crate) fn bare(method: &'static str, target: impl Into<String>, status: u16, code: &'static str) -> Row {
    Row { method, target: target.into(), headers: Vec::new(), body: Vec::new(), status, code }
}

/// A callback whose answer is a page.
pub(crate) fn callback(query: impl AsRef<str>) -> Row {
    bare("GET", format!("/v1/connect/twitter/callback?{}", query.as_ref()), 400, "")
}

impl Row {
    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    pub(crate) fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("content-type: application/json").body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.headers.push(format!("content-length: {}", self.body.len()));
        self
    }

    fn bytes(&self, world: &World) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n", self.method, self.target);
        for line in &self.headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        let mut bytes = world.fill(&head).into_bytes();
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// Differences between an answer and the expected refusal.
fn complaints(row: &Row, reply: &Reply, world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let code = if row.method == "HEAD" { "" } else { row.code };
    expect(reply.status == row.status && reply.code() == code, "status or code");
    let path = row.target.split('?').next().unwrap_or_default();
    let is_of_connection = path.starts_with("/connect/")
        || path.trim_end_matches('/').ends_with("/callback") && !path.starts_with("/v1/connect/integrations/");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", if is_of_connection { "" } else { "same-origin" }),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        // These must not appear in a refusal.
        ("access-control-allow-origin", ""),
        ("location", ""),
        ("server", ""),
        ("set-cookie", ""),
    ] {
        expect(reply.header(name) == value, name);
    }
    let policy = reply.header("content-security-policy");
    expect(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "policy");
    let id = reply.header("x-request-id");
    expect(id.starts_with("req_"), "x-request-id");
    let kind = reply.header("content-type");
    match row.code {
        "" if row.method == "HEAD" => expect(kind == "text/html; charset=utf-8", "page"),
        "" => expect(kind == "text/html; charset=utf-8" && reply.text.contains(id), "page with its request id"),
        _ if row.method == "HEAD" => expect(kind == "application/json", "JSON"),
        _ => {
            expect(kind == "application/json" && reply.json["requestId"] == id, "JSON with requestId");
            expect(reply.json["error"].as_str().is_some_and(|sentence| sentence.ends_with('.')), "no sentence");
        }
    }
    let whole = format!("{:?} {}", reply.headers, reply.text);
    for secret in [SECRET, world.get("{key}"), world.get("{state}"), world.get("{code}")] {
        expect(!whole.contains(secret), "tells a secret");
    }
    for internal in ["serde", "SQL", "sqlite", "line 1", "panicked", "src/"] {
        expect(!whole.contains(internal), "tells of its insides");
    }
    wrong
}

/// Sends each row, and fails with all rows that are not refused as expected.
pub(crate) async fn refuse(broker: &TestBroker, rows: Vec<Row>) {
    let world = World::of(broker).await;
    let before = broker.stored();
    let mut wrong = String::new();
    for row in rows {
        let reply = broker.raw(&row.bytes(&world)).await;
        let mut complaints = complaints(&row, &reply, &world);
        if broker.stored() != before {
            complaints.push("something was written".to_owned());
        }
        if !complaints.is_empty() {
            let request: String = String::from_utf8_lossy(&row.bytes(&world)).chars().take(300).collect();
            let text = reply.text.split_once("<main").map_or(reply.text.as_str(), |(_, main)| main);
            writeln!(wrong, "{complaints:?}\n{request}\n=> {} {text}\n", reply.status).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // The flow that these requests named is still there.
    let (state, code) = (world.get("{state}"), world.get("{code}"));
    let reply = broker.browse(&format!("/v1/connect/twitter/callback?state={state}&code={code}")).await;
    assert!(reply.location().contains("status=success"), "{}", reply.text);
}
