//! Responses of `/v1/connect/integrations`. Other responses that contain an integration use the same view.
//!
//! Invariant: a nullable member is present as null, and a URL is a valid http(s) URL, because callers' models check
//! both.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::token_health::{TokenHealthView, TokenReadsView};
use crate::domain::grant::{AuthStatus, FailureReason};
use crate::domain::integration::{AppSummary, Integration, IntegrationDetail};
use crate::domain::paging::Listed;
use crate::domain::scopes;
use crate::domain::time::Timestamp;
use crate::http::api::web_url;

/// One connected account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Integration)]
pub(crate) struct IntegrationView {
    #[schema(example = "int_019a1b2c3d4e7f809a1b2c3d4e5f6071")]
    id: String,
    #[schema(example = "twitter")]
    platform: String,
    /// The platform's own id of the account; it never changes.
    #[schema(required)]
    platform_user_id: Option<String>,
    /// The public handle, with its `@` where the platform has handles.
    #[schema(required)]
    username: Option<String>,
    /// The name that people see.
    #[schema(required)]
    display_name: Option<String>,
    /// The account's public page.
    #[schema(required, format = "uri")]
    profile_url: Option<String>,
    #[schema(required, format = "uri")]
    image_url: Option<String>,
    /// Further public facts that the platform tells of the account.
    #[schema(value_type = Object)]
    platform_metadata: Map<String, Value>,
    /// The profile that it is bound to; null without one.
    #[schema(required)]
    profile_id: Option<String>,
    /// Your own OAuth app that it was connected under; null for the operator's.
    #[schema(required)]
    app_id: Option<String>,
    #[schema(required)]
    app: Option<AppSummaryView>,
    /// Whether it was connected under an OAuth app of your own.
    byok: bool,
    auth_status: AuthStatusView,
    /// Why it must be connected again; null while it need not.
    #[schema(required)]
    auth_failure_reason: Option<FailureReasonView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// The OAuth app of an integration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AppSummary)]
pub(crate) struct AppSummaryView {
    id: String,
    name: String,
    #[schema(required)]
    image_url: Option<String>,
}

/// Whether an integration can authenticate, or its person has to connect it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AuthStatus)]
pub(crate) enum AuthStatusView {
    Active,
    ReconnectRequired,
}

/// Why an account must be connected again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AuthFailureReason)]
pub(crate) enum FailureReasonView {
    AccessRevoked,
    RefreshRejected,
    SecurityInvalidation,
    TokenExpired,
}

impl From<FailureReason> for FailureReasonView {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::AccessRevoked => Self::AccessRevoked,
            FailureReason::RefreshRejected => Self::RefreshRejected,
            FailureReason::SecurityInvalidation => Self::SecurityInvalidation,
            FailureReason::TokenExpired => Self::TokenExpired,
        }
    }
}

fn status(status: AuthStatus) -> (AuthStatusView, Option<FailureReasonView>) {
    match status {
        AuthStatus::Active => (AuthStatusView::Active, None),
        AuthStatus::ReconnectRequired(reason) => (AuthStatusView::ReconnectRequired, Some(reason.into())),
    }
}

impl From<Integration> for IntegrationView {
    fn from(integration: Integration) -> Self {
        let (auth_status, auth_failure_reason) = status(integration.status);
        let account = integration.account;
        let app = integration.app.map(|AppSummary { id, name, image_url }| AppSummaryView {
            id: id.to_string(),
            name,
            image_url,
        });
        Self {
            id: integration.id.to_string(),
            platform: integration.platform,
            platform_user_id: Some(account.platform_user_id),
            username: account.username,
            display_name: account.display_name,
            profile_url: account.profile_url.as_deref().and_then(web_url),
            image_url: account.image_url.as_deref().and_then(web_url),
            platform_metadata: account.metadata,
            profile_id: integration.profile_id.map(|id| id.to_string()),
            app_id: app.as_ref().map(|app| app.id.clone()),
            byok: app.is_some(),
            app,
            auth_status,
            auth_failure_reason,
            created_at: integration.created_at,
        }
    }
}

/// One integration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationAnswer)]
pub(crate) struct IntegrationAnswer {
    success: bool,
    integration: IntegrationView,
}

impl From<Integration> for IntegrationAnswer {
    fn from(integration: Integration) -> Self {
        Self { success: true, integration: integration.into() }
    }
}

/// A part of the list of integrations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationList)]
pub(crate) struct IntegrationList {
    success: bool,
    /// How many match, on all pages.
    #[schema(minimum = 0)]
    total: u64,
    integrations: Vec<IntegrationView>,
}

impl From<Listed<Integration>> for IntegrationList {
    fn from(listed: Listed<Integration>) -> Self {
        Self {
            success: true,
            total: listed.total,
            integrations: listed.items.into_iter().map(IntegrationView::from).collect(),
        }
    }
}

/// One integration with what is known of its tokens; never the tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IntegrationDetail)]
pub(crate) struct IntegrationDetailView {
    #[serde(flatten)]
    integration: IntegrationView,
    /// The OAuth scopes that were granted.
    scopes: Vec<String>,
    /// The OAuth scopes that were asked for and not granted. Empty where the platform does not say what it granted.
    missing_scopes: Vec<String>,
    /// Null where the platform reports no expiry.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    access_token_expires_at: Option<Timestamp>,
    /// Null where the platform reports no expiry.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    refresh_token_expires_at: Option<Timestamp>,
    token_status: TokenStatusView,
    health: TokenHealthView,
    /// The keys that read the account's token, the latest first; ten at most.
    token_reads: Vec<TokenReadsView>,
    /// The last change of the account or its `authStatus`; a refresh does not count.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What the recorded times say of an integration's tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenStatus)]
pub(crate) struct TokenStatusView {
    /// Whether the account can authenticate, with the token there is or after a refresh. What a platform has revoked
    /// meanwhile shows when the token is used.
    valid: bool,
    /// Whether a new access token will come without the person. Not where no expiry is known, nor after the end.
    auto_refreshes: bool,
    /// Whether the person has to connect the account again.
    reconnect_required: bool,
    #[schema(required)]
    reason: Option<FailureReasonView>,
}

/// One integration in detail.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationDetailAnswer)]
pub(crate) struct IntegrationDetailAnswer {
    success: bool,
    integration: IntegrationDetailView,
}

impl IntegrationDetailAnswer {
    /// `label` is the platform's name for people, and `console` where the operator manages the app. The integration's
    /// status must be current.
    pub(crate) fn new(detail: IntegrationDetail, label: &str, console: Option<&'static str>) -> Self {
        let (auth_status, reason) = status(detail.integration.status);
        let health = TokenHealthView::new(&detail, label, console);
        Self {
            success: true,
            integration: IntegrationDetailView {
                token_status: TokenStatusView {
                    valid: auth_status == AuthStatusView::Active,
                    auto_refreshes: auth_status == AuthStatusView::Active && detail.due_at.is_some(),
                    reconnect_required: auth_status == AuthStatusView::ReconnectRequired,
                    reason,
                },
                health,
                token_reads: detail.reads.into_iter().map(TokenReadsView::from).collect(),
                missing_scopes: scopes::missing(&detail.requested_scopes, &detail.scopes),
                scopes: detail.scopes,
                access_token_expires_at: detail.access_expires_at,
                refresh_token_expires_at: detail.refresh_expires_at,
                updated_at: detail.integration.updated_at,
                integration: detail.integration.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::account::Account;
    use crate::domain::entropy::SeededEntropy;
    use crate::domain::failure::Failure;
    use crate::domain::id::IdSource;
    use crate::domain::integration::TokenReads;
    use crate::domain::refresh_failure::RefreshFailure;
    use crate::domain::renewal::Renewal;
    use crate::domain::time::ManualClock;

    fn integration(ids: &IdSource) -> Integration {
        Integration {
            id: ids.next(),
            grant_id: ids.next(),
            profile_id: None,
            platform: "twitter".to_owned(),
            account: Account {
                platform_user_id: "42".to_owned(),
                profile_url: Some("https://x.example/ada lovelace".to_owned()),
                image_url: Some("javascript:alert(1)".to_owned()),
                ..Account::default()
            },
            app: None,
            status: AuthStatus::Active,
            lapses_at: None,
            created_at: Timestamp::from_millis(1_777_797_216_445),
            updated_at: Timestamp::from_millis(1_777_797_216_445),
        }
    }

    fn ids() -> IdSource {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_777_797_216_445)));
        IdSource::new(clock, Arc::new(SeededEntropy::new(1)))
    }

    #[test]
    fn nullable_members_are_present_and_urls_are_valid() {
        let view = IntegrationView::from(integration(&ids()));
        insta::assert_snapshot!(serde_json::to_string_pretty(&view).unwrap(), @r#"
        {
          "id": "int_019decf8b8bd7000a5822a6f9e62da21",
          "platform": "twitter",
          "platformUserId": "42",
          "username": null,
          "displayName": null,
          "profileUrl": "https://x.example/ada%20lovelace",
          "imageUrl": null,
          "platformMetadata": {},
          "profileId": null,
          "appId": null,
          "app": null,
          "byok": false,
          "authStatus": "active",
          "authFailureReason": null,
          "createdAt": "2026-05-03T08:33:36.445Z"
        }
        "#);
    }

    #[test]
    fn a_detail_describes_tokens_without_containing_them() {
        let ids = ids();
        let app = AppSummary { id: ids.next(), name: "Ours".to_owned(), image_url: None };
        let detail = IntegrationDetail {
            integration: Integration {
                app: Some(app),
                profile_id: Some(ids.next()),
                status: AuthStatus::ReconnectRequired(FailureReason::AccessRevoked),
                ..integration(&ids)
            },
            scopes: vec!["users.read".to_owned()],
            requested_scopes: ["users.read", "tweet.write", "offline.access"].map(str::to_owned).to_vec(),
            access_expires_at: Some(Timestamp::from_millis(1_777_800_000_000)),
            refresh_expires_at: None,
            issued_at: Timestamp::from_millis(1_777_797_216_445),
            renewal: Renewal::RefreshToken,
            due_at: None,
            trouble: Some(RefreshFailure {
                kind: Failure::RefreshInterrupted,
                status: Some(400),
                platform_code: Some("invalid_request".to_owned()),
                at: Timestamp::from_millis(1_777_797_216_445),
                backup_taken_at: None,
                refused_alone: None,
            }),
            is_in_doubt: false,
            reads: vec![TokenReads {
                access_key_id: ids.next(),
                reads: 3,
                first_at: Timestamp::from_millis(1_777_797_216_445),
                last_at: Timestamp::from_millis(1_777_797_216_445),
            }],
        };
        let answer = IntegrationDetailAnswer::new(detail, "X (Twitter)", Some("https://console.x.com"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&answer).unwrap(), @r#"
        {
          "success": true,
          "integration": {
            "id": "int_019decf8b8bd700294ecfd7b0b623b80",
            "platform": "twitter",
            "platformUserId": "42",
            "username": null,
            "displayName": null,
            "profileUrl": "https://x.example/ada%20lovelace",
            "imageUrl": null,
            "platformMetadata": {},
            "profileId": "prof_019decf8b8bd7001aabf88729cb43995",
            "appId": "app_019decf8b8bd7000a5822a6f9e62da21",
            "app": {
              "id": "app_019decf8b8bd7000a5822a6f9e62da21",
              "name": "Ours",
              "imageUrl": null
            },
            "byok": true,
            "authStatus": "reconnect_required",
            "authFailureReason": "access_revoked",
            "createdAt": "2026-05-03T08:33:36.445Z",
            "scopes": [
              "users.read"
            ],
            "missingScopes": [
              "tweet.write"
            ],
            "accessTokenExpiresAt": "2026-05-03T09:20:00.000Z",
            "refreshTokenExpiresAt": null,
            "tokenStatus": {
              "valid": false,
              "autoRefreshes": false,
              "reconnectRequired": true,
              "reason": "access_revoked"
            },
            "health": {
              "state": "reconnect_required",
              "lastError": {
                "code": "refresh_interrupted",
                "message": "X (Twitter) refuses the refresh token, after an earlier refresh was cut off before its answer arrived: the new token was most likely in that answer.",
                "nextStep": "The account's owner connects it again.",
                "whoCanHelp": "account_owner",
                "consoleUrl": "https://console.x.com",
                "platformStatus": 400,
                "platformCode": "invalid_request",
                "at": "2026-05-03T08:33:36.445Z"
              },
              "issuedAt": "2026-05-03T08:33:36.445Z",
              "nextRefreshAt": null
            },
            "tokenReads": [
              {
                "accessKeyId": "key_019decf8b8bd7004816af38f59d2ddeb",
                "reads": 3,
                "firstAt": "2026-05-03T08:33:36.445Z",
                "lastAt": "2026-05-03T08:33:36.445Z"
              }
            ],
            "updatedAt": "2026-05-03T08:33:36.445Z"
          }
        }
        "#);
    }
}
