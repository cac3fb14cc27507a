//! `GET /_matrix/client/v3/sync`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use ruma::api::client::{
    filter::FilterDefinition,
    sync::sync_events::v3::{Filter, Request},
};
use stoa_accounts::Accounts;
use stoa_sync::{Reader, Streams, v3};

use crate::http::{Error, Result, Ruma, respond::Json};

/// Tells a device what is new since its token, or waits until something is.
pub(crate) async fn sync(
    State(streams): State<Arc<Streams>>,
    State(accounts): State<Arc<Accounts>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Json<v3::Response>> {
    let since = body.since.as_deref().map(str::parse).transpose();
    let since = since.map_err(|_| Error::invalid_param("`since` is not a token of this server"))?;
    let stored;
    let everything = FilterDefinition::default();
    let filter = match &body.filter {
        None => &everything,
        Some(Filter::FilterDefinition(filter)) => filter,
        Some(Filter::FilterId(id)) => {
            stored = accounts.filter(&session.user_id, id).await?;
            let filter = stored.as_deref();
            &filter.ok_or_else(|| Error::invalid_param("You have no such filter"))?.definition
        }
        Some(_) => return Err(Error::invalid_param("`filter` is neither an id nor a filter")),
    };
    let request = v3::Request {
        since,
        filter,
        full_state: body.full_state,
        use_state_after: body.use_state_after,
        timeout: body.timeout.unwrap_or(Duration::ZERO),
    };
    let reader = Reader::new(&session.user_id, &session.device_id);
    Ok(Json(v3::sync(&streams, &reader, request).await?))
}
