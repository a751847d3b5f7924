//! An operator's platform whose answers a test writes byte for byte: a small server on loopback.
//!
//! The authorization code names the account: the code `ada` connects the account `ada`, and its tokens contain the
//! name.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{TestBroker, parameter};

/// The platform's answer to a refresh.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, including the head, then the connection closes.
    Bytes(Vec<u8>),
    /// New tokens.
    Fresh,
    /// No answer on an open connection.
    Never,
}

/// The platform. Clones share their state.
#[derive(Clone)]
pub(crate) struct StandIn(Arc<Inner>);

struct Inner {
    name: String,
    url: String,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    answer: Answer,
    /// Answers to the refreshes of some accounts.
    answers: HashMap<String, Answer>,
    /// Lives of the next exchanged access tokens, in seconds. Later tokens live for two hours.
    lives: VecDeque<u64>,
    /// Time to answer a refresh.
    latency: Duration,
    is_holding: bool,
    /// Received refresh tokens.
    asked: Vec<String>,
    now: usize,
    most: usize,
    /// All issued tokens.
    issued: Vec<String>,
}

impl StandIn {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self(Arc::new(Inner {
            name: name.to_owned(),
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Mutex::new(State {
                answer: Answer::Fresh,
                answers: HashMap::new(),
                lives: VecDeque::new(),
                latency: Duration::ZERO,
                is_holding: false,
                asked: Vec::new(),
                now: 0,
                most: 0,
                issued: Vec::new(),
            }),
            changed: watch::Sender::new(()),
        }));
        let platform = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let platform = platform.clone();
                tokio::spawn(async move { platform.serve(stream).await });
            }
        });
        this
    }

    /// The operator's configuration.
    pub(crate) fn toml(&self) -> String {
        let Inner { name, url, .. } = &*self.0;
        format!(
            r#"
            [platforms.{name}]
            client_id = "client-of-{name}"
            client_secret = "secret-of-{name}"
            authorize_url = "{url}/authorize"
            token_url = "{url}/token"
            identity_url = "{url}/me"
            scopes = ["a", "b"]
            identity = {{ id = "/sub" }}
            "#
        )
    }

    /// Connects the account of that name. Returns the integration's id.
    pub(crate) async fn connect(&self, broker: &TestBroker, account: &str) -> String {
        let url = broker.begin(&self.0.name, "redirectUri=https://app.example/back").await;
        let state = parameter(&url, "state").unwrap();
        let callback = format!("{}/v1/connect/{}/callback?code={account}&state={state}", broker.url, self.0.name);
        let location = broker.browse(&callback).await.location();
        parameter(&location, "integrationId").unwrap_or_else(|| panic!("{account}: {location}"))
    }

    /// Answers every later refresh like this.
    pub(crate) fn answer_refreshes_with(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// Answers every later refresh of this account like this.
    pub(crate) fn answer_refreshes_of(&self, account: &str, answer: Answer) {
        self.state().answers.insert(account.to_owned(), answer);
    }

    pub(crate) fn next_lives(&self, lives: impl IntoIterator<Item = u64>) {
        self.state().lives.extend(lives);
    }

    pub(crate) fn take_its_time(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Answers no refresh until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.state().is_holding = true;
    }

    pub(crate) fn release(&self) {
        self.state().is_holding = false;
        self.0.changed.send_replace(());
    }

    /// Waits until `count` refreshes were requested.
    pub(crate) async fn asked_times(&self, count: usize) {
        self.until(|state| state.asked.len() >= count).await;
    }

    /// Received refresh tokens, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// All issued tokens, except those in answers that a test wrote.
    pub(crate) fn issued(&self) -> Vec<String> {
        self.state().issued.clone()
    }

    /// Most refreshes in flight at a time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state().most
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut changes = self.0.changed.subscribe();
        while !condition(&self.state()) {
            changes.changed().await.unwrap();
        }
    }

    /// Answers one request.
    async fn serve(&self, mut stream: TcpStream) {
        let Some((head, body)) = read(&mut stream).await else { return };
        let field = |name: &str| {
            url::form_urlencoded::parse(body.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let answer = if head.starts_with("GET /me ") {
            let (_, token) = head.split_once("Bearer ").unwrap();
            Some(json(&format!(r#"{{"sub":"{}"}}"#, account_of(token))))
        } else if let Some(code) = field("code") {
            let life = self.state().lives.pop_front().unwrap_or(7200);
            Some(json(&self.tokens(&code, life)))
        } else {
            self.refresh(field("refresh_token").unwrap()).await
        };
        match answer {
            // The client may have closed the connection.
            Some(bytes) => drop(stream.write_all(&bytes).await),
            None => drop(stream.read_to_end(&mut Vec::new()).await),
        }
    }

    async fn refresh(&self, token: String) -> Option<Vec<u8>> {
        let account = account_of(&token).to_owned();
        let latency = {
            let mut state = self.state();
            state.asked.push(token);
            state.now += 1;
            state.most = state.most.max(state.now);
            state.latency
        };
        self.0.changed.send_replace(());
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.until(|state| !state.is_holding).await;
        let answer = {
            let mut state = self.state();
            state.now -= 1;
            state.answers.get(&account).unwrap_or(&state.answer).clone()
        };
        match answer {
            Answer::Bytes(bytes) => Some(bytes),
            Answer::Fresh => Some(json(&self.tokens(&account, 7200))),
            Answer::Never => None,
        }
    }

    fn tokens(&self, account: &str, life: u64) -> String {
        let mut state = self.state();
        let number = state.issued.len() / 2 + 1;
        let [access, refresh] = ["access", "refresh"].map(|kind| format!("{kind}-token/{account}/{number}"));
        state.issued.extend([access.clone(), refresh.clone()]);
        format!(
            r#"{{"access_token":"{access}","refresh_token":"{refresh}","token_type":"bearer","expires_in":{life}}}"#
        )
    }
}

fn account_of(token: &str) -> &str {
    token.split('/').nth(1).unwrap_or("nobody")
}

pub(crate) async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() >= length.parse::<usize>().unwrap() {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

/// An HTTP answer. `head` holds further header lines.
pub(crate) fn answer(status: u16, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status} X\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A success whose content type is JSON, whatever the body.
pub(crate) fn json(body: &str) -> Vec<u8> {
    answer(200, "Content-Type: application/json\r\n", body.as_bytes())
}
