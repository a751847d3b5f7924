//! Warnings of settings that still stand as in an example.

use crate::config::keys;
use crate::config::reader::Reader;
use crate::platforms::{Credentials, CustomPlatform};

/// Warns of what still stands as in the example, and of braces that nothing replaces.
pub(super) fn warn(reader: &mut Reader, platform: &CustomPlatform, credentials: Option<&Credentials>) {
    let at = |key| [keys::PLATFORMS, platform.name.as_str(), key];
    if platform.identity_headers.iter().any(|(_, value)| has_unknown_placeholder(value)) {
        reader
            .warn(&at("identity_headers"), "has braces that stay as they are: {client_id} alone stands for something");
    }
    for (key, url) in platform.urls() {
        if url.contains("TENANT-ID") {
            reader.warn(&at(key), "has the placeholder TENANT-ID: write the tenant's id in its place");
        }
        // A GraphQL query has braces of its own.
        let fixed = if key == "identity_url" { url.split('?').next().unwrap_or_default() } else { url };
        if fixed.contains('{') {
            reader.warn(&at(key), "has braces that stay as they are: write what they stand for in their place");
        }
    }
    if credentials.is_some_and(|known| known.client_id == PLACEHOLDER) {
        reader.warn(&at("client_id"), "is the placeholder of the example: write the id that the server gave you");
    }
}

/// The client id in `postpeer.toml.example`.
const PLACEHOLDER: &str = "the-id-that-the-server-gave-you";

/// True for a word in braces that nothing replaces.
fn has_unknown_placeholder(value: &str) -> bool {
    value.replace("{client_id}", "").split_once('{').is_some_and(|(_, rest)| rest.contains('}'))
}
