//! An inspection changes nothing, a new database is complete or absent, and a refused file stays as it is.

mod upgrades;

use std::os::unix::fs::PermissionsExt as _;

use rusqlite::StatementStatus;
use uuid::Uuid;

use super::create::Unfinished;
use super::inspect::examine;
use super::*;
use crate::domain::entropy::SeededEntropy;
use crate::domain::id::{IdSource, ProjectId};
use crate::domain::keyring::{KeyState, WrappedKey};
use crate::domain::project::Project;
use crate::domain::secret::Digest256;
use crate::domain::time::{ManualClock, Timestamp};
use crate::store::lock::beside;
use crate::store::schema::APPLICATION_ID;
use crate::store::{DatabaseLock, integrations, projects};

const DB: Uuid = Uuid::from_u128(7);

fn key() -> WrappedKey {
    WrappedKey {
        dek_id: 1,
        wrapped_by: "k1".to_owned(),
        blob: vec![1; 73],
        check_value: vec![2; 32],
        state: KeyState::Active,
    }
}

fn project() -> Project {
    let clock = std::sync::Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let ids = IdSource::new(clock, std::sync::Arc::new(SeededEntropy::new(1)));
    Project {
        id: ids.next::<ProjectId>(),
        name: "default".to_owned(),
        created_at: Timestamp::from_millis(1_700_000_000_000),
    }
}

struct Place {
    directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postpeer.db");
    Place { directory, path }
}

/// A database that was created and closed.
fn made() -> Place {
    let place = place();
    drop(Store::create(&place.path, DB, &key(), &project()).unwrap());
    place
}

fn files(place: &Place) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn change(path: &Path, sql: &str) {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "foreign_keys", false).unwrap();
    db.execute_batch(sql).unwrap();
}

/// Inspecting and opening both fail, and neither changes a byte.
fn refused(place: &Place) -> OpenError {
    let before = fs::read(&place.path).map(|bytes| Digest256::of(&bytes)).ok();
    let error = inspect(&place.path).unwrap_err();
    let opened = Store::open(&place.path).unwrap_err();
    assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&opened), "{error:?} {opened:?}");
    let after = fs::read(&place.path).map(|bytes| Digest256::of(&bytes)).ok();
    assert!(before == after, "the file was changed: {error:?}");
    assert!(error.to_string().contains("postpeer.db"), "{error}");
    error
}

#[test]
fn a_new_database_is_private_complete_and_in_wal_mode() {
    let place = made();
    assert_eq!(files(&place), ["postpeer.db"]);
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = fs::read(&place.path).unwrap();
    let seen = inspect(&place.path).unwrap();
    assert_eq!((seen.db_id, seen.schema_version), (DB, Schema::embedded().version()));
    assert_eq!(seen.wrapped_keys, [key()]);
    assert_eq!(fs::read(&place.path).unwrap(), before);
    assert_eq!(files(&place), ["postpeer.db"], "an inspection leaves no files");

    let writer = connect(&place.path, Role::Writer).unwrap();
    let pragma = |name| writer.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma("synchronous"), 2.into(), "FULL");
    assert_eq!(pragma("foreign_keys"), 1.into());
    assert_eq!(pragma("secure_delete"), 1.into());
    assert_eq!(pragma("trusted_schema"), 0.into());
    assert_eq!(pragma("busy_timeout"), 5000.into());
    assert_eq!(projects::list(&writer).unwrap()[0].name, "default");
    for role in [Role::LongReader, Role::ShortReader] {
        let reader = connect(&place.path, role).unwrap();
        assert!(reader.execute("DELETE FROM projects", []).is_err(), "a reader writes");
    }
}

#[test]
fn kept_statements_are_planned_once() {
    let place = made();
    let ids = IdSource::new(
        std::sync::Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000))),
        std::sync::Arc::new(SeededEntropy::new(1)),
    );
    for role in [Role::LongReader, Role::ShortReader, Role::Writer] {
        let db = connect(&place.path, role).unwrap();
        for _ in 0..3 {
            assert!(integrations::find_tokens(&db, ids.next(), ids.next()).unwrap().is_none());
        }
        let statement = db.prepare_cached(integrations::FIND_TOKENS).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 3, "it was kept");
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}

#[test]
fn an_inspection_reads_the_log_and_leaves_the_file_alone() {
    let place = made();
    // The log of a killed process.
    let writer = connect(&place.path, Role::Writer).unwrap();
    writer.execute("UPDATE keyring SET wrapped_by = 'k2'", []).unwrap();
    let killed = self::place();
    for ending in ["", "-wal"] {
        fs::copy(beside(&place.path, ending), beside(&killed.path, ending)).unwrap();
    }
    let before = fs::read(&killed.path).unwrap();
    assert_eq!(inspect(&killed.path).unwrap().wrapped_keys[0].wrapped_by, "k2");
    assert_eq!(fs::read(&killed.path).unwrap(), before);
}

#[test]
fn a_path_is_not_read_as_a_uri() {
    let place = place();
    let path = place.directory.path().join("100% #1?mode=memory ü.db");
    drop(Store::create(&path, DB, &key(), &project()).unwrap());
    assert_eq!(inspect(&path).unwrap().db_id, DB);
    drop(Store::open(&path).unwrap());
    assert_eq!(files(&place), ["100% #1?mode=memory ü.db"]);
}

#[test]
fn a_newer_schema_in_the_log_is_refused_without_moving_the_log() {
    let place = made();
    let writer = connect(&place.path, Role::Writer).unwrap();
    writer.pragma_update(None, "user_version", 999).unwrap();
    let killed = self::place();
    for ending in ["", "-wal"] {
        fs::copy(beside(&place.path, ending), beside(&killed.path, ending)).unwrap();
    }
    assert!(matches!(refused(&killed), OpenError::Newer { found: 999, .. }));
}

#[test]
fn creating_never_overwrites() {
    let place = made();
    let before = fs::read(&place.path).unwrap();
    let error = Store::create(&place.path, Uuid::from_u128(8), &key(), &project()).unwrap_err();
    assert!(matches!(error, OpenError::AlreadyExists { .. }), "{error:?}");
    assert_eq!(fs::read(&place.path).unwrap(), before);

    for left in ["postpeer.db-wal", "postpeer.db-journal", "postpeer.db"] {
        let place = self::place();
        let path = place.directory.path().join(left);
        fs::write(&path, "something").unwrap();
        let error = Store::create(&place.path, DB, &key(), &project()).unwrap_err();
        assert!(matches!(&error, OpenError::AlreadyExists { path: at } if *at == path), "{error:?}");
        assert_eq!(files(&place), [left]);
        assert_eq!(fs::read(&path).unwrap(), b"something");
    }
}

#[test]
fn a_file_that_appears_at_the_last_moment_is_not_overwritten() {
    let place = place();
    let unfinished = Unfinished::at(beside(&place.path, ".new")).unwrap();
    fs::write(&place.path, "mine").unwrap();
    assert!(matches!(unfinished.publish(&place.path), Err(OpenError::AlreadyExists { .. })));
    assert_eq!(fs::read(&place.path).unwrap(), b"mine");
    assert_eq!(files(&place), ["postpeer.db"]);
}

#[test]
fn what_another_process_puts_at_the_path_of_an_unfinished_file_is_neither_published_nor_removed() {
    let place = place();
    let path = beside(&place.path, ".new");
    let unfinished = Unfinished::at(path.clone()).unwrap();
    let theirs = Unfinished::at(path.clone()).unwrap();
    fs::write(&path, "half of theirs").unwrap();
    let error = unfinished.publish(&place.path).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert_eq!(files(&place), ["postpeer.db.new"]);
    theirs.publish(&place.path).unwrap();
    assert_eq!(files(&place), ["postpeer.db"]);
    assert_eq!(fs::read(&place.path).unwrap(), b"half of theirs");
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let place = place();
    let broken = WrappedKey { check_value: vec![], ..key() };
    let error = Store::create(&place.path, DB, &broken, &project()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(files(&place).is_empty(), "{:?}", files(&place));
    Store::create(&place.path, DB, &key(), &project()).unwrap();
}

#[test]
fn leftovers_of_a_killed_creation_do_not_matter() {
    let whole = made();
    let bytes = fs::read(&whole.path).unwrap();
    let place = place();
    for left in [&bytes[..0], &bytes[..bytes.len() / 2], &bytes] {
        fs::write(beside(&place.path, ".new"), left).unwrap();
        fs::write(beside(&place.path, ".new-journal"), "half").unwrap();
        assert!(matches!(refused(&place), OpenError::Missing { .. }));
        drop(Store::create(&place.path, DB, &key(), &project()).unwrap());
        assert_eq!(files(&place), ["postpeer.db"]);
        inspect(&place.path).unwrap();
        fs::remove_file(&place.path).unwrap();
    }
}

#[test]
fn a_missing_database_is_not_created() {
    let place = place();
    assert!(matches!(refused(&place), OpenError::Missing { .. }));
    assert!(files(&place).is_empty());
    let nowhere = place.directory.path().join("none").join("postpeer.db");
    assert!(matches!(inspect(&nowhere), Err(OpenError::Missing { .. })));
    assert!(matches!(DatabaseLock::take(&nowhere), Err(OpenError::Missing { .. })));
}

#[test]
fn a_damaged_file_is_refused() {
    let whole = made();
    let bytes = fs::read(&whole.path).unwrap();
    let mut scrambled = bytes.clone();
    // Every page but the first, which has the header.
    for byte in scrambled.iter_mut().skip(4096) {
        *byte ^= 0x55;
    }
    for (what, damaged) in [
        ("empty", vec![]),
        ("text", b"not a database, but long enough to be looked at as if it were one".repeat(3)),
        ("header cut", bytes[..60].to_vec()),
        ("header only", bytes[..100].to_vec()),
        ("half", bytes[..bytes.len() / 2].to_vec()),
    ] {
        let place = place();
        fs::write(&place.path, damaged).unwrap();
        let error = refused(&place);
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
        assert!(!files(&place).iter().any(|name| name.contains(".new")));
    }
    let place = place();
    fs::write(&place.path, &scrambled).unwrap();
    assert!(matches!(inspect(&place.path), Err(OpenError::Damaged { .. })));
    assert_eq!(fs::read(&place.path).unwrap(), scrambled);
}

#[test]
fn an_inspection_notices_one_damaged_page() {
    let place = made();
    let mut bytes = fs::read(&place.path).unwrap();
    let page = 4096;
    let last = bytes.len() / page - 1;
    for byte in &mut bytes[last * page..last * page + 64] {
        *byte ^= 0xff;
    }
    fs::write(&place.path, &bytes).unwrap();
    let error = inspect(&place.path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}

#[test]
fn a_log_that_belongs_to_another_state_of_the_file_is_noticed() {
    let place = made();
    let older = fs::read(&place.path).unwrap();
    let writer = connect(&place.path, Role::Writer).unwrap();
    let fill = || {
        let insert = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 500)
            INSERT INTO projects SELECT hex(randomblob(16)), hex(randomblob(16)), 0 FROM n";
        writer.execute(insert, []).unwrap();
    };
    fill();
    writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    fill();
    let copied = self::place();
    fs::write(&copied.path, &older).unwrap();
    fs::copy(beside(&place.path, "-wal"), beside(&copied.path, "-wal")).unwrap();
    let error = inspect(&copied.path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("postpeer.db-wal belongs to another state"), "{error}");
    assert_eq!(fs::read(&copied.path).unwrap(), older);
}

#[tokio::test]
async fn damage_in_a_large_file_is_noticed_while_the_broker_runs() {
    let place = made();
    assert!(inspect_briefly(&place.path).unwrap().is_checked, "a small file is read at once");
    let store = Store::open(&place.path).unwrap();
    check(place.path.clone()).await.unwrap();
    drop(store);
    change(
        &place.path,
        "INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
         VALUES ('prof_1', 'proj_none', 'a', 'a', 0, 0)",
    );
    assert!(matches!(inspect_briefly(&place.path), Err(OpenError::Damaged { .. })));
    assert!(!examine(&place.path, 0).unwrap().is_checked);
    let _store = Store::open(&place.path).unwrap();
    let error = check(place.path.clone()).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_file_of_any_size_is_read_before_it_is_migrated() {
    let place = made();
    assert!(!examine(&place.path, 0).unwrap().is_checked);
    let older = Schema::embedded().version() - 1;
    change(
        &place.path,
        &format!("PRAGMA user_version = {older}; DELETE FROM refinery_schema_history WHERE version > {older}"),
    );
    let seen = examine(&place.path, 0).unwrap();
    assert_eq!((seen.schema_version, seen.is_checked), (older, true));
}

#[test]
fn missing_contents_are_damage() {
    for sql in [
        "DELETE FROM meta",
        "UPDATE meta SET db_id = printf('%036d', 0)",
        "UPDATE keyring SET wrapped_by = x'00'; DROP TABLE keyring",
        "DELETE FROM projects; INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
            VALUES ('prof_1', 'proj_none', 'a', 'a', 0, 0)",
        "DROP TABLE meta",
    ] {
        let place = made();
        // A statement may fail in a strict table; the earlier ones count.
        let db = Connection::open(&place.path).unwrap();
        db.pragma_update(None, "foreign_keys", false).unwrap();
        for part in sql.split(';') {
            let _ = db.execute_batch(part);
        }
        drop(db);
        let before = fs::read(&place.path).unwrap();
        let error = inspect(&place.path).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{sql}: {error:?}");
        assert_eq!(fs::read(&place.path).unwrap(), before);
    }
}

#[test]
fn another_programs_database_is_refused() {
    let place = made();
    change(&place.path, "PRAGMA application_id = 1");
    assert!(matches!(refused(&place), OpenError::Foreign { .. }));
    let other = self::place();
    change(&other.path, "CREATE TABLE notes (text)");
    assert!(matches!(refused(&other), OpenError::Foreign { .. }));
    assert_eq!(files(&other), ["postpeer.db"]);
}

#[test]
fn a_newer_schema_is_refused() {
    let known = Schema::embedded().version();
    for sql in [
        "PRAGMA user_version = 999".to_owned(),
        "INSERT INTO refinery_schema_history VALUES (999, 'later', '2030-01-01T00:00:00Z', '1')".to_owned(),
    ] {
        let place = made();
        change(&place.path, &sql);
        let error = refused(&place);
        assert!(matches!(error, OpenError::Newer { found: 999, known: at, .. } if at == known), "{error:?}");
        assert!(!files(&place).iter().any(|name| name.contains(".before")));
    }
}

#[test]
fn a_database_without_a_schema_is_damaged() {
    let place = place();
    change(&place.path, &format!("PRAGMA application_id = {APPLICATION_ID}; CREATE TABLE notes (text)"));
    assert!(matches!(refused(&place), OpenError::Damaged { .. }));
}

#[test]
fn a_world_writable_directory_is_refused() {
    let place = made();
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(inspect(&place.path), Err(OpenError::WorldWritable { .. })));
    assert!(matches!(Store::open(&place.path), Err(OpenError::WorldWritable { .. })));
    let new = place.directory.path().join("new.db");
    assert!(matches!(Store::create(&new, DB, &key(), &project()), Err(OpenError::WorldWritable { .. })));
    assert_eq!(files(&place), ["postpeer.db"]);
}

#[test]
fn an_sqlite_that_loses_commits_is_refused() {
    assert!(matches!(check_sqlite(3_051_002), Err(OpenError::TooOldSqlite { .. })));
    assert!(check_sqlite(3_051_003).is_ok());
    assert!(check_sqlite(rusqlite::version_number()).is_ok(), "{}", rusqlite::version());
}
