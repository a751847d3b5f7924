//! Profiles, OAuth apps, access keys, platforms and the audit trail, as forms and pages.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use postpeer::domain::access_key::Scope;
use postpeer::domain::key_limits::Limits;
use postpeer::domain::time::Clock as _;
use postpeer::sandbox;
use serde_json::{Value, json};

use super::{Operator, start};
use crate::support::{TestBroker, expose, profile};

/// The path of the action `what` on the first row with this text.
fn action(page: &str, row: &str, what: &str) -> String {
    let row = page.split("<li").find(|part| part.contains(row)).unwrap_or_else(|| panic!("no row {row}: {page}"));
    let actions = row.split("action=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut actions = actions.filter(|path| path.ends_with(what));
    actions.next().unwrap_or_else(|| panic!("no action {what}: {row}")).to_owned()
}

async fn actions(broker: &TestBroker) -> Vec<(String, String)> {
    let entries = broker.get("/v1/audit?limit=100").await.json["entries"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.as_array().unwrap().iter().map(|entry| (text(&entry["action"]), text(&entry["actor"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_made_renamed_and_deleted() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let fields = [("name", "Winter <b>"), ("description", "two\r\nlines")];
    let (at, page) = operator.told("/console/profiles", &fields).await;
    assert_eq!(at, "/console/profiles");
    assert!(page.contains("Winter &#60;b&#62;") && page.contains("The profile is created."), "{page}");
    let again = operator.page("/console/profiles?done=profile_made").await;
    assert!(!again.contains("The profile is created."), "an address alone tells nothing: {again}");
    let path = action(&page, "Winter", "");
    operator.done(&path, &[("name", "Summer"), ("description", "")]).await;
    let listed = broker.get("/v1/profiles").await.json["profiles"].clone();
    assert_eq!((&listed[0]["name"], &listed[0]["description"]), (&json!("Summer"), &json!(null)));
    assert!(!operator.page("/console/profiles?name=winter").await.contains("Summer"));
    for wrong in ["", "  ", &"x".repeat(201), "a\u{202e}b"] {
        let reply = operator.post(&path, &[("name", wrong)]).await;
        assert!(reply.status == 400 && reply.text.contains("name must"), "{wrong}: {}", reply.text);
    }
    operator.done(&format!("{path}/delete"), &[]).await;
    assert_eq!(broker.get("/v1/profiles").await.json["total"], json!(0));
    let left = actions(&broker).await;
    for one in ["profile.created", "profile.updated", "profile.deleted"] {
        assert!(left.contains(&(one.to_owned(), "access_key".to_owned())), "{one}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_made_gets_another_secret_and_is_deleted() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let (id, secret) = sandbox::own_client("twitter").unwrap();
    let fields = [("platform", "twitter"), ("name", "Own"), ("clientId", &id), ("clientSecret", &secret)];
    let (at, page) = operator.told("/console/apps", &fields).await;
    assert!(at == "/console/apps" && page.contains("The app is created."), "{at}: {page}");
    let again = operator.post("/console/apps", &fields).await;
    assert!(again.status == 409 && again.text.contains("duplicate_app"), "{}", again.text);
    let page = operator.page("/console/apps").await;
    assert!(page.contains(&id) && !page.contains(&secret), "{page}");
    let path = action(&page, "Own", "/secret");
    let (at, page) = operator.told(&path, &[("clientSecret", "changed")]).await;
    assert!(at == "/console/apps" && page.contains("The secret is replaced."), "{at}: {page}");
    let wrong = operator
        .post("/console/apps", &[("platform", "none"), ("name", "x"), ("clientId", "c"), ("clientSecret", "s")]);
    assert_eq!(wrong.await.status, 400);
    operator.done(&path.replace("/secret", "/delete"), &[]).await;
    let left = actions(&broker).await;
    for one in ["app.created", "app.secret_replaced", "app.deleted"] {
        assert!(left.contains(&(one.to_owned(), "access_key".to_owned())), "{one}: {left:?}");
    }
    let (_, key) = bound(&broker).await;
    let bound = Operator::with(&broker, &key).await;
    assert!(bound.page("/console/apps").await.contains("apps belong to the whole project"));
    assert_eq!(bound.post("/console/apps", &fields).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_in_the_console_takes_its_links_with_it() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let (key, plain) = broker.broker().create_access_key("default", "leaked", Scope::ALL).await.unwrap();
    let made = broker.call_as(&expose(&plain), "POST", "/v1/connect/links", Some(json!({}))).await;
    let page = made.json["link"]["url"].as_str().unwrap();
    assert_eq!(broker.visit(page).await.status, 200);
    operator.done(&format!("/console/keys/{}/revoke", key.id), &[]).await;
    assert_eq!(broker.visit(page).await.status, 410);
    let id = made.json["link"]["id"].as_str().unwrap();
    let seen = broker.call("GET", &format!("/v1/connect/links/{id}"), None).await;
    assert_eq!(seen.json["link"]["status"], "revoked", "{}", seen.text);
}

/// A profile, and a key that is bound to it.
async fn bound(broker: &TestBroker) -> (String, String) {
    let profile = profile(broker, "Bound").await;
    let limits = Limits {
        profile_id: Some(profile.parse().unwrap()),
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        expires_at: Some(broker.clock.now().plus(Duration::from_hours(24))),
        ..Limits::from(&[Scope::Manage, Scope::Read])
    };
    let (_, key) = broker.broker().create_access_key("default", "bound", limits).await.unwrap();
    (profile, expose(&key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_is_never_stronger_than_its_maker() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let shown = operator.post("/console/keys", &[("name", "ci"), ("scope", "read"), ("expires", "90d")]).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let key = shown.text.split("aria-label=\"Access key\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(broker.call_as(&key, "GET", "/v1/profiles", None).await.status, 200);
    let page = operator.page("/console/keys").await;
    assert!(page.contains("ci") && page.contains(&key[..8]) && !page.contains(&key), "{page}");

    let (profile, plain) = bound(&broker).await;
    let weak = Operator::with(&broker, &plain).await;
    let page = weak.page("/console/keys").await;
    assert!(page.contains("bound") && !page.contains(">ci<"), "only those of its profile: {page}");
    for (stronger, why) in [
        ([("scope", "tokens"), ("name", "x")], "scopes must be among"),
        ([("scope", "read"), ("expires", "2d")], "expiresAt must not be later"),
        ([("scope", "read"), ("networks", "10.0.0.0/8")], "networks must be within"),
        ([("scope", "read"), ("profile", "prof_00000000000000000000000000000009")], "profileId must be"),
        ([("scope", "nothing"), ("name", "x")], "scope is unknown"),
        ([("scope", "read"), ("expires", "tomorrow")], "expires is not a time"),
        ([("name", "y"), ("expires", "")], "at least one scope"),
    ] {
        let named = stronger.iter().any(|(name, _)| *name == "name");
        let fields = [&stronger[..], if named { &[] } else { &[("name", "x")] }].concat();
        let reply = weak.post("/console/keys", &fields).await;
        assert!(reply.status == 400 && reply.text.contains(why), "{stronger:?}: {}", reply.text);
    }
    let made = weak.post("/console/keys", &[("name", "inherits"), ("scope", "read")]).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let inherits: (String, String, bool) = broker
        .sql()
        .query_row(
            "SELECT profile_id, networks, expires_at IS NOT NULL FROM access_keys WHERE name = 'inherits'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(inherits, (profile, "[\"127.0.0.0/8\"]".to_owned(), true));

    let page = operator.page("/console/keys").await;
    let strong: String = broker.sql().query_row("SELECT min(id) FROM access_keys", [], |row| row.get(0)).unwrap();
    assert_eq!(weak.post(&format!("/console/keys/{strong}/revoke"), &[]).await.status, 404, "of the whole project");
    let elsewhere = Operator::with(&broker, &broker.key("other", Scope::ALL).await).await;
    assert_eq!(elsewhere.post(&format!("/console/keys/{strong}/revoke"), &[]).await.status, 404);
    let reader = Operator::may(&broker, &[Scope::Manage]).await;
    let refused = reader.post(&format!("/console/keys/{strong}/revoke"), &[]).await;
    assert!(refused.status == 400 && refused.text.contains("stronger"), "{}", refused.text);
    let (at, page) = operator.told(&action(&page, ">ci<", "/revoke"), &[]).await;
    assert!(at == "/console/keys" && page.contains("The key is revoked."), "{at}: {page}");
    assert_eq!(broker.call_as(&key, "GET", "/v1/profiles", None).await.status, 401);
    let own = action(&operator.page("/console/keys").await, "This is the key", "/revoke");
    let (at, page) = operator.told(&own, &[]).await;
    assert!(at == "/console/sign-in" && page.contains("The key is revoked."), "{at}: {page}");
    assert_eq!(operator.get("/console/keys").await.status, 303, "signed out with the key");
}

/// The answer to a form that creates a key shows the key, so that a reload sends the form again.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_again_makes_no_second_key() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let latest = async || {
        let page = operator.page("/console/keys").await;
        page.split("name=\"latest\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let before = latest().await;
    let fields = [("name", " ci "), ("scope", "read"), ("latest", &before)];
    assert!(operator.post("/console/keys", &fields).await.text.contains("ppk_"));
    let (at, page) = operator.told("/console/keys", &fields).await;
    assert!(at == "/console/keys" && page.contains("so no other was"), "{at}: {page}");
    assert_eq!(page.matches("<bdi>ci</bdi>").count(), 1, "{page}");
    // From a form that was opened since, one of the same name is wanted.
    let fields = [("name", "ci"), ("scope", "read"), ("latest", &latest().await)];
    assert!(operator.post("/console/keys", &fields).await.text.contains("ppk_"));
    let fields = [("name", "other"), ("scope", "read"), ("latest", &before)];
    assert!(operator.post("/console/keys", &fields).await.text.contains("ppk_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_is_saved_as_it_is() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let text = format!("\nfirst\nsecond  {}\n", "x\n".repeat(491));
    assert_eq!(text.chars().count(), 998);
    let made = broker.call("POST", "/v1/profiles", Some(json!({"name": "Team", "description": text}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let page = operator.page("/console/profiles").await;
    // Parsers drop the first line break of a textarea.
    assert!(page.contains("maxlength=\"2000\">\n\nfirst\nsecond  x\n"), "{page}");
    let typed = text.replace('\n', "\r\n");
    operator.done(&action(&page, "Team", ""), &[("name", "Renamed"), ("description", &typed)]).await;
    let kept = broker.get("/v1/profiles").await.json["profiles"][0].clone();
    assert_eq!((&kept["name"], &kept["description"]), (&json!("Renamed"), &json!(text)));
}

/// More profiles than a list of choices has.
#[tokio::test(flavor = "multi_thread")]
async fn every_profile_can_be_named_by_its_id() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let id = broker.connect("twitter", "").await;
    let path = format!("/console/accounts/{id}");
    let mut profiles = Vec::new();
    for number in 0..51 {
        assert_eq!(operator.page(&path).await.contains("name=\"other\""), number > 50, "{number}");
        let made = broker.call("POST", "/v1/profiles", Some(json!({"name": format!("P{number}")}))).await;
        profiles.push(made.json["profile"]["id"].as_str().unwrap().to_owned());
    }
    assert!(operator.page(&path).await.contains("name=\"other\""));
    let oldest = &profiles[0];
    let (_, page) = operator
        .told(&format!("{path}/move"), &[("profile", profiles[50].as_str()), ("other", &format!(" {oldest} "))])
        .await;
    assert!(page.contains(&format!("<option value=\"{oldest}\" selected>P0</option>")), "{page}");
    let fields = [("name", "bound"), ("scope", "read"), ("profile", ""), ("other", oldest.as_str())];
    assert_eq!(operator.post("/console/keys", &fields).await.status, 200);
    assert!(operator.page("/console/keys").await.contains(&format!("<code>{oldest}</code>")));
    // Saving the form changes nothing where the profile is deleted.
    assert_eq!(broker.call("DELETE", &format!("/v1/profiles/{oldest}"), None).await.status, 200);
    let page = operator.page(&path).await;
    assert!(page.contains(&format!("<option value=\"{oldest}\" selected>P0</option>")), "by its name: {page}");
    let filtered = operator.page(&format!("/console/accounts?profile={oldest}")).await;
    assert!(filtered.contains(&format!("<option value=\"{oldest}\" selected>P0</option>")), "{filtered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_twice_is_told_to_be_gone() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let profile = profile(&broker, "Team").await;
    let app = json!({"platform": "twitter", "name": "Own", "clientId": "c", "clientSecret": "s"});
    let app = broker.call("POST", "/v1/apps", Some(app)).await.json["app"]["id"].as_str().unwrap().to_owned();
    let account = broker.connect("twitter", "").await;
    let (key, _) = broker.broker().create_access_key("default", "old", Scope::ALL).await.unwrap();
    for (list, id, action) in [
        ("/console/accounts", account, "disconnect"),
        ("/console/apps", app, "delete"),
        ("/console/keys", key.id.to_string(), "revoke"),
        ("/console/profiles", profile, "delete"),
    ] {
        let path = format!("{list}/{id}/{action}");
        let (at, first) = operator.told(&path, &[]).await;
        assert!(at == list && !first.contains("That was done already"), "{path}: {first}");
        let (at, again) = operator.told(&path, &[]).await;
        assert!(at == list && again.contains("That was done already, so nothing was done now."), "{path}: {again}");
        // An id that never was here, or is another project's, is not found.
        let (kind, _) = id.split_once('_').unwrap();
        let never = format!("{list}/{kind}_00000000000000000000000000000009/{action}");
        assert_eq!(operator.post(&never, &[]).await.status, 404, "{never}");
    }
    let removed = actions(&broker).await;
    for one in ["account.disconnected", "app.deleted", "access_key.revoked", "profile.deleted"] {
        assert_eq!(removed.iter().filter(|(action, _)| action == one).count(), 1, "{one}: {removed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_makes_one_of_what_it_makes() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let latest = async |list: &str| {
        let page = operator.page(list).await;
        page.split("name=\"latest\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let profiles = "/console/profiles";
    for number in 1..=2 {
        let before = latest(profiles).await;
        for told in ["The profile is created.", "so no other was"] {
            let (_, page) = operator.told(profiles, &[("name", " Team "), ("latest", &before)]).await;
            assert!(page.contains(told), "{told}: {page}");
        }
        // Another profile of the name is made with another form.
        assert_eq!(broker.get("/v1/profiles").await.json["total"], json!(number));
        let (_, page) = operator.told(profiles, &[("name", "Team A"), ("latest", &before)]).await;
        assert!(page.contains("The profile is created."), "another name: {page}");
        let other = broker.get("/v1/profiles?name=Team%20A").await.json["profiles"][0]["id"].clone();
        broker.call("DELETE", &format!("/v1/profiles/{}", other.as_str().unwrap()), None).await;
    }

    // A double click.
    for (list, name, more) in [(profiles, "Twice", ("description", "")), ("/console/keys", "twice", ("scope", "read"))]
    {
        let before = latest(list).await;
        let fields = [("name", name), ("latest", before.as_str()), more];
        tokio::join!(operator.post(list, &fields), operator.post(list, &fields), operator.post(list, &fields));
    }
    assert_eq!(broker.get("/v1/profiles?name=Twice").await.json["total"], 1);
    let keys = "SELECT count(*) FROM access_keys WHERE name = 'twice'";
    assert_eq!(broker.sql().query_row(keys, [], |row| row.get::<_, u32>(0)), Ok(1));

    let before = latest("/console/apps").await;
    let app =
        |id| [("platform", "twitter"), ("name", "Own"), ("clientId", id), ("clientSecret", "s"), ("latest", &before)];
    for told in ["The app is created.", "replace the app"] {
        let (_, page) = operator.told("/console/apps", &app("c")).await;
        assert!(page.contains(told), "{told}: {page}");
    }
    let since = latest("/console/apps").await;
    let opened_later = [&app("c")[..4], &[("latest", since.as_str())]].concat();
    let refused = operator.post("/console/apps", &opened_later).await;
    assert!(refused.status == 409 && refused.text.contains("duplicate_app"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_names_a_profile_that_is_gone_comes_back() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let id = broker.connect("twitter", "").await;
    let gone = "prof_00000000000000000000000000000009";
    let fields = [("name", "ci"), ("scope", "read"), ("profile", gone)];
    let key = operator.post("/console/keys", &fields).await;
    assert!(key.status == 404 && key.text.contains("profile_not_found"), "{}", key.text);
    for kept in ["value=\"ci\"", "value=\"read\" checked", "selected>prof_0"] {
        assert!(key.text.contains(kept), "{kept}: {}", key.text);
    }
    for _ in 0..51 {
        profile(&broker, "Team").await;
    }
    let path = format!("/console/accounts/{id}/move");
    let moved = operator.post(&path, &[("profile", ""), ("other", gone)]).await;
    assert!(moved.status == 404 && moved.text.contains("That was not done"), "{}", moved.text);
    assert!(moved.text.contains(&format!("name=\"other\" value=\"{gone}\"")), "{}", moved.text);
    let none = operator.post(&path.replace(&id, "int_00000000000000000000000000000009"), &[("profile", "")]).await;
    assert!(none.status == 404 && none.text.contains("There is nothing here"), "{}", none.text);
}

/// A form without an action would lead to the address of the form that came back.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_searched_beside_a_form_that_came_back() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let profile = profile(&broker, "Team").await;
    let page = operator.post(&format!("/console/profiles/{profile}?lang=de"), &[("name", "")]).await.text;
    assert!(page.contains("method=\"get\" action=\"/console/profiles?lang=de\" role=\"search\""), "{page}");
    let page = operator.page("/console/apps").await;
    assert!(page.contains("method=\"get\" action=\"/console/apps\" role=\"search\""), "{page}");
}

/// Browsers count a letter beyond the first 65,536 as two.
#[tokio::test(flavor = "multi_thread")]
async fn fields_take_what_the_api_takes() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let name = "\u{1f980}".repeat(200);
    let profile = profile(&broker, &name).await;
    for list in ["profiles", "apps", "keys"] {
        let page = operator.page(&format!("/console/{list}")).await;
        let units = if list == "keys" { 200 } else { 400 };
        for field in page.split("name=\"name\" value=").skip(1).filter(|field| field.contains("required")) {
            let field = field.split('>').next().unwrap();
            assert!(field.contains("type=\"search\"") || field.contains(&format!("maxlength=\"{units}\"")), "{field}");
        }
    }
    operator.done(&format!("/console/profiles/{profile}"), &[("name", &name), ("description", "")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_have_their_callback_urls_and_the_trail_its_pages() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let page = operator.page("/console/platforms").await;
    for platform in sandbox::platforms() {
        let url = format!("{}/v1/connect/{platform}/callback", broker.url);
        assert!(page.contains(&url), "{platform}: {page}");
    }
    for number in 0..60 {
        broker.call("POST", "/v1/profiles", Some(json!({"name": number.to_string()}))).await;
    }
    let first = operator.page("/console/audit").await;
    assert_eq!(first.matches("profile.created").count(), 50);
    let next = first.split("\" rel=\"next\"").next().unwrap().rsplit("href=\"").next().unwrap();
    let second = operator.page(next).await;
    assert_eq!(second.matches("profile.created").count(), 10);
    assert!(second.contains("console.signed_in") && !second.contains("rel=\"next\""), "{second}");
    let (_, key) = bound(&broker).await;
    let bound = Operator::with(&broker, &key).await;
    assert_eq!(bound.page("/console/audit").await.matches("<li>").count(), 1, "what is about its profile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_with_a_mistake_comes_back_as_it_was_typed_and_without_its_secret() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    let returned = async |path: &str, fields: &[(&str, &str)], status: u16| {
        let reply = operator.post(path, fields).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        assert_eq!(reply.text.matches("role=\"alert\"").count(), 1, "{path}: {}", reply.text);
        assert!(reply.text.contains("That was not done"), "{path}: {}", reply.text);
        reply.text
    };
    let long = "x".repeat(201);
    let page = returned("/console/profiles", &[("name", &long), ("description", "<i>\r\ntwo")], 400).await;
    assert!(page.contains(&format!("value=\"{long}\"")) && page.contains(">\n&#60;i&#62;\r\ntwo</textarea>"), "{page}");
    assert!(page.contains("name must be 1 to 200 characters long."), "{page}");

    // A profile beyond the first page of the list.
    let old = profile(&broker, "Old").await;
    for number in 0..30 {
        profile(&broker, &format!("New {number}")).await;
    }
    let path = format!("/console/profiles/{old}");
    let page = returned(&path, &[("name", " "), ("description", "kept")], 400).await;
    assert!(page.contains("<details open>") && page.contains(">\nkept</textarea>"), "{page}");
    assert!(page.contains("<bdi>Old</bdi>") && !page.contains("New 1"), "{page}");
    let german = operator.post(&format!("{path}?lang=de"), &[("name", "")]).await.text;
    assert!(german.contains("Das wurde nicht getan") && german.contains("<p lang=\"en\">name must"), "{german}");

    let (id, secret) = sandbox::own_client("twitter").unwrap();
    let fields = [("platform", "twitter"), ("name", "Own \"1\""), ("clientId", &*id), ("clientSecret", &*secret)];
    operator.done("/console/apps", &fields).await;
    let page = returned("/console/apps", &fields, 409).await;
    assert!(page.contains("value=\"Own &#34;1&#34;\"") && page.contains(&format!("value=\"{id}\"")), "{page}");
    assert!(page.contains("value=\"twitter\" selected") && !page.contains(&secret), "{page}");
    let german = operator.post("/console/apps?lang=de", &fields).await.text;
    assert!(german.contains("<p lang=\"de\">Dieses Projekt hat schon eine App"), "{german}");
    let app = action(&page, "Own", "/secret");
    let page = returned(&app, &[("clientSecret", "wr\u{f6}ng-secret")], 400).await;
    assert!(page.contains("<details open>") && !page.contains("ng-secret"), "{page}");

    let typed =
        [("name", "ci"), ("scope", "read"), ("scope", "manage"), ("expires", "soon"), ("networks", "10.0.0.0/8")];
    let page = returned("/console/keys", &[&typed[..], &[("profile", &old)]].concat(), 400).await;
    for kept in
        ["value=\"ci\"", "value=\"read\" checked", "value=\"manage\" checked", "value=\"soon\"", "value=\"10.0.0.0/8\""]
    {
        assert!(page.contains(kept), "{kept}: {page}");
    }
    assert!(
        page.contains(&format!("value=\"{old}\" selected")) && !page.contains("value=\"connect\" checked"),
        "{page}"
    );

    // Whoever may not see the list gets the reason alone.
    let blind = Operator::may(&broker, &[Scope::Manage]).await;
    let reply = blind.post("/console/profiles", &[("name", "")]).await;
    assert!(reply.status == 400 && reply.text.contains("name must") && !reply.text.contains("New 1"), "{}", reply.text);
    let gone = operator.post("/console/profiles/prof_00000000000000000000000000000009", &[("name", "x")]).await;
    assert_eq!(gone.status, 404, "{}", gone.text);
}

/// The tile of a platform.
fn tile<'a>(page: &'a str, platform: &str) -> &'a str {
    let name = format!("<code>{platform}</code>");
    page.split("<li").find(|tile| tile.contains(&name)).unwrap_or_else(|| panic!("no tile of {platform}: {page}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_has_the_remarks_that_check_prints_and_no_path() {
    let secrets = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secrets.path(), "the-secret").unwrap();
    std::fs::set_permissions(secrets.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = secrets.path().display().to_string();
    let toml = format!(
        "[console]
         [platforms.umbrella]
         authorize_url = \"https://id.umbrella.example/auth\"
         token_url = \"http://id.umbrella.example/token\"
         identity_url = \"https://id.umbrella.example/me\"
         identity = {{ id = \"/sub\" }}
         client_id = \"umbrella\"
         client_secret_file = \"{file}\""
    );
    let broker = TestBroker::builder()
        .toml(&toml)
        .setting("POSTPEER_PLATFORMS__FACEBOOK__API_VERSION", "v25.0")
        .setting("POSTPEER_SERVER__TRUSTED_PROXIES", "0.0.0.0/0")
        .start()
        .await;
    assert!(broker.config().warnings.iter().any(|warning| warning.contains(&file)), "{:?}", broker.config().warnings);
    let operator = Operator::of(&broker).await;
    let page = operator.page("/console/platforms").await;
    let own = tile(&page, "umbrella");
    for told in [
        "Warning",
        "platforms.umbrella.token_url is plain http: secrets and tokens can be read in transit",
        "Good to know",
        "it has no issuer, so a callback that another server sends is not recognised by its iss",
        "set issuer, where the server has one and its id_tokens have the nonce of the connection",
    ] {
        assert!(own.contains(told), "{told}: {own}");
    }
    assert!(!page.contains(&file) && !page.contains("trusted_proxies") && !page.contains("postpeer.toml"), "{page}");
    assert!(!tile(&page, "facebook").contains("Warning") && !tile(&page, "twitter").contains("Warning"), "{page}");
    let german = operator.page("/console/platforms?lang=de").await;
    assert!(tile(&german, "umbrella").contains("Warnung") && tile(&german, "umbrella").contains("Hinweis"), "{german}");

    // Remarks follow the calendar, without a reload.
    broker.clock.advance(Duration::from_hours(24 * 800));
    let page = Operator::of(&broker).await.page("/console/platforms").await;
    let facebook = tile(&page, "facebook");
    assert!(
        facebook.contains("Warning") && facebook.contains("ends version v25.0 of its API on 2028-07-29"),
        "{facebook}"
    );
}
