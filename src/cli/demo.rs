//! `postpeer demo`: runs the broker with an imitation of every platform, on this machine only.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures_util::future::{LocalBoxFuture, ready};
use secrecy::ExposeSecret as _;
use tokio::runtime;

use super::confine::{Confinement, Folders};
use super::failure::{Exit, Failure};
use super::{output, process};
use crate::app::{self, Ports, Prepared};
use crate::broker::links::NewLink;
use crate::broker::{self, Broker, Caller};
use crate::config::{self, Config, Environment};
use crate::domain::access_key::Scope;
use crate::domain::audit::Actor;
use crate::domain::entropy::Entropy;
use crate::domain::error_chain::chain;
use crate::domain::id::ProjectId;
use crate::domain::identity::{Identities, Identity};
use crate::domain::project::DEFAULT_PROJECT;
use crate::domain::secret::SecretString;
use crate::sandbox::{self, Sandbox};
use crate::server::{Hangup, Served, Signals};
use crate::{http, server};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Time that requests in flight have when the demo stops.
const GRACE: Duration = Duration::from_secs(1);

/// Try the broker with imitations of every platform, on this machine only; no account is needed
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  postpeer demo\n  postpeer demo --listen 127.0.0.1:9000 --data ./demo")]
pub(super) struct Arguments {
    /// Loopback address to listen on [default: 127.0.0.1:8080, or a free port if that is in use]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Directory that keeps database and keyring [default: a temporary one, removed when the demo stops]
    ///
    /// The imitations forget their tokens: after a restart, each account must be connected again at its next refresh.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let ports = Ports::system();
    let data = Data::new(arguments.data.as_deref(), &*ports.entropy);
    // Signals are obeyed before there is a folder that they could leave behind, by a thread that is not confined.
    let obeying = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let obeying = obeying.map_err(|error| Failure::io("cannot start a thread", &error))?;
    let at_last = data.clone();
    let signals = Signals::obey(obeying.handle(), move || at_last.remove())
        .map_err(|error| Failure::io("cannot handle signals", &error))?;
    let folders = data.folders();
    let created = data.create().map_err(|error| Failure::io("cannot create the demo's directory", &error))?;
    // Before the log and all threads that listen.
    let confinement = Confinement::begin(folders);
    process::harden_and_log_warnings();
    confinement.report();
    let listener = listen(arguments.listen)?;
    let address = listener.local_addr().map_err(|error| Failure::io("the listener has no address", &error))?;
    let sandbox_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|error| Failure::new(Exit::Unavailable, format!("there is no free port for the sandbox: {error}")))?;
    let sandbox_address =
        sandbox_listener.local_addr().map_err(|error| Failure::io("the listener has no address", &error))?;

    let config = settings(address, sandbox_address, &created.0.dir)?;
    if !config.database.exists() {
        app::initialise(&config, &ports)?;
    }
    let app = Prepared::new(config, ports.clone())?.open()?;
    let entered = app.work().enter();
    let sandbox = Sandbox::start(sandbox_listener, ports.clock, ports.entropy)
        .map_err(|error| Failure::io("cannot start the sandbox", &error))?;
    drop(entered);

    let (project, key, link) = app.work().block_on(first_steps(app.broker.clone()))?;
    tell(&app.config, created.0.is_kept, &key, &link)?;
    let demo = http::Demo {
        caller: Caller {
            actor: Actor::DemoPage,
            access_key_id: None,
            link_id: None,
            project_id: project,
            profile_id: None,
            // The page shows the sandbox's tokens.
            scopes: Scope::ALL.to_vec(),
            address: None,
        },
        sandbox_origin: sandbox.base_url().to_owned(),
        bluesky: sandbox::bluesky_accounts()
            .first()
            .map(|account| (account.handle.to_owned(), account.app_password.to_owned()))
            .unwrap_or_default(),
    };
    let public_url = app.config.server.public_url.clone();
    let settings = http::Settings {
        console: http::Console::Beside,
        demo: Some(demo),
        pages: identities(&public_url),
        ..http::Settings::new(public_url)
    };
    let state = http::State::new(app.broker.clone(), settings, app.ports.entropy.clone());
    let served = Served { console: state.clone(), state, refreshes: app.config.refresh.enabled };
    let on_hangup = || -> LocalBoxFuture<'_, Hangup> { Box::pin(ready(Hangup::Stop)) };
    let served = server::run(&app, listener.into(), served, signals, &on_hangup, GRACE);
    app.work().block_on(sandbox.stop());
    let closed = app.close();
    served.map_err(|error| Failure::io("the server failed", &error))?;
    closed.map_err(Failure::from)
}

/// Accepts loopback addresses only: the demo has no access control.
fn listen(wanted: Option<SocketAddr>) -> Result<TcpListener, Failure> {
    let Some(address) = wanted else {
        return server::bind(DEFAULT_LISTEN).or_else(|error| {
            say!("Cannot listen on {DEFAULT_LISTEN} ({error}); using a free port instead.");
            server::bind(SocketAddr::new(DEFAULT_LISTEN.ip(), 0))
                .map_err(|error| Failure::new(Exit::Unavailable, format!("there is no free port: {error}")))
        });
    };
    if !address.ip().is_loopback() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--listen {address} is reachable from other machines, and the demo has no access control: use 127.0.0.1 or [::1]"
            ),
        ));
    }
    server::bind(address).map_err(|error| {
        Failure::new(Exit::Unavailable, format!("cannot listen on {address} ({error}): name another port"))
    })
}

fn settings(address: SocketAddr, sandbox: SocketAddr, data: &Path) -> Result<Config, Failure> {
    let platforms = sandbox::configuration(&format!("http://{sandbox}"));
    // No limits: whoever tries the demo is alone with it, and may use a program that makes mistakes by the thousand.
    let toml = format!(
        "{platforms}
        [server]
        listen = \"{address}\"
        public_url = \"http://{address}\"
        [limits]
        bluesky_per_address = 0
        bluesky_per_key = 0
        misses_per_address = 0
        writes_per_address = 0
        writes_per_key = 0"
    );
    Ok(config::from_str("the sandbox's configuration", &toml, data, &Environment::default())?)
}

/// Names the demo as the app that asks, so that the pages show what an operator's `[pages]` does.
fn identities(public_url: &str) -> Identities {
    let general = Identity {
        app_name: Some("Demo app".to_owned()),
        home_url: Some(format!("{public_url}/")),
        ..Identity::default()
    };
    Identities { general, ..Identities::default() }
}

/// The project that the demo's page shows, with a new key and a connect link for it.
async fn first_steps(broker: Broker) -> Result<(ProjectId, SecretString, SecretString), broker::Error> {
    let (key, plain) = broker.create_access_key(DEFAULT_PROJECT, "demo", Scope::ALL).await?;
    let (_, link) = broker.create_link(&Caller::operator(key.project_id), NewLink::default()).await?;
    Ok((key.project_id, plain, link))
}

#[expect(clippy::disallowed_methods, reason = "key and link are printed once, for the user who starts the demo")]
fn tell(config: &Config, kept: bool, key: &SecretString, link: &SecretString) -> Result<(), Failure> {
    let url = &config.server.public_url;
    let plain = key.expose_secret();
    say!("Open {url}/ in a browser and connect an account of any platform. All of them are imitations.");
    if kept {
        say!(
            "The data is kept in {}. The imitations forget their tokens: after a restart, accounts fail at their next refresh.",
            config.database.parent().unwrap_or(Path::new(".")).display()
        );
    } else {
        say!("The data is removed when the demo stops (Ctrl-C).");
    }
    say!("\nOr open a link such as you would send to a person, who connects several accounts by it:");
    say!("  {}", link.expose_secret());
    say!("\nOr use the API. Start a connection:");
    say!("  curl -H 'x-access-key: {plain}' {url}/v1/connect/twitter");
    say!("When it is finished, list the accounts and get an access token:");
    say!("  curl -H 'x-access-key: {plain}' {url}/v1/connect/integrations");
    say!("  curl -H 'x-access-key: {plain}' {url}/v1/connect/integrations/ID/token");
    say!("\nThe operator's console is at {url}/console: sign in there with the access key.");
    say!("The access key:");
    output::result(plain)
}

/// The directory of the demo's data.
#[derive(Debug, Clone)]
struct Data {
    dir: PathBuf,
    is_kept: bool,
}

impl Data {
    /// Chooses the directory, a new temporary one by default.
    fn new(dir: Option<&Path>, entropy: &dyn Entropy) -> Self {
        if let Some(dir) = dir {
            return Self { dir: dir.to_owned(), is_kept: true };
        }
        let mut random = [0_u8; 16];
        entropy.fill(&mut random);
        let name = format!("postpeer-demo-{:032x}", u128::from_be_bytes(random));
        Self { dir: std::env::temp_dir().join(name), is_kept: false }
    }

    fn create(self) -> io::Result<Created> {
        DirBuilder::new().mode(0o700).recursive(self.is_kept).create(&self.dir)?;
        Ok(Created(self))
    }

    /// The folders of the demo's process, which removes a temporary directory at the end.
    fn folders(&self) -> Folders {
        let folders = Folders::of_data(&self.dir);
        if self.is_kept { folders } else { folders.with_removal_of(&self.dir) }
    }

    /// Removes a temporary directory, if it is there.
    fn remove(&self) {
        if !self.is_kept
            && let Err(error) = fs::remove_dir_all(&self.dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(error = %chain(&error), dir = %self.dir.display(), "cannot remove the demo's data");
        }
    }
}

/// The directory while the demo uses it. Dropping this removes a temporary one.
struct Created(Data);

impl Drop for Created {
    fn drop(&mut self) {
        self.0.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entropy::SeededEntropy;

    #[test]
    fn the_demo_is_configured_for_every_platform_of_the_sandbox() {
        let address = "127.0.0.1:8080".parse().unwrap();
        let config = settings(address, "127.0.0.1:8081".parse().unwrap(), Path::new("/data")).unwrap();
        assert_eq!(config.server.public_url, "http://127.0.0.1:8080");
        assert_eq!(config.database, Path::new("/data/postpeer.db"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        for platform in config.platforms.iter() {
            assert!(platform.credentials.is_some(), "{}", platform.platform().name);
        }
    }

    #[test]
    fn a_demo_listens_on_loopback_only_and_on_a_free_port() {
        assert_eq!(listen(Some("0.0.0.0:0".parse().unwrap())).unwrap_err().exit, Exit::Usage);
        let taken = listen(Some("127.0.0.1:0".parse().unwrap())).unwrap();
        assert_eq!(listen(taken.local_addr().ok()).unwrap_err().exit, Exit::Unavailable);
    }

    #[test]
    fn a_temporary_folder_is_removed() {
        let data = Data::new(None, &SeededEntropy::new(u64::from(std::process::id()))).create().unwrap();
        let path = data.0.dir.clone();
        fs::write(path.join("postpeer.db"), "x").unwrap();
        drop(data);
        assert!(!path.exists());
    }
}
