//! Latencies, rates, and what a scenario reports.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::connection::Failure;

/// The outcomes of one kind of operation. Only successes have a latency.
#[derive(Default)]
pub(crate) struct Recorder {
    latencies: Latencies,
    failures: BTreeMap<String, usize>,
}

impl Recorder {
    pub(crate) fn success(&mut self, latency: Duration) {
        self.latencies.record(latency);
    }

    pub(crate) fn failure(&mut self, failure: &Failure) {
        *self.failures.entry(failure.to_string()).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.0.extend(other.latencies.0);
        for (kind, count) in other.failures {
            *self.failures.entry(kind).or_default() += count;
        }
    }

    pub(crate) fn successes(&self) -> usize {
        self.latencies.0.len()
    }

    /// The failures in words; empty if there were none.
    pub(crate) fn failures(&self) -> String {
        let kinds = self.failures.iter().map(|(kind, count)| format!("{count} × {kind}"));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

/// Every latency that was measured, so that quantiles are exact.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// The latency that the share `q` of all did not exceed, in milliseconds.
    fn quantile(sorted: &[Duration], q: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank of at most the number of latencies"
        )]
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
    }
}

/// What a scenario found in one run.
#[derive(Default)]
pub(crate) struct Report {
    figures: BTreeMap<&'static str, f64>,
    /// The reasons to distrust the figures: failures, lost events, counts that do not add up.
    pub(crate) problems: Vec<String>,
}

impl Report {
    pub(crate) fn put(&mut self, figure: &'static str, value: f64) {
        self.figures.insert(figure, value);
    }

    /// Quantiles in milliseconds. Left out if nothing was measured, so that this never reads as 0
    /// ms.
    pub(crate) fn put_latencies(&mut self, latencies: Latencies) {
        let mut sorted = latencies.0;
        sorted.sort_unstable();
        if let Some(longest) = sorted.last() {
            for (name, q) in [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)] {
                self.put(name, Latencies::quantile(&sorted, q));
            }
            self.put("max_ms", longest.as_secs_f64() * 1000.0);
        }
    }

    /// How many operations there were in this time.
    pub(crate) fn put_rate(&mut self, operations: usize, time: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 operations")]
        let count = operations as f64;
        self.put("operations", count);
        if !time.is_zero() {
            self.put("per_s", count / time.as_secs_f64());
        }
    }

    /// The rate and latencies of what was recorded in this time. Failures are a problem.
    pub(crate) fn put_recorder(&mut self, recorder: Recorder, time: Duration) {
        if !recorder.failures.is_empty() {
            self.problems.push(recorder.failures());
        }
        self.put_rate(recorder.successes(), time);
        self.put_latencies(recorder.latencies);
    }

    /// Notes a problem unless the two are equal.
    pub(crate) fn expect(&mut self, what: &str, found: usize, expected: usize) {
        if found != expected {
            self.problems.push(format!("{what}: {found} instead of {expected}"));
        }
    }

    pub(crate) fn to_json(&self, scenario: &str) -> Value {
        let rounded = |value: &f64| (value * 1000.0).round() / 1000.0;
        let figures: BTreeMap<_, _> = self.figures.iter().map(|(k, v)| (k, rounded(v))).collect();
        json!({ "scenario": scenario, "figures": figures, "problems": self.problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_recorded_latencies() {
        let mut recorder = Recorder::default();
        for i in (1..=1000).rev() {
            recorder.success(Duration::from_millis(i));
        }
        let mut report = Report::default();
        report.put_recorder(recorder, Duration::from_secs(2));
        let json = report.to_json("send");
        assert_eq!(
            json["figures"],
            json!({
                "operations": 1000.0, "per_s": 500.0, "p50_ms": 500.0, "p95_ms": 950.0,
                "p99_ms": 990.0, "max_ms": 1000.0,
            })
        );
        assert_eq!(json["problems"], json!([]));
    }

    #[test]
    fn failures_have_no_latency_and_are_a_problem() {
        let (mut recorder, mut other) = (Recorder::default(), Recorder::default());
        recorder.failure(&Failure::Timeout);
        other.failure(&Failure::Timeout);
        recorder.merge(other);
        let mut report = Report::default();
        report.put_recorder(recorder, Duration::from_secs(1));
        let json = report.to_json("send");
        assert_eq!(json["figures"], json!({ "operations": 0.0, "per_s": 0.0 }));
        assert_eq!(json["problems"], json!(["2 × no answer in time"]));
    }
}
