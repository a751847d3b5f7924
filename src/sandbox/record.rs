//! The record: requests received and tokens issued.

use serde::Serialize;

use super::step::Step;

/// A request that a platform received.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    pub platform: &'static str,
    pub step: Step,
    pub method: String,
    /// Below the platform: `/2/oauth2/token`.
    pub path: String,
    /// Names and values, in the order sent.
    pub query: Vec<(String, String)>,
    /// Headers that platforms look at, by lower-case name, in alphabetical order.
    pub headers: Vec<(String, String)>,
    /// Names and values of a form or multipart body, in the order sent.
    pub form: Vec<(String, String)>,
    /// `None` while the request is in flight, and when the connection was dropped.
    pub status: Option<u16>,
    /// Why the platform refused it, in plain words.
    pub why: Option<String>,
}

impl Recorded {
    /// The first header of that lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// The first field of that name in the body.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        first(&self.form, name)
    }

    /// The first query parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }
}

pub(super) fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    Access,
    Code,
    Id,
    /// An access token exchanged for a short-lived one, which renews itself.
    LongLived,
    /// An access token for one page.
    Page,
    Refresh,
}

/// A code or token that the sandbox gave to the broker, and that must not leak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issued {
    pub platform: &'static str,
    pub kind: TokenKind,
    pub value: String,
}
