//! The OpenAPI document: `document.json`, which a test generates from the handlers' [`annotations`].

#[cfg(test)]
mod annotations;
pub(crate) mod codes;

use std::iter;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The document of every broker.
pub const DOCUMENT: &str = include_str!("openapi/document.json");

/// The document in parts, in the order in which a reader expects them.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    openapi: Value,
    info: Value,
    #[serde(default)]
    servers: Vec<Value>,
    paths: Value,
    components: Value,
    tags: Value,
}

/// Parses the document.
///
/// # Errors
///
/// None that a test does not see first.
pub(crate) fn document() -> Result<Value, serde_json::Error> {
    serde_json::from_str(DOCUMENT)
}

/// Writes the document of the broker at `public_url`: the parameter and the member `platform` take the names in `all`,
/// and an app one of `redirecting`.
pub(crate) fn document_of(
    public_url: &str,
    all: &[String],
    redirecting: &[String],
) -> Result<String, serde_json::Error> {
    let mut parts: Parts = serde_json::from_str(DOCUMENT)?;
    parts.servers = vec![json!({"url": public_url})];
    let items = parts.paths.as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    let parameters = items.filter_map(|item| item.pointer_mut("/get/parameters")?.as_array_mut()).flatten();
    let named = parameters.filter(|it| it["name"] == "platform" && it["in"] == "query");
    let queried = named.filter_map(|it| it.get_mut("schema")).zip(iter::repeat(all));
    let of_app = parts.components.pointer_mut("/schemas/NewApp/properties/platform").zip(Some(redirecting));
    for (schema, names) in queried.chain(of_app) {
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("enum".to_owned(), json!(names));
        }
    }
    serde_json::to_string_pretty(&parts)
}
