//! The client for hosts that users choose: the hosts that it refuses, and that it connects only to checked addresses.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use postpeer::domain::proxy::Proxies;
use postpeer::outbound::{
    Authorization, Body, Dns, Error, Guard, MAX_ANSWER, Refused, Request, Roots, Settings, is_public,
};
use url::Url;

use crate::dns::DnsServer;

fn settings(allow_private_networks: bool) -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
        allow_private_networks,
        roots: Roots::default(),
        proxies: Proxies::default(),
    }
}

fn strict(dns: &DnsServer) -> Guard {
    Guard::new(&settings(false), Dns::at(dns.address)).unwrap()
}

fn lenient(dns: &DnsServer) -> Guard {
    Guard::new(&settings(true), Dns::at(dns.address)).unwrap()
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

/// A server that reads each request and then runs this on its connection.
fn server(address: &str, serve: impl Fn(TcpStream, String) + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let _: JoinHandle<()> = std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let mut asked = vec![0; 16 * 1024];
            let read = stream.read(&mut asked).unwrap_or(0);
            serve(stream, String::from_utf8_lossy(&asked[..read]).into_owned());
        }
    });
    (port, connections)
}

#[test]
fn only_addresses_of_the_public_internet_are_public() {
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.1",
        "52.216.0.1",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.255.255",
        "192.169.0.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "2400:cb00::1",
        "2620:fe::fe",
    ];
    let not_public = [
        // this network, private, shared, loopback
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.1.2.3",
        "127.255.255.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "192.168.255.255",
        // link-local, and where clouds keep their credentials
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        // documentation, benchmarks, relays, multicast, reserved, broadcast
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "233.252.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        // IPv6: unspecified, loopback, local, multicast
        "::",
        "::1",
        "fc00::1",
        "fd00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        // IPv4 in disguise: mapped, compatible, NAT64 (global and local), 6to4, Teredo, translated
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "::8.8.8.8",
        "64:ff9b::127.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::10.0.0.1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2001::1",
        "2001:0:7f00:1::",
        "::ffff:0:127.0.0.1",
        // discard-only, documentation, benchmarks, ORCHID, segment routing, not given out
        "100::1",
        "2001:db8::1",
        "3fff::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "5f00::1",
        "4000::1",
        "1::1",
        "e000::1",
    ];
    assert!(public.len() + not_public.len() >= 80, "{}", public.len() + not_public.len());
    for address in public {
        assert!(is_public(address.parse::<IpAddr>().unwrap()), "{address}");
    }
    for address in not_public {
        assert!(!is_public(address.parse::<IpAddr>().unwrap()), "{address}");
    }
}

#[test]
fn only_https_by_name_on_its_own_port_is_called() {
    let dns = DnsServer::start();
    let guard = strict(&dns);
    assert!(!guard.allows_private_networks() && lenient(&dns).allows_private_networks());
    for good in
        ["https://pds.example.com", "https://pds.example.com:443/x?y", "https://xn--bcher-kva.ch/", "https://a.b.c.de."]
    {
        assert_eq!(guard.check(&Url::parse(good).unwrap()), Ok(()), "{good}");
    }
    for (url, why) in [
        ("http://pds.example.com/", Refused::Insecure),
        ("ftp://pds.example.com/", Refused::Insecure),
        ("file:///etc/passwd", Refused::Insecure),
        ("https://pds.example.com:8443/", Refused::Insecure),
        ("https://pds.example.com:80/", Refused::Insecure),
        ("https://user@pds.example.com/", Refused::UserInfo),
        ("https://user:password@pds.example.com/", Refused::UserInfo),
        ("https://:password@127.0.0.1/", Refused::UserInfo),
        ("https://127.0.0.1/", Refused::Address),
        ("https://127.1/", Refused::Address),
        ("https://2130706433/", Refused::Address),
        ("https://0x7f.1/", Refused::Address),
        ("https://0x7f000001/", Refused::Address),
        ("https://0177.0.0.1/", Refused::Address),
        ("https://127.0.0.1./", Refused::Address),
        ("https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", Refused::Address),
        ("https://127\u{3002}0\u{3002}0\u{3002}1/", Refused::Address),
        ("https://%31%32%37.0.0.1/", Refused::Address),
        ("https://8.8.8.8/", Refused::Address),
        ("https://[::1]/", Refused::Address),
        ("https://[::ffff:127.0.0.1]/", Refused::Address),
        ("https://[2606:4700::1111]/", Refused::Address),
        ("https://localhost/", Refused::Name),
        ("https://LOCALHOST/", Refused::Name),
        ("https://localhost./", Refused::Name),
        ("https://pds.localhost/", Refused::Name),
        ("https://pds/", Refused::Name),
        ("https://printer.local/", Refused::Name),
        ("https://metadata.google.internal/", Refused::Name),
        ("https://Metadata.Google.INTERNAL./", Refused::Name),
        ("https://vault.service.internal/", Refused::Name),
        ("https://router.home.arpa/", Refused::Name),
        ("https://pds.test/", Refused::Name),
        ("https://pds.example/", Refused::Name),
        ("https://pds.invalid/", Refused::Name),
        ("https://pds.onion/", Refused::Name),
    ] {
        assert_eq!(guard.check(&Url::parse(url).unwrap()), Err(why), "{url}");
    }
}

#[tokio::test]
async fn refused_hosts_are_not_even_resolved() {
    let dns = DnsServer::start();
    dns.addresses("pds.example.com", &[&["127.0.0.1"]]);
    let (port, connections) = server("127.0.0.1:0", |_, _| ());
    for url in [format!("http://127.0.0.1:{port}/"), format!("http://pds.example.com:{port}/")] {
        let error = strict(&dns).send(get(&url)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{url}: {error:?}");
        let error = strict(&dns).get_following(Url::parse(&url).unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{url}: {error:?}");
    }
    assert_eq!(dns.asked("pds.example.com"), 0);
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_private_address_makes_a_host_refused() {
    let dns = DnsServer::start();
    dns.addresses("public.example.com", &[&["93.184.216.34", "2606:4700::1111"]])
        .addresses("mixed.example.com", &[&["93.184.216.34", "10.0.0.1"]])
        .addresses("mixed6.example.com", &[&["93.184.216.34", "fd00:ec2::254"]])
        .addresses("mapped.example.com", &[&["93.184.216.34", "::ffff:127.0.0.1"]])
        .addresses("metadata.example.com", &[&["169.254.169.254"]]);
    let guard = strict(&dns);
    assert_eq!(guard.addresses("public.example.com").await.unwrap().len(), 2);
    for name in ["mixed.example.com", "mixed6.example.com", "mapped.example.com", "metadata.example.com"] {
        let error = guard.addresses(name).await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refused::NotPublic)), "{name}: {error:?}");
        // The same through the HTTP client, which returns its resolver's error.
        let error = guard.send(get(&format!("https://{name}/"))).await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refused::NotPublic)), "{name}: {error:?}");
        assert!(error.is_before_sending());
    }
    assert!(matches!(guard.addresses("unknown.example.com").await, Err(Error::Unresolved(_))));
    // A name without an address is told from a host that does not answer.
    let error = guard.send(get("https://unknown.example.com/")).await.unwrap_err();
    assert!(error.is_without_host() && error.is_before_sending(), "{error:?}");
    let error = lenient(&dns).send(get("http://127.0.0.1:1/")).await.unwrap_err();
    assert!(!error.is_without_host() && error.is_before_sending(), "{error:?}");
}

#[tokio::test]
async fn a_name_that_changes_to_a_private_address_is_refused_from_then_on() {
    let dns = DnsServer::start();
    dns.addresses("rebind.example.com", &[&["93.184.216.34"], &["127.0.0.1"]]);
    let guard = strict(&dns);
    assert_eq!(guard.addresses("rebind.example.com").await.unwrap(), ["93.184.216.34".parse::<IpAddr>().unwrap()]);
    let error = guard.send(get("https://rebind.example.com/")).await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refused::NotPublic)), "{error:?}");
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_connection_uses_that_address() {
    let answer = |mut stream: TcpStream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
    };
    let (port, looked_at) = server("127.0.0.1:0", answer);
    let (_, elsewhere) = server(&format!("127.0.0.2:{port}"), answer);
    let dns = DnsServer::start();
    dns.addresses("pds.example.com", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let answer = lenient(&dns).send(get(&format!("http://pds.example.com:{port}/"))).await.unwrap();
    assert!(answer.is_success());
    assert_eq!((looked_at.load(Ordering::SeqCst), elsewhere.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(dns.asked("pds.example.com"), 1);
}

#[tokio::test]
async fn localhost_resolves_where_private_networks_are_allowed() {
    let (port, connections) = server("127.0.0.1:0", |mut stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
    });
    let url = format!("http://localhost:{port}/");
    for dns in [Dns::at(DnsServer::start().address), Dns::system()] {
        let guard = Guard::new(&settings(true), dns).unwrap();
        assert!(guard.send(get(&url)).await.unwrap().is_success());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn redirects_are_followed_only_on_request_and_each_hop_is_checked() {
    let (port, connections) = server("127.0.0.1:0", |mut stream, asked| {
        let location = match asked.split(' ').nth(1).unwrap() {
            "/1" => Some("/2".to_owned()),
            "/2" => Some("3".to_owned()),
            "/3" => Some("/4".to_owned()),
            "/loop" => Some("/loop".to_owned()),
            "/userinfo" | "/late/3" => Some("http://user@127.0.0.1/".to_owned()),
            "/file" => Some("file:///etc/passwd".to_owned()),
            "/late/1" => Some("/late/2".to_owned()),
            "/late/2" => Some("/late/3".to_owned()),
            _ => None,
        };
        let head = location.map_or("200 OK".to_owned(), |location| format!("302 Found\r\nLocation: {location}"));
        write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
    });
    let guard = lenient(&DnsServer::start());
    let url = |path: &str| Url::parse(&format!("http://127.0.0.1:{port}{path}")).unwrap();
    assert_eq!(guard.send(get(url("/1").as_str())).await.unwrap().status, 302);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(guard.get_following(url("/1")).await.unwrap().status, 200, "three redirects");
    connections.store(0, Ordering::SeqCst);
    assert_eq!(guard.get_following(url("/loop")).await.unwrap().status, 302, "and no more");
    assert_eq!(connections.load(Ordering::SeqCst), 4);
    for (path, why) in [("/userinfo", Refused::UserInfo), ("/file", Refused::Insecure), ("/late/1", Refused::UserInfo)]
    {
        let error = guard.get_following(url(path)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(told) if told == why), "{path}: {error:?}");
    }
    // A strict guard refuses the second hop for the same reason as the first.
    let strict = strict(&DnsServer::start());
    assert!(strict.check(&url("/1")).is_err());
}

#[tokio::test]
async fn redirects_take_no_longer_together_than_one_call_may() {
    let (port, _) = server("127.0.0.1:0", |mut stream, _| {
        std::thread::sleep(Duration::from_millis(400));
        // The client may have given up.
        let _ = write!(stream, "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let settings = Settings { timeout: Duration::from_secs(1), ..settings(true) };
    let guard = Guard::new(&settings, Dns::at(DnsServer::start().address)).unwrap();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
    assert!(matches!(guard.get_following(url).await, Err(Error::TooSlow)));
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    for head in ["Content-Length: 1073741824", "Transfer-Encoding: chunked"] {
        let written = Arc::new(AtomicUsize::new(0));
        let counted = written.clone();
        let (port, _) = server("127.0.0.1:0", move |mut stream, _| {
            write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n").unwrap();
            let chunk = if head.starts_with("Content") {
                vec![b'x'; 64 * 1024]
            } else {
                [b"10000\r\n".to_vec(), vec![b'x'; 64 * 1024], b"\r\n".to_vec()].concat()
            };
            while counted.load(Ordering::SeqCst) < 1 << 30 && stream.write_all(&chunk).is_ok() {
                counted.fetch_add(chunk.len(), Ordering::SeqCst);
            }
        });
        let error = lenient(&DnsServer::start()).send(get(&format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge), "{head}: {error:?}");
        // Includes the bytes in both socket buffers.
        assert!(written.load(Ordering::SeqCst) < 16 << 20, "{head}: {}", written.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn a_compressed_answer_ends_at_the_same_size() {
    for (size, fits) in [(MAX_ANSWER, true), (MAX_ANSWER + 1, false), (64 * MAX_ANSWER, false)] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; size]).unwrap();
        let bomb = encoder.finish().unwrap();
        let (port, _) = server("127.0.0.1:0", move |mut stream, asked| {
            assert!(asked.contains("accept-encoding: identity\r\n"), "{asked}");
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len())
                .unwrap();
            stream.write_all(&bomb).unwrap();
        });
        let answer = lenient(&DnsServer::start()).send(get(&format!("http://127.0.0.1:{port}/"))).await;
        match answer {
            Ok(answer) => assert!(fits && answer.body.len() == size, "{size}"),
            Err(error) => assert!(!fits && matches!(error, Error::TooLarge), "{size}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_dripping_server_is_cut_off_in_time() {
    let (port, _) = server("127.0.0.1:0", |mut stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let settings = Settings { timeout: Duration::from_millis(200), ..settings(true) };
    let guard = Guard::new(&settings, Dns::at(DnsServer::start().address)).unwrap();
    let error = guard.send(get(&format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}
