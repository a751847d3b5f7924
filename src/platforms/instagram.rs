//! Instagram (API with Instagram Login): a multipart code exchange, answers that may be wrapped in `data`, and a
//! short-lived token that is exchanged for one of 60 days, which then renews itself.
//!
//! Source: Instagram Platform documentation, "Business login for Instagram" and "Reference: /me". The app id and
//! secret are the Instagram ones of the Meta app. Only professional accounts (Business, Creator) can be connected.
//! Nothing revokes a token.

use std::time::Duration;

use jiff::civil::date;
use serde_json::Value;

use super::{
    ApiCall, ClientAuth, Facts, Guide, Identity, LongLived, Platform, Refresh, Refusal, ScopeSeparator, Subject,
    TokenBody, Unidentified, days, graph, handle, list, metadata, page_url, pairs, text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "instagram".into(),
        label: "Instagram".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "Instagram (API with Instagram Login)",
            know: "professional accounts (Business or Creator) only; id and secret are the *Instagram* app's; https callback",
            console: "https://developers.facebook.com/apps",
            credentials: "https://developers.facebook.com, your app, \"Instagram\", \"API setup with Instagram login\": \
                          the Instagram app id and secret, not those of the Meta app",
            ..Guide::default()
        },
        authorize_url: "https://www.instagram.com/oauth/authorize".into(),
        token_url: "https://api.instagram.com/oauth/access_token".into(),
        authority: "meta".into(),
        subject: Subject::Account,
        api_url: "https://graph.instagram.com".into(),
        api_version: "v25.0".into(),
        scopes: list(&["instagram_business_basic", "instagram_business_content_publish"]),
        needed_scopes: &["instagram_business_basic"],
        scope_separator: ScopeSeparator::Comma,
        // Without `force_authentication` Instagram takes the account that happens to be signed in, without a question.
        authorize_params: pairs(&[("enable_fb_login", "0"), ("force_authentication", "1")]),
        adds_fragment: true,
        client_auth: ClientAuth::Body,
        body: TokenBody::Multipart,
        long_lived: Some(LongLived {
            path: "/access_token",
            grant_type: "ig_exchange_token",
            token_name: "access_token",
            names_client: false,
        }),
        refresh: Refresh::SelfRenewing {
            path: "/refresh_access_token",
            grant_type: "ig_refresh_token",
            not_before: Duration::from_hours(24),
        },
        refusals: &[REFUSALS, graph::REFUSALS],
        default_expires_in: Some(days(60)),
        ..Platform::standard(Identity::new(
            ApiCall::get("/{version}/me", &[("fields", "user_id,username,name,profile_picture_url,account_type")]),
            read,
        ))
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "1 hour, once",
    access_token: "1 hour, and 60 days after the exchange for a long-lived one",
    refresh: "the token itself, from 24 hours old until it expires",
    versions: graph::VERSIONS,
};

/// Reads the professional account by `user_id`, the id that posts; `id` (and the `user_id` of the token answer) are
/// scoped to the app. The documentation wraps the answer in `data`, the service often does not.
fn read(answer: &Value) -> Result<Account, Unidentified> {
    let account = answer.pointer("/data/0").unwrap_or(answer);
    let username = text(account, "/username");
    Ok(Account {
        platform_user_id: text(account, "/user_id").ok_or(Unidentified::Unreadable)?,
        profile_url: username.as_ref().and_then(|name| page_url("https://www.instagram.com/", &[name, ""])),
        display_name: text(account, "/name").or_else(|| username.clone()),
        username: username.as_deref().and_then(handle),
        image_url: text(account, "/profile_picture_url"),
        metadata: metadata([("accountType", text(account, "/account_type"))]),
    })
}

const TESTERS: &str = "instagram-basic-display issue 2, craftagram issues 16 and 86, 2026-11";
const OLDER: &str = "Instagram API, OAuthException and OAuthForbiddenException, 2018";

const REFUSALS: &[Refusal] = &[
    // Only the sentence tells that the account is a personal one.
    Refusal {
        words: &["not an instagram business"],
        ..Refusal::api(Failure::NoAccount, "Business login for Instagram, Postiz, 2026-11")
    },
    // Sentences of the API before 2020, whose code is that of every error.
    Refusal { words: &["invalid client id"], ..Refusal::exchange(Failure::CredentialsRejected, OLDER) },
    Refusal { words: &["redirect uri does not match"], ..Refusal::exchange(Failure::CallbackUrlRejected, OLDER) },
    Refusal { words: &["not a developer of this app"], ..Refusal::exchange(Failure::AppNotPublic, OLDER) },
    // At the authorize endpoint beside the code of a denial.
    Refusal { words: &["insufficient developer role"], ..Refusal::authorize(Failure::AppNotPublic, TESTERS) },
    Refusal { words: &["insufficient developer role"], ..Refusal::exchange(Failure::AppNotPublic, TESTERS) },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_is_read_wrapped_and_flat() {
        let flat = json!({"id": "999", "user_id": "17841400000000000", "username": "jane", "name": "Jane",
            "account_type": "BUSINESS", "profile_picture_url": "https://cdn.example/p.jpg"});
        for answer in [flat.clone(), json!({"data": [flat]})] {
            let account = read(&answer).unwrap();
            assert_eq!(account.platform_user_id, "17841400000000000");
            assert_eq!(account.username.as_deref(), Some("@jane"));
            assert_eq!(account.profile_url.as_deref(), Some("https://www.instagram.com/jane/"));
            assert_eq!(account.metadata.get("accountType"), Some(&json!("BUSINESS")));
        }
    }

    #[test]
    fn the_app_scoped_id_is_never_taken_for_the_account() {
        assert_eq!(read(&json!({"id": "999", "username": "jane"})), Err(Unidentified::Unreadable));
    }
}
