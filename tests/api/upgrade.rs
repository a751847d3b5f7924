//! An upgrade that is killed at any moment continues or begins anew at the next start, and loses nothing.
//!
//! `UPGRADE_KILLS` is the number of random kills (4 by default), `UPGRADE_ROWS` that of the accounts.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use postpeer::domain::entropy::{Entropy as _, SeededEntropy};
use postpeer::store;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use crate::first_version::bring_back;
use crate::process::Crashing;
use crate::small_disk;

/// The schema from before the largest migration.
const OLD: u32 = 6;

/// Puts a database of the old schema in the place of the new one, with the same keys and many accounts.
fn make_old(database: &Path, accounts: u64) {
    let old = database.with_extension("old");
    let db = Connection::open(&old).unwrap();
    let mut migrations: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    migrations.sort();
    for migration in migrations.iter().take(OLD as usize) {
        db.execute_batch(&fs::read_to_string(migration).unwrap()).unwrap();
    }
    db.execute("ATTACH ?1 AS new", [database.to_str().unwrap()]).unwrap();
    let history: String = db
        .query_row("SELECT sql FROM new.sqlite_schema WHERE name = 'refinery_schema_history'", [], |row| row.get(0))
        .unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         {history};
         INSERT INTO refinery_schema_history SELECT * FROM new.refinery_schema_history WHERE version <= {OLD};
         INSERT INTO meta SELECT id, db_id FROM new.meta;
         INSERT INTO keyring SELECT dek_id, wrapped_by, blob, check_value, state, created_at FROM new.keyring;
         INSERT INTO projects SELECT id, name, created_at FROM new.projects;
         INSERT INTO access_keys SELECT id, project_id, name, hint, scopes, digest, created_at, revoked_at
         FROM new.access_keys;
         DETACH new;
         CREATE TEMP TABLE numbers AS
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {accounts}) SELECT n FROM n;
         BEGIN;
         INSERT INTO grants (id, project_id, platform, client_id, subject, scopes, consented_at, issued_at, renewal, tokens,
            tokens_dek_id, generation, status, created_at, updated_at)
         SELECT printf('grant_%032d', n), projects.id, 'twitter', 'c', n, '[]', 0, 0, 'never',
            CAST(x'0100000001' || randomblob(200) AS BLOB), 1, 1, 'active', 0, 0
         FROM numbers, projects;
         INSERT INTO integrations (id, project_id, grant_id, platform, platform_user_id, username, metadata, search,
            created_at, updated_at)
         SELECT printf('int_%032d', n), projects.id, printf('grant_%032d', n), 'twitter', n, 'user ' || n, '{{}}',
            'user ' || n, 0, 0
         FROM numbers, projects;
         COMMIT"
    ))
    .unwrap();
    db.close().unwrap();
    fs::rename(&old, database).unwrap();
}

/// A digest of everything that was there before the upgrade, read from a copy, so that the next start finds what the
/// kill left.
fn digest(database: &Path) -> (u32, String) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("postpeer.db");
    fs::copy(database, &copy).unwrap();
    let log = database.with_extension("db-wal");
    if log.exists() {
        fs::copy(log, dir.path().join("postpeer.db-wal")).unwrap();
    }
    let schema = store::inspect(&copy).unwrap().schema_version;
    let db = Connection::open(&copy).unwrap();
    let mut digest = Sha256::new();
    for sql in [
        "SELECT id || hex(tokens) || subject FROM grants ORDER BY id",
        "SELECT id || grant_id || platform_user_id || username || search FROM integrations ORDER BY id",
        "SELECT id || hex(digest) FROM access_keys ORDER BY id",
    ] {
        let mut statement = db.prepare(sql).unwrap();
        for row in statement.query_map([], |row| row.get::<_, String>(0)).unwrap() {
            digest.update(row.unwrap());
        }
    }
    (schema, hex::encode(digest.finalize()))
}

/// Kills the process when it has said this many lines of progress, and after a pause.
fn kill_at(mut child: Child, lines: usize, pause: Duration) {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let said = stderr.lines().map_while(Result::ok);
    // Ends early when it is ready, or dies by itself.
    let _ = said.take_while(|line| !line.contains("listening")).filter(|line| line.contains("Step ")).nth(lines);
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_killed_loses_nothing() {
    let broker = Crashing::new(1);
    let database = broker.path("postpeer.db");
    let accounts = number("UPGRADE_ROWS", 5_000);
    bring_back(&database, &broker.path("postpeer.keyring"));
    make_old(&database, accounts);
    let pristine = broker.path("pristine");
    fs::copy(&database, &pristine).unwrap();
    let (schema, before) = digest(&database);
    assert_eq!(schema, OLD);
    let new = store::schema_version();
    let random = SeededEntropy::new(1);
    let below = |limit: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_be_bytes(bytes) % limit
    };

    let mut left = Vec::new();
    for place in ["upgrade_copied", "upgrade_migrated"] {
        broker.start_dying(place);
        left.push(digest(&database));
        assert_eq!(store::list_copies(&database).unwrap().len(), 1, "{place}");
    }
    assert_eq!(left, [(OLD, before.clone()), (new, before.clone())]);
    for kill in 0..number("UPGRADE_KILLS", 4) {
        if digest(&database).0 == new {
            for ending in ["db-wal", "db-shm"] {
                let _ = fs::remove_file(database.with_extension(ending));
            }
            fs::copy(&pristine, &database).unwrap();
        }
        let lines = usize::try_from(below(16)).unwrap();
        kill_at(broker.start_without_waiting(None), lines, Duration::from_millis(below(30)));
        let (schema, after) = digest(&database);
        assert!(schema == OLD || schema == new, "kill {kill}: schema {schema}");
        assert_eq!(after, before, "kill {kill} after {lines} lines");
    }

    let process = broker.start(None);
    assert_eq!(digest(&database), (new, before));
    let listed = broker.call(0, "/v1/connect/integrations").await.unwrap();
    assert_eq!(listed.json["total"], accounts, "{}", listed.text);
    let copies = store::list_copies(&database).unwrap();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(store::inspect(&copies[0]).unwrap().schema_version, OLD);
    assert_eq!(process.stop(), Some(0));

    // The way back. The tokens of these accounts are no real ones.
    let restored = broker.command(&["restore", "--accept-unreadable", copies[0].to_str().unwrap()]);
    tokio::task::block_in_place(|| restored.succeeded());
    assert_eq!(store::inspect(&database).unwrap().schema_version, new, "and forth again, by this program");
}

#[test]
fn an_upgrade_without_room_changes_nothing() {
    small_disk::run("upgrade::inside_a_small_file_system");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in a small file system: an_upgrade_without_room_changes_nothing gives it one"]
async fn inside_a_small_file_system() {
    let broker = Crashing::new(1);
    let database = broker.path("postpeer.db");
    make_old(&database, 10);
    let before = digest(&database);
    let (code, said) = broker.refuses();
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("no room to upgrade") && said.contains("Free some space, and start again"), "{said}");
    assert_eq!(digest(&database), before);
    assert!(store::list_copies(&database).unwrap().is_empty());
}

#[expect(clippy::disallowed_methods, reason = "a long run kills more often than a person waits for")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
