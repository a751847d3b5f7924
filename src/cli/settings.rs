//! The option --config of all commands that read the configuration, and what `check` and `doctor` both find in it, in
//! the keyring and in the database.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Exit, Failure};
use super::files::unreadable;
use super::finding::Finding;
use super::listening::warn_of_another;
use crate::app::{self, Desk, Ports};
use crate::config::{self, Config, Environment, Mistake, Mistakes};
use crate::domain::error_chain::chain;
use crate::domain::shell::quoted;
use crate::domain::time::Clock;
use crate::platforms::About;
use crate::store::{Holder, OpenError, find_holder};
use crate::vault::KeyringError;

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
        Ok(self.read(environment)?)
    }

    /// Reads the configuration. The error lists each mistake.
    pub(super) fn read(&self, environment: &Environment) -> Result<Config, config::Error> {
        match self.file(environment) {
            Some(path) => config::load(&path, environment),
            None => defaults(environment),
        }
    }

    /// Reads the configuration; where no file is named and none is in its default place, the defaults and the
    /// environment.
    pub(super) fn load_or_defaults(&self, environment: &Environment) -> Result<Config, Failure> {
        if self.named(environment).is_none() && !Path::new(DEFAULT).exists() {
            let rest = if environment.has_settings() { ", and the settings of the environment" } else { "" };
            say!("There is no {DEFAULT} here: these are the defaults{rest}.");
            return Ok(defaults(environment)?);
        }
        self.load(environment)
    }

    /// Reads the configuration of a broker that was set up. Where it was not, the failure names the command that helps.
    pub(super) fn load_set_up(&self, environment: &Environment) -> Result<Config, Failure> {
        let config = self.load(environment)?;
        self.check_set_up(&config)?;
        Ok(config)
    }

    /// Fails where the broker was not set up, and names the command that helps.
    pub(super) fn check_set_up(&self, config: &Config) -> Result<(), Failure> {
        let (database, keyring, option) = (config.database.display(), config.keyring.display(), self.option());
        match (is_there(&config.database), is_there(&config.keyring)) {
            (false, false) => Err(Failure::new(
                Exit::Config,
                format!(
                    "the broker is not set up: there is neither a keyring at {keyring} nor a database at {database}. \
                     If it ran before, mount their volume, or restore a backup: `postpeer restore FILE{option}`, with the \
                     copy of the keyring in its place or with --recovery-key FILE. Only if it is new: `postpeer init{option}` \
                     makes both"
                ),
            )),
            (false, true) => Err(Failure::new(
                Exit::NoInput,
                format!(
                    "there is no database at {database}, though its keyring is at {keyring}. If there was a database, put a \
                     backup there with `postpeer restore FILE{option}`. If not, `postpeer init{option}` makes one for this \
                     keyring"
                ),
            )),
            // Without a keyring, opening the database says what to do.
            (true, _) => Ok(()),
        }
    }

    fn named(&self, environment: &Environment) -> Option<PathBuf> {
        self.config.clone().or_else(|| environment.get("POSTPEER_CONFIG").map(PathBuf::from))
    }

    /// The option that names the same configuration in a command for people to run, with a space before it. Empty where
    /// none was given.
    pub(super) fn option(&self) -> String {
        self.config.as_deref().map(|file| format!(" --config {}", quoted(file))).unwrap_or_default()
    }

    /// Opens the database for a command that may work beside a running broker.
    pub(super) fn desk(&self, environment: &Environment) -> Result<Desk, Failure> {
        let config = self.load_set_up(environment)?;
        warn_of_another(&config);
        Ok(Desk::open(&config, &Ports::system())?)
    }
}

/// The defaults, overridden by the environment. Paths are relative to the working directory.
fn defaults(environment: &Environment) -> Result<Config, config::Error> {
    config::from_str(DEFAULT, "", Path::new(""), environment)
}

/// True when something has this name, even a dangling link, or when nobody can tell.
pub(super) fn is_there(path: &Path) -> bool {
    !matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Warnings about a configuration that works.
pub(super) fn warnings(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let ending = config.platforms.remarks(clock.now().day()).into_iter();
    let ending = ending.filter(|remark| remark.about == About::ApiVersion);
    let ending = ending.map(|remark| Finding::warning("api_version", "", remark.sentence).remedy(remark.remedy));
    config.warnings.iter().map(|warning| Finding::warning("configuration", "", warning)).chain(ending).collect()
}

/// The mistakes of a configuration that does not work.
pub(super) fn mistakes(error: &config::Error) -> Vec<Finding> {
    let config::Error::Mistakes(Mistakes(mistakes)) = error else {
        return vec![Finding::error(Exit::Config, "configuration", "", chain(error))];
    };
    let finding = |mistake: &Mistake| Finding::error(Exit::Config, "configuration", "", mistake.to_string());
    mistakes.iter().map(finding).collect()
}

/// A keyring that cannot be used.
pub(super) fn keyring_finding(config: &Config, error: KeyringError) -> Finding {
    let remedy = match &error {
        KeyringError::Exposed { remedy, .. } => remedy.clone(),
        KeyringError::Missing { .. } => "put your copy of it there, or postpeer keyring recover FILE".to_owned(),
        _ => String::new(),
    };
    Finding::failure("keyring", config.keyring.display(), Failure::from(app::Error::from(error))).remedy(remedy)
}

/// A database that cannot be used.
pub(super) fn database_finding(config: &Config, check: &'static str, error: OpenError) -> Finding {
    let remedy = match &error {
        OpenError::Damaged { .. } => "postpeer restore FILE".to_owned(),
        OpenError::Missing { .. } => "mount its volume, or postpeer restore FILE".to_owned(),
        OpenError::WorldWritable { directory } => format!("chmod o-w {}", quoted(directory)),
        _ => String::new(),
    };
    Finding::failure(check, config.database.display(), Failure::from(app::Error::from(error))).remedy(remedy)
}

/// The process that uses the database. Adds a finding where that cannot be found out.
pub(super) fn holder(config: &Config, findings: &mut Vec<Finding>) -> Option<Holder> {
    find_holder(&config.database).unwrap_or_else(|error| {
        findings.push(unreadable("database", &config.database, &error));
        None
    })
}
