//! The server's metrics, for Prometheus.

use std::time::Duration;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::header;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{app::AppState, health};

/// The upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The upper bounds of the buckets of `stoa_log_group_size`, in appends.
const GROUP_SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The buckets are wrong.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A recorder is already installed.
    #[error("metrics are recorded already")]
    Twice,
}

impl Metrics {
    /// Installs the recorder. There is one per process, which the macros of every crate use.
    pub fn install() -> Result<Self, MetricsError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Full("stoa_log_group_size".to_owned()), &GROUP_SIZES)?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Twice)?;
        describe();
        Ok(Self(handle))
    }

    /// The routes of the metrics listener: the metrics and the health checks.
    pub fn router(self, state: AppState) -> Router {
        Router::new()
            .route("/metrics", get(render))
            .with_state((self, state.clone()))
            .merge(health::router(state))
    }

    /// Bounds the memory of metrics that nobody reads. Runs until it is dropped.
    pub async fn upkeep(self) {
        let mut interval = tokio::time::interval(Duration::from_secs(10));
        loop {
            interval.tick().await;
            self.0.run_upkeep();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point, and exact to 2^53")]
async fn render(State((metrics, state)): State<(Metrics, AppState)>) -> impl IntoResponse {
    let (open, idle) = state.store.pool_size();
    metrics::gauge!("stoa_database_connections", "state" => "open").set(f64::from(open));
    metrics::gauge!("stoa_database_connections", "state" => "idle").set(idle as f64);
    for (kind, count) in state.store.statements() {
        metrics::counter!("stoa_database_statements_total", "kind" => kind.to_string())
            .absolute(count);
    }
    if let Some(bytes) = state.store.wal_bytes() {
        metrics::gauge!("stoa_sqlite_wal_bytes").set(bytes as f64);
    }
    for (cache, entries) in state.rooms.caches.entries() {
        metrics::gauge!("stoa_cache_entries", "cache" => cache).set(entries as f64);
    }
    for (cache, bytes) in state.rooms.caches.bytes() {
        metrics::gauge!("stoa_cache_bytes", "cache" => cache).set(bytes as f64);
    }
    metrics::gauge!("stoa_large_response_bytes").set(state.admission.taken() as f64);
    metrics::gauge!("stoa_log_applied").set(state.tailer.applied().0 as f64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.0.render())
}

/// A kind of metric.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All metrics and what they mean. `docs/metrics.md` must say the same.
const METRICS: [(Kind, &str, &str); 42] = [
    (
        Kind::Histogram,
        "stoa_http_request_duration_seconds",
        "Time from the head of a request to the head of its answer, by method, route and status",
    ),
    (Kind::Gauge, "stoa_http_connections", "Open connections of clients"),
    (Kind::Counter, "stoa_panics_total", "Requests that ended in a panic: bugs"),
    (Kind::Gauge, "stoa_nodes", "Nodes of this deployment that are alive"),
    (
        Kind::Gauge,
        "stoa_database_connections",
        "Connections for reading the database, by state: open, and those of them that are idle",
    ),
    (
        Kind::Counter,
        "stoa_database_statements_total",
        "Statements sent to the database, by kind: read, write, append, and follow (of the log)",
    ),
    (
        Kind::Gauge,
        "stoa_database_answering",
        "Whether the database host answers: 1 or 0 (PostgreSQL)",
    ),
    (Kind::Gauge, "stoa_sqlite_wal_bytes", "Size of the write-ahead log (SQLite)"),
    (Kind::Gauge, "stoa_log_position", "The last position in the log that this node wrote"),
    (Kind::Gauge, "stoa_log_applied", "The position up to which this node's caches are current"),
    (Kind::Histogram, "stoa_log_group_size", "Appends that were written together"),
    (Kind::Histogram, "stoa_log_lock_held_seconds", "Time that the log lock was held for a batch"),
    (Kind::Histogram, "stoa_log_lock_wait_seconds", "Time that a batch waited for the log lock"),
    (Kind::Counter, "stoa_log_appends_total", "Appends that were written"),
    (Kind::Counter, "stoa_log_conflicts_total", "Appends that had to be built again"),
    (Kind::Counter, "stoa_log_failed_total", "Appends that were not written"),
    (
        Kind::Counter,
        "stoa_log_retries_total",
        "Times that a batch was written again because its outcome was unknown",
    ),
    (
        Kind::Counter,
        "stoa_log_builds_given_up_total",
        "Appends that took too long to build while the log was locked",
    ),
    (
        Kind::Counter,
        "stoa_log_absent_ended_total",
        "Database sessions of frozen or vanished nodes that were ended because they blocked an append",
    ),
    (
        Kind::Counter,
        "stoa_log_queue_full_total",
        "Appends that were refused because the queue was full",
    ),
    (Kind::Counter, "stoa_log_head_reads_total", "Reads of the head of the shared log"),
    (
        Kind::Counter,
        "stoa_log_lost_total",
        "Times that the log turned out to have lost something this node had seen: a restore, or a fail-over with loss",
    ),
    (
        Kind::Counter,
        "stoa_leases_lost_total",
        "Leases that expired before this node returned them: it was frozen, or could not reach the database",
    ),
    (Kind::Gauge, "stoa_jobs", "Jobs, by state"),
    (Kind::Counter, "stoa_jobs_ended_total", "Jobs that ended on this node, by kind and state"),
    (Kind::Histogram, "stoa_job_step_seconds", "Duration of a step of a job, by kind"),
    (Kind::Gauge, "stoa_cache_entries", "Entries in memory, by cache"),
    (Kind::Gauge, "stoa_cache_bytes", "Approximate size of the entries, by cache"),
    (Kind::Gauge, "stoa_waiting_syncs", "Syncs that wait for news"),
    (Kind::Gauge, "stoa_waiting_readers", "All readers that wait for news: syncs and others"),
    (
        Kind::Histogram,
        "stoa_sync_duration_seconds",
        "Time to build the answer of a sync, without waiting, by kind",
    ),
    (
        Kind::Counter,
        "stoa_sessions_read_total",
        "Sessions read from the database because they were not in memory",
    ),
    (Kind::Counter, "stoa_registrations_total", "Accounts that were created"),
    (
        Kind::Counter,
        "stoa_limited_total",
        "Requests refused by a limit, by class: the settings under `limits`; \
         `large_responses` are answers for which there was no room in `limits.large_response_bytes` in time",
    ),
    (
        Kind::Gauge,
        "stoa_large_response_bytes",
        "Memory held by answers, of what `limits.large_response_bytes` allows",
    ),
    (
        Kind::Counter,
        "stoa_answers_begun_anew_total",
        "Answers that turned out larger than expected and were started again with more memory",
    ),
    (
        Kind::Counter,
        "stoa_attempts_refused_total",
        "Logins and registrations refused by a rate limit",
    ),
    (
        Kind::Counter,
        "stoa_refresh_tokens_reused_total",
        "Refresh tokens that were used again after their successor, which ends their session",
    ),
    (Kind::Counter, "stoa_audit_entries_total", "Entries written to the audit log"),
    (
        Kind::Gauge,
        "stoa_audit_position",
        "The last position at which this node wrote to the audit log",
    ),
    (Kind::Counter, "stoa_trace_spans_sent_total", "Spans sent to the collector"),
    (
        Kind::Counter,
        "stoa_trace_spans_lost_total",
        "Spans that the collector did not accept in time",
    ),
];

fn describe() {
    for (kind, name, meaning) in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, meaning),
            Kind::Gauge => metrics::describe_gauge!(name, meaning),
            Kind::Histogram => metrics::describe_histogram!(name, meaning),
        }
    }
    metrics::counter!("stoa_panics_total").absolute(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_all_metrics() {
        let documented = include_str!("../docs/metrics.md");
        let rows = documented.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, METRICS.len(), "a row for each metric");
        for (kind, name, meaning) in METRICS {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let row = format!("| `{name}` | {kind} | {meaning} |");
            assert!(documented.lines().any(|line| line == row), "docs/metrics.md lacks\n{row}");
        }
    }
}
