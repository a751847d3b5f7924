//! Searches that did not see everything: what they say of the accounts that they did not find.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::script::Script;
use super::{META_SCOPES, graph_error, ids, location, page, routes};
use crate::domain::account::Coverage;
use crate::domain::failure::Failure;
use crate::domain::platform_error::PlatformError;

/// Only Facebook's word on the Page itself says that the person has no access to it.
#[tokio::test]
async fn a_page_without_a_token_is_out_of_reach_only_where_facebook_says_so() {
    for (status, body, is_passing) in [
        (200, json!({"id": "4"}), false),
        (403, graph_error(200), false),
        (400, graph_error(10), false),
        (200, json!("<html>"), true),
        (200, json!({}), true),
        (403, json!("<html>"), true),
        (404, json!("<html>"), true),
        (400, graph_error(100), true),
        (400, graph_error(190), true),
        (400, graph_error(368), true),
        (500, graph_error(2), true),
    ] {
        let told = body.clone();
        let script = Script::start(move |target| match target.split('?').next().unwrap() {
            "/v25.0/me" => (200, json!({"id": "77"})),
            "/v25.0/me/accounts" => (200, json!({"data": [page("1", Some("t1"), None), page("4", None, None)]})),
            "/v25.0/4" => (status, told.clone()),
            other => panic!("{other}"),
        });
        let identity = script.identify("facebook", &["pages_show_list"]).await.unwrap();
        assert_eq!(ids(&identity), ["1"]);
        let unusable: Vec<_> = identity.unusable.iter().map(|it| (&*it.platform_user_id, it.is_passing)).collect();
        assert_eq!(unusable, [("4", is_passing)], "{status} {body}");
        let is_lost = matches!(identity.coverage("4"), Coverage::Lost);
        assert_ne!(is_lost, is_passing, "{status} {body}");
    }
}

#[tokio::test]
async fn a_page_of_the_listing_that_cannot_be_asked_for_leaves_the_listing_incomplete() {
    for paging in [
        json!({"next": "https://graph.facebook.com/next"}),
        json!({"next": "x", "cursors": {"after": null}}),
        json!({"next": "x", "cursors": {"after": "same"}}),
    ] {
        let script = Script::start(move |target| match target.split('?').next().unwrap() {
            "/v25.0/me" => (200, json!({"id": "77"})),
            "/v25.0/me/accounts" => (200, json!({"data": [page("1", Some("t1"), None)], "paging": paging})),
            other => panic!("{other}"),
        });
        let identity = script.identify("facebook", &["pages_show_list"]).await.unwrap();
        assert!(identity.accounts.iter().all(|found| found.account.platform_user_id == "1"));
        assert_eq!(
            identity.routes[0].trouble.as_deref(),
            Some("Facebook answered in a way that could not be understood")
        );
        assert!(matches!(identity.coverage("2"), Coverage::Unknown));
    }
}

/// A failure that left nothing to connect is told as what it is, and not as a person without accounts.
#[tokio::test]
async fn an_outage_that_left_nothing_to_connect_is_told_as_one() {
    type Answers = fn(&str) -> (u16, Value);
    let only_outage: Answers = |path| match path {
        "/v25.0/me/accounts" => (200, json!({"data": []})),
        _ => (500, graph_error(2)),
    };
    let only_throttled: Answers = |path| match path {
        "/v25.0/me/accounts" => (200, json!({"data": [page("4", None, None)]})),
        "/v25.0/4" => (400, graph_error(4)),
        _ => (200, json!({"data": []})),
    };
    let page_of_a_proxy: Answers = |path| match path {
        "/v25.0/me/accounts" => (200, json!({"data": [page("2", Some("t2"), Some(&["ANALYZE"]))]})),
        _ => (200, json!("<html>")),
    };
    let nothing_there: Answers = |path| match path {
        "/v25.0/me/accounts" => (200, json!({"data": [page("2", Some("t2"), Some(&["ANALYZE"]))]})),
        _ => (403, graph_error(200)),
    };
    for (answers, failure) in [
        (only_outage, Some(Failure::PlatformUnavailable)),
        (only_throttled, Some(Failure::PlatformThrottled)),
        (page_of_a_proxy, Some(Failure::IdentityUnavailable)),
        (nothing_there, None),
    ] {
        let script = Script::start(move |target| match target.split('?').next().unwrap() {
            "/v25.0/me" => (200, json!({"id": "77"})),
            path => answers(path),
        });
        let told = script.identify("facebook", &META_SCOPES).await;
        assert_eq!(told.as_ref().map_err(PlatformError::of_connection).err(), failure);
        assert!(told.is_err() || told.is_ok_and(|identity| identity.failure == Some(Failure::PermissionMissing)));
    }
    let google: Answers = |path| match path {
        "/v1/accounts" => (200, json!({"accounts": [{"name": "accounts/1"}, {"name": "accounts/2"}]})),
        "/v1/accounts/1/locations" => (200, json!({"locations": [location(5, false)]})),
        _ => (503, json!({"error": {"code": 503, "status": "UNAVAILABLE"}})),
    };
    let script = Script::start(move |target| match target.split('?').next().unwrap() {
        "/oauth2/v2/userinfo" => (200, json!({"id": "1100"})),
        path => google(path),
    });
    let error = script.identify("googlebusiness", &[]).await.unwrap_err();
    assert_eq!(error.of_connection(), Failure::PlatformUnavailable);
}

#[tokio::test]
async fn lists_and_pages_beyond_the_calls_of_a_connection_are_told_as_not_asked_for() {
    let script = Script::start(|target| match target.split('?').next().unwrap() {
        "/oauth2/v2/userinfo" => (200, json!({"id": "1100"})),
        "/v1/accounts" => {
            let accounts: Vec<Value> = (0..210).map(|number| json!({"name": format!("accounts/{number}")})).collect();
            (200, json!({"accounts": accounts}))
        }
        _ => (200, json!({"locations": [location(5, true)]})),
    });
    let identity = script.identify("googlebusiness", &[]).await.unwrap();
    assert_eq!(script.paths().len(), 201, "the person, and 200 calls");
    let told = routes(&identity);
    assert_eq!(told.len(), 200);
    let trouble = "this service asks Google Business Profile at most 200 times for one connection, and not for these";
    assert_eq!(told[199], ("locations of accounts/199 and 10 more lists", 0, Some(trouble)));
    assert_eq!(identity.accounts[0].elsewhere.len(), 198, "one location, under each parent");
    assert!(matches!(identity.coverage("accounts/205/locations/9"), Coverage::Unknown));

    let script = Script::start(|target| match target.split('?').next().unwrap() {
        "/v25.0/me" => (200, json!({"id": "77"})),
        "/v25.0/me/accounts" => {
            (200, json!({"data": (0..205).map(|id| page(&id.to_string(), None, None)).collect::<Vec<_>>()}))
        }
        path => (200, json!({"id": path.rsplit('/').next(), "access_token": "t"})),
    });
    let identity = script.identify("facebook", &["pages_show_list"]).await.unwrap();
    assert_eq!((identity.accounts.len(), identity.unusable.len()), (199, 6));
    for left_out in &identity.unusable {
        assert!(left_out.is_passing && left_out.reason.contains("at most 200 times"), "{}", left_out.reason);
        assert!(left_out.remedy.contains("choose only"), "{}", left_out.remedy);
    }
}

#[tokio::test]
async fn a_refusal_that_comes_with_200_is_read_like_one_with_an_error_status() {
    let deactivated = json!({"error": {"message": "API access deactivated. To reactivate, go to the app dashboard.",
        "type": "OAuthException", "code": 200}});
    for (body, failure, calls) in [
        (graph_error(4), Failure::PlatformThrottled, 3),
        (deactivated, Failure::AccessNotApproved, 1),
        (json!({}), Failure::PlatformAnswerUnreadable, 1),
    ] {
        let told = body.clone();
        let script = Script::start(move |target| match target.split('?').next().unwrap() {
            "/v25.0/me" => (200, json!({"id": "77"})),
            "/v25.0/me/accounts" => (200, told.clone()),
            other => panic!("{other}"),
        });
        let error = script.identify("facebook", &["pages_show_list"]).await.unwrap_err();
        assert_eq!((error.failure, script.paths().len()), (failure, 1 + calls), "{body}");
    }
    let asked = AtomicU32::new(0);
    let script = Script::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => (200, json!({"data": {}, "error": {"code": "internal_error", "message": "x", "log_id": "1"}})),
        _ => (200, json!({"data": {"user": {"open_id": "o"}}, "error": {"code": "ok"}})),
    });
    assert_eq!(ids(&script.identify("tiktok", &[]).await.unwrap()), ["o"]);
    assert_eq!(script.paths().len(), 2);
}

/// Facebook cannot answer for a hundred Pages at once where they are large, and wants a smaller request.
#[tokio::test]
async fn pages_that_are_too_much_at_once_are_asked_for_in_smaller_parts() {
    let script = Script::start(|target| match target.split_once('?').unwrap() {
        ("/v25.0/me", _) => (200, json!({"id": "77"})),
        ("/v25.0/me/accounts", query) if query.ends_with("&limit=25") => {
            (200, json!({"data": [page("1", Some("t1"), None)]}))
        }
        ("/v25.0/me/accounts", _) => (
            500,
            json!({"error": {"code": 1, "message": "Please reduce the amount of data you're asking for, then retry your request"}}),
        ),
        other => panic!("{other:?}"),
    });
    let identity = script.identify("facebook", &["pages_show_list"]).await.unwrap();
    assert_eq!((ids(&identity), routes(&identity)[0]), (vec!["1"], ("your Pages", 1, None)));
}
