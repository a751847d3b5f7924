//! Asks the operator's resolver and directory whether they answer, for `postpeer check --probe`.

use url::Url;

use super::{Engine, measured};
use crate::outbound::{self, Request};
use crate::platforms::Bluesky;

/// A handle and the identity of an account that the network will have for as long as it exists. A server that does not
/// know them answers as well.
const HANDLE: &str = "bsky.app";
const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";

/// One of the servers that a connection begins at.
#[derive(Debug)]
pub struct Reachable {
    /// The key in the configuration.
    pub key: &'static str,
    pub url: String,
    /// The status of its answer.
    pub answer: Result<u16, outbound::Error>,
}

impl Engine {
    /// Asks both, once. Any answer proves that the server is reached.
    pub async fn probe(&self, directory: &Bluesky) -> Vec<Reachable> {
        let resolve = format!("{}/xrpc/com.atproto.identity.resolveHandle?handle={HANDLE}", directory.resolver_url);
        let document = format!("{}/{DID}", directory.plc_url);
        let mut servers = Vec::new();
        for (key, base, url, step) in [
            ("resolver_url", &directory.resolver_url, resolve, "handle"),
            ("plc_url", &directory.plc_url, document, "document"),
        ] {
            let Ok(parsed) = Url::parse(&url) else { continue };
            let answer = measured(step, self.outbound.send(Request::get(parsed))).await.map(|answer| answer.status);
            servers.push(Reachable { key, url: base.clone(), answer });
        }
        servers
    }
}
