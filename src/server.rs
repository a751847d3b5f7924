//! Binds, serves and stops: the broker, and beside it, where the operator wants them, the metrics.
//!
//! It stops when it is told to, or when nothing can be stored any more. Stopping, in order: no refresh is begun and no connection accepted any
//! more, requests under way get their grace, the metrics end, and then (in [`App::close`](crate::app::App::close)) the work
//! that outlives requests is waited for. A second signal ends the
//! process at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::{background, http, telemetry};

/// An idle connection is closed after this.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The head of a request must have come within this.
const HEAD_AT_MOST: Duration = Duration::from_secs(5);
/// Connections of one worker; more wait to be accepted.
const CONNECTIONS: usize = 4096;
/// Connections of whoever reads metrics: a few readers, and room for those that went away without a word.
const METRICS_CONNECTIONS: usize = 64;
/// How often the measured times are folded, so that they take no memory where nobody reads.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// More workers than this would only compete for the database.
const MOST_WORKERS: usize = 4;
/// What a shell reports for a program that a second Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Takes an address. Port 0: any that is free, which [`TcpListener::local_addr`] tells.
///
/// # Errors
///
/// The address is in use, not this machine's, or not ours to take.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Says when to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// On SIGTERM or SIGINT; the second one ends the process at once.
    ///
    /// # Errors
    ///
    /// The system takes no signal handlers.
    pub fn on_signals(runtime: &Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let token = CancellationToken::new();
        let stop = token.clone();
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if stop.is_cancelled() {
                    tracing::warn!("stopped at once: connections that were being finished are lost");
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!("stopping; a second signal stops at once");
                stop.cancel();
            }
        });
        Ok(Self(token))
    }
}

/// Serves until told to stop or until the storage fails, then returns when the requests under way are answered or `grace` is
/// over. `metrics` is where metrics are read, and nowhere else. Blocks; call it from no runtime.
///
/// # Errors
///
/// A listener cannot be used.
pub fn run(
    app: &App,
    listener: TcpListener,
    metrics: Option<TcpListener>,
    settings: http::Settings,
    shutdown: Shutdown,
    grace: Duration,
) -> io::Result<()> {
    let Shutdown(stop) = shutdown;
    let failed = app.work().spawn({
        let (failed, stop) = (app.storage_failed(), stop.clone());
        async move {
            failed.await;
            tracing::error!("stopping: nothing can be stored any more");
            stop.cancel();
        }
    });
    let background = app.work().spawn(background::run(app.broker.clone(), app.config.refresh.enabled, stop.clone()));
    let state = http::State::new(app.broker.clone(), settings, app.ports.entropy.clone());
    let workers = available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
    let served = System::new().block_on(async {
        let metrics = metrics.map(serve_metrics).transpose()?;
        let server = HttpServer::new(move || http::app(state.clone()))
            .workers(workers)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_AT_MOST)
            .max_connections(CONNECTIONS)
            .shutdown_timeout(grace.as_secs())
            .disable_signals()
            .listen(listener)?
            .run();
        let handle = server.handle();
        let (stopped, broker) = (stop.clone(), app.broker.clone());
        let waiting = actix_web::rt::spawn(async move {
            stopped.cancelled().await;
            broker.refresher().stop();
            handle.stop(true).await;
        });
        let ended = server.await;
        waiting.abort();
        if let Some(metrics) = metrics {
            // Readers keep their connections open between two readings, and one that is cut short is read again.
            metrics.stop(false).await;
        }
        ended
    });
    stop.cancel();
    app.broker.refresher().stop();
    failed.abort();
    // It ends at its next pause; that it panicked is in the log.
    let _ = app.work().block_on(background);
    served
}

/// Starts what Prometheus reads from; it ends when the handle says so.
fn serve_metrics(listener: TcpListener) -> io::Result<ServerHandle> {
    let metrics = telemetry::metrics();
    let rendered = metrics.clone();
    let render: http::metrics::Render = Arc::new(move || rendered.render());
    let server = HttpServer::new(move || http::metrics::app(render.clone()))
        .workers(1)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_AT_MOST)
        .max_connections(METRICS_CONNECTIONS)
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        let upkeep = async {
            loop {
                tokio::time::sleep(METRICS_UPKEEP_EVERY).await;
                metrics.upkeep();
            }
        };
        tokio::select! {
            ended = server => {
                if let Err(error) = ended {
                    // Nobody's account depends on it, so the broker goes on without.
                    tracing::error!(%error, "metrics are not served any more");
                }
            }
            () = upkeep => {}
        }
    });
    Ok(handle)
}
