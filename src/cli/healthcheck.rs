//! `postpeer healthcheck`: asks the running broker whether it is ready. For containers, which have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use url::Url;

use super::failure::{Exit, Failure};
use super::settings::ConfigFile;
use crate::config::{self, Environment, parse_public_url};
use crate::domain::proxy::Proxies;
use crate::outbound::{self, Answer, Outbound, Request};

/// A broker that does not answer in this time is not ready.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Exit with 0 if the running broker is ready, with 69 if it is not
///
/// Without --url, the configuration is read as it is now, which may not be as the broker read it: 78 says that it has a
/// mistake, and after a change of server.listen nothing answers there. A health check that should not depend on the
/// file names the URL.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer healthcheck --url http://127.0.0.1:8080")]
pub(super) struct Arguments {
    /// URL of the broker [default: server.listen of the configuration]
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<(), Failure> {
    let base = match &arguments.url {
        Some(url) => parse_public_url(url).map_err(|why| Failure::new(Exit::Usage, format!("--url {why}")))?,
        None => local_url(arguments.config.load(environment)?.server.listen)?,
    };
    let unavailable =
        |why: String| Failure::new(Exit::Unavailable, format!("the broker at {base} is not ready: {why}"));
    match get(&base, "/readyz")? {
        Ok(answer) if answer.is_success() && is_ready(&answer.body) => Ok(()),
        Ok(answer) if answer.is_success() => Err(unavailable("something else than a broker answers there".to_owned())),
        Ok(answer) => Err(unavailable(
            reason(&answer.body).unwrap_or_else(|| format!("it answered with status {}", answer.status)),
        )),
        Err(error) => Err(unavailable(Failure::caused(Exit::Unavailable, &error).message)),
    }
}

/// The body of a success at a listener of this machine.
pub(super) fn ask(listen: SocketAddr, path: &str) -> Result<Vec<u8>, Failure> {
    let nothing = || Failure::new(Exit::Unavailable, "there is no good answer");
    let answer = get(&local_url(listen)?, path)?.map_err(|_| nothing())?;
    if answer.is_success() { Ok(answer.body.to_vec()) } else { Err(nothing()) }
}

fn get(base: &Url, path: &str) -> Result<Result<Answer, outbound::Error>, Failure> {
    let url =
        Url::parse(&format!("{}{path}", config::base(base))).map_err(|error| Failure::caused(Exit::Usage, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", &error))?;
    let settings = outbound::Settings {
        connect_timeout: TIMEOUT,
        timeout: TIMEOUT,
        allow_private_networks: false,
        roots: outbound::Roots::default(),
        proxies: Proxies::default(),
    };
    let outbound = Outbound::new(&settings).map_err(|error| Failure::caused(Exit::Software, &error))?;
    Ok(runtime.block_on(outbound.send(Request::get(url))))
}

/// False for a page that something in front of the broker, or in its place, sends for every path.
fn is_ready(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| body.get("ok") == Some(&true.into()))
}

/// The sentence of an error of the broker. `None` when something else answered.
fn reason(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let sentence = body.get("error")?.as_str()?;
    // Something else may answer at that address, and a terminal obeys control characters.
    body.get("code")?.as_str().filter(|code| *code == "not_ready")?;
    (!sentence.contains(char::is_control)).then(|| sentence.to_owned())
}

/// URL at which this machine reaches a listener of its own.
fn local_url(listen: SocketAddr) -> Result<Url, Failure> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, listen.port())))
        .map_err(|error| Failure::caused(Exit::Software, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_every_path_is_no_broker() {
        assert!(is_ready(br#"{"ok":true}"#));
        for body in ["", "<html>login</html>", "{}", r#"{"ok":false}"#, r#"{"ok":"true"}"#, "true"] {
            assert!(!is_ready(body.as_bytes()), "{body}");
        }
    }
}
