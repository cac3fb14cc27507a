//! The server-server API, which other Matrix servers call.
//!
//! Other servers can ask which software runs here, and which host serves the server name.
//! [`routes`] serves both on a router whose state provides a [`Federation`] and the [`Context`] of
//! the HTTP layer through axum's `FromRef`. Requests are limited by address.

mod federation;
mod inbound;

use std::sync::Arc;

use axum::extract::FromRef;
use stoa_http::{Class::Reads, Context, Operation, Routes};

pub use self::federation::Federation;

/// The routes for other servers.
pub fn routes<S>() -> Routes<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Context>: FromRef<S>,
    Arc<Federation>: FromRef<S>,
{
    Routes::new(OPERATIONS)
        .ruma(inbound::discover_homeserver::discover_homeserver)
        .ruma(inbound::get_server_version::get_server_version)
}

/// What each operation costs, in the order of the routes.
static OPERATIONS: &[Operation] = &[
    Operation::get("/.well-known/matrix/server", Reads, 1),
    Operation::get("/_matrix/federation/v1/version", Reads, 1),
];
