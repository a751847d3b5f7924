//! Reads from the OpenAPI document what the page shows, in the order in which a newcomer needs it.

use std::collections::BTreeMap;
use std::fmt;

use askama::filters::HtmlSafe;
use serde_json::Value;

use super::chapters::CHAPTERS;
use super::samples::{self, Call};
use crate::http::error::Code;
use crate::http::openapi::codes::{self, GROUPS, Group};
use crate::http::routes::{Access, ROUTES, Route, Surface};

/// A group of operations.
pub(super) struct Chapter {
    pub(super) name: &'static str,
    pub(super) about: Html,
    pub(super) operations: Vec<Operation>,
}

pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) summary: String,
    pub(super) paragraphs: Vec<Html>,
    pub(super) access: String,
    pub(super) parameters: Vec<Member>,
    pub(super) body: Vec<Member>,
    pub(super) body_sample: Option<Html>,
    pub(super) answers: Vec<Answer>,
    /// The errors that the operation shares with others of its kind.
    pub(super) shared: Vec<&'static Group>,
    /// Programs that call the operation, by language. Empty for what only browsers ask for.
    pub(super) calls: Vec<Call>,
}

/// A parameter, or a member of a body.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) kind: String,
    /// Name of the object that `kind` is about.
    pub(super) object: Option<String>,
    pub(super) required: bool,
    pub(super) description: Html,
    /// Where a parameter stands: `path` or `query`.
    pub(super) place: String,
    pub(super) sample: String,
}

/// HTML for between tags. The engine would write quotes in five bytes each, which is a tenth of this page.
#[derive(Clone)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn text(text: &str) -> Self {
        Self(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
    }

    /// Text with code between backticks.
    pub(super) fn prose(text: &str) -> Self {
        let pieces = text.split('`').enumerate().map(|(at, piece)| match (at % 2, Self::text(piece).0) {
            (1, code) => format!("<code>{code}</code>"),
            (_, text) => text,
        });
        Self(pieces.collect())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

/// An object in answers.
pub(super) struct Object {
    pub(super) name: String,
    pub(super) about: Html,
    pub(super) members: Vec<Member>,
}

pub(super) struct Answer {
    pub(super) status: String,
    pub(super) description: Html,
    /// Name of the object that the body is.
    object: Option<String>,
    pub(super) members: Vec<Member>,
    pub(super) sample: Option<Html>,
    /// Id and summary of an earlier operation, which shows the same object.
    pub(super) like: Option<(String, String)>,
    /// Errors that only this operation and its like give.
    pub(super) own: Vec<Told>,
}

/// An error code in words.
pub(super) struct Told {
    pub(super) code: Code,
    pub(super) sentence: Html,
    /// The next step for the caller. Empty where an earlier operation says it.
    pub(super) advice: Html,
}

impl Told {
    pub(super) fn of(code: Code) -> Self {
        Self { code, sentence: Html::text(code.sentence()), advice: Html::prose(code.advice()) }
    }
}

/// All operations, grouped, and the objects in their answers.
pub(super) fn read(document: &Value, public_url: &str) -> (Vec<Chapter>, Vec<Object>) {
    let reader = Reader { document, public_url };
    let mut chapters = reader.chapters();
    show_once(chapters.iter_mut().flat_map(|chapter| &mut chapter.operations));
    let operations = chapters.iter().flat_map(|chapter| &chapter.operations);
    let answers = operations.flat_map(|operation| &operation.answers);
    let mut objects = BTreeMap::new();
    reader.objects(answers.flat_map(|answer| &answer.members), &mut objects);
    (chapters, objects.into_values().collect())
}

/// Leaves out what an earlier operation shows, because pages of the same tables are hard to read.
fn show_once<'a>(operations: impl Iterator<Item = &'a mut Operation>) {
    let mut shown: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut told: BTreeMap<String, Html> = BTreeMap::new();
    let (mut advised, mut described) = (Vec::new(), Vec::new());
    for operation in operations {
        let description: Vec<String> = operation.paragraphs.iter().map(Html::to_string).collect();
        if described.contains(&description) {
            // The same for another platform: its address differs, and that is seen in one language as well.
            operation.calls.truncate(1);
        } else if !description.is_empty() {
            described.push(description);
        }
        for error in operation.answers.iter_mut().flat_map(|answer| &mut answer.own) {
            if advised.contains(&error.code) {
                error.advice = Html::text("");
            } else {
                advised.push(error.code);
            }
        }
        for parameter in &mut operation.parameters {
            let earlier = Html(format!("As for <a href=\"#{}\">{}</a>.", operation.id, operation.summary));
            // A short description is shorter than a link.
            if parameter.description.0.len() > 2 * earlier.0.len() {
                match told.get(&parameter.description.0) {
                    Some(earlier) => parameter.description = earlier.clone(),
                    None => drop(told.insert(parameter.description.0.clone(), earlier)),
                }
            }
        }
        for answer in &mut operation.answers {
            let Some(object) = answer.object.clone() else { continue };
            if let Some(earlier) = shown.get(&object) {
                (answer.members, answer.sample, answer.like) = (Vec::new(), None, Some(earlier.clone()));
            } else {
                shown.insert(object, (operation.id.clone(), operation.summary.clone()));
            }
        }
    }
}

struct Reader<'a> {
    document: &'a Value,
    public_url: &'a str,
}

impl<'a> Reader<'a> {
    fn chapters(&self) -> Vec<Chapter> {
        let mut unlisted: Vec<_> = ROUTES.iter().filter_map(|route| self.find(route)).collect();
        let mut chapters = Vec::new();
        for heading in CHAPTERS {
            let mut found = Vec::new();
            for id in heading.operations {
                let at = unlisted.iter().position(|(_, operation)| text(operation, "/operationId") == **id);
                found.extend(at.map(|at| unlisted.remove(at)));
            }
            chapters.push((heading, found));
        }
        for (route, operation) in unlisted {
            let tag = text(operation, "/tags/0");
            let chapter = chapters.iter().position(|(heading, _)| heading.tag == tag);
            // The last chapter takes what has a new tag.
            let at = chapter.unwrap_or(chapters.len() - 1);
            if let Some((_, found)) = chapters.get_mut(at) {
                found.push((route, operation));
            }
        }
        let read =
            |found: Vec<(&Route, &Value)>| found.into_iter().map(|(route, it)| self.operation(route, it)).collect();
        chapters
            .into_iter()
            .map(|(heading, found)| Chapter {
                name: heading.name,
                about: Html::prose(heading.about),
                operations: read(found),
            })
            .collect()
    }

    /// A route with its operation.
    fn find(&self, route: &'static Route) -> Option<(&'static Route, &'a Value)> {
        let path = *route.paths.first()?;
        Some((route, self.document.get("paths")?.get(path)?.get(route.method.as_str().to_lowercase())?))
    }

    fn operation(&self, route: &Route, found: &'a Value) -> Operation {
        let path = route.paths.first().copied().unwrap_or_default();
        let id = text(found, "/operationId");
        let parameters: Vec<Member> = list(found, "/parameters").map(|it| self.parameter(path, it)).collect();
        let body = found.pointer("/requestBody/content/application~1json/schema");
        let body_sample = body.map(|schema| samples::body(self.document, schema));
        let described = found.get("responses").and_then(Value::as_object).into_iter().flatten();
        let answers = described
            .filter(|(status, answer)| !is_shared(&id, answer) && !is_error_page(route, status))
            .map(|(status, answer)| self.answer(&id, status, answer))
            .collect();
        let gives =
            |group: &Group| list_of_errors(found).any(|name| group.codes.iter().any(|code| code.as_str() == name));
        let shared = GROUPS.iter().filter(|group| group.id != codes::ANY.id && gives(group)).collect();
        let method = match route.method.as_str() {
            "DELETE" => "DELETE",
            "PATCH" => "PATCH",
            "POST" => "POST",
            _ => "GET",
        };
        let needs_key = route.access != Access::Public;
        let calls = match route.surface {
            Surface::Json => {
                let filled = parameters.iter().fold(path.to_owned(), |path, parameter| {
                    path.replace(&format!("{{{}}}", parameter.name), &parameter.sample)
                });
                let query =
                    parameters.iter().find(|parameter| parameter.place == "query" && !parameter.sample.is_empty());
                let query = query.map(|parameter| (parameter.name.as_str(), parameter.sample.as_str()));
                let url = format!("{}{filled}", self.public_url);
                samples::calls(method, &url, query, needs_key, body_sample.as_ref())
            }
            Surface::Console | Surface::Page => Vec::new(),
        };
        Operation {
            method,
            path: path.to_owned(),
            summary: text(found, "/summary"),
            paragraphs: text(found, "/description").split("\n\n").filter(|p| !p.is_empty()).map(Html::prose).collect(),
            access: match route.access {
                Access::AnyKey => "Any access key.".to_owned(),
                Access::Key(scope) => format!("An access key with the scope {scope}."),
                Access::Public | Access::Session(_) => "No access key.".to_owned(),
            },
            parameters,
            body: body.map(|schema| self.members(schema)).unwrap_or_default(),
            body_sample: body_sample.as_ref().map(|sample| Html::text(&samples::pretty(sample))),
            answers,
            shared,
            calls,
            id,
        }
    }

    fn parameter(&self, path: &str, parameter: &'a Value) -> Member {
        let (name, place) = (text(parameter, "/name"), text(parameter, "/in"));
        let example = parameter.get("example").and_then(Value::as_str);
        let sample = match example {
            Some(example) => example.to_owned(),
            None if place == "path" => samples::of_path(self.document, path, &name),
            None => String::new(),
        };
        Member {
            kind: parameter.get("schema").map(|schema| self.kind(schema)).unwrap_or_default(),
            object: None,
            required: parameter.get("required").and_then(Value::as_bool).unwrap_or(false),
            description: Html::prose(&text(parameter, "/description")),
            name,
            place,
            sample,
        }
    }

    fn answer(&self, id: &str, status: &str, answer: &'a Value) -> Answer {
        let content = answer.pointer("/content/application~1json");
        let schema = content.and_then(|content| content.get("schema")).filter(|_| status.starts_with('2'));
        let mut told = Answer {
            status: status.to_owned(),
            description: Html::prose(&text(answer, "/description")),
            object: schema.and_then(|schema| self.object(schema)).map(str::to_owned),
            members: schema.map(|schema| self.members(schema)).unwrap_or_default(),
            sample: None,
            like: None,
            own: Vec::new(),
        };
        if !told.members.is_empty() {
            told.sample = schema.map(|schema| Html::text(&samples::pretty(&samples::answer(self.document, schema))));
        }
        let own = codes::own(id).iter().filter(|code| code.status().as_str() == status);
        told.own = own.map(|code| Told::of(*code)).collect();
        told
    }

    /// The members of an object, and of the parts that it is made of.
    fn members(&self, schema: &'a Value) -> Vec<Member> {
        let schema = self.resolve(schema);
        let parts = list(schema, "/allOf").chain(list(schema, "/oneOf"));
        let mut members: Vec<Member> = parts.flat_map(|part| self.members(part)).collect();
        let required: Vec<&str> = list(schema, "/required").filter_map(Value::as_str).collect();
        for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let described = text(member, "/description");
            let described = if described.is_empty() { text(self.resolve(member), "/description") } else { described };
            members.push(Member {
                name: name.clone(),
                kind: self.kind(member),
                object: self.object(member).map(str::to_owned),
                required: required.contains(&name.as_str()),
                description: Html::prose(&described),
                place: String::new(),
                sample: String::new(),
            });
        }
        members
    }

    /// The name of the object that a value is, or is a list of.
    fn object(&self, schema: &'a Value) -> Option<&'a str> {
        if let Some(item) = schema.get("items") {
            return self.object(item);
        }
        if let Some(parts) = schema.get("oneOf").and_then(Value::as_array) {
            return parts.iter().find_map(|part| self.object(part));
        }
        let name = schema.get("$ref")?.as_str()?.rsplit('/').next()?;
        self.resolve(schema).get("enum").is_none().then_some(name)
    }

    /// The objects that these members are, and those in them.
    fn objects<'m>(&self, members: impl Iterator<Item = &'m Member>, found: &mut BTreeMap<String, Object>) {
        for name in members.filter_map(|member| member.object.clone()) {
            let schema = self.document.pointer(&format!("/components/schemas/{name}"));
            if let Some(schema) = schema.filter(|_| !found.contains_key(&name)) {
                let about = Html::prose(&text(schema, "/description"));
                found.insert(name.clone(), Object { name: name.clone(), about, members: Vec::new() });
                let members = self.members(schema);
                self.objects(members.iter(), found);
                if let Some(object) = found.get_mut(&name) {
                    object.members = members;
                }
            }
        }
    }

    /// Describes a type in words, with its limits.
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
        let kind = match schema.get("type") {
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
        };
        format!("{kind}{}", limits(schema))
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        samples::resolve(self.document, schema)
    }
}

/// The names of all error codes of an operation.
fn list_of_errors(operation: &Value) -> impl Iterator<Item = &str> {
    let responses = operation.get("responses").and_then(Value::as_object);
    responses.into_iter().flatten().flat_map(|(_, answer)| codes_of(answer))
}

fn codes_of(answer: &Value) -> impl Iterator<Item = &str> {
    let examples = answer.pointer("/content/application~1json/examples").and_then(Value::as_object);
    examples.into_iter().flatten().map(|(code, _)| code.as_str())
}

/// True for an answer whose codes are all shared with other operations.
fn is_shared(id: &str, answer: &Value) -> bool {
    let is_own = |name: &str| codes::own(id).iter().any(|code| code.as_str() == name);
    codes_of(answer).next().is_some() && !codes_of(answer).any(is_own)
}

/// True for an error that only a browser meets, in front of somebody who does not read this.
fn is_error_page(route: &Route, status: &str) -> bool {
    route.surface == Surface::Page && status >= "400"
}

/// The limits of a type in words: ", 1 to 100, default 20".
fn limits(schema: &Value) -> String {
    let bound = |names: [&str; 3]| names.iter().find_map(|name| schema.get(*name)).and_then(Value::as_u64);
    let least = bound(["minimum", "minLength", "minItems"]);
    let most = bound(["maximum", "maxLength", "maxItems"]);
    let unit = match () {
        () if schema.get("maxLength").or(schema.get("minLength")).is_some() => " characters",
        () if schema.get("maxItems").or(schema.get("minItems")).is_some() => " items",
        () => "",
    };
    let range = match (least, most) {
        (Some(least), Some(most)) => format!(", {least} to {most}{unit}"),
        (None, Some(most)) => format!(", at most {most}{unit}"),
        (Some(least), None) if least > 0 => format!(", at least {least}{unit}"),
        _ => String::new(),
    };
    let default = schema.get("default").map(|default| format!(", default {default}"));
    range + &default.unwrap_or_default()
}

pub(super) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
