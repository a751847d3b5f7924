//! The face to the network: routes, what they take and answer, and the pages. Actix and askama only here (and actix in
//! `server` and `sandbox`); knows the broker's use cases and the domain, nothing below them.
//!
//! Invariant: every answer passes through [`envelope`], which gives it a request id and the security headers, and every
//! route is in the table of [`routes`], which says who may call it. What Prometheus reads is an application of its own, on a
//! listener of its own: [`metrics`].

mod access;
mod api;
mod envelope;
pub mod error;
pub mod metrics;
pub mod openapi;
mod pages;
mod request;
pub mod routes;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix_web::App;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};

use crate::broker::{Broker, Caller};
use crate::domain::entropy::Entropy;
use crate::domain::network::Network;

/// What the HTTP layer is configured with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The broker's own URL, without a trailing slash.
    pub public_url: String,
    /// How long a client may take to send a request body.
    pub body_deadline: Duration,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The demo's page at `/`; absent outside `postpeer demo`.
    pub demo: Option<Demo>,
}

impl Settings {
    /// The settings of a broker that is not a demo.
    #[must_use]
    pub fn new(public_url: impl Into<String>) -> Self {
        Self {
            public_url: public_url.into(),
            body_deadline: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
            demo: None,
        }
    }
}

/// What the demo's page works with.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Whose accounts the page shows and connects: it asks for no key.
    pub caller: Caller,
    /// The origin that the page's forms may lead to: the sandbox's, such as `http://127.0.0.1:8081`.
    pub sandbox_origin: String,
    /// Handle and app password of a made-up Bluesky account, for the page to tell.
    pub bluesky: (String, String),
}

/// What all handlers share. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub(crate) broker: Broker,
    pub(crate) settings: Arc<Settings>,
    /// Where request ids come from.
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl State {
    #[must_use]
    pub fn new(broker: Broker, settings: Settings, entropy: Arc<dyn Entropy>) -> Self {
        Self { broker, settings: Arc::new(settings), entropy }
    }
}

/// The application: for the server, one per worker, and for tests.
pub fn app(
    state: State,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let demo = state.settings.demo.is_some();
    App::new()
        .app_data(Data::new(state))
        .configure(|config| routes::register(config, demo))
        .default_service(web::to(routes::not_found))
        .wrap(from_fn(envelope::envelope))
}
