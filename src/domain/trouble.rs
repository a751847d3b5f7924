//! What stands in the way of keeping a grant alive: a stable code, what happened in our words, and what to do next.
//!
//! Invariant: only what a platform said of the grant itself, in a way that is recognised, ends it. Whatever else goes
//! wrong leaves it active, to be tried again: a passing failure must never cost anybody an account.

use serde::{Deserialize, Serialize};

use super::grant::FailureReason;
use super::time::Timestamp;

/// The latest failure of a grant to be refreshed. Holds nothing of an answer but a harmless code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// The HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    /// The platform's own code for it.
    pub platform_code: Option<String>,
    /// In milliseconds since the Unix epoch where it is stored.
    #[serde(with = "millis")]
    pub at: Timestamp,
}

/// Why a grant was not refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// The account is deactivated, suspended or taken down at its platform.
    AccountInactive,
    /// Success, and yet not what the documentation promises.
    AnswerUnreadable,
    /// The OAuth app, or the platform, is not configured here any more.
    AppMissing,
    /// The platform does not accept the OAuth app's credentials: no fault of the grant.
    AppRejected,
    /// A no that may be the app's or the grant's: Pinterest says both with one code.
    AppOrGrantRejected,
    /// The time that the platform gave is over, and nothing can prolong it.
    ConsentExpired,
    /// The person took the consent back.
    ConsentRevoked,
    /// The platform ended it for the account's security: a changed password, a checkpoint.
    Invalidated,
    /// A permission that it rested on was withdrawn.
    PermissionWithdrawn,
    /// The platform refuses the refresh token, and an answer to an earlier refresh was never received: most likely that
    /// answer carried the token that would be accepted.
    RefreshInterrupted,
    /// The platform refuses the refresh token, without saying why.
    RefreshRejected,
    /// A definite no that is not known to be about the grant.
    RequestRefused,
    /// Google's seven days for an OAuth app whose consent screen is in testing.
    TestingConsentExpired,
    /// The platform asks to slow down.
    Throttled,
    /// The stored tokens do not open: they were changed, or are of another database.
    TokensUnreadable,
    /// No answer, or a failure of the platform's own.
    Unavailable,
}

impl TroubleKind {
    pub const ALL: [Self; 16] = [
        Self::AccountInactive,
        Self::AnswerUnreadable,
        Self::AppMissing,
        Self::AppRejected,
        Self::AppOrGrantRejected,
        Self::ConsentExpired,
        Self::ConsentRevoked,
        Self::Invalidated,
        Self::PermissionWithdrawn,
        Self::RefreshInterrupted,
        Self::RefreshRejected,
        Self::RequestRefused,
        Self::TestingConsentExpired,
        Self::Throttled,
        Self::TokensUnreadable,
        Self::Unavailable,
    ];

    /// The nearest of the contract's reasons, where the grant needs its person again; `None` where it lives on.
    #[must_use]
    pub const fn ends_grant(self) -> Option<FailureReason> {
        match self {
            Self::AccountInactive | Self::ConsentRevoked | Self::PermissionWithdrawn => {
                Some(FailureReason::AccessRevoked)
            }
            Self::ConsentExpired | Self::TestingConsentExpired => Some(FailureReason::TokenExpired),
            Self::Invalidated => Some(FailureReason::SecurityInvalidation),
            Self::RefreshInterrupted | Self::RefreshRejected => Some(FailureReason::RefreshRejected),
            Self::AnswerUnreadable
            | Self::AppMissing
            | Self::AppRejected
            | Self::AppOrGrantRejected
            | Self::RequestRefused
            | Self::Throttled
            | Self::TokensUnreadable
            | Self::Unavailable => None,
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AccountInactive => "account_inactive",
            Self::AnswerUnreadable => "answer_unreadable",
            Self::AppMissing => "app_missing",
            Self::AppRejected => "app_credentials_rejected",
            Self::AppOrGrantRejected => "app_or_grant_rejected",
            Self::ConsentExpired => "consent_expired",
            Self::ConsentRevoked => "consent_revoked",
            Self::Invalidated => "security_invalidation",
            Self::PermissionWithdrawn => "permission_withdrawn",
            Self::RefreshInterrupted => "refresh_interrupted",
            Self::RefreshRejected => "refresh_rejected",
            Self::RequestRefused => "request_refused",
            Self::TestingConsentExpired => "testing_consent_expired",
            Self::Throttled => "platform_throttled",
            Self::TokensUnreadable => "tokens_unreadable",
            Self::Unavailable => "platform_unavailable",
        }
    }

    /// What happened, for a person. `label` is the platform's name for people.
    #[must_use]
    pub fn what_happened(self, label: &str) -> String {
        match self {
            Self::AccountInactive => format!("The account is deactivated, suspended or taken down at {label}."),
            Self::AnswerUnreadable => format!("{label} answered a refresh in a way that could not be understood."),
            Self::AppMissing => {
                "The OAuth app that this account was connected under is not configured here any more.".to_owned()
            }
            Self::AppRejected => format!("{label} does not accept the OAuth app's credentials."),
            Self::AppOrGrantRejected => {
                format!(
                    "{label} refused a refresh, and does not say whether the OAuth app's credentials or the account's token are at fault."
                )
            }
            Self::ConsentExpired => format!("The time for which {label} lets an account stay connected is over."),
            Self::ConsentRevoked => format!("The account's owner removed the app's access at {label}."),
            Self::Invalidated => {
                format!("{label} ended the connection for the account's security, as after a change of password.")
            }
            Self::PermissionWithdrawn => format!("A permission that the connection needs was withdrawn at {label}."),
            Self::RefreshInterrupted => format!(
                "{label} refuses the refresh token, after an earlier refresh was cut off before its answer arrived: \
                 the new token was most likely in that answer."
            ),
            Self::RefreshRejected => format!("{label} refuses the refresh token: it has expired or was revoked."),
            Self::RequestRefused => format!("{label} refused a refresh without blaming the account."),
            Self::TestingConsentExpired => {
                format!(
                    "{label} ended the connection after seven days, as it does while the app's consent screen is in testing."
                )
            }
            Self::Throttled => format!("{label} is receiving too many requests right now."),
            Self::TokensUnreadable => "The stored tokens of this account do not open.".to_owned(),
            Self::Unavailable => format!("{label} could not be reached or is having trouble."),
        }
    }

    /// What a person does next. `platform` is its name in the configuration.
    #[must_use]
    pub fn next_step(self, platform: &str) -> String {
        match self {
            Self::AccountInactive => "Its owner settles that there, then connects the account again.".to_owned(),
            Self::AnswerUnreadable => format!(
                "Nothing at once: it is tried again, and what came is kept. If it goes on, check token_url and api_url of [platforms.{platform}]."
            ),
            Self::AppMissing => format!(
                "Put the client id that it was connected under back into [platforms.{platform}], or connect the account again."
            ),
            Self::AppRejected => format!(
                "Compare client_id and client_secret of [platforms.{platform}] (or of your own app) with the app at the platform; refreshes resume when the secret is changed."
            ),
            Self::AppOrGrantRejected => format!(
                "If all accounts of the app are affected, compare client_id and client_secret of [platforms.{platform}] with the app at the platform; if it is this one, its owner connects it again."
            ),
            Self::ConsentExpired
            | Self::ConsentRevoked
            | Self::Invalidated
            | Self::RefreshInterrupted
            | Self::RefreshRejected => "The account's owner connects it again.".to_owned(),
            Self::PermissionWithdrawn => {
                "The account's owner connects it again and leaves all permissions ticked.".to_owned()
            }
            Self::RequestRefused => format!(
                "It is tried again, more and more rarely. The log has the platform's code; check the settings of [platforms.{platform}] and the app there."
            ),
            Self::TestingConsentExpired => {
                "Publish the OAuth consent screen in the Google Cloud console, then connect the account again."
                    .to_owned()
            }
            Self::TokensUnreadable => {
                "Restore the database and its keyring from one backup, or connect the account again.".to_owned()
            }
            Self::Throttled | Self::Unavailable => "Nothing to do: it is tried again by itself.".to_owned(),
        }
    }
}

/// For accounts that need their person for a reason that no trouble tells: what comes nearest.
impl From<FailureReason> for TroubleKind {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::AccessRevoked => Self::ConsentRevoked,
            FailureReason::RefreshRejected => Self::RefreshRejected,
            FailureReason::SecurityInvalidation => Self::Invalidated,
            FailureReason::TokenExpired => Self::ConsentExpired,
        }
    }
}

mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stored_and_read_by_its_name() {
        for kind in TroubleKind::ALL {
            let trouble = Trouble {
                kind,
                status: Some(400),
                platform_code: Some("invalid_grant".to_owned()),
                at: Timestamp::from_millis(1_777_797_216_445),
            };
            let text = serde_json::to_string(&trouble).unwrap();
            assert!(text.contains("1777797216445"), "{text}");
            assert_eq!(serde_json::from_str::<Trouble>(&text).unwrap(), trouble);
        }
    }

    #[test]
    fn sentences_are_whole_and_codes_are_words() {
        let mut codes = std::collections::BTreeSet::new();
        for kind in TroubleKind::ALL {
            assert!(codes.insert(kind.code()), "{} twice", kind.code());
            assert!(kind.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", kind.code());
            for sentence in [kind.what_happened("X"), kind.next_step("twitter")] {
                assert!(sentence.ends_with('.'), "{sentence}");
            }
        }
    }
}
