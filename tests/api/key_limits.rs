//! Access keys with limits: bound to a profile or to networks, expiring, made with another key; and their last use.

use std::time::Duration;

use postpeer::background;
use postpeer::broker::{Caller, Error};
use postpeer::domain::access_key::Scope;
use postpeer::domain::audit::Actor;
use postpeer::domain::id::ProfileId;
use postpeer::domain::key_limits::{Limits, Unusable};
use postpeer::domain::time::Clock as _;
use postpeer::http::routes::{Access, ROUTES};
use postpeer::sandbox::{self, Answer, Step};
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker, expose, parameter};

const BACK: &str = "redirectUri=https://app.example/back";

/// The limits of a key with every scope.
fn all() -> Limits {
    Limits::from(Scope::ALL)
}

async fn key(broker: &TestBroker, limits: Limits) -> String {
    expose(&broker.broker().create_access_key("default", "limited", limits).await.unwrap().1)
}

/// A broker with accounts in two profiles and in none, and a key that is bound to the first profile.
struct Bound {
    broker: TestBroker,
    key: String,
    own: String,
    other: String,
    own_accounts: Vec<String>,
    other_accounts: Vec<String>,
    app: String,
    /// A connection of another profile that waits for its caller.
    flow: String,
    other_link: String,
}

impl Bound {
    async fn start() -> Self {
        let broker = TestBroker::start().await;
        let mut profiles = Vec::new();
        for name in ["own", "other"] {
            let made = broker.call("POST", "/v1/profiles", Some(json!({"name": name}))).await;
            profiles.push(text(&made.json["profile"]["id"]));
        }
        let [own, other] = <[String; 2]>::try_from(profiles).unwrap();
        let app = json!({"platform": "twitter", "name": "App", "clientId": "cid", "clientSecret": "cs"});
        let app = text(&broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"]);
        let mut own_accounts = Vec::new();
        for platform in ["twitter", "youtube"] {
            own_accounts.push(broker.connect(platform, &format!("profileId={own}")).await);
        }
        let other_accounts = vec![
            broker.connect("twitter", &format!("profileId={other}")).await,
            broker.connect("pinterest", &format!("profileId={other}")).await,
            broker.connect("tiktok", "").await,
        ];
        let begun = broker.get(&format!("/v1/connect/threads?completion=true&profileId={other}")).await;
        broker.browse(&broker.consent(begun.json["url"].as_str().unwrap(), &Answer::allow())).await;
        let flow = text(&begun.json["flowId"]);
        let link = broker.call("POST", "/v1/connect/links", Some(json!({"profileId": other}))).await;
        let other_link = text(&link.json["link"]["id"]);
        let profile_id = Some(own.parse::<ProfileId>().unwrap());
        let key = key(&broker, Limits { profile_id, ..all() }).await;
        Self { broker, key, own, other, own_accounts, other_accounts, app, flow, other_link }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.broker.call_as(&self.key, method, path, body).await
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.call("GET", path, None).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_its_profile_is_nothing_to_a_bound_key() {
    let bound = Bound::start().await;
    let before = bound.broker.stored();
    let ids = [&bound.other, &bound.app, &bound.flow, &bound.other_link];
    let foreign: Vec<&String> = bound.other_accounts.iter().chain(ids).collect();
    let mut tried = 0;
    for route in ROUTES.iter().filter(|route| route.access != Access::Public && route.paths[0].contains("{id}")) {
        let body = match (route.method.as_str(), route.paths[0]) {
            ("PATCH", "/v1/connect/integrations/{id}") => Some(json!({"profileId": bound.own})),
            ("PATCH", _) => Some(json!({"name": "taken over"})),
            _ => None,
        };
        let send = async |id: &str| {
            let path = route.paths[0].replace("{id}", id);
            let mut reply = bound.call(route.method.as_str(), &path, body.clone()).await;
            reply.json.as_object_mut().unwrap().remove("requestId");
            (reply.status, reply.json)
        };
        let unknown = send("int_00000000000000000000000000000000").await;
        assert_eq!(unknown.0, 404, "{} {}", route.method, route.paths[0]);
        for id in &foreign {
            assert_eq!(send(id).await, unknown, "{} {}", route.method, route.paths[0]);
            tried += 1;
        }
    }
    assert_eq!(tried, 91, "thirteen routes take an id");
    assert!(bound.broker.stored() == before, "something was written");
    assert!(bound.broker.sandbox().requests_at("twitter", Step::Revoke).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_is_not_told_of_an_account_that_moved_away_by_completing_it_again() {
    let bound = Bound::start().await;
    let begun = bound.get("/v1/connect/threads?completion=true").await;
    bound.broker.browse(&bound.broker.consent(begun["url"].as_str().unwrap(), &Answer::allow())).await;
    let complete = format!("/v1/connect/flows/{}/complete", text(&begun["flowId"]));
    let done = bound.call("POST", &complete, None).await;
    let path = format!("/v1/connect/integrations/{}", text(&done.json["integrations"][0]["id"]));
    let moved = bound.broker.call("PATCH", &path, Some(json!({"profileId": bound.other}))).await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!(bound.call("GET", &path, None).await.status, 404);
    let again = bound.call("POST", &complete, None).await;
    assert_eq!((again.status, again.code()), (409, "flow_ended"), "{}", again.text);
    let whole = bound.broker.call("POST", &complete, None).await;
    assert_eq!((whole.status, &whole.json["integrations"][0]["profileId"]), (200, &json!(bound.other)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moves_away_while_its_key_disconnects_it_is_disconnected() {
    let bound = Bound::start().await;
    let id = &bound.own_accounts[1];
    let (path, sandbox) = (format!("/v1/connect/integrations/{id}"), bound.broker.sandbox());
    sandbox.hold(Step::Revoke);
    let (gone, moved) = tokio::join!(bound.call("DELETE", &path, None), async {
        sandbox.held(Step::Revoke).await;
        let moved = bound.broker.call("PATCH", &path, Some(json!({"profileId": bound.other}))).await;
        sandbox.release(Step::Revoke);
        moved
    });
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!((gone.status, &gone.json["success"]), (200, &json!(true)), "{}", gone.text);
    assert_eq!(bound.broker.get(&path).await.status, 404);
    let trail = bound.broker.get("/v1/audit?limit=100").await.json["entries"].take();
    let last = trail.as_array().unwrap().last().unwrap();
    let told = ["action", "object", "outcome", "profileId"].map(|name| last[name].as_str().unwrap_or_default());
    assert_eq!(told, ["account.disconnected", id, "revoked", &bound.other], "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_lists_what_is_of_its_profile() {
    let bound = Bound::start().await;
    let listed = async |query: &str| {
        let page = bound.get(&format!("/v1/connect/integrations?{query}")).await;
        let ids: Vec<_> = page["integrations"].as_array().unwrap().iter().map(|one| text(&one["id"])).collect();
        (ids, page["total"].as_u64().unwrap())
    };
    let [first, second] = <[String; 2]>::try_from(bound.own_accounts.clone()).unwrap();
    let (both, none) = (vec![second.clone(), first.clone()], Vec::<String>::new());
    assert_eq!(listed("").await, (both.clone(), 2));
    assert_eq!(listed("sort=asc&limit=1").await, (vec![first.clone()], 2));
    assert_eq!(listed("offset=1").await, (vec![first.clone()], 2));
    assert_eq!(listed("platform=twitter").await, (vec![first.clone()], 1));
    assert_eq!(listed("platform=tiktok").await, (none.clone(), 0));
    assert_eq!(listed(&format!("profileId={}", bound.own)).await, (both.clone(), 2));
    for elsewhere in [bound.other.as_str(), "null", "prof_00000000000000000000000000000000", "nonsense"] {
        assert_eq!(listed(&format!("profileId={elsewhere}")).await, (none.clone(), 0), "{elsewhere}");
    }
    assert_eq!(listed("q=a").await.1, 2);
    assert_eq!(listed(&format!("q={first}")).await, (vec![first], 1));
    assert_eq!(listed(&format!("q={}", bound.other_accounts[0])).await, (none, 0));

    let profiles = bound.get("/v1/profiles").await;
    let profile = &profiles["profiles"][0];
    assert_eq!((&profiles["total"], text(&profile["id"])), (&json!(1), bound.own.clone()));
    assert_eq!(profile["integrationCount"], 2);
    assert_eq!(bound.get("/v1/profiles?name=oth").await["total"], 0);
    assert_eq!(bound.get("/v1/profiles?page=2").await["profiles"], json!([]));
    assert_eq!(bound.get("/v1/apps").await["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_ends_with_its_profile() {
    let bound = Bound::start().await;
    assert_eq!(bound.call("GET", "/v1/profiles", None).await.status, 200);
    let deleted = bound.broker.call("DELETE", &format!("/v1/profiles/{}", bound.own), None).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    let refused = bound.call("GET", "/v1/profiles", None).await;
    assert_eq!((refused.status, refused.code()), (401, "invalid_access_key"), "{}", refused.text);
    let trail = bound.broker.get("/v1/audit").await.json["entries"].take();
    let actions: Vec<_> = trail.as_array().unwrap().iter().map(|entry| text(&entry["action"])).collect();
    assert!(actions.ends_with(&["access_key.revoked".to_owned(), "profile.deleted".to_owned()]), "{actions:?}");
    assert_eq!(bound.broker.get("/v1/profiles").await.status, 200, "keys of the whole project stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_works_within_its_profile_and_not_beyond() {
    let bound = Bound::start().await;
    let refused = async |method: &str, path: &str, body: Option<Value>| {
        let reply = bound.call(method, path, body).await;
        assert_eq!((reply.status, reply.code()), (403, "key_bound_to_profile"), "{method} {path}: {}", reply.text);
        assert!(reply.text.contains(&bound.own), "{}", reply.text);
    };
    let app = json!({"platform": "tiktok", "name": "New", "clientId": "new", "clientSecret": "new"});
    refused("POST", "/v1/apps", Some(app)).await;
    refused("POST", "/v1/profiles", Some(json!({"name": "New"}))).await;
    refused("DELETE", &format!("/v1/profiles/{}", bound.own), None).await;
    let [own, other] = [&bound.own_accounts[0], &bound.other_accounts[0]];
    for (id, expected) in [(own, (200, "")), (other, (404, "integration_not_found"))] {
        let reply = bound.call("GET", &format!("/v1/connect/twitter?reconnect={id}"), None).await;
        assert_eq!((reply.status, reply.code()), expected, "{}", reply.text);
    }
    let [first, second] = [0, 1].map(|at| format!("/v1/connect/integrations/{}", bound.own_accounts[at]));
    refused("PATCH", &first, Some(json!({"profileId": null}))).await;
    let elsewhere = bound.call("PATCH", &first, Some(json!({"profileId": bound.other}))).await;
    assert_eq!((elsewhere.status, elsewhere.code()), (404, "profile_not_found"));
    refused("GET", &format!("/v1/connect/twitter?{BACK}&profileId={}", bound.other), None).await;
    let account = sandbox::bluesky_accounts().first().unwrap();
    let credentials = json!({"identifier": account.handle, "password": account.app_password});
    let at_bluesky = format!("/v1/connect/bluesky/auth?profileId={}", bound.other);
    refused("POST", &at_bluesky, Some(credentials.clone())).await;
    let unknown = bound.call("GET", "/v1/connect/twitter?profileId=nonsense", None).await;
    assert_eq!((unknown.status, unknown.code()), (404, "profile_not_found"));

    // Without profileId, a connection is for the profile.
    for profile in ["", &format!("&profileId={}", bound.own)] {
        let begun = bound.get(&format!("/v1/connect/pinterest?{BACK}{profile}")).await;
        let back = bound.broker.browse(&bound.broker.consent(&text(&begun["url"]), &Answer::allow())).await.location();
        let id = parameter(&back, "integrationId").unwrap_or_else(|| panic!("{back}"));
        let detail = bound.get(&format!("/v1/connect/integrations/{id}")).await;
        assert_eq!(detail["integration"]["profileId"], bound.own.as_str());
        assert_eq!(parameter(&back, "profileId"), Some(bound.own.clone()));
    }
    let connected = bound.call("POST", "/v1/connect/bluesky/auth", Some(credentials)).await;
    assert_eq!(connected.json["integration"]["profileId"], bound.own.as_str(), "{}", connected.text);
    // Under an app whose id it was given.
    let begun = bound.get(&format!("/v1/connect/twitter?{BACK}&appId={}", bound.app)).await;
    assert_eq!(parameter(&text(&begun["url"]), "client_id").as_deref(), Some("cid"));

    assert_eq!(bound.call("PATCH", &first, Some(json!({"profileId": bound.own}))).await.status, 200);
    let renamed = json!({"name": "renamed"});
    let renamed = bound.call("PATCH", &format!("/v1/profiles/{}", bound.own), Some(renamed)).await;
    assert_eq!(renamed.json["profile"]["name"], "renamed");
    assert_eq!(bound.get(&format!("{first}/token")).await["platform"], "twitter");
    // The same person's account in another profile lives on the same consent, which the key is not told.
    let gone = bound.call("DELETE", &first, None).await;
    assert!(gone.status == 200 && gone.text.contains("did not confirm"), "{}", gone.text);
    assert!(bound.broker.sandbox().requests_at("twitter", Step::Revoke).is_empty());
    let gone = bound.call("DELETE", &second, None).await;
    assert!(gone.status == 200 && gone.text.contains("revoked the tokens"), "{}", gone.text);
    assert_eq!(bound.broker.get("/v1/connect/integrations").await.json["total"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_reads_the_trail_of_its_profile() {
    let bound = Bound::start().await;
    let own = format!("/v1/connect/integrations/{}", bound.own_accounts[0]);
    let other = format!("/v1/connect/integrations/{}", bound.other_accounts[1]);
    for path in [&own, &other] {
        assert_eq!(bound.broker.get(&format!("{path}/token")).await.status, 200);
    }
    for (profile, platform) in [(&bound.own, "threads"), (&bound.other, "threads")] {
        let url = bound.broker.begin(platform, &format!("{BACK}&profileId={profile}")).await;
        bound.broker.browse(&bound.broker.consent(&url, &Answer::deny())).await;
    }
    let url = bound.broker.begin("facebook", &format!("{BACK}&profileId={}", bound.own)).await;
    bound.broker.browse(&bound.broker.consent(&url, &Answer::allow())).await;
    for path in [&other, &own] {
        let moved = bound.broker.call("PATCH", path, Some(json!({"profileId": null}))).await;
        assert_eq!(moved.status, 200, "{}", moved.text);
    }
    let trail = bound.get("/v1/audit?limit=100").await;
    let entries = trail["entries"].as_array().unwrap();
    let told: Vec<_> = entries.iter().map(|entry| text(&entry["action"])).collect();
    let expected = [
        "profile.created",
        "account.connected",
        "account.connected",
        "token.read",
        "connection.ended",
        "selection.offered",
        "account.moved",
    ];
    assert_eq!(told, expected);
    assert!(entries.iter().all(|entry| entry["profileId"] == bound.own.as_str()));
    let page = bound.get(&format!("/v1/audit?limit=1&since={}", entries[0]["id"])).await;
    assert_eq!(page["entries"], json!([entries[1]]));
}

/// The cache of keys that each connection keeps does not prolong a key's life.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_refused_from_the_moment_on_and_told_why() {
    let broker = TestBroker::start().await;
    let now = broker.clock.now();
    let expires_at = Some(now.plus(Duration::from_secs(90)));
    let key = key(&broker, Limits { expires_at, ..all() }).await;
    let ask = async || {
        let asked = (0..64).map(|_| broker.call_as(&key, "GET", "/v1/health/auth", None));
        futures_util::future::join_all(asked).await
    };
    assert!(ask().await.iter().all(|reply| reply.status == 200));
    broker.clock.advance(Duration::from_millis(89_999));
    assert!(ask().await.iter().all(|reply| reply.status == 200));
    broker.clock.advance(Duration::from_millis(1));
    for reply in ask().await {
        assert_eq!((reply.status, reply.code()), (401, "access_key_expired"), "{}", reply.text);
        assert!(reply.text.contains("expired at 2026-05-03T08:35:06.445Z"), "{}", reply.text);
    }
    for route in ROUTES.iter().filter(|route| route.access != Access::Public) {
        let path = route.paths[0].replace("{id}", "x").replace("{platform}", "twitter");
        let reply = broker.call_as(&key, route.method.as_str(), &path, None).await;
        assert_eq!((reply.status, reply.code()), (401, "access_key_expired"), "{} {path}", route.method);
    }
    // Who does not hold the right key learns nothing, nor does who holds it after it was revoked.
    let mistyped = format!("{}{}", &key[..key.len() - 1], if key.ends_with('x') { "y" } else { "x" });
    assert_eq!(broker.call_as(&mistyped, "GET", "/v1/health/auth", None).await.code(), "invalid_access_key");
    let id = broker.broker().list_access_keys().await.unwrap().pop().unwrap().0.id;
    assert!(broker.broker().revoke_access_key(id).await.unwrap());
    assert_eq!(ask().await[0].code(), "invalid_access_key");
    for past in [now, broker.clock.now()] {
        let refused =
            broker.broker().create_access_key("default", "x", Limits { expires_at: Some(past), ..all() }).await;
        assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("future")), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_from_its_networks_only() {
    let broker = TestBroker::builder().trusted_proxies(&["127.0.0.2"]).start().await;
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    for (from, expected) in [
        (&["127.0.0.1"][..], 200),
        (&["10.0.0.0/8", "127.0.0.0/8"], 200),
        (&["::ffff:127.0.0.1"], 200),
        (&["10.0.0.0/8"], 403),
        (&["::/0"], 403),
    ] {
        let key = key(&broker, Limits { networks: networks(from), ..all() }).await;
        // What somebody who is no trusted proxy says of themselves is ignored.
        let request = broker.request("GET", "/v1/health/auth").header("x-access-key", &key);
        for request in [request.try_clone().unwrap(), request.header("x-forwarded-for", "10.0.0.1")] {
            let reply = Reply::of(request.send().await.unwrap()).await;
            assert_eq!(reply.status, expected, "{from:?}: {}", reply.text);
            if expected == 403 {
                assert_eq!(reply.code(), "address_not_allowed");
                assert!(reply.text.contains("127.0.0.1"), "{}", reply.text);
            }
        }
    }
    let many = Limits { networks: networks(&["10.0.0.0/8"; 101]), ..all() };
    assert!(matches!(broker.broker().create_access_key("default", "x", many).await, Err(Error::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_clients_address_counts() {
    let broker = TestBroker::builder().trusted_proxies(&["127.0.0.1"]).start().await;
    let networks = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let key = key(&broker, Limits { networks, ..all() }).await;
    for (forwarded, expected) in [
        ("203.0.113.9", 200),
        ("198.51.100.1, 203.0.113.9", 200),
        ("2001:db8::1", 200),
        ("::ffff:203.0.113.9", 200),
        ("203.0.113.9, 198.51.100.1", 403),
        ("203.0.114.1", 403),
        ("unknown", 403),
    ] {
        let request = broker.request("GET", "/v1/health/auth").header("x-access-key", &key);
        let reply = Reply::of(request.header("x-forwarded-for", forwarded).send().await.unwrap()).await;
        assert_eq!(reply.status, expected, "{forwarded}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_written_within_a_minute_and_at_a_stop() {
    let mut broker = TestBroker::start().await;
    let used = |broker: &TestBroker| -> Option<i64> {
        broker.sql().query_row("SELECT last_used_at FROM access_keys", [], |row| row.get(0)).unwrap()
    };
    let start = broker.clock.now().as_millis();
    let ask = async |broker: &TestBroker, seconds: u64| {
        broker.clock.advance(Duration::from_secs(seconds));
        assert_eq!(broker.get("/v1/health/auth").await.status, 200);
    };
    let before = broker.stored();
    for _ in 0..20 {
        ask(&broker, 0).await;
    }
    assert!(broker.stored() == before, "a request writes nothing");
    background::write_reads_once(broker.broker()).await;
    assert_eq!(used(&broker), Some(start));
    ask(&broker, 59).await;
    background::write_reads_once(broker.broker()).await;
    assert_eq!(used(&broker), Some(start), "one write a minute");
    ask(&broker, 1).await;
    background::write_reads_once(broker.broker()).await;
    assert_eq!(used(&broker), Some(start + 60_000));
    ask(&broker, 5).await;
    broker.restart().await;
    assert_eq!(used(&broker), Some(start + 65_000), "a stop writes the rest");
    // What is refused is no use.
    let other = broker.key("default", &[Scope::Read]).await;
    assert_eq!(broker.call_as(&other[1..], "GET", "/v1/health/auth", None).await.status, 401);
    background::write_reads_once(broker.broker()).await;
    let listed = broker.broker().list_access_keys().await.unwrap();
    assert_eq!(listed.iter().map(|(key, _)| key.last_used_at.is_some()).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_within_two_weeks_are_found() {
    let broker = TestBroker::start().await;
    let days = |days: u64| {
        let now = broker.clock.now();
        Some(now.plus(Duration::from_hours(24 * days)))
    };
    for expires_at in [days(13), days(15), days(1), None] {
        key(&broker, Limits { expires_at, ..all() }).await;
    }
    let expiring = async || {
        let keys = broker.broker().list_expiring_keys().await.unwrap();
        keys.iter().map(|key| key.limits.expires_at.unwrap()).collect::<Vec<_>>()
    };
    let [thirteen, fifteen, one] = [13, 15, 1].map(|number| days(number).unwrap());
    assert_eq!(expiring().await, [one, thirteen], "the next one first");
    broker.clock.advance(Duration::from_hours(24));
    assert_eq!(expiring().await, [thirteen, fifteen], "an expired one is too late to warn of");
    assert_eq!(broker.broker().count_keys_and_accounts().await.unwrap().0, 4, "keys that work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_never_makes_a_stronger_one() {
    let bound = Bound::start().await;
    let broker = bound.broker.broker();
    let now = bound.broker.clock.now();
    let limits = Limits {
        scopes: vec![Scope::Manage, Scope::Read],
        profile_id: Some(bound.own.parse().unwrap()),
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        expires_at: Some(now.plus(Duration::from_hours(1))),
    };
    let address = Some("127.0.0.1".parse().unwrap());
    let (stored, plain) = broker.create_access_key("default", "maker", limits.clone()).await.unwrap();
    let maker = broker.authenticate(&expose(&plain), address).await.unwrap();
    let (made, _) = broker.create_access_key_as(&maker, "made", &[Scope::Read]).await.unwrap();
    assert_eq!(made.limits, Limits { scopes: vec![Scope::Read], ..limits.clone() }, "it inherits what is left open");
    assert_eq!(made.project_id, stored.project_id);

    let read = Limits::from(&[Scope::Read]);
    for (what, stronger) in [
        ("scopes", Limits::from(&[Scope::Read, Scope::Tokens])),
        ("profileId", Limits { profile_id: Some(bound.other.parse().unwrap()), ..read.clone() }),
        ("networks", Limits { networks: vec!["0.0.0.0/0".parse().unwrap()], ..read.clone() }),
        ("expiresAt", Limits { expires_at: Some(now.plus(Duration::from_hours(2))), ..read.clone() }),
    ] {
        let refused = broker.create_access_key_as(&maker, "stronger", stronger).await;
        assert!(matches!(&refused, Err(Error::Invalid(why)) if why.starts_with(what)), "{what}: {refused:?}");
    }
    let reader = Caller { scopes: vec![Scope::Read], ..maker.clone() };
    let refused = broker.create_access_key_as(&reader, "x", read.clone()).await;
    assert!(matches!(refused, Err(Error::ScopeMissing(Scope::Manage))), "{refused:?}");
    let nobody = Caller { actor: Actor::DemoPage, access_key_id: None, ..maker.clone() };
    let refused = broker.create_access_key_as(&nobody, "x", read.clone()).await;
    assert!(matches!(refused, Err(Error::AuthenticationRequired)), "{refused:?}");

    // The key as it is now counts, and that nobody but the broker wrote its row.
    let db = bound.broker.sql();
    let change = "UPDATE access_keys SET scopes = ?1 WHERE id = ?2";
    let scopes: String = db
        .query_row("SELECT scopes FROM access_keys WHERE id = ?1", [stored.id.to_string()], |row| row.get(0))
        .unwrap();
    let write = |scopes: &str| assert_eq!(db.execute(change, [scopes, &stored.id.to_string()]).unwrap(), 1);
    write("[\"connect\",\"manage\",\"read\",\"tokens\"]");
    let refused = broker.create_access_key_as(&maker, "x", read.clone()).await;
    assert!(matches!(refused, Err(Error::AuthenticationRequired)), "{refused:?}");
    write(&scopes);
    bound.broker.clock.advance(Duration::from_hours(1));
    let refused = broker.create_access_key_as(&maker, "x", read.clone()).await;
    assert!(matches!(refused, Err(Error::KeyUnusable(Unusable::Expired(_)))), "{refused:?}");
    assert!(broker.revoke_access_key(stored.id).await.unwrap());
    let refused = broker.create_access_key_as(&maker, "x", read).await;
    assert!(matches!(refused, Err(Error::AuthenticationRequired)), "{refused:?}");
    let entries = bound.broker.get("/v1/audit?limit=100").await.json["entries"].as_array().unwrap().clone();
    let by_key = entries.iter().filter(|entry| entry["accessKeyId"] == stored.id.to_string().as_str());
    assert_eq!(by_key.map(|entry| text(&entry["object"])).collect::<Vec<_>>(), [made.id.to_string()]);
    let unknown = Limits { profile_id: Some("prof_00000000000000000000000000000000".parse().unwrap()), ..all() };
    assert!(matches!(broker.create_access_key("default", "x", unknown).await, Err(Error::NotFound(_))));
}
