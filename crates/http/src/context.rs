//! What the layer needs of the server before a handler runs, and around it.

use std::{sync::Arc, time::Duration};

use stoa_accounts::Sessions;
use stoa_base::{Clock, Random};
use stoa_cluster::Freshness;
use stoa_config::Anonymous;

use crate::{Limits, TrustedProxies};

/// The parts of the server that requests of every API need. The state of a router gives them by
/// [`FromRef`](axum::extract::FromRef), as an `Arc<Context>`, and holds what it likes besides.
#[derive(Debug)]
pub struct Context {
    /// Whose token it is.
    pub sessions: Arc<Sessions>,
    /// Whether the caches hold all that was acknowledged before the request arrived.
    pub freshness: Freshness,
    /// How often somebody may do something.
    pub limits: Limits,
    /// How large a request may be, in bytes.
    pub max_request_bytes: usize,
    /// What may be read without a token.
    pub anonymous: Anonymous,
    /// The reverse proxies whose word counts.
    pub trusted_proxies: TrustedProxies,
    /// From when on a request is slow, and is reported.
    pub slow_request: Option<Duration>,
    /// The time.
    pub clock: Clock,
    /// Where the IDs of requests come from.
    pub random: Random,
}
