//! A DNS client: addresses of hosts, and TXT records.
//!
//! Names are looked up from the root. The machine's search list is for short names, and would turn one query into
//! several.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::sync::OnceCell;

/// Time limit of one query to one server. A lost packet is retried once.
const PATIENCE: Duration = Duration::from_secs(2);

/// The reason why a name was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("the name has no such record, or no server answered for it")]
    Lookup(#[source] Box<NetError>),
    #[error("the machine's DNS configuration cannot be used")]
    Setup(#[source] Box<NetError>),
}

/// Asks DNS servers. Cheap to clone.
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

struct Inner {
    /// `None`: the servers in the machine's configuration.
    server: Option<SocketAddr>,
    /// Created by the first query, on its runtime.
    resolver: OnceCell<TokioResolver>,
}

impl Dns {
    /// Uses the machine's DNS servers and its hosts file.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Inner { server: None, resolver: OnceCell::new() }))
    }

    /// Asks one server, over UDP and then TCP.
    #[must_use]
    pub fn at(server: SocketAddr) -> Self {
        Self(Arc::new(Inner { server: Some(server), resolver: OnceCell::new() }))
    }

    /// All addresses of a host, of both families. Never empty.
    ///
    /// # Errors
    ///
    /// There are none, or no server answers.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let lookup = self
            .resolver()
            .await?
            .lookup_ip(from_root(host))
            .await
            .map_err(|error| DnsError::Lookup(Box::new(error)))?;
        Ok(lookup.iter().collect())
    }

    /// The TXT records of a name, each joined from its pieces. Records that are not UTF-8 are left out.
    ///
    /// # Errors
    ///
    /// There are none, or no server answers.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let lookup = self
            .resolver()
            .await?
            .txt_lookup(from_root(name))
            .await
            .map_err(|error| DnsError::Lookup(Box::new(error)))?;
        let texts = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => String::from_utf8(text.txt_data.concat()).ok(),
            _ => None,
        });
        Ok(texts.collect())
    }

    async fn resolver(&self) -> Result<&TokioResolver, DnsError> {
        self.0
            .resolver
            .get_or_try_init(async || self.make_resolver())
            .await
            .map_err(|error| DnsError::Setup(Box::new(error)))
    }

    fn make_resolver(&self) -> Result<TokioResolver, NetError> {
        let mut builder = match self.0.server {
            None => TokioResolver::builder_tokio()?,
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = PATIENCE;
        options.attempts = 1;
        builder.build()
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}

fn from_root(name: &str) -> String {
    if name.contains('.') { format!("{}.", name.trim_end_matches('.')) } else { name.to_owned() }
}
