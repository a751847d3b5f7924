//! The sandbox: an imitation of every platform on a separate listener, to try the broker without accounts and test it
//! without the internet.
//!
//! It knows `domain` (clock, randomness, loopback) and no other room. It is written from the platforms'
//! documentation, not from the broker's idea of them, so that it answers a mistake of the broker with the platform's
//! error; the header `x-sandbox-why` explains it in plain words.
//!
//! # Layout
//!
//! Each platform is below `{base}/{platform}`, with its real paths. A platform is one file in `imitations`, with an
//! [`Example`] from which the tests run, and one line in the list there. Bluesky, which has no OAuth here, is in
//! `bluesky`; its server for accounts has a separate listener ([`Sandbox::pds_url`]), and people sign in as one of
//! [`bluesky_accounts`]. [`configuration`] writes the broker's settings for all of them.
//!
//! # The consent page
//!
//! `GET {authorize_url}?…` shows a page whose form is posted to `{base}/{platform}/consent` with these fields:
//!
//! | field | value |
//! | --- | --- |
//! | `request` | the opaque id of the authorize request, good for one decision within ten minutes |
//! | `account` | the id of the account that connects; absent: the first |
//! | `decision` | `allow` or `deny` |
//! | `scope` | repeated: scopes that stayed ticked, where people can untick; no `scope`: all; one that is empty: none |
//! | `page` | repeated, like `scope`: Pages that the app may see, where people choose |
//! | `fault` | after the consent: a [`Fault`] (at the exchange), `step:fault`, or one of the callback's, named below |
//!
//! The answer is a 303 to the redirect URI. Faults of the callback are `callback_empty`, `callback_error` and
//! `denied_scopes`.
//!
//! # The controls
//!
//! [`Control`] in process; over HTTP, with JSON bodies sent as `application/json` (so that a foreign page cannot):
//!
//! | request | does |
//! | --- | --- |
//! | `POST /_control/faults {"platform", "step", "fault", "times"?, "delayMs"?}` | that step's next requests fail |
//! | `POST /_control/hold {"step"}`, `POST /_control/release {"step"?}` | answers of that step wait until released |
//! | `POST /_control/impersonate {"did"}` | every session at Bluesky names this DID, until the next reset |
//! | `POST /_control/reset` | forgets requests, faults, holds, impersonation and standings; accounts stay connected |
//! | `POST /_control/revoke {"platform"}` | every token is revoked |
//! | `POST /_control/expire {"platform"}` | every access token expires |
//! | `POST /_control/standing {"did", "standing"}` | the standing of a Bluesky account, until the next reset |
//! | `GET /_control/requests` | the requests received |
//!
//! A standing is `active`, `deactivated`, `takendown` or `deleted`. The steps are those of [`Step`], the faults those of
//! [`Fault`], by [`Step::into_str`] and [`Fault::into_str`].
//!
//! # Invariant
//!
//! Nothing here is secret and nothing leaves the machine: clients, accounts and tokens are fictional, browsers are
//! sent to loopback addresses only, and all state is in memory and bounded.

mod answer;
mod authorize;
mod bluesky;
mod bounded;
mod call;
mod configuration;
mod consent;
mod control;
mod control_api;
mod desk;
mod imitations;
mod multipart;
mod page;
mod problem;
mod record;
mod serve;
mod step;
mod traffic;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer, web};

pub use bluesky::{BlueskyAccount, Standing, bluesky_accounts};
pub use configuration::{client, configuration, example, own_client, platforms, self_serve_client};
pub use consent::{Answer, Refused};
pub use control::Control;
pub use imitations::Example;
pub use record::{Issued, Recorded, TokenKind};
pub use step::{Fault, Step, UnknownName, UnknownPlatform};

use crate::domain::entropy::Entropy;
use crate::domain::error_chain::chain;
use crate::domain::time::Clock;

/// A running sandbox. Dropping it stops it.
#[derive(Debug)]
pub struct Sandbox {
    base_url: String,
    pds_url: String,
    control: Control,
    server: ServerHandle,
}

impl Sandbox {
    /// Serves on `listener`, and on a free port of the same address for Bluesky, from separate threads until the
    /// sandbox is dropped. Callable inside and outside a runtime, and from tests that block their thread. Signals are
    /// not handled.
    ///
    /// # Errors
    ///
    /// When the listener cannot be used or no thread can be started.
    pub fn start(listener: TcpListener, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        let base_url = format!("http://{}", listener.local_addr()?);
        let pds = TcpListener::bind((listener.local_addr()?.ip(), 0))?;
        let pds_address = pds.local_addr()?;
        let control = Control::new(&base_url, pds_address, clock, entropy);
        let shared = control.clone();
        let (started, starting) = mpsc::sync_channel(1);
        thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                match serve([listener, pds], shared) {
                    Ok(server) => {
                        let handle = server.handle();
                        // When the caller is gone, there is no one to serve.
                        if started.send(Ok(handle)).is_ok()
                            && let Err(error) = server.await
                        {
                            tracing::error!(error = %chain(&error), "the sandbox stopped");
                        }
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        })?;
        let server = starting.recv().map_err(io::Error::other)??;
        Ok(Self { base_url, pds_url: format!("http://{pds_address}"), control, server })
    }

    /// Origin of the sandbox, without a trailing slash: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Origin of Bluesky's server for accounts, which DID documents name.
    #[must_use]
    pub fn pds_url(&self) -> &str {
        &self.pds_url
    }

    /// Reads requests and orders faults; cheap to clone.
    #[must_use]
    pub fn handle(&self) -> Control {
        self.control.clone()
    }

    /// Stops listening and waits up to a second for requests in flight.
    pub async fn stop(self) {
        self.server.stop(true).await;
    }
}

fn serve(listeners: [TcpListener; 2], control: Control) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(control.clone())).default_service(web::to(serve::entry))
    });
    let mut server = server.workers(1).disable_signals().shutdown_timeout(1);
    for listener in listeners {
        server = server.listen(listener)?;
    }
    Ok(server.run())
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The command is sent at once; its completion is not awaited.
        drop(self.server.stop(false));
    }
}
