//! Threads: a short-lived token that is exchanged for one of 60 days, which then renews itself.
//!
//! Source: Threads API documentation, "Get access tokens and permissions", "Long-lived tokens". The app id and secret
//! are the Threads ones of the Meta app. The hosts are those of 12 August 2026: `threads.net` answers with a redirect
//! on which some browsers lose the query. A token can be renewed once it is 24 hours old; nothing revokes one.

use std::time::Duration;

use jiff::civil::date;
use serde_json::Value;

use super::{
    ApiCall, ClientAuth, Facts, GrantedScopes, Guide, Identity, LongLived, Platform, Refresh, ScopeSeparator, Subject,
    TokenPlace, Unidentified, Version, days, graph, handle, list, page_url, text,
};
use crate::domain::account::Account;

pub(crate) fn definition() -> Platform {
    let call = ApiCall::get(
        "/{version}/me",
        &[("fields", "id,username,name,threads_profile_picture_url,threads_biography,is_verified")],
    );
    Platform {
        name: "threads".into(),
        label: "Threads".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "Threads",
            know: "id and secret are the *Threads* app's; https callback, localhost is refused",
            console: "https://developers.facebook.com/apps",
            credentials: "https://developers.facebook.com, your app, use case \"Access the Threads API\": the Threads \
                          app id and secret, not those of the Meta app",
            ..Guide::default()
        },
        authorize_url: "https://threads.com/oauth/authorize".into(),
        token_url: "https://graph.threads.com/oauth/access_token".into(),
        authority: "meta".into(),
        subject: Subject::Account,
        api_url: "https://graph.threads.com".into(),
        api_version: "v1.0".into(),
        scopes: list(&["threads_basic", "threads_content_publish"]),
        needed_scopes: &["threads_basic"],
        scope_separator: ScopeSeparator::Comma,
        adds_fragment: true,
        client_auth: ClientAuth::Body,
        long_lived: Some(LongLived {
            path: "/access_token",
            grant_type: "th_exchange_token",
            token_name: "access_token",
            names_client: false,
        }),
        refresh: Refresh::SelfRenewing {
            path: "/refresh_access_token",
            grant_type: "th_refresh_token",
            not_before: Duration::from_hours(24),
        },
        refusals: &[graph::REFUSALS],
        default_expires_in: Some(days(60)),
        granted_scopes: GrantedScopes::DebugToken { path: "/debug_token" },
        ..Platform::standard(Identity::new(ApiCall { token: TokenPlace::Query, ..call }, read))
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "1 hour, once",
    access_token: "1 hour, and 60 days after the exchange for a long-lived one",
    refresh: "the token itself, from 24 hours old until it expires",
    versions: &[Version { name: "v1.0", ends: None }],
};

fn read(answer: &Value) -> Result<Account, Unidentified> {
    let username = text(answer, "/username");
    Ok(Account {
        platform_user_id: text(answer, "/id").ok_or(Unidentified::Unreadable)?,
        profile_url: username.as_ref().and_then(|name| page_url("https://www.threads.net/", &[&format!("@{name}")])),
        display_name: text(answer, "/name").or_else(|| username.clone()),
        username: username.as_deref().and_then(handle),
        image_url: text(answer, "/threads_profile_picture_url"),
        ..Account::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_id_is_read_as_text_or_as_a_large_number() {
        for id in [json!("17841405793187218"), json!(17_841_405_793_187_218_u64)] {
            let account = read(&json!({"id": id, "username": "jane", "name": "Jane",
                "threads_profile_picture_url": "https://cdn.example/p.jpg"}))
            .unwrap();
            assert_eq!(account.platform_user_id, "17841405793187218");
            assert_eq!(account.username.as_deref(), Some("@jane"));
            assert_eq!(account.display_name.as_deref(), Some("Jane"));
            assert_eq!(account.profile_url.as_deref(), Some("https://www.threads.net/@jane"));
        }
    }

    #[test]
    fn the_handle_stands_in_for_a_missing_name() {
        let account = read(&json!({"id": "1", "username": "jane"})).unwrap();
        assert_eq!(account.display_name.as_deref(), Some("jane"));
        assert_eq!(read(&json!({"username": "jane"})), Err(Unidentified::Unreadable));
    }
}
