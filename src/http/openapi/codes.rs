//! The error codes of each operation: its own, and those of all operations of a kind.
//!
//! `tests/api/document.rs` compares the codes of real answers with this table.

use crate::http::error::Code;

const CHOICE: &[Code] = &[Code::SelectionNotFound, Code::LimitReached, Code::SealedValueRejected];
const CHOSEN: &[Code] =
    &[Code::AccountNotOffered, Code::SelectionNotFound, Code::LimitReached, Code::SealedValueRejected];

/// The codes that only the handler of this operation gives.
pub(crate) fn own(operation_id: &str) -> &'static [Code] {
    match operation_id {
        "completeFlow" => &[Code::AccountMismatch, Code::FlowEnded, Code::FlowNotFound, Code::FlowPending],
        "connectBluesky" => &[
            Code::RedirectNotAllowed,
            Code::InvalidIdentifier,
            Code::AppPasswordRequired,
            Code::AccountInactive,
            Code::UnsafeHost,
            Code::AppOfOtherPlatform,
            Code::AccountMismatch,
            Code::IntegrationNotFound,
            Code::BlueskyCredentialsRejected,
            Code::PlatformNotAvailable,
            Code::KeyBoundToProfile,
            Code::ProfileNotFound,
            Code::AppNotFound,
            Code::TooManyAttempts,
            Code::IdentityUnresolved,
            Code::PdsUnreachable,
            Code::DidMismatch,
        ],
        "createApp" => &[Code::KeyBoundToProfile, Code::DuplicateApp],
        "createLink" => &[Code::RedirectNotAllowed, Code::KeyBoundToProfile, Code::ProfileNotFound, Code::TooManyFlows],
        "createProfile" => &[Code::KeyBoundToProfile],
        "deleteApp" => &[Code::AppNotFound, Code::AppInUse],
        "deleteProfile" => &[Code::KeyBoundToProfile, Code::ProfileNotFound],
        "disconnectIntegration" | "getIntegration" => &[Code::IntegrationNotFound],
        "getApp" | "updateApp" => &[Code::AppNotFound],
        "getFacebookSelection" | "getGoogleBusinessSelection" | "getLinkedInSelection" => CHOICE,
        "getOAuthUrl" => &[
            Code::RedirectNotAllowed,
            Code::BindingRequired,
            Code::IntegrationNotFound,
            Code::AppOfOtherPlatform,
            Code::PlatformNotAvailable,
            Code::KeyBoundToProfile,
            Code::ProfileNotFound,
            Code::AppNotFound,
            Code::TooManyFlows,
            Code::TooManyAttempts,
            Code::CredentialsMissing,
            Code::PlatformUnreachable,
        ],
        "getLink" | "revokeLink" => &[Code::LinkNotFound],
        "getPagePicture" => &[Code::NotFound],
        "getProfile" | "updateProfile" => &[Code::ProfileNotFound],
        "getToken" => &[
            Code::IntegrationNotFound,
            Code::ReconnectRequired,
            Code::TokenTooShort,
            Code::SealedValueRejected,
            Code::TokenUnavailable,
        ],
        "isReady" => &[Code::NotReady],
        "moveIntegration" => {
            &[Code::KeyBoundToProfile, Code::IntegrationNotFound, Code::ProfileNotFound, Code::DuplicateIntegration]
        }
        "submitFacebookSelection" | "submitGoogleBusinessSelection" | "submitLinkedInSelection" => CHOSEN,
        _ => &[],
    }
}

/// Errors that all operations of one kind share.
pub(crate) struct Group {
    /// What the page calls it in its address.
    pub(crate) id: &'static str,
    /// What these operations have in common.
    pub(crate) name: &'static str,
    pub(crate) codes: &'static [Code],
}

pub(super) const QUERY: Group = Group {
    id: "with-query",
    name: "Calls with query parameters",
    codes: &[Code::InvalidParameter, Code::RepeatedParameter],
};
pub(super) const BODY: Group = Group {
    id: "with-body",
    name: "Calls with a body",
    codes: &[
        Code::InvalidJson,
        Code::InvalidRequest,
        Code::RequestTimeout,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
    ],
};
pub(super) const KEY: Group = Group {
    id: "with-key",
    name: "Calls with a key",
    codes: &[
        Code::InvalidAccessKey,
        Code::AccessKeyExpired,
        Code::AddressNotAllowed,
        Code::InsufficientScope,
        Code::LimitReached,
    ],
};
/// Codes that every call can answer with, beside those of its operation.
pub(crate) const ANY: Group = Group {
    id: "any",
    name: "Any call",
    codes: &[Code::UriTooLong, Code::Internal, Code::Overloaded, Code::StorageUnavailable],
};
pub(super) const CHANGE: Group =
    Group { id: "change", name: "Calls that change something", codes: &[Code::StorageFull] };

/// All groups.
pub(crate) const GROUPS: [Group; 5] = [QUERY, BODY, KEY, ANY, CHANGE];
