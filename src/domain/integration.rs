//! An integration: one connected account that a caller can use. Its tokens belong to its grant; some accounts have one
//! of their own besides.
//!
//! Unique by (project, profile, platform, platform user id): connecting the same account again keeps the id.

use super::account::Account;
use super::grant::{AuthStatus, FailureReason};
use super::id::{AccessKeyId, GrantId, IntegrationId, OauthAppId, ProfileId};
use super::refresh_failure::RefreshFailure;
use super::renewal::Renewal;
use super::secret::Sealed;
use super::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Integration {
    pub id: IntegrationId,
    pub grant_id: GrantId,
    pub profile_id: Option<ProfileId>,
    pub platform: String,
    pub account: Account,
    /// The caller's own app that it was connected under; `None` for the operator's.
    pub app: Option<AppSummary>,
    /// The grant's where that is not active, else the account's own: a person can lose a Page and keep the others.
    pub status: AuthStatus,
    /// From when on only its person can bring a token that works; `None` where no time is known.
    pub lapses_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Integration {
    /// With the status that it has at `now`: what has lapsed needs its person, whether or not that was recorded.
    #[must_use]
    pub fn judged(mut self, now: Timestamp) -> Self {
        if self.status == AuthStatus::Active && self.lapses_at.is_some_and(|at| at <= now) {
            self.status = AuthStatus::ReconnectRequired(FailureReason::TokenExpired);
        }
        self
    }
}

/// An account's own tokens, beside its grant's: a Facebook Page's. Sealed under the integration and this generation.
#[derive(Debug, Clone)]
pub struct OwnTokens {
    /// Rises by one with every change, and never repeats, also while there are none.
    pub generation: u64,
    pub tokens: Option<Sealed>,
}

/// What an integration tells of its app.
#[derive(Debug, Clone)]
pub struct AppSummary {
    pub id: OauthAppId,
    pub name: String,
    pub image_url: Option<String>,
}

/// An integration with what its grant says of tokens, never the tokens.
#[derive(Debug, Clone)]
pub struct IntegrationDetail {
    pub integration: Integration,
    pub scopes: Vec<String>,
    /// Of the token that a caller gets: `None` for an account that has one of its own, which does not expire.
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    pub renewal: Renewal,
    /// When the tokens were asked for.
    pub issued_at: Timestamp,
    /// When they are refreshed next.
    pub due_at: Option<Timestamp>,
    /// The latest failure to refresh them.
    pub trouble: Option<RefreshFailure>,
    /// Whether a refresh began of which nobody knows how it ended.
    pub is_in_doubt: bool,
    /// Which keys read the token, the latest first; some of many.
    pub reads: Vec<TokenReads>,
}

/// How often a key read an account's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenReads {
    pub access_key_id: AccessKeyId,
    pub reads: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// Which integrations a list shows. Absent members do not narrow it.
#[derive(Debug, Clone, Default)]
pub struct IntegrationFilter {
    pub platforms: PlatformFilter,
    /// `Some(None)`: those without a profile.
    pub profile_id: Option<Option<ProfileId>>,
    /// Case-insensitive, in display name, username and platform user id; a whole integration id matches too.
    pub search: Option<String>,
    pub oldest_first: bool,
}

/// Which platforms a list shows: callers' models know ten names, so others come only when asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PlatformFilter {
    All,
    /// Those whose names are the contract's.
    #[default]
    Contract,
    One(String),
}
