//! A flow: one connection being made, from the authorize URL to the callback, and how it ended.
//!
//! Pending, then consumed (once, before anything is asked of the platform), then finished with an [`Outcome`] that a
//! reload of the callback is answered with until the flow expires. A flow that waits for a choice of accounts lives as
//! long as its [selection](super::selection).

use serde::{Deserialize, Serialize};

use super::id::{AccessKeyId, FlowId, OauthAppId, ProfileId, ProjectId};
use super::secret::{Digest256, Sealed};
use super::selection::Findings;
use super::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Flow {
    pub id: FlowId,
    pub project_id: ProjectId,
    /// The key that started it; `None` when the demo page did.
    pub access_key_id: Option<AccessKeyId>,
    /// What the platform hands back as `state`, hashed.
    pub state: Digest256,
    pub platform: String,
    pub app_id: Option<OauthAppId>,
    pub client_id: String,
    pub profile_id: Option<ProfileId>,
    /// Exactly as the caller gave it.
    pub redirect_uri: Option<String>,
    pub cancel_redirect_uri: Option<String>,
    pub headless: bool,
    /// The PKCE verifier; `None` where the platform takes none.
    pub pkce_verifier: Option<Sealed>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Set once, when a callback takes the flow: what that callback carried, hashed, so that a reload is told apart
    /// from somebody trying another code.
    pub consumed_by: Option<Digest256>,
    pub outcome: Option<Outcome>,
}

/// How a flow ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Cancelled,
    Connected {
        integration_ids: Vec<String>,
    },
    Failed {
        failure: Failure,
        /// How accounts were looked for, where none was found that can be connected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        findings: Option<Findings>,
    },
    /// The consent covers several accounts, and the person has yet to choose: becomes `Connected` or `Cancelled`.
    SelectionRequired,
}

impl Outcome {
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self::Failed { failure, findings: None }
    }
}

/// Why a connection was not made, for `error=` on the redirect and for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The platform has not approved the OAuth app for the API that it takes.
    AccessNotApproved,
    /// The platform sent the browser back with an error that is not the person's choice.
    AuthorizationRefused,
    /// The platform does not accept the OAuth app's credentials.
    CredentialsRejected,
    /// The platform did not accept the authorization code.
    ExchangeRejected,
    /// The tokens came, but not who they belong to.
    IdentityUnavailable,
    /// The broker stopped while the connection was being made.
    Interrupted,
    /// The person has no account that can be connected (no channel, no professional account).
    NoAccount,
    /// The person gave fewer permissions than the platform needs to say who they are.
    PermissionMissing,
    /// The platform answered something that is no token answer.
    PlatformAnswerUnreadable,
    /// The platform asks to slow down.
    PlatformThrottled,
    /// The platform could not be reached, or failed.
    PlatformUnavailable,
    /// The broker could not store the connection.
    StorageFailed,
}

impl Failure {
    pub const ALL: [Self; 12] = [
        Self::AccessNotApproved,
        Self::AuthorizationRefused,
        Self::CredentialsRejected,
        Self::ExchangeRejected,
        Self::IdentityUnavailable,
        Self::Interrupted,
        Self::NoAccount,
        Self::PermissionMissing,
        Self::PlatformAnswerUnreadable,
        Self::PlatformThrottled,
        Self::PlatformUnavailable,
        Self::StorageFailed,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AccessNotApproved => "access_not_approved",
            Self::AuthorizationRefused => "authorization_refused",
            Self::CredentialsRejected => "credentials_rejected",
            Self::ExchangeRejected => "exchange_rejected",
            Self::IdentityUnavailable => "identity_unavailable",
            Self::Interrupted => "interrupted",
            Self::NoAccount => "no_account",
            Self::PermissionMissing => "permission_missing",
            Self::PlatformAnswerUnreadable => "platform_answer_unreadable",
            Self::PlatformThrottled => "platform_throttled",
            Self::PlatformUnavailable => "platform_unavailable",
            Self::StorageFailed => "storage_failed",
        }
    }

    /// What happened, for the person in front of the browser. `label` is the platform's name for people.
    #[must_use]
    pub fn what_happened(self, label: &str) -> String {
        match self {
            Self::AccessNotApproved => format!("{label} has not approved this service for access to its API."),
            Self::AuthorizationRefused => format!("{label} refused to start the connection."),
            Self::CredentialsRejected => format!("{label} did not accept this service's own credentials."),
            Self::ExchangeRejected => {
                format!("{label} did not accept the authorization: it expired or was already used.")
            }
            Self::IdentityUnavailable => {
                format!("{label} did not tell which account you connected, so nothing was kept.")
            }
            Self::Interrupted => "The service stopped while your account was being connected.".to_owned(),
            Self::NoAccount => format!("{label} has no account for you that can be connected."),
            Self::PermissionMissing => format!("{label} was not allowed to tell which account you connected."),
            Self::PlatformAnswerUnreadable => format!("{label} answered in a way that could not be understood."),
            Self::PlatformThrottled => format!("{label} is receiving too many requests right now."),
            Self::PlatformUnavailable => format!("{label} could not be reached or is having trouble."),
            Self::StorageFailed => "Your account could not be saved.".to_owned(),
        }
    }

    /// What to do next, for the person in front of the browser.
    #[must_use]
    pub const fn what_to_do(self) -> &'static str {
        match self {
            Self::AccessNotApproved | Self::AuthorizationRefused | Self::CredentialsRejected => {
                "Trying again will not help. Tell the people who run this service; their log says more."
            }
            Self::ExchangeRejected | Self::Interrupted => "Go back and start again.",
            Self::IdentityUnavailable | Self::PlatformAnswerUnreadable | Self::PlatformUnavailable => {
                "Wait a few minutes, then go back and start again."
            }
            Self::NoAccount => {
                "Make sure that you are signed in with the right account there (a YouTube account needs a channel, an \
                 Instagram account must be a professional one), then start again."
            }
            Self::PermissionMissing => "Start again and leave all permissions ticked.",
            Self::PlatformThrottled => "Wait ten minutes, then go back and start again.",
            Self::StorageFailed => "Tell the people who run this service, then start again.",
        }
    }
}
