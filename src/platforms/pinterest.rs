//! Pinterest: Basic authentication, and refresh tokens of 60 days that are replaced at each refresh.
//!
//! Source: Pinterest API v5, "Set up authentication and authorization" and the OpenAPI description. Apps created
//! before 25 September 2025 request continuous refresh tokens with `continuous_refresh=true`; newer apps always get
//! them. The revocation endpoint takes tokens of system users only, so a person's grant cannot be revoked.

use jiff::civil::date;
use serde_json::Value;

use super::{
    ApiCall, ClientAuth, Facts, Guide, Identity, Platform, Refresh, Refusal, Rotation, ScopeSeparator, Subject,
    Unidentified, days, list, metadata, page_url, pairs, text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "pinterest".into(),
        label: "Pinterest".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "Pinterest",
            know: "a person's grant cannot be revoked there through the API",
            console: "https://developers.pinterest.com/apps",
            credentials: "https://developers.pinterest.com/apps, your app: the app id and app secret key",
            ..Guide::default()
        },
        authorize_url: "https://www.pinterest.com/oauth/".into(),
        token_url: "https://api.pinterest.com/v5/oauth/token".into(),
        authority: "pinterest".into(),
        subject: Subject::Person,
        api_url: "https://api.pinterest.com".into(),
        scopes: list(&["boards:read", "boards:write", "pins:read", "pins:write", "user_accounts:read"]),
        needed_scopes: &["user_accounts:read"],
        scope_separator: ScopeSeparator::Comma,
        exchange_params: pairs(&[("continuous_refresh", "true")]),
        client_auth: ClientAuth::Basic,
        refresh: Refresh::RefreshToken { rotation: Rotation::SingleUse },
        refusals: &[REFUSALS],
        default_expires_in: Some(days(30)),
        ..Platform::standard(Identity::new(ApiCall::get("/v5/user_account", &[]), read))
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "once (its life is not documented)",
    access_token: "30 days",
    refresh: "60 days from each refresh",
    versions: &[],
};

fn read(answer: &Value) -> Result<Account, Unidentified> {
    let username = text(answer, "/username");
    Ok(Account {
        platform_user_id: text(answer, "/id").ok_or(Unidentified::Unreadable)?,
        profile_url: username.as_ref().and_then(|name| page_url("https://www.pinterest.com/", &[name, ""])),
        display_name: text(answer, "/business_name").or_else(|| username.clone()),
        username,
        image_url: text(answer, "/profile_image"),
        metadata: metadata([("accountType", text(answer, "/account_type"))]),
    })
}

/// Pinterest documents these with code 3, and other codes were seen with the same sentence.
const APPROVAL: &str = "OpenAPI description, \"Your application …\", 2026-11";

const REFUSALS: &[Refusal] = &[
    Refusal {
        words: &["consumer type is not supported"],
        ..Refusal::token_or_api(Failure::AccessNotApproved, APPROVAL)
    },
    Refusal {
        words: &["access to this restricted feature"],
        ..Refusal::token_or_api(Failure::AccessNotApproved, APPROVAL)
    },
    Refusal {
        words: &["refresh token is invalid"],
        ..Refusal::refresh(Failure::RefreshRejected, "OpenAPI description, \"The refresh token is invalid\", 2026-11")
    },
    // The same code blames the app where `data` is this sentence.
    Refusal {
        codes: &["283"],
        words: &["invalid application id"],
        ..Refusal::token(Failure::CredentialsRejected, "pinterest-api-demo issue 16, of the API before v5, 2026-11")
    },
    Refusal {
        codes: &["283"],
        ..Refusal::token(Failure::RefreshRejected, "pinterest-python-sdk issue 114: a dead refresh token, 2026-10")
    },
    // The standard's word says more than the code beside it.
    Refusal {
        codes: &["invalid_grant"],
        ..Refusal::refresh(Failure::RefreshRejected, "RFC 6749, section 5.2, 2012-10")
    },
    // The same code and sentence stand for a wrong Basic header and for a dead token. A code has a refusal of its own.
    Refusal {
        codes: &["2"],
        ..Refusal::refresh(Failure::AppOrGrantRejected, "OpenAPI description, \"Authentication failed.\", 2026-11")
    },
    Refusal {
        codes: &["2"],
        ..Refusal::exchange(Failure::CredentialsRejected, "OpenAPI description, \"Authentication failed.\", 2026-11")
    },
    Refusal {
        words: &["required scope"],
        ..Refusal::api(Failure::PermissionMissing, "OpenAPI description, code 3, 2026-11")
    },
    Refusal { codes: &["29"], ..Refusal::api(Failure::PermissionMissing, "OpenAPI description, 2026-11") },
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_business_is_shown_by_its_name_and_a_pinner_by_the_username() {
        let business = read(&json!({"id": "549755885175", "username": "shop", "business_name": "The Shop",
            "account_type": "BUSINESS", "profile_image": "https://i.pinimg.com/a.jpg"}))
        .unwrap();
        assert_eq!(business.platform_user_id, "549755885175");
        assert_eq!(business.username.as_deref(), Some("shop"));
        assert_eq!(business.display_name.as_deref(), Some("The Shop"));
        assert_eq!(business.profile_url.as_deref(), Some("https://www.pinterest.com/shop/"));
        assert_eq!(business.metadata.get("accountType"), Some(&json!("BUSINESS")));
        let pinner = read(&json!({"id": "1", "username": "ada", "business_name": null})).unwrap();
        assert_eq!(pinner.display_name.as_deref(), Some("ada"));
        assert_eq!(read(&json!({"code": 2, "message": "x"})), Err(Unidentified::Unreadable));
    }
}
