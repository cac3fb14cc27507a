//! `GET /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuseridkeyname>

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use ruma::api::client::profile::get_profile_field::v3::Request;
use serde_json::Value;
use stoa_accounts::Accounts;

use crate::http::{Error, Result, Ruma, respond::Json};

/// Gives one field of the profile of a user, to anybody.
pub(crate) async fn get_profile_field(
    State(accounts): State<Arc<Accounts>>,
    Ruma { body, .. }: Ruma<Request>,
) -> Result<Json<BTreeMap<String, Value>>> {
    let field = body.field.as_str();
    let value = accounts.profile_field(&body.user_id, field).await?;
    let value = value.ok_or_else(|| Error::not_found("There is no such user or field."))?;
    Ok(Json(BTreeMap::from([(field.to_owned(), value)])))
}
