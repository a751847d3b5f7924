//! Proxies between the broker and the platforms.
//!
//! A proxy's URL is a secret, because it may hold a password. [`Proxy::shown`] is what logs may have.

use std::fmt;

use url::Url;

use super::secret::SecretString;

/// Hosts that are never called through a proxy: this machine.
const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";

/// A proxy, with the user name and the password that it asks for.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The whole URL, its scheme included.
    pub url: SecretString,
    /// Scheme, host and port.
    pub shown: String,
    /// Host name in lower case, or address.
    pub host: String,
    /// The setting that names the proxy.
    pub source: String,
}

/// The text is no URL of a proxy. Completes a sentence that begins with the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the URL of a proxy, such as http://proxy.example:3128 or socks5://proxy.example:1080")]
pub struct NotAProxy;

impl Proxy {
    /// Reads a URL; without a scheme, it is an http proxy. `source`: the setting that it comes from.
    ///
    /// # Errors
    ///
    /// The scheme is another one than http, https, socks5 and socks5h, there is no host, or there is more than that.
    pub fn parse(text: &str, source: &str) -> Result<Self, NotAProxy> {
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&text).map_err(|_| NotAProxy)?;
        if matches!(url.scheme(), "socks5" | "socks5h") && url.port().is_none() {
            url.set_port(Some(1080)).map_err(|()| NotAProxy)?;
        }
        let is_proxy = matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h");
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|host| !host.is_empty() && is_proxy && is_bare).ok_or(NotAProxy)?;
        let port = url.port_or_known_default().ok_or(NotAProxy)?;
        let shown = format!("{}://{host}:{port}", url.scheme());
        let host = host.to_ascii_lowercase();
        Ok(Self { url: SecretString::from(url.as_str()), shown, host, source: source.to_owned() })
    }
}

/// The proxies for calls to platforms. None by default.
#[derive(Debug, Clone)]
pub struct Proxies {
    /// For http URLs.
    pub http: Option<Proxy>,
    /// For https URLs.
    pub https: Option<Proxy>,
    /// Hosts that are called directly: names with their subdomains, addresses and networks, separated by commas.
    pub no_proxy: String,
}

impl Default for Proxies {
    fn default() -> Self {
        Self::new(None, None, "")
    }
}

impl Proxies {
    /// `no_proxy`: as in the environment variable of that name, with `*` for all hosts. This machine is always called
    /// directly.
    #[must_use]
    pub fn new(http: Option<Proxy>, https: Option<Proxy>, no_proxy: &str) -> Self {
        let hosts: Vec<&str> = no_proxy.split(|c: char| c == ',' || c.is_whitespace()).map(host_of).collect();
        let is_for_all = hosts.contains(&"*");
        let hosts = hosts.into_iter().filter(|host| !host.is_empty());
        let no_proxy = hosts.chain([THIS_MACHINE]).collect::<Vec<_>>().join(",");
        Self { http: http.filter(|_| !is_for_all), https: https.filter(|_| !is_for_all), no_proxy }
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// True for the host name of a proxy.
    #[must_use]
    pub fn has_host(&self, name: &str) -> bool {
        [&self.http, &self.https].into_iter().flatten().any(|proxy| proxy.host.eq_ignore_ascii_case(name))
    }
}

/// The host of an entry such as `*.example.com` or `example.com:8080`, which some programs take.
fn host_of(entry: &str) -> &str {
    let host = if entry == "*" { entry } else { entry.strip_prefix('*').unwrap_or(entry) };
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _port)) => address,
        None => match host.split_once(':') {
            Some((host, port)) if !port.contains(':') => host,
            _ => host,
        },
    }
}

/// Without user names and passwords.
impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = [("http", &self.http), ("https", &self.https)];
        for (scheme, proxy) in ways.into_iter().filter_map(|(scheme, proxy)| Some((scheme, proxy.as_ref()?))) {
            write!(f, "{scheme} URLs through {} ({}), ", proxy.shown, proxy.source)?;
        }
        write!(f, "and without a proxy: {}", self.no_proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("http://proxy.example", "http://proxy.example:80"),
            ("proxy.example:3128", "http://proxy.example:3128"),
            ("ada:pass@Proxy.example:3128/", "http://proxy.example:3128"),
            ("https://ada:pass@proxy.example", "https://proxy.example:443"),
            ("socks5://ada:pass@10.0.0.1", "socks5://10.0.0.1:1080"),
            ("socks5h://[fd00::1]:1081", "socks5h://[fd00::1]:1081"),
        ] {
            let proxy = Proxy::parse(text, "HTTPS_PROXY").unwrap();
            assert_eq!(proxy.shown, shown, "{text}");
            let proxies = Proxies::new(None, Some(proxy), "");
            let said = format!("{proxies} {proxies:?}");
            assert!(said.contains(shown) && said.contains("HTTPS_PROXY") && !said.contains("pass"), "{said}");
        }
        for text in [
            "",
            "http://",
            "://proxy.example",
            "ftp://proxy.example",
            "socks4://proxy.example",
            "http://proxy.example/path",
            "http://proxy.example?x",
            "http://proxy.example#x",
            "http://proxy example",
            "proxy.example:port",
        ] {
            assert!(Proxy::parse(text, "x").is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_without_a_proxy_are_read_as_other_programs_write_them() {
        let no_proxy = |text: &str| Proxies::new(None, None, text).no_proxy.replace(&format!(",{THIS_MACHINE}"), "");
        for (text, read) in [
            ("a.example, .b.example", "a.example,.b.example"),
            ("*.a.example a.example:8080", ".a.example,a.example"),
            ("10.0.0.0/8,fd00::1,[fd00::2]:80", "10.0.0.0/8,fd00::1,fd00::2"),
            ("*", "*"),
        ] {
            assert_eq!(no_proxy(text), read, "{text}");
        }
        assert_eq!(Proxies::default().no_proxy, THIS_MACHINE);
        let proxy = Proxy::parse("http://proxy.example", "x").ok();
        assert!(Proxies::new(proxy.clone(), proxy.clone(), "a.example,*").is_none());
        assert!(!Proxies::new(proxy, None, "*.example").is_none());
    }
}
