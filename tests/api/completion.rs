//! Connections that their caller completes: nothing of them is used before, whoever finished them, and what nobody
//! completes is given back. The platform's endpoints count.

pub(crate) mod crash;
mod waiting;

use std::time::Duration;

use futures_util::future::join_all;
use postpeer::domain::access_key::Scope;
use postpeer::sandbox::{self, Answer, Step};
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker, parameter, total};

const BACK: &str = "redirectUri=https://app.example/back%3Fnonce%3D1&completion=true";

/// Begins a connection to complete. Returns the URL for the person, and the flow.
async fn begin(broker: &TestBroker, platform: &str, query: &str) -> (String, String) {
    let reply = broker.get(&format!("/v1/connect/{platform}?{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let text = |name: &str| reply.json[name].as_str().unwrap_or_else(|| panic!("{name}: {}", reply.text)).to_owned();
    (text("url"), text("flowId"))
}

/// Has a person consent to a connection to complete, and come back to the app. Returns the flow.
async fn come_back(broker: &TestBroker, platform: &str, query: &str, answer: &Answer) -> String {
    let (url, flow) = begin(broker, platform, &format!("{BACK}{query}")).await;
    let location = broker.browse(&broker.consent(&url, answer)).await.location();
    assert_eq!(location, waits(platform, &flow));
    flow
}

fn waits(platform: &str, flow: &str) -> String {
    format!("https://app.example/back?nonce=1&status=completion_required&platform={platform}&flowId={flow}")
}

async fn complete(broker: &TestBroker, flow: &str) -> Reply {
    complete_as(broker, &broker.key, flow).await
}

async fn complete_as(broker: &TestBroker, key: &str, flow: &str) -> Reply {
    broker.call_as(key, "POST", &format!("/v1/connect/flows/{flow}/complete"), None).await
}

/// A completion is refused with this status and code.
async fn refused(broker: &TestBroker, flow: &str, expected: (u16, &str)) {
    let reply = complete(broker, flow).await;
    assert_eq!((reply.status, reply.code()), expected, "{}", reply.text);
}

/// Ids of the accounts that a completion connected.
fn ids(reply: &Reply) -> Vec<String> {
    assert_eq!((reply.status, &reply.json["status"]), (200, &json!("success")), "{}", reply.text);
    let connected = reply.json["integrations"].as_array().unwrap();
    connected.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn requests(broker: &TestBroker, platform: &str, step: Step) -> usize {
    broker.sandbox().requests_at(platform, step).len()
}

fn count(broker: &TestBroker, sql: &str) -> u32 {
    broker.sql().query_row(&format!("SELECT count(*) FROM {sql}"), [], |row| row.get(0)).unwrap()
}

/// Actions of the trail with their actors and outcomes, after those of keys and profiles.
async fn trail(broker: &TestBroker) -> Vec<String> {
    let entries = broker.get("/v1/audit?limit=100").await.json["entries"].take();
    let told = |entry: &Value| {
        let [action, actor, outcome] = ["action", "actor", "outcome"].map(|name| entry[name].as_str().unwrap());
        format!("{action} {actor} {outcome}")
    };
    let told = entries.as_array().unwrap().iter().map(told);
    told.filter(|entry| !entry.starts_with("access_key.") && !entry.starts_with("profile.")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_connects_when_its_caller_says_so_and_the_platform_is_asked_once() {
    for platform in sandbox::platforms() {
        let broker = TestBroker::start().await;
        let flow = come_back(&broker, platform, "", &Answer::allow()).await;
        assert_eq!((total(&broker).await, count(&broker, "grants")), (0, 0), "{platform}");
        let asked = requests(&broker, platform, Step::Token);
        let mut done = complete(&broker, &flow).await;
        assert_eq!((done.status, &done.json["platform"]), (200, &json!(platform)), "{}", done.text);
        if let Some(url) = done.json["selectionUrl"].as_str() {
            assert_eq!(done.json["integrations"], json!([]), "{platform}");
            let landed = broker.land(platform, url.to_owned()).await;
            assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{landed}");
            done = complete(&broker, &flow).await;
            assert_eq!(parameter(&landed, "integrationId"), Some(ids(&done).join(",")), "{platform}");
        }
        let [id] = &ids(&done)[..] else { panic!("{platform}: {}", done.text) };
        assert_eq!(total(&broker).await, 1, "{platform}");
        assert_eq!(broker.detail(id).await["authStatus"], "active", "{platform}");
        assert_eq!(
            requests(&broker, platform, Step::Token),
            asked,
            "{platform}: a completion asks the platform nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_completions_at_once_connect_one_account_and_say_the_same() {
    let broker = TestBroker::start().await;
    let flow = come_back(&broker, "twitter", "", &Answer::allow()).await;
    let replies = join_all((0..20).map(|_| complete(&broker, &flow))).await;
    let first = ids(&replies[0]);
    assert_eq!(first.len(), 1);
    for reply in &replies {
        assert_eq!(reply.json, replies[0].json);
    }
    let counts = ["grants", "integrations", "audit WHERE action = 'connection.completed'"];
    assert_eq!(counts.map(|sql| count(&broker, sql)), [1, 1, 1]);
    assert_eq!(requests(&broker, "twitter", Step::Token), 1);
    assert_eq!(
        trail(&broker).await,
        [
            "connection.awaits_completion person done",
            "connection.completed access_key done",
            "account.connected access_key done"
        ]
    );

    // The answer outlives the ten minutes of the callback.
    broker.clock.advance(Duration::from_secs(599));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(ids(&complete(&broker, &flow).await), first);
    broker.clock.advance(Duration::from_secs(1));
    broker.broker().purge_expired().await.unwrap();
    refused(&broker, &flow, (404, "flow_not_found")).await;
    assert_eq!(total(&broker).await, 1);
    assert_eq!(requests(&broker, "twitter", Step::Revoke), 0, "what was completed stays");
    assert_eq!(count(&broker, "selections"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_completion_does_not_tell_of_an_account_that_was_disconnected() {
    let broker = TestBroker::start().await;
    let flow = come_back(&broker, "twitter", "", &Answer::allow()).await;
    let [id] = &ids(&complete(&broker, &flow).await)[..] else { panic!("one account") };
    broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    refused(&broker, &flow, (409, "flow_ended")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_waits_for_its_caller_can_be_completed() {
    let broker = TestBroker::start().await;
    let (url, flow) = begin(&broker, "twitter", BACK).await;
    refused(&broker, &flow, (409, "flow_pending")).await;
    let callback = broker.consent(&url, &Answer::allow());
    broker.sandbox().hold(Step::Token);
    let (landed, ()) = tokio::join!(broker.browse(&callback), async {
        broker.sandbox().held(Step::Token).await;
        refused(&broker, &flow, (409, "flow_pending")).await;
        broker.sandbox().release(Step::Token);
    });
    assert_eq!(landed.location(), waits("twitter", &flow));
    assert_eq!(broker.browse(&callback).await.location(), landed.location(), "a reload says the same");

    // Wrong keys change nothing, and learn nothing.
    let before = broker.stored();
    let foreign = broker.key("other", Scope::ALL).await;
    let unscoped = broker.key("default", &[Scope::Read, Scope::Manage, Scope::Tokens]).await;
    let unknown = "flow_00000000000000000000000000000000";
    for (key, id, expected) in [
        (&foreign, &*flow, (404, "flow_not_found")),
        (&broker.key, unknown, (404, "flow_not_found")),
        (&broker.key, "twitter", (404, "flow_not_found")),
        (&unscoped, &flow, (403, "insufficient_scope")),
    ] {
        let reply = complete_as(&broker, key, id).await;
        assert_eq!((reply.status, reply.code()), expected, "{id}: {}", reply.text);
    }
    assert_ne!(before, broker.stored(), "two keys were made");
    assert_eq!(total(&broker).await, 0);
    let [id] = &ids(&complete(&broker, &flow).await)[..] else { panic!("one account") };
    let success = format!("https://app.example/back?nonce=1&status=success&platform=twitter&integrationId={id}");
    assert_eq!(broker.browse(&callback).await.location(), success, "a reload tells how it went on");

    // A plain connection is finished without its caller.
    let plain = broker.get("/v1/connect/twitter?completion=false").await;
    assert_eq!(plain.json.as_object().unwrap().keys().collect::<Vec<_>>(), ["url"], "{}", plain.text);
    refused(&broker, &broker.last_flow(), (404, "flow_not_found")).await;
    broker.browse(&broker.consent(plain.json["url"].as_str().unwrap(), &Answer::allow())).await;
    refused(&broker, &broker.last_flow(), (404, "flow_not_found")).await;

    for wrong in ["completion=", "completion=yes", "completion=true&completion=true"] {
        assert_eq!(broker.get(&format!("/v1/connect/twitter?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ended_otherwise_is_not_completed_and_the_caller_learns_why() {
    let broker = TestBroker::start().await;
    let (url, denied) = begin(&broker, "twitter", BACK).await;
    let location = broker.browse(&broker.consent(&url, &Answer::deny())).await.location();
    assert_eq!(parameter(&location, "status").as_deref(), Some("cancelled"));
    let (url, failed) = begin(&broker, "twitter", BACK).await;
    broker.sandbox().fail_next("twitter", Step::Token, sandbox::Fault::ServerError, 3).unwrap();
    let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    assert_eq!(parameter(&location, "status").as_deref(), Some("error"));
    for (flow, why) in [(denied, "The person declined."), (failed, "X (Twitter) could not be reached")] {
        let reply = complete(&broker, &flow).await;
        assert_eq!((reply.status, reply.code()), (409, "flow_ended"), "{}", reply.text);
        assert!(reply.text.contains(why), "{}", reply.text);
    }
    // Without a redirect, nothing is begun again that its caller would not know of.
    let (url, _) = begin(&broker, "twitter", "completion=true").await;
    let result = broker.visit(&broker.consent(&url, &Answer::deny())).await.location();
    assert!(!broker.visit(&result).await.text.contains("/retry"));
    assert_eq!(broker.visit(&format!("{result}/retry")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_profile_completes_the_connections_of_its_profile() {
    let broker = TestBroker::start().await;
    let mut profiles = Vec::new();
    for name in ["own", "other"] {
        let made = broker.call("POST", "/v1/profiles", Some(json!({"name": name}))).await;
        profiles.push(made.json["profile"]["id"].as_str().unwrap().to_owned());
    }
    let mut limits = postpeer::domain::key_limits::Limits::from(Scope::ALL);
    limits.profile_id = Some(profiles[0].parse().unwrap());
    let bound = broker.broker().create_access_key("default", "bound", limits).await.unwrap().1;
    let bound = crate::support::expose(&bound);
    for (query, expected) in [
        (format!("&profileId={}", profiles[1]), 404),
        (String::new(), 404),
        (format!("&profileId={}", profiles[0]), 200),
    ] {
        let flow = come_back(&broker, "twitter", &query, &Answer::allow()).await;
        let reply = complete_as(&broker, &bound, &flow).await;
        assert_eq!(reply.status, expected, "{query}: {}", reply.text);
        if expected == 200 {
            assert_eq!(reply.json["profileId"], json!(profiles[0]));
            let [id] = &ids(&reply)[..] else { panic!("{}", reply.text) };
            assert_eq!(broker.detail(id).await["profileId"], json!(profiles[0]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_is_offered_once_the_caller_has_completed_the_connection() {
    let broker = TestBroker::start().await;
    for headless in ["", "&headless=true"] {
        let flow = come_back(&broker, "facebook", headless, &Answer::allow()).await;
        broker.clock.advance(Duration::from_mins(9));
        let offered = complete(&broker, &flow).await;
        assert_eq!((offered.status, &offered.json["status"]), (200, &json!("selection_required")), "{}", offered.text);
        let [url, token] = ["selectionUrl", "selectionToken"].map(|name| offered.json[name].as_str().unwrap());
        assert_eq!(url, format!("{}/connect/selection/{token}", broker.url));
        assert_eq!(complete(&broker, &flow).await.json, offered.json, "the same once more");
        // The person has as long to choose as anybody.
        broker.clock.advance(Duration::from_mins(9));
        broker.broker().purge_expired().await.unwrap();
        assert_eq!(broker.visit(url).await.status, 200);
        let landed = broker.land("facebook", url.to_owned()).await;
        assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{landed}");
        assert_eq!(Some(ids(&complete(&broker, &flow).await).join(",")), parameter(&landed, "integrationId"));
    }
    assert_eq!(
        trail(&broker).await[..4],
        [
            "connection.awaits_completion person done",
            "connection.completed access_key done",
            "selection.offered access_key done",
            "account.connected person done"
        ]
    );

    // A choice that nobody makes is given back like any other.
    let flow = come_back(&broker, "facebook", "", &Answer::allow().account("agency")).await;
    let url = complete(&broker, &flow).await.json["selectionUrl"].as_str().unwrap().to_owned();
    broker.clock.advance(Duration::from_mins(10));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(requests(&broker, "facebook", Step::Revoke), 1);
    let late = broker.visit(&url).await.location();
    assert_eq!(parameter(&late, "error").as_deref(), Some("flow_expired"), "{late}");
    refused(&broker, &flow, (404, "flow_not_found")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnection_leaves_the_account_alone_until_it_is_completed() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let stored = || -> (Vec<u8>, i64, String) {
        let sql = "SELECT g.tokens, g.generation, i.updated_at FROM grants AS g, integrations AS i";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.to_string()));
        broker.sql().query_row(sql, [], row).unwrap()
    };
    let before = stored();
    broker.clock.advance(Duration::from_secs(1));
    let flow = come_back(&broker, "twitter", &format!("&reconnect={id}"), &Answer::allow()).await;
    assert_eq!(stored(), before);
    assert_eq!(broker.token(&id, "").await.status, 200, "the old tokens are used");
    assert_eq!(ids(&complete(&broker, &flow).await), [id.as_str()]);
    assert_ne!(stored(), before);
    assert_eq!(stored().1, before.1 + 1);

    // Nobody completes the next one: the account lives on.
    let renewed = stored();
    come_back(&broker, "twitter", &format!("&reconnect={id}"), &Answer::allow()).await;
    broker.clock.advance(Duration::from_mins(10));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(stored(), renewed);
    assert_eq!(broker.token(&id, "").await.status, 200);

    // Another account is refused as soon as it comes back.
    let (url, flow) = begin(&broker, "twitter", &format!("{BACK}&reconnect={id}")).await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow().account("basil"))).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("account_mismatch"), "{location}");
    refused(&broker, &flow, (409, "account_mismatch")).await;
    assert_eq!((total(&broker).await, count(&broker, "grants")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_disconnected_before_the_completion_does_not_come_back() {
    let broker = TestBroker::start().await;
    for platform in ["twitter", "facebook"] {
        let id = broker.connect(platform, "").await;
        let flow = come_back(&broker, platform, &format!("&reconnect={id}"), &Answer::allow()).await;
        broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        broker.sandbox().clear();
        for _ in 0..2 {
            let reply = complete(&broker, &flow).await;
            assert_eq!((reply.status, reply.code()), (409, "account_mismatch"), "{}", reply.text);
            assert!(reply.text.contains("was disconnected meanwhile"), "{}", reply.text);
        }
        assert_eq!(total(&broker).await, 0, "{platform}");
        assert_eq!(
            ["grants", "selections WHERE spent_by IS NULL"].map(|rows| count(&broker, rows)),
            [0, 0],
            "{platform}"
        );
        assert_eq!(requests(&broker, platform, Step::Revoke), 1, "{platform}: its tokens are given back");
    }
    assert_eq!(count(&broker, "audit WHERE outcome = 'account_mismatch' AND actor = 'access_key'"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn completion_is_a_binding_and_goes_with_the_others() {
    let required = TestBroker::builder().setting("POSTPEER_CONNECT__REQUIRE_BINDING", "true").start().await;
    assert_eq!(required.get("/v1/connect/twitter").await.code(), "binding_required");
    let flow = come_back(&required, "twitter", "", &Answer::allow()).await;
    assert_eq!(ids(&complete(&required, &flow).await).len(), 1);

    let asking = TestBroker::builder().setting("POSTPEER_CONNECT__CONFIRM", "true").start().await;
    let (page, flow) = begin(&asking, "twitter", BACK).await;
    assert!(page.contains("/connect/confirm/"), "{page}");
    let form = asking.request("POST", &page).header("content-type", "application/x-www-form-urlencoded");
    let sent = form.header("sec-fetch-site", "same-origin").body("action=continue").send().await.unwrap();
    let sent = Reply::of(sent).await;
    let cookie = sent.header("set-cookie").split(';').next().unwrap().to_owned();
    let callback = asking.consent(&sent.location(), &Answer::allow());
    assert_eq!(asking.browse(&callback).await.status, 400, "another browser");
    refused(&asking, &flow, (409, "flow_pending")).await;
    let landed = Reply::of(asking.request("GET", &callback).header("cookie", cookie).send().await.unwrap()).await;
    assert_eq!(landed.location(), waits("twitter", &flow));
    assert_eq!(ids(&complete(&asking, &flow).await).len(), 1);

    // The digest of the app's cookie, whose value is "a".
    let hash = "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs";
    let (url, flow) = begin(&required, "youtube", &format!("{BACK}&bindingHash={hash}")).await;
    let callback = required.consent(&url, &Answer::allow());
    assert_eq!(required.browse(&callback).await.status, 400, "another browser");
    let request = required.request("GET", &callback).header("cookie", "__Secure-postpeer-binding=a");
    assert_eq!(Reply::of(request.send().await.unwrap()).await.location(), waits("youtube", &flow));
    assert_eq!(ids(&complete(&required, &flow).await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_password_needs_no_completion() {
    let broker = TestBroker::start().await;
    let account = sandbox::bluesky_accounts().first().unwrap();
    let body = json!({"identifier": account.handle, "password": account.app_password});
    let connect =
        async |query: &str| broker.call("POST", &format!("/v1/connect/bluesky/auth?{query}"), Some(body.clone())).await;
    let reply = connect("completion=true").await;
    assert_eq!((reply.status, reply.code()), (400, "invalid_parameter"), "{}", reply.text);
    assert!(reply.text.contains("nobody else finishes it"), "{}", reply.text);
    assert_eq!(total(&broker).await, 0);
    assert_eq!(connect("completion=false").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_redirect_a_page_says_that_the_app_must_confirm() {
    let broker = TestBroker::builder().toml("[pages]\napp_name = \"Acme\"\nhome_url = \"https://acme.example\"\n");
    let broker = broker.start().await;
    let (url, flow) = begin(&broker, "twitter", "completion=true").await;
    let result = broker.visit(&broker.consent(&url, &Answer::allow())).await.location();
    let page = broker.visit(&result).await;
    for told in ["One more step for X (Twitter)", "once Acme confirms", "If somebody sent you here", "Back to Acme"] {
        assert!(page.text.contains(told), "{told}: {}", page.text);
    }
    assert!(!page.text.contains("is connected</h1>") && !page.text.contains("ada"), "{}", page.text);
    let german = broker.visit(&format!("{result}?lang=de")).await;
    assert!(german.text.contains("sobald Acme bestätigt"), "{}", german.text);
    assert_eq!(ids(&complete(&broker, &flow).await).len(), 1);
    assert!(broker.visit(&result).await.text.contains("X (Twitter) is connected"));
}
