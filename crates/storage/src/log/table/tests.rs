use stoa_base::{EventNid, RoomNid, StateNid};

use super::*;
use crate::log::{AuditAction, joined_appends::JoinedAppends};

#[test]
fn every_table_of_an_append_reaches_the_batch_with_its_positions_shifted() {
    let (user, key, pos) = (|| "@a:test".to_owned(), || "key".to_owned(), RelPos(8));
    let (event, room) = (EventNid(1), RoomNid(7));
    let before = Append { positions: 90, ..Append::default() };
    let append = Append {
        guards: vec![Guard::Session(key())],
        rooms: vec![RoomRow { nid: room, room_id: key(), version: key(), created_ms: 1 }],
        room_updates: vec![RoomUpdateRow {
            room_nid: room,
            added: vec![event],
            consumed: vec![],
            state_root: None,
            state_pos: Some(pos),
            head_pos: Some(pos),
            joined: 0,
            invited: 0,
        }],
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
            pos: Some(pos),
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
        ..Append::default()
    };
    let batch = JoinedAppends::new(&[&before, &append]).unwrap();
    assert_eq!(batch.tables.len(), TABLES.len(), "every table has a row");
    let names: Vec<&str> = batch.tables.iter().map(|rows| rows.name).collect();
    assert_eq!((batch.guards.len(), batch.audit.len()), (1, 1));
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
    let moved: Vec<(&str, usize)> = batch
        .tables
        .iter()
        .map(|rows| (rows.name, rows.json.matches("98").count()))
        .filter(|(_, positions)| *positions > 0)
        .collect();
    assert_eq!(
        moved,
        [
            ("events", 1),
            ("room_updates", 2),
            ("event_updates", 1),
            ("state_changes", 1),
            ("memberships", 1),
            ("account_data", 1),
            ("receipts", 1),
            ("device_changes", 1),
        ]
    );
}
