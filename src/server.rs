//! Binds, serves and stops the broker, and the metrics where the operator wants them.
//!
//! Stops on a signal, or when the database takes no more writes or is damaged. The order: no new refresh starts and no
//! new connection is accepted; requests in flight get a grace period; the metrics stop; and
//! [`App::close`](crate::app::App::close) waits for work that outlives requests. A second signal ends the process at once.

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

/// Time after which an idle connection is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time within which the head of a request must arrive.
const HEAD_AT_MOST: Duration = Duration::from_secs(5);
/// Connections per worker. More wait to be accepted.
const CONNECTIONS: usize = 4096;
/// Connections that read metrics: a few readers, and room for some that left without closing.
const METRICS_CONNECTIONS: usize = 64;
/// Interval between upkeeps of the histograms, which would grow while nobody reads them.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Most workers. More would only compete for the database.
const MOST_WORKERS: usize = 4;
/// Exit code that shells use for a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Binds an address. Port 0 means any free port, which [`TcpListener::local_addr`] returns.
///
/// # Errors
///
/// The address is in use, not this machine's, or not allowed.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// The signal to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Stops on SIGTERM or SIGINT. The second one ends the process at once.
    ///
    /// # Errors
    ///
    /// The signal handlers cannot be installed.
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
                    tracing::warn!("stopped at once: connections in progress are lost");
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!("stopping; a second signal stops at once");
                stop.cancel();
            }
        });
        Ok(Self(token))
    }
}

/// Serves until `shutdown` or until the store fails, then waits up to `grace` for requests in flight. Serves metrics
/// only on the `metrics` listener. Blocks, so it must not be called from a runtime.
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
            tracing::error!("stopping: the database takes no more writes, or is damaged");
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
            // Readers keep their connections open between two requests, and repeat one that was cut off.
            metrics.stop(false).await;
        }
        ended
    });
    stop.cancel();
    app.broker.refresher().stop();
    failed.abort();
    // Ends at its next pause. A panic is in the log already.
    let _ = app.work().block_on(background);
    served
}

/// Starts serving metrics, until the handle stops it.
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
                    // No account depends on metrics, so the broker goes on.
                    tracing::error!(%error, "the metrics server failed");
                }
            }
            () = upkeep => {}
        }
    });
    Ok(handle)
}
