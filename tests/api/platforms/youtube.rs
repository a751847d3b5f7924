//! YouTube, word for word.

use postpeer::sandbox::{Fault, Step};

use super::{authorize, dialogue, troubles};

#[test]
fn where_the_person_is_sent() {
    insta::assert_snapshot!(authorize("youtube", "https://connect.example.com"), @r"
    https://accounts.google.com/o/oauth2/v2/auth
      ?response_type=code
      &client_id=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &code_challenge=BEfGx94OeLHo9pno6d6NgedfpV2aOmmMqGvLmCBymoo
      &code_challenge_method=S256
      &redirect_uri=https%3A%2F%2Fconnect.example.com%2Fv1%2Fconnect%2Fyoutube%2Fcallback
      &scope=openid+profile+email+https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fyoutube.upload+https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fyoutube.readonly
      &access_type=offline
      &prompt=consent
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_is_asked() {
    let told = dialogue("youtube").await;
    insta::assert_snapshot!(told.requests, @r"
    token: POST /token
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: authorization_code
      = code: [code]
      = code_verifier: [verifier]
      = client_id: [client id]
      = client_secret: [client secret]
      = redirect_uri: [broker]/v1/connect/youtube/callback

    identity: GET /youtube/v3/channels
      accept: application/json
      authorization: Bearer [access token]
      user-agent: postpeer/[version]
      ? part: snippet
      ? mine: true

    revoke: POST /revoke
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = token: [refresh token]
    ");
    insta::assert_snapshot!(told.integration, @r#"
    {
      "accessTokenExpiresAt": "2026-05-03T09:33:35.445Z",
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
        "nextRefreshAt": "2026-05-03T09:19:29.749Z",
        "state": "ok"
      },
      "id": "[id]",
      "imageUrl": "[sandbox]/youtube/pictures/ada.svg",
      "platform": "youtube",
      "platformMetadata": {},
      "platformUserId": "UC4Rk0sandboxAdaMarlowX0",
      "profileId": null,
      "profileUrl": "https://www.youtube.com/channel/UC4Rk0sandboxAdaMarlowX0",
      "refreshTokenExpiresAt": null,
      "scopes": [
        "openid",
        "profile",
        "email",
        "https://www.googleapis.com/auth/youtube.upload",
        "https://www.googleapis.com/auth/youtube.readonly"
      ],
      "tokenReads": [],
      "tokenStatus": {
        "autoRefreshes": true,
        "reason": null,
        "reconnectRequired": false,
        "valid": true
      },
      "updatedAt": "2026-05-03T08:33:36.445Z",
      "username": "@adamarlow"
    }
    "#);
    insta::assert_snapshot!(told.disconnected, @"Disconnected. YouTube revoked the tokens, and they are erased here.");
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
    insta::assert_snapshot!(troubles("youtube", 108, &faults).await, @r"
    token expired: exchange_rejected
        connection failed error=youtube, code exchange: exchange_rejected (HTTP 400, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for youtube with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=youtube, code exchange: exchange_rejected (HTTP 200, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for youtube with the one registered there.
    token 429: platform_throttled
        connection failed error=youtube, code exchange: platform_throttled (HTTP 429, rate_limit_exceeded) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=youtube, code exchange: platform_unavailable (HTTP 500, internal_failure) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=youtube, code exchange: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.youtube]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    identity expired: identity_unavailable
        connection failed error=youtube, identity call: identity_unavailable (HTTP 401, UNAUTHENTICATED) next_step=If it happens to everyone, check that the scopes of [platforms.youtube] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=youtube
    identity revoked: identity_unavailable
        connection failed error=youtube, identity call: identity_unavailable (HTTP 401, UNAUTHENTICATED) next_step=If it happens to everyone, check that the scopes of [platforms.youtube] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=youtube
    identity ok_error: identity_unavailable
        connection failed error=youtube, identity call: platform_answer_unreadable (HTTP 200, UNAUTHENTICATED) next_step=If it goes on, check token_url and api_url of [platforms.youtube]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=youtube
    identity 429: identity_unavailable
        connection failed error=youtube, identity call: platform_throttled (HTTP 429, RESOURCE_EXHAUSTED) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=youtube
    identity 500: identity_unavailable
        connection failed error=youtube, identity call: platform_unavailable (HTTP 500, INTERNAL) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=youtube
    identity html: identity_unavailable
        connection failed error=youtube, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.youtube]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=youtube
    ");
}
