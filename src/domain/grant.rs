//! A grant: one consent at one platform under one OAuth app. It owns the tokens.
//!
//! Recognised by (project, platform, client id, subject): when the same person consents again, the grant is renewed in
//! place and every integration on it lives on.

use super::id::{GrantId, OauthAppId, ProjectId};
use super::renewal::Renewal;
use super::secret::{Sealed, SecretString};
use super::time::Timestamp;
use super::trouble::Trouble;

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

impl TokenSet {
    /// Of a session: the account's server, and the token that the session lives in.
    #[must_use]
    pub fn session(&self) -> Option<(url::Url, &SecretString)> {
        let service_url = self.service_url.as_deref()?.parse().ok()?;
        Some((service_url, self.refresh_token.as_ref()?))
    }

    /// Whether one of the tokens is in both.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "whether two secrets are one takes a look at both")]
    pub fn shares(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        let same = |ours: &SecretString, theirs: &SecretString| ours.expose_secret() == theirs.expose_secret();
        same(&self.access_token, &other.access_token)
            || self.refresh_token.as_ref().zip(other.refresh_token.as_ref()).is_some_and(|(a, b)| same(a, b))
    }
}

/// A token answer, read: the tokens and what the platform said of them.
#[derive(Debug, Clone)]
pub struct IssuedTokens {
    pub tokens: TokenSet,
    /// When they were asked for: what their lives are counted from.
    pub issued_at: Timestamp,
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
    /// When the person last consented.
    pub consented_at: Timestamp,
    /// When the tokens were asked for.
    pub issued_at: Timestamp,
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    pub renewal: Renewal,
    /// Sealed under this row and generation; `None` once they were erased, a while after the grant ended.
    pub tokens: Option<Sealed>,
    /// Rises by one with every change of the tokens, and never repeats.
    pub generation: u64,
    pub status: AuthStatus,
    /// When it is to be refreshed; `None`: never.
    pub due_at: Option<Timestamp>,
    /// The latest failure to refresh it, until a refresh succeeds.
    pub trouble: Option<Trouble>,
    /// How many failures there were in a row.
    pub failures: u32,
    pub attempt: Option<Attempt>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Grant {
    /// From when on only the person can bring a token that works.
    #[must_use]
    pub fn lapses_at(&self) -> Option<Timestamp> {
        self.renewal.lapses_at(self.access_expires_at, self.refresh_expires_at)
    }
}

/// A refresh that is under way, or of which nobody knows how it ended: written down before the platform is asked.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub at: Timestamp,
    /// Whether there was one of which nobody knows how it ended: this, or an earlier one.
    pub in_doubt: bool,
    /// What the platform answered, sealed as it came under the generation that it replaces.
    pub answer: Option<Sealed>,
}
