//! Behaviour that only a socket shows: which connections the server closes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use actix_web::{HttpServer, rt};
use tokio::sync::oneshot;

use super::fixture::{Fixture, USUAL};
use crate::http::app;

/// Sends these bytes, keeps the connection open, and reads until the server closes it.
async fn until_closed(address: SocketAddr, request: String) -> String {
    let (done, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        // Fails instead of waiting for ever if the server does not close.
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer).is_ok();
        assert!(closed, "still open after: {}", String::from_utf8_lossy(&answer));
        done.send(String::from_utf8(answer).unwrap()).unwrap();
    });
    answer.await.unwrap()
}

#[actix_web::test]
async fn an_unread_body_closes_the_connection() {
    let fixture = Fixture::new().body_deadline(Duration::from_millis(1));
    let key = fixture.key(USUAL).await;
    let state = fixture.state();
    let server = HttpServer::new(move || app(state.clone())).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    rt::spawn(server.run());
    let post = |headers: &str, body: &str| {
        format!(
            "POST /v1/profiles HTTP/1.1\r\nhost: x\r\nx-access-key: {key}\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let slow = "2\r\n{\"\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let cases = [
        (408, "request_timeout", post("content-length: 100\r\n", "{\"na")),
        (408, "request_timeout", post(chunked, slow)),
        (413, "body_too_large", post("content-length: 3000000000\r\n", "{\"na")),
        (413, "body_too_large", post(chunked, &format!("11170\r\n{}", "[".repeat(70_000)))),
        (401, "invalid_access_key", post(chunked, slow).replace("x-access-key", "x-other")),
        (404, "not_found", post(chunked, slow).replace("/v1/profiles", "/nothing")),
        (405, "method_not_allowed", post(chunked, slow).replace("/v1/profiles", "/v1/health")),
        (400, "", post("content-length: 2\r\ncontent-length: 3\r\n", "{}")),
        (400, "", post("content-length: 2\r\ntransfer-encoding: chunked\r\n", "{}")),
    ];
    // All at once, because actix gives each client a second to close first.
    let cases = cases.map(|(status, code, request)| (status, code, rt::spawn(until_closed(address, request))));
    for (status, code, answer) in cases {
        let answer = answer.await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(code.is_empty() || answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }

    let whole = "2\r\n{\"\r\nb\r\nname\":\"ab\"}\r\n0\r\n\r\n";
    let next = "GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = until_closed(address, post(chunked, whole) + next).await;
    assert_eq!(answers.matches("HTTP/1.1 20").count(), 2, "a body that was read leaves the connection open: {answers}");
}
