//! Starts actix on a listener, with a [`Gate`] in front that counts, limits and checks connections.

use std::future::ready;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive};
use actix_service::{ServiceFactoryExt as _, map_config};
use actix_web::App;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Server, ServiceFactory, ServiceRequest, ServiceResponse, fn_service};
use actix_web::rt::net::TcpStream;
use rustix::net::sockopt;

use super::connections::{Connections, Full};
use super::wire::{Patience, Refuse, Wire};
use crate::domain::network::subscriber;
use crate::http::ConnectionLimits;

/// Time for which a connection waits for the next request.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time for a client to end a connection that the broker ends.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that the system keeps of what a client has not read. By itself it would keep several megabytes for each.
const UNREAD: usize = 256 * 1024;

/// Decides which connections are served, and how those are answered that ask wrongly.
#[derive(Clone)]
pub(super) struct Gate {
    /// The limits for a peer, which a reload may change. Without a limit per address where the peer is a trusted proxy.
    pub(super) limits: Arc<dyn Fn(IpAddr) -> ConnectionLimits + Send + Sync>,
    pub(super) refuse: Refuse,
    pub(super) open: Arc<Connections>,
}

impl Gate {
    fn admit(&self, tcp: TcpStream) -> io::Result<Wire> {
        let address = tcp.peer_addr()?.ip();
        let limits = (self.limits)(address);
        let place = self.open.admit(subscriber(address), limits.all, limits.per_address).map_err(|full| {
            let reason = match full {
                Full::Address => "address_full",
                Full::All => "full",
            };
            metrics::counter!("postpeer_connections_refused_total", "reason" => reason).increment(1);
            tracing::debug!(client.address = %address, reason, "connection refused");
            io::Error::from(io::ErrorKind::ConnectionRefused)
        })?;
        let patience = Patience { head: limits.head_deadline, answer: limits.answer_deadline, idle: KEEP_ALIVE };
        Ok(Wire::new(tcp, patience, self.refuse.clone(), place))
    }
}

/// Sets what connections inherit from their listener.
fn prepare(listener: &TcpListener) -> io::Result<()> {
    sockopt::set_socket_send_buffer_size(listener, UNREAD)?;
    // Otherwise the end of an answer that is written in parts waits until the client has acknowledged what came before
    // it, which clients put off for 40 ms.
    Ok(sockopt::set_tcp_nodelay(listener, true)?)
}

/// Serves `app` on `workers` threads. Stopping waits up to `grace` for requests in flight.
pub(super) fn start<A>(
    listener: TcpListener,
    workers: usize,
    grace: Duration,
    gate: Gate,
    app: impl Fn() -> App<A> + Clone + Send + 'static,
) -> io::Result<Server>
where
    A: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<BoxBody>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
{
    let address = listener.local_addr()?;
    prepare(&listener)?;
    // The gate limits connections. A worker that has too many would keep the others waiting instead.
    let server = Server::build().workers(workers).max_concurrent_connections(usize::MAX >> 1);
    let server = server.shutdown_timeout(grace.as_secs()).disable_signals();
    let draining = server.graceful_shutdown_signal();
    let server = server.listen("http", listener, move || {
        let (draining, gate) = (draining.clone(), gate.clone());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            // The wire has a deadline for every head, and actix only one for the first; and it ends idle connections with
            // one timer, where actix takes a new one for each request.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .local_addr(address)
            .h1(map_config(app(), |()| AppConfig::default()));
        fn_service(move |tcp: TcpStream| {
            let peer = tcp.peer_addr().ok();
            ready(gate.admit(tcp).map(|wire| (wire, peer)).map_err(DispatchError::Io))
        })
        .and_then(http)
    })?;
    Ok(server.run())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn the_end_of_a_long_answer_waits_for_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        prepare(&listener).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
