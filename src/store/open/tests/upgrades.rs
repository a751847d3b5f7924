//! An older schema is migrated after a copy was made, and a migration that fails leaves the old one.

use super::*;

#[test]
fn an_older_schema_is_migrated_and_a_copy_is_kept() {
    let next = Schema::embedded().version() + 1;
    let schema = Schema::with(
        &format!("V{next}__note"),
        &format!("ALTER TABLE projects ADD COLUMN note TEXT; PRAGMA user_version = {next};"),
    );
    let place = made();
    // Copies of an earlier upgrade, of an attempt that was cut off, and something else.
    for name in ["12", &format!("{next}-20200101T000000Z"), "14-old"] {
        fs::copy(&place.path, beside(&place.path, &format!(".before-v{name}"))).unwrap();
    }
    drop(Store::open_with(&place.path, &schema).unwrap());
    let copies = list_copies(&place.path).unwrap();
    let [copy] = &copies[..] else { panic!("{copies:?}") };
    let time = copy.to_str().unwrap().rsplit_once(&format!("postpeer.db.before-v{next}-")).unwrap().1;
    assert!(
        Timestamp::from_file_name(time).is_some_and(|time| time > Timestamp::from_millis(1_700_000_000_000)),
        "{time}"
    );
    let kept = copy.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(files(&place), ["postpeer.db".to_owned(), "postpeer.db.before-v14-old".to_owned(), kept]);
    assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o7777, 0o600);
    // The copy is a complete database of this version; the original is newer.
    let seen = inspect(copy).unwrap();
    assert_eq!((seen.db_id, seen.schema_version), (DB, next - 1));
    assert!(matches!(refused(&place), OpenError::Newer { .. }));
    let db = Connection::open(&place.path).unwrap();
    let named: u32 = db.query_row("SELECT count(*) FROM projects WHERE note IS NULL", [], |row| row.get(0)).unwrap();
    assert_eq!(named, 1);
    drop(db);
    fs::remove_file(copy).unwrap();
    drop(Store::open_with(&place.path, &schema).unwrap());
    assert_eq!(list_copies(&place.path).unwrap(), [""; 0].map(PathBuf::from), "nothing to migrate, nothing to copy");
}

#[test]
fn an_upgrade_keeps_the_databases_that_restores_replaced() {
    let next = Schema::embedded().version() + 1;
    let schema = Schema::with(
        &format!("V{next}__note"),
        &format!("ALTER TABLE projects ADD COLUMN note TEXT; PRAGMA user_version = {next};"),
    );
    let place = made();
    let copies = ["before-v12", "replaced-20260503T083336Z", "replaced-20260503T083336Z-2"];
    let others = ["replaced-20260503T083336Z-wal", "replaced-20260503T083336Z-2-shm", "replaced-", "replaced-by-hand"];
    for name in copies.iter().chain(&others) {
        fs::copy(&place.path, beside(&place.path, &format!(".{name}"))).unwrap();
    }
    let at = |name: &str| beside(&place.path, &format!(".{name}"));
    assert_eq!(list_copies(&place.path).unwrap(), copies.map(at));
    drop(Store::open_with(&place.path, &schema).unwrap());
    let [migrated, replaced @ ..] = &list_copies(&place.path).unwrap()[..] else { panic!("no copy") };
    assert!(migrated.to_str().unwrap().contains(&format!(".before-v{next}-")), "{migrated:?}");
    assert_eq!(replaced, copies[1..].iter().map(|name| at(name)).collect::<Vec<_>>());
    assert!(others.into_iter().all(|name| at(name).exists()));
}

#[test]
fn a_migration_that_changes_what_is_counted_is_noticed() {
    let next = Schema::embedded().version() + 1;
    let schema = Schema::with(
        &format!("V{next}__lossy"),
        &format!("INSERT INTO counts SELECT id, 'profiles', '*', '', 7 FROM projects; PRAGMA user_version = {next};"),
    );
    let place = made();
    let error = Store::open_with(&place.path, &schema).unwrap_err();
    assert!(matches!(&error, OpenError::Migration { copy: Some(copy), .. } if inspect(copy).is_ok()), "{error:?}");
}

#[test]
fn a_migration_for_which_the_disk_has_no_room_is_no_fault_of_the_program() {
    let next = Schema::embedded().version() + 1;
    let schema = Schema::with(
        &format!("V{next}__large"),
        "PRAGMA max_page_count = 1; CREATE TABLE large (value); INSERT INTO large VALUES (zeroblob(10000000));",
    );
    let place = made();
    let error = Store::open_with(&place.path, &schema).unwrap_err();
    assert!(matches!(error, OpenError::Full { .. }), "{error:?}");
    assert_eq!(inspect(&place.path).unwrap().schema_version, next - 1);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let next = Schema::embedded().version() + 1;
    let schema = Schema::with(
        &format!("V{next}__broken"),
        &format!(
            "ALTER TABLE projects ADD COLUMN note TEXT; PRAGMA user_version = {next}; INSERT INTO none VALUES (1);"
        ),
    );
    let place = made();
    let error = Store::open_with(&place.path, &schema).unwrap_err();
    assert!(matches!(error, OpenError::Migration { .. }), "{error:?}");
    assert_eq!(inspect(&place.path).unwrap().schema_version, next - 1);
    drop(Store::open(&place.path).unwrap());
}

#[test]
fn an_edited_migration_is_noticed() {
    let place = made();
    change(&place.path, "UPDATE refinery_schema_history SET checksum = '1'");
    let error = Store::open(&place.path).unwrap_err();
    assert!(matches!(error, OpenError::Migration { .. }), "{error:?}");
}
