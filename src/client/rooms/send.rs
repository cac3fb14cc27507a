//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    CanonicalJsonValue, OwnedEventId, OwnedRoomId, OwnedTransactionId,
    api::client::message::send_message_event::v3::{Request as RumaRequest, Response},
    events::TimelineEventType,
};
use stoa_rooms::{Rooms, Transaction};

use super::known_room;
use crate::http::{Answer, Error, FreeForm, Limits, Result, RumaSend};

/// Like ruma's, with canonical content.
pub(crate) type Request =
    FreeForm<RumaRequest, (OwnedRoomId, TimelineEventType, OwnedTransactionId)>;

/// Sends an event that is no state. The same transaction sends it once.
pub(crate) async fn send_message(
    State(rooms): State<Arc<Rooms>>,
    State(limits): State<Limits>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session) = (request.actor(), request.session);
    let FreeForm { path: (room_id, kind, txn_id), body: content, .. } = request.body;
    limits.message(&actor.user_id)?;
    let room = known_room(&rooms, &room_id).await?;
    let endpoint = format!("send {room_id} {kind}");
    let transaction = Transaction::new(&actor.user_id, &session.device_id, &endpoint, &txn_id)?;
    let (token, transaction) = (Some(&*session.token_hash), Some(transaction));
    let event_id = if kind == TimelineEventType::RoomRedaction {
        let target = redacted(content.get("redacts"))?;
        rooms.redact(&actor, token, &room, &target, content, transaction).await?
    } else {
        rooms.send_message(&actor, token, &room, kind, content, transaction).await?
    };
    Ok(Answer(Response::new(event_id)))
}

/// The event that a redaction redacts, which from room version 11 on stands in its content.
fn redacted(redacts: Option<&CanonicalJsonValue>) -> Result<OwnedEventId> {
    let redacts = redacts.and_then(CanonicalJsonValue::as_str);
    let redacts = redacts.and_then(|id| OwnedEventId::try_from(id).ok());
    redacts.ok_or_else(|| Error::bad_json("The content of a redaction names what it `redacts`."))
}
