//! Errors as pages of the console. Whoever is not signed in is sent to sign in, and comes back to the page afterwards.

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;

use super::view::{Detail, Section, View, notice_cookie};
use crate::http::State;
use crate::http::error::{ApiError, Code};
use crate::http::pages::frame::{Frame, without_language};
use crate::http::pages::look::Forms;
use crate::http::pages::words::console::{NoSignIn, Refused};
use crate::http::request::cookies;

#[derive(Template)]
#[template(path = "console/problem.html")]
struct Problem<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    heading: &'static str,
    advice: &'static str,
    detail: Detail,
    code: &'static str,
}

/// Renders an error as a page.
pub(in crate::http) fn show(
    mut builder: HttpResponseBuilder,
    error: &ApiError,
    state: &State,
    req: &HttpRequest,
) -> HttpResponse {
    let at = &View::new(state, req, Section::None);
    if error.code == Code::InvalidAccessKey {
        let sign_in = at.with("/sign-in", &[("to", &wanted(req).unwrap_or_default())]);
        builder.status(StatusCode::SEE_OTHER).insert_header((header::LOCATION, sign_in));
        if let Some(cookie) = ended(state, req).and_then(|why| notice_cookie(state, Some(why.into()))) {
            builder.insert_header((header::SET_COOKIE, cookie));
        }
        return builder.finish();
    }
    let (heading, advice) = (at.words.refused)(kind(error.code));
    if let Some(cookie) = &at.drops_notice {
        builder.append_header((header::SET_COOKIE, cookie));
    }
    let page = Problem { frame: &at.frame, at, heading, advice, detail: at.detail(error), code: error.code.as_str() };
    at.frame.answer_error(builder, &page, Forms::Own, error)
}

/// The notice about an ended session on the page for signing in; `None` where there was no session.
fn ended(state: &State, req: &HttpRequest) -> Option<NoSignIn> {
    let had_session = !cookies::sessions(req.headers(), state.settings.is_console_secure()).is_empty();
    match *req.method() {
        Method::GET | Method::HEAD => had_session.then_some(NoSignIn::Ended),
        _ => Some(NoSignIn::EndedUnchanged),
    }
}

/// The page that was asked for, behind `/console` and without its language; `None` for the overview and for forms.
fn wanted(req: &HttpRequest) -> Option<String> {
    let path =
        req.uri().path().strip_prefix("/console").filter(|path| !path.is_empty() && req.method() == Method::GET)?;
    let query = without_language(req.query_string()).join("&");
    let separator = if query.is_empty() { "" } else { "?" };
    Some(format!("{path}{separator}{query}"))
}

pub(super) fn kind(code: Code) -> Refused {
    match code {
        Code::CrossSite => Refused::NotFromHere,
        Code::AddressNotAllowed | Code::InsufficientScope | Code::KeyBoundToProfile => Refused::NotAllowed,
        Code::LimitReached | Code::Overloaded | Code::TooManyAttempts | Code::TooManyFlows => Refused::TooMuch,
        code if code.status() == StatusCode::NOT_FOUND => Refused::NotThere,
        code if code.status().is_server_error() => Refused::Broken,
        _ => Refused::NotDone,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn page(at: &View<'_>, text: &str) -> String {
        Problem {
            frame: &at.frame,
            at,
            heading: "",
            advice: "",
            detail: Detail { text: text.to_owned(), lang: "" },
            code: "",
        }
        .render()
        .unwrap()
    }
}
