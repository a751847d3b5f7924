//! Google Business Profile: accounts, their locations, and the quota of zero.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::sandbox::{Answer, Fault, Step};

const MASK: &str = "readMask=name,title,storefrontAddress,metadata,websiteUri";

fn token(bench: &Bench, account: &str) -> String {
    bench.connect("googlebusiness", &Answer::allow().account(account)).text("/access_token")
}

/// All items of a list, and the number of requests for them.
fn all(bench: &Bench, token: &str, target: &str, name: &str) -> (Vec<Value>, usize) {
    let (mut items, mut requests, mut further) = (Vec::new(), 0, String::new());
    loop {
        let got = bench.get_as(&format!("/googlebusiness{target}{further}"), token);
        assert_eq!(got.why(), (200, ""), "{}", got.body);
        requests += 1;
        items.extend(got.json()[name].as_array().cloned().unwrap_or_default());
        match got.text("/nextPageToken").as_str() {
            "" => return (items, requests),
            next => further = format!("&pageToken={next}"),
        }
    }
}

/// The names of the accounts, and of each location as often as it is listed.
fn managed(bench: &Bench, account: &str) -> (Vec<String>, Vec<String>) {
    let token = token(bench, account);
    let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
    let (accounts, _) = all(bench, &token, "/v1/accounts?pageSize=20", "accounts");
    let accounts: Vec<String> = accounts.iter().map(name).collect();
    let of =
        |account: &String| all(bench, &token, &format!("/v1/{account}/locations?{MASK}&pageSize=100"), "locations").0;
    let locations = accounts.iter().flat_map(of).map(|location| name(&location)).collect();
    (accounts, locations)
}

#[test]
fn accounts_list_their_locations() {
    let bench = Bench::start();
    for (account, accounts, listed, different) in
        [("ada", 2, 4, 3), ("basil", 1, 1, 1), ("nobody", 1, 0, 0), ("closed", 1, 3, 3), ("chain", 2, 41, 40)]
    {
        let (parents, locations) = managed(&bench, account);
        let unique: BTreeSet<&String> = locations.iter().collect();
        assert_eq!((parents.len(), locations.len(), unique.len()), (accounts, listed, different), "{account}");
    }
    let ada = token(&bench, "ada");
    let who = bench.get_as("/googlebusiness/oauth2/v2/userinfo", &ada);
    assert_eq!((who.text("/name"), who.text("/id").len()), ("Ada Marlow".to_owned(), 21));
    let list = format!("/googlebusiness/v1/accounts/111000000000000000001/locations?{MASK}&pageSize=1");
    let first = bench.get_as(&list, &ada).json();
    assert_eq!(
        first["locations"][0],
        json!({
            "name": "locations/301000000000000001", "title": "Marlow & Daughters, Bakery",
            "websiteUri": "https://shop-301000000000000001.example/",
            "storefrontAddress": {"regionCode": "GB", "locality": "Sandbox", "addressLines": ["1 Made-up Street"]},
            "metadata": {
                "hasVoiceOfMerchant": true, "placeId": "ChIJ301000000000000001", "canOperateLocalPost": true,
                "mapsUri": "https://maps.google.com/maps?cid=301000000000000001",
            },
        })
    );
    let alone = bench.get_as("/googlebusiness/v1/locations/301000000000000001?readMask=title", &ada);
    assert_eq!(alone.json(), json!({"title": "Marlow & Daughters, Bakery"}));
    let closed = token(&bench, "closed");
    let posts = all(&bench, &closed, &format!("/v1/accounts/115000000000000000001/locations?{MASK}"), "locations").0;
    let posts: Vec<Option<&Value>> =
        posts.iter().map(|location| location["metadata"].get("canOperateLocalPost")).collect();
    assert_eq!(posts, [Some(&json!(true)), Some(&json!(false)), None]);
}

#[test]
fn pages_have_a_largest_size_and_empty_lists_are_left_out() {
    let bench = Bench::start();
    let chain = token(&bench, "chain");
    assert_eq!(all(&bench, &chain, "/v1/accounts?pageSize=20", "accounts").1, 2);
    let list = format!("/v1/accounts/114000000000000000002/locations?{MASK}");
    assert_eq!(all(&bench, &chain, &list, "locations").1, 3);
    assert_eq!(all(&bench, &chain, &format!("{list}&pageSize=5"), "locations").1, 5);
    let nobody = token(&bench, "nobody");
    let none = bench.get_as(&format!("/googlebusiness/v1/accounts/113000000000000000001/locations?{MASK}"), &nobody);
    assert_eq!(none.json(), json!({}));
    for (target, message) in [
        ("/v1/accounts?pageSize=21".to_owned(), "page_size must be between 1 and 20"),
        (format!("{list}&pageSize=101"), "page_size must be between 1 and 100"),
        (list.replace(MASK, "pageSize=1"), "the parameter readMask is missing"),
        (list.replace(MASK, "readMask=name,logo"), "Invalid field mask provided: 'logo'"),
        (format!("{list}&pageToken=x"), "Request contains an invalid argument: page_token"),
    ] {
        let got = bench.get_as(&format!("/googlebusiness{target}"), &chain);
        assert_eq!((got.status, got.text("/error/message")), (400, message.to_owned()), "{target}");
        assert_eq!(got.text("/error/status"), "INVALID_ARGUMENT");
    }
    let foreign = bench.get_as(&format!("/googlebusiness{list}"), &nobody);
    assert_eq!((foreign.status, foreign.text("/error/status")), (403, "PERMISSION_DENIED".to_owned()));
    let without = bench.connect("googlebusiness", &Answer::allow().scopes(&[""])).text("/access_token");
    assert_eq!(bench.get_as("/googlebusiness/v1/accounts", &without).status, 403);
}

#[test]
fn a_quota_of_zero_is_not_a_rate_limit() {
    let bench = Bench::start();
    let token = token(&bench, "ada");
    let fail = |fault| {
        bench.control.fail_next("googlebusiness", Step::Accounts, fault, 1).unwrap();
        bench.get_as("/googlebusiness/v1/accounts", &token)
    };
    let (zero, limited) = (fail(Fault::NoQuota), fail(Fault::RateLimited));
    for (got, limit) in [(&zero, "0"), (&limited, "300")] {
        assert_eq!((got.status, got.text("/error/status")), (429, "RESOURCE_EXHAUSTED".to_owned()));
        assert_eq!(got.text("/error/details/0/metadata/quota_limit_value"), limit);
    }
    let documented =
        "Quota exceeded for quota metric 'Requests per minute' of service 'mybusinessaccountmanagement.googleapis.com'";
    assert!(zero.text("/error/message").starts_with(documented), "{}", zero.body);
    assert!(!limited.text("/error/message").starts_with(documented), "{}", limited.body);
    assert_eq!((zero.header("retry-after"), limited.header("retry-after")), (None, Some("30")));
}

#[test]
fn revoking_ends_every_grant_of_the_person() {
    let bench = Bench::start();
    let first = bench.connect("googlebusiness", &Answer::allow());
    let second = token(&bench, "ada");
    assert_eq!(bench.post("/googlebusiness/revoke", &pairs(&[("token", &second)]), None).status, 200);
    assert_eq!(bench.refresh("googlebusiness", &first.text("/refresh_token")).text("/error"), "invalid_grant");
    assert_eq!(bench.get_as("/googlebusiness/v1/accounts", &first.text("/access_token")).status, 401);
}
