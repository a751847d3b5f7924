//! The metrics, and the recorder that Prometheus reads.
//!
//! Every room counts with the macros of the `metrics` crate and a name from [`METRICS`]. Without a recorder (no
//! `server.metrics_listen`, and in most tests) the macros do nothing. Invariant: a label's value is a word of our own,
//! a route's pattern, a status or a platform's name, never something that a client or a platform sent. Otherwise they
//! could fill the memory, and show secrets to people who may read metrics but not tokens.

use std::sync::OnceLock;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    /// All labels. Every recording sets each of them.
    pub labels: &'static [&'static str],
    /// One sentence for the operator.
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// Values of the label `outcome` of `postpeer_refreshes_total`.
pub const REFRESH_OUTCOMES: [&str; 6] =
    ["app_rejected", "grant_ended", "refreshed", "superseded", "throttled", "transient"];

/// Values of the label `who_can_help` of `postpeer_failures_total`.
const WHO_CAN_HELP: [&str; 4] = ["account_owner", "nobody_known", "operator", "platform"];

/// Values of the label `reason` of `postpeer_connections_refused_total`.
const REFUSALS: [&str; 5] = ["address_full", "full", "late", "malformed", "unread"];

/// All metrics, by name. `tests/house.rs` compares the list with the code.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "postpeer_access_keys_expiring",
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        help: "Access keys that expire within 14 days; `postpeer access-key list` shows which.",
    },
    Metric {
        name: "postpeer_answers_unsaved",
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        help: "Token answers of platforms that are in memory only, because the database does not take them.",
    },
    Metric {
        name: "postpeer_backup_failures_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[],
        help: "Scheduled backups that were not made, or in which not every sealed value opens; the log says why.",
    },
    Metric {
        name: "postpeer_backup_last_good_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        labels: &[],
        help: "When the last good scheduled backup was taken, in Unix time; 0 when there is none.",
    },
    Metric {
        name: "postpeer_build_info",
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &["version"],
        help: "Always 1; the label tells the version that runs.",
    },
    Metric {
        name: "postpeer_connections_refused_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &["reason"],
        help: "Connections that were refused or cut off: too many, a malformed or late request, an answer that was not read.",
    },
    Metric {
        name: "postpeer_failures_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &["platform", "who_can_help"],
        help: "Connections and refreshes that failed, by who can help; the log names each failure.",
    },
    Metric {
        name: "postpeer_http_request_seconds",
        kind: Kind::Histogram(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
        unit: Unit::Seconds,
        labels: &["route"],
        help: "How long requests to the broker took to be answered, by route.",
    },
    Metric {
        name: "postpeer_http_requests_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &["method", "route", "status"],
        help: "Requests that the broker answered.",
    },
    Metric {
        name: "postpeer_log_lines_dropped_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[],
        help: "Lines of the log that were lost, because nobody read standard error or it refused them.",
    },
    Metric {
        name: "postpeer_refresh_oldest_overdue_seconds",
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        labels: &[],
        help: "For how long the refresh that waits longest has been due; 0 when none is.",
    },
    Metric {
        name: "postpeer_refreshes_due",
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        help: "Grants that are due to be refreshed and are not being refreshed yet.",
    },
    Metric {
        name: "postpeer_refreshes_in_flight",
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        help: "Calls for new tokens that are not answered yet.",
    },
    Metric {
        name: "postpeer_refreshes_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &["platform", "outcome"],
        help: "Attempts to refresh a grant, by how they ended.",
    },
    Metric {
        name: "postpeer_tokens_vended_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &["platform"],
        help: "Access tokens that were handed out to callers.",
    },
    Metric {
        name: "postpeer_upstream_seconds",
        kind: Kind::Histogram(&[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0]),
        unit: Unit::Seconds,
        labels: &["platform", "step", "outcome"],
        help: "How long calls to platforms took, by step and how they ended.",
    },
    Metric {
        name: "postpeer_values_to_reseal",
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        help: "Stored values that are still sealed with an older data key than the active one, without those of connections \
               in progress, which end by themselves.",
    },
];

/// The values recorded in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

/// Starts recording. Later calls in the same process return the same recorder, to another broker as well.
pub fn metrics() -> Metrics {
    static INSTALLED: OnceLock<Metrics> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let recorder = recorder();
            let handle = recorder.handle();
            // Cannot fail: `tests/house.rs` keeps the exporter in this room, so no other recorder is installed.
            let _ = metrics::set_global_recorder(recorder);
            Metrics(handle)
        })
        .clone()
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves recorded times into the buckets. Each one takes memory until this or [`render`](Self::render) is called,
    /// so it has to be called every few seconds.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// Starts the counters of each platform at 0. Without that, a series would begin with its first event, and
    /// Prometheus sees no increase in a first value.
    pub fn expect_platforms<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            for outcome in REFRESH_OUTCOMES {
                counter!("postpeer_refreshes_total", "platform" => name.to_owned(), "outcome" => outcome).increment(0);
            }
            for who in WHO_CAN_HELP {
                counter!("postpeer_failures_total", "platform" => name.to_owned(), "who_can_help" => who).increment(0);
            }
            counter!("postpeer_tokens_vended_total", "platform" => name.to_owned()).increment(0);
        }
    }
}

/// A recorder with the descriptions of all metrics. Those without labels start at 0, and so do refused connections.
fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        if let Kind::Histogram(buckets) = metric.kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                .expect("every histogram in METRICS has buckets");
        }
    }
    let recorder = builder.build_recorder();
    with_local_recorder(&recorder, || METRICS.iter().for_each(describe));
    recorder
}

fn describe(metric: &Metric) {
    let Metric { name, unit, help, .. } = *metric;
    match metric.kind {
        Kind::Counter => describe_counter!(name, unit, help),
        Kind::Gauge => describe_gauge!(name, unit, help),
        Kind::Histogram(_) => describe_histogram!(name, unit, help),
    }
    match metric.kind {
        Kind::Counter if metric.labels.is_empty() => counter!(name).increment(0),
        Kind::Gauge if metric.labels.is_empty() => gauge!(name).set(0.0),
        _ if name == "postpeer_connections_refused_total" => {
            for reason in REFUSALS {
                counter!(name, "reason" => reason).increment(0);
            }
        }
        _ if name == "postpeer_build_info" => gauge!(name, "version" => env!("CARGO_PKG_VERSION")).set(1.0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use metrics::histogram;

    use super::*;

    #[test]
    fn gauges_without_labels_start_at_0() {
        let shown = recorder().handle().render();
        for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Gauge && metric.labels.is_empty()) {
            let Metric { name, help, .. } = metric;
            assert!(shown.contains(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} 0\n")), "{shown}");
        }
        let version = env!("CARGO_PKG_VERSION");
        assert!(shown.contains(&format!("\npostpeer_build_info{{version=\"{version}\"}} 1\n")), "{shown}");
    }

    #[test]
    fn times_are_shown_in_buckets() {
        let recorder = recorder();
        with_local_recorder(&recorder, || {
            histogram!("postpeer_upstream_seconds", "platform" => "x", "step" => "token", "outcome" => "ok")
                .record(0.3);
        });
        let handle = Metrics(recorder.handle());
        handle.upkeep();
        let shown = handle.render();
        let name = "postpeer_upstream_seconds";
        assert!(shown.contains(&format!("# TYPE {name} histogram\n")), "{shown}");
        for (bound, count) in [("0.05", 0), ("0.25", 0), ("0.5", 1), ("30", 1), ("+Inf", 1)] {
            let line =
                format!("{name}_bucket{{platform=\"x\",step=\"token\",outcome=\"ok\",le=\"{bound}\"}} {count}\n");
            assert!(shown.contains(&line), "{line}{shown}");
        }
    }

    #[test]
    fn platforms_are_shown_before_anything_happens() {
        let recorder = recorder();
        let handle = Metrics(recorder.handle());
        with_local_recorder(&recorder, || {
            counter!("postpeer_tokens_vended_total", "platform" => "acme").increment(2);
            handle.expect_platforms(["acme", "twitter"]);
        });
        let shown = handle.render();
        for line in [
            "postpeer_failures_total{platform=\"acme\",who_can_help=\"operator\"} 0",
            "postpeer_refreshes_total{platform=\"acme\",outcome=\"grant_ended\"} 0",
            "postpeer_refreshes_total{platform=\"twitter\",outcome=\"refreshed\"} 0",
            "postpeer_tokens_vended_total{platform=\"acme\"} 2",
            "postpeer_tokens_vended_total{platform=\"twitter\"} 0",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }

    #[test]
    fn a_second_call_returns_the_same_recorder() {
        let (first, second) = (metrics(), metrics());
        counter!("postpeer_tokens_vended_total", "platform" => "a_second_call").increment(1);
        for handle in [first, second] {
            assert!(handle.render().contains("postpeer_tokens_vended_total{platform=\"a_second_call\"} 1\n"));
        }
    }

    #[test]
    fn the_table_is_sorted_and_its_names_follow_prometheus_conventions() {
        assert!(METRICS.is_sorted_by_key(|metric| metric.name));
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("postpeer_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(!buckets.is_empty() && buckets.is_sorted(), "{name}");
            }
        }
    }
}
