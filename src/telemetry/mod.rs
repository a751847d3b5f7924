//! Logs, to standard error as text or as one JSON object per line, and [`metrics`](mod@metrics).
//!
//! Invariants: dependencies log at `warn` or above only, whatever the level, because their debug logs hold URLs with
//! codes and secrets. A panic is logged by its place, never by its message.

mod metrics;

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use strum::{IntoStaticStr, VariantArray};
use tracing_subscriber::EnvFilter;

pub use self::metrics::{Kind, METRICS, Metric, Metrics, REFRESH_OUTCOMES, metrics};

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

/// Starts logging. A second call in the same process changes nothing.
pub fn init(settings: LogSettings) {
    let filter = EnvFilter::builder().parse_lossy(directives(settings.level));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A test may have set a subscriber already: keep it.
    let _ = match settings.format {
        LogFormat::Json => logs.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
    };
}

/// Logs our own modules at `level` and everything else at `warn`, or at `error` when that is the level.
fn directives(level: LogLevel) -> String {
    let ours = level.into_str();
    let others = if level == LogLevel::Error { "error" } else { "warn" };
    format!("{others},postpeer={ours}")
}

/// Makes panics report their place only, because a panic message may hold a secret.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = place_of(panic);
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "a task panicked: this is a bug, please report the place");
        } else {
            eprintln!("postpeer: panicked at {place}: this is a bug, please report the place");
        }
    }));
}

fn place_of(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_log_warnings_and_errors_only() {
        assert_eq!(directives(LogLevel::Trace), "warn,postpeer=trace");
        assert_eq!(directives(LogLevel::Info), "warn,postpeer=info");
        assert_eq!(directives(LogLevel::Error), "error,postpeer=error");
    }
}
