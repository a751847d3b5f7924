//! `postpeer init`: sets up a new broker.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::ExposeSecret as _;
use url::Url;

use super::failure::{Exit, Failure};
use super::{keyring, output, process};
use crate::app::{self, Desk, Ports};
use crate::config::{self, EXAMPLE, Environment, parse_public_url};
use crate::domain::access_key::Scope;
use crate::domain::project::DEFAULT_PROJECT;
use crate::domain::redirect::is_loopback;
use crate::domain::secret::SecretString;

const CONFIG: &str = "postpeer.toml";
const FILES: [&str; 3] = [CONFIG, "postpeer.keyring", "postpeer.db"];
/// Lines of the example that `init` replaces.
const PUBLIC_URL: &str = "public_url = \"http://127.0.0.1:8080\"";
const LISTEN: &str = "listen = \"127.0.0.1:8080\"";

/// Set up a new broker: write its configuration, keyring and database, and print the first access key
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer init --dir /srv/postpeer --public-url https://connect.example.com\n  postpeer init --recovery-key /media/usb/postpeer.recovery"
)]
pub(super) struct Arguments {
    /// Directory for the files; created if missing
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// URL at which browsers reach the broker, with a path if it shares the host
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    public_url: String,
    /// Also write a recovery key to this new file, for the day when the keyring is lost; keep it offline
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let public_url = parse_public_url(&arguments.public_url)
        .map_err(|why| Failure::new(Exit::Usage, format!("--public-url {why}")))?;
    process::harden();
    let dir = &arguments.dir;
    refuse_to_overwrite(dir)?;
    let mut made = Made::default();
    let key = set_up(dir, &public_url, arguments.recovery_key.as_deref(), &mut made)?;
    made.keep();

    eprintln!("Created {} in {}.", FILES.join(", "), dir.display());
    eprintln!("\nNext:");
    eprintln!(
        "  1. Back up postpeer.keyring, apart from the backups of the database: its secrets are lost without it."
    );
    eprintln!("  2. Add the credentials of your platforms to {}.", dir.join(CONFIG).display());
    eprintln!("  3. postpeer check --config {}   prints the callback URLs to register", dir.join(CONFIG).display());
    eprintln!("  4. postpeer serve --config {}", dir.join(CONFIG).display());
    eprintln!("\nThe first access key, for the header x-access-key. It is shown only this once:");
    print_key(&key)
}

#[expect(clippy::disallowed_methods, reason = "the first key is printed once, for the operator who sets the broker up")]
fn print_key(key: &SecretString) -> Result<(), Failure> {
    output::result(key.expose_secret())
}

fn refuse_to_overwrite(dir: &Path) -> Result<(), Failure> {
    let there: Vec<String> = FILES
        .iter()
        .map(|name| dir.join(name))
        // A dangling link counts as a file.
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    let (verb, what) = if there.len() == 1 { ("exists", "was") } else { ("exist", "were") };
    Err(Failure::new(
        Exit::CannotCreate,
        format!("{} already {verb} and {what} not changed: name another directory with --dir", there.join(", ")),
    ))
}

/// Writes all files and creates the first key. Notes each file before writing it.
fn set_up(dir: &Path, public_url: &Url, recovery_key: Option<&Path>, made: &mut Made) -> Result<SecretString, Failure> {
    made.directory(dir)?;
    let file = dir.join(CONFIG);
    made.file(&file);
    write_new(&file, &configuration(public_url))
        .map_err(|error| Failure::io(&format!("cannot write {}", file.display()), &error))?;
    let config = config::load(&file, &Environment::default(), &[])?;
    let ports = Ports::system();
    made.file(&config.keyring);
    made.database(&config.database);
    app::initialise(&config, &ports)?;
    let desk = Desk::open(&config, &ports)?;
    if let Some(file) = recovery_key {
        keyring::make_recovery_key(&desk, &config, file)?;
        made.file(file);
    }
    let (_, key) = desk
        .run(|broker| async move { broker.create_access_key(DEFAULT_PROJECT, "first key", &Scope::DEFAULT).await })?;
    Ok(key)
}

/// The example with this broker's URL. With http on loopback there is no proxy, so the broker listens on that address.
fn configuration(public_url: &Url) -> String {
    let text = EXAMPLE.replace(PUBLIC_URL, &format!("public_url = \"{}\"", config::base(public_url)));
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
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The files and directories created so far. Removes them when dropped before [`Made::keep`].
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// Outermost first.
    directories: Vec<PathBuf>,
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
                .map_err(|error| Failure::io(&format!("cannot create {}", directory.display()), &error))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    /// Notes a database and the files that SQLite and the lock put beside it.
    fn database(&mut self, path: &Path) {
        for suffix in ["", "-wal", "-shm", "-journal", ".lock"] {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            self.files.push(name.into());
        }
    }

    fn keep(mut self) {
        self.files.clear();
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Files that were noted but not yet created are not there: ignore the errors.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(public_url: &str) -> config::Config {
        let text = configuration(&parse_public_url(public_url).unwrap());
        config::from_str(CONFIG, &text, Path::new(""), &Environment::default(), &[]).unwrap()
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
