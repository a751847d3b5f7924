//! Connected accounts: reading, listing, moving and disconnecting them.

use std::time::Duration;

use postpeer::domain::secret::Digest256;
use postpeer::domain::time::Clock as _;
use postpeer::sandbox::{self, Answer, Fault, Step};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::resources::is_time;
use crate::support::{TestBroker, profile};

const LIST: &str = "/v1/connect/integrations";

/// Ids in a list, and its total.
async fn listed(broker: &TestBroker, query: &str) -> (Vec<String>, u64) {
    let reply = broker.get(&format!("{LIST}?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.text);
    let ids = reply.json["integrations"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned());
    (ids.collect(), reply.json["total"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integration_has_all_its_members() {
    let broker = TestBroker::start().await;
    for platform in sandbox::platforms() {
        let id = broker.connect_with(platform, "", &Answer::allow().account("basil")).await;
        let detail = broker.get(&format!("{LIST}/{id}")).await;
        let integration = &detail.json["integration"];
        let text = |member: &str| {
            let value = &integration[member];
            assert!(value.is_string() || value.is_null(), "{platform}: {member} of {integration}");
            value.as_str().unwrap_or("").to_owned()
        };
        assert_eq!((id.len(), &id[..4]), (36, "int_"));
        assert_eq!((&integration["id"], &integration["platform"]), (&json!(id), &json!(platform)));
        assert!(!text("platformUserId").is_empty(), "{platform}");
        if matches!(platform, "twitter" | "threads" | "tiktok" | "instagram") {
            assert!(text("username").starts_with('@'), "{platform}: {integration}");
        }
        for member in ["profileUrl", "imageUrl"] {
            assert!(text(member).is_empty() || text(member).starts_with("http"), "{platform}: {integration}");
        }
        text("displayName");
        assert!(integration["platformMetadata"].is_object(), "{platform}");
        assert_eq!(
            (&integration["profileId"], &integration["appId"], &integration["app"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!((&integration["byok"], &integration["authStatus"]), (&json!(false), &json!("active")));
        assert!(integration.as_object().unwrap().contains_key("authFailureReason"), "{platform}");
        assert!(is_time(&integration["createdAt"]) && is_time(&integration["updatedAt"]), "{platform}: {integration}");
        for member in ["accessTokenExpiresAt", "refreshTokenExpiresAt"] {
            let value = integration.get(member).unwrap();
            assert!(value.is_null() || is_time(value), "{platform}: {member}: {value}");
        }
        let status = &integration["tokenStatus"];
        assert_eq!(
            (&status["valid"], &status["reconnectRequired"], &status["reason"]),
            (&json!(true), &json!(false), &Value::Null)
        );
        assert!(status["autoRefreshes"].is_boolean(), "{platform}");

        // A list shows the same, without the state of the tokens.
        let list = broker.get(&format!("{LIST}?platform={platform}")).await;
        let mut shorter = integration.clone();
        let of_tokens = ["accessTokenExpiresAt", "health", "refreshTokenExpiresAt", "tokenReads", "tokenStatus"];
        for member in of_tokens.into_iter().chain(["missingScopes", "scopes", "updatedAt"]) {
            assert!(shorter.as_object_mut().unwrap().remove(member).is_some(), "{platform}: {member}");
        }
        assert_eq!(list.json["integrations"], json!([shorter]), "{platform}");
        for token in broker.sandbox().issued(platform) {
            assert!(!detail.text.contains(&token.value) && !list.text.contains(&token.value), "{platform}: a token");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_cut_sorted_and_filtered() {
    let broker = TestBroker::start().await;
    let (one, two) = (profile(&broker, "One").await, profile(&broker, "Two").await);
    let mut ids = Vec::new();
    for (platform, query, account) in [
        ("twitter", format!("profileId={one}"), "ada"),
        ("twitter", format!("profileId={two}"), "ada"),
        ("twitter", String::new(), "ada"),
        ("youtube", format!("profileId={one}"), "ada"),
        ("acme", String::new(), "ada"),
        ("tiktok", String::new(), "basil"),
    ] {
        ids.push(broker.connect_with(platform, &query, &Answer::allow().account(account)).await);
    }
    let pick = |picked: &[usize]| picked.iter().map(|at| ids[*at].clone()).collect::<Vec<_>>();
    for (query, total, picked) in [
        ("", 5, &[5, 3, 2, 1, 0][..]),
        ("sort=desc", 5, &[5, 3, 2, 1, 0]),
        ("sort=asc", 5, &[0, 1, 2, 3, 5]),
        ("include=custom", 6, &[5, 4, 3, 2, 1, 0]),
        ("platform=acme", 1, &[4]),
        ("platform=acme&include=custom", 1, &[4]),
        ("platform=twitter", 3, &[2, 1, 0]),
        ("platform=facebook", 0, &[]),
        ("limit=2", 5, &[5, 3]),
        ("limit=2&offset=2", 5, &[2, 1]),
        ("limit=2&offset=4", 5, &[0]),
        ("offset=5", 5, &[]),
        ("offset=9007199254740991&limit=100", 5, &[]),
        ("limit=2&offset=1&sort=asc&include=custom", 6, &[1, 2]),
        ("profileId=null", 2, &[5, 2]),
        ("profileId=null&include=custom", 3, &[5, 4, 2]),
        (&format!("profileId={one}"), 2, &[3, 0]),
        (&format!("profileId={one}&platform=twitter"), 1, &[0]),
        ("profileId=unknown", 0, &[]),
        ("profileId=", 0, &[]),
        ("unknown=parameter", 5, &[5, 3, 2, 1, 0]),
    ] {
        assert_eq!(listed(&broker, query).await, (pick(picked), total), "{query}");
    }
    assert_eq!(broker.get(&format!("/v1/profiles/{one}")).await.json["profile"]["integrationCount"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_found_by_what_people_call_them() {
    let broker = TestBroker::start().await;
    let mut ids = Vec::new();
    // "Ada Marlow" @ada_marlow 2244994945, "Basil <b>Quince</b> & Söhne 🦊" @basilquince 1465329001122334455
    for account in ["ada", "basil"] {
        ids.push(broker.connect_with("twitter", "", &Answer::allow().account(account)).await);
    }
    let whole = ids[0].clone();
    let (half, upper) = (&whole[..20], whole.to_uppercase());
    for (q, found) in [
        ("marlow", &[0][..]),
        ("MARLOW", &[0]),
        ("a M", &[0]),
        ("@ada_marlow", &[0]),
        ("_", &[0]),
        ("2244994945", &[0]),
        ("24499", &[0]),
        ("söhne", &[1]),
        ("SÖHNE", &[1]),
        ("<B>quince</b>", &[1]),
        ("&", &[1]),
        ("🦊", &[1]),
        ("a", &[1, 0]),
        ("@", &[1, 0]),
        ("", &[1, 0]),
        ("%", &[]),
        ("a%w", &[]),
        ("ada.marlow", &[]),
        ("ada?marlow", &[]),
        ("*", &[]),
        ("'", &[]),
        ("\\", &[]),
        ("\"", &[]),
        ("' OR 1=1 --", &[]),
        ("\0", &[]),
        // No match spans two texts.
        ("marlow@ada", &[]),
        ("twitter", &[]),
        (&whole, &[0]),
        (half, &[]),
        (&upper, &[]),
    ] {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", q).finish();
        let expected: Vec<String> = found.iter().map(|at| ids[*at].clone()).collect();
        assert_eq!(listed(&broker, &query).await, (expected, found.len() as u64), "{q:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integration_moves_between_profiles() {
    let broker = TestBroker::start().await;
    let (one, two) = (profile(&broker, "One").await, profile(&broker, "Two").await);
    let id = broker.connect("twitter", &format!("profileId={one}")).await;
    let path = format!("{LIST}/{id}");
    let before = broker.get(&path).await.json["integration"].clone();
    for (profile, updated) in [
        (json!(two), "08:33:37.000Z"),
        (Value::Null, "08:33:37.555Z"),
        (Value::Null, "08:33:38.110Z"),
        (json!(one), "08:33:38.665Z"),
    ] {
        broker.clock.advance(Duration::from_millis(555));
        let moved = broker.call("PATCH", &path, Some(json!({"profileId": profile}))).await;
        assert_eq!((moved.status, &moved.json["success"]), (200, &json!(true)), "{}", moved.text);
        assert_eq!(moved.json["integration"]["profileId"], profile);
        let after = broker.get(&path).await.json["integration"].clone();
        assert_eq!(after["profileId"], profile);
        assert!(after["updatedAt"].as_str().unwrap().ends_with(updated), "{after}");
        for member in ["id", "createdAt", "accessTokenExpiresAt", "scopes", "username"] {
            assert_eq!(after[member], before[member], "{member}");
        }
    }
}

/// Names, statuses and total in the list of a profile, and in the list of all.
async fn shown(broker: &TestBroker, profile: &str) -> [Value; 2] {
    let mut lists = Vec::new();
    for query in [format!("profileId={profile}"), String::new()] {
        let list = broker.get(&format!("{LIST}?{query}")).await.json;
        let items = list["integrations"].as_array().unwrap().iter();
        let items: Vec<_> = items.map(|item| (&item["displayName"], &item["authStatus"])).collect();
        lists.push(json!({"total": list["total"], "items": items}));
    }
    lists.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_remembered_only_until_something_changes() {
    // Without the scope for refresh tokens.
    let scopes = "tweet.read,users.read";
    let broker = TestBroker::builder().setting("POSTPEER_PLATFORMS__TWITTER__SCOPES", scopes).start().await;
    let profile = profile(&broker, "One").await;
    let empty = json!({"total": 0, "items": []});
    let one = |name: &str, status: &str| json!({"total": 1, "items": [[name, status]]});
    // Asked often enough that every worker remembers it.
    let is_shown = async |[of_profile, of_all]: [Value; 2]| {
        for _ in 0..16 {
            assert_eq!(shown(&broker, &profile).await, [of_profile.clone(), of_all.clone()]);
        }
    };
    is_shown([empty.clone(), empty.clone()]).await;
    let id = broker.connect_with("twitter", "", &Answer::allow().account("ada")).await;
    let name = broker.detail(&id).await["displayName"].as_str().unwrap().to_owned();
    is_shown([empty.clone(), one(&name, "active")]).await;
    let moved = broker.call("PATCH", &format!("{LIST}/{id}"), Some(json!({"profileId": profile}))).await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    is_shown([one(&name, "active"), one(&name, "active")]).await;
    // Another process, whose commits are seen a moment later.
    broker.sql().execute("UPDATE integrations SET display_name = 'Other'", []).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    is_shown([one("Other", "active"), one("Other", "active")]).await;
    assert_eq!(broker.detail(&id).await["displayName"], "Other");
    // Nothing changes but the time, and a clock may be put right.
    let before = broker.clock.now();
    broker.clock.advance(Duration::from_hours(2));
    is_shown([one("Other", "reconnect_required"), one("Other", "reconnect_required")]).await;
    broker.clock.set(before);
    is_shown([one("Other", "active"), one("Other", "active")]).await;
    let gone = broker.call("DELETE", &format!("{LIST}/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    is_shown([empty.clone(), empty.clone()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_says_how_it_went_at_the_platform() {
    let broker = TestBroker::start().await;
    let disconnect = async |id: &str| {
        let path = format!("{LIST}/{id}");
        let gone = broker.call("DELETE", &path, None).await;
        assert_eq!((gone.status, &gone.json["success"]), (200, &json!(true)), "{}", gone.text);
        for method in ["GET", "DELETE"] {
            assert_eq!(broker.call(method, &path, None).await.code(), "integration_not_found");
        }
        gone.json["message"].as_str().unwrap().to_owned()
    };
    // A platform that fails does not prevent a disconnect.
    for fault in [Fault::Drop, Fault::RateLimited, Fault::ServerError] {
        let id = broker.connect("youtube", "").await;
        broker.sandbox().fail_next("youtube", Step::Revoke, fault, 9).unwrap();
        let told = disconnect(&id).await;
        assert!(told.contains("YouTube did not confirm that it revoked them"), "{fault:?}: {told}");
        broker.sandbox().clear();
    }
    // Of two integrations on one consent, the first disconnect leaves the consent to the other.
    let one = profile(&broker, "One").await;
    let first = broker.connect("twitter", "").await;
    let second = broker.connect("twitter", &format!("profileId={one}")).await;
    assert_eq!(
        disconnect(&first).await,
        "Disconnected. The consent at X (Twitter) was left alone, because other connected accounts live on it."
    );
    assert_eq!(disconnect(&second).await, "Disconnected. X (Twitter) revoked the tokens, and they are erased here.");
    assert_eq!(listed(&broker, "include=custom").await, (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_that_cannot_erase_the_account_says_what_happened_and_hands_out_no_revoked_token() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let path = format!("{LIST}/{id}");
    let stay = "CREATE TRIGGER stay BEFORE DELETE ON integrations BEGIN SELECT RAISE(FAIL, 'no'); END";
    broker.sql().execute_batch(stay).unwrap();
    let failed = broker.call("DELETE", &path, None).await;
    assert_eq!((failed.status, failed.code()), (500, "internal_error"), "{}", failed.text);
    let told = failed.json["error"].as_str().unwrap();
    assert!(told.contains("was asked to end the account's consent") && !told.contains("nothing"), "{told}");
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Revoke).len(), 1);
    assert_eq!(broker.token(&id, "").await.code(), "reconnect_required");
    let account = broker.detail(&id).await;
    assert_eq!(
        (&account["authStatus"], &account["authFailureReason"]),
        (&json!("reconnect_required"), &json!("access_revoked"))
    );

    // Its owner brings it back, with this id.
    let again = broker.connect("twitter", &format!("reconnect={id}")).await;
    assert_eq!((&again, broker.token(&id, "").await.status), (&id, 200));
    assert_eq!(broker.call("DELETE", &path, None).await.status, 500);
    broker.sql().execute_batch("DROP TRIGGER stay").unwrap();
    assert_eq!(broker.call("DELETE", &path, None).await.status, 200);
    assert_eq!(broker.token(&id, "").await.code(), "integration_not_found");
}

/// Connecting after a disconnect makes a new integration, with nothing of the old one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_disconnected_connects_anew() {
    let broker = TestBroker::start().await;
    let first = broker.connect("twitter", "").await;
    broker.call("DELETE", &format!("{LIST}/{first}"), None).await;
    let second = broker.connect("twitter", "").await;
    assert_ne!(first, second);
    assert_eq!(listed(&broker, "").await, (vec![second], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn search_indices_are_merged_beside_the_work_and_searches_find_the_same() {
    let broker = TestBroker::start().await;
    broker.connect("twitter", "").await;
    let sql = broker.sql();
    for number in 0..600 {
        let digest = hex::encode(Digest256::of(format!("{number}").as_bytes()).as_bytes());
        let reversed: String = digest.chars().rev().collect();
        sql.execute_batch(&format!(
            "CREATE TEMP TABLE copied AS SELECT * FROM integrations WHERE n = 1;
             UPDATE copied SET n = NULL, id = 'int_{}', platform_user_id = '{number}',
                search = 'customer {number} {digest} {reversed}';
             INSERT INTO integrations SELECT * FROM copied;
             DROP TABLE copied;",
            &digest[..32]
        ))
        .unwrap();
    }
    let segments = || -> u32 {
        let count = "SELECT count(DISTINCT segid) FROM integrations_search_idx";
        sql.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let search = async || listed(&broker, "q=customer%2029").await;
    let (before, found) = (segments(), search().await);
    assert_eq!(found.1, 11, "29 and 290 to 299");
    let merge =
        async |stop: &CancellationToken| broker.broker().merge_search_indices(Duration::ZERO, stop).await.unwrap();
    let stopped = CancellationToken::new();
    stopped.cancel();
    assert_eq!(merge(&stopped).await, 1, "a stop waits for no more");
    let go_on = CancellationToken::new();
    assert!(merge(&go_on).await > 0);
    let after = segments();
    assert!(after <= 2, "{before} became {after}");
    assert_eq!(merge(&go_on).await, 0, "there is nothing left to do");
    assert_eq!(search().await, found);
}
