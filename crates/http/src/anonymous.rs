//! What may be read without a token only where the configuration says so.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::{Request, request::Parts};
use ruma::api::auth_scheme::AccessToken;
use stoa_config::Anonymous;

use crate::{
    ClientAddress, Context, Error, Result,
    extract::{Authenticate as _, admit, known_session, operation_of},
};

/// Lets a request through if whoever sends it may read the room list.
#[derive(Debug)]
pub struct MayReadRoomList;

/// Lets a request through if whoever sends it may read profiles.
#[derive(Debug)]
pub struct MayReadProfiles;

impl<S> FromRequestParts<S> for MayReadRoomList
where
    S: Send + Sync,
    Arc<Context>: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let context = Arc::<Context>::from_ref(state);
        let Anonymous { room_list, .. } = context.anonymous;
        check(room_list, parts, &context).await.map(|()| Self)
    }
}

impl<S> FromRequestParts<S> for MayReadProfiles
where
    S: Send + Sync,
    Arc<Context>: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let context = Arc::<Context>::from_ref(state);
        let Anonymous { profiles, .. } = context.anonymous;
        check(profiles, parts, &context).await.map(|()| Self)
    }
}

/// Refuses a request without a session, unless anybody may read.
async fn check(is_open: bool, parts: &Parts, context: &Context) -> Result<()> {
    if is_open {
        return Ok(());
    }
    let ClientAddress(address) = ClientAddress::of(parts, &context.trusted_proxies);
    let head = Request::from_parts(parts.clone(), ());
    // A user whose session is known is charged when the request itself is read. Looking up the session
    // of a made-up token must not be free.
    if known_session(&head, context).is_none() {
        admit(operation_of(parts), &head, address, context)?;
    }
    context.freshness.current().await?;
    AccessToken::authenticate(&head, address, context).await.map(drop)
}
