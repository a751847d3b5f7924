//! Twitter (X): OAuth 2.0 with PKCE and rotating, single-use refresh tokens.
//!
//! Source: X developer documentation, "OAuth 2.0 authorization code flow with PKCE" and "GET /2/users/me". The
//! authorization code lives 30 seconds; a refresh token comes only with the scope `offline.access`.

use jiff::civil::date;
use serde_json::Value;

use super::{
    ApiCall, ClientAuth, Facts, Guide, Identity, Pkce, Platform, Refresh, Refusal, Revocation, RevocationAuth,
    RevocationReach, RevokedToken, Rotation, Subject, Unidentified, handle, list, page_url, text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "twitter".into(),
        label: "X (Twitter)".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "X (Twitter), OAuth 2.0",
            know: "a confidential client (\"Web App\"); keep development and production on separate apps, they spend each \
                   other's tokens",
            console: "https://console.x.com",
            credentials: "https://developer.x.com, your app, \"User authentication settings\", type \"Web App\": the \
                          OAuth 2.0 client id and client secret",
            ..Guide::default()
        },
        authorize_url: "https://x.com/i/oauth2/authorize".into(),
        token_url: "https://api.x.com/2/oauth2/token".into(),
        revocation: Revocation::Endpoint {
            url: "https://api.x.com/2/oauth2/revoke".into(),
            client_auth: RevocationAuth::AsToken,
            token: RevokedToken::Refresh,
        },
        revocation_reach: RevocationReach::Tokens,
        authority: "twitter".into(),
        subject: Subject::Person,
        api_url: "https://api.x.com".into(),
        scopes: list(&["tweet.read", "tweet.write", "users.read", "media.write", "offline.access"]),
        needed_scopes: &["tweet.read", "users.read", "offline.access"],
        // A confidential client authenticates with Basic at every endpoint; without it X answers
        // `unauthorized_client`.
        client_auth: ClientAuth::Basic,
        pkce: Pkce::S256,
        refresh: Refresh::RefreshToken { rotation: Rotation::SingleUse },
        refusals: &[REFUSALS],
        default_expires_in: Some(7200),
        ..Platform::standard(Identity::new(
            ApiCall::get("/2/users/me", &[("user.fields", "profile_image_url,name,username,verified")]),
            read,
        ))
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "30 seconds",
    access_token: "2 hours",
    refresh: "only with the scope offline.access; its life is not documented",
    versions: &[],
};

fn read(answer: &Value) -> Result<Account, Unidentified> {
    let username = text(answer, "/data/username");
    Ok(Account {
        platform_user_id: text(answer, "/data/id").ok_or(Unidentified::Unreadable)?,
        profile_url: username.as_ref().and_then(|name| page_url("https://x.com/", &[name])),
        username: username.as_deref().and_then(handle),
        display_name: text(answer, "/data/name"),
        image_url: text(answer, "/data/profile_image_url"),
        ..Account::default()
    })
}

/// Credits, a limit of the operator's own, or the month's requests: no wait of minutes ends it, whatever the status.
/// The titles come with and without spaces.
const USED_UP: &[&str] = &[
    "Credits Depleted",
    "CreditsDepleted",
    "Spend Cap Reached",
    "SpendCapReached",
    "Usage Cap Exceeded",
    "UsageCapExceeded",
    "usage-capped",
];
const PRICING: &str = "X API pricing, 2026-02-06";
const USAGE: &str = "X API v2 errors, problems, usage capped, 2026-11";
const NOT_ENROLLED: &[&str] = &["client-not-enrolled", "client-forbidden"];
const ACCESS_LEVEL: &str = "socioboard/Socioboard-5.0 issue 440, gregkh/bti issue 57, 2026-11";
const SUSPENDED: &str = "X API error codes, 416, 2026-08";
const ENROLLMENT: &str = "X API v2 errors, xdevplatform/samples issue 150, 2026-11";

const REFUSALS: &[Refusal] = &[
    // X says `invalid_request` where the standard says `invalid_grant`; only the sentence distinguishes a dead token
    // from a malformed request.
    Refusal {
        codes: &["invalid_request"],
        words: &["value passed for the token was invalid"],
        ..Refusal::refresh(Failure::RefreshRejected, "tweepy issue 2156, 2026-11")
    },
    Refusal {
        codes: &["invalid_request"],
        words: &["authorization code was invalid"],
        ..Refusal::exchange(Failure::ExchangeRejected, "X, token endpoint, 2026-11")
    },
    Refusal { codes: USED_UP, ..Refusal::token_or_api(Failure::BillingLimitReached, PRICING) },
    Refusal { status: Some(429), codes: USED_UP, ..Refusal::token_or_api(Failure::BillingLimitReached, USAGE) },
    Refusal {
        codes: &["415"],
        ..Refusal::exchange(Failure::CallbackUrlRejected, "\"Callback URL not approved\", X developer apps, 2026-08")
    },
    // Calls of some apps are billed to the person.
    Refusal {
        codes: &["user-not-enrolled"],
        ..Refusal::api(Failure::NoAccount, "cursor/plugins issue 270, 2026-08-30")
    },
    Refusal { codes: NOT_ENROLLED, ..Refusal::token_or_api(Failure::AccessNotApproved, ENROLLMENT) },
    Refusal { codes: &["416"], ..Refusal::token_or_api(Failure::AccessNotApproved, SUSPENDED) },
    Refusal { words: &["app has violated x rules"], ..Refusal::token_or_api(Failure::AccessNotApproved, SUSPENDED) },
    // "You currently have access to a subset of X API V2 endpoints …"
    Refusal { codes: &["453"], ..Refusal::api(Failure::AccessNotApproved, ACCESS_LEVEL) },
    // Comes with status 200.
    Refusal {
        codes: &["user-suspended"],
        ..Refusal::api(Failure::AccountInactive, "X API v2 errors, problems, 2026-11")
    },
    Refusal {
        words: &["account is suspended"],
        ..Refusal::token_or_api(Failure::AccountInactive, "X API error codes, 64, 2026-08")
    },
    Refusal {
        words: &["temporarily locked"],
        ..Refusal::api(Failure::AccountInactive, "X API error codes, 326, 2026-08")
    },
    // A scope that was not granted, or a token that the person revoked at once.
    Refusal { status: Some(403), ..Refusal::api(Failure::PermissionMissing, "X OpenAPI, users.read, 2026-08") },
    Refusal { status: Some(401), ..Refusal::api(Failure::PermissionMissing, "X API v2 errors, 2026-08") },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_is_the_user_in_data() {
        let account = read(&json!({"data": {"id": "2244994945", "name": "X Developers", "username": "XDevelopers",
            "profile_image_url": "https://pbs.twimg.com/profile_images/1/a_normal.jpg"}}))
        .unwrap();
        assert_eq!(account.platform_user_id, "2244994945");
        assert_eq!(account.username.as_deref(), Some("@XDevelopers"));
        assert_eq!(account.display_name.as_deref(), Some("X Developers"));
        assert_eq!(account.profile_url.as_deref(), Some("https://x.com/XDevelopers"));
        assert_eq!(account.image_url.as_deref(), Some("https://pbs.twimg.com/profile_images/1/a_normal.jpg"));
    }

    #[test]
    fn an_answer_without_an_id_names_nobody() {
        for answer in [json!({}), json!({"data": {"id": ""}}), json!({"errors": [{"title": "Forbidden"}]}), json!([])] {
            assert_eq!(read(&answer), Err(Unidentified::Unreadable), "{answer}");
        }
    }
}
