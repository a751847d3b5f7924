//! A small AT Protocol network on one loopback port, scripted by tests: a directory, a resolver, an app view, servers
//! with accounts, and web identities. Written from the protocol's documentation.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) const APP_PASSWORD: &str = "abcd-efgh-2345-mnop";
pub(crate) const OWN_PASSWORD: &str = "correct horse battery staple";

/// Start of the test clock, in seconds since the Unix epoch.
const NOW: i64 = 1_777_797_216;

#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) did: String,
    /// The handle, in the resolver's answer.
    pub(crate) handle: String,
    /// The handle, in the document.
    pub(crate) claims: Vec<String>,
    /// The account's server: 1 or 2.
    pub(crate) server: usize,
    /// Replaces the endpoint in the document.
    pub(crate) endpoint: Option<String>,
    /// Members that replace those of its sessions.
    pub(crate) session: Value,
    pub(crate) scope: &'static str,
}

/// A request that was received.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `/pds/1/com.atproto.server.createSession`, `/plc`, `/view/…`, `/web`.
    pub(crate) what: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
    pub(crate) query: String,
}

#[derive(Default)]
struct State {
    accounts: Vec<Account>,
    asked: Vec<Asked>,
    answers: HashMap<String, (u16, String)>,
    hanging: HashSet<String>,
    sessions: u64,
}

type Shared = (Arc<Mutex<State>>, [String; 3], Arc<watch::Sender<()>>);

pub(crate) struct World {
    /// Base URL of directory, resolver, view and web identities.
    pub(crate) url: String,
    /// Base URLs of the servers 1 and 2.
    pub(crate) pds: [String; 2],
    state: Arc<Mutex<State>>,
    /// Notified of every request, and of every change to what hangs.
    news: Arc<watch::Sender<()>>,
    server: ServerHandle,
}

pub(crate) fn did(letter: char) -> String {
    format!("did:plc:{}", letter.to_string().repeat(24))
}

impl World {
    /// With Alice, `alice.test`, on server 1.
    pub(crate) fn start() -> Self {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let origins = listeners.each_ref().map(|listener| format!("http://{}", listener.local_addr().unwrap()));
        let state = Arc::new(Mutex::new(State::default()));
        let news = Arc::new(watch::Sender::new(()));
        let shared: Shared = (state.clone(), origins.clone(), news.clone());
        let mut server =
            HttpServer::new(move || App::new().app_data(Data::new(shared.clone())).default_service(web::to(serve)))
                .workers(1)
                .disable_signals();
        for listener in listeners {
            server = server.listen(listener).unwrap();
        }
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        let [url, pds1, pds2] = origins;
        let world = Self { url, pds: [pds1, pds2], state, news, server: handle };
        world.add(did('a'), "alice.test");
        world
    }

    pub(crate) fn add(&self, did: String, handle: &str) {
        self.state.lock().unwrap().accounts.push(Account {
            did,
            handle: handle.to_owned(),
            claims: vec![format!("at://{handle}")],
            server: 1,
            endpoint: None,
            session: json!({"active": true}),
            scope: "com.atproto.appPass",
        });
    }

    /// Changes the first account.
    pub(crate) fn alice(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.state.lock().unwrap().accounts[0]);
    }

    /// Sets the answer to a path from now on.
    pub(crate) fn answer(&self, what: &str, status: u16, body: &Value) {
        self.answer_text(what, status, &body.to_string());
    }

    pub(crate) fn answer_text(&self, what: &str, status: u16, body: &str) {
        self.state.lock().unwrap().answers.insert(what.to_owned(), (status, body.to_owned()));
    }

    pub(crate) fn answer_again(&self, what: &str) {
        self.state.lock().unwrap().answers.remove(what);
    }

    /// Leaves a path unanswered until it is released.
    pub(crate) fn hang(&self, what: &str) {
        self.state.lock().unwrap().hanging.insert(what.to_owned());
    }

    pub(crate) fn release(&self, what: &str) {
        self.state.lock().unwrap().hanging.remove(what);
        self.news.send_replace(());
    }

    /// Waits for a request to this path.
    pub(crate) async fn held(&self, what: &str) {
        let mut news = self.news.subscribe();
        while self.asked(what).is_empty() {
            news.changed().await.unwrap();
        }
    }

    pub(crate) fn asked(&self, what: &str) -> Vec<Asked> {
        self.state.lock().unwrap().asked.iter().filter(|asked| asked.what == what).cloned().collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn serve(shared: Data<Shared>, req: HttpRequest, body: Bytes) -> HttpResponse {
    let (state, origins, news) = shared.get_ref();
    let here = format!("http://{}", req.app_config().local_addr());
    let server = match origins.iter().position(|origin| *origin == here).unwrap() {
        0 => String::new(),
        number => format!("/pds/{number}"),
    };
    let header = |name| req.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let what = match req.path() {
        path if path.starts_with("/plc/") => "/plc".to_owned(),
        "/.well-known/did.json" => "/web".to_owned(),
        path => format!("{server}{}", path.replace("/xrpc/", "/")),
    };
    let asked = Asked {
        what: what.clone(),
        authorization: header("authorization"),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        query: req.query_string().to_owned(),
    };
    let told = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        if let Some((status, text)) = state.answers.get(&what) {
            (*status, text.clone())
        } else {
            let (status, json) = answer(&mut state, origins, req.path(), &asked);
            (status, json.to_string())
        }
    };
    let mut changes = news.subscribe();
    news.send_replace(());
    while state.lock().unwrap().hanging.contains(&what) {
        changes.changed().await.unwrap();
    }
    HttpResponse::build(actix_web::http::StatusCode::from_u16(told.0).unwrap())
        .content_type("application/json")
        .body(told.1)
}

fn answer(state: &mut State, origins: &[String; 3], path: &str, asked: &Asked) -> (u16, Value) {
    let parameter = |name: &str| {
        url::form_urlencoded::parse(asked.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    let by_did = |did: &str| state.accounts.iter().find(|account| account.did == did).cloned();
    if let Some(did) = path.strip_prefix("/plc/") {
        return by_did(did)
            .map_or((404, json!({"message": "not registered"})), |account| (200, document(origins, &account)));
    }
    if asked.what == "/web" {
        let account = state.accounts.iter().find(|account| account.did.starts_with("did:web:"));
        return account.map_or((404, json!({})), |account| (200, document(origins, account)));
    }
    match asked.what.as_str() {
        "/view/com.atproto.identity.resolveHandle" => {
            let handle = parameter("handle").unwrap();
            match state.accounts.iter().find(|account| account.handle == handle) {
                Some(account) => (200, json!({"did": account.did})),
                None => (400, json!({"error": "HandleNotFound", "message": "Unable to resolve handle"})),
            }
        }
        "/view/app.bsky.actor.getProfile" => profile(by_did(&parameter("actor").unwrap()), "view"),
        _ => match asked.what.rsplit('/').next().unwrap() {
            "app.bsky.actor.getProfile" => {
                if !asked.authorization.starts_with("Bearer ") {
                    return (401, json!({"error": "AuthMissing"}));
                }
                profile(by_did(&parameter("actor").unwrap()), "server")
            }
            "com.atproto.server.createSession" => create_session(state, asked),
            "com.atproto.server.deleteSession" => (200, json!({})),
            "com.atproto.repo.getRecord" => (
                200,
                json!({"value": {"displayName": "Alice of the record",
                    "avatar": {"$type": "blob", "ref": {"$link": "bafkrei"}, "mimeType": "image/jpeg", "size": 1}}}),
            ),
            _ => (404, json!({"error": "MethodNotImplemented"})),
        },
    }
}

fn document(origins: &[String; 3], account: &Account) -> Value {
    let endpoint = account.endpoint.clone().unwrap_or_else(|| origins[account.server].clone());
    json!({
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": account.did,
        "alsoKnownAs": account.claims,
        "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}],
    })
}

fn profile(account: Option<Account>, told_by: &str) -> (u16, Value) {
    account.map_or((400, json!({"error": "InvalidRequest"})), |account| {
        let name = format!("Alice of the {told_by}");
        (200, json!({"did": account.did, "handle": account.handle, "displayName": name, "avatar": "https://cdn.example/a.jpg"}))
    })
}

fn create_session(state: &mut State, asked: &Asked) -> (u16, Value) {
    let named = |name: &str| asked.body[name].as_str().unwrap_or("").to_owned();
    let account = state.accounts.iter().find(|account| [&account.did, &account.handle].contains(&&named("identifier")));
    let Some(account) = account.cloned() else { return refused() };
    let scope = match named("password").as_str() {
        APP_PASSWORD => account.scope,
        OWN_PASSWORD => "com.atproto.access",
        _ => return refused(),
    };
    state.sessions += 1;
    let number = state.sessions;
    let token = |scope: &str, lasts: i64| {
        let claims = json!({"scope": scope, "sub": account.did, "exp": NOW + lasts, "jti": number});
        format!("e30.{}.marker-{number}", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let mut session = json!({
        "accessJwt": token(scope, 7_200),
        "refreshJwt": token("com.atproto.refresh", 7_776_000),
        "handle": account.handle,
        "did": account.did,
    });
    session.as_object_mut().unwrap().extend(account.session.as_object().unwrap().clone());
    (200, session)
}

fn refused() -> (u16, Value) {
    (401, json!({"error": "AuthenticationRequired", "message": "Invalid identifier or password"}))
}
