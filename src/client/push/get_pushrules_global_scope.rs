//! `GET /_matrix/client/v3/pushrules/global/`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal>

use ruma::api::client::push::get_pushrules_global_scope::v3::Request;
use stoa_http::{Ruma, respond::Json};

use super::{Scope, by_kind};

/// Returns the push rules of the only scope, `global`.
pub(crate) async fn get_pushrules_global_scope(Ruma { session, .. }: Ruma<Request>) -> Json<Scope> {
    Json(by_kind(stoa_push::rules(&session.user_id)))
}
