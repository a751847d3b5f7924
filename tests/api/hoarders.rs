//! Clients that hold the broker up: they send slowly, do not read, or ask for too much. They lose their connection, and
//! the others notice nothing.

use std::time::Duration;

use futures_util::future::{join, join_all};
use postpeer::domain::access_key::Scope;
use postpeer::http::routes::{Access, ROUTES};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Reply, TestBroker};

/// Time after which a test counts as stuck.
const PATIENCE: Duration = Duration::from_secs(30);

async fn open(broker: &TestBroker) -> TcpStream {
    TcpStream::connect(broker.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// What the server sends until it closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asserts that the connection is open: the server answers on it.
async fn is_served(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok()
        && matches!(timeout(PATIENCE, stream.read(&mut byte)).await.unwrap(), Ok(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_is_given_up() {
    let broker = TestBroker::builder().patience(Duration::from_millis(50)).start().await;
    let unfinished = ["G", "GET /v1/health HTTP/1.1\r\n", "GET /v1/health HTTP/1.1\r\nhost: x\r\n", "GET / HTTP/1.1\r"];
    for head in unfinished {
        let reply = broker.raw(head.as_bytes()).await;
        assert_eq!((reply.status, reply.code()), (408, "request_timeout"), "{head:?}: {}", reply.text);
        assert_eq!(reply.header("connection"), "close");
        assert_eq!(reply.json["requestId"], reply.header("x-request-id"));
    }
    // The second request of a connection has a deadline as well, and the first its answer.
    let reply = broker.raw(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\nGET").await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.contains("HTTP/1.1 408 Request Timeout\r\n"), "{}", reply.text);
    // Nobody asked for anything.
    assert!(broker.try_raw(b"").await.is_none());
}

/// Garbage costs a line of the log at debug level only, and the client learns that it was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_everything_before_it_reads_sees_the_refusal() {
    let broker = TestBroker::start().await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(200_000));
    for _ in 0..10 {
        let reply = broker.raw(long.as_bytes()).await;
        assert_eq!((reply.status, reply.code()), (431, "head_too_large"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_off() {
    let broker = TestBroker::builder().patience(Duration::from_millis(200)).start().await;
    let mut stream = open(&broker).await;
    let request = "GET /documentation/json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let cut_off = async {
        // The server stops reading when its answers are not read, and resets the connection when it gives up.
        while stream.write_all(request.as_bytes()).await.is_ok() {}
    };
    timeout(PATIENCE, cut_off).await.expect("the connection stays open");
    assert_eq!(broker.get("/v1/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_requests_at_once_are_answered_in_turn() {
    const START: &[u8] = b"HTTP/1.1 ";
    let broker = TestBroker::builder().setting("POSTPEER_LIMITS__MISSES_PER_ADDRESS", "100000").start().await;
    for route in ROUTES.iter().filter(|route| route.access == Access::Public && route.method == "GET") {
        let path = route.paths[0].replace("{token}", "x").replace("{platform}", "twitter");
        // None asks to close: actix would apply that to the answers that it owes before.
        let requests = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(300);
        let mut stream = open(&broker).await;
        let (mut reading, mut writing) = stream.split();
        let count = async {
            let (mut answers, mut count) = (Vec::new(), 0);
            while count < 300 && reading.read_buf(&mut answers).await.unwrap() > 0 {
                count += answers.windows(START.len()).filter(|bytes| *bytes == START).count();
                // The rest may be the beginning of an answer.
                answers.drain(..(answers.len() + 1).saturating_sub(START.len()));
            }
            count
        };
        let (written, count) = timeout(PATIENCE, async { tokio::join!(writing.write_all(requests.as_bytes()), count) })
            .await
            .expect("the connection stays open");
        written.unwrap();
        assert_eq!(count, 300, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections() {
    let broker = TestBroker::builder().setting("POSTPEER_LIMITS__CONNECTIONS_PER_ADDRESS", "4").start().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = open(&broker).await;
        assert!(is_served(&mut stream).await);
        streams.push(stream);
    }
    assert!(!is_served(&mut open(&broker).await).await, "the fifth");
    drop(streams.pop());
    let replaced = async {
        while !is_served(&mut open(&broker).await).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, replaced).await.expect("a connection that ended counts on");
    for stream in &mut streams {
        assert!(is_served(stream).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_has_as_many_connections_as_there_are() {
    let broker = TestBroker::builder()
        .setting("POSTPEER_LIMITS__CONNECTIONS_PER_ADDRESS", "4")
        .setting("POSTPEER_LIMITS__CONNECTIONS", "16")
        .setting("POSTPEER_SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = open(&broker).await;
        assert!(is_served(&mut stream).await);
        streams.push(stream);
    }
    assert!(!is_served(&mut open(&broker).await).await, "the seventeenth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_read_for_a_selection_that_does_not_exist() {
    let broker = TestBroker::builder().body_deadline(PATIENCE).start().await;
    for (path, kind) in [
        ("/connect/selection/x", "application/x-www-form-urlencoded"),
        ("/v1/connect/facebook/selection/x", "application/json"),
        ("/v1/connect/googlebusiness/selection/x", "application/json"),
        ("/v1/connect/linkedin/selection/x", "application/json"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 500000\r\n\r\n");
        let reply = broker.raw(head.as_bytes()).await;
        assert_eq!((reply.status, reply.header("connection")), (404, "close"), "{path}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_share_their_room() {
    let broker = TestBroker::builder()
        .setting("POSTPEER_LIMITS__BODIES_MIB", "1")
        .body_deadline(Duration::from_secs(2))
        .start()
        .await;
    let key = &broker.key;
    let head = format!(
        "POST /v1/profiles HTTP/1.1\r\nhost: x\r\nx-access-key: {key}\r\ncontent-type: application/json\r\ncontent-length: 65536\r\n\r\n"
    );
    let unfinished = format!("{head}{{\"name\":\"{}", "a".repeat(65_000));
    let other = broker.key("default", Scope::ALL).await;
    let streams = join_all((0..24).map(|_| async {
        let mut stream = open(&broker).await;
        stream.write_all(unfinished.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let longer = "a".repeat(60_000);
        let reply = broker.call_as(&other, "POST", "/v1/profiles", Some(json!({"name": "a", "note": longer}))).await;
        assert_eq!(reply.status, 201, "a key leaves room for others: {}", reply.text);
    };
    let (mut streams, ()) = join(streams, meanwhile).await;
    streams.sort();
    let statuses: Vec<&str> = streams.iter().map(|answer| &answer[9..12]).collect();
    assert!(statuses.contains(&"408") && statuses.contains(&"503"), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == "408").count() <= 4, "{statuses:?}");
    let refused = streams.iter().find(|answer| answer.starts_with("HTTP/1.1 503")).unwrap();
    assert!(refused.contains("retry-after: 2\r\n") && refused.contains("\"overloaded\""), "{refused}");
    let created = broker.call("POST", "/v1/profiles", Some(json!({"name": "a"}))).await;
    assert_eq!(created.status, 201, "the room is free again: {}", created.text);
}

/// A form that is begun and never finished takes room, so the forms that anyone can send are short.
#[tokio::test(flavor = "multi_thread")]
async fn forms_that_anyone_can_send_leave_room_for_other_bodies() {
    let builder = TestBroker::builder().toml("[console]\n").setting("POSTPEER_LIMITS__BODIES_MIB", "1");
    let broker = builder.body_deadline(PATIENCE).start().await;
    let post = |path: &str, end: &str| {
        let kind = "content-type: application/x-www-form-urlencoded";
        format!("POST {path} HTTP/1.1\r\nhost: x\r\n{kind}\r\n{end}").into_bytes()
    };
    for path in ["/console/sign-in", "/connect/confirm/x"] {
        let reply = broker.raw(&post(path, "content-length: 2049\r\n\r\n")).await;
        assert_eq!((reply.status, reply.header("connection")), (413, "close"), "{path}: {}", reply.text);
        assert!(reply.text.contains("larger than 2 KiB"), "{path}: {}", reply.text);
        let unfinished = [post(path, "content-length: 2048\r\n\r\n"), vec![b'a'; 2047]].concat();
        let mut streams = Vec::new();
        for _ in 0..64 {
            let mut stream = open(&broker).await;
            stream.write_all(&unfinished).await.unwrap();
            streams.push(stream);
        }
        let created = broker.call("POST", "/v1/profiles", Some(json!({"name": "a".repeat(200)}))).await;
        assert_eq!(created.status, 201, "{path}: {}", created.text);
    }
}

async fn create(broker: &TestBroker, key: &str) -> Reply {
    broker.call_as(key, "POST", "/v1/profiles", Some(json!({"name": "a"}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_spent_its_budget_waits_and_can_still_read() {
    let broker = TestBroker::builder()
        .setting("POSTPEER_LIMITS__WRITES_PER_KEY", "6")
        .setting("POSTPEER_LIMITS__STARTS_PER_KEY", "3")
        .start()
        .await;
    for _ in 0..6 {
        assert_eq!(create(&broker, &broker.key).await.status, 201);
    }
    for (method, path) in [("POST", "/v1/profiles"), ("DELETE", "/v1/profiles/x"), ("PATCH", "/v1/apps/x")] {
        let reply = broker.call(method, path, Some(json!({}))).await;
        assert_eq!((reply.status, reply.code()), (429, "limit_reached"), "{method} {path}: {}", reply.text);
        assert_eq!(reply.header("retry-after"), "10");
        assert!(reply.text.contains("limits.writes_per_key"), "{}", reply.text);
    }
    for _ in 0..3 {
        assert_eq!(broker.get("/v1/connect/twitter").await.status, 200, "starts have a budget of their own");
    }
    assert_eq!(broker.get("/v1/connect/twitter").await.status, 429);
    for _ in 0..50 {
        assert_eq!(broker.get("/v1/profiles").await.status, 200);
    }
    let other = broker.key("default", Scope::ALL).await;
    assert_eq!(create(&broker, &other).await.status, 201, "each key has its own");
    broker.clock.advance(Duration::from_secs(10));
    assert_eq!(create(&broker, &broker.key).await.status, 201);
    assert_eq!(create(&broker, &broker.key).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_together_have_a_budget() {
    let broker = TestBroker::builder().setting("POSTPEER_LIMITS__WRITES_IN_ALL", "4").start().await;
    let other = broker.key("default", Scope::ALL).await;
    for _ in 0..2 {
        assert_eq!(create(&broker, &broker.key).await.status, 201);
        assert_eq!(create(&broker, &other).await.status, 201);
    }
    assert_eq!(create(&broker, &other).await.status, 429);
}

/// Calls with a wrong key, as the client behind these addresses.
async fn wrong(broker: &TestBroker, forwarded: &str) -> u16 {
    let request = broker.request("GET", "/v1/profiles").header("x-access-key", "ppk_x");
    Reply::of(request.header("x-forwarded-for", forwarded).send().await.unwrap()).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_counted_by_the_address_of_the_socket() {
    let broker = TestBroker::builder().setting("POSTPEER_LIMITS__MISSES_PER_ADDRESS", "3").start().await;
    for forwarded in ["192.0.2.1", "192.0.2.2", "127.0.0.1, 192.0.2.3"] {
        assert_eq!(wrong(&broker, forwarded).await, 401);
    }
    assert_eq!(wrong(&broker, "192.0.2.4").await, 429, "no header makes another address");
    assert_eq!(broker.get("/v1/profiles").await.status, 200, "a valid key is never refused for it");
    for path in ["/connect/selection/x", "/v1/connect/facebook/selection/x", "/v1/connect/twitter/callback?state=x"] {
        assert_eq!(broker.browse(path).await.status, 429, "{path}");
    }
    broker.clock.advance(Duration::from_mins(1));
    for status in [404, 404, 404, 429] {
        assert_eq!(broker.browse("/connect/selection/x").await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_trusted_proxy_are_counted_apart() {
    let broker = TestBroker::builder()
        .setting("POSTPEER_LIMITS__MISSES_PER_ADDRESS", "1")
        .setting("POSTPEER_SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    for (forwarded, status) in [
        ("192.0.2.1", 401),
        ("192.0.2.1", 429),
        ("192.0.2.9, 192.0.2.1", 429),
        ("192.0.2.2", 401),
        ("2001:db8::1", 401),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 401),
        // Clients whose addresses cannot be read are counted together.
        ("unknown", 401),
        ("192.0.2.1, _hidden", 429),
        // The proxy itself names no client.
        ("", 401),
        ("", 401),
    ] {
        assert_eq!(wrong(&broker, forwarded).await, status, "{forwarded}");
    }
}

/// Whoever starts without end holds no more than a key may, and harms no other key. `STARTS=100000` for a long run.
#[expect(clippy::disallowed_methods, reason = "the length of the run is chosen from outside")]
#[tokio::test(flavor = "multi_thread")]
async fn starts_without_end_leave_a_bounded_number_of_rows() {
    let starts: u64 = std::env::var("STARTS").map_or(2_000, |text| text.parse().unwrap());
    // A hundred a second, and each waits for two.
    let broker = TestBroker::builder().setting("POSTPEER_CONNECT__STATE_TTL_SECONDS", "2").start().await;
    let theirs = broker.key("theirs", Scope::ALL).await;
    let count = |table: &str| -> i64 {
        broker.sql().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let bytes = || -> u64 {
        let sizes = ["postpeer.db", "postpeer.db-wal"].map(|name| std::fs::metadata(broker.dir.path().join(name)));
        sizes.into_iter().map(|file| file.unwrap().len()).sum()
    };
    let (mut rows, mut most) = (0, 0);
    for round in 0..starts / 100 {
        for reply in join_all((0..100).map(|_| broker.get("/v1/connect/twitter"))).await {
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        broker.clock.advance(Duration::from_secs(1));
        while broker.broker().purge_expired().await.unwrap() > 0 {}
        rows = rows.max(count("flows"));
        if round == 9 {
            most = bytes();
        }
    }
    assert!(rows <= 300, "{rows}");
    assert!(bytes() <= most + (8 << 20), "{most} bytes became {}", bytes());
    assert_eq!(broker.call_as(&theirs, "GET", "/v1/connect/twitter", None).await.status, 200);
    broker.clock.advance(Duration::from_hours(25));
    while broker.broker().purge_expired().await.unwrap() > 0 {}
    assert_eq!(count("flows"), 0);
    assert_eq!(count("late_redirects"), 0, "nothing outlives its day");
}
