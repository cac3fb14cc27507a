//! The effects of an event once it is decided on, whether it was built here or came from another
//! server.
//!
//! The event becomes a row. An accepted event also moves its room on: it replaces the forward
//! extremities that it follows, the state is resolved again, changes of the state are recorded
//! together with the memberships that they set, and the event that it redacts loses its content.
//! All of this is added to one append, and the head in memory is moved on accordingly.

use std::sync::Arc;

use ruma::{
    UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use stoa_base::{EventNid, StateNid};
use stoa_storage::log::{
    Append, EventRow, EventStatus, EventUpdateRow, MembershipRow, RelPos, RoomUpdateRow,
    StateChangeRow, Stream,
};

use crate::{
    cache::room::{Extremity, Room},
    error::Result,
    graph::{
        event::Event,
        events::{Events, not_there},
        forks::Forks,
        pdu::Pdu,
        state::{NewState, States},
    },
    write::{
        change::Draft,
        redaction::{Redactors, note_redaction},
    },
};

/// An event that has been decided on.
pub(crate) struct Decided {
    pub(crate) nid: EventNid,
    pub(crate) pdu: Pdu,
    pub(crate) status: EventStatus,
    /// The room's state before it.
    pub(crate) state_before: StateNid,
    /// The room's state after it. Its new nodes are already in the append.
    pub(crate) state_after: StateNid,
    /// The state event that it replaces.
    pub(crate) replaces: Option<EventNid>,
    /// The device that sent it, and the key of its transaction.
    pub(crate) txn: Option<(String, String)>,
    /// Whether it is already stored, as an outlier.
    pub(crate) is_outlier: bool,
    /// Whether events that follow it are already here.
    pub(crate) is_followed: bool,
    /// The event in the same room that it is to redact, if that is here.
    pub(crate) redacts: Option<Arc<Event>>,
}

/// Moves the heads of rooms on.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    pub(crate) events: Events,
    pub(crate) states: States,
    pub(crate) forks: Forks,
    pub(crate) redactors: Redactors,
}

impl Heads {
    /// Adds the effects of an event to the draft, and moves the draft's head on.
    ///
    /// If this fails, the draft may be partly changed, and the caller drops it.
    pub(crate) async fn advance_head(
        &self,
        room: &Room,
        draft: &mut Draft,
        mut decided: Decided,
    ) -> Result<Arc<Event>> {
        let Draft { head, append } = draft;
        let Decided { is_outlier, is_followed, .. } = decided;
        let redacts = decided.redacts.take();
        let pos = (decided.status == EventStatus::Accepted).then(|| append.next_pos());
        let event = Arc::new(decided.into_event(room));
        append_event(&event, pos, is_outlier, append);
        // The event has to be in memory first, because from here on it is looked up through the
        // states.
        self.events.insert(Arc::clone(&event));
        // An event that is shown to nobody has no further effects, except on events that build on
        // it.
        let Some(pos) = pos else { return Ok(event) };
        append.touched.add(Stream::Timeline, room.nid);

        let is_consumed =
            |extremity: &mut Extremity| event.pdu.prev_events.contains(&extremity.event_id);
        let consumed = head.extremities.extract_if(.., is_consumed);
        let mut update = RoomUpdateRow {
            room_nid: room.nid,
            added: Vec::new(),
            consumed: consumed.map(|extremity| extremity.nid).collect(),
            state_root: None,
            state_pos: None,
            head_pos: Some(pos),
            joined: 0,
            invited: 0,
        };
        if !is_followed {
            update.added.push(event.nid);
            head.extremities.push(Extremity::of(&event)?);
        }
        let roots = head.extremities.iter().map(|extremity| extremity.state_after).collect();
        let mut new = NewState::default();
        let state = self.forks.resolve(&room.rules, roots, &mut new).await?;
        append.state_nodes.append(&mut new.rows);
        if state != head.state {
            self.note_state_change(room, head.state, state, pos, append, &mut update).await?;
            head.state = state;
        }
        append.room_updates.push(update);
        if let Some(target) = redacts
            && self.redactors.may_redact(room, head.state, &event.pdu.sender, &target).await?
        {
            note_redaction(room, &target, &event, append)?;
        }
        Ok(event)
    }

    /// Adds to `append` the effects of the room's current state changing from `from` to `to`.
    async fn note_state_change(
        &self,
        room: &Room,
        from: StateNid,
        to: StateNid,
        pos: RelPos,
        append: &mut Append,
        update: &mut RoomUpdateRow,
    ) -> Result<()> {
        update.state_root = Some(to);
        update.state_pos = Some(pos);
        append.touched.add(Stream::State, room.nid);
        let differences = self.states.difference(from, to).await?;
        let nids = differences.values().flat_map(|(old, new)| [*old, *new]).flatten();
        let events = self.events.get_many(nids).await?;
        for (old, new) in differences.into_values() {
            let event_of = |nid: Option<EventNid>| {
                nid.map(|nid| events.get(&nid).ok_or_else(|| not_there(nid))).transpose()
            };
            let (old_event, new_event) = (event_of(old)?, event_of(new)?);
            let Some(event) = new_event.or(old_event) else { continue };
            let state_key = event.pdu.state_key.clone().unwrap_or_default();
            append.state_changes.push(StateChangeRow {
                room_nid: room.nid,
                pos,
                kind: event.pdu.event_type.to_string(),
                state_key: state_key.clone(),
                old_nid: old,
                new_nid: new,
            });
            if event.pdu.event_type == TimelineEventType::RoomMember {
                let was = old_event.and_then(|event| event.membership());
                let is = new_event.and_then(|event| event.membership());
                let is_now = |membership| {
                    i64::from(is.as_ref() == Some(&membership))
                        - i64::from(was.as_ref() == Some(&membership))
                };
                update.joined += is_now(MembershipState::Join);
                update.invited += is_now(MembershipState::Invite);
                if let Ok(user_id) = UserId::parse(state_key.as_str()) {
                    append.touched.add(Stream::Membership, &*user_id);
                }
                append.memberships.push(MembershipRow {
                    user_id: state_key,
                    room_nid: room.nid,
                    membership: is.unwrap_or(MembershipState::Leave).to_string(),
                    event_nid: event.nid,
                    sender: event.pdu.sender.to_string(),
                    pos,
                });
            }
        }
        Ok(())
    }
}

impl Decided {
    /// The event. It gets its position once it is written.
    fn into_event(self, room: &Room) -> Event {
        Event {
            nid: self.nid,
            room: room.nid,
            pdu: Arc::new(self.pdu.with_rejected(self.status == EventStatus::Rejected)),
            pos: None,
            order: None,
            status: self.status,
            state_before: Some(self.state_before),
            state_after: Some(self.state_after),
            replaces: self.replaces,
            txn: self.txn,
            redacted_by: None,
        }
    }
}

/// Adds the row of an event, or the changes to the row of an outlier. `pos` is set if the event
/// enters the live timeline.
fn append_event(event: &Event, pos: Option<RelPos>, is_outlier: bool, append: &mut Append) {
    if !is_outlier {
        append.events.push(event_row(event, pos));
        return;
    }
    append.event_updates.push(EventUpdateRow {
        nid: event.nid,
        pos,
        ord_pos: None,
        ord_depth: pos.map(|_| i64::MAX),
        ord_seq: None,
        status: Some(event.status),
        state_before: event.state_before,
        state_after: event.state_after,
        partial: None,
    });
}

/// The row of an event. `pos` is set if the event enters the live timeline.
pub(crate) fn event_row(event: &Event, pos: Option<RelPos>) -> EventRow {
    let (txn_device, txn_id) = event.txn.clone().unzip();
    EventRow {
        nid: event.nid,
        event_id: event.pdu.event_id.to_string(),
        room_nid: event.room,
        pos,
        ord_pos: event.order.map(|order| order.pos),
        ord_depth: event.order.map_or(i64::MAX, |order| order.depth),
        ord_seq: event.order.map_or(0, |order| order.seq),
        depth: i64::try_from(event.pdu.depth).unwrap_or(i64::MAX),
        sender: event.pdu.sender.to_string(),
        kind: event.pdu.event_type.to_string(),
        state_key: event.pdu.state_key.clone(),
        origin_ts: i64::try_from(u64::from(event.pdu.origin_server_ts.get())).unwrap_or(i64::MAX),
        status: event.status,
        state_before: event.state_before,
        state_after: event.state_after,
        partial: 0,
        replaces: event.replaces,
        txn_device,
        txn_id,
        json: event.pdu.json().to_owned(),
    }
}
