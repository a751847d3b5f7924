//! What servers and clients sign: id_tokens, userinfo answers, and the assertions of a client with a private key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use postpeer::domain::time::{Clock as _, ManualClock};
use serde_json::{Value, json};

use crate::any_server::AnyServer;
use crate::keys::{self, ED25519_KEY, P256, P256_TOO, P384, RSA, jwk, part, token};
use crate::stand_in::{answer, json as found};
use crate::support::{TestBroker, parameter};

const CONFIGURATION: &str = "/.well-known/openid-configuration";

const OF_ANY_TENANT: &str = "/common/v2.0/.well-known/openid-configuration";

/// An OpenID provider, and what it answers with.
struct Provider {
    server: AnyServer,
    answers: Arc<Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    /// Members of its document in place of its own.
    document: Value,
    id_token: Option<String>,
    /// The client secret that the token endpoint takes; `None`: any.
    taken: Option<&'static str>,
    userinfo: Vec<u8>,
    keys: Vec<Value>,
    /// Time that passes before the keys are asked for.
    delay: Option<(Arc<ManualClock>, Duration)>,
}

impl Provider {
    async fn start(document: Value) -> Self {
        let answers = Arc::new(Mutex::new(Answers {
            document,
            userinfo: found(r#"{"sub":"u1","name":"Ada"}"#),
            keys: vec![jwk("ES256", P256, "k")],
            ..Answers::default()
        }));
        let shared = answers.clone();
        let server = AnyServer::start(move |asked, url| {
            let answers = shared.lock().unwrap();
            match asked.path.as_str() {
                CONFIGURATION | OF_ANY_TENANT => {
                    let mut document = json!({
                        "issuer": url,
                        "authorization_endpoint": format!("{url}/authorize"),
                        "token_endpoint": format!("{url}/token"),
                        "userinfo_endpoint": format!("{url}/userinfo"),
                        "revocation_endpoint": format!("{url}/revoke"),
                        "jwks_uri": format!("{url}/keys"),
                    });
                    for (name, value) in answers.document.as_object().unwrap() {
                        document[name] = value.clone();
                    }
                    found(&document.to_string())
                }
                "/token"
                    if answers.taken.is_some_and(|taken| asked.field("client_secret").as_deref() != Some(taken)) =>
                {
                    answer(401, "", br#"{"error":"invalid_client"}"#)
                }
                "/token" => {
                    let mut tokens = json!({"access_token": "a", "refresh_token": "r", "expires_in": 3600});
                    if let Some(id_token) = &answers.id_token {
                        tokens["id_token"] = id_token.as_str().into();
                    }
                    found(&tokens.to_string())
                }
                "/userinfo" => answers.userinfo.clone(),
                "/keys" => {
                    if let Some((clock, delay)) = &answers.delay {
                        clock.advance(*delay);
                    }
                    found(&json!({"keys": answers.keys}).to_string())
                }
                "/par" => answer(201, "", br#"{"request_uri":"urn:x:1","expires_in":60}"#),
                "/revoke" => found(""),
                _ => answer(404, "", b""),
            }
        })
        .await;
        Self { server, answers }
    }

    async fn broker(&self, more: &str) -> TestBroker {
        let url = &self.server.url;
        let lines = format!("[platforms.id]\nissuer = \"{url}\"\nclient_id = \"us\"\n{more}\n");
        TestBroker::builder().toml(&lines).start().await
    }

    fn set(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }

    /// Connects with an id_token that is made from usual claims. Returns the final redirect.
    async fn connect(&self, broker: &TestBroker, make: impl FnOnce(Value) -> Option<String>) -> String {
        let url = broker.begin("id", "redirectUri=https://app.example/back").await;
        let now = broker.clock.now().as_millis() / 1000;
        let claims = json!({
            "iss": self.server.url, "aud": "us", "sub": "u1", "nonce": parameter(&url, "nonce"), "iat": now,
            "exp": now + 600, "name": "Ada of the token",
        });
        let id_token = make(claims);
        self.set(|answers| answers.id_token = id_token);
        let state = parameter(&url, "state").unwrap();
        let reply = broker.browse(&format!("{}/v1/connect/id/callback?code=c&state={state}", broker.url)).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        reply.location()
    }

    fn paths(&self) -> Vec<String> {
        self.server.asked().into_iter().map(|asked| asked.path).collect()
    }
}

fn es256(claims: &Value) -> String {
    token(&json!({"alg": "ES256", "kid": "k"}), claims, |message| keys::sign("ES256", P256, message))
}

#[track_caller]
fn assert_connected(location: &str, what: &str) {
    assert_eq!(parameter(location, "status").as_deref(), Some("success"), "{what}: {location}");
}

#[track_caller]
fn assert_rejected(location: &str, what: &str) {
    assert_eq!(parameter(location, "error").as_deref(), Some("id_token_rejected"), "{what}: {location}");
}

/// Signs a message.
type Sign<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;

const SECRET: &str = "client_secret = \"secret\"";

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_must_prove_who_connected() {
    let provider = Provider::start(json!({})).await;
    let broker = provider.broker(SECRET).await;
    let now = broker.clock.now().as_millis() / 1000;
    for (member, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{}/", provider.server.url))),
        ("iss", json!([provider.server.url])),
        ("iss", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!(null)),
        ("azp", json!("other")),
        ("exp", json!(now - 61)),
        ("exp", json!("9999999999")),
        ("exp", json!(null)),
        ("iat", json!(now + 120)),
        ("nbf", json!(now + 120)),
        ("nonce", json!("another")),
        ("nonce", json!(null)),
        ("sub", json!("")),
        ("sub", json!(null)),
        ("sub", json!("somebody else than the userinfo says")),
    ] {
        provider.server.asked();
        let location = provider
            .connect(&broker, |mut claims| {
                claims[member] = value.clone();
                claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                Some(es256(&claims))
            })
            .await;
        assert_rejected(&location, &format!("{member} {value}"));
        assert_eq!(provider.paths().last().unwrap(), "/revoke", "the tokens are given back: {member} {value}");
    }
    // Last: tokens are not given back where another account may live on the same consent.
    for (member, value) in [
        ("aud", json!(["other", "us"])),
        ("azp", json!("us")),
        ("exp", json!(now - 59)),
        ("exp", json!(f64::from(600) + 0.5 + 1_777_797_216.0)),
        ("iat", json!(now + 59)),
        ("iat", json!(null)),
    ] {
        let location = provider
            .connect(&broker, |mut claims| {
                claims[member] = value.clone();
                claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                Some(es256(&claims))
            })
            .await;
        assert_connected(&location, &format!("{member} {value}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_of_any_tenant_names_its_own() {
    let provider = Provider::start(json!({})).await;
    let url = provider.server.url.clone();
    provider.set(|answers| answers.document = json!({"issuer": format!("{url}/{{tenantid}}/v2.0")}));
    let lines = |more: &str| {
        format!("[platforms.id]\npreset = \"microsoft\"\nissuer = \"{url}/common/v2.0\"\nclient_id = \"us\"\n{more}")
    };
    let broker = TestBroker::builder().toml(&lines(SECRET)).start().await;
    let of = |iss: &str, tid: Value| {
        let iss = format!("{url}/{iss}/v2.0");
        move |mut claims: Value| {
            (claims["iss"], claims["tid"]) = (iss.into(), tid);
            Some(es256(&claims))
        }
    };
    for (iss, tid) in [
        ("72f988bf", json!("9188040d")),
        ("72f988bf", Value::Null),
        ("{tenantid}", json!("{tenantid}")),
        ("common", json!("9188040d")),
        ("a/b", json!("a/b")),
    ] {
        assert_rejected(&provider.connect(&broker, of(iss, tid)).await, iss);
    }
    for tenant in ["72f988bf-86f1-41af", "9188040d-6c67-4c5b"] {
        assert_connected(&provider.connect(&broker, of(tenant, json!(tenant))).await, tenant);
    }

    let key = format!("private_key = \"\"\"{P256}\"\"\"");
    let broker = TestBroker::builder().toml(&lines(&key)).start().await;
    provider.server.asked();
    assert_connected(&provider.connect(&broker, of("9188040d", json!("9188040d"))).await, "a private key");
    let asked = provider.server.asked();
    let sent = asked.iter().find(|asked| asked.path == "/token").unwrap().field("client_assertion").unwrap();
    assert_eq!(part(&sent, 1)["aud"], json!(format!("{url}/token")), "the issuer is no server's name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_counts_only_by_a_published_key_and_its_algorithm() {
    let provider = Provider::start(json!({})).await;
    // RFC 9864.
    let mut by_curve = jwk("EdDSA", ED25519_KEY, "curve");
    by_curve["alg"] = "Ed25519".into();
    let mut for_encryption = jwk("ES256", P256_TOO, "enc");
    for_encryption["use"] = "enc".into();
    provider.set(|answers| {
        answers.keys = vec![
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}),
            json!({"kty": "EC", "crv": "secp256k1", "x": "x", "y": "y", "kid": "unknown kind"}),
            json!("no key"),
            jwk("ES256", P256, "k"),
            jwk("RS256", RSA, "rsa"),
            jwk("PS256", RSA, "pss"),
            jwk("ES384", P384, "p384"),
            jwk("EdDSA", ED25519_KEY, "ed"),
            by_curve,
            for_encryption,
        ];
    });
    let broker = provider.broker(SECRET).await;
    for (algorithm, pem, id) in [
        ("ES256", P256, Some("k")),
        ("RS256", RSA, Some("rsa")),
        ("PS256", RSA, Some("pss")),
        ("ES384", P384, Some("p384")),
        ("EdDSA", ED25519_KEY, Some("ed")),
        ("EdDSA", ED25519_KEY, Some("curve")),
        ("Ed25519", ED25519_KEY, Some("ed")),
        ("RS256", RSA, None),
    ] {
        let header = json!({"alg": algorithm, "kid": id, "typ": "JWT"});
        let made = |claims| Some(token(&header, &claims, |message| keys::sign(algorithm, pem, message)));
        assert_connected(&provider.connect(&broker, made).await, algorithm);
    }
    let public = keys::public("ES256", P256);
    let by = |algorithm: &'static str, pem: &'static str| -> Sign<'_> {
        Box::new(move |message| keys::sign(algorithm, pem, message))
    };
    let cases: Vec<(Value, Sign<'_>)> = vec![
        (json!({"alg": "none"}), Box::new(|_| Vec::new())),
        (json!({"alg": "none", "kid": "k"}), by("ES256", P256)),
        (json!({"alg": "HS256", "kid": "k"}), Box::new(|message| keys::hs256(&public, message))),
        (json!({"alg": "HS256", "kid": "oct"}), Box::new(|message| keys::hs256(b"secret", message))),
        (json!({"alg": "HS256"}), Box::new(|message| keys::hs256(b"secret", message))),
        (json!({"alg": "ES256", "kid": "k"}), Box::new(|_| vec![0; 64])),
        (json!({"alg": "ES256", "kid": "k"}), Box::new(|_| Vec::new())),
        (json!({"alg": "RS256", "kid": "pss"}), by("RS256", RSA)),
        (json!({"alg": "RS256", "kid": "k"}), by("RS256", RSA)),
        (json!({"alg": "ES256", "kid": "nobody's"}), by("ES256", P256)),
        (json!({"alg": "ES256", "kid": "enc"}), by("ES256", P256_TOO)),
        (json!({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": false}), by("ES256", P256)),
        (json!({"alg": "ES256", "jwk": jwk("ES256", P256, "k"), "kid": "x"}), by("ES256", P256)),
    ];
    for (header, sign) in cases {
        let location = provider.connect(&broker, |claims| Some(token(&header, &claims, &sign))).await;
        assert_rejected(&location, &header.to_string());
    }
    for broken in ["", "x", "a.b", "a.b.c", "a.b.c.d.e", "{}"] {
        let location = provider.connect(&broker, |_| Some(broken.to_owned())).await;
        let expected = if broken.is_empty() { None } else { Some("id_token_rejected") };
        assert_eq!(parameter(&location, "error").as_deref(), expected, "{broken:?}");
    }
    let log = "an id_token that nobody sent";
    assert_connected(&provider.connect(&broker, |_| None).await, log);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_again_for_an_unknown_one_and_once_more_within_a_minute() {
    let provider = Provider::start(json!({})).await;
    let broker = provider.broker(SECRET).await;
    let fetches = || provider.paths().into_iter().filter(|path| path == "/keys").count();
    let new = |claims| {
        Some(token(&json!({"alg": "RS256", "kid": "new"}), &claims, |message| keys::sign("RS256", RSA, message)))
    };
    assert_connected(&provider.connect(&broker, |claims| Some(es256(&claims))).await, "the first key");
    assert_connected(&provider.connect(&broker, |claims| Some(es256(&claims))).await, "the same again");
    assert_rejected(&provider.connect(&broker, new).await, "a key that is not published");
    assert_eq!(fetches(), 2);
    provider.set(|answers| answers.keys.push(jwk("RS256", RSA, "new")));
    assert_rejected(&provider.connect(&broker, new).await, "the next key, after one look too many");
    assert_eq!(fetches(), 0);
    broker.clock.advance(Duration::from_mins(1));
    assert_connected(&provider.connect(&broker, new).await, "the next key");
    assert_eq!(fetches(), 1);
    provider.set(|answers| answers.keys[1]["kid"] = "newest".into());
    let newest = |claims| {
        Some(token(&json!({"alg": "RS256", "kid": "newest"}), &claims, |message| keys::sign("RS256", RSA, message)))
    };
    assert_connected(&provider.connect(&broker, newest).await, "a key that came seconds after a look");
    assert_eq!(fetches(), 1);
    provider.set(|answers| answers.keys[1]["kid"] = "new".into());
    broker.clock.advance(Duration::from_mins(1));
    assert_connected(&provider.connect(&broker, new).await, "the key that is back");
    assert_eq!(fetches(), 1);
    provider.set(|answers| answers.keys.truncate(1));
    broker.clock.advance(Duration::from_mins(59));
    assert_connected(&provider.connect(&broker, new).await, "the key was not withdrawn an hour ago");
    broker.clock.advance(Duration::from_mins(1));
    assert_rejected(&provider.connect(&broker, new).await, "a key that was withdrawn an hour ago");
    assert_eq!(fetches(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_again_where_none_of_those_known_verifies() {
    for id in [Some("k"), None] {
        let provider = Provider::start(json!({})).await;
        let broker = provider.broker(SECRET).await;
        let published = |pem: &str| {
            let mut key = jwk("ES256", pem, "k");
            key["kid"] = json!(id);
            vec![key]
        };
        let by = |pem: &'static str| {
            let header = json!({"alg": "ES256", "kid": id});
            move |claims| Some(token(&header, &claims, |message| keys::sign("ES256", pem, message)))
        };
        provider.set(|answers| answers.keys = published(P256));
        assert_connected(&provider.connect(&broker, by(P256)).await, "the first key");
        provider.set(|answers| answers.keys = published(P256_TOO));
        assert_connected(&provider.connect(&broker, by(P256_TOO)).await, "another key in its place");
        provider.set(|answers| answers.keys = published(P256));
        assert_rejected(&provider.connect(&broker, by(P256)).await, "one look too many within a minute");
        broker.clock.advance(Duration::from_mins(1));
        assert_connected(&provider.connect(&broker, by(P256)).await, "the first key again");
        assert_eq!(provider.paths().into_iter().filter(|path| path == "/keys").count(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_may_be_a_number_in_the_userinfo() {
    let provider = Provider::start(json!({})).await;
    let broker = provider.broker(SECRET).await;
    provider.set(|answers| answers.userinfo = found(r#"{"sub":123,"name":"Ada"}"#));
    for (sub, is_right) in [("123", true), ("124", false)] {
        let of = |mut claims: Value| {
            claims["sub"] = sub.into();
            Some(es256(&claims))
        };
        let location = provider.connect(&broker, of).await;
        if is_right { assert_connected(&location, sub) } else { assert_rejected(&location, sub) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_names_the_account_where_no_call_does() {
    let provider = Provider::start(json!({"userinfo_endpoint": null, "scopes_supported": ["openid"]})).await;
    let broker = provider.broker(SECRET).await;
    let location = provider.connect(&broker, |claims| Some(es256(&claims))).await;
    let detail = broker.detail(&parameter(&location, "integrationId").unwrap()).await;
    assert_eq!((&detail["platformUserId"], &detail["displayName"]), (&json!("u1"), &json!("Ada of the token")));
    assert_eq!(provider.paths(), [CONFIGURATION, "/token", "/keys"]);
    assert_rejected(&provider.connect(&broker, |_| None).await, "no id_token");

    // It counts that the token was good when it came.
    let provider = Provider::start(json!({"userinfo_endpoint": null})).await;
    let broker = provider.broker(SECRET).await;
    provider.set(|answers| answers.delay = Some((broker.clock.clone(), Duration::from_mins(20))));
    assert_connected(&provider.connect(&broker, |claims| Some(es256(&claims))).await, "read twenty minutes later");

    // Where the operator says so, and a server announces signatures by the client's secret.
    let provider = Provider::start(json!({"id_token_signing_alg_values_supported": ["RS256", "HS256"]})).await;
    let broker =
        provider.broker(&format!("{SECRET}\nidentity_from = \"id_token\"\nidentity = {{ id = \"/sub\" }}")).await;
    for (secret, is_right) in [("secret", true), ("other", false)] {
        let made =
            |claims| Some(token(&json!({"alg": "HS256"}), &claims, |message| keys::hs256(secret.as_bytes(), message)));
        let location = provider.connect(&broker, made).await;
        if is_right { assert_connected(&location, secret) } else { assert_rejected(&location, secret) }
    }
    assert!(!provider.paths().contains(&"/userinfo".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_by_a_secret_is_one_by_the_secret_that_the_server_takes() {
    let provider = Provider::start(json!({"id_token_signing_alg_values_supported": ["RS256", "HS256"]})).await;
    provider.set(|answers| answers.taken = Some("old"));
    let secrets = "client_secrets = [\"new\", \"old\"]\nclient_auth = \"body\"";
    let broker =
        provider.broker(&format!("{secrets}\nidentity_from = \"id_token\"\nidentity = {{ id = \"/sub\" }}")).await;
    for (secret, is_right) in [("old", true), ("new", false), ("other", false)] {
        let made =
            |claims| Some(token(&json!({"alg": "HS256"}), &claims, |message| keys::hs256(secret.as_bytes(), message)));
        let location = provider.connect(&broker, made).await;
        if is_right { assert_connected(&location, secret) } else { assert_rejected(&location, secret) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_userinfo_answer_is_verified() {
    let provider = Provider::start(json!({})).await;
    let broker = provider.broker(SECRET).await;
    let jwt = |token: &str| answer(200, "Content-Type: application/jwt\r\n", token.as_bytes());
    for (claims, is_right) in [
        (json!({"sub": "u1", "name": "Signed"}), true),
        (json!({"sub": "u1", "iss": provider.server.url, "aud": "us"}), true),
        (json!({"sub": "u1", "iss": "https://evil.example", "aud": "us"}), false),
        (json!({"sub": "u1", "iss": provider.server.url, "aud": "other"}), false),
        (json!({"sub": "u2"}), false),
    ] {
        provider.set(|answers| answers.userinfo = jwt(&es256(&claims)));
        let location = provider.connect(&broker, |claims| Some(es256(&claims))).await;
        if is_right {
            assert_connected(&location, &claims.to_string());
        } else {
            assert_rejected(&location, &claims.to_string());
        }
    }
    let unsigned = token(&json!({"alg": "none"}), &json!({"sub": "u1"}), |_| vec![1]);
    provider.set(|answers| answers.userinfo = jwt(&unsigned));
    assert_rejected(&provider.connect(&broker, |claims| Some(es256(&claims))).await, "a signature that is none");
}

/// The claims with these bytes in place of the string `?`.
fn with_bytes(claims: &Value, bytes: &[u8]) -> String {
    let text = claims.to_string();
    let (before, after) = text.split_once("\"?\"").unwrap();
    let claims = [before.as_bytes(), bytes, after.as_bytes()].concat();
    keys::token_of(&json!({"alg": "ES256", "kid": "k"}), claims, |message| keys::sign("ES256", P256, message))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_in_a_claim_that_nobody_needs_costs_nothing() {
    let provider = Provider::start(json!({})).await;
    let broker = provider.broker(SECRET).await;
    let jwt = |token: &str| answer(200, "Content-Type: application/jwt\r\n", token.as_bytes());
    let defects: [&[u8]; 6] =
        [br#""half \ud83d""#, b"\"Zo\xeb\"", b"1e999", b"123456789012345678901234567890", b"NaN", b"\"a\tb\""];
    for bytes in defects {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let usual = found(r#"{"sub":"u1","name":"Ada"}"#);
        provider.set(|answers| answers.userinfo = usual);
        let with_defect = |member: &'static str| {
            move |mut claims: Value| {
                claims[member] = "?".into();
                Some(with_bytes(&claims, bytes))
            }
        };
        assert_connected(&provider.connect(&broker, with_defect("bio")).await, &shown);
        // The claims that are checked are as strict as ever.
        for member in ["iss", "aud", "azp", "exp", "nonce", "sub"] {
            assert_rejected(&provider.connect(&broker, with_defect(member)).await, &format!("{member} {shown}"));
        }
        let userinfo = with_bytes(&json!({"sub": "u1", "name": "?", "bio": "x"}), bytes);
        provider.set(|answers| answers.userinfo = jwt(&userinfo));
        assert_connected(&provider.connect(&broker, |claims| Some(es256(&claims))).await, &shown);
        // A signature of other bytes, which are read alike.
        let (message, signature) = userinfo.rsplit_once('.').unwrap();
        let altered = message.replace(&message[message.len() - 4..], &keys::base64url(" }\n"));
        provider.set(|answers| answers.userinfo = jwt(&format!("{altered}.{signature}")));
        assert_rejected(&provider.connect(&broker, |claims| Some(es256(&claims))).await, &shown);
    }
    for no_claims in ["", "{", "x", "\u{0}"] {
        let made = |_| {
            Some(keys::token_of(&json!({"alg": "ES256", "kid": "k"}), no_claims, |message| {
                keys::sign("ES256", P256, message)
            }))
        };
        assert_rejected(&provider.connect(&broker, made).await, no_claims);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_private_key_signs_a_new_assertion_each_time() {
    for (algorithm, pem, more) in [
        ("RS256", RSA, "client_auth = \"private_key_jwt\""),
        ("PS256", RSA, "private_key_algorithm = \"PS256\"\nprivate_key_audience = \"https://aud.example\""),
        ("ES256", P256, "private_key_id = \"key 1\""),
        ("ES384", P384, ""),
        ("EdDSA", ED25519_KEY, ""),
    ] {
        let provider = Provider::start(json!({})).await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.pem");
        std::fs::write(&file, pem).unwrap();
        let broker = provider.broker(&format!("private_key_file = \"{}\"\n{more}", file.display())).await;
        let location = provider.connect(&broker, |claims| Some(es256(&claims))).await;
        assert_connected(&location, algorithm);
        broker.clock.advance(Duration::from_hours(1));
        assert_eq!(broker.refresh_due().await, 1);
        let id = parameter(&location, "integrationId").unwrap();
        assert_eq!(broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await.status, 200);
        let asked: Vec<_> = provider
            .server
            .asked()
            .into_iter()
            .filter(|asked| ["/token", "/revoke"].contains(&asked.path.as_str()))
            .collect();
        assert_eq!(asked.len(), 3, "{algorithm}");
        let mut ids = Vec::new();
        for asked in &asked {
            let assertion = asked.field("client_assertion").unwrap();
            assert!(keys::verifies(algorithm, pem, &assertion), "{algorithm}");
            let (header, claims) = (part(&assertion, 0), part(&assertion, 1));
            let kid = more.contains("key 1").then_some("key 1");
            assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some(algorithm), kid));
            let audience = if more.contains("aud.example") { "https://aud.example" } else { &provider.server.url };
            assert_eq!(
                (&claims["iss"], &claims["sub"], &claims["aud"]),
                (&json!("us"), &json!("us"), &json!(audience))
            );
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
            ids.push(claims["jti"].as_str().unwrap().to_owned());
            assert_eq!(asked.header("authorization"), "");
            assert_eq!(asked.field("client_secret"), None);
            assert_eq!(
                asked.field("client_assertion_type").as_deref(),
                Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            );
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3, "{algorithm}: each assertion is used once");
        let shown = format!("{:?}", broker.config());
        assert!(!shown.contains(pem.lines().nth(1).unwrap()) && shown.contains("PrivateKey("), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_pushed_where_the_server_requires_it() {
    let required = json!({"require_pushed_authorization_requests": true});
    for (members, more, is_pushed) in [
        (required.clone(), SECRET, true),
        (required.clone(), "client_secret = \"secret\"\nclient_auth = \"body\"", true),
        (required.clone(), "client_auth = \"none\"", true),
        (required, "client_secret = \"secret\"\npar = false", false),
        (json!({}), "client_secret = \"secret\"\npar = true", true),
        (json!({}), SECRET, false),
    ] {
        let provider = Provider::start(members).await;
        let url = provider.server.url.clone();
        provider.set(|answers| answers.document["pushed_authorization_request_endpoint"] = format!("{url}/par").into());
        let broker = provider.broker(more).await;
        let begun = broker.begin("id", "").await;
        let asked = provider.server.asked();
        assert_eq!(asked.len(), 1 + usize::from(is_pushed), "{more}");
        if !is_pushed {
            assert!(parameter(&begun, "state").is_some(), "{begun}");
            continue;
        }
        assert_eq!(begun, format!("{url}/authorize?client_id=us&request_uri=urn%3Ax%3A1"));
        let mut fields = asked[1].fields();
        fields.sort();
        let mut expected = vec![
            "client_id",
            "code_challenge",
            "code_challenge_method",
            "nonce",
            "prompt",
            "redirect_uri",
            "response_type",
            "scope",
            "state",
        ];
        if more.contains("body") {
            expected.insert(1, "client_secret");
        }
        expected.sort_unstable();
        assert_eq!(fields, expected, "{more}");
        let is_basic = asked[1].header("authorization").starts_with("Basic ");
        assert_eq!(is_basic, !more.contains("client_auth"), "{more}");
        let state = asked[1].field("state").unwrap();
        let reply = broker.browse(&format!("{}/v1/connect/id/callback?code=c&state={state}", broker.url)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(provider.paths().contains(&"/token".to_owned()), "{more}");
    }
}

/// The operator's `prompt`, and the broker's own way to be answered, take the place of those in the URL.
#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_request_is_whole_whatever_the_servers_own_url_says() {
    let pick = "client_secret = \"secret\"\nauthorize_params = { prompt = \"consent\" }";
    for (query, kept, more) in [
        ("prompt=login&tenant=7", "tenant=7&", pick),
        ("response_mode=form_post", "", SECRET),
        ("response_mode=form_post&state=x&tenant=7", "tenant=7&", SECRET),
        ("tenant=7", "tenant=7&", SECRET),
    ] {
        let provider = Provider::start(json!({"require_pushed_authorization_requests": true})).await;
        let url = provider.server.url.clone();
        provider.set(|answers| {
            answers.document["pushed_authorization_request_endpoint"] = format!("{url}/par").into();
            answers.document["authorization_endpoint"] = format!("{url}/authorize?{query}").into();
        });
        let broker = provider.broker(more).await;
        let begun = broker.begin("id", "").await;
        assert_eq!(begun, format!("{url}/authorize?{kept}client_id=us&request_uri=urn%3Ax%3A1"), "{query}");
        let pushed = provider.server.asked().pop().unwrap();
        assert_eq!(pushed.field("response_type").as_deref(), Some("code"), "{query}");
        assert_eq!(pushed.field("client_id").as_deref(), Some("us"), "{query}");
        assert_eq!(pushed.field("tenant"), None, "{query}");
        assert_eq!(pushed.fields().len(), 9, "{query}: {:?}", pushed.fields());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_fails_begins_nothing() {
    let provider = Provider::start(json!({"require_pushed_authorization_requests": true})).await;
    let url = provider.server.url.clone();
    provider.set(|answers| answers.document["pushed_authorization_request_endpoint"] = format!("{url}/nowhere").into());
    let broker = provider.broker(SECRET).await;
    let refused = broker.get("/v1/connect/id").await;
    assert_eq!((refused.status, refused.code()), (502, "platform_unavailable"));
    assert_eq!(refused.json["error"], "id answered in a way that could not be understood.");
    let flows: u32 = broker.sql().query_row("SELECT count(*) FROM flows", [], |row| row.get(0)).unwrap();
    assert_eq!(flows, 0);
}
