//! The pages at the end of a connection: their words, that outside text is escaped, and the headers of all answers.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postpeer::domain::access_key::Scope;
use postpeer::domain::failure::Failure;
use postpeer::domain::secret::Digest256;
use postpeer::http::routes::ROUTES;
use postpeer::sandbox::{Answer, Fault, Step};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{Reply, TestBroker, parameter};

/// Text that would have an effect in a page if it were not escaped.
const PAYLOADS: [&str; 12] = [
    "<script>window.__x=1</script>",
    "<img src=x onerror=window.__x=1>",
    "\"><svg onload=window.__x=1>",
    "' onmouseover='window.__x=1",
    "</bdi></dd></dl></main><h1>Signed in</h1>",
    "</title><script>window.__x=1</script>",
    "</style><style>*{display:none}</style>",
    "<!-- <b>",
    "javascript:window.__x=1",
    "{{7*7}} {% raw %}",
    "&lt;script&gt; &#60;b&#62;",
    "<a href=//evil.example>Continue</a>",
];

/// The tags of a page in order, without attributes.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|rest| rest.split(['>', ' ', '\n']).next().unwrap()).collect()
}

/// The page's text: a line per heading, paragraph, and term with its definition.
fn text(page: &str) -> String {
    let main = page.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
    let mut lines: Vec<String> = Vec::new();
    for piece in main.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap();
        match (tag.split(' ').next().unwrap(), lines.last_mut()) {
            ("h1" | "p" | "dt", _) => lines.push(text.to_owned()),
            ("dd", Some(line)) => *line = format!("{line}: {text}"),
            (_, Some(line)) => line.push_str(text.trim_end_matches('\n')),
            (_, None) => {}
        }
    }
    lines.join("\n")
}

/// Asserts that a connection's page has the right headers and loads nothing from elsewhere.
fn assert_page(reply: &Reply) {
    assert_headers(reply, false);
    let page = &reply.text;
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8", "{page}");
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = STANDARD.encode(Sha256::digest(style));
    assert_eq!(
        reply.header("content-security-policy"),
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        )
    );
    for never in ["<script", "<img", "<link", "<iframe", "<object", "<embed", "<form", "<base", "@import", "url("] {
        assert!(!page.contains(never), "{never} in {page}");
    }
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
        for never in ["//", "src=", "href=", " style=", " on"] {
            assert!(!tag.contains(never), "{never} in {page}");
        }
    }
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"), "{page}");
    assert_eq!(page.matches("<h1>").count(), 1, "{page}");
}

fn assert_headers(reply: &Reply, https: bool) {
    // Only what is the same for everyone may be kept.
    let caching = if reply.header("etag").is_empty() { "no-store" } else { "no-cache" };
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", caching),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("strict-transport-security", if https { "max-age=31536000" } else { "" }),
        ("server", ""),
        ("set-cookie", ""),
        ("access-control-allow-origin", ""),
    ] {
        assert_eq!(reply.header(name), value, "{name} of {} {}", reply.status, reply.text);
        assert!(reply.headers.get_all(name).iter().count() <= 1, "{name} twice");
    }
    let policy = reply.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
    assert!(reply.header("x-request-id").starts_with("req_"));
}

/// The page at the end of a connection without a `redirectUri`.
async fn page(broker: &TestBroker, platform: &str, query: &str, answer: &Answer) -> Reply {
    let url = broker.begin(platform, query).await;
    let reply = broker.browse(&broker.consent(&url, answer)).await;
    assert_eq!((reply.status, reply.location().as_str()), (200, ""), "{}", reply.text);
    assert_page(&reply);
    reply
}

async fn profile(broker: &TestBroker, name: &str) -> String {
    let made = broker.call("POST", "/v1/profiles", Some(json!({"name": name}))).await;
    made.json["profile"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn success_names_the_account_the_platform_and_the_profile() {
    let broker = TestBroker::start().await;
    let winter = profile(&broker, "Winter campaign").await;
    let reply = page(&broker, "twitter", &format!("profileId={winter}"), &Answer::allow()).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    X (Twitter) is connected
    Account: Ada Marlow @ada_marlow
    Platform: X (Twitter)
    Profile: Winter campaign
    You can close this tab.
    ");
    assert!(reply.text.contains("<title>X (Twitter) is connected</title>"), "{}", reply.text);
    let reply = page(&broker, "acme", "", &Answer::allow().account("basil")).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    Acme is connected
    Account: Basil &#60;b&#62;Quince&#60;/b&#62; &#38; Söhne 🦊
    Platform: Acme
    You can close this tab.
    ");
    let reply = page(&broker, "threads", "", &Answer::allow().account("basil")).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    Threads is connected
    Account: basil.quince @basil.quince
    Platform: Threads
    You can close this tab.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_connection_is_told_as_such() {
    let broker = TestBroker::start().await;
    let reply = page(&broker, "linkedin", "", &Answer::deny()).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    LinkedIn was not connected
    You cancelled, so nothing was connected and nothing was stored.
    You can close this tab, or go back to the app and start again.
    ");
}

/// Provokes every failure of a connection and reads its page.
#[tokio::test(flavor = "multi_thread")]
async fn every_failure_says_what_happened_and_what_to_do() {
    let broker = TestBroker::builder().setting("POSTPEER_PLATFORMS__LINKEDIN__CLIENT_SECRET", "another").start().await;
    let mut told = Vec::new();
    let mut codes = BTreeSet::new();
    for failure in Failure::OF_CONNECTION {
        let platform = match failure {
            Failure::AccessNotApproved => "googlebusiness",
            Failure::AppNotPublic
            | Failure::BlockedByAdministrator
            | Failure::CallbackUrlRejected
            | Failure::NoAccount
            | Failure::PermissionMissing => "youtube",
            Failure::CredentialsRejected => "linkedin",
            _ => "twitter",
        };
        let answer = match failure {
            Failure::NoAccount => Answer::allow().account("viewer"),
            Failure::PermissionMissing => Answer::allow().fault("denied_scopes"),
            _ => Answer::allow(),
        };
        let url = broker.begin(platform, "").await;
        let flow = broker.last_flow();
        let mut callback = broker.consent(&url, &answer);
        let fail = |step, fault| broker.sandbox().fail_next(platform, step, fault, 3).unwrap();
        match failure {
            Failure::AccessNotApproved => fail(Step::Accounts, Fault::NoQuota),
            Failure::AppNotPublic => callback.push_str("&error=org_internal"),
            Failure::AuthorizationRefused => callback.push_str("&error=invalid_scope"),
            Failure::BlockedByAdministrator => callback.push_str("&error=admin_policy_enforced"),
            Failure::CallbackUrlRejected => callback.push_str("&error=redirect_uri_mismatch"),
            Failure::CredentialsRejected | Failure::NoAccount | Failure::PermissionMissing => {}
            Failure::ExchangeRejected => fail(Step::Token, Fault::Expired),
            Failure::FlowExpired => broker.clock.advance(Duration::from_mins(10)),
            Failure::IdentityUnavailable => fail(Step::Identity, Fault::Html),
            Failure::Interrupted => {
                // The row that a killed broker leaves.
                let consumed_by = Digest256::of(format!("code:{}", parameter(&callback, "code").unwrap()).as_bytes());
                let changed = broker.sql().execute(
                    "UPDATE flows SET consumed_by = ?2, pkce_verifier = NULL WHERE id = ?1",
                    rusqlite::params![flow, consumed_by.as_bytes()],
                );
                assert_eq!(changed, Ok(1));
            }
            Failure::PlatformAnswerUnreadable => fail(Step::Token, Fault::Html),
            Failure::PlatformThrottled => fail(Step::Token, Fault::RateLimited),
            Failure::PlatformUnavailable => fail(Step::Token, Fault::ServerError),
            Failure::StorageFailed => {
                let changed = broker
                    .sql()
                    .execute("UPDATE flows SET pkce_verifier = zeroblob(length(pkce_verifier)) WHERE id = ?1", [flow]);
                assert_eq!(changed, Ok(1));
            }
            // The sandbox says none of these: they are put in the place of a denial.
            Failure::AccountInactive
            | Failure::AccountThrottled
            | Failure::ApiNotEnabled
            | Failure::ApiVersionRetired
            | Failure::AppOrGrantRejected
            | Failure::BillingLimitReached
            | Failure::IdTokenRejected => {
                callback.push_str("&error=access_denied");
                broker.browse(&callback).await;
                let outcome = json!({"status": "failed", "failure": failure.code()}).to_string();
                let changed = broker.sql().execute("UPDATE flows SET outcome = ?2 WHERE id = ?1", [flow, outcome]);
                assert_eq!(changed, Ok(1));
            }
            other => panic!("{other:?} ends no connection"),
        }
        let reply = broker.browse(&callback).await;
        broker.sandbox().clear();
        assert_eq!((reply.status, reply.location().as_str()), (200, ""), "{}", reply.text);
        assert_page(&reply);
        let id = reply.header("x-request-id");
        assert!(reply.text.contains(&format!("<code>{}</code>", failure.code())), "{failure:?}: {}", reply.text);
        assert!(reply.text.contains(&format!("<code>{id}</code>")), "{failure:?}: {}", reply.text);
        assert!(codes.insert(failure.code()));
        told.push(text(&reply.text).replace(id, "[id]"));
    }
    insta::assert_snapshot!(told.join("\n\n"), @"
    Google Business Profile was not connected
    Google Business Profile has not approved this service for access to its API.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: access_not_approved, request [id]. Ask for access to the API of googlebusiness at https://console.cloud.google.com/apis (at Google, the form &#34;Application for Basic API Access&#34; of the Business Profile APIs; at X, an app in a project that is enrolled for API v2).

    X (Twitter) was not connected
    The account is deactivated, suspended or taken down at X (Twitter).
    You can fix this: settle it there with your account, then start again.
    For the people who run this service: account_inactive, request [id]

    X (Twitter) was not connected
    X (Twitter) is receiving too many requests for this account right now.
    Only time helps. Wait ten minutes, then go back and start again; if it says the same then, try again tomorrow.
    For the people who run this service: account_throttled, request [id]

    X (Twitter) was not connected
    The API of X (Twitter) is not enabled for this service.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: api_not_enabled, request [id]. Enable the API of twitter for the app&#39;s project at https://console.x.com, then start again in a few minutes.

    X (Twitter) was not connected
    X (Twitter) has retired the version of its API that this service uses.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: api_version_retired, request [id]. Set api_version of [platforms.twitter] to a version that the platform lists as current (LinkedIn: YYYYMM).

    YouTube was not connected
    YouTube opens this service only to people whom its operator admitted there.
    The people who run this service must open it to you. If they invited you there, accept the invitation first, then start again.
    For the people who run this service: app_not_public, request [id]. Publish the app at https://console.cloud.google.com/apis, or admit the account there: as a tester, who then accepts the invitation, or as a member of the app&#39;s organization.

    X (Twitter) was not connected
    X (Twitter) refused, and does not say whether this service&#39;s credentials or the account&#39;s authorization are at fault.
    Wait a few minutes, then go back and start again. If it happens again, tell the people who run this service.
    For the people who run this service: app_or_grant_rejected, request [id]. If all accounts of the app are affected, compare client_id and client_secret of [platforms.twitter] with the app at https://console.x.com; if it is this one, its owner connects it again.

    X (Twitter) was not connected
    X (Twitter) refused to start the connection.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: authorization_refused, request [id]. Check that the scopes of [platforms.twitter] are enabled for the app at https://console.x.com.

    X (Twitter) was not connected
    What this service pays for at X (Twitter) is used up.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: billing_limit_reached, request [id]. Buy credits or raise the spending limit at https://console.x.com.

    YouTube was not connected
    The administrator of the account&#39;s organization does not allow this service at YouTube.
    You can fix this: ask your administrator to allow this service, then start again.
    For the people who run this service: blocked_by_administrator, request [id]

    YouTube was not connected
    YouTube does not know the address that it is to send people back to.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: callback_url_rejected, request [id]. Register the callback URL that `postpeer check` prints for youtube with the app at https://console.cloud.google.com/apis, to the letter.

    LinkedIn was not connected
    LinkedIn did not accept this service&#39;s own credentials.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: credentials_rejected, request [id]. Compare client_id and client_secret of [platforms.linkedin] (or of your own app) with the app at https://www.linkedin.com/developers/apps; refreshes resume when the secret is changed.

    X (Twitter) was not connected
    X (Twitter) did not accept the authorization: it expired or was already used.
    You can fix this: go back and start again.
    For the people who run this service: exchange_rejected, request [id]

    X (Twitter) was not connected
    This took too long: the connection to X (Twitter) was not finished in time.
    You can fix this: go back to the app and start again, there are a few minutes from there to here.
    For the people who run this service: flow_expired, request [id]

    X (Twitter) was not connected
    X (Twitter) did not prove which account you connected, so nothing was kept.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: id_token_rejected, request [id]. The log says what is wrong with the id_token. Check issuer and client_id of [platforms.twitter], and this machine&#39;s clock.

    X (Twitter) was not connected
    X (Twitter) did not tell which account you connected, so nothing was kept.
    Wait a few minutes, then go back and start again. If it happens again, tell the people who run this service.
    For the people who run this service: identity_unavailable, request [id]. If it happens to everyone, check that the scopes of [platforms.twitter] are enabled for the app at https://console.x.com, and enough for it to say who connected.

    X (Twitter) was not connected
    The service stopped while your account was being connected.
    You can fix this: go back and start again.
    For the people who run this service: interrupted, request [id]

    YouTube was not connected
    YouTube has no account for you that can be connected.
    You can fix this: make sure that you are signed in with the right account there (a YouTube account needs a channel, an Instagram account must be a professional one), then start again.
    For the people who run this service: no_account, request [id]

    YouTube was not connected
    YouTube was not allowed to tell which account you connected. That takes these permissions: https://www.googleapis.com/auth/youtube.readonly.
    You can fix this: start again and leave all permissions ticked.
    For the people who run this service: permission_missing, request [id]

    X (Twitter) was not connected
    X (Twitter) answered in a way that could not be understood.
    Wait a few minutes, then go back and start again. If it happens again, tell the people who run this service.
    For the people who run this service: platform_answer_unreadable, request [id]. If it goes on, check token_url and api_url of [platforms.twitter]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.

    X (Twitter) was not connected
    X (Twitter) is receiving too many requests right now.
    Only time helps. Wait ten minutes, then go back and start again; if it says the same then, try again tomorrow.
    For the people who run this service: platform_throttled, request [id]

    X (Twitter) was not connected
    X (Twitter) could not be reached or is having trouble.
    Nobody here can fix this. Wait a few minutes, then go back and start again.
    For the people who run this service: platform_unavailable, request [id]

    X (Twitter) was not connected
    Your account could not be saved.
    The people who run this service must fix this: tell them. Trying again will not help before that.
    For the people who run this service: storage_failed, request [id]. The log says why the database failed; then the account&#39;s owner starts again.
    ");
}

/// Every reason to refuse a callback before it has any effect.
#[tokio::test(flavor = "multi_thread")]
async fn every_refused_callback_says_what_to_do() {
    let broker = TestBroker::start().await;
    let callback = |platform: &str, query: &str| format!("{}/v1/connect/{platform}/callback?{query}", broker.url);
    let begin = async |platform: &str| parameter(&broker.begin(platform, "").await, "state").unwrap();

    let used = begin("twitter").await;
    broker.browse(&callback("twitter", &format!("state={used}&error=access_denied"))).await;
    let state = begin("youtube").await;
    let mut told = Vec::new();
    for (why, url) in [
        ("already used", callback("twitter", &format!("state={used}&code=another"))),
        ("malformed", callback("youtube", &format!("state={state}&code=x&code=y"))),
        ("other platform", callback("twitter", &format!("state={state}&code=x"))),
        ("unknown", callback("youtube", "state=x&code=x")),
    ] {
        let reply = broker.browse(&url).await;
        assert_eq!((reply.status, reply.location().as_str()), (400, ""), "{why}");
        assert_page(&reply);
        assert!(reply.text.contains("<code>callback_refused</code>"), "{why}: {}", reply.text);
        told.push(format!("{why}: {}", text(&reply.text).replace(reply.header("x-request-id"), "[id]")));
    }
    let early =
        broker.request("GET", &callback("youtube", &format!("state={state}&code=x"))).header("sec-purpose", "prefetch");
    let reply = Reply::of(early.send().await.unwrap()).await;
    assert_eq!(reply.status, 503);
    assert_page(&reply);
    told.push(format!("prefetch: {}", text(&reply.text).replace(reply.header("x-request-id"), "[id]")));
    insta::assert_snapshot!(told.join("\n\n"), @r"
    already used: This connection is already finished
    This connection was already finished, with another answer.
    Look in the app whether your account is connected. If it is not, start again there.
    For the people who run this service: callback_refused, request [id]

    malformed: The answer could not be read
    The platform&#39;s answer is incomplete or garbled.
    Go back to the app and start again, without editing the address.
    For the people who run this service: callback_refused, request [id]

    other platform: This answer belongs to another platform
    The answer belongs to a connection at another platform.
    Nothing was connected. Go back to the app and start again.
    For the people who run this service: callback_refused, request [id]

    unknown: This connection is not known
    No connection is waiting for this answer.
    It may have expired, or the address is incomplete. Go back to the app and start again.
    For the people who run this service: callback_refused, request [id]

    prefetch: Not yet
    A connection is finished when it is visited, not when it is prefetched.
    Open this page again to finish the connection.
    For the people who run this service: prefetch_refused, request [id]
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_from_outside_stay_text() {
    let plain = TestBroker::builder().setting("POSTPEER_PLATFORMS__ACME__LABEL", "plain").start().await;
    let basil = Answer::allow().account("basil");
    let shape = async |broker: &TestBroker, name: &str| {
        let id = profile(broker, name).await;
        let mut pages = Vec::new();
        for answer in
            [&basil, &Answer::deny(), &Answer::allow().fault("callback_error"), &Answer::allow().fault("html")]
        {
            pages.push(page(broker, "acme", &format!("profileId={id}"), answer).await.text);
        }
        pages
    };
    let harmless = shape(&plain, "plain").await;
    // The sandbox's account with awkward characters in its name.
    assert!(harmless[0].contains("Basil &#60;b&#62;Quince&#60;/b&#62; &#38; Söhne 🦊"), "{}", harmless[0]);
    for payload in PAYLOADS {
        let broker = TestBroker::builder().setting("POSTPEER_PLATFORMS__ACME__LABEL", payload).start().await;
        let pages = shape(&broker, payload).await;
        for (page, harmless) in pages.iter().zip(&harmless) {
            assert_eq!(tags(page), tags(harmless), "{payload} in {page}");
            assert!(!payload.contains(['<', '"', '\'']) || !page.contains(payload), "{payload} in {page}");
        }
        assert_eq!(pages.len(), harmless.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_callbacks_query_or_path_is_shown() {
    let broker = TestBroker::start().await;
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    for payload in PAYLOADS.into_iter().chain(["call-0800-evil", "\u{202e}live", "a\u{0}b", "line\nbreak"]) {
        let payload = encode(payload);
        let state = parameter(&broker.begin("acme", "").await, "state").unwrap();
        let mut pages = Vec::new();
        for query in [
            format!("state={payload}&code=x"),
            format!("state={state}&code={payload}&code={payload}"),
            format!("state={state}&code=x&iss={payload}&{payload}={payload}&iss={payload}"),
            format!(
                "state={state}&error={payload}&error_description={payload}&error_uri={payload}&error_reason={payload}"
            ),
        ] {
            pages.push(broker.browse(&format!("/v1/connect/acme/callback?{query}")).await);
        }
        pages
            .push(broker.browse(&format!("/v1/connect/{}/callback?state=x&code=x", payload.replace('+', "%20"))).await);
        for reply in pages {
            assert_page(&reply);
            for part in ["window.__x", "evil", "7*7", "Signed in", "onmouseover", "live", "line", "&lt;", "&#38;lt"] {
                assert!(!text(&reply.text).contains(part), "{part} in {}", reply.text);
            }
        }
    }
}

/// Every answer carries the headers, with or without a key, for good requests and bad ones.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_status_carries_the_headers() {
    let broker = TestBroker::builder().public_url("https://connect.example.com").start().await;
    let reader = broker.key("default", &[Scope::Read]).await;
    let nobody = broker.key("default", &[Scope::Tokens]).await;
    let mut statuses = BTreeSet::new();
    for route in ROUTES {
        for path in route.paths {
            let path = path.replace("{id}", "int_0").replace("{platform}", "twitter");
            for method in ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "TRACE"] {
                for key in [None, Some(&broker.key), Some(&reader), Some(&nobody)] {
                    for (query, kind, body) in [
                        ("", "application/json", "{}"),
                        ("?limit=x&limit=y&state=%ff&redirectUri=/", "application/json", "{\"name\": 1"),
                        ("", "text/plain", "x"),
                    ] {
                        let mut request = broker.request(method, &format!("{path}{query}"));
                        if let Some(key) = key {
                            request = request.header("x-access-key", key);
                        }
                        if matches!(method, "POST" | "PATCH" | "PUT") {
                            request = request.header("content-type", kind).body(body);
                        }
                        let reply =
                            Reply::of(request.header("origin", "https://evil.example").send().await.unwrap()).await;
                        assert_headers(&reply, true);
                        statuses.insert(reply.status);
                    }
                }
            }
        }
    }
    for path in ["/", "/nothing", "/v1/connect", "/metrics", "//", "/%00", "/v1/connect/twitter/callback/"] {
        let reply = broker.browse(&format!("{}{path}", broker.url)).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_headers(&reply, true);
    }
    let long = broker.browse(&format!("/v1/health?{}", "a".repeat(8200))).await;
    assert_eq!(long.status, 414);
    assert_headers(&long, true);
    let large = broker.call("POST", "/v1/profiles", Some(json!({"name": "x".repeat(70_000)}))).await;
    assert_eq!(large.status, 413);
    assert_headers(&large, true);
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 400, 401, 403, 404, 405, 415]);
}
