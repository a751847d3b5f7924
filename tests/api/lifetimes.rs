//! Tokens whose end the server does not tell, or that nothing renews.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postpeer::domain::time::{Clock as _, Timestamp};
use serde_json::{Value, json};

use crate::any_server::{AnyServer, come_back};
use crate::logs;
use crate::stand_in::json as answer;
use crate::support::{Builder, TestBroker, parameter};

const OWN: &str = r#"
    client_id = "id"
    client_secret = "secret"
    authorize_url = "{url}/authorize"
    token_url = "{url}/token"
    identity_url = "{url}/me"
    scopes = ["read"]
    identity = { id = "/id" }
"#;

/// A server that answers each request for tokens with this.
async fn server(tokens: Value) -> AnyServer {
    let tokens = tokens.to_string();
    AnyServer::start(move |asked, _| match asked.path.as_str() {
        "/token" => answer(&tokens),
        _ => answer(r#"{"id":"1"}"#),
    })
    .await
}

/// A broker with a platform of this name.
async fn broker(server: &AnyServer, name: &str, more: &str) -> TestBroker {
    let section = format!("[platforms.{name}]{}{more}", OWN.replace("{url}", &server.url));
    TestBroker::builder().toml(&section).start().await
}

async fn connect(broker: &TestBroker, name: &str) -> String {
    let (_, location) = come_back(broker, name, "code=c&state={state}").await;
    parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"))
}

/// The log's lines about a platform of that name.
fn logged(name: &str) -> Vec<String> {
    logs::text().lines().filter(|line| line.contains(name)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifetime_that_is_set_later_counts_for_the_tokens_there_are() {
    logs::capture();
    let server = server(json!({"access_token": "a", "refresh_token": "r", "token_type": "Bearer"})).await;
    for is_restarted in [true, false] {
        let name = if is_restarted { "nolife1" } else { "nolife2" };
        let mut unset = broker(&server, name, "").await;
        let id = connect(&unset, name).await;
        assert_eq!(unset.token(&id, "").await.json["expiresAt"], Value::Null);
        let warned = logged(name).into_iter().find(|line| line.contains("WARN"));
        let warned = warned.unwrap_or_else(|| panic!("{:?}", logged(name)));
        assert!(warned.contains("token_lifetime_seconds") && warned.contains("operator"), "{warned}");

        let set = broker(&server, name, "token_lifetime_seconds = 7200").await;
        let platforms = set.config().platforms.clone();
        unset.clock.advance(Duration::from_hours(1));
        if is_restarted {
            unset.restart_with(|config| config.platforms = platforms).await;
        } else {
            unset.reloaded(|config| config.platforms = platforms).await;
        }
        let mut detail = unset.detail(&id).await;
        // Stored tokens get it in the background.
        for _ in 0..200 {
            if detail["accessTokenExpiresAt"] != Value::Null {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            detail = unset.detail(&id).await;
        }
        assert_eq!(detail["accessTokenExpiresAt"], "2026-05-03T10:33:36.445Z", "{detail}");
        assert_eq!(detail["health"]["nextRefreshAt"], "2026-05-03T10:18:36.445Z", "{detail}");
        unset.clock.advance(Duration::from_mins(50));
        assert_eq!(unset.refresh_due().await, 1);
        assert_eq!(unset.detail(&id).await["accessTokenExpiresAt"], "2026-05-03T12:23:36.445Z");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_ends_without_a_refresh_token_says_so() {
    logs::capture();
    let server = server(json!({"access_token": "a", "expires_in": 3600})).await;
    let broker = broker(&server, "norefresh", "").await;
    let id = connect(&broker, "norefresh").await;
    let warned = logged("norefresh").into_iter().find(|line| line.contains("WARN"));
    let warned = warned.unwrap_or_else(|| panic!("{:?}", logged("norefresh")));
    assert!(warned.contains("offline scope") && warned.contains("authorize_params"), "{warned}");
    assert_eq!(broker.detail(&id).await["health"]["lastError"], Value::Null);

    broker.clock.advance(Duration::from_hours(1));
    let detail = broker.detail(&id).await;
    assert_eq!(
        (&detail["authStatus"], &detail["authFailureReason"]),
        (&json!("reconnect_required"), &json!("token_expired"))
    );
    let error = &detail["health"]["lastError"];
    assert_eq!((&error["code"], &error["whoCanHelp"]), (&json!("no_refresh_token"), &json!("operator")), "{detail}");
    assert!(error["nextStep"].as_str().unwrap().contains("[platforms.norefresh]"), "{error}");
    let refused = broker.token(&id, "").await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text.contains("gave no refresh token") && refused.text.contains("offline scope"),
        "{}",
        refused.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_built_in_platform_is_not_asked_for_what_it_does_not_give() {
    let broker = TestBroker::start().await;
    let id = broker.connect("linkedin", "").await;
    broker.sql().execute("UPDATE grants SET renewal = 'never', refresh_expires_at = NULL, due_at = NULL", []).unwrap();
    broker.clock.advance(Duration::from_hours(61 * 24));
    let error = broker.detail(&id).await["health"]["lastError"].clone();
    assert_eq!((&error["code"], &error["whoCanHelp"]), (&json!("consent_expired"), &json!("account_owner")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_does_not_tell_how_long_the_next_one_lasts() {
    let server = AnyServer::start(|asked, _| match asked.path.as_str() {
        "/token" if asked.field("code").is_some() => {
            answer(r#"{"access_token":"short","refresh_token":"r1","expires_in":5}"#)
        }
        "/token" => answer(r#"{"access_token":"long","refresh_token":"r2","expires_in":3600}"#),
        _ => answer(r#"{"id":"1"}"#),
    })
    .await;
    for waited in [0, 4, 60] {
        let broker = broker(&server, "short", "").await;
        let id = connect(&broker, "short").await;
        broker.clock.advance(Duration::from_secs(waited));
        let reply = broker.token(&id, "minSeconds=300").await;
        assert_eq!((reply.status, reply.json["accessToken"].as_str()), (200, Some("long")), "{waited}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_always_too_short_are_not_refreshed_at_every_read() {
    let life = Arc::new(AtomicU64::new(600));
    let given = life.clone();
    let server = AnyServer::start(move |asked, _| match asked.path.as_str() {
        "/token" => {
            let life = given.load(Ordering::Relaxed);
            answer(&json!({"access_token": "a", "refresh_token": "r", "expires_in": life}).to_string())
        }
        _ => answer(r#"{"id":"1"}"#),
    })
    .await;
    let broker = broker(&server, "tooshort", "").await;
    let id = connect(&broker, "tooshort").await;
    server.asked();
    let refreshes = || server.asked().iter().filter(|asked| asked.field("refresh_token").is_some()).count();
    for read in 0..10 {
        broker.clock.advance(Duration::from_secs(1));
        let refused = broker.token(&id, "minSeconds=3600").await;
        assert_eq!((refused.status, refused.code()), (422, "token_too_short"), "{read}: {}", refused.text);
        assert!(
            refused.text.contains("last 600 seconds") && !refused.text.contains("connected again"),
            "{}",
            refused.text
        );
    }
    assert_eq!(refreshes(), 1);
    assert_eq!(broker.token(&id, "minSeconds=300").await.status, 200);
    assert_eq!(refreshes(), 0);
    // It is due by now for any caller, and then the platform may bring another.
    broker.clock.advance(Duration::from_mins(5));
    assert_eq!(broker.token(&id, "minSeconds=3600").await.code(), "token_too_short");
    assert_eq!(refreshes(), 1);
    life.store(7200, Ordering::Relaxed);
    broker.clock.advance(Duration::from_mins(10));
    assert_eq!(broker.token(&id, "minSeconds=3600").await.status, 200);
    assert_eq!(refreshes(), 1);
}

/// The settings that lead a built-in platform to the server.
fn led_to(server: &AnyServer, name: &str, settings: &[(&str, &str)]) -> Builder {
    let fixed = [("AUTHORIZE_URL", "/authorize"), ("TOKEN_URL", "/token"), ("API_URL", "")];
    let fixed = fixed.map(|(key, path)| (key, format!("{}{path}", server.url)));
    let all = fixed.into_iter().chain(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
    all.fold(TestBroker::builder(), |builder, (key, value)| {
        builder.setting(&format!("POSTPEER_PLATFORMS__{}__{key}", name.to_uppercase()), &value)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_refresh_token_that_stays_is_not_forgotten() {
    for (second, end) in [
        (json!({"refresh_token": "r", "expires_in": 5_184_000}), "2027-05-03T08:33:36.445Z"),
        // Minutes, or the life of the access token.
        (json!({"refresh_token": "r", "refresh_token_expires_in": 439_200}), "2027-05-03T08:33:36.445Z"),
        (json!({"expires_in": 5_184_000}), "2027-05-03T08:33:36.445Z"),
        (json!({"refresh_token": "another", "expires_in": 5_184_000}), ""),
    ] {
        let mut refreshed = second.clone();
        refreshed["access_token"] = json!("a2");
        let refreshed = refreshed.to_string();
        let server = AnyServer::start(move |asked, _| match asked.path.as_str() {
            "/token" if asked.field("code").is_some() => answer(
                r#"{"access_token":"a","refresh_token":"r","expires_in":5184000,"refresh_token_expires_in":31536000}"#,
            ),
            "/token" => answer(&refreshed),
            _ => answer(r#"{"sub":"1","name":"Ada"}"#),
        })
        .await;
        let broker = led_to(&server, "linkedin", &[("SCOPES", "openid,profile")]).start().await;
        let id = connect(&broker, "linkedin").await;
        assert_eq!(broker.detail(&id).await["refreshTokenExpiresAt"], "2027-05-03T08:33:36.445Z");
        broker.clock.advance(Duration::from_hours(24 * 60));
        assert_eq!(broker.refresh_due().await, 1);
        let detail = broker.detail(&id).await;
        assert_eq!(detail["refreshTokenExpiresAt"].as_str().unwrap_or_default(), end, "{second}: {detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_end_nobody_names_is_exchanged_for_as_long_as_that_succeeds() {
    let server = AnyServer::start(|asked, _| match asked.path.split('?').next().unwrap_or_default() {
        "/token" | "/v25.0/oauth/access_token" => answer(r#"{"access_token":"EAA","token_type":"bearer"}"#),
        "/v25.0/me" => answer(r#"{"id":"1","name":"Ada"}"#),
        "/v25.0/me/permissions" => answer(
            r#"{"data":[{"permission":"pages_show_list","status":"granted"},{"permission":"pages_manage_posts","status":"granted"}]}"#,
        ),
        "/v25.0/me/accounts" => {
            answer(r#"{"data":[{"id":"2","name":"Page","access_token":"EAAP","tasks":["CREATE_CONTENT"]}]}"#)
        }
        _ => answer(r#"{"data":[]}"#),
    })
    .await;
    let broker = led_to(&server, "facebook", &[]).start().await;
    let id = connect(&broker, "facebook").await;
    let start = broker.clock.now();
    let mut refreshes = 0;
    while start.until(broker.clock.now()) < Duration::from_hours(24 * 200) {
        let detail = broker.detail(&id).await;
        let next: jiff::Timestamp =
            detail["health"]["nextRefreshAt"].as_str().unwrap_or_else(|| panic!("{detail}")).parse().unwrap();
        broker.clock.set(Timestamp::from_millis(next.as_millisecond()));
        assert_eq!(broker.refresh_due().await, 1);
        refreshes += 1;
    }
    assert!(refreshes < 60, "{refreshes}");
    let detail = broker.detail(&id).await;
    assert_eq!((&detail["authStatus"], &detail["tokenStatus"]["autoRefreshes"]), (&json!("active"), &json!(true)));
}
