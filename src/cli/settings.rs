//! The option --config of all commands that read the configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use crate::app::{Desk, Ports};
use crate::config::{self, Config, Environment};
use crate::domain::time::Clock;

const DEFAULT: &str = "postpeer.toml";

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// Configuration file [default: $POSTPEER_CONFIG, then ./postpeer.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    pub(super) fn load(&self, environment: &Environment) -> Result<Config, Failure> {
        let path = self.named(environment).unwrap_or_else(|| PathBuf::from(DEFAULT));
        Ok(config::load(&path, environment, &[])?)
    }

    /// Reads the configuration; where no file is named and none is in its default place, the defaults and the
    /// environment.
    pub(super) fn load_or_defaults(&self, environment: &Environment) -> Result<Config, Failure> {
        if self.named(environment).is_none() && !Path::new(DEFAULT).exists() {
            eprintln!("There is no {DEFAULT} here: these are the defaults.");
            return Ok(config::from_str(DEFAULT, "", Path::new(""), environment, &[])?);
        }
        self.load(environment)
    }

    fn named(&self, environment: &Environment) -> Option<PathBuf> {
        self.config.clone().or_else(|| environment.get("POSTPEER_CONFIG").map(PathBuf::from))
    }

    /// Opens the database for a command that may work beside a running broker.
    pub(super) fn desk(&self, environment: &Environment) -> Result<Desk, Failure> {
        Ok(Desk::open(&self.load(environment)?, &Ports::system())?)
    }
}

/// Warnings about a configuration that works.
pub(super) fn warnings(config: &Config, clock: &dyn Clock) -> Vec<String> {
    let ending = config.platforms.ending_versions(clock.now().day()).map(|ending| ending.what_to_do());
    config.warnings.iter().cloned().chain(ending).collect()
}
