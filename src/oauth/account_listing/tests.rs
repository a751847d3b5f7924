//! Listings against a local server that answers from a script: the requests, the accounts found, and where a listing
//! stops.

#![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

mod incomplete;
mod script;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::domain::account::{AccountKind, Identity};
use crate::domain::failure::Failure;
use script::Script;

fn ids(identity: &Identity) -> Vec<&str> {
    identity.accounts.iter().map(|found| found.account.platform_user_id.as_str()).collect()
}

fn routes(identity: &Identity) -> Vec<(&str, u32, Option<&str>)> {
    identity.routes.iter().map(|route| (route.route.as_str(), route.found, route.trouble.as_deref())).collect()
}

const META_SCOPES: [&str; 2] = ["pages_show_list", "business_management"];

fn page(id: &str, token: Option<&str>, tasks: Option<&[&str]>) -> Value {
    let mut page = json!({"id": id, "name": format!("Page {id}")});
    if let Some(token) = token {
        page["access_token"] = token.into();
    }
    if let Some(tasks) = tasks {
        page["tasks"] = tasks.into();
    }
    page
}

fn graph_error(code: u16) -> Value {
    json!({"error": {"message": "no", "type": "OAuthException", "code": code, "fbtrace_id": "t"}})
}

#[tokio::test]
async fn every_route_finds_pages_and_each_page_counts_once() {
    let create: &[&str] = &["CREATE_CONTENT"];
    let script = Script::start(move |target| {
        let (path, query) = target.split_once('?').unwrap();
        let body = match (path, query.contains("after=")) {
            ("/v25.0/me", _) => json!({"id": "77", "name": "Ada"}),
            ("/v25.0/me/accounts", false) => json!({
                "data": [page("1", Some("t1"), Some(create)), page("2", Some("t2"), Some(&["ANALYZE"]))],
                "paging": {"cursors": {"after": "c 1&x"}, "next": "https://evil.example/?access_token=user-token"}}),
            ("/v25.0/me/accounts", true) => json!({
                "data": [page("3", Some("t3"), Some(&["MANAGE"]))], "paging": {"cursors": {"after": "c2"}}}),
            ("/v25.0/me/businesses", _) => json!({"data": [{"id": "900", "name": "Acme"}, {"id": "901"}]}),
            ("/v25.0/900/owned_pages", _) => json!({"data": [page("1", None, None), page("4", None, None)]}),
            ("/v25.0/900/client_pages", _) => json!({"data": [page("5", None, None), page("6", Some("t6"), None)]}),
            ("/v25.0/901/owned_pages", _) => return (403, graph_error(200)),
            ("/v25.0/901/client_pages", _) => json!({"data": []}),
            ("/v25.0/4", _) => json!({"access_token": "t4", "id": "4"}),
            ("/v25.0/5", _) => return (400, graph_error(100)),
            other => panic!("{other:?}"),
        };
        (200, body)
    });
    let identity = script.identify("facebook", &META_SCOPES).await.unwrap();
    assert_eq!(identity.subject, "77");
    assert_eq!(ids(&identity), ["1", "3", "4", "6"]);
    let tokens: Vec<&str> =
        identity.accounts.iter().map(|found| found.own_token.as_ref().unwrap().expose_secret()).collect();
    assert_eq!(tokens, ["t1", "t3", "t4", "t6"]);
    assert!(identity.accounts.iter().all(|found| found.kind == AccountKind::Page));
    let unusable: Vec<&str> = identity.unusable.iter().map(|unusable| unusable.platform_user_id.as_str()).collect();
    assert_eq!(unusable, ["2", "5"]);
    assert_eq!(
        routes(&identity),
        [
            ("your Pages", 3, None),
            ("Pages that Acme owns", 2, None),
            ("Pages that Acme manages for clients", 2, None),
            ("Pages that 901 owns", 0, Some("a permission for it was not given")),
            ("Pages that 901 manages for clients", 0, None),
        ]
    );
    let asked = script.asked();
    assert!(script.paths().iter().any(|path| path.ends_with("&after=c+1%26x")), "{:?}", script.paths());
    assert!(asked.iter().all(|request| request.contains("authorization: Bearer user-token\r\n")));
    assert!(script.paths().iter().all(|path| !path.contains("user-token")), "{:?}", script.paths());
}

#[tokio::test]
async fn a_facebook_user_without_pages_is_identified() {
    let script = Script::start(|target| match target.split('?').next().unwrap() {
        "/v25.0/me" => (200, json!({"id": "77"})),
        "/v25.0/me/accounts" => (200, json!({"data": []})),
        other => panic!("{other}"),
    });
    let identity = script.identify("facebook", &["pages_manage_posts"]).await.unwrap();
    assert_eq!((identity.accounts.len(), identity.unusable.len()), (0, 0));
    assert_eq!(
        routes(&identity),
        [
            ("your Pages", 0, Some("the permission pages_show_list was not given")),
            ("Pages of your business portfolios", 0, Some("the permission business_management was not given")),
        ]
    );
}

#[tokio::test]
async fn a_failure_is_reported_beside_pages_and_an_error_without_any() {
    for businesses_help in [true, false] {
        let script = Script::start(move |target| match target.split('?').next().unwrap() {
            "/v25.0/me" => (200, json!({"id": "77"})),
            "/v25.0/me/accounts" => (500, graph_error(2)),
            "/v25.0/me/businesses" if businesses_help => (200, json!({"data": [{"id": "9", "name": "Acme"}]})),
            "/v25.0/me/businesses" => (400, graph_error(190)),
            "/v25.0/9/owned_pages" => (200, json!({"data": [page("1", Some("t1"), None)]})),
            "/v25.0/9/client_pages" => (429, graph_error(4)),
            other => panic!("{other}"),
        });
        let listed = script.identify("facebook", &META_SCOPES).await;
        assert_eq!(script.paths().iter().filter(|path| path.starts_with("/v25.0/me/accounts")).count(), 3);
        if businesses_help {
            let identity = listed.unwrap();
            assert_eq!(ids(&identity), ["1"]);
            assert_eq!(
                routes(&identity),
                [
                    ("your Pages", 0, Some("Facebook did not answer in time or is having trouble")),
                    ("Pages that Acme owns", 1, None),
                    (
                        "Pages that Acme manages for clients",
                        0,
                        Some("Facebook is receiving too many requests right now")
                    ),
                ]
            );
        } else {
            let error = listed.unwrap_err();
            assert_eq!(error.to_string(), "facebook, listing of accounts: platform_unavailable (HTTP 500, 2)");
        }
    }
}

#[tokio::test]
async fn an_endless_listing_is_cut() {
    let script = Script::start(|target| {
        let (path, query) = target.split_once('?').unwrap();
        match path {
            "/v25.0/me" => (200, json!({"id": "77"})),
            // Each page names another as the next.
            "/v25.0/me/accounts" => {
                let number = query.split_once("after=").map_or(0, |(_, after)| after.parse().unwrap()) + 1;
                let cursors = json!({"after": number.to_string()});
                (
                    200,
                    json!({"data": [page(&number.to_string(), Some("t"), None)], "paging": {"cursors": cursors, "next": "x"}}),
                )
            }
            // A page that names itself as the next.
            "/v25.0/me/businesses" => {
                (200, json!({"data": [{"id": "9"}], "paging": {"cursors": {"after": "same"}, "next": "x"}}))
            }
            "/v25.0/9/owned_pages" | "/v25.0/9/client_pages" => (200, json!({"data": []})),
            other => panic!("{other}"),
        }
    });
    let identity = script.identify("facebook", &META_SCOPES).await.unwrap();
    assert_eq!(identity.accounts.len(), 50);
    assert_eq!(routes(&identity)[0], ("your Pages", 50, Some("there are more than can be shown")));
    assert_eq!(script.paths().iter().filter(|path| path.starts_with("/v25.0/me/businesses")).count(), 2);
}

const COMMUNITY_SCOPES: [&str; 2] = ["openid", "rw_organization_admin"];

fn acl(organization: u32, role: &str) -> Value {
    json!({"organization": format!("urn:li:organization:{organization}"), "role": role, "state": "APPROVED"})
}

#[tokio::test]
async fn organizations_come_after_the_person_with_names_and_logos() {
    let script = Script::start(|target| match target {
        "/v2/userinfo" => (200, json!({"sub": "782bbtaQ", "name": "Ada"})),
        "/rest/organizationAcls?q=roleAssignee&state=APPROVED&count=100&start=0" => (
            200,
            json!({"elements": [acl(7, "ANALYST"), acl(8, "ANALYST")],
                "paging": {"start": 0, "count": 2, "links": [{"rel": "next", "href": "https://evil.example"}]}}),
        ),
        "/rest/organizationAcls?q=roleAssignee&state=APPROVED&count=100&start=2" => {
            (200, json!({"elements": [acl(7, "CONTENT_ADMIN")], "paging": {"start": 2, "count": 2, "links": []}}))
        }
        "/rest/organizationsLookup?ids=List(7,8)" => (
            200,
            json!({"results": {"7": {"localizedName": "Acme", "vanityName": "acme"}, "8": {"localizedName": "Other"}}}),
        ),
        "/v2/organizationalEntityAcls?q=roleAssignee&state=APPROVED&count=50&projection=(elements*(role,organizationalTarget~(localizedName,vanityName,logoV2(original~:playableStreams))))&start=0" => {
            (
                200,
                json!({"elements": [{"organizationalTarget": "urn:li:organization:7", "organizationalTarget~":
                {"logoV2": {"original~": {"elements": [{"identifiers": [{"identifier": "https://media.example/l"}]}]}}}}]}),
            )
        }
        other => panic!("{other}"),
    });
    let identity = script.identify("linkedin", &COMMUNITY_SCOPES).await.unwrap();
    assert_eq!(identity.subject, "782bbtaQ");
    assert_eq!(ids(&identity), ["782bbtaQ", "7"]);
    let kinds: Vec<AccountKind> = identity.accounts.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [AccountKind::Person, AccountKind::Organization]);
    assert_eq!(identity.accounts[0].account.metadata.get("type"), Some(&json!("person")));
    let acme = &identity.accounts[1].account;
    assert_eq!(acme.display_name.as_deref(), Some("Acme"));
    assert_eq!(acme.image_url.as_deref(), Some("https://media.example/l"));
    assert_eq!(acme.metadata.get("urn"), Some(&json!("urn:li:organization:7")));
    assert_eq!(identity.unusable[0].display_name.as_deref(), Some("Other"));
    assert_eq!(routes(&identity), [("your LinkedIn organizations", 2, None)]);
    for request in script.asked().iter().filter(|request| !request.contains("/v2/userinfo")) {
        assert!(request.contains("linkedin-version: 202608\r\n"), "{request}");
        assert!(request.contains("x-restli-protocol-version: 2.0.0\r\n"), "{request}");
    }
}

#[tokio::test]
async fn a_retired_api_version_leaves_out_organizations_and_says_so() {
    let script = Script::start(|target| match target.split('?').next().unwrap() {
        "/v2/userinfo" => (200, json!({"sub": "782bbtaQ"})),
        "/rest/organizationAcls" => (426, json!({"status": 426, "code": "NONEXISTENT_VERSION", "message": "x"})),
        other => panic!("{other}"),
    });
    let identity = script.identify("linkedin", &COMMUNITY_SCOPES).await.unwrap();
    assert_eq!(ids(&identity), ["782bbtaQ"]);
    let trouble = "this service asks LinkedIn in a version of its API that was retired";
    assert_eq!(routes(&identity), [("your LinkedIn organizations", 0, Some(trouble))]);
    assert_eq!(script.paths().len(), 2, "it is not asked again");
}

#[tokio::test]
async fn organizations_without_names_or_logos_are_listed() {
    let script = Script::start(|target| match target.split('?').next().unwrap() {
        "/v2/userinfo" => (200, json!({"sub": "782bbtaQ"})),
        "/rest/organizationAcls" => {
            (200, json!({"elements": [acl(7, "ADMINISTRATOR")], "paging": {"start": 0, "count": 100}}))
        }
        "/rest/organizationsLookup" => (403, json!({"status": 403, "code": "ACCESS_DENIED", "message": "x"})),
        "/v2/organizationalEntityAcls" => (404, json!({})),
        other => panic!("{other}"),
    });
    let identity = script.identify("linkedin", &COMMUNITY_SCOPES).await.unwrap();
    assert_eq!(ids(&identity), ["782bbtaQ", "7"]);
    assert_eq!(identity.routes[1].trouble.as_deref(), Some("a permission for it was not given"));
}

#[tokio::test]
async fn without_organization_scopes_only_the_person_is_listed() {
    let script = Script::start(|target| match target {
        "/v2/userinfo" => (200, json!({"sub": "782bbtaQ"})),
        other => panic!("{other}"),
    });
    let identity = script.identify("linkedin", &["openid", "profile"]).await.unwrap();
    assert_eq!((ids(&identity), identity.routes.len()), (vec!["782bbtaQ"], 0));
}

#[tokio::test]
async fn without_openid_connect_the_person_comes_from_another_call() {
    for refusal in [
        json!({"status": 403, "code": "ACCESS_DENIED", "message": "x"}),
        json!({"status": 403, "serviceErrorCode": 100, "message": "Not enough permissions to access: GET /userinfo"}),
        json!(null),
        json!("Forbidden"),
        json!("Not enough permissions to access: GET /userinfo"),
        json!("<html>Forbidden</html>"),
        json!("forbidden ".repeat(100)),
    ] {
        let script = Script::start(move |target| match target {
            "/v2/userinfo" => (403, refusal.clone()),
            "/v2/me" => {
                (200, json!({"id": "782bbtaQ", "firstName": {"localized": {"en_US": "Ada"}}, "vanityName": "ada"}))
            }
            other => panic!("{other}"),
        });
        let identity = script.identify("linkedin", &["r_basicprofile"]).await.unwrap();
        assert_eq!(ids(&identity), ["782bbtaQ"]);
        assert_eq!(identity.accounts[0].account.username.as_deref(), Some("ada"));
        assert_eq!(identity.accounts[0].account.display_name.as_deref(), Some("Ada"));
    }
}

fn location(number: u32, takes_posts: bool) -> Value {
    let mut metadata = json!({"mapsUri": format!("https://maps.example/{number}")});
    if takes_posts {
        metadata["canOperateLocalPost"] = true.into();
    }
    json!({"name": format!("locations/{number}"), "title": format!("Shop {number}"), "metadata": metadata})
}

#[tokio::test]
async fn locations_of_all_accounts_are_listed_once() {
    let script = Script::start(|target| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = match (path, query.contains("pageToken=")) {
            ("/oauth2/v2/userinfo", _) => json!({"id": "1100", "name": "Ada", "email": "ada@example.com"}),
            ("/v1/accounts", false) => {
                json!({"accounts": [{"name": "accounts/1", "accountName": "Ada"}], "nextPageToken": "p2"})
            }
            ("/v1/accounts", true) => json!({"accounts": [{"name": "accounts/2", "accountName": "Acme"}]}),
            ("/v1/accounts/1/locations", _) => json!({"locations": [location(5, true)]}),
            ("/v1/accounts/2/locations", false) => {
                json!({"locations": [location(5, true), location(6, false)], "nextPageToken": "p2"})
            }
            ("/v1/accounts/2/locations", true) => json!({"locations": [location(7, true)]}),
            other => panic!("{other:?}"),
        };
        (200, body)
    });
    let identity = script.identify("googlebusiness", &[]).await.unwrap();
    assert_eq!(identity.subject, "1100");
    assert_eq!(ids(&identity), ["accounts/1/locations/5", "accounts/2/locations/7"]);
    assert_eq!(identity.unusable[0].platform_user_id, "accounts/2/locations/6");
    assert_eq!(routes(&identity), [("locations of Ada", 1, None), ("locations of Acme", 3, None)]);
    assert!(script.paths().iter().any(|path| path.starts_with(
        "/v1/accounts/2/locations?readMask=name%2Ctitle%2CstorefrontAddress%2Cmetadata%2CwebsiteUri&pageSize=100"
    )));
}

#[tokio::test]
async fn a_project_without_approval_is_reported_without_retries() {
    let quota = |value: &'static str| {
        Script::start(move |target| match target.split('?').next().unwrap() {
            "/oauth2/v2/userinfo" => (200, json!({"id": "1100"})),
            "/v1/accounts" => (
                429,
                json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded", "details":
                    [{"reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit_value": value}}]}}),
            ),
            other => panic!("{other}"),
        })
    };
    let script = quota("0");
    let error = script.identify("googlebusiness", &[]).await.unwrap_err();
    assert_eq!(error.of_connection(), Failure::AccessNotApproved);
    assert_eq!(script.paths().len(), 2, "it is not asked again");
    let script = quota("300");
    let error = script.identify("googlebusiness", &[]).await.unwrap_err();
    assert_eq!(error.failure, Failure::PlatformThrottled);
    assert_eq!(script.paths().len(), 4);
}

#[tokio::test]
async fn an_account_that_cannot_be_listed_leaves_out_only_its_locations() {
    let script = Script::start(|target| match target.split('?').next().unwrap() {
        "/oauth2/v2/userinfo" => (200, json!({"id": "1100"})),
        "/v1/accounts" => (200, json!({"accounts": [{"name": "accounts/1"}, {"name": "accounts/2"}]})),
        "/v1/accounts/1/locations" => (403, json!({"error": {"code": 403, "status": "PERMISSION_DENIED"}})),
        "/v1/accounts/2/locations" => (200, json!({"locations": [location(5, true)]})),
        other => panic!("{other}"),
    });
    let identity = script.identify("googlebusiness", &[]).await.unwrap();
    assert_eq!(ids(&identity), ["accounts/2/locations/5"]);
    assert_eq!(
        routes(&identity)[0],
        ("locations of accounts/1", 0, Some("Google Business Profile refused to list them"))
    );
}
