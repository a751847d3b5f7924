//! Connections to servers: kept open for the next call, or one for each call.
//!
//! A load balancer may forget a connection that was idle, and the next request on it is lost. A request that may be
//! sent twice is sent again over a fresh connection. One that must not be, because it spends a code or rotates a
//! token, gets a fresh connection at once.

use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Request, begin};

/// Time that an idle connection stays open: long enough for the calls of one sign-in or one listing.
const IDLE: Duration = Duration::from_secs(10);

/// Two clients with the same settings.
#[derive(Clone)]
pub(super) struct Connections {
    kept: reqwest::Client,
    fresh: reqwest::Client,
    /// Time limit of a whole call.
    within: Duration,
}

impl Connections {
    /// `builder`: the settings of both clients.
    pub(super) fn new(
        within: Duration,
        builder: impl Fn() -> Result<reqwest::ClientBuilder, Error>,
    ) -> Result<Self, Error> {
        let client = |builder: reqwest::ClientBuilder| builder.timeout(within).build().map_err(Error::Client);
        Ok(Self {
            kept: client(builder()?.pool_idle_timeout(IDLE))?,
            fresh: client(builder()?.pool_max_idle_per_host(0))?,
            within,
        })
    }

    /// Sends a request that may arrive twice, and reads the head of its answer. Repeats it once, at once, when the
    /// connection broke before the answer began.
    pub(super) async fn ask(&self, request: &Request, accept: &'static str) -> Result<reqwest::Response, Error> {
        let begun = Instant::now();
        match begin(&self.kept, request, accept, self.within).await {
            Err(Error::Interrupted(_)) => {
                let left = self.within.saturating_sub(begun.elapsed());
                begin(&self.fresh, request, accept, left).await
            }
            done => done,
        }
    }

    /// Sends a request that must not arrive twice, and reads the head of its answer.
    pub(super) async fn spend(&self, request: &Request, accept: &'static str) -> Result<reqwest::Response, Error> {
        begin(&self.fresh, request, accept, self.within).await
    }
}
