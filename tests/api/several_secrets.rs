//! A client secret is replaced without a gap: the platform may take the new one before or after the broker knows it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::any_server::{AnyServer, come_back};
use crate::stand_in::json as answer;
use crate::support::{TestBroker, parameter};

/// A platform that takes one secret, which the test changes, and each code and refresh token once.
struct Platform {
    server: AnyServer,
    taken: Arc<Mutex<String>>,
}

impl Platform {
    async fn start(refusal: fn() -> Vec<u8>) -> Self {
        let taken = Arc::new(Mutex::new("old".to_owned()));
        let (secret, spent) = (taken.clone(), Mutex::new(0));
        let server = AnyServer::start(move |asked, _| {
            if asked.path != "/token" {
                return answer(r#"{"sub":"1"}"#);
            }
            if asked.field("client_secret") != Some(secret.lock().unwrap().clone()) {
                return refusal();
            }
            let mut spent = spent.lock().unwrap();
            let wanted = if *spent == 0 { asked.field("code") } else { asked.field("refresh_token") };
            if wanted.as_deref() != Some(&format!("token-{spent}")) {
                return crate::stand_in::answer(400, "", br#"{"error":"invalid_grant"}"#);
            }
            *spent += 1;
            answer(&format!(r#"{{"access_token":"a{spent}","refresh_token":"token-{spent}","expires_in":3600}}"#))
        })
        .await;
        Self { server, taken }
    }

    fn take(&self, secret: &str) {
        secret.clone_into(&mut self.taken.lock().unwrap());
    }

    /// The secrets of the token requests since the last time.
    fn secrets(&self) -> Vec<String> {
        self.server.asked().iter().filter_map(|asked| asked.field("client_secret")).collect()
    }

    async fn broker(&self, credentials: &str) -> TestBroker {
        let toml = format!(
            "[platforms.own]\n{credentials}\nclient_auth = \"body\"\nauthorize_url = \"{url}/authorize\"\n\
             token_url = \"{url}/token\"\nidentity_url = \"{url}/me\"\nidentity = {{ id = \"/sub\" }}",
            url = self.server.url
        );
        TestBroker::builder().toml(&toml).start().await
    }
}

fn refused() -> Vec<u8> {
    crate::stand_in::answer(401, "", br#"{"error":"invalid_client"}"#)
}

/// As TikTok refuses.
fn refused_with_200() -> Vec<u8> {
    answer(r#"{"error":"invalid_client","error_description":"Client key or secret is incorrect."}"#)
}

async fn refresh(broker: &TestBroker) -> usize {
    broker.clock.advance(Duration::from_hours(1));
    broker.refresh_due().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_secret_is_tried_when_the_client_is_refused_and_the_accepted_one_is_remembered() {
    for refusal in [refused, refused_with_200] {
        let platform = Platform::start(refusal).await;
        let broker = platform.broker("client_id = \"id\"\nclient_secrets = [\"new\", \"old\"]").await;
        let (_, location) = come_back(&broker, "own", "code=token-0&state={state}").await;
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
        assert_eq!(platform.secrets(), ["new", "old"], "the code was not spent by the refused request");
        assert_eq!(refresh(&broker).await, 1);
        assert_eq!(platform.secrets(), ["old"]);

        platform.take("new");
        assert_eq!(refresh(&broker).await, 1);
        assert_eq!(platform.secrets(), ["old", "new"]);
        assert_eq!(refresh(&broker).await, 1);
        assert_eq!(platform.secrets(), ["new"]);
        assert_eq!(broker.token(&id, "").await.json["accessToken"], "a4");

        platform.take("neither");
        assert_eq!(refresh(&broker).await, 0);
        assert_eq!(platform.secrets(), ["new", "old"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_tried_with_the_next_secret_where_the_refusal_may_blame_the_client() {
    // As Reddit refuses a client, and maybe a grant.
    let platform =
        Platform::start(|| crate::stand_in::answer(401, "", br#"{"message":"Unauthorized","error":401}"#)).await;
    let broker = platform.broker("client_id = \"id\"\nclient_secrets = [\"old\", \"new\"]").await;
    let (_, location) = come_back(&broker, "own", "code=token-0&state={state}").await;
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    platform.secrets();
    platform.take("new");
    assert_eq!(refresh(&broker).await, 1);
    assert_eq!(platform.secrets(), ["old", "new"]);
    assert_eq!(broker.token(&id, "").await.json["accessToken"], "a2");
    // A code is sent once: a refusal that names no culprit may have spent it.
    platform.take("old");
    let (_, location) = come_back(&broker, "own", "code=token-2&state={state}").await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("app_or_grant_rejected"));
    assert_eq!(platform.secrets(), ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_may_be_dead_is_not_taken_for_a_wrong_secret() {
    // The platform has dropped one secret, and says of a dead grant no more than that it takes no part.
    let server = AnyServer::start(|asked, _| match (asked.path.as_str(), asked.field("client_secret").as_deref()) {
        ("/token", Some("dropped")) => refused(),
        ("/token", _) if asked.field("code").is_some() => {
            answer(r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#)
        }
        ("/token", _) => crate::stand_in::answer(401, "", b""),
        _ => answer(r#"{"sub":"1"}"#),
    })
    .await;
    let platform = Platform { server, taken: Arc::default() };
    let broker = platform.broker("client_id = \"id\"\nclient_secrets = [\"good\", \"dropped\"]").await;
    let (_, location) = come_back(&broker, "own", "code=c&state={state}").await;
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    platform.secrets();
    refresh(&broker).await;
    assert_eq!(platform.secrets(), ["good", "dropped"]);
    let health = broker.detail(&id).await["health"].clone();
    assert_eq!(health["lastError"]["code"], "app_or_grant_rejected", "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_refusal_leads_to_the_next_secret() {
    let platform = Platform::start(refused).await;
    let broker = platform.broker("client_id = \"id\"\nclient_secrets = [\"old\", \"older\"]").await;
    let (_, location) = come_back(&broker, "own", "code=another&state={state}").await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("exchange_rejected"));
    assert_eq!(platform.secrets(), ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_that_an_app_had_before_is_tried_for_a_day() {
    let platform = Platform::start(refused).await;
    let broker = platform.broker("").await;
    let app = json!({"platform": "own", "name": "Own", "clientId": "ours", "clientSecret": "old"});
    let made = broker.call("POST", "/v1/apps", Some(app)).await;
    let app = made.json["app"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned();
    let url = broker.begin("own", &format!("redirectUri=https://app.example/back&appId={app}")).await;
    let state = parameter(&url, "state").unwrap();
    let location = broker.browse(&format!("/v1/connect/own/callback?code=token-0&state={state}")).await.location();
    assert!(location.contains("status=success"), "{location}");
    platform.secrets();

    let change = |secret: &str| Some(json!({"clientSecret": secret}));
    // The same secret twice does not push out the one before it.
    for _ in 0..2 {
        assert_eq!(broker.call("PATCH", &format!("/v1/apps/{app}"), change("new")).await.status, 200);
    }
    assert_eq!(refresh(&broker).await, 1);
    assert_eq!(platform.secrets(), ["new", "old"]);

    let kept =
        || broker.sql().query_row("SELECT count(previous_secret) FROM oauth_apps", [], |row| row.get::<_, u32>(0));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(kept().unwrap(), 1);
    broker.clock.advance(Duration::from_hours(24));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(kept().unwrap(), 0, "it is erased");
    assert_eq!(broker.refresh_due().await, 0);
    assert_eq!(platform.secrets(), ["new"]);
    platform.take("new");
    assert_eq!(broker.call("PATCH", &format!("/v1/apps/{app}"), change("new")).await.status, 200);
    let detail = broker.get("/v1/connect/integrations").await;
    assert_eq!(broker.refresh_due().await, 1, "{}", detail.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_request_takes_the_next_secret_as_well() {
    let server = AnyServer::start(|asked, _| match (asked.path.as_str(), asked.field("client_secret").as_deref()) {
        ("/par", Some("old")) => crate::stand_in::answer(201, "", br#"{"request_uri":"urn:1","expires_in":60}"#),
        _ => refused(),
    })
    .await;
    let toml = format!(
        "[platforms.own]\nclient_id = \"id\"\nclient_secrets = [\"new\", \"old\"]\nclient_auth = \"body\"\n\
         par_url = \"{url}/par\"\nauthorize_url = \"{url}/authorize\"\ntoken_url = \"{url}/token\"\n\
         identity_url = \"{url}/me\"\nidentity = {{ id = \"/sub\" }}",
        url = server.url
    );
    let broker = TestBroker::builder().toml(&toml).start().await;
    let url = broker.begin("own", "redirectUri=https://app.example/back").await;
    assert_eq!(parameter(&url, "request_uri").as_deref(), Some("urn:1"));
    let secrets: Vec<String> = server.asked().iter().filter_map(|asked| asked.field("client_secret")).collect();
    assert_eq!(secrets, ["new", "old"]);
}
