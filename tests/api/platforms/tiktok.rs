//! TikTok, word for word.

use postpeer::sandbox::{Fault, Step};

use super::{authorize, dialogue, troubles};

#[test]
fn where_the_person_is_sent() {
    insta::assert_snapshot!(authorize("tiktok", "https://connect.example.com"), @r"
    https://www.tiktok.com/v2/auth/authorize/
      ?response_type=code
      &client_key=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &redirect_uri=https%3A%2F%2Fconnect.example.com%2Fv1%2Fconnect%2Ftiktok%2Fcallback
      &scope=user.info.basic%2Cuser.info.profile%2Cvideo.publish%2Cvideo.upload
    ");
}

/// The desktop flow, which wants a challenge, and that in hexadecimal.
#[test]
fn where_the_person_is_sent_from_loopback() {
    insta::assert_snapshot!(authorize("tiktok", "http://127.0.0.1:8080"), @r"
    https://www.tiktok.com/v2/auth/authorize/
      ?response_type=code
      &client_key=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &redirect_uri=http%3A%2F%2F127.0.0.1%3A8080%2Fv1%2Fconnect%2Ftiktok%2Fcallback
      &scope=user.info.basic%2Cuser.info.profile%2Cvideo.publish%2Cvideo.upload
      &code_challenge=0447c6c7de0e78b1e8f699e8e9de8d81e75fa55d9a3a698ca86bcb9820729a8a
      &code_challenge_method=S256
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_is_asked() {
    let told = dialogue("tiktok").await;
    insta::assert_snapshot!(told.requests, @r"
    token: POST /v2/oauth/token/
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: authorization_code
      = code: [code]
      = code_verifier: [verifier]
      = client_key: [client id]
      = client_secret: [client secret]
      = redirect_uri: [broker]/v1/connect/tiktok/callback

    identity: GET /v2/user/info/
      accept: application/json
      authorization: Bearer [access token]
      user-agent: postpeer/[version]
      ? fields: open_id,union_id,avatar_url,avatar_large_url,display_name,username,profile_deep_link

    revoke: POST /v2/oauth/revoke/
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = token: [access token]
      = client_key: [client id]
      = client_secret: [client secret]
    ");
    insta::assert_snapshot!(told.integration, @r#"
    {
      "accessTokenExpiresAt": "2026-05-03T10:33:36.445Z",
      "app": null,
      "appId": null,
      "authFailureReason": null,
      "authStatus": "active",
      "byok": false,
      "createdAt": "2026-05-03T08:33:36.445Z",
      "displayName": "Ada Marlow",
      "health": {
        "issuedAt": "2026-05-03T08:33:36.445Z",
        "lastError": null,
        "nextRefreshAt": "2026-05-03T10:19:30.749Z",
        "state": "ok"
      },
      "id": "[id]",
      "imageUrl": "[sandbox]/tiktok/pictures/ada.svg",
      "platform": "tiktok",
      "platformMetadata": {
        "unionId": "union--000AdaMarlowSandboxOpenId"
      },
      "platformUserId": "-000AdaMarlowSandboxOpenId",
      "profileId": null,
      "profileUrl": "https://www.tiktok.com/@ada.marlow",
      "refreshTokenExpiresAt": "2026-10-30T08:33:36.445Z",
      "scopes": [
        "user.info.basic",
        "user.info.profile",
        "video.publish",
        "video.upload"
      ],
      "tokenReads": [],
      "tokenStatus": {
        "autoRefreshes": true,
        "reason": null,
        "reconnectRequired": false,
        "valid": true
      },
      "updatedAt": "2026-05-03T08:33:36.445Z",
      "username": "@ada.marlow"
    }
    "#);
    insta::assert_snapshot!(told.disconnected, @"Disconnected. TikTok revoked the tokens, and they are erased here.");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_troubles_are_told() {
    let faults = [
        (Step::Token, Fault::Expired),
        (Step::Token, Fault::OkError),
        (Step::Token, Fault::RateLimited),
        (Step::Token, Fault::ServerError),
        (Step::Token, Fault::Garbage),
        (Step::Identity, Fault::Expired),
        (Step::Identity, Fault::Revoked),
        (Step::Identity, Fault::OkError),
        (Step::Identity, Fault::RateLimited),
        (Step::Identity, Fault::ServerError),
        (Step::Identity, Fault::Html),
    ];
    insta::assert_snapshot!(troubles("tiktok", 106, &faults).await, @r"
    token expired: exchange_rejected
        connection failed error=tiktok, code exchange: exchange_rejected (HTTP 200, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for tiktok with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=tiktok, code exchange: exchange_rejected (HTTP 200, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for tiktok with the one registered there.
    token 429: platform_throttled
        connection failed error=tiktok, code exchange: platform_throttled (HTTP 429, rate_limit_exceeded) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=tiktok, code exchange: platform_unavailable (HTTP 500, server_error) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=tiktok, code exchange: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.tiktok]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    identity expired: identity_unavailable
        connection failed error=tiktok, identity call: identity_unavailable (HTTP 401, access_token_invalid) next_step=If it happens to everyone, check that the scopes of [platforms.tiktok] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=tiktok
    identity revoked: identity_unavailable
        connection failed error=tiktok, identity call: identity_unavailable (HTTP 401, access_token_invalid) next_step=If it happens to everyone, check that the scopes of [platforms.tiktok] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=tiktok
    identity ok_error: identity_unavailable
        connection failed error=tiktok, identity call: platform_answer_unreadable (HTTP 200, access_token_invalid) next_step=If it goes on, check token_url and api_url of [platforms.tiktok]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=tiktok
    identity 429: identity_unavailable
        connection failed error=tiktok, identity call: platform_throttled (HTTP 429, rate_limit_exceeded) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=tiktok
    identity 500: identity_unavailable
        connection failed error=tiktok, identity call: platform_unavailable (HTTP 500, internal_error) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=tiktok
    identity html: identity_unavailable
        connection failed error=tiktok, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.tiktok]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=tiktok
    ");
}
