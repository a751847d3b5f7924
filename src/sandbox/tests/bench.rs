//! A running sandbox with a clock that stands still, a client that speaks just enough HTTP, and for each platform the
//! requests of a broker that makes no mistake, made from its example.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::domain::entropy::SeededEntropy;
use crate::domain::time::{ManualClock, Timestamp};
use crate::sandbox::configuration::find;
use crate::sandbox::imitations::{Challenge, Imitation, Pkce};
use crate::sandbox::{Answer, Control, Sandbox, Step, client, platforms};

pub(super) const CALLBACK: &str = "http://127.0.0.1:8080/v1/connect/x/callback";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const NOW: i64 = 1_790_000_000_000;
/// Version of APIs that have one in their paths.
const VERSION: &str = "v25.0";

pub(super) type Pairs = Vec<(String, String)>;

pub(super) struct Bench {
    pub(super) sandbox: Sandbox,
    pub(super) control: Control,
    clock: Arc<ManualClock>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Status and the sandbox's explanation.
    pub(super) fn why(&self) -> (u16, &str) {
        (self.status, self.header("x-sandbox-why").unwrap_or_default())
    }

    /// The sandbox's explanation of a refusal. Some platforms refuse with 200, but then the answer has an `error`.
    pub(super) fn refusal(&self) -> &str {
        assert!(self.status >= 400 || self.json().get("error").is_some(), "{}", self.body);
        self.why().1
    }

    /// The access token of a token answer; Instagram wraps one of its answers.
    pub(super) fn access_token(&self) -> String {
        let flat = self.text("/access_token");
        if flat.is_empty() { self.text("/data/0/access_token") } else { flat }
    }

    pub(super) fn text(&self, pointer: &str) -> String {
        self.json().pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

pub(super) fn pairs(list: &[(&str, &str)]) -> Pairs {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn encode(pairs: &Pairs) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(super) fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// `pairs` with one value replaced, added, or (with `None`) removed.
pub(super) fn with(mut pairs: Pairs, name: &str, value: Option<&str>) -> Pairs {
    let at = pairs.iter().position(|(key, _)| key == name).unwrap_or(pairs.len());
    pairs.retain(|(key, _)| key != name);
    if let Some(value) = value {
        pairs.insert(at.min(pairs.len()), (name.to_owned(), value.to_owned()));
    }
    pairs
}

impl Bench {
    pub(super) fn start() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sandbox = Sandbox::start(listener, clock.clone(), Arc::new(SeededEntropy::new(1))).unwrap();
        let control = sandbox.handle();
        Self { sandbox, control, clock }
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Sends one request; `None` when the connection is closed without an answer.
    pub(super) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Option<Got> {
        Self::send_to(self.sandbox.base_url(), method, target, headers, body)
    }

    /// The same to another server.
    pub(super) fn send_to(base: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Option<Got> {
        let address = base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "User-Agent") {
            request.push_str("User-Agent: bench/1\r\n");
        }
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() || method == "POST" {
            request.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Got { status, head: head.to_owned(), body: body.to_owned() })
    }

    pub(super) fn get(&self, target: &str) -> Got {
        self.send("GET", target, &[], "").unwrap()
    }

    pub(super) fn get_as(&self, target: &str, token: &str) -> Got {
        self.send("GET", target, &[("Authorization", &format!("Bearer {token}"))], "").unwrap()
    }

    pub(super) fn post(&self, target: &str, form: &Pairs, authorization: Option<&str>) -> Got {
        let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        self.send("POST", target, &headers, &encode(form)).unwrap()
    }

    pub(super) fn authorize_url(&self, platform: &str, query: &Pairs) -> String {
        format!("{}/{platform}{}?{}", self.sandbox.base_url(), authorize_path(platform), encode(query))
    }

    /// The parameters with which the browser comes back.
    pub(super) fn callback(&self, platform: &str, answer: &Answer) -> Pairs {
        self.callback_of(platform, &authorize_query(platform), answer)
    }

    pub(super) fn callback_of(&self, platform: &str, query: &Pairs, answer: &Answer) -> Pairs {
        let location = self.control.consent(&self.authorize_url(platform, query), answer).unwrap();
        assert!(location.starts_with(CALLBACK), "{location}");
        Url::parse(&location).unwrap().query_pairs().into_owned().collect()
    }

    pub(super) fn code(&self, platform: &str, answer: &Answer) -> String {
        let callback = self.callback(platform, answer);
        callback.into_iter().find(|(name, _)| name == "code").unwrap().1
    }

    pub(super) fn exchange(&self, platform: &str, form: &Pairs) -> Got {
        self.post(&token_path(platform), form, basic(platform).as_deref())
    }

    /// Runs a whole code flow; returns the token answer.
    pub(super) fn connect(&self, platform: &str, answer: &Answer) -> Got {
        let got = self.exchange(platform, &token_form(platform, &self.code(platform, answer)));
        assert_eq!(got.why(), (200, ""), "{platform}: {}", got.body);
        got
    }

    /// The account that a token stands for.
    pub(super) fn identity(&self, platform: &str, token: &str) -> Got {
        self.get_as(&identity_path(platform), token)
    }

    pub(super) fn refresh(&self, platform: &str, refresh_token: &str) -> Got {
        self.exchange(platform, &refresh_form(platform, refresh_token))
    }

    /// JSON with every issued value replaced by its kind.
    pub(super) fn redacted(&self, platform: &str, got: &Got) -> Value {
        let mut text = got.body.clone();
        for issued in self.control.issued(platform) {
            let kind = serde_json::to_value(issued.kind).unwrap();
            text = text.replace(&issued.value, &format!("<{}>", kind.as_str().unwrap()));
        }
        let text = text.replace(self.sandbox.base_url(), "{base}");
        serde_json::from_str(&text).unwrap_or(json!(text))
    }
}

pub(super) fn imitation(platform: &str) -> &'static Imitation {
    find(platform).unwrap()
}

/// The platforms whose flow has no PKCE.
pub(super) fn without_pkce() -> impl Iterator<Item = &'static str> {
    let callback = Url::parse(CALLBACK).unwrap();
    platforms().filter(move |platform| (imitation(platform).authorize.pkce)(&callback) == Pkce::Refused)
}

fn authorize_path(platform: &str) -> String {
    imitation(platform).authorize.path.replace("{version}", VERSION)
}

/// Path from the server's root.
pub(super) fn token_path(platform: &str) -> String {
    let endpoint = imitation(platform).endpoints.iter().find(|endpoint| endpoint.step == Step::Token).unwrap();
    format!("/{platform}{}", endpoint.path.replace("{version}", VERSION))
}

/// Path and query of the identity call, from the server's root.
pub(super) fn identity_path(platform: &str) -> String {
    format!("/{platform}{}", imitation(platform).example.identity)
}

pub(super) fn id_name(platform: &str) -> &'static str {
    imitation(platform).authorize.client_id_name
}

/// `Authorization: Basic` with both parts escaped as RFC 6749 section 2.3.1 says.
pub(super) fn basic_of(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", percent(id), percent(secret))))
}

/// The header of the operator's client, where the platform wants one.
pub(super) fn basic(platform: &str) -> Option<String> {
    let (id, secret) = client(platform).unwrap();
    imitation(platform).example.basic.then(|| basic_of(&id, &secret))
}

pub(super) fn authorize_query(platform: &str) -> Pairs {
    let Imitation { authorize, example, .. } = imitation(platform);
    let (id, _) = client(platform).unwrap();
    let mut query = pairs(&[
        ("response_type", "code"),
        (authorize.client_id_name, &id),
        ("redirect_uri", CALLBACK),
        ("scope", example.scope),
        ("state", "a state/with=signs"),
    ]);
    query.extend(pairs(example.authorize));
    if example.pkce {
        let digest = Sha256::digest(VERIFIER.as_bytes());
        let challenge = match (authorize.pkce)(&Url::parse(CALLBACK).unwrap()) {
            Pkce::Optional(Challenge::Hex) | Pkce::Required(Challenge::Hex) => hex(&digest),
            _ => URL_SAFE_NO_PAD.encode(digest),
        };
        query.extend(pairs(&[("code_challenge", &challenge), ("code_challenge_method", "S256")]));
    }
    query
}

/// Separate from the sandbox's own.
fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte / 16), digit(byte % 16)]).collect()
}

/// `form` with id and secret, where they belong in the body.
fn authenticated(platform: &str, mut form: Pairs) -> Pairs {
    let (id, secret) = client(platform).unwrap();
    if !imitation(platform).example.basic {
        form.extend(pairs(&[(id_name(platform), &id), ("client_secret", &secret)]));
    }
    form
}

pub(super) fn token_form(platform: &str, code: &str) -> Pairs {
    let example = &imitation(platform).example;
    let form = pairs(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)]);
    let mut form = authenticated(platform, form);
    if example.pkce {
        form.extend(pairs(&[("code_verifier", VERIFIER)]));
    }
    form.extend(pairs(example.exchange));
    form
}

pub(super) fn refresh_form(platform: &str, refresh_token: &str) -> Pairs {
    authenticated(platform, pairs(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]))
}
