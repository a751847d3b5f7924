//! Copies of databases of every schema, and copies beside a writer.

use std::fs;

use super::*;
use crate::store::DatabaseLock;
use crate::store::open::{inspect, schema_version};

const NOW: Timestamp = Timestamp::from_millis(1_777_797_216_445);

fn never() -> bool {
    false
}

/// The first schema with connect links.
const LINKS: u32 = 17;

/// A database of an earlier schema, with a key that was revoked, one that was not, a sealed value, and a link of each
/// key and one of nobody's.
fn database(path: &Path, version: u32) {
    let mut db = Connection::open(path).unwrap();
    Schema::of_version(version).migrate(&mut db).unwrap();
    db.execute_batch(
        "INSERT INTO meta VALUES (1, '00000000-0000-0000-0000-000000000007');
         INSERT INTO keyring VALUES (1, 'k1', x'01', CAST(zeroblob(32) AS BLOB), 'active', 0);
         INSERT INTO projects VALUES ('proj_1', 'default', 0);
         INSERT INTO access_keys (id, project_id, name, hint, scopes, digest, created_at, revoked_at) VALUES
            ('key_1', 'proj_1', 'a', 'ppk', '[]', CAST(zeroblob(32) AS BLOB), 0, NULL),
            ('key_2', 'proj_1', 'b', 'ppk', '[]', CAST(x'01' || zeroblob(31) AS BLOB), 0, 5);
         INSERT INTO oauth_apps (id, project_id, platform, name, name_folded, client_id, client_secret, client_secret_dek_id,
            generation, created_at, updated_at)
         VALUES ('app_1', 'proj_1', 'twitter', 'a', 'a', 'c', CAST(x'0100000001' || zeroblob(40) AS BLOB), 1, 3, 0, 0);
         PRAGMA journal_mode = WAL",
    )
    .unwrap();
    if version >= LINKS {
        for (link, key) in [("1", Some("key_1")), ("2", None), ("3", None)] {
            db.execute(
                "INSERT INTO links (id, project_id, access_key_id, token, platforms, created_at, expires_at)
                 VALUES ('link_' || ?1, 'proj_1', ?2, CAST(?1 || zeroblob(31) AS BLOB), '[]', 0, 100)",
                (link, key),
            )
            .unwrap();
        }
    }
    db.close().unwrap();
}

fn revoked_links(path: &Path) -> Vec<Option<i64>> {
    let db = Connection::open(path).unwrap();
    let mut links = db.prepare("SELECT revoked_at FROM links ORDER BY id").unwrap();
    links.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn revocations(path: &Path) -> Vec<Option<i64>> {
    let db = Connection::open(path).unwrap();
    let mut keys = db.prepare("SELECT revoked_at FROM access_keys ORDER BY id").unwrap();
    keys.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_backup_of_any_schema_is_restored_and_brought_up_to_date() {
    let versions = (1..=schema_version()).filter(|version| Schema::of_version(*version).version() == *version);
    for version in versions {
        let directory = tempfile::tempdir().unwrap();
        let [old, file] = ["postpeer.db", "backup.db"].map(|name| directory.path().join(name));
        database(&old, version);
        let made = copy(&old, beside(&file), NOW, &never).unwrap();
        assert_eq!(made.check(&old).unwrap().schema_version, version);
        let mut found = Vec::new();
        crate::store::sealed::for_each_sealed(made.path(), |value| {
            found.push((value.row, value.generation, value.sealed.as_bytes().len()));
        })
        .unwrap();
        assert_eq!(found, [("app_1".to_owned(), 3, 45)]);
        made.publish(&file).unwrap();
        let backup = fs::read(&file).unwrap();

        // Since then, another key was revoked, and a link.
        let since = Connection::open(&old).unwrap();
        since.execute("UPDATE access_keys SET revoked_at = 9 WHERE id = 'key_1'", []).unwrap();
        if version >= LINKS {
            since.execute("UPDATE links SET revoked_at = 8 WHERE id = 'link_2'", []).unwrap();
        }
        since.close().unwrap();
        let lock = DatabaseLock::take(&old).unwrap();
        let later = NOW.plus(Duration::from_hours(1));
        let restored = copy_in(&lock, &old, &file).unwrap().install("done", later).unwrap();
        assert_eq!(restored.revoked_again, 1);
        assert_eq!(revocations(&old), [Some(9), Some(5)]);
        let links = if version >= LINKS { vec![Some(9), Some(8), None] } else { vec![] };
        assert_eq!(revoked_links(&old), links, "schema {version}");
        assert_eq!(inspect(&old).unwrap().schema_version, schema_version());
        assert!(matches!(restored.replaced, Replaced::Same { .. }));
        // A copy of an older schema cannot say when it was taken: then its file's time counts.
        let noted = find_latest_restore(&Connection::open(&old).unwrap()).unwrap().unwrap();
        let can_say = has_table(&file);
        assert_eq!(restored.taken_at, can_say.then_some(NOW), "schema {version}");
        assert_eq!((noted.taken_at == NOW, noted.restored_at), (can_say, later), "schema {version}");
        assert!(fs::read(&file).unwrap() == backup, "the backup was changed");
    }
}

/// The audit trail of the replaced database tells of rows that are gone.
#[test]
fn what_was_revoked_stays_revoked_although_its_rows_are_gone() {
    for (since, keys, links) in [
        ("DELETE FROM access_keys WHERE id = 'key_1'", [Some(9), Some(5)], [Some(9), None, None]),
        ("DELETE FROM links", [None, Some(5)], [None, Some(8), None]),
        ("DELETE FROM links", [None, Some(5)], [None, None, Some(7)]),
        // The broker that deleted the profile said nothing of its keys.
        ("UPDATE access_keys SET profile_id = NULL", [Some(7), Some(5)], [None, None, Some(7)]),
        ("DELETE FROM links; DELETE FROM access_keys", [Some(6), Some(5)], [Some(6); 3]),
        ("DELETE FROM links; DELETE FROM access_keys", [None, Some(5)], [None; 3]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let [old, file] = ["postpeer.db", "backup.db"].map(|name| directory.path().join(name));
        database(&old, schema_version());
        let db = Connection::open(&old).unwrap();
        db.execute_batch(
            "INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
             VALUES ('prof_1', 'proj_1', 'a', 'a', 0, 0);
             UPDATE links SET profile_id = 'prof_1' WHERE id = 'link_3';
             PRAGMA foreign_keys = OFF",
        )
        .unwrap();
        if keys[0] == Some(7) {
            db.execute("UPDATE access_keys SET profile_id = 'prof_1' WHERE id = 'key_1'", []).unwrap();
        }
        copy(&old, beside(&file), NOW, &never).unwrap().publish(&file).unwrap();
        db.execute_batch(since).unwrap();
        for (at, action, object) in [
            (9, "access_key.revoked", "key_1"),
            (8, "link.revoked", "link_2"),
            (7, "profile.deleted", "prof_1"),
            (6, "project.deleted", "proj_1"),
        ] {
            if keys.contains(&Some(at)) || links.contains(&Some(at)) {
                db.execute(
                    "INSERT INTO audit (at, project_id, actor, action, object, outcome)
                     VALUES (?1, 'proj_1', 'command_line', ?2, ?3, 'done')",
                    (at, action, object),
                )
                .unwrap();
            }
        }
        db.close().unwrap();
        let lock = DatabaseLock::take(&old).unwrap();
        let restored = copy_in(&lock, &old, &file).unwrap().install("done", NOW).unwrap();
        assert_eq!((revocations(&old), revoked_links(&old)), (keys.into(), links.into()), "{since}");
        assert_eq!(restored.revoked_again, usize::from(keys[0].is_some()), "{since}");
    }
}

#[test]
fn nobody_is_signed_in_to_the_console_after_a_restore() {
    let directory = tempfile::tempdir().unwrap();
    let [path, file] = ["postpeer.db", "backup.db"].map(|name| directory.path().join(name));
    database(&path, schema_version());
    let db = Connection::open(&path).unwrap();
    let session =
        "INSERT INTO console_sessions (digest, project_id, access_key_id, created_at, expires_at, mac, mac_dek_id)
        VALUES (CAST(zeroblob(32) AS BLOB), 'proj_1', 'key_1', 0, 9000000000000, CAST(zeroblob(32) AS BLOB), 1)";
    db.execute(session, []).unwrap();
    copy(&path, beside(&file), NOW, &never).unwrap().publish(&file).unwrap();
    // They signed out since.
    db.execute("DELETE FROM console_sessions", []).unwrap();
    db.close().unwrap();
    let lock = DatabaseLock::take(&path).unwrap();
    copy_in(&lock, &path, &file).unwrap().install("done", NOW).unwrap();
    let sessions = |path: &Path| {
        let db = Connection::open(path).unwrap();
        db.query_row("SELECT count(*) FROM console_sessions", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!((sessions(&file), sessions(&path)), (1, 0));
}

fn has_table(path: &Path) -> bool {
    let (db, _) = look(path, schema_version()).unwrap();
    db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'backups'").unwrap().exists([]).unwrap()
}

fn beside(file: &Path) -> PathBuf {
    file.with_extension("unfinished")
}

#[test]
fn a_copy_is_one_snapshot_though_others_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postpeer.db");
    database(&path, schema_version());
    let writer = Connection::open(&path).unwrap();
    // More pages than one step copies.
    let add = |from: u32, to: u32| {
        let sql = "WITH RECURSIVE n (value) AS (SELECT ?1 UNION ALL SELECT value + 1 FROM n WHERE value < ?2)
            INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
            SELECT 'prof_' || value, 'proj_1', hex(randomblob(500)), '', 0, 0 FROM n";
        writer.execute(sql, (from, to)).unwrap();
    };
    add(1, 3_000);
    let steps = std::cell::Cell::new(0);
    let write_meanwhile = || {
        steps.set(steps.get() + 1);
        add(10_000 * steps.get(), 10_000 * steps.get() + 9);
        false
    };
    let made = copy(&path, beside(&path), NOW, &write_meanwhile).unwrap();
    assert!(steps.get() > 2, "{}", steps.get());
    made.check(&path).unwrap();
    let profiles = |path: &Path| -> u32 {
        let (db, _) = look(path, schema_version()).unwrap();
        db.query_row("SELECT count(*) FROM profiles", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(profiles(made.path()), 3_000);
    assert_eq!(profiles(&path), 3_000 + 10 * steps.get());
}

#[test]
fn a_copy_that_is_stopped_or_dropped_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postpeer.db");
    database(&path, schema_version());
    let names = || fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let before = names();
    drop(copy(&path, beside(&path), NOW, &never).unwrap());
    assert_eq!(names(), before);
    // What a process left that died.
    fs::write(beside(&path), "half a copy").unwrap();
    let made = copy(&path, beside(&path), NOW, &never).unwrap();
    made.check(&path).unwrap();
    fs::write(directory.path().join("taken.db"), "mine").unwrap();
    let error = made.publish(&directory.path().join("taken.db")).unwrap_err();
    assert!(matches!(error, BackupError::AlreadyExists { .. }), "{error:?}");
    assert_eq!(fs::read(directory.path().join("taken.db")).unwrap(), b"mine");
    assert!(!beside(&path).exists());
}

#[test]
fn a_copy_ends_when_the_broker_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postpeer.db");
    database(&path, schema_version());
    let large = "INSERT INTO profiles (id, project_id, name, name_folded, created_at, updated_at)
        VALUES ('prof_1', 'proj_1', hex(zeroblob(2000000)), '', 0, 0)";
    Connection::open(&path).unwrap().execute(large, []).unwrap();
    let error = copy(&path, beside(&path), NOW, &|| true).unwrap_err();
    assert!(matches!(error, BackupError::Stopped), "{error:?}");
    assert!(!beside(&path).exists());
}

#[test]
fn the_id_of_a_copy_tells_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let [path, text, none] = ["postpeer.db", "text", "none"].map(|name| directory.path().join(name));
    database(&path, 1);
    fs::write(&text, "text").unwrap();
    assert_eq!(find_db_id(&path), Some(Uuid::from_u128(7)));
    assert_eq!(find_db_id(&text), None);
    assert_eq!(find_db_id(&none), None);
}
