//! No number of unfinished connections gets in the way of the next one.

use std::time::Duration;

use futures_util::future::join_all;
use postpeer::domain::access_key::Scope;
use postpeer::sandbox::Answer;

use crate::support::TestBroker;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_may_wait_and_the_first_can_still_finish() {
    let broker = TestBroker::start().await;
    let first = broker.begin("twitter", "redirectUri=https://app.example/back").await;
    for _ in 0..40 {
        for reply in join_all((0..50).map(|_| broker.get("/v1/connect/twitter"))).await {
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    }
    let theirs = broker.key("theirs", Scope::ALL).await;
    assert_eq!(broker.call_as(&theirs, "GET", "/v1/connect/twitter", None).await.status, 200);
    let location = broker.browse(&broker.consent(&first, &Answer::allow())).await.location();
    assert!(location.contains("status=success"), "{location}");

    assert_eq!(broker.broker().purge_expired().await.unwrap(), 0);
    broker.clock.advance(Duration::from_mins(10));
    assert_eq!(broker.get("/v1/connect/twitter").await.status, 200);
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 2002, "2001 of ours and one of theirs");
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 0);
}
