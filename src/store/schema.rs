//! Versions of the schema, and migration from an older one to this program's.

use refinery::{Migration, Runner};
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, OptionalExtension as _};

use super::error::copy;
use crate::domain::error_chain::sources;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Marks our databases, in the file's header: "`PPbr`".
pub(super) const APPLICATION_ID: u32 = 0x5050_6272;

/// The migrations that this program knows. A new one has a number after the newest: there never was a 13.
pub(super) struct Schema {
    migrations: Vec<Migration>,
}

/// Why a schema was not migrated.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrationError {
    /// Found after the commit: the copy from before the migration is the way back.
    #[error("rows point at rows that are not there")]
    ForeignKeys,
    #[error("a migration failed")]
    Refinery(#[from] refinery::Error),
    #[error("a statement around the migrations failed")]
    Sqlite(#[from] rusqlite::Error),
}

impl MigrationError {
    /// The error of the statement that failed, if it was that.
    pub(super) fn into_sqlite(self) -> Result<rusqlite::Error, Self> {
        match self {
            Self::Sqlite(error) => Ok(error),
            Self::Refinery(error) => {
                let found = sources(&error).find_map(|source| source.downcast_ref()).map(copy);
                found.ok_or(Self::Refinery(error))
            }
            Self::ForeignKeys => Err(self),
        }
    }
}

impl Schema {
    pub(super) fn embedded() -> Self {
        Self { migrations: embedded::migrations::runner().get_migrations().clone() }
    }

    /// The embedded migrations and one more, for tests of future migrations.
    #[cfg(test)]
    pub(super) fn with(name: &str, sql: &str) -> Self {
        let mut schema = Self::embedded();
        schema.migrations.push(Migration::unapplied(name, sql).unwrap());
        schema
    }

    /// The schema of an earlier release.
    #[cfg(test)]
    pub(super) fn of_version(version: u32) -> Self {
        let mut schema = Self::embedded();
        schema.migrations.retain(|migration| u32::try_from(migration.version()).is_ok_and(|found| found <= version));
        schema
    }

    /// The newest version.
    pub(super) fn version(&self) -> u32 {
        self.migrations.iter().filter_map(|migration| u32::try_from(migration.version()).ok()).max().unwrap_or(0)
    }

    /// Applies the missing migrations in one transaction. Fails when an applied migration differs from the one that
    /// this program knows by its number. Foreign keys are checked, row by row, only after a migration.
    pub(super) fn migrate(&self, db: &mut Connection) -> Result<(), MigrationError> {
        // With foreign keys on, rebuilding a table (the only way to change its constraints) deletes its children. The
        // pragma has no effect inside a transaction, so it is set outside.
        db.pragma_update(None, "foreign_keys", false)?;
        let found = version(db)?;
        if (1..self.version()).contains(&found) {
            tracing::info!(from = found, to = self.version(), "migrating the database");
            let report = |event: TraceEvent<'_>| {
                if let TraceEvent::Stmt(_, sql) = event
                    && let Some(step) = step(sql)
                {
                    tracing::info!("migrating the database: {step}");
                }
            };
            db.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(report))?;
        }
        let migrated = self.run(db);
        db.trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>)?;
        db.pragma_update(None, "foreign_keys", true)?;
        migrated
    }

    fn run(&self, db: &mut Connection) -> Result<(), MigrationError> {
        // Grouped: otherwise a migration and its record are two transactions.
        let report = Runner::new(&self.migrations).set_grouped(true).run(db)?;
        let is_broken = !report.applied_migrations().is_empty() && breaks_foreign_keys(db)?;
        if is_broken { Err(MigrationError::ForeignKeys) } else { Ok(()) }
    }
}

/// A step of a migration, from the comments before its statement: `Step …`.
fn step(sql: &str) -> Option<&str> {
    let comments = sql.trim_start().lines().map_while(|line| line.strip_prefix("--"));
    comments.map(str::trim_start).find(|line| line.starts_with("Step "))
}

/// The file's schema version; 0 when it has no schema. The higher of refinery's record and of the number that each
/// migration sets in the header.
pub(super) fn version(db: &Connection) -> rusqlite::Result<u32> {
    let header: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let recorded: Option<u32> = db
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history'", [], |_| Ok(()))
        .optional()?
        .map(|()| db.query_row("SELECT coalesce(max(version), 0) FROM refinery_schema_history", [], |row| row.get(0)))
        .transpose()?;
    Ok(header.max(recorded.unwrap_or(0)))
}

pub(super) fn breaks_foreign_keys(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare("PRAGMA foreign_key_check")?.exists([])
}

#[cfg(test)]
mod upgrades;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::store::columns::fold;
    use crate::store::refreshes;
    use crate::store::rescheduling::{self, Resumable};

    #[test]
    fn migrations_set_version_and_application_id_in_the_header() {
        let mut db = Connection::open_in_memory().unwrap();
        let schema = Schema::embedded();
        schema.migrate(&mut db).unwrap();
        assert_eq!(version(&db).unwrap(), schema.version());
        let header: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(header, schema.version(), "the newest migration does not set user_version");
        let id: u32 = db.pragma_query_value(None, "application_id", |row| row.get(0)).unwrap();
        assert_eq!(id, APPLICATION_ID);
        schema.migrate(&mut db).unwrap();
    }

    #[test]
    fn every_table_is_strict() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let lax: Vec<String> = db
            .prepare("SELECT name FROM pragma_table_list WHERE NOT strict AND schema = 'main' AND type = 'table'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let not_ours = ["refinery_schema_history", "sqlite_schema"];
        assert!(lax.iter().all(|name| not_ours.contains(&name.as_str())), "{lax:?}");
    }

    #[test]
    fn letters_that_were_kept_as_they_were_written_are_folded() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(22).migrate(&mut db).unwrap();
        let changed = |c: &char| c.is_lowercase() || c.is_uppercase() || c.to_uppercase().ne([*c]);
        let letters: Vec<char> = ('\u{80}'..=char::MAX).filter(changed).collect();
        assert!(letters.len() > 2_000, "{}", letters.len());
        let names: Vec<String> = letters.chunks(50).map(|some| some.iter().collect()).collect();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO keyring VALUES (1, 'k', zeroblob(73), CAST(zeroblob(32) AS BLOB), 'active', 0);
             INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, consented_at, issued_at, renewal,
                tokens, tokens_dek_id, generation, status, created_at, updated_at)
             VALUES ('grant_1', 'proj_1', 'twitter', 'c', 's', '[]', 0, 0, 'never',
                CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0);",
        )
        .unwrap();
        for (number, name) in names.iter().enumerate() {
            let earlier: String = name.chars().flat_map(char::to_lowercase).collect();
            for sql in [
                "INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
                 VALUES ('prof_' || ?1, 'proj_1', ?2, ?3, 0, 0)",
                "INSERT INTO oauth_apps (id, project_id, platform, name, name_folded, client_id, client_secret,
                    client_secret_dek_id, generation, created_at, updated_at)
                 VALUES ('app_' || ?1, 'proj_1', 'twitter', ?2, ?3, ?1, CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 3, 0,
                    0)",
                "INSERT INTO integrations (id, project_id, grant_id, platform, platform_user_id, display_name, metadata,
                    search, created_at, updated_at)
                 VALUES ('int_' || ?1, 'proj_1', 'grant_1', 'twitter', ?1, ?2, '{}', ?3, 0, 0)",
            ] {
                db.execute(sql, (number.to_string(), name, &earlier)).unwrap();
            }
        }
        Schema::embedded().migrate(&mut db).unwrap();
        for (table, name, folded) in [
            ("profiles", "name", "name_folded"),
            ("oauth_apps", "name", "name_folded"),
            ("integrations", "display_name", "search"),
        ] {
            let mut rows = db.prepare(&format!("SELECT {name}, {folded} FROM {table}")).unwrap();
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let rows = rows.collect::<Result<Vec<(String, String)>, _>>().unwrap();
            assert_eq!(rows.len(), names.len());
            for (name, folded) in rows {
                assert_eq!(folded, fold(&name), "{table}: {name}");
            }
            let check = format!("INSERT INTO {table}_search ({table}_search, rank) VALUES ('integrity-check', 1)");
            db.execute_batch(&check).unwrap();
            let erases = format!("SELECT v FROM {table}_search_config WHERE k = 'secure-delete'");
            assert_eq!(db.query_row(&erases, [], |row| row.get::<_, u32>(0)).unwrap(), 1, "{table}");
            // A single segment has no words that are only marked as deleted.
            let segments = format!("SELECT count(DISTINCT segid) FROM {table}_search_idx");
            assert_eq!(db.query_row(&segments, [], |row| row.get::<_, u32>(0)).unwrap(), 1, "{table}");
        }
    }

    #[test]
    fn links_of_revoked_keys_end_with_the_upgrade() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(24).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO access_keys (id, project_id, name, hint, scopes, digest, created_at, revoked_at) VALUES
                ('key_1', 'proj_1', 'a', 'ppk', '[]', CAST(zeroblob(32) AS BLOB), 0, NULL),
                ('key_2', 'proj_1', 'b', 'ppk', '[]', CAST(x'01' || zeroblob(31) AS BLOB), 0, 5);
             INSERT INTO links (id, project_id, access_key_id, token, platforms, created_at, expires_at, revoked_at) VALUES
                ('link_1', 'proj_1', 'key_1', CAST(x'01' || zeroblob(31) AS BLOB), '[]', 0, 9, NULL),
                ('link_2', 'proj_1', 'key_2', CAST(x'02' || zeroblob(31) AS BLOB), '[]', 0, 9, NULL),
                ('link_3', 'proj_1', 'key_2', CAST(x'03' || zeroblob(31) AS BLOB), '[]', 0, 9, 4),
                ('link_4', 'proj_1', NULL, CAST(x'04' || zeroblob(31) AS BLOB), '[]', 0, 9, NULL);",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let mut rows = db.prepare("SELECT revoked_at FROM links ORDER BY id").unwrap();
        let revoked: Vec<Option<u32>> =
            rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(revoked, [None, Some(5), Some(4), None]);
    }

    #[test]
    fn keys_of_deleted_profiles_end_with_the_upgrade() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(25).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at, deleted_at) VALUES
                ('prof_1', 'proj_1', 'a', 'a', 0, 0, NULL), ('prof_2', 'proj_1', 'b', 'b', 0, 0, 7);
             INSERT INTO access_keys (id, project_id, name, hint, scopes, digest, created_at, revoked_at, profile_id) VALUES
                ('key_1', 'proj_1', 'a', 'ppk', '[]', CAST(zeroblob(32) AS BLOB), 0, NULL, NULL),
                ('key_2', 'proj_1', 'b', 'ppk', '[]', CAST(x'01' || zeroblob(31) AS BLOB), 0, NULL, 'prof_1'),
                ('key_3', 'proj_1', 'c', 'ppk', '[]', CAST(x'02' || zeroblob(31) AS BLOB), 0, NULL, 'prof_2'),
                ('key_4', 'proj_1', 'd', 'ppk', '[]', CAST(x'03' || zeroblob(31) AS BLOB), 0, 5, 'prof_2');",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let mut rows = db.prepare("SELECT revoked_at FROM access_keys ORDER BY id").unwrap();
        let revoked: Vec<Option<u32>> =
            rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(revoked, [None, None, Some(7), Some(5)]);
    }

    #[test]
    fn integrations_of_the_first_schema_are_active_without_own_tokens() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(1).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, auto_refreshes, tokens,
                tokens_dek_id, generation, status, created_at, updated_at)
             VALUES ('grant_1', 'proj_1', 'twitter', 'c', 's', '[]', 0, CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0);
             INSERT INTO integrations (id, project_id, grant_id, platform, platform_user_id, metadata, search, created_at,
                updated_at)
             VALUES ('int_1', 'proj_1', 'grant_1', 'twitter', 'u', '{}', 'u', 0, 0);",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (String, u32, Option<Vec<u8>>) = db
            .query_row("SELECT status, generation, tokens FROM integrations", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        assert_eq!(kept, ("active".to_owned(), 1, None));
    }

    /// Id, renewal, due, ended, issued, generation.
    type Row = (String, String, Option<i64>, Option<i64>, i64, i64);

    #[test]
    fn grants_of_the_second_schema_get_renewal_and_due_time_of_their_platform() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(2).migrate(&mut db).unwrap();
        db.execute_batch("INSERT INTO projects VALUES ('proj_1', 'default', 0);").unwrap();
        let day = 86_400_000_i64;
        for (id, platform, refreshes, status) in [
            ("a", "twitter", true, "active"),
            ("b", "threads", true, "active"),
            ("c", "facebook", false, "active"),
            ("d", "linkedin", false, "active"),
            ("e", "twitter", true, "reconnect_required"),
        ] {
            let reason = (status != "active").then_some("token_expired");
            db.execute(
                "INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, access_expires_at, auto_refreshes,
                    tokens, tokens_dek_id, generation, status, failure_reason, created_at, updated_at)
                 VALUES (?1, 'proj_1', ?2, 'c', ?1, '[]', ?3, ?4,
                    CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 7, ?5, ?6, 1, 2)",
                (id, platform, 60 * day, refreshes, status, reason),
            )
            .unwrap();
            db.execute(
                "INSERT INTO integrations (id, project_id, grant_id, platform, platform_user_id, metadata, search,
                    created_at, updated_at)
                 VALUES (?1, 'proj_1', ?1, ?2, ?1, '{}', 'u', 0, 0)",
                (id, platform),
            )
            .unwrap();
        }
        Schema::embedded().migrate(&mut db).unwrap();
        let rows: Vec<Row> = db
            .prepare(
                "SELECT g.id, g.renewal, g.due_at, g.ended_at, g.issued_at, g.generation
                 FROM grants AS g JOIN integrations AS i ON i.grant_id = g.id ORDER BY g.id",
            )
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let row =
            |id: &str, renewal: &str, due_at, ended_at| (id.to_owned(), renewal.to_owned(), due_at, ended_at, 2, 7);
        assert_eq!(
            rows,
            [
                row("a", "refresh_token", Some(60 * day - 900_000), None),
                row("b", "access_token", Some(50 * day), None),
                row("c", "access_token", Some(50 * day), None),
                row("d", "never", None, None),
                row("e", "refresh_token", None, Some(2)),
            ]
        );
    }

    #[test]
    fn flows_and_grants_of_the_third_schema_have_no_recorded_scopes() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(3).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO flows (id, project_id, state, platform, client_id, redirect_uri, headless, pkce_verifier,
                created_at, expires_at)
             VALUES ('flow_1', 'proj_1', CAST(zeroblob(32) AS BLOB), 'twitter', 'c', 'https://app.example', 0, zeroblob(45), 0, 1);
             INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, consented_at, issued_at, renewal,
                tokens, tokens_dek_id, generation, status, created_at, updated_at)
             VALUES ('grant_1', 'proj_1', 'twitter', 'c', 's', '[\"tweet.read\"]', 0, 0, 'never',
                CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0);",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (String, String, String, u32) = db
            .query_row(
                "SELECT f.scopes, g.scopes, g.requested_scopes, (SELECT count(*) FROM late_redirects)
                 FROM flows AS f JOIN grants AS g ON g.project_id = f.project_id",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        assert_eq!(kept, ("[]".to_owned(), "[\"tweet.read\"]".to_owned(), "[]".to_owned(), 0));
    }

    #[test]
    fn apps_of_the_fourth_and_fifth_schema_keep_their_secret_and_had_none_before() {
        for version in [4, 5] {
            let mut db = Connection::open_in_memory().unwrap();
            Schema::of_version(version).migrate(&mut db).unwrap();
            db.execute_batch(
                "INSERT INTO projects VALUES ('proj_1', 'default', 0);
                 INSERT INTO oauth_apps (id, project_id, platform, name, name_folded, client_id, client_secret,
                    client_secret_dek_id, generation, created_at, updated_at)
                 VALUES ('app_1', 'proj_1', 'twitter', 'a', 'a', 'c', CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 3, 0, 0);
                 INSERT INTO late_redirects VALUES (CAST(zeroblob(32) AS BLOB), 'proj_1', 'twitter', 'https://app.example', NULL, 1);",
            )
            .unwrap();
            if version == 5 {
                db.execute_batch("INSERT INTO discovered VALUES ('https://id.example', zeroblob(45), 1, 0)").unwrap();
            }
            Schema::embedded().migrate(&mut db).unwrap();
            let kept: (u32, Option<Vec<u8>>, Option<i64>, u32, u32) = db
                .query_row(
                    "SELECT length(client_secret), previous_secret, previous_until, (SELECT count(*) FROM late_redirects),
                        (SELECT count(*) FROM discovered)
                     FROM oauth_apps WHERE generation = 3",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
                )
                .unwrap();
            assert_eq!(kept, (45, None, None, 1, u32::from(version == 5)));
        }
    }

    /// Every row with its number, without what the search index keeps.
    type Listed = Vec<(i64, String)>;

    #[test]
    fn rows_of_the_sixth_schema_are_numbered_counted_and_searched() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(6).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0), ('proj_2', 'other', 0);
             INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at, deleted_at)
             VALUES ('prof_2', 'proj_1', 'Müller', 'müller', 0, 0, NULL), ('prof_1', 'proj_1', 'Old', 'old', 0, 0, 9);
             INSERT INTO oauth_apps (id, project_id, platform, name, name_folded, client_id, client_secret,
                client_secret_dek_id, generation, created_at, updated_at, previous_secret, previous_secret_dek_id,
                previous_until)
             VALUES ('app_1', 'proj_1', 'twitter', 'A', 'a', 'c', CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 3, 0, 0,
                CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 5);
             INSERT INTO grants (id, project_id, platform, app_id, client_id, subject, scopes, consented_at, issued_at,
                renewal, tokens, tokens_dek_id, generation, status, created_at, updated_at)
             VALUES ('grant_1', 'proj_1', 'twitter', 'app_1', 'c', 's', '[]', 0, 0, 'never',
                CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0),
                ('grant_2', 'proj_2', 'tiktok', NULL, 'c', 's', '[]', 0, 0, 'never',
                CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0);
             INSERT INTO integrations (id, project_id, grant_id, profile_id, platform, platform_user_id, metadata, search,
                created_at, updated_at, tokens, tokens_dek_id, generation, status, failure_reason)
             VALUES ('int_3', 'proj_1', 'grant_1', NULL, 'twitter', 'u3', '{}', 'zoë', 3, 3, NULL, NULL, 1, 'active', NULL),
                ('int_1', 'proj_1', 'grant_1', 'prof_1', 'twitter', 'u1', '{}', 'ada', 1, 1,
                CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 4, 'reconnect_required', 'access_revoked'),
                ('int_2', 'proj_2', 'grant_2', NULL, 'tiktok', 'u2', '{}', 'zoë', 2, 2, NULL, NULL, 1, 'active', NULL);",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let listed = |sql: &str| -> Listed {
            let mut statement = db.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        let row = |n: i64, text: &str| (n, text.to_owned());
        assert_eq!(
            listed(
                "SELECT n, concat_ws(' ', id, profile_id, length(tokens), generation, failure_reason) FROM integrations"
            ),
            [row(1, "int_1 prof_1 45 4 access_revoked"), row(2, "int_2 1"), row(3, "int_3 1")]
        );
        assert_eq!(listed("SELECT n, id FROM profiles ORDER BY n"), [row(1, "prof_1"), row(2, "prof_2")]);
        assert_eq!(
            listed("SELECT n, concat_ws(' ', id, length(previous_secret), previous_until) FROM oauth_apps"),
            [row(1, "app_1 45 5")]
        );
        assert_eq!(
            listed("SELECT total, concat_ws(' ', project_id, kind, within, platform) FROM counts ORDER BY 2"),
            [
                row(1, "proj_1 integrations  twitter"),
                row(2, "proj_1 integrations * twitter"),
                row(2, "proj_1 integrations app_1 twitter"),
                row(1, "proj_1 integrations prof_1 twitter"),
                row(1, "proj_1 oauth_apps * twitter"),
                row(1, "proj_1 profiles * "),
                row(1, "proj_2 integrations  tiktok"),
                row(1, "proj_2 integrations * tiktok"),
            ]
        );
        let found = |table: &str, query: &str| {
            listed(&format!("SELECT rowid, '' FROM {table}_search WHERE {table}_search MATCH '{query}' ORDER BY rowid"))
                .into_iter()
                .map(|(n, _)| n)
                .collect::<Vec<_>>()
        };
        assert_eq!(found("integrations", "proj_1_7a6fc3ab"), [3], "zoë");
        assert_eq!(found("integrations", "proj_2_7a6fc3ab"), [2]);
        assert_eq!(found("integrations", "proj_1_616461"), [1], "ada");
        assert_eq!(found("profiles", "proj_1_6dc3bc6c"), [2], "mül");
        assert!(found("profiles", "proj_1_6f6c64").is_empty(), "the deleted profile is not searched");
        assert_eq!(found("oauth_apps", "proj_1_61"), [1]);
        db.execute_batch("INSERT INTO integrations_search (integrations_search, rank) VALUES ('integrity-check', 1)")
            .unwrap();
    }

    #[test]
    fn steps_of_migrations_are_numbered() {
        for migration in &Schema::embedded().migrations {
            let sql = migration.sql().unwrap();
            let steps: Vec<&str> = sql.lines().filter(|line| line.starts_with("-- Step ")).collect();
            for (at, step) in steps.iter().enumerate() {
                let begins = format!("-- Step {} of {}: ", at + 1, steps.len());
                assert!(step.starts_with(&begins), "{migration}: {step}");
            }
        }
        assert_eq!(step("\n\n-- A table.\n-- Step 2 of 3: count\nINSERT INTO a"), Some("Step 2 of 3: count"));
        assert_eq!(step("INSERT INTO a\n-- Step 2 of 3: count"), None);
    }

    #[test]
    fn flows_and_late_redirects_of_the_sixth_schema_are_kept_with_their_selections() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(6).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO access_keys VALUES ('key_1', 'proj_1', 'a', 'a', '[]', CAST(zeroblob(32) AS BLOB), 0, NULL);
             INSERT INTO flows (id, project_id, access_key_id, state, platform, client_id, redirect_uri, headless, scopes,
                pkce_verifier, created_at, expires_at)
             VALUES ('flow_1', 'proj_1', 'key_1', CAST(zeroblob(32) AS BLOB), 'twitter', 'c', 'https://app.example', 1,
                '[\"tweet.read\"]', zeroblob(45), 2, 3);
             INSERT INTO flows (id, project_id, state, platform, client_id, headless, created_at, expires_at, consumed_by,
                answer, asked_at)
             VALUES ('flow_2', 'proj_1', CAST(zeroblob(31) || x'02' AS BLOB), 'twitter', 'c', 0, 1, 2,
                CAST(zeroblob(32) AS BLOB), zeroblob(45), 5);
             INSERT INTO flows (id, project_id, state, platform, client_id, headless, created_at, expires_at, consumed_by,
                outcome)
             VALUES ('flow_3', 'proj_1', CAST(zeroblob(31) || x'03' AS BLOB), 'facebook', 'c', 0, 3, 4,
                CAST(zeroblob(32) AS BLOB), '{\"status\":\"selection_required\"}');
             INSERT INTO selections (id, project_id, flow_id, platform, subject, token, token_text, payload, created_at,
                expires_at)
             VALUES ('sel_1', 'proj_1', 'flow_3', 'facebook', 's', CAST(zeroblob(32) AS BLOB), zeroblob(45), zeroblob(45), 0, 9);
             INSERT INTO late_redirects VALUES (CAST(zeroblob(32) AS BLOB), 'proj_1', 'twitter', 'https://app.example', NULL, 7);",
        )
        .unwrap();
        let text = |db: &Connection, sql: &str| -> Vec<String> {
            let mut statement = db.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let flows = "SELECT id || hex(state) || platform || coalesce(access_key_id, '') || coalesce(redirect_uri, '')
                || headless || scopes || coalesce(hex(pkce_verifier), '-') || created_at || expires_at
                || coalesce(hex(consumed_by), '-') || coalesce(hex(answer) || asked_at, '-') || coalesce(outcome, '-')
            FROM flows ORDER BY id";
        let before = text(&db, flows);
        Schema::embedded().migrate(&mut db).unwrap();
        assert_eq!(text(&db, flows), before);
        assert_eq!(before.len(), 3);
        assert_eq!(text(&db, "SELECT id FROM flows ORDER BY rowid"), ["flow_2", "flow_1", "flow_3"], "oldest first");
        assert_eq!(text(&db, "SELECT f.id FROM selections JOIN flows AS f ON f.id = flow_id"), ["flow_3"]);
        assert_eq!(text(&db, "SELECT redirect_uri || expired_at FROM late_redirects"), ["https://app.example7"]);
        assert!(db.execute("DELETE FROM flows WHERE id = 'flow_3'", []).is_err(), "a selection keeps its flow");
    }

    #[test]
    fn no_check_of_json_takes_null_for_damage_in_an_older_sqlite() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let tables: String =
            db.query_row("SELECT group_concat(sql, ' ') FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        // Before SQLite 3.45, json_valid(NULL) was 0. json_type(NULL) has always been NULL, which a CHECK accepts.
        assert_eq!(tables.matches("json_valid(").count(), tables.matches("IS NULL OR json_valid(").count());
        assert!(tables.contains("json_valid("));
    }

    #[test]
    fn grants_of_the_sixth_schema_are_resumed_by_the_new_indexes() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(6).migrate(&mut db).unwrap();
        db.execute_batch("INSERT INTO projects VALUES ('proj_1', 'default', 0);").unwrap();
        let (now, later, much_later) = (1_000_000, 2_000_000, 90_000_000);
        for (id, issued_at, due_at, trouble, failures, attempt_at) in [
            ("a", 0, Some(later), Some("credentials_rejected"), 1, None),
            ("b", 0, Some(later), None, 0, Some(0)),
            ("c", later, Some(much_later), None, 0, None),
            ("d", 0, Some(much_later), Some("platform_down"), 1, None),
            ("e", 0, None, Some("consent_expired"), 0, None),
            ("f", 0, Some(later), Some("platform_down"), 1, None),
        ] {
            db.execute(
                "INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, consented_at, issued_at,
                    access_expires_at, renewal, tokens, tokens_dek_id, generation, status, due_at, trouble, failures,
                    attempt_at, created_at, updated_at)
                 VALUES (?1, 'proj_1', 'twitter', 'c', ?1, '[]', 0, ?2, ?3, 'refresh_token',
                    CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', ?4,
                    iif(?5 IS NULL, NULL, json_object('kind', ?5)), ?6, ?7, 0, 0)",
                rusqlite::params![id, issued_at, much_later, due_at, trouble, failures, attempt_at],
            )
            .unwrap();
        }
        Schema::embedded().migrate(&mut db).unwrap();
        let now = Timestamp::from_millis(now);
        let tx = db.transaction().unwrap();
        assert_eq!(refreshes::resume_cut_off(&tx, now).unwrap(), 1);
        let latest_retry = now.plus(Duration::from_mins(30));
        for which in
            [Resumable::Refused, Resumable::IssuedAhead, Resumable::RetriedAfter(latest_retry), Resumable::Lapsed]
        {
            let rows = rescheduling::list_resumable(&tx, which, now).unwrap();
            assert_eq!(rescheduling::resume(&tx, &rows, which, now).unwrap(), 1, "{which:?}");
        }
        tx.commit().unwrap();
        let due: String =
            db.query_row("SELECT group_concat(id, '') FROM grants WHERE due_at = ?1", [now], |row| row.get(0)).unwrap();
        assert_eq!(due, "abcde");
    }

    #[test]
    fn flows_of_the_sixth_schema_name_no_server() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(6).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO flows (id, project_id, state, platform, client_id, headless, pkce_verifier, created_at, expires_at)
             VALUES ('flow_1', 'proj_1', CAST(zeroblob(32) AS BLOB), 'twitter', 'c', 0, zeroblob(45), 0, 1);
             INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, consented_at, issued_at, renewal,
                tokens, tokens_dek_id, generation, status, created_at, updated_at)
             VALUES ('grant_1', 'proj_1', 'twitter', 'c', 's', '[]', 0, 0, 'never',
                CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0);",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (Option<Vec<u8>>, u32, u32, u32) = db
            .query_row(
                "SELECT server, length(pkce_verifier), (SELECT count(*) FROM grants), (SELECT count(*) FROM registrations)
                 FROM flows",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        assert_eq!(kept, (None, 45, 1, 0));
    }

    #[test]
    fn keys_of_the_sixth_schema_stay_and_have_no_recovery_key() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(6).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO keyring VALUES (1, 'k1', x'01', CAST(zeroblob(32) AS BLOB), 'retired', 5);
             INSERT INTO keyring VALUES (2, 'k1', x'02', CAST(zeroblob(32) AS BLOB), 'active', 6);",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (String, u32, u32, u32) = db
            .query_row(
                "SELECT (SELECT group_concat(dek_id || wrapped_by || state || created_at) FROM keyring),
                    (SELECT count(*) FROM recovery), (SELECT count(*) FROM recovery_wraps), (SELECT count(*) FROM resealed)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        assert_eq!(kept, ("1k1retired5,2k1active6".to_owned(), 0, 0, 0));
        let orphan = db.execute("INSERT INTO recovery_wraps VALUES (3, 'r1', x'01')", []);
        assert!(orphan.is_err(), "a wrap is of a data key");
    }

    #[test]
    fn a_database_of_the_sixth_schema_was_never_restored() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(6).migrate(&mut db).unwrap();
        db.execute_batch("INSERT INTO projects VALUES ('proj_1', 'default', 0);").unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (u32, u32) = db
            .query_row("SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM backups)", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(kept, (1, 0));
    }

    #[test]
    fn a_database_of_the_tenth_schema_gets_an_empty_audit_trail() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(10).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO access_keys (id, project_id, name, hint, scopes, digest, created_at)
             VALUES ('key_1', 'proj_1', 'ci', 'ppk_abcd', '[]', CAST(zeroblob(32) AS BLOB), 0);",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (u32, u32, Option<i64>) = db
            .query_row(
                "SELECT (SELECT count(*) FROM access_keys), (SELECT count(*) FROM audit), before FROM audit_purge",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(kept, (1, 0, None));
    }

    #[test]
    fn keys_of_the_fourteenth_schema_have_no_limits_and_keep_what_points_at_them() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(14).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
             VALUES ('prof_1', 'proj_1', 'a', 'a', 0, 0);
             INSERT INTO access_keys VALUES ('key_1', 'proj_1', 'ci', 'ppk_abcd', '[\"read\"]', CAST(zeroblob(32) AS BLOB), 5, 6);
             INSERT INTO token_reads VALUES ('proj_1', 'int_1', 'key_1', 1, 0, 0);
             INSERT INTO audit (at, project_id, actor, action, object, outcome) VALUES (0, 'proj_1', 'person', 'a', 'b', 'c');",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (String, u32) = db
            .query_row(
                "SELECT concat_ws(' ', id, name, hint, scopes, networks, created_at, revoked_at, profile_id, expires_at, last_used_at),
                    (SELECT count(*) FROM audit WHERE profile_id IS NULL)
                 FROM access_keys JOIN token_reads ON access_key_id = id",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(kept, (r#"key_1 ci ppk_abcd ["read"] [] 5 6"#.to_owned(), 1));
        assert!(db.execute("DELETE FROM access_keys", []).is_err(), "a read points at it");
        assert!(db.execute("UPDATE access_keys SET profile_id = 'prof_2'", []).is_err(), "there is no such profile");
        db.execute("UPDATE access_keys SET profile_id = 'prof_1'", []).unwrap();
        assert!(db.execute("UPDATE audit SET profile_id = 'prof_1'", []).is_err(), "the trail is append-only");
    }

    #[test]
    fn connections_and_the_trail_of_the_sixteenth_schema_came_through_no_link() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(16).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO flows (id, project_id, state, platform, client_id, headless, scopes, created_at, expires_at)
             VALUES ('flow_1', 'proj_1', CAST(zeroblob(32) AS BLOB), 'twitter', 'c', 0, '[]', 0, 1);
             INSERT INTO audit (at, project_id, actor, action, object, outcome) VALUES (0, 'proj_1', 'person', 'a', 'b', 'c');",
        )
        .unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        let kept: (u32, u32, u32) = db
            .query_row(
                "SELECT (SELECT count(*) FROM flows WHERE link_id IS NULL),
                    (SELECT count(*) FROM audit WHERE link_id IS NULL), (SELECT count(*) FROM links)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(kept, (1, 1, 0));
        let foreign = "INSERT INTO links (id, project_id, profile_id, token, platforms, created_at, expires_at)
             VALUES ('link_1', 'proj_1', 'prof_1', CAST(zeroblob(32) AS BLOB), '[]', 0, 1)";
        assert!(db.execute(foreign, []).is_err(), "there is no such profile");
        assert!(db.execute(&foreign.replace("'prof_1'", "NULL"), []).is_ok());
    }

    #[test]
    fn accounts_of_the_twenty_second_schema_do_not_fail_while_their_access_tokens_never_expire() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::of_version(22).migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO keyring VALUES (1, 'k', zeroblob(73), CAST(zeroblob(32) AS BLOB), 'active', 0);",
        )
        .unwrap();
        let grants = [("lasting", None, Some(6)), ("lapsing", Some(5), Some(6)), ("fresh", Some(7), Some(6))];
        for (id, access, refresh) in grants {
            db.execute(
                "INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, consented_at, issued_at, renewal,
                    access_expires_at, refresh_expires_at, tokens, tokens_dek_id, generation, status, created_at, updated_at)
                 VALUES (?1, 'proj_1', 'twitter', 'c', ?1, '[]', 0, 0, 'refresh_token', ?2, ?3,
                    CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 1, 'active', 0, 0)",
                (id, access, refresh),
            )
            .unwrap();
            db.execute(
                "INSERT INTO integrations (id, project_id, grant_id, platform, platform_user_id, metadata, search, created_at,
                    updated_at)
                 VALUES (?1, 'proj_1', ?1, 'twitter', ?1, '{}', 'u', 0, 0)",
                [id],
            )
            .unwrap();
        }
        let fails_from = |db: &Connection, id: &str| -> Option<i64> {
            db.query_row("SELECT fails_from FROM integrations WHERE id = ?1", [id], |row| row.get(0)).unwrap()
        };
        assert_eq!(fails_from(&db, "lasting"), Some(6));
        Schema::embedded().migrate(&mut db).unwrap();
        assert_eq!(grants.map(|(id, ..)| fails_from(&db, id)), [None, Some(6), Some(7)]);
    }

    #[test]
    fn rebuilding_a_table_keeps_its_children() {
        let schema = Schema::with(
            &format!("V{}__rebuild", Schema::embedded().version() + 1),
            "CREATE TABLE anew (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL) STRICT;
             INSERT INTO anew SELECT * FROM projects;
             DROP TABLE projects;
             ALTER TABLE anew RENAME TO projects;",
        );
        let mut db = Connection::open_in_memory().unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
             VALUES ('prof_1', 'proj_1', 'a', 'a', 0, 0);",
        )
        .unwrap();
        schema.migrate(&mut db).unwrap();
        let left: u32 = db.query_row("SELECT count(*) FROM profiles", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1);
        let keys: bool = db.pragma_query_value(None, "foreign_keys", |row| row.get(0)).unwrap();
        assert!(keys, "foreign keys stay off");
    }

    #[test]
    fn a_migration_that_breaks_foreign_keys_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        Schema::embedded().migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO projects VALUES ('proj_1', 'default', 0);
             INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
             VALUES ('prof_1', 'proj_1', 'a', 'a', 0, 0);",
        )
        .unwrap();
        let name = format!("V{}__lossy", Schema::embedded().version() + 1);
        let lossy = Schema::with(&name, "DELETE FROM projects;");
        assert!(matches!(lossy.migrate(&mut db), Err(MigrationError::ForeignKeys)));
    }
}
