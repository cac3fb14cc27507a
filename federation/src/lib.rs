//! The server-server API: what other Matrix servers ask of this one.
//!
//! Any server may ask which software runs here, and where the server name is served if that is
//! somewhere else. [`routes`] serves both on a router whose state gives a [`Federation`] and the
//! [`Context`] of the HTTP layer by axum's `FromRef`. Requests are limited by the address that they
//! come from.

mod federation;
mod inbound;

use std::sync::Arc;

use axum::extract::FromRef;
use stoa_http::{Class::Reads, Context, Operation, Routes};

pub use self::federation::Federation;

/// What is served to other servers.
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
