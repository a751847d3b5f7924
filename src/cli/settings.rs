//! The option --config of all commands that read the configuration.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::app::{Desk, Ports};
use crate::config::{self, Config, Environment};

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// Configuration file [default: $POSTPEER_CONFIG, then ./postpeer.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    pub(super) fn load(&self, environment: &Environment) -> Result<Config, Failure> {
        let path = self
            .config
            .clone()
            .or_else(|| environment.get("POSTPEER_CONFIG").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("postpeer.toml"));
        Ok(config::load(&path, environment, &[])?)
    }

    /// Opens the database for a command that may work beside a running broker.
    pub(super) fn desk(&self, environment: &Environment) -> Result<Desk, Failure> {
        Ok(Desk::open(&self.load(environment)?, &Ports::system())?)
    }
}

/// Prints what the operator should know although it works.
pub(super) fn tell_warnings(config: &Config) {
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
}
