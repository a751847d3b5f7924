//! Redirect URIs, which are checked when a connection begins and again when it ends.

use postpeer::sandbox::Answer;

use crate::support::{Reply, TestBroker};

/// Refused with and without a list of allowed redirects.
const NEVER: &[&str] = &[
    "",
    " ",
    "/",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/%09/evil.example",
    "relative/path",
    "?x=1",
    "https:",
    "https://",
    "https:evil.example",
    "https:/evil.example",
    "https:\\\\evil.example",
    "https:///evil.example",
    "https://ok.example@evil.example/",
    "https://user:pw@ok.example/",
    "https://@ok.example/",
    "https://ok.example\\@evil.example/",
    "https://ok.example\\.evil.example/",
    "https://ok.example%40evil.example/",
    "https://ok.example%2fevil.example/",
    "https://ok.example\t.evil.example/",
    "https://ok.example/\r\nset-cookie: a=b",
    "https://ok.example/\0",
    " https://ok.example/",
    "https://ok.example/ ",
    "https://ok.example/#fragment",
    "https://ok.example/#",
    "https://ok.example./",
    "https://OK.example./x",
    "https://\u{43e}k.example/",
    "https://\u{ff4f}k.example/",
    "https://ok\u{3002}example/",
    "http://ok.example/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://169.254.169.254/latest",
    "http://[::ffff:127.0.0.1]/",
    "https://2130706433/",
    "https://ok.example:99999/",
    "https://ok.example:/",
    "https://ok.example/<script>",
    "https://ok.example/\"x",
    "htt\tps://ok.example/",
    "javascript:alert(1)",
    "JavaScript://ok.example/%0aalert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:https://ok.example/x",
    "ftp://ok.example/",
    "ws://ok.example/",
    "about:blank",
    "myapp://connected",
];

/// Refused where only `https://ok.example` and `https://other.example/app` are listed.
const NOT_LISTED: &[&str] = &[
    "https://evil.example/",
    "https://ok.example.evil/",
    "https://evil-ok.example/",
    "https://sub.ok.example/",
    "https://ok.example:8443/",
    "https://xn--k-tmc.example/",
    "https://other.example/",
    "https://other.example/apple",
    "https://other.example/app/../secret",
    "https://other.example/app/%2e%2e/secret",
    "https://other.example/app/..%5csecret/../../x",
    "https://evil.example/?https://ok.example",
    "http://localhost/",
    "myapp://done/deeper",
    "otherapp://done",
];

const LISTED: &[&str] = &[
    "https://ok.example",
    "https://ok.example/any/where?nonce=%2F1&x=a+b",
    "https://ok.example:443/",
    "https://other.example/app",
    "https://other.example/app/deep?x",
    "myapp://done",
    "myapp://done?nonce=1",
];

const LIST: &[&str] = &["https://ok.example", "https://other.example/app", "myapp://done"];

async fn begin(broker: &TestBroker, parameter: &str, uri: &str) -> Reply {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair(parameter, uri).finish();
    broker.get(&format!("/v1/connect/twitter?{query}")).await
}

async fn all_refused(broker: &TestBroker, uris: &[&str]) {
    let before = broker.stored();
    for uri in uris {
        for parameter in ["redirectUri", "cancelRedirectUri"] {
            let reply = begin(broker, parameter, uri).await;
            assert_eq!(
                (reply.status, reply.code()),
                (400, "redirect_not_allowed"),
                "{parameter}={uri:?}: {}",
                reply.text
            );
            let sentence = reply.json["error"].as_str().unwrap();
            assert!(sentence.starts_with(&format!("{parameter} ")) && sentence.ends_with('.'), "{sentence}");
            assert!(!sentence.contains("evil"), "{sentence}");
        }
    }
    assert!(broker.stored() == before, "something was written");
}

/// Both endings of a connection with this URI.
async fn endings(broker: &TestBroker, uri: &str) -> [String; 2] {
    let mut endings = [String::new(), String::new()];
    for (ending, answer) in endings.iter_mut().zip([Answer::allow(), Answer::deny()]) {
        let reply = begin(broker, "redirectUri", uri).await;
        assert_eq!(reply.status, 200, "{uri}: {}", reply.text);
        let reply = broker.browse(&broker.consent(reply.json["url"].as_str().unwrap(), &answer)).await;
        assert_eq!(reply.status, 303, "{uri}: {}", reply.text);
        *ending = reply.location();
    }
    endings
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_any_https_and_loopback() {
    let broker = TestBroker::start().await;
    all_refused(&broker, NEVER).await;
    let long = format!("https://ok.example/{}", "a".repeat(2048));
    all_refused(&broker, &[&long]).await;
    for uri in ["https://any.example/x?y=1", "http://localhost:3000/done", "http://127.0.0.1/", "http://[::1]:9000/x"] {
        for ending in endings(&broker, uri).await {
            assert!(ending.starts_with(uri), "{ending}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_kept_to() {
    let broker = TestBroker::builder().setting("POSTPEER_CONNECT__ALLOWED_REDIRECTS", &LIST.join(",")).start().await;
    all_refused(&broker, NEVER).await;
    all_refused(&broker, NOT_LISTED).await;
    for uri in LISTED {
        for ending in endings(&broker, uri).await {
            // The caller's URI byte for byte, and still allowed when parsed again.
            let separator = if uri.contains('?') { '&' } else { '?' };
            assert!(ending.starts_with(&format!("{uri}{separator}status=")), "{ending}");
            let read = url::Url::parse(&ending).unwrap();
            assert!(matches!(read.host_str(), Some("ok.example" | "other.example" | "done")), "{ending}");
        }
    }
}

/// The operator removes an origin from the list while a connection is in progress: it ends on a page of the broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changed_meanwhile_counts() {
    let mut broker = TestBroker::start().await;
    let mut waiting = Vec::new();
    for (answer, query) in [
        (Answer::allow(), "redirectUri=https://gone.example/back"),
        (Answer::deny(), "redirectUri=https://gone.example/back"),
        (Answer::deny(), "redirectUri=https://ok.example/back&cancelRedirectUri=https://gone.example/no"),
        (Answer::allow(), "redirectUri=https://ok.example/back"),
    ] {
        let url = broker.begin("youtube", query).await;
        waiting.push(broker.consent(&url, &answer));
    }
    broker.restart_with_redirects(LIST).await;
    let mut replies = Vec::new();
    for callback in &waiting {
        replies.push(broker.arrive(callback).await);
    }
    assert_eq!((replies[0].status, replies[0].location().as_str()), (200, ""));
    assert!(replies[0].text.contains("is connected"), "{}", replies[0].text);
    assert_eq!((replies[1].status, replies[1].location().as_str()), (200, ""));
    assert!(replies[1].text.contains("You declined at"), "{}", replies[1].text);
    assert_eq!(
        replies[2].location(),
        "https://ok.example/back?status=cancelled&platform=youtube&error=access_denied",
        "the other URI of the same connection is still good"
    );
    assert!(replies[3].location().starts_with("https://ok.example/back?status=success&"));
    assert!(replies.iter().all(|reply| !reply.text.contains("gone.example")));
}
