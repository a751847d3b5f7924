//! The end of a connection: a redirect to the caller's `redirectUri` or to the page of a connect link, or a page that
//! says how it ended.
//!
//! The page has an address of its own, `/connect/result/{ticket}`, so that neither the address bar nor the history
//! keeps the code and state of the callback. Invariant: what that address carries shows how the connection ended, for
//! some minutes, and begins a failed one again. It is good for nothing else.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::account_line::{self, AccountLine};
use super::frame::{Frame, chosen_language, is_chosen, keep_language};
use super::look::Forms;
use super::{Problem, callback, link, marks, see_other};
use crate::broker::Error;
use crate::broker::finished::{Ending, Finished};
use crate::broker::results::Retried;
use crate::domain::failure::{Failure, Help};
use crate::domain::selection::Findings;
use crate::http::access::limited;
use crate::http::error::{ApiError, Trouble};
use crate::http::request::{Segment, peer};
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "cancelled.html")]
struct Cancelled<'a> {
    frame: &'a Frame<'a>,
    mark: &'a str,
    label: &'a str,
    happened: String,
    retry: Option<String>,
}

#[derive(Template)]
#[template(path = "completion.html")]
struct Completion<'a> {
    frame: &'a Frame<'a>,
    mark: &'a str,
    label: &'a str,
}

#[derive(Template)]
#[template(path = "disconnected.html")]
struct Disconnected<'a> {
    frame: &'a Frame<'a>,
    mark: &'a str,
    label: &'a str,
}

#[derive(Template)]
#[template(path = "success.html")]
struct Success<'a> {
    frame: &'a Frame<'a>,
    mark: &'a str,
    label: &'a str,
    accounts: Vec<AccountLine<'a>>,
    profile: Option<&'a str>,
    missing_scopes: &'a [String],
    /// The platform by its name in the configuration, for `findings`.
    platform: &'a str,
    findings: Option<&'a Findings>,
}

/// See how a connection ended
///
/// Where a connection has no `redirectUri`, the callback sends the browser here.
#[utoipa::path(get, path = "/connect/result/{ticket}", operation_id = "showResult", tag = "Connect",
    params(("ticket" = String, Path, description = "Shows this one result, for some minutes.")),
    responses(
        (status = 200, description = "A page that says how it went.", body = String, content_type = "text/html"),
        (status = 409, description = "Another account came back: a page.", body = String,
            content_type = "text/html"),
        (status = 404, description = "The result is not shown any more: a page.", body = String,
            content_type = "text/html"),
    ))]
pub(crate) async fn result(
    state: Current,
    req: HttpRequest,
    Segment(ticket): Segment,
) -> Result<HttpResponse, ApiError> {
    let finished = state.broker.find_result(&ticket).await?;
    if let Some(location) = finished.location() {
        return Ok(on(&req, &finished, location));
    }
    let mut answer = page(&state, &req, &finished)?;
    if is_chosen(&req) {
        // The next connection goes on in it.
        keep_language(&state, &req, &mut answer)?;
    }
    Ok(answer)
}

/// Try a connection again
///
/// For the button on the page of a connection that failed or was cancelled. Begins the same connection again.
#[utoipa::path(get, path = "/connect/result/{ticket}/retry", operation_id = "retryConnection", tag = "Connect",
    params(("ticket" = String, Path, description = "The ticket of the result.")),
    responses(
        (status = 200, description = "The platform does not take it: a page.", body = String, content_type = "text/html"),
        (status = 303, description = "On to the platform."),
        (status = 404, description = "It cannot be tried again from here: a page.", body = String,
            content_type = "text/html"),
        (status = 503, description = "The browser prefetches: a page.", body = String, content_type = "text/html"),
    ))]
pub(crate) async fn retry(
    state: Current,
    req: HttpRequest,
    Segment(ticket): Segment,
) -> Result<HttpResponse, ApiError> {
    super::check_is_from_own_page(&state, req.headers())?;
    callback::refuse_prefetch(req.headers())?;
    let address = peer::address(&req, &state.settings.trusted_proxies);
    let retried = state.broker.retry_connect(&ticket, address, limited(&req, &state)).await;
    let url = match retried.map_err(outdated)? {
        Retried::Begun(url) => url,
        Retried::Failed(finished) => return page(&state, &req, &finished),
    };
    let asks_first = url.starts_with(&format!("{}/connect/", state.settings.public_url));
    let mut answer = see_other(if asks_first { url + &chosen_language(&req) } else { url });
    keep_language(&state, &req, &mut answer)?;
    Ok(answer)
}

/// The error of a retry. What was accepted when the connection began is refused only because the operator changed
/// something since: the person has typed nothing.
fn outdated(error: Error) -> ApiError {
    let error = ApiError::from(error);
    if error.code.status() == StatusCode::BAD_REQUEST { error.on_page(Trouble::Gone) } else { error }
}

/// Redirects to the caller's page if there is one, to that of the link that it began on, or to one of ours.
pub(super) fn show(state: &State, req: &HttpRequest, finished: &Finished) -> Result<HttpResponse, ApiError> {
    if let Some(location) = finished.location() {
        return Ok(on(req, finished, location));
    }
    if let Some(page) = link::way_back(state, req, finished) {
        return Ok(see_other(finished.ending_fragment(page)));
    }
    match &finished.ticket {
        Some(_) => {
            let page = format!("{}{}", own_page(state, finished), chosen_language(req));
            Ok(see_other(finished.ending_fragment(page)))
        }
        // The connection is gone, so its result cannot be looked up again.
        None => page(state, req, finished),
    }
}

/// Sends the browser on, in the language that the person chose where the next page is ours.
fn on(req: &HttpRequest, finished: &Finished, location: String) -> HttpResponse {
    if !finished.leads_to_choice() {
        return see_other(location);
    }
    let language = chosen_language(req);
    see_other(match location.split_once('#') {
        Some((page, fragment)) => format!("{page}{language}#{fragment}"),
        None => location + &language,
    })
}

/// Path of the page that shows a result, below the public URL's own.
fn own_page(state: &State, finished: &Finished) -> String {
    format!("{}/connect/result/{}", state.settings.base_path(), finished.ticket.as_deref().unwrap_or_default())
}

/// Renders how a connection without a `redirectUri` ended. The status is 200, whatever the ending, as that of a
/// redirect is 303; only the wrong account is a conflict with what the URL was for.
pub(super) fn page(state: &State, req: &HttpRequest, finished: &Finished) -> Result<HttpResponse, ApiError> {
    let frame = &Frame::new(state, req, finished.project.as_deref());
    let (words, label) = (frame.words, finished.label.as_str());
    let mark = &marks::svg(&finished.platform, label);
    let again = || format!("{}/retry{}", own_page(state, finished), chosen_language(req));
    let is_conflict = matches!(&finished.ending, Ending::Failed { failure: Failure::AccountMismatch, .. });
    let builder = if is_conflict { HttpResponse::Conflict() } else { HttpResponse::Ok() };
    match &finished.ending {
        Ending::Cancelled { at } => {
            let retry = finished.may_retry.then(again);
            let happened = (words.cancelled)(*at, label);
            frame.answer(builder, &Cancelled { frame, mark, label, happened, retry }, Forms::None)
        }
        Ending::CompletionRequired { .. } => frame.answer(builder, &Completion { frame, mark, label }, Forms::None),
        Ending::Connected { integrations, .. } if integrations.is_empty() => {
            frame.answer(builder, &Disconnected { frame, mark, label }, Forms::None)
        }
        Ending::Connected { integrations, missing_scopes, findings, .. } => {
            let accounts = account_line::lines(integrations.iter().map(|it| &it.account));
            let (profile, platform) = (finished.profile_name.as_deref(), finished.platform.as_str());
            let findings = findings.as_deref();
            let success = Success { frame, mark, label, accounts, profile, missing_scopes, platform, findings };
            frame.answer(builder, &success, Forms::None)
        }
        Ending::Failed { failure, findings } => {
            let help = failure.who_can_help();
            let next_step = match help {
                Help::NobodyKnown | Help::Operator => (words.remedy)(*failure, &finished.platform, finished.console),
                Help::AccountOwner | Help::Platform => String::new(),
            };
            let told = if finished.is_account_gone {
                (words.account_gone)(label)
            } else {
                words.ended(*failure, findings.is_some(), label)
            };
            let is_unsure = *failure == Failure::Interrupted;
            let lacks_scope = *failure == Failure::PermissionMissing;
            let problem = Problem {
                frame,
                mark,
                heading: &(words.not_connected)(label),
                happened: &told.happened,
                stored: Some(if is_unsure { words.perhaps_stored } else { words.nothing_stored }),
                needed: if lacks_scope { &finished.needed_scopes } else { &[] },
                advice: told.advice,
                retry: (finished.may_retry && help != Help::Operator && !is_unsure).then(again),
                platform: &finished.platform,
                label,
                findings: findings.as_ref(),
                connection: finished.flow_id.map(|id| id.to_string()),
                code: failure.code(),
                detail: "",
                next_step: &next_step,
            };
            frame.answer(builder, &problem, Forms::None)
        }
        Ending::SelectionRequired { .. } => Err(ApiError::internal("a choice to be made has a page of its own")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::broker::finished::CancelledAt;

    /// The pages of this file with this text in every field.
    pub(in super::super) fn pages(
        frame: &Frame<'_>,
        mark: &str,
        text: &str,
        findings: &Findings,
        missing_scopes: &[String],
    ) -> Vec<String> {
        let retry = Some("/".to_owned());
        let cancelled = |at: CancelledAt| {
            let happened = (frame.words.cancelled)(at, text);
            Cancelled { frame, mark, label: text, happened, retry: retry.clone() }.render().unwrap()
        };
        let accounts = vec![AccountLine { name: text, handle: Some(text), address: Some(text) }];
        let (profile, findings) = (Some(text), Some(findings));
        let success = Success { frame, mark, label: text, accounts, profile, missing_scopes, platform: text, findings };
        vec![
            cancelled(CancelledAt::Platform),
            cancelled(CancelledAt::Choice),
            Completion { frame, mark, label: text }.render().unwrap(),
            Disconnected { frame, mark, label: text }.render().unwrap(),
            success.render().unwrap(),
        ]
    }
}
