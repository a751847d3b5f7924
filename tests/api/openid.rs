//! Servers that say by themselves how they are used: OpenID Connect Discovery, RFC 8414, and the `iss` of a callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use postpeer::background;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::any_server::{AnyServer, Asked, come_back};
use crate::stand_in::{answer, json as found, read};
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

/// Settings that leave nothing to ask the server for but what makes checks stricter.
fn by_hand(url: &str) -> String {
    format!("authorize_url = \"{url}/authorize\"\ntoken_url = \"{url}/token\"\nidentity_url = \"{url}/userinfo\"\n")
}

/// A server whose discovery answers with the status that is set, or with its document.
async fn server_with_status(status: &Arc<AtomicU16>, members: Value) -> AnyServer {
    let status = status.clone();
    AnyServer::start(move |asked, url| match asked.path.as_str() {
        path if path.starts_with("/.well-known/") => match status.load(Ordering::SeqCst) {
            200 => found(&document(url, &members).to_string()),
            status => answer(status, "", b""),
        },
        "/par" => answer(201, "", br#"{"request_uri":"urn:x:1","expires_in":60}"#),
        _ => serve(asked),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_before_the_server_has_said_what_makes_checks_stricter() {
    let status = Arc::new(AtomicU16::new(503));
    let members = json!({"require_pushed_authorization_requests": true});
    let server = server_with_status(&status, members).await;
    let url = server.url.clone();
    let more = format!("{}par_url = \"{url}/par\"", by_hand(&url));
    let broker = broker(&url, &more).await;
    assert!(!broker.broker().discover_all().await);
    let refused = broker.get("/v1/connect/id").await;
    assert_eq!((refused.status, refused.code()), (502, "platform_unavailable"));
    status.store(200, Ordering::SeqCst);
    let begun = broker.begin("id", "").await;
    assert_eq!(parameter(&begun, "request_uri").as_deref(), Some("urn:x:1"), "{begun}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_publishes_nothing_is_used_as_written_and_asked_again_later() {
    let status = Arc::new(AtomicU16::new(404));
    let server = server_with_status(&status, json!({})).await;
    let broker = broker(&server.url, &by_hand(&server.url)).await;
    assert!(broker.broker().discover_all().await, "the background does not ask again");
    server.asked();
    broker.begin("id", "").await;
    broker.begin("id", "").await;
    assert_eq!(paths(&server.asked()), [OIDC, "/.well-known/oauth-authorization-server"]);
    status.store(200, Ordering::SeqCst);
    broker.clock.advance(Duration::from_mins(10));
    let begun = broker.begin("id", "").await;
    assert_eq!(paths(&server.asked()), [OIDC]);
    assert!(begun.starts_with(&format!("{}/authorize?response_type", server.url)), "{begun}");
    let (_, location) = come_back(&broker, "id", "code=c&state={state}").await;
    assert_eq!(parameter(&location, "status").as_deref(), Some("error"), "the callback names no issuer: {location}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_verify_id_tokens_need_no_answer_of_the_server() {
    let status = Arc::new(AtomicU16::new(503));
    let server = server_with_status(&status, json!({})).await;
    let more = format!("{}jwks_url = \"{}/keys\"", by_hand(&server.url), server.url);
    let broker = broker(&server.url, &more).await;
    assert!(!broker.broker().discover_all().await, "the background asks again");
    let begun = broker.begin("id", "").await;
    assert!(parameter(&begun, "nonce").is_some(), "{begun}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_sends_s256_whatever_the_server_says() {
    let server = server(json!({"code_challenge_methods_supported": ["plain"]})).await;
    for (client, method) in [("client_auth = \"none\"", Some("S256")), ("client_secret = \"s\"", None)] {
        let lines = format!("[platforms.id]\nissuer = \"{}\"\nclient_id = \"us\"\n{client}\n", server.url);
        let broker = TestBroker::builder().toml(&lines).start().await;
        assert_eq!(parameter(&broker.begin("id", "").await, "code_challenge_method").as_deref(), method, "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_must_name_the_account_needs_keys() {
    let lacking = json!({"userinfo_endpoint": null, "jwks_uri": null});
    for members in [json!({}), lacking] {
        let server = server(members).await;
        let refused = broker(&server.url, "identity_from = \"id_token\"").await.get("/v1/connect/id").await;
        assert_eq!(
            (refused.status, refused.json["error"].as_str().unwrap()),
            (502, "id cannot be connected: its server does not say what the operator would set as jwks_url.")
        );
    }
    let by_secret = json!({"id_token_signing_alg_values_supported": ["HS256"]});
    let server = server(by_secret).await;
    broker(&server.url, "identity_from = \"id_token\"").await.begin("id", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_side_by_side() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let lines: String = ["one", "two"]
        .map(|name| lines(&format!("{url}/{name}"), "").replace("[platforms.id]", &format!("[platforms.{name}]")))
        .concat();
    let broker = TestBroker::builder().toml(&lines).start().await;
    let answering = async {
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (head, _) = read(&mut stream).await.unwrap();
            let issuer = format!("{url}{}", head.split(' ').nth(1).unwrap().trim_end_matches(OIDC));
            waiting.push((stream, found(&document(&issuer, &json!({})).to_string())));
        }
        for (mut stream, document) in waiting {
            stream.write_all(&document).await.unwrap();
        }
    };
    let (is_done, ()) = tokio::join!(broker.broker().discover_all(), answering);
    assert!(is_done, "neither waits for the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_server_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let broker = broker(&issuer, "").await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(background::run(broker.broker().clone(), false, stop.clone()));
    let (mut asked, _) = listener.accept().await.unwrap();
    assert!(read(&mut asked).await.unwrap().0.contains(OIDC));
    stop.cancel();
    background.await.unwrap();
    broker.broker().drain(Duration::from_mins(1)).await;
    assert_eq!(asked.read(&mut [0; 1]).await.unwrap_or(0), 0, "the question is dropped");
    let next = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(next.is_err(), "the other place of the document is not asked any more");
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
