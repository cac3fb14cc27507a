//! `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue,
    api::client::redact::redact_event::v3::{Request, Response},
};
use stoa_rooms::{Rooms, Transaction};

use super::known_room;
use crate::http::{Answer, Limits, Result, RumaSend};

/// Takes the content of an event away.
pub(crate) async fn redact(
    State(rooms): State<Arc<Rooms>>,
    State(limits): State<Limits>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session, body) = (request.actor(), request.session, request.body);
    limits.message(&actor.user_id)?;
    let room = known_room(&rooms, &body.room_id).await?;
    let endpoint = format!("redact {} {}", body.room_id, body.event_id);
    let transaction =
        Transaction::new(&actor.user_id, &session.device_id, &endpoint, &body.txn_id)?;
    let reason = body.reason.map(|reason| ("reason".to_owned(), reason.into()));
    let content: CanonicalJsonObject =
        reason.into_iter().collect::<std::collections::BTreeMap<String, CanonicalJsonValue>>();
    let token = Some(&*session.token_hash);
    let event_id =
        rooms.redact(&actor, token, &room, &body.event_id, content, Some(transaction)).await?;
    Ok(Answer(Response::new(event_id)))
}
