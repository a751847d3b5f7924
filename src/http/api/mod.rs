//! The JSON API: one file per resource with its handlers. Long response types are in a `view` beside them.
//!
//! A doc comment on a handler, or on a type with a schema, is a description in the OpenAPI document. Invariant: only
//! the view of `tokens` has a field for a token or a secret, that of `completion` one for a selection token, and that of
//! `links` one for an address that is a secret.

pub(crate) mod apps;
pub(crate) mod audit;
pub(crate) mod bluesky;
pub(crate) mod completion;
pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod integrations;
pub(crate) mod links;
pub(crate) mod platforms;
pub(crate) mod profiles;
pub(crate) mod selection;
pub(crate) mod tokens;

use serde::Serialize;
use utoipa::ToSchema;

use super::request::fields::{is_plain_web_url, normal_web_url};

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

    /// It was not done, though nothing failed.
    pub(crate) fn not(message: impl Into<String>) -> Self {
        Self { success: false, message: message.into() }
    }
}

/// Normalizes a URL that a platform sent; `None` if callers' parsers would reject it.
pub(crate) fn web_url(text: &str) -> Option<String> {
    if is_plain_web_url(text) { Some(text.to_owned()) } else { normal_web_url(text) }
}
