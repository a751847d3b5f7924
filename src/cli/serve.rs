//! `postpeer serve`: runs the broker.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use clap::Args;
use futures_util::future::LocalBoxFuture;

use super::confine::{Confinement, Folders};
use super::failure::{Exit, Failure};
use super::listening::refusal;
use super::reload::{self, Reload};
use super::settings::{ConfigFile, warnings};
use super::{notify, process, started};
use crate::app::{Ports, Prepared};
use crate::config::{Config, Environment};
use crate::domain::time::SystemClock;
use crate::server::{Hangup, Listeners, Signals};
use crate::{server, telemetry};

/// Time that requests in flight have when the broker stops. Work that must not be lost has a longer one.
const GRACE: Duration = Duration::from_secs(4);

/// Run the broker; SIGHUP reloads configuration, platforms and keyring
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  postpeer serve --config /etc/postpeer/postpeer.toml\n  kill -HUP PID   # reloads")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

/// Binds the addresses after all checks and before the first change.
pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<(), Failure> {
    process::survive_hangup();
    let config = arguments.config.load_set_up(environment)?;
    // Before the log, which starts the first thread.
    let confinement =
        Confinement::begin(Folders::of(&config, arguments.config.file(environment).as_deref(), environment));
    telemetry::init(config.log);
    process::harden();
    process::check_files()?;
    confinement.report();
    warn_of(&config);
    let listen = config.server.listen;
    let metrics_listen = config.server.metrics_listen;
    let console_listen = config.console.as_ref().and_then(|console| console.listen);
    // As many as there are connections, for each of which two descriptors are reckoned.
    let exchanges = process::connections(config.limits.connections);
    let prepared = Prepared::new(config, Ports { exchanges, ..Ports::system() })?;
    let (listener, address) = bind("server.listen", listen)?;
    let (metrics, metrics_address) =
        metrics_listen.map(|listen| bind("server.metrics_listen", listen)).transpose()?.unzip();
    let (console, console_address) = console_listen.map(|listen| bind("console.listen", listen)).transpose()?.unzip();
    let app = prepared.open()?;
    let signals = Signals::obey(app.work(), || ()).map_err(|error| Failure::io("cannot handle signals", &error))?;
    let public_url = &app.config.server.public_url;
    tracing::info!(%address, public_url, version = env!("CARGO_PKG_VERSION"), "listening");
    started::report(&app);
    if let Some(address) = metrics_address {
        let platforms = app.config.platforms.listings();
        telemetry::metrics().expect_platforms(platforms.iter().filter(|one| one.enabled).map(|one| one.name));
        tracing::info!(%address, "metrics are at /metrics");
    }
    if let Some(address) = console_address {
        tracing::info!(%address, "the console is at /console");
    }
    let reload = Reload::new(&app, &arguments.config, environment, &confinement);
    let on_hangup = || -> LocalBoxFuture<'_, Hangup> { Box::pin(reload.on_hangup()) };
    let served = reload::served(&app, app.broker.clone(), &app.config);
    notify::ready(environment);
    let served = server::run(&app, Listeners { main: listener, metrics, console }, served, signals, &on_hangup, GRACE);
    let closed = app.close();
    served.map_err(|error| Failure::io("the server failed", &error))?;
    closed?;
    tracing::info!("stopped");
    Ok(())
}

pub(super) fn warn_of(config: &Config) {
    for warning in warnings(config, &SystemClock) {
        tracing::warn!("{}", warning.message);
    }
    let (wanted, fitting) = (config.limits.connections, process::connections(config.limits.connections));
    if fitting < wanted {
        tracing::warn!(
            "limits.connections is {wanted}, and at most {fitting} are accepted: this process may open too few files at a \
             time. Raise that limit (`ulimit -n`, LimitNOFILE= of its service) or lower limits.connections"
        );
    }
    if !config.outbound.proxies.is_none() {
        tracing::info!("platforms are called through a proxy: {}", config.outbound.proxies);
    }
}

/// Binds the address that `key` configures, and returns the actual one: with port 0, the system chooses the port.
fn bind(key: &str, wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = server::bind(wanted).map_err(|error| {
        let (message, remedy) = refusal(key, wanted, &error);
        Failure::new(Exit::Unavailable, format!("{message}: {remedy}"))
    })?;
    let address = listener.local_addr().map_err(|error| Failure::io("the listener has no address", &error))?;
    Ok((listener, address))
}
