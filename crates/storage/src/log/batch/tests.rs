use stoa_base::{EventNid, RoomNid, StateNid};

use super::*;
use crate::log::{AuditAction, account_rows::*, rows::*};

fn update(added: i64, consumed: i64, head: i64) -> RoomUpdateRow {
    RoomUpdateRow {
        room_nid: RoomNid(7),
        added: vec![EventNid(added)],
        consumed: vec![EventNid(consumed)],
        state_root: (added == 2).then_some(StateNid(70)),
        state_pos: None,
        head_pos: Some(RelPos(head)),
        joined: 1,
        invited: -1,
    }
}

#[test]
fn updates_of_one_room_become_one() {
    let mut members: Vec<Append> = Vec::new();
    for row in [update(1, 0, 1), update(2, 1, 1), update(3, 2, 1)] {
        members.push(Append { room_updates: vec![row], ..Append::default() });
    }
    let members: Vec<&Append> = members.iter().collect();
    let updates = shifted(&members, &[0, 1, 2], |append| &append.room_updates);
    let rows = merged(updates, |row| row.room_nid, merge_room_update);
    let [row] = rows.as_slice() else { panic!("one row") };
    assert_eq!(row.added, [EventNid(3)]);
    assert_eq!(row.consumed, [EventNid(0), EventNid(1), EventNid(2)]);
    assert_eq!(row.state_root, Some(StateNid(70)));
    assert_eq!(row.head_pos, Some(RelPos(3)));
    assert_eq!((row.joined, row.invited), (3, -3));
}

#[test]
fn who_enters_a_room_after_forgetting_it_has_not_forgotten_it() {
    let user_id = "@a:example.org".to_owned();
    let forgotten = ForgottenRoomRow { user_id: user_id.clone(), room_nid: RoomNid(7) };
    let entered = MembershipRow {
        user_id: user_id.clone(),
        room_nid: RoomNid(7),
        membership: "join".to_owned(),
        event_nid: EventNid(1),
        sender: user_id,
        pos: RelPos(1),
    };
    let forgets = Append { forgotten_rooms: vec![forgotten], ..Append::default() };
    let enters = Append { memberships: vec![entered], ..Append::default() };
    assert_eq!(still_forgotten(&[&forgets, &enters]).len(), 0);
    assert_eq!(still_forgotten(&[&enters, &forgets]).len(), 1);
}

#[test]
fn the_last_row_of_a_key_stays() {
    let rows = last_of_each([(1, 'a'), (2, 'b'), (1, 'c')], |row| row.0);
    assert_eq!(rows, [(1, 'c'), (2, 'b')]);
}

/// Without a `..`, so that a new table does not compile until it is here.
#[test]
fn every_table_of_an_append_reaches_the_batch() {
    let (user, key, pos) = (|| "@a:test".to_owned(), || "key".to_owned(), RelPos(1));
    let (event, room) = (EventNid(1), RoomNid(7));
    let append = Append {
        positions: 1,
        guards: vec![Guard::Session(key())],
        touched: Touched::default(),
        rooms: vec![RoomRow { nid: room, room_id: key(), version: key(), created_ms: 1 }],
        room_updates: vec![update(1, 0, 1)],
        events: vec![EventRow {
            nid: event,
            event_id: key(),
            room_nid: room,
            pos: Some(pos),
            ord_pos: None,
            ord_depth: 0,
            ord_seq: 0,
            depth: 0,
            sender: user(),
            kind: key(),
            state_key: None,
            origin_ts: 0,
            status: EventStatus::Accepted,
            state_before: None,
            state_after: None,
            partial: 0,
            replaces: None,
            txn_device: None,
            txn_id: None,
            json: key(),
        }],
        event_updates: vec![EventUpdateRow {
            nid: event,
            pos: None,
            ord_pos: None,
            ord_depth: None,
            ord_seq: None,
            status: None,
            state_before: None,
            state_after: None,
            partial: None,
        }],
        missing_prev_events: vec![MissingPrevEventRow { prev_event_id: key(), event_nid: event }],
        redactions: vec![RedactionRow { nid: event, redacted_by: event, json: key() }],
        state_nodes: vec![StateNodeRow { nid: StateNid(1), node: key() }],
        state_changes: vec![StateChangeRow {
            room_nid: room,
            pos,
            kind: key(),
            state_key: key(),
            old_nid: None,
            new_nid: None,
        }],
        memberships: vec![MembershipRow {
            user_id: user(),
            room_nid: room,
            membership: key(),
            event_nid: event,
            sender: user(),
            pos,
        }],
        forgotten_rooms: vec![ForgottenRoomRow { user_id: user(), room_nid: room }],
        account_data: vec![AccountDataRow {
            user_id: user(),
            room_nid: room,
            kind: key(),
            content: key(),
            pos,
        }],
        receipts: vec![ReceiptRow {
            room_nid: room,
            kind: key(),
            user_id: user(),
            thread: key(),
            event_id: key(),
            ts: 0,
            pos,
        }],
        account_updates: vec![AccountUpdateRow { user_id: user(), ..Default::default() }],
        all_device_removals: vec![AllDeviceRemovalsRow { user_id: user(), except_device: None }],
        device_removals: vec![DeviceRemovalRow { user_id: user(), device_id: key() }],
        session_ends: vec![SessionEndRow { user_id: user(), session_id: key(), ended_ms: 1 }],
        token_removals: vec![TokenRemovalRow {
            user_id: user(),
            token_hash: key(),
            successor: key(),
        }],
        users: vec![NewUserRow { user_id: user(), password_hash: None, admin: 0, created_ms: 0 }],
        profile_fields: vec![ProfileFieldRow { user_id: user(), field: key(), value: key() }],
        interactive_results: vec![InteractiveResultRow { session_hash: key(), result: key() }],
        devices: vec![NewDeviceRow {
            user_id: user(),
            device_id: key(),
            display_name: None,
            created_ms: 0,
        }],
        sessions: vec![SessionRow {
            session_id: key(),
            user_id: user(),
            device_id: None,
            origin: SessionOrigin::Password,
            created_ms: 0,
            expires_ms: None,
        }],
        tokens: vec![TokenRow {
            token_hash: key(),
            user_id: user(),
            session_id: key(),
            generation: 0,
            created_ms: 0,
            expires_ms: None,
            refresh_hash: None,
            parent_hash: None,
        }],
        audit: vec![AuditRow::unattributed(0, AuditAction::PasswordChanged, None, user())],
        device_changes: vec![DeviceChangeRow {
            user_id: user(),
            device_id: key(),
            kind: DeviceChangeKind::Created,
            pos,
        }],
    };
    let batch = Batch::join(&[&append]).unwrap();
    let names: Vec<&str> = batch.tables.iter().map(|rows| rows.table.name()).collect();
    assert_eq!(batch.audit.len(), 1);
    assert_eq!(
        names,
        [
            "rooms",
            "events",
            "room_updates",
            "event_updates",
            "redactions",
            "missing_prev_events",
            "state_nodes",
            "state_changes",
            "memberships",
            "forgotten_rooms",
            "account_data",
            "receipts",
            "account_updates",
            "all_device_removals",
            "device_removals",
            "session_ends",
            "token_removals",
            "users",
            "profile_fields",
            "interactive_results",
            "devices",
            "sessions",
            "tokens",
            "device_changes",
        ]
    );
}

#[test]
fn members_get_consecutive_positions_and_an_empty_one_takes_one() {
    let mut first = Append::new();
    first.next_pos();
    first.next_pos();
    let second = Append::new();
    let third = Append::new();
    let batch = Batch::join(&[&first, &second, &third]).unwrap();
    assert_eq!(batch.bases, [0, 2, 3]);
    assert_eq!(batch.positions, 4);
}
