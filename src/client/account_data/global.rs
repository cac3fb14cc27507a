//! `GET` and `PUT /_matrix/client/v3/user/{userId}/account_data/{type}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridaccount_datatype>,
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridaccount_datatype>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    api::client::config::{
        get_global_account_data::v3 as get_data, set_global_account_data::v3 as set_data,
    },
    serde::Raw,
};
use stoa_accounts::Accounts;

use crate::{
    client::own,
    http::{Answer, Error, Result, Ruma},
};

/// Gives what was set.
pub(crate) async fn get_account_data(
    State(accounts): State<Arc<Accounts>>,
    Ruma { body, session, .. }: Ruma<get_data::Request>,
) -> Result<Answer<get_data::Response>> {
    own(&body.user_id, &session.user_id)?;
    let kind = body.event_type.to_string();
    let content = accounts.account_data(&body.user_id, None, &kind).await?;
    let content = content.ok_or_else(|| Error::not_found("Nothing was set."))?;
    Ok(Answer(get_data::Response::new(Raw::from_json(content))))
}

/// Replaces what was set.
pub(crate) async fn set_account_data(
    State(accounts): State<Arc<Accounts>>,
    request: Ruma<set_data::Request>,
) -> Result<Answer<set_data::Response>> {
    let body = &request.body;
    own(&body.user_id, &request.session.user_id)?;
    let kind = body.event_type.to_string();
    accounts.set_account_data(&request.actor(), None, &kind, body.data.json()).await?;
    Ok(Answer(set_data::Response::new()))
}
