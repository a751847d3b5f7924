//! An integration: one connected account that a caller can use. Its tokens belong to its grant; some accounts have one
//! of their own besides.
//!
//! Unique by (project, profile, platform, platform user id): connecting the same account again keeps the id.

use super::account::Account;
use super::grant::AuthStatus;
use super::id::{GrantId, IntegrationId, OauthAppId, ProfileId};
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
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
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
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    /// Whether the broker can get a new access token without the person.
    pub auto_refreshes: bool,
}

impl IntegrationDetail {
    /// Whether the recorded times say that the account can authenticate at `now`, with the tokens or after a refresh.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        let alive = |expiry: Option<Timestamp>| expiry.is_none_or(|at| now < at);
        self.integration.status == AuthStatus::Active
            && (alive(self.access_expires_at) || (self.auto_refreshes && alive(self.refresh_expires_at)))
    }
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
