//! The limit on pending connections.

use std::time::Duration;

use futures_util::future::join_all;
use postpeer::domain::access_key::Scope;
use postpeer::sandbox::Answer;

use crate::support::TestBroker;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_may_wait_and_no_more() {
    let broker = TestBroker::start().await;
    let first = broker.begin("twitter", "redirectUri=https://app.example/back").await;
    let mut refused = 0;
    for _ in 0..20 {
        for reply in join_all((0..50).map(|_| broker.get("/v1/connect/twitter"))).await {
            if reply.status != 200 {
                assert_eq!((reply.status, reply.code()), (429, "too_many_pending_connections"));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1, "1001 were begun");
    let stored = broker.stored();
    let refused = broker.get("/v1/connect/youtube").await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_pending_connections"), "{}", refused.text);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait}");
    assert!(broker.stored() == stored, "something was written");

    // Each project has its own limit.
    let theirs = broker.key("theirs", Scope::ALL).await;
    assert_eq!(broker.call_as(&theirs, "GET", "/v1/connect/twitter", None).await.status, 200);
    // A pending connection can still finish, which makes room for another.
    let location = broker.browse(&broker.consent(&first, &Answer::allow())).await.location();
    assert!(location.contains("status=success"), "{location}");
    assert_eq!(broker.get("/v1/connect/youtube").await.status, 200);
    assert_eq!(broker.get("/v1/connect/youtube").await.status, 429);

    // An expired connection makes room at once, and the next purge deletes it.
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 0);
    broker.clock.advance(Duration::from_mins(10));
    assert_eq!(broker.get("/v1/connect/twitter").await.status, 200);
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 1002, "1001 of ours and one of theirs");
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 0);
}
