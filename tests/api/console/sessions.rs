//! Signing in and out, and what ends a session.

use std::time::Duration;

use postpeer::domain::access_key::Scope;
use postpeer::domain::key_limits::Limits;
use postpeer::domain::secret::Digest256;
use postpeer::domain::time::Clock as _;
use postpeer::http::routes::{Access, CONSOLE_ROUTES};
use postpeer::{http, server};

use super::{Operator, start};
use crate::support::{Reply, TestBroker, expose};

/// A path of the console's table, with some id in it.
fn path(pattern: &str) -> String {
    pattern.replace("{id}", "int_00000000000000000000000000000001")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_section_there_is_no_console() {
    let broker = TestBroker::start().await;
    for route in CONSOLE_ROUTES {
        let reply = broker.request(route.method.as_str(), &path(route.paths[0])).send().await.unwrap();
        assert_eq!(reply.status(), 404, "{} {}", route.method, route.paths[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_key_that_may_manage_is_let_in() {
    let broker = start().await;
    let (revoked, revoked_key) = broker.broker().create_access_key("default", "old", Scope::ALL).await.unwrap();
    assert!(broker.broker().revoke_access_key(revoked.id).await.unwrap());
    let good = &broker.key;
    let mut told = Vec::new();
    for wrong in ["", "nonsense", &good[1..], &format!("{good}x"), &expose(&revoked_key)] {
        let reply = Operator::nobody(&broker).sign_in(wrong).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (403, ""), "{wrong}");
        told.push(reply.text.replace(reply.header("x-request-id"), ""));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "what is wrong with a key is not told");
    assert!(told[0].contains("not an access key of this broker"), "{}", told[0]);

    for scope in [Scope::Connect, Scope::Read, Scope::Tokens] {
        let reply = Operator::nobody(&broker).sign_in(&broker.key("default", &[scope]).await).await;
        assert!(reply.status == 403 && reply.text.contains("lacks the scope manage"), "{scope}: {}", reply.text);
    }
    let limited = async |limits| expose(&broker.broker().create_access_key("default", "made", limits).await.unwrap().1);
    let elsewhere = Limits { networks: vec!["10.0.0.0/8".parse().unwrap()], ..Limits::from(Scope::ALL) };
    let reply = Operator::nobody(&broker).sign_in(&limited(elsewhere).await).await;
    assert!(reply.status == 403 && reply.text.contains("other networks"), "{}", reply.text);

    let operator = Operator::with(&broker, &format!(" {good}\n")).await;
    let page = operator.page("/console").await;
    assert!(page.contains("<bdi>default</bdi>") && page.contains("manage"), "{page}");
    let stored: Vec<u8> = broker.sql().query_row("SELECT digest FROM console_sessions", [], |row| row.get(0)).unwrap();
    let token = operator.token();
    assert_eq!(stored, Digest256::of(token.as_bytes()).as_bytes());
    let database = broker.database();
    assert!(!database.windows(token.len()).any(|bytes| bytes == token.as_bytes()), "the token is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_for_the_console_alone() {
    let broker = start().await;
    let cookie = Operator::nobody(&broker).sign_in(&broker.key).await.header("set-cookie").to_owned();
    let (pair, flags) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("postpeer-console=") && pair.len() == 60, "{pair}");
    assert_eq!(flags, "Path=/console; Max-Age=28800; HttpOnly; SameSite=Strict");
    let secure =
        TestBroker::builder().toml("[console]\n").public_url("https://broker.example").path("/social").start().await;
    let mut operator = Operator::nobody(&secure);
    let reply = operator.sign_in(&secure.key).await;
    assert_eq!(
        (reply.status, reply.location().as_str()),
        (303, "/social/console/sign-in?signed-in=1"),
        "{}",
        reply.text
    );
    let cookie = reply.header("set-cookie");
    assert!(cookie.starts_with("__Secure-postpeer-console="), "{cookie}");
    assert!(cookie.ends_with("; Path=/social/console; Max-Age=28800; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
    let page = operator.page("/social/console").await;
    assert!(page.contains("action=\"/social/console/sign-out\""), "{page}");
    operator.cookie = operator.cookie.replace("__Secure-", "");
    assert_eq!(operator.get("/console").await.status, 303, "another host may have set that one");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_limited_and_the_wait_is_told() {
    let broker =
        TestBroker::builder().toml("[console]\n").setting("POSTPEER_LIMITS__MISSES_PER_ADDRESS", "3").start().await;
    let mut operator = Operator::nobody(&broker);
    for _ in 0..3 {
        assert_eq!(operator.sign_in("ppk_wrong").await.status, 403);
    }
    let reply = operator.sign_in("ppk_wrong").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "20"), "{}", reply.text);
    assert_eq!(operator.sign_in(&broker.key).await.status, 303, "a valid key still works");
    assert_eq!(Operator::nobody(&broker).sign_in("ppk_wrong").await.status, 429);
    broker.clock.advance(Duration::from_secs(20));
    assert_eq!(Operator::nobody(&broker).sign_in("ppk_wrong").await.status, 403);
    // A session that never was is guessed no better.
    let broker =
        TestBroker::builder().toml("[console]\n").setting("POSTPEER_LIMITS__MISSES_PER_ADDRESS", "3").start().await;
    let guesser = Operator { cookie: format!("postpeer-console={}", "a".repeat(43)), ..Operator::nobody(&broker) };
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(guesser.get("/console").await.status);
    }
    assert_eq!(statuses, [303, 303, 303, 429]);
    assert_eq!(Operator::nobody(&broker).get("/console").await.status, 303, "who has none is sent to sign in");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_others_sign_nobody_out() {
    let broker = start().await;
    let mut operator = Operator::of(&broker).await;
    let own = operator.cookie.clone();
    let old = "a".repeat(43);
    operator.cookie = format!("theme=d\u{fc}nkel; postpeer-console=garbage; postpeer-console={old}; {own}");
    assert!(operator.page("/console").await.contains("<bdi>default</bdi>"));
    assert_eq!(operator.post("/console/sign-out", &[]).await.status, 303);
    operator.cookie = own;
    assert_eq!(operator.get("/console").await.status, 303, "the session that signed out is the one that was found");
}

/// A page of another host of the site set the cookie of a session of its own project on a longer path, which comes first.
#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_at_once_are_a_contradiction_and_both_end() {
    let broker = start().await;
    broker.broker().create_project("evil").await.unwrap();
    let evil = broker.key("evil", &[Scope::Manage, Scope::Read]).await;
    let mut operator = Operator::of(&broker).await;
    let (own, planted) = (operator.cookie.clone(), Operator::with(&broker, &evil).await.cookie);
    operator.cookie = format!("{own}; {own}");
    assert!(operator.page("/console").await.contains("<bdi>default</bdi>"), "the same one twice");
    operator.cookie = format!("{planted}; {own}");
    let refused = operator.get("/console/keys").await;
    assert_eq!(refused.status, 303, "{}", refused.text);
    assert!(refused.location().starts_with("/console/sign-in"), "{}", refused.location());
    for ended in [&own, &planted] {
        let kept = Operator { cookie: ended.clone(), ..Operator::nobody(&broker) };
        assert_eq!(kept.get("/console/keys").await.status, 303);
    }
    // After a new sign-in, the one that was planted counts for nothing.
    operator.sign_in(&broker.key).await;
    operator.cookie = format!("{planted}; {}", operator.cookie);
    assert!(operator.page("/console").await.contains("<bdi>default</bdi>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_time_its_key_or_a_sign_out() {
    let mut broker = start().await;
    let is_in = async |operator: &Operator<'_>| {
        let reply = operator.get("/console").await;
        assert!(reply.status == 200 || reply.location() == "/console/sign-in", "{} {}", reply.status, reply.text);
        reply.status == 200
    };
    let cookie = Operator::of(&broker).await.cookie;
    broker.restart().await;
    let kept = Operator { cookie, ..Operator::nobody(&broker) };
    assert!(is_in(&kept).await, "a restart ends no session");

    let (key, plain) = broker.broker().create_access_key("default", "short", Scope::ALL).await.unwrap();
    let revoked = Operator::with(&broker, &expose(&plain)).await;
    assert!(is_in(&revoked).await);
    assert!(broker.broker().revoke_access_key(key.id).await.unwrap());
    assert!(!is_in(&revoked).await, "its key is revoked");

    let until =
        Limits { expires_at: Some(broker.clock.now().plus(Duration::from_mins(5))), ..Limits::from(Scope::ALL) };
    let (_, plain) = broker.broker().create_access_key("default", "short", until).await.unwrap();
    let expiring = Operator::with(&broker, &expose(&plain)).await;
    broker.clock.advance(Duration::from_secs(299));
    assert!(is_in(&expiring).await);
    broker.clock.advance(Duration::from_secs(1));
    assert!(!is_in(&expiring).await, "its key has expired");

    let leaving = Operator::of(&broker).await;
    let reply = leaving.post("/console/sign-out", &[]).await;
    assert_eq!((reply.status, reply.location().as_str()), (303, "/console/sign-in"));
    assert!(reply.header("set-cookie").starts_with("postpeer-console=; Path=/console; Max-Age=0;"));
    assert!(!is_in(&leaving).await, "whoever has kept the cookie is out as well");
    assert!(is_in(&kept).await);
    let entries = broker.get("/v1/audit").await.json["entries"].clone();
    let actions: Vec<&str> =
        entries.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let of_console: Vec<&&str> = actions.iter().filter(|action| action.starts_with("console.")).collect();
    assert_eq!(of_console, [&"console.signed_in"; 4].into_iter().chain([&"console.signed_out"]).collect::<Vec<_>>());

    broker.clock.advance(Duration::from_secs(8 * 3600 - 301));
    assert!(is_in(&kept).await);
    broker.clock.advance(Duration::from_secs(1));
    assert!(!is_in(&kept).await, "eight hours are over");
    broker.clock.advance(Duration::from_hours(1));
    broker.broker().purge_expired().await.unwrap();
    let left: u32 = broker.sql().query_row("SELECT count(*) FROM console_sessions", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "purged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_somebody_wrote_into_the_database_opens_nothing() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let weak = broker.broker().create_access_key("default", "weak", &[Scope::Manage]).await.unwrap().0;
    let visit = async || Reply::of(operator.request("GET", "/console", None).send().await.unwrap()).await.status;
    assert_eq!(visit().await, 200);
    for change in [
        "digest = CAST(zeroblob(32) AS BLOB)".to_owned(),
        "expires_at = expires_at + 1".to_owned(),
        format!("access_key_id = '{}'", weak.id),
        "mac = CAST(zeroblob(32) AS BLOB)".to_owned(),
        "mac_dek_id = 7".to_owned(),
    ] {
        broker
            .sql()
            .execute_batch("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM console_sessions")
            .unwrap();
        broker.sql().execute(&format!("UPDATE console_sessions SET {change}"), []).unwrap();
        assert_eq!(visit().await, 303, "{change}");
        broker
            .sql()
            .execute_batch(
                "DELETE FROM console_sessions; INSERT INTO console_sessions SELECT * FROM kept; DROP TABLE kept",
            )
            .unwrap();
        assert_eq!(visit().await, 200, "{change}, and back");
    }
}

/// A session has the rights of its key, which nobody gives more by writing into the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_opens_nothing_once_somebody_changed_the_row_of_its_key() {
    let broker = start().await;
    let limits = Limits {
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        expires_at: Some(broker.clock.now().plus(Duration::from_hours(1))),
        ..Limits::from(&[Scope::Manage])
    };
    let (stored, key) = broker.broker().create_access_key("default", "weak", limits).await.unwrap();
    let operator = Operator::with(&broker, &expose(&key)).await;
    let visit = async || Reply::of(operator.request("GET", "/console", None).send().await.unwrap()).await.status;
    assert_eq!(visit().await, 200);
    let db = broker.sql();
    for (column, value) in
        [("scopes", r#"'["manage","read","tokens"]'"#), ("networks", "'[]'"), ("expires_at", "expires_at + 1")]
    {
        let of_key = format!("WHERE id = '{}'", stored.id);
        let before: rusqlite::types::Value =
            db.query_row(&format!("SELECT {column} FROM access_keys {of_key}"), [], |row| row.get(0)).unwrap();
        db.execute(&format!("UPDATE access_keys SET {column} = {value} {of_key}"), []).unwrap();
        assert_eq!(visit().await, 303, "{column}");
        db.execute(&format!("UPDATE access_keys SET {column} = ?1 {of_key}"), [before]).unwrap();
        assert_eq!(visit().await, 200, "{column}, and back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_without_a_session_leads_to_the_sign_in() {
    let broker = start().await;
    let nobody = Operator::nobody(&broker);
    let wrong = Operator { cookie: format!("postpeer-console={}", "a".repeat(43)), ..Operator::nobody(&broker) };
    let before = broker.stored();
    for route in CONSOLE_ROUTES.iter().filter(|route| route.access != Access::Public) {
        for operator in [&nobody, &wrong] {
            let path = path(route.paths[0]);
            let form = (route.method == "POST").then_some("session=x");
            let wanted = path.strip_prefix("/console").filter(|page| form.is_none() && !page.is_empty());
            let (to, sign_in) = match wanted {
                Some(page) => (
                    format!("?to={}&", page.replace('/', "%2F")),
                    format!("/console/sign-in?to={}", page.replace('/', "%2F")),
                ),
                None => ("?".to_owned(), "/console/sign-in".to_owned()),
            };
            let reply = Reply::of(operator.request(route.method.as_str(), &path, form).send().await.unwrap()).await;
            assert_eq!((reply.status, reply.location()), (303, sign_in), "{path}: {}", reply.text);
            let german = Reply::of(
                operator.request(route.method.as_str(), &format!("{path}?lang=de"), form).send().await.unwrap(),
            );
            assert_eq!(german.await.location(), format!("/console/sign-in{to}lang=de"));
        }
        let with_key = broker.call(route.method.as_str(), &path(route.paths[0]), None).await;
        assert_eq!(with_key.status, 303, "an access key opens no page");
    }
    assert!(broker.stored() == before, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_out_is_told_and_comes_back_to_the_page() {
    let broker = start().await;
    let id = broker.connect("twitter", "").await;
    let mut operator = Operator::of(&broker).await;
    let fields = operator.form(&[("name", "new")]).await;
    operator.post("/console/sign-out", &[]).await;
    let told = async |reply: &Reply| {
        let (notice, _) = reply.header("set-cookie").split_once(';').unwrap_or_default();
        let shown = Operator::nobody(&broker).request("GET", &reply.location(), None).header("cookie", notice);
        Reply::of(shown.send().await.unwrap()).await.text
    };
    let ended = "Your session has ended.";
    let unchanged = "Your session had ended, so nothing was changed.";
    let sent = Reply::of(operator.request("POST", "/console/profiles", Some(&fields)).send().await.unwrap()).await;
    assert!(sent.location() == "/console/sign-in" && told(&sent).await.contains(unchanged), "{}", sent.location());
    let page = format!("/console/accounts/{id}");
    let seen = operator.get(&format!("{page}?lang=de&x=1")).await;
    assert!(told(&seen).await.contains("Ihre Sitzung ist zu Ende."));
    assert!(told(&operator.get(&page).await).await.contains(ended));
    // Without a session that could have ended, there is nothing to tell.
    operator.cookie.clear();
    assert!(!told(&operator.get(&page).await).await.contains(ended));

    let form = format!("key={}", super::encoded(&broker.key));
    let back = Reply::of(operator.request("POST", &seen.location(), Some(&form)).send().await.unwrap()).await;
    assert_eq!(back.status, 303);
    operator.cookie = back.header("set-cookie").split_once(';').unwrap().0.to_owned();
    assert_eq!(operator.get(&back.location()).await.location(), format!("{page}?x=1&lang=de"));
    for elsewhere in ["https://evil.example", "//evil.example", "/../v1", "accounts", "/%0d%0aa:b", "/\u{e4}"] {
        let at = format!("/console/sign-in?to={elsewhere}");
        let checked = Reply::of(operator.request("POST", &at, Some(&form)).send().await.unwrap()).await.location();
        assert!(checked.starts_with("/console/sign-in?"), "{elsewhere}: {checked}");
        let back = operator.get(&checked).await.location();
        assert!(back == "/console" || back == "/console//evil.example", "{elsewhere}: {back}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_no_cookies_is_told_after_the_sign_in() {
    let broker = start().await;
    let mut operator = Operator::nobody(&broker);
    let signed_in = operator.sign_in(&broker.key).await;
    let next = operator.get(&signed_in.location()).await;
    assert_eq!((next.status, next.location().as_str()), (303, "/console"), "the cookie was kept");
    let cookie = std::mem::take(&mut operator.cookie);
    let page = operator.get(&signed_in.location()).await;
    assert!(page.text.contains("keeps no cookies"), "{}", page.text);
    // A reload names the page before the first again: the cookie has expired, or the session has ended, since.
    for cookie in [String::new(), cookie.replace('=', "=x")] {
        operator.cookie = cookie;
        let again = operator.request("GET", "/console", None).header("referer", "http://127.0.0.1/console/sign-in");
        let sent = Reply::of(again.send().await.unwrap()).await;
        assert_eq!(sent.location(), "/console/sign-in");
        assert!(!operator.get(&sent.location()).await.text.contains("keeps no cookies"));
    }
}

/// Where TLS and the host's own name say nothing, the page knows only that it is opened under another name.
#[tokio::test(flavor = "multi_thread")]
async fn under_another_address_the_sign_in_names_its_own() {
    let broker = start().await;
    let operator = Operator::nobody(&broker);
    let mut request = operator.request("POST", "/console/sign-in", Some("key=x")).build().unwrap();
    request.headers_mut().remove("sec-fetch-site");
    request.headers_mut().insert("host", "broker.lan:8080".parse().unwrap());
    request.headers_mut().insert("origin", "http://broker.lan:8080".parse().unwrap());
    let reply = Reply::of(crate::support::client().execute(request).await.unwrap()).await;
    assert_eq!((reply.status, reply.header("set-cookie")), (403, ""), "{}", reply.text);
    let link = format!("<a href=\"{}/console\">", broker.url);
    assert!(reply.text.contains("works at its own address only") && reply.text.contains(&link), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_and_no_other_session_sends_a_form() {
    let broker = start().await;
    let (operator, other) = (Operator::of(&broker).await, Operator::of(&broker).await);
    let (own, others) = (operator.form(&[]).await, other.form(&[]).await);
    let before = broker.stored();
    for route in CONSOLE_ROUTES.iter().filter(|route| route.method == "POST") {
        let path = path(route.paths[0]);
        let request = |form: &str| operator.request("POST", &path, Some(form));
        let from = |name: &'static str, value: &'static str, form: &str| {
            let mut request = request(form).build().unwrap();
            request.headers_mut().remove("sec-fetch-site");
            request.headers_mut().insert(name, value.parse().unwrap());
            request
        };
        let mut requests = vec![
            from("sec-fetch-site", "cross-site", &own),
            from("sec-fetch-site", "same-site", &own),
            from("origin", "https://evil.example", &own),
            from("origin", "null", &own),
        ];
        if route.access != Access::Public {
            requests.extend(["", "session=", "session=x", &others].map(|form| request(form).build().unwrap()));
        }
        for request in requests {
            let reply = Reply::of(crate::support::client().execute(request).await.unwrap()).await;
            assert_eq!(reply.status, 403, "{path}: {}", reply.text);
            assert!(reply.text.contains("cross_site_request"), "{path}: {}", reply.text);
        }
    }
    assert!(broker.stored() == before, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_listener_of_its_own_the_console_is_nowhere_else() {
    let broker = TestBroker::builder()
        .toml("[console]\nlisten = \"127.0.0.1:1\"\n")
        .public_url("https://b.example")
        .start()
        .await;
    for path in ["/console", "/console/sign-in"] {
        assert_eq!(broker.visit(path).await.status, 404, "{path}");
    }
    let alone = http::Settings { console: http::Console::Alone, ..postpeer::cli::http_settings(broker.config()) };
    let entropy = std::sync::Arc::new(postpeer::domain::entropy::SeededEntropy::new(9));
    let state = http::State::new(broker.broker().clone(), alone, entropy);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = server::listen(&state.into(), listener, 1, Duration::from_secs(1)).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    let mut operator = Operator { url, ..Operator::nobody(&broker) };
    let reply = operator.sign_in(&broker.key).await;
    // Plain http, whatever the public URL says.
    assert!(reply.header("set-cookie").ends_with("; HttpOnly; SameSite=Strict"), "{}", reply.header("set-cookie"));
    assert!(operator.page("/console").await.contains("<bdi>default</bdi>"));
    for (path, status) in [("/v1/health", 404), ("/readyz", 404), ("/documentation", 404), ("/assets/none", 404)] {
        assert_eq!(operator.get(path).await.status, status, "{path}");
    }
    let icon = operator.page("/console").await;
    let icon = icon.split("rel=\"icon\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(operator.get(icon).await.status, 200, "{icon}");
    handle.stop(false).await;
}
