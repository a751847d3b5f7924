//! The texts of the operator's console.

pub(super) mod de;
pub(super) mod en;

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::broker::console::PlatformState;
use crate::broker::integrations::Revoked;
use crate::domain::audit::Actor;
use crate::domain::integration::TokenState;
use crate::http::error::Code;

/// Change that the next page confirms with a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Done {
    AppDeleted,
    AppMade,
    /// The form was sent again.
    AppMadeBefore,
    /// The platform revoked the tokens.
    Disconnected,
    /// It was connected again meanwhile.
    DisconnectedNot,
    /// The consent stays for other accounts.
    DisconnectedShared,
    /// The platform did not say that it revoked them.
    DisconnectedUnconfirmed,
    /// The platform cannot revoke.
    DisconnectedUnsupported,
    /// The form was sent again.
    KeyMadeBefore,
    KeyRevoked,
    Moved,
    ProfileChanged,
    ProfileDeleted,
    ProfileMade,
    /// The form was sent again.
    ProfileMadeBefore,
    /// It was removed before: the form was sent again.
    RemovedBefore,
    SecretReplaced,
}

impl From<Revoked> for Done {
    fn from(revoked: Revoked) -> Self {
        match revoked {
            Revoked::KeptForOthers => Self::DisconnectedShared,
            Revoked::NotConfirmed => Self::DisconnectedUnconfirmed,
            Revoked::Reconnected => Self::DisconnectedNot,
            Revoked::Unsupported => Self::DisconnectedUnsupported,
            Revoked::Yes => Self::Disconnected,
        }
    }
}

/// Why somebody is not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum NoSignIn {
    /// The session is over.
    Ended,
    /// The session was over when a form was sent.
    EndedUnchanged,
    Expired,
    MayNotManage,
    /// The browser does not send the cookie of the session back.
    NoCookies,
    /// The console was opened under another address than the public URL's, which follows.
    OtherAddress,
    OtherNetwork,
    /// Missing, malformed, unknown or revoked: nobody is told which.
    WrongKey,
}

/// Why a page is not shown, or a form not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub(crate) enum Refused {
    Broken,
    /// The key lacks a scope, or is bound to a profile or to networks.
    NotAllowed,
    /// The request makes no sense, or conflicts with stored data.
    NotDone,
    NotFromHere,
    NotThere,
    TooMuch,
}

/// The console's texts of a language.
pub(crate) struct ConsoleWords {
    // Every page.
    pub(crate) title: &'static str,
    pub(crate) home: &'static str,
    pub(crate) done: fn(Done) -> &'static str,
    /// Heading and advice.
    pub(crate) refused: fn(Refused) -> (&'static str, &'static str),
    /// Sentence about an error; `None` where the API's says more than its code, or is in this language.
    pub(crate) sentence: fn(Code) -> Option<&'static str>,

    // Signing in.
    pub(crate) sign_in: &'static str,
    pub(crate) sign_in_lead: &'static str,
    pub(crate) no_sign_in: fn(NoSignIn) -> &'static str,
    pub(crate) sign_out: &'static str,
    pub(crate) signed_in: &'static str,
    pub(crate) access_key: &'static str,
    pub(crate) project: &'static str,
    pub(crate) scopes: &'static str,
    pub(crate) only_profile: &'static str,
    pub(crate) other_profile: &'static str,

    // The last day.
    pub(crate) last_day: &'static str,
    pub(crate) refreshed: &'static str,
    pub(crate) failed: &'static str,
    pub(crate) token_reads: &'static str,
    /// `most`: the number in the busiest hour, and when that began.
    pub(crate) chart: fn(name: &str, total: &str, most: Option<(String, String)>) -> String,

    // The list of accounts.
    pub(crate) accounts: &'static str,
    pub(crate) no_account: &'static str,
    pub(crate) failing: fn(failing: u64, counted: u64) -> String,
    pub(crate) search: &'static str,
    pub(crate) all: &'static str,
    pub(crate) no_profile: &'static str,
    pub(crate) failing_only: &'static str,
    pub(crate) next_refresh: &'static str,
    pub(crate) pages: &'static str,
    pub(crate) next_page: &'static str,
    pub(crate) health: fn(TokenState) -> &'static str,
    pub(crate) number: fn(u64) -> String,

    // One account.
    pub(crate) last_seen: &'static str,
    pub(crate) app_at: fn(label: &str) -> String,
    pub(crate) reconnect: &'static str,
    pub(crate) reconnect_by_password: fn(label: &str) -> String,
    pub(crate) reconnect_lead: &'static str,
    pub(crate) reconnect_here: &'static str,
    pub(crate) reconnect_elsewhere: &'static str,
    pub(crate) server: &'static str,
    pub(crate) user_id: &'static str,
    pub(crate) id: &'static str,
    pub(crate) app: &'static str,
    pub(crate) connected_at: &'static str,
    pub(crate) tokens: &'static str,
    pub(crate) issued: &'static str,
    pub(crate) never: &'static str,
    pub(crate) no_refresh_needed: &'static str,
    pub(crate) not_known: &'static str,
    pub(crate) access_expires: &'static str,
    pub(crate) refresh_expires: &'static str,
    pub(crate) granted: &'static str,
    pub(crate) missing: &'static str,
    pub(crate) past_refreshes: &'static str,
    pub(crate) no_past_refreshes: &'static str,
    pub(crate) when: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) new_tokens: &'static str,
    pub(crate) reads: &'static str,
    pub(crate) nobody_read: &'static str,
    pub(crate) reads_count: &'static str,
    pub(crate) last_read: &'static str,
    pub(crate) trail: &'static str,
    pub(crate) no_entries: &'static str,
    pub(crate) actor: fn(Actor) -> &'static str,
    pub(crate) change: &'static str,
    pub(crate) move_to: &'static str,
    pub(crate) move_button: &'static str,
    pub(crate) disconnect: &'static str,
    pub(crate) disconnect_asks: fn(label: &str) -> String,
    pub(crate) disconnect_button: &'static str,

    // Profiles, and what lists share.
    pub(crate) profiles: &'static str,
    pub(crate) profiles_lead: &'static str,
    pub(crate) search_name: &'static str,
    pub(crate) nothing: &'static str,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) save: &'static str,
    pub(crate) delete: &'static str,
    pub(crate) delete_now: &'static str,
    pub(crate) delete_profile_asks: &'static str,
    pub(crate) new_profile: &'static str,
    pub(crate) make: &'static str,

    // OAuth apps.
    pub(crate) apps: &'static str,
    pub(crate) apps_lead: &'static str,
    pub(crate) client_id: &'static str,
    pub(crate) client_secret: &'static str,
    pub(crate) replace_secret: &'static str,
    pub(crate) replace_secret_lead: &'static str,
    pub(crate) delete_app_asks: &'static str,
    pub(crate) new_app: &'static str,
    pub(crate) whole_project_only: &'static str,

    // Access keys.
    pub(crate) keys: &'static str,
    pub(crate) keys_lead: &'static str,
    pub(crate) revoked: &'static str,
    pub(crate) networks: &'static str,
    pub(crate) networks_help: &'static str,
    pub(crate) made: &'static str,
    pub(crate) last_used: &'static str,
    pub(crate) not_yet: &'static str,
    pub(crate) expires: &'static str,
    pub(crate) expires_help: &'static str,
    pub(crate) revoke: &'static str,
    pub(crate) revoke_asks: &'static str,
    pub(crate) revoke_own_asks: &'static str,
    pub(crate) revoke_now: &'static str,
    pub(crate) new_key: &'static str,
    pub(crate) whole_project: &'static str,
    pub(crate) key_made: &'static str,
    pub(crate) key_made_lead: &'static str,

    // Platforms and the audit trail.
    pub(crate) platforms: &'static str,
    pub(crate) platforms_lead: &'static str,
    pub(crate) callback_url: &'static str,
    /// Kinds of remarks on a platform's settings.
    pub(crate) warning: &'static str,
    pub(crate) note: &'static str,
    pub(crate) audit: &'static str,
    pub(crate) audit_lead: &'static str,
    pub(crate) platform_state: fn(PlatformState) -> &'static str,
}
