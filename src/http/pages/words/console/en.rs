//! The console in English.

use super::super::grouped;
use super::{ConsoleWords, Done, NoSignIn, Refused};
use crate::broker::console::PlatformState;
use crate::domain::audit::Actor;
use crate::domain::integration::TokenState;

pub(in super::super) static WORDS: ConsoleWords = ConsoleWords {
    title: "postpeer console",
    home: "Overview",
    done: |done| match done {
        Done::Disconnected => "Disconnected. The platform revoked the tokens, and they are erased here.",
        Done::DisconnectedNot => {
            "The account was connected again meanwhile, so it stays: disconnect it again to end that."
        }
        Done::DisconnectedShared => {
            "Disconnected. The consent at the platform was left alone, because other connected accounts live on it."
        }
        Done::DisconnectedUnconfirmed => {
            "Disconnected, and the tokens are erased here. The platform did not confirm that it revoked them: the account's \
             owner can remove the app in the settings there."
        }
        Done::DisconnectedUnsupported => {
            "Disconnected, and the tokens are erased here. The platform has no way to revoke them: the account's owner can \
             remove the app in the settings there."
        }
        Done::AppDeleted => "The app is deleted.",
        Done::AppMade => "The app is created.",
        Done::AppMadeBefore => {
            "An app with this platform and client id was created since the form was opened, so no other was. If you typed \
             another secret meanwhile, replace the app's."
        }
        Done::RemovedBefore => {
            "That was done already, so nothing was done now. The audit trail says who did it and when."
        }
        Done::KeyMadeBefore => {
            "A key of this name was created since the form was opened, so no other was. If you did not copy it, revoke it and \
             create another: a key is shown once."
        }
        Done::KeyRevoked => "The key is revoked.",
        Done::ProfileChanged => "The profile is changed.",
        Done::ProfileDeleted => "The profile is deleted. Its accounts stay connected.",
        Done::ProfileMade => "The profile is created.",
        Done::ProfileMadeBefore => {
            "A profile of this name was created since the form was opened, so no other was. If you want two, send the form \
             once more."
        }
        Done::SecretReplaced => "The secret is replaced.",
        Done::Moved => "The account is moved.",
    },
    refused: |refused| match refused {
        Refused::Broken => ("Something went wrong here", "The log says more under the request id below."),
        Refused::NotAllowed => ("This key may not do that", "Sign in with a key that may, or have one made."),
        Refused::NotDone => ("That was not done", "Go back, change what the sentence above names, and send it again."),
        Refused::NotFromHere => (
            "Nothing was changed",
            "The form did not come from this session. Open the page again, and use its buttons.",
        ),
        Refused::NotThere => ("There is nothing here", "What it led to is gone, or belongs to another project."),
        Refused::TooMuch => ("Too many requests", "Wait a minute, then try again."),
    },
    sentence: |_| None,

    sign_in: "Sign in",
    sign_in_lead: "With an access key of the scope manage. The console then does what this key may, for eight hours.",
    no_sign_in: |why| match why {
        NoSignIn::Ended => "Your session has ended.",
        NoSignIn::EndedUnchanged => "Your session had ended, so nothing was changed. Sign in, then do it again.",
        NoSignIn::Expired => "This key has expired. Make another one with: postpeer access-key create",
        NoSignIn::MayNotManage => "This key lacks the scope manage, which the console needs.",
        NoSignIn::NoCookies => {
            "The key is right, but your browser keeps no cookies for this address, which the console needs. Allow them, and \
             sign in again."
        }
        NoSignIn::OtherAddress => "You were not signed in: the console works at its own address only.",
        NoSignIn::OtherNetwork => "This key does not work from your address: it is bound to other networks.",
        NoSignIn::WrongKey => "This is not an access key of this broker. Check that you copied all of it.",
    },
    sign_out: "Sign out",
    signed_in: "Signed in",
    access_key: "Access key",
    project: "Project",
    scopes: "Scopes",
    only_profile: "Only this profile",
    other_profile: "Or another profile, by its id",

    last_day: "The last 24 hours",
    refreshed: "Refreshes",
    failed: "Failed refreshes",
    token_reads: "Reads of tokens",
    chart: |name, total, most| match most {
        Some((most, from)) => {
            format!("{name} in the last 24 hours: {total}, at most {most} in the hour from {from}.")
        }
        None => format!("{name} in the last 24 hours: {total}."),
    },

    accounts: "Accounts",
    no_account: "No account is connected yet.",
    failing: |failing, counted| match failing {
        0 => "Every account works.".to_owned(),
        1 => "One account fails.".to_owned(),
        failing if failing >= counted => format!("{} accounts fail, or more.", grouped(failing, ',')),
        failing => format!("{} accounts fail.", grouped(failing, ',')),
    },
    search: "Name, handle or id",
    all: "All",
    no_profile: "Without a profile",
    failing_only: "Only those that fail",
    next_refresh: "Next refresh",
    pages: "Pages",
    next_page: "Next page",
    health: |state| match state {
        TokenState::Ok => "Works",
        TokenState::ReconnectRequired => "Must be connected again",
        TokenState::RefreshFailing => "Refresh fails",
        TokenState::RefreshInDoubt => "Refresh was cut off",
    },
    number: |number| grouped(number, ','),

    last_seen: "Last seen",
    app_at: |label| format!("The app at {label}"),
    reconnect: "Connect again",
    reconnect_by_password: |label| {
        format!("To connect it again, its owner gives the app a new app password: {label} has no page for that.")
    },
    reconnect_lead: "The account's owner signs in at the platform, and only this account can come back. The link works for a \
                     few minutes, and until somebody has finished it.",
    reconnect_here: "Continue in this browser",
    reconnect_elsewhere: "Or send this link to the account's owner:",
    server: "Server of the account, such as mastodon.social",
    user_id: "Id at the platform",
    id: "Id here",
    app: "OAuth app",
    connected_at: "Connected",
    tokens: "Tokens",
    issued: "Issued",
    never: "Never: its owner connects it again",
    no_refresh_needed: "Not needed: the access token has no known end",
    not_known: "Not known",
    access_expires: "Access token expires",
    refresh_expires: "Refresh token expires",
    granted: "Permissions granted",
    missing: "Permissions missing",
    past_refreshes: "Latest refreshes",
    no_past_refreshes: "None has been recorded yet.",
    when: "When",
    outcome: "Outcome",
    new_tokens: "New tokens",
    reads: "Who read its token",
    nobody_read: "Nobody has read it in the last 90 days.",
    reads_count: "Reads",
    last_read: "Last",
    trail: "What happened",
    no_entries: "There are no entries yet.",
    actor: |actor| match actor {
        Actor::AccessKey => "Access key",
        Actor::CommandLine => "Command line",
        Actor::DemoPage => "Demo page",
        Actor::Link => "Connect link, made with key",
        Actor::Person => "Account's owner, for key",
        Actor::Schedule => "Schedule of backups",
    },
    change: "Change",
    move_to: "Move to profile",
    move_button: "Move",
    disconnect: "Disconnect this account",
    disconnect_asks: |label| {
        format!("Its tokens are erased here, and revoked at {label} where that is possible. Apps can no longer use it.")
    },
    disconnect_button: "Disconnect now",

    profiles: "Profiles",
    profiles_lead: "A profile groups accounts: for a brand, a customer, a user.",
    search_name: "Search by name",
    nothing: "There is nothing here yet, or nothing with that name.",
    name: "Name",
    description: "Description",
    save: "Save",
    delete: "Delete",
    delete_now: "Delete now",
    delete_profile_asks: "Its accounts stay connected, and keep its id. New ones can no longer be connected for it.",
    new_profile: "New profile",
    make: "Create",

    apps: "OAuth apps",
    apps_lead: "Apps of this project's own, under which accounts connect when a caller names them. The operator's apps are in the configuration.",
    client_id: "Client id",
    client_secret: "Client secret",
    replace_secret: "Replace the secret",
    replace_secret_lead: "The one before is tried for another 24 hours where the platform refuses the new one. Neither is ever shown.",
    delete_app_asks: "Only an app without connected accounts can be deleted.",
    new_app: "New OAuth app",
    whole_project_only: "This key is bound to a profile, and apps belong to the whole project.",

    keys: "Access keys",
    keys_lead: "A key makes and revokes only keys that may do no more than it may.",
    revoked: "Revoked",
    networks: "Networks",
    networks_help: "Such as 10.0.0.0/8, separated by commas. Empty: as the key that you signed in with.",
    made: "Created",
    last_used: "Last used",
    not_yet: "not yet",
    expires: "Expires",
    expires_help: "Such as 90d or 2027-03-01. Empty: as the key that you signed in with.",
    revoke: "Revoke",
    revoke_asks: "Whoever uses it is refused from the next request on. Accounts stay connected.",
    revoke_own_asks: "This is the key that you signed in with: you are signed out as well.",
    revoke_now: "Revoke now",
    new_key: "New access key",
    whole_project: "The whole project",
    key_made: "New key",
    key_made_lead: "Copy it now: it is not stored, and never shown again.",

    platforms: "Platforms",
    platforms_lead: "Register each callback URL at its platform, character by character. postpeer check --probe asks the platforms whether they accept the credentials.",
    callback_url: "Callback URL",
    warning: "Warning",
    note: "Good to know",
    audit: "Audit trail",
    audit_lead: "Who changed something or read a token, the latest first.",
    platform_state: |state| match state {
        PlatformState::NoCredentials => "No credentials: only with an app of the project",
        PlatformState::Off => "Switched off",
        PlatformState::Ready => "Set up",
    },
};
