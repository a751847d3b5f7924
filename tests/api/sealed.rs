//! An attacker who can write to the database file but has no key: moves sealed values, restores old ones, changes
//! bytes. Everything fails closed. A changed value is refused with a clean answer, and nothing else is affected.

use postpeer::app::{self, Ports};
use postpeer::broker::Caller;
use postpeer::sandbox::{self, Answer, Recorded, Step};
use postpeer::store::survey::Survey;
use rusqlite::params;
use serde_json::json;

use crate::logs;
use crate::rotation::open_all;
use crate::support::{TestBroker, parameter};

const BACK: &str = "redirectUri=https://app.example/back";

/// An integration's grant, its sealed tokens and the id of their data key.
fn grant(broker: &TestBroker, integration: &str) -> (String, Vec<u8>, i64) {
    broker
        .sql()
        .query_row(
            "SELECT g.id, g.tokens, g.tokens_dek_id FROM grants AS g JOIN integrations AS i ON i.grant_id = g.id
             WHERE i.id = ?1",
            [integration],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap()
}

fn set_tokens(broker: &TestBroker, grant: &str, tokens: &[u8]) {
    let dek_id = u32::from_be_bytes(tokens[1..5].try_into().unwrap());
    let changed = broker
        .sql()
        .execute("UPDATE grants SET tokens = ?2, tokens_dek_id = ?3 WHERE id = ?1", params![grant, tokens, dek_id])
        .unwrap();
    assert_eq!(changed, 1);
}

/// Disconnects. Returns the message to the caller and the requests to the platform.
async fn disconnect(broker: &TestBroker, platform: &str, id: &str) -> (String, Vec<Recorded>) {
    broker.sandbox().clear();
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert_eq!(broker.get(&format!("/v1/connect/integrations/{id}")).await.status, 404);
    (gone.json["message"].as_str().unwrap().to_owned(), broker.sandbox().requests_at(platform, Step::Revoke))
}

/// Asserts that none of these tokens is sent anywhere, and that the account can be disconnected.
async fn assert_refused(broker: &TestBroker, platform: &str, id: &str) {
    let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await;
    assert_eq!(detail.status, 200, "what is not sealed is still told");
    let (message, asked) = disconnect(broker, platform, id).await;
    assert!(message.contains("did not confirm"), "{message}");
    assert!(asked.is_empty(), "a token of somebody else's was sent: {asked:?}");
}

async fn assert_intact(broker: &TestBroker, platform: &str, id: &str) {
    let (message, asked) = disconnect(broker, platform, id).await;
    assert!(message.contains("revoked the tokens"), "{message}");
    assert_eq!(asked.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(200)]);
}

/// An account of another owner.
async fn connect_basil(broker: &TestBroker, platform: &str) -> String {
    let url = broker.begin(platform, BACK).await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow().account("basil"))).await.location();
    parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_do_not_move_to_another_row() {
    let broker = TestBroker::start().await;
    let (ada, basil) = (broker.connect("twitter", "").await, connect_basil(&broker, "twitter").await);
    let untouched = broker.connect("youtube", "").await;
    let ((ada_grant, adas, _), (basil_grant, basils, _)) = (grant(&broker, &ada), grant(&broker, &basil));
    set_tokens(&broker, &ada_grant, &basils);
    set_tokens(&broker, &basil_grant, &adas);

    assert_refused(&broker, "twitter", &ada).await;
    assert_refused(&broker, "twitter", &basil).await;
    assert_intact(&broker, "youtube", &untouched).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_tokens_do_not_come_back() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let (row, first, _) = grant(&broker, &id);
    assert_eq!(broker.connect("twitter", "").await, id);
    let (same_row, second, _) = grant(&broker, &id);
    assert_eq!(row, same_row);
    assert_ne!(first, second);
    set_tokens(&broker, &row, &first);

    // The owner reconnects: new tokens need no old ones.
    assert_eq!(broker.connect("twitter", "").await, id);
    let (_, third, _) = grant(&broker, &id);
    set_tokens(&broker, &row, &second);
    assert_refused(&broker, "twitter", &id).await;
    assert!(first != third && second != third);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_changed_byte_is_taken() {
    let broker = TestBroker::start().await;
    let untouched = connect_basil(&broker, "acme").await;
    let id = broker.connect("acme", "").await;
    let (_, tokens, _) = grant(&broker, &id);
    // Version, key, nonce, ciphertext, tag, one byte less, one byte more.
    let mut damaged: Vec<Vec<u8>> = [0, 1, 4, 5, 28, 29, tokens.len() / 2, tokens.len() - 16, tokens.len() - 1]
        .into_iter()
        .map(|at| {
            let mut bytes = tokens.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    damaged.push(tokens[..tokens.len() - 1].to_vec());
    damaged.push(tokens[..45].to_vec());
    damaged.push([&tokens[..], &[0]].concat());
    for bytes in damaged {
        let id = broker.connect("acme", "").await;
        let (row, ..) = grant(&broker, &id);
        set_tokens(&broker, &row, &bytes);
        assert_refused(&broker, "acme", &id).await;
    }
    assert_intact(&broker, "acme", &untouched).await;
}

/// Accounts are known by their own id, and a row of tokens by its grant's.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_whose_tokens_do_not_open_are_named_and_count_as_failing() {
    let broker = TestBroker::start().await;
    let (id, untouched) = (broker.connect("twitter", "").await, broker.connect("youtube", "").await);
    let (row, mut tokens, _) = grant(&broker, &id);
    *tokens.last_mut().unwrap() ^= 1;
    set_tokens(&broker, &row, &tokens);
    let named = format!("{row} (twitter {id} of project default)");
    let ports = Ports::system();
    let (copy, check) = app::backup::back_up(broker.config(), &ports, broker.dir.path().join("copy")).unwrap();
    assert_eq!((check.unreadable, check.first.unwrap().0.as_str()), (1, named.as_str()));
    copy.publish(&broker.dir.path().join("copy.db")).unwrap();
    let survey = Survey::open(&broker.dir.path().join("copy.db")).unwrap();
    let mut rows = Vec::new();
    survey.for_each_sealed(|value| rows.push(survey.name_row(&value).unwrap())).unwrap();
    assert!(rows.contains(&named) && rows.iter().any(|row| row.contains(&untouched)), "{rows:?}");

    let listed = async || {
        let caller = Caller::operator(broker.broker().list_projects().await.unwrap()[0].id);
        let (failing, _) = broker.broker().list_newest(&caller, (None, true), None, 9).await.unwrap();
        failing.iter().map(|account| account.integration.id.to_string()).collect::<Vec<_>>()
    };
    let due = "SELECT due_at FROM grants WHERE platform = 'twitter'";
    let due_at = || broker.sql().query_row(due, [], |row| row.get::<_, i64>(0)).unwrap();
    let before = due_at();
    assert_eq!(listed().await, [""; 0]);
    for _ in 0..2 {
        assert_eq!(broker.token(&id, "").await.code(), "sealed_value_rejected");
    }
    assert_eq!(listed().await, [id.as_str()]);
    let health = broker.detail(&id).await["health"].clone();
    assert_eq!(
        (&health["state"], &health["lastError"]["code"]),
        (&json!("refresh_failing"), &json!("tokens_unreadable"))
    );
    assert_eq!(due_at(), before);
    assert_eq!(broker.connect("twitter", "").await, id);
    assert_eq!(listed().await, [""; 0]);
}

/// A consent without a refresh token keeps the stored one, but reconnecting is the way out where that does not open.
#[tokio::test(flavor = "multi_thread")]
async fn a_reconnection_replaces_tokens_that_do_not_open() {
    logs::capture();
    let broker = TestBroker::builder().seed(143).start().await;
    let spoil = |id: &str| {
        let (row, mut tokens, _) = grant(&broker, id);
        tokens[40] ^= 1;
        set_tokens(&broker, &row, &tokens);
        row
    };
    let fewer = || Answer::allow().fault("denied_scopes");
    for (platform, again) in [
        ("acme", fewer as fn() -> Answer),
        ("facebook", Answer::allow),
        ("instagram", Answer::allow),
        ("threads", Answer::allow),
    ] {
        let id = broker.connect(platform, "").await;
        for query in ["", &format!("reconnect={id}")] {
            let row = spoil(&id);
            broker.sandbox().clear();
            assert_eq!(broker.connect_with(platform, query, &again()).await, id, "{platform}");
            assert!(broker.sandbox().requests_at(platform, Step::Revoke).is_empty(), "{platform}");
            let told = logs::text();
            let is_told = |line: &str| line.contains(&row) && line.contains("grants.tokens was rejected");
            assert!(told.lines().any(is_told), "{platform}: {told}");
        }
        assert_eq!(broker.token(&id, "").await.status, 200, "{platform}");

        spoil(&id);
        let begun = broker.get(&format!("/v1/connect/{platform}?{BACK}&reconnect={id}&completion=true")).await;
        broker.browse(&broker.consent(begun.json["url"].as_str().unwrap(), &again())).await;
        let complete = format!("/v1/connect/flows/{}/complete", begun.json["flowId"].as_str().unwrap());
        let completed = broker.call("POST", &complete, None).await;
        assert_eq!(
            (completed.status, &completed.json["integrations"][0]["id"]),
            (200, &json!(id)),
            "{}",
            completed.text
        );
        assert_eq!(broker.token(&id, "").await.status, 200, "{platform}");
    }
    open_all(&broker.config().database, &broker.config().keyring);
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_do_not_move_and_do_not_bend() {
    logs::capture();
    let broker = TestBroker::builder().seed(140).start().await;
    let mut callbacks = Vec::new();
    for _ in 0..4 {
        let url = broker.begin("twitter", BACK).await;
        callbacks.push((broker.last_flow(), broker.consent(&url, &Answer::allow())));
    }
    let db = broker.sql();
    let verifier = |flow: &str| -> Vec<u8> {
        db.query_row("SELECT pkce_verifier FROM flows WHERE id = ?1", [flow], |row| row.get(0)).unwrap()
    };
    let set = |flow: &str, sealed: &[u8]| {
        db.execute("UPDATE flows SET pkce_verifier = ?2 WHERE id = ?1", params![flow, sealed]).unwrap();
    };
    let (first, second) = (verifier(&callbacks[0].0), verifier(&callbacks[1].0));
    set(&callbacks[0].0, &second);
    set(&callbacks[1].0, &first);
    let mut bent = verifier(&callbacks[2].0);
    *bent.last_mut().unwrap() ^= 0x80;
    set(&callbacks[2].0, &bent);

    for (flow, callback) in &callbacks[..3] {
        let location = broker.browse(callback).await.location();
        assert_eq!(parameter(&location, "error").as_deref(), Some("storage_failed"), "{location}");
        let logged = logs::of_flow(flow);
        assert!(logged.iter().any(|line| line.contains("flows.pkce_verifier was rejected")), "{logged:?}");
    }
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty(), "no code is sent without its verifier");
    assert!(broker.browse(&callbacks[3].1).await.location().contains("status=success"));
}

/// A change to any byte of a sealed value is detected.
#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_with_any_byte_changed_is_refused() {
    let broker = TestBroker::start().await;
    let db = broker.sql();
    let mut at = 0;
    loop {
        let url = broker.begin("twitter", BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        let flow = broker.last_flow();
        let mut sealed: Vec<u8> =
            db.query_row("SELECT pkce_verifier FROM flows WHERE id = ?1", [&flow], |row| row.get(0)).unwrap();
        let Some(byte) = sealed.get_mut(at) else { break };
        *byte = byte.wrapping_add(1);
        db.execute("UPDATE flows SET pkce_verifier = ?2 WHERE id = ?1", params![flow, sealed]).unwrap();
        let location = broker.browse(&callback).await.location();
        assert_eq!(parameter(&location, "error").as_deref(), Some("storage_failed"), "byte {at}: {location}");
        at += 1;
    }
    assert_eq!(at, 1 + 4 + 24 + 43 + 16);
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty());
}

async fn own_app(broker: &TestBroker, platform: &str) -> String {
    let (client_id, client_secret) = sandbox::own_client(platform).unwrap();
    let app = json!({"platform": platform, "name": "Own", "clientId": client_id, "clientSecret": client_secret});
    let made = broker.call("POST", "/v1/apps", Some(app)).await;
    made.json["app"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
}

fn set_secret(broker: &TestBroker, app: &str, sealed: &[u8]) {
    let dek_id = u32::from_be_bytes(sealed[1..5].try_into().unwrap());
    let changed = broker
        .sql()
        .execute(
            "UPDATE oauth_apps SET client_secret = ?2, client_secret_dek_id = ?3 WHERE id = ?1",
            params![app, sealed, dek_id],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

fn secret(broker: &TestBroker, app: &str) -> Vec<u8> {
    broker.sql().query_row("SELECT client_secret FROM oauth_apps WHERE id = ?1", [app], |row| row.get(0)).unwrap()
}

/// Result of a connection under this app.
async fn connect_under(broker: &TestBroker, platform: &str, app: &str) -> String {
    let url = broker.begin(platform, &format!("{BACK}&appId={app}")).await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    parameter(&location, "error").or_else(|| parameter(&location, "status")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn client_secrets_do_not_move_and_a_new_one_mends_the_app() {
    let broker = TestBroker::start().await;
    let (twitter, acme, tiktok) =
        (own_app(&broker, "twitter").await, own_app(&broker, "acme").await, own_app(&broker, "tiktok").await);
    let (of_twitter, of_acme) = (secret(&broker, &twitter), secret(&broker, &acme));
    set_secret(&broker, &twitter, &of_acme);
    set_secret(&broker, &acme, &of_twitter);

    for (platform, app) in [("twitter", &twitter), ("acme", &acme)] {
        broker.sandbox().clear();
        assert_eq!(connect_under(&broker, platform, app).await, "storage_failed", "{platform}");
        assert!(broker.sandbox().requests_at(platform, Step::Token).is_empty(), "{platform}");
        // Requests that do not need the secret still work.
        assert_eq!(broker.get(&format!("/v1/apps/{app}")).await.status, 200);
        let renamed = broker.call("PATCH", &format!("/v1/apps/{app}"), Some(json!({"name": "Renamed"}))).await;
        assert_eq!((renamed.status, renamed.json["app"]["name"].as_str()), (200, Some("Renamed")));
        let (_, client_secret) = sandbox::own_client(platform).unwrap();
        let mended =
            broker.call("PATCH", &format!("/v1/apps/{app}"), Some(json!({"clientSecret": client_secret}))).await;
        assert_eq!(mended.status, 200, "{}", mended.text);
        assert_eq!(connect_under(&broker, platform, app).await, "success", "{platform}");
    }
    assert_eq!(connect_under(&broker, "tiktok", &tiktok).await, "success");

    // The old secret under the new generation.
    set_secret(&broker, &twitter, &of_twitter);
    assert_eq!(connect_under(&broker, "twitter", &twitter).await, "storage_failed");
    let gone = broker.get("/v1/connect/integrations?platform=twitter").await;
    let id = gone.json["integrations"][0]["id"].as_str().unwrap().to_owned();
    assert_refused(&broker, "twitter", &id).await;
    assert_eq!(broker.call("DELETE", &format!("/v1/apps/{twitter}"), None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_to_another_column() {
    let broker = TestBroker::start().await;
    let app = own_app(&broker, "twitter").await;
    let id = broker.connect("twitter", "").await;
    let (row, tokens, _) = grant(&broker, &id);
    let client_secret = secret(&broker, &app);
    let url = broker.begin("twitter", BACK).await;
    let callback = broker.consent(&url, &Answer::allow());
    let flow = broker.last_flow();
    let db = broker.sql();
    let verifier: Vec<u8> =
        db.query_row("SELECT pkce_verifier FROM flows WHERE id = ?1", [&flow], |row| row.get(0)).unwrap();

    set_secret(&broker, &app, &verifier);
    assert_eq!(connect_under(&broker, "twitter", &app).await, "storage_failed");
    set_secret(&broker, &app, &tokens);
    assert_eq!(connect_under(&broker, "twitter", &app).await, "storage_failed");
    db.execute("UPDATE flows SET pkce_verifier = ?2 WHERE id = ?1", params![flow, client_secret]).unwrap();
    let location = broker.browse(&callback).await.location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("storage_failed"));
    set_tokens(&broker, &row, &client_secret);
    assert_refused(&broker, "twitter", &id).await;
    set_secret(&broker, &app, &client_secret);
    assert_eq!(connect_under(&broker, "twitter", &app).await, "success", "back in its place it opens");
}

/// The same keyring, the same data key, the same row id: only the databases differ.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_to_another_database() {
    let (here, there) =
        (TestBroker::builder().seed(141).start().await, TestBroker::builder().seed(141).db_id(7).start().await);
    assert_eq!(here.keyring(), there.keyring());
    let (id, same_id) = (here.connect("twitter", "").await, there.connect("twitter", "").await);
    assert_eq!(id, same_id);
    let ((row, tokens, _), (same_row, others, _)) = (grant(&here, &id), grant(&there, &id));
    assert_eq!(row, same_row);
    set_tokens(&there, &row, &tokens);
    assert_refused(&there, "twitter", &id).await;
    assert_ne!(tokens, others);
    assert_intact(&here, "twitter", &id).await;

    // Control: in a database of the same name it opens.
    let twin = TestBroker::builder().seed(141).start().await;
    assert_eq!(twin.connect("twitter", "").await, id);
    set_tokens(&twin, &row, &tokens);
    let (message, _) = disconnect(&twin, "twitter", &id).await;
    assert!(message.contains("revoked the tokens"), "{message}");
}

/// The log line about a value that does not open, for each kind of change.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_does_not_open_and_why() {
    logs::capture();
    let broker = TestBroker::builder().seed(142).start().await;
    let mut told = Vec::new();
    for (at, byte) in [(0, 3), (4, 9), (60, 0)] {
        let url = broker.begin("twitter", BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        let flow = broker.last_flow();
        let db = broker.sql();
        let mut sealed: Vec<u8> =
            db.query_row("SELECT pkce_verifier FROM flows WHERE id = ?1", [&flow], |row| row.get(0)).unwrap();
        sealed[at] = if byte == 0 { !sealed[at] } else { byte };
        db.execute("UPDATE flows SET pkce_verifier = ?2 WHERE id = ?1", params![flow, sealed]).unwrap();
        broker.browse(&callback).await;
        let lines = logs::of_flow(&flow).into_iter().filter(|line| line.contains("cannot open"));
        told.extend(lines.map(|line| line.replace(&flow, "FLOW")));
    }
    let told = told.join("\n").replace(" (`postpeer doctor` lists all of them, and what to do)", "");
    insta::assert_snapshot!(told, @r"
    cannot open the PKCE verifier error=cannot open a sealed value: the sealed value in flows.pkce_verifier of row FLOW has version 3, which this version of postpeer does not know: was it written by a newer one?
    cannot open the PKCE verifier error=cannot open a sealed value: the sealed value in flows.pkce_verifier of row FLOW names data key 9, which this database does not have
    cannot open the PKCE verifier error=cannot open a sealed value: the sealed value in flows.pkce_verifier was rejected, in row FLOW: it was changed or truncated, or belongs to another row, generation, project, platform, app or database
    ");
}
