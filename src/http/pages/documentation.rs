//! `/documentation`: the OpenAPI document, and a page rendered from it that works offline.
//!
//! [`chapters`] has its order, [`reader`] turns the document into what the template shows, [`samples`] invents bodies
//! and calls. The page has the stylesheet of all pages with a part of its own, and the only script there is: it
//! searches, and makes calls to this broker with a key that stays in a field of the page. Everything can be read
//! without it.
//!
//! Invariants: anyone may ask for both, so each is rendered once. The policy allows that one script by its hash, and no
//! request to another host.

mod chapters;
mod reader;
mod samples;

use std::collections::HashSet;
use std::sync::OnceLock;

use actix_web::http::header::{self, ContentType, ETag, EntityTag, Header as _, IfNoneMatch};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::reader::{Chapter, Html, Object, Told};
use super::frame::Frame;
use super::look::{self, Forms};
use crate::domain::integration::PlatformFilter;
use crate::http::error::{ApiError, Code};
use crate::http::openapi::codes::GROUPS;
use crate::http::{Current, State, openapi};

/// The rules of this page alone.
const SHEET: &str = include_str!("../../../templates/documentation.css");
const SCRIPT: &str = include_str!("../../../templates/documentation.js");

/// The files in which the page's classes stand.
const PARTS: [&str; 3] =
    [include_str!("../../../templates/base.html"), include_str!("../../../templates/documentation.html"), SCRIPT];

/// The two documents of this room, once someone asked for them.
#[derive(Default)]
pub(crate) struct Rendered {
    json: OnceLock<Document>,
    page: OnceLock<Document>,
}

/// A text that is the same for everyone until the program changes.
struct Document {
    text: Bytes,
    /// Digest of the text.
    tag: EntityTag,
    /// The content security policy of a page.
    policy: Option<String>,
}

impl Document {
    /// Renders the text if this is the first request for it. It takes some milliseconds, which anyone could ask for.
    fn once(
        cell: &OnceLock<Self>,
        render: impl FnOnce() -> Result<(String, Option<String>), ApiError>,
    ) -> Result<&Self, ApiError> {
        if let Some(rendered) = cell.get() {
            return Ok(rendered);
        }
        let (text, policy) = render()?;
        let tag = EntityTag::new_strong(hex::encode(Sha256::digest(&text)));
        Ok(cell.get_or_init(|| Self { text: Bytes::from(text), tag, policy }))
    }

    /// Answers 304 to a client that has this text already. A browser then replaces the headers that it stored with
    /// ours, so both answers carry the same.
    fn answer(&self, req: &HttpRequest, content_type: ContentType) -> HttpResponse {
        let is_known = match IfNoneMatch::parse(req) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(known)) => known.iter().any(|tag| tag.weak_eq(&self.tag)),
            Err(_) => false,
        };
        let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer.insert_header(ETag(self.tag.clone())).insert_header((header::CACHE_CONTROL, "no-cache"));
        if let Some(policy) = self.policy.as_deref() {
            answer.insert_header((header::CONTENT_SECURITY_POLICY, policy));
        }
        if is_known { answer.finish() } else { answer.insert_header(content_type).body(self.text.clone()) }
    }
}

/// The API as an OpenAPI document
#[utoipa::path(get, path = "/documentation/json", operation_id = "getApiDocument", tag = "Documentation",
    responses((status = 200, description = "This document.", body = Object, content_type = "application/json"),
        (status = 304, description = "The document whose `ETag` the request named in `If-None-Match`.")))]
pub(crate) async fn json(state: Current, req: HttpRequest) -> Result<HttpResponse, ApiError> {
    let document = Document::once(&state.documentation.json, || {
        let platforms = state.broker.list_platforms(&PlatformFilter::All);
        let all: Vec<_> = platforms.iter().map(|platform| platform.name.clone()).collect();
        let redirecting = platforms.into_iter().filter(|platform| platform.has_redirect);
        let redirecting: Vec<_> = redirecting.map(|platform| platform.name).collect();
        let text = openapi::document_of(&state.settings.public_url, &all, &redirecting);
        Ok((text.map_err(ApiError::internal)?, None))
    })?;
    Ok(document.answer(&req, ContentType::json()))
}

/// The API as a page to read
#[utoipa::path(get, path = "/documentation", operation_id = "readDocumentation", tag = "Documentation",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "The page whose `ETag` the request named in `If-None-Match`.")))]
pub(crate) async fn page(state: Current, req: HttpRequest) -> Result<HttpResponse, ApiError> {
    let page = Document::once(&state.documentation.page, || {
        let document = openapi::document().map_err(ApiError::internal)?;
        let page = Documentation::of(&document, &state);
        Ok((page.render().map_err(ApiError::internal)?, Some(page.policy())))
    })?;
    Ok(page.answer(&req, ContentType::html()))
}

#[derive(Template)]
#[template(path = "documentation.html")]
struct Documentation<'a> {
    frame: Frame<'a>,
    /// The stylesheet of all pages, and this page's part.
    style: String,
    title: String,
    version: String,
    description: Html,
    chapters: Vec<Chapter>,
    objects: Vec<Object>,
    /// Errors by the group that shares them; the last have none.
    errors: Vec<Errors>,
    script: String,
}

impl<'a> Documentation<'a> {
    fn of(document: &Value, state: &'a State) -> Self {
        let frame = Frame::plain(state);
        let (chapters, objects) = reader::read(document, &state.settings.public_url);
        let words = |part: &'static str| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let classes: HashSet<&str> = PARTS.into_iter().flat_map(words).collect();
        Self {
            style: look::used(&frame.look.style, |class| classes.contains(class)) + &look::compact(SHEET),
            frame,
            title: reader::text(document, "/info/title"),
            version: reader::text(document, "/info/version"),
            description: Html::prose(&reader::text(document, "/info/description")),
            chapters,
            objects,
            errors: errors(),
            script: compact(SCRIPT),
        }
    }

    fn policy(&self) -> String {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let page = look::policy(&hash(&self.style), Forms::None);
        format!("{page}; script-src 'sha256-{}'; connect-src 'self'", hash(&self.script))
    }
}

/// The script without explanations, indentation, and needless line breaks and spaces. No text in it goes over several
/// lines or has an arrow or an equals sign between spaces, and no explanation stands behind code.
fn compact(script: &str) -> String {
    let mut text = String::with_capacity(script.len());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")) {
        text.push_str(&line.replace(" => ", "=>").replace(" = ", "="));
        if !line.ends_with([';', '{', ',']) {
            text.push('\n');
        }
    }
    text
}

/// Errors under one heading.
struct Errors {
    id: &'static str,
    name: &'static str,
    told: Vec<Told>,
}

fn errors() -> Vec<Errors> {
    let tell = |codes: &[Code]| codes.iter().copied().map(Told::of).collect();
    let shared: Vec<Code> = GROUPS.iter().flat_map(|group| group.codes).copied().collect();
    let rest: Vec<Code> = Code::ALL.iter().filter(|code| !shared.contains(code)).copied().collect();
    let groups = GROUPS.iter().map(|group| Errors { id: group.id, name: group.name, told: tell(group.codes) });
    groups.chain([Errors { id: "single", name: "Single calls", told: tell(&rest) }]).collect()
}
