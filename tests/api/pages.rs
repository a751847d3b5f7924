//! The pages at the end of a connection: their words, that outside text is escaped, and the headers of all answers.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postpeer::domain::access_key::Scope;
use postpeer::domain::failure::Failure;
use postpeer::domain::secret::Digest256;
use postpeer::domain::time::Clock as _;
use postpeer::http::routes::ROUTES;
use postpeer::sandbox::{Answer, Fault, Step};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{Reply, TestBroker, parameter, profile};

/// Text that would have an effect in a page if it were not escaped.
const PAYLOADS: &str = include_str!("../support/payloads.txt");

/// The tags of a page in order, without attributes.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|rest| rest.split(['>', ' ', '\n']).next().unwrap()).collect()
}

/// The page's text: a line per heading, paragraph, summary, and term with its definition.
fn text(page: &str) -> String {
    let main = page.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
    let mut lines: Vec<String> = Vec::new();
    for piece in main.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap();
        match (tag.split(' ').next().unwrap(), lines.last_mut()) {
            ("h1" | "p" | "dt" | "summary", _) => lines.push(text.to_owned()),
            ("dd", Some(line)) => *line = format!("{line}: {text}"),
            (_, Some(line)) => line.push_str(text.trim_end_matches('\n')),
            (_, None) => {}
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    lines.join("\n")
}

/// Asserts that a connection's page has the right headers and loads nothing from elsewhere.
fn assert_page(reply: &Reply) {
    assert_headers(reply, false, "");
    let page = &reply.text;
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8", "{page}");
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = STANDARD.encode(Sha256::digest(style));
    assert_eq!(
        reply.header("content-security-policy"),
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; \
             form-action 'none'"
        )
    );
    for never in ["<script", "<img", "<iframe", "<object", "<embed", "<form", "<base", "@import", "url("] {
        assert!(!page.contains(never), "{never} in {page}");
    }
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
        for never in ["//", "src=", " style=", " on"] {
            assert!(!tag.contains(never), "{never} in {page}");
        }
        let link = tag.split("href=\"").nth(1).map(|rest| rest.split('"').next().unwrap());
        let is_ours =
            |link: &str| ["/assets/icon-", "/connect/result/", "?lang="].iter().any(|own| link.starts_with(own));
        assert!(link.is_none_or(is_ours), "{link:?} in {page}");
    }
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"), "{page}");
    assert_eq!(page.matches("<h1>").count(), 1, "{page}");
}

/// The opener policy that separates a document from the page that opened its window.
const APART: &str = "same-origin";

/// `opener`: the opener policy; empty for what an app may open in a popup.
fn assert_headers(reply: &Reply, https: bool, opener: &str) {
    // Only what is the same for everyone may be kept.
    let caching = if reply.header("etag").is_empty() { "no-store" } else { "no-cache" };
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", caching),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", opener),
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
    assert!(!policy.contains("unsafe"), "{policy}");
    // Only the API's page, which is the same for everyone, has a script: its own.
    for script in policy.split("; ").filter(|directive| directive.starts_with("script-src")) {
        assert!(script.starts_with("script-src 'sha256-") && script.split(' ').count() == 2, "{policy}");
        assert_eq!(caching, "no-cache", "{policy}");
    }
    assert!(reply.header("x-request-id").starts_with("req_"));
    assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{:?}", reply.headers);
}

/// The page at the end of a connection without a `redirectUri`.
async fn page(broker: &TestBroker, platform: &str, query: &str, answer: &Answer) -> Reply {
    let url = broker.begin(platform, query).await;
    let reply = broker.browse(&broker.consent(&url, answer)).await;
    assert_eq!((reply.status, reply.location().as_str()), (200, ""), "{}", reply.text);
    assert_page(&reply);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn success_names_the_account_the_platform_and_the_profile() {
    let broker = TestBroker::start().await;
    let winter = profile(&broker, "Winter campaign").await;
    let reply = page(&broker, "twitter", &format!("profileId={winter}"), &Answer::allow()).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    X (Twitter) is connected
    The app can use this account from now on.
    Account: Ada Marlow @ada_marlow
    Platform: X (Twitter)
    Profile: Winter campaign
    You can withdraw this at any time, in the app or in your settings at X (Twitter).
    You can close this tab now.
    ");
    assert!(reply.text.contains("<title>X (Twitter) is connected</title>"), "{}", reply.text);
    let reply = page(&broker, "acme", "", &Answer::allow().account("basil")).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    A
    Acme is connected
    The app can use this account from now on.
    Account: Basil &#60;b&#62;Quince&#60;/b&#62; &#38; Söhne 🦊
    Platform: Acme
    You can withdraw this at any time, in the app or in your settings at Acme.
    You can close this tab now.
    ");
    let reply = page(&broker, "threads", "", &Answer::allow().account("basil")).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    Threads is connected
    The app can use this account from now on.
    Account: basil.quince @basil.quince
    Platform: Threads
    You can withdraw this at any time, in the app or in your settings at Threads.
    You can close this tab now.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_connection_is_told_as_such() {
    let broker = TestBroker::start().await;
    let reply = page(&broker, "linkedin", "", &Answer::deny()).await;
    insta::assert_snapshot!(text(&reply.text), @r"
    LinkedIn was not connected
    You declined at LinkedIn.
    Nothing was connected, and nothing was stored.
    If you want to connect it after all, start again.
    Try again
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
                broker.change_flow(&flow, |flow| flow.consume(consumed_by, broker.clock.now()));
            }
            Failure::PlatformAnswerUnreadable => fail(Step::Token, Fault::Html),
            Failure::PlatformThrottled => fail(Step::Token, Fault::RateLimited),
            Failure::PlatformUnavailable => fail(Step::Token, Fault::ServerError),
            Failure::StorageFailed => {
                let changed = broker
                    .sql()
                    .execute("UPDATE flows SET pkce_verifier = zeroblob(length(pkce_verifier)) WHERE id = ?1", [&flow]);
                assert_eq!(changed, Ok(1));
            }
            // The sandbox says none of these: they are put in the place of a denial.
            Failure::AccountInactive
            | Failure::AccountMismatch
            | Failure::AccountThrottled
            | Failure::ApiNotEnabled
            | Failure::ApiVersionRetired
            | Failure::AppMissing
            | Failure::AppOrGrantRejected
            | Failure::BillingLimitReached
            | Failure::IdTokenRejected => {
                callback.push_str("&error=access_denied");
                broker.browse(&callback).await;
                let outcome = json!({"status": "failed", "failure": failure.code()}).to_string();
                let changed = broker.sql().execute("UPDATE flows SET outcome = ?2 WHERE id = ?1", [&flow, &outcome]);
                assert_eq!(changed, Ok(1));
            }
            other => panic!("{other:?} ends no connection"),
        }
        let reply = broker.browse(&callback).await;
        broker.sandbox().clear();
        let status = if failure == Failure::AccountMismatch { 409 } else { 200 };
        assert_eq!((reply.status, reply.location().as_str()), (status, ""), "{}", reply.text);
        assert_page(&reply);
        // A reload is another request, and the log has nothing about it. Only an expired connection has no such page.
        let id = if failure == Failure::FlowExpired { reply.header("x-request-id") } else { &flow };
        assert!(reply.text.contains(&format!("<code>{}</code>", failure.code())), "{failure:?}: {}", reply.text);
        assert!(reply.text.contains(&format!("<code>{id}</code>")), "{failure:?}: {}", reply.text);
        assert!(codes.insert(failure.code()));
        told.push(text(&reply.text).replace(id, "[id]"));
        let german = broker.browse(&format!("{callback}&lang=de")).await.text;
        assert!(german.contains("<html lang=\"de\">"), "{failure:?}: {german}");
        let english = failure.next_step(platform, broker.broker().console(platform)).replace('\'', "&#39;");
        let english = english.replace('"', "&#34;");
        assert!(!german.contains(&english), "{failure:?}: {german}");
    }
    insta::assert_snapshot!(told.join("\n\n"), @r"
    Google Business Profile was not connected
    Google Business Profile has not approved this service yet. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: access_not_approved
    Next step for the operator: Ask for access to the API of googlebusiness at https://console.cloud.google.com/apis (at Google, the form &#34;Application for Basic API Access&#34; of the Business Profile APIs; at X, an app in a project that is enrolled for API v2). At Meta, also see that &#34;Require App Secret&#34; is off in the app&#39;s settings, &#34;Advanced&#34;.

    X (Twitter) was not connected
    Your account at X (Twitter) is deactivated or suspended. Nothing was connected, and nothing was stored.
    Settle that at the platform first, then start again.
    Try again
    Details for support
    Connection: [id]
    Error: account_inactive

    X (Twitter) was not connected
    You signed in at X (Twitter) with another account than the one to be connected again. Nothing was connected, and nothing was stored.
    Sign out there, then start again and sign in with the account that is connected already. To connect this other account as well, go back to the app and add it there.
    Try again
    Details for support
    Connection: [id]
    Error: account_mismatch

    X (Twitter) was not connected
    X (Twitter) allows no more requests for this account at the moment. Nothing was connected, and nothing was stored.
    Wait ten minutes, then start again. If it says the same then, try again tomorrow.
    Try again
    Details for support
    Connection: [id]
    Error: account_throttled

    X (Twitter) was not connected
    This service is not fully set up at X (Twitter). Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: api_not_enabled
    Next step for the operator: Enable the API of twitter for the app&#39;s project at https://console.x.com, then start again in a few minutes.

    X (Twitter) was not connected
    This service uses a version of X (Twitter) that no longer exists. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: api_version_retired
    Next step for the operator: Set api_version of [platforms.twitter] to a version that the platform lists as current (LinkedIn: YYYYMM).

    X (Twitter) was not connected
    This service no longer uses the app at X (Twitter) that this connection began with. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: app_missing
    Next step for the operator: See that [platforms.twitter] is not disabled and has the client id that the connection was begun with, or connect the account again.

    YouTube was not connected
    YouTube opens this service only to invited people so far. Nothing was connected, and nothing was stored.
    If you were invited there, accept the invitation first, then start again. If not, ask the people who run this service.
    Details for support
    Connection: [id]
    Error: app_not_public
    Next step for the operator: Publish the app at https://console.cloud.google.com/apis, or admit the account there: as a tester, who then accepts the invitation, or as a member of the app&#39;s organization.

    X (Twitter) was not connected
    X (Twitter) refused the connection and does not say why. Nothing was connected, and nothing was stored.
    Wait a few minutes, then start again. If it happens again, tell the people who run this service.
    Try again
    Details for support
    Connection: [id]
    Error: app_or_grant_rejected
    Next step for the operator: If all accounts of the app are affected, compare client_id and client_secret of [platforms.twitter] with the app at https://console.x.com; if it is this one, its owner connects it again.

    X (Twitter) was not connected
    X (Twitter) refused what this service asks for. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: authorization_refused
    Next step for the operator: Check that the scopes of [platforms.twitter] are enabled for the app at https://console.x.com. The log has the code of the platform, if it gave one.

    X (Twitter) was not connected
    This service has used up what it pays for at X (Twitter). Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: billing_limit_reached
    Next step for the operator: Buy credits or raise the spending limit at https://console.x.com.

    YouTube was not connected
    Your organization does not allow this service at YouTube. Nothing was connected, and nothing was stored.
    Ask your organization&#39;s administrator to allow it, then start again.
    Try again
    Details for support
    Connection: [id]
    Error: blocked_by_administrator

    YouTube was not connected
    YouTube does not know this service&#39;s address. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: callback_url_rejected
    Next step for the operator: Register the callback URL that `postpeer check` prints for youtube with the app at https://console.cloud.google.com/apis, to the letter.

    LinkedIn was not connected
    LinkedIn did not accept this service. It is not about your account. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: credentials_rejected
    Next step for the operator: Compare client_id and client_secret (or the private key) of [platforms.linkedin], or those of your own app, with the app at https://www.linkedin.com/developers/apps; refreshes resume when the secret is changed.

    X (Twitter) was not connected
    The permission from X (Twitter) had expired or was used before. Nothing was connected, and nothing was stored.
    Go back to the app and start again.
    Try again
    Details for support
    Connection: [id]
    Error: exchange_rejected

    X (Twitter) was not connected
    This took too long: the connection to X (Twitter) was not finished in time. Nothing was connected, and nothing was stored.
    Go back to the app and start again. You have a few minutes from there to here.
    Details for support
    Request: [id]
    Error: flow_expired

    X (Twitter) was not connected
    X (Twitter) did not prove whose account it is. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: id_token_rejected
    Next step for the operator: The log says what is wrong with the id_token. Check issuer, client_id and scopes (openid among them) of [platforms.twitter], and this machine&#39;s clock.

    X (Twitter) was not connected
    X (Twitter) did not say whose account it is. Nothing was connected, and nothing was stored.
    Wait a few minutes, then start again. If it happens again, tell the people who run this service.
    Try again
    Details for support
    Connection: [id]
    Error: identity_unavailable
    Next step for the operator: If it happens to everyone, check that the scopes of [platforms.twitter] are enabled for the app at https://console.x.com, and enough for it to say who connected.

    X (Twitter) was not connected
    This service stopped while it connected your account at X (Twitter). Your account may still be connected in the next minutes.
    Look in the app in a few minutes. If your account is not there, start again.
    Details for support
    Connection: [id]
    Error: interrupted

    YouTube was not connected
    YouTube has no account of yours that can be connected. Nothing was connected, and nothing was stored.
    Make sure that you are signed in with the right account there. A YouTube account needs a channel, an Instagram account must be a professional one. Then start again.
    Try again
    Details for support
    Connection: [id]
    Error: no_account

    YouTube was not connected
    A permission was missing, so YouTube did not say whose account it is. Nothing was connected, and nothing was stored.
    These permissions are needed: https://www.googleapis.com/auth/youtube.readonly
    Start again, and leave all permissions ticked.
    Try again
    Details for support
    Connection: [id]
    Error: permission_missing

    X (Twitter) was not connected
    X (Twitter) sent an answer that could not be understood. Nothing was connected, and nothing was stored.
    Wait a few minutes, then start again. If it happens again, tell the people who run this service.
    Try again
    Details for support
    Connection: [id]
    Error: platform_answer_unreadable
    Next step for the operator: If it goes on, check token_url and api_url of [platforms.twitter]; if they are right, the platform changed its answers. Refreshes are retried automatically, and their answers are kept.

    X (Twitter) was not connected
    X (Twitter) is receiving too many requests right now. Nothing was connected, and nothing was stored.
    Wait ten minutes, then start again. If it says the same then, try again tomorrow.
    Try again
    Details for support
    Connection: [id]
    Error: platform_throttled

    X (Twitter) was not connected
    X (Twitter) cannot be reached or has a problem of its own. Nothing was connected, and nothing was stored.
    Nobody here can fix this. Wait a few minutes, then start again.
    Try again
    Details for support
    Connection: [id]
    Error: platform_unavailable

    X (Twitter) was not connected
    Your account could not be saved. Nothing was connected, and nothing was stored.
    Only the people who run this service can fix this. Please tell them: trying again will not help before that.
    Details for support
    Connection: [id]
    Error: storage_failed
    Next step for the operator: The log says why the database failed; then the account&#39;s owner starts again.
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
    It was finished before, with another answer. Nothing was changed now.
    Look in the app whether your account is connected. If it is not, start again there.
    Details for support
    Request: [id]
    Error: callback_refused This connection was already finished, with another answer.

    malformed: The answer could not be read
    The platform&#39;s answer arrived incomplete. Nothing was connected, and nothing was stored.
    Go back to the app and start again, without editing the address.
    Details for support
    Request: [id]
    Error: callback_refused The platform&#39;s answer is incomplete or garbled.

    other platform: This answer belongs to another platform
    Nothing was connected, and nothing was stored.
    Go back to the app and start again.
    Details for support
    Request: [id]
    Error: callback_refused The answer belongs to a connection at another platform.

    unknown: This link has expired or was already used
    Such a link works once, and for a few minutes, and only with its whole address. Nothing was connected now.
    Look in the app whether your account is connected. If it is not, start again there.
    Details for support
    Request: [id]
    Error: callback_refused No connection is waiting for this answer.

    prefetch: Not yet
    Your browser loaded this page ahead of you. Nothing has happened so far.
    Load this page again to finish the connection.
    Details for support
    Request: [id]
    Error: prefetch_refused A connection is finished when it is visited, not when it is prefetched or embedded.
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
    for payload in PAYLOADS.lines() {
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
    for payload in PAYLOADS.lines().chain(["call-0800-evil", "\u{202e}live", "a\u{0}b", "sundered\napart"]) {
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
            for part in ["window.__x", "evil", "7*7", "Signed in", "onmouseover", "live", "sundered", "&lt;", "&#38;lt"]
            {
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
            let path = path.replace("{id}", "int_0").replace("{platform}", "twitter").replace("{file}", "x");
            let is_of_connection = path.starts_with("/connect/") || path.ends_with("/callback");
            let opener = if is_of_connection { "" } else { APART };
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
                        assert_headers(&reply, true, opener);
                        statuses.insert(reply.status);
                    }
                }
            }
        }
    }
    for path in ["/", "/nothing", "/v1/connect", "/metrics", "//", "/%00", "/v1/connect/twitter/callback/"] {
        let reply = broker.browse(&format!("{}{path}", broker.url)).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_headers(&reply, true, if path.ends_with("/callback/") { "" } else { APART });
    }
    let long = broker.browse(&format!("/v1/health?{}", "a".repeat(8200))).await;
    assert_eq!(long.status, 414);
    assert_headers(&long, true, APART);
    let large = broker.call("POST", "/v1/profiles", Some(json!({"name": "x".repeat(70_000)}))).await;
    assert_eq!(large.status, 413);
    assert_headers(&large, true, APART);
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 201, 400, 401, 403, 404, 405, 415]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_result_holds_neither_code_nor_state() {
    let broker = TestBroker::start().await;
    for answer in [Answer::allow(), Answer::deny()] {
        let callback = broker.consent(&broker.begin("twitter", "").await, &answer);
        let reply = broker.visit(&callback).await;
        let location = reply.location();
        assert_eq!((reply.status, reply.text.as_str()), (303, ""));
        let ticket = location.strip_prefix("/connect/result/").unwrap();
        for secret in [parameter(&callback, "state"), parameter(&callback, "code")].into_iter().flatten() {
            assert!(!location.contains(&secret), "{location}");
        }
        assert_eq!(broker.visit(&callback).await.location(), location, "a reload leads to the same");
        let shown = broker.visit(&location).await;
        assert_page(&shown);
        assert_eq!((shown.status, shown.text == broker.visit(&location).await.text), (200, true));

        // Half of the ticket can be computed from the state; the other half cannot.
        let (first, rest) = ticket.split_at(43);
        for forged in [first.to_owned(), format!("{first}{}", rest.to_lowercase()), String::from("x"), rest.to_owned()]
        {
            let reply = broker.visit(&format!("/connect/result/{forged}")).await;
            assert_eq!(reply.status, 404, "{forged}");
            assert!(reply.text.contains("This page has expired"), "{}", reply.text);
        }
        broker.clock.advance(Duration::from_mins(11));
        broker.broker().purge_expired().await.unwrap();
        assert_eq!(broker.visit(&location).await.status, 404, "a result is shown for some minutes");
    }
    let pending = broker.begin("twitter", "").await;
    assert_eq!(broker.visit(&format!("/connect/result/{}", parameter(&pending, "state").unwrap())).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_connection_is_tried_again_as_it_was_begun() {
    let broker = TestBroker::start().await;
    let winter = profile(&broker, "Winter campaign").await;
    let begin = format!("profileId={winter}");
    let failed = async |fault| {
        broker.sandbox().fail_next("twitter", Step::Token, fault, 3).unwrap();
        let callback = broker.consent(&broker.begin("twitter", &begin).await, &Answer::allow());
        let location = broker.visit(&callback).await.location();
        broker.sandbox().clear();
        location
    };
    let result = failed(Fault::ServerError).await;
    let retry = format!("{result}/retry");
    assert!(broker.visit(&result).await.text.contains(&format!("href=\"{retry}\"")));
    for (name, value, status) in [("sec-fetch-site", "cross-site", 403), ("sec-purpose", "prefetch", 503)] {
        let refused = Reply::of(broker.request("GET", &retry).header(name, value).send().await.unwrap()).await;
        assert_eq!((refused.status, refused.location().as_str()), (status, ""), "{name}");
        assert_page(&refused);
    }
    let again = broker.visit(&retry).await;
    assert_eq!(again.status, 303, "{}", again.text);
    let page = broker.browse(&broker.consent(&again.location(), &Answer::allow())).await;
    assert!(page.text.contains("is connected") && page.text.contains("Winter campaign"), "{}", page.text);

    // What worked is not begun again.
    let callback = broker.consent(&broker.begin("twitter", "").await, &Answer::allow());
    let connected = broker.visit(&callback).await.location();
    assert!(!broker.visit(&connected).await.text.contains("/retry"));
    assert_eq!(broker.visit(&format!("{connected}/retry")).await.status, 404);

    // Nor is what a key began that was revoked since.
    let result = failed(Fault::ServerError).await;
    let revoked = broker.sql().execute("UPDATE access_keys SET revoked_at = 1, mac = NULL, mac_dek_id = NULL", []);
    assert_eq!(revoked, Ok(1));
    assert_eq!(broker.visit(&format!("{result}/retry")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_again_is_not_blamed_for_what_was_changed_meanwhile() {
    let mut broker = TestBroker::start().await;
    let callback = broker.consent(&broker.begin("twitter", "").await, &Answer::deny());
    let result = broker.visit(&callback).await.location();
    broker.restart_with(|config| config.connect.require_binding = true).await;
    let page = broker.visit(&format!("{result}/retry")).await;
    assert_eq!(page.status, 400);
    assert!(page.text.contains("This is not available any more"), "{}", page.text);
    assert!(!page.text.contains("could not be understood"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_speak_the_language_of_the_person() {
    let broker = TestBroker::start().await;
    let ask = async |path: &str, accepted: &str| {
        let request = broker.request("GET", path).header("accept-language", accepted);
        Reply::of(request.send().await.unwrap()).await.text
    };
    let callback = broker.consent(&broker.begin("twitter", "").await, &Answer::allow());
    let result = broker.visit(&callback).await.location();
    let refused = "/v1/connect/twitter/callback?state=x&code=secret";
    for (path, english, german) in [
        (result.as_str(), "X (Twitter) is connected", "X (Twitter) ist verbunden"),
        (refused, "This link has expired or was already used", "Dieser Link ist abgelaufen oder wurde schon benutzt"),
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        for (query, accepted, code, told) in [
            ("", "de-CH,de;q=0.9", "de", german),
            ("", "fr", "en", english),
            ("lang=de", "en", "de", german),
            ("lang=en", "de", "en", english),
        ] {
            let page = ask(&format!("{path}{separator}{query}"), accepted).await;
            let other = if code == "de" { "en" } else { "de" };
            assert!(page.contains(&format!("<html lang=\"{code}\">")) && page.contains(told), "{page}");
            assert!(page.contains(&format!("<a href=\"?lang={other}\" lang=\"{other}\"")), "{page}");
            assert!(!page.contains("secret"), "{page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_project_say_who_asks() {
    let logo = "<svg xmlns='http://www.w3.org/2000/svg'><script>window.__x=1</script></svg>";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), logo).unwrap();
    let toml = format!(
        "[pages]\napp_name = \"Acme\"\nprivacy_url = \"https://acme.example/privacy\"\nlogo_file = {:?}\n\
         [projects.shop.pages]\napp_name = \"Acme Shop\"\naccent = \"navy\"\nhome_url = \"https://shop.example\"\n",
        file.path()
    );
    let broker = TestBroker::builder().toml(&toml).start().await;
    let page = async |key: &str| {
        let begun = broker.call_as(key, "GET", "/v1/connect/facebook", None).await;
        let callback = broker.consent(begun.json["url"].as_str().unwrap(), &Answer::allow());
        let choice = broker.visit(&broker.visit(&callback).await.location()).await.text;
        let begun = broker.call_as(key, "GET", "/v1/connect/twitter", None).await;
        let callback = broker.consent(begun.json["url"].as_str().unwrap(), &Answer::allow());
        [choice, broker.browse(&callback).await.text]
    };
    for page in page(&broker.key).await {
        assert!(page.contains("<bdi>Acme</bdi>") && page.contains("https://acme.example/privacy"), "{page}");
        assert!(!page.contains("shop") && !page.contains("#000080"), "{page}");
    }
    let pages = page(&broker.key("shop", &[Scope::Connect]).await).await;
    for page in &pages {
        assert!(page.contains("<a href=\"https://shop.example/\">") && page.contains("<bdi>Acme Shop</bdi>"), "{page}");
        assert!(page.contains("https://acme.example/privacy") && page.contains("--accent:#000080"), "{page}");
    }
    assert!(pages[1].contains("Back to Acme Shop"), "{}", pages[1]);

    let path = pages[0].split("<img src=\"").nth(1).unwrap().split('"').next().unwrap();
    let served = broker.visit(path).await;
    assert_eq!((served.status, served.text.as_str()), (200, logo));
    for (name, value) in [
        ("content-type", "image/svg+xml"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "public, max-age=31536000, immutable"),
    ] {
        assert_eq!(served.header(name), value, "{name}");
    }
    assert_eq!(broker.visit("/assets/logo-0000000000000000.svg").await.status, 404);
}

/// Every built-in platform has a mark of its own.
#[tokio::test(flavor = "multi_thread")]
async fn every_platform_of_the_broker_has_its_mark() {
    let broker = TestBroker::start().await;
    let mut marks = BTreeSet::new();
    let link = broker.call("POST", "/v1/connect/links", Some(json!({}))).await.json["link"]["url"].clone();
    let page = broker.visit(link.as_str().unwrap()).await.text;
    for platform in postpeer::platforms::built_in_names() {
        let button = format!("name=\"connect\" value=\"{platform}\"");
        let offer = page.split("<li>").find(|offer| offer.contains(&button)).unwrap_or_else(|| panic!("{platform}"));
        let mark = offer.split("<svg class=\"mark\"").nth(1).unwrap().split("</svg>").next().unwrap().to_owned();
        assert!(!mark.contains("<text"), "{platform} has no mark: draw one in src/http/pages/marks.rs");
        assert!(marks.insert(mark), "{platform} has the mark of another platform");
    }
}
