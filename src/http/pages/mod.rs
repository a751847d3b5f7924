//! The pages that people see, and the policy they are sent with.
//!
//! Invariant: no script, nothing from elsewhere (no pictures of accounts either: loading one would tell a third party
//! who connects), everything from outside escaped by the template engine, and only our own stylesheet applies: the
//! policy names its hash, computed from the very text that the page carries.

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
use crate::http::envelope::RequestId;
use crate::http::error::ApiError;

/// The one stylesheet, which every page carries.
pub(crate) const STYLE: &str = include_str!("../../../templates/style.css");

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(Sha256::digest(STYLE)));

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    heading: &'a str,
    happened: &'a str,
    advice: &'a str,
    /// The platform that `findings` are of.
    label: &'a str,
    findings: Option<&'a Findings>,
    code: &'a str,
    request_id: &'a str,
}

/// An error, for a person. Where even that cannot be rendered: its sentence.
pub(crate) fn problem(mut builder: HttpResponseBuilder, error: &ApiError, id: &RequestId) -> HttpResponse {
    let page = Problem {
        heading: error.heading,
        happened: &error.sentence,
        advice: error.advice,
        label: "",
        findings: None,
        code: error.code.as_str(),
        request_id: id.as_str(),
    };
    match page.render() {
        Ok(text) => html(builder, text, "'none'"),
        Err(_) => builder.content_type("text/plain; charset=utf-8").body(error.sentence.to_string()),
    }
}

/// Sends the browser on, with GET.
fn see_other(location: impl Into<String>) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, location.into())).finish()
}

/// A page. `form_action`: the sources that its forms may lead to, as in the policy.
pub(crate) fn answer(
    builder: HttpResponseBuilder,
    page: &impl Template,
    form_action: &str,
) -> Result<HttpResponse, ApiError> {
    Ok(html(builder, page.render().map_err(ApiError::internal)?, form_action))
}

fn html(mut builder: HttpResponseBuilder, text: String, form_action: &str) -> HttpResponse {
    let hash = &*STYLE_HASH;
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'; form-action {form_action}"
    );
    builder.content_type("text/html; charset=utf-8").insert_header((header::CONTENT_SECURITY_POLICY, policy)).body(text)
}

/// Whether the browser says that the request comes from a page of ours, or from the person. A client that says nothing
/// is no browser that somebody else's page could use.
pub(crate) fn is_from_own_page(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").all(|site| site == "same-origin" || site == "none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn only_own_pages_post() {
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
