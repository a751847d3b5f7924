//! Threads: a short-lived token that is exchanged for one of 60 days, which then renews itself.
//!
//! Source: Threads API documentation, "Get access tokens and permissions", "Long-lived tokens". The app id and secret
//! are the Threads ones of the Meta app. A token is renewed only when it is at least 24 hours old; nothing revokes one.

use std::time::Duration;

use serde_json::Value;

use super::{
    Accounts, ApiCall, ClientAuth, GrantedScopes, Identity, LongLived, Pkce, Platform, ReadAccount, Refresh,
    Revocation, RevocationReach, ScopeSeparator, Subject, TokenBody, TokenPlace, Unidentified, graph, handle,
    no_reason, text,
};
use crate::domain::account::Account;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "threads".into(),
        label: "Threads".into(),
        authorize_url: "https://threads.net/oauth/authorize".into(),
        issuer: None,
        token_url: "https://graph.threads.net/oauth/access_token".into(),
        revocation: Revocation::Unsupported,
        revocation_reach: RevocationReach::Tokens,
        authority: "meta".into(),
        subject: Subject::Account,
        api_url: "https://graph.threads.net".into(),
        api_version: "v1.0".into(),
        scopes: ["threads_basic", "threads_content_publish"].map(Into::into).into(),
        scope_separator: ScopeSeparator::Comma,
        authorize_params: Vec::new(),
        exchange_params: Vec::new(),
        client_id_name: "client_id",
        client_auth: ClientAuth::Body,
        body: TokenBody::Form,
        pkce: Pkce::None,
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
        refresh_refused: graph::refresh_refused,
        testing_life: None,
        // The long-lived answer was seen without `expires_in`.
        default_expires_in: Some(60 * 24 * 3600),
        granted_scopes: GrantedScopes::DebugToken { path: "/debug_token" },
        identity: Identity {
            call: ApiCall {
                path: "/{version}/me".into(),
                absolute: false,
                query: &[("fields", "id,username,name,threads_profile_picture_url,threads_biography,is_verified")],
                token: TokenPlace::Query,
            },
            read: ReadAccount::Function(read),
            refused: no_reason,
            fallback: None,
            enrich: None,
            accounts: Accounts::Itself,
        },
    }
}

fn read(answer: &Value) -> Result<Account, Unidentified> {
    let username = text(answer, "/username");
    Ok(Account {
        platform_user_id: text(answer, "/id").ok_or(Unidentified::Unreadable)?,
        profile_url: username.as_ref().map(|name| format!("https://www.threads.net/@{name}")),
        display_name: text(answer, "/name").or_else(|| username.clone()),
        username: username.as_deref().map(handle),
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
