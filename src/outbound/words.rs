//! Says to the operator why a server could not be reached.

use std::error::Error as StdError;
use std::io;

use super::Error;
use crate::domain::error_chain::chain;

impl Error {
    /// True when this machine gave no socket: the open files or the memory are used up.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        use rustix::io::Errno as E;
        const OURS: [E; 4] = [E::MFILE, E::NFILE, E::NOBUFS, E::NOMEM];
        if !self.is_before_sending() {
            return false;
        }
        let causes = std::iter::successors(Some(self as &(dyn StdError + 'static)), |error| cause(*error));
        let mut errors = causes.filter_map(|error| error.downcast_ref::<io::Error>());
        errors.any(|error| E::from_io_error(error).is_some_and(|errno| OURS.contains(&errno)))
    }

    /// True when a proxy on the way failed or refused, whatever the URL.
    #[must_use]
    pub fn is_of_proxy(&self) -> bool {
        let said = chain(self).to_lowercase();
        ["proxy", "tunnel", "socks"].iter().any(|word| said.contains(word))
    }

    /// What went wrong and what to look at. A sentence without its full stop; holds no URL.
    #[must_use]
    pub fn in_words(&self) -> String {
        let causes: Vec<&(dyn StdError + 'static)> =
            std::iter::successors(Some(self as _), |error| cause(*error)).collect();
        let said = chain(self).to_lowercase();
        if let Some(tls) = causes.iter().find_map(|error| error.downcast_ref::<rustls::Error>()) {
            return format!(
                "the TLS connection failed ({tls}): check the clock, the URL and any proxy that inspects TLS"
            );
        }
        let is_unresolved = self.is_without_host() || said.contains("dns error");
        if is_unresolved && !self.is_of_proxy() {
            // The client does not tell whose name it was.
            return "the host's name does not resolve: check the URL, outbound.proxy if it is set, and the DNS of this machine"
                .to_owned();
        }
        if self.is_of_proxy() {
            return format!(
                "the proxy did not let it through ({}): check outbound.proxy, or the HTTPS_PROXY, HTTP_PROXY or ALL_PROXY that is \
                 used where it is not set",
                chain(self)
            );
        }
        let kinds = || causes.iter().filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
        if kinds().any(|kind| kind == io::ErrorKind::ConnectionRefused) {
            return "the connection was refused: nothing listens there, or at outbound.proxy if it is set, or a firewall says no"
                .to_owned();
        }
        if kinds().any(|kind| matches!(kind, io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)) {
            return "there is no way to that host: check the network of this machine, or set outbound.proxy".to_owned();
        }
        match self {
            Self::Connect(error) | Self::Timeout(error) if error.is_timeout() => {
                "there was no answer in time: check the network, and whether it needs outbound.proxy".to_owned()
            }
            _ => chain(self),
        }
    }
}

/// The cause of an error. An I/O error may carry it inside.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inside.map(|inner| inner as &'a (dyn StdError + 'static)).or_else(|| error.source())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use url::Url;

    use crate::domain::proxy::{Proxies, Proxy};
    use crate::outbound::{Outbound, Request, Roots, Settings};

    async fn words(url: &str) -> String {
        words_through(Proxies::default(), url).await
    }

    async fn words_through(proxies: Proxies, url: &str) -> String {
        let settings = Settings {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            allow_private_networks: false,
            roots: Roots::default(),
            proxies,
        };
        let request = Request::get(Url::parse(url).unwrap());
        Outbound::new(&settings).unwrap().send(request).await.unwrap_err().in_words()
    }

    #[tokio::test]
    async fn the_usual_reasons_are_told_in_words() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        assert!(words(&format!("http://{address}/")).await.starts_with("there was no answer in time"));
        drop(silent);
        assert!(words(&format!("http://{address}/")).await.starts_with("the connection was refused"));
        let no_name = words("https://nowhere.invalid/").await;
        assert!(no_name.starts_with("the host's name does not resolve"), "{no_name}");
        let proxy = Proxy::parse("http://nowhere.invalid:3128", "outbound.proxy").ok();
        for url in ["https://id.example/", "http://id.example/"] {
            let no_proxy = words_through(Proxies::new(proxy.clone(), proxy.clone(), ""), url).await;
            assert!(no_proxy.contains("outbound.proxy"), "{no_proxy}");
        }
        let proxy = Proxy::parse(&format!("http://{address}"), "outbound.proxy").ok();
        let refused = words_through(Proxies::new(proxy, None, ""), "http://id.example/").await;
        assert!(refused.contains("outbound.proxy"), "{refused}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named_by_each_setting_that_can_have_named_it() {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", proxy.local_addr().unwrap());
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            for _ in 0..2 {
                let (mut stream, _) = proxy.accept().unwrap();
                let _ = stream.read(&mut [0; 512]);
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
            }
        });
        let proxy = Proxy::parse(&url, "HTTPS_PROXY").unwrap();
        let told = words_through(Proxies::new(None, Some(proxy), ""), "https://id.example/").await;
        assert!(told.contains("check outbound.proxy, or the HTTPS_PROXY"), "{told}");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_told_as_such() {
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = plain.local_addr().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            for _ in 0..2 {
                let (mut stream, _) = plain.accept().unwrap();
                let mut hello = [0; 64];
                let _ = stream.read(&mut hello);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        let told = words(&format!("https://{address}/")).await;
        assert!(told.starts_with("the TLS connection failed"), "{told}");
    }
}
