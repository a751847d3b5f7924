//! `/connect/confirm/{token}`: asks the person before the platform does, so that nobody connects an account for
//! somebody else without knowing it.
//!
//! Invariant: looking at the page uses nothing up, only the page itself can continue, and a browser that continued has
//! a cookie that no other site can set.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::frame::Frame;
use super::look::Forms;
use super::{ending, marks};
use crate::broker::confirmation::{Asked, Continued, Question};
use crate::domain::secret::SecretString;
use crate::http::error::{ApiError, Code};
use crate::http::request::{FORM_MAX, Segment, Unread, peer};
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "confirmation.html")]
struct Confirmation<'a> {
    frame: &'a Frame<'a>,
    mark: &'a str,
    label: &'a str,
    profile: Option<&'a str>,
}

/// See what a connection is for
///
/// Where the operator set `confirm` under `[connect]`, connections begin at this page.
#[utoipa::path(get, path = "/connect/confirm/{token}", operation_id = "showConfirmation", tag = "Connect",
    params(
        ("token" = String, Path, description = "The token of this connection."),
        ("lang" = Option<String>, Query, description = "The page's language: `en` or `de`. Without it, the browser's."),
    ),
    responses(
        (status = 200, description = "The page; or one that says that the connection expired.", body = String,
            content_type = "text/html"),
        (status = 303, description = "The connection expired: on to its `redirectUri`, with `status=error` and \
            `error=flow_expired`."),
        (status = 404, description = "The connection has ended, or is not known: a page.", body = String,
            content_type = "text/html"),
    ))]
pub(crate) async fn show(state: Current, req: HttpRequest, Segment(token): Segment) -> Result<HttpResponse, ApiError> {
    match state.broker.get_confirmation(&SecretString::from(token)).await? {
        Asked::Open(question) => page(&state, &req, &question),
        Asked::Late(late) => ending::show(&state, &req, &late),
    }
}

/// Continue to the platform, or not
///
/// For the page itself. Continuing sets a cookie, without which the browser cannot finish the connection.
#[utoipa::path(post, path = "/connect/confirm/{token}", operation_id = "submitConfirmation", tag = "Connect",
    params(("token" = String, Path, description = "The token of this connection.")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`action`: \
        `continue` or `cancel`."),
    responses(
        (status = 200, description = "A page that says that the connection expired.", body = String,
            content_type = "text/html"),
        (status = 303, description = "On to the platform; or, after `cancel` or where that fails, to the connection's \
            `cancelRedirectUri` or `redirectUri`, or to a page that says how it ended."),
        (status = 400, description = "The form has another `action`: a page.", body = String,
            content_type = "text/html"),
        (status = 403, description = "The form was not sent from the page: a page.", body = String,
            content_type = "text/html"),
        (status = 404, description = "The connection has ended, or is not known: a page.", body = String,
            content_type = "text/html"),
        (status = 413, description = "The form is larger than 2 KiB: a page.", body = String,
            content_type = "text/html"),
        (status = 415, description = "This is no form: a page.", body = String, content_type = "text/html"),
    ))]
pub(crate) async fn submit(
    state: Current,
    req: HttpRequest,
    Segment(token): Segment,
    unread: Unread,
) -> Result<HttpResponse, ApiError> {
    super::check_is_from_own_page(&state, req.headers())?;
    let token = SecretString::from(token);
    match unread.form(FORM_MAX).await?.fields().text("action")?.as_deref() {
        Some("continue") => match state.broker.continue_connect(&token).await? {
            Continued::ToPlatform { url, cookie, lives } => super::leave(&state, &req, url, (&cookie, lives)),
            Continued::Ended(finished) => ending::show(&state, &req, &finished),
        },
        Some("cancel") => {
            let address = peer::address(&req, &state.settings.trusted_proxies);
            ending::show(&state, &req, &state.broker.decline_connect(&token, address).await?)
        }
        _ => Err(ApiError::new(Code::InvalidRequest)),
    }
}

fn page(state: &State, req: &HttpRequest, question: &Question) -> Result<HttpResponse, ApiError> {
    let frame = &Frame::new(state, req, question.project.as_deref());
    let page = Confirmation {
        frame,
        mark: &marks::svg(&question.platform, &question.label),
        label: &question.label,
        profile: question.profile_name.as_deref(),
    };
    let leads_to_app = question.redirect_uri.is_some() || question.cancel_redirect_uri.is_some();
    frame.answer_with_form(HttpResponse::Ok(), &page, forms([question.leads_to.as_str()].into_iter(), leads_to_app))
}

/// The places that a page's forms may lead to, if the page sends people on to these consent pages. A platform redirects
/// among hosts of its own, without TLS where the operator runs it without.
pub(super) fn forms<'a>(mut consent_pages: impl Iterator<Item = &'a str>, leads_to_app: bool) -> Forms<'static> {
    if leads_to_app {
        Forms::Anywhere
    } else if consent_pages.any(|url| url.starts_with("http:")) {
        // Includes https.
        Forms::OwnAnd("http:")
    } else {
        Forms::OwnAnd("https:")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The page with this text in every field.
    pub(in super::super) fn page(frame: &Frame<'_>, mark: &str, text: &str) -> String {
        Confirmation { frame, mark, label: text, profile: Some(text) }.render().unwrap()
    }
}
