//! The client's address, which may be behind reverse proxies.
//!
//! Invariant: only the entries of `X-Forwarded-For` that a proxy named by the operator wrote are trusted. Entries of
//! anyone else are further to the left.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

use crate::domain::network::Network;

/// Returns the address of the client.
pub(crate) fn address(req: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    req.peer_addr().map(|peer| client(peer.ip(), req.headers(), trusted))
}

/// Walks from the socket outwards while each hop is a trusted proxy.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").filter_map(|line| line.to_str().ok()).collect();
    let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    let mut at = peer;
    while is_trusted(at) {
        // No further entry, or one that is not an address: the proxy itself counts as the client.
        let Some(next) = hops.next().and_then(parse) else { break };
        at = next;
    }
    at.to_canonical()
}

/// Parses an address with or without a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    hop.parse().ok().or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn only_trusted_proxies_name_the_client() {
        let proxies = &["127.0.0.1", "10.0.0.0/8"][..];
        for (expected, peer, lines, trusted) in [
            ("203.0.113.9", "203.0.113.9", &["198.51.100.1"][..], &[][..]),
            ("203.0.113.9", "203.0.113.9", &["198.51.100.1"], &["127.0.0.1"]),
            ("198.51.100.1", "127.0.0.1", &["198.51.100.1"], proxies),
            ("198.51.100.1", "127.0.0.1", &["1.2.3.4, 198.51.100.1, 10.0.0.7"], proxies),
            ("198.51.100.1", "127.0.0.1", &["1.2.3.4", "198.51.100.1", "10.0.0.7"], proxies),
            ("198.51.100.1", "127.0.0.1", &["198.51.100.1:4711"], proxies),
            ("2001:db8::1", "::ffff:127.0.0.1", &["2001:db8::1"], proxies),
            ("2001:db8::1", "127.0.0.1", &["[2001:db8::1]:443"], proxies),
            ("127.0.0.1", "127.0.0.1", &["unknown"], proxies),
            ("127.0.0.1", "127.0.0.1", &["1.2.3.4, unknown"], proxies),
            ("127.0.0.1", "127.0.0.1", &[], proxies),
            // Proxies all the way.
            ("10.0.0.1", "127.0.0.1", &["10.0.0.1"], proxies),
        ] {
            let pairs: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", line.as_bytes())).collect();
            let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
            let found = client(peer.parse().unwrap(), &headers(&pairs), &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {lines:?} {trusted:?}");
        }
    }
}
