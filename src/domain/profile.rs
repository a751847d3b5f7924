//! Profiles: labels that group integrations, for callers who serve several brands or users.

use super::id::ProfileId;
use super::time::Timestamp;

/// Maximum length of a name, in code points.
pub const NAME_MAX: usize = 200;
/// Maximum length of a description, in code points.
pub const DESCRIPTION_MAX: usize = 1000;

#[derive(Debug, Clone)]
pub struct Profile {
    pub id: ProfileId,
    pub name: String,
    pub description: Option<String>,
    /// Number of integrations with this profile.
    pub integration_count: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A change of a profile; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
}
