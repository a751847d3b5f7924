//! The HTML pages and their content security policy: one file per page, with its template in `templates`.
//!
//! Invariant: a page has no script and loads nothing from elsewhere, not even pictures of accounts, because that would
//! tell a third party who connects. The template engine escapes all foreign text. The policy allows one stylesheet, by
//! the hash of the text that the page contains.

pub(crate) mod callback;
pub(crate) mod demo;
pub(crate) mod documentation;
pub(crate) mod ending;
pub(crate) mod selection;

use std::sync::LazyLock;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpResponse, HttpResponseBuilder};
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::domain::selection::Findings;
use crate::http::context::RequestId;
use crate::http::error::ApiError;

/// The stylesheet, inlined in every page.
pub(crate) const STYLE: &str = include_str!("../../../templates/style.css");

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(Sha256::digest(STYLE)));

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    heading: &'a str,
    happened: &'a str,
    advice: &'a str,
    /// The platform that `findings` is about.
    label: &'a str,
    findings: Option<&'a Findings>,
    code: &'a str,
    request_id: &'a str,
    /// For the people who run this service; may be empty.
    next_step: &'a str,
}

/// Renders an error as a page, or as plain text if the page cannot be rendered.
pub(crate) fn problem(mut builder: HttpResponseBuilder, error: &ApiError, id: &RequestId) -> HttpResponse {
    let page = Problem {
        heading: error.heading,
        happened: &error.sentence,
        advice: error.advice,
        label: "",
        findings: None,
        code: error.code.as_str(),
        request_id: id.as_str(),
        next_step: "",
    };
    match page.render() {
        Ok(text) => html(builder, text, "'none'"),
        Err(_) => builder.content_type("text/plain; charset=utf-8").body(error.sentence.to_string()),
    }
}

/// Redirects the browser, which then sends a GET.
fn see_other(location: impl Into<String>) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, location.into())).finish()
}

/// Renders a page. `form_action` lists where its forms may lead, in the policy's syntax.
pub(crate) fn answer(
    builder: HttpResponseBuilder,
    page: &impl Template,
    form_action: &str,
) -> Result<HttpResponse, ApiError> {
    Ok(html(builder, page.render().map_err(ApiError::internal)?, form_action))
}

fn html(mut builder: HttpResponseBuilder, text: String, form_action: &str) -> HttpResponse {
    builder
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy(form_action)))
        .body(text)
}

/// The content security policy of a page. `form_action` lists where its forms may lead.
fn policy(form_action: &str) -> String {
    let hash = &*STYLE_HASH;
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'; form-action {form_action}"
    )
}

/// True when the browser says that the request comes from one of our pages or from its user. A client that says nothing
/// is not a browser, so no foreign page can misuse it.
pub(crate) fn is_from_own_page(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").all(|site| site == "same-origin" || site == "none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn only_our_own_pages_may_post() {
        let is_own = |sites: &[&'static str]| {
            let pairs: Vec<_> = sites.iter().map(|site| ("sec-fetch-site", site.as_bytes())).collect();
            is_from_own_page(&headers(&pairs))
        };
        for good in [&[][..], &["same-origin"], &["none"]] {
            assert!(is_own(good), "{good:?}");
        }
        for bad in [&["cross-site"][..], &["same-site"], &["same-origin", "cross-site"]] {
            assert!(!is_own(bad), "{bad:?}");
        }
    }
}
