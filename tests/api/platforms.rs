//! Every platform's dialogue with the broker, word for word, in a snapshot each: the endpoints, the authorize URL, the
//! requests that the platform receives from the connection to the disconnect, the accounts that result, and the outcome
//! of each failure.
//!
//! All platforms of the sandbox go through the same steps; `INSTA_UPDATE=always cargo test --test api platforms`
//! writes the snapshots. Authorize URLs are those of the real platforms, built from nothing but credentials; requests
//! are those that the sandbox received. Values that differ from run to run are named in brackets, and secrets by
//! their kind, so that a token in the wrong place is seen.

mod accounts;
mod callbacks;
mod credentials;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postpeer::config::{self, Environment};
use postpeer::domain::entropy::SeededEntropy;
use postpeer::domain::secret::random_token;
use postpeer::oauth::{AuthorizeRequest, authorize_url, takes_pkce};
use postpeer::platforms::{BUILT_IN, Platform, Refresh, Revocation};
use postpeer::sandbox::{self, Answer, Fault, Recorded, Step, TokenKind};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::alive::next_refresh;
use crate::logs;
use crate::support::{TestBroker, parameter};

const BACK: &str = "redirectUri=https://app.example/back";

/// An operator's own platform.
const ACME: &str = r#"
[platforms.acme]
client_id = "our-client"
client_secret = "our-secret"
authorize_url = "https://id.acme.example/auth?tenant=7"
token_url = "https://id.acme.example/token"
identity_url = "https://id.acme.example/me"
scopes = ["openid", "profile", "offline_access"]
client_auth = "basic"
pkce = "s256"
authorize_params = { prompt = "consent" }
identity = { id = "/sub", username = "/preferred_username", name = "/name", image = "/picture" }
"#;

/// Settings of an operator who has an app at each platform and changes nothing else.
fn operator() -> String {
    let app = |name: &str| format!("[platforms.{name}]\nclient_id = \"our-client\"\nclient_secret = \"our-secret\"\n");
    BUILT_IN.iter().map(|definition| app(&definition().name)).collect::<String>() + ACME
}

/// The authorize URL at the real platform, a parameter per line.
fn authorize(platform: &str, public_url: &str) -> String {
    let config = config::from_str("test", &operator(), Path::new("/"), &Environment::default()).unwrap();
    let configured = config.platforms.find(platform).unwrap();
    let entropy = SeededEntropy::new(1);
    let (state, verifier) = (random_token(&entropy), random_token(&entropy));
    let redirect_uri = format!("{public_url}/v1/connect/{platform}/callback");
    let request = AuthorizeRequest {
        client_id: &configured.credentials.as_ref().unwrap().client_id,
        redirect_uri: &redirect_uri,
        state: &state,
        scopes: &configured.platform().requested_scopes(None).unwrap(),
        pkce_verifier: takes_pkce(configured.platform(), &redirect_uri).then_some(&verifier),
        nonce: "",
    };
    let url = authorize_url(configured.platform(), &request).unwrap();
    url.as_str().replace('?', "\n  ?").replace('&', "\n  &")
}

/// The platform's own values that requests in the sandbox do not show, because it stands in for the hosts.
fn values(platform: &Platform) -> String {
    let Platform { label, token_url, api_url, authority, subject, revocation, revocation_reach, .. } = platform;
    let revocation_url = revocation.url().unwrap_or("none");
    let subject: &str = subject.into();
    let console = platform.console().unwrap_or("none");
    format!(
        "label: {label}\nconsole: {console}\ntoken_url: {token_url}\nrevocation: {revocation_url}, reach: \
         {revocation_reach:?}\napi_url: {api_url}\nauthority: {authority}, subject: {subject}\n"
    )
}

/// Members of an integration that differ between platforms.
const MEMBERS: [&str; 9] = [
    "platformUserId",
    "username",
    "displayName",
    "profileUrl",
    "imageUrl",
    "platformMetadata",
    "scopes",
    "accessTokenExpiresAt",
    "refreshTokenExpiresAt",
];

/// One platform in conversation with a broker.
struct Dialogue {
    name: &'static str,
    platform: Platform,
    broker: TestBroker,
    lines: Vec<String>,
}

impl Dialogue {
    fn tell(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// The URL of a new connection.
    async fn begin(&self) -> String {
        self.broker.begin(self.name, BACK).await
    }

    /// Requests since the sandbox was cleared, without those of the browser. Listings of accounts are made several at a
    /// time, so their order is not the sandbox's.
    fn requests(&self, authorize_url: &str) -> String {
        let requests = self.broker.sandbox().requests();
        let rendered = |wanted: fn(Step) -> bool| -> Vec<String> {
            let wanted = requests.iter().filter(|request| wanted(request.step));
            wanted.map(|request| render(&self.broker, authorize_url, request)).collect()
        };
        let mut asked = rendered(|step| !matches!(step, Step::Accounts | Step::Authorize));
        let mut listings = rendered(|step| step == Step::Accounts);
        listings.sort_unstable();
        asked.append(&mut listings);
        asked.join("\n")
    }

    /// Connects, refreshes and disconnects the account.
    async fn life(&mut self) {
        let url = self.begin().await;
        let location = self.broker.browse(&self.broker.consent(&url, &Answer::allow())).await.location();
        let location = self.broker.land(self.name, location).await;
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
        let account = self.account(&id).await;
        self.tell(self.requests(&url));
        self.broker.clock.set(next_refresh(&self.broker, &id).await);
        self.broker.sandbox().clear();
        assert_eq!(self.broker.refresh_due().await, 1, "{}", self.name);
        self.tell(self.requests(&url));
        self.broker.sandbox().clear();
        let gone = self.broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        let label = &self.platform.label;
        let revokes = self.platform.revocation != Revocation::Unsupported;
        let message = if revokes {
            format!("Disconnected. {label} revoked the tokens, and they are erased here.")
        } else {
            format!(
                "Disconnected, and the tokens are erased here. {label} has no way to revoke them: the account's owner \
                 can remove the app in the settings there."
            )
        };
        assert_eq!(gone.json["message"], message.as_str());
        assert_eq!(self.broker.sandbox().requests().len(), usize::from(revokes), "{}", self.name);
        self.tell(self.requests(&url));
        self.tell(account);
    }

    /// The integration as callers see it.
    async fn account(&self, id: &str) -> String {
        let detail = self.broker.detail(id).await;
        let mut shown: Map<String, Value> =
            MEMBERS.iter().map(|member| ((*member).to_owned(), detail[member].clone())).collect();
        shown.insert("nextRefreshAt".to_owned(), detail["health"]["nextRefreshAt"].clone());
        shown.insert("autoRefreshes".to_owned(), detail["tokenStatus"]["autoRefreshes"].clone());
        named(&self.broker, self.name, &serde_json::to_string_pretty(&shown).unwrap())
    }

    /// An account without a name, handle or picture, or with markup in its name; and a person who grants as little as
    /// the platform allows.
    async fn odd_people(&mut self) {
        let id = self.broker.connect_with(self.name, "", &Answer::allow().account("basil")).await;
        let basil = self.account(&id).await;
        self.tell(basil);
        let callback = self.broker.consent(&self.begin().await, &Answer::allow().fault("denied_scopes"));
        let outcome = outcome(&self.broker, &callback).await;
        let location = self.broker.browse(&callback).await.location();
        let recorded = match parameter(&location, "integrationId") {
            Some(id) => self.broker.detail(&id).await["scopes"].clone(),
            None => Value::Null,
        };
        self.tell(format!("fewest scopes: {outcome} {recorded}"));
    }

    /// A person who declines.
    async fn denial(&mut self) {
        let url = self.broker.begin(self.name, &format!("{BACK}&cancelRedirectUri=https://app.example/no")).await;
        self.broker.sandbox().clear();
        let location = self.broker.browse(&self.broker.consent(&url, &Answer::deny())).await.location();
        assert!(location.starts_with("https://app.example/no?"), "{location}");
        let at = |name| parameter(&location, name).unwrap_or_default();
        assert_eq!((at("status").as_str(), at("error").as_str()), ("cancelled", "access_denied"), "{location}");
        let asked: Vec<_> = self.broker.sandbox().requests().into_iter().map(|request| request.step).collect();
        assert_eq!(asked, [Step::Authorize], "nothing is asked of a platform where a person declined");
    }

    /// Codes that belong to another redirect URI or challenge than the flow's.
    async fn foreign_codes(&mut self) {
        let port = self.broker.url.rsplit_once(':').unwrap().1.to_owned();
        let ours = self.begin().await;
        let elsewhere = ours.replace(&format!("127.0.0.1%3A{port}"), "127.0.0.1%3A1");
        assert_ne!(ours, elsewhere);
        let stolen = self.broker.consent(&elsewhere, &Answer::allow());
        let stolen = stolen.replace("http://127.0.0.1:1/", &format!("{}/", self.broker.url));
        let told = outcome(&self.broker, &stolen).await;
        self.tell(format!("code of another redirect URI: {told}"));
        let Some(theirs) = parameter(&self.begin().await, "code_challenge") else { return };
        let url = self.begin().await;
        let ours = parameter(&url, "code_challenge").unwrap();
        assert_ne!(ours, theirs, "a verifier is used once");
        let swapped = self.broker.consent(&url.replace(&ours, &theirs), &Answer::allow());
        let told = outcome(&self.broker, &swapped).await;
        self.tell(format!("code of another challenge: {told}"));
    }

    /// Failures of each step of a connection.
    async fn troubles(&mut self) {
        for (step, fault) in troubles_of(&self.platform) {
            let callback = self.broker.consent(&self.begin().await, &Answer::allow());
            self.broker.sandbox().clear();
            // The broker retries four times at most.
            self.broker.sandbox().fail_next(self.name, step, fault, 5).unwrap();
            let told = outcome(&self.broker, &callback).await;
            let code = match (step, fault) {
                (_, Fault::RateLimited) => "platform_throttled",
                (_, Fault::ServerError) => "platform_unavailable",
                // LinkedIn says so of tokens that some of its servers do not know yet.
                (Step::Identity, Fault::Expired | Fault::Revoked) if self.name == "linkedin" => "platform_unavailable",
                // A token that was revoked at once is refused like one whose scopes do not suffice. Some codes say it
                // with any status.
                (Step::Identity, Fault::Expired | Fault::Revoked) => "permission_missing",
                (Step::Identity, Fault::OkError) if BY_CODE.contains(&self.name) => "permission_missing",
                (Step::Identity, _) => "identity_unavailable",
                (_, Fault::Garbage | Fault::Html) => "platform_answer_unreadable",
                _ => "exchange_rejected",
            };
            assert!(
                told.starts_with(code),
                "{} {step} {fault:?}: {told}, where {code} was expected (BY_CODE lists the platforms with a row for the code)",
                self.name
            );
            // Tokens that were issued are revoked where no account came of them.
            let revokes =
                matches!(step, Step::Identity | Step::LongLived) && self.platform.revocation != Revocation::Unsupported;
            let revocations = self.broker.sandbox().requests_at(self.name, Step::Revoke).len();
            assert_eq!(revocations, usize::from(revokes), "{} {step} {fault:?}", self.name);
            self.tell(format!("{step} {}: {told}", fault.into_str()));
        }
        self.broker.sandbox().clear();
    }

    /// A platform that refuses to refresh.
    async fn refused_refresh(&mut self) {
        let id = self.broker.connect(self.name, "").await;
        self.broker.clock.set(next_refresh(&self.broker, &id).await);
        self.broker.sandbox().fail_next(self.name, Step::Refresh, Fault::Revoked, 1).unwrap();
        self.broker.refresh_due().await;
        let health = self.broker.detail(&id).await["health"].take();
        assert_ne!(health["state"], "ok", "{}", self.name);
        self.tell(format!("refresh revoked: {} {}", health["state"], health["lastError"]["code"]));
        let gone = self.broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
    }
}

/// Platforms whose code for a dead token has a row in `REFUSALS` that asks for no status.
const BY_CODE: [&str; 4] = ["facebook", "instagram", "threads", "tiktok"];

/// The steps of a connection at which a platform can fail, and the faults that each is tried with.
fn troubles_of(platform: &Platform) -> Vec<(Step, Fault)> {
    use Fault::{Expired, Garbage, Html, OkError, RateLimited, Revoked, ServerError};
    let later = &[Expired, Revoked, OkError, RateLimited, ServerError, Html][..];
    let steps = [
        (Step::Token, &[Expired, OkError, RateLimited, ServerError, Garbage][..]),
        (Step::LongLived, if platform.long_lived.is_some() { later } else { &[] }),
        (Step::Identity, later),
    ];
    steps.iter().flat_map(|(step, faults)| faults.iter().map(|fault| (*step, *fault))).collect()
}

async fn dialogue(name: &'static str, seed: u64) -> String {
    logs::capture();
    let broker = TestBroker::builder().seed(seed).start().await;
    let platform = broker.config().platforms.find(name).unwrap().platform().clone();
    assert_ne!(
        platform.refresh,
        Refresh::Never,
        "{name}: set `refresh` in its file. A platform whose tokens nothing renews is described in TOML"
    );
    let mut dialogue = Dialogue { name, platform, broker, lines: Vec::new() };
    if let Some(built_in) = BUILT_IN.iter().map(|definition| definition()).find(|built_in| built_in.name == name) {
        dialogue.tell(values(&built_in));
    }
    let [web, loopback] = ["https://connect.example.com", "http://127.0.0.1:8080"].map(|url| authorize(name, url));
    dialogue.tell(&*web);
    if web.contains("code_challenge") != loopback.contains("code_challenge") {
        dialogue.tell(&*loopback);
    }
    dialogue.life().await;
    // While nothing else is connected: the broker revokes no consent that another account depends on.
    dialogue.troubles().await;
    dialogue.denial().await;
    dialogue.foreign_codes().await;
    dialogue.refused_refresh().await;
    dialogue.odd_people().await;
    let secret = format!("POSTPEER_PLATFORMS__{}__CLIENT_SECRET", name.to_uppercase());
    let other = TestBroker::builder().seed(seed + 1).setting(&secret, "from-another-app").start().await;
    let told = outcome(&other, &other.consent(&other.begin(name, BACK).await, &Answer::allow())).await;
    assert!(told.starts_with("credentials_rejected"), "{told}");
    dialogue.tell(format!("wrong secret: {told}"));
    dialogue.lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_goes_through_the_same_steps() {
    for platform in sandbox::platforms() {
        // Its own ids, which the log is searched for, and the same whatever platforms there are beside it.
        let seed = platform.bytes().fold(1000, |seed, byte| (seed * 31 + u64::from(byte)) % 1_000_003);
        let told = Box::pin(dialogue(platform, seed)).await;
        insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(platform, told);
        });
    }
}

/// A request as a platform received it: what it is for, headers, parameters of the query and of the body.
pub(crate) fn render(broker: &TestBroker, authorize_url: &str, request: &Recorded) -> String {
    assert!(request.why.is_none() && request.status.is_some_and(|status| status / 100 == 2), "{request:?}");
    let mut lines = vec![format!("{}: {} {}", request.step, request.method, request.path)];
    for (name, value) in &request.headers {
        let value = match value.strip_prefix("Basic ") {
            Some(basic) => format!("Basic base64({})", String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap()),
            None => value.clone(),
        };
        let value = match value.split_once("boundary=") {
            Some((kind, _)) => format!("{kind}boundary=[boundary]"),
            None => value.replace(env!("CARGO_PKG_VERSION"), "[version]"),
        };
        lines.push(format!("  {name}: {value}"));
    }
    for (mark, pairs) in [('?', &request.query), ('=', &request.form)] {
        for (name, value) in pairs {
            let value = if name == "code_verifier" {
                assert_fits(value, authorize_url);
                "[verifier]"
            } else {
                value
            };
            lines.push(format!("  {mark} {name}: {value}"));
        }
    }
    named(broker, request.platform, &(lines.join("\n") + "\n"))
}

/// The verifier is the one whose challenge was in the authorize URL.
fn assert_fits(verifier: &str, authorize_url: &str) {
    assert!((43..=128).contains(&verifier.len()), "{verifier}");
    assert!(!authorize_url.contains(verifier));
    let digest = Sha256::digest(verifier.as_bytes());
    let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let challenge = parameter(authorize_url, "code_challenge").unwrap();
    assert!([URL_SAFE_NO_PAD.encode(digest), hex].contains(&challenge), "{challenge}");
}

/// Names what differs from run to run, and secrets by what they are.
fn named(broker: &TestBroker, platform: &str, text: &str) -> String {
    let mut text = text.replace(&broker.url, "[broker]").replace(broker.sandbox_url(), "[sandbox]");
    for issued in broker.sandbox().issued(platform) {
        let name = match issued.kind {
            TokenKind::Access => "[access token]",
            TokenKind::Code => "[code]",
            TokenKind::Id => "[id token]",
            TokenKind::LongLived => "[long-lived token]",
            TokenKind::Page => "[page token]",
            TokenKind::Refresh => "[refresh token]",
        };
        text = text.replace(&issued.value, name);
    }
    // Bluesky has no clients.
    let Ok((id, secret)) = sandbox::client(platform) else { return text };
    text.replace(&secret, "[client secret]").replace(&id, "[client id]")
}

/// Code that the caller gets for this callback, and of the log the failure where it has another name, with status and
/// code of the platform's answer.
async fn outcome(broker: &TestBroker, callback: &str) -> String {
    let ending = ending(broker, callback).await;
    let code = ending.lines().next().unwrap();
    let Some((before, after)) = ending.split_once(" (HTTP ") else { return code.to_owned() };
    let (failure, (answer, _)) = (before.rsplit(": ").next().unwrap(), after.split_once(')').unwrap());
    if failure == code { format!("{code} (HTTP {answer})") } else { format!("{code}, {failure} (HTTP {answer})") }
}

/// Code that the caller gets for this callback, and the log lines for the operator.
async fn ending(broker: &TestBroker, callback: &str) -> String {
    let reply = broker.browse(callback).await;
    let location = reply.location();
    let told = ["error", "status"].iter().find_map(|name| parameter(&location, name));
    let told = told.unwrap_or_else(|| "a page to choose on".to_owned());
    let logged = logs::of_flow(&broker.last_flow());
    let logged =
        logged.iter().filter(|line| !line.starts_with("connection begun") && !line.starts_with("connection ended"));
    let logged: Vec<&str> = logged.map(String::as_str).collect();
    format!("{told}\n    {}", logged.join("\n    ").replace(broker.sandbox_url(), "[sandbox]"))
}

/// The sentences for operators, at a platform that revokes and at one that has a long-lived exchange and does not.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_step_the_answer_and_the_next_step() {
    logs::capture();
    let mut told = Vec::new();
    for (platform, seed) in [("acme", 101), ("threads", 105)] {
        let broker = TestBroker::builder().seed(seed).start().await;
        let mut lines = Vec::new();
        for (step, fault) in troubles_of(&broker.config().platforms.find(platform).unwrap().platform().clone()) {
            let callback = broker.consent(&broker.begin(platform, BACK).await, &Answer::allow());
            broker.sandbox().fail_next(platform, step, fault, 3).unwrap();
            lines.push(format!("{step} {}: {}", fault.into_str(), ending(&broker, &callback).await));
            broker.sandbox().clear();
        }
        assert_eq!(broker.get("/v1/connect/integrations?include=custom").await.json["total"], 0, "{platform}");
        told.push(lines.join("\n"));
    }
    insta::assert_snapshot!(told[0], @r#"
    token expired: exchange_rejected
        connection failed error=acme, code exchange: exchange_rejected (HTTP 400, invalid_grant) who_can_help="account_owner" next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for acme with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=acme, code exchange: exchange_rejected (HTTP 200, invalid_grant) who_can_help="account_owner" next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for acme with the one registered there.
    token 429: platform_throttled
        connection failed error=acme, code exchange: platform_throttled (HTTP 429, temporarily_unavailable) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=acme, code exchange: platform_unavailable (HTTP 500, server_error) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=acme, code exchange: platform_answer_unreadable (HTTP 200) who_can_help="nobody_known" next_step=If it goes on, check token_url and token_pointer of [platforms.acme]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept. If its server has moved the endpoints that its issuer publishes, reload the broker (SIGHUP): it reads them once.
    identity expired: permission_missing
        connection failed error=acme, identity call: permission_missing (HTTP 401, invalid_token) who_can_help="account_owner" next_step=Check that the scopes of [platforms.acme] are enabled for the app at the platform, and that the owner ticked them. The server may also want another call: compare identity_url, identity_method and identity_headers with its documentation.
        the tokens were not kept, so they were revoked platform.name=acme
    identity revoked: permission_missing
        connection failed error=acme, identity call: permission_missing (HTTP 401, invalid_token) who_can_help="account_owner" next_step=Check that the scopes of [platforms.acme] are enabled for the app at the platform, and that the owner ticked them. The server may also want another call: compare identity_url, identity_method and identity_headers with its documentation.
        the tokens were not kept, so they were revoked platform.name=acme
    identity ok_error: identity_unavailable
        connection failed error=acme, identity call: platform_answer_unreadable (HTTP 200, invalid_token) who_can_help="nobody_known" next_step=If it goes on, check identity_url and identity of [platforms.acme]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept. If its server has moved the endpoints that its issuer publishes, reload the broker (SIGHUP): it reads them once.
        the tokens were not kept, so they were revoked platform.name=acme
    identity 429: platform_throttled
        connection failed error=acme, identity call: platform_throttled (HTTP 429, temporarily_unavailable) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, so they were revoked platform.name=acme
    identity 500: platform_unavailable
        connection failed error=acme, identity call: platform_unavailable (HTTP 500, server_error) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, so they were revoked platform.name=acme
    identity html: identity_unavailable
        connection failed error=acme, identity call: platform_answer_unreadable (HTTP 200) who_can_help="nobody_known" next_step=If it goes on, check identity_url and identity of [platforms.acme]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept. If its server has moved the endpoints that its issuer publishes, reload the broker (SIGHUP): it reads them once.
        the tokens were not kept, so they were revoked platform.name=acme
    "#);
    insta::assert_snapshot!(told[1], @r#"
    token expired: exchange_rejected
        connection failed error=threads, code exchange: exchange_rejected (HTTP 400, 400) who_can_help="account_owner" next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=threads, code exchange: exchange_rejected (HTTP 200, 400) who_can_help="account_owner" next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    token 429: platform_throttled
        connection failed error=threads, code exchange: platform_throttled (HTTP 429, 4) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=threads, code exchange: platform_unavailable (HTTP 500, 2) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=threads, code exchange: platform_answer_unreadable (HTTP 200) who_can_help="nobody_known" next_step=If it goes on, check token_url and api_url of [platforms.threads]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    long_lived expired: exchange_rejected
        connection failed error=threads, exchange for a long-lived token: exchange_rejected (HTTP 400, 190) who_can_help="account_owner" next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    long_lived revoked: exchange_rejected
        connection failed error=threads, exchange for a long-lived token: exchange_rejected (HTTP 400, 190) who_can_help="account_owner" next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    long_lived ok_error: exchange_rejected
        connection failed error=threads, exchange for a long-lived token: exchange_rejected (HTTP 200, 190) who_can_help="account_owner" next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    long_lived 429: platform_throttled
        connection failed error=threads, exchange for a long-lived token: platform_throttled (HTTP 429, 4) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    long_lived 500: platform_unavailable
        connection failed error=threads, exchange for a long-lived token: platform_unavailable (HTTP 500, 2) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    long_lived html: platform_answer_unreadable
        connection failed error=threads, exchange for a long-lived token: platform_answer_unreadable (HTTP 200) who_can_help="nobody_known" next_step=If it goes on, check token_url and api_url of [platforms.threads]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    identity expired: permission_missing
        connection failed error=threads, identity call: permission_missing (HTTP 400, 190) who_can_help="account_owner" next_step=Check that the scopes of [platforms.threads] are enabled for the app at https://developers.facebook.com/apps, and that the owner ticked them.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    identity revoked: permission_missing
        connection failed error=threads, identity call: permission_missing (HTTP 400, 190) who_can_help="account_owner" next_step=Check that the scopes of [platforms.threads] are enabled for the app at https://developers.facebook.com/apps, and that the owner ticked them.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    identity ok_error: permission_missing
        connection failed error=threads, identity call: permission_missing (HTTP 200, 190) who_can_help="account_owner" next_step=Check that the scopes of [platforms.threads] are enabled for the app at https://developers.facebook.com/apps, and that the owner ticked them.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    identity 429: platform_throttled
        connection failed error=threads, identity call: platform_throttled (HTTP 429, 4) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    identity 500: platform_unavailable
        connection failed error=threads, identity call: platform_unavailable (HTTP 500, 2) who_can_help="platform" next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    identity html: identity_unavailable
        connection failed error=threads, identity call: platform_answer_unreadable (HTTP 200) who_can_help="nobody_known" next_step=If it goes on, check token_url and api_url of [platforms.threads]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=threads
    "#);
}
