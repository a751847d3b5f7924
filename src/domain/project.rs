//! Projects: the tenants. Everything but projects themselves belongs to exactly one.

use super::id::ProjectId;
use super::time::Timestamp;

/// The project that exists from the start.
pub const DEFAULT_PROJECT: &str = "default";

#[derive(Debug, Clone)]
pub struct Project {
    pub id: ProjectId,
    /// Unique; what commands take as `--project`.
    pub name: String,
    pub created_at: Timestamp,
}
