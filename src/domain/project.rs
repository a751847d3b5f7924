//! Projects, the tenants. Every row but a project belongs to exactly one.

use super::id::ProjectId;
use super::time::Timestamp;

/// The project that every database starts with.
pub const DEFAULT_PROJECT: &str = "default";

#[derive(Debug, Clone)]
pub struct Project {
    pub id: ProjectId,
    /// Unique; the value of `--project` on the command line.
    pub name: String,
    pub created_at: Timestamp,
}

/// Numbers of what a project holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    pub profiles: u64,
    pub accounts: u64,
    pub apps: u64,
    /// Access keys that are not revoked.
    pub keys: u64,
    /// Consents.
    pub grants: u64,
    /// Connections that wait for their person.
    pub pending: u64,
}
