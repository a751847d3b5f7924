//! A broker as a process that may open no more files: it loses nothing, blames nobody, and recovers by itself.

use rustix::process::{Resource, Rlimit, prlimit};

use crate::process::{ALWAYS, Crashing, Process};

/// Sets the number of files that the process may have open, and returns what it was.
fn limit_files(process: &Process, most: Option<u64>) -> Option<u64> {
    let limits = |limit| prlimit(Some(process.id()), Resource::Nofile, limit).unwrap();
    let inherited = rustix::process::getrlimit(Resource::Nofile);
    limits(Rlimit { current: most, ..inherited }).current
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_may_open_no_file_loses_nothing_and_blames_nobody() {
    let broker = Crashing::new(1);
    let process = broker.start(None);
    let id = broker.connect(0, "twitter", "ada").await;
    let before = broker.token(0, &id, ALWAYS).await.unwrap();
    assert_eq!(before.status, 200, "{}", before.text);

    let as_before = limit_files(&process, Some(0));
    // The test's client has a connection open. The broker can open none to X, and hands out what works.
    let meanwhile = broker.token(0, &id, ALWAYS).await.unwrap();
    assert_eq!((meanwhile.status, &meanwhile.json["accessToken"]), (200, &before.json["accessToken"]));
    assert_eq!(broker.detail(0, &id).await["authStatus"], "active");
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(tokio::net::TcpStream::connect(broker.url().strip_prefix("http://").unwrap()).await.unwrap());
    }
    assert_eq!(broker.detail(0, &id).await["authStatus"], "active");
    drop(waiting);

    limit_files(&process, as_before);
    // At once, whatever the refresh now waits for.
    broker.connect(0, "twitter", "basil").await;
    assert!(broker.is_alive(&meanwhile.json["accessToken"]).await);
    let said = process.said.clone();
    assert_eq!(process.stop(), Some(0));
    let said = said.lock().unwrap();
    assert!(said.contains("Too many open files") && !said.contains("panicked"), "{said}");
}
