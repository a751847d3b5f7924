//! Keeps revoked what was revoked since a backup, when that is restored: access keys with the links that they made, and
//! links. Of rows that are gone since, the audit trail tells. Those that `keyring forget` revoked work again, as long as the
//! trail tells of it: whoever restores a backup from before has found the keyring, and can tell the keys that the broker
//! made.

use rusqlite::Connection;

use crate::domain::audit::Action;

/// Keys and links of all projects that are revoked in a database, with the times.
pub(super) struct Revoked {
    access_keys: Vec<(String, i64)>,
    /// Each with its project.
    links: Vec<(String, String, i64)>,
    /// Deleted profiles, whose keys and links are revoked, each with its project.
    profiles: Vec<(String, String, i64)>,
    /// Deleted projects.
    projects: Vec<(String, i64)>,
}

impl Revoked {
    /// The database may have any schema.
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let keys = "SELECT '', id, revoked_at FROM access_keys /* every project */ WHERE revoked_at IS NOT NULL";
        let mut revoked = Self {
            access_keys: without_project(list(db, keys)?),
            links: Vec::new(),
            profiles: Vec::new(),
            projects: Vec::new(),
        };
        if db.table_exists(None, "links")? {
            let links = "SELECT project_id, id, revoked_at FROM links /* every project */ WHERE revoked_at IS NOT NULL";
            revoked.links = list(db, links)?;
        }
        if db.table_exists(None, "audit")? {
            let told = |action: Action| list(db, &format!("{TOLD} AND action = '{}'", action.into_str()));
            revoked.access_keys.extend(without_project(told(Action::AccessKeyRevoked)?));
            revoked.links.extend(told(Action::LinkRevoked)?);
            revoked.profiles = told(Action::ProfileDeleted)?;
            revoked.projects = without_project(told(Action::ProjectDeleted)?);
            let forgotten = Action::KeyringForgotten.into_str();
            let forgotten = format!("SELECT '', '', at FROM audit /* every project */ WHERE action = '{forgotten}'");
            let forgotten: Vec<i64> = list(db, &forgotten)?.into_iter().map(|(_, _, at)| at).collect();
            revoked.access_keys.retain(|(_, at)| !forgotten.contains(at));
            revoked.links.retain(|(_, _, at)| !forgotten.contains(at));
        }
        Ok(revoked)
    }

    /// Revokes the same in a copy, which has the present schema. Returns the number of keys that worked there.
    pub(super) fn repeat(&self, copy: &Connection) -> rusqlite::Result<usize> {
        let mut revoke_key = copy.prepare(
            "UPDATE access_keys /* every project */ SET revoked_at = ?2, mac = NULL, mac_dek_id = NULL
             WHERE id = ?1 AND revoked_at IS NULL",
        )?;
        let mut revoke_its_links = copy.prepare(
            "UPDATE links /* every project */ SET revoked_at = ?2, mac = NULL, mac_dek_id = NULL
             WHERE project_id = (SELECT project_id FROM access_keys WHERE id = ?1) AND access_key_id = ?1
                AND revoked_at IS NULL",
        )?;
        let mut revoke_link = copy.prepare(
            "UPDATE links SET revoked_at = ?3, mac = NULL, mac_dek_id = NULL
             WHERE project_id = ?1 AND id = ?2 AND revoked_at IS NULL",
        )?;
        let mut revoke_links_of_profile = copy.prepare(
            "UPDATE links SET revoked_at = ?3, mac = NULL, mac_dek_id = NULL
             WHERE project_id = ?1 AND profile_id = ?2 AND revoked_at IS NULL",
        )?;
        let mut revoke_keys_of_profile = copy.prepare(
            "UPDATE access_keys SET revoked_at = ?3, mac = NULL, mac_dek_id = NULL
             WHERE project_id = ?1 AND profile_id = ?2 AND revoked_at IS NULL",
        )?;
        let mut revoke_keys_of_project = copy.prepare(
            "UPDATE access_keys SET revoked_at = ?2, mac = NULL, mac_dek_id = NULL
             WHERE project_id = ?1 AND revoked_at IS NULL",
        )?;
        let mut revoke_links_of_project = copy.prepare(
            "UPDATE links SET revoked_at = ?2, mac = NULL, mac_dek_id = NULL WHERE project_id = ?1 AND revoked_at IS NULL",
        )?;
        let mut keys = 0;
        for (id, at) in &self.access_keys {
            keys += revoke_key.execute((id, at))?;
            revoke_its_links.execute((id, at))?;
        }
        for (project, id, at) in &self.links {
            revoke_link.execute((project, id, at))?;
        }
        for (project, id, at) in &self.profiles {
            keys += revoke_keys_of_profile.execute((project, id, at))?;
            revoke_links_of_profile.execute((project, id, at))?;
        }
        for (project, at) in &self.projects {
            keys += revoke_keys_of_project.execute((project, at))?;
            revoke_links_of_project.execute((project, at))?;
        }
        Ok(keys)
    }
}

/// Rows of project, id and time.
type Rows = Vec<(String, String, i64)>;

/// Entries of the audit trail as such rows.
const TOLD: &str = "SELECT project_id, object, at FROM audit /* every project */ WHERE project_id IS NOT NULL";

fn list(db: &Connection, sql: &str) -> rusqlite::Result<Rows> {
    db.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn without_project(rows: Rows) -> Vec<(String, i64)> {
    rows.into_iter().map(|(_, id, at)| (id, at)).collect()
}
