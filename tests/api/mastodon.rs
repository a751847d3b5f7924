//! Platforms that are many servers: people name theirs, and the broker registers itself there.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use postpeer::broker::begin::BeginConnect;
use postpeer::domain::access_key::Scope;
use serde_json::{Value, json};

use crate::any_server::{AnyServer, Asked};
use crate::binding::Jar;
use crate::dns::DnsServer;
use crate::logs;
use crate::secrets::needles::Needles;
use crate::stand_in::{answer, json as ok};
use crate::support::{Reply, TestBroker, parameter};

const APPS: &str = "/api/v1/apps";

/// https://docs.joinmastodon.org/methods/oauth/#token
const UNKNOWN_CLIENT: &str = r#"{"error":"invalid_client","error_description":"Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method."}"#;

/// A server of Mastodon's kind, with one account.
#[derive(Clone)]
struct Instance {
    server: AnyServer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Secrets by client id.
    apps: BTreeMap<String, String>,
    registered: usize,
    /// Members added to the answer of the token endpoint.
    more: Value,
    /// Answers in place of the usual ones, by path.
    scripted: BTreeMap<&'static str, (u16, String)>,
}

impl Instance {
    async fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let inner = state.clone();
        let server = AnyServer::start(move |asked, url| inner.lock().unwrap().answer(asked, url)).await;
        Self { server, state }
    }

    fn url(&self) -> &str {
        &self.server.url
    }

    fn host(&self) -> &str {
        self.url().strip_prefix("http://").unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers this path like this from now on.
    fn script(&self, path: &'static str, status: u16, body: &str) {
        self.state().scripted.insert(path, (status, body.to_owned()));
    }

    fn forget_apps(&self) {
        self.state().apps.clear();
    }

    /// Paths that were requested since the last time.
    fn paths(&self) -> Vec<String> {
        self.server.asked().into_iter().map(|asked| asked.path).collect()
    }
}

impl State {
    fn answer(&mut self, asked: &Asked, url: &str) -> Vec<u8> {
        let path = asked.path.split('?').next().unwrap_or_default();
        if let Some((status, body)) = self.scripted.get(path) {
            return answer(*status, "", body.as_bytes());
        }
        let is_known =
            asked.field("client_id").is_some_and(|id| self.apps.get(&id) == asked.field("client_secret").as_ref());
        match path {
            APPS => {
                self.registered += 1;
                let id = format!("client-{}", self.registered);
                let secret = format!("secret-{}-of-{url}", self.registered);
                self.apps.insert(id.clone(), secret.clone());
                ok(&json!({"id": "563419", "client_id": id, "client_secret": secret}).to_string())
            }
            "/oauth/token" | "/oauth/revoke" if !is_known => answer(401, "", UNKNOWN_CLIENT.as_bytes()),
            "/oauth/token" => {
                let code = asked.field("code").or(asked.field("refresh_token")).unwrap_or_default();
                let mut tokens = json!({"access_token": format!("access-{code}-of-{url}"), "token_type": "Bearer",
                    "scope": "read:accounts write:statuses write:media", "created_at": 1_573_979_017});
                if let (Value::Object(tokens), Value::Object(more)) = (&mut tokens, &self.more) {
                    tokens.extend(more.clone());
                }
                ok(&tokens.to_string())
            }
            "/oauth/revoke" => ok("{}"),
            "/api/v1/accounts/verify_credentials" => ok(&json!({
                "id": "1", "username": "ada", "acct": "ada", "display_name": "Ada",
                "url": format!("{url}/@ada"), "avatar": format!("{url}/ada.png"),
            })
            .to_string()),
            _ => answer(404, "", b"<html>"),
        }
    }
}

const PRESET: &str = "[platforms.mastodon]\n";

async fn broker() -> TestBroker {
    TestBroker::builder().toml(PRESET).start().await
}

async fn asked(broker: &TestBroker, query: &str) -> Reply {
    broker.get(&format!("/v1/connect/mastodon?{query}")).await
}

/// The address at which a server's consent page sends the browser back.
fn returning(authorize: &str, parameters: &str) -> String {
    let (to, state) = (parameter(authorize, "redirect_uri").unwrap(), parameter(authorize, "state").unwrap());
    format!("{to}?state={state}&{parameters}")
}

/// Comes back from a server's consent page. Returns the final redirect.
async fn back(broker: &TestBroker, authorize: &str, parameters: &str) -> String {
    let callback = returning(authorize, parameters);
    let reply = broker.arrive(&callback).await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    reply.location()
}

async fn begin(broker: &TestBroker, instance: &Instance) -> String {
    broker.begin("mastodon", &format!("server={}&redirectUri=https://app.example/back", instance.url())).await
}

/// Connects the account of a server. Returns the integration's id.
async fn connect(broker: &TestBroker, instance: &Instance, code: &str) -> String {
    let location = back(broker, &begin(broker, instance).await, &format!("code={code}")).await;
    parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"))
}

/// A server that sends a person on to another one, with our request for it, would get the code of that one.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_another_server_finishes_no_connection() {
    let (honest, evil) = (Instance::start().await, Instance::start().await);
    let broker = broker().await;
    let (at_honest, at_evil) = (begin(&broker, &honest).await, begin(&broker, &evil).await);
    let state = parameter(&at_evil, "state").unwrap();
    let honest_state = parameter(&at_honest, "state").unwrap();
    let astray = returning(&at_honest, "code=a").replace(&honest_state, &state);
    for callback in [astray.clone(), astray.replace(&format!("@{}", honest.host()), "")] {
        let refused = broker.arrive(&callback).await;
        assert_eq!((refused.status, refused.header("location")), (400, ""), "{callback}");
    }
    assert_eq!(count(&broker, "integrations"), 0);
    let encoded = returning(&at_evil, "code=a").replace('@', "%40");
    assert_eq!(broker.arrive(&encoded).await.status, 303, "its own answer still does");
}

fn count(broker: &TestBroker, what: &str) -> u32 {
    broker.sql().query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_ids_at_two_servers_are_two_accounts_and_each_server_hears_of_its_own() {
    let (one, two) = (Instance::start().await, Instance::start().await);
    let broker = broker().await;
    let authorize = begin(&broker, &one).await;
    assert!(authorize.starts_with(&format!("{}/oauth/authorize?", one.url())), "{authorize}");
    let callback_url = format!("{}/v1/connect/mastodon@{}/callback", broker.url, one.host());
    for (name, value) in [
        ("client_id", "client-1"),
        ("scope", "read:accounts write:statuses write:media"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", callback_url.as_str()),
    ] {
        assert_eq!(parameter(&authorize, name).as_deref(), Some(value), "{name}");
    }
    let registration = one.server.asked().remove(0);
    assert_eq!((registration.method.as_str(), registration.path.as_str()), ("POST", APPS));
    assert_eq!(registration.header("authorization"), "");
    for (name, value) in [
        ("client_name", broker.url.strip_prefix("http://").unwrap()),
        ("redirect_uris", &callback_url),
        ("scopes", "read:accounts write:statuses write:media"),
        ("website", &broker.url),
    ] {
        assert_eq!(registration.field(name).as_deref(), Some(value), "{name}");
    }
    let location = back(&broker, &authorize, "code=a").await;
    let first = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    let second = connect(&broker, &two, "b").await;
    assert_ne!(first, second);
    for (id, instance, code) in [(&first, &one, "a"), (&second, &two, "b")] {
        let detail = broker.detail(id).await;
        let (url, host) = (instance.url(), instance.host());
        assert_eq!(detail["platform"], "mastodon");
        assert_eq!(detail["platformUserId"], format!("{host}/1"));
        assert_eq!(detail["username"], format!("@ada@{host}"));
        assert_eq!(detail["displayName"], "Ada");
        assert_eq!(detail["profileUrl"], format!("{url}/@ada"));
        assert_eq!(detail["imageUrl"], format!("{url}/ada.png"));
        assert_eq!(detail["platformMetadata"], json!({"server": host}));
        let token = broker.token(id, "").await.json;
        assert_eq!(token["accessToken"], format!("access-{code}-of-{url}"));
        assert_eq!(token["serviceUrl"], url);
        assert_eq!(token["platformUserId"], format!("{host}/1"));
    }
    let paths = ["/oauth/token", "/api/v1/accounts/verify_credentials"];
    let asked = one.server.asked();
    assert_eq!(asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(), paths);
    assert_eq!(asked[0].field("client_secret").unwrap(), format!("secret-1-of-{}", one.url()));
    assert!(asked[0].field("code_verifier").is_some());
    assert_eq!(asked[1].header("authorization"), format!("Bearer access-a-of-{}", one.url()));
    two.paths();

    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{second}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let revoked = two.server.asked();
    assert_eq!(revoked[0].field("token").unwrap(), format!("access-b-of-{}", two.url()));
    assert_eq!(revoked[0].field("client_secret").unwrap(), format!("secret-1-of-{}", two.url()));
    assert_eq!((revoked.len(), one.paths().len()), (1, 0));
    assert_eq!(broker.detail(&first).await["authStatus"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_for_nothing_is_nobodys_id_at_a_server_either() {
    let instance = Instance::start().await;
    let broker = broker().await;
    instance.script("/api/v1/accounts/verify_credentials", 200, r#"{"id":"null","username":"ada"}"#);
    let location = back(&broker, &begin(&broker, &instance).await, "code=a").await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("identity_unavailable"), "{location}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_of_the_broker_once() {
    let instance = Instance::start().await;
    let mut broker = broker().await;
    let urls = join_all((0..20).map(|_| begin(&broker, &instance))).await;
    assert!(urls.iter().all(|url| parameter(url, "client_id").as_deref() == Some("client-1")), "{urls:?}");
    assert_eq!(instance.paths(), [APPS]);
    // Another project, an account whose connection began before, and a broker that was stopped meanwhile.
    let key = broker.key("other", Scope::ALL).await;
    let theirs = broker.call_as(&key, "GET", &format!("/v1/connect/mastodon?server={}", instance.url()), None).await;
    assert_eq!(theirs.status, 200, "{}", theirs.text);
    broker.restart().await;
    let location = back(&broker, &urls[7], "code=c").await;
    assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "{location}");
    connect(&broker, &instance, "d").await;
    assert!(!instance.paths().contains(&APPS.to_owned()));
    let listed = broker.call_as(&key, "GET", "/v1/connect/integrations?include=custom", None).await;
    assert_eq!(listed.json["integrations"], json!([]), "{}", listed.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_scopes_or_another_url_need_another_app_and_old_accounts_keep_theirs() {
    let instance = Instance::start().await;
    let mut broker = broker().await;
    let id = connect(&broker, &instance, "a").await;
    broker.restart_with(|config| config.server.public_url = "https://connect.example.com".to_owned()).await;
    let url = begin(&broker, &instance).await;
    assert_eq!(parameter(&url, "client_id").as_deref(), Some("client-2"));
    assert_eq!(
        parameter(&url, "redirect_uri").as_deref(),
        Some(&*format!("https://connect.example.com/v1/connect/mastodon@{}/callback", instance.host()))
    );
    // A connection with fewer scopes is one of the same app.
    let fewer = asked(&broker, &format!("server={}&scopes=write:media", instance.url())).await;
    let url = fewer.json["url"].as_str().unwrap();
    assert_eq!(parameter(url, "client_id").as_deref(), Some("client-2"));
    assert_eq!(parameter(url, "scope").as_deref(), Some("read:accounts write:media"));
    instance.paths();
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert_eq!(instance.server.asked()[0].field("client_id").as_deref(), Some("client-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_app_is_registered_again_where_the_server_says_so() {
    let instance = Instance::start().await;
    let broker = broker().await;
    connect(&broker, &instance, "a").await;
    instance.paths();

    // The server tells at the exchange. The person starts again, and that works.
    let url = begin(&broker, &instance).await;
    instance.forget_apps();
    let location = back(&broker, &url, "code=b").await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("exchange_rejected"), "{location}");
    assert_eq!(instance.paths(), ["/oauth/token"]);
    connect(&broker, &instance, "c").await;
    assert_eq!(instance.paths(), ["/oauth/token", APPS, "/oauth/token", "/api/v1/accounts/verify_credentials"]);

    // At the authorize endpoint people never come back, so the server is asked before they are sent there.
    instance.forget_apps();
    broker.clock.advance(Duration::from_hours(12));
    let url = begin(&broker, &instance).await;
    assert_eq!(parameter(&url, "client_id").as_deref(), Some("client-3"));
    let proof = instance.server.asked().remove(0);
    assert_eq!(proof.field("grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(proof.field("client_id").as_deref(), Some("client-2"));

    // An app that is known goes on, and an answer without a verdict changes nothing.
    for (status, body) in [
        (200, r#"{"access_token":"app"}"#),
        (400, r#"{"error":"invalid_scope"}"#),
        (401, "{}"),
        (403, UNKNOWN_CLIENT),
        (429, UNKNOWN_CLIENT),
        (500, UNKNOWN_CLIENT),
    ] {
        instance.script("/oauth/token", status, body);
        broker.clock.advance(Duration::from_hours(12));
        let url = begin(&broker, &instance).await;
        assert_eq!(parameter(&url, "client_id").as_deref(), Some("client-3"), "{status}");
        assert_eq!(instance.paths(), ["/oauth/token"], "{status}");
        begin(&broker, &instance).await;
        assert!(instance.paths().is_empty(), "{status}");
    }

    // Whoever has a state may claim it: the server is asked.
    instance.state().scripted.clear();
    let url = begin(&broker, &instance).await;
    let location = back(&broker, &url, "error=invalid_client").await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("authorization_refused"), "{location}");
    let url = begin(&broker, &instance).await;
    assert_eq!(parameter(&url, "client_id").as_deref(), Some("client-3"));
    assert_eq!(instance.paths(), ["/oauth/token"]);

    // However often: then it is asked no more, and everybody else goes on.
    for _ in 0..12 {
        let url = begin(&broker, &instance).await;
        assert_eq!(parameter(&url, "client_id").as_deref(), Some("client-3"));
        back(&broker, &url, "error=invalid_client").await;
    }
    assert!(instance.paths().len() < 12, "so many a minute at one server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_named_in_known_ways_and_anything_else_says_what_to_send() {
    let broker = broker().await;
    let long = "a".repeat(300);
    for server in [
        "",
        "a..b",
        "..",
        "@ada",
        "a@b@c.example",
        "ada:pw@m.social",
        "https://m.social@evil.example",
        "https://ada@m.social",
        "ftp://m.social",
        "m.social/api",
        "m.social%2Fx",
        "m.social\\@x",
        "javascript:alert(1)",
        long.as_str(),
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(server.as_bytes()).collect();
        let reply = asked(&broker, &format!("server={encoded}")).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_parameter"), "{server}: {}", reply.text);
        assert_eq!(
            reply.json["error"],
            "server must be the name of the person's server, such as mastodon.social, or their address there, such as \
             @ada@mastodon.social.",
            "{server}"
        );
    }
    let missing = asked(&broker, "").await;
    let elsewhere = broker.get("/v1/connect/twitter?server=m.social").await;
    let app = json!({"platform": "mastodon", "name": "x", "clientId": "x", "clientSecret": "x"});
    let app = broker.call("POST", "/v1/apps", Some(app)).await;
    let body = json!({"platform": "twitter", "name": "x", "clientId": "x", "clientSecret": "x"});
    let own = broker.call("POST", "/v1/apps", Some(body)).await.json["app"]["id"].as_str().unwrap().to_owned();
    let own = asked(&broker, &format!("server=m.social&appId={own}")).await;
    let others = [missing, elsewhere, app, own]
        .map(|reply| format!("{} {}: {}", reply.status, reply.code(), reply.json["error"]));
    insta::assert_snapshot!(others.join("\n"), @r#"
    400 invalid_parameter: "server is missing: Mastodon is many servers, so ask which one the person's account is on, and send its name, such as mastodon.social."
    400 invalid_parameter: "server must not be set: X (Twitter) is not many servers."
    400 invalid_request: "platform must not be mastodon: the broker registers an app by itself at each of its servers."
    400 invalid_parameter: "appId must not be set: the broker registers an app by itself at each server of Mastodon."
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_server_is_not_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let dns = DnsServer::start();
    dns.addresses("inside.social", &[&["10.0.0.1"]]);
    dns.addresses("loop.social", &[&["127.0.0.1"]]);
    dns.addresses("half.social", &[&["8.8.8.8", "192.168.0.1"]]);
    dns.addresses("rebound.social", &[&["127.0.0.1"], &["8.8.8.8"]]);
    let strict = TestBroker::builder()
        .toml(PRESET)
        .dns(dns.address)
        .setting("POSTPEER_OUTBOUND__ALLOW_PRIVATE_NETWORKS", "false")
        .start()
        .await;
    for server in [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "db.internal",
        "169.254.169.254",
        "http://loop.social",
        "loop.social:8443",
        "inside.social",
        "loop.social",
        "half.social",
        "rebound.social",
        "unknown.social",
        &format!("http://127.0.0.1:{port}"),
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(server.as_bytes()).collect();
        let reply = asked(&strict, &format!("server={encoded}")).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_parameter"), "{server}: {}", reply.text);
    }
    assert!(listener.accept().is_err(), "a private server was called");
    assert_eq!(count(&strict, "registrations") + count(&strict, "flows"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_none_of_these_and_one_that_is_down_are_told_apart() {
    for (status, body, expected) in [
        (404, "<html>", (400, "invalid_parameter")),
        (301, "", (400, "invalid_parameter")),
        (405, "", (400, "invalid_parameter")),
        (200, "<html>", (400, "invalid_parameter")),
        (200, r#"{"client_id":"c"}"#, (400, "invalid_parameter")),
        (422, r#"{"error":"Validation failed: Redirect URI must be an absolute URI."}"#, (502, "platform_unavailable")),
        (401, r#"{"error":"This method requires an authenticated user"}"#, (502, "platform_unavailable")),
        (403, r#"{"error":"This action is not allowed"}"#, (502, "platform_unavailable")),
        (429, r#"{"error":"Too many requests"}"#, (502, "platform_unavailable")),
        (503, "", (502, "platform_unavailable")),
    ] {
        let instance = Instance::start().await;
        let broker = broker().await;
        instance.script(APPS, status, body);
        let reply = asked(&broker, &format!("server={}", instance.url())).await;
        assert_eq!((reply.status, reply.code()), expected, "{status} {body}: {}", reply.text);
        assert!(reply.text.contains(instance.host()), "{}", reply.text);
        assert_eq!(
            reply.text.contains("refused what this service asks for"),
            [401, 403, 422].contains(&status),
            "{status} {body}: {}",
            reply.text
        );
        assert_eq!(instance.paths(), [APPS]);
        // Nothing is left behind, and the next attempt works.
        assert_eq!(count(&broker, "registrations") + count(&broker, "flows"), 0);
        instance.state().scripted.clear();
        connect(&broker, &instance, "a").await;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = asked(&broker().await, &format!("server=http://127.0.0.1:{port}")).await;
    assert_eq!((nobody.status, nobody.code()), (502, "platform_unavailable"), "{}", nobody.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_so_often_and_no_more() {
    let instance = Instance::start().await;
    instance.script(APPS, 503, "");
    let broker = broker().await;
    for _ in 0..10 {
        assert_eq!(asked(&broker, &format!("server={}", instance.url())).await.status, 502);
    }
    let refused = asked(&broker, &format!("server={}", instance.url())).await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_attempts"));
    assert_eq!(instance.paths().len(), 10);
    // Another server is asked, and one that is known needs no attempt.
    let other = Instance::start().await;
    begin(&broker, &other).await;
    for number in 0..40 {
        let status = asked(&broker, &format!("server=http://127.0.0.1:1/@{number}")).await.status;
        assert_eq!(status, if number < 10 { 502 } else { 429 });
        begin(&broker, &other).await;
    }
    for number in 0..85_u8 {
        let status = asked(&broker, &format!("server=http://127.0.1.{number}:1")).await.status;
        assert_eq!(status, if number < 79 { 502 } else { 429 }, "{number}: a hundred by one key");
    }
    broker.clock.advance(Duration::from_mins(5));
    assert_eq!(asked(&broker, &format!("server={}", instance.url())).await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_must_come_from_the_server_that_was_named() {
    let (instance, other) = (Instance::start().await, Instance::start().await);
    let broker = broker().await;
    for (iss, status) in [
        (instance.url().to_owned(), "success"),
        (format!("{}/", instance.url()), "success"),
        (other.url().to_owned(), "error"),
        (format!("{}.evil.example", instance.url()), "error"),
    ] {
        let url = begin(&broker, &instance).await;
        let location = back(&broker, &url, &format!("code=c&iss={iss}")).await;
        assert_eq!(parameter(&location, "status").as_deref(), Some(status), "{iss}: {location}");
    }
    assert!(other.paths().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expire_are_refreshed_at_their_server_and_a_dead_one_stops_no_other() {
    let (one, two) = (Instance::start().await, Instance::start().await);
    let broker = broker().await;
    let mut ids = Vec::new();
    for (instance, code) in [(&one, "a"), (&two, "b")] {
        // Pleroma and Akkoma: their tokens expire, and come with a refresh token.
        instance.state().more = json!({"expires_in": 3600, "refresh_token": format!("refresh-{code}")});
        ids.push(connect(&broker, instance, code).await);
        instance.paths();
    }
    one.script("/oauth/token", 429, "");
    broker.clock.advance(Duration::from_mins(50));
    assert_eq!(broker.refresh_due().await, 1);
    let asked = two.server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].field("refresh_token").as_deref(), Some("refresh-b"));
    assert_eq!(asked[0].field("client_secret").unwrap(), format!("secret-1-of-{}", two.url()));
    let token = broker.token(&ids[1], "").await.json;
    assert_eq!(token["accessToken"], format!("access-refresh-b-of-{}", two.url()));
    assert_eq!(token["serviceUrl"], two.url());
    assert_eq!(broker.detail(&ids[0]).await["health"]["lastError"]["code"], "platform_throttled");

    // A server that has lost the app ends what was connected under it, and nothing else.
    one.state().scripted.clear();
    one.forget_apps();
    broker.clock.advance(Duration::from_hours(1));
    broker.refresh_due().await;
    let detail = broker.detail(&ids[0]).await;
    assert_eq!(
        (&detail["authStatus"], &detail["authFailureReason"]),
        (&json!("reconnect_required"), &json!("refresh_rejected"))
    );
    assert_eq!(broker.detail(&ids[1]).await["authStatus"], "active");
    one.paths();
    assert_eq!(connect(&broker, &one, "c").await, ids[0], "the account is the same");
    assert_eq!(broker.detail(&ids[0]).await["authStatus"], "active");
    assert_eq!(one.paths()[..2], ["/oauth/token", APPS]);
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_that_nobody_needs_are_deleted_after_a_month() {
    let (used, unused) = (Instance::start().await, Instance::start().await);
    let broker = broker().await;
    let id = connect(&broker, &used, "a").await;
    // Both have the client id "client-1", and only that at the account's server is needed.
    begin(&broker, &unused).await;
    broker.clock.advance(Duration::from_hours(30 * 24));
    broker.broker().purge_expired().await.unwrap();
    broker.broker().purge_ended().await.unwrap();
    assert_eq!(count(&broker, "registrations"), 2);
    broker.clock.advance(Duration::from_secs(1));
    broker.broker().purge_ended().await.unwrap();
    assert_eq!(count(&broker, "registrations"), 1);
    used.paths();
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert_eq!(used.paths(), ["/oauth/revoke"]);
    broker.broker().purge_ended().await.unwrap();
    assert_eq!(count(&broker, "registrations"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_project_takes_the_room_for_apps_from_the_others() {
    logs::capture();
    let broker = broker().await;
    let (one, new) = (Instance::start().await, Instance::start().await);
    connect(&broker, &one, "a").await;
    // Servers that one person runs, under many names, and that all chose one client id.
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT OR IGNORE INTO registrations SELECT platform, 'https://s' || i || '.example', client_id, client_secret,
            client_secret_dek_id, callback_url, scopes, 1, 1, 1
        FROM registrations, n WHERE server NOT LIKE '%.example'";
    let sql = broker.sql();
    sql.execute(fill, [9_999]).unwrap();
    assert_eq!(count(&broker, "registrations"), 10_000);
    begin(&broker, &new).await;
    assert_eq!(count(&broker, "registrations"), 10_000, "one that nobody needs has given way");

    // Now there is an account at each of 7,000.
    sql.execute("DELETE FROM registrations WHERE server LIKE '%.example'", []).unwrap();
    sql.execute(fill, [7_000]).unwrap();
    let accounts = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 7000)
        INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, requested_scopes, consented_at, issued_at,
            renewal, tokens, tokens_dek_id, generation, status, created_at, updated_at)
        SELECT printf('grant_%032x', i), project_id, platform, client_id, 's' || i || '.example/1', scopes, '[]', 0, 0, 'never',
            tokens, tokens_dek_id, 1, 'active', 0, 0
        FROM grants, n WHERE id NOT LIKE 'grant_0000%'";
    assert_eq!(sql.execute(accounts, []), Ok(7_000));
    let next = Instance::start().await;
    let path = format!("/v1/connect/mastodon?server={}", next.url());
    let refused = broker.get(&path).await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_pending_connections"), "{}", refused.text);
    assert!(refused.text.contains("no room for another server"), "{}", refused.text);
    let line = logs::text();
    let line = line.lines().find(|line| line.contains("cannot keep an app for this server")).unwrap();
    assert!(line.contains("WARN") && line.contains(next.url()), "{line}");
    begin(&broker, &one).await;
    let other = broker.key("other", &[Scope::Connect]).await;
    let begun = broker.call_as(&other, "GET", &path, None).await;
    assert_eq!(begun.status, 200, "{}", begun.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_write_to_the_database_moves_no_connection_to_another_server() {
    let (good, evil) = (Instance::start().await, Instance::start().await);
    let broker = broker().await;
    begin(&broker, &evil).await;
    let url = begin(&broker, &good).await;
    evil.paths();
    // Both have the client id "client-1".
    let sql = broker.sql();
    sql.execute("UPDATE flows SET server = (SELECT server FROM flows ORDER BY id LIMIT 1)", []).unwrap();
    let location = back(&broker, &url, "code=c").await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("storage_failed"), "{location}");
    sql.execute("DELETE FROM registrations WHERE server = ?1", [evil.url()]).unwrap();
    sql.execute("UPDATE registrations SET server = ?1", [evil.url()]).unwrap();
    broker.clock.advance(Duration::from_hours(12));
    assert_eq!(
        parameter(&begin(&broker, &evil).await, "client_id").as_deref(),
        Some("client-2"),
        "its secret is no other's"
    );
    assert!(evil.server.asked().iter().all(|asked| !asked.body.contains("secret-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_secret_does_not_open_is_registered_again_at_once() {
    let (instance, broker) = (Instance::start().await, broker().await);
    let id = connect(&broker, &instance, "a").await;
    let spoiled = "UPDATE registrations SET client_secret = CAST(substr(client_secret, 1, 45) AS BLOB)";
    assert_eq!(broker.sql().execute(spoiled, []), Ok(1));
    assert_eq!(connect(&broker, &instance, "b").await, id);
    assert_eq!(count(&broker, "registrations"), 2);
    assert_eq!(connect(&broker, &instance, "c").await, id);
    assert_eq!(instance.state().registered, 2, "the new one is kept");
}

/// The app that it brings has the callback URL of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_under_way_over_a_reload_serves_no_connection_after_it() {
    let (release, held) = mpsc::channel::<()>();
    let (asked, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let (held, registered) = (Mutex::new(held), AtomicUsize::new(0));
    let server = AnyServer::start(move |_, _| {
        let number = registered.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            asked.send(()).unwrap();
            tokio::task::block_in_place(|| held.lock().unwrap().recv()).unwrap();
        }
        ok(&json!({"client_id": format!("client-{number}"), "client_secret": "secret"}).to_string())
    })
    .await;
    let broker = broker().await;
    let caller = broker.broker().authenticate(&broker.key, None).await.unwrap();
    let reloaded = broker.reloaded(|config| config.server.public_url = "https://new.example".to_owned()).await;
    let wanted = || BeginConnect {
        platform: "mastodon".to_owned(),
        server: Some(server.url.clone()),
        ..BeginConnect::default()
    };
    let (before, after) = tokio::join!(broker.broker().begin_connect(&caller, wanted()), async {
        arrived.recv().await;
        let begun = reloaded.begin_connect(&caller, wanted());
        let after = tokio::time::timeout(Duration::from_secs(10), begun).await;
        release.send(()).unwrap();
        after.expect("it waited for the other app")
    });
    for (begun, client, public_url) in
        [(before, "client-0", broker.url.as_str()), (after, "client-1", "https://new.example")]
    {
        let url = begun.unwrap_or_else(|error| panic!("{error}")).url;
        assert_eq!(parameter(&url, "client_id").as_deref(), Some(client));
        assert!(parameter(&url, "redirect_uri").unwrap().starts_with(public_url), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_server_leaves_or_is_stored_in_plain() {
    logs::capture();
    let instance = Instance::start().await;
    let broker = broker().await;
    let url = instance.url().to_owned();
    instance.state().more = json!({"expires_in": 3600, "refresh_token": format!("refresh-token-of-{url}")});
    let reply = asked(&broker, &format!("server={url}&redirectUri=https://app.example/back")).await;
    let location = back(&broker, reply.json["url"].as_str().unwrap(), "code=code-that-nobody-may-see").await;
    let id = parameter(&location, "integrationId").unwrap();
    broker.clock.advance(Duration::from_hours(1));
    assert_eq!(broker.refresh_due().await, 1);
    let live = broker.database();
    let detail = broker.detail(&id).await.to_string();
    instance.forget_apps();
    let lost = back(&broker, &begin(&broker, &instance).await, "code=code-that-nobody-may-see").await;
    let again = connect(&broker, &instance, "code-that-nobody-may-see").await;
    assert_eq!(broker.call("DELETE", &format!("/v1/connect/integrations/{again}"), None).await.status, 200);

    let mut needles = Needles::default();
    for secret in [
        format!("secret-1-of-{url}"),
        format!("secret-2-of-{url}"),
        format!("access-code-that-nobody-may-see-of-{url}"),
        format!("access-refresh-token-of-{url}-of-{url}"),
        format!("refresh-token-of-{url}"),
        "code-that-nobody-may-see".to_owned(),
    ] {
        needles.add(&secret, secret.as_bytes());
    }
    for (what, bytes) in [
        ("the database", live),
        ("the database afterwards", broker.database()),
        ("the log", logs::text().into_bytes()),
        ("an answer", format!("{} {location} {detail} {lost}", reply.text).into_bytes()),
    ] {
        let found = needles.find(&bytes);
        assert!(found.is_empty(), "{what} gives away: {found:#?}");
    }
    assert!(!needles.find(format!("x secret-1-of-{url}").as_bytes()).is_empty(), "the search can fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_link_asks_for_the_server_and_leads_there() {
    let (instance, broker) = (Instance::start().await, broker().await);
    let made = broker.call("POST", "/v1/connect/links", Some(json!({"platforms": ["mastodon"]}))).await;
    let page = made.json["link"]["url"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned();
    assert!(broker.visit(&page).await.text.contains("Your server"));
    let mut jar = Jar::default();
    let form = |server: &str| {
        let request = broker.request("POST", &page).header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("connect=mastodon&server={}", server.replace(':', "%3A").replace('/', "%2F")))
    };
    for wrong in ["", "no server", "http://127.0.0.1:1"] {
        let refused = jar.send(form(wrong)).await;
        assert!(refused.status >= 400 && refused.text.contains("This server was not found"), "{}", refused.text);
        assert!(refused.text.contains(&format!("value=\"{wrong}\"")), "what was typed is kept: {wrong}");
    }
    let authorize = jar.send(form(instance.url())).await.location();
    assert!(authorize.starts_with(&format!("{}/oauth/authorize?", instance.url())), "{authorize}");
    let callback = returning(&authorize, "code=a").replace(&broker.url, "");
    let location = jar.visit(&broker, &callback).await.location();
    let told = jar.visit(&broker, &location).await.text;
    assert!(told.contains("is connected") && told.contains(&format!("@ada@{}", instance.host())), "{told}");
}
