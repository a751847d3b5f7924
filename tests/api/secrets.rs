//! No secret leaks. Every flow runs with all its failures, and no token, code, state, verifier, client secret or
//! access key appears in any log line, answer, page, error, `Debug` text or byte of the database's files.

mod echoes;
mod errors;
pub(crate) mod needles;
mod refreshes;
mod silence;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postpeer::domain::access_key::Scope;
use postpeer::domain::entropy::{Entropy as _, SeededEntropy};
use postpeer::http::routes::CONSOLE_ROUTES;
use postpeer::sandbox::{self, Answer, Fault, Step};
use serde_json::{Value, json};

use self::needles::Needles;
use crate::console::Operator;
use crate::logs;
use crate::support::{Reply, TestBroker, parameter};

const SEED: u64 = 77;
/// The caller's own query parameter.
const NONCE: &str = "nonce-of-the-callers-session-8c1f";
const BACK: &str = "redirectUri=https://app.example/back?nonce%3Dnonce-of-the-callers-session-8c1f";

/// A broker and all its answers.
struct Watched {
    broker: TestBroker,
    /// Each request, with the answer's headers and body.
    answers: Vec<(String, String)>,
    states: Vec<String>,
    keys: Vec<String>,
    verifiers: Vec<String>,
}

impl Watched {
    fn over(broker: TestBroker) -> Self {
        Self { broker, answers: Vec::new(), states: Vec::new(), keys: Vec::new(), verifiers: Vec::new() }
    }

    async fn send(&mut self, what: &str, request: reqwest::RequestBuilder) -> Reply {
        let reply = Reply::of(request.send().await.unwrap()).await;
        self.keep(what, &reply);
        reply
    }

    fn keep(&mut self, what: &str, reply: &Reply) {
        self.answers.push((format!("{what} ({})", reply.status), format!("{:?}\n{}", reply.headers, reply.text)));
    }

    async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let reply = self.broker.call(method, path, body).await;
        self.keep(&format!("{method} {path}"), &reply);
        reply
    }

    async fn browse(&mut self, what: &str, url: &str) -> Reply {
        let request = self.broker.request("GET", url);
        self.send(what, request).await
    }

    /// Begins a flow. Its answer must carry the state, and is recorded without it.
    async fn begin(&mut self, platform: &str, query: &str) -> String {
        let mut reply = self.broker.get(&format!("/v1/connect/{platform}?{query}")).await;
        let url = reply.json["url"].as_str().unwrap_or_else(|| panic!("{}", reply.text)).to_owned();
        let state = parameter(&url, "state").unwrap();
        reply.text = reply.text.replace(&state, "");
        self.keep(&format!("GET /v1/connect/{platform}"), &reply);
        self.states.push(state);
        url
    }

    /// Runs a flow to its end, then reloads it. Returns the integration, if there is one.
    async fn flow(&mut self, platform: &str, query: &str, answer: &Answer) -> Option<String> {
        let url = self.begin(platform, query).await;
        let callback = self.broker.consent(&url, answer);
        let reply = self.browse(&format!("callback of {platform}"), &callback).await;
        if reply.location().contains("/connect/result/") {
            self.browse(&format!("result of {platform}"), &reply.location()).await;
        }
        self.browse(&format!("reload of {platform}"), &callback).await;
        let sent = self.broker.sandbox().requests_at(platform, Step::Token);
        self.verifiers.extend(sent.iter().filter_map(|request| request.field("code_verifier")).map(str::to_owned));
        let location = reply.location();
        if location.is_empty() { None } else { parameter(&location, "integrationId") }
    }
}

/// Every secret that the sandbox and the broker hold by now.
fn needles(watched: &Watched) -> Needles {
    let mut needles = Needles::default();
    let broker = &watched.broker;
    let mut kinds = std::collections::BTreeSet::new();
    for platform in sandbox::platforms() {
        for issued in broker.sandbox().issued(platform) {
            kinds.insert(format!("{:?}", issued.kind));
            needles.add(&format!("{platform}: {:?}", issued.kind), issued.value.as_bytes());
        }
        for (whose, client) in [("operator's", sandbox::client(platform)), ("caller's", sandbox::own_client(platform))]
        {
            needles.add(&format!("{platform}: the {whose} client secret"), client.unwrap().1.as_bytes());
        }
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds, ["Access", "Code", "Id", "LongLived", "Page", "Refresh"], "the flows issued all kinds");
    for (what, secrets) in
        [("state", &watched.states), ("PKCE verifier", &watched.verifiers), ("access key", &watched.keys)]
    {
        assert!(secrets.len() >= if what == "access key" { 3 } else { 100 }, "{what}: {}", secrets.len());
        for secret in secrets {
            needles.add(what, secret.as_bytes());
        }
    }
    let keyring = broker.keyring();
    let line = keyring.lines().find(|line| line.starts_with("k1")).unwrap();
    let key = URL_SAFE_NO_PAD.decode(line.split_once(':').unwrap().1.trim()).unwrap();
    needles.add("key of the keyring", &key);
    // The data key is drawn next.
    let entropy = SeededEntropy::new(SEED);
    let mut block = [0; 32];
    while block[..] != key {
        entropy.fill(&mut block);
    }
    entropy.fill(&mut block);
    needles.add("data key", &block);
    needles
}

fn assert_silent(needles: &Needles, what: &str, bytes: &[u8]) {
    let found = needles.find(bytes);
    assert!(found.is_empty(), "{what} gives away: {found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_leaves() {
    logs::capture();
    let broker = TestBroker::builder().seed(SEED).toml("[console]\n").start().await;
    let keys =
        vec![broker.key.clone(), broker.key("default", &[Scope::Read]).await, broker.key("other", Scope::ALL).await];
    let mut watched = Watched { keys, ..Watched::over(broker) };

    let connected = everything_works(&mut watched).await;
    let session = look_at_the_console(&mut watched, &connected).await;
    everything_fails(&mut watched).await;
    nonsense(&mut watched).await;
    // The database holds tokens that are in use.
    let live = watched.broker.database();
    let sealed: Vec<Vec<u8>> = {
        let db = watched.broker.sql();
        let mut rows = db.prepare("SELECT tokens FROM grants").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert!(sealed.len() >= connected.len() / 2, "{} {}", sealed.len(), connected.len());
    everything_ends(&mut watched, connected).await;
    let erased = watched.broker.database();

    let mut needles = needles(&watched);
    needles.add("the session of the console", session.as_bytes());
    for (what, answer) in &watched.answers {
        assert_silent(&needles, what, answer.as_bytes());
    }
    assert_silent(&needles, "the database while accounts are connected", &live);
    assert_silent(&needles, "the database after they were disconnected", &erased);
    needles.add("the nonce of a redirect URI", NONCE.as_bytes());
    assert_silent(&needles, "the log", logs::text().as_bytes());

    // Sealed tokens are gone as well, after a checkpoint of the write-ahead log.
    watched.broker.sql().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let settled = watched.broker.database();
    for tokens in sealed.iter().take(4) {
        let found = |bytes: &[u8]| bytes.windows(40).any(|window| window == &tokens[..40]);
        assert!(found(&live) && !found(&settled), "sealed tokens outlive their account");
    }
}

/// The sweep can fail.
#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_finds_what_is_planted() {
    logs::capture();
    let mut needles = Needles::default();
    let marker = "planted-marker-5b1e7c20d94f";
    needles.add("marker", marker.as_bytes());
    let mut watched = Watched::over(TestBroker::builder().seed(78).start().await);
    watched.call("POST", "/v1/profiles", Some(json!({"name": marker}))).await;
    let answer = &watched.answers[0].1;
    assert_eq!(needles.find(answer.as_bytes()).len(), 1, "an answer");
    assert!(!needles.find(&watched.broker.database()).is_empty(), "the database");
    assert!(needles.find(logs::text().as_bytes()).is_empty());
    tracing::trace!(header = format!("Basic {}", URL_SAFE_NO_PAD.encode(format!("id:{marker}"))), "planted");
    assert_eq!(needles.find(logs::text().as_bytes()).len(), 1, "the log");
    // The buffer has the broker's lines, from all its threads.
    watched.broker.connect("acme", "").await;
    let flow = watched.broker.last_flow();
    assert!(
        logs::of_flow(&flow).iter().any(|line| line.starts_with("account connected")),
        "{:?}",
        logs::of_flow(&flow)
    );
}

/// Connects every platform: with a redirect, with a page, for a profile, and under the caller's own app.
async fn everything_works(watched: &mut Watched) -> Vec<String> {
    let made = watched.call("POST", "/v1/profiles", Some(json!({"name": "Winter"}))).await;
    let profile = made.json["profile"]["id"].as_str().unwrap().to_owned();
    let mut connected = Vec::new();
    for platform in sandbox::platforms() {
        connected.extend(watched.flow(platform, BACK, &Answer::allow()).await);
        connected.extend(watched.flow(platform, &format!("{BACK}&profileId={profile}"), &Answer::allow()).await);
        watched.flow(platform, "", &Answer::allow().account("basil")).await;

        let (id, secret) = sandbox::own_client(platform).unwrap();
        let app = json!({"platform": platform, "name": "Own", "clientId": id, "clientSecret": secret});
        let made = watched.call("POST", "/v1/apps", Some(app.clone())).await;
        let app_id = made.json["app"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned();
        assert_eq!(watched.call("POST", "/v1/apps", Some(app)).await.status, 409);
        let changed = watched.call("PATCH", &format!("/v1/apps/{app_id}"), Some(json!({"clientSecret": secret}))).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        // One waits for its caller to the end, and one is completed.
        for account in ["basil", "ada"] {
            watched.flow(platform, &format!("{BACK}&completion=true"), &Answer::allow().account(account)).await;
        }
        let completed = format!("/v1/connect/flows/{}/complete", watched.broker.last_flow());
        let done = watched.call("POST", &completed, None).await;
        assert_eq!(done.status, 200, "{platform}: {}", done.text);

        let own = format!("{BACK}&appId={app_id}&profileId={profile}");
        connected.extend(watched.flow(platform, &own, &Answer::allow().account("basil")).await);
    }
    for id in &connected {
        watched.call("GET", &format!("/v1/connect/integrations/{id}"), None).await;
    }
    for list in ["/v1/connect/integrations?include=custom", "/v1/apps", "/v1/profiles", "/v1/platforms?include=custom"]
    {
        assert_eq!(watched.call("GET", list, None).await.status, 200, "{list}");
    }
    for page in ["/documentation", "/documentation/json", "/healthz", "/readyz", "/v1/health", "/v1/health/auth"] {
        watched.call("GET", page, None).await;
    }
    connected
}

/// Every page of the console. Returns the session's token.
async fn look_at_the_console(watched: &mut Watched, connected: &[String]) -> String {
    let mut pages = Vec::new();
    let session = {
        let operator = Operator::of(&watched.broker).await;
        let with_id = CONSOLE_ROUTES.iter().filter(|route| route.method == "GET").map(|route| route.paths[0]);
        for path in with_id {
            let ids = if path.contains("{id}") { connected } else { &connected[..1] };
            for id in ids {
                let path = path.replace("{id}", id);
                let reply = operator.get(&path).await;
                assert_eq!(reply.status, 200, "{path}: {}", reply.text);
                pages.push((path, reply));
            }
        }
        operator.token()
    };
    for (path, reply) in &pages {
        watched.keep(path, reply);
    }
    session
}

/// Every fault at each step, and every kind of denial.
async fn everything_fails(watched: &mut Watched) {
    let sandbox = watched.broker.sandbox();
    for platform in sandbox::platforms() {
        for query in [BACK, ""] {
            watched.flow(platform, query, &Answer::deny()).await;
            watched.flow(platform, query, &Answer::allow().fault("callback_error")).await;
            watched.flow(platform, query, &Answer::allow().fault("callback_empty")).await;
            watched.flow(platform, query, &Answer::allow().fault("denied_scopes")).await;
        }
        for account in ["viewer", "personal"] {
            let url = watched.begin(platform, BACK).await;
            // Most platforms lack such an account.
            if let Ok(callback) = sandbox.consent(&url, &Answer::allow().account(account)) {
                watched.browse("callback of an odd account", &callback).await;
            }
        }
        for step in steps(platform) {
            for fault in Fault::ALL {
                let fault = if let Fault::Slow(_) = fault { Fault::Slow(Duration::from_millis(1)) } else { fault };
                sandbox.fail_next(platform, step, fault, 3).unwrap();
                if step == Step::Revoke {
                    sandbox.fail_next(platform, Step::Identity, Fault::ServerError, 3).unwrap();
                }
                let account = Answer::allow().account(if fault == Fault::Lost { "basil" } else { "ada" });
                watched.flow(platform, if fault == Fault::Html { "" } else { BACK }, &account).await;
                sandbox.clear();
            }
        }
    }
}

/// Steps at which a connection with that platform can fail.
fn steps(platform: &str) -> Vec<Step> {
    let mut steps = vec![Step::Token, Step::Identity];
    match platform {
        "instagram" => steps.push(Step::LongLived),
        "threads" => steps.extend([Step::LongLived, Step::Inspect]),
        "pinterest" => {}
        _ => steps.push(Step::Revoke),
    }
    steps
}

/// Malformed requests that contain secrets.
async fn nonsense(watched: &mut Watched) {
    let broker_url = watched.broker.url.clone();
    let (_, secret) = sandbox::own_client("twitter").unwrap();
    let url = watched.begin("twitter", BACK).await;
    let callback = watched.broker.consent(&url, &Answer::allow());
    let (state, code) = (parameter(&callback, "state").unwrap(), parameter(&callback, "code").unwrap());
    for query in [
        format!("state={state}&state={state}&code={code}"),
        format!("state={state}&code={code}&code={code}"),
        format!("state={state}x&code={code}"),
        format!("state={code}&code={state}"),
        format!("code={code}"),
        format!("state={state}"),
        format!("state={state}&code={code}&iss={code}&error={code}&error={code}"),
        format!("state={state}&code={code}&%ff={code}"),
        format!("state={state}&code={}", code.repeat(400)),
        format!("state={state}&code={}", code.repeat(200)),
        format!("state={}&code={code}", state.repeat(20)),
        format!("{code}&{state}"),
    ] {
        watched.browse("a wrong callback", &format!("{broker_url}/v1/connect/twitter/callback?{query}")).await;
        watched
            .browse("another platform's callback", &format!("{broker_url}/v1/connect/tiktok/callback?{query}"))
            .await;
        watched
            .browse(
                "a callback in the wrong place",
                &format!("{broker_url}/v1/connect/twitter/callback/{code}?{query}"),
            )
            .await;
        watched.browse("a path with a code", &format!("{broker_url}/{code}?{query}")).await;
        for method in ["POST", "PUT", "HEAD", "OPTIONS"] {
            let request = watched.broker.request(method, &format!("{broker_url}/v1/connect/twitter/callback?{query}"));
            watched.send(method, request).await;
        }
    }
    // A code as the error, a token as the platform's path.
    watched
        .browse(
            "an error that is a code",
            &format!("{broker_url}/v1/connect/twitter/callback?state={state}&error={}", code.replace(':', "")),
        )
        .await;

    let key = watched.broker.key.clone();
    for path in [
        format!("/v1/connect/{key}"),
        format!("/v1/connect/twitter?x-access-key={key}"),
        format!("/v1/connect/twitter?redirectUri={key}"),
        format!("/v1/connect/twitter?redirectUri=https://app.example/%23{key}&profileId={key}"),
        format!("/v1/connect/twitter?profileId={key}"),
        format!("/v1/connect/twitter?appId={key}"),
        format!("/v1/connect/integrations?q={key}&platform={key}"),
        format!("/v1/connect/integrations/{key}"),
        format!("/v1/apps?name={key}&page={key}"),
        format!("/v1/apps/{secret}").replace('%', "%25"),
    ] {
        watched.call("GET", &path, None).await;
        let request = watched.broker.request("GET", &path);
        watched.send("without a key", request).await;
        let request = watched.broker.request("GET", &path).header("authorization", format!("Bearer {key}"));
        watched.send("with the key elsewhere", request).await;
    }
    for header in [format!("{key}x"), key.to_uppercase(), format!("{key},{key}"), format!("x{key}")] {
        let request = watched.broker.request("GET", "/v1/health/auth").header("x-access-key", header);
        watched.send("with a mistyped key", request).await;
    }
    let request =
        watched.broker.request("GET", "/v1/health/auth").header("x-access-key", &key).header("x-access-key", &key);
    watched.send("with the key twice", request).await;
    for body in [
        format!("{{\"clientSecret\": \"{secret}\""),
        format!("{{\"clientSecret\": \"{secret}\", \"clientSecret\": \"{secret}\"}}"),
        format!("{{\"{secret}\": 1}}"),
        format!("[\"{secret}\"]"),
        format!("\"{secret}\""),
        secret.clone(),
        json!({"platform": "twitter", "name": "x", "clientId": "x", "clientSecret": [secret]}).to_string(),
        json!({"platform": "twitter", "name": "x", "clientId": "x", "clientSecret": {"value": secret}}).to_string(),
        json!({"platform": "twitter", "name": "x", "clientId": "x", "clientSecret": format!("{secret}\n")}).to_string(),
        json!({"platform": "twitter", "name": "x", "clientId": "x", "clientSecret": secret.repeat(200)}).to_string(),
        json!({"platform": secret, "name": "x", "clientId": "x", "clientSecret": secret}).to_string(),
        json!({"platform": "bluesky", "name": "x", "clientId": "x", "clientSecret": secret}).to_string(),
        json!({"clientSecret": secret, "clientId": secret}).to_string(),
        json!({"clientSecret": secret, secret.as_str(): secret}).to_string(),
        json!({"name": "x", "imageUrl": secret, "clientSecret": secret}).to_string(),
    ] {
        for (method, path) in [("POST", "/v1/apps"), ("PATCH", "/v1/apps/app_0"), ("POST", "/v1/profiles")] {
            for kind in ["application/json", "text/plain"] {
                let request = watched.broker.request(method, path).header("x-access-key", &key);
                let request = request.header("content-type", kind).body(body.clone());
                watched.send(&format!("{method} {path} with {kind}"), request).await;
            }
        }
    }
}

/// Disconnects every account, some while the platform fails.
async fn everything_ends(watched: &mut Watched, connected: Vec<String>) {
    let sandbox = watched.broker.sandbox();
    let faults = [Fault::Drop, Fault::ServerError, Fault::Html, Fault::Revoked, Fault::RateLimited, Fault::Garbage];
    for platform in sandbox::platforms() {
        sandbox.fail_next(platform, Step::Revoke, faults[platform.len() % faults.len()], 1).unwrap();
    }
    for id in connected {
        let gone = watched.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        assert!(matches!(gone.status, 200 | 404), "{}", gone.text);
    }
    loop {
        let listed = watched.call("GET", "/v1/connect/integrations?include=custom&limit=50", None).await;
        let Some(id) = listed.json["integrations"][0]["id"].as_str() else { break };
        assert_eq!(watched.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await.status, 200);
    }
}
