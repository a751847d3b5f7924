//! A grant: one consent at one platform under one OAuth app. It owns the tokens.
//!
//! Recognised by (project, platform, client id, subject): when the same person consents again, the grant is renewed in
//! place and every integration on it lives on.

use super::id::{GrantId, OauthAppId, ProjectId};
use super::secret::{Sealed, SecretString};
use super::time::Timestamp;

/// What a platform issued. Silent in `Debug`, and not serializable: `vault` alone writes it down.
#[derive(Debug, Clone)]
pub struct TokenSet {
    pub access_token: SecretString,
    pub refresh_token: Option<SecretString>,
    pub id_token: Option<SecretString>,
    /// As the platform spells it; `Bearer` where it says nothing.
    pub token_type: String,
    /// The server that the tokens are for, without a trailing slash, where each account has its own.
    pub service_url: Option<String>,
}

/// A token answer, read: the tokens and what the platform said of them.
#[derive(Debug, Clone)]
pub struct IssuedTokens {
    pub tokens: TokenSet,
    /// `None` where the platform reports no expiry and none is documented.
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    /// The scopes granted; `None` where the answer says nothing of them.
    pub scopes: Option<Vec<String>>,
}

/// Whether a grant can authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthStatus {
    Active,
    ReconnectRequired(FailureReason),
}

/// Why a grant needs its person again: the contract's closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    AccessRevoked,
    RefreshRejected,
    SecurityInvalidation,
    TokenExpired,
}

impl FailureReason {
    pub const ALL: [Self; 4] =
        [Self::AccessRevoked, Self::RefreshRejected, Self::SecurityInvalidation, Self::TokenExpired];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessRevoked => "access_revoked",
            Self::RefreshRejected => "refresh_rejected",
            Self::SecurityInvalidation => "security_invalidation",
            Self::TokenExpired => "token_expired",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A grant as stored.
#[derive(Debug, Clone)]
pub struct Grant {
    pub id: GrantId,
    pub project_id: ProjectId,
    pub platform: String,
    /// The caller's own app that the tokens belong to; `None` for the operator's.
    pub app_id: Option<OauthAppId>,
    /// The client id that the tokens are bound to.
    pub client_id: String,
    pub subject: String,
    pub scopes: Vec<String>,
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    /// Whether the broker can get a new access token without the person: there is a refresh token, or the access token
    /// renews itself.
    pub auto_refreshes: bool,
    /// Sealed under this row and generation.
    pub tokens: Sealed,
    /// Rises by one with every change of the tokens, and never repeats.
    pub generation: u64,
    pub status: AuthStatus,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
