//! The frame of every page of the console: menu, notice, hidden field of the forms, and links that keep the chosen
//! language.
//!
//! `templates/console/layout.html` draws it. A page's template extends that and has the fields `frame` and `at`.

use actix_web::http::header::HeaderValue;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use url::form_urlencoded;

use super::returned::Returned;
use super::session::Sent;
use crate::broker;
use crate::domain::audit::Action;
use crate::domain::time::Timestamp;
use crate::http::State;
use crate::http::context::Context;
use crate::http::error::ApiError;
use crate::http::pages::frame::{Frame, chosen_language};
use crate::http::pages::look::Forms;
use crate::http::pages::see_other;
use crate::http::pages::words::console::{ConsoleWords, Done};
use crate::http::request::cookies;

/// The pages that the menu leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Accounts,
    Apps,
    Home,
    Keys,
    /// The page is not in the menu.
    None,
    Platforms,
    Profiles,
    Trail,
}

impl Section {
    const MENU: [Self; 7] =
        [Self::Home, Self::Accounts, Self::Profiles, Self::Apps, Self::Keys, Self::Platforms, Self::Trail];

    fn path(self) -> &'static str {
        match self {
            Self::Accounts => "/accounts",
            Self::Apps => "/apps",
            Self::Home | Self::None => "",
            Self::Keys => "/keys",
            Self::Platforms => "/platforms",
            Self::Profiles => "/profiles",
            Self::Trail => "/audit",
        }
    }

    fn name(self, words: &ConsoleWords) -> &'static str {
        match self {
            Self::Accounts => words.accounts,
            Self::Apps => words.apps,
            Self::Home => words.home,
            Self::Keys => words.keys,
            Self::None => "",
            Self::Platforms => words.platforms,
            Self::Profiles => words.profiles,
            Self::Trail => words.audit,
        }
    }
}

/// A point in time.
pub(crate) struct Time {
    pub(crate) shown: String,
    /// RFC 3339.
    pub(crate) exact: String,
}

/// Sentence about an error.
pub(crate) struct Detail {
    pub(crate) text: String,
    /// The language that it is in.
    pub(crate) lang: &'static str,
}

/// An entry of the menu.
pub(crate) struct MenuItem {
    pub(crate) name: &'static str,
    pub(crate) href: String,
    pub(crate) is_here: bool,
}

/// Everything around a page's content.
pub(crate) struct View<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) words: &'static ConsoleWords,
    /// Value of the hidden field of the forms; `None` where nobody is signed in.
    pub(crate) form_value: Option<String>,
    pub(crate) here: Section,
    /// Notice after a change.
    pub(crate) done: Option<&'static str>,
    /// The `Set-Cookie` that drops the notice, because this page shows it.
    pub(super) drops_notice: Option<HeaderValue>,
    /// The form of the page that was refused.
    pub(crate) returned: Option<Returned>,
    /// `?lang=…` where the operator chose a language, else nothing.
    lang: String,
}

impl<'a> View<'a> {
    pub(crate) fn new(state: &'a State, req: &HttpRequest, here: Section) -> Self {
        let mut frame = Frame::new(state, req, None);
        // The pages are the operator's, not those of the app that asks people for accounts.
        frame.app = None;
        let words = frame.words.console;
        let notice = cookies::notice(req.headers());
        let done = notice.and_then(|name| name.parse::<Done>().ok()).map(words.done);
        let drops_notice = notice.and_then(|_| notice_cookie(state, None));
        // Also for whoever is refused for another reason than the session.
        let session = Context::of(req, |context| context.session.clone()).ok().flatten();
        let form_value = session.map(|token| token.form_value());
        Self { frame, words, form_value, here, done, drops_notice, returned: None, lang: chosen_language(req) }
    }

    /// The address of a page of the console, such as `/profiles`.
    pub(crate) fn to(&self, path: &str) -> String {
        format!("{}/console{path}{}", self.frame.base, self.lang)
    }

    /// The address of the list that this page belongs to, also on a page that a form came back to.
    pub(crate) fn list(&self) -> String {
        self.to(self.here.path())
    }

    /// The address of an action on a page.
    pub(crate) fn under(&self, path: &str, action: &str) -> String {
        self.to(&format!("{path}{action}"))
    }

    /// The address of a page of the console with a query.
    pub(crate) fn with(&self, path: &str, pairs: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
        let query = query.finish();
        if query.is_empty() {
            return self.to(path);
        }
        let separator = if self.lang.is_empty() { "" } else { "&" };
        let lang = self.lang.trim_start_matches('?');
        format!("{}/console{path}?{query}{separator}{lang}", self.frame.base)
    }

    /// The chosen language, for a form that is sent with GET; empty where none was chosen.
    pub(crate) fn language(&self) -> &'static str {
        if self.lang.is_empty() { "" } else { self.frame.words.code }
    }

    /// A point in time, for a person and for a program.
    pub(crate) fn time(&self, at: Timestamp) -> Time {
        Time { shown: (self.frame.words.time)(at), exact: at.to_string() }
    }

    /// Returns the sentence about an error: in the page's language, or else the API's in English.
    pub(crate) fn detail(&self, error: &ApiError) -> Detail {
        match (self.words.sentence)(error.code) {
            Some(text) => Detail { text: text.to_owned(), lang: self.frame.words.code },
            None => Detail { text: error.sentence.to_string(), lang: "en" },
        }
    }

    pub(crate) fn menu(&self) -> Vec<MenuItem> {
        let item = |section: Section| MenuItem {
            name: section.name(self.words),
            href: self.to(section.path()),
            is_here: section == self.here,
        };
        Section::MENU.into_iter().map(item).collect()
    }

    /// Renders a page. Its forms lead to the console.
    pub(crate) fn answer(&self, status: StatusCode, page: &impl Template) -> Result<HttpResponse, ApiError> {
        let mut builder = HttpResponse::build(status);
        if let Some(cookie) = &self.drops_notice {
            builder.append_header((header::SET_COOKIE, cookie));
        }
        self.frame.answer_with_form(builder, page, Forms::Own)
    }

    /// Renders a page, with the status of the form that came back to it.
    pub(crate) fn show(&self, page: &impl Template) -> Result<HttpResponse, ApiError> {
        let status = self.returned.as_ref().map_or(StatusCode::OK, |returned| returned.status);
        self.answer(status, page)
    }
}

/// Sends the browser to a page of the console, which shows the notice. `path` begins behind `/console`.
pub(crate) fn go(state: &State, req: &HttpRequest, path: &str, done: Option<Done>) -> HttpResponse {
    let mut language = chosen_language(req);
    if path.contains('?') {
        language = language.replacen('?', "&", 1);
    }
    let mut answer = see_other(format!("{}/console{path}{language}", state.settings.base_path()));
    if let Some(cookie) = done.and_then(|done| notice_cookie(state, Some(done.into()))) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

/// The notice after something was removed. Whoever removes it again, as with a second press of the button, is told that
/// it is gone.
pub(super) async fn removed(
    state: &State,
    sent: &Sent,
    (id, how): (&str, Action),
    done: Result<Done, broker::Error>,
) -> Result<Done, ApiError> {
    match done {
        Err(error @ broker::Error::NotFound(_)) => {
            let is_removed = state.broker.was_removed(&sent.caller, id, how).await?;
            if is_removed { Ok(Done::RemovedBefore) } else { Err(error.into()) }
        }
        done => Ok(done?),
    }
}

/// The `Set-Cookie` of a notice for the next page.
pub(super) fn notice_cookie(state: &State, name: Option<&str>) -> Option<HeaderValue> {
    let (base, is_secure) = (state.settings.base_path(), state.settings.is_console_secure());
    cookies::set_notice(name, base, is_secure).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A page of somebody who is signed in, in a frame of a test.
    pub(crate) fn view<'a>(frame: Frame<'a>, text: &str) -> View<'a> {
        let (words, form_value) = (frame.words.console, Some("hidden".to_owned()));
        let own = || text.to_owned();
        let returned = Returned {
            path: "/profiles".to_owned(),
            status: StatusCode::BAD_REQUEST,
            heading: "",
            detail: Detail { text: own(), lang: "en" },
            code: "",
            fields: vec![("name", own()), ("description", own())],
        };
        let (done, returned, lang) = (Some(""), Some(returned), "?lang=de".to_owned());
        View { frame, words, form_value, here: Section::Home, done, drops_notice: None, returned, lang }
    }
}
