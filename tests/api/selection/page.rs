//! The broker's page for selecting accounts, used like a browser without script.

use std::collections::BTreeSet;

use postpeer::sandbox::{Answer, Step};
use serde_json::json;

use super::{ADA, BACK, arrive, choose, text, total};
use crate::logs;
use crate::support::{Reply, TestBroker, parameter};

/// Runs a hosted connection up to the selection. Returns the page's URL.
async fn page(broker: &TestBroker, query: &str, answer: &Answer) -> String {
    let (_, location) = arrive(broker, "facebook", query, answer).await;
    assert!(location.starts_with(&format!("{}/connect/selection/", broker.url)), "{location}");
    location
}

fn token(page: &str) -> &str {
    page.rsplit('/').next().unwrap()
}

/// Submits the page's form with one of its buttons.
async fn press(broker: &TestBroker, page: &str, action: &str, search: Option<&str>, ticked: &[String]) -> Reply {
    press_from(broker, page, "same-origin", action, search, ticked).await
}

async fn press_from(
    broker: &TestBroker,
    page: &str,
    site: &str,
    action: &str,
    search: Option<&str>,
    ticked: &[String],
) -> Reply {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    if let Some(search) = search {
        form.append_pair("q", search);
    }
    for id in ticked {
        form.append_pair("account", id);
    }
    form.append_pair("action", action);
    let request = broker
        .request("POST", page)
        .header("sec-fetch-site", site)
        .header("content-type", "application/x-www-form-urlencoded");
    let reply = broker.see(Reply::of(request.body(form.finish()).send().await.unwrap()).await).await;
    // The page again, with the ticks in its query.
    match reply.location() {
        location if location.starts_with('?') => {
            let (page, _) = page.split_once('?').unwrap_or((page, ""));
            broker.visit(&format!("{page}{location}")).await
        }
        _ => reply,
    }
}

/// Fields that the page's form would send: ticked checkboxes and hidden fields.
fn ticked(page: &str) -> Vec<String> {
    inputs(page)
        .filter(|tag| tag.contains(" checked") || tag.contains("type=\"hidden\""))
        .map(|tag| value(tag).to_owned())
        .collect()
}

/// The accounts on the page.
fn shown(page: &str) -> Vec<&str> {
    inputs(page).filter(|tag| tag.contains("type=\"checkbox\"")).map(value).collect()
}

fn inputs(page: &str) -> impl Iterator<Item = &str> {
    page.split('<').map(|rest| rest.split('>').next().unwrap()).filter(|tag| tag.contains("name=\"account\""))
}

fn value(tag: &str) -> &str {
    tag.split("value=\"").nth(1).unwrap().split('"').next().unwrap()
}

fn strings(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_choice_and_nothing_of_the_token() {
    let broker = TestBroker::start().await;
    let profile = broker.call("POST", "/v1/profiles", Some(json!({"name": "Marlow & Co"}))).await;
    let profile = text(&profile.json["profile"]["id"]);
    let query = format!("{BACK}&cancelRedirectUri=https://other.example/no&profileId={profile}");
    let url = page(&broker, &query, &Answer::allow()).await;
    let shown_page = broker.browse(&url).await;
    assert_eq!(shown_page.status, 200, "{}", shown_page.text);
    let html = &shown_page.text;
    for told in
        ["Marlow &#38; Daughters", "Harbour Lights", "Riverside Market", "Marlow &#38; Co", "Something missing?"]
    {
        assert!(html.contains(told), "{told} is not in {html}");
    }
    assert_eq!(shown(html), ADA);
    assert!(ticked(html).is_empty());
    assert!(!html.contains("role=\"search\""), "three need no search");
    assert!(!html.contains(token(&url)), "the page shows its token");
    for never in ["<script", "<img", "<iframe", "src=", "url(", "@import", " style=", "href=\"//", "href=\"http"] {
        assert!(!html.contains(never), "{never} in {html}");
    }
    let policy = shown_page.header("content-security-policy");
    assert!(policy.ends_with("frame-ancestors 'none'"), "the app may redirect anywhere: {policy}");
    assert_eq!(shown_page.header("referrer-policy"), "same-origin");
    assert_eq!(shown_page.header("cache-control"), "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ticked_accounts_are_connected_and_a_double_submit_shows_the_same() {
    let broker = TestBroker::start().await;
    let url = page(&broker, BACK, &Answer::allow()).await;
    let none = press(&broker, &url, "connect", None, &[]).await;
    assert_eq!(none.status, 400);
    assert!(none.text.contains("Tick at least one account first."), "{}", none.text);
    let foreign = press(&broker, &url, "connect", None, &strings(&[ADA[0], "page:104000000000001"])).await;
    assert_eq!((foreign.status, foreign.location().as_str()), (400, ""), "{}", foreign.text);
    assert_eq!(total(&broker).await, 0);

    let chosen = strings(&ADA[1..]);
    let done = press(&broker, &url, "connect", None, &chosen).await;
    assert_eq!(done.status, 303, "{}", done.text);
    let location = done.location();
    assert!(location.starts_with("https://app.example/back?nonce=1&status=success&platform=facebook&"), "{location}");
    assert_eq!(parameter(&location, "integrationId").unwrap().split(',').count(), 2);
    assert_eq!(press(&broker, &url, "connect", None, &chosen).await.location(), location);
    assert_eq!(total(&broker).await, 2);

    assert_eq!(press(&broker, &url, "connect", None, &strings(&ADA)).await.status, 404);
    for action in ["search", "all", "cancel"] {
        assert_eq!(press(&broker, &url, action, None, &chosen).await.status, 404, "{action}");
    }
    let gone = broker.browse(&url).await;
    assert_eq!(gone.status, 404);
    assert!(gone.text.contains("There is nothing to choose here any more"), "{}", gone.text);
    broker.clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(press(&broker, &url, "connect", None, &chosen).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_redirect_the_page_says_what_is_connected() {
    let broker = TestBroker::start().await;
    let url = page(&broker, "headless=true", &Answer::allow()).await;
    let policy = broker.browse(&url).await.header("content-security-policy").to_owned();
    assert!(policy.ends_with("form-action 'self'"), "{policy}");
    let done = press(&broker, &url, "connect", None, &strings(&ADA[..2])).await;
    assert_eq!((done.status, done.location().as_str()), (200, ""));
    for told in ["Facebook is connected", "Marlow &#38; Daughters", "Harbour Lights"] {
        assert!(done.text.contains(told), "{told} is not in {}", done.text);
    }
    assert!(!done.text.contains("Riverside Market"), "{}", done.text);
    assert_eq!(press(&broker, &url, "connect", None, &strings(&ADA[..2])).await.text, done.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_does_nothing() {
    let broker = TestBroker::start().await;
    let url = page(&broker, BACK, &Answer::allow()).await;
    // An old browser says only where the form was.
    let own = broker.url.clone();
    for (origin, status) in [("https://evil.example", 403), ("null", 403), (own.as_str(), 400)] {
        let request = broker.request("POST", &url).header("origin", origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body("action=connect");
        assert_eq!(request.send().await.unwrap().status(), status, "{origin}");
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        for action in ["connect", "cancel", "all"] {
            let reply = press_from(&broker, &url, site, action, None, &strings(&ADA)).await;
            assert_eq!((reply.status, reply.location().as_str()), (403, ""), "{site} {action}: {}", reply.text);
        }
    }
    for content_type in ["text/plain", "application/json", "multipart/form-data; boundary=x"] {
        let request = broker.request("POST", &url).header("content-type", content_type);
        let reply = request.body(format!("account={}&action=connect", ADA[0])).send().await.unwrap();
        assert_eq!(reply.status(), 415, "{content_type}");
    }
    assert_eq!(total(&broker).await, 0);
    assert_eq!(press_from(&broker, &url, "none", "connect", None, &strings(&ADA)).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_gives_everything_back() {
    let broker = TestBroker::start().await;
    let query = format!("{BACK}&cancelRedirectUri=https://app.example/no");
    for (query, expected) in [
        (query.as_str(), "https://app.example/no?status=cancelled&platform=facebook&error=access_denied"),
        (BACK, "https://app.example/back?nonce=1&status=cancelled&platform=facebook&error=access_denied"),
        ("", ""),
    ] {
        broker.sandbox().clear();
        let (callback, url) = arrive(&broker, "facebook", query, &Answer::allow()).await;
        let cancelled = press(&broker, &url, "cancel", None, &strings(&ADA)).await;
        assert_eq!(cancelled.location(), expected, "{}", cancelled.text);
        let again = press(&broker, &url, "cancel", None, &[]).await;
        assert_eq!((again.status, again.location()), (cancelled.status, cancelled.location()), "twice is the same");
        assert_eq!(broker.sandbox().requests_at("facebook", Step::Revoke).len(), 1, "given back once");
        assert_eq!(choose(&broker, "facebook", token(&url), &ADA).await.status, 404);
        let reload = broker.browse(&callback).await;
        assert_eq!(reload.location(), expected);
        if expected.is_empty() {
            assert!(
                reload.text.contains("You cancelled here"),
                "the broker's cancel is not the platform's: {}",
                reload.text
            );
        }
        let held: u32 = broker
            .sql()
            .query_row("SELECT count(payload) + count(token_text) FROM selections", [], |row| row.get(0))
            .unwrap();
        assert_eq!(held, 0);
    }
    assert_eq!(total(&broker).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_fifty_accounts_are_searched_and_ticked_without_script() {
    let broker = TestBroker::start().await;
    let url = page(&broker, BACK, &Answer::allow().account("agency")).await;
    let first = broker.browse(&url).await;
    assert_eq!(shown(&first.text).len(), 250);
    assert!(first.text.contains("role=\"search\""), "{}", first.text);

    // Two ticked accounts stay ticked when a search hides them.
    let two = strings(&["page:102000000000001", "page:102000000000025"]);
    let found = press(&broker, &url, "search", Some("NO. 25"), &two).await;
    assert_eq!(shown(&found.text), ["page:102000000000025", "page:102000000000250"]);
    assert_eq!(ticked(&found.text).into_iter().collect::<BTreeSet<_>>(), two.iter().cloned().collect());
    assert!(found.text.contains("2 of 250 shown. 2 ticked, 1 of them not shown."), "{}", found.text);

    // Tick all accounts on the page, then untick them.
    let all_shown = press(&broker, &url, "all", Some("NO. 25"), &two).await;
    assert_eq!(ticked(&all_shown.text).len(), 3);
    let none_shown = press(&broker, &url, "none", Some("NO. 25"), &ticked(&all_shown.text)).await;
    assert_eq!(ticked(&none_shown.text), two[..1]);
    let nothing = press(&broker, &url, "search", Some("<script>alert(1)</script>"), &two).await;
    assert!(nothing.text.contains("No account matches."), "{}", nothing.text);
    assert!(!nothing.text.contains("<script>"), "{}", nothing.text);
    assert_eq!(ticked(&nothing.text), two);

    let by_link = broker.browse(&format!("{url}?q=102000000000007&account={}", two[0])).await;
    assert_eq!((shown(&by_link.text), ticked(&by_link.text)), (vec!["page:102000000000007"], two[..1].to_vec()));

    // Some accounts more than a URL could carry: the page comes at once, with the ticks.
    let most: Vec<String> = shown(&first.text).into_iter().skip(1).map(str::to_owned).collect();
    let in_place = press(&broker, &url, "search", Some(""), &most).await;
    assert_eq!((in_place.status, ticked(&in_place.text)), (200, most));

    // All accounts have a short name in the URL.
    let everything = press(&broker, &url, "all", Some(""), &[]).await;
    let all = ticked(&everything.text);
    assert_eq!(all.len(), 250);
    let done = press(&broker, &url, "connect", Some(""), &all).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert_eq!(parameter(&done.location(), "integrationCount").as_deref(), Some("250"));
    assert_eq!(total(&broker).await, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused() {
    let broker = TestBroker::start().await;
    let url = page(&broker, BACK, &Answer::allow()).await;
    let long = "a".repeat(201);
    for query in [format!("q={long}"), "q=%ff".to_owned(), "q=a&q=b".to_owned(), "account=%ff".to_owned()] {
        let reply = broker.browse(&format!("{url}?{query}")).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.text.starts_with("<!doctype html>"), "{query}: {}", reply.text);
    }
    let many = vec!["a".to_owned(); 10_001];
    assert_eq!(press(&broker, &url, "connect", None, &many).await.status, 400);
    let huge = press(&broker, &url, "search", Some(&"a".repeat(512 * 1024)), &[]).await;
    assert_eq!(huge.status, 413);
    for unknown in [format!("{}/connect/selection/unknown", broker.url), format!("{url}x")] {
        let reply = broker.browse(&unknown).await;
        assert_eq!(reply.status, 404);
        assert!(reply.text.starts_with("<!doctype html>"), "{}", reply.text);
    }
    assert_eq!(shown(&broker.browse(&url).await.text), ADA);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_logs_the_token() {
    logs::capture();
    let broker = TestBroker::builder().seed(0x005e_1ec7).start().await;
    let (callback, hosted) = arrive(&broker, "facebook", BACK, &Answer::allow()).await;
    broker.browse(&callback).await;
    broker.browse(&hosted).await;
    press(&broker, &hosted, "all", None, &[]).await;
    press(&broker, &hosted, "connect", None, &strings(&["page:1"])).await;
    press(&broker, &hosted, "connect", None, &strings(&ADA)).await;
    broker.browse(&hosted).await;
    let headless = super::choice(&broker, "facebook", "", &Answer::allow()).await;
    super::look(&broker, "facebook", &headless).await;
    choose(&broker, "facebook", &headless, &["page:1"]).await;
    choose(&broker, "facebook", &headless, &ADA[..1]).await;
    super::look(&broker, "facebook", &headless).await;
    let logged = logs::text();
    assert!(logged.contains("/connect/selection/{token}"), "the requests were logged, by their pattern");
    for token in [token(&hosted), &headless] {
        let at = logged.lines().find(|line| line.contains(token));
        assert_eq!(at, None);
    }
}
