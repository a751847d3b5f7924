//! Platforms that are many servers, such as Mastodon: each person names theirs, and every URL is a path there.
//!
//! Invariant: a [`Server`] has one spelling. An account's id begins with it, so two spellings would be two accounts,
//! and equal ids at two servers are two accounts.

use url::Url;

use super::{Platform, Refusal, Revocation, Text};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

/// How the servers of a platform take in a client that nobody has registered there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFromUser {
    /// Path of `POST /api/v1/apps`, as Mastodon has it.
    pub register_path: Text,
    /// Name that people read on the consent page; absent: the host of the broker's public URL.
    pub client_name: Option<Text>,
}

/// Longest host, in bytes (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// A server that a person named: scheme, host and maybe a port. It has yet to be checked before it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    origin: String,
    host: String,
}

/// The text names no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the name of the person's server, such as mastodon.social, or their address there, such as @ada@mastodon.social"
)]
pub struct NoServer;

impl Server {
    /// Reads `mastodon.social`, `https://mastodon.social/`, the URL of a profile there, or `@ada@mastodon.social`.
    ///
    /// # Errors
    ///
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, NoServer> {
        let text = text.trim();
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '?' | '#' | '%');
        if text.contains(is_odd) || text.len() > 2 * MAX_HOST {
            return Err(NoServer);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let is_url = rest.len() < text.len();
        if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(NoServer);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // `https://host/@ada` is what people copy from their browser.
        if !(path.is_empty() || (is_url && path.starts_with('@') && !path.contains('/'))) {
            return Err(NoServer);
        }
        let host = match authority.rsplit_once('@') {
            // A user name in a URL is a trick, in an address it is who they are.
            Some((name, host)) if !is_url && path.is_empty() && is_name(name.strip_prefix('@').unwrap_or(name)) => host,
            Some(_) => return Err(NoServer),
            None => authority,
        };
        Self::at(&Url::parse(&format!("{scheme}://{host}/")).map_err(|_| NoServer)?)
    }

    /// The server of an origin that [`Server::origin`] returned.
    #[must_use]
    pub fn from_origin(origin: &str) -> Option<Self> {
        Self::at(&Url::parse(origin).ok()?).ok().filter(|server| server.origin == origin)
    }

    fn at(url: &Url) -> Result<Self, NoServer> {
        let host = url.host_str().map(|host| host.strip_suffix('.').unwrap_or(host)).ok_or(NoServer)?;
        let is_name = host.len() <= MAX_HOST && host.split('.').all(is_label);
        let is_address = matches!(url.host(), Some(url::Host::Ipv6(_)));
        if !(is_name || is_address) || !url.username().is_empty() || url.password().is_some() {
            return Err(NoServer);
        }
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { origin: format!("{}://{host}", url.scheme()), host })
    }

    /// `https://mastodon.social`, without a trailing slash.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `mastodon.social`, with a port where there is one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// True when the issuer is this server, however its URL ends.
    #[must_use]
    pub fn is_issuer(&self, issuer: &str) -> bool {
        issuer.strip_suffix('/').unwrap_or(issuer) == self.origin
    }

    /// The account as it is known beyond its server.
    #[must_use]
    pub fn qualify(&self, account: Account) -> Account {
        let host = &self.host;
        let mut metadata = account.metadata;
        metadata.insert("server".to_owned(), host.as_str().into());
        Account {
            platform_user_id: format!("{host}/{}", account.platform_user_id),
            username: account.username.map(|name| format!("@{name}@{host}")),
            metadata,
            ..account
        }
    }
}

/// True for the name of an account in an address. Servers have rules of their own; this only keeps tricks out.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// True for a path that begins at a server's root and stays on that server.
#[must_use]
pub(super) fn is_path(path: &str) -> bool {
    const ANY: &str = "https://server.example";
    let url = Url::parse(ANY).and_then(|any| any.join(path));
    path.starts_with('/') && url.is_ok_and(|url| url.as_str().strip_prefix(ANY) == Some(path) && url.path() == path)
}

/// Scopes that it takes to read whose account it is.
const NEEDED_SCOPES: &[&str] = &["profile", "read", "read:accounts"];

/// A server that has lost an app is told of it anew, so nothing is the operator's to change.
const LOST_APP: &[Refusal] = &[
    Refusal { codes: &["invalid_client"], ..Refusal::exchange(Failure::ExchangeRejected, LOST_APP_SOURCE) },
    Refusal { codes: &["invalid_client"], ..Refusal::refresh(Failure::RefreshRejected, LOST_APP_SOURCE) },
    Refusal { codes: &["invalid_client"], ..Refusal::authorize(Failure::AuthorizationRefused, LOST_APP_SOURCE) },
];

const LOST_APP_SOURCE: &str =
    "https://docs.joinmastodon.org/methods/oauth/, https://github.com/mastodon/mastodon/issues/27740 (2026-11-26)";

/// The code by which a server says that it does not know the client.
pub const UNKNOWN_CLIENT: &str = "invalid_client";

impl Platform {
    /// The platform of which each person names a server.
    pub(super) fn of_servers(self, servers: ServerFromUser) -> Self {
        Self { server_from_user: Some(servers), needed_scopes: NEEDED_SCOPES, refusals: &[LOST_APP], ..self }
    }

    /// The platform as it is at one server.
    #[must_use]
    pub fn at(&self, server: &Server) -> Self {
        let mut platform = self.clone();
        let put = |path: &mut Text| *path = format!("{}{path}", server.origin()).into();
        put(&mut platform.authorize_url);
        put(&mut platform.token_url);
        put(&mut platform.identity.call.path);
        if let Revocation::Delete { url } | Revocation::Endpoint { url, .. } = &mut platform.revocation {
            put(url);
        }
        platform.server = Some(server.clone());
        platform
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_in_the_ways_in_which_people_write_it() {
        for text in [
            "mastodon.social",
            " Mastodon.Social ",
            "mastodon.social.",
            "mastodon.social/",
            "https://mastodon.social",
            "HTTPS://mastodon.social:443/",
            "https://mastodon.social/@ada",
            "@ada@mastodon.social",
            "ada@mastodon.social",
        ] {
            let server = Server::parse(text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!((server.origin(), server.host()), ("https://mastodon.social", "mastodon.social"), "{text}");
            assert_eq!(Server::from_origin(server.origin()), Some(server), "{text}");
        }
        for (text, origin) in [
            ("bücher.example", "https://xn--bcher-kva.example"),
            ("ｍastodon。social", "https://mastodon.social"),
            ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
            ("0x7f.1", "https://127.0.0.1"),
            ("[::1]:4000", "https://[::1]:4000"),
            ("mastodon.social:8443", "https://mastodon.social:8443"),
        ] {
            assert_eq!(Server::parse(text).unwrap().origin(), origin, "{text}");
        }
    }

    #[test]
    fn anything_else_names_no_server() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = format!("{}example", "a.".repeat(125));
        for text in [
            "",
            " ",
            "@",
            "@@mastodon.social",
            "ada@",
            "a@b@mastodon.social",
            "ada:pw@mastodon.social",
            "https://ada@mastodon.social",
            "https://mastodon.social@evil.example",
            "https://mastodon.social/api",
            "https://mastodon.social/@ada/1",
            "mastodon.social/@ada",
            "mastodon.social/..",
            "mastodon..social",
            "..",
            "ftp://mastodon.social",
            "javascript:alert(1)",
            "mastodon.social?x=1",
            "mastodon.social#x",
            "mastodon.social%2eevil.example",
            "mastodon.social\\@evil.example",
            "mas todon.social",
            "mastodon.social\nevil.example",
            "https:///mastodon.social",
            "//mastodon.social",
            &long,
            &longer,
        ] {
            let read = Server::parse(text);
            assert!(read.is_err(), "{text:?}: {read:?}");
        }
    }

    #[test]
    fn an_issuer_is_the_server_and_nothing_longer() {
        let server = Server::parse("mastodon.social").unwrap();
        for (issuer, is_it) in [
            ("https://mastodon.social", true),
            ("https://mastodon.social/", true),
            ("https://mastodon.social.evil.example", false),
            ("https://mastodon.social/x", false),
            ("http://mastodon.social", false),
        ] {
            assert_eq!(server.is_issuer(issuer), is_it, "{issuer}");
        }
    }

    #[test]
    fn an_account_is_known_by_its_server() {
        let account =
            Account { platform_user_id: "1".to_owned(), username: Some("ada".to_owned()), ..Account::default() };
        let known = Server::parse("mastodon.social").unwrap().qualify(account);
        assert_eq!(known.platform_user_id, "mastodon.social/1");
        assert_eq!(known.username.as_deref(), Some("@ada@mastodon.social"));
        assert_eq!(known.metadata["server"], "mastodon.social");
    }

    #[test]
    fn a_path_stays_on_its_server() {
        for (path, is_it) in [
            ("/oauth/token", true),
            ("/", true),
            ("oauth/token", false),
            ("//evil.example/token", false),
            ("/\\evil.example", false),
            ("/a/../token", false),
            ("/token?x=1", false),
            ("/token#x", false),
            ("https://id.example/token", false),
            ("", false),
        ] {
            assert_eq!(is_path(path), is_it, "{path}");
        }
    }
}
