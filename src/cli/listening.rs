//! Finds out who listens at the addresses of the configuration: why `serve` may not, and whether it is the broker of
//! the same database.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::healthcheck;
use crate::config::Config;
use crate::store::find_holder;

/// A listener of this machine takes a connection at once.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Why nothing can listen at an address, which `key` configures, and the remedy.
pub(super) fn refusal(key: &str, listen: SocketAddr, error: &io::Error) -> (String, String) {
    match error.kind() {
        ErrorKind::AddrInUse if is_broker(key, listen) => (
            format!("another broker listens on {listen}, with another database"),
            format!("stop that one, or change {key}"),
        ),
        ErrorKind::AddrInUse => {
            (format!("another program listens on {listen}"), format!("stop it (`ss -ltnp` names it), or change {key}"))
        }
        ErrorKind::AddrNotAvailable => {
            (format!("this machine has no address {}", listen.ip()), format!("correct {key}: `ip address` lists them"))
        }
        ErrorKind::PermissionDenied => (
            format!("this user may not listen on port {}", listen.port()),
            format!("take a port above 1023 in {key}, behind a proxy"),
        ),
        _ => (format!("it is impossible to listen on {listen}: {error}"), format!("change {key}")),
    }
}

/// True when a broker answers there.
pub(super) fn is_broker(key: &str, listen: SocketAddr) -> bool {
    let (path, is_ours): (_, fn(&str) -> bool) = match key {
        "console.listen" => ("/console/sign-in", |page| page.contains("postpeer console")),
        "server.listen" => ("/healthz", |answer| answer.trim() == "{\"ok\":true}"),
        _ => ("/metrics", |metrics| metrics.contains("postpeer_build_info")),
    };
    healthcheck::ask(listen, path).is_ok_and(|body| is_ours(&String::from_utf8_lossy(&body)))
}

/// Warns of a running broker with another database than the one that a command works on, such as after a change of
/// `database.path` without a restart.
pub(super) fn warn_of_another(config: &Config) {
    let listen = config.server.listen;
    // In this order: while the lock is looked at, no broker could start. Mostly, nothing listens, or the database's own
    // broker does.
    let is_another = listen.port() != 0
        && TcpStream::connect_timeout(&listen, TIMEOUT).is_ok()
        && matches!(find_holder(&config.database), Ok(None))
        && is_broker("server.listen", listen);
    if is_another {
        say!(
            "Warning: the broker that listens on {listen} does not use the database {}, and sees nothing of what this command \
             does there. Restart that broker if database.path was changed, or name its configuration with --config.",
            config.database.display()
        );
    }
}
