//! Errors as pages of the console. Whoever is not signed in is sent to sign in.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;

use super::view::{Detail, Section, View};
use crate::http::State;
use crate::http::error::{ApiError, Code};
use crate::http::pages::frame::Frame;
use crate::http::pages::look::Forms;
use crate::http::pages::words::console::Refused;

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

/// Renders an error as a page, or as plain text if the page cannot be rendered.
pub(in crate::http) fn show(
    mut builder: HttpResponseBuilder,
    error: &ApiError,
    state: &State,
    req: &HttpRequest,
) -> HttpResponse {
    let at = &View::new(state, req, Section::None);
    if error.code == Code::InvalidAccessKey {
        let sign_in = at.to("/sign-in");
        return builder.status(StatusCode::SEE_OTHER).insert_header((header::LOCATION, sign_in)).finish();
    }
    let (heading, advice) = (at.words.refused)(kind(error.code));
    let page = Problem { frame: &at.frame, at, heading, advice, detail: at.detail(error), code: error.code.as_str() };
    match page.render() {
        Ok(text) => builder
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CONTENT_SECURITY_POLICY, at.frame.look.policy(Forms::Own)))
            .body(text),
        Err(_) => builder.content_type("text/plain; charset=utf-8").body(error.sentence.to_string()),
    }
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
