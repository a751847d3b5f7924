//! The settings and ports of a test's broker. `app` builds the rest, as it does for `postpeer serve`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postpeer::app::{self, Ports};
use postpeer::cli;
use postpeer::config::{self, Environment};
use postpeer::domain::access_key::Scope;
use postpeer::domain::entropy::{Entropy, SeededEntropy};
use postpeer::domain::network::Network;
use postpeer::domain::project::DEFAULT_PROJECT;
use postpeer::domain::time::{ManualClock, Timestamp};
use postpeer::outbound::Dns;
use postpeer::sandbox::Sandbox;

use super::{TestBroker, client, expose, open, serve};
use crate::dns::DnsServer;

/// Differences from the default broker.
pub(crate) struct Builder {
    toml: String,
    environment: Vec<(String, String)>,
    dns: Option<SocketAddr>,
    patience: Option<Duration>,
    body_deadline: Option<Duration>,
    trusted_proxies: Vec<Network>,
    public_url: Option<String>,
    path: String,
    seed: u64,
    /// Replaces the seeded entropy.
    entropy: Option<Arc<dyn Entropy>>,
    has_reserve: bool,
    exchanges: usize,
    db_id: u128,
    /// URL that stands for the sandbox's.
    relay: Option<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            toml: String::new(),
            // Tests send more wrong keys than a client of good will.
            environment: vec![("POSTPEER_LIMITS__MISSES_PER_ADDRESS".to_owned(), "0".to_owned())],
            dns: None,
            patience: None,
            body_deadline: None,
            trusted_proxies: Vec::new(),
            public_url: None,
            path: String::new(),
            seed: 42,
            entropy: None,
            has_reserve: false,
            exchanges: 256,
            db_id: 0x70_6f73_7470_6565_7200,
            relay: None,
        }
    }
}

impl Builder {
    /// Overrides the sandbox's configuration: `connect.allowed_redirects` as `POSTPEER_CONNECT__ALLOWED_REDIRECTS`.
    pub(crate) fn setting(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Server that resolves names.
    pub(crate) fn dns(mut self, server: SocketAddr) -> Self {
        self.dns = Some(server);
        self
    }

    /// Adds sections of configuration, in which `{sandbox}` is the sandbox's URL.
    pub(crate) fn toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self
    }

    /// Time that a client has to send a body.
    pub(crate) fn body_deadline(mut self, deadline: Duration) -> Self {
        self.body_deadline = Some(deadline);
        self
    }

    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub(crate) fn trusted_proxies(mut self, networks: &[&str]) -> Self {
        self.trusted_proxies = networks.iter().map(|network| network.parse().unwrap()).collect();
        self
    }

    /// Time that a client has for the head of a request, and for reading an answer.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Public URL other than the address that the broker listens on.
    pub(crate) fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.to_owned());
        self
    }

    /// Path of the public URL.
    pub(crate) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Seed of ids, keys and states.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Entropy that no seed gives.
    pub(crate) fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// Most exchanges of codes under way.
    pub(crate) fn exchanges(mut self, most: usize) -> Self {
        self.exchanges = most;
        self
    }

    /// Reserves disk space, as `postpeer serve` does.
    pub(crate) fn with_reserve(mut self) -> Self {
        self.has_reserve = true;
        self
    }

    /// Name of the database in sealed values.
    pub(crate) fn db_id(mut self, id: u128) -> Self {
        self.db_id = id;
        self
    }

    /// Sends what the sandbox would be asked to this URL.
    pub(crate) fn relay(mut self, url: &str) -> Self {
        self.relay = Some(url.to_owned());
        self
    }

    pub(crate) async fn start(self) -> TestBroker {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_777_797_216_445)));
        let entropy = self.entropy.unwrap_or_else(|| Arc::new(SeededEntropy::new(self.seed)));
        let sandbox_listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sandbox = Sandbox::start(sandbox_listener, clock.clone(), Arc::new(SeededEntropy::new(7))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());

        let dir = tempfile::tempdir().unwrap();
        let toml = format!(
            "[server]\npublic_url = \"{}{}\"\n{}\n{}",
            self.public_url.as_ref().unwrap_or(&url),
            self.path,
            self.toml.replace("{sandbox}", sandbox.base_url()),
            postpeer::sandbox::configuration(self.relay.as_deref().unwrap_or(sandbox.base_url()))
        );
        let environment: Environment = self.environment.into_iter().collect();
        let mut config = config::from_str("test", &toml, dir.path(), &environment).unwrap();

        let keyring = tempfile::tempdir().unwrap();
        config.keyring = keyring.path().join("postpeer.keyring");
        let ports = Ports {
            clock: clock.clone(),
            entropy: entropy.clone(),
            // Without a server of its own, a test's broker asks one that knows no name.
            dns: Dns::at(self.dns.unwrap_or_else(|| DnsServer::start().address)),
            retry_pause: Duration::ZERO,
            keeps_reserve: self.has_reserve,
            exchanges: self.exchanges,
        };
        let entropy = NamedDatabase { entropy, name: self.db_id.to_be_bytes(), is_named: AtomicBool::new(false) };
        app::initialise(&config, &Ports { entropy: Arc::new(entropy), ..ports.clone() }).unwrap();
        let mut settings = cli::http_settings(&config);
        settings.body_deadline = self.body_deadline.unwrap_or(settings.body_deadline);
        if !self.trusted_proxies.is_empty() {
            settings.trusted_proxies = self.trusted_proxies;
        }
        if let Some(patience) = self.patience {
            settings.connections.head_deadline = patience;
            settings.connections.answer_deadline = patience;
        }
        let app = open(config, ports).await;
        let (_, key) = app.broker.create_access_key(DEFAULT_PROJECT, "test", Scope::ALL).await.unwrap();
        let server = serve(&app, &settings, listener);
        TestBroker {
            url,
            key: expose(&key),
            clock,
            dir,
            keyring,
            sandbox,
            client: client(),
            settings,
            running: Some((app, server)),
        }
    }
}

/// Names the database. Everything else is drawn from `entropy`, in the same order as if there were no such name.
struct NamedDatabase {
    entropy: Arc<dyn Entropy>,
    name: [u8; 16],
    is_named: AtomicBool,
}

impl Entropy for NamedDatabase {
    fn fill(&self, bytes: &mut [u8]) {
        // The keyring's key is the first draw, and longer.
        if bytes.len() == self.name.len() && !self.is_named.swap(true, Ordering::SeqCst) {
            bytes.copy_from_slice(&self.name);
        } else {
            self.entropy.fill(bytes);
        }
    }
}
