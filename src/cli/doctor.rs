//! `postpeer doctor`: looks at everything that the broker keeps, and changes nothing.
//!
//! Invariant: no file is created, written, migrated or repaired, whether a broker runs or not. (Where a log lies
//! without its index, `-shm`, SQLite makes that anew to read the log.) Memory does not grow with the number of
//! accounts.

mod database;
mod surroundings;

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;

use super::failure::Failure;
use super::files::permissions;
use super::finding::{Finding, as_json, as_text, conclude};
use super::platforms::to_register;
use super::settings::{ConfigFile, holder, mistakes, warnings};
use super::{output, process};
use crate::config::{Config, Environment};
use crate::domain::time::{Clock, SystemClock};
use crate::platforms::registry::Listing;
use surroundings::Surroundings;

/// Look at the database, the keys, the disk and the files; changes nothing, and works beside a running broker
///
/// Reads the whole database, which takes some seconds for each 100,000 accounts. Exits with 0 if there is no error,
/// with 65 if the database is damaged, 66 if it is missing, 74 on an I/O error, 78 on an error in configuration,
/// keyring or permissions.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer doctor --config /etc/postpeer/postpeer.toml\n  postpeer doctor --json | jq '.findings[] | select(.severity != \"ok\")'"
)]
pub(super) struct Arguments {
    /// Print JSON: {"findings": [{"check", "severity", "subject", "message", "remedy"}], "worst"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<(), Failure> {
    process::harden();
    let findings = match arguments.config.read(environment) {
        Ok(config) => examine(&config, &arguments.config, environment, &SystemClock),
        Err(error) => mistakes(&error),
    };
    output::result(&if arguments.json { as_json(&findings).to_string() } else { as_text(&findings) })?;
    conclude(&findings)
}

fn examine(config: &Config, source: &ConfigFile, environment: &Environment, clock: &dyn Clock) -> Vec<Finding> {
    let config_file = source.file(environment);
    let config_file = config_file.as_deref();
    let mut findings = warnings(config, clock);
    if findings.is_empty() {
        let file = config_file.map_or_else(|| "the environment".to_owned(), |file| file.display().to_string());
        findings.push(Finding::ok("configuration", file, "no mistakes, no warnings"));
    }
    let progress = Progress::new();
    let mut found = database::examine(config, source, &progress);
    progress.end();
    findings.append(&mut found.findings);
    let holder = holder(config, &mut findings);
    let surroundings = Surroundings { config, config_file, now: clock.now(), holder };
    findings.extend(surroundings.disk());
    findings.extend(surroundings.clock(found.newest));
    findings.extend(permissions(config, config_file));
    findings.extend(surroundings.leftovers(found.db_id));
    findings.extend(surroundings.backups(found.db_id, found.keyring.as_ref()));
    findings.extend(callbacks(config));
    findings
}

/// The URL to register at each platform that can be connected.
fn callbacks(config: &Config) -> Vec<Finding> {
    let listings = config.platforms.listings().into_iter();
    listings
        .filter(Listing::is_ready)
        .filter_map(|one| {
            let url = to_register(config, &one).ok()?;
            Some(Finding::ok("callback_url", one.name, format!("{url} must be registered there")))
        })
        .collect()
}

/// One line on a terminal that says how far the command is.
struct Progress {
    is_shown: bool,
}

impl Progress {
    /// Rows between two messages.
    const EVERY: u64 = 10_000;

    fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal() }
    }

    fn tell(&self, what: &str) {
        if self.is_shown {
            // A terminal that is gone needs no progress.
            let _ = write!(io::stderr(), "\r\x1b[K{what} …");
        }
    }

    fn count(&self, what: &str, number: u64) {
        if number.is_multiple_of(Self::EVERY) {
            self.tell(&format!("{what}: {number}"));
        }
    }

    fn end(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
