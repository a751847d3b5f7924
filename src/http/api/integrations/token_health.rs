//! The members of an integration's detail that PostPeer's API does not have: the health of its tokens, and the keys
//! that read them. Never the tokens.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::failure::Help;
use crate::domain::integration::{IntegrationDetail, TokenReads, TokenState};
use crate::domain::time::Timestamp;

/// How the broker gets on with keeping an account's tokens alive.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenHealth)]
pub(crate) struct TokenHealthView {
    state: TokenHealthStateView,
    /// What went wrong last; null once all is well again.
    #[schema(required)]
    last_error: Option<LastErrorView>,
    /// When the tokens that are here were issued.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    /// When they are refreshed next; null where they never are.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    next_refresh_at: Option<Timestamp>,
}

/// The state that an account's tokens are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TokenHealthState)]
pub(crate) enum TokenHealthStateView {
    Ok,
    /// Its owner connects it again.
    ReconnectRequired,
    /// Refreshes fail for now, and are tried again.
    RefreshFailing,
    /// A refresh was cut off, so that nobody knows whether the platform still accepts the token: it is tried.
    RefreshInDoubt,
}

/// What went wrong, and what to do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LastError)]
pub(crate) struct LastErrorView {
    /// For a program: never changes.
    #[schema(example = "refresh_interrupted")]
    code: &'static str,
    /// What happened, for a person.
    message: String,
    /// What a person does next.
    next_step: String,
    /// Who can end it.
    who_can_help: HelpView,
    /// The page at the platform where the operator manages the OAuth app; null where it is not known.
    #[schema(required, format = "uri", example = "https://console.cloud.google.com/apis")]
    console_url: Option<&'static str>,
    /// The HTTP status of the platform's answer, if there was one.
    #[schema(required)]
    platform_status: Option<u16>,
    /// The platform's own code for it.
    #[schema(required)]
    platform_code: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Who can end a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WhoCanHelp)]
pub(crate) enum HelpView {
    /// Connects the account again, grants permissions, or settles something at the platform.
    AccountOwner,
    /// No answer of the platform says whose fault it is.
    NobodyKnown,
    /// Changes the OAuth app, a setting or a payment: you, for an app of your own; else the people who run the broker.
    Operator,
    /// It ends by itself: an outage, or throttling.
    Platform,
}

impl From<Help> for HelpView {
    fn from(help: Help) -> Self {
        match help {
            Help::AccountOwner => Self::AccountOwner,
            Help::NobodyKnown => Self::NobodyKnown,
            Help::Operator => Self::Operator,
            Help::Platform => Self::Platform,
        }
    }
}

impl TokenHealthView {
    /// `label`: the platform's name for people. `console`: where the operator manages the app.
    pub(crate) fn new(detail: &IntegrationDetail, label: &str, console: Option<&'static str>) -> Self {
        let platform = &detail.integration.platform;
        Self {
            state: match detail.token_state() {
                TokenState::Ok => TokenHealthStateView::Ok,
                TokenState::ReconnectRequired => TokenHealthStateView::ReconnectRequired,
                TokenState::RefreshFailing => TokenHealthStateView::RefreshFailing,
                TokenState::RefreshInDoubt => TokenHealthStateView::RefreshInDoubt,
            },
            last_error: detail.trouble.as_ref().map(|trouble| LastErrorView {
                code: trouble.kind.code(),
                message: trouble.what_happened(label),
                next_step: trouble.next_step(platform, console),
                who_can_help: trouble.kind.who_can_help().into(),
                console_url: console,
                platform_status: trouble.status,
                platform_code: trouble.platform_code.clone(),
                at: trouble.at,
            }),
            issued_at: detail.issued_at,
            next_refresh_at: detail.due_at,
        }
    }
}

/// How often a key read an account's token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenReads)]
pub(crate) struct TokenReadsView {
    /// As `postpeer access-key list` names it.
    #[schema(example = "key_019a1b2c3d4e7f809a1b2c3d4e5f6071")]
    access_key_id: String,
    #[schema(minimum = 1)]
    reads: u64,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
}

impl From<TokenReads> for TokenReadsView {
    fn from(read: TokenReads) -> Self {
        Self {
            access_key_id: read.access_key_id.to_string(),
            reads: read.reads,
            first_at: read.first_at,
            last_at: read.last_at,
        }
    }
}
