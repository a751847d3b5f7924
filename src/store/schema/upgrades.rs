//! A database of each released schema, with rows in every table, is brought up to date: every stored value is still
//! there, and the store reads every row.

use std::collections::BTreeMap;

use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::{Schema, breaks_foreign_keys, version};
use crate::domain::audit::Since;
use crate::domain::binding::Binding;
use crate::domain::id::Id;
use crate::domain::paging::Window;
use crate::domain::secret::Digest256;
use crate::domain::time::Timestamp;
use crate::store::backup::find_latest_restore;
use crate::store::{
    access_keys, activity, audit, console_sessions, counts, discovered, flows, grants, integrations, keyring,
    late_redirects, links, meta, oauth_apps, profiles, projects, recovery, registrations, sealed, selections,
    token_reads,
};

/// Rows, with the first and the last schema that takes them in this form. `$1` is an id's 32 digits that end with 1,
/// `#1` the digest of it, `@` a sealed value under the data key 1.
const ROWS: &[(u32, u32, &str)] = &[
    (1, 99, "INSERT INTO meta VALUES (1, '00000000-0000-0000-0000-000000000007')"),
    (1, 99, "INSERT INTO keyring VALUES (1, 'k1', zeroblob(73), #9, 'active', 1)"),
    (1, 99, "INSERT INTO projects VALUES ('proj_$1', 'default', 1), ('proj_$2', 'other', 2)"),
    (
        1,
        99,
        "INSERT INTO access_keys (id, project_id, name, hint, scopes, digest, created_at, revoked_at)
         VALUES ('key_$1', 'proj_$1', 'ci', 'ppk_abcd', '[\"connect\",\"read\"]', #1, 1, NULL),
            ('key_$2', 'proj_$1', 'old', 'ppk_efgh', '[\"read\"]', #2, 1, 2)",
    ),
    (
        1,
        99,
        "INSERT INTO profiles (id, project_id, name, name_folded, description, created_at, updated_at, deleted_at)
         VALUES ('prof_$1', 'proj_$1', 'Zoë', 'zoë', 'd', 1, 2, NULL), ('prof_$2', 'proj_$1', 'b', 'b', NULL, 1, 2, 3)",
    ),
    (
        1,
        99,
        "INSERT INTO oauth_apps (id, project_id, platform, name, name_folded, image_url, client_id, client_secret,
            client_secret_dek_id, generation, created_at, updated_at)
         VALUES ('app_$1', 'proj_$1', 'twitter', 'A', 'a', 'https://a.example', 'c', @, 1, 3, 1, 2)",
    ),
    (6, 99, "UPDATE oauth_apps SET previous_secret = @, previous_secret_dek_id = 1, previous_until = 9"),
    (
        1,
        2,
        "INSERT INTO grants (id, project_id, platform, app_id, client_id, subject, scopes, access_expires_at,
            refresh_expires_at, auto_refreshes, tokens, tokens_dek_id, generation, status, failure_reason, created_at,
            updated_at)
         VALUES ('grant_$1', 'proj_$1', 'twitter', 'app_$1', 'c', 's1', '[\"a\"]', 5, 6, 1, @, 1, 7, 'active', NULL, 1, 2),
            ('grant_$2', 'proj_$1', 'threads', NULL, 'c', 's2', '[]', NULL, NULL, 0, @, 1, 1, 'reconnect_required',
                'access_revoked', 1, 2)",
    ),
    (
        3,
        99,
        "INSERT INTO grants (id, project_id, platform, app_id, client_id, subject, scopes, consented_at, issued_at,
            access_expires_at, refresh_expires_at, renewal, tokens, tokens_dek_id, generation, status, failure_reason,
            ended_at, due_at, trouble, failures, attempt_at, in_doubt, answer, answer_dek_id, created_at, updated_at)
         VALUES ('grant_$1', 'proj_$1', 'twitter', 'app_$1', 'c', 's1', '[\"a\"]', 1, 2, 5, 6, 'refresh_token', @, 1, 7,
                'active', NULL, NULL, 4,
                '{\"kind\":\"platform_unavailable\",\"status\":null,\"platform_code\":null,\"at\":0}', 2, 3, 1, @, 1, 1, 2),
            ('grant_$2', 'proj_$1', 'threads', NULL, 'c', 's2', '[]', 1, 2, NULL, NULL, 'never', NULL, NULL, 1,
                'reconnect_required', 'access_revoked', 2, NULL, NULL, 0, NULL, 0, NULL, NULL, 1, 2)",
    ),
    (4, 99, "UPDATE grants SET requested_scopes = '[\"a\",\"b\"]'"),
    (
        1,
        99,
        "INSERT INTO integrations (id, project_id, grant_id, profile_id, platform, platform_user_id, username, display_name,
            profile_url, image_url, metadata, search, created_at, updated_at)
         VALUES ('int_$1', 'proj_$1', 'grant_$1', 'prof_$1', 'twitter', 'u1', 'ada', 'Ada', 'https://x.example',
                'https://i.example', '{\"a\":1}', 'ada', 1, 2),
            ('int_$2', 'proj_$1', 'grant_$2', NULL, 'threads', 'u2', NULL, NULL, NULL, NULL, '{}', 'u2', 1, 2)",
    ),
    (
        2,
        99,
        "UPDATE integrations SET tokens = @, tokens_dek_id = 1, generation = 4, status = 'reconnect_required',
            failure_reason = 'token_expired' WHERE id = 'int_$1'",
    ),
    (
        1,
        99,
        "INSERT INTO flows (id, project_id, access_key_id, state, platform, app_id, client_id, profile_id, redirect_uri,
            cancel_redirect_uri, headless, pkce_verifier, created_at, expires_at, consumed_by, outcome, scopes)
         VALUES ('flow_$1', 'proj_$1', 'key_$1', #1, 'twitter', 'app_$1', 'c', 'prof_$1', 'https://a.example', NULL, 1, @, 1,
                9, NULL, NULL, '[]'),
            ('flow_$2', 'proj_$1', NULL, #2, 'facebook', NULL, 'c', NULL, NULL, 'https://b.example', 0, NULL, 2, 9, #7,
                '{\"status\":\"selection_required\"}', '[]')",
    ),
    (
        2,
        99,
        "INSERT INTO selections (id, project_id, flow_id, platform, subject, token, token_text, payload, created_at, expires_at)
         VALUES ('sel_$1', 'proj_$1', 'flow_$2', 'facebook', 's', #1, @, @, 1, 9)",
    ),
    (
        3,
        99,
        "INSERT INTO flows (id, project_id, state, platform, client_id, headless, created_at, expires_at, consumed_by,
            answer, asked_at, scopes)
         VALUES ('flow_$3', 'proj_$2', #3, 'twitter', 'c', 0, 1, 9, #7, @, 5, '[]')",
    ),
    (3, 99, "INSERT INTO token_reads VALUES ('proj_$1', 'int_$1', 'key_$1', 7, 1, 2)"),
    (
        4,
        99,
        "INSERT INTO late_redirects (credential, project_id, platform, redirect_uri, cancel_redirect_uri, expired_at)
         VALUES (#5, 'proj_$1', 'twitter', 'https://a.example', NULL, 7)",
    ),
    (4, 99, "UPDATE flows SET scopes = '[\"a\"]' WHERE id = 'flow_$1'"),
    (5, 99, "INSERT INTO discovered VALUES ('https://id.example', @, 1, 5)"),
    (
        9,
        99,
        "INSERT INTO registrations VALUES ('mastodon', 'https://m.example', 'c', @, 1, 'https://b.example', '[\"read\"]', 1, 2,
            3)",
    ),
    (9, 99, "UPDATE flows SET server = @ WHERE id = 'flow_$1'"),
    (11, 99, "INSERT INTO recovery VALUES (1, @, 1, 1)"),
    (11, 99, "INSERT INTO recovery_wraps VALUES (1, 'r1', x'01')"),
    (11, 99, "INSERT INTO resealed VALUES (1, 1, 5)"),
    (12, 99, "INSERT INTO backups VALUES (5, 6)"),
    (
        14,
        99,
        "INSERT INTO audit (at, project_id, actor, access_key_id, address, action, object, outcome)
         VALUES (5, 'proj_$1', 'access_key', 'key_$1', '127.0.0.1', 'profile.created', 'prof_$1', 'done')",
    ),
    (
        15,
        99,
        "UPDATE access_keys SET profile_id = 'prof_$1', networks = '[\"10.0.0.0/8\"]', expires_at = 9, last_used_at = 3
         WHERE id = 'key_$1'",
    ),
    (19, 99, "INSERT INTO console_sessions VALUES (#6, 'proj_$1', 'key_$1', 1, 9, #8, 1)"),
    (16, 99, "UPDATE flows SET reconnects = 'int_$1', bound_to = #4, asks_first = 1 WHERE id = 'flow_$1'"),
    (
        17,
        99,
        "INSERT INTO links (id, project_id, access_key_id, profile_id, token, platforms, redirect_uri, connected, created_at,
            expires_at, revoked_at)
         VALUES ('link_$1', 'proj_$1', 'key_$1', 'prof_$1', #1, '[\"twitter\"]', 'https://a.example', '[\"int_$1\"]', 1, 9,
                5),
            ('link_$2', 'proj_$1', NULL, NULL, #2, '[\"twitter\"]', NULL, '[]', 1, 9, NULL)",
    ),
    (17, 99, "UPDATE flows SET link_id = 'link_$1' WHERE id = 'flow_$1'"),
    (
        17,
        99,
        "INSERT INTO audit (at, project_id, actor, link_id, action, object, outcome)
         VALUES (6, 'proj_$1', 'link', 'link_$1', 'account.connected', 'int_$1', 'done')",
    ),
    (18, 99, "UPDATE flows SET needs_completion = 1 WHERE id = 'flow_$1'"),
    (21, 99, "UPDATE grants SET past_refreshes = '[4,[3,\"platform_unavailable\"]]' WHERE id = 'grant_$1'"),
    (20, 99, "UPDATE access_keys SET mac = #8, mac_dek_id = 1 WHERE id = 'key_$1'"),
    (27, 99, "UPDATE flows SET mac = #8, mac_dek_id = 1 WHERE id = 'flow_$1'"),
    (27, 99, "UPDATE links SET mac = #8, mac_dek_id = 1 WHERE id = 'link_$2'"),
];

/// Tables that others fill.
fn is_derived(table: &str) -> bool {
    table == "counts" || table == "refinery_schema_history" || table.contains("_search")
}

fn of_version(version: u32) -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    Schema::of_version(version).migrate(&mut db).unwrap();
    for (first, last, sql) in ROWS {
        if (*first..=*last).contains(&version) {
            let mut sql = sql.replace('@', "CAST(x'0100000001' || zeroblob(40) AS BLOB)");
            for number in 1..=9_u8 {
                sql = sql.replace(&format!("${number}"), &format!("{number:032}"));
                sql = sql.replace(&format!("#{number}"), &format!("x'{}'", hex::encode(Sha256::digest([number]))));
            }
            if version < 4 {
                // Connections did not record their scopes yet.
                sql = sql
                    .replace(", scopes)\n         VALUES ('flow", ")\n         VALUES ('flow")
                    .replace(", '[]')", ")");
            }
            db.execute_batch(&sql).unwrap_or_else(|error| panic!("schema {version}: {error}: {sql}"));
        }
    }
    db
}

fn names(db: &Connection, sql: &str) -> Vec<String> {
    db.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The columns of each table.
fn tables(db: &Connection) -> BTreeMap<String, Vec<String>> {
    names(db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .into_iter()
        .filter(|table| !is_derived(table))
        .map(|table| {
            let columns = names(db, &format!("SELECT name FROM pragma_table_info('{table}')"));
            (table, columns)
        })
        .collect()
}

/// Every row of a table, as text.
fn rows(db: &Connection, table: &str, columns: &[&String]) -> Vec<String> {
    let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
    names(db, &format!("SELECT concat_ws(' | ', {}) AS text FROM {table} ORDER BY text", quoted.join(", ")))
}

/// A value that is there and can be read.
#[track_caller]
fn found<T>(read: Result<Option<T>, crate::store::Error>) -> T {
    read.unwrap().unwrap()
}

fn id<T: Id>(number: u128) -> T {
    T::from_uuid(uuid::Uuid::parse_str(&format!("{number:032}")).unwrap())
}

fn digest(number: u8) -> Digest256 {
    Digest256::of(&[number])
}

#[test]
fn every_released_schema_is_brought_up_to_date_with_all_of_its_rows() {
    let released: Vec<u32> =
        Schema::embedded().migrations.iter().map(|migration| migration.version().try_into().unwrap()).collect();
    for old in released {
        let mut db = of_version(old);
        assert_eq!(version(&db).unwrap(), old);
        let before = tables(&db);
        let stored: BTreeMap<&String, Vec<String>> = before
            .iter()
            .map(|(table, columns)| (table, rows(&db, table, &columns.iter().collect::<Vec<_>>())))
            .collect();
        for (table, rows) in &stored {
            assert!(!rows.is_empty(), "schema {old}: this test has no row for {table}");
        }
        let after = tables(&{
            let mut newest = Connection::open_in_memory().unwrap();
            Schema::embedded().migrate(&mut newest).unwrap();
            newest
        });
        let kept = |table: &String| -> Vec<&String> {
            before[table].iter().filter(|column| after[table].contains(column)).collect()
        };
        let expected: Vec<_> = before.keys().map(|table| rows(&db, table, &kept(table))).collect();

        Schema::embedded().migrate(&mut db).unwrap();
        let migrated: Vec<_> = before.keys().map(|table| rows(&db, table, &kept(table))).collect();
        assert_eq!(migrated, expected, "schema {old}");
        assert!(!breaks_foreign_keys(&db).unwrap(), "schema {old}");
        assert_eq!(names(&db, "PRAGMA integrity_check"), ["ok"], "schema {old}");
        assert_eq!(counts::recount(&db).unwrap(), [], "schema {old}");
        the_store_reads_it(&db, old);
    }
}

fn the_store_reads_it(db: &Connection, old: u32) {
    let (ours, theirs) = (id(1), id(2));
    let since = |first: u32| usize::from(old >= first);
    assert_eq!(meta::get_db_id(db).unwrap(), uuid::Uuid::from_u128(7));
    assert_eq!(keyring::list(db).unwrap().len(), 1);
    assert_eq!(found(projects::find_by_name(db, "default")).id, ours);
    assert_eq!(projects::list(db).unwrap().len(), 2);
    let key = found(access_keys::find_by_digest(db, &digest(1)));
    assert_eq!((key.key.limits.scopes.len(), key.mac.is_some()), (2, old >= 20));
    // The values of the rows above are of the first version, whatever wrote them.
    let unbound = sealed::count_outdated(db, sealed::Outdated::Version).unwrap();
    assert!(unbound > 0);
    assert!(access_keys::find_by_digest(db, &digest(2)).unwrap().is_none(), "it is revoked");
    assert_eq!(access_keys::list_all(db).unwrap().len(), 2);
    assert_eq!(found(profiles::find(db, ours, id(1))).name, "Zoë");
    let window = Window { limit: 100, offset: 0 };
    assert_eq!(profiles::list(db, ours, Some("zoë"), window).unwrap().total, 1);
    assert_eq!(found(oauth_apps::find(db, ours, id(1))).client_id, "c");
    found(oauth_apps::find_secret(db, ours, id(1)));
    let grant = found(grants::find(db, ours, id(1)));
    assert_eq!((grant.generation, grant.failures > 0), (7, old >= 3));
    assert!(grant.tokens.is_some());
    assert_eq!(grants::list_past_refreshes(db, ours, id(1)).unwrap().len(), 2 * since(21));
    assert_eq!(grants::list_past_refreshes(db, ours, id(2)).unwrap(), []);
    found(grants::find(db, ours, id(2)));
    for number in [1, 2] {
        found(integrations::find_detail(db, ours, id(number)));
        found(integrations::find_tokens(db, ours, id(number)));
        found(integrations::find_own_tokens(db, ours, id(number)));
        assert_eq!(integrations::list_on_grant(db, ours, id(number)).unwrap().len(), 1);
    }
    assert_eq!(found(flows::find_by_state(db, &digest(1))).profile_id, Some(id(1)));
    let bound = old >= 16;
    let flow = found(flows::find(db, ours, id(1)));
    assert_eq!(flow.reconnects, bound.then(|| id(1)));
    assert_eq!(flow.binding, if bound { Binding::Confirmed(digest(4)) } else { Binding::None });
    assert_eq!(flow.needs_completion, old >= 18);
    assert!(!found(flows::find(db, ours, id(2))).needs_completion);
    assert_eq!(flows::list_cut_off(db).unwrap().len(), since(3));
    assert_eq!(flows::find(db, theirs, id(3)).unwrap().is_some(), old >= 3);
    assert_eq!(selections::find_by_flow(db, ours, id(2)).unwrap().is_some(), old >= 2);
    assert_eq!(token_reads::list(db, ours, id(1)).unwrap().len(), since(3));
    let late = late_redirects::find(db, &digest(5), Timestamp::from_millis(0)).unwrap();
    assert_eq!(late.is_some(), old >= 4);
    assert_eq!(discovered::list(db).unwrap().len(), since(5));
    let registration = registrations::find(db, "mastodon", "https://m.example", "c").unwrap();
    assert_eq!(registration.is_some(), old >= 9);
    assert_eq!(recovery::find(db).unwrap().is_some(), old >= 11);
    assert_eq!(recovery::list_wraps(db).unwrap().len(), since(11));
    assert_eq!(sealed::get_resealed(db).unwrap().is_some(), old >= 11);
    assert_eq!(find_latest_restore(db).unwrap().is_some(), old >= 12);
    let trail = audit::list_all(db, Since::BEGINNING, None, 10).unwrap();
    assert_eq!(trail.len(), since(14) + since(17));
    let linked = (old >= 17).then(|| id(1));
    assert_eq!(trail.last().and_then(|entry| entry.entry.by.link_id), linked);
    assert_eq!(found(flows::find(db, ours, id(1))).link_id, linked);
    assert_eq!(links::find(db, ours, id(1)).unwrap().map(|link| link.connected), (old >= 17).then(|| vec![id(1)]));
    // Rows without a code get one at the first start; a revoked link has none.
    assert_eq!(found(flows::find(db, ours, id(1))).mac.is_some(), old >= 27);
    assert_eq!(flows::list_unauthenticated(db, 0, 9).unwrap().len(), if old >= 3 { 3 } else { 2 } - since(27));
    let open = links::list_unrevoked(db).unwrap();
    assert_eq!(open.iter().map(|link| link.mac.is_some()).collect::<Vec<_>>(), [old >= 27].repeat(since(17)));
    assert_eq!(activity::list(db, ours, 0, 9).unwrap().len(), since(19));
    let session = console_sessions::find(db, &digest(6), Timestamp::from_millis(5)).unwrap();
    assert_eq!(session.is_some(), old >= 19);
}
