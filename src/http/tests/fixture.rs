//! A broker that tests send requests to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Request;
use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::test::{self, TestRequest};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::atproto;
use crate::broker::{Broker, Caller, Parts, Settings as BrokerSettings};
use crate::domain::access_key::Scope;
use crate::domain::audit::Actor;
use crate::domain::budget::Limits;
use crate::domain::entropy::SeededEntropy;
use crate::domain::id::IdSource;
use crate::domain::project::{DEFAULT_PROJECT, Project};
use crate::domain::proxy::Proxies;
use crate::domain::redirect::RedirectPolicy;
use crate::domain::time::{ManualClock, Timestamp};
use crate::http::{Demo, Settings, State, app};
use crate::oauth::Engine;
use crate::outbound::{self, Dns, Guard, Outbound};
use crate::platforms::registry::Settings as PlatformSettings;
use crate::platforms::{Credentials, CustomPlatform, IdentityPointers, Registry};
use crate::store::Store;
use crate::upstream::Upstream;
use crate::vault::{KeyringFile, Vault};

pub(super) const PUBLIC_URL: &str = "http://127.0.0.1:8080";
pub(super) const SANDBOX: &str = "http://127.0.0.1:8081";

/// The default scopes of a key.
pub(super) const USUAL: &[Scope] = &Scope::DEFAULT;

pub(super) struct Fixture {
    broker: Broker,
    settings: Settings,
    project: Project,
    _dir: TempDir,
}

/// A response, as tests inspect it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {}", self.text)).to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::at(PUBLIC_URL)
    }

    pub(super) fn at(public_url: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("postpeer-http").tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_777_797_216_445)));
        let entropy = Arc::new(SeededEntropy::new(1));
        let ids = IdSource::new(clock.clone(), entropy.clone());
        let project = Project {
            id: ids.next(),
            name: DEFAULT_PROJECT.to_owned(),
            created_at: Timestamp::from_millis(1_777_797_216_445),
        };
        let db = Uuid::from_bytes([7; 16]);
        let keyring = KeyringFile::generate(entropy.as_ref());
        let (vault, first_key) = Vault::initialise(&keyring, db, entropy.clone()).unwrap();
        let store = Store::create(&dir.path().join("postpeer.db"), db, &first_key, &project).unwrap();
        let second = Duration::from_secs(1);
        let settings = outbound::Settings {
            connect_timeout: second,
            timeout: second * 5,
            allow_private_networks: false,
            roots: outbound::Roots::default(),
            proxies: Proxies::default(),
        };
        let outbound = Outbound::new(&settings).unwrap();
        // Nothing listens there: no test of this room resolves a name.
        let dns = Dns::at(([127, 0, 0, 1], 9).into());
        let guard = Guard::new(&settings, dns.clone()).unwrap();
        let atproto = atproto::Engine::new(outbound.clone(), guard.clone(), dns, clock.clone());
        let oauth = Engine::new(outbound, guard, clock.clone(), entropy.clone(), Duration::ZERO);
        let broker = Broker::new(Parts {
            store,
            vault,
            upstream: Upstream::new(oauth, atproto, platforms()),
            clock,
            entropy,
            exchanges: 256,
            settings: BrokerSettings {
                keyring: std::path::PathBuf::new(),
                public_url: public_url.to_owned(),
                redirects: RedirectPolicy::default(),
                confirm: false,
                require_binding: false,
                state_ttl: Duration::from_mins(10),
                selection_ttl: Duration::from_mins(10),
                refresh_ahead: Duration::from_mins(15),
                refresh_concurrency: 32,
                backup: None,
                keep_audit: Duration::from_hours(24),
                limits: Limits::default(),
            },
            work: Handle::current(),
        });
        Self { broker, settings: Settings::new(public_url), project, _dir: dir }
    }

    pub(super) fn demo(mut self) -> Self {
        let scopes = Scope::DEFAULT.to_vec();
        let caller = Caller {
            actor: Actor::DemoPage,
            access_key_id: None,
            link_id: None,
            project_id: self.project.id,
            profile_id: None,
            scopes,
            address: None,
        };
        self.settings.demo = Some(Demo {
            caller,
            sandbox_origin: SANDBOX.to_owned(),
            bluesky: ("ada.test".to_owned(), "ada-app-password".to_owned()),
        });
        self
    }

    pub(super) fn state(&self) -> State {
        State::new(self.broker.clone(), self.settings.clone(), Arc::new(SeededEntropy::new(2)))
    }

    #[expect(clippy::disallowed_methods, reason = "the test sends it")]
    pub(super) async fn key(&self, scopes: &[Scope]) -> String {
        let (_, key) = self.broker.create_access_key(DEFAULT_PROJECT, "test", scopes).await.unwrap();
        key.expose_secret().to_owned()
    }

    pub(super) async fn send(&self, request: Request) -> Answer {
        let service = test::init_service(app(self.state())).await;
        answer(&service, request).await
    }

    pub(super) async fn get(&self, key: &str, path: &str) -> Answer {
        self.send(TestRequest::get().uri(path).insert_header(("x-access-key", key)).to_request()).await
    }

    pub(super) async fn write(&self, method: Method, key: &str, path: &str, body: Value) -> Answer {
        let request = TestRequest::with_uri(path).method(method).insert_header(("x-access-key", key)).set_json(body);
        self.send(request.to_request()).await
    }
}

pub(super) async fn answer(
    service: &impl Service<Request, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>,
    request: Request,
) -> Answer {
    let response = test::call_service(service, request).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = String::from_utf8(test::read_body(response).await.to_vec()).unwrap();
    Answer { status, headers, text }
}

fn platforms() -> Registry {
    let credentials = || Credentials {
        client_id: "our-client".to_owned(),
        client_secret: "our-secret".into(),
        older_secrets: Vec::new(),
        private_key: None,
    };
    let twitter = PlatformSettings { credentials: Some(credentials()), ..PlatformSettings::default() };
    let acme = CustomPlatform {
        name: "acme".to_owned(),
        token_lifetime: None,
        label: Some("Acme & Sons".to_owned()),
        authorize_url: Some("http://127.0.0.1:9/authorize".to_owned()),
        token_url: Some("http://127.0.0.1:9/token".to_owned()),
        identity_url: Some("http://127.0.0.1:9/me".to_owned()),
        scopes: Some(vec!["profile".to_owned()]),
        identity: IdentityPointers {
            id: "/id".to_owned(),
            username: Some("/username".to_owned()),
            name: Some("/name".to_owned()),
            image: Some("/picture".to_owned()),
            url: None,
        },
        ..CustomPlatform::default()
    };
    Registry::new(BTreeMap::from([("twitter".to_owned(), twitter)]), vec![(acme, Some(credentials()), true)])
}

/// Builds a header map; a repeated name gives a repeated header.
pub(crate) fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    headers
}
