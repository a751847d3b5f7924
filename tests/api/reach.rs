//! The reach of a revocation: where it would end the whole consent, nothing is revoked that another integration
//! needs, in whichever project.

use std::time::Duration;

use postpeer::broker::Caller;
use postpeer::broker::integrations::Revoked;
use postpeer::domain::access_key::Scope;
use postpeer::sandbox::{Answer, Fault, Step, TokenKind};

use serde_json::json;

use crate::support::{TestBroker, parameter};

const BACK: &str = "redirectUri=https://app.example/back";

/// Connects `account` with this key. Returns the final redirect.
async fn arrive(broker: &TestBroker, key: &str, platform: &str, account: &str) -> String {
    let begun = broker.call_as(key, "GET", &format!("/v1/connect/{platform}?{BACK}"), None).await;
    assert_eq!(begun.status, 200, "{}", begun.text);
    let url = begun.json["url"].as_str().unwrap();
    broker.browse(&broker.consent(url, &Answer::allow().account(account))).await.location()
}

async fn connect(broker: &TestBroker, key: &str, platform: &str) -> String {
    let location = arrive(broker, key, platform, "basil").await;
    parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"))
}

/// The message of the answer.
async fn disconnect(broker: &TestBroker, key: &str, id: &str) -> String {
    let gone = broker.call_as(key, "DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    gone.json["message"].as_str().unwrap().to_owned()
}

fn revocations(broker: &TestBroker, platform: &str) -> usize {
    broker.sandbox().requests_at(platform, Step::Revoke).len()
}

/// The access tokens that YouTube issued, oldest first.
fn issued(broker: &TestBroker) -> Vec<String> {
    let issued = broker.sandbox().issued("youtube").into_iter();
    issued.filter(|token| token.kind == TokenKind::Access).map(|token| token.value).collect()
}

/// True when YouTube accepts the token.
async fn is_alive(broker: &TestBroker, token: &str) -> bool {
    let url = format!("{}/youtube/youtube/v3/channels?part=snippet&mine=true", broker.sandbox_url());
    broker.request("GET", &url).bearer_auth(token).send().await.unwrap().status() == 200
}

/// Makes every write to a grant fail from now on.
fn break_storage(broker: &TestBroker) {
    let triggers = "CREATE TRIGGER no_new BEFORE INSERT ON grants BEGIN SELECT RAISE(FAIL, 'no'); END;
        CREATE TRIGGER no_renewal BEFORE UPDATE ON grants BEGIN SELECT RAISE(FAIL, 'no'); END";
    broker.sql().execute_batch(triggers).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_that_cannot_be_attributed_leaves_the_connection_alive() {
    let broker = TestBroker::start().await;
    let id = connect(&broker, &broker.key, "youtube").await;
    let first = issued(&broker)[0].clone();
    for account in ["basil", "ada"] {
        broker.sandbox().fail_next("youtube", Step::Identity, Fault::ServerError, 3).unwrap();
        let location = arrive(&broker, &broker.key, "youtube", account).await;
        assert_eq!(parameter(&location, "error").as_deref(), Some("platform_unavailable"), "{location}");
        assert_eq!(revocations(&broker, "youtube"), 0, "nobody knows whose tokens {account}'s are");
    }
    assert!(is_alive(&broker, &first).await);
    let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await;
    assert_eq!(detail.json["integration"]["authStatus"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_connection_survives_what_cannot_be_attributed() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    connect(&broker, &other, "youtube").await;
    broker.sandbox().fail_next("youtube", Step::Identity, Fault::ServerError, 3).unwrap();
    arrive(&broker, &broker.key, "youtube", "basil").await;
    assert_eq!(revocations(&broker, "youtube"), 0);
    assert!(is_alive(&broker, &issued(&broker)[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_under_a_client_that_nobody_uses_are_revoked_though_nobody_knows_whose_they_are() {
    let broker = TestBroker::start().await;
    broker.sandbox().fail_next("youtube", Step::Identity, Fault::ServerError, 3).unwrap();
    arrive(&broker, &broker.key, "youtube", "basil").await;
    assert_eq!(revocations(&broker, "youtube"), 1);
    assert!(!is_alive(&broker, &issued(&broker)[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_choice_survives_what_cannot_be_attributed() {
    let broker = TestBroker::start().await;
    let location = arrive(&broker, &broker.key, "facebook", "ada").await;
    assert!(location.contains("/connect/selection/"), "{location}");
    broker.sandbox().fail_next("facebook", Step::Identity, Fault::ServerError, 3).unwrap();
    let failed = arrive(&broker, &broker.key, "facebook", "ada").await;
    assert_eq!(parameter(&failed, "error").as_deref(), Some("platform_unavailable"), "{failed}");
    assert_eq!(revocations(&broker, "facebook"), 0);
    let landed = broker.land("facebook", location).await;
    assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{landed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_that_cannot_be_stored_leaves_the_connection_alive() {
    let broker = TestBroker::start().await;
    for platform in ["tiktok", "twitter", "youtube"] {
        connect(&broker, &broker.key, platform).await;
    }
    break_storage(&broker);
    // TikTok identifies people. YouTube identifies channels, and one person may have several.
    for (platform, account, revoked) in
        [("tiktok", "basil", 0), ("tiktok", "ada", 1), ("youtube", "basil", 0), ("youtube", "ada", 0)]
    {
        let location = arrive(&broker, &broker.key, platform, account).await;
        assert_eq!(parameter(&location, "error").as_deref(), Some("storage_failed"), "{location}");
        assert_eq!(revocations(&broker, platform), revoked, "{platform}: {account}");
    }
    assert!(is_alive(&broker, &issued(&broker)[0]).await, "basil's");
    arrive(&broker, &broker.key, "twitter", "basil").await;
    assert_eq!(revocations(&broker, "twitter"), 1, "which reaches these tokens only");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_project_on_a_consent_revokes_it() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    for platform in ["youtube", "facebook", "googlebusiness", "linkedin", "tiktok"] {
        let ours = connect(&broker, &broker.key, platform).await;
        let theirs = connect(&broker, &other, platform).await;
        let told = disconnect(&broker, &broker.key, &ours).await;
        assert!(told.contains("did not confirm that it revoked them"), "nothing of other projects: {told}");
        let trail = broker.get("/v1/audit").await.json["entries"].take();
        assert_eq!(
            trail.as_array().unwrap().last().unwrap()["outcome"],
            "not_confirmed",
            "nor does the trail: {trail}"
        );
        assert_eq!(revocations(&broker, platform), 0, "{platform}");
        if platform == "youtube" {
            assert!(is_alive(&broker, &issued(&broker)[1]).await, "the other project's works");
        }
        let detail = broker.call_as(&other, "GET", &format!("/v1/connect/integrations/{theirs}"), None).await;
        assert_eq!(detail.json["integration"]["authStatus"], "active", "{platform}");

        let told = disconnect(&broker, &other, &theirs).await;
        assert!(told.ends_with("revoked the tokens, and they are erased here."), "{platform}: {told}");
        assert_eq!(revocations(&broker, platform), 1, "{platform}");
    }
    assert!(!is_alive(&broker, &issued(&broker)[1]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_told_that_the_platform_was_not_asked() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    let ours = connect(&broker, &broker.key, "youtube").await;
    connect(&broker, &other, "youtube").await;
    let projects = broker.broker().list_projects().await.unwrap();
    let default = projects.iter().find(|project| project.name == "default").unwrap();
    let (_, revoked) = broker.broker().disconnect(&Caller::operator(default.id), &ours).await.unwrap();
    assert_eq!((revoked, revocations(&broker, "youtube")), (Revoked::KeptForOthers, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_revocation_reaches_its_tokens_only_every_project_revokes_its_own() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    let ours = connect(&broker, &broker.key, "twitter").await;
    let theirs = connect(&broker, &other, "twitter").await;
    for (count, (key, id)) in [(&broker.key, ours), (&other, theirs)].into_iter().enumerate() {
        let told = disconnect(&broker, key, &id).await;
        assert_eq!(told, "Disconnected. X (Twitter) revoked the tokens, and they are erased here.");
        assert_eq!(revocations(&broker, "twitter"), count + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_place_of_an_answer_confirms_no_revocation() {
    let broker = TestBroker::start().await;
    for platform in ["tiktok", "twitter"] {
        let id = connect(&broker, &broker.key, platform).await;
        broker.sandbox().fail_next(platform, Step::Revoke, Fault::Html, 1).unwrap();
        let told = disconnect(&broker, &broker.key, &id).await;
        assert!(told.contains("did not confirm that it revoked them"), "{platform}: {told}");
    }
}

/// Registers the sandbox's second client as an app of the caller's. Returns the query that connects under it.
async fn own_app(broker: &TestBroker, platform: &str) -> String {
    let (client_id, client_secret) = postpeer::sandbox::own_client(platform).unwrap();
    let app = json!({"platform": platform, "name": "Own", "clientId": client_id, "clientSecret": client_secret});
    let made = broker.call("POST", "/v1/apps", Some(app)).await;
    format!("appId={}", made.json["app"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_another_replaces_is_revoked_where_that_ends_nothing_else() {
    let broker = TestBroker::start().await;
    // Google's consents are to a project, of which the broker's two clients may be parts.
    for (platform, again, elsewhere) in [("facebook", 0, 1), ("linkedin", 0, 1), ("twitter", 0, 1), ("youtube", 0, 0)] {
        let basil = Answer::allow().account("basil");
        let first = broker.connect_with(platform, "", &basil).await;
        for (query, revoked) in [(String::new(), again), (own_app(&broker, platform).await, elsewhere)] {
            assert_eq!(broker.connect_with(platform, &query, &basil).await, first, "{platform}");
            assert!(broker.broker().drain(Duration::from_secs(30)).await);
            assert_eq!(revocations(&broker, platform), revoked, "{platform}: {query}");
            broker.clock.advance(Duration::from_hours(2));
            let token = broker.token(&first, "").await;
            assert_eq!(token.status, 200, "{platform}: {}", token.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_consent_that_another_account_lives_on_is_not_revoked() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    for platform in ["facebook", "linkedin"] {
        connect(&broker, &broker.key, platform).await;
        let theirs = connect(&broker, &other, platform).await;
        let query = own_app(&broker, platform).await;
        broker.connect_with(platform, &query, &Answer::allow().account("basil")).await;
        assert!(broker.broker().drain(Duration::from_secs(30)).await);
        assert_eq!(revocations(&broker, platform), 0, "{platform}");
        let detail = broker.call_as(&other, "GET", &format!("/v1/connect/integrations/{theirs}"), None).await;
        assert_eq!(detail.json["integration"]["authStatus"], "active", "{platform}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_become_no_long_lived_ones_are_given_back() {
    let broker = TestBroker::start().await;
    broker.sandbox().fail_next("facebook", Step::LongLived, Fault::ServerError, 3).unwrap();
    let location = arrive(&broker, &broker.key, "facebook", "basil").await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("platform_unavailable"), "{location}");
    assert_eq!(revocations(&broker, "facebook"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projects_that_disconnect_at_once_do_not_both_leave_it_to_the_other() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    for round in 1..=5 {
        let ours = connect(&broker, &broker.key, "youtube").await;
        let theirs = connect(&broker, &other, "youtube").await;
        tokio::join!(disconnect(&broker, &broker.key, &ours), disconnect(&broker, &other, &theirs));
        assert_eq!(revocations(&broker, "youtube"), round);
    }
}

/// An operator's platform with the endpoints and client of the sandbox's YouTube: another name for the same authority.
const YOUTUBE_BY_ANOTHER_NAME: &str = r#"
    [platforms.drive]
    client_id = "sandbox-youtube-client"
    client_secret = "sandbox-youtube-secret-not-real"
    authorize_url = "{sandbox}/youtube/o/oauth2/v2/auth"
    token_url = "{sandbox}/youtube/token"
    revoke_url = "{sandbox}/youtube/revoke"
    identity_url = "{sandbox}/youtube/youtube/v3/channels?part=snippet&mine=true"
    client_auth = "body"
    scopes = ["https://www.googleapis.com/auth/youtube.readonly"]
    identity = { id = "/items/0/id" }
"#;

const LEFT_ALONE: &str = "was left alone, because other connected accounts live on it.";

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_under_another_name_of_the_platform_is_left_alone() {
    let broker = TestBroker::builder().toml(YOUTUBE_BY_ANOTHER_NAME).start().await;
    let channel = connect(&broker, &broker.key, "youtube").await;
    let files = connect(&broker, &broker.key, "drive").await;
    for _ in 0..2 {
        // A connection without an account, or with an unknown owner, does not affect others.
        let location = arrive(&broker, &broker.key, "youtube", "viewer").await;
        assert_eq!(parameter(&location, "error").as_deref(), Some("no_account"), "{location}");
        broker.sandbox().fail_next("youtube", Step::Identity, Fault::ServerError, 3).unwrap();
        let location = arrive(&broker, &broker.key, "drive", "ada").await;
        assert_eq!(parameter(&location, "error").as_deref(), Some("platform_unavailable"), "{location}");
    }
    let told = disconnect(&broker, &broker.key, &channel).await;
    assert!(told.ends_with(LEFT_ALONE), "{told}");
    assert_eq!(revocations(&broker, "youtube"), 0);
    let token = broker.token(&files, "").await;
    assert_eq!(token.status, 200, "{}", token.text);
    assert!(is_alive(&broker, token.json["accessToken"].as_str().unwrap()).await);
    disconnect(&broker, &broker.key, &files).await;
    assert_eq!(revocations(&broker, "youtube"), 1, "nobody lives on it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_of_a_platform_that_is_not_configured_any_more_is_left_alone() {
    let broker = TestBroker::builder().toml(YOUTUBE_BY_ANOTHER_NAME).start().await;
    let without = TestBroker::start().await;
    let channel = connect(&broker, &broker.key, "youtube").await;
    let files = connect(&broker, &broker.key, "drive").await;
    let project = broker.broker().list_projects().await.unwrap()[0].id;
    // The configuration of a command beside the broker, or one to which the section comes back.
    let reloaded = broker.reloaded(|config| config.platforms = without.config().platforms.clone()).await;
    let (_, revoked) = reloaded.disconnect(&Caller::operator(project), &channel).await.unwrap();
    assert_eq!((revoked, revocations(&broker, "youtube")), (Revoked::KeptForOthers, 0));
    let token = broker.token(&files, "").await;
    assert!(is_alive(&broker, token.json["accessToken"].as_str().unwrap()).await);
    disconnect(&broker, &broker.key, &files).await;
    assert_eq!(revocations(&broker, "youtube"), 1, "nobody lives on it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_to_another_client_is_no_reason_to_leave_one_alone() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    let theirs = connect(&broker, &other, "youtube").await;
    // The ids of the sandbox's clients do not begin with the number of a common project.
    let query = own_app(&broker, "youtube").await;
    let ours = broker.connect_with("youtube", &query, &Answer::allow().account("basil")).await;
    let told = disconnect(&broker, &broker.key, &ours).await;
    assert!(told.contains("revoked the tokens"), "{told}");
    assert_eq!(revocations(&broker, "youtube"), 1);
    assert!(is_alive(&broker, &issued(&broker)[0]).await);
    disconnect(&broker, &other, &theirs).await;
    assert_eq!(revocations(&broker, "youtube"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_channels_under_one_client_may_be_one_persons() {
    let broker = TestBroker::start().await;
    let other = broker.key("other", Scope::ALL).await;
    let mut channels = Vec::new();
    for (key, account) in [(&broker.key, "basil"), (&broker.key, "ada"), (&other, "ada")] {
        let location = arrive(&broker, key, "youtube", account).await;
        channels.push((key, parameter(&location, "integrationId").unwrap()));
    }
    for ((key, id), told) in channels.into_iter().zip([
        LEFT_ALONE,
        "did not confirm that it revoked them: the account's owner can remove the app in the settings there.",
        "revoked the tokens, and they are erased here.",
    ]) {
        assert_eq!(revocations(&broker, "youtube"), 0);
        let message = disconnect(&broker, key, &id).await;
        assert!(message.ends_with(told), "{message}");
    }
    assert_eq!(revocations(&broker, "youtube"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_cannot_revoke_lives_on_the_consent_of_its_server() {
    let without_revocation = YOUTUBE_BY_ANOTHER_NAME.replace("revoke_url", "#revoke_url");
    let broker = TestBroker::builder().toml(&without_revocation).start().await;
    let channel = connect(&broker, &broker.key, "youtube").await;
    let files = connect(&broker, &broker.key, "drive").await;
    let told = disconnect(&broker, &broker.key, &channel).await;
    assert!(told.ends_with(LEFT_ALONE), "{told}");
    assert_eq!(revocations(&broker, "youtube"), 0);
    let token = broker.token(&files, "").await;
    assert!(is_alive(&broker, token.json["accessToken"].as_str().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_of_an_operators_platform_may_be_one_persons_unless_the_operator_says_otherwise() {
    for (subject, revoked) in [("", 0), ("subject = \"account\"", 0), ("subject = \"person\"", 1)] {
        let broker = TestBroker::builder().toml(&format!("{YOUTUBE_BY_ANOTHER_NAME}{subject}")).start().await;
        let mut channels = Vec::new();
        for account in ["basil", "ada"] {
            let location = arrive(&broker, &broker.key, "drive", account).await;
            channels.push(parameter(&location, "integrationId").unwrap());
        }
        let told = disconnect(&broker, &broker.key, &channels[0]).await;
        assert_eq!(told.ends_with(LEFT_ALONE), revoked == 0, "{subject}: {told}");
        assert_eq!(revocations(&broker, "youtube"), revoked, "{subject}");
        disconnect(&broker, &broker.key, &channels[1]).await;
        assert_eq!(revocations(&broker, "youtube"), revoked + 1, "{subject}: nobody lives on it any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_of_two_accounts_that_are_disconnected_at_once_tells_that_the_consent_was_revoked() {
    let broker = TestBroker::start().await;
    let outcome = |entry: &serde_json::Value| entry["outcome"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        let ids = futures_util::future::join_all(
            ["basil", "ada"].map(|account| async { arrive(&broker, &broker.key, "youtube", account).await }),
        )
        .await;
        let ids: Vec<_> = ids.iter().map(|location| parameter(location, "integrationId").unwrap()).collect();
        let (one, other) =
            tokio::join!(disconnect(&broker, &broker.key, &ids[0]), disconnect(&broker, &broker.key, &ids[1]));
        let told = [one, other].iter().filter(|told| told.contains("revoked the tokens")).count();
        let trail = broker.get("/v1/audit?limit=100").await.json["entries"].take();
        let entries = trail.as_array().unwrap().iter().filter(|entry| ids.iter().any(|id| entry["object"] == **id));
        let outcomes: Vec<_> = entries.map(outcome).collect();
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "revoked").count(), told, "{outcomes:?}");
        assert_eq!(outcomes.last().unwrap(), "revoked", "{outcomes:?}");
    }
}
