//! SIGHUP for `postpeer serve`: reads configuration, platforms and keyring again, or stops where its terminal is gone.
//!
//! Invariant: a configuration with a mistake changes nothing, nor does one that needs folders which the process gave up
//! when it started. Settings that need a restart are named, and change nothing either.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::confine::Confinement;
use super::process;
use super::serve::warn_of;
use super::settings::ConfigFile;
use crate::app::App;
use crate::broker::Broker;
use crate::config::{Config, Environment};
use crate::domain::error_chain::chain;
use crate::http;
use crate::server::{Hangup, Served};

/// Answers SIGHUP.
pub(super) struct Reload<'a> {
    app: &'a App,
    source: &'a ConfigFile,
    environment: &'a Environment,
    confinement: &'a Confinement,
    /// Settings that are in use since the start.
    fixed: Vec<(&'static str, String)>,
    /// True when the process was started from a terminal.
    has_terminal: bool,
}

impl<'a> Reload<'a> {
    pub(super) fn new(
        app: &'a App,
        source: &'a ConfigFile,
        environment: &'a Environment,
        confinement: &'a Confinement,
    ) -> Self {
        let (fixed, has_terminal) = (fixed(&app.config), is_at_a_terminal());
        Self { app, source, environment, confinement, fixed, has_terminal }
    }

    /// A terminal that closes sends SIGHUP too, and from then on is no terminal any more. A process that was started
    /// with `nohup`, by a service manager or in a container had none.
    pub(super) async fn on_hangup(&self) -> Hangup {
        if self.has_terminal && !is_at_a_terminal() {
            tracing::info!("stopping: the terminal was closed");
            return Hangup::Stop;
        }
        let wanted = match self.source.read(self.environment) {
            Ok(config) => config,
            Err(error) => {
                return refused(&match self.confinement.shut_out(error.files()) {
                    Some(file) => outside(file),
                    None => chain(&error),
                });
            }
        };
        if let Some(path) = self.confinement.out_of_reach(&wanted) {
            return refused(&outside(path));
        }
        let config = keep_fixed(&self.app.config, wanted.clone());
        let broker = match self.app.reloaded(&config).await {
            Ok(broker) => broker,
            Err(error) => return refused(&chain(&error)),
        };
        warn_of(&config);
        for ((key, used), (_, wanted)) in self.fixed.iter().zip(fixed(&wanted)).filter(|(used, wanted)| *used != wanted)
        {
            tracing::warn!("{key} stays {used} until a restart: it is {wanted} in the configuration");
        }
        Hangup::Serve(Box::new(served(self.app, broker, &config)))
    }
}

fn refused(why: &str) -> Hangup {
    tracing::error!("the configuration was not reloaded, and the broker goes on as before: {why}");
    Hangup::Ignored
}

fn outside(path: &Path) -> String {
    format!("{} is outside the folders that this process may open since its start: restart the broker", path.display())
}

/// The settings and the state that are served with a configuration.
pub(super) fn served(app: &App, broker: Broker, config: &Config) -> Served {
    let state = |broker, settings| http::State::new(broker, settings, app.ports.entropy.clone());
    let settings = http_settings(config);
    let console = http::Settings { console: http::Console::Alone, ..settings.clone() };
    let console = state(broker.clone(), console);
    Served { state: state(broker, settings), console, refreshes: config.refresh.enabled }
}

/// The settings of the web server at `server.listen`.
#[must_use]
pub fn http_settings(config: &Config) -> http::Settings {
    let mut settings = http::Settings::new(config.server.public_url.clone());
    settings.trusted_proxies.clone_from(&config.server.trusted_proxies);
    settings.pages = config.pages.clone();
    settings.connections.all = process::connections(config.limits.connections);
    settings.connections.per_address = config.limits.connections_per_address;
    settings.bodies = config.limits.bodies;
    if config.console.as_ref().is_some_and(|console| console.listen.is_none()) {
        settings.console = http::Console::Beside;
    }
    settings
}

/// The settings that need a restart.
fn fixed(config: &Config) -> Vec<(&'static str, String)> {
    let metrics = config.server.metrics_listen.map_or_else(|| "unset".to_owned(), |address| address.to_string());
    let console = match &config.console {
        None => "off".to_owned(),
        Some(console) => console.listen.map_or_else(|| "beside the API".to_owned(), |address| address.to_string()),
    };
    vec![
        ("console", console),
        ("server.listen", config.server.listen.to_string()),
        ("server.metrics_listen", metrics),
        ("database.path", config.database.display().to_string()),
        ("log.format", <&str>::from(config.log.format).to_owned()),
        ("log.level", <&str>::from(config.log.level).to_owned()),
    ]
}

/// The configuration that is wanted, with the settings that need a restart as they are in use.
fn keep_fixed(used: &Config, wanted: Config) -> Config {
    let mut server = wanted.server;
    (server.listen, server.metrics_listen) = (used.server.listen, used.server.metrics_listen);
    Config { console: used.console.clone(), database: used.database.clone(), log: used.log, server, ..wanted }
}

fn is_at_a_terminal() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_needs_a_restart_stays_and_the_rest_is_new() {
        let read = |toml: &str| config::from_str("x", toml, Path::new("/srv"), &Environment::default()).unwrap();
        let used = read("[database]\npath = \"a.db\"\n[console]\n[server]\nlisten = \"127.0.0.1:8080\"");
        let wanted = "[database]\npath = \"b.db\"\n[server]\nlisten = \"127.0.0.1:8081\"\nmetrics_listen = \"127.0.0.1:9\"\n\
                      [log]\nlevel = \"trace\"\n[limits]\nbodies_mib = 3\n[backup]\ndir = \"copies\"";
        let kept = keep_fixed(&used, read(wanted));
        assert_eq!(fixed(&kept), fixed(&used));
        assert_eq!(http_settings(&kept).console, http::Console::Beside);
        assert_eq!(crate::app::backup_schedule(&kept).unwrap().database, used.database);
        assert_eq!(kept.limits.bodies, 3 << 20);
    }
}
