//! Redacting events.

use std::sync::Arc;

use ruma::{CanonicalJsonObject, EventId, OwnedEventId, events::TimelineEventType};
use stoa_base::Actor;

use crate::{
    cache::{room::Room, transactions::Transaction},
    error::{Result, RoomError},
    write::{change::Built, send::Sending, stage::NewEvent},
};

impl Sending {
    /// Redacts an event: removes its content for everybody, permanently. Returns the ID of the
    /// redaction event. `content` is the content of that event, including the reason if there is
    /// one.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>
    #[tracing::instrument(level = "debug", skip_all, fields(room = %room.id))]
    pub async fn redact(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
        target: &EventId,
        content: CanonicalJsonObject,
        transaction: Option<Transaction>,
    ) -> Result<OwnedEventId> {
        let target =
            self.state_events.events.by_id(target).await?.filter(|event| event.room == room.nid);
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
        self.once
            .send(session, transaction.as_ref(), || {
                self.changes.change(room, session, |mut draft| async move {
                    // Without this check, the result would be an event that redacts nothing.
                    if !self
                        .redactors
                        .may_redact(room, draft.head.state, &new.sender, target)
                        .await?
                    {
                        return Err(RoomError::forbidden(
                            "You need a higher power level to redact other users' events",
                        ));
                    }
                    let event = self.staging.stage(room, &mut draft, new.clone()).await?;
                    Ok(Built::New(draft, event.pdu.event_id.clone()))
                })
            })
            .await
    }
}
