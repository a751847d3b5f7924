//! Profiles, apps, platforms and integrations over HTTP.

use actix_web::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::domain::access_key::Scope;

use super::fixture::{Fixture, USUAL};
use crate::http::openapi;
use crate::platforms::{CONTRACT_NAMES, built_in_names};

#[actix_web::test]
async fn a_profile_is_created_changed_and_deleted() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    let made = fixture.write(Method::POST, key, "/v1/profiles/", json!({"name": "Acme", "description": "x"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let profile = &made.json()["profile"];
    let path = format!("/v1/profiles/{}", profile["id"].as_str().unwrap());
    assert_eq!(fixture.get(key, &path).await.json()["profile"], *profile);
    for list in
        ["/v1/profiles", "/v1/profiles/", "/v1/profiles?name=acm", "/v1/profiles?page=1&limit=100&unknown=1&unknown=2"]
    {
        let list = fixture.get(key, list).await.json();
        assert_eq!((list["total"].as_u64(), &list["profiles"][0]), (Some(1), profile));
    }
    let changed = fixture.write(Method::PATCH, key, &path, json!({"description": null})).await.json();
    assert_eq!((&changed["profile"]["name"], &changed["profile"]["description"]), (&json!("Acme"), &Value::Null));
    assert_eq!(fixture.write(Method::PATCH, key, &path, json!({})).await.status, StatusCode::OK);
    let deleted = fixture.write(Method::DELETE, key, &path, json!({})).await;
    insta::assert_snapshot!(deleted.text, @r#"{"success":true,"message":"The profile is deleted. Its integrations stay connected."}"#);
    assert_eq!(fixture.write(Method::DELETE, key, &path, json!({})).await.code(), "profile_not_found");
    assert_eq!(fixture.get(key, &path).await.status, StatusCode::NOT_FOUND);
}

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

#[actix_web::test]
async fn a_missing_resource_is_named_in_the_error() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    for (method, path, code) in [
        (Method::GET, "/v1/apps/app_x", "app_not_found"),
        (Method::DELETE, "/v1/apps/app_x", "app_not_found"),
        (Method::GET, "/v1/profiles/..%2f", "profile_not_found"),
        (Method::GET, "/v1/connect/integrations/int_x", "integration_not_found"),
        (Method::DELETE, "/v1/connect/integrations/int_x", "integration_not_found"),
        (Method::GET, "/v1/connect/integrations/%ff%00", "integration_not_found"),
        (Method::GET, "/v1/connect/twitter?profileId=prof_x", "profile_not_found"),
        (Method::GET, "/v1/connect/twitter?appId=app_x", "app_not_found"),
        (Method::GET, "/v1/connect/twitter/callback/x", "not_found"),
        (Method::GET, "/v1/apps//", "not_found"),
        (Method::GET, "/V1/apps", "not_found"),
    ] {
        let answer = fixture.write(method.clone(), key, path, json!({})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, code), "{method} {path}");
    }
    let moved = fixture.write(Method::PATCH, key, "/v1/connect/integrations/int_x", json!({"profileId": null})).await;
    assert_eq!(moved.code(), "integration_not_found");
    for bad in [json!({}), json!({"profileId": 1}), json!({"profileId": null, "x": 1})] {
        let answer = fixture.write(Method::PATCH, key, "/v1/connect/integrations/int_x", bad.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

/// The limits in the OpenAPI document are the ones that are enforced.
#[actix_web::test]
async fn numbers_are_limited_as_documented() {
    let fixture = Fixture::new();
    let key = &fixture.key(&Scope::ALL).await;
    let document = serde_json::to_value(openapi::document()).unwrap();
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
    assert_eq!(checked, 7);
}

#[actix_web::test]
async fn lists_refuse_invalid_parameters() {
    let fixture = Fixture::new();
    let key = &fixture.key(USUAL).await;
    for (query, code) in [
        ("limit=1e3", "invalid_parameter"),
        ("limit=9999999999999999999", "invalid_parameter"),
        ("offset=-1", "invalid_parameter"),
        ("sort=evil", "invalid_parameter"),
        ("q=%ff", "invalid_parameter"),
        ("q=%zz", "invalid_parameter"),
        ("q=a&q=b", "repeated_parameter"),
    ] {
        let answer = fixture.get(key, &format!("/v1/connect/integrations?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{query}");
    }
    for query in ["q=%25_%5C%27", "q=", "q=%00", "sort=asc", "profileId=null", "profileId=x", "include=custom"] {
        let answer = fixture.get(key, &format!("/v1/connect/integrations?{query}")).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.text, @r#"{"success":true,"total":0,"integrations":[]}"#);
        }
    }
}
