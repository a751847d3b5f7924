//! The frame of every page: the name of the app that asks, the way back to it, the language and the foot.
//!
//! `templates/base.html` draws it. A page's template extends that and has a field `frame`.

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;

use super::look::{Forms, Look};
use super::words::{LANGUAGES, Words};
use crate::http::State;
use crate::http::context::Context;
use crate::http::error::ApiError;
use crate::http::request::cookies;
use crate::http::routes::CALLBACK;

/// Everything around a page's content.
pub(crate) struct Frame<'a> {
    pub(crate) words: &'static Words,
    pub(crate) look: &'a Look,
    /// Path that the broker's own links begin with.
    pub(crate) base: &'a str,
    /// The name of the app that asks, where it is known.
    pub(crate) app: Option<&'a str>,
    /// The languages that the page can be had in, other than its own.
    pub(crate) languages: Vec<Language>,
    pub(crate) request_id: String,
}

/// A link to the same page in another language.
pub(crate) struct Language {
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
    /// The page's own query with another `lang`.
    pub(crate) href: String,
}

impl<'a> Frame<'a> {
    /// `project`: the name of the project that the page is about, if it is about one.
    pub(crate) fn new(state: &'a State, req: &HttpRequest, project: Option<&'a str>) -> Self {
        let words = Words::choose(req.query_string(), req.headers());
        let request_id = Context::of(req, |context| context.id.to_string()).unwrap_or_default();
        Self {
            words,
            look: state.looks.of(project),
            base: state.settings.base_path(),
            app: state.looks.app_name(project),
            languages: languages(req, words),
            request_id,
        }
    }

    /// For a page that is rendered once for everyone: English, and the general look.
    pub(crate) fn plain(state: &'a State) -> Self {
        let [words, ..] = LANGUAGES;
        let (look, app) = (state.looks.of(None), state.looks.app_name(None));
        Self { words, look, base: state.settings.base_path(), app, languages: Vec::new(), request_id: String::new() }
    }

    /// "Back to Acme".
    pub(crate) fn back(&self) -> String {
        (self.words.back)(self.app)
    }

    /// Renders a page.
    pub(crate) fn answer(
        &self,
        builder: HttpResponseBuilder,
        page: &impl Template,
        forms: Forms<'_>,
    ) -> Result<HttpResponse, ApiError> {
        let text = page.render().map_err(ApiError::internal)?;
        Ok(self.html(builder, text, forms))
    }

    /// Renders a page with a form that only this page may send. With `no-referrer`, browsers send `Origin: null` with
    /// it. `same-origin` still hides the page's address from other sites.
    pub(crate) fn answer_with_form(
        &self,
        mut builder: HttpResponseBuilder,
        page: &impl Template,
        forms: Forms<'_>,
    ) -> Result<HttpResponse, ApiError> {
        builder.insert_header((header::REFERRER_POLICY, "same-origin"));
        self.answer(builder, page, forms)
    }

    /// Renders the page of an error, or its sentence as plain text if the page cannot be rendered.
    pub(crate) fn answer_error(
        &self,
        mut builder: HttpResponseBuilder,
        page: &impl Template,
        forms: Forms<'_>,
        error: &ApiError,
    ) -> HttpResponse {
        match page.render() {
            Ok(text) => self.html(builder, text, forms),
            Err(_) => builder.content_type("text/plain; charset=utf-8").body(error.sentence.to_string()),
        }
    }

    fn html(&self, mut builder: HttpResponseBuilder, text: String, forms: Forms<'_>) -> HttpResponse {
        builder
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CONTENT_SECURITY_POLICY, self.look.policy(forms)))
            .body(text)
    }
}

/// The page answers a form at the same address only sometimes, so only what was asked for with GET has links. What a
/// callback carries is not repeated on a page.
fn languages(req: &HttpRequest, shown: &Words) -> Vec<Language> {
    if ![Method::GET, Method::HEAD].contains(req.method()) {
        return Vec::new();
    }
    let is_callback = Context::of(req, |context| context.pattern).is_ok_and(|pattern| pattern == Some(CALLBACK));
    let query = if is_callback { "" } else { req.query_string() };
    others(query, shown)
}

/// A query without its language.
pub(crate) fn without_language(query: &str) -> Vec<&str> {
    query.split('&').filter(|pair| !pair.is_empty() && !is_language(pair)).collect()
}

/// Links to the other languages that keep `query`.
pub(crate) fn others(query: &str, shown: &Words) -> Vec<Language> {
    let kept = without_language(query);
    let others = LANGUAGES.into_iter().filter(|words| words.code != shown.code);
    others.map(|words| Language { code: words.code, name: words.name, href: href(&kept, words.code) }).collect()
}

fn href(kept: &[&str], code: &str) -> String {
    let mut pairs = kept.to_vec();
    let language = format!("lang={code}");
    pairs.push(&language);
    format!("?{}", pairs.join("&"))
}

fn is_language(pair: &str) -> bool {
    pair.split('=').next() == Some("lang")
}

/// `?lang=` for a redirect to another page, where the person chose a language, here or before they went to the
/// platform; else nothing.
pub(crate) fn chosen_language(req: &HttpRequest) -> String {
    if is_chosen(req) || cookies::language(req.headers()).is_some() {
        format!("?lang={}", Words::choose(req.query_string(), req.headers()).code)
    } else {
        String::new()
    }
}

/// Keeps a language that the person chose on this page until the platform sends them back. Without a choice, one of an
/// earlier connection is dropped.
pub(crate) fn keep_language(state: &State, req: &HttpRequest, answer: &mut HttpResponse) -> Result<(), ApiError> {
    let code = is_chosen(req).then(|| Words::choose(req.query_string(), req.headers()).code);
    let (base, is_secure) = (state.settings.base_path(), state.settings.is_secure());
    let cookie = cookies::set_language(code, base, is_secure).map_err(ApiError::internal)?;
    answer.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(())
}

/// True when the page was asked for in a language.
pub(crate) fn is_chosen(req: &HttpRequest) -> bool {
    req.query_string().split('&').any(is_language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_keeps_every_other_parameter() {
        let [en, _] = LANGUAGES;
        for (query, expected) in [
            ("", "?lang=de"),
            ("lang=en", "?lang=de"),
            ("a=1&lang=en&b=%20&a=2", "?a=1&b=%20&a=2&lang=de"),
            ("&&language=x", "?language=x&lang=de"),
        ] {
            let hrefs: Vec<_> = others(query, en).into_iter().map(|other| other.href).collect();
            assert_eq!(hrefs, [expected], "{query}");
        }
    }
}
