//! The client for hosts that a user chose.
//!
//! # Motivation
//!
//! Someone who connects a Bluesky account chooses a handle, and with it a web server. The account's identity document
//! names another server. If the broker simply called them, it would be a way into its own network: to a cloud's
//! metadata service, a database's HTTP port, the router's page. Checking the name is not enough, because a name may
//! resolve to an internal address. Resolving it before the call is not enough, because it may resolve differently at
//! the time of the call. And checking the first URL says nothing about its redirects.
//!
//! # Theory of operation
//!
//! A URL must be https on port 443 with the name of a public host: no user name, no other port, no IP address in any
//! spelling (the URL parser normalizes them), no name that exists in internal networks only. [`Resolver`] resolves the
//! name when the connection is made. All its addresses must be public ([`is_public`]), and the connection goes to one
//! of them: there is no second look-up that could answer differently. The HTTP client asks its resolver for names,
//! never for addresses, so the URL is checked as well. Only [`Guard::get_following`] follows redirects, and checks each
//! hop like the first. An answer ends at [`super::MAX_ANSWER`] bytes, also when it was compressed, and must be complete
//! within [`WITHIN`]. TLS verifies the name as for every call.
//!
//! Behind a proxy, the proxy connects, and resolves the name once more. The guard resolves it first all the same and
//! refuses what is not public, also for hosts that need no proxy. The proxy itself may be in an internal network.
//!
//! `allow_private_networks` (for tests and closed networks) allows plain http, ports, IP addresses and addresses that
//! are not public. The limits on redirects, size and time stay.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::connections::Connections;
use super::{Answer, Dns, Error, Request, Settings, builder, finish, is_public};
use crate::domain::error_chain::sources;
use crate::domain::proxy::Proxies;

/// Time limit of one whole call.
const WITHIN: Duration = Duration::from_secs(10);

/// Most redirects that [`Guard::get_following`] follows.
const MAX_REDIRECTS: usize = 3;

/// Top-level names that are not on the public internet.
const INSIDE: [&str; 9] = ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"];

/// The reason why a host is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is given by its IP address: use its name")]
    Address,
    #[error("it must be called by https, on port 443")]
    Insecure,
    #[error("its name is not one of the public internet")]
    Name,
    #[error("its name leads to an address that is not public")]
    NotPublic,
    #[error("its URL carries a user name or password")]
    UserInfo,
}

/// The client for hosts that a user chose. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    connections: Connections,
    resolver: Resolver,
    /// Time limit of a whole request, redirects included.
    within: Duration,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl Guard {
    /// # Errors
    ///
    /// The TLS stack cannot be set up, or a proxy's URL cannot be used.
    pub fn new(settings: &Settings, dns: Dns) -> Result<Self, Error> {
        let (allow_private_networks, proxies) = (settings.allow_private_networks, settings.proxies.clone());
        let resolver = Resolver { dns, allow_private_networks, proxies };
        let within = settings.timeout.min(WITHIN);
        let connections = Connections::new(within, || Ok(builder(settings)?.dns_resolver(Arc::new(resolver.clone()))))?;
        Ok(Self { connections, resolver, within })
    }

    /// True when hosts in private networks may be called.
    #[must_use]
    pub fn allows_private_networks(&self) -> bool {
        self.resolver.allow_private_networks
    }

    /// Checks everything about a URL that needs no DNS look-up.
    ///
    /// # Errors
    ///
    /// The URL must not be called.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        if self.resolver.allow_private_networks {
            return match url.scheme() {
                "http" | "https" => Ok(()),
                _ => Err(Refused::Insecure),
            };
        }
        if url.scheme() != "https" || url.port().is_some() {
            return Err(Refused::Insecure);
        }
        match url.host() {
            Some(Host::Domain(name)) if is_public_name(name) => Ok(()),
            Some(Host::Domain(_)) | None => Err(Refused::Name),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => Err(Refused::Address),
        }
    }

    /// Resolves a host to the addresses that a connection would choose from.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when an address is not public; [`Error::Unresolved`] when there are none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        self.resolver.addresses(host).await
    }

    /// Makes a call that may arrive twice, as [`super::Outbound::send`].
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the host must not be called; otherwise as [`super::Outbound::send`].
    pub async fn send(&self, request: Request) -> Result<Answer, Error> {
        self.admit(&request.url).await?;
        finish(self.connections.ask(&request, "application/json").await?, &request).await
    }

    /// Makes a call that must not arrive twice, as [`super::Outbound::send_once`].
    ///
    /// # Errors
    ///
    /// As [`Guard::send`].
    pub async fn send_once(&self, request: Request) -> Result<Answer, Error> {
        self.admit(&request.url).await?;
        finish(self.connections.spend(&request, "application/json").await?, &request).await
    }

    /// Checks a URL; and, where a proxy would connect, the addresses of its host.
    async fn admit(&self, url: &Url) -> Result<(), Error> {
        self.check(url).map_err(Error::Refused)?;
        match url.host() {
            Some(Host::Domain(name)) if !self.resolver.proxies.is_none() && !self.resolver.allow_private_networks => {
                self.resolver.addresses(name).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Fetches a URL without credentials, following a few redirects.
    ///
    /// # Errors
    ///
    /// As [`Guard::send`], for each hop.
    pub async fn get_following(&self, url: Url) -> Result<Answer, Error> {
        let mut url = url;
        let hops = async {
            for _ in 0..MAX_REDIRECTS {
                self.admit(&url).await?;
                let request = Request::get(url.clone());
                let response = self.connections.ask(&request, "*/*").await?;
                let next = response
                    .status()
                    .is_redirection()
                    .then(|| response.headers().get(http::header::LOCATION))
                    .flatten()
                    .and_then(|location| url.join(location.to_str().ok()?).ok());
                match next {
                    Some(next) => url = next,
                    None => return finish(response, &request).await,
                }
            }
            self.admit(&url).await?;
            let request = Request::get(url);
            finish(self.connections.ask(&request, "*/*").await?, &request).await
        };
        // Each hop has a time limit. This one is for all of them together.
        tokio::time::timeout(self.within, hops).await.unwrap_or(Err(Error::TooSlow))
    }
}

/// True when a host name may be on the public internet: it has a dot, and its top-level name is not an internal one.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.rsplit_once('.') {
        Some((rest, top)) => !rest.is_empty() && !INSIDE.iter().any(|inside| inside.eq_ignore_ascii_case(top)),
        None => false,
    }
}

/// Resolves a name for one connection, and checks every address.
#[derive(Debug, Clone)]
struct Resolver {
    dns: Dns,
    allow_private_networks: bool,
    proxies: Proxies,
}

impl Resolver {
    /// The addresses of a host that a user named.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        let addresses = self.dns.addresses(host).await.map_err(Error::Unresolved)?;
        if !self.allow_private_networks && !addresses.iter().copied().all(is_public) {
            return Err(Error::Refused(Refused::NotPublic));
        }
        Ok(addresses)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            // With a proxy, the client also asks for the proxy's own name. The operator chose that one, and no host of
            // a user gets here under it: the guard has checked all its addresses before.
            let addresses = if resolver.proxies.has_host(name.as_str()) {
                resolver.dns.addresses(name.as_str()).await.map_err(Error::Unresolved)?
            } else {
                resolver.addresses(name.as_str()).await?
            };
            // The client sets the URL's port.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// The refusal behind a failed call, if there is one: it comes back wrapped by the HTTP client.
pub(super) fn refusal(error: &reqwest::Error) -> Option<Refused> {
    match cause(error)? {
        Error::Refused(refused) => Some(*refused),
        _ => None,
    }
}

/// True for a call that failed because the host's name does not resolve.
pub(super) fn is_unresolved(error: &reqwest::Error) -> bool {
    matches!(cause(error), Some(Error::Unresolved(_)))
}

/// The resolver's error behind a failed call.
fn cause(error: &reqwest::Error) -> Option<&Error> {
    sources(error).find_map(|source| source.downcast_ref())
}
