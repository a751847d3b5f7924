//! `postpeer init`: sets up a broker, or completes what is missing of one.
//!
//! Invariant: no file is overwritten, and a failure leaves none behind that was not there, but for a recovery key that
//! a database from before needs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::ExposeSecret as _;
use url::Url;

use super::access_key::{not_created, take_back};
use super::failure::{Exit, Failure};
use super::files::{beside, folder_of};
use super::settings::{ConfigFile, is_there};
use super::{keyring, output, owner, process};
use crate::app::{self, Desk, Ports};
use crate::config::{self, EXAMPLE, Environment, parse_public_url};
use crate::domain::access_key::Scope;
use crate::domain::id::AccessKeyId;
use crate::domain::project::DEFAULT_PROJECT;
use crate::domain::redirect::is_loopback;
use crate::domain::secret::SecretString;
use crate::domain::shell::quoted;

const PUBLIC_URL: &str = "http://127.0.0.1:8080";
const PUBLIC_URL_VARIABLE: &str = "POSTPEER_SERVER__PUBLIC_URL";
/// Lines of the example that `init` replaces.
const PUBLIC_URL_LINE: &str = "public_url = \"http://127.0.0.1:8080\"";
const LISTEN: &str = "listen = \"127.0.0.1:8080\"";

/// Set up a broker: write those of its files that are missing (configuration, keyring, database), and print the first
/// access key
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postpeer init --dir /srv/postpeer --public-url https://connect.example.com
  postpeer init --recovery-key /media/usb/postpeer.recovery
  POSTPEER_SERVER__PUBLIC_URL=https://connect.example.com postpeer init   # no file: the environment is the configuration")]
pub(super) struct Arguments {
    /// Directory for the files; created if missing [default: that of the configuration]
    #[arg(long, conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// URL at which browsers reach the broker, with a path if it shares the host [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Also write a recovery key to this new file, for the day when the keyring is lost; keep it offline
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: Arguments, environment: &Environment) -> Result<(), Failure> {
    let public_url = arguments
        .public_url
        .map(|url| parse_public_url(&url).map_err(|why| Failure::new(Exit::Usage, format!("--public-url {why}"))))
        .transpose()?;
    process::harden();
    let source = arguments.dir.map_or(arguments.config, |dir| ConfigFile::in_directory(&dir));
    let mut made = Made::default();
    let first = set_up(&source, environment, public_url.as_ref(), arguments.recovery_key.as_deref(), &mut made)
        .map_err(|failure| made.told(failure))?;
    let created = made.give().map_err(|failure| made.told(failure))?;
    if created.is_empty() {
        say!(
            "{}",
            if first.is_some() {
                "Only an access key was missing."
            } else {
                "Nothing is missing, and nothing was changed."
            }
        );
    } else {
        let created: Vec<String> = created.iter().map(|path| path.display().to_string()).collect();
        say!("Created {}.", created.join(", "));
        tell_what_is_next(source.file(environment).as_deref());
    }
    let Some((id, key)) = first else {
        made.keep();
        return Ok(());
    };
    say!(
        "\nThe first access key, for the header x-access-key. It connects, reads and manages accounts, and reads no tokens: \
         for those, run `postpeer access-key create --name NAME --scope read,connect,manage,tokens{}`. It is shown only this \
         once:",
        source.option()
    );
    let printed = print_key(&key);
    if !made.has_database {
        made.keep();
        return printed.map_err(|failure| match source.desk(environment) {
            Ok(desk) => take_back(&desk, &source, id, failure),
            Err(_) => failure.and(&format!(
                "Nobody has seen the key: revoke it with `postpeer access-key revoke {id}{}`",
                source.option()
            )),
        });
    }
    // A database whose only key nobody has seen is of no use.
    printed
        .map_err(|failure| failure.and("Nobody has seen the key, so everything that was created is removed again"))?;
    made.keep();
    Ok(())
}

/// `file`: the configuration; `None` where it is the environment.
fn tell_what_is_next(file: Option<&Path>) {
    let option = file.map(|file| format!(" --config {}", quoted(file))).unwrap_or_default();
    let place = file.map_or("the environment".to_owned(), |file| file.display().to_string());
    say!("\nNext:");
    say!("  1. Back up the keyring, apart from the backups of the database: its secrets are lost without it.");
    say!("  2. Add the credentials of your platforms to {place}.");
    say!("  3. postpeer check{option}   prints the callback URLs to register");
    say!("  4. postpeer serve{option}");
}

#[expect(clippy::disallowed_methods, reason = "the first key is printed once, for the operator who sets the broker up")]
fn print_key(key: &SecretString) -> Result<(), Failure> {
    output::only_once(key.expose_secret())
}

/// Completes what is missing, and overwrites nothing. Notes each file that it made. Returns a key where the broker
/// has none yet.
fn set_up(
    source: &ConfigFile,
    environment: &Environment,
    public_url: Option<&Url>,
    recovery_key: Option<&Path>,
    made: &mut Made,
) -> Result<Option<(AccessKeyId, SecretString)>, Failure> {
    let file = source.file(environment);
    let wanted = public_url.map(config::base);
    let set = environment.get(PUBLIC_URL_VARIABLE).and_then(|set| parse_public_url(set).ok());
    if let Some((wanted, set)) = wanted.as_ref().zip(set.as_ref().map(config::base)).filter(|(a, b)| **a != *b) {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--public-url is {wanted}, but {PUBLIC_URL_VARIABLE} is {set}, and wins over the configuration file whenever the \
                 broker reads it: correct or unset it. Nothing was changed"
            ),
        ));
    }
    if let Some(file) = file.as_deref().filter(|file| !is_there(file)) {
        let default = || parse_public_url(PUBLIC_URL).map_err(|why| Failure::new(Exit::Software, why));
        let public_url = public_url.cloned().map_or_else(default, Ok)?;
        made.directory(file.parent().unwrap_or(Path::new("")))?;
        write_new(file, &configuration(&public_url))
            .map_err(|error| Failure::io(&format!("cannot write {}", file.display()), &error))?;
        made.file(file);
    }
    check_leads_somewhere(file.as_deref())?;
    if let Some(wanted) = wanted.as_ref().filter(|_| file.is_none() && environment.get(PUBLIC_URL_VARIABLE).is_none()) {
        return Err(Failure::new(
            Exit::CannotCreate,
            format!(
                "there is no configuration file that could keep --public-url, because the environment is the configuration: set \
                 {PUBLIC_URL_VARIABLE}={wanted} there, for `serve` as well"
            ),
        ));
    }
    let config = source.load(environment)?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != config.server.public_url) {
        let place = file.map_or("the environment".to_owned(), |file| file.display().to_string());
        return Err(Failure::new(
            Exit::CannotCreate,
            format!(
                "--public-url is {wanted}, but with {place} it is {}, and nothing was changed: change server.public_url",
                config.server.public_url
            ),
        ));
    }
    let ports = Ports::system();
    if !is_there(&config.database) {
        check_folder("database.path", &config.database)?;
        check_folder("keyring.path", &config.keyring)?;
        let keyring_is_new = !is_there(&config.keyring);
        app::initialise(&config, &ports)?;
        made.database(&config.database);
        if keyring_is_new {
            made.file(&config.keyring);
        }
    }
    let desk = Desk::open(&config, &ports)?;
    if let Some(file) = recovery_key {
        check_no_recovery_key(&desk, source, file)?;
        keyring::make_recovery_key(&desk, &config, file, made.has_database)?;
        made.recovery_key = Some(file.to_owned());
    }
    if !desk.run(|broker| async move { broker.list_access_keys().await })?.is_empty() {
        return Ok(None);
    }
    let (key, plain) = desk
        .run(|broker| async move { broker.create_access_key(DEFAULT_PROJECT, "first key", &Scope::DEFAULT).await })
        .map_err(|error| if made.has_database { error.into() } else { not_created(error, source) })?;
    Ok(Some((key.id, plain)))
}

/// Fails where a link in the configuration's place leads nowhere.
fn check_leads_somewhere(file: Option<&Path>) -> Result<(), Failure> {
    let Some((file, target)) = file.and_then(|file| Some((file, fs::read_link(file).ok()?))) else { return Ok(()) };
    if file.exists() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Config,
        format!(
            "{} is a link to {}, which is not there: mount or create what it leads to, or remove the link",
            file.display(),
            target.display()
        ),
    ))
}

/// Fails where the folder of a file to create is missing. `key`: the setting that names the file.
fn check_folder(key: &str, file: &Path) -> Result<(), Failure> {
    let folder = folder_of(file);
    if folder.exists() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Config,
        format!("there is no folder {} for {}: create it, or correct {key}", folder.display(), file.display()),
    ))
}

/// Fails where the broker has a recovery key: a new one would end it.
fn check_no_recovery_key(desk: &Desk, source: &ConfigFile, file: &Path) -> Result<(), Failure> {
    let found = desk.run(|broker| async move { broker.find_recovery_key().await })?;
    let Some(id) = found else { return Ok(()) };
    Err(Failure::new(
        Exit::CannotCreate,
        format!(
            "this broker has the recovery key {id} already, and it stays as it is. To replace it by a new one: `postpeer \
             keyring rewrap --recovery-key {}{}`",
            quoted(file),
            source.option()
        ),
    ))
}

/// The example with this broker's URL. With http on loopback there is no proxy, so the broker listens on that address.
fn configuration(public_url: &Url) -> String {
    let text = EXAMPLE.replace(PUBLIC_URL_LINE, &format!("public_url = \"{}\"", config::base(public_url)));
    let port = public_url.port_or_known_default().unwrap_or(80);
    match public_url.host() {
        Some(url::Host::Ipv6(ip)) if is_plain_loopback(public_url) => {
            text.replace(LISTEN, &format!("listen = \"[{ip}]:{port}\""))
        }
        Some(url::Host::Ipv4(ip)) if is_plain_loopback(public_url) => {
            text.replace(LISTEN, &format!("listen = \"{ip}:{port}\""))
        }
        Some(_) if is_plain_loopback(public_url) => text.replace(LISTEN, &format!("listen = \"127.0.0.1:{port}\"")),
        _ => text,
    }
}

fn is_plain_loopback(url: &Url) -> bool {
    url.scheme() == "http" && is_loopback(url)
}

/// Writes a new file that only its owner can read: it will hold client secrets.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| sync_name(path)).inspect_err(|_| {
        // A partial file would be taken for the configuration.
        let _ = fs::remove_file(path);
    })
}

/// Syncs the folder that a new file or directory is in.
fn sync_name(path: &Path) -> io::Result<()> {
    fs::File::open(folder_of(path))?.sync_all()
}

/// The files and directories created so far. Removes them when dropped before [`Made::keep`].
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// Outermost first.
    directories: Vec<PathBuf>,
    has_database: bool,
    /// Stays where the database does: that needs it.
    recovery_key: Option<PathBuf>,
}

impl Made {
    /// Creates a directory and the missing ones above it, private to this user.
    fn directory(&mut self, dir: &Path) -> Result<(), Failure> {
        let above = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        self.directories = above.map(Path::to_owned).collect();
        self.directories.reverse();
        for directory in &self.directories {
            DirBuilder::new()
                .mode(0o700)
                .create(directory)
                .and_then(|()| sync_name(directory))
                .map_err(|error| Failure::io(&format!("cannot create {}", directory.display()), &error))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    /// Notes a database and the files that SQLite and the lock put beside it.
    fn database(&mut self, path: &Path) {
        self.has_database = true;
        for suffix in ["", "-wal", "-shm", "-journal", ".lock"] {
            self.files.push(beside(path, suffix));
        }
    }

    /// Gives the files to the broker's user, and returns them. Those that SQLite removed again, and those of the lock,
    /// are left out.
    fn give(&mut self) -> Result<Vec<PathBuf>, Failure> {
        self.files.retain(|file| is_there(file));
        let files = self.files.iter().chain(&self.recovery_key);
        for file in files.clone() {
            owner::give(file)?;
        }
        let is_lock = |file: &Path| file.extension().is_some_and(|ending| ending == "lock");
        Ok(files.filter(|file| !is_lock(file)).cloned().collect())
    }

    /// The failure, and the file that stays nevertheless.
    fn told(&self, failure: Failure) -> Failure {
        match &self.recovery_key {
            Some(file) if !self.has_database => failure.and(&format!(
                "{} stays: it holds the recovery key that this database has from now on",
                file.display()
            )),
            _ => failure,
        }
    }

    /// Lets the files stay.
    fn keep(mut self) {
        self.directories.clear();
        self.files.clear();
        self.recovery_key = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // SQLite has removed some of the files already.
        for file in self.files.iter().chain(self.recovery_key.iter().filter(|_| self.has_database)) {
            let _ = fs::remove_file(file);
        }
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown};

    use super::*;

    fn settings(public_url: &str) -> config::Config {
        let text = configuration(&parse_public_url(public_url).unwrap());
        config::from_str("postpeer.toml", &text, Path::new(""), &Environment::default()).unwrap()
    }

    #[test]
    fn the_configuration_has_the_public_url_and_a_matching_listen_address() {
        let public = settings("https://connect.example.com/");
        assert_eq!(public.server.public_url, "https://connect.example.com");
        assert_eq!(public.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings("https://example.com/connect-svc/").server.public_url, "https://example.com/connect-svc");
        let local = settings("http://localhost:9000");
        assert_eq!(local.server.public_url, "http://localhost:9000");
        assert_eq!(local.server.listen.to_string(), "127.0.0.1:9000");
        assert_eq!(settings("http://[::1]:9000").server.listen.to_string(), "[::1]:9000");
    }

    #[test]
    fn a_set_up_by_root_belongs_to_the_owner_of_the_directory() {
        let root = tempfile::tempdir().unwrap();
        // Only root can give files away.
        if chown(root.path(), Some(12_345), Some(12_345)).is_err() {
            return;
        }
        let source = ConfigFile::in_directory(root.path());
        let mut made = Made::default();
        set_up(&source, &Environment::default(), None, Some(&root.path().join("recovery")), &mut made).unwrap();
        made.give().unwrap();
        made.keep();
        let files: Vec<_> = fs::read_dir(root.path()).unwrap().map(|file| file.unwrap()).collect();
        assert!(files.len() >= 5, "{files:?}");
        for file in files {
            assert_eq!(file.metadata().unwrap().uid(), 12_345, "{}", file.path().display());
        }
    }

    #[test]
    fn a_failed_set_up_removes_what_it_created_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let mut made = Made::default();
        made.directory(&dir).unwrap();
        made.database(&dir.join("postpeer.db"));
        fs::write(dir.join("postpeer.db"), "x").unwrap();
        drop(made);
        assert!(!root.path().join("a").exists());
        assert!(root.path().exists());
    }
}
