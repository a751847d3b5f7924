//! The JSON API: one file per resource, with its handlers and, where they are long, its answers in a `view` beside it.
//!
//! A new operation is a handler here, a line in the table of [`routes`](super::routes) and a line in
//! [`openapi`](super::openapi). Invariant: no view but that of `tokens` has a place for a token or a secret.

pub(crate) mod apps;
pub(crate) mod bluesky;
pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod integrations;
pub(crate) mod platforms;
pub(crate) mod profiles;
pub(crate) mod selection;
pub(crate) mod tokens;

use serde::Serialize;
use utoipa::ToSchema;

use super::request::fields::parse_web_url;

/// Something was done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Done)]
pub(crate) struct DoneView {
    success: bool,
    /// What was done, for a person.
    message: String,
}

impl DoneView {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { success: true, message: message.into() }
    }
}

/// A URL that a platform sent, if it is one that callers' parsers accept.
pub(crate) fn web_url(text: &str) -> Option<String> {
    parse_web_url(text).map(String::from)
}
