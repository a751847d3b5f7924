//! Profiles, apps, platforms and integrations over HTTP.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::fixture::{Fixture, USUAL};
use crate::domain::access_key::Scope;
use crate::http::openapi;
use crate::platforms::{CONTRACT_NAMES, built_in_names};

#[actix_web::test]
async fn lists_show_the_ten_contract_platforms_unless_asked() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    let names = async |path: &str| -> Vec<String> {
        let answer = fixture.get(key, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let list = answer.json();
        list["platforms"].as_array().unwrap().iter().map(|p| format!("{} {}", p["name"], p["status"])).collect()
    };
    let usual = names("/v1/platforms").await;
    assert!(
        usual.contains(&r#""twitter" "prod""#.to_owned()) && usual.contains(&r#""tiktok" "dev""#.to_owned()),
        "{usual:?}"
    );
    assert_eq!(names("/v1/platforms?platform=acme").await, [r#""acme" "prod""#]);
    let name = |listed: &String| listed.split('"').nth(1).unwrap().to_owned();
    assert_eq!(usual.iter().map(name).collect::<Vec<_>>(), CONTRACT_NAMES);
    let mut every: Vec<String> = built_in_names().into_iter().map(Into::into).chain(["acme".to_owned()]).collect();
    every.sort();
    assert_eq!(names("/v1/platforms?include=custom").await.iter().map(name).collect::<Vec<_>>(), every);
    for bad in ["platform=myspace", "platform=", "include=all", "platform=acme&platform=acme"] {
        for path in ["/v1/platforms", "/v1/connect/integrations"] {
            assert_eq!(
                fixture.get(key, &format!("{path}?{bad}")).await.status,
                StatusCode::BAD_REQUEST,
                "{path}?{bad}"
            );
        }
    }
}

/// The limits in the OpenAPI document are the ones that are enforced.
#[actix_web::test]
async fn numbers_are_limited_as_documented() {
    let fixture = Fixture::new();
    let key = &fixture.key(Scope::ALL).await;
    let document = openapi::document().unwrap();
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            let (Some(low), Some(high)) =
                (parameter["schema"]["minimum"].as_i64(), parameter["schema"]["maximum"].as_i64())
            else {
                continue;
            };
            checked += 1;
            let name = parameter["name"].as_str().unwrap();
            // A value within the limits leads to a look-up, which finds nothing.
            let fine = if path.contains("{id}") { 404 } else { 200 };
            let path = path.replace("{id}", "int_x");
            for (value, status) in [(low - 1, 400), (low, fine), (high, fine), (high + 1, 400)] {
                let answer = fixture.get(key, &format!("{path}?{name}={value}")).await;
                assert_eq!(answer.status.as_u16(), status, "{path}?{name}={value}: {}", answer.text);
            }
        }
    }
    assert_eq!(checked, 8);
}

#[actix_web::test]
async fn invalid_changes_of_an_app_are_refused() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    let app = json!({"platform": "twitter", "name": "Ours", "clientId": "cid-1", "clientSecret": "cs-marker"});
    let made = fixture.write(Method::POST, key, "/v1/apps", app.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert!(!made.text.contains("cs-marker"));
    let path = format!("/v1/apps/{}", made.json()["app"]["id"].as_str().unwrap());
    let sentence = async |change: Value| {
        let answer = fixture.write(Method::PATCH, key, &path, change).await;
        format!("{} {}", answer.status.as_u16(), answer.json()["error"].as_str().unwrap_or_default())
    };
    insta::assert_snapshot!(sentence(json!({"clientId": "x"})).await, @"400 clientId cannot be changed, because the tokens of connected accounts are bound to it: register another app and connect the accounts under that one.");
    insta::assert_snapshot!(sentence(json!({"platform": "tiktok"})).await, @"400 platform cannot be changed, because the tokens of connected accounts are bound to it: register another app and connect the accounts under that one.");
    insta::assert_snapshot!(sentence(json!({"imageUrl": "javascript:alert(1)"})).await, @"400 imageUrl must be an http or https URL of at most 2048 bytes.");
    insta::assert_snapshot!(sentence(json!({"clientSecret": ""})).await, @"400 clientSecret must be 1 to 2048 characters long.");
    insta::assert_snapshot!(sentence(json!({"colour": "red"})).await, @"400 The body has a member that is not known here: it takes name, imageUrl, clientSecret.");
    insta::assert_snapshot!(sentence(json!({})).await, @"200 ");
    insta::assert_snapshot!(sentence(json!({"name": "Theirs", "imageUrl": null, "clientSecret": "cs-marker-2"})).await, @"200 ");
    let again = fixture.write(Method::POST, key, "/v1/apps", app).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "duplicate_app"));
}

/// Clients that were made for the ten platforms refuse a whole page for one app of another.
#[actix_web::test]
async fn apps_of_other_platforms_are_listed_when_asked_for() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    for platform in ["twitter", "reddit", "acme"] {
        let app = json!({"platform": platform, "name": "Ours", "clientId": platform, "clientSecret": "cs-marker"});
        assert_eq!(fixture.write(Method::POST, key, "/v1/apps", app).await.status, StatusCode::CREATED, "{platform}");
    }
    for (query, platforms) in [
        ("", "twitter"),
        ("?name=ours", "twitter"),
        ("?include=custom", "acme reddit twitter"),
        ("?include=custom&name=ours&limit=2", "acme reddit"),
        ("?platform=acme", "acme"),
        ("?platform=reddit&name=ours", "reddit"),
    ] {
        let listed = fixture.get(key, &format!("/v1/apps{query}")).await.json();
        let names: Vec<_> =
            listed["apps"].as_array().unwrap().iter().map(|app| app["platform"].as_str().unwrap()).collect();
        assert_eq!(names.join(" "), platforms, "{query}");
        let total = if query.contains("limit") { 3 } else { names.len() };
        assert_eq!(listed["total"], total, "{query}: {listed}");
    }
    for bad in ["include=all", "platform=myspace"] {
        assert_eq!(fixture.get(key, &format!("/v1/apps?{bad}")).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[actix_web::test]
async fn deleting_a_profile_says_what_becomes_of_its_integrations() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    let profile = TestRequest::post()
        .uri("/v1/profiles")
        .insert_header(("x-access-key", key.as_str()))
        .insert_header(("content-type", "Application/JSON; charset=utf-8"))
        .set_payload("{\"name\":\"a\",\"unknown\":1}");
    let made = fixture.send(profile.to_request()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let path = format!("/v1/profiles/{}", made.json()["profile"]["id"].as_str().unwrap());
    let deleted = fixture.write(Method::DELETE, key, &path, json!({})).await;
    insta::assert_snapshot!(deleted.text, @r#"{"success":true,"message":"The profile is deleted. Its integrations stay connected."}"#);
}
