//! Where there are several projects, none uses up what all share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use postpeer::domain::access_key::Scope;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::console::Operator;
use crate::support::{Reply, TestBroker};

/// Tries to change what does not exist, which costs as much as a change.
async fn change(broker: &TestBroker, key: &str) -> Reply {
    broker.call_as(key, "PATCH", "/v1/profiles/x", Some(json!({"name": "a"}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_leaves_the_others_half_of_the_budget_and_a_way_into_the_console() {
    let limited = TestBroker::builder().toml("[console]\n").setting("POSTPEER_LIMITS__WRITES_IN_ALL", "8");
    let broker = limited.start().await;
    for _ in 0..8 {
        assert_ne!(change(&broker, &broker.key).await.status, 429, "a project alone has everything");
    }
    assert_eq!(change(&broker, &broker.key).await.status, 429);
    broker.clock.advance(Duration::from_mins(1));
    let theirs = [broker.key("theirs", Scope::ALL).await, broker.key("theirs", Scope::ALL).await];
    for key in theirs.iter().cycle().take(4) {
        assert_ne!(change(&broker, key).await.status, 429);
    }
    for key in &theirs {
        let refused = change(&broker, key).await;
        assert_eq!((refused.status, refused.code()), (429, "limit_reached"), "{}", refused.text);
        assert!(refused.text.contains("by this project") && refused.text.contains("writes_in_all"), "{}", refused.text);
    }
    for _ in 0..3 {
        assert_ne!(change(&broker, &broker.key).await.status, 429);
    }
    // Two projects and a third one together spend the whole.
    let third = broker.key("third", Scope::ALL).await;
    assert_ne!(change(&broker, &third).await.status, 429);
    let refused = change(&broker, &broker.key).await;
    assert!(refused.status == 429 && refused.text.contains("in all in the last minute"), "{}", refused.text);
    let signed_in = Operator::nobody(&broker).sign_in(&broker.key).await;
    assert_eq!(signed_in.status, 303, "{}", signed_in.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_leaves_the_others_half_of_the_room_for_bodies() {
    let broker = TestBroker::builder()
        .toml("[console]\n")
        .setting("POSTPEER_LIMITS__BODIES_MIB", "1")
        .body_deadline(Duration::from_mins(1))
        .start()
        .await;
    let keys = join_all((0..6).map(|_| broker.key("theirs", Scope::ALL))).await;
    let (ended, is_full) = (AtomicUsize::new(0), Notify::new());
    let hang = async |key: &String| {
        let head = format!("POST /v1/profiles HTTP/1.1\r\nhost: x\r\nx-access-key: {key}\r\n");
        let kind = "content-type: application/json\r\ncontent-length: 65536\r\n\r\n";
        let mut stream = TcpStream::connect(broker.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(format!("{head}{kind}{}", " ".repeat(65_000)).as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        // Eight bodies of 65,000 bytes fill half a MiB.
        if ended.fetch_add(1, Ordering::Relaxed) + 1 == 24 - 8 {
            is_full.notify_one();
        }
    };
    let holding = join_all(keys.iter().cycle().take(24).map(hang));
    let meanwhile = async {
        is_full.notified().await;
        let profile = json!({"name": "a", "note": "a".repeat(60_000)});
        let created = broker.call("POST", "/v1/profiles", Some(profile)).await;
        assert_eq!(created.status, 201, "{}", created.text);
        assert_eq!(Operator::nobody(&broker).sign_in(&broker.key).await.status, 303);
    };
    tokio::select! {
        _ = holding => panic!("nobody holds room"),
        () = meanwhile => {}
    }
}
