//! Forms that are refused come back with the reason and with what their senders typed, so that nobody types it again.
//!
//! Invariant: only the fields of [`KEPT`] come back. No secret is among them.

use actix_web::http::StatusCode;

use super::problem::kind;
use super::session::Sent;
use super::view::{Detail, View};
use crate::domain::access_key::Scope;
use crate::http::error::{ApiError, Code};
use crate::http::pages::words::console::Refused;

/// The fields that come back.
const KEPT: [&str; 10] =
    ["clientId", "description", "expires", "name", "networks", "other", "platform", "profile", "scope", "server"];

/// Longest text that comes back, in characters: more than any field takes.
const LONGEST: usize = 2100;

/// The form that came back, on the page that has it.
pub(crate) struct Returned {
    /// Address of the form's action, below the console.
    pub(super) path: String,
    pub(super) status: StatusCode,
    pub(super) heading: &'static str,
    pub(super) detail: Detail,
    pub(super) code: &'static str,
    /// Names and texts, in the order of the form.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl View<'_> {
    /// Returns a form to its sender, if they can mend what is wrong with it and may see the page that has it (`sees`).
    /// Any other error has a page of its own. `path`: the form's action, below the console.
    pub(super) fn with_returned(
        mut self,
        error: ApiError,
        path: &str,
        sent: &Sent,
        sees: Scope,
    ) -> Result<Self, ApiError> {
        // A server that does not answer may be misspelt, and so may the profile that a form names.
        let can_mend = kind(error.code) == Refused::NotDone
            || matches!(error.code, Code::PlatformUnreachable | Code::ProfileNotFound);
        if !can_mend || !sent.caller.may(sees) {
            return Err(error);
        }
        let fields = sent.form.fields();
        let texts = |name| fields.texts(name).filter_map(Result::ok).map(move |text| (name, text));
        let short = |(name, text): (_, String)| (name, text.chars().take(LONGEST).collect());
        self.returned = Some(Returned {
            path: path.to_owned(),
            status: error.code.status(),
            heading: (self.words.refused)(Refused::NotDone).0,
            detail: self.detail(&error),
            code: error.code.as_str(),
            fields: KEPT.into_iter().flat_map(texts).map(short).collect(),
        });
        Ok(self)
    }

    /// The form that leads there, if it came back.
    pub(crate) fn returned(&self, path: &str) -> Option<&Returned> {
        self.returned.as_ref().filter(|returned| returned.path == path)
    }

    /// The text that was typed into a field of the form that leads to `path`; else `text`.
    pub(crate) fn typed_or<'a>(&'a self, path: &str, name: &str, text: &'a str) -> &'a str {
        let Some(returned) = self.returned(path) else { return text };
        returned.fields.iter().find(|(found, _)| *found == name).map_or("", |(_, text)| text)
    }

    /// The same for a form that is empty at first.
    pub(crate) fn typed<'a>(&'a self, path: &str, name: &str) -> &'a str {
        self.typed_or(path, name, "")
    }

    /// True when this was ticked or chosen in the form that leads to `path`.
    pub(crate) fn is_picked(&self, path: &str, name: &str, value: &str) -> bool {
        let is_it = |(found, text): &(&'static str, String)| *found == name && text == value;
        self.returned(path).is_some_and(|returned| returned.fields.iter().any(is_it))
    }
}
