//! Threads, word for word.

use postpeer::sandbox::{Fault, Step};

use super::{authorize, dialogue, troubles};

#[test]
fn where_the_person_is_sent() {
    insta::assert_snapshot!(authorize("threads", "https://connect.example.com"), @r"
    https://threads.net/oauth/authorize
      ?response_type=code
      &client_id=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &redirect_uri=https%3A%2F%2Fconnect.example.com%2Fv1%2Fconnect%2Fthreads%2Fcallback
      &scope=threads_basic%2Cthreads_content_publish
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_is_asked() {
    let told = dialogue("threads").await;
    insta::assert_snapshot!(told.requests, @r"
    token: POST /oauth/access_token
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: authorization_code
      = code: [code]
      = client_id: [client id]
      = client_secret: [client secret]
      = redirect_uri: [broker]/v1/connect/threads/callback

    long_lived: GET /access_token
      accept: application/json
      user-agent: postpeer/[version]
      ? grant_type: th_exchange_token
      ? client_secret: [client secret]
      ? access_token: [access token]

    inspect: GET /debug_token
      accept: application/json
      user-agent: postpeer/[version]
      ? input_token: [long-lived token]
      ? access_token: [long-lived token]

    identity: GET /v1.0/me
      accept: application/json
      user-agent: postpeer/[version]
      ? fields: id,username,name,threads_profile_picture_url,threads_biography,is_verified
      ? access_token: [long-lived token]
    ");
    insta::assert_snapshot!(told.integration, @r#"
    {
      "accessTokenExpiresAt": "2026-07-02T08:32:40.445Z",
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
        "nextRefreshAt": "2026-06-22T13:27:47.771Z",
        "state": "ok"
      },
      "id": "[id]",
      "imageUrl": "[sandbox]/threads/pictures/ada.svg",
      "platform": "threads",
      "platformMetadata": {},
      "platformUserId": "17841405793187218",
      "profileId": null,
      "profileUrl": "https://www.threads.net/@ada.marlow",
      "refreshTokenExpiresAt": null,
      "scopes": [
        "threads_basic",
        "threads_content_publish"
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
    insta::assert_snapshot!(told.disconnected, @"Disconnected, and the tokens are erased here. Threads has no way to revoke them: the account's owner can remove the app in the settings there.");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_troubles_are_told() {
    let faults = [
        (Step::Token, Fault::Expired),
        (Step::Token, Fault::OkError),
        (Step::Token, Fault::RateLimited),
        (Step::Token, Fault::ServerError),
        (Step::Token, Fault::Garbage),
        (Step::LongLived, Fault::Expired),
        (Step::LongLived, Fault::Revoked),
        (Step::LongLived, Fault::OkError),
        (Step::LongLived, Fault::RateLimited),
        (Step::LongLived, Fault::ServerError),
        (Step::LongLived, Fault::Html),
        (Step::Identity, Fault::Expired),
        (Step::Identity, Fault::Revoked),
        (Step::Identity, Fault::OkError),
        (Step::Identity, Fault::RateLimited),
        (Step::Identity, Fault::ServerError),
        (Step::Identity, Fault::Html),
    ];
    insta::assert_snapshot!(troubles("threads", 105, &faults).await, @r"
    token expired: exchange_rejected
        connection failed error=threads, code exchange: exchange_rejected (HTTP 400, 400) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=threads, code exchange: exchange_rejected (HTTP 200, 400) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    token 429: platform_throttled
        connection failed error=threads, code exchange: platform_throttled (HTTP 429, 4) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=threads, code exchange: platform_unavailable (HTTP 500, 2) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=threads, code exchange: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.threads]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    long_lived expired: exchange_rejected
        connection failed error=threads, exchange for a long-lived token: exchange_rejected (HTTP 400, 190) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    long_lived revoked: exchange_rejected
        connection failed error=threads, exchange for a long-lived token: exchange_rejected (HTTP 400, 190) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    long_lived ok_error: exchange_rejected
        connection failed error=threads, exchange for a long-lived token: exchange_rejected (HTTP 200, 190) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    long_lived 429: platform_throttled
        connection failed error=threads, exchange for a long-lived token: platform_throttled (HTTP 429, 4) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    long_lived 500: platform_unavailable
        connection failed error=threads, exchange for a long-lived token: platform_unavailable (HTTP 500, 2) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    long_lived html: platform_answer_unreadable
        connection failed error=threads, exchange for a long-lived token: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.threads]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    identity expired: identity_unavailable
        connection failed error=threads, identity call: identity_unavailable (HTTP 400, 190) next_step=If it happens to everyone, check that the scopes of [platforms.threads] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=threads
    identity revoked: identity_unavailable
        connection failed error=threads, identity call: identity_unavailable (HTTP 400, 190) next_step=If it happens to everyone, check that the scopes of [platforms.threads] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=threads
    identity ok_error: identity_unavailable
        connection failed error=threads, identity call: platform_answer_unreadable (HTTP 200, 190) next_step=If it goes on, check token_url and api_url of [platforms.threads]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=threads
    identity 429: identity_unavailable
        connection failed error=threads, identity call: platform_throttled (HTTP 429, 4) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=threads
    identity 500: identity_unavailable
        connection failed error=threads, identity call: platform_unavailable (HTTP 500, 2) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=threads
    identity html: identity_unavailable
        connection failed error=threads, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.threads]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=threads
    ");
}
