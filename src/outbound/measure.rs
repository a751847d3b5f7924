//! Records the duration of calls to platforms, by platform, step and outcome.
//!
//! A cancelled call counts as failed, with the time spent on it. No label holds an id.

use tokio::time::Instant;

use super::Error;

/// Makes a call and records how long it took. `step` is a word in snake case.
///
/// # Errors
///
/// The errors of the call.
pub async fn measured<T>(
    platform: &str,
    step: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut measurement = Measurement { platform, step, begun: Instant::now(), outcome: "failed" };
    let result = call.await;
    if result.is_ok() {
        measurement.outcome = "answered";
    }
    result
}

/// Records on drop, because that is how a cancelled call ends.
struct Measurement<'a> {
    platform: &'a str,
    step: &'static str,
    begun: Instant,
    outcome: &'static str,
}

impl Drop for Measurement<'_> {
    fn drop(&mut self) {
        let (platform, step, outcome) = (self.platform.to_owned(), self.step, self.outcome);
        metrics::histogram!("postpeer_upstream_seconds", "platform" => platform, "step" => step, "outcome" => outcome)
            .record(self.begun.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt as _;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn every_call_records_its_duration_and_outcome() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            for _ in 0..2 {
                measured("acme", "refresh", ready(Ok(()))).now_or_never().unwrap().unwrap();
            }
            measured("acme", "refresh", ready(Err::<(), _>(Error::TooLarge))).now_or_never().unwrap().unwrap_err();
            let given_up = measured("acme", "identity", pending::<Result<(), _>>()).now_or_never();
            assert!(given_up.is_none());
        });
        let told = recorder.handle().render();
        for line in [
            r#"postpeer_upstream_seconds_count{platform="acme",step="refresh",outcome="answered"} 2"#,
            r#"postpeer_upstream_seconds_count{platform="acme",step="refresh",outcome="failed"} 1"#,
            r#"postpeer_upstream_seconds_count{platform="acme",step="identity",outcome="failed"} 1"#,
        ] {
            assert!(told.lines().any(|told| told == line), "{line}\n{told}");
        }
    }
}
