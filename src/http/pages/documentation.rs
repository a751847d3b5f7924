//! `/documentation`: the OpenAPI document, and a page rendered from it that works offline and without script.
//!
//! Invariant: anyone may ask for them, so each is rendered once.

use std::sync::OnceLock;

use actix_web::http::header::{self, ContentType, ETag, EntityTag, Header as _, IfNoneMatch};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::openapi::Server;

use super::frame::Frame;
use crate::http::error::ApiError;
use crate::http::routes::{Access, ROUTES, Route};
use crate::http::{Current, State, openapi};

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
}

impl Document {
    /// Renders the text if this is the first request for it. It takes some milliseconds, which anyone could ask for.
    fn once(cell: &OnceLock<Self>, render: impl FnOnce() -> Result<String, ApiError>) -> Result<&Self, ApiError> {
        if let Some(rendered) = cell.get() {
            return Ok(rendered);
        }
        let text = Bytes::from(render()?);
        let tag = EntityTag::new_strong(hex::encode(Sha256::digest(&text)));
        Ok(cell.get_or_init(|| Self { text, tag }))
    }

    /// Answers 304 to a client that has this text already. A browser then replaces the headers that it stored with ours,
    /// so both answers carry the same.
    fn answer(&self, req: &HttpRequest, content_type: ContentType, policy: Option<String>) -> HttpResponse {
        let is_known = match IfNoneMatch::parse(req) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(known)) => known.iter().any(|tag| tag.weak_eq(&self.tag)),
            Err(_) => false,
        };
        let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer.insert_header(ETag(self.tag.clone())).insert_header((header::CACHE_CONTROL, "no-cache"));
        if let Some(policy) = policy {
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
        let mut document = openapi::document();
        document.servers = Some(vec![Server::new(&state.settings.public_url)]);
        document.to_pretty_json().map_err(ApiError::internal)
    })?;
    Ok(document.answer(&req, ContentType::json(), None))
}

/// The API as a page to read
#[utoipa::path(get, path = "/documentation", operation_id = "readDocumentation", tag = "Documentation",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "The page whose `ETag` the request named in `If-None-Match`.")))]
pub(crate) async fn page(state: Current, req: HttpRequest) -> Result<HttpResponse, ApiError> {
    let page = Document::once(&state.documentation.page, || {
        let document = serde_json::to_value(openapi::document()).map_err(ApiError::internal)?;
        Documentation::read(&document, &state).render().map_err(ApiError::internal)
    })?;
    Ok(page.answer(&req, ContentType::html(), Some(state.looks.of(None).policy("'none'"))))
}

#[derive(Template)]
#[template(path = "documentation.html")]
struct Documentation<'a> {
    frame: Frame<'a>,
    title: String,
    version: String,
    description: Prose,
    chapters: Vec<Chapter>,
}

/// The operations of one tag.
struct Chapter {
    name: String,
    description: String,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: &'static str,
    path: String,
    summary: String,
    paragraphs: Vec<Prose>,
    access: String,
    parameters: Vec<Member>,
    body: Vec<Member>,
    answers: Vec<Answer>,
    /// A command line that calls the operation.
    curl: String,
}

/// A parameter, or a member of a body.
struct Member {
    name: String,
    kind: String,
    required: bool,
    description: Prose,
}

/// Text, split at the backticks that mark code.
type Prose = Vec<Piece>;

struct Piece {
    code: bool,
    text: String,
}

fn prose(text: &str) -> Prose {
    let pieces = text.split('`').enumerate();
    pieces.map(|(at, text)| Piece { code: at % 2 == 1, text: text.to_owned() }).collect()
}

struct Answer {
    status: String,
    description: Prose,
    members: Vec<Member>,
}

impl<'a> Documentation<'a> {
    fn read(document: &Value, state: &'a State) -> Self {
        let settings = &state.settings;
        let reader = Reader { document };
        let chapters = list(document, "/tags")
            .map(|tag| {
                let name = text(tag, "/name");
                let operations = ROUTES
                    .iter()
                    .filter_map(|route| reader.operation(route, &settings.public_url).filter(|(tag, _)| *tag == name))
                    .map(|(_, operation)| operation)
                    .collect();
                Chapter { description: text(tag, "/description"), name, operations }
            })
            .collect();
        Self {
            frame: Frame::plain(state),
            title: text(document, "/info/title"),
            version: text(document, "/info/version"),
            description: prose(&text(document, "/info/description")),
            chapters,
        }
    }
}

/// Reads the parts of an OpenAPI document that the page shows.
struct Reader<'a> {
    document: &'a Value,
}

impl<'a> Reader<'a> {
    /// The tag of a route and its operation.
    fn operation(&self, route: &Route, public_url: &str) -> Option<(String, Operation)> {
        let path = *route.paths.first()?;
        let found = self.document.get("paths")?.get(path)?.get(route.method.as_str().to_lowercase())?;
        let parameters = list(found, "/parameters")
            .map(|parameter| Member {
                name: text(parameter, "/name"),
                kind: parameter.get("schema").map(|schema| self.kind(schema)).unwrap_or_default(),
                required: parameter.get("required").and_then(Value::as_bool).unwrap_or(false),
                description: prose(&text(parameter, "/description")),
            })
            .collect();
        let body = found.pointer("/requestBody/content/application~1json/schema");
        let answers = found.get("responses").and_then(Value::as_object).into_iter().flatten();
        let operation = Operation {
            id: text(found, "/operationId"),
            method: match route.method.as_str() {
                "DELETE" => "DELETE",
                "PATCH" => "PATCH",
                "POST" => "POST",
                _ => "GET",
            },
            path: path.to_owned(),
            summary: Some(text(found, "/summary"))
                .filter(|summary| !summary.is_empty())
                .unwrap_or_else(|| format!("{} {path}", route.method)),
            paragraphs: text(found, "/description").split("\n\n").filter(|p| !p.is_empty()).map(prose).collect(),
            access: match route.access {
                Access::AnyKey => "Any access key.".to_owned(),
                Access::Key(scope) => format!("An access key with the scope {scope}."),
                Access::Public => "No access key.".to_owned(),
            },
            parameters,
            body: body.map(|schema| self.members(schema)).unwrap_or_default(),
            answers: answers
                .map(|(status, answer)| Answer {
                    status: status.clone(),
                    description: prose(&text(answer, "/description")),
                    // Every error has the same members; the introduction lists them.
                    members: match answer.pointer("/content/application~1json/schema") {
                        Some(schema) if status.starts_with('2') => self.members(schema),
                        _ => Vec::new(),
                    },
                })
                .collect(),
            curl: curl(route, path, public_url),
        };
        Some((list(found, "/tags").next()?.as_str()?.to_owned(), operation))
    }

    /// The members of an object, each followed by those of the objects in it, with a dot between the names.
    fn members(&self, schema: &'a Value) -> Vec<Member> {
        let mut members = Vec::new();
        self.collect(schema, "", 0, &mut members);
        members
    }

    fn collect(&self, schema: &'a Value, prefix: &str, depth: usize, members: &mut Vec<Member>) {
        // Deep enough for every schema there is. Without a limit, a schema that contains itself would recurse for ever.
        if depth > 6 {
            return;
        }
        let schema = self.resolve(schema);
        for part in list(schema, "/allOf").chain(list(schema, "/oneOf")) {
            self.collect(part, prefix, depth + 1, members);
        }
        let required: Vec<&str> = list(schema, "/required").filter_map(Value::as_str).collect();
        for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let resolved = self.resolve(member);
            let described = text(member, "/description");
            let described = if described.is_empty() { text(resolved, "/description") } else { described };
            members.push(Member {
                name: format!("{prefix}{name}"),
                kind: self.kind(member),
                required: required.contains(&name.as_str()),
                description: prose(&described),
            });
            match resolved.get("items") {
                Some(item) => self.collect(item, &format!("{prefix}{name}[]."), depth + 1, members),
                None => self.collect(resolved, &format!("{prefix}{name}."), depth + 1, members),
            }
        }
    }

    /// Describes a type in words.
    fn kind(&self, schema: &'a Value) -> String {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let resolved = self.resolve(schema);
            return match resolved.get("enum") {
                Some(_) => self.kind(resolved),
                None => name.rsplit('/').next().unwrap_or(name).to_owned(),
            };
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
        }
        if let Some(parts) = schema.get("oneOf").and_then(Value::as_array) {
            let mut kinds: Vec<String> = parts.iter().map(|part| self.kind(part)).collect();
            kinds.sort_by_key(|kind| kind == "null");
            return kinds.join(" or ");
        }
        let format = text(schema, "/format");
        match schema.get("type") {
            Some(Value::String(kind)) if kind == "array" => {
                format!("list of {}", schema.get("items").map(|item| self.kind(item)).unwrap_or_default())
            }
            Some(Value::String(kind)) if kind == "string" && !format.is_empty() => format,
            Some(Value::String(kind)) => kind.clone(),
            Some(Value::Array(kinds)) => {
                let kinds = kinds.iter().filter_map(Value::as_str);
                let named = kinds.map(|kind| if kind == "string" && !format.is_empty() { &format } else { kind });
                named.collect::<Vec<_>>().join(" or ")
            }
            _ => String::new(),
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.document.pointer(reference.strip_prefix('#')?))
            .unwrap_or(schema)
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn curl(route: &Route, path: &str, public_url: &str) -> String {
    let method = match route.method.as_str() {
        "GET" => String::new(),
        method => format!(" -X {method}"),
    };
    let key = if route.access == Access::Public { "" } else { " -H \"x-access-key: $POSTPEER_KEY\"" };
    let body = if matches!(route.method.as_str(), "PATCH" | "POST") { " --json @body.json" } else { "" };
    format!("curl{method}{key}{body} '{public_url}{path}'")
}
