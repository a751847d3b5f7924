//! Who is at the other end, where a proxy may stand between.
//!
//! Invariant: `X-Forwarded-For` is believed only as far as the proxies that the operator named wrote it: anybody else's
//! entries are further to the left.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

use crate::domain::network::Network;

/// The address that a request comes from.
pub(crate) fn address(req: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    req.peer_addr().map(|peer| nearest_stranger(peer.ip(), req.headers(), trusted))
}

/// Walks from the socket outwards for as long as each hop is a trusted proxy.
fn nearest_stranger(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").filter_map(|line| line.to_str().ok()).collect();
    let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    let mut at = peer;
    while is_trusted(at) {
        // What a trusted proxy did not write as an address is nobody's.
        let Some(next) = hops.next().and_then(parse) else { break };
        at = next;
    }
    at.to_canonical()
}

/// An address, perhaps with a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    hop.parse().ok().or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn told(peer: &str, lines: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(line));
        }
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        nearest_stranger(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(told("203.0.113.9", &["198.51.100.1"], &[]), "203.0.113.9");
        assert_eq!(told("203.0.113.9", &["198.51.100.1"], &["127.0.0.1"]), "203.0.113.9");
    }

    #[test]
    fn the_nearest_hop_that_is_no_proxy_counts() {
        let trusted = &["127.0.0.1", "10.0.0.0/8"];
        assert_eq!(told("127.0.0.1", &["198.51.100.1"], trusted), "198.51.100.1");
        assert_eq!(told("127.0.0.1", &["1.2.3.4, 198.51.100.1, 10.0.0.7"], trusted), "198.51.100.1");
        assert_eq!(told("127.0.0.1", &["1.2.3.4", "198.51.100.1", "10.0.0.7"], trusted), "198.51.100.1");
        assert_eq!(told("127.0.0.1", &["198.51.100.1:4711"], trusted), "198.51.100.1");
        assert_eq!(told("::ffff:127.0.0.1", &["2001:db8::1"], trusted), "2001:db8::1");
        assert_eq!(told("127.0.0.1", &["[2001:db8::1]:443"], trusted), "2001:db8::1");
        assert_eq!(told("127.0.0.1", &["unknown"], trusted), "127.0.0.1");
        assert_eq!(told("127.0.0.1", &["1.2.3.4, unknown"], trusted), "127.0.0.1");
        assert_eq!(told("127.0.0.1", &[], trusted), "127.0.0.1");
        assert_eq!(told("127.0.0.1", &["10.0.0.1"], trusted), "10.0.0.1", "proxies all the way");
    }
}
