//! `postpeer init`: a new instance.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::ExposeSecret as _;
use url::Url;

use super::failure::{Exit, Failure};
use super::{output, process};
use crate::app::{self, Desk, Ports};
use crate::config::{self, EXAMPLE, Environment, parse_public_url};
use crate::domain::access_key::Scope;
use crate::domain::project::DEFAULT_PROJECT;
use crate::domain::redirect::is_loopback;
use crate::domain::secret::SecretString;

const CONFIG: &str = "postpeer.toml";
const FILES: [&str; 3] = [CONFIG, "postpeer.keyring", "postpeer.db"];
/// What stands in the example, to be replaced.
const PUBLIC_URL: &str = "public_url = \"http://127.0.0.1:8080\"";
const LISTEN: &str = "listen = \"127.0.0.1:8080\"";

/// Set up a new broker: write its configuration, keyring and database, and print the first access key
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer init --dir /srv/postpeer --public-url https://connect.example.com")]
pub(super) struct Arguments {
    /// Where to write; made if it is not there
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Where browsers will reach the broker: scheme, host and port
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    public_url: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let public_url = parse_public_url(&arguments.public_url)
        .map_err(|why| Failure::new(Exit::Usage, format!("--public-url {why}")))?;
    process::harden();
    let dir = &arguments.dir;
    refuse_to_overwrite(dir)?;
    let mut made = Made::default();
    let key = set_up(dir, &public_url, &mut made)?;
    made.keep();

    eprintln!("Made {} in {}.", FILES.join(", "), dir.display());
    eprintln!("\nNext:");
    eprintln!(
        "  1. Back up postpeer.keyring: without it the database cannot be read. Not next to the database's backup."
    );
    eprintln!("  2. Put the credentials of your platforms into {}.", dir.join(CONFIG).display());
    eprintln!("  3. postpeer check --config {}   prints the callback URLs to register", dir.join(CONFIG).display());
    eprintln!("  4. postpeer serve --config {}", dir.join(CONFIG).display());
    eprintln!("\nThe first access key, for the header x-access-key. It is shown this once:");
    print_key(&key)
}

#[expect(clippy::disallowed_methods, reason = "the first key is shown once, to who set the broker up")]
fn print_key(key: &SecretString) -> Result<(), Failure> {
    output::result(key.expose_secret())
}

fn refuse_to_overwrite(dir: &Path) -> Result<(), Failure> {
    let there: Vec<String> = FILES
        .iter()
        .map(|name| dir.join(name))
        // A dangling link is something as well.
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    let (verb, what) = if there.len() == 1 { ("exists", "it was") } else { ("exist", "they were") };
    Err(Failure::new(
        Exit::CannotCreate,
        format!("{} {verb} already and {what} left as before: name another directory with --dir", there.join(", ")),
    ))
}

/// Writes everything and makes the first key. What was made is noted before it is written.
fn set_up(dir: &Path, public_url: &Url, made: &mut Made) -> Result<SecretString, Failure> {
    made.directory(dir)?;
    let file = dir.join(CONFIG);
    made.file(&file);
    write_new(&file, &configuration(public_url))
        .map_err(|error| Failure::io(&format!("{} cannot be written", file.display()), &error))?;
    let config = config::load(&file, &Environment::default(), &[])?;
    let ports = Ports::system();
    made.file(&config.keyring);
    made.database(&config.database);
    app::initialise(&config, &ports)?;
    let desk = Desk::open(&config, &ports)?;
    let (_, key) = desk
        .run(|broker| async move { broker.create_access_key(DEFAULT_PROJECT, "first key", &Scope::DEFAULT).await })?;
    Ok(key)
}

/// The example with this broker's URL. On loopback without TLS, nobody stands before the broker: it listens there.
fn configuration(public_url: &Url) -> String {
    let origin = public_url.origin().ascii_serialization();
    let text = EXAMPLE.replace(PUBLIC_URL, &format!("public_url = \"{origin}\""));
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

/// It will hold client secrets.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What was made so far. Dropped before [`Made::keep`], it takes all of it away again.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// The outermost first.
    directories: Vec<PathBuf>,
}

impl Made {
    /// Makes a directory, and those above it, that only we may enter.
    fn directory(&mut self, dir: &Path) -> Result<(), Failure> {
        let above = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        self.directories = above.map(Path::to_owned).collect();
        self.directories.reverse();
        for directory in &self.directories {
            DirBuilder::new()
                .mode(0o700)
                .create(directory)
                .map_err(|error| Failure::io(&format!("{} cannot be made", directory.display()), &error))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    /// A database, and the files that SQLite and the lock put beside it.
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
        // What was noted but not made is not there to be removed.
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
    fn the_configuration_has_the_public_url_and_listens_where_that_leads() {
        let public = settings("https://connect.example.com/");
        assert_eq!(public.server.public_url, "https://connect.example.com");
        assert_eq!(public.server.listen.to_string(), "127.0.0.1:8080");
        let local = settings("http://localhost:9000");
        assert_eq!(local.server.public_url, "http://localhost:9000");
        assert_eq!(local.server.listen.to_string(), "127.0.0.1:9000");
        assert_eq!(settings("http://[::1]:9000").server.listen.to_string(), "[::1]:9000");
    }

    #[test]
    fn what_was_made_is_taken_away_again_and_nothing_else() {
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
