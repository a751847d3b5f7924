//! An operator's own platform, word for word.

use postpeer::sandbox::{Fault, Step};

use super::{authorize, dialogue, troubles};

#[test]
fn where_the_person_is_sent() {
    insta::assert_snapshot!(authorize("acme", "https://connect.example.com"), @r"
    https://id.acme.example/auth
      ?tenant=7
      &response_type=code
      &client_id=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &code_challenge=BEfGx94OeLHo9pno6d6NgedfpV2aOmmMqGvLmCBymoo
      &code_challenge_method=S256
      &redirect_uri=https%3A%2F%2Fconnect.example.com%2Fv1%2Fconnect%2Facme%2Fcallback
      &scope=openid+profile+offline_access
      &prompt=consent
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_is_asked() {
    let told = dialogue("acme").await;
    insta::assert_snapshot!(told.requests, @r"
    token: POST /token
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: authorization_code
      = code: [code]
      = code_verifier: [verifier]
      = redirect_uri: [broker]/v1/connect/acme/callback

    identity: GET /me
      accept: application/json
      authorization: Bearer [access token]
      user-agent: postpeer/[version]

    revoke: POST /revoke
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = token: [refresh token]
    ");
    insta::assert_snapshot!(told.integration, @r#"
    {
      "accessTokenExpiresAt": "2026-05-03T09:33:36.445Z",
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
        "nextRefreshAt": "2026-05-03T09:19:30.749Z",
        "state": "ok"
      },
      "id": "[id]",
      "imageUrl": "[sandbox]/acme/pictures/ada.svg",
      "platform": "acme",
      "platformMetadata": {},
      "platformUserId": "b7a1c0de-0001",
      "profileId": null,
      "profileUrl": null,
      "refreshTokenExpiresAt": null,
      "scopes": [
        "openid",
        "profile",
        "offline_access"
      ],
      "tokenReads": [],
      "tokenStatus": {
        "autoRefreshes": true,
        "reason": null,
        "reconnectRequired": false,
        "valid": true
      },
      "updatedAt": "2026-05-03T08:33:36.445Z",
      "username": "ada"
    }
    "#);
    insta::assert_snapshot!(told.disconnected, @"Disconnected. Acme revoked the tokens, and they are erased here.");
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
    insta::assert_snapshot!(troubles("acme", 101, &faults).await, @r"
    token expired: exchange_rejected
        connection failed error=acme, code exchange: exchange_rejected (HTTP 400, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for acme with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=acme, code exchange: exchange_rejected (HTTP 200, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for acme with the one registered there.
    token 429: platform_throttled
        connection failed error=acme, code exchange: platform_throttled (HTTP 429, temporarily_unavailable) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=acme, code exchange: platform_unavailable (HTTP 500, server_error) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=acme, code exchange: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.acme]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    identity expired: identity_unavailable
        connection failed error=acme, identity call: identity_unavailable (HTTP 401, invalid_token) next_step=If it happens to everyone, check that the scopes of [platforms.acme] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=acme
    identity revoked: identity_unavailable
        connection failed error=acme, identity call: identity_unavailable (HTTP 401, invalid_token) next_step=If it happens to everyone, check that the scopes of [platforms.acme] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=acme
    identity ok_error: identity_unavailable
        connection failed error=acme, identity call: platform_answer_unreadable (HTTP 200, invalid_token) next_step=If it goes on, check token_url and api_url of [platforms.acme]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=acme
    identity 429: identity_unavailable
        connection failed error=acme, identity call: platform_throttled (HTTP 429, temporarily_unavailable) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=acme
    identity 500: identity_unavailable
        connection failed error=acme, identity call: platform_unavailable (HTTP 500, server_error) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=acme
    identity html: identity_unavailable
        connection failed error=acme, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.acme]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=acme
    ");
}
