//! The option --config of all commands that read the configuration.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Exit, Failure};
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
    /// The file `postpeer.toml` in a directory.
    pub(super) fn in_directory(dir: &Path) -> Self {
        Self { config: Some(dir.join(DEFAULT)) }
    }

    /// The file to read. `None` where environment variables alone are the configuration, as in a container: they set a
    /// key, no file is named, and none is in the default place.
    pub(super) fn file(&self, environment: &Environment) -> Option<PathBuf> {
        self.named(environment).or_else(|| {
            let default = PathBuf::from(DEFAULT);
            (is_there(&default) || !environment.has_settings()).then_some(default)
        })
    }

    pub(super) fn load(&self, environment: &Environment) -> Result<Config, Failure> {
        match self.file(environment) {
            Some(path) => Ok(config::load(&path, environment, &[])?),
            None => defaults(environment),
        }
    }

    /// Reads the configuration; where no file is named and none is in its default place, the defaults and the
    /// environment.
    pub(super) fn load_or_defaults(&self, environment: &Environment) -> Result<Config, Failure> {
        if self.named(environment).is_none() && !Path::new(DEFAULT).exists() {
            eprintln!("There is no {DEFAULT} here: these are the defaults.");
            return defaults(environment);
        }
        self.load(environment)
    }

    /// Reads the configuration of a broker that was set up. Where it was not, the failure names the command that helps.
    pub(super) fn load_set_up(&self, environment: &Environment) -> Result<Config, Failure> {
        let config = self.load(environment)?;
        let (database, keyring) = (config.database.display(), config.keyring.display());
        match (is_there(&config.database), is_there(&config.keyring)) {
            (false, false) => Err(Failure::new(
                Exit::Config,
                format!(
                    "the broker is not set up: there is neither a keyring at {keyring} nor a database at {database}. \
                     `{}` makes both",
                    self.init()
                ),
            )),
            (false, true) => Err(Failure::new(
                Exit::NoInput,
                format!(
                    "there is no database at {database}, though its keyring is at {keyring}. If there was a database, put a \
                     copy from a backup there. If not, `{}` makes one for this keyring",
                    self.init()
                ),
            )),
            // Without a keyring, opening the database says what to do.
            (true, _) => Ok(config),
        }
    }

    fn named(&self, environment: &Environment) -> Option<PathBuf> {
        self.config.clone().or_else(|| environment.get("POSTPEER_CONFIG").map(PathBuf::from))
    }

    /// The command that completes this configuration's files.
    fn init(&self) -> String {
        match &self.config {
            Some(file) => format!("postpeer init --config {}", file.display()),
            None => "postpeer init".to_owned(),
        }
    }

    /// Opens the database for a command that may work beside a running broker.
    pub(super) fn desk(&self, environment: &Environment) -> Result<Desk, Failure> {
        Ok(Desk::open(&self.load_set_up(environment)?, &Ports::system())?)
    }
}

/// The defaults, overridden by the environment. Paths are relative to the working directory.
fn defaults(environment: &Environment) -> Result<Config, Failure> {
    Ok(config::from_str(DEFAULT, "", Path::new(""), environment, &[])?)
}

/// True when something has this name, even a dangling link, or when nobody can tell.
pub(super) fn is_there(path: &Path) -> bool {
    !matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Warnings about a configuration that works.
pub(super) fn warnings(config: &Config, clock: &dyn Clock) -> Vec<String> {
    let ending = config.platforms.ending_versions(clock.now().day()).map(|ending| ending.what_to_do());
    config.warnings.iter().cloned().chain(ending).collect()
}
