//! Credentials of a caller's own app, which hold every character that some encoding on the way must escape.

use postpeer::sandbox::{self, Answer};
use serde_json::json;

use super::BACK;
use crate::support::{TestBroker, parameter};

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_app_is_used_from_start_to_end() {
    let broker = TestBroker::start().await;
    for platform in sandbox::platforms() {
        let (client_id, client_secret) = sandbox::own_client(platform).unwrap();
        let app = json!({"platform": platform, "name": "Own", "clientId": client_id, "clientSecret": client_secret});
        let made = broker.call("POST", "/v1/apps", Some(app)).await;
        assert_eq!(made.status, 201, "{platform}: {}", made.text);
        let app_id = made.json["app"]["id"].as_str().unwrap().to_owned();

        let url = broker.begin(platform, &format!("{BACK}&appId={app_id}")).await;
        assert!(url.contains(&client_id), "{platform}: {url}");
        let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
        let location = broker.land(platform, location).await;
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{platform}: {location}"));
        let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await.json;
        assert_eq!(detail["integration"]["appId"], app_id.as_str(), "{platform}");
        assert_eq!(detail["integration"]["byok"], true, "{platform}");

        let taken = broker.call("DELETE", &format!("/v1/apps/{app_id}"), None).await;
        assert_eq!((taken.status, taken.code()), (409, "app_in_use"), "{platform}");
        let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        let message = gone.json["message"].as_str().unwrap().to_owned();
        assert!(!message.contains("did not confirm"), "{platform}: {message}");
        assert_eq!(broker.call("DELETE", &format!("/v1/apps/{app_id}"), None).await.status, 200, "{platform}");
    }
    let requests = broker.sandbox().requests();
    assert_eq!(requests.iter().find(|request| request.why.is_some()).map(|request| &request.why), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_app_ends_the_connection_before_any_call() {
    let broker = TestBroker::start().await;
    let (client_id, client_secret) = sandbox::own_client("twitter").unwrap();
    let app = json!({"platform": "twitter", "name": "Own", "clientId": client_id, "clientSecret": client_secret});
    let made = broker.call("POST", "/v1/apps", Some(app)).await;
    let app_id = made.json["app"]["id"].as_str().unwrap().to_owned();
    let url = broker.begin("twitter", &format!("{BACK}&appId={app_id}")).await;
    let callback = broker.consent(&url, &Answer::allow());
    broker.sandbox().clear();
    assert_eq!(broker.call("DELETE", &format!("/v1/apps/{app_id}"), None).await.status, 200);
    let location = broker.browse(&callback).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("app_missing"));
    assert!(broker.sandbox().requests().is_empty());
}
