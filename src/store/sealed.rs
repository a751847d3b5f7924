//! Every column that holds sealed values, so that a new data key or form can replace an old one everywhere.
//!
//! Statements are for every project and say so: data keys belong to the whole database. Invariant: no sealed column is
//! missing in [`SEALED`], and no other column that needs a data key in [`MACS`]. Tests compare them with the schema.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, change_one, count, one, signed};
use super::open::inspect::look;
use super::open::{OpenError, failed};
use super::schema::Schema;
use crate::domain::secret::Sealed;
use crate::domain::time::Timestamp;

/// A column with sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedColumn {
    pub table: &'static str,
    pub column: &'static str,
    /// SQL for what identifies the row in the value's place.
    id: &'static str,
    /// SQL for the generation in the value's place.
    generation: &'static str,
    /// Column in the value's place, where it is not this one.
    sealed_as: Option<&'static str>,
    /// SQL for the project, platform and client in the value's place.
    owner: [&'static str; 3],
    /// Column with the id of the data key. `None` where only the values themselves name it.
    dek_id: Option<&'static str>,
    /// True where a row lives for minutes: its values are not made again with a new data key, and the old one waits for
    /// their end.
    is_brief: bool,
}

/// Of a row that belongs to nobody, or names its owner itself.
const NOBODY: [&str; 3] = ["''", "''", "''"];
const ROW: [&str; 3] = ["project_id", "platform", "client_id"];
/// The client of a selection is its flow's.
const SELECTION: [&str; 3] = [
    "project_id",
    "platform",
    "coalesce((SELECT f.client_id FROM flows AS f WHERE f.project_id = selections.project_id AND f.id = selections.flow_id), '')",
];

/// A column of values that are sealed again. They change with their row's generation.
const fn lasting(table: &'static str, column: &'static str, dek_id: &'static str) -> SealedColumn {
    SealedColumn {
        table,
        column,
        id: "id",
        generation: "generation",
        sealed_as: None,
        owner: ROW,
        dek_id: Some(dek_id),
        is_brief: false,
    }
}

/// A column of values that are gone before anybody would seal them again.
const fn brief(table: &'static str, column: &'static str) -> SealedColumn {
    SealedColumn { table, column, id: "id", generation: "1", sealed_as: None, owner: ROW, dek_id: None, is_brief: true }
}

/// All of them.
pub const SEALED: [SealedColumn; 13] = [
    SealedColumn {
        id: "issuer",
        generation: "1",
        owner: NOBODY,
        ..lasting("discovered", "document", "document_dek_id")
    },
    brief("flows", "answer"),
    brief("flows", "pkce_verifier"),
    brief("flows", "server"),
    lasting("grants", "answer", "answer_dek_id"),
    lasting("grants", "tokens", "tokens_dek_id"),
    SealedColumn { owner: ["project_id", "platform", "''"], ..lasting("integrations", "tokens", "tokens_dek_id") },
    lasting("oauth_apps", "client_secret", "client_secret_dek_id"),
    // Stays sealed as it was before the present one replaced it.
    SealedColumn {
        generation: "generation - 1",
        sealed_as: Some("client_secret"),
        ..lasting("oauth_apps", "previous_secret", "previous_secret_dek_id")
    },
    SealedColumn { owner: NOBODY, ..lasting("recovery", "public_key", "public_key_dek_id") },
    SealedColumn {
        id: "platform || ' ' || server || ' ' || client_id",
        generation: "1",
        owner: NOBODY,
        ..lasting("registrations", "client_secret", "client_secret_dek_id")
    },
    SealedColumn { owner: SELECTION, ..brief("selections", "payload") },
    SealedColumn { owner: SELECTION, ..brief("selections", "token_text") },
];

/// A column of authentication codes.
const fn codes(table: &'static str) -> SealedColumn {
    SealedColumn { generation: "1", ..lasting(table, "mac", "mac_dek_id") }
}

/// The authentication codes of rows, which a data key makes as well: for counting. A session of the console is missing,
/// because it is over when the data key that made its code is retired.
pub const MACS: [SealedColumn; 3] =
    [codes("access_keys"), SealedColumn { is_brief: true, ..codes("flows") }, codes("links")];

/// The values of a column that are to be sealed again.
#[derive(Debug, Clone, Copy)]
pub enum Outdated {
    /// Those with an older key than this one.
    Key(u32),
    /// Those of version 1, which are bound to no owner.
    Version,
}

/// A stored value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub column: SealedColumn,
    pub row: String,
    pub generation: u64,
    /// Project, platform and client in the value's place.
    pub owner: [String; 3],
    pub sealed: Sealed,
}

impl Stored {
    /// The column in the value's place.
    #[must_use]
    pub fn sealed_as(&self) -> &'static str {
        self.column.sealed_as.unwrap_or(self.column.column)
    }
}

impl SealedColumn {
    /// True when its values are made again with a new data key.
    #[must_use]
    pub fn is_resealed(&self) -> bool {
        !self.is_brief
    }

    /// Up to `limit` values, after the first `skip`, that are to be sealed again.
    pub fn list_outdated(&self, db: &Connection, what: Outdated, skip: u32, limit: u32) -> Result<Vec<Stored>, Error> {
        let window = named_params! {":limit": limit, ":skip": skip};
        match (what, self.dek_id) {
            (Outdated::Key(_), None) => Ok(Vec::new()),
            (Outdated::Key(active), Some(dek_id)) => {
                let which = format!("{dek_id} < :active ORDER BY {dek_id} LIMIT :limit OFFSET :skip");
                self.list(db, &which, &[window, named_params! {":active": active}].concat())
            }
            (Outdated::Version, _) => self.list(
                db,
                &format!("{} ORDER BY {} LIMIT :limit OFFSET :skip", self.where_unbound(), self.id),
                window,
            ),
        }
    }

    /// SQL that is true of a value of version 1, as the indexes have it.
    fn where_unbound(&self) -> String {
        format!("substr({}, 1, 1) = x'01'", self.column)
    }

    /// SQL for all that a value's place has.
    fn place(&self) -> String {
        let Self { id, column, generation, owner: [project, platform, client], .. } = self;
        format!(
            "CAST({id} AS TEXT) AS id, {column} AS value, {generation} AS generation, {project} AS owner_project,
             {platform} AS owner_platform, {client} AS owner_client"
        )
    }

    fn read(&self, row: &Row<'_>) -> Result<Stored, Error> {
        let fields = Fields::of(self.table, row);
        Ok(Stored {
            column: *self,
            row: fields.get("id")?,
            generation: fields.unsigned("generation")?,
            owner: [fields.get("owner_project")?, fields.get("owner_platform")?, fields.get("owner_client")?],
            sealed: fields.get("value")?,
        })
    }

    /// Up to `limit` values, after the first `skip`, in a fixed order.
    pub fn list_all(&self, db: &Connection, skip: u32, limit: u32) -> Result<Vec<Stored>, Error> {
        let Self { column, id, .. } = self;
        let window = named_params! {":limit": limit, ":skip": skip};
        self.list(db, &format!("{column} IS NOT NULL ORDER BY {id} LIMIT :limit OFFSET :skip"), window)
    }

    fn list(&self, db: &Connection, which: &str, params: super::columns::Params<'_>) -> Result<Vec<Stored>, Error> {
        let select = format!("SELECT {} FROM {} /* every project */ WHERE {which}", self.place(), self.table);
        all(db, &select, params, |row| self.read(row))
    }

    /// Hands every value to `visit`. Older schemas lack some columns.
    fn for_each(&self, db: &Connection, visit: &mut impl FnMut(Stored)) -> rusqlite::Result<()> {
        let Self { table, column, .. } = self;
        let known = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
        if !db.prepare(known)?.exists([table, column])? {
            return Ok(());
        }
        let place = self.place();
        let select = format!("SELECT {place} FROM {table} /* every project */ WHERE {column} IS NOT NULL");
        let mut statement = db.prepare(&select)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let generation: i64 = row.get("generation")?;
            visit(Stored {
                column: *self,
                row: row.get("id")?,
                generation: u64::try_from(generation).unwrap_or(0),
                owner: [row.get("owner_project")?, row.get("owner_platform")?, row.get("owner_client")?],
                sealed: row.get("value")?,
            });
        }
        Ok(())
    }

    /// Number of values for each data key.
    fn count(&self, db: &Connection) -> Result<Vec<(u32, u64)>, Error> {
        let Self { table, column, dek_id, .. } = self;
        let key = dek_id.map_or_else(|| format!("substr({column}, 2, 4)"), str::to_owned);
        let select = format!(
            "SELECT {key} AS id, count(*) AS number FROM {table} /* every project */ WHERE {key} IS NOT NULL GROUP BY 1"
        );
        all(db, &select, &[], |row| {
            let fields = Fields::of(table, row);
            let dek_id = match dek_id {
                Some(_) => fields.get("id")?,
                None => u32::from_be_bytes(fields.get("id")?),
            };
            Ok((dek_id, fields.unsigned("number")?))
        })
    }
}

/// Hands every sealed value of a file to `visit`, whatever the file's schema. The file is not changed.
pub fn for_each_sealed(path: &Path, visit: impl FnMut(Stored)) -> Result<(), OpenError> {
    let (db, _) = look(path, Schema::embedded().version())?;
    for_each_in(&db, visit).map_err(|error| failed(path, error))
}

/// The row of a value in a file, with the accounts whose tokens the value is:
/// `grant_… (facebook int_…, int_… of project default)`.
pub fn name_row(path: &Path, value: &Stored) -> Result<String, OpenError> {
    let (db, _) = look(path, Schema::embedded().version())?;
    name_row_in(&db, value).map_err(|error| failed(path, error))
}

/// The same for a database that is open.
pub(super) fn name_row_in(db: &Connection, value: &Stored) -> rusqlite::Result<String> {
    let [project, ..] = &value.owner;
    let named: Option<(String, String, String)> = db
        .query_row(
            "SELECT i.platform, group_concat(i.id, ', ' ORDER BY i.id), p.name
             FROM integrations AS i JOIN projects AS p ON p.id = i.project_id
             WHERE i.project_id = :project AND (i.grant_id = :row OR i.id = :row) GROUP BY i.grant_id",
            named_params! {":project": project, ":row": value.row},
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let row = &value.row;
    Ok(named.map_or_else(
        || row.clone(),
        |(platform, accounts, project)| format!("{row} ({platform} {accounts} of project {project})"),
    ))
}

/// Hands every value of a database that is open to `visit`.
pub(super) fn for_each_in(db: &Connection, mut visit: impl FnMut(Stored)) -> rusqlite::Result<()> {
    SEALED.iter().try_for_each(|column| column.for_each(db, &mut visit))
}

/// Number of stored values and authentication codes that each data key is needed for. A key without any is not in the
/// map.
pub fn count_by_key(db: &Connection) -> Result<BTreeMap<u32, u64>, Error> {
    let mut counted = BTreeMap::new();
    for column in SEALED.into_iter().chain(MACS) {
        for (dek_id, values) in column.count(db)? {
            *counted.entry(dek_id).or_default() += values;
        }
    }
    Ok(counted)
}

/// The columns with values that need this data key, and their number.
pub fn list_needs(db: &Connection, dek_id: u32) -> Result<Vec<(SealedColumn, u64)>, Error> {
    let mut needs = Vec::new();
    for column in SEALED.into_iter().chain(MACS) {
        needs.extend(column.count(db)?.into_iter().filter(|(id, _)| *id == dek_id).map(|(_, values)| (column, values)));
    }
    Ok(needs)
}

/// Number of values that are to be sealed again, and of codes to be made again.
pub fn count_outdated(db: &Connection, what: Outdated) -> Result<u64, Error> {
    let mut outdated = 0;
    for column in SEALED.iter().chain(&MACS) {
        let of_table = format!("SELECT count(*) FROM {} /* every project */ WHERE", column.table);
        outdated += match (what, column.dek_id) {
            (Outdated::Key(active), Some(dek_id)) if column.is_resealed() => {
                count(db, &format!("{of_table} {dek_id} < :active"), named_params! {":active": active})?
            }
            (Outdated::Version, _) if !MACS.contains(column) => {
                count(db, &format!("{of_table} {}", column.where_unbound()), &[])?
            }
            (Outdated::Key(_) | Outdated::Version, _) => 0,
        };
    }
    Ok(outdated)
}

/// Puts the same content, sealed with another key, in the place of a value. [`Error::NotChanged`] when the row is gone,
/// or the value is not the one that was read.
pub fn replace(db: &Transaction<'_>, old: &Stored, new: &Sealed) -> Result<(), Error> {
    let SealedColumn { table, column, id, generation, dek_id, .. } = old.column;
    let to = new.dek_id().ok_or_else(|| Error::Inconsistent { table, column, row: old.row.clone() })?;
    let which = format!("{id} = :row AND {generation} = :generation AND {column} = :old");
    let which_params =
        named_params! {":new": new, ":row": old.row, ":generation": signed(old.generation), ":old": old.sealed};
    match dek_id {
        Some(dek_id) => change_one(
            db,
            &format!("UPDATE {table} /* every project */ SET {column} = :new, {dek_id} = :to WHERE {which}"),
            &[which_params, named_params! {":to": to}].concat(),
        ),
        None => change_one(
            db,
            &format!("UPDATE {table} /* every project */ SET {column} = :new WHERE {which}"),
            which_params,
        ),
    }
}

/// Records that no value has needed another key than `dek_id` since `now`.
pub fn record_resealed(db: &Transaction<'_>, dek_id: u32, now: Timestamp) -> Result<(), Error> {
    change(
        db,
        "INSERT INTO resealed (id, dek_id, since) VALUES (1, :dek_id, :now)
         ON CONFLICT (id) DO UPDATE SET dek_id = excluded.dek_id, since = excluded.since",
        named_params! {":dek_id": dek_id, ":now": now},
    )?;
    Ok(())
}

/// The key that [`record_resealed`] named last, and since when.
pub fn get_resealed(db: &Connection) -> Result<Option<(u32, Timestamp)>, Error> {
    one(db, "SELECT dek_id, since FROM resealed WHERE id = 1", &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{Fixture, sealed};

    /// BLOB columns that hold neither a sealed value nor a digest: keys that are wrapped.
    const WRAPPED: [&str; 2] = ["keyring.blob", "recovery_wraps.blob"];

    #[test]
    fn every_sealed_column_of_the_schema_is_listed() {
        let fixture = Fixture::new();
        let mut found = Vec::new();
        let tables: Vec<(String, String)> =
            // Tables of the search indexes have a blob that only FTS5 reads.
            all(&fixture.db, "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB '*_search_*'", &[], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        for (table, sql) in tables {
            let columns: Vec<String> = all(
                &fixture.db,
                "SELECT name FROM pragma_table_info(:table) WHERE type = 'BLOB'",
                named_params! {":table": table},
                |row| Ok(row.get(0)?),
            )
            .unwrap();
            for column in columns {
                let is_digest = sql.contains(&format!("CHECK (length({column}) = 32)"));
                let name = format!("{table}.{column}");
                if !is_digest && !WRAPPED.contains(&name.as_str()) {
                    assert!(sql.contains(&format!("CHECK (length({column}) >= 45)")), "{name} takes any blob");
                    found.push(name);
                }
            }
        }
        found.sort();
        let listed = SEALED.map(|one| format!("{}.{}", one.table, one.column));
        assert_eq!(found, listed, "a sealed column is missing in SEALED, or is not there");
    }

    /// Columns with the id of a data key whose rows end with it, or are the key's own.
    const OF_KEYS: [&str; 4] =
        ["console_sessions.mac_dek_id", "keyring.dek_id", "recovery_wraps.dek_id", "resealed.dek_id"];

    #[test]
    fn every_column_that_names_a_data_key_is_counted_before_the_key_is_retired() {
        let fixture = Fixture::new();
        let mut found: Vec<String> = all(
            &fixture.db,
            "SELECT t.name || '.' || c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
             WHERE t.type = 'table' AND c.name GLOB '*dek_id'",
            &[],
            |row| Ok(row.get(0)?),
        )
        .unwrap();
        let counted = SEALED.iter().chain(&MACS).filter_map(|one| Some(format!("{}.{}", one.table, one.dek_id?)));
        let mut known: Vec<String> = counted.chain(OF_KEYS.map(str::to_owned)).collect();
        found.sort();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn the_columns_of_data_keys_are_there_and_older_values_are_found_by_an_index() {
        let fixture = Fixture::new();
        for column in SEALED.iter().filter(|column| column.is_resealed()) {
            assert!(column.list_outdated(&fixture.db, Outdated::Key(9), 0, 10).unwrap().is_empty());
        }
        for column in SEALED.iter().chain(&MACS).filter(|column| column.is_resealed()) {
            let plan = format!(
                "EXPLAIN QUERY PLAN SELECT 1 FROM {} WHERE {} < 9 ORDER BY 1",
                column.table,
                column.dek_id.unwrap()
            );
            let plan: String = fixture.db.query_row(&plan, [], |row| row.get("detail")).unwrap();
            // These have a row for each of the operator's platforms, and one.
            let is_small = ["discovered", "recovery"].contains(&column.table);
            assert!(is_small || plan.contains("INDEX"), "{column:?}: {plan}");
        }
    }

    #[test]
    fn values_are_counted_replaced_once_and_then_no_longer_older() {
        let mut fixture = Fixture::new();
        let app = fixture.app("twitter", "c");
        fixture.app("tiktok", "c");
        let now = fixture.now();
        fixture.write(|db| crate::store::discovered::put(db, "https://id.example", &sealed(1), now)).unwrap();
        assert_eq!(count_by_key(&fixture.db).unwrap(), BTreeMap::from([(1, 3)]));
        assert_eq!(count_outdated(&fixture.db, Outdated::Key(1)).unwrap(), 0);
        assert_eq!(count_outdated(&fixture.db, Outdated::Key(2)).unwrap(), 3);

        let secrets = SEALED.into_iter().find(|one| one.column == "client_secret").unwrap();
        let older = secrets.list_outdated(&fixture.db, Outdated::Key(2), 0, 10).unwrap();
        assert_eq!(older.len(), 2);
        assert_eq!(secrets.list_outdated(&fixture.db, Outdated::Key(2), 1, 10).unwrap(), older[1..]);
        let first = older.into_iter().find(|one| one.row == app.to_string()).unwrap();
        let newer = Sealed::from_bytes([&[1, 0, 0, 0, 2][..], &[9; 50]].concat());
        let stale = Stored { generation: 2, ..first.clone() };
        assert!(matches!(fixture.write(|db| replace(db, &stale, &newer)), Err(Error::NotChanged)));
        fixture.write(|db| replace(db, &first, &newer)).unwrap();
        assert!(matches!(fixture.write(|db| replace(db, &first, &newer)), Err(Error::NotChanged)));
        assert_eq!(count_outdated(&fixture.db, Outdated::Key(2)).unwrap(), 2);
        assert_eq!(count_by_key(&fixture.db).unwrap(), BTreeMap::from([(1, 2), (2, 1)]));
        let needs = list_needs(&fixture.db, 2).unwrap();
        assert_eq!(needs, [(secrets, 1)]);
    }
}
