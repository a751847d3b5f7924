//! The list of accounts, the life of one, and what the operator does to it.

use std::time::Duration;

use postpeer::domain::access_key::Scope;
use postpeer::domain::failure::Failure;
use postpeer::domain::key_limits::Limits;
use postpeer::sandbox::{Answer, Fault, Step};
use serde_json::json;
use strum::VariantArray as _;

use super::{Operator, encoded, link, start};
use crate::support::{Reply, expose, profile};

/// The accounts that a page lists, in its order.
fn listed(page: &str) -> Vec<&str> {
    let links = page.split("href=\"/console/accounts/").skip(1);
    links.map(|rest| &rest[..rest.find(['"', '?']).unwrap()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_account_and_its_cause_are_three_clicks_away() {
    let broker = start().await;
    let operator = Operator::of(&broker).await;
    for path in ["/console", "/console/accounts"] {
        let page = operator.page(path).await;
        assert!(page.contains("No account is connected yet.") && !page.contains("Every account works."), "{page}");
    }
    let mut ids = Vec::new();
    for (platform, account) in [("twitter", "ada"), ("pinterest", "ada"), ("twitter", "basil"), ("reddit", "ada")] {
        ids.push(broker.connect_with(platform, "", &Answer::allow().account(account)).await);
    }
    assert!(operator.page("/console").await.contains("Every account works."));
    assert_eq!(listed(&operator.page("/console/accounts").await), [&*ids[3], &ids[2], &ids[1], &ids[0]]);

    broker.sandbox().fail_next("twitter", Step::Refresh, Fault::Revoked, 1).unwrap();
    broker.clock.advance(Duration::from_hours(2));
    broker.token(&ids[0], "minSeconds=60").await;

    let home = operator.page("/console").await;
    let failing = operator.page(&link(&home, "One account fails.")).await;
    assert_eq!(listed(&failing), [&*ids[0]]);
    assert!(failing.contains("Must be connected again"), "{failing}");
    let account = operator.page(&format!("/console/accounts/{}", ids[0])).await;
    let detail = broker.detail(&ids[0]).await;
    let error = &detail["health"]["lastError"];
    for told in ["message", "nextStep", "code"] {
        let told = error[told].as_str().unwrap();
        let escaped = told.replace('&', "&#38;").replace('\'', "&#39;").replace('"', "&#34;");
        assert!(account.contains(&escaped), "{told}: {account}");
        assert!(told == error["code"] || failing.contains(&escaped), "{told}: {failing}");
    }
    let everything = operator.page("/console/accounts").await;
    assert_eq!(listed(&everything), [&*ids[0], &ids[3], &ids[2], &ids[1]], "what fails comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_searched_filtered_and_shown_in_pages() {
    let broker = start().await;
    let team = profile(&broker, "Team \"A\" & sons").await;
    let of_team = broker.connect("twitter", &format!("profileId={team}")).await;
    let alone = broker.connect("pinterest", "").await;
    let operator = Operator::of(&broker).await;
    let found = async |query: &str| {
        let page = operator.page(&format!("/console/accounts?{query}")).await;
        listed(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found("platform=twitter").await, [&*of_team]);
    assert_eq!(found(&format!("profile={team}")).await, [&*of_team]);
    assert_eq!(found("profile=null").await, [&*alone]);
    assert_eq!(found(&format!("q={alone}")).await, [&*alone]);
    for nothing in ["failing=true", "profile=prof_x", "platform=none", "q=nobody", &format!("q={alone}&failing=true")] {
        assert_eq!(found(nothing).await, [""; 0], "{nothing}");
    }
    let odd = ["after=x", "q=%ff", "q=a&q=b", "lang=xx"];
    for query in odd {
        assert_eq!(operator.get(&format!("/console/accounts?{query}")).await.status, 200, "{query}");
    }
    let page = operator.page(&format!("/console/accounts?profile={team}")).await;
    assert!(page.contains("selected>Team &#34;A&#34; &#38; sons<"), "{page}");

    let page = operator.page("/console/accounts?profile=null").await;
    assert_eq!(page.matches("value=\"null\"").count(), 1, "{page}");
    let page = operator.page("/console/accounts?platform=removed").await;
    assert!(page.contains("<option value=\"removed\" selected>removed</option>"), "{page}");

    // Many more, without a platform.
    let db = broker.sql();
    for number in 0..60 {
        db.execute(
            "INSERT INTO integrations (id, project_id, grant_id, platform, platform_user_id, username, display_name, metadata,
                search, created_at, updated_at)
             SELECT 'int_' || printf('%032x', ?1), project_id, grant_id, platform, 'u' || ?1, '@' || ?2, ?2, '{}', 'robin', 0, 0
             FROM integrations WHERE id = ?3",
            (number, "\u{e9}".repeat(200), &alone),
        )
        .unwrap();
    }
    for query in ["lang=de", "q=robin"] {
        let mut path = format!("/console/accounts?{query}");
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let page = operator.page(&path).await;
            assert!(page.len() < 40_000 + 25 * 300 + 25 * 800, "{} bytes", page.len());
            seen.extend(listed(&page).into_iter().map(str::to_owned));
            pages += 1;
            let Some((before, _)) = page.split_once("\" rel=\"next\"") else { break };
            path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
            assert!(path.contains(query), "{path}");
        }
        let expected = if query == "q=robin" { 60 } else { 62 };
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), pages), (expected, 3), "{query}");
    }
}

/// The table of the latest refreshes: `New tokens`, or the code of the failure.
fn refreshes(page: &str) -> Vec<&str> {
    let rows = page.split("<tbody>").nth(1).and_then(|rest| rest.split("</tbody>").next()).unwrap_or_default();
    rows.split("<tr>")
        .skip(1)
        .map(|row| match row.split_once("<code>") {
            Some((_, code)) => code.split('<').next().unwrap(),
            None => row.split("good\">").nth(1).unwrap().split('<').next().unwrap(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_ten_refreshes_of_an_account_outlast_moves_and_reconnects_and_end_with_it() {
    let broker = start().await;
    let id = broker.connect("twitter", "").await;
    let operator = Operator::of(&broker).await;
    let path = format!("/console/accounts/{id}");
    let page = operator.page(&path).await;
    assert!(page.contains("None has been recorded yet."), "{page}");
    let refresh = async || {
        broker.clock.advance(Duration::from_hours(2));
        broker.token(&id, "minSeconds=60").await.status
    };
    assert_eq!(refresh().await, 200);
    broker.sandbox().fail_next("twitter", Step::Refresh, Fault::RateLimited, 1).unwrap();
    assert_eq!(refresh().await, 503);
    assert_eq!(refresh().await, 200);
    let page = operator.page(&path).await;
    assert_eq!(refreshes(&page), ["New tokens", "platform_throttled", "New tokens"], "{page}");
    assert!(page.contains("X (Twitter) is receiving too many requests right now."), "{page}");
    let page = operator.page(&format!("{path}?lang=de")).await;
    assert_eq!(refreshes(&page), ["Neue Tokens", "platform_throttled", "Neue Tokens"], "{page}");
    assert!(page.contains("X (Twitter) bekommt gerade zu viele Anfragen."), "{page}");

    for _ in 0..8 {
        assert_eq!(refresh().await, 200);
    }
    // The first session is over.
    let operator = Operator::of(&broker).await;
    let team = profile(&broker, "Team").await;
    operator.done(&format!("{path}/move"), &[("profile", &team)]).await;
    let expected = [&["New tokens"; 9][..], &["platform_throttled"]].concat();
    assert_eq!(refreshes(&operator.page(&path).await), expected, "ten, and the first is gone");

    // A new consent is no refresh.
    assert_eq!(broker.connect("twitter", &format!("profileId={team}")).await, id);
    assert_eq!(refreshes(&operator.page(&path).await), expected);
    broker.sandbox().fail_next("twitter", Step::Refresh, Fault::Revoked, 1).unwrap();
    assert_eq!(refresh().await, 422);
    let page = operator.page(&path).await;
    assert_eq!(refreshes(&page)[..2], ["refresh_rejected", "New tokens"], "{page}");

    let kept = || -> u32 { broker.sql().query_row("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap() };
    assert_eq!(kept(), 1);
    operator.done(&format!("{path}/disconnect"), &[]).await;
    assert_eq!(kept(), 0, "the history is in the row of the grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_german_page_has_the_cause_and_the_next_step_in_german() {
    let broker = start().await;
    let id = broker.connect("twitter", "").await;
    let operator = Operator::of(&broker).await;
    let row = |kind: Failure| {
        let trouble = json!({"kind": kind, "status": null, "platform_code": null, "at": 1});
        let past = json!([[1, kind]]);
        broker
            .sql()
            .execute("UPDATE grants SET trouble = ?1, past_refreshes = ?2", [trouble.to_string(), past.to_string()])
            .unwrap();
    };
    let escaped = |text: &str| text.replace('&', "&#38;").replace('\'', "&#39;").replace('"', "&#34;");
    for &failure in Failure::VARIANTS {
        row(failure);
        let english =
            [failure.what_happened("X (Twitter)"), failure.next_step("twitter", broker.broker().console("twitter"))];
        for path in ["/console/accounts".to_owned(), format!("/console/accounts/{id}")] {
            let (en, de) =
                (operator.page(&format!("{path}?lang=en")).await, operator.page(&format!("{path}?lang=de")).await);
            for sentence in &english {
                assert!(en.contains(&escaped(sentence)), "{failure:?}: {sentence}: {en}");
                assert!(!de.contains(&escaped(sentence)), "{failure:?}: {sentence}: {de}");
            }
            let main = de.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
            assert!(!main.contains("lang=\"en\""), "{main}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_account_is_on_one_page_and_no_token_is() {
    let broker = start().await;
    let (_, key) = broker.broker().create_access_key("default", "The <reader>", Scope::ALL).await.unwrap();
    let team = profile(&broker, "Team").await;
    let id = broker.connect("twitter", &format!("profileId={team}")).await;
    let token = broker.call_as(&expose(&key), "GET", &format!("/v1/connect/integrations/{id}/token"), None).await;
    let token = token.json["accessToken"].as_str().unwrap().to_owned();
    let operator = Operator::of(&broker).await;
    let page = operator.page(&format!("/console/accounts/{id}")).await;
    for told in ["Works", "tweet.read", "The &#60;reader&#62;", "account.connected", "token.read", "Team", &id] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(!page.contains(&token));

    let other = profile(&broker, "Other").await;
    let path = format!("/console/accounts/{id}");
    let (at, page) = operator.told(&format!("{path}/move?lang=de"), &[("profile", &other)]).await;
    assert_eq!(at, format!("{path}?lang=de"));
    assert_eq!(broker.detail(&id).await["profileId"], json!(other));
    assert!(page.contains("Das Konto ist verschoben.") && page.contains("<html lang=\"de\">"), "{page}");
    operator.done(&format!("{path}/move"), &[("profile", "")]).await;
    assert_eq!(broker.detail(&id).await["profileId"], json!(null));

    let (at, page) = operator.told(&format!("{path}/disconnect"), &[]).await;
    assert!(
        at == "/console/accounts" && page.contains("Disconnected. The platform revoked the tokens"),
        "{at}: {page}"
    );
    assert_eq!(operator.get(&path).await.status, 404);
    let entries = broker.get("/v1/audit").await.json["entries"].clone();
    let by_key = |action: &str| {
        let entry = entries.as_array().unwrap().iter().find(|entry| entry["action"] == action).unwrap();
        (entry["actor"].clone(), entry["accessKeyId"].is_string())
    };
    for action in ["account.moved", "account.disconnected"] {
        assert_eq!(by_key(action), (json!("access_key"), true), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_comes_back_through_the_page_that_asks_first() {
    let broker = start().await;
    let id = broker.connect("twitter", "").await;
    let operator = Operator::of(&broker).await;
    let shown = operator.post(&format!("/console/accounts/{id}/reconnect"), &[]).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let url = link(&shown.text, "Continue in this browser");
    let path = url.strip_prefix(&broker.url).unwrap();
    assert!(path.starts_with("/connect/confirm/"), "{url}");
    let form = broker.request("POST", &url).header("content-type", "application/x-www-form-urlencoded");
    let on = Reply::of(form.body("action=continue").send().await.unwrap()).await;
    let cookie = on.header("set-cookie").split(';').next().unwrap().to_owned();
    let callback = broker.consent(&on.location(), &Answer::allow());
    // Another browser, without the cookie.
    assert_eq!(broker.visit(&callback).await.status, 400);
    let back = Reply::of(broker.request("GET", &callback).header("cookie", cookie).send().await.unwrap()).await;
    assert_eq!(back.status, 303, "{}", back.text);
    let end = broker.see(back).await;
    assert!(end.status == 200 && end.text.contains(" is connected"), "{} {}", end.location(), end.text);
    let entries = broker.get("/v1/audit").await.json["entries"].clone();
    let last = entries.as_array().unwrap().iter().rfind(|entry| entry["action"] == "account.connected").unwrap();
    assert_eq!(last["object"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_connected_again_here_says_why_on_its_page() {
    let broker = start().await;
    let id = broker.connect("twitter", "").await;
    // There is no page at Bluesky to go to, and so no form; this one is from before.
    broker.sql().execute("UPDATE integrations SET platform = 'bluesky'", []).unwrap();
    let operator = Operator::of(&broker).await;
    let reply = operator.post(&format!("/console/accounts/{id}/reconnect"), &[]).await;
    assert!((400..500).contains(&reply.status) && reply.text.contains("That was not done"), "{}", reply.text);
    assert!(reply.text.contains("role=\"alert\"") && reply.text.contains(&id), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_and_may_what_its_key_does() {
    let broker = start().await;
    let (mine, other) = (profile(&broker, "Mine").await, profile(&broker, "Not mine").await);
    let own = broker.connect("twitter", &format!("profileId={mine}")).await;
    let others = broker.connect("pinterest", &format!("profileId={other}")).await;
    let bound = Limits { profile_id: Some(mine.parse().unwrap()), ..Limits::from(Scope::ALL) };
    let (_, key) = broker.broker().create_access_key("default", "bound", bound).await.unwrap();
    let operator = Operator::with(&broker, &expose(&key)).await;
    let elsewhere = Operator::with(&broker, &broker.key("other", Scope::ALL).await).await;
    assert_eq!(listed(&operator.page("/console/accounts").await), [&*own]);
    assert_eq!(listed(&elsewhere.page("/console/accounts").await), [""; 0]);
    assert!(!operator.page(&format!("/console/accounts/{own}")).await.contains("Not mine"));
    let before = broker.stored();
    let paths = ["", "/move", "/disconnect", "/reconnect"].map(|action| format!("/console/accounts/{others}{action}"));
    for (who, wrong) in [(&operator, &others), (&elsewhere, &others), (&elsewhere, &own)] {
        for path in &paths {
            let path = path.replace(&others, wrong);
            let reply = if path.ends_with(wrong) { who.get(&path).await } else { who.post(&path, &[]).await };
            assert_eq!(reply.status, 404, "{path}: {}", reply.text);
        }
    }
    assert!(broker.stored() == before, "something was written");
    // An account that comes from another profile has no past here, and keys are ids.
    broker.call("PATCH", &format!("/v1/connect/integrations/{others}"), Some(json!({"profileId": mine}))).await;
    let page = operator.page(&format!("/console/accounts/{others}")).await;
    assert!(page.contains("account.moved") && !page.contains("account.connected"), "{page}");
    assert!(page.contains(": <bdi>key_"), "{page}");
    for (scopes, status) in [([Scope::Manage, Scope::Connect], 403), ([Scope::Manage, Scope::Read], 200)] {
        let operator = Operator::may(&broker, &scopes).await;
        let reply = operator.get("/console/accounts").await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(status == 200 || reply.text.contains("scope &#39;read&#39;"), "{}", reply.text);
    }
    let operator = Operator::may(&broker, &[Scope::Manage, Scope::Read]).await;
    let page = operator.page(&format!("/console/accounts/{own}")).await;
    assert!(page.contains("/disconnect") && !page.contains("/reconnect"), "{page}");
    assert_eq!(operator.post(&format!("/console/accounts/{own}/reconnect"), &[]).await.status, 403);
    assert_eq!(encoded("a b&"), "a+b%26");
}
