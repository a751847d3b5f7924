//! Pinterest: Basic authentication, and refresh tokens of 60 days that come anew with each refresh.
//!
//! Source: Pinterest API v5, "Set up authentication and authorization" and the OpenAPI description. Apps created before
//! 25 September 2025 ask for continuous refresh tokens with `continuous_refresh=true`; newer ones get them anyway.
//! The revocation endpoint takes tokens of system users only, so a person's grant cannot be revoked.

use serde_json::{Map, Value};

use super::{
    Accounts, ApiCall, ClientAuth, GrantedScopes, Identity, Pkce, Platform, ReadAccount, Refresh, Revocation,
    RevocationReach, Rotation, ScopeSeparator, Subject, TokenBody, TokenPlace, Unidentified, no_reason, text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "pinterest".into(),
        label: "Pinterest".into(),
        authorize_url: "https://www.pinterest.com/oauth/".into(),
        issuer: None,
        token_url: "https://api.pinterest.com/v5/oauth/token".into(),
        revocation: Revocation::Unsupported,
        revocation_reach: RevocationReach::Tokens,
        authority: "pinterest".into(),
        subject: Subject::Person,
        api_url: "https://api.pinterest.com".into(),
        api_version: "".into(),
        scopes: ["boards:read", "boards:write", "pins:read", "pins:write", "user_accounts:read"].map(Into::into).into(),
        scope_separator: ScopeSeparator::Comma,
        authorize_params: Vec::new(),
        exchange_params: vec![("continuous_refresh".into(), "true".into())],
        client_id_name: "client_id",
        client_auth: ClientAuth::Basic,
        body: TokenBody::Form,
        pkce: Pkce::None,
        long_lived: None,
        refresh: Refresh::RefreshToken { rotation: Rotation::SingleUse },
        refresh_refused,
        testing_life: None,
        default_expires_in: Some(30 * 24 * 3600),
        granted_scopes: GrantedScopes::Answer,
        identity: Identity {
            call: ApiCall { path: "/v5/user_account".into(), absolute: false, query: &[], token: TokenPlace::Bearer },
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
    let mut metadata = Map::new();
    if let Some(kind) = text(answer, "/account_type") {
        metadata.insert("accountType".to_owned(), kind.into());
    }
    Ok(Account {
        platform_user_id: text(answer, "/id").ok_or(Unidentified::Unreadable)?,
        profile_url: username.as_ref().map(|name| format!("https://www.pinterest.com/{name}/")),
        display_name: text(answer, "/business_name").or_else(|| username.clone()),
        username,
        image_url: text(answer, "/profile_image"),
        metadata,
    })
}

/// OpenAPI description: "Authentication failed." with code 2, for a wrong Basic header and for a dead token alike.
fn refresh_refused(answer: &Value) -> Option<Failure> {
    (answer.get("code")?.as_u64()? == 2).then_some(Failure::AppOrGrantRejected)
}

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
