//! Advice for callers on each error: the second sentence beside the one that says what is wrong.
//!
//! The API's page and the examples in the OpenAPI document show it. The match is exhaustive, so a new code does not
//! compile before it has its advice.

use super::Code;

impl Code {
    /// The caller's next step.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::AccessKeyExpired => "Put a new key into your configuration. Retrying with this one never works.",
            Self::AccountInactive => "Tell the person to reactivate the account at its server, then start again.",
            Self::AccountMismatch => {
                "Tell the person which account to sign in to, or begin without `reconnect` to connect this one as well."
            }
            Self::AccountNotOffered => {
                "Read the selection again and send ids from its `accounts`. The token is not spent."
            }
            Self::AddressNotAllowed => {
                "Call from a network that the key is bound to, or ask the operator for a key without that limit."
            }
            Self::AppInUse => {
                "Page through the integrations, disconnect those whose `appId` is this one, then delete the app again."
            }
            Self::AppNotFound => {
                "Check the id against the list of apps. A key that is bound to a profile sees no apps."
            }
            Self::AppOfOtherPlatform => {
                "Give the id of an app that was registered for this platform, or leave `appId` out."
            }
            Self::AppPasswordRequired => "Ask the person for an app password. Never store what they typed.",
            Self::BindingRequired => {
                "Send the `bindingHash` of a cookie that your app set in the person's browser, or `completion=true`."
            }
            Self::BlueskyCredentialsRejected => {
                "Let the person type both again. Five attempts are let through in five minutes."
            }
            Self::BodyTooLarge => "Send less. The connection is closed after this answer.",
            Self::BrowserMismatch => "Open the connection in the browser that it was begun in, or begin another.",
            Self::CallbackRefused => "Begin a new connection: every URL works once, and for a few minutes.",
            Self::CredentialsMissing => {
                "Ask the operator to configure the platform, or register an app and give its `appId`."
            }
            Self::CrossSite => "Open the page on the broker's own address and send the form from there.",
            Self::DidMismatch => "Do not retry. The account's server is misconfigured or hostile: tell the person.",
            Self::DuplicateApp => "Use the app that is there, or replace its secret with PATCH.",
            Self::DuplicateIntegration => {
                "Decide which of the two integrations stays, disconnect the other, then retry."
            }
            Self::FlowEnded => "Begin the connection again if the person still wants it.",
            Self::FlowNotFound => {
                "Begin the connection again, and complete it within ten minutes of the person's return."
            }
            Self::FlowPending => "Complete it when the browser comes to your `redirectUri` with this `flowId`.",
            Self::HeadTooLarge => "Send fewer and shorter headers. The connection is closed after this answer.",
            Self::IdentityUnresolved => "Show the sentence to the person: most often the handle is misspelt.",
            Self::InsufficientScope => "Use a key with that scope: `--scope` of `postpeer access-key create` gives it.",
            Self::IntegrationNotFound => {
                "Drop the id: the account was disconnected, or belongs to another project or profile."
            }
            Self::Internal => "Retry once. If it stays, give the request id to the operator.",
            Self::InvalidAccessKey => "Check that the whole key is sent, in one header, and that it was not revoked.",
            Self::InvalidIdentifier => "Send a handle such as `alice.bsky.social`, or a DID.",
            Self::InvalidJson => "Send one JSON object in UTF-8 and name each member once.",
            Self::InvalidParameter => "Correct the parameter that the sentence names. Retrying unchanged never works.",
            Self::InvalidRequest => "Correct the member that the sentence names. Retrying unchanged never works.",
            Self::KeyBoundToProfile => "Leave `profileId` out, or use a key that is not bound to a profile.",
            Self::LimitReached => "Wait as long as `Retry-After` says. Reading with a valid key is never limited.",
            Self::MethodNotAllowed => "Use a method from the header `Allow`.",
            Self::LinkEnded => "Make another link, and send that one to the person.",
            Self::LinkNotFound => "Check the id: links are forgotten a day after their end.",
            Self::NotFound => "Check the path, with and without a trailing slash, against this page.",
            Self::NotReady => "Send no traffic to this broker for now. Its operator reads the reason in the log.",
            Self::Overloaded => "Wait as long as `Retry-After` says, then retry.",
            Self::PdsUnreachable => "Retry in a minute. If it stays, the person's server is down.",
            Self::PlatformNotAvailable => "List the platforms to see what can be connected here, and how.",
            Self::PlatformUnreachable => "Retry in a minute. If it stays, look at the platform's status page.",
            Self::PrefetchRefused => "Nothing: the browser loads the page again when the person opens it.",
            Self::ProfileNotFound => "Check the id against the list of profiles.",
            Self::ProjectNotFound => "Use a key of a project that exists.",
            Self::ReconnectRequired => {
                "Send the account's owner through a new connection. The integration keeps its id."
            }
            Self::RedirectNotAllowed => {
                "Use an https address that the operator lists in `allowed_redirects`, without `status`, `error` and the like \
                 in its query."
            }
            Self::RepeatedParameter => "Give the parameter once.",
            Self::RequestTimeout => {
                "Send the whole body at once, then retry. The connection is closed after this answer."
            }
            Self::SealedValueRejected => {
                "Do not retry. Give the request id to the operator, or let the account be connected again."
            }
            Self::SelectionNotFound => "Begin the connection again: a choice works once, and for a few minutes.",
            Self::StorageFull => "Retry later. Reading still works; the operator has to make room.",
            Self::StorageUnavailable => "Retry later. The operator has to look at the database.",
            Self::TokenTooShort => "Ask for fewer `minSeconds`, and again before each use.",
            Self::TokenUnavailable => {
                "Wait as long as `Retry-After` says, then ask again. The account stays connected."
            }
            Self::TooManyAttempts => "Wait as long as `Retry-After` says, and tell the person to wait.",
            Self::TooManyFlows => {
                "Wait as long as `Retry-After` says. Begin a connection only when a person asks for it."
            }
            Self::UnsafeHost => "Nothing that you can change: the account's server has no public address.",
            Self::UnsupportedMediaType => "Send `Content-Type: application/json` and no `Content-Encoding`.",
            Self::UriTooLong => "Shorten the query; most often it is the `redirectUri`.",
        }
    }
}
