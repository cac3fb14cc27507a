//! The parts of the server that the HTTP layer needs before and around a handler.

use std::{sync::Arc, time::Duration};

use stoa_accounts::Sessions;
use stoa_base::{Clock, Random};
use stoa_cluster::Freshness;
use stoa_config::Anonymous;

use crate::{Limits, TrustedProxies};

/// The parts of the server that requests of every API need. A router's state provides them as an
/// `Arc<Context>` through [`FromRef`](axum::extract::FromRef), and can hold anything else besides.
#[derive(Debug)]
pub struct Context {
    /// Finds the session of an access token.
    pub sessions: Arc<Sessions>,
    /// Waits until the caches hold everything acknowledged before the request arrived.
    pub freshness: Freshness,
    /// The rate limits.
    pub limits: Limits,
    /// The maximum size of a request body, in bytes.
    pub max_request_bytes: usize,
    /// What can be read without a token.
    pub anonymous: Anonymous,
    /// The reverse proxies that are trusted to name the client's address.
    pub trusted_proxies: TrustedProxies,
    /// How long a request may take before it is reported as slow.
    pub slow_request: Option<Duration>,
    /// The clock.
    pub clock: Clock,
    /// The source of randomness for request IDs.
    pub random: Random,
}
