//! Malformed requests on a raw socket: refused in time, and never taken for two requests.

use std::time::Duration;

use futures_util::future::join_all;

use crate::logs;
use crate::support::{Reply, TestBroker};

/// A request that creates a profile, with these header lines.
fn post(broker: &TestBroker, lines: &[&str], body: &str) -> Vec<u8> {
    let key = &broker.key;
    let head = format!(
        "POST /v1/profiles HTTP/1.1\r\nhost: x\r\nx-access-key: {key}\r\ncontent-type: application/json\r\n{}\r\n\r\n",
        lines.join("\r\n")
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

async fn profiles(broker: &TestBroker) -> u64 {
    broker.get("/v1/profiles").await.json["total"].as_u64().unwrap()
}

/// Asserts an error after which the server closes the connection: [`TestBroker::raw`] reads until it does.
fn is_told(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code()), (status, code), "{}", reply.text);
    assert_eq!(reply.header("connection"), "close");
    assert_eq!(reply.json["requestId"], reply.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    let broker = TestBroker::builder().body_deadline(Duration::from_millis(50)).start().await;
    let unfinished = [
        post(&broker, &["content-length: 100"], ""),
        post(&broker, &["content-length: 100"], "{\"name\":"),
        post(&broker, &["transfer-encoding: chunked"], ""),
        post(&broker, &["transfer-encoding: chunked"], "5\r\n{\"nam\r\n"),
        post(&broker, &["transfer-encoding: chunked"], "5\r\n{\"n"),
        post(&broker, &["transfer-encoding: chunked"], "c\r\n{\"name\":\"a\"}\r\n0\r\n"),
    ];
    for reply in join_all(unfinished.iter().map(|request| broker.raw(request))).await {
        is_told(&reply, 408, "request_timeout");
    }
    assert_eq!(profiles(&broker).await, 0);
}

/// Broken framing is not blamed on the JSON in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_framing_is_not_read_is_malformed_but_no_bad_json() {
    let broker = TestBroker::start().await;
    let body = "{\"name\":\"a\"}";
    for chunks in [
        format!("c;x=y\r\n{body}\r\n0\r\n\r\n"),
        format!("c\r\n{body}\r\n0\r\nx: y\r\n\r\n"),
        format!("zz\r\n{body}\r\n0\r\n\r\n"),
    ] {
        let reply = broker.raw(&post(&broker, &["transfer-encoding: chunked"], &chunks)).await;
        is_told(&reply, 400, "invalid_request");
        assert!(reply.text.contains("Content-Length"), "{}", reply.text);
    }
    assert_eq!(profiles(&broker).await, 0);
}

/// A body that no route reads does not keep the connection open.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_is_not_waited_for() {
    let broker = TestBroker::start().await;
    let mut requests = Vec::new();
    for (status, first) in [
        (200, "GET /v1/health"),
        (400, "GET /v1/connect/twitter/callback"),
        (401, "POST /v1/profiles"),
        (404, "PUT /nothing"),
        (405, "PUT /v1/profiles"),
    ] {
        for body in ["transfer-encoding: chunked\r\n\r\n5\r\nabc", "content-length: 9\r\n\r\nabc"] {
            requests.push((status, format!("{first} HTTP/1.1\r\nhost: x\r\n{body}")));
        }
    }
    let replies = join_all(requests.iter().map(|(_, request)| broker.raw(request.as_bytes()))).await;
    for ((status, request), reply) in requests.iter().zip(replies) {
        assert_eq!((reply.status, reply.header("connection")), (*status, "close"), "{request}");
    }
    // Nor does one that has arrived. One that was read leaves the connection open.
    let next = "GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let unread =
        b"DELETE /v1/profiles/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec();
    let read = post(&broker, &["transfer-encoding: chunked"], "2\r\n{\"\r\nb\r\nname\":\"ab\"}\r\n0\r\n\r\n");
    for (whole, status, stays_open) in [(unread, 401, false), (read, 201, true)] {
        let replies = broker.raw(&[&whole, next.as_bytes()].concat()).await;
        assert_eq!(replies.status, status);
        assert_eq!(replies.text.contains("HTTP/1.1 200 OK"), stays_open, "{}", replies.text);
    }
}

/// Whoever leaves out the method sends the key in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_nobody_knows_is_not_logged() {
    logs::capture();
    let broker = TestBroker::start().await;
    let method = "KEY-IN-PLACE-OF-THE-METHOD";
    let head = format!("{method} /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let reply = broker.raw(head.as_bytes()).await;
    is_told(&reply, 405, "method_not_allowed");
    let log = logs::text();
    assert!(log.contains("http.method=\"other\""));
    let line = log.lines().find(|line| line.contains(method));
    assert_eq!(line, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_not_waited_for() {
    let broker = TestBroker::start().await;
    let mut requests: Vec<Vec<u8>> = ["65537", "3000000000", "18446744073709551615"]
        .map(|length| post(&broker, &[&format!("content-length: {length}")], "{\"name\":\"a"))
        .into();
    // Without a length, the excess shows while reading.
    for size in [0x10001, 0x100_000] {
        let chunk = format!("{size:x}\r\n{}", "a".repeat(size));
        requests.push(post(&broker, &["transfer-encoding: chunked"], &chunk));
    }
    // A client that sends everything before it reads still receives the answer.
    requests.push(post(&broker, &["content-length: 1048576"], &"a".repeat(1 << 20)));
    for reply in join_all(requests.iter().map(|request| broker.raw(request))).await {
        is_told(&reply, 413, "body_too_large");
    }
    // A body of exactly the limit is accepted.
    for (length, status) in [(64 * 1024, 201), (64 * 1024 + 1, 413)] {
        let body = format!("{{\"name\":\"a\"{}}}", " ".repeat(length - 12));
        let request = post(&broker, &[&format!("content-length: {length}"), "connection: close"], &body);
        assert_eq!(broker.raw(&request).await.status, status, "{length}");
    }
    assert_eq!(profiles(&broker).await, 1);
}

/// No request smuggling: a proxy must never see one request where the broker sees two.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_two_requests_is_none() {
    let broker = TestBroker::start().await;
    let json = "{\"name\":\"a\"}";
    let chunked = "c\r\n{\"name\":\"a\"}\r\n0\r\n\r\n";
    let smuggled = "0\r\n\r\nGET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n";
    let head = |lines: &str| format!("GET /v1/health HTTP/1.1\r\n{lines}\r\n\r\n").into_bytes();
    for (what, request) in [
        ("length and chunks", post(&broker, &["content-length: 12", "transfer-encoding: chunked"], chunked)),
        ("chunks and length", post(&broker, &["transfer-encoding: chunked", "content-length: 4"], smuggled)),
        ("two lengths", post(&broker, &["content-length: 12", "content-length: 13"], json)),
        ("two equal lengths", post(&broker, &["content-length: 12", "content-length: 12"], json)),
        ("a list of lengths", post(&broker, &["content-length: 12, 12"], json)),
        ("a signed length", post(&broker, &["content-length: +12"], json)),
        ("a negative length", post(&broker, &["content-length: -1"], json)),
        ("a length beyond all numbers", post(&broker, &["content-length: 99999999999999999999999"], json)),
        ("an empty length", post(&broker, &["content-length:"], json)),
        ("another coding", post(&broker, &["transfer-encoding: identity, chunked"], chunked)),
        ("chunked twice", post(&broker, &["transfer-encoding: chunked", "transfer-encoding: chunked"], chunked)),
        ("a coding with a tail", post(&broker, &["transfer-encoding: xchunked"], chunked)),
        ("white space before the colon", post(&broker, &["content-length : 12"], json)),
        ("a folded line", post(&broker, &["content-length: 12", "x-folded: a\r\n content-length: 3"], json)),
        ("a bare carriage return", post(&broker, &["x-a: b\rcontent-length: 12"], json)),
        ("a NUL in a value", post(&broker, &["x-a: b\0", "content-length: 12"], json)),
        ("a bare line feed in the head", b"GET /v1/health HTTP/1.1\nhost: x\n\n".to_vec()),
        ("a bare line feed after a field", post(&broker, &["x-a: b\ncontent-length: 12"], json)),
        (
            "a coding behind a bare line feed",
            post(&broker, &["content-length: 24", "x-a: b\ntransfer-encoding: chunked"], chunked),
        ),
        (
            "an empty line of a bare line feed",
            b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\nGET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        ),
        (
            "a length beside an upgrade",
            post(&broker, &["upgrade: websocket", "connection: upgrade", "content-length: 12"], json),
        ),
        ("a tunnel", b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("no host", b"GET /v1/health HTTP/1.1\r\n\r\n".to_vec()),
        ("two hosts", head("host: x\r\nhost: y")),
        ("no name", head("host: x\r\n: a")),
        ("a space in the target", b"GET /v1/health x HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("another protocol", b"GET /v1/health HTTP/9.9\r\nhost: x\r\n\r\n".to_vec()),
        ("a control character in the method", b"G\x01T /v1/health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
    ] {
        let reply = broker.raw(&request).await;
        is_told(&reply, 400, "invalid_request");
        assert!(!reply.text.contains("HTTP/1.1"), "{what}: a second answer: {}", reply.text);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(reply.header(name), value, "{what}");
        }
    }
    assert_eq!(profiles(&broker).await, 0);
}

/// A wrong head behind a good one does not take the good one's answer away.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_wrong_head_is_answered() {
    let broker = TestBroker::start().await;
    let good = "GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n";
    let body = post(&broker, &["content-length: 12"], "{\"name\":\"a\"}");
    for (before, status) in [(good.as_bytes(), "200 OK"), (&body, "201 Created")] {
        let reply = broker.raw(&[before, b"GET / HTTP/1.1\nhost: x\n\n", good.as_bytes()].concat()).await;
        assert_eq!(reply.status.to_string(), status[..3]);
        let answers: Vec<&str> = reply.text.matches("HTTP/1.1 ").collect();
        assert_eq!(answers.len(), 1, "{}", reply.text);
        assert!(reply.text.contains("HTTP/1.1 400 Bad Request\r\n"), "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_lie_are_no_body() {
    let broker = TestBroker::start().await;
    for (what, body) in [
        ("a size that overflows", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("a size that is no number", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a size with a sign", "-1\r\n{}\r\n0\r\n\r\n"),
        ("a chunk that is longer than its size", "5\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),
        ("bare line feeds", "c\n{\"name\":\"a\"}\n0\n\n"),
        ("an extension", "c;a=b\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),
        ("a trailer", "c\r\n{\"name\":\"a\"}\r\n0\r\nx-a: b\r\n\r\n"),
    ] {
        // The answer may or may not arrive before the connection closes.
        if let Some(reply) = broker.try_raw(&post(&broker, &["transfer-encoding: chunked"], body)).await {
            assert_eq!(reply.status, 400, "{what}: {}", reply.text);
            assert!(!reply.text.contains("HTTP/1.1"), "{what}: a second answer: {}", reply.text);
        }
    }
    assert_eq!(profiles(&broker).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_size() {
    let broker = TestBroker::start().await;
    let head = |lines: &str| format!("GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n\r\n");
    let many: Vec<String> = (0..200).map(|at| format!("x-{at}: a")).collect();
    for (status, request) in [
        (431, head(&many.join("\r\n"))),
        (431, head(&format!("x-long: {}", "a".repeat(200 << 10)))),
        (431, head(&format!("x-long: {}", "a".repeat(16 << 10)))),
        (414, format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100 << 10))),
        (414, format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "a".repeat(8 << 10))),
        (404, format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "a".repeat((8 << 10) - 1))),
        (200, head(&format!("x-long: {}", "a".repeat(8 << 10)))),
    ] {
        let reply = broker.raw(request.as_bytes()).await;
        assert_eq!(reply.status, status, "{}… {}", &request[..60], reply.text);
    }
}

/// URLs come from the configuration, whatever the `Host` header says.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_a_client_names_go_nowhere() {
    let broker = TestBroker::start().await;
    let key = &broker.key;
    for lines in [
        "host: evil.example",
        "host: evil.example:80\r\nx-forwarded-host: evil.example\r\nx-forwarded-proto: https",
        "host: x\r\nforwarded: host=evil.example;proto=https",
        "host: x\r\nx-original-url: /v1/health\r\nx-rewrite-url: /v1/health\r\nx-http-method-override: DELETE",
    ] {
        let head = "GET /v1/connect/twitter HTTP/1.1\r\nconnection: close";
        let reply = broker.raw(format!("{head}\r\nx-access-key: {key}\r\n{lines}\r\n\r\n").as_bytes()).await;
        assert_eq!(reply.status, 200, "{lines}: {}", reply.text);
        let url = reply.json["url"].as_str().unwrap();
        let callback = crate::support::parameter(url, "redirect_uri").unwrap();
        assert_eq!(callback, format!("{}/v1/connect/twitter/callback", broker.url), "{lines}");
        assert!(!format!("{:?}{}", reply.headers, reply.text).contains("evil"), "{lines}");
    }
}
