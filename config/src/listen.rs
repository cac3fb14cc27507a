use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse;

/// The addresses at which the server waits for connections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Where clients reach the server. At least one address.
    #[serde(deserialize_with = "parse::some_addresses")]
    #[schemars(schema_with = "parse::one_or_many")]
    pub client: Vec<SocketAddr>,

    /// Where other Matrix servers reach the server.
    ///
    /// This version does not federate yet, so nothing listens here whatever is set.
    #[serde(deserialize_with = "parse::addresses")]
    #[schemars(schema_with = "parse::one_or_many")]
    pub federation: Vec<SocketAddr>,

    /// Where Prometheus reads the metrics. They tell what the server is doing, so this should not
    /// be reachable from outside.
    #[serde(deserialize_with = "parse::addresses")]
    #[schemars(schema_with = "parse::one_or_many")]
    pub metrics: Vec<SocketAddr>,

    /// The addresses and networks of reverse proxies, whose `X-Forwarded-For` is believed when it
    /// names the address of a client.
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
