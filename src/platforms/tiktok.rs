//! TikTok: Login Kit v2. The client id is called `client_key`, commas join scopes, the PKCE challenge is hexadecimal,
//! and errors come with status 200.
//!
//! Source: TikTok for Developers, "Login Kit for Web", "Login Kit for Desktop" (PKCE), "Manage User Access Tokens",
//! "Get User Info". Web apps run the flow without PKCE; an app whose redirect URI is on loopback is a desktop app, for
//! which PKCE is mandatory and the challenge is the hexadecimal SHA-256.

use jiff::civil::date;
use serde_json::Value;

use super::{
    ApiCall, ClientAuth, Facts, Guide, Identity, Pkce, Platform, Refresh, Refusal, Revocation, RevocationAuth,
    RevocationReach, RevokedToken, Rotation, ScopeSeparator, Subject, Unidentified, handle, list, metadata, page_url,
    text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    let call = |fields| ApiCall::get("/v2/user/info/", fields);
    Platform {
        name: "tiktok".into(),
        label: "TikTok".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "TikTok (Login Kit v2)",
            know: "unaudited apps post to private accounts only; a web app's callback is https without a query; in TikTok's \
                   sandbox, whoever is not one of its target users comes back as if they had declined",
            console: "https://developers.tiktok.com/apps",
            credentials: "https://developers.tiktok.com, your app with Login Kit: the client key (as client_id) and \
                          secret",
            keys: &[(
                "pkce",
                "Some apps, in TikTok's sandbox above all, get an error page about code_challenge: \"s256_hex\" sends one \
                 on https too.",
            )],
            ..Guide::default()
        },
        authorize_url: "https://www.tiktok.com/v2/auth/authorize/".into(),
        // The trailing slash is part of it.
        token_url: "https://open.tiktokapis.com/v2/oauth/token/".into(),
        revocation: Revocation::Endpoint {
            url: "https://open.tiktokapis.com/v2/oauth/revoke/".into(),
            client_auth: RevocationAuth::AsToken,
            token: RevokedToken::Access,
        },
        // Not documented; assumed to disconnect the person from the app as a whole.
        revocation_reach: RevocationReach::Consent,
        authority: "tiktok".into(),
        subject: Subject::Person,
        api_url: "https://open.tiktokapis.com".into(),
        scopes: list(&["user.info.basic", "user.info.profile", "video.publish", "video.upload"]),
        needed_scopes: &["user.info.basic"],
        scope_separator: ScopeSeparator::Comma,
        client_id_name: "client_key",
        client_auth: ClientAuth::Body,
        pkce: Pkce::S256HexOnLoopback,
        refresh: Refresh::RefreshToken { rotation: Rotation::SingleUse },
        refusals: &[REFUSALS],
        // The documentation of November 2026 says two hours; before, it said a day. The shorter is the safer guess.
        default_expires_in: Some(7200),
        ..Platform::standard(Identity {
            // Without `user.info.profile` the full call is refused.
            fallback: Some(call(&[("fields", "open_id,union_id,avatar_url,display_name")])),
            ..Identity::new(
                call(&[(
                    "fields",
                    "open_id,union_id,avatar_url,avatar_large_url,display_name,username,profile_deep_link",
                )]),
                read,
            )
        })
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "minutes, once (not documented)",
    access_token: "2 hours by the documentation of November 2026, 24 hours before",
    refresh: "180 days by the documentation of November 2026, 365 days before",
    versions: &[],
};

/// Reads the account by `open_id`, which is per app; `union_id`, the same for all apps of one developer, goes into
/// the metadata.
fn read(answer: &Value) -> Result<Account, Unidentified> {
    // Every answer carries `error.code`, which is `ok` when all is well, whatever the status.
    if text(answer, "/error/code").is_some_and(|code| !code.eq_ignore_ascii_case("ok") && code != "0") {
        return Err(Unidentified::Unreadable);
    }
    let username = text(answer, "/data/user/username");
    Ok(Account {
        platform_user_id: text(answer, "/data/user/open_id").ok_or(Unidentified::Unreadable)?,
        profile_url: username
            .as_ref()
            .and_then(|name| page_url("https://www.tiktok.com/", &[&format!("@{}", name.trim_start_matches('@'))]))
            .or_else(|| text(answer, "/data/user/profile_deep_link")),
        username: username.as_deref().and_then(handle),
        display_name: text(answer, "/data/user/display_name"),
        image_url: text(answer, "/data/user/avatar_large_url").or_else(|| text(answer, "/data/user/avatar_url")),
        metadata: metadata([("unionId", text(answer, "/data/user/union_id"))]),
    })
}

const API: &str = "TikTok API v2 error handling, 2026-11";

/// TikTok sends these with status 200 as well.
const REFUSALS: &[Refusal] = &[
    Refusal {
        codes: &["invalid_request"],
        words: &["refresh token is invalid"],
        ..Refusal::refresh(Failure::RefreshRejected, "TikTok, \"OAuth Error Handling\": the older form, 2026-11")
    },
    Refusal {
        codes: &["invalid_request"],
        words: &["redirect_uri is not matched"],
        ..Refusal::exchange(Failure::CallbackUrlRejected, "TikTok, \"OAuth Error Handling\", 2026-11")
    },
    Refusal {
        // A token that was revoked at once, and scopes that were not granted.
        codes: &["access_token_invalid", "scope_not_authorized", "scope_permission_missed"],
        ..Refusal::api(Failure::PermissionMissing, API)
    },
    Refusal { codes: &["rate_limit_exceeded"], ..Refusal::api(Failure::PlatformThrottled, API) },
    Refusal { codes: &["internal_error"], ..Refusal::api(Failure::PlatformUnavailable, API) },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_is_the_open_id_with_the_union_id_beside() {
        let account = read(&json!({"data": {"user": {"open_id": "-000abc", "union_id": "u-1", "display_name": "Name",
            "avatar_url": "https://p16.example/s.jpg", "avatar_large_url": "https://p16.example/l.jpg", "username": "name",
            "profile_deep_link": "https://vm.tiktok.com/x"}}, "error": {"code": "ok", "message": "", "log_id": "1"}}))
        .unwrap();
        assert_eq!(account.platform_user_id, "-000abc");
        assert_eq!(account.username.as_deref(), Some("@name"));
        assert_eq!(account.profile_url.as_deref(), Some("https://www.tiktok.com/@name"));
        assert_eq!(account.image_url.as_deref(), Some("https://p16.example/l.jpg"));
        assert_eq!(account.metadata.get("unionId"), Some(&json!("u-1")));
    }

    #[test]
    fn without_the_profile_scope_there_is_no_handle() {
        let account = read(&json!({"data": {"user": {"open_id": "-000abc", "display_name": "Name",
            "profile_deep_link": "https://vm.tiktok.com/x"}}, "error": {"code": "ok"}}))
        .unwrap();
        assert_eq!(account.username, None);
        assert_eq!(account.profile_url.as_deref(), Some("https://vm.tiktok.com/x"));
    }

    #[test]
    fn an_error_that_comes_with_200_is_an_error() {
        let answer = |code: &str| json!({"data": {"user": {"open_id": "x"}}, "error": {"code": code, "log_id": "1"}});
        for code in ["ok", "OK", "0"] {
            assert!(read(&answer(code)).is_ok(), "{code}");
        }
        for code in ["internal_error", "scope_not_authorized", "scope_permission_missed"] {
            assert_eq!(read(&answer(code)), Err(Unidentified::Unreadable), "{code}");
        }
    }
}
