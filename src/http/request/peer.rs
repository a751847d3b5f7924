//! The client's address, which may be behind reverse proxies.
//!
//! Invariant: only the entries of `X-Forwarded-For` that a proxy named by the operator wrote are trusted. Entries of
//! anyone else are further to the left. An entry of a trusted proxy that cannot be read is a client without an address:
//! it never counts as the proxy.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderValue, X_FORWARDED_FOR};

use crate::domain::network::Network;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// A client at this address, or a trusted proxy that names no client.
    At(IpAddr),
    /// A client whose address cannot be read, as this trusted proxy wrote it.
    Unreadable { proxy: IpAddr },
}

/// Returns the address of the client; `None` where it cannot be read.
pub(crate) fn address(req: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    match client(req.peer_addr()?.ip(), req.headers(), trusted) {
        Client::At(address) => Some(address),
        Client::Unreadable { .. } => None,
    }
}

/// Returns the address that limits count. `None` for a trusted proxy that names no client: it stands for many. The
/// clients of a proxy whose addresses cannot be read share that of the proxy.
pub(crate) fn counted(req: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    match client(req.peer_addr()?.ip(), req.headers(), trusted) {
        Client::At(address) => (!is_trusted(address, trusted)).then_some(address),
        Client::Unreadable { proxy } => Some(proxy),
    }
}

fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Walks from the socket outwards while each hop is a trusted proxy.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Client {
    if !is_trusted(peer, trusted) {
        return Client::At(peer.to_canonical());
    }
    let lines: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).collect();
    let elements = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    // Empty elements of a list mean nothing (RFC 9110, section 5.6.1).
    let mut hops = elements.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty());
    let mut at = peer;
    while is_trusted(at, trusted) {
        // No further entry: the proxy itself is the client.
        let Some(hop) = hops.next() else { break };
        let Some(next) = parse(hop) else { return Client::Unreadable { proxy: at.to_canonical() } };
        at = next;
    }
    Client::At(at.to_canonical())
}

/// Parses an address with or without a port, brackets and a zone.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?;
    let inner = match hop.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, port)) if is_port(port) => inner,
        Some(_) => return None,
        None => hop,
    };
    // The zone is the name of an interface of the proxy's machine.
    let bare = inner.split_once('%').map_or(inner, |(bare, _zone)| bare);
    bare.parse().ok().or_else(|| bare.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// True for what may follow a bracket: nothing, or a colon and a port.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

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
            ("2001:db8::1", "127.0.0.1", &["[2001:db8::1]"], proxies),
            ("fe80::1", "127.0.0.1", &["fe80::1%eth0"], proxies),
            ("fe80::1", "127.0.0.1", &["[fe80::1%25eth0]:443"], proxies),
            ("203.0.113.9", "127.0.0.1", &["203.0.113.9,"], proxies),
            ("203.0.113.9", "127.0.0.1", &["203.0.113.9", " , ,"], proxies),
            ("127.0.0.1", "127.0.0.1", &[], proxies),
            ("127.0.0.1", "127.0.0.1", &[" , "], proxies),
            // Proxies all the way.
            ("10.0.0.1", "127.0.0.1", &["10.0.0.1"], proxies),
        ] {
            let pairs: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", line.as_bytes())).collect();
            let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
            let found = client(peer.parse().unwrap(), &headers(&pairs), &trusted);
            assert_eq!(found, Client::At(expected.parse().unwrap()), "{peer} {lines:?} {trusted:?}");
        }
    }

    #[test]
    fn a_hop_that_cannot_be_read_is_not_the_proxy() {
        let trusted: [Network; 2] = ["127.0.0.1", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        let found =
            |line: &[u8]| client("127.0.0.1".parse().unwrap(), &headers(&[("x-forwarded-for", line)]), &trusted);
        let at = |address: &str| Client::At(address.parse().unwrap());
        // Entries further to the left may be anything.
        assert_eq!(found(b"\xff, 203.0.113.9"), at("203.0.113.9"));
        assert_eq!(found(b"\xff\xfe,203.0.113.9, 10.0.0.7"), at("203.0.113.9"));
        for line in [
            &b"unknown"[..],
            b"1.2.3.4, unknown",
            b"203.0.113.9, \xff",
            b"_hidden",
            b"[2001:db8::1",
            b"[2001:db8::1]x",
            b"[2001:db8::1]:x",
            b"203.0.113.9:x",
            b"203.0.113.9 198.51.100.1",
        ] {
            let proxy = "127.0.0.1".parse().unwrap();
            assert_eq!(found(line), Client::Unreadable { proxy }, "{}", line.escape_ascii());
        }
        let inner = "10.0.0.7".parse().unwrap();
        assert_eq!(found(b"unknown, 10.0.0.7"), Client::Unreadable { proxy: inner });
    }

    #[test]
    fn a_client_without_an_address_is_in_no_network_and_counted_with_its_proxy() {
        let trusted: [Network; 1] = ["127.0.0.1".parse().unwrap()];
        let request = |line: &[u8]| {
            let value = HeaderValue::from_bytes(line).unwrap();
            let request = TestRequest::default().peer_addr("127.0.0.1:4711".parse().unwrap());
            request.insert_header(("x-forwarded-for", value)).to_http_request()
        };
        let (proxy, named) = ("127.0.0.1".parse().ok(), "203.0.113.9".parse().ok());
        for (line, expected) in
            [(&b"unknown"[..], (None, proxy)), (b"\xff, 203.0.113.9", (named, named)), (b"", (proxy, None))]
        {
            let req = request(line);
            assert_eq!((address(&req, &trusted), counted(&req, &trusted)), expected, "{}", line.escape_ascii());
        }
    }
}
