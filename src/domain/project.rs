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
