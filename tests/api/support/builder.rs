//! What a test wants to be different about its broker, and how that is put together.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use postpeer::atproto;
use postpeer::broker::{self, Broker, Parts};
use postpeer::config::{self, Environment};
use postpeer::domain::access_key::Scope;
use postpeer::domain::entropy::{Entropy, SeededEntropy};
use postpeer::domain::id::IdSource;
use postpeer::domain::project::{DEFAULT_PROJECT, Project};
use postpeer::domain::time::{Clock, ManualClock, Timestamp};
use postpeer::http;
use postpeer::oauth::Engine;
use postpeer::outbound::{self, Dns, Guard, Outbound};
use postpeer::sandbox::Sandbox;
use postpeer::store::Store;
use postpeer::upstream::Upstream;
use postpeer::vault::Vault;
use postpeer::vault::keyring::KeyringFile;

use super::{TestBroker, client, expose, serve};
use crate::dns::DnsServer;

/// What is to be different.
pub(crate) struct Builder {
    toml: String,
    environment: Vec<(String, String)>,
    dns: Option<SocketAddr>,
    body_deadline: Option<Duration>,
    public_url: Option<String>,
    seed: u64,
    /// Instead of what the seed gives.
    entropy: Option<Arc<dyn Entropy>>,
    has_reserve: bool,
    db_id: u128,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            toml: String::new(),
            environment: Vec::new(),
            dns: None,
            body_deadline: None,
            public_url: None,
            seed: 42,
            entropy: None,
            has_reserve: false,
            db_id: 0x70_6f73_7470_6565_7200,
        }
    }
}

impl Builder {
    /// Further configuration, laid over the sandbox's: `connect.allowed_redirects` as `POSTPEER_CONNECT__ALLOWED_REDIRECTS`.
    pub(crate) fn setting(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Where names are resolved; the loopback addresses need no resolving.
    pub(crate) fn dns(mut self, server: SocketAddr) -> Self {
        self.dns = Some(server);
        self
    }

    /// Further sections of configuration, in which `{sandbox}` is the sandbox's URL.
    pub(crate) fn toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self
    }

    /// How long a client may take to send a body.
    pub(crate) fn body_deadline(mut self, deadline: Duration) -> Self {
        self.body_deadline = Some(deadline);
        self
    }

    /// Another public URL than the one that it listens on.
    pub(crate) fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.to_owned());
        self
    }

    /// Other randomness, and so other ids, keys and states than all other brokers have.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Other randomness than any seed gives.
    pub(crate) fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// With room on the disk that is kept free, as a broker has that is really served.
    pub(crate) fn with_reserve(mut self) -> Self {
        self.has_reserve = true;
        self
    }

    /// What the database is called in sealed values.
    pub(crate) fn db_id(mut self, id: u128) -> Self {
        self.db_id = id;
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
            "[server]\npublic_url = \"{}\"\n{}\n{}",
            self.public_url.as_ref().unwrap_or(&url),
            self.toml.replace("{sandbox}", sandbox.base_url()),
            postpeer::sandbox::configuration(sandbox.base_url())
        );
        let environment: Environment = self.environment.into_iter().collect();
        let config = config::from_str("test", &toml, dir.path(), &environment, &[]).unwrap();

        let store_clock: Arc<dyn Clock> = clock.clone();
        let ids = IdSource::new(store_clock.clone(), entropy.clone());
        let keyring = KeyringFile::generate(&*entropy);
        let keyring_dir = tempfile::tempdir().unwrap();
        keyring.write_new(&keyring_dir.path().join("postpeer.keyring")).unwrap();
        let db_id = uuid::Uuid::from_u128(self.db_id);
        let (vault, first_key) = Vault::initialise(&keyring, db_id, entropy.clone()).unwrap();
        let project = Project { id: ids.next(), name: DEFAULT_PROJECT.to_owned(), created_at: clock.now() };
        let store = Store::create(&dir.path().join("postpeer.db"), db_id, &first_key, &project).unwrap();
        if self.has_reserve {
            store.hold_reserve().unwrap();
        }
        let outbound_settings = outbound::Settings {
            connect_timeout: Duration::from_secs(5),
            timeout: config.outbound.timeout,
            allow_private_networks: config.outbound.allow_private_networks,
        };
        let outbound = Outbound::new(&outbound_settings).unwrap();
        // Without a DNS server of its own, a test's broker asks one that knows nothing.
        let dns = Dns::at(self.dns.unwrap_or_else(|| DnsServer::start().address));
        let guard = Guard::new(&outbound_settings, dns.clone()).unwrap();
        let mut settings = http::Settings::new(&config.server.public_url);
        settings.body_deadline = self.body_deadline.unwrap_or(settings.body_deadline);
        let redirects = config.connect.redirects.clone();
        let (platforms, public_url) = (config.platforms.clone(), config.server.public_url.clone());
        let (state_ttl, selection_ttl) = (config.connect.state_ttl, config.connect.selection_ttl);
        let refresh = config.refresh.clone();
        let again = Box::new(move |redirects| {
            let atproto = atproto::Engine::new(outbound.clone(), guard.clone(), dns.clone(), store_clock.clone());
            let oauth = Engine::new(outbound.clone(), store_clock.clone(), Duration::ZERO);
            let broker = Broker::new(Parts {
                store: store.clone(),
                vault: vault.clone(),
                upstream: Upstream::new(oauth, atproto, platforms.clone()),
                clock: store_clock.clone(),
                entropy: entropy.clone(),
                settings: broker::Settings {
                    public_url: public_url.clone(),
                    redirects,
                    state_ttl,
                    selection_ttl,
                    refresh_ahead: refresh.ahead,
                    refresh_concurrency: refresh.concurrency,
                },
                work: tokio::runtime::Handle::current(),
            });
            let state = http::State::new(broker.clone(), settings.clone(), entropy.clone());
            (broker, state)
        });
        let (broker, state) = again(redirects);
        let (_, key) = broker.create_access_key(DEFAULT_PROJECT, "test", Scope::ALL).await.unwrap();

        let server = serve(state, listener);
        TestBroker {
            url,
            key: expose(&key),
            clock,
            broker,
            dir,
            config,
            keyring: keyring_dir,
            sandbox,
            client: client(),
            server,
            again,
        }
    }
}
