//! A network in CIDR notation, or a single address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// An IPv4 address written as IPv6 (`::ffff:…`) counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// True for a network of all addresses, `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// True when every address of `other` is in this network.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

/// Without the bits that the prefix leaves open, and a single address without its prefix.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.0.trunc();
        if network.prefix_len() == network.max_prefix_len() { network.addr().fmt(f) } else { network.fmt(f) }
    }
}

/// The address that stands for a subscriber in limits per address: an IPv6 subscriber has a /64 network of them.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// The text is neither a network nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network such as 10.0.0.0/8, fd00::/8 or a single address")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let single = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| single()).map(canonical).map(Self).map_err(|_| NotANetwork)
    }
}

/// An IPv4 network written as IPv6 (`::ffff:10.0.0.0/104`) as the IPv4 network.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(wide) => wide.prefix_len().checked_sub(96).zip(wide.addr().to_ipv4_mapped()),
    };
    mapped.and_then(|(prefix, address)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_or_a_single_address_is_read() {
        for (text, shown) in [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("::1", "::1/128")] {
            assert_eq!(text.parse::<Network>().unwrap().0.to_string(), shown);
        }
        for (text, is_everybody) in [("0.0.0.0/0", true), ("::/0", true), ("10.0.0.0/8", false), ("::1", false)] {
            assert_eq!(text.parse::<Network>().unwrap().is_everybody(), is_everybody, "{text}");
        }
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "example.com", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(wrong.parse::<Network>(), Err(NotANetwork), "{wrong}");
        }
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one_subscriber() {
        for (address, of) in [
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(subscriber(address.parse().unwrap()).to_string(), of, "{address}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let contains =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "127.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ] {
            assert!(contains(network, inside), "{network} {inside}");
            assert!(!contains(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn a_network_covers_what_is_not_wider() {
        let covers = |one: &str, other: &str| one.parse::<Network>().unwrap().covers(&other.parse().unwrap());
        for (one, other) in
            [("10.0.0.0/8", "10.1.0.0/16"), ("10.0.0.0/8", "10.0.0.0/8"), ("fd00::/8", "fd00::1"), ("::/0", "fd00::/8")]
        {
            assert!(covers(one, other), "{one} {other}");
            assert!(one == other || !covers(other, one), "{other} {one}");
        }
        assert!(covers("10.0.0.0/8", "::ffff:10.1.0.0/112"));
        assert!(!covers("10.0.0.0/8", "11.0.0.0/8") && !covers("::/0", "10.0.0.0/8") && !covers("0.0.0.0/0", "::/0"));
    }

    #[test]
    fn a_network_is_shown_as_it_is_understood() {
        for (text, shown) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::1", "::1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
    }
}
