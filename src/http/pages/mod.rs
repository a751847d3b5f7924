//! The pages that people see, and the policy they are sent with.
//!
//! Invariant: no script, nothing from elsewhere (no pictures of accounts either: loading one would tell a third party
//! who connects), everything from outside escaped by the template engine, and only our own stylesheet applies: the
//! policy names its hash, computed from the very text that the page carries.

pub(crate) mod callback;
pub(crate) mod demo;
pub(crate) mod documentation;
pub(crate) mod selection;

use std::sync::LazyLock;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpResponse, HttpResponseBuilder};
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::broker::callback::{Ending, Finished};
use crate::domain::integration::Integration;
use crate::domain::selection::Findings;
use crate::http::envelope::RequestId;
use crate::http::error::ApiError;

/// The one stylesheet, which every page carries.
pub(crate) const STYLE: &str = include_str!("../../../templates/style.css");

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(Sha256::digest(STYLE)));

#[derive(Template)]
#[template(path = "cancelled.html")]
struct Cancelled<'a> {
    label: &'a str,
}

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

#[derive(Template)]
#[template(path = "success.html")]
struct Success<'a> {
    label: &'a str,
    accounts: Vec<AccountLine<'a>>,
    profile: Option<&'a str>,
}

/// What a person recognises an account by.
struct AccountLine<'a> {
    name: &'a str,
    /// Where it says more than the name.
    handle: Option<&'a str>,
}

impl<'a> From<&'a Integration> for AccountLine<'a> {
    fn from(integration: &'a Integration) -> Self {
        let name = integration.account.label();
        Self { name, handle: integration.account.username.as_deref().filter(|handle| *handle != name) }
    }
}

/// How a connection ended, where there is no `redirectUri` to go to. The status is 200 whatever the ending, as it is 303
/// whatever the ending where there is one.
pub(crate) fn finished(finished: &Finished, request_id: &str) -> Result<HttpResponse, ApiError> {
    let label = &finished.label;
    let builder = HttpResponse::Ok();
    match &finished.ending {
        Ending::Cancelled => answer(builder, &Cancelled { label }, "'none'"),
        Ending::Connected(integrations) => {
            let accounts = integrations.iter().map(AccountLine::from).collect();
            answer(builder, &Success { label, accounts, profile: finished.profile_name.as_deref() }, "'none'")
        }
        Ending::Failed { failure, findings } => {
            let problem = Problem {
                heading: &format!("{label} was not connected"),
                happened: &failure.what_happened(label),
                advice: failure.what_to_do(),
                label,
                findings: findings.as_ref(),
                code: failure.code(),
                request_id,
            };
            answer(builder, &problem, "'none'")
        }
        Ending::SelectionRequired { .. } => Err(ApiError::internal("a choice to be made has a page of its own")),
    }
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
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_own_pages_post() {
        for good in [&[][..], &[("sec-fetch-site", "same-origin")], &[("sec-fetch-site", "none")]] {
            assert!(is_from_own_page(&headers(good)), "{good:?}");
        }
        for bad in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!is_from_own_page(&headers(bad)), "{bad:?}");
        }
    }
}
