//! All the ways in which an append changes a table.

use ruma::user_id;
use stoa_base::{EventNid, RoomNid, StateNid};
use stoa_storage::log::{
    AccountDataRow, AccountUpdateRow, AllDeviceRemovalsRow, Append, AppendError, DeviceChangeKind,
    DeviceRemovalRow, EventRow, EventStatus, EventUpdateRow, ForgottenRoomRow, Guard,
    InteractiveResultRow, MissingPrevEventRow, NewDeviceRow, NewUserRow, ProfileFieldRow,
    RedactionRow, RoomUpdateRow, SessionEndRow, SessionOrigin, SessionRow, StateChangeRow,
    StateNodeRow, TokenRemovalRow, TokenRow,
};
use stoa_testing::{TestNode, both_databases, sample};

use crate::{ROOM, together, with, write};

type Places = (i64, Option<i64>, Option<i64>, i64, i64);

const PLACES: &str = "SELECT nid, pos, ord_pos, ord_depth, ord_seq FROM events ORDER BY nid";
const ROOMS: &str = "SELECT nid, room_id, extremities, state_root, state_pos, head_pos, joined,
    invited FROM rooms ORDER BY nid";
const MEMBERSHIPS: &str =
    "SELECT user_id, room_nid, membership, event_nid, pos, forgotten FROM memberships
     ORDER BY user_id, room_nid";

both_databases! {
    async fn an_event_is_written_with_every_column(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut append = Append::new();
        append.next_pos();
        let pos = append.next_pos();
        append.events.push(EventRow {
            pos: Some(pos),
            state_key: Some("key".to_owned()),
            status: EventStatus::SoftFailed,
            state_after: Some(StateNid(2)),
            partial: 1,
            replaces: Some(EventNid(3)),
            txn_device: Some("@alice:test|DEVICE".to_owned()),
            txn_id: Some("txn".to_owned()),
            ord_depth: i64::MAX,
            json: "{\"a\":\"\\u0000 ' \\\" \\\\ ü 🦀\"}".to_owned(),
            ..sample::event(11, ROOM)
        });
        let appended = write(&node, append).await;
        assert_eq!((appended.pos(pos).0, appended.last().0), (2, 2));

        let mut conn = node.store.read().await.unwrap();
        let place: Vec<Places> = conn.all(PLACES, &[]).await.unwrap();
        assert_eq!(place, [(11, Some(2), Some(2), i64::MAX, 11)]);
        let ids: (String, i64, i64, String, String, Option<String>, i64, i64) = conn
            .one("SELECT event_id, room_nid, depth, sender, type, state_key, origin_ts, status
                 FROM events", &[])
            .await
            .unwrap();
        assert_eq!(ids, ("$event11".to_owned(), 7, 1, "@alice:test".to_owned(),
            "m.room.message".to_owned(), Some("key".to_owned()), 1_700_000_000_000, 1));
        let rest: (Option<i64>, Option<i64>, i64, Option<i64>, Option<String>, Option<String>, i64)
            = conn
            .one("SELECT state_before, state_after, partial, replaces, txn_device, txn_id, revision
                 FROM events", &[])
            .await
            .unwrap();
        assert_eq!(rest, (Some(1), Some(2), 1, Some(3), Some("@alice:test|DEVICE".to_owned()),
            Some("txn".to_owned()), 0));
        let (json,): (String,) = conn.one("SELECT json FROM events", &[]).await.unwrap();
        assert_eq!(json, "{\"a\":\"\\u0000 ' \\\" \\\\ ü 🦀\"}");
    }

    async fn events_stand_at_their_position_before_another_or_nowhere(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::message(1, ROOM)).await;
        let mut append = Append::new();
        let pos = append.next_pos();
        append.events.push(EventRow { pos: Some(pos), ..sample::event(2, ROOM) });
        append.events.push(EventRow { ord_pos: Some(1), ord_depth: -4, ..sample::event(3, ROOM) });
        append.events.push(EventRow { state_before: None, state_after: None, ..sample::event(4, ROOM) });
        write(&node, append).await;

        let places: Vec<Places> =
            node.store.read().await.unwrap().all(PLACES, &[]).await.unwrap();
        assert_eq!(places, [
            (1, Some(1), Some(1), i64::MAX, 1),
            (2, Some(2), Some(2), 0, 2),
            (3, None, Some(1), -4, 3),
            (4, None, None, 0, 4),
        ]);
    }

    async fn an_outlier_is_promoted_and_other_columns_stay(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let unchanged = |nid| EventUpdateRow {
            nid: EventNid(nid), pos: None, ord_pos: None, ord_depth: None, ord_seq: None,
            status: None, state_before: None, state_after: None, partial: None,
        };
        let mut outliers = Append::new();
        for nid in 1..=3 {
            outliers.events.push(EventRow { partial: 1, ..sample::event(nid, ROOM) });
        }
        write(&node, outliers).await;

        let mut promotion = Append::new();
        let pos = promotion.next_pos();
        promotion.event_updates.push(EventUpdateRow {
            pos: Some(pos), ord_depth: Some(i64::MAX), ..unchanged(1)
        });
        let mut backfill = Append::new();
        backfill.event_updates.push(EventUpdateRow {
            ord_pos: Some(2), ord_depth: Some(5), ord_seq: Some(6), ..unchanged(2)
        });
        let mut resolution = Append::new();
        resolution.event_updates.push(EventUpdateRow {
            status: Some(EventStatus::Rejected), state_before: Some(StateNid(8)),
            state_after: Some(StateNid(9)), partial: Some(0), ..unchanged(2)
        });
        for answer in together(&node, vec![promotion, backfill, resolution]).await {
            answer.unwrap();
        }

        let mut conn = node.store.read().await.unwrap();
        let places: Vec<Places> = conn.all(PLACES, &[]).await.unwrap();
        assert_eq!(places, [
            (1, Some(3), Some(3), i64::MAX, 1),
            (2, None, Some(2), 5, 6),
            (3, None, None, 0, 3),
        ]);
        let states: Vec<(i64, i64, Option<i64>, Option<i64>, i64)> = conn
            .all("SELECT nid, status, state_before, state_after, partial FROM events ORDER BY nid", &[])
            .await
            .unwrap();
        assert_eq!(states, [
            (1, 0, Some(1), Some(1), 1), (2, 2, Some(8), Some(9), 0), (3, 0, Some(1), Some(1), 1),
        ]);
    }

    async fn a_redaction_replaces_the_text_and_raises_the_revision(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::message(1, ROOM)).await;
        write(&node, sample::message(2, ROOM)).await;
        let redaction = |by, json: &str| with(|append| {
            append.redactions.push(RedactionRow {
                nid: EventNid(1), redacted_by: EventNid(by), json: json.to_owned(),
            });
        });
        write(&node, redaction(8, "{}")).await;
        write(&node, redaction(9, r#"{"x":1}"#)).await;
        let rows: Vec<(i64, Option<i64>, i64, String)> = node.store.read().await.unwrap()
            .all("SELECT nid, redacted_by, revision, json FROM events ORDER BY nid", &[])
            .await
            .unwrap();
        let untouched = sample::event(2, ROOM).json;
        assert_eq!(rows, [(1, Some(9), 2, r#"{"x":1}"#.to_owned()), (2, None, 0, untouched)]);
    }

    async fn extremities_state_and_counts_of_a_room_move_with_its_events(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut creation = sample::creation(ROOM);
        creation.room_updates.push(RoomUpdateRow {
            added: vec![EventNid(10), EventNid(11)], joined: 2, invited: 3,
            ..sample::room_update(ROOM)
        });
        write(&node, creation).await;
        write(&node, sample::creation(RoomNid(8))).await;
        let room = |nid: i64, extremities: &str, root, state_pos, head_pos, joined, invited| {
            (nid, format!("!room{nid}:test"), extremities.to_owned(), root, state_pos, head_pos,
                joined, invited)
        };
        let rows: Vec<(i64, String, String, i64, i64, i64, i64, i64)> =
            node.store.read().await.unwrap().all(ROOMS, &[]).await.unwrap();
        assert_eq!(rows.iter().map(compact).collect::<Vec<_>>(), [
            room(7, "[10,11]", 1, 1, 1, 2, 3), room(8, "[]", 1, 2, 2, 0, 0),
        ]);

        // Two messages that both follow event 10 and then one that follows both of them.
        let next = |nid, consumed: &[i64]| {
            let mut append = sample::message(nid, ROOM);
            for update in &mut append.room_updates {
                update.consumed = consumed.iter().copied().map(EventNid).collect();
            }
            append
        };
        let mut state = next(14, &[12, 13]);
        state.room_updates.push(RoomUpdateRow {
            state_root: Some(StateNid(5)), state_pos: Some(stoa_storage::log::RelPos(1)),
            joined: -1, invited: 1, ..sample::room_update(ROOM)
        });
        for answer in together(&node, vec![next(12, &[10]), next(13, &[10]), state]).await {
            answer.unwrap();
        }
        let rows: Vec<(i64, String, String, i64, i64, i64, i64, i64)> =
            node.store.read().await.unwrap().all(ROOMS, &[]).await.unwrap();
        assert_eq!(rows.iter().map(compact).collect::<Vec<_>>(), [
            room(7, "[11,14]", 5, 6, 6, 1, 4), room(8, "[]", 1, 2, 2, 0, 0),
        ]);
    }

    async fn missing_previous_events_can_be_named_twice(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let missing = |prev: &str, event| with(|append| {
            append.missing_prev_events.push(MissingPrevEventRow {
                prev_event_id: prev.to_owned(), event_nid: EventNid(event),
            });
        });
        let appends = vec![missing("$a", 1), missing("$a", 1), missing("$a", 2)];
        for answer in together(&node, appends).await {
            answer.unwrap();
        }
        let rows: Vec<(String, i64)> = node.store.read().await.unwrap()
            .all("SELECT prev_event_id, event_nid FROM missing_prev_events ORDER BY 1, 2", &[])
            .await
            .unwrap();
        assert_eq!(rows, [("$a".to_owned(), 1), ("$a".to_owned(), 2)]);
    }

    async fn state_nodes_and_changes_are_written(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut append = Append::new();
        append.next_pos();
        let pos = append.next_pos();
        append.state_nodes.push(StateNodeRow { nid: StateNid(3), node: "00ff10".to_owned() });
        append.state_nodes.push(StateNodeRow { nid: StateNid(4), node: String::new() });
        let change = StateChangeRow {
            room_nid: ROOM, pos, kind: "m.room.name".to_owned(), state_key: String::new(),
            old_nid: None, new_nid: Some(EventNid(1)),
        };
        append.state_changes.push(StateChangeRow {
            state_key: "x".to_owned(), old_nid: Some(EventNid(1)), new_nid: None, ..change.clone()
        });
        append.state_changes.push(change);
        write(&node, append).await;

        let mut conn = node.store.read().await.unwrap();
        let nodes: Vec<(i64, Vec<u8>)> =
            conn.all("SELECT nid, node FROM state_nodes ORDER BY nid", &[]).await.unwrap();
        assert_eq!(nodes, [(3, vec![0, 0xff, 0x10]), (4, vec![])]);
        let changes: Vec<(i64, i64, String, String, Option<i64>, Option<i64>)> = conn
            .all("SELECT room_nid, pos, type, state_key, old_nid, new_nid FROM state_changes
                 ORDER BY state_key", &[])
            .await
            .unwrap();
        let name = "m.room.name".to_owned();
        assert_eq!(changes, [
            (7, 2, name.clone(), String::new(), None, Some(1)),
            (7, 2, name, "x".to_owned(), Some(1), None),
        ]);
    }

    async fn only_a_room_that_was_left_can_be_forgotten(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let forget = |user: &str| with(|append| {
            append.forgotten_rooms.push(ForgottenRoomRow {
                user_id: user.to_owned(), room_nid: ROOM,
            });
        });
        for (user, membership) in [("@a:test", "leave"), ("@b:test", "join"), ("@c:test", "ban")] {
            write(&node, sample::membership(1, ROOM, user, membership)).await;
            write(&node, forget(user)).await;
        }
        let row = |user: &str, membership: &str, event, pos, forgotten| {
            (user.to_owned(), 7, membership.to_owned(), event, pos, forgotten)
        };
        let rows: Vec<(String, i64, String, i64, i64, i64)> =
            node.store.read().await.unwrap().all(MEMBERSHIPS, &[]).await.unwrap();
        assert_eq!(rows, [
            row("@a:test", "leave", 1, 1, 1), row("@b:test", "join", 1, 3, 0),
            row("@c:test", "ban", 1, 5, 1),
        ]);

        // A user who comes back has no longer forgotten the room, even within one batch.
        let appends = vec![
            sample::membership(2, ROOM, "@a:test", "join"),
            forget("@c:test"),
            sample::membership(3, ROOM, "@c:test", "invite"),
        ];
        for answer in together(&node, appends).await {
            answer.unwrap();
        }
        let rows: Vec<(String, i64, String, i64, i64, i64)> =
            node.store.read().await.unwrap().all(MEMBERSHIPS, &[]).await.unwrap();
        assert_eq!(rows, [
            row("@a:test", "join", 2, 8, 0), row("@b:test", "join", 1, 3, 0),
            row("@c:test", "invite", 3, 10, 0),
        ]);
    }

    async fn the_last_account_data_and_receipt_of_a_key_win(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let data = |room: i64, content: &str| {
            let mut append = Append::new();
            let pos = append.next_pos();
            append.account_data.push(AccountDataRow {
                user_id: "@a:test".to_owned(), room_nid: RoomNid(room), kind: "m.tag".to_owned(),
                content: content.to_owned(), pos,
            });
            append
        };
        let read = |event| sample::receipt(ROOM, user_id!("@a:test"), event);
        write(&node, data(0, "1")).await;
        write(&node, read("$1")).await;
        let appends = vec![data(0, "2"), data(7, "3"), data(0, "4"), read("$2"), read("$3")];
        for answer in together(&node, appends).await {
            answer.unwrap();
        }
        let mut conn = node.store.read().await.unwrap();
        let data: Vec<(String, i64, String, String, i64)> = conn
            .all("SELECT user_id, room_nid, type, content, pos FROM account_data ORDER BY room_nid", &[])
            .await
            .unwrap();
        let row = |room, content: &str, pos| {
            ("@a:test".to_owned(), room, "m.tag".to_owned(), content.to_owned(), pos)
        };
        assert_eq!(data, [row(0, "4", 6), row(7, "3", 5)]);
        let receipts: Vec<(i64, String, String, String, String, i64, i64)> = conn
            .all("SELECT room_nid, type, user_id, thread, event_id, ts, pos FROM receipts", &[])
            .await
            .unwrap();
        assert_eq!(receipts, [(7, "m.read".to_owned(), "@a:test".to_owned(), String::new(),
            "$3".to_owned(), 1_700_000_000_000, 8)]);
    }

    async fn a_device_is_removed_with_its_sessions_and_stays_if_only_they_end(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for device in ["A", "B"] {
            let sql = "INSERT INTO devices (user_id, device_id, created_ms) VALUES ('@a:test', $1, 1)";
            let mut conn = node.store.write().await.unwrap();
            conn.execute(sql, &[device.into()]).await.unwrap();
            conn.commit().await.unwrap();
        }
        for (device, token) in [("A", "A1"), ("A", "A2"), ("B", "B1"), ("B", "B2")] {
            insert_token(&node, device, token, None).await;
        }
        let device = DeviceRemovalRow { user_id: "@a:test".to_owned(), device_id: "A".to_owned() };
        let session = SessionEndRow {
            user_id: "@a:test".to_owned(), session_id: "B2".to_owned(), ended_ms: 5,
        };
        let appends = vec![
            with(|append| append.device_removals.push(device)),
            with(|append| append.session_ends.push(session)),
        ];
        for answer in together(&node, appends).await {
            answer.unwrap();
        }
        let devices: Vec<(String,)> = node.store.read().await.unwrap()
            .all("SELECT device_id FROM devices", &[])
            .await
            .unwrap();
        assert_eq!(devices, [("B".to_owned(),)]);
        assert_eq!(tokens(&node).await, [("B1".to_owned(), None)]);
        // Nothing more is written for a session that has ended.
        let guarded = |session: &str| with(|append| {
            append.guards.push(Guard::Session(session.to_owned()));
        });
        let answers = together(&node, vec![guarded("B1"), guarded("B2")]).await;
        assert!(answers[0].is_ok());
        assert!(matches!(answers[1], Err(AppendError::SessionEnded)), "{:?}", answers[1]);
    }

    async fn one_append_can_change_every_table(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        write(&node, sample::message(1, ROOM)).await;
        let user_id = || "@a:test".to_owned();
        let mut append = sample::creation(RoomNid(8));
        for part in [
            sample::message(2, ROOM),
            sample::membership(3, ROOM, "@a:test", "leave"),
            sample::receipt(ROOM, user_id!("@a:test"), "$1"),
        ] {
            append.events.extend(part.events);
            append.memberships.extend(part.memberships);
            append.receipts.extend(part.receipts);
        }
        let pos = append.next_pos();
        append.event_updates.push(EventUpdateRow {
            nid: EventNid(1), pos: None, ord_pos: None, ord_depth: None, ord_seq: Some(9),
            status: None, state_before: None, state_after: None, partial: None,
        });
        append.redactions.push(RedactionRow {
            nid: EventNid(1), redacted_by: EventNid(2), json: "{}".to_owned(),
        });
        append.missing_prev_events.push(MissingPrevEventRow {
            prev_event_id: "$a".to_owned(), event_nid: EventNid(2),
        });
        append.state_nodes.push(StateNodeRow { nid: StateNid(3), node: "00".to_owned() });
        append.state_changes.push(StateChangeRow {
            room_nid: ROOM, pos, kind: "a".to_owned(), state_key: String::new(), old_nid: None,
            new_nid: None,
        });
        append.forgotten_rooms.push(ForgottenRoomRow { user_id: user_id(), room_nid: ROOM });
        append.account_data.push(AccountDataRow {
            user_id: user_id(), room_nid: ROOM, kind: "a".to_owned(), content: "{}".to_owned(), pos,
        });
        append.account_updates.push(AccountUpdateRow { user_id: user_id(), ..Default::default() });
        append.all_device_removals.push(AllDeviceRemovalsRow {
            user_id: user_id(), except_device: None,
        });
        append.device_removals.push(DeviceRemovalRow {
            user_id: user_id(), device_id: "B".to_owned(),
        });
        append.session_ends.push(SessionEndRow {
            user_id: user_id(), session_id: "old".to_owned(), ended_ms: 1,
        });
        append.token_removals.push(TokenRemovalRow {
            user_id: user_id(), token_hash: "old".to_owned(), successor: "older".to_owned(),
        });
        append.users.push(NewUserRow {
            user_id: user_id(), password_hash: None, admin: 0, created_ms: 1,
        });
        append.profile_fields.push(ProfileFieldRow {
            user_id: user_id(), field: "a".to_owned(), value: "1".to_owned(),
        });
        append.interactive_results.push(InteractiveResultRow {
            session_hash: "a".to_owned(), result: "{}".to_owned(),
        });
        append.devices.push(NewDeviceRow {
            user_id: user_id(), device_id: "A".to_owned(), display_name: None, created_ms: 1,
        });
        append.sessions.push(SessionRow {
            session_id: "new".to_owned(), user_id: user_id(), device_id: Some("A".to_owned()),
            origin: SessionOrigin::Password, created_ms: 1, expires_ms: None,
        });
        append.tokens.push(TokenRow {
            token_hash: "new".to_owned(), user_id: user_id(), session_id: "new".to_owned(),
            generation: 0, created_ms: 1, expires_ms: None, refresh_hash: None, parent_hash: None,
        });
        append.note_device_change(user_id!("@a:test"), "A".into(), DeviceChangeKind::Created);
        write(&node, append).await;

        let mut conn = node.store.read().await.unwrap();
        for (table, sql) in [
            ("rooms", "SELECT COUNT(*) FROM rooms WHERE nid = 8"),
            ("events", "SELECT COUNT(*) FROM events WHERE nid = 2"),
            ("event_updates", "SELECT COUNT(*) FROM events WHERE nid = 1 AND ord_seq = 9"),
            ("redactions", "SELECT COUNT(*) FROM events WHERE nid = 1 AND redacted_by = 2"),
            ("missing_prev_events", "SELECT COUNT(*) FROM missing_prev_events"),
            ("state_nodes", "SELECT COUNT(*) FROM state_nodes"),
            ("state_changes", "SELECT COUNT(*) FROM state_changes"),
            ("forgotten_rooms", "SELECT COUNT(*) FROM memberships WHERE forgotten = 1"),
            ("account_data", "SELECT COUNT(*) FROM account_data"),
            ("receipts", "SELECT COUNT(*) FROM receipts"),
            ("users", "SELECT COUNT(*) FROM users"),
            ("profile_fields", "SELECT COUNT(*) FROM profile_fields"),
            ("devices", "SELECT COUNT(*) FROM devices WHERE generation = 3"),
            ("sessions", "SELECT COUNT(*) FROM sessions WHERE device_id = 'A'"),
            ("tokens", "SELECT COUNT(*) FROM access_tokens WHERE device_id = 'A'"),
            ("device_changes", "SELECT COUNT(*) FROM device_changes WHERE prev_pos IS NULL"),
        ] {
            let (count,): (i64,) = conn.one(sql, &[]).await.unwrap();
            assert_eq!(count, 1, "{table}");
        }
    }

    async fn a_token_is_replaced_by_the_one_refreshed_from_it(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let tree = [
            ("old", None), ("new", Some("old")), ("unused", Some("old")),
            ("kept", None), ("also unused", Some("kept")),
        ];
        for (token, parent) in tree {
            insert_token(&node, "A", token, parent).await;
        }
        let removal = |token: &str, successor: &str| with(|append| {
            append.token_removals.push(TokenRemovalRow {
                user_id: "@a:test".to_owned(),
                token_hash: token.to_owned(),
                successor: successor.to_owned(),
            });
        });
        // The second one names a successor that no longer exists.
        for answer in together(&node, vec![removal("old", "new"), removal("kept", "gone")]).await {
            answer.unwrap();
        }
        assert_eq!(tokens(&node).await, [
            ("also unused".to_owned(), Some("kept".to_owned())), ("kept".to_owned(), None),
            ("new".to_owned(), None),
        ]);
    }
}

async fn insert_token(node: &TestNode, device: &str, token: &str, parent: Option<&str>) {
    let mut conn = node.store.write().await.unwrap();
    if parent.is_none() {
        let sql = "INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms)
             VALUES ($1, '@a:test', $2, 'password', 1)";
        conn.execute(sql, &[token.into(), device.into()]).await.unwrap();
    }
    let sql = "INSERT INTO access_tokens (token_hash, session_id, user_id, device_id, created_ms,
             parent_hash)
         VALUES ($1, coalesce($3, $1), '@a:test', $2, 1, $3)";
    conn.execute(sql, &[token.into(), device.into(), parent.into()]).await.unwrap();
    conn.commit().await.unwrap();
}

async fn tokens(node: &TestNode) -> Vec<(String, Option<String>)> {
    let sql = "SELECT token_hash, parent_hash FROM access_tokens ORDER BY token_hash";
    node.store.read().await.unwrap().all(sql, &[]).await.unwrap()
}

type RoomColumns = (i64, String, String, i64, i64, i64, i64, i64);

/// Removes the spaces that one of the databases puts into JSON.
fn compact(row: &RoomColumns) -> RoomColumns {
    let mut row = row.clone();
    row.2.retain(|character| character != ' ');
    row
}
