//! `/console/audit`: the audit trail, the latest entry first.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::entries::{EntryRow, entry_row};
use super::session::SignedIn;
use super::view::{Section, View};
use crate::http::Current;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;
use crate::http::request::{FromQuery, Parameters, Query};

#[derive(Template)]
#[template(path = "console/trail.html")]
struct Trail<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    entries: Vec<EntryRow>,
    next: Option<String>,
}

/// The entry that a page begins before.
pub(crate) struct Before(Option<u64>);

impl FromQuery for Before {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self(query.text_if_readable("before").and_then(|before| before.parse().ok())))
    }
}

pub(crate) async fn list(
    state: Current,
    req: HttpRequest,
    signed_in: SignedIn,
    Parameters(Before(before)): Parameters<Before>,
) -> Result<HttpResponse, ApiError> {
    let at = &View::new(&state, &req, Section::Trail);
    let found = state.broker.latest_entries(&signed_in.caller, before).await?;
    let page = Trail {
        frame: &at.frame,
        at,
        entries: found.entries.into_iter().map(|entry| entry_row(at, entry, &found.keys)).collect(),
        next: found.next.map(|next| at.with("/audit", &[("before", &next.to_string())])),
    };
    at.show(&page)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::entries::tests::entry;
    use super::*;

    pub(in super::super) fn page(at: &View<'_>, text: &str) -> String {
        let next = Some(at.with("/audit", &[("before", text)]));
        Trail { frame: &at.frame, at, entries: vec![entry(text)], next }.render().unwrap()
    }
}
