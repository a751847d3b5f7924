//! Everything that can go wrong with an account at a platform, each with one name and one sentence.
//!
//! The name is the same in code, database, log, metric, redirect (`error=`) and `health`. Names that a caller may see
//! never change. Invariant: only what a platform is known to say of the grant itself ends a grant
//! ([`Failure::ends_grant`]). All other failures leave it active, to be retried: a passing failure must never cost
//! anyone an account.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::grant::FailureReason;
pub use super::help::Help;
use super::own_settings;
use super::time::Timestamp;

/// Why an account could not be connected, or its tokens not be refreshed or revoked.
///
/// Released databases hold the names given as `alias`; they are read and never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Failure {
    /// The platform has not approved the OAuth app for its API.
    AccessNotApproved,
    /// The account is deactivated, suspended or taken down at its platform. Never for a suspended app: it ends the
    /// grant.
    AccountInactive,
    /// Another account came back than the one that was to be connected again.
    AccountMismatch,
    /// The platform asks for fewer requests for this account. Others under the same app are not affected.
    AccountThrottled,
    /// The platform's API is not enabled for the OAuth app.
    ApiNotEnabled,
    /// The platform has retired the version of its API that `api_version` names.
    ApiVersionRetired,
    /// The OAuth app, or the platform, is no longer configured here.
    AppMissing,
    /// The app is open only to people whom its operator admitted: testers, or members of an organization.
    AppNotPublic,
    /// A refusal that may blame the app or the grant: it names neither.
    AppOrGrantRejected,
    /// The platform refused the request for the connection: it sent the browser back with an error that was not the
    /// owner's choice, or does not take the code exchange in this form.
    AuthorizationRefused,
    /// The plan that the operator pays the platform for is used up.
    BillingLimitReached,
    /// The administrator of the account's organization does not admit the app.
    BlockedByAdministrator,
    /// The platform does not know the broker's callback URL.
    CallbackUrlRejected,
    /// The time that the platform gave has passed, and nothing can extend it.
    ConsentExpired,
    /// The account's owner revoked the consent.
    ConsentRevoked,
    /// The platform rejects the OAuth app's credentials. The grant is not to blame.
    #[serde(alias = "app_rejected")]
    CredentialsRejected,
    /// The platform rejected the authorization code.
    ExchangeRejected,
    /// The person did not finish the connection in time.
    FlowExpired,
    /// The id_token does not prove who connected.
    IdTokenRejected,
    /// The tokens came, but not whom they belong to.
    IdentityUnavailable,
    /// The broker stopped while it made the connection.
    Interrupted,
    /// The keyring was lost, so the operator had the stored tokens erased.
    KeyringLost,
    /// The platform lists more accounts than the broker reads.
    ListingTooLong,
    /// There is no account to connect (no channel, no professional account).
    NoAccount,
    /// The access token has expired, and the platform gave no refresh token although the app could ask for one.
    NoRefreshToken,
    /// The owner granted fewer permissions than it takes to read who they are.
    PermissionMissing,
    /// A permission that the grant rested on was withdrawn.
    PermissionWithdrawn,
    /// The answer is not what the platform's documentation promises.
    #[serde(alias = "answer_unreadable")]
    PlatformAnswerUnreadable,
    /// The platform asks for fewer requests.
    #[serde(alias = "throttled")]
    PlatformThrottled,
    /// No answer, or a failure at the platform.
    #[serde(alias = "unavailable")]
    PlatformUnavailable,
    /// The platform rejects the refresh token, and the answer to an earlier refresh is stored and could not be read: most
    /// likely it holds the token that the platform would accept.
    RefreshAnswerUnread,
    /// The platform rejects the refresh token, and the answer to an earlier refresh was never received: most likely
    /// that answer carried the token that it would accept.
    RefreshInterrupted,
    /// The platform rejects the refresh token and does not say why.
    RefreshRejected,
    /// A definite refusal that is not known to be about the grant.
    RequestRefused,
    /// The platform rejects a refresh token that came from a backup: most likely it was used after the backup, and the
    /// token that replaced it is not in there.
    RestoredFromBackup,
    /// The platform ended the grant for the account's security: a changed password, a checkpoint.
    #[serde(alias = "invalidated")]
    SecurityInvalidation,
    /// The broker could not store the connection.
    StorageFailed,
    /// Google ends consents after seven days while the app's consent screen is in testing.
    TestingConsentExpired,
    /// The stored tokens do not open: they were changed, or belong to another database.
    TokensUnreadable,
}

/// The texts that people read. `{label}` stands for the platform's name for people, `{platform}` for its name in the
/// configuration, `{console}` for the page where the operator manages the app.
struct Texts {
    what_happened: &'static str,
    next_step: &'static str,
}

impl Failure {
    /// The failures that a connection can end with: the values of `error=` on the redirect, beside `access_denied`.
    pub const OF_CONNECTION: [Self; 25] = [
        Self::AccessNotApproved,
        Self::AccountInactive,
        Self::AccountMismatch,
        Self::AccountThrottled,
        Self::ApiNotEnabled,
        Self::ApiVersionRetired,
        Self::AppMissing,
        Self::AppNotPublic,
        Self::AppOrGrantRejected,
        Self::AuthorizationRefused,
        Self::BillingLimitReached,
        Self::BlockedByAdministrator,
        Self::CallbackUrlRejected,
        Self::CredentialsRejected,
        Self::ExchangeRejected,
        Self::FlowExpired,
        Self::IdTokenRejected,
        Self::IdentityUnavailable,
        Self::Interrupted,
        Self::NoAccount,
        Self::PermissionMissing,
        Self::PlatformAnswerUnreadable,
        Self::PlatformThrottled,
        Self::PlatformUnavailable,
        Self::StorageFailed,
    ];

    /// The contract's reason why the owner has to reconnect the account; `None` where the grant stays active.
    #[must_use]
    pub const fn ends_grant(self) -> Option<FailureReason> {
        match self {
            Self::AccountInactive | Self::ConsentRevoked | Self::PermissionWithdrawn => {
                Some(FailureReason::AccessRevoked)
            }
            Self::ConsentExpired | Self::KeyringLost | Self::NoRefreshToken | Self::TestingConsentExpired => {
                Some(FailureReason::TokenExpired)
            }
            Self::RefreshAnswerUnread | Self::RefreshInterrupted | Self::RefreshRejected | Self::RestoredFromBackup => {
                Some(FailureReason::RefreshRejected)
            }
            Self::SecurityInvalidation => Some(FailureReason::SecurityInvalidation),
            _ => None,
        }
    }

    /// True when the same request may work a moment later.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::AccountThrottled | Self::PlatformThrottled | Self::PlatformUnavailable)
    }

    /// The name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.into_str()
    }

    /// One or more sentences for people. `label`: the platform's name for people.
    #[must_use]
    pub fn what_happened(self, label: &str) -> String {
        self.texts().what_happened.replace("{label}", label)
    }

    /// [`what_happened`](Self::what_happened), with the time of the backup where the account came from one.
    #[must_use]
    pub fn what_happened_after(self, label: &str, backup_taken_at: Option<Timestamp>) -> String {
        let happened = self.what_happened(label);
        match backup_taken_at {
            Some(taken_at) => happened.replacen("from a backup", &format!("from a backup of {taken_at}"), 1),
            None => happened,
        }
    }

    /// The next step of the operator or the account's owner. `platform`: its name in the configuration. `console`: the
    /// page where the operator manages the app, if there is one.
    #[must_use]
    pub fn next_step(self, platform: &str, console: Option<&str>) -> String {
        // An operator's own platform has no base for the URLs of an API.
        let settings = if console.is_some() { "token_url and api_url" } else { "issuer, token_url and identity_url" };
        self.next_step_with(settings, platform, console)
    }

    /// The same where it is known which settings may be wrong.
    pub(super) fn next_step_with(self, settings: &str, platform: &str, console: Option<&str>) -> String {
        let (place, more) = console.map_or(("the platform", own_settings::to_check(self)), |console| (console, ""));
        let text = format!("{}{more}", self.texts().next_step).replace("{settings}", settings);
        text.replace("{platform}", platform).replace("{console}", place)
    }

    /// Who can end this failure.
    #[must_use]
    pub const fn who_can_help(self) -> Help {
        match self {
            Self::AccountInactive
            | Self::AccountMismatch
            | Self::BlockedByAdministrator
            | Self::ConsentExpired
            | Self::ConsentRevoked
            | Self::ExchangeRejected
            | Self::FlowExpired
            | Self::Interrupted
            | Self::KeyringLost
            | Self::NoAccount
            | Self::PermissionMissing
            | Self::PermissionWithdrawn
            | Self::RefreshInterrupted
            | Self::RefreshRejected
            | Self::RestoredFromBackup
            | Self::SecurityInvalidation => Help::AccountOwner,
            Self::AccessNotApproved
            | Self::ApiNotEnabled
            | Self::ApiVersionRetired
            | Self::AppMissing
            | Self::AppNotPublic
            | Self::AuthorizationRefused
            | Self::BillingLimitReached
            | Self::CallbackUrlRejected
            | Self::CredentialsRejected
            | Self::IdTokenRejected
            | Self::NoRefreshToken
            | Self::RefreshAnswerUnread
            | Self::StorageFailed
            | Self::TestingConsentExpired
            | Self::TokensUnreadable => Help::Operator,
            Self::AccountThrottled | Self::PlatformThrottled | Self::PlatformUnavailable => Help::Platform,
            Self::AppOrGrantRejected
            | Self::IdentityUnavailable
            | Self::ListingTooLong
            | Self::PlatformAnswerUnreadable
            | Self::RequestRefused => Help::NobodyKnown,
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    const fn texts(self) -> Texts {
        match self {
            Self::AccessNotApproved => Texts {
                what_happened: "{label} has not approved this service for access to its API.",
                next_step: "Ask for access to the API of {platform} at {console} (at Google, the form \"Application for Basic API \
                            Access\" of the Business Profile APIs; at X, an app in a project that is enrolled for API v2). At Meta, \
                            also see that \"Require App Secret\" is off in the app's settings, \"Advanced\".",
            },
            Self::AccountInactive => Texts {
                what_happened: "The account is deactivated, suspended or taken down at {label}.",
                next_step: "Its owner settles that there, then connects the account again.",
            },
            Self::AccountMismatch => Texts {
                what_happened: "This is another account at {label} than the one to be connected again, so nothing was changed.",
                next_step: "The account's owner signs out at {platform}, starts again, and signs in with that account.",
            },
            Self::AccountThrottled => Texts {
                what_happened: "{label} is receiving too many requests for this account right now.",
                next_step: LATER,
            },
            Self::ApiNotEnabled => Texts {
                what_happened: "The API of {label} is not enabled for this service.",
                next_step: "Enable the API of {platform} for the app's project at {console}, then start again in a few minutes.",
            },
            Self::ApiVersionRetired => Texts {
                what_happened: "{label} has retired the version of its API that this service uses.",
                next_step: "Set api_version of [platforms.{platform}] to a version that the platform lists as current \
                            (LinkedIn: YYYYMM).",
            },
            Self::AppMissing => Texts {
                what_happened: "The OAuth app of this connection is not configured here any more.",
                next_step: "See that [platforms.{platform}] is not disabled and has the client id that the connection was \
                            begun with, or connect the account again.",
            },
            Self::AppNotPublic => Texts {
                what_happened: "{label} opens this service only to people whom its operator admitted there.",
                next_step: "Publish the app at {console}, or admit the account there: as a tester, who then accepts the \
                            invitation, or as a member of the app's organization.",
            },
            Self::AppOrGrantRejected => Texts {
                what_happened: "{label} refused, and does not say whether this service's credentials or the account's \
                                authorization are at fault.",
                next_step: "If all accounts of the app are affected, compare client_id and client_secret of \
                            [platforms.{platform}] with the app at {console}; if it is this one, its owner connects it \
                            again.",
            },
            Self::AuthorizationRefused => Texts {
                what_happened: "{label} refused what this service asks for.",
                next_step: "Check that the scopes of [platforms.{platform}] are enabled for the app at {console}. The log has \
                            the code of the platform, if it gave one.",
            },
            Self::BillingLimitReached => Texts {
                what_happened: "What this service pays for at {label} is used up.",
                next_step: "Buy credits or raise the spending limit at {console}.",
            },
            Self::BlockedByAdministrator => Texts {
                what_happened: "The administrator of the account's organization does not allow this service at {label}.",
                next_step: "The account's owner asks that administrator to allow the app, then connects again.",
            },
            Self::CallbackUrlRejected => Texts {
                what_happened: "{label} does not know the address that it is to send people back to.",
                next_step: "Register the callback URL that `postpeer check` prints for {platform} with the app at {console}, to \
                            the letter.",
            },
            Self::ConsentExpired => Texts {
                what_happened: "The time for which {label} lets an account stay connected is over.",
                next_step: RECONNECT,
            },
            Self::ConsentRevoked => Texts {
                what_happened: "The account's owner removed the app's access at {label}.",
                next_step: RECONNECT,
            },
            Self::CredentialsRejected => Texts {
                what_happened: "{label} did not accept this service's own credentials.",
                next_step: "Compare client_id and client_secret (or the private key) of [platforms.{platform}], or those of \
                            your own app, with the app at {console}; refreshes resume when the secret is changed.",
            },
            Self::ExchangeRejected => Texts {
                what_happened: "{label} did not accept the authorization: it expired or was already used.",
                next_step: "If it happens to everyone, compare the callback URL that `postpeer check` prints for \
                            {platform} with the one registered there.",
            },
            Self::FlowExpired => Texts {
                what_happened: "This took too long: the connection to {label} was not finished in time.",
                next_step: "The account's owner starts again. If it happens to many, raise state_ttl_seconds or \
                            selection_ttl_seconds of [connect].",
            },
            Self::IdTokenRejected => Texts {
                what_happened: "{label} did not prove which account you connected, so nothing was kept.",
                next_step: "The log says what is wrong with the id_token. Check issuer, client_id and scopes (openid among \
                            them) of [platforms.{platform}], and this machine's clock.",
            },
            Self::IdentityUnavailable => Texts {
                what_happened: "{label} did not tell which account you connected, so nothing was kept.",
                next_step: "If it happens to everyone, check that the scopes of [platforms.{platform}] are enabled for the app at \
                            {console}, and enough for it to say who connected.",
            },
            Self::Interrupted => Texts {
                what_happened: "The service stopped while your account was being connected.",
                next_step: "The account's owner starts again.",
            },
            Self::KeyringLost => Texts {
                what_happened: "The broker has lost the key to the stored tokens of this account, and has erased them.",
                next_step: RECONNECT,
            },
            Self::ListingTooLong => Texts {
                what_happened: "{label} lists more accounts than this service reads.",
                next_step: "Nothing to do: the accounts that were read are offered.",
            },
            Self::NoAccount => Texts {
                what_happened: "{label} has no account for you that can be connected.",
                next_step: "Nothing to do here: the owner needs an account at {platform} that can be connected.",
            },
            Self::NoRefreshToken => Texts {
                what_happened: "The access token has expired, and {label} gave no refresh token with it.",
                next_step: "Ask for one in [platforms.{platform}]: the offline scope in scopes (such as offline_access), or \
                            authorize_params (such as access_type = \"offline\"). Then the owner connects the account again.",
            },
            Self::PermissionMissing => Texts {
                what_happened: "{label} was not allowed to tell which account you connected.",
                next_step: "Check that the scopes of [platforms.{platform}] are enabled for the app at {console}, and that the \
                            owner ticked them.",
            },
            Self::PermissionWithdrawn => Texts {
                what_happened: "A permission that the connection needs was withdrawn at {label}.",
                next_step: "The account's owner connects it again and leaves all permissions ticked.",
            },
            Self::PlatformAnswerUnreadable => Texts {
                what_happened: "{label} answered in a way that could not be understood.",
                next_step: "If it goes on, check {settings} of [platforms.{platform}]; if they are right, the platform \
                            changed its answers. Refreshes are retried automatically, and their answers are kept.",
            },
            Self::PlatformThrottled => {
                Texts { what_happened: "{label} is receiving too many requests right now.", next_step: LATER }
            }
            Self::PlatformUnavailable => {
                Texts { what_happened: "{label} could not be reached or is having trouble.", next_step: LATER }
            }
            Self::RefreshAnswerUnread => Texts {
                what_happened: "{label} refuses the refresh token, after an answer to an earlier refresh that could not be \
                                understood: the new token is most likely in that answer, which is kept for 30 days.",
                next_step: "Check {settings} of [platforms.{platform}], then reload the broker (SIGHUP) or restart it: it reads \
                            the answer again, and the account works again once it is understood. Otherwise the account's \
                            owner connects it again.",
            },
            Self::RefreshInterrupted => Texts {
                what_happened: "{label} refuses the refresh token, after an earlier refresh was cut off before its answer \
                                arrived: the new token was most likely in that answer.",
                next_step: RECONNECT,
            },
            Self::RefreshRejected => Texts {
                what_happened: "{label} refuses the refresh token: it has expired or was revoked.",
                next_step: RECONNECT,
            },
            Self::RequestRefused => Texts {
                what_happened: "{label} refused a request without blaming the account.",
                next_step: "It is tried again, more and more rarely. Check the settings of [platforms.{platform}] and the app \
                            at {console}; the log has the code of the platform, if it gave one.",
            },
            Self::RestoredFromBackup => Texts {
                what_happened: "{label} refuses the refresh token: this account was restored from a backup, and its token was \
                                most likely renewed after that was taken.",
                next_step: RECONNECT,
            },
            Self::SecurityInvalidation => Texts {
                what_happened: "{label} ended the connection for the account's security, as after a change of password.",
                next_step: RECONNECT,
            },
            Self::StorageFailed => Texts {
                what_happened: "Your account could not be saved.",
                next_step: "The log says why the database failed; then the account's owner starts again.",
            },
            Self::TestingConsentExpired => Texts {
                what_happened: "{label} ended the connection after seven days, as it does while the app's consent screen \
                                is in testing.",
                next_step: "Publish the OAuth consent screen at {console}, then connect the account again.",
            },
            Self::TokensUnreadable => Texts {
                what_happened: "The stored tokens of this account do not open.",
                next_step: "Restore a backup from before, with the keyring as it is, or connect the account again.",
            },
        }
    }
}

const RECONNECT: &str = "The account's owner connects it again.";
const LATER: &str = "Nothing to do: refreshes are retried automatically, and a connection can be started again later.";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failure_has_one_name_and_whole_sentences() {
        for failure in Failure::VARIANTS {
            assert_eq!(json!(failure), failure.code());
            assert_eq!(serde_json::from_value::<Failure>(json!(failure.code())).unwrap(), *failure);
            for sentence in [failure.what_happened("X"), failure.next_step("acme", Some("https://acme.example"))] {
                assert!(sentence.ends_with('.') && !sentence.contains(['{', '}']), "{sentence}");
            }
        }
        assert!(Failure::VARIANTS.iter().is_sorted_by_key(|failure| failure.code()));
    }

    #[test]
    fn who_can_help_has_the_names_of_the_metric() {
        let names: Vec<_> = Help::VARIANTS.iter().map(|help| help.code()).collect();
        assert_eq!(names, ["account_owner", "nobody_known", "operator", "platform"]);
    }

    #[test]
    fn whoever_must_connect_again_can_help() {
        for failure in Failure::VARIANTS.iter().filter(|failure| failure.ends_grant().is_some()) {
            let is_operators = matches!(
                failure,
                Failure::NoRefreshToken | Failure::RefreshAnswerUnread | Failure::TestingConsentExpired
            );
            let help = if is_operators { Help::Operator } else { Help::AccountOwner };
            assert_eq!(failure.who_can_help(), help, "{failure:?}");
        }
    }

    #[test]
    fn names_in_released_databases_are_read() {
        for (released, failure) in [
            ("answer_unreadable", Failure::PlatformAnswerUnreadable),
            ("app_rejected", Failure::CredentialsRejected),
            ("invalidated", Failure::SecurityInvalidation),
            ("throttled", Failure::PlatformThrottled),
            ("unavailable", Failure::PlatformUnavailable),
        ] {
            assert_eq!(serde_json::from_value::<Failure>(json!(released)).unwrap(), failure);
        }
    }
}
