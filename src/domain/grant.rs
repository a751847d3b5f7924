//! A grant: one consent at one platform under one OAuth app. It owns the tokens; [`refresh`](super::refresh) has the
//! transitions of its life.
//!
//! Unique by (project, platform, client id, subject): when the same person consents again, the grant is renewed in
//! place and every integration on it goes on.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::failure::Failure;
use super::id::{GrantId, OauthAppId, ProjectId};
use super::past_refreshes::PastRefreshes;
use super::refresh::RefreshState;
use super::refresh_failure::RefreshFailure;
use super::renewal::Renewal;
use super::secret::{Sealed, SecretString};
use super::time::Timestamp;

/// Tokens as a platform issued them. Silent in `Debug`, and not serializable: only `vault` writes them down.
#[derive(Debug, Clone)]
pub struct TokenSet {
    pub access_token: SecretString,
    pub refresh_token: Option<SecretString>,
    pub id_token: Option<SecretString>,
    /// As the platform spells it; `Bearer` where the answer has none.
    pub token_type: String,
    /// The server that accepts the tokens, without a trailing slash, where each account has its own.
    pub service_url: Option<String>,
}

impl TokenSet {
    /// The account's server and the refresh token, where the tokens are those of a session.
    #[must_use]
    pub fn session(&self) -> Option<(url::Url, &SecretString)> {
        let service_url = self.service_url.as_deref()?.parse().ok()?;
        Some((service_url, self.refresh_token.as_ref()?))
    }

    /// True when both have the same access token or the same refresh token.
    #[must_use]
    pub fn shares(&self, other: &Self) -> bool {
        are_same(&self.access_token, &other.access_token) || self.shares_refresh_token(other)
    }

    /// True when both have the same refresh token.
    #[must_use]
    pub fn shares_refresh_token(&self, other: &Self) -> bool {
        self.refresh_token.as_ref().zip(other.refresh_token.as_ref()).is_some_and(|(ours, other)| are_same(ours, other))
    }
}

#[expect(clippy::disallowed_methods, reason = "comparing two secrets reads both")]
fn are_same(one: &SecretString, other: &SecretString) -> bool {
    use secrecy::ExposeSecret as _;
    one.expose_secret() == other.expose_secret()
}

/// A parsed token answer: the tokens and what the platform said of them.
#[derive(Debug, Clone)]
pub struct IssuedTokens {
    pub tokens: TokenSet,
    /// When the platform was asked: lifetimes count from here.
    pub issued_at: Timestamp,
    /// `None` where the platform reports no expiry and none is documented.
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    /// The granted scopes; `None` where the answer has none.
    pub scopes: Option<Vec<String>>,
}

/// Status of a grant, or of an account on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthStatus {
    Active,
    ReconnectRequired(FailureReason),
}

impl AuthStatus {
    /// Status of an account on a grant of this status, `own` being the account's: the grant's comes first.
    #[must_use]
    pub const fn of_account(self, own: Self) -> Self {
        match self {
            Self::Active => own,
            Self::ReconnectRequired(_) => self,
        }
    }

    /// Status at `now`: a lapsed account must be reconnected, whether or not that was recorded.
    #[must_use]
    pub fn at(self, now: Timestamp, lapses_at: Option<Timestamp>) -> Self {
        match self {
            Self::Active if lapses_at.is_some_and(|at| at <= now) => {
                Self::ReconnectRequired(FailureReason::TokenExpired)
            }
            recorded => recorded,
        }
    }
}

/// Why the account's owner must reconnect: the contract's closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum FailureReason {
    AccessRevoked,
    RefreshRejected,
    SecurityInvalidation,
    TokenExpired,
}

/// The failure nearest to the reason, for accounts whose failure was not recorded.
impl From<FailureReason> for Failure {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::AccessRevoked => Self::ConsentRevoked,
            FailureReason::RefreshRejected => Self::RefreshRejected,
            FailureReason::SecurityInvalidation => Self::SecurityInvalidation,
            FailureReason::TokenExpired => Self::ConsentExpired,
        }
    }
}

/// A grant as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    pub project_id: ProjectId,
    pub platform: String,
    /// The caller's own app that the tokens belong to; `None` for the operator's.
    pub app_id: Option<OauthAppId>,
    /// The client id that the tokens are bound to.
    pub client_id: String,
    pub subject: String,
    /// The granted scopes; empty where they are not known.
    pub scopes: Vec<String>,
    /// The scopes that the latest consent was asked for; empty where they were not recorded.
    pub requested_scopes: Vec<String>,
    /// When the account's owner last consented.
    pub consented_at: Timestamp,
    /// When the platform was asked for the present tokens.
    pub issued_at: Timestamp,
    pub access_expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    pub renewal: Renewal,
    /// Sealed under this row and generation; `None` once erased, a while after the grant ended.
    pub tokens: Option<Sealed>,
    /// Rises by one with every change of the tokens, and never repeats.
    pub generation: u64,
    pub status: AuthStatus,
    /// When the grant ended; `None` while it is active.
    pub ended_at: Option<Timestamp>,
    /// Time of the next refresh; `None`: never.
    pub due_at: Option<Timestamp>,
    /// The latest failed refresh since the last new tokens.
    pub trouble: Option<RefreshFailure>,
    /// Consecutive failed refreshes.
    pub failures: u32,
    pub refresh: RefreshState,
    /// Outcomes of the latest refreshes. A new consent keeps them.
    pub past_refreshes: PastRefreshes,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Grant {
    /// Time from which the account's owner must reconnect; `None` where it is unknown.
    #[must_use]
    pub fn lapses_at(&self) -> Option<Timestamp> {
        self.renewal.lapses_at(self.access_expires_at, self.refresh_expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(access_token: &str, refresh_token: Option<&str>, service_url: Option<&str>) -> TokenSet {
        TokenSet {
            access_token: access_token.into(),
            refresh_token: refresh_token.map(SecretString::from),
            id_token: None,
            token_type: "Bearer".to_owned(),
            service_url: service_url.map(str::to_owned),
        }
    }

    #[test]
    fn two_sets_share_a_token_of_the_same_kind() {
        let ours = tokens("a", Some("r"), None);
        for (access, refresh, shared) in [
            ("a", Some("r"), true),
            ("a", Some("other"), true),
            ("a", None, true),
            ("other", Some("r"), true),
            ("other", Some("other"), false),
            ("other", None, false),
            ("r", Some("a"), false),
        ] {
            assert_eq!(ours.shares(&tokens(access, refresh, None)), shared, "{access} {refresh:?}");
            assert_eq!(tokens(access, refresh, None).shares(&ours), shared, "{access} {refresh:?}");
        }
        assert!(!tokens("a", None, None).shares(&tokens("b", None, None)));
    }

    #[test]
    fn a_session_has_a_server_and_a_refresh_token() {
        let pds = Some("https://pds.example");
        let session = tokens("a", Some("r"), pds);
        let (url, refresh_token) = session.session().unwrap();
        assert_eq!(url.as_str(), "https://pds.example/");
        assert!(std::ptr::eq(refresh_token, session.refresh_token.as_ref().unwrap()));
        for none in [tokens("a", Some("r"), None), tokens("a", None, pds), tokens("a", Some("r"), Some("no URL"))] {
            assert!(none.session().is_none(), "{none:?}");
        }
    }

    #[test]
    fn an_account_lapses_at_its_time_and_stays_what_was_recorded() {
        let at = Timestamp::from_millis;
        let lapsed = AuthStatus::ReconnectRequired(FailureReason::TokenExpired);
        let revoked = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        for (recorded, lapses_at, status) in [
            (AuthStatus::Active, None, AuthStatus::Active),
            (AuthStatus::Active, Some(at(1001)), AuthStatus::Active),
            (AuthStatus::Active, Some(at(1000)), lapsed),
            (AuthStatus::Active, Some(at(999)), lapsed),
            (revoked, None, revoked),
            (revoked, Some(at(999)), revoked),
        ] {
            assert_eq!(recorded.at(at(1000), lapses_at), status, "{recorded:?} {lapses_at:?}");
        }
    }
}
