//! The composition root: builds the broker from its parts, for `serve`, `demo`, the other commands, benchmarks and
//! integration tests alike.
//!
//! Invariant: everything that can refuse to start (keyring, lock, the database's state, the key that opens it) is
//! checked read-only before anything is changed. A refusal leaves the database as it was, byte for byte. Only the
//! search of a large database for damage comes later: it takes seconds, and the broker serves meanwhile.

mod close;
mod forget;
mod initialise;
mod new_keyring;
mod recovery;

pub mod backup;
pub mod probe;

use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};
use uuid::Uuid;

use crate::atproto;
use crate::broker::{self, Broker, Parts, Reloaded};
use crate::config::Config;
use crate::domain::entropy::{Entropy, SystemEntropy};
use crate::domain::error_chain::chain;
use crate::domain::keyring::WrappedKey;
use crate::domain::time::{Clock, SystemClock};
use crate::oauth::Engine;
use crate::outbound::{self, Dns, Guard, Outbound};
use crate::store::{self, DatabaseLock, DatabaseUse, Inspection, OpenError, Store};
use crate::upstream::Upstream;
use crate::vault::keyring::{KeyringError, KeyringFile};
use crate::vault::{self, Vault};
pub use forget::{Erased, ForgetError, Forgotten, forget};
pub use initialise::initialise;
pub use new_keyring::NewKeyringError;
pub use recovery::{RecoveryError, recover};

/// Pause before a call that changes nothing at a platform is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Threads for work that outlives requests. It waits for the network and the disk, not for the processor.
const WORK_THREADS: usize = 2;

/// Exchanges of codes under way, where nobody knows how many the process has file descriptors for.
const EXCHANGES: usize = 256;

/// The broker's surroundings, which a test replaces.
#[derive(Clone)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Resolves the hosts that users chose.
    pub dns: Dns,
    /// Pause before a call that changes nothing at a platform is repeated.
    pub retry_pause: Duration,
    /// True when disk space is reserved for tokens that a platform has already delivered.
    pub keeps_reserve: bool,
    /// Most exchanges of codes that may be under way: each may need a file descriptor when its client is gone.
    pub exchanges: usize,
}

impl Ports {
    /// The machine's own.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            dns: Dns::system(),
            retry_pause: RETRY_PAUSE,
            keeps_reserve: true,
            exchanges: EXCHANGES,
        }
    }
}

/// Why the broker cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the database {} was found to be damaged while it was open, so its latest changes were left in the log beside it. Keep \
         its files together, and start the broker: it looks for damage. If it finds some, put a backup in its place: \
         `postpeer restore FILE`",
        database.display()
    )]
    Damaged { database: PathBuf },
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(
        "the database {} has schema {found}, this program works with {expected}: start the broker once with this \
         program (`postpeer serve` brings the schema up to date), or use the program that runs the broker", path.display()
    )]
    OtherSchema { path: PathBuf, found: u32, expected: u32 },
    #[error(transparent)]
    Forget(#[from] ForgetError),
    #[error("the access keys of an earlier release cannot be authenticated")]
    Keys(#[from] broker::keyring::Error),
    #[error("the client for talking to platforms cannot be set up")]
    Outbound(#[from] outbound::Error),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("no threads can be started")]
    Threads(#[source] io::Error),
    #[error(transparent)]
    Vault(#[from] vault::Error),
}

/// To be called before the lock is taken, which would leave a file beside a missing database.
fn check_exists(database: &Path) -> Result<(), OpenError> {
    match database.try_exists() {
        Ok(false) => Err(OpenError::Missing { path: database.to_owned() }),
        _ => Ok(()),
    }
}

/// For what works beside a running broker, and must not migrate the database under it.
fn check_schema(database: &Path, inspection: &Inspection) -> Result<(), Error> {
    let (found, expected) = (inspection.schema_version, store::schema_version());
    if found == expected { Ok(()) } else { Err(Error::OtherSchema { path: database.to_owned(), found, expected }) }
}

/// Opens the data keys of an inspected database with the keyring that was read. Reads the file once more where it does
/// not fit: a command may have changed it, and then the database, since it was read.
///
/// # Errors
///
/// The keyring does not open them, or cannot be read again.
pub fn unlock(config: &Config, keyring: &KeyringFile, inspection: &Inspection, ports: &Ports) -> Result<Vault, Error> {
    unlock_keys(config, keyring, (inspection.db_id, &inspection.wrapped_keys), ports)
}

/// The same with this keyring and no other.
fn unlock_with(keyring: &KeyringFile, inspection: &Inspection, ports: &Ports) -> Result<Vault, vault::Error> {
    Vault::unlock(keyring, inspection.db_id, &inspection.wrapped_keys, ports.entropy.clone())
}

/// Opens the data keys of the database with this id, as [`unlock`] does.
fn unlock_keys(
    config: &Config,
    keyring: &KeyringFile,
    (db_id, keys): (Uuid, &[WrappedKey]),
    ports: &Ports,
) -> Result<Vault, Error> {
    let unlock = |keyring: &KeyringFile| Vault::unlock(keyring, db_id, keys, ports.entropy.clone());
    match unlock(keyring) {
        Err(vault::Error::WrongKeyring { .. }) => Ok(unlock(&KeyringFile::load(&config.keyring)?)?),
        unlocked => Ok(unlocked?),
    }
}

/// True when there is a keyring file that opens the database.
fn opens(path: &Path, inspection: &Inspection, ports: &Ports) -> bool {
    KeyringFile::load(path).is_ok_and(|file| unlock_with(&file, inspection, ports).is_ok())
}

/// A runtime of this thread, for a command.
fn runtime_here() -> Result<Runtime, Error> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Threads)
}

/// A broker that may start: it holds the database's lock and its keys, and has changed nothing yet.
pub struct Prepared {
    config: Config,
    ports: Ports,
    lock: DatabaseLock,
    vault: Vault,
    is_checked: bool,
}

impl Prepared {
    /// Checks everything that can refuse to start. A large database is searched for damage later, by the running
    /// broker.
    ///
    /// # Errors
    ///
    /// In this order: the keyring file; the database is missing; another process holds it; it is damaged, foreign or
    /// newer; its keys are not those of the keyring.
    pub fn new(config: Config, ports: Ports) -> Result<Self, Error> {
        let keyring = KeyringFile::load(&config.keyring)?;
        check_exists(&config.database)?;
        let lock = DatabaseLock::take(&config.database)?;
        if let Some(warning) = store::warn_of_names(&config.database) {
            tracing::warn!(database = %config.database.display(), "{warning}");
        }
        let inspection = store::inspect_briefly(&config.database)?;
        let vault = unlock(&config, &keyring, &inspection, &ports)?;
        Ok(Self { config, ports, lock, vault, is_checked: inspection.is_checked })
    }

    /// Opens the broker, with a runtime for its work. Must not be called from a runtime.
    ///
    /// # Errors
    ///
    /// The database cannot be opened or migrated, or the system gives no threads.
    pub fn open(self) -> Result<App, Error> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(WORK_THREADS)
            .thread_name("work")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let mut app = runtime.block_on(self.open_on(runtime.handle().clone()))?;
        app.runtime = Some(runtime);
        Ok(app)
    }

    /// Opens the database, brings its schema up to date, and builds the broker. Its work runs on the caller's runtime.
    ///
    /// # Errors
    ///
    /// The database cannot be opened or migrated.
    pub async fn open_on(self, work: Handle) -> Result<App, Error> {
        let Self { config, ports, lock, vault, is_checked } = self;
        let (store, upstream) = open(&config, &ports)?;
        if ports.keeps_reserve
            && let Err(error) = store.hold_reserve()
        {
            // The broker can still read.
            tracing::warn!(error = %chain(&error), "there is no reserve of disk space");
        }
        let broker = assemble(&ports, (store.clone(), vault), follow(&config, upstream), work.clone());
        broker.authenticate_old_rows().await?;
        if let Err(error) = broker.recover().await {
            // Usually a full disk. The interrupted grants are refreshed when they are due.
            tracing::warn!(error = %chain(&error), "interrupted work could not be resumed");
        }
        Ok(App { config, ports, broker, store, is_checked, damage: Arc::default(), work, runtime: None, lock })
    }
}

/// A broker that is ready to be served.
pub struct App {
    pub config: Config,
    pub ports: Ports,
    pub broker: Broker,
    store: Store,
    is_checked: bool,
    /// Damage that was found in the database since the start.
    damage: Arc<OnceLock<OpenError>>,
    /// Runs work that must outlive its request. The web server's own runtime would cancel it.
    work: Handle,
    /// `None` when `work` belongs to the caller.
    runtime: Option<Runtime>,
    lock: DatabaseLock,
}

impl App {
    /// The runtime for work that outlives requests.
    #[must_use]
    pub fn work(&self) -> &Handle {
        &self.work
    }

    /// The broker with another configuration. It goes on with the same database, whatever the configuration says, and
    /// shares its data keys: what is under way must open what is sealed with those to come.
    ///
    /// # Errors
    ///
    /// The keyring cannot be used, or does not open the database.
    pub async fn reloaded(&self, config: &Config) -> Result<Broker, Error> {
        let keyring = KeyringFile::load(&config.keyring)?;
        // Through the open store: closing any other handle of the file would release the locks that SQLite holds in
        // this process, and the next program that closes the database would remove the log.
        let read =
            |db: &store::Connection| Ok::<_, store::Error>((store::meta::get_db_id(db)?, store::keyring::list(db)?));
        // Not a short read: another process may have changed the keys a moment ago.
        let (db_id, wrapped_keys) = self.store.read_long(read).await?;
        unlock_keys(config, &keyring, (db_id, &wrapped_keys), &self.ports)?;
        let broker = self.broker.reloaded(follow(config, reach(config, &self.ports)?));
        broker.refresher().apply_set_lifetimes();
        broker.restore_discovered().await;
        broker.refresher().take_over().await;
        Ok(broker)
    }
}

/// The broker for commands that use the database beside a running broker: keeps a restore away, but no broker, and
/// changes no schema.
pub struct Desk {
    broker: Broker,
    work: Runtime,
    /// Released last, after the database is closed.
    _use: DatabaseUse,
}

impl Desk {
    /// # Errors
    ///
    /// Those of [`Prepared::new`] except for the lock, and [`Error::OtherSchema`] when the database needs a migration.
    pub fn open(config: &Config, ports: &Ports) -> Result<Self, Error> {
        let keyring = KeyringFile::load(&config.keyring)?;
        check_exists(&config.database)?;
        let shared = DatabaseUse::share(&config.database)?;
        let inspection = store::inspect_briefly(&config.database)?;
        check_schema(&config.database, &inspection)?;
        let vault = unlock(config, &keyring, &inspection, ports)?;
        let work = runtime_here()?;
        let (store, upstream) = open(config, ports)?;
        let broker = assemble(ports, (store, vault), follow(config, upstream), work.handle().clone());
        Ok(Self { broker, work, _use: shared })
    }

    /// Runs one use case to its end.
    ///
    /// # Errors
    ///
    /// Those of the use case.
    ///
    /// # Panics
    ///
    /// When the use case panics.
    pub fn run<T, E, F>(&self, what: impl FnOnce(Broker) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut outcome = None;
        let run = Box::pin(async {
            self.broker.restore_discovered().await;
            outcome = Some(what(self.broker.clone()).await);
        });
        // One type for all commands: each type brings a copy of the runtime's code.
        self.work.block_on::<Pin<Box<dyn Future<Output = ()>>>>(run);
        outcome.expect("the work has ended")
    }
}

/// Opens the database. Meanwhile, finds the way to the platforms: reading the certificate authorities of this machine
/// takes as long.
fn open(config: &Config, ports: &Ports) -> Result<(Store, Upstream), Error> {
    thread::scope(|scope| {
        let upstream = thread::Builder::new().spawn_scoped(scope, || reach(config, ports)).map_err(Error::Threads)?;
        let store = Store::open(&config.database)?;
        Ok((store, upstream.join().unwrap_or_else(|panic| resume_unwind(panic))?))
    })
}

fn assemble(ports: &Ports, (store, vault): (Store, Vault), follows: Reloaded, work: Handle) -> Broker {
    let Reloaded { upstream, settings } = follows;
    let (clock, entropy) = (ports.clock.clone(), ports.entropy.clone());
    Broker::new(Parts { store, vault, upstream, clock, entropy, settings, exchanges: ports.exchanges, work })
}

/// The parts of a broker that follow from its configuration.
fn follow(config: &Config, upstream: Upstream) -> Reloaded {
    Reloaded {
        upstream,
        settings: broker::Settings {
            keyring: config.keyring.clone(),
            public_url: config.server.public_url.clone(),
            redirects: config.connect.redirects.clone(),
            confirm: config.connect.confirm,
            require_binding: config.connect.require_binding,
            state_ttl: config.connect.state_ttl,
            selection_ttl: config.connect.selection_ttl,
            refresh_ahead: config.refresh.ahead,
            refresh_concurrency: config.refresh.concurrency,
            backup: backup_schedule(config),
            keep_audit: config.keep_audit,
            limits: config.limits.budgets,
        },
    }
}

/// The backups that the operator wishes for.
#[must_use]
pub fn backup_schedule(config: &Config) -> Option<broker::BackupSchedule> {
    config.backup.as_ref().map(|wanted| broker::BackupSchedule {
        database: config.database.clone(),
        dir: wanted.dir.clone(),
        every: wanted.every,
        keep: wanted.keep,
    })
}

/// The way to the platforms.
fn reach(config: &Config, ports: &Ports) -> Result<Upstream, Error> {
    let settings = outbound::Settings {
        connect_timeout: config.outbound.connect_timeout,
        timeout: config.outbound.timeout,
        allow_private_networks: config.outbound.allow_private_networks,
        roots: outbound::Roots::default(),
        proxies: config.outbound.proxies.clone(),
    };
    let outbound = Outbound::new(&settings)?;
    let guard = Guard::new(&settings, ports.dns.clone())?;
    let atproto = atproto::Engine::new(outbound.clone(), guard.clone(), ports.dns.clone(), ports.clock.clone());
    let oauth = Engine::new(outbound, guard, ports.clock.clone(), ports.entropy.clone(), ports.retry_pause);
    Ok(Upstream::new(oauth, atproto, config.platforms.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment};

    #[test]
    fn refreshes_begin_with_another_configuration_once_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let config = config::from_str("x", "", directory.path(), &Environment::default()).unwrap();
        let ports = Ports::system();
        initialise(&config, &ports).unwrap();
        let desk = Desk::open(&config, &ports).unwrap();
        let next = desk.broker.reloaded(follow(&config, reach(&config, &ports).unwrap()));
        assert!(desk.broker.refresher().is_latest(), "what the platforms said is not restored yet");
        desk.work.block_on(next.refresher().take_over());
        assert!(next.refresher().is_latest() && !desk.broker.refresher().is_latest());
    }

    #[test]
    fn a_command_on_keys_takes_those_that_another_one_made_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let config = config::from_str("x", "", directory.path(), &Environment::default()).unwrap();
        let ports = Ports::system();
        initialise(&config, &ports).unwrap();
        let [late, other] = [(); 2].map(|()| Desk::open(&config, &ports).unwrap());
        let key = vault::RecoveryKey::generate(&*ports.entropy).public();
        other.run(|broker| async move { broker.set_recovery_key(key).await }).unwrap();
        other.run(|broker| async move { broker.rotate_data_key().await }).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        other.run(|broker| async move { broker.look_after_keys(0, Duration::ZERO, &stop).await }).unwrap();
        assert_eq!(late.run(|broker| async move { broker.rotate_data_key().await }).unwrap(), 3);
    }

    #[test]
    fn a_keyring_that_changed_since_it_was_read_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let config = config::from_str("x", "", directory.path(), &Environment::default()).unwrap();
        let ports = Ports::system();
        initialise(&config, &ports).unwrap();
        let old = KeyringFile::load(&config.keyring).unwrap();
        let desk = Desk::open(&config, &ports).unwrap();
        desk.run(|broker| async move { broker.rewrap_data_keys(true).await }).unwrap();
        drop(desk);
        let inspection = store::inspect(&config.database).unwrap();
        assert!(Vault::unlock(&old, inspection.db_id, &inspection.wrapped_keys, ports.entropy.clone()).is_err());
        let unlock = || unlock(&config, &old, &inspection, &ports);
        unlock().unwrap();
        let other = KeyringFile::generate(&*ports.entropy);
        std::fs::remove_file(&config.keyring).unwrap();
        other.write_new(&config.keyring).unwrap();
        assert!(matches!(unlock(), Err(Error::Vault(vault::Error::WrongKeyring { .. }))));
    }
}
