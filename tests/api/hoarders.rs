//! Clients that hold the broker up: they send slowly, do not read, or ask for too much. They lose their connection, and
//! the others notice nothing.

use std::time::Duration;

use futures_util::future::join_all;
use postpeer::http::routes::{Access, ROUTES};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::TestBroker;

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
    let broker = TestBroker::start().await;
    for route in ROUTES.iter().filter(|route| route.access == Access::Public && route.method == "GET") {
        let path = route.paths[0].replace("{token}", "x").replace("{platform}", "twitter");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let last = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut stream = open(&broker).await;
        let (mut reading, mut writing) = stream.split();
        let all = request.repeat(299) + &last;
        let mut answers = Vec::new();
        let (written, read) = timeout(PATIENCE, async {
            tokio::join!(writing.write_all(all.as_bytes()), reading.read_to_end(&mut answers))
        })
        .await
        .expect("the connection stays open");
        written.unwrap();
        read.unwrap();
        assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 ").count(), 300, "{path}");
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
    let mut streams = join_all((0..24).map(|_| async {
        let mut stream = open(&broker).await;
        stream.write_all(unfinished.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }))
    .await;
    streams.sort();
    let statuses: Vec<&str> = streams.iter().map(|answer| &answer[9..12]).collect();
    assert!(statuses.contains(&"408") && statuses.contains(&"503"), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == "408").count() <= 16, "{statuses:?}");
    let refused = streams.iter().find(|answer| answer.starts_with("HTTP/1.1 503")).unwrap();
    assert!(refused.contains("retry-after: 2\r\n") && refused.contains("\"overloaded\""), "{refused}");
    let created = broker.call("POST", "/v1/profiles", Some(json!({"name": "a"}))).await;
    assert_eq!(created.status, 201, "the room is free again: {}", created.text);
}
