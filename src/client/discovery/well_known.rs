//! `GET /.well-known/matrix/client`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient>

use axum::extract::State;
use ruma::api::client::discovery::discover_homeserver::{HomeserverInfo, Request, Response};

use crate::{
    app::AppState,
    http::{Answer, Error, Result, Ruma},
};

/// Where clients find the server; 404 where the admin has not said so, and they try the server
/// name itself.
pub(crate) async fn get_well_known(
    State(state): State<AppState>,
    _: Ruma<Request>,
) -> Result<Answer<Response>> {
    let url = state.config.public_base_url.as_ref();
    let url = url.ok_or_else(|| Error::not_found("Nothing is announced here."))?;
    Ok(Answer(Response::new(HomeserverInfo::new(url.as_str().to_owned()))))
}
