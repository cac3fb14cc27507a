//! A bug in one request must not take down others: a panic becomes a 500, a log line, and a count,
//! which must be zero at the end of every test.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};

use crate::Error;

/// Counts requests of this server that ended in a panic.
#[derive(Clone, Debug, Default)]
pub struct Panics(Arc<AtomicU64>);

impl Panics {
    /// The number of panics so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Catches panics in the routes inside this layer.
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

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_counted() {
        let panics = Panics::default();
        #[expect(clippy::panic, reason = "this is what is tested")]
        let router: Router = Router::new()
            .route("/", get(async || -> () { panic!("the secret is 1234") }))
            .layer(panics.layer());
        let request = Request::new(Body::empty());
        let response = router.oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("M_UNKNOWN") && !body.contains("1234"), "{body}");
        assert_eq!(panics.count(), 1);
    }
}
