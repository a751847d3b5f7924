//! The request with which Bluesky's tokens are refreshed. Those of other platforms are in their dialogues
//! (`platforms`).

use crate::alive::{connect, next_refresh};
use crate::platforms::render;
use crate::support::TestBroker;

#[tokio::test(flavor = "multi_thread")]
async fn bluesky_is_asked_with_the_refresh_token() {
    let broker = TestBroker::start().await;
    let id = connect(&broker, "bluesky").await;
    broker.clock.set(next_refresh(&broker, &id).await);
    broker.sandbox().clear();
    assert_eq!(broker.refresh_due().await, 1);
    let requests = broker.sandbox().requests();
    let text = requests.iter().map(|request| render(&broker, "", request)).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @"
    refresh: POST /xrpc/com.atproto.server.refreshSession
      accept: application/json
      authorization: Bearer [refresh token]
      user-agent: postpeer/[version]
    ");
}
