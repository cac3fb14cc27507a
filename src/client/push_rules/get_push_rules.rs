//! `GET /_matrix/client/v3/pushrules/`, `GET /_matrix/client/v3/pushrules/global/`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules>,
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal>

use ruma::api::client::push::{
    get_pushrules_all::v3 as get_all, get_pushrules_global_scope::v3 as get_global,
};

use crate::http::{Answer, Ruma};

/// Gives all rules, by scope.
pub(crate) async fn get_push_rules(
    Ruma { session, .. }: Ruma<get_all::Request>,
) -> Answer<get_all::Response> {
    Answer(get_all::Response::new(stoa_push::rules(&session.user_id)))
}

/// Gives the rules of the one scope there is.
pub(crate) async fn get_global_push_rules(
    Ruma { session, .. }: Ruma<get_global::Request>,
) -> Answer<get_global::Response> {
    Answer(get_global::Response::new(stoa_push::rules(&session.user_id)))
}
