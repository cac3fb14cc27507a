//! What the server measures, for Prometheus.

use std::time::Duration;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::header;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{app::AppState, health};

/// The upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The upper bounds of the buckets of sizes of groups of appends.
const GROUP_SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The measurements of this process.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The buckets are wrong.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is a recorder already.
    #[error("metrics are recorded already")]
    Twice,
}

impl Metrics {
    /// Begins to measure. There is one recorder in a process: every crate's macros find it.
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

    /// The listener's routes: the metrics, and what load balancers ask.
    pub fn router(self, state: AppState) -> Router {
        Router::new()
            .route("/metrics", get(render))
            .with_state((self, state.clone()))
            .merge(health::router(state))
    }

    /// Keeps the memory of what nobody reads bounded. Runs until it is dropped.
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
    for (cache, entries) in state.rooms.cached() {
        metrics::gauge!("stoa_cache_entries", "cache" => cache).set(entries as f64);
    }
    metrics::gauge!("stoa_log_applied").set(state.tailer.applied().0 as f64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.0.render())
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(
        "stoa_http_request_duration_seconds",
        Unit::Seconds,
        "Time from the head of a request to the head of its answer"
    );
    describe_gauge!("stoa_http_connections", "Open connections of clients");
    describe_counter!("stoa_panics_total", "Requests that ended in a panic: bugs");
    describe_gauge!("stoa_database_connections", "Connections to read the database with");
    describe_gauge!("stoa_log_position", "The last position in the log that this node wrote");
    describe_gauge!("stoa_log_applied", "The position up to which this node's caches are current");
    describe_histogram!("stoa_log_group_size", "Appends that were written together");
    describe_histogram!(
        "stoa_log_lock_held_seconds",
        Unit::Seconds,
        "Time that the log lock was held for a group"
    );
    describe_histogram!(
        "stoa_log_lock_wait_seconds",
        Unit::Seconds,
        "Time that a group waited for the log lock"
    );
    describe_counter!("stoa_log_appends_total", "Appends that were written");
    describe_counter!("stoa_log_conflicts_total", "Appends that had to be built again");
    describe_counter!("stoa_log_failed_total", "Appends that were not written");
    describe_counter!("stoa_log_queue_full_total", "Appends that found no place in the queue");
    describe_counter!("stoa_log_head_reads_total", "Looks at the head of the shared log");
    describe_gauge!("stoa_cache_entries", "What is kept in memory, by cache");
    describe_gauge!("stoa_waiting_readers", "Syncs and others that wait for news");
    metrics::counter!("stoa_panics_total").absolute(0);
}
