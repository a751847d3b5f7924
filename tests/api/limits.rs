//! How much may wait at a time.

use std::time::Duration;

use futures_util::future::join_all;
use postpeer::domain::access_key::Scope;
use postpeer::sandbox::Answer;

use crate::support::TestBroker;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_may_wait_and_no_more() {
    let broker = TestBroker::start().await;
    let first = broker.begin("twitter", "redirectUri=https://app.example/back").await;
    for _ in 0..20 {
        let begun = join_all((0..50).map(|_| broker.get("/v1/connect/twitter"))).await;
        assert!(begun.iter().all(|reply| reply.status == 200 || reply.status == 429));
    }
    let stored = broker.stored();
    let refused = broker.get("/v1/connect/youtube").await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_pending_connections"), "{}", refused.text);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait}");
    assert!(broker.stored() == stored, "something was written");

    // Each project for itself.
    let theirs = broker.key("theirs", Scope::ALL).await;
    assert_eq!(broker.call_as(&theirs, "GET", "/v1/connect/twitter", None).await.status, 200);
    // Whoever waits can still finish, which makes room for one.
    let location = broker.browse(&broker.consent(&first, &Answer::allow())).await.location();
    assert!(location.contains("status=success"), "{location}");
    assert_eq!(broker.get("/v1/connect/youtube").await.status, 200);
    assert_eq!(broker.get("/v1/connect/youtube").await.status, 429);

    // What has expired makes room at once, and is forgotten by the next purge.
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 0);
    broker.clock.advance(Duration::from_mins(10));
    assert_eq!(broker.get("/v1/connect/twitter").await.status, 200);
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 1002, "1001 of ours and one of theirs");
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 0);
}
