//! Callbacks without a code, and the issuer in callbacks.

use postpeer::sandbox::{self, Answer, Step};

use super::BACK;
use crate::support::{TestBroker, parameter};

/// The error codes of RFC 6749, and those that each platform's documentation has.
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_distinguished_from_a_failure() {
    const DENIED: (&str, &str) = ("cancelled", "access_denied");
    const REFUSED: (&str, &str) = ("error", "authorization_refused");
    const DOWN: (&str, &str) = ("error", "platform_unavailable");
    let broker = TestBroker::start().await;
    for platform in sandbox::platforms() {
        let own = sandbox::example(platform).unwrap();
        let standard = [
            ("error=access_denied&error_description=x&error_type=x", DENIED),
            ("error=invalid_scope", REFUSED),
            ("error=login_required", REFUSED),
            ("error=server_error", DOWN),
            ("error=temporarily_unavailable", DOWN),
            ("error=unauthorized_client", REFUSED),
        ];
        let denials = own.denials.iter().map(|query| (*query, DENIED));
        let refusals = own.refusals.iter().map(|query| match *query {
            "error=admin_policy_enforced" => (*query, ("error", "blocked_by_administrator")),
            "error=org_internal" => (*query, ("error", "app_not_public")),
            _ => (*query, REFUSED),
        });
        for (query, told) in standard.into_iter().chain(denials).chain(refusals) {
            let url = broker.begin(platform, &format!("{BACK}&cancelRedirectUri=https://app.example/no")).await;
            let state = parameter(&url, "state").unwrap();
            let callback = format!("/v1/connect/{platform}/callback?{query}&state={state}");
            let location = broker.browse(&callback).await.location();
            let at = |name| parameter(&location, name).unwrap_or_default();
            assert_eq!((at("status").as_str(), at("error").as_str()), told, "{platform}: {query}");
            let path = if told == DENIED { "/no?" } else { "/back?" };
            assert!(location.starts_with(&format!("https://app.example{path}")), "{location}");
            assert_eq!(broker.browse(&callback).await.location(), location, "a reload gets the same");
        }
    }
    assert!(broker.sandbox().requests().is_empty(), "nothing is asked of a platform that refused");
}

/// Instagram refuses who is no tester of an app in development with the code of a denial.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentence_may_say_more_than_the_code_of_a_denial() {
    let broker = TestBroker::start().await;
    for (sentence, told) in [
        ("Insufficient+developer+role", "app_not_public"),
        ("Insufficient+developer+role%23_", "app_not_public"),
        ("The+user+denied+your+request", "access_denied"),
        ("%ff", "access_denied"),
        ("x&error_description=Insufficient+developer+role", "access_denied"),
    ] {
        let state = parameter(&broker.begin("instagram", BACK).await, "state").unwrap();
        let query = format!("error=access_denied&state={state}&error_description={sentence}");
        let location = broker.browse(&format!("/v1/connect/instagram/callback?{query}")).await.location();
        let status = if told == "access_denied" { "cancelled" } else { "error" };
        assert_eq!(parameter(&location, "status").as_deref(), Some(status), "{sentence}: {location}");
        assert_eq!(parameter(&location, "error").as_deref(), Some(told), "{sentence}: {location}");
        assert!(!location.contains("nsufficient"), "{location}");
    }
}

/// RFC 9207.
#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_is_compared_where_it_is_known() {
    let broker = TestBroker::start().await;
    for (platform, issuer, accepted) in [
        ("youtube", "https://accounts.google.com", true),
        ("youtube", "https://accounts.google.com/", false),
        ("youtube", "https://accounts.google.com.evil.example", false),
        ("youtube", "", false),
        ("twitter", "https://x.com", true),
    ] {
        let url = broker.begin(platform, BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        broker.sandbox().clear();
        let reply = broker.browse(&format!("{callback}&iss={issuer}")).await;
        if accepted {
            assert!(reply.location().contains("status=success"), "{issuer}: {}", reply.location());
            continue;
        }
        let location = reply.location();
        assert_eq!(parameter(&location, "error").as_deref(), Some("platform_answer_unreadable"), "{issuer}");
        assert!(broker.sandbox().requests_at(platform, Step::Token).is_empty(), "{issuer}");
    }
}
