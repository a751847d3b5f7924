//! Which browser may finish a connection: each way of binding, with the jars of whoever began it, of somebody who was
//! lured in, and of nobody. The platform's token endpoint counts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postpeer::sandbox::{self, Answer, Step};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::logs;
use crate::support::{Builder, Reply, TestBroker, parameter};

const BACK: &str = "redirectUri=https://app.example/back";
const CANCEL: &str = "cancelRedirectUri=https://app.example/no";
const COOKIE: &str = "__Secure-postpeer-binding";

/// A browser: its cookies.
#[derive(Default)]
pub(crate) struct Jar(Vec<(String, String)>);

impl Jar {
    fn with(value: &str) -> Self {
        Self(vec![(COOKIE.to_owned(), value.to_owned())])
    }

    /// The values of its cookies.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, value)| value.as_str())
    }

    pub(crate) async fn send(&mut self, request: reqwest::RequestBuilder) -> Reply {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let reply = Reply::of(request.send().await.unwrap()).await;
        for set in reply.headers.get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.forget(name);
            if !set.to_str().unwrap().contains("; Max-Age=0;") {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
        reply
    }

    /// Drops a cookie.
    pub(crate) fn forget(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) async fn visit(&mut self, broker: &TestBroker, url: &str) -> Reply {
        self.send(broker.request("GET", url)).await
    }

    /// Presses a button of the page that asks.
    async fn press(&mut self, broker: &TestBroker, page: &str, action: &str) -> Reply {
        self.send(form(broker, page, action).header("sec-fetch-site", "same-origin")).await
    }

    /// Continues to the platform. Returns its URL.
    async fn go_on(&mut self, broker: &TestBroker, page: &str) -> String {
        let reply = self.press(broker, page, "continue").await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        reply.location()
    }
}

fn form(broker: &TestBroker, page: &str, action: &str) -> reqwest::RequestBuilder {
    let request = broker.request("POST", page).header("content-type", "application/x-www-form-urlencoded");
    request.body(format!("action={action}"))
}

fn hash(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(value))
}

fn confirming() -> Builder {
    TestBroker::builder().setting("POSTPEER_CONNECT__CONFIRM", "true")
}

fn exchanges(broker: &TestBroker) -> usize {
    broker.sandbox().requests_at("twitter", Step::Token).len()
}

/// The callback in each of these browsers is refused, and uses nothing up.
async fn refused(broker: &TestBroker, callback: &str, jars: &mut [Jar]) {
    let before = broker.stored();
    for jar in jars {
        let reply = jar.visit(broker, callback).await;
        assert_eq!((reply.status, reply.location().as_str()), (400, ""), "{}", reply.text);
        for told in ["browser_mismatch", "This was started in another browser"] {
            assert!(reply.text.contains(told), "{}", reply.text);
        }
    }
    assert_eq!(exchanges(broker), 0, "no code is exchanged before the browser is known");
    assert_eq!(broker.stored(), before);
}

/// Both belong to the browser in which somebody continued.
#[tokio::test(flavor = "multi_thread")]
async fn the_state_and_the_cookie_of_a_confirmed_connection_are_neither_logged_nor_stored() {
    logs::capture();
    let broker = confirming().start().await;
    let page = broker.begin("twitter", BACK).await;
    let mut jar = Jar::default();
    jar.visit(&broker, &page).await;
    let authorize = jar.go_on(&broker, &page).await;
    let callback = broker.consent(&authorize, &Answer::allow());
    let landed = jar.visit(&broker, &callback).await.location();
    assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{landed}");
    let (state, token) = (parameter(&authorize, "state").unwrap(), page.rsplit('/').next().unwrap());
    let (log, stored) = (logs::text(), broker.database());
    assert!(log.contains("a person continued to the platform"));
    for secret in [state.as_str(), token].into_iter().chain(jar.values()) {
        assert!(!log.contains(secret), "it is logged");
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()), "it is stored");
    }
}

/// Whoever begins a connection in the plain mode can have another person finish it: the README says so.
#[tokio::test(flavor = "multi_thread")]
async fn without_binding_any_browser_finishes_a_connection() {
    let broker = TestBroker::start().await;
    let sent_on = broker.begin("twitter", BACK).await;
    let callback = broker.consent(&sent_on, &Answer::allow().account("basil"));
    let landed = Jar::default().visit(&broker, &callback).await.location();
    assert_eq!(parameter(&landed, "status").as_deref(), Some("success"));
    assert_eq!(exchanges(&broker), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_bound_to_the_apps_cookie_ends_in_no_other_browser() {
    let broker = TestBroker::start().await;
    let attackers = format!("{BACK}&bindingHash={}", hash("attacker"));

    // The attacker sends the URL to a victim, who consents.
    let sent_on = broker.begin("twitter", &attackers).await;
    let callback = broker.consent(&sent_on, &Answer::allow().account("basil"));
    refused(&broker, &callback, &mut [Jar::with("victim"), Jar::default(), Jar::with(&hash("attacker"))]).await;

    // The attacker consents with their own account, and has the victim's browser load the callback.
    let begun = broker.begin("twitter", &attackers).await;
    let callback = broker.consent(&begun, &Answer::allow());
    refused(&broker, &callback, &mut [Jar::with("victim"), Jar::default()]).await;
    // A denial in the wrong browser ends nothing either.
    let denied =
        format!("/v1/connect/twitter/callback?state={}&error=access_denied", parameter(&begun, "state").unwrap());
    refused(&broker, &denied, &mut [Jar::with("victim")]).await;

    // A page of a sibling host has set the attacker's cookie on a longer path beside the victim's.
    let two = |values: [&str; 2]| Jar(values.map(|value| (COOKIE.to_owned(), value.to_owned())).into());
    refused(&broker, &callback, &mut [two(["attacker", "victim"]), two(["victim", "attacker"])]).await;

    // The browser that began it is still free to finish, whatever other cookies it has, and to reload.
    let mut own = two(["attacker", "attacker"]);
    own.0.insert(0, ("postpeer-binding".to_owned(), "another".to_owned()));
    let landed = own.visit(&broker, &callback).await.location();
    assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{landed}");
    assert_eq!(own.visit(&broker, &callback).await.location(), landed);
    assert_eq!(exchanges(&broker), 1);
    let other = Jar::with("victim").visit(&broker, &callback).await;
    assert_eq!((other.status, other.location().as_str()), (400, ""), "nor does another one learn how it ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_connection_ends_only_where_somebody_continued() {
    let broker = confirming().start().await;

    // The attacker continues, and sends the platform's URL to a victim, who consents.
    let mut attacker = Jar::default();
    let page = broker.begin("twitter", BACK).await;
    let sent_on = attacker.go_on(&broker, &page).await;
    let callback = broker.consent(&sent_on, &Answer::allow().account("basil"));
    // The victim continued with a connection of their own before.
    let mut victim = Jar::default();
    victim.go_on(&broker, &broker.begin("twitter", BACK).await).await;
    refused(&broker, &callback, &mut [victim, Jar::default(), Jar::with("attacker")]).await;

    // The attacker consents with their own account, and has the victim's browser load the callback.
    let page = broker.begin("twitter", BACK).await;
    let callback = broker.consent(&attacker.go_on(&broker, &page).await, &Answer::allow());
    let mut victim = Jar::default();
    victim.go_on(&broker, &broker.begin("twitter", BACK).await).await;
    refused(&broker, &callback, &mut [victim, Jar::default()]).await;

    let landed = attacker.visit(&broker, &callback).await.location();
    assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{landed}");
    assert_eq!(attacker.visit(&broker, &callback).await.location(), landed, "a reload shows the same");
    assert_eq!(exchanges(&broker), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_asks_may_be_opened_by_anybody_any_number_of_times() {
    let broker = confirming().toml("[pages]\napp_name = \"Acme Shop\"\n").start().await;
    let profile = serde_json::json!({"name": "Team A"});
    let profile = broker.call("POST", "/v1/profiles", Some(profile)).await.json["profile"]["id"].clone();
    let page = broker.begin("twitter", &format!("{BACK}&profileId={}", profile.as_str().unwrap())).await;
    assert!(page.starts_with(&format!("{}/connect/confirm/", broker.url)), "{page}");

    let without_app = broker.visit(&broker.begin("twitter", "").await).await;
    let policy = without_app.header("content-security-policy");
    assert!(policy.ends_with("frame-ancestors 'none'; form-action 'self' http:"), "{policy}");

    let before = broker.stored();
    for ahead in ["prefetch", ""] {
        let seen = broker.request("GET", &page).header("sec-purpose", ahead).send().await.unwrap();
        assert_eq!((seen.status(), seen.headers().get("set-cookie")), (reqwest::StatusCode::OK, None));
    }
    assert_eq!(broker.request("HEAD", &page).send().await.unwrap().status(), 200);
    let seen = broker.visit(&page).await;
    for told in ["to Acme Shop?", "Team A", "Continue only if you started this yourself.", "Continue to "] {
        assert!(seen.text.contains(told), "{told}: {}", seen.text);
    }
    let german = broker.visit(&format!("{page}?lang=de")).await;
    assert!(german.text.contains("mit Acme Shop verbinden?"), "{}", german.text);
    let policy = seen.header("content-security-policy");
    assert!(policy.ends_with("frame-ancestors 'none'"), "the app may redirect anywhere: {policy}");
    let token = page.rsplit('/').next().unwrap();
    assert!(!seen.text.contains(token), "the token is in the address alone");
    assert_eq!(broker.stored(), before, "looking changes nothing");

    let foreign = form(&broker, &page, "continue").header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
    assert_eq!(Jar::default().press(&broker, &page, "else").await.status, 400);

    // Twice from one browser, and from two.
    let (mut one, mut two) = (Jar::default(), Jar::default());
    let first = one.go_on(&broker, &page).await;
    assert_eq!((one.go_on(&broker, &page).await, two.go_on(&broker, &page).await), (first.clone(), first.clone()));
    assert_eq!(broker.stored(), before, "continuing changes nothing");
    let state = parameter(&first, "state").unwrap();
    assert_ne!(state, token);
    let by_state = broker.visit(&format!("/connect/confirm/{state}")).await;
    assert_eq!(by_state.status, 404, "the platform's URL does not lead to the page");
    let landed = two.visit(&broker, &broker.consent(&first, &Answer::allow())).await.location();
    assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{landed}");

    for gone in [broker.visit(&page).await, one.press(&broker, &page, "continue").await] {
        assert_eq!((gone.status, gone.location().as_str()), (404, ""), "{}", gone.text);
        assert!(gone.text.contains("This link has expired or was already used"), "{}", gone.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_language_survives_the_way_through_the_platform() {
    let broker = confirming().start().await;
    let german = |page: &Reply| page.text.contains("<html lang=\"de\">");
    let mut jar = Jar::default();
    let page = broker.begin("twitter", "").await;
    let on = jar.press(&broker, &format!("{page}?lang=de"), "continue").await;
    let language = on.headers.get_all("set-cookie").iter().find(|set| set.as_bytes().starts_with(b"postpeer-lang="));
    assert_eq!(language.unwrap(), "postpeer-lang=de; Path=/v1/connect; Max-Age=3600; HttpOnly; SameSite=Lax");
    let result = jar.visit(&broker, &broker.consent(&on.location(), &Answer::deny())).await.location();
    // The result has it in its address: its page is sent no cookie of a language.
    let seen = broker.visit(&result).await;
    assert!(result.ends_with("?lang=de") && german(&seen), "{result}: {}", seen.text);
    let again = seen.text.split("href=\"").find(|rest| rest.contains("/retry?lang=de\"")).unwrap();
    let asked = broker.visit(again.split('"').next().unwrap()).await.location();
    assert!(asked.contains("/connect/confirm/") && asked.ends_with("?lang=de"), "{asked}");

    // On to the choice of accounts, and to a page at the callback itself.
    let page = broker.begin("facebook", "").await;
    let on = jar.press(&broker, &format!("{page}?lang=de"), "continue").await.location();
    let callback = broker.consent(&on, &Answer::allow());
    let choice = jar.visit(&broker, &callback).await.location();
    assert!(choice.contains("/connect/selection/") && choice.ends_with("?lang=de"), "{choice}");
    let other = jar.visit(&broker, "/v1/connect/twitter/callback?state=unknown&code=x").await;
    assert!(other.status == 400 && german(&other), "{}", other.text);

    // Without a choice, there is no cookie, and the browser's language counts.
    let mut other = Jar::default();
    let page = broker.begin("twitter", "").await;
    other.go_on(&broker, &page).await;
    assert!(!other.0.iter().any(|(name, _)| name == "postpeer-lang"));
    // An earlier choice is over with the next connection, and one on a page of a result counts for it.
    let chosen = |jar: &Jar| jar.0.iter().find(|(name, _)| name == "postpeer-lang").map(|(_, value)| value.clone());
    assert_eq!(chosen(&jar).as_deref(), Some("de"));
    let seen = jar.visit(&broker, &format!("{}?lang=en", result.split('?').next().unwrap())).await;
    assert_eq!((seen.status, chosen(&jar).as_deref()), (200, Some("en")));
    let page = broker.begin("twitter", "").await;
    jar.go_on(&broker, &page).await;
    assert_eq!(chosen(&jar), None);
    // The URL of a caller's app gets no language of ours.
    let page = broker.begin("twitter", BACK).await;
    let on = jar.press(&broker, &format!("{page}?lang=de"), "continue").await.location();
    let landed = jar.visit(&broker, &broker.consent(&on, &Answer::allow())).await.location();
    assert!(landed.starts_with("https://app.example/back?status=success") && !landed.contains("lang"), "{landed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_browser_do_not_get_in_each_others_way() {
    let broker = confirming().start().await;
    let mut jar = Jar::default();
    let mut callbacks = Vec::new();
    for platform in sandbox::platforms().filter(|platform| *platform != "bluesky") {
        let page = broker.begin(platform, BACK).await;
        let url = jar.go_on(&broker, &page).await;
        callbacks.push((platform, broker.consent(&url, &Answer::allow())));
    }
    assert!(callbacks.len() > 5 && jar.0.len() == callbacks.len());
    for (platform, callback) in callbacks.iter().rev() {
        let landed = broker.land(platform, jar.visit(&broker, callback).await.location()).await;
        assert_eq!(parameter(&landed, "status").as_deref(), Some("success"), "{platform}: {landed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_does_not_continue_is_sent_back_and_the_platform_never_asked() {
    let broker = confirming().start().await;
    let page = broker.begin("twitter", &format!("{BACK}&{CANCEL}")).await;
    let mut jar = Jar::default();
    let platform = jar.go_on(&broker, &page).await;
    let no = "https://app.example/no?status=cancelled&platform=twitter&error=access_denied";
    for _ in 0..2 {
        assert_eq!(jar.press(&broker, &page, "cancel").await.location(), no);
    }
    assert_eq!(jar.press(&broker, &page, "continue").await.status, 404);
    let late = jar.visit(&broker, &broker.consent(&platform, &Answer::allow())).await;
    assert_eq!((late.status, exchanges(&broker)), (400, 0), "{}", late.text);
    let entries: u32 =
        broker.sql().query_row("SELECT count(*) FROM audit WHERE outcome = 'cancelled'", [], |row| row.get(0)).unwrap();
    assert_eq!(entries, 1);

    let page = broker.begin("twitter", "").await;
    let ended = broker.see(Jar::default().press(&broker, &page, "cancel").await).await;
    assert!(ended.text.contains("before X (Twitter) was asked for anything"), "{}", ended.text);
    // Trying again asks again.
    let (_, link) = ended.text.split_once("href=\"/connect/result/").unwrap();
    let again = broker.visit(&format!("/connect/result/{}", link.split('"').next().unwrap())).await.location();
    assert!(again.contains("/connect/confirm/") && again != page, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_the_platform_for_an_app_that_is_gone() {
    let broker = confirming().start().await;
    let (client, secret) = sandbox::own_client("twitter").unwrap();
    let body = json!({"platform": "twitter", "name": "Own", "clientId": client, "clientSecret": secret});
    let app = broker.call("POST", "/v1/apps", Some(body)).await.json["app"]["id"].as_str().unwrap().to_owned();
    let (page, back) = (
        broker.begin("twitter", &format!("appId={app}")).await,
        broker.begin("twitter", &format!("appId={app}&{BACK}")).await,
    );
    assert_eq!(broker.call("DELETE", &format!("/v1/apps/{app}"), None).await.status, 200);
    let ended = broker.see(Jar::default().press(&broker, &page, "continue").await).await;
    for told in ["app_missing", "no longer uses the app at X (Twitter)", "Nothing was connected"] {
        assert!(ended.text.contains(told), "{told}: {}", ended.text);
    }
    let location = Jar::default().press(&broker, &back, "continue").await.location();
    assert_eq!(location, "https://app.example/back?status=error&platform=twitter&error=app_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_too_late_to_the_page_is_told_or_sent_back() {
    let broker = confirming().start().await;
    let expired = "https://app.example/back?status=error&platform=twitter&error=flow_expired";
    let (page, without) = (broker.begin("twitter", BACK).await, broker.begin("twitter", "").await);
    broker.clock.advance(Duration::from_mins(10));
    for is_purged in [false, true] {
        if is_purged {
            broker.broker().purge_expired().await.unwrap();
        }
        let mut jar = Jar::default();
        assert_eq!(jar.visit(&broker, &page).await.location(), expired);
        assert_eq!(jar.press(&broker, &page, "continue").await.location(), expired);
        let told = jar.visit(&broker, &without).await;
        let expected =
            if is_purged { (404, "This link has expired or was already used") } else { (200, "flow_expired") };
        assert!(told.status == expected.0 && told.text.contains(expected.1), "{}: {}", told.status, told.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_is_checked_at_the_start_and_stands_in_for_the_page() {
    let broker = confirming().setting("POSTPEER_CONNECT__REQUIRE_BINDING", "true").start().await;
    for wrong in ["", "x", &hash("a")[1..], &format!("{}=", hash("a")), &hex::encode(Sha256::digest("a"))] {
        let reply = broker.get(&format!("/v1/connect/twitter?bindingHash={wrong}")).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_parameter"), "{wrong}: {}", reply.text);
        assert!(reply.text.contains("bindingHash"), "{}", reply.text);
    }
    let bound = broker.begin("twitter", &format!("bindingHash={}", hash("a"))).await;
    assert!(bound.starts_with(broker.sandbox_url()), "the app's cookie says more than the page: {bound}");
    // A second attempt is bound to the same browser.
    let mut jar = Jar::with("a");
    let result = jar.visit(&broker, &broker.consent(&bound, &Answer::deny())).await.location();
    let again = jar.visit(&broker, &format!("{result}/retry")).await.location();
    let callback = broker.consent(&again, &Answer::allow());
    refused(&broker, &callback, &mut [Jar::default()]).await;
    assert!(jar.visit(&broker, &callback).await.location().starts_with("/connect/result/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_binding_is_required_a_plain_start_is_refused() {
    let mut broker = TestBroker::builder().setting("POSTPEER_CONNECT__REQUIRE_BINDING", "true").start().await;
    let before = broker.stored();
    let plain = broker.get(&format!("/v1/connect/twitter?{BACK}")).await;
    assert_eq!((plain.status, plain.code()), (400, "binding_required"), "{}", plain.text);
    assert!(plain.text.contains("bindingHash"), "{}", plain.text);
    assert_eq!(broker.stored(), before);
    broker.begin("twitter", &format!("{BACK}&bindingHash={}", hash("a"))).await;
    broker.restart_with(|config| config.connect.confirm = true).await;
    assert!(broker.begin("twitter", BACK).await.contains("/connect/confirm/"));
}

/// Neither the page's token nor the cookie is told to the log or stored.
#[tokio::test(flavor = "multi_thread")]
async fn token_and_cookie_are_neither_logged_nor_stored() {
    logs::capture();
    let broker = confirming().start().await;
    let page = broker.begin("twitter", BACK).await;
    let mut jar = Jar::default();
    jar.visit(&broker, &page).await;
    let url = jar.go_on(&broker, &page).await;
    jar.visit(&broker, &broker.consent(&url, &Answer::allow())).await;
    jar.visit(&broker, &page).await;
    let token = page.rsplit('/').next().unwrap();
    let (log, stored) = (logs::text(), broker.database());
    assert!(log.contains("/connect/confirm/{token}"), "the log has the page's pattern");
    let raw = URL_SAFE_NO_PAD.decode(token).unwrap();
    for secret in [token.as_bytes(), &raw, jar.0[0].1.as_bytes()] {
        assert!(!stored.windows(secret.len()).any(|window| window == secret), "it is stored");
        let log = log.as_bytes();
        assert!(secret == raw || !log.windows(secret.len()).any(|window| window == secret), "it is logged");
    }
}
