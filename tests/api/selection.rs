//! Selecting accounts of a consent that covers several, on the caller's own page. Selections may be repeated,
//! contested, garbled, abandoned or undone.

mod lifetime;
mod page;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use postpeer::domain::access_key::Scope;
use postpeer::sandbox::{Answer, Step};
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker, parameter, total};

const BACK: &str = "redirectUri=https://app.example/back%3Fnonce%3D1";

/// Consents and returns. Gives the callback's URL and its redirect.
async fn arrive(broker: &TestBroker, platform: &str, query: &str, answer: &Answer) -> (String, String) {
    let callback = broker.consent(&broker.begin(platform, query).await, answer);
    let reply = broker.browse(&callback).await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    (callback, reply.location())
}

/// Runs a headless connection up to the selection. Returns the selection token.
async fn choice(broker: &TestBroker, platform: &str, query: &str, answer: &Answer) -> String {
    let (_, location) = arrive(broker, platform, &format!("{BACK}&headless=true{query}"), answer).await;
    assert!(location.starts_with("https://app.example/back?nonce=1&status=selection_required&"), "{location}");
    assert_eq!(parameter(&location, "platform").as_deref(), Some(platform));
    parameter(&location, "selectionToken").unwrap()
}

fn path(platform: &str, token: &str) -> String {
    format!("/v1/connect/{platform}/selection/{token}")
}

/// The answer to a caller without a key.
async fn look(broker: &TestBroker, platform: &str, token: &str) -> Reply {
    broker.browse(&path(platform, token)).await
}

async fn send(broker: &TestBroker, platform: &str, token: &str, body: String) -> Reply {
    let request = broker.request("POST", &path(platform, token)).header("content-type", "application/json");
    Reply::of(request.body(body).send().await.unwrap()).await
}

async fn choose(broker: &TestBroker, platform: &str, token: &str, ids: &[&str]) -> Reply {
    send(broker, platform, token, json!({"selectedAccountIds": ids}).to_string()).await
}

/// Ids of the offered accounts, in order.
async fn offered(broker: &TestBroker, platform: &str, token: &str) -> Vec<String> {
    let reply = look(broker, platform, token).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json["accounts"].as_array().unwrap().iter().map(|account| text(&account["id"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn ids(reply: &Reply) -> Vec<String> {
    reply.json["integrations"].as_array().unwrap().iter().map(|integration| text(&integration["id"])).collect()
}

const ADA: [&str; 3] = ["page:101000000000001", "page:101000000000002", "page:101000000000003"];

#[tokio::test(flavor = "multi_thread")]
async fn the_chosen_accounts_and_no_others_are_connected() {
    let broker = TestBroker::start().await;
    let profile = broker.call("POST", "/v1/profiles", Some(json!({"name": "Marlow"}))).await;
    let profile = text(&profile.json["profile"]["id"]);
    let token = choice(&broker, "facebook", &format!("&profileId={profile}"), &Answer::allow()).await;
    assert_eq!(token.len(), 43);
    assert_eq!(total(&broker).await, 0, "nothing is connected before the choice");

    let seen = look(&broker, "facebook", &token).await;
    assert_eq!((seen.status, seen.header("cache-control")), (200, "no-store"), "{}", seen.text);
    let mut shown = seen.json.clone();
    for account in shown["accounts"].as_array_mut().unwrap() {
        let image = text(&account["imageUrl"]);
        assert!(image.starts_with("http"), "{image}");
        account["imageUrl"] = json!("[a picture]");
    }
    shown["scopes"] = json!(shown["scopes"].as_array().unwrap().len());
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());

    let done = choose(&broker, "facebook", &token, &[ADA[2], ADA[0], ADA[2]]).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!((&done.json["success"], &done.json["platform"]), (&json!(true), &json!("facebook")));
    assert_eq!(done.json["message"], "2 accounts connected.");
    let made = ids(&done);
    let expected = format!(
        "https://app.example/back?nonce=1&status=success&platform=facebook&integrationId={}&profileId={profile}",
        made.join("%2C")
    );
    assert_eq!(done.json["redirectUri"], expected);
    for (id, account) in made.iter().zip(["101000000000001", "101000000000003"]) {
        let stored = broker.get(&format!("/v1/connect/integrations/{id}")).await;
        let integration = &stored.json["integration"];
        assert_eq!((&integration["platformUserId"], &integration["profileId"]), (&json!(account), &json!(profile)));
        assert_eq!(integration["authStatus"], "active");
    }
    assert_eq!(total(&broker).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_is_repeated_tells_what_was_disconnected_since() {
    let broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    let all = offered(&broker, "facebook", &token).await;
    let two: Vec<&str> = all.iter().take(2).map(String::as_str).collect();
    let first = choose(&broker, "facebook", &token, &two).await;
    assert_eq!(first.json["message"], "2 accounts connected.");
    let made = ids(&first);
    for (left, message) in [
        (1, "2 accounts connected. 1 of them was disconnected since."),
        (0, "2 accounts connected. 2 of them were disconnected since."),
    ] {
        broker.call("DELETE", &format!("/v1/connect/integrations/{}", made[left]), None).await;
        let again = choose(&broker, "facebook", &token, &two).await;
        assert_eq!((ids(&again), &again.json["message"]), (made[..left].to_vec(), &json!(message)));
        assert_eq!(again.json["redirectUri"], first.json["redirectUri"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_with_hundreds_of_accounts_stays_short() {
    let broker = TestBroker::start().await;
    let agency = Answer::allow().account("agency");
    let token = choice(&broker, "facebook", "", &agency).await;
    let all = offered(&broker, "facebook", &token).await;
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let done = choose(&broker, "facebook", &token, &all).await;
    let (made, location) = (ids(&done), text(&done.json["redirectUri"]));
    assert_eq!(made.len(), 250, "the answer names all");
    assert!(location.len() < "https://app.example/back?nonce=1".len() + 2000, "{location}");
    let named = parameter(&location, "integrationId").unwrap();
    let named: Vec<&str> = named.split(',').collect();
    assert!(named.len() > 40, "{location}");
    assert_eq!(named, made[..named.len()]);
    assert_eq!(parameter(&location, "integrationCount").as_deref(), Some("250"));

    let token = choice(&broker, "facebook", "", &agency).await;
    let few = choose(&broker, "facebook", &token, &all[..40]).await;
    let location = text(&few.json["redirectUri"]);
    assert_eq!(parameter(&location, "integrationId").unwrap().split(',').count(), 40);
    assert_eq!(parameter(&location, "integrationCount"), None, "they all fit");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_platform_offers_what_it_has() {
    let broker = TestBroker::start().await;
    for (platform, kinds) in [
        ("facebook", vec!["page", "page", "page"]),
        ("googlebusiness", vec!["location", "location", "location"]),
        ("linkedin", vec!["person", "organization", "organization"]),
    ] {
        let token = choice(&broker, platform, "", &Answer::allow()).await;
        let seen = look(&broker, platform, &token).await;
        let accounts = seen.json["accounts"].as_array().unwrap();
        assert_eq!(accounts.iter().map(|account| text(&account["type"])).collect::<Vec<_>>(), kinds, "{}", seen.text);
        let all = offered(&broker, platform, &token).await;
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let done = choose(&broker, platform, &token, &all).await;
        assert_eq!((done.status, ids(&done).len()), (200, all.len()), "{}", done.text);
    }
    let grants: u32 = broker.sql().query_row("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap();
    assert_eq!((total(&broker).await, grants), (9, 3), "one grant for each consent");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_is_connected_straight_away_and_none_is_explained() {
    let broker = TestBroker::start().await;
    for platform in ["facebook", "googlebusiness", "linkedin"] {
        broker.connect_with(platform, "", &Answer::allow().account("basil")).await;
    }
    assert_eq!(total(&broker).await, 3);

    let nobody = Answer::allow().account("nobody");
    let (_, location) = arrive(&broker, "facebook", BACK, &nobody).await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("no_account"), "{location}");
    let revoked = broker.sandbox().requests_at("facebook", Step::Revoke);
    assert_eq!(revoked.len(), 1, "tokens that nobody can use are given back");
    assert_eq!(revoked[0].status, Some(200));

    let callback = broker.consent(&broker.begin("facebook", "").await, &nobody);
    let page = broker.browse(&callback).await;
    for told in ["no_account", "your Pages: 0 found", "pages_show_list"] {
        assert!(page.text.contains(told), "{told} is not in {}", page.text);
    }
    let told = |page: &str| page.split("<code>req_").next().unwrap().to_owned();
    assert_eq!(told(&broker.browse(&callback).await.text), told(&page.text), "a reload tells the same");

    // The usable account is connected. The other one is not offered.
    let one = broker.connect_with("facebook", "", &Answer::allow().account("analyst")).await;
    let stored = broker.get(&format!("/v1/connect/integrations/{one}")).await;
    assert_eq!(stored.json["integration"]["platformUserId"], "103000000000001");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_is_my_page_missing() {
    let broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow().account("business")).await;
    let seen = look(&broker, "facebook", &token).await.json;
    assert_eq!(seen["accounts"].as_array().unwrap().len(), 2);
    let unusable = &seen["unusable"][0];
    assert_eq!(unusable["displayName"], "Somebody's Page");
    assert!(!text(&unusable["reason"]).is_empty() && !text(&unusable["remedy"]).is_empty());
    let routes = seen["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["found"] == 2 && route["trouble"] == Value::Null), "{routes:?}");
    assert!(seen["scopes"].as_array().unwrap().contains(&json!("business_management")));
    let refused = choose(&broker, "facebook", &token, &["page:105000000000003"]).await;
    assert_eq!((refused.status, refused.code()), (400, "account_not_offered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbled_choices_are_refused_and_spend_nothing() {
    let broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    let many = json!({"selectedAccountIds": vec!["a"; 10_001]}).to_string();
    let at_most = json!({"selectedAccountIds": vec!["a"; 10_000]}).to_string();
    let huge = json!({"selectedAccountIds": ["a".repeat(512 * 1024)]}).to_string();
    let extra = json!({"selectedAccountIds": [ADA[0]], "profileId": null}).to_string();
    for (body, status, code) in [
        (r#"{"selectedAccountIds": []}"#, 400, "invalid_request"),
        ("{}", 400, "invalid_request"),
        (r#"{"selectedAccountIds": null}"#, 400, "invalid_request"),
        (r#"{"selectedAccountIds": "page:101000000000001"}"#, 400, "invalid_request"),
        (r#"{"selectedAccountIds": {"0": "page:101000000000001"}}"#, 400, "invalid_request"),
        (r#"{"selectedAccountIds": ["page:101000000000001", 1]}"#, 400, "invalid_request"),
        (r#"{"selectedAccountIds": [["page:101000000000001"]]}"#, 400, "invalid_request"),
        (&extra, 400, "invalid_request"),
        (&many, 400, "invalid_request"),
        (&at_most, 400, "account_not_offered"),
        (r#"{"selectedAccountIds": ["101000000000001"]}"#, 400, "account_not_offered"),
        (r#"{"selectedAccountIds": ["page:101000000000001", "page:104000000000001"]}"#, 400, "account_not_offered"),
        (r#"{"selectedAccountIds": [""]}"#, 400, "account_not_offered"),
        (r#"{"selectedAccountIds": ["a"], "selectedAccountIds": ["b"]}"#, 400, "invalid_json"),
        ("[]", 400, "invalid_json"),
        ("", 400, "invalid_json"),
        (&huge, 413, "body_too_large"),
    ] {
        let reply = send(&broker, "facebook", &token, body.to_owned()).await;
        let short = body.get(..80).unwrap_or(body);
        assert_eq!((reply.status, reply.code()), (status, code), "{short}: {}", reply.text);
        assert!(!reply.text.contains("101000000000001"), "{short} is echoed");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = broker.request("POST", &path("facebook", &token)).header("content-type", content_type);
        let reply = request.body(json!({"selectedAccountIds": [ADA[0]]}).to_string()).send().await.unwrap();
        assert_eq!(reply.status(), 415, "{content_type}: a form of another site could send this");
    }
    assert_eq!(total(&broker).await, 0);
    assert_eq!(choose(&broker, "facebook", &token, &[ADA[1]]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_chosen_from_is_answered_alike() {
    let broker = TestBroker::start().await;
    let live = choice(&broker, "facebook", "", &Answer::allow()).await;
    let spent = choice(&broker, "facebook", "", &Answer::allow().account("agency")).await;
    let first = offered(&broker, "facebook", &spent).await.swap_remove(0);
    assert_eq!(choose(&broker, "facebook", &spent, &[&first]).await.status, 200);
    let expired = choice(&broker, "facebook", "", &Answer::allow().account("business")).await;
    broker.clock.advance(std::time::Duration::from_mins(10));
    let live_again = choice(&broker, "facebook", "", &Answer::allow()).await;

    let mut bodies = BTreeSet::new();
    for (platform, token) in [
        ("facebook", live.as_str()),
        ("facebook", &spent),
        ("facebook", &expired),
        ("linkedin", &live_again),
        ("googlebusiness", &live_again),
        ("facebook", "unknown"),
        ("facebook", &"a".repeat(43)),
        ("facebook", &live_again[..42]),
        ("facebook", "%00"),
    ] {
        for reply in [look(&broker, platform, token).await, choose(&broker, platform, token, &[ADA[0]]).await] {
            assert_eq!(reply.status, 404, "{platform} {token}: {}", reply.text);
            let mut body = reply.json.clone();
            body.as_object_mut().unwrap().remove("requestId");
            bodies.insert(body.to_string());
        }
    }
    let bodies: Vec<String> = bodies.into_iter().collect();
    insta::assert_snapshot!(bodies.join("\n"), @r#"{"code":"selection_not_found","error":"There is no such choice of accounts to make: it was made already, has expired, or never was."}"#);
    assert_eq!(offered(&broker, "facebook", &live_again).await, ADA);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_choice_is_answered_again_for_a_minute_and_no_other() {
    let broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    let first = choose(&broker, "facebook", &token, &ADA[..2]).await;
    assert_eq!(first.status, 200, "{}", first.text);
    broker.clock.advance(std::time::Duration::from_secs(59));
    let again = choose(&broker, "facebook", &token, &[ADA[1], ADA[0], ADA[1]]).await;
    assert_eq!((again.status, &again.json), (200, &first.json));
    for other in [&ADA[..1], &ADA[..], &["page:1"]] {
        assert_eq!(choose(&broker, "facebook", &token, other).await.status, 404, "{other:?}");
    }
    assert_eq!(look(&broker, "facebook", &token).await.status, 404);
    broker.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(choose(&broker, "facebook", &token, &ADA[..2]).await.status, 404);
    assert_eq!(total(&broker).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_equal_choices_at_once_make_one_set_of_accounts() {
    let broker = TestBroker::start().await;
    for round in 1..=3 {
        let token = choice(&broker, "facebook", "", &Answer::allow()).await;
        let replies = join_all((0..20).map(|_| choose(&broker, "facebook", &token, &ADA[..2]))).await;
        for reply in &replies {
            assert_eq!((reply.status, &reply.json), (200, &replies[0].json), "round {round}: {}", reply.text);
        }
        assert_eq!(total(&broker).await, 2, "round {round}");
        let generation: u32 = broker.sql().query_row("SELECT generation FROM grants", [], |row| row.get(0)).unwrap();
        assert_eq!(generation, round, "the grant is renewed once each time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_different_choices_at_once_one_wins() {
    let broker = TestBroker::start().await;
    for round in 0..3 {
        let token = choice(&broker, "facebook", "", &Answer::allow().account("agency")).await;
        let all = offered(&broker, "facebook", &token).await;
        let before = total(&broker).await;
        let one = |at: usize| {
            let (broker, token, id) = (&broker, &token, &all[round * 20 + at]);
            async move { choose(broker, "facebook", token, &[id]).await }
        };
        let replies = join_all((0..20).map(one)).await;
        let won: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert!(replies.iter().all(|reply| [200, 404].contains(&reply.status)), "round {round}");
        assert_eq!(total(&broker).await, before + 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_belongs_to_the_project_that_began_it() {
    let broker = TestBroker::start().await;
    let theirs = broker.key("theirs", Scope::ALL).await;
    let begun = broker.call_as(&theirs, "GET", &format!("/v1/connect/facebook?{BACK}&headless=true"), None).await;
    let callback = broker.consent(&text(&begun.json["url"]), &Answer::allow());
    let location = broker.browse(&callback).await.location();
    let token = parameter(&location, "selectionToken").unwrap();
    let ours = choice(&broker, "facebook", "", &Answer::allow()).await;
    let request = broker.request("POST", &path("facebook", &token)).header("content-type", "application/json");
    // The selection token decides here, not the key.
    let request = request.header("x-access-key", &broker.key);
    let done = Reply::of(request.body(json!({"selectedAccountIds": ADA}).to_string()).send().await.unwrap()).await;
    assert_eq!((done.status, ids(&done).len()), (200, 3), "{}", done.text);
    assert_eq!(total(&broker).await, 0);
    let listed = broker.call_as(&theirs, "GET", "/v1/connect/integrations", None).await;
    assert_eq!(listed.json["total"], 3);
    assert_eq!(choose(&broker, "facebook", &ours, &ADA[..1]).await.status, 200);
    assert_eq!(total(&broker).await, 1);
}
