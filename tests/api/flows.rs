//! A connection from beginning to end, also when it is repeated, interrupted, contradicted or stolen.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postpeer::platforms::{CONTRACT_NAMES, Registry};
use postpeer::sandbox::{self, Answer, Fault, Step};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::logs;
use crate::support::{Reply, TestBroker, parameter};

const BACK: &str = "redirectUri=https://app.example/back%3Fnonce%3D%252F1";

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_connects_and_reconnects_under_the_same_id() {
    let broker = TestBroker::start().await;
    for platform in sandbox::platforms() {
        let url = broker.begin(platform, BACK).await;
        let reply = broker.browse(&broker.consent(&url, &Answer::allow())).await;
        assert_eq!(reply.status, 303, "{platform}: {}", reply.text);
        let location = broker.land(platform, reply.location()).await;
        assert!(location.starts_with("https://app.example/back?nonce=%2F1&status=success&"), "{location}");
        assert_eq!(parameter(&location, "platform").as_deref(), Some(platform));
        let id = parameter(&location, "integrationId").unwrap();

        let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await;
        assert_eq!(detail.status, 200, "{platform}: {}", detail.text);
        let integration = &detail.json["integration"];
        assert_eq!(integration["platform"], platform);
        assert_eq!(integration["authStatus"], "active");
        assert!(!integration["scopes"].as_array().unwrap().is_empty(), "{platform}: {integration}");

        broker.clock.advance(Duration::from_mins(1));
        let again = broker.connect(platform, "").await;
        assert_eq!(again, id, "{platform}");
    }
    let listed = broker.get("/v1/connect/integrations?limit=100").await;
    let of_contract = sandbox::platforms().filter(|platform| CONTRACT_NAMES.contains(platform)).count();
    assert_eq!(listed.json["total"], of_contract, "others are listed when asked for");
    let listed = broker.get("/v1/connect/integrations?limit=100&include=custom").await;
    assert_eq!(listed.json["total"], sandbox::platforms().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_shows_the_same_and_asks_the_platform_nothing() {
    let broker = TestBroker::start().await;
    let url = broker.begin("twitter", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    let first = broker.browse(&callback).await;
    let asked = broker.sandbox().requests().len();
    let second = broker.browse(&callback).await;
    assert_eq!(first.location(), second.location());
    assert_eq!(broker.sandbox().requests().len(), asked);

    let another_code = callback.replace("code=", "code=x");
    let refused = broker.browse(&another_code).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(refused.location(), "");
    assert_eq!(broker.sandbox().requests().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_after_the_account_was_disconnected_names_it_and_does_not_call_it_connected() {
    let broker = TestBroker::start().await;
    for query in [BACK, ""] {
        let callback = broker.consent(&broker.begin("twitter", query).await, &Answer::allow());
        let first = broker.browse(&callback).await;
        let list = broker.get("/v1/connect/integrations").await;
        let id = list.json["integrations"][0]["id"].as_str().unwrap().to_owned();
        let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
        let again = broker.browse(&callback).await;
        if query.is_empty() {
            assert!(first.text.contains("<h1>X (Twitter) is connected</h1>"), "{}", first.text);
            assert_eq!(again.status, 200);
            assert!(again.text.contains("<h1>X (Twitter) is no longer connected</h1>"), "{}", again.text);
        } else {
            assert!(first.location().ends_with(&format!("integrationId={id}")), "{}", first.location());
            assert_eq!(again.location(), first.location());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_callbacks_at_once_make_one_exchange() {
    let broker = TestBroker::start().await;
    for round in 0..5 {
        broker.sandbox().clear();
        let url = broker.begin("twitter", BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        let replies = futures_util::future::join_all((0..20).map(|_| broker.browse(&callback))).await;
        let first = replies[0].location();
        assert!(first.contains("status=success"), "{first}");
        assert!(replies.iter().all(|reply| reply.location() == first), "round {round}");
        assert_eq!(broker.sandbox().requests_at("twitter", Step::Token).len(), 1, "round {round}");
        assert_eq!(broker.sandbox().requests_at("twitter", Step::Identity).len(), 1, "round {round}");
    }
}

/// PKCE (RFC 7636): the platform exchanges the code only with the verifier, which no URL has held.
#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_is_long_and_new_and_only_its_hash_is_in_a_url() {
    let broker = TestBroker::start().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        broker.sandbox().clear();
        let url = broker.begin("twitter", BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        let location = broker.browse(&callback).await.location();
        let requests = broker.sandbox().requests_at("twitter", Step::Token);
        let verifier = requests[0].field("code_verifier").unwrap().to_owned();
        assert!((43..=128).contains(&verifier.len()), "{verifier}");
        assert!(verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)), "{verifier}");
        assert!(![&url, &callback, &location].iter().any(|url| url.contains(&verifier)));
        assert_eq!(parameter(&url, "code_challenge_method").as_deref(), Some("S256"));
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        assert_eq!(parameter(&url, "code_challenge"), Some(hash));
        assert!(seen.insert(verifier), "a verifier was used twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetch_an_embedding_or_a_head_consumes_nothing() {
    let broker = TestBroker::start().await;
    let url = broker.begin("youtube", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
        ("sec-fetch-dest", "image"),
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-dest", "empty"),
    ] {
        let reply = broker.request("GET", &callback).header(name, value).send().await.unwrap();
        assert_eq!(reply.status(), 503, "{name}: {value}");
    }
    let head = broker.request("HEAD", &callback).send().await.unwrap();
    assert_eq!(head.status(), 405);
    assert!(broker.sandbox().requests_at("youtube", Step::Token).is_empty());
    let visit = broker.request("GET", &callback).header("sec-fetch-dest", "document").send().await.unwrap();
    assert!(Reply::of(visit).await.location().contains("status=success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_goes_to_the_cancel_uri_or_back_or_to_a_page() {
    let broker = TestBroker::start().await;
    for platform in sandbox::platforms() {
        let url = broker.begin(platform, &format!("{BACK}&cancelRedirectUri=https://app.example/no")).await;
        let reply = broker.browse(&broker.consent(&url, &Answer::deny())).await;
        let location = reply.location();
        assert_eq!(
            location,
            format!("https://app.example/no?status=cancelled&platform={platform}&error=access_denied")
        );

        let url = broker.begin(platform, BACK).await;
        let location = broker.browse(&broker.consent(&url, &Answer::deny())).await.location();
        assert!(location.starts_with("https://app.example/back?nonce=%2F1&status=cancelled&"), "{location}");

        let url = broker.begin(platform, "").await;
        let callback = broker.consent(&url, &Answer::deny());
        let page = broker.browse(&callback).await;
        assert_eq!((page.status, page.location().as_str()), (200, ""), "{platform}");
        assert!(page.text.contains("You declined at"), "{}", page.text);
        assert_eq!(broker.browse(&callback).await.text, page.text, "a reload shows the same");
    }
    assert_eq!(broker.get("/v1/connect/integrations?include=custom").await.json["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_at_a_platform_becomes_a_code_and_stores_nothing() {
    for (platform, step, fault, times, error) in [
        ("twitter", Step::Token, Fault::ServerError, 1, "platform_unavailable"),
        ("twitter", Step::Token, Fault::RateLimited, 1, "platform_throttled"),
        ("twitter", Step::Token, Fault::Html, 1, "platform_answer_unreadable"),
        ("twitter", Step::Token, Fault::Empty, 1, "platform_answer_unreadable"),
        ("twitter", Step::Token, Fault::Garbage, 1, "platform_answer_unreadable"),
        ("twitter", Step::Token, Fault::Drop, 1, "platform_unavailable"),
        ("tiktok", Step::Token, Fault::OkError, 1, "exchange_rejected"),
        ("youtube", Step::Identity, Fault::ServerError, 3, "platform_unavailable"),
        ("pinterest", Step::Identity, Fault::Html, 3, "identity_unavailable"),
        ("threads", Step::LongLived, Fault::ServerError, 3, "platform_unavailable"),
    ] {
        let broker = TestBroker::start().await;
        let url = broker.begin(platform, BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        broker.sandbox().fail_next(platform, step, fault, times).unwrap();
        let location = broker.browse(&callback).await.location();
        let told = parameter(&location, "error").unwrap_or_default();
        assert_eq!(told, error, "{platform} {step} {fault:?}: {location}");
        assert_eq!(parameter(&location, "status").as_deref(), Some("error"));
        assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);
        // A code that the platform may have seen is never sent again.
        assert_eq!(broker.sandbox().requests_at(platform, Step::Token).len(), 1, "{platform} {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_call_that_recovers_is_asked_again() {
    let broker = TestBroker::start().await;
    let url = broker.begin("youtube", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    broker.sandbox().fail_next("youtube", Step::Identity, Fault::ServerError, 2).unwrap();
    assert!(broker.browse(&callback).await.location().contains("status=success"));
    assert_eq!(broker.sandbox().requests_at("youtube", Step::Identity).len(), 3);
    assert_eq!(broker.sandbox().requests_at("youtube", Step::Token).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_cannot_be_attributed_are_revoked() {
    let broker = TestBroker::start().await;
    let url = broker.begin("twitter", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    broker.sandbox().fail_next("twitter", Step::Identity, Fault::ServerError, 3).unwrap();
    let location = broker.browse(&callback).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("platform_unavailable"));
    let revoked = broker.sandbox().requests_at("twitter", Step::Revoke);
    assert_eq!(revoked.len(), 1, "the consent must not live on unknown to anybody");
    assert_eq!(revoked[0].status, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_contradicts_its_flow_is_refused_before_any_call() {
    let broker = TestBroker::start().await;
    let url = broker.begin("twitter", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    let state = parameter(&callback, "state").unwrap();
    let code = parameter(&callback, "code").unwrap();
    let at = |platform: &str, query: &str| format!("/v1/connect/{platform}/callback?{query}");
    let other = broker.begin("youtube", BACK).await;
    let other_state = parameter(&other, "state").unwrap();
    for (why, url) in [
        ("another platform's path", at("pinterest", &format!("state={state}&code={code}"))),
        ("state twice", at("twitter", &format!("state={state}&state={state}&code={code}"))),
        ("two states", at("twitter", &format!("state={state}&state={other_state}&code={code}"))),
        ("code twice", at("twitter", &format!("state={state}&code={code}&code=x"))),
        ("error twice", at("twitter", &format!("state={state}&error=a&error=access_denied"))),
        ("no state", at("twitter", &format!("code={code}"))),
        ("unknown state", at("twitter", &format!("state=unknown&code={code}"))),
        ("empty state", at("twitter", &format!("state=&code={code}"))),
        ("error_code twice", at("twitter", &format!("state={state}&error_code=1&error_code=2"))),
        ("broken percent", at("twitter", &format!("state=%ff%fe&code={code}"))),
        ("NUL", at("twitter", &format!("state=%00&code={code}"))),
    ] {
        let reply = broker.browse(&url).await;
        assert_eq!(reply.status, 400, "{why}: {}", reply.text);
        assert_eq!(reply.location(), "", "{why}");
        assert!(!reply.text.contains(&state) && !reply.text.contains(&code), "{why}: the page echoes");
    }
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty());
    assert!(broker.sandbox().requests_at("youtube", Step::Token).is_empty());
    assert!(broker.browse(&callback).await.location().contains("status=success"), "nothing was consumed");
}

/// The state is secret: whoever has it may end the connection, and an app that waits for it is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_used_ends_its_connection() {
    const UNUSABLE: &str = "platform_answer_unreadable";
    const REFUSED: &str = "authorization_refused";
    logs::capture();
    let broker = TestBroker::builder().seed(202).start().await;
    let (code, name) = ("c".repeat(4097), "e".repeat(6000));
    for (platform, query, error, logged) in [
        ("facebook", "error_code=1349126&error_message=x".to_owned(), "app_not_public", "platform.number=\"1349126\""),
        ("facebook", "error_code=%3Cb%3E13%0D%0A49".to_owned(), REFUSED, "platform.number=\"b1349\""),
        ("facebook", "error=&error_code=1349126&code=".to_owned(), "app_not_public", "platform.number=\"1349126\""),
        ("facebook", "error_code=1349126&code=x".to_owned(), "app_not_public", "platform.number=\"1349126\""),
        ("facebook", "error_reason=app_inactive".to_owned(), REFUSED, "platform.code=\"app_inactive\""),
        ("instagram", format!("error=%F0%9F%A6%8A{name}"), REFUSED, "platform.code=\"eeee"),
        ("twitter", String::new(), UNUSABLE, "neither code nor error"),
        ("twitter", "error=".to_owned(), UNUSABLE, "neither code nor error"),
        ("twitter", "code=".to_owned(), UNUSABLE, "neither code nor error"),
        ("twitter", "code".to_owned(), UNUSABLE, "neither code nor error"),
        ("twitter", "code=%20".to_owned(), UNUSABLE, "neither code nor error"),
        ("twitter", "error_description=no".to_owned(), UNUSABLE, "neither code nor error"),
        ("tiktok", "error_code=0".to_owned(), UNUSABLE, "neither code nor error"),
        ("twitter", format!("code={code}"), UNUSABLE, "too long"),
        ("twitter", format!("code={code}{code}&scope={code}"), UNUSABLE, "too long"),
        ("twitter", "code=a%00b".to_owned(), UNUSABLE, "not text"),
        ("twitter", "code=a%0D%0Ab".to_owned(), UNUSABLE, "not text"),
        ("twitter", "code=%ff".to_owned(), UNUSABLE, "not text"),
        ("twitter", "error=%ff".to_owned(), UNUSABLE, "not text"),
        ("twitter", "code=x&iss=%ff".to_owned(), UNUSABLE, "not text"),
        ("youtube", "code=x&iss=https://evil.example".to_owned(), UNUSABLE, "issuer"),
        ("youtube", "error=access_denied&iss=".to_owned(), UNUSABLE, "issuer"),
    ] {
        let url = broker.begin(platform, &format!("{BACK}&cancelRedirectUri=https://app.example/no")).await;
        let state = parameter(&url, "state").unwrap();
        let callback = format!("/v1/connect/{platform}/callback?state={state}&{query}");
        let reply = broker.browse(&callback).await;
        let location = reply.location();
        let expected = format!("https://app.example/back?nonce=%2F1&status=error&platform={platform}&error={error}");
        assert_eq!((reply.status, location.as_str()), (303, expected.as_str()), "{query}");
        assert_eq!(broker.browse(&callback).await.location(), location, "a reload gets the same: {query}");
        let lines = logs::of_flow(&broker.last_flow());
        assert!(lines.iter().any(|line| line.contains(logged)), "{query}: {lines:?}");

        let url = broker.begin(platform, "").await;
        let state = parameter(&url, "state").unwrap();
        let page = broker.browse(&format!("/v1/connect/{platform}/callback?state={state}&{query}")).await;
        assert_eq!((page.status, page.location().as_str()), (200, ""), "{query}");
        assert!(page.text.contains(error), "{query}: {}", page.text);
    }
    // Facebook's denial, with and without the standard's parameter.
    for query in ["error_code=200&error_reason=user_denied", "error=&error_reason=user_denied"] {
        let url = broker.begin("facebook", &format!("{BACK}&cancelRedirectUri=https://app.example/no")).await;
        let state = parameter(&url, "state").unwrap();
        let location = broker.browse(&format!("/v1/connect/facebook/callback?state={state}&{query}")).await.location();
        assert!(location.starts_with("https://app.example/no?status=cancelled&"), "{query}: {location}");
    }
    assert!(broker.sandbox().requests().is_empty(), "no platform is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_was_switched_off_meanwhile_ends_its_connections() {
    let mut broker = TestBroker::start().await;
    let callback = broker.consent(&broker.begin("twitter", BACK).await, &Answer::allow());
    broker.restart_with(|config| config.platforms = Registry::default()).await;
    let location = broker.arrive(&callback).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("app_missing"), "{location}");
    assert_eq!(broker.arrive(&callback).await.location(), location, "a reload gets the same");
}

/// Facebook sends the browser back with `#_=_`; Instagram, Reddit and Threads with `#_`.
#[tokio::test(flavor = "multi_thread")]
async fn the_fragment_that_a_platform_adds_ends_at_the_callback() {
    let broker = TestBroker::start().await;
    let mut with_fragment = Vec::new();
    let basil = || Answer::allow().account("basil");
    for platform in sandbox::platforms() {
        let callback =
            async |query: &str, answer: &Answer| broker.consent(&broker.begin(platform, query).await, answer);
        let success = callback(BACK, &basil()).await;
        let has_fragment = success.contains('#');
        with_fragment.extend(has_fragment.then_some(platform));
        let denial = callback(&format!("{BACK}&cancelRedirectUri=https://app.example/no"), &Answer::deny()).await;
        let selection = callback("", &Answer::allow()).await;
        let headless = callback(&format!("{BACK}&headless=true"), &Answer::allow()).await;
        let late = callback(BACK, &Answer::allow()).await;
        let mut replies = Vec::new();
        for callback in [&success, &success, &denial, &selection, &headless] {
            replies.push(broker.visit(callback).await);
        }
        broker.clock.advance(Duration::from_mins(10));
        replies.push(broker.visit(&late).await);
        broker.broker().purge_expired().await.unwrap();
        replies.push(broker.visit(&late).await);
        for location in replies.iter().map(|reply| reply.header("location")) {
            assert_eq!(location.matches('#').count(), usize::from(has_fragment), "{platform}: {location}");
            assert_eq!(location.ends_with('#'), has_fragment, "{platform}: {location}");
        }
    }
    for platform in ["facebook", "instagram", "reddit", "threads"] {
        assert!(with_fragment.contains(&platform), "{with_fragment:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_lives_ten_minutes() {
    let broker = TestBroker::start().await;
    let url = broker.begin("linkedin", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    broker.clock.advance(Duration::from_mins(10));
    let location = broker.browse(&callback).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("flow_expired"), "{location}");
    assert!(broker.sandbox().requests_at("linkedin", Step::Token).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_comes_late_is_sent_back_for_a_day() {
    let mut broker = TestBroker::start().await;
    let cancel = "cancelRedirectUri=https://app.example/no";
    let callback = broker.consent(&broker.begin("twitter", &format!("{BACK}&{cancel}")).await, &Answer::allow());
    let denied = broker.consent(&broker.begin("twitter", &format!("{BACK}&{cancel}")).await, &Answer::deny());
    let without_uri = broker.consent(&broker.begin("twitter", "").await, &Answer::allow());
    let only_cancel = broker.consent(&broker.begin("twitter", cancel).await, &Answer::allow());
    let ended = broker.consent(&broker.begin("twitter", BACK).await, &Answer::allow());
    let success = broker.browse(&ended).await.location();
    broker.sandbox().clear();
    broker.clock.advance(Duration::from_mins(10));

    let expired = "https://app.example/back?nonce=%2F1&status=error&platform=twitter&error=flow_expired";
    let cancelled = "https://app.example/no?status=cancelled&platform=twitter&error=access_denied";
    for round in ["before the purge", "after the purge", "after a restart"] {
        for unusable in ["", "&iss=x&error_code=1", "&error=invalid_scope"] {
            let reply = broker.arrive(&format!("{callback}{unusable}")).await;
            assert_eq!((reply.status, reply.location().as_str()), (303, expired), "{round}");
        }
        assert_eq!(broker.arrive(&denied).await.location(), cancelled, "{round}");
        let page = broker.arrive(&only_cancel).await;
        assert_eq!((page.status, page.location().as_str()), (200, ""), "{round}");
        assert!(page.text.contains("This took too long") && page.text.contains("start again"), "{}", page.text);
        let page = broker.arrive(&without_uri).await;
        assert_eq!(page.location(), "", "{round}");
        assert!(page.text.contains("start again"), "{round}: {}", page.text);
        let astray = callback.replace("twitter/callback", "youtube/callback");
        assert_eq!(broker.arrive(&astray).await.status, 400, "{round}: another platform's path");
        match round {
            "before the purge" => {
                assert_eq!(broker.arrive(&ended).await.location(), success, "a reload gets the same");
                assert_eq!(broker.broker().purge_expired().await.unwrap(), 5);
            }
            "after the purge" => broker.restart().await,
            _ => {}
        }
    }
    let kept = |broker: &TestBroker| -> (u32, u32) {
        let count = "SELECT (SELECT count(*) FROM flows), (SELECT count(*) FROM late_redirects)";
        broker.sql().query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    assert_eq!(kept(&broker), (0, 3), "a flow without a redirect leaves nothing");
    assert!(broker.sandbox().requests().is_empty(), "no platform is asked");

    broker.clock.advance(Duration::from_millis(86_400_000 - 1));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(broker.arrive(&callback).await.location(), expired);
    broker.clock.advance(Duration::from_millis(1));
    for round in ["before the purge", "after the purge"] {
        let page = broker.arrive(&callback).await;
        assert_eq!((page.status, page.location().as_str()), (400, ""), "{round}");
        broker.broker().purge_expired().await.unwrap();
    }
    assert_eq!(kept(&broker), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_redirect_is_checked_again() {
    let mut broker = TestBroker::start().await;
    let callback = broker.consent(&broker.begin("twitter", BACK).await, &Answer::allow());
    broker.clock.advance(Duration::from_mins(10));
    broker.broker().purge_expired().await.unwrap();
    broker.restart_with_redirects(&["https://other.example"]).await;
    let page = broker.arrive(&callback).await;
    assert_eq!((page.status, page.location().as_str()), (200, ""), "{}", page.text);
    assert!(page.text.contains("flow_expired"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_beside_a_code_is_an_error() {
    let broker = TestBroker::start().await;
    let url = broker.begin("twitter", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    let location = broker.browse(&format!("{callback}&error=access_denied")).await.location();
    assert!(location.contains("status=cancelled"), "{location}");
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_vanishes_does_not_take_the_connection_with_it() {
    use tokio::io::AsyncWriteExt as _;
    let broker = TestBroker::start().await;
    let url = broker.begin("pinterest", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    broker.sandbox().hold(Step::Token);

    let address = broker.url.strip_prefix("http://").unwrap();
    let path = callback.strip_prefix(&broker.url).unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    broker.sandbox().held(Step::Token).await;
    // The connection is reset, not closed.
    stream.set_zero_linger().unwrap();
    drop(stream);
    broker.sandbox().release(Step::Token);

    assert!(broker.browse(&callback).await.location().contains("status=success"));
    assert_eq!(broker.sandbox().requests_at("pinterest", Step::Token).len(), 1);
    assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_whose_clients_are_gone_are_bounded_and_nobody_loses_a_code_to_that() {
    let broker = TestBroker::builder().exchanges(1).start().await;
    let begin = async || broker.consent(&broker.begin("pinterest", BACK).await, &Answer::allow());
    let (first, second, denied) = (begin().await, begin().await, begin().await);
    broker.sandbox().hold(Step::Token);
    let visit = tokio::spawn(broker.request("GET", &first).send());
    broker.sandbox().held(Step::Token).await;
    visit.abort();

    let refused = broker.browse(&second).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{}", refused.text);
    let state = parameter(&denied, "state").unwrap();
    let denied = format!("/v1/connect/pinterest/callback?state={state}&error=access_denied");
    let location = broker.browse(&denied).await.location();
    assert!(location.contains("status=cancelled"), "it calls no platform: {location}");
    broker.sandbox().release(Step::Token);
    for callback in [first, second] {
        let location = broker.browse(&callback).await.location();
        assert!(location.contains("status=success"), "{location}");
    }
    assert_eq!(broker.sandbox().requests_at("pinterest", Step::Token).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_account_under_another_profile_is_another_integration_on_the_same_grant() {
    let broker = TestBroker::start().await;
    let mut profiles = Vec::new();
    for name in ["one", "two"] {
        let made = broker.call("POST", "/v1/profiles", Some(serde_json::json!({"name": name}))).await;
        profiles.push(made.json["profile"]["id"].as_str().unwrap().to_owned());
    }
    let first = broker.connect("twitter", &format!("profileId={}", profiles[0])).await;
    let second = broker.connect("twitter", &format!("profileId={}", profiles[1])).await;
    assert_ne!(first, second);

    let moved = broker
        .call(
            "PATCH",
            &format!("/v1/connect/integrations/{first}"),
            Some(serde_json::json!({"profileId": profiles[1]})),
        )
        .await;
    assert_eq!((moved.status, moved.code()), (409, "duplicate_integration"), "{}", moved.text);

    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{first}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert!(broker.sandbox().requests_at("twitter", Step::Revoke).is_empty(), "the other one lives on this consent");
    assert_eq!(broker.get(&format!("/v1/connect/integrations/{second}")).await.status, 200);
    broker.call("DELETE", &format!("/v1/connect/integrations/{second}"), None).await;
    assert_eq!(broker.sandbox().requests_at("twitter", Step::Revoke).len(), 1);
}

/// The scopes that an authorize URL asks for.
fn asked_for(url: &str) -> Vec<String> {
    parameter(url, "scope").unwrap_or_default().split([' ', ',']).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_were_unticked_are_reported_as_missing() {
    let broker = TestBroker::start().await;
    let answer = Answer::allow().scopes(&["user.info.basic"]);
    let url = broker.begin("tiktok", BACK).await;
    let reply = broker.browse(&broker.consent(&url, &answer)).await;
    assert!(reply.location().contains("status=success"), "{}", reply.location());
    let id = parameter(&reply.location(), "integrationId").unwrap();
    let detail = broker.detail(&id).await;
    assert_eq!(detail["scopes"], json!(["user.info.basic"]));
    assert_eq!(detail["missingScopes"], json!(["user.info.profile", "video.publish", "video.upload"]));
    assert_eq!(detail["username"], json!(null));

    let page = broker.browse(&broker.consent(&broker.begin("tiktok", "").await, &answer)).await;
    let told = "Some permissions were not given at TikTok: <code>user.info.profile</code>, <code>video.publish</code>, \
        <code>video.upload</code></p><p>What needs them will not work.";
    assert!(page.text.contains("TikTok is connected") && page.text.contains(told), "{}", page.text);

    // Connecting again with everything ticked, or with less asked for.
    assert_eq!(broker.connect("tiktok", "").await, id);
    assert_eq!(broker.detail(&id).await["missingScopes"], json!([]));
    broker.browse(&broker.consent(&broker.begin("tiktok", "").await, &answer)).await;
    assert_ne!(broker.detail(&id).await["missingScopes"], json!([]));
    let less = broker.begin("tiktok", "scopes=user.info.basic").await;
    let page = broker.browse(&broker.consent(&less, &answer)).await;
    assert!(!page.text.contains("Some permissions"), "{}", page.text);
    assert_eq!(broker.detail(&id).await["missingScopes"], json!([]), "that is what was asked for");

    let location =
        broker.browse(&broker.consent(&broker.begin("facebook", "").await, &Answer::allow())).await.location();
    let whole = broker.browse(&location).await;
    assert!(!whole.text.contains("Some permissions"), "{}", whole.text);
    let partial = Answer::allow().scopes(&["pages_show_list", "pages_read_engagement", "business_management"]);
    let location = broker.browse(&broker.consent(&broker.begin("facebook", "").await, &partial)).await.location();
    let page = broker.browse(&location).await;
    let told = "Some permissions were not given at Facebook: <code>pages_manage_posts</code></p>";
    assert!(page.text.contains(told), "{}", page.text);
    let token = location.rsplit('/').next().unwrap();
    let offered = broker.get(&format!("/v1/connect/facebook/selection/{token}")).await;
    assert_eq!(offered.json["missingScopes"], json!(["pages_manage_posts"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_another_profile_takes_away_are_reported_as_missing() {
    let broker = TestBroker::start().await;
    let made = broker.call("POST", "/v1/profiles", Some(json!({"name": "two"}))).await;
    let other = made.json["profile"]["id"].as_str().unwrap().to_owned();
    let fewer = format!("profileId={other}&scopes=user.info.basic");
    let id = broker.connect("tiktok", "").await;
    let begun = broker.begin("tiktok", &fewer).await;
    let page = broker.browse(&broker.consent(&begun, &Answer::allow())).await;
    assert!(page.text.contains("TikTok is connected") && !page.text.contains("Some permissions"), "{}", page.text);
    let detail = broker.detail(&id).await;
    assert_eq!(detail["scopes"], json!(["user.info.basic"]));
    assert_eq!(detail["missingScopes"], json!(["user.info.profile", "video.publish", "video.upload"]));
    assert_eq!(broker.connect("tiktok", "").await, id);
    assert_eq!(broker.detail(&id).await["missingScopes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_where_everything_was_granted() {
    let broker = TestBroker::start().await;
    for platform in sandbox::platforms() {
        let id = broker.connect(platform, "").await;
        let detail = broker.detail(&id).await;
        assert_eq!(detail["missingScopes"], json!([]), "{platform}: {}", detail["scopes"]);
    }
    // Accounts that were connected before scopes were recorded, and those whose granted scopes are not known.
    for unknown in
        ["UPDATE grants SET requested_scopes = '[]'", "UPDATE grants SET requested_scopes = '[\"x\"]', scopes = '[]'"]
    {
        broker.sql().execute(unknown, []).unwrap();
        let listed = broker.get("/v1/connect/integrations?limit=100&include=custom").await;
        for integration in listed.json["integrations"].as_array().unwrap() {
            let detail = broker.detail(integration["id"].as_str().unwrap()).await;
            assert_eq!(detail["missingScopes"], json!([]), "{detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_chooses_the_scopes_of_a_connection() {
    let broker = TestBroker::builder()
        .setting("POSTPEER_PLATFORMS__TWITTER__OPTIONAL_SCOPES", "dm.read")
        .setting("POSTPEER_PLATFORMS__ACME__OPTIONAL_SCOPES", "email")
        .start()
        .await;
    let needed = ["tweet.read", "users.read", "offline.access"];
    for (query, expected) in [
        ("", vec!["tweet.read", "tweet.write", "users.read", "media.write", "offline.access"]),
        ("scopes=media.write", vec!["tweet.read", "users.read", "media.write", "offline.access"]),
        ("scopes=media.write,dm.read", vec!["tweet.read", "users.read", "media.write", "offline.access", "dm.read"]),
        ("scopes=users.read%20tweet.read", needed.to_vec()),
        ("scopes=,users.read,%20+users.read,", needed.to_vec()),
    ] {
        assert_eq!(asked_for(&broker.begin("twitter", query).await), expected, "{query}");
    }
    let custom = broker.begin("acme", "scopes=email").await;
    assert_eq!(asked_for(&custom), ["openid", "profile", "offline_access", "email"], "an operator's own platform");
    let id = broker.connect("twitter", "scopes=tweet.write").await;
    let detail = broker.detail(&id).await;
    assert_eq!(detail["scopes"], json!(["tweet.read", "tweet.write", "users.read", "offline.access"]));
    assert_eq!(detail["missingScopes"], json!([]));

    for (platform, query, told) in [
        ("twitter", "scopes=", "tweet.read, tweet.write, users.read, media.write, offline.access, dm.read"),
        ("twitter", "scopes=tweet.write,dm.write", "tweet.read, tweet.write, users.read"),
        ("twitter", "scopes=TWEET.WRITE", "tweet.read"),
        ("twitter", "scopes=tweet.write;users.read", "tweet.read"),
        ("tiktok", "scopes=dm.read", "user.info.basic, user.info.profile, video.publish, video.upload"),
        ("twitter", "scope=tweet.write", "scopes is misspelt"),
    ] {
        let reply = broker.get(&format!("/v1/connect/{platform}?{query}")).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_parameter"), "{query}: {}", reply.text);
        assert!(reply.json["error"].as_str().unwrap().contains(told), "{query}: {}", reply.text);
    }
    let twice = broker.get("/v1/connect/twitter?scopes=tweet.read&scopes=tweet.write").await;
    assert_eq!((twice.status, twice.code()), (400, "repeated_parameter"));
    let body = json!({"identifier": "ada.example", "password": "abcd-efgh-ijkl-mnop"});
    let reply = broker.call("POST", "/v1/connect/bluesky/auth?scopes=atproto", Some(body)).await;
    assert_eq!((reply.status, reply.code()), (400, "invalid_parameter"), "{}", reply.text);
}

/// Under an app of the caller's own, too: what is enabled for it is the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_platform_connects_with_its_fewest_scopes() {
    let broker = TestBroker::start().await;
    for platform in sandbox::platforms() {
        let all = asked_for(&broker.begin(platform, "").await);
        let fewest = asked_for(&broker.begin(platform, &format!("scopes={}", all[0])).await);
        let is_shorter = fewest.len() < all.len() || platform == "acme";
        assert!(is_shorter && fewest.contains(&all[0]), "{platform}: {fewest:?}");
        let id = broker.connect(platform, &format!("scopes={}", fewest.join(","))).await;
        assert_eq!(broker.detail(&id).await["missingScopes"], json!([]), "{platform}");
    }
}

/// The log's lines about a connection name the request that made it, on whatever thread they were written.
#[tokio::test(flavor = "multi_thread")]
async fn a_connected_account_is_logged_with_its_request() {
    logs::capture();
    let broker = TestBroker::builder().seed(161).start().await;
    let id = broker.connect("twitter", "").await;
    let flow = broker.last_flow();
    let text = logs::text();
    let line = text.lines().find(|line| line.contains("account connected") && line.contains(&flow)).unwrap();
    assert!(line.contains("request.id=req_") && line.contains(&id), "{line}");
}
