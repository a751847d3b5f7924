//! Damaged requests on a raw socket, to the broker as a process: each connection ends, no request becomes two, and
//! nothing panics.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::fuzz;
use crate::process::Crashing;

/// Sends everything, and reads until the server closes the connection.
fn answers(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The server may close before everything is written.
    let _ = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the server keeps the connection open");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzzed_requests_are_answered_once_and_never_by_a_failure() {
    let broker = Crashing::new(1);
    let process = broker.start(None);
    let address = broker.url().strip_prefix("http://").unwrap();
    let words = [
        "\r\n",
        "\n",
        "\r",
        ":",
        " ",
        "\t",
        "content-length: 3\r\n",
        "transfer-encoding: chunked\r\n",
        "0\r\n\r\n",
        "expect: 100-continue\r\n",
        "upgrade: h2c\r\nconnection: upgrade\r\n",
        "host: y\r\n",
        "HTTP/1.0",
        "HTTP/1.1",
        "HEAD ",
        "OPTIONS ",
        "connection: close\r\n",
        "%00",
        "%2f",
        "?",
        "//",
        "ffffffffffffffff",
        "cookie: a=b\r\n",
        "\"",
        "é",
    ];
    tokio::task::block_in_place(|| {
        fuzz::run("request_heads", &words, |request| {
            let answers = answers(address, request);
            assert!(answers.is_empty() || answers.starts_with("HTTP/1."), "{answers}");
            let statuses: Vec<&str> = answers.lines().filter(|line| line.starts_with("HTTP/1.")).collect();
            assert!(!statuses.iter().any(|status| status.contains(" 500 ")), "{answers}");
            // What follows the last request may be refused with an answer of its own.
            let requests = String::from_utf8_lossy(request).matches("HTTP/").count();
            assert!(statuses.len() <= requests + 1, "{requests} requests: {answers}");
        });
    });
    let said = process.said.clone();
    assert_eq!(process.stop(), Some(0));
    assert!(!said.lock().unwrap().contains("panicked"), "{}", said.lock().unwrap());
}
