//! Rows for tests that care about the log and not about its contents.

use ruma::UserId;
use stoa_base::{EventNid, RoomNid, StateNid};
use stoa_storage::log::{
    Append, EventRow, EventStatus, MembershipRow, ReceiptRow, RoomRow, RoomUpdateRow, Stream,
};

/// An event without a place in the timeline: an outlier.
pub fn event(nid: i64, room: RoomNid) -> EventRow {
    EventRow {
        nid: EventNid(nid),
        event_id: format!("$event{nid}"),
        room_nid: room,
        pos: None,
        ord_pos: None,
        ord_depth: 0,
        ord_seq: nid,
        depth: 1,
        sender: "@alice:test".to_owned(),
        kind: "m.room.message".to_owned(),
        state_key: None,
        origin_ts: 1_700_000_000_000,
        status: EventStatus::Accepted,
        state_before: Some(StateNid(1)),
        state_after: Some(StateNid(1)),
        partial: 0,
        replaces: None,
        txn_device: None,
        txn_id: None,
        json: format!(r#"{{"content":{{"body":"it's event {nid}"}},"depth":1}}"#),
    }
}

/// A new room.
pub fn room(room: RoomNid) -> RoomRow {
    RoomRow {
        nid: room,
        room_id: format!("!room{}:test", room.0),
        version: "12".to_owned(),
        created_ms: 1_700_000_000_000,
    }
}

/// A change of a room's own row with nothing changed yet.
pub fn room_update(room: RoomNid) -> RoomUpdateRow {
    RoomUpdateRow {
        room_nid: room,
        added: Vec::new(),
        consumed: Vec::new(),
        state_root: None,
        state_pos: None,
        head_pos: None,
        joined: 0,
        invited: 0,
    }
}

/// The creation of an empty room.
pub fn creation(nid: RoomNid) -> Append {
    let mut append = Append::new();
    let pos = append.next_pos();
    append.rooms.push(room(nid));
    append.room_updates.push(RoomUpdateRow {
        state_root: Some(StateNid(1)),
        state_pos: Some(pos),
        head_pos: Some(pos),
        ..room_update(nid)
    });
    append.touched.add(Stream::State, nid);
    append
}

/// A message as a client sends it: one event, and the new extremities.
pub fn message(nid: i64, room: RoomNid) -> Append {
    let mut append = Append::new();
    let pos = append.next_pos();
    let event = EventRow { pos: Some(pos), ord_depth: i64::MAX, ..event(nid, room) };
    append.room_updates.push(RoomUpdateRow {
        added: vec![event.nid],
        head_pos: Some(pos),
        ..room_update(room)
    });
    append.events.push(event);
    append.touched.add(Stream::Timeline, room);
    append
}

/// A change of a room's state, as a client sends it.
pub fn state_change(nid: i64, room: RoomNid) -> Append {
    let mut append = message(nid, room);
    for event in &mut append.events {
        "m.room.topic".clone_into(&mut event.kind);
        event.state_key = Some(String::new());
    }
    for update in &mut append.room_updates {
        update.state_pos = update.head_pos;
        update.state_root = Some(StateNid(nid));
    }
    append.touched.add(Stream::State, room);
    append
}

/// A user's membership of a room, from the event `nid`.
pub fn membership(nid: i64, room: RoomNid, user_id: &str, membership: &str) -> Append {
    let mut append = Append::new();
    let pos = append.next_pos();
    append.memberships.push(MembershipRow {
        user_id: user_id.to_owned(),
        room_nid: room,
        membership: membership.to_owned(),
        event_nid: EventNid(nid),
        sender: "@alice:test".to_owned(),
        pos,
    });
    append
}

/// A receipt.
pub fn receipt(room: RoomNid, user: &UserId, event_id: &str) -> Append {
    let mut append = Append::new();
    let pos = append.next_pos();
    append.receipts.push(ReceiptRow {
        room_nid: room,
        kind: "m.read".to_owned(),
        user_id: user.to_string(),
        thread: String::new(),
        event_id: event_id.to_owned(),
        ts: 1_700_000_000_000,
        pos,
    });
    append.touched.add(Stream::Receipts, room);
    append
}
