//! What each platform is asked to renew a token, word for word.

use std::collections::BTreeMap;

use postpeer::sandbox;

use crate::alive::{connect, next_refresh};
use crate::platforms::render;
use crate::support::TestBroker;

/// Connects an account, and refreshes it when it is due: the requests of that.
async fn refresh(platform: &str) -> String {
    let broker = TestBroker::start().await;
    let id = connect(&broker, platform).await;
    broker.clock.set(next_refresh(&broker, &id).await);
    broker.sandbox().clear();
    assert_eq!(broker.refresh_due().await, 1, "{platform}");
    let requests = broker.sandbox().requests();
    let text = requests.iter().map(|request| render(&broker, "", request)).collect::<Vec<_>>().join("\n");
    let Ok((id, secret)) = sandbox::own_client(platform) else { return text };
    text.replace(&secret, "[own client secret]").replace(&id, "[own client id]")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_platform_is_asked() {
    let mut told = BTreeMap::new();
    for platform in sandbox::platforms().chain(["bluesky"]) {
        told.insert(platform, refresh(platform).await);
    }
    insta::assert_snapshot!(told.remove("acme").unwrap(), @"
    refresh: POST /token
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: refresh_token
      = refresh_token: [refresh token]
    ");
    insta::assert_snapshot!(told.remove("bluesky").unwrap(), @"
    refresh: POST /xrpc/com.atproto.server.refreshSession
      accept: application/json
      authorization: Bearer [refresh token]
      user-agent: postpeer/[version]
    ");
    insta::assert_snapshot!(told.remove("facebook").unwrap(), @"
    refresh: GET /v25.0/oauth/access_token
      accept: application/json
      user-agent: postpeer/[version]
      ? grant_type: fb_exchange_token
      ? client_id: [client id]
      ? client_secret: [client secret]
      ? fb_exchange_token: [long-lived token]
    ");
    insta::assert_snapshot!(told.remove("googlebusiness").unwrap(), @"
    refresh: POST /token
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: refresh_token
      = refresh_token: [refresh token]
      = client_id: [client id]
      = client_secret: [client secret]
    ");
    insta::assert_snapshot!(told.remove("instagram").unwrap(), @"
    refresh: GET /refresh_access_token
      accept: application/json
      user-agent: postpeer/[version]
      ? grant_type: ig_refresh_token
      ? access_token: [long-lived token]
    ");
    insta::assert_snapshot!(told.remove("linkedin").unwrap(), @"
    refresh: POST /oauth/v2/accessToken
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: refresh_token
      = refresh_token: [refresh token]
      = client_id: [own client id]
      = client_secret: [own client secret]
    ");
    insta::assert_snapshot!(told.remove("pinterest").unwrap(), @"
    refresh: POST /v5/oauth/token
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: refresh_token
      = refresh_token: [refresh token]
    ");
    insta::assert_snapshot!(told.remove("threads").unwrap(), @"
    refresh: GET /refresh_access_token
      accept: application/json
      user-agent: postpeer/[version]
      ? grant_type: th_refresh_token
      ? access_token: [long-lived token]
    ");
    insta::assert_snapshot!(told.remove("tiktok").unwrap(), @"
    refresh: POST /v2/oauth/token/
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: refresh_token
      = refresh_token: [refresh token]
      = client_key: [client id]
      = client_secret: [client secret]
    ");
    insta::assert_snapshot!(told.remove("twitter").unwrap(), @"
    refresh: POST /2/oauth2/token
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: refresh_token
      = refresh_token: [refresh token]
    ");
    insta::assert_snapshot!(told.remove("youtube").unwrap(), @"
    refresh: POST /token
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: refresh_token
      = refresh_token: [refresh token]
      = client_id: [client id]
      = client_secret: [client secret]
    ");
    assert!(told.is_empty(), "{:?}", told.keys());
}
