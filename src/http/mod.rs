//! The web server's application: the JSON API in [`api`], the HTML pages in [`pages`], the operator's in [`console`],
//! and the table of [`routes`] that lists them all.
//!
//! A new route is a handler in a file of `api` or `pages`, a line in [`routes`], and, unless only the demo has it, a
//! line in [`openapi`]. This room knows the broker's use cases and the domain, nothing below them. Actix and askama are
//! used here only (and in `sandbox`; actix in `server` as well).
//!
//! Where the public URL has a path, every route is served at the root and below that path, because some proxies strip
//! it and some do not. What the broker tells a browser carries the path.
//!
//! Invariant: every response passes through [`envelope`], which adds a request id and the security headers, and every
//! route is in the table, which says who may call it. Prometheus reads from a separate application on a separate
//! listener: [`metrics`].

mod access;
mod api;
mod console;
mod context;
mod dispatch;
mod envelope;
pub mod error;
mod live;
mod meters;
pub mod metrics;
pub mod openapi;
mod pages;
mod refusal;
mod request;
pub mod routes;
mod slices;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix_web::App;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};

pub(crate) use self::context::Current;
use self::dispatch::{Dispatch, Resources};
pub use self::live::Live;
use self::pages::documentation::Rendered;
use self::pages::look::Looks;
use self::request::BodyRoom;
use crate::broker::{Broker, Caller};
use crate::domain::entropy::Entropy;
use crate::domain::identity::Identities;
use crate::domain::network::Network;

/// Settings of the HTTP layer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The broker's own URL, with its path and without a trailing slash.
    pub public_url: String,
    /// Time that a client has to send a request body.
    pub body_deadline: Duration,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
    /// Who asks for accounts, as the pages say it.
    pub pages: Identities,
    pub connections: ConnectionLimits,
    /// Most bytes of request bodies that are being read, in all.
    pub bodies: usize,
    pub console: Console,
    /// Serves the demo's page at `/`; `None` outside `postpeer demo`.
    pub demo: Option<Demo>,
}

/// Where the operator's pages are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Console {
    /// This application serves nothing else.
    Alone,
    /// Beside the API.
    Beside,
    /// Not in this application.
    #[default]
    None,
}

/// Limits of connections, before there is a request.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Most connections at a time.
    pub all: usize,
    /// Most of them from one address; `None` without a limit.
    pub per_address: Option<usize>,
    /// Time for the head of a request to arrive.
    pub head_deadline: Duration,
    /// Time for a client to read what is ready for it.
    pub answer_deadline: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            all: 4096,
            per_address: Some(512),
            head_deadline: Duration::from_secs(5),
            answer_deadline: Duration::from_secs(20),
        }
    }
}

impl Settings {
    /// The settings of a broker that is not a demo.
    #[must_use]
    pub fn new(public_url: impl Into<String>) -> Self {
        Self {
            public_url: public_url.into(),
            body_deadline: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
            pages: Identities::default(),
            connections: ConnectionLimits::default(),
            bodies: 16 * 1024 * 1024,
            console: Console::None,
            demo: None,
        }
    }

    /// True when browsers reach the broker over https.
    pub(crate) fn is_secure(&self) -> bool {
        self.public_url.starts_with("https:")
    }

    /// True when the console's cookie needs https. A listener of its own has no TLS.
    pub(crate) fn is_console_secure(&self) -> bool {
        self.is_secure() && self.console != Console::Alone
    }

    /// Origin of the broker's own pages.
    pub(crate) fn origin(&self) -> String {
        url::Url::parse(&self.public_url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
    }

    /// Path of the public URL, without a trailing slash: empty where the broker has a host of its own.
    pub(crate) fn base_path(&self) -> &str {
        // Asked for with every request. The third slash is the first behind the host.
        self.public_url.match_indices('/').nth(2).map_or("", |(at, _)| self.public_url.split_at(at).1)
    }
}

/// Settings of the demo's page.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The caller that the page acts for, because it asks for no key.
    pub caller: Caller,
    /// The sandbox's origin, to which the page's forms may redirect, such as `http://127.0.0.1:8081`.
    pub sandbox_origin: String,
    /// Handle and app password of a made-up Bluesky account, which the page shows.
    pub bluesky: (String, String),
}

/// State shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub(crate) broker: Broker,
    pub(crate) settings: Arc<Settings>,
    /// Room for the bodies that are being read.
    pub(crate) bodies: Arc<BodyRoom>,
    /// Source of request ids.
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) documentation: Arc<Rendered>,
    pub(crate) looks: Arc<Looks>,
}

impl State {
    #[must_use]
    pub fn new(broker: Broker, settings: Settings, entropy: Arc<dyn Entropy>) -> Self {
        let resources = Arc::new(Resources::new(settings.console, settings.demo.is_some()));
        let looks = Arc::new(Looks::new(&settings.pages));
        let bodies = Arc::new(BodyRoom::new(settings.bodies));
        Self { broker, settings: Arc::new(settings), bodies, entropy, resources, documentation: Arc::default(), looks }
    }
}

/// Builds the application: once per worker in the server, and in tests.
pub fn app(
    state: impl Into<Live>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let live = state.into();
    let resources = live.get().resources.clone();
    // A wrapper, a guard or a resource of actix's own would cost an allocation or a look-up for each request.
    App::new().default_service(Dispatch { live, resources })
}
