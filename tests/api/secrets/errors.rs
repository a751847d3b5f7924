//! Errors of the OAuth engine and of its HTTP client. They are shown and logged with all causes, and must not contain
//! anything from the request or the answer.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postpeer::domain::account::Identity;
use postpeer::domain::entropy::SeededEntropy;
use postpeer::domain::grant::IssuedTokens;
use postpeer::domain::platform_error::PlatformError;
use postpeer::domain::proxy::Proxies;
use postpeer::domain::secret::{SecretString, random_token};
use postpeer::domain::time::SystemClock;
use postpeer::oauth::{AuthorizeRequest, CodeExchange, Engine, authorize_url, takes_pkce};
use postpeer::outbound::{self, Dns, Guard, Outbound};
use postpeer::platforms::{Credentials, Platform, Revocation};
use postpeer::sandbox::{self, Answer, Control, Fault, Step};
use serde_json::json;

use super::assert_silent;
use super::needles::Needles;
use crate::any_server::{AnyServer, come_back};
use crate::logs;
use crate::stand_in;
use crate::support::{TestBroker, expose, parameter};

const CALLBACK: &str = "http://127.0.0.1:9/callback";

/// One platform and its credentials.
struct Bench {
    engine: Engine,
    control: Control,
    platform: Platform,
    credentials: Credentials,
    entropy: SeededEntropy,
    needles: Needles,
    texts: Vec<String>,
}

impl Bench {
    /// A fresh code and its verifier.
    fn code(&mut self) -> (SecretString, Option<SecretString>) {
        let state = random_token(&self.entropy);
        let verifier = takes_pkce(&self.platform, CALLBACK).then(|| random_token(&self.entropy));
        let request = AuthorizeRequest {
            client_id: &self.credentials.client_id,
            redirect_uri: CALLBACK,
            state: &state,
            scopes: &self.platform.requested_scopes(None).unwrap(),
            pkce_verifier: verifier.as_ref(),
            nonce: "",
        };
        let url = authorize_url(&self.platform, &request).unwrap();
        let callback = self.control.consent(url.as_str(), &Answer::allow()).unwrap();
        let code = parameter(&callback, "code").unwrap();
        self.needles.add("code", code.as_bytes());
        if let Some(verifier) = &verifier {
            self.needles.add("verifier", expose(verifier).as_bytes());
        }
        (SecretString::from(code), verifier)
    }

    async fn exchange(&mut self, platform: &Platform) -> Result<IssuedTokens, PlatformError> {
        let (code, verifier) = self.code();
        let exchange = CodeExchange { code: &code, redirect_uri: CALLBACK, pkce_verifier: verifier.as_ref() };
        let client = self.engine.client(platform, self.credentials.clone());
        let answer = client.send_code(&exchange).await?;
        client.finish_exchange(&answer.body, answer.sent_at).await
    }

    async fn identify(&self, platform: &Platform, issued: &IssuedTokens) -> Result<Identity, PlatformError> {
        self.engine.client(platform, self.credentials.clone()).identify(issued, "").await
    }

    /// Records everything that an error can show.
    fn tell<T>(&mut self, result: Result<T, PlatformError>) {
        let Err(error) = result else { return };
        let mut text = format!("{error} {error:?} {error:#?} {}", error.next_step(None));
        let mut source = error.source();
        while let Some(inner) = source {
            write!(text, " {inner} {inner:?} {inner:#?}").unwrap();
            source = inner.source();
        }
        self.texts.push(text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_of_the_engine_repeats_what_was_sent_or_answered() {
    let broker = TestBroker::start().await;
    let timeouts = outbound::Settings {
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        allow_private_networks: false,
        roots: outbound::Roots::default(),
        proxies: Proxies::default(),
    };
    let engine = Engine::new(
        Outbound::new(&timeouts).unwrap(),
        Guard::new(&timeouts, Dns::system()).unwrap(),
        Arc::new(SystemClock),
        Arc::new(SeededEntropy::new(6)),
        Duration::ZERO,
    );
    let config = broker.config();
    for name in sandbox::platforms() {
        let configured = config.platforms.find(name).unwrap();
        let mut bench = Bench {
            engine: engine.clone(),
            control: broker.sandbox(),
            platform: configured.platform().clone(),
            credentials: configured.credentials.clone().unwrap(),
            entropy: SeededEntropy::new(5),
            needles: Needles::default(),
            texts: Vec::new(),
        };
        let platform = bench.platform.clone();
        bench.needles.add("client secret", expose(&bench.credentials.client_secret).as_bytes());
        for fault in Fault::ALL.into_iter().filter(|fault| !matches!(fault, Fault::Slow(_))) {
            for step in [Step::Token, Step::LongLived, Step::Inspect] {
                bench.control.fail_next(name, step, fault, 3).unwrap();
                let result = bench.exchange(&platform).await;
                bench.tell(result);
                bench.control.clear();
            }
            let issued = bench.exchange(&platform).await.unwrap();
            bench.control.fail_next(name, Step::Identity, fault, 3).unwrap();
            let result = bench.identify(&platform, &issued).await;
            bench.tell(result);
            bench.control.fail_next(name, Step::Revoke, fault, 1).unwrap();
            let result = bench.engine.client(&platform, bench.credentials.clone()).revoke(&issued.tokens).await;
            bench.tell(result);
            bench.control.clear();
        }
        // No server answers. Such an error knows the URL, and some URLs contain a token.
        let mut nowhere = platform.clone();
        nowhere.token_url = "http://127.0.0.1:1/token".into();
        nowhere.api_url = "http://127.0.0.1:1".into();
        nowhere.identity.call.path =
            nowhere.identity.call.path.replace(broker.sandbox_url(), "http://127.0.0.1:1").into();
        if let Revocation::Endpoint { url, .. } = &mut nowhere.revocation {
            *url = "http://127.0.0.1:1/revoke".into();
        }
        let issued = bench.exchange(&platform).await.unwrap();
        let result = bench.exchange(&nowhere).await;
        assert!(result.is_err());
        bench.tell(result);
        nowhere.token_url = platform.token_url.clone();
        let result = bench.exchange(&nowhere).await;
        bench.tell(result);
        let result = bench.identify(&nowhere, &issued).await;
        assert!(result.is_err());
        bench.tell(result);
        let result = bench.engine.client(&nowhere, bench.credentials.clone()).revoke(&issued.tokens).await;
        bench.tell(result);

        for issued in bench.control.issued(name) {
            bench.needles.add(&format!("{:?}", issued.kind), issued.value.as_bytes());
        }
        assert!(bench.texts.len() >= 20, "{name}: {}", bench.texts.len());
        for text in &bench.texts {
            assert_silent(&bench.needles, text, text.as_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_platform_repeats_in_its_refusal_is_not_logged() {
    const ACCESS: &str = "access-that-the-platform-repeats-91b7";
    const REFRESH: &str = "refresh-that-the-platform-repeats-e024";
    logs::capture();
    let is_refusing = Arc::new(AtomicBool::new(true));
    let refuses = is_refusing.clone();
    let server = AnyServer::start(move |asked, _| {
        let refusal = |sent: &str| {
            let told = json!({"error": sent, "error_description": format!("{sent} was not understood")});
            stand_in::answer(403, "Content-Type: application/json\r\n", told.to_string().as_bytes())
        };
        match asked.path.as_str() {
            "/token" => stand_in::json(&json!({"access_token": ACCESS, "refresh_token": REFRESH}).to_string()),
            "/me" if refuses.load(Ordering::SeqCst) => {
                refusal(asked.header("authorization").trim_start_matches("Bearer "))
            }
            "/me" => stand_in::json(r#"{"sub":"1"}"#),
            _ => refusal(&asked.field("token").unwrap_or_default()),
        }
    })
    .await;
    let toml = format!(
        "[platforms.own]\nclient_id = \"id\"\nclient_secret = \"s\"\nauthorize_url = \"{url}/authorize\"\n\
         token_url = \"{url}/token\"\nidentity_url = \"{url}/me\"\nidentity = {{ id = \"/sub\" }}\n\
         revoke_url = \"{url}/revoke\"",
        url = server.url
    );
    let broker = TestBroker::builder().toml(&toml).start().await;
    let (_, location) = come_back(&broker, "own", "code=c&state={state}").await;
    assert_eq!(parameter(&location, "status").as_deref(), Some("error"), "{location}");
    is_refusing.store(false, Ordering::SeqCst);
    let (_, location) = come_back(&broker, "own", "code=c&state={state}").await;
    let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}"));
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let paths: Vec<String> = server.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths.iter().filter(|path| *path == "/revoke").count(), 2, "{paths:?}");
    let log = logs::text();
    for token in [ACCESS, REFRESH] {
        assert!(!log.contains(token), "{token} is logged");
    }
}
