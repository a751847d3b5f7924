//! Logs, to standard error as text or as one JSON object per line, and [`metrics`](mod@metrics).
//!
//! Lines go through a queue ([`flush`], [`say`]), so that a request never waits for whoever reads them.
//!
//! Invariants: dependencies log at `warn` or above only, whatever the level, because their debug logs hold URLs with
//! codes and secrets. A panic is logged by its place, never by its message.

mod metrics;
mod moment;
mod sink;
mod text;

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use strum::{IntoStaticStr, VariantArray};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use self::metrics::{Kind, METRICS, Metric, Metrics, REFRESH_OUTCOMES, metrics};
pub use self::sink::{flush, say};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// From the fewest lines to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// True once the log is JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Writes why the process ends: as a line of the log where whoever collects that expects JSON.
pub fn say_last(message: &str) {
    if IS_JSON.load(Ordering::Relaxed) {
        tracing::error!("{message}");
    } else {
        say(&format!("postpeer: {message}"));
    }
}

/// Starts logging. A second call in the same process changes nothing.
pub fn init(settings: LogSettings) {
    sink::start();
    let filter = filter(settings.level);
    // The filter decides, so the subscriber takes all.
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(|| sink::Lines);
    let logs = logs.with_timer(moment::Now);
    // A line that cannot be written is lost. The complaint would go the same way, and panic.
    let logs = logs.log_internal_errors(false);
    // A test may have set a subscriber already: keep it.
    let started = match settings.format {
        LogFormat::Json => logs.json().flatten_event(true).with_span_list(false).finish().with(filter).try_init(),
        LogFormat::Text if std::io::stderr().is_terminal() => {
            logs.with_ansi(true).with_target(false).finish().with(filter).try_init()
        }
        LogFormat::Text => logs.fmt_fields(text::Text).event_format(text::Text).finish().with(filter).try_init(),
    };
    IS_JSON.store(started.is_ok() && settings.format == LogFormat::Json, Ordering::Relaxed);
}

/// Logs our own modules at `level` and everything else at `warn`, or at `error` when that is the level.
fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("postpeer", ours)
}

/// Makes panics report their place only, because a panic message may hold a secret.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = place_of(panic);
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "a task panicked: this is a bug, please report the place");
        } else {
            say(&format!("postpeer: panicked at {place}: this is a bug, please report the place"));
        }
        if thread::current().name() == Some("main") {
            // The process ends with this thread.
            flush();
        }
    }));
}

fn place_of(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn dependencies_log_warnings_and_errors_only() {
        for (level, others, ours) in [
            (LogLevel::Trace, Level::WARN, Level::TRACE),
            (LogLevel::Info, Level::WARN, Level::INFO),
            (LogLevel::Error, Level::ERROR, Level::ERROR),
        ] {
            let filter = filter(level);
            for (target, most) in [("hyper::client", others), ("postpeer", ours), ("postpeer::store", ours)] {
                for logged in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                    assert_eq!(filter.would_enable(target, &logged), logged <= most, "{level:?} {target} {logged}");
                }
            }
        }
    }
}
