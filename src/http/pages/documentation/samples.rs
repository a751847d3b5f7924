//! Bodies and calls to copy, invented from the schemas: examples of the document where it has them, else values by the
//! name or the type of a member.

use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::reader::Html;

/// Deep enough for every schema there is. Without a limit, a schema that contains itself would recurse for ever.
const DEPTH: usize = 6;

/// A program that makes a call.
pub(super) struct Call {
    pub(super) language: &'static str,
    pub(super) text: Html,
}

/// Follows a reference to a schema.
pub(super) fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| document.pointer(reference.strip_prefix('#')?))
        .unwrap_or(schema)
}

/// JSON with two spaces of indentation.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// Members to invent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    All,
    /// Those that are always there.
    Required,
}

/// An answer that fits a schema, as it usually is.
pub(super) fn answer(document: &Value, schema: &Value) -> Value {
    of_member(document, schema, "", Members::Required, DEPTH)
}

/// A body that fits a schema, with everything that can be sent.
pub(super) fn body(document: &Value, schema: &Value) -> Value {
    of_member(document, schema, "", Members::All, DEPTH)
}

fn of_member(document: &Value, schema: &Value, name: &str, members: Members, depth: usize) -> Value {
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    let schema = resolve(document, schema);
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        // What is an error or an app of the caller's own is absent in the usual case.
        let nullable = choices.iter().any(|choice| choice.get("type").is_some_and(|kind| kind == "null"));
        let first = choices.first().map(|first| of_member(document, first, name, members, depth - 1));
        return if nullable { Value::Null } else { first.unwrap_or_default() };
    }
    let mut object = Map::new();
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        if let Value::Object(more) = of_member(document, part, name, members, depth - 1) {
            object.extend(more);
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|required| required == name));
    for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if members == Members::All || is_required(name) {
            object.insert(name.clone(), of_member(document, member, name, members, depth - 1));
        }
    }
    if !object.is_empty() {
        return Value::Object(object);
    }
    match kind(schema) {
        "array" => {
            let item = schema.get("items").map(|item| of_member(document, item, name, members, depth - 1));
            Value::from_iter(item)
        }
        "boolean" => json!(!["byok", "reconnectRequired"].contains(&name)),
        "integer" => {
            let least = schema.get("default").or(schema.get("minimum")).and_then(Value::as_u64);
            json!(least.unwrap_or_default().max(1))
        }
        "object" => json!({}),
        _ => of_text(document, schema, name),
    }
}

/// The first type of a schema that is not null.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        Some(kind) => kind.as_str(),
        None => None,
    }
    .unwrap_or_default()
}

fn of_text(document: &Value, schema: &Value, name: &str) -> Value {
    let example = |schema: &str| {
        document.pointer(&format!("/components/schemas/{schema}/properties/id/example")).cloned().unwrap_or_default()
    };
    let text = match (schema.get("format").and_then(Value::as_str), name) {
        (Some("date-time"), _) => "2026-05-03T08:00:00.000Z",
        (Some("uri"), "imageUrl") => "https://cdn.example/ada.png",
        (Some("uri"), "profileUrl") => "https://x.com/adamarlow",
        (Some("uri"), _) => "https://app.example/connected",
        (_, "accessKeyId") => "key_019a1b2c3d4e7f809a1b2c3d4e5f6071",
        (_, "accessToken") => "VGhpcyBpcyBubyB0b2tlbg",
        (_, "actor") => "access_key",
        (_, "address") => "203.0.113.7",
        (_, "clientId") => "VTAxMjM0NTY3ODk",
        (_, "clientSecret") => "as-the-platform-gave-it",
        (_, "description") => "Accounts of the spring campaign",
        (_, "displayName") => "Ada Marlow",
        (_, "flowId") => "flow_019a1b2c3d4e7f809a1b2c3d4e5f6071",
        (_, "message") => "Done.",
        (_, "appId" | "missingScopes" | "platformCode" | "serviceUrl" | "trouble") => return Value::Null,
        (_, "name") => "Acme",
        (_, "platform") => "facebook",
        (_, "platforms") => "twitter",
        (_, "platformUserId") => "1029384756",
        (_, "profileId") => return example("Profile"),
        (_, "reason") => "You are no administrator of this page.",
        (_, "remedy") => "Ask an administrator to give you full control.",
        (_, "route") => "Pages that you manage",
        (_, "scopes") => "users.read",
        (_, "selectedAccountIds") => return example("SelectionAccount"),
        (_, "username") => "@adamarlow",
        _ => "text",
    };
    json!(text)
}

/// What stands in a path for its parameter.
pub(super) fn of_path(document: &Value, path: &str, name: &str) -> String {
    let schema = match (path, name) {
        (path, "id") if path.starts_with("/v1/apps/") => "App",
        (path, "id") if path.starts_with("/v1/profiles/") => "Profile",
        (path, "id") if path.starts_with("/v1/connect/integrations/") => "Integration",
        (path, "id") if path.starts_with("/v1/connect/links/") => "Link",
        _ => return name.to_uppercase(),
    };
    let example = document.pointer(&format!("/components/schemas/{schema}/properties/id/example"));
    example.and_then(Value::as_str).unwrap_or(name).to_owned()
}

/// The call in each language. The key is read from the environment, so that nobody pastes it into a program.
pub(super) fn calls(
    method: &str,
    url: &str,
    query: Option<(&str, &str)>,
    needs_key: bool,
    body: Option<&Value>,
) -> Vec<Call> {
    vec![
        Call { language: "curl", text: Html::text(&curl(method, url, query, needs_key, body)) },
        Call { language: "Python", text: Html::text(&python(method, url, query, needs_key, body)) },
        Call { language: "JavaScript", text: Html::text(&javascript(method, url, query, needs_key, body)) },
    ]
}

fn curl(method: &str, url: &str, query: Option<(&str, &str)>, needs_key: bool, body: Option<&Value>) -> String {
    let mut words = vec!["curl".to_owned()];
    match (method, body) {
        ("GET", _) | ("POST", Some(_)) => {}
        _ => words.push(format!("-X {method}")),
    }
    if needs_key {
        words.push("-H \"x-access-key: $POSTPEER_API_KEY\"".to_owned());
    }
    let mut target = url.to_owned();
    match (query, body) {
        (Some((name, value)), None) => words.push(format!("-G --data-urlencode '{name}={value}'")),
        // `-G` would move the body into the URL too, with the password that is in it.
        (Some((name, value)), Some(_)) => {
            target.push('?');
            target.push_str(&form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish());
        }
        (None, _) => {}
    }
    if let Some(body) = body {
        // The shell ends a quoted word at an apostrophe.
        words.push(format!("--json '{}'", body.to_string().replace('\'', "'\\''")));
    }
    words.push(format!("'{target}'"));
    words.join(" ")
}

fn python(method: &str, url: &str, query: Option<(&str, &str)>, needs_key: bool, body: Option<&Value>) -> String {
    let mut arguments = vec![format!("    \"{url}\",")];
    if needs_key {
        arguments.push("    headers={\"x-access-key\": os.environ[\"POSTPEER_API_KEY\"]},".to_owned());
    }
    if let Some((name, value)) = query {
        arguments.push(format!("    params={{\"{name}\": \"{value}\"}},"));
    }
    if let Some(body) = body {
        let literal =
            pretty(body).replace(": null", ": None").replace(": true", ": True").replace(": false", ": False");
        arguments.push(format!("    json={},", literal.replace('\n', "\n    ")));
    }
    let imports = if needs_key { "import os\nimport requests" } else { "import requests" };
    let call = format!("answer = requests.{}(\n{}\n    timeout=30,\n)", method.to_lowercase(), arguments.join("\n"));
    format!("{imports}\n\n{call}\nprint(answer.status_code, answer.json())")
}

fn javascript(method: &str, url: &str, query: Option<(&str, &str)>, needs_key: bool, body: Option<&Value>) -> String {
    let target = match query {
        Some((name, value)) => format!("\"{url}?\" + new URLSearchParams({{{name}: \"{value}\"}})"),
        None => format!("\"{url}\""),
    };
    let mut options = Vec::new();
    if method != "GET" {
        options.push(format!("  method: \"{method}\","));
    }
    let key = needs_key.then_some("\"x-access-key\": process.env.POSTPEER_API_KEY");
    let json = body.map(|_| "\"content-type\": \"application/json\"");
    let headers: Vec<&str> = key.into_iter().chain(json).collect();
    if !headers.is_empty() {
        options.push(format!("  headers: {{{}}},", headers.join(", ")));
    }
    if let Some(body) = body {
        options.push(format!("  body: JSON.stringify({}),", pretty(body).replace('\n', "\n  ")));
    }
    let options = if options.is_empty() { String::new() } else { format!(", {{\n{}\n}}", options.join("\n")) };
    format!("const answer = await fetch({target}{options});\nconsole.log(answer.status, await answer.json());")
}
