//! Connecting Bluesky accounts by app password: success, wrong passwords, hostile servers, servers that hang.

use std::fmt::Write as _;
use std::time::Duration;

use postpeer::domain::access_key::Scope;
use serde_json::{Value, json};

use crate::atproto::{APP_PASSWORD, OWN_PASSWORD, World, did};
use crate::dns::DnsServer;
use crate::logs;
use crate::support::{Builder, Reply, TestBroker, parameter};

const CREATE: &str = "/pds/1/com.atproto.server.createSession";
const DELETE: &str = "/pds/1/com.atproto.server.deleteSession";
const REFRESH: &str = "/pds/1/com.atproto.server.refreshSession";
const SERVER_PROFILE: &str = "/pds/1/app.bsky.actor.getProfile";
const VIEW_PROFILE: &str = "/view/app.bsky.actor.getProfile";
const RESOLVE: &str = "/view/com.atproto.identity.resolveHandle";

fn builder(world: &World) -> Builder {
    TestBroker::builder()
        .setting("POSTPEER_PLATFORMS__BLUESKY__RESOLVER_URL", &format!("{}/view", world.url))
        .setting("POSTPEER_PLATFORMS__BLUESKY__PLC_URL", &format!("{}/plc/", world.url))
        .setting("POSTPEER_OUTBOUND__ALLOW_PRIVATE_NETWORKS", "true")
}

async fn start(world: &World) -> TestBroker {
    builder(world).start().await
}

async fn connect(broker: &TestBroker, identifier: &str, password: &str) -> Reply {
    connect_with(broker, "", identifier, password).await
}

async fn connect_with(broker: &TestBroker, query: &str, identifier: &str, password: &str) -> Reply {
    let body = json!({"identifier": identifier, "password": password});
    broker.call("POST", &format!("/v1/connect/bluesky/auth{query}"), Some(body)).await
}

fn id(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json["integration"]["id"].as_str().unwrap().to_owned()
}

/// Every row of grants and integrations, as stored.
fn rows(broker: &TestBroker) -> String {
    let db = rusqlite::Connection::open(broker.dir.path().join("postpeer.db")).unwrap();
    let mut text = String::new();
    for table in ["grants", "integrations"] {
        let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                write!(text, "{:?};", row.get_ref(column).unwrap()).unwrap();
            }
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_connects_by_handle_in_any_form_and_by_did() {
    let world = World::start();
    let broker = start(&world).await;
    let made = broker.call("POST", "/v1/profiles", Some(json!({"name": "one"}))).await;
    let profile = made.json["profile"]["id"].as_str().unwrap().to_owned();
    let query = format!("?redirectUri=https://app.example/back%3Fnonce%3D1&headless=true&profileId={profile}");
    let reply = connect_with(&broker, &query, "alice.test", APP_PASSWORD).await;
    let first = id(&reply);
    assert_eq!(reply.json["success"], true);
    assert!(reply.json["message"].as_str().unwrap().contains("Alice of the server"), "{}", reply.text);
    let back = reply.json["redirectUri"].as_str().unwrap();
    assert!(back.starts_with("https://app.example/back?nonce=1&status=success&platform=bluesky&"), "{back}");
    assert_eq!(parameter(back, "integrationId").as_deref(), Some(first.as_str()));
    assert_eq!(parameter(back, "profileId").as_deref(), Some(profile.as_str()));

    let integration = &reply.json["integration"];
    assert_eq!(integration["platform"], "bluesky");
    assert_eq!(integration["platformUserId"], did('a').as_str());
    assert_eq!(integration["username"], "@alice.test");
    assert_eq!(integration["displayName"], "Alice of the server");
    assert_eq!(integration["profileUrl"], "https://bsky.app/profile/alice.test");
    assert_eq!(integration["imageUrl"], "https://cdn.example/a.jpg");
    assert_eq!(integration["platformMetadata"], json!({"did": did('a'), "serviceUrl": world.pds[0]}));
    assert_eq!((&integration["appId"], &integration["byok"]), (&Value::Null, &json!(false)));

    let detail = broker.get(&format!("/v1/connect/integrations/{first}")).await.json;
    assert_eq!(detail["integration"]["scopes"], json!(["com.atproto.appPass"]));
    assert_eq!(detail["integration"]["accessTokenExpiresAt"], "2026-05-03T10:33:36.000Z");
    assert_eq!(
        detail["integration"]["tokenStatus"],
        json!({"valid": true, "autoRefreshes": true, "reconnectRequired": false, "reason": null})
    );
    let sent = &world.asked(CREATE)[0];
    assert_eq!(sent.body, json!({"identifier": did('a'), "password": APP_PASSWORD}));
    assert_eq!(sent.authorization, "");

    for typed in [" @Alice.TEST ", "\u{202a}@alice.test\u{202c}", "at://alice.test", &did('a')] {
        broker.clock.advance(Duration::from_mins(5));
        let reply = connect_with(&broker, &query, typed, APP_PASSWORD).await;
        assert_eq!(id(&reply), first, "{typed:?}");
        assert_eq!(reply.json["integration"]["username"], "@alice.test", "{typed:?}");
    }
    let elsewhere = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_ne!(id(&elsewhere), first, "another profile, another integration");
    assert!(elsewhere.json.get("redirectUri").is_none());

    for secret in [APP_PASSWORD, "marker-1", "marker-6", "e30."] {
        let bytes = broker.database();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is in the database");
        for text in [&reply.text, &elsewhere.text, &detail.to_string()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_identifier_is_rejected_before_any_call() {
    let world = World::start();
    let broker = start(&world).await;
    for (typed, hint) in [
        ("", "empty"),
        ("alice", "alice.bsky.social"),
        ("alice@mail.example.com", "e-mail"),
        ("https://bsky.app/profile/alice.test", "URL"),
        ("handle.invalid", "no handle can have"),
        ("alice.localhost", "no handle can have"),
        ("al ice.test", "not a handle"),
        ("did:key:z6Mk", "did:plc"),
        ("did:plc:nonsense", "did:plc"),
    ] {
        let reply = connect(&broker, typed, APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_identifier"), "{typed}: {}", reply.text);
        assert!(reply.text.contains(hint), "{typed}: {}", reply.text);
    }
    assert!(world.asked(RESOLVE).is_empty() && world.asked("/plc").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_rejected() {
    let world = World::start();
    let broker = start(&world).await;
    let path = "/v1/connect/bluesky/auth";
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!({"identifier": "alice.test"}), 400, "invalid_request"),
        (json!({"identifier": "alice.test", "password": ""}), 400, "invalid_request"),
        (json!({"identifier": "alice.test", "password": "a\u{0}b"}), 400, "invalid_request"),
        (json!({"identifier": "alice.test", "password": "x".repeat(600)}), 400, "invalid_request"),
        (json!({"identifier": 7, "password": "x"}), 400, "invalid_request"),
        (json!({"identifier": "alice.test", "password": "x", "service": "http://10.0.0.1"}), 400, "invalid_request"),
        (json!({"identifier": "a".repeat(8200), "password": "x"}), 413, "body_too_large"),
        (json!(["alice.test", "x"]), 400, "invalid_json"),
    ] {
        let reply = broker.call("POST", path, Some(body.clone())).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{body}: {}", reply.text);
    }
    let made = broker
        .call(
            "POST",
            "/v1/apps",
            Some(json!({"platform": "pinterest", "name": "x", "clientId": "y", "clientSecret": "z"})),
        )
        .await;
    let app = made.json["app"]["id"].as_str().unwrap();
    for (query, status, code) in [
        ("?redirectUri=http://evil.example/".to_owned(), 400, "redirect_not_allowed"),
        ("?cancelRedirectUri=javascript:x".to_owned(), 400, "redirect_not_allowed"),
        ("?server=mastodon.social".to_owned(), 400, "invalid_parameter"),
        ("?headless=maybe".to_owned(), 400, "invalid_parameter"),
        ("?profileId=prof_0".to_owned(), 404, "profile_not_found"),
        ("?appId=app_0".to_owned(), 404, "app_not_found"),
        (format!("?appId={app}"), 400, "app_platform_mismatch"),
    ] {
        let reply = connect_with(&broker, &query, "alice.test", APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{query}: {}", reply.text);
    }
    let reader = broker.key("default", &[Scope::Read, Scope::Manage]).await;
    let body = json!({"identifier": "alice.test", "password": APP_PASSWORD});
    let reply = broker.call_as(&reader, "POST", path, Some(body.clone())).await;
    assert_eq!((reply.status, reply.code()), (403, "insufficient_scope"));
    let reply = broker.call_as("ppk_x", "POST", path, Some(body)).await;
    assert_eq!((reply.status, reply.code()), (401, "invalid_access_key"));
    assert!(world.asked(CREATE).is_empty());

    let off = builder(&world).setting("POSTPEER_PLATFORMS__BLUESKY__ENABLED", "false").start().await;
    let reply = connect(&off, "alice.test", APP_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (403, "platform_not_available"), "{}", reply.text);
    assert_eq!(reply.json["error"], "Bluesky is switched off here.");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_the_accounts_server_has_its_own_error() {
    type Case<'a> = (&'a str, u16, Value, u16, &'a str);
    let cases: [Case<'_>; 12] = [
        ("wrong", 401, json!({"error": "AuthenticationRequired"}), 401, "bluesky_credentials_rejected"),
        ("second factor", 401, json!({"error": "AuthFactorTokenRequired"}), 400, "app_password_required"),
        ("taken down", 401, json!({"error": "AccountTakedown"}), 400, "account_inactive"),
        ("slow down", 429, json!({"error": "RateLimitExceeded"}), 429, "too_many_attempts"),
        ("error", 500, json!({"error": "InternalServerError"}), 502, "pds_unreachable"),
        ("maintenance", 503, json!({}), 502, "pds_unreachable"),
        ("malformed", 400, json!({"error": "InvalidRequest"}), 401, "bluesky_credentials_rejected"),
        ("redirect", 302, json!({}), 502, "pds_unreachable"),
        ("no JSON", 200, json!("<html>"), 502, "pds_unreachable"),
        ("no tokens", 200, json!({"did": did('a')}), 502, "pds_unreachable"),
        ("null", 200, json!(null), 502, "pds_unreachable"),
        (
            "tokens of another type",
            200,
            json!({"did": did('a'), "accessJwt": 1, "refreshJwt": 2}),
            502,
            "pds_unreachable",
        ),
    ];
    for (why, status, body, told, code) in cases {
        let world = World::start();
        world.answer(CREATE, status, &body);
        let broker = start(&world).await;
        let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (told, code), "{why}: {}", reply.text);
        assert!(!reply.text.contains(APP_PASSWORD));
        assert_eq!(world.asked(CREATE).len(), 1, "{why}: a password is sent once");
        assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);
        if told == 429 {
            assert_eq!(reply.header("retry-after"), "300");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_own_password_is_rejected_and_its_session_ended() {
    let world = World::start();
    let broker = start(&world).await;
    let reply = connect(&broker, "alice.test", OWN_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (400, "app_password_required"), "{}", reply.text);
    assert!(reply.text.contains("app password"), "{}", reply.text);
    let ended = world.asked(DELETE);
    assert_eq!(ended.len(), 1);
    let token = ended[0].authorization.strip_prefix("Bearer ").unwrap();
    assert!(token.contains("marker-1") && claims(token)["scope"] == "com.atproto.refresh", "the refresh token ends it");
    assert_eq!(rows(&broker), "");
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_scope_is_accepted() {
    let world = World::start();
    world.alice(|alice| alice.scope = "org.example.own");
    let broker = start(&world).await;
    let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
    let detail = broker.get(&format!("/v1/connect/integrations/{}", id(&reply))).await;
    assert_eq!(detail.json["integration"]["scopes"], json!(["org.example.own"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_account_is_not_connected() {
    for (status, word) in [
        (json!("deactivated"), "deactivated"),
        (json!("suspended"), "suspended"),
        (json!("takendown"), "taken down"),
        (json!("desynchronized"), "not active"),
        (json!(null), "not active"),
    ] {
        let world = World::start();
        world.alice(|alice| alice.session = json!({"active": false, "status": status}));
        let broker = start(&world).await;
        let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (400, "account_inactive"), "{}", reply.text);
        assert!(reply.text.contains(word), "{}", reply.text);
        assert_eq!(world.asked(DELETE).len(), 1, "the session is not left behind");
        assert_eq!(rows(&broker), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_for_another_account_changes_nothing() {
    let world = World::start();
    world.add(did('m'), "mallory.test");
    let broker = start(&world).await;
    id(&connect(&broker, "alice.test", APP_PASSWORD).await);
    id(&connect(&broker, "mallory.test", APP_PASSWORD).await);
    let before = rows(&broker);
    assert!(!before.is_empty());
    broker.clock.advance(Duration::from_mins(1));
    // Mallory's own server claims that Mallory's session is Alice's.
    world.answer(
        CREATE,
        200,
        &json!({"did": did('a'), "handle": "alice.test", "accessJwt": "evil", "refreshJwt": "evil", "active": true}),
    );
    let reply = connect(&broker, "mallory.test", APP_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (502, "did_mismatch"), "{}", reply.text);
    assert_eq!(rows(&broker), before);
}

/// No setting of the operator's changes how a session is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_after_an_unreadable_answer_is_its_owners_to_connect_again() {
    let world = World::start();
    let broker = start(&world).await;
    let id = id(&connect(&broker, "alice.test", APP_PASSWORD).await);
    for (status, answer) in [
        (200, json!({"accessJwt": "unread", "refreshJwt": "unread"})),
        (400, json!({"error": "ExpiredToken", "message": "Token has been revoked"})),
    ] {
        broker.clock.advance(Duration::from_hours(2));
        world.answer(REFRESH, status, &answer);
        assert_eq!(broker.refresh_due().await, 0);
    }
    assert_eq!(world.asked(REFRESH).len(), 2);
    let told = broker.detail(&id).await["health"]["lastError"].clone();
    assert_eq!(
        (&told["code"], &told["whoCanHelp"]),
        (&json!("refresh_interrupted"), &json!("account_owner")),
        "{told}"
    );
    assert!(!told.to_string().contains("token_pointer"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_counts_only_when_its_identity_claims_it() {
    let world = World::start();
    let broker = start(&world).await;
    world.alice(|alice| alice.claims = vec!["at://somebody.test".to_owned(), "https://alice.test".to_owned()]);
    let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (502, "identity_unresolved"), "{}", reply.text);
    assert!(world.asked(CREATE).is_empty());
    // The DID connects the same account, without a name that could be trusted.
    let reply = connect(&broker, &did('a'), APP_PASSWORD).await;
    id(&reply);
    assert_eq!(reply.json["integration"]["username"], Value::Null);
    assert_eq!(reply.json["integration"]["profileUrl"], format!("https://bsky.app/profile/{}", did('a')));
    // Several claims are fine.
    world.alice(|alice| alice.claims = vec!["at://other.test".to_owned(), "at://Alice.test".to_owned()]);
    id(&connect(&broker, "alice.test", APP_PASSWORD).await);
}

/// Two identities claim the handle, and it leads to the one that was not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_did_is_signed_in_as_itself_wherever_its_handle_leads() {
    let world = World::start();
    world.add(did('b'), "alice.test");
    let dns = DnsServer::start();
    dns.texts("_atproto.alice.test", &[&format!("did={}", did('b'))]);
    let broker = builder(&world).dns(dns.address).start().await;
    let reply = connect(&broker, &did('a'), APP_PASSWORD).await;
    id(&reply);
    let integration = &reply.json["integration"];
    assert_eq!((&integration["platformUserId"], &integration["username"]), (&json!(did('a')), &Value::Null));
    let sent: Vec<Value> = world.asked(CREATE).into_iter().map(|asked| asked.body["identifier"].clone()).collect();
    assert_eq!(sent, [json!(did('a'))], "no other account gets the password");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_identity_is_told_apart_from_an_unreachable_one() {
    let world = World::start();
    let broker = start(&world).await;
    let unresolved = |reply: Reply, hint: &str| {
        assert_eq!((reply.status, reply.code()), (502, "identity_unresolved"), "{}", reply.text);
        assert!(reply.text.contains(hint), "{}", reply.text);
    };
    unresolved(connect(&broker, "nobody.test", APP_PASSWORD).await, "no account with this handle");
    unresolved(connect(&broker, &did('z'), APP_PASSWORD).await, "no account with this identity");
    for (document, hint) in [
        (json!({"id": did('b'), "service": []}), "which server"),
        (json!({"id": did('a'), "alsoKnownAs": ["at://alice.test"]}), "which server"),
        (json!([]), "which server"),
    ] {
        broker.clock.advance(Duration::from_mins(5));
        world.answer("/plc", 200, &document);
        unresolved(connect(&broker, &did('a'), APP_PASSWORD).await, hint);
    }
    world.answer("/plc", 503, &json!({}));
    unresolved(connect(&broker, &did('a'), APP_PASSWORD).await, "did not answer");
    world.answer("/plc", 410, &json!({}));
    unresolved(connect(&broker, &did('a'), APP_PASSWORD).await, "no account with this identity");
    world.answer_again("/plc");
    world.alice(|alice| alice.endpoint = Some("http://127.0.0.1:1".to_owned()));
    let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (502, "pds_unreachable"), "{}", reply.text);
    assert!(world.asked(CREATE).is_empty());
}

/// Otherwise the people of a broker whose firewall lets it reach no resolver are told all day that they mistype.
#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_nobody_could_be_asked_about_is_not_called_misspelt() {
    logs::capture();
    let world = World::start();
    let broker = start(&world).await;
    for (status, body) in [
        (503, "{}"),
        (500, r#"{"error":"InternalServerError"}"#),
        (429, r#"{"error":"RateLimitExceeded"}"#),
        (200, "<html>"),
        (400, "<html>"),
        (403, "{}"),
        (404, r#"{"error":"XRPCNotSupported"}"#),
    ] {
        world.answer_text(RESOLVE, status, body);
        let handle = format!("away{status}-{}.test", body.len());
        let reply = connect(&broker, &handle, APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (502, "identity_unresolved"), "{status}: {}", reply.text);
        assert!(reply.text.contains("did not answer"), "{status} {body}: {}", reply.text);
    }
    let log = logs::text();
    let told = log.lines().find(|line| line.contains("cannot look up an account of Bluesky")).unwrap();
    assert!(told.contains("WARN") && told.contains("the resolver cannot be asked"), "{told}");
    for (status, body) in [
        (400, r#"{"error":"InvalidRequest","message":"Unable to resolve handle"}"#),
        (400, r#"{"error":"HandleNotFound"}"#),
        (404, r#"{"error":"HandleNotFound"}"#),
    ] {
        world.answer_text(RESOLVE, status, body);
        let reply = connect(&broker, "nobody.test", APP_PASSWORD).await;
        assert!(reply.text.contains("no account with this handle"), "{status} {body}: {}", reply.text);
    }

    // Nor does the account lose its name.
    world.answer_again(RESOLVE);
    let first = id(&connect(&broker, "alice.test", APP_PASSWORD).await);
    world.answer_text(RESOLVE, 503, "{}");
    let reply = connect(&broker, &did('a'), APP_PASSWORD).await;
    assert_eq!(id(&reply), first);
    assert_eq!(reply.json["integration"]["username"], "@alice.test", "{}", reply.text);
    assert_eq!(reply.json["integration"]["profileUrl"], "https://bsky.app/profile/alice.test");
    world.answer(RESOLVE, 400, &json!({"error": "HandleNotFound"}));
    let reply = connect(&broker, &did('a'), APP_PASSWORD).await;
    assert_eq!(reply.json["integration"]["username"], Value::Null, "it leads nowhere now");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_public_are_not_called() {
    let world = World::start();
    world.add(did('b'), "alice.bsky.social");
    let broker = builder(&world).setting("POSTPEER_OUTBOUND__ALLOW_PRIVATE_NETWORKS", "false").start().await;
    for identifier in
        ["did:web:127.0.0.1", "did:web:localhost", "did:web:2130706433", "did:web:pds.internal", "did:web:a.com%3A8443"]
    {
        let reply = connect(&broker, identifier, APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (400, "unsafe_host"), "{identifier}: {}", reply.text);
    }
    // The operator's directory may be anywhere. The host that it names is the account's choice.
    let reply = connect(&broker, "alice.bsky.social", APP_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (400, "unsafe_host"), "{}", reply.text);
    assert_eq!(connect(&broker, "alice.test", APP_PASSWORD).await.code(), "invalid_identifier");
    assert!(world.asked(CREATE).is_empty() && world.asked("/web").is_empty());

    let dns = DnsServer::start();
    dns.addresses("pds.example.com", &[&["127.0.0.1"]]).addresses("mixed.example.com", &[&["8.8.8.8", "::1"]]);
    let broker =
        builder(&world).setting("POSTPEER_OUTBOUND__ALLOW_PRIVATE_NETWORKS", "false").dns(dns.address).start().await;
    for identifier in ["did:web:pds.example.com", "did:web:mixed.example.com"] {
        let reply = connect(&broker, identifier, APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (400, "unsafe_host"), "{identifier}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_attempt_must_wait() {
    let world = World::start();
    let broker = start(&world).await;
    for attempt in 0..5 {
        let reply = connect(&broker, "alice.test", "wrong-wrong-wrong-wron").await;
        assert_eq!((reply.status, reply.code()), (401, "bluesky_credentials_rejected"), "{attempt}");
        broker.clock.advance(Duration::from_secs(1));
    }
    for identifier in ["alice.test", "@ALICE.test", &did('a')] {
        let reply = connect(&broker, identifier, APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (429, "too_many_attempts"), "{identifier}: {}", reply.text);
        assert_eq!(reply.header("retry-after"), "295", "{identifier}");
    }
    assert_eq!(world.asked(CREATE).len(), 5);
    world.add(did('b'), "bob.test");
    id(&connect(&broker, "bob.test", APP_PASSWORD).await);
    broker.clock.advance(Duration::from_secs(295));
    id(&connect(&broker, "alice.test", APP_PASSWORD).await);
}

/// Otherwise a resolver that is away for a moment, or another project, keeps the account's person from connecting it.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_without_a_sign_in_does_not_count() {
    let world = World::start();
    let broker = start(&world).await;
    world.answer("/plc", 503, &json!({}));
    for attempt in 0..6 {
        for identifier in ["alice.test", &did('a')] {
            let reply = connect(&broker, identifier, "wrong-wrong-wrong-wron").await;
            assert_eq!((reply.status, reply.code()), (502, "identity_unresolved"), "{attempt}: {}", reply.text);
        }
    }
    world.answer_again("/plc");
    id(&connect(&broker, "alice.test", APP_PASSWORD).await);
}

/// Nobody's password was tried, so nobody was locked out, and the caller learns the true cause.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_does_not_lock_its_people_out() {
    let world = World::start();
    let broker = start(&world).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.alice(|account| account.endpoint = Some(format!("http://{closed}")));
    for attempt in 0..10 {
        let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
        assert_eq!((reply.status, reply.code()), (502, "pds_unreachable"), "{attempt}: {}", reply.text);
    }
    world.alice(|account| account.endpoint = None);
    for attempt in 0..5 {
        let reply = connect(&broker, "alice.test", "wrong-wrong-wrong-wron").await;
        assert_eq!((reply.status, reply.code()), (401, "bluesky_credentials_rejected"), "{attempt}: {}", reply.text);
    }
    assert_eq!(connect(&broker, "alice.test", APP_PASSWORD).await.status, 429, "what was sent counts");

    broker.clock.advance(Duration::from_mins(5));
    world.alice(|account| account.endpoint = Some(format!("http://{closed}")));
    for attempt in 0..30 {
        assert_eq!(connect(&broker, "alice.test", APP_PASSWORD).await.status, 502, "{attempt}");
    }
    let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (429, "too_many_attempts"), "a host cannot be probed without end");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_limited_per_caller_across_accounts() {
    let world = World::start();
    let broker = start(&world).await;
    world.answer(RESOLVE, 400, &json!({}));
    let mut told = Vec::new();
    for number in 0..101 {
        told.push(connect(&broker, &format!("a{number}.test"), "x").await.status);
    }
    assert!(told[..100].iter().all(|status| *status == 502), "{told:?}");
    assert_eq!(told[100], 429);
    let other = broker.key("default", Scope::ALL).await;
    let body = json!({"identifier": "a.test", "password": "x"});
    let reply = broker.call_as(&other, "POST", "/v1/connect/bluesky/auth", Some(body)).await;
    assert_eq!(reply.status, 502, "another key has its own share");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hanging_place_does_not_block_the_others() {
    // DNS does not answer, so the handle's web server is not found either. The resolver knows the handle.
    let world = World::start();
    let dns = DnsServer::start();
    dns.silent("_atproto.alice.test").silent("alice.test");
    let broker = builder(&world).dns(dns.address).start().await;
    id(&connect(&broker, "alice.test", APP_PASSWORD).await);

    // The resolver does not answer. DNS knows the handle.
    let world = World::start();
    world.hang(RESOLVE);
    let dns = DnsServer::start();
    dns.texts("_atproto.alice.test", &[&format!("did={}", did('a')), "v=spf1 -all"]).silent("alice.test");
    let broker = builder(&world).dns(dns.address).start().await;
    id(&connect(&broker, "alice.test", APP_PASSWORD).await);
    assert_eq!(world.asked(CREATE).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_wins_unless_its_answer_is_ambiguous() {
    // Two identities claim one handle. The resolver names the first.
    let world = World::start();
    world.add(did('b'), "alice.test");
    let [a, b] = ['a', 'b'].map(|letter| format!("did={}", did(letter)));
    for (texts, expected) in [
        (&[b.as_str()][..], 'b'),
        (&[&b, "v=spf1 -all"], 'b'),
        (&[&b, &a], 'a'),
        (&[&b, &b], 'a'),
        (&["did=nonsense"], 'a'),
        (&["hello"], 'a'),
        (&[], 'a'),
    ] {
        let dns = DnsServer::start();
        dns.texts("_atproto.alice.test", texts);
        let broker = builder(&world).dns(dns.address).start().await;
        let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
        id(&reply);
        assert_eq!(reply.json["integration"]["platformUserId"], did(expected).as_str(), "{texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_a_did_is_fetched_once() {
    let world = World::start();
    let broker = start(&world).await;
    let reply = connect(&broker, &did('a'), APP_PASSWORD).await;
    id(&reply);
    assert_eq!(reply.json["integration"]["username"], "@alice.test");
    assert_eq!((world.asked("/plc").len(), world.asked(RESOLVE).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_server_is_given_up() {
    let world = World::start();
    world.hang(CREATE);
    let broker = builder(&world).setting("POSTPEER_OUTBOUND__TIMEOUT_SECONDS", "1").start().await;
    let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_eq!((reply.status, reply.code()), (502, "pds_unreachable"), "{}", reply.text);
    assert_eq!(world.asked(CREATE).len(), 1);
    assert_eq!(rows(&broker), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_caller_does_not_cancel_the_connection() {
    use tokio::io::AsyncWriteExt as _;
    let world = World::start();
    let broker = start(&world).await;
    world.hang(CREATE);
    let body = json!({"identifier": "alice.test", "password": APP_PASSWORD}).to_string();
    let address = broker.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/connect/bluesky/auth HTTP/1.1\r\nhost: x\r\nx-access-key: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        broker.key,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    world.held(CREATE).await;
    // Resets the connection instead of closing it.
    stream.set_zero_linger().unwrap();
    drop(stream);
    world.release(CREATE);
    assert!(broker.broker().drain(Duration::from_secs(30)).await);
    assert_eq!(broker.get("/v1/connect/integrations?platform=bluesky").await.json["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_stored_is_ended() {
    let world = World::start();
    let broker = start(&world).await;
    let made = broker.call("POST", "/v1/profiles", Some(json!({"name": "one"}))).await;
    let profile = made.json["profile"]["id"].as_str().unwrap().to_owned();
    world.hang(CREATE);
    let db = rusqlite::Connection::open(broker.dir.path().join("postpeer.db")).unwrap();
    let connecting = async {
        let query = format!("?profileId={profile}");
        connect_with(&broker, &query, "alice.test", APP_PASSWORD).await
    };
    let meanwhile = async {
        world.held(CREATE).await;
        db.execute_batch("CREATE TRIGGER no BEFORE INSERT ON grants BEGIN SELECT RAISE(FAIL, 'no'); END").unwrap();
        world.release(CREATE);
    };
    let (reply, ()) = tokio::join!(connecting, meanwhile);
    assert_eq!(reply.status, 500, "{}", reply.text);
    assert_eq!(world.asked(DELETE).len(), 1);
    assert_eq!(rows(&broker), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_comes_from_one_of_three_places_or_none() {
    let world = World::start();
    let broker = start(&world).await;
    for (failing, name) in [
        (&[][..], "Alice of the server"),
        (&[SERVER_PROFILE], "Alice of the view"),
        (&[SERVER_PROFILE, VIEW_PROFILE], "Alice of the record"),
        (&[SERVER_PROFILE, VIEW_PROFILE, "/pds/1/com.atproto.repo.getRecord"], "alice.test"),
    ] {
        broker.clock.advance(Duration::from_mins(5));
        for what in failing {
            world.answer(what, 501, &json!({"error": "MethodNotImplemented"}));
        }
        let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
        id(&reply);
        let integration = &reply.json["integration"];
        assert_eq!(integration["displayName"], name, "{failing:?}");
        assert_eq!(integration["username"], "@alice.test");
        if name.ends_with("record") {
            let picture = format!("{}/xrpc/com.atproto.sync.getBlob?did={}&cid=bafkrei", world.pds[0], did('a'));
            assert_eq!(integration["imageUrl"], picture.replace("did:plc:", "did%3Aplc%3A").as_str());
        }
    }
    // The public view never receives the token.
    assert!(world.asked(VIEW_PROFILE).iter().all(|asked| asked.authorization.is_empty()));
    // Another account's profile is ignored.
    broker.clock.advance(Duration::from_mins(5));
    world.answer(SERVER_PROFILE, 200, &json!({"did": did('z'), "displayName": "Mallory"}));
    let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_eq!(reply.json["integration"]["displayName"], "alice.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_identity_connects() {
    let world = World::start();
    let host = world.url.strip_prefix("http://").unwrap().replace(':', "%3A");
    world.alice(|alice| alice.did = format!("did:web:{host}"));
    let broker = start(&world).await;
    let by_handle = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_eq!(by_handle.json["integration"]["platformUserId"], format!("did:web:{host}"), "{}", by_handle.text);
    let by_did = connect(&broker, &format!("did:web:{host}"), APP_PASSWORD).await;
    assert_eq!(id(&by_did), id(&by_handle));
    assert!(world.asked("/plc").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moved_connects_at_its_new_server() {
    let world = World::start();
    let broker = start(&world).await;
    let first = id(&connect(&broker, "alice.test", APP_PASSWORD).await);
    world.alice(|alice| alice.server = 2);
    let reply = connect(&broker, "alice.test", APP_PASSWORD).await;
    assert_eq!(id(&reply), first);
    assert_eq!(reply.json["integration"]["platformMetadata"]["serviceUrl"], world.pds[1].as_str());
    assert_eq!(world.asked("/pds/2/com.atproto.server.createSession").len(), 1);

    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{first}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let ended = world.asked("/pds/2/com.atproto.server.deleteSession");
    assert_eq!(ended.len(), 1);
    let token = ended[0].authorization.strip_prefix("Bearer ").unwrap();
    assert_eq!((&claims(token)["scope"], &claims(token)["jti"]), (&json!("com.atproto.refresh"), &json!(2)));
    assert_eq!(rows(&broker), "");
    assert!(broker.broker().drain(Duration::from_secs(30)).await);
    let ended = world.asked(DELETE);
    assert_eq!(ended.len(), 1, "the session before is ended where it was");
    assert_eq!(claims(ended[0].authorization.strip_prefix("Bearer ").unwrap())["jti"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnecting_erases_the_tokens_whatever_the_server_answers() {
    for (status, confirmed) in [(200, true), (500, false), (401, false)] {
        let world = World::start();
        let broker = start(&world).await;
        let integration = id(&connect(&broker, "alice.test", APP_PASSWORD).await);
        world.answer(DELETE, status, &json!({}));
        let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{integration}"), None).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
        assert_eq!(gone.text.contains("did not confirm"), !confirmed, "{}", gone.text);
        assert_eq!(world.asked(DELETE).len(), 1);
        assert_eq!(rows(&broker), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bluesky_is_listed_and_has_no_redirect() {
    let world = World::start();
    let broker = start(&world).await;
    let listed = broker.get("/v1/platforms").await.json;
    let bluesky =
        listed["platforms"].as_array().unwrap().iter().find(|platform| platform["name"] == "bluesky").unwrap();
    assert_eq!(bluesky["status"], "prod");
    let reply = broker.get("/v1/connect/bluesky").await;
    assert_eq!((reply.status, reply.code()), (403, "platform_not_available"));
    assert!(reply.text.contains("POST /v1/connect/bluesky/auth"), "{}", reply.text);
}
