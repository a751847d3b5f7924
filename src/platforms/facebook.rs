//! Facebook: a short-lived token that is exchanged for one of 60 days, and the Pages that the person works on, each
//! with its own token.
//!
//! Source: Facebook Login, "Manually build a login flow", "Long-lived access tokens", "Permissions"; Pages API, "Page
//! tasks"; Graph API reference, `/me/accounts`, `/me/businesses`, `/{business}/owned_pages`,
//! `/{business}/client_pages`. A Page's token that was got with a long-lived user token does not expire.
//! `/me/accounts` is empty or partial for Pages that belong to a business portfolio, so the portfolios' Pages are
//! listed as well (with `business_management`); their entries may lack a token. No document promises that a
//! long-lived token can be prolonged: the broker exchanges it again in time, and where that brings no new time, once
//! more at its end. Where it has one, the account's owner reconnects. The Pages' tokens stay valid meanwhile.

use jiff::civil::date;
use serde_json::Value;

use super::{
    Accounts, ApiCall, ClientAuth, Facts, GrantedScopes, Guide, Identity, LongLived, Platform, Refresh, Revocation,
    RevocationReach, ScopeSeparator, Subject, Unidentified, days, graph, list, metadata, page_url, pairs, text, token,
};
use crate::domain::account::{Account, UnusableAccount};
use crate::domain::secret::SecretString;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "facebook".into(),
        label: "Facebook".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "Facebook Pages",
            know: "Pages of a business portfolio need `business_management`; a Page's token does not expire, the person's \
                   behind it lives for 60 days and is prolonged where Facebook lets it",
            console: "https://developers.facebook.com/apps",
            credentials: "https://developers.facebook.com, your app, \"App settings\", \"Basic\": the app id and \
                          secret",
            keys: &[(
                "scopes",
                "Without business_management, Pages that belong to a business portfolio are not found.",
            )],
            ..Guide::default()
        },
        authorize_url: "https://www.facebook.com/{version}/dialog/oauth".into(),
        token_url: "https://graph.facebook.com/{version}/oauth/access_token".into(),
        revocation: Revocation::Delete { url: "https://graph.facebook.com/{version}/me/permissions".into() },
        // "Permissions", revoking: it removes the app from the person's settings and ends every token that it got of
        // them.
        revocation_reach: RevocationReach::ConsentToClient,
        authority: "meta".into(),
        subject: Subject::Person,
        api_url: "https://graph.facebook.com".into(),
        api_version: "v25.0".into(),
        scopes: list(&[LIST_SCOPE, "pages_manage_posts", "pages_read_engagement", BUSINESS_SCOPE]),
        needed_scopes: &[LIST_SCOPE],
        scope_separator: ScopeSeparator::Comma,
        // Without it, Facebook does not offer again what a person declined once.
        authorize_params: pairs(&[("auth_type", "rerequest")]),
        adds_fragment: true,
        client_auth: ClientAuth::Body,
        long_lived: Some(LongLived {
            path: "/{version}/oauth/access_token",
            grant_type: "fb_exchange_token",
            token_name: "fb_exchange_token",
            names_client: true,
        }),
        // It may bring no more time than there was. A refusal while the token lives costs nothing.
        refresh: Refresh::ExchangedAgain,
        refusals: &[graph::REFUSALS],
        // The long-lived answer may come without `expires_in`.
        default_expires_in: Some(days(60)),
        granted_scopes: GrantedScopes::Permissions { path: "/{version}/me/permissions" },
        ..Platform::standard(Identity {
            accounts: Accounts::FacebookPages,
            ..Identity::new(ApiCall::get("/{version}/me", &[("fields", "id,name,picture")]), read)
        })
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "minutes, once (not documented)",
    access_token: "60 days for a person's long-lived token; a Page's does not expire",
    refresh: "the person's token itself, for as long as it lives",
    versions: graph::VERSIONS,
};

/// The scope without which `/me/accounts` is empty.
pub(crate) const LIST_SCOPE: &str = "pages_show_list";
/// The scope without which businesses are not listed.
pub(crate) const BUSINESS_SCOPE: &str = "business_management";

/// Fields of a Page, in every listing.
pub(crate) const PAGE_FIELDS: &str = "id,username,name,access_token,picture.type(large),category,tasks";

/// Tasks that let a person publish on a Page: any suffices.
const PUBLISHING_TASKS: [&str; 3] = ["CREATE_CONTENT", "FULL_CONTROL", "MANAGE"];

/// Prefix of the tasks of Pages of the newer kind ("New Pages Experience").
const OF_NEWER_PAGES: &str = "PROFILE_PLUS_";

/// Reads the person, by the id that is scoped to the app.
fn read(answer: &Value) -> Result<Account, Unidentified> {
    Ok(Account {
        platform_user_id: text(answer, "/id").ok_or(Unidentified::Unreadable)?,
        display_name: text(answer, "/name"),
        image_url: text(answer, "/picture/data/url"),
        ..Account::default()
    })
}

/// A Page as a listing has it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) account: Account,
    /// True when the person may publish on it; `None` where the listing does not say.
    pub(crate) publishes: Option<bool>,
    /// `None` in some listings of a business.
    pub(crate) token: Option<SecretString>,
}

/// A business portfolio that the person belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Business {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Reads the Pages of a listing. Entries without a usable id are skipped.
pub(crate) fn read_pages(answer: &Value) -> Result<Vec<Page>, Unidentified> {
    Ok(entries(answer)?.iter().filter_map(page).collect())
}

pub(crate) fn read_businesses(answer: &Value) -> Result<Vec<Business>, Unidentified> {
    let business = |entry| {
        let id = id(entry)?;
        Some(Business { name: text(entry, "/name").unwrap_or_else(|| id.clone()), id })
    };
    Ok(entries(answer)?.iter().filter_map(business).collect())
}

/// Cursor of the next part of a listing. `paging.next` itself is not followed: that URL carries the token and could
/// lead anywhere.
pub(crate) fn next_cursor(answer: &Value) -> Result<Option<String>, Unidentified> {
    if text(answer, "/paging/next").is_none() {
        return Ok(None);
    }
    text(answer, "/paging/cursors/after").map(Some).ok_or(Unidentified::Unreadable)
}

/// Reads the token in the answer to `GET /{page}?fields=access_token`. Facebook names the Page alone where the person
/// has no access to it.
pub(crate) fn read_page_token(answer: &Value) -> Result<Option<SecretString>, Unidentified> {
    match answer.get("access_token") {
        None | Some(Value::Null) if id(answer).is_some() => Ok(None),
        told => token(told).map(Some).ok_or(Unidentified::Unreadable),
    }
}

/// True for the codes of a refusal that is about the Page asked for (Graph API, "Handling errors": permissions).
/// Others are about the person's token, the request or the app.
pub(crate) fn is_about_page(code: &str) -> bool {
    let number = code.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse::<u32>().ok());
    number.is_some_and(|number| number == 10 || (200..300).contains(&number))
}

/// A Page where the person's role does not let them publish.
pub(crate) fn no_publishing_task(page: &Page) -> UnusableAccount {
    unusable(
        page,
        "your role on this Page does not let you publish there",
        "Ask somebody with full control of the Page to give you access to its content, then connect again.",
    )
}

/// A Page whose token Facebook does not give to the person.
pub(crate) fn no_access(page: &Page) -> UnusableAccount {
    unusable(
        page,
        "Facebook gives you no access to this Page itself, only to the business that it belongs to",
        "Ask an administrator of the business to assign the Page to you with full control, then connect again and tick it.",
    )
}

/// A Page of which Facebook did not say whether the person has access.
pub(crate) fn not_told(page: &Page) -> UnusableAccount {
    let reason = "Facebook gave no clear answer when it was asked for access to this Page";
    UnusableAccount { is_passing: true, ..unusable(page, reason, "Connect again later.") }
}

/// A Page that Facebook was not asked for: the broker makes no more than `calls` calls.
pub(crate) fn not_asked(page: &Page, calls: u32) -> UnusableAccount {
    let reason = format!("this service asks Facebook at most {calls} times for one connection, and not for this Page");
    let remedy = "Connect again and, in Facebook's dialog, choose only the businesses and Pages that you need.";
    UnusableAccount { is_passing: true, ..unusable(page, &reason, remedy) }
}

fn unusable(page: &Page, reason: &str, remedy: &str) -> UnusableAccount {
    UnusableAccount {
        platform_user_id: page.account.platform_user_id.clone(),
        display_name: page.account.display_name.clone(),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
        is_passing: false,
    }
}

fn entries(answer: &Value) -> Result<&Vec<Value>, Unidentified> {
    answer.get("data").and_then(Value::as_array).ok_or(Unidentified::Unreadable)
}

fn page(entry: &Value) -> Option<Page> {
    let id = id(entry)?;
    let username = text(entry, "/username");
    let publishes = entry
        .get("tasks")
        .and_then(Value::as_array)
        .map(|tasks| tasks.iter().filter_map(Value::as_str).any(is_publishing));
    Some(Page {
        account: Account {
            profile_url: page_url("https://www.facebook.com/", &[username.as_ref().unwrap_or(&id)]),
            platform_user_id: id,
            username,
            display_name: text(entry, "/name"),
            image_url: text(entry, "/picture/data/url"),
            metadata: metadata([("type", Some("page".to_owned())), ("category", text(entry, "/category"))]),
        },
        publishes,
        token: token(entry.get("access_token")),
    })
}

fn is_publishing(task: &str) -> bool {
    let task = task.to_ascii_uppercase();
    PUBLISHING_TASKS.contains(&task.strip_prefix(OF_NEWER_PAGES).unwrap_or(&task))
}

/// Reads an id, which must be safe in the path of a URL.
fn id(entry: &Value) -> Option<String> {
    text(entry, "/id").filter(|id| id.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_subject_is_the_person() {
        let person = read(&json!({"id": "10158000000000001", "name": "Ada",
            "picture": {"data": {"url": "https://cdn.example/p.jpg"}}}))
        .unwrap();
        assert_eq!(person.platform_user_id, "10158000000000001");
        assert_eq!(person.image_url.as_deref(), Some("https://cdn.example/p.jpg"));
        assert_eq!(read(&json!({"name": "Ada"})), Err(Unidentified::Unreadable));
    }

    #[test]
    fn pages_are_read_with_their_tokens_and_tasks() {
        let pages = read_pages(&json!({"data": [
            {"id": "1234", "name": "My Page", "username": "mypage", "access_token": "EAApage", "category": "Brand",
             "tasks": ["ADVERTISE", "CREATE_CONTENT"], "picture": {"data": {"url": "https://cdn.example/1.jpg"}}},
            {"id": 5678, "name": "Second", "tasks": ["ANALYZE"]},
            {"id": "9", "tasks": ["MANAGE"], "access_token": ""},
            {"id": "10"},
            {"id": "../me", "name": "no id"},
            {"name": "no id"},
        ]}))
        .unwrap();
        let [first, second, third, fourth] = &pages[..] else { panic!("{pages:?}") };
        assert_eq!(first.account.platform_user_id, "1234");
        assert_eq!(first.account.profile_url.as_deref(), Some("https://www.facebook.com/mypage"));
        assert_eq!(first.account.image_url.as_deref(), Some("https://cdn.example/1.jpg"));
        assert_eq!(Value::Object(first.account.metadata.clone()), json!({"type": "page", "category": "Brand"}));
        assert_eq!(first.token.as_ref().map(SecretString::expose_secret), Some("EAApage"));
        assert_eq!(second.account.profile_url.as_deref(), Some("https://www.facebook.com/5678"));
        assert!(third.token.is_none());
        assert_eq!(
            [first.publishes, second.publishes, third.publishes, fourth.publishes],
            [Some(true), Some(false), Some(true), None]
        );
        assert!(read_pages(&json!({"data": []})).unwrap().is_empty());
        assert_eq!(read_pages(&json!({"error": {}})).unwrap_err(), Unidentified::Unreadable);
    }

    #[test]
    fn tasks_of_newer_pages_have_other_names() {
        for (task, expected) in [
            ("CREATE_CONTENT", true),
            ("MANAGE", true),
            ("manage", true),
            ("PROFILE_PLUS_CREATE_CONTENT", true),
            ("PROFILE_PLUS_FULL_CONTROL", true),
            ("PROFILE_PLUS_MANAGE", true),
            ("PROFILE_PLUS_ANALYZE", false),
            ("PROFILE_PLUS_MANAGE_LEADS", false),
            ("PROFILE_PLUS_", false),
            ("MANAGE_JOBS", false),
            ("ANALYZE", false),
        ] {
            let pages = read_pages(&json!({"data": [{"id": "1", "tasks": ["MODERATE", task]}]})).unwrap();
            assert_eq!(pages.first().unwrap().publishes, Some(expected), "{task}");
        }
    }

    #[test]
    fn a_listing_goes_on_by_cursor_and_only_where_there_is_more() {
        let cursors = json!({"before": "b", "after": "a"});
        let next = "https://evil.example/?access_token=x";
        assert_eq!(next_cursor(&json!({"paging": {"cursors": cursors, "next": next}})), Ok(Some("a".to_owned())));
        assert_eq!(next_cursor(&json!({"paging": {"cursors": cursors}})), Ok(None));
        assert_eq!(next_cursor(&json!({"paging": {"next": next}})), Err(Unidentified::Unreadable));
        assert_eq!(next_cursor(&json!({"data": []})), Ok(None));
    }

    #[test]
    fn only_an_answer_that_names_the_page_alone_says_that_there_is_no_access() {
        let read = |answer: Value| read_page_token(&answer).map(|token| token.is_some());
        assert_eq!(read(json!({"access_token": "EAApage", "id": "4"})), Ok(true));
        assert_eq!(read(json!({"id": "4"})), Ok(false));
        assert_eq!(read(json!({"id": "4", "access_token": null})), Ok(false));
        for unreadable in [json!(null), json!({}), json!({"id": "4", "access_token": ""}), json!({"error": {}})] {
            assert_eq!(read(unreadable.clone()), Err(Unidentified::Unreadable), "{unreadable}");
        }
        for (code, expected) in
            [("10", true), ("200", true), ("299", true), ("190", false), ("368", false), ("100", false), ("", false)]
        {
            assert_eq!(is_about_page(code), expected, "{code}");
        }
    }

    #[test]
    fn businesses_without_a_name_are_called_by_their_id() {
        let businesses =
            read_businesses(&json!({"data": [{"id": "7", "name": "Acme"}, {"id": "8"}, {"id": "x/y"}]})).unwrap();
        let named = |id: &str, name: &str| Business { id: id.into(), name: name.into() };
        assert_eq!(businesses, [named("7", "Acme"), named("8", "8")]);
    }
}
