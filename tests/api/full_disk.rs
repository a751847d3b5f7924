//! The broker on a full disk. It asks no platform for tokens that it could not store, stores what a platform has
//! already delivered, hands out and lists what it has, claims nothing that did not happen, and resumes when there is
//! space.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postpeer::sandbox::{Step, TokenKind};

use crate::process::{ALWAYS, Crashing};
use crate::small_disk::{self, assert_small, fill};
use crate::support::{TestBroker, parameter};

#[test]
fn on_a_full_disk_nothing_is_lost_and_nothing_is_claimed() {
    small_disk::run("full_disk::inside_a_small_file_system");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills the file system that it runs in: on_a_full_disk_nothing_is_lost_and_nothing_is_claimed gives it one"]
async fn inside_a_small_file_system() {
    let here = PathBuf::from(".");
    assert_small(&here);
    let disk = Disk(here);
    full_before_a_refresh(&disk).await;
    full_while_the_platform_holds_its_answer(&disk).await;
    full_while_a_connection_is_made(&disk).await;
}

/// The file system that a test fills.
struct Disk(PathBuf);

impl Disk {
    /// Takes all free space, including unused space in the database's write-ahead log.
    fn fill(&self, database: &Path) {
        let db = rusqlite::Connection::open(database).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        let is_busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert!(!is_busy);
        fill(&self.0.join("filler"));
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

async fn full_before_a_refresh(disk: &Disk) {
    let broker = TestBroker::builder().with_reserve().start().await;
    let id = broker.connect("twitter", "").await;
    let other = broker.connect("tiktok", "").await;
    let first = broker.token(&id, "").await.json["accessToken"].take();
    assert_eq!(broker.token(&id, "").await.json["accessToken"], first, "this read is counted in memory");
    assert_eq!(broker.browse(&format!("{}/readyz", broker.url)).await.status, 200);
    broker.sandbox().clear();
    disk.fill(&broker.dir.path().join("postpeer.db"));

    // Due for a refresh, but still valid.
    broker.clock.advance(Duration::from_mins(119));
    let alive = broker.token(&id, "minSeconds=300").await;
    assert_eq!((alive.status, &alive.json["accessToken"]), (200, &first), "{}", alive.text);
    broker.clock.advance(Duration::from_hours(23));
    assert!(broker.broker().write_token_reads().await.is_err());
    assert_eq!(broker.detail(&id).await["tokenReads"][0]["reads"], 2, "it is counted on");
    let expired = broker.token(&id, "").await;
    assert_eq!((expired.status, expired.code()), (507, "storage_full"), "{}", expired.text);
    for _ in 0..3 {
        assert_eq!(broker.refresh_due().await, 0);
    }
    assert!(broker.sandbox().requests_at("twitter", Step::Refresh).is_empty(), "nobody is asked");
    assert!(broker.sandbox().requests_at("tiktok", Step::Refresh).is_empty(), "nobody is asked");

    let listed = broker.get("/v1/connect/integrations").await;
    assert_eq!((listed.status, listed.json["total"].as_u64()), (200, Some(2)), "{}", listed.text);
    assert_eq!(broker.detail(&id).await["authStatus"], "active");
    let begun = broker.get("/v1/connect/twitter").await;
    assert_eq!((begun.status, begun.code()), (507, "storage_full"), "{}", begun.text);
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{other}"), None).await;
    assert_eq!((gone.status, gone.code()), (507, "storage_full"), "{}", gone.text);
    assert_eq!(broker.get(&format!("/v1/connect/integrations/{other}")).await.status, 200, "it is still there");
    assert!(broker.sandbox().requests_at("tiktok", Step::Revoke).is_empty(), "and its consent has not ended");
    let ready = broker.browse(&format!("{}/readyz", broker.url)).await;
    assert_eq!((ready.status, ready.code()), (503, "not_ready"), "{}", ready.text);
    assert_eq!(ready.json["error"], "The disk is full.");

    disk.make_room();
    assert_eq!(broker.broker().write_token_reads().await.unwrap(), 1);
    assert_eq!(broker.browse(&format!("{}/readyz", broker.url)).await.status, 200);
    let fresh = broker.token(&id, "").await;
    assert_eq!(fresh.status, 200, "{}", fresh.text);
    assert_ne!(fresh.json["accessToken"], first);
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{other}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
}

async fn full_while_the_platform_holds_its_answer(disk: &Disk) {
    let broker = Crashing::new(1);
    let process = broker.start(None);
    let id = broker.connect(0, "twitter", "ada").await;
    let platforms = broker.sandbox.handle();
    platforms.hold(Step::Refresh);
    let (reply, ()) = tokio::join!(broker.token(0, &id, ALWAYS), async {
        platforms.held(Step::Refresh).await;
        disk.fill(&broker.path("postpeer.db"));
        platforms.release(Step::Refresh);
    });
    let delivered = broker.issued("twitter", TokenKind::Access).pop().unwrap();
    let reply = reply.unwrap();
    assert_eq!((reply.status, reply.json["accessToken"].as_str()), (200, Some(delivered.as_str())), "{}", reply.text);
    assert!(!broker.path("postpeer.db.ballast").exists(), "the reserve was needed");
    process.says("the reserve was released");
    process.kill();

    // The broker also starts on a full disk.
    fill(&disk.0.join("filler2"));
    let process = broker.start(None);
    let reply = broker.token(0, &id, "").await.unwrap();
    assert_eq!((reply.status, reply.json["accessToken"].as_str()), (200, Some(delivered.as_str())), "{}", reply.text);
    assert_eq!(broker.browse(&format!("{}/readyz", broker.url())).await.unwrap().status, 503);

    disk.make_room();
    fs::remove_file(disk.0.join("filler2")).unwrap();
    assert_eq!(broker.browse(&format!("{}/readyz", broker.url())).await.unwrap().status, 200);
    let reply = broker.token(0, &id, ALWAYS).await.unwrap();
    assert_eq!(reply.status, 200, "the chain goes on: {}", reply.text);
    assert!(broker.is_alive(&reply.json["accessToken"]).await);
    assert_eq!(process.stop(), Some(0));
}

async fn full_while_a_connection_is_made(disk: &Disk) {
    let broker = Crashing::new(1);
    let process = broker.start(None);
    let callback = broker.consented(0, "twitter", "ada").await.unwrap();
    let platforms = broker.sandbox.handle();
    platforms.hold(Step::Token);
    let (reply, ()) = tokio::join!(broker.browse(&callback), async {
        platforms.held(Step::Token).await;
        disk.fill(&broker.path("postpeer.db"));
        platforms.release(Step::Token);
    });
    let location = reply.unwrap().location();
    assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "{location}");
    let id = parameter(&location, "integrationId").unwrap();
    let delivered = broker.issued("twitter", TokenKind::Access).pop().unwrap();
    assert!(!broker.path("postpeer.db.ballast").exists(), "the reserve was needed");
    process.kill();

    let process = broker.start(None);
    let reply = broker.token(0, &id, "").await.unwrap();
    assert_eq!((reply.status, reply.json["accessToken"].as_str()), (200, Some(delivered.as_str())), "{}", reply.text);
    assert_eq!(platforms.requests_at("twitter", Step::Token).len(), 1);
    disk.make_room();
    let reply = broker.token(0, &id, ALWAYS).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(process.stop(), Some(0));
}
