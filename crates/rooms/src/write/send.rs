//! Sending messages and state.

use std::sync::Arc;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, UserId,
    canonical_json::to_canonical_value,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
};
use stoa_base::{Actor, StateNid};

use crate::{
    cache::{room::Room, transactions::Transaction},
    error::{Result, RoomError},
    graph::{event::Event, pdu::MAX_ID_BYTES, state::StateKey, state_events::StateEvents},
    write::{
        audit::MembershipAudit,
        change::{Built, Changes},
        join_limit::JoinLimit,
        once::Once,
        redaction::Redactors,
        restricted_join::RestrictedJoins,
        stage::{NewEvent, Staging},
    },
};

/// Sends the events of this server's users.
#[derive(Clone, Debug)]
pub struct Sending {
    pub(crate) changes: Changes,
    pub(crate) once: Once,
    pub(crate) staging: Staging,
    pub(crate) state_events: StateEvents,
    pub(crate) redactors: Redactors,
    pub(crate) restricted_joins: RestrictedJoins,
    pub(crate) join_limit: JoinLimit,
    pub(crate) audit: MembershipAudit,
}

impl Sending {
    /// Sends an event that is not a state event. Returns its ID once it is flushed. Repeating a
    /// transaction gives the same event.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>
    #[tracing::instrument(level = "debug", skip_all, fields(room = %room.id))]
    pub async fn send_message(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
        kind: TimelineEventType,
        content: CanonicalJsonObject,
        transaction: Option<Transaction>,
    ) -> Result<OwnedEventId> {
        check_type(&kind.to_string())?;
        let new = NewEvent {
            kind,
            state_key: None,
            sender: actor.user_id.clone(),
            content,
            redacts: None,
            sent: None,
            txn: transaction
                .clone()
                .map(|transaction| (transaction.device.into(), transaction.key)),
        };
        let new = &new;
        self.once
            .send(session, transaction.as_ref(), || {
                self.changes.change(room, session, |mut draft| async move {
                    let event = self.staging.stage(room, &mut draft, new.clone()).await?;
                    Ok(Built::New(draft, event.pdu.event_id.clone()))
                })
            })
            .await
    }

    /// Sets a state entry. Returns the event's ID once it is flushed. If the same user has set the
    /// same content before and it is still current, returns the ID of that event.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>
    #[tracing::instrument(level = "debug", skip_all, fields(room = %room.id))]
    pub async fn send_state(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
        kind: StateEventType,
        state_key: &str,
        content: CanonicalJsonObject,
    ) -> Result<OwnedEventId> {
        check_type(&kind.to_string())?;
        if state_key.len() > MAX_ID_BYTES {
            return Err(RoomError::TooLarge("the state key".to_owned()));
        }
        if state_key.contains('\0') {
            return Err(RoomError::BadJson("a state key cannot contain U+0000".to_owned()));
        }
        let is_own = kind == StateEventType::RoomMember && state_key == actor.user_id.as_str();
        let membership = content.get("membership").and_then(CanonicalJsonValue::as_str);
        if is_own && membership == Some(MembershipState::Join.as_str()) {
            self.join_limit.check(&actor.user_id, Some(room)).await?;
        }
        let kind = kind.to_string();
        let key = StateKey::new(&kind, state_key);
        let new = NewEvent::state(kind.as_str(), state_key, actor.user_id.clone(), content);
        let new = &new;
        self.changes
            .change(room, session, |mut draft| async move {
                if let Some(present) = self.state_events.entry(draft.head.state, key).await?
                    && is_same(&present, new)?
                    && self.is_joined(draft.head.state, &new.sender).await?
                {
                    return Ok(Built::Present(present.pdu.event_id.clone()));
                }
                let new = self
                    .restricted_joins
                    .with_authority(room, draft.head.state, new.clone())
                    .await?;
                let event = self.staging.stage(room, &mut draft, new).await?;
                self.audit.note(actor, room, &event, &mut draft.append).await?;
                Ok(Built::New(draft, event.pdu.event_id.clone()))
            })
            .await
    }

    async fn is_joined(&self, state: StateNid, user_id: &UserId) -> Result<bool> {
        let member = self.state_events.entry(state, StateKey::member(user_id)).await?;
        Ok(member.and_then(|event| event.membership()) == Some(MembershipState::Join))
    }
}

fn is_same(present: &Event, new: &NewEvent) -> Result<bool> {
    if present.pdu.sender != new.sender {
        return Ok(false);
    }
    let content: serde_json::Value =
        serde_json::from_str(present.pdu.content.get()).map_err(stoa_storage::Error::corrupt)?;
    let content =
        to_canonical_value(content).map_err(|error| RoomError::BadJson(error.to_string()))?;
    Ok(content.as_object() == Some(&new.content))
}

fn check_type(kind: &str) -> Result<()> {
    if kind.len() > MAX_ID_BYTES {
        return Err(RoomError::TooLarge("the event type".to_owned()));
    }
    if kind.contains('\0') {
        return Err(RoomError::BadJson("an event type cannot contain U+0000".to_owned()));
    }
    Ok(())
}
