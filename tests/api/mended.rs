//! Configuration alone mends a stale endpoint, a stale scope list and an unknown error word of a built-in platform.

use std::time::Duration;

use crate::any_server::{AnyServer, come_back};
use crate::stand_in::{answer, json};
use crate::support::{TestBroker, parameter};

/// X, after it moved its token endpoint and renamed a scope, and says of dead refresh tokens what nobody documented.
async fn platform() -> AnyServer {
    AnyServer::start(|asked, _| match asked.path.split('?').next().unwrap_or_default() {
        "/3/token" if asked.field("code").is_some() => {
            json(r#"{"access_token":"a1","refresh_token":"r1","expires_in":7200,"scope":"users.read posts.write"}"#)
        }
        "/3/token" => answer(400, "", br#"{"error":"session_gone"}"#),
        "/2/users/me" => json(r#"{"data":{"id":"1","username":"ada","name":"Ada"}}"#),
        _ => answer(404, "", b""),
    })
    .await
}

/// A broker with these settings of `[platforms.twitter]`, in which `{url}` is the platform's.
async fn broker(platform: &AnyServer, settings: &[(&str, &str)]) -> TestBroker {
    let fixed = [("AUTHORIZE_URL", "{url}/authorize"), ("API_URL", "{url}"), ("REVOKE_URL", "{url}/revoke")];
    let builder = fixed.iter().chain(settings).fold(TestBroker::builder(), |builder, (key, value)| {
        builder.setting(&format!("POSTPEER_PLATFORMS__TWITTER__{key}"), &value.replace("{url}", &platform.url))
    });
    builder.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_endpoint_is_mended_by_its_url() {
    let platform = platform().await;
    let stale = broker(&platform, &[("TOKEN_URL", "{url}/2/token")]).await;
    let (_, location) = come_back(&stale, "twitter", "code=c&state={state}").await;
    assert_eq!(parameter(&location, "status").as_deref(), Some("error"), "{location}");
    let mended = broker(&platform, &[("TOKEN_URL", "{url}/3/token")]).await;
    let (_, location) = come_back(&mended, "twitter", "code=c&state={state}").await;
    assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "{location}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_scope_list_is_mended_by_another() {
    let platform = platform().await;
    let broker = broker(&platform, &[("TOKEN_URL", "{url}/3/token"), ("SCOPES", "users.read,posts.write")]).await;
    let (url, location) = come_back(&broker, "twitter", "code=c&state={state}").await;
    assert_eq!(parameter(&url, "scope").as_deref(), Some("users.read posts.write"));
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await;
    assert!(!detail.text.contains("missingScopes\":[\""), "{}", detail.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_word_is_mended_by_its_meaning() {
    let platform = platform().await;
    for (meaning, status) in [("retry", "active"), ("reconnect", "reconnect_required")] {
        let settings = [("TOKEN_URL", "{url}/3/token"), ("ERRORS__SESSION_GONE", meaning)];
        let broker = broker(&platform, &settings).await;
        let (_, location) = come_back(&broker, "twitter", "code=c&state={state}").await;
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
        broker.clock.advance(Duration::from_hours(2));
        assert_eq!(broker.refresh_due().await, 0);
        let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await.json;
        assert_eq!(detail["integration"]["authStatus"], status, "{meaning}");
    }
}
