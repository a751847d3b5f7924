//! Facebook: a short-lived token that is exchanged for one of 60 days, and behind it the Pages that the person works on,
//! each with a token of its own.
//!
//! Source: Facebook Login, "Manually build a login flow", "Long-lived access tokens", "Permissions"; Pages API, "Page
//! tasks"; Graph API reference, `/me/accounts`, `/me/businesses`, `/{business}/owned_pages`, `/{business}/client_pages`.
//! A Page's token that was asked for with a long-lived user token does not expire. `/me/accounts` is empty or partial for
//! Pages that belong to a business portfolio, so those are asked for as well (with `business_management`); their entries
//! may come without a token. That a long-lived token can be prolonged is promised nowhere: it is exchanged again in time, and
//! when that brings nothing, its person connects again. The Pages' tokens are not touched by that.

use serde_json::{Map, Value};

use super::{
    Accounts, ApiCall, ClientAuth, GrantedScopes, Identity, LongLived, Pkce, Platform, ReadAccount, Refresh,
    Revocation, RevocationReach, ScopeSeparator, Subject, TokenBody, TokenPlace, Unidentified, graph, text,
};
use crate::domain::account::{Account, UnusableAccount};
use crate::domain::secret::SecretString;

/// Without it `/me/accounts` is empty.
pub(crate) const LIST_SCOPE: &str = "pages_show_list";
/// Without it businesses are not told.
pub(crate) const BUSINESS_SCOPE: &str = "business_management";

/// Asked of Pages, wherever they are listed.
pub(crate) const PAGE_FIELDS: &str = "id,username,name,access_token,picture.type(large),category,tasks";

/// Either lets a person publish on a Page.
const PUBLISHING_TASKS: [&str; 2] = ["CREATE_CONTENT", "MANAGE"];

pub(crate) fn definition() -> Platform {
    Platform {
        name: "facebook".into(),
        label: "Facebook".into(),
        authorize_url: "https://www.facebook.com/{version}/dialog/oauth".into(),
        issuer: None,
        token_url: "https://graph.facebook.com/{version}/oauth/access_token".into(),
        revocation: Revocation::Delete { url: "https://graph.facebook.com/{version}/me/permissions".into() },
        // "Permissions", revoking: it removes the app from the person's settings, and ends every token that it got of them.
        revocation_reach: RevocationReach::Consent,
        authority: "meta".into(),
        subject: Subject::Person,
        api_url: "https://graph.facebook.com".into(),
        api_version: "v25.0".into(),
        scopes: [LIST_SCOPE, "pages_manage_posts", "pages_read_engagement", BUSINESS_SCOPE].map(Into::into).into(),
        scope_separator: ScopeSeparator::Comma,
        // What a person declined once is not asked again without it.
        authorize_params: vec![("auth_type".into(), "rerequest".into())],
        exchange_params: Vec::new(),
        client_id_name: "client_id",
        client_auth: ClientAuth::Body,
        body: TokenBody::Form,
        pkce: Pkce::None,
        long_lived: Some(LongLived {
            path: "/{version}/oauth/access_token",
            grant_type: "fb_exchange_token",
            token_name: "fb_exchange_token",
            names_client: true,
        }),
        // It may bring no more time than there was. A refusal while the token lives costs nothing.
        refresh: Refresh::ExchangedAgain,
        refresh_refused: graph::refresh_refused,
        testing_life: None,
        // The long-lived answer may come without `expires_in`.
        default_expires_in: Some(60 * 24 * 3600),
        granted_scopes: GrantedScopes::Permissions { path: "/{version}/me/permissions" },
        identity: Identity {
            call: ApiCall {
                path: "/{version}/me".into(),
                absolute: false,
                query: &[("fields", "id,name,picture")],
                token: TokenPlace::Bearer,
            },
            read: ReadAccount::Function(read),
            refused,
            fallback: None,
            enrich: None,
            accounts: Accounts::FacebookPages,
        },
    }
}

/// The person, by the id that is scoped to the app.
fn read(answer: &Value) -> Result<Account, Unidentified> {
    Ok(Account {
        platform_user_id: text(answer, "/id").ok_or(Unidentified::Unreadable)?,
        display_name: text(answer, "/name"),
        image_url: text(answer, "/picture/data/url"),
        ..Account::default()
    })
}

/// Codes 10 and 200 to 299 are permissions that were not given or were taken back.
fn refused(answer: &Value) -> Option<Unidentified> {
    let code = answer.pointer("/error/code")?.as_u64()?;
    (code == 10 || (200..300).contains(&code)).then_some(Unidentified::PermissionMissing)
}

/// A Page as a listing has it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) account: Account,
    /// Whether the person may publish on it; `None` where the listing does not say.
    pub(crate) publishes: Option<bool>,
    /// `None` in listings of a business, now and then.
    pub(crate) token: Option<SecretString>,
}

/// A business portfolio that the person belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Business {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// The Pages of a listing. An entry without a usable id is nobody's.
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

/// Where a listing goes on. Not `paging.next` itself: that URL carries the token, and could lead anywhere.
pub(crate) fn next_cursor(answer: &Value) -> Option<String> {
    text(answer, "/paging/next").and(text(answer, "/paging/cursors/after"))
}

/// The token in the answer to `GET /{page}?fields=access_token`.
pub(crate) fn read_page_token(answer: &Value) -> Option<SecretString> {
    match answer.get("access_token") {
        Some(Value::String(token)) if !token.is_empty() => Some(SecretString::from(token.as_str())),
        _ => None,
    }
}

/// A Page that the person works on without publishing there.
pub(crate) fn no_publishing_task(page: &Page) -> UnusableAccount {
    unusable(
        page,
        "your role on this Page does not let you publish there",
        "Ask somebody with full control of the Page to give you access to its content, then connect again.",
    )
}

/// A Page whose token the person is not given.
pub(crate) fn no_access(page: &Page) -> UnusableAccount {
    unusable(
        page,
        "Facebook gives you no access to this Page itself, only to the business that it belongs to",
        "Ask an administrator of the business to assign the Page to you with full control, then connect again and tick it.",
    )
}

/// A Page whose token could not be asked for.
pub(crate) fn not_asked(page: &Page) -> UnusableAccount {
    let reason = "Facebook did not answer when it was asked for access to this Page";
    UnusableAccount { is_passing: true, ..unusable(page, reason, "Connect again later.") }
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
    let mut metadata = Map::new();
    metadata.insert("type".to_owned(), "page".into());
    if let Some(category) = text(entry, "/category") {
        metadata.insert("category".to_owned(), category.into());
    }
    let publishes = entry
        .get("tasks")
        .and_then(Value::as_array)
        .map(|tasks| tasks.iter().filter_map(Value::as_str).any(|task| PUBLISHING_TASKS.contains(&task)));
    Some(Page {
        account: Account {
            profile_url: Some(format!("https://www.facebook.com/{}", username.as_ref().unwrap_or(&id))),
            platform_user_id: id,
            username,
            display_name: text(entry, "/name"),
            image_url: text(entry, "/picture/data/url"),
            metadata,
        },
        publishes,
        token: read_page_token(entry),
    })
}

/// An id that may stand in the path of a URL.
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
    fn a_listing_goes_on_by_cursor_and_only_where_there_is_more() {
        let cursors = json!({"before": "b", "after": "a"});
        let next = "https://evil.example/?access_token=x";
        assert_eq!(next_cursor(&json!({"paging": {"cursors": cursors, "next": next}})).as_deref(), Some("a"));
        assert_eq!(next_cursor(&json!({"paging": {"cursors": cursors}})), None);
        assert_eq!(next_cursor(&json!({"paging": {"next": next}})), None);
        assert_eq!(next_cursor(&json!({"data": []})), None);
    }

    #[test]
    fn businesses_without_a_name_are_called_by_their_id() {
        let businesses =
            read_businesses(&json!({"data": [{"id": "7", "name": "Acme"}, {"id": "8"}, {"id": "x/y"}]})).unwrap();
        let named = |id: &str, name: &str| Business { id: id.into(), name: name.into() };
        assert_eq!(businesses, [named("7", "Acme"), named("8", "8")]);
    }

    #[test]
    fn a_missing_permission_is_told_from_other_refusals() {
        let refusal = |code: u64| refused(&json!({"error": {"message": "x", "code": code}}));
        assert_eq!(refusal(10), Some(Unidentified::PermissionMissing));
        assert_eq!(refusal(200), Some(Unidentified::PermissionMissing));
        assert_eq!(refusal(190), None);
        assert_eq!(refusal(300), None);
    }
}
