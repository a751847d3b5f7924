//! Checks the statements that the tests run for walks that pass over rows. A condition that no index takes makes a
//! statement look at any number of rows for those that it finds: thousands for a page of ten, while others wait for the
//! thread or for the writer. The plan's text does not tell such a condition, but the bytecode does: it goes on to the
//! next row of the walk.
//!
//! Invariant: a statement passes over rows of a table that grows only where it is among [`ACCEPTED`], with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

/// Tables whose rows are few, or few for each place of a list.
const SMALL: &[&str] = &[
    "activity",
    "audit_purge",
    "backups",
    "counts",
    "discovered",
    "keyring",
    "meta",
    "projects",
    "recovery",
    "recovery_wraps",
    "resealed",
    "sqlite_schema",
];

/// Comparisons that may leave a row out.
const COMPARISONS: &[&str] = &["Eq", "Ge", "Gt", "If", "IfNot", "IsNull", "IsType", "Le", "Lt", "Ne", "NotNull"];

/// Statements that may pass over rows, each by a part of its text, with what bounds that or who waits for it.
const ACCEPTED: &[(&str, &str)] = &[
    // Keys, of which there are some for each project or each profile.
    ("FROM access_keys /* every project */ WHERE mac IS NULL AND revoked_at IS NULL", "once, at the start"),
    ("FROM access_keys /* every project */ WHERE revoked_at IS NULL ORDER BY id", "a long read of a restore"),
    ("FROM access_keys /* every project */ WHERE revoked_at IS NULL AND (expires_at", "a long read"),
    ("SELECT id FROM access_keys WHERE project_id = :project AND revoked_at IS NULL LIMIT", "a project is deleted"),
    (
        "WHERE project_id = :project AND profile_id = :profile AND revoked_at IS NULL RETURNING id",
        "keys of one profile",
    ),
    ("SELECT count(*) FROM access_keys WHERE project_id = :project AND revoked_at", "a long read of the command line"),
    // The audit trail.
    ("AND at >= :not_before", "long reads: times rise with ids, all but a few"),
    ("AND id > :entry AND action = :connected LIMIT 1", "entries about one account while it is disconnected"),
    ("WHERE at < :before AND id < (SELECT max(id) FROM audit)", "leaves out one row"),
    ("FROM audit /* every project */ WHERE project_id IS NOT NULL", "a restore"),
    // Connections that are under way, whose number is limited.
    ("AND (consumed_by IS NULL OR outcome IS NOT NULL OR (expires_at", "flows that wait for a selection"),
    ("AND access_key_id IS :key AND (consumed_by IS NULL OR outcome IS NOT NULL)", "flows of one key"),
    (
        "SELECT count(*) FROM flows WHERE project_id = :project AND consumed_by IS NULL",
        "a long read of the command line",
    ),
    ("WHERE expires_at <= :now AND (spent_at IS NULL OR spent_at <= :repeatable)", "selections that were just made"),
    ("WHERE s.project_id = :project AND s.spent_by IS NULL AND f.app_id = :app", "open selections"),
    ("AND s.spent_by IS NULL AND s.expires_at > :now AND f.client_id = :client", "open selections, and one grant"),
    ("AND NOT EXISTS (SELECT 1 FROM selections WHERE project_id = :project", "flows that wait for a selection"),
    ("FROM flows /* every project */ WHERE mac IS NULL AND rowid > :after", "once, at the start"),
    // Links that work or ended within a day.
    ("FROM links /* every project */ WHERE revoked_at IS NULL ORDER BY id", "at the start, and for the command line"),
    ("UPDATE links /* every project */ SET revoked_at = :now, mac = NULL", "the keyring is lost"),
    ("AND access_key_id = :key AND revoked_at IS NULL AND expires_at > :now", "links of one key"),
    ("AND profile_id = :profile AND revoked_at IS NULL AND expires_at > :now", "links of one profile"),
    ("AND coalesce(revoked_at, expires_at) <= :now", "links of one project, whose number is limited"),
    ("FROM links /* every project */ WHERE revoked_at IS NOT NULL", "a restore"),
    ("FROM access_keys /* every project */ WHERE revoked_at IS NOT NULL", "a restore"),
    // Accounts.
    ("AND ifnull(f.fails_from > :now, 1)", "passes over accounts that fail: a long read behind the first page"),
    ("AND f.fails_from <= :failing_at", "a long read of the command line"),
    ("ON i.project_id = c.project_id AND i.platform = c.platform AND i.fails_from = 0", "a long read of the purge"),
    ("substr(i.platform_user_id, -length(:ending))", "accounts of one platform under one profile, in the index"),
    ("AS counted FROM ( SELECT project_id, kind, within", "a survey of everything"),
    ("UPDATE integrations /* every project */ SET tokens = NULL, tokens_dek_id = NULL", "the keyring is lost"),
    // Apps.
    ("UPDATE oauth_apps /* every project */ SET previous_secret = NULL", "the keyring is lost"),
    ("FROM oauth_apps /* every project */ WHERE deleted_at IS NULL ORDER BY id", "the keyring is lost"),
    // Grants.
    ("UPDATE grants /* every project */ SET status = 'reconnect_required'", "the keyring is lost"),
    (
        "SELECT g.rowid FROM grants AS g /* every project */ INDEXED BY",
        "a long read: due grants, when an app pauses, and grants that need not wait any more",
    ),
    ("INDEXED BY grants_by_consent WHERE platform = :platform AND access_expires_at", "a long read, at a start"),
    ("WHERE rowid IN (SELECT value FROM json_each(:rows))", "grants of a batch"),
    ("WHERE g.rowid IN (SELECT value FROM json_each(:rows))", "grants of a batch"),
    ("AND client_id <> :client_id AND app_id IS NULL AND status = 'active'", "a count of the command line"),
    ("INDEXED BY grants_cut_off", "at the start: refreshes that were in flight"),
    // Sealed values.
    ("IS NOT NULL GROUP BY 1", "values of each data key, for the command line"),
    (", 1, 1) = x'01'", "a long read: values of the first version"),
    // A project that is deleted: what points at these rows goes first.
    ("DELETE FROM access_keys WHERE project_id = :project AND id IN", "token reads of that project"),
    ("DELETE FROM oauth_apps WHERE project_id = :project AND id IN", "flows of that project"),
    ("DELETE FROM profiles WHERE project_id = :project AND id IN", "flows of that project"),
    // Apps that the broker registered at servers.
    ("FROM registrations WHERE platform = :platform AND server = :server AND callback_url", "those at one server"),
    ("SELECT count(*) FROM registrations AS r WHERE EXISTS", "all of them, whose number is limited"),
    ("WHERE used_at < :unused_since AND NOT EXISTS", "those that were not used for long"),
];

/// Fails for a statement that passes over rows and is not accepted.
pub(super) fn check(db: &Connection, sql: &str) {
    static CHECKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if CHECKED.lock().unwrap_or_else(PoisonError::into_inner).contains(sql) {
        return;
    }
    // A database that is damaged, locked or of another schema has no plan. The caller finds out.
    let Ok(walks) = passes_over(db, sql) else { return };
    CHECKED.lock().unwrap_or_else(PoisonError::into_inner).insert(sql.to_owned());
    let text = collapsed(sql);
    assert!(
        walks.is_empty() || ACCEPTED.iter().any(|(part, _)| text.contains(part)),
        "This statement passes over any number of rows of {walks:?}. Find an index or a bound for it, or tell in \
         store/plans.rs why nobody waits: {text}"
    );
}

/// The tables or indices along which the statement passes over rows.
pub(super) fn passes_over(db: &Connection, sql: &str) -> rusqlite::Result<BTreeSet<String>> {
    let mut roots = db.prepare("SELECT rootpage, name, tbl_name FROM sqlite_schema WHERE rootpage > 0")?;
    let roots: BTreeMap<i64, (String, String)> =
        roots.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?.collect::<rusqlite::Result<_>>()?;
    let mut program = db.prepare(&format!("EXPLAIN {sql}"))?;
    let mut rows = program.raw_query();
    let mut steps: Vec<(i64, String, [i64; 3])> = Vec::new();
    while let Some(row) = rows.next()? {
        let address = row.get(0)?;
        // The programs of triggers follow, and begin at 0 again.
        if address == 0 && !steps.is_empty() {
            break;
        }
        steps.push((address, row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?]));
    }
    let opened = steps.iter().filter_map(|(_, opcode, [cursor, root, database])| {
        let is_open = ["OpenRead", "OpenWrite", "ReopenIdx"].contains(&opcode.as_str()) && *database == 0;
        is_open.then_some(())?;
        Some((*cursor, roots.get(root)?))
    });
    let opened: BTreeMap<i64, &(String, String)> = opened.collect();
    // Looks for rows that point at a missing one, which run only while there are such.
    let idle = steps.iter().filter(|(_, opcode, _)| opcode == "FkIfZero").map(|(at, _, [_, end, _])| *at..*end);
    let idle: Vec<Range<i64>> = idle.collect();
    let mut found = BTreeSet::new();
    for (address, opcode, [cursor, start, _]) in &steps {
        if idle.iter().any(|steps| steps.contains(address)) {
            continue;
        }
        let Some((name, table)) = opened.get(cursor).filter(|_| ["Next", "Prev"].contains(&opcode.as_str())) else {
            continue;
        };
        let leaves_out = |(at, opcode, [_, target, _]): &(i64, String, [i64; 3])| {
            (start..address).contains(&at) && target == address && COMPARISONS.contains(&opcode.as_str())
        };
        if !SMALL.contains(&table.as_str()) && steps.iter().any(leaves_out) {
            found.insert(name.clone());
        }
    }
    Ok(found)
}

/// The text with one space between words.
fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::store::fixture::Fixture;

    #[test]
    fn a_condition_that_no_index_takes_is_found() {
        let fixture = Fixture::new();
        for (walk, sql) in [
            ("audit_by_object", "SELECT id FROM audit WHERE project_id = :a AND object = :b AND action = :c LIMIT 1"),
            ("audit_by_project", "SELECT object FROM audit WHERE project_id = :a AND flow_id = :b"),
            ("audit", "SELECT id FROM audit WHERE outcome = :a ORDER BY id DESC LIMIT 1"),
            (
                "integrations_by_failure_of_profile",
                "SELECT n FROM integrations INDEXED BY integrations_by_failure_of_profile
                 WHERE project_id = :a AND profile_id IS NULL AND fails_from <= :b LIMIT 9",
            ),
            ("integrations_listed", "DELETE FROM integrations WHERE project_id = :a AND username = :b AND n > :c"),
            ("grants_by_due", "UPDATE grants SET failures = 0 WHERE due_at < :a AND app_id IS NULL"),
        ] {
            assert_eq!(passes_over(&fixture.db, sql).unwrap(), BTreeSet::from([walk.to_owned()]), "{sql}");
        }
    }

    #[test]
    fn a_walk_that_ends_in_time_is_not_found() {
        let fixture = Fixture::new();
        for sql in [
            "SELECT * FROM audit WHERE project_id = :a AND object = :b AND id > :c ORDER BY id LIMIT 9",
            "SELECT max(id) FROM audit",
            "SELECT n FROM integrations WHERE project_id = :a AND id = :b AND username = :c",
            "SELECT n FROM integrations WHERE project_id = :a AND platform = :b AND fails_from <= :c ORDER BY fails_from",
            "UPDATE grants SET failures = 0 WHERE project_id = :a AND id = :b AND generation = :c",
            "DELETE FROM flows WHERE rowid IN (SELECT rowid FROM flows WHERE expires_at < :a LIMIT 9)",
        ] {
            assert_eq!(passes_over(&fixture.db, sql).unwrap(), BTreeSet::new(), "{sql}");
        }
    }

    #[test]
    fn every_accepted_statement_is_there() {
        let mut sources = String::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("plans.rs") {
                    sources.push_str(&collapsed(&fs::read_to_string(path).unwrap()));
                }
            }
        }
        for (part, _) in ACCEPTED {
            assert!(sources.contains(part), "no statement has this any more: {part}");
        }
    }
}
