//! A broker that dies at any step of a connection to complete: what it told is there afterwards, and nothing else.

use std::time::Duration;

use postpeer::sandbox::{Answer, Step, TokenKind};
use serde_json::json;

use super::BACK;
use crate::process::Crashing;
use crate::support::{Reply, client, parameter};

/// Begins a connection to complete, and consents. Returns the flow and the callback's URL.
pub(crate) async fn consented(crashing: &Crashing, platform: &str) -> (String, String) {
    let begun = crashing.call(0, &format!("/v1/connect/{platform}?{BACK}")).await.unwrap();
    let [url, flow] = ["url", "flowId"].map(|name| begun.json[name].as_str().unwrap().to_owned());
    (flow, crashing.sandbox.handle().consent(&url, &Answer::allow()).unwrap())
}

pub(crate) async fn complete(crashing: &Crashing, flow: &str) -> Option<Reply> {
    let request = client().post(format!("{}/v1/connect/flows/{flow}/complete", crashing.url()));
    Some(Reply::of(request.header("x-access-key", crashing.key(0)).send().await.ok()?).await)
}

async fn total(crashing: &Crashing) -> u64 {
    crashing.call(0, "/v1/connect/integrations").await.unwrap().json["total"].as_u64().unwrap()
}

fn sql(crashing: &Crashing) -> rusqlite::Connection {
    rusqlite::Connection::open(crashing.path("postpeer.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_dies_at_any_step_waits_for_its_caller_or_is_said_to_be_cut_off() {
    for (step, status) in [
        ("connect_consumed", "error"),
        ("connect_answered", "error"),
        ("connect_answer_kept", "completion_required"),
        ("connect_identified", "completion_required"),
        ("connect_stored", "completion_required"),
    ] {
        let crashing = Crashing::new(1);
        let process = crashing.start(Some(step));
        let (flow, callback) = consented(&crashing, "twitter").await;
        assert!(crashing.browse(&callback).await.is_none(), "{step}: the answer cannot come");
        process.died();

        let process = crashing.start(None);
        let location = crashing.browse(&callback).await.unwrap().location();
        assert_eq!(parameter(&location, "status").as_deref(), Some(status), "{step}: {location}");
        assert_eq!(total(&crashing).await, 0, "{step}");
        let done = complete(&crashing, &flow).await.unwrap();
        if status == "error" {
            assert_eq!(done.code(), "flow_ended", "{step}: {}", done.text);
        } else {
            let id = done.json["integrations"][0]["id"].as_str().unwrap_or_else(|| panic!("{step}: {}", done.text));
            let reply = crashing.token(0, id, "").await.unwrap();
            assert_eq!((reply.status, total(&crashing).await), (200, 1), "{step}: {}", reply.text);
        }
        let exchanges = crashing.sandbox.handle().requests_at("twitter", Step::Token).len();
        assert_eq!(exchanges, usize::from(step != "connect_consumed"), "{step}: never twice");
        process.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_that_dies_is_done_or_can_be_repeated() {
    for step in ["completion_storing", "completion_stored"] {
        let crashing = Crashing::new(1);
        let process = crashing.start(Some(step));
        let (flow, callback) = consented(&crashing, "twitter").await;
        crashing.browse(&callback).await.unwrap();
        assert!(complete(&crashing, &flow).await.is_none(), "{step}: the answer cannot come");
        process.died();

        let process = crashing.start(None);
        assert_eq!(total(&crashing).await, u64::from(step == "completion_stored"), "{step}: all or nothing");
        for _ in 0..2 {
            let done = complete(&crashing, &flow).await.unwrap();
            assert_eq!((done.status, &done.json["status"]), (200, &json!("success")), "{step}: {}", done.text);
        }
        assert_eq!(total(&crashing).await, 1, "{step}");
        process.kill();
    }
}

/// An acknowledged answer survives: of the callback, and of the completion.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_survives_a_kill() {
    let crashing = Crashing::new(1);
    let process = crashing.start(None);
    let (flow, callback) = consented(&crashing, "twitter").await;
    let told = crashing.browse(&callback).await.unwrap().location();
    process.kill();
    let process = crashing.start(None);
    assert_eq!(crashing.browse(&callback).await.unwrap().location(), told);
    let done = complete(&crashing, &flow).await.unwrap();
    process.kill();
    let process = crashing.start(None);
    assert_eq!(complete(&crashing, &flow).await.unwrap().json, done.json);
    assert_eq!(total(&crashing).await, 1);
    process.kill();
}

/// The caller's ten minutes begin with the exchange, not with the start that continues it.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_the_ten_minutes_gives_the_tokens_back() {
    let crashing = Crashing::new(1);
    let process = crashing.start(Some("connect_answer_kept"));
    let (flow, callback) = consented(&crashing, "twitter").await;
    assert!(crashing.browse(&callback).await.is_none(), "the answer cannot come");
    process.died();
    sql(&crashing).execute("UPDATE flows SET asked_at = asked_at - 600000", []).unwrap();

    let process = crashing.start(None);
    let location = crashing.browse(&callback).await.unwrap().location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("flow_expired"), "{location}");
    assert_eq!(complete(&crashing, &flow).await.unwrap().code(), "flow_not_found");
    process.kill();
    let process = crashing.start(None);
    is_given_back(&crashing).await;
    process.kill();
}

/// The deletion of a project revokes what waits in it, and is continued after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_the_project_that_dies_still_revokes() {
    let crashing = Crashing::new(2);
    let process = crashing.start(None);
    let begun = crashing.call(1, &format!("/v1/connect/twitter?{BACK}")).await.unwrap();
    let callback = crashing.sandbox.handle().consent(begun.json["url"].as_str().unwrap(), &Answer::allow()).unwrap();
    crashing.browse(&callback).await.unwrap();
    let delete = ["project", "delete", "project 1", "--confirm", "project 1"];
    crashing.dying_command(&delete, Some("project_choices_closed")).died();
    crashing.command(&delete).succeeded();
    is_given_back(&crashing).await;
    assert_eq!(process.stop(), Some(0));
}

/// Waits until nothing is quarantined. Its tokens must be dead then.
async fn is_given_back(crashing: &Crashing) {
    let left = || -> u32 { sql(crashing).query_row("SELECT count(*) FROM selections", [], |row| row.get(0)).unwrap() };
    for _ in 0..400 {
        if left() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(left(), 0, "it is not erased");
    let issued = crashing.issued("twitter", TokenKind::Access);
    assert!(!issued.is_empty());
    for token in issued {
        assert!(!crashing.is_alive(&token.into()).await, "a token lives on");
    }
}

/// Its tokens are revoked before they are erased, so that a broker which dies in between revokes them again.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_completion_that_dies_at_any_step_still_revokes() {
    for step in ["completion_abandoned", "completion_revoked"] {
        let crashing = Crashing::new(1);
        let process = crashing.start(None);
        let (flow, callback) = consented(&crashing, "twitter").await;
        crashing.browse(&callback).await.unwrap();
        process.kill();
        sql(&crashing).execute("UPDATE selections SET expires_at = 1", []).unwrap();

        crashing.start_dying(step);
        let left: u32 = sql(&crashing).query_row("SELECT count(*) FROM selections", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1, "{step}");
        let process = crashing.start(None);
        let done = complete(&crashing, &flow).await.unwrap();
        assert_eq!(done.code(), "flow_not_found", "{step}: {}", done.text);
        is_given_back(&crashing).await;
        let ended = "SELECT count(*) FROM audit WHERE outcome = 'flow_expired'";
        let ended: u32 = sql(&crashing).query_row(ended, [], |row| row.get(0)).unwrap();
        assert_eq!(ended, 1, "{step}: told once");
        assert_eq!(total(&crashing).await, 0, "{step}");
        process.kill();
    }
}
