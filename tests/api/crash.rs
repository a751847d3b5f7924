//! After a crash, everything that the broker acknowledged or received is still there, or is reported as in doubt.
//!
//! These tests run the binary against a sandbox in this process and kill it: at each failpoint, and at random under
//! load. `CRASH_ROUNDS` is the number of random kills (25 by default).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postpeer::domain::entropy::{Entropy as _, SeededEntropy};
use postpeer::sandbox::{Fault, Step, TokenKind};

use crate::process::{ALWAYS, Crashing};
use crate::support::parameter;

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_dies_at_any_step_loses_no_token_in_silence() {
    for (step, state) in [
        ("refresh_begun", "ok"),
        ("refresh_answered", "reconnect_required"),
        ("refresh_answer_kept", "ok"),
        ("refresh_answer_read", "ok"),
        ("refresh_swapping", "ok"),
        ("refresh_stored", "ok"),
    ] {
        let crashing = Crashing::new(1);
        let process = crashing.start(None);
        let id = crashing.connect(0, "twitter", "ada").await;
        process.kill();

        let process = crashing.start(Some(step));
        assert!(crashing.token(0, &id, ALWAYS).await.is_err(), "{step}: the answer cannot come");
        process.died();
        let delivered = crashing.issued("twitter", TokenKind::Access);

        let process = crashing.start(None);
        let health = crashing.settled(0, &id).await;
        assert_eq!(health["state"], state, "{step}: {health}");
        if state == "ok" {
            let reply = crashing.token(0, &id, "").await.unwrap();
            assert_eq!(reply.status, 200, "{step}: {}", reply.text);
            assert!(crashing.is_alive(&reply.json["accessToken"]).await, "{step}");
            if step != "refresh_begun" {
                assert_eq!(reply.json["accessToken"].as_str(), delivered.last().map(String::as_str), "{step}");
            }
            for _ in 0..3 {
                let reply = crashing.token(0, &id, ALWAYS).await.unwrap();
                assert_eq!(reply.status, 200, "{step}: the chain goes on: {}", reply.text);
            }
        } else {
            assert_eq!(health["lastError"]["code"], "refresh_interrupted", "{step}: it is not called revoked");
            assert_eq!(crashing.token(0, &id, "").await.unwrap().code(), "reconnect_required", "{step}");
        }
        assert_eq!(process.stop(), Some(0), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_at_any_step_is_finished_or_said_to_be_cut_off() {
    for (step, status) in [
        ("connect_consumed", "error"),
        ("connect_answered", "error"),
        ("connect_answer_kept", "success"),
        ("connect_identified", "success"),
        ("connect_storing", "success"),
        ("connect_stored", "success"),
    ] {
        for (platform, account) in [("twitter", "ada"), ("threads", "ada")] {
            let crashing = Crashing::new(1);
            let process = crashing.start(Some(step));
            let callback = crashing.consented(0, platform, account).await.unwrap();
            assert!(crashing.browse(&callback).await.is_none(), "{step}: the answer cannot come");
            process.died();

            let process = crashing.start(None);
            // The callback waits for the resumed connection.
            let location = crashing.browse(&callback).await.unwrap().location();
            assert_eq!(parameter(&location, "status").as_deref(), Some(status), "{step} {platform}: {location}");
            let total = crashing.call(0, "/v1/connect/integrations").await.unwrap().json["total"].clone();
            if status == "success" {
                let id = parameter(&location, "integrationId").unwrap();
                let reply = crashing.token(0, &id, "").await.unwrap();
                assert_eq!(reply.status, 200, "{step} {platform}: {}", reply.text);
                assert_eq!(total, 1, "{step} {platform}");
            } else {
                assert_eq!(parameter(&location, "error").as_deref(), Some("interrupted"), "{step} {platform}");
                assert_eq!(total, 0, "{step} {platform}");
                process.says("a connection was cut off");
            }
            let exchanges = crashing.sandbox.handle().requests_at(platform, Step::Token).len();
            assert_eq!(exchanges, usize::from(step != "connect_consumed"), "{step} {platform}: never twice");
            process.kill();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_a_project_that_dies_at_any_step_is_continued() {
    let delete = ["project", "delete", "project 1", "--confirm", "project 1"];
    for step in
        ["project_keys_revoked", "project_account_disconnected", "project_rows_deleted", "project_rows_deleted:2"]
    {
        let crashing = Crashing::new(2);
        let process = crashing.start(None);
        let ours = crashing.connect(0, "twitter", "ada").await;
        for platform in ["twitter", "youtube", "tiktok"] {
            crashing.connect(1, platform, "ada").await;
        }
        assert!(crashing.consented(1, "threads", "ada").await.is_some());
        crashing.dying_command(&delete, Some(step)).died();
        // Its key stopped with the first step, also at the running broker.
        assert_eq!(crashing.call(1, "/v1/health/auth").await.unwrap().status, 401, "{step}");
        crashing.command(&delete).succeeded();
        let db = rusqlite::Connection::open(crashing.path("postpeer.db")).unwrap();
        let left = |sql: &str| -> u32 { db.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(left("SELECT count(*) FROM projects"), 1, "{step}");
        assert_eq!(left("SELECT count(*) FROM integrations"), 1, "{step}");
        assert_eq!(left("SELECT count(*) FROM audit WHERE action = 'project.deleted'"), 1, "{step}");
        assert_eq!(left("SELECT count(*) FROM audit WHERE action = 'account.disconnected'"), 3, "{step}");
        assert_eq!(crashing.token(0, &ours, ALWAYS).await.unwrap().status, 200, "{step}: another project lives");
        assert_eq!(process.stop(), Some(0), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_that_dies_at_any_step_leaves_no_account_that_looks_well_with_a_dead_token() {
    for step in ["disconnect_begun", "disconnect_revoked"] {
        let crashing = Crashing::new(1);
        let process = crashing.start(None);
        let id = crashing.connect(0, "twitter", "ada").await;
        let disconnect = ["accounts", "disconnect", id.as_str()];
        crashing.dying_command(&disconnect, Some(step)).died();
        assert_eq!(crashing.token(0, &id, "").await.unwrap().code(), "reconnect_required", "{step}");
        assert_eq!(crashing.token(0, &id, ALWAYS).await.unwrap().code(), "reconnect_required", "{step}");
        assert_eq!(process.stop(), Some(0), "{step}");
        let process = crashing.start(None);
        assert_eq!(crashing.settled(0, &id).await["state"], "reconnect_required", "{step}");
        assert_eq!(crashing.connect(0, "twitter", "ada").await, id, "{step}: its owner brings it back");
        assert_eq!(crashing.token(0, &id, "").await.unwrap().status, 200, "{step}");
        crashing.dying_command(&disconnect, Some(step)).died();
        crashing.command(&disconnect).succeeded();
        assert_eq!(crashing.token(0, &id, "").await.unwrap().code(), "integration_not_found", "{step}");
        let latest = crashing.issued("twitter", TokenKind::Access).pop().unwrap();
        assert!(!crashing.is_alive(&latest.into()).await, "{step}: the consent is revoked");
        assert_eq!(process.stop(), Some(0), "{step}");
    }
}

/// The command asks the platform from a process of its own, which does not know of the broker's refresh.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_command_disconnects_during_a_refresh_leaves_no_token_alive() {
    let crashing = Crashing::new(1);
    let process = crashing.start(None);
    let id = crashing.connect(0, "twitter", "ada").await;
    let sandbox = crashing.sandbox.handle();
    sandbox.hold(Step::Refresh);
    let (asked, ()) = tokio::join!(crashing.token(0, &id, ALWAYS), async {
        sandbox.held(Step::Refresh).await;
        tokio::task::block_in_place(|| crashing.command(&["accounts", "disconnect", &id]).succeeded());
        sandbox.release(Step::Refresh);
    });
    assert_eq!(asked.unwrap().code(), "integration_not_found");
    assert_eq!(crashing.token(0, &id, "").await.unwrap().status, 404);
    let db = rusqlite::Connection::open(crashing.path("postpeer.db")).unwrap();
    let left: u32 = db.query_row("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    // What the refresh brought is revoked beside the answer, as nobody waits for it.
    let issued = crashing.issued("twitter", TokenKind::Access);
    assert_eq!(issued.len(), 2, "the refresh was answered");
    for token in issued {
        let mut is_alive = true;
        for _ in 0..100 {
            is_alive = crashing.is_alive(&token.clone().into()).await;
            if !is_alive {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(!is_alive, "a token lives on that nobody knows of");
    }
    assert_eq!(process.stop(), Some(0));
}

/// A callback that a browser was sent to before the broker died.
struct Landing {
    project: usize,
    callback: String,
    /// The redirect that the browser received, if any.
    location: Option<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_at_random_loses_no_token_in_silence() {
    let projects = 4;
    let crashing = Arc::new(Crashing::new(projects));
    let random = SeededEntropy::new(u64::from(std::process::id()));
    let mut process = crashing.start(None);
    let mut accounts = BTreeMap::new();
    for project in 0..projects {
        for account in ["ada", "basil"] {
            accounts.insert((project, account), crashing.connect(project, "twitter", account).await);
        }
    }
    let mut refreshed = 0;
    for round in 0..rounds() {
        let stop = Arc::new(AtomicBool::new(false));
        let landings = Arc::new(Mutex::new(Vec::new()));
        let mut clients = Vec::new();
        for number in 0..16 {
            let (crashing, stop) = (crashing.clone(), stop.clone());
            let ids: Vec<_> = accounts.iter().map(|((project, _), id)| (*project, id.clone())).collect();
            clients.push(tokio::spawn(async move {
                let mut at = number;
                while !stop.load(Ordering::SeqCst) {
                    let (project, id) = &ids[at % ids.len()];
                    at += 1;
                    // Fails when the broker is gone.
                    let _ = crashing.token(*project, id, ALWAYS).await;
                }
            }));
        }
        for (number, platform) in ["tiktok", "pinterest"].into_iter().enumerate() {
            let (crashing, stop, landings) = (crashing.clone(), stop.clone(), landings.clone());
            clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let Some(callback) = crashing.consented(number, platform, "ada").await else { continue };
                    let location = crashing.browse(&callback).await.map(|reply| reply.location());
                    landings.lock().unwrap().push(Landing { project: number, callback, location });
                }
            }));
        }
        let mut byte = [0_u8; 2];
        random.fill(&mut byte);
        let after = 5 + u64::from(u16::from_be_bytes(byte)) % 396;
        tokio::time::sleep(Duration::from_millis(after)).await;
        process.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }

        refreshed += crashing.sandbox.handle().requests_at("twitter", Step::Refresh).len();
        crashing.sandbox.handle().clear();
        process = crashing.start(None);
        for ((project, account), id) in &accounts {
            let health = crashing.settled(*project, id).await;
            if health["state"] == "ok" {
                let reply = crashing.token(*project, id, "").await.unwrap();
                assert_eq!(reply.status, 200, "round {round}: {}", reply.text);
                assert!(crashing.is_alive(&reply.json["accessToken"]).await, "round {round}: a dead token");
                let reply = crashing.token(*project, id, ALWAYS).await.unwrap();
                assert_eq!(reply.status, 200, "round {round}: a stale refresh token: {}", reply.text);
            } else {
                assert_eq!(health["lastError"]["code"], "refresh_interrupted", "round {round}");
                assert_eq!(&crashing.connect(*project, "twitter", account).await, id, "round {round}");
            }
        }
        let landings = std::mem::take(&mut *landings.lock().unwrap());
        for Landing { project, callback, location } in landings {
            let again = crashing.browse(&callback).await.unwrap().location();
            let is_connected = parameter(&again, "status").as_deref() == Some("success");
            if let Some(location) = location {
                assert!(is_connected, "round {round}: {location}, then {again}");
                assert_eq!(again, location, "round {round}");
            }
            if is_connected {
                let id = parameter(&again, "integrationId").unwrap();
                assert_eq!(crashing.token(project, &id, "").await.unwrap().status, 200, "round {round}: {id}");
            } else {
                assert_eq!(parameter(&again, "error").as_deref(), Some("interrupted"), "round {round}: {again}");
            }
        }
    }
    assert!(refreshed > 0, "every round ended before its first refresh");
    assert_eq!(process.stop(), Some(0));
    let db = rusqlite::Connection::open(crashing.path("postpeer.db")).unwrap();
    let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_no_first_read_of_a_token_and_no_count_older_than_a_second() {
    let crashing = Crashing::new(1);
    let process = crashing.start(None);
    let id = crashing.connect(0, "twitter", "ada").await;
    assert_eq!(crashing.token(0, &id, "").await.unwrap().status, 200);
    process.kill();

    let reads = async || crashing.detail(0, &id).await["tokenReads"][0]["reads"].clone();
    let process = crashing.start(None);
    assert_eq!(reads().await, 1, "the first read was on the disk before its answer");
    for _ in 0..10 {
        assert_eq!(crashing.token(0, &id, "").await.unwrap().status, 200);
    }
    let db = rusqlite::Connection::open(crashing.path("postpeer.db")).unwrap();
    let written = || db.query_row("SELECT reads FROM token_reads", [], |row| row.get::<_, i64>(0)).unwrap();
    for _ in 0..200 {
        if written() == 11 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.kill();
    assert_eq!(written(), 11, "counts are written without a stop");
    let process = crashing.start(None);
    assert_eq!(reads().await, 11);
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_start_survives_a_kill() {
    let crashing = Arc::new(Crashing::new(1));
    let mut process = crashing.start(None);
    for round in 0..3 {
        let begun = Arc::new(tokio::sync::Semaphore::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (crashing, begun, stop) = (crashing.clone(), begun.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut callbacks = Vec::new();
                    // A client that was slow to ask may not notice that the broker was gone.
                    while !stop.load(Ordering::SeqCst)
                        && let Some(callback) = crashing.consented(0, "pinterest", "ada").await
                    {
                        callbacks.push(callback);
                        begun.add_permits(1);
                    }
                    callbacks
                })
            })
            .collect();
        let enough = tokio::time::timeout(Duration::from_mins(1), begun.acquire_many(40));
        let _ = enough.await.expect("the clients ended before the broker did").unwrap();
        process.kill();
        stop.store(true, Ordering::SeqCst);
        process = crashing.start(None);
        let mut survived = 0;
        for client in clients {
            for callback in client.await.unwrap() {
                let location = crashing.browse(&callback).await.unwrap().location();
                assert_eq!(parameter(&location, "status").as_deref(), Some("success"), "round {round}: {location}");
                survived += 1;
            }
        }
        assert!(survived >= 40, "{survived}");
    }
    assert_eq!(process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_broker_finishes_the_refresh_under_way() {
    let crashing = Crashing::new(1);
    let process = crashing.start(None);
    let id = crashing.connect(0, "twitter", "ada").await;
    let platforms = crashing.sandbox.handle();
    platforms.fail_next("twitter", Step::Refresh, Fault::Slow(Duration::from_secs(3)), 1).unwrap();
    let asking = crashing.token(0, &id, ALWAYS);
    let stopping = async {
        platforms.seen("twitter", Step::Refresh, 1).await;
        tokio::task::block_in_place(|| process.stop())
    };
    let (_, code) = tokio::join!(asking, stopping);
    assert_eq!(code, Some(0));
    let delivered = crashing.issued("twitter", TokenKind::Access);
    let process = crashing.start(None);
    assert_eq!(crashing.settled(0, &id).await["state"], "ok");
    let reply = crashing.token(0, &id, "").await.unwrap();
    assert_eq!(reply.json["accessToken"].as_str(), delivered.last().map(String::as_str));
    process.kill();
}

#[expect(clippy::disallowed_methods, reason = "CI asks for more rounds than a person waits for")]
fn rounds() -> u32 {
    std::env::var("CRASH_ROUNDS").map_or(25, |text| text.parse().unwrap())
}
