//! What platforms send the browser back with when there is no code, and codes that were tampered with on the way.

use postpeer::sandbox::{self, Answer, Step};

use super::{BACK, ending};
use crate::logs;
use crate::support::{TestBroker, parameter};

/// The documented ways to say that the person said no, and those to say that something is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_told_from_a_mistake() {
    let broker = TestBroker::start().await;
    let denied = ("cancelled", "access_denied");
    let refused = ("error", "authorization_refused");
    let down = ("error", "platform_unavailable");
    for (platform, query, told) in [
        ("acme", "error=access_denied&error_description=The+resource+owner+denied+the+request", denied),
        ("acme", "error=invalid_scope", refused),
        ("acme", "error=temporarily_unavailable", down),
        ("acme", "error=login_required", refused),
        (
            "instagram",
            "error=access_denied&error_reason=user_denied&error_description=The+user+denied+your+request",
            denied,
        ),
        ("instagram", "error=invalid_scope&error_reason=something", refused),
        ("linkedin", "error=user_cancelled_login&error_description=x", denied),
        ("linkedin", "error=user_cancelled_authorize&error_description=x", denied),
        ("linkedin", "error=unauthorized_scope_error&error_description=Scope+x+is+not+authorized", refused),
        ("pinterest", "error=access_denied", denied),
        // As Threads spells it in its documentation.
        ("threads", "error=acceess_denied&error_reason=user_denied&error_description=x", denied),
        ("tiktok", "error=access_denied&error_description=User+cancelled&error_type=x", denied),
        ("tiktok", "error=server_error", down),
        ("tiktok", "error=unauthorized_client", refused),
        ("twitter", "error=access_denied", denied),
        ("youtube", "error=access_denied", denied),
        ("youtube", "error=admin_policy_enforced", refused),
        ("youtube", "error=org_internal", refused),
    ] {
        let url = broker.begin(platform, &format!("{BACK}&cancelRedirectUri=https://app.example/no")).await;
        let state = parameter(&url, "state").unwrap();
        let callback = format!("/v1/connect/{platform}/callback?{query}&state={state}");
        let location = broker.browse(&callback).await.location();
        let at = |name| parameter(&location, name).unwrap_or_default();
        assert_eq!((at("status").as_str(), at("error").as_str()), told, "{platform}: {query}");
        let path = if told == denied { "/no?" } else { "/back?" };
        assert!(location.starts_with(&format!("https://app.example{path}")), "{location}");
        assert_eq!(broker.browse(&callback).await.location(), location, "a reload tells the same");
    }
    assert!(broker.sandbox().requests().is_empty(), "nothing is asked of a platform that said no");
}

/// A code that belongs to another challenge or to another redirect URI than the flow's is no use to whoever slipped it in.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_another_request_is_not_accepted() {
    logs::capture();
    let broker = TestBroker::builder().seed(121).start().await;
    let mut lines = Vec::new();
    for platform in sandbox::platforms() {
        let port = broker.url.rsplit_once(':').unwrap().1;
        let ours = broker.begin(platform, BACK).await;
        let elsewhere = ours.replace(&format!("127.0.0.1%3A{port}"), "127.0.0.1%3A1");
        assert_ne!(ours, elsewhere, "{platform}");
        let stolen =
            broker.consent(&elsewhere, &Answer::allow()).replace("http://127.0.0.1:1/", &format!("{}/", broker.url));
        lines.push(format!("{platform}, redirect_uri: {}", ending(&broker, &stolen).await));

        let ours = broker.begin(platform, BACK).await;
        let Some(challenge) = parameter(&ours, "code_challenge") else { continue };
        let theirs = parameter(&broker.begin(platform, BACK).await, "code_challenge").unwrap();
        let url = broker.begin(platform, BACK).await;
        let mine = parameter(&url, "code_challenge").unwrap();
        assert_ne!(challenge, theirs, "a verifier is used once");
        let swapped = broker.consent(&url.replace(&mine, &theirs), &Answer::allow());
        lines.push(format!("{platform}, code_challenge: {}", ending(&broker, &swapped).await));
    }
    insta::assert_snapshot!(lines.join("\n"), @"
    acme, redirect_uri: exchange_rejected
        connection failed error=acme, code exchange: exchange_rejected (HTTP 400, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for acme with the one registered there.
    acme, code_challenge: exchange_rejected
        connection failed error=acme, code exchange: exchange_rejected (HTTP 400, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for acme with the one registered there.
    facebook, redirect_uri: exchange_rejected
        connection failed error=facebook, code exchange: exchange_rejected (HTTP 400, 100) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for facebook with the one registered there.
    googlebusiness, redirect_uri: exchange_rejected
        connection failed error=googlebusiness, code exchange: exchange_rejected (HTTP 400, redirect_uri_mismatch) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for googlebusiness with the one registered there.
    googlebusiness, code_challenge: exchange_rejected
        connection failed error=googlebusiness, code exchange: exchange_rejected (HTTP 400, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for googlebusiness with the one registered there.
    instagram, redirect_uri: exchange_rejected
        connection failed error=instagram, code exchange: exchange_rejected (HTTP 400, 400) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for instagram with the one registered there.
    linkedin, redirect_uri: exchange_rejected
        connection failed error=linkedin, code exchange: exchange_rejected (HTTP 400, invalid_redirect_uri) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for linkedin with the one registered there.
    pinterest, redirect_uri: exchange_rejected
        connection failed error=pinterest, code exchange: exchange_rejected (HTTP 400, 283) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for pinterest with the one registered there.
    threads, redirect_uri: exchange_rejected
        connection failed error=threads, code exchange: exchange_rejected (HTTP 400, 400) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for threads with the one registered there.
    tiktok, redirect_uri: exchange_rejected
        connection failed error=tiktok, code exchange: exchange_rejected (HTTP 200, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for tiktok with the one registered there.
    tiktok, code_challenge: exchange_rejected
        connection failed error=tiktok, code exchange: exchange_rejected (HTTP 200, invalid_request) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for tiktok with the one registered there.
    twitter, redirect_uri: exchange_rejected
        connection failed error=twitter, code exchange: exchange_rejected (HTTP 400, invalid_request) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for twitter with the one registered there.
    twitter, code_challenge: exchange_rejected
        connection failed error=twitter, code exchange: exchange_rejected (HTTP 400, invalid_request) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for twitter with the one registered there.
    youtube, redirect_uri: exchange_rejected
        connection failed error=youtube, code exchange: exchange_rejected (HTTP 400, redirect_uri_mismatch) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for youtube with the one registered there.
    youtube, code_challenge: exchange_rejected
        connection failed error=youtube, code exchange: exchange_rejected (HTTP 400, invalid_grant) next_step=If it happens to everyone, compare the callback URL that `postpeer check` prints for youtube with the one registered there.
    ");
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
        assert_eq!((reply.status, reply.location().as_str()), (400, ""), "{issuer}");
        assert!(broker.sandbox().requests_at(platform, Step::Token).is_empty(), "{issuer}");
        assert!(broker.browse(&callback).await.location().contains("status=success"), "nothing was consumed: {issuer}");
    }
}
