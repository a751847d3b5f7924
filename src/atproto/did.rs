//! Decentralized identifiers (DIDs) of the two methods that the protocol blesses.

use std::fmt;

use url::Url;

/// Longest accepted DID, in bytes.
const MAX_LENGTH: usize = 300;

/// A well-formed `did:plc:…` or `did:web:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(String);

impl Did {
    /// `None` when the text is no DID of a blessed method.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fine = text.len() <= MAX_LENGTH
            && match (text.strip_prefix("did:plc:"), text.strip_prefix("did:web:")) {
                (Some(id), _) => id.len() == 24 && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')),
                (_, Some(host)) => web_authority(host).is_some(),
                _ => false,
            };
        fine.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of a did:web's document; `None` for other DIDs. Always https, except on loopback.
    pub(super) fn web_document(&self) -> Option<Url> {
        let authority = web_authority(self.0.strip_prefix("did:web:")?)?;
        let url = Url::parse(&format!("https://{authority}/.well-known/did.json")).ok()?;
        if !crate::domain::redirect::is_loopback(&url) {
            return Some(url);
        }
        // The guard decides whether a loopback host may be called.
        Url::parse(&format!("http://{authority}/.well-known/did.json")).ok()
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Host of a did:web, with its port (`%3A` in a DID) if there is one. The AT Protocol allows no path.
fn web_authority(text: &str) -> Option<String> {
    let (host, port) = match text.split_once("%3A").or_else(|| text.split_once("%3a")) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let is_port =
        port.is_none_or(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty());
    (is_host && is_port).then(|| port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dids_of_two_methods_are_read_strictly() {
        for good in ["did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:web:alice.example.com", "did:web:localhost%3A2583"] {
            assert_eq!(Did::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "did:",
            "did:plc:",
            "did:plc:ewvi7nxzyoun6zhxrhs64oi",
            "did:plc:ewvi7nxzyoun6zhxrhs64oizz",
            "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ",
            "did:plc:ewvi7nxzyoun6zhxrhs64oi1",
            "did:plc:../../../../../../../../x",
            "did:web:",
            "did:web:alice.example:user:bob",
            "did:web:alice.example/x",
            "did:web:alice.example?x",
            "did:web:alice.example#x",
            "did:web:user@alice.example",
            "did:web:alice.example%2Fx",
            "did:web:alice.example%3A",
            "did:web:alice.example%3A44x",
            "did:web:alice.example%3A443%3A1",
            "did:web:alice example",
            "did:web:\u{430}lice.example",
            "did:key:z6Mk",
            "DID:PLC:ewvi7nxzyoun6zhxrhs64oiz",
            " did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        ] {
            assert_eq!(Did::parse(bad), None, "{bad}");
        }
        assert_eq!(Did::parse(&format!("did:web:{}", "a".repeat(300))), None);
    }

    #[test]
    fn the_document_of_a_web_identity_is_at_its_host() {
        let url = |did: &str| Did::parse(did).unwrap().web_document().map(String::from);
        assert_eq!(url("did:web:a.example").as_deref(), Some("https://a.example/.well-known/did.json"));
        assert_eq!(url("did:web:localhost%3A2583").as_deref(), Some("http://localhost:2583/.well-known/did.json"));
        assert_eq!(url("did:web:10.0.0.1").as_deref(), Some("https://10.0.0.1/.well-known/did.json"));
        assert_eq!(url("did:plc:ewvi7nxzyoun6zhxrhs64oiz"), None);
    }
}
