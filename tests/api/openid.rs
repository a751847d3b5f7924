//! Servers that say by themselves how they are used: OpenID Connect Discovery, RFC 8414, and the `iss` of a callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::any_server::{AnyServer, Asked, come_back};
use crate::stand_in::{answer, json as found};
use crate::support::{TestBroker, parameter};

const OIDC: &str = "/.well-known/openid-configuration";

/// The three lines that an operator writes, and more.
fn lines(issuer: &str, more: &str) -> String {
    format!("[platforms.id]\nissuer = \"{issuer}\"\nclient_id = \"us\"\nclient_secret = \"secret\"\n{more}\n")
}

async fn broker(issuer: &str, more: &str) -> TestBroker {
    TestBroker::builder().toml(&lines(issuer, more)).start().await
}

/// The document of a server with every endpoint, and members in place of its own; null removes one.
fn document(url: &str, members: &Value) -> Value {
    let mut document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize?tenant=1"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "revocation_endpoint": format!("{url}/revoke"),
        "code_challenge_methods_supported": ["plain", "S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    document
}

/// Answers everything but discovery.
fn serve(asked: &Asked) -> Vec<u8> {
    match asked.path.as_str() {
        "/token" => found(r#"{"access_token":"a","refresh_token":"r","expires_in":3600,"id_token":"unread"}"#),
        "/userinfo" => {
            found(r#"{"sub":"u1","preferred_username":"ada","name":"Ada","picture":"https://img.example/a.png"}"#)
        }
        "/revoke" => found(""),
        _ => answer(404, "", b""),
    }
}

/// A server whose document has these members in place of its own.
async fn server(members: Value) -> AnyServer {
    AnyServer::start(move |asked, url| match asked.path.as_str() {
        OIDC => found(&document(url, &members).to_string()),
        _ => serve(asked),
    })
    .await
}

fn paths(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.path.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_lines_connect_any_openid_provider() {
    let server = server(json!({"scopes_supported": ["openid", "email", "profile", "offline_access"]})).await;
    let broker = broker(&server.url, "").await;
    let (url, location) = come_back(&broker, "id", &format!("code=c&state={{state}}&iss={}", server.url)).await;
    assert!(url.starts_with(&format!("{}/authorize?tenant=1&", server.url)), "{url}");
    for (name, value) in [
        ("scope", "openid profile offline_access"),
        ("prompt", "consent"),
        ("code_challenge_method", "S256"),
        ("client_id", "us"),
    ] {
        assert_eq!(parameter(&url, name).as_deref(), Some(value), "{url}");
    }
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    let detail = broker.detail(&id).await;
    let shown = ["platformUserId", "username", "displayName", "imageUrl"].map(|name| detail[name].as_str().unwrap());
    assert_eq!(shown, ["u1", "ada", "Ada", "https://img.example/a.png"]);
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let asked = server.asked();
    assert_eq!(paths(&asked), [OIDC, "/token", "/userinfo", "/revoke"]);
    assert_eq!(asked[1].header("authorization"), "Basic dXM6c2VjcmV0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oauth_server_below_a_path_is_found_as_rfc_8414_says() {
    let server = AnyServer::start(|asked, url| match asked.path.as_str() {
        "/.well-known/oauth-authorization-server/tenant" => {
            let members = json!({
                "issuer": format!("{url}/tenant/"),
                "scopes_supported": ["profile"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "code_challenge_methods_supported": [],
            });
            found(&document(url, &members).to_string())
        }
        _ => serve(asked),
    })
    .await;
    let broker = broker(&format!("{}/tenant", server.url), "authorize_params = { prompt = \"\", hl = \"de\" }").await;
    let (url, location) = come_back(&broker, "id", &format!("code=c&state={{state}}&iss={}/tenant/", server.url)).await;
    assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "{location}");
    for (name, value) in [("scope", Some("profile")), ("prompt", None), ("code_challenge", None), ("hl", Some("de"))] {
        assert_eq!(parameter(&url, name).as_deref(), value, "{url}");
    }
    let asked = server.asked();
    assert_eq!(
        paths(&asked)[..3],
        ["/tenant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant", "/token"]
    );
    assert_eq!(asked[2].header("authorization"), "");
    assert_eq!(asked[2].field("client_secret").as_deref(), Some("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_win_over_what_the_server_says() {
    let server = server(json!({})).await;
    let more = r#"
        token_url = "{url}/token?mine"
        identity_url = "{url}/userinfo?mine"
        scopes = ["openid"]
        client_auth = "body"
        pkce = "none"
        identity = { username = "/name" }
        "#;
    let broker = broker(&server.url, &more.replace("{url}", &server.url)).await;
    let (url, _) = come_back(&broker, "id", &format!("code=c&state={{state}}&iss={}", server.url)).await;
    assert_eq!(parameter(&url, "scope").as_deref(), Some("openid"));
    assert_eq!(parameter(&url, "code_challenge"), None);
    assert_eq!(paths(&server.asked()), [OIDC, "/token?mine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_server_works_with_what_it_said_before() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = is_down.clone();
    let server = AnyServer::start(move |asked, url| match asked.path.as_str() {
        OIDC if !down.load(Ordering::SeqCst) => found(&document(url, &json!({})).to_string()),
        _ => serve(asked),
    })
    .await;
    let mut broker = broker(&server.url, "").await;
    broker.begin("id", "").await;
    is_down.store(true, Ordering::SeqCst);
    broker.restart().await;
    assert!(broker.begin("id", "").await.starts_with(&server.url));
    assert!(!broker.broker().discover_all().await, "the server is asked again until it answers");

    // Whoever can write to the database cannot say where secrets go.
    broker.sql().execute("UPDATE discovered SET document = zeroblob(60)", []).unwrap();
    broker.restart().await;
    let refused = broker.get("/v1/connect/id").await;
    assert_eq!((refused.status, refused.code()), (502, "platform_unavailable"));
    is_down.store(false, Ordering::SeqCst);
    assert!(broker.broker().discover_all().await);
    server.asked();
    broker.begin("id", "").await;
    assert_eq!(paths(&server.asked()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_say_how_it_is_used_is_named_with_what_was_tried() {
    for (members, why) in [
        (json!({"issuer": "https://other.example"}), "it is the document of another issuer: https://other.example"),
        (json!({"issuer": null}), "it has no issuer"),
        (json!({"token_endpoint": "ftp://x"}), "its token_endpoint is not an https URL"),
    ] {
        let server = server(members).await;
        let broker = broker(&server.url, "").await;
        let stored = broker.stored();
        let refused = broker.get("/v1/connect/id").await;
        assert_eq!((refused.status, refused.code()), (502, "platform_unavailable"));
        let url = &server.url;
        assert_eq!(
            refused.json["error"].as_str().unwrap(),
            format!(
                "id cannot be connected at the moment: no metadata of its issuer {url} could be read ({url}{OIDC}: {why}; \
                 {url}/.well-known/oauth-authorization-server: HTTP 404). Try again later; if it lasts, the operator checks \
                 issuer in [platforms.id]."
            )
        );
        assert!(broker.stored() == stored, "nothing is stored");
    }
    let server = server(json!({"userinfo_endpoint": null})).await;
    let refused = broker(&server.url, "").await.get("/v1/connect/id").await;
    assert_eq!(
        (refused.status, refused.json["error"].as_str().unwrap()),
        (502, "id cannot be connected: its server does not say what the operator would set as identity_url.")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_begin_at_once_ask_the_server_once() {
    let server = server(json!({})).await;
    let broker = broker(&server.url, "").await;
    let begun = (0..8).map(|_| broker.begin("id", ""));
    futures_util::future::join_all(begun).await;
    assert_eq!(paths(&server.asked()), [OIDC]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_does_not_name_the_server_spends_no_code() {
    for (promised, iss, is_connected) in [
        (true, Some("{url}"), true),
        (true, Some("{url}/"), false),
        (true, Some("https://evil.example"), false),
        (true, Some(""), false),
        (true, None, false),
        (false, Some("{url}"), true),
        (false, Some("https://evil.example"), false),
        (false, None, true),
    ] {
        let server = server(json!({"authorization_response_iss_parameter_supported": promised})).await;
        let broker = broker(&server.url, "").await;
        let iss = iss.map(|iss| format!("&iss={}", iss.replace("{url}", &server.url))).unwrap_or_default();
        let (_, location) = come_back(&broker, "id", &format!("code=c&state={{state}}{iss}")).await;
        let (status, asked) =
            if is_connected { ("success", vec![OIDC, "/token", "/userinfo"]) } else { ("error", vec![OIDC]) };
        assert_eq!(parameter(&location, "status").as_deref(), Some(status), "{promised} {iss}");
        assert_eq!(paths(&server.asked()), asked, "{promised} {iss}");
    }
}
