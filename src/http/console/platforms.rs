//! `/console/platforms`: what is set up, and the callback URLs to register.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::view::{Section, View};
use crate::broker::console::{PlatformState, Remark};
use crate::http::Current;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;
use crate::http::pages::marks;

#[derive(Template)]
#[template(path = "console/platforms.html")]
struct Platforms<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    rows: Vec<Row>,
}

struct Row {
    mark: String,
    label: String,
    name: String,
    is_ready: bool,
    state: &'static str,
    callback_url: Option<String>,
    console: Option<&'static str>,
    /// In English; may be empty.
    know: String,
    remarks: Vec<Remark>,
}

pub(crate) async fn list(state: Current, req: HttpRequest) -> Result<HttpResponse, ApiError> {
    let at = &View::new(&state, &req, Section::Platforms);
    let rows = state.broker.known_platforms().into_iter().map(|platform| Row {
        mark: marks::svg(&platform.name, &platform.label),
        is_ready: platform.state == PlatformState::Ready,
        state: (at.words.platform_state)(platform.state),
        label: platform.label,
        name: platform.name,
        callback_url: platform.callback_url,
        console: platform.console,
        know: platform.know,
        remarks: platform.remarks,
    });
    at.show(&Platforms { frame: &at.frame, at, rows: rows.collect() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::broker::console::About;

    pub(in super::super) fn page(at: &View<'_>, mark: &str, text: &str) -> String {
        let own = || text.to_owned();
        let row = Row {
            mark: mark.to_owned(),
            label: own(),
            name: own(),
            is_ready: false,
            state: "",
            callback_url: Some(own()),
            console: Some("https://console.example/"),
            know: own(),
            remarks: vec![Remark { platform: own(), about: About::Setting, sentence: own(), remedy: "do it" }],
        };
        Platforms { frame: &at.frame, at, rows: vec![row] }.render().unwrap()
    }
}
