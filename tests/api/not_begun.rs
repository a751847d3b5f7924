//! Connections that the platform does not let begin, once a person is there: at the page that asks first, on a connect
//! link and at "Try again". What is told is the platform's trouble, or what is gone, and never a fault of the broker.

use std::sync::{Arc, Mutex};

use postpeer::sandbox::{self, Answer};
use serde_json::json;

use crate::any_server::AnyServer;
use crate::stand_in::answer;
use crate::support::{Builder, Reply, TestBroker};

const BACK: &str = "redirectUri=https://app.example/back";
const CONFIRM: &str = "POSTPEER_CONNECT__CONFIRM";

/// Status and body with which the platform answers pushed requests.
type Pushed = Arc<Mutex<(u16, &'static str)>>;

const TAKEN: (u16, &str) = (201, r#"{"request_uri":"urn:1","expires_in":60}"#);

/// A platform that wants requests to be pushed, and the section that describes it.
async fn platform() -> (Pushed, AnyServer, String) {
    let pushed: Pushed = Arc::new(Mutex::new(TAKEN));
    let answers = pushed.clone();
    let server = AnyServer::start(move |_, _| {
        let (status, body) = *answers.lock().unwrap();
        answer(status, "", body.as_bytes())
    })
    .await;
    let section = format!(
        "[platforms.own]\nlabel = \"Own\"\nclient_id = \"id\"\nclient_secret = \"secret\"\npar_url = \"{url}/par\"\n\
         authorize_url = \"{url}/authorize\"\ntoken_url = \"{url}/token\"\nidentity_url = \"{url}/me\"\n\
         identity = {{ id = \"/sub\" }}\n",
        url = server.url
    );
    (pushed, server, section)
}

fn confirming() -> Builder {
    TestBroker::builder().setting(CONFIRM, "true")
}

async fn press(broker: &TestBroker, page: &str, body: &str) -> Reply {
    let request = broker.request("POST", page).header("content-type", "application/x-www-form-urlencoded");
    Reply::of(request.header("sec-fetch-site", "same-origin").body(body.to_owned()).send().await.unwrap()).await
}

fn assert_told(reply: &Reply, status: u16, told: &[&str]) {
    assert_eq!((reply.status, reply.location().as_str()), (status, ""), "{}", reply.text);
    for told in told {
        assert!(reply.text.contains(told), "{told}: {}", reply.text);
    }
    for wrong in ["The fault is on our side", "The request could not be understood"] {
        assert!(!reply.text.contains(wrong), "{wrong}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_in_trouble_is_named_to_the_person_and_to_the_app() {
    let (pushed, _server, section) = platform().await;
    let broker = confirming().toml(&section).start().await;
    let links = json!({"platforms": ["own"]});
    let link = broker.call("POST", "/v1/connect/links", Some(links)).await.json["link"]["url"].clone();
    let link = link.as_str().unwrap();
    for (code, trouble, told) in [
        ("platform_unavailable", (503, ""), ["Own cannot be reached", "Wait a few minutes"]),
        ("platform_throttled", (429, ""), ["Own is receiving too many requests", "Wait ten minutes"]),
        (
            "credentials_rejected",
            (401, r#"{"error":"invalid_client"}"#),
            ["Own did not accept this service", "Only the people who run this service can fix this"],
        ),
        (
            "credentials_rejected",
            (401, "{}"),
            ["Own did not accept this service", "Only the people who run this service can fix this"],
        ),
        (
            "authorization_refused",
            (400, r#"{"error":"invalid_scope"}"#),
            ["Own refused what this service asks for", "Only the people who run this service can fix this"],
        ),
        (
            "platform_answer_unreadable",
            (200, "{}"),
            ["Own sent an answer that could not be understood", "tell the people who run this service"],
        ),
    ] {
        *pushed.lock().unwrap() = trouble;
        let page = broker.begin("own", BACK).await;
        for _ in 0..2 {
            let reply = press(&broker, &page, "action=continue").await;
            let expected = format!("https://app.example/back?status=error&platform=own&error={code}");
            assert_eq!((reply.status, reply.location()), (303, expected), "{}", reply.text);
        }
        let page = broker.begin("own", "").await;
        let ended = broker.see(press(&broker, &page, "action=continue").await).await;
        assert_told(&ended, 200, &[told[0], told[1], "Own was not connected", "nothing was stored"]);
        let on_link = press(&broker, link, "connect=own").await;
        assert_told(&on_link, 502, &[told[0], told[1], "Own was not connected", "value=\"own\""]);
    }
    let entries = "SELECT count(*) FROM audit WHERE action = 'connection.ended' AND outcome = 'platform_throttled'";
    let entries: u32 = broker.sql().query_row(entries, [], |row| row.get(0)).unwrap();
    assert_eq!(entries, 2, "each connection ends once");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_attempt_that_the_platform_does_not_take_is_told_and_may_be_repeated() {
    let (pushed, server, section) = platform().await;
    let broker = TestBroker::builder().toml(&section).start().await;
    broker.begin("own", "").await;
    let state = server.asked().iter().find_map(|asked| asked.field("state")).unwrap();
    let result = broker.visit(&format!("/v1/connect/own/callback?state={state}&error=access_denied")).await.location();
    let retry = format!("{result}/retry");
    *pushed.lock().unwrap() = (503, "");
    for _ in 0..2 {
        assert_told(
            &broker.visit(&retry).await,
            200,
            &["Own was not connected", "Own cannot be reached", &retry, "req_"],
        );
    }
    assert!(broker.visit(&result).await.text.contains("You declined at Own"), "the result stays as it was");
    *pushed.lock().unwrap() = TAKEN;
    let again = broker.visit(&retry).await;
    assert!(again.status == 303 && again.location().contains("request_uri=urn%3A1"), "{}", again.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_was_switched_off_is_told_to_the_person_and_to_the_app() {
    let without = TestBroker::builder().setting("POSTPEER_PLATFORMS__TWITTER__ENABLED", "false").start().await;
    let mut broker = confirming().start().await;
    let pages = [broker.begin("twitter", BACK).await, broker.begin("twitter", "").await];
    let pages = pages.map(|page| page.split_once("/connect/").unwrap().1.to_owned());
    let cancelled = broker.begin("twitter", "").await;
    let retry = format!("{}/retry", press(&broker, &cancelled, "action=cancel").await.location());
    broker.restart_with(|config| config.platforms = without.config().platforms.clone()).await;
    let [for_app, for_person] = pages.map(|page| format!("/connect/{page}"));

    assert!(broker.visit(&for_person).await.text.contains("X (Twitter)"), "it is still known by its name");
    let reply = press(&broker, &for_app, "action=continue").await;
    assert_eq!(reply.location(), "https://app.example/back?status=error&platform=twitter&error=app_missing");
    let ended = broker.see(press(&broker, &for_person, "action=continue").await).await;
    assert_told(&ended, 200, &["X (Twitter) was not connected", "Only the people who run this service can fix this"]);
    assert_told(&broker.visit(&retry).await, 403, &["This is not available any more", "Nothing was connected"]);
    let german = broker.visit(&format!("{retry}?lang=de")).await;
    assert_told(&german, 403, &["Das ist nicht mehr verfügbar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_attempt_without_its_profile_account_or_app_is_told_as_that() {
    let broker = TestBroker::start().await;
    let account = broker.connect("twitter", "").await;
    let profile = broker.call("POST", "/v1/profiles", Some(json!({"name": "Team"}))).await;
    let profile = profile.json["profile"]["id"].as_str().unwrap().to_owned();
    let (client_id, secret) = sandbox::own_client("twitter").unwrap();
    let app = json!({"platform": "twitter", "name": "Own", "clientId": client_id, "clientSecret": secret});
    let app = broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
    for (query, gone) in [
        (format!("reconnect={account}"), format!("/v1/connect/integrations/{account}")),
        (format!("profileId={profile}"), format!("/v1/profiles/{profile}")),
        (format!("appId={app}"), format!("/v1/apps/{app}")),
    ] {
        let callback = broker.consent(&broker.begin("twitter", &query).await, &Answer::deny());
        let retry = format!("{}/retry", broker.visit(&callback).await.location());
        let deleted = broker.call("DELETE", &gone, None).await;
        assert_eq!(deleted.status, 200, "{}", deleted.text);
        assert_told(&broker.visit(&retry).await, 404, &["This is not available any more", "Nothing was connected"]);
    }
}
