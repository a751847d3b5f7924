//! The pages and their forms.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::bench::{CALLBACK, authorize_query, with};
use super::*;
use crate::sandbox::platforms;

fn page(bench: &Bench, platform: &str) -> Got {
    let url = bench.authorize_url(platform, &authorize_query(platform));
    bench.get(url.trim_start_matches(bench.sandbox.base_url()))
}

fn request_id(page: &Got) -> String {
    let (_, rest) = page.body.split_once("name=\"request\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn the_page_names_the_sandbox_and_offers_accounts_scopes_and_faults() {
    let bench = Bench::start();
    for platform in platforms() {
        let got = page(&bench, platform);
        assert_eq!(got.status, 200, "{platform}");
        assert!(got.body.contains("<strong>postpeer's sandbox</strong> imitating"), "{platform}");
        let radios: Vec<&str> = got.body.lines().filter(|line| line.contains("type=\"radio\"")).collect();
        let checked: Vec<bool> = radios.iter().map(|radio| radio.ends_with(" checked>")).collect();
        assert!(radios.len() >= 2 && checked[0] && !checked[1..].contains(&true), "{radios:?}");
        assert!(got.body.contains(&format!("action=\"/{platform}/consent\"")));
        assert!(got.body.contains("<option value=\"token:slow\">"));
        assert!(!got.body.contains("<script") && !got.body.contains("<b>Quince"), "{platform}");
        assert_eq!(
            got.body.contains("type=\"checkbox\""),
            matches!(platform, "facebook" | "googlebusiness" | "tiktok" | "youtube"),
            "{platform}"
        );
    }
}

#[test]
fn the_policy_allows_the_stylesheet_and_every_redirect_of_the_form() {
    let bench = Bench::start();
    let got = page(&bench, "twitter");
    let (_, rest) = got.body.split_once("<style>").unwrap();
    let (style, _) = rest.split_once("</style>").unwrap();
    let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
    assert_eq!(
        got.header("content-security-policy"),
        Some(
            format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'").as_str()
        )
    );
}

#[test]
fn the_form_redirects_to_the_callback_once() {
    let bench = Bench::start();
    let id = request_id(&page(&bench, "tiktok"));
    let form = pairs(&[
        ("request", &id),
        ("account", "basil"),
        ("scope", ""),
        ("scope", "video.upload"),
        ("fault", ""),
        ("decision", "allow"),
    ]);
    let got = bench.post("/tiktok/consent", &form, None);
    assert_eq!(got.status, 303);
    let location = got.header("location").unwrap();
    assert!(location.starts_with(&format!("{CALLBACK}?code=")), "{location}");
    assert!(location.contains("&scopes=user.info.basic%2Cvideo.upload&"), "{location}");
    let again = bench.post("/tiktok/consent", &form, None);
    assert_eq!(again.status, 400);
    assert!(again.body.contains("decided before"));
}

#[test]
fn a_form_without_scopes_grants_all_and_deny_denies() {
    let bench = Bench::start();
    let id = request_id(&page(&bench, "youtube"));
    let got = bench.post("/youtube/consent", &pairs(&[("request", &id), ("decision", "allow")]), None);
    assert!(got.header("location").unwrap().contains("youtube.readonly"));
    let id = request_id(&page(&bench, "linkedin"));
    let got = bench.post("/linkedin/consent", &pairs(&[("request", &id), ("decision", "deny")]), None);
    assert!(got.header("location").unwrap().contains("?error=user_cancelled_authorize&"));
}

#[test]
fn invalid_decisions_are_refused_and_leave_the_request_open() {
    let bench = Bench::start();
    let id = request_id(&page(&bench, "twitter"));
    for (platform, form) in [
        ("twitter", pairs(&[("request", &id)])),
        ("twitter", pairs(&[("request", &id), ("decision", "maybe")])),
        ("twitter", pairs(&[("request", &id), ("decision", "allow"), ("account", "nobody")])),
        ("twitter", pairs(&[("request", "guessed"), ("decision", "allow")])),
    ] {
        assert_eq!(bench.post(&format!("/{platform}/consent"), &form, None).status, 400, "{form:?}");
    }
    let form = pairs(&[("request", &id), ("decision", "allow")]);
    assert_eq!(bench.post("/twitter/consent", &form, None).status, 303);
    let id = request_id(&page(&bench, "twitter"));
    bench.advance(600);
    assert_eq!(bench.post("/twitter/consent", &pairs(&[("request", &id), ("decision", "allow")]), None).status, 400);
}

#[test]
fn refusals_are_pages_with_escaped_input() {
    let bench = Bench::start();
    let query = with(authorize_query("twitter"), "scope", Some("<script>alert(1)</script>"));
    let url = bench.authorize_url("twitter", &query);
    let got = bench.get(url.trim_start_matches(bench.sandbox.base_url()));
    assert_eq!(got.status, 400);
    assert!(got.body.contains("Something went wrong") && !got.body.contains("<script>"), "{}", got.body);
    assert!(got.header("content-security-policy").is_some_and(|policy| policy.contains("form-action 'none'")));
    let query = with(authorize_query("acme"), "scope", Some("openid admin"));
    let got = bench.get(bench.authorize_url("acme", &query).trim_start_matches(bench.sandbox.base_url()));
    assert_eq!(got.status, 303);
    assert!(got.header("location").unwrap().contains("error=invalid_scope"));
}

#[test]
fn the_index_lists_the_platforms_and_pictures_are_drawn() {
    let bench = Bench::start();
    let index = bench.get("/");
    for platform in platforms() {
        assert!(index.body.contains(&format!("<code>/{platform}</code>")), "{platform}");
    }
    assert!(index.body.contains("<code>ada.test</code>, app password <code>mara-low2-ada3-sky4</code>"));
    let picture = bench.get("/bluesky/pictures/ada.svg");
    assert_eq!(picture.status, 200);
    let picture = bench.get("/twitter/pictures/ada.svg");
    assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/svg+xml")));
    assert_eq!(bench.get("/twitter/pictures/../../etc.svg").status, 404);
}
