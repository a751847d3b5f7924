//! Keeps revoked what was revoked since a backup, when that is restored: access keys with the links that they made, and
//! links.

use rusqlite::Connection;

/// Keys and links of all projects that are revoked in a database, with the times.
pub(super) struct Revoked {
    access_keys: Vec<(String, i64)>,
    /// Each with its project.
    links: Vec<(String, String, i64)>,
}

impl Revoked {
    /// The database may have any schema.
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let access_keys = db
            .prepare("SELECT id, revoked_at FROM access_keys /* every project */ WHERE revoked_at IS NOT NULL")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        if !db.table_exists(None, "links")? {
            return Ok(Self { access_keys, links: Vec::new() });
        }
        let links = db
            .prepare("SELECT project_id, id, revoked_at FROM links /* every project */ WHERE revoked_at IS NOT NULL")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { access_keys, links })
    }

    /// Revokes the same in a copy, which has the present schema. Returns the number of keys that worked there.
    pub(super) fn repeat(&self, copy: &Connection) -> rusqlite::Result<usize> {
        let mut revoke_key = copy.prepare(
            "UPDATE access_keys /* every project */ SET revoked_at = ?2, mac = NULL, mac_dek_id = NULL
             WHERE id = ?1 AND revoked_at IS NULL",
        )?;
        let mut revoke_its_links = copy.prepare(
            "UPDATE links SET revoked_at = ?2
             WHERE project_id = (SELECT project_id FROM access_keys WHERE id = ?1) AND access_key_id = ?1
                AND revoked_at IS NULL",
        )?;
        let mut revoke_link =
            copy.prepare("UPDATE links SET revoked_at = ?3 WHERE project_id = ?1 AND id = ?2 AND revoked_at IS NULL")?;
        let mut keys = 0;
        for (id, at) in &self.access_keys {
            keys += revoke_key.execute((id, at))?;
            revoke_its_links.execute((id, at))?;
        }
        for (project, id, at) in &self.links {
            revoke_link.execute((project, id, at))?;
        }
        Ok(keys)
    }
}
