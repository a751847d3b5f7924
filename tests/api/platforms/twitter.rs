//! X (Twitter), word for word.

use postpeer::sandbox::{Fault, Step};

use super::{authorize, dialogue, troubles};

#[test]
fn where_the_person_is_sent() {
    insta::assert_snapshot!(authorize("twitter", "https://connect.example.com"), @r"
    https://x.com/i/oauth2/authorize
      ?response_type=code
      &client_id=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &code_challenge=BEfGx94OeLHo9pno6d6NgedfpV2aOmmMqGvLmCBymoo
      &code_challenge_method=S256
      &redirect_uri=https%3A%2F%2Fconnect.example.com%2Fv1%2Fconnect%2Ftwitter%2Fcallback
      &scope=tweet.read+tweet.write+users.read+media.write+offline.access
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_is_asked() {
    let told = dialogue("twitter").await;
    insta::assert_snapshot!(told.requests, @r"
    token: POST /2/oauth2/token
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: authorization_code
      = code: [code]
      = code_verifier: [verifier]
      = redirect_uri: [broker]/v1/connect/twitter/callback

    identity: GET /2/users/me
      accept: application/json
      authorization: Bearer [access token]
      user-agent: postpeer/[version]
      ? user.fields: profile_image_url,name,username,verified

    revoke: POST /2/oauth2/revoke
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = token: [refresh token]
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
      "imageUrl": "[sandbox]/twitter/pictures/ada.svg",
      "platform": "twitter",
      "platformMetadata": {},
      "platformUserId": "2244994945",
      "profileId": null,
      "profileUrl": "https://x.com/ada_marlow",
      "refreshTokenExpiresAt": null,
      "scopes": [
        "tweet.read",
        "tweet.write",
        "users.read",
        "media.write",
        "offline.access"
      ],
      "tokenReads": [],
      "tokenStatus": {
        "autoRefreshes": true,
        "reason": null,
        "reconnectRequired": false,
        "valid": true
      },
      "updatedAt": "2026-05-03T08:33:36.445Z",
      "username": "@ada_marlow"
    }
    "#);
    insta::assert_snapshot!(told.disconnected, @"Disconnected. X (Twitter) revoked the tokens, and they are erased here.");
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
    insta::assert_snapshot!(troubles("twitter", 107, &faults).await, @r"
    token expired: exchange_rejected
        connection failed error=twitter, code exchange: exchange_rejected (HTTP 400, invalid_request) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for twitter with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=twitter, code exchange: exchange_rejected (HTTP 200, invalid_request) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for twitter with the one registered there.
    token 429: platform_throttled
        connection failed error=twitter, code exchange: platform_throttled (HTTP 429) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=twitter, code exchange: platform_unavailable (HTTP 500) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=twitter, code exchange: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.twitter]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    identity expired: identity_unavailable
        connection failed error=twitter, identity call: identity_unavailable (HTTP 401) next_step=If it happens to everyone, check that the scopes of [platforms.twitter] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=twitter
    identity revoked: identity_unavailable
        connection failed error=twitter, identity call: identity_unavailable (HTTP 401) next_step=If it happens to everyone, check that the scopes of [platforms.twitter] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=twitter
    identity ok_error: identity_unavailable
        connection failed error=twitter, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.twitter]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=twitter
    identity 429: identity_unavailable
        connection failed error=twitter, identity call: platform_throttled (HTTP 429) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=twitter
    identity 500: identity_unavailable
        connection failed error=twitter, identity call: platform_unavailable (HTTP 500) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=twitter
    identity html: identity_unavailable
        connection failed error=twitter, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.twitter]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=twitter
    ");
}
