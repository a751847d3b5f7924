//! An app that the broker registered by itself, at a server that a person named.

use super::secret::Sealed;
use super::time::Timestamp;

/// A registration as stored. Its server, platform and client id identify it.
#[derive(Debug, Clone)]
pub struct Registration {
    pub platform: String,
    /// Scheme and host, as in `https://mastodon.social`.
    pub server: String,
    pub client_id: String,
    pub client_secret: Sealed,
    /// The values that the server was told. A connection with others needs another registration.
    pub callback_url: String,
    pub scopes: Vec<String>,
    pub created_at: Timestamp,
    /// When the server last acknowledged the app; the epoch where that is in doubt.
    pub proven_at: Timestamp,
    /// When a connection last began under it, give or take some minutes.
    pub used_at: Timestamp,
}
