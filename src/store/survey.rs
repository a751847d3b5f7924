//! A look at everything in a database file, for the operator: one snapshot, beside a running broker, changing nothing.
//!
//! Invariants: the file is opened read-only; memory does not grow with the number of rows. Statements are for every
//! project and say so, because a survey is of the whole database.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, named_params};

use super::counts::{self, Miscount};
use super::open::inspect::{self, is_in_use, look};
use super::open::{Inspection, OpenError, failed};
use super::schema::{self, Schema};
use super::sealed::{self, Stored};
use super::{Error, columns, consents, search_index};
use crate::domain::time::Timestamp;

/// The tables whose newest id tells when the newest row was made.
const DATED: [&str; 5] = ["access_keys", "flows", "grants", "integrations", "projects"];

/// An open snapshot.
pub struct Survey {
    db: Connection,
    path: PathBuf,
    schema_version: u32,
    /// True when nobody used the file as it was opened. Then it is read without locks.
    was_unused: bool,
}

/// A search index that does not hold the words of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The name of the index.
    pub index: String,
    pub found: u64,
    pub expected: u64,
}

impl Survey {
    /// Opens the file of any schema that this program knows, in whatever directory.
    ///
    /// # Errors
    ///
    /// The file is missing, unreadable, newer than this program, another program's, or too damaged to be opened.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let was_unused = !is_in_use(path);
        let (db, schema_version) = look(path, Schema::embedded().version())?;
        db.execute_batch("BEGIN").map_err(|error| failed(path, error))?;
        Ok(Self { db, path: path.to_owned(), schema_version, was_unused })
    }

    /// True when another process began to use the file after it was opened, so that what was found may be wrong.
    #[must_use]
    pub fn was_disturbed(&self) -> bool {
        self.was_unused && is_in_use(&self.path)
    }

    /// Reads the id and the keys.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn inspect(&self) -> Result<Inspection, OpenError> {
        inspect::read(&self.db, &self.path, self.schema_version, false)
    }

    /// Reads every page, index and foreign key, and lists up to `at_most` kinds of damage in SQLite's words.
    ///
    /// # Errors
    ///
    /// The file cannot be read to its end.
    pub fn list_damage(&self, at_most: u32) -> Result<Vec<String>, OpenError> {
        let failed = |error| failed(&self.path, error);
        let mut statement = self.db.prepare(&format!("PRAGMA integrity_check({at_most})")).map_err(failed)?;
        let told = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        let mut damage: Vec<String> = told.collect::<Result<_, _>>().map_err(failed)?;
        damage.retain(|line| line != "ok");
        if schema::breaks_foreign_keys(&self.db).map_err(failed)? {
            damage.push("rows point at rows that are not there".to_owned());
        }
        Ok(damage)
    }

    /// Hands every sealed value to `visit`.
    ///
    /// # Errors
    ///
    /// The file cannot be read to its end.
    pub fn for_each_sealed(&self, visit: impl FnMut(Stored)) -> Result<(), OpenError> {
        sealed::for_each_in(&self.db, visit).map_err(|error| failed(&self.path, error))
    }

    /// The row of a value, as [`sealed::name_row`] names it.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn name_row(&self, value: &Stored) -> Result<String, OpenError> {
        sealed::name_row_in(&self.db, value).map_err(|error| failed(&self.path, error))
    }

    /// Runs `look` on the snapshot, unless the schema is an older one.
    ///
    /// # Errors
    ///
    /// Those of `look`.
    pub fn look_if_current<T: Default>(&self, look: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        if self.is_current() { look(&self.db) } else { Ok(T::default()) }
    }

    /// Counts all rows, and returns the kept counts that differ. Empty for a schema without kept counts.
    ///
    /// # Errors
    ///
    /// The file cannot be read to its end.
    pub fn recount(&self) -> Result<Vec<Miscount>, Error> {
        self.look_if_current(counts::recount)
    }

    /// Compares each search index with its table, word by word, and returns those that differ. `visit` gets the number
    /// of rows read so far. Empty for an older schema.
    ///
    /// SQLite's own check of a search index against its table is a statement that writes. Here, both sides are added up
    /// in a sum of hashes that does not depend on their order.
    ///
    /// # Errors
    ///
    /// The file cannot be read to its end.
    pub fn compare_search(&self, mut visit: impl FnMut(u64)) -> Result<Vec<Mismatch>, Error> {
        let mut mismatches = Vec::new();
        for table in search_index::TABLES.into_iter().filter(|_| self.is_current()) {
            let expected = self.add_up_table(table, &mut visit)?;
            let found = self.add_up_index(table)?;
            if found != expected {
                let index = format!("{table}_search");
                mismatches.push(Mismatch { index, found: found.words, expected: expected.words });
            }
        }
        Ok(mismatches)
    }

    fn add_up_table(&self, table: &str, visit: &mut impl FnMut(u64)) -> Result<Sum, Error> {
        let mut sum = Sum::default();
        let select = format!("SELECT n, grams FROM {table}_searched /* every project */");
        let mut statement = self.db.prepare(&select)?;
        let mut rows = statement.query([])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let (n, grams): (i64, Option<String>) = (row.get(0)?, row.get(1)?);
            // The index folds ASCII letters, and lists a word of a row once.
            let grams = grams.unwrap_or_default().to_ascii_lowercase();
            let mut words: Vec<&str> = grams.split(' ').filter(|word| !word.is_empty()).collect();
            words.sort_unstable();
            words.dedup();
            for word in words {
                sum.add(n, word);
            }
            read += 1;
            visit(read);
        }
        Ok(sum)
    }

    fn add_up_index(&self, table: &str) -> Result<Sum, Error> {
        // A temporary table lives in this connection only.
        let words = format!("{table}_words");
        self.db.execute_batch(&format!(
            "CREATE VIRTUAL TABLE temp.{words} USING fts5vocab ('main', '{table}_search', 'instance')"
        ))?;
        let mut sum = Sum::default();
        let mut statement = self.db.prepare(&format!("SELECT doc, term FROM temp.{words} /* every project */"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sum.add(row.get(0)?, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
        }
        Ok(sum)
    }

    /// When the newest row was made, as far as its id or its own time tells. `None` for an older schema.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn find_newest_time(&self) -> Result<Option<Timestamp>, Error> {
        if !self.is_current() {
            return Ok(None);
        }
        let of_audit = "SELECT max(at) FROM audit /* every project */";
        let mut newest: Option<Timestamp> = self.db.query_row(of_audit, [], |row| row.get(0))?;
        for table in DATED {
            let select = format!("SELECT max(id) FROM {table} /* every project */");
            let id: Option<String> = self.db.query_row(&select, [], |row| row.get(0))?;
            newest = newest.max(id.as_deref().and_then(made_at));
        }
        Ok(newest)
    }

    /// Counts the active grants that belong to an app of the operator's with another client id. 0 for an older schema.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn count_under_other_client(&self, platform: &str, client_id: &str) -> Result<u64, Error> {
        // Reads the index alone for what belongs to this client.
        let count = "SELECT count(*) FROM grants /* every project */ INDEXED BY grants_by_consent
             WHERE platform = :platform AND client_id <> :client_id AND app_id IS NULL AND status = 'active'";
        let of = named_params! {":platform": platform, ":client_id": client_id};
        self.look_if_current(|db| columns::count(db, count, of))
    }

    /// The platforms that have grants or selections, by name. Empty for an older schema.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn list_platforms(&self) -> Result<Vec<String>, Error> {
        self.look_if_current(consents::list_platforms)
    }

    /// Counts the active grants of a platform. 0 for an older schema.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn count_of_platform(&self, platform: &str) -> Result<u64, Error> {
        let count = "SELECT count(*) FROM grants /* every project */ WHERE platform = :platform AND status = 'active'";
        self.look_if_current(|db| columns::count(db, count, named_params! {":platform": platform}))
    }

    fn is_current(&self) -> bool {
        self.schema_version == Schema::embedded().version()
    }
}

/// Adds up words of rows, whatever their order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    words: u64,
    hash: u64,
}

impl Sum {
    fn add(&mut self, row: i64, word: &str) {
        let mut hasher = DefaultHasher::new();
        (row, word).hash(&mut hasher);
        self.words += 1;
        self.hash = self.hash.wrapping_add(hasher.finish());
    }
}

/// The time in an id: the first 48 bits of its UUIDv7, in milliseconds.
fn made_at(id: &str) -> Option<Timestamp> {
    let (_, hex) = id.rsplit_once('_')?;
    i64::from_str_radix(hex.get(..12)?, 16).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::lock::beside;

    /// A database file with an app of some name, and its path.
    fn made(name: &str) -> (tempfile::TempDir, PathBuf) {
        let mut fixture = Fixture::new();
        fixture.app("twitter", name);
        let now = fixture.now();
        fixture.write(|db| crate::store::discovered::put(db, "https://id.example", &sealed(1), now)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postpeer.db");
        fixture.db.backup("main", &path, None::<fn(rusqlite::backup::Progress)>).unwrap();
        (directory, path)
    }

    fn changed(path: &Path, sql: &str) -> Survey {
        let db = Connection::open(path).unwrap();
        db.execute_batch(sql).unwrap();
        db.close().unwrap();
        Survey::open(path).unwrap()
    }

    #[test]
    fn a_sound_database_has_no_findings_and_is_not_changed() {
        let (directory, path) = made("client");
        let before = std::fs::read(&path).unwrap();
        let survey = Survey::open(&path).unwrap();
        assert_eq!(survey.list_damage(9).unwrap(), [""; 0]);
        assert_eq!(survey.recount().unwrap(), []);
        let mut rows = 0;
        assert_eq!(survey.compare_search(|_| rows += 1).unwrap(), []);
        assert!(rows >= 1, "no row was compared");
        let mut values = 0;
        survey.for_each_sealed(|_| values += 1).unwrap();
        assert_eq!(values, 2);
        assert!(survey.find_newest_time().unwrap().is_some());
        assert!(!survey.was_disturbed());
        drop(survey);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no file was left beside it");
    }

    #[test]
    fn a_search_index_that_lost_or_kept_words_is_found() {
        for sql in [
            "INSERT INTO oauth_apps_search (oauth_apps_search) VALUES ('delete-all')",
            "INSERT INTO oauth_apps_search (rowid, grams) VALUES (1, 'stranger_61')",
            "INSERT INTO profiles_search (rowid, grams) VALUES (7, 'gone_61')",
        ] {
            let (_directory, path) = made("client");
            let mismatches = changed(&path, sql).compare_search(|_| ()).unwrap();
            let [Mismatch { index, found, expected }] = mismatches.as_slice() else { panic!("{sql}: {mismatches:?}") };
            assert!(sql.contains(index.as_str()) && found != expected, "{sql}: {index} {found} {expected}");
        }
    }

    #[test]
    fn a_wrong_kept_count_and_a_process_that_comes_into_use_are_found() {
        let (_directory, path) = made("client");
        let survey = changed(&path, "UPDATE counts SET total = total + 3 WHERE kind = 'oauth_apps'");
        let [wrong] = survey.recount().unwrap().try_into().unwrap();
        assert_eq!((wrong.kept, wrong.counted), (4, 1));
        std::fs::write(beside(&path, "-wal"), "").unwrap();
        assert!(survey.was_disturbed());
    }

    #[test]
    fn the_time_of_an_id_is_read() {
        assert_eq!(made_at("key_0197f3a1b2c370008000000000000000"), Some(Timestamp::from_millis(0x0197_f3a1_b2c3)));
        assert_eq!(made_at("nothing"), None);
    }
}
