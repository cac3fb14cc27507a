//! `GET /_matrix/client/v3/sync`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    UserId,
    api::client::{
        filter::FilterDefinition,
        sync::sync_events::v3::{Filter as RequestFilter, Request},
    },
};
use stoa_accounts::{Accounts, Filter};
use stoa_rooms::tokens::SyncToken;
use stoa_sync::{
    Reader, Streams,
    v3::{self, Response},
};

use crate::http::{Error, Result, Ruma, respond::Json};

/// Tells what is new, or waits until something is.
pub(crate) async fn sync(
    State(accounts): State<Arc<Accounts>>,
    State(streams): State<Arc<Streams>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Json<Response>> {
    let filter = WantedFilter::find(&accounts, &session.user_id, body.filter).await?;
    let since = body.since.as_deref().map(str::parse::<SyncToken>).transpose();
    let request = v3::Request {
        since: since.map_err(|error| Error::invalid_param(format!("`since`: {error}.")))?,
        filter: filter.definition(),
        full_state: body.full_state,
        use_state_after: body.use_state_after,
        timeout: body.timeout.unwrap_or_default(),
    };
    let reader = Reader::new(&session.user_id, &session.device_id);
    Ok(Json(v3::sync(&streams, &reader, request).await?))
}

/// A filter that is stored, or stands in the request.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum WantedFilter {
    Stored(Arc<Filter>),
    Given(FilterDefinition),
}

impl WantedFilter {
    async fn find(
        accounts: &Accounts,
        user_id: &UserId,
        filter: Option<RequestFilter>,
    ) -> Result<Self> {
        match filter {
            None => Ok(Self::Given(FilterDefinition::default())),
            Some(RequestFilter::FilterDefinition(definition)) => Ok(Self::Given(definition)),
            // What looks like a filter and was not understood is taken for an ID.
            Some(RequestFilter::FilterId(id)) if id.starts_with('{') => {
                Err(Error::bad_json("`filter` is not a filter."))
            }
            Some(RequestFilter::FilterId(id)) => {
                let filter = accounts.filter(user_id, &id).await?;
                let unknown = || Error::invalid_param("`filter`: you have no such filter.");
                filter.map(Self::Stored).ok_or_else(unknown)
            }
            Some(_) => Err(Error::invalid_param("`filter` is neither a filter nor an ID.")),
        }
    }

    fn definition(&self) -> &FilterDefinition {
        match self {
            Self::Stored(filter) => &filter.definition,
            Self::Given(definition) => definition,
        }
    }
}
