//! A bug in one request must not take the others down: a panic becomes a 500, a line in the log,
//! and a count that no test run may end with.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};

use super::Error;

/// How many requests of this server ended in a panic.
#[derive(Clone, Debug, Default)]
pub struct Panics(Arc<AtomicU64>);

impl Panics {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Catches the panics of the routes that it is laid around.
    pub fn layer(&self) -> CatchPanicLayer<Self> {
        CatchPanicLayer::custom(self.clone())
    }
}

impl ResponseForPanic for Panics {
    type ResponseBody = axum::body::Body;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send + 'static>) -> Response {
        self.0.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("stoa_panics_total").increment(1);
        Error::internal(format!("panicked: {}", message(&*panic))).into_response()
    }
}

/// What was said when a panic began.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
