//! Pinterest, word for word.

use postpeer::sandbox::{Fault, Step};

use super::{authorize, dialogue, troubles};

#[test]
fn where_the_person_is_sent() {
    insta::assert_snapshot!(authorize("pinterest", "https://connect.example.com"), @r"
    https://www.pinterest.com/oauth/
      ?response_type=code
      &client_id=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &redirect_uri=https%3A%2F%2Fconnect.example.com%2Fv1%2Fconnect%2Fpinterest%2Fcallback
      &scope=boards%3Aread%2Cboards%3Awrite%2Cpins%3Aread%2Cpins%3Awrite%2Cuser_accounts%3Aread
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_is_asked() {
    let told = dialogue("pinterest").await;
    insta::assert_snapshot!(told.requests, @r"
    token: POST /v5/oauth/token
      accept: application/json
      authorization: Basic base64([client id]:[client secret])
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: authorization_code
      = code: [code]
      = redirect_uri: [broker]/v1/connect/pinterest/callback
      = continuous_refresh: true

    identity: GET /v5/user_account
      accept: application/json
      authorization: Bearer [access token]
      user-agent: postpeer/[version]
    ");
    insta::assert_snapshot!(told.integration, @r#"
    {
      "accessTokenExpiresAt": "2026-06-02T08:33:36.445Z",
      "app": null,
      "appId": null,
      "authFailureReason": null,
      "authStatus": "active",
      "byok": false,
      "createdAt": "2026-05-03T08:33:36.445Z",
      "displayName": "Marlow & Daughters",
      "health": {
        "issuedAt": "2026-05-03T08:33:36.445Z",
        "lastError": null,
        "nextRefreshAt": "2026-06-02T08:18:54.881Z",
        "state": "ok"
      },
      "id": "[id]",
      "imageUrl": "[sandbox]/pinterest/pictures/ada.svg",
      "platform": "pinterest",
      "platformMetadata": {
        "accountType": "BUSINESS"
      },
      "platformUserId": "549755885175",
      "profileId": null,
      "profileUrl": "https://www.pinterest.com/adamarlow/",
      "refreshTokenExpiresAt": "2026-07-02T08:33:36.445Z",
      "scopes": [
        "boards:read",
        "boards:write",
        "pins:read",
        "pins:write",
        "user_accounts:read"
      ],
      "tokenReads": [],
      "tokenStatus": {
        "autoRefreshes": true,
        "reason": null,
        "reconnectRequired": false,
        "valid": true
      },
      "updatedAt": "2026-05-03T08:33:36.445Z",
      "username": "adamarlow"
    }
    "#);
    insta::assert_snapshot!(told.disconnected, @"Disconnected, and the tokens are erased here. Pinterest has no way to revoke them: the account's owner can remove the app in the settings there.");
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
    insta::assert_snapshot!(troubles("pinterest", 104, &faults).await, @r"
    token expired: exchange_rejected
        connection failed error=pinterest, code exchange: exchange_rejected (HTTP 400, 283) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for pinterest with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=pinterest, code exchange: exchange_rejected (HTTP 200, 283) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for pinterest with the one registered there.
    token 429: platform_throttled
        connection failed error=pinterest, code exchange: platform_throttled (HTTP 429, 8) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=pinterest, code exchange: platform_unavailable (HTTP 500, -1) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=pinterest, code exchange: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.pinterest]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    identity expired: identity_unavailable
        connection failed error=pinterest, identity call: identity_unavailable (HTTP 401, 2) next_step=If it happens to everyone, check that the scopes of [platforms.pinterest] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=pinterest
    identity revoked: identity_unavailable
        connection failed error=pinterest, identity call: identity_unavailable (HTTP 401, 2) next_step=If it happens to everyone, check that the scopes of [platforms.pinterest] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=pinterest
    identity ok_error: identity_unavailable
        connection failed error=pinterest, identity call: platform_answer_unreadable (HTTP 200, 2) next_step=If it goes on, check token_url and api_url of [platforms.pinterest]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=pinterest
    identity 429: identity_unavailable
        connection failed error=pinterest, identity call: platform_throttled (HTTP 429, 8) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=pinterest
    identity 500: identity_unavailable
        connection failed error=pinterest, identity call: platform_unavailable (HTTP 500, -1) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=pinterest
    identity html: identity_unavailable
        connection failed error=pinterest, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.pinterest]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=pinterest
    ");
}
