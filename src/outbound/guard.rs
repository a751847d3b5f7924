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
//! `allow_private_networks` (for tests and closed networks) allows plain http, ports, IP addresses and addresses that
//! are not public. The limits on redirects, size and time stay.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::{Answer, Authorization, Body, Dns, Error, Request, Settings, begin, builder, finish, is_public};

/// Time limit of one whole call.
const WITHIN: Duration = Duration::from_secs(10);

/// Connections stay open only long enough for the next call of the same sign-in.
const IDLE: Duration = Duration::from_secs(10);

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
#[derive(Debug, Clone)]
pub struct Guard {
    client: reqwest::Client,
    resolver: Resolver,
    /// Time limit of a whole request, redirects included.
    within: Duration,
}

impl Guard {
    /// # Errors
    ///
    /// The TLS stack cannot be set up.
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

    /// Makes one call.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the host must not be called; otherwise as [`super::Outbound::send`].
    pub async fn send(&self, request: Request) -> Result<Answer, Error> {
        self.check(&request.url).map_err(Error::Refused)?;
        finish(begin(&self.client, request, "application/json").await?).await
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
        // Each hop has a time limit. This one is for all of them together.
        tokio::time::timeout(self.within, hops).await.unwrap_or(Err(Error::TooSlow))
    }
}

fn get(url: Url) -> Request {
    Request { method: Method::GET, url, authorization: Authorization::None, headers: Vec::new(), body: Body::Empty }
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
            // The client sets the URL's port.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// The refusal behind a failed call, if there is one: it comes back wrapped by the HTTP client.
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
