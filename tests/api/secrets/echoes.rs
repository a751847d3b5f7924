//! Platforms that repeat what they were sent as the code of an error: it is neither logged nor stored nor shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postpeer::app::{self, Ports};
use postpeer::domain::echo::harmless;
use postpeer::sandbox::{self, Answer as Consent, bluesky_accounts};
use postpeer::telemetry;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::needles::Needles;
use super::{Watched, assert_silent};
use crate::any_server::{AnyServer, Asked};
use crate::logs;
use crate::stand_in::answer;
use crate::support::{TestBroker, parameter};

/// Longer than any token lives, and than a platform wants tokens to be left alone.
const LONG: Duration = Duration::from_hours(25);

/// Statuses of the refusals. TikTok refuses with 200.
const STATUSES: [u16; 6] = [400, 401, 403, 422, 500, 200];

/// Forwards what the broker asks the sandbox, and refuses one path by repeating one thing that it was sent.
#[derive(Clone, Default)]
struct Relay(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    sandbox: String,
    pds: String,
    /// The path that is refused, and the turn, which chooses what is repeated and how.
    refused: Option<(String, usize)>,
    /// How many things may be repeated of each path's requests.
    choices: BTreeMap<String, usize>,
    told: BTreeSet<String>,
    refusals: BTreeSet<String>,
}

impl Relay {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answer(&self, asked: &Asked, url: &str) -> Vec<u8> {
        let path = asked.path.split('?').next().unwrap_or_default().to_owned();
        let (to, pds) = {
            let mut state = self.state();
            let spellings: Vec<String> = secrets(asked).iter().flat_map(|secret| spellings(secret)).collect();
            let choices = state.choices.entry(path.clone()).or_default();
            *choices = spellings.len().max(*choices);
            let turn = state.refused.as_ref().filter(|(refused, _)| *refused == path).map(|(_, turn)| *turn);
            if let Some(turn) = turn
                && let Some(code) = spellings.get(turn % spellings.len().max(1))
            {
                state.told.insert(code.clone());
                state.refusals.insert(path);
                return refusal(turn, code);
            }
            let to = if path.starts_with("/xrpc/") { &state.pds } else { &state.sandbox };
            (to.clone(), state.pds.clone())
        };
        let asked = asked.clone();
        let url = url.to_owned();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async move {
                let method = asked.method.parse().unwrap();
                let mut request = crate::support::client().request(method, format!("{to}{}", asked.path));
                for (name, value) in &asked.headers {
                    if !["connection", "content-length", "host"].contains(&name.as_str()) {
                        request = request.header(name, value);
                    }
                }
                let reply = request.body(asked.body).send().await.unwrap();
                let status = reply.status().as_u16();
                let kind = reply.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
                let body = reply.text().await.unwrap().replace(&pds, &url);
                answer(status, &format!("Content-Type: {kind}\r\n"), body.as_bytes())
            })
        })
    }
}

/// An error whose code is this text, in one of the shapes of platforms.
fn refusal(turn: usize, code: &str) -> Vec<u8> {
    let body = match turn % 4 {
        0 => json!({"error": code, "message": "x"}),
        1 => json!({"error": {"code": code, "message": "x"}}),
        2 => json!({"code": code, "message": "x"}),
        _ => json!({"errors": [{"code": code}]}),
    };
    // Each status meets each shape.
    answer(STATUSES[(turn / 4 + turn) % STATUSES.len()], "", body.to_string().as_bytes())
}

/// The secrets that a request carries, wherever it has them.
fn secrets(asked: &Asked) -> BTreeSet<String> {
    const PUBLIC: [&str; 12] = [
        "client_assertion_type",
        "client_id",
        "client_key",
        "client_name",
        "fields",
        "grant_type",
        "identifier",
        "projection",
        "readMask",
        "redirect_uri",
        "scope",
        "user.fields",
    ];
    let mut found = Vec::new();
    if let Some((scheme, value)) = asked.header("authorization").split_once(' ') {
        found.push(("authorization".to_owned(), value.to_owned()));
        if scheme == "Basic" {
            let pair = String::from_utf8(STANDARD.decode(value).unwrap()).unwrap();
            let (_, secret) = pair.split_once(':').unwrap();
            found.push(("secret".to_owned(), secret.to_owned()));
            found.push(("secret".to_owned(), decoded(secret)));
        }
    }
    let query = asked.path.split_once('?').map_or("", |(_, query)| query);
    found.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
    match serde_json::from_str(&asked.body) {
        Ok(Value::Object(members)) => {
            found.extend(members.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or("").to_owned())));
        }
        _ if asked.body.starts_with("--") => {
            for part in asked.body.split("name=\"").skip(1) {
                let (name, rest) = part.split_once('"').unwrap();
                let value = rest.split("\r\n\r\n").nth(1).unwrap().split("\r\n").next().unwrap();
                found.push((name.to_owned(), value.to_owned()));
            }
        }
        _ => found.extend(form_urlencoded::parse(asked.body.as_bytes()).into_owned()),
    }
    let is_secret = |(name, value): &(String, String)| !PUBLIC.contains(&name.as_str()) && value.len() >= 16;
    found.into_iter().filter(is_secret).map(|(_, value)| value).collect()
}

fn decoded(text: &str) -> String {
    form_urlencoded::parse(format!("x={text}").as_bytes()).next().unwrap().1.into_owned()
}

/// How a platform may repeat a secret.
fn spellings(secret: &str) -> Vec<String> {
    let cut: String = secret.chars().take(40).collect();
    vec![
        secret.to_owned(),
        format!("bad_{cut}"),
        form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(format!("x:{secret}")),
        format!("expired.{}", secret.chars().skip(secret.len() / 4).collect::<String>()),
    ]
}

/// Runs `act` once for each thing that may be repeated of what a path is sent.
async fn refuse_all(relay: &Relay, paths: &[String], mut act: impl AsyncFnMut()) {
    for path in paths {
        let mut turn = 0;
        while turn < relay.state().choices[path] {
            relay.state().refused = Some((path.clone(), turn));
            act().await;
            turn += 1;
        }
        relay.state().refused = None;
    }
}

/// The paths that `act` asks with secrets.
async fn paths_of(relay: &Relay, act: impl Future<Output = ()>) -> Vec<String> {
    relay.state().choices.clear();
    act.await;
    let asked = relay.state().choices.clone();
    asked.into_iter().filter(|(_, choices)| *choices > 0).map(|(path, _)| path).collect()
}

async fn connect(watched: &tokio::sync::Mutex<Watched>, relay: &Relay, platform: &str) -> Option<String> {
    let watched = &mut *watched.lock().await;
    if platform == "bluesky" {
        let ada = &bluesky_accounts()[0];
        let body = json!({"identifier": ada.handle, "password": ada.app_password});
        watched.broker.clock.advance(Duration::from_hours(1));
        let reply = watched.call("POST", "/v1/connect/bluesky/auth", Some(body)).await;
        return reply.json["integration"]["id"].as_str().map(str::to_owned);
    }
    let begun = watched.broker.get(&format!("/v1/connect/{platform}?redirectUri=https://app.example/back")).await;
    let url = begun.json["url"].as_str().unwrap_or_else(|| panic!("{}", begun.text));
    let sandbox = relay.state().sandbox.clone();
    let url = format!("{sandbox}/{}", url.splitn(4, '/').nth(3).unwrap());
    let callback = watched.broker.consent(&url, &Consent::allow());
    let reply = watched.broker.arrive(&callback).await;
    watched.keep(&format!("callback of {platform}"), &reply);
    let location = watched.broker.land(platform, reply.location()).await;
    parameter(&location, "integrationId")
}

async fn refresh_and_end(watched: &tokio::sync::Mutex<Watched>, id: &str) {
    let watched = &mut *watched.lock().await;
    watched.broker.clock.advance(LONG);
    let mut reply = watched.broker.token(id, "").await;
    if let Some(token) = reply.json["accessToken"].as_str() {
        reply.text = reply.text.replace(token, "");
    }
    watched.keep("GET …/token", &reply);
    watched.call("GET", &format!("/v1/connect/integrations/{id}"), None).await;
    watched.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
}

fn assert_all_silent(relay: &Relay, watched: &Watched) {
    let mut needles = Needles::default();
    let told = relay.state().told.clone();
    for code in &told {
        let shown = harmless(code);
        if shown.len() >= 16 {
            needles.add("what a platform repeated", shown.as_bytes());
        }
    }
    for (what, answer) in &watched.answers {
        assert_silent(&needles, what, answer.as_bytes());
    }
    assert_silent(&needles, "the database", &watched.broker.database());
    assert_silent(&needles, "the log", logs::text().as_bytes());
    assert_silent(&needles, "the metrics", telemetry::metrics().render().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_platform_repeats_is_told() {
    logs::capture();
    telemetry::metrics();
    let relay = Relay::default();
    let answering = relay.clone();
    let server = AnyServer::start(move |asked, url| answering.answer(asked, url)).await;
    let broker = TestBroker::builder().seed(81).relay(&server.url).start().await;
    {
        let mut state = relay.state();
        broker.sandbox_url().clone_into(&mut state.sandbox);
        broker.sandbox_pds_url().clone_into(&mut state.pds);
    }
    let watched = tokio::sync::Mutex::new(Watched::over(broker));
    let mut refused = BTreeSet::new();
    for platform in sandbox::platforms().chain(["bluesky"]) {
        let paths = paths_of(&relay, async {
            connect(&watched, &relay, platform).await.unwrap_or_else(|| panic!("{platform}"));
        });
        let paths = paths.await;
        assert!(!paths.is_empty(), "{platform}");
        refuse_all(&relay, &paths, async || {
            connect(&watched, &relay, platform).await;
        })
        .await;
        let id = connect(&watched, &relay, platform).await.unwrap();
        let paths = paths_of(&relay, refresh_and_end(&watched, &id)).await;
        refuse_all(&relay, &paths, async || {
            let refused = relay.state().refused.take();
            let id = connect(&watched, &relay, platform).await.unwrap_or_else(|| panic!("{platform}"));
            relay.state().refused = refused;
            refresh_and_end(&watched, &id).await;
        })
        .await;
        refused.extend(std::mem::take(&mut relay.state().refusals));
    }
    assert!(refused.len() > 30, "{refused:#?}");
    assert_all_silent(&relay, &watched.into_inner());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_platform_repeats_of_a_pushed_request_or_a_probe_is_told() {
    const KEY: &str = include_str!("../keys/p256.pem");
    logs::capture();
    let relay = Relay::default();
    let answering = relay.clone();
    let server = AnyServer::start(move |asked, url| answering.answer(asked, url)).await;
    for client in [
        "client_auth = \"basic\"\nclient_secret = \"secret-of-the-client/5b21+c\"".to_owned(),
        "client_auth = \"body\"\nclient_secret = \"secret-of-the-client/5b21+c\"".to_owned(),
        format!("private_key = \"\"\"{KEY}\"\"\""),
    ] {
        let toml = format!(
            "[platforms.own]\nclient_id = \"id\"\n{client}\npar_url = \"{url}/par\"\nauthorize_url = \"{url}/authorize\"\n\
             token_url = \"{url}/token\"\nidentity_url = \"{url}/me\"\nidentity = {{ id = \"/sub\" }}",
            url = server.url
        );
        let broker = TestBroker::builder().toml(&toml).start().await;
        let mut watched = Watched::over(broker);
        // The first request says how many there are.
        for path in ["/par", "/token"] {
            relay.state().choices.insert(path.to_owned(), 1);
            let mut turn = 0;
            while turn < relay.state().choices[path] {
                relay.state().refused = Some((path.to_owned(), turn));
                if path == "/par" {
                    let reply = watched.call("GET", "/v1/connect/own", None).await;
                    assert!(reply.status >= 500, "{}", reply.text);
                } else {
                    let config = watched.broker.config().clone();
                    let callback = |_: &str| "https://broker.example/callback".to_owned();
                    let asked =
                        std::thread::spawn(move || app::probe::probe(&config, &Ports::system(), &["own"], callback));
                    let outcomes = format!("{:?}", asked.join().unwrap().unwrap());
                    watched.answers.push(("probe".to_owned(), outcomes));
                }
                turn += 1;
            }
        }
        assert_all_silent(&relay, &watched);
    }
    assert_eq!(relay.state().refusals.len(), 2);
}
