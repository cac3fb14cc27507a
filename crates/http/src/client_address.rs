//! The address that a request came from.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use crate::{Context, TrustedProxies};

/// The peer address of the connection, which the listener adds to each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The client's address; `None` if the request did not come over a network.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub Option<IpAddr>);

impl ClientAddress {
    /// The client's address, as far as the trusted proxies tell it.
    pub fn of(parts: &Parts, proxies: &TrustedProxies) -> Self {
        let peer = parts.extensions.get::<Peer>();
        Self(peer.map(|Peer(peer)| proxies.client(peer.ip(), &parts.headers)))
    }
}

impl<S> FromRequestParts<S> for ClientAddress
where
    S: Send + Sync,
    Arc<Context>: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts, &Arc::<Context>::from_ref(state).trusted_proxies))
    }
}
