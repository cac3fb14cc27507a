//! Redacting events.

use std::sync::Arc;

use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId, UserId, canonical_json::redact_in_place,
    events::TimelineEventType, room_version_rules::RoomVersionRules,
    state_res::events::RoomPowerLevelsIntField,
};
use stoa_base::{Actor, StateNid};
use stoa_storage::log::{Append, RedactionRow, Stream};

use crate::{
    Result, RoomError, Rooms, change::Built, events::Event, once::Transaction, pdu::Pdu,
    room::Room, stage::NewEvent,
};

impl Rooms {
    /// Redacts an event: takes its content away, for everybody and for good, and gives the ID of
    /// the event that says so. `content` is that event's, with the reason where there is one.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>
    pub async fn redact(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
        target: &EventId,
        content: CanonicalJsonObject,
        transaction: Option<Transaction>,
    ) -> Result<OwnedEventId> {
        let target = self.events.by_id(target).await?.filter(|event| event.room == room.nid);
        let target = target.ok_or(RoomError::NotFound("event"))?;
        let new = NewEvent {
            kind: TimelineEventType::RoomRedaction,
            state_key: None,
            sender: actor.user_id.clone(),
            content,
            redacts: Some(Arc::clone(&target)),
            sent: None,
            txn: transaction
                .clone()
                .map(|transaction| (transaction.device.into(), transaction.key)),
        };
        let (new, target) = (&new, &*target);
        self.once(session, transaction.as_ref(), || {
            self.change(room, session, |mut draft| async move {
                // What was refused here would be an event that redacts nothing.
                if !self.may_redact(room, draft.head.state, &new.sender, target).await? {
                    return Err(RoomError::forbidden(
                        "You may redact your own events only; others' need a higher power level",
                    ));
                }
                let event = self.stage(room, &mut draft, new.clone()).await?;
                Ok(Built::New(draft, event.pdu.event_id.clone()))
            })
        })
        .await
    }

    /// Whether a redaction by `sender` takes effect: of an event from the same server as the
    /// sender, or with the power to redact.
    ///
    /// <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions>
    pub(crate) async fn may_redact(
        &self,
        room: &Room,
        state: StateNid,
        sender: &UserId,
        target: &Event,
    ) -> Result<bool> {
        let is_own = if self.is_local(sender) {
            target.pdu.sender == *sender
        } else {
            target.pdu.sender.server_name() == sender.server_name()
        };
        if is_own {
            return Ok(true);
        }
        let power = self.power(room, state).await?;
        Ok(power.of(sender)? >= power.needed(RoomPowerLevelsIntField::Redact)?)
    }
}

/// Adds to `append` that `redaction` takes the content of `target` away.
pub(crate) fn note_redaction(
    room: &Room,
    target: &Event,
    redaction: &Event,
    append: &mut Append,
) -> Result<()> {
    let json = redacted_json(&target.pdu, &room.rules)?;
    append.redactions.push(RedactionRow { nid: target.nid, redacted_by: redaction.nid, json });
    append.touched.add(Stream::Redaction, room.nid);
    Ok(())
}

/// The text of an event without what a redaction takes away.
pub(crate) fn redacted_json(pdu: &Pdu, rules: &RoomVersionRules) -> Result<String> {
    let mut object: CanonicalJsonObject =
        serde_json::from_str(pdu.json()).map_err(stoa_storage::Error::corrupt)?;
    redact_in_place(&mut object, &rules.redaction, None)
        .map_err(|error| RoomError::BadJson(error.to_string()))?;
    Ok(serde_json::to_string(&object).map_err(stoa_storage::Error::corrupt)?)
}
