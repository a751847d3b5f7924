//! The client for hosts that a user chose.
//!
//! # Motivation
//!
//! Whoever connects a Bluesky account names a handle, and with it a web server; the account's identity document names
//! another server, and both are whatever its owner wrote. A broker that simply called them would be a way into the network
//! that it stands in: to the metadata service of a cloud, a database's HTTP port, the router's page. Looking at the name
//! is not enough, because a name may point inside; looking up its address first is not enough, because it may point
//! elsewhere by the time of the call; and a check of the first URL says nothing about where that one redirects to.
//!
//! # Theory of operation
//!
//! A URL must be https on port 443 with the name of a public host: no user name, no port, no IP address in any of its
//! spellings (the URL parser has brought them to one form), no name that exists inside networks only. The name is
//! resolved by [`Resolver`] when the connection is made, every address of it must be public ([`is_public`]), one that is
//! not spoils them all, and the connection goes to one of these very addresses: there is no second look-up that could
//! answer otherwise. The HTTP client asks its resolver for names only, never for addresses, which is why the URL is
//! checked as well. Redirects are not followed but where [`Guard::get_following`] says so, and then each hop is checked
//! like the first. An answer ends at [`super::MAX_ANSWER`] bytes, is not decompressed, and must be complete within
//! [`WITHIN`]. TLS vouches for the name as everywhere.
//!
//! With `allow_private_networks` (tests, networks of their own) plain http, ports, IP addresses and addresses that are
//! not public are let through; what is said of redirects, sizes and time stays.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::{Answer, Authorization, Body, Dns, Error, Request, Settings, begin, builder, finish, is_public};

/// For the whole of one call.
const WITHIN: Duration = Duration::from_secs(10);

/// Connections are kept for the next call of the same connection, and no longer.
const IDLE: Duration = Duration::from_secs(10);

/// Most redirects that are followed, where any are.
const MAX_REDIRECTS: usize = 3;

/// Top-level names that are no place on the internet.
const INSIDE: [&str; 9] = ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"];

/// Why a host is not called.
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

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard {
    client: reqwest::Client,
    resolver: Resolver,
    /// For the whole of what is asked, redirects included.
    within: Duration,
}

impl Guard {
    /// # Errors
    ///
    /// When the TLS stack cannot be set up.
    pub fn new(settings: &Settings, dns: Dns) -> Result<Self, Error> {
        let resolver = Resolver { dns, allow_private_networks: settings.allow_private_networks };
        let within = settings.timeout.min(WITHIN);
        let client = builder(settings.connect_timeout, within)?
            .dns_resolver(Arc::new(resolver.clone()))
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { client, resolver, within })
    }

    /// Whether hosts in private networks are called.
    #[must_use]
    pub fn allows_private_networks(&self) -> bool {
        self.resolver.allow_private_networks
    }

    /// What can be told of a URL without a look-up.
    ///
    /// # Errors
    ///
    /// Why it is not called.
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

    /// The addresses that a connection to this host would choose from.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when one of them is not public; [`Error::Unresolved`] when there are none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        self.resolver.addresses(host).await
    }

    /// Makes one call.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for hosts that are not called; otherwise as [`super::Outbound::send`].
    pub async fn send(&self, request: Request) -> Result<Answer, Error> {
        self.check(&request.url).map_err(Error::Refused)?;
        finish(begin(&self.client, request, "application/json").await?).await
    }

    /// Gets something without credentials, following a few redirects.
    ///
    /// # Errors
    ///
    /// As [`Guard::send`], for each hop.
    pub async fn get_following(&self, url: Url) -> Result<Answer, Error> {
        let mut url = url;
        let hops = async {
            for _ in 0..MAX_REDIRECTS {
                self.check(&url).map_err(Error::Refused)?;
                let response = begin(&self.client, get(url.clone()), "*/*").await?;
                let next = response
                    .status()
                    .is_redirection()
                    .then(|| response.headers().get(http::header::LOCATION))
                    .flatten()
                    .and_then(|location| url.join(location.to_str().ok()?).ok());
                match next {
                    Some(next) => url = next,
                    None => return finish(response).await,
                }
            }
            self.check(&url).map_err(Error::Refused)?;
            finish(begin(&self.client, get(url), "*/*").await?).await
        };
        // Each hop ends in time by itself; all together must, too.
        tokio::time::timeout(self.within, hops).await.unwrap_or(Err(Error::TooSlow))
    }
}

fn get(url: Url) -> Request {
    Request { method: Method::GET, url, authorization: Authorization::None, headers: Vec::new(), body: Body::Empty }
}

/// Whether a host name may be one of the public internet: it has a dot, and its top-level name is nobody's inside.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.rsplit_once('.') {
        Some((rest, top)) => !rest.is_empty() && !INSIDE.iter().any(|inside| inside.eq_ignore_ascii_case(top)),
        None => false,
    }
}

/// Resolves a name for one connection, and vouches for every address.
#[derive(Debug, Clone)]
struct Resolver {
    dns: Dns,
    allow_private_networks: bool,
}

impl Resolver {
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
            let addresses = resolver.addresses(name.as_str()).await?;
            // The port is the URL's.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// The refusal that made a call fail, if one did: it comes back through the HTTP client.
pub(super) fn refusal(error: &reqwest::Error) -> Option<Refused> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(Error::Refused(refused)) = inner.downcast_ref::<Error>() {
            return Some(*refused);
        }
        source = inner.source();
    }
    None
}
