//! What load balancers and orchestrators ask: is the process alive, and may it be sent requests?

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use stoa_storage::log;

use crate::app::AppState;

/// How long the database may take to answer a question that costs nothing.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// `/health` and `/ready`, for the listener of the metrics.
pub(crate) fn router(state: AppState) -> Router {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).with_state(state)
}

/// `GET /health`: the process answers.
pub(crate) async fn health() -> &'static str {
    "alive\n"
}

/// `GET /ready`: the database can be reached. Its migrations were applied before anything was
/// served.
pub(crate) async fn ready(State(state): State<AppState>) -> (StatusCode, &'static str) {
    if state.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if !state.store.is_answering() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n");
    }
    let reading = async { log::head(&mut state.store.read().await?).await };
    match tokio::time::timeout(DATABASE_TIMEOUT, reading).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be read\n")
        }
        Err(_) => {
            tracing::warn!("not ready: the database does not answer in time");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}
