//! Consents that cover other accounts than before: what they mean for accounts that are connected, and what is told of
//! accounts that did not come.

use postpeer::sandbox::{Answer, Fault, Step};
use serde_json::{Value, json};

use crate::support::{TestBroker, parameter, reconnect, total};

const BACK: &str = "redirectUri=https://app.example/back";

/// Consents, and connects those of the accounts on offer whose ids end like one of these. Returns the integrations.
async fn choose(broker: &TestBroker, platform: &str, answer: &Answer, endings: &[&str]) -> Vec<String> {
    let url = broker.begin(platform, &format!("{BACK}&headless=true")).await;
    let location = broker.browse(&broker.consent(&url, answer)).await.location();
    let path = format!("/v1/connect/{platform}/selection/{}", parameter(&location, "selectionToken").unwrap());
    let offered = broker.browse(&path).await.json;
    let ids = offered["accounts"].as_array().unwrap().iter().map(|account| account["id"].as_str().unwrap());
    let ids: Vec<&str> = ids.filter(|id| endings.iter().any(|ending| id.ends_with(ending))).collect();
    assert_eq!(ids.len(), endings.len(), "{offered}");
    let done = broker.call("POST", &path, Some(json!({"selectedAccountIds": ids}))).await;
    assert_eq!(done.status, 200, "{}", done.text);
    done.json["integrations"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

/// The page at the end of a connection without a redirect.
async fn page(broker: &TestBroker, platform: &str, query: &str, answer: &Answer) -> String {
    broker.browse(&broker.consent(&broker.begin(platform, query).await, answer)).await.text
}

fn known_as(broker: &TestBroker, id: &str, platform_user_id: &str) {
    let known =
        broker.sql().execute("UPDATE integrations SET platform_user_id = ?2 WHERE id = ?1", [id, platform_user_id]);
    assert_eq!(known.unwrap(), 1);
}

/// A location that is known by the id of a parent which lists it no more, or not first.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_stays_itself_when_another_parent_lists_it() {
    let broker = TestBroker::start().await;
    let [first, second] = ["accounts/111000000000000000001", "accounts/111000000000000000002"];
    for (location, old, listed_by) in [
        ("locations/301000000000000001", "accounts/999", first),
        ("locations/301000000000000002", "accounts/999", first),
        ("locations/301000000000000002", second, second),
    ] {
        let known = format!("{old}/{location}");
        let id = choose(&broker, "googlebusiness", &Answer::allow(), &[location]).await.swap_remove(0);
        known_as(&broker, &id, &known);
        let back = reconnect(&broker, "googlebusiness", &id, &Answer::allow()).await;
        assert_eq!(parameter(&back, "integrationId").as_deref(), Some(&*id), "{back}");
        let detail = broker.detail(&id).await;
        assert_eq!(detail["platformUserId"], *known, "an id never changes");
        assert_eq!(detail["platformMetadata"]["account"], listed_by, "{known}");
        assert_eq!(choose(&broker, "googlebusiness", &Answer::allow(), &[location]).await, [&*id], "{known}");
        choose(&broker, "googlebusiness", &Answer::allow(), &["locations/301000000000000003"]).await;
        assert_eq!(broker.detail(&id).await["authStatus"], "active", "{known} is covered by a consent for another one");
    }
    assert_eq!(total(&broker).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_later_consent_leaves_out_says_so() {
    let broker = TestBroker::start().await;
    let pages = ["101000000000001", "101000000000002"];
    let ids = choose(&broker, "facebook", &Answer::allow(), &pages).await;
    let without = Answer::allow().pages(&["101000000000002", "101000000000003"]);
    choose(&broker, "facebook", &without, &["101000000000003"]).await;
    let lost = broker.detail(&ids[0]).await;
    assert_eq!(
        (&lost["authStatus"], &lost["authFailureReason"]),
        (&json!("reconnect_required"), &json!("access_revoked"))
    );
    let health = &lost["health"];
    assert_eq!(
        (&health["lastError"]["code"], &health["nextRefreshAt"]),
        (&json!("permission_withdrawn"), &Value::Null)
    );
    assert_eq!(health["lastError"]["whoCanHelp"], "account_owner");
    let refused = broker.token(&ids[0], "").await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    for told in ["A permission that the connection needs was withdrawn", "leaves all permissions ticked"] {
        assert!(refused.text.contains(told), "{}", refused.text);
    }
    let kept = broker.detail(&ids[1]).await;
    assert_eq!((&kept["authStatus"], &kept["health"]["lastError"]), (&json!("active"), &Value::Null));
    assert!(kept["health"]["nextRefreshAt"].is_string());
}

/// The right person is not told to sign in with another account.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_does_not_come_back_to_its_owner_is_told_with_the_reason() {
    let broker = TestBroker::start().await;
    let revoked = || broker.sandbox().requests_at("linkedin", Step::Revoke).len();

    // The organizations could not be listed.
    let id = choose(&broker, "linkedin", &Answer::allow(), &["organization:2414183"]).await.swap_remove(0);
    broker.sandbox().fail_next("linkedin", Step::Accounts, Fault::ServerError, 100).unwrap();
    let back = reconnect(&broker, "linkedin", &id, &Answer::allow()).await;
    assert_eq!(parameter(&back, "error").as_deref(), Some("platform_unavailable"), "{back}");
    let told = page(&broker, "linkedin", &format!("reconnect={id}"), &Answer::allow()).await;
    assert!(told.contains("your LinkedIn organizations: 0 found, but LinkedIn did not answer"), "{told}");
    assert_eq!((broker.detail(&id).await["authStatus"].as_str(), revoked()), (Some("active"), 0));
    let other = reconnect(&broker, "linkedin", &id, &Answer::allow().account("basil")).await;
    assert_eq!(parameter(&other, "error").as_deref(), Some("platform_unavailable"), "their search may do better later");
    assert_eq!(revoked(), 1, "nothing lives on the consent of somebody else");
    broker.sandbox().clear();
    let other = reconnect(&broker, "linkedin", &id, &Answer::allow().account("basil")).await;
    assert_eq!(parameter(&other, "error").as_deref(), Some("account_mismatch"));

    // It was found, and their role there does not suffice.
    let id = broker.connect_with("facebook", "", &Answer::allow().account("analyst")).await;
    known_as(&broker, &id, "103000000000002");
    let analyst = Answer::allow().account("analyst");
    let back = reconnect(&broker, "facebook", &id, &analyst).await;
    assert_eq!(parameter(&back, "error").as_deref(), Some("no_account"), "{back}");
    let told = page(&broker, "facebook", &format!("reconnect={id}"), &analyst).await;
    assert!(told.contains("your role on this Page does not let you publish there"), "{told}");

    // It was not ticked.
    let id = broker.connect("facebook", "").await;
    let without = Answer::allow().pages(&["101000000000002"]);
    let told = page(&broker, "facebook", &format!("reconnect={id}"), &without).await;
    for words in ["account_mismatch", "is not among those that you gave access to", "your Pages: 1 found"] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    assert!(!told.contains("with another account"), "{told}");
    let told = page(&broker, "facebook", &format!("reconnect={id}"), &analyst).await;
    assert!(told.contains("with another account") && !told.contains("your Pages"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_others_are_missing_is_told_beside_the_only_account() {
    let broker = TestBroker::start().await;
    let trouble = "LinkedIn did not answer in time or is having trouble";
    broker.sandbox().fail_next("linkedin", Step::Accounts, Fault::ServerError, 100).unwrap();
    let told = page(&broker, "linkedin", "", &Answer::allow()).await;
    for words in ["LinkedIn is connected", "Something missing?", trouble] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    let begun = broker.get(&format!("/v1/connect/linkedin?{BACK}&completion=true")).await.json;
    let (url, flow) = (begun["url"].as_str().unwrap(), begun["flowId"].as_str().unwrap());
    broker.browse(&broker.consent(url, &Answer::allow())).await;
    let done = broker.call("POST", &format!("/v1/connect/flows/{flow}/complete"), None).await.json;
    assert_eq!((&done["status"], &done["unusable"]), (&json!("success"), &Value::Null));
    assert_eq!(done["routes"], json!([{"route": "your LinkedIn organizations", "found": 0, "trouble": trouble}]));

    let told = page(&broker, "facebook", "", &Answer::allow().account("analyst")).await;
    assert!(told.contains("Only to look at") && told.contains("Something missing?"), "{told}");
    let told = page(&broker, "facebook", "", &Answer::allow().account("basil")).await;
    assert!(told.contains("Facebook is connected") && !told.contains("Something missing?"), "{told}");
}

/// The search failed, so nobody knows that there is no account: the person may try again, and no account is lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_during_the_search_revokes_no_consent_of_a_connected_account() {
    let broker = TestBroker::start().await;
    let id = broker.connect("facebook", "").await;
    broker.sandbox().fail_next("facebook", Step::Accounts, Fault::ServerError, 100).unwrap();
    let url = broker.begin("facebook", BACK).await;
    let back = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    assert_eq!(parameter(&back, "error").as_deref(), Some("platform_unavailable"), "{back}");
    assert!(broker.sandbox().requests_at("facebook", Step::Revoke).is_empty());
    assert_eq!(
        (broker.detail(&id).await["authStatus"].as_str(), broker.token(&id, "").await.status),
        (Some("active"), 200)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_connected_again_with_another_while_it_is_disconnected_stays_if_it_was_chosen() {
    const ALONE: [&str; 1] = ["101000000000001"];
    for (chosen, stays) in
        [(&["101000000000001", "101000000000002"][..], true), (&ALONE, true), (&["101000000000002"], false)]
    {
        let broker = TestBroker::start().await;
        let ada = Answer::allow().account("ada");
        let id = choose(&broker, "facebook", &ada, &ALONE).await.remove(0);
        let path = format!("/v1/connect/integrations/{id}");
        broker.sandbox().hold(Step::Revoke);
        let (gone, again) = tokio::join!(broker.call("DELETE", &path, None), async {
            broker.sandbox().held(Step::Revoke).await;
            broker.clock.advance(std::time::Duration::from_secs(1));
            let again = choose(&broker, "facebook", &ada, chosen).await;
            broker.sandbox().release(Step::Revoke);
            again
        });
        assert_eq!((gone.status, again.len()), (200, chosen.len()), "{}", gone.text);
        assert_eq!(gone.text.contains("it stays"), stays, "{}", gone.text);
        let listed = broker.get(&path).await;
        assert_eq!(listed.status == 200, stays, "{}", listed.text);
        let trail = broker.get("/v1/audit?limit=100").await.json["entries"].take();
        let last = trail.as_array().unwrap().iter().rfind(|entry| entry["action"] == "account.disconnected").unwrap();
        assert_eq!(last["outcome"] == "reconnected", stays, "{trail}");
    }
}
