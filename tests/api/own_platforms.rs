//! Platforms of an operator's own whose servers differ from the standard in one way or another.

use std::time::Duration;

use serde_json::{Value, json};

use crate::any_server::{AnyServer, come_back};
use crate::logs;
use crate::stand_in::json as answer;
use crate::support::{TestBroker, parameter};

/// A broker with the platform `own` of these lines, in which `{url}` is the server's.
async fn broker(server: &AnyServer, lines: &str) -> TestBroker {
    TestBroker::builder().toml(&format!("[platforms.own]\n{}", lines.replace("{url}", &server.url))).start().await
}

/// Connects an account with the code `c`. Returns the authorize URL and the integration's id.
async fn connect(broker: &TestBroker) -> (String, String) {
    let (url, location) = come_back(broker, "own", "code=c&state={state}").await;
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    (url, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_found_where_they_are_nested() {
    // As Slack answers: a code with a person's tokens beside the app's own, a refresh with theirs alone.
    let server = AnyServer::start(|asked, _| match asked.path.as_str() {
        "/token" if asked.field("code").is_some() => answer(
            r#"{"ok":true,"access_token":"xoxb-app","scope":"commands","team":{"id":"T1"},"authed_user":{"id":"U1",
               "scope":"chat:write,users:read","access_token":"xoxp-1","refresh_token":"r1","expires_in":43200}}"#,
        ),
        "/token" => answer(r#"{"ok":true,"access_token":"xoxp-2","refresh_token":"r2","expires_in":43200}"#),
        _ => answer(r#"{"ok":true,"user":{"id":"U1","name":"Ada"}}"#),
    })
    .await;
    let broker = broker(
        &server,
        r#"
        client_id = "id"
        client_secret = "secret"
        authorize_url = "{url}/authorize"
        token_url = "{url}/token"
        identity_url = "{url}/api/users.identity"
        token_pointer = "/authed_user"
        scopes = ["chat:write", "users:read"]
        scope_separator = ","
        client_auth = "body"
        pkce = "none"
        identity = { id = "/user/id", name = "/user/name" }
        "#,
    )
    .await;
    let (url, id) = connect(&broker).await;
    assert_eq!(parameter(&url, "scope").as_deref(), Some("chat:write,users:read"));
    let asked = server.asked();
    assert_eq!(asked[0].fields(), ["grant_type", "code", "client_id", "client_secret", "redirect_uri"]);
    assert_eq!(asked[1].header("authorization"), "Bearer xoxp-1");
    let token = broker.token(&id, "").await.json;
    assert_eq!(
        (token["accessToken"].as_str(), &token["scopes"]),
        (Some("xoxp-1"), &json!(["chat:write", "users:read"]))
    );

    broker.clock.advance(Duration::from_hours(12));
    assert_eq!(broker.refresh_due().await, 1);
    assert_eq!(server.asked()[0].field("refresh_token").as_deref(), Some("r1"));
    assert_eq!(broker.token(&id, "").await.json["accessToken"], "xoxp-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_take_the_shape_that_the_operator_describes() {
    let server = AnyServer::start(|asked, _| match asked.path.as_str() {
        "/token" => answer(r#"{"access_token":"a","refresh_token":"r\"1","expires_in":3600,"scope":"read"}"#),
        _ => answer(r#"{"account_id":"dbid:1"}"#),
    })
    .await;
    let broker = broker(
        &server,
        r#"
        client_id = "id"
        client_secret = "secret"
        authorize_url = "{url}/authorize"
        token_url = "{url}/token"
        identity_url = "{url}/get_current_account"
        identity_method = "post"
        identity_headers = { "Client-Id" = "{client_id}", "X-Version" = "2" }
        scopes = ["read", "write"]
        token_body = "json"
        token_params = { audience = "api", quoted = "a\"b" }
        refresh_params = { resource = "x" }
        scope_on_refresh = true
        identity = { id = "/account_id" }
        "#,
    )
    .await;
    let (_, id) = connect(&broker).await;
    let asked = server.asked();
    let [exchange, identity] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(exchange.header("content-type"), "application/json");
    assert_eq!(exchange.header("authorization"), "Basic aWQ6c2VjcmV0");
    let mut body: Value = serde_json::from_str(&exchange.body).unwrap();
    let callback = body["redirect_uri"].take();
    assert!(callback.as_str().unwrap().ends_with("/v1/connect/own/callback"), "{callback}");
    assert_eq!(body["code_verifier"].take().as_str().unwrap().len(), 43);
    assert_eq!(
        body,
        json!({"grant_type": "authorization_code", "code": "c", "code_verifier": null, "redirect_uri": null,
               "audience": "api", "quoted": "a\"b"})
    );
    assert_eq!((identity.method.as_str(), identity.body.as_str()), ("POST", ""));
    assert_eq!((identity.header("client-id"), identity.header("x-version")), ("id", "2"));
    assert_eq!((identity.header("content-length"), identity.header("content-type")), ("0", ""));

    broker.clock.advance(Duration::from_hours(1));
    assert_eq!(broker.refresh_due().await, 1);
    let asked = server.asked();
    assert_eq!(
        serde_json::from_str::<Value>(&asked[0].body).unwrap(),
        json!({"grant_type": "refresh_token", "refresh_token": "r\"1", "scope": "read", "resource": "x"}),
        "a refresh names the scopes that were granted"
    );
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_sends_its_id_and_no_secret() {
    let server = AnyServer::start(|asked, _| match asked.path.as_str() {
        "/token" => answer(r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#),
        "/revoke" => answer("{}"),
        _ => answer(r#"{"sub":"1"}"#),
    })
    .await;
    let broker = broker(
        &server,
        r#"
        client_id = "public"
        client_auth = "none"
        authorize_url = "{url}/authorize"
        token_url = "{url}/token"
        revoke_url = "{url}/revoke"
        identity_url = "{url}/me"
        identity = { id = "/sub" }
        "#,
    )
    .await;
    let (url, id) = connect(&broker).await;
    assert_eq!(parameter(&url, "code_challenge_method").as_deref(), Some("S256"));
    broker.clock.advance(Duration::from_hours(1));
    assert_eq!(broker.refresh_due().await, 1);
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let asked = server.asked();
    let [exchange, _, refresh, revocation] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(exchange.fields(), ["grant_type", "code", "code_verifier", "client_id", "redirect_uri"]);
    assert_eq!(refresh.fields(), ["grant_type", "refresh_token", "client_id"]);
    assert_eq!(revocation.fields(), ["token", "client_id"]);
    for request in [exchange, refresh, revocation] {
        assert_eq!(request.header("authorization"), "");
        assert_eq!(request.field("client_id").as_deref(), Some("public"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_never_expires_outlives_the_refresh_token() {
    let server = AnyServer::start(|asked, _| match asked.path.as_str() {
        "/token" => answer(r#"{"access_token":"a","refresh_token":"r","expires_in":0,"refresh_expires_in":2}"#),
        _ => answer(r#"{"sub":"1"}"#),
    })
    .await;
    let broker = broker(
        &server,
        r#"
        client_id = "id"
        client_secret = "secret"
        authorize_url = "{url}/authorize"
        token_url = "{url}/token"
        identity_url = "{url}/me"
        identity = { id = "/sub" }
        "#,
    )
    .await;
    let (_, id) = connect(&broker).await;
    broker.clock.advance(Duration::from_hours(24 * 365));
    assert_eq!(broker.refresh_due().await, 0);
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
    let token = broker.token(&id, "").await;
    assert_eq!((token.status, token.json["accessToken"].as_str()), (200, Some("a")), "{}", token.text);
    assert_eq!(server.asked().len(), 2, "the token was never refreshed");
}

const OWN: &str = r#"
    client_id = "id"
    client_secret = "secret"
    authorize_url = "{url}/authorize"
    token_url = "{url}/token"
    identity_url = "{url}/me"
    identity = { id = "/sub" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_tokens_are_read_from_forms() {
    // Answers of the token endpoint to a code, each with the end of the connection.
    let cases = [
        (400, "error=invalid_grant&error_description=The code has expired", "exchange_rejected"),
        (401, "error=invalid_client&error_description=Zoë", "credentials_rejected"),
        (400, "error=redirect_uri_mismatch", "callback_url_rejected"),
        (200, "error=redirect_uri_mismatch&error_uri=https://docs.example/#x", "callback_url_rejected"),
        (200, "access_token=a&refresh_token=r&expires_in=3600&name=Zoë Marlow", ""),
    ];
    for (status, body, expected) in cases {
        let server = AnyServer::start(move |asked, _| match asked.path.as_str() {
            "/token" if asked.field("code").is_some() => crate::stand_in::answer(status, "", body.as_bytes()),
            "/token" => crate::stand_in::answer(400, "", b"error=invalid_grant&error_description=It was revoked."),
            _ => answer(r#"{"sub":"1"}"#),
        })
        .await;
        let broker = broker(&server, OWN).await;
        let (_, location) = come_back(&broker, "own", "code=c&state={state}").await;
        assert_eq!(parameter(&location, "error").unwrap_or_default(), expected, "{body}: {location}");
        if let Some(id) = parameter(&location, "integrationId") {
            broker.clock.advance(Duration::from_hours(1));
            assert_eq!(broker.refresh_due().await, 0);
            assert_eq!(broker.detail(&id).await["authStatus"], "reconnect_required", "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_in_the_wrong_form_is_the_operators_to_mend() {
    logs::capture();
    for (status, body) in [
        (400, r#"{"error":"invalid_request","error_description":"unknown field code_is_long_enough of yours"}"#),
        (415, r#"{"error":"unsupported_media_type"}"#),
    ] {
        let server = AnyServer::start(move |_, _| crate::stand_in::answer(status, "", body.as_bytes())).await;
        let broker = broker(&server, OWN).await;
        let (_, location) = come_back(&broker, "own", "code=code_is_long_enough&state={state}").await;
        assert_eq!(parameter(&location, "error").as_deref(), Some("authorization_refused"), "{body}: {location}");
    }
    let told = logs::text();
    assert!(told.contains("(HTTP 400, invalid_request)") && !told.contains("of yours"), "the code, and no sentence");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_denied_a_scope_or_left_at_once_is_told_so() {
    for (status, headers, body, expected) in [
        (401, "", r#"{"error":"invalid_token"}"#, "permission_missing"),
        (401, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n", "", "permission_missing"),
        (403, "WWW-Authenticate: Bearer error=\"insufficient_scope\"\r\n", "", "permission_missing"),
        (403, "", r#"{"error":"deleted_client"}"#, "credentials_rejected"),
        (402, "", "{}", "billing_limit_reached"),
        (404, "", "{}", "identity_unavailable"),
    ] {
        let server = AnyServer::start(move |asked, _| match asked.path.as_str() {
            "/token" => answer(r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#),
            _ => crate::stand_in::answer(status, headers, body.as_bytes()),
        })
        .await;
        let broker = broker(&server, OWN).await;
        let (_, location) = come_back(&broker, "own", "code=c&state={state}").await;
        assert_eq!(parameter(&location, "error").as_deref(), Some(expected), "{status} {headers}{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_json_is_asked_to_revoke_in_json() {
    let server = AnyServer::start(|asked, _| match asked.path.as_str() {
        "/token" => answer(r#"{"access_token":"a","expires_in":3600}"#),
        "/revoke" if asked.header("content-type") != "application/json" => crate::stand_in::answer(415, "", b""),
        "/revoke" => answer("{}"),
        _ => answer(r#"{"sub":"1"}"#),
    })
    .await;
    let more = "client_auth = \"body\"\ntoken_body = \"json\"\nrevoke_url = \"{url}/revoke\"";
    let broker = broker(&server, &format!("{OWN}{more}")).await;
    let (_, id) = connect(&broker).await;
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert!(gone.status == 200 && gone.text.contains("revoked the tokens"), "{}", gone.text);
    let asked = server.asked();
    assert_eq!(
        serde_json::from_str::<Value>(&asked.last().unwrap().body).unwrap(),
        json!({"token": "a", "client_id": "id", "client_secret": "secret"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_written_otherwise_than_the_callback_has_it_is_named_in_the_log() {
    logs::capture();
    let server = AnyServer::start(|_, _| crate::stand_in::answer(404, "", b"")).await;
    let more = "issuer = \"{url}/realm/\"\njwks_url = \"{url}/jwks\"";
    let broker = broker(&server, &format!("{OWN}{more}")).await;
    let (_, location) = come_back(&broker, "own", &format!("code=c&state={{state}}&iss={}/realm", server.url)).await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("platform_answer_unreadable"), "{location}");
    let expected = format!("its issuer (iss) is {0}/realm, and that of the platform is {0}/realm/", server.url);
    let told: Vec<String> = logs::text().lines().filter(|line| line.contains(&expected)).map(str::to_owned).collect();
    assert!(told.iter().any(|line| line.contains("set issuer of [platforms.own]")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_without_metadata_still_needs_is_named() {
    logs::capture();
    let server = AnyServer::start(|_, _| crate::stand_in::answer(404, "", b"")).await;
    let issuer = format!("client_id = \"id\"\nclient_secret = \"s\"\nissuer = \"{}/b2c\"\n", server.url);
    let endpoints = "authorize_url = \"{url}/authorize\"\ntoken_url = \"{url}/token\"\njwks_url = \"{url}/jwks\"\n";
    for (lines, missing) in
        [("", "set the endpoints and jwks_url there"), (endpoints, "or set identity_url (or identity_from")]
    {
        let broker = broker(&server, &format!("{issuer}{lines}")).await;
        assert_eq!(broker.get("/v1/connect/own").await.status, 502);
        let log = logs::text();
        let told: Vec<&str> = log.lines().filter(|line| line.contains(&format!("{}/b2c", server.url))).collect();
        assert!(told.iter().any(|line| line.contains(missing)), "{told:?}");
    }
    let broker = broker(&server, &format!("{issuer}{endpoints}identity_from = \"id_token\"")).await;
    assert_eq!(parameter(&broker.begin("own", "").await, "scope").as_deref(), Some("openid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_for_nothing_names_nobody_and_white_space_makes_nobody_else() {
    let server = AnyServer::start(|asked, _| match asked.path.as_str() {
        "/token" => answer(
            &json!({"access_token": format!("of-{}", asked.field("code").unwrap_or_default()), "expires_in": 3600})
                .to_string(),
        ),
        _ => answer(
            &json!({"sub": asked.header("authorization").replace("Bearer of-", "").replace('_', " ")}).to_string(),
        ),
    })
    .await;
    let broker = broker(&server, OWN).await;
    for word in ["null", "NULL", "undefined", "None", "NaN", "[object_Object]", "_null_"] {
        let (_, location) = come_back(&broker, "own", &format!("code={word}&state={{state}}")).await;
        assert_eq!(parameter(&location, "error").as_deref(), Some("identity_unavailable"), "{word}: {location}");
    }
    let mut ids = Vec::new();
    for id in ["77", "_77_", "0"] {
        let (_, location) = come_back(&broker, "own", &format!("code={id}&state={{state}}")).await;
        ids.push(parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}")));
    }
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    assert_eq!(broker.detail(&ids[0]).await["platformUserId"], "77");
}
