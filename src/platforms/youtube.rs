//! YouTube: Google's OAuth 2.0, and the channel that the person picked on the consent screen.
//!
//! Source: "Using OAuth 2.0 for Web Server Applications" (Google Identity) and "Channels: list" (YouTube Data API v3).
//! Only `access_type=offline` yields a refresh token, and without `prompt=consent` only the first time.
//! `include_granted_scopes` is left out on purpose: it merges the scopes of other flows of the same client into one
//! grant, so that revoking YouTube would revoke those too.

use std::time::Duration;

use jiff::civil::date;
use serde_json::Value;

use super::{
    ApiCall, ClientAuth, Facts, Guide, Identity, Pkce, Platform, Refresh, Refusal, Revocation, RevocationAuth,
    RevocationReach, RevokedToken, Rotation, Subject, Unidentified, handle, list, page_url, pairs, text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "youtube".into(),
        label: "YouTube".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "YouTube",
            know: "while the consent screen is External and *Testing*, Google ends refresh tokens after seven days: an \
                   account that ends so says so",
            console: "https://console.cloud.google.com/apis",
            credentials: "https://console.cloud.google.com, \"APIs & Services\", \"Credentials\", an OAuth client of \
                          type \"Web application\"; enable the YouTube Data API v3. While the consent screen is in \"Testing\", \
                          connections last seven days",
            ..Guide::default()
        },
        authorize_url: "https://accounts.google.com/o/oauth2/v2/auth".into(),
        issuer: Some("https://accounts.google.com".into()),
        token_url: "https://oauth2.googleapis.com/token".into(),
        revocation: Revocation::Endpoint {
            url: "https://oauth2.googleapis.com/revoke".into(),
            client_auth: RevocationAuth::None,
            token: RevokedToken::Refresh,
        },
        // "Revoking a token": it ends the person's authorization of the app, with all of its tokens.
        revocation_reach: RevocationReach::Consent,
        project_of: Some(project_of),
        authority: "google".into(),
        subject: Subject::Account,
        api_url: "https://www.googleapis.com".into(),
        scopes: list(&[
            "openid",
            "profile",
            "email",
            "https://www.googleapis.com/auth/youtube.upload",
            "https://www.googleapis.com/auth/youtube.readonly",
        ]),
        needed_scopes: &[
            "https://www.googleapis.com/auth/youtube",
            "https://www.googleapis.com/auth/youtube.force-ssl",
            "https://www.googleapis.com/auth/youtube.readonly",
        ],
        authorize_params: pairs(&[("access_type", "offline"), ("prompt", "consent")]),
        client_auth: ClientAuth::Body,
        pkce: Pkce::S256,
        refresh: Refresh::RefreshToken { rotation: Rotation::None },
        refusals: &[REFUSALS, GOOGLE],
        // "Using OAuth 2.0 to access Google APIs", refresh token expiration: a project whose consent screen is
        // external and in testing gets refresh tokens of seven days.
        testing_life: Some(Duration::from_hours(7 * 24)),
        default_expires_in: Some(3600),
        ..Platform::standard(Identity::new(
            ApiCall::get("/youtube/v3/channels", &[("part", "snippet"), ("mine", "true")]),
            read,
        ))
    }
}

pub(super) const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "minutes, once",
    access_token: "1 hour",
    refresh: "until it is revoked or unused for six months; seven days while the consent screen is in testing; the oldest of more than 100 for one person and client ends",
    versions: &[],
};

/// Reads the number of the client's Cloud project: 1234567890 of `1234567890-abc.apps.googleusercontent.com`, and of
/// `1234567890.apps.googleusercontent.com`, as early clients are called.
fn project_of(client_id: &str) -> Option<&str> {
    let (number, _) = client_id.split_once(['-', '.'])?;
    Some(number).filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads the channel, not the Google user: a person with several channels picks one per consent.
fn read(answer: &Value) -> Result<Account, Unidentified> {
    match answer.get("items") {
        // Google leaves `items` out when there are none.
        None if answer.get("pageInfo").is_some() || answer.get("kind").is_some() => {
            return Err(Unidentified::NoAccount);
        }
        Some(Value::Null) => return Err(Unidentified::NoAccount),
        Some(Value::Array(items)) if items.is_empty() => return Err(Unidentified::NoAccount),
        _ => {}
    }
    let id = text(answer, "/items/0/id").ok_or(Unidentified::Unreadable)?;
    let image = ["high", "medium", "default"]
        .iter()
        .find_map(|size| text(answer, &format!("/items/0/snippet/thumbnails/{size}/url")));
    Ok(Account {
        profile_url: page_url("https://www.youtube.com/channel/", &[&id]),
        platform_user_id: id,
        username: text(answer, "/items/0/snippet/customUrl").as_deref().and_then(handle),
        display_name: text(answer, "/items/0/snippet/title"),
        image_url: image,
        ..Account::default()
    })
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        codes: &["channelNotFound", "youtubeSignupRequired"],
        ..Refusal::api(Failure::NoAccount, "YouTube Data API, errors of channels.list: no channel, 2026-11")
    },
    Refusal {
        codes: &[
            "accountSuspended",
            "authenticatedUserAccountClosed",
            "authenticatedUserAccountSuspended",
            "channelClosed",
            "channelSuspended",
        ],
        ..Refusal::api(Failure::AccountInactive, "YouTube Data API, errors, 2026-11")
    },
];

const OAUTH: &str = "Using OAuth 2.0 for Web Server Applications, authorization errors, 2026-11";
const RETRIED: &str = "google-auth-library-python, google/oauth2/_client.py, 2026-11";
const API: &str = "Google APIs, standard errors and ErrorInfo, 2026-11";

const QUOTA: &str = "YouTube Data API, quota; Google APIs, standard errors, 2026-11";
/// A day's quota lasts until midnight in California.
const LIMITS: &[&str] = &[
    "concurrentLimitExceeded",
    "dailyLimitExceeded",
    "quotaExceeded",
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "userRateLimitExceededUnreg",
];

/// Refusals that all of Google's APIs share.
pub(super) const GOOGLE: &[Refusal] = &[
    Refusal { codes: &["admin_policy_enforced"], ..Refusal::authorize(Failure::BlockedByAdministrator, OAUTH) },
    Refusal { codes: &["org_internal"], ..Refusal::authorize(Failure::AppNotPublic, OAUTH) },
    Refusal { codes: &["redirect_uri_mismatch"], ..Refusal::authorize(Failure::CallbackUrlRejected, OAUTH) },
    Refusal {
        codes: &["deleted_client", "disabled_client", "invalid_client"],
        ..Refusal::authorize(Failure::CredentialsRejected, OAUTH)
    },
    Refusal { codes: &["admin_policy_enforced"], ..Refusal::token(Failure::BlockedByAdministrator, OAUTH) },
    Refusal { codes: &["org_internal"], ..Refusal::token(Failure::AppNotPublic, OAUTH) },
    Refusal { codes: &["redirect_uri_mismatch"], ..Refusal::exchange(Failure::CallbackUrlRejected, OAUTH) },
    Refusal { codes: &["deleted_client", "disabled_client"], ..Refusal::token(Failure::CredentialsRejected, OAUTH) },
    // Google's own library tries these again, as a code or in the place of a sentence. The general rules know the codes.
    Refusal { words: &["internal_failure"], ..Refusal::token(Failure::PlatformUnavailable, RETRIED) },
    Refusal { words: &["server_error"], ..Refusal::token(Failure::PlatformUnavailable, RETRIED) },
    Refusal { words: &["temporarily_unavailable"], ..Refusal::token(Failure::PlatformUnavailable, RETRIED) },
    Refusal { codes: &["accessNotConfigured", "SERVICE_DISABLED"], ..Refusal::api(Failure::ApiNotEnabled, API) },
    Refusal { words: &["has not been used in project", "disabled"], ..Refusal::api(Failure::ApiNotEnabled, API) },
    Refusal { codes: &["BILLING_DISABLED"], ..Refusal::api(Failure::BillingLimitReached, API) },
    Refusal { codes: LIMITS, ..Refusal::token_or_api(Failure::PlatformThrottled, QUOTA) },
    // The operator's project.
    Refusal { codes: &["CONSUMER_SUSPENDED"], ..Refusal::api(Failure::AccessNotApproved, API) },
    Refusal { codes: &["CONSUMER_INVALID"], ..Refusal::api(Failure::CredentialsRejected, API) },
    Refusal {
        codes: &["ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"],
        ..Refusal::api(Failure::PermissionMissing, API)
    },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_id_begins_with_the_number_of_its_project() {
        for (client_id, number) in [
            ("1234567890-abc.apps.googleusercontent.com", Some("1234567890")),
            ("1234567890.apps.googleusercontent.com", Some("1234567890")),
            ("1234567890", None),
            ("client", None),
            ("sandbox-youtube-client", None),
            ("12ab-cd.apps.googleusercontent.com", None),
            ("-abc.apps.googleusercontent.com", None),
            ("", None),
        ] {
            assert_eq!(project_of(client_id), number, "{client_id}");
        }
    }

    #[test]
    fn the_account_is_the_first_channel() {
        let account = read(&json!({"items": [{"id": "UC123", "snippet": {"title": "My Channel", "customUrl": "@mychannel",
            "thumbnails": {"default": {"url": "https://yt3.ggpht.com/d"}, "medium": {"url": "https://yt3.ggpht.com/m"}}}}]}))
        .unwrap();
        assert_eq!(account.platform_user_id, "UC123");
        assert_eq!(account.username.as_deref(), Some("@mychannel"));
        assert_eq!(account.display_name.as_deref(), Some("My Channel"));
        assert_eq!(account.profile_url.as_deref(), Some("https://www.youtube.com/channel/UC123"));
        assert_eq!(account.image_url.as_deref(), Some("https://yt3.ggpht.com/m"));
    }

    #[test]
    fn a_new_channel_may_lack_handle_and_picture() {
        let account =
            read(&json!({"items": [{"id": "UC123", "snippet": {"title": "New", "thumbnails": {}}}]})).unwrap();
        assert_eq!((account.username, account.image_url), (None, None));
    }

    #[test]
    fn no_channel_is_told_apart_from_a_broken_answer() {
        assert_eq!(read(&json!({"kind": "youtube#channelListResponse", "items": []})), Err(Unidentified::NoAccount));
        assert_eq!(read(&json!({"kind": "youtube#channelListResponse", "pageInfo": {}})), Err(Unidentified::NoAccount));
        assert_eq!(read(&json!({"kind": "youtube#channelListResponse", "items": null})), Err(Unidentified::NoAccount));
        assert_eq!(read(&json!({"hello": 1})), Err(Unidentified::Unreadable));
    }
}
