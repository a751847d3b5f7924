//! The end of a connection: a redirect to the caller's `redirectUri`, or a page that says how it ended.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::{Problem, answer, see_other};
use crate::broker::finished::{Ending, Finished};
use crate::domain::failure::{Failure, Help};
use crate::domain::integration::Integration;
use crate::http::context::Context;
use crate::http::error::ApiError;

#[derive(Template)]
#[template(path = "cancelled.html")]
struct Cancelled<'a> {
    label: &'a str,
}

#[derive(Template)]
#[template(path = "success.html")]
struct Success<'a> {
    label: &'a str,
    accounts: Vec<AccountLine<'a>>,
    profile: Option<&'a str>,
    missing_scopes: &'a [String],
}

/// An account, as a person recognises it.
struct AccountLine<'a> {
    name: &'a str,
    /// `None` if it equals the name.
    handle: Option<&'a str>,
}

impl<'a> From<&'a Integration> for AccountLine<'a> {
    fn from(integration: &'a Integration) -> Self {
        let name = integration.account.label();
        Self { name, handle: integration.account.username.as_deref().filter(|handle| *handle != name) }
    }
}

/// Redirects to the caller's page if there is one, else renders ours.
pub(super) fn show(req: &HttpRequest, finished: &Finished) -> Result<HttpResponse, ApiError> {
    if let Some(location) = finished.location() {
        return Ok(see_other(location));
    }
    let id = Context::of(req, |context| context.id)?;
    page(finished, id.as_str())
}

/// Renders how a connection without a `redirectUri` ended. The status is always 200, as a redirect is always 303.
fn page(finished: &Finished, request_id: &str) -> Result<HttpResponse, ApiError> {
    let label = &finished.label;
    let builder = HttpResponse::Ok();
    match &finished.ending {
        Ending::Cancelled => answer(builder, &Cancelled { label }, "'none'"),
        Ending::Connected { integrations, missing_scopes } => {
            let accounts = integrations.iter().map(AccountLine::from).collect();
            let profile = finished.profile_name.as_deref();
            answer(builder, &Success { label, accounts, profile, missing_scopes }, "'none'")
        }
        Ending::Failed { failure, findings } => {
            let next_step = match failure.who_can_help() {
                Help::NobodyKnown | Help::Operator => failure.next_step(&finished.platform, finished.console),
                Help::AccountOwner | Help::Platform => String::new(),
            };
            let mut happened = failure.what_happened(label);
            if *failure == Failure::PermissionMissing && !finished.needed_scopes.is_empty() {
                happened = format!("{happened} That takes these permissions: {}.", finished.needed_scopes.join(", "));
            }
            let problem = Problem {
                heading: &format!("{label} was not connected"),
                happened: &happened,
                advice: failure.what_to_do(),
                label,
                findings: findings.as_ref(),
                code: failure.code(),
                request_id,
                next_step: &next_step,
            };
            answer(builder, &problem, "'none'")
        }
        Ending::SelectionRequired { .. } => Err(ApiError::internal("a choice to be made has a page of its own")),
    }
}
