//! A broker to test against: `TestBroker::start().await`, or `TestBroker::builder()` to change something.
//!
//! Everything listens on free loopback ports, and stops when the value is dropped.

mod builder;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use postpeer::app::{App, Ports, Prepared};
use postpeer::broker::Broker;
use postpeer::broker::connection_rows::change_flow;
use postpeer::config::Config;
use postpeer::domain::InvalidTransition;
use postpeer::domain::access_key::Scope;
use postpeer::domain::entropy::SystemEntropy;
use postpeer::domain::flow::Flow;
use postpeer::domain::project::DEFAULT_PROJECT;
use postpeer::domain::redirect::RedirectPolicy;
use postpeer::domain::secret::SecretString;
use postpeer::domain::time::ManualClock;
use postpeer::sandbox::{Answer, Control, Sandbox};
use postpeer::vault::{KeyringFile, Vault};
use postpeer::{http, server, store};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub(crate) use self::builder::Builder;

/// Time after which a test counts as stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker with its sandbox.
pub(crate) struct TestBroker {
    pub(crate) url: String,
    /// Access key of the default project, with every scope.
    pub(crate) key: String,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: tempfile::TempDir,
    keyring: tempfile::TempDir,
    sandbox: Sandbox,
    client: reqwest::Client,
    settings: http::Settings,
    /// `None` only while the broker restarts.
    running: Option<(App, ServerHandle)>,
}

/// Opens the broker, as `postpeer serve` does.
async fn open(config: Config, ports: Ports) -> App {
    Prepared::new(config, ports).unwrap().open_on(Handle::current()).await.unwrap()
}

fn serve(app: &App, settings: &http::Settings, listener: TcpListener) -> ServerHandle {
    let state = http::State::new(app.broker.clone(), settings.clone(), app.ports.entropy.clone());
    let server = server::listen(&state.into(), listener, 2, Duration::from_secs(1)).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    handle
}

impl TestBroker {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start() -> Self {
        Builder::default().start().await
    }

    /// Controls the platforms: their requests and faults.
    pub(crate) fn sandbox(&self) -> Control {
        self.sandbox.handle()
    }

    fn app(&self) -> &App {
        &self.running.as_ref().unwrap().0
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.app().broker
    }

    pub(crate) fn config(&self) -> &Config {
        &self.app().config
    }

    pub(crate) fn sandbox_url(&self) -> &str {
        self.sandbox.base_url()
    }

    /// The sandbox's server of Bluesky accounts.
    pub(crate) fn sandbox_pds_url(&self) -> &str {
        self.sandbox.pds_url()
    }

    /// A new key of a project, which is created if it is missing.
    pub(crate) async fn key(&self, project: &str, scopes: &[Scope]) -> String {
        if project != DEFAULT_PROJECT {
            let _ = self.broker().create_project(project).await;
        }
        let (_, key) = self.broker().create_access_key(project, "test", scopes).await.unwrap();
        expose(&key)
    }

    /// Builds a request to a path of the broker or to a whole URL.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.client.request(method.parse().unwrap(), url)
    }

    /// Sends a request with the default key and an optional JSON body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.call_as(&self.key, method, path, body).await
    }

    pub(crate) async fn call_as(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
        let mut request = self.request(method, path).header("x-access-key", key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    /// Refreshes everything that is due. Returns the number of grants with new tokens.
    pub(crate) async fn refresh_due(&self) -> usize {
        self.broker().refresher().refresh_due(&CancellationToken::new()).await.unwrap().refreshed
    }

    /// Asks for an account's access token, with further query parameters.
    pub(crate) async fn token(&self, id: &str, query: &str) -> Reply {
        self.get(&format!("/v1/connect/integrations/{id}/token?{query}")).await
    }

    /// An account's detail.
    pub(crate) async fn detail(&self, id: &str) -> Value {
        self.get(&format!("/v1/connect/integrations/{id}")).await.json["integration"].take()
    }

    /// Requests a URL as a browser does, without a key. Of all redirects, follows those to the page that shows how a
    /// connection ended.
    pub(crate) async fn browse(&self, url: &str) -> Reply {
        let reply = self.visit(url).await;
        self.see(reply).await
    }

    /// The page that shows how a connection ended, where a reply leads to it; else the reply.
    pub(crate) async fn see(&self, reply: Reply) -> Reply {
        let location = reply.location();
        if location.starts_with('/') && location.contains("/connect/result/") {
            return self.visit(&location).await;
        }
        reply
    }

    /// Requests a URL without a key, and follows no redirect.
    pub(crate) async fn visit(&self, url: &str) -> Reply {
        Reply::of(self.request("GET", url).send().await.unwrap()).await
    }

    /// The authorize URL for `platform`, with further query parameters (`&profileId=…`).
    pub(crate) async fn begin(&self, platform: &str, query: &str) -> String {
        let reply = self.get(&format!("/v1/connect/{platform}?{query}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json["url"].as_str().unwrap().to_owned()
    }

    /// Consents at the platform. Returns the callback URL.
    pub(crate) fn consent(&self, authorize_url: &str, answer: &Answer) -> String {
        self.sandbox().consent(authorize_url, answer).unwrap()
    }

    /// Connects an account. Returns the integration's id.
    pub(crate) async fn connect(&self, platform: &str, query: &str) -> String {
        self.connect_with(platform, query, &Answer::allow()).await
    }

    /// Connects an account with this answer to the consent page. Returns the integration's id.
    pub(crate) async fn connect_with(&self, platform: &str, query: &str, answer: &Answer) -> String {
        let separator = if query.is_empty() { "" } else { "&" };
        let url = self.begin(platform, &format!("{query}{separator}redirectUri=https://app.example/back")).await;
        let reply = self.browse(&self.consent(&url, answer)).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        let location = self.land(platform, reply.location()).await;
        assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "{location}");
        parameter(&location, "integrationId").unwrap()
    }

    /// The final redirect of a connection with a `redirectUri`. Selects the first account where there are several.
    pub(crate) async fn land(&self, platform: &str, location: String) -> String {
        let Some((_, token)) = location.split_once("/connect/selection/") else { return location };
        let path = format!("/v1/connect/{platform}/selection/{token}");
        let choice = self.get(&path).await.json["accounts"][0]["id"].clone();
        let done = self.call("POST", &path, Some(serde_json::json!({"selectedAccountIds": [choice]}))).await;
        assert_eq!(done.status, 200, "{}", done.text);
        done.json["redirectUri"].as_str().unwrap().to_owned()
    }

    /// Restarts with another list of redirects.
    pub(crate) async fn restart_with_redirects(&mut self, allowed: &[&str]) {
        self.restart_with(|config| config.connect.redirects = RedirectPolicy::parse(allowed).unwrap()).await;
    }

    /// Stops the server, closes the broker and opens it again. It listens on another port afterwards, to which a proxy
    /// would forward the public URL: see [`Self::arrive`].
    pub(crate) async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// Restarts with another configuration.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        let (app, server) = self.running.take().unwrap();
        server.stop(false).await;
        let (mut config, ports) = (app.config.clone(), app.ports.clone());
        app.close_on_runtime().await.unwrap();
        change(&mut config);
        let app = open(config, ports).await;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.url = format!("http://{}", listener.local_addr().unwrap());
        let server = serve(&app, &self.settings, listener);
        self.running = Some((app, server));
    }

    /// The broker as it is after a reload with another configuration. The server keeps the old one.
    pub(crate) async fn reloaded(&self, change: impl FnOnce(&mut Config)) -> Broker {
        let mut config = self.config().clone();
        change(&mut config);
        self.app().reloaded(&config).await.unwrap()
    }

    /// Requests a callback at the broker's current port, whatever port the URL names.
    pub(crate) async fn arrive(&self, callback: &str) -> Reply {
        let path = callback.find("/v1/").unwrap();
        self.browse(&format!("{}{}", self.url, &callback[path..])).await
    }

    /// Sends raw bytes and reads until the server closes the connection.
    pub(crate) async fn raw(&self, request: &[u8]) -> Reply {
        self.try_raw(request).await.expect("the server hangs up without an answer")
    }

    /// [`raw`](Self::raw), or `None` when the server closes without an answer.
    pub(crate) async fn try_raw(&self, request: &[u8]) -> Option<Reply> {
        let mut stream = tokio::net::TcpStream::connect(self.url.strip_prefix("http://").unwrap()).await.unwrap();
        // The server may close before everything is written.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
        let _ = reading.await.expect("the server keeps the connection open");
        (!answer.is_empty()).then(|| Reply::parse(&answer))
    }

    /// The stored bytes, which stay equal as long as nothing is written.
    pub(crate) fn stored(&self) -> Vec<u8> {
        ["postpeer.db", "postpeer.db-wal"]
            .iter()
            .flat_map(|name| std::fs::read(self.dir.path().join(name)).unwrap())
            .collect()
    }

    /// A connection of its own to the database.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.dir.path().join("postpeer.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db
    }

    /// Id of the newest flow.
    pub(crate) fn last_flow(&self) -> String {
        self.sql().query_row("SELECT max(id) FROM flows", [], |row| row.get(0)).unwrap()
    }

    /// Changes a flow as the broker does, with its code.
    pub(crate) fn change_flow(&self, id: &str, decide: impl FnOnce(Flow) -> Result<Flow, InvalidTransition>) {
        let inspection = store::inspect(&self.config().database).unwrap();
        let file = KeyringFile::load(&self.config().keyring).unwrap();
        let vault = Vault::unlock(&file, inspection.db_id, &inspection.wrapped_keys, Arc::new(SystemEntropy)).unwrap();
        let mut db = self.sql();
        let tx = db.transaction().unwrap();
        let project: String =
            tx.query_row("SELECT project_id FROM flows WHERE id = ?1", [id], |row| row.get(0)).unwrap();
        change_flow(&tx, &vault, project.parse().unwrap(), id.parse().unwrap(), decide).unwrap();
        tx.commit().unwrap();
    }

    /// The text of the keyring file.
    pub(crate) fn keyring(&self) -> String {
        std::fs::read_to_string(self.keyring.path().join("postpeer.keyring")).unwrap()
    }

    /// The bytes of every file of the database.
    pub(crate) fn database(&self) -> Vec<u8> {
        files(self.dir.path())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some((_, server)) = &self.running {
            drop(server.stop(false));
        }
    }
}

/// An answer and its body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    /// Null when the body is not JSON.
    pub(crate) json: Value,
}

impl Reply {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, json }
    }

    /// Parses the bytes of an answer.
    fn parse(answer: &[u8]) -> Self {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap());
        }
        let json = serde_json::from_str(body).unwrap_or(Value::Null);
        Self { status, headers, text: body.to_owned(), json }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The redirect, without the empty fragment that ends a redirect from Meta's platforms.
    pub(crate) fn location(&self) -> String {
        let location = self.header("location");
        location.strip_suffix('#').unwrap_or(location).to_owned()
    }

    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or("")
    }
}

/// A parameter of a URL's query.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let base = url::Url::parse("http://relative.invalid").unwrap();
    let url = base.join(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Makes a profile, and returns its id.
pub(crate) async fn profile(broker: &TestBroker, name: &str) -> String {
    let made = broker.call("POST", "/v1/profiles", Some(serde_json::json!({"name": name}))).await;
    made.json["profile"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
}

/// Reconnects an account, and returns where its owner is sent in the end.
pub(crate) async fn reconnect(broker: &TestBroker, platform: &str, id: &str, answer: &Answer) -> String {
    let url = broker.begin(platform, &format!("redirectUri=https://app.example/back&reconnect={id}")).await;
    broker.browse(&broker.consent(&url, answer)).await.location()
}

/// Number of integrations.
pub(crate) async fn total(broker: &TestBroker) -> u64 {
    broker.get("/v1/connect/integrations?limit=1&include=custom").await.json["total"].as_u64().unwrap()
}

/// The bytes of all files in a folder.
pub(crate) fn files(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    bytes
}

#[expect(clippy::disallowed_methods, reason = "a test is a client of its own")]
pub(crate) fn client() -> reqwest::Client {
    // The broker's client installs the provider, but a test may come first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    // An answer that does not come fails the test, which would hang otherwise.
    client.timeout(Duration::from_mins(2)).build().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "tests use the keys that they make")]
pub(crate) fn expose(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}
