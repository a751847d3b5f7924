//! Twitter (X): OAuth 2.0 with PKCE and rotating, single-use refresh tokens.
//!
//! Source: X developer documentation, "OAuth 2.0 authorization code flow with PKCE" and "GET /2/users/me". The
//! authorization code lives 30 seconds; a refresh token comes only with the scope `offline.access`.

use serde_json::Value;

use super::{
    Accounts, ApiCall, ClientAuth, GrantedScopes, Identity, Pkce, Platform, ReadAccount, Refresh, Revocation,
    RevocationAuth, RevocationReach, RevokedToken, Rotation, ScopeSeparator, Subject, TokenBody, TokenPlace,
    Unidentified, handle, no_reason, text,
};
use crate::domain::account::Account;
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "twitter".into(),
        label: "X (Twitter)".into(),
        authorize_url: "https://x.com/i/oauth2/authorize".into(),
        issuer: None,
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
        api_version: "".into(),
        scopes: ["tweet.read", "tweet.write", "users.read", "media.write", "offline.access"].map(Into::into).into(),
        scope_separator: ScopeSeparator::Space,
        authorize_params: Vec::new(),
        exchange_params: Vec::new(),
        client_id_name: "client_id",
        // A confidential client authenticates with Basic at every endpoint; without it X answers `unauthorized_client`.
        client_auth: ClientAuth::Basic,
        body: TokenBody::Form,
        pkce: Pkce::S256,
        long_lived: None,
        refresh: Refresh::RefreshToken { rotation: Rotation::SingleUse },
        refresh_refused,
        testing_life: None,
        default_expires_in: Some(7200),
        granted_scopes: GrantedScopes::Answer,
        identity: Identity {
            call: ApiCall {
                path: "/2/users/me".into(),
                absolute: false,
                query: &[("user.fields", "profile_image_url,name,username,verified")],
                token: TokenPlace::Bearer,
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
    let username = text(answer, "/data/username");
    Ok(Account {
        platform_user_id: text(answer, "/data/id").ok_or(Unidentified::Unreadable)?,
        profile_url: username.as_ref().map(|name| format!("https://x.com/{name}")),
        username: username.as_deref().map(handle),
        display_name: text(answer, "/data/name"),
        image_url: text(answer, "/data/profile_image_url"),
        ..Account::default()
    })
}

/// X says `invalid_request` where the standard has `invalid_grant`, and tells it from a mistake of ours by its sentence.
fn refresh_refused(answer: &Value) -> Option<Failure> {
    let is_about_token = text(answer, "/error_description")?.starts_with("Value passed for the token was invalid");
    (text(answer, "/error")? == "invalid_request" && is_about_token).then_some(Failure::RefreshRejected)
}

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
