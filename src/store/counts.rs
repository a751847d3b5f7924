//! Kept counts: how many rows each list has, without counting them. Triggers keep them in the transaction that changes
//! the rows (see `migrations/V0007__lists.sql`), so no statement can forget them.

use rusqlite::{Connection, Row, named_params};

use super::Error;
use super::columns::{Fields, all, count};
use crate::domain::id::ProjectId;

/// All rows of the project, as a value of `within`. Otherwise that is the id of a profile or an app.
pub(super) const PROJECT: &str = "*";
/// Integrations without a profile, as a value of `within`.
pub(super) const NO_PROFILE: &str = "";

/// Number of integrations of the profile or app whose id is the SQL expression `id`, for a statement on its row `row`.
pub(super) fn integrations_within(row: &str) -> String {
    format!(
        "(SELECT coalesce(sum(c.total), 0) FROM counts AS c
          WHERE c.project_id = {row}.project_id AND c.kind = 'integrations' AND c.within = {row}.id)"
    )
}

/// Platforms with rows, and the number of their rows. `kind` is the name of the rows' table.
pub(super) fn by_platform(
    db: &Connection,
    project: ProjectId,
    kind: &str,
    within: &str,
) -> Result<Vec<(String, u64)>, Error> {
    all(
        db,
        "SELECT platform AS id, total FROM counts
         WHERE project_id = :project AND kind = :kind AND within = :within AND total > 0",
        named_params! {":project": project, ":kind": kind, ":within": within},
        |row| {
            let fields = Fields::of("counts", row);
            Ok((fields.get("id")?, fields.unsigned("total")?))
        },
    )
}

/// Number of connected accounts of all projects.
pub fn accounts(db: &Connection) -> Result<u64, Error> {
    count(
        db,
        "SELECT coalesce(sum(c.total), 0) FROM projects AS p /* every project */
         JOIN counts AS c ON c.project_id = p.id AND c.kind = 'integrations' AND c.within = '*'",
        &[],
    )
}

/// A kept count that differs from the number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miscount {
    pub project_id: String,
    /// The table.
    pub kind: String,
    /// `*` for the whole project, the id of a profile or an app, or nothing for integrations without a profile.
    pub within: String,
    /// Empty for profiles.
    pub platform: String,
    pub kept: i64,
    pub counted: i64,
}

/// Counts every row of every project, and returns the kept counts that differ. Reads whole tables.
pub fn recount(db: &Connection) -> Result<Vec<Miscount>, Error> {
    all(
        db,
        "SELECT project_id AS id, kind, within, platform, sum(kept) AS kept, sum(counted) AS counted FROM (
            SELECT project_id, kind, within, platform, total AS kept, 0 AS counted FROM counts /* every project */
            UNION ALL SELECT project_id, kind, within, platform, 0, 1 FROM integrations_counted
            UNION ALL SELECT project_id, kind, within, platform, 0, 1 FROM oauth_apps_counted
            UNION ALL SELECT project_id, kind, within, platform, 0, 1 FROM profiles_counted
         ) GROUP BY project_id, kind, within, platform HAVING sum(kept) <> sum(counted)",
        &[],
        read,
    )
}

fn read(row: &Row<'_>) -> Result<Miscount, Error> {
    let fields = Fields::of("counts", row);
    Ok(Miscount {
        project_id: fields.get("id")?,
        kind: fields.get("kind")?,
        within: fields.get("within")?,
        platform: fields.get("platform")?,
        kept: fields.get("kept")?,
        counted: fields.get("counted")?,
    })
}
