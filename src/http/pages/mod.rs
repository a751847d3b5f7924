//! The HTML pages: one file per page, with its template in `templates`.
//!
//! [`frame`] has what is around every page, [`look`] its stylesheet and pictures, [`words`] its texts, [`marks`] the
//! signs of platforms. A new page is a template that extends `base.html`, a struct with a field `frame`, and
//! [`Frame::answer`](frame::Frame::answer), or where it has a form
//! [`Frame::answer_with_form`](frame::Frame::answer_with_form); its texts go into `words`.
//!
//! Invariant: a page has no script, except [`documentation`], which shows no foreign text. A page loads nothing from
//! elsewhere, not even pictures of accounts, because that would tell a third party who connects. The template engine
//! escapes all foreign text. The policy allows one stylesheet, by the hash of the text that the page contains, and
//! pictures of our own.

mod account_line;
pub(crate) mod assets;
pub(crate) mod callback;
pub(crate) mod confirmation;
pub(crate) mod demo;
pub(crate) mod documentation;
pub(crate) mod ending;
#[cfg(test)]
mod escaping;
pub(crate) mod frame;
pub(crate) mod link;
pub(crate) mod look;
pub(crate) mod marks;
pub(crate) mod selection;
pub(crate) mod words;

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;

use self::frame::{Frame, keep_language};
use self::look::Forms;
use super::State;
use crate::domain::selection::Findings;
use crate::http::error::{ApiError, Code};
use crate::http::request::cookies;
use crate::http::{Console, Settings};

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    frame: &'a Frame<'a>,
    /// The platform's mark; may be empty.
    mark: &'a str,
    heading: &'a str,
    happened: &'a str,
    /// Whether anything was stored, where `happened` does not say it.
    stored: Option<&'a str>,
    /// Permissions that were missing.
    needed: &'a [String],
    advice: &'a str,
    /// The way to try it again.
    retry: Option<String>,
    /// The platform that `findings` is about, by its name in the configuration and by its name for people.
    platform: &'a str,
    label: &'a str,
    findings: Option<&'a Findings>,
    /// The id of the connection, for a page about how it ended: that page is another request than the one that failed.
    connection: Option<String>,
    code: &'a str,
    /// What the API says of the error, in English; may be empty.
    detail: &'a str,
    /// For the people who run this service; may be empty.
    next_step: &'a str,
}

/// Renders an error as a page.
pub(crate) fn problem(
    builder: HttpResponseBuilder,
    error: &ApiError,
    state: &State,
    req: &HttpRequest,
) -> HttpResponse {
    let mut frame = Frame::new(state, req, None);
    if error.code.status().is_server_error() || error.code == Code::UriTooLong {
        // The same request may work in a moment, so nothing leads away from it; a link cannot be longer than its page.
        frame.languages.clear();
    }
    let told = (frame.words.trouble)(error.trouble);
    let page = Problem {
        frame: &frame,
        mark: "",
        heading: told.heading,
        happened: told.happened,
        stored: None,
        needed: &[],
        advice: told.advice,
        retry: None,
        platform: "",
        label: "",
        findings: None,
        connection: None,
        code: error.code.as_str(),
        detail: &error.sentence,
        next_step: "",
    };
    frame.answer_error(builder, &page, Forms::None, error)
}

/// Redirects the browser, which then sends a GET.
pub(crate) fn see_other(location: impl Into<String>) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, location.into())).finish()
}

/// Sends the browser on to a platform. Sets the cookie that it must come back with, and the language that was chosen.
fn leave(
    state: &State,
    req: &HttpRequest,
    url: String,
    (cookie, lives): (&(String, String), Duration),
) -> Result<HttpResponse, ApiError> {
    let mut answer = see_other(url);
    let cookie = cookies::own(cookie, lives, state.settings.is_secure()).map_err(ApiError::internal)?;
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    keep_language(state, req, &mut answer)?;
    Ok(answer)
}

/// Refuses a form that another site sent.
fn check_is_from_own_page(state: &State, headers: &HeaderMap) -> Result<(), ApiError> {
    if is_from_own_page(headers, &state.settings) { Ok(()) } else { Err(ApiError::new(Code::CrossSite)) }
}

/// True when the browser says that the request comes from one of our pages or from its user. An old browser says only
/// the page's origin. A client that says nothing is not a browser, so no foreign page can misuse it.
pub(crate) fn is_from_own_page(headers: &HeaderMap, settings: &Settings) -> bool {
    is_from_site(headers, |origin| origin == settings.origin().as_bytes())
}

/// The same for the console, whose own listener may be reached under any name. A site that gives itself this address
/// has no session there.
pub(crate) fn is_from_console(headers: &HeaderMap, settings: &Settings) -> bool {
    match settings.console {
        Console::Alone => is_from_asked_host(headers),
        Console::Beside | Console::None => is_from_own_page(headers, settings),
    }
}

/// True when the request comes from a page of the host that was asked for, whatever that is called.
pub(crate) fn is_from_asked_host(headers: &HeaderMap) -> bool {
    is_from_site(headers, |origin| {
        let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
        !host.is_empty() && [&b"http://"[..], b"https://"].iter().any(|scheme| origin == [*scheme, host].concat())
    })
}

fn is_from_site(headers: &HeaderMap, is_own: impl Fn(&[u8]) -> bool) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").peekable();
    if sites.peek().is_some() {
        return sites.all(|site| site == "same-origin" || site == "none");
    }
    headers.get_all(header::ORIGIN).all(|origin| is_own(origin.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn only_our_own_pages_may_post() {
        let is_own = |pairs: &[(&'static str, &'static str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            is_from_own_page(&headers(&pairs), &Settings::new("https://connect.example:443/base"))
        };
        let (site, origin) = ("sec-fetch-site", "origin");
        for good in [
            &[][..],
            &[(site, "same-origin")],
            &[(site, "none")],
            &[(origin, "https://connect.example")],
            &[(site, "same-origin"), (origin, "null")],
        ] {
            assert!(is_own(good), "{good:?}");
        }
        for bad in [
            &[(site, "cross-site")][..],
            &[(site, "same-site")],
            &[(site, "same-origin"), (site, "cross-site")],
            &[(site, "cross-site"), (origin, "https://connect.example")],
            &[(origin, "https://evil.example")],
            &[(origin, "null")],
            &[(origin, "")],
            &[(origin, "http://connect.example")],
            &[(origin, "https://connect.example:8443")],
            &[(origin, "https://connect.example.evil.example")],
            &[(origin, "https://connect.example"), (origin, "https://evil.example")],
        ] {
            assert!(!is_own(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_console_on_a_listener_of_its_own_is_known_by_the_host_that_was_asked_for() {
        let is_own = |pairs: &[(&'static str, &'static str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let settings = Settings { console: Console::Alone, ..Settings::new("https://connect.example") };
            is_from_console(&headers(&pairs), &settings)
        };
        let (host, origin) = (("host", "10.0.0.5:8090"), "origin");
        assert!(is_own(&[host]) && is_own(&[host, (origin, "http://10.0.0.5:8090")]));
        assert!(is_own(&[host, (origin, "https://10.0.0.5:8090")]) && is_own(&[host, ("sec-fetch-site", "none")]));
        for bad in ["https://connect.example", "http://10.0.0.5", "null", "http://"] {
            assert!(!is_own(&[host, (origin, bad)]) && !is_own(&[(origin, bad)]), "{bad}");
        }
        assert!(!is_own(&[host, (origin, "http://10.0.0.5:8090"), ("sec-fetch-site", "cross-site")]));
    }
}
