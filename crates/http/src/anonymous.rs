//! What can be read without a token if the configuration allows it.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::{Request, request::Parts};
use ruma::api::auth_scheme::AccessToken;

use crate::{
    ClientAddress, Context, Error, Result,
    extract::{Authenticate as _, known_session, operation_of, spend},
};

/// Defines an extractor for each of the settings in [`Anonymous`](stoa_config::Anonymous). A
/// handler takes it before its request.
macro_rules! may_read {
    ($($(#[$doc:meta])* $name:ident: $setting:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl<S> FromRequestParts<S> for $name
        where
            S: Send + Sync,
            Arc<Context>: FromRef<S>,
        {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
                let context = Arc::<Context>::from_ref(state);
                check(context.anonymous.$setting, parts, &context).await.map(|()| Self)
            }
        }
    )*};
}

may_read! {
    /// Lets a request through if its sender may read the room directory.
    MayReadRoomList: room_list;
    /// Lets a request through if its sender may read profiles.
    MayReadProfiles: profiles;
}

/// Refuses a request without a session, unless anyone may read.
async fn check(is_open: bool, parts: &Parts, context: &Context) -> Result<()> {
    if is_open {
        return Ok(());
    }
    let ClientAddress(address) = ClientAddress::of(parts, &context.trusted_proxies);
    let head = Request::from_parts(parts.clone(), ());
    // A user whose session is in memory is charged when the request itself is read. Looking up the
    // session of a made-up token must not be free.
    if known_session(&head, context).is_none() {
        spend(operation_of(parts), &head, address, context)?;
    }
    context.freshness.current().await?;
    AccessToken::authenticate(&head, address, context).await.map(drop)
}
