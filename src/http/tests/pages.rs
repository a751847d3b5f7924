//! The pages of the demo and the documentation: nothing is loaded from elsewhere, and the policy fits the stylesheet.
//! `tests/api/pages.rs` has those of a connection.

use actix_web::http::StatusCode;
use actix_web::test::{self, TestRequest};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::fixture::{Fixture, PUBLIC_URL, SANDBOX, USUAL, answer};

/// Checks that a page has no script, loads nothing, and that its policy allows exactly its own stylesheet.
fn check_page(page: &str, policy: &str, form_action: &str) {
    assert!(!page.contains("<script"), "{page}");
    check_document(page, policy, &format!("form-action {form_action}"));
}

/// The same for a page that may have a script. `end` is the end of its policy.
fn check_document(page: &str, policy: &str, end: &str) {
    for never in ["<iframe", "<object", "@import", "url(", " style=", " on"] {
        let found = page.match_indices(never).find(|(at, _)| {
            // Words of prose may begin with "on"; an attribute is followed by its value.
            never != " on" || page[*at..].split([' ', '>']).nth(1).is_some_and(|word| word.contains("=\""))
        });
        assert!(found.is_none(), "{never} in {page}");
    }
    let hash = hash_of(page, "style");
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; {end}"
        )
    );
    for always in ["<!doctype html>", "<html lang=\"en\">", "<title>", "<main", "<h1>", "name=\"viewport\""] {
        assert!(page.contains(always), "no {always} in {page}");
    }
    assert!(page.match_indices("<h1").count() == 1 && page.match_indices("<main").count() == 1);
}

/// Hash of the only element of this name, as a policy has it.
fn hash_of(page: &str, element: &str) -> String {
    let parts: Vec<&str> = page.split(&format!("<{element}>")).collect();
    let [_, rest] = parts[..] else { panic!("{} of <{element}>", parts.len() - 1) };
    let text = rest.split(&format!("</{element}>")).next().unwrap();
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text))
}

#[actix_web::test]
async fn the_documentation_lists_every_operation() {
    let fixture = Fixture::new();
    let answer = fixture.get("", "/documentation").await;
    // One script, allowed by its hash, that may ask nobody but this broker.
    let script = hash_of(&answer.text, "script");
    let end = format!("form-action 'none'; script-src 'sha256-{script}'; connect-src 'self'");
    check_document(&answer.text, answer.header("content-security-policy").unwrap(), &end);
    assert!(answer.text.len() <= 150_000, "{} bytes", answer.text.len());
    let first = answer.text.find("<article").unwrap();
    assert!(answer.text[first..].starts_with("<article id=\"getOAuthUrl\""), "a newcomer begins a connection first");
    for route in crate::http::routes::ROUTES {
        assert!(answer.text.contains(&format!("<code>{}</code>", route.paths[0])), "{}", route.paths[0]);
    }
    for told in [
        "<a href=\"#Integration\">list of Integration</a>",
        "<article id=\"TokenStatus\"",
        "active | reconnect_required",
        "date-time or null",
    ] {
        assert!(answer.text.contains(told), "{told}");
    }
    let json = fixture.get("", "/documentation/json").await;
    assert_eq!(json.json()["openapi"], "3.1.0");
    for item in json.json()["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert_eq!(answer.text.matches(&format!("<article id=\"{id}\"")).count(), 1, "{id}");
            assert_eq!(answer.text.matches(&format!("href=\"#{id}\"><b>")).count(), 1, "{id} in the list");
        }
    }
    for code in crate::http::error::Code::ALL {
        let (name, advice) = (code.as_str(), code.advice().split('`').next().unwrap());
        let told = answer.text.split(&format!("<dt id=\"{name}\">")).nth(1).unwrap_or_else(|| panic!("{name}"));
        assert!(told.split("<dt").next().unwrap().contains(advice), "{name}: {advice}");
    }
}

/// The calls that the page shows can be copied into a shell or a program.
#[actix_web::test]
async fn the_documentation_shows_calls_of_an_operation() {
    let page = Fixture::new().get("", "/documentation").await.text;
    let shown = |id: &str| {
        let article = page.split(&format!("<article id=\"{id}\"")).nth(1).unwrap().split("</article>").next().unwrap();
        let calls = article.split("Call it</h4>").nth(1).unwrap().split("<h4>").next().unwrap();
        let blocks = calls.split("<pre>").skip(1);
        blocks.map(|block| block.split("</pre>").next().unwrap()).collect::<Vec<_>>().join("\n\n")
    };
    let calls = ["getOAuthUrl", "createProfile", "connectBluesky", "deleteApp", "healthCheck"].map(shown);
    insta::assert_snapshot!(calls.join(
        "

"
    ));
}

#[actix_web::test]
async fn the_documentation_is_sent_again_only_to_those_without_it() {
    let fixture = Fixture::new();
    let service = test::init_service(crate::http::app(fixture.state())).await;
    for path in ["/documentation", "/documentation/json"] {
        let get = async |known: &str| {
            let request = TestRequest::get().uri(path).insert_header(("if-none-match", known));
            answer(&service, request.to_request()).await
        };
        let first = get("\"another\"").await;
        let tag = first.header("etag").unwrap();
        assert_eq!(first.status, StatusCode::OK, "{path}");
        for known in [tag, &format!("W/{tag}"), &format!("\"another\", {tag}"), "*"] {
            let again = get(known).await;
            assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path} {known}");
            // A browser replaces the headers that it stored with these.
            for name in ["etag", "cache-control", "content-security-policy"] {
                assert_eq!(again.header(name), first.header(name), "{path} {known}");
            }
        }
        for unknown in ["", "\"", tag.trim_matches('"')] {
            assert_eq!(get(unknown).await.text, first.text, "{path} {unknown}");
        }
    }
}

#[actix_web::test]
async fn the_demo_shows_platforms_and_the_last_result() {
    let fixture = Fixture::new().demo();
    let get = async |path: &str| {
        let request = TestRequest::get().uri(path).insert_header(("host", "127.0.0.1:8080"));
        fixture.send(request.to_request()).await
    };
    let page = get("/?status=error&platform=acme&error=no_account&x=%3Cscript%3E").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    check_page(&page.text, page.header("content-security-policy").unwrap(), &format!("'self' {SANDBOX}"));
    assert!(page.text.contains("Acme &#38; Sons has no account of yours that can be connected."), "{}", page.text);
    assert!(page.text.contains("<form method=\"post\" action=\"/demo/connect/twitter\">"), "{}", page.text);
    assert!(page.text.contains("takes two clicks"), "{}", page.text);
    assert!(!page.text.contains("Connected accounts"), "{}", page.text);

    let elsewhere = TestRequest::get().uri("/").insert_header(("host", "evil.example"));
    let answer = fixture.send(elsewhere.to_request()).await;
    assert_eq!(answer.header("location"), Some(format!("{PUBLIC_URL}/").as_str()));
}

#[actix_web::test]
async fn the_demo_has_a_form_for_bluesky() {
    let fixture = Fixture::new().demo();
    let request = TestRequest::get().uri("/?status=error&platform=bluesky&error=app_password_required");
    let page = fixture.send(request.insert_header(("host", "127.0.0.1:8080")).to_request()).await;
    check_page(&page.text, page.header("content-security-policy").unwrap(), &format!("'self' {SANDBOX}"));
    assert!(page.text.contains("Bluesky was not connected."), "{}", page.text);
    assert!(page.text.contains("own password"), "{}", page.text);
    for filled_in in ["value=\"ada.test\"", "value=\"ada-app-password\""] {
        assert!(page.text.contains(filled_in), "{}", page.text);
    }
    assert!(page.text.contains("action=\"/demo/bluesky\""), "{}", page.text);
    assert!(!page.text.contains("/demo/connect/bluesky"), "it has no redirect: {}", page.text);

    let post = async |site: &'static str, fields: &'static str| {
        let request = TestRequest::post()
            .uri("/demo/bluesky")
            .insert_header(("host", "127.0.0.1:8080"))
            .insert_header(("sec-fetch-site", site))
            .insert_header(("content-type", "application/x-www-form-urlencoded"))
            .set_payload(fields);
        fixture.send(request.to_request()).await
    };
    assert_eq!(post("cross-site", "identifier=ada.test&password=x").await.status, StatusCode::FORBIDDEN);
    let answer = post("same-origin", "identifier=nobody%40mail.example&password=x").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let back = format!("{PUBLIC_URL}/?status=error&platform=bluesky&error=invalid_identifier");
    assert_eq!(answer.header("location"), Some(back.as_str()));
    assert_eq!(post("same-origin", "identifier=a&identifier=b&password=x").await.status, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn the_demo_connects_for_its_own_page_only() {
    let fixture = Fixture::new().demo();
    let post = async |host: &str, site: Option<&str>| {
        let request = TestRequest::post().uri("/demo/connect/twitter").insert_header(("host", host));
        match site {
            Some(site) => fixture.send(request.insert_header(("sec-fetch-site", site)).to_request()).await,
            None => fixture.send(request.to_request()).await,
        }
    };
    for site in [Some("same-origin"), Some("none"), None] {
        let answer = post("127.0.0.1:8080", site).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        assert!(answer.header("location").unwrap().contains("state="));
    }
    for (host, site) in
        [("127.0.0.1:8080", Some("cross-site")), ("127.0.0.1:8080", Some("same-site")), ("evil.example", None)]
    {
        let answer = post(host, site).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{host} {site:?}");
        assert_eq!(answer.header("location"), None);
    }
    let plain = Fixture::new();
    let key = plain.key(USUAL).await;
    assert_eq!(plain.get(&key, "/").await.code(), "not_found", "no demo without the demo");
}

#[actix_web::test]
async fn the_demo_carries_the_path_of_the_public_url() {
    let fixture = Fixture::at(&format!("{PUBLIC_URL}/connect-svc")).demo();
    let send =
        async |request: TestRequest| fixture.send(request.insert_header(("host", "127.0.0.1:8080")).to_request()).await;
    for home in ["/", "/connect-svc", "/connect-svc/", "/connect-svc?status=error", "/connect-svc/?status=error"] {
        let page = send(TestRequest::get().uri(home)).await;
        assert_eq!(page.status, StatusCode::OK, "{home}: {}", page.text);
        for link in [
            "href=\"/connect-svc/documentation\"",
            "action=\"/connect-svc/demo/connect/twitter\"",
            "action=\"/connect-svc/demo/bluesky\"",
        ] {
            assert!(page.text.contains(link), "{link} in {}", page.text);
        }
        assert_eq!(page.text.contains("The account was not connected."), home.contains('?'), "{home}");
        check_page(&page.text, page.header("content-security-policy").unwrap(), &format!("'self' {SANDBOX}"));
    }
    for base in ["", "/connect-svc"] {
        let begun = send(TestRequest::post().uri(&format!("{base}/demo/connect/twitter"))).await;
        let location = begun.header("location").unwrap();
        assert!(location.contains("%2Fconnect-svc%2Fv1%2Fconnect%2Ftwitter%2Fcallback"), "{location}");
    }
    let lost = fixture.send(TestRequest::get().uri("/connect-svc/").to_request()).await;
    assert_eq!(lost.header("location"), Some(format!("{PUBLIC_URL}/connect-svc/").as_str()));
}
