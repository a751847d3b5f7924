//! The composition root: what the broker is made of, put together in the order in which it may be touched.
//!
//! Invariant: everything that can refuse to start (keyring, lock, the database's state, the key that opens it) is
//! looked at read-only and before anything is changed: a refusal leaves the database as it was, byte for byte.

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};

use crate::atproto;
use crate::broker::{self, Broker, Parts};
use crate::config::Config;
use crate::domain::entropy::{Entropy, SystemEntropy};
use crate::domain::id::IdSource;
use crate::domain::project::{DEFAULT_PROJECT, Project};
use crate::domain::time::{Clock, SystemClock};
use crate::oauth::Engine;
use crate::outbound::{self, Dns, Guard, Outbound};
use crate::store::{self, DatabaseLock, OpenError, Store};
use crate::upstream::Upstream;
use crate::vault::keyring::{KeyringError, KeyringFile};
use crate::vault::{self, Vault};

/// How long work that outlives requests may take when the broker stops.
const DRAIN_AT_MOST: Duration = Duration::from_secs(20);

/// Before a call that changes nothing at a platform is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Threads for work that outlives requests. It waits for the network and the disk, not for the processor.
const WORK_THREADS: usize = 2;

/// Where time and randomness come from.
#[derive(Clone)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Ports {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }
}

/// Why the broker cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(
        "the database {} has schema {found}, this program works with {expected}: start the broker once with this \
         program (`postpeer serve` brings the schema up to date), or use the program that runs the broker", path.display()
    )]
    OtherSchema { path: PathBuf, found: u32, expected: u32 },
    #[error("the client for talking to platforms cannot be set up")]
    Outbound(#[from] outbound::Error),
    #[error("no threads can be started")]
    Threads(#[source] io::Error),
    #[error(transparent)]
    Vault(#[from] vault::Error),
}

/// Makes the keyring and the database of a new broker, with one project. Neither may be there; when it fails, neither
/// is.
///
/// # Errors
///
/// One of them is there, or cannot be written.
pub fn initialise(config: &Config, ports: &Ports) -> Result<(), Error> {
    let keyring = KeyringFile::generate(&*ports.entropy);
    keyring.write_new(&config.keyring)?;
    let made = make_database(config, ports, &keyring);
    if made.is_err() {
        // Nothing is sealed with it, and what was wrong with the database is the error to tell.
        let _ = fs::remove_file(&config.keyring);
    }
    made
}

fn make_database(config: &Config, ports: &Ports, keyring: &KeyringFile) -> Result<(), Error> {
    let _lock = DatabaseLock::take(&config.database)?;
    let mut random = [0_u8; 16];
    ports.entropy.fill(&mut random);
    let db_id = uuid::Builder::from_random_bytes(random).into_uuid();
    let (_, first_key) = Vault::initialise(keyring, db_id, ports.entropy.clone())?;
    let project = Project {
        id: IdSource::new(ports.clock.clone(), ports.entropy.clone()).next(),
        name: DEFAULT_PROJECT.to_owned(),
        created_at: ports.clock.now(),
    };
    Store::create(&config.database, db_id, &first_key, &project)?;
    Ok(())
}

/// Taking the lock would leave a file beside a database that is not there.
fn check_is_there(database: &Path) -> Result<(), OpenError> {
    match database.try_exists() {
        Ok(false) => Err(OpenError::Missing { path: database.to_owned() }),
        _ => Ok(()),
    }
}

/// A broker that may start: it holds the database and its keys, and has changed nothing yet.
pub struct Prepared {
    config: Config,
    ports: Ports,
    lock: DatabaseLock,
    vault: Vault,
}

impl Prepared {
    /// Looks at everything that can refuse to start.
    ///
    /// # Errors
    ///
    /// In this order: the keyring file; the database is missing; another process holds it; it is damaged, foreign or
    /// newer; its keys are not those of the keyring.
    pub fn new(config: Config, ports: Ports) -> Result<Self, Error> {
        let keyring = KeyringFile::load(&config.keyring)?;
        check_is_there(&config.database)?;
        let lock = DatabaseLock::take(&config.database)?;
        let inspection = store::inspect(&config.database)?;
        let vault = Vault::unlock(&keyring, inspection.db_id, &inspection.wrapped_keys, ports.entropy.clone())?;
        Ok(Self { config, ports, lock, vault })
    }

    /// Opens the database, brings its schema up to date, and puts the broker together. From no runtime.
    ///
    /// # Errors
    ///
    /// The database cannot be opened or migrated, or the system gives no threads.
    pub fn open(self) -> Result<App, Error> {
        let Self { config, ports, lock, vault } = self;
        let store = Store::open(&config.database)?;
        if let Err(error) = store.hold_reserve() {
            // What is stored can be read all the same.
            tracing::warn!(error = &error as &dyn std::error::Error, "there is no reserve of disk space");
        }
        let work = runtime::Builder::new_multi_thread()
            .worker_threads(WORK_THREADS)
            .thread_name("work")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let broker = assemble(&config, &ports, store.clone(), vault, work.handle().clone())?;
        if let Err(error) = work.block_on(broker.recover()) {
            // A disk that is full, mostly. They are tried when they are due, as any.
            tracing::warn!(error = &error as &dyn std::error::Error, "what was cut off could not be taken up");
        }
        Ok(App { config, ports, broker, store, work, lock })
    }
}

/// A broker that is ready to be served.
pub struct App {
    pub config: Config,
    pub ports: Ports,
    pub broker: Broker,
    store: Store,
    /// Where work runs that must outlive its request: not the web server's runtime, which takes with it what its
    /// handlers started.
    work: Runtime,
    lock: DatabaseLock,
}

impl App {
    /// The runtime for work that outlives requests.
    #[must_use]
    pub fn work(&self) -> &Handle {
        self.work.handle()
    }

    /// Ends when nothing can be stored any more: time to stop. [`close`](Self::close) says why.
    pub fn storage_failed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.store.failed()
    }

    /// Waits for the work under way, then lets go of the database. Call it when nothing is served any more, and from
    /// no runtime.
    ///
    /// # Errors
    ///
    /// [`store::Error::Failed`], if that happened by now: what was answered is on the disk, but the disk wants a look.
    pub fn close(self) -> Result<(), store::Error> {
        let Self { broker, store, work, lock, .. } = self;
        if !work.block_on(broker.drain(DRAIN_AT_MOST)) {
            tracing::warn!(
                seconds = DRAIN_AT_MOST.as_secs(),
                "connections were still being finished: they are lost, people have to start again"
            );
        }
        work.shutdown_timeout(Duration::from_secs(1));
        drop(broker);
        let failure = store.failure();
        drop(store);
        drop(lock);
        failure.map_or(Ok(()), Err)
    }
}

/// The broker for commands that work on the database beside a running broker: it takes no lock and changes no schema.
pub struct Desk {
    broker: Broker,
    work: Runtime,
}

impl Desk {
    /// # Errors
    ///
    /// As [`Prepared::new`] but for the lock, and [`Error::OtherSchema`] where the database would have to be migrated.
    pub fn open(config: &Config, ports: &Ports) -> Result<Self, Error> {
        let keyring = KeyringFile::load(&config.keyring)?;
        check_is_there(&config.database)?;
        let inspection = store::inspect(&config.database)?;
        let (found, expected) = (inspection.schema_version, store::schema_version());
        if found != expected {
            return Err(Error::OtherSchema { path: config.database.clone(), found, expected });
        }
        let vault = Vault::unlock(&keyring, inspection.db_id, &inspection.wrapped_keys, ports.entropy.clone())?;
        let work = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Threads)?;
        let store = Store::open(&config.database)?;
        let broker = assemble(config, ports, store, vault, work.handle().clone())?;
        Ok(Self { broker, work })
    }

    /// Does one thing with the broker.
    ///
    /// # Errors
    ///
    /// Those of what is done.
    pub fn run<T, F>(&self, what: impl FnOnce(Broker) -> F) -> Result<T, broker::Error>
    where
        F: Future<Output = Result<T, broker::Error>>,
    {
        self.work.block_on(what(self.broker.clone()))
    }
}

fn assemble(config: &Config, ports: &Ports, store: Store, vault: Vault, work: Handle) -> Result<Broker, Error> {
    let settings = outbound::Settings {
        connect_timeout: config.outbound.connect_timeout,
        timeout: config.outbound.timeout,
        allow_private_networks: config.outbound.allow_private_networks,
    };
    let outbound = Outbound::new(&settings)?;
    let dns = Dns::system();
    let guard = Guard::new(&settings, dns.clone())?;
    let atproto = atproto::Engine::new(outbound.clone(), guard, dns, ports.clock.clone());
    let oauth = Engine::new(outbound, ports.clock.clone(), RETRY_PAUSE);
    Ok(Broker::new(Parts {
        store,
        vault,
        upstream: Upstream::new(oauth, atproto, config.platforms.clone()),
        clock: ports.clock.clone(),
        entropy: ports.entropy.clone(),
        settings: broker::Settings {
            public_url: config.server.public_url.clone(),
            redirects: config.connect.redirects.clone(),
            state_ttl: config.connect.state_ttl,
            selection_ttl: config.connect.selection_ttl,
            refresh_ahead: config.refresh.ahead,
            refresh_concurrency: config.refresh.concurrency,
        },
        work,
    }))
}
