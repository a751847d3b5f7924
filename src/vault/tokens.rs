//! The plaintext form of a sealed token set: a JSON object.
//!
//! Unknown members are ignored and optional ones may be absent, so a value sealed by any version of the broker opens.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal;
use crate::domain::grant::TokenSet;

#[derive(Serialize)]
pub(super) struct Written<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
    token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_url: Option<&'a str>,
}

impl<'a> Written<'a> {
    #[expect(clippy::disallowed_methods, reason = "the JSON is sealed next")]
    pub(super) fn of(tokens: &'a TokenSet) -> Self {
        Self {
            access_token: tokens.access_token.expose_secret(),
            refresh_token: tokens.refresh_token.as_ref().map(ExposeSecret::expose_secret),
            id_token: tokens.id_token.as_ref().map(ExposeSecret::expose_secret),
            token_type: &tokens.token_type,
            service_url: tokens.service_url.as_deref(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Read {
    access_token: Secret,
    refresh_token: Option<Secret>,
    id_token: Option<Secret>,
    token_type: String,
    service_url: Option<String>,
}

impl From<Read> for TokenSet {
    fn from(read: Read) -> Self {
        Self {
            access_token: read.access_token.0,
            refresh_token: read.refresh_token.map(|secret| secret.0),
            id_token: read.id_token.map(|secret| secret.0),
            token_type: read.token_type,
            service_url: read.service_url,
        }
    }
}

/// Writes the JSON into a buffer that is wiped when dropped and has room for the tag.
pub(super) fn write(tokens: &TokenSet) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    seal::json(&Written::of(tokens))
}

/// `None` when the bytes are not a token set.
pub(super) fn read(json: &[u8]) -> Option<TokenSet> {
    serde_json::from_slice::<Read>(json).ok().map(TokenSet::from)
}

/// A string that goes into a [`SecretString`] without a stop in between.
pub(super) struct Secret(pub(super) SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(SecretString::from(text)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}
