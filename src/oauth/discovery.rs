//! Asks an authorization server what it publishes about itself: OpenID Connect Discovery 1.0, or RFC 8414 where a
//! server speaks OAuth only.
//!
//! Only the operator names an issuer, so it is called like any endpoint in the configuration.

use std::fmt;

use url::Url;

use super::Engine;
use crate::domain::error_chain::chain;
use crate::domain::platform_error::Step;
use crate::outbound::{Request, measured};
use crate::platforms::{Metadata, MetadataError};

/// No place has a document that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undiscovered {
    issuer: String,
    /// Each URL that was tried, with the reason.
    tried: Vec<(String, String)>,
    /// True when the server answered at each place, and publishes no metadata there.
    pub is_absent: bool,
}

impl fmt::Display for Undiscovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no metadata of its issuer {} could be read", self.issuer)?;
        for (at, (url, why)) in self.tried.iter().enumerate() {
            write!(f, "{}{url}: {why}", if at == 0 { " (" } else { "; " })?;
        }
        f.write_str(if self.tried.is_empty() { "" } else { ")" })
    }
}

impl std::error::Error for Undiscovered {}

impl Engine {
    /// Fetches the document of a platform's issuer. Tries each place once.
    ///
    /// # Errors
    ///
    /// No place has a document of this issuer.
    pub async fn discover(&self, platform: &str, issuer: &str) -> Result<Metadata, Undiscovered> {
        let mut tried = Vec::new();
        let mut is_absent = true;
        for url in places(issuer) {
            let shown = url.to_string();
            let why = match measured(platform, Step::Discovery.into_str(), self.outbound.send(Request::get(url))).await
            {
                Ok(answer) if answer.is_success() => match Metadata::read(issuer, &answer.json()) {
                    Ok(metadata) => return Ok(metadata),
                    Err(refused) => {
                        // Some servers answer every path with a page.
                        is_absent &= refused == MetadataError::NoIssuer;
                        refused.to_string()
                    }
                },
                Ok(answer) => {
                    is_absent &= matches!(answer.status, 400..=499) && !matches!(answer.status, 408 | 425 | 429);
                    format!("HTTP {}", answer.status)
                }
                Err(error) => {
                    is_absent = false;
                    tracing::debug!(platform.name = platform, url = shown, error = %chain(&error), "discovery failed");
                    error.in_words()
                }
            };
            tried.push((shown, why));
        }
        Err(Undiscovered { issuer: issuer.to_owned(), tried, is_absent })
    }
}

/// The places of the document, in the order in which they are tried. OpenID Connect appends to the issuer's path, RFC
/// 8414 inserts before it.
fn places(issuer: &str) -> Vec<Url> {
    let Ok(issuer) = Url::parse(issuer) else { return Vec::new() };
    let path = issuer.path().trim_end_matches('/');
    [format!("{path}/.well-known/openid-configuration"), format!("/.well-known/oauth-authorization-server{path}")]
        .into_iter()
        .map(|path| {
            let mut url = issuer.clone();
            url.set_path(&path);
            url
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_looked_for_after_the_path_and_before_it() {
        for (issuer, expected) in [
            (
                "https://id.example",
                [
                    "https://id.example/.well-known/openid-configuration",
                    "https://id.example/.well-known/oauth-authorization-server",
                ],
            ),
            (
                "https://id.example:8443/realms/one/",
                [
                    "https://id.example:8443/realms/one/.well-known/openid-configuration",
                    "https://id.example:8443/.well-known/oauth-authorization-server/realms/one",
                ],
            ),
        ] {
            let places: Vec<_> = places(issuer).iter().map(Url::to_string).collect();
            assert_eq!(places, expected);
        }
    }
}
