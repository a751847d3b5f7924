//! Connect links: made and polled with a key, opened by whoever has them, and good for nothing else.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postpeer::domain::access_key::Scope;
use postpeer::domain::key_limits::Limits;
use postpeer::domain::time::Clock as _;
use postpeer::sandbox::{self, Answer, Fault, Step, bluesky_accounts};
use serde_json::{Value, json};

use crate::binding::Jar;
use crate::logs;
use crate::support::{Reply, TestBroker, expose, parameter, profile};

const LINKS: &str = "/v1/connect/links";

/// Makes a link. Returns its id and its address.
async fn link(broker: &TestBroker, body: Value) -> (String, String) {
    let reply = broker.call("POST", LINKS, Some(body)).await;
    assert_eq!((reply.status, &reply.json["success"]), (201, &json!(true)), "{}", reply.text);
    (text(&reply.json["link"]["id"]), text(&reply.json["link"]["url"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

async fn look(broker: &TestBroker, id: &str) -> Value {
    broker.get(&format!("{LINKS}/{id}")).await.json["link"].clone()
}

/// The form of the page.
fn form(broker: &TestBroker, page: &str, body: &str) -> reqwest::RequestBuilder {
    let request = broker.request("POST", page).header("content-type", "application/x-www-form-urlencoded");
    request.header("sec-fetch-site", "same-origin").body(body.to_owned())
}

async fn post(broker: &TestBroker, jar: &mut Jar, page: &str, body: &str) -> Reply {
    jar.send(form(broker, page, body)).await
}

/// Sets out for the platform and consents there. Returns the callback.
async fn consent(broker: &TestBroker, jar: &mut Jar, page: &str, body: &str, answer: &Answer) -> String {
    let reply = post(broker, jar, page, body).await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    broker.consent(&reply.location(), answer)
}

/// The page of the link that the callback leads back to.
async fn come_back(broker: &TestBroker, jar: &mut Jar, callback: &str) -> String {
    let mut location = jar.visit(broker, callback).await.location();
    if let Some((_, token)) = location.split_once("/connect/selection/") {
        let page = format!("/connect/selection/{token}");
        let offered = broker.visit(&page).await.text;
        let first = offered.split("name=\"account\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let chosen = format!("account={}&action=connect", first.replace(':', "%3A"));
        location = post(broker, jar, &page, &chosen).await.location();
    }
    assert!(location.contains("/connect/link/"), "{location}");
    jar.visit(broker, &location).await.text
}

/// A form without an action goes to the page's address with its fragment, and so does what it redirects to.
#[tokio::test(flavor = "multi_thread")]
async fn the_fragment_that_a_platform_adds_does_not_reach_the_page() {
    let broker = TestBroker::start().await;
    let (_, page) = link(&broker, json!({"redirectUri": "https://app.example/done"})).await;
    let mut with_fragment = Vec::new();
    for platform in sandbox::platforms() {
        for lives in [true, false] {
            let mut jar = Jar::default();
            let callback = consent(&broker, &mut jar, &page, &format!("connect={platform}"), &Answer::deny()).await;
            let has_fragment = callback.contains('#');
            with_fragment.extend(has_fragment.then_some(platform));
            if !lives {
                broker.clock.advance(Duration::from_mins(10));
            }
            let reply = jar.visit(&broker, &callback).await;
            let location = reply.header("location");
            assert!(location.contains("/connect/link/"), "{platform}: {location}");
            assert_eq!(location.matches('#').count(), usize::from(has_fragment), "{platform}: {location}");
            assert_eq!(location.ends_with('#'), has_fragment, "{platform}: {location}");
        }
    }
    with_fragment.dedup();
    for platform in ["facebook", "instagram", "reddit", "threads"] {
        assert!(with_fragment.contains(&platform), "{with_fragment:?}");
    }
    assert!(!with_fragment.contains(&"twitter"), "{with_fragment:?}");
}

fn with_key(broker: &TestBroker, key: &str) -> impl AsyncFn(&str, &str, Option<Value>) -> Reply {
    async move |method, path, body| broker.call_as(key, method, path, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_made_polled_and_revoked() {
    let broker = TestBroker::start().await;
    let team = profile(&broker, "Team A").await;
    let wanted = json!({"profileId": team, "platforms": ["twitter", "bluesky", "twitter"], "expiresInSeconds": 60});
    let made = broker.call("POST", LINKS, Some(wanted)).await;
    let mut told = made.json["link"].clone();
    let (id, url) = (text(&told["id"]), text(&told["url"]));
    assert!(url.starts_with(&format!("{}/connect/link/", broker.url)), "{url}");
    assert_eq!(URL_SAFE_NO_PAD.decode(url.rsplit('/').next().unwrap()).unwrap().len(), 32, "256 random bits");
    told.as_object_mut().unwrap().remove("url");
    let expected = json!({"id": id, "expiresAt": "2026-05-03T08:34:36.445Z", "platforms": ["twitter", "bluesky"],
        "profileId": team, "status": "open"});
    assert_eq!(told, expected);
    let mut polled = look(&broker, &id).await;
    assert_eq!(polled.as_object_mut().unwrap().remove("integrations"), Some(json!([])));
    assert_eq!(polled, expected, "the address is told once");

    for _ in 0..2 {
        let gone = broker.call("DELETE", &format!("{LINKS}/{id}"), None).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
    }
    assert_eq!(look(&broker, &id).await["status"], "revoked");
    let page = broker.visit(&url).await;
    assert_eq!(page.status, 410);
    assert!(page.text.contains("This link was withdrawn") && page.text.contains("whoever sent you"), "{}", page.text);

    let (open, _) = link(&broker, json!({})).await;
    let all = look(&broker, &open).await;
    assert!(all["platforms"].as_array().unwrap().len() > 8, "all that can be connected: {all}");
    assert_eq!((&all["profileId"], &all["expiresAt"]), (&Value::Null, &json!("2026-05-04T08:33:36.445Z")));

    broker.clock.advance(Duration::from_hours(24));
    assert_eq!(look(&broker, &open).await["status"], "expired");
    broker.clock.advance(Duration::from_secs(1));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(broker.get(&format!("{LINKS}/{id}")).await.code(), "link_not_found", "a day after its end");
    assert_eq!(look(&broker, &open).await["status"], "expired", "that was a second ago");
    assert_eq!(broker.visit(&url).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_link_may_be_is_checked_when_it_is_made() {
    let broker = TestBroker::start().await;
    let before = broker.stored();
    for (body, code, told) in [
        (json!({"platforms": ["nothing"]}), "invalid_request", "platforms"),
        (json!({"platforms": ["twitter", "nothing"]}), "invalid_request", "twitter"),
        (json!({"platforms": []}), "invalid_request", "platforms"),
        (json!({"platforms": "twitter"}), "invalid_request", "platforms"),
        (json!({"platforms": [1]}), "invalid_request", "platforms"),
        (json!({"expiresInSeconds": 59}), "invalid_request", "60"),
        (json!({"expiresInSeconds": 2_592_001}), "invalid_request", "2592000"),
        (json!({"expiresInSeconds": "60"}), "invalid_request", "expiresInSeconds"),
        (json!({"expiresInSeconds": 60.5}), "invalid_request", "expiresInSeconds"),
        (json!({"expiresInSeconds": 1e300}), "invalid_request", "expiresInSeconds"),
        (json!({"expiresInSeconds": -60.0}), "invalid_request", "expiresInSeconds"),
        (json!({"redirectUri": "http://app.example/"}), "redirect_not_allowed", "redirectUri"),
        (json!({"redirectUri": "https://app.example/?status=x"}), "redirect_not_allowed", "redirectUri"),
        (json!({"profileId": "prof_00000000000000000000000000000000"}), "profile_not_found", ""),
        (json!({"profile": "x"}), "invalid_request", "profileId"),
        (json!([]), "invalid_json", ""),
    ] {
        let reply = broker.call("POST", LINKS, Some(body.clone())).await;
        assert_eq!(reply.code(), code, "{body}: {}", reply.text);
        assert!(reply.text.contains(told), "{body}: {}", reply.text);
    }
    assert_eq!(broker.stored(), before);
    for seconds in [json!(60), json!(60.0), json!(2_592_000)] {
        link(&broker, json!({"expiresInSeconds": seconds, "profileId": null, "platforms": null})).await;
    }
    // It does not outlive the key that makes it.
    let limits = Limits { expires_at: Some(broker.clock.now().plus(Duration::from_mins(5))), ..Scope::ALL.into() };
    let (key, plain) = broker.broker().create_access_key("default", "short", limits).await.unwrap();
    let make = with_key(&broker, &expose(&plain))("POST", LINKS, Some(json!({}))).await;
    assert_eq!(make.json["link"]["expiresAt"], "2026-05-03T08:38:36.445Z");
    broker.broker().revoke_access_key(key.id).await.unwrap();
    assert_eq!(look(&broker, &text(&make.json["link"]["id"])).await["status"], "revoked");
    // Nor the profile that it is for.
    let team = profile(&broker, "Team A").await;
    let (id, _) = link(&broker, json!({"profileId": team})).await;
    broker.call("DELETE", &format!("/v1/profiles/{team}"), None).await;
    assert_eq!(look(&broker, &id).await["status"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_connects_several_platforms_in_a_row_by_one_link() {
    let broker = TestBroker::builder().toml("[pages]\napp_name = \"Acme Shop\"\n").start().await;
    let team = profile(&broker, "Team A").await;
    let body = json!({"profileId": team, "platforms": ["twitter", "facebook", "bluesky"],
        "redirectUri": "https://app.example/done?nonce=1"});
    let (id, page) = link(&broker, body).await;
    let mut jar = Jar::default();
    let seen = jar.visit(&broker, &page).await;
    for told in ["Acme Shop", "Team A", "Connect X (Twitter)", "Connect Facebook", "App password", "Not connected"] {
        assert!(seen.text.contains(told), "{told}: {}", seen.text);
    }
    let policy = seen.header("content-security-policy");
    assert!(policy.ends_with("frame-ancestors 'none'"), "the app may redirect anywhere: {policy}");
    assert_eq!((seen.header("referrer-policy"), seen.header("cache-control")), ("same-origin", "no-store"));
    let german = jar.visit(&broker, &format!("{page}?lang=de")).await;
    assert!(german.text.contains("Ihre Konten mit Acme Shop verbinden"), "{}", german.text);

    let leave = post(&broker, &mut Jar::default(), &page, "action=done").await.location();
    assert_eq!(leave, "https://app.example/done?nonce=1&status=cancelled&error=access_denied");

    // Twitter, which is declined first.
    let denied = consent(&broker, &mut jar, &format!("{page}?lang=de"), "connect=twitter", &Answer::deny()).await;
    let told = come_back(&broker, &mut jar, &denied).await;
    assert!(told.contains("X (Twitter) wurde nicht verbunden") && told.contains("Sie haben bei"), "{told}");
    jar.forget("postpeer-lang");
    assert_eq!(look(&broker, &id).await["status"], "open");
    let callback = consent(&broker, &mut jar, &page, "connect=twitter", &Answer::allow()).await;
    let told = come_back(&broker, &mut jar, &callback).await;
    assert!(told.contains("X (Twitter) is connected") && told.contains("Working"), "{told}");
    assert_eq!(jar.visit(&broker, &callback).await.status, 303, "a reload leads back as well");
    // Facebook, with a choice of Pages.
    let callback = consent(&broker, &mut jar, &page, "connect=facebook", &Answer::allow()).await;
    assert!(come_back(&broker, &mut jar, &callback).await.contains("Facebook is connected"));
    // Bluesky, first with a wrong password.
    let ada = bluesky_accounts().first().unwrap();
    let sign_in = |password: &str| format!("connect=bluesky&identifier={}&password={password}", ada.handle);
    let wrong = post(&broker, &mut jar, &page, &sign_in("wrong-secret")).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    assert!(wrong.text.contains("do not belong together") && wrong.text.contains(ada.handle), "{}", wrong.text);
    assert!(!wrong.text.contains("wrong-secret"), "the password never comes back");
    assert!(
        wrong.text.contains("autofocus") && !seen.text.contains("autofocus"),
        "a browser goes to the field: {}",
        wrong.text
    );
    let own = post(&broker, &mut jar, &page, &sign_in(ada.password)).await;
    assert!(own.status == 400 && own.text.contains("That is your own password"), "{}", own.text);
    let right = post(&broker, &mut jar, &page, &sign_in(ada.app_password)).await;
    assert_eq!(right.status, 303, "{}", right.text);
    let told = jar.visit(&broker, &format!("{page}{}", right.location())).await.text;
    assert!(told.contains("Bluesky is connected"), "{told}");

    let used = look(&broker, &id).await;
    assert_eq!(used["status"], "used");
    let connected = used["integrations"].as_array().unwrap();
    let platforms: Vec<String> = connected.iter().map(|one| text(&one["platform"])).collect();
    assert_eq!(platforms, ["twitter", "facebook", "bluesky"]);
    assert!(connected.iter().all(|one| one["profileId"] == team.as_str()));
    let done = post(&broker, &mut jar, &page, "action=done").await.location();
    assert!(done.starts_with("https://app.example/done?nonce=1&status=success&"), "{done}");
    assert_eq!(parameter(&done, "platform").as_deref(), Some("twitter,facebook,bluesky"));
    let ids: Vec<String> = connected.iter().map(|one| text(&one["id"])).collect();
    assert_eq!(parameter(&done, "integrationId"), Some(ids.join(",")));
    assert_eq!(parameter(&done, "profileId"), Some(team));

    // The trail names the link with what came through it.
    let trail = broker.get("/v1/audit?limit=100").await.json["entries"].clone();
    let by_link = trail.as_array().unwrap().iter().filter(|entry| entry["actor"] == "link");
    let entries: Vec<_> = by_link.map(|entry| (text(&entry["action"]), text(&entry["linkId"]))).collect();
    let expected =
        ["connection.ended", "account.connected", "selection.offered", "account.connected", "account.connected"];
    assert_eq!(entries, expected.map(|action| (action.to_owned(), id.clone())));
}

/// A link remembers fewer accounts than a person may have.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_redirect_counts_all_accounts() {
    let broker = TestBroker::start().await;
    let (id, page) = link(&broker, json!({"redirectUri": "https://app.example/done", "platforms": ["facebook"]})).await;
    let mut jar = Jar::default();
    let agency = Answer::allow().account("agency");
    let callback = consent(&broker, &mut jar, &page, "connect=facebook", &agency).await;
    let choice = jar.visit(&broker, &callback).await.location();
    let all = post(&broker, &mut jar, &choice, "q=&action=all").await.location();
    let ticked = jar.visit(&broker, &format!("{choice}{all}")).await.text;
    let ids: Vec<&str> =
        ticked.split("name=\"account\" value=\"").skip(1).filter_map(|it| it.split('"').next()).collect();
    let form = ids.iter().map(|id| format!("account={}", id.replace(':', "%3A"))).collect::<Vec<_>>().join("&") + "&";
    let done = post(&broker, &mut jar, &choice, &format!("{form}action=connect")).await;
    assert_eq!(done.status, 303, "{}", done.text);
    let remembered = look(&broker, &id).await["integrations"].as_array().unwrap().len();
    assert!(remembered < 250, "{remembered}");

    let left = post(&broker, &mut jar, &page, "action=done").await.location();
    assert_eq!(parameter(&left, "status").as_deref(), Some("success"));
    assert_eq!(parameter(&left, "integrationCount").as_deref(), Some("250"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_redirect_the_last_page_says_what_was_connected() {
    let broker = TestBroker::start().await;
    let (_, page) = link(&broker, json!({"platforms": ["twitter"]})).await;
    let mut jar = Jar::default();
    let closing = post(&broker, &mut jar, &page, "action=done").await.location();
    let left = jar.visit(&broker, &format!("{page}{closing}")).await;
    assert!(left.status == 200 && left.text.contains("Nothing was connected"), "{}", left.text);
    let callback = consent(&broker, &mut jar, &page, "connect=twitter", &Answer::allow()).await;
    come_back(&broker, &mut jar, &callback).await;
    let done = jar.visit(&broker, &format!("{page}{closing}")).await;
    for told in ["All done", "Ada Marlow", "close this tab"] {
        assert!(done.text.contains(told), "{told}: {}", done.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_failed_is_connected_again_through_the_link() {
    let broker = TestBroker::start().await;
    let team = profile(&broker, "Team A").await;
    let elsewhere = broker.connect("twitter", "").await;
    let id = broker.connect("twitter", &format!("profileId={team}")).await;
    let grants = "UPDATE grants SET status = 'reconnect_required', failure_reason = 'access_revoked', ended_at = 1, due_at = NULL";
    broker.sql().execute(grants, []).unwrap();
    let (link, page) = link(&broker, json!({"profileId": team, "platforms": ["twitter"]})).await;
    let mut jar = Jar::default();
    let seen = jar.visit(&broker, &page).await.text;
    assert!(seen.contains("Not working any more") && seen.contains(&format!("value=\"{id}\"")), "{seen}");
    assert!(!seen.contains(&elsewhere), "another profile's account is not shown");
    let foreign = post(&broker, &mut jar, &page, &format!("reconnect={elsewhere}")).await;
    assert_eq!(foreign.status, 400, "{}", foreign.text);
    assert!(foreign.text.contains("This page was out of date") && foreign.text.contains(&*id), "{}", foreign.text);

    let again = format!("reconnect={id}");
    let other = consent(&broker, &mut jar, &page, &again, &Answer::allow().account("basil")).await;
    let told = come_back(&broker, &mut jar, &other).await;
    assert!(told.contains("another account than the one to be connected again"), "{told}");
    let callback = consent(&broker, &mut jar, &page, &again, &Answer::allow()).await;
    assert!(come_back(&broker, &mut jar, &callback).await.contains("is connected"));
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
    assert_eq!(look(&broker, &link).await["integrations"][0]["id"], id.as_str());
}

/// A chat program looks at a link before anybody opens it, and anybody may open it twice.
#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_link_uses_nothing_up() {
    let broker = TestBroker::start().await;
    let (_, page) = link(&broker, json!({"platforms": ["twitter"]})).await;
    let before = broker.stored();
    for (method, ahead) in [("GET", "prefetch"), ("HEAD", ""), ("GET", "")] {
        let seen = broker.request(method, &page).header("sec-purpose", ahead).send().await.unwrap();
        assert_eq!((seen.status(), seen.headers().get("set-cookie")), (reqwest::StatusCode::OK, None));
    }
    assert_eq!(broker.stored(), before);
    assert!(broker.sandbox().requests().is_empty());
    for site in ["cross-site", "same-site"] {
        let foreign = broker.request("POST", &page).header("sec-fetch-site", site);
        let foreign = foreign.header("content-type", "application/x-www-form-urlencoded").body("connect=twitter");
        let foreign = Reply::of(foreign.send().await.unwrap()).await;
        assert_eq!((foreign.status, foreign.location().as_str()), (403, ""), "{site}");
    }
    for odd in ["connect=facebook", "connect=nothing", "", "action=else", "connect=twitter&reconnect=int_0"] {
        assert_eq!(post(&broker, &mut Jar::default(), &page, odd).await.status, 400, "{odd}");
    }
    assert_eq!(broker.stored(), before);
    let (mut one, mut two) = (Jar::default(), Jar::default());
    let first = consent(&broker, &mut one, &page, "connect=twitter", &Answer::allow()).await;
    let second = consent(&broker, &mut two, &page, "connect=twitter", &Answer::allow().account("basil")).await;
    assert!(come_back(&broker, &mut one, &first).await.contains("is connected"));
    assert!(come_back(&broker, &mut two, &second).await.contains("is connected"));
}

/// With the operator's strictest settings: the page is the confirmation, and binds the browser.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_browser_than_the_one_that_set_out_finishes_a_connection() {
    let strict = TestBroker::builder().setting("POSTPEER_CONNECT__REQUIRE_BINDING", "true");
    let broker = strict.setting("POSTPEER_CONNECT__CONFIRM", "true").start().await;
    let (_, page) = link(&broker, json!({"platforms": ["twitter"]})).await;
    let mut attacker = Jar::default();
    let callback = consent(&broker, &mut attacker, &page, "connect=twitter", &Answer::allow()).await;
    // The victim set out from the same link before, or has no cookie at all.
    let mut victim = Jar::default();
    consent(&broker, &mut victim, &page, "connect=twitter", &Answer::allow().account("basil")).await;
    let before = broker.stored();
    for jar in [&mut victim, &mut Jar::default()] {
        let refused = jar.visit(&broker, &callback).await;
        assert_eq!((refused.status, refused.location().as_str()), (400, ""), "{}", refused.text);
        for told in ["browser_mismatch", "You started in another browser", "Open the link that you were sent"] {
            assert!(refused.text.contains(told), "{told}: {}", refused.text);
        }
    }
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty(), "no code is exchanged");
    assert_eq!(broker.stored(), before);
    assert!(come_back(&broker, &mut attacker, &callback).await.contains("is connected"), "without another question");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_ended_connects_nothing_not_even_what_is_under_way() {
    let broker = TestBroker::start().await;
    let ada = bluesky_accounts().first().unwrap();
    let (id, page) = link(&broker, json!({"platforms": ["twitter", "facebook", "bluesky"]})).await;
    let mut jar = Jar::default();
    let twitter = consent(&broker, &mut jar, &page, "connect=twitter", &Answer::allow()).await;
    let facebook = consent(&broker, &mut jar, &page, "connect=facebook", &Answer::allow()).await;
    let choice = jar.visit(&broker, &facebook).await.location();
    broker.call("DELETE", &format!("{LINKS}/{id}"), None).await;
    let late = jar.visit(&broker, &twitter).await;
    assert!(late.status == 410 && late.text.contains("This link was withdrawn"), "{}", late.text);
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty());
    let offered = broker.visit(&choice).await.text;
    let first = offered.split("name=\"account\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let chosen = format!("account={}&action=connect", first.replace(':', "%3A"));
    assert_eq!(post(&broker, &mut jar, &choice, &chosen).await.status, 410);
    let sign_in = format!("connect=bluesky&identifier={}&password={}", ada.handle, ada.app_password);
    for body in ["connect=twitter", "action=done", &sign_in] {
        assert_eq!(post(&broker, &mut jar, &page, body).await.status, 410, "{body}");
    }
    assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);

    // What was begun in time may be finished after the link's end.
    let (_, short) = link(&broker, json!({"platforms": ["twitter"], "expiresInSeconds": 60})).await;
    broker.clock.advance(Duration::from_secs(50));
    let callback = consent(&broker, &mut jar, &short, "connect=twitter", &Answer::allow()).await;
    broker.clock.advance(Duration::from_secs(10));
    let ended = jar.visit(&broker, &callback).await;
    assert_eq!(ended.status, 303, "{}", ended.text);
    let page = jar.visit(&broker, &ended.location()).await;
    assert!(page.status == 200 && page.text.contains("X (Twitter) is connected"), "{}", page.text);
    let page = jar.visit(&broker, &short).await;
    assert!(page.status == 410 && page.text.contains("This link has expired"), "{}", page.text);
    assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 1);
    let unknown = format!("{}x", &short[..short.len() - 1]);
    let unknown = broker.visit(&unknown).await;
    assert!(unknown.status == 404 && unknown.text.contains("This link is not known"), "{}", unknown.text);
    let german = broker.visit(&format!("{short}?lang=de")).await;
    assert!(german.text.contains("Dieser Link ist abgelaufen"), "{}", german.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_and_a_connection_that_took_too_long_are_told_on_the_page() {
    let broker = TestBroker::start().await;
    let (_, page) = link(&broker, json!({"platforms": ["twitter"]})).await;
    let mut jar = Jar::default();
    broker.sandbox().fail_next("twitter", Step::Token, Fault::ServerError, 3).unwrap();
    let callback = consent(&broker, &mut jar, &page, "connect=twitter", &Answer::allow()).await;
    let told = come_back(&broker, &mut jar, &callback).await;
    assert!(told.contains("was not connected") && told.contains("cannot be reached"), "{told}");
    broker.sandbox().clear();
    let callback = consent(&broker, &mut jar, &page, "connect=twitter", &Answer::allow()).await;
    broker.clock.advance(Duration::from_mins(10));
    let told = come_back(&broker, &mut jar, &callback).await;
    assert!(told.contains("This took too long") && told.contains("Try it again here"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_chooses_too_late_comes_back_to_the_page() {
    let broker = TestBroker::start().await;
    let (_, page) = link(&broker, json!({"platforms": ["facebook"]})).await;
    let mut jar = Jar::default();
    let callback = consent(&broker, &mut jar, &page, "connect=facebook", &Answer::allow()).await;
    let choice = jar.visit(&broker, &callback).await.location();
    assert!(choice.contains("/connect/selection/"), "{choice}");
    broker.clock.advance(Duration::from_mins(10));
    let location = jar.visit(&broker, &choice).await.location();
    let path = location.strip_suffix("?late=facebook").unwrap_or_else(|| panic!("{location}"));
    assert!(page.ends_with(path), "{location}");
    let told = jar.visit(&broker, &location).await.text;
    assert!(told.contains("This took too long") && told.contains("Try it again here"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_bound_to_a_profile_has_links_for_no_other() {
    let broker = TestBroker::start().await;
    let (own, other) = (profile(&broker, "own").await, profile(&broker, "other").await);
    let limits = Limits { profile_id: Some(own.parse().unwrap()), ..Scope::ALL.into() };
    let (_, plain) = broker.broker().create_access_key("default", "bound", limits).await.unwrap();
    let plain = expose(&plain);
    let call = with_key(&broker, &plain);
    let made = call("POST", LINKS, Some(json!({}))).await;
    assert_eq!(made.json["link"]["profileId"], own.as_str(), "{}", made.text);
    let foreign = call("POST", LINKS, Some(json!({"profileId": other}))).await;
    assert_eq!((foreign.status, foreign.code()), (403, "key_bound_to_profile"));
    let links = [link(&broker, json!({"profileId": other})).await, link(&broker, json!({})).await];
    let theirs = broker.broker().create_project("theirs").await.unwrap().name;
    let stranger = broker.key(&theirs, Scope::ALL).await;
    for method in ["GET", "DELETE"] {
        for (id, _) in &links {
            let reply = call(method, &format!("{LINKS}/{id}"), None).await;
            assert_eq!((reply.status, reply.code()), (404, "link_not_found"), "{method}");
        }
        let mine = text(&made.json["link"]["id"]);
        let reply = broker.call_as(&stranger, method, &format!("{LINKS}/{mine}"), None).await;
        assert_eq!((reply.status, reply.code()), (404, "link_not_found"), "{method}: another project's");
        assert_eq!(call("GET", &format!("{LINKS}/{mine}"), None).await.status, 200);
    }
    assert_eq!(look(&broker, &links[0].0).await["status"], "open");

    // An account that moved to another profile is none of the link's to this key.
    let (mine, page) = (text(&made.json["link"]["id"]), text(&made.json["link"]["url"]));
    let mut jar = Jar::default();
    let callback = consent(&broker, &mut jar, &page, "connect=twitter", &Answer::allow()).await;
    come_back(&broker, &mut jar, &callback).await;
    let seen = async || call("GET", &format!("{LINKS}/{mine}"), None).await.json["link"]["integrations"].take();
    let connected = seen().await;
    assert_eq!(connected.as_array().unwrap().len(), 1, "{connected}");
    let path = format!("/v1/connect/integrations/{}", text(&connected[0]["id"]));
    assert_eq!(broker.call("PATCH", &path, Some(json!({"profileId": other}))).await.status, 200);
    assert_eq!(seen().await, json!([]));
    assert_eq!(look(&broker, &mine).await["integrations"][0]["profileId"], other.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn links_cost_what_changes_cost_and_wrong_ones_what_misses_cost() {
    let limited = TestBroker::builder().setting("POSTPEER_LIMITS__WRITES_PER_KEY", "2");
    let broker = limited.setting("POSTPEER_LIMITS__MISSES_PER_ADDRESS", "3").start().await;
    let (_, page) = link(&broker, json!({"platforms": ["bluesky"]})).await;
    link(&broker, json!({})).await;
    let refused = broker.call("POST", LINKS, Some(json!({}))).await;
    assert_eq!((refused.status, refused.code(), refused.header("retry-after")), (429, "limit_reached", "30"));

    // Five attempts at an account, however it is connected.
    let ada = bluesky_accounts().first().unwrap();
    let body = format!("connect=bluesky&identifier={}&password=wrong", ada.handle);
    for attempt in 1..=6 {
        let reply = post(&broker, &mut Jar::default(), &page, &body).await;
        let expected = if attempt < 6 { 400 } else { 429 };
        assert_eq!(reply.status, expected, "{attempt}: {}", reply.text);
        if expected == 429 {
            assert!(reply.text.contains("too many attempts") && !reply.header("retry-after").is_empty());
        }
    }
    for miss in 1..=4 {
        let status = broker.visit(&format!("/connect/link/{miss}")).await.status;
        assert_eq!(status, if miss < 4 { 404 } else { 429 }, "{miss}");
    }
    assert_eq!(broker.visit("/v1/connect/twitter/callback?state=x&code=x").await.status, 429);
    assert_eq!(broker.visit(&page).await.status, 200, "what is right works for the others of that address");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_link_is_neither_logged_nor_stored() {
    logs::capture();
    let broker = TestBroker::start().await;
    let (_, page) = link(&broker, json!({"platforms": ["twitter"]})).await;
    let mut jar = Jar::default();
    let seen = jar.visit(&broker, &page).await;
    let callback = consent(&broker, &mut jar, &page, "connect=twitter", &Answer::allow()).await;
    come_back(&broker, &mut jar, &callback).await;
    let token = page.rsplit('/').next().unwrap();
    assert!(!seen.text.contains(token), "the token is in the address alone");
    let (log, stored) = (logs::text(), broker.database());
    assert!(log.contains("/connect/link/{token}"), "the log has the page's pattern");
    let raw = URL_SAFE_NO_PAD.decode(token).unwrap();
    for secret in [token.as_bytes(), &raw, jar.values().next().unwrap().as_bytes()] {
        assert!(!stored.windows(secret.len()).any(|window| window == secret), "it is stored");
        assert!(!log.as_bytes().windows(secret.len()).any(|window| window == secret), "it is logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_so_many_links_and_those_that_ended_make_room() {
    let broker = TestBroker::start().await;
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO links (id, project_id, token, platforms, created_at, expires_at)
        SELECT printf('link_%032x', i), (SELECT id FROM projects), CAST(printf('%032d', i) AS BLOB), '[]', 0, 9000000000000 FROM n";
    broker.sql().execute(many, []).unwrap();
    let refused = broker.call("POST", LINKS, Some(json!({}))).await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_pending_connections"), "{}", refused.text);
    assert_eq!(refused.header("retry-after"), "60");
    assert!(refused.text.contains("20000 connect links"), "{}", refused.text);
    broker.sql().execute("UPDATE links SET revoked_at = 1 WHERE id LIKE '%1'", []).unwrap();
    link(&broker, json!({})).await;
    let left: u32 = broker.sql().query_row("SELECT count(*) FROM links", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 20_000 - 1_250 + 1);
}
