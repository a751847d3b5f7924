//! A running sandbox with a clock that stands still, a client that speaks just enough HTTP, and for each platform the
//! requests of a broker that makes no mistake.

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
use crate::sandbox::{Answer, Control, Sandbox, client};

pub(super) const CALLBACK: &str = "http://127.0.0.1:8080/v1/connect/x/callback";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const NOW: i64 = 1_790_000_000_000;

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

    /// Status and the sandbox's own explanation.
    pub(super) fn why(&self) -> (u16, &str) {
        (self.status, self.header("x-sandbox-why").unwrap_or_default())
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

/// `pairs` with one value replaced, added, or (with `None`) taken away.
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

    /// The parameters that a good answer brings back.
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
        self.post(&format!("/{platform}{}", token_path(platform)), form, basic(platform).as_deref())
    }

    /// A whole code flow: the token answer.
    pub(super) fn connect(&self, platform: &str, answer: &Answer) -> Got {
        let got = self.exchange(platform, &token_form(platform, &self.code(platform, answer)));
        assert_eq!(got.why(), (200, ""), "{platform}: {}", got.body);
        got
    }

    pub(super) fn refresh(&self, platform: &str, refresh_token: &str) -> Got {
        self.exchange(platform, &refresh_form(platform, refresh_token))
    }

    /// JSON with every issued value replaced by what it is.
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

/// A platform that was added to the sandbox and not here.
fn unknown(platform: &str) -> ! {
    panic!(
        "src/sandbox/tests/bench.rs does not know {platform}: teach each of its functions what its documentation says"
    )
}

pub(super) fn authorize_path(platform: &str) -> &'static str {
    match platform {
        "acme" => "/auth",
        "facebook" => "/v25.0/dialog/oauth",
        "instagram" | "threads" => "/oauth/authorize",
        "linkedin" => "/oauth/v2/authorization",
        "pinterest" => "/oauth/",
        "tiktok" => "/v2/auth/authorize/",
        "twitter" => "/i/oauth2/authorize",
        "googlebusiness" | "youtube" => "/o/oauth2/v2/auth",
        _ => unknown(platform),
    }
}

pub(super) fn token_path(platform: &str) -> &'static str {
    match platform {
        "facebook" => "/v25.0/oauth/access_token",
        "instagram" | "threads" => "/oauth/access_token",
        "linkedin" => "/oauth/v2/accessToken",
        "pinterest" => "/v5/oauth/token",
        "tiktok" => "/v2/oauth/token/",
        "twitter" => "/2/oauth2/token",
        "acme" | "googlebusiness" | "youtube" => "/token",
        _ => unknown(platform),
    }
}

fn id_name(platform: &str) -> &'static str {
    if platform == "tiktok" { "client_key" } else { "client_id" }
}

pub(super) fn basic(platform: &str) -> Option<String> {
    let (id, secret) = client(platform).unwrap();
    matches!(platform, "acme" | "pinterest" | "twitter")
        .then(|| format!("Basic {}", STANDARD.encode(format!("{}:{}", percent(&id), percent(&secret)))))
}

pub(super) fn authorize_query(platform: &str) -> Pairs {
    let scope = match platform {
        "acme" => "openid profile offline_access",
        "facebook" => "pages_show_list,pages_manage_posts,pages_read_engagement,business_management",
        "googlebusiness" => "openid profile email https://www.googleapis.com/auth/business.manage",
        "instagram" => "instagram_business_basic,instagram_business_content_publish",
        "linkedin" => "openid profile email w_member_social",
        "pinterest" => "boards:read,boards:write,pins:read,pins:write,user_accounts:read",
        "threads" => "threads_basic,threads_content_publish",
        "tiktok" => "user.info.basic,user.info.profile,video.publish,video.upload",
        "twitter" => "tweet.read tweet.write users.read media.write offline.access",
        "youtube" => {
            "openid profile email https://www.googleapis.com/auth/youtube.upload https://www.googleapis.com/auth/youtube.readonly"
        }
        _ => unknown(platform),
    };
    let digest = Sha256::digest(VERIFIER.as_bytes());
    let challenge = match platform {
        "acme" | "googlebusiness" | "twitter" | "youtube" => Some(URL_SAFE_NO_PAD.encode(digest)),
        "tiktok" => Some(hex(&digest)),
        _ => None,
    };
    let further: &[(&str, &str)] = match platform {
        "acme" => &[("prompt", "consent")],
        "instagram" => &[("enable_fb_login", "0"), ("force_authentication", "1")],
        "googlebusiness" | "youtube" => &[("access_type", "offline"), ("prompt", "consent")],
        _ => &[],
    };
    let (id, _) = client(platform).unwrap();
    let mut query = pairs(&[
        ("response_type", "code"),
        (id_name(platform), &id),
        ("redirect_uri", CALLBACK),
        ("scope", scope),
        ("state", "a state/with=signs"),
    ]);
    query.extend(pairs(further));
    if let Some(challenge) = challenge {
        query.extend(pairs(&[("code_challenge", &challenge), ("code_challenge_method", "S256")]));
    }
    query
}

/// Written apart from the sandbox's own.
fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte / 16), digit(byte % 16)]).collect()
}

pub(super) fn token_form(platform: &str, code: &str) -> Pairs {
    let (id, secret) = client(platform).unwrap();
    let mut form = pairs(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)]);
    if basic(platform).is_none() {
        form.extend(pairs(&[(id_name(platform), &id), ("client_secret", &secret)]));
    }
    if matches!(platform, "acme" | "googlebusiness" | "tiktok" | "twitter" | "youtube") {
        form.extend(pairs(&[("code_verifier", VERIFIER)]));
    }
    if platform == "pinterest" {
        form.extend(pairs(&[("continuous_refresh", "true")]));
    }
    form
}

pub(super) fn refresh_form(platform: &str, refresh_token: &str) -> Pairs {
    let (id, secret) = client(platform).unwrap();
    let mut form = pairs(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]);
    if basic(platform).is_none() {
        form.extend(pairs(&[(id_name(platform), &id), ("client_secret", &secret)]));
    }
    form
}
