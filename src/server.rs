//! Binds, serves and stops the broker, and the metrics where the operator wants them.
//!
//! The caller decides what SIGHUP does ([`Hangup`]). Stops on a signal, or when the database takes no more writes or is
//! damaged. [`Wire`](wire::Wire) checks what clients send before actix sees it. The order: no new refresh starts and no
//! new connection is accepted; requests in flight get a grace period; the metrics stop; and
//! [`App::close`](crate::app::App::close) waits for work that outlives requests. A second signal ends the process at
//! once.

mod connections;
mod head;
mod listen;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::rt::System;
use futures_util::future::LocalBoxFuture;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::listen::Gate;
use crate::app::App;
use crate::domain::error_chain::chain;
use crate::{background, http, telemetry};

/// Connections that read metrics: a few readers, and room for some that left without closing.
const METRICS_CONNECTIONS: usize = 64;
/// Time that readers of metrics have when the broker stops.
const METRICS_GRACE: Duration = Duration::from_secs(1);
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

/// The signals that a process obeys.
#[derive(Debug)]
pub struct Signals {
    stop: CancellationToken,
    hangup: Signal,
}

impl Signals {
    /// Stops on SIGTERM or SIGINT. The second one ends the process at once, after `at_last`. SIGHUP is for [`run`].
    ///
    /// # Errors
    ///
    /// The signal handlers cannot be installed.
    pub fn obey(runtime: &Handle, at_last: impl Fn() + Send + 'static) -> io::Result<Self> {
        let _entered = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
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
                    at_last();
                    telemetry::flush();
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!("stopping; a second signal stops at once");
                stop.cancel();
            }
        });
        Ok(Self { stop: token, hangup })
    }
}

/// The sockets that the broker serves.
#[derive(Debug)]
pub struct Listeners {
    pub main: TcpListener,
    /// Only metrics are served there.
    pub metrics: Option<TcpListener>,
    /// Only the console is served there.
    pub console: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(main: TcpListener) -> Self {
        Self { main, metrics: None, console: None }
    }
}

/// What the broker does from now on.
pub struct Served {
    pub state: http::State,
    /// For the console's own listener.
    pub console: http::State,
    /// True when tokens are refreshed before their expiry, and not only for callers.
    pub refreshes: bool,
}

/// What follows from a SIGHUP.
pub enum Hangup {
    /// Goes on as before.
    Ignored,
    /// Serves this from now on. Requests under way end with what they began with.
    Serve(Box<Served>),
    /// Stops as on SIGTERM.
    Stop,
}

/// Decides what follows from a SIGHUP.
pub type OnHangup<'a> = dyn Fn() -> LocalBoxFuture<'a, Hangup> + 'a;

/// Serves until a signal to stop or until the store fails, then waits up to `grace` for requests in flight. Blocks, so
/// it must not be called from a runtime.
///
/// # Errors
///
/// A listener cannot be used.
pub fn run(
    app: &App,
    listeners: Listeners,
    first: Served,
    signals: Signals,
    on_hangup: &OnHangup<'_>,
    grace: Duration,
) -> io::Result<()> {
    let Signals { stop, hangup: hangups } = signals;
    let failed = app.work().spawn({
        let (failed, stop) = (app.storage_failed(), stop.clone());
        async move {
            failed.await;
            tracing::error!("stopping: the database takes no more writes, or is damaged");
            stop.cancel();
        }
    });
    let mut background = Background::start(app, &first, &stop);
    let (live, console) = (http::Live::new(first.state), http::Live::new(first.console));
    let workers = available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
    let served = System::new().block_on(async {
        let metrics = listeners.metrics.map(serve_metrics).transpose()?;
        let own_console = listeners.console.map(|listener| serve_console(&console, listener, grace)).transpose()?;
        let server = listen(&live, listeners.main, workers, grace)?;
        let handle = server.handle();
        let (stopped, serving) = (stop.clone(), live.clone());
        let waiting = actix_web::rt::spawn(async move {
            stopped.cancelled().await;
            serving.refuse_refreshes();
            handle.stop(true).await;
        });
        let ended = tokio::select! {
            ended = server => ended,
            never = obey_hangups(app, hangups, on_hangup, [&live, &console], &mut background, &stop) => match never {},
        };
        waiting.abort();
        if let Some(console) = own_console {
            console.stop(true).await;
        }
        if let Some(metrics) = metrics {
            // Readers keep their connections open between two requests, and repeat one that was cut off.
            metrics.stop(false).await;
        }
        ended
    });
    stop.cancel();
    live.refuse_refreshes();
    failed.abort();
    app.work().block_on(background.end());
    served
}

/// Serves on `workers` threads. Stopping waits up to `grace` for requests in flight.
///
/// # Errors
///
/// The listener cannot be used.
pub fn listen(live: &http::Live, listener: TcpListener, workers: usize, grace: Duration) -> io::Result<Server> {
    let (limits, refusals, app) = (live.clone(), live.clone(), live.clone());
    let gate = Gate {
        limits: Arc::new(move |peer| limits.connection_limits(peer)),
        refuse: Arc::new(move |code| refusals.refusal(code)),
        open: Arc::default(),
    };
    listen::start(listener, workers, grace, gate, move || http::app(app.clone()))
}

/// Answers every SIGHUP.
async fn obey_hangups(
    app: &App,
    mut hangups: Signal,
    on_hangup: &OnHangup<'_>,
    [live, console]: [&http::Live; 2],
    background: &mut Background,
    stop: &CancellationToken,
) -> Infallible {
    while hangups.recv().await.is_some() {
        match on_hangup().await {
            _ if stop.is_cancelled() => {}
            Hangup::Ignored => {}
            Hangup::Serve(served) => {
                background.replace(app, &served, stop);
                live.replace(served.state);
                console.replace(served.console);
                tracing::info!("reloaded configuration, platforms and keyring");
                if stop.is_cancelled() {
                    live.refuse_refreshes();
                }
            }
            Hangup::Stop => stop.cancel(),
        }
    }
    std::future::pending().await
}

/// The background loops. Those of another configuration begin when the ones before have ended.
struct Background {
    stop: CancellationToken,
    turn: Arc<Mutex<()>>,
    running: TaskTracker,
}

impl Background {
    fn start(app: &App, served: &Served, stop: &CancellationToken) -> Self {
        let new = Self { stop: stop.child_token(), turn: Arc::default(), running: TaskTracker::new() };
        new.begin(app, served);
        new
    }

    fn begin(&self, app: &App, served: &Served) {
        let run = background::run(served.state.broker.clone(), served.refreshes, self.stop.clone());
        let turn = self.turn.clone();
        let in_turn = async move {
            let _turn = turn.lock().await;
            run.await;
        };
        self.running.spawn_on(in_turn, app.work());
    }

    /// Ends the loops, and starts them with another configuration.
    fn replace(&mut self, app: &App, served: &Served, stop: &CancellationToken) {
        self.stop.cancel();
        self.stop = stop.child_token();
        self.begin(app, served);
    }

    /// Waits until the loops, which were told to stop, have ended.
    async fn end(self) {
        self.running.close();
        self.running.wait().await;
    }
}

/// Starts serving the console on a listener of its own, until the handle stops it.
fn serve_console(live: &http::Live, listener: TcpListener, grace: Duration) -> io::Result<ServerHandle> {
    let server = listen(live, listener, 1, grace)?;
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        if let Err(error) = server.await {
            // No account depends on the console, so the broker goes on.
            tracing::error!(error = %chain(&error), "the console's server failed");
        }
    });
    Ok(handle)
}

/// Starts serving metrics, until the handle stops it.
fn serve_metrics(listener: TcpListener) -> io::Result<ServerHandle> {
    let metrics = telemetry::metrics();
    let rendered = metrics.clone();
    let render: http::metrics::Render = Arc::new(move || rendered.render());
    let limits = http::ConnectionLimits { all: METRICS_CONNECTIONS, per_address: None, ..Default::default() };
    let gate =
        Gate { limits: Arc::new(move |_| limits), refuse: Arc::new(http::metrics::refusal), open: Arc::default() };
    let server = listen::start(listener, 1, METRICS_GRACE, gate, move || http::metrics::app(render.clone()))?;
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
                    tracing::error!(error = %chain(&error), "the metrics server failed");
                }
            }
            () = upkeep => {}
        }
    });
    Ok(handle)
}
