//! Rules for every page of the console: headers, weight, no script, and text from outside stays text.

use postpeer::http::routes::{Access, CONSOLE_ROUTES};
use serde_json::json;

use super::{Operator, start};
use crate::support::Reply;

/// Bytes of a page, and of each row beyond.
const PAGE: usize = 40_000;
const ROW: usize = 300;

const PAYLOAD: &str = "<script>window.__x=1</script>\"'><img src=x onerror=alert(1)>";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers_of_a_page_that_loads_nothing() {
    let broker = start().await;
    let id = broker.connect("twitter", "").await;
    let operator = Operator::of(&broker).await;
    let nobody = Operator::nobody(&broker);
    for route in CONSOLE_ROUTES {
        let path = route.paths[0].replace("{id}", &id);
        let form = (route.method == "POST").then_some("session=wrong");
        for who in [&operator, &nobody] {
            let reply = Reply::of(who.request(route.method.as_str(), &path, form).send().await.unwrap()).await;
            let line = format!("{} {path}: {}", route.method, reply.status);
            let opener = if reply.location().is_empty() { "same-origin" } else { "" };
            for (header, expected) in [
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
                ("cross-origin-opener-policy", opener),
            ] {
                assert_eq!(reply.header(header), expected, "{line}");
            }
            assert!(["same-origin", "no-referrer"].contains(&reply.header("referrer-policy")), "{line}");
            let policy = reply.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{line}");
            if reply.status == 200 {
                assert!(policy.ends_with("form-action 'self'"), "{line} {policy}");
                assert_eq!(reply.header("referrer-policy"), "same-origin", "{line}");
            }
        }
        // HEAD is answered like GET; another method is not.
        if route.method == "GET" {
            let head = operator.request("HEAD", &path, None).send().await.unwrap();
            let expected =
                if route.access == Access::Public || operator.get(&path).await.status == 200 { 200 } else { 404 };
            assert_eq!(head.status(), expected, "HEAD {path}");
            assert_eq!(operator.request("DELETE", &path, None).send().await.unwrap().status(), 405, "{path}");
        }
    }
}

/// The address of a form stays in the address bar when its answer is a page. Loading it again must not end in JSON.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_page_leads_to_one_or_is_answered_with_one() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    for (path, page) in [
        ("/console/accounts/int_0/reconnect", "/console/accounts/int_0"),
        ("/console/accounts/int_0/move?lang=de", "/console/accounts/int_0?lang=de"),
        ("/console/keys/key_0/revoke", "/console/keys"),
        ("/console/profiles/prof_0", "/console/profiles"),
        ("/console/sign-out", "/console"),
    ] {
        let reply = operator.get(path).await;
        assert_eq!((reply.status, reply.location().as_str()), (303, page), "{path}");
    }
    for (method, path, code) in [
        ("GET", "/console/nope", "not_found"),
        ("POST", "/console/nope/", "not_found"),
        ("POST", "/console/accounts", "method_not_allowed"),
        ("GET", &format!("/console/accounts?q={}", "a".repeat(8192)), "uri_too_long"),
    ] {
        let reply = Reply::of(operator.request(method, path, None).send().await.unwrap()).await;
        assert!(reply.text.contains(&format!("<code>{code}</code>")), "{method} {path}: {}", reply.text);
        assert!(reply.text.contains("<header class=\"bar\">"), "{method} {path}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_from_outside_stays_text_and_no_page_is_heavy() {
    let broker = start().await;
    let profile = broker.call("POST", "/v1/profiles", Some(json!({"name": PAYLOAD, "description": PAYLOAD}))).await;
    let profile = profile.json["profile"]["id"].as_str().unwrap().to_owned();
    let app = json!({"platform": "twitter", "name": PAYLOAD, "clientId": PAYLOAD, "clientSecret": "s"});
    assert_eq!(broker.call("POST", "/v1/apps", Some(app)).await.status, 201);
    broker.broker().create_access_key("default", PAYLOAD, postpeer::domain::access_key::Scope::ALL).await.unwrap();
    let id = broker.connect("twitter", &format!("profileId={profile}")).await;
    broker
        .sql()
        .execute("UPDATE integrations SET display_name = ?1, username = ?1, platform_user_id = ?1", [PAYLOAD])
        .unwrap();
    let operator = Operator::of(&broker).await;
    let escaped = PAYLOAD.replace('<', "&#60;").replace('>', "&#62;").replace('"', "&#34;").replace('\'', "&#39;");
    let mut seen = 0;
    for route in CONSOLE_ROUTES.iter().filter(|route| route.method == "GET") {
        let path = route.paths[0].replace("{id}", &id);
        for path in [path.clone(), format!("{path}?lang=de&q=x&name=%3Cscript%3E&done=%3Cscript%3E&platform=%22%3E")] {
            let page = operator.page(&path).await;
            assert!(
                !page.contains("<script") && !page.contains("<img") && !page.contains("onerror=alert(1)>"),
                "{path}"
            );
            let rows = page.matches("<li").count();
            assert!(page.len() <= PAGE + ROW * rows, "{path}: {} bytes", page.len());
            seen += page.matches(&escaped).count();
        }
    }
    assert!(seen > 10, "{seen}");
}
