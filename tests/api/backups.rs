//! Scheduled backups, and what a restored one means for accounts: whose token was renewed since then is told apart from
//! a revocation, and everybody else goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postpeer::app::{self, Ports};
use postpeer::domain::time::Clock as _;
use postpeer::sandbox::{Answer, Fault, Step, TokenKind};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::alive::next_refresh;
use crate::small_disk;
use crate::support::{TestBroker, parameter};

const HOURLY: &str = "[backup]\nevery = \"1h\"\nkeep = 2\n";

/// Looks at the schedule once. Returns the seconds until the next look.
async fn look(broker: &TestBroker) -> u64 {
    broker.broker().back_up_if_due(&CancellationToken::new()).await.unwrap().as_secs()
}

/// Names in the folder of backups, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn dir(broker: &TestBroker) -> PathBuf {
    broker.dir.path().join("backups")
}

/// The newest backup, outside the folder of the broker.
fn newest(broker: &TestBroker) -> (tempfile::TempDir, PathBuf) {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("backup.db");
    fs::copy(dir(broker).join(names(&dir(broker)).last().unwrap()), &file).unwrap();
    (elsewhere, file)
}

/// Stops the broker, restores the file, and starts it again.
async fn restore(broker: &mut TestBroker, file: &Path) {
    let ports = Ports { clock: broker.clock.clone(), ..Ports::system() };
    let file = file.to_owned();
    broker
        .restart_with(move |config| {
            app::backup::restore(config, &ports, &file, false).unwrap();
        })
        .await;
}

fn told(detail: &Value) -> [&str; 3] {
    let told = [&detail["health"]["state"], &detail["authFailureReason"], &detail["health"]["lastError"]["code"]];
    told.map(|value| value.as_str().unwrap_or("-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_renewed_since_the_backup_are_not_called_revoked() {
    let mut broker = TestBroker::builder().toml(HOURLY).start().await;
    let mut ids = Vec::new();
    for platform in ["twitter", "tiktok", "youtube", "threads"] {
        ids.push((platform, broker.connect(platform, "").await));
    }
    assert_eq!(look(&broker).await, 60);
    let (_elsewhere, file) = newest(&broker);
    let stored = fs::read(&file).unwrap();
    for platform in ["twitter", "tiktok", "youtube"] {
        for issued in broker.sandbox().issued(platform) {
            let secret = issued.value.as_bytes();
            assert!(
                !stored.windows(secret.len()).any(|window| window == secret),
                "{platform}: a token is in the backup"
            );
        }
    }
    for (_, id) in &ids {
        let at = next_refresh(&broker, id).await;
        broker.clock.set(at.max(broker.clock.now()));
        broker.refresh_due().await;
        assert_eq!(told(&broker.detail(id).await)[0], "ok");
    }

    restore(&mut broker, &file).await;
    for _ in 0..2 {
        broker.refresh_due().await;
    }
    for (platform, id) in &ids {
        let detail = broker.detail(id).await;
        let is_lost = ["twitter", "tiktok"].contains(platform);
        let expected = ["reconnect_required", "refresh_rejected", "restored_from_backup"];
        assert_eq!(told(&detail), if is_lost { expected } else { ["ok", "-", "-"] }, "{platform}: {detail}");
        let token = broker.token(id, "").await;
        assert_eq!(token.status, if is_lost { 422 } else { 200 }, "{platform}: {}", token.text);
        if is_lost {
            for said in [&detail["health"]["lastError"]["message"], &token.json["error"]] {
                let said = said.as_str().unwrap();
                assert!(said.contains("restored from a backup of 2026-05-03T08:33:36.445Z"), "{platform}: {said}");
            }
        }
    }

    // Once it is connected anew, its token is none of the backup's.
    broker.clock.advance(Duration::from_mins(1));
    let url = broker.begin("twitter", "redirectUri=https://app.example/back").await;
    let location = broker.arrive(&broker.consent(&url, &Answer::allow())).await.location();
    let id = parameter(&location, "integrationId").unwrap();
    assert_eq!(told(&broker.detail(&id).await)[0], "ok");
    broker.sandbox().fail_next("twitter", Step::Refresh, Fault::Revoked, 1).unwrap();
    broker.clock.set(next_refresh(&broker, &id).await);
    broker.refresh_due().await;
    assert_eq!(told(&broker.detail(&id).await), ["reconnect_required", "refresh_rejected", "refresh_rejected"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_in_flight_during_the_backup_is_in_doubt_after_the_restore() {
    let mut broker = TestBroker::builder().toml(HOURLY).start().await;
    let [rotating, lasting] = [broker.connect("twitter", "").await, broker.connect("youtube", "").await];
    broker.sandbox().hold(Step::Refresh);
    let latest = next_refresh(&broker, &rotating).await.max(next_refresh(&broker, &lasting).await);
    broker.clock.set(latest);
    let (refreshed, ()) = tokio::join!(broker.refresh_due(), async {
        broker.sandbox().seen("twitter", Step::Refresh, 1).await;
        broker.sandbox().seen("youtube", Step::Refresh, 1).await;
        look(&broker).await;
        broker.sandbox().release(Step::Refresh);
    });
    assert_eq!(refreshed, 2);
    let (_elsewhere, file) = newest(&broker);
    let db = rusqlite::Connection::open(&file).unwrap();
    let in_flight: u32 =
        db.query_row("SELECT count(*) FROM grants WHERE attempt_at IS NOT NULL", [], |row| row.get(0)).unwrap();
    assert_eq!(in_flight, 2);
    drop(db);

    restore(&mut broker, &file).await;
    broker.refresh_due().await;
    assert_eq!(told(&broker.detail(&rotating).await)[2], "restored_from_backup");
    assert_eq!(told(&broker.detail(&lasting).await), ["ok", "-", "-"]);
    let delivered = broker.sandbox().issued("youtube").into_iter().rfind(|issued| issued.kind == TokenKind::Access);
    let token = broker.token(&lasting, "").await.json["accessToken"].take();
    assert_eq!(token.as_str(), delivered.map(|issued| issued.value).as_deref());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_in_progress_go_on_after_a_restore() {
    let mut broker = TestBroker::builder().toml(HOURLY).start().await;
    let url = broker.begin("twitter", "redirectUri=https://app.example/back").await;
    let callback = broker.consent(&url, &Answer::allow());
    look(&broker).await;
    let (_elsewhere, file) = newest(&broker);
    restore(&mut broker, &file).await;
    let reply = broker.arrive(&callback).await;
    assert!(reply.location().contains("status=success"), "{}", reply.text);
    // Its code is spent now: from the backup, it ends as a failure that its owner can see.
    restore(&mut broker, &file).await;
    let reply = broker.arrive(&callback).await;
    assert!(reply.location().contains("error=exchange_rejected"), "{}", reply.location());
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_made_on_time_and_the_oldest_of_their_own_are_deleted() {
    let mut broker = TestBroker::builder().toml(HOURLY).start().await;
    let dir = dir(&broker);
    assert_eq!(look(&broker).await, 60);
    assert_eq!(names(&dir), ["postpeer-20260503T083336Z.db"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("postpeer-20260503T083336Z.db"))), (0o700, 0o600));
    broker.clock.advance(Duration::from_mins(59));
    look(&broker).await;
    assert_eq!(names(&dir).len(), 1, "it is not time yet");
    broker.restart().await;
    look(&broker).await;
    assert_eq!(names(&dir).len(), 1, "a restart changes nothing");

    // What another program, another broker or a clock that was ahead left here.
    let other = TestBroker::builder().toml(HOURLY).db_id(7).start().await;
    look(&other).await;
    let theirs = dir.join("postpeer-20200101T000000Z.db");
    fs::copy(self::dir(&other).join("postpeer-20260503T083336Z.db"), &theirs).unwrap();
    for name in ["postpeer-20210101T000000Z.db", "notes.txt", "postpeer-old.db"] {
        fs::write(dir.join(name), "mine").unwrap();
    }
    fs::copy(dir.join("postpeer-20260503T083336Z.db"), dir.join("postpeer-20400101T000000Z.db")).unwrap();
    let foreign = 5;
    for hour in 1..4 {
        broker.clock.advance(Duration::from_hours(1));
        assert_eq!(look(&broker).await, 60);
        assert_eq!(look(&broker).await, 60);
        assert_eq!(names(&dir).len(), foreign + 2, "hour {hour}: {:?}", names(&dir));
    }
    let last = names(&dir);
    assert!(last.contains(&"postpeer-20260503T123236Z.db".to_owned()), "{last:?}");
    assert!(theirs.exists() && last.contains(&"postpeer-20210101T000000Z.db".to_owned()), "{last:?}");
    let told = "SELECT count(*) FROM audit WHERE actor = 'schedule' AND action = 'backup.made' AND outcome = 'done'";
    assert_eq!(
        broker.sql().query_row(told, [], |row| row.get::<_, u32>(0)).unwrap(),
        4,
        "the audit trail tells of each"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_is_tried_again_and_deletes_nothing() {
    let broker = TestBroker::builder().toml("[backup]\nevery = \"1h\"\nkeep = 1\n").start().await;
    let dir = dir(&broker);
    look(&broker).await;
    let first = names(&dir);
    broker.clock.advance(Duration::from_hours(1));
    let aside = broker.dir.path().join("aside");
    fs::rename(&dir, &aside).unwrap();
    fs::write(&dir, "a file").unwrap();
    assert_eq!(look(&broker).await, 600);
    assert_eq!(names(&aside), first);
    fs::remove_file(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    // The leftover of a broker that died.
    let db_id: String = broker.sql().query_row("SELECT db_id FROM meta", [], |row| row.get(0)).unwrap();
    fs::write(dir.join(format!(".{db_id}.unfinished")), "half a copy").unwrap();
    assert_eq!(look(&broker).await, 60);
    assert_eq!(names(&dir), ["postpeer-20260503T093336Z.db"]);

    let without = TestBroker::start().await;
    assert_eq!(without.broker().back_up_if_due(&CancellationToken::new()).await, None);
    assert!(!self::dir(&without).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_takes_the_place_of_no_backup() {
    let broker = TestBroker::builder().toml("[backup]\nevery = \"1h\"\nkeep = 1\n").start().await;
    broker.connect("twitter", "").await;
    look(&broker).await;
    let first = names(&dir(&broker));
    broker.clock.advance(Duration::from_hours(1));
    // An index without its rows. Every sealed value opens.
    let damage = "CREATE TABLE spoilt (a); INSERT INTO spoilt VALUES (1); CREATE INDEX part ON spoilt (a) WHERE a > 1;
        PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = 'CREATE INDEX part ON spoilt (a)' WHERE name = 'part'";
    broker.sql().execute_batch(damage).unwrap();
    assert_eq!(look(&broker).await, 600);
    assert_eq!(names(&dir(&broker)), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_from_before_and_after_a_reload_do_not_disturb_each_other() {
    let broker = TestBroker::builder().toml(HOURLY).start().await;
    broker.connect("twitter", "").await;
    let reloaded = broker.reloaded(|_| ()).await;
    let stop = CancellationToken::new();
    for hour in 1..=4 {
        let (before, after) = tokio::join!(broker.broker().back_up_if_due(&stop), reloaded.back_up_if_due(&stop));
        let minute = Some(Duration::from_mins(1));
        assert_eq!((before, after), (minute, minute), "hour {hour}: an attempt failed");
        assert_eq!(names(&dir(&broker)).len(), hour.min(2), "hour {hour}: {:?}", names(&dir(&broker)));
        let (_elsewhere, file) = newest(&broker);
        let db = rusqlite::Connection::open(&file).unwrap();
        assert_eq!(db.query_row("SELECT count(*) FROM integrations", [], |row| row.get::<_, u32>(0)).unwrap(), 1);
        broker.clock.advance(Duration::from_hours(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_stopped_publishes_nothing_and_deletes_nothing() {
    let broker = TestBroker::builder().toml("[backup]\nevery = \"1h\"\nkeep = 1\n").start().await;
    look(&broker).await;
    let first = names(&dir(&broker));
    broker.clock.advance(Duration::from_hours(1));
    let stop = CancellationToken::new();
    stop.cancel();
    broker.broker().back_up_if_due(&stop).await.unwrap();
    assert_eq!(names(&dir(&broker)), first);
    look(&broker).await;
    assert_eq!(names(&dir(&broker)), ["postpeer-20260503T093336Z.db"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_values_that_do_not_open_takes_the_place_of_no_good_one() {
    let broker = TestBroker::builder().toml(HOURLY).start().await;
    broker.connect("twitter", "").await;
    let look_later = async || {
        broker.clock.advance(Duration::from_hours(1));
        assert_eq!(look(&broker).await, 60);
        names(&dir(&broker)).into_iter().map(|name| name["postpeer-20260503T".len()..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(look_later().await, ["093336Z.db"]);
    // Its last byte is part of what shows a change.
    let spoil = "UPDATE grants SET tokens = CAST(substr(tokens, 1, length(tokens) - 1) || x'00' AS BLOB)";
    let tokens: Vec<u8> = broker.sql().query_row("SELECT tokens FROM grants", [], |row| row.get(0)).unwrap();
    assert_ne!(tokens.last(), Some(&0));
    broker.sql().execute(spoil, []).unwrap();
    assert_eq!(look_later().await, ["093336Z.db", "103336Z.unreadable.db"]);
    look_later().await;
    assert_eq!(look_later().await, ["093336Z.db", "113336Z.unreadable.db", "123336Z.unreadable.db"]);
    // A restart finds the good one.
    let schedule = app::backup_schedule(broker.config()).unwrap();
    let db_id: String = broker.sql().query_row("SELECT db_id FROM meta", [], |row| row.get(0)).unwrap();
    let listed = postpeer::broker::backups::list(&schedule, db_id.parse().unwrap()).unwrap();
    let good: Vec<_> = listed.iter().filter(|made| made.is_good).map(|made| &made.path).collect();
    assert_eq!(good, [&dir(&broker).join("postpeer-20260503T093336Z.db")]);

    broker.sql().execute("UPDATE grants SET tokens = ?1", [tokens]).unwrap();
    assert_eq!(look_later().await, ["093336Z.db", "113336Z.unreadable.db", "123336Z.unreadable.db", "133336Z.db"]);
    assert_eq!(look_later().await, ["133336Z.db", "143336Z.db"], "newer than all that do not open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_values_that_do_not_open_is_tried_again_after_ten_minutes() {
    let mut broker = TestBroker::builder().toml("[backup]\nevery = \"24h\"\n").start().await;
    broker.connect("twitter", "").await;
    let tokens: Vec<u8> = broker.sql().query_row("SELECT tokens FROM grants", [], |row| row.get(0)).unwrap();
    let spoil = "UPDATE grants SET tokens = CAST(substr(tokens, 1, length(tokens) - 1) || x'00' AS BLOB)";
    broker.sql().execute(spoil, []).unwrap();
    let unreadable = ["postpeer-20260503T083336Z.unreadable.db"];
    let tried = |broker: &TestBroker| {
        let count = "SELECT count(*) FROM audit WHERE action = 'backup.made'";
        let entries: u32 = broker.sql().query_row(count, [], |row| row.get(0)).unwrap();
        (names(&dir(broker)), entries)
    };
    assert_eq!(look(&broker).await, 60);
    assert_eq!(tried(&broker), (unreadable.map(str::to_owned).to_vec(), 1));

    // As bad as before: one is enough.
    broker.clock.advance(Duration::from_mins(10));
    assert_eq!(look(&broker).await, 60);
    assert_eq!(tried(&broker), (unreadable.map(str::to_owned).to_vec(), 1));

    broker.sql().execute("UPDATE grants SET tokens = ?1", [tokens]).unwrap();
    broker.clock.advance(Duration::from_mins(9));
    look(&broker).await;
    assert_eq!(tried(&broker).1, 1, "not every minute");
    broker.clock.advance(Duration::from_mins(1));
    look(&broker).await;
    let both = [unreadable[0], "postpeer-20260503T085336Z.db"];
    assert_eq!(tried(&broker).1, 2);
    assert!(both.iter().all(|name| names(&dir(&broker)).iter().any(|found| found == name)), "{:?}", tried(&broker));
    broker.clock.advance(Duration::from_hours(23));
    broker.restart().await;
    look(&broker).await;
    assert_eq!(tried(&broker).1, 2, "the good one is not a day old");
}

#[test]
fn a_backup_for_which_there_is_no_room_disturbs_nobody() {
    small_disk::run("backups::inside_a_small_file_system");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in a small file system: a_backup_for_which_there_is_no_room_disturbs_nobody gives it one"]
async fn inside_a_small_file_system() {
    small_disk::assert_small(Path::new("."));
    let broker = TestBroker::builder().toml(HOURLY).with_reserve().start().await;
    let id = broker.connect("twitter", "").await;
    assert_eq!(look(&broker).await, 600);
    assert_eq!(names(&dir(&broker)), [""; 0], "something is left over");
    assert_eq!(broker.browse(&format!("{}/readyz", broker.url)).await.status, 200);
    assert_eq!(broker.token(&id, "minSeconds=7200").await.status, 200);
}
