//! An event, with what this server knows about it beyond the PDU.

use std::sync::Arc;

use ruma::{
    OwnedEventId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
    room_version_rules::RoomVersionRules,
};
use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_storage::{
    Error, Result,
    log::EventStatus,
    repo::events::{Order, StoredEventRow},
};

use crate::graph::pdu::Pdu;

/// An event, with everything that this server knows about it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its internal number.
    pub nid: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// The event itself.
    pub pdu: Arc<Pdu>,
    /// Its position in the live timeline. None if it is not part of it.
    pub pos: Option<Pos>,
    /// Its place in the room's order. None for an outlier.
    pub order: Option<Order>,
    /// Whether it was accepted.
    pub status: EventStatus,
    /// The room's state before it. None for an outlier.
    pub state_before: Option<StateNid>,
    /// The room's state after it. None for an outlier.
    pub state_after: Option<StateNid>,
    /// The state event that it replaced.
    pub replaces: Option<EventNid>,
    /// The device that sent it and the key of its transaction.
    pub txn: Option<(String, String)>,
    /// The event that redacted it.
    pub redacted_by: Option<EventNid>,
}

impl Event {
    /// The event in a row that was read.
    pub(crate) fn from_row(row: StoredEventRow, rules: &RoomVersionRules) -> Result<Self> {
        let event_id = OwnedEventId::try_from(row.event_id).map_err(Error::corrupt)?;
        let mut pdu =
            Pdu::from_stored(event_id, row.json.into_boxed_str(), rules).map_err(Error::corrupt)?;
        pdu.rejected = row.status == EventStatus::Rejected;
        Ok(Self {
            nid: row.nid,
            room: row.room,
            pdu: Arc::new(pdu),
            pos: row.pos,
            order: row.order,
            status: row.status,
            state_before: row.state_before,
            state_after: row.state_after,
            replaces: row.replaces,
            txn: row.txn_device.zip(row.txn_id),
            redacted_by: row.redacted_by,
        })
    }

    /// How many bytes the event takes, roughly.
    pub fn weight(&self) -> usize {
        1_024 + 2 * self.pdu.json().len()
    }

    /// The membership that this event sets, if it is a member event.
    pub fn membership(&self) -> Option<MembershipState> {
        #[derive(serde::Deserialize)]
        struct Content {
            membership: MembershipState,
        }
        (self.pdu.event_type == TimelineEventType::RoomMember)
            .then(|| serde_json::from_str::<Content>(self.pdu.content.get()).ok())
            .flatten()
            .map(|content| content.membership)
    }

    /// Whether it is a member event of this user.
    pub(crate) fn is_member_event_of(&self, user_id: &UserId) -> bool {
        self.pdu.event_type == TimelineEventType::RoomMember
            && self.pdu.state_key.as_deref() == Some(user_id.as_str())
    }

    /// Whether this member event is a departure, given that it replaced `replaced`.
    pub(crate) fn is_departure_after(&self, replaced: &Self) -> bool {
        replaced.membership() == Some(MembershipState::Join)
            && self.membership() != Some(MembershipState::Join)
    }
}
