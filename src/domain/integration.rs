//! An integration: one connected account that a caller can use. Its tokens belong to its grant; some accounts have
//! tokens of their own as well.
//!
//! Unique by (project, profile, platform, platform user id): reconnecting the same account keeps the id.

use serde_json::Value;

use super::account::Account;
use super::grant::AuthStatus;
use super::id::{AccessKeyId, GrantId, IntegrationId, OauthAppId, ProfileId};
use super::refresh_failure::RefreshFailure;
use super::renewal::Renewal;
use super::secret::Sealed;
use super::time::Timestamp;
use super::weigh::{Weigh, weight_of};

#[derive(Debug, Clone)]
pub struct Integration {
    pub id: IntegrationId,
    pub grant_id: GrantId,
    pub profile_id: Option<ProfileId>,
    pub platform: String,
    pub account: Account,
    /// The caller's own app that it was connected under; `None` for the operator's.
    pub app: Option<AppSummary>,
    /// The grant's status while that is not active, else the account's own: an owner can lose one Page and keep the
    /// others.
    pub status: AuthStatus,
    /// Time from which the account's owner must reconnect; `None` where it is unknown.
    pub lapses_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// The last change of the account or of its status.
    pub updated_at: Timestamp,
}

impl Integration {
    /// With its status at `now`.
    #[must_use]
    pub fn judged(mut self, now: Timestamp) -> Self {
        let status = self.status.at(now, self.lapses_at);
        if status != self.status {
            self.updated_at = self.updated_at.max(self.lapses_at.unwrap_or(self.updated_at));
        }
        self.status = status;
        self
    }
}

/// An account's own tokens, beside its grant's: a Facebook Page's. Sealed under the integration and this generation.
#[derive(Debug, Clone)]
pub struct OwnTokens {
    /// Rises by one with every change and never repeats, even while there are no tokens.
    pub generation: u64,
    pub tokens: Option<Sealed>,
}

/// The tokens that an integration uses, with what decides whether they are handed out, refreshed first, or not to be
/// had.
#[derive(Debug)]
pub struct AccountTokens {
    pub id: IntegrationId,
    pub profile_id: Option<ProfileId>,
    pub grant_id: GrantId,
    pub platform: String,
    /// The client id that the grant's tokens are bound to.
    pub client_id: String,
    pub platform_user_id: String,
    /// As in [`Integration`].
    pub status: AuthStatus,
    /// As in [`Integration`].
    pub lapses_at: Option<Timestamp>,
    /// The granted scopes; empty where they are not known.
    pub scopes: Vec<String>,
    /// When the platform was asked for the grant's tokens.
    pub issued_at: Timestamp,
    /// True when a refresh brought them, and not the consent.
    pub is_refreshed: bool,
    /// Expiry of the grant's access token.
    pub access_expires_at: Option<Timestamp>,
    pub renewal: Renewal,
    /// The latest failed refresh.
    pub trouble: Option<RefreshFailure>,
    /// Sealed under the grant and its generation; `None` once erased.
    pub grant_tokens: Option<Sealed>,
    pub grant_generation: u64,
    /// Handed out in place of the grant's, where there are any.
    pub own: OwnTokens,
}

impl AccountTokens {
    /// The status at that time.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> AuthStatus {
        self.status.at(now, self.lapses_at)
    }
}

impl Weigh for AccountTokens {
    fn weight(&self) -> usize {
        let texts = [&self.platform, &self.client_id, &self.platform_user_id];
        let sealed = [&self.grant_tokens, &self.own.tokens].into_iter().flatten();
        weight_of(texts.into_iter().chain(&self.scopes)) + sealed.map(|sealed| sealed.as_bytes().len()).sum::<usize>()
    }
}

/// The app of an integration.
#[derive(Debug, Clone)]
pub struct AppSummary {
    pub id: OauthAppId,
    pub name: String,
    pub image_url: Option<String>,
}

/// The state that an account's tokens are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenState {
    Ok,
    /// Its owner connects it again.
    ReconnectRequired,
    /// Refreshes fail for now, and are tried again.
    RefreshFailing,
    /// Nobody knows whether the platform still accepts the token: it is tried.
    RefreshInDoubt,
}

impl IntegrationDetail {
    #[must_use]
    pub fn token_state(&self) -> TokenState {
        match self.integration.status {
            AuthStatus::ReconnectRequired(_) => TokenState::ReconnectRequired,
            AuthStatus::Active if self.is_in_doubt => TokenState::RefreshInDoubt,
            AuthStatus::Active if self.trouble.is_some() => TokenState::RefreshFailing,
            AuthStatus::Active => TokenState::Ok,
        }
    }
}

/// An integration with what its grant says of the tokens, but not the tokens.
#[derive(Debug, Clone)]
pub struct IntegrationDetail {
    pub integration: Integration,
    pub scopes: Vec<String>,
    pub requested_scopes: Vec<String>,
    /// Expiry of the token that a caller gets: `None` for an account with its own, which does not expire.
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    /// When the platform was asked for the tokens.
    pub issued_at: Timestamp,
    pub renewal: Renewal,
    /// Time of the next refresh.
    pub due_at: Option<Timestamp>,
    /// The latest failed refresh.
    pub trouble: Option<RefreshFailure>,
    /// True when the outcome of a refresh is unknown.
    pub is_in_doubt: bool,
    /// The keys that read the token last, the latest first.
    pub reads: Vec<TokenReads>,
}

impl Weigh for IntegrationDetail {
    fn weight(&self) -> usize {
        let Integration { platform, account, app, .. } = &self.integration;
        let Account { platform_user_id, username, display_name, profile_url, image_url, metadata } = account;
        let optional = [username, display_name, profile_url, image_url].into_iter().flatten();
        let of_app = app.iter().flat_map(|app| [&app.name].into_iter().chain(&app.image_url));
        let texts = [platform, platform_user_id].into_iter().chain(optional).chain(of_app);
        // A map has room for eleven facts. Each takes about twice its text.
        let slot = size_of::<(String, Value)>();
        let facts = metadata.iter().map(|(name, value)| slot + 2 * (name.len() + value.to_string().len()));
        let facts = if metadata.is_empty() { 0 } else { 11 * slot + facts.sum::<usize>() };
        weight_of(texts.chain(&self.scopes).chain(&self.requested_scopes))
            + self.reads.len() * size_of::<TokenReads>()
            + facts
    }
}

/// How often a key read an account's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenReads {
    pub access_key_id: AccessKeyId,
    pub reads: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// Filter of a list of integrations. Absent members do not narrow it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct IntegrationFilter {
    pub platforms: PlatformFilter,
    pub profile_id: ProfileFilter,
    /// Case-insensitive, in display name, username and platform user id; a whole integration id matches too.
    pub search: Option<String>,
    pub oldest_first: bool,
    /// In a search, only accounts that fail at this time.
    pub failing_at: Option<Timestamp>,
}

/// The profile of a list's accounts. `Some(None)`: those without a profile; `None`: all.
pub type ProfileFilter = Option<Option<ProfileId>>;

/// Platforms of a list. Callers' models know ten names, so others are listed only on request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum PlatformFilter {
    All,
    /// The platforms of the contract.
    #[default]
    Contract,
    One(String),
}

impl PlatformFilter {
    /// `contract`: the platforms of [`PlatformFilter::Contract`].
    pub fn wants(&self, platform: &str, contract: &[&str]) -> bool {
        match self {
            Self::All => true,
            Self::Contract => contract.contains(&platform),
            Self::One(name) => name == platform,
        }
    }
}
