//! What may be read without a token only where the configuration says so.

use axum::extract::FromRequestParts;
use http::{Request, request::Parts};
use ruma::api::auth_scheme::AccessToken;
use stoa_config::Anonymous;

use super::{
    ClientAddress, Error, Result,
    extract::{Authenticate as _, admit, known_session, operation_of},
};
use crate::app::AppState;

/// Lets a request through if whoever sends it may read the room list.
#[derive(Debug)]
pub struct MayReadRoomList;

/// Lets a request through if whoever sends it may read profiles.
#[derive(Debug)]
pub struct MayReadProfiles;

impl FromRequestParts<AppState> for MayReadRoomList {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let Anonymous { room_list, .. } = state.config.anonymous;
        check(room_list, parts, state).await.map(|()| Self)
    }
}

impl FromRequestParts<AppState> for MayReadProfiles {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let Anonymous { profiles, .. } = state.config.anonymous;
        check(profiles, parts, state).await.map(|()| Self)
    }
}

/// Refuses a request without a session, unless anybody may read.
async fn check(is_open: bool, parts: &Parts, state: &AppState) -> Result<()> {
    if is_open {
        return Ok(());
    }
    let ClientAddress(address) = ClientAddress::of(parts, &state.trusted_proxies);
    let head = Request::from_parts(parts.clone(), ());
    // A user whose session is known is charged when the request itself is read. Looking up the session
    // of a made-up token must not be free.
    if known_session(&head, state).is_none() {
        admit(operation_of(parts), &head, address, state)?;
    }
    state.freshness.current().await?;
    AccessToken::authenticate(&head, address, state).await.map(drop)
}
