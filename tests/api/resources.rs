//! Profiles and apps from creation to deletion, as in the API's contract.

use std::time::Duration;

use postpeer::sandbox::{self, Answer};
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker, parameter};

/// `2026-05-03T08:33:36.445Z`
pub(crate) fn is_time(value: &Value) -> bool {
    let shape: String =
        value.as_str().unwrap_or("").chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

/// The named member of every item.
fn each<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap()).collect()
}

fn id(reply: &Reply, kind: &str) -> String {
    reply.json[kind]["id"].as_str().unwrap_or_else(|| panic!("{}", reply.text)).to_owned()
}

async fn profile(broker: &TestBroker, body: Value) -> String {
    let made = broker.call("POST", "/v1/profiles", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    id(&made, "profile")
}

async fn app(broker: &TestBroker, platform: &str, name: &str, client: &str, secret: &str) -> String {
    let body = json!({"platform": platform, "name": name, "clientId": client, "clientSecret": secret});
    let made = broker.call("POST", "/v1/apps", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    id(&made, "app")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_from_beginning_to_end() {
    let broker = TestBroker::start().await;
    let made = broker.call("POST", "/v1/profiles/", Some(json!({"name": " Söhne & Co ", "unknown": 1}))).await;
    assert_eq!(made.status, 201, "members that the description does not forbid are ignored: {}", made.text);
    let profile = &made.json["profile"];
    let id = profile["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[..5]), (37, "prof_"));
    assert_eq!(
        *profile,
        json!({
            "id": id, "name": " Söhne & Co ", "description": null, "integrationCount": 0,
            "createdAt": "2026-05-03T08:33:36.445Z", "updatedAt": "2026-05-03T08:33:36.445Z",
        })
    );
    assert_eq!(made.json["success"], true);

    let path = format!("/v1/profiles/{id}");
    let change = async |body: Value| {
        broker.clock.advance(Duration::from_millis(555));
        let changed = broker.call("PATCH", &path, Some(body)).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let read = broker.get(&path).await;
        assert_eq!(changed.json, read.json);
        read.json["profile"].clone()
    };
    let changed = change(json!({"description": "a\nb"})).await;
    assert_eq!((&changed["name"], &changed["description"]), (&profile["name"], &json!("a\nb")));
    assert_eq!(
        (&changed["createdAt"], &changed["updatedAt"]),
        (&profile["createdAt"], &json!("2026-05-03T08:33:37.000Z"))
    );
    let changed = change(json!({"name": "Other"})).await;
    assert_eq!((&changed["name"], &changed["description"]), (&json!("Other"), &json!("a\nb")));
    let same = change(json!({})).await;
    assert_eq!(same, changed, "an empty object changes nothing");
    let changed = change(json!({"description": null})).await;
    assert_eq!((&changed["name"], &changed["description"]), (&json!("Other"), &Value::Null));
    let made = broker.call("POST", "/v1/profiles", Some(json!({"name": "n", "description": null}))).await;
    assert_eq!(made.json["profile"]["description"], Value::Null);

    let gone = broker.call("DELETE", &path, None).await;
    assert_eq!((gone.status, &gone.json["success"]), (200, &json!(true)));
    assert!(gone.json["message"].is_string());
    for (method, body) in [("GET", None), ("DELETE", None), ("PATCH", Some(json!({"name": "Back"})))] {
        let reply = broker.call(method, &path, body).await;
        assert_eq!((reply.status, reply.code()), (404, "profile_not_found"), "{method}");
    }
    assert_eq!(broker.get("/v1/profiles").await.json["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_are_searched_by_name() {
    let broker = TestBroker::start().await;
    let names = ["Acme", "100% Söhne", "under_score", "back\\slash", "O'Neill \"x\"", "ÄRGER", "été", "🎉 party"];
    for (at, name) in names.iter().enumerate() {
        // The clock stands still, so the order is that of creation.
        profile(&broker, json!({"name": name})).await;
        app(&broker, if at % 2 == 0 { "twitter" } else { "tiktok" }, name, &format!("cid-{at}"), "cs").await;
    }
    let newest_first: Vec<&str> = names.iter().rev().copied().collect();
    for (path, kind) in [("/v1/profiles", "profiles"), ("/v1/apps/", "apps")] {
        let all = broker.get(path).await.json;
        assert_eq!(
            (&all["success"], &all["total"], &all["page"], &all["limit"]),
            (&json!(true), &json!(8), &json!(1), &json!(50))
        );
        assert_eq!(each(&all[kind], "name"), newest_first);
        // A trailing slash makes no difference.
        let other = if path.ends_with('/') { path.trim_end_matches('/').to_owned() } else { format!("{path}/") };
        assert_eq!(broker.get(&other).await.json, all);

        let mut pages = Vec::new();
        for page in 1..=4 {
            let part = broker.get(&format!("{path}?page={page}&limit=3")).await.json;
            assert_eq!((&part["total"], &part["page"], &part["limit"]), (&json!(8), &json!(page), &json!(3)));
            pages.extend(each(&part[kind], "name").into_iter().map(str::to_owned));
        }
        assert_eq!(pages, newest_first);

        for (name, expected) in [
            ("acme", vec!["Acme"]),
            ("ACM", vec!["Acme"]),
            ("%25", vec!["100% Söhne"]),
            ("_", vec!["under_score"]),
            ("s%C3%96hne", vec!["100% Söhne"]),
            ("%C3%A4rg", vec!["ÄRGER"]),
            ("%C3%89T%C3%89", vec!["été"]),
            ("%5C", vec!["back\\slash"]),
            ("%27", vec!["O'Neill \"x\""]),
            ("%22", vec!["O'Neill \"x\""]),
            ("%F0%9F%8E%89", vec!["🎉 party"]),
            ("a+", vec![]),
            ("l+%22", vec!["O'Neill \"x\""]),
            ("*", vec![]),
            ("c%25e", vec![]),
            ("a_me", vec![]),
        ] {
            let found = broker.get(&format!("{path}?name={name}")).await.json;
            assert_eq!(each(&found[kind], "name"), expected, "{path}?name={name}");
            assert_eq!(found["total"], expected.len(), "{path}?name={name}");
        }
    }
    let tiktok = broker.get("/v1/apps?platform=tiktok&limit=2").await.json;
    assert_eq!((&tiktok["total"], each(&tiktok["apps"], "platform")), (&json!(4), vec!["tiktok", "tiktok"]));
    assert_eq!(broker.get("/v1/apps?platform=acme").await.json["total"], 0);
    app(&broker, "acme", "Acme", "cid", "cs").await;
    let listed = async |query: &str| broker.get(&format!("/v1/apps{query}")).await.json["total"].clone();
    let totals = [listed("").await, listed("?include=custom").await, listed("?platform=acme").await];
    assert_eq!(totals, [8, 9, 1], "the SDKs refuse a list with any other than the ten platforms");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_from_beginning_to_end() {
    let broker = TestBroker::start().await;
    let body = json!({
        "platform": "twitter", "name": "Ours", "clientId": "cid", "clientSecret": "secret-marker",
        "imageUrl": "https://cdn.example/a.png",
    });
    let made = broker.call("POST", "/v1/apps/", Some(body.clone())).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let app = &made.json["app"];
    let id = app["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[..4]), (36, "app_"));
    assert_eq!(
        *app,
        json!({
            "id": id, "platform": "twitter", "name": "Ours", "imageUrl": "https://cdn.example/a.png",
            "clientId": "cid", "integrationCount": 0,
            "createdAt": "2026-05-03T08:33:36.445Z", "updatedAt": "2026-05-03T08:33:36.445Z",
        })
    );
    let again = broker.call("POST", "/v1/apps", Some(body.clone())).await;
    assert_eq!((again.status, again.code()), (409, "duplicate_app"));
    // The same client id at another platform is a different app.
    let mut elsewhere = body.clone();
    elsewhere["platform"] = json!("tiktok");
    elsewhere["imageUrl"] = Value::Null;
    let elsewhere = broker.call("POST", "/v1/apps", Some(elsewhere)).await;
    assert_eq!((elsewhere.status, &elsewhere.json["app"]["imageUrl"]), (201, &Value::Null));

    let path = format!("/v1/apps/{id}");
    let change = async |body: Value| {
        broker.clock.advance(Duration::from_millis(555));
        let changed = broker.call("PATCH", &path, Some(body)).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let read = broker.get(&path).await;
        assert_eq!(changed.json, read.json);
        assert!(!changed.text.contains("secret"), "{}", changed.text);
        read.json["app"].clone()
    };
    let changed = change(json!({"name": "Theirs", "clientSecret": "secret-marker-2"})).await;
    assert_eq!((&changed["name"], &changed["imageUrl"]), (&json!("Theirs"), &app["imageUrl"]));
    assert_eq!(changed["updatedAt"], "2026-05-03T08:33:37.000Z");
    assert_eq!(change(json!({})).await, changed, "an empty object changes nothing");
    assert_eq!(change(json!({"imageUrl": null})).await["imageUrl"], Value::Null);

    for path in ["/v1/apps", &path] {
        let told = broker.get(path).await.text;
        assert!(told.contains("cid") && !told.to_lowercase().contains("secret"), "{told}");
    }
    let gone = broker.call("DELETE", &path, None).await;
    assert_eq!((gone.status, &gone.json["success"]), (200, &json!(true)));
    for (method, body) in [("GET", None), ("DELETE", None), ("PATCH", Some(json!({"name": "Back"})))] {
        let reply = broker.call(method, &path, body).await;
        assert_eq!((reply.status, reply.code()), (404, "app_not_found"), "{method}");
    }
    let refused = broker.get(&format!("/v1/connect/twitter?appId={id}")).await;
    assert_eq!((refused.status, refused.code()), (404, "app_not_found"));
    // Its client id can be used again.
    let anew = broker.call("POST", "/v1/apps", Some(body)).await;
    assert_eq!(anew.status, 201, "{}", anew.text);
    assert_ne!(anew.json["app"]["id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_connect_under_an_app_of_ones_own() {
    let broker = TestBroker::start().await;
    for platform in ["twitter", "linkedin", "acme"] {
        let (client, secret) = sandbox::own_client(platform).unwrap();
        let app = app(&broker, platform, "Own", &client, &secret).await;
        let id = broker.connect(platform, &format!("appId={app}")).await;
        let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await.json;
        let integration = &detail["integration"];
        assert_eq!((&integration["byok"], &integration["appId"]), (&json!(true), &json!(app)), "{platform}");
        assert_eq!(integration["app"], json!({"id": app, "name": "Own", "imageUrl": null}), "{platform}");

        let path = format!("/v1/apps/{app}");
        broker.call("PATCH", &path, Some(json!({"name": "New", "imageUrl": "https://cdn.example/"}))).await;
        let listed = broker.get(&format!("/v1/connect/integrations?platform={platform}")).await.json;
        assert_eq!(
            listed["integrations"][0]["app"],
            json!({"id": app, "name": "New", "imageUrl": "https://cdn.example/"}),
            "{platform}"
        );
        assert_eq!(broker.get(&path).await.json["app"]["integrationCount"], 1, "{platform}");

        let refused = broker.call("DELETE", &path, None).await;
        assert_eq!((refused.status, refused.code()), (409, "app_in_use"), "{platform}: {}", refused.text);
        assert!(refused.json["error"].as_str().unwrap().contains("1 connected integration."), "{}", refused.text);
        assert_eq!(broker.get(&path).await.status, 200, "{platform}");

        // After connecting again without the app, the account belongs to the operator's app, and the app can be
        // deleted.
        assert_eq!(broker.connect(platform, "").await, id, "{platform}");
        let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await.json;
        assert_eq!(
            (&detail["integration"]["byok"], &detail["integration"]["app"]),
            (&json!(false), &Value::Null),
            "{platform}"
        );
        assert_eq!(detail["integration"]["appId"], Value::Null, "{platform}");
        assert_eq!(broker.call("DELETE", &path, None).await.status, 200, "{platform}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_counts_from_the_next_exchange_on() {
    let broker = TestBroker::start().await;
    let (client, secret) = sandbox::own_client("twitter").unwrap();
    let app = app(&broker, "twitter", "Own", &client, "an old one").await;
    let begin = format!("appId={app}&redirectUri=https://app.example/back");
    let url = broker.begin("twitter", &begin).await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("credentials_rejected"), "{location}");
    assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);

    // Even for a connection in progress.
    let url = broker.begin("twitter", &begin).await;
    let callback = broker.consent(&url, &Answer::allow());
    let rotated = broker.call("PATCH", &format!("/v1/apps/{app}"), Some(json!({"clientSecret": secret}))).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    let location = broker.browse(&callback).await.location();
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    // The revocation uses it as well.
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert!(gone.json["message"].as_str().unwrap().contains("revoked the tokens"), "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn spaces_around_credentials_do_not_count() {
    let broker = TestBroker::start().await;
    let (client, secret) = sandbox::own_client("twitter").unwrap();
    let app = app(&broker, "twitter", "Own", &format!(" {client}  "), &format!(" {secret} ")).await;
    assert_eq!(broker.get(&format!("/v1/apps/{app}")).await.json["app"]["clientId"], *client);
    let again = json!({"platform": "twitter", "name": "Again", "clientId": client, "clientSecret": secret});
    let again = broker.call("POST", "/v1/apps", Some(again)).await;
    assert_eq!((again.status, again.code()), (409, "duplicate_app"), "{}", again.text);
    let connect = format!("appId={app}");
    broker.connect("twitter", &connect).await;
    let body = json!({"clientSecret": format!("  {secret} ")});
    let rotated = broker.call("PATCH", &format!("/v1/apps/{app}"), Some(body)).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    broker.connect("twitter", &connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_goes_takes_the_connections_with_it_that_were_begun() {
    let broker = TestBroker::start().await;
    let (client, secret) = sandbox::own_client("twitter").unwrap();
    let app = app(&broker, "twitter", "Own", &client, &secret).await;
    let url = broker.begin("twitter", &format!("appId={app}&redirectUri=https://app.example/back")).await;
    let callback = broker.consent(&url, &Answer::allow());
    assert_eq!(broker.call("DELETE", &format!("/v1/apps/{app}"), None).await.status, 200);
    let location = broker.browse(&callback).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("app_missing"), "{location}");
    assert!(broker.sandbox().requests_at("twitter", sandbox::Step::Token).is_empty());
    let said = broker.browse(&callback).await;
    assert_eq!(said.location(), location, "a reload gets the same");
    assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_profile_stays_on_its_integrations() {
    let broker = TestBroker::start().await;
    let profile = profile(&broker, json!({"name": "Short-lived"})).await;
    let id = broker.connect("youtube", &format!("profileId={profile}")).await;
    let waiting = broker.begin("twitter", &format!("profileId={profile}")).await;
    assert_eq!(broker.get(&format!("/v1/profiles/{profile}")).await.json["profile"]["integrationCount"], 1);
    assert_eq!(broker.call("DELETE", &format!("/v1/profiles/{profile}"), None).await.status, 200);

    let path = format!("/v1/connect/integrations/{id}");
    assert_eq!(broker.get(&path).await.json["integration"]["profileId"], profile.as_str());
    let listed = broker.get(&format!("/v1/connect/integrations?profileId={profile}")).await.json;
    assert_eq!((&listed["total"], &listed["integrations"][0]["id"]), (&json!(1), &json!(id)));
    // An expired profile takes no new connections. Those in progress finish.
    let refused = broker.get(&format!("/v1/connect/twitter?profileId={profile}")).await;
    assert_eq!((refused.status, refused.code()), (404, "profile_not_found"));
    let page = broker.browse(&broker.consent(&waiting, &Answer::allow())).await;
    assert!(page.text.contains("is connected") && page.text.contains("Short-lived"), "{}", page.text);
    assert_eq!(broker.get(&format!("/v1/connect/integrations?profileId={profile}")).await.json["total"], 2);
    // The account can leave the expired profile, but not return to it.
    let moved = broker.call("PATCH", &path, Some(json!({"profileId": null}))).await;
    assert_eq!((moved.status, &moved.json["integration"]["profileId"]), (200, &Value::Null));
    let refused = broker.call("PATCH", &path, Some(json!({"profileId": profile}))).await;
    assert_eq!((refused.status, refused.code()), (404, "profile_not_found"));
}
