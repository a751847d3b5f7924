//! The operator's settings: a TOML file, overridden by environment variables (`POSTPEER_SECTION__KEY`).
//!
//! Invariant: a [`Config`] is complete and valid. Otherwise [`Error`] lists every mistake, with its place and what to
//! do about it. An unknown key is a mistake.

mod environment;
mod error;
#[cfg(test)]
mod example;
mod exposure;
#[cfg(test)]
mod fuzzed;
mod keys;
mod layers;
mod pages;
mod platforms;
pub mod presets;
mod public_url;
mod reader;
mod secrets;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use strum::VariantArray as _;

use crate::domain::budget::{self, Budget, Cost};
use crate::domain::identity::Identities;
use crate::domain::network::Network;
use crate::domain::proxy::{Proxies, Proxy};
use crate::domain::redirect::{RedirectPolicy, is_loopback};
use crate::domain::shell::quoted;
use crate::platforms::Registry;
use crate::telemetry::{LogFormat, LogLevel, LogSettings};
use reader::Reader;

use error::Warning;
use exposure::Exposure;

pub use environment::Environment;
pub use error::{Error, Mistake, Mistakes, Origin};
pub use keys::nearest_word;
pub use public_url::{base, parse_public_url};

/// The file that `postpeer init` writes: every key with its default and its purpose.
pub const EXAMPLE: &str = include_str!("../../postpeer.toml.example");

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    /// The SQLite file.
    pub database: PathBuf,
    pub keyring: PathBuf,
    pub connect: Connect,
    /// `None`: no console.
    pub console: Option<Console>,
    pub refresh: Refresh,
    /// `None`: the broker makes no backups by itself.
    pub backup: Option<Backup>,
    pub outbound: Outbound,
    /// How long entries of the audit trail are kept.
    pub keep_audit: Duration,
    pub limits: Limits,
    pub log: LogSettings,
    /// Who asks for accounts, as the hosted pages say it.
    pub pages: Identities,
    pub platforms: Registry,
    pub files: Files,
    /// Sentences on settings that are valid but risky.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    /// URL at which browsers reach the broker: scheme, host, port and path, without a trailing slash.
    pub public_url: String,
    /// Address of the listener for metrics; without one, metrics are not served.
    pub metrics_listen: Option<SocketAddr>,
    /// Peers whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
}

#[derive(Debug, Clone)]
pub struct Connect {
    pub state_ttl: Duration,
    pub selection_ttl: Duration,
    pub redirects: RedirectPolicy,
    /// Asks people on a page of the broker before they go to the platform.
    pub confirm: bool,
    /// Refuses connections that any browser could finish.
    pub require_binding: bool,
}

/// The operator's pages.
#[derive(Debug, Clone)]
pub struct Console {
    /// Address of a listener of its own; without one, the console is beside the API.
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Clone)]
pub struct Refresh {
    pub enabled: bool,
    /// Time before its expiry at which a token is refreshed.
    pub ahead: Duration,
    /// Maximum number of refreshes in flight.
    pub concurrency: u32,
}

/// Backups that the running broker makes.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Directory of the backups; made where it is missing.
    pub dir: PathBuf,
    pub every: Duration,
    /// Number of backups to keep.
    pub keep: usize,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: Option<usize>,
    /// Most bytes of request bodies that are being read.
    pub bodies: usize,
    pub budgets: budget::Limits,
}

#[derive(Debug, Clone)]
pub struct Outbound {
    pub allow_private_networks: bool,
    pub connect_timeout: Duration,
    pub timeout: Duration,
    pub proxies: Proxies,
}

/// The files that settings name, and what the settings' own file holds.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Those that secrets were read from.
    pub secrets: Vec<PathBuf>,
    /// Those that logos were read from.
    pub logos: Vec<PathBuf>,
    /// Those of which a warning says that every user can read them, the settings' own file among them.
    pub readable: Vec<PathBuf>,
    /// True when the settings' own file has secrets, rather than the names of files that have them.
    own_has_secrets: bool,
}

/// Reads the file, applies the environment, and checks the result.
///
/// # Errors
///
/// The file cannot be read or is not TOML, or the settings have mistakes (all are returned).
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Error> {
    let text = secrets::read_text(path).map_err(|source| Error::unread(path, source))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let mut config = from_str(&path.display().to_string(), &text, base, environment)?;
    match exposure::of(path) {
        Some(Exposure::Changeable) => return Err(Error::Changeable(path.to_owned())),
        Some(Exposure::Readable) if config.files.own_has_secrets => {
            config.files.readable.push(path.to_owned());
            config.warnings.push(format!(
                "{}: every user of this machine can read the secrets in it: chmod o= {}",
                path.display(),
                quoted(path)
            ));
        }
        _ => {}
    }
    Ok(config)
}

/// Like [`load`], for a text in memory. Messages call it `name`; relative paths are relative to `base`.
///
/// # Errors
///
/// As [`load`].
pub fn from_str(name: &str, toml: &str, base: &Path, environment: &Environment) -> Result<Config, Error> {
    let read = |environment: &Environment| -> Result<_, Error> {
        let mut reader = Reader::new(layers::Layers::merge(name, toml, environment)?, base);
        let config = settings(&mut reader, environment, base);
        Ok((config, reader))
    };
    let (mut config, mut reader) = read(environment)?;
    // The known keys are known only now. A misnamed variable is told as such, and not also as what it was read as.
    let misnamed = environment.nearly_settings(&reader.known);
    if !misnamed.is_empty() {
        (config, reader) = read(&environment.without(&misnamed))?;
        for (variable, right) in &misnamed {
            reader.note_misnamed(variable, right);
        }
    }
    for (variable, right) in environment.without_section(&reader.known) {
        reader.note_without_effect(variable, &right);
    }
    config.files = std::mem::take(&mut reader.files);
    let warnings = reader.finish().map_err(Error::Mistakes)?;
    config.platforms = config.platforms.with_warnings(warnings.iter().filter_map(Warning::on_platform).collect());
    config.warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(config)
}

fn settings(reader: &mut Reader, environment: &Environment, base: &Path) -> Config {
    let keyring = reader.path(&["keyring", "path"]).unwrap_or_else(|| base.join("postpeer.keyring"));
    let server = server(reader);
    Config {
        console: console(reader, &server),
        server,
        database: database(reader, base),
        backup: backup(reader, base, &keyring),
        keyring,
        connect: connect(reader),
        refresh: Refresh {
            enabled: reader.flag(&["refresh", "enabled"]).unwrap_or(true),
            ahead: seconds(reader.number(&["refresh", "ahead_seconds"], 0..=86_400), 900),
            concurrency: reader.number(&["refresh", "concurrency"], 1..=1_000).unwrap_or(32),
        },
        outbound: Outbound {
            allow_private_networks: reader.flag(&["outbound", "allow_private_networks"]).unwrap_or(false),
            connect_timeout: seconds(reader.number(&["outbound", "connect_timeout_seconds"], 1..=300), 5),
            timeout: seconds(reader.number(&["outbound", "timeout_seconds"], 1..=300), 15),
            proxies: proxies(reader, environment),
        },
        keep_audit: Duration::from_hours(
            24 * u64::from(reader.number(&["audit", "keep_days"], 1..=36_500).unwrap_or(365)),
        ),
        limits: limits(reader),
        log: log(reader),
        pages: pages::read(reader),
        platforms: platforms::read(reader),
        files: Files::default(),
        warnings: Vec::new(),
    }
}

/// A database that others can change is refused: they could give an account of theirs to anybody. What it holds is
/// sealed, but names and ids are not.
///
/// The path of a link is that of its target, beside which SQLite has its log. All that belongs to the database has its
/// place there, so that two paths to one database are no two databases.
fn database(reader: &mut Reader, base: &Path) -> PathBuf {
    let key = ["database", "path"];
    let path = reader.path(&key).unwrap_or_else(|| base.join("postpeer.db"));
    let path = if path.is_symlink() { fs::canonicalize(&path).unwrap_or(path) } else { path };
    reader.check_exposure(&key, &path);
    path
}

/// Absent without its section: backups take space that the operator has to provide.
fn backup(reader: &mut Reader, base: &Path, keyring: &Path) -> Option<Backup> {
    let has_section = reader.has_table(&["backup"]);
    let backup = Backup {
        dir: reader.path(&["backup", "dir"]).unwrap_or_else(|| base.join("backups")),
        every: reader.duration(&["backup", "every"], MINUTE..=DAY * 366).unwrap_or(DAY),
        keep: usize::try_from(reader.number(&["backup", "keep"], 1..=1_000).unwrap_or(7)).unwrap_or(usize::MAX),
    };
    if has_section && keyring.starts_with(&backup.dir) {
        reader.warn(
            &["backup", "dir"],
            "holds the keyring: whoever gets that directory can read all tokens, so keep backups apart from it",
        );
    }
    has_section.then_some(backup)
}

/// Absent without its section: whoever finds it can try keys there.
fn console(reader: &mut Reader, server: &Server) -> Option<Console> {
    let has_section = reader.has_table(&["console"]);
    let path = ["console", "listen"];
    let listen = reader.address(&path);
    if let Some(address) = listen {
        // Port 0 stands for a different port each time.
        let taken = [Some(server.listen), server.metrics_listen];
        if address.port() != 0 && taken.contains(&listen) {
            reader.mistake(&path, "is in use by server.listen or server.metrics_listen: take another port, such as 127.0.0.1:8090, or leave it empty for a console beside the API");
        }
        if !address.ip().is_loopback() {
            reader.warn(
                &path,
                "is not on loopback, and this listener has no TLS: let a firewall choose who reaches it, and a proxy encrypt the way",
            );
        }
    }
    has_section.then_some(Console { listen })
}

fn server(reader: &mut Reader) -> Server {
    let listen_path = ["server", "listen"];
    let default = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 8080);
    let before = reader.mistakes();
    let listen = reader.address(&listen_path).unwrap_or(default);
    let listen_is_wrong = reader.mistakes() > before;
    let public_url = public_url(reader, listen, listen_is_wrong);
    let metrics_path = ["server", "metrics_listen"];
    let metrics_listen = reader.address(&metrics_path);
    if let Some(address) = metrics_listen {
        // Port 0 stands for a different port each time.
        if address == listen && address.port() != 0 && !listen_is_wrong {
            reader.mistake(&metrics_path, "is the address of server.listen: metrics need one of their own, so take another port, such as 127.0.0.1:9464");
        }
        if !address.ip().is_loopback() {
            reader.warn(
                &metrics_path,
                "is not on loopback: whoever reaches it can read the metrics, so let a firewall choose who does",
            );
        }
    }
    let proxies_path = ["server", "trusted_proxies"];
    let mut trusted_proxies = Vec::new();
    for text in reader.list(&proxies_path).unwrap_or_default() {
        match text.parse() {
            Ok(network) => trusted_proxies.push(network),
            Err(why) => reader.mistake(&proxies_path, format!("has the entry \"{text}\", which is {why}")),
        }
    }
    if trusted_proxies.iter().any(Network::is_everybody) {
        reader.warn(
            &proxies_path,
            "trusts everybody: any client can claim any address with X-Forwarded-For. Name the address of your proxy only",
        );
    }
    Server { listen, public_url, metrics_listen, trusted_proxies }
}

/// Defaults to the listen address if that is on loopback, where browsers on this machine can open it.
fn public_url(reader: &mut Reader, listen: SocketAddr, listen_is_wrong: bool) -> String {
    let path = ["server", "public_url"];
    let before = reader.mistakes();
    let Some(text) = reader.text(&path) else {
        if reader.mistakes() == before && !listen_is_wrong && (!listen.ip().is_loopback() || listen.port() == 0) {
            reader.mistake(
                &path,
                format!("is missing, and does not follow from server.listen = \"{listen}\": set it to the URL at which browsers reach the broker, such as https://connect.example.com"),
            );
        }
        return format!("http://{listen}");
    };
    match parse_public_url(&text) {
        Ok(url) => {
            if url.scheme() == "http" && !is_loopback(&url) {
                reader.warn(
                    &path,
                    "is plain http: platforms may refuse such callback URLs, and codes can be read on the way",
                );
            }
            base(&url).to_owned()
        }
        Err(problem) => {
            reader.mistake(&path, problem);
            text
        }
    }
}

fn connect(reader: &mut Reader) -> Connect {
    let path = ["connect", "allowed_redirects"];
    let mut redirects = RedirectPolicy::default();
    if let Some(entries) = reader.list(&path) {
        for entry in &entries {
            if let Err((entry, why)) = RedirectPolicy::parse(&[entry]) {
                reader.mistake(&path, format!("has the entry \"{entry}\", which {why}"));
            }
        }
        redirects = RedirectPolicy::parse(&entries).unwrap_or_default();
    }
    Connect {
        state_ttl: seconds(reader.number(&["connect", "state_ttl_seconds"], 1..=86_400), 600),
        selection_ttl: seconds(reader.number(&["connect", "selection_ttl_seconds"], 1..=86_400), 600),
        redirects,
        confirm: reader.flag(&["connect", "confirm"]).unwrap_or(false),
        require_binding: reader.flag(&["connect", "require_binding"]).unwrap_or(false),
    }
}

/// The proxy of the configuration, for all calls; else those in the variables that other programs read too.
fn proxies(reader: &mut Reader, environment: &Environment) -> Proxies {
    let no_proxy = environment.of_any_case("NO_PROXY").map_or("", |(_, hosts)| hosts);
    let path = ["outbound", "proxy"];
    if let Some(url) = reader.secret(&["outbound"], "proxy") {
        #[expect(clippy::disallowed_methods, reason = "a proxy's URL is read here, and goes on as a secret")]
        let proxy = Proxy::parse(url.expose_secret(), "outbound.proxy");
        let proxy = proxy.map_err(|problem| reader.mistake(&path, problem.to_string())).ok();
        return Proxies::new(proxy.clone(), proxy, no_proxy);
    }
    let mut of = |name: &str| {
        let (variable, url) = environment.of_any_case(name).or_else(|| environment.of_any_case("ALL_PROXY"))?;
        let proxy = Proxy::parse(url, &variable);
        proxy.map_err(|problem| reader.mistake_in_environment(&variable, &path, problem.to_string())).ok()
    };
    Proxies::new(of("HTTP_PROXY"), of("HTTPS_PROXY"), no_proxy)
}

/// In the file, 0 stands for no limit.
fn limits(reader: &mut Reader) -> Limits {
    let mut at_most = |name: &str, default: Option<u32>| {
        let most = reader.number(&["limits", name], 0..=10_000_000);
        most.or(default).filter(|most| *most > 0)
    };
    let mut budget = |cost: Cost| {
        let (name, default) = (<&str>::from(cost), Budget::default_of(cost));
        let mut one = |subject: &str, default: Option<u32>| at_most(&format!("{name}_{subject}"), default);
        Budget {
            // Whoever sends a wrong key has none.
            per_key: if cost == Cost::Misses { None } else { one("per_key", default.per_key) },
            per_address: one("per_address", default.per_address),
            in_all: if cost == Cost::Misses { None } else { one("in_all", default.in_all) },
        }
    };
    let budgets = budget::Limits {
        bluesky: budget(Cost::Bluesky),
        misses: budget(Cost::Misses),
        starts: budget(Cost::Starts),
        writes: budget(Cost::Writes),
    };
    let mut size = |name: &str, within, default: u32| {
        usize::try_from(reader.number(&["limits", name], within).unwrap_or(default)).unwrap_or(usize::MAX)
    };
    Limits {
        connections: size("connections", 16..=1_000_000, 4096),
        connections_per_address: Some(size("connections_per_address", 0..=1_000_000, 512)).filter(|most| *most > 0),
        bodies: size("bodies_mib", 1..=1_000, 16) << 20,
        budgets,
    }
}

fn log(reader: &mut Reader) -> LogSettings {
    let default = LogSettings::default();
    LogSettings {
        format: reader.word(&["log", "format"], LogFormat::VARIANTS).unwrap_or(default.format),
        level: reader.word(&["log", "level"], LogLevel::VARIANTS).unwrap_or(default.level),
    }
}

fn seconds(read: Option<u32>, default: u32) -> Duration {
    Duration::from_secs(u64::from(read.unwrap_or(default)))
}
