//! A platform that answers from a script.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::domain::account::Identity;
use crate::domain::entropy::SeededEntropy;
use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::platform_error::PlatformError;
use crate::domain::proxy::Proxies;
use crate::domain::secret::SecretString;
use crate::domain::time::{ManualClock, Timestamp};
use crate::oauth::Engine;
use crate::outbound::{Dns, Guard, Outbound, Roots, Settings};
use crate::platforms::registry::Settings as PlatformSettings;
use crate::platforms::{Credentials, Platform, Registry};

/// A platform that answers each path and query from a script, and records the requests.
pub(super) struct Script {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// `answer`: returns status and body for a path with its query. A text is sent as it is.
    pub(super) fn start(answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        // Waits for connections until the process ends.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                let Some(target) = request.split(' ').nth(1) else { continue };
                let (status, body) = answer(target);
                log.lock().unwrap().push(request.clone());
                let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { url, asked }
    }

    /// The requests with their heads.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.asked().iter().map(|request| request.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    fn platform(&self, name: &str) -> Platform {
        let settings = PlatformSettings { api_url: Some(self.url.clone()), ..PlatformSettings::default() };
        let registry = Registry::new(BTreeMap::from([(name.to_owned(), settings)]), Vec::new());
        registry.find(name).unwrap().platform().clone()
    }

    pub(super) async fn identify(&self, name: &str, scopes: &[&str]) -> Result<Identity, PlatformError> {
        let settings = Settings {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            allow_private_networks: false,
            roots: Roots::default(),
            proxies: Proxies::default(),
        };
        let (outbound, guard) = (Outbound::new(&settings).unwrap(), Guard::new(&settings, Dns::system()).unwrap());
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let engine = Engine::new(outbound, guard, clock, Arc::new(SeededEntropy::new(1)), Duration::ZERO);
        let platform = self.platform(name);
        let client_secret = SecretString::from("secret");
        let credentials =
            Credentials { client_id: "app".to_owned(), client_secret, older_secrets: Vec::new(), private_key: None };
        let issued = IssuedTokens {
            tokens: TokenSet {
                access_token: SecretString::from("user-token"),
                refresh_token: None,
                id_token: None,
                token_type: "Bearer".to_owned(),
                service_url: None,
            },
            issued_at: Timestamp::from_millis(0),
            access_expires_at: None,
            refresh_expires_at: None,
            scopes: Some(scopes),
        };
        engine.client(&platform, credentials).identify(&issued, "").await
    }
}
