use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse;

/// The addresses on which the server listens.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The addresses for clients. There must be at least one.
    #[serde(deserialize_with = "parse::some_addresses")]
    #[schemars(schema_with = "parse::one_or_many")]
    pub client: Vec<SocketAddr>,

    /// The addresses for other Matrix servers.
    ///
    /// This version does not federate yet and does not listen here, even if this is set.
    #[serde(deserialize_with = "parse::addresses")]
    #[schemars(schema_with = "parse::one_or_many")]
    pub federation: Vec<SocketAddr>,

    /// The addresses on which Prometheus can read the metrics. Metrics reveal what the server is
    /// doing, so these addresses should not be reachable from outside.
    #[serde(deserialize_with = "parse::addresses")]
    #[schemars(schema_with = "parse::one_or_many")]
    pub metrics: Vec<SocketAddr>,

    /// The addresses and networks of trusted reverse proxies. The client's address is taken from
    /// their `X-Forwarded-For` header.
    #[serde(deserialize_with = "parse::networks")]
    #[schemars(schema_with = "parse::one_or_many")]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            client: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8008))],
            federation: Vec::new(),
            metrics: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9008))],
            trusted_proxies: vec![
                Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).trunc().into(),
                Ipv6Net::from(Ipv6Addr::LOCALHOST).into(),
            ],
        }
    }
}
