//! A caller's own OAuth app at a platform ("bring your own keys"). Its client id never changes: tokens are bound to it.

use super::id::OauthAppId;
use super::secret::Sealed;
use super::time::Timestamp;

/// Maximum length of a name, in code points.
pub const NAME_MAX: usize = 200;

/// An app without its secret. No endpoint returns the secret.
#[derive(Debug, Clone)]
pub struct OauthApp {
    pub id: OauthAppId,
    pub platform: String,
    pub name: String,
    pub image_url: Option<String>,
    pub client_id: String,
    /// Number of integrations that are connected under this app.
    pub integration_count: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A change of an app; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct OauthAppChange {
    pub name: Option<String>,
    pub image_url: Option<Option<String>>,
    /// The new secret, sealed under `generation + 1` of the row.
    pub client_secret: Option<Sealed>,
}
