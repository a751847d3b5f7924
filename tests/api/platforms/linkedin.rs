//! LinkedIn, word for word.

use postpeer::sandbox::{Fault, Step};

use super::{authorize, dialogue, troubles};

#[test]
fn where_the_person_is_sent() {
    insta::assert_snapshot!(authorize("linkedin", "https://connect.example.com"), @r"
    https://www.linkedin.com/oauth/v2/authorization
      ?response_type=code
      &client_id=our-client
      &state=eDglgipvnmLaIZDoKOTJ0lduWXfjoLNiCwkt-56Zlvo
      &redirect_uri=https%3A%2F%2Fconnect.example.com%2Fv1%2Fconnect%2Flinkedin%2Fcallback
      &scope=openid+profile+email+w_member_social
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_is_asked() {
    let told = dialogue("linkedin").await;
    insta::assert_snapshot!(told.requests, @"
    token: POST /oauth/v2/accessToken
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = grant_type: authorization_code
      = code: [code]
      = client_id: [client id]
      = client_secret: [client secret]
      = redirect_uri: [broker]/v1/connect/linkedin/callback

    identity: GET /v2/userinfo
      accept: application/json
      authorization: Bearer [access token]
      user-agent: postpeer/[version]

    accounts: GET /rest/organizationAcls
      accept: application/json
      authorization: Bearer [access token]
      linkedin-version: 202608
      user-agent: postpeer/[version]
      x-restli-protocol-version: 2.0.0
      ? q: roleAssignee
      ? state: APPROVED
      ? count: 100
      ? start: 0

    accounts: GET /rest/organizationsLookup
      accept: application/json
      authorization: Bearer [access token]
      linkedin-version: 202608
      user-agent: postpeer/[version]
      x-restli-protocol-version: 2.0.0
      ? ids: List(2414183,2414184)

    accounts: GET /v2/organizationalEntityAcls
      accept: application/json
      authorization: Bearer [access token]
      linkedin-version: 202608
      user-agent: postpeer/[version]
      x-restli-protocol-version: 2.0.0
      ? q: roleAssignee
      ? state: APPROVED
      ? count: 50
      ? projection: (elements*(role,organizationalTarget~(localizedName,vanityName,logoV2(original~:playableStreams))))
      ? start: 0

    revoke: POST /oauth/v2/revoke
      accept: application/json
      content-type: application/x-www-form-urlencoded
      user-agent: postpeer/[version]
      = token: [access token]
      = client_id: [client id]
      = client_secret: [client secret]
    ");
    insta::assert_snapshot!(told.integration, @r#"
    {
      "accessTokenExpiresAt": "2026-07-02T08:33:36.445Z",
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
        "nextRefreshAt": "2026-07-02T08:18:58.788Z",
        "state": "ok"
      },
      "id": "[id]",
      "imageUrl": "[sandbox]/linkedin/pictures/ada.svg",
      "platform": "linkedin",
      "platformMetadata": {
        "type": "person"
      },
      "platformUserId": "782bbtaQad",
      "profileId": null,
      "profileUrl": null,
      "refreshTokenExpiresAt": "2027-05-03T08:33:36.445Z",
      "scopes": [
        "openid",
        "profile",
        "email",
        "w_member_social",
        "rw_organization_admin",
        "w_organization_social",
        "r_organization_social"
      ],
      "tokenReads": [],
      "tokenStatus": {
        "autoRefreshes": true,
        "reason": null,
        "reconnectRequired": false,
        "valid": true
      },
      "updatedAt": "2026-05-03T08:33:36.445Z",
      "username": null
    }
    "#);
    insta::assert_snapshot!(told.disconnected, @"Disconnected. LinkedIn revoked the tokens, and they are erased here.");
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
    insta::assert_snapshot!(troubles("linkedin", 103, &faults).await, @r"
    token expired: exchange_rejected
        connection failed error=linkedin, code exchange: exchange_rejected (HTTP 400, invalid_redirect_uri) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for linkedin with the one registered there.
    token ok_error: exchange_rejected
        connection failed error=linkedin, code exchange: exchange_rejected (HTTP 200, invalid_redirect_uri) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for linkedin with the one registered there.
    token 429: platform_throttled
        connection failed error=linkedin, code exchange: platform_throttled (HTTP 429, TOO_MANY_REQUESTS) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token 500: platform_unavailable
        connection failed error=linkedin, code exchange: platform_unavailable (HTTP 500, INTERNAL_SERVER_ERROR) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
    token garbage: platform_answer_unreadable
        connection failed error=linkedin, code exchange: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.linkedin]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
    identity expired: identity_unavailable
        connection failed error=linkedin, identity call: identity_unavailable (HTTP 401, EXPIRED_ACCESS_TOKEN) next_step=If it happens to everyone, check that the scopes of [platforms.linkedin] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=linkedin
    identity revoked: identity_unavailable
        connection failed error=linkedin, identity call: identity_unavailable (HTTP 401, REVOKED_ACCESS_TOKEN) next_step=If it happens to everyone, check that the scopes of [platforms.linkedin] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=linkedin
    identity ok_error: identity_unavailable
        connection failed error=linkedin, identity call: platform_answer_unreadable (HTTP 200, REVOKED_ACCESS_TOKEN) next_step=If it goes on, check token_url and api_url of [platforms.linkedin]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=linkedin
    identity 429: identity_unavailable
        connection failed error=linkedin, identity call: platform_throttled (HTTP 429, TOO_MANY_REQUESTS) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=linkedin
    identity 500: identity_unavailable
        connection failed error=linkedin, identity call: platform_unavailable (HTTP 500, INTERNAL_SERVER_ERROR) next_step=Nothing to do: refreshes are retried automatically, and a connection can be started again later.
        the tokens were not kept, and revoked platform.name=linkedin
    identity html: identity_unavailable
        connection failed error=linkedin, identity call: platform_answer_unreadable (HTTP 200) next_step=If it goes on, check token_url and api_url of [platforms.linkedin]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.
        the tokens were not kept, and revoked platform.name=linkedin
    ");
}
