//! `postpeer keyring forget`: what is left when the keyring is lost, and no recovery key is there.

use std::fs;

use postpeer::sandbox;
use postpeer::store::sealed::for_each_sealed;
use serde_json::json;

use crate::process::Crashing;

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_secrets_outlives_the_keyring() {
    let mut broker = Crashing::new(1);
    let process = broker.start(None);
    let id = broker.connect(0, "twitter", "ada").await;
    let page = broker.connect(0, "acme", "basil").await;
    let (client_id, client_secret) = sandbox::own_client("tiktok").unwrap();
    let app = json!({"platform": "tiktok", "name": "Own", "clientId": client_id, "clientSecret": client_secret});
    let app = broker.post(0, "/v1/apps", &app).await.json["app"]["id"].as_str().unwrap().to_owned();
    // Connections that nobody has finished.
    assert_eq!(broker.call(0, "/v1/connect/facebook").await.unwrap().status, 200);
    process.kill();
    let (database, keyring) = (broker.path("postpeer.db"), broker.path("postpeer.keyring"));
    fs::remove_file(&keyring).unwrap();
    // How the latest refreshes ended is no secret.
    let past = r#"[2,[1,"platform_unavailable"]]"#;
    let db = rusqlite::Connection::open(&database).unwrap();
    assert_eq!(db.execute("UPDATE grants SET past_refreshes = ?1", [past]).unwrap(), 2);
    db.close().unwrap();

    // Copies are named for the second, and one that is cut off is repeated at once.
    for dies_at in ["forget_copied", "forget_copied", "forget_copied", "forget_stored"] {
        let cut_off = broker.dying_command(&["keyring", "forget", "--yes"], Some(dies_at));
        tokio::task::block_in_place(|| cut_off.died());
        assert!(!keyring.exists(), "{dies_at}");
    }
    tokio::task::block_in_place(|| broker.command(&["keyring", "forget", "--yes"]).succeeded());
    let copies = fs::read_dir(broker.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let copies = copies.filter(|name| name.contains(".before-forget-")).count();
    assert_eq!(copies, 4, "the last run found the database erased, and only put the keyring in place");
    let mut left = Vec::new();
    for_each_sealed(&database, |value| left.push(value.column.table)).unwrap();
    assert_eq!(left, ["oauth_apps"], "the app has an empty secret");

    let process = broker.start(None);
    assert_eq!(broker.call(0, "/v1/profiles").await.unwrap().status, 401, "every key is revoked");
    tokio::task::block_in_place(|| broker.renew_key());
    for id in [&id, &page] {
        let detail = broker.detail(0, id).await.to_string();
        assert!(detail.contains("keyring_lost") && detail.contains("connects it again"), "{detail}");
        let refused = broker.token(0, id, "").await.unwrap();
        assert_eq!(refused.code(), "reconnect_required");
        assert!(refused.text.contains("has lost the key"), "{}", refused.text);
    }
    // The owner connects the same account again, and it keeps its id. So does the app with its secret.
    assert_eq!(broker.connect(0, "twitter", "ada").await, id);
    assert_eq!(broker.token(0, &id, "").await.unwrap().status, 200);
    assert_eq!(broker.call(0, &format!("/v1/apps/{app}")).await.unwrap().status, 200);
    assert_eq!(process.stop(), Some(0));
    let db = rusqlite::Connection::open(&database).unwrap();
    let kept = "SELECT count(*) FROM grants WHERE past_refreshes = ?1";
    assert_eq!(db.query_row(kept, [past], |row| row.get::<_, u32>(0)).unwrap(), 2);
}
