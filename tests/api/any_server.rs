//! A server on loopback that a test scripts: a closure answers each request, and all requests are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::stand_in::read;
use crate::support::{TestBroker, parameter};

/// A received request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    fn parse(head: &str, body: String) -> Self {
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap().split(' ').map(str::to_owned);
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            method: words.next().unwrap(),
            path: words.next().unwrap(),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A field of a form.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The names of a form's fields.
    pub(crate) fn fields(&self) -> Vec<String> {
        url::form_urlencoded::parse(self.body.as_bytes()).map(|(key, _)| key.into_owned()).collect()
    }
}

/// The server. Clones share their state.
#[derive(Clone)]
pub(crate) struct AnyServer {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl AnyServer {
    /// `answer` gets a request and the server's own URL, and returns the bytes of a whole answer.
    pub(crate) async fn start(answer: impl Fn(&Asked, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { url: format!("http://{}", listener.local_addr().unwrap()), asked: Arc::default() };
        let (server, answer) = (this.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (server, answer) = (server.clone(), answer.clone());
                tokio::spawn(async move {
                    let Some((head, body)) = read(&mut stream).await else { return };
                    let asked = Asked::parse(&head, body);
                    let bytes = answer(&asked, &server.url);
                    server.asked.lock().unwrap().push(asked);
                    // The client may have closed the connection.
                    drop(stream.write_all(&bytes).await);
                });
            }
        });
        this
    }

    /// The requests since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Begins a connection and comes back with these parameters of a callback, in which `{state}` is the state. Returns
/// the authorize URL and the final redirect.
pub(crate) async fn come_back(broker: &TestBroker, platform: &str, parameters: &str) -> (String, String) {
    let url = broker.begin(platform, "redirectUri=https://app.example/back").await;
    let state = parameter(&url, "state").unwrap_or_default();
    let parameters = parameters.replace("{state}", &state);
    let reply = broker.browse(&format!("{}/v1/connect/{platform}/callback?{parameters}", broker.url)).await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    (url, reply.location())
}
