//! The HTTP client: its proxies, stale connections, and compressed answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use postpeer::domain::proxy::{Proxies, Proxy};
use postpeer::outbound::{Authorization, Body, Dns, Error, Guard, Outbound, Refused, Request, Roots, Settings};
use url::Url;

use crate::dns::DnsServer;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

fn settings(proxies: Proxies) -> Settings {
    let (connect_timeout, timeout) = (Duration::from_secs(5), Duration::from_secs(5));
    Settings { connect_timeout, timeout, allow_private_networks: false, proxies, roots: Roots::default() }
}

fn get(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: Url::parse(url).unwrap(),
        authorization: Authorization::None,
        headers: Vec::new(),
        body: Body::Empty,
    }
}

/// A server that keeps what each connection sent, read by read.
struct Server {
    address: String,
    connections: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
}

impl Server {
    /// `answer`: the answer to the read of that number on one connection; `None` closes it.
    fn start(answer: impl Fn(usize) -> Option<&'static [u8]> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections: Arc<Mutex<Vec<Vec<Vec<u8>>>>> = Arc::default();
        let kept = connections.clone();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let at = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                let (kept, answer) = (kept.clone(), answer.clone());
                std::thread::spawn(move || {
                    converse(stream.unwrap(), |read, bytes| {
                        kept.lock().unwrap()[at].push(bytes);
                        answer(read)
                    });
                });
            }
        });
        Self { address, connections }
    }

    fn heard(&self) -> Vec<Vec<String>> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.connections.lock().unwrap().iter().map(|reads| reads.iter().map(text).collect()).collect()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn converse(mut stream: TcpStream, hear: impl Fn(usize, Vec<u8>) -> Option<&'static [u8]>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut reads = 0;
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            return;
        }
        let Some(answer) = hear(reads, buffer[..length].to_vec()) else { return };
        if stream.write_all(answer).is_err() {
            return;
        }
        reads += 1;
    }
}

fn through(proxy: &str, no_proxy: &str) -> Outbound {
    let proxy = Proxy::parse(proxy, "outbound.proxy").unwrap();
    Outbound::new(&settings(Proxies::new(Some(proxy.clone()), Some(proxy), no_proxy))).unwrap()
}

#[tokio::test]
async fn calls_go_through_an_http_proxy() {
    let proxy = Server::start(|_| Some(OK));
    let outbound = through(&format!("http://ada:pass%40word@{}", proxy.address), "direct.example");
    // No name server knows the host: only the proxy is asked.
    let answer = outbound.send(get("http://api.platform.invalid/me?x=1")).await.unwrap();
    assert!(answer.is_success());
    let heard = &proxy.heard()[0][0];
    assert!(heard.starts_with("GET http://api.platform.invalid/me?x=1 HTTP/1.1\r\n"), "{heard}");
    // "ada:pass@word"
    assert!(heard.to_lowercase().contains("proxy-authorization: basic ywrhonbhc3nad29yza==\r\n"), "{heard}");

    let error = outbound.send_once(get("http://direct.example/me")).await.unwrap_err();
    assert!(error.is_before_sending(), "{error:?}");
    let platform = Server::start(|_| Some(OK));
    assert!(outbound.send(get(&platform.url("/me"))).await.unwrap().is_success(), "loopback needs no proxy");
    assert_eq!((proxy.heard().len(), platform.heard().len()), (1, 1));
}

#[tokio::test]
async fn tls_goes_through_a_tunnel() {
    let refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let proxy = Server::start(|_| Some(refused));
    let outbound = through(&format!("http://ada:pass@{}", proxy.address), "");
    let error = outbound.send_once(get("https://api.platform.invalid/me?token=marker")).await.unwrap_err();
    assert!(error.is_before_sending(), "{error:?}");
    let heard = &proxy.heard()[0][0];
    assert!(heard.starts_with("CONNECT api.platform.invalid:443 HTTP/1.1\r\n"), "{heard}");
    assert!(heard.to_lowercase().contains("proxy-authorization: basic ywrhonbhc3m="), "{heard}");
    assert!(!heard.contains("marker"), "{heard}");
    assert!(!format!("{outbound:?} {error:?}").contains("pass"));
}

/// A certificate for localhost and 127.0.0.1 that signs itself, valid until 2126, and its key.
const SELF_SIGNED: [&str; 2] = [
    "MIIBpjCCAUygAwIBAgIUJ7IWBUoZuj/nM2fqx3IB+OQdABUwCgYIKoZIzj0EAwIwGzEZMBcGA1UEAwwQc2lnbmVkIGJ5IGl0c2VsZjAgFw0y\
     NjExMjYxODA5NDFaGA8yMTI2MTEwMjE4MDk0MVowGzEZMBcGA1UEAwwQc2lnbmVkIGJ5IGl0c2VsZjBZMBMGByqGSM49AgEGCCqGSM49AwEH\
     A0IABDMY0hvUT7ygLJsV/vR73lmxjQJzfQ8G+Kk9MJiKClJxk0/JOVP/DOAOdSZBRi6zt2IPYem5Uo4Kqo4UxTTELvyjbDBqMB0GA1UdDgQW\
     BBRraUR0UpuwOXPeZ9dREgcW5aKDgzAfBgNVHSMEGDAWgBRraUR0UpuwOXPeZ9dREgcW5aKDgzAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8A\
     AAEwDAYDVR0TAQH/BAIwADAKBggqhkjOPQQDAgNIADBFAiBHeh+WkJNF23+PqXc4/qCa5R4tbtbgpvWbtAr1M7UUwQIhAJxoO6wGQKFud4fK\
     E17PcV+BypYQBVOA0gPuKDJgalQ1",
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg52P4/pTQEY2Z0vAmkbKznQf5aB1SJsZfEgIqVneDsdqhRANCAAQzGNIb1E+8\
     oCybFf70e95ZsY0Cc30PBvipPTCYigpScZNPyTlT/wzgDnUmQUYus7diD2HpuVKOCqqOFMU0xC78",
];

/// A TLS server with that certificate. Sends the text of each request that gets through.
fn self_signed() -> (String, std::sync::mpsc::Receiver<String>) {
    use base64::Engine as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    let [certificate, key] = SELF_SIGNED.map(|text| base64::engine::general_purpose::STANDARD.decode(text).unwrap());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (heard, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut buffer = vec![0; 4096];
            let read = rustls::Stream::new(&mut tls, &mut stream).read(&mut buffer);
            if let Ok(length @ 1..) = read {
                let _ = heard.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
    });
    (url, requests)
}

/// Neither a certificate that no authority signed nor a server without TLS gets the request.
#[tokio::test]
async fn a_server_that_cannot_prove_its_name_gets_no_request() {
    let (url, requests) = self_signed();
    let plain = Server::start(|_| Some(OK));
    let outbound = Outbound::new(&settings(Proxies::default())).unwrap();
    for (url, why) in [
        (url, "invalid peer certificate: UnknownIssuer"),
        (plain.url("").replace("http:", "https:"), "corrupt message"),
    ] {
        let url = format!("{url}/token?code=marker");
        for error in [outbound.send(get(&url)).await.unwrap_err(), outbound.send_once(get(&url)).await.unwrap_err()] {
            assert!(error.is_before_sending(), "{error:?}");
            let whole = postpeer::domain::error_chain::chain(&error);
            assert!(whole.contains(why) && !whole.contains("marker"), "{whole}");
        }
    }
    assert!(requests.try_recv().is_err(), "a request got through");
    assert!(!format!("{:?}", plain.heard()).contains("marker"));
}

#[tokio::test]
async fn calls_go_through_a_socks_proxy() {
    // Greeting, request with a name, then the request itself.
    let proxy = Server::start(|read| {
        Some(match read {
            0 => &[5, 0],
            1 => &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80],
            _ => OK,
        })
    });
    let outbound = through(&format!("socks5h://{}", proxy.address), "");
    assert!(outbound.send(get("http://api.platform.invalid/me")).await.unwrap().is_success());
    let heard = &proxy.heard()[0];
    assert!(heard[1].contains("api.platform.invalid"), "{heard:?}");
    assert!(heard[2].starts_with("GET /me HTTP/1.1\r\n"), "{heard:?}");
}

#[tokio::test]
async fn a_host_that_a_user_named_is_resolved_before_the_proxy_is_asked() {
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let proxy = Server::start(|_| Some(refused));
    let dns = DnsServer::start();
    dns.addresses("public.example.com", &[&["93.184.216.34"]])
        .addresses("inside.example.com", &[&["10.0.0.1"]])
        .addresses("proxy.corp.com", &[&["127.0.0.1"]]);
    let port = proxy.address.rsplit_once(':').unwrap().1;
    let named = Proxy::parse(&format!("http://proxy.corp.com:{port}"), "HTTPS_PROXY").unwrap();
    let settings = settings(Proxies::new(None, Some(named), "direct.example.com"));
    let guard = Guard::new(&settings, Dns::at(dns.address)).unwrap();
    // The proxy's own name leads to a private address, which is right for a proxy and wrong for anyone else.
    for url in ["https://inside.example.com/", "https://proxy.corp.com/"] {
        for error in [
            guard.send(get(url)).await.unwrap_err(),
            guard.send_once(get(url)).await.unwrap_err(),
            guard.get_following(Url::parse(url).unwrap()).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Refused(Refused::NotPublic)), "{url}: {error:?}");
        }
    }
    let error = guard.send(get("https://unknown.example.com/")).await.unwrap_err();
    assert!(matches!(error, Error::Unresolved(_)), "{error:?}");
    assert_eq!(proxy.heard().len(), 0);
    let error = guard.send(get("https://public.example.com/")).await.unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    assert!(proxy.heard()[0][0].starts_with("CONNECT public.example.com:443 "));
}

/// A load balancer that answers one request on each connection and forgets the rest.
fn forgetful() -> Server {
    Server::start(|read| (read == 0).then_some(OK))
}

#[tokio::test]
async fn a_call_that_may_arrive_twice_is_repeated_when_its_connection_was_stale() {
    let server = forgetful();
    let outbound = Outbound::new(&settings(Proxies::default())).unwrap();
    for path in ["/1", "/2", "/3", "/4"] {
        assert!(outbound.send(get(&server.url(path))).await.unwrap().is_success(), "{path}");
    }
    // A server that never answers is asked twice, not for ever.
    let server = Server::start(|_| None);
    let error = outbound.send(get(&server.url("/"))).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error:?}");
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn a_call_that_must_not_arrive_twice_has_a_connection_of_its_own() {
    let server = forgetful();
    let outbound = Outbound::new(&settings(Proxies::default())).unwrap();
    assert!(outbound.send(get(&server.url("/identity"))).await.unwrap().is_success());
    for path in ["/code", "/refresh", "/refresh"] {
        assert!(outbound.send_once(get(&server.url(path))).await.unwrap().is_success(), "{path}");
    }
    let heard = server.heard();
    assert_eq!(heard.len(), 4);
    assert!(heard.iter().all(|reads| reads.len() == 1), "{heard:?}");

    let server = Server::start(|_| None);
    let error = outbound.send_once(get(&server.url("/"))).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error:?}");
    assert!(!error.is_before_sending());
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn compressed_answers_are_read_although_none_was_asked_for() {
    // `{"id":"1"}`
    let gzip: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 30\r\n\r\n\
        \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV\xcaLQ\xb2R2T\xaa\x05\x00\xf3\xc8\x18\xf6\n\x00\x00\x00";
    let server = Server::start(move |_| Some(gzip));
    let outbound = Outbound::new(&settings(Proxies::default())).unwrap();
    for once in [false, true] {
        let request = get(&server.url("/"));
        let answer = if once { outbound.send_once(request).await } else { outbound.send(request).await };
        assert_eq!(answer.unwrap().body.as_slice(), br#"{"id":"1"}"#);
    }
    assert!(server.heard().iter().flatten().all(|asked| asked.contains("accept-encoding: identity\r\n")));
    let unknown: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n\x8b\xff";
    let server = Server::start(move |_| Some(unknown));
    let answer = outbound.send(get(&server.url("/"))).await.unwrap();
    assert_eq!(answer.body.as_slice(), b"\x8b\xff", "a later program may understand it");
}
