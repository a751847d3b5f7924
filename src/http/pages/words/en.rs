//! English.

mod trouble;

use super::{CountedButton, DemoWords, LinkWords, Told, TroubleWords, Words, grouped, parts};
use crate::broker::finished::CancelledAt;
use crate::domain::account::AccountKind;
use crate::domain::failure::Failure;
use crate::domain::integration::TokenState;
use crate::domain::time::Timestamp;
use crate::http::error::Code;

pub(super) static WORDS: Words = Words {
    code: "en",
    name: "English",

    foot: "About this page",
    support: "Get help",
    privacy: "Privacy",
    back: |app| format!("Back to {}", app.unwrap_or("the app")),
    close_tab: "You can close this tab now.",
    for_support: "Details for support",
    request_id: "Request",
    connection_id: "Connection",
    error_code: "Error",
    next_step: "Next step for the operator",
    asks: "Connect your accounts",
    time,

    confirm: |label, app| format!("Connect your {label} account to {}?", app.unwrap_or("the app")),
    confirm_lead: |label, app| {
        format!("Next, {label} asks you to let {} use your account there.", app.unwrap_or("the app"))
    },
    asked_by: "Asked by",
    confirm_only: "Continue only if you started this yourself.",
    confirm_else: "If somebody sent you this link, close the page: your account would be connected for them.",
    continue_to: |label| format!("Continue to {label}"),

    completion: |label| format!("One more step for {label}"),
    completion_lead: |label, app| {
        let app = app.unwrap_or("the app");
        format!(
            "{label} has agreed. Your account is connected once {app} confirms that you are the one who asked for it."
        )
    },
    completion_only: "Go back to where you started. Without that, nothing is connected, and in ten minutes the permission is \
                      given back.",
    completion_else: "If somebody sent you here, close this page.",

    connected: |label| format!("{label} is connected"),
    may_use: |app, accounts| {
        let what = if accounts == 1 { "this account" } else { "these accounts" };
        format!("{} can use {what} from now on.", app.unwrap_or("The app"))
    },
    withdraw: |label| format!("You can withdraw this at any time, in the app or in your settings at {label}."),
    accounts: |count| if count == 1 { "Account" } else { "Accounts" },
    platform: "Platform",
    profile: "Profile",
    missing_permissions: |label| format!("Some permissions were not given at {label}:"),
    missing_permissions_advice: "What needs them will not work. To give them, connect again and leave everything ticked.",
    disconnected: |label| format!("{label} is no longer connected"),
    disconnected_since: "The account was connected here, and has been disconnected since.",
    not_connected: |label| format!("{label} was not connected"),
    cancelled: |at, label| match at {
        CancelledAt::Choice => format!("You cancelled here, after {label} had agreed. Its permission was given back."),
        CancelledAt::Confirmation => format!("You cancelled here, before {label} was asked for anything."),
        CancelledAt::Platform => format!("You declined at {label}."),
    },
    nothing_stored: "Nothing was connected, and nothing was stored.",
    perhaps_stored: "Your account may still be connected in the next minutes.",
    start_again: "If you want to connect it after all, start again.",
    try_again: "Try again",
    needed: "These permissions are needed:",
    failure,
    not_among: |label| Told {
        happened: format!("The account to be connected again is not among those that you gave access to at {label}."),
        advice: "Start again, and tick that account there. If another person connected it, ask them, or sign in there with \
                 their account.",
    },
    none_found: "Make sure that you are signed in with the right account there. What else it takes is said below.",
    account_gone: |label| Told {
        happened: format!("The account at {label} that was to be connected again is not connected here any more."),
        advice: "Go back to the app and connect it there as a new account.",
    },
    cause: Failure::what_happened_after,
    remedy: Failure::next_step,
    trouble: trouble::words,

    choose: "Which accounts do you want to connect?",
    choose_lead: |label, total| {
        let accounts = if total == 1 { "account" } else { "accounts" };
        let total = grouped(total as u64, ',');
        format!("{label} offers {total} {accounts} of yours. Those that you do not tick stay as they are.")
    },
    minutes: |minutes| format!("You have about {minutes} minute{} for this.", if minutes == 1 { "" } else { "s" }),
    tick_one: "Tick at least one account first.",
    search: "Search by name, handle or id",
    search_button: "Search",
    no_match: "No account matches.",
    shown: |shown, total| format!("{shown} of {total} shown."),
    ticked: |ticked, hidden| match hidden {
        0 => format!("{ticked} ticked."),
        hidden => format!("{ticked} ticked, {hidden} of them not shown."),
    },
    to_the_buttons: "Skip to the buttons",
    tick_all: |filtered| if filtered { "Tick all shown" } else { "Tick all" },
    untick_all: |filtered| if filtered { "Untick all shown" } else { "Untick all" },
    connect_ticked: "Connect the ticked accounts",
    connect_counted: CountedButton { before: "Connect ", one: " account", many: " accounts", after: "" },
    cancel: "Cancel",
    kind: |kind| match kind {
        AccountKind::Location => "Location",
        AccountKind::Organization => "Organization",
        AccountKind::Page => "Page",
        AccountKind::Person => "Personal profile",
    },
    missing: "Something missing?",
    missing_advice: trouble::missing_advice,
    unusable: "Found, but cannot be connected",
    looked_at: "Where accounts were looked for",
    granted: |label| format!("Permissions that {label} granted"),

    link: LinkWords {
        title: |app| match app {
            Some(app) => format!("Connect your accounts with {app}"),
            None => "Connect your accounts".to_owned(),
        },
        lead: |app| {
            let app = app.unwrap_or("The app");
            format!("{app} asks to use accounts of yours. Connect one after the other, and stop when you like.")
        },
        only: "Connect accounts only if you trust whoever sent you this link: they can use them afterwards.",
        nothing: "Nothing can be connected here at the moment. Tell whoever sent you the link.",
        none: "Not connected",
        connect: |label, another| {
            if another { format!("Connect another {label} account") } else { format!("Connect {label}") }
        },
        reconnect: "Connect again",
        health: |state| match state {
            TokenState::Ok => "Working",
            TokenState::ReconnectRequired => "Not working any more: connect it again",
            TokenState::RefreshFailing | TokenState::RefreshInDoubt => {
                "Interrupted for now: there is nothing for you to do"
            }
        },
        server: "Your server",
        server_like: "such as mastodon.social",
        server_wrong: "This server was not found, or does not answer. Check its name, or try again in a minute.",
        handle_like: "such as alice.bsky.social",
        password_help: |label| {
            format!(
                "{label} needs an app password. Make one there, and enter it here with your handle: it is sent to your account's \
                 server once, and not stored."
            )
        },
        password_make: "Make an app password",
        password_like: "never your own password",
        refused: link_refused,
        try_here: "Try it again here.",
        look_here: "Open this page again in a few minutes. If your account is not there, try it again here.",
        outdated: "This page was out of date, so nothing was done. It now shows what can be connected.",
        done: "Done",
        leave: "Leave without connecting",
        all_done: "All done",
        left: "Nothing was connected",
        again: "You can open the link again to connect more, as long as it works.",
    },

    demo: DemoWords {
        title: "Connect an account",
        lead: "The broker runs with a sandbox in place of every platform: the accounts are made up, and nothing leaves \
               this machine. Connecting one takes two clicks.",
        api: "Read the API",
        console: "Open the console",
        console_help: "Sign in with the access key that the demo printed when it started.",
        connected: "Connected accounts",
        newest_of: |total| format!("These are the newest of {}.", grouped(total, ',')),
        platforms: "Platforms",
        connect: |label| format!("Connect {label}"),
        bluesky_help: "It has no consent page: an app is given a handle and an app password. These are the sandbox's.",
        handle: "Handle",
        app_password: "App password",
        active: "Working",
        reconnect: "Connect again",
        token: "Token",
        details: "Details",
        disconnect: "Disconnect",
        home: "Back to all accounts",
        token_lead: "This is what the broker answers when an app asks for the account's access token. It is made up, \
                     and works at the sandbox only.",
        details_lead: "This is what the broker answers when an app asks about the account. It never has a token in it.",
        the_account: "The account",
        stored: "Its tokens are sealed and stored. The account is in the list below.",
        disconnected: |label| format!("{label} is disconnected."),
        disconnected_more: "Its tokens are erased.",
        log_says: "The broker's log says why.",
    },

    console: &super::console::en::WORDS,
};

fn link_refused(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::AccountInactive => "This account is deactivated or suspended. Settle that first, then try again.",
        Code::AppPasswordRequired => "That is your own password. Make an app password, and enter that one.",
        Code::BlueskyCredentialsRejected => {
            "Handle and app password do not belong together. Check both, or make a new app password."
        }
        Code::DidMismatch | Code::UnsafeHost => "Your account's server cannot be used from here.",
        Code::IdentityUnresolved | Code::InvalidIdentifier => {
            "No account was found with this handle. Check its spelling."
        }
        Code::LimitReached | Code::TooManyAttempts => {
            "There were too many attempts. Wait five minutes, then try again."
        }
        Code::PdsUnreachable => {
            "Your account's server, or another on the way to it, does not answer. Try again in a minute."
        }
        _ => return None,
    })
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn time(time: Timestamp) -> String {
    let (day, month, year, minute) = parts(time, MONTHS);
    format!("{day} {month} {year}, {minute} UTC")
}

const AGAIN: &str = "Go back to the app and start again.";
const LATER: &str = "Wait a few minutes, then start again. If it happens again, tell the people who run this service.";
const OPERATOR: &str =
    "Only the people who run this service can fix this. Please tell them: trying again will not help before that.";

/// The advice falls back on who can help.
fn failure(failure: Failure, label: &str) -> Told {
    use Failure as F;
    let (happened, advice) = match failure {
        F::AccessNotApproved => (format!("{label} has not approved this service yet."), OPERATOR),
        F::AccountInactive => (
            format!("Your account at {label} is deactivated or suspended."),
            "Settle that at the platform first, then start again.",
        ),
        F::AccountMismatch => (
            format!("You signed in at {label} with another account than the one to be connected again."),
            "Sign out there, then start again and sign in with the account that is connected already. To connect this other \
             account as well, go back to the app and add it there.",
        ),
        F::AccountThrottled => (
            format!("{label} allows no more requests for this account at the moment."),
            "Wait ten minutes, then start again. If it says the same then, try again tomorrow.",
        ),
        F::ApiNotEnabled => (format!("This service is not fully set up at {label}."), OPERATOR),
        F::ApiVersionRetired => (format!("This service uses a version of {label} that no longer exists."), OPERATOR),
        F::AppMissing => {
            (format!("This service no longer uses the app at {label} that this connection began with."), OPERATOR)
        }
        F::AppNotPublic => (
            format!("{label} opens this service only to invited people so far."),
            "If you were invited there, accept the invitation first, then start again. If not, ask the people who run this service.",
        ),
        F::AuthorizationRefused => (format!("{label} refused what this service asks for."), OPERATOR),
        F::BillingLimitReached => (format!("This service has used up what it pays for at {label}."), OPERATOR),
        F::BlockedByAdministrator => (
            format!("Your organization does not allow this service at {label}."),
            "Ask your organization's administrator to allow it, then start again.",
        ),
        F::CallbackUrlRejected => (format!("{label} does not know this service's address."), OPERATOR),
        F::CredentialsRejected => {
            (format!("{label} did not accept this service. It is not about your account."), OPERATOR)
        }
        F::ExchangeRejected => (format!("The permission from {label} had expired or was used before."), AGAIN),
        F::FlowExpired => (
            format!("This took too long: the connection to {label} was not finished in time."),
            "Go back to the app and start again. You have a few minutes from there to here.",
        ),
        F::IdTokenRejected => (format!("{label} did not prove whose account it is."), OPERATOR),
        F::IdentityUnavailable => (format!("{label} did not say whose account it is."), LATER),
        F::Interrupted => (
            format!("This service stopped while it connected your account at {label}."),
            "Look in the app in a few minutes. If your account is not there, start again.",
        ),
        F::NoAccount => (
            format!("{label} has no account of yours that can be connected."),
            "Make sure that you are signed in with the right account there. A YouTube account needs a channel, an \
             Instagram account must be a professional one. Then start again.",
        ),
        F::PermissionMissing => (
            format!("A permission was missing, so {label} did not say whose account it is."),
            "Start again, and leave all permissions ticked.",
        ),
        F::PlatformThrottled => (
            format!("{label} is receiving too many requests right now."),
            "Wait ten minutes, then start again. If it says the same then, try again tomorrow.",
        ),
        F::PlatformUnavailable => (
            format!("{label} cannot be reached or has a problem of its own."),
            "Nobody here can fix this. Wait a few minutes, then start again.",
        ),
        F::StorageFailed => ("Your account could not be saved.".to_owned(), OPERATOR),
        F::AppOrGrantRejected => (format!("{label} refused the connection and does not say why."), LATER),
        F::PlatformAnswerUnreadable => (format!("{label} sent an answer that could not be understood."), LATER),
        // These end no connection.
        F::ConsentExpired
        | F::ConsentRevoked
        | F::ListingTooLong
        | F::NoRefreshToken
        | F::PermissionWithdrawn
        | F::RefreshAnswerUnread
        | F::RefreshInterrupted
        | F::RefreshRejected
        | F::RequestRefused
        | F::RestoredFromBackup
        | F::SecurityInvalidation
        | F::TestingConsentExpired
        | F::KeyringLost
        | F::TokensUnreadable => (format!("The connection to {label} has ended."), AGAIN),
    };
    Told { happened, advice }
}
