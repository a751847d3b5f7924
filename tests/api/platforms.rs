//! Every platform's dialogue with the broker, word for word: where the person is sent, what the platform is asked, what
//! comes of it, and how each refusal is told.
//!
//! A file per platform. Authorize URLs are those of the real platforms, built from nothing but credentials; requests
//! are those that the sandbox received. What differs from run to run is named in brackets, and a secret by what it is,
//! so that a token in the wrong place is seen.

mod accounts;
mod acme;
mod callbacks;
mod credentials;
mod instagram;
mod linkedin;
mod pinterest;
mod threads;
mod tiktok;
mod twitter;
mod youtube;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postpeer::config::{self, Environment};
use postpeer::domain::entropy::SeededEntropy;
use postpeer::domain::secret::random_token;
use postpeer::oauth::{AuthorizeRequest, authorize_url, takes_pkce};
use postpeer::platforms::BUILT_IN;
use postpeer::sandbox::{self, Answer, Fault, Recorded, Step, TokenKind};
use sha2::{Digest as _, Sha256};

use crate::logs;
use crate::support::{TestBroker, parameter};

const BACK: &str = "redirectUri=https://app.example/back";

/// A platform of the operator's own.
const ACME: &str = r#"
[platforms.acme]
client_id = "our-client"
client_secret = "our-secret"
authorize_url = "https://id.acme.example/auth?tenant=7"
token_url = "https://id.acme.example/token"
identity_url = "https://id.acme.example/me"
scopes = ["openid", "profile", "offline_access"]
client_auth = "basic"
pkce = "s256"
authorize_params = { prompt = "consent" }
identity = { id = "/sub", username = "/preferred_username", name = "/name", image = "/picture" }
"#;

/// The settings of an operator who has an app at each platform and changes nothing else.
fn operator() -> String {
    let app = |name: &str| format!("[platforms.{name}]\nclient_id = \"our-client\"\nclient_secret = \"our-secret\"\n");
    BUILT_IN.iter().map(|definition| app(&definition().name)).collect::<String>() + ACME
}

/// The authorize URL at the real platform, a parameter per line.
fn authorize(platform: &str, public_url: &str) -> String {
    let config = config::from_str("test", &operator(), Path::new("/"), &Environment::default(), &[]).unwrap();
    let configured = config.platforms.find(platform).unwrap();
    let entropy = SeededEntropy::new(1);
    let (state, verifier) = (random_token(&entropy), random_token(&entropy));
    let redirect_uri = format!("{public_url}/v1/connect/{platform}/callback");
    let request = AuthorizeRequest {
        client_id: &configured.credentials.as_ref().unwrap().client_id,
        redirect_uri: &redirect_uri,
        state: &state,
        pkce_verifier: takes_pkce(&configured.platform, &redirect_uri).then_some(&verifier),
    };
    let url = authorize_url(&configured.platform, &request).unwrap();
    url.as_str().replace('?', "\n  ?").replace('&', "\n  &")
}

/// One connection and its end at the sandbox.
struct Dialogue {
    /// What the platform was asked, in order.
    requests: String,
    /// The integration as callers see it.
    integration: String,
    /// What the caller is told at its end.
    disconnected: String,
}

/// Connects the first account of that platform, looks at it, and disconnects it.
async fn dialogue(platform: &str) -> Dialogue {
    let broker = TestBroker::start().await;
    let url = broker.begin(platform, BACK).await;
    let reply = broker.browse(&broker.consent(&url, &Answer::allow())).await;
    let location = broker.land(platform, reply.location()).await;
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await.json;
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    let integration = serde_json::to_string_pretty(&detail["integration"]).unwrap();
    let requests = broker.sandbox().requests();
    let asked = requests.iter().filter(|request| request.step != Step::Authorize);
    Dialogue {
        requests: asked.map(|request| render(&broker, &url, request)).collect::<Vec<_>>().join("\n"),
        integration: named(&broker, platform, &integration).replace(&id, "[id]"),
        disconnected: gone.json["message"].as_str().unwrap().to_owned(),
    }
}

/// A request as a platform received it: what it is for, headers, parameters of the query and of the body.
pub(crate) fn render(broker: &TestBroker, authorize_url: &str, request: &Recorded) -> String {
    assert!(request.why.is_none() && request.status.is_some_and(|status| status / 100 == 2), "{request:?}");
    let mut lines = vec![format!("{}: {} {}", request.step, request.method, request.path)];
    for (name, value) in &request.headers {
        let value = match value.strip_prefix("Basic ") {
            Some(basic) => format!("Basic base64({})", String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap()),
            None => value.clone(),
        };
        let value = match value.split_once("boundary=") {
            Some((kind, _)) => format!("{kind}boundary=[boundary]"),
            None => value.replace(env!("CARGO_PKG_VERSION"), "[version]"),
        };
        lines.push(format!("  {name}: {value}"));
    }
    for (mark, pairs) in [('?', &request.query), ('=', &request.form)] {
        for (name, value) in pairs {
            let value = if name == "code_verifier" {
                assert_fits(value, authorize_url);
                "[verifier]"
            } else {
                value
            };
            lines.push(format!("  {mark} {name}: {value}"));
        }
    }
    named(broker, request.platform, &(lines.join("\n") + "\n"))
}

/// The verifier is the one whose challenge was in the authorize URL.
fn assert_fits(verifier: &str, authorize_url: &str) {
    assert!((43..=128).contains(&verifier.len()), "{verifier}");
    assert!(!authorize_url.contains(verifier));
    let digest = Sha256::digest(verifier.as_bytes());
    let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let challenge = parameter(authorize_url, "code_challenge").unwrap();
    assert!([URL_SAFE_NO_PAD.encode(digest), hex].contains(&challenge), "{challenge}");
}

/// Names what differs from run to run, and secrets by what they are.
fn named(broker: &TestBroker, platform: &str, text: &str) -> String {
    let mut text = text.replace(&broker.url, "[broker]").replace(broker.sandbox_url(), "[sandbox]");
    for issued in broker.sandbox().issued(platform) {
        let name = match issued.kind {
            TokenKind::Access => "[access token]",
            TokenKind::Code => "[code]",
            TokenKind::Id => "[id token]",
            TokenKind::LongLived => "[long-lived token]",
            TokenKind::Page => "[page token]",
            TokenKind::Refresh => "[refresh token]",
        };
        text = text.replace(&issued.value, name);
    }
    // Bluesky has no clients.
    let Ok((id, secret)) = sandbox::client(platform) else { return text };
    text.replace(&secret, "[client secret]").replace(&id, "[client id]")
}

/// How this platform's troubles end, a line each: what went wrong, the code that the caller gets, and what is logged.
async fn troubles(platform: &str, seed: u64, faults: &[(Step, Fault)]) -> String {
    logs::capture();
    let broker = TestBroker::builder().seed(seed).start().await;
    let mut lines = Vec::new();
    for (step, fault) in faults {
        let url = broker.begin(platform, BACK).await;
        let callback = broker.consent(&url, &Answer::allow());
        // As often as the broker asks at all.
        broker.sandbox().fail_next(platform, *step, *fault, 3).unwrap();
        lines.push(format!("{step} {}: {}", fault.into_str(), ending(&broker, &callback).await));
        broker.sandbox().clear();
    }
    assert_eq!(broker.get("/v1/connect/integrations?include=custom").await.json["total"], 0, "{platform}");
    lines.join("\n")
}

/// The code that the caller gets for this callback, and what the operator reads of it.
async fn ending(broker: &TestBroker, callback: &str) -> String {
    let reply = broker.browse(callback).await;
    let location = reply.location();
    let told = ["error", "status"].iter().find_map(|name| parameter(&location, name));
    let told = told.unwrap_or_else(|| "a page to choose on".to_owned());
    let logged = logs::of_flow(&broker.last_flow());
    let logged =
        logged.iter().filter(|line| !line.starts_with("connection begun") && !line.starts_with("connection ended"));
    let logged: Vec<&str> = logged.map(String::as_str).collect();
    format!("{told}\n    {}", logged.join("\n    ").replace(broker.sandbox_url(), "[sandbox]"))
}
