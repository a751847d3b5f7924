//! Facebook: choices on the consent page, tokens of people and Pages, and lists in parts.

use serde_json::{Value, json};

use super::bench::{authorize_query, token_form, with};
use super::*;
use crate::sandbox::{Answer, Step, client};

const FIELDS: &str = "fields=id,username,name,access_token,picture.type(large),category,tasks";

fn short(bench: &Bench, answer: &Answer) -> String {
    bench.connect("facebook", answer).text("/access_token")
}

fn lengthen(bench: &Bench, token: &str) -> Got {
    let (id, secret) = client("facebook").unwrap();
    bench.get(&format!(
        "/facebook/v25.0/oauth/access_token?grant_type=fb_exchange_token&client_id={id}&client_secret={secret}&fb_exchange_token={token}"
    ))
}

fn long(bench: &Bench, answer: &Answer) -> String {
    lengthen(bench, &short(bench, answer)).text("/access_token")
}

fn accounts(bench: &Bench, token: &str) -> Got {
    bench.get(&format!("/facebook/v25.0/me/accounts?{FIELDS}&limit=100&access_token={token}"))
}

fn ids(got: &Got) -> Vec<String> {
    let data = got.json()["data"].as_array().cloned().unwrap_or_else(|| panic!("{}", got.body));
    data.iter().map(|page| page["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_connection_works_in_any_version() {
    let bench = Bench::start();
    let got = bench.connect("facebook", &Answer::allow());
    let wanted = json!({"access_token": "<access>", "token_type": "bearer", "expires_in": 5400});
    assert_eq!(bench.redacted("facebook", &got), wanted);
    let got = lengthen(&bench, &got.text("/access_token"));
    let wanted = json!({"access_token": "<long_lived>", "token_type": "bearer", "expires_in": 5_183_944});
    assert_eq!(bench.redacted("facebook", &got), wanted);
    assert_eq!(
        bench.redacted(
            "facebook",
            &bench.get_as("/facebook/v21.0/me?fields=id,name,picture", &got.text("/access_token"))
        ),
        json!({
            "id": "122100000000000017", "name": "Ada Marlow",
            "picture": {"data": {"height": 96, "is_silhouette": false, "url": "{base}/facebook/pictures/ada.svg", "width": 96}},
        })
    );
    let basil = lengthen(&bench, &short(&bench, &Answer::allow().account("basil")));
    assert_eq!(basil.json().get("expires_in"), None);
    assert_eq!(bench.get("/facebook/v25/me").status, 404, "a version has a point");
    let steps: Vec<Step> = bench.control.requests().iter().map(|request| request.step).collect();
    let wanted = [Step::Authorize, Step::Token, Step::LongLived, Step::Identity];
    assert_eq!(&steps[..4], wanted);
}

#[test]
fn a_code_may_be_in_the_query_but_not_in_both_places() {
    let bench = Bench::start();
    let form = with(token_form("facebook", &bench.code("facebook", &Answer::allow())), "grant_type", None);
    let query = bench::encode(&form);
    let path = "/facebook/v25.0/oauth/access_token";
    let both = bench.post(&format!("{path}?{query}"), &form, None);
    assert!(both.why().1.ends_with("is in the query and belongs in the body"), "{:?}", both.why());
    assert_eq!(bench.get(&format!("{path}?{query}")).why(), (200, ""));
    let again = bench.get(&format!("{path}?{query}"));
    assert_eq!((again.status, &again.json()["error"]["error_subcode"]), (400, &json!(36009)));
}

#[test]
fn pages_are_listed_with_their_tokens() {
    let bench = Bench::start();
    let token = long(&bench, &Answer::allow());
    let got = accounts(&bench, &token);
    let listed = bench.redacted("facebook", &got);
    assert_eq!(
        listed["data"][0],
        json!({
            "access_token": "<page>", "category": "Brand", "id": "101000000000001", "name": "Marlow & Daughters",
            "username": "marlowdaughters",
            "picture": {"data": {"height": 96, "is_silhouette": false, "url": "{base}/facebook/pictures/ada.svg", "width": 96}},
            "tasks": ["ADVERTISE", "ANALYZE", "CREATE_CONTENT", "MESSAGING", "MODERATE", "MANAGE"],
        })
    );
    assert_eq!(listed["data"][1].get("username"), None);
    assert_eq!((ids(&got).len(), listed["paging"].get("next")), (3, None));
    let page = got.text("/data/0/access_token");
    assert_eq!(
        bench.get_as("/facebook/v25.0/me", &page).json(),
        json!({"id": "101000000000001", "name": "Marlow & Daughters"})
    );
    let refused = bench.get_as("/facebook/v25.0/me/accounts", &page);
    assert!(refused.text("/error/message").contains("nonexisting field (accounts)"), "{}", refused.body);
    let other = bench.get_as("/facebook/v25.0/101000000000002?fields=access_token", &page);
    assert_eq!(other.status, 403, "{}", other.body);
    for (account, count) in [("nobody", 0), ("basil", 1), ("business", 0), ("analyst", 2)] {
        let token = short(&bench, &Answer::allow().account(account));
        assert_eq!(ids(&accounts(&bench, &token)).len(), count, "{account}");
    }
    let token = short(&bench, &Answer::allow().account("analyst"));
    assert_eq!(accounts(&bench, &token).json()["data"][1]["tasks"], json!(["ADVERTISE", "ANALYZE"]));
    let refused = bench.get_as("/facebook/v25.0/me/accounts?fields=id,avatar", &token);
    assert!(refused.text("/error/message").contains("nonexisting field (avatar)"), "{}", refused.body);
}

#[test]
fn a_pages_token_lives_as_long_as_the_user_token_behind_it() {
    let bench = Bench::start();
    let user = short(&bench, &Answer::allow());
    let from_short = accounts(&bench, &user).text("/data/0/access_token");
    let long = lengthen(&bench, &user).text("/access_token");
    let from_long = accounts(&bench, &long).text("/data/0/access_token");
    let me = |token: &str| bench.get_as("/facebook/v25.0/me", token);
    bench.advance(5400);
    assert_eq!(me(&from_short).json()["error"]["error_subcode"], 463);
    assert_eq!(lengthen(&bench, &user).json()["error"]["error_subcode"], 463, "too late");
    bench.advance(5_183_944);
    assert_eq!(me(&long).json()["error"]["error_subcode"], 463);
    assert_eq!(me(&from_long).status, 200, "for ever");
    bench.control.expire_access("facebook");
    assert_eq!(me(&from_long).status, 200);
    bench.control.revoke_all("facebook");
    let dead = me(&from_long);
    assert_eq!((dead.status, &dead.json()["error"]["error_subcode"]), (400, &json!(458)));
}

#[test]
fn renewing_a_long_lived_token_counts_as_a_refresh() {
    let bench = Bench::start();
    let token = long(&bench, &Answer::allow());
    bench.advance(5_000_000);
    let renewed = lengthen(&bench, &token).text("/access_token");
    bench.advance(5_000_000);
    assert_eq!(bench.get_as("/facebook/v25.0/me", &renewed).status, 200);
    assert_eq!(bench.control.requests_at("facebook", Step::Refresh).len(), 1);
}

#[test]
fn lists_come_in_parts_and_next_carries_the_token() {
    let bench = Bench::start();
    let token = long(&bench, &Answer::allow().account("agency"));
    let first = accounts(&bench, &token);
    let next = first.text("/paging/next");
    assert!(next.starts_with(bench.sandbox.base_url()) && next.contains(&format!("access_token={token}&")), "{next}");
    let mut all = ids(&first);
    let second = bench.get(next.trim_start_matches(bench.sandbox.base_url()));
    all.extend(ids(&second));
    let after = second.text("/paging/cursors/after");
    let third =
        bench.get(&format!("/facebook/v25.0/me/accounts?{FIELDS}&limit=500&after={after}&access_token={token}"));
    all.extend(ids(&third));
    assert_eq!(third.json()["paging"].get("next"), None);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 250);
    assert_eq!(ids(&bench.get_as("/facebook/v25.0/me/accounts?fields=id", &token)).len(), 25);
    assert_eq!(bench.get_as("/facebook/v25.0/me/accounts?after=x", &token).status, 400);
}

#[test]
fn pages_of_a_business_are_listed_there_and_may_lack_a_token() {
    let bench = Bench::start();
    let token = long(&bench, &Answer::allow().account("business"));
    assert_eq!(accounts(&bench, &token).json(), json!({"data": []}));
    let businesses = bench.get_as("/facebook/v25.0/me/businesses?fields=id,name", &token);
    assert_eq!(ids(&businesses), ["201000000000001", "201000000000002"]);
    let list = |edge: &str| bench.get_as(&format!("/facebook/v25.0/{edge}?{FIELDS}"), &token);
    let owned = list("201000000000001/owned_pages");
    let has_token = |page: &Value| page.get("access_token").is_some();
    let tokens: Vec<bool> = owned.json()["data"].as_array().unwrap().iter().map(has_token).collect();
    assert_eq!(tokens, [true, false]);
    let alone = list("105000000000002");
    assert!(has_token(&alone.json()), "{}", alone.body);
    let client = list("201000000000001/client_pages");
    assert_eq!((ids(&client).len(), has_token(&client.json()["data"][0])), (1, false));
    assert!(!has_token(&list("105000000000003").json()));
    assert_eq!(list("201000000000002/owned_pages").json(), json!({"data": []}));

    let ada = long(&bench, &Answer::allow());
    let foreign = bench.get_as("/facebook/v25.0/201000000000001/owned_pages", &ada);
    assert_eq!((foreign.status, &foreign.json()["error"]["code"]), (400, &json!(100)));
    let unticked = Answer::allow().account("business").scopes(&["pages_show_list"]);
    let refused = bench.get_as("/facebook/v25.0/me/businesses", &short(&bench, &unticked));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!(200)));
}

#[test]
fn a_declined_permission_is_offered_again_only_on_rerequest() {
    let bench = Bench::start();
    let permissions = |token: &str| {
        let data = bench.get_as("/facebook/v25.0/me/permissions", token).json();
        let of = |status: &str| {
            let all = data["data"].as_array().unwrap().iter().filter(|entry| entry["status"] == status);
            all.map(|entry| entry["permission"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        (of("granted"), of("declined"))
    };
    let first = short(&bench, &Answer::allow().scopes(&["pages_show_list"]));
    let declined = "pages_manage_posts pages_read_engagement business_management".to_owned();
    let wanted = ("pages_show_list public_profile".to_owned(), declined);
    assert_eq!(permissions(&first), wanted);
    assert_eq!(permissions(&short(&bench, &Answer::allow())), wanted, "not asked again");
    let query = with(authorize_query("facebook"), "auth_type", Some("rerequest"));
    let code = bench.callback_of("facebook", &query, &Answer::allow())[0].1.clone();
    let token = bench.exchange("facebook", &token_form("facebook", &code)).text("/access_token");
    let all = "pages_show_list pages_manage_posts pages_read_engagement business_management public_profile";
    assert_eq!(permissions(&token), (all.to_owned(), String::new()));
    assert_eq!(permissions(&first).0, all, "permissions belong to the person and the app");
    let none = short(&bench, &Answer::allow().account("basil").scopes(&[""]));
    assert_eq!(accounts(&bench, &none).json(), json!({"data": []}), "empty, and nothing says why");
}

#[test]
fn a_later_consent_can_leave_a_page_out() {
    let bench = Bench::start();
    let first = long(&bench, &Answer::allow());
    let listed = accounts(&bench, &first);
    let (kept, lost) = (listed.text("/data/0/access_token"), listed.text("/data/1/access_token"));
    let second = long(&bench, &Answer::allow().pages(&["101000000000001", "104000000000001"]));
    for token in [&first, &second] {
        assert_eq!(ids(&accounts(&bench, token)), ["101000000000001"]);
    }
    assert_eq!(bench.get_as("/facebook/v25.0/me", &kept).status, 200);
    assert_eq!(bench.get_as("/facebook/v25.0/me", &lost).json()["error"]["code"], 190);
    let none = long(&bench, &Answer::allow().account("basil").pages(&[""]));
    assert_eq!(accounts(&bench, &none).json(), json!({"data": []}));
}

#[test]
fn tokens_are_inspected_with_the_apps_token() {
    let bench = Bench::start();
    let (id, secret) = client("facebook").unwrap();
    let token = long(&bench, &Answer::allow().pages(&["101000000000002"]));
    let inspect = |input: &str, by: &str| {
        bench.get(&format!("/facebook/v25.0/debug_token?input_token={input}&access_token={by}"))
    };
    let app = format!("{id}%7C{secret}");
    let data = inspect(&token, &app).json()["data"].clone();
    assert_eq!(
        (&data["is_valid"], &data["type"], &data["expires_at"], &data["user_id"]),
        (&json!(true), &json!("USER"), &json!(bench::NOW / 1000 + 5_183_944), &json!("122100000000000017"))
    );
    assert_eq!(data["granular_scopes"][0], json!({"scope": "pages_show_list", "target_ids": ["101000000000002"]}));
    let page = accounts(&bench, &token).text("/data/0/access_token");
    let data = inspect(&page, &token).json()["data"].clone();
    assert_eq!(
        (&data["type"], &data["expires_at"], &data["profile_id"]),
        (&json!("PAGE"), &json!(0), &json!("101000000000002"))
    );
    assert_eq!(inspect("nonsense", &app).json()["data"]["is_valid"], false);
    assert_eq!(inspect(&token, &format!("{id}%7Cwrong")).status, 400);
}

#[test]
fn a_persons_token_removes_the_app() {
    let bench = Bench::start();
    let first = short(&bench, &Answer::allow());
    let token = long(&bench, &Answer::allow());
    let page = accounts(&bench, &token).text("/data/0/access_token");
    let remove = |token: &str| {
        let target = format!("/facebook/v25.0/me/permissions?access_token={token}");
        bench.send("DELETE", &target, &[], "").unwrap()
    };
    assert_eq!(remove(&page).status, 400, "not with a Page's");
    assert_eq!(remove(&token).json(), json!({"success": true}));
    for token in [&first, &token, &page] {
        assert_eq!(bench.get_as("/facebook/v25.0/me", token).json()["error"]["error_subcode"], 458);
    }
    assert_eq!(ids(&accounts(&bench, &long(&bench, &Answer::allow()))).len(), 3, "and can be connected anew");
}
