//! Requests of clients to a node, and the answers.

use http::Method;
use serde_json::Value;

/// A request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) token: Option<&'a str>,
    pub(super) body: Option<Value>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}
